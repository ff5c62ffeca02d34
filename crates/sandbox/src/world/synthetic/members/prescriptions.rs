//! Drugs that a member takes: what was prescribed, what was dispensed, and the pharmacy claim of every fill.

use chrono::{Days, NaiveDate};
use serde_json::{Value, json};

use super::claims::{amounts, claim, decision, network_status, profile, supporting};
use super::people::{core, practitioner};
use super::{Chart, Member, TERMINOLOGY, UCUM, concept, day, standard, to};
use crate::world::synthetic::formulary::{Drug, NDC, RXNORM};

/// Fills of each drug, a month apart but for those that were forgotten.
const FILLS: usize = 12;
/// Every so many fills one is late, and the drug is not there for a while.
const LATE_EVERY: usize = 5;

/// Prescriptions, fills and pharmacy claims.
pub(super) fn member(chart: &mut Chart, member: &Member) {
    for (number, drug) in member.drugs.iter().enumerate() {
        request(chart, member, number, drug);
        for fill in 0..FILLS {
            let when = filled(member, number, fill);
            dispense(chart, member, number, drug, (fill, when));
            let id = member.own(&format!("rx-{}-{:02}", number + 1, fill + 1));
            chart.put("ExplanationOfBenefit", &id, &profile("Pharmacy"), pharmacy(member, number, drug, (fill, when)));
        }
    }
    let id = member.own("rx-compound");
    chart.put("ExplanationOfBenefit", &id, &profile("Pharmacy"), compound(member));
}

/// The first member never forgets a fill of the first drug.
fn filled(member: &Member, drug: usize, fill: usize) -> NaiveDate {
    let careful = member.number == 0 && drug == 0;
    let late = if careful { 0 } else { fill / LATE_EVERY * 24 };
    day(0) + Days::new(u64::try_from(drug * 4 + fill * 30 + late + 5).unwrap_or_default())
}

fn coded(drug: &Drug) -> Value {
    json!({
        "coding": [{ "system": RXNORM, "code": drug.rxnorm, "display": drug.name }, { "system": NDC, "code": drug.ndc }],
        "text": drug.name,
    })
}

fn dosage() -> Value {
    json!([{ "text": "Take 1 by mouth every day", "timing": { "repeat": { "frequency": 1, "period": 1, "periodUnit": "d" } } }])
}

fn request(chart: &mut Chart, member: &Member, number: usize, drug: &Drug) {
    let mut body = json!({
        "status": "active",
        "intent": "order",
        "category": [standard("medicationrequest-category", "community")],
        "reportedBoolean": false,
        "medicationCodeableConcept": coded(drug),
        "subject": member.reference(),
        "encounter": to(&format!("Encounter/{}", member.own("visit-1"))),
        "authoredOn": day(2),
        "requester": to(&practitioner(member.number)),
        "reasonCode": [concept(super::ICD10, super::claims::DIAGNOSES[number].0, super::claims::DIAGNOSES[number].1)],
        "dosageInstruction": dosage(),
        "dispenseRequest": {
            "numberOfRepeatsAllowed": FILLS - 1,
            "quantity": { "value": 30, "unit": "tablet", "system": UCUM, "code": "{tbl}" },
            "expectedSupplyDuration": { "value": 30, "unit": "days", "system": UCUM, "code": "d" },
        },
    });
    // Some servers put the drug into the resource instead of its code.
    if number == 2
        && let Some(fields) = body.as_object_mut()
    {
        fields.remove("medicationCodeableConcept");
        fields.insert("contained".into(), json!([{ "resourceType": "Medication", "id": "drug", "code": coded(drug) }]));
        fields.insert("medicationReference".into(), json!({ "reference": "#drug", "display": drug.name }));
    }
    chart.put(
        "MedicationRequest",
        &member.own(&format!("prescription-{}", number + 1)),
        &core("medicationrequest"),
        body,
    );
}

fn pharmacy_of(number: usize) -> &'static str {
    if number == 1 { "Organization/pharmacy-2" } else { "Organization/pharmacy-1" }
}

fn dispense(chart: &mut Chart, member: &Member, number: usize, drug: &Drug, (fill, when): (usize, NaiveDate)) {
    let id = member.own(&format!("fill-{}-{:02}", number + 1, fill + 1));
    let body = json!({
        "status": "completed",
        "medicationCodeableConcept": coded(drug),
        "subject": member.reference(),
        "performer": [{ "actor": to(pharmacy_of(number)) }],
        "authorizingPrescription": [to(&format!("MedicationRequest/{}", member.own(&format!("prescription-{}", number + 1))))],
        "type": standard("v3-ActCode", if fill == 0 { "FF" } else { "RF" }),
        "quantity": { "value": 30, "unit": "tablet", "system": UCUM, "code": "{tbl}" },
        "daysSupply": { "value": 30, "unit": "days", "system": UCUM, "code": "d" },
        "whenPrepared": format!("{when}T09:00:00-05:00"),
        "whenHandedOver": when,
        "dosageInstruction": dosage(),
    });
    chart.put("MedicationDispense", &id, &core("medicationdispense"), body);
}

/// A code of the pharmacies' own standards body.
fn ncpdp(system: &str, code: &str) -> (&'static str, Value) {
    ("code", concept(&format!("{TERMINOLOGY}/NCPDP{system}"), code, ""))
}

fn info(drug: &Drug, fill: usize, received: NaiveDate) -> Value {
    let days = |value: usize| ("valueQuantity", json!({ "value": value }));
    // The order says nothing: whoever reads them must go by the category.
    let brand = if drug.brand { "1" } else { "2" };
    json!([
        supporting(7, "dayssupply", days(30)),
        supporting(3, "refillnum", days(fill)),
        supporting(4, "refillsauthorized", days(FILLS - 1)),
        supporting(1, "dawcode", ncpdp("DispensedAsWrittenOrProductSelectionCode", if drug.brand { "1" } else { "0" })),
        supporting(2, "brandgenericindicator", ncpdp("BrandGenericIndicator", brand)),
        supporting(5, "rxorigincode", ncpdp("PrescriptionOriginCode", "3")),
        supporting(6, "compoundcode", ncpdp("CompoundCode", "1")),
        supporting(8, "clmrecvddate", ("timingDate", json!(received))),
    ])
}

fn pharmacy(member: &Member, number: usize, drug: &Drug, (fill, when): (usize, NaiveDate)) -> Value {
    let mut body = claim(member, &format!("RX{}{:02}", number + 1, fill + 1), ("pharmacy", "Pharmacy"), when, when);
    let cost = if drug.brand { 41_250 } else { 1_180 } + number * 95;
    let copay = if drug.brand { 4_500 } else { 500 };
    let charged = cost + cost / 5;
    let sums = [
        ("submitted", charged),
        ("eligible", cost),
        ("drugcost", cost),
        ("discount", charged - cost),
        ("copay", copay),
        ("coinsurance", 0),
        ("deductible", 0),
        ("memberliability", copay),
        ("paidbypatient", copay),
        ("paidtoprovider", cost - copay),
        ("benefit", cost - copay),
        ("priorpayerpaid", 0),
    ];
    body["provider"] = to(pharmacy_of(number));
    body["careTeam"] = json!([{ "sequence": 1, "provider": to(&practitioner(member.number)), "role": prescribing() }]);
    body["supportingInfo"] = info(drug, fill, when);
    let mut adjudication = amounts(&sums);
    // The third drug's second fill comes too early: refused, and filled a month later as another claim.
    let refused = (number, fill) == (2, 1);
    if refused {
        let reason = concept(&format!("{TERMINOLOGY}/NCPDPRejectCode"), "79", "Refill Too Soon");
        adjudication = amounts(&[("submitted", charged), ("noncovered", charged)]);
        adjudication.push(decision("rejectreason", &reason));
        body["outcome"] = "error".into();
        body["disposition"] = "Refill too soon".into();
    }
    if (number, fill) == (1, 3) {
        body["status"] = "cancelled".into();
    }
    body["item"] = json!([{
        "sequence": 1,
        "careTeamSequence": [1],
        "productOrService": { "coding": [{ "system": NDC, "code": drug.ndc, "display": drug.name }] },
        "servicedDate": when,
        "quantity": { "value": 30, "unit": "EA" },
        "net": super::dollars(cost),
        "adjudication": adjudication,
    }]);
    body["adjudication"] = network_status(true);
    body["total"] =
        json!(if refused { amounts(&[("submitted", charged), ("noncovered", charged)]) } else { amounts(&sums) });
    if !refused {
        body["payment"] = json!({ "date": when + Days::new(14), "amount": super::dollars(cost - copay) });
    }
    body
}

fn prescribing() -> Value {
    concept(&format!("{}/CodeSystem/C4BBClaimCareTeamRole", super::CARIN), "prescribing", "Prescribing provider")
}

/// Two drugs made into one: the item says so, and its details name the drugs.
fn compound(member: &Member) -> Value {
    let when = day(200);
    let mut body = claim(member, "RXC", ("pharmacy", "Pharmacy"), when, when);
    let sums = [
        ("submitted", 8_400),
        ("drugcost", 7_000),
        ("copay", 2_500),
        ("memberliability", 2_500),
        ("paidtoprovider", 4_500),
    ];
    body["provider"] = to("Organization/pharmacy-1");
    body["careTeam"] = json!([{ "sequence": 1, "provider": to(&practitioner(member.number)), "role": prescribing() }]);
    let days = ("valueQuantity", json!({ "value": 10 }));
    body["supportingInfo"] =
        json!([supporting(1, "compoundcode", ncpdp("CompoundCode", "2")), supporting(2, "dayssupply", days)]);
    let detail: Vec<Value> = (member.drugs.iter().take(2).enumerate())
        .map(|(number, drug)| {
            json!({
                "sequence": number + 1,
                "productOrService": { "coding": [{ "system": NDC, "code": drug.ndc }] },
                "quantity": { "value": 5, "unit": "GM" },
            })
        })
        .collect();
    body["item"] = json!([{
        "sequence": 1,
        "productOrService": concept(&format!("{}/CodeSystem/C4BBCompoundLiteral", super::CARIN), "compound", "Compound"),
        "servicedDate": when,
        "quantity": { "value": 10, "unit": "GM" },
        "detail": detail,
        "adjudication": amounts(&sums),
    }]);
    body["adjudication"] = network_status(true);
    body["total"] = json!(amounts(&sums));
    body
}
