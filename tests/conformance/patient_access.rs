//! The tables about persons over CARIN Blue Button's, US Core's and Inferno's examples, against SQL written by hand.

use crate::tables::{Comparison, compare};

/// Columns that a coded element becomes, where it stands at `path`.
macro_rules! simple {
    ($table:literal, $type:literal, $columns:literal, $sql:literal) => {
        Comparison {
            table: $table,
            ours: concat!("SELECT ", $columns, " FROM ", $table),
            theirs: concat!("SELECT ", $sql, " FROM raw_", $type),
        }
    };
}

/// Columns of the elements of a list.
macro_rules! listed {
    ($table:literal, $type:literal, $list:literal, $columns:literal, $sql:literal) => {
        Comparison {
            table: $table,
            ours: concat!("SELECT ", $columns, " FROM ", $table),
            theirs: concat!(
                "SELECT ",
                $sql,
                " FROM (SELECT id, unnest(elements(json->'",
                $list,
                "')) AS e FROM raw_",
                $type,
                ")"
            ),
        }
    };
}

const COMPARISONS: &[Comparison] = &[
    simple!(
        "patient",
        "Patient",
        "id, family_name, given_names, gender, birth_date, city, state, postal_code, race_text, birth_sex, deceased, deceased_at, marital_status_code, member_id",
        "id, json->>'$.name[0].family', nullif(array_to_string(from_json(json->'$.name[0].given', '[\"VARCHAR\"]'), ' '), ''), json->>'gender', (json->>'birthDate')::DATE,
         json->>'$.address[0].city', json->>'$.address[0].state', json->>'$.address[0].postalCode',
         named(named(json->'extension', 'http://hl7.org/fhir/us/core/StructureDefinition/us-core-race')[1].value->'extension', 'text')[1].value->>'valueString',
         named(json->'extension', 'http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex')[1].value->>'valueCode',
         (json->>'deceasedBoolean')::BOOLEAN, json->>'deceasedDateTime', json->>'$.maritalStatus.coding[0].code',
         typed(json->'identifier', 'MB')[1]->>'value'"
    ),
    simple!(
        "coverage",
        "Coverage",
        "id, patient_id, patient_ref, status, type_code, subscriber_identifier, relationship_code, period_start, period_end, payor_id, payor_ref",
        "id, ref_id(json->>'$.beneficiary.reference'), json->>'$.beneficiary.reference', json->>'status', json->>'$.type.coding[0].code', json->>'subscriberId',
         json->>'$.relationship.coding[0].code', json->>'$.period.start', json->>'$.period.end', ref_id(json->>'$.payor[0].reference'), json->>'$.payor[0].reference'"
    ),
    simple!(
        "eob",
        "ExplanationOfBenefit",
        "id, patient_id, claim_id, status, type_code, sub_type_code, use, billable_period_start, created, provider_ref, insurer_id, outcome, billing_network_status, days_supply, refill_number, refills_authorized, daw_code, received_date, total_submitted_amount, total_paid_to_provider_amount, total_benefit_amount, payment_date",
        "id, ref_id(json->>'$.patient.reference'),
         typed(json->'identifier', 'uc')[1]->>'value',
         json->>'status', json->>'$.type.coding[0].code', json->>'$.subType.coding[0].code', json->>'use', json->>'$.billablePeriod.start', json->>'created',
         json->>'$.provider.reference', ref_id(json->>'$.insurer.reference'), json->>'outcome',
         coded(json->'adjudication', 'billingnetworkstatus')[1]->>'$.reason.coding[0].code',
         (coded(json->'supportingInfo', 'dayssupply')[1]->>'$.valueQuantity.value')::DECIMAL(38,18), (coded(json->'supportingInfo', 'refillnum')[1]->>'$.valueQuantity.value')::DECIMAL(38,18),
         (coded(json->'supportingInfo', 'refillsauthorized')[1]->>'$.valueQuantity.value')::DECIMAL(38,18), coded(json->'supportingInfo', 'dawcode')[1]->>'$.code.coding[0].code',
         (coded(json->'supportingInfo', 'clmrecvddate')[1]->>'timingDate')::DATE,
         (coded(json->'total', 'submitted')[1]->>'$.amount.value')::DECIMAL(18,6), (coded(json->'total', 'paidtoprovider')[1]->>'$.amount.value')::DECIMAL(18,6),
         (coded(json->'total', 'benefit')[1]->>'$.amount.value')::DECIMAL(18,6), (json->>'$.payment.date')::DATE"
    ),
    listed!(
        "eob_item",
        "ExplanationOfBenefit",
        "item",
        "eob_id, idx, sequence, code, ndc, revenue_code, serviced_date, quantity, submitted_amount, discount_amount, member_liability_amount, paid_to_provider_amount",
        "id, e.idx, (e.value->>'sequence')::INTEGER, e.value->>'$.productOrService.coding[0].code',
         ([c for c in elements(e.value->'$.productOrService.coding') if c.value->>'system' = 'http://hl7.org/fhir/sid/ndc'])[1].value->>'code', e.value->>'$.revenue.coding[0].code',
         (e.value->>'servicedDate')::DATE, (e.value->>'$.quantity.value')::DECIMAL(38,18),
         (coded(e.value->'adjudication', 'submitted')[1]->>'$.amount.value')::DECIMAL(18,6), (coded(e.value->'adjudication', 'discount')[1]->>'$.amount.value')::DECIMAL(18,6),
         (coded(e.value->'adjudication', 'memberliability')[1]->>'$.amount.value')::DECIMAL(18,6), (coded(e.value->'adjudication', 'paidtoprovider')[1]->>'$.amount.value')::DECIMAL(18,6)"
    ),
    Comparison {
        table: "eob_adjudication",
        ours: "SELECT eob_id, level, item_sequence, idx, category_code, reason_code, adjudication_amount, adjudication_currency, adjudication_value FROM eob_adjudication WHERE level <> 'add-item'",
        theirs: "SELECT id, level, sequence, a.idx, a.value->>'$.category.coding[0].code', a.value->>'$.reason.coding[0].code', (a.value->>'$.amount.value')::DECIMAL(18,6), a.value->>'$.amount.currency',
                (CASE WHEN level <> 'total' THEN a.value->>'value' END)::DECIMAL(38,18)
            FROM (SELECT id, 'header' AS level, NULL::INTEGER AS sequence, unnest(elements(json->'adjudication')) AS a FROM raw_ExplanationOfBenefit
                UNION ALL SELECT id, 'total', NULL, unnest(elements(json->'total')) FROM raw_ExplanationOfBenefit
                UNION ALL SELECT id, 'item', (line.value->>'sequence')::INTEGER, unnest(elements(line.value->'adjudication')) FROM (SELECT id, unnest(elements(json->'item')) AS line FROM raw_ExplanationOfBenefit))",
    },
    listed!(
        "eob_supporting_info",
        "ExplanationOfBenefit",
        "supportingInfo",
        "eob_id, idx, sequence, category_code, code, timing_date, timing_start, value_string, value_quantity",
        "id, e.idx, (e.value->>'sequence')::INTEGER, e.value->>'$.category.coding[0].code', e.value->>'$.code.coding[0].code', (e.value->>'timingDate')::DATE, e.value->>'$.timingPeriod.start',
         e.value->>'valueString', (e.value->>'$.valueQuantity.value')::DECIMAL(38,18)"
    ),
    listed!(
        "eob_care_team",
        "ExplanationOfBenefit",
        "careTeam",
        "eob_id, idx, sequence, provider_id, provider_ref, role_code, responsible",
        "id, e.idx, (e.value->>'sequence')::INTEGER, ref_id(e.value->>'$.provider.reference'), e.value->>'$.provider.reference', e.value->>'$.role.coding[0].code', (e.value->>'responsible')::BOOLEAN"
    ),
    listed!(
        "eob_diagnosis",
        "ExplanationOfBenefit",
        "diagnosis",
        "eob_id, idx, sequence, code, system, condition_ref, type_code, on_admission_code",
        "id, e.idx, (e.value->>'sequence')::INTEGER, e.value->>'$.diagnosisCodeableConcept.coding[0].code', e.value->>'$.diagnosisCodeableConcept.coding[0].system', e.value->>'$.diagnosisReference.reference',
         e.value->>'$.type[0].coding[0].code', e.value->>'$.onAdmission.coding[0].code'"
    ),
    listed!(
        "eob_procedure",
        "ExplanationOfBenefit",
        "procedure",
        "eob_id, idx, sequence, code, procedure_ref, procedure_date, type_code",
        "id, e.idx, (e.value->>'sequence')::INTEGER, e.value->>'$.procedureCodeableConcept.coding[0].code', e.value->>'$.procedureReference.reference', e.value->>'date', e.value->>'$.type[0].coding[0].code'"
    ),
    simple!(
        "condition",
        "Condition",
        "id, patient_id, encounter_id, clinical_status, category_code, code, system, text, onset, onset_start, abatement, recorded",
        "id, ref_id(json->>'$.subject.reference'), ref_id(json->>'$.encounter.reference'), json->>'$.clinicalStatus.coding[0].code', json->>'$.category[0].coding[0].code', json->>'$.code.coding[0].code',
         json->>'$.code.coding[0].system', json->>'$.code.text', json->>'onsetDateTime', json->>'$.onsetPeriod.start', json->>'abatementDateTime', json->>'recordedDate'"
    ),
    simple!(
        "allergy_intolerance",
        "AllergyIntolerance",
        "id, patient_id, clinical_status, code, display, criticality, category_codes, onset, reaction_severity",
        "id, ref_id(json->>'$.patient.reference'), json->>'$.clinicalStatus.coding[0].code', json->>'$.code.coding[0].code', json->>'$.code.coding[0].display', json->>'criticality',
         nullif(array_to_string(from_json(json->'category', '[\"VARCHAR\"]'), ','), ''), json->>'onsetDateTime', json->>'$.reaction[0].severity'"
    ),
    simple!(
        "observation",
        "Observation",
        "id, patient_id, status, category_code, code, effective, effective_start, issued, value_quantity, value_quantity_unit, value_code, value_string, value_integer, value_boolean, data_absent_reason_code, reference_low",
        "id, ref_id(json->>'$.subject.reference'), json->>'status', json->>'$.category[0].coding[0].code', json->>'$.code.coding[0].code', json->>'effectiveDateTime', json->>'$.effectivePeriod.start',
         (json->>'issued')::TIMESTAMPTZ, (json->>'$.valueQuantity.value')::DECIMAL(38,18), json->>'$.valueQuantity.unit', json->>'$.valueCodeableConcept.coding[0].code', json->>'valueString',
         (json->>'valueInteger')::INTEGER, (json->>'valueBoolean')::BOOLEAN, json->>'$.dataAbsentReason.coding[0].code', (json->>'$.referenceRange[0].low.value')::DECIMAL(38,18)"
    ),
    listed!(
        "observation_component",
        "Observation",
        "component",
        "observation_id, idx, code, value_quantity, value_code, value_string, data_absent_reason_code",
        "id, e.idx, e.value->>'$.code.coding[0].code', (e.value->>'$.valueQuantity.value')::DECIMAL(38,18), e.value->>'$.valueCodeableConcept.coding[0].code', e.value->>'valueString',
         e.value->>'$.dataAbsentReason.coding[0].code'"
    ),
    simple!(
        "procedure",
        "Procedure",
        "id, patient_id, status, code, display, performed, performed_start, performer_ref, location_ref, reason_code",
        "id, ref_id(json->>'$.subject.reference'), json->>'status', json->>'$.code.coding[0].code', json->>'$.code.coding[0].display', json->>'performedDateTime', json->>'$.performedPeriod.start',
         json->>'$.performer[0].actor.reference', json->>'$.location.reference', json->>'$.reasonCode[0].coding[0].code'"
    ),
    simple!(
        "encounter",
        "Encounter",
        "id, patient_id, status, class_code, type_code, period_start, period_end, practitioner_id, service_provider_id, reason_code, discharge_disposition_code",
        "id, ref_id(json->>'$.subject.reference'), json->>'status', json->>'$.class.code', json->>'$.type[0].coding[0].code', json->>'$.period.start', json->>'$.period.end',
         ref_id(([p.value->>'$.individual.reference' for p in elements(json->'participant') if p.value->>'$.individual.reference' IS NOT NULL])[1]), ref_id(json->>'$.serviceProvider.reference'),
         json->>'$.reasonCode[0].coding[0].code', json->>'$.hospitalization.dischargeDisposition.coding[0].code'"
    ),
    simple!(
        "immunization",
        "Immunization",
        "id, patient_id, status, vaccine_code, cvx_code, occurrence, primary_source, lot_number, status_reason_code",
        "id, ref_id(json->>'$.patient.reference'), json->>'status', json->>'$.vaccineCode.coding[0].code',
         ([c for c in elements(json->'$.vaccineCode.coding') if c.value->>'system' = 'http://hl7.org/fhir/sid/cvx'])[1].value->>'code', json->>'occurrenceDateTime', (json->>'primarySource')::BOOLEAN,
         json->>'lotNumber', json->>'$.statusReason.coding[0].code'"
    ),
    simple!(
        "medication_request",
        "MedicationRequest",
        "id, patient_id, status, intent, medication_code, medication_text, medication_ref, rxnorm_code, authored_on, requester_ref, dosage_text, refills, days_supply",
        "id, ref_id(json->>'$.subject.reference'), json->>'status', json->>'intent', json->>'$.medicationCodeableConcept.coding[0].code', json->>'$.medicationCodeableConcept.text',
         json->>'$.medicationReference.reference',
         ([c for c in elements(json->'$.medicationCodeableConcept.coding') if c.value->>'system' = 'http://www.nlm.nih.gov/research/umls/rxnorm'])[1].value->>'code', json->>'authoredOn',
         json->>'$.requester.reference', json->>'$.dosageInstruction[0].text', (json->>'$.dispenseRequest.numberOfRepeatsAllowed')::INTEGER, (json->>'$.dispenseRequest.expectedSupplyDuration.value')::DECIMAL(38,18)"
    ),
    simple!(
        "medication_dispense",
        "MedicationDispense",
        "id, patient_id, status, type_code, medication_code, quantity, days_supply, handed_over_at",
        "id, ref_id(json->>'$.subject.reference'), json->>'status', json->>'$.type.coding[0].code', json->>'$.medicationCodeableConcept.coding[0].code', (json->>'$.quantity.value')::DECIMAL(38,18),
         (json->>'$.daysSupply.value')::DECIMAL(38,18), json->>'whenHandedOver'"
    ),
    simple!(
        "diagnostic_report",
        "DiagnosticReport",
        "id, patient_id, status, category_code, code, effective, issued, performer_ref, result_refs",
        "id, ref_id(json->>'$.subject.reference'), json->>'status', json->>'$.category[0].coding[0].code', json->>'$.code.coding[0].code', json->>'effectiveDateTime', (json->>'issued')::TIMESTAMPTZ,
         json->>'$.performer[0].reference', nullif(array_to_string([r.value->>'reference' for r in elements(json->'result')], ','), '')"
    ),
    simple!(
        "document_reference",
        "DocumentReference",
        "id, patient_id, status, type_code, category_code, document_date, content_type, author_ref, encounter_ref",
        "id, ref_id(json->>'$.subject.reference'), json->>'status', json->>'$.type.coding[0].code', json->>'$.category[0].coding[0].code', (json->>'date')::TIMESTAMPTZ,
         json->>'$.content[0].attachment.contentType', json->>'$.author[0].reference', json->>'$.context.encounter[0].reference'"
    ),
    simple!(
        "care_plan",
        "CarePlan",
        "id, patient_id, status, intent, category_code, period_start, period_end",
        "id, ref_id(json->>'$.subject.reference'), json->>'status', json->>'intent', json->>'$.category[0].coding[0].code', json->>'$.period.start', json->>'$.period.end'"
    ),
    simple!(
        "care_team",
        "CareTeam",
        "id, patient_id, status, name, period_start, managing_organization_id",
        "id, ref_id(json->>'$.subject.reference'), json->>'status', json->>'name', json->>'$.period.start', ref_id(json->>'$.managingOrganization[0].reference')"
    ),
    listed!(
        "care_team_participant",
        "CareTeam",
        "participant",
        "care_team_id, idx, role_code, member_id, member_ref",
        "id, e.idx, e.value->>'$.role[0].coding[0].code', ref_id(e.value->>'$.member.reference'), e.value->>'$.member.reference'"
    ),
    simple!(
        "goal",
        "Goal",
        "id, patient_id, lifecycle_status, description_text, description_code, start_date, due_date",
        "id, ref_id(json->>'$.subject.reference'), json->>'lifecycleStatus', json->>'$.description.text', json->>'$.description.coding[0].code', (json->>'startDate')::DATE, (json->>'$.target[0].dueDate')::DATE"
    ),
    simple!(
        "device",
        "Device",
        "id, patient_id, status, type_code, device_identifier, serial_number, manufactured_at, expires_at",
        "id, ref_id(json->>'$.patient.reference'), json->>'status', json->>'$.type.coding[0].code', json->>'$.udiCarrier[0].deviceIdentifier', json->>'serialNumber', json->>'manufactureDate', json->>'expirationDate'"
    ),
];

#[test]
#[ignore = "needs FHIRVEST_SHARED: make conformance"]
fn tables_about_persons_agree_with_duckdb_over_the_same_json() {
    compare(COMPARISONS);
}
