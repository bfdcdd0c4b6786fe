//! Tests with the programs that read what the daemon serves: Prometheus, promtool and Chromium. Many
//! of them run the real daemon and need root.

mod alerts; // each alert fires under its cause, and no other alert does
mod attacks; // no scrape is missed under attack
mod bursts; // execs per second in queries
mod cookbook; // the questions of the cookbook have the answers that it shows
mod dashboard; // the Grafana dashboard is well-formed and documented
mod dashboard_data; // each panel of the dashboard shows data
mod first_execs; // the first exec of a program counts in Prometheus
mod kubernetes; // the rules and the query for Kubernetes
mod listen; // the daemon reads listen addresses as Prometheus does
mod page; // the page, in Chromium
mod rules; // recording rules and alerts, by their unit tests
mod scrape; // Prometheus scrapes the daemon
mod toolkit; // a web configuration has the same effect as with Prometheus
mod web; // Prometheus scrapes over TLS, with certificates and users
