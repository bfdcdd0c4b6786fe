//! The reader thread alone: order, backpressure and flushes.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use execsnoopd::names::own_label::{OwnLabel, OwnLabels};
use execsnoopd::pipeline::change::{Change, Changes};
use execsnoopd::pipeline::flush::Control;
use execsnoopd::pipeline::message::Message;
use execsnoopd::pipeline::reader::{Error, Reader};
use execsnoopd::pipeline::view::{Label, View};
use execsnoopd::record::{Event, Kind};
use testkit::bytes::encode;
use testkit::fake::{Fake, Kernel, event};
use tokio::sync::mpsc;

struct Running {
    kernel: Arc<Mutex<Kernel>>,
    control: Control,
    messages: mpsc::Receiver<Message>,
    thread: JoinHandle<Result<(), Error>>,
}

fn start(kernel: Kernel, channel: usize) -> Running {
    let (source, kernel) = Fake::new(kernel);
    let control = Control::new().unwrap();
    let (sender, messages) = mpsc::channel(channel);
    let reader = Reader::new(source, control.clone(), sender);
    Running {
        kernel,
        control,
        messages,
        thread: std::thread::spawn(move || reader.run()),
    }
}

impl Running {
    /// Returns the times of the events before the next flush that answers `request`.
    fn times_until_flush(&mut self, request: u64) -> Vec<u64> {
        let mut times = Vec::new();
        loop {
            match self.messages.blocking_recv().expect("the reader lives") {
                Message::Events(events, _) => times.extend(events.iter().map(|e| e.time_ns)),
                Message::Flushed(flush) if flush.request >= request => return times,
                Message::Flushed(_)
                | Message::Tally(..)
                | Message::Seen { .. }
                | Message::Settled { .. }
                | Message::Change(..)
                | Message::Idle => {}
            }
        }
    }
}

#[test]
fn events_of_several_cpus_come_out_in_the_order_of_their_time() {
    let mut kernel = Kernel::default();
    for time in [10, 20, 30, 5, 15, 25, 1, 2, 3] {
        kernel.emit(encode(&event(b"prog", 0, time)));
    }
    let mut running = start(kernel, 16);
    let request = running.control.request_flush();
    assert_eq!(
        running.times_until_flush(request),
        [1, 2, 3, 5, 10, 15, 20, 25, 30]
    );
    running.control.stop();
    running.thread.join().unwrap().unwrap();
}

#[test]
fn an_event_newer_than_its_drain_is_held_back_but_not_lost() {
    const FUTURE: u64 = u64::MAX / 2;
    let mut kernel = Kernel::default();
    kernel.emit(encode(&event(b"prog", 0, FUTURE)));
    kernel.emit(encode(&event(b"prog", 0, 1)));
    let mut running = start(kernel, 16);
    let request = running.control.request_flush();
    running.control.stop();
    // The flush is not complete without it.
    assert_eq!(running.times_until_flush(request), [1, FUTURE]);
    running.thread.join().unwrap().unwrap();
}

#[test]
fn a_full_channel_makes_the_reader_wait_and_nothing_is_lost() {
    let mut kernel = Kernel::default();
    kernel.emit(encode(&event(b"prog", 0, 0)));
    let mut running = start(kernel, 1);
    // The reader has sent the event. Its next message, a flush, does not fit.
    while running.messages.is_empty() {
        std::thread::yield_now();
    }
    running
        .kernel
        .lock()
        .unwrap()
        .emit(encode(&event(b"prog", 0, 1)));
    let request = running.control.request_flush();
    assert_eq!(running.times_until_flush(request), [0, 1]);

    // A flush with an event is two messages, and the channel holds one, so the reader blocks after the
    // first.
    running
        .kernel
        .lock()
        .unwrap()
        .emit(encode(&event(b"prog", 0, 2)));
    let request = running.control.request_flush();
    while running.messages.is_empty() {
        std::thread::yield_now();
    }
    for time in 3..100 {
        running
            .kernel
            .lock()
            .unwrap()
            .emit(encode(&event(b"prog", 0, time)));
    }
    assert_eq!(running.kernel.lock().unwrap().events.len(), 97);
    assert_eq!(running.times_until_flush(request), [2]);
    let request = running.control.request_flush();
    assert_eq!(
        running.times_until_flush(request),
        (3..100).collect::<Vec<_>>()
    );
    running.control.stop();
    running.times_until_flush(0);
    running.thread.join().unwrap().unwrap();
}

#[test]
fn requests_made_together_are_answered_by_one_flush() {
    let mut running = start(Kernel::default(), 1);
    // The channel holds one flush, and the next one does not fit, so requests accumulate.
    for _ in 0..2 {
        let request = running.control.request_flush();
        while running.messages.is_empty() {
            std::thread::yield_now();
        }
        let _ = request;
    }
    let requests: Vec<u64> = (0..50).map(|_| running.control.request_flush()).collect();
    let mut flushes = 0;
    loop {
        if let Message::Flushed(flush) = running.messages.blocking_recv().unwrap() {
            flushes += 1;
            if flush.request >= *requests.last().unwrap() {
                break;
            }
        }
    }
    assert!(flushes <= 4, "{flushes} flushes for 52 requests");
    running.control.stop();
    running.times_until_flush(0);
    running.thread.join().unwrap().unwrap();
}

#[test]
fn a_reader_without_an_aggregator_ends() {
    let running = start(Kernel::default(), 1);
    drop(running.messages);
    running.control.request_flush();
    assert!(matches!(running.thread.join().unwrap(), Err(Error::Closed)));
}

#[test]
fn views_reach_the_aggregator_before_the_first_cgroup_with_their_labels() {
    let job = |pattern: &str| OwnLabel::new("job", pattern);
    let labels = |pattern| OwnLabels::compile([job(pattern)]).unwrap();
    let mut event = event(b"prog", 0, 1);
    event.subject.cgroup_id = 7;
    let mut kernel = Kernel::default();
    kernel.cgroups.insert(7, b"/job_42".to_vec());
    let (source, kernel) = Fake::new(kernel);
    let control = Control::new().unwrap();
    let (sender, mut messages) = mpsc::channel(16);
    let changes = Changes::default();
    let reader = Reader::<_, Event>::new(source, control.clone(), sender)
        .with_labels(labels("/job_(.*)"))
        .with_changes(Arc::clone(&changes));
    let thread = std::thread::spawn(move || reader.run());
    let mut flush = || {
        let request = control.request_flush();
        let mut until = Vec::new();
        loop {
            match messages.blocking_recv().expect("the reader lives") {
                Message::Flushed(flush) if flush.request >= request => return until,
                Message::Flushed(_) | Message::Seen { .. } | Message::Idle => {}
                message => until.push(message),
            }
        }
    };
    for (pattern, expected) in [("/job_(.*)", "42"), ("/(.*)", "job_42"), ("/(job)", "job")] {
        let label = job(pattern);
        if expected != "42" {
            let change = Change {
                views: vec![View::new(vec![Label::Own(label.clone())], 9)],
                watches: vec![],
                labels: labels(pattern),
            };
            *changes.lock().unwrap() = Some(change);
            let [Message::Change(views, _)] = &flush()[..] else {
                panic!("a flush after a change shows the change");
            };
            assert_eq!(views[0].labels(), [Label::Own(label.clone())]);
        }
        kernel.lock().unwrap().emit(encode(&event));
        let [Message::Events(_, names)] = &flush()[..] else {
            panic!("one event");
        };
        let value = names.cgroups[&7]
            .own(&label)
            .expect("the label is evaluated");
        assert_eq!(std::str::from_utf8(value), Ok(expected));
    }
    control.stop();
    thread.join().unwrap().unwrap();
}

/// A thousand execs that fail.
fn flood(kernel: &mut Kernel) {
    let mut failed = event(b"flood", 0, 1);
    failed.subject.kind = Kind::Failure.in_kernel();
    failed.subject.retval = -2;
    kernel.fail_of(&failed, 1000);
}

#[test]
fn a_daemon_continues_the_counts_of_an_earlier_one_during_a_flood_of_failures() {
    let mut kernel = Kernel {
        before_read: Some(flood),
        ..Kernel::default()
    };
    kernel.emit(encode(&event(b"prog", 0, 1)));
    let (source, _kernel) = Fake::new(kernel);
    let (sender, mut messages) = mpsc::channel(16);
    let mut reader = Reader::new(source, Control::new().unwrap(), sender).continuing(true);
    reader.flush_now().unwrap();
    let settled = std::iter::from_fn(|| messages.try_recv().ok()).find_map(|message: Message| {
        let Message::Settled { delivered, .. } = message else {
            return None;
        };
        Some(delivered)
    });
    let delivered = settled.expect("it does not wait for the end of the flood");
    assert_eq!(delivered, [Some(1), None, Some(0), Some(0)]);
}

#[test]
fn a_flood_of_failures_does_not_hide_that_an_exec_is_missing() {
    let mut kernel = Kernel {
        before_read: Some(|kernel| {
            flood(kernel);
            if kernel.failures.total() == 20_000 {
                kernel.ledgers[Kind::Exec].sent += 1;
                kernel.events.push_back(encode(&event(b"late", 0, 7)));
            }
        }),
        ..Kernel::default()
    };
    kernel.ledgers[Kind::Exec].seen = 1;
    let mut running = start(kernel, 64);
    let request = running.control.request_flush();
    assert_eq!(running.times_until_flush(request), [7]);
    running.control.stop();
    running.messages.close();
    let _ = running.thread.join().unwrap();
}
