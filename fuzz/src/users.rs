//! HTTP with basic authentication.

use crate::answers;
use crate::server::Server;

/// A web configuration with a header and one user, whose password "secret" is hashed at the lowest
/// bcrypt cost.
const WEB_CONFIG: &str = "\
basic_auth_users:
  alice: $2b$04$R/uoTKEKYZxnuBOEPW8nS.iIr7/m0M4BMBvdn1YPFR2iCe1AkNISK
http_server_config:
  headers:
    X-Frame-Options: deny
";

/// `alice:secret` in Base64, as basic authentication sends it. These 12 bytes have only one Base64
/// encoding.
const CREDENTIALS: &[u8] = b"YWxpY2U6c2VjcmV0";

thread_local! {
    static SERVER: Server = Server::start(Some(WEB_CONFIG));
}

/// For any bytes: only requests with the password are answered by the routes.
pub fn check(bytes: &[u8]) {
    let connection = SERVER.with(|server| server.send(bytes));
    let may_know = bytes
        .windows(CREDENTIALS.len())
        .any(|word| word == CREDENTIALS);
    for answer in answers::of(&connection) {
        match answer.status {
            401 => assert_eq!(answer.header("www-authenticate"), Some(&b"Basic"[..])),
            // No thread could be started to compare the password.
            503 => {}
            200 | 404 | 405 | 414 => assert!(may_know, "{} without a password", answer.status),
            status => panic!("{status}"),
        }
        assert_eq!(answer.header("x-frame-options"), Some(&b"deny"[..]));
        assert_eq!(
            answer.header("x-content-type-options"),
            Some(&b"nosniff"[..])
        );
    }
}
