//! Records real input as seeds. `fuzz/make-seeds` runs it.
//!
//! `seed records DIRECTORY` writes the records that the kernel side sends while programs are
//! executed. `seed relay PORT PREFIX` writes the bytes that clients send to a server, one file per
//! connection. `seed state DIRECTORY` writes what a daemon saves.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use execsnoopd::capture::options::FailureHooks;
use execsnoopd::capture::source::Source;
use execsnoopd::capture::{Capture, Input, KernelSide, Live, Options, TransportKind};
use execsnoopd::names::cgroup::Cgroup;
use execsnoopd::names::own_label::OwnLabel;
use execsnoopd::pipeline::aggregator::Aggregator;
use execsnoopd::pipeline::continuity::Continuity;
use execsnoopd::pipeline::flush::Flush;
use execsnoopd::pipeline::message::Message;
use execsnoopd::pipeline::name_cache::Names;
use execsnoopd::pipeline::saved::State;
use execsnoopd::pipeline::view::{Label, View};
use execsnoopd::record::{Event, Kind, Observation, Subject, Traced, kind, nul_terminated};
use execsnoopd::sys::state_file::StateFile;

/// More events than fit into the smallest buffers.
const STORM: usize = 200;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["records", directory] => records(Path::new(directory)),
        ["relay", port, prefix] => relay(port.parse()?, prefix),
        ["state", directory] => state(Path::new(directory)),
        _ => Err("records DIRECTORY, relay PORT PREFIX, or state DIRECTORY".into()),
    }
}

fn state(directory: &Path) -> Result<()> {
    let continuity = Continuity::new(SystemTime::UNIX_EPOCH, KernelSide::default());
    let write = |name: &str, aggregator: &Aggregator| {
        let state = State {
            continuity: continuity.clone(),
            counts: aggregator.saved(),
        };
        let encoded = state.encode()?;
        let mut file = StateFile::create()?;
        file.write(&encoded)?;
        let mut slot = File::from(file.as_fd().try_clone_to_owned()?);
        let mut bytes = Vec::new();
        slot.read_to_end(&mut bytes)?;
        fs::write(directory.join(format!("file-{name}")), bytes)?;
        fs::write(directory.join(name), encoded)?;
        Result::Ok(())
    };
    let views = [
        vec![Label::Comm],
        vec![Label::Unit, Label::Comm],
        vec![Label::Uid],
        vec![Label::Exe],
        vec![Label::PodUid, Label::Own(OwnLabel::new("job", "/(job)"))],
    ];
    let views = views.map(|labels| View::new(labels, 3));
    let mut aggregator = Aggregator::new(views.into());
    write("empty", &aggregator)?;
    let cgroup = Arc::new(Cgroup::of_path(b"/system.slice/ssh.service"));
    let events = (0..40_u8).map(|n| {
        let mut event = Event {
            cpu_ns: 1_000_000,
            ..Event::default()
        };
        event.subject.comm[0] = b'a' + n % 5;
        event.subject.uid = u32::from(n % 2);
        event.subject.cgroup_id = 7;
        event.subject.exe = 8;
        let kind = [Kind::Exec, Kind::CpuTime][usize::from(n) % 3 % 2];
        event.subject.kind = kind.in_kernel();
        event
    });
    let names = Names {
        cgroups: [(7, cgroup)].into(),
        exes: [(8, b"program".as_slice().into())].into(),
    };
    aggregator.apply(Message::Events(events.collect(), names));
    write("counts", &aggregator)?;
    let mut flush = Flush {
        is_scrape: true,
        ..Flush::default()
    };
    flush.after[Kind::Exec].unattributed = 3;
    flush.exits.add(0, 5);
    flush.failures.add(2, 1);
    aggregator.apply(Message::Flushed(Box::new(flush)));
    write("flushed", &aggregator)
}

fn records(directory: &Path) -> Result<()> {
    let counted = Options {
        buffer_pages: 1,
        inputs: [Input::ParentComm, Input::Cgroup, Input::Exe].into(),
        with_exits: true,
        with_failures: true,
        failures: Some(FailureHooks::FexitOrTracepoint),
        ..Options::default()
    };
    let mut capture = Capture::start(&counted)?;
    execute()?;
    for _ in 0..STORM {
        Command::new("true").status()?;
    }
    let name = |bytes: &[u8]| name_of(&Event::decode(bytes).ok()?.subject);
    capture.drain_events(&mut kept("event", directory, name))?;
    let name = |bytes: &[u8]| name_of(&Event::decode_subject(bytes).ok()?);
    let mut subject_kept = kept("subject", directory, name);
    capture.drain_tally(&mut |subject, count| {
        subject_kept(subject);
        fs::write(directory.join("count"), count).expect("it can be written");
    })?;
    drop(capture);

    let shown = Options {
        transports: vec![TransportKind::Ring],
        with_exits: false,
        with_failures: false,
        live: Live {
            failures: true,
            exits: true,
            path: true,
            args: true,
            ..Live::default()
        },
        ..counted
    };
    let mut capture = Capture::start(&Options {
        buffer_pages: 64,
        ..shown
    })?;
    execute()?;
    let name = |bytes: &[u8]| name_of(&Traced::decode(bytes).ok()?.event().subject);
    capture.drain_events(&mut kept("traced", directory, name))?;
    Ok(())
}

/// Executes programs that succeed, fail and are killed by a signal, a program that does not exist, a
/// file that is not executable, and programs whose names and arguments are not valid UTF-8.
fn execute() -> Result<()> {
    let programs = std::env::temp_dir().join(format!("execsnoopd-seed-{}", std::process::id()));
    fs::create_dir(&programs)?;
    let copy = |name: &[u8]| -> io::Result<PathBuf> {
        let path = programs.join(OsStr::from_bytes(name));
        fs::copy("/bin/true", &path).map(|_| path)
    };
    let (odd, long) = (copy(b"\x1b[31m\xff\\n")?, copy(b"a name that is too long")?);
    for mut command in [
        Command::new(odd),
        Command::new(long),
        Command::new("false"),
        Command::new("/nonexistent"),
        Command::new("/etc/passwd"),
    ] {
        // Some of them are expected to fail.
        let _ = command.arg(OsStr::from_bytes(b"\xff\n")).status();
    }
    Command::new("sh").args(["-c", "kill -9 $$"]).status()?;
    Command::new("true")
        .args(vec!["x".repeat(100); 40])
        .uid(65534)
        .status()?;
    fs::remove_dir_all(programs)?;
    Ok(())
}

/// Returns a file name for a program of [`execute`], and None for programs of other processes.
fn name_of(subject: &Subject) -> Option<String> {
    let comm = nul_terminated(&subject.comm).escape_ascii().to_string();
    let ours = ["true", "false", "sh", "seed", "a name that is ", "\\x1b"];
    let is_ours = ours.iter().any(|name| comm.starts_with(name));
    let comm = comm.replace(['\\', '/', '[', ' '], "_");
    is_ours.then(|| format!("{}-{comm}", kind(subject).name()))
}

/// Returns a function that writes the first record of each name to a file.
fn kept(what: &str, directory: &Path, name: impl Fn(&[u8]) -> Option<String>) -> impl FnMut(&[u8]) {
    let mut seen = BTreeSet::new();
    move |bytes| {
        if let Some(name) = name(bytes)
            && seen.insert(name.clone())
        {
            let file = directory.join(format!("{what}-{name}"));
            fs::write(file, bytes).expect("it can be written");
        }
    }
}

/// Listens on a port, prints it, and relays each connection to `port`.
fn relay(port: u16, prefix: &str) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for (i, client) in (1..).zip(listener.incoming()) {
        let (client, server) = (client?, TcpStream::connect(("127.0.0.1", port))?);
        let (mut back, mut to_client) = (server.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut back, &mut to_client);
            let _ = to_client.shutdown(Shutdown::Both);
        });
        let file = format!("{prefix}-{i}");
        thread::spawn(move || recorded(client, server, &file));
    }
    Ok(())
}

fn recorded(mut client: TcpStream, mut server: TcpStream, file: &str) {
    let mut sent = Vec::new();
    let mut buffer = [0; 1 << 14];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        sent.extend_from_slice(&buffer[..read]);
        // The file is written after each read, because fuzz/make-seeds kills this process.
        fs::write(file, &sent).expect("it can be written");
        if server.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}
