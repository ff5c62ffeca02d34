//! Habits that show in the links, the totals and the entries of a page (habits 1 to 12, 19 to 28 of the crawling notes).

use super::{
    Answer, Asked, Expected,
    Expected::{Partial, Sound, Whole},
    Habit, PAGE, id_of, row,
};

const SITE: &str = "https://a.example";

/// A row of another type.
fn other(mode: &str) -> String {
    format!(r#"{{"search":{{"mode":"{mode}"}},"resource":{{"id":"o","resourceType":"Organization"}}}}"#)
}

fn outcome(severity: &str) -> String {
    format!(
        r#"{{"resource":{{"resourceType":"OperationOutcome","issue":[{{"severity":"{severity}","code":"timeout"}}]}}}}"#
    )
}

/// The rows in another order each time.
fn turned(q: &Asked, a: Answer) -> Answer {
    let found = q.found();
    let turned =
        |(place, _): (usize, &String)| row(found[found.len() - 1 - (q.from() + place + q.number * 3) % found.len()]);
    Answer { entries: a.entries.iter().enumerate().filter(|_| !found.is_empty()).map(turned).collect(), ..a }
}

/// A search that stops here, and whose total stops there or at `total`.
fn capped(q: &Asked, a: Answer, cap: usize, total: usize) -> Answer {
    let left = cap.saturating_sub(q.from());
    let next = a.next.filter(|_| left > a.entries.len());
    Answer { entries: a.entries.into_iter().take(left).collect(), next, total: Some(total.to_string()), ..a }
}

pub(crate) const LINKS: &[(&str, Expected, Habit)] = &[
    ("0 nothing", Whole, |_, a| a),
    ("1 dot relative", Whole, |_, a| a.relinked(|next| next.replace("https://a.example/fhir/", "./"))),
    ("1 relative", Whole, |_, a| a.relinked(|next| next.replace("https://a.example/fhir/", ""))),
    ("1 query only", Whole, |_, a| a.relinked(|next| next.replace("https://a.example/fhir/Location", ""))),
    ("1 path absolute", Whole, |_, a| a.relinked(|next| next.replace(SITE, ""))),
    ("1 without a scheme", Whole, |_, a| a.relinked(|next| next.replace("https:", ""))),
    ("1 spaces around", Whole, |_, a| a.relinked(|next| format!(" {next}\n"))),
    ("1 a line break inside", Whole, |_, a| a.relinked(|next| next.replace("?", "?\n"))),
    ("1 unescaped", Whole, |_, a| a.relinked(|next| format!("{next}&note=a|b c{{d}}"))),
    ("1 escaped for HTML", Whole, |_, a| a.relinked(|next| next.replace('&', "&amp;"))),
    ("1 other order", Whole, |_, a| {
        a.relinked(|next| match next.split_once('?') {
            Some((path, query)) => format!("{path}?{}", query.split('&').rev().collect::<Vec<_>>().join("&")),
            None => next.to_owned(),
        })
    }),
    ("1 a fragment", Whole, |_, a| a.relinked(|next| format!("{next}#page"))),
    ("1 two slashes", Whole, |_, a| a.relinked(|next| next.replace("/fhir/", "//fhir//"))),
    ("1 a very long one", Whole, |_, a| a.relinked(|next| format!("{next}&state={}", "x".repeat(70_000)))),
    ("1 capitals and spaces in the relation", Whole, |_, a| Answer { relation: " NEXT ", ..a }),
    ("1 no address", Partial, |_, a| a.relinked(|_| "http://".into())),
    ("1 a script", Partial, |_, a| a.relinked(|_| "javascript:next()".into())),
    ("1 no text", Sound, |q, a| match a.next {
        Some(_) if q.from() >= 40 => {
            Answer { links: Some(r#"[{"relation":"next","url":null},{"relation":7,"url":7},null]"#.into()), ..a }
        }
        _ => a,
    }),
    ("1 empty", Sound, |_, a| a.relinked(|_| String::new())),
    ("1 one link and no array", Sound, |q, a| match a.next {
        Some(next) if q.from() >= 40 => {
            Answer { links: Some(format!(r#"{{"relation":"next","url":"{next}"}}"#)), next: None, ..a }
        }
        _ => a,
    }),
    ("1 another type", Sound, |q, a| if q.from() >= 40 { a.relinked(|_| "Organization?token=0".into()) } else { a }),
    ("2 http", Whole, |_, a| a.relinked(|next| next.replace("https", "http"))),
    ("2 http and its port", Whole, |_, a| a.relinked(|next| next.replace(SITE, "http://a.example:80"))),
    ("2 its own port", Whole, |_, a| a.relinked(|next| next.replace("a.example", "a.example:443"))),
    ("2 its own port twice", Whole, |_, a| a.relinked(|next| next.replace("a.example", "a.example:443:443"))),
    ("2 capitals", Whole, |_, a| a.relinked(|next| next.replace(SITE, "HTTPS://A.Example"))),
    ("2 a name and a password", Whole, |_, a| a.relinked(|next| next.replace("a.example", "me:pw@a.example"))),
    ("2 an inner host", Partial, |_, a| a.relinked(|next| next.replace("a.example", "fhir.inside.lan"))),
    ("2 an inner address", Partial, |_, a| a.relinked(|next| next.replace("a.example", "10.0.0.7:8080"))),
    ("2 a name before the host", Partial, |_, a| {
        a.relinked(|next| next.replace("a.example", "a.example@evil.example"))
    }),
    ("2 a longer host", Partial, |_, a| a.relinked(|next| next.replace("a.example", "a.example.evil.example"))),
    ("2 backslashes", Partial, |_, a| a.relinked(|next| next.replace("https://a.example/", "\\\\evil.example\\"))),
    ("2 another port", Partial, |_, a| a.relinked(|next| next.replace("a.example", "a.example:8443"))),
    ("2 another host later", Partial, |q, a| match q.from() {
        40.. => a.relinked(|next| next.replace("a.example", "b.example")),
        _ => a,
    }),
    ("4 itself, turned around", Partial, |q, a| match q.from() {
        40.. => a.relinked(|_| "https://a.example/fhir/Location?_count=50&token=40".into()),
        _ => a,
    }),
    ("4 the first page again", Partial, |q, a| match q.from() {
        160.. => Answer { next: Some("Location?_count=50".into()), ..a },
        _ => a,
    }),
    ("4 the same again and again", Partial, |q, a| match q.from() {
        20.. => Answer { next: Some(format!("Location?token=20&nonce={}", q.number)), ..a }.without_total(),
        _ => a.without_total(),
    }),
    ("4 everything again and again", Partial, |q, a| match a.next {
        None => Answer { next: Some(format!("Location?token=0&nonce={}", q.number)), ..a },
        _ => a,
    }),
    ("4 two pages in turn", Partial, |q, a| {
        let other = match q.from() {
            40 => 60,
            60 => 40,
            _ => return a.without_total(),
        };
        Answer { next: Some(format!("Location?token={other}&nonce={}", q.number)), ..a }.without_total()
    }),
    ("4 new rows without end", Partial, |q, mut a| match a.next {
        None if !q.counts() => {
            a.entries.extend((q.from()..q.from() + PAGE).map(|number| row(q.rows + number)));
            Answer { next: Some(format!("Location?token={}", q.from() + PAGE)), ..a }
        }
        _ => a,
    }),
    ("5 null for entries", Whole, |_, mut a| {
        a.entries.extend(["null".into(), "{}".into()]);
        a
    }),
    ("5 no entries where there are none", Whole, |_, a| match a.entries.len() {
        0 => Answer { entry: Some("null".into()), ..a },
        _ => a,
    }),
    ("5 an empty page between two", Whole, |q, a| match (q.get("empty"), &a.next) {
        (None, Some(next)) => {
            let next = format!("{next}&empty=1");
            Answer { next: Some(next), ..a }
        }
        (Some(_), _) => {
            let kept =
                q.query.iter().filter(|(name, _)| name != "empty").map(|(name, value)| format!("{name}={value}"));
            let next = Some(format!("Location?{}", kept.collect::<Vec<_>>().join("&")));
            Answer { entries: Vec::new(), next, ..a }
        }
        _ => a,
    }),
    ("5 an empty last page", Whole, |q, a| match a.next {
        None if !a.entries.is_empty() => Answer { next: Some(format!("Location?token={}", q.rows)), ..a },
        _ => a,
    }),
    ("5 empty without end", Partial, |q, a| match q.from() {
        180.. => Answer { entries: Vec::new(), next: Some(format!("Location?token={}", q.from() + 1)), ..a },
        _ => a,
    }),
    ("5 nothing, now and then", Sound, |q, a| match q.number % 4 {
        2 => Answer { entries: Vec::new(), next: None, ..a }.without_total(),
        _ => a.without_total(),
    }),
    ("5 entries without their resources on one page", Sound, |q, a| match (q.from(), q.counts()) {
        (40, false) => {
            let bare = |number: usize| format!(r#"{{"fullUrl":"https://a.example/fhir/Location/{}"}}"#, id_of(number));
            let found = q.found();
            let entries = found.iter().skip(40).take(q.count().min(PAGE)).map(|number| bare(*number)).collect();
            Answer { entries, ..a }.without_total()
        }
        _ => a.without_total(),
    }),
    ("8 the next link in a header only", Partial, |_, a| {
        let Some(next) = a.next.clone() else { return a.without_total() };
        Answer { next: None, ..a }.without_total().with("link", &format!("<{next}>; rel=\"next\""))
    }),
    ("19 mode include for all", Sound, |_, a| {
        a.each(|entry| entry.replace("\"match\"", "\"include\"")).without_total()
    }),
    ("6 overlap without a count", Whole, |q, mut a| {
        if let (Some(before), false) = (q.from().checked_sub(1), q.get("_sort").is_some()) {
            a.entries.insert(0, row(before));
        }
        a.without_total()
    }),
    ("6 a row twice on a page", Whole, |_, mut a| {
        a.entries.extend(a.entries.first().cloned());
        a
    }),
    ("6 a page once more in the place of the next", Sound, |q, a| match (q.from(), q.counts()) {
        (60, false) => {
            let found = q.found();
            let before = found.iter().skip(60 - q.count().min(PAGE)).take(q.count().min(PAGE));
            Answer { entries: before.map(|number| row(*number)).collect(), ..a }.without_total()
        }
        _ => a.without_total(),
    }),
    ("6 rows that turn around, no count", Sound, |q, a| match q.get("_sort") {
        None => turned(q, a).without_total(),
        Some(_) => a.without_total(),
    }),
    ("6 rows that turn around whatever is asked, no count", Sound, |q, a| turned(q, a).without_total()),
    ("6 rows that turn around, and the true count", Sound, turned),
    ("7 other content each time", Whole, |q, mut a| {
        if let Some(before) = q.from().checked_sub(1) {
            a.entries.insert(0, row(before));
        }
        let seen = format!("\"seen\":{},\"name\"", q.number);
        a.each(|entry| entry.replace("\"name\"", &seen))
    }),
    ("7 two versions on one page", Whole, |_, mut a| {
        a.entries.extend(a.entries.last().map(|entry| entry.replace("Office", "Former office")));
        a
    }),
    ("7 the same in another order of keys", Whole, |q, mut a| {
        if let Some(before) = q.from().checked_sub(1) {
            a.entries.insert(0, format!(r#"{{"resource":{{"resourceType":"Location","id":"{}"}}}}"#, id_of(before)));
        }
        a
    }),
];

pub(crate) const PAGES: &[(&str, Expected, Habit)] = &[
    ("8 no link", Partial, |_, a| Answer { next: None, ..a }.without_total()),
    ("8 no link, a page for a total", Partial, |_, a| Answer { next: None, ..a }.total(PAGE)),
    ("8 no link, the true total", Partial, |_, a| Answer { next: None, ..a }),
    ("8 no link after three pages", Partial, |q, a| {
        Answer { next: a.next.clone().filter(|_| q.from() < 40), ..a }.without_total()
    }),
    ("8 no link after three pages, what came for a total", Partial, |q, a| {
        let so_far = q.from() + a.entries.len();
        Answer { next: a.next.clone().filter(|_| q.from() < 40), ..a }.total(so_far)
    }),
    ("8 no link, now and then", Sound, |q, a| match q.number % 5 {
        3 => Answer { next: None, ..a }.without_total(),
        _ => a.without_total(),
    }),
    ("9 the last page again and again behind a ceiling", Partial, |q, a| match q.from() {
        100.. if !q.counts() => {
            let found = q.found();
            let last = found.iter().take(100).skip(100 - q.count().min(PAGE)).map(|number| row(*number)).collect();
            Answer { entries: last, next: Some(format!("Location?token={}", q.from() + PAGE)), ..a }.without_total()
        }
        _ => a.without_total(),
    }),
    ("9 a ceiling and the true total", Partial, |q, a| capped(q, a, 40, q.rows)),
    ("9 a ceiling of a round number", Partial, |q, a| match q.get("_sort") {
        Some(_) => a,
        None => capped(q, a, 100, 100),
    }),
    ("9 a ceiling of any number, for the total, too", Partial, |q, a| match q.get("_sort") {
        Some(_) => a,
        None => capped(q, a, 137, 137),
    }),
    ("9 a low ceiling, for the total, too", Partial, |q, a| match q.get("_sort") {
        Some(_) => a,
        None => capped(q, a, 45, 45),
    }),
    ("9 a ceiling in the middle of a page, no total", Partial, |q, a| match q.get("_sort") {
        Some(_) => a.without_total(),
        None => capped(q, a, 47, 47).without_total(),
    }),
    ("10 too many, refused", Whole, |q, a| if q.count() > 10 { a.outcome(422, "page size exceeds 10") } else { a }),
    ("10 too many, nothing", Whole, |q, a| match q.count() {
        0..=10 => a,
        _ => Answer { entries: Vec::new(), next: None, ..a }.total(0),
    }),
    ("10 much too many, nothing and no total", Sound, |q, a| match q.count() {
        0..=3 => a,
        _ => Answer { entries: Vec::new(), next: None, ..a }.without_total(),
    }),
    ("10 a size is no parameter", Whole, |q, a| match q.get("_count") {
        Some(_) if !q.query.iter().any(|(name, _)| name == "token" || name == "_sort") => {
            a.saying(400, "unknown parameter _count")
        }
        _ => a,
    }),
    ("10 pages of three", Whole, |q, a| match &a.next {
        _ if q.get("_sort").is_some() => a,
        _ => {
            let more = q.from() + 3 < q.found().len();
            let next = more.then(|| format!("Location?token={}", q.from() + 3));
            Answer { entries: a.entries.into_iter().take(3).collect(), next, ..a }
        }
    }),
    ("10 twenty, whatever is asked", Whole, |q, a| {
        let (found, from) = (q.found(), q.from());
        let next = a.next.filter(|_| from + PAGE < found.len());
        let next = next.map(|_| format!("Location?token={}{}", from + PAGE, q.filters()));
        let entries = found.iter().skip(from).take(if q.counts() { 0 } else { PAGE }).map(|number| row(*number));
        Answer { entries: entries.collect(), next, ..a }
    }),
    ("11 a filter is wanted", Whole, |q, a| match q.get("_lastUpdated").or(q.get("token")) {
        None => a.outcome(200, "at least one search parameter must be given"),
        Some(_) => a,
    }),
    ("11 a filter is wanted, said in a Bundle", Whole, |q, a| match q.get("_lastUpdated").or(q.get("token")) {
        None => Answer { entries: vec![outcome("error")], next: None, ..a }.without_total(),
        Some(_) => a,
    }),
    ("11 nothing is allowed", Partial, |_, a| a.outcome(200, "a practitioner must be given")),
    ("11 nothing is allowed, said in a Bundle", Partial, |_, a| {
        Answer { entries: vec![outcome("fatal")], next: None, ..a }.total(0)
    }),
    ("12 no total", Whole, |_, a| a.without_total()),
    ("12 text for a total", Whole, |q, a| a.total(format!("\"{}\"", q.rows))),
    ("12 minus one", Whole, |_, a| a.total(-1)),
    ("12 null", Whole, |_, a| a.total("null")),
    ("12 a fraction", Whole, |q, a| a.total(format!("{}.0", q.rows))),
    ("12 zero", Whole, |_, a| a.total(0)),
    ("12 what the page holds", Whole, |_, a| {
        let here = a.entries.len();
        a.total(here)
    }),
    ("12 what has come so far", Whole, |q, a| {
        let so_far = q.from() + a.entries.len();
        a.total(so_far)
    }),
    ("12 the largest number that there is", Whole, |_, a| a.total(u64::MAX)),
    ("12 too large a number", Whole, |_, a| a.total(i64::MAX)),
    ("12 a number beyond", Whole, |_, a| a.total("99999999999999999999999")),
    ("12 the total is more", Partial, |q, a| a.total(q.rows * 2)),
    ("12 an estimate", Sound, |_, a| a.total(10_000)),
    ("12 another one each time", Sound, |q, a| a.total(q.rows + q.number % 3)),
    ("12 that of everything, whatever is asked", Whole, |q, a| a.total(q.rows)),
    (
        "12 no counting",
        Whole,
        |q, a| if q.counts() { a.outcome(400, "_summary is not supported") } else { a.without_total() },
    ),
    ("12 a page for a count", Whole, |q, a| match q.counts() {
        true => Answer { entries: q.found().iter().take(5).map(|n| row(*n)).collect(), ..a }.without_total(),
        false => a.without_total(),
    }),
    ("12 counting takes for ever", Whole, |q, a| if q.counts() { a.with("too-slow", "60") } else { a.without_total() }),
    ("19 outcomes and others", Whole, |_, mut a| {
        a.entries.extend([outcome("information"), other("include")]);
        a
    }),
    ("19 no mode", Whole, |_, a| a.each(|entry| entry.replace("\"search\":{\"mode\":\"match\"},", ""))),
    ("19 no mode for null", Whole, |_, a| a.each(|entry| entry.replace("{\"mode\":\"match\"}", "null"))),
    ("19 mode outcome", Whole, |_, a| a.each(|entry| entry.replace("\"match\"", "\"outcome\""))),
    ("19 mode in capitals", Whole, |_, a| a.each(|entry| entry.replace("\"match\"", "\"MATCH\""))),
    ("19 an error for the end", Partial, |q, a| match q.from() {
        40.. => Answer { entries: vec![outcome("error")], next: None, ..a }.without_total(),
        _ => a.without_total(),
    }),
    ("19 half a page and an error for the end", Partial, |q, mut a| match q.from() {
        40.. => {
            a.entries.truncate(7);
            a.entries.push(outcome("fatal"));
            Answer { next: None, ..a }.without_total()
        }
        _ => a.without_total(),
    }),
    ("19 a warning on each page", Whole, |_, mut a| {
        a.entries.push(outcome("warning"));
        a
    }),
    ("19 only others", Partial, |_, a| Answer { entries: vec![other("match")], next: None, ..a }.without_total()),
    ("19 Bundles in the Bundle", Partial, |_, a| {
        let inner = a.entries.join(",");
        let bundle = format!(r#"{{"resource":{{"resourceType":"Bundle","id":"b","entry":[{inner}]}}}}"#);
        Answer { entries: vec![bundle], next: None, ..a }.without_total()
    }),
    ("19 the type in small letters", Partial, |_, a| a.each(|entry| entry.replace("\"Location\"", "\"location\""))),
    ("20 a key twice", Whole, |_, a| a.each(|entry| entry.replace("{\"name\"", "{\"name\":1e999,\"name\""))),
    ("20 half a surrogate", Whole, |_, a| a.each(|entry| entry.replace("Office", "\\ud83c"))),
    ("20 numbers for ids", Partial, |_, a| a.each(|entry| entry.replace("\"loc.00", "7,\"was\":\""))),
    ("20 no ids", Partial, |_, a| a.each(|entry| entry.replace("\"id\"", "\"identity\""))),
    ("20 empty ids", Partial, |_, a| a.each(|entry| entry.replace("\"loc.00", "\"\",\"was\":\""))),
    ("20 bytes that are no text", Partial, |_, a| {
        a.written(|body| body.into_iter().map(|byte| if byte == b'7' { 0xff } else { byte }).collect())
    }),
    ("21 fields of no use", Whole, |_, a| {
        a.each(|entry| {
            entry.replace(
                "{\"name\"",
                "{\"position\":{\"latitude\":\"\"},\"address\":{\"line\":[null]},\"telecom\":\"none\",\"name\"",
            )
        })
    }),
    ("21 null and text where objects belong", Whole, |_, a| {
        a.each(|entry| {
            entry
                .replace("{\"name\"", "{\"extension\":null,\"address\":\"1 Main St\",\"type\":{},\"alias\":[],\"name\"")
        })
    }),
    ("21 meta that is none", Whole, |_, a| a.each(|entry| entry.replace("\"meta\":{", "\"meta\":\"none\",\"was\":{"))),
    ("21 a time that is none", Whole, |_, a| {
        a.each(|entry| entry.replace("\"lastUpdated\":\"", "\"lastUpdated\":\"on "))
    }),
    ("24 every parameter is ignored", Whole, |q, _| {
        let paging = ["token", "_count", "_skip"];
        let query = q.query.iter().filter(|(name, _)| paging.contains(&name.as_str())).cloned().collect();
        super::good(&Asked { query, number: q.number, rows: q.rows })
    }),
    ("24 every parameter is ignored, no total", Whole, |q, _| {
        let paging = ["token", "_count", "_skip"];
        let query = q.query.iter().filter(|(name, _)| paging.contains(&name.as_str())).cloned().collect();
        super::good(&Asked { query, number: q.number, rows: q.rows }).without_total()
    }),
    ("24 no order may be asked for", Whole, |q, a| match q.get("_sort") {
        Some(_) => a.outcome(400, "_sort is not supported"),
        None => a,
    }),
    ("24 links lose the order", Sound, |q, a| match q.get("_sort") {
        Some(_) => a.relinked(|next| next.replace("&_sort=_id", "").replace("&_sort=-_id", "")),
        None => a,
    }),
    ("24 an order is too much", Whole, |q, a| match q.get("_sort") {
        Some(_) => a.saying(500, "out of memory"),
        None => a,
    }),
    ("24 only the first of two of the same name", Whole, |q, _| {
        let mut query: Vec<(String, String)> = Vec::new();
        for pair in &q.query {
            if query.iter().all(|(name, _)| *name != pair.0) {
                query.push(pair.clone());
            }
        }
        super::good(&Asked { query, number: q.number, rows: q.rows })
    }),
    ("25 no stamps", Whole, |q, a| match q.get("_lastUpdated") {
        Some(_) => Answer { entries: Vec::new(), next: None, ..a }.total(0),
        None => a.each(|entry| entry.replace("lastUpdated", "last")),
    }),
    ("25 no stamps and no totals", Whole, |q, a| match q.get("_lastUpdated") {
        Some(_) => Answer { entries: Vec::new(), next: None, ..a }.without_total(),
        None if q.counts() => a.outcome(400, "no"),
        None => a.each(|entry| entry.replace("lastUpdated", "last")).without_total(),
    }),
    ("25 the same stamp for all", Whole, |_, a| {
        a.each(|entry| match entry.split_once("\"lastUpdated\":\"") {
            Some((before, after)) => format!("{before}\"lastUpdated\":\"2026-01-01T00:00:00Z{}", &after[20..]),
            None => entry.to_owned(),
        })
    }),
    ("25 stamps of no date", Whole, |q, a| match q.get("_lastUpdated") {
        Some(_) => a.outcome(400, "_lastUpdated is unknown"),
        None => a,
    }),
    ("28 one more", Whole, |q, a| a.total((q.rows + q.from() / 40).min(q.rows + 1))),
    ("28 new rows before all others", Sound, |q, a| {
        let new = q.number / 3;
        let all = (0..new).map(|number| q.rows + number).chain(q.found());
        let entries = all.skip(q.from()).take(if q.counts() { 0 } else { q.count().min(PAGE) });
        Answer { entries: entries.map(row).collect(), ..a }.without_total()
    }),
    ("28 one less each page", Sound, |q, a| a.total(q.rows.saturating_sub(q.from() / PAGE))),
    ("28 a row goes away with its number", Sound, |q, a| {
        let gone = id_of(q.from() + 1);
        let left = a.entries.iter().filter(|entry| !entry.contains(&gone)).cloned().collect();
        Answer { entries: left, ..a }
    }),
];
