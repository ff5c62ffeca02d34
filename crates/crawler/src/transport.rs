//! One request, one reply. What retries, paces and authorizes are decorators around this seam; the scripted transport
//! of the tests is its other end.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use reqwest::header::HeaderMap;
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

/// A request: GET, but for a token.
#[derive(Debug, Clone)]
pub struct Request {
    /// The address.
    pub url: Url,
    /// What is asked for.
    pub kind: RequestKind,
    /// No credentials go with it, even to an origin that may see them.
    pub anonymous: bool,
    /// A token for `Authorization: Bearer`, which the origin may see.
    pub bearer: Option<SecretString>,
    /// What is posted for a token.
    pub form: Option<Form>,
    /// When it left.
    pub sent: Sent,
}

/// When a request left, once it had waited for a token and for its host's turn: what it took is counted from there. The
/// clones of a request share it, and each attempt notes it anew.
#[derive(Debug, Clone, Default)]
pub struct Sent(Arc<Mutex<Option<Instant>>>);

impl Sent {
    /// Notes that the request leaves now.
    pub fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// When the last attempt left, if it did and nobody has asked since.
    #[must_use]
    pub fn take(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A form, posted as `application/x-www-form-urlencoded`. Values are never shown.
#[derive(Debug, Clone)]
pub struct Form {
    /// Its fields.
    pub fields: Vec<(String, SecretString)>,
    /// Who posts it, as the value of `Authorization`.
    pub authorization: Option<SecretString>,
}

impl Request {
    /// A request for FHIR, with whatever credentials the origin may see.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self { url, kind: RequestKind::Fhir, anonymous: false, bearer: None, form: None, sent: Sent::default() }
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// FHIR as JSON.
    Fhir,
    /// A Bulk Data export, to be made in the background (`Prefer: respond-async`).
    Export,
    /// A file of a Bulk Data export.
    Ndjson,
    /// A token (OAuth 2.0), from the endpoint that the job names.
    Token,
}

/// An answer whose body is still coming.
pub struct Incoming {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// Where it comes from, after redirects.
    pub url: Url,
    /// The body, decompressed.
    pub body: BoxStream<'static, Result<Bytes, TransportError>>,
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body, decompressed.
    pub body: Bytes,
    /// Where it came from, after redirects.
    pub url: Url,
}

/// Why no answer came. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection: no such host, refused, TLS.
    #[error("cannot connect")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The whole answer did not come in time.
    #[error("no whole answer within {} s", limit.as_secs_f64())]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// The connection broke before the last byte.
    #[error("the connection broke in the middle of the answer")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The body is larger than allowed, decompressed.
    #[error("the answer is larger than {limit} bytes (max_page_bytes)")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The token endpoint gives no token.
    #[error("the token endpoint gives no token ({error}): check token_url, the client and its secret")]
    Token {
        /// Its HTTP status; 0 where that says nothing.
        status: u16,
        /// What it said.
        error: String,
    },
    /// What a person has granted is over: only the person can grant it again.
    #[error("the sign-in is over")]
    SignedOut,
    /// The server rejects a token that it took before: another one is asked for.
    #[error("the server no longer takes the token")]
    TokenRejected,
    /// A redirect to an origin that is not trusted, or a chain of them.
    #[error("the server redirects to {target}, which is not a trusted origin")]
    Redirect {
        /// Where to, without its query.
        target: String,
    },
}

/// Sends requests.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request and waits for the whole answer.
    fn send(&self, request: &Request) -> impl Future<Output = Result<Reply, TransportError>> + Send;

    /// Sends one request and hands out the answer as it comes, for bodies that may be larger than the memory. Without a
    /// way of its own, a transport gives the whole answer as one piece.
    fn open(&self, request: &Request) -> impl Future<Output = Result<Incoming, TransportError>> + Send {
        async {
            let Reply { status, headers, body, url } = self.send(request).await?;
            Ok(Incoming { status, headers, url, body: stream::once(async { Ok(body) }).boxed() })
        }
    }
}
