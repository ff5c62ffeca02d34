//! A look at both ends of what a crawl should have brought: what is there and not held proves that there is more.

use std::collections::HashSet;

use fhirvest_fhir::outcome::Outcome;

use super::{
    Crawl, ResourcePlan,
    first::{EVER, matches_of},
    search_of,
    sweep::RETRIES_OF_THE_LAST_LOOK,
    walk::{Drive, Halt},
};
use crate::{
    ending::EndedBy,
    judgement::{Refusal, RefusalKind},
    retry::{FetchError, Fetched},
    store::Store,
    strategy::{Bucket, Strategy},
    suspicion::{self, Doubt, LOOKED_AT, Order},
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
            let fewer = (!is_empty).then_some(1);
            let end = |many| suspicion::end_of(&search, order, many);
            let look = self.end_or_fewer(&Bucket::All, end, (LOOKED_AT, fewer), RETRIES_OF_THE_LAST_LOOK);
            let (answer, few) = look.await;
            let proof = if few { 1 } else { proof };
            match answer {
                // What is shown of other types may be what was asked for, in other clothes.
                Ok(page)
                    if is_empty && (matches_of(&page, name) > 0 || suspicion::holds_strangers(&page.page, name)) =>
                {
                    return Ok(Some(true));
                }
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
            // By date there is nothing, also of rows without one: without a date it has to be answered, by what can be read.
            let by_date = matches!(plan.strategy, Strategy::DateRange { .. });
            // The smallest question of all.
            return Ok(match self.probe(&suspicion::with(&search, &[("_count", "1")])).await {
                Ok(page) if matches_of(&page, name) > 0 => Some(true),
                Ok(page) => Some(by_date && page.page.outcomes.iter().any(Outcome::is_error)),
                Err(FetchError::Cancelled) => None,
                Err(FetchError::Refused(Refusal {
                    kind: RefusalKind::Search | RefusalKind::TooLarge | RefusalKind::NotFhir,
                    ..
                })) => Some(by_date),
                Err(_) => Some(false),
            });
        }
        Ok(Some(false))
    }

    /// Asks for both ends of what a search that ended in good order should have brought: an id there that is not held
    /// proves that there is more; both ends in order and held disprove it; where the server cannot be asked, the doubt
    /// itself decides.
    pub(super) async fn look_into(
        &self,
        drive: &Drive<'_>,
        doubt: &Doubt,
        last: &Fetched,
    ) -> Result<Option<EndedBy>, Halt<S::Error>> {
        let resource_type = &drive.plan().resource_type;
        let search = drive.task.search(drive.bucket);
        if drive.is_everything() {
            // An operation has no order whose ends could be asked for.
            return Ok(doubt.stands_unanswered.then_some(doubt.ended_by));
        }
        let (mut disproved, mut proof) = (true, doubt.proof);
        let nothing_found = doubt.ended_by == EndedBy::NoNewIds;
        let page_size = drive.task.page_size().filter(|_| doubt.is_of_ceiling()).unwrap_or(LOOKED_AT).max(LOOKED_AT);
        for order in [Order::Descending, Order::Ascending] {
            let end = |page_size| suspicion::end_of(&search, order, page_size);
            let in_use = drive.task.page_size().unwrap_or(page_size);
            let fewer = if nothing_found { 1 } else { in_use.min(page_size) };
            let look = self.end_or_fewer(drive.bucket, end, (page_size, Some(fewer)), self.limits.max_retries);
            let (answer, few) = look.await;
            proof = if few { 1 } else { proof };
            let page = match answer {
                Ok(page) => page,
                Err(stop @ (FetchError::Cancelled | FetchError::Later { .. })) => return Err(Halt::Stopped(stop)),
                // Whoever is not let in any more sees no end.
                Err(FetchError::Refused(Refusal { kind: RefusalKind::Unauthorized, .. })) => {
                    return Ok(Some(EndedBy::Refused));
                }
                Err(_) => {
                    disproved = false;
                    continue;
                }
            };
            if page.page.outcomes.iter().any(Outcome::is_error) {
                disproved = false;
                continue;
            }
            let ids = suspicion::ids(&page.page, resource_type);
            let unusable = page.page.entries.iter().any(|entry| entry.fault.is_some());
            if ids.is_empty() && (unusable || suspicion::holds_strangers(&page.page, resource_type)) {
                return Ok(Some(doubt.ended_by));
            }
            // Where nothing was found, nothing at the ends agrees.
            disproved &= suspicion::is_in_order(&ids, order) || (ids.is_empty() && nothing_found);
            let mut missing: HashSet<&str> = ids.into_iter().collect();
            // The last page is not committed yet.
            for id in suspicion::ids(&last.page, resource_type) {
                missing.remove(id);
            }
            if self.are_missing(resource_type, missing, proof).await? {
                return Ok(Some(doubt.ended_by));
            }
        }
        Ok((!disproved && doubt.stands_unanswered).then_some(doubt.ended_by))
    }

    /// One end of what a search finds: so many, and where that brings nothing, as few as the second number says, since
    /// nothing is what some servers give for more than they can manage, or now and then. Whether fewer were asked for: then
    /// one id that is not held is proof.
    async fn end_or_fewer(
        &self,
        bucket: &Bucket,
        end: impl Fn(u32) -> String,
        (many, fewer): (u32, Option<u32>),
        retries: u32,
    ) -> (Result<Fetched, FetchError>, bool) {
        let answer = self.end(bucket, &end(many), retries).await;
        match fewer {
            Some(fewer) if answer.as_ref().is_ok_and(|page| page.page.entries.is_empty()) => {
                (self.end(bucket, &end(fewer), retries).await, fewer < many)
            }
            _ => (answer, false),
        }
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
