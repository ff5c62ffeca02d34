//! The functions of FHIRPath that views can use: what they take, and what they give.

use fhirvest_fhir::elements;
use regex::{Regex, RegexBuilder};

use super::{
    Class, Compiled, Compiler, Fold, Function, Here, Operation, Place, Sameness, Set, Shape, Type, mistake, numbers,
    open, shape_name, tests_of_type::type_name,
};
use crate::{
    arena::NONE,
    diagnostics::{Code, Diagnostic, nearest},
    expression::{Expression, Kind},
    number::Towards,
};

/// Every function with the least and the most arguments that it takes.
const FUNCTIONS: [(&str, usize, usize); 83] = [
    ("abs", 0, 0),
    ("all", 1, 1),
    ("allFalse", 0, 0),
    ("allTrue", 0, 0),
    ("any", 0, 1),
    ("anyFalse", 0, 0),
    ("anyTrue", 0, 0),
    ("as", 1, 1),
    ("avg", 0, 0),
    ("ceiling", 0, 0),
    ("children", 0, 0),
    ("coalesce", 1, 16),
    ("combine", 1, 1),
    ("contains", 1, 1),
    ("convertsToBoolean", 0, 0),
    ("convertsToDate", 0, 0),
    ("convertsToDateTime", 0, 0),
    ("convertsToDecimal", 0, 0),
    ("convertsToInteger", 0, 0),
    ("convertsToString", 0, 0),
    ("convertsToTime", 0, 0),
    ("count", 0, 0),
    ("descendants", 0, 0),
    ("distinct", 0, 0),
    ("empty", 0, 0),
    ("endsWith", 1, 1),
    ("exclude", 1, 1),
    ("exists", 0, 1),
    ("extension", 1, 1),
    ("first", 0, 0),
    ("floor", 0, 0),
    ("getReferenceKey", 0, 1),
    ("getResourceKey", 0, 0),
    ("getValue", 0, 0),
    ("hasValue", 0, 0),
    ("highBoundary", 0, 1),
    ("iif", 2, 3),
    ("indexOf", 1, 1),
    ("intersect", 1, 1),
    ("is", 1, 1),
    ("isDistinct", 0, 0),
    ("join", 0, 1),
    ("last", 0, 0),
    ("lastIndexOf", 1, 1),
    ("length", 0, 0),
    ("lowBoundary", 0, 1),
    ("lower", 0, 0),
    ("matches", 1, 1),
    ("matchesFull", 1, 1),
    ("max", 0, 0),
    ("min", 0, 0),
    ("not", 0, 0),
    ("ofType", 1, 1),
    ("repeat", 1, 1),
    ("replace", 2, 2),
    ("replaceMatches", 2, 2),
    ("round", 0, 1),
    ("select", 1, 1),
    ("single", 0, 0),
    ("skip", 1, 1),
    ("split", 1, 1),
    ("startsWith", 1, 1),
    ("subsetOf", 1, 1),
    ("substring", 1, 2),
    ("sum", 0, 0),
    ("supersetOf", 1, 1),
    ("tail", 0, 0),
    ("take", 1, 1),
    ("trace", 1, 2),
    ("toBoolean", 0, 0),
    ("toChars", 0, 0),
    ("toDate", 0, 0),
    ("toDateTime", 0, 0),
    ("toDecimal", 0, 0),
    ("toInteger", 0, 0),
    ("toString", 0, 0),
    ("toTime", 0, 0),
    ("trim", 0, 0),
    ("truncate", 0, 0),
    ("type", 0, 0),
    ("union", 1, 1),
    ("upper", 0, 0),
    ("where", 1, 1),
];

/// Whether this is the name of a function that can be called without arguments.
pub(super) fn is_function(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, least, _)| *known == name && *least == 0)
}

/// Functions of FHIRPath that a view cannot have, and why.
const REFUSED: [(&[&str], &str); 6] = [
    (&["now", "today", "timeOfDay"], "a view gives the same rows on any day: compare with the date in SQL"),
    (&["resolve"], "other resources are not at hand: take getReferenceKey() and join the tables in SQL"),
    (
        &["memberOf", "subsumes", "subsumedBy", "conformsTo", "htmlChecks"],
        "no terminology or profile is at hand: join a table of codes in SQL",
    ),
    (&["exp", "ln", "log", "power", "sqrt"], "its results are not exact, and decimals here are: compute it in SQL"),
    (
        &["toQuantity", "convertsToQuantity", "comparable"],
        "units are not converted: take the parts, `value.ofType(Quantity).value` and `.unit`, and compute in SQL",
    ),
    (
        &["aggregate", "defineVariable", "encode", "decode", "escape", "unescape"],
        "sum(), min(), max(), avg(), join() and SQL do what it is mostly used for",
    ),
];

impl<'s> Here<'s> {
    fn within(self, this: &'s Shape) -> Self {
        Self { this, nested: true, ..self }
    }
}

impl Compiler<'_> {
    pub(super) fn call(
        &mut self,
        here: Here<'_>,
        expression: &Expression,
        of: &Expression,
        name: &str,
        arguments: &[Expression],
    ) -> Compiled {
        check_call(here, expression, name, arguments.len())?;
        match (name, arguments) {
            ("ofType" | "as", [of_type]) => {
                let (found, shape) = self.of_type(here, expression, of, of_type)?;
                return Ok(if name == "as" {
                    (Operation::Single(Box::new(found)), shape.one())
                } else {
                    (found, shape)
                });
            }
            ("is", [of_type]) => return self.is_type(here, expression, of, of_type),
            ("extension", [url]) => return self.extension(here, of, url),
            ("type", _) => {
                let message = "a type has no column; its name has one".to_owned();
                return Err(mistake(here.path, expression, Code::BadArgument, message, "`type().name`".into()));
            }
            ("iif", [condition, rest @ ..]) => return self.iif(here, of, condition, rest),
            ("coalesce", _) => return self.coalesce(here, arguments),
            _ => {}
        }
        let (found, shape) = self.operation(here, of)?;
        let input = Input { here, of, shape: &shape };
        if let Some(compiled) = self.subset(&input, &found, name, arguments)? {
            return Ok(compiled);
        }
        if let Some(compiled) = self.question(&input, &found, name, arguments)? {
            return Ok(compiled);
        }
        if let Some(compiled) = self.collection(&input, &found, name, arguments)? {
            return Ok(compiled);
        }
        if let Some(compiled) = self.of_fhir(&input, &found, name, arguments)? {
            return Ok(compiled);
        }
        self.of_one(&input, found, name, arguments)
    }

    /// Functions that give some of the values.
    fn subset(&mut self, input: &Input<'_>, of: &Operation, name: &str, arguments: &[Expression]) -> Option2 {
        let Input { here, shape, .. } = *input;
        let boxed = Box::new(of.clone());
        let one = shape.clone().one();
        Ok(Some(match (name, arguments) {
            ("where", [condition]) => {
                let condition = self.condition(here.within(&one), condition)?;
                // Who names a condition may know that it leaves one.
                (Operation::Where(boxed, condition), one)
            }
            ("first", _) => (Operation::First(boxed), one),
            ("last", _) => (Operation::Last(boxed), one),
            ("single", _) => (Operation::Single(boxed), one),
            ("tail", _) => (Operation::Skip(boxed, Box::new(Operation::Number(1.into()))), shape.clone()),
            ("skip", [count]) => (Operation::Skip(boxed, self.number_argument(here, count)?), shape.clone()),
            ("take", [count]) => (Operation::Take(boxed, self.number_argument(here, count)?), shape.clone()),
            ("distinct", _) => {
                self.keep_whole(shape);
                (Operation::Fold(Fold::Distinct, boxed, sameness(shape)), shape.clone())
            }
            ("getValue" | "trace", _) => (of.clone(), shape.clone()),
            _ => return Ok(None),
        }))
    }

    /// Functions that give true or false, or a count.
    fn question(&mut self, input: &Input<'_>, of: &Operation, name: &str, arguments: &[Expression]) -> Option2 {
        let Input { here, shape, .. } = *input;
        let boxed = Box::new(of.clone());
        let one = shape.clone().one();
        let truth = |operation| Ok(Some((operation, Shape::of(Type::Boolean))));
        let flags = |every, wanted, of| truth(Operation::Flags { of, every, wanted });
        match (name, arguments) {
            ("exists" | "any", [condition]) => {
                let condition = self.condition(here.within(&one), condition)?;
                truth(Operation::Exists(Box::new(Operation::Where(boxed, condition))))
            }
            ("exists" | "any", _) => truth(Operation::Exists(boxed)),
            ("empty", _) => truth(Operation::Empty(boxed)),
            ("all", [condition]) => {
                let condition = self.condition(here.within(&one), condition)?;
                truth(Operation::Every(boxed, condition))
            }
            ("not", _) => truth(Operation::Not(boxed)),
            ("allTrue", _) => flags(true, true, boxed),
            ("allFalse", _) => flags(true, false, boxed),
            ("anyTrue", _) => flags(false, true, boxed),
            ("anyFalse", _) => flags(false, false, boxed),
            ("isDistinct", _) => {
                self.keep_whole(shape);
                truth(Operation::Fold(Fold::IsDistinct, boxed, sameness(shape)))
            }
            ("subsetOf" | "supersetOf", [other]) => {
                let (other, others) = self.operation(here, other)?;
                self.keep_whole(shape);
                self.keep_whole(&others);
                let set = if name == "subsetOf" { Set::SubsetOf } else { Set::SupersetOf };
                truth(Operation::Set(set, boxed, Box::new(other), sameness(&shape.clone().and(others))))
            }
            ("count", _) => Ok(Some((Operation::Count(boxed), Shape::of(Type::Integer)))),
            _ => Ok(None),
        }
    }

    /// Functions that make another collection, or one value of many.
    fn collection(&mut self, input: &Input<'_>, of: &Operation, name: &str, arguments: &[Expression]) -> Option2 {
        let Input { here, shape, of: text } = *input;
        let boxed = Box::new(of.clone());
        let one = shape.clone().one();
        Ok(Some(match (name, arguments) {
            ("select", [projection]) => {
                let (projection, mut given) = self.operation(here.within(&one), projection)?;
                given.many |= shape.many;
                (Operation::Select(boxed, Box::new(projection)), given)
            }
            ("repeat", [projection]) => self.repeat_function(here, boxed, &one, projection)?,
            ("children", _) => (Operation::Children(boxed), self.below(shape, true)),
            ("descendants", _) => (Operation::Descendants(boxed), self.below(shape, false)),
            ("union" | "combine" | "intersect" | "exclude", [other]) => {
                let (other, others) = self.operation(here, other)?;
                let other = Box::new(other);
                let both = shape.clone().and(others.clone());
                if name == "combine" {
                    return Ok(Some((Operation::Combine(boxed, other), both)));
                }
                self.keep_whole(shape);
                self.keep_whole(&others);
                let (set, given) = match name {
                    "union" => (Set::Union, both.clone()),
                    "intersect" => (Set::Intersect, shape.clone()),
                    _ => (Set::Exclude, shape.clone()),
                };
                (Operation::Set(set, boxed, other, sameness(&both)), given)
            }
            ("sum" | "avg", _) => {
                self.takes(here, text, shape, &format!("{name}()"), &[Class::Number])?;
                let (fold, given) = match name {
                    "sum" => (Fold::Sum, numbers(shape)),
                    _ => (Fold::Average, Shape::of(Type::Decimal)),
                };
                (Operation::Fold(fold, boxed, Sameness::Plain), given)
            }
            ("min" | "max", _) => {
                self.takes(here, text, shape, &format!("{name}()"), &[Class::Number, Class::Text, Class::Moment])?;
                let fold = if name == "min" { Fold::Least } else { Fold::Greatest };
                (Operation::Fold(fold, boxed, sameness(shape)), one)
            }
            ("join", separator) => {
                self.takes(here, text, shape, "join()", &[Class::Text, Class::Number, Class::Moment])?;
                let separator = match separator {
                    [separator] => Some(self.text_argument(here, separator, "join()")?),
                    _ => None,
                };
                (Operation::Join(boxed, separator), Shape::of(Type::String))
            }
            ("split", [separator]) => {
                self.text_input(input, "split()")?;
                let separator = self.text_argument(here, separator, "split()")?;
                (Operation::Split(boxed, separator), Shape { many: true, ..Shape::of(Type::String) })
            }
            ("toChars", _) => {
                self.text_input(input, "toChars()")?;
                (Operation::Characters(boxed), Shape { many: true, ..Shape::of(Type::String) })
            }
            _ => return Ok(None),
        }))
    }

    /// SQL on FHIR's own functions, and the boundaries.
    fn of_fhir(&mut self, input: &Input<'_>, of: &Operation, name: &str, arguments: &[Expression]) -> Option2 {
        let Input { here, shape, of: text } = *input;
        let boxed = Box::new(of.clone());
        Ok(Some(match (name, arguments) {
            ("lowBoundary" | "highBoundary", precision) => {
                self.takes(here, text, shape, &format!("{name}()"), &[Class::Number, Class::Moment])?;
                let (high, date_time) = (name == "highBoundary", shape.date_time());
                let given = match shape.one_type().map(Type::fhir_name) {
                    Some("date") => Type::Date,
                    Some("time") => Type::Time,
                    Some("dateTime" | "instant") => Type::DateTime,
                    Some("decimal" | "integer" | "positiveInt" | "unsignedInt") => Type::Decimal,
                    _ => Type::String,
                };
                let given = Shape { many: shape.many, ..Shape::of(given) };
                let digits = precision.first().map(|digits| self.digits_argument(here, digits)).transpose()?;
                (Operation::Boundary { of: boxed, high, date_time, digits }, given)
            }
            ("getResourceKey", _) => {
                let (key, _) = self.child(of.clone(), shape, "id", Some("id"));
                (key, Shape { many: shape.many, ..Shape::of(Type::String) })
            }
            ("getReferenceKey", of_type) => {
                let of_type = match of_type {
                    [name] => Some(type_name(name).ok_or_else(|| {
                        let message = "getReferenceKey() takes the name of a resource type".to_owned();
                        let cure = "write it without quotes: getReferenceKey(Patient)".to_owned();
                        mistake(here.path, name, Code::BadArgument, message, cure)
                    })?),
                    _ => None,
                };
                if let Some(of_type) = &of_type
                    && !elements::is_resource(&of_type.name)
                {
                    let names: Vec<&str> = elements::resources().collect();
                    let message = format!("R4 has no resource type `{}`", of_type.name);
                    self.warn(here, &arguments[0], Code::UnknownResource, message, nearest(&of_type.name, &names));
                }
                let none = |place: &Place| place.of.is_some_and(|of| of != "Reference" && !open(of));
                if !shape.places.is_empty() && shape.places.iter().all(none) {
                    let message = format!("getReferenceKey() takes a Reference; this is {}", shape_name(shape));
                    let cure = "name the element that refers; a resource's own key is getResourceKey()".to_owned();
                    return Err(mistake(here.path, text, Code::WrongInput, message, cure));
                }
                for place in &shape.places {
                    self.trie.child(place.node, "reference");
                }
                let reference = self.trie.name("reference");
                let given = Shape { many: shape.many, ..Shape::of(Type::String) };
                (Operation::ReferenceKey { of: boxed, reference, of_type: of_type.map(|one| one.name) }, given)
            }
            _ => return Ok(None),
        }))
    }

    /// Functions of one value.
    fn of_one(&mut self, input: &Input<'_>, of: Operation, name: &str, arguments: &[Expression]) -> Compiled {
        let Input { here, of: text, shape } = *input;
        if let Some((function, given)) = conversion(name) {
            return Ok((Operation::Apply(function, Box::new(of), Vec::new()), Shape::of(given)));
        }
        if let "matches" | "matchesFull" | "replaceMatches" = name {
            self.text_input(input, name)?;
            if arguments.iter().any(|argument| argument.kind == Kind::Empty) {
                return Ok((Operation::Nothing, Shape::default()));
            }
            let pattern = self.pattern(here, &arguments[0], name == "matchesFull")?;
            let of = Box::new(of);
            return Ok(match arguments.get(1) {
                None => (Operation::Matches { of, pattern }, Shape::of(Type::Boolean)),
                Some(with) => {
                    let with = substitution(&self.constant_text(here, with, "replaceMatches()")?, &pattern);
                    (Operation::ReplaceMatches { of, pattern, with }, Shape::of(Type::String))
                }
            });
        }
        let (function, given) = match name {
            "upper" => (Function::Upper, Type::String),
            "lower" => (Function::Lower, Type::String),
            "trim" => (Function::Trim, Type::String),
            "length" => (Function::Length, Type::Integer),
            "substring" => (Function::Substring, Type::String),
            "startsWith" => (Function::StartsWith, Type::Boolean),
            "endsWith" => (Function::EndsWith, Type::Boolean),
            "contains" => (Function::Contains, Type::Boolean),
            "indexOf" => (Function::IndexOf, Type::Integer),
            "lastIndexOf" => (Function::LastIndexOf, Type::Integer),
            "replace" => (Function::Replace, Type::String),
            "abs" => (Function::Absolute, numbers(shape).one_type().unwrap_or(Type::Decimal)),
            "round" => (Function::Round, Type::Decimal),
            "ceiling" => (Function::Whole(Towards::Above), Type::Integer),
            "floor" => (Function::Whole(Towards::Below), Type::Integer),
            "truncate" => (Function::Whole(Towards::Zero), Type::Integer),
            _ => (Function::HasValue, Type::Boolean),
        };
        let called = format!("{name}()");
        match function {
            Function::HasValue => {}
            Function::Absolute | Function::Round | Function::Whole(_) => {
                self.takes(here, text, shape, &called, &[Class::Number])?;
                self.takes_one(input, &called);
            }
            _ => self.text_input(input, &called)?,
        }
        let mut compiled = Vec::new();
        for argument in arguments {
            compiled.push(match function {
                Function::Substring | Function::Round => *self.number_argument(here, argument)?,
                _ => *self.text_argument(here, argument, &called)?,
            });
        }
        Ok((Operation::Apply(function, Box::new(of), compiled), Shape::of(given)))
    }

    /// `extension(url)`, on an element or on a primitive, whose extensions stand beside it.
    fn extension(&mut self, here: Here<'_>, of: &Expression, url: &Expression) -> Compiled {
        let wanted = self.constant_text(here, url, "extension()")?;
        let (of, shape) = self.holders(here, of)?;
        let (_, found) = self.child(Operation::Nothing, &shape, "extension", Some("Extension"));
        for place in &found.places {
            self.trie.child(place.node, "url");
        }
        let (extension, url) = (self.trie.name("extension"), self.trie.name("url"));
        // Extensions of one url are mostly one; a profile tells, and R4 does not.
        Ok((Operation::Extension { of: Box::new(of), extension, url, wanted }, found))
    }

    /// `iif(condition, then, else)`, of the one value that it stands behind, or of none.
    fn iif(&mut self, here: Here<'_>, of: &Expression, condition: &Expression, rest: &[Expression]) -> Compiled {
        let (of, shape) = self.operation(here, of)?;
        let one = shape.one();
        let inner = if matches!(of, Operation::This) { here } else { here.within(&one) };
        let condition = self.condition(inner, condition)?;
        let (mut branches, mut given) = (Vec::new(), Shape::default());
        for branch in rest {
            let (branch, shape) = self.operation(inner, branch)?;
            let many = given.many || shape.many;
            given = Shape { many, ..given.and(shape) };
            branches.push(branch);
        }
        let mut branches = branches.into_iter();
        let (then, otherwise) = (branches.next().unwrap_or(Operation::Nothing), branches.next());
        let chosen = Operation::If(condition, Box::new(then), Box::new(otherwise.unwrap_or(Operation::Nothing)));
        Ok(match of {
            Operation::This => (chosen, given),
            of => (Operation::AtOne(Box::new(of), Box::new(chosen)), given),
        })
    }

    fn coalesce(&mut self, here: Here<'_>, arguments: &[Expression]) -> Compiled {
        let (mut list, mut given) = (Vec::new(), Shape::default());
        for argument in arguments {
            let (operation, shape) = self.operation(here, argument)?;
            let many = given.many || shape.many;
            given = Shape { many, ..given.and(shape) };
            list.push(operation);
        }
        Ok((Operation::Coalesce(list), given))
    }

    fn repeat_function(
        &mut self,
        here: Here<'_>,
        of: Box<Operation>,
        one: &Shape,
        projection: &Expression,
    ) -> Compiled {
        let (_, reached) = self.operation(here.within(one), projection)?;
        // Whether a value is new is told by all of it.
        reached.places.iter().for_each(|place| self.trie.whole(place.node));
        let known = self.list.len();
        let again = reached.clone().one();
        let (projection, more) = self.operation(here.within(&again), projection)?;
        self.list.truncate(known);
        Ok((Operation::Repeat(of, Box::new(projection)), Shape { many: true, ..reached.and(more) }))
    }

    /// The shape of all elements below, which have to be read whole.
    fn below(&mut self, shape: &Shape, nearest: bool) -> Shape {
        let mut found = Shape { many: true, ..Shape::default() };
        for place in &shape.places {
            self.trie.whole(place.node);
            let known = place.of.filter(|of| nearest && !open(of));
            match known {
                None => found.places.push(Place { node: place.node, name: NONE, of: None }),
                Some(of) => {
                    for element in elements::lineage(of).flat_map(|one| &one.elements) {
                        for of in &element.types {
                            self.reach(&mut found, place.node, &element.json_name(of), Some(of));
                        }
                    }
                }
            }
        }
        found
    }

    fn condition(&mut self, here: Here<'_>, expression: &Expression) -> Result<Box<Operation>, Box<Diagnostic>> {
        Ok(Box::new(self.operation(here, expression)?.0))
    }

    fn number_argument(&mut self, here: Here<'_>, expression: &Expression) -> Result<Box<Operation>, Box<Diagnostic>> {
        let (operation, shape) = self.operation(here, expression)?;
        self.takes(here, expression, &shape, "the argument", &[Class::Number])?;
        Ok(Box::new(operation))
    }

    /// A whole number that the view itself has: a literal or a constant.
    fn digits_argument(&mut self, here: Here<'_>, expression: &Expression) -> Result<i64, Box<Diagnostic>> {
        let digits = match self.operation(here, expression)?.0 {
            Operation::Number(number) => number.to_i64(),
            _ => None,
        };
        digits.ok_or_else(|| {
            let message = "a precision is a whole number that the view knows".to_owned();
            let cure = "digits of the fraction, `8`; of a date, `4` to `8`; of a dateTime, `4` to `17`".to_owned();
            mistake(here.path, expression, Code::BadArgument, message, cure)
        })
    }

    fn text_argument(
        &mut self,
        here: Here<'_>,
        expression: &Expression,
        what: &str,
    ) -> Result<Box<Operation>, Box<Diagnostic>> {
        let (operation, shape) = self.operation(here, expression)?;
        self.takes(here, expression, &shape, &format!("the argument of {what}"), &[Class::Text])?;
        Ok(Box::new(operation))
    }

    fn text_input(&mut self, input: &Input<'_>, what: &str) -> Result<(), Box<Diagnostic>> {
        // A date is a text in JSON: its year is `birthDate.toString().substring(0, 4)`, and without the middle as well.
        self.takes(input.here, input.of, input.shape, what, &[Class::Text, Class::Moment])?;
        self.takes_one(input, what);
        Ok(())
    }

    /// Warns where a function of one value surely gets several from some resources.
    fn takes_one(&mut self, input: &Input<'_>, what: &str) {
        if input.shape.many {
            let message = format!("{what} takes one value, and R4 allows several here");
            let cure = format!("`.select({what})` for each of them, or `.first()` before it");
            self.warn(input.here, input.of, Code::SeveralValues, message, cure);
        }
    }

    /// A text that the view itself has: a literal or a constant.
    fn constant_text(
        &mut self,
        here: Here<'_>,
        expression: &Expression,
        what: &str,
    ) -> Result<String, Box<Diagnostic>> {
        match self.operation(here, expression)?.0 {
            Operation::Text(text) => Ok(text),
            _ => {
                let message = format!("{what} takes a text in quotes, or a constant");
                Err(mistake(here.path, expression, Code::BadArgument, message, "'…', or %constant".into()))
            }
        }
    }

    fn pattern(&mut self, here: Here<'_>, expression: &Expression, whole: bool) -> Result<Regex, Box<Diagnostic>> {
        let text = self.constant_text(here, expression, "a regular expression's place")?;
        let pattern = if whole { format!("^(?:{text})$") } else { text };
        RegexBuilder::new(&pattern).dot_matches_new_line(true).build().map_err(|error| {
            let told = error.to_string();
            let message = told.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let cure = match message {
                told if told.contains("look-around") || told.contains("backreference") => {
                    "look-around and back-references are not there, so that no pattern takes for ever"
                }
                _ => "mend the pattern; a bracket or point that is meant itself has a backslash before it: `\\\\(`",
            };
            mistake(
                here.path,
                expression,
                Code::BadPattern,
                format!("this is no regular expression: {message}"),
                cure.into(),
            )
        })
    }
}

/// A substitution in the crate's own notation: `$1x` is the first group and an x, and not a group named `1x`.
fn substitution(text: &str, pattern: &Regex) -> String {
    let (mut with, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        with.push_str(before);
        // As many digits as make the number of a group.
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let known = |digits: &usize| after[..*digits].parse().is_ok_and(|group: usize| group < pattern.captures_len());
        let group = (1..=digits).rev().find(known);
        rest = match group {
            Some(digits) => {
                with.push_str(&format!("${{{}}}", &after[..digits]));
                &after[digits..]
            }
            None if after.starts_with('{') => {
                with.push('$');
                after
            }
            None => {
                with.push_str("$$");
                after.strip_prefix('$').unwrap_or(after)
            }
        };
    }
    with + rest
}

/// What a function stands behind.
#[derive(Clone, Copy)]
struct Input<'i> {
    here: Here<'i>,
    of: &'i Expression,
    shape: &'i Shape,
}

type Option2 = Result<Option<(Operation, Shape)>, Box<Diagnostic>>;

fn sameness(shape: &Shape) -> Sameness {
    if shape.moment() { Sameness::Moments } else { Sameness::Plain }
}

fn conversion(name: &str) -> Option<(Function, Type)> {
    let (target, asks) = match name.strip_prefix("convertsTo") {
        Some(target) => (target, true),
        None => (name.strip_prefix("to")?, false),
    };
    let target = match target {
        "Boolean" => Type::Boolean,
        "String" => Type::String,
        "Integer" => Type::Integer,
        "Decimal" => Type::Decimal,
        "Date" => Type::Date,
        "DateTime" => Type::DateTime,
        "Time" => Type::Time,
        _ => return None,
    };
    Some(if asks { (Function::ConvertsTo(target), Type::Boolean) } else { (Function::To(target), target) })
}

/// Refuses a function that is not there, and one with too many or too few arguments.
fn check_call(here: Here<'_>, expression: &Expression, name: &str, count: usize) -> Result<(), Box<Diagnostic>> {
    // The name alone is underlined, not what it stands behind.
    let mut at = expression.clone();
    if let Kind::Call(of, _, _) = &expression.kind {
        let behind = here.path.text.get(of.span.end..at.span.end).and_then(|text| text.find(name));
        at.span.start = of.span.end + behind.unwrap_or(0);
        at.span.end = at.span.start + name.len();
    }
    let wrong = |code, message, cure| Err(mistake(here.path, &at, code, message, cure));
    if let Some((_, why)) = REFUSED.iter().find(|(names, _)| names.contains(&name)) {
        return wrong(Code::NotAvailable, format!("`{name}()` is not available in a view"), (*why).to_owned());
    }
    let Some((_, least, most)) = FUNCTIONS.iter().find(|(known, _, _)| *known == name) else {
        let known: Vec<&str> = FUNCTIONS.iter().map(|(name, _, _)| *name).collect();
        return wrong(Code::UnknownFunction, format!("there is no function `{name}()`"), nearest(name, &known));
    };
    if (*least..=*most).contains(&count) {
        return Ok(());
    }
    let takes = match (least, most) {
        (0, 0) => "none".to_owned(),
        (least, most) if least == most => least.to_string(),
        _ => format!("{least} to {most}"),
    };
    let given = if count == 1 { "1 argument".to_owned() } else { format!("{count} arguments") };
    wrong(Code::WrongArguments, format!("`{name}()` has {given}, but takes {takes}"), format!("give it {takes}"))
}
