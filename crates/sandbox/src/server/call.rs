//! One request, read whole.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};

use super::answer::Answer;

/// A form body of `POST _search` may be this long: room for a batch of 10,000 ids.
const MAX_BODY: usize = 1 << 20;

/// A request as the router sees it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) host: String,
    pub(crate) scheme: &'static str,
    /// Path and query as sent.
    pub(crate) target: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: String,
    pub(crate) headers: HeaderMap,
}

impl Call {
    pub(crate) async fn read(request: Request) -> Result<Self, Answer> {
        let (parts, body) = request.into_parts();
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
        let host = text("host").unwrap_or("localhost").to_owned();
        let body = to_bytes(body, MAX_BODY)
            .await
            .map_err(|_| Answer::outcome(StatusCode::PAYLOAD_TOO_LARGE, "too-long", "the request body is too long"))?;
        Ok(Self {
            host,
            scheme,
            target: parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or("").to_owned(),
            body: String::from_utf8_lossy(&body).into_owned(),
            method: parts.method,
            headers: parts.headers,
        })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn accepts_gzip(&self) -> bool {
        self.header("accept-encoding").is_some_and(|accepted| accepted.contains("gzip"))
    }

    /// Whether this asks for a page after the first.
    pub(crate) fn is_next_page(&self) -> bool {
        ["_getpagesoffset=", "_offset=", "_skip=", "page=", "ct=", "search-offset="]
            .iter()
            .any(|name| self.query.split('&').any(|parameter| parameter.starts_with(name)))
    }

    /// Whether the client wants unknown parameters refused.
    pub(crate) fn strict(&self) -> bool {
        self.header("prefer").is_some_and(|prefer| prefer.contains("handling=strict"))
    }

    /// The absolute URL of a mount as this client sees it.
    pub(crate) fn base(&self, mount_path: &str) -> String {
        format!("{}://{}{mount_path}", self.scheme, self.host)
    }
}
