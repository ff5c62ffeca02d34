//! FHIR's dates and times (R4, datatypes): text with its precision, as days and microseconds, and compared.

use std::cmp::Ordering;

/// How finely a date, dateTime or time is told. A second and its fraction are one precision (FHIRPath N1, 6.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// `2020`
    Year,
    /// `2020-08`
    Month,
    /// `2020-08-05`
    Day,
    /// `2020-08-05T19`, or `19`
    Hour,
    /// `2020-08-05T19:21`, or `19:21`
    Minute,
    /// `2020-08-05T19:21:12.7`, or `19:21:12.7`
    Second,
}

/// What a text tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A calendar date, whole or partial.
    Date,
    /// A date with a clock.
    DateTime,
    /// A clock without a date.
    Time,
}

/// A date, dateTime or time with its precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What it tells.
    pub kind: Kind,
    /// How finely.
    pub precision: Precision,
    /// Months since year 0; what is missing is the first.
    months: i64,
    /// Seconds since 1970-01-01T00:00:00 as written, or since midnight.
    seconds: i64,
    /// The fraction of the second in units of 10^-18.
    fraction: u64,
    /// The zone's distance from UTC in seconds.
    offset: Option<i64>,
}

impl Moment {
    /// Reads a date (`2020`, `2020-08`, `2020-08-05`), a dateTime (with `T19`, `T19:21`, `T19:21:12.7` and a zone or none) or a
    /// time (`19:21`, or `19` as a literal of FHIRPath may say). Nothing where the text is none of them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() == 2 || text.as_bytes().get(2) == Some(&b':') {
            let (seconds, fraction, precision) = clock(text)?;
            return Some(Self { kind: Kind::Time, precision, months: 0, seconds, fraction, offset: None });
        }
        let (date, rest) = text.split_once('T').map_or((text, None), |(date, rest)| (date, Some(rest)));
        let (precision, whole) = match date.len() {
            4 => (Precision::Year, format!("{date}-01-01")),
            7 => (Precision::Month, format!("{date}-01")),
            _ => (Precision::Day, date.to_owned()),
        };
        let (year, month, day) = ymd(&whole)?;
        let (months, seconds) = (year * 12 + month - 1, days_from_civil(year, month, day) * 86_400);
        let date = Self { kind: Kind::Date, precision, months, seconds, fraction: 0, offset: None };
        let Some(rest) = rest else { return Some(date) };
        // `2020T` is a dateTime that tells no more than a year: a literal of FHIRPath may say so.
        if rest.is_empty() {
            return Some(Self { kind: Kind::DateTime, ..date });
        }
        if precision != Precision::Day {
            return None;
        }
        let (time, zone) = rest.split_at(rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len()));
        let (of_day, fraction, precision) = clock(time)?;
        let offset = if zone.is_empty() { None } else { Some(offset(zone)?) };
        Some(Self { kind: Kind::DateTime, precision, months, seconds: seconds + of_day, fraction, offset })
    }

    /// Compares by FHIRPath's rule: as finely as both tell; nothing within where that leaves it open. Times are compared with
    /// times only: nothing else. Where only one tells its zone, the other's may be any: it is open within fourteen hours.
    #[must_use]
    pub fn compare(self, other: Self) -> Option<Option<Ordering>> {
        if (self.kind == Kind::Time) != (other.kind == Kind::Time) {
            return None;
        }
        let least = self.precision.min(other.precision);
        if least >= Precision::Hour && self.offset.is_some() != other.offset.is_some() {
            let apart = self.utc() - other.utc();
            return Some((apart.abs() > WIDEST_OFFSET).then(|| apart.cmp(&0)));
        }
        let order = match least {
            Precision::Year => (self.months.div_euclid(12)).cmp(&other.months.div_euclid(12)),
            Precision::Month => self.months.cmp(&other.months),
            // A date has no zone: the other's day is the one that is written.
            Precision::Day => self.seconds.div_euclid(86_400).cmp(&other.seconds.div_euclid(86_400)),
            Precision::Hour => self.utc().div_euclid(3_600).cmp(&other.utc().div_euclid(3_600)),
            Precision::Minute => self.utc().div_euclid(60).cmp(&other.utc().div_euclid(60)),
            Precision::Second => (self.utc(), self.fraction).cmp(&(other.utc(), other.fraction)),
        };
        Some((order != Ordering::Equal || self.precision == other.precision).then_some(order))
    }

    /// A text that two moments share exactly where they are equal.
    #[must_use]
    pub fn key(self) -> String {
        let (precision, clock) = (self.precision as u8, self.kind == Kind::Time);
        let seconds = if self.precision < Precision::Hour { self.seconds } else { self.utc() };
        let zone = self.precision >= Precision::Hour && self.offset.is_some();
        format!("{clock}{precision}{zone}:{seconds}.{}", self.fraction)
    }

    fn utc(self) -> i64 {
        self.seconds - self.offset.unwrap_or(0)
    }
}

/// No zone is further from UTC, in seconds.
const WIDEST_OFFSET: i64 = 14 * 3_600;

/// Seconds since midnight, the fraction in units of 10^-18, and the precision of `HH`, `HH:MM` or `HH:MM:SS.f`.
fn clock(text: &str) -> Option<(i64, u64, Precision)> {
    let mut parts = text.splitn(3, ':');
    let hours = two(parts.next()?).filter(|hours| *hours < 24)?;
    let Some(minutes) = parts.next() else { return Some((hours * 3_600, 0, Precision::Hour)) };
    let minutes = two(minutes).filter(|minutes| *minutes < 60)?;
    let Some(part) = parts.next() else { return Some(((hours * 60 + minutes) * 60, 0, Precision::Minute)) };
    let (seconds, digits) = part.split_once('.').unwrap_or((part, "0"));
    let seconds = two(seconds).filter(|seconds| *seconds <= 60)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction =
        (0..18).fold(0, |sum, place| sum * 10 + digits.as_bytes().get(place).map_or(0, |byte| u64::from(byte - b'0')));
    Some(((hours * 60 + minutes) * 60 + seconds, fraction, Precision::Second))
}

/// Seconds from UTC of `Z` or `+hh:mm`.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let (sign, digits) = zone.split_at(1);
    let (hours, minutes) = digits.split_once(':')?;
    let seconds = (two(hours).filter(|h| *h <= 14)? * 60 + two(minutes).filter(|m| *m < 60)?) * 60;
    Some(if sign == "-" { -seconds } else { seconds })
}

/// Days from 1970-01-01 of a whole date, `YYYY-MM-DD`; of a dateTime its date as written. Nothing for a partial date, and
/// for what is no date.
#[must_use]
pub fn days(text: &str) -> Option<i32> {
    let date = text.get(..10)?;
    let rest = text.get(10..)?;
    // The zone says when that day was, not which: servers that leave it out tell the day as well.
    if !(rest.is_empty() || rest.starts_with('T') && local_micros(text).is_some()) {
        return None;
    }
    let (year, month, day) = ymd(date)?;
    i32::try_from(days_from_civil(year, month, day)).ok()
}

/// Microseconds from 1970-01-01T00:00:00Z of an instant or a dateTime with a time; its zone is required. Digits of the
/// second beyond the sixth are cut off.
#[must_use]
pub fn micros(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix('T')?;
    let (year, month, day) = ymd(date)?;
    let (clock, zone) = rest.split_at(rest.bytes().position(begins_zone)?);
    let seconds = days_from_civil(year, month, day) * 86_400 - offset(zone)?;
    seconds.checked_mul(1_000_000)?.checked_add(time_micros(clock)?)
}

/// Microseconds from 1970-01-01T00:00:00 of a dateTime as written, whatever its zone; of a date its midnight.
#[must_use]
pub fn local_micros(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let (year, month, day) = ymd(date)?;
    let (clock, zone) = rest.split_at(rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len()));
    if !zone.is_empty() {
        offset(zone)?;
    }
    (days_from_civil(year, month, day) * 86_400_000_000).checked_add(time_micros(clock)?)
}

/// Microseconds from midnight of a time: `HH:MM:SS` with any fraction; `HH:MM` occurs and is taken.
#[must_use]
pub fn time_micros(text: &str) -> Option<i64> {
    let [h, i, b':', m, n, rest @ ..] = text.as_bytes() else { return None };
    let hours = digits(*h, *i).filter(|hours| *hours < 24)?;
    let minutes = digits(*m, *n).filter(|minutes| *minutes < 60)?;
    let (seconds, fraction) = match rest {
        [] => (0, &[][..]),
        [b':', s, t] => (digits(*s, *t)?, &[][..]),
        [b':', s, t, b'.', fraction @ ..] if !fraction.is_empty() => (digits(*s, *t)?, fraction),
        _ => return None,
    };
    if seconds > 60 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut micros = 0;
    if !fraction.is_empty() {
        for place in 0..6 {
            micros = micros * 10 + fraction.get(place).map_or(0, |byte| i64::from(byte - b'0'));
        }
    }
    // A leap second is the last microsecond's neighbour: there is no other place for it.
    Some(((hours * 60 + minutes) * 60 + seconds.min(59)) * 1_000_000 + micros)
}

/// The first or last moment, to the millisecond, that a date, dateTime or time of its precision can mean (FHIRPath,
/// lowBoundary and highBoundary). A `date_time` without a zone gets the one that reaches furthest. Nothing where the text
/// is none of the three.
#[must_use]
pub fn boundary(text: &str, date_time: bool, high: bool) -> Option<String> {
    let (date, clock) = match text.split_once('T') {
        Some((date, clock)) => (date, Some(clock)),
        None if text.as_bytes().get(2) == Some(&b':') => return clock_boundary(text, high),
        None => (text, None),
    };
    let month = |month: &str| {
        let day = if high { longest_month(month)? } else { 1 };
        Some(format!("{month}-{day:02}"))
    };
    let date = match date.len() {
        4 => month(&format!("{date}-{}", if high { "12" } else { "01" }))?,
        7 => month(date)?,
        _ => date.to_owned(),
    };
    ymd(&date)?;
    if clock.is_none() && !date_time {
        return Some(date);
    }
    let clock = clock.unwrap_or("");
    let (clock, zone) = clock.split_at(clock.find(['Z', '+', '-']).unwrap_or(clock.len()));
    let zone = match zone {
        "" if high => "-12:00",
        "" => "+14:00",
        zone => zone,
    };
    let whole = format!("{date}T{}{zone}", clock_boundary(clock, high)?);
    micros(&whole).map(|_| whole)
}

/// A whole date, dateTime or time cut off after so many digits: 4, 6 or 8 of a date, 10, 12, 14 or 17 of a dateTime, 2, 4, 6
/// or 9 of a time (FHIRPath, lowBoundary and highBoundary). Nothing where the text does not have that many.
#[must_use]
pub fn to_digits(text: &str, digits: i64) -> Option<String> {
    let time = text.as_bytes().get(2) == Some(&b':');
    // The length of a text with so many digits.
    let lengths: &[(i64, usize)] = if time {
        &[(2, 2), (4, 5), (6, 8), (9, 12)]
    } else {
        &[(4, 4), (6, 7), (8, 10), (10, 13), (12, 16), (14, 19), (17, 23)]
    };
    let (_, length) = lengths.iter().find(|(known, _)| *known == digits)?;
    let (clock, zone) = match text.split_once('T') {
        Some((date, clock)) => {
            let zone = clock.find(['Z', '+', '-']).unwrap_or(clock.len());
            text.split_at(date.len() + 1 + zone)
        }
        None => (text, ""),
    };
    let cut = clock.get(..*length)?;
    Some(if cut.contains('T') { format!("{cut}{zone}") } else { cut.to_owned() })
}

fn clock_boundary(clock: &str, high: bool) -> Option<String> {
    let full = if high { "23:59:59.999" } else { "00:00:00.000" };
    // What is there is kept; what is missing is filled from the least or greatest clock. Finer digits stay.
    let filled = match clock.len() {
        0 | 2 | 5 | 8 => format!("{clock}{}", &full[clock.len()..]),
        10 | 11 => format!("{clock}{}", &if high { "999" } else { "000" }[clock.len() - 9..]),
        12.. => clock.to_owned(),
        _ => return None,
    };
    time_micros(&filled).map(|_| filled)
}

fn longest_month(month: &str) -> Option<u32> {
    (28..=31).rev().find(|day| ymd(&format!("{month}-{day}")).is_some())
}

fn ymd(text: &str) -> Option<(i64, i64, i64)> {
    let [c, e, n, t, b'-', m, o, b'-', d, a] = text.as_bytes() else { return None };
    let year = digits(*c, *e)? * 100 + digits(*n, *t)?;
    let (month, day) = (digits(*m, *o)?, digits(*d, *a)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (1..=longest).contains(&day).then_some((year, month, day))
}

fn two(text: &str) -> Option<i64> {
    let [a, b] = text.as_bytes() else { return None };
    digits(*a, *b)
}

/// A number of two digits.
fn digits(a: u8, b: u8) -> Option<i64> {
    (a.is_ascii_digit() && b.is_ascii_digit()).then(|| i64::from(a - b'0') * 10 + i64::from(b - b'0'))
}

fn begins_zone(byte: u8) -> bool {
    matches!(byte, b'Z' | b'z' | b'+' | b'-')
}

/// Days from 1970-01-01 in the Gregorian calendar: years begin in March, so that the leap day is the last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_dates_are_days() {
        for (text, expected) in [
            ("1970-01-01", Some(0)),
            ("2000-02-29", Some(11_016)),
            ("1969-12-31", Some(-1)),
            ("2020-08-05T19:21:12Z", Some(18_479)),
            ("2020-08-05T19:21:12", Some(18_479)),
            ("2020-08-05T", None),
            ("2020-08-05T19:21:12Zu", None),
            ("2020", None),
            ("2020-08", None),
            ("2021-02-29", None),
            ("2020-13-01", None),
            ("2020-08-05x", None),
            ("2020/08/05", None),
            ("", None),
        ] {
            assert_eq!(days(text), expected, "{text}");
        }
    }

    #[test]
    fn instants_are_microseconds() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("1969-12-31T19:00:00-05:00", Some(0)),
            ("2020-08-05T19:21:12.7461239Z", Some(1_596_655_272_746_123)),
            ("1969-12-31T23:59:59.5Z", Some(-500_000)),
            ("2020-08-05T19:21:12", None),
            ("2020-08-05", None),
            ("2020-08-05T25:00:00Z", None),
            ("2020-08-05T19:21:12.Z", None),
        ] {
            assert_eq!(micros(text), expected, "{text}");
        }
        assert_eq!(time_micros("08:30:00"), Some(30_600_000_000));
        assert_eq!(time_micros("08:30"), Some(30_600_000_000));
        assert_eq!(time_micros("8:30"), None);
    }

    #[test]
    fn moments_compare_as_finely_as_both_tell() {
        use Ordering::{Equal, Greater, Less};
        let compare = |a: &str, b: &str| Moment::parse(a).unwrap().compare(Moment::parse(b).unwrap());
        for (a, b, expected) in [
            ("2018", "2018", Some(Some(Equal))),
            ("2018", "2018-03", Some(None)),
            ("2018", "2017-03", Some(Some(Greater))),
            ("2018-03-01", "2018-03-01T10:30:00Z", Some(None)),
            ("2018-03-01T10:30:00", "2018-03-01T10:30:00.0", Some(Some(Equal))),
            ("2018-03-01T10:30:00.7461239Z", "2018-03-01T10:30:00.7461238Z", Some(Some(Greater))),
            ("2018-03-01T10:30:00+02:00", "2018-03-01T08:30:00Z", Some(Some(Equal))),
            ("2018-03-01T23:30:00-05:00", "2018-03-02T04:00:00Z", Some(Some(Greater))),
            ("2018-03-01T10", "2018-03-01T10:30", Some(None)),
            ("2018-03-01T10:30", "2018-03-01T10:31:12", Some(Some(Less))),
            ("2018-03-01T10:30:00", "2018-03-01T12:30:00Z", Some(None)),
            ("2018-03-01T10:30:00", "2018-03-02T12:30:00Z", Some(Some(Less))),
            ("2018T", "2018-03-01T10:31:12Z", Some(None)),
            ("12:00", "12:00:00", Some(None)),
            ("12", "12:00", Some(None)),
            ("12", "13:30", Some(Some(Less))),
            ("12:01:00", "12:00:00.5", Some(Some(Greater))),
            ("12:00", "2018", None),
        ] {
            assert_eq!(compare(a, b), expected, "{a} {b}");
            assert_eq!(compare(b, a), expected.map(|order| order.map(Ordering::reverse)), "{b} {a}");
        }
        for text in [
            "",
            "1",
            "24",
            "1x",
            "2018-13",
            "2018-02-30",
            "2018T10",
            "2018-01-01T25",
            "2018-01-01T10:30+99:00",
            "12:60",
            "soon",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }

    #[test]
    fn boundaries_are_those_of_the_precision() {
        for (text, date_time, low, high) in [
            ("1970-06", false, Some("1970-06-01"), Some("1970-06-30")),
            ("2020", false, Some("2020-01-01"), Some("2020-12-31")),
            ("2020-02", true, Some("2020-02-01T00:00:00.000+14:00"), Some("2020-02-29T23:59:59.999-12:00")),
            ("2010-10-10T08:30Z", true, Some("2010-10-10T08:30:00.000Z"), Some("2010-10-10T08:30:59.999Z")),
            ("12:34:00", false, Some("12:34:00.000"), Some("12:34:00.999")),
            ("12:34:00.5", false, Some("12:34:00.500"), Some("12:34:00.599")),
            ("2020-13", false, None, None),
            ("soon", false, None, None),
            ("", true, None, None),
            ("é-é", false, None, None),
        ] {
            assert_eq!(boundary(text, date_time, false).as_deref(), low, "{text}");
            assert_eq!(boundary(text, date_time, true).as_deref(), high, "{text}");
        }
    }
}
