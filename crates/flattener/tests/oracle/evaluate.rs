//! The slow evaluator: FHIRPath by the words of the specification, a whole collection at each step.

use std::cmp::Ordering;

use serde_json::Value;

use crate::expression::Expression as E;

/// The expression is not defined for the resource.
#[derive(Debug)]
pub(crate) struct Refused;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Focus<'r> {
    pub(crate) this: Option<&'r Value>,
    pub(crate) resource: &'r Value,
    pub(crate) row_index: usize,
}

type Collection = Vec<Value>;

/// Arrays dissolve, nulls are nothing.
pub(crate) fn field(of: &Value, name: &str) -> Collection {
    match of.get(name) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list.iter().filter(|value| !value.is_null()).cloned().collect(),
        Some(value) => vec![value.clone()],
    }
}

/// The names of an extension's value here.
const VALUES: [&str; 3] = ["valueString", "valueInteger", "valueBoolean"];

/// How many elements there are in a value.
fn below(value: &Value) -> usize {
    let Value::Object(fields) = value else { return 0 };
    let elements = fields.keys().filter(|name| *name != "resourceType").flat_map(|name| field(value, name));
    elements.map(|element| 1 + below(&element)).sum()
}

/// Part by part; open where one has no more of them and all were equal.
fn dates(a: &str, b: &str) -> Option<Ordering> {
    let (mut left, mut right) = (a.split('-'), b.split('-'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Some(Ordering::Equal),
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => return Some(a.cmp(b)),
            _ => return None,
        }
    }
}

fn single(mut collection: Collection) -> Result<Option<Value>, Refused> {
    if collection.len() > 1 { Err(Refused) } else { Ok(collection.pop()) }
}

fn text(collection: Collection) -> Result<Option<String>, Refused> {
    single(collection)?.map(|value| value.as_str().map(ToOwned::to_owned).ok_or(Refused)).transpose()
}

fn number(collection: Collection) -> Result<Option<i64>, Refused> {
    single(collection)?.map(|value| value.as_i64().ok_or(Refused)).transpose()
}

fn truth(collection: Collection) -> Result<Option<bool>, Refused> {
    Ok(single(collection)?.map(|value| value.as_bool().unwrap_or(true)))
}

fn some<T: Into<Value>>(value: Option<T>) -> Collection {
    value.into_iter().map(Into::into).collect()
}

fn distinct(collection: Collection) -> Collection {
    let mut kept = Vec::new();
    for value in collection {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

/// The key of a reference: the specification's relative form, and the same on a server.
fn key(reference: &str, wanted: Option<&str>) -> Option<String> {
    let path = reference.split("/_history/").next()?;
    let mut parts = path.rsplit('/');
    let (id, kind) = (parts.next()?, parts.next()?);
    wanted.is_none_or(|wanted| wanted == kind).then(|| id.to_owned())
}

pub(crate) fn evaluate(expression: &E, focus: Focus<'_>) -> Result<Collection, Refused> {
    let at = |value: &Value| evaluate_at(expression, value, focus);
    Ok(match expression {
        E::This => focus.this.into_iter().cloned().collect(),
        E::RowIndex => vec![focus.row_index.into()],
        E::Text(text) => vec![(*text).into()],
        E::Integer(number) => vec![(*number).into()],
        E::Boolean(value) => vec![(*value).into()],
        E::ValueIs(of, _, wanted) => {
            let values = evaluate(of, focus)?;
            let names =
                values.iter().flat_map(|value| VALUES.into_iter().filter(|name| !field(value, name).is_empty()));
            let is: Collection = names.map(|name| (name == *wanted).into()).collect();
            some(single(is)?)
        }
        E::ValueAs(of, _, name) => {
            some(single(evaluate(of, focus)?.iter().flat_map(|value| field(value, name)).collect())?)
        }
        E::Descendants(of) => vec![evaluate(of, focus)?.iter().map(below).sum::<usize>().into()],
        E::Dates(left, operator, date) => {
            let order = text(evaluate(left, focus)?)?.and_then(|left| dates(&left, date));
            some(order.map(|order| match *operator {
                "=" => order.is_eq(),
                "!=" => order.is_ne(),
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        E::Child(of, name) | E::ValueOf(of, _, name) => {
            evaluate(of, focus)?.iter().flat_map(|value| field(value, name)).collect()
        }
        E::Extension(of, url) => {
            let all = evaluate(of, focus)?.into_iter().flat_map(|value| field(&value, "extension"));
            all.filter(|value| value["url"] == *url).collect()
        }
        E::Where(of, _) | E::ExistsWhere(of, _) | E::AllWhere(of, _) => {
            let all = evaluate(of, focus)?;
            let mut kept = Vec::new();
            for value in &all {
                if at(value)? == Some(true) {
                    kept.push(value.clone());
                }
            }
            match expression {
                E::ExistsWhere(..) => vec![(!kept.is_empty()).into()],
                E::AllWhere(..) => vec![(kept.len() == all.len()).into()],
                _ => kept,
            }
        }
        E::Part(of, name, number) => part(evaluate(of, focus)?, name, number.unwrap_or(0)),
        E::Of(of, name) => {
            let all = evaluate(of, focus)?;
            match *name {
                "exists" => vec![(!all.is_empty()).into()],
                "empty" => vec![all.is_empty().into()],
                "count" => vec![all.len().into()],
                _ => some(truth(all)?.map(|value| !value)),
            }
        }
        E::Function(of, name, arguments) => function(text(evaluate(of, focus)?)?, name, arguments, focus)?,
        E::Join(of, separator) => {
            let texts: Option<Vec<String>> =
                evaluate(of, focus)?.iter().map(|value| value.as_str().map(ToOwned::to_owned)).collect();
            let texts = texts.ok_or(Refused)?;
            if texts.is_empty() { Vec::new() } else { vec![texts.join(separator).into()] }
        }
        E::Key(of, wanted) => evaluate(of, focus)?
            .iter()
            .flat_map(|value| field(value, "reference"))
            .filter_map(|reference| key(reference.as_str()?, *wanted))
            .map(Into::into)
            .collect(),
        E::ResourceKey => field(focus.resource, "id"),
        E::Binary(left, operator, right) => binary(evaluate(left, focus)?, operator, evaluate(right, focus)?)?,
        E::If(condition, then, other) => match truth(evaluate(condition, focus)?)? {
            Some(true) => evaluate(then, focus)?,
            _ => evaluate(other, focus)?,
        },
    })
}

/// The condition of a function for one value.
fn evaluate_at(expression: &E, value: &Value, focus: Focus<'_>) -> Result<Option<bool>, Refused> {
    let (E::Where(_, condition) | E::ExistsWhere(_, condition) | E::AllWhere(_, condition)) = expression else {
        return Err(Refused);
    };
    truth(evaluate(condition, Focus { this: Some(value), ..focus })?)
}

fn part(all: Collection, name: &str, number: usize) -> Collection {
    let all = all.into_iter();
    match name {
        "first" => all.take(1).collect(),
        "last" => all.last().into_iter().collect(),
        "tail" => all.skip(1).collect(),
        "skip" => all.skip(number).collect(),
        "take" => all.take(number).collect(),
        "distinct" => distinct(all.collect()),
        _ => all.skip(number).take(1).collect(),
    }
}

fn function(of: Option<String>, name: &str, arguments: &[E], focus: Focus<'_>) -> Result<Collection, Refused> {
    let texts = |place: usize| -> Result<Option<String>, Refused> {
        text(evaluate(arguments.get(place).ok_or(Refused)?, focus)?)
    };
    let numbers = |place: usize| -> Result<Option<i64>, Refused> {
        arguments.get(place).map_or(Ok(None), |argument| number(evaluate(argument, focus)?))
    };
    let Some(of) = of else { return Ok(Vec::new()) };
    Ok(match name {
        "upper" => vec![of.to_uppercase().into()],
        "lower" => vec![of.to_lowercase().into()],
        "length" => vec![of.chars().count().into()],
        "startsWith" => some(texts(0)?.map(|text| of.starts_with(&text))),
        "endsWith" => some(texts(0)?.map(|text| of.ends_with(&text))),
        "contains" => some(texts(0)?.map(|text| of.contains(&text))),
        "indexOf" => {
            some(texts(0)?.map(|text| {
                of.find(&text).map_or(-1, |place| i64::try_from(of[..place].chars().count()).unwrap_or(-1))
            }))
        }
        "replace" => match (texts(0)?, texts(1)?) {
            (Some(from), Some(to)) => vec![of.replace(&from, &to).into()],
            _ => Vec::new(),
        },
        _ => {
            let start = usize::try_from(numbers(0)?.ok_or(Refused)?).map_err(|_| Refused)?;
            let length = numbers(1)?.map_or(usize::MAX, |length| usize::try_from(length).unwrap_or(0));
            if start >= of.chars().count() {
                return Ok(Vec::new());
            }
            vec![of.chars().skip(start).take(length).collect::<String>().into()]
        }
    })
}

fn binary(left: Collection, operator: &str, right: Collection) -> Result<Collection, Refused> {
    Ok(match operator {
        "and" | "or" | "xor" | "implies" => some(logic(truth(left)?, operator, truth(right)?)),
        "=" | "!=" if left.is_empty() || right.is_empty() => Vec::new(),
        "=" => vec![(left == right).into()],
        "!=" => vec![(left != right).into()],
        "in" => match single(left)? {
            None => Vec::new(),
            Some(value) => vec![right.contains(&value).into()],
        },
        "&" => vec![format!("{}{}", text(left)?.unwrap_or_default(), text(right)?.unwrap_or_default()).into()],
        "+" if left.iter().chain(&right).any(Value::is_string) => match (text(left)?, text(right)?) {
            (Some(left), Some(right)) => vec![(left + &right).into()],
            _ => Vec::new(),
        },
        _ => {
            let (Some(left), Some(right)) = (number(left)?, number(right)?) else { return Ok(Vec::new()) };
            match operator {
                "<" => vec![(left < right).into()],
                "<=" => vec![(left <= right).into()],
                ">" => vec![(left > right).into()],
                ">=" => vec![(left >= right).into()],
                "+" => vec![(left + right).into()],
                "-" => vec![(left - right).into()],
                "*" => vec![(left * right).into()],
                "div" => some(left.checked_div(right)),
                _ => some(left.checked_rem(right)),
            }
        }
    })
}

/// Three-valued logic, as the tables of the specification have it.
fn logic(left: Option<bool>, operator: &str, right: Option<bool>) -> Option<bool> {
    match (operator, left, right) {
        ("and", Some(false), _) | ("and", _, Some(false)) => Some(false),
        ("and", Some(true), Some(true)) => Some(true),
        ("or", Some(true), _) | ("or", _, Some(true)) => Some(true),
        ("or", Some(false), Some(false)) => Some(false),
        ("xor", Some(left), Some(right)) => Some(left != right),
        ("implies", Some(false), _) | ("implies", _, Some(true)) => Some(true),
        ("implies", Some(true), right) => right,
        _ => None,
    }
}
