//! Random patients, with what servers send besides what they should: nulls, empty lists, numbers as strings.

use serde_json::{Map, Value, json};

use crate::dice::Dice;

pub(crate) const TEXTS: [&str; 8] = ["a", "Ann", "O'Neill", "é", "phone", "usual", "x y", "Ann a"];

/// Of all precisions: two of them may be open to each other.
pub(crate) const DATES: [&str; 5] = ["1974-12-25", "1974-12", "1974", "1975-01", "2000-06-01"];

/// What makes a field's value.
type Make = fn(&mut Dice<'_>) -> Value;

fn text(dice: &mut Dice<'_>) -> Value {
    dice.one_of(&TEXTS).into()
}

fn list(dice: &mut Dice<'_>, most: usize, one: Make) -> Value {
    let count = dice.roll(most + 1);
    (0..count).map(|_| one(dice)).collect()
}

fn object(dice: &mut Dice<'_>, fields: &[(&str, Make)]) -> Value {
    let mut map = Map::new();
    for (name, one) in fields {
        // A field may be missing, or null, which is the same.
        match dice.roll(6) {
            0 => {}
            1 if dice.roll(4) == 0 => {
                map.insert((*name).to_owned(), Value::Null);
            }
            _ => {
                map.insert((*name).to_owned(), one(dice));
            }
        }
    }
    Value::Object(map)
}

fn name(dice: &mut Dice<'_>) -> Value {
    object(dice, &[("use", text), ("family", text), ("given", |dice| list(dice, 3, text))])
}

fn point(dice: &mut Dice<'_>) -> Value {
    object(dice, &[("system", text), ("value", text), ("rank", |dice| dice.roll(5).into())])
}

fn extension(dice: &mut Dice<'_>) -> Value {
    let (name, value) = match dice.roll(3) {
        0 => ("valueString", text(dice)),
        1 => ("valueInteger", dice.roll(9).into()),
        _ => ("valueBoolean", (dice.roll(2) == 1).into()),
    };
    json!({"url": dice.one_of(&["u", "v"]), name: value})
}

pub(crate) fn random(dice: &mut Dice<'_>) -> Value {
    let mut patient = object(
        dice,
        &[
            ("id", |dice| dice.one_of(&["1", "p-2"]).into()),
            ("active", |dice| (dice.roll(2) == 1).into()),
            ("gender", text),
            ("birthDate", |dice| dice.one_of(&DATES).into()),
            ("multipleBirthInteger", |dice| dice.roll(4).into()),
            ("name", |dice| list(dice, 3, name)),
            ("telecom", |dice| list(dice, 3, point)),
            ("identifier", |dice| list(dice, 2, |dice| object(dice, &[("system", text), ("value", text)]))),
            ("contact", |dice| {
                list(dice, 2, |dice| object(dice, &[("name", name), ("telecom", |dice| list(dice, 2, point))]))
            }),
            ("extension", |dice| list(dice, 3, extension)),
            ("generalPractitioner", |dice| {
                list(dice, 2, |dice| {
                    let kinds =
                        ["Practitioner/1", "Organization/o", "https://a.example/fhir/Practitioner/2/_history/1", "#c"];
                    json!({"reference": dice.one_of(&kinds)})
                })
            }),
        ],
    );
    patient["resourceType"] = "Patient".into();
    patient
}
