//! Programs that read what the daemon serves: Prometheus, promtool and Chromium. Many of these tests
//! run the real daemon and need root.

mod alerts; // each alert fires under its cause, and no other does
mod attacks; // no scrape is missed under attack
mod dashboard; // the Grafana dashboard is well-formed and documented
mod dashboard_data; // each of its panels shows data
mod kubernetes; // the rules and the query for Kubernetes
mod listen; // the daemon listens where Prometheus does
mod page; // the page, in Chromium
mod rules; // recording rules and alerts, by their unit tests
mod scrape; // Prometheus scrapes the daemon
mod toolkit; // a web configuration means the same as to Prometheus
mod web; // Prometheus scrapes over TLS, with certificates and users
