//! A web configuration has the same effect on the daemon as on Prometheus, or docs/web.md documents
//! the difference.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{scope, sleep};
use std::time::Duration;

use testkit::prometheus::agent;
use testkit::service::Service;
use testkit::web::{MUTUAL, TLS, WebDir};

/// Makes certificates with OpenSSL, because rcgen cannot make all of these kinds. `sign` makes a
/// certificate that the authority `ours` signs, unless another authority is named.
const CERTIFICATES: &str = "
set -eu
p256() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key; }
authority() { # NAME
    p256 $1
    openssl req -x509 -key $1.key -subj /CN=$1 -days 30 -out $1.crt
}
sign() { # NAME EXTENSIONS [AUTHORITY [OPTION...]]
    name=$1 extensions=$2 authority=${3:-ours}
    [ $# -gt 3 ] && shift 3 || shift $#
    [ -e $name.key ] || p256 $name
    openssl req -new -key $name.key -subj /CN=$name -out csr
    printf \"$extensions\" >extensions
    openssl x509 -req -in csr -CA $authority.crt -CAkey $authority.key -CAcreateserial -days 30 \
        ${extensions:+-extfile extensions} -out $name.crt \"$@\" 2>/dev/null
}
leaf='basicConstraints=CA:FALSE\\nsubjectAltName=DNS:localhost\\n'
authority ours
authority theirs
sign server \"$leaf\"
sign signed \"$leaf\"
sign stranger \"$leaf\" theirs
sign serveronly \"${leaf}extendedKeyUsage=serverAuth\\n\"
sign clientonly \"${leaf}extendedKeyUsage=clientAuth\\n\"
sign expired \"$leaf\" ours -days -1
sign middle 'basicConstraints=CA:TRUE\\n'
sign below \"$leaf\" middle
cat below.crt middle.crt >chained.crt
cp below.key chained.key
openssl genrsa -out rsa2048.key 2048 2>/dev/null
openssl genrsa -out rsa1024.key 1024 2>/dev/null
openssl ecparam -name secp384r1 -genkey -noout -out p384.key
openssl ecparam -name secp521r1 -genkey -noout -out p521.key
openssl genpkey -algorithm ed25519 -out ed25519.key
for name in rsa2048 rsa1024 p384 p521 ed25519; do sign $name \"$leaf\"; done
is_version_1() { openssl x509 -in version1.crt -noout -text | grep -q 'Version: 1 '; }
sign version1 ''
is_version_1 || # OpenSSL 3.2 and newer make version 3 above
    openssl req -x509 -x509v1 -key version1.key -subj /CN=version1 -CA ours.crt -CAkey ours.key -out version1.crt
is_version_1
p256 self
openssl req -x509 -key self.key -subj /CN=self -days 30 -out self.crt
p256 selfleaf
openssl req -x509 -key selfleaf.key -subj /CN=selfleaf -days 30 -addext basicConstraints=CA:FALSE -out selfleaf.crt 2>/dev/null
cat ours.crt self.crt selfleaf.crt >ca.crt
";

const CLIENTS: [&str; 16] = [
    "none",
    "signed",
    "stranger",
    "serveronly",
    "clientonly",
    "expired",
    "below",
    "chained",
    "rsa2048",
    "rsa1024",
    "p384",
    "p521",
    "ed25519",
    "version1",
    "self",
    "selfleaf",
];

const DOCS: &str = include_str!("../../docs/web.md");

/// Clients that Prometheus accepts and the daemon does not, each with words by which docs/web.md
/// documents the difference.
const DIFFERENT: [(&str, &str); 4] = [
    ("p521", "P-521"),
    ("rsa1024", "below 2048 bits"),
    ("version1", "X.509 version 1"),
    ("self", "itself a certificate authority"),
];

/// A Prometheus in agent mode.
struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    fn start(dir: &Path, web_config: &str) -> Self {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        std::fs::write(dir.join("prometheus.yml"), "").unwrap();
        let child = agent(&dir.join(format!("agent-{}", address.port())))
            .current_dir(dir)
            .arg("--config.file=prometheus.yml")
            .arg(format!("--web.config.file={web_config}"))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus runs");
        let mut prometheus = Self { child, address };
        while TcpStream::connect(address).is_err() {
            assert!(
                prometheus.child.try_wait().unwrap().is_none(),
                "it has exited"
            );
            sleep(Duration::from_millis(20));
        }
        prometheus
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request with a client certificate. Returns the HTTP status, or 0 if the handshake fails.
fn status(dir: &Path, address: SocketAddr, client: &str, tls: &str) -> u16 {
    let mut curl = Command::new("curl");
    curl.current_dir(dir)
        .args(["-sk", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}"])
        .env("OPENSSL_CONF", "openssl.cnf")
        .args(tls.split('='))
        .arg(format!("https://{address}/-/healthy"));
    if client != "none" {
        curl.args([
            "--cert",
            &format!("{client}.crt"),
            "--key",
            &format!("{client}.key"),
        ]);
    }
    let output = curl.output().expect("curl runs");
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}

/// Allows OpenSSL to use keys below 2048 bits.
const WEAK: &str = "openssl_conf = conf\n[conf]\nssl_conf = ssl\n[ssl]\nsystem_default = all\n\
                    [all]\nCipherString = DEFAULT@SECLEVEL=0\n";

fn certificates() -> WebDir {
    let dir = WebDir::new("");
    dir.write("openssl.cnf", WEAK);
    let made = Command::new("sh")
        .args(["-c", CERTIFICATES])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    dir
}

#[test]
fn clients_are_accepted_as_by_prometheus_or_the_difference_is_documented() {
    let dir = certificates();
    let dir = &dir;
    let types = [
        "NoClientCert",
        "RequestClientCert",
        "RequireAnyClientCert",
        "VerifyClientCertIfGiven",
        "RequireAndVerifyClientCert",
    ];
    let rows = scope(|scope| {
        let rows = types.map(|name| {
            scope.spawn(move || {
                let ca = match name {
                    "NoClientCert" => "",
                    _ => "  client_ca_file: ca.crt\n",
                };
                let web = format!("{TLS}  client_auth_type: {name}\n{ca}");
                let servers = Servers::start(dir, &format!("{name}.yml"), &web);
                let mut rows = Vec::new();
                for client in CLIENTS {
                    for tls in ["--tlsv1.3", "--tls-max=1.2"] {
                        let statuses = servers.statuses(dir, client, tls);
                        rows.push((name, client, tls, statuses));
                    }
                }
                rows
            })
        });
        rows.map(|row| row.join().unwrap()).concat()
    });
    let docs = DOCS.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut different = BTreeSet::new();
    for row @ (_, client, _, [prometheus, daemon]) in &rows {
        if prometheus != daemon {
            assert_eq!((*prometheus, *daemon), (200, 0), "{row:?}");
            different.insert(*client);
        }
    }
    for (client, documentation) in DIFFERENT {
        assert!(different.remove(client), "{client} is accepted");
        assert!(
            docs.contains(documentation),
            "not in docs/web.md: {documentation}"
        );
    }
    assert!(different.is_empty(), "{different:?}");
    // The strictest type distinguishes the clients as expected.
    let accepted = rows.iter().filter_map(|(name, client, tls, [status, _])| {
        let is_meant = (*name, *tls) == (types[4], "--tlsv1.3") && *status == 200;
        is_meant.then_some(*client)
    });
    let expected = [
        "signed",
        "clientonly",
        "chained",
        "rsa2048",
        "rsa1024",
        "p384",
        "p521",
        "ed25519",
        "version1",
        "self",
        "selfleaf",
    ];
    assert!(accepted.eq(expected), "{rows:?}");
}

/// Prometheus and the daemon, with the same web configuration and certificates.
struct Servers {
    prometheus: Prometheus,
    service: Service,
}

impl Servers {
    fn start(dir: &WebDir, file: &str, web: &str) -> Self {
        dir.write(file, web);
        let mut config = dir.config();
        config.web.config_file = dir.path().join(file);
        Self {
            prometheus: Prometheus::start(dir.path(), file),
            service: Service::start(&config),
        }
    }

    /// Returns the HTTP statuses that a client gets from Prometheus and from the daemon.
    fn statuses(&self, dir: &WebDir, client: &str, tls: &str) -> [u16; 2] {
        [self.prometheus.address, self.service.address]
            .map(|address| status(dir.path(), address, client, tls))
    }
}

#[test]
fn changed_files_are_applied_as_by_prometheus_or_the_difference_is_documented() {
    let dir = certificates();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let unparsable = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    let [ours, server, key] = ["ours.crt", "server.crt", "server.key"].map(read);
    let (old_server, p521) = (read("version1.crt"), read("p521.crt"));
    let web = format!("{TLS}{MUTUAL}");
    let servers = Servers::start(&dir, "web.yml", &web);
    let both = |status: u16| [status; 2];
    for (name, text, expected) in [
        ("ca.crt", format!("{ours}{unparsable}"), both(200)),
        ("ca.crt", format!("{unparsable}{ours}"), both(200)),
        ("ca.crt", format!("{}\n{ours}", half(&ours)), both(200)),
        ("ca.crt", format!("{ours}{}", half(&ours)), both(200)),
        ("ca.crt", format!("{key}text\n{ours}"), both(200)),
        ("ca.crt", ours.replace('\n', "\r\n"), both(200)),
        ("ca.crt", half(&ours), both(0)),
        ("ca.crt", unparsable.to_owned(), both(0)),
        ("ca.crt", String::new(), both(0)),
        ("ca.crt", read("theirs.crt"), both(0)),
        ("ca.crt", old_server.clone(), both(0)),
        ("server.crt", format!("{server}{ours}"), both(200)),
        ("server.crt", format!("{server}{}", half(&ours)), both(200)),
        // Both servers send the unparsable certificate, and the client rejects it.
        ("server.crt", format!("{server}{unparsable}"), both(0)),
        ("server.crt", format!("{key}{server}"), both(200)),
        ("server.crt", server.replace('\n', "\r\n"), both(200)),
        ("server.crt", half(&server), both(0)),
        (
            "server.crt",
            format!("{}\n{server}", half(&server)),
            [200, 0],
        ),
        ("server.crt", unparsable.to_owned(), both(0)),
        ("server.crt", ours.clone(), both(0)),
        ("server.crt", String::new(), both(0)),
        ("server.key", format!("{server}{key}"), both(200)),
        ("server.key", format!("{key}{server}"), both(200)),
        ("server.key", half(&key), both(0)),
        ("server.key", read("p384.key"), both(0)),
        ("server.key", String::new(), both(0)),
        ("web.yml", half(&web), both(0)),
        ("web.yml", format!("{web}x: 1\n"), both(0)),
        ("web.yml", String::new(), both(0)),
        // The daemon does not stop requiring client certificates until it is restarted.
        ("web.yml", TLS.to_owned(), [200, 0]),
    ] {
        let before = read(name);
        dir.write(name, &text);
        let found = servers.statuses(&dir, "signed", "--tlsv1.3");
        assert_eq!(found, expected, "{name}: {text}");
        dir.write(name, &before);
        assert_eq!(servers.statuses(&dir, "signed", "--tlsv1.3"), both(200));
    }
    // Certificates and keys that only Prometheus can use.
    for (certificate, key, status) in [
        (old_server, read("version1.key"), 200),
        (p521, read("p521.key"), 200),
    ] {
        dir.write("server.crt", &certificate);
        dir.write("server.key", &key);
        let found = servers.statuses(&dir, "signed", "--tlsv1.3");
        assert_eq!(found, [status, 0], "{certificate}");
    }
}
