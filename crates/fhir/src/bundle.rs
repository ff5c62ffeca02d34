//! A page of a search (R4, Bundle of type `searchset`), scanned without building a tree: links, total, and for each
//! entry the bytes of its resource within the page.
//!
//! One broken resource never costs the page: what can't be used is an entry with a [`EntryFault`].

use std::{borrow::Cow, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{members::Members, outcome::Outcome, resource};

/// What a body turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// A Bundle.
    Bundle,
    /// An OperationOutcome alone.
    Outcome,
    /// A resource alone, as `GET {Type}/{id}` answers: one entry.
    Resource,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What the body is.
    pub kind: PageKind,
    /// `Bundle.total`, where it is a whole number.
    pub total: Option<u64>,
    /// `Bundle.link`.
    pub links: Vec<Link>,
    /// Entries with a resource, OperationOutcomes left out.
    pub entries: Vec<Entry>,
    /// OperationOutcomes among the entries, or the body itself.
    pub outcomes: Vec<Outcome>,
    /// Elements of `Bundle.entry`, with or without a resource.
    pub entry_slots: usize,
}

impl Page {
    fn empty() -> Self {
        let (links, entries, outcomes) = (Vec::new(), Vec::new(), Vec::new());
        Self { kind: PageKind::Bundle, total: None, links, entries, outcomes, entry_slots: 0 }
    }

    /// The URL of the link of a relation, however the server spaces or capitalises its name.
    #[must_use]
    pub fn link(&self, relation: &str) -> Option<&str> {
        let is = |link: &&Link| link.relation.trim().eq_ignore_ascii_case(relation);
        self.links.iter().find(is).map(|link| link.url.as_str())
    }
}

/// One `Bundle.link`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// `self`, `next`, …
    pub relation: String,
    /// As written.
    pub url: String,
}

/// Why an entry is here (`Bundle.entry.search.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It matched the search.
    Match,
    /// It was asked for by `_include` or `_revinclude`.
    Include,
}

/// Why an entry cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryFault {
    /// It has no `id`, or one that is no string.
    NoId,
    /// It has no `resourceType`.
    NoType,
    /// It is no JSON object.
    NotAnObject,
    /// It holds bytes that are not UTF-8.
    NotUtf8,
}

impl fmt::Display for EntryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoId => "the resource has no id",
            Self::NoType => "the resource has no resourceType",
            Self::NotAnObject => "the resource is no JSON object",
            Self::NotUtf8 => "the resource holds bytes that are not UTF-8",
        })
    }
}

/// One entry with a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The resource's bytes within the body that was scanned.
    pub range: Range<usize>,
    /// Its `resourceType`; empty where missing.
    pub resource_type: Box<str>,
    /// Its `id`.
    pub id: Option<Box<str>>,
    /// Its `meta.lastUpdated`, as written.
    pub last_updated: Option<Box<str>>,
    /// `search.mode`; absent on servers that leave it out.
    pub mode: Option<Mode>,
    /// Why it cannot be used, if it can't.
    pub fault: Option<EntryFault>,
}

/// The body is no FHIR page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// It ends in the middle: the connection broke, or the server cut it.
    #[error("the body is cut off after {length} bytes")]
    Truncated {
        /// Bytes received.
        length: usize,
    },
    /// It is something else, often a login page.
    #[error("the body is not FHIR JSON: {excerpt:?}")]
    NotFhir {
        /// Its first characters; never more than a line's worth.
        excerpt: String,
    },
}

/// The longest excerpt of a body that is not FHIR, in characters.
const EXCERPT: usize = 80;

#[derive(Deserialize)]
struct RawBundle<'a> {
    #[serde(borrow, default, rename = "resourceType")]
    resource_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    total: Option<&'a RawValue>,
    #[serde(borrow, default)]
    link: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entry: Option<RawEntries<'a>>,
}

/// One element of `Bundle.entry`. What is no object, a null for one, is an entry without a resource: it must not cost
/// the page, and neither must a key that comes twice.
#[derive(Default)]
struct RawEntry<'a> {
    resource: Option<&'a RawValue>,
    search: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum EntryKey {
    Resource,
    Search,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for RawEntry<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneEntry;
        impl<'de> Visitor<'de> for OneEntry {
            type Value = RawEntry<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an entry")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entry = RawEntry::default();
                while let Some(key) = map.next_key::<EntryKey>()? {
                    match key {
                        EntryKey::Resource => entry.resource = map.next_value()?,
                        EntryKey::Search => entry.search = map.next_value()?,
                        EntryKey::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(entry)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(RawEntry::default())
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(RawEntry::default())
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(RawEntry::default())
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(RawEntry::default())
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(RawEntry::default())
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(RawEntry::default())
            }
            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(RawEntry::default())
            }
        }
        deserializer.deserialize_any(OneEntry)
    }
}

/// `Bundle.entry`: an array, or null or something else on servers that have nothing to say.
struct RawEntries<'a>(Vec<RawEntry<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for RawEntries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vec<RawEntry<'de>>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of entries")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = seq.next_element()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Vec::new())
            }
        }
        deserializer.deserialize_any(Entries).map(Self)
    }
}

/// Scans the body of an answer. A byte order mark is skipped; ranges count from the beginning of `body` all the same.
///
/// # Errors
/// [`ScanError`] where the body is cut off or no FHIR.
pub fn scan(body: &[u8]) -> Result<Page, ScanError> {
    let skipped = if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let rest = &body[skipped..];
    if rest.trim_ascii().is_empty() {
        // Cut off at its very beginning.
        return Err(ScanError::Truncated { length: body.len() });
    }
    match std::str::from_utf8(rest) {
        Ok(text) => scan_text(text, skipped, rest),
        Err(_) => {
            // Every byte that is part of no character becomes `?`, so that all places stay where they are; the
            // entries that held one are then told by looking at the original.
            let patched = ascii_patched(rest);
            let text = std::str::from_utf8(&patched).map_err(|_| not_fhir(rest))?;
            scan_text(text, skipped, rest)
        }
    }
}

/// How far into a body [`early_next`] looks.
const BEGINNING: usize = 64 << 10;

/// The URL of the next link of a Bundle that names its links before its entries, as most servers do: known without a
/// look at the entries, and before the body is known to be a Bundle at all.
#[must_use]
pub fn early_next(body: &[u8]) -> Option<String> {
    let beginning = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = beginning.get(..BEGINNING).unwrap_or(beginning).utf8_chunks().next()?.valid();
    let mut before = Members::new(text).take_while(|(key, _)| *key != "entry");
    let (_, place) = before.find(|(key, _)| *key == "link")?;
    let page = Page { links: links(serde_json::from_str(&text[place]).ok()?), ..Page::empty() };
    page.link("next").map(ToOwned::to_owned)
}

/// A larger total is no count of anything. Sums of smaller ones are numbers in any store.
const MOST_MATCHES: u64 = 1_000_000_000_000;

fn scan_text(text: &str, skipped: usize, original: &[u8]) -> Result<Page, ScanError> {
    let bundle: RawBundle<'_> = serde_json::from_str(text).map_err(|error| {
        let begins = text.trim_start().starts_with('{');
        if error.is_eof() && begins { ScanError::Truncated { length: original.len() } } else { not_fhir(original) }
    })?;
    let resource_type = bundle.resource_type.and_then(|raw| resource::string(raw.get()));
    let mut page = Page {
        total: bundle.total.and_then(|raw| raw.get().parse().ok()).filter(|total| *total <= MOST_MATCHES),
        links: bundle.link.map(links).unwrap_or_default(),
        ..Page::empty()
    };
    match resource_type.as_deref() {
        Some("Bundle") => {
            let entries = bundle.entry.map(|entries| entries.0).unwrap_or_default();
            page.entry_slots = entries.len();
            page.entries.reserve(entries.len());
            for entry in entries {
                if let Some(resource) = entry.resource {
                    keep(
                        &mut page,
                        entry_of(resource.get(), text, skipped, original, mode(entry.search)),
                        resource.get(),
                    );
                }
            }
        }
        Some("OperationOutcome") => {
            page.kind = PageKind::Outcome;
            page.outcomes.push(Outcome::read(text));
        }
        Some(name) if !name.is_empty() => {
            page.kind = PageKind::Resource;
            page.entry_slots = 1;
            keep(&mut page, entry_of(text.trim(), text, skipped, original, None), text);
        }
        _ => return Err(not_fhir(original)),
    }
    Ok(page)
}

fn keep(page: &mut Page, entry: Entry, text: &str) {
    if &*entry.resource_type == "OperationOutcome" {
        page.outcomes.push(Outcome::read(text));
    } else {
        page.entries.push(entry);
    }
}

fn entry_of(raw: &str, text: &str, skipped: usize, original: &[u8], mode: Option<Mode>) -> Entry {
    let start = raw.as_ptr().addr() - text.as_ptr().addr();
    let range = start..start + raw.len();
    // Text that is the original itself needs no look.
    let is_patched = text.as_ptr() != original.as_ptr();
    let utf8 = !is_patched || original.get(range.clone()).is_some_and(|bytes| bytes == raw.as_bytes());
    // It is part of a body that was read as JSON.
    let head = resource::head_of_read(raw);
    let fault = match &head {
        _ if !utf8 => Some(EntryFault::NotUtf8),
        Err(_) => Some(EntryFault::NotAnObject),
        Ok(head) if head.resource_type.is_empty() => Some(EntryFault::NoType),
        Ok(head) if head.id.is_none() && head.resource_type != "OperationOutcome" => Some(EntryFault::NoId),
        Ok(_) => None,
    };
    let head = head.unwrap_or_default();
    let boxed = |text: Cow<'_, str>| text.into_owned().into_boxed_str();
    Entry {
        range: range.start + skipped..range.end + skipped,
        resource_type: boxed(head.resource_type),
        id: head.id.map(boxed),
        last_updated: head.last_updated.map(boxed),
        mode,
        fault,
    }
}

fn mode(search: Option<&RawValue>) -> Option<Mode> {
    #[derive(Deserialize)]
    struct Search<'a> {
        #[serde(borrow, default)]
        mode: Option<Cow<'a, str>>,
    }
    let search: Search<'_> = serde_json::from_str(search?.get()).ok()?;
    match search.mode.as_deref() {
        Some("match") => Some(Mode::Match),
        Some("include") => Some(Mode::Include),
        _ => None,
    }
}

/// The links that read as links; a broken one is as good as none.
fn links(raw: &RawValue) -> Vec<Link> {
    let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else { return Vec::new() };
    #[derive(Deserialize)]
    struct RawLink {
        relation: String,
        url: String,
    }
    let read = |element: &RawValue| serde_json::from_str::<RawLink>(element.get()).ok();
    elements.into_iter().filter_map(read).map(|RawLink { relation, url }| Link { relation, url }).collect()
}

fn not_fhir(body: &[u8]) -> ScanError {
    let text = String::from_utf8_lossy(body.get(..EXCERPT * 4).unwrap_or(body));
    let words: Vec<&str> = text.split_whitespace().collect();
    ScanError::NotFhir { excerpt: words.join(" ").chars().filter(|c| !c.is_control()).take(EXCERPT).collect() }
}

/// The same bytes with each that belongs to no UTF-8 character replaced by `?`.
fn ascii_patched(bytes: &[u8]) -> Vec<u8> {
    let mut patched = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        patched.extend_from_slice(chunk.valid().as_bytes());
        patched.extend(chunk.invalid().iter().map(|_| b'?'));
    }
    patched
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_next_link_is_known_early_only_where_it_comes_before_the_entries() {
        let link = r#""link":[{"relation":"next","url":"b"}]"#;
        for (body, early) in [
            (format!("\u{feff}{{{link},\"entry\":[") + "\0", Some("b")),
            (format!(r#"{{"entry":[],{link}}}"#), None),
            (format!(r#"{{"meta":{{{link}}},"entry":[]}}"#), None),
            (format!("{{{}", &link[..link.len() - 1]), None),
            (r#"{"link":null,"entry":[]}"#.into(), None),
            ("<html>".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(early_next(body.as_bytes()).as_deref(), early, "{body}");
        }
    }

    #[test]
    fn a_page_is_taken_apart() {
        let body = br#"{"resourceType":"Bundle","type":"searchset","total":12,"link":[{"relation":"self","url":"a"},{"relation":"Next ","url":"b?x=1"},{"broken":1}],
          "entry":[{"fullUrl":"u","resource":{"resourceType":"Location","id":"1","meta":{"lastUpdated":"2020"}},"search":{"mode":"match"}},
                   {"resource":{"resourceType":"Organization","id":"2"},"search":{"mode":"include"}},
                   {"fullUrl":"without"},
                   {"resource":{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"informational"}]},"search":{"mode":"outcome"}},
                   {"resource":{"resourceType":"Location"}}, {"resource":"text"}]}"#;
        let page = scan(body).unwrap();
        assert_eq!(
            (page.kind, page.total, page.link("next"), page.entry_slots),
            (PageKind::Bundle, Some(12), Some("b?x=1"), 6)
        );
        let told: Vec<_> = page.entries.iter().map(|e| (&*e.resource_type, e.id.as_deref(), e.mode, e.fault)).collect();
        assert_eq!(
            told,
            vec![
                ("Location", Some("1"), Some(Mode::Match), None),
                ("Organization", Some("2"), Some(Mode::Include), None),
                ("Location", None, None, Some(EntryFault::NoId)),
                ("", None, None, Some(EntryFault::NotAnObject)),
            ]
        );
        assert_eq!(early_next(body).as_deref(), Some("b?x=1"));
        assert_eq!(&body[page.entries[1].range.clone()], br#"{"resourceType":"Organization","id":"2"}"#);
        assert_eq!(page.outcomes.len(), 1);
    }

    #[test]
    fn pages_may_lack_nearly_everything() {
        for body in [
            r#"{"resourceType":"Bundle"}"#,
            r#"{"resourceType":"Bundle","entry":null,"link":null,"total":"many"}"#,
            r#"{"resourceType":"Bundle","total":18446744073709551615}"#,
            r#"{"resourceType":"Bundle","entry":[]}"#,
            r#"{"resourceType":"Bundle","entry":[null,7,-7,0.5,true,"x",[1],{"resource":null,"resource":null}]}"#,
        ] {
            let page = scan(body.as_bytes()).unwrap();
            assert_eq!((page.entries.len(), page.total, page.links.len()), (0, None, 0), "{body}");
        }
        assert_eq!(scan(br#"{"resourceType":"OperationOutcome","issue":[]}"#).unwrap().kind, PageKind::Outcome);
        let single = scan(b"\xef\xbb\xbf {\"resourceType\":\"Location\",\"id\":\"1\"} ").unwrap();
        assert_eq!((single.kind, single.entries[0].range.start), (PageKind::Resource, 4));
    }

    #[test]
    fn what_is_no_fhir_is_told_with_an_excerpt_and_what_is_cut_as_cut() {
        assert_eq!(
            scan(b"<html>\n<title>Sign in</title>").unwrap_err(),
            ScanError::NotFhir { excerpt: "<html> <title>Sign in</title>".into() }
        );
        assert!(matches!(scan(br#"{"a":1}"#), Err(ScanError::NotFhir { .. })));
        assert_eq!(scan(b"").unwrap_err(), ScanError::Truncated { length: 0 });
        assert!(matches!(scan(b" \r\n"), Err(ScanError::Truncated { .. })));
        assert!(matches!(scan(br#"{"resourceType":"Bundle","entry":[{"#), Err(ScanError::Truncated { length: 35 })));
    }

    #[test]
    fn bytes_that_are_not_utf8_cost_only_their_resource() {
        let body = b"{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":{\"resourceType\":\"X\",\"id\":\"1\",\"n\":\"\xff\"}},{\"resource\":{\"resourceType\":\"X\",\"id\":\"2\"}}]}";
        let page = scan(body).unwrap();
        let told: Vec<_> = page.entries.iter().map(|e| (e.id.as_deref(), e.fault)).collect();
        assert_eq!(told, vec![(Some("1"), Some(EntryFault::NotUtf8)), (Some("2"), None)]);
    }

    #[test]
    fn odd_strings_and_numbers_do_not_cost_the_page() {
        let body = br#"{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"X","id":"1","s":"\ud800","n":1e999,"n":2}}]}"#;
        assert_eq!(scan(body).unwrap().entries[0].fault, None);
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = scan(&bytes);
        }

        #[test]
        fn a_cut_page_is_never_taken_for_a_whole_one(cut in 1usize..110) {
            let body = br#"{"resourceType":"Bundle","link":[],"entry":[{"resource":{"resourceType":"Location","id":"1"}}],"total":1}"#;
            let length = body.len().saturating_sub(cut);
            prop_assert!(scan(&body[..length]).is_err());
        }
    }
}
