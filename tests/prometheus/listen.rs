//! The daemon reads a listen address as Prometheus does, and listens in the same places.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread::scope;

use testkit::prometheus::agent;

const PORT: &str = "9999";

/// Runs a server in a separate network namespace and prints the addresses on which it answers.
/// Port 9999 is 270F in /proc/net.
const SCRIPT: &str = "
ip link set lo up
ip -6 address add fe80::1/64 dev lo
mount --bind \"$1\" /etc/hosts
shift
\"$@\" >/dev/null 2>&1 &
server=$!
while kill -0 $server 2>/dev/null && ! grep -q ':270F .* 0A ' /proc/net/tcp /proc/net/tcp6; do
    sleep 0.05
done
for host in 127.0.0.1 '[::1]' '[fe80::1%25lo]'; do
    curl -sg -o /dev/null -m 5 \"http://$host:9999/-/healthy\" && echo \"$host\"
done
kill $server 2>/dev/null
wait $server
";

const HOSTS: &str = "::1 localhost six\n127.0.0.1 localhost\n127.0.0.1 four\n";

fn reached(dir: &Path, server: &Command) -> Vec<String> {
    let output = Command::new("unshare")
        .args(["--mount", "--net", "sh", "-c", SCRIPT, "sh"])
        .arg(dir.join("hosts"))
        .arg(server.get_program())
        .args(server.get_args())
        .output()
        .expect("unshare (util-linux) runs");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().map(str::to_owned).collect()
}

#[test]
fn each_address_is_bound_as_prometheus_binds_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hosts"), HOSTS).unwrap();
    std::fs::write(dir.path().join("prometheus.yml"), "").unwrap();
    let [v4, v6, link] = ["127.0.0.1", "[::1]", "[fe80::1%25lo]"];
    let table: BTreeMap<&str, Vec<&str>> = [
        (":PORT", vec![v4, v6, link]),
        ("0.0.0.0:PORT", vec![v4, v6, link]),
        ("[::]:PORT", vec![v4, v6, link]),
        ("[::ffff:0.0.0.0]:PORT", vec![v4, v6, link]),
        ("[]:PORT", vec![v4, v6, link]),
        ("127.0.0.1:PORT", vec![v4]),
        ("[127.0.0.1]:PORT", vec![v4]),
        ("[::ffff:127.0.0.1]:PORT", vec![v4]),
        ("[::1]:PORT", vec![v6]),
        ("[fe80::1%lo]:PORT", vec![link]),
        ("[fe80::1%1]:PORT", vec![link]),
        ("localhost:PORT", vec![v4]),
        ("[localhost]:PORT", vec![v4]),
        ("four:PORT", vec![v4]),
        ("six:PORT", vec![v6]),
        ("PORT", vec![]),
        ("localhost", vec![]),
        ("localhost:x", vec![]),
        ("localhost:65536", vec![]),
        ("::1:PORT", vec![]),
        ("[::1:PORT", vec![]),
        ("[::1]PORT", vec![]),
        ("fe80::1%lo:PORT", vec![]),
        ("[fe80::1]:PORT", vec![]),
        ("[fe80::1%absent]:PORT", vec![]),
        ("127.1:PORT", vec![]),
        ("127.0.0.01:PORT", vec![]),
        ("*:PORT", vec![]),
        ("absent.invalid:PORT", vec![]),
        ("192.0.2.1:PORT", vec![]),
    ]
    .into();
    scope(|scope| {
        for (written, expected) in table {
            let dir = dir.path();
            scope.spawn(move || {
                let address = format!("--web.listen-address={}", written.replace("PORT", PORT));
                let data = tempfile::tempdir().unwrap();
                let mut prometheus = agent(data.path());
                prometheus
                    .arg(format!("--config.file={}/prometheus.yml", dir.display()))
                    .arg(&address);
                let mut daemon = Command::new(env!("CARGO_BIN_EXE_execsnoopd"));
                daemon.args(["--config", "/dev/null"]).arg(&address);
                assert_eq!(reached(dir, &prometheus), expected, "Prometheus, {written}");
                assert_eq!(reached(dir, &daemon), expected, "execsnoopd, {written}");
            });
        }
    });
}
