//! The first page of a search, which is not always to be had by the plain question, and the search's address.

use std::sync::atomic::Ordering;

use super::{Crawl, ResourcePlan, partition::Stop, sweep::Task};
use crate::{
    judgement::{Refusal, RefusalKind},
    retry::{FetchError, Fetched},
    store::Store,
    strategy::{Bucket, Paging, Strategy},
    suspicion,
    transport::Transport,
};

/// The page sizes to try, those below the plan's, when a server answers with nothing, too much, or only errors (habits
/// 10, 15 and 17 of the crawling notes): the commonest hidden ceiling, and one that hardly any server is too weak for.
const SMALLER_PAGES: [u32; 2] = [100, 10];

/// The search to try when a server refuses one without a filter (habit 11): everything since before there was FHIR.
pub(super) const EVER: (&str, &str) = ("_lastUpdated", "ge1900-01-01");

/// Page sizes below the one asked for that are worth a try. What a server gives unasked is more than the smallest.
pub(super) fn smaller(asked: Option<u32>) -> impl Iterator<Item = u32> {
    let asked = asked.unwrap_or(SMALLER_PAGES[1] + 1);
    SMALLER_PAGES.into_iter().filter(move |size| *size < asked)
}

/// The search of a share of a type, relative to the base URL.
pub(super) fn search(plan: &ResourcePlan, bucket: &Bucket, page_size: Option<u32>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(&plan.params).extend_pairs(bucket.params(&plan.strategy));
    if let Some(size) = page_size {
        query.append_pair("_count", &size.to_string());
    }
    if let Paging::Offset(offset) = &plan.paging {
        query.append_pair(&offset.param, &offset.first.to_string());
    }
    let query = query.finish();
    let path = bucket.path(&plan.strategy, &plan.resource_type);
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

/// Matches among the entries, as [`suspicion::is_match`] tells them.
pub(super) fn matches_of(page: &Fetched, resource_type: &str) -> u64 {
    let is_match = suspicion::is_match(&page.page, resource_type);
    page.page.entries.iter().filter(|entry| is_match(entry)).count() as u64
}

/// Entries that the search is after: an operation that gathers everything is after all of them.
pub(super) fn found_by(page: &Fetched, plan: &ResourcePlan) -> u64 {
    match plan.strategy {
        Strategy::Everything { .. } => page.page.entries.len() as u64,
        _ => matches_of(page, &plan.resource_type),
    }
}

pub(super) fn gone() -> Refusal {
    Refusal { kind: RefusalKind::Gone, message: "the kept cursor is no address".into() }
}

impl<T: Transport, S: Store> Crawl<T, S> {
    /// The first page of a search. A zero is not believed at once, and a refusal of the search as such not taken as the
    /// last word: some servers answer a large `_count` with nothing and a search without a filter with an error.
    pub(super) async fn first_page(&self, task: &Task<'_>, bucket: &Bucket) -> Result<Fetched, FetchError> {
        let plan = task.plan;
        let asked = task.page_size();
        let text = task.search(bucket);
        let first = self.search(bucket, &text).await;
        let follows = plan.paging == Paging::Links;
        match &first {
            Ok(page) if found_by(page, plan) > 0 || (follows && page.page.link("next").is_some()) => {
                task.found.store(true, Ordering::Relaxed);
                return first;
            }
            // Other searches of this type have found something with pages of this size: this one is empty.
            Ok(_) if task.found.load(Ordering::Relaxed) => return first,
            Ok(_) => {}
            Err(FetchError::Refused(refusal))
                if matches!(refusal.kind, RefusalKind::Search | RefusalKind::TooLarge) => {}
            // It may be the size of the answer that the server cannot manage.
            Err(FetchError::Unavailable { answered: true, .. }) => {}
            Err(_) => return first,
        }
        let mut rungs: Vec<(String, Option<u32>)> =
            smaller(asked).map(|size| (suspicion::with(&text, &[("_count", &size.to_string())]), Some(size))).collect();
        let filtered = *bucket != Bucket::All || plan.params.iter().any(|(name, _)| name == EVER.0);
        if !matches!(first, Err(FetchError::Unavailable { .. })) && !filtered {
            let size = smaller(asked).next().or(asked);
            let text_of_size = size.map(|size| size.to_string());
            let count = text_of_size.as_deref().map(|size| ("_count", size));
            rungs.push((suspicion::with(&text, &[Some(EVER), count].into_iter().flatten().collect::<Vec<_>>()), size));
        }
        if asked.is_some() {
            rungs.push((suspicion::without(&text, "_count"), Some(0)));
        }
        if first.is_ok() {
            // A zero is worth more questions than an error that says why.
            rungs.push((suspicion::with(&text, &[("_count", "1")]), Some(1)));
        }
        let (mut confirmed, mut contradiction) = (false, None);
        for (rung, size) in rungs {
            let mut answer = self.search(bucket, &rung).await;
            if size == Some(1) && matches!(answer, Err(FetchError::Refused(_))) {
                // The smallest question of all: neither a refusal now and then nor one for want of a filter must hide that
                // there is something.
                answer = self.search(bucket, &rung).await;
                if matches!(answer, Err(FetchError::Refused(_))) && !filtered {
                    answer = self.search(bucket, &suspicion::with(&rung, &[EVER])).await;
                }
            }
            match answer {
                Ok(page) if found_by(&page, plan) > 0 => {
                    tracing::info!(
                        resource_type = plan.resource_type,
                        search = rung,
                        "this search works where the plain one does not"
                    );
                    task.found.store(true, Ordering::Relaxed);
                    if let Some(size) = size {
                        task.learn_page_size(size);
                    }
                    return Ok(page);
                }
                // What is of another type is no sign that there is nothing: that is for whoever reads the page to say.
                Ok(page) if first.is_ok() && suspicion::holds_strangers(&page.page, &plan.resource_type) => {
                    return Ok(page);
                }
                Err(stop @ (FetchError::Cancelled | FetchError::Later { .. })) => return Err(stop),
                Ok(_) => confirmed = true,
                // What is no FHIR, where everything else is, is no zero.
                Err(FetchError::Refused(refusal))
                    if matches!(
                        refusal.kind,
                        RefusalKind::Unauthorized | RefusalKind::Forbidden | RefusalKind::NotFhir
                    ) =>
                {
                    return Err(FetchError::Refused(refusal));
                }
                Err(FetchError::Refused(refusal)) => contradiction = Some(FetchError::Refused(refusal)),
                Err(FetchError::Unavailable { .. }) => {}
            }
        }
        match contradiction {
            // A zero where every other question is refused is no zero.
            Some(refused) if first.is_ok() && !confirmed => Err(refused),
            _ => self.counted(task, bucket, first).await,
        }
    }

    /// The first page of a search that has found nothing, with the server's count of what it should have found.
    async fn counted(
        &self,
        task: &Task<'_>,
        bucket: &Bucket,
        first: Result<Fetched, FetchError>,
    ) -> Result<Fetched, FetchError> {
        let mut page = first?;
        if *bucket == Bucket::All && task.plan.whole_type && page.page.total.unwrap_or(0) == 0 {
            match self.count(task, &search(task.plan, bucket, None)).await {
                Ok(count) => page.page.total = count.or(page.page.total),
                Err(Stop::Later(not_before, reason)) => return Err(FetchError::Later { not_before, reason }),
                Err(_) => return Err(FetchError::Cancelled),
            }
        }
        Ok(page)
    }

    pub(super) async fn search(&self, bucket: &Bucket, search: &str) -> Result<Fetched, FetchError> {
        self.search_within(bucket, search, self.limits.max_retries).await
    }

    pub(super) async fn search_within(
        &self,
        bucket: &Bucket,
        search: &str,
        retries: u32,
    ) -> Result<Fetched, FetchError> {
        match self.source.absolute(search) {
            Ok(url) => self.fetcher(bucket).page_within(&url, retries).await,
            Err(_) => Err(FetchError::Refused(gone())),
        }
    }
}
