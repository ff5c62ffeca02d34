//! The crawl: for each resource type its partitions, for each partition page after page, each committed with the cursor
//! that follows it while the next is already being fetched.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use url::Url;

use crate::{
    ending::{EndedBy, Evidence, Status, judge},
    event::{Event, EventSink},
    retry::Retrying,
    source::{Limits, Source},
    store::{Store, TypeCounts},
    strategy::{Bucket, Closure, Paging, Strategy, levels},
    transport::Transport,
};

mod advice;
mod divide;
mod ends;
mod export;
mod first;
mod partition;
mod read;
mod sweep;
mod walk;

use sweep::{Notes, Task};

/// How to crawl one resource type.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourcePlan {
    /// The type.
    pub resource_type: String,
    /// `_count`; absent leaves it to the server.
    pub page_size: Option<u32>,
    /// Parameters of every search.
    pub params: Vec<(String, String)>,
    /// The least share of the server's own count for completeness.
    pub min_coverage: f64,
    /// How the type is enumerated.
    pub strategy: Strategy,
    /// How the pages of its searches follow each other.
    pub paging: Paging,
    /// Matches that the server is known to give at most of one search.
    pub cap: Option<u64>,
    /// Whether the crawl is after all that the server has of the type, so that the server's count of the type says
    /// something: not where the data of some members are asked for.
    pub whole_type: bool,
}

impl ResourcePlan {
    /// One search without parameters, followed by its links.
    #[must_use]
    pub fn new(resource_type: &str) -> Self {
        Self {
            resource_type: resource_type.to_owned(),
            page_size: None,
            params: Vec::new(),
            min_coverage: 0.98,
            strategy: Strategy::Bare,
            paging: Paging::Links,
            cap: None,
            whole_type: true,
        }
    }

    /// The strategy's name in job files and reports.
    #[must_use]
    pub fn strategy_name(&self) -> &'static str {
        self.strategy.name(&self.paging)
    }
}

/// What the crawl of one type came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceOutcome {
    /// The type.
    pub resource_type: String,
    /// How it was enumerated.
    pub strategy: String,
    /// What it came to.
    pub status: Status,
    /// The ending that decided.
    pub ended_by: Option<EndedBy>,
    /// Whether the partitions together hold everything by construction.
    pub partition_closed: bool,
    /// Searches, or reads in groups, that the type was divided into, those included that were divided further.
    #[serde(default)]
    pub partitions: u64,
    /// Pages committed, over all partitions and restarts.
    pub pages: u64,
    /// What became of the entries.
    pub counts: TypeCounts,
    /// The server's own count.
    pub server_total: Option<u64>,
    /// Ids as a share of the server's count, at most 1.
    pub coverage: Option<f64>,
    /// Whether the server could not be reached, or failed, after all retries.
    pub unavailable: bool,
    /// What the server said, and what to do, where it did not end well.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

/// What a crawl came to.
#[derive(Debug, Clone, PartialEq)]
pub struct CrawlOutcome {
    /// By type, in the order of the plans. Types whose crawl was stopped are judged by what they have.
    pub resources: Vec<ResourceOutcome>,
    /// The server asks to come back later; cursors are kept.
    pub retry_not_before: Option<DateTime<Utc>>,
    /// The crawl was stopped; cursors are kept.
    pub interrupted: bool,
}

/// Members whose tokens are tried for one read.
const MOST_READERS: usize = 5;

/// One crawl: a server, a store, and somebody who is told.
pub struct Crawl<T, S> {
    fetcher: Retrying<T>,
    /// The ways of the members' own requests, by their numbers.
    members: Vec<Retrying<T>>,
    /// The member whose way has last brought a read.
    reader: AtomicUsize,
    store: Arc<S>,
    source: Source,
    limits: Limits,
    /// Partitions in flight, over all types.
    concurrency: usize,
    events: Arc<dyn EventSink>,
}

impl<T: Transport, S: Store> Crawl<T, S> {
    /// Prepares a crawl with at most `concurrency` requests in flight.
    pub fn new(
        fetcher: Retrying<T>,
        store: Arc<S>,
        source: Source,
        limits: Limits,
        concurrency: usize,
        events: Arc<dyn EventSink>,
    ) -> Self {
        let (members, reader) = (Vec::new(), AtomicUsize::new(0));
        Self { fetcher, members, reader, store, source, limits, concurrency: concurrency.max(1), events }
    }

    /// The same crawl with a way of its own for each member's requests, in the order of the members: each with the
    /// member's own token.
    #[must_use]
    pub fn with_members(self, members: Vec<Retrying<T>>) -> Self {
        Self { members, ..self }
    }

    /// The way that the requests of a share go.
    fn fetcher(&self, bucket: &Bucket) -> &Retrying<T> {
        match bucket {
            Bucket::Member { number, .. } => self.members.get(*number).unwrap_or(&self.fetcher),
            _ => &self.fetcher,
        }
    }

    /// The ways that a read may go, the likeliest first: whose token may read what somebody's data refer to is not known.
    fn readers(&self) -> impl Iterator<Item = (usize, &Retrying<T>)> {
        let last = self.reader.load(Ordering::Relaxed);
        let turned = self.members.iter().enumerate().cycle().skip(last).take(self.members.len().min(MOST_READERS));
        let own = self.members.is_empty().then_some((0, &self.fetcher));
        turned.chain(own)
    }

    /// Crawls every type, several partitions at a time, going on where the store says that an earlier crawl stopped.
    /// Types that hang on others come after them, whatever the order of the plans.
    ///
    /// # Errors
    /// The store fails. What the server does is no error; it is in the outcome.
    pub async fn run(&self, plans: &[ResourcePlan]) -> Result<CrawlOutcome, S::Error> {
        let slots = Semaphore::new(self.concurrency);
        let tasks: Vec<Task> = plans.iter().map(Task::new).collect();
        let mut all: BTreeMap<usize, Notes> = BTreeMap::new();
        for level in levels(plans) {
            // Reads of one type may name resources of another: round after round until nobody wants anything more.
            let repeated = level.iter().all(|place| plans[*place].strategy == Strategy::IdRead);
            self.exports(&level, &tasks, &mut all).await?;
            if all.values().any(Notes::stopped) {
                break;
            }
            loop {
                let sweeps = level.iter().map(|place| self.sweep(&tasks[*place], &slots));
                let mut more = false;
                for (place, swept) in level.iter().zip(join_all(sweeps).await) {
                    let notes = swept?;
                    more |= notes.handed_out;
                    all.entry(*place).or_default().add(notes);
                }
                let stopped = all.values().any(Notes::stopped);
                // A file may be gone before it was read: its export is made anew then.
                let again = !stopped && self.exports(&level, &tasks, &mut all).await?;
                if !(again || more && repeated) || stopped {
                    break;
                }
            }
            if all.values().any(Notes::stopped) {
                break;
            }
        }
        self.outcomes(plans, &mut all).await
    }

    async fn outcomes(
        &self,
        plans: &[ResourcePlan],
        all: &mut BTreeMap<usize, Notes>,
    ) -> Result<CrawlOutcome, S::Error> {
        let mut outcome = CrawlOutcome { resources: Vec::new(), retry_not_before: None, interrupted: false };
        let mut found: BTreeMap<usize, ResourceOutcome> = BTreeMap::new();
        for place in levels(plans).into_iter().flatten() {
            let notes = all.remove(&place).unwrap_or_default();
            let plan = &plans[place];
            outcome.retry_not_before = outcome.retry_not_before.max(notes.later);
            outcome.interrupted |= notes.interrupted;
            let sources = plans.iter().enumerate().filter(|(other, one)| match &plan.strategy {
                Strategy::IdRead => *other != place,
                strategy => strategy.source() == Some(one.resource_type.as_str()),
            });
            let sources: Vec<_> = sources.filter_map(|(other, _)| found.get(&other)).collect();
            let resource = self.outcome(plan, &notes, &sources).await?;
            // The last look may have been stopped.
            outcome.interrupted |= resource.ended_by == Some(EndedBy::Interrupted) && self.fetcher.is_cancelled();
            let (status, unique) = (resource.status, resource.counts.archived);
            self.events.event(&Event::TypeEnded { resource_type: plan.resource_type.clone(), status, unique });
            found.insert(place, resource);
        }
        outcome.resources = found.into_values().collect();
        Ok(outcome)
    }

    async fn outcome(
        &self,
        plan: &ResourcePlan,
        notes: &Notes,
        sources: &[&ResourceOutcome],
    ) -> Result<ResourceOutcome, S::Error> {
        let name = &plan.resource_type;
        let summary = self.store.summary(name).await?;
        let counts = self.store.counts(name).await?;
        // A parameter that the server does not heed makes any search one for everything.
        let closure = if summary.whole_search { Closure::Closed } else { plan.strategy.closure() };
        let mut evidence = Evidence {
            unique: counts.archived,
            quarantined: counts.quarantined,
            // What the searches of an open list count themselves says nothing of what they leave out.
            server_total: summary.server_total.filter(|_| closure != Closure::Open || summary.counted_whole),
            min_coverage: plan.min_coverage,
            closure,
            sources_whole: sources_whole(plan, sources),
            more_is_seen: false,
        };
        let mut endings = summary.endings.clone();
        match &plan.strategy {
            // What ended the sweep that brings them along ended them.
            Strategy::IncludedBy { .. } => endings = sources.iter().filter_map(|one| one.ended_by).collect(),
            Strategy::IdRead if counts.received == 0 && summary.missing > 0 => endings = vec![EndedBy::Unsupported],
            // Nothing is referred to that is not held already.
            Strategy::IdRead if endings.is_empty() && summary.partitions > 0 && !notes.stopped() => {
                endings = vec![EndedBy::LastPage];
            }
            _ => {}
        }
        if summary.open > 0 && !(plan.strategy == Strategy::IdRead && summary.open == 1 && !notes.stopped()) {
            endings.push(EndedBy::Interrupted);
        }
        let (mut status, mut ended_by) = judge(&endings, &evidence);
        if matches!(status, Status::Complete | Status::Empty) {
            match self.shows_more(plan, summary.counted_whole && status == Status::Complete).await? {
                Some(more) => evidence.more_is_seen = more,
                None => endings.push(EndedBy::Interrupted),
            }
            (status, ended_by) = judge(&endings, &evidence);
        }
        let detail = notes.detail.clone().or(summary.detail);
        let detail = match status {
            Status::Complete | Status::Empty => advice::what_to_know(plan, &summary.missing, summary.whole_search),
            Status::Partial => detail.or_else(|| Some(advice::why_partial(plan, ended_by, &evidence))),
            _ => detail.or_else(|| advice::why_nothing(plan, sources)),
        };
        Ok(ResourceOutcome {
            resource_type: name.clone(),
            strategy: plan.strategy_name().into(),
            status,
            ended_by,
            partition_closed: closure == Closure::Closed,
            partitions: summary.partitions,
            pages: summary.pages,
            counts,
            server_total: summary.server_total,
            coverage: evidence.coverage(),
            unavailable: notes.unavailable,
            detail,
        })
    }
}

/// Whether what a type hangs on is all there.
fn sources_whole(plan: &ResourcePlan, sources: &[&ResourceOutcome]) -> bool {
    let is_whole = |one: &&ResourceOutcome| {
        matches!(one.status, Status::Complete | Status::Empty)
            // What a server does not have cannot refer to anything.
            || (plan.strategy == Strategy::IdRead && one.status == Status::Unsupported)
    };
    (plan.strategy.source().is_none() || !sources.is_empty()) && sources.iter().all(is_whole)
}

/// The address that a search of a type would ask first, for messages.
#[must_use]
pub fn search_url(source: &Source, plan: &ResourcePlan) -> Option<Url> {
    let bucket = plan.strategy.roots().into_iter().next().unwrap_or(Bucket::All);
    source.absolute(&first::search(plan, &bucket, plan.page_size)).ok()
}

/// The search for everything of a type with the plan's parameters, relative to the base URL.
pub(crate) fn search_of(plan: &ResourcePlan) -> String {
    first::search(&ResourcePlan { paging: Paging::Links, ..plan.clone() }, &Bucket::All, None)
}
