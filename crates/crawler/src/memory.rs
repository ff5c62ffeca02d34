//! A store in memory: for tests, and for probes that keep nothing.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fhirvest_fhir::{bundle::Mode, reference, resource};
use futures_util::FutureExt;

use crate::{
    ending::EndedBy,
    store::{After, PageCommit, PageCounts, Parent, Partition, PartitionKey, Pending, Store, Summary, TypeCounts},
    strategy::Bucket,
};

/// Everything that a crawl has brought, by type and id.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    partitions: Vec<Partition>,
    held: BTreeMap<String, BTreeMap<String, Vec<[u8; 16]>>>,
    counts: HashMap<String, TypeCounts>,
    details: HashMap<PartitionKey, String>,
    /// By type, whose references are watched: ids, and whether they were handed out.
    wanted: HashMap<String, BTreeMap<String, bool>>,
}

impl Inner {
    fn add(&mut self, new: Vec<Partition>) {
        for partition in new {
            if let Bucket::Read { ids } = &partition.bucket {
                let wanted = self.wanted.entry(partition.resource_type.clone()).or_default();
                wanted.extend(ids.iter().map(|id| (id.clone(), true)));
            }
            if self.partitions.iter().all(|known| known.key != partition.key) {
                self.partitions.push(partition);
            }
        }
    }

    fn mention(&mut self, text: &str) {
        for (name, id) in reference::targets(text) {
            if let Some(wanted) = self.wanted.get_mut(&*name) {
                wanted.entry(id.into_owned()).or_insert(false);
            }
        }
    }
}

impl MemoryStore {
    /// A store that takes note of references to these types, for [`Store::wanted`].
    #[must_use]
    pub fn watching(types: &[&str]) -> Self {
        let store = Self::default();
        store.lock().wanted.extend(types.iter().map(|name| ((*name).to_owned(), BTreeMap::new())));
        store
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    type Error = Infallible;

    async fn open(&self, resource_type: &str, limit: usize) -> Result<Vec<Partition>, Infallible> {
        let inner = self.lock();
        let open =
            inner.partitions.iter().filter(|one| one.resource_type == resource_type && one.progress.ended_by.is_none());
        Ok(open.take(limit).cloned().collect())
    }

    async fn summary(&self, resource_type: &str) -> Result<Summary, Infallible> {
        let inner = self.lock();
        let mut summary = Summary::default();
        let (mut root, mut sum) = (None, None);
        for one in inner.partitions.iter().filter(|one| one.resource_type == resource_type) {
            let progress = &one.progress;
            summary.partitions += 1;
            summary.pages += progress.pages;
            summary.whole_search |= one.bucket == Bucket::All;
            if one.bucket == Bucket::Root {
                root = progress.server_total;
            } else if progress.ended_by != Some(EndedBy::Split) {
                sum = progress.server_total.map(|total| sum.unwrap_or(0) + total).or(sum);
            }
            match progress.ended_by {
                None => summary.open += 1,
                Some(ended_by) => {
                    if !ended_by.is_whole() && summary.detail.is_none() {
                        summary.detail = inner.details.get(&one.key).cloned();
                    }
                    if !summary.endings.contains(&ended_by) {
                        summary.endings.push(ended_by);
                    }
                }
            }
        }
        summary = summary.counted(root, sum);
        let held = inner.held.get(resource_type);
        let is_missing = |id: &String| held.is_none_or(|held| !held.contains_key(id));
        let asked = inner.wanted.get(resource_type).into_iter().flatten().filter(|(_, asked)| **asked);
        summary.missing = asked.filter(|(id, _)| is_missing(id)).count() as u64;
        Ok(summary)
    }

    async fn add_partitions(&self, parent: Option<Parent>, new: Vec<Partition>) -> Result<(), Infallible> {
        let mut inner = self.lock();
        inner.add(new);
        let (key, bucket) = match parent {
            None => return Ok(()),
            Some(Parent::Split(key)) => (key, None),
            Some(Parent::Feed(key, bucket)) => (key, Some(bucket)),
        };
        if let Some(known) = inner.partitions.iter_mut().find(|known| known.key == key) {
            match bucket {
                Some(bucket) => known.bucket = bucket,
                None => {
                    known.progress.cursor = None;
                    known.progress.ended_by = Some(EndedBy::Split);
                }
            }
        }
        Ok(())
    }

    async fn take(&self, page: PageCommit) -> Result<Pending<Infallible>, Infallible> {
        let mut inner = self.lock();
        let own =
            inner.partitions.iter().find(|known| known.key == page.partition).map(|known| known.resource_type.clone());
        let mut counts = PageCounts::default();
        let mut split = Vec::new();
        for entry in &page.entries {
            let text = std::str::from_utf8(&page.body[entry.range.clone()]).unwrap_or_default();
            let named =
                (!entry.resource_type.is_empty()).then(|| entry.resource_type.to_string()).or_else(|| own.clone());
            let sum = inner.counts.entry(named.unwrap_or_default()).or_default();
            counts.received += 1;
            sum.received += 1;
            let (Some(id), None, Ok(hash)) = (&entry.id, entry.fault, resource::content_hash(text)) else {
                counts.quarantined += 1;
                sum.quarantined += 1;
                continue;
            };
            let variants =
                inner.held.entry(entry.resource_type.to_string()).or_default().entry(id.to_string()).or_default();
            let (is_new, is_known) = (variants.is_empty(), variants.contains(&hash.0));
            if !is_known {
                variants.push(hash.0);
            }
            match (is_new, is_known) {
                (true, _) => {
                    inner.mention(text);
                    let sum = inner.counts.entry(entry.resource_type.to_string()).or_default();
                    counts.archived += 1;
                    sum.archived += 1;
                    if entry.mode != Some(Mode::Include) && own.as_deref() == Some(&*entry.resource_type) {
                        counts.new_matches += 1;
                    }
                }
                (false, true) => {
                    let sum = inner.counts.entry(entry.resource_type.to_string()).or_default();
                    counts.duplicates += 1;
                    sum.duplicates += 1;
                }
                (false, false) => {
                    inner.mention(text);
                    let sum = inner.counts.entry(entry.resource_type.to_string()).or_default();
                    counts.variants += 1;
                    sum.variants += 1;
                }
            }
        }
        if let Some(known) = inner.partitions.iter_mut().find(|known| known.key == page.partition) {
            let progress = &mut known.progress;
            progress.pages += 1;
            progress.server_total = progress.server_total.max(page.total);
            progress.trail.push(page.url_hash);
            (progress.cursor, progress.ended_by) = match page.after {
                After::Next(cursor) => (Some(cursor), None),
                After::End(ended_by) => (None, Some(ended_by)),
                After::Split(parts) => {
                    split = parts;
                    (None, Some(EndedBy::Split))
                }
            };
        }
        inner.add(split);
        Ok(std::future::ready(Ok(counts)).boxed())
    }

    async fn close(
        &self,
        partition: &PartitionKey,
        ended_by: Option<EndedBy>,
        detail: Option<String>,
    ) -> Result<(), Infallible> {
        let mut inner = self.lock();
        if let Some(detail) = detail {
            inner.details.insert(partition.clone(), detail);
        }
        if let Some(known) = inner.partitions.iter_mut().find(|known| known.key == *partition) {
            known.progress.cursor = None;
            known.progress.ended_by = ended_by;
            if ended_by.is_none() {
                known.progress.restarts += 1;
                known.progress.trail.clear();
            }
        }
        Ok(())
    }

    async fn counts(&self, resource_type: &str) -> Result<TypeCounts, Infallible> {
        Ok(self.lock().counts.get(resource_type).copied().unwrap_or_default())
    }

    async fn ids(&self, resource_type: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>, Infallible> {
        let inner = self.lock();
        let ids = inner.held.get(resource_type).map(BTreeMap::keys).into_iter().flatten();
        Ok(ids.filter(|id| after.is_none_or(|after| id.as_str() > after)).take(limit).cloned().collect())
    }

    async fn not_held(&self, resource_type: &str, mut ids: Vec<String>) -> Result<Vec<String>, Infallible> {
        let inner = self.lock();
        let held = inner.held.get(resource_type);
        ids.retain(|id| held.is_none_or(|held| !held.contains_key(id)));
        Ok(ids)
    }

    async fn wanted(&self, resource_type: &str, limit: usize) -> Result<Vec<String>, Infallible> {
        let inner = self.lock();
        let held = inner.held.get(resource_type);
        let wanted = inner.wanted.get(resource_type).into_iter().flatten().filter(|(_, asked)| !**asked);
        let wanted = wanted.filter(|(id, _)| held.is_none_or(|held| !held.contains_key(*id)));
        Ok(wanted.take(limit).map(|(id, _)| id.clone()).collect())
    }
}
