//! The authorization server of the mounts that hold members' data: SMART App Launch over OAuth 2.0 and OpenID Connect.
//!
//! Each mount is its own issuer: below its base lie `.well-known/smart-configuration`,
//! `.well-known/openid-configuration` and `oauth/{authorize,token,revoke,jwks}`. Codes are for one use, with PKCE S256
//! always; refresh tokens are replaced at each use, and one that comes twice ends its whole sign-in, as RFC 9700 asks.

mod consent;
mod grants;
mod keys;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    error::SandboxError,
    server::{App, answer::Answer, call::Call, route::not_found},
    world::Mount,
};
use keys::Keys;

/// The client that the sandbox knows.
pub const CLIENT_ID: &str = "fhirvest-local";

/// How members sign in, and for how long.
#[derive(Clone)]
pub struct SignIn {
    /// The client's secret; without one the client is public.
    pub client_secret: Option<String>,
    /// The addresses that a code may go to; none means any address of this machine's loopback interface.
    pub redirect_uris: Vec<String>,
    /// Whether a page asks the member.
    pub consent: Consent,
    /// How long an access token lives.
    pub access_lifetime: Duration,
    /// How long a code lives.
    pub code_lifetime: Duration,
    /// Whether `offline_access` is granted: a token that gets new tokens.
    pub refresh: bool,
}

/// Who says yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consent {
    /// A page asks.
    #[default]
    Asked,
    /// Nobody is asked, for programs that have no person at hand: the member is the one that `login_hint` names, else
    /// the first.
    Given,
}

impl Default for SignIn {
    fn default() -> Self {
        Self {
            client_secret: None,
            redirect_uris: Vec::new(),
            consent: Consent::Asked,
            access_lifetime: Duration::from_secs(15 * 60),
            code_lifetime: Duration::from_secs(60),
            refresh: true,
        }
    }
}

impl fmt::Debug for SignIn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SignIn")
            .field("client_secret", &self.client_secret.is_some())
            .field("consent", &self.consent)
            .field("access_lifetime", &self.access_lifetime)
            .field("refresh", &self.refresh)
            .finish_non_exhaustive()
    }
}

/// The server's keys and memory.
#[derive(Debug)]
pub(crate) struct Authorization {
    options: SignIn,
    keys: Keys,
    remembered: Mutex<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    codes: HashMap<String, Code>,
    refresh: HashMap<String, Refresh>,
    /// Sign-ins that are over.
    ended: HashSet<String>,
}

/// What a member has granted.
#[derive(Debug, Clone)]
struct Grant {
    /// The sign-in that it began with.
    sign_in: String,
    /// The path of the mount.
    mount: String,
    patient: String,
    scopes: Vec<String>,
    nonce: Option<String>,
}

#[derive(Debug)]
struct Code {
    grant: Grant,
    redirect_uri: String,
    challenge: String,
    since: Duration,
    used: bool,
}

#[derive(Debug)]
struct Refresh {
    grant: Grant,
    used: bool,
}

/// What a checked token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// The member whose data may be seen.
    pub(crate) patient: String,
}

impl Authorization {
    pub(crate) fn new(options: SignIn) -> Result<Self, SandboxError> {
        Ok(Self { options, keys: Keys::generate()?, remembered: Mutex::default() })
    }

    /// Answers what is asked of the authorization server of a mount; nothing where `rest` is not for it.
    pub(crate) fn answer(&self, app: &App, call: &Call, mount: &Mount, rest: &str) -> Option<Answer> {
        let base = call.base(&mount.path);
        let answer = match (&call.method, rest) {
            (&Method::GET, ".well-known/smart-configuration" | ".well-known/openid-configuration") => {
                data(&configuration(&base))
            }
            (&Method::GET, "oauth/jwks") => data(&self.keys.public()),
            (&Method::GET, "oauth/authorize") => consent::page(self, app, call, mount),
            (&Method::POST, "oauth/authorize") => consent::decided(self, app, call, mount),
            (&Method::POST, "oauth/token") => grants::token(self, app, call, mount),
            (&Method::POST, "oauth/revoke") => grants::revoke(self, call),
            (_, path) if path.starts_with("oauth/") => not_found("nothing of the authorization server is here"),
            _ => return None,
        };
        Some(answer)
    }

    /// Checks the token of a request to a mount.
    pub(crate) fn admit(&self, app: &App, call: &Call, mount: &Mount) -> Option<Admitted> {
        let token = call.header("authorization")?.strip_prefix("Bearer ")?;
        let claims = self.keys.read(token)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let lives = claims.get("exp").and_then(Value::as_u64).is_some_and(|end| app.behaviour.now().as_secs() < end);
        let here = text("aud").is_some_and(|aud| aud.ends_with(&mount.path));
        let ended = text("sid").is_none_or(|sign_in| self.remembered().ended.contains(sign_in));
        let patient = text("patient_id")?.to_owned();
        (lives && here && !ended).then_some(Admitted { patient })
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn configuration(base: &str) -> Value {
    json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/oauth/authorize"),
        "token_endpoint": format!("{base}/oauth/token"),
        "revocation_endpoint": format!("{base}/oauth/revoke"),
        "jwks_uri": format!("{base}/oauth/jwks"),
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "scopes_supported": ["openid", "fhirUser", "launch/patient", "offline_access", "patient/*.read", "patient/*.rs"],
        "code_challenge_methods_supported": ["S256"],
        "capabilities": [
            "launch-standalone", "client-public", "client-confidential-symmetric", "context-standalone-patient",
            "permission-patient", "permission-offline", "permission-v1", "permission-v2", "sso-openid-connect",
        ],
    })
}

fn data(value: &Value) -> Answer {
    Answer::new(StatusCode::OK, "application/json", value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_not_shown() {
        let options = SignIn { client_secret: Some("hush".into()), ..SignIn::default() };
        assert!(!format!("{options:?}").contains("hush"));
    }
}
