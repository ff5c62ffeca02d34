//! A page of a search (R4, Bundle of type `searchset`), scanned without building a tree: links, total, and for each
//! entry the bytes of its resource within the page.
//!
//! One broken resource never costs the page: what can't be used is an entry with a [`EntryFault`].

use std::{borrow::Cow, fmt, ops::Range};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    members::Members,
    outcome::Outcome,
    resource::{self, Head},
};

mod quick;
mod thorough;

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

    /// The URL of the link of a relation, however the server spaces or capitalises its name; a blank one is none.
    #[must_use]
    pub fn link(&self, relation: &str) -> Option<&str> {
        let is = |link: &&Link| link.relation.trim().eq_ignore_ascii_case(relation);
        self.links.iter().find(is).map(|link| link.url.trim()).filter(|url| !url.is_empty())
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

/// A page taken apart: pieces of its text.
#[derive(Debug, Default, PartialEq)]
struct Parts<'a> {
    resource_type: Option<&'a str>,
    total: Option<&'a str>,
    link: Option<&'a str>,
    slots: Vec<Slot<'a>>,
}

/// An element of `Bundle.entry`.
#[derive(Debug, Default, PartialEq)]
struct Slot<'a> {
    resource: Option<Held<'a>>,
    mode: Option<Mode>,
}

/// What stands as a resource.
#[derive(Debug, PartialEq)]
struct Held<'a> {
    raw: &'a str,
    /// Nothing where it is no object.
    head: Option<Head<'a>>,
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
    let page = Page { links: links(&text[place]), ..Page::empty() };
    page.link("next").map(ToOwned::to_owned)
}

/// A larger total is no count of anything. Sums of smaller ones are numbers in any store.
const MOST_MATCHES: u64 = 1_000_000_000_000;

fn scan_text(text: &str, skipped: usize, original: &[u8]) -> Result<Page, ScanError> {
    let parts = match quick::parts(text) {
        Some(parts) => parts,
        None => thorough::parts(text).map_err(|error| {
            let begins = text.trim_start().starts_with('{');
            if error.is_eof() && begins { ScanError::Truncated { length: original.len() } } else { not_fhir(original) }
        })?,
    };
    let resource_type = parts.resource_type.and_then(resource::string);
    let mut page = Page {
        total: parts.total.and_then(|raw| raw.parse().ok()).filter(|total| *total <= MOST_MATCHES),
        links: parts.link.map(links).unwrap_or_default(),
        ..Page::empty()
    };
    match resource_type.as_deref() {
        Some("Bundle") => {
            page.entry_slots = parts.slots.len();
            page.entries.reserve(parts.slots.len());
            for Slot { resource, mode } in parts.slots {
                if let Some(Held { raw, head }) = resource {
                    keep(&mut page, entry_of(raw, head, text, skipped, original, mode), raw);
                }
            }
        }
        Some("OperationOutcome") => {
            page.kind = PageKind::Outcome;
            page.outcomes.push(Outcome::read(text));
        }
        Some(name) if !name.is_empty() => {
            let raw = text.trim();
            page.kind = PageKind::Resource;
            page.entry_slots = 1;
            let head = resource::head_of_read(raw).ok();
            keep(&mut page, entry_of(raw, head, text, skipped, original, None), text);
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

fn entry_of(
    raw: &str,
    head: Option<Head<'_>>,
    text: &str,
    skipped: usize,
    original: &[u8],
    mode: Option<Mode>,
) -> Entry {
    let start = raw.as_ptr().addr() - text.as_ptr().addr();
    let range = start..start + raw.len();
    // Text that is the original itself needs no look.
    let is_patched = text.as_ptr() != original.as_ptr();
    let utf8 = !is_patched || original.get(range.clone()).is_some_and(|bytes| bytes == raw.as_bytes());
    let fault = match &head {
        _ if !utf8 => Some(EntryFault::NotUtf8),
        None => Some(EntryFault::NotAnObject),
        Some(head) if head.resource_type.is_empty() => Some(EntryFault::NoType),
        Some(head) if head.id.is_none() && head.resource_type != "OperationOutcome" => Some(EntryFault::NoId),
        Some(_) => None,
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

/// `search.mode` of an entry.
fn mode(search: &str) -> Option<Mode> {
    #[derive(Deserialize)]
    struct Search<'a> {
        #[serde(borrow, default)]
        mode: Option<Cow<'a, str>>,
    }
    let search: Search<'_> = serde_json::from_str(search).ok()?;
    match search.mode.as_deref() {
        Some("match") => Some(Mode::Match),
        Some("include") => Some(Mode::Include),
        _ => None,
    }
}

/// The links that read as links; a broken one is as good as none.
fn links(raw: &str) -> Vec<Link> {
    let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(raw) else { return Vec::new() };
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

    /// Pages as servers write them, and nearly so: names that mean something in the wrong places, twice, or spelled with
    /// escapes, and values that are none.
    fn pages() -> impl Strategy<Value = String> {
        let good = [
            "1",
            "-0.5e+3",
            "true",
            "null",
            "\"\"",
            "\"Bundle\"",
            "\"match\"",
            "\"2020\"",
            "\"a{\\\"b\"",
            "\"\\ud800\"",
            "\"\u{e4}\"",
            " {} ",
            "[]",
            r#"{"mode":"match"}"#,
            r#"{"mode":"include","mode":"match"}"#,
            r#"["match"]"#,
        ];
        let bad = ["01", "1.", "-", "nul", "\"\\x\"", "\"\t\"", "\"", "", "[1,]", "{\"a\"}", "{,}", "]", "}", "\u{a0}"];
        let leaf = prop_oneof![40 => prop::sample::select(good.to_vec()), 1 => prop::sample::select(bad.to_vec())];
        let key = prop::sample::select(vec![
            "resourceType",
            "id",
            "meta",
            "lastUpdated",
            "resource",
            "search",
            "mode",
            "entry",
            "link",
            "total",
            "x",
            "\\u0069d",
            "\\ud800",
            "\u{e4}",
        ]);
        let members =
            move |value| prop::collection::vec((key.clone(), value, prop::sample::select(vec!["", " ", "\n\t"])), 0..4);
        let object = |members: Vec<(&str, String, &str)>| {
            let members =
                members.iter().map(|(key, value, space)| format!("{space}\"{key}\"{space}:{space}{value}{space}"));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        };
        let value = leaf.prop_map(str::to_owned).prop_recursive(4, 24, 4, move |inner| {
            let list = prop::collection::vec(inner.clone(), 0..3).prop_map(|list| format!("[{}]", list.join(", ")));
            prop_oneof![list, members(inner).prop_map(object)]
        });
        let slot = (value.clone(), value.clone())
            .prop_map(|(resource, search)| format!(r#"{{"fullUrl":"u","resource":{resource},"search":{search}}}"#));
        (prop::collection::vec(prop_oneof![slot, value.clone()], 0..3), value).prop_map(|(slots, other)| {
            format!(r#"{{"resourceType":"Bundle","x":{other},"entry":[{}],"total":1}}"#, slots.join(","))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_quick_way_finds_what_the_thorough_one_finds_or_nothing(page in pages()) {
            if let Some(parts) = quick::parts(&page) {
                prop_assert_eq!(parts, thorough::parts(&page).unwrap(), "{}", page);
            }
        }

        #[test]
        fn a_page_with_a_changed_byte_is_told_in_the_same_way(at in 0usize..USUAL.len(), byte in 0u8..128, cut in any::<bool>()) {
            let mut bytes = USUAL.as_bytes().to_vec();
            bytes[at] = byte;
            bytes.truncate(if cut { at } else { bytes.len() });
            let text = String::from_utf8(bytes).unwrap();
            let thorough = thorough::parts(&text).ok();
            let quick = quick::parts(&text);
            prop_assert!(quick.is_none() || quick == thorough, "{}", text);
        }
    }

    /// What a server writes that means no harm.
    const USUAL: &str = r#"{ "resourceType" : "Bundle", "total":12, "link":[{"relation":"self","url":"a"}], "entry":[{"fullUrl":"u",
      "resource":{"resourceType":"Location","id":"1","meta":{"versionId":"7","lastUpdated":"2020"},"a":[{"b":[1,-2.5e3,true,null,"\"x\\"]},{}]},
      "search":{"mode":"match","score":1}}, {"resource":{"id":"2","active":false,"resourceType":"Location"}}]}"#;

    #[test]
    fn the_usual_page_goes_the_quick_way() {
        let parts = quick::parts(USUAL).unwrap();
        assert_eq!(parts, thorough::parts(USUAL).unwrap());
        let heads: Vec<_> = parts.slots.iter().filter_map(|slot| slot.resource.as_ref()?.head.as_ref()).collect();
        assert_eq!((heads[0].last_updated.as_deref(), heads[1].id.as_deref()), (Some("2020"), Some("2")));
        assert_eq!(parts.slots[0].mode, Some(Mode::Match));
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
