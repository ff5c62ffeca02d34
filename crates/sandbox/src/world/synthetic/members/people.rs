//! Who is insured, by whom, and who treats them.

use serde_json::{Value, json};

use super::{CARIN, Chart, Member, SNOMED, TERMINOLOGY, US_CORE, concept, standard, to};
use crate::world::synthetic::dice::Dice;
use crate::world::synthetic::elements::{ID_TYPE, NPI, NUCC, NpiRange, npi, phone};
use crate::world::synthetic::vocabulary::{FAMILIES, MEN, SPECIALTIES, WOMEN};

/// Practitioners of an API; the last of them treats nobody.
const PRACTITIONERS: usize = 7;

/// Organizations of an API: key, name, type.
const ORGANIZATIONS: [(&str, &str, (&str, &str)); 6] = [
    ("payer", "", ("pay", "Payer")),
    ("hospital", "Ridgeview Hospital", ("prov", "Healthcare Provider")),
    ("clinic", "Elm Street Family Practice", ("prov", "Healthcare Provider")),
    ("laboratory", "Clearwater Laboratory", ("prov", "Healthcare Provider")),
    ("pharmacy-1", "Corner Apothecary", ("prov", "Healthcare Provider")),
    ("pharmacy-2", "GreenLeaf Pharmacy by Mail", ("prov", "Healthcare Provider")),
];

/// Places of an API: key, name, the organization that runs it.
const LOCATIONS: [(&str, &str, &str); 2] =
    [("hospital-main", "Ridgeview Hospital, Main Campus", "hospital"), ("clinic-elm", "Elm Street Office", "clinic")];

/// A practitioner who treats members.
pub(super) fn practitioner(number: usize) -> String {
    format!("Practitioner/practitioner-{}", number % (PRACTITIONERS - 1) + 1)
}

/// Practitioners, organizations and locations.
pub(super) fn providers(chart: &mut Chart, seed: u64, payer: &str) {
    for number in 0..PRACTITIONERS {
        let mut dice = Dice::new(seed, "treating", number);
        let given = if number.is_multiple_of(2) { dice.pick(&WOMEN) } else { dice.pick(&MEN) };
        let specialty = dice.pick(&SPECIALTIES);
        let body = json!({
            "identifier": [{ "system": NPI, "value": npi(NpiRange::Practitioner, 900_000 + number) }],
            "active": true,
            "name": [{ "family": dice.pick(&FAMILIES), "given": [given], "suffix": [specialty.degree.0] }],
            "telecom": [{ "system": "phone", "value": phone(&mut dice), "use": "work" }],
            "gender": if number.is_multiple_of(2) { "female" } else { "male" },
            "qualification": [{ "code": concept(NUCC, specialty.code, specialty.display) }],
        });
        chart.put("Practitioner", &format!("practitioner-{}", number + 1), &core("practitioner"), body);
    }
    for (number, (key, name, kind)) in ORGANIZATIONS.iter().enumerate() {
        let mut dice = Dice::new(seed, "organization", number);
        let mut body = json!({
            "identifier": [{ "system": NPI, "value": npi(NpiRange::Organization, 900_000 + number) }],
            "active": true,
            "type": [concept(&format!("{TERMINOLOGY}/organization-type"), kind.0, kind.1)],
            "name": if name.is_empty() { payer } else { name },
            "telecom": [{ "system": "phone", "value": phone(&mut dice) }],
            "address": [address(&Member::new(&super::APIS[0], seed, number))],
        });
        if name.is_empty() {
            body["identifier"] = json!([{ "system": "urn:oid:2.16.840.1.113883.6.300", "value": "00000" }]);
        }
        chart.put("Organization", key, &core("organization"), body);
    }
    for (number, (key, name, owner)) in LOCATIONS.iter().enumerate() {
        let body = json!({
            "status": "active",
            "name": name,
            "address": address(&Member::new(&super::APIS[0], seed, number)),
            "managingOrganization": to(&format!("Organization/{owner}")),
        });
        chart.put("Location", key, &core("location"), body);
    }
}

/// The URL of a US Core profile.
pub(super) fn core(name: &str) -> String {
    format!("{US_CORE}/us-core-{name}")
}

fn address(member: &Member) -> Value {
    let place = &member.address;
    json!({
        "use": "home",
        "line": [place.line],
        "city": place.city.name,
        "state": place.city.state,
        "postalCode": place.postal_code,
    })
}

/// The member and the member's coverage.
pub(super) fn member(chart: &mut Chart, member: &Member) {
    chart.put("Patient", &member.id, &format!("{CARIN}/StructureDefinition/C4BB-Patient"), patient(member));
    let profile = format!("{CARIN}/StructureDefinition/C4BB-Coverage");
    chart.put("Coverage", &member.own("coverage"), &profile, coverage(member, true));
    if member.number.is_multiple_of(2) {
        chart.put("Coverage", &member.own("coverage-before"), &profile, coverage(member, false));
    }
}

fn patient(member: &Member) -> Value {
    let mut dice = member.dice("patient");
    let number = 700_000_000 + member.number * 137;
    let identifier = |system: &str, code: &str, value: String| json!({ "type": { "coding": [{ "system": system, "code": code }] }, "system": "https://payer.example/member", "value": value });
    let (race, ethnicity) =
        ([("2106-3", "White"), ("2054-5", "Black or African American"), ("2028-9", "Asian")], "2186-5");
    let (race, race_text) = race[member.number % race.len()];
    let omb = |url: &str, code: &str, text: &str| {
        json!({ "url": url, "extension": [
            { "url": "ombCategory", "valueCoding": { "system": "urn:oid:2.16.840.1.113883.6.238", "code": code, "display": text } },
            { "url": "text", "valueString": text },
        ] })
    };
    let mut body = json!({
        "extension": [
            omb(&core("race"), race, race_text),
            omb(&core("ethnicity"), ethnicity, "Not Hispanic or Latino"),
            { "url": core("birthsex"), "valueCode": if member.woman { "F" } else { "M" } },
        ],
        "identifier": [
            identifier(ID_TYPE, "MB", number.to_string()),
            identifier(&format!("{CARIN}/CodeSystem/C4BBIdentifierType"), "um", format!("U{number}")),
            identifier(ID_TYPE, "MR", format!("MR-{}", member.number + 1)),
        ],
        "active": true,
        "name": [{ "use": "official", "text": format!("{} {}", member.given, member.family), "family": member.family, "given": [member.given] }],
        "telecom": [
            { "system": "phone", "value": phone(&mut dice), "use": "home" },
            { "system": "email", "value": format!("{}@mail.example", member.id) },
        ],
        "gender": if member.woman { "female" } else { "male" },
        "birthDate": member.birth,
        "address": [address(member)],
        "maritalStatus": standard("v3-MaritalStatus", "M"),
        "communication": [{ "language": concept("urn:ietf:bcp:47", "en", "English"), "preferred": true }],
        "managingOrganization": to("Organization/payer"),
    });
    match member.number % 5 {
        1 => body["deceasedBoolean"] = false.into(),
        4 => body["deceasedDateTime"] = "2026-09-14".into(),
        _ => {}
    }
    body
}

fn coverage(member: &Member, current: bool) -> Value {
    let period =
        if current { json!({ "start": "2025-01-01" }) } else { json!({ "start": "2022", "end": "2024-12-31" }) };
    let class = |kind: &str, value: &str, name: &str| json!({ "type": standard("coverage-class", kind), "value": value, "name": name });
    json!({
        "status": if current { "active" } else { "cancelled" },
        "type": concept("https://nahdo.org/sopt", "5", "Private health insurance"),
        "subscriberId": format!("XJB{}", 700_000_000 + member.number * 137),
        "subscriber": member.reference(),
        "policyHolder": member.reference(),
        "beneficiary": member.reference(),
        "dependent": "00",
        "relationship": concept(&format!("{TERMINOLOGY}/subscriber-relationship"), "self", "Self"),
        "period": period,
        "payor": [{ "reference": "Organization/payer", "display": member.payer }],
        "class": [class("group", "GRP-0417", "Ridge Tool Works"), class("plan", "PPO-500", "Preferred PPO 500")],
        "order": 1,
        "network": "Three Rivers Preferred PPO",
    })
}

/// A practitioner's role in a claim or a team.
pub(super) fn role(code: &str, display: &str) -> Value {
    concept(SNOMED, code, display)
}
