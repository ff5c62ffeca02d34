//! What a run is bound to: the place it talks to, and the fingerprint that a resumed run must share.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use super::RunError;
use crate::config::{Auth, ConfigError, Job};

/// The built-in sandbox, running.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// Its origin: `http://127.0.0.1:40123/`.
    pub origin: Url,
    /// The header that holds its key.
    pub header: String,
    /// Its key.
    pub key: SecretString,
    /// Ids of the made-up members of its APIs about persons, by path.
    pub members: BTreeMap<String, Vec<String>>,
}

/// Where the requests of a job go, and with what.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The base URL.
    pub base_url: Url,
    /// What authorizes the requests.
    pub credentials: fhirvest_crawler::source::Credentials,
    /// Whose data are asked for, where the job is about persons.
    pub members: Vec<Member>,
}

/// Somebody whose data are asked for.
#[derive(Debug, Clone)]
pub struct Member {
    /// The member's id.
    pub id: String,
    /// What authorizes requests for the member's data, where that is not the job's own: for all members or for none.
    pub credentials: Option<fhirvest_crawler::source::Credentials>,
}

impl Binding {
    /// Looks up the job's secrets and, for a job of the sandbox, its address.
    ///
    /// # Errors
    /// A secret is missing, or the job wants the sandbox and none is given.
    pub fn new(job: &Job, sandbox: Option<&Sandbox>) -> Result<Self, RunError> {
        use fhirvest_crawler::source::Credentials;
        let wrong = |message: String| ConfigError::Job { job: job.name.clone(), message };
        if let Some(path) = job.source.sandbox_path() {
            let sandbox = sandbox.ok_or_else(|| wrong("needs the built-in sandbox, which is not running".into()))?;
            let base_url =
                sandbox.origin.join(path).map_err(|error| wrong(format!("sandbox path {path:?}: {error}")))?;
            let credentials = Credentials::Header { name: sandbox.header.clone(), value: sandbox.key.clone() };
            let made_up = sandbox.members.get(path).map_or(&[][..], Vec::as_slice);
            return Ok(Self { base_url, credentials, members: members(job, made_up)? });
        }
        let base_url = Url::parse(&job.source.base_url).map_err(|error| wrong(format!("base_url: {error}")))?;
        let secret = |reference: &crate::config::SecretRef| {
            reference.resolve().map_err(|source| ConfigError::Secret { job: job.name.clone(), source })
        };
        let credentials = match &job.source.auth {
            Auth::None => Credentials::None,
            Auth::ApiKey { header, key } => {
                let header = header.clone().ok_or_else(|| wrong("auth.header is missing".into()))?;
                Credentials::Header { name: header, value: secret(key)? }
            }
            Auth::Bearer { token } => Credentials::Bearer { token: secret(token)? },
            Auth::Basic { username, password } => {
                Credentials::Basic { username: username.clone(), password: secret(password)? }
            }
            Auth::OauthCode(_) | Auth::SmartBackend(_) => {
                return Err(wrong(format!("auth of kind {} is not there yet", job.source.auth.kind())).into());
            }
            Auth::ClientCredentials { token_url, client_id, client_secret, scopes, .. } => {
                Credentials::ClientCredentials {
                    token_url: token_url.clone(),
                    client_id: client_id.clone(),
                    client_secret: client_secret.as_ref().map(secret).transpose()?,
                    scopes: scopes.clone(),
                }
            }
        };
        Ok(Self { base_url, credentials, members: members(job, &[])? })
    }

    /// The base URL as it may be shown: without user name, password and query.
    #[must_use]
    pub fn shown_base(&self) -> String {
        let mut url = self.base_url.clone();
        let _ = (url.set_username(""), url.set_password(None));
        url.set_query(None);
        url.to_string()
    }
}

/// The members that a job names, or in the sandbox, where it names nobody and nobody signs in, all that are there.
fn members(job: &Job, made_up: &[String]) -> Result<Vec<Member>, RunError> {
    let mut ids = job.members()?;
    if job.settings.patients.is_some() && ids.is_empty() {
        ids = made_up.to_vec();
    }
    let members: Vec<Member> = ids.into_iter().map(|id| Member { id, credentials: None }).collect();
    if job.settings.patients.is_some() && members.is_empty() {
        let message = "nobody is named whose data to ask for: give [patients] its `ids` or a `roster`".to_owned();
        return Err(ConfigError::Job { job: job.name.clone(), message }.into());
    }
    Ok(members)
}

/// What decides which resources a run gets. A run is resumed only with the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint(BTreeMap<String, String>);

impl Fingerprint {
    /// Whether two kept fingerprints ask the same server the same of a type.
    #[must_use]
    pub(super) fn same_question(one: &str, other: &str, resource_type: &str) -> bool {
        let read = |text: &str| serde_json::from_str::<Self>(text).ok();
        let Some((Self(one), Self(other))) = read(one).zip(read(other)) else { return false };
        let of_type = format!("resources.{resource_type}");
        ["base_url", "source", of_type.as_str()].iter().all(|key| one.get(*key) == other.get(*key))
    }

    /// The keys in which a kept fingerprint differs; its own text if it can't be read.
    #[must_use]
    pub(super) fn differences(&self, kept: &str) -> Vec<String> {
        let Ok(Self(kept)) = serde_json::from_str(kept) else { return vec!["the file format".into()] };
        let keys: BTreeSet<&String> = self.0.keys().chain(kept.keys()).collect();
        keys.into_iter().filter(|key| self.0.get(*key) != kept.get(*key)).cloned().collect()
    }
}

/// The fingerprint of a job that crawls `types`: base URL (of the sandbox: its path and world, since its port changes),
/// the members,
/// and for each type its strategy and parameters.
#[must_use]
pub(super) fn fingerprint(job: &Job, binding: &Binding, types: &BTreeSet<String>) -> Fingerprint {
    let mut parts = BTreeMap::new();
    let mut base = job.source.base_url.clone();
    if job.source.sandbox_path().is_some() {
        let sandbox = &job.settings.sandbox;
        base = format!("{base}?size={}&seed={}", sandbox.size, sandbox.seed);
    }
    parts.insert("base_url".to_owned(), base);
    parts.insert("source".to_owned(), job.source.name.clone());
    if let Some(patients) = &job.settings.patients {
        // Members are told by a hash: the fingerprint is shown where it differs.
        let ids: Vec<&str> = binding.members.iter().map(|member| member.id.as_str()).collect();
        let asked = format!("{} {:?} {}", ids.join(","), patients.params, patients.everything);
        parts.insert("patients".to_owned(), blake3::hash(asked.as_bytes()).to_hex().to_string());
    }
    for name in types {
        let resource = job.settings.resources.get(name).cloned().unwrap_or_default();
        let text = serde_json::to_value(&resource).map_or_else(
            |_| String::new(),
            |mut value| {
                // The page size may change in mid-crawl without changing what comes.
                if let Some(fields) = value.as_object_mut() {
                    fields.remove("page_size");
                }
                value.to_string()
            },
        );
        parts.insert(format!("resources.{name}"), text);
    }
    Fingerprint(parts)
}
