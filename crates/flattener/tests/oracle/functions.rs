//! The functions of FHIRPath and of SQL on FHIR, by the words of their specifications.

use std::cmp::Ordering;

use regex::Regex;

use crate::{
    evaluate::{
        Collection, Focus, Found, Item, Stop, beside, contains, evaluate, member, order, same, single, some, text,
        truth,
    },
    grammar::Node,
    json::Json,
    moment::{Moment, boundary},
    number::Number,
};

pub(crate) fn call(of: &Node, name: &str, arguments: &[Node], focus: Focus<'_>) -> Found {
    if name == "extension" {
        let all = match beside(of, "extension", focus)? {
            Some(found) => found,
            None => evaluate(of, focus)?.iter().flat_map(|item| member(&item.json, "extension")).collect(),
        };
        let url = text(evaluate(&arguments[0], focus)?)?.unwrap();
        return Ok(all.into_iter().filter(|item| item.json.field("url") == Some(&Json::Text(url.clone()))).collect());
    }
    if let ("ofType" | "as" | "is", Node::Member(space, wanted)) = (name, arguments.first().unwrap_or(of)) {
        let all = evaluate(of, focus)?;
        let wanted = if **space == Node::This { wanted.clone() } else { format!("System.{wanted}") };
        return of_type(all, name, &wanted);
    }
    let all = evaluate(of, focus)?;
    if let Some(found) = through(&all, name, arguments, focus) {
        return found;
    }
    let others = |place: usize| arguments.get(place).map_or(Ok(Vec::new()), |argument| evaluate(argument, focus));
    if let Some(found) = set(&all, name, &others)? {
        return Ok(found);
    }
    if let Some(found) = many(&all, name, arguments.len(), &others)? {
        return Ok(found);
    }
    one(single(all)?, name, arguments.len(), &others)
}

type Argument<'a> = &'a dyn Fn(usize) -> Found;

/// Whether values are of a type, where their names tell it.
fn of_type(all: Collection, name: &str, wanted: &str) -> Found {
    let is = |item: &Item| {
        let resource = item.json.field("resourceType");
        let computed = ["String", "Integer", "Decimal", "Boolean", "Date", "DateTime", "Time"];
        resource == Some(&Json::Text(wanted.to_owned()))
            || wanted.strip_prefix("System.") == Some(&item.of)
            || (!computed.contains(&item.of.as_str()) || !wanted.starts_with("System."))
                && item.of.eq_ignore_ascii_case(wanted)
    };
    match name {
        "is" => Ok(some(single(all)?.map(|item| Item::boolean(is(&item))))),
        "as" => Ok(some(single(all.into_iter().filter(is).collect())?)),
        _ => Ok(all.into_iter().filter(is).collect()),
    }
}

/// Functions that evaluate an argument for each value, or at another focus.
fn through(all: &[Item], name: &str, arguments: &[Node], focus: Focus<'_>) -> Option<Found> {
    let argument = arguments.first()?;
    let at = |index: usize, item: &Item| evaluate(argument, Focus { this: Some(item), index, ..focus });
    let kept = || -> Found {
        let mut kept = Vec::new();
        for (index, item) in all.iter().enumerate() {
            if truth(at(index, item)?)? == Some(true) {
                kept.push(item.clone());
            }
        }
        Ok(kept)
    };
    let answer = |value: bool| vec![Item::boolean(value)];
    Some(match name {
        "where" => kept(),
        "exists" | "any" => kept().map(|kept| answer(!kept.is_empty())),
        "all" => kept().map(|kept| answer(kept.len() == all.len())),
        "select" => {
            let each: Result<Vec<_>, _> = all.iter().enumerate().map(|(index, item)| at(index, item)).collect();
            each.map(|each| each.concat())
        }
        "repeat" => repeat(all, &at),
        "iif" => iif(all, arguments, focus),
        "coalesce" => {
            arguments.iter().try_fold(
                Vec::new(),
                |found, argument| {
                    if found.is_empty() { evaluate(argument, focus) } else { Ok(found) }
                },
            )
        }
        "getReferenceKey" => {
            let Node::Member(_, wanted) = argument else { return None };
            Ok(reference_keys(all, Some(wanted)))
        }
        _ => return None,
    })
}

fn reference_keys(all: &[Item], wanted: Option<&str>) -> Collection {
    let references = all.iter().flat_map(|item| member(&item.json, "reference"));
    references.filter_map(|reference| Some(Item::text(reference_key(&reference.as_text()?, wanted)?))).collect()
}

/// What a projection leads to from each value, and from each of these, each once.
fn repeat(all: &[Item], at: &dyn Fn(usize, &Item) -> Found) -> Found {
    let (mut reached, mut next): (Collection, Collection) = (Vec::new(), all.to_vec());
    while !next.is_empty() {
        let mut fresh: Collection = Vec::new();
        for item in &next {
            for found in at(0, item)? {
                if !reached.iter().any(|known| same(known, &found, false) == Some(true)) {
                    reached.push(found.clone());
                    fresh.push(found);
                }
            }
        }
        next = fresh;
    }
    Ok(reached)
}

fn iif(all: &[Item], arguments: &[Node], focus: Focus<'_>) -> Found {
    let item = single(all.to_vec())?;
    let focus = Focus { this: item.as_ref(), ..focus };
    match (truth(evaluate(&arguments[0], focus)?)?, arguments.get(2)) {
        (Some(true), _) => evaluate(&arguments[1], focus),
        (_, Some(otherwise)) => evaluate(otherwise, focus),
        _ => Ok(Vec::new()),
    }
}

pub(crate) fn distinct(all: impl IntoIterator<Item = Item>) -> Collection {
    let mut kept = Vec::new();
    for item in all {
        if !contains(&kept, &item) {
            kept.push(item);
        }
    }
    kept
}

/// Functions of two collections.
fn set(all: &[Item], name: &str, others: Argument<'_>) -> Result<Option<Collection>, Stop> {
    let all = all.iter().cloned();
    Ok(Some(match name {
        "union" => distinct(all.chain(others(0)?)),
        "combine" => all.chain(others(0)?).collect(),
        "intersect" => {
            let others = others(0)?;
            distinct(all.filter(|item| contains(&others, item)))
        }
        "exclude" => {
            let others = others(0)?;
            all.filter(|item| !contains(&others, item)).collect()
        }
        "subsetOf" => {
            let others = others(0)?;
            vec![Item::boolean(all.into_iter().all(|item| contains(&others, &item)))]
        }
        "supersetOf" => {
            let all: Collection = all.collect();
            vec![Item::boolean(others(0)?.iter().all(|item| contains(&all, item)))]
        }
        _ => return Ok(None),
    }))
}

/// Functions of a whole collection.
fn many(all: &[Item], name: &str, given: usize, others: Argument<'_>) -> Result<Option<Collection>, Stop> {
    let count = || -> Result<i128, Stop> {
        Ok(single(others(0)?)?.and_then(|item| item.as_number()).map_or(0, |number| number.digits))
    };
    let flags = |every: bool, wanted: bool| -> Result<Collection, Stop> {
        let each: Option<Vec<bool>> = all
            .iter()
            .map(|item| if let Json::Boolean(value) = item.json { Some(value == wanted) } else { None })
            .collect();
        let each = each.ok_or(Stop::Misfit)?;
        Ok(vec![Item::boolean(if every { each.iter().all(|one| *one) } else { each.iter().any(|one| *one) })])
    };
    let list = all.iter().cloned();
    let to_size = |count: i128| usize::try_from(count).unwrap_or(0);
    Ok(Some(match name {
        "first" => list.take(1).collect(),
        "last" => all.last().cloned().into_iter().collect(),
        "tail" => list.skip(1).collect(),
        "skip" => list.skip(to_size(count()?)).collect(),
        "take" => list.take(to_size(count()?)).collect(),
        "single" => some(single(all.to_vec())?),
        "trace" | "getValue" => all.to_vec(),
        "distinct" => distinct(list),
        "isDistinct" => vec![Item::boolean(distinct(list).len() == all.len())],
        "count" => vec![Item::number(Number::whole(all.len()))],
        "exists" | "any" if given == 0 => vec![Item::boolean(!all.is_empty())],
        "empty" => vec![Item::boolean(all.is_empty())],
        "not" => some(truth(all.to_vec())?.map(|value| Item::boolean(!value))),
        "allTrue" => flags(true, true)?,
        "allFalse" => flags(true, false)?,
        "anyTrue" => flags(false, true)?,
        "anyFalse" => flags(false, false)?,
        "hasValue" => vec![Item::boolean(all.len() == 1 && all[0].as_text().is_some())],
        "children" => all.iter().flat_map(|item| children(&item.json)).collect(),
        "descendants" => all.iter().flat_map(|item| descendants(&item.json)).collect(),
        "sum" | "avg" => {
            let numbers: Option<Vec<Number>> = all.iter().map(Item::as_number).collect();
            let sum = numbers.ok_or(Stop::Misfit)?.into_iter().reduce(|sum, one| sum.calculate("+", one).unwrap());
            let of = |sum: Number| if name == "sum" { Some(sum) } else { sum.calculate("/", Number::whole(all.len())) };
            some(sum.and_then(of).map(Item::number))
        }
        "min" | "max" => {
            let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
            let mut best: Option<&Item> = None;
            for item in all {
                if best.map_or(Ok(Some(wanted)), |best| order(item, best, false))? == Some(wanted) {
                    best = Some(item);
                }
            }
            some(best.cloned())
        }
        "join" => {
            let separator = text(others(0)?)?.unwrap_or_default();
            let texts: Option<Vec<String>> = all.iter().map(Item::as_text).collect();
            let texts = texts.ok_or(Stop::Misfit)?;
            if texts.is_empty() { Vec::new() } else { vec![Item::text(texts.join(&separator))] }
        }
        "lowBoundary" | "highBoundary" => {
            let high = name == "highBoundary";
            let of = |item: &Item| match (&item.json, item.as_number()) {
                (_, Some(number)) => Some(Item::number(number.boundary(high))),
                (Json::Text(text), _) => {
                    boundary(text, item.is_date_time(), high).map(|text| Item::new(Json::Text(text), &item.of))
                }
                _ => None,
            };
            all.iter().filter_map(of).collect()
        }
        "getReferenceKey" => reference_keys(all, None),
        "getResourceKey" => all.iter().flat_map(|item| member(&item.json, "id")).collect(),
        _ => return Ok(None),
    }))
}

fn children(of: &Json) -> Collection {
    let Json::Object(object) = of else { return Vec::new() };
    let names =
        object.fields.iter().map(|(name, _)| name).filter(|name| *name != "resourceType" && !name.starts_with('_'));
    names.flat_map(|name| member(of, name)).collect()
}

fn descendants(of: &Json) -> Collection {
    children(of).into_iter().flat_map(|child| std::iter::once(child.clone()).chain(descendants(&child.json))).collect()
}

/// The key of a reference: what follows the last slash but for its version; a UUID; nothing of what is contained.
pub(crate) fn reference_key(reference: &str, wanted: Option<&str>) -> Option<String> {
    if let Some(uuid) = reference.strip_prefix("urn:uuid:") {
        return Some(uuid.to_owned());
    }
    let mut parts = reference.split("/_history/").next()?.rsplit('/');
    let (id, kind) = (parts.next()?, parts.next()?);
    let named = kind.starts_with(|c: char| c.is_ascii_uppercase()) && !id.is_empty();
    (named && wanted.is_none_or(|wanted| wanted == kind)).then(|| id.to_owned())
}

/// Functions of one value.
fn one(of: Option<Item>, name: &str, given: usize, others: Argument<'_>) -> Found {
    let Some(of) = of else { return Ok(Vec::new()) };
    if let Some(target) = name.strip_prefix("convertsTo") {
        return Ok(vec![Item::boolean(converted(&of, target).is_some())]);
    }
    if let Some(target) = name.strip_prefix("to").filter(|target| *target != "Chars") {
        return Ok(some(converted(&of, target)));
    }
    if let "abs" | "round" | "floor" | "ceiling" | "truncate" = name {
        let number = of.as_number().ok_or(Stop::Misfit)?;
        let digits = single(others(0)?)?.and_then(|item| item.as_number()).map_or(0, |number| number.digits);
        return Ok(vec![Item::number(match name {
            "abs" => Number { digits: number.digits.abs(), ..number },
            "round" => number.rounded(u32::try_from(digits).unwrap()),
            _ => number.whole_part(name),
        })]);
    }
    let text_of = of.as_text().ok_or(Stop::Misfit)?;
    if name == "substring" {
        let number = |place| -> Result<Option<i128>, Stop> {
            Ok(single(others(place)?)?.and_then(|item| item.as_number()).map(|number| number.digits))
        };
        let (start, length) = (number(0)?, if given == 2 { number(1)? } else { None });
        let characters: Vec<char> = text_of.chars().collect();
        let start = start.and_then(|start| usize::try_from(start).ok()).filter(|start| *start < characters.len());
        let length = length.map_or(usize::MAX, |length| usize::try_from(length).unwrap_or(0));
        return Ok(some(start.map(|start| Item::text(characters[start..].iter().take(length).collect::<String>()))));
    }
    let mut texts = Vec::new();
    for place in 0..given {
        match text(others(place)?)? {
            Some(text) => texts.push(text),
            None => return Ok(Vec::new()),
        }
    }
    Ok(of_text(&text_of, name, &texts))
}

fn of_text(of: &str, name: &str, texts: &[String]) -> Collection {
    let first = texts.first().map_or("", String::as_str);
    let place = |found: Option<usize>| {
        let digits = found.map_or(-1, |at| i128::try_from(of[..at].chars().count()).unwrap());
        vec![Item::number(Number { digits, scale: 0 })]
    };
    match name {
        "upper" => vec![Item::text(of.to_uppercase())],
        "lower" => vec![Item::text(of.to_lowercase())],
        "trim" => vec![Item::text(of.trim())],
        "length" => vec![Item::number(Number::whole(of.chars().count()))],
        "startsWith" => vec![Item::boolean(of.starts_with(first))],
        "endsWith" => vec![Item::boolean(of.ends_with(first))],
        "contains" => vec![Item::boolean(of.contains(first))],
        "indexOf" => place(of.find(first)),
        "lastIndexOf" => place(of.rfind(first)),
        "replace" => vec![Item::text(of.replace(first, &texts[1]))],
        "matches" => vec![Item::boolean(Regex::new(first).unwrap().is_match(of))],
        "matchesFull" => vec![Item::boolean(Regex::new(&format!("^(?:{first})$")).unwrap().is_match(of))],
        "replaceMatches" if first.is_empty() => vec![Item::text(of)],
        "replaceMatches" => vec![Item::text(Regex::new(first).unwrap().replace_all(of, texts[1].as_str()))],
        "toChars" => of.chars().map(|c| Item::text(c.to_string())).collect(),
        "split" => of.split(first).map(Item::text).collect(),
        other => panic!("the function {other}()"),
    }
}

fn converted(item: &Item, target: &str) -> Option<Item> {
    let text = item.as_text()?;
    let moment = |of: &str, text: String| Some(Item::new(Json::Text(text), of));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match target {
        "String" => Some(Item::text(text)),
        "Boolean" => match text.to_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" | "1.0" => Some(Item::boolean(true)),
            "false" | "f" | "no" | "n" | "0" | "0.0" => Some(Item::boolean(false)),
            _ => None,
        },
        "Integer" | "Decimal" => {
            if let Json::Boolean(value) = item.json {
                return Some(Item::number(Number::whole(usize::from(value))));
            }
            let unsigned = text.trim_start_matches(['+', '-']);
            let fits = match unsigned.split_once('.') {
                None => digits(unsigned),
                Some((whole, fraction)) => target == "Decimal" && digits(whole) && digits(fraction),
            };
            Number::read(&text).filter(|_| fits).map(Item::number)
        }
        "Date" => moment("Date", text.split('T').next().unwrap().to_owned()).filter(|_| is_date(&text)),
        "DateTime" => moment("DateTime", text.clone()).filter(|_| is_date(&text)),
        "Time" => {
            let clock = if text.len() == 2 { format!("{text}:00") } else { text };
            moment("Time", clock.clone()).filter(|_| Moment::read(&clock).is_some_and(|moment| moment.is_time()))
        }
        other => panic!("the conversion to {other}"),
    }
}

fn is_date(text: &str) -> bool {
    Moment::read(text).is_some_and(|moment| !moment.is_time())
}
