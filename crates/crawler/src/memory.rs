//! A store in memory: for tests, and for probes that keep nothing.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fhirvest_fhir::{bundle::Mode, resource};

use crate::{
    ending::EndedBy,
    store::{After, PageCommit, PageCounts, Partition, PartitionKey, Store, TypeCounts},
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
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    type Error = Infallible;

    async fn partitions(&self, resource_type: &str) -> Result<Vec<Partition>, Infallible> {
        Ok(self.lock().partitions.iter().filter(|one| one.resource_type == resource_type).cloned().collect())
    }

    async fn add_partitions(&self, parent: Option<&PartitionKey>, new: Vec<Partition>) -> Result<(), Infallible> {
        let mut inner = self.lock();
        for partition in new {
            if inner.partitions.iter().all(|known| known.key != partition.key) {
                inner.partitions.push(partition);
            }
        }
        if let Some(known) = inner.partitions.iter_mut().find(|known| Some(&known.key) == parent) {
            known.progress.cursor = None;
            known.progress.ended_by = Some(EndedBy::Split);
        }
        Ok(())
    }

    async fn commit(&self, page: PageCommit) -> Result<PageCounts, Infallible> {
        let mut inner = self.lock();
        let own =
            inner.partitions.iter().find(|known| known.key == page.partition).map(|known| known.resource_type.clone());
        let mut counts = PageCounts::default();
        for entry in &page.entries {
            let text = std::str::from_utf8(&page.body[entry.range.clone()]).unwrap_or_default();
            let sum = inner.counts.entry(entry.resource_type.to_string()).or_default();
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
            let sum = inner.counts.entry(entry.resource_type.to_string()).or_default();
            match (is_new, is_known) {
                (true, _) => {
                    counts.archived += 1;
                    sum.archived += 1;
                    if entry.mode != Some(Mode::Include) && own.as_deref() == Some(&*entry.resource_type) {
                        counts.new_matches += 1;
                    }
                }
                (false, true) => {
                    counts.duplicates += 1;
                    sum.duplicates += 1;
                }
                (false, false) => {
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
            };
        }
        Ok(counts)
    }

    async fn close(
        &self,
        partition: &PartitionKey,
        ended_by: Option<EndedBy>,
        _: Option<String>,
    ) -> Result<(), Infallible> {
        if let Some(known) = self.lock().partitions.iter_mut().find(|known| known.key == *partition) {
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
}
