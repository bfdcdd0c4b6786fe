//! TLS connections during the handshake, which random bytes never complete. The server requests a
//! client certificate and decodes it. In TLS 1.2, the certificate arrives before the client has proven
//! that it has the key.

use crate::server::Server;
use testkit::certificates::Authority;

/// The answer to plain HTTP.
const NOT_HTTPS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\n\
    Client sent an HTTP request to an HTTPS server.\n";

/// The largest size of an encrypted record in bytes (RFC 8446, 5.2; RFC 5246, 6.2.3).
const MAX_RECORD: usize = (1 << 14) + 2048;

thread_local! {
    static SERVER: Server = Server::start(Some(&web_config()));
}

fn web_config() -> String {
    let server = Authority::new("fuzz").server();
    let block = |pem: &str| pem.replace('\n', "\n    ");
    format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n  \
         client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [prometheus]\n",
        block(&server.certificate),
        block(&server.key)
    )
}

/// For any bytes: the answer is TLS, or the error for plain HTTP. No request reaches the routes.
pub fn check(bytes: &[u8]) {
    let connection = SERVER.with(|server| server.send(bytes));
    assert!(connection.methods.is_empty());
    let mut rest = &connection.answers[..];
    if rest == NOT_HTTPS {
        assert!(bytes[0].is_ascii_uppercase());
        return;
    }
    while !rest.is_empty() {
        let Some(([kind, 3, 1..=4, high, low], further)) = rest.split_first_chunk() else {
            panic!("not a record: {}", rest.escape_ascii());
        };
        assert!(matches!(kind, 20..=23), "a record of kind {kind}");
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        assert!(length <= MAX_RECORD);
        rest = further.split_at(length).1;
    }
}
