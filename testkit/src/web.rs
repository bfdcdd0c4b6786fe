//! A directory with a web configuration and the files that it names.

use std::path::{Path, PathBuf};

use execsnoopd::config::{Config, Web};
use tempfile::TempDir;

use crate::certificates::{Authority, Identity};
use crate::paths::public_dir;

/// The hash of the password "secret", with the lowest cost that bcrypt supports.
pub const SECRET: &str = "$2b$04$R/uoTKEKYZxnuBOEPW8nS.iIr7/m0M4BMBvdn1YPFR2iCe1AkNISK";

/// The hash of the same password with cost 10, the usual one.
pub const COSTLY_SECRET: &str = "$2b$10$gVwKYNuPuT6cr/Y0pUvSWOKth5w.YAX6D4h7qyHI2AtSd9iuvQwFK";

/// The header for the user and password `alice:secret`.
pub const ALICE: &str = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";
/// The header for `alice:wrong`.
pub const ALICE_WRONG: &str = "Authorization: Basic YWxpY2U6d3Jvbmc=\r\n";
/// The header for `nobody:secret`.
pub const NOBODY: &str = "Authorization: Basic bm9ib2R5OnNlY3JldA==\r\n";

/// TLS with the certificate and key of [`WebDir::tls`].
pub const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

/// Continues [`TLS`]: clients need a certificate from the authority of [`WebDir::tls`].
pub const MUTUAL: &str =
    "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";

/// A directory with `web.yml`.
#[derive(Debug)]
pub struct WebDir(TempDir);

impl WebDir {
    pub fn new(web_config: &str) -> Self {
        let dir = Self(public_dir());
        dir.write("web.yml", web_config);
        dir
    }

    /// Like [`new`](Self::new), with the certificate and key of a server, and the certificate of its
    /// authority.
    pub fn tls(web_config: &str, authority: &Authority) -> Self {
        let dir = Self::new(web_config);
        dir.identity("server", &authority.server());
        dir.write("ca.crt", &authority.pem);
        dir
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn web_config(&self) -> PathBuf {
        self.path().join("web.yml")
    }

    /// Writes or replaces a file.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// Writes `NAME.crt` and `NAME.key`.
    pub fn identity(&self, name: &str, identity: &Identity) {
        self.write(&format!("{name}.crt"), &identity.certificate);
        self.write(&format!("{name}.key"), &identity.key);
    }

    /// The default configuration with this web configuration.
    pub fn config(&self) -> Config {
        Config {
            web: Web {
                config_file: self.web_config(),
                ..Web::default()
            },
            ..Config::default()
        }
    }
}

/// A section `basic_auth_users` in which all users have the password "secret".
pub fn users(names: &[&str]) -> String {
    let lines = names.iter().map(|name| format!("  {name}: {SECRET}\n"));
    format!("basic_auth_users:\n{}", lines.collect::<String>())
}

/// A view whose slots are all taken. It makes an answer larger than a megabyte.
pub fn full_view() -> String {
    let names: Vec<_> = (0..10_000).map(|n| format!("\"program-{n:07}\"")).collect();
    let names = names.join(", ");
    format!("[[view]]\nlabels = [\"comm\"]\nmax_series = 10001\nalways = [\"honest\", {names}]\n")
}
