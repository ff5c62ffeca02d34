//! The crawl: for each resource type its partitions, for each partition page after page, each committed with the cursor
//! that follows it while the next is already being fetched.

use std::{collections::HashSet, sync::Arc};

use chrono::{DateTime, Utc};
use fhirvest_fhir::bundle::Mode;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{
    ending::{EndedBy, Evidence, Status, judge},
    event::{Event, EventSink},
    judgement::RefusalKind,
    paging::{self, Step, Trail},
    retry::{FetchError, Fetched, Retrying},
    source::{Limits, Source},
    store::{After, PageCommit, PageCounts, Partition, PartitionKey, Progress, Store, TypeCounts},
    suspicion::{self, Doubt, End, Order},
    transport::Transport,
};

/// Pages in a row with entries but nothing new after which a server is taken to serve everything again.
const PAGES_WITHOUT_NEWS: u32 = 3;

/// Empty pages in a row with a next link after which a server is taken to page for ever. An empty page in the middle is
/// legal, and servers that filter after paging send many.
const EMPTY_PAGES: u32 = 100;

/// The page sizes to try, those below the plan's, when a server answers with nothing, too much, or only errors (habits
/// 10, 15 and 17 of the crawling notes): the commonest hidden ceiling, and one that hardly any server is too weak for.
const SMALLER_PAGES: [u32; 2] = [100, 10];

/// Ids read from the store in one go: bounds the memory of a look for an id.
const IDS_AT_A_TIME: usize = 10_000;

/// The search to try when a server refuses one without a filter (habit 11): everything since before there was FHIR.
const EVER: (&str, &str) = ("_lastUpdated", "ge1900-01-01");

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

/// One crawl: a server, a store, and somebody who is told.
pub struct Crawl<T, S> {
    fetcher: Retrying<T>,
    store: Arc<S>,
    source: Source,
    limits: Limits,
    /// Partitions in flight.
    concurrency: usize,
    events: Arc<dyn EventSink>,
}

/// How a partition stopped.
enum Stop {
    Ended,
    Later(DateTime<Utc>, String),
    Cancelled,
}

/// What happened to one type besides what the store knows.
#[derive(Default)]
struct Notes {
    detail: Option<String>,
    unavailable: bool,
    later: Option<DateTime<Utc>>,
    interrupted: bool,
}

impl<T: Transport, S: Store> Crawl<T, S> {
    /// Prepares a crawl.
    pub fn new(
        fetcher: Retrying<T>,
        store: Arc<S>,
        source: Source,
        limits: Limits,
        concurrency: usize,
        events: Arc<dyn EventSink>,
    ) -> Self {
        Self { fetcher, store, source, limits, concurrency: concurrency.max(1), events }
    }

    /// Crawls every type, several at a time, going on where the store says that an earlier crawl stopped.
    ///
    /// # Errors
    /// The store fails. What the server does is no error; it is in the outcome.
    pub async fn run(&self, plans: &[ResourcePlan]) -> Result<CrawlOutcome, S::Error> {
        let types = plans.iter().enumerate().map(|(place, plan)| async move { (place, self.resource(plan).await) });
        let mut done: Vec<_> = stream::iter(types).buffer_unordered(self.concurrency).collect().await;
        done.sort_by_key(|(place, _)| *place);
        let mut outcome = CrawlOutcome { resources: Vec::new(), retry_not_before: None, interrupted: false };
        for (_, result) in done {
            let (resource, notes) = result?;
            outcome.retry_not_before = outcome.retry_not_before.max(notes.later);
            outcome.interrupted |= notes.interrupted;
            outcome.resources.push(resource);
        }
        Ok(outcome)
    }

    async fn resource(&self, plan: &ResourcePlan) -> Result<(ResourceOutcome, Notes), S::Error> {
        let name = &plan.resource_type;
        if self.store.partitions(name).await?.is_empty() {
            let search = search(plan, plan.page_size, None);
            let key = PartitionKey(format!("{name}/bare"));
            let partition = Partition { key, resource_type: name.clone(), search, progress: Progress::default() };
            self.store.add_partitions(None, vec![partition]).await?;
        }
        let mut notes = Notes::default();
        for partition in self.store.partitions(name).await? {
            if partition.progress.ended_by.is_some() {
                continue;
            }
            match self.partition(plan, partition, &mut notes).await? {
                Stop::Ended => {}
                Stop::Later(not_before, reason) => {
                    notes.detail = Some(format!("{name}: {reason}; the server asks to come back after {not_before}"));
                    notes.later = Some(not_before);
                    break;
                }
                Stop::Cancelled => {
                    notes.interrupted = true;
                    break;
                }
            }
        }
        let outcome = self.outcome(plan, &mut notes).await?;
        let unique = outcome.counts.archived;
        self.events.event(&Event::TypeEnded { resource_type: name.clone(), status: outcome.status, unique });
        Ok((outcome, notes))
    }

    async fn outcome(&self, plan: &ResourcePlan, notes: &mut Notes) -> Result<ResourceOutcome, S::Error> {
        let partitions = self.store.partitions(&plan.resource_type).await?;
        let counts = self.store.counts(&plan.resource_type).await?;
        let whole = partitions.iter().filter(|one| one.progress.ended_by != Some(EndedBy::Split));
        let totals: Vec<u64> = whole.filter_map(|one| one.progress.server_total).collect();
        let server_total = if totals.is_empty() { None } else { Some(totals.iter().sum()) };
        let evidence = Evidence { unique: counts.archived, server_total, min_coverage: plan.min_coverage };
        let endings: Vec<EndedBy> =
            partitions.iter().map(|one| one.progress.ended_by.unwrap_or(EndedBy::Interrupted)).collect();
        let (status, ended_by) = judge(&endings, &evidence);
        if notes.detail.is_none() && status == Status::Partial {
            notes.detail = Some(why_partial(&plan.resource_type, ended_by, &evidence));
        }
        Ok(ResourceOutcome {
            resource_type: plan.resource_type.clone(),
            strategy: "bare".into(),
            status,
            ended_by,
            partition_closed: true,
            pages: partitions.iter().map(|one| one.progress.pages).sum(),
            counts,
            server_total,
            coverage: evidence.coverage(),
            unavailable: notes.unavailable,
            detail: notes.detail.clone(),
        })
    }

    /// Drives one partition to its end, or to where it has to stop.
    async fn partition(&self, plan: &ResourcePlan, partition: Partition, notes: &mut Notes) -> Result<Stop, S::Error> {
        let Partition { key, search: first, progress, .. } = partition;
        let mut restarts = progress.restarts;
        let mut trail = Trail::new(&progress.trail);
        let mut cursor = progress.cursor;
        loop {
            let began_at_first = cursor.is_none();
            let fetched = match &cursor {
                None => self.first_page(plan, &first).await,
                Some(cursor) => match self.source.absolute(cursor) {
                    Ok(url) => self.fetcher.page(&url).await,
                    // A cursor that this program wrote: only a changed file can break it.
                    Err(_) => Err(FetchError::Refused(gone())),
                },
            };
            match self.follow(plan, (&key, &first), fetched, &mut trail, began_at_first).await? {
                Follow::Ended(ended_by) => {
                    self.events.event(&Event::PartitionEnded { partition: key.0.clone(), ended_by });
                    return Ok(Stop::Ended);
                }
                Follow::Stopped(FetchError::Cancelled) => return Ok(Stop::Cancelled),
                Follow::Stopped(FetchError::Later { not_before, reason }) => {
                    return Ok(Stop::Later(not_before, reason));
                }
                Follow::Stopped(FetchError::Unavailable { attempts, reason, .. }) => {
                    notes.unavailable = true;
                    let detail = format!(
                        "{}: no answer after {attempts} attempts ({reason}): check the base URL and the network, or run again later",
                        plan.resource_type
                    );
                    return self.end(&key, EndedBy::Error, detail, notes).await;
                }
                Follow::Stopped(FetchError::Refused(refusal)) => {
                    let lost = matches!(refusal.kind, RefusalKind::Gone | RefusalKind::NotFound | RefusalKind::Search);
                    if !trail.is_empty() && lost {
                        // The cursor was lost in mid-crawl: once more from the beginning, what is held is not archived again.
                        if restarts < self.limits.max_restarts {
                            restarts += 1;
                            self.store.close(&key, None, Some(refusal.message)).await?;
                            (trail, cursor) = (Trail::default(), None);
                            continue;
                        }
                        let detail = format!(
                            "{}: the server lost its place {} times ({}): larger pages or a higher rate may end the crawl sooner",
                            plan.resource_type,
                            restarts + 1,
                            refusal.message
                        );
                        return self.end(&key, EndedBy::DeadCursor, detail, notes).await;
                    }
                    let (ended_by, advice) = refused(refusal.kind);
                    let detail = format!("{}: {}: {advice}", plan.resource_type, refusal.message);
                    return self.end(&key, ended_by, detail, notes).await;
                }
            }
        }
    }

    async fn end(
        &self,
        key: &PartitionKey,
        ended_by: EndedBy,
        detail: String,
        notes: &mut Notes,
    ) -> Result<Stop, S::Error> {
        self.store.close(key, Some(ended_by), Some(detail.clone())).await?;
        notes.detail = Some(detail);
        self.events.event(&Event::PartitionEnded { partition: key.0.clone(), ended_by });
        Ok(Stop::Ended)
    }

    /// Commits page after page; the next one is fetched while one is committed.
    async fn follow(
        &self,
        plan: &ResourcePlan,
        (key, first_search): (&PartitionKey, &str),
        mut fetched: Result<Fetched, FetchError>,
        trail: &mut Trail,
        from_first: bool,
    ) -> Result<Follow, S::Error> {
        let (mut without_news, mut empty, mut first) = (0, 0, from_first);
        let mut seen: u64 = 0;
        let (mut own, mut again) = (0, 0);
        loop {
            let page = match fetched {
                Ok(page) => page,
                Err(error) => return Ok(Follow::Stopped(error)),
            };
            let url_hash = paging::url_hash(&page.url);
            trail.add(url_hash);
            let matches = matches_of(&page, &plan.resource_type);
            seen += matches;
            let mut step = paging::next(&self.source, &page.page, &page.url, trail, self.limits.max_pages);
            let full = plan.page_size.is_some_and(|size| matches >= u64::from(size));
            if first
                && full
                && step == Step::End(EndedBy::LastPage)
                && page.page.total.is_some_and(|total| total > seen)
            {
                step = Step::End(EndedBy::ShortPageWithoutNext);
            }
            if step == Step::End(EndedBy::LastPage) {
                let end =
                    End { seen, total: page.page.total, asked: plan.page_size, only_page: first, resumed: !from_first };
                if let Some(doubt) = suspicion::doubt(&end)
                    && let Some(ended_by) = self.look_into(plan, first_search, &doubt, &page).await?
                {
                    step = Step::End(ended_by);
                }
            }
            first = false;
            let is_empty = page.page.entry_slots == 0;
            let total = page.page.total;
            let after = match &step {
                Step::Next(url) => After::Next(self.source.relative(url)),
                Step::End(ended_by) => After::End(*ended_by),
            };
            let commit = PageCommit {
                partition: key.clone(),
                body: page.body,
                entries: page.page.entries,
                total,
                after,
                url_hash,
            };
            let counts = match step {
                Step::End(ended_by) => {
                    let counts = self.store.commit(commit).await?;
                    self.committed(plan, key, counts, total);
                    return Ok(Follow::Ended(ended_by));
                }
                Step::Next(url) => {
                    let (counts, next) = tokio::join!(self.store.commit(commit), self.fetcher.page(&url));
                    fetched = next;
                    counts?
                }
            };
            self.committed(plan, key, counts, total);
            own += counts.new_matches;
            again += counts.duplicates;
            (without_news, empty) = match (is_empty, counts.archived) {
                (true, _) => (without_news, empty + 1),
                // What an earlier walk or another partition has brought may come once more: that is no sign of a loop.
                (false, 0) if again <= self.store.counts(&plan.resource_type).await?.archived.saturating_sub(own) => {
                    (0, 0)
                }
                (false, 0) => (without_news + 1, 0),
                (false, _) => (0, 0),
            };
            if without_news >= PAGES_WITHOUT_NEWS || empty >= EMPTY_PAGES {
                self.store.close(key, Some(EndedBy::NoNewIds), None).await?;
                return Ok(Follow::Ended(EndedBy::NoNewIds));
            }
        }
    }

    /// Asks for both ends of what a search that ended in good order should have brought: an id there that is not held
    /// proves that there is more; both ends in order and held disprove it; where the server cannot be asked, the doubt
    /// itself decides.
    async fn look_into(
        &self,
        plan: &ResourcePlan,
        search: &str,
        doubt: &Doubt,
        last: &Fetched,
    ) -> Result<Option<EndedBy>, S::Error> {
        let mut disproved = true;
        for order in [Order::Descending, Order::Ascending] {
            let Ok(page) = self.search(&suspicion::end_of(search, order)).await else {
                disproved = false;
                continue;
            };
            let ids = suspicion::ids(&page.page, &plan.resource_type);
            disproved &= suspicion::is_in_order(&ids, order);
            let mut missing: HashSet<&str> = ids.into_iter().collect();
            // The last page is not committed yet.
            for id in suspicion::ids(&last.page, &plan.resource_type) {
                missing.remove(id);
            }
            let mut after: Option<String> = None;
            while !missing.is_empty() {
                let held = self.store.ids(&plan.resource_type, after.as_deref(), IDS_AT_A_TIME).await?;
                for id in &held {
                    missing.remove(id.as_str());
                }
                match held.into_iter().next_back() {
                    Some(id) => after = Some(id),
                    None => return Ok(Some(doubt.ended_by)),
                }
            }
        }
        Ok((!disproved && doubt.stands_unanswered).then_some(doubt.ended_by))
    }

    fn committed(&self, plan: &ResourcePlan, key: &PartitionKey, counts: PageCounts, server_total: Option<u64>) {
        self.events.event(&Event::PageCommitted {
            resource_type: plan.resource_type.clone(),
            partition: key.0.clone(),
            counts,
            server_total,
        });
    }

    /// The first page of a search. A zero is not believed at once, and a refusal of the search as such not taken as the
    /// last word: some servers answer a large `_count` with nothing and a search without a filter with an error.
    async fn first_page(&self, plan: &ResourcePlan, search_text: &str) -> Result<Fetched, FetchError> {
        let first = self.search(search_text).await;
        let smaller = || SMALLER_PAGES.into_iter().filter(|size| plan.page_size.is_some_and(|asked| *size < asked));
        let mut rungs: Vec<String> =
            smaller().map(|size| suspicion::with(search_text, &[("_count", &size.to_string())])).collect();
        match &first {
            Ok(page) if matches_of(page, &plan.resource_type) > 0 || page.page.link("next").is_some() => return first,
            Ok(_) => {}
            Err(FetchError::Refused(refusal)) if refusal.kind == RefusalKind::Search => {}
            // It may be the size of the answer that the server cannot manage.
            Err(FetchError::Unavailable { answered: true, .. }) => {}
            Err(_) => return first,
        }
        if !matches!(first, Err(FetchError::Unavailable { .. })) && plan.params.iter().all(|(name, _)| name != EVER.0) {
            let size = smaller().next().or(plan.page_size).map(|size| size.to_string());
            let size = size.as_deref().map(|size| ("_count", size));
            rungs.push(suspicion::with(search_text, &[Some(EVER), size].into_iter().flatten().collect::<Vec<_>>()));
        }
        for rung in rungs {
            match self.search(&rung).await {
                Ok(page) if matches_of(&page, &plan.resource_type) > 0 => {
                    tracing::info!(
                        resource_type = plan.resource_type,
                        search = rung,
                        "this search works where the plain one does not"
                    );
                    return Ok(page);
                }
                Err(stop @ (FetchError::Cancelled | FetchError::Later { .. })) => return Err(stop),
                _ => {}
            }
        }
        first
    }

    async fn search(&self, search: &str) -> Result<Fetched, FetchError> {
        match self.source.absolute(search) {
            Ok(url) => self.fetcher.page(&url).await,
            Err(_) => Err(FetchError::Refused(gone())),
        }
    }
}

enum Follow {
    Ended(EndedBy),
    Stopped(FetchError),
}

fn gone() -> crate::judgement::Refusal {
    crate::judgement::Refusal { kind: RefusalKind::Gone, message: "the kept cursor is no address".into() }
}

/// Matches among the entries: resources of the type that the server does not mark as included.
fn matches_of(page: &Fetched, resource_type: &str) -> u64 {
    let of_type = |entry: &&fhirvest_fhir::bundle::Entry| {
        &*entry.resource_type == resource_type && entry.mode != Some(Mode::Include)
    };
    page.page.entries.iter().filter(of_type).count() as u64
}

/// The search of a type, relative to the base URL.
fn search(plan: &ResourcePlan, page_size: Option<u32>, more: Option<(&str, &str)>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in &plan.params {
        query.append_pair(name, value);
    }
    if let Some((name, value)) = more {
        query.append_pair(name, value);
    }
    if let Some(size) = page_size {
        query.append_pair("_count", &size.to_string());
    }
    let query = query.finish();
    if query.is_empty() { plan.resource_type.clone() } else { format!("{}?{query}", plan.resource_type) }
}

fn refused(kind: RefusalKind) -> (EndedBy, &'static str) {
    match kind {
        RefusalKind::Unauthorized => {
            (EndedBy::Refused, "check the credentials: their kind, their header, and that they are not expired")
        }
        RefusalKind::Forbidden => {
            (EndedBy::Refused, "these credentials may not read this: ask the publisher for access")
        }
        RefusalKind::NotFound => {
            (EndedBy::Unsupported, "the server does not serve this type here: if it serves none, check the base URL")
        }
        RefusalKind::Gone | RefusalKind::Search => (
            EndedBy::Refused,
            "the server refuses this search: try another page size, or parameters under [resources.<Type>]",
        ),
        RefusalKind::NotFhir => (EndedBy::NotFhir, "the base URL does not lead to a FHIR server: check it"),
        RefusalKind::Other => (EndedBy::Refused, "the server refuses the request"),
    }
}

fn why_partial(resource_type: &str, ended_by: Option<EndedBy>, evidence: &Evidence) -> String {
    let ids = evidence.unique;
    match (ended_by, evidence.server_total) {
        (Some(EndedBy::LastPage), Some(total)) => {
            format!("{resource_type}: paging ended with {ids} ids, but the server counts {total}")
        }
        (Some(EndedBy::Cap), _) => format!(
            "{resource_type}: the server gives no more than {ids} resources of one search: narrow it by parameters under [resources.{resource_type}]"
        ),
        (Some(EndedBy::ShortPageWithoutNext), _) => format!(
            "{resource_type}: {ids} ids on a full page without a next link, though there are more: ask for larger pages"
        ),
        (Some(EndedBy::ForeignLink), _) => format!(
            "{resource_type}: the next link leads to another origin: allow it with trusted_origins, or mend it with rewrite_next"
        ),
        (Some(ended_by), _) => format!("{resource_type}: {ids} ids, then paging ended by {ended_by}"),
        (None, _) => format!("{resource_type}: {ids} ids"),
    }
}

/// The address that a search of a type would ask, for messages.
#[must_use]
pub fn search_url(source: &Source, plan: &ResourcePlan) -> Option<Url> {
    source.absolute(&search(plan, plan.page_size, None)).ok()
}
