//! Habits 4 to 12 and 28: circles, empty pages, overlaps, caps, ceilings, refused searches, totals.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::{DIRECTORY, Running, ids_of, link};
use crate::{faulty, sized};

struct Walk {
    /// Every id with how often it came.
    ids: BTreeMap<String, usize>,
    urls: Vec<String>,
    bundles: Vec<Value>,
}

/// Follows next links for at most `pages` pages.
async fn walk(sandbox: &Running, target: &str, pages: usize) -> Walk {
    let mut walk = Walk { ids: BTreeMap::new(), urls: Vec::new(), bundles: Vec::new() };
    let mut next = Some(target.to_owned());
    while let Some(target) = next.filter(|_| walk.urls.len() < pages) {
        let bundle = sandbox.json(&target).await;
        for id in ids_of(&bundle) {
            *walk.ids.entry(id).or_insert(0) += 1;
        }
        next = link(&bundle, "next");
        walk.urls.push(target);
        walk.bundles.push(bundle);
    }
    walk
}

const TARGET: &str = "/highmark/provider-directory/Practitioner?_count=10";

#[tokio::test]
async fn paging_runs_in_circles() {
    let sandbox = faulty(&["next-repeats-self"]).await;
    let walked = walk(&sandbox, TARGET, 9).await;
    assert_eq!(walked.ids.len(), 20);
    assert_eq!(walked.urls[2], walked.urls[3]);

    let sandbox = faulty(&["next-loop"]).await;
    let walked = walk(&sandbox, TARGET, 9).await;
    assert_eq!(walked.ids.len(), 30);
    assert_eq!(walked.urls[1], walked.urls[3]);

    let sandbox = faulty(&["serves-everything-again"]).await;
    let walked = walk(&sandbox, TARGET, 18).await;
    assert_eq!(walked.ids.len(), 60);
    assert!(walked.ids.values().all(|times| *times == 3));
    assert_eq!(walked.urls.iter().collect::<BTreeSet<_>>().len(), 18, "no URL comes twice");

    let sandbox = faulty(&["no-next"]).await;
    assert_eq!(walk(&sandbox, TARGET, 9).await.ids.len(), 10);
    assert_eq!(sandbox.total(TARGET).await, 60);
}

#[tokio::test]
async fn empty_pages_come_between_and_after() {
    for (name, empty) in [("empty-page-with-next", true), ("no-entry", false)] {
        let sandbox = faulty(&[name]).await;
        let walked = walk(&sandbox, TARGET, 99).await;
        assert!(walked.ids.len() == 60 && walked.ids.values().all(|times| *times == 1), "{name}");
        assert_eq!(walked.bundles.len(), 11, "{name}: six pages and five empty ones between");
        assert_eq!(walked.bundles[1]["entry"].is_array(), empty, "{name}");
        assert!(ids_of(&walked.bundles[1]).is_empty());
    }
    let sandbox = faulty(&["empty-last-page"]).await;
    let walked = walk(&sandbox, TARGET, 99).await;
    assert_eq!((walked.ids.len(), walked.bundles.len()), (60, 7));
    assert!(walked.bundles[6]["entry"].is_null());

    let sandbox = faulty(&["endless-empty"]).await;
    let walked = walk(&sandbox, TARGET, 40).await;
    assert_eq!((walked.ids.len(), walked.urls.len()), (60, 40));
    assert_eq!(walked.urls.iter().collect::<BTreeSet<_>>().len(), 40);

    let sandbox = faulty(&["empty-now-and-then"]).await;
    let walked = walk(&sandbox, TARGET, 99).await;
    assert_eq!((walked.ids.len(), walked.bundles.len()), (30, 4));
    assert!(walked.bundles[3]["entry"].is_null() && walked.bundles[3]["total"].is_null());
    assert_eq!(ids_of(&sandbox.json(walked.urls.last().unwrap()).await).len(), 10, "asked again");

    let sandbox = faulty(&["entry-without-resource"]).await;
    let bundle = sandbox.json(TARGET).await;
    let entries = bundle["entry"].as_array().unwrap();
    assert!(entries.len() == 12 && entries[11].is_null() && entries[10]["resource"].is_null());
}

#[tokio::test]
async fn pages_overlap_and_orders_change() {
    let sandbox = faulty(&["overlap"]).await;
    let walked = walk(&sandbox, TARGET, 99).await;
    assert_eq!((walked.ids.len(), walked.ids.values().sum::<usize>()), (60, 70));

    let sandbox = faulty(&["unstable-order"]).await;
    let walked = walk(&sandbox, TARGET, 99).await;
    assert!(walked.ids.len() < 60 && walked.ids.values().any(|times| *times > 1));
    let sorted = walk(&sandbox, &format!("{TARGET}&_sort=_id"), 99).await;
    assert_eq!((sorted.ids.len(), sorted.ids.values().sum::<usize>()), (60, 60));

    let sandbox = faulty(&["variant-content"]).await;
    let walked = walk(&sandbox, TARGET, 99).await;
    let mut contents: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in walked.bundles.iter().flat_map(|bundle| bundle["entry"].as_array().unwrap()) {
        let id = entry["resource"]["id"].as_str().unwrap().to_owned();
        contents.entry(id).or_default().insert(entry["resource"].to_string());
    }
    assert_eq!(contents.values().filter(|contents| contents.len() == 2).count(), 10);
}

#[tokio::test]
async fn searches_are_capped() {
    let target = format!("{DIRECTORY}/Practitioner?_count=50");
    for (name, size, found, total) in [
        ("cap-100", 130, 100, 100),
        ("cap-100-true-total", 130, 100, 130),
        ("cap-1000", 1_010, 1_000, 1_000),
        ("cap-10000", 130, 130, 130),
    ] {
        let sandbox = sized(size, &[name]).await;
        let walked = walk(&sandbox, &target, 999).await;
        assert_eq!((walked.ids.len(), sandbox.total(&target).await), (found, total), "{name}");
    }
    let sandbox = sized(130, &["cap-100"]).await;
    let women = walk(&sandbox, &format!("{target}&gender=female"), 99).await.ids.len();
    let men = walk(&sandbox, &format!("{target}&gender=male"), 99).await.ids.len();
    assert_eq!(women + men, 130, "partitions get past the cap");
}

#[tokio::test]
async fn large_pages_are_refused_in_four_ways() {
    let large = format!("{DIRECTORY}/Practitioner?_count=101");
    let right = format!("{DIRECTORY}/Practitioner?_count=100");
    for (name, status, excerpt, entries) in [
        ("count-ceiling-100-empty", 200, "\"total\":0", 0),
        ("count-ceiling-100-outcome", 400, "maximum allowed is 100", 0),
        ("count-ceiling-100-outcome-200", 200, "OperationOutcome", 0),
        ("count-ceiling-100-fewer", 200, "Bundle", 100),
        ("count-ignored", 200, "Bundle", 10),
        ("5xx-large-pages", 504, "timed out", 0),
    ] {
        let sandbox = sized(130, &[name]).await;
        let answer = sandbox.get(&large).await;
        assert_eq!(answer.status(), status, "{name}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(excerpt), "{name}");
        assert_eq!(ids_of(&serde_json::from_str(&text).unwrap()).len(), entries, "{name}");
        if name.starts_with("count-ceiling") {
            assert_eq!(ids_of(&sandbox.json(&right).await).len(), 100, "{name}");
        }
    }
    let sandbox = sized(130, &["5xx-large-pages"]).await;
    assert_eq!(walk(&sandbox, &format!("{DIRECTORY}/Practitioner?_count=25"), 99).await.ids.len(), 130);
}

#[tokio::test]
async fn unfiltered_searches_are_refused() {
    let bare = format!("{DIRECTORY}/Practitioner");
    for (name, status) in [
        ("unfiltered-400", 400),
        ("unfiltered-413", 413),
        ("unfiltered-outcome-200", 200),
        ("unfiltered-even-by-date", 400),
    ] {
        let sandbox = faulty(&[name]).await;
        let answer = sandbox.get(&bare).await;
        assert_eq!(answer.status(), status, "{name}");
        assert!(answer.text().await.unwrap().contains("OperationOutcome"), "{name}");
        let dated = sandbox.get(&format!("{bare}?_lastUpdated=ge1900-01-01")).await.status().as_u16();
        assert_eq!(dated, if name == "unfiltered-even-by-date" { 400 } else { 200 }, "{name}");
        assert!(sandbox.total(&format!("{bare}?family=a")).await > 0, "{name}");
    }
}

#[tokio::test]
async fn totals_lie() {
    for (name, expected) in
        [("total-absent", None), ("total-zero", Some(0)), ("total-page-size", Some(10)), ("total-doubled", Some(120))]
    {
        let sandbox = faulty(&[name]).await;
        assert_eq!(sandbox.json(TARGET).await["total"].as_u64(), expected, "{name}");
        assert_eq!(walk(&sandbox, TARGET, 99).await.ids.len(), 60, "{name}");
    }
    let sandbox = faulty(&["count-unsupported"]).await;
    assert_eq!(sandbox.get(&format!("{TARGET}&_summary=count")).await.status(), 400);
    assert!(sandbox.json(TARGET).await["total"].is_null());

    let sandbox = faulty(&["count-slow"]).await;
    let patience = std::time::Duration::from_millis(300);
    let slow = sandbox.client.get(format!("{}{TARGET}&_summary=count", sandbox.origin)).timeout(patience).send().await;
    assert!(slow.unwrap_err().is_timeout());
    assert_eq!(sandbox.total(TARGET).await, 60);
}

#[tokio::test]
async fn rows_come_and_go_in_mid_crawl() {
    let sandbox = faulty(&["shrinks"]).await;
    let walked = walk(&sandbox, TARGET, 99).await;
    assert!(walked.ids.len() < 60 && walked.ids.len() >= 54, "{}", walked.ids.len());
    assert!(walked.bundles.last().unwrap()["total"].as_u64() < Some(60));

    let sandbox = faulty(&["grows"]).await;
    let walked = walk(&sandbox, TARGET, 99).await;
    let totals: Vec<u64> = walked.bundles.iter().map(|bundle| bundle["total"].as_u64().unwrap()).collect();
    assert!(totals.first() < totals.last(), "{totals:?}");
    assert!(walked.ids.values().any(|times| *times == 2));
}
