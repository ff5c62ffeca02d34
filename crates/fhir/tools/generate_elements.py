"""Writes src/elements.rs from HL7's FHIR 4.0.1 definitions: python3 tools/generate_elements.py PATH/r4/elements.ndjson"""

import json
import pathlib
import sys

HEAD = '''//! The resource types of FHIR 4.0.1, made by `tools/generate_elements.py` from HL7's definitions: do not edit.

/// Whether FHIR R4 has a resource type of this name that a server can hold.
#[must_use]
pub fn is_resource(name: &str) -> bool {
    RESOURCES.binary_search(&name).is_ok()
}

/// Whether an element of this name is a dateTime or an instant wherever R4 has it.
#[must_use]
pub fn is_date_time(element: &str) -> bool {
    DATE_TIMES.binary_search(&element).is_ok()
}

/// The names of all resource types, in order.
pub fn resources() -> impl Iterator<Item = &'static str> {
    RESOURCES.iter().copied()
}

'''
TAIL = '''
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_types_are_known_and_abstract_ones_are_not() {
        for (name, known) in [("Practitioner", true), ("VisionPrescription", true), ("Resource", false), ("Practicioner", false)] {
            assert_eq!(is_resource(name), known, "{name}");
        }
        assert!(RESOURCES.is_sorted());
    }
}
'''

definitions = [json.loads(line) for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
names = sorted(one["name"] for one in definitions if one["kind"] == "resource" and not one["abstract"])
rows = "".join(f'    "{name}",\n' for name in names)
kinds = {}
for one in definitions:
    for element in one["elements"]:
        kinds.setdefault(element["path"].rsplit(".", 1)[-1], set()).update(element.get("types", []))
date_times = sorted(name for name, types in kinds.items() if types and types <= {"dateTime", "instant"})
date_rows = "".join(f'    "{name}",\n' for name in date_times)
target = pathlib.Path(__file__).resolve().parent.parent / "src" / "elements.rs"
target.write_text(f"{HEAD}static RESOURCES: [&str; {len(names)}] = [\n{rows}];\n\nstatic DATE_TIMES: [&str; {len(date_times)}] = [\n{date_rows}];\n{TAIL}")
print(f"{len(names)} resource types")
