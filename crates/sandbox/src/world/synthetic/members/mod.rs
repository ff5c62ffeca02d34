//! Members of a payer with their claims and records, as patient-access APIs serve them: CARIN Blue Button claims and US
//! Core resources, or the few types that a pharmacy manager has. Nobody here is real.
//!
//! What is untidy where payers are: product codes as ten digits with hyphens, compounds with their drugs under
//! `item.detail`, rejected and reversed claims, versioned, contained and logical references, dates of every precision,
//! values that are absent with a reason, and a practitioner that nobody refers to.

mod care;
mod claims;
mod clinical;
mod people;
mod prescriptions;

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};
use serde_json::{Value, json};

use super::dice::Dice;
use super::elements::Address;
use super::formulary::Drug;
use super::shelf::Shelf;
use super::vocabulary::{FAMILIES, MEN, WOMEN};
use crate::world::Mount;

const ICD10: &str = "http://hl7.org/fhir/sid/icd-10-cm";
const SNOMED: &str = "http://snomed.info/sct";
const LOINC: &str = "http://loinc.org";
const UCUM: &str = "http://unitsofmeasure.org";
const CARIN: &str = "http://hl7.org/fhir/us/carin-bb";
const US_CORE: &str = "http://hl7.org/fhir/us/core/StructureDefinition";
const TERMINOLOGY: &str = "http://terminology.hl7.org/CodeSystem";

/// Resource types of a whole patient-access API.
const WHOLE: [&str; 20] = [
    "AllergyIntolerance",
    "CarePlan",
    "CareTeam",
    "Condition",
    "Coverage",
    "Device",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "ExplanationOfBenefit",
    "Goal",
    "Immunization",
    "Location",
    "MedicationDispense",
    "MedicationRequest",
    "Observation",
    "Organization",
    "Patient",
    "Practitioner",
    "Procedure",
];
/// What Express Scripts has of a member.
const CLINICAL: [&str; 4] = ["AllergyIntolerance", "Condition", "Observation", "Procedure"];
/// What Prime Therapeutics has of a member: pharmacy claims, and whom they name.
const PHARMACY: [&str; 5] = ["Coverage", "ExplanationOfBenefit", "Organization", "Patient", "Practitioner"];

/// One patient-access API.
struct Api {
    path: &'static str,
    title: &'static str,
    /// Before the number of a member's id.
    prefix: &'static str,
    payer: &'static str,
    types: &'static [&'static str],
}

const APIS: [Api; 6] = [
    Api {
        path: "/highmark/sandbox-patient-access",
        title: "Patient access, sample members (CARIN Blue Button, US Core)",
        prefix: "sample",
        payer: "Three Rivers Health Plan",
        types: &WHOLE,
    },
    Api {
        path: "/highmark/patient-access",
        title: "Patient access (CARIN Blue Button, US Core)",
        prefix: "member",
        payer: "Three Rivers Health Plan",
        types: &WHOLE,
    },
    Api {
        path: "/highmark/esi-patient-access",
        title: "Patient access of the pharmacy manager (US Core)",
        prefix: "patron",
        payer: "Three Rivers Health Plan",
        types: &CLINICAL,
    },
    Api {
        path: "/bcbs-wyoming/sandbox-patient-access",
        title: "Patient access, sample members (CARIN Blue Button, US Core)",
        prefix: "wy-sample",
        payer: "Medicine Bow Health Plan",
        types: &WHOLE,
    },
    Api {
        path: "/bcbs-wyoming/patient-access",
        title: "Patient access (CARIN Blue Button, US Core)",
        prefix: "wy-member",
        payer: "Medicine Bow Health Plan",
        types: &WHOLE,
    },
    Api {
        path: "/bcbs-wyoming/prime-explanation-of-benefits",
        title: "Pharmacy claims of the pharmacy manager (CARIN Blue Button)",
        prefix: "wy-rx",
        payer: "Medicine Bow Health Plan",
        types: &PHARMACY,
    },
];

/// How many members each API has: few, but never one alone.
fn members(size: usize) -> usize {
    (size / 100).clamp(3, 1_000)
}

/// The patient-access APIs.
pub(super) fn mounts(seed: u64, size: usize) -> impl Iterator<Item = Mount> {
    APIS.iter().map(move |api| api.mount(seed, members(size)))
}

impl Api {
    fn mount(&self, seed: u64, count: usize) -> Mount {
        let mut chart = Chart::new(self.types);
        people::providers(&mut chart, seed, self.payer);
        let members: Vec<Member> = (0..count).map(|number| Member::new(self, seed, number)).collect();
        for member in &members {
            chart.number = member.number;
            people::member(&mut chart, member);
            prescriptions::member(&mut chart, member);
            claims::member(&mut chart, member);
            clinical::member(&mut chart, member);
            care::member(&mut chart, member);
        }
        let ids = members.into_iter().map(|member| member.id).collect();
        Mount::new(self.path, self.title, chart.shelves.into_values().map(Shelf::close).collect()).with_members(ids)
    }
}

/// Where resources are put; those of types that the API does not serve are passed over.
struct Chart {
    shelves: BTreeMap<&'static str, Shelf>,
    /// The member whose resources are being written.
    number: usize,
}

impl Chart {
    fn new(types: &[&'static str]) -> Self {
        Self { shelves: types.iter().map(|kind| (*kind, Shelf::new(kind))).collect(), number: 0 }
    }

    fn serves(&self, kind: &str) -> bool {
        self.shelves.contains_key(kind)
    }

    /// Adds a resource, which says nothing of its type, id and `meta` itself.
    fn put(&mut self, kind: &'static str, id: &str, profile: &str, mut body: Value) {
        let day = (self.number * 7 + id.len()) % 28 + 1;
        let Some(shelf) = self.shelves.get_mut(kind) else { return };
        if let Some(fields) = body.as_object_mut() {
            fields.insert("resourceType".into(), kind.into());
            fields.insert("id".into(), id.into());
            let updated = format!("2026-10-{day:02}T04:30:00.000+00:00");
            fields.insert("meta".into(), json!({ "lastUpdated": updated, "profile": [profile] }));
        }
        shelf.put_text(&body.to_string());
    }
}

/// A member, worked out from the number.
struct Member {
    seed: u64,
    number: usize,
    id: String,
    payer: &'static str,
    family: &'static str,
    given: &'static str,
    woman: bool,
    birth: NaiveDate,
    address: Address,
    /// Drugs taken for years.
    drugs: Vec<Drug>,
}

impl Member {
    fn new(api: &Api, seed: u64, number: usize) -> Self {
        let mut dice = Dice::new(seed, api.prefix, number);
        let woman = dice.one_in(2);
        let given = if woman { dice.pick(&WOMEN) } else { dice.pick(&MEN) };
        let age = u64::try_from(dice.between(6_600, 29_000)).unwrap_or_default();
        let first = dice.below(20);
        Self {
            seed,
            number,
            id: format!("{}-{}", api.prefix, 100_001 + number),
            payer: api.payer,
            family: dice.pick(&FAMILIES),
            given,
            woman,
            birth: day(0) - Days::new(age),
            address: Address::new(&mut dice),
            drugs: (0..3).map(|step| Drug::new(seed, first + step * 3)).collect(),
        }
    }

    fn dice(&self, kind: &str) -> Dice {
        Dice::new(self.seed, &format!("{} {kind}", self.id), self.number)
    }

    /// The member as `subject`, `patient` or `beneficiary`.
    fn reference(&self) -> Value {
        json!({ "reference": format!("Patient/{}", self.id), "display": format!("{} {}", self.given, self.family) })
    }

    /// An id of something of this member.
    fn own(&self, what: &str) -> String {
        format!("{}-{what}", self.id)
    }
}

/// A day, counted from the first of 2025.
fn day(number: u64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 1, 1).unwrap_or_default() + Days::new(number)
}

/// A CodeableConcept.
fn concept(system: &str, code: &str, display: &str) -> Value {
    if display.is_empty() {
        return json!({ "coding": [{ "system": system, "code": code }] });
    }
    json!({ "coding": [{ "system": system, "code": code, "display": display }], "text": display })
}

/// A concept of HL7's own terminology.
fn standard(system: &str, code: &str) -> Value {
    concept(&format!("{TERMINOLOGY}/{system}"), code, "")
}

/// A reference.
fn to(target: &str) -> Value {
    json!({ "reference": target })
}

/// Hundredths as a number.
fn decimal(hundredths: usize) -> Value {
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    text.parse::<serde_json::Number>().map_or(Value::Null, Value::Number)
}

/// A sum of dollars.
fn dollars(cents: usize) -> Value {
    json!({ "value": decimal(cents), "currency": "USD" })
}

/// A UCUM quantity.
fn quantity(value: impl Into<Value>, unit: &str, code: &str) -> Value {
    json!({ "value": value.into(), "unit": unit, "system": UCUM, "code": code })
}
