//! Random expressions of which the types are known, and their text.

use crate::{
    dice::Dice,
    resource::{DATES, TEXTS},
};

/// What an expression gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Integer,
    Boolean,
    Date,
    Patient,
    Name,
    Point,
    Identifier,
    Contact,
    Extension,
    Reference,
}

impl Type {
    /// The fields that a patient's parts have.
    pub(crate) fn fields(self) -> &'static [(&'static str, Type)] {
        match self {
            Self::Patient => &[
                ("name", Self::Name),
                ("gender", Self::Text),
                ("active", Self::Boolean),
                ("birthDate", Self::Date),
                ("multipleBirthInteger", Self::Integer),
                ("telecom", Self::Point),
                ("identifier", Self::Identifier),
                ("contact", Self::Contact),
                ("extension", Self::Extension),
                ("generalPractitioner", Self::Reference),
            ],
            Self::Name => &[("family", Self::Text), ("given", Self::Text), ("use", Self::Text)],
            Self::Point => &[("value", Self::Text), ("system", Self::Text), ("rank", Self::Integer)],
            Self::Identifier => &[("value", Self::Text), ("system", Self::Text)],
            Self::Contact => &[("name", Self::Name), ("telecom", Self::Point)],
            Self::Extension => &[("url", Self::Text)],
            Self::Reference => &[("reference", Self::Text)],
            Self::Text | Self::Integer | Self::Boolean | Self::Date => &[],
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Expression {
    This,
    RowIndex,
    Text(&'static str),
    Integer(i64),
    Boolean(bool),
    Child(Box<Self>, &'static str),
    Where(Box<Self>, Box<Self>),
    /// `.name(numbers)` that keeps a part of a collection: first, last, tail, skip, take, distinct, or an index.
    Part(Box<Self>, &'static str, Option<usize>),
    /// `.extension(url)`.
    Extension(Box<Self>, &'static str),
    /// `.value.ofType(type)` of an extension, and its name in JSON.
    ValueOf(Box<Self>, &'static str, &'static str),
    /// `value is type` of an extension, and the value's name in JSON; `value.as(type)`.
    ValueIs(Box<Self>, &'static str, &'static str),
    ValueAs(Box<Self>, &'static str, &'static str),
    /// `.descendants().count()`.
    Descendants(Box<Self>),
    /// A comparison with a date.
    Dates(Box<Self>, &'static str, &'static str),
    /// A function without arguments of a whole collection: exists, empty, count, not.
    Of(Box<Self>, &'static str),
    ExistsWhere(Box<Self>, Box<Self>),
    AllWhere(Box<Self>, Box<Self>),
    /// A function of one text with arguments.
    Function(Box<Self>, &'static str, Vec<Self>),
    Join(Box<Self>, &'static str),
    Key(Box<Self>, Option<&'static str>),
    ResourceKey,
    Binary(Box<Self>, &'static str, Box<Self>),
    If(Box<Self>, Box<Self>, Box<Self>),
}

use Expression as E;

impl Expression {
    pub(crate) fn text(&self) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "\\'"));
        // A path from the focus itself is written without `$this`.
        let of = |of: &Self, rest: String| if matches!(of, E::This) { rest } else { format!("{}.{rest}", of.text()) };
        match self {
            E::This => "$this".into(),
            E::RowIndex => "%rowIndex".into(),
            E::Text(text) => quoted(text),
            E::Integer(number) => number.to_string(),
            E::Boolean(value) => value.to_string(),
            E::Child(parent, name) => of(parent, (*name).to_owned()),
            E::Where(parent, condition) => of(parent, format!("where({})", condition.text())),
            E::Part(parent, "[]", place) => format!("{}[{}]", parent.text(), place.unwrap_or(0)),
            E::Part(parent, name, Some(number)) => of(parent, format!("{name}({number})")),
            E::Part(parent, name, None) | E::Of(parent, name) => of(parent, format!("{name}()")),
            E::Extension(parent, url) => of(parent, format!("extension('{url}')")),
            E::ValueIs(parent, name, _) => format!("({} is {name})", of(parent, "value".to_owned())),
            E::ValueAs(parent, name, _) => of(parent, format!("value.as({name})")),
            E::Descendants(parent) => of(parent, "descendants().count()".to_owned()),
            E::Dates(left, operator, date) => format!("({} {operator} @{date})", left.text()),
            E::ValueOf(parent, name, _) => of(parent, format!("value.ofType({name})")),
            E::ExistsWhere(parent, condition) => of(parent, format!("exists({})", condition.text())),
            E::AllWhere(parent, condition) => of(parent, format!("all({})", condition.text())),
            E::Function(parent, name, arguments) => {
                let arguments: Vec<String> = arguments.iter().map(Self::text).collect();
                of(parent, format!("{name}({})", arguments.join(", ")))
            }
            E::Join(parent, separator) => of(parent, format!("join({})", quoted(separator))),
            E::Key(parent, wanted) => of(parent, format!("getReferenceKey({})", wanted.unwrap_or(""))),
            E::ResourceKey => "getResourceKey()".into(),
            E::Binary(left, operator, right) => format!("({} {operator} {})", left.text(), right.text()),
            E::If(condition, then, other) => format!("iif({}, {}, {})", condition.text(), then.text(), other.text()),
        }
    }
}

/// The operand of a function: a computed one stands in brackets already.
fn boxed(expression: E) -> Box<E> {
    Box::new(expression)
}

/// Any collection of elements or values from a focus.
pub(crate) fn path(dice: &mut Dice<'_>, from: Type, depth: usize) -> (E, Type) {
    let (mut at, mut kind) = (E::This, from);
    loop {
        let fields = kind.fields();
        if fields.is_empty() || (!matches!(at, E::This) && dice.roll(4) == 3) {
            return (at, kind);
        }
        if kind == Type::Extension && dice.roll(3) > 0 {
            let (name, json, of) = dice.one_of(&[
                ("string", "valueString", Type::Text),
                ("integer", "valueInteger", Type::Integer),
                ("boolean", "valueBoolean", Type::Boolean),
            ]);
            (at, kind) = (E::ValueOf(boxed(at), name, json), of);
        } else if kind == Type::Patient && dice.roll(8) == 7 {
            (at, kind) = (E::Extension(boxed(at), dice.one_of(&["u", "v"])), Type::Extension);
        } else {
            let (name, of) = dice.one_of(fields);
            (at, kind) = (E::Child(boxed(at), name), of);
        }
        at = part(dice, at, kind, depth);
    }
}

/// Perhaps only a part of a collection.
fn part(dice: &mut Dice<'_>, of: E, kind: Type, depth: usize) -> E {
    match dice.roll(14) {
        7 => E::Part(boxed(of), "first", None),
        8 => E::Part(boxed(of), "last", None),
        9 => E::Part(boxed(of), "tail", None),
        10 => E::Part(boxed(of), dice.one_of(&["skip", "take", "[]"]), Some(dice.roll(3))),
        11 | 12 if depth > 0 => E::Where(boxed(of), boxed(boolean(dice, kind, depth - 1))),
        13 if kind == Type::Text || kind == Type::Integer => E::Part(boxed(of), "distinct", None),
        _ => of,
    }
}

/// A path to values of a type, if the dice find one.
fn leaf(dice: &mut Dice<'_>, from: Type, wanted: Type, depth: usize) -> E {
    for _ in 0..4 {
        let (found, kind) = path(dice, from, depth);
        if kind == wanted {
            // Most functions take one value.
            return if dice.roll(5) == 4 { found } else { E::Part(boxed(found), "first", None) };
        }
    }
    match wanted {
        Type::Integer => E::Integer(i64::try_from(dice.roll(5)).unwrap_or(0)),
        Type::Boolean => E::Boolean(dice.roll(2) == 1),
        _ => E::Text(dice.one_of(&TEXTS)),
    }
}

pub(crate) fn boolean(dice: &mut Dice<'_>, from: Type, depth: usize) -> E {
    if depth == 0 {
        return match dice.roll(3) {
            0 => E::Of(boxed(path(dice, from, 0).0), dice.one_of(&["exists", "empty"])),
            1 => leaf(dice, from, Type::Boolean, 0),
            _ => E::Binary(boxed(leaf(dice, from, Type::Text, 0)), "=", boxed(E::Text(dice.one_of(&TEXTS)))),
        };
    }
    let less = depth - 1;
    match dice.roll(14) {
        0 | 1 => boolean(dice, from, 0),
        2 => {
            let operator = dice.one_of(&["and", "or", "xor", "implies"]);
            E::Binary(boxed(boolean(dice, from, less)), operator, boxed(boolean(dice, from, less)))
        }
        3 => E::Of(boxed(boolean(dice, from, less)), "not"),
        4 | 5 => {
            let operator = dice.one_of(&["=", "!="]);
            let right = if dice.roll(2) == 0 { E::Text(dice.one_of(&TEXTS)) } else { text(dice, from, less) };
            E::Binary(boxed(text(dice, from, less)), operator, boxed(right))
        }
        6 => {
            let operator = dice.one_of(&["<", "<=", ">", ">=", "="]);
            E::Binary(boxed(integer(dice, from, less)), operator, boxed(integer(dice, from, less)))
        }
        7 => {
            let name = dice.one_of(&["startsWith", "endsWith", "contains"]);
            E::Function(boxed(text(dice, from, less)), name, vec![E::Text(dice.one_of(&TEXTS))])
        }
        8 | 9 => {
            let (of, kind) = path(dice, from, less);
            if matches!(kind, Type::Text | Type::Integer) {
                let wanted = leaf(dice, from, kind, less);
                return E::Binary(boxed(wanted), "in", boxed(of));
            }
            let condition = boxed(boolean(dice, kind, less));
            if dice.roll(2) == 0 { E::ExistsWhere(boxed(of), condition) } else { E::AllWhere(boxed(of), condition) }
        }
        10 => {
            let (one, two) = (boolean(dice, from, less), boolean(dice, from, less));
            E::If(boxed(boolean(dice, from, less)), boxed(one), boxed(two))
        }
        11 if matches!(from, Type::Patient | Type::Date) => {
            let of = if from == Type::Date { E::This } else { E::Child(boxed(E::This), "birthDate") };
            E::Dates(boxed(of), dice.one_of(&["=", "!=", "<", "<=", ">", ">="]), dice.one_of(&DATES))
        }
        12 if matches!(from, Type::Patient | Type::Extension) => {
            let (name, json) =
                dice.one_of(&[("string", "valueString"), ("integer", "valueInteger"), ("boolean", "valueBoolean")]);
            E::ValueIs(boxed(extension(from)), name, json)
        }
        _ => leaf(dice, from, Type::Boolean, less),
    }
}

pub(crate) fn text(dice: &mut Dice<'_>, from: Type, depth: usize) -> E {
    if depth == 0 {
        return leaf(dice, from, Type::Text, 0);
    }
    let less = depth - 1;
    match dice.roll(10) {
        0 => E::Text(dice.one_of(&TEXTS)),
        1 => E::Function(boxed(text(dice, from, less)), dice.one_of(&["upper", "lower"]), Vec::new()),
        2 => {
            let start = E::Integer(i64::try_from(dice.roll(5)).unwrap_or(0));
            let length = (dice.roll(2) == 1).then(|| E::Integer(i64::try_from(dice.roll(4)).unwrap_or(0)));
            E::Function(boxed(text(dice, from, less)), "substring", std::iter::once(start).chain(length).collect())
        }
        3 => {
            let arguments = vec![E::Text(dice.one_of(&TEXTS)), E::Text(dice.one_of(&TEXTS))];
            E::Function(boxed(text(dice, from, less)), "replace", arguments)
        }
        4 => E::Binary(boxed(text(dice, from, less)), dice.one_of(&["+", "&"]), boxed(text(dice, from, less))),
        5 => {
            let (of, kind) = path(dice, from, less);
            if kind == Type::Text { E::Join(boxed(of), dice.one_of(&["", ", "])) } else { text(dice, from, less) }
        }
        6 if from == Type::Patient => {
            let of = E::Part(boxed(E::Child(boxed(E::This), "generalPractitioner")), "first", None);
            E::Key(boxed(of), dice.one_of(&[None, Some("Practitioner"), Some("Organization")]))
        }
        7 if from == Type::Patient => E::ResourceKey,
        8 if matches!(from, Type::Patient | Type::Extension) => {
            E::ValueAs(boxed(extension(from)), "string", "valueString")
        }
        _ => leaf(dice, from, Type::Text, less),
    }
}

/// One extension of a patient, or the focus.
fn extension(from: Type) -> E {
    if from == Type::Extension {
        return E::This;
    }
    E::Part(boxed(E::Child(boxed(E::This), "extension")), "first", None)
}

pub(crate) fn integer(dice: &mut Dice<'_>, from: Type, depth: usize) -> E {
    let less = depth.saturating_sub(1);
    match dice.roll(if depth == 0 { 3 } else { 8 }) {
        0 => E::Integer(i64::try_from(dice.roll(5)).unwrap_or(0)),
        1 => leaf(dice, from, Type::Integer, less),
        2 => E::Of(boxed(path(dice, from, less).0), "count"),
        3 => E::Function(boxed(text(dice, from, less)), "length", Vec::new()),
        4 => E::Function(boxed(text(dice, from, less)), "indexOf", vec![E::Text(dice.one_of(&TEXTS))]),
        5 => E::RowIndex,
        6 => E::Descendants(boxed(path(dice, from, less).0)),
        _ => {
            let operator = dice.one_of(&["+", "-", "*", "div", "mod"]);
            E::Binary(boxed(integer(dice, from, less)), operator, boxed(integer(dice, from, less)))
        }
    }
}
