//! Faults in which rows a page shows, what total it tells and where it leads.

use super::{Behaviour, Fault};
use crate::search::query::{Order, Query, Total};

/// Rows that `overlap` and `variant-content` show again.
const OVERLAP: usize = 2;
/// Rows that `grows` adds, one a page.
const GROWTH: usize = 5;

/// One page of a search: which rows it shows and what it says of the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Rows of the matches, `from..to`, after `rotate`.
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// By how much the order is turned around.
    pub(crate) rotate: usize,
    /// How many of the first rows were shown by the page before.
    pub(crate) again: usize,
    pub(crate) total: Option<usize>,
    pub(crate) next: Option<Next>,
    /// What an empty page shows instead of entries.
    pub(crate) blank: Option<Blank>,
}

/// Where a page leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) offset: usize,
    /// Something in the URL that makes it differ from others of the same offset.
    pub(crate) marker: Option<String>,
}

/// How a page without entries looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blank {
    /// `entry: []`
    EmptyArray,
    /// No `entry` at all.
    NoEntry,
}

/// Works out the page at `query.offset` of a search with `found` matches and `count` rows a page.
pub(crate) fn turn(behaviour: &Behaviour, query: &Query, found: usize, count: usize) -> Turn {
    let page = query.offset.checked_div(count).unwrap_or(0);
    let (hidden, visible) = visible(behaviour, found, page);
    let offset = query.offset.min(visible);
    let end = offset.saturating_add(count).min(visible);
    let next = (end < visible && count > 0).then_some(Next { offset: end, marker: None });
    let mut turn =
        Turn { from: hidden + offset, to: hidden + end, rotate: 0, again: 0, total: None, next, blank: None };
    let capped = behaviour.has(Fault::Cap100TrueTotal) || behaviour.profile.cap_hidden;
    turn.total = total(behaviour, query, if capped { found } else { visible }, end - offset);
    if query.count_only {
        turn.to = turn.from;
        turn.next = None;
        return turn;
    }
    overlap(behaviour, &mut turn, offset);
    if behaviour.has(Fault::UnstableOrder) && query.order == Order::Stored {
        turn.rotate = page * (count / 20 + 1);
    }
    blanks(behaviour, query, &mut turn, offset);
    circles(behaviour, query, &mut turn, count);
    if behaviour.has(Fault::NoNext) {
        turn.next = None;
    }
    if behaviour.has(Fault::EmptyNowAndThen) && behaviour.memory.count("pages") % 4 == 3 {
        turn = Turn { to: turn.from, again: 0, total: None, next: None, ..turn };
    }
    turn
}

/// How many rows are hidden in front, and how many are to be seen.
fn visible(behaviour: &Behaviour, found: usize, page: usize) -> (usize, usize) {
    let caps =
        [(Fault::Cap100, 100), (Fault::Cap100TrueTotal, 100), (Fault::Cap1000, 1_000), (Fault::Cap10000, 10_000)];
    let cap = caps.iter().find(|(fault, _)| behaviour.has(*fault)).map(|(_, cap)| *cap).or(behaviour.profile.cap);
    let hidden = if behaviour.has(Fault::Shrinks) {
        page.min(found)
    } else if behaviour.has(Fault::Grows) {
        GROWTH.saturating_sub(page).min(found)
    } else {
        0
    };
    (hidden, (found - hidden).min(cap.unwrap_or(usize::MAX)))
}

fn total(behaviour: &Behaviour, query: &Query, visible: usize, shown: usize) -> Option<usize> {
    let asked = query.total == Total::Accurate || query.count_only;
    let told = match query.total {
        Total::Unsaid if !query.count_only => !behaviour.profile.total_on_request,
        _ => asked,
    };
    let wrong =
        [Fault::TotalAbsent, Fault::CountUnsupported, Fault::TotalZero, Fault::TotalPageSize, Fault::TotalDoubled];
    match behaviour.first(&wrong) {
        Some(Fault::TotalAbsent | Fault::CountUnsupported) => None,
        Some(Fault::TotalZero) => Some(0),
        Some(Fault::TotalPageSize) => Some(shown),
        Some(_) => Some(visible * 2),
        None => told.then_some(visible),
    }
}

fn overlap(behaviour: &Behaviour, turn: &mut Turn, offset: usize) {
    if behaviour.first(&[Fault::Overlap, Fault::VariantContent]).is_some() {
        turn.again = OVERLAP.min(offset);
        turn.from -= turn.again;
    }
}

/// Empty pages between and after the others.
fn blanks(behaviour: &Behaviour, query: &Query, turn: &mut Turn, offset: usize) {
    let style = match behaviour.first(&[Fault::EmptyPageWithNext, Fault::NoEntry]) {
        Some(Fault::EmptyPageWithNext) => Some(Blank::EmptyArray),
        Some(_) => Some(Blank::NoEntry),
        None => None,
    };
    match (style, &mut turn.next) {
        (Some(style), _) if query.marker.as_deref() == Some("blank") => {
            turn.to = turn.from;
            turn.again = 0;
            turn.blank = Some(style);
            turn.next = Some(Next { offset, marker: None });
        }
        (Some(_), Some(next)) => next.marker = Some("blank".to_owned()),
        _ => {}
    }
    if turn.next.is_none() && turn.to > turn.from && behaviour.has(Fault::EmptyLastPage) {
        turn.next = Some(Next { offset: offset + (turn.to - turn.from), marker: None });
    }
    if turn.next.is_none() && behaviour.has(Fault::EndlessEmpty) {
        let round: usize = query.marker.as_deref().and_then(|marker| marker.parse().ok()).unwrap_or(0);
        let end = offset + (turn.to - turn.from - turn.again);
        turn.next = Some(Next { offset: end, marker: Some((round + 1).to_string()) });
    }
}

/// Pages that lead back.
fn circles(behaviour: &Behaviour, query: &Query, turn: &mut Turn, count: usize) {
    let back = |offset| Some(Next { offset, marker: query.marker.clone() });
    if turn.next.is_some() && query.offset > 0 && behaviour.has(Fault::NextRepeatsSelf) {
        turn.next = back(query.offset);
    }
    if turn.next.is_some() && query.offset >= 2 * count && behaviour.has(Fault::NextLoop) {
        turn.next = back(query.offset - count);
    }
    if turn.next.is_none() && turn.to > turn.from && behaviour.has(Fault::ServesEverythingAgain) {
        let round: usize = query.marker.as_deref().and_then(|marker| marker.parse().ok()).unwrap_or(0);
        turn.next = Some(Next { offset: 0, marker: Some((round + 1).to_string()) });
    }
    // Rounds go on under the same marker.
    if let (Some(next), Some(marker)) = (&mut turn.next, &query.marker)
        && next.marker.is_none()
        && behaviour.has(Fault::ServesEverythingAgain)
    {
        next.marker = Some(marker.clone());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::options::Options;
    use crate::platforms::Paging;

    fn page(faults: &[Fault], target: &str, found: usize, count: usize) -> Turn {
        let behaviour = Behaviour::new(&Options { faults: faults.to_vec(), ..Options::default() });
        let parameters = crate::search::query::decode(target);
        let query = Query::parse("Practitioner", "http://h", Paging::GetPages, &parameters).unwrap();
        turn(&behaviour, &query, found, count)
    }

    fn next(offset: usize) -> Option<Next> {
        Some(Next { offset, marker: None })
    }

    #[test]
    fn a_good_server_shows_each_row_once() {
        for (target, shown, leads_to) in [
            ("", 0..4, next(4)),
            ("_offset=4", 4..8, next(8)),
            ("_offset=8", 8..10, None),
            ("_offset=10", 10..10, None),
            ("_offset=99", 10..10, None),
        ] {
            let turn = page(&[], target, 10, 4);
            assert_eq!((turn.from..turn.to, turn.next, turn.total), (shown, leads_to, Some(10)), "{target}");
        }
        assert_eq!(page(&[], "", 8, 4).next, next(4));
        assert_eq!(page(&[], "_offset=4", 8, 4).next, None, "a full last page is the last");
        let counted = page(&[], "_summary=count", 10, 4);
        assert_eq!((counted.from, counted.to, counted.next, counted.total), (0, 0, None, Some(10)));
        assert_eq!(page(&[], "", 0, 4).next, None);
        assert_eq!(page(&[], "", 10, 0).next, None, "_count=0 asks for the total only");
    }

    #[test]
    fn offsets_beyond_a_cap_find_nothing() {
        let turn = page(&[Fault::Cap100], "_offset=100", 130, 50);
        assert_eq!((turn.from..turn.to, turn.next, turn.total), (100..100, None, Some(100)));
        assert_eq!(page(&[Fault::Cap100TrueTotal], "_offset=50", 130, 50).total, Some(130));
    }

    #[test]
    fn rows_that_vanish_are_never_shown_past_the_end() {
        for found in 0..12 {
            for offset in (0..16).step_by(3) {
                for fault in [Fault::Shrinks, Fault::Grows, Fault::Overlap] {
                    let turn = page(&[fault], &format!("_offset={offset}"), found, 3);
                    assert!(turn.from <= turn.to && turn.to <= found, "{fault} {found} {offset}: {turn:?}");
                }
            }
        }
    }
}
