//! A look at both ends of what a crawl should have brought: what is there and not held proves that there is more.

use std::collections::HashSet;

use super::{
    Crawl, ResourcePlan,
    first::{EVER, matches_of},
    search_of,
    sweep::RETRIES_OF_A_PROBE,
};
use crate::{
    judgement::{Refusal, RefusalKind},
    retry::{FetchError, Fetched},
    store::Store,
    strategy::{Bucket, Strategy},
    suspicion::{self, LOOKED_AT, Order},
    transport::Transport,
};

impl<T: Transport, S: Store> Crawl<T, S> {
    /// Whether the server, asked plainly for a type that was enumerated by many searches, by reads or by an export, shows
    /// resources that these have not brought: windows of time hold nothing without a stamp, a list of references may be
    /// read to its first element only, an `_include` ignored. Two requests; a server that does not answer them shows
    /// nothing. `None` where the crawl was stopped.
    /// `is_counted` says that the server's own count agrees with what came: then one or two that are not held may be of
    /// rows that were made in the meantime.
    pub(super) async fn shows_more(&self, plan: &ResourcePlan, is_counted: bool) -> Result<Option<bool>, S::Error> {
        let name = &plan.resource_type;
        if !plan.whole_type || matches!(plan.strategy, Strategy::Bare | Strategy::Include { .. }) {
            return Ok(Some(false));
        }
        let (search, proof) = (search_of(plan), if is_counted { 3 } else { 1 });
        let is_empty = self.store.counts(name).await?.received == 0;
        for order in [Order::Descending, Order::Ascending] {
            match self.end(&Bucket::All, &suspicion::end_of(&search, order, LOOKED_AT), RETRIES_OF_A_PROBE).await {
                Ok(page) if is_empty && matches_of(&page, name) > 0 => return Ok(Some(true)),
                Ok(page) => {
                    let seen = suspicion::ids(&page.page, name).into_iter().collect();
                    if self.are_missing(name, seen, proof).await? {
                        return Ok(Some(true));
                    }
                }
                Err(FetchError::Cancelled) => return Ok(None),
                Err(_) => {}
            }
        }
        if is_empty {
            // The smallest question of all.
            return Ok(match self.probe(&suspicion::with(&search, &[("_count", "1")])).await {
                Ok(page) => Some(matches_of(&page, name) > 0),
                Err(FetchError::Cancelled) => None,
                Err(_) => Some(false),
            });
        }
        Ok(Some(false))
    }

    /// One end of what a search finds, by [`suspicion::end_of`]. Where the server wants a filter, it gets one that leaves
    /// nothing out.
    pub(super) async fn end(&self, bucket: &Bucket, search: &str, retries: u32) -> Result<Fetched, FetchError> {
        let answer = match self.search_within(bucket, search, retries).await {
            // A page of another kind, or a lost one, now and then must not hide what is there.
            Err(FetchError::Refused(Refusal {
                kind: RefusalKind::NotFhir | RefusalKind::Gone | RefusalKind::NotFound,
                ..
            })) => self.search_within(bucket, search, retries).await,
            answer => answer,
        };
        match answer {
            Err(FetchError::Refused(refusal))
                if matches!(refusal.kind, RefusalKind::Search | RefusalKind::TooLarge) && !search.contains(EVER.0) =>
            {
                self.search_within(bucket, &suspicion::with(search, &[EVER]), retries).await
            }
            answer => answer,
        }
    }

    /// Whether so many of these ids are not held.
    pub(super) async fn are_missing(
        &self,
        resource_type: &str,
        ids: HashSet<&str>,
        proof: usize,
    ) -> Result<bool, S::Error> {
        let ids: Vec<String> = ids.into_iter().map(ToOwned::to_owned).collect();
        Ok(ids.len() >= proof && self.store.not_held(resource_type, ids).await?.len() >= proof)
    }
}
