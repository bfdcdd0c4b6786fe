//! What this host allows, as far as the selection of hooks depends on it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::hook::{AttachPoint, FEXIT, Hook, Refusal};
use super::object;

/// The directories at which tracefs is usually mounted.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// What this host allows. A fact is collected only when it is asked for, because trying a
/// hook loads programs.
pub trait Facts {
    /// Whether the kernel loads and attaches this program.
    fn try_hook(&mut self, hook: Hook) -> Result<(), Refusal>;
    /// Whether the kernel loads and attaches all of these programs. One try is faster than
    /// one for each program.
    fn supports_all(&mut self, hooks: &[Hook]) -> bool;
    /// The limit that was reached, if the kernel cannot currently load any object.
    fn shortage(&mut self) -> Option<String>;
    /// Whether the kernel may skip programs at this kind of attach point.
    fn may_skip(&mut self, attach_point: AttachPoint) -> bool;
    /// Whether tracefs is mounted and readable.
    fn tracefs(&mut self) -> Tracefs;
}

/// The state of tracefs, in which the kernel describes its tracepoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tracefs {
    /// The mount point.
    Readable(PathBuf),
    /// Why this process may not read it.
    NotReadable(String),
    NotMounted,
}

impl Tracefs {
    /// Looks for the tracepoints of system calls.
    pub fn find() -> Self {
        let mut state = Self::NotMounted;
        for path in TRACEFS.map(Path::new) {
            match path.join("events/syscalls").try_exists() {
                Ok(true) => return Self::Readable(path.to_owned()),
                Err(error) if state == Self::NotMounted => {
                    state = Self::NotReadable(error.to_string());
                }
                Ok(false) | Err(_) => {}
            }
        }
        state
    }
}

/// The facts of the running kernel. Each is collected at most once.
#[derive(Debug)]
pub struct Host {
    ask_may_skip: fn(AttachPoint) -> bool,
    tried: HashMap<&'static str, Result<(), Refusal>>,
    may_skip: HashMap<AttachPoint, bool>,
}

impl Host {
    /// `may_skip` asks the kernel whether it may skip programs.
    pub fn new(may_skip: fn(AttachPoint) -> bool) -> Self {
        Self {
            ask_may_skip: may_skip,
            tried: HashMap::new(),
            may_skip: HashMap::new(),
        }
    }
}

impl Facts for Host {
    fn try_hook(&mut self, hook: Hook) -> Result<(), Refusal> {
        let tried = self.tried.entry(hook.program);
        let is_tried_with_others = FEXIT.contains(&hook);
        let try_twice = || {
            object::try_out(hook).or_else(|refusal| {
                // Try again, because an error may pass; a kernel that does not support the hook
                // refuses it again. The fexit hooks have been tried once already, all together.
                let is_known = refusal.shortage.is_some() || is_tried_with_others;
                if is_known {
                    Err(refusal)
                } else {
                    object::try_out(hook)
                }
            })
        };
        tried.or_insert_with(try_twice).clone()
    }

    fn supports_all(&mut self, hooks: &[Hook]) -> bool {
        let is_known = |hook: &Hook| matches!(self.tried.get(hook.program), Some(Ok(())));
        if hooks.iter().all(is_known) {
            return true;
        }
        let supports_all = object::can_have_all(hooks);
        if supports_all {
            let accepted = hooks.iter().map(|hook| (hook.program, Ok(())));
            self.tried.extend(accepted);
        }
        supports_all
    }

    fn shortage(&mut self) -> Option<String> {
        object::shortage()
    }

    fn may_skip(&mut self, attach_point: AttachPoint) -> bool {
        let answer = self.may_skip.entry(attach_point);
        *answer.or_insert_with(|| (self.ask_may_skip)(attach_point))
    }

    fn tracefs(&mut self) -> Tracefs {
        Tracefs::find()
    }
}
