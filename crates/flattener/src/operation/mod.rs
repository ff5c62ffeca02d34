//! Compiled expressions: constants put in, names as numbers, every needed element known to the trie.

mod beside;
mod functions;
mod shape;
mod tests_of_type;

use fhirvest_fhir::{elements, temporal::Moment};
use regex::Regex;

use crate::{
    diagnostics::{Code, Diagnostic, nearest},
    expression::{Expression, Kind, Literal, Operator},
    number::{Decimal, Towards},
    trie::Trie,
    view::{Column, Constant, Path, VARIABLES},
};
pub(crate) use shape::{Class, Place, Shape, Type};
pub(crate) use tests_of_type::TypeTest;

/// A step of an expression. Each is asked for its values one by one, so nothing is gathered that nobody looks at.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    This,
    Root,
    /// Where the path began, within the conditions of a function.
    Context,
    RowIndex,
    /// `$index`.
    Place,
    Nothing,
    Text(String),
    Number(Decimal),
    Boolean(bool),
    Child(Box<Operation>, u32),
    /// An element with a choice of types: any of its names in JSON.
    Choice(Box<Operation>, Vec<u32>),
    /// Of primitives the objects beside them, by the names of both; of elements themselves.
    Beside(Box<Operation>, Vec<(u32, u32)>),
    Children(Box<Operation>),
    Descendants(Box<Operation>),
    Where(Box<Operation>, Box<Operation>),
    Select(Box<Operation>, Box<Operation>),
    /// The values of the second from each of the first, and from each of those, each value once.
    Repeat(Box<Operation>, Box<Operation>),
    First(Box<Operation>),
    Last(Box<Operation>),
    Index(Box<Operation>, usize),
    /// An index that has to be computed.
    At(Box<Operation>, Box<Operation>),
    Skip(Box<Operation>, Box<Operation>),
    Take(Box<Operation>, Box<Operation>),
    /// The only value; several are a mistake of the resource.
    Single(Box<Operation>),
    Count(Box<Operation>),
    Exists(Box<Operation>),
    Empty(Box<Operation>),
    Not(Box<Operation>),
    /// `all(condition)`.
    Every(Box<Operation>, Box<Operation>),
    /// `allTrue()` and its three relatives: whether every value, or any, is true, or false.
    Flags {
        of: Box<Operation>,
        every: bool,
        wanted: bool,
    },
    If(Box<Operation>, Box<Operation>, Box<Operation>),
    /// The second at the only value of the first, or at none where there is none.
    AtOne(Box<Operation>, Box<Operation>),
    /// The first that gives a value.
    Coalesce(Vec<Operation>),
    Combine(Box<Operation>, Box<Operation>),
    Set(Set, Box<Operation>, Box<Operation>, Sameness),
    Fold(Fold, Box<Operation>, Sameness),
    Join(Box<Operation>, Option<Box<Operation>>),
    Split(Box<Operation>, Box<Operation>),
    Characters(Box<Operation>),
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
        /// The precision that is asked for, in digits: of a number's fraction, or of a date and time.
        digits: Option<i64>,
    },
    OfType(Box<Operation>, TypeTest),
    Is(Box<Operation>, TypeTest),
    /// `type().name`, by the element's name in JSON; the last is what all others are.
    TypeName(Box<Operation>, Vec<(u32, &'static str)>),
    Matches {
        of: Box<Operation>,
        pattern: Regex,
    },
    ReplaceMatches {
        of: Box<Operation>,
        pattern: Regex,
        with: String,
    },
    Apply(Function, Box<Operation>, Vec<Operation>),
    Negative(Box<Operation>),
    Binary(Operator, Box<Operation>, Box<Operation>, Sameness),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sameness {
    Plain,
    /// As dates and times, where both are.
    Moments,
}

/// Operations on two collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    /// What is in either, each value once.
    Union,
    /// What is in both, each value once.
    Intersect,
    /// What is not in the other.
    Exclude,
    SubsetOf,
    SupersetOf,
}

/// One value of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fold {
    Distinct,
    IsDistinct,
    Sum,
    Average,
    Least,
    Greatest,
}

/// Functions of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Upper,
    Lower,
    Trim,
    Length,
    Substring,
    StartsWith,
    EndsWith,
    Contains,
    IndexOf,
    LastIndexOf,
    Replace,
    Absolute,
    Round,
    Whole(Towards),
    HasValue,
    To(Type),
    /// Whether the conversion gives a value.
    ConvertsTo(Type),
}

/// Compiles the expressions of one view.
pub(crate) struct Compiler<'a> {
    pub(crate) trie: &'a mut Trie,
    pub(crate) resource: &'a str,
    pub(crate) constants: &'a [Constant],
    pub(crate) list: Vec<Diagnostic>,
}

/// Where an expression stands: what `$this` is, and what it was where the path began.
#[derive(Clone, Copy)]
struct Here<'s> {
    path: &'s Path,
    this: &'s Shape,
    context: &'s Shape,
    /// Within the condition of a function.
    nested: bool,
}

type Compiled = Result<(Operation, Shape), Box<Diagnostic>>;

impl Compiler<'_> {
    /// Compiles a path; mistakes go to the list.
    pub(crate) fn path(&mut self, path: &Path, this: &Shape) -> (Operation, Shape) {
        let here = Here { path, this, context: this, nested: false };
        match self.operation(here, &path.expression) {
            Ok(compiled) => compiled,
            Err(diagnostic) => {
                self.list.push(*diagnostic);
                (Operation::Nothing, Shape::default())
            }
        }
    }

    /// Compiles the paths of `repeat`: what they lead to has no fixed depth.
    pub(crate) fn repeat(&mut self, paths: &[Path], this: &Shape) -> (Shape, Vec<Operation>) {
        let mut reached = Shape::default();
        let mut operations = Vec::new();
        for path in paths {
            let (operation, shape) = self.path(path, this);
            operations.push(operation);
            reached = reached.and(shape);
        }
        for place in &reached.places {
            self.trie.repeat(place.node);
        }
        // From each result every path leads on: the same operations, whose names are now known there too.
        let known = self.list.len();
        for path in paths {
            self.path(path, &reached);
        }
        self.list.truncate(known);
        (reached.one(), operations)
    }

    /// The FHIR type of a column: the one that it names, else the one of its values. Warns of a list that is not one, and of
    /// a type that its values never have.
    pub(crate) fn column_type(&mut self, column: &Column, shape: &Shape) -> Option<String> {
        if shape.many && !column.collection {
            let message = format!("R4 allows several values of `{}`, and a resource with several fails", column.name);
            let cure = "take one (`.first()`, `.where(…)`), iterate (forEach), or say \"collection\": true".to_owned();
            let at = mistake(&column.path, &column.path.expression, Code::CollectionMissing, message, cure);
            self.list.push(at.warning());
        }
        let Some(named) = &column.fhir_type else {
            return shape.one_type().map(|one| one.fhir_name().to_owned());
        };
        let at = format!("{}/type", column.pointer);
        match elements::definition(named) {
            None if !tests_of_type::is_later(named) => {
                let names: Vec<&str> = elements::data_types().collect();
                let message = format!("there is no FHIR type `{named}`");
                self.list.push(Diagnostic::error(Code::UnknownType, at, message, nearest(named, &names)).warning());
            }
            Some(known) => {
                let classes = shape.classes().unwrap_or_default();
                // Texts are the form in which everything fits.
                let wanted = Type::Fhir(known.name).class();
                if wanted != Class::Text && !classes.is_empty() && !classes.contains(&wanted) {
                    let message = format!("the column's type is {named}, but the path gives {}", shape_name(shape));
                    let cure = match shape.one_type() {
                        Some(one) => format!("\"type\": \"{}\"", one.fhir_name()),
                        None => "leave `type` out, or convert the value".to_owned(),
                    };
                    self.list.push(Diagnostic::error(Code::TypeDiffers, at, message, cure).warning());
                }
            }
            None => {}
        }
        Some(named.clone())
    }

    /// Whether a column may hold objects, as their JSON: then they are kept.
    pub(crate) fn may_be_json(&mut self, fhir_type: Option<&str>, shape: &Shape) -> bool {
        if fhir_type.is_some_and(|name| name.starts_with(|first: char| first.is_ascii_lowercase())) {
            return false;
        }
        for place in &shape.places {
            self.expect_object(place);
            self.trie.json(place.node);
        }
        true
    }

    /// Compiles the condition of a view; whether its value is a boolean, as far as is known.
    pub(crate) fn filter(&mut self, path: &Path, root: &Shape) -> (Operation, bool) {
        let (operation, shape) = self.path(path, root);
        let classes = shape.classes().unwrap_or_default();
        if !classes.is_empty() && !classes.contains(&Class::Truth) {
            let message = format!("a condition has to be true or false; this is {}", shape_name(&shape));
            let cure = "compare it, or ask whether it is there: `… = 'x'`, `….exists()`".to_owned();
            self.list.push(*mistake(path, &path.expression, Code::WhereNotBoolean, message, cure));
        }
        (operation, classes == [Class::Truth])
    }

    fn operation(&mut self, here: Here<'_>, expression: &Expression) -> Compiled {
        Ok(match &expression.kind {
            Kind::This => (Operation::This, here.this.clone()),
            Kind::Place => (Operation::Place, Shape::of(Type::Integer)),
            Kind::Empty => (Operation::Nothing, Shape::default()),
            Kind::Literal(literal) => self.literal(here, expression, literal)?,
            Kind::Negative(inner) => match self.operation(here, inner)? {
                (Operation::Number(number), shape) => (Operation::Number(number.negated()), shape),
                (inner_operation, shape) => {
                    self.takes(here, inner, &shape, "`-`", &[Class::Number])?;
                    (Operation::Negative(Box::new(inner_operation)), Shape { places: Vec::new(), ..numbers(&shape) })
                }
            },
            Kind::Constant(name) => self.variable(here, expression, name)?,
            Kind::Member(of, name) => return self.member_of(here, expression, of, name),
            Kind::Index(of, index) => {
                let (of, shape) = self.operation(here, of)?;
                let (at, index_shape) = self.operation(here, index)?;
                let operation = match at {
                    Operation::Number(number) if number.as_index().is_some() => {
                        Operation::Index(Box::new(of), number.as_index().unwrap_or(0))
                    }
                    _ if index_shape.one_type().is_some_and(|one| one.fhir_name() == "integer")
                        && !matches!(at, Operation::Number(_)) =>
                    {
                        Operation::At(Box::new(of), Box::new(at))
                    }
                    _ => {
                        let message = "an index is a whole number from 0".to_owned();
                        let cure =
                            "`[0]`, a constant of type integer, or an expression that gives an integer".to_owned();
                        return Err(mistake(here.path, index, Code::BadIndex, message, cure));
                    }
                };
                (operation, shape.one())
            }
            Kind::Binary(operator, left, right) => return self.binary(here, expression, *operator, left, right),
            Kind::Call(of, name, arguments) => return self.call(here, expression, of, name, arguments),
        })
    }

    fn literal(&self, here: Here<'_>, expression: &Expression, literal: &Literal) -> Compiled {
        Ok(match literal {
            Literal::String(text) => (Operation::Text(text.clone()), Shape::of(Type::String)),
            Literal::Boolean(value) => (Operation::Boolean(*value), Shape::of(Type::Boolean)),
            Literal::Temporal(text) => {
                use fhirvest_fhir::temporal::{Kind, Moment};
                let of = match Moment::parse(text).map(|moment| moment.kind) {
                    Some(Kind::Date) => Type::Date,
                    Some(Kind::Time) => Type::Time,
                    _ => Type::DateTime,
                };
                // `@2020T` is a dateTime of a year; FHIR writes it as `2020`.
                (Operation::Text(text.trim_end_matches('T').to_owned()), Shape::of(of))
            }
            Literal::Number(text) => {
                let number = Decimal::parse(text).ok_or_else(|| {
                    let message = format!("{text} has more digits than the 38 that fit");
                    mistake(here.path, expression, Code::BadNumber, message, "use fewer digits".into())
                })?;
                let of = if text.contains(['.', 'e', 'E']) { Type::Decimal } else { Type::Integer };
                (Operation::Number(number), Shape::of(of))
            }
            Literal::Quantity(..) => {
                let message = "quantities cannot be written here".to_owned();
                let cure = "compare the parts: `value.ofType(Quantity).where(unit = 'mg').value > 4`".to_owned();
                return Err(mistake(here.path, expression, Code::NotAvailable, message, cure));
            }
        })
    }

    fn variable(&mut self, here: Here<'_>, expression: &Expression, name: &str) -> Compiled {
        if let Some(constant) = self.constants.iter().find(|known| known.name == name) {
            let Some(literal) = &constant.literal else { return Ok((Operation::Nothing, Shape::default())) };
            let (operation, shape) = self.literal(here, expression, literal)?;
            let of = elements::definition(&constant.fhir_type).map(|one| Type::Fhir(one.name));
            // A code or a uri is a String where it is compared, but a column of it has its own type.
            return Ok((operation, of.map_or(shape, Shape::of)));
        }
        Ok(match name {
            "rowIndex" => (Operation::RowIndex, Shape::of(Type::Integer)),
            "resource" | "rootResource" => (Operation::Root, Shape::root(self.resource)),
            "ucum" => (Operation::Text("http://unitsofmeasure.org".into()), Shape::of(Type::String)),
            // FHIR's own names for the two code systems that most are written with.
            "sct" => (Operation::Text("http://snomed.info/sct".into()), Shape::of(Type::String)),
            "loinc" => (Operation::Text("http://loinc.org".into()), Shape::of(Type::String)),
            _ if name.starts_with("vs-") || name.starts_with("ext-") => {
                let (kind, rest) = match name.strip_prefix("vs-") {
                    Some(rest) => ("ValueSet", rest),
                    None => ("StructureDefinition", name.trim_start_matches("ext-")),
                };
                (Operation::Text(format!("http://hl7.org/fhir/{kind}/{rest}")), Shape::of(Type::String))
            }
            "context" if !here.nested => (Operation::This, here.context.clone()),
            "context" if here.context.computed.is_empty() => (Operation::Context, here.context.clone()),
            "context" => {
                let message = "%context is no element here, so a condition cannot reach it".to_owned();
                let cure = "iterate over elements, and compute in the column".to_owned();
                return Err(mistake(here.path, expression, Code::NotAvailable, message, cure));
            }
            _ => {
                let known: Vec<&str> = self.constants.iter().map(|one| one.name.as_str()).chain(VARIABLES).collect();
                let message = format!("there is no constant `%{name}`");
                let cure = nearest(name, &known).replace("did you mean `", "did you mean `%");
                return Err(mistake(here.path, expression, Code::UnknownConstant, message, cure));
            }
        })
    }

    /// Whether a name at the beginning of a path is that of the resource's type, and so stands for the resource.
    fn is_resource_itself(&self, here: Here<'_>, of: &Expression, name: &str) -> bool {
        let is_root = |place: &Place| place.node == Trie::ROOT;
        matches!(of.kind, Kind::This) && name == self.resource && here.this.places.iter().any(is_root)
    }

    fn member_of(&mut self, here: Here<'_>, expression: &Expression, of: &Expression, name: &str) -> Compiled {
        if self.is_resource_itself(here, of, name) {
            return Ok((Operation::This, here.this.clone()));
        }
        if let (Kind::Call(inner, function, arguments), "name" | "namespace") = (&of.kind, name)
            && function == "type"
            && arguments.is_empty()
        {
            return self.type_name_of(here, expression, inner, name);
        }
        let (of, shape) = match name {
            "extension" | "id" => self.holders(here, of)?,
            _ => self.operation(here, of)?,
        };
        Ok(self.member(here, expression, of, &shape, name))
    }

    /// The elements of one name. What R4 does not have is warned of: another version may.
    fn member(
        &mut self,
        here: Here<'_>,
        expression: &Expression,
        of: Operation,
        at: &Shape,
        name: &str,
    ) -> (Operation, Shape) {
        let (mut shape, mut unknown) = (Shape { many: at.many, ..Shape::default() }, Vec::new());
        for place in &at.places {
            self.expect_object(place);
            let known = place.of.filter(|of| !open(of));
            if let Some(element) = place.of.and_then(|of| elements::element(of, name)) {
                shape.many |= element.many;
                for of in &element.types {
                    self.reach(&mut shape, place.node, &element.json_name(of), Some(of));
                }
            } else if let Some((element, of)) = known.and_then(|of| by_json_name(of, name)) {
                let message = format!("`{name}` is a name in JSON; FHIRPath names the element");
                let cure = format!("write `{}.ofType({of})`", element.name);
                self.warn(here, expression, Code::ChoiceName, message, cure);
                self.reach(&mut shape, place.node, name, Some(of));
            } else {
                unknown.extend(known.filter(|_| name != "resourceType"));
                self.reach(&mut shape, place.node, name, None);
            }
        }
        if !unknown.is_empty() && unknown.len() == at.places.len() {
            self.warn_unknown(here, expression, unknown[0], name);
        }
        let mut numbers: Vec<u32> = shape.places.iter().map(|place| place.name).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let operation = match numbers.as_slice() {
            [] => Operation::Child(Box::new(of), self.trie.name(name)),
            [number] => Operation::Child(Box::new(of), *number),
            _ => Operation::Choice(Box::new(of), numbers),
        };
        (operation, shape)
    }

    /// Warns of a name that R4 does not have.
    fn warn_unknown(&mut self, here: Here<'_>, expression: &Expression, of: &str, name: &str) {
        let names: Vec<&str> = elements::lineage(of).flat_map(|one| &one.elements).map(|one| one.name).collect();
        let message = match names.as_slice() {
            ["extension" | "id", "extension" | "id"] => {
                format!("{} has no elements, so no `{name}`", with_article(of))
            }
            _ => format!("R4's {of} has no element `{name}`"),
        };
        // The name alone is underlined, not what it stands behind.
        let mut at = expression.clone();
        if here.path.text.get(..at.span.end).is_some_and(|text| text.ends_with(name)) {
            at.span.start = at.span.end - name.len();
        }
        let cure = match functions::is_function(name) {
            true => format!("functions have parentheses: `{name}()`"),
            false => nearest(name, &names),
        };
        self.warn(here, &at, Code::UnknownElement, message, cure);
    }

    /// An object belongs where parts of it are asked for, as far as R4 tells.
    fn expect_object(&mut self, place: &Place) {
        if place.of.is_some_and(|of| !elements::is_primitive(of)) {
            self.trie.object(place.node);
        }
    }

    fn reach(&mut self, shape: &mut Shape, from: u32, name: &str, of: Option<&'static str>) {
        let place = Place { node: self.trie.child(from, name), name: self.trie.name(name), of };
        if !shape.places.contains(&place) {
            shape.places.push(place);
        }
    }

    /// An element known by name, of any type.
    fn child(&mut self, of: Operation, at: &Shape, name: &str, kind: Option<&'static str>) -> (Operation, Shape) {
        let mut shape = Shape { many: at.many, ..Shape::default() };
        for place in &at.places {
            self.expect_object(place);
            self.reach(&mut shape, place.node, name, kind);
        }
        (Operation::Child(Box::new(of), self.trie.name(name)), shape)
    }

    fn binary(
        &mut self,
        here: Here<'_>,
        expression: &Expression,
        operator: Operator,
        left: &Expression,
        right: &Expression,
    ) -> Compiled {
        use Operator::*;
        let (a, a_shape) = self.operation(here, left)?;
        let (b, b_shape) = self.operation(here, right)?;
        let sameness = if a_shape.moment() || b_shape.moment() { Sameness::Moments } else { Sameness::Plain };
        let (a, b) = (Box::new(a), Box::new(b));
        let shape = match operator {
            Union => {
                self.keep_whole(&a_shape);
                self.keep_whole(&b_shape);
                return Ok((Operation::Set(Set::Union, a, b, sameness), a_shape.and(b_shape)));
            }
            Equal | NotEqual | Equivalent | NotEquivalent | In | Contains => {
                if compares_parts(&a_shape) && compares_parts(&b_shape) {
                    self.keep_whole(&a_shape);
                    self.keep_whole(&b_shape);
                }
                self.never_equal(here, expression, &a_shape, &b_shape);
                if let Some(text) = no_moment((&a, &a_shape), (&b, &b_shape)) {
                    let message = format!("'{text}' is no date or time, so nothing is ever equal to it here");
                    self.warn(here, expression, Code::NeverEqual, message, MOMENTS.to_owned());
                }
                Type::Boolean
            }
            Less | LessOrEqual | Greater | GreaterOrEqual => {
                let comparable = [Class::Number, Class::Text, Class::Moment];
                self.takes(here, left, &a_shape, "a comparison", &comparable)?;
                self.takes(here, right, &b_shape, "a comparison", &comparable)?;
                self.never_ordered(here, expression, &a_shape, &b_shape)?;
                if let Some(text) = no_moment((&a, &a_shape), (&b, &b_shape)) {
                    let message = format!("'{text}' is no date or time, and has no order among them");
                    return Err(mistake(here.path, expression, Code::WrongInput, message, MOMENTS.to_owned()));
                }
                Type::Boolean
            }
            And | Or | Xor | Implies => Type::Boolean,
            Concatenate => Type::String,
            Add if matches!(a_shape.classes().as_deref(), Some([Class::Text]))
                || matches!(b_shape.classes().as_deref(), Some([Class::Text])) =>
            {
                self.takes(here, left, &a_shape, "`+` with a text", &[Class::Text])?;
                self.takes(here, right, &b_shape, "`+` with a text", &[Class::Text])?;
                Type::String
            }
            Add | Subtract | Multiply | Divide | Quotient | Remainder => {
                self.takes(here, left, &a_shape, "arithmetic", &[Class::Number])?;
                self.takes(here, right, &b_shape, "arithmetic", &[Class::Number])?;
                let whole = |shape: &Shape| numbers(shape).computed.iter().all(|one| *one == Type::Integer);
                match operator {
                    Divide => Type::Decimal,
                    Quotient => Type::Integer,
                    _ if whole(&a_shape) && whole(&b_shape) => Type::Integer,
                    _ => Type::Decimal,
                }
            }
        };
        Ok((Operation::Binary(operator, a, b, sameness), Shape::of(shape)))
    }

    /// Values that are compared as a whole have to be read as a whole.
    fn keep_whole(&mut self, shape: &Shape) {
        for place in &shape.places {
            if place.of.is_none_or(|of| !elements::is_primitive(of)) {
                self.trie.whole(place.node);
            }
        }
    }

    /// Refuses values that an operation can never take.
    fn takes(
        &self,
        here: Here<'_>,
        expression: &Expression,
        shape: &Shape,
        what: &str,
        classes: &[Class],
    ) -> Result<(), Box<Diagnostic>> {
        let found = shape.classes().unwrap_or_default();
        if found.is_empty() || found.iter().any(|class| classes.contains(class)) {
            return Ok(());
        }
        let wanted: Vec<&str> = classes.iter().map(|class| class.shown()).collect();
        let message = format!("{what} takes {}; this is {}", wanted.join(", or "), shape_name(shape));
        let cure = match found.as_slice() {
            [Class::Complex] => "name the element that is meant",
            _ => "convert it: toString(), toInteger(), toDecimal()",
        };
        Err(mistake(here.path, expression, Code::WrongInput, message, cure.into()))
    }

    fn never_equal(&mut self, here: Here<'_>, expression: &Expression, a: &Shape, b: &Shape) {
        let (Some(left), Some(right)) = (a.classes(), b.classes()) else { return };
        let textual = |class: &Class| matches!(class, Class::Text | Class::Moment);
        let same = |a: &Class, b: &Class| a == b || (textual(a) && textual(b));
        if !left.is_empty() && !right.is_empty() && !left.iter().any(|a| right.iter().any(|b| same(a, b))) {
            let message = format!("{} and {} are never equal", shape_name(a), shape_name(b));
            let cure = match (left.as_slice(), right.as_slice()) {
                ([Class::Truth], [Class::Text]) | ([Class::Text], [Class::Truth]) => {
                    "true and false stand without quotes: `= true`"
                }
                ([Class::Number], [Class::Text]) | ([Class::Text], [Class::Number]) => {
                    "a number stands without quotes, a text in single quotes: `= 1`, `= '1'`"
                }
                _ => "compare values of one kind: 'text', 1, true, @2020-08-05",
            };
            self.warn(here, expression, Code::NeverEqual, message, cure.to_owned());
        }
    }

    fn never_ordered(
        &self,
        here: Here<'_>,
        expression: &Expression,
        a: &Shape,
        b: &Shape,
    ) -> Result<(), Box<Diagnostic>> {
        let (Some(left), Some(right)) = (a.classes(), b.classes()) else { return Ok(()) };
        let number = |classes: &[Class]| !classes.is_empty() && classes.iter().all(|class| *class == Class::Number);
        let textual = |classes: &[Class]| !classes.is_empty() && !classes.contains(&Class::Number);
        if (number(&left) && textual(&right)) || (textual(&left) && number(&right)) {
            let message = format!("{} and {} have no order", shape_name(a), shape_name(b));
            let cure = "compare values of one kind: 'text', 1, @2020-08-05".to_owned();
            return Err(mistake(here.path, expression, Code::WrongInput, message, cure));
        }
        Ok(())
    }

    fn warn(&mut self, here: Here<'_>, expression: &Expression, code: Code, message: String, cure: String) {
        let warning = mistake(here.path, expression, code, message, cure).warning();
        if !self.list.contains(&warning) {
            self.list.push(warning);
        }
    }
}

/// How dates and times are written.
const MOMENTS: &str = "write a date or a time: @2020-08-05, @2020-08-05T19:21:12Z, @T19:21";

/// The text literal that is compared with dates or times and is none.
fn no_moment<'a>(a: (&'a Operation, &Shape), b: (&'a Operation, &Shape)) -> Option<&'a str> {
    let only = |shape: &Shape| matches!(shape.classes().as_deref(), Some([Class::Moment]));
    let text = match (a, b) {
        ((Operation::Text(text), _), (_, shape)) | ((_, shape), (Operation::Text(text), _)) if only(shape) => text,
        _ => return None,
    };
    Moment::parse(text).is_none().then_some(text)
}

/// Whether some of the values may be elements with parts.
fn compares_parts(shape: &Shape) -> bool {
    shape.classes().is_none_or(|classes| classes.contains(&Class::Complex))
}

/// Whether a type may have elements that R4's table does not tell: any resource.
fn open(of: &str) -> bool {
    matches!(of, "Resource" | "DomainResource" | "Element" | "BackboneElement")
}

/// The element with a choice of types, and the type, that has this name in JSON.
fn by_json_name(of: &str, name: &str) -> Option<(&'static elements::Element, &'static str)> {
    let choices = elements::lineage(of).flat_map(|one| &one.elements).filter(|element| element.choice);
    choices
        .flat_map(|element| element.types.iter().map(move |of| (element, *of)))
        .find(|(element, of)| element.json_name(of) == name)
}

/// Integers stay integers; all other numbers are decimals.
fn numbers(shape: &Shape) -> Shape {
    let whole = shape.types().is_some_and(|types| {
        !types.is_empty()
            && types.iter().all(|one| matches!(one.fhir_name(), "integer" | "positiveInt" | "unsignedInt"))
    });
    Shape::of(if whole { Type::Integer } else { Type::Decimal })
}

fn with_article(name: &str) -> String {
    // `a uri`, `a unit`: the sound counts.
    let vowel = name.starts_with(['A', 'E', 'I', 'O', 'a', 'e', 'i', 'o']);
    format!("{} {name}", if vowel { "an" } else { "a" })
}

fn shape_name(shape: &Shape) -> String {
    let mut names: Vec<&str> = shape.types().unwrap_or_default().into_iter().map(Type::shown).collect();
    names.dedup();
    match names.as_slice() {
        [] => "nothing".into(),
        [name] => with_article(name),
        [first, second] => format!("{} or {}", with_article(first), with_article(second)),
        [first, ..] => format!("{} or another of {} types", with_article(first), names.len()),
    }
}

fn mistake(path: &Path, expression: &Expression, code: Code, message: String, cure: String) -> Box<Diagnostic> {
    let place = Some((path.text.clone(), expression.span.clone()));
    Box::new(Diagnostic { place, ..Diagnostic::error(code, path.pointer.clone(), message, cure) })
}
