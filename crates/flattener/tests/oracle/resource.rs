//! Random patients as JSON text, with what servers send besides what they should: nulls, empty lists, numbers as strings.

use crate::dice::Dice;

pub(crate) const TEXTS: [&str; 8] = ["a", "Ann", "O'Neill", "é", "phone", "usual", "x y", "Ann a"];

/// Of all precisions: two of them may be open to each other.
pub(crate) const DATES: [&str; 5] = ["1974-12-25", "1974-12", "1974", "1975-01", "2000-02-29"];

/// The same with a clock, of which FHIR asks for a zone.
pub(crate) const DATE_TIMES: [&str; 6] = [
    "1974-12-25",
    "1974-12-25T10:00:00Z",
    "1974-12-25T23:30:00.250-05:00",
    "1974-12-26T04:30:00Z",
    "1974-12",
    "2000-02-29T00:00:00+14:00",
];

pub(crate) const DECIMALS: [&str; 8] = ["0", "1.50", "-0.25", "3", "2.675", "1e2", "0.001", "12345.6789"];

/// What makes a field's value.
type Make = fn(&mut Dice<'_>) -> String;

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn text(dice: &mut Dice<'_>) -> String {
    quoted(dice.one_of(&TEXTS))
}

fn date(dice: &mut Dice<'_>) -> String {
    quoted(dice.one_of(&DATES))
}

fn date_time(dice: &mut Dice<'_>) -> String {
    quoted(dice.one_of(&DATE_TIMES))
}

fn boolean(dice: &mut Dice<'_>) -> String {
    (dice.roll(2) == 1).to_string()
}

fn integer(dice: &mut Dice<'_>) -> String {
    dice.roll(5).to_string()
}

fn list(dice: &mut Dice<'_>, most: usize, one: Make) -> String {
    let count = dice.roll(most + 1);
    let mut all: Vec<String> = (0..count).map(|_| one(dice)).collect();
    if dice.roll(12) == 11 {
        all.insert(0, "null".to_owned());
    }
    format!("[{}]", all.join(","))
}

fn object(dice: &mut Dice<'_>, fields: &[(&str, Make)]) -> String {
    let mut written = Vec::new();
    for (name, one) in fields {
        // A field may be missing, or null, which is the same.
        match dice.roll(6) {
            0 => {}
            1 if dice.roll(4) == 0 => written.push(format!("\"{name}\":null")),
            _ => written.push(format!("\"{name}\": {}", one(dice))),
        }
    }
    format!("{{{}}}", written.join(","))
}

fn name(dice: &mut Dice<'_>) -> String {
    object(dice, &[("use", text), ("family", text), ("given", |dice| list(dice, 3, text))])
}

fn point(dice: &mut Dice<'_>) -> String {
    object(dice, &[("system", text), ("value", text), ("rank", integer)])
}

fn identifier(dice: &mut Dice<'_>) -> String {
    let value: Make = |dice| if dice.roll(5) == 4 { dice.roll(90).to_string() } else { text(dice) };
    object(dice, &[("system", text), ("value", value), ("period", |dice| object(dice, &[("start", date_time)]))])
}

/// An extension; some hold others.
fn extension(dice: &mut Dice<'_>) -> String {
    let (field, value) = match dice.roll(7) {
        0 => ("valueString", text(dice)),
        1 => ("valueInteger", dice.roll(9).to_string()),
        2 => ("valueBoolean", boolean(dice)),
        3 => ("valueDecimal", dice.one_of(&DECIMALS).to_owned()),
        4 => ("valueDateTime", date_time(dice)),
        5 => ("valueQuantity", format!(r#"{{"value":{},"unit":{}}}"#, dice.one_of(&DECIMALS), text(dice))),
        _ => ("extension", list(dice, 2, extension)),
    };
    format!(r#"{{"url":"{}","{field}":{value}}}"#, dice.one_of(&["u", "v"]))
}

fn contact(dice: &mut Dice<'_>) -> String {
    object(dice, &[("name", name), ("telecom", |dice| list(dice, 2, point))])
}

fn reference(dice: &mut Dice<'_>) -> String {
    let kinds = [
        "Practitioner/1",
        "Organization/o",
        "https://a.example/fhir/Practitioner/2/_history/1",
        "#c",
        "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "nothing",
    ];
    format!(r#"{{"reference":"{}"}}"#, dice.one_of(&kinds))
}

pub(crate) fn random(dice: &mut Dice<'_>) -> String {
    let deceased: (&str, Make) =
        if dice.roll(2) == 0 { ("deceasedBoolean", boolean) } else { ("deceasedDateTime", date_time) };
    let patient = object(
        dice,
        &[
            ("id", |dice| quoted(dice.one_of(&["1", "p-2"]))),
            ("active", boolean),
            ("gender", text),
            ("birthDate", date),
            ("_birthDate", |dice| object(dice, &[("id", text), ("extension", |dice| list(dice, 2, extension))])),
            deceased,
            ("multipleBirthInteger", integer),
            ("meta", |dice| object(dice, &[("lastUpdated", |dice| quoted(dice.one_of(&DATE_TIMES[1..4])))])),
            ("name", |dice| list(dice, 3, name)),
            ("telecom", |dice| list(dice, 3, point)),
            ("identifier", |dice| list(dice, 2, identifier)),
            ("contact", |dice| list(dice, 2, contact)),
            ("extension", |dice| list(dice, 3, extension)),
            ("generalPractitioner", |dice| list(dice, 2, reference)),
        ],
    );
    let comma = if patient == "{}" { "" } else { "," };
    format!("{{\"resourceType\":\"Patient\"{comma}{}", &patient[1..])
}

/// A resource of the same structure, with some other texts in it.
pub(crate) fn varied(resource: &str, dice: &mut Dice<'_>) -> String {
    let mut varied = String::new();
    let mut rest = resource;
    while let Some(begin) = rest.find('"') {
        let end = begin + 1 + rest[begin + 1..].find('"').unwrap();
        let text = &rest[begin + 1..end];
        let others: &[&str] = match text {
            // Of keys there is no other, though some are texts as well.
            _ if rest[end + 1..].starts_with(':') => &[],
            _ if TEXTS.contains(&text) => &TEXTS,
            _ if DATES.contains(&text) => &DATES,
            _ if DATE_TIMES.contains(&text) => &DATE_TIMES,
            _ => &[],
        };
        let other = if others.is_empty() || dice.roll(2) == 0 { text } else { dice.one_of(others) };
        varied.extend([&rest[..=begin], other, "\""]);
        rest = &rest[end + 1..];
    }
    varied + rest
}
