//! Which search parameter finds what belongs to a patient.

/// The search parameter (FHIR R4) that finds the resources of a type that belong to a patient; none for types that are
/// nobody's own, such as Practitioner. `Patient` itself is found by its id.
#[must_use]
pub fn search_parameter(resource_type: &str) -> Option<&'static str> {
    match resource_type {
        "Patient" => Some("_id"),
        // The parameter goes by another name.
        "AdverseEvent" | "SupplyRequest" => Some("subject"),
        _ => BY_PATIENT.binary_search(&resource_type).ok().map(|_| "patient"),
    }
}

/// Types with a parameter `patient`, sorted.
const BY_PATIENT: [&str; 65] = [
    "Account",
    "AllergyIntolerance",
    "Appointment",
    "AppointmentResponse",
    "AuditEvent",
    "Basic",
    "BodyStructure",
    "CarePlan",
    "CareTeam",
    "ChargeItem",
    "Claim",
    "ClaimResponse",
    "ClinicalImpression",
    "Communication",
    "CommunicationRequest",
    "Composition",
    "Condition",
    "Consent",
    "Contract",
    "Coverage",
    "CoverageEligibilityRequest",
    "CoverageEligibilityResponse",
    "DetectedIssue",
    "Device",
    "DeviceRequest",
    "DeviceUseStatement",
    "DiagnosticReport",
    "DocumentManifest",
    "DocumentReference",
    "Encounter",
    "EnrollmentRequest",
    "EpisodeOfCare",
    "ExplanationOfBenefit",
    "FamilyMemberHistory",
    "Flag",
    "Goal",
    "GuidanceResponse",
    "ImagingStudy",
    "Immunization",
    "ImmunizationEvaluation",
    "ImmunizationRecommendation",
    "Invoice",
    "List",
    "MeasureReport",
    "Media",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationRequest",
    "MedicationStatement",
    "MolecularSequence",
    "NutritionOrder",
    "Observation",
    "Person",
    "Procedure",
    "Provenance",
    "QuestionnaireResponse",
    "RelatedPerson",
    "RequestGroup",
    "ResearchSubject",
    "RiskAssessment",
    "ServiceRequest",
    "Specimen",
    "SupplyDelivery",
    "Task",
    "VisionPrescription",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_list_is_sorted_and_names_resource_types() {
        assert!(BY_PATIENT.is_sorted());
        assert!(BY_PATIENT.iter().all(|name| crate::elements::is_resource(name)));
    }

    /// The list is that of HL7's own search parameters.
    #[test]
    #[ignore = "needs FHIRVEST_SHARED: make conformance"]
    fn the_list_is_that_of_r4() {
        let shared = std::env::var("FHIRVEST_SHARED").unwrap();
        let text = std::fs::read_to_string(format!("{shared}/data/r4/search-parameters.ndjson")).unwrap();
        let mut types: Vec<String> = Vec::new();
        for line in text.lines() {
            let one: serde_json::Value = serde_json::from_str(line).unwrap();
            if one["code"] == "patient" && one["type"] == "reference" {
                types.extend(one["base"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()));
            }
        }
        types.sort();
        types.dedup();
        assert_eq!(types, BY_PATIENT);
    }
}
