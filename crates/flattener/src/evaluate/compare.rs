//! Equality, equivalence and order (FHIRPath N1, 6.1 and 6.2).

use std::{cmp::Ordering, fmt::Write};

use fhirvest_fhir::temporal::Moment;

use super::{Evaluator, Fail, Focus, Item};
use crate::{
    arena::{NONE, Value},
    operation::{Operation, Sameness},
};

/// Values on either side of `~`, which looks for a partner of each among the others.
const MOST_EQUIVALENT: usize = 1_000;

/// What a key keeps of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// All that `=` looks at.
    Equal(Sameness),
    /// What `~` looks at: neither capitals nor white space nor order.
    Equivalent,
}

/// The values of one side: the first apart, so that one value costs nothing.
struct Side<'p> {
    first: Option<Item<'p>>,
    rest: Vec<Item<'p>>,
}

impl<'p> Side<'p> {
    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    fn items(&self) -> impl Iterator<Item = Item<'p>> + '_ {
        self.first.into_iter().chain(self.rest.iter().copied())
    }
}

impl Evaluator<'_> {
    fn side<'p>(&self, of: &'p Operation, focus: Focus<'p>) -> Result<Side<'p>, Fail> {
        let mut side = Side { first: None, rest: Vec::new() };
        self.each(of, focus, &mut |item| {
            if side.first.is_none() {
                side.first = Some(item);
            } else {
                side.rest.push(item);
            }
            Ok(true)
        })?;
        Ok(side)
    }

    pub(super) fn equal<'p>(
        &self,
        left: &'p Operation,
        right: &'p Operation,
        sameness: Sameness,
        focus: Focus<'p>,
    ) -> Result<Option<bool>, Fail> {
        // A comparison with a text of the view is what nearly every filter is: nothing is gathered for it.
        if let (Operation::Text(wanted), Sameness::Plain) = (right, sameness) {
            let (mut count, mut equal) = (0, false);
            self.each(left, focus, &mut |item| {
                count += 1;
                equal = self.with_text(item, |text| text == wanted).unwrap_or(false);
                Ok(true)
            })?;
            return Ok((count > 0).then_some(count == 1 && equal));
        }
        let (left, right) = (self.side(left, focus)?, self.side(right, focus)?);
        if left.len() == 0 || right.len() == 0 {
            return Ok(None);
        }
        if left.len() != right.len() {
            return Ok(Some(false));
        }
        let mut all = Some(true);
        for (a, b) in left.items().zip(right.items()) {
            match self.items_equal(a, b, sameness) {
                Some(false) => return Ok(Some(false)),
                Some(true) => {}
                None => all = None,
            }
        }
        Ok(all)
    }

    /// Nothing where dates of different precision leave it open.
    pub(super) fn items_equal(&self, a: Item<'_>, b: Item<'_>, sameness: Sameness) -> Option<bool> {
        if let (Some(a), Some(b)) = (self.boolean(a), self.boolean(b)) {
            return Some(a == b);
        }
        if let (Some(a), Some(b)) = (self.number(a), self.number(b)) {
            return Some(a.compare(b) == Some(Ordering::Equal));
        }
        let texts = |a: &str, b: &str| {
            if a == b || sameness == Sameness::Plain {
                return Some(a == b);
            }
            match (Moment::parse(a), Moment::parse(b)) {
                (Some(a), Some(b)) => a.compare(b).map_or(Some(false), |order| order.map(Ordering::is_eq)),
                _ => Some(false),
            }
        };
        if let Some(equal) = self.with_text(a, |a| self.with_text(b, |b| texts(a, b))).flatten() {
            return equal;
        }
        Some(
            self.is_object(a)
                && self.is_object(b)
                && self.key(a, Keep::Equal(sameness)) == self.key(b, Keep::Equal(sameness)),
        )
    }

    pub(crate) fn is_object(&self, item: Item<'_>) -> bool {
        matches!(item, Item::Node(number) if matches!(self.arena.node(number).value, Value::Object | Value::Json(_)))
    }

    /// `~`: the same values in any order, by what matters of each.
    pub(super) fn equivalent<'p>(
        &self,
        left: &'p Operation,
        right: &'p Operation,
        sameness: Sameness,
        focus: Focus<'p>,
    ) -> Result<bool, Fail> {
        let (left, right) = (self.side(left, focus)?, self.side(right, focus)?);
        if left.len() != right.len() {
            return Ok(false);
        }
        if left.len() > MOST_EQUIVALENT {
            return Err(Fail::new(format!("more than {MOST_EQUIVALENT} values on either side of `~`")));
        }
        let mut others: Vec<Item<'_>> = right.items().collect();
        for item in left.items() {
            let Some(place) = others.iter().position(|other| self.items_equivalent(item, *other, sameness)) else {
                return Ok(false);
            };
            others.swap_remove(place);
        }
        Ok(true)
    }

    fn items_equivalent(&self, a: Item<'_>, b: Item<'_>, sameness: Sameness) -> bool {
        if let (Some(a), Some(b)) = (self.number(a), self.number(b)) {
            // As finely as the coarser of the two tells.
            let scale = a.shortened().scale().min(b.shortened().scale());
            let (a, b) = (a.rounded(scale), b.rounded(scale));
            return a.zip(b).is_some_and(|(a, b)| a.compare(b) == Some(Ordering::Equal));
        }
        if sameness == Sameness::Moments {
            let moments = self.with_text(a, Moment::parse).flatten().zip(self.with_text(b, Moment::parse).flatten());
            if let Some((a, b)) = moments {
                return a.compare(b) == Some(Some(Ordering::Equal));
            }
        }
        self.key(a, Keep::Equivalent) == self.key(b, Keep::Equivalent)
    }

    pub(super) fn order<'p>(
        &self,
        left: &'p Operation,
        right: &'p Operation,
        sameness: Sameness,
        focus: Focus<'p>,
    ) -> Result<Option<Ordering>, Fail> {
        let (left, right) = (self.single(left, focus, "a comparison")?, self.single(right, focus, "a comparison")?);
        let (Some(a), Some(b)) = (left, right) else { return Ok(None) };
        self.items_order(a, b, sameness)
    }

    /// Nothing where dates of different precision leave it open, or a text is no date.
    pub(super) fn items_order(&self, a: Item<'_>, b: Item<'_>, sameness: Sameness) -> Result<Option<Ordering>, Fail> {
        if let (Some(a), Some(b)) = (self.number(a), self.number(b)) {
            return Ok(a.compare(b));
        }
        let texts = |a: &str, b: &str| match sameness {
            Sameness::Plain => Some(a.cmp(b)),
            Sameness::Moments => Moment::parse(a).zip(Moment::parse(b)).and_then(|(a, b)| a.compare(b).flatten()),
        };
        let order = self.with_text(a, |a| self.with_text(b, |b| texts(a, b))).flatten();
        order.ok_or_else(|| Fail::misfit("a comparison of values of different types"))
    }

    pub(super) fn is_in<'p>(
        &self,
        one: &'p Operation,
        many: &'p Operation,
        sameness: Sameness,
        focus: Focus<'p>,
    ) -> Result<Option<bool>, Fail> {
        let Some(wanted) = self.single(one, focus, "membership")? else { return Ok(None) };
        let missing = self.each(many, focus, &mut |item| Ok(self.items_equal(wanted, item, sameness) != Some(true)))?;
        Ok(Some(!missing))
    }

    /// A text that two values share exactly where they are equal.
    pub(super) fn key(&self, item: Item<'_>, keep: Keep) -> String {
        let mut key = String::new();
        self.write_key(item, keep, &mut key);
        key
    }

    fn write_key(&self, item: Item<'_>, keep: Keep, key: &mut String) {
        // Writing to a String cannot fail.
        if let Some(value) = self.boolean(item) {
            let _ = write!(key, "b{value}");
        } else if let Some(number) = self.number(item) {
            let _ = write!(key, "n{}", number.shortened());
        } else if self.with_text(item, |text| text_key(text, keep, key)).is_none() {
            let Item::Node(number) = item else { return };
            self.object_key(number, keep, key);
        }
    }

    fn object_key(&self, number: u32, keep: Keep, key: &mut String) {
        let node = self.arena.node(number);
        let first = self.arena.first_child(number);
        if let (NONE, Value::Json(piece) | Value::Number(piece)) = (first, node.value) {
            // Read only as its JSON: the same fields in any order are the same text.
            let json = self.arena.text(piece);
            let value = serde_json::from_str(json).map(|value| without_nulls(value).to_string());
            key.push_str(value.as_deref().unwrap_or(json));
            return;
        }
        let (mut parts, mut next) = (Vec::new(), first);
        while next != NONE {
            let mut part = String::new();
            self.write_key(Item::Node(next), keep, &mut part);
            parts.push((self.arena.node(next).name, part));
            next = self.arena.node(next).next;
        }
        match keep {
            Keep::Equal(_) => parts.sort_by_key(|(name, _)| *name),
            Keep::Equivalent => parts.sort(),
        }
        key.push('{');
        for (name, part) in parts {
            let _ = write!(key, "{name}:{}:{part}", part.len());
        }
        key.push('}');
    }
}

/// A field that is null is none, and so is one that is an empty list.
fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    let nothing = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    match value {
        Value::Object(fields) => {
            let clean = fields.into_iter().map(|(name, value)| (name, without_nulls(value)));
            Value::Object(clean.filter(|(_, value)| !nothing(value)).collect())
        }
        Value::Array(list) => list.into_iter().filter(|value| !value.is_null()).map(without_nulls).collect(),
        other => other,
    }
}

fn text_key(text: &str, keep: Keep, key: &mut String) {
    if keep == Keep::Equivalent {
        key.push('t');
        for word in text.split_whitespace() {
            key.push_str(&word.to_lowercase());
            key.push(' ');
        }
        return;
    }
    let moment = if keep == Keep::Equal(Sameness::Moments) { Moment::parse(text) } else { None };
    match moment {
        Some(moment) => {
            let _ = write!(key, "m{}", moment.key());
        }
        None => {
            key.push('t');
            key.push_str(text);
        }
    }
}
