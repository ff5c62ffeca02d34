//! Shares divided into smaller ones: whether that may help, and what goes on in a share's place.

use std::sync::atomic::Ordering;

use super::{
    Crawl, ResourcePlan,
    partition::Stop,
    sweep::Task,
    walk::{Drive, Halt},
};
use crate::{
    ending::EndedBy,
    event::Event,
    judgement::RefusalKind,
    retry::FetchError,
    store::{Parent, Partition, Store},
    strategy::Bucket,
    transport::Transport,
};

/// Shares in a row that brought nothing new and were divided all the same, after which dividing is no use: of a server
/// that shows the same rows whatever is asked for, every part would seem as full as the whole.
const BARREN: u32 = 300;

/// What a share counts for whose first page held nothing: what its links lead to is most likely something else.
const BARREN_HOLLOW: u32 = 30;

impl Task<'_> {
    /// Whether this share is asked for in vain: the server gives everything for any share.
    pub(super) fn is_one_search(&self, bucket: &Bucket) -> bool {
        let share =
            matches!(bucket, Bucket::Window { .. } | Bucket::Prefix { .. } | Bucket::Value { .. } | Bucket::Ids { .. });
        share && self.heeded.get() == Some(&false)
    }

    /// Whether dividing has been no use for long.
    fn is_barren(&self) -> bool {
        self.barren.load(Ordering::Relaxed) >= BARREN
    }

    /// Takes note of a share that was divided after it had brought `new` ids.
    pub(super) fn divided(&self, new: u64, hollow: bool) {
        match new {
            0 => self.barren.fetch_add(if hollow { BARREN_HOLLOW } else { 1 }, Ordering::Relaxed),
            _ => self.barren.swap(0, Ordering::Relaxed),
        };
    }
}

/// The search for everything.
pub(super) fn whole(plan: &ResourcePlan) -> Partition {
    Partition::new(&plan.resource_type, Bucket::All)
}

impl Drive<'_> {
    /// The partitions to go on with in this one's place.
    pub(super) fn parts(&self, refused: bool) -> Vec<Partition> {
        if self.task.is_one_search(self.bucket) {
            return vec![whole(self.plan())];
        }
        let parts = self.bucket.split(&self.plan().strategy, refused);
        parts.into_iter().map(|bucket| Partition::new(&self.plan().resource_type, bucket)).collect()
    }
}

impl<T: Transport, S: Store> Crawl<T, S> {
    /// Whether smaller shares may go on in this one's place. Before the first division of a type, the server is asked
    /// once more whether it heeds the parameter, with pages of the size that is in use by now: some answer larger ones
    /// with nothing or a refusal, which looked like heeding.
    pub(super) async fn is_divisible(&self, drive: &Drive<'_>) -> Result<bool, Halt<S::Error>> {
        let task = drive.task;
        if drive.parts(false).is_empty() || task.is_barren() {
            return Ok(false);
        }
        if task.heeded.get().is_none() {
            let heeded = self.heeds(task, task.page_size()).await.map_err(|stop| Halt::Stopped(stopped(stop)))?;
            task.heeded.get_or_init(|| heeded);
        }
        Ok(true)
    }

    /// Divides a partition that the server does not answer into smaller ones, where that may help.
    pub(super) async fn is_split_after(&self, drive: &Drive<'_>, error: &FetchError) -> Result<bool, S::Error> {
        let too_much = match error {
            FetchError::Refused(refusal) => matches!(refusal.kind, RefusalKind::Search | RefusalKind::TooLarge),
            FetchError::Unavailable { answered, .. } => *answered,
            _ => false,
        };
        // A share that has begun and found nothing is not too large, nor one whose rest is not its own.
        let too_much = too_much && (drive.trail.is_empty() || drive.found) && !drive.walk.strayed;
        if !too_much || drive.task.no_refusal_splits.load(Ordering::Relaxed) {
            return Ok(false);
        }
        if !drive.bucket.may_split_after_refusal() || !self.answers_the_least(drive).await {
            drive.task.no_refusal_splits.store(true, Ordering::Relaxed);
            return Ok(false);
        }
        self.divide(drive).await
    }

    /// Whether the server answers a share that hardly holds anything, asked once a type. Where it does not, it refuses the
    /// question and not its size, and thousands of smaller shares would be refused one by one.
    async fn answers_the_least(&self, drive: &Drive<'_>) -> bool {
        let task = drive.task;
        if let Some(answered) = task.least_answered.get() {
            return *answered;
        }
        let Some(least) = drive.bucket.least(&task.plan.strategy) else { return true };
        match self.probe(&task.search(&least)).await {
            // Whoever goes on hears of it, too.
            Err(FetchError::Cancelled | FetchError::Later { .. }) => true,
            answer => *task.least_answered.get_or_init(|| answer.is_ok()),
        }
    }

    /// Puts smaller partitions in a partition's place, where there are any.
    pub(super) async fn divide(&self, drive: &Drive<'_>) -> Result<bool, S::Error> {
        let parts = drive.parts(true);
        if parts.is_empty() || !drive.bucket.may_split_after_refusal() || drive.task.is_barren() {
            return Ok(false);
        }
        drive.task.divided(drive.walk.news, drive.walk.hollow);
        self.store.add_partitions(Some(Parent::Split(drive.key.clone())), parts).await?;
        self.events.event(&Event::PartitionEnded {
            partition: drive.key.shown(self.source.sensitive),
            ended_by: EndedBy::Split,
        });
        Ok(true)
    }
}

/// A question before a search that was stopped stops the search.
pub(super) fn stopped(stop: Stop) -> FetchError {
    match stop {
        Stop::Later(not_before, reason) => FetchError::Later { not_before, reason },
        _ => FetchError::Cancelled,
    }
}
