//! FHIRPath expressions, as text and as a tree.

mod parser;
mod token;

use std::ops::Range;

pub(crate) use parser::parse;

/// An expression with its place in the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expression {
    pub(crate) kind: Kind,
    pub(crate) span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// `$this`, and the start of a path.
    This,
    /// `$index`.
    Place,
    /// `a.b`; the element's name.
    Member(Box<Expression>, String),
    /// `a.f(x, y)`.
    Call(Box<Expression>, String, Vec<Expression>),
    /// `a[0]`.
    Index(Box<Expression>, Box<Expression>),
    /// `%name`.
    Constant(String),
    Literal(Literal),
    /// `a = b`, `a and b`, `a + b`.
    Binary(Operator, Box<Expression>, Box<Expression>),
    /// `-a`.
    Negative(Box<Expression>),
    /// `{}`.
    Empty,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    String(String),
    /// An integer or decimal, as written.
    Number(String),
    Boolean(bool),
    /// A date, dateTime or time without its `@`, and without the `T` of a time.
    Temporal(String),
    /// A number and its unit: a UCUM code, or a word for a span of the calendar.
    Quantity(String, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Equivalent,
    NotEquivalent,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Xor,
    Implies,
    In,
    Contains,
    Union,
    Add,
    Subtract,
    Concatenate,
    Multiply,
    Divide,
    Quotient,
    Remainder,
}

/// A mistake in an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
}
