//! Server families whose habits the sandbox can play.

use std::fmt;
use std::str::FromStr;

use crate::error::SandboxError;
use crate::faults::nearest;

/// A vendor's server family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Platform {
    /// HAPI FHIR: opaque `_getpages` links, 20 entries a page.
    Hapi,
}

impl Platform {
    /// Every platform.
    #[must_use]
    pub const fn all() -> &'static [Self] {
        &[Self::Hapi]
    }

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hapi => "hapi",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Platform {
    type Err = SandboxError;

    fn from_str(name: &str) -> Result<Self, SandboxError> {
        let names = || Self::all().iter().map(|platform| platform.name());
        Self::all().iter().copied().find(|platform| platform.name() == name).ok_or_else(|| {
            SandboxError::UnknownPlatform {
                name: name.to_owned(),
                nearest: nearest(name, names()),
                known: names().collect::<Vec<_>>().join(" "),
            }
        })
    }
}
