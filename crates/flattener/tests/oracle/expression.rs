//! Random expressions of which the types are known, as text.

use crate::{
    dice::Dice,
    resource::{DATE_TIMES, DATES, DECIMALS, TEXTS},
};

/// What an expression gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Integer,
    Decimal,
    Boolean,
    Date,
    DateTime,
    Patient,
    Meta,
    Name,
    Point,
    Identifier,
    Period,
    Contact,
    Extension,
    Quantity,
    Reference,
}

use Type as T;

impl Type {
    /// The fields that a patient's parts have.
    pub(crate) fn fields(self) -> &'static [(&'static str, Type)] {
        match self {
            T::Patient => &[
                ("name", T::Name),
                ("gender", T::Text),
                ("active", T::Boolean),
                ("birthDate", T::Date),
                ("multipleBirth.ofType(integer)", T::Integer),
                ("deceased.ofType(boolean)", T::Boolean),
                ("deceased.ofType(dateTime)", T::DateTime),
                ("meta", T::Meta),
                ("telecom", T::Point),
                ("identifier", T::Identifier),
                ("contact", T::Contact),
                ("extension", T::Extension),
                ("birthDate.extension", T::Extension),
                ("birthDate.id", T::Text),
                ("generalPractitioner", T::Reference),
            ],
            T::Meta => &[("lastUpdated", T::DateTime)],
            T::Name => &[("family", T::Text), ("given", T::Text), ("use", T::Text)],
            T::Point => &[("value", T::Text), ("system", T::Text), ("rank", T::Integer)],
            T::Identifier => &[("value", T::Text), ("system", T::Text), ("period", T::Period)],
            T::Period => &[("start", T::DateTime)],
            T::Contact => &[("name", T::Name), ("telecom", T::Point)],
            T::Extension => &[
                ("url", T::Text),
                ("extension", T::Extension),
                ("value.ofType(string)", T::Text),
                ("value.ofType(integer)", T::Integer),
                ("value.ofType(boolean)", T::Boolean),
                ("value.ofType(decimal)", T::Decimal),
                ("value.ofType(dateTime)", T::DateTime),
                ("value.ofType(Quantity)", T::Quantity),
            ],
            T::Quantity => &[("value", T::Decimal), ("unit", T::Text)],
            T::Reference => &[("reference", T::Text)],
            T::Text | T::Integer | T::Decimal | T::Boolean | T::Date | T::DateTime => &[],
        }
    }
}

/// A step behind what stands before it; nothing stands for the focus itself.
fn step(of: &str, rest: &str) -> String {
    if of.is_empty() { rest.to_owned() } else { format!("{of}.{rest}") }
}

fn shown(path: String) -> String {
    if path.is_empty() { "$this".to_owned() } else { path }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "\\'"))
}

fn some_text(dice: &mut Dice<'_>) -> String {
    literal(dice.one_of(&TEXTS))
}

/// Any collection of elements or values from a focus.
pub(crate) fn path(dice: &mut Dice<'_>, from: Type, depth: usize) -> (String, Type) {
    let (mut at, mut kind) = (String::new(), from);
    loop {
        let fields = kind.fields();
        if fields.is_empty() || (!at.is_empty() && dice.roll(4) == 3) {
            return (shown(at), kind);
        }
        if matches!(kind, T::Patient | T::Extension) && dice.roll(8) == 7 {
            (at, kind) = (step(&at, &format!("extension('{}')", dice.one_of(&["u", "v"]))), T::Extension);
        } else if kind == T::Extension && dice.roll(10) == 9 {
            at = step(&at, "repeat(extension)");
        } else {
            let (name, of) = dice.one_of(fields);
            (at, kind) = (step(&at, name), of);
        }
        at = part(dice, at, kind, depth);
    }
}

/// Perhaps only a part of a collection.
fn part(dice: &mut Dice<'_>, of: String, kind: Type, depth: usize) -> String {
    match dice.roll(18) {
        7 => step(&of, dice.one_of(&["first()", "last()", "tail()", "trace('x')"])),
        8 => format!("{of}[{}]", dice.roll(3)),
        9 => step(&of, &format!("{}({})", dice.one_of(&["skip", "take"]), dice.roll(3))),
        10 | 11 if depth > 0 => step(&of, &format!("where({})", boolean(dice, kind, depth - 1))),
        12 => step(&of, &format!("where($index = {})", dice.roll(3))),
        13 => step(&of, "distinct()"),
        14 if depth > 0 => {
            let name = dice.one_of(&["union", "combine", "intersect", "exclude"]);
            step(&of, &format!("{name}({of}.skip(1))"))
        }
        15 if depth > 0 => step(&of, "select($this)"),
        _ => of,
    }
}

/// A path to values of a type, if the dice find one.
fn leaf(dice: &mut Dice<'_>, from: Type, wanted: Type, depth: usize) -> String {
    for _ in 0..5 {
        let (found, kind) = path(dice, from, depth);
        if kind == wanted {
            // Most functions take one value.
            return if dice.roll(6) == 5 { found } else { step(&found, "first()") };
        }
    }
    match wanted {
        T::Integer => dice.roll(5).to_string(),
        T::Decimal => {
            let digits = dice.one_of(&DECIMALS).to_owned();
            if digits.contains('e') { "100.0".into() } else { format!("({digits})") }
        }
        T::Boolean => (dice.roll(2) == 1).to_string(),
        T::Date => format!("@{}", dice.one_of(&DATES)),
        T::DateTime => {
            let text = dice.one_of(&DATE_TIMES);
            if text.contains('T') { format!("@{text}") } else { format!("@{text}T") }
        }
        _ => some_text(dice),
    }
}

pub(crate) fn boolean(dice: &mut Dice<'_>, from: Type, depth: usize) -> String {
    if depth == 0 {
        return match dice.roll(3) {
            0 => step(&path(dice, from, 0).0, dice.one_of(&["exists()", "empty()", "hasValue()"])),
            1 => leaf(dice, from, T::Boolean, 0),
            _ => format!("({} = {})", leaf(dice, from, T::Text, 0), some_text(dice)),
        };
    }
    let less = depth - 1;
    match dice.roll(22) {
        0 | 1 => boolean(dice, from, 0),
        2 => {
            let operator = dice.one_of(&["and", "or", "xor", "implies"]);
            format!("({} {operator} {})", boolean(dice, from, less), boolean(dice, from, less))
        }
        3 => step(&boolean(dice, from, less), "not()"),
        4 | 5 => {
            let operator = dice.one_of(&["=", "!=", "~", "!~", "<", ">="]);
            let right = if dice.roll(2) == 0 { some_text(dice) } else { text(dice, from, less) };
            format!("({} {operator} {right})", text(dice, from, less))
        }
        6 | 7 => {
            let operator = dice.one_of(&["<", "<=", ">", ">=", "=", "!=", "~"]);
            format!("({} {operator} {})", number(dice, from, less), number(dice, from, less))
        }
        8 => {
            let name = dice.one_of(&["startsWith", "endsWith", "contains"]);
            step(&text(dice, from, less), &format!("{name}({})", some_text(dice)))
        }
        9 => {
            step(&text(dice, from, less), dice.one_of(&["matches('^[A-Z]')", "matchesFull('[a-z ]*')", "matches('')"]))
        }
        10 | 11 => {
            let (of, kind) = path(dice, from, less);
            step(&of, &format!("{}({})", dice.one_of(&["exists", "all", "any"]), boolean(dice, kind, less)))
        }
        12 => {
            let (of, kind) = path(dice, from, less);
            if kind.fields().is_empty() {
                let one = leaf(dice, from, kind, less);
                return if dice.roll(2) == 0 { format!("({one} in {of})") } else { format!("({of} contains {one})") };
            }
            let name = dice.one_of(&["isDistinct()", "subsetOf($this)", "exists()"]);
            step(&of, &name.replace("$this", &of))
        }
        13 => {
            let (one, two) = (boolean(dice, from, less), boolean(dice, from, less));
            format!("iif({}, {one}, {two})", boolean(dice, from, less))
        }
        14 | 15 => {
            let operator = dice.one_of(&["=", "!=", "<", "<=", ">", ">=", "~"]);
            let kind = dice.one_of(&[T::Date, T::DateTime]);
            format!("({} {operator} {})", moment(dice, from, kind), moment(dice, from, dice_kind(kind)))
        }
        16 if matches!(from, T::Extension) => {
            format!("(value is {})", dice.one_of(&["string", "integer", "boolean", "decimal", "Quantity"]))
        }
        17 => {
            let (of, kind) = path(dice, from, less);
            if kind != T::Boolean {
                return boolean(dice, from, less);
            }
            step(&of, dice.one_of(&["allTrue()", "anyTrue()", "allFalse()", "anyFalse()"]))
        }
        18 => {
            let to = dice.one_of(&["Integer", "Decimal", "Boolean", "Date", "DateTime", "Time", "String"]);
            step(&text(dice, from, less), &format!("convertsTo{to}()"))
        }
        19 => format!("%context.exists({})", boolean(dice, from, 0).replace("$this", "%context")),
        _ => leaf(dice, from, T::Boolean, less),
    }
}

fn dice_kind(kind: Type) -> Type {
    if kind == T::Date { T::DateTime } else { T::Date }
}

/// A date or a dateTime.
pub(crate) fn moment(dice: &mut Dice<'_>, from: Type, kind: Type) -> String {
    let found = leaf(dice, from, kind, 0);
    match dice.roll(6) {
        4 => step(&found, dice.one_of(&["lowBoundary()", "highBoundary()"])),
        5 if kind == T::DateTime => step(&found, "toDate()"),
        _ => found,
    }
}

pub(crate) fn text(dice: &mut Dice<'_>, from: Type, depth: usize) -> String {
    if depth == 0 {
        return leaf(dice, from, T::Text, 0);
    }
    let less = depth - 1;
    match dice.roll(18) {
        0 => some_text(dice),
        1 => step(&text(dice, from, less), dice.one_of(&["upper()", "lower()", "trim()", "toString()"])),
        2 => {
            let (start, length) = (dice.roll(5), dice.roll(4));
            let rest =
                if dice.roll(2) == 1 { format!("substring({start}, {length})") } else { format!("substring({start})") };
            step(&text(dice, from, less), &rest)
        }
        3 => {
            let (old, new) = (some_text(dice), some_text(dice));
            step(&text(dice, from, less), &format!("replace({old}, {new})"))
        }
        4 => {
            let operator = dice.one_of(&["+", "&"]);
            format!("({} {operator} {})", text(dice, from, less), text(dice, from, less))
        }
        5 => {
            let (of, kind) = path(dice, from, less);
            if kind != T::Text {
                return text(dice, from, less);
            }
            step(&of, dice.one_of(&["join()", "join(', ')", "select($this & '!').join('')", "min()", "max()"]))
        }
        6 if from == T::Patient => {
            let kind = dice.one_of(&["", "Practitioner", "Organization"]);
            format!("generalPractitioner.first().getReferenceKey({kind})")
        }
        7 if from == T::Patient => "getResourceKey()".into(),
        8 if from == T::Extension => "value.as(string)".into(),
        9 => step(
            &text(dice, from, less),
            dice.one_of(&["split(' ').first()", "split('n').last()", "toChars().tail().join('')"]),
        ),
        10 => {
            step(&text(dice, from, less), dice.one_of(&["replaceMatches('[aeé]', '<$0>')", "replaceMatches('', 'x')"]))
        }
        11 => step(&number(dice, from, less), "toString()"),
        12 => step(&boolean(dice, from, less), "toString()"),
        13 => format!("coalesce({}, {})", text(dice, from, less), text(dice, from, less)),
        14 => {
            let (one, two) = (text(dice, from, less), text(dice, from, less));
            format!("iif({}, {one}, {two})", boolean(dice, from, less))
        }
        15 => format!("(%resource.gender | {}).first()", text(dice, from, less)),
        16 => step(&moment(dice, from, T::DateTime), "toString()"),
        _ => leaf(dice, from, T::Text, less),
    }
}

/// A number, mostly a whole one.
pub(crate) fn number(dice: &mut Dice<'_>, from: Type, depth: usize) -> String {
    if dice.roll(3) == 2 { decimal(dice, from, depth) } else { integer(dice, from, depth) }
}

pub(crate) fn decimal(dice: &mut Dice<'_>, from: Type, depth: usize) -> String {
    let less = depth.saturating_sub(1);
    match dice.roll(if depth == 0 { 2 } else { 8 }) {
        2 | 3 => {
            let operator = dice.one_of(&["+", "-", "*", "/", "mod"]);
            format!("({} {operator} {})", number(dice, from, less), number(dice, from, less))
        }
        4 => step(
            &leaf(dice, from, T::Decimal, less),
            dice.one_of(&["lowBoundary()", "highBoundary()", "round(1)", "abs()"]),
        ),
        5 => {
            let (of, kind) = path(dice, from, less);
            if !matches!(kind, T::Decimal | T::Integer) {
                return decimal(dice, from, less);
            }
            step(&of, dice.one_of(&["sum()", "avg()", "min()", "max()"]))
        }
        6 => format!("(-({}))", number(dice, from, less)),
        7 => step(&text(dice, from, less), "toDecimal()"),
        _ => leaf(dice, from, T::Decimal, less),
    }
}

pub(crate) fn integer(dice: &mut Dice<'_>, from: Type, depth: usize) -> String {
    let less = depth.saturating_sub(1);
    match dice.roll(if depth == 0 { 3 } else { 12 }) {
        0 => dice.roll(5).to_string(),
        1 => leaf(dice, from, T::Integer, less),
        2 => step(&path(dice, from, less).0, "count()"),
        3 => step(&text(dice, from, less), "length()"),
        4 => {
            let name = dice.one_of(&["indexOf", "lastIndexOf"]);
            step(&text(dice, from, less), &format!("{name}({})", some_text(dice)))
        }
        5 => "%rowIndex".into(),
        6 => step(&path(dice, from, less).0, dice.one_of(&["descendants().count()", "children().count()"])),
        7 => step(&decimal(dice, from, less), dice.one_of(&["floor()", "ceiling()", "truncate()"])),
        8 => step(&text(dice, from, less), "toInteger()"),
        9 => format!("({} {} {})", number(dice, from, less), dice.one_of(&["div"]), number(dice, from, less)),
        _ => {
            let operator = dice.one_of(&["+", "-", "*", "mod"]);
            format!("({} {operator} {})", integer(dice, from, less), integer(dice, from, less))
        }
    }
}
