//! When an end in good order is too good to be believed, and what to ask then. Pure; the asking is the engine's.
//!
//! Servers that give at most so many matches of a search end their paging in good order at that ceiling, and some tell
//! it as the total (habit 9 of the crawling notes): nothing in the pages themselves shows that there is more.

use fhirvest_fhir::bundle::{Entry, Mode, Page};
use url::form_urlencoded;

use crate::ending::EndedBy;

/// Ceilings that servers are known to have. A count that equals one is `at least` unless the contrary is shown.
const KNOWN_CEILINGS: [u64; 9] = [100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000];

/// Whether a total is one of the ceilings that servers are known to have.
pub(crate) fn is_known_ceiling(total: u64) -> bool {
    KNOWN_CEILINGS.contains(&total)
}

/// Whether it is one that hardly any type has by chance.
pub(crate) fn is_ceiling(total: u64) -> bool {
    total >= 1_000 && is_known_ceiling(total)
}

/// The smallest ceiling that makes sense for a server.
const LEAST_CEILING: u64 = 100;

/// Matches from which the ends of a part of a type are worth two requests.
const LARGE: u64 = 1_000;

/// Whether somebody may have chosen this number rather than counted to it.
fn is_round(count: u64) -> bool {
    count >= LEAST_CEILING && count.is_multiple_of(100) && (count < 10_000 || count.is_multiple_of(1_000))
}

/// Page sizes that servers keep to whatever is asked.
const KNOWN_PAGE_SIZES: [u64; 6] = [10, 20, 25, 30, 50, 100];

/// A search that ended without a next link, as the server's own word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// Matches received since the search was begun or taken up again.
    pub(crate) seen: u64,
    /// The server's count, on the last page.
    pub(crate) total: Option<u64>,
    /// `_count`.
    pub(crate) asked: Option<u32>,
    /// The last page holds as much as any before it.
    pub(crate) last_full: bool,
    /// The first page was the last.
    pub(crate) only_page: bool,
    /// The search was taken up again, so that `seen` is not all of it.
    pub(crate) resumed: bool,
    /// The search is for everything of the type.
    pub(crate) whole: bool,
    /// A page holds an error besides its matches.
    pub(crate) errored: bool,
    /// The ceiling that the job says the server has.
    pub(crate) cap: Option<u64>,
}

/// A reason to look whether there is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// The ending, if there is.
    pub(crate) ended_by: EndedBy,
    /// Whether it is the ending even if the server can't be made to show.
    pub(crate) stands_unanswered: bool,
    /// So many ids of one end prove it that are not held. Where nothing is odd, one or two may be of rows that were made
    /// while the others were being crawled.
    pub(crate) proof: usize,
}

impl Doubt {
    /// Whether the search ended at a ceiling that servers are known to have, or this one is said to have. What lies beyond
    /// it may be anywhere, so that the ends prove little.
    pub(crate) fn is_of_ceiling(&self) -> bool {
        self.ended_by == EndedBy::Cap && self.stands_unanswered
    }

    fn new(ended_by: EndedBy, stands_unanswered: bool) -> Self {
        Self { ended_by, stands_unanswered, proof: 1 }
    }
}

/// What is doubtful about an end, if anything. Counts are no proof: they are capped, page-sized or zero on some servers.
pub(crate) fn doubt(end: &End) -> Option<Doubt> {
    if end.errored {
        return Some(Doubt::new(EndedBy::Error, true));
    }
    if end.seen == 0 && !end.only_page {
        // Pages that lead on and hold nothing.
        return Some(Doubt::new(EndedBy::NoNewIds, true));
    }
    let counts = [Some(end.seen), end.total];
    let any = |is: &dyn Fn(u64) -> bool| counts.into_iter().flatten().any(is);
    if any(&|count| Some(count) == end.cap) {
        return Some(Doubt::new(EndedBy::Cap, true));
    }
    if any(&is_round) {
        let stands_unanswered = any(&|count| KNOWN_CEILINGS.contains(&count));
        return Some(Doubt::new(EndedBy::Cap, stands_unanswered));
    }
    if end.resumed {
        return Some(Doubt::new(EndedBy::Cap, false));
    }
    let untold = end.total != Some(end.seen);
    let full = end.asked.is_some_and(|asked| end.seen >= u64::from(asked));
    if end.last_full && !end.only_page && untold {
        return Some(Doubt::new(EndedBy::ShortPageWithoutNext, true));
    }
    let usual = KNOWN_PAGE_SIZES.contains(&end.seen);
    if end.only_page && end.seen > 0 && (full || usual || untold) {
        // A total that agrees outweighs a size that is merely usual, for a server that cannot show more.
        return Some(Doubt::new(EndedBy::ShortPageWithoutNext, full || (usual && untold)));
    }
    // A ceiling may be any number, and the total may stop at it, too: one look at both ends of a search that took several
    // pages is cheap.
    let least = if end.whole { 1 } else { LARGE };
    (end.seen >= least).then_some(Doubt { proof: 3, ..Doubt::new(EndedBy::Cap, false) })
}

/// The two ends of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// From the smallest id.
    Ascending,
    /// From the largest id.
    Descending,
}

/// Entries to look at of each end: many enough that they are not all held by chance, few enough for any server, those
/// included that answer nothing else than small pages.
pub(crate) const LOOKED_AT: u32 = 10;

/// The search for one end of what `search` finds, and how many of it.
pub(crate) fn end_of(search: &str, order: Order, many: u32) -> String {
    let sort = match order {
        Order::Ascending => "_id",
        Order::Descending => "-_id",
    };
    with(search, &[("_sort", sort), ("_count", &many.to_string())])
}

/// A search with these parameters in place of those of the same name.
pub(crate) fn with(search: &str, changed: &[(&str, &str)]) -> String {
    let (path, query) = search.split_once('?').unwrap_or((search, ""));
    let kept = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| changed.iter().all(|(new, _)| new != name));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).extend_pairs(changed).finish();
    format!("{path}?{query}")
}

/// A search without a parameter.
pub(crate) fn without(search: &str, removed: &str) -> String {
    let (path, query) = search.split_once('?').unwrap_or((search, ""));
    let kept = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != removed);
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// What is a match on a page: resources of the type that the server does not mark as included, or, where it marks all of
/// them, whatever is of the type: nothing is included without a match.
pub(crate) fn is_match<'a>(page: &'a Page, resource_type: &'a str) -> impl Fn(&Entry) -> bool + 'a {
    let all_marked = are_all_marked(page, resource_type);
    move |entry| *entry.resource_type == *resource_type && (all_marked || entry.mode != Some(Mode::Include))
}

/// Whether a server marks all resources of the type as included.
fn are_all_marked(page: &Page, resource_type: &str) -> bool {
    let mut of_type = page.entries.iter().filter(|entry| *entry.resource_type == *resource_type);
    of_type.all(|entry| entry.mode == Some(Mode::Include))
}

/// Takes the marks off where a server marks all of the type as included: then they say nothing, and whoever looks at the
/// page, the store included, shall see matches.
pub(crate) fn take_marks_off(page: &mut Page, resource_type: &str) {
    if are_all_marked(page, resource_type) {
        let of_type = page.entries.iter_mut().filter(|entry| *entry.resource_type == *resource_type);
        of_type.for_each(|entry| entry.mode = None);
    }
}

/// Whether an entry holds a resource of another type than was asked for.
pub(crate) fn is_stranger(entry: &Entry, resource_type: &str) -> bool {
    !entry.resource_type.is_empty() && *entry.resource_type != *resource_type
}

/// Whether a page holds matches that are of another type than was asked for; nothing is included without a match.
pub(crate) fn holds_strangers(page: &Page, resource_type: &str) -> bool {
    let all_marked = page.entries.iter().all(|entry| entry.mode == Some(Mode::Include));
    page.entries
        .iter()
        .any(|entry| (all_marked || entry.mode != Some(Mode::Include)) && is_stranger(entry, resource_type))
}

/// The ids of the matches of a type on a page.
pub(crate) fn ids<'a>(page: &'a Page, resource_type: &str) -> Vec<&'a str> {
    let is_match = is_match(page, resource_type);
    let usable = page.entries.iter().filter(|entry| is_match(entry) && entry.fault.is_none());
    usable.filter_map(|entry| entry.id.as_deref()).collect()
}

/// Whether ids stand in this order, as text or as numbers: a server that ignores `_sort` is found out.
pub(crate) fn is_in_order(ids: &[&str], order: Order) -> bool {
    let in_order = |less: &dyn Fn(&str, &str) -> bool| {
        ids.windows(2).all(|pair| match order {
            Order::Ascending => less(pair[0], pair[1]),
            Order::Descending => less(pair[1], pair[0]),
        })
    };
    ids.len() > 1 && (in_order(&|a, b| a < b) || in_order(&|a, b| (a.len(), a) < (b.len(), b)))
}

/// Whether the ids of a walk go up from page to page, as text or as numbers. A page may begin with ids of the one before.
#[derive(Debug, Default)]
pub(crate) struct Ascent {
    last: Option<String>,
    not_as_text: bool,
    not_as_numbers: bool,
}

impl Ascent {
    /// Adds the ids of a page.
    pub(crate) fn add(&mut self, ids: &[&str]) {
        let Some(last) = ids.last() else { return };
        let number = |id: &str| (id.len(), id.to_owned());
        let before = self.last.as_deref();
        self.not_as_text |= !ids.is_sorted() || before.is_some_and(|before| before > *last);
        self.not_as_numbers |=
            !ids.is_sorted_by_key(|id| number(id)) || before.is_some_and(|before| number(before) > number(last));
        self.last = Some((*last).to_owned());
    }

    /// Whether they do.
    pub(crate) fn holds(&self) -> bool {
        !(self.not_as_text && self.not_as_numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_counts_are_suspected() {
        for (count, suspected) in
            [(0, false), (10, false), (100, true), (120, false), (10_000, true), (10_100, false), (500_000, true)]
        {
            assert_eq!(is_round(count), suspected, "{count}");
        }
        assert!(KNOWN_CEILINGS.iter().all(|ceiling| is_round(*ceiling)));
    }

    #[test]
    fn an_end_is_doubted_for_a_reason() {
        use EndedBy::{Cap, ShortPageWithoutNext};
        let plain = End {
            seen: 121,
            total: Some(121),
            asked: Some(50),
            last_full: false,
            only_page: false,
            resumed: false,
            whole: false,
            errored: false,
            cap: None,
        };
        for (end, doubted) in [
            (plain, None),
            (End { total: None, ..plain }, None),
            (End { whole: true, ..plain }, Some((Cap, false))),
            (End { whole: true, seen: 99, total: Some(99), ..plain }, Some((Cap, false))),
            (End { whole: true, seen: 49, total: Some(49), only_page: true, ..plain }, Some((Cap, false))),
            (End { whole: true, seen: 0, total: Some(0), only_page: true, ..plain }, None),
            (End { errored: true, ..plain }, Some((EndedBy::Error, true))),
            (End { seen: 0, total: None, ..plain }, Some((EndedBy::NoNewIds, true))),
            (End { seen: 1_234, total: Some(1_234), ..plain }, Some((Cap, false))),
            (End { seen: 150, total: None, last_full: true, ..plain }, Some((ShortPageWithoutNext, true))),
            (End { seen: 150, total: Some(150), last_full: true, ..plain }, None),
            (End { cap: Some(121), ..plain }, Some((Cap, true))),
            (End { seen: 100, total: Some(0), ..plain }, Some((Cap, true))),
            (End { seen: 121, total: Some(10_000), ..plain }, Some((Cap, true))),
            (End { seen: 1_700, total: None, ..plain }, Some((Cap, false))),
            (End { resumed: true, ..plain }, Some((Cap, false))),
            (End { seen: 7, total: Some(7), only_page: true, ..plain }, None),
            (End { seen: 7, total: None, only_page: true, ..plain }, Some((ShortPageWithoutNext, false))),
            (End { seen: 50, total: Some(50), only_page: true, ..plain }, Some((ShortPageWithoutNext, true))),
            (End { seen: 20, total: None, only_page: true, ..plain }, Some((ShortPageWithoutNext, true))),
            (End { seen: 30, total: Some(30), only_page: true, ..plain }, Some((ShortPageWithoutNext, false))),
            (End { seen: 0, total: None, only_page: true, ..plain }, None),
        ] {
            let told = doubt(&end).map(|doubt| (doubt.ended_by, doubt.stands_unanswered));
            assert_eq!(told, doubted, "{end:?}");
        }
    }

    #[test]
    fn ids_go_up_as_text_or_as_numbers() {
        for (pages, holds) in [
            (vec![vec!["a", "b"], vec!["b", "c"]], true),
            (vec![vec!["8", "9"], vec!["10", "11"]], true),
            (vec![vec!["a", "b"], vec![], vec!["c", "d"]], true),
            (vec![vec!["a", "c"], vec!["b"]], false),
            (vec![vec!["b", "a"]], false),
        ] {
            let mut ascent = Ascent::default();
            pages.iter().for_each(|page| ascent.add(page));
            assert_eq!(ascent.holds(), holds, "{pages:?}");
        }
    }

    #[test]
    fn an_end_keeps_the_filter_of_its_search() {
        assert_eq!(end_of("Location", Order::Ascending, LOOKED_AT), "Location?_sort=_id&_count=10");
        let search = "Location?address-state=PA&_sort=_lastUpdated&_count=500";
        assert_eq!(end_of(search, Order::Descending, LOOKED_AT), "Location?address-state=PA&_sort=-_id&_count=10");
    }

    #[test]
    fn order_is_that_of_text_or_of_numbers() {
        for (ids, order, is) in [
            (vec!["a", "b", "c"], Order::Ascending, true),
            (vec!["c", "b", "a"], Order::Descending, true),
            (vec!["9", "10", "11"], Order::Ascending, true),
            (vec!["10", "11", "9"], Order::Ascending, true),
            (vec!["b", "a", "c"], Order::Ascending, false),
            (vec!["a", "b"], Order::Descending, false),
            (vec!["a"], Order::Ascending, false),
        ] {
            assert_eq!(is_in_order(&ids, order), is, "{ids:?}");
        }
    }
}
