//! OAuth 2.0 at the token endpoint: what is asked for, by whom, and what comes. The protocol is the `oauth2` crate's;
//! its requests go through a [`Transport`], so that they are paced and limited like all others.

mod client;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
};

use chrono::{DateTime, TimeDelta, Utc};
use oauth2::{
    AccessToken, AsyncHttpClient, AuthorizationCode, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeVerifier,
    RedirectUrl, RefreshToken, RequestTokenError, Scope, StandardTokenResponse, TokenResponse, basic::BasicTokenType,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

pub use client::{ClientAuthentication, Endpoint, OAuthClient, PrivateKey, SigningAlgorithm};

use crate::transport::{Form, Request, RequestKind, Transport, TransportError};

/// What gives a token.
#[derive(Clone)]
pub enum Grant {
    /// The client's own credentials (RFC 6749, section 4.4).
    ClientCredentials,
    /// What a person's consent came with (section 4.1), and what shows that it was this client who asked (RFC 7636).
    Code {
        /// The code.
        code: SecretString,
        /// The secret behind the challenge.
        verifier: SecretString,
        /// Where the code came to.
        redirect_uri: Url,
    },
    /// A token for tokens (section 6).
    Refresh(SecretString),
}

/// Tokens as they came.
#[derive(Clone)]
pub struct Tokens {
    /// For requests.
    pub access: SecretString,
    /// For more tokens.
    pub refresh: Option<SecretString>,
    /// When the access token ends, where the server tells it.
    pub ends: Option<DateTime<Utc>>,
    /// What was granted, where that is not what was asked for.
    pub scopes: Option<Vec<String>>,
    /// The member that the tokens are for, where the server tells it beside them (SMART App Launch).
    pub patient: Option<String>,
    /// Who signed in, as a signed statement (OpenID Connect).
    pub id_token: Option<SecretString>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("ends", &self.ends)
            .field("refresh", &self.refresh.is_some())
            .finish_non_exhaustive()
    }
}

/// Why there is no token. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// The server's own refusal.
    #[error("the server refuses with {error} (HTTP {status})")]
    Refused {
        /// Its HTTP status.
        status: u16,
        /// The error's name (RFC 6749, section 5.2).
        error: String,
    },
    /// No answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// An answer that is none.
    #[error("the answer of {url} is not what OAuth 2.0 wants (HTTP {status})")]
    Unreadable {
        /// Who was asked.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The client's key does not sign.
    #[error("the private key cannot be used: it has to be PEM of the kind that the algorithm wants")]
    Key,
}

/// Keeps what a person has granted, for as long as it lives.
pub trait TokenKeeper: Send + Sync {
    /// What is kept now.
    ///
    /// # Errors
    /// It cannot be read.
    fn held(&self) -> Result<Option<Tokens>, KeeperError>;

    /// Puts new tokens in the place of the old ones.
    ///
    /// # Errors
    /// They cannot be kept.
    fn keep(&self, tokens: &Tokens) -> Result<(), KeeperError>;

    /// Lets nobody else renew these tokens, in this process or another, until the value is dropped: a refresh token may
    /// be for one use, and a second one ends the sign-in (RFC 9700, section 4.14.2). Blocks while somebody else does.
    ///
    /// # Errors
    /// The place cannot be locked.
    fn renewing(&self) -> Result<Box<dyn Send>, KeeperError>;
}

/// The place of the tokens fails. Says where, never what.
#[derive(Debug, thiserror::Error)]
#[error("the tokens cannot be read or kept in {place}")]
pub struct KeeperError {
    /// The place.
    pub place: String,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Tokens that a person has granted, which a crawl uses and renews.
#[derive(Clone)]
pub struct HeldTokens {
    pub(crate) client: OAuthClient,
    pub(crate) keeper: Arc<dyn TokenKeeper>,
    ended: Arc<AtomicBool>,
}

impl HeldTokens {
    /// Tokens of a client that a keeper has.
    #[must_use]
    pub fn new(client: OAuthClient, keeper: Arc<dyn TokenKeeper>) -> Self {
        Self { client, keeper, ended: Arc::default() }
    }

    /// Whether the sign-in was found to be over: the person has to sign in again.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// What SMART and OpenID Connect put beside a token.
#[derive(Debug, Serialize, Deserialize)]
struct Beside {
    #[serde(default)]
    patient: Option<String>,
    // Of a type that `Debug` does not show.
    #[serde(default)]
    id_token: Option<AccessToken>,
}

impl ExtraTokenFields for Beside {}

type Answer = StandardTokenResponse<Beside, BasicTokenType>;

/// Asks for tokens.
///
/// # Errors
/// [`OAuthError`] says who is not content.
pub async fn ask<T: Transport>(
    transport: &T,
    client: &OAuthClient,
    grant: &Grant,
    scopes: &[String],
    now: DateTime<Utc>,
) -> Result<Tokens, OAuthError> {
    let http = Carrier { transport, status: AtomicU16::new(0) };
    let scopes = scopes.iter().map(|scope| Scope::new(scope.clone()));
    let token_url = client.token_url.token_url(transport).await?;
    let (basis, more) = (client.basis(&token_url), client.assertion(&token_url, now)?);
    let answer = match grant {
        Grant::ClientCredentials => {
            let request = basis.exchange_client_credentials().add_scopes(scopes);
            more.into_iter()
                .fold(request, |request, (name, value)| request.add_extra_param(name, value))
                .request_async(&http)
                .await
        }
        Grant::Code { code, verifier, redirect_uri } => {
            let redirect_uri = RedirectUrl::from_url(redirect_uri.clone());
            let request = basis
                .exchange_code(AuthorizationCode::new(plain(code)))
                .set_pkce_verifier(PkceCodeVerifier::new(plain(verifier)))
                .set_redirect_uri(std::borrow::Cow::Owned(redirect_uri));
            more.into_iter()
                .fold(request, |request, (name, value)| request.add_extra_param(name, value))
                .request_async(&http)
                .await
        }
        Grant::Refresh(token) => {
            let token = RefreshToken::new(plain(token));
            let request = basis.exchange_refresh_token(&token);
            more.into_iter()
                .fold(request, |request, (name, value)| request.add_extra_param(name, value))
                .request_async(&http)
                .await
        }
    };
    let status = http.status.load(Ordering::Relaxed);
    let answer: Answer = answer.map_err(|error| match error {
        RequestTokenError::ServerResponse(told) => OAuthError::Refused { status, error: told.error().to_string() },
        RequestTokenError::Request(error) => OAuthError::Transport(error),
        // A server in trouble does not speak OAuth.
        _ if status >= 400 => OAuthError::Refused { status, error: format!("HTTP {status}") },
        _ => OAuthError::Unreadable { url: crate::source::shown(&token_url), status },
    })?;
    Ok(tokens(&answer, now))
}

fn tokens(answer: &Answer, now: DateTime<Utc>) -> Tokens {
    let life = answer.expires_in().and_then(|life| TimeDelta::from_std(life).ok());
    let scopes = answer.scopes().map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect());
    let beside = answer.extra_fields();
    Tokens {
        access: answer.access_token().secret().clone().into(),
        refresh: answer.refresh_token().map(|token| token.secret().clone().into()),
        ends: life.and_then(|life| now.checked_add_signed(life)),
        scopes,
        patient: beside.patient.clone(),
        id_token: beside.id_token.as_ref().map(|token| token.secret().clone().into()),
    }
}

/// Tells the server that a token is no longer wanted (RFC 7009).
///
/// # Errors
/// The server refuses, or does not answer.
pub async fn revoke<T: Transport>(
    transport: &T,
    client: &OAuthClient,
    revoke_url: &Url,
    token: &SecretString,
    now: DateTime<Utc>,
) -> Result<(), OAuthError> {
    let token_url = client.token_url.token_url(transport).await?;
    let mut form = client.form(&token_url, now)?;
    form.fields.push(("token".to_owned(), token.clone()));
    let request = Request { kind: RequestKind::Token, form: Some(form), ..Request::new(revoke_url.clone()) };
    let reply = transport.send(&request).await?;
    match reply.status {
        200..=299 => Ok(()),
        status => Err(OAuthError::Refused { status, error: format!("HTTP {status}") }),
    }
}

/// A JSON document that everybody may read: a server's configuration, its keys.
///
/// # Errors
/// There is none at this address.
pub async fn document<T: Transport>(transport: &T, url: &Url) -> Result<Value, OAuthError> {
    let request = Request { kind: RequestKind::Token, anonymous: true, ..Request::new(url.clone()) };
    let reply = transport.send(&request).await?;
    let shown = || crate::source::shown(url);
    if reply.status != 200 {
        return Err(OAuthError::Unreadable { url: shown(), status: reply.status });
    }
    serde_json::from_slice(&reply.body).map_err(|_| OAuthError::Unreadable { url: shown(), status: reply.status })
}

/// Takes requests of the `oauth2` crate to the transport and the answers back.
struct Carrier<'a, T> {
    transport: &'a T,
    /// The HTTP status of the last answer.
    status: AtomicU16,
}

impl<'c, T: Transport> AsyncHttpClient<'c> for Carrier<'_, T> {
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(carry(self.transport, &self.status, request))
    }
}

async fn carry<T: Transport>(
    transport: &T,
    status: &AtomicU16,
    request: HttpRequest,
) -> Result<HttpResponse, TransportError> {
    let wrong = |error: Box<dyn std::error::Error + Send + Sync>| TransportError::Connect(error);
    let url = Url::parse(&request.uri().to_string()).map_err(|error| wrong(error.into()))?;
    let fields = url::form_urlencoded::parse(request.body());
    // The crate always names a client; servers that give tokens to anybody are told of none.
    let fields = fields.filter(|(name, value)| !(name == "client_id" && value.is_empty()));
    let fields = fields.map(|(name, value)| (name.into_owned(), SecretString::from(value.into_owned()))).collect();
    let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let form = Form { fields, authorization: authorization.map(SecretString::from) };
    let reply = transport.send(&Request { kind: RequestKind::Token, form: Some(form), ..Request::new(url) }).await?;
    status.store(reply.status, Ordering::Relaxed);
    let mut response = HttpResponse::new(reply.body.to_vec());
    *response.status_mut() = oauth2::http::StatusCode::from_u16(reply.status).map_err(|error| wrong(error.into()))?;
    *response.headers_mut() = reply.headers;
    Ok(response)
}

fn plain(secret: &SecretString) -> String {
    use secrecy::ExposeSecret;
    secret.expose_secret().to_owned()
}
