//! Decides whether the first group of an expression can match a part of any path.
//!
//! It searches the states of the expression's automaton together with a position in a path: paths start
//! with a slash and have neither empty names nor NUL bytes. What depends on more, such as the boundary
//! of a word or a line, is taken to hold, and alternatives have no order. The answer is therefore never
//! wrongly no.

use std::collections::HashSet;

use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::look::Look;
use regex_automata::util::primitives::StateID;

/// What precedes the current position of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Position {
    Start,
    /// The slash at the start.
    Root,
    Name,
    /// A slash after a name, which another name must follow.
    Slash,
}

/// How much of the group has been matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Group {
    Outside,
    Begun,
    /// It contains at least one byte.
    Filling,
    Filled,
}

/// A state of the automaton at a position of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct At {
    state: StateID,
    position: Position,
    group: Group,
    /// Whether the path must end here.
    is_end: bool,
}

pub(super) fn can_be_filled(nfa: &NFA) -> bool {
    let start = At {
        state: nfa.start_unanchored(),
        position: Position::Start,
        group: Group::Outside,
        is_end: false,
    };
    let mut seen = HashSet::from([start]);
    let mut next = vec![start];
    while let Some(at) = next.pop() {
        let state = nfa.state(at.state);
        let can_end = !at.is_end || at.position != Position::Slash;
        if matches!(state, State::Match { .. }) && at.group == Group::Filled && can_end {
            return true;
        }
        let further = at.further(state);
        next.extend(further.into_iter().filter(|at| seen.insert(*at)));
    }
    false
}

impl At {
    /// Returns where a state leads.
    fn further(self, state: &State) -> Vec<Self> {
        let to = |state| Self { state, ..self };
        match state {
            State::ByteRange { trans } => self.consume(trans.start, trans.end, trans.next),
            State::Sparse(sparse) => {
                let ranges = sparse.transitions.iter();
                ranges
                    .flat_map(|trans| self.consume(trans.start, trans.end, trans.next))
                    .collect()
            }
            State::Dense(dense) => {
                let bytes = (0..=u8::MAX).zip(dense.transitions.iter());
                bytes
                    .filter(|(_, next)| **next != StateID::ZERO)
                    .flat_map(|(byte, next)| self.consume(byte, byte, *next))
                    .collect()
            }
            State::Look { look, next } => match look {
                Look::Start if self.position != Position::Start => Vec::new(),
                Look::End => vec![Self {
                    is_end: true,
                    ..to(*next)
                }],
                _ => vec![to(*next)],
            },
            State::Union { alternates } => alternates.iter().copied().map(to).collect(),
            State::BinaryUnion { alt1, alt2 } => vec![to(*alt1), to(*alt2)],
            State::Capture { next, slot, .. } => vec![Self {
                group: self.group.at_slot(slot.as_usize()),
                ..to(*next)
            }],
            State::Fail | State::Match { .. } => Vec::new(),
        }
    }

    /// Returns where a byte from `first` to `last` leads, if a path can have it here.
    fn consume(self, first: u8, last: u8, state: StateID) -> Vec<Self> {
        let has_slash = (first..=last).contains(&b'/');
        let has_other = (first..=last).any(|byte| byte != b'/' && byte != 0);
        let positions = match self.position {
            _ if self.is_end => [None, None],
            Position::Start => [has_slash.then_some(Position::Root), None],
            Position::Root | Position::Slash => [None, has_other.then_some(Position::Name)],
            Position::Name => [
                has_slash.then_some(Position::Slash),
                has_other.then_some(Position::Name),
            ],
        };
        let group = match self.group {
            Group::Begun => Group::Filling,
            group => group,
        };
        let further = positions.into_iter().flatten();
        further
            .map(|position| Self {
                state,
                position,
                group,
                ..self
            })
            .collect()
    }
}

impl Group {
    /// The slots 2 and 3 are the start and the end of the first group.
    fn at_slot(self, slot: usize) -> Self {
        match (slot, self) {
            (2, _) => Self::Begun,
            (3, Self::Filling) => Self::Filled,
            (3, _) => Self::Outside,
            _ => self,
        }
    }
}
