//! A parser by precedence (FHIRPath N1, section 8.1).

use std::ops::Range;

use super::{
    Expression, Kind, Literal, Operator, SyntaxError,
    token::{Token, tokens},
};

/// Parentheses and arguments within each other. No view needs more, and a deeper text must not end the stack.
const DEEPEST: usize = 64;

/// Members, functions and indexes in one expression, for the same reason: a chain of them nests as deep as it is long.
const MOST_STEPS: usize = 128;

/// The longest expression in bytes.
const LONGEST: usize = 4 * 1024;

/// Parses an expression.
pub(crate) fn parse(text: &str) -> Result<Expression, SyntaxError> {
    if text.len() > LONGEST {
        return Err(SyntaxError { span: 0..0, message: format!("longer than {LONGEST} bytes") });
    }
    let mut parser = Parser { tokens: tokens(text)?, place: 0, end: text.len(), depth: 0, operators: 0, steps: 0 };
    let expression = parser.binary(0)?;
    match parser.peek() {
        None => Ok(expression),
        Some(_) => Err(parser.unexpected("the expression ends before this")),
    }
}

struct Parser {
    tokens: Vec<(Token, Range<usize>)>,
    place: usize,
    end: usize,
    depth: usize,
    operators: usize,
    steps: usize,
}

/// Operators from the loosest to the tightest; `is` and `as`, which take a type, stand between two of the levels.
const LEVELS: [&[(&str, Operator)]; 9] = [
    &[("implies", Operator::Implies)],
    &[("or", Operator::Or), ("xor", Operator::Xor)],
    &[("and", Operator::And)],
    &[("in", Operator::In), ("contains", Operator::Contains)],
    &[("=", Operator::Equal), ("!=", Operator::NotEqual), ("~", Operator::Equivalent), ("!~", Operator::NotEquivalent)],
    &[("<", Operator::Less), ("<=", Operator::LessOrEqual), (">", Operator::Greater), (">=", Operator::GreaterOrEqual)],
    &[("|", Operator::Union)],
    &[("+", Operator::Add), ("-", Operator::Subtract), ("&", Operator::Concatenate)],
    &[("*", Operator::Multiply), ("/", Operator::Divide), ("div", Operator::Quotient), ("mod", Operator::Remainder)],
];

/// Below this level stand `is` and `as`.
const TYPE_TESTS: usize = 7;

/// The words for spans of the calendar, which stand behind a number without quotes.
const CALENDAR: [&str; 16] = [
    "year",
    "years",
    "month",
    "months",
    "week",
    "weeks",
    "day",
    "days",
    "hour",
    "hours",
    "minute",
    "minutes",
    "second",
    "seconds",
    "millisecond",
    "milliseconds",
];

/// Operators in one expression: a chain of them nests to the left.
const MOST_OPERATORS: usize = 256;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.place).map(|(token, _)| token)
    }

    fn span(&self) -> Range<usize> {
        self.tokens.get(self.place).map_or(self.end..self.end, |(_, span)| span.clone())
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(other)) if *other == symbol);
        self.place += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), SyntaxError> {
        if self.take(symbol) { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}` is missing here"))) }
    }

    fn unexpected(&self, message: &str) -> SyntaxError {
        SyntaxError { span: self.span(), message: message.to_owned() }
    }

    fn binary(&mut self, level: usize) -> Result<Expression, SyntaxError> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        loop {
            if level == TYPE_TESTS && self.type_test(&mut left)? {
                continue;
            }
            let text = match self.peek() {
                Some(Token::Symbol(symbol)) => *symbol,
                Some(Token::Name(name)) => name.as_str(),
                _ => break,
            };
            let Some((_, operator)) = operators.iter().find(|(symbol, _)| *symbol == text) else { break };
            self.operators += 1;
            if self.operators > MOST_OPERATORS {
                return Err(self.unexpected("too many operators"));
            }
            self.place += 1;
            let right = self.binary(level + 1)?;
            let span = left.span.start..right.span.end;
            left = Expression { kind: Kind::Binary(*operator, Box::new(left), Box::new(right)), span };
        }
        Ok(left)
    }

    /// `left is Type` and `left as Type`, as the functions that they are.
    fn type_test(&mut self, left: &mut Expression) -> Result<bool, SyntaxError> {
        let name = match self.peek() {
            Some(Token::Name(name)) if name == "is" || name == "as" => name.clone(),
            _ => return Ok(false),
        };
        self.place += 1;
        let start = self.span().start;
        let mut of_type = Expression { kind: Kind::This, span: start..start };
        loop {
            let Some(Token::Name(part) | Token::Quoted(part)) = self.peek().cloned() else {
                return Err(self.unexpected("a type has to follow"));
            };
            let span = start..self.span().end;
            of_type = Expression { kind: Kind::Member(Box::new(of_type), part), span };
            self.place += 1;
            if !self.take(".") {
                break;
            }
        }
        let span = left.span.start..of_type.span.end;
        let of = std::mem::replace(left, Expression { kind: Kind::Empty, span: span.clone() });
        *left = Expression { kind: Kind::Call(Box::new(of), name, vec![of_type]), span };
        Ok(true)
    }

    fn unary(&mut self) -> Result<Expression, SyntaxError> {
        let start = self.span().start;
        if self.take("-") {
            let inner = self.postfix()?;
            let span = start..inner.span.end;
            return Ok(Expression { kind: Kind::Negative(Box::new(inner)), span });
        }
        self.take("+");
        self.postfix()
    }

    fn postfix(&mut self) -> Result<Expression, SyntaxError> {
        let mut expression = self.term()?;
        loop {
            let start = expression.span.start;
            self.steps += usize::from(matches!(self.peek(), Some(Token::Symbol("." | "["))));
            if self.steps > MOST_STEPS {
                return Err(self.unexpected("too many steps"));
            }
            if self.take(".") {
                expression = self.invocation(expression, start)?;
            } else if self.take("[") {
                let index = self.nested()?;
                self.expect("]")?;
                let span = start..self.tokens[self.place - 1].1.end;
                expression = Expression { kind: Kind::Index(Box::new(expression), Box::new(index)), span };
            } else {
                return Ok(expression);
            }
        }
    }

    fn nested(&mut self) -> Result<Expression, SyntaxError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.unexpected("nested too deeply"));
        }
        let expression = self.binary(0)?;
        self.depth -= 1;
        Ok(expression)
    }

    /// A member or a function after `on`.
    fn invocation(&mut self, on: Expression, start: usize) -> Result<Expression, SyntaxError> {
        let name = match self.peek() {
            Some(Token::Name(name) | Token::Quoted(name)) => name.clone(),
            Some(Token::Dollar(name)) if name == "this" => {
                self.place += 1;
                return Ok(on);
            }
            _ => return Err(self.unexpected("an element or a function has to follow the dot")),
        };
        self.place += 1;
        let mut end = self.tokens[self.place - 1].1.end;
        if !self.take("(") {
            return Ok(Expression { kind: Kind::Member(Box::new(on), name), span: start..end });
        }
        let mut arguments = Vec::new();
        while !self.take(")") {
            if !arguments.is_empty() && !self.take(",") {
                return Err(self.unexpected("`)` is missing here"));
            }
            arguments.push(self.nested()?);
        }
        end = self.tokens.get(self.place - 1).map_or(end, |(_, span)| span.end);
        Ok(Expression { kind: Kind::Call(Box::new(on), name, arguments), span: start..end })
    }

    /// A number, with its unit where one follows.
    fn number(&mut self, text: String) -> Expression {
        let start = self.span().start;
        self.place += 1;
        let unit = match self.peek() {
            Some(Token::String(unit)) => Some(unit.clone()),
            Some(Token::Name(name)) if CALENDAR.contains(&name.as_str()) => Some(name.clone()),
            _ => None,
        };
        self.place += usize::from(unit.is_some());
        let end = self.tokens.get(self.place - 1).map_or(start, |(_, span)| span.end);
        let literal = match unit {
            Some(unit) => Literal::Quantity(text, unit),
            None => Literal::Number(text),
        };
        Expression { kind: Kind::Literal(literal), span: start..end }
    }

    fn term(&mut self) -> Result<Expression, SyntaxError> {
        let span = self.span();
        let Some(token) = self.peek().cloned() else { return Err(self.unexpected("something is missing here")) };
        let literal = |literal| Kind::Literal(literal);
        let kind = match token {
            Token::String(text) => literal(Literal::String(text)),
            Token::Number(text) => return Ok(self.number(text)),
            Token::Temporal(text) => literal(Literal::Temporal(text)),
            Token::Constant(name) => Kind::Constant(name),
            Token::Dollar(name) if name == "this" => Kind::This,
            Token::Dollar(name) if name == "index" => Kind::Place,
            Token::Dollar(_) => return Err(self.unexpected("only $this and $index are known here")),
            Token::Symbol("{") => {
                self.place += 1;
                self.expect("}")?;
                return Ok(Expression { kind: Kind::Empty, span: span.start..span.end + 1 });
            }
            Token::Symbol("(") => {
                self.place += 1;
                let inner = self.nested()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Symbol(_) => return Err(self.unexpected("an element, a function or a value has to stand here")),
            Token::Name(name) if name == "true" || name == "false" => literal(Literal::Boolean(name == "true")),
            Token::Name(_) | Token::Quoted(_) => {
                let this = Expression { kind: Kind::This, span: span.start..span.start };
                return self.invocation(this, span.start);
            }
        };
        self.place += 1;
        Ok(Expression { kind, span })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn precedence_is_that_of_the_specification() {
        let shape = |text: &str| match parse(text).unwrap().kind {
            Kind::Binary(operator, _, _) => operator,
            other => panic!("{other:?}"),
        };
        assert_eq!(shape("a and b or c"), Operator::Or);
        assert_eq!(shape("a or b and c"), Operator::Or);
        assert_eq!(shape("a = b and c != d"), Operator::And);
        assert_eq!(shape("a + b = c * d"), Operator::Equal);
        assert_eq!(shape("(a or b) and c"), Operator::And);
        assert_eq!(shape("1.5 < a.b.first()"), Operator::Less);
        assert_eq!(shape("a implies b or c"), Operator::Implies);
        assert_eq!(shape("a in b and c contains d"), Operator::And);
        assert_eq!(shape("a | b = c"), Operator::Equal);
        assert_eq!(shape("a | b + c"), Operator::Union);
        assert_eq!(shape("a is b.c | d"), Operator::Union);
        assert_eq!(shape("a + b is c = d"), Operator::Equal);
        assert_eq!(shape("contains.in in is.as"), Operator::In);
        assert_eq!(shape("a div b & c mod d // and so on"), Operator::Concatenate);
        assert_eq!(shape("{ } = /* nothing */ {}"), Operator::Equal);
        assert_eq!(parse("4 'mg'").unwrap().kind, Kind::Literal(Literal::Quantity("4".into(), "mg".into())));
        assert_eq!(parse("18 years").unwrap().kind, Kind::Literal(Literal::Quantity("18".into(), "years".into())));
        assert_eq!(parse("@T14").unwrap().kind, Kind::Literal(Literal::Temporal("14".into())));
        assert_eq!(parse("@2020-01T").unwrap().kind, Kind::Literal(Literal::Temporal("2020-01T".into())));
    }

    #[test]
    fn mistakes_have_their_place() {
        for (text, start) in [
            ("a.", 2),
            ("a..b", 2),
            ("name.where(use = 'x'", 20),
            ("a #", 2),
            ("'open", 0),
            ("a b", 2),
            ("", 0),
            ("a[", 2),
            ("a is", 4),
            ("@2020-13", 0),
            ("@14:00", 0),
            ("@T2020", 0),
            ("a /* b", 2),
            ("{a}", 1),
            ("$total", 0),
        ] {
            assert_eq!(parse(text).unwrap_err().span.start, start, "{text}");
        }
        assert_eq!(parse(r"'\u0041\t'").unwrap().kind, Kind::Literal(Literal::String("A\t".into())));
        for text in [r"'\u+041'", r"'\u004'", r"'\u00g1'", r"'\ud800'", r"'\x'"] {
            assert_eq!(parse(text).unwrap_err().span.start, 1, "{text}");
        }
        assert!(parse(&"(".repeat(10_000)).is_err());
        assert!(parse(&"-".repeat(5_000)).is_err());
        assert!(parse(&vec!["a"; 1000].join("+")).is_err());
    }

    proptest! {
        #[test]
        fn no_text_ends_the_parser(text in "[a-z.()'%$@=<>!/*&T:+ 0-9\\[\\]{}|\\\\é]{0,60}") {
            let _ = parse(&text);
        }
    }
}
