//! A store that dies at one of its writes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use fhirvest_crawler::{
    ending::EndedBy,
    memory::MemoryStore,
    store::{PageCommit, PageCounts, Parent, Partition, PartitionKey, Pending, Store, Summary, TypeCounts},
};
use futures_util::FutureExt;

#[derive(Debug, thiserror::Error)]
#[error("killed")]
pub(crate) struct Killed;

/// Dies at one of its writes: before it takes effect, or after, as a process that is killed does.
pub(crate) struct Mortal {
    inner: Arc<MemoryStore>,
    writes: AtomicUsize,
    dies_at: usize,
    after_effect: bool,
}

impl Mortal {
    /// A store that dies at write `dies_at`, counted from 0.
    pub(crate) fn new(inner: Arc<MemoryStore>, dies_at: usize, after_effect: bool) -> Self {
        Self { inner, writes: AtomicUsize::new(0), dies_at, after_effect }
    }

    /// Whether this write takes effect, and whether its caller lives to see it.
    fn fate(&self) -> (bool, bool) {
        let place = self.writes.fetch_add(1, Ordering::Relaxed);
        (place < self.dies_at || (place == self.dies_at && self.after_effect), place < self.dies_at)
    }
}

impl Store for Mortal {
    type Error = Killed;

    async fn open(&self, resource_type: &str, limit: usize) -> Result<Vec<Partition>, Killed> {
        self.inner.open(resource_type, limit).await.map_err(|_| Killed)
    }

    async fn summary(&self, resource_type: &str) -> Result<Summary, Killed> {
        self.inner.summary(resource_type).await.map_err(|_| Killed)
    }

    async fn wanted(&self, resource_type: &str, limit: usize) -> Result<Vec<String>, Killed> {
        self.inner.wanted(resource_type, limit).await.map_err(|_| Killed)
    }

    async fn add_partitions(&self, parent: Option<Parent>, new: Vec<Partition>) -> Result<(), Killed> {
        let (effect, lives) = self.fate();
        if effect {
            self.inner.add_partitions(parent, new).await.map_err(|_| Killed)?;
        }
        lives.then_some(()).ok_or(Killed)
    }

    async fn take(&self, page: PageCommit) -> Result<Pending<Killed>, Killed> {
        let (effect, lives) = self.fate();
        let mut counts = PageCounts::default();
        if effect {
            counts = self.inner.commit(page).await.map_err(|_| Killed)?;
        }
        // Whoever waits for it hears of the death, not who hands it in.
        Ok(std::future::ready(lives.then_some(counts).ok_or(Killed)).boxed())
    }

    async fn close(&self, key: &PartitionKey, end: Option<EndedBy>, detail: Option<String>) -> Result<(), Killed> {
        let (effect, lives) = self.fate();
        if effect {
            self.inner.close(key, end, detail).await.map_err(|_| Killed)?;
        }
        lives.then_some(()).ok_or(Killed)
    }

    async fn counts(&self, resource_type: &str) -> Result<TypeCounts, Killed> {
        self.inner.counts(resource_type).await.map_err(|_| Killed)
    }

    async fn not_held(&self, resource_type: &str, ids: Vec<String>) -> Result<Vec<String>, Killed> {
        self.inner.not_held(resource_type, ids).await.map_err(|_| Killed)
    }

    async fn ids(&self, resource_type: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>, Killed> {
        self.inner.ids(resource_type, after, limit).await.map_err(|_| Killed)
    }
}
