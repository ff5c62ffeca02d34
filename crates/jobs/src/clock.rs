//! Where the time comes from: a value that the caller passes in, so that a test can set it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// A source of the present moment, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// Always the same moment: for tests.
    Fixed(DateTime<Utc>),
    /// A clock that was set: it showed `from` at `since`, and goes `speed` times as fast as the machine's. For tests of
    /// schedules, and to rehearse one.
    Set {
        /// What it was set to.
        from: DateTime<Utc>,
        /// When it was set, by tokio's clock, which a test can pause.
        since: Instant,
        /// Seconds that it shows in one second; at least 1.
        speed: u32,
    },
}

impl Clock {
    /// A clock set to a moment.
    #[must_use]
    pub fn set(from: DateTime<Utc>, speed: u32) -> Self {
        Self::Set { from, since: Instant::now(), speed: speed.max(1) }
    }

    /// The present moment.
    #[must_use]
    pub fn now(self) -> DateTime<Utc> {
        match self {
            #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
            Self::System => Utc::now(),
            Self::Fixed(at) => at,
            Self::Set { from, since, speed } => {
                let passed = since.elapsed().saturating_mul(speed);
                chrono::TimeDelta::from_std(passed)
                    .ok()
                    .and_then(|passed| from.checked_add_signed(passed))
                    .unwrap_or(from)
            }
        }
    }

    /// Sleeps until this clock shows `moment`, at most for `most` of its time.
    pub async fn sleep_until(self, moment: DateTime<Utc>, most: Duration) {
        let left = (moment - self.now()).to_std().unwrap_or_default().min(most);
        let speed = if let Self::Set { speed, .. } = self { speed.max(1) } else { 1 };
        // A millisecond more: what is due must not be looked for a moment too early.
        tokio::time::sleep(left / speed + Duration::from_millis(1)).await;
    }
}
