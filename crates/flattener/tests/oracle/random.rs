//! Random views.

use serde_json::{Value, json};

use crate::{
    dice::Dice,
    expression::{Type, boolean, decimal, integer, moment, path, text},
};

/// What says which SQL type a column has: its FHIR type, and its tag.
type Typing = (Option<&'static str>, Option<&'static str>);

const VARCHAR: Typing = (None, Some("VARCHAR"));

pub(crate) fn view(dice: &mut Dice<'_>) -> Value {
    let filters = if dice.roll(4) == 3 { vec![json!({"path": boolean(dice, Type::Patient, 2)})] } else { Vec::new() };
    let mut names = 0;
    let selects: Vec<Value> = (0..=dice.roll(2)).map(|_| select(dice, Type::Patient, 2, &mut names)).collect();
    json!({"resourceType": "ViewDefinition", "name": "t", "resource": "Patient", "status": "draft", "where": filters, "select": selects})
}

fn column(name: &str, path: &str, collection: bool, (fhir, ansi): Typing) -> Value {
    let mut column = json!({"name": name, "path": path, "collection": collection});
    if let Some(fhir) = fhir {
        column["type"] = fhir.into();
    }
    if let Some(ansi) = ansi {
        column["tag"] = json!([{"name": "ansi/type", "value": ansi}]);
    }
    column
}

/// A column of a random type, which its values mostly fit.
fn random_column(dice: &mut Dice<'_>, from: Type, names: &mut usize) -> Value {
    *names += 1;
    let (name, collection) = (format!("c{names}"), dice.roll(4) == 3);
    let tag = |tag: &'static str| (None, Some(tag));
    let (path, typing) = match dice.roll(10) {
        0 | 1 => {
            let typing = dice.one_of(&[VARCHAR, (Some("integer"), None), tag("INTEGER"), tag("DECIMAL(3,1)")]);
            (integer(dice, from, 2), typing)
        }
        2 => (boolean(dice, from, 2), dice.one_of(&[VARCHAR, (Some("boolean"), None), tag("BOOLEAN")])),
        3 => (
            decimal(dice, from, 2),
            dice.one_of(&[VARCHAR, tag("DECIMAL(9,2)"), tag("DECIMAL(38,18)"), tag("INTEGER")]),
        ),
        4 => {
            let typing = dice.one_of(&[
                VARCHAR,
                tag("DATE"),
                tag("TIMESTAMP"),
                tag("TIMESTAMP WITH TIME ZONE"),
                (Some("date"), None),
            ]);
            let kind = dice.one_of(&[Type::Date, Type::DateTime]);
            (moment(dice, from, kind), typing)
        }
        // Objects are their JSON.
        5 => (path(dice, from, 1).0, VARCHAR),
        6 => (text(dice, from, 2), dice.one_of(&[(Some("string"), None), tag("DATE"), tag("TIME"), tag("INTEGER")])),
        _ => (text(dice, from, 2), VARCHAR),
    };
    column(&name, &path, collection, typing)
}

fn select(dice: &mut Dice<'_>, from: Type, depth: usize, names: &mut usize) -> Value {
    let (mut select, mut inner) = (json!({}), from);
    match dice.roll(6) {
        0 | 1 => {}
        5 if matches!(from, Type::Patient | Type::Extension) => {
            let paths = if dice.roll(2) == 0 {
                json!(["extension"])
            } else {
                json!(["extension.where(url = 'u')", "extension('v')"])
            };
            (select["repeat"], inner) = (paths, Type::Extension);
        }
        _ if from.fields().is_empty() => {}
        _ => {
            let (over, kind) = path(dice, from, 1);
            select[if dice.roll(3) == 0 { "forEachOrNull" } else { "forEach" }] = over.into();
            inner = kind;
        }
    }
    select["column"] = (0..=dice.roll(2)).map(|_| random_column(dice, inner, names)).collect();
    if depth == 0 || inner.fields().is_empty() {
        return select;
    }
    if dice.roll(4) == 3 {
        select["select"] = json!([self::select(dice, inner, depth - 1, names)]);
    }
    if dice.roll(5) == 4 {
        select["unionAll"] = union(dice, inner, depth - 1, names);
    }
    select
}

/// Branches of the same columns: each fills them by paths of its own, and may be a union itself.
fn union(dice: &mut Dice<'_>, from: Type, depth: usize, names: &mut usize) -> Value {
    *names += 1;
    let name = format!("c{names}");
    let mut branches: Vec<Value> = (0..=dice.roll(2)).map(|_| branch(dice, from, &name)).collect();
    if depth > 0 && dice.roll(3) == 2 {
        let inner: Vec<Value> = (0..2).map(|_| branch(dice, from, &name)).collect();
        branches.push(json!({"unionAll": inner}));
    }
    branches.into()
}

fn branch(dice: &mut Dice<'_>, from: Type, name: &str) -> Value {
    let (over, kind) = path(dice, from, 1);
    let value = if dice.roll(4) == 3 { "%rowIndex.toString()".to_owned() } else { text(dice, kind, 1) };
    let walk = if dice.roll(3) == 0 { "forEachOrNull" } else { "forEach" };
    json!({walk: over, "column": [column(name, &value, true, VARCHAR)]})
}
