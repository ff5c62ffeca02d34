//! What a sandbox remembers of its requests, so that it misbehaves at fixed beats.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Counters kept; a sandbox under a fault is a test's, and small.
const MAX_COUNTERS: usize = 100_000;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    requests: AtomicU64,
    counters: Mutex<HashMap<String, u64>>,
    recent: Mutex<VecDeque<Instant>>,
}

impl Memory {
    /// The number of this request, from 0.
    pub(crate) fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// How often this was counted before.
    pub(crate) fn count(&self, what: &str) -> u64 {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.len() >= MAX_COUNTERS {
            counters.clear();
        }
        let counter = counters.entry(what.to_owned()).or_insert(0);
        *counter += 1;
        *counter - 1
    }

    /// How often this was counted so far.
    pub(crate) fn counted(&self, what: &str) -> u64 {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).get(what).copied().unwrap_or(0)
    }

    /// Whether this request is one too many within a second.
    pub(crate) fn exceeds(&self, per_second: usize) -> bool {
        let now = Instant::now();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(1)) {
            recent.pop_front();
        }
        if recent.len() >= per_second {
            return true;
        }
        recent.push_back(now);
        false
    }
}
