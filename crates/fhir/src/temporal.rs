//! FHIR's dates and times (R4, datatypes): text with its precision, as days and microseconds.

/// Days from 1970-01-01 of a whole date, `YYYY-MM-DD`; of a dateTime its date as written. Nothing for a partial date, and
/// for what is no date.
#[must_use]
pub fn days(text: &str) -> Option<i32> {
    let date = text.get(..10)?;
    let rest = text.get(10..)?;
    if !(rest.is_empty() || rest.starts_with('T') && micros(text).is_some()) {
        return None;
    }
    let (year, month, day) = ymd(date)?;
    i32::try_from(days_from_civil(year, month, day)).ok()
}

/// Microseconds from 1970-01-01T00:00:00Z of an instant or a dateTime with a time; its zone is required. Digits of the
/// second beyond the sixth are cut off.
#[must_use]
pub fn micros(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once('T')?;
    let (year, month, day) = ymd(date)?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let (sign, digits) = zone.split_at(1);
            let (hours, minutes) = digits.split_once(':')?;
            let seconds = (two(hours).filter(|h| *h <= 14)? * 60 + two(minutes).filter(|m| *m < 60)?) * 60;
            if sign == "-" { -seconds } else { seconds }
        }
    };
    let seconds = days_from_civil(year, month, day) * 86_400 - offset;
    seconds.checked_mul(1_000_000)?.checked_add(time_micros(clock)?)
}

/// Microseconds from 1970-01-01T00:00:00 of a dateTime as written, whatever its zone; of a date its midnight.
#[must_use]
pub fn local_micros(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let (year, month, day) = ymd(date)?;
    let clock = &rest[..rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len())];
    (days_from_civil(year, month, day) * 86_400_000_000).checked_add(time_micros(clock)?)
}

/// Microseconds from midnight of a time: `HH:MM:SS` with any fraction; `HH:MM` occurs and is taken.
#[must_use]
pub fn time_micros(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let hours = two(parts.next()?).filter(|hours| *hours < 24)?;
    let minutes = two(parts.next()?).filter(|minutes| *minutes < 60)?;
    let (seconds, fraction) = match parts.next() {
        None => (0, 0),
        Some(part) => {
            let (seconds, fraction) = part.split_once('.').unwrap_or((part, ""));
            // A leap second is the last microsecond's neighbour: there is no other place for it.
            let seconds = two(seconds).filter(|seconds| *seconds <= 60)?.min(59);
            if !fraction.bytes().all(|byte| byte.is_ascii_digit()) || part.ends_with('.') {
                return None;
            }
            let mut micros = 0;
            for place in 0..6 {
                let digit = fraction.as_bytes().get(place).map_or(0, |byte| i64::from(byte - b'0'));
                micros = micros * 10 + digit;
            }
            (seconds, micros)
        }
    };
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction)
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
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = two(text.get(..2)?)? * 100 + two(text.get(2..4)?)?;
    let (month, day) = (two(text.get(5..7)?)?, two(text.get(8..10)?)?);
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
    (a.is_ascii_digit() && b.is_ascii_digit()).then(|| i64::from(a - b'0') * 10 + i64::from(b - b'0'))
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
