//! A search becomes pages, politely and without a silent loss.
//!
//! The crawler asks a FHIR server for everything of a resource type, follows its pages at a given pace, and hands each
//! page to a [`store::Store`] together with the cursor that follows it. It says `complete` only when paging ended by the
//! server's own word and no count contradicts it. Its promise: attempts, retries included, never exceed the pace of a
//! host; credentials go to no other origin than configured; nothing about a secret or a person is in any message.
//!
//! Requests pass `Retrying<Authorized<Paced<Http>>>`, composed by [`client`]: retries outside, the limiter inside, so that every
//! attempt pays; credentials are added at the network end, by the origin of each request.
//!
//! ```
//! use fhirvest_crawler::{
//!     ending::{EndedBy, Evidence, Status, judge},
//!     strategy::Closure,
//! };
//!
//! // Paging ended by the server's own word, but the server counts more than came: that is partial.
//! let closure = Closure::Closed;
//! let evidence =
//!     Evidence { unique: 50, server_total: Some(121), min_coverage: 0.98, closure, ..Evidence::default() };
//! assert_eq!(judge(&[EndedBy::LastPage], &evidence).0, Status::Partial);
//! ```

pub mod authorized;
pub mod backoff_delay;
mod bulk;
pub mod ending;
pub mod engine;
pub mod event;
pub mod http;
pub mod judgement;
pub mod memory;
pub mod oauth;
pub mod pace;
pub mod paging;
pub mod probe;
mod recurrence;
pub mod retry;
pub mod source;
pub mod store;
pub mod strategy;
mod suspicion;
pub mod transport;
pub mod webhook;

use std::sync::Arc;

use authorized::Authorized;
use event::EventSink;
use http::{ClientError, Http};
use pace::{HostLimiters, Paced};
use retry::{Now, Retrying};
use source::{Limits, Pace, Source};
use tokio::sync::watch;

/// Waits between retries are moved at random by up to half of themselves.
const JITTER: f64 = 0.5;

/// The way of a request of a sign-in, which is neither retried nor authorized: the limiter, then the network.
///
/// # Errors
/// The credentials are no HTTP header, or TLS cannot be set up.
pub fn paced(
    source: &Source,
    pace: Pace,
    limits: &Limits,
    hosts: Arc<HostLimiters>,
) -> Result<Paced<Http>, ClientError> {
    Ok(Paced::new(Http::new(source.clone(), limits)?, hosts, pace))
}

/// The way of a request: retries outside, the limiter inside, the network last.
///
/// # Errors
/// The credentials are no HTTP header, or TLS cannot be set up.
pub fn client(
    source: &Source,
    pace: Pace,
    limits: &Limits,
    hosts: Arc<HostLimiters>,
    now: Now,
    events: Arc<dyn EventSink>,
    cancel: watch::Receiver<bool>,
) -> Result<Retrying<Authorized<Paced<Http>>>, ClientError> {
    let authorized = Authorized::new(paced(source, pace, limits, hosts)?, source.clone(), now);
    Ok(Retrying::new(authorized, *limits, JITTER, now, events, cancel).discreet(source.sensitive))
}
