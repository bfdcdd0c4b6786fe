//! Connections where TLS is served, up to the end of the handshake, which no fuzzer finds. Of
//! clients a certificate is asked, and what it says is looked at: in TLS 1.2 it comes before
//! anything has been proven.

use crate::server::Server;
use testkit::certificates::Authority;

/// What a client is told that speaks HTTP.
const NOT_HTTPS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\n\
    Client sent an HTTP request to an HTTPS server.\n";

/// The longest record, encrypted (RFC 8446, 5.2; RFC 5246, 6.2.3).
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

/// Any bytes: the answer is TLS, or says that it should be; no request comes through.
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
            panic!("no record: {}", rest.escape_ascii());
        };
        assert!(matches!(kind, 20..=23), "a record of kind {kind}");
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        assert!(length <= MAX_RECORD);
        rest = further.split_at(length).1;
    }
}
