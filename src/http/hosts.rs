//! Answers only requests for names of this host, if nothing else protects the metrics.
//!
//! The owner of a web page can make the name of the page resolve to an address of this host (DNS
//! rebinding). In the browser of a user who can connect to the daemon, the page can then read the
//! metrics. Such requests are recognized by their `Host`, which is the name of the page.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use crate::http::connections::Source;
use crate::names::escape;

/// The host names for which requests are answered, in lower case.
#[derive(Debug)]
struct Hosts(BTreeSet<String>);

/// Restricts the routes to requests whose host is an IP address, `localhost`, this host's own name
/// or one of `names`.
pub fn restrict(router: Router, names: &[String]) -> Router {
    let node = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let hosts = Arc::new(Hosts::new(&node, names));
    router.layer(middleware::from_fn_with_state(hosts, check))
}

async fn check(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    if request.extensions().get() == Some(&Source::Unix) {
        return next.run(request).await;
    }
    match hosts.foreign(&request) {
        None => next.run(request).await,
        Some(host) => {
            let host = escape::printable(host);
            let text = format!(
                "This server does not answer requests for the host {host:?}. If that is one of its \
                 names, add it to web.hosts in config.toml.\n"
            );
            let nosniff = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");
            (StatusCode::MISDIRECTED_REQUEST, [nosniff], text).into_response()
        }
    }
}

impl Hosts {
    fn new(node: &str, names: &[String]) -> Self {
        let short = node.split('.').next().unwrap_or_default();
        let own = ["localhost", node, short].into_iter();
        let names = own.chain(names.iter().map(String::as_str));
        let names = names.filter(|name| !name.is_empty());
        Self(names.map(|name| plain(name).to_lowercase()).collect())
    }

    /// Returns a host that the request names and that is not a name of this host. A request that
    /// names no host is allowed, because it is not from a browser.
    fn foreign<'a>(&self, request: &'a Request) -> Option<&'a [u8]> {
        let target = request.uri().authority();
        let target = target.map(|authority| authority.host().as_bytes());
        let headers = request.headers().get_all(header::HOST).iter();
        let headers = headers.map(|value| without_port(value.as_bytes()));
        let mut hosts = target.into_iter().chain(headers);
        hosts.find(|host| !self.has(host))
    }

    fn has(&self, host: &[u8]) -> bool {
        let Ok(host) = std::str::from_utf8(host) else {
            return false;
        };
        let host = plain(host);
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        // Removes the zone of a link-local address, such as `%eth0`.
        let address = bracketed
            .unwrap_or(host)
            .split('%')
            .next()
            .unwrap_or_default();
        host.is_empty()
            || address.parse::<IpAddr>().is_ok()
            || self.0.contains(&host.to_lowercase())
    }
}

/// Removes the final dot, which stands for the root of the DNS.
fn plain(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn without_port(host: &[u8]) -> &[u8] {
    let colon = host.iter().rposition(|&byte| byte == b':');
    match colon {
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) => &host[..colon],
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;

    use super::*;

    fn is_foreign(target: &str, hosts: &[&str]) -> bool {
        let names = ["Metrics.Example".to_owned()];
        let known = Hosts::new("Web1.prod.example", &names);
        let mut request = Request::builder().uri(target);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        known
            .foreign(&request.body(Body::empty()).unwrap())
            .is_some()
    }

    #[test]
    fn addresses_and_names_of_the_host_are_allowed() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:10190",
            "10.1.2.3:80",
            "[::1]",
            "[::1]:10190",
            "[fe80::1%eth0]:10190",
            "localhost",
            "LOCALHOST:10190",
            "localhost.:10190",
            "web1",
            "web1.prod.example",
            "WEB1.prod.example.:10190",
            "metrics.example",
            "",
            ":10190",
            "localhost:",
        ] {
            assert!(!is_foreign("/metrics", &[host]), "{host}");
        }
        assert!(!is_foreign("/metrics", &[]), "HTTP/1.0");
        assert!(!is_foreign(
            "http://localhost:10190/metrics",
            &["localhost:10190"]
        ));
    }

    #[test]
    fn other_hosts_are_foreign() {
        for host in [
            "attacker.example",
            "attacker.example:10190",
            "127.0.0.1.attacker.example",
            "localhost.attacker.example",
            "web1.attacker.example",
            "prod.example",
            "localhost..",
            "[localhost]",
            "[::1].attacker.example",
            "attacker.example:1:2",
            "user@localhost",
        ] {
            assert!(is_foreign("/metrics", &[host]), "{host}");
        }
        assert!(is_foreign("/metrics", &["localhost", "attacker.example"]));
        assert!(is_foreign(
            "http://attacker.example/metrics",
            &["localhost"]
        ));
        assert!(is_foreign(
            "http://localhost/metrics",
            &["attacker.example"]
        ));
    }
}
