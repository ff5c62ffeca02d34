//! Dates, dateTimes and times, by the words of FHIRPath: part by part, as finely as both tell.

use std::cmp::Ordering;

/// Year, month, day, hour, minute, and the second with its fraction in units of 10^-9; as many as are told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moment {
    parts: Vec<i64>,
    /// Whether there is a clock without a date.
    time: bool,
    /// Minutes from UTC.
    zone: Option<i64>,
}

fn longest(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn clock(text: &str) -> Option<Vec<i64>> {
    let parts: Vec<&str> = text.split(':').collect();
    let mut found = Vec::new();
    for (place, part) in parts.iter().enumerate() {
        let limit = if place == 0 { 23 } else { 59 };
        if place == 2 {
            let (second, fraction) = part.split_once('.').unwrap_or((part, "0"));
            let fraction = digits(&format!("{fraction:0<9}")[..9], 9)?;
            found.push(digits(second, 2).filter(|second| *second <= limit)? * 1_000_000_000 + fraction);
        } else {
            found.push(digits(part, 2).filter(|part| *part <= limit)?);
        }
    }
    (found.len() <= 3).then_some(found)
}

impl Moment {
    pub(crate) fn read(text: &str) -> Option<Self> {
        if text.get(2..3) == Some(":") {
            return Some(Self { parts: clock(text)?, time: true, zone: None });
        }
        let (date, rest) = text.split_once('T').unwrap_or((text, ""));
        let mut parts = Vec::new();
        for (place, part) in date.split('-').enumerate() {
            parts.push(digits(part, if place == 0 { 4 } else { 2 })?);
        }
        let whole = match parts.as_slice() {
            [_] => true,
            [_, month] => (1..=12).contains(month),
            [year, month, day] => (1..=12).contains(month) && (1..=longest(*year, *month)).contains(day),
            _ => false,
        };
        if !whole || (!rest.is_empty() && parts.len() < 3) {
            return None;
        }
        let (time, zone) = rest.split_at(rest.find(['Z', '+', '-']).unwrap_or(rest.len()));
        if !time.is_empty() {
            parts.extend(clock(time)?);
        }
        let zone = match zone {
            "" => None,
            "Z" => Some(0),
            zone => {
                let (hours, minutes) = zone[1..].split_once(':')?;
                let minutes = digits(hours, 2)? * 60 + digits(minutes, 2)?;
                Some(if zone.starts_with('-') { -minutes } else { minutes })
            }
        };
        Some(Self { parts, time: false, zone })
    }

    pub(crate) fn is_time(&self) -> bool {
        self.time
    }

    /// Minutes from year 0 to its minute, at UTC.
    fn minutes(&self) -> i64 {
        let part = |place: usize, least: i64| self.parts.get(place).copied().unwrap_or(least);
        let (year, month) = (part(0, 0), part(1, 1));
        let years = (0..year).map(|year| 337 + longest(year, 2)).sum::<i64>();
        let months = (1..month).map(|month| longest(year, month)).sum::<i64>();
        ((years + months + part(2, 1) - 1) * 24 + part(3, 0)) * 60 + part(4, 0) - self.zone.unwrap_or(0)
    }

    /// Nothing where it is open; the outer nothing where the two cannot be compared.
    pub(crate) fn order(&self, other: &Self) -> Option<Option<Ordering>> {
        if self.time != other.time {
            return None;
        }
        let shared = self.parts.len().min(other.parts.len());
        let to_hours = shared > 3 && !self.time;
        if to_hours && self.zone.is_some() != other.zone.is_some() {
            // Whichever zone it is: none is further than fourteen hours from UTC.
            let second = |moment: &Self| moment.parts.get(5).copied().unwrap_or(0);
            let apart = (self.minutes() - other.minutes()) * 60_000_000_000 + second(self) - second(other);
            return Some((apart.abs() / 1_000_000_000 > 14 * 3600).then(|| apart.cmp(&0)));
        }
        let told = |moment: &Self| -> Vec<i64> {
            if !to_hours {
                return moment.parts[..shared].to_vec();
            }
            let minutes = moment.minutes();
            match shared {
                4 => vec![minutes.div_euclid(60)],
                5 => vec![minutes],
                _ => vec![minutes, moment.parts[5]],
            }
        };
        let order = told(self).cmp(&told(other));
        Some((order.is_ne() || self.parts.len() == other.parts.len()).then_some(order))
    }
}

/// The first or the last moment that a text can mean.
pub(crate) fn boundary(text: &str, date_time: bool, high: bool) -> Option<String> {
    let moment = Moment::read(text)?;
    let (date, clock) = if moment.time { ("", text) } else { text.split_once('T').unwrap_or((text, "")) };
    let (clock, zone) = clock.split_at(clock.find(['Z', '+', '-']).unwrap_or(clock.len()));
    let mut whole = date.to_owned();
    if !moment.time {
        if whole.len() == 4 {
            whole.push_str(if high { "-12" } else { "-01" });
        }
        if whole.len() == 7 {
            let last = longest(whole[..4].parse().ok()?, whole[5..].parse().ok()?);
            whole += &format!("-{:02}", if high { last } else { 1 });
        }
        if clock.is_empty() && !date_time {
            return Some(whole);
        }
        whole.push('T');
    }
    let full = if high { "23:59:59.999" } else { "00:00:00.000" };
    whole.push_str(clock);
    whole.push_str(full.get(clock.len()..).unwrap_or(""));
    if !moment.time {
        whole.push_str(if !zone.is_empty() {
            zone
        } else if high {
            "-12:00"
        } else {
            "+14:00"
        });
    }
    Some(whole)
}
