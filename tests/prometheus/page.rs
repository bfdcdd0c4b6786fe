//! The page at `/`, in Chromium.

use axum::http::{HeaderValue, header};
use axum::response::Response;
use execsnoopd::capture::hook::CLASSIC;
use execsnoopd::capture::{CaptureInfo, TransportKind};
use execsnoopd::config::{Config, ViewConfig};
use execsnoopd::names::escape::escape;
use execsnoopd::pipeline::history::SPANS;
use execsnoopd::pipeline::view::Label;
use execsnoopd::record::Kind;
use testkit::busy::busy;
use testkit::bytes::{encode, encode_subject};
use testkit::chromium::{Shown, keep_pictures, open};
use testkit::dom::{Element, rows, value};
use testkit::fake::event;
use testkit::fixed::Fixed;
use testkit::host;
use testkit::http::Scrape;
use testkit::service::{Service, capture_info};

/// Names that any user may give a program.
const HOSTILE_COMMS: [&[u8]; 10] = [
    b"<script>x()</sc",
    b"</bdi></th><b>",
    b"<img src=x oner",
    b"'\"><svg onload=",
    b"",
    b"&lt;b&gt;&amp;<",
    "\u{202e}txt.exe".as_bytes(), // right-to-left override
    "\u{627}\u{644}\u{639} a\u{301}".as_bytes(), // right-to-left letters, and a combining mark
    "a\u{200b}b\u{feff}".as_bytes(), // zero-width characters
    b"\xff\xfe\xc3(\x1b[31m\n",
];

/// Names that any user may give a cgroup.
const HOSTILE_UNITS: [&[u8]; 6] = [
    b"",
    b"<!--<script>document.title='x'<script>.service",
    b"<img src=x onerror=\"fetch('http:')\">.service",
    b"\"><svg onload=alert(1) style=\"position:fixed\">.scope",
    b"\xff\xfe<base href=x>.service",
    // the maximum length
    &LONG,
];

const LONG: [u8; 255] = {
    let mut name = [b'l'; 255];
    let (_, suffix) = name.split_at_mut(255 - b".service".len());
    suffix.copy_from_slice(b".service");
    name
};

/// A service that has counted programs and units of these names, each program twice as often as the
/// one before.
fn service(comms: &[&[u8]], units: &[&[u8]]) -> Service {
    let views: [&[Label]; 4] = [
        &[Label::Comm],
        &[Label::Uid, Label::User],
        &[Label::Unit],
        &[Label::ParentComm, Label::Comm],
    ];
    let service = Service::start(&Config {
        view: views.map(ViewConfig::by).to_vec(),
        ..Config::default()
    });
    service.kernel(|kernel| {
        for (n, comm) in (1..).zip(comms) {
            let id = n % units.len();
            let path = [b"/user.slice/", units[id]].concat();
            kernel.cgroups.insert(1 + id as u64, path);
            let mut event = event(comm, 900_000, 1);
            event.subject.parent_comm = event.subject.comm;
            event.subject.cgroup_id = 1 + id as u64;
            kernel.tally(encode_subject(&event), 1 << n);
            event.subject.kind = Kind::CpuTime.in_kernel();
            event.cpu_ns = 1_234_567_890;
            kernel.exit(0, 1_000_000);
            kernel.emit_as(Kind::CpuTime, encode(&event));
        }
    });
    service
}

fn named<'a>(elements: &'a [Element], name: &str) -> Vec<&'a Element> {
    elements.iter().filter(|e| e.name == name).collect()
}

/// Returns the names of all elements and of their attributes, without text and attribute values. Leaves
/// out the section of the chart, which grows with time and shows no names.
fn shape(page: &Shown) -> Vec<(&str, Vec<&str>)> {
    let mut is_in_chart = false;
    let outside = page.elements.iter().filter(|element| {
        if element.name == "section" {
            is_in_chart = element.attribute("aria-labelledby") == Some("rate");
        }
        !is_in_chart
    });
    let shape = outside.map(|element| {
        let attributes = element.attributes.keys().map(String::as_str);
        (&*element.name, attributes.collect())
    });
    shape.collect()
}

#[test]
fn hostile_names_are_text_and_nothing_else() {
    let _shared = host::shared();
    let hostile = service(&HOSTILE_COMMS, &HOSTILE_UNITS);
    let page = open(hostile.address, "/");
    assert_eq!(page.console, [""; 0]);
    keep_pictures(hostile.address, "hostile");

    let harmless = service(
        &[b"a", b"b", b"c", b"d", b"", b"f", b"g", b"h", b"i", b"j"],
        &[
            b"", b"a.scope", b"b.scope", b"c.scope", b"d.scope", b"e.scope",
        ],
    );
    assert_eq!(shape(&page), shape(&open(harmless.address, "/")));

    // The table begins with the last program, which was executed most often.
    let comms = HOSTILE_COMMS.iter().rev().map(|comm| escape(comm));
    let comms: Vec<_> = comms.map(|comm| vec![comm]).collect();
    assert_eq!(names(&page, "by-comm"), comms);
    let pairs: Vec<_> = comms.iter().map(|c| [&c[..], &c[..]].concat()).collect();
    assert_eq!(names(&page, "by-parent_comm_comm"), pairs);
    let mut units = HOSTILE_UNITS.map(|unit| vec![escape(unit)]).to_vec();
    units.sort();
    let mut shown = names(&page, "by-unit");
    shown.sort();
    assert_eq!(shown, units);
    for name in named(&page.elements, "bdi").iter().skip(1) {
        assert_eq!(name.attribute("title"), Some(&*name.text));
    }
}

#[test]
fn the_numbers_of_the_page_are_those_of_the_metrics() {
    let _shared = host::shared();
    let service = service(&HOSTILE_COMMS, &HOSTILE_UNITS);
    service.kernel(|kernel| {
        kernel.fail_to_attribute(Kind::Exec, 12_345);
        kernel.fail(2, 1_000_000);
        kernel.fail(13, 3);
        kernel.exit(9, 1_000_000);
    });
    let page = open(service.address, "/");
    let scrape = Scrape::of(service.address);

    let figures: Vec<_> = named(&page.elements, "data")
        .into_iter()
        .map(value)
        .collect();
    assert_eq!(
        figures[..3],
        [
            scrape.value("execsnoop_execs_total"),
            scrape.sum("execsnoop_exec_failures_total"),
            scrape.sum("execsnoop_exits_total"),
        ]
    );
    let labels: [(&str, &[&str]); 4] = [
        ("comm", &["comm"]),
        ("uid", &["uid", "user"]),
        ("unit", &["unit"]),
        ("parent_comm_comm", &["parent_comm", "comm"]),
    ];
    for (view, labels) in labels {
        let family = format!("execsnoop_execs_by_{view}_total");
        let cpu_family = format!("execsnoop_cpu_seconds_by_{view}_total");
        let rows = rows(&page.elements, &format!("by-{view}"));
        let mut execs = 0.0;
        for (names, numbers) in &rows {
            execs += numbers[0];
            if names.len() == 1 && names[0].ends_with(" more") {
                continue;
            }
            let is_other = names == &["other"];
            let names = if is_other {
                &vec![names[0].clone(); labels.len()]
            } else {
                names
            };
            let values = labels.iter().zip(names).map(|(label, name)| {
                format!(
                    "{label}=\"{}\"",
                    name.replace('\\', "\\\\").replace('"', "\\\"")
                )
            });
            let values = values.collect::<Vec<_>>().join(",");
            let expected =
                [&family, &cpu_family].map(|f| scrape.value(&format!("{f}{{{values}}}")));
            assert_eq!(numbers[..], expected, "{view} {values}");
        }
        assert_eq!(execs, scrape.sum(&family), "{view}");
    }
    for (error, times) in rows(&page.elements, "failures") {
        let sample = format!("execsnoop_exec_failures_total{{errno=\"{}\"}}", error[0]);
        assert_eq!(times, [scrape.value(&sample)], "{sample}");
    }
    assert_eq!(
        rows(&page.elements, "exits"),
        [
            (
                vec!["status 0".to_owned()],
                vec![HOSTILE_COMMS.len() as f64]
            ),
            (vec!["SIGKILL".to_owned()], vec![1.0]),
        ]
    );
}

#[test]
fn the_browser_requests_only_the_page() {
    let _shared = host::shared();
    let page = Fixed::serve(busy(), &capture_info());
    assert_eq!(open(page.address, "/").console, [""; 0]);
    assert_eq!(page.requests(), ["/"]);
}

#[test]
fn the_policy_allows_the_style_by_its_hash_and_no_other_style() {
    let _shared = host::shared();
    let page = Fixed::serve(busy(), &capture_info());
    assert_eq!(open(page.address, "/").console, [""; 0]);
    let changed = |mut response: Response| {
        let headers = response.headers_mut();
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        let policy = policy.replace("sha256-", "sha256-A");
        let policy = HeaderValue::from_str(&policy).unwrap();
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        response
    };
    let refused = Fixed::serve_through(busy(), &capture_info(), changed);
    let console = open(refused.address, "/").console;
    assert!(console.concat().contains("inline style"), "{console:?}");
}

#[test]
fn the_chart_shows_each_span_of_the_last_minutes() {
    let _shared = host::shared();
    let page = Fixed::serve(busy(), &capture_info());
    keep_pictures(page.address, "busy");
    let elements = open(page.address, "/").elements;
    let spans = elements
        .iter()
        .filter(|e| e.attribute("class") == Some("at"));
    assert_eq!(spans.count(), SPANS);
    let counts: Vec<u64> = busy().recent.counts().collect();
    let titles: Vec<_> = named(&elements, "title")
        .into_iter()
        .skip(2)
        .map(|e| &*e.text)
        .collect();
    assert_eq!(titles.len(), SPANS);
    let second = format!("{} per second, 14 min 50 s ago", counts[1] / 5);
    assert_eq!(titles[1], second);
}

#[test]
fn the_page_of_an_idle_host_is_valid() {
    let _shared = host::shared();
    let service = Service::start(&Config::default());
    let page = open(service.address, "/");
    assert_eq!(page.console, [""; 0]);
    keep_pictures(service.address, "idle");
    let notes = page
        .elements
        .iter()
        .filter(|e| e.attribute("class") == Some("note"));
    let none_so_far = notes.filter(|e| e.text == "None so far.");
    assert_eq!(none_so_far.count(), 4);
}

#[test]
fn the_page_with_every_warning_is_valid() {
    let _shared = host::shared();
    let means = CaptureInfo {
        hooks: CLASSIC.to_vec(),
        transport: TransportKind::Ring,
        buffer_bytes: 1 << 20,
    };
    let mut snapshot = busy();
    snapshot.unattributed = 4_321;
    snapshot.missed = 21;
    snapshot.differences = [5, 0, 0, 0];
    snapshot.views[0].overflow.execs = 77_000;
    snapshot.flush.after[Kind::Exec].buffer_full = 1_234_567;
    snapshot.flush.after[Kind::Exec].no_buffer = 12;
    snapshot.flush.undecodable = 1;
    let page = Fixed::serve(snapshot, &means);
    assert_eq!(open(page.address, "/").console, [""; 0]);
    keep_pictures(page.address, "bad");
}

/// The names in a table.
fn names(page: &Shown, labelled_by: &str) -> Vec<Vec<String>> {
    let rows = rows(&page.elements, labelled_by);
    rows.into_iter().map(|(names, _)| names).collect()
}
