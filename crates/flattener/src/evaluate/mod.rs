//! Expressions over the nodes of one resource. Values are handed on one by one: no step gathers what the next does not
//! want, and nothing is allocated on the way of those that nearly every view is made of.

mod compare;
mod functions;
mod sets;

use std::cell::{Cell, RefCell};

use fhirvest_fhir::{reference::Reference, temporal};

use crate::{
    arena::{Arena, NONE, Piece, Value},
    expression::Operator,
    number::Decimal,
    operation::{Operation, Set, TypeTest},
    trie::Trie,
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

/// Where an expression stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Focus<'p> {
    /// Its value, if there is one.
    pub(crate) item: Option<Item<'p>>,
    /// `%rowIndex`: the place in the nearest iteration.
    row_index: u32,
    /// `%context`: the element where the path began.
    context: u32,
    /// `$index`: the place of the value among those that a function goes through.
    place: u32,
    /// There is a value, but nobody knows which.
    lost: bool,
    /// `%resource`: the resource's node.
    root: u32,
}

impl<'p> Focus<'p> {
    /// Where a path begins, in a resource.
    pub(crate) fn new(item: Option<Item<'p>>, row_index: u32, root: u32) -> Self {
        let context = if let Some(Item::Node(number)) = item { number } else { NONE };
        Self { item, row_index, context, place: 0, lost: false, root }
    }

    /// Where a path begins at a value that cannot be told.
    pub(crate) fn lost(row_index: u32, root: u32) -> Self {
        Self { lost: true, ..Self::new(None, row_index, root) }
    }

    /// The resource's node.
    pub(crate) fn root(self) -> u32 {
        self.root
    }

    /// The same at another place.
    pub(crate) fn numbered(self, row_index: u32) -> Self {
        Self { row_index, ..self }
    }

    /// Whether its value cannot be told.
    pub(crate) fn is_lost(self) -> bool {
        self.lost
    }

    /// `%rowIndex`.
    pub(crate) fn row_index(self) -> u32 {
        self.row_index
    }

    /// At one of the values that a function goes through.
    fn within(self, item: Item<'p>, place: u32) -> Self {
        Self { item: Some(item), place, ..self }
    }

    /// At a value that the same path leads on from.
    pub(crate) fn at(self, item: Item<'p>) -> Self {
        Self::new(Some(item), self.row_index, self.root)
    }
}

/// Why an expression has no value; never holds any of the resource's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fail {
    pub(crate) message: String,
    /// A value of another JSON type than its element has: in a column it costs the cell, not the rows.
    pub(crate) misfit: bool,
}

impl Fail {
    /// Nothing can be made of the resource.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), misfit: false }
    }

    /// A value that cannot be told is asked for.
    fn lost() -> Self {
        Self::misfit("the value cannot be told")
    }

    /// A value does not fit.
    pub(crate) fn misfit(message: impl Into<String>) -> Self {
        Self { message: message.into(), misfit: true }
    }
}

/// Evaluates over the resources of an arena.
pub(crate) struct Evaluator<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) computed: &'a RefCell<String>,
    /// While a path is gone through again for the sake of its rows: how many values it could not deal with.
    pub(crate) passed_over: Cell<Option<u32>>,
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
            Operation::This if focus.item.is_none() && focus.lost => Err(Fail::lost()),
            Operation::Context if focus.lost => Err(Fail::lost()),
            Operation::This => focus.item.map_or(Ok(true), visit),
            Operation::Root => visit(Item::Node(focus.root)),
            Operation::Context if focus.context == NONE => Ok(true),
            Operation::Context => visit(Item::Node(focus.context)),
            Operation::RowIndex => visit(Item::Number(Decimal::whole(i64::from(focus.row_index)))),
            Operation::Place => visit(Item::Number(Decimal::whole(i64::from(focus.place)))),
            Operation::Nothing => Ok(true),
            Operation::Text(text) => visit(Item::Literal(text)),
            Operation::Number(number) => visit(Item::Number(*number)),
            Operation::Boolean(value) => visit(Item::Boolean(*value)),
            Operation::Child(of, name) => self.each(of, focus, &mut |item| self.children(item, *name, visit)),
            Operation::Where(of, condition) => {
                let mut place = 0;
                self.each(of, focus, &mut |item| {
                    let inner = focus.within(item, place);
                    place += 1;
                    match self.truth(condition, inner) {
                        Ok(Some(true)) => visit(item),
                        Err(fail) => self.pass_over(fail).map(|()| true),
                        Ok(_) => Ok(true),
                    }
                })
            }
            Operation::Select(of, projection) => {
                let mut place = 0;
                self.each(of, focus, &mut |item| {
                    let inner = focus.within(item, place);
                    place += 1;
                    self.each(projection, inner, visit)
                })
            }
            Operation::First(of) => {
                let mut go_on = true;
                self.each(of, focus, &mut |item| {
                    go_on = visit(item)?;
                    Ok(false)
                })?;
                Ok(go_on)
            }
            Operation::Index(of, index) => self.at(of, *index, focus, visit),
            Operation::Exists(of) => visit(Item::Boolean(self.any(of, focus)?)),
            Operation::Empty(of) => visit(Item::Boolean(!self.any(of, focus)?)),
            Operation::Not(of) => self.truth(of, focus)?.map_or(Ok(true), |value| visit(Item::Boolean(!value))),
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
            Operation::Binary(operator, left, right, sameness) => {
                self.binary(*operator, left, right, *sameness, focus)?.map_or(Ok(true), visit)
            }
            other => self.each_other(other, focus, visit),
        }
    }

    /// What fewer views use.
    fn each_other<'p>(&self, operation: &'p Operation, focus: Focus<'p>, visit: Visit<'_, 'p>) -> Result<bool, Fail> {
        match operation {
            Operation::Choice(of, names) => self.each(of, focus, &mut |item| {
                if !self.has_parts(item)? {
                    return Ok(true);
                }
                self.every_child(item, &mut |node, name| if names.contains(&name) { visit(node) } else { Ok(true) })
            }),
            Operation::Beside(of, pairs) => self.each(of, focus, &mut |item| self.beside(item, pairs, visit)),
            Operation::Children(of) => {
                self.each(of, focus, &mut |item| self.every_child(item, &mut |node, _| visit(node)))
            }
            Operation::Descendants(of) => self.each(of, focus, &mut |item| self.descendants(item, visit)),
            Operation::Repeat(of, projection) => self.repeated(of, projection, focus, visit),
            Operation::Last(of) => {
                let mut last = None;
                self.each(of, focus, &mut |item| {
                    last = Some(item);
                    Ok(true)
                })?;
                last.map_or(Ok(true), visit)
            }
            Operation::At(of, index) => match self.whole_number(index, focus, "an index")? {
                Some(index) => usize::try_from(index).map_or(Ok(true), |index| self.at(of, index, focus, visit)),
                None => Ok(true),
            },
            Operation::Skip(of, count) => {
                let Some(count) = self.whole_number(count, focus, "skip()")? else { return Ok(true) };
                let mut place = 0;
                self.each(of, focus, &mut |item| {
                    place += 1;
                    if place > count { visit(item) } else { Ok(true) }
                })
            }
            Operation::Take(of, count) => {
                let Some(count) = self.whole_number(count, focus, "take()")?.filter(|count| *count > 0) else {
                    return Ok(true);
                };
                let (mut place, mut go_on) = (0, true);
                self.each(of, focus, &mut |item| {
                    place += 1;
                    go_on = visit(item)?;
                    Ok(go_on && place < count)
                })?;
                Ok(go_on)
            }
            Operation::Single(of) => self.single(of, focus, "single()")?.map_or(Ok(true), visit),
            Operation::Count(of) => {
                let mut count = 0_i64;
                self.each(of, focus, &mut |_| {
                    count += 1;
                    Ok(true)
                })?;
                visit(Item::Number(Decimal::whole(count)))
            }
            Operation::Every(of, condition) => {
                let mut place = 0;
                let every = self.each(of, focus, &mut |item| {
                    let inner = focus.within(item, place);
                    place += 1;
                    Ok(self.truth(condition, inner)? == Some(true))
                })?;
                visit(Item::Boolean(every))
            }
            Operation::Flags { of, every, wanted } => {
                let all = self.each(of, focus, &mut |item| {
                    let Some(value) = self.boolean(item) else {
                        return Err(Fail::misfit("allTrue() and its like take booleans"));
                    };
                    Ok((value == *wanted) == *every)
                })?;
                visit(Item::Boolean(all == *every))
            }
            Operation::If(condition, then, otherwise) => {
                let chosen = if self.truth(condition, focus)? == Some(true) { then } else { otherwise };
                self.each(chosen, focus, visit)
            }
            Operation::AtOne(of, chosen) => {
                let item = self.single(of, focus, "iif()")?;
                self.each(chosen, Focus { item, ..focus }, visit)
            }
            Operation::Coalesce(list) => {
                for one in list {
                    let (mut found, mut go_on) = (false, true);
                    self.each(one, focus, &mut |item| {
                        found = true;
                        go_on = visit(item)?;
                        Ok(go_on)
                    })?;
                    if found {
                        return Ok(go_on);
                    }
                }
                Ok(true)
            }
            Operation::Combine(left, right) => Ok(self.each(left, focus, visit)? && self.each(right, focus, visit)?),
            Operation::Set(Set::SubsetOf, left, right, sameness) => {
                visit(Item::Boolean(self.subset(left, right, *sameness, focus)?))
            }
            Operation::Set(Set::SupersetOf, left, right, sameness) => {
                visit(Item::Boolean(self.subset(right, left, *sameness, focus)?))
            }
            Operation::Set(set, left, right, sameness) => self.set(*set, left, right, *sameness, focus, visit),
            Operation::Fold(fold, of, sameness) => self.fold(*fold, of, *sameness, focus, visit),
            Operation::Boundary { of, high, date_time, digits } => self.each(of, focus, &mut |item| {
                let number =
                    self.number(item).and_then(|number| number.boundary(*high)).and_then(|number| match digits {
                        None => Some(number),
                        Some(digits) => number.outwards(u32::try_from(*digits).ok()?, *high),
                    });
                let text = self.with_text(item, |text| temporal::boundary(text, *date_time, *high)).flatten();
                let text = text.and_then(|text| match digits {
                    None => Some(text),
                    Some(digits) => temporal::to_digits(&text, *digits),
                });
                match (number, text) {
                    (Some(number), _) => visit(Item::Number(number)),
                    (None, Some(text)) => visit(self.keep(&text)),
                    (None, None) => Ok(true),
                }
            }),
            Operation::OfType(of, test) => self.each(of, focus, &mut |item| {
                if self.is_of(item, test)? { visit(item) } else { Ok(true) }
            }),
            Operation::Is(of, test) => match self.single(of, focus, "is")? {
                Some(item) => visit(Item::Boolean(self.is_of(item, test)?)),
                None => Ok(true),
            },
            Operation::TypeName(of, names) => self.each(of, focus, &mut |item| {
                let name = if let Item::Node(number) = item { self.arena.node(number).name } else { NONE };
                let found = names.iter().find(|(known, _)| *known == name);
                found.map_or(Ok(true), |(_, of_type)| visit(Item::Literal(of_type)))
            }),
            text => self.each_text(text, focus, visit),
        }
    }

    fn at<'p>(&self, of: &'p Operation, index: usize, focus: Focus<'p>, visit: Visit<'_, 'p>) -> Result<bool, Fail> {
        let (mut place, mut go_on) = (0, true);
        self.each(of, focus, &mut |item| {
            let here = place == index;
            place += 1;
            if here {
                go_on = visit(item)?;
            }
            Ok(!here)
        })?;
        Ok(go_on)
    }

    /// Keeps a computed text.
    fn keep<'p>(&self, text: &str) -> Item<'p> {
        let mut computed = self.computed.borrow_mut();
        let start = computed.len();
        computed.push_str(text);
        Item::Computed(start, computed.len())
    }

    /// Whether a value may have parts. One that is no object where R4 has one is refused, or passed over.
    #[inline]
    fn has_parts(&self, item: Item<'_>) -> Result<bool, Fail> {
        match item {
            Item::Node(number) if self.arena.is_odd(number) => {
                self.pass_over(Fail::misfit("an element with parts is a plain value"))?;
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// Counts a value that could not be dealt with, where rows depend on it.
    pub(crate) fn pass_over(&self, fail: Fail) -> Result<(), Fail> {
        match self.passed_over.get() {
            Some(count) if fail.misfit => {
                self.passed_over.set(Some(count + 1));
                Ok(())
            }
            _ => Err(fail),
        }
    }

    fn children<'p>(&self, of: Item<'p>, name: u32, visit: Visit<'_, 'p>) -> Result<bool, Fail> {
        let Item::Node(number) = of else { return Ok(true) };
        if !self.has_parts(of)? {
            return Ok(true);
        }
        let mut next = self.arena.first(number, name);
        while next != NONE {
            let node = self.arena.node(next);
            if node.name != name {
                break;
            }
            if !visit(Item::Node(next))? {
                return Ok(false);
            }
            next = node.next;
        }
        Ok(true)
    }

    /// Of a primitive the object beside it, at the same place of a list; an element is its own.
    fn beside<'p>(&self, item: Item<'p>, pairs: &[(u32, u32)], visit: Visit<'_, 'p>) -> Result<bool, Fail> {
        let Item::Node(number) = item else { return Ok(true) };
        let (Some((parent, place)), false) = (self.arena.pair_of(number), self.is_object(item)) else {
            return visit(item);
        };
        let name = self.arena.node(number).name;
        let Some((_, hidden)) = pairs.iter().find(|(known, _)| *known == name) else { return Ok(true) };
        let mut found = None;
        self.children(Item::Node(parent), *hidden, &mut |other| {
            let here = matches!(other, Item::Node(number) if self.arena.pair_of(number) == Some((parent, place)));
            found = here.then_some(other);
            Ok(!here)
        })?;
        found.map_or(Ok(true), visit)
    }

    /// All children with the numbers of their names. `resourceType` is no element.
    fn every_child<'p>(
        &self,
        of: Item<'p>,
        visit: &mut dyn FnMut(Item<'p>, u32) -> Result<bool, Fail>,
    ) -> Result<bool, Fail> {
        let Item::Node(number) = of else { return Ok(true) };
        let mut next = self.arena.first_child(number);
        while next != NONE {
            let node = self.arena.node(next);
            if node.name != Trie::RESOURCE_TYPE && !visit(Item::Node(next), node.name)? {
                return Ok(false);
            }
            next = node.next;
        }
        Ok(true)
    }

    /// All elements below, each before those that are in it. The reader of JSON limits the depth.
    fn descendants<'p>(&self, of: Item<'p>, visit: Visit<'_, 'p>) -> Result<bool, Fail> {
        self.every_child(of, &mut |item, _| Ok(visit(item)? && self.descendants(item, visit)?))
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
            Some(_) => Err(Fail::new(format!("several values where {what} takes one"))),
        })?;
        Ok(found)
    }

    fn whole_number(&self, of: &Operation, focus: Focus<'_>, what: &str) -> Result<Option<i64>, Fail> {
        Ok(self.single(of, focus, what)?.and_then(|item| self.number(item)?.to_i64()))
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
                Value::Number(piece) => Decimal::parse(self.arena.text(piece)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The text of a string. What uses it must not compute another text.
    pub(crate) fn with_text<R>(&self, item: Item<'_>, use_it: impl FnOnce(&str) -> R) -> Option<R> {
        match item {
            Item::Literal(text) => Some(use_it(text)),
            Item::Part(piece) => Some(use_it(self.arena.text(piece))),
            Item::Computed(start, end) => self.computed.borrow().get(start..end).map(use_it),
            Item::Node(number) => match self.arena.node(number).value {
                Value::Text(piece) => Some(use_it(self.arena.text(piece))),
                _ => None,
            },
            Item::Number(_) | Item::Boolean(_) => None,
        }
    }

    fn is_of(&self, item: Item<'_>, test: &TypeTest) -> Result<bool, Fail> {
        Ok(match test {
            TypeTest::Always => true,
            TypeTest::Never => false,
            TypeTest::Names(names) => {
                matches!(item, Item::Node(number) if names.contains(&self.arena.node(number).name))
            }
            TypeTest::Resource { resource_type, wanted } => {
                let mut found = false;
                self.children(item, *resource_type, &mut |name| {
                    found = self.with_text(name, |text| text == wanted).unwrap_or(false);
                    Ok(false)
                })?;
                found
            }
        })
    }

    pub(crate) fn reference_key<'p>(&self, item: Item<'p>, of_type: Option<&str>) -> Option<Item<'p>> {
        let Item::Node(number) = item else { return None };
        let Value::Text(piece) = self.arena.node(number).value else { return None };
        self.key_in(piece, of_type).map(Item::Part)
    }

    /// The key in a reference.
    pub(crate) fn key_in(&self, reference: Piece, of_type: Option<&str>) -> Option<Piece> {
        let text = self.arena.text(reference);
        let key = Reference::key_in(text, of_type)?;
        let start = key.as_ptr().addr() - text.as_ptr().addr();
        Some(Arena::part(reference, start, key.len()))
    }

    fn binary<'p>(
        &self,
        operator: Operator,
        left: &'p Operation,
        right: &'p Operation,
        sameness: crate::operation::Sameness,
        focus: Focus<'p>,
    ) -> Result<Option<Item<'p>>, Fail> {
        use Operator::*;
        Ok(match operator {
            Equal => self.equal(left, right, sameness, focus)?.map(Item::Boolean),
            NotEqual => self.equal(left, right, sameness, focus)?.map(|equal| Item::Boolean(!equal)),
            Equivalent => Some(Item::Boolean(self.equivalent(left, right, sameness, focus)?)),
            NotEquivalent => Some(Item::Boolean(!self.equivalent(left, right, sameness, focus)?)),
            Less | LessOrEqual | Greater | GreaterOrEqual => self.order(left, right, sameness, focus)?.map(|order| {
                Item::Boolean(match operator {
                    Less => order.is_lt(),
                    LessOrEqual => order.is_le(),
                    Greater => order.is_gt(),
                    _ => order.is_ge(),
                })
            }),
            And | Or | Xor | Implies => self.logic(operator, left, right, focus)?.map(Item::Boolean),
            In => self.is_in(left, right, sameness, focus)?.map(Item::Boolean),
            Contains => self.is_in(right, left, sameness, focus)?.map(Item::Boolean),
            Add | Subtract | Multiply | Divide | Quotient | Remainder => {
                self.arithmetic(operator, left, right, focus)?
            }
            Concatenate => Some(self.concatenated(left, right, focus)?),
            // Compiled to an operation of its own.
            Union => None,
        })
    }

    /// Three-valued logic (FHIRPath N1, 6.5). The right side is not asked where the left one decides.
    fn logic(
        &self,
        operator: Operator,
        left: &Operation,
        right: &Operation,
        focus: Focus<'_>,
    ) -> Result<Option<bool>, Fail> {
        let left = self.truth(left, focus)?;
        Ok(match (operator, left) {
            (Operator::And, Some(false)) => Some(false),
            (Operator::Or, Some(true)) | (Operator::Implies, Some(false)) => Some(true),
            _ => {
                let right = self.truth(right, focus)?;
                match (operator, left, right) {
                    (Operator::And, _, Some(false)) => Some(false),
                    (Operator::And, Some(true), Some(true)) => Some(true),
                    (Operator::Or, _, Some(true)) | (Operator::Implies, _, Some(true)) => Some(true),
                    (Operator::Or, Some(false), Some(false)) => Some(false),
                    (Operator::Implies, Some(true), right) => right,
                    (Operator::Xor, Some(left), Some(right)) => Some(left != right),
                    _ => None,
                }
            }
        })
    }
}
