//! One request, one reply. What retries, paces and authorizes are decorators around this seam; the scripted transport
//! of the tests is its other end.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use reqwest::header::HeaderMap;
use url::Url;

/// A GET request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The address.
    pub url: Url,
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
}
