//! Functions of texts and numbers, conversions, and arithmetic (FHIRPath N1, 5.5, 5.6, 5.7 and 6.6).

use std::borrow::Cow;

use fhirvest_fhir::temporal::{self, Moment};

use super::{Evaluator, Fail, Focus, Item, Visit};
use crate::{
    arena::Value,
    expression::Operator,
    number::Decimal,
    operation::{Function, Operation, Type},
};

impl Evaluator<'_> {
    pub(super) fn each_text<'p>(
        &self,
        operation: &'p Operation,
        focus: Focus<'p>,
        visit: Visit<'_, 'p>,
    ) -> Result<bool, Fail> {
        match operation {
            Operation::Join(of, separator) => self.join(of, separator.as_deref(), focus)?.map_or(Ok(true), visit),
            Operation::Split(of, separator) => {
                let text = self.text(of, focus, "split()")?.zip(self.text(separator, focus, "split()")?);
                let Some((text, separator)) = text else { return Ok(true) };
                if separator.is_empty() {
                    return self.characters(&text, visit);
                }
                for part in text.split(separator.as_str()) {
                    if !visit(self.keep(part))? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Operation::Characters(of) => match self.text(of, focus, "toChars()")? {
                Some(text) => self.characters(&text, visit),
                None => Ok(true),
            },
            Operation::Matches { of, pattern } => match self.text(of, focus, "matches()")? {
                Some(text) => visit(Item::Boolean(pattern.is_match(&text))),
                None => Ok(true),
            },
            Operation::ReplaceMatches { of, pattern, with } => match self.text(of, focus, "replaceMatches()")? {
                // An empty pattern is found between all characters, and replaces nothing.
                Some(text) if pattern.as_str().is_empty() => visit(self.keep(&text)),
                Some(text) => visit(self.keep(&pattern.replace_all(&text, with.as_str()))),
                None => Ok(true),
            },
            Operation::Apply(function, of, arguments) => {
                self.apply(*function, of, arguments, focus)?.map_or(Ok(true), visit)
            }
            Operation::Negative(of) => match self.single(of, focus, "`-`")? {
                Some(item) => {
                    let number = self.number(item).ok_or_else(|| Fail::misfit("`-` takes a number"))?;
                    visit(Item::Number(number.negated()))
                }
                None => Ok(true),
            },
            // All others have been dealt with.
            _ => Ok(true),
        }
    }

    fn characters<'p>(&self, text: &str, visit: Visit<'_, 'p>) -> Result<bool, Fail> {
        for character in text.chars() {
            if !visit(self.keep(character.encode_utf8(&mut [0; 4])))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn join<'p>(
        &self,
        of: &'p Operation,
        separator: Option<&'p Operation>,
        focus: Focus<'p>,
    ) -> Result<Option<Item<'p>>, Fail> {
        let separator = match separator {
            Some(Operation::Text(separator)) => Cow::Borrowed(separator.as_str()),
            Some(separator) => Cow::Owned(self.text(separator, focus, "join()")?.unwrap_or_default()),
            None => Cow::Borrowed(""),
        };
        let mut joined: Option<String> = None;
        self.each(of, focus, &mut |item| {
            // An object among strings: the field is not what it should be, so the whole is nothing.
            let text = self.text_of(item).ok_or_else(|| Fail::misfit("join() takes strings"))?;
            match &mut joined {
                Some(joined) => {
                    joined.push_str(&separator);
                    joined.push_str(&text);
                }
                None => joined = Some(text),
            }
            Ok(true)
        })?;
        Ok(joined.map(|joined| self.keep(&joined)))
    }

    /// The text of a value that has one: a number's are its digits, since real servers send NPIs as numbers.
    fn text_of(&self, item: Item<'_>) -> Option<String> {
        if let Item::Node(number) = item
            && let Value::Number(piece) = self.arena.node(number).value
        {
            return Some(self.arena.text(piece).to_owned());
        }
        match (self.boolean(item), item) {
            (Some(value), _) => Some(value.to_string()),
            (None, Item::Number(number)) => Some(number.to_string()),
            _ => self.with_text(item, ToOwned::to_owned),
        }
    }

    /// The text of the only value.
    fn text(&self, of: &Operation, focus: Focus<'_>, what: &str) -> Result<Option<String>, Fail> {
        let Some(item) = self.single(of, focus, what)? else { return Ok(None) };
        self.text_of(item).map(Some).ok_or_else(|| Fail::misfit(format!("{what} takes a text")))
    }

    fn apply<'p>(
        &self,
        function: Function,
        of: &'p Operation,
        arguments: &'p [Operation],
        focus: Focus<'p>,
    ) -> Result<Option<Item<'p>>, Fail> {
        let name = function.name();
        match function {
            Function::HasValue => {
                let (mut count, mut primitive) = (0, false);
                self.each(of, focus, &mut |item| {
                    count += 1;
                    primitive = self.text_of(item).is_some();
                    Ok(count < 2)
                })?;
                Ok(Some(Item::Boolean(count == 1 && primitive)))
            }
            Function::To(target) => {
                let item = self.single(of, focus, name)?;
                Ok(item.and_then(|item| self.converted(item, target)))
            }
            Function::ConvertsTo(target) => {
                let item = self.single(of, focus, name)?;
                Ok(item.map(|item| Item::Boolean(self.converted(item, target).is_some())))
            }
            Function::Absolute | Function::Round | Function::Whole(_) => {
                let Some(item) = self.single(of, focus, name)? else { return Ok(None) };
                let number = self.number(item).ok_or_else(|| Fail::misfit(format!("{name} takes a number")))?;
                let found = match (function, arguments.first()) {
                    (Function::Whole(towards), _) => number.whole_part(towards),
                    (Function::Round, None) => number.rounded(0),
                    (Function::Round, Some(digits)) => {
                        let digits =
                            self.whole_number(digits, focus, name)?.and_then(|digits| u32::try_from(digits).ok());
                        digits.and_then(|digits| number.rounded(digits))
                    }
                    _ => Some(number.absolute()),
                };
                Ok(found.map(Item::Number))
            }
            Function::Substring => {
                let Some(text) = self.text(of, focus, name)? else { return Ok(None) };
                let (Some(start), length) = (
                    arguments.first().map_or(Ok(None), |start| self.whole_number(start, focus, name))?,
                    arguments.get(1).map_or(Ok(None), |length| self.whole_number(length, focus, name))?,
                ) else {
                    return Ok(None);
                };
                Ok(substring(&text, start, length).map(|part| self.keep(part)))
            }
            _ => {
                let Some(text) = self.text(of, focus, name)? else { return Ok(None) };
                let mut given = Vec::new();
                for argument in arguments {
                    let Some(argument) = self.text(argument, focus, name)? else { return Ok(None) };
                    given.push(argument);
                }
                let argument = |place: usize| given.get(place).map(String::as_str).unwrap_or_default();
                Ok(Some(self.text_function(function, &text, argument(0), argument(1))))
            }
        }
    }

    fn text_function<'p>(&self, function: Function, text: &str, first: &str, second: &str) -> Item<'p> {
        // Places count characters, not bytes.
        let place = |found: Option<usize>| {
            let place = found.map(|at| text[..at].chars().count()).and_then(|place| i64::try_from(place).ok());
            Item::Number(Decimal::whole(place.unwrap_or(-1)))
        };
        match function {
            Function::Upper => self.keep(&text.to_uppercase()),
            Function::Lower => self.keep(&text.to_lowercase()),
            Function::Trim => self.keep(text.trim()),
            Function::Replace => self.keep(&text.replace(first, second)),
            Function::StartsWith => Item::Boolean(text.starts_with(first)),
            Function::EndsWith => Item::Boolean(text.ends_with(first)),
            Function::Contains => Item::Boolean(text.contains(first)),
            Function::IndexOf => place(text.find(first)),
            Function::LastIndexOf => place(text.rfind(first)),
            _ => Item::Number(Decimal::whole(i64::try_from(text.chars().count()).unwrap_or(i64::MAX))),
        }
    }

    /// A value as another type, where FHIRPath has a way (5.5).
    fn converted<'p>(&self, item: Item<'p>, target: Type) -> Option<Item<'p>> {
        let text = self.text_of(item)?;
        match target {
            Type::Boolean => match text.to_lowercase().as_str() {
                "true" | "t" | "yes" | "y" | "1" | "1.0" => Some(Item::Boolean(true)),
                "false" | "f" | "no" | "n" | "0" | "0.0" => Some(Item::Boolean(false)),
                _ => None,
            },
            Type::Integer | Type::Decimal if self.boolean(item).is_some() => {
                Some(Item::Number(i64::from(self.boolean(item) == Some(true)).into()))
            }
            Type::Integer => {
                let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
                let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                Decimal::parse(&text).filter(|_| whole).map(Item::Number)
            }
            Type::Decimal => {
                let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
                let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
                let clean =
                    [whole, fraction].iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
                let number = self.number(item).is_some();
                Decimal::parse(&text).filter(|_| clean || number).map(Item::Number)
            }
            Type::Date => {
                let kind = Moment::parse(&text)?.kind;
                let date = if kind == temporal::Kind::Time { None } else { text.split('T').next() };
                date.map(|date| self.keep(date))
            }
            Type::DateTime => (Moment::parse(&text)?.kind != temporal::Kind::Time).then(|| self.keep(&text)),
            Type::Time => {
                // `14` is an hour here: nothing else is asked for.
                let clock = if text.len() == 2 { format!("{text}:00") } else { text };
                (Moment::parse(&clock)?.kind == temporal::Kind::Time).then(|| self.keep(&clock))
            }
            _ => Some(self.keep(&text)),
        }
    }

    pub(super) fn concatenated<'p>(
        &self,
        left: &'p Operation,
        right: &'p Operation,
        focus: Focus<'p>,
    ) -> Result<Item<'p>, Fail> {
        let mut text = self.text(left, focus, "`&`")?.unwrap_or_default();
        text.push_str(&self.text(right, focus, "`&`")?.unwrap_or_default());
        Ok(self.keep(&text))
    }

    pub(super) fn arithmetic<'p>(
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
                Operator::Quotient => a.quotient(b),
                Operator::Remainder => a.remainder(b),
                _ => a.divide(b),
            }
            .map(Item::Number));
        }
        let joined = self.with_text(a, |a| self.with_text(b, |b| format!("{a}{b}"))).flatten();
        match joined.filter(|_| operator == Operator::Add) {
            Some(text) => Ok(Some(self.keep(&text))),
            None => Err(Fail::misfit("arithmetic takes numbers")),
        }
    }
}

/// Characters from a place on; nothing where the place is outside of the text.
fn substring(text: &str, start: i64, length: Option<i64>) -> Option<&str> {
    let start = usize::try_from(start).ok()?;
    let rest = &text[text.char_indices().nth(start)?.0..];
    let Some(length) = length else { return Some(rest) };
    let length = usize::try_from(length).unwrap_or(0);
    Some(&rest[..rest.char_indices().nth(length).map_or(rest.len(), |(at, _)| at)])
}

impl Function {
    /// Its name, for messages.
    fn name(self) -> &'static str {
        match self {
            Self::Upper => "upper()",
            Self::Lower => "lower()",
            Self::Trim => "trim()",
            Self::Length => "length()",
            Self::Substring => "substring()",
            Self::StartsWith => "startsWith()",
            Self::EndsWith => "endsWith()",
            Self::Contains => "contains()",
            Self::IndexOf => "indexOf()",
            Self::LastIndexOf => "lastIndexOf()",
            Self::Replace => "replace()",
            Self::Absolute => "abs()",
            Self::Round => "round()",
            Self::Whole(_) => "rounding",
            Self::HasValue => "hasValue()",
            Self::To(_) | Self::ConvertsTo(_) => "a conversion",
        }
    }
}
