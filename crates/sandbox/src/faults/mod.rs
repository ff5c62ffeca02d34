//! Habits of badly behaved servers, by name.

use std::fmt;
use std::str::FromStr;

use crate::error::SandboxError;
use crate::options::{DEFAULT_COUNT, MAX_COUNT, Options};

macro_rules! faults {
    ($($variant:ident $name:literal $habit:literal $description:literal;)+) => {
        /// One habit of a badly behaved server; the numbers in the descriptions are those of the table of habits.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Fault {
            $(#[doc = $description] $variant),+
        }

        impl Fault {
            /// Every fault, in the order of the habits.
            #[must_use]
            pub const fn all() -> &'static [Self] {
                &[$(Self::$variant),+]
            }

            /// The name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What the server does, in one line.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $description),+ }
            }

            /// The number of the habit in the table of habits.
            #[must_use]
            pub const fn habit(self) -> u8 {
                match self { $(Self::$variant => $habit),+ }
            }
        }
    };
}

faults! {
    NoNext "no-next" 8 "the first page has no next link although more exists";
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = SandboxError;

    fn from_str(name: &str) -> Result<Self, SandboxError> {
        Self::all().iter().copied().find(|fault| fault.name() == name).ok_or_else(|| SandboxError::UnknownFault {
            name: name.to_owned(),
            nearest: nearest(name, Self::all().iter().map(|fault| fault.name())),
        })
    }
}

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

/// How this sandbox behaves, worked out from its options once.
#[derive(Debug)]
pub(crate) struct Behaviour {
    pub(crate) default_count: usize,
    pub(crate) max_count: usize,
    faults: Vec<Fault>,
}

impl Behaviour {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            default_count: options.default_count.unwrap_or(DEFAULT_COUNT),
            max_count: options.max_count.unwrap_or(MAX_COUNT),
            faults: options.faults.clone(),
        }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}
