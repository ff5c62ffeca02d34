//! A payer that shares nothing with the sandbox, with each habit of servers that shows in answers, in several wordings,
//! and with habits in company: what a crawl calls complete is the whole, what has an answer is crawled whole, and nothing
//! is asked of another origin or without end.
//!
//! `FHIRVEST_COMBINATIONS` is the number of habits in company, `FHIRVEST_COMBINATIONS_FROM` the first of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod draw;
mod payer;

use std::{collections::BTreeSet, time::Duration};

use chrono::DateTime;
use draw::Draw;
use fhirvest_crawler::{
    ending::Status,
    engine::ResourcePlan,
    strategy::{Offset, OffsetUnit, Paging, Strategy},
};
use payer::{Crawled, Expected, Habit, ROWS, crawl, habits, id_of};
use url::Url;

/// No crawl of so few rows asks more often, one that halves windows of time to the second around each row included.
const MOST_REQUESTS: usize = 12_000;

/// Nor does it wait longer, all waits that the server asks for included.
const LONGEST: Duration = Duration::from_secs(2 * 24 * 60 * 60);

fn plan(page_size: Option<u32>) -> ResourcePlan {
    ResourcePlan { page_size, ..ResourcePlan::new("Location") }
}

fn is_sound(crawled: &Crawled) -> bool {
    matches!(crawled.outcome.status, Status::Complete | Status::Empty)
}

/// What no crawl may do, whatever the server does.
fn broken_promise(rows: usize, crawled: &Crawled) -> Option<String> {
    let Crawled { outcome, held, asked, took } = crawled;
    let origin = Url::parse("https://a.example").unwrap().origin();
    let stray = asked.iter().find(|url| url.origin() != origin || !url.username().is_empty());
    if let Some(stray) = stray {
        return Some(format!("{stray} is asked"));
    }
    let counts = &outcome.counts;
    if counts.received != counts.archived + counts.duplicates + counts.variants + counts.quarantined {
        return Some(format!("counts do not add up: {counts:?}"));
    }
    if asked.len() > MOST_REQUESTS || *took > LONGEST {
        return Some(format!("{} requests in {} s", asked.len(), took.as_secs()));
    }
    let want: BTreeSet<String> = (0..rows).map(id_of).collect();
    let missing = want.difference(held).count();
    // What the server's count or the quarantine shows to be missing is reported, and allowed by `min_coverage`.
    let reported = outcome.coverage.is_some_and(|share| share < 1.0) || counts.quarantined > 0;
    let allowed = if reported { rows / 50 } else { 0 };
    (is_sound(crawled) && missing > allowed).then(|| {
        let (status, ended_by, total) = (outcome.status, outcome.ended_by, outcome.server_total);
        format!("{status} with {} of {rows}, ended by {ended_by:?}, total {total:?}", held.len())
    })
}

#[tokio::test(start_paused = true)]
async fn each_habit_is_answered_or_told() {
    let mut wrong = Vec::new();
    for (name, expected, habit) in habits() {
        let crawled = crawl(ROWS, &[*habit], plan(Some(50))).await;
        let (status, ended_by) = (crawled.outcome.status, crawled.outcome.ended_by);
        match (expected, is_sound(&crawled)) {
            (Expected::Whole, false) | (Expected::Partial, true) => {
                wrong.push(format!("{name}: {status} by {ended_by:?} with {} of {ROWS}", crawled.held.len()));
            }
            _ => wrong.extend(broken_promise(ROWS, &crawled).map(|what| format!("{name}: {what}"))),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A case: the habits' names, the habits, the rows, and the plan.
fn case(number: u64) -> (Vec<&'static str>, Vec<Habit>, usize, ResourcePlan) {
    let mut draw = Draw(number);
    let all: Vec<_> = habits().collect();
    let drawn: Vec<_> = (0..=draw.below(3)).map(|_| draw.one(&all)).collect();
    let rows = draw.one(&[0, 1, 7, 20, 40, 100, 120, ROWS]);
    let offset = Offset { param: "_skip".into(), first: 0, unit: OffsetUnit::Matches, limit: None };
    let time = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
    let (start, end, max_bucket) = (time(1_450_000_000), time(1_790_000_000), draw.one(&[5, 40, 1_000]));
    let (strategy, paging) = match draw.below(8) {
        0 => (Strategy::Bare, Paging::Offset(offset)),
        1 => (Strategy::DateRange { param: "_lastUpdated".into(), start, end, max_bucket }, Paging::Links),
        2 => (Strategy::DateRange { param: "_lastUpdated".into(), start, end, max_bucket }, Paging::FirstPageOnly),
        3 => (Strategy::Prefix { param: "name".into(), alphabet: "abcdxyz".into(), max_bucket }, Paging::Links),
        4 => (Strategy::Values { param: "name".into(), list: vec!["a".into(), "berg".into()] }, Paging::Links),
        _ => (Strategy::Bare, Paging::Links),
    };
    let page_size = draw.one(&[None, Some(5), Some(10), Some(20), Some(50), Some(100), Some(1_000)]);
    let (names, habits) = drawn.iter().map(|(name, _, habit)| (*name, *habit)).unzip();
    (names, habits, rows, ResourcePlan { strategy, paging, ..plan(page_size) })
}

/// Rows that are not shown and not counted leave no trace: nobody can know of them.
fn is_unknowable(names: &[&str], plan: &ResourcePlan) -> bool {
    let any = |beginning: &str| names.iter().any(|name| name.starts_with(beginning));
    let stops_short = any("8 no link") || any("9 a") || any("3 an empty page") || any("15 half a page");
    any("28")
        // No parameter shows anything else.
        || ((any("24 every parameter") || any("24 no order") || any("24 an order")) && stops_short)
        // Nothing is shown of few rows on large pages, and everything else is refused.
        || (any("11 nothing is allowed") && any("10 "))
        // What shows nothing at its end goes on for ever behind it, and no other order is heeded.
        || (any("24 ") && any("5 empty without end") && matches!(plan.paging, Paging::Offset(_)))
        // One row stands in the place of the refusal.
        || (names.iter().any(|name| name.ends_with("said in a Bundle")) && any("6 rows that turn"))
        // Other rows are invented where these are hidden, and agree with each other and with the total.
        || (any("4 new rows") && any("10 much too many"))
        // What comes twice in one window may have come by the one around it.
        || (any("6 rows that turn") && plan.strategy != Strategy::Bare)
}

#[tokio::test(start_paused = true)]
async fn habits_in_company_never_make_a_wrong_complete() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let from = number("FHIRVEST_COMBINATIONS_FROM").unwrap_or(0);
    let mut wrong = Vec::new();
    for one in from..from + number("FHIRVEST_COMBINATIONS").unwrap_or(2_000) {
        let (names, habits, rows, plan) = case(one);
        let described = format!("{names:?} {rows} rows {:?} {:?} {:?}", plan.page_size, plan.strategy, plan.paging);
        let unknowable = is_unknowable(&names, &plan);
        let crawled = crawl(rows, &habits, plan).await;
        if let Some(what) = broken_promise(rows, &crawled).filter(|_| !unknowable) {
            wrong.push(format!("case {one}: {what}\n  {described}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What random company has found: a wrong `complete`, or questions without end.
#[tokio::test(start_paused = true)]
async fn what_company_has_found_stays_found() {
    let time = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
    let by_date = || {
        let (start, end) = (time(1_450_000_000), time(1_790_000_000));
        Strategy::DateRange { param: "_lastUpdated".into(), start, end, max_bucket: 5 }
    };
    let by_name = || Strategy::Prefix { param: "name".into(), alphabet: "abcdxyz".into(), max_bucket: 40 };
    let skip = || Paging::Offset(Offset { param: "_skip".into(), first: 0, unit: OffsetUnit::Matches, limit: None });
    // A plain crawl by links, which cannot come to the whole.
    let never_whole = |names: &'static [&'static str], rows: usize, page_size: u32, most: usize| {
        (names, rows, page_size, Strategy::Bare, Paging::Links, false, most)
    };
    for (names, rows, page_size, strategy, paging, whole, most) in [
        // Last pages lead to the beginning of the whole type, those of windows without rows included: forty rows in
        // windows of five.
        (&["1 empty", "4 everything again and again"][..], 40, 1_000, by_date(), Paging::Links, true, 400),
        // So do those of names that nothing has.
        (&["1 empty", "4 everything again and again"], 120, 100, by_name(), Paging::Links, false, 2_000),
        // The second page of a window loses its size, and holds nothing, not even what was counted.
        (&["10 pages of three", "10 too many, nothing"], 40, 1_000, by_date(), Paging::Links, true, 600),
        // The only question that is answered with something is refused once.
        (&["3 refused once", "10 much too many, nothing and no total"], 7, 50, Strategy::Bare, skip(), true, 40),
        // It takes a filter, too.
        (
            &["11 a filter is wanted, said in a Bundle", "10 much too many, nothing and no total"],
            183,
            5,
            Strategy::Bare,
            skip(),
            true,
            400,
        ),
        // A link that nobody follows stands on a page of nothing.
        (&["10 too many, nothing", "4 everything again and again"], 120, 100, Strategy::Bare, skip(), true, 80),
        // One row, a link that loses the size, and nothing at both ends where ten are asked for.
        never_whole(&["10 pages of three", "10 much too many, nothing and no total", "12 no counting"], 120, 100, 40),
        // Three rows, a total of three, and no link.
        never_whole(
            &["10 pages of three", "1 empty", "8 no link after three pages, what came for a total"],
            40,
            100,
            40,
        ),
        // What is shown is of another type, and by date there is nothing.
        (&["19 Bundles in the Bundle", "25 no stamps"], 100, 20, by_date(), Paging::FirstPageOnly, false, 40),
        never_whole(&["19 the type in small letters", "1 empty"], 40, 50, 40),
        // All are marked as included, too, and only small pages show them.
        never_whole(&["19 mode include for all", "10 too many, nothing", "19 the type in small letters"], 40, 100, 40),
        // Windows without rows lead to the whole type, which fails later.
        (&["4 everything again and again", "16 none later"], 120, 10, by_date(), Paging::Links, false, 2_500),
        // What came is told for the total, with a link to more.
        (
            &["10 pages of three", "8 no link after three pages, what came for a total"],
            20,
            5,
            Strategy::Bare,
            skip(),
            true,
            40,
        ),
        // Every share is the whole, which the question whether it is does not show with pages of the usual size.
        (&["24 every parameter is ignored", "10 too many, nothing"], 120, 20, by_name(), Paging::Links, true, 100),
        (&["10 too many, refused", "4 new rows without end"], 1, 20, by_date(), Paging::FirstPageOnly, false, 100),
        // By date there is nothing, and all together can't be read.
        (&["25 no stamps", "20 bytes that are no text"], 7, 20, by_date(), Paging::FirstPageOnly, false, 100),
        // Nor is it answered, in a Bundle.
        (&["25 no stamps", "11 a filter is wanted, said in a Bundle"], 40, 50, by_date(), Paging::Links, false, 100),
        // A window is answered with nothing now and then, and so is the end of a walk by offset.
        (&["5 nothing, now and then"], 183, 20, by_date(), Paging::FirstPageOnly, true, 900),
        (&["24 an order is too much", "5 nothing, now and then"], 120, 1_000, Strategy::Bare, skip(), true, 60),
        // An end is shown as nothing.
        never_whole(&["5 nothing, now and then", "15 half a page, well-formed"], 120, 10, 40),
        // What comes when it is asked for again is an error, not more.
        never_whole(
            &["19 an error for the end", "5 nothing, now and then", "24 no order may be asked for"],
            183,
            20,
            40,
        ),
        // A page for a count tells how many are on it, as many as the names of the list find.
        (
            &["3 an empty page for a lost one", "12 a page for a count", "12 what the page holds"],
            7,
            20,
            Strategy::Values { param: "name".into(), list: vec!["a".into(), "berg".into()] },
            Paging::Links,
            false,
            40,
        ),
        // Both ends show resources that have no ids.
        never_whole(
            &["9 a ceiling of any number, for the total, too", "20 no ids", "6 rows that turn around, no count"],
            183,
            50,
            60,
        ),
        // Rows that turn around are all marked as included.
        never_whole(
            &["6 rows that turn around whatever is asked, no count", "19 mode include for all", "13 at once"],
            183,
            1_000,
            100,
        ),
        // A page of before in the place of the next, where each begins with a row of the one before, in other words, and
        // where the order that is asked for holds.
        never_whole(&["7 other content each time", "6 a page once more in the place of the next"], 183, 100, 100),
        // A page has lost its resources, not what is said and included besides them.
        never_whole(&["5 entries without their resources on one page", "19 outcomes and others"], 183, 50, 40),
        // Two walks turn around in the same way, and each brings as many as the other has left out.
        (
            &["5 empty without end", "6 rows that turn around whatever is asked, no count", "13 a quota as 403"],
            183,
            1_000,
            Strategy::Bare,
            skip(),
            false,
            800,
        ),
    ] {
        let named = |wanted: &&str| habits().find(|(name, ..)| name == wanted).unwrap().2;
        let chosen: Vec<Habit> = names.iter().map(named).collect();
        let crawled = crawl(rows, &chosen, ResourcePlan { strategy, paging, ..plan(Some(page_size)) }).await;
        assert_eq!(broken_promise(rows, &crawled), None, "{names:?}");
        assert!(crawled.asked.len() < most, "{names:?}: {} requests", crawled.asked.len());
        let held = (0..rows).filter(|number| crawled.held.contains(&id_of(*number))).count();
        assert_eq!(is_sound(&crawled) && held == rows, whole, "{names:?}: {} with {held}", crawled.outcome.status);
    }
}
