//! The length of the waits between retries: exponential with jitter. The only file that knows the crate `backoff`
//! (docs/decisions/002-backoff.md).

use std::time::Duration;

use backoff::{ExponentialBackoff, backoff::Backoff};

/// The wait before the first retry, before jitter.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait without a word from the server.
const LONGEST: Duration = Duration::from_secs(60);

/// A growing series of waits for one request.
#[derive(Debug)]
pub struct Delays(ExponentialBackoff);

impl Delays {
    /// Waits that double from half a second to a minute, each moved at random by up to `jitter` of itself (0 to 1), so
    /// that several clients that failed together do not come back together.
    #[must_use]
    pub fn new(jitter: f64) -> Self {
        Self(ExponentialBackoff {
            current_interval: FIRST,
            initial_interval: FIRST,
            randomization_factor: jitter.clamp(0.0, 1.0),
            multiplier: 2.0,
            max_interval: LONGEST,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        })
    }
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next_backoff()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute() {
        let seconds: Vec<f64> = Delays::new(0.0).take(9).map(|wait| wait.as_secs_f64()).collect();
        assert_eq!(seconds, vec![0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        for wait in Delays::new(0.5).take(5).zip([0.5, 1.0, 2.0, 4.0, 8.0]) {
            let (wait, middle) = (wait.0.as_secs_f64(), wait.1);
            assert!((middle * 0.5..=middle * 1.5).contains(&wait), "{wait} around {middle}");
        }
    }
}
