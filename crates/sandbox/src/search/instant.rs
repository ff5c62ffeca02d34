//! FHIR dates and instants as half-open ranges of nanoseconds since 1970, for `_lastUpdated` and date parameters.

use chrono::{DateTime, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

/// What a date of some precision covers: from its first nanosecond up to, but without, the first one after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// Reads a full instant (date, time, zone; any number of fractional digits) to the nanosecond.
pub(crate) fn parse_instant(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt()
}

/// Reads `YYYY`, `YYYY-MM`, `YYYY-MM-DD`, `…Thh:mm`, `…Thh:mm:ss[.fff…]` with or without a zone (UTC is assumed).
pub(crate) fn parse_range(text: &str) -> Option<Range> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    match time {
        None => date_range(date),
        Some(time) => time_range(date, time),
    }
}

fn date_range(text: &str) -> Option<Range> {
    let parts: Vec<&str> = text.split('-').collect();
    let (first, next) = match parts.as_slice() {
        [year] if year.len() == 4 => {
            let first = NaiveDate::from_ymd_opt(year.parse().ok()?, 1, 1)?;
            (first, first.checked_add_months(Months::new(12))?)
        }
        [year, month] if year.len() == 4 => {
            let first = NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, 1)?;
            (first, first.checked_add_months(Months::new(1))?)
        }
        [_, _, _] => {
            let first = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            (first, first.checked_add_days(Days::new(1))?)
        }
        _ => return None,
    };
    Some(Range { from: nanos(first.and_time(NaiveTime::MIN))?, to: nanos(next.and_time(NaiveTime::MIN))? })
}

fn time_range(date: &str, time: &str) -> Option<Range> {
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at_checked(zone_at)?;
    let zone = if zone.is_empty() { "Z" } else { zone };
    let colons = clock.matches(':').count();
    let (full, width) = match (colons, clock.split_once('.')) {
        (1, None) => (format!("{date}T{clock}:00{zone}"), TimeDelta::minutes(1)),
        (2, None) => (format!("{date}T{clock}{zone}"), TimeDelta::seconds(1)),
        (2, Some((_, fraction))) => {
            let digits = u32::try_from(fraction.len()).ok()?.min(9);
            (format!("{date}T{clock}{zone}"), TimeDelta::nanoseconds(10_i64.pow(9 - digits)))
        }
        _ => return None,
    };
    let from = parse_instant(&full)?;
    Some(Range { from, to: from.checked_add(width.num_nanoseconds()?)? })
}

fn nanos(at: NaiveDateTime) -> Option<i64> {
    at.and_utc().timestamp_nanos_opt()
}

/// A comparison of the search grammar (FHIR R4, search, 3.1.1.4.5 prefixes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefix {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
    Sa,
    Eb,
}

/// One `prefix` + date of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DateTest {
    prefix: Prefix,
    range: Range,
}

impl DateTest {
    /// Reads `ge2024-01-01`, `2024`, …; `None` when the prefix or the date is not one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (prefix, rest) = match text.get(..2) {
            Some("eq") => (Prefix::Eq, text.get(2..)?),
            Some("ne") => (Prefix::Ne, text.get(2..)?),
            Some("gt") => (Prefix::Gt, text.get(2..)?),
            Some("ge") => (Prefix::Ge, text.get(2..)?),
            Some("lt") => (Prefix::Lt, text.get(2..)?),
            Some("le") => (Prefix::Le, text.get(2..)?),
            Some("sa") => (Prefix::Sa, text.get(2..)?),
            Some("eb") => (Prefix::Eb, text.get(2..)?),
            _ => (Prefix::Eq, text),
        };
        // A plus sign of a zone that was not escaped arrives as a space.
        Some(Self { prefix, range: parse_range(&rest.replace(' ', "+"))? })
    }

    /// Whether a point in time passes.
    pub(crate) fn holds_at(self, at: i64) -> bool {
        self.holds(Range { from: at, to: at.saturating_add(1) })
    }

    /// Whether a period (open ends as `i64::MIN`/`i64::MAX`) passes.
    pub(crate) fn holds(self, value: Range) -> bool {
        let Range { from, to } = self.range;
        match self.prefix {
            Prefix::Eq => value.from >= from && value.to <= to,
            Prefix::Ne => value.from < from || value.to > to,
            Prefix::Gt => value.to > to,
            Prefix::Ge => value.to > from,
            Prefix::Lt => value.from < from,
            Prefix::Le => value.from < to,
            Prefix::Sa => value.from >= to,
            Prefix::Eb => value.to <= from,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn precision_decides_what_a_date_covers() {
        for (text, from, to) in [
            ("2024", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
            ("2024-12", "2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z"),
            ("2024-02-28", "2024-02-28T00:00:00Z", "2024-02-29T00:00:00Z"),
            ("2024-02-28T10:11", "2024-02-28T10:11:00Z", "2024-02-28T10:12:00Z"),
            ("2024-02-28T10:11:12-05:00", "2024-02-28T15:11:12Z", "2024-02-28T15:11:13Z"),
            ("2024-02-28T10:11:12.5Z", "2024-02-28T10:11:12.5Z", "2024-02-28T10:11:12.6Z"),
        ] {
            let expected = Range { from: parse_instant(from).unwrap(), to: parse_instant(to).unwrap() };
            assert_eq!(parse_range(text), Some(expected), "{text}");
        }
        for wrong in ["", "20", "2024-13", "2024-02-30", "yesterday", "2024-01-01T", "2024-01-01T10"] {
            assert_eq!(parse_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn prefixes_compare_a_point_with_a_day() {
        let at = |text: &str| parse_instant(text).unwrap();
        let before = at("2024-02-27T23:59:59.999Z");
        let within = at("2024-02-28T12:00:00Z");
        let after = at("2024-02-29T00:00:00Z");
        for (test, expected) in [
            ("2024-02-28", [false, true, false]),
            ("ne2024-02-28", [true, false, true]),
            ("gt2024-02-28", [false, false, true]),
            ("ge2024-02-28", [false, true, true]),
            ("lt2024-02-28", [true, false, false]),
            ("le2024-02-28", [true, true, false]),
            ("sa2024-02-28", [false, false, true]),
            ("eb2024-02-28", [true, false, false]),
        ] {
            let test = DateTest::parse(test).unwrap();
            assert_eq!([before, within, after].map(|at| test.holds_at(at)), expected, "{test:?}");
        }
    }
}
