//! Claims of practitioners and hospitals, as CARIN Blue Button has them.

use chrono::{Days, NaiveDate};
use serde_json::{Value, json};

use super::people::practitioner;
use super::{CARIN, Chart, ICD10, Member, TERMINOLOGY, concept, day, dollars, standard, to};

/// Office visits of a member with their claims.
const VISITS: usize = 4;
/// Diagnoses: ICD-10-CM code and display.
pub(super) const DIAGNOSES: [(&str, &str); 5] = [
    ("I10", "Essential (primary) hypertension"),
    ("E11.9", "Type 2 diabetes mellitus without complications"),
    ("E78.5", "Hyperlipidemia, unspecified"),
    ("J45.909", "Unspecified asthma, uncomplicated"),
    ("M54.50", "Low back pain, unspecified"),
];
const VISIT_CODES: [&str; 3] = ["99213", "99214", "99396"];

/// The day of a member's visit.
pub(super) fn visit(member: &Member, number: usize) -> NaiveDate {
    day(0) + Days::new(u64::try_from(number * 140 + member.number * 11 + 9).unwrap_or_default())
}

/// The visits of a member.
pub(super) fn visits() -> std::ops::Range<usize> {
    0..VISITS
}

/// The member's claims other than those of pharmacies.
pub(super) fn member(chart: &mut Chart, member: &Member) {
    // Who has no encounters has no claims of practitioners either: a pharmacy manager.
    if !chart.serves("Encounter") {
        return;
    }
    for number in visits() {
        chart.put(
            "ExplanationOfBenefit",
            &member.own(&format!("claim-{}", number + 1)),
            &profile("Professional-NonClinician"),
            professional(member, number),
        );
    }
    let outpatient = member.number % 2 == 1;
    let name = if outpatient { "Outpatient-Institutional" } else { "Inpatient-Institutional" };
    chart.put("ExplanationOfBenefit", &member.own("hospital-claim"), &profile(name), institutional(member, outpatient));
}

pub(super) fn profile(name: &str) -> String {
    format!("{CARIN}/StructureDefinition/C4BB-ExplanationOfBenefit-{name}")
}

/// What all claims have.
pub(super) fn claim(member: &Member, number: &str, kind: (&str, &str), from: NaiveDate, to_day: NaiveDate) -> Value {
    json!({
        "identifier": [{
            "type": { "coding": [{ "system": format!("{CARIN}/CodeSystem/C4BBIdentifierType"), "code": "uc" }] },
            "system": "https://payer.example/claim",
            "value": format!("{number}-{:06}", 100_001 + member.number),
        }],
        "status": "active",
        "type": concept(&format!("{TERMINOLOGY}/claim-type"), kind.0, kind.1),
        "use": "claim",
        "patient": member.reference(),
        "billablePeriod": { "start": from, "end": to_day },
        "created": format!("{}T09:14:11Z", to_day + Days::new(3)),
        "insurer": { "reference": "Organization/payer", "display": member.payer },
        "outcome": "complete",
        "insurance": [{ "focal": true, "coverage": to(&format!("Coverage/{}", member.own("coverage"))) }],
    })
}

/// A category of an adjudication: of HL7's own code system or of the guide's.
fn category(code: &str) -> Value {
    match code {
        "submitted" | "copay" | "eligible" | "deductible" | "benefit" => standard("adjudication", code),
        "billingnetworkstatus" | "benefitpaymentstatus" | "rejectreason" => {
            concept(&format!("{CARIN}/CodeSystem/C4BBAdjudicationDiscriminator"), code, "")
        }
        _ => concept(&format!("{CARIN}/CodeSystem/C4BBAdjudication"), code, ""),
    }
}

/// Amounts by category.
pub(super) fn amounts(list: &[(&str, usize)]) -> Vec<Value> {
    list.iter().map(|(code, cents)| json!({ "category": category(code), "amount": dollars(*cents) })).collect()
}

/// A decision without an amount.
pub(super) fn decision(code: &str, reason: &Value) -> Value {
    json!({ "category": category(code), "reason": reason })
}

/// In or out of network, paid as such or otherwise.
pub(super) fn network_status(in_network: bool) -> Value {
    let status = if in_network { "innetwork" } else { "outofnetwork" };
    let reason = concept(&format!("{CARIN}/CodeSystem/C4BBPayerAdjudicationStatus"), status, "");
    json!([decision("billingnetworkstatus", &reason), decision("benefitpaymentstatus", &reason)])
}

/// An element of `supportingInfo`: `value` names and holds its value.
pub(super) fn supporting(sequence: usize, code: &str, value: (&str, Value)) -> Value {
    let category = concept(&format!("{CARIN}/CodeSystem/C4BBSupportingInfoType"), code, "");
    let mut info = json!({ "sequence": sequence, "category": category });
    info[value.0] = value.1;
    info
}

fn diagnosis(sequence: usize, (code, display): (&str, &str), kind: &str) -> Value {
    json!({
        "sequence": sequence,
        "diagnosisCodeableConcept": concept(ICD10, code, display),
        "type": [standard("ex-diagnosistype", kind)],
    })
}

fn professional(member: &Member, number: usize) -> Value {
    let when = visit(member, number);
    let doctor = practitioner(member.number + number);
    // What a server was loaded with may name the version of a resource.
    let named = if number == 1 { format!("{doctor}/_history/3") } else { doctor };
    let (submitted, copay) = (14_500 + number * 2_250, 2_500);
    let allowed = submitted * 6 / 10;
    let sums = [
        ("submitted", submitted),
        ("eligible", allowed),
        ("copay", copay),
        ("deductible", if number == 0 { 3_000 } else { 0 }),
        ("noncovered", 0),
        ("discount", submitted - allowed),
        ("memberliability", copay),
        ("paidtoprovider", allowed - copay),
        ("benefit", allowed - copay),
    ];
    let in_network = number != 3;
    let mut body = claim(member, &format!("PC{}", number + 1), ("professional", "Professional"), when, when);
    body["provider"] = to("Organization/clinic");
    body["facility"] = to("Location/clinic-elm");
    body["careTeam"] = json!([
        { "sequence": 1, "provider": to(&named), "role": standard("claimcareteamrole", "rendering") },
        {
            "sequence": 2,
            "provider": { "identifier": { "system": "http://hl7.org/fhir/sid/us-npi", "value": "1234567893" }, "display": "Referred by letter" },
            "role": concept(&format!("{CARIN}/CodeSystem/C4BBClaimCareTeamRole"), "referring", "Referring"),
        },
    ]);
    let second = DIAGNOSES[(member.number + number + 1) % DIAGNOSES.len()];
    body["diagnosis"] = json!([
        diagnosis(1, DIAGNOSES[(member.number + number) % DIAGNOSES.len()], "principal"),
        { "sequence": 2, "diagnosisCodeableConcept": concept(ICD10, second.0, second.1),
          "type": [concept(&format!("{CARIN}/CodeSystem/C4BBClaimDiagnosisType"), "secondary", "Secondary")] },
    ]);
    body["supportingInfo"] = json!([
        supporting(1, "clmrecvddate", ("timingDate", json!(when + Days::new(2)))),
        supporting(
            2,
            "billingnetworkcontractingstatus",
            ("code", concept(&format!("{CARIN}/CodeSystem/C4BBPayerAdjudicationStatus"), "contracted", ""))
        ),
    ]);
    body["item"] = json!([{
        "sequence": 1,
        "careTeamSequence": [1],
        "diagnosisSequence": [1, 2],
        "productOrService": concept("http://www.ama-assn.org/go/cpt", VISIT_CODES[number % VISIT_CODES.len()], ""),
        "modifier": [concept("http://www.ama-assn.org/go/cpt", "25", "")],
        "servicedDate": when,
        "locationCodeableConcept": concept("https://www.cms.gov/Medicare/Coding/place-of-service-codes/Place_of_Service_Code_Set", "11", "Office"),
        "quantity": { "value": 1 },
        "net": dollars(allowed),
        "adjudication": amounts(&sums),
    }]);
    body["adjudication"] = network_status(in_network);
    body["total"] = json!(amounts(&sums));
    body["payment"] = json!({ "type": standard("ex-paymenttype", "complete"), "date": when + Days::new(20), "amount": dollars(allowed - copay) });
    body
}

fn institutional(member: &Member, outpatient: bool) -> Value {
    let from = visit(member, 2) + Days::new(30);
    let until = if outpatient { from } else { from + Days::new(3) };
    let mut body = claim(member, "HC1", ("institutional", "Institutional"), from, until);
    let kind = if outpatient { ("outpatient", "Outpatient") } else { ("inpatient", "Inpatient") };
    body["subType"] = concept(&format!("{CARIN}/CodeSystem/C4BBInstitutionalClaimSubType"), kind.0, kind.1);
    body["provider"] = to("Organization/hospital");
    body["facility"] = to("Location/hospital-main");
    body["careTeam"] = json!([{
        "sequence": 1,
        "provider": to(&practitioner(member.number + 3)),
        "responsible": true,
        "role": concept(&format!("{CARIN}/CodeSystem/C4BBClaimCareTeamRole"), "attending", "Attending"),
        "qualification": concept("http://nucc.org/provider-taxonomy", "207R00000X", "Internal Medicine Physician"),
    }]);
    let nubc = |system: &str, code: &str| concept(&format!("https://www.nubc.org/CodeSystem/{system}"), code, "");
    let mut info = vec![
        supporting(1, "clmrecvddate", ("timingDate", json!(until + Days::new(4)))),
        supporting(2, "typeofbill", ("code", nubc("TypeOfBill", if outpatient { "131" } else { "111" }))),
        supporting(3, "patientaccountnumber", ("valueString", json!(format!("AC-{}", member.id)))),
        supporting(4, "discharge-status", ("code", nubc("PatDischargeStatus", "01"))),
    ];
    if !outpatient {
        info.push(supporting(5, "admissionperiod", ("timingPeriod", json!({ "start": from, "end": until }))));
        info.push(supporting(6, "admtype", ("code", nubc("PriorityTypeOfAdmitOrVisit", "1"))));
        info.push(supporting(7, "drg", ("code", concept("https://www.cms.gov/Medicare/Medicare-Fee-for-Service-Payment/AcuteInpatientPPS/MS-DRG-Classifications-and-Software", "470", ""))));
        let admitting = json!({
            "sequence": 2,
            "diagnosisCodeableConcept": concept(ICD10, "M17.11", "Unilateral primary osteoarthritis, right knee"),
            "type": [standard("ex-diagnosistype", "admitting")],
            "onAdmission": concept("https://www.nubc.org/CodeSystem/PresentOnAdmission", "Y", "Yes"),
        });
        body["diagnosis"] =
            json!([diagnosis(1, ("M17.11", "Unilateral primary osteoarthritis, right knee"), "principal"), admitting]);
        body["procedure"] = json!([{
            "sequence": 1,
            "type": [concept(&format!("{CARIN}/CodeSystem/C4BBClaimProcedureType"), "principal", "Principal")],
            "date": from,
            "procedureCodeableConcept": concept("http://www.cms.gov/Medicare/Coding/ICD10", "0SRC0J9", ""),
        }]);
    } else {
        body["diagnosis"] =
            json!([diagnosis(1, ("Z12.11", "Encounter for screening for malignant neoplasm of colon"), "principal")]);
    }
    body["supportingInfo"] = json!(info);
    let submitted = if outpatient { 182_000 } else { 2_465_000 };
    let allowed = submitted / 2;
    let liability = allowed / 10;
    let sums = [
        ("submitted", submitted),
        ("eligible", allowed),
        ("coinsurance", liability),
        ("memberliability", liability),
        ("paidtoprovider", allowed - liability),
        ("paidbypatient", 0),
    ];
    body["item"] = json!([
        { "sequence": 1, "revenue": nubc("RevenueCodes", "0360"), "productOrService": not_applicable(), "servicedPeriod": { "start": from, "end": until },
          "quantity": { "value": 1, "unit": "stay" }, "adjudication": amounts(&sums) },
        { "sequence": 2, "revenue": nubc("RevenueCodes", "0250"), "productOrService": not_applicable(), "servicedDate": from,
          "adjudication": amounts(&[("submitted", 0), ("noncovered", 0)]) },
    ]);
    body["adjudication"] = network_status(true);
    body["total"] = json!(amounts(&sums));
    body
}

fn not_applicable() -> Value {
    concept(&format!("{TERMINOLOGY}/data-absent-reason"), "not-applicable", "Not Applicable")
}
