//! What a crawl costs beside a client that only reads: the same pages of the same server, read and dropped, against
//! crawled, deduplicated, archived and committed, without a limit on the rate. The sandbox is a process of its own. Prints
//! wall and CPU times, their ratios, the peak memory, and how a crawl of two types keeps a pace; with
//! `FHIRVEST_BENCH_PYTHON` (`make bench` sets it) also the CPU of `tests/support/crawl_by_hand.py`. All of that over gzip,
//! as nearly all payers and `fhirvest sandbox` send; then the first comparison again over pages that are not compressed.
//! `FHIRVEST_BENCH_SIZE` is the number of practitioners in the sandbox (roles are about 2.3 each; 432000 make a million).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a benchmark measures real time and prints")]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use chrono::Utc;
use fhirvest_crawler::{
    client,
    engine::{Crawl, ResourcePlan},
    event::{Event, EventSink, Silent},
    source::{Limits, Pace, Source},
};
use fhirvest_jobs::ledger::CrawlStore;
use fhirvest_sandbox::{Options, World, serve};
use tokio::{net::TcpListener, sync::watch};
use url::Url;

const TYPE: &str = "PractitionerRole";
const ROUNDS: usize = 5;

/// Says of a process of this program that it is the server, and how large.
const SERVE: &str = "FHIRVEST_BENCH_SERVE";

/// Says of the server that it compresses.
const GZIP: &str = "FHIRVEST_BENCH_GZIP";

/// The sandbox as a process of its own, which ends with this one's pipe.
struct Sandbox {
    process: Child,
    base: Url,
}

impl Sandbox {
    fn start(size: usize, gzip: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        if gzip {
            command.env(GZIP, "yes");
        }
        let mut process = command.env(SERVE, size.to_string()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, base: Url::parse(line.trim()).unwrap() }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Serves until it is killed.
fn be_the_server(size: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = Arc::new(World::synthetic(1, size));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("http://{}/highmark/provider-directory", listener.local_addr().unwrap());
        let gzip = std::env::var_os(GZIP).is_some();
        let options = Options { max_count: Some(1_000), gzip, ..Options::default() };
        serve(listener, world, options, std::future::pending()).await.unwrap();
    });
}

/// What the script by hand says of the same crawl.
fn by_hand(base: &Url) -> Option<String> {
    let python = std::env::var("FHIRVEST_BENCH_PYTHON").ok()?;
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/support/crawl_by_hand.py");
    let url = format!("{base}/{TYPE}?_count=1000");
    let told = Command::new(python).args([script, &url]).arg(folder.path().join("role.parquet")).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    Some(String::from_utf8(told.stdout).unwrap().trim().to_owned())
}

async fn bare(base: &Url) -> (Duration, u64, u64) {
    let client = reqwest::Client::new();
    let started = Instant::now();
    let mut next = Some(format!("{base}/{TYPE}?_count=1000"));
    let (mut pages, mut bytes) = (0, 0);
    while let Some(url) = next {
        let body = client.get(url).send().await.unwrap().bytes().await.unwrap();
        pages += 1;
        bytes += body.len() as u64;
        next = next_link(&body);
    }
    (started.elapsed(), pages, bytes)
}

/// The least that any client has to do: find the next link, by its looks.
fn next_link(body: &[u8]) -> Option<String> {
    let place = memchr::memmem::find(body, br#""relation":"next""#)?;
    let object = &body[body[..place].iter().rposition(|byte| *byte == b'{')?..];
    let object = &object[..=object.iter().position(|byte| *byte == b'}')?];
    let link: serde_json::Value = serde_json::from_slice(object).ok()?;
    Some(link["url"].as_str()?.to_owned())
}

async fn crawl(base: &Url) -> (Duration, u64) {
    let folder = tempfile::tempdir().unwrap();
    let folder = camino::Utf8Path::from_path(folder.path()).unwrap();
    let types = BTreeSet::from([TYPE.to_owned()]);
    let store = Arc::new(CrawlStore::open(folder, &types, &BTreeSet::new()).unwrap());
    let source = Source::new(base.clone());
    let (_keep, cancel) = watch::channel(false);
    let limits = Limits::default();
    let pace = Pace { requests_per_second: 0.0, burst: 1, concurrency: 2 };
    let started = Instant::now();
    let fetcher = client(&source, pace, &limits, Arc::default(), Utc::now, Arc::new(Silent), cancel).unwrap();
    let crawl = Crawl::new(fetcher, store, source, limits, 2, Arc::new(Silent));
    let plan = ResourcePlan { page_size: Some(1_000), ..ResourcePlan::new(TYPE) };
    let outcome = crawl.run(&[plan]).await.unwrap();
    (started.elapsed(), outcome.resources[0].counts.archived)
}

/// When requests were sent.
#[derive(Default)]
struct Sent(Mutex<Vec<Instant>>);

impl EventSink for Sent {
    fn event(&self, event: &Event) {
        if let Event::Attempt { took, .. } = event {
            self.0.lock().unwrap().extend(Instant::now().checked_sub(*took));
        }
    }
}

/// Requests a second of the crawl whose pace is measured, and the most at once after a pause.
const RATE: u32 = 40;
const BURST: u32 = 1;

/// Crawls two types at a pace; says what the fullest second held, and how long it took beside requests / rate.
async fn paced(base: &Url) -> String {
    let folder = tempfile::tempdir().unwrap();
    let folder = camino::Utf8Path::from_path(folder.path()).unwrap();
    let names = [TYPE, "Practitioner"];
    let types = names.iter().map(|name| (*name).to_owned()).collect();
    let store = Arc::new(CrawlStore::open(folder, &types, &BTreeSet::new()).unwrap());
    let (source, limits, sent) = (Source::new(base.clone()), Limits::default(), Arc::new(Sent::default()));
    let (_keep, cancel) = watch::channel(false);
    let pace = Pace { requests_per_second: f64::from(RATE), burst: BURST, concurrency: 2 };
    let started = Instant::now();
    let fetcher = client(&source, pace, &limits, Arc::default(), Utc::now, sent.clone(), cancel).unwrap();
    let plans = names.map(|name| ResourcePlan { page_size: Some(500), ..ResourcePlan::new(name) });
    Crawl::new(fetcher, store, source, limits, 2, Arc::new(Silent)).run(&plans).await.unwrap();
    let took = started.elapsed().as_secs_f64();
    let mut times = sent.0.lock().unwrap().clone();
    times.sort_unstable();
    let within =
        |start: &Instant| times.iter().filter(|at| *at >= start && **at - *start < Duration::from_secs(1)).count();
    let fullest = times.iter().map(within).max().unwrap_or(0);
    let ideal = times.len() as f64 / f64::from(RATE);
    format!(
        "{} requests of two types at {RATE}/s, burst {BURST}: {fullest} in the fullest second, {took:.2} s, {:.3} x requests/rate",
        times.len(),
        took / ideal
    )
}

/// The CPU seconds of this process so far, user and system, as Linux tells them in hundredths.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |place: usize| fields[place].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// The most memory that this process has had, in MiB, as Linux tells it.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// Reads and drops, and crawls, in turn; prints both times and their ratio.
async fn compare(base: &Url) {
    let (mut bares, mut crawls) = (Vec::new(), Vec::new());
    bare(base).await;
    for _ in 0..ROUNDS {
        let before = cpu();
        let (wall, pages, bytes) = bare(base).await;
        let between = cpu();
        let (crawled, archived) = crawl(base).await;
        let (bare_cpu, crawl_cpu) = (between - before, cpu() - between);
        println!(
            "{archived} resources, {pages} pages, {:.0} MB: bare {:.2} s ({bare_cpu:.2} CPU s), \
             crawl {:.2} s ({crawl_cpu:.2} CPU s), ratio {:.2}",
            bytes as f64 / 1e6,
            wall.as_secs_f64(),
            crawled.as_secs_f64(),
            crawled.as_secs_f64() / wall.as_secs_f64()
        );
        bares.push(wall);
        crawls.push(crawled);
    }
    bares.sort_unstable();
    crawls.sort_unstable();
    for (name, place) in [("best", 0), ("median", ROUNDS / 2)] {
        println!("{name} of {ROUNDS}: ratio {:.2}", crawls[place].as_secs_f64() / bares[place].as_secs_f64());
    }
}

fn main() {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    if let Ok(size) = std::env::var(SERVE) {
        return be_the_server(size.parse().unwrap());
    }
    let size = std::env::var("FHIRVEST_BENCH_SIZE").ok().and_then(|text| text.parse().ok()).unwrap_or(41_700);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("over gzip, as payers send and as `fhirvest sandbox` does:");
    let sandbox = Sandbox::start(size, true);
    let base = &sandbox.base;
    runtime.block_on(compare(base));
    println!("{}", runtime.block_on(paced(base)));
    println!("peak memory of both clients: {} MiB", peak().unwrap_or_default());
    if let Some(told) = by_hand(base) {
        println!("by hand in Python, to Parquet: {told}");
    }
    drop(sandbox);
    println!("without compression (`fhirvest sandbox --plain`):");
    let sandbox = Sandbox::start(size, false);
    runtime.block_on(compare(&sandbox.base));
}
