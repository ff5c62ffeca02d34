//! Compiled expressions: constants put in, names as numbers, every needed element known to the trie.

use crate::{
    arena::Trie,
    diagnostics::{Diagnostic, Severity, nearest},
    expression::{Expression, Kind, Literal, Operator},
    number::Decimal,
    view::Path,
};

/// A step of an expression. Each is asked for its values one by one, so nothing is gathered that nobody looks at.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    This,
    Root,
    RowIndex,
    Nothing,
    Text(String),
    Number(Decimal),
    Boolean(bool),
    Child(Box<Operation>, u32),
    Where(Box<Operation>, Box<Operation>),
    First(Box<Operation>),
    Last(Box<Operation>),
    Index(Box<Operation>, usize),
    Count(Box<Operation>),
    Exists(Box<Operation>),
    Empty(Box<Operation>),
    Not(Box<Operation>),
    Join(Box<Operation>, String),
    /// Children of one name whose `url` is a given one.
    Extension {
        of: Box<Operation>,
        extension: u32,
        url: u32,
        wanted: String,
    },
    /// The key of a Reference, if it leads to the type.
    ReferenceKey {
        of: Box<Operation>,
        reference: u32,
        of_type: Option<String>,
    },
    /// The least or greatest value that a number, date or time of its precision can mean.
    Boundary {
        of: Box<Operation>,
        high: bool,
        /// A date without a time is the whole dateTime.
        date_time: bool,
    },
    Binary(Operator, Box<Operation>, Box<Operation>),
}

/// The functions that views can use.
const FUNCTIONS: [&str; 14] = [
    "lowBoundary",
    "highBoundary",
    "where",
    "first",
    "last",
    "exists",
    "empty",
    "not",
    "count",
    "extension",
    "ofType",
    "join",
    "getResourceKey",
    "getReferenceKey",
];

/// Variables besides the view's own constants.
const VARIABLES: [&str; 3] = ["rowIndex", "resource", "context"];

/// Compiles the expressions of one view.
pub(crate) struct Compiler<'a> {
    pub(crate) trie: &'a mut Trie,
    pub(crate) resource: &'a str,
    pub(crate) constants: &'a [(String, Literal)],
    pub(crate) list: Vec<Diagnostic>,
}

/// Where in the trie the values of an expression may be; nowhere for values that are no elements.
pub(crate) type Places = Vec<u32>;

impl Compiler<'_> {
    /// Compiles a path; mistakes go to the list.
    pub(crate) fn path(&mut self, path: &Path, places: &Places) -> (Operation, Places) {
        match self.operation(path, &path.expression, places) {
            Ok(compiled) => compiled,
            Err(diagnostic) => {
                self.list.push(*diagnostic);
                (Operation::Nothing, Places::new())
            }
        }
    }

    /// Compiles the paths of `repeat`: what they lead to has no fixed depth.
    pub(crate) fn repeat(&mut self, paths: &[Path], places: &Places) -> (Places, Vec<Operation>) {
        let mut reached = Places::new();
        for path in paths {
            reached.extend(self.path(path, places).1);
        }
        for place in &reached {
            self.trie.repeat(*place);
        }
        // From each result every path leads on: the same operations, whose names are now known there too.
        let known = self.list.len();
        for path in paths {
            self.path(path, &reached);
        }
        self.list.truncate(known);
        let operations = paths.iter().map(|path| self.path(path, places).0).collect();
        self.list.truncate(known);
        (reached, operations)
    }

    fn operation(
        &mut self,
        path: &Path,
        expression: &Expression,
        places: &Places,
    ) -> Result<(Operation, Places), Box<Diagnostic>> {
        let nowhere = Places::new;
        let wrong = |code, message: String, cure| mistake(path, expression, code, message, cure);
        Ok(match &expression.kind {
            Kind::This => (Operation::This, places.clone()),
            Kind::Empty => (Operation::Nothing, nowhere()),
            Kind::Literal(literal) => (self.literal(path, expression, literal)?, nowhere()),
            Kind::Negative(inner) => match self.operation(path, inner, places)? {
                (Operation::Number(number), _) => (Operation::Number(number.negated()), nowhere()),
                _ => return Err(wrong("not-available", "`-` stands before numbers only".into(), None)),
            },
            Kind::Constant(name) => match self.constants.iter().find(|(known, _)| known == name) {
                Some((_, literal)) => (self.literal(path, expression, &literal.clone())?, nowhere()),
                None if name == "rowIndex" => (Operation::RowIndex, nowhere()),
                None if name == "resource" || name == "context" => (Operation::Root, vec![Trie::ROOT]),
                None => {
                    let known: Vec<&str> =
                        self.constants.iter().map(|(name, _)| name.as_str()).chain(VARIABLES).collect();
                    return Err(wrong(
                        "unknown-constant",
                        format!("there is no constant `%{name}`"),
                        Some(nearest(name, &known)),
                    ));
                }
            },
            Kind::Member(of, name) => {
                if matches!(of.kind, Kind::This) && name == self.resource && places.contains(&Trie::ROOT) {
                    return Ok((Operation::This, places.clone()));
                }
                let (of, at) = self.operation(path, of, places)?;
                self.child(of, &at, name)
            }
            Kind::Index(of, index) => {
                let (of, at) = self.operation(path, of, places)?;
                let (index, _) = self.operation(path, index, places)?;
                match index {
                    Operation::Number(number) if number.as_index().is_some() => {
                        (Operation::Index(Box::new(of), number.as_index().unwrap_or(0)), at)
                    }
                    _ => {
                        return Err(wrong(
                            "bad-index",
                            "an index is a whole number from 0, or a constant of one".into(),
                            None,
                        ));
                    }
                }
            }
            Kind::Binary(operator, left, right) => {
                let (left, _) = self.operation(path, left, places)?;
                let (right, _) = self.operation(path, right, places)?;
                (Operation::Binary(*operator, Box::new(left), Box::new(right)), nowhere())
            }
            Kind::Call(of, name, arguments) => return self.call(path, expression, of, name, arguments, places),
        })
    }

    fn child(&mut self, of: Operation, at: &Places, name: &str) -> (Operation, Places) {
        let places = at.iter().map(|place| self.trie.child(*place, name)).collect();
        (Operation::Child(Box::new(of), self.trie.name(name)), places)
    }

    fn literal(&self, path: &Path, expression: &Expression, literal: &Literal) -> Result<Operation, Box<Diagnostic>> {
        Ok(match literal {
            Literal::String(text) | Literal::Temporal(text) => Operation::Text(text.clone()),
            Literal::Boolean(value) => Operation::Boolean(*value),
            Literal::Number(text) => {
                Operation::Number(Decimal::parse(text).ok_or_else(|| {
                    mistake(path, expression, "bad-number", format!("{text} has too many digits"), None)
                })?)
            }
        })
    }

    fn call(
        &mut self,
        path: &Path,
        expression: &Expression,
        of: &Expression,
        name: &str,
        arguments: &[Expression],
        places: &Places,
    ) -> Result<(Operation, Places), Box<Diagnostic>> {
        let wrong = |code, message: String, cure| mistake(path, expression, code, message, cure);
        let expected = match name {
            "where" | "extension" | "ofType" => 1..=1,
            "exists" | "join" | "getReferenceKey" => 0..=1,
            "first" | "last" | "empty" | "not" | "count" | "getResourceKey" | "lowBoundary" | "highBoundary" => 0..=0,
            _ => {
                let message = format!("there is no function `{name}()` in this version");
                return Err(wrong("unknown-function", message, Some(nearest(name, &FUNCTIONS))));
            }
        };
        if !expected.contains(&arguments.len()) {
            let message = format!(
                "`{name}()` has {} arguments, but takes {} to {}",
                arguments.len(),
                expected.start(),
                expected.end()
            );
            return Err(wrong("wrong-arguments", message, None));
        }
        if name == "ofType" {
            return self.of_type(path, expression, of, &arguments[0], places);
        }
        let date_time = matches!(&of.kind, Kind::Call(_, function, arguments) if function == "ofType"
            && arguments.first().and_then(type_name).is_some_and(|name| name == "dateTime" || name == "instant"))
            || matches!(&of.kind, Kind::Member(_, element) if fhirvest_fhir::elements::is_date_time(element));
        let (of, at) = self.operation(path, of, places)?;
        let boxed = Box::new(of);
        let nowhere = Places::new();
        Ok(match (name, arguments.first()) {
            ("where", Some(condition)) => {
                let (condition, _) = self.operation(path, condition, &at)?;
                (Operation::Where(boxed, Box::new(condition)), at)
            }
            ("exists", Some(condition)) => {
                let (condition, _) = self.operation(path, condition, &at)?;
                (Operation::Exists(Box::new(Operation::Where(boxed, Box::new(condition)))), nowhere)
            }
            ("exists", None) => (Operation::Exists(boxed), nowhere),
            ("empty", _) => (Operation::Empty(boxed), nowhere),
            ("lowBoundary" | "highBoundary", _) => {
                (Operation::Boundary { of: boxed, high: name == "highBoundary", date_time }, nowhere)
            }
            ("not", _) => (Operation::Not(boxed), nowhere),
            ("count", _) => (Operation::Count(boxed), nowhere),
            ("first", _) => (Operation::First(boxed), at),
            ("last", _) => (Operation::Last(boxed), at),
            ("extension", Some(url)) => {
                let Operation::Text(wanted) = self.operation(path, url, places)?.0 else {
                    return Err(wrong(
                        "bad-argument",
                        "extension() takes a URL as a string or a constant".into(),
                        None,
                    ));
                };
                let places: Places = at.iter().map(|place| self.trie.child(*place, "extension")).collect();
                for place in &places {
                    self.trie.child(*place, "url");
                }
                let (extension, url) = (self.trie.name("extension"), self.trie.name("url"));
                (Operation::Extension { of: boxed, extension, url, wanted }, places)
            }
            ("join", separator) => {
                let separator = match separator.map(|separator| self.operation(path, separator, places)).transpose()? {
                    None => String::new(),
                    Some((Operation::Text(text), _)) => text,
                    Some(_) => return Err(wrong("bad-argument", "join() takes a string".into(), None)),
                };
                (Operation::Join(boxed, separator), nowhere)
            }
            ("getResourceKey", _) => {
                let (key, _) = self.child(*boxed, &at, "id");
                (key, nowhere)
            }
            (_, of_type) => {
                let of_type = of_type.map(|name| {
                    type_name(name).ok_or_else(|| {
                        wrong("bad-argument", "getReferenceKey() takes the name of a resource type".into(), None)
                    })
                });
                for place in &at {
                    self.trie.child(*place, "reference");
                }
                let reference = self.trie.name("reference");
                (Operation::ReferenceKey { of: boxed, reference, of_type: of_type.transpose()? }, nowhere)
            }
        })
    }

    /// `value.ofType(Quantity)` is the JSON field `valueQuantity` (R4, choice of data types).
    fn of_type(
        &mut self,
        path: &Path,
        expression: &Expression,
        of: &Expression,
        name: &Expression,
        places: &Places,
    ) -> Result<(Operation, Places), Box<Diagnostic>> {
        let (Some(name), Kind::Member(parent, element)) = (type_name(name), &of.kind) else {
            let cure = Some("write it directly behind the element: `value.ofType(Quantity).first()`".to_owned());
            let message = "ofType() takes a type's name and stands behind an element with a choice of types".to_owned();
            return Err(mistake(path, expression, "bad-argument", message, cure));
        };
        let mut letters = name.chars();
        let capital: String = letters.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(letters).collect();
        let (parent, at) = self.operation(path, parent, places)?;
        Ok(self.child(parent, &at, &format!("{element}{capital}")))
    }
}

/// A type's name as an argument: `Quantity`, `FHIR.Quantity`, `System.String`.
fn type_name(expression: &Expression) -> Option<String> {
    match &expression.kind {
        Kind::Member(of, name) if matches!(&of.kind, Kind::This) => Some(name.clone()),
        Kind::Member(of, name) => match &of.kind {
            Kind::Member(inner, space)
                if matches!(inner.kind, Kind::This) && (space == "FHIR" || space == "System") =>
            {
                Some(name.clone())
            }
            _ => None,
        },
        _ => None,
    }
}

fn mistake(
    path: &Path,
    expression: &Expression,
    code: &'static str,
    message: String,
    cure: Option<String>,
) -> Box<Diagnostic> {
    let place = Some((path.text.clone(), expression.span.clone()));
    Box::new(Diagnostic { code, severity: Severity::Error, pointer: path.pointer.clone(), place, message, cure })
}
