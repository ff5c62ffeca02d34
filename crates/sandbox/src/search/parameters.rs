//! The search parameters of the sandbox, per resource type, with the elements they look at.
//!
//! Sources: Plan-Net guide 1.2.0 CapabilityStatement, US Drug Formulary 1.1 and 2.0.1 SearchParameters, CARIN Blue Button
//! 2.0.0 and US Core CapabilityStatements, FHIR R4 core.

/// How a parameter's values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Starts with, case ignored; on names and addresses any part of them.
    Text,
    /// `code`, `system|code`, `|code`, `system|`.
    Token,
    /// `id`, `Type/id` or an absolute URL.
    Reference,
    /// A date or period with a prefix.
    Date,
}

impl Kind {
    pub(crate) fn is_indexed(self) -> bool {
        matches!(self, Self::Token | Self::Reference)
    }

    /// The name in a CapabilityStatement.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Token => "token",
            Self::Reference => "reference",
            Self::Date => "date",
        }
    }
}

/// One search parameter of one resource type.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) resource: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) paths: &'static [&'static [&'static str]],
}

impl Parameter {
    /// The resource type that a reference parameter leads to.
    pub(crate) fn target(&self) -> Option<&'static str> {
        if self.kind != Kind::Reference {
            return None;
        }
        Some(match (self.resource, self.name) {
            ("Location", "partof") | (_, "location" | "coverage-area") => "Location",
            (_, "practitioner") => "Practitioner",
            (_, "service") => "HealthcareService",
            (_, "endpoint") => "Endpoint",
            (_, "formulary" | "formulary-coverage") => "InsurancePlan",
            ("Basic", "subject") | ("List", "item") => "MedicationKnowledge",
            (_, "patient" | "subject" | "beneficiary" | "subscriber") => "Patient",
            (_, "encounter") => "Encounter",
            (_, "coverage") => "Coverage",
            (_, "prescription") => "MedicationRequest",
            (_, "care-team" | "participant" | "requester") => "Practitioner",
            (_, "facility") => "Location",
            _ => "Organization",
        })
    }
}

/// The parameters of a resource type, without those that every type has (`_id`, `_lastUpdated`).
pub(crate) fn of(resource: &str) -> impl Iterator<Item = &'static Parameter> {
    let resource = resource.to_owned();
    PARAMETERS.iter().filter(move |parameter| parameter.resource == resource)
}

/// One parameter by its name.
pub(crate) fn find(resource: &str, name: &str) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|parameter| parameter.resource == resource && parameter.name == name)
}

macro_rules! parameters {
    ($($resource:ident { $($name:literal $kind:ident $([$($step:literal)+])+;)+ })+) => {
        &[$($(Parameter {
            resource: stringify!($resource),
            name: $name,
            kind: Kind::$kind,
            paths: &[$(&[$($step),+]),+],
        }),+),+]
    };
}

#[rustfmt::skip]
static PARAMETERS: &[Parameter] = parameters! {
    Practitioner {
        "name" Text ["name"];
        "family" Text ["name" "family"];
        "given" Text ["name" "given"];
        "identifier" Token ["identifier"];
        "active" Token ["active"];
        "gender" Token ["gender"];
        "address" Text ["address"];
        "address-city" Text ["address" "city"];
        "address-state" Text ["address" "state"];
        "address-postalcode" Text ["address" "postalCode"];
    }
    PractitionerRole {
        "practitioner" Reference ["practitioner"];
        "organization" Reference ["organization"];
        "location" Reference ["location"];
        "service" Reference ["healthcareService"];
        "network" Reference ["extension" "(network-reference)" "valueReference"];
        "endpoint" Reference ["endpoint"];
        "role" Token ["code"];
        "specialty" Token ["specialty"];
        "active" Token ["active"];
        "identifier" Token ["identifier"];
        "date" Date ["period"];
    }
    Organization {
        "partof" Reference ["partOf"];
        "endpoint" Reference ["endpoint"];
        "coverage-area" Reference ["extension" "(location-reference)" "valueReference"];
        "address" Text ["address"];
        "address-city" Text ["address" "city"];
        "address-state" Text ["address" "state"];
        "address-postalcode" Text ["address" "postalCode"];
        "name" Text ["name"] ["alias"];
        "type" Token ["type"];
        "identifier" Token ["identifier"];
        "active" Token ["active"];
    }
    OrganizationAffiliation {
        "primary-organization" Reference ["organization"];
        "participating-organization" Reference ["participatingOrganization"];
        "location" Reference ["location"];
        "service" Reference ["healthcareService"];
        "network" Reference ["network"] ["extension" "(network-reference)" "valueReference"];
        "endpoint" Reference ["endpoint"];
        "role" Token ["code"];
        "specialty" Token ["specialty"];
        "active" Token ["active"];
        "identifier" Token ["identifier"];
        "date" Date ["period"];
    }
    Location {
        "partof" Reference ["partOf"];
        "organization" Reference ["managingOrganization"];
        "endpoint" Reference ["endpoint"];
        "name" Text ["name"] ["alias"];
        "address" Text ["address"];
        "address-city" Text ["address" "city"];
        "address-state" Text ["address" "state"];
        "address-postalcode" Text ["address" "postalCode"];
        "type" Token ["type"];
        "status" Token ["status"];
        "identifier" Token ["identifier"];
    }
    HealthcareService {
        "location" Reference ["location"];
        "coverage-area" Reference ["coverageArea"];
        "organization" Reference ["providedBy"];
        "endpoint" Reference ["endpoint"];
        "name" Text ["name"];
        "service-category" Token ["category"];
        "service-type" Token ["type"];
        "specialty" Token ["specialty"];
        "active" Token ["active"];
        "identifier" Token ["identifier"];
    }
    InsurancePlan {
        "administered-by" Reference ["administeredBy"];
        "owned-by" Reference ["ownedBy"];
        "coverage-area" Reference ["coverageArea"];
        "network" Reference ["network"] ["plan" "network"];
        "endpoint" Reference ["endpoint"];
        "formulary-coverage" Reference ["coverage" "extension" "(usdf-FormularyReference-extension)" "valueReference"];
        "name" Text ["name"] ["alias"];
        "plan-type" Token ["plan" "type"];
        "coverage-type" Token ["coverage" "type"];
        "identifier" Token ["identifier"];
        "status" Token ["status"];
        "type" Token ["type"];
        "period" Date ["period"];
    }
    Endpoint {
        "organization" Reference ["managingOrganization"];
        "name" Text ["name"];
        "connection-type" Token ["connectionType"];
        "status" Token ["status"];
        "identifier" Token ["identifier"];
    }
    Basic {
        "code" Token ["code"];
        "subject" Reference ["subject"];
        "formulary" Reference ["extension" "(usdf-FormularyReference-extension)" "valueReference"];
        "status" Token ["extension" "(usdf-AvailabilityStatus-extension)" "valueCode"];
        "period" Date ["extension" "(usdf-AvailabilityPeriod-extension)" "valuePeriod"];
        "pharmacy-benefit-type" Token ["extension" "(usdf-PharmacyBenefitType-extension)" "valueCodeableConcept"];
        "drug-tier" Token ["extension" "(usdf-DrugTierID-extension)" "valueCodeableConcept"];
    }
    MedicationKnowledge {
        "code" Token ["code"];
        "status" Token ["status"];
        "doseform" Token ["doseForm"];
        "drug-name" Text ["code" "coding" "display"] ["synonym"];
        "DrugName" Text ["code" "coding" "display"];
        "DrugPlan" Token ["extension" "(usdf-PlanID-extension)" "valueString"];
        "DrugTier" Token ["extension" "(usdf-DrugTierID-extension)" "valueCodeableConcept"];
    }
    List {
        "code" Token ["code"];
        "identifier" Token ["identifier"];
        "status" Token ["status"];
        "title" Text ["title"];
        "item" Reference ["entry" "item"];
        "DrugPlan" Token ["identifier"];
    }
    Patient {
        "identifier" Token ["identifier"];
        "name" Text ["name"];
        "family" Text ["name" "family"];
        "given" Text ["name" "given"];
        "birthdate" Date ["birthDate"];
        "gender" Token ["gender"];
    }
    Coverage {
        "patient" Reference ["beneficiary"];
        "beneficiary" Reference ["beneficiary"];
        "subscriber" Reference ["subscriber"];
        "payor" Reference ["payor"];
        "status" Token ["status"];
        "type" Token ["type"];
        "identifier" Token ["identifier"];
    }
    ExplanationOfBenefit {
        "patient" Reference ["patient"];
        "type" Token ["type"];
        "status" Token ["status"];
        "identifier" Token ["identifier"];
        "service-date" Date ["billablePeriod"];
        "billable-period-start" Date ["billablePeriod" "start"];
        "created" Date ["created"];
        "provider" Reference ["provider"];
        "insurer" Reference ["insurer"];
        "care-team" Reference ["careTeam" "provider"];
        "coverage" Reference ["insurance" "coverage"];
        "facility" Reference ["facility"];
    }
    AllergyIntolerance {
        "patient" Reference ["patient"];
        "clinical-status" Token ["clinicalStatus"];
        "code" Token ["code"];
    }
    CarePlan {
        "patient" Reference ["subject"];
        "subject" Reference ["subject"];
        "category" Token ["category"];
        "status" Token ["status"];
        "date" Date ["period"];
    }
    CareTeam {
        "patient" Reference ["subject"];
        "subject" Reference ["subject"];
        "status" Token ["status"];
        "participant" Reference ["participant" "member"];
    }
    Condition {
        "patient" Reference ["subject"];
        "subject" Reference ["subject"];
        "category" Token ["category"];
        "clinical-status" Token ["clinicalStatus"];
        "code" Token ["code"];
        "encounter" Reference ["encounter"];
        "recorded-date" Date ["recordedDate"];
    }
    Device {
        "patient" Reference ["patient"];
        "type" Token ["type"];
        "status" Token ["status"];
    }
    DiagnosticReport {
        "patient" Reference ["subject"];
        "subject" Reference ["subject"];
        "category" Token ["category"];
        "code" Token ["code"];
        "status" Token ["status"];
        "date" Date ["effectiveDateTime"] ["effectivePeriod"];
        "encounter" Reference ["encounter"];
    }
    DocumentReference {
        "patient" Reference ["subject"];
        "subject" Reference ["subject"];
        "category" Token ["category"];
        "type" Token ["type"];
        "status" Token ["status"];
        "date" Date ["date"];
    }
    Encounter {
        "patient" Reference ["subject"];
        "subject" Reference ["subject"];
        "status" Token ["status"];
        "class" Token ["class"];
        "type" Token ["type"];
        "date" Date ["period"];
    }
    Goal {
        "patient" Reference ["subject"];
        "subject" Reference ["subject"];
        "lifecycle-status" Token ["lifecycleStatus"];
        "start-date" Date ["startDate"];
    }
    Immunization {
        "patient" Reference ["patient"];
        "status" Token ["status"];
        "vaccine-code" Token ["vaccineCode"];
        "date" Date ["occurrenceDateTime"];
    }
    MedicationDispense {
        "patient" Reference ["subject"];
        "subject" Reference ["subject"];
        "status" Token ["status"];
        "prescription" Reference ["authorizingPrescription"];
        "whenhandedover" Date ["whenHandedOver"];
    }
    MedicationRequest {
        "patient" Reference ["subject"];
        "subject" Reference ["subject"];
        "status" Token ["status"];
        "intent" Token ["intent"];
        "authoredon" Date ["authoredOn"];
        "encounter" Reference ["encounter"];
        "requester" Reference ["requester"];
    }
    Observation {
        "patient" Reference ["subject"];
        "subject" Reference ["subject"];
        "category" Token ["category"];
        "code" Token ["code"];
        "status" Token ["status"];
        "date" Date ["effectiveDateTime"] ["effectivePeriod"];
        "encounter" Reference ["encounter"];
    }
    Procedure {
        "patient" Reference ["subject"];
        "subject" Reference ["subject"];
        "code" Token ["code"];
        "status" Token ["status"];
        "date" Date ["performedDateTime"] ["performedPeriod"];
        "encounter" Reference ["encounter"];
    }
};
