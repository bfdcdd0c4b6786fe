//! Views: their labels, reserved series, and a reload that changes them.

use std::path::Path;
use std::time::Duration;

use execsnoopd::config::{Config, ViewConfig};
use execsnoopd::pipeline::view::Label;
use execsnoopd::record::Kind;
use testkit::bytes::{encode, encode_subject};
use testkit::fake::event;
use testkit::http::{Scrape, get};
use testkit::service::Service;

const RELOADED: &str = "execsnoop_config_last_reload_successful";

fn config_with_view(labels: &[Label], max_series: usize) -> Config {
    Config {
        view: vec![ViewConfig {
            max_series,
            ..ViewConfig::by(labels)
        }],
        ..Config::default()
    }
}

#[test]
fn a_view_by_parent_and_program_has_both_labels() {
    let service = Service::start(&config_with_view(&[Label::ParentComm, Label::Comm], 10));
    let mut by_nginx = event(b"sh", 33, 1);
    by_nginx.subject.parent_comm[..5].copy_from_slice(b"nginx");
    service.kernel(|kernel| kernel.emit(encode(&by_nginx)));
    let scrape = Scrape::of(service.address);
    let sample = "execsnoop_execs_by_parent_comm_comm_total{parent_comm=\"nginx\",comm=\"sh\"}";
    assert_eq!(scrape.value(sample), 1.0);
    service.stop().unwrap();
}

#[test]
fn a_view_by_user_alone_has_one_series_for_all_uids_of_a_name() {
    let service = Service::start(&config_with_view(&[Label::User], 10));
    let nobody_has = [3_999_999_998, 3_999_999_999];
    service.kernel(|kernel| {
        for uid in [0, nobody_has[0], nobody_has[1]] {
            kernel.emit(encode(&event(b"id", uid, 1)));
        }
    });
    let scrape = Scrape::of(service.address);
    let execs = |user| scrape.value(&format!("execsnoop_execs_by_user_total{{user=\"{user}\"}}"));
    assert_eq!((execs("root"), execs("")), (1.0, 2.0));
    scrape.assert_ledger_closes();
    service.stop().unwrap();
}

#[test]
fn a_view_that_filters_and_renames_keeps_its_sum() {
    let text = "[[view]]\nlabels = [\"unit\", \"comm\"]\nmetrics = [\"execs\", \"cpu_seconds\"]\n\
        where = { unit = [\"*.service\"], not_comm = [\"kworker*\"] }\n\
        rename = { comm = [[\"^python3\\\\.[0-9]+$\", \"python3\"], [\"^(.*)-[0-9a-f]{8,}$\", \"$1-*\"]] }\n";
    let service = Service::start(&Config::parse(text, Path::new("config.toml")).unwrap());
    service.kernel(|kernel| {
        kernel
            .cgroups
            .insert(1, b"/system.slice/web.service".to_vec());
        kernel
            .cgroups
            .insert(2, b"/user.slice/session.scope".to_vec());
        for (comm, cgroup_id) in [
            (&b"python3.9"[..], 1),
            (b"python3.11", 1),
            (b"job-deadbeef01", 1),
            (b"job-12345678", 1),
            (b"kworker-fake", 1),
            (b"python3.11", 2),
            (b"python3.11", 3), // of an unknown name
        ] {
            let mut event = event(comm, 0, 1);
            event.subject.cgroup_id = cgroup_id;
            kernel.emit(encode(&event));
        }
    });
    let scrape = Scrape::of(service.address);
    let execs = |unit: &str, comm: &str| {
        let sample =
            format!("execsnoop_execs_by_unit_comm_total{{unit=\"{unit}\",comm=\"{comm}\"}}");
        scrape.find(&sample)
    };
    assert_eq!(execs("web.service", "python3"), Some(2.0));
    assert_eq!(execs("web.service", "job-*"), Some(2.0));
    assert_eq!(execs("other", "other"), Some(3.0));
    assert_eq!(
        scrape.family("execsnoop_execs_by_unit_comm_total").count(),
        3
    );
    // Taken slots are not the reason.
    let overflow = scrape.value("execsnoop_series_overflow_total{view=\"unit_comm\"}");
    assert_eq!(overflow, 0.0);
    scrape.assert_ledger_closes();
    service.stop().unwrap();
}

#[test]
fn execs_in_a_cgroup_without_a_known_name_are_unknown_in_a_view_by_unit() {
    let service = Service::start(&config_with_view(&[Label::Unit, Label::Slice], 10));
    service.kernel(|kernel| {
        let path = b"/system.slice/cron.service".to_vec();
        kernel.cgroups.insert(17, path);
        for (cgroup_id, times) in [(17, 3), (18, 1)] {
            let mut event = event(b"sh", 0, 1);
            event.subject.cgroup_id = cgroup_id;
            (0..times).for_each(|_| kernel.emit(encode(&event)));
            kernel.tally(encode_subject(&event), times);
        }
    });
    let scrape = Scrape::of(service.address);
    for (unit, slice, times) in [
        ("cron.service", "system.slice", 6.0),
        ("unknown", "unknown", 2.0),
    ] {
        let sample =
            format!("execsnoop_execs_by_unit_slice_total{{unit=\"{unit}\",slice=\"{slice}\"}}");
        assert_eq!(scrape.value(&sample), times);
    }
    assert_eq!(
        scrape.value("execsnoop_series_overflow_total{view=\"unit_slice\"}"),
        0.0
    );
    assert_eq!(scrape.value("execsnoop_unknown_cgroup_execs_total"), 2.0);
    scrape.assert_ledger_closes();
    service.stop().unwrap();
}

#[test]
fn execs_without_a_cgroup_are_counted_as_unknown_where_a_view_shows_them_so() {
    for (labels, unknown) in [(&[Label::PodUid][..], 3.0), (&[Label::Comm], 0.0)] {
        let service = Service::start(&config_with_view(labels, 10));
        service.kernel(|kernel| kernel.tally(encode_subject(&event(b"sh", 0, 1)), 3));
        let scrape = Scrape::of(service.address);
        assert_eq!(
            scrape.value("execsnoop_unknown_cgroup_execs_total"),
            unknown
        );
        if unknown > 0.0 {
            let sample = "execsnoop_execs_by_pod_uid_total{pod_uid=\"unknown\"}";
            assert_eq!(scrape.value(sample), unknown);
        }
        service.stop().unwrap();
    }
}

/// A configuration with a view by a label of its own.
fn config_with_label(pattern: &str) -> Config {
    let text = format!(
        "[[label]]\nname = \"slurm_job\"\ncgroup = \"{pattern}\"\n\
         [[view]]\nlabels = [\"slurm_job\", \"comm\"]\n"
    );
    Config::parse(&text, Path::new("config.toml")).unwrap()
}

#[test]
fn a_label_of_the_configuration_is_evaluated_again_when_its_definition_changes() {
    const METRIC: &str = "execsnoop_execs_by_slurm_job_comm_total";
    let execute = |service: &Service, cgroup_id| {
        service.kernel(|kernel| {
            let mut event = event(b"sim", 0, 1);
            event.subject.cgroup_id = cgroup_id;
            kernel.emit(encode(&event));
            kernel.tally(encode_subject(&event), 1);
        });
    };
    let of_job = |scrape: &Scrape, job: &str| {
        scrape.find(&format!("{METRIC}{{slurm_job=\"{job}\",comm=\"sim\"}}"))
    };
    let service = Service::start(&config_with_label("/job_([0-9]+)"));
    service.kernel(|kernel| {
        let paths = [
            (1, "/slurm/job_42/step_0"),
            (2, "/slurm/job_43"),
            (3, "/other"),
        ];
        let paths = paths.map(|(id, path)| (id, path.as_bytes().to_vec()));
        kernel.cgroups.extend(paths);
    });
    (1..=4).for_each(|id| execute(&service, id));
    let before = Scrape::of(service.address);
    for job in ["42", "43", "", "unknown"] {
        assert_eq!(of_job(&before, job), Some(2.0), "{job:?}");
    }
    assert_eq!(before.value("execsnoop_unknown_cgroup_execs_total"), 2.0);

    // The same definition: the view continues.
    service.reload(&config_with_label("/job_([0-9]+)"));
    service.await_sample(RELOADED, 1.0);
    execute(&service, 1);
    let same = Scrape::of(service.address);
    assert_eq!(of_job(&same, "42"), Some(4.0));

    // Another one: cgroups that have been seen before have new values.
    service.reload(&config_with_label("/(job_[0-9]+)"));
    service.await_sample(
        "execsnoop_series_yielded_execs_total{view=\"slurm_job_comm\"}",
        10.0,
    );
    execute(&service, 1);
    let after = Scrape::of(service.address);
    assert_eq!(of_job(&after, "job_42"), Some(2.0));
    assert_eq!(of_job(&after, "42"), None);
    assert_eq!(after.increase(&same, METRIC), 2.0);
    after.assert_ledger_closes();
    service.stop().unwrap();
}

#[test]
fn a_reserved_series_exists_from_the_start_and_is_never_evicted() {
    let mut config = config_with_view(&[Label::Comm], 3);
    config.view[0].always = vec!["sshd".to_owned()];
    config.view[0].idle_after = Duration::ZERO;
    let service = Service::start(&config);
    let sshd = "execsnoop_execs_by_comm_total{comm=\"sshd\"}";
    assert_eq!(Scrape::of(service.address).value(sshd), 0.0);
    service.kernel(|kernel| {
        for n in 0..100 {
            kernel.emit(encode(&event(format!("n{n}").as_bytes(), 0, 1)));
        }
        kernel.emit(encode(&event(b"sshd", 0, 1)));
    });
    let scrape = Scrape::of(service.address);
    assert_eq!(scrape.value(sshd), 1.0);
    assert_eq!(scrape.value("execsnoop_series{view=\"comm\"}"), 3.0);
    assert_eq!(scrape.value("execsnoop_series_limit{view=\"comm\"}"), 3.0);
    // When all slots are taken, each new series evicts one, because `idle_after` is 0. No scrape has
    // shown these series.
    assert_eq!(
        scrape.value("execsnoop_series_overflow_total{view=\"comm\"}"),
        98.0
    );
    assert_eq!(scrape.execs_of("other"), 98.0);
    assert_eq!(scrape.yielded("comm"), 0.0);
    scrape.assert_ledger_closes();
    service.stop().unwrap();
}

const TOTAL: &str = "execsnoop_execs_total";
const BY_UID: &str = "execsnoop_execs_by_uid_total";

/// Lets users execute programs, each as often as given.
fn execute(service: &Service, users: impl IntoIterator<Item = (u32, u64)>) {
    service.kernel(|kernel| {
        for (uid, times) in users {
            kernel.tally(encode_subject(&event(b"program", uid, 1)), times);
        }
    });
}

fn of_user(scrape: &Scrape, uid: &str) -> Option<f64> {
    scrape.find(&format!("{BY_UID}{{uid=\"{uid}\"}}"))
}

#[test]
fn execs_of_an_evicted_series_appear_in_no_rate() {
    let mut config = config_with_view(&[Label::Uid], 2);
    config.view[0].idle_after = Duration::from_secs(2);
    let service = Service::start(&config);
    let before = Scrape::of(service.address);
    execute(&service, [(1, 300)]);
    let shown = Scrape::of(service.address);
    assert_eq!(shown.increase(&before, BY_UID), 300.0);

    std::thread::sleep(Duration::from_millis(3100));
    execute(&service, [(2, 1), (3, 1)]);
    let after = Scrape::of(service.address);
    assert_eq!(of_user(&after, "other"), Some(0.0));
    assert_eq!(of_user(&after, "1"), None);
    assert_eq!(after.yielded("uid"), 300.0);
    assert_eq!(after.increase(&shown, BY_UID), 2.0);
    assert_eq!(after.increase(&shown, TOTAL), 2.0);
    after.assert_ledger_closes();
    service.stop().unwrap();
}

#[test]
fn execs_that_no_scrape_has_shown_appear_in_a_rate_although_their_series_was_evicted() {
    let mut config = config_with_view(&[Label::Uid], 1);
    config.view[0].idle_after = Duration::ZERO;
    let service = Service::start(&config);
    execute(&service, [(1, 300)]);
    let before = Scrape::of(service.address);
    execute(&service, [(1, 50)]);
    // The page is not a scrape.
    assert_eq!(get(service.address, "/").status, 200);
    execute(&service, [(2, 1), (3, 1)]);
    let after = Scrape::of(service.address);
    // The series of the uid 2 was not scraped either.
    assert_eq!(of_user(&after, "other"), Some(51.0));
    assert_eq!(after.yielded("uid"), 300.0);
    assert_eq!(after.increase(&before, BY_UID), 52.0);
    assert_eq!(after.increase(&before, TOTAL), 52.0);
    after.assert_ledger_closes();
    service.stop().unwrap();
}

#[test]
fn a_series_that_returns_with_more_than_before_is_a_counter_reset() {
    let mut config = config_with_view(&[Label::Uid], 1);
    config.view[0].idle_after = Duration::ZERO;
    let service = Service::start(&config);
    execute(&service, [(1, 300)]);
    let mut before = Scrape::of(service.address);
    // The uid 1 is evicted and returns between two scrapes.
    execute(&service, [(2, 1), (3, 1)]);
    assert_eq!(get(service.address, "/").status, 200);
    execute(&service, [(1, 400)]);
    for (expected, more) in [(299.0, 1000), (1299.0, 0)] {
        let after = Scrape::of(service.address);
        assert_eq!(of_user(&after, "1"), Some(expected));
        let increase = |family| after.increase(&before, family);
        assert_eq!(increase(BY_UID), increase(TOTAL));
        after.assert_ledger_closes();
        before = after;
        execute(&service, [(1, more)]);
    }
    service.stop().unwrap();
}

#[test]
fn a_view_whose_labels_change_begins_anew() {
    let service = Service::start(&config_with_view(&[Label::Uid], 2));
    execute(&service, [(1, 300)]);
    Scrape::of(service.address); // they are counted before the reload
    let named = |labels| config_with_view(labels, 2);
    for labels in [&[Label::Uid, Label::User][..], &[Label::User, Label::Uid]] {
        service.reload(&named(labels));
        // Only the order of the labels changes in the second reload.
        let sample = format!("{BY_UID}{{uid=\"other\",user=\"other\"}}");
        let sample = match labels[0] {
            Label::Uid => sample,
            _ => format!("{BY_UID}{{user=\"other\",uid=\"other\"}}"),
        };
        service.await_sample(&sample, 0.0);
        let scrape = Scrape::of(service.address);
        assert_eq!(scrape.yielded("uid"), 300.0);
        execute(&service, [(1, 7)]);
        scrape.assert_ledger_closes();
    }
    let scrape = Scrape::of(service.address);
    assert_eq!(scrape.sum(BY_UID), 14.0);
    service.stop().unwrap();
}

#[test]
fn a_reload_changes_views_without_losing_a_count() {
    let service = Service::start(&config_with_view(&[Label::Comm], 1));
    service.kernel(|kernel| {
        kernel.emit(encode(&event(b"a", 5, 1)));
        kernel.emit(encode(&event(b"b", 5, 2)));
    });
    let scrape = Scrape::of(service.address);
    assert_eq!((scrape.execs_of("a"), scrape.execs_of("other")), (1.0, 1.0));

    let mut changed = config_with_view(&[Label::Comm], 2);
    changed.view.push(ViewConfig::by(&[Label::Uid]));
    service.reload(&changed);
    let by_uid = |uid| format!("execsnoop_execs_by_uid_total{{uid=\"{uid}\"}}");
    // Execs before the view existed are counted as yielded, so they do not appear as a burst.
    service.await_sample("execsnoop_series_yielded_execs_total{view=\"uid\"}", 2.0);
    assert_eq!(Scrape::of(service.address).value(&by_uid("other")), 0.0);
    service.kernel(|kernel| {
        kernel.emit(encode(&event(b"a", 5, 3)));
        kernel.emit(encode(&event(b"b", 5, 4)));
    });
    let scrape = Scrape::of(service.address);
    assert_eq!((scrape.execs_of("a"), scrape.execs_of("b")), (2.0, 1.0));
    assert_eq!(scrape.execs_of("other"), 1.0);
    assert_eq!(scrape.value(&by_uid("5")), 2.0);
    assert_eq!(scrape.value(&by_uid("other")), 0.0);
    assert_eq!(scrape.value("execsnoop_execs_total"), 4.0);
    assert_eq!(scrape.value(RELOADED), 1.0);

    // A change of `capture.exits` is rejected together with the changed views.
    let mut refused = Config::default();
    refused.capture.exits = false;
    service.reload(&refused);
    service.await_sample(RELOADED, 0.0);
    let scrape = Scrape::of(service.address);
    assert_eq!(scrape.value(&by_uid("5")), 2.0);
    scrape.assert_ledger_closes();
    assert_eq!(service.stop().unwrap().execs, 4);
}

#[test]
fn names_that_only_exit_do_not_hide_a_program_that_is_executed() {
    let service = Service::start(&config_with_view(&[Label::Comm], 100));
    service.kernel(|kernel| {
        for n in 0..110 {
            let mut exit = event(format!("fork-{n}").as_bytes(), 1000, 1);
            exit.subject.kind = Kind::CpuTime.in_kernel();
            exit.cpu_ns = 1_000_000_000;
            kernel.emit_as(Kind::CpuTime, encode(&exit));
        }
    });
    let cpu = |scrape: &Scrape, comm| {
        let sample = format!("execsnoop_cpu_seconds_by_comm_total{{comm=\"{comm}\"}}");
        scrape.find(&sample)
    };
    let scrape = Scrape::of(service.address);
    assert_eq!(scrape.value("execsnoop_series{view=\"comm\"}"), 100.0);
    assert_eq!(cpu(&scrape, "other"), Some(10.0));

    service.kernel(|kernel| kernel.emit(encode(&event(b"visible", 1000, 1))));
    let scrape = Scrape::of(service.address);
    assert_eq!(scrape.execs_of("visible"), 1.0);
    assert_eq!(scrape.execs_of("other"), 0.0);
    // CPU time stays where it was counted, unless its series was evicted.
    assert_eq!(cpu(&scrape, "other"), Some(10.0));
    let yielded = "execsnoop_series_yielded_cpu_seconds_total{view=\"comm\"}";
    assert_eq!(scrape.value(yielded), 1.0);
    assert_eq!(scrape.sum("execsnoop_cpu_seconds_by_comm_total"), 109.0);
    scrape.assert_ledger_closes();
    service.stop().unwrap();
}

#[test]
fn a_user_who_fills_a_view_leaves_others_their_share() {
    for (user_share, hidden) in [(0.5, 40.0), (0.1, 80.0), (1.0, 90.0)] {
        let mut config = config_with_view(&[Label::Comm], 100);
        config.view[0].user_share = user_share;
        let service = Service::start(&config);
        service.kernel(|kernel| {
            for n in 0..100 {
                kernel.emit(encode(&event(format!("filler-{n}").as_bytes(), 1000, 1)));
            }
        });
        Scrape::of(service.address);
        service.kernel(|kernel| {
            for n in 0..90 {
                kernel.emit(encode(&event(format!("own-{n}").as_bytes(), 0, 1)));
            }
        });
        let scrape = Scrape::of(service.address);
        // The other user gets slots up to `user_share`. With 1.0, the first user never has more than
        // the share, and keeps all slots.
        assert_eq!(scrape.execs_of("other"), hidden);
        scrape.assert_ledger_closes();
        service.stop().unwrap();
    }
}
