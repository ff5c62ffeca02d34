//! A lake in an object store, as this machine works on it: a local folder with the same layout, brought up to date before
//! a run begins and again before it publishes, and uploaded after. The manifest's conditional write decides between
//! machines; whoever comes too late makes its tables again from its own archive, on top of what the other published.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use fhirvest_lake::{
    Lake, LakeError, Lock,
    changes::SEEN,
    durable,
    remote::{Current, Manifest, Object, Remote, RemoteError},
};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    config::{EncryptionConfig, Settings},
    ledger::{Ledger, RunState, Unpublished},
    retention::{self, Keep, Pruned},
    run::{RunError, TableReport, TableState},
};

/// Files that go to or come from the store at once.
const TRANSFERS: usize = 4;
/// Objects that no manifest names are swept away at this age: until then they may be an upload that is under way.
const SWEEP_AFTER: chrono::Duration = chrono::Duration::hours(24);
/// What this working folder is and has, below the lake's folder. None of it is uploaded.
const OWN: &str = ".fhirvest/mirror";
/// The file that says what kind of data the lake holds.
const DESCRIPTION: &str = ".fhirvest/lake.json";
/// Two looks at a lock that another process of this machine holds for as long as it uploads.
const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_millis(200);

/// The working folder of a lake in an object store.
#[derive(Debug)]
pub struct Mirror {
    remote: Remote,
    lake: Lake,
    current: Option<Current>,
}

/// Held while the working folder is brought up to date or uploaded.
#[derive(Debug)]
pub struct Turn {
    _lock: Lock,
}

impl Mirror {
    /// The working folder of a job's lake, if that is in an object store. Nothing is asked yet.
    ///
    /// # Errors
    /// The lake's address cannot be used.
    pub fn of(settings: &Settings) -> Result<Option<Self>, RunError> {
        if !Remote::is_url(&settings.lake) {
            return Ok(None);
        }
        let remote = Remote::open(&settings.lake, std::env::vars())?;
        Ok(Some(Self { lake: folder(settings), remote, current: None }))
    }

    /// The lake as this machine works on it.
    #[must_use]
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Waits until no other process of this machine changes the working folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub async fn turn(&self) -> Result<Turn, RunError> {
        // No analyst looks in here.
        durable::create_private_dir(self.lake.root())?;
        durable::create_dir(&self.lake.root().join(".fhirvest/locks"))?;
        loop {
            match self.lake.lock("mirror") {
                Ok(lock) => return Ok(Turn { _lock: lock }),
                Err(LakeError::Locked { .. }) => tokio::time::sleep(BETWEEN_LOOKS).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Brings the working folder up to date: the shared ledger is taken over, and every file comes that a run needs.
    /// Tables and archives stay in the store.
    ///
    /// # Errors
    /// The store refuses, or the working folder cannot be written.
    pub async fn pull(&mut self, _turn: &Turn) -> Result<(), RunError> {
        durable::create_dir(&self.own())?;
        self.current = self.remote.manifest().await?;
        self.same_kind().await?;
        let shared = self.own().join("shared.sqlite");
        remove_file(&shared)?;
        if let Some(current) = &self.current {
            let ledger = self.remote.object(&current.manifest.ledger).await?;
            durable::write_atomically(&shared, &ledger)?;
            self.remote.settle_views().await?;
        }
        let mut ledger = Ledger::open(&self.lake.ledger_path())?;
        for unpublished in ledger.take_over(&shared)? {
            tracing::warn!(run = unpublished.run, "this run is not in the store yet: its tables are published again");
            self.forget(&unpublished)?;
        }
        drop(ledger);
        let wanted = self
            .files()
            .iter()
            .filter(|(name, _)| is_needed(name))
            .map(|(name, object)| (name.clone(), object.clone()));
        self.fetch(wanted.collect()).await
    }

    /// A working folder of sensitive data is none of a public lake, and the reverse; and its tables have one key.
    async fn same_kind(&self) -> Result<(), RunError> {
        let path = self.lake.description();
        let Some(shared) = self.files().get(DESCRIPTION).filter(|_| path.exists()) else { return Ok(()) };
        if durable::hash_file(&path)?.1 == shared.blake3 {
            return Ok(());
        }
        Ok(self.lake.check_description(&self.remote.object(shared).await?)?)
    }

    /// Downloads the archive of a run, to read it again.
    ///
    /// # Errors
    /// As [`Mirror::pull`].
    pub async fn fetch_archive(&self, run: &str) -> Result<(), RunError> {
        let of_run = format!("/run={run}/");
        let wanted = self.files().iter().filter(|(name, _)| name.starts_with("archive/") && name.contains(&of_run));
        self.fetch(wanted.map(|(name, object)| (name.clone(), object.clone())).collect()).await
    }

    /// Whether a new run has its name for itself: two machines may begin one within the same second.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn claim(&self, run: &str) -> Result<bool, RunError> {
        let path = self.own().join("owner");
        if !path.exists() {
            durable::write_once(&path, unique().as_bytes())?;
        }
        let owner = read(&path)?;
        Ok(self.remote.claim(run, &owner).await?)
    }

    /// Uploads what is new and makes it the lake, in one step.
    ///
    /// # Errors
    /// [`RemoteError::Conflict`] where somebody else published since [`Mirror::pull`]: nothing has changed then.
    pub async fn push(&mut self, _turn: &Turn, now: DateTime<Utc>) -> Result<(), RunError> {
        let ledger = Ledger::open(&self.lake.ledger_path())?;
        let known = self.known(&ledger)?;
        let mut files = self.files().clone();
        // What the ledger has forgotten is pruned: its objects are swept away.
        files.retain(|name, _| is_published(name, &known));
        let local = self.local_files()?.into_iter();
        let new: Vec<String> = local.filter(|name| is_published(name, &known) && !files.contains_key(name)).collect();
        let uploads = stream::iter(new.into_iter().map(|name| self.upload(name))).buffer_unordered(TRANSFERS);
        files.extend(uploads.try_collect::<Vec<_>>().await?);

        let copy = self.own().join("pushed.sqlite");
        remove_file(&copy)?;
        ledger.copy_finished(&copy)?;
        let ledger = self.remote.upload_object(&copy).await?;
        let views = self.remote.upload_object(&self.lake.views_sql_path()).await?;
        let manifest = Manifest::new(unique(), ledger, views, files);
        self.current = Some(self.remote.commit(&manifest, self.current.as_ref()).await?);
        // From here on the run is published; what follows is done again by whoever comes next.
        let after = async {
            self.remote.settle_views().await?;
            self.remote.sweep(&manifest, now - SWEEP_AFTER).await
        };
        if let Err(error) = after.await {
            tracing::warn!(error = %error, "published, but the store could not be tidied up");
        }
        Ok(())
    }

    async fn upload(&self, name: String) -> Result<(String, Object), RunError> {
        let path = self.lake.root().join(&name);
        let (bytes, blake3) = durable::hash_file(&path)?;
        self.remote.upload(&path, &name).await?;
        tracing::debug!(name, bytes, "uploaded");
        Ok((name, Object { bytes, blake3 }))
    }

    async fn fetch(&self, wanted: Vec<(String, Object)>) -> Result<(), RunError> {
        let missing = wanted.into_iter().map(|(name, object)| (self.lake.root().join(&name), name, object));
        let fetches = missing.filter(|(place, ..)| !place.exists()).map(|(place, name, object)| async move {
            self.remote.download(&name, &object, &place).await.map_err(RunError::from)
        });
        stream::iter(fetches.collect::<Vec<_>>()).buffer_unordered(TRANSFERS).try_collect().await
    }

    /// Removes the local tables of a run whose tables are made again.
    fn forget(&self, one: &Unpublished) -> Result<(), RunError> {
        let tables = self.lake.root().join("tables");
        for table in entries(&tables)? {
            let name = table.file_name().unwrap_or_default();
            let snapshot = self.lake.snapshot_dir(name, &one.source, &one.run);
            if snapshot.exists() {
                std::fs::remove_dir_all(&snapshot).map_err(|source| LakeError::io("remove", &snapshot, source))?;
            }
        }
        Ok(())
    }

    fn files(&self) -> &BTreeMap<String, Object> {
        static NONE: BTreeMap<String, Object> = BTreeMap::new();
        self.current.as_ref().map_or(&NONE, |current| &current.manifest.files)
    }

    fn own(&self) -> Utf8PathBuf {
        self.lake.root().join(OWN)
    }

    /// The folders of snapshots and archives that the ledger knows.
    fn known(&self, ledger: &Ledger) -> Result<BTreeSet<String>, RunError> {
        let snapshots = ledger.all_snapshots()?.into_iter();
        let mut known: BTreeSet<String> = snapshots
            .map(|one| self.lake.below(&self.lake.snapshot_dir(&one.table, &one.source, &one.snapshot)))
            .collect();
        // The archive of a run that is not over is this machine's business.
        let archives = ledger.archived()?.into_iter().filter(|run| run.state == RunState::Finished);
        known.extend(archives.map(|run| self.lake.below(&self.lake.archive_dir(&run.source, &run.run))));
        Ok(known.into_iter().map(|folder| folder.replace('\\', "/")).collect())
    }

    /// Every file below the lake's folder, by its path there.
    fn local_files(&self) -> Result<Vec<String>, RunError> {
        let root = self.lake.root();
        let (mut folders, mut files) = (vec![root.to_owned()], Vec::new());
        while let Some(folder) = folders.pop() {
            for path in entries(&folder)? {
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(name) = path.strip_prefix(root) {
                    files.push(name.as_str().replace('\\', "/"));
                }
            }
        }
        Ok(files)
    }
}

/// Whether a file is part of the lake: one in a folder that the ledger knows, or the description of the lake.
fn is_published(name: &str, known: &BTreeSet<String>) -> bool {
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    name == DESCRIPTION || (known.contains(folder) && !file.starts_with('.') && !file.ends_with(".part"))
}

/// Whether a run needs a file of the lake: what it says of itself, and what was seen of each resource, to compare with.
fn is_needed(name: &str) -> bool {
    name == DESCRIPTION || name.strip_prefix("tables/").is_some_and(|name| name.starts_with(SEEN))
}

/// A folder's name for an address: what can be read of it, and what tells it from every other.
fn folder_name(url: &str) -> String {
    let words = url.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let hash = blake3::hash(url.as_bytes()).to_hex();
    format!("{}-{}", words.collect::<Vec<_>>().join("-"), &hash[..8])
}

/// A name that nobody else has: two random numbers of 64 bits.
fn unique() -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", random(), random())
}

fn read(path: &Utf8Path) -> Result<String, RunError> {
    std::fs::read_to_string(path).map_err(|source| LakeError::io("read", path, source).into())
}

fn remove_file(path: &Utf8Path) -> Result<(), RunError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(LakeError::io("remove", path, error).into()),
        _ => Ok(()),
    }
}

fn entries(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>, RunError> {
    let failed = |source| LakeError::io("list", folder, source);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let found = folder.read_dir_utf8().map_err(failed)?;
    Ok(found.map(|entry| entry.map(|entry| entry.into_path())).collect::<Result<_, _>>().map_err(failed)?)
}

/// Whether a lake is in an object store.
pub(crate) fn is_remote(settings: &Settings) -> bool {
    Remote::is_url(&settings.lake)
}

/// The local folder of a lake: itself, or where one in an object store is worked on. Nothing is asked, so of the latter it
/// holds what this machine last knew.
#[must_use]
pub fn folder(settings: &Settings) -> Lake {
    if !Remote::is_url(&settings.lake) {
        return Lake::at(Utf8Path::new(&settings.lake));
    }
    let url = settings.lake.trim_end_matches('/');
    Lake::mirror(&Utf8Path::new(&settings.work_dir).join(folder_name(url)), url)
}

/// The lake of some settings, to look into: one in an object store is brought up to date first.
///
/// # Errors
/// As [`Mirror::pull`].
pub async fn lake(settings: &Settings) -> Result<Lake, RunError> {
    let Some(mut mirror) = Mirror::of(settings)? else { return Ok(folder(settings)) };
    let turn = mirror.turn().await?;
    mirror.pull(&turn).await?;
    Ok(mirror.lake)
}

/// As [`lake`], with the tables that a run published and, where it held some back, its archive: what its report is made of.
///
/// # Errors
/// As [`Mirror::pull`]; there is no such run, or it is not over; an object is gone or damaged; the tables are encrypted
/// with another key than the configuration leads to.
pub async fn lake_of_run(settings: &Settings, run: &str) -> Result<Lake, RunError> {
    let Some(mut mirror) = Mirror::of(settings)? else { return unlocked(folder(settings), settings) };
    let turn = mirror.turn().await?;
    mirror.pull(&turn).await?;
    let report = crate::report::of_run(&Ledger::open(&mirror.lake.ledger_path())?, run)?;
    let (held, shown): (Vec<_>, Vec<_>) = report.tables.iter().partition(|table| table.state == TableState::Held);
    let snapshot = |table: &TableReport| {
        let name = table.snapshot.as_deref().unwrap_or(&report.run);
        format!("{}/", mirror.lake.below(&mirror.lake.snapshot_dir(&table.table, &report.source, name)))
    };
    let folders: Vec<String> = shown.into_iter().map(snapshot).collect();
    let of_tables = |name: &str| folders.iter().any(|folder| name.starts_with(folder.as_str()));
    let wanted = mirror.files().iter().filter(|(name, _)| of_tables(name));
    mirror.fetch(wanted.map(|(name, object)| (name.clone(), object.clone())).collect()).await?;
    if !held.is_empty() {
        mirror.fetch_archive(report.archive_run.as_deref().unwrap_or(&report.run)).await?;
    }
    unlocked(mirror.lake, settings)
}

/// The lake with the key of its tables, where they are encrypted.
fn unlocked(lake: Lake, settings: &Settings) -> Result<Lake, RunError> {
    if !lake.encrypted()? {
        return Ok(lake);
    }
    let lake = lake.with_key(settings.encryption.as_ref().map(EncryptionConfig::table_key).transpose()?);
    lake.check_key()?;
    Ok(lake)
}

/// The lake of some settings with every file: of one in an object store all are downloaded that are not here yet, and each
/// is compared with its hash on the way.
///
/// # Errors
/// As [`Mirror::pull`]; an object is gone or damaged.
pub async fn whole(settings: &Settings) -> Result<Lake, RunError> {
    let Some(mut mirror) = Mirror::of(settings)? else { return Ok(folder(settings)) };
    let turn = mirror.turn().await?;
    mirror.pull(&turn).await?;
    mirror.fetch(mirror.files().clone().into_iter().collect()).await?;
    Ok(mirror.lake)
}

/// Removes what is no longer kept of a lake in an object store.
///
/// # Errors
/// The store refuses, or somebody else published at the same time: then the same command may be given again.
pub async fn prune(
    settings: &Settings,
    keep: impl Fn(&str) -> Keep,
    now: DateTime<Utc>,
    dry_run: bool,
) -> Result<Option<Pruned>, RunError> {
    let Some(mut mirror) = Mirror::of(settings)? else { return Ok(None) };
    let turn = mirror.turn().await?;
    mirror.pull(&turn).await?;
    let mut pruned = retention::prune(&mirror.lake, keep, now, dry_run)?;
    pruned.lake = mirror.remote.url().to_owned();
    if !dry_run {
        mirror.push(&turn, now).await?;
    }
    Ok(Some(pruned))
}

/// Whether an error says that somebody else published at the same time.
#[must_use]
pub(crate) fn is_conflict(error: &RunError) -> bool {
    matches!(error, RunError::Remote(RemoteError::Conflict { .. }))
}
