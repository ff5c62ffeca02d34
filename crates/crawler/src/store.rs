//! The seam between the crawl and what keeps its results: one commit per page, holding the resources, the accounting
//! and the cursor that follows, so that a crash loses at most the page in flight and nothing is kept twice.

use std::future::Future;

use bytes::Bytes;
use fhirvest_fhir::bundle::Entry;
use futures_util::future::BoxFuture;

use crate::{ending::EndedBy, strategy::Bucket};

/// Identifies a partition within one run: stable over restarts, unique over the whole run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct PartitionKey(pub String);

impl PartitionKey {
    /// The key for logs. Where it is `discreet`, without ids and values: `Observation/value=…`.
    #[must_use]
    pub fn shown(&self, discreet: bool) -> String {
        match self.0.split_once('=') {
            Some((kind, _)) if discreet => format!("{kind}=…"),
            _ => self.0.clone(),
        }
    }
}

/// One search of the crawl with its own cursor and its own ending, as the store remembers it.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    /// Stable key, e.g. `Practitioner/all` or `Location/value=PA`.
    pub key: PartitionKey,
    /// The resource type whose matches this partition enumerates.
    pub resource_type: String,
    /// The share of the type that it asks for.
    pub bucket: Bucket,
    /// Where it stands.
    pub progress: Progress,
}

impl Partition {
    /// A partition that has not begun.
    #[must_use]
    pub fn new(resource_type: &str, bucket: Bucket) -> Self {
        let key = PartitionKey(format!("{resource_type}/{}", bucket.key()));
        Self { key, resource_type: resource_type.to_owned(), bucket, progress: Progress::default() }
    }
}

/// What becomes of the partition that others are made from.
#[derive(Debug, Clone, PartialEq)]
pub enum Parent {
    /// It is over: the new ones go on in its place.
    Split(PartitionKey),
    /// It has handed these out, and stays as this share.
    Feed(PartitionKey, Bucket),
}

/// What the partitions of a type have come to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Partitions, whatever their state.
    pub partitions: u64,
    /// Those that are not over.
    pub open: u64,
    /// Pages committed.
    pub pages: u64,
    /// How those that are over ended.
    pub endings: Vec<EndedBy>,
    /// The server's count: of the whole type where it was asked for that, else the sum over the searches that were not
    /// split.
    pub server_total: Option<u64>,
    /// Whether that count is the server's word on the whole type, and no sum.
    pub counted_whole: bool,
    /// Whether one of the partitions asks for everything.
    pub whole_search: bool,
    /// What the first partition that did not end well says.
    pub detail: Option<String>,
    /// Resources of the type that others refer to, that were asked for, and that the server does not have.
    pub missing: u64,
}

impl Summary {
    /// Takes over the server's counts: of the whole type, and the sum over the searches that were not split. A zero where
    /// searches have counted something is no count.
    #[must_use]
    pub fn counted(self, whole: Option<u64>, sum: Option<u64>) -> Self {
        let whole = whole.filter(|whole| *whole > 0 || sum.is_none_or(|sum| sum == 0));
        Self { counted_whole: whole.is_some(), server_total: whole.or(sum), ..self }
    }
}

/// How far a partition has come.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// The next request, relative to the base URL where it lies under it; `None` before the first page or after the end.
    pub cursor: Option<String>,
    /// Why it ended; `None` while it is open.
    pub ended_by: Option<EndedBy>,
    /// Pages committed.
    pub pages: u64,
    /// Matches the server said there are (`Bundle.total`), the largest seen.
    pub server_total: Option<u64>,
    /// Times this partition was started anew after a lost cursor.
    pub restarts: u32,
    /// Normalised URLs already followed, newest last (bounded by the page limit), to see a cycle after a resume.
    pub trail: Vec<u64>,
}

/// What follows a page.
#[derive(Debug, Clone, PartialEq)]
pub enum After {
    /// Another request, relative to the base URL where it lies under it.
    Next(String),
    /// The partition is over, for this reason.
    End(EndedBy),
    /// The partition is over; these go on in its place.
    Split(Vec<Partition>),
}

/// One page to be kept in one commit.
#[derive(Debug, Clone)]
pub struct PageCommit {
    /// The partition it belongs to.
    pub partition: PartitionKey,
    /// The page as received, decompressed. `entries` hold ranges into it.
    pub body: Bytes,
    /// Every entry that holds a resource, OperationOutcomes left out; those with `fault` go to the quarantine.
    pub entries: Vec<Entry>,
    /// `Bundle.total` where given.
    pub total: Option<u64>,
    /// What follows.
    pub after: After,
    /// Hash of the normalised URL of this page, appended to the trail.
    pub url_hash: u64,
}

/// What became of the entries of one page: `received = archived + duplicates + variants + quarantined`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct PageCounts {
    /// Entries with a resource.
    pub received: u64,
    /// New ids, now archived.
    pub archived: u64,
    /// Same id, same content as one already archived.
    pub duplicates: u64,
    /// Same id, other content: archived too, the older one marked as superseded.
    pub variants: u64,
    /// Unusable (no id, broken text) or of a type the job does not hold; kept in the quarantine with the reason.
    pub quarantined: u64,
    /// New ids among them that are matches of the partition's own type.
    pub new_matches: u64,
}

/// What has been received of one resource type, over all partitions and restarts:
/// `received = archived + duplicates + variants + quarantined`, and the archive has `archived + variants` lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct TypeCounts {
    /// Entries with a resource of this type.
    pub received: u64,
    /// Ids.
    pub archived: u64,
    /// Received again with the same content.
    pub duplicates: u64,
    /// Received again with other content, and archived too.
    pub variants: u64,
    /// Not usable; in the quarantine.
    pub quarantined: u64,
}

/// A page that was taken and is being committed.
pub type Pending<E> = BoxFuture<'static, Result<PageCounts, E>>;

/// What the crawl asks of whoever keeps its results. Two implementations: the ledger and archive of a run, and an
/// in-memory one for tests.
pub trait Store: Send + Sync + 'static {
    /// Its error; any of them stops the run.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The partitions of a type that are not over, in the order they were added, at most `limit` of them.
    fn open(
        &self,
        resource_type: &str,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Partition>, Self::Error>> + Send;

    /// What the partitions of a type have come to.
    fn summary(&self, resource_type: &str) -> impl Future<Output = Result<Summary, Self::Error>> + Send;

    /// Adds partitions (a key already present is left as it is) and does to the one that they come from what `parent`
    /// says, in one commit. Ids that a [`Bucket::Read`] asks for are no longer wanted from then on.
    fn add_partitions(
        &self,
        parent: Option<Parent>,
        partitions: Vec<Partition>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Takes a page, to archive it and to move the cursor in one commit. The outer future is done when the page has its
    /// turn: those of one partition are committed in the order in which they were taken. The inner one is done when the
    /// commit would survive a power cut.
    fn take(&self, page: PageCommit) -> impl Future<Output = Result<Pending<Self::Error>, Self::Error>> + Send;

    /// Takes a page and waits for its commit.
    fn commit(&self, page: PageCommit) -> impl Future<Output = Result<PageCounts, Self::Error>> + Send {
        async { self.take(page).await?.await }
    }

    /// Ends a partition without a page (refused, failed, dead cursor), or starts it anew (`None`: cursor and trail are
    /// cleared and `restarts` goes up by one).
    fn close(
        &self,
        partition: &PartitionKey,
        ended_by: Option<EndedBy>,
        detail: Option<String>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// What has been received of a type so far.
    fn counts(&self, resource_type: &str) -> impl Future<Output = Result<TypeCounts, Self::Error>> + Send;

    /// Ids of archived resources of a type, in id order, after `after`, at most `limit` of them.
    fn ids(
        &self,
        resource_type: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<String>, Self::Error>> + Send;

    /// Those of some ids of which no resource of a type is held. It costs a look for each, however many are held.
    fn not_held(
        &self,
        resource_type: &str,
        ids: Vec<String>,
    ) -> impl Future<Output = Result<Vec<String>, Self::Error>> + Send;

    /// Ids of a type that archived resources refer to, that are not held and were not handed out yet, at most `limit`
    /// of them. Only of types that the store was told to watch for.
    fn wanted(
        &self,
        resource_type: &str,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<String>, Self::Error>> + Send;
}
