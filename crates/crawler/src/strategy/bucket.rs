//! The share of a type that one partition asks for: its parameters, and its parts.

use chrono::{DateTime, SecondsFormat, Utc};
use fhirvest_fhir::temporal;
use serde::{Deserialize, Serialize};

use super::Strategy;

/// A value that no resource has: letters only, so that it is a name, a code and an id.
pub const IMPOSSIBLE: &str = "zzqxfhirvestnone";

/// The longest beginning of a name: what still finds too much then is not split further.
const LONGEST_PREFIX: usize = 12;

/// Beginnings of names of this length are not split further where the server refuses them: some want three characters,
/// and each more would be thirty times as many questions.
const LONGEST_REFUSED: usize = 3;

/// Characters inside of names besides letters and digits.
const INSIDE_NAMES: &str = " '-.";

/// The share of a type that one partition asks for. Kept in the ledger as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Bucket {
    /// No request of its own: holds the server's count of the whole type, over all partitions.
    Root,
    /// Everything in one search.
    All,
    /// One value of the list.
    Value {
        /// The value.
        value: String,
    },
    /// What begins so.
    Prefix {
        /// The beginning.
        text: String,
    },
    /// What was changed in `[from, to)`.
    Window {
        /// Seconds since 1970; none: since ever.
        from: Option<i64>,
        /// Seconds since 1970; none: for ever.
        to: Option<i64>,
        /// How many windows around this one, one in another, the server has refused.
        refusals: u32,
    },
    /// Feeds the partitions of an id-chain.
    Chain {
        /// The last id that was handed out.
        after: Option<String>,
    },
    /// What belongs to one member.
    Member {
        /// The member's place in the list: what tells the partition from others, so that no id gets into a log.
        number: usize,
        /// The member's id.
        id: String,
    },
    /// What refers to these.
    Ids {
        /// Ids of the other type.
        ids: Vec<String>,
    },
    /// Feeds the partitions of an id-read.
    Reads,
    /// A Bulk Data export on its way.
    Export {
        /// Where its state is told; none: it was not asked for yet.
        status: Option<String>,
        /// How many exports before this one were lost.
        generation: u32,
    },
    /// A file of an export.
    File {
        /// Its address.
        url: String,
        /// Its place among the export's files.
        number: usize,
        /// The server wants no credentials with it.
        anonymous: bool,
        /// Resources in it, as the export says.
        count: Option<u64>,
        /// The export that it belongs to.
        generation: u32,
    },
    /// These, each by a read.
    Read {
        /// Ids of the type itself.
        ids: Vec<String>,
    },
}

impl Bucket {
    /// What tells the partition from the others of its type, stable over restarts.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Root => "root".into(),
            Self::All => "all".into(),
            Self::Value { value } => format!("value={value}"),
            Self::Prefix { text } => format!("prefix={text}"),
            Self::Window { from, to, .. } => {
                let time = |time: &Option<i64>| time.map_or_else(|| "..".into(), instant);
                format!("{}/{}", time(from), time(to))
            }
            Self::Chain { .. } => "chain".into(),
            Self::Member { number, .. } => format!("member={}", number + 1),
            Self::Ids { ids } => match ids.as_slice() {
                [only] => format!("of={only}"),
                [first, .., last] => format!("of={first}..{last}"),
                [] => "of".into(),
            },
            Self::Reads => "reads".into(),
            Self::Export { generation, .. } => format!("export={generation}"),
            Self::File { number, generation, .. } => format!("file={generation}.{number}"),
            Self::Read { ids } => format!("read={}", ids.first().map_or("", String::as_str)),
        }
    }

    /// Whether it asks nothing itself but makes partitions that do.
    #[must_use]
    pub fn is_feeder(&self) -> bool {
        matches!(self, Self::Chain { .. } | Self::Reads)
    }

    /// What is asked for: the type, or an operation.
    #[must_use]
    pub fn path(&self, strategy: &Strategy, resource_type: &str) -> String {
        match (self, strategy) {
            (Self::Member { id, .. }, Strategy::Everything { .. }) => format!("{resource_type}/{id}/$everything"),
            _ => resource_type.to_owned(),
        }
    }

    /// The search parameters of this share.
    #[must_use]
    pub fn params(&self, strategy: &Strategy) -> Vec<(String, String)> {
        match (self, strategy) {
            (Self::Value { value }, Strategy::Values { param, .. })
            | (Self::Prefix { text: value }, Strategy::Prefix { param, .. }) => vec![(param.clone(), value.clone())],
            (Self::Member { id, .. }, Strategy::Patient { param, .. }) => vec![(param.clone(), id.clone())],
            (Self::Window { from, to, .. }, Strategy::DateRange { param, .. }) => {
                let bound = |prefix: &str, time: i64| (param.clone(), format!("{prefix}{}", instant(time)));
                [from.map(|time| bound("ge", time)), to.map(|time| bound("lt", time))].into_iter().flatten().collect()
            }
            (Self::Ids { ids }, Strategy::IdChain { param, from, as_reference, .. }) => {
                let prefix = if *as_reference { format!("{from}/") } else { String::new() };
                let list: Vec<String> = ids.iter().map(|id| format!("{prefix}{id}")).collect();
                vec![(param.clone(), list.join(","))]
            }
            (Self::All, Strategy::Include { include, rev_include }) => {
                let named = |name: &str, values: &[String]| -> Vec<_> {
                    values.iter().map(|value| (name.to_owned(), value.clone())).collect()
                };
                [named("_include", include), named("_revinclude", rev_include)].concat()
            }
            _ => Vec::new(),
        }
    }

    /// Whether a resource of this age is none of this share: of a window by `_lastUpdated` that it does not lie in.
    #[must_use]
    pub fn excludes(&self, strategy: &Strategy, last_updated: &str) -> bool {
        let (Self::Window { from, to, .. }, Strategy::DateRange { param, .. }) = (self, strategy) else { return false };
        let seconds = temporal::micros(last_updated).map(|micros| micros.div_euclid(1_000_000));
        let outside = |time| from.is_some_and(|from| time < from) || to.is_some_and(|to| time >= to);
        param == "_lastUpdated" && seconds.is_some_and(outside)
    }

    /// Smaller shares that together hold what this one holds (for a prefix: but for names that end with it); nothing
    /// where it cannot be made smaller. `refused` says that the server does not answer this one at all.
    #[must_use]
    pub fn split(&self, strategy: &Strategy, refused: bool) -> Vec<Self> {
        match (self, strategy) {
            (Self::Prefix { text }, Strategy::Prefix { alphabet, .. }) if text.chars().count() < LONGEST_PREFIX => {
                let inside: String = INSIDE_NAMES.chars().filter(|one| !alphabet.contains(*one)).collect();
                prefixes(text, &format!("{alphabet}{inside}"))
            }
            (Self::Window { from, to, refusals }, Strategy::DateRange { start, end, .. }) => {
                let refusals = if refused { refusals + 1 } else { 0 };
                let part = |from, to| Self::Window { from, to, refusals };
                let middle = match (from, to) {
                    (Some(from), Some(to)) => from + (to - from) / 2,
                    // Before the start: twice as far back each time, as far as 1900; after the end: the same forward.
                    (None, Some(to)) => {
                        let back = (start.timestamp() - to).max(30 * DAY) * 2;
                        (to - back).max(LONG_AGO)
                    }
                    (Some(from), None) => from + (from - end.timestamp()).max(DAY) * 2,
                    (None, None) => start.timestamp(),
                };
                let inside = from.is_none_or(|from| from < middle) && to.is_none_or(|to| middle < to);
                let reasonable = to.is_some() || middle < end.timestamp() + 100 * 365 * DAY;
                if inside && reasonable { vec![part(*from, Some(middle)), part(Some(middle), *to)] } else { Vec::new() }
            }
            (Self::Ids { ids }, _) if ids.len() > 1 => {
                let (left, right) = ids.split_at(ids.len() / 2);
                vec![Self::Ids { ids: left.to_vec() }, Self::Ids { ids: right.to_vec() }]
            }
            _ => Vec::new(),
        }
    }

    /// A share of this kind that hardly holds anything: a server that refuses this one refuses the question, whatever
    /// its size.
    #[must_use]
    pub fn least(&self, strategy: &Strategy) -> Option<Self> {
        match (self, strategy) {
            (Self::Prefix { .. }, Strategy::Prefix { alphabet, .. }) => {
                let last = alphabet.chars().next_back()?;
                Some(Self::Prefix { text: std::iter::repeat_n(last, LONGEST_PREFIX).collect() })
            }
            (Self::Window { .. }, _) => {
                let [long_ago, _] = seconds_without_rows();
                Some(long_ago)
            }
            _ => None,
        }
    }

    /// Whether another split may help though the server refused the last ones, too: not for ever, since a server that
    /// refuses the parameter as such refuses every window.
    #[must_use]
    pub fn may_split_after_refusal(&self) -> bool {
        match self {
            Self::Window { refusals, .. } => *refusals < REFUSALS,
            Self::Prefix { text } => text.chars().count() < LONGEST_REFUSED,
            _ => true,
        }
    }
}

/// Refused windows one in another: enough to come from 20 years to a few days.
const REFUSALS: u32 = 11;
const DAY: i64 = 24 * 60 * 60;
/// 1900-01-01.
const LONG_AGO: i64 = -2_208_988_800;
/// 2200-01-01.
const FAR_AHEAD: i64 = 7_258_118_400;

/// Windows that hold nothing.
pub(super) fn seconds_without_rows() -> [Bucket; 2] {
    [LONG_AGO, FAR_AHEAD].map(|from| Bucket::Window { from: Some(from), to: Some(from + 1), refusals: REFUSALS })
}

fn instant(seconds: i64) -> String {
    DateTime::<Utc>::from_timestamp(seconds, 0)
        .map_or_else(|| seconds.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

pub(super) fn prefixes(text: &str, alphabet: &str) -> Vec<Bucket> {
    alphabet.chars().map(|next| Bucket::Prefix { text: format!("{text}{next}") }).collect()
}

pub(super) fn windows(start: DateTime<Utc>, end: DateTime<Utc>) -> Vec<Bucket> {
    let window = |from, to| Bucket::Window { from, to, refusals: 0 };
    let (start, end) = (start.timestamp(), end.timestamp().max(start.timestamp() + 1));
    vec![window(None, Some(start)), window(Some(start), Some(end)), window(Some(end), None)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::{prelude::any, prelude::prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn daterange() -> Strategy {
        let time = |text: &str| text.parse().unwrap();
        Strategy::DateRange {
            param: "_lastUpdated".into(),
            start: time("2015-01-01T00:00:00Z"),
            end: time("2026-01-01T00:00:00Z"),
            max_bucket: 100,
        }
    }

    #[test]
    fn a_share_is_a_search() {
        let chain = |as_reference| Strategy::IdChain {
            param: "practitioner".into(),
            from: "Practitioner".into(),
            batch: 2,
            as_reference,
        };
        let ids = Bucket::Ids { ids: vec!["a".into(), "b".into()] };
        let member = Bucket::Member { number: 3, id: "p".into() };
        let patient = Strategy::Patient { param: "patient".into(), members: Vec::new() };
        let include = Strategy::Include { include: vec!["X:y".into()], rev_include: vec!["Z:x".into()] };
        for (bucket, strategy, wanted) in [
            (Bucket::All, Strategy::Bare, vec![]),
            (Bucket::All, include, vec![("_include", "X:y"), ("_revinclude", "Z:x")]),
            (member.clone(), patient, vec![("patient", "p")]),
            (member, Strategy::Everything { members: Vec::new() }, vec![]),
            (ids.clone(), chain(false), vec![("practitioner", "a,b")]),
            (ids, chain(true), vec![("practitioner", "Practitioner/a,Practitioner/b")]),
            (
                Bucket::Window { from: Some(0), to: Some(3600), refusals: 0 },
                daterange(),
                vec![("_lastUpdated", "ge1970-01-01T00:00:00Z"), ("_lastUpdated", "lt1970-01-01T01:00:00Z")],
            ),
            (
                Bucket::Window { from: None, to: Some(0), refusals: 0 },
                daterange(),
                vec![("_lastUpdated", "lt1970-01-01T00:00:00Z")],
            ),
        ] {
            let params = bucket.params(&strategy);
            let told: Vec<_> = params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(told, wanted);
        }
    }

    #[test]
    fn a_window_by_age_excludes_what_is_older_or_younger() {
        let window = |from, to| Bucket::Window { from, to, refusals: 0 };
        let (from, to) = (Some(1_600_000_000), Some(1_600_000_010));
        for (window, stamp, excluded) in [
            (window(from, to), "2020-09-13T12:26:40Z", false),
            (window(from, to), "2020-09-13T12:26:39.999Z", true),
            (window(from, to), "2020-09-13T14:26:49.999+02:00", false),
            (window(from, to), "2020-09-13T12:26:50Z", true),
            (window(None, to), "1999-01-01T00:00:00Z", false),
            (window(from, None), "2999-01-01T00:00:00Z", false),
            // Nobody knows.
            (window(from, to), "2021", false),
            (Bucket::All, "2021-01-01T00:00:00Z", false),
        ] {
            assert_eq!(window.excludes(&daterange(), stamp), excluded, "{stamp}");
        }
        let Strategy::DateRange { start, end, max_bucket, .. } = daterange() else { return };
        let by_date = Strategy::DateRange { param: "date".into(), start, end, max_bucket };
        assert!(!window(from, to).excludes(&by_date, "1999-01-01T00:00:00Z"));
    }

    fn holds(bucket: &Bucket, time: i64) -> bool {
        let Bucket::Window { from, to, .. } = bucket else { return false };
        from.is_none_or(|from| from <= time) && to.is_none_or(|to| time < to)
    }

    proptest! {
        #[test]
        fn every_second_lies_in_exactly_one_window_however_often_they_are_split(
            time in LONG_AGO - 1_000_000_000..8_000_000_000_i64,
            choices in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let strategy = daterange();
            let mut windows = strategy.roots();
            for choice in choices {
                let place = usize::from(choice) % windows.len();
                let parts = windows[place].split(&strategy, false);
                if !parts.is_empty() {
                    windows.splice(place..=place, parts);
                }
            }
            prop_assert_eq!(windows.iter().filter(|window| holds(window, time)).count(), 1);
        }

        #[test]
        fn splitting_ends(refused: bool) {
            let strategy = daterange();
            // Always into the part that holds the time: at most a bounded number of steps to one second.
            for time in [1_420_070_400_i64, 1_600_000_000, -3_000_000_000, 1_900_000_000] {
                let mut window = strategy.roots().into_iter().find(|window| holds(window, time)).unwrap();
                let mut steps = 0;
                while let Some(part) = window.split(&strategy, refused).into_iter().find(|part| holds(part, time)) {
                    window = part;
                    steps += 1;
                    prop_assert!(steps < 80);
                }
            }
        }
    }

    #[test]
    fn beginnings_and_ids_are_split_to_their_limit() {
        let prefix = Strategy::Prefix { param: "family".into(), alphabet: "ab".into(), max_bucket: 5 };
        let parts = Bucket::Prefix { text: "a".into() }.split(&prefix, false);
        let texts: Vec<_> = parts.iter().map(Bucket::key).collect();
        assert_eq!(texts, ["prefix=aa", "prefix=ab", "prefix=a ", "prefix=a'", "prefix=a-", "prefix=a."]);
        assert!(Bucket::Prefix { text: "a".repeat(LONGEST_PREFIX) }.split(&prefix, false).is_empty());
        let ids = Bucket::Ids { ids: vec!["a".into(), "b".into(), "c".into()] };
        let keys: Vec<_> = ids.split(&Strategy::Bare, true).iter().map(Bucket::key).collect();
        assert_eq!(keys, ["of=a", "of=b..c"]);
        assert!(Bucket::Ids { ids: vec!["a".into()] }.split(&Strategy::Bare, true).is_empty());
        assert!(!Bucket::Window { from: None, to: None, refusals: REFUSALS }.may_split_after_refusal());
    }
}
