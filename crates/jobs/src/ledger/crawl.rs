//! The ledger of one crawl in progress: partitions with their cursors and how much of each archive file is committed,
//! in a database, and the ids already held, in an index beside it. One thread owns the database and the files; pages that wait for it together are
//! committed together.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    thread::JoinHandle,
};

use camino::{Utf8Path, Utf8PathBuf};
use fhirvest_crawler::{
    ending::EndedBy,
    store::{PageCommit, PageCounts, Parent, Partition, PartitionKey, Pending, Store, Summary, TypeCounts},
};
use fhirvest_lake::archive::ArchiveWriter;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::LedgerError;

mod held;
mod index;
mod page;
mod partitions;
mod recovery;

use index::Index;

pub use held::{Held, Stamps};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS partition (
  key TEXT PRIMARY KEY,
  place INTEGER NOT NULL UNIQUE,
  resource_type TEXT NOT NULL,
  bucket TEXT NOT NULL,
  kind TEXT NOT NULL,
  cursor TEXT,
  ended_by TEXT,
  detail TEXT,
  pages INTEGER NOT NULL DEFAULT 0,
  server_total INTEGER,
  restarts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS partition_open ON partition (resource_type, place) WHERE ended_by IS NULL;
CREATE TABLE IF NOT EXISTS wanted (
  resource_type TEXT NOT NULL,
  id TEXT NOT NULL,
  asked INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (resource_type, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS wanted_unasked ON wanted (resource_type, id) WHERE asked = 0;
CREATE TABLE IF NOT EXISTS trail (
  partition TEXT NOT NULL,
  page INTEGER NOT NULL,
  url_hash INTEGER NOT NULL,
  PRIMARY KEY (partition, page)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS resource_type (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  committed_bytes INTEGER NOT NULL DEFAULT 0,
  lines INTEGER NOT NULL DEFAULT 0,
  received INTEGER NOT NULL DEFAULT 0,
  archived INTEGER NOT NULL DEFAULT 0,
  duplicates INTEGER NOT NULL DEFAULT 0,
  variants INTEGER NOT NULL DEFAULT 0,
  quarantined INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS index_run (
  number INTEGER PRIMARY KEY,
  level INTEGER NOT NULL,
  hash BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS index_cover (
  type INTEGER PRIMARY KEY,
  lines INTEGER NOT NULL,
  bytes INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS variant (
  type INTEGER NOT NULL,
  id TEXT NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (type, id, hash)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS superseded (
  type INTEGER NOT NULL,
  line INTEGER NOT NULL,
  PRIMARY KEY (type, line)
) WITHOUT ROWID;
";

/// The name under which the quarantine is kept beside the resource types.
pub(crate) const QUARANTINE: &str = "quarantine";

/// Requests that may wait for the writing thread. Each holds at most one page, so this bounds the memory too.
const QUEUE: usize = 16;

/// What is known of one growing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileCounts {
    /// Its lines.
    pub lines: u64,
    /// What has been received of its type.
    pub received: TypeCounts,
}

/// A line of an archive file that a newer variant of the same resource replaces.
pub type Superseded = (String, u64);

/// A page and who waits for its commit.
type WaitingPage = (Box<page::Prepared>, oneshot::Sender<Result<PageCounts, LedgerError>>);

enum Request {
    Open(String, usize, oneshot::Sender<Result<Vec<Partition>, LedgerError>>),
    Summary(String, oneshot::Sender<Result<Summary, LedgerError>>),
    Wanted(String, usize, oneshot::Sender<Result<Vec<String>, LedgerError>>),
    Add(Option<Parent>, Vec<Partition>, oneshot::Sender<Result<(), LedgerError>>),
    Commit(Box<page::Prepared>, oneshot::Sender<Result<PageCounts, LedgerError>>),
    Close(PartitionKey, Option<EndedBy>, Option<String>, oneshot::Sender<Result<(), LedgerError>>),
    Ids(String, Option<String>, usize, oneshot::Sender<Result<Vec<String>, LedgerError>>),
    NotHeld(String, Vec<String>, oneshot::Sender<Result<Vec<String>, LedgerError>>),
    Totals(oneshot::Sender<Result<BTreeMap<String, FileCounts>, LedgerError>>),
    Superseded(oneshot::Sender<Result<Vec<Superseded>, LedgerError>>),
}

/// Keeps the pages of one crawl: the ledger's side of the crawler's [`Store`].
#[derive(Debug)]
pub struct CrawlStore {
    requests: mpsc::Sender<Request>,
    worker: Option<JoinHandle<()>>,
}

impl CrawlStore {
    /// Opens the crawl of a run in its folder, where its database and its growing archive files are; whatever a file
    /// holds beyond what was committed is cut off. Resources of other types than `types` go to the quarantine; references
    /// to the types of `watched` are noted, so that what they lead to can be read.
    ///
    /// # Errors
    /// The database or a file cannot be opened, or a file is shorter than what was committed.
    pub fn open(folder: &Utf8Path, types: &BTreeSet<String>, watched: &BTreeSet<String>) -> Result<Self, LedgerError> {
        let worker = Worker::open(folder, types, watched)?;
        let (requests, queue) = mpsc::channel(QUEUE);
        let worker = std::thread::Builder::new()
            .name("archive".into())
            .spawn(move || worker.serve(queue))
            .map_err(|source| LedgerError::Thread { source })?;
        Ok(Self { requests, worker: Some(worker) })
    }

    /// The growing archive file of a type.
    #[must_use]
    pub fn staged(folder: &Utf8Path, resource_type: &str) -> Utf8PathBuf {
        folder.join("archive").join(format!("{resource_type}.ndjson.zst"))
    }

    /// What has been received, by resource type; the quarantine's lines under `quarantine`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn totals(&self) -> Result<BTreeMap<String, FileCounts>, LedgerError> {
        self.ask(Request::Totals).await
    }

    /// The lines that newer variants replace.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn superseded(&self) -> Result<Vec<Superseded>, LedgerError> {
        self.ask(Request::Superseded).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, LedgerError>>) -> Request,
    ) -> Result<T, LedgerError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| LedgerError::Stopped)?;
        answer.await.map_err(|_| LedgerError::Stopped)?
    }
}

impl Drop for CrawlStore {
    /// Waits for the thread, so that the files are closed when the store is gone.
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel(1);
        self.requests = closed;
        if let Some(worker) = self.worker.take() {
            // A panic there has already been printed; here is nobody to tell.
            let _ = worker.join();
        }
    }
}

impl Store for CrawlStore {
    type Error = LedgerError;

    async fn open(&self, resource_type: &str, limit: usize) -> Result<Vec<Partition>, LedgerError> {
        let name = resource_type.to_owned();
        self.ask(|reply| Request::Open(name, limit, reply)).await
    }

    async fn summary(&self, resource_type: &str) -> Result<Summary, LedgerError> {
        let name = resource_type.to_owned();
        self.ask(|reply| Request::Summary(name, reply)).await
    }

    async fn wanted(&self, resource_type: &str, limit: usize) -> Result<Vec<String>, LedgerError> {
        let name = resource_type.to_owned();
        self.ask(|reply| Request::Wanted(name, limit, reply)).await
    }

    async fn add_partitions(&self, parent: Option<Parent>, partitions: Vec<Partition>) -> Result<(), LedgerError> {
        self.ask(|reply| Request::Add(parent, partitions, reply)).await
    }

    async fn take(&self, page: PageCommit) -> Result<Pending<LedgerError>, LedgerError> {
        // On a thread of its own: the writing thread has enough to do, and others may fetch meanwhile.
        let prepared = tokio::task::spawn_blocking(move || page::Prepared::new(page)).await;
        let prepared = prepared.map_err(|_| LedgerError::Stopped)?;
        let (reply, answer) = oneshot::channel();
        let request = Request::Commit(Box::new(prepared), reply);
        self.requests.send(request).await.map_err(|_| LedgerError::Stopped)?;
        Ok(Box::pin(async { answer.await.map_err(|_| LedgerError::Stopped)? }))
    }

    async fn close(
        &self,
        partition: &PartitionKey,
        ended_by: Option<EndedBy>,
        detail: Option<String>,
    ) -> Result<(), LedgerError> {
        let partition = partition.clone();
        self.ask(|reply| Request::Close(partition, ended_by, detail, reply)).await
    }

    async fn counts(&self, resource_type: &str) -> Result<TypeCounts, LedgerError> {
        let totals = self.totals().await?;
        Ok(totals.get(resource_type).map(|file| file.received).unwrap_or_default())
    }

    async fn ids(&self, resource_type: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>, LedgerError> {
        let (name, after) = (resource_type.to_owned(), after.map(ToOwned::to_owned));
        self.ask(|reply| Request::Ids(name, after, limit, reply)).await
    }

    async fn not_held(&self, resource_type: &str, ids: Vec<String>) -> Result<Vec<String>, LedgerError> {
        let name = resource_type.to_owned();
        self.ask(|reply| Request::NotHeld(name, ids, reply)).await
    }
}

struct Worker {
    connection: Connection,
    path: Utf8PathBuf,
    files: Files,
}

/// The growing files of the run, and what is known of each.
struct Files {
    folder: Utf8PathBuf,
    requested: BTreeSet<String>,
    watched: BTreeSet<String>,
    open: BTreeMap<String, OpenFile>,
    index: Index,
}

struct OpenFile {
    number: u32,
    writer: ArchiveWriter,
    counts: FileCounts,
    touched: bool,
}

impl Worker {
    fn open(folder: &Utf8Path, types: &BTreeSet<String>, watched: &BTreeSet<String>) -> Result<Self, LedgerError> {
        let path = folder.join("crawl.sqlite");
        let archive = folder.join("archive");
        fhirvest_lake::durable::create_dir(&archive)?;
        let open = || {
            let connection = super::open(&path)?;
            connection.execute_batch(SCHEMA)?;
            Ok(connection)
        };
        let mut connection = open().map_err(|source| LedgerError::Sqlite { path: path.clone(), source })?;
        let mut prepare = || {
            // The files first: what was not committed is no part of what the index is made from.
            let open = Files::reopen(folder, &connection)?;
            let index = recovery::open(&mut connection, folder)?;
            let (requested, watched) = (types.clone(), watched.clone());
            Ok(Files { folder: folder.to_owned(), requested, watched, open, index })
        };
        let files = prepare().map_err(|error: CrawlError| error.told(&path))?;
        Ok(Self { connection, path, files })
    }

    /// Serves until nobody asks any more. After an error nothing more is committed: what the files hold beyond the
    /// last commit is cut off when the run is resumed.
    fn serve(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut batch = Vec::with_capacity(QUEUE);
        while let Some(first) = queue.blocking_recv() {
            batch.push(first);
            while batch.len() < QUEUE {
                match queue.try_recv() {
                    Ok(next) => batch.push(next),
                    Err(_) => break,
                }
            }
            if !self.answer(&mut batch) {
                return;
            }
        }
    }

    /// Answers a batch; pages next to each other share one commit. `false` after an error of the files or database.
    fn answer(&mut self, batch: &mut Vec<Request>) -> bool {
        let mut pages = Vec::new();
        for request in batch.drain(..) {
            match request {
                Request::Commit(page, reply) => pages.push((page, reply)),
                other => {
                    if !self.answer_pages(&mut pages) {
                        return false;
                    }
                    self.answer_one(other);
                }
            }
        }
        self.answer_pages(&mut pages)
    }

    fn answer_pages(&mut self, pages: &mut Vec<WaitingPage>) -> bool {
        if pages.is_empty() {
            return true;
        }
        let commits: Vec<&page::Prepared> = pages.iter().map(|(page, _)| page.as_ref()).collect();
        match page::commit(&mut self.connection, &mut self.files, &commits) {
            Ok(counts) => {
                for ((_, reply), counts) in pages.drain(..).zip(counts) {
                    // Nobody waits for it any more when the crawl was cancelled; the commit stands.
                    let _ = reply.send(Ok(counts));
                }
                true
            }
            Err(error) => {
                let mut error = Some(self.told(error));
                for (_, reply) in pages.drain(..) {
                    let _ = reply.send(Err(error.take().unwrap_or(LedgerError::Stopped)));
                }
                false
            }
        }
    }

    fn answer_one(&mut self, request: Request) {
        match request {
            Request::Open(resource_type, limit, reply) => {
                let found = partitions::open(&self.connection, &resource_type, limit);
                let _ = reply.send(found.map_err(|error| self.told(error)));
            }
            Request::Summary(resource_type, reply) => {
                let found = partitions::summary(&self.connection, &self.files, &resource_type);
                let _ = reply.send(found.map_err(|error| self.told(error)));
            }
            Request::Wanted(resource_type, limit, reply) => {
                let found = partitions::wanted(&mut self.connection, &self.files, &resource_type, limit);
                let _ = reply.send(found.map_err(|error| self.told(error)));
            }
            Request::Add(parent, new, reply) => {
                let added = partitions::add(&mut self.connection, parent.as_ref(), &new);
                let _ = reply.send(added.map_err(|error| self.told(error)));
            }
            Request::Close(key, ended_by, detail, reply) => {
                let closed = partitions::close(&mut self.connection, &key, ended_by, detail.as_deref());
                let _ = reply.send(closed.map_err(|error| self.told(error)));
            }
            Request::Ids(resource_type, after, limit, reply) => {
                let found = partitions::ids(&mut self.files, &resource_type, after.as_deref(), limit);
                let _ = reply.send(found.map_err(|error| self.told(error)));
            }
            Request::NotHeld(resource_type, ids, reply) => {
                let found = partitions::of_these_not_held(&self.files, &resource_type, ids);
                let _ = reply.send(found.map_err(|error| self.told(error)));
            }
            Request::Totals(reply) => {
                let totals = self.files.open.iter().map(|(name, file)| (name.clone(), file.counts)).collect();
                let _ = reply.send(Ok(totals));
            }
            Request::Superseded(reply) => {
                let found = partitions::superseded(&self.connection);
                let _ = reply.send(found.map_err(|error| self.told(error)));
            }
            // Pages never come here: `answer` gathers them.
            Request::Commit(..) => {}
        }
    }

    fn told(&self, error: CrawlError) -> LedgerError {
        error.told(&self.path)
    }
}

/// An error inside the worker, before the path of the database is added to it.
#[derive(Debug)]
enum CrawlError {
    Sqlite(rusqlite::Error),
    Archive(fhirvest_lake::LakeError),
    Index(std::io::Error),
    Unreadable(String),
}

impl CrawlError {
    fn told(self, path: &Utf8Path) -> LedgerError {
        let path = path.to_owned();
        match self {
            Self::Sqlite(source) => LedgerError::Sqlite { path, source },
            Self::Archive(source) => LedgerError::Archive { source },
            Self::Index(source) => LedgerError::Index { path, source },
            Self::Unreadable(what) => LedgerError::Unreadable { path, what },
        }
    }
}

impl From<rusqlite::Error> for CrawlError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<fhirvest_lake::LakeError> for CrawlError {
    fn from(error: fhirvest_lake::LakeError) -> Self {
        Self::Archive(error)
    }
}

impl Files {
    /// Opens the file of every type that the database knows, at the length that was committed.
    fn reopen(folder: &Utf8Path, connection: &Connection) -> Result<BTreeMap<String, OpenFile>, CrawlError> {
        let mut open = BTreeMap::new();
        let mut statement = connection.prepare(
            "SELECT name, number, committed_bytes, lines, received, archived, duplicates, variants, quarantined FROM resource_type",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let count = |column: usize| row.get::<_, i64>(column).map(i64::unsigned_abs);
            let name: String = row.get(0)?;
            let received = TypeCounts {
                received: count(4)?,
                archived: count(5)?,
                duplicates: count(6)?,
                variants: count(7)?,
                quarantined: count(8)?,
            };
            let counts = FileCounts { lines: count(3)?, received };
            let writer = ArchiveWriter::open(&CrawlStore::staged(folder, &name), count(2)?)?;
            open.insert(name, OpenFile { number: row.get(1)?, writer, counts, touched: false });
        }
        Ok(open)
    }

    /// The number of a type, where something of it has come.
    fn number(&self, resource_type: &str) -> Option<u32> {
        self.open.get(resource_type).map(|file| file.number)
    }

    /// The file of a type, begun if there is none yet.
    fn of(&mut self, connection: &Connection, name: &str) -> Result<&mut OpenFile, CrawlError> {
        if !self.open.contains_key(name) {
            connection.execute("INSERT INTO resource_type (name) VALUES (?1)", [name])?;
            let number = u32::try_from(connection.last_insert_rowid())
                .map_err(|_| CrawlError::Unreadable("more types than there are numbers".into()))?;
            let writer = ArchiveWriter::open(&CrawlStore::staged(&self.folder, name), 0)?;
            let file = OpenFile { number, writer, counts: FileCounts::default(), touched: true };
            self.open.insert(name.to_owned(), file);
        }
        self.open.get_mut(name).ok_or_else(|| CrawlError::Unreadable(format!("no file for {name}")))
    }
}

fn ended_by(text: &str) -> Result<EndedBy, CrawlError> {
    EndedBy::from_str(text).map_err(|_| CrawlError::Unreadable(format!("the ending {text:?}")))
}
