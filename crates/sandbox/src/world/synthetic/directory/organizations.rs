//! Organization (providers, payers and networks) and OrganizationAffiliation.

use super::{AREAS, Census, endpoint_id, location_id, network_id, organization_id, payer_id, service_id};
use crate::world::synthetic::dice::Dice;
use crate::world::synthetic::elements::{
    Address, NPI, NUCC, NpiRange, TelecomExtras, complex_extension, concept, concept_item, extension, meta, npi,
    npi_identifier, phone, plan_net_codes, plan_net_extension, reference, reference_item, telecom,
};
use crate::world::synthetic::json::Json;
use crate::world::synthetic::shelf::Shelf;
use crate::world::synthetic::vocabulary::{NETWORKS, PAYERS, PRACTICES, SPECIALTIES};

pub(super) fn organizations(shelf: &mut Shelf, census: &Census) {
    for (number, name) in PAYERS.iter().enumerate() {
        let mut dice = Dice::new(census.seed, "payer", number);
        shelf.put(&payer_id(number), |json| payer(json, &mut dice, name));
    }
    for (number, name) in NETWORKS.iter().enumerate() {
        let mut dice = Dice::new(census.seed, "network", number);
        shelf.put(&network_id(number), |json| network(json, &mut dice, number, name));
    }
    for number in 0..census.organizations {
        let mut dice = Dice::new(census.seed, "organization", number);
        shelf.put(&organization_id(number), |json| provider(json, &mut dice, census, number));
    }
}

fn org_type(json: &mut Json, code: (&str, &str)) {
    json.array("type", |json| concept_item(json, &plan_net_codes("OrgTypeCS"), code));
}

fn payer(json: &mut Json, dice: &mut Dice, name: &str) {
    meta(json, dice, &plan_net_extension("plannet-Organization"));
    json.object("text", |json| {
        json.text("status", "generated");
        json.text("div", &format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>{name}</p></div>"));
    });
    json.array("extension", |json| {
        extension(json, &plan_net_extension("org-description"), |json| {
            json.text("valueString", &format!("{name} is a made-up health insurer of the fhirvest sandbox."));
        });
    });
    json.array("identifier", |json| {
        json.item(|json| {
            json.text("system", "urn:oid:2.16.840.1.113883.6.300");
            json.text("value", &dice.between(10_000, 99_999).to_string());
        });
    });
    json.flag("active", true);
    org_type(json, ("payer", "Payer"));
    json.text("name", name);
    let voice = phone(dice);
    json.array("telecom", |json| {
        telecom(
            json,
            "phone",
            &voice,
            TelecomExtras { office_hours: true, rank: Some("2"), ..TelecomExtras::default() },
        );
        let rank = TelecomExtras { rank: Some("1"), ..TelecomExtras::default() };
        telecom(json, "url", "https://www.threerivershealth.example", rank);
    });
    let address = Address::new(dice);
    json.array("address", |json| json.item(|json| address.body(json, false)));
}

/// A network: no address and no telecom, as the guide allows, so that a sweep by state misses it.
fn network(json: &mut Json, dice: &mut Dice, number: usize, name: &str) {
    meta(json, dice, &plan_net_extension("plannet-Network"));
    json.array("extension", |json| {
        for (area, ..) in AREAS.iter().cycle().skip(number).take(1 + number % 2) {
            extension(json, &plan_net_extension("location-reference"), |json| {
                reference(json, "valueReference", &format!("Location/{area}"), "");
            });
        }
    });
    json.array("identifier", |json| {
        json.item(|json| {
            json.text("system", "https://www.qhpcertification.cms.gov/s/QHP");
            json.text("value", &format!("HPID{:06}", 10_000 + number));
        });
    });
    json.flag("active", true);
    org_type(json, ("ntwk", "Network"));
    json.text("name", name);
    let payer = format!("Organization/{}", payer_id(number));
    reference(json, "partOf", &payer, PAYERS.get(number % PAYERS.len()).copied().unwrap_or(""));
    json.array("contact", |json| {
        json.item(|json| {
            json.object("name", |json| {
                json.text("family", "Kawasaki");
                json.array("given", |json| json.text_item("Jane"));
            });
            let voice = phone(dice);
            json.array("telecom", |json| {
                telecom(json, "phone", &voice, TelecomExtras { via: Some(&payer), ..TelecomExtras::default() });
            });
        });
    });
}

fn provider(json: &mut Json, dice: &mut Dice, census: &Census, number: usize) {
    meta(json, dice, &plan_net_extension("plannet-Organization"));
    let address = Address::new(dice);
    let (kind_name, kind, _) = practice(number);
    let name = format!("{} {kind_name}", address.city.name);
    provider_extensions(json, dice, address.city.state);
    json.array("identifier", |json| {
        let own = npi(NpiRange::Organization, number);
        if dice.one_in(40) {
            // As in the reference implementation's data: the NPI as a number.
            json.item(|json| {
                json.text("system", NPI);
                json.raw("value", &own);
            });
        } else {
            npi_identifier(json, 0, &own);
        }
    });
    json.flag("active", true);
    let display = match kind {
        "fac" => "Facility",
        "prvgrp" => "Provider Group",
        _ => "Atypical Provider",
    };
    org_type(json, (kind, display));
    json.text("name", &name);
    if dice.one_in(4) {
        json.array("alias", |json| json.text_item(&name.to_uppercase()));
    }
    let voice = phone(dice);
    json.array("telecom", |json| {
        telecom(
            json,
            "phone",
            &voice,
            TelecomExtras { office_hours: voice.starts_with('('), ..TelecomExtras::default() },
        );
    });
    json.array("address", |json| json.item(|json| address.body(json, false)));
    if number > 12 && dice.one_in(6) {
        reference(json, "partOf", &format!("Organization/{}", organization_id(number % 12)), "");
    }
    if dice.one_in(3) {
        let endpoint = endpoint_id(number % census.endpoints);
        json.array("endpoint", |json| reference_item(json, &format!("Endpoint/{endpoint}"), ""));
    }
}

/// The kind of practice an organization is: name, organization type, service category.
pub(super) fn practice(number: usize) -> (&'static str, &'static str, &'static str) {
    PRACTICES.get(number % PRACTICES.len()).copied().unwrap_or(("Clinic", "fac", "outpat"))
}

fn provider_extensions(json: &mut Json, dice: &mut Dice, state: &str) {
    let (accredited, since) = (dice.one_in(3), dice.one_in(5));
    if !accredited && !since {
        return;
    }
    let number = dice.between(1_000, 9_999);
    json.array("extension", |json| {
        if accredited {
            complex_extension(json, &plan_net_extension("qualification"), |json| {
                extension(json, "identifier", |json| {
                    json.object("valueIdentifier", |json| {
                        json.text("system", "https://www.jointcommission.example");
                        json.text("value", &format!("JC-{number}"));
                    });
                });
                extension(json, "code", |json| {
                    json.object("valueCodeableConcept", |json| json.text("text", "Hospital accreditation"));
                });
                extension(json, "issuer", |json| {
                    json.object("valueReference", |json| json.text("display", "Joint Commission"));
                });
                extension(json, "status", |json| json.text("valueCode", "active"));
                extension(json, "whereValid", |json| {
                    if number.is_multiple_of(2) {
                        concept(json, "valueCodeableConcept", "https://www.usps.com/", (state, ""));
                    } else {
                        reference(json, "valueReference", "Location/area-pa", "Pennsylvania");
                    }
                });
            });
        }
        if since {
            extension(json, "http://hl7.org/fhir/StructureDefinition/organization-period", |json| {
                json.object("valuePeriod", |json| json.text("start", "1998-04-01"));
            });
        }
    });
}

pub(super) fn affiliations(shelf: &mut Shelf, census: &Census) {
    for number in 0..census.affiliations {
        let mut dice = Dice::new(census.seed, "affiliation", number);
        let id = format!("affiliation-{number:06}");
        shelf.put(&id, |json| affiliation(json, &mut dice, census, number));
    }
}

fn affiliation(json: &mut Json, dice: &mut Dice, census: &Census, number: usize) {
    let organization = number % census.organizations;
    meta(json, dice, &plan_net_extension("plannet-OrganizationAffiliation"));
    let (_, _, category) = practice(organization);
    let role = match category {
        "hosp" => ("hospital", "Hospital"),
        "lab" => ("laboratory", "Laboratory"),
        "urg" => ("urgent", "Urgent Care"),
        "behav" => ("behavioral", "Behavioral Health"),
        "home" => ("home", "Home Health"),
        "group" | "prov" => ("group", "Medical Group"),
        _ => ("outpatient", "Clinic or Outpatient Facility"),
    };
    if dice.one_in(12) {
        json.array("extension", |json| {
            complex_extension(json, &plan_net_extension("qualification"), |json| {
                extension(json, "code", |json| {
                    json.object("valueCodeableConcept", |json| json.text("text", "Centre of excellence"));
                });
                extension(json, "status", |json| json.text("valueCode", "active"));
            });
        });
    }
    json.flag("active", true);
    if dice.one_in(8) {
        json.object("period", |json| {
            json.text("start", "2023-01-01");
            json.text("end", "2027-12-31");
        });
    }
    if !dice.one_in(4) {
        reference(json, "organization", &format!("Organization/{}", payer_id(number)), "");
    }
    reference(json, "participatingOrganization", &format!("Organization/{}", organization_id(organization)), "");
    let first = dice.below(NETWORKS.len());
    let networks = dice.between(1, 4);
    json.array("network", |json| {
        for turn in 0..networks {
            let number = (first + turn) % NETWORKS.len();
            let name = NETWORKS.get(number).copied().unwrap_or("");
            reference_item(json, &format!("Organization/{}", network_id(number)), name);
        }
    });
    json.array("code", |json| concept_item(json, &plan_net_codes("OrganizationAffiliationRoleCS"), role));
    let specialty = dice.pick(&SPECIALTIES);
    json.array("specialty", |json| concept_item(json, NUCC, (specialty.code, specialty.display)));
    json.array("location", |json| {
        let location = census.location_of(organization, number / census.organizations);
        reference_item(json, &format!("Location/{}", location_id(location)), "");
    });
    json.array("healthcareService", |json| {
        reference_item(json, &format!("HealthcareService/{}", service_id(organization)), "");
    });
    let voice = phone(dice);
    json.array("telecom", |json| telecom(json, "phone", &voice, TelecomExtras::default()));
    if dice.one_in(6) {
        let endpoint = endpoint_id(organization % census.endpoints);
        json.array("endpoint", |json| reference_item(json, &format!("Endpoint/{endpoint}"), ""));
    }
}
