//! A lake in an object store. It is worked on in a local folder; what has become of it is then uploaded, and one
//! conditional write of the manifest makes it the lake. The manifest names every object of the lake with its hash. What no
//! manifest names is not part of the lake: the leavings of a killed upload, swept away later.
//!
//! ```text
//! <prefix>/archive/…, tables/…         as in a local lake
//! <prefix>/views.sql                   the views of the manifest that is current, written after it
//! <prefix>/.fhirvest/manifest.json     the one object that is replaced, each time only over the version that was read
//! <prefix>/.fhirvest/objects/<blake3>  the ledger and the views, under their hashes
//! <prefix>/.fhirvest/claims/<run>      which working folder a run belongs to
//! ```

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use object_store::{
    GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion, buffered::BufWriter,
    path::Path,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, BufReader};
use url::Url;

use crate::{durable, error::LakeError};

/// The format of the manifest that this version writes.
const FORMAT: u32 = 1;
const MANIFEST: &str = ".fhirvest/manifest.json";
const OBJECTS: &str = ".fhirvest/objects";
const CLAIMS: &str = ".fhirvest/claims";
/// Where analysts look.
const VIEWS: &str = "views.sql";
/// How often the views are written again because another manifest came in between.
const VIEWS_ATTEMPTS: usize = 5;
/// The beginnings of the variables that the clouds' own tools use.
const VARIABLES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// What can go wrong with an object store.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address of the lake cannot be used.
    #[error("{url} is no place for a lake: s3://bucket/folder, gs://bucket/folder and az://container/folder are")]
    Url {
        /// The address.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store refuses, or cannot be reached.
    #[error("cannot {action} {url}")]
    Store {
        /// What was tried: `read`, `write`, `list`, `remove`.
        action: &'static str,
        /// The object.
        url: String,
        /// Why.
        source: object_store::Error,
    },
    /// Somebody else has replaced the manifest since it was read.
    #[error("somebody else published to {url} at the same time")]
    Conflict {
        /// The lake.
        url: String,
    },
    /// An object is not what the manifest says it is.
    #[error("{url} is damaged: {what}")]
    Damaged {
        /// The object.
        url: String,
        /// How.
        what: String,
    },
    /// A local file.
    #[error(transparent)]
    Lake(#[from] LakeError),
}

/// An object of the lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its size.
    pub bytes: u64,
    /// Its BLAKE3 hash, in hexadecimal.
    pub blake3: String,
}

/// What the lake consists of. Whoever replaces it decides what analysts see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format.
    pub version: u32,
    /// Tells one commit from every other.
    pub commit: String,
    /// The ledger, without runs that are not over.
    pub ledger: Object,
    /// The text of `views.sql`.
    pub views: Object,
    /// Every other file, by its path below the lake's folder.
    pub files: BTreeMap<String, Object>,
}

impl Manifest {
    /// A manifest of this version.
    #[must_use]
    pub fn new(commit: String, ledger: Object, views: Object, files: BTreeMap<String, Object>) -> Self {
        Self { version: FORMAT, commit, ledger, views, files }
    }
}

/// A manifest as it was read, to be replaced only as long as it is the current one.
#[derive(Debug, Clone)]
pub struct Current {
    /// The manifest.
    pub manifest: Manifest,
    version: UpdateVersion,
}

/// A lake in an object store.
#[derive(Debug, Clone)]
pub struct Remote {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    url: String,
}

impl Remote {
    /// Whether a lake's name is the address of an object store.
    #[must_use]
    pub fn is_url(lake: &str) -> bool {
        lake.contains("://")
    }

    /// The lake at an address; nothing is asked yet. Credentials and end points come from the variables that the clouds'
    /// own tools use (`AWS_ACCESS_KEY_ID`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, …).
    ///
    /// # Errors
    /// The address is of no store that this build knows, or the variables do not fit together.
    pub fn open(url: &str, variables: impl Iterator<Item = (String, String)>) -> Result<Self, RemoteError> {
        let url = url.trim_end_matches('/');
        let parsed = Url::parse(url).map_err(|error| RemoteError::Url { url: url.to_owned(), source: error.into() })?;
        // `parse_url_opts` knows local files and plain HTTP too: those are no place for conditional writes.
        if !matches!(parsed.scheme(), "s3" | "s3a" | "gs" | "az" | "azure" | "abfs" | "abfss") {
            let source = "of another kind".into();
            return Err(RemoteError::Url { url: url.to_owned(), source });
        }
        let options = variables.filter(|(name, _)| VARIABLES.iter().any(|known| name.starts_with(known)));
        let (store, prefix) = object_store::parse_url_opts(&parsed, options)
            .map_err(|error| RemoteError::Url { url: url.to_owned(), source: error.into() })?;
        Ok(Self { store: Arc::from(store), prefix, url: url.to_owned() })
    }

    /// The lake in a store that is open already.
    #[must_use]
    pub fn within(store: Arc<dyn ObjectStore>, prefix: Path, url: &str) -> Self {
        Self { store, prefix, url: url.to_owned() }
    }

    /// The lake's address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The current manifest; nothing where there is no lake yet.
    ///
    /// # Errors
    /// The store refuses, or the manifest is not of this format.
    pub async fn manifest(&self) -> Result<Option<Current>, RemoteError> {
        let Some(found) = self.get(MANIFEST).await? else { return Ok(None) };
        let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        let text = found.bytes().await.map_err(|source| self.failed("read", MANIFEST, source))?;
        let manifest: Option<Manifest> = serde_json::from_slice(&text).ok();
        match manifest.filter(|manifest| manifest.version == FORMAT) {
            Some(manifest) => Ok(Some(Current { manifest, version })),
            None => Err(self.damaged(MANIFEST, "it is not of a format that this version knows")),
        }
    }

    /// Makes a manifest the current one, if `over` still is (`None`: if there is none yet). Everything that it names must
    /// have been uploaded. This is the one step that readers and other writers see.
    ///
    /// # Errors
    /// [`RemoteError::Conflict`] where somebody else was first: then nothing has changed.
    pub async fn commit(&self, manifest: &Manifest, over: Option<&Current>) -> Result<Current, RemoteError> {
        let text = serde_json::to_vec(manifest).map_err(|error| self.damaged(MANIFEST, &error.to_string()))?;
        let mode = over.map_or(PutMode::Create, |over| PutMode::Update(over.version.clone()));
        let put = self.put(MANIFEST, text.into(), mode).await;
        // An answer may be lost on its way, and the attempt that follows it is then refused: what is there decides.
        match (put, self.manifest().await) {
            (_, Ok(Some(now))) if now.manifest.commit == manifest.commit => Ok(now),
            // Somebody has already built on it.
            (Ok(version), Ok(_)) => Ok(Current { manifest: manifest.clone(), version }),
            (Ok(version), Err(_)) => Ok(Current { manifest: manifest.clone(), version }),
            (Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }), Ok(_)) => {
                Err(RemoteError::Conflict { url: self.url.clone() })
            }
            (Err(source), _) => Err(self.failed("write", MANIFEST, source)),
        }
    }

    /// Writes `views.sql` as the current manifest has it, and looks again: of several writers the last one to look puts
    /// the newest in place. Does nothing where it is so already.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn settle_views(&self) -> Result<(), RemoteError> {
        for _ in 0..VIEWS_ATTEMPTS {
            let Some(current) = self.manifest().await? else { return Ok(()) };
            let wanted = self.object(&current.manifest.views).await?;
            let there = match self.get(VIEWS).await? {
                Some(found) => Some(found.bytes().await.map_err(|source| self.failed("read", VIEWS, source))?),
                None => None,
            };
            if there.as_ref() == Some(&wanted) {
                return Ok(());
            }
            let put = self.put(VIEWS, wanted, PutMode::Overwrite).await;
            put.map_err(|source| self.failed("write", VIEWS, source))?;
        }
        Ok(())
    }

    /// Says that a run belongs to a working folder; `false` where it belongs to another one.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn claim(&self, run: &str, owner: &str) -> Result<bool, RemoteError> {
        let name = format!("{CLAIMS}/{run}");
        match self.put(&name, Bytes::copy_from_slice(owner.as_bytes()), PutMode::Create).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                let Some(found) = self.get(&name).await? else { return Ok(false) };
                let holder = found.bytes().await.map_err(|source| self.failed("read", &name, source))?;
                Ok(holder == owner.as_bytes())
            }
            Err(source) => Err(self.failed("write", &name, source)),
        }
    }

    /// Uploads a file under its path below the lake's folder.
    ///
    /// # Errors
    /// The file cannot be read, or the store refuses.
    pub async fn upload(&self, file: &Utf8Path, name: &str) -> Result<(), RemoteError> {
        let open = tokio::fs::File::open(file).await;
        let mut reader = BufReader::new(open.map_err(|source| LakeError::io("read", file, source))?);
        let mut writer = BufWriter::new(Arc::clone(&self.store), self.path(name)?);
        let copied = match tokio::io::copy_buf(&mut reader, &mut writer).await {
            Ok(_) => writer.shutdown().await,
            Err(error) => {
                // The parts that are there already are of no use; where even this fails, the bucket's own rules end them.
                let _ = writer.abort().await;
                Err(error)
            }
        };
        copied.map_err(|error| {
            let source = object_store::Error::Generic { store: "lake", source: error.into() };
            self.failed("write", name, source)
        })
    }

    /// Uploads a file under its hash, and says what it is.
    ///
    /// # Errors
    /// As [`Remote::upload`].
    pub async fn upload_object(&self, file: &Utf8Path) -> Result<Object, RemoteError> {
        let (bytes, blake3) = durable::hash_file(file)?;
        self.upload(file, &format!("{OBJECTS}/{blake3}")).await?;
        Ok(Object { bytes, blake3 })
    }

    /// The content of an object that is kept under its hash.
    ///
    /// # Errors
    /// It is gone or damaged.
    pub async fn object(&self, object: &Object) -> Result<Bytes, RemoteError> {
        let name = format!("{OBJECTS}/{}", object.blake3);
        let Some(found) = self.get(&name).await? else { return Err(self.damaged(&name, "it is not there")) };
        let bytes = found.bytes().await.map_err(|source| self.failed("read", &name, source))?;
        if blake3::hash(&bytes).to_hex().as_str() == object.blake3 {
            Ok(bytes)
        } else {
            Err(self.damaged(&name, "its content has another hash than its name says"))
        }
    }

    /// Downloads a file of the lake to its place, whole or not at all.
    ///
    /// # Errors
    /// It is gone or damaged, or the disk is full.
    pub async fn download(&self, name: &str, object: &Object, place: &Utf8Path) -> Result<(), RemoteError> {
        let Some(found) = self.get(name).await? else { return Err(self.damaged(name, "it is not there")) };
        let staged = Utf8PathBuf::from(format!("{place}.part"));
        if let Some(parent) = place.parent() {
            durable::create_dir(parent)?;
        }
        let mut file = tokio::fs::File::from_std(durable::create_file(&staged)?);
        let mut stream = found.into_stream();
        while let Some(bytes) = stream.try_next().await.map_err(|source| self.failed("read", name, source))? {
            file.write_all(&bytes).await.map_err(|source| LakeError::io("write", &staged, source))?;
        }
        file.sync_all().await.map_err(|source| LakeError::io("sync", &staged, source))?;
        drop(file);
        let (bytes, blake3) = durable::hash_file(&staged)?;
        if (bytes, &blake3) != (object.bytes, &object.blake3) {
            return Err(self.damaged(name, "its content has another hash than the manifest says"));
        }
        Ok(durable::move_into_place(&staged, place)?)
    }

    /// Removes what `manifest` does not name and is older than `before`, and says how many objects that were. Younger ones
    /// may be an upload that is under way.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn sweep(&self, manifest: &Manifest, before: DateTime<Utc>) -> Result<usize, RemoteError> {
        let mut kept: Vec<String> =
            [&manifest.ledger, &manifest.views].iter().map(|object| format!("{OBJECTS}/{}", object.blake3)).collect();
        kept.extend([MANIFEST.to_owned(), VIEWS.to_owned()]);
        let mut removed = 0;
        let mut listed = self.store.list(Some(&self.prefix));
        while let Some(meta) = listed.try_next().await.map_err(|source| self.failed("list", "", source))? {
            let Some(parts) = meta.location.prefix_match(&self.prefix) else { continue };
            let name = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
            if meta.last_modified >= before || kept.contains(&name) || manifest.files.contains_key(&name) {
                continue;
            }
            self.store.delete(&meta.location).await.map_err(|source| self.failed("remove", &name, source))?;
            removed += 1;
        }
        Ok(removed)
    }

    async fn get(&self, name: &str) -> Result<Option<GetResult>, RemoteError> {
        match self.store.get(&self.path(name)?).await {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.failed("read", name, source)),
        }
    }

    async fn put(&self, name: &str, bytes: Bytes, mode: PutMode) -> Result<UpdateVersion, object_store::Error> {
        let path = Path::parse(format!("{}/{name}", self.prefix))?;
        let put = self.store.put_opts(&path, PutPayload::from_bytes(bytes), PutOptions::from(mode)).await?;
        Ok(UpdateVersion { e_tag: put.e_tag, version: put.version })
    }

    fn path(&self, name: &str) -> Result<Path, RemoteError> {
        // With an empty prefix the lake is the bucket itself.
        let full = format!("{}/{name}", self.prefix);
        Path::parse(full.trim_start_matches('/')).map_err(|source| self.failed("name", name, source.into()))
    }

    fn failed(&self, action: &'static str, name: &str, source: object_store::Error) -> RemoteError {
        RemoteError::Store { action, url: format!("{}/{name}", self.url), source }
    }

    fn damaged(&self, name: &str, what: &str) -> RemoteError {
        RemoteError::Damaged { url: format!("{}/{name}", self.url), what: what.to_owned() }
    }
}
