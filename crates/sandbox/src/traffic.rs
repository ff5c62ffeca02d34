//! What clients did: every request with its time, so that tests can assert politeness and that no key went astray.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Requests kept in the log; older ones are dropped but stay counted.
const KEPT_EXCHANGES: usize = 20_000;

/// One request and the status it was answered with.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// When the request line had been read.
    pub at: Instant,
    /// The method.
    pub method: String,
    /// The `Host` header: the origin the client believed it was talking to.
    pub host: String,
    /// Path and query as sent.
    pub target: String,
    /// Whether it carried an `Authorization` header.
    pub authorization: bool,
    /// Whether it carried the API key header (only known when the sandbox asks for one).
    pub api_key: bool,
    /// The names of all its headers, in lower case and sorted: a key that went astray shows here whatever its header.
    pub headers: Vec<String>,
    /// Value of the `Prefer` header, if any.
    pub prefer: Option<String>,
    /// The HTTP status of the answer; 0 when the connection was left without one.
    pub status: u16,
}

/// A bounded log of requests, shared between a running sandbox and whoever watches it.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: AtomicU64,
    bytes: AtomicU64,
    log: Mutex<VecDeque<Exchange>>,
}

impl Traffic {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The bytes of all answers so far, before any compression, headers not counted.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The latest 20,000 requests, oldest first.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The greatest number of requests within any window of this width.
    #[must_use]
    pub fn busiest(&self, window: Duration) -> usize {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut times: Vec<Instant> = log.iter().map(|exchange| exchange.at).collect();
        times.sort_unstable();
        let mut first = 0;
        let mut busiest = 0;
        for (last, at) in times.iter().enumerate() {
            while times.get(first).is_some_and(|start| at.duration_since(*start) >= window) {
                first += 1;
            }
            busiest = busiest.max(last + 1 - first);
        }
        busiest
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.requests.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Writes a request down; the answer to [`Traffic::answered`] is its place.
    pub(crate) fn arrived(&self, exchange: Exchange) -> u64 {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        if log.len() >= KEPT_EXCHANGES {
            log.pop_front();
        }
        log.push_back(exchange);
        number
    }

    /// Writes the answer to a request down.
    pub(crate) fn answered(&self, number: u64, status: u16, bytes: usize) {
        self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = self.requests.load(Ordering::Relaxed).saturating_sub(u64::try_from(log.len()).unwrap_or(0));
        let at = number.checked_sub(dropped).and_then(|at| usize::try_from(at).ok());
        if let Some(exchange) = at.and_then(|at| log.get_mut(at)) {
            exchange.status = status;
        }
    }
}
