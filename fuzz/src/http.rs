//! HTTP without access control.

use crate::answers;
use crate::server::Server;

thread_local! {
    static SERVER: Server = Server::start(None);
}

/// For any bytes: each request gets one of the expected answers, and the connection is closed.
pub fn check(bytes: &[u8]) {
    let connection = SERVER.with(|server| server.send(bytes));
    for answer in answers::of(&connection) {
        assert!(
            matches!(answer.status, 200 | 404 | 405 | 414),
            "{}",
            answer.status
        );
        assert_eq!(
            answer.header("x-content-type-options"),
            Some(&b"nosniff"[..])
        );
    }
}
