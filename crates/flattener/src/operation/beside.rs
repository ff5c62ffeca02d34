//! The ids and extensions of primitives. In JSON they stand in an object beside the value: `_birthDate` beside `birthDate`,
//! and at the same place of a list (R4, JSON representation).

use fhirvest_fhir::elements;

use super::{Compiled, Compiler, Here, Operation, Place, Shape, tests_of_type::type_name};
use crate::{
    arena::NONE,
    diagnostics::Diagnostic,
    expression::{Expression, Kind},
};

impl Compiler<'_> {
    /// What an expression's values have their id and extensions in: elements themselves, primitives the object beside.
    pub(super) fn holders(&mut self, here: Here<'_>, of: &Expression) -> Compiled {
        if let Some(found) = self.beside_path(here, of)? {
            return Ok(found);
        }
        let (of, shape) = self.operation(here, of)?;
        Ok(self.beside_values(of, shape))
    }

    /// The objects beside the primitives of a path. They may be there where the values are not: `birthDate.extension(…)`
    /// says why there is no date.
    fn beside_path(&mut self, here: Here<'_>, of: &Expression) -> Result<Option<(Operation, Shape)>, Box<Diagnostic>> {
        let (parent, name, wanted) = match &of.kind {
            Kind::Member(parent, name) => (parent, name, None),
            Kind::Call(inner, function, arguments) if function == "ofType" || function == "as" => match &inner.kind {
                Kind::Member(parent, name) => (parent, name, arguments.first().and_then(type_name)),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let (parent, at) = self.operation(here, parent)?;
        let Some(element) = at.places.iter().find_map(|place| elements::element(place.of?, name)) else {
            return Ok(None);
        };
        let of_types: Vec<&'static str> = match &wanted {
            Some(wanted) => element.types.iter().copied().filter(|one| **one == wanted.name).collect(),
            None => element.types.to_vec(),
        };
        if !of_types.iter().any(|of| elements::is_primitive(of)) {
            return Ok(None);
        }
        let mut shape = Shape { many: at.many || element.many, ..Shape::default() };
        for place in &at.places {
            for of in &of_types {
                let field = element.json_name(of);
                match elements::is_primitive(of) {
                    true => self.reach(&mut shape, place.node, &format!("_{field}"), Some("Element")),
                    false => self.reach(&mut shape, place.node, &field, Some(of)),
                }
            }
        }
        let mut names: Vec<u32> = shape.places.iter().map(|place| place.name).collect();
        names.dedup();
        let parent = Box::new(parent);
        let operation = match names.as_slice() {
            [name] => Operation::Child(parent, *name),
            _ => Operation::Choice(parent, names),
        };
        Ok(Some((operation, shape)))
    }

    /// The objects beside those values that are primitives: `given.first().extension(…)`, `$this.id` in a list of texts.
    fn beside_values(&mut self, of: Operation, shape: Shape) -> (Operation, Shape) {
        // Of what R4 does not tell, nobody knows before a resource is read.
        let primitive = |place: &Place| place.name != NONE && place.of.is_none_or(elements::is_primitive);
        if !shape.places.iter().any(primitive) {
            return (of, shape);
        }
        let mut found = Shape { many: shape.many, ..Shape::default() };
        let mut pairs = Vec::new();
        for place in &shape.places {
            if place.of.is_none_or(|of| !elements::is_primitive(of)) {
                found.places.push(*place);
            }
            if let (true, Some(parent)) = (primitive(place), self.trie.parent(place.node)) {
                let hidden = format!("_{}", self.trie.name_of(place.name));
                self.reach(&mut found, parent, &hidden, Some("Element"));
                self.trie.pair(place.node);
                let beside = self.trie.child(parent, &hidden);
                self.trie.pair(beside);
                pairs.push((place.name, self.trie.name(&hidden)));
            }
        }
        (Operation::Beside(Box::new(of), pairs), found)
    }
}
