//! Expressions over the nodes of one resource. Values are handed on one by one: no step gathers what the next does not
//! want, and nothing is allocated on the way.

use std::{cell::RefCell, cmp::Ordering};

use fhirvest_fhir::{reference::Reference, temporal};

use crate::{
    arena::{Arena, NONE, Piece, Value},
    expression::Operator,
    number::Decimal,
    operation::Operation,
};

/// One value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Item<'p> {
    /// An element of the resource.
    Node(u32),
    /// A part of the resource's text.
    Part(Piece),
    /// A text of the view.
    Literal(&'p str),
    /// A text that was computed, as a place among the computed ones.
    Computed(usize, usize),
    Number(Decimal),
    Boolean(bool),
}

/// Where an expression stands: its value, if there is one, and the place of that in the nearest iteration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Focus<'p> {
    pub(crate) item: Option<Item<'p>>,
    pub(crate) row_index: u32,
}

/// Why a resource gives no rows; never holds any of its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fail(pub(crate) String);

/// Evaluates over one resource.
pub(crate) struct Evaluator<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) resource: &'a str,
    pub(crate) computed: &'a RefCell<String>,
}

type Visit<'v, 'p> = &'v mut dyn FnMut(Item<'p>) -> Result<bool, Fail>;

impl Evaluator<'_> {
    /// Hands each value of an expression to `visit` until that returns `false`; returns whether it never did.
    pub(crate) fn each<'p>(
        &self,
        operation: &'p Operation,
        focus: Focus<'p>,
        visit: Visit<'_, 'p>,
    ) -> Result<bool, Fail> {
        match operation {
            Operation::This => focus.item.map_or(Ok(true), visit),
            Operation::Root => visit(Item::Node(0)),
            Operation::RowIndex => visit(Item::Number(Decimal::whole(i64::from(focus.row_index)))),
            Operation::Nothing => Ok(true),
            Operation::Text(text) => visit(Item::Literal(text)),
            Operation::Number(number) => visit(Item::Number(*number)),
            Operation::Boolean(value) => visit(Item::Boolean(*value)),
            Operation::Child(of, name) => self.each(of, focus, &mut |item| self.children(item, *name, visit)),
            Operation::Where(of, condition) => self.each(of, focus, &mut |item| {
                let inner = Focus { item: Some(item), ..focus };
                if self.truth(condition, inner)? == Some(true) { visit(item) } else { Ok(true) }
            }),
            Operation::First(of) => {
                let mut go_on = true;
                self.each(of, focus, &mut |item| {
                    go_on = visit(item)?;
                    Ok(false)
                })?;
                Ok(go_on)
            }
            Operation::Last(of) => {
                let mut last = None;
                self.each(of, focus, &mut |item| {
                    last = Some(item);
                    Ok(true)
                })?;
                last.map_or(Ok(true), visit)
            }
            Operation::Index(of, index) => {
                let (mut place, mut go_on) = (0, true);
                self.each(of, focus, &mut |item| {
                    let here = place == *index;
                    place += 1;
                    if here {
                        go_on = visit(item)?;
                    }
                    Ok(!here)
                })?;
                Ok(go_on)
            }
            Operation::Count(of) => {
                let mut count = 0_i64;
                self.each(of, focus, &mut |_| {
                    count += 1;
                    Ok(true)
                })?;
                visit(Item::Number(Decimal::whole(count)))
            }
            Operation::Exists(of) => visit(Item::Boolean(self.any(of, focus)?)),
            Operation::Empty(of) => visit(Item::Boolean(!self.any(of, focus)?)),
            Operation::Not(of) => self.truth(of, focus)?.map_or(Ok(true), |value| visit(Item::Boolean(!value))),
            Operation::Join(of, separator) => self.join(of, separator, focus)?.map_or(Ok(true), visit),
            Operation::Extension { of, extension, url, wanted } => self.each(of, focus, &mut |item| {
                self.children(item, *extension, &mut |found| {
                    let mut matches = false;
                    self.children(found, *url, &mut |url| {
                        matches = self.with_text(url, |text| text == wanted).unwrap_or(false);
                        Ok(false)
                    })?;
                    if matches { visit(found) } else { Ok(true) }
                })
            }),
            Operation::ReferenceKey { of, reference, of_type } => self.each(of, focus, &mut |item| {
                self.children(item, *reference, &mut |text| {
                    self.reference_key(text, of_type.as_deref()).map_or(Ok(true), &mut *visit)
                })
            }),
            Operation::Boundary { of, high, date_time } => self.each(of, focus, &mut |item| {
                let number = self.number(item).and_then(|number| number.boundary(*high));
                let text = self.with_text(item, |text| temporal::boundary(text, *date_time, *high)).flatten();
                match (number, text) {
                    (Some(number), _) => visit(Item::Number(number)),
                    (None, Some(text)) => visit(self.keep(&text)),
                    (None, None) => Ok(true),
                }
            }),
            Operation::Binary(operator, left, right) => {
                self.binary(*operator, left, right, focus)?.map_or(Ok(true), visit)
            }
        }
    }

    fn keep<'p>(&self, text: &str) -> Item<'p> {
        let mut computed = self.computed.borrow_mut();
        let start = computed.len();
        computed.push_str(text);
        Item::Computed(start, computed.len())
    }

    fn children<'p>(&self, of: Item<'p>, name: u32, visit: Visit<'_, 'p>) -> Result<bool, Fail> {
        let Item::Node(number) = of else { return Ok(true) };
        let mut next = self.arena.node(number).first_child;
        while next != NONE {
            let node = self.arena.node(next);
            if node.name == name && !visit(Item::Node(next))? {
                return Ok(false);
            }
            next = node.next;
        }
        Ok(true)
    }

    fn any(&self, of: &Operation, focus: Focus<'_>) -> Result<bool, Fail> {
        let mut any = false;
        self.each(of, focus, &mut |_| {
            any = true;
            Ok(false)
        })?;
        Ok(any)
    }

    /// A condition: true, false or nothing. One value that is no boolean is true (FHIRPath, singleton evaluation).
    pub(crate) fn truth(&self, of: &Operation, focus: Focus<'_>) -> Result<Option<bool>, Fail> {
        Ok(self.single(of, focus, "a condition")?.map(|item| self.boolean(item).unwrap_or(true)))
    }

    /// The only value, if there is one.
    pub(crate) fn single<'p>(&self, of: &'p Operation, focus: Focus<'p>, what: &str) -> Result<Option<Item<'p>>, Fail> {
        let mut found = None;
        self.each(of, focus, &mut |item| match found.replace(item) {
            None => Ok(true),
            Some(_) => Err(Fail(format!("several values where {what} takes one"))),
        })?;
        Ok(found)
    }

    pub(crate) fn boolean(&self, item: Item<'_>) -> Option<bool> {
        match item {
            Item::Boolean(value) => Some(value),
            Item::Node(number) => match self.arena.node(number).value {
                Value::Boolean(value) => Some(value),
                _ => None,
            },
            _ => None,
        }
    }

    pub(crate) fn number(&self, item: Item<'_>) -> Option<Decimal> {
        match item {
            Item::Number(number) => Some(number),
            Item::Node(node) => match self.arena.node(node).value {
                Value::Number(piece) => Decimal::parse(self.arena.text(self.resource, piece)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The text of a string.
    pub(crate) fn with_text<R>(&self, item: Item<'_>, use_it: impl FnOnce(&str) -> R) -> Option<R> {
        match item {
            Item::Literal(text) => Some(use_it(text)),
            Item::Part(piece) => Some(use_it(self.arena.text(self.resource, piece))),
            Item::Computed(start, end) => self.computed.borrow().get(start..end).map(use_it),
            Item::Node(number) => match self.arena.node(number).value {
                Value::Text(piece) => Some(use_it(self.arena.text(self.resource, piece))),
                _ => None,
            },
            Item::Number(_) | Item::Boolean(_) => None,
        }
    }

    fn join<'p>(&self, of: &'p Operation, separator: &str, focus: Focus<'p>) -> Result<Option<Item<'p>>, Fail> {
        let mut joined: Option<String> = None;
        self.each(of, focus, &mut |item| {
            let added = self.with_text(item, |text| match &mut joined {
                Some(joined) => {
                    joined.push_str(separator);
                    joined.push_str(text);
                }
                None => joined = Some(text.to_owned()),
            });
            // A number or an object among strings: the field is not what it should be, so the whole is nothing.
            added.map(|()| true).ok_or_else(|| Fail("join() takes strings".into()))
        })?;
        Ok(joined.map(|joined| {
            let mut computed = self.computed.borrow_mut();
            let start = computed.len();
            computed.push_str(&joined);
            Item::Computed(start, computed.len())
        }))
    }

    fn reference_key<'p>(&self, item: Item<'p>, of_type: Option<&str>) -> Option<Item<'p>> {
        let Item::Node(number) = item else { return None };
        let Value::Text(piece) = self.arena.node(number).value else { return None };
        let text = self.arena.text(self.resource, piece);
        let key = Reference::parse(text).key(of_type)?;
        let start = key.as_ptr().addr() - text.as_ptr().addr();
        Some(Item::Part(Arena::part(piece, start, key.len())))
    }

    fn binary<'p>(
        &self,
        operator: Operator,
        left: &'p Operation,
        right: &'p Operation,
        focus: Focus<'p>,
    ) -> Result<Option<Item<'p>>, Fail> {
        Ok(match operator {
            Operator::And => match (self.truth(left, focus)?, self.truth(right, focus)?) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            }
            .map(Item::Boolean),
            Operator::Or => match (self.truth(left, focus)?, self.truth(right, focus)?) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            }
            .map(Item::Boolean),
            Operator::Equal => self.equal(left, right, focus)?.map(Item::Boolean),
            Operator::NotEqual => self.equal(left, right, focus)?.map(|equal| Item::Boolean(!equal)),
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                let order = self.order(left, right, focus)?;
                order.map(|order| {
                    Item::Boolean(match operator {
                        Operator::Less => order == Ordering::Less,
                        Operator::LessOrEqual => order != Ordering::Greater,
                        Operator::Greater => order == Ordering::Greater,
                        _ => order != Ordering::Less,
                    })
                })
            }
            Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide => {
                self.arithmetic(operator, left, right, focus)?
            }
        })
    }

    fn equal<'p>(&self, left: &'p Operation, right: &'p Operation, focus: Focus<'p>) -> Result<Option<bool>, Fail> {
        // A comparison with a text of the view is what nearly every filter is: nothing is gathered for it.
        if let Operation::Text(wanted) = right {
            let (mut count, mut equal) = (0, false);
            self.each(left, focus, &mut |item| {
                count += 1;
                equal = self.with_text(item, |text| text == wanted).unwrap_or(false);
                Ok(true)
            })?;
            return Ok((count > 0).then_some(count == 1 && equal));
        }
        let gather = |of: &'p Operation| {
            let mut items = Vec::new();
            self.each(of, focus, &mut |item| {
                items.push(item);
                Ok(true)
            })?;
            Ok::<_, Fail>(items)
        };
        let (left, right) = (gather(left)?, gather(right)?);
        if left.is_empty() || right.is_empty() {
            return Ok(None);
        }
        let equal = left.len() == right.len() && left.iter().zip(&right).all(|(a, b)| self.items_equal(*a, *b));
        Ok(Some(equal))
    }

    fn items_equal(&self, a: Item<'_>, b: Item<'_>) -> bool {
        if let (Some(a), Some(b)) = (self.boolean(a), self.boolean(b)) {
            return a == b;
        }
        if let (Some(a), Some(b)) = (self.number(a), self.number(b)) {
            return a.compare(b) == Some(Ordering::Equal);
        }
        self.with_text(a, |a| self.with_text(b, |b| a == b)).flatten().unwrap_or(false)
    }

    fn order<'p>(&self, left: &'p Operation, right: &'p Operation, focus: Focus<'p>) -> Result<Option<Ordering>, Fail> {
        let (left, right) = (self.single(left, focus, "a comparison")?, self.single(right, focus, "a comparison")?);
        let (Some(a), Some(b)) = (left, right) else { return Ok(None) };
        if let (Some(a), Some(b)) = (self.number(a), self.number(b)) {
            return Ok(a.compare(b));
        }
        // Dates of one precision are in the order of their texts.
        let order = self.with_text(a, |a| self.with_text(b, |b| a.cmp(b))).flatten();
        order.map(Some).ok_or_else(|| Fail("a comparison of values of different types".into()))
    }

    fn arithmetic<'p>(
        &self,
        operator: Operator,
        left: &'p Operation,
        right: &'p Operation,
        focus: Focus<'p>,
    ) -> Result<Option<Item<'p>>, Fail> {
        let (left, right) = (self.single(left, focus, "arithmetic")?, self.single(right, focus, "arithmetic")?);
        let (Some(a), Some(b)) = (left, right) else { return Ok(None) };
        if let (Some(a), Some(b)) = (self.number(a), self.number(b)) {
            return Ok(match operator {
                Operator::Add => a.add(b, false),
                Operator::Subtract => a.add(b, true),
                Operator::Multiply => a.multiply(b),
                _ => a.divide(b),
            }
            .map(Item::Number));
        }
        let joined = self.with_text(a, |a| self.with_text(b, |b| format!("{a}{b}"))).flatten();
        match joined.filter(|_| operator == Operator::Add) {
            Some(text) => {
                let mut computed = self.computed.borrow_mut();
                let start = computed.len();
                computed.push_str(&text);
                Ok(Some(Item::Computed(start, computed.len())))
            }
            None => Err(Fail("arithmetic takes numbers".into())),
        }
    }
}
