//! The state that an earlier daemon saved, which may come from any process.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use execsnoopd::pipeline::aggregator::Aggregator;
use execsnoopd::pipeline::flush::Flush;
use execsnoopd::pipeline::message::Message;
use execsnoopd::pipeline::name_cache::Names;
use execsnoopd::pipeline::saved::State;
use execsnoopd::pipeline::view::{Label, View};
use execsnoopd::record::{Event, Kind};
use execsnoopd::sys::state_file::StateFile;
use rustix::fs::{MemfdFlags, memfd_create};

/// The number of execs after the restart.
const EXECS: u64 = 3;

/// Any file is read or refused, and then overwritten. Of any state, decoding and encoding gives the
/// same bytes again, and the counts continue and add up.
pub fn check(bytes: &[u8]) {
    let mut file = StateFile::from_fd(file_of(bytes));
    if let Ok(state) = file.read() {
        decode(&state);
    }
    file.write(bytes).expect("the input is short");
    assert_eq!(file.read().expect("a valid slot"), bytes);
    decode(bytes);
}

fn decode(bytes: &[u8]) {
    let Ok(state) = State::decode(bytes) else {
        return;
    };
    // A number can have several encodings, so these may differ from the input.
    let encoded = state.encode().expect("a state");
    let again = State::decode(&encoded).expect("the same state");
    assert_eq!(again.encode().expect("a state"), encoded);
    resume(state);
}

fn resume(state: State) {
    let before = Aggregator::resume(state.counts.clone(), vec![]).snapshot();
    let views = [vec![Label::Comm], vec![Label::Uid, Label::User]];
    let views = views.map(|labels| View::new(labels, 2));
    let mut aggregator = Aggregator::resume(state.counts, views.into());
    let attributed = before.execs - before.unattributed;
    aggregator.apply(Message::Events(
        vec![Event::default(); usize::try_from(EXECS).expect("a small number")],
        Names::default(),
    ));
    let mut flush = Flush {
        is_scrape: true,
        ..Flush::default()
    };
    for kind in Kind::ALL {
        flush.after[kind].seen = u64::MAX / 2;
    }
    aggregator.apply(Message::Flushed(Box::new(flush)));
    let after = aggregator.snapshot();
    assert_eq!(after.execs - after.unattributed, attributed + EXECS);
    for view in &after.views {
        let execs = view.series.iter().map(|series| series.counts.execs);
        let sum = execs.sum::<u64>() + view.overflow.execs + view.yielded.execs;
        let expected = attributed + EXECS + view.unattributed_before.execs;
        assert_eq!(sum, expected, "{:?}", view.labels);
    }
}

fn file_of(bytes: &[u8]) -> OwnedFd {
    let fd = memfd_create("state", MemfdFlags::CLOEXEC).expect("a file in memory");
    let file = File::from(fd);
    file.write_all_at(bytes, 0).expect("room in memory");
    file.into()
}
