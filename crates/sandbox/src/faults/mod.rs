//! Habits of badly behaved servers, by name.
//!
//! A fault acts at one of five places, one module each: before a request is looked at ([`gate`]), on the question
//! ([`question`]), on which rows a page shows and what follows it ([`turn`]), on its links ([`links`]), on the text of
//! its entries ([`entries`]) and on the bytes that leave ([`wire`]). Faults combine: each place asks for its own.
//! Nothing here rolls dice: what happens *now and then* happens at fixed beats of a counter of requests, in such a way
//! that the same request sent again passes.

pub(crate) mod entries;
pub(crate) mod gate;
pub(crate) mod links;
mod memory;
mod names;
pub(crate) mod question;
pub(crate) mod turn;
pub(crate) mod wire;

pub use names::Fault;

use std::fmt;
use std::time::Duration;

use crate::options::{DEFAULT_COUNT, MAX_COUNT, Options};
use crate::platforms::{Paging, Profile};
use memory::Memory;

/// The known name that shares most pairs of letters with the one given.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let pairs = |text: &str| -> Vec<(char, char)> { text.chars().zip(text.chars().skip(1)).collect() };
    let wanted = pairs(name);
    known
        .map(|known| (pairs(known).iter().filter(|pair| wanted.contains(pair)).count(), known))
        .filter(|(shared, _)| *shared > 1)
        .max_by_key(|(shared, _)| *shared)
        .map(|(_, known)| known.to_owned())
}

/// How this sandbox behaves, worked out from its options once, and what it remembers of its requests.
pub(crate) struct Behaviour {
    pub(crate) default_count: usize,
    pub(crate) max_count: usize,
    pub(crate) profile: Profile,
    pub(crate) memory: Memory,
    faults: Vec<Fault>,
    clock: Option<crate::options::Clock>,
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Behaviour")
            .field("profile", &self.profile)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Behaviour {
    pub(crate) fn new(options: &Options) -> Self {
        let profile = options.platform.map(|platform| platform.profile()).unwrap_or_default();
        let mut faults = options.faults.clone();
        faults.extend_from_slice(profile.faults);
        Self {
            default_count: options.default_count.or(profile.default_count).unwrap_or(DEFAULT_COUNT),
            max_count: options.max_count.or(profile.max_count).unwrap_or(MAX_COUNT),
            profile,
            memory: Memory::default(),
            faults,
            clock: options.clock.clone(),
        }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// The first of these faults that is on.
    pub(crate) fn first(&self, faults: &[Fault]) -> Option<Fault> {
        faults.iter().copied().find(|fault| self.has(*fault))
    }

    /// How pages are linked.
    pub(crate) fn paging(&self) -> Paging {
        self.profile.paging
    }

    /// Time since 1970.
    pub(crate) fn now(&self) -> Duration {
        match &self.clock {
            Some(clock) => clock(),
            None => std::time::UNIX_EPOCH.elapsed().unwrap_or_default(),
        }
    }
}
