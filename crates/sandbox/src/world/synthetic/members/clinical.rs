//! Clinical records, in the shapes of US Core.

use chrono::Days;
use serde_json::{Value, json};

use super::claims::{DIAGNOSES, visit, visits};
use super::people::{core, practitioner};
use super::{Chart, ICD10, LOINC, Member, SNOMED, TERMINOLOGY, concept, day, decimal, quantity, standard, to};

/// Everything that practitioners wrote down.
pub(super) fn member(chart: &mut Chart, member: &Member) {
    conditions(chart, member);
    allergies(chart, member);
    encounters(chart, member);
    vital_signs(chart, member);
    laboratory(chart, member);
    social_history(chart, member);
    procedures(chart, member);
    immunizations(chart, member);
    documents(chart, member);
}

fn category(system: &str, code: &str) -> Value {
    json!([standard(system, code)])
}

fn conditions(chart: &mut Chart, member: &Member) {
    for (number, drug) in member.drugs.iter().enumerate() {
        let (code, display) = DIAGNOSES[number];
        let over = number == 2;
        let mut body = json!({
            "clinicalStatus": standard("condition-clinical", if over { "resolved" } else { "active" }),
            "verificationStatus": standard("condition-ver-status", "confirmed"),
            "category": category("condition-category", "problem-list-item"),
            "severity": concept(SNOMED, "24484000", "Severe"),
            "code": { "coding": [{ "system": SNOMED, "code": "38341003" }, { "system": ICD10, "code": code, "display": display }], "text": display },
            "subject": member.reference(),
            "recordedDate": "2024-03-05",
            "recorder": to(&practitioner(member.number)),
            "note": [{ "text": format!("Treated with {}.", drug.name) }],
        });
        // As precise as somebody remembered.
        match number {
            0 => body["onsetDateTime"] = "2016".into(),
            1 => body["onsetDateTime"] = "2019-07".into(),
            _ => {
                body["onsetPeriod"] = json!({ "start": "2020-01-15", "end": "2020-02-01" });
                body["abatementDateTime"] = "2024-11-30".into();
            }
        }
        if chart.serves("Encounter") {
            body["encounter"] = to(&format!("Encounter/{}", member.own("visit-1")));
        }
        chart.put("Condition", &member.own(&format!("condition-{}", number + 1)), &core("condition"), body);
    }
}

fn allergies(chart: &mut Chart, member: &Member) {
    let allergic = member.number % 3 != 2;
    let mut body = json!({
        "clinicalStatus": standard("allergyintolerance-clinical", "active"),
        "verificationStatus": standard("allergyintolerance-verification", "confirmed"),
        "patient": member.reference(),
        "recordedDate": "2021-06-08",
        "code": concept(SNOMED, "716186003", "No known allergy"),
    });
    if allergic {
        body["type"] = "allergy".into();
        body["category"] = json!(["medication"]);
        body["criticality"] = "high".into();
        body["code"] = concept("http://www.nlm.nih.gov/research/umls/rxnorm", "7980", "penicillin G");
        body["onsetDateTime"] = "1998".into();
        body["reaction"] = json!([{
            "manifestation": [concept(SNOMED, "247472004", "Hives"), concept(SNOMED, "422587007", "Nausea")],
            "severity": "moderate",
        }]);
    }
    chart.put("AllergyIntolerance", &member.own("allergy"), &core("allergyintolerance"), body);
}

fn encounters(chart: &mut Chart, member: &Member) {
    for number in visits() {
        let when = visit(member, number);
        let (code, display) = DIAGNOSES[(member.number + number) % DIAGNOSES.len()];
        let body = json!({
            "status": "finished",
            "class": { "system": format!("{TERMINOLOGY}/v3-ActCode"), "code": "AMB", "display": "ambulatory" },
            "type": [concept(SNOMED, "185349003", "Encounter for check up")],
            "serviceType": concept(&format!("{TERMINOLOGY}/service-type"), "124", "General Practice"),
            "subject": member.reference(),
            "participant": [{ "individual": to(&practitioner(member.number + number)) }],
            "period": { "start": format!("{when}T09:00:00-05:00"), "end": format!("{when}T09:25:00-05:00") },
            "reasonCode": [concept(ICD10, code, display)],
            "hospitalization": { "dischargeDisposition": standard("discharge-disposition", "home") },
            "location": [{ "location": { "reference": "Location/clinic-elm", "display": "Elm Street Office" } }],
            "serviceProvider": to("Organization/clinic"),
        });
        chart.put("Encounter", &member.own(&format!("visit-{}", number + 1)), &core("encounter"), body);
    }
}

/// What observations have in common.
fn observation(member: &Member, kind: &str, code: (&str, &str), when: &str) -> Value {
    json!({
        "status": "final",
        "category": category("observation-category", kind),
        "code": concept(LOINC, code.0, code.1),
        "subject": member.reference(),
        "effectiveDateTime": when,
    })
}

fn vital_signs(chart: &mut Chart, member: &Member) {
    for number in visits() {
        let mut dice = member.dice(&format!("vital signs {number}"));
        let when = visit(member, number).to_string();
        let mut body = observation(member, "vital-signs", ("85354-9", "Blood pressure panel"), &when);
        if chart.serves("Encounter") {
            body["encounter"] = to(&format!("Encounter/{}", member.own(&format!("visit-{}", number + 1))));
        }
        let pressure = |code: &str, name: &str, value: usize| json!({ "code": concept(LOINC, code, name), "valueQuantity": quantity(value, "mmHg", "mm[Hg]") });
        let mut components = vec![pressure("8480-6", "Systolic blood pressure", dice.between(108, 162))];
        components.push(if number == 3 {
            // The cuff was off before the second number was read.
            json!({ "code": concept(LOINC, "8462-4", "Diastolic blood pressure"), "dataAbsentReason": standard("data-absent-reason", "not-performed") })
        } else {
            pressure("8462-4", "Diastolic blood pressure", dice.between(62, 98))
        });
        body["component"] = json!(components);
        chart.put("Observation", &member.own(&format!("pressure-{}", number + 1)), &core("blood-pressure"), body);
        let mut weight =
            observation(member, "vital-signs", ("29463-7", "Body weight"), &format!("{when}T09:05:00-05:00"));
        weight["valueQuantity"] = quantity(decimal(dice.between(5_200, 11_800)), "kg", "kg");
        chart.put("Observation", &member.own(&format!("weight-{}", number + 1)), &core("body-weight"), weight);
    }
}

fn laboratory(chart: &mut Chart, member: &Member) {
    let mut dice = member.dice("laboratory");
    let when = visit(member, 1);
    let mut results = Vec::new();
    for (key, code, unit, range) in [
        ("a1c", ("4548-4", "Hemoglobin A1c"), ("%", "%"), (400, 570)),
        ("ldl", ("13457-7", "LDL cholesterol"), ("mg/dL", "mg/dL"), (0, 10_000)),
        ("creatinine", ("2160-0", "Creatinine"), ("mg/dL", "mg/dL"), (60, 120)),
    ] {
        let value = dice.between(range.0 + range.1 / 2, range.1 * 3 / 2);
        let mut body = observation(member, "laboratory", code, &format!("{when}T10:15:00-05:00"));
        body["issued"] = format!("{}T06:00:00.000Z", when + Days::new(1)).into();
        body["valueQuantity"] = quantity(decimal(value), unit.0, unit.1);
        body["interpretation"] =
            json!([standard("v3-ObservationInterpretation", if value > range.1 { "H" } else { "N" })]);
        body["referenceRange"] =
            json!([{ "low": { "value": decimal(range.0) }, "high": { "value": decimal(range.1) }, "text": "adults" }]);
        body["performer"] = json!([to("Organization/laboratory")]);
        chart.put("Observation", &member.own(key), &core("observation-lab"), body);
        results.push(to(&format!("Observation/{}", member.own(key))));
    }
    let mut culture =
        observation(member, "laboratory", ("630-4", "Bacteria identified in urine by culture"), &when.to_string());
    culture["valueString"] = "No growth after 48 hours".into();
    chart.put("Observation", &member.own("culture"), &core("observation-lab"), culture);
    let report = json!({
        "status": "final",
        "category": category("v2-0074", "LAB"),
        "code": concept(LOINC, "24323-8", "Comprehensive metabolic panel"),
        "subject": member.reference(),
        "encounter": to(&format!("Encounter/{}", member.own("visit-2"))),
        "effectiveDateTime": format!("{when}T10:15:00-05:00"),
        "issued": format!("{}T06:00:00.000Z", when + Days::new(1)),
        "performer": [to("Organization/laboratory")],
        "result": results,
        "conclusion": "Follow up in six months",
    });
    chart.put("DiagnosticReport", &member.own("report-lab"), &core("diagnosticreport-lab"), report);
    let letter = json!({
        "status": "final",
        "category": [concept(LOINC, "LP29684-5", "Radiology")],
        "code": concept(LOINC, "36643-5", "Chest X-ray 2 views"),
        "subject": member.reference(),
        "effectivePeriod": { "start": when, "end": when },
        "issued": format!("{}T15:00:00Z", when + Days::new(1)),
        "performer": [to(&practitioner(member.number + 4))],
        "presentedForm": [{ "contentType": "application/pdf", "url": format!("Binary/{}", member.own("x-ray")) }],
    });
    chart.put("DiagnosticReport", &member.own("report-x-ray"), &core("diagnosticreport-note"), letter);
}

fn social_history(chart: &mut Chart, member: &Member) {
    let mut smoking = observation(member, "social-history", ("72166-2", "Tobacco smoking status"), "2025-02");
    smoking["valueCodeableConcept"] = concept(SNOMED, "266919005", "Never smoked tobacco");
    chart.put("Observation", &member.own("smoking"), &core("smokingstatus"), smoking);
    let mut score = observation(member, "survey", ("44261-6", "PHQ-9 total score"), "2025-02-11");
    score["valueInteger"] = member.dice("survey").below(20).into();
    chart.put("Observation", &member.own("survey"), &core("simple-observation"), score);
    let mut advance = observation(member, "social-history", ("75320-2", "Advance directive"), "2025-02-11");
    advance["valueBoolean"] = member.number.is_multiple_of(2).into();
    chart.put("Observation", &member.own("directive"), &core("simple-observation"), advance);
    let mut last_meal = observation(member, "survey", ("49541-6", "Fasting status"), "2025-02-11");
    if let Some(fields) = last_meal.as_object_mut() {
        fields.remove("effectiveDateTime");
    }
    last_meal["effectivePeriod"] = json!({ "start": "2025-02-11T07:00:00-05:00", "end": "2025-02-11T09:00:00-05:00" });
    last_meal["valueDateTime"] = "2025-02-10T19:30:00-05:00".into();
    chart.put("Observation", &member.own("fasting"), &core("simple-observation"), last_meal);
    let mut untold = observation(member, "social-history", ("76690-7", "Sexual orientation"), "2025");
    untold["dataAbsentReason"] = standard("data-absent-reason", "asked-declined");
    chart.put("Observation", &member.own("untold"), &core("simple-observation"), untold);
}

fn procedures(chart: &mut Chart, member: &Member) {
    let when = visit(member, 2) + Days::new(30);
    let mut colonoscopy = json!({
        "status": "completed",
        "category": concept(SNOMED, "103693007", "Diagnostic procedure"),
        "code": concept(SNOMED, "73761001", "Colonoscopy"),
        "subject": member.reference(),
        "performedPeriod": { "start": format!("{when}T08:00:00-05:00"), "end": format!("{when}T08:40:00-05:00") },
        "reasonCode": [concept(ICD10, "Z12.11", "Encounter for screening for malignant neoplasm of colon")],
    });
    if chart.serves("Location") {
        colonoscopy["performer"] = json!([{ "actor": to(&practitioner(member.number + 3)) }]);
        colonoscopy["location"] = to("Location/hospital-main");
        colonoscopy["encounter"] = to(&format!("Encounter/{}", member.own("visit-3")));
    }
    chart.put("Procedure", &member.own("colonoscopy"), &core("procedure"), colonoscopy);
    let spirometry = json!({
        "status": "completed",
        "code": concept(SNOMED, "127783003", "Spirometry"),
        "subject": member.reference(),
        "performedDateTime": visit(member, 0),
    });
    chart.put("Procedure", &member.own("spirometry"), &core("procedure"), spirometry);
}

fn immunizations(chart: &mut Chart, member: &Member) {
    let cvx = |code: &str, display: &str| concept("http://hl7.org/fhir/sid/cvx", code, display);
    let flu = json!({
        "status": "completed",
        "vaccineCode": cvx("150", "Influenza, injectable, quadrivalent, preservative free"),
        "patient": member.reference(),
        "encounter": to(&format!("Encounter/{}", member.own("visit-3"))),
        "occurrenceDateTime": day(280 + u64::try_from(member.number % 20).unwrap_or_default()),
        "primarySource": true,
        "lotNumber": format!("FL{:04}", 1_000 + member.number),
        "location": to("Location/clinic-elm"),
        "performer": [{ "actor": to(&practitioner(member.number)) }],
    });
    chart.put("Immunization", &member.own("flu"), &core("immunization"), flu);
    let refused = json!({
        "status": "not-done",
        "statusReason": standard("v3-ActReason", "PATOBJ"),
        "vaccineCode": cvx("187", "Zoster recombinant"),
        "patient": member.reference(),
        "occurrenceDateTime": day(281),
    });
    chart.put("Immunization", &member.own("zoster"), &core("immunization"), refused);
    let remembered = json!({
        "status": "completed",
        "vaccineCode": cvx("115", "Tdap"),
        "patient": member.reference(),
        "occurrenceString": "about ten years ago",
        "primarySource": false,
    });
    chart.put("Immunization", &member.own("tdap"), &core("immunization"), remembered);
}

fn documents(chart: &mut Chart, member: &Member) {
    let when = visit(member, 0);
    let summary = json!({
        "status": "current",
        "docStatus": "final",
        "type": concept(LOINC, "34133-9", "Summary of episode note"),
        "category": [concept(&core("documentreference-category"), "clinical-note", "Clinical Note")],
        "subject": member.reference(),
        "date": format!("{when}T15:30:00.000-05:00"),
        "author": [to(&practitioner(member.number))],
        "description": "Summary of the visit",
        "content": [{ "attachment": { "contentType": "application/xml", "url": format!("Binary/{}", member.own("summary")), "size": 48_213, "title": "Visit summary" } }],
        "context": { "encounter": [to(&format!("Encounter/{}", member.own("visit-1")))], "period": { "start": when, "end": when } },
    });
    chart.put("DocumentReference", &member.own("summary"), &core("documentreference"), summary);
}
