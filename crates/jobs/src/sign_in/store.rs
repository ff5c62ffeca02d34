//! Where tokens are kept between a sign-in and the runs that use it: a file that only its owner can read, or the memory.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use etcetera::BaseStrategy;
use fhirvest_crawler::oauth::{KeeperError, TokenKeeper, Tokens};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use url::Url;

use super::provider::Provider;

/// Where what `fhirvest login` brings is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInConfig {
    /// The folder of the files; without one, `fhirvest/tokens` in the folder that the system has for a user's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

/// What is kept of one member's sign-in.
#[derive(Clone, Serialize, Deserialize)]
pub struct Stored {
    /// The FHIR base URL that the tokens are for: they go to no other.
    pub base_url: String,
    /// Where they are renewed.
    pub token_url: Url,
    /// Where they are taken back, if anywhere.
    #[serde(default)]
    pub revoke_url: Option<Url>,
    /// How the client shows its secret there.
    pub takes_basic: bool,
    pub(super) access_token: String,
    #[serde(default)]
    pub(super) refresh_token: Option<String>,
    /// When the access token ends, if that is known.
    #[serde(default)]
    pub ends: Option<DateTime<Utc>>,
    /// What was granted, where that is not what was asked for.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// The member's id.
    #[serde(default)]
    pub patient: Option<String>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("base_url", &self.base_url).field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl Stored {
    pub(super) fn new(base_url: &Url, provider: &Provider, tokens: &Tokens) -> Self {
        let mut stored = Self {
            base_url: base_url.as_str().to_owned(),
            token_url: provider.token_url.clone(),
            revoke_url: provider.revoke_url.clone(),
            takes_basic: provider.takes_basic,
            access_token: String::new(),
            refresh_token: None,
            ends: None,
            scopes: None,
            patient: None,
        };
        stored.take(tokens);
        stored
    }

    fn take(&mut self, tokens: &Tokens) {
        tokens.access.expose_secret().clone_into(&mut self.access_token);
        self.refresh_token = tokens.refresh.as_ref().map(|token| token.expose_secret().to_owned());
        self.ends = tokens.ends;
        self.scopes.clone_from(&tokens.scopes);
        self.patient = tokens.patient.clone().or(self.patient.take());
    }

    fn tokens(&self) -> Tokens {
        Tokens {
            access: self.access_token.as_str().into(),
            refresh: self.refresh_token.as_deref().map(Into::into),
            ends: self.ends,
            scopes: self.scopes.clone(),
            patient: self.patient.clone(),
            id_token: None,
        }
    }

    /// Whether new tokens can be had without the person.
    #[must_use]
    pub fn is_renewable(&self) -> bool {
        self.refresh_token.is_some()
    }

    /// Whether it still gives access.
    #[must_use]
    pub fn is_usable(&self, now: DateTime<Utc>) -> bool {
        self.is_renewable() || self.ends.is_none_or(|ends| now < ends)
    }

    fn is_of(&self, other: &Self) -> bool {
        self.base_url == other.base_url && self.patient == other.patient
    }
}

/// Keeps tokens by place; each place holds one entry for each member.
#[derive(Debug)]
pub enum TokenStore {
    /// In files below a folder.
    File(PathBuf),
    /// In memory, for as long as the process lives.
    Memory(Memory),
}

/// A store that ends with the process.
#[derive(Debug, Default)]
pub struct Memory {
    kept: Mutex<BTreeMap<String, String>>,
    renewing: Arc<tokio::sync::Mutex<()>>,
}

impl TokenStore {
    /// The store that the settings name.
    ///
    /// # Errors
    /// The machine has no place for a user's data.
    pub fn open(config: &SignInConfig) -> Result<Self, KeeperError> {
        if let Some(folder) = &config.folder {
            return Ok(Self::File(folder.clone()));
        }
        let home = etcetera::choose_base_strategy();
        let home = home.map_err(|error| KeeperError { place: "the home folder".into(), source: error.into() })?;
        Ok(Self::File(home.data_dir().join("fhirvest").join("tokens")))
    }

    /// A store that ends with the process.
    #[must_use]
    pub fn memory() -> Self {
        Self::Memory(Memory::default())
    }

    /// Where the tokens of a place are, for people.
    #[must_use]
    pub fn shown(&self, key: &str) -> String {
        match self {
            Self::File(folder) => path(folder, key).display().to_string(),
            Self::Memory(_) => "memory".to_owned(),
        }
    }

    /// What is kept for a place.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn read(&self, key: &str) -> Result<Vec<Stored>, KeeperError> {
        let text = self.text(key).map_err(|source| self.failed(key, source))?;
        let Some(text) = text else { return Ok(Vec::new()) };
        // The text is not shown: the parser's words might hold a piece of it.
        serde_json::from_str(&text).map_err(|_| self.failed(key, "it is not what fhirvest writes".into()))
    }

    /// Puts all entries of a place in the place of the old ones; none removes it.
    ///
    /// # Errors
    /// They cannot be kept.
    pub fn write(&self, key: &str, all: &[Stored]) -> Result<(), KeeperError> {
        let text = match all {
            [] => None,
            all => Some(serde_json::to_string(all).map_err(|error| self.failed(key, error.into()))?),
        };
        self.put(key, text).map_err(|source| self.failed(key, source))
    }

    /// Adds a member's entry to a place, or replaces it.
    pub(super) fn add(&self, key: &str, stored: &Stored) -> Result<(), KeeperError> {
        let _one_at_a_time = self.lock(key)?;
        let mut all = self.read(key)?;
        all.retain(|other| !other.is_of(stored));
        all.push(stored.clone());
        self.write(key, &all)
    }

    /// Held while entries are read and written, so that two processes do not undo each other's.
    fn lock(&self, key: &str) -> Result<Option<fs::File>, KeeperError> {
        let Self::File(folder) = self else { return Ok(None) };
        locked(folder, ".lock").map(Some).map_err(|error| self.failed(key, error.into()))
    }

    /// Held while a place's tokens are renewed. Another lock than that of the entries, since they are written meanwhile.
    fn renewing(&self, key: &str) -> Result<Box<dyn Send>, KeeperError> {
        match self {
            Self::Memory(memory) => Ok(Box::new(Arc::clone(&memory.renewing).blocking_lock_owned())),
            Self::File(folder) => match locked(folder, &format!(".{key}.renewing")) {
                Ok(file) => Ok(Box::new(file)),
                Err(error) => Err(self.failed(key, error.into())),
            },
        }
    }

    fn failed(&self, key: &str, source: Box<dyn std::error::Error + Send + Sync>) -> KeeperError {
        KeeperError { place: self.shown(key), source }
    }

    fn text(&self, key: &str) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
        match self {
            Self::Memory(memory) => Ok(memory.kept.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()),
            Self::File(folder) => match fs::read_to_string(path(folder, key)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                read => Ok(Some(read?)),
            },
        }
    }

    fn put(&self, key: &str, text: Option<String>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match self {
            Self::Memory(memory) => {
                let mut kept = memory.kept.lock().unwrap_or_else(PoisonError::into_inner);
                match text {
                    Some(text) => drop(kept.insert(key.to_owned(), text)),
                    None => drop(kept.remove(key)),
                }
                Ok(())
            }
            Self::File(folder) => match text {
                Some(text) => Ok(replace(folder, &path(folder, key), &text)?),
                None => match fs::remove_file(path(folder, key)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                    _ => Ok(()),
                },
            },
        }
    }
}

fn path(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{key}.json"))
}

/// A file that nobody else has locked; the lock ends with it.
fn locked(folder: &Path, name: &str) -> std::io::Result<fs::File> {
    private_folder(folder)?;
    let file = fs::File::options().create(true).append(true).open(folder.join(name))?;
    file.lock()?;
    Ok(file)
}

fn private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Writes a file in one step, closed to others from its first byte on.
fn replace(folder: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    private_folder(folder)?;
    // 0600 is what a temporary file has.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// One member's tokens, for a crawl.
pub(super) struct Keeper {
    pub(super) store: Arc<TokenStore>,
    pub(super) key: String,
    pub(super) of: Stored,
}

impl TokenKeeper for Keeper {
    fn held(&self) -> Result<Option<Tokens>, KeeperError> {
        let all = self.store.read(&self.key)?;
        Ok(all.iter().find(|stored| stored.is_of(&self.of)).map(Stored::tokens))
    }

    fn keep(&self, tokens: &Tokens) -> Result<(), KeeperError> {
        let mut stored = self.of.clone();
        stored.take(tokens);
        // A token endpoint may name the member only at the first sign-in.
        stored.patient.clone_from(&self.of.patient);
        self.store.add(&self.key, &stored)
    }

    fn renewing(&self) -> Result<Box<dyn Send>, KeeperError> {
        self.store.renewing(&self.key)
    }
}
