//! When a job is due: five cron fields in a time zone. Twice a year a day has 23 or 25 hours: a job with a fixed time
//! runs once on both, at the first moment after the gap, and in the first of two equal hours; one that repeats by the
//! hour or minute keeps its beat.

use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

/// A schedule that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimetableError {
    /// More or fewer than five fields, `@daily` and its kind among them.
    #[error(
        "{schedule:?} has {fields} field(s), but a schedule has five fields: minute, hour, day of the month, month, day of \
         the week, as in \"15 2 * * *\""
    )]
    Fields {
        /// The schedule.
        schedule: String,
        /// Its fields.
        fields: usize,
    },
    /// A sign that only some crons know.
    #[error("{schedule:?} holds {sign:?}: a schedule is made of numbers, names of months and days, and * , - /")]
    Sign {
        /// The schedule.
        schedule: String,
        /// The sign.
        sign: char,
    },
    /// Something that does not exist, such as minute 61.
    #[error("{schedule:?} is no schedule: {reason}")]
    Pattern {
        /// The schedule.
        schedule: String,
        /// Why.
        reason: String,
    },
}

/// The times at which a job is due.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: Tz,
}

impl Timetable {
    /// Reads five cron fields.
    ///
    /// # Errors
    /// It is no schedule, or one that not every cron understands.
    pub fn new(schedule: &str, zone: Tz) -> Result<Self, TimetableError> {
        let fields = schedule.split_whitespace().count();
        if fields != 5 {
            return Err(TimetableError::Fields { schedule: schedule.to_owned(), fields });
        }
        let portable = |c: &char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "*,-/".contains(*c);
        // `L` and `W` are extensions too; no name of a month or day is so short.
        let extension = schedule.split(|c: char| !c.is_ascii_alphabetic()).find(|word| matches!(word.len(), 1 | 2));
        let sign = schedule.chars().find(|c| !portable(c)).or_else(|| extension.and_then(|word| word.chars().next()));
        if let Some(sign) = sign {
            return Err(TimetableError::Sign { schedule: schedule.to_owned(), sign });
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let wrong = |reason: String| TimetableError::Pattern { schedule: schedule.to_owned(), reason };
        let cron = parser.parse(schedule).map_err(|error| wrong(error.to_string()))?;
        let table = Self { cron, zone };
        // The 31st of February parses, and never comes.
        if table.after(DateTime::UNIX_EPOCH).is_none() {
            return Err(wrong("no day is like that".into()));
        }
        Ok(table)
    }

    /// The first time after `moment`; none if there is no such day in the calendar.
    #[must_use]
    pub fn after(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = moment.with_timezone(&self.zone);
        self.cron.find_next_occurrence(&local, false).ok().map(|next| next.with_timezone(&Utc))
    }

    /// The time zone.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }
}

/// How much later than planned a run of a job begins: less than `jitter`, and always the same for the same job and time,
/// so that a scheduler that is started again neither loses nor doubles a run.
#[must_use]
pub fn delay(job: &str, planned: DateTime<Utc>, jitter: Duration) -> Duration {
    let millis = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return Duration::ZERO;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(job.as_bytes()).update(&planned.timestamp().to_le_bytes());
    let mut first = [0_u8; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    Duration::from_millis(u64::from_le_bytes(first) % millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(schedule: &str, zone: Tz, from: &str, count: usize) -> Vec<String> {
        let table = Timetable::new(schedule, zone).unwrap();
        let mut at: DateTime<Utc> = from.parse().unwrap();
        let next = || {
            at = table.after(at)?;
            Some(at.with_timezone(&zone).format("%m-%d %H:%M %z").to_string())
        };
        std::iter::from_fn(next).take(count).collect()
    }

    #[test]
    fn a_night_without_its_hour_runs_right_after_the_gap_and_once() {
        // New York, 2026-03-08: 02:00 becomes 03:00.
        assert_eq!(
            times("15 2 * * *", Tz::America__New_York, "2026-03-07T12:00:00Z", 2),
            ["03-08 03:00 -0400", "03-09 02:15 -0400"]
        );
        assert_eq!(
            times("30 * * * *", Tz::America__New_York, "2026-03-08T06:00:00Z", 3),
            ["03-08 01:30 -0500", "03-08 03:30 -0400", "03-08 04:30 -0400"]
        );
    }

    #[test]
    fn a_night_with_an_hour_twice_runs_once_and_a_beat_goes_on() {
        // New York, 2026-11-01: 02:00 becomes 01:00.
        assert_eq!(
            times("15 1 * * *", Tz::America__New_York, "2026-10-31T12:00:00Z", 2),
            ["11-01 01:15 -0400", "11-02 01:15 -0500"]
        );
        assert_eq!(
            times("30 * * * *", Tz::America__New_York, "2026-11-01T04:45:00Z", 3),
            ["11-01 01:30 -0400", "11-01 01:30 -0500", "11-01 02:30 -0500"]
        );
        // Half an hour, on an island: Lord Howe, 2026-04-05, 02:00 becomes 01:30.
        assert_eq!(
            times("45 1 * * *", Tz::Australia__Lord_Howe, "2026-04-04T00:00:00Z", 2),
            ["04-05 01:45 +1100", "04-06 01:45 +1030"]
        );
    }

    #[test]
    fn every_day_of_ten_years_has_its_run_in_every_zone() {
        for zone in [Tz::America__New_York, Tz::America__Los_Angeles, Tz::Europe__Berlin, Tz::Australia__Lord_Howe] {
            for schedule in ["15 2 * * *", "30 1 * * *", "0 3 * * *"] {
                let table = Timetable::new(schedule, zone).unwrap();
                let mut at: DateTime<Utc> = "2026-01-01T12:00:00Z".parse().unwrap();
                let mut day = at.with_timezone(&zone).date_naive();
                for _ in 0..3_650 {
                    at = table.after(at).unwrap();
                    let next = at.with_timezone(&zone).date_naive();
                    assert_eq!(next, day.succ_opt().unwrap(), "{zone} {schedule}");
                    day = next;
                }
            }
        }
    }

    #[test]
    fn what_not_every_cron_knows_is_refused() {
        for (schedule, part) in [
            ("@daily", "five fields"),
            ("0 15 2 * * *", "6 field(s)"),
            ("15 2 L * *", "'L'"),
            ("15 2 * * 5#2", "'#'"),
            ("61 2 * * *", "61 2 * * *"),
            ("0 0 31 2 *", "no day"),
        ] {
            let error = Timetable::new(schedule, Tz::UTC).unwrap_err().to_string();
            assert!(error.contains(part), "{schedule}: {error}");
        }
    }

    #[test]
    fn a_delay_is_within_bounds_the_same_again_and_not_the_same_for_all() {
        let at: DateTime<Utc> = "2026-03-08T06:00:00Z".parse().unwrap();
        let jitter = Duration::from_secs(600);
        let delays: Vec<Duration> = (0..100).map(|number| delay(&format!("job-{number}"), at, jitter)).collect();
        assert!(delays.iter().all(|one| *one < jitter));
        assert_eq!(delay("job-7", at, jitter), delays[7]);
        assert!(delays.iter().collect::<std::collections::BTreeSet<_>>().len() > 90);
        assert_eq!(delay("job", at, Duration::ZERO), Duration::ZERO);
    }
}
