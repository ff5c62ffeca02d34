//! What a run is bound to: the place it talks to, and the fingerprint that a resumed run must share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fhirvest_crawler::{
    oauth::{ClientAuthentication, Endpoint, OAuthClient, PrivateKey, SigningAlgorithm},
    source::Credentials,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use super::RunError;
use crate::{
    clock::Clock,
    config::{self, Auth, ClientAuth, ConfigError, Job, OauthCode, SecretRef},
    sign_in::{self, Place, SignInError, TokenStore},
};

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
    /// The tokens of those members who have signed in.
    pub tokens: Arc<TokenStore>,
}

/// Where the requests of a job go, and with what.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The base URL.
    pub base_url: Url,
    /// What authorizes the requests.
    pub credentials: Credentials,
    /// Whose data are asked for, where the job is about persons.
    pub members: Vec<Member>,
}

/// Somebody whose data are asked for.
#[derive(Debug, Clone)]
pub struct Member {
    /// The member's id.
    pub id: String,
    /// What authorizes requests for the member's data, where that is not the job's own: for all members or for none.
    pub credentials: Option<Credentials>,
}

impl Binding {
    /// Looks up the job's secrets and tokens and, for a job of the sandbox, its address.
    ///
    /// # Errors
    /// A secret is missing, nobody has signed in, or the job wants the sandbox and none is given.
    pub fn new(job: &Job, sandbox: Option<&Sandbox>) -> Result<Self, RunError> {
        let base_url = base_url(job, sandbox)?;
        let sandbox = sandbox.zip(job.source.sandbox_path());
        if let Auth::OauthCode(config) = &job.source.auth {
            let store = match sandbox {
                Some((sandbox, _)) => Arc::clone(&sandbox.tokens),
                None => Arc::new(TokenStore::open(&job.settings.sign_in).map_err(SignInError::from)?),
            };
            return Self::signed_in(job, base_url, config, &store);
        }
        let (credentials, made_up) = match sandbox {
            Some((sandbox, path)) => {
                let key = Credentials::Header { name: sandbox.header.clone(), value: sandbox.key.clone() };
                (key, sandbox.members.get(path).map_or(&[][..], Vec::as_slice))
            }
            None => (credentials(job, &base_url)?, &[][..]),
        };
        Ok(Self { base_url, credentials, members: members(job, made_up)? })
    }

    /// A job whose members have signed in: all that the job names, or all that have where it names none.
    fn signed_in(job: &Job, base_url: Url, config: &OauthCode, store: &Arc<TokenStore>) -> Result<Self, RunError> {
        let place = Place::of(job, base_url.clone());
        let held = sign_in::held(&place, config, store, Clock::System.now())?;
        let of = |id: &str| held.iter().find(|(stored, _)| stored.patient.as_deref() == Some(id));
        let mut ids = job.members()?;
        if job.settings.patients.is_some() && ids.is_empty() {
            ids = held.iter().filter_map(|(stored, _)| stored.patient.clone()).collect();
        }
        if job.settings.patients.is_some() && ids.is_empty() {
            let message = "the sign-in does not tell whose data it opens: give [patients] its `ids`".to_owned();
            return Err(ConfigError::Job { job: job.name.clone(), message }.into());
        }
        // A server that does not say whom a token is for gives one that has to do for all.
        let told = held.iter().any(|(stored, _)| stored.patient.is_some());
        let missing = ids.iter().filter(|id| told && of(id).is_none()).count();
        if missing > 0 {
            let why = format!("{missing} of the {} members that the job names have not signed in", ids.len());
            return Err(SignInError::Needed { why, login: place.login }.into());
        }
        let member = |id: String| Member { credentials: of(&id).map(|(_, held)| Credentials::Held(held.clone())), id };
        let members: Vec<Member> = ids.into_iter().map(member).collect();
        let first = held.first().map(|(_, held)| Credentials::Held(held.clone()));
        let own = members.first().and_then(|member| member.credentials.clone());
        Ok(Self { base_url, credentials: own.or(first).unwrap_or_default(), members })
    }

    /// Whether a sign-in that the job uses was found to be over.
    #[must_use]
    pub fn signed_out(&self) -> bool {
        let of_members = self.members.iter().filter_map(|member| member.credentials.as_ref());
        of_members.chain([&self.credentials]).any(|one| matches!(one, Credentials::Held(held) if held.has_ended()))
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

/// The base URL of a job; below the running sandbox's own origin where the job is for the sandbox.
fn base_url(job: &Job, sandbox: Option<&Sandbox>) -> Result<Url, RunError> {
    let wrong = |message: String| ConfigError::Job { job: job.name.clone(), message };
    let Some(path) = job.source.sandbox_path() else {
        return Ok(Url::parse(&job.source.base_url).map_err(|error| wrong(format!("base_url: {error}")))?);
    };
    let sandbox = sandbox.ok_or_else(|| wrong("needs the built-in sandbox, which is not running".into()))?;
    Ok(sandbox.origin.join(path).map_err(|error| wrong(format!("sandbox path {path:?}: {error}")))?)
}

/// What authorizes the requests of a job that nobody signs in for.
fn credentials(job: &Job, base_url: &Url) -> Result<Credentials, RunError> {
    let wrong = |message: String| ConfigError::Job { job: job.name.clone(), message };
    let secret = |reference: &SecretRef| {
        reference.resolve().map_err(|source| ConfigError::Secret { job: job.name.clone(), source })
    };
    Ok(match &job.source.auth {
        Auth::None | Auth::OauthCode(_) => Credentials::None,
        Auth::ApiKey { header, key } => {
            let header = header.clone().ok_or_else(|| wrong("auth.header is missing".into()))?;
            Credentials::Header { name: header, value: secret(key)? }
        }
        Auth::Bearer { token } => Credentials::Bearer { token: secret(token)? },
        Auth::Basic { username, password } => {
            Credentials::Basic { username: username.clone(), password: secret(password)? }
        }
        Auth::ClientCredentials { token_url, client_id, client_secret, client_auth, scopes } => {
            // Most servers take a secret in the form, too.
            let how = client_auth.unwrap_or(ClientAuth::Body);
            let authentication = match client_secret {
                Some(reference) => sign_in::with_secret(secret(reference)?, how),
                None => ClientAuthentication::Public,
            };
            let token_url = Endpoint::At(token_url.clone());
            let client = OAuthClient { token_url, id: client_id.clone(), authentication };
            Credentials::Client { client, scopes: scopes.clone() }
        }
        Auth::SmartBackend(backend) => {
            let algorithm = match backend.algorithm {
                config::SigningAlgorithm::ES384 => SigningAlgorithm::Es384,
                config::SigningAlgorithm::RS384 => SigningAlgorithm::Rs384,
            };
            let key = PrivateKey::from_pem(&secret(&backend.private_key)?, algorithm, backend.key_id.clone());
            let authentication = ClientAuthentication::PrivateKey(key.map_err(SignInError::from)?);
            let url = |text: &str| Url::parse(text).map_err(|error| wrong(format!("auth.token_url: {error}")));
            let token_url = match &backend.token_url {
                Some(text) => Endpoint::At(url(text)?),
                None => {
                    let base = base_url.as_str().trim_end_matches('/');
                    Endpoint::told_by(url(&format!("{base}/.well-known/smart-configuration"))?)
                }
            };
            let client = OAuthClient { token_url, id: backend.client_id.clone(), authentication };
            Credentials::Client { client, scopes: backend.scopes.clone() }
        }
    })
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
