//! What is known of an expression's values before any resource is read: their types, where they stand, whether there may
//! be several.

use fhirvest_fhir::elements;

use crate::{arena::NONE, trie::Trie};

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Boolean,
    String,
    Integer,
    Decimal,
    Date,
    DateTime,
    Time,
    /// A type of R4: `HumanName`, `code`, `Patient.contact`.
    Fhir(&'static str),
}

/// What can be done with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Truth,
    Text,
    Number,
    Moment,
    /// A value with elements.
    Complex,
}

impl Class {
    /// What messages call it.
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Truth => "a boolean",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Moment => "a date or time",
            Self::Complex => "an element with parts",
        }
    }
}

impl Type {
    /// Its FHIR type, which a column of it has.
    pub(crate) fn fhir_name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::Date => "date",
            Self::DateTime => "dateTime",
            Self::Time => "time",
            Self::Fhir(name) => name,
        }
    }

    pub(crate) fn class(self) -> Class {
        match self.fhir_name() {
            "boolean" => Class::Truth,
            "integer" | "positiveInt" | "unsignedInt" | "decimal" => Class::Number,
            "date" | "dateTime" | "instant" | "time" => Class::Moment,
            name if elements::is_primitive(name) => Class::Text,
            _ => Class::Complex,
        }
    }

    /// The name that `type()` and messages give it.
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Boolean => "Boolean",
            Self::String => "String",
            Self::Integer => "Integer",
            Self::Decimal => "Decimal",
            Self::Date => "Date",
            Self::DateTime => "DateTime",
            Self::Time => "Time",
            Self::Fhir(name) => name,
        }
    }

    /// Whether a value of this type is one of the named type, FHIR's or FHIRPath's own.
    pub(crate) fn is_a(self, wanted: &TypeName) -> bool {
        let by_fhir = wanted.space != Some("System") && elements::is_a(self.fhir_name(), &wanted.name);
        let system = match self {
            Self::Fhir(_) => false,
            _ => wanted.space != Some("FHIR") && self.shown() == wanted.name,
        };
        match self {
            Self::Fhir(_) => by_fhir,
            // `1 is integer`: what was computed is taken as the FHIR type of the same name.
            _ => system || (wanted.space.is_none() && by_fhir),
        }
    }
}

/// A type's name as an argument: `Quantity`, `FHIR.Quantity`, `System.String`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeName {
    pub(crate) space: Option<&'static str>,
    pub(crate) name: String,
}

/// A place in the trie where values may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) node: u32,
    /// The number of the element's name in JSON.
    pub(crate) name: u32,
    /// The type of what stands there, where R4 tells.
    pub(crate) of: Option<&'static str>,
}

/// What is known of values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Elements: where they may stand.
    pub(crate) places: Vec<Place>,
    /// Values that are no elements: their types.
    pub(crate) computed: Vec<Type>,
    /// Whether R4 allows several, and nothing in the expression says which.
    pub(crate) many: bool,
}

impl Shape {
    pub(crate) fn root(resource: &str) -> Self {
        let of = elements::definition(resource).map(|one| one.name);
        Self { places: vec![Place { node: Trie::ROOT, name: NONE, of }], ..Self::default() }
    }

    pub(crate) fn of(one: Type) -> Self {
        Self { computed: vec![one], ..Self::default() }
    }

    /// The types that the values may have; nothing where one of them is not known.
    pub(crate) fn types(&self) -> Option<Vec<Type>> {
        let places = self.places.iter().map(|place| place.of.map(Type::Fhir));
        places.chain(self.computed.iter().map(|one| Some(*one))).collect()
    }

    /// The only type, if it is known.
    pub(crate) fn one_type(&self) -> Option<Type> {
        let types = self.types()?;
        let first = *types.first()?;
        types.iter().all(|one| one.fhir_name() == first.fhir_name()).then_some(first)
    }

    /// The classes of the values, each once; nothing where a type is not known.
    pub(crate) fn classes(&self) -> Option<Vec<Class>> {
        let mut classes: Vec<Class> = self.types()?.into_iter().map(Type::class).collect();
        classes.dedup();
        Some(classes)
    }

    /// Whether a value may be a date, a dateTime or a time.
    pub(crate) fn moment(&self) -> bool {
        let places = self.places.iter().filter_map(|place| place.of.map(Type::Fhir));
        places.chain(self.computed.iter().copied()).any(|one| one.class() == Class::Moment)
    }

    /// Whether a value may tell a date with a clock.
    pub(crate) fn date_time(&self) -> bool {
        let places = self.places.iter().filter_map(|place| place.of);
        places.chain(self.computed.iter().map(|one| one.fhir_name())).any(|one| one == "dateTime" || one == "instant")
    }

    pub(crate) fn one(mut self) -> Self {
        self.many = false;
        self
    }

    /// The values of both.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.places.extend(other.places.into_iter().filter(|place| !self.places.contains(place)).collect::<Vec<_>>());
        self.computed.extend(other.computed);
        self.many = true;
        self
    }
}
