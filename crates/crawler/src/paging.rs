//! From a page to the next request, or to the reason why there is none. A pure function of the page, where it came from
//! and what was asked before.

use std::{
    borrow::Cow,
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use fhirvest_fhir::bundle::Page;
use url::Url;

use crate::{
    ending::EndedBy,
    source::Source,
    strategy::{Offset, OffsetUnit},
};

/// The addresses that a partition has asked, as hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trail(HashSet<u64>);

impl Trail {
    /// A trail that a kept partition has left.
    #[must_use]
    pub fn new(hashes: &[u64]) -> Self {
        Self(hashes.iter().copied().collect())
    }

    /// Adds an address; `false` where it was there before.
    pub fn add(&mut self, hash: u64) -> bool {
        self.0.insert(hash)
    }

    /// Addresses asked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was asked yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The hash of an address with its parameters in order of their names, so that the same question in another order is
/// the same. Kept in the ledger, so its algorithm is fixed by Rust's `DefaultHasher::new()`, whose keys are constant; a
/// change of it can only let a cycle run one round more.
#[must_use]
pub fn url_hash(url: &Url) -> u64 {
    let mut pairs: Vec<_> = url.query_pairs().collect();
    pairs.sort();
    let mut hasher = DefaultHasher::new();
    (url.scheme(), url.host_str(), url.port_or_known_default(), url.path(), pairs).hash(&mut hasher);
    hasher.finish()
}

/// What follows a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Another request.
    Next(Url),
    /// None, for this reason.
    End(EndedBy),
}

/// What follows `page`, which came from `url`. `trail` holds the addresses asked so far, that of this page included.
#[must_use]
pub fn next(source: &Source, page: &Page, url: &Url, trail: &Trail, max_pages: u64) -> Step {
    let Some(link) = page.link("next") else { return Step::End(EndedBy::LastPage) };
    let Some(next) = resolve(source, link, url) else { return Step::End(EndedBy::ForeignLink) };
    if trail.0.contains(&url_hash(&next)) {
        return Step::End(EndedBy::RepeatedLink);
    }
    if trail.len() as u64 >= max_pages {
        return Step::End(EndedBy::PageLimit);
    }
    Step::Next(next)
}

/// The request that a link most likely leads to, before the page from `url` that holds it has been looked at: the same as
/// [`next`] will say, if it says that there is one. `trail` does not hold the address of the page yet.
pub(crate) fn early(source: &Source, link: &str, url: &Url, trail: &Trail, max_pages: u64) -> Option<Url> {
    let next = resolve(source, link.trim(), url)?;
    let hash = url_hash(&next);
    let new = !link.trim().is_empty() && hash != url_hash(url) && !trail.0.contains(&hash);
    (new && trail.len() as u64 + 1 < max_pages).then_some(next)
}

/// A page of a search that is paged by counting.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// Matches on it.
    pub matches: u64,
    /// Entries on it, whatever they are.
    pub entries: u64,
    /// `_count` as asked for.
    pub asked: Option<u64>,
    /// `Bundle.total`.
    pub total: Option<u64>,
    /// The server gives a next link.
    pub linked: bool,
}

/// What follows a page from `url` where a parameter counts up. The end is a page without entries, or as many matches as
/// the server counts, unless it gives a link to more of them: links are not followed, and a short page is no end, since
/// it may be all that the server gives at a time.
#[must_use]
pub fn next_offset(offset: &Offset, page: &Counted, url: &Url, trail: &Trail, max_pages: u64) -> Step {
    if page.entries == 0 {
        return Step::End(EndedBy::LastPage);
    }
    let written = url.query_pairs().find(|(name, _)| *name == offset.param).and_then(|(_, text)| text.parse().ok());
    let current: u64 = written.unwrap_or(offset.first);
    let step = match offset.unit {
        // More than was asked for are rows that came before.
        OffsetUnit::Matches => page.asked.map_or(page.matches, |asked| page.matches.min(asked)).max(1),
        // A page that is short, but not empty, may be all that the server gives at a time.
        OffsetUnit::Count => match page.asked {
            Some(asked) if page.matches == 0 || page.matches > asked => asked.max(1),
            _ => page.matches.max(1),
        },
        OffsetUnit::Pages => 1,
    };
    let next = current.saturating_add(step);
    if offset.unit == OffsetUnit::Matches && page.total == Some(next.saturating_sub(offset.first)) && !page.linked {
        return Step::End(EndedBy::LastPage);
    }
    if offset.limit.is_some_and(|limit| next > limit) {
        return Step::End(EndedBy::Cap);
    }
    if trail.len() as u64 >= max_pages {
        return Step::End(EndedBy::PageLimit);
    }
    let mut address = url.clone();
    let kept: Vec<(String, String)> =
        url.query_pairs().into_owned().filter(|(name, _)| *name != offset.param).collect();
    address.query_pairs_mut().clear().extend_pairs(kept).append_pair(&offset.param, &next.to_string());
    Step::Next(address)
}

/// The address that a link means: resolved against the request (RFC 3986), rewritten by the source's rules, with its
/// scheme upgraded where the base is https on the same host, and only if its origin is trusted.
pub(crate) fn resolve(source: &Source, link: &str, url: &Url) -> Option<Url> {
    // Written for HTML or XML: no parameter's name begins with `amp;`.
    let link = link.replace("&amp;", "&");
    let mut resolved = if link.starts_with('&') {
        // Some servers send only what changes: the rest of the question is the same.
        let mut same = url.clone();
        let changed: Vec<(String, String)> =
            url::form_urlencoded::parse(link.trim_start_matches('&').as_bytes()).into_owned().collect();
        let kept: Vec<(String, String)> =
            url.query_pairs().into_owned().filter(|(name, _)| changed.iter().all(|(other, _)| other != name)).collect();
        same.query_pairs_mut().clear().extend_pairs(kept).extend_pairs(changed);
        same
    } else {
        url.join(&port_once(&link)).ok()?
    };
    // Whose name and password these are, nobody knows: credentials are the job's.
    let _ = (resolved.set_username(""), resolved.set_password(None));
    escape(&mut resolved);
    for rule in &source.rewrite_next {
        let rewritten = resolved.as_str().replace(&rule.from, &rule.to);
        resolved = Url::parse(&rewritten).ok()?;
    }
    let base = source.base_url();
    if base.scheme() == "https" && resolved.scheme() == "http" && resolved.host_str() == base.host_str() {
        // A proxy that ends TLS before the server lets it think that it speaks http, often with port 80.
        let _ = resolved.set_port(base.port());
        let _ = resolved.set_scheme("https");
    }
    source.may_receive(&resolved).then_some(resolved)
}

/// Characters that RFC 3986 allows in no query and the URL standard leaves as they are: strict servers refuse what their
/// own links hold.
const UNESCAPED: [(char, &str); 6] =
    [('|', "%7C"), ('{', "%7B"), ('}', "%7D"), ('^', "%5E"), ('`', "%60"), ('\\', "%5C")];

/// Escapes what a server left unescaped in the query of its link.
fn escape(url: &mut Url) {
    let Some(query) = url.query().filter(|query| query.contains(UNESCAPED.map(|(bare, _)| bare))) else { return };
    let escaped = UNESCAPED.iter().fold(query.to_owned(), |query, (bare, escaped)| query.replace(*bare, escaped));
    url.set_query(Some(&escaped));
}

/// A link whose port is written twice, as in `https://host:443:443/path`, with one of them: proxies that add the port
/// to a host that has it already do that.
fn port_once(link: &str) -> Cow<'_, str> {
    let whole = || Cow::Borrowed(link);
    let Some(from) = link.find("://").map(|at| at + 3) else { return whole() };
    let to = link[from..].find(['/', '?', '#']).map_or(link.len(), |at| from + at);
    let Some((rest, second)) = link[from..to].rsplit_once(':') else { return whole() };
    match rest.rsplit_once(':') {
        Some((_, first)) if first == second && !first.is_empty() && first.bytes().all(|b| b.is_ascii_digit()) => {
            Cow::Owned(format!("{}{rest}{}", &link[..from], &link[to..]))
        }
        _ => whole(),
    }
}

#[cfg(test)]
mod tests {
    use fhirvest_fhir::bundle::{Link, PageKind};

    use super::*;
    use crate::source::Rewrite;

    fn page(next: Option<&str>) -> Page {
        let links = next.map(|url| Link { relation: "next".into(), url: url.into() }).into_iter().collect();
        Page { kind: PageKind::Bundle, total: None, links, entries: Vec::new(), outcomes: Vec::new(), entry_slots: 0 }
    }

    #[test]
    fn links_are_followed_as_meant_and_never_astray() {
        let mut source = Source::new(Url::parse("https://a.example/fhir").unwrap());
        source.rewrite_next.push(Rewrite { from: "/internal/".into(), to: "/fhir/".into() });
        let url = Url::parse("https://a.example/fhir/Location?_count=5&name=x").unwrap();
        for (link, wanted) in [
            ("https://a.example/fhir?_getpages=t", "https://a.example/fhir?_getpages=t"),
            ("Location?page=2", "https://a.example/fhir/Location?page=2"),
            ("?page=2", "https://a.example/fhir/Location?page=2"),
            ("/other/Location?page=2", "https://a.example/other/Location?page=2"),
            ("&search-offset=20", "https://a.example/fhir/Location?_count=5&name=x&search-offset=20"),
            ("Location?name=x&amp;_count=5&amp;page=2", "https://a.example/fhir/Location?name=x&_count=5&page=2"),
            ("&_count=9", "https://a.example/fhir/Location?name=x&_count=9"),
            ("http://a.example/fhir/Location?page=2", "https://a.example/fhir/Location?page=2"),
            ("http://a.example:80/fhir/Location?page=2", "https://a.example/fhir/Location?page=2"),
            ("https://a.example:443:443/fhir/Location?page=2", "https://a.example/fhir/Location?page=2"),
            ("https://me:pw@a.example/fhir?page=2", "https://a.example/fhir?page=2"),
            ("https://a.example:443:443?page=2", "https://a.example/?page=2"),
            ("https://a.example/internal/Location?page=2", "https://a.example/fhir/Location?page=2"),
            ("Location?code=a|b c", "https://a.example/fhir/Location?code=a%7Cb%20c"),
        ] {
            let step = next(&source, &page(Some(link)), &url, &Trail::default(), 10);
            assert_eq!(step, Step::Next(Url::parse(wanted).unwrap()), "{link}");
        }
        for (link, ended_by) in [
            (None, EndedBy::LastPage),
            (Some(""), EndedBy::LastPage),
            (Some("https://b.example/fhir?page=2"), EndedBy::ForeignLink),
            (Some("http://"), EndedBy::ForeignLink),
            (Some("file:///etc/passwd"), EndedBy::ForeignLink),
            (Some("Location?name=x&_count=5"), EndedBy::RepeatedLink),
        ] {
            let trail = Trail::new(&[url_hash(&url)]);
            assert_eq!(next(&source, &page(link), &url, &trail, 10), Step::End(ended_by), "{link:?}");
        }
        let trail = Trail::new(&[1, 2]);
        assert_eq!(next(&source, &page(Some("?page=9")), &url, &trail, 2), Step::End(EndedBy::PageLimit));
    }

    #[test]
    fn an_offset_counts_up_to_an_empty_page() {
        let offset = |unit, first, limit| Offset { param: "_skip".into(), first, unit, limit };
        let counted = |matches, total| Counted { matches, entries: matches, asked: Some(50), total, linked: false };
        let at = |query: &str| Url::parse(&format!("https://a.example/fhir/Location?{query}")).unwrap();
        for (offset, page, query, wanted) in [
            (offset(OffsetUnit::Matches, 0, None), counted(20, None), "_count=50", Ok("_count=50&_skip=20")),
            (offset(OffsetUnit::Matches, 0, None), counted(20, Some(40)), "_skip=20", Err(EndedBy::LastPage)),
            (
                offset(OffsetUnit::Matches, 0, None),
                Counted { linked: true, ..counted(20, Some(40)) },
                "_skip=20",
                Ok("_skip=40"),
            ),
            (offset(OffsetUnit::Count, 0, None), counted(20, None), "_skip=50&_count=50", Ok("_count=50&_skip=70")),
            (offset(OffsetUnit::Count, 0, None), counted(52, None), "_skip=50&_count=50", Ok("_count=50&_skip=100")),
            (offset(OffsetUnit::Matches, 0, None), counted(52, None), "_skip=50&_count=50", Ok("_count=50&_skip=100")),
            (offset(OffsetUnit::Pages, 1, None), counted(20, Some(20)), "_count=50", Ok("_count=50&_skip=2")),
            (offset(OffsetUnit::Matches, 0, None), counted(0, None), "_skip=40", Err(EndedBy::LastPage)),
            (offset(OffsetUnit::Matches, 0, Some(59)), counted(20, None), "_skip=40", Err(EndedBy::Cap)),
        ] {
            let step = next_offset(&offset, &page, &at(query), &Trail::default(), 10);
            assert_eq!(step, wanted.map_or_else(Step::End, |query| Step::Next(at(query))), "{query} {offset:?}");
        }
    }
}
