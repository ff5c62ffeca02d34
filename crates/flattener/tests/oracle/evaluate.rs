//! The slow evaluator: FHIRPath by the words of the specification, a whole collection at each step.

use std::cmp::Ordering;

use crate::{
    functions,
    grammar::Node,
    json::{Json, Object},
    moment::Moment,
    number::Number,
};

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The expression is not defined for the resource: several values where one belongs.
    Refused,
    /// A value of another type than the expression can deal with (decision 080).
    Misfit,
}

pub(crate) type Collection = Vec<Item>;
pub(crate) type Found = Result<Collection, Stop>;

/// A value with what is known of its type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub(crate) json: Json,
    /// The type, where a name with a choice of types, a function or a literal tells it.
    pub(crate) of: String,
}

impl Item {
    pub(crate) fn new(json: Json, of: &str) -> Self {
        Self { json, of: of.to_owned() }
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::new(Json::Text(text.into()), "String")
    }

    pub(crate) fn boolean(value: bool) -> Self {
        Self::new(Json::Boolean(value), "Boolean")
    }

    pub(crate) fn number(number: Number) -> Self {
        Self::new(Json::Number(number.text()), if number.scale == 0 { "Integer" } else { "Decimal" })
    }

    pub(crate) fn as_number(&self) -> Option<Number> {
        if let Json::Number(digits) = &self.json { Number::read(digits) } else { None }
    }

    /// The text of a primitive.
    pub(crate) fn as_text(&self) -> Option<String> {
        match &self.json {
            Json::Text(text) | Json::Number(text) => Some(text.clone()),
            Json::Boolean(value) => Some(value.to_string()),
            _ => None,
        }
    }

    fn is_moment(&self) -> bool {
        matches!(self.of.as_str(), "Date" | "DateTime" | "Time" | "date" | "dateTime" | "instant" | "time" | "Instant")
    }

    pub(crate) fn is_date_time(&self) -> bool {
        matches!(self.of.as_str(), "DateTime" | "dateTime" | "instant" | "Instant")
    }
}

/// Where an expression stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Focus<'r> {
    pub(crate) this: Option<&'r Item>,
    /// Where the path began.
    pub(crate) context: Option<&'r Item>,
    pub(crate) resource: &'r Item,
    pub(crate) row_index: usize,
    /// `$index`.
    pub(crate) index: usize,
    pub(crate) constants: &'r [(String, Item)],
}

/// The types that R4 has for elements that can be of several, by their names' ends.
const CHOICES: [&str; 36] = [
    "Address",
    "Age",
    "Attachment",
    "Base64Binary",
    "Boolean",
    "Canonical",
    "Code",
    "CodeableConcept",
    "Coding",
    "ContactPoint",
    "Date",
    "DateTime",
    "Decimal",
    "Duration",
    "HumanName",
    "Id",
    "Identifier",
    "Instant",
    "Integer",
    "Markdown",
    "Money",
    "Oid",
    "Period",
    "PositiveInt",
    "Quantity",
    "Range",
    "Ratio",
    "Reference",
    "SampledData",
    "String",
    "Time",
    "Timing",
    "UnsignedInt",
    "Uri",
    "Url",
    "Uuid",
];

/// The elements here that hold dates and times of one type.
const MOMENTS: [(&str, &str); 4] =
    [("birthDate", "date"), ("lastUpdated", "instant"), ("start", "dateTime"), ("end", "dateTime")];

/// The values of a field: arrays dissolve, nulls are nothing.
pub(crate) fn values(of: &Json, name: &str) -> Vec<Json> {
    match of.field(name) {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::List(list)) => list.iter().filter(|value| **value != Json::Null).cloned().collect(),
        Some(value) => vec![value.clone()],
    }
}

/// The elements of a name: of a choice of types by any of its names in JSON.
pub(crate) fn member(of: &Json, name: &str) -> Collection {
    let found = values(of, name);
    if !found.is_empty() {
        let kind = MOMENTS.iter().find(|(known, _)| *known == name).map_or("", |(_, kind)| kind);
        return found.into_iter().map(|json| Item::new(json, kind)).collect();
    }
    let Json::Object(object) = of else { return Vec::new() };
    let chosen = object.fields.iter().filter_map(|(field, _)| Some((field, field.strip_prefix(name)?)));
    chosen
        .filter(|(_, kind)| CHOICES.contains(kind))
        .flat_map(|(field, kind)| values(of, field).into_iter().map(|json| Item::new(json, kind)))
        .collect()
}

pub(crate) fn single(mut collection: Collection) -> Result<Option<Item>, Stop> {
    if collection.len() > 1 { Err(Stop::Refused) } else { Ok(collection.pop()) }
}

/// The text of the only value.
pub(crate) fn text(collection: Collection) -> Result<Option<String>, Stop> {
    single(collection)?.map(|item| item.as_text().ok_or(Stop::Misfit)).transpose()
}

/// A condition: one value that is no boolean is true.
pub(crate) fn truth(collection: Collection) -> Result<Option<bool>, Stop> {
    Ok(single(collection)?.map(|item| if let Json::Boolean(value) = item.json { value } else { true }))
}

pub(crate) fn some(value: Option<Item>) -> Collection {
    value.into_iter().collect()
}

/// Of a path to a primitive, what stands beside it: `_birthDate`.
pub(crate) fn beside(of: &Node, name: &str, focus: Focus<'_>) -> Result<Option<Collection>, Stop> {
    let Node::Member(parent, field) = of else { return Ok(None) };
    if name != "extension" && name != "id" {
        return Ok(None);
    }
    let hidden = format!("_{field}");
    let parents = evaluate(parent, focus)?;
    let found: Vec<Json> = parents.iter().flat_map(|parent| values(&parent.json, &hidden)).collect();
    Ok((!found.is_empty()).then(|| found.iter().flat_map(|object| member(object, name)).collect()))
}

pub(crate) fn evaluate(node: &Node, focus: Focus<'_>) -> Found {
    Ok(match node {
        Node::This => some(focus.this.cloned()),
        Node::Index => vec![Item::number(Number::whole(focus.index))],
        Node::Nothing => Vec::new(),
        Node::Text(text) => vec![Item::text(text)],
        Node::Number(digits) => vec![Item::number(Number::read(digits).unwrap())],
        Node::Boolean(value) => vec![Item::boolean(*value)],
        Node::Moment(text) => {
            let of = match text {
                time if time.get(2..3) == Some(":") => "Time",
                date_time if date_time.contains('T') => "DateTime",
                _ => "Date",
            };
            vec![Item::new(Json::Text(text.trim_end_matches('T').to_owned()), of)]
        }
        Node::Variable(name) => match name.as_str() {
            "rowIndex" => vec![Item::number(Number::whole(focus.row_index))],
            "resource" | "rootResource" => vec![focus.resource.clone()],
            "context" => some(focus.context.cloned()),
            name => {
                let found = focus.constants.iter().find(|(known, _)| known == name);
                vec![found.unwrap_or_else(|| panic!("the constant {name}")).1.clone()]
            }
        },
        Node::Member(of, name) => {
            let at_root = **of == Node::This && focus.this == Some(focus.resource);
            if at_root && focus.resource.json.field("resourceType") == Some(&Json::Text(name.clone())) {
                return Ok(vec![focus.resource.clone()]);
            }
            if let Some(found) = beside(of, name, focus)? {
                return Ok(found);
            }
            evaluate(of, focus)?.iter().flat_map(|item| member(&item.json, name)).collect()
        }
        Node::At(of, index) => {
            let all = evaluate(of, focus)?;
            let index = single(evaluate(index, focus)?)?.and_then(|index| index.as_number());
            some(index.and_then(|index| all.get(usize::try_from(index.digits).ok()?).cloned()))
        }
        Node::Minus(of) => match single(evaluate(of, focus)?)? {
            None => Vec::new(),
            Some(item) => {
                let number = item.as_number().ok_or(Stop::Misfit)?;
                vec![Item::number(Number { digits: -number.digits, ..number })]
            }
        },
        Node::Binary(left, operator, right) => binary(left, operator, right, focus)?,
        Node::Call(of, name, arguments) => functions::call(of, name, arguments, focus)?,
    })
}

/// Whether two values are the same; nothing where dates of different precision leave it open.
pub(crate) fn same(a: &Item, b: &Item, moments: bool) -> Option<bool> {
    if let (Some(a), Some(b)) = (a.as_number(), b.as_number()) {
        return Some(a.order(b).is_eq());
    }
    if let (Json::Text(a), Json::Text(b), true) = (&a.json, &b.json, moments)
        && let (Some(a), Some(b)) = (Moment::read(a), Moment::read(b))
    {
        return a.order(&b).map_or(Some(false), |order| order.map(Ordering::is_eq));
    }
    Some(match (&a.json, &b.json) {
        (Json::Object(left), Json::Object(right)) => {
            let part = |json: &Json| Item::new(json.clone(), "");
            let names = |object: &Object, json: &Json| {
                let mut names: Vec<String> = object.fields.iter().map(|(name, _)| name.clone()).collect();
                names.retain(|name| !values(json, name).is_empty());
                names.sort();
                names
            };
            let shared = names(left, &a.json);
            shared == names(right, &b.json)
                && shared.iter().all(|name| {
                    let (a, b) = (values(&a.json, name), values(&b.json, name));
                    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same(&part(a), &part(b), false) == Some(true))
                })
        }
        (a, b) => a == b,
    })
}

/// Whether dates are compared as such.
fn as_moments(left: &[Item], right: &[Item]) -> bool {
    left.iter().chain(right).any(Item::is_moment)
}

pub(crate) fn contains(all: &[Item], wanted: &Item) -> bool {
    let moments = as_moments(all, std::slice::from_ref(wanted));
    all.iter().any(|item| same(item, wanted, moments) == Some(true))
}

fn equal(left: &[Item], right: &[Item]) -> Option<bool> {
    if left.is_empty() || right.is_empty() {
        return None;
    }
    if left.len() != right.len() {
        return Some(false);
    }
    let moments = as_moments(left, right);
    let each: Vec<Option<bool>> = left.iter().zip(right).map(|(a, b)| same(a, b, moments)).collect();
    if each.contains(&Some(false)) { Some(false) } else { each.into_iter().collect::<Option<Vec<_>>>().map(|_| true) }
}

fn equivalent(left: &[Item], right: &[Item]) -> bool {
    let moments = as_moments(left, right);
    let alike = |a: &Item, b: &Item| {
        if let (Some(a), Some(b)) = (a.as_number(), b.as_number()) {
            let scale = a.plain().scale.min(b.plain().scale);
            return a.rounded(scale).order(b.rounded(scale)).is_eq();
        }
        match (&a.json, &b.json) {
            (Json::Text(a), Json::Text(b)) => {
                if let (Some(a), Some(b), true) = (Moment::read(a), Moment::read(b), moments) {
                    return a.order(&b) == Some(Some(Ordering::Equal));
                }
                let plain = |text: &str| text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
                plain(a) == plain(b)
            }
            (a, b) => a == b,
        }
    };
    let mut others: Vec<&Item> = right.iter().collect();
    left.len() == right.len()
        && left.iter().all(|item| {
            let place = others.iter().position(|other| alike(item, other));
            place.map(|place| others.remove(place)).is_some()
        })
}

/// How two values are ordered; nothing where that is open.
pub(crate) fn order(a: &Item, b: &Item, moments: bool) -> Result<Option<Ordering>, Stop> {
    if let (Some(a), Some(b)) = (a.as_number(), b.as_number()) {
        return Ok(Some(a.order(b)));
    }
    let (Json::Text(a), Json::Text(b)) = (&a.json, &b.json) else { return Err(Stop::Misfit) };
    if !moments {
        return Ok(Some(a.cmp(b)));
    }
    Ok(Moment::read(a).zip(Moment::read(b)).and_then(|(a, b)| a.order(&b).flatten()))
}

fn binary(left: &Node, operator: &str, right: &Node, focus: Focus<'_>) -> Found {
    if matches!(operator, "and" | "or" | "xor" | "implies") {
        let left = truth(evaluate(left, focus)?)?;
        // What the left side decides is decided.
        if matches!((operator, left), ("and" | "implies", Some(false)) | ("or", Some(true))) {
            return Ok(vec![Item::boolean(operator != "and")]);
        }
        let right = truth(evaluate(right, focus)?)?;
        return Ok(some(logic(left, operator, right).map(Item::boolean)));
    }
    let (left, right) = (evaluate(left, focus)?, evaluate(right, focus)?);
    let truth = |value: Option<bool>| Ok(some(value.map(Item::boolean)));
    match operator {
        "|" => {
            let moments = as_moments(&left, &right);
            let mut kept = Vec::new();
            for item in left.into_iter().chain(right) {
                if !kept.iter().any(|known| same(known, &item, moments) == Some(true)) {
                    kept.push(item);
                }
            }
            Ok(kept)
        }
        "=" => truth(equal(&left, &right)),
        "!=" => truth(equal(&left, &right).map(|equal| !equal)),
        "~" => truth(Some(equivalent(&left, &right))),
        "!~" => truth(Some(!equivalent(&left, &right))),
        "in" => truth(single(left)?.map(|wanted| contains(&right, &wanted))),
        "contains" => truth(single(right)?.map(|wanted| contains(&left, &wanted))),
        "&" => {
            let joined = text(left)?.unwrap_or_default() + &text(right)?.unwrap_or_default();
            Ok(vec![Item::text(joined)])
        }
        _ => {
            let moments = as_moments(&left, &right);
            let (Some(left), Some(right)) = (single(left)?, single(right)?) else { return Ok(Vec::new()) };
            let wanted = match operator {
                "<" => |order: Ordering| order.is_lt(),
                "<=" => |order: Ordering| order.is_le(),
                ">" => |order: Ordering| order.is_gt(),
                ">=" => |order: Ordering| order.is_ge(),
                _ => return calculate(&left, operator, &right),
            };
            truth(order(&left, &right, moments)?.map(wanted))
        }
    }
}

fn calculate(left: &Item, operator: &str, right: &Item) -> Found {
    if let (Some(a), Some(b)) = (left.as_number(), right.as_number()) {
        return Ok(some(a.calculate(operator, b).map(Item::number)));
    }
    match (&left.json, &right.json) {
        (Json::Text(a), Json::Text(b)) if operator == "+" => Ok(vec![Item::text(format!("{a}{b}"))]),
        _ => Err(Stop::Misfit),
    }
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
