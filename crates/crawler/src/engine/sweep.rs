//! One type: its partitions made, fed and driven, several at a time.

use std::{
    collections::HashSet,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::Semaphore;

use super::{
    Crawl, ResourcePlan,
    first::{matches_of, search},
    partition::Stop,
};
use crate::{
    ending::EndedBy,
    retry::{FetchError, Fetched},
    store::{Parent, Partition, Progress, Store},
    strategy::{Bucket, Strategy},
    suspicion,
    transport::Transport,
};

/// Partitions handed out in one go by a feeder, for each request in flight: enough to keep all of them busy.
const FED_PER_SLOT: usize = 4;

/// Ids in one partition of an id-read: what a kill may cost in repeated requests.
const READS_IN_ONE: usize = 10;

/// Empty pages in a row with a next link after which a server is taken to page for ever. An empty page in the middle is
/// legal, and servers that filter after paging send many.
const EMPTY_PAGES: u32 = 100;

/// The same for the other searches of a type where that has happened once.
pub(super) const EMPTY_PAGES_AGAIN: u32 = 3;

/// The order that every server should be able to keep.
const BY_ID: (&str, &str) = ("_sort", "_id");

/// Retries of a request that only asks how things are, such as a count: it is no loss if it fails.
pub(super) const RETRIES_OF_A_PROBE: u32 = 1;

/// The same for the last look at a whole type: without an answer, what it might have shown is not missed.
pub(super) const RETRIES_OF_THE_LAST_LOOK: u32 = 5;

/// A type being crawled, and what its partitions have learned of the server.
pub(super) struct Task<'p> {
    pub(super) plan: &'p ResourcePlan,
    /// The page size in use; 0 where the server decides.
    page_size: AtomicU32,
    /// A search has found something with that page size: a zero can be believed from then on.
    pub(super) found: AtomicBool,
    /// The server's own order is not stable: searches ask for one.
    pub(super) sorted: AtomicBool,
    /// Empty pages in a row that are followed.
    pub(super) empty_pages: AtomicU32,
    /// Counting failed once: it is not asked for again.
    pub(super) no_counts: AtomicBool,
    /// The server's totals are not of what was asked for: it counts something where there can be nothing.
    pub(super) blind_totals: AtomicBool,
    /// The server's totals are of more than a page: a total of nothing can be believed.
    pub(super) counts_ahead: AtomicBool,
    /// Splitting did not help against refusals: it is not tried again.
    pub(super) no_refusal_splits: AtomicBool,
    /// The server answers the least share of the strategy's kind.
    pub(super) least_answered: OnceLock<bool>,
    /// The server heeds the strategy's parameter, with pages of the size in use.
    pub(super) heeded: OnceLock<bool>,
    /// Shares in a row that were divided and had brought nothing new.
    pub(super) barren: AtomicU32,
    /// The first type of the export that this one is part of.
    pub(super) lead: OnceLock<String>,
}

impl<'p> Task<'p> {
    pub(super) fn new(plan: &'p ResourcePlan) -> Self {
        Self {
            plan,
            page_size: AtomicU32::new(plan.page_size.unwrap_or(0)),
            found: AtomicBool::new(false),
            sorted: AtomicBool::new(false),
            empty_pages: AtomicU32::new(EMPTY_PAGES),
            no_counts: AtomicBool::new(false),
            blind_totals: AtomicBool::new(false),
            counts_ahead: AtomicBool::new(false),
            no_refusal_splits: AtomicBool::new(false),
            least_answered: OnceLock::new(),
            heeded: OnceLock::new(),
            barren: AtomicU32::new(0),
            lead: OnceLock::new(),
        }
    }

    /// The page size to ask for.
    pub(super) fn page_size(&self) -> Option<u32> {
        Some(self.page_size.load(Ordering::Relaxed)).filter(|size| *size > 0)
    }

    /// Asks for pages of this size from now on.
    pub(super) fn learn_page_size(&self, size: u32) {
        if self.page_size.swap(size, Ordering::Relaxed) != size {
            tracing::info!(resource_type = self.plan.resource_type, page_size = size, "smaller pages from here on");
        }
    }

    /// Asks for an order from now on; `false` where one is asked for already.
    pub(super) fn sort(&self) -> bool {
        !self.plan.params.iter().any(|(name, _)| name == BY_ID.0) && !self.sorted.swap(true, Ordering::Relaxed)
    }

    /// The search of a share.
    pub(super) fn search(&self, bucket: &Bucket) -> String {
        let search = search(self.plan, bucket, self.page_size());
        if self.sorted.load(Ordering::Relaxed) { suspicion::with(&search, &[BY_ID]) } else { search }
    }
}

/// What happened to one type besides what the store knows.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) detail: Option<String>,
    pub(super) unavailable: bool,
    pub(super) later: Option<DateTime<Utc>>,
    pub(super) interrupted: bool,
    /// A feeder has made partitions.
    pub(super) handed_out: bool,
}

impl Notes {
    pub(super) fn stopped(&self) -> bool {
        self.interrupted || self.later.is_some()
    }

    pub(super) fn add(&mut self, other: Self) {
        self.detail = self.detail.take().or(other.detail);
        self.unavailable |= other.unavailable;
        self.later = self.later.max(other.later);
        self.interrupted |= other.interrupted;
        self.handed_out |= other.handed_out;
    }

    /// Takes note of how a partition, or a question before it, stopped.
    pub(super) fn stop(&mut self, resource_type: &str, stop: Stop) {
        match stop {
            Stop::Ended => {}
            Stop::Failed { detail, unavailable } => {
                self.unavailable |= unavailable;
                self.detail.get_or_insert(detail);
            }
            Stop::Later(not_before, reason) => {
                let detail = format!("{resource_type}: {reason}; the server asks to come back after {not_before}");
                self.detail.get_or_insert(detail);
                self.later = self.later.max(Some(not_before));
            }
            Stop::Cancelled => self.interrupted = true,
        }
    }
}

impl<T: Transport, S: Store> Crawl<T, S> {
    /// Drives the partitions of a type until none is open.
    pub(super) async fn sweep(&self, task: &Task<'_>, slots: &Semaphore) -> Result<Notes, S::Error> {
        let name = &task.plan.resource_type;
        let mut notes = Notes::default();
        let exported = matches!(task.plan.strategy, Strategy::Bulk(_));
        if !exported {
            let begun = if self.store.summary(name).await?.partitions == 0 {
                self.begin(task).await?
            } else if task.plan.strategy.max_bucket().is_some() {
                // What was found out at the beginning is not kept.
                self.heeds(task, None).await.map(|_| ())
            } else {
                Ok(())
            };
            if let Err(stop) = begun {
                notes.stop(name, stop);
                return Ok(notes);
            }
        }
        let mut running = FuturesUnordered::new();
        let mut flying = HashSet::new();
        loop {
            if !notes.stopped() {
                let open = self.store.open(name, self.concurrency + flying.len() + 1).await?;
                let open = open.into_iter().filter(|one| !matches!(one.bucket, Bucket::Export { .. }));
                let (feeders, open): (Vec<_>, Vec<_>) = open.partition(|one| one.bucket.is_feeder());
                let mut started = false;
                for partition in open {
                    if flying.len() < self.concurrency && flying.insert(partition.key.clone()) {
                        started = true;
                        running.push(async move {
                            let key = partition.key.clone();
                            // The semaphore is never closed: without a permit nothing would be asked at all.
                            let _slot = slots.acquire().await;
                            (key, self.partition(task, partition).await)
                        });
                    }
                }
                if flying.len() < self.concurrency
                    && !started
                    && let Some(feeder) = feeders.into_iter().next()
                    && self.feed(task, feeder).await?
                {
                    notes.handed_out = true;
                    continue;
                }
            }
            match running.next().await {
                None => return Ok(notes),
                Some((key, stop)) => {
                    flying.remove(&key);
                    notes.stop(name, stop?);
                }
            }
        }
    }

    /// Makes the first partitions of a type, once it is known whether the server heeds the strategy's parameter, and how
    /// many resources it counts in all.
    async fn begin(&self, task: &Task<'_>) -> Result<Result<(), Stop>, S::Error> {
        let plan = task.plan;
        let name = &plan.resource_type;
        let roots = match self.heeds(task, None).await {
            Ok(true) => plan.strategy.roots(),
            Ok(false) => vec![Bucket::All],
            Err(stop) => return Ok(Err(stop)),
        };
        let mut partitions: Vec<Partition> = roots.into_iter().map(|bucket| Partition::new(name, bucket)).collect();
        let divided = !matches!(plan.strategy, Strategy::Bare | Strategy::Include { .. } | Strategy::Bulk(_));
        if divided && plan.whole_type {
            let total = match self.count(task, &search(plan, &Bucket::All, None)).await {
                Ok(total) => total,
                Err(stop) => return Ok(Err(stop)),
            };
            let progress = Progress { server_total: total, ended_by: Some(EndedBy::Split), ..Progress::default() };
            partitions.insert(0, Partition { progress, ..Partition::new(name, Bucket::Root) });
        }
        self.store.add_partitions(None, partitions).await?;
        Ok(Ok(()))
    }

    /// Whether the server heeds the strategy's parameter, and whether its totals do. At first without a page size: a
    /// server that does not know that parameter would refuse for it.
    pub(super) async fn heeds(&self, task: &Task<'_>, page_size: Option<u32>) -> Result<bool, Stop> {
        let plan = task.plan;
        let name = &plan.resource_type;
        for control in plan.strategy.controls() {
            let control: Vec<_> = control.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            match self.probe(&suspicion::with(&search(plan, &Bucket::All, page_size), &control)).await {
                Ok(page) if matches_of(&page, name) > 0 => {
                    tracing::warn!(
                        resource_type = name,
                        param = control[0].0,
                        "the server ignores this parameter: one search for everything"
                    );
                    return Ok(false);
                }
                Ok(page) if page.page.total.is_some_and(|total| total > 0) => {
                    tracing::warn!(
                        resource_type = name,
                        param = control[0].0,
                        "the server's totals ignore this parameter"
                    );
                    task.blind_totals.store(true, Ordering::Relaxed);
                }
                Err(FetchError::Cancelled) => return Err(Stop::Cancelled),
                Err(FetchError::Later { not_before, reason }) => return Err(Stop::Later(not_before, reason)),
                // Refused or not answered: the searches themselves will tell.
                _ => {}
            }
        }
        Ok(true)
    }

    /// Makes further partitions; `false` where there is nothing left to make them from.
    async fn feed(&self, task: &Task<'_>, feeder: Partition) -> Result<bool, S::Error> {
        let name = &task.plan.resource_type;
        let many = self.concurrency * FED_PER_SLOT;
        match (&feeder.bucket, &task.plan.strategy) {
            (Bucket::Chain { after }, Strategy::IdChain { from, batch, .. }) => {
                let batch = (*batch).max(1);
                let ids = self.store.ids(from, after.as_deref(), many * batch).await?;
                let Some(last) = ids.last().cloned() else {
                    self.store.add_partitions(Some(Parent::Split(feeder.key)), Vec::new()).await?;
                    return Ok(false);
                };
                let of = |ids: &[String]| Partition::new(name, Bucket::Ids { ids: ids.to_vec() });
                let partitions = ids.chunks(batch).map(of).collect();
                let parent = Parent::Feed(feeder.key, Bucket::Chain { after: Some(last) });
                self.store.add_partitions(Some(parent), partitions).await?;
                Ok(true)
            }
            (Bucket::Reads, _) => {
                let ids = self.store.wanted(name, many * READS_IN_ONE).await?;
                if ids.is_empty() {
                    return Ok(false);
                }
                let of = |ids: &[String]| Partition::new(name, Bucket::Read { ids: ids.to_vec() });
                let partitions = ids.chunks(READS_IN_ONE).map(of).collect();
                self.store.add_partitions(Some(Parent::Feed(feeder.key, Bucket::Reads)), partitions).await?;
                Ok(true)
            }
            // The job's strategy is another than the one that made this feeder: the fingerprint forbids that.
            _ => {
                self.store.close(&feeder.key, Some(EndedBy::Error), None).await?;
                Ok(false)
            }
        }
    }

    /// The server's count of a search, if it gives one: once it does not, it is not asked again.
    pub(super) async fn count(&self, task: &Task<'_>, search: &str) -> Result<Option<u64>, Stop> {
        if task.no_counts.load(Ordering::Relaxed) {
            return Ok(None);
        }
        // A total of as many as come along is of the page: it is no count that was given.
        let count = |page: &Fetched| {
            let along = matches_of(page, &task.plan.resource_type);
            page.page.total.filter(|total| *total == 0 || *total > along)
        };
        match self.probe(&suspicion::with(search, &[("_summary", "count")])).await {
            Ok(page) if count(&page).is_some() => Ok(page.page.total),
            Err(FetchError::Cancelled) => Err(Stop::Cancelled),
            Err(FetchError::Later { not_before, reason }) => Err(Stop::Later(not_before, reason)),
            _ => {
                task.no_counts.store(true, Ordering::Relaxed);
                Ok(None)
            }
        }
    }

    pub(super) async fn probe(&self, search: &str) -> Result<Fetched, FetchError> {
        match self.source.absolute(search) {
            Ok(url) => self.fetcher.page_within(&url, RETRIES_OF_A_PROBE).await,
            Err(_) => Err(FetchError::Refused(super::first::gone())),
        }
    }
}
