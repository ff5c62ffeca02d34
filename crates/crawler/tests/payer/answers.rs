//! Habits that show in the status, the headers and the bytes of an answer (habits 3 and 13 to 18, 22, 23, 26, 27).

use super::{
    Expected,
    Expected::{Partial, Sound, Whole},
    Habit,
};

pub(crate) const ANSWERS: &[(&str, Expected, Habit)] = &[
    ("3 gone once", Whole, |q, a| if q.number == 3 { a.outcome(410, "this cursor has timed out") } else { a }),
    ("3 unknown once", Whole, |q, a| if q.number == 2 { a.saying(404, "no such page") } else { a }),
    ("3 refused once", Whole, |q, a| if q.number == 4 { a.outcome(400, "unknown search id") } else { a }),
    ("3 gone each time", Partial, |q, a| if q.from() >= 40 { a.saying(410, "") } else { a }),
    ("3 an outcome for a page", Partial, |q, a| if q.from() >= 40 { a.outcome(200, "search expired") } else { a }),
    ("3 an empty page for a lost one", Partial, |q, mut a| match q.from() {
        60.. => {
            (a.entries, a.next) = (Vec::new(), None);
            a.without_total()
        }
        _ => a.without_total(),
    }),
    ("13 a date that is over", Whole, |q, a| match q.number % 3 {
        1 => a.saying(429, "slow down").with("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),
        _ => a,
    }),
    ("13 milliseconds since 1970", Whole, |q, a| match q.number % 3 {
        1 => a.saying(429, "").with("x-ratelimit-reset", "1800000004000"),
        _ => a,
    }),
    ("13 a quota as 403", Whole, |q, a| match q.number % 3 {
        1 => a.outcome(403, "quota exceeded").with("retry-after", "2"),
        _ => a,
    }),
    ("13 a part of a second", Whole, |q, a| match q.number % 3 {
        1 => a.saying(503, "busy").with("retry-after", "0.5"),
        _ => a,
    }),
    ("13 less than nothing", Whole, |q, a| match q.number % 3 {
        1 => a.saying(429, "").with("retry-after", "-30"),
        _ => a,
    }),
    ("13 no number", Whole, |q, a| match q.number % 3 {
        1 => a.saying(503, "").with("retry-after", "NaN"),
        _ => a,
    }),
    ("13 words", Whole, |q, a| match q.number % 3 {
        1 => a.saying(429, "").with("retry-after", "a few minutes"),
        _ => a,
    }),
    ("13 a page for people", Whole, |q, a| match q.number % 3 {
        1 => a.saying(429, "<html>Please slow down</html>").with("content-type", "text/html"),
        _ => a,
    }),
    ("13 at once", Whole, |q, a| match q.number % 3 {
        1 => a.saying(429, "").with("retry-after", "0"),
        _ => a,
    }),
    ("13 two hints", Whole, |q, a| match q.number % 3 {
        1 => a.saying(429, "").with("retry-after", "1").with("ratelimit-reset", "999999999"),
        _ => a,
    }),
    ("13 bandwidth, and too early", Whole, |q, a| match q.number % 5 {
        1 => a.saying(509, "Bandwidth Limit Exceeded"),
        2 => a.saying(425, ""),
        3 => a.saying(408, ""),
        _ => a,
    }),
    ("13 always too many", Partial, |_, a| a.saying(429, "")),
    ("13 always too many, at once", Partial, |_, a| a.saying(429, "").with("retry-after", "0")),
    ("13 come back tomorrow", Partial, |q, a| match q.from() {
        40.. => a.saying(429, "").with("retry-after", "86400"),
        _ => a,
    }),
    ("13 come back in some thousand years", Partial, |q, a| match q.from() {
        40.. => a.saying(503, "").with("retry-after", "9999999999999"),
        _ => a,
    }),
    ("13 come back when the sun is cold", Partial, |q, a| match q.from() {
        40.. => a.saying(503, "").with("retry-after", "18000000000000000000"),
        _ => a,
    }),
    ("13 never", Sound, |q, a| match q.from() {
        40.. => a.saying(429, "").with("retry-after", "1e400"),
        _ => a,
    }),
    ("13 the year 9999", Partial, |q, a| match q.from() {
        40.. => a.saying(429, "").with("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT"),
        _ => a,
    }),
    ("13 the largest reset", Sound, |q, a| match q.from() {
        40.. => a.saying(429, "").with("x-ratelimit-reset", "18446744073709551615"),
        _ => a,
    }),
    ("14 no longer allowed", Partial, |q, a| if q.from() >= 40 { a.saying(401, "<html>") } else { a }),
    ("14 forbidden", Partial, |q, a| if q.from() >= 40 { a.outcome(403, "no") } else { a }),
    ("14 payment required", Partial, |q, a| if q.from() >= 40 { a.saying(402, "") } else { a }),
    ("14 forbidden while a quota is left", Partial, |q, a| match q.from() {
        40.. => a.outcome(403, "no").with("x-ratelimit-reset", "5").with("x-ratelimit-remaining", "12"),
        _ => a,
    }),
    ("15 not ready yet", Whole, |q, a| match q.number % 3 {
        1 => super::Answer { status: 202, entries: Vec::new(), next: None, ..a }.total(0),
        _ => a,
    }),
    ("15 large pages fail", Whole, |q, a| if q.count() > 10 { a.saying(502, "Bad Gateway") } else { a }),
    ("15 large pages fail later", Whole, |q, a| match (q.count() > 10, q.from()) {
        (true, 40..) => a.saying(500, "out of memory"),
        _ => a,
    }),
    ("15 cut off twice", Whole, |q, a| match q.number {
        2 | 3 => a.saying(200, "{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":{\"reso"),
        _ => a,
    }),
    ("15 nothing for a body, once", Whole, |q, a| if q.number == 3 { a.saying(200, "") } else { a }),
    ("15 white space for a body, once", Whole, |q, a| if q.number == 3 { a.saying(200, " \r\n") } else { a }),
    ("15 locked, once", Whole, |q, a| if q.number == 3 { a.saying(423, "") } else { a }),
    ("15 always failing", Partial, |q, a| if q.from() >= 40 { a.saying(500, "") } else { a }),
    ("15 one page fails", Partial, |q, a| if q.from() == 60 { a.saying(500, "") } else { a }),
    ("15 always cut off", Partial, |q, a| match q.from() {
        40.. => a.written(|body| body[..body.len() / 2].to_vec()),
        _ => a,
    }),
    ("15 half a page, well-formed", Partial, |q, mut a| match q.from() {
        40.. => {
            a.entries.truncate(9);
            a.next = None;
            a.without_total()
        }
        _ => a.without_total(),
    }),
    ("16 no whole answer in time, once", Whole, |q, a| if q.number == 3 { a.with("too-slow", "60") } else { a }),
    ("16 none for large pages", Whole, |q, a| if q.count() > 10 { a.with("too-slow", "60") } else { a }),
    ("16 none later", Partial, |q, a| if q.from() >= 40 { a.with("too-slow", "60") } else { a }),
    ("16 none ever", Partial, |_, a| a.with("too-slow", "60")),
    ("17 pages beyond the limit", Whole, |q, a| if q.count() > 10 { a.with("too-large", "") } else { a }),
    ("17 beyond the limit later", Whole, |q, a| match (q.count() > 10, q.from()) {
        (true, 40..) => a.with("too-large", ""),
        _ => a,
    }),
    ("17 one row beyond the limit", Partial, |q, a| match (q.from(), q.count()) {
        (from, count) if from <= 66 && from + count.min(20) > 66 => a.with("too-large", ""),
        _ => a,
    }),
    ("18 a byte order mark", Whole, |_, a| super::Answer { before: "\u{feff}".into(), ..a }),
    ("18 white space before", Whole, |_, a| super::Answer { before: " \r\n\t".into(), ..a }),
    ("18 two bytes a letter", Partial, |_, a| {
        a.written(|body| {
            let text = String::from_utf8_lossy(&body).into_owned();
            let units = std::iter::once(0xfeff).chain(text.encode_utf16());
            units.flat_map(u16::to_le_bytes).collect()
        })
    }),
    ("18 a login page", Partial, |q, a| if q.from() >= 40 { a.saying(200, "\n <!DOCTYPE html>") } else { a }),
    ("18 a login page, once", Whole, |q, a| if q.number == 3 { a.saying(200, "<html>") } else { a }),
    ("18 XML", Partial, |_, a| a.saying(200, "<Bundle xmlns=\"http://hl7.org/fhir\"/>")),
    ("18 null", Partial, |_, a| a.saying(200, "null")),
    ("18 an array", Partial, |_, a| a.saying(200, "[]")),
    ("18 a text", Partial, |_, a| a.saying(200, "\"done\"")),
    ("18 another JSON", Partial, |_, a| a.saying(200, "{\"entry\":[],\"total\":0}")),
    ("18 one resource", Partial, |_, a| a.saying(200, "{\"resourceType\":\"Location\",\"id\":\"loc.0001\"}")),
    ("18 one line each", Partial, |_, a| {
        a.written(|body| [body.as_slice(), b"{\"resourceType\":\"Bundle\"}"].concat())
    }),
    ("18 more behind the page", Partial, |q, a| match q.from() {
        40.. => a.written(|body| [body.as_slice(), b"<!-- 12 ms -->"].concat()),
        _ => a,
    }),
    ("18 no content", Partial, |_, a| a.saying(204, "")),
    ("18 no content later", Partial, |q, a| if q.from() >= 40 { a.saying(204, "") } else { a }),
    ("18 not modified", Partial, |q, a| if q.from() >= 40 { a.saying(304, "") } else { a }),
    ("18 accepted, and nothing", Partial, |q, a| if q.from() >= 40 { a.saying(202, "") } else { a }),
    ("18 a part, it says", Whole, |_, mut a| {
        a.status = if a.status == 200 { 206 } else { a.status };
        a
    }),
    ("18 created, it says", Whole, |_, mut a| {
        a.status = if a.status == 200 { 201 } else { a.status };
        a
    }),
    ("22 text, it says", Whole, |_, a| a.with("content-type", "text/plain; charset=latin-1")),
    ("22 HTML, it says", Whole, |_, a| a.with("content-type", "text/html")),
    ("22 not acceptable", Partial, |_, a| a.saying(406, "")),
    ("22 not acceptable later", Partial, |q, a| if q.from() >= 40 { a.saying(415, "") } else { a }),
    ("23 no such type", Partial, |_, a| a.saying(404, "")),
    ("23 not implemented", Partial, |_, a| a.outcome(501, "Location is not supported")),
    ("23 not allowed", Partial, |_, a| a.saying(405, "")),
    ("23 a redirect for a type", Partial, |_, a| a.saying(302, "")),
    ("26 the token is over", Partial, |q, a| match q.number {
        4.. => a.outcome(401, "token expired").with("www-authenticate", "Bearer error=\"invalid_token\""),
        _ => a,
    }),
    ("27 five requests, then a wait", Whole, |q, a| match q.number % 6 {
        5 => a.saying(429, "").with("ratelimit-remaining", "0").with("ratelimit-reset", "10"),
        _ => a,
    }),
];
