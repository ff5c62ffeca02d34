//! Sign-in by a person: SMART App Launch, authorization code with PKCE S256. A [`SignIn`] knows the endpoints,
//! [`SignIn::begin`] gives the address that the person's browser opens, and [`SignIn::finish`] makes tokens of the address
//! that the browser comes back to. Who listens there, and who opens a browser, is the caller's.
//!
//! The promise: a code is taken only for the sign-in that asked for it (`state`, `nonce`, `iss`, PKCE); tokens go to the
//! [`TokenStore`] and nowhere else; no message holds a code, a token or the member's id.

mod id_token;
mod provider;
mod store;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use fhirvest_crawler::{
    http::Http,
    oauth::{self, ClientAuthentication, Endpoint, Grant, HeldTokens, OAuthClient, OAuthError},
    pace::{HostLimiters, Paced},
    source::{Limits, Pace, TrustedOrigin},
    transport::{Request, Transport},
};
use oauth2::{CsrfToken, PkceCodeChallenge};
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use provider::Provider;
pub use store::{SignInConfig, Stored, TokenStore};

use crate::{
    config::{ClientAuth, ConfigError, Job, OauthCode, SecretRef, Settings, Source},
    run::Exit,
};

/// Why there are no tokens. Holds no secret and nothing of the member.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Nobody has signed in, or the sign-in is over.
    #[error("{why}: run `fhirvest login {login}` first, then the same command again")]
    Needed {
        /// What is missing.
        why: String,
        /// The API or job to name.
        login: String,
    },
    /// The person, or the server in the person's name, says no.
    #[error("the sign-in was refused ({error}): nothing was kept")]
    Denied {
        /// The error's name (RFC 6749, section 4.1.2.1).
        error: String,
    },
    /// The answer belongs to another sign-in.
    #[error("the answer does not belong to this sign-in ({what} differs): nothing was kept; begin again")]
    Foreign {
        /// What differs.
        what: &'static str,
    },
    /// The answer has neither a code nor an error.
    #[error("the answer holds no code: begin again")]
    NoCode,
    /// The server says where its endpoints are, but not so that they can be used.
    #[error("{document} does not name {what}: set it under auth (see `fhirvest apis show`)")]
    Endpoint {
        /// Where it was looked for.
        document: String,
        /// What is missing, or no https address.
        what: &'static str,
    },
    /// A token endpoint or a configuration.
    #[error("the authorization server does not give what the sign-in needs")]
    OAuth(#[from] OAuthError),
    /// The signed statement of who signed in does not hold.
    #[error("the ID token cannot be trusted ({why}): nothing was kept")]
    IdToken {
        /// Why.
        why: &'static str,
    },
    /// The store of the tokens.
    #[error("the tokens cannot be kept")]
    Store(#[from] oauth::KeeperError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] fhirvest_crawler::http::ClientError),
}

impl SignInError {
    /// The exit code that it comes to.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Endpoint { .. } | Self::Client(_) => Exit::Usage,
            Self::Store(_) => Exit::Storage,
            Self::OAuth(OAuthError::Transport(_)) => Exit::Unavailable,
            Self::OAuth(OAuthError::Key) => Exit::Usage,
            _ => Exit::Refused,
        }
    }
}

/// Whom a sign-in is for: a source in one of its environments.
#[derive(Debug, Clone)]
pub struct Place {
    /// What to name to `fhirvest login`.
    pub login: String,
    /// The job in whose words mistakes are told.
    pub job: String,
    /// Under which tokens are kept.
    pub key: String,
    /// The FHIR base URL.
    pub base_url: Url,
}

impl Place {
    /// The place of a source in the environment of the settings. `name` is the API's or the job's.
    #[must_use]
    pub fn new(name: &str, source: &Source, settings: &Settings, base_url: Url) -> Self {
        let key = format!("{}@{}", source.name, settings.environment);
        Self { login: name.to_owned(), job: name.to_owned(), key, base_url }
    }

    /// The place of a job.
    #[must_use]
    pub fn of(job: &Job, base_url: Url) -> Self {
        let mut place = Self::new(&job.name, &job.source, &job.settings, base_url);
        if let Some(api) = &job.api {
            place.login.clone_from(api);
        }
        place
    }
}

/// A sign-in before its person is sent anywhere.
pub struct SignIn {
    place: Place,
    config: OauthCode,
    provider: Provider,
    client: OAuthClient,
    http: Paced<Http>,
}

/// A sign-in whose person is on the way.
pub struct Begun {
    /// The address for the person's browser.
    pub url: Url,
    state: CsrfToken,
    nonce: Option<CsrfToken>,
    verifier: SecretString,
    redirect_uri: Url,
}

impl SignIn {
    /// Finds out where to sign in.
    ///
    /// # Errors
    /// The endpoints are neither configured nor told by the server, or a secret is missing.
    pub async fn prepare(place: Place, config: &OauthCode, hosts: Arc<HostLimiters>) -> Result<Self, SignInError> {
        let source = fhirvest_crawler::source::Source::new(place.base_url.clone());
        let pace = Pace { requests_per_second: 5.0, burst: 5, concurrency: 1 };
        let http = fhirvest_crawler::paced(&source, pace, &Limits::default(), hosts)?;
        let provider = Provider::find(&http, &place.base_url, config).await?;
        let token_url = provider.token_url.clone();
        let client = client(&place.job, config, token_url, provider.takes_basic)?;
        Ok(Self { place, config: config.clone(), provider, client, http })
    }

    /// The address that is registered for the client, if one is.
    #[must_use]
    pub fn registered_redirect(&self) -> Option<&Url> {
        self.config.redirect_uri.as_ref()
    }

    /// The address for the person's browser. `hint` names the member, for servers that take one.
    #[must_use]
    pub fn begin(&self, redirect_uri: Url, hint: Option<&str>) -> Begun {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let scopes = self.scopes();
        let asks = |wanted: &str| scopes.iter().any(|scope| scope == wanted);
        let nonce = asks("openid").then(CsrfToken::new_random);
        let offline = asks("openid") && asks("offline_access");
        let mut request = oauth2::basic::BasicClient::new(oauth2::ClientId::new(self.client_id().to_owned()))
            .set_auth_uri(oauth2::AuthUrl::from_url(self.provider.authorize_url.clone()))
            .set_redirect_uri(oauth2::RedirectUrl::from_url(redirect_uri.clone()));
        request = request.set_auth_type(oauth2::AuthType::RequestBody);
        let mut request = request
            .authorize_url(CsrfToken::new_random)
            .add_scopes(scopes.into_iter().map(oauth2::Scope::new))
            .set_pkce_challenge(challenge)
            // SMART App Launch: for which FHIR server the token is to be.
            .add_extra_param("aud", self.place.base_url.as_str().trim_end_matches('/').to_owned());
        if let Some(nonce) = &nonce {
            request = request.add_extra_param("nonce", nonce.secret().clone());
        }
        if offline {
            // A token that outlives the session wants a person's word (OpenID Connect Core, section 11).
            request = request.add_extra_param("prompt", "consent");
        }
        if let Some(hint) = hint {
            request = request.add_extra_param("login_hint", hint.to_owned());
        }
        let (url, state) = request.url();
        Begun { url, state, nonce, verifier: verifier.into_secret().into(), redirect_uri }
    }

    /// Opens the address as a browser does, without a person: for the built-in sandbox, which asks nobody.
    ///
    /// # Errors
    /// The server does not answer, or sends the browser somewhere else than back.
    pub async fn visit(&self, begun: &Begun) -> Result<(), SignInError> {
        let mut source = fhirvest_crawler::source::Source::new(begun.url.clone());
        let origin = begun.redirect_uri.origin();
        source.trusted_origins.push(TrustedOrigin { origin, credentials: false });
        let http = Http::new(source, &Limits::default())?;
        let request = Request { anonymous: true, ..Request::new(begun.url.clone()) };
        http.send(&request).await.map_err(OAuthError::from)?;
        Ok(())
    }

    /// Makes tokens of the address that the browser came back to, and keeps them.
    ///
    /// # Errors
    /// The answer is a refusal, is another sign-in's, or the tokens do not come.
    pub async fn finish(
        &self,
        begun: Begun,
        answer: &Url,
        store: &TokenStore,
        now: DateTime<Utc>,
    ) -> Result<Stored, SignInError> {
        let field = |name: &str| answer.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value);
        if field("state").as_deref() != Some(begun.state.secret().as_str()) {
            return Err(SignInError::Foreign { what: "state" });
        }
        if let (Some(told), Some(known)) = (field("iss"), &self.provider.issuer)
            && told.trim_end_matches('/') != known.trim_end_matches('/')
        {
            return Err(SignInError::Foreign { what: "issuer" });
        }
        if let Some(error) = field("error") {
            return Err(SignInError::Denied { error: word(&error) });
        }
        let code = SecretString::from(field("code").ok_or(SignInError::NoCode)?.into_owned());
        let (verifier, redirect_uri) = (begun.verifier, begun.redirect_uri);
        let grant = Grant::Code { code, verifier, redirect_uri };
        let tokens = oauth::ask(&self.http, &self.client, &grant, &[], now).await?;
        if let Some(id_token) = &tokens.id_token {
            let nonce = begun.nonce.as_ref().map(|nonce| nonce.secret().as_str());
            self.verify(id_token, nonce).await?;
        }
        let mut stored = Stored::new(&self.place.base_url, &self.provider, &tokens);
        stored.patient = stored.patient.or_else(|| patient_in(&stored.access_token));
        store.add(&self.place.key, &stored)?;
        Ok(stored)
    }

    async fn verify(&self, id_token: &SecretString, nonce: Option<&str>) -> Result<(), SignInError> {
        let Some(jwks) = &self.provider.jwks_url else {
            // One that nobody asked for and nobody looks at.
            return match nonce {
                None => Ok(()),
                Some(_) => Err(SignInError::IdToken { why: "no keys are known: set auth.issuer" }),
            };
        };
        let keys = oauth::document(&self.http, jwks).await?;
        id_token::verify(id_token, keys, self.client_id(), self.provider.issuer.as_deref(), nonce)
    }

    fn client_id(&self) -> &str {
        self.config.client_id.as_deref().unwrap_or_default()
    }

    fn scopes(&self) -> Vec<String> {
        let asked = &self.config.scopes;
        if asked.is_empty() { vec!["patient/*.read".to_owned()] } else { asked.clone() }
    }
}

/// Ends a sign-in: the server is told where it wants to be, then the tokens are forgotten. The number of members whose
/// tokens were there, and whether the server took all of them back.
///
/// # Errors
/// The store cannot be read or written. A server that does not answer keeps nobody from signing out.
pub async fn sign_out(
    place: &Place,
    config: &OauthCode,
    store: &TokenStore,
    hosts: Arc<HostLimiters>,
    now: DateTime<Utc>,
) -> Result<(usize, bool), SignInError> {
    let all = store.read(&place.key)?;
    let source = fhirvest_crawler::source::Source::new(place.base_url.clone());
    let pace = Pace { requests_per_second: 5.0, burst: 5, concurrency: 1 };
    let http = fhirvest_crawler::paced(&source, pace, &Limits::default(), hosts)?;
    let mut revoked = true;
    for stored in &all {
        let Some(url) = &stored.revoke_url else {
            revoked = false;
            continue;
        };
        let client = client(&place.job, config, stored.token_url.clone(), stored.takes_basic)?;
        let tokens = [stored.refresh_token.as_ref(), Some(&stored.access_token)];
        for token in tokens.into_iter().flatten() {
            let token = SecretString::from(token.as_str());
            if let Err(error) = oauth::revoke(&http, &client, url, &token, now).await {
                tracing::warn!(%error, "the server did not take a token back");
                revoked = false;
            }
        }
    }
    store.write(&place.key, &[])?;
    Ok((all.len(), revoked))
}

/// What `fhirvest login` has brought for a place, one for each member who has signed in.
///
/// # Errors
/// Nobody has, or all that there is has ended.
pub fn held(
    place: &Place,
    config: &OauthCode,
    store: &Arc<TokenStore>,
    now: DateTime<Utc>,
) -> Result<Vec<(Stored, HeldTokens)>, SignInError> {
    let needed = |why: &str| SignInError::Needed { why: why.to_owned(), login: place.login.clone() };
    let mut all = store.read(&place.key)?;
    // Tokens of another server are never sent to this one.
    all.retain(|stored| stored.base_url == place.base_url.as_str());
    if all.is_empty() {
        return Err(needed("nobody has signed in"));
    }
    all.retain(|stored| stored.is_usable(now));
    if all.is_empty() {
        return Err(needed("the sign-in has expired"));
    }
    let mut found = Vec::new();
    for stored in all {
        let keeper = store::Keeper { store: Arc::clone(store), key: place.key.clone(), of: stored.clone() };
        let client = client(&place.job, config, stored.token_url.clone(), stored.takes_basic)?;
        found.push((stored, HeldTokens::new(client, Arc::new(keeper))));
    }
    Ok(found)
}

fn client(job: &str, config: &OauthCode, token_url: Url, takes_basic: bool) -> Result<OAuthClient, ConfigError> {
    let authentication = match &config.client_secret {
        None => ClientAuthentication::Public,
        Some(secret) => {
            let secret = resolve(job, secret)?;
            let default = if takes_basic { ClientAuth::Basic } else { ClientAuth::Body };
            with_secret(secret, config.client_auth.unwrap_or(default))
        }
    };
    Ok(OAuthClient { token_url: Endpoint::At(token_url), id: config.client_id.clone(), authentication })
}

/// A client that shows a secret.
pub(crate) fn with_secret(secret: SecretString, how: ClientAuth) -> ClientAuthentication {
    match how {
        ClientAuth::Basic => ClientAuthentication::Basic(secret),
        ClientAuth::Body => ClientAuthentication::Body(secret),
    }
}

fn resolve(job: &str, reference: &SecretRef) -> Result<SecretString, ConfigError> {
    reference.resolve().map_err(|source| ConfigError::Secret { job: job.to_owned(), source })
}

/// The member that a JWT access token names, as some publishers have it. It came from the token endpoint itself, and
/// whoever gets it checks it: here it is only read.
fn patient_in(access_token: &str) -> Option<String> {
    let claims: Value = jsonwebtoken::dangerous::insecure_decode_claims(access_token).ok()?;
    ["patient_id", "patient"].iter().find_map(|name| claims.get(name)?.as_str().map(ToOwned::to_owned))
}

/// An error's name, and nothing else that a server may put there.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).take(40).collect()
}

#[cfg(test)]
mod tests;
