//! The types and elements of FHIR 4.0.1: `r4.tsv`, made by `tools/generate_elements.py` from HL7's definitions.

use std::{collections::BTreeMap, sync::LazyLock};

static TABLE: &str = include_str!("r4.tsv");

static DEFINITIONS: LazyLock<BTreeMap<&'static str, Definition>> =
    LazyLock::new(|| TABLE.lines().map(Definition::read).map(|one| (one.name, one)).collect());

/// What a type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A resource type that a server can hold.
    Resource,
    /// A type that others derive from: `Resource`, `DomainResource`, `Element`, `BackboneElement`.
    Abstract,
    /// A data type with elements: `HumanName`.
    Complex,
    /// A data type with a value: `date`.
    Primitive,
    /// A part of a resource that is a type only there: `Patient.contact`.
    Part,
}

/// A type of R4.
#[derive(Debug)]
pub struct Definition {
    /// Its name; a part's is its path.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The type that it derives from; empty for `Element` and `Resource`.
    pub base: &'static str,
    /// Its own elements, without those of its base, by name.
    pub elements: Vec<Element>,
}

/// An element of a type.
#[derive(Debug, PartialEq, Eq)]
pub struct Element {
    /// Its name, without `[x]`.
    pub name: &'static str,
    /// Whether there may be several.
    pub many: bool,
    /// Whether its name in JSON is followed by that of its type: `value[x]`.
    pub choice: bool,
    /// The types that it may have.
    pub types: Vec<&'static str>,
}

impl Definition {
    fn read(line: &'static str) -> Self {
        let mut fields = line.split('\t');
        let mut field = || fields.next().unwrap_or_default();
        let name = field();
        let kind = match field() {
            "resource" => Kind::Resource,
            "complex" => Kind::Complex,
            "primitive" => Kind::Primitive,
            "part" => Kind::Part,
            _ => Kind::Abstract,
        };
        Self { name, kind, base: field(), elements: field().split(' ').filter_map(Element::read).collect() }
    }
}

impl Element {
    fn read(text: &'static str) -> Option<Self> {
        let (name, types) = text.split_once(['?', '*'])?;
        Some(Self {
            many: text.as_bytes().get(name.len()) == Some(&b'*'),
            choice: name.ends_with("[x]"),
            name: name.trim_end_matches("[x]"),
            types: types.split('|').collect(),
        })
    }

    /// The name that the element has in JSON when its value is of a type: `valueQuantity`, or just the name.
    #[must_use]
    pub fn json_name(&self, of_type: &str) -> String {
        if self.choice { choice_name(self.name, of_type) } else { self.name.to_owned() }
    }
}

/// The name in JSON of an element with a choice of types, for one of them (R4, choice of data types).
#[must_use]
pub fn choice_name(element: &str, of_type: &str) -> String {
    let mut letters = of_type.chars();
    let capital = letters.next().map(|letter| letter.to_ascii_uppercase());
    element.chars().chain(capital).chain(letters).collect()
}

/// A type by its name; a part by its path.
#[must_use]
pub fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.get(name)
}

/// A type and those that it derives from, the nearest first.
pub fn lineage(name: &str) -> impl Iterator<Item = &'static Definition> {
    std::iter::successors(definition(name), |one| definition(one.base))
}

/// An element of a type, its own or inherited.
#[must_use]
pub fn element(of_type: &str, name: &str) -> Option<&'static Element> {
    lineage(of_type).find_map(|one| one.elements.iter().find(|element| element.name == name))
}

/// Whether a type is another, or derives from it.
#[must_use]
pub fn is_a(name: &str, base: &str) -> bool {
    lineage(name).any(|one| one.name == base)
}

/// Whether a type is a primitive: its JSON is a string, a number or a boolean.
#[must_use]
pub fn is_primitive(name: &str) -> bool {
    definition(name).is_some_and(|one| one.kind == Kind::Primitive)
}

/// Whether FHIR R4 has a resource type of this name that a server can hold.
#[must_use]
pub fn is_resource(name: &str) -> bool {
    definition(name).is_some_and(|one| one.kind == Kind::Resource)
}

/// The names of all resource types, in order.
pub fn resources() -> impl Iterator<Item = &'static str> {
    DEFINITIONS.values().filter(|one| one.kind == Kind::Resource).map(|one| one.name)
}

/// The names of all data types that a value can have, in order.
pub fn data_types() -> impl Iterator<Item = &'static str> {
    DEFINITIONS.values().filter(|one| matches!(one.kind, Kind::Complex | Kind::Primitive)).map(|one| one.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_types_are_known_and_abstract_ones_are_not() {
        for (name, known) in [
            ("Practitioner", true),
            ("VisionPrescription", true),
            ("Resource", false),
            ("Practicioner", false),
            ("Patient.contact", false),
            ("HumanName", false),
        ] {
            assert_eq!(is_resource(name), known, "{name}");
        }
        assert_eq!(resources().count(), 147);
        assert!(data_types().any(|name| name == "Coding"));
    }

    #[test]
    fn elements_have_the_types_that_the_definitions_give_them() {
        let found = |of_type: &str, name: &str| element(of_type, name).map(|one| (one.many, one.types.clone()));
        for (of_type, name, expected) in [
            ("Patient", "birthDate", Some((false, vec!["date"]))),
            ("Patient", "name", Some((true, vec!["HumanName"]))),
            ("Patient", "id", Some((false, vec!["string"]))),
            ("Patient", "deceased", Some((false, vec!["boolean", "dateTime"]))),
            ("Patient.contact", "modifierExtension", Some((true, vec!["Extension"]))),
            ("Questionnaire.item", "item", Some((true, vec!["Questionnaire.item"]))),
            ("Age", "value", Some((false, vec!["decimal"]))),
            ("HumanName", "family", Some((false, vec!["string"]))),
            ("HumanName", "familie", None),
            ("Nothing", "id", None),
        ] {
            assert_eq!(found(of_type, name), expected, "{of_type}.{name}");
        }
        let value = element("Observation", "value").unwrap();
        assert_eq!(
            (value.json_name("Quantity"), value.json_name("dateTime")),
            ("valueQuantity".into(), "valueDateTime".into())
        );
        assert!(element("Extension", "value").unwrap().types.contains(&"Coding"));
        assert!(is_a("positiveInt", "integer") && is_a("Patient", "Resource") && !is_a("integer", "positiveInt"));
        assert!(is_primitive("code") && !is_primitive("Coding"));
    }

    #[test]
    fn every_type_that_an_element_names_is_in_the_table() {
        for one in DEFINITIONS.values() {
            assert!(one.base.is_empty() || definition(one.base).is_some(), "{} from {}", one.name, one.base);
            for element in &one.elements {
                for name in &element.types {
                    assert!(definition(name).is_some(), "{}.{}: {name}", one.name, element.name);
                }
            }
        }
    }
}
