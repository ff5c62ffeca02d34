//! How a partition ended, and what a resource type's endings come to.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::strategy::Closure;

/// Why a partition is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndedBy {
    /// The server's own end: a page without a next link.
    LastPage,
    /// It was split into smaller partitions, which go on in its place.
    Split,
    /// A next link that had been followed before.
    RepeatedLink,
    /// Several pages in a row with nothing new.
    NoNewIds,
    /// The limit on pages.
    PageLimit,
    /// The cursor was lost, and starting anew did not help.
    DeadCursor,
    /// The total equals a cap of the server.
    Cap,
    /// Pages repeat what came before while others may be left out, and no count says that nothing is.
    UnstableOrder,
    /// A full page without a next link, though the total says that there is more.
    ShortPageWithoutNext,
    /// A next link to an origin that is not trusted, or that is no address.
    ForeignLink,
    /// The server refuses the search.
    Refused,
    /// The server does not know the resource type.
    Unsupported,
    /// The server answers with something that is not FHIR.
    NotFhir,
    /// The server failed, or could not be reached, after all retries.
    Error,
    /// The crawl was stopped; the cursor is kept.
    Interrupted,
}

impl EndedBy {
    const NAMES: [(Self, &'static str); 15] = [
        (Self::LastPage, "last-page"),
        (Self::Split, "split"),
        (Self::RepeatedLink, "repeated-link"),
        (Self::NoNewIds, "no-new-ids"),
        (Self::PageLimit, "page-limit"),
        (Self::DeadCursor, "dead-cursor"),
        (Self::Cap, "cap"),
        (Self::UnstableOrder, "unstable-order"),
        (Self::ShortPageWithoutNext, "short-page-without-next"),
        (Self::ForeignLink, "foreign-link"),
        (Self::Refused, "refused"),
        (Self::Unsupported, "unsupported"),
        (Self::NotFhir, "not-fhir"),
        (Self::Error, "error"),
        (Self::Interrupted, "interrupted"),
    ];

    /// Whether the partition holds all that the server has for it, as far as the server's paging tells.
    #[must_use]
    pub fn is_whole(self) -> bool {
        matches!(self, Self::LastPage | Self::Split)
    }
}

/// What the crawl of one resource type came to. Only the first two let a table replace another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Everything that the server has.
    Complete,
    /// Everything, and that is nothing.
    Empty,
    /// Something, and there is or may be more.
    Partial,
    /// The server refuses: credentials, 4xx, or an answer that is not FHIR.
    Refused,
    /// The server does not know the type.
    Unsupported,
    /// Nothing came.
    Failed,
}

impl Status {
    const NAMES: [(Self, &'static str); 6] = [
        (Self::Complete, "complete"),
        (Self::Empty, "empty"),
        (Self::Partial, "partial"),
        (Self::Refused, "refused"),
        (Self::Unsupported, "unsupported"),
        (Self::Failed, "failed"),
    ];
}

macro_rules! as_name {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let name = Self::NAMES.iter().find(|(one, _)| one == self).map_or("", |(_, name)| name);
                f.pad(name)
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::NAMES.iter().find(|(_, name)| *name == text);
                found.map(|(one, _)| *one).ok_or_else(|| format!("{text:?} is not known here"))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

as_name!(EndedBy);
as_name!(Status);

/// What a type's crawl has to show for itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Evidence {
    /// Ids received.
    pub unique: u64,
    /// Resources of the type that came and are of no use: they are in the quarantine.
    pub quarantined: u64,
    /// The server's own count of what the searches match, where it gives one.
    pub server_total: Option<u64>,
    /// The least share of that count for completeness.
    pub min_coverage: f64,
    /// What the searches hold together, by construction.
    pub closure: Closure,
    /// Whether the types that the searches start from are whole themselves.
    pub sources_whole: bool,
    /// Whether the server shows resources of the type that the searches have not brought.
    pub more_is_seen: bool,
}

impl Evidence {
    /// Ids received as a share of the server's count, at most 1; nothing where the server counts nothing.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a share of a count needs no more than 52 bits")]
    pub fn coverage(&self) -> Option<f64> {
        let total = self.server_total.filter(|total| *total > 0)?;
        Some((self.unique as f64 / total as f64).min(1.0))
    }

    /// Whether more has come than the server counts, by more than what is tolerated: its count is of something else.
    #[allow(clippy::cast_precision_loss, reason = "a share of a count needs no more than 52 bits")]
    fn is_undercounted(&self) -> bool {
        self.server_total.is_some_and(|total| (total as f64) < self.min_coverage * self.unique as f64)
    }

    /// Ids as a share of all that came and may have been one: what is in the quarantine is missing, too, where no count
    /// says how much there should be.
    #[allow(clippy::cast_precision_loss, reason = "a share of a count needs no more than 52 bits")]
    fn usable(&self) -> f64 {
        let came = self.unique + self.quarantined;
        if came == 0 { 1.0 } else { self.unique as f64 / came as f64 }
    }
}

/// Judges a type by the endings of its partitions: complete only when every one of them ended by the server's own word,
/// the server's count does not contradict it, and the searches cover the type or are shown by that count to have done
/// so. The ending returned is the one that decided.
#[must_use]
pub fn judge(endings: &[EndedBy], evidence: &Evidence) -> (Status, Option<EndedBy>) {
    let Some(first) = endings.first() else { return (Status::Failed, None) };
    if let Some(broken) = endings.iter().find(|ending| !ending.is_whole()) {
        let status = match broken {
            _ if evidence.unique > 0 => Status::Partial,
            EndedBy::Unsupported => Status::Unsupported,
            EndedBy::Refused | EndedBy::NotFhir => Status::Refused,
            EndedBy::Error | EndedBy::Interrupted => Status::Failed,
            _ => Status::Partial,
        };
        return (status, Some(*broken));
    }
    let ending = endings.iter().find(|ending| **ending == EndedBy::LastPage).unwrap_or(first);
    let coverage = evidence.coverage();
    let short =
        coverage.is_some_and(|coverage| coverage < evidence.min_coverage) || evidence.usable() < evidence.min_coverage;
    let unproven = evidence.more_is_seen
        || match evidence.closure {
            Closure::Closed => false,
            Closure::Bounded => !evidence.sources_whole,
            // Only the server's count can show that the values which were asked for are all that there are.
            Closure::Open => {
                evidence.server_total.is_none()
                    || (coverage.is_none() && evidence.unique > 0)
                    || evidence.is_undercounted()
            }
        };
    let status = match (short || unproven, evidence.unique) {
        (true, _) => Status::Partial,
        (false, 0) => Status::Empty,
        (false, _) => Status::Complete,
    };
    (status, Some(*ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches that hold all by construction, and the usual share that has to come.
    fn closed() -> Evidence {
        Evidence { min_coverage: 0.98, closure: Closure::Closed, ..Evidence::default() }
    }

    /// An operator reads there what each means, and what to do.
    #[test]
    fn the_manual_explains_every_ending_and_status() {
        let manual = include_str!("../../../docs/operations.md");
        let rows: Vec<&str> = manual.lines().filter(|line| line.starts_with('|')).collect();
        let names = EndedBy::NAMES.iter().map(|(_, name)| *name).chain(Status::NAMES.iter().map(|(_, name)| *name));
        for name in names {
            let explained = |row: &&str| {
                let mut cells = row.split(" | ");
                cells.next().is_some_and(|first| first.contains(&format!("`{name}`")))
                    && cells.count() >= 2
                    && !row.ends_with("|  |")
            };
            assert!(rows.iter().any(explained), "docs/operations.md does not explain {name}");
        }
    }

    #[test]
    fn names_read_back() {
        for (ending, name) in EndedBy::NAMES {
            assert_eq!((ending.to_string().as_str(), name.parse()), (name, Ok(ending)));
        }
        for (status, name) in Status::NAMES {
            assert_eq!((status.to_string().as_str(), name.parse()), (name, Ok(status)));
        }
    }

    #[test]
    fn only_the_servers_own_end_that_no_count_contradicts_is_complete() {
        use EndedBy::{DeadCursor, Error, LastPage, NotFhir, PageLimit, Refused, RepeatedLink, Split, Unsupported};
        for (endings, unique, server_total, status) in [
            (vec![LastPage], 10, None, Status::Complete),
            (vec![LastPage], 10, Some(10), Status::Complete),
            (vec![LastPage], 99, Some(100), Status::Complete),
            (vec![LastPage], 97, Some(100), Status::Partial),
            (vec![LastPage], 10, Some(0), Status::Complete),
            (vec![LastPage], 10, Some(5), Status::Complete),
            (vec![LastPage], 0, None, Status::Empty),
            (vec![LastPage], 0, Some(3), Status::Partial),
            (vec![Split, LastPage, LastPage], 10, None, Status::Complete),
            (vec![LastPage, RepeatedLink], 10, Some(10), Status::Partial),
            (vec![PageLimit], 10, None, Status::Partial),
            (vec![DeadCursor], 10, None, Status::Partial),
            (vec![Refused], 0, None, Status::Refused),
            (vec![NotFhir], 0, None, Status::Refused),
            (vec![Refused], 4, None, Status::Partial),
            (vec![Unsupported], 0, None, Status::Unsupported),
            (vec![Error], 0, None, Status::Failed),
            (vec![], 0, None, Status::Failed),
        ] {
            let evidence = Evidence { unique, server_total, ..closed() };
            assert_eq!(judge(&endings, &evidence).0, status, "{endings:?} {unique} of {server_total:?}");
        }
    }

    #[test]
    fn what_is_seen_and_did_not_come_is_missing_whatever_the_counts_say() {
        for (unique, server_total) in [(0, None), (0, Some(0)), (9, None), (9, Some(9))] {
            let evidence = Evidence { unique, server_total, sources_whole: true, more_is_seen: true, ..closed() };
            assert_eq!(judge(&[EndedBy::LastPage], &evidence).0, Status::Partial, "{unique} of {server_total:?}");
        }
    }

    #[test]
    fn what_is_in_the_quarantine_is_not_there() {
        for (unique, quarantined, server_total, status) in [
            (100, 1, None, Status::Complete),
            (100, 1, Some(101), Status::Complete),
            (100, 3, None, Status::Partial),
            (100, 3, Some(100), Status::Partial),
            (0, 1, None, Status::Partial),
        ] {
            let evidence = Evidence { unique, quarantined, server_total, ..closed() };
            assert_eq!(judge(&[EndedBy::LastPage], &evidence).0, status, "{unique} and {quarantined}");
        }
    }

    #[test]
    fn what_does_not_cover_the_type_is_complete_only_with_proof() {
        for (closure, server_total, sources_whole, status) in [
            (Closure::Open, None, true, Status::Partial),
            (Closure::Open, Some(0), true, Status::Partial),
            (Closure::Open, Some(9), true, Status::Partial),
            (Closure::Open, Some(4), false, Status::Complete),
            (Closure::Open, Some(3), false, Status::Partial),
            (Closure::Bounded, None, false, Status::Partial),
            (Closure::Bounded, None, true, Status::Complete),
            (Closure::Bounded, Some(9), true, Status::Partial),
        ] {
            let evidence = Evidence { unique: 4, server_total, closure, sources_whole, ..closed() };
            assert_eq!(judge(&[EndedBy::LastPage], &evidence).0, status, "{closure:?} {server_total:?}");
        }
    }
}
