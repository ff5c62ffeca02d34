//! Server families whose habits the sandbox can play.
//!
//! Only what the project's notes on payers' servers say of a family, or what defines its kind of paging, is played.
//! Under each a plain crawl (`_count=100`, follow next) of a world of 400 practitioners ends short of the whole in at
//! least one resource type and can tell that it did; the right strategy gets everything.

use std::fmt;
use std::str::FromStr;

use crate::error::SandboxError;
use crate::faults::{Fault, nearest};

/// A vendor's server family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Platform {
    /// HAPI FHIR: opaque `_getpages` links, 20 entries a page, 1,000 at most; without `_sort` the order is not stable,
    /// so that pages overlap and rows are missed. Way out: `_sort=_id`.
    Hapi,
    /// Firely Server: `_skip` links that carry an internal host (`http://fhir-internal.invalid:8080`), 100 entries a
    /// page at most. Way out: rewrite the host away, or walk by `_skip`.
    Firely,
    /// Azure: opaque continuation token `ct` in links that repeat the search; `total` only on request
    /// (`_total=accurate`, `_summary=count`); a search gives 500 matches at most. Way out: windows of `_lastUpdated`.
    Azure,
    /// Smile CDR: `_getpages` links that are gone (404) from the fourth page of a search on, 500 entries a page at
    /// most. Way out: larger pages or windows of `_lastUpdated`.
    Smile,
    /// Aidbox: page numbers in links that begin at the root and lack the base path. Way out: walk by `page`.
    Aidbox,
    /// HealthSparq: relative links, pages of more than 100 come back empty, and a token from the public endpoint
    /// `/oauth/token` that lives for 15 minutes. Way out: fetch the token, 100 a page.
    Healthsparq,
    /// Innovaccer: no CapabilityStatement, and next links with `/fhirwrapper` in front of the path. Way out: rewrite.
    Innovaccer,
    /// InterSystems: a search that finds more than 300 resources is too costly (413). Way out: windows of
    /// `_lastUpdated`.
    Intersystems,
    /// 1upHealth: `_skip` links up to 9,990; beyond, 400. Way out: windows of `_lastUpdated`. Needs a world of more
    /// than 9,990 resources of a type to show.
    Oneuphealth,
    /// Abacus: no next link at all, `_skip` and `_sort=_id` understood, unstable order without it. Way out: walk by
    /// `_skip` with `_sort=_id`.
    Abacus,
    /// Opala: page 2 answers 500, 200 entries a page at most. Way out: many small searches (prefixes, chains of ids),
    /// first pages only.
    Opala,
}

/// How next pages are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Paging {
    /// `{base}?_getpages=token&_getpagesoffset=n`
    #[default]
    GetPages,
    /// `{base}/{Type}?…&_skip=n`
    Skip,
    /// `{base}/{Type}?…&page=n`, from 1
    Page,
    /// `{base}/{Type}?…&ct=token`
    Continuation,
}

/// What a platform does differently.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Profile {
    pub(crate) paging: Paging,
    pub(crate) default_count: Option<usize>,
    pub(crate) max_count: Option<usize>,
    pub(crate) faults: &'static [Fault],
    /// A search gives so many matches at most.
    pub(crate) cap: Option<usize>,
    /// The total does not tell of the cap.
    pub(crate) cap_hidden: bool,
    /// The greatest offset.
    pub(crate) max_skip: Option<usize>,
    /// A search that finds more is refused.
    pub(crate) too_costly: Option<usize>,
    /// `total` only with `_total=accurate` or `_summary=count`.
    pub(crate) total_on_request: bool,
}

impl Platform {
    /// Every platform.
    #[must_use]
    pub const fn all() -> &'static [Self] {
        &[
            Self::Hapi,
            Self::Firely,
            Self::Azure,
            Self::Smile,
            Self::Aidbox,
            Self::Healthsparq,
            Self::Innovaccer,
            Self::Intersystems,
            Self::Oneuphealth,
            Self::Abacus,
            Self::Opala,
        ]
    }

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hapi => "hapi",
            Self::Firely => "firely",
            Self::Azure => "azure",
            Self::Smile => "smile",
            Self::Aidbox => "aidbox",
            Self::Healthsparq => "healthsparq",
            Self::Innovaccer => "innovaccer",
            Self::Intersystems => "intersystems",
            Self::Oneuphealth => "1uphealth",
            Self::Abacus => "abacus",
            Self::Opala => "opala",
        }
    }

    pub(crate) fn profile(self) -> Profile {
        let plain = Profile::default();
        match self {
            Self::Hapi => Profile { max_count: Some(1_000), faults: &[Fault::UnstableOrder], ..plain },
            Self::Firely => {
                let faults = &[Fault::NextInternalHost];
                Profile { paging: Paging::Skip, max_count: Some(100), faults, ..plain }
            }
            Self::Azure => Profile {
                paging: Paging::Continuation,
                default_count: Some(10),
                max_count: Some(1_000),
                cap: Some(500),
                cap_hidden: true,
                total_on_request: true,
                ..plain
            },
            Self::Smile => Profile { max_count: Some(500), faults: &[Fault::CursorAlwaysExpires], ..plain },
            Self::Aidbox => {
                let faults = &[Fault::RootRelativeNext];
                Profile { paging: Paging::Page, default_count: Some(100), max_count: Some(1_000), faults, ..plain }
            }
            Self::Healthsparq => {
                let faults = &[Fault::RelativeNext, Fault::CountCeiling100Empty, Fault::Token15Minutes];
                Profile { default_count: Some(100), faults, ..plain }
            }
            Self::Innovaccer => {
                let faults = &[Fault::MetadataMissing, Fault::NextOutsideBase];
                Profile { max_count: Some(100), faults, ..plain }
            }
            Self::Intersystems => Profile { too_costly: Some(300), ..plain },
            Self::Oneuphealth => {
                Profile { paging: Paging::Skip, max_skip: Some(9_990), max_count: Some(1_000), ..plain }
            }
            Self::Abacus => {
                let faults = &[Fault::NoNext, Fault::UnstableOrder];
                Profile { paging: Paging::Skip, max_count: Some(1_000), faults, ..plain }
            }
            Self::Opala => Profile { max_count: Some(200), faults: &[Fault::PageTwoDead], ..plain },
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
