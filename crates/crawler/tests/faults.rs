//! The crawler against every habit that the sandbox can play: what comes is everything, or the crawl says that it isn't.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a real server tells real times")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::Utc;
use fhirvest_crawler::{
    client,
    ending::{EndedBy, Status},
    engine::{Crawl, CrawlOutcome, ResourcePlan},
    event::Silent,
    memory::MemoryStore,
    source::{Credentials, Limits, Pace, Source},
    store::Store,
};
use fhirvest_fhir::resource::head;
use fhirvest_sandbox::{ApiKey, Exchange, Fault, Options, Traffic, World, serve};
use secrecy::SecretString;
use tokio::{net::TcpListener, sync::watch};
use url::Url;

const MOUNT: &str = "/highmark/provider-directory";
const TYPES: [&str; 2] = ["Practitioner", "Organization"];

/// No crawl of these takes as long, however busy the machine is.
const HANG: Duration = Duration::from_secs(600);

/// Real time passes here (sockets): short limits, so that a hanging server costs moments.
fn limits() -> Limits {
    Limits {
        request_timeout: Duration::from_millis(2_000),
        max_page_bytes: 8 << 20,
        max_retries: 2,
        max_wait: Duration::from_secs(5),
        max_pages: 400,
        ..Limits::default()
    }
}

async fn crawl(
    world: &Arc<World>,
    faults: &[Fault],
    page_size: u32,
) -> (CrawlOutcome, Arc<MemoryStore>, Vec<Exchange>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}{MOUNT}", listener.local_addr().unwrap())).unwrap();
    let traffic = Arc::new(Traffic::new());
    let options = Options {
        faults: faults.to_vec(),
        traffic: Some(Arc::clone(&traffic)),
        api_key: Some(ApiKey { header: "x-api-key".into(), value: "hush".into() }),
        ..Options::default()
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, Arc::clone(world), options, async {
        let _ = stopped.await;
    }));
    let mut source = Source::new(base);
    source.credentials = Credentials::Header { name: "x-api-key".into(), value: SecretString::from("hush") };
    let store = Arc::new(MemoryStore::default());
    let (_keep, cancel) = watch::channel(false);
    let pace = Pace { requests_per_second: 0.0, burst: 1, concurrency: 2 };
    let fetcher = client(&source, pace, &limits(), Arc::default(), Utc::now, Arc::new(Silent), cancel).unwrap();
    let plans: Vec<_> =
        TYPES.iter().map(|name| ResourcePlan { page_size: Some(page_size), ..ResourcePlan::new(name) }).collect();
    let crawl = Crawl::new(fetcher, Arc::clone(&store), source, limits(), 2, Arc::new(Silent));
    let outcome =
        tokio::time::timeout(HANG, crawl.run(&plans)).await.unwrap_or_else(|_| panic!("a hang: {faults:?}")).unwrap();
    let exchanges = traffic.exchanges();
    let _ = stop.send(());
    server.abort();
    (outcome, store, exchanges)
}

fn expected(world: &World, resource_type: &str) -> BTreeSet<String> {
    world.resources(MOUNT, resource_type).filter_map(|text| head(text).unwrap().id.map(|id| id.to_string())).collect()
}

/// Faults under which rows cannot be had or used, though the server ends its paging in good order: what is missing is
/// in the quarantine or was never shown.
fn loses_rows_openly(fault: Fault) -> bool {
    matches!(fault, Fault::MissingId | Fault::InvalidUtf8 | Fault::Shrinks | Fault::Grows)
}

async fn never_wrongly_complete(faults: Vec<Fault>, page_size: u32) -> Vec<String> {
    let world = Arc::new(World::synthetic(7, 120));
    let names: Vec<_> = faults.iter().map(|fault| fault.name()).collect();
    let (outcome, store, exchanges) = crawl(&world, &faults, page_size).await;
    let mut wrong = Vec::new();
    for one in &outcome.resources {
        let want = expected(&world, &one.resource_type);
        let held: BTreeSet<String> =
            store.ids(&one.resource_type, None, usize::MAX).await.unwrap().into_iter().collect();
        let counts = &one.counts;
        if counts.received != counts.archived + counts.duplicates + counts.variants + counts.quarantined {
            wrong.push(format!("{names:?} {}: counts do not add up: {counts:?}", one.resource_type));
        }
        let sound = matches!(one.status, Status::Complete | Status::Empty);
        let tolerated = faults.iter().any(|fault| loses_rows_openly(*fault));
        if sound && held != want && !tolerated {
            wrong.push(format!(
                "{names:?} {}: {} with {} of {} ids (ended by {:?})",
                one.resource_type,
                one.status,
                held.len(),
                want.len(),
                one.ended_by
            ));
        }
    }
    let own = exchanges.first().map(|first| first.host.clone());
    for stray in exchanges.iter().filter(|one| one.api_key && Some(&one.host) != own.as_ref()) {
        wrong.push(format!("{names:?}: the key went to {}", stray.host));
    }
    wrong
}

/// Several at a time: each has its own server, and most of the time they wait.
async fn all(cases: Vec<Vec<Fault>>, page_size: u32) {
    use futures_util::{StreamExt, stream};
    let wrong: Vec<Vec<String>> = stream::iter(cases)
        .map(|faults| never_wrongly_complete(faults, page_size))
        .buffer_unordered(16)
        .collect()
        .await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_habit_leads_to_a_wrong_complete_a_hang_or_a_stray_key() {
    let one_by_one = Fault::all().iter().map(|fault| vec![*fault]).collect();
    all(one_by_one, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_it_on_many_small_pages() {
    let one_by_one = Fault::all().iter().filter(|fault| !is_slow(**fault)).map(|fault| vec![*fault]).collect();
    all(one_by_one, 10).await;
}

/// Faults whose answers take their time: once is enough.
fn is_slow(fault: Fault) -> bool {
    matches!(fault, Fault::Trickle | Fault::Hang | Fault::HugePage | Fault::GzipBomb | Fault::CountSlow)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_habits_in_company() {
    use Fault::{
        Cap100, CountCeiling100Empty, CountIgnored, CursorExpires, EmptyLastPage, EmptyPageWithNext, IgnoresSort,
        NextLoop, NoNext, Overlap, ServesEverythingAgain, TotalAbsent, TotalPageSize, TotalZero, VariantContent,
    };
    let cases = vec![
        vec![Cap100, TotalAbsent],
        vec![Cap100, IgnoresSort],
        vec![Cap100, IgnoresSort, TotalAbsent],
        vec![Cap100, TotalZero],
        vec![Cap100, Overlap],
        vec![Cap100, TotalPageSize],
        vec![NoNext, TotalAbsent],
        vec![NoNext, TotalPageSize],
        vec![NoNext, TotalZero],
        vec![NoNext, TotalAbsent, IgnoresSort],
        vec![NoNext, TotalAbsent, CountIgnored],
        vec![NoNext, TotalAbsent, CountIgnored, IgnoresSort],
        vec![NoNext, TotalPageSize, IgnoresSort],
        vec![NextLoop, TotalAbsent],
        vec![ServesEverythingAgain, VariantContent],
        vec![CursorExpires, Overlap],
        vec![CursorExpires, TotalAbsent],
        vec![EmptyPageWithNext, EmptyLastPage],
        vec![CountCeiling100Empty, TotalAbsent],
    ];
    for page_size in [10, 50] {
        all(cases.clone(), page_size).await;
    }
}

/// Under these a crawl comes to the whole in spite of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn habits_with_an_answer_are_crawled_whole() {
    use Fault::{
        CountCeiling100Empty, CountCeiling100Outcome, CursorExpires, EmptyNowAndThen, EmptyPageWithNext,
        EntryWithoutResource, GzipUnannounced, NextPortDoubled, Overlap, ServerErrorsLargePages, TotalAbsent,
        TotalZero, Unfiltered413,
    };
    let world = Arc::new(World::synthetic(7, 120));
    for (fault, page_size) in [
        (CursorExpires, 10),
        (CountCeiling100Empty, 200),
        (CountCeiling100Outcome, 200),
        (EmptyPageWithNext, 30),
        (EmptyNowAndThen, 10),
        (EntryWithoutResource, 30),
        (GzipUnannounced, 30),
        (NextPortDoubled, 30),
        (Overlap, 30),
        (ServerErrorsLargePages, 200),
        (TotalAbsent, 30),
        (TotalZero, 30),
        (Unfiltered413, 30),
    ] {
        let (outcome, store, _) = crawl(&world, &[fault], page_size).await;
        for one in &outcome.resources {
            let held = store.ids(&one.resource_type, None, usize::MAX).await.unwrap();
            let whole = (Status::Complete, expected(&world, &one.resource_type));
            assert_eq!((one.status, held.into_iter().collect()), whole, "{} {:?}", fault.name(), one.detail);
        }
    }
}

/// A key that is refused once all pages are there: whether that is all cannot be seen any more, and it is the key that
/// has to be looked after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_at_the_last_look_is_told_as_one() {
    let world = Arc::new(World::synthetic(7, 120));
    let (outcome, _, _) = crawl(&world, &[Fault::Unauthorized401Midway], 200).await;
    for one in &outcome.resources {
        assert_eq!((one.status, one.ended_by), (Status::Partial, Some(EndedBy::Refused)), "{:?}", one.detail);
        assert_eq!(one.counts.archived, expected(&world, &one.resource_type).len() as u64);
        let detail = one.detail.as_deref().unwrap();
        assert!(detail.contains("refused to show whether there are more: check the credentials"), "{detail}");
    }
}

/// A count that is round by chance is not taken for a ceiling where the server shows both ends of the whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_count_is_no_ceiling_by_itself() {
    let world = Arc::new(World::synthetic(7, 100));
    let (outcome, _, _) = crawl(&world, &[], 30).await;
    let first = &outcome.resources[0];
    assert_eq!((first.counts.archived, first.status), (100, Status::Complete), "{:?}", first.detail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_server_is_crawled_whole() {
    let world = Arc::new(World::synthetic(7, 120));
    let (outcome, store, _) = crawl(&world, &[], 30).await;
    for one in &outcome.resources {
        let held = store.ids(&one.resource_type, None, usize::MAX).await.unwrap();
        assert_eq!((one.status, held.into_iter().collect()), (Status::Complete, expected(&world, &one.resource_type)));
    }
}
