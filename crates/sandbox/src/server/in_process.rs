//! A sandbox without a socket, for tests that ask thousands of servers under a clock of their own.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, HOST};
use axum::http::{HeaderMap, Method};
use tokio::sync::watch;

use super::{App, app, handle};
use crate::error::SandboxError;
use crate::options::Options;
use crate::world::World;

/// A sandbox that answers within the process. Its waits are tokio's, so that a test may pause the clock.
#[derive(Debug)]
pub struct InProcess {
    app: Arc<App>,
    _stop: watch::Sender<bool>,
}

/// An answer as far as it came.
#[derive(Debug, Clone)]
pub struct InProcessAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; nothing where the connection broke before its last byte, or it is shorter than its Content-Length.
    pub body: Option<Bytes>,
}

impl InProcess {
    /// A sandbox that holds a world and behaves so.
    ///
    /// # Errors
    /// The key of the sign-in cannot be made.
    pub fn new(world: Arc<World>, options: Options) -> Result<Self, SandboxError> {
        let (stop, stopping) = watch::channel(false);
        Ok(Self { app: Arc::new(app(world, options, stopping)?), _stop: stop })
    }

    /// Answers a GET of a path with its query, sent to a host with these headers.
    pub async fn get(&self, host: &str, target: &str, headers: HeaderMap) -> InProcessAnswer {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = target.parse().unwrap_or_default();
        *request.headers_mut() = headers;
        if let Ok(host) = host.parse() {
            request.headers_mut().insert(HOST, host);
        }
        let (parts, body) = handle(State(Arc::clone(&self.app)), request).await.into_parts();
        let declared = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let body = to_bytes(body, usize::MAX).await.ok();
        let body = body.filter(|body| declared.is_none_or(|declared| declared <= body.len()));
        InProcessAnswer { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}
