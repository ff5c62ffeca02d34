//! `ofType()`, `as`, `is` and `type()`: by what R4 tells of an element, its name in JSON, or the resource's own word.

use fhirvest_fhir::elements;

use super::{
    Compiled, Compiler, Here, Operation, Place, Shape, Type, by_json_name, mistake, open, shape::TypeName, shape_name,
};
use crate::{
    diagnostics::{Code, Diagnostic, nearest},
    expression::{Expression, Kind},
};

/// How a value's type is told when a resource is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TypeTest {
    Always,
    Never,
    /// By the element's name in JSON: `valueQuantity`.
    Names(Vec<u32>),
    /// By what the resource says that it is.
    Resource {
        resource_type: u32,
        wanted: String,
    },
}

/// FHIRPath's own types.
const SYSTEM: [&str; 8] = ["Boolean", "String", "Integer", "Decimal", "Date", "DateTime", "Time", "Quantity"];

/// Data types of later versions of FHIR.
const LATER: [&str; 8] = [
    "integer64",
    "CodeableReference",
    "RatioRange",
    "Availability",
    "ExtendedContactDetail",
    "MonetaryComponent",
    "VirtualServiceDetail",
    "Base",
];

/// Whether a later version of FHIR has this data type.
pub(super) fn is_later(name: &str) -> bool {
    LATER.contains(&name)
}

/// A type's name as an argument.
pub(super) fn type_name(expression: &Expression) -> Option<TypeName> {
    let Kind::Member(of, name) = &expression.kind else { return None };
    let space = match &of.kind {
        Kind::This => None,
        Kind::Member(inner, space) if matches!(inner.kind, Kind::This) && space == "FHIR" => Some("FHIR"),
        Kind::Member(inner, space) if matches!(inner.kind, Kind::This) && space == "System" => Some("System"),
        _ => return None,
    };
    Some(TypeName { space, name: name.clone() })
}

impl Compiler<'_> {
    /// The type that an argument names.
    fn wanted(&self, here: Here<'_>, name: &Expression) -> Result<TypeName, Box<Diagnostic>> {
        let Some(wanted) = type_name(name) else {
            let cure = "a type is written without quotes: Quantity, FHIR.Quantity, System.String".to_owned();
            return Err(mistake(
                here.path,
                name,
                Code::BadArgument,
                "the name of a type has to stand here".into(),
                cure,
            ));
        };
        let known = match wanted.space {
            Some("System") => SYSTEM.contains(&wanted.name.as_str()),
            space => {
                elements::definition(&wanted.name).is_some()
                    || LATER.contains(&wanted.name.as_str())
                    || (space.is_none() && SYSTEM.contains(&wanted.name.as_str()))
            }
        };
        if known {
            return Ok(wanted);
        }
        let names: Vec<&str> = elements::data_types().chain(elements::resources()).collect();
        let message = format!("there is no type `{}`", wanted.name);
        Err(mistake(here.path, name, Code::UnknownType, message, nearest(&wanted.name, &names)))
    }

    /// `value.ofType(Quantity)` is the JSON field `valueQuantity` (R4, choice of data types).
    pub(super) fn of_type(
        &mut self,
        here: Here<'_>,
        expression: &Expression,
        of: &Expression,
        name: &Expression,
    ) -> Compiled {
        let wanted = self.wanted(here, name)?;
        if let Kind::Member(parent, element) = &of.kind
            && wanted.space != Some("System")
            && !self.is_resource_itself(here, parent, element)
        {
            let of_element = of;
            let (parent, at) = self.operation(here, parent)?;
            let known: Vec<_> = at.places.iter().filter_map(|place| elements::element(place.of?, element)).collect();
            let closed: Vec<_> = at.places.iter().filter_map(|place| place.of.filter(|of| !open(of))).collect();
            let json_name = closed.iter().any(|of| by_json_name(of, element).is_some());
            if (known.is_empty() && !json_name) || known.iter().any(|element| element.choice) {
                if known.is_empty() && !closed.is_empty() && closed.len() == at.places.len() {
                    self.warn_unknown(here, of_element, closed[0], element);
                }
                let field = elements::choice_name(element, &wanted.name);
                let kind = elements::definition(&wanted.name).map(|one| one.name);
                if !known.is_empty() && !known.iter().any(|one| one.types.contains(&wanted.name.as_str())) {
                    let types: Vec<&str> = known.iter().flat_map(|one| one.types.iter().copied()).collect();
                    let message = format!("R4's `{element}` is never of the type {}", wanted.name);
                    self.warn(
                        here,
                        expression,
                        Code::ImpossibleType,
                        message,
                        format!("its types: {}", types.join(", ")),
                    );
                }
                return Ok(self.child(parent, &at, &field, kind));
            }
        }
        let (of, shape) = self.operation(here, of)?;
        let (test, shape) = self.type_test(here, expression, &shape, &wanted)?;
        Ok(match test {
            TypeTest::Always => (of, shape),
            test => (Operation::OfType(Box::new(of), test), shape),
        })
    }

    /// Whether the value is of a type.
    pub(super) fn is_type(
        &mut self,
        here: Here<'_>,
        expression: &Expression,
        of: &Expression,
        name: &Expression,
    ) -> Compiled {
        let wanted = self.wanted(here, name)?;
        let (of, shape) = self.operation(here, of)?;
        let (test, _) = self.type_test(here, expression, &shape, &wanted)?;
        Ok((Operation::Is(Box::new(of), test), Shape::of(Type::Boolean)))
    }

    /// How values of a shape are told to be of a type, and the shape of those that are.
    fn type_test(
        &mut self,
        here: Here<'_>,
        expression: &Expression,
        shape: &Shape,
        wanted: &TypeName,
    ) -> Result<(TypeTest, Shape), Box<Diagnostic>> {
        let resource = elements::is_resource(&wanted.name) && wanted.space != Some("System");
        let unclear = |place: &Place| place.of.is_none_or(|of| open(of) && of != wanted.name);
        if resource && shape.computed.is_empty() && shape.places.iter().all(unclear) && !shape.places.is_empty() {
            let of = elements::definition(&wanted.name).map(|one| one.name);
            let places = shape.places.iter().map(|place| Place { of, ..*place }).collect::<Vec<_>>();
            for place in &places {
                self.trie.child(place.node, "resourceType");
            }
            let test =
                TypeTest::Resource { resource_type: self.trie.name("resourceType"), wanted: wanted.name.clone() };
            return Ok((test, Shape { places, ..shape.clone() }));
        }
        let told = shape.types();
        let matching = |of: Option<&'static str>| of.is_some_and(|of| Type::Fhir(of).is_a(wanted));
        let (yes, no): (Vec<Place>, Vec<Place>) = shape.places.iter().partition(|place| matching(place.of));
        let (own, other): (Vec<Type>, Vec<Type>) = shape.computed.iter().partition(|one| one.is_a(wanted));
        let found = Shape { places: yes.clone(), computed: own.clone(), many: shape.many };
        if told.is_some() && no.is_empty() && other.is_empty() {
            return Ok((TypeTest::Always, found));
        }
        if told.is_some() && yes.is_empty() && own.is_empty() {
            let message = format!("{} is never of the type {}", shape_name(shape), wanted.name);
            let cure = "leave it out, or name the type that it has".to_owned();
            self.warn(here, expression, Code::ImpossibleType, message, cure);
            return Ok((TypeTest::Never, found));
        }
        let numbers: Vec<u32> = yes.iter().map(|place| place.name).collect();
        let clear = !no.iter().any(|place| numbers.contains(&place.name)) && own.is_empty() && other.is_empty();
        if told.is_some() && clear {
            return Ok((TypeTest::Names(numbers), found));
        }
        let message = "nothing tells the type of this value when a resource is read".to_owned();
        let cure = "let it stand directly behind the element: `value.ofType(Quantity)`".to_owned();
        Err(mistake(here.path, expression, Code::AmbiguousType, message, cure))
    }

    /// `type().name` and `type().namespace`.
    pub(super) fn type_name_of(
        &mut self,
        here: Here<'_>,
        expression: &Expression,
        of: &Expression,
        what: &str,
    ) -> Compiled {
        let (of, shape) = self.operation(here, of)?;
        let told = shape.types().filter(|types| !types.is_empty());
        let mut names = Vec::new();
        for place in &shape.places {
            let fhir = if what == "name" { place.of.unwrap_or_default() } else { "FHIR" };
            names.push((place.name, fhir));
        }
        for one in &shape.computed {
            let space = if matches!(one, Type::Fhir(_)) { "FHIR" } else { "System" };
            names.push((crate::arena::NONE, if what == "name" { one.shown() } else { space }));
        }
        let unclear = names.iter().any(|(name, of)| names.iter().any(|(other, kind)| name == other && of != kind));
        if told.is_none() || unclear {
            let message = "nothing tells the type of this value when a resource is read".to_owned();
            let cure = "ask for the types one by one: `value.ofType(Quantity).exists()`".to_owned();
            return Err(mistake(here.path, expression, Code::AmbiguousType, message, cure));
        }
        Ok((Operation::TypeName(Box::new(of), names), Shape::of(Type::String)))
    }
}
