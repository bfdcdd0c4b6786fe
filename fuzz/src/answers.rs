//! Checks that a server sends valid HTTP: complete answers, with nothing between them.

use axum::http::Method;
use httparse::{EMPTY_HEADER, Response, Status, parse_chunk_size};

use crate::server::Connection;

/// Statuses that hyper sends without calling the routes, because the head of the request is invalid
/// or too large.
const REFUSALS: [u16; 3] = [400, 414, 431];

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, Vec<u8>)>,
}

impl Answer {
    /// Returns the value of a header, by its name in lower case. Panics if the header occurs twice.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.headers.iter().filter(|(other, _)| *other == name);
        let value = values.next().map(|(_, value)| &value[..]);
        assert!(values.next().is_none(), "{name} occurs twice");
        value
    }
}

/// Returns one answer per request that reached the routes. Panics if more follows than one answer
/// with a status of [`REFUSALS`].
pub(crate) fn of(connection: &Connection) -> Vec<Answer> {
    let mut rest = &connection.answers[..];
    let mut answers = Vec::new();
    for method in &connection.methods {
        let answer = next(&mut rest, method == Method::HEAD);
        assert_ne!(answer.status / 100, 1, "an interim answer");
        answers.push(answer);
    }
    if !rest.is_empty() {
        let refusal = next(&mut rest, false);
        assert!(
            REFUSALS.contains(&refusal.status),
            "{} without a request",
            refusal.status
        );
    }
    assert_eq!(rest.escape_ascii().to_string(), "", "after the last answer");
    answers
}

fn next(rest: &mut &[u8], is_to_head: bool) -> Answer {
    let mut headers = [EMPTY_HEADER; 32];
    let mut response = Response::new(&mut headers);
    let size = match response.parse(rest) {
        Ok(Status::Complete(size)) => size,
        other => panic!("{other:?}: {}", rest.escape_ascii()),
    };
    *rest = &rest[size..];
    let headers = response.headers.iter();
    let answer = Answer {
        status: response.code.expect("a status"),
        headers: headers
            .map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec()))
            .collect(),
    };
    if !is_to_head {
        skip_body(rest, &answer);
    }
    answer
}

fn skip_body(rest: &mut &[u8], answer: &Answer) {
    let length = answer.header("content-length");
    match answer.header("transfer-encoding") {
        Some(encoding) => {
            assert_eq!((encoding, length), (&b"chunked"[..], None));
            while skip_chunk(rest) {}
        }
        None => match length {
            Some(length) => {
                let length = std::str::from_utf8(length).expect("digits");
                *rest = rest.split_at(length.parse().expect("a length")).1;
            }
            // The body extends to the end of the connection.
            None => *rest = &[],
        },
    }
}

/// Returns whether there are more chunks.
fn skip_chunk(rest: &mut &[u8]) -> bool {
    let Ok(Status::Complete((head, size))) = parse_chunk_size(rest) else {
        panic!("not a chunk: {}", rest.escape_ascii());
    };
    let end = head + usize::try_from(size).expect("small");
    let (chunk, further) = rest.split_at(end + 2);
    assert!(chunk.ends_with(b"\r\n"));
    *rest = further;
    size > 0
}
