//! One answer, before it becomes HTTP.

use std::io::Write as _;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;

use super::App;
use crate::bundle;

pub(crate) const FHIR_JSON: &str = "application/fhir+json";

/// Shorter answers are sent as they are, as most servers do.
const WORTH_COMPRESSING: usize = 1_024;

/// An answer and how it goes over the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) content_type: &'static str,
    pub(crate) body: Payload,
    /// How long nothing happens before the first byte.
    pub(crate) delay: Option<Duration>,
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Payload {
    /// Sent at once with its length.
    Whole(Bytes),
    /// Sent piece by piece, as a server does that is in trouble.
    Script {
        /// The length that the headers promise, if any.
        declared: Option<usize>,
        steps: Vec<Step>,
    },
}

/// One piece of a scripted body.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(Bytes),
    Wait(Duration),
    /// Break the connection off.
    Abort,
}

impl Answer {
    pub(crate) fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), content_type, body: Payload::Whole(body.into()), delay: None }
    }

    pub(crate) fn fhir(body: impl Into<Bytes>) -> Self {
        Self::new(StatusCode::OK, FHIR_JSON, body)
    }

    /// An OperationOutcome with one error.
    pub(crate) fn outcome(status: StatusCode, code: &str, diagnostics: &str) -> Self {
        Self::new(status, FHIR_JSON, bundle::outcome("error", code, diagnostics))
    }

    pub(crate) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same answer after some silence.
    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    pub(crate) fn body_len(&self) -> usize {
        match &self.body {
            Payload::Whole(bytes) => bytes.len(),
            Payload::Script { steps, .. } => steps
                .iter()
                .map(|step| match step {
                    Step::Send(bytes) => bytes.len(),
                    Step::Wait(_) | Step::Abort => 0,
                })
                .sum(),
        }
    }

    pub(crate) fn into_response(self, app: &App, accepts_gzip: bool) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.append(name, value);
            }
        }
        let long = matches!(&self.body, Payload::Whole(bytes) if bytes.len() >= WORTH_COMPRESSING);
        let varies = app.options.gzip && long && !headers.contains_key(CONTENT_ENCODING);
        if varies {
            headers.append(VARY, HeaderValue::from_static("accept-encoding"));
        }
        let body = match self.body {
            Payload::Whole(bytes) if varies && accepts_gzip => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                Body::from(gzip(&bytes))
            }
            Payload::Whole(bytes) => Body::from(bytes),
            Payload::Script { declared, steps } => {
                if let Some(length) = declared {
                    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                }
                script(app, steps)
            }
        };
        *response.body_mut() = body;
        response
    }
}

/// Compresses at the level real servers use on the fly.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    // Writing into memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

fn script(app: &App, steps: Vec<Step>) -> Body {
    let stopping = app.stopping.clone();
    let body = stream::unfold((steps.into_iter(), stopping), |(mut steps, mut stopping)| async move {
        loop {
            match steps.next()? {
                Step::Send(bytes) => return Some((Ok(bytes), (steps, stopping))),
                Step::Wait(time) => {
                    tokio::select! {
                        () = tokio::time::sleep(time) => {}
                        _ = stopping.wait_for(|stop| *stop) => return None,
                    }
                }
                Step::Abort => {
                    let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "broken off on purpose");
                    return Some((Err(broken), (Vec::new().into_iter(), stopping)));
                }
            }
        }
    });
    Body::from_stream(body)
}
