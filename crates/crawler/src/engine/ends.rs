//! A look at both ends of what a crawl should have brought: what is there and not held proves that there is more.

use std::collections::HashSet;

use super::{Crawl, ResourcePlan, search_of};
use crate::{
    retry::FetchError,
    store::Store,
    strategy::Strategy,
    suspicion::{self, Order},
    transport::Transport,
};

/// Ids read from the store in one go: bounds the memory of a look for an id.
const IDS_AT_A_TIME: usize = 10_000;

impl<T: Transport, S: Store> Crawl<T, S> {
    /// Whether the server, asked plainly for a type that was enumerated by many searches, by reads or by an export, shows
    /// resources that these have not brought: windows of time hold nothing without a stamp, a list of references may be
    /// read to its first element only, an `_include` ignored. Two requests; a server that does not answer them shows
    /// nothing. `None` where the crawl was stopped.
    pub(super) async fn shows_more(&self, plan: &ResourcePlan) -> Result<Option<bool>, S::Error> {
        let looks = plan.whole_type && !matches!(plan.strategy, Strategy::Bare | Strategy::Include { .. });
        let search = search_of(plan);
        for order in [Order::Descending, Order::Ascending].into_iter().filter(|_| looks) {
            let page = match self.probe(&suspicion::end_of(&search, order)).await {
                Ok(page) => page,
                Err(FetchError::Cancelled) => return Ok(None),
                Err(_) => continue,
            };
            let seen = suspicion::ids(&page.page, &plan.resource_type).into_iter().collect();
            if self.are_missing(&plan.resource_type, seen, 1).await? {
                return Ok(Some(true));
            }
        }
        Ok(Some(false))
    }

    /// Whether so many of these ids are not held.
    pub(super) async fn are_missing(
        &self,
        resource_type: &str,
        mut ids: HashSet<&str>,
        proof: usize,
    ) -> Result<bool, S::Error> {
        let mut after: Option<String> = None;
        while ids.len() >= proof {
            let held = self.store.ids(resource_type, after.as_deref(), IDS_AT_A_TIME).await?;
            for id in &held {
                ids.remove(id.as_str());
            }
            match held.into_iter().next_back() {
                Some(id) => after = Some(id),
                None => return Ok(true),
            }
        }
        Ok(false)
    }
}
