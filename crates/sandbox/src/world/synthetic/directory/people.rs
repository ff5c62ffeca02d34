//! Practitioner and PractitionerRole.

use super::{Census, endpoint_id, location_id, network_id, organization_id, practitioner_id, service_id};
use crate::world::synthetic::dice::Dice;
use crate::world::synthetic::elements::{
    Address, ID_TYPE, NUCC, NpiRange, TelecomExtras, available_time, complex_extension, concept, concept_item,
    extension, meta, new_patients, npi, npi_identifier, phone, plan_net_codes, plan_net_extension, reference,
    reference_item, telecom,
};
use crate::world::synthetic::json::Json;
use crate::world::synthetic::shelf::Shelf;
use crate::world::synthetic::vocabulary::{
    ACCEPTING, FAMILIES, LANGUAGES, MEN, NETWORKS, PROFICIENCIES, SPECIALTIES, Specialty, WOMEN,
};

/// What a role must know of its practitioner.
struct Person {
    family: &'static str,
    given: &'static str,
    female: bool,
    specialty: Specialty,
    /// Working networks; none makes a listing without any role.
    networks: usize,
}

fn person(census: &Census, number: usize) -> Person {
    let mut dice = Dice::new(census.seed, "person", number);
    let female = dice.one_in(2);
    Person {
        family: dice.pick(&FAMILIES),
        given: if female { dice.pick(&WOMEN) } else { dice.pick(&MEN) },
        female,
        specialty: dice.pick(&SPECIALTIES),
        networks: if dice.one_in(25) { 0 } else { dice.between(1, 4) },
    }
}

pub(super) fn practitioners(shelf: &mut Shelf, census: &Census) {
    for number in 0..census.practitioners {
        let person = person(census, number);
        let mut dice = Dice::new(census.seed, "practitioner", number);
        shelf.put(&practitioner_id(number), |json| practitioner(json, &mut dice, number, &person));
    }
}

fn practitioner(json: &mut Json, dice: &mut Dice, number: usize, person: &Person) {
    meta(json, dice, &plan_net_extension("plannet-Practitioner"));
    if dice.one_in(50) {
        json.array("extension", |json| {
            extension(json, &plan_net_extension("practitioner-period"), |json| {
                json.object("valuePeriod", |json| json.text("start", "2021-07-01"));
            });
        });
    }
    practitioner_identifiers(json, dice, number);
    json.flag("active", true);
    let degree = person.specialty.degree.0;
    json.array("name", |json| {
        json.item(|json| {
            json.text("use", "official");
            json.text("text", &format!("{} {}, {degree}", person.given, person.family));
            json.text("family", person.family);
            let middle = dice.one_in(4).then(|| dice.pick(&["A.", "J.", "M.", "Lee"]));
            json.array("given", |json| {
                json.text_item(person.given);
                middle.into_iter().for_each(|middle| json.text_item(middle));
            });
            if degree.ends_with('D') || degree.ends_with('O') {
                json.array("prefix", |json| json.text_item("Dr."));
            }
            json.array("suffix", |json| json.text_item(degree));
        });
    });
    let (voice, fax) = (phone(dice), phone(dice));
    json.array("telecom", |json| {
        telecom(json, "phone", &voice, TelecomExtras { rank: Some("1"), ..TelecomExtras::default() });
        telecom(json, "fax", &fax, TelecomExtras::default());
    });
    let address = Address::new(dice);
    let geolocation = !dice.one_in(5);
    json.array("address", |json| json.item(|json| address.body(json, geolocation)));
    json.text("gender", if person.female { "female" } else { "male" });
    if dice.one_in(30) {
        json.object("_birthDate", |json| {
            json.array("extension", |json| {
                extension(json, "http://hl7.org/fhir/StructureDefinition/data-absent-reason", |json| {
                    json.text("valueCode", "masked");
                });
            });
        });
    }
    qualifications(json, dice, person, address.city.state);
    languages(json, dice);
}

fn practitioner_identifiers(json: &mut Json, dice: &mut Dice, number: usize) {
    let mut own = npi(NpiRange::Practitioner, number);
    if dice.one_in(90) {
        // A typing error of the payer's: the check digit does not fit.
        let last = own.pop().map_or('0', |last| if last == '9' { '0' } else { (last as u8 + 1) as char });
        own.push(last);
    }
    // Seven in ten the usual way, one in ten each of the others.
    let marking = dice.below(10).min(9).saturating_sub(6);
    let payer_number = dice.between(100_000, 999_999);
    json.array("identifier", |json| {
        npi_identifier(json, marking, &own);
        json.item(|json| {
            json.text("use", "secondary");
            concept(json, "type", ID_TYPE, ("PRN", "Provider number"));
            json.text("system", "https://threerivershealth.example/provider-number");
            json.text("value", &format!("TR{payer_number}"));
        });
    });
}

fn qualifications(json: &mut Json, dice: &mut Dice, person: &Person, state: &str) {
    let license = dice.between(10_000, 999_999);
    let (from, years) = (dice.between(2_019, 2_026), dice.between(2, 5));
    let status = if dice.one_in(20) { "pending" } else { "active" };
    let board_certified = dice.one_in(3);
    json.array("qualification", |json| {
        json.item(|json| {
            json.array("extension", |json| {
                complex_extension(json, &plan_net_extension("practitioner-qualification"), |json| {
                    extension(json, "status", |json| json.text("valueCode", status));
                    extension(json, "whereValid", |json| {
                        concept(json, "valueCodeableConcept", "https://www.usps.com/", (state, ""));
                    });
                });
            });
            json.array("identifier", |json| {
                json.item(|json| {
                    json.text("system", &format!("https://licenses.{}.example", state.to_lowercase()));
                    json.text("value", &format!("{}{license}", person.specialty.degree.0));
                });
            });
            concept(json, "code", NUCC, (person.specialty.code, person.specialty.display));
            json.object("period", |json| {
                json.text("start", &format!("{from}-01-01"));
                json.text("end", &format!("{}-12-31", from + years));
            });
            json.object("issuer", |json| json.text("display", &format!("State Board of {state}")));
        });
        if board_certified {
            json.item(|json| {
                concept(json, "code", "http://terminology.hl7.org/CodeSystem/v2-0360", person.specialty.degree);
                json.object("issuer", |json| json.text("display", "American Board of Medical Specialties"));
            });
        }
    });
}

fn languages(json: &mut Json, dice: &mut Dice) {
    let second = dice.one_in(3).then(|| dice.between(1, LANGUAGES.len()));
    json.array("communication", |json| {
        for language in [Some(0), second].into_iter().flatten() {
            let proficiency = dice.pick(&PROFICIENCIES);
            json.item(|json| {
                json.array("extension", |json| {
                    extension(json, &plan_net_extension("communication-proficiency"), |json| {
                        let system = plan_net_codes("LanguageProficiencyCS");
                        concept(json, "valueCodeableConcept", &system, proficiency);
                    });
                });
                let language = LANGUAGES.get(language).copied().unwrap_or(("en", "English"));
                super::super::elements::concept_body(json, "urn:ietf:bcp:47", language);
            });
        }
    });
}

pub(super) fn roles(shelf: &mut Shelf, census: &Census) {
    for number in 0..census.practitioners {
        let person = person(census, number);
        let mut dice = Dice::new(census.seed, "role", number);
        let first_network = dice.below(NETWORKS.len());
        let mut role_number = 0;
        for turn in 0..person.networks {
            // 1.2 roles per practitioner and network: every fifth works at a second place.
            let places = if dice.one_in(5) { 2 } else { 1 };
            for _ in 0..places {
                let id = format!("role-{}-{role_number}", npi(NpiRange::Practitioner, number));
                let work = Work {
                    practitioner: number,
                    network: first_network + turn,
                    organization: dice.below(census.organizations),
                };
                shelf.put(&id, |json| role(json, &mut dice, census, &person, &work));
                role_number += 1;
            }
        }
    }
}

/// Who works where and for which network.
struct Work {
    practitioner: usize,
    network: usize,
    organization: usize,
}

fn role(json: &mut Json, dice: &mut Dice, census: &Census, person: &Person, work: &Work) {
    meta(json, dice, &plan_net_extension("plannet-PractitionerRole"));
    let odd = dice.below(200);
    if odd == 7 {
        json.array("contained", |json| {
            json.item(|json| {
                json.text("resourceType", "Organization");
                json.text("id", "clinic");
                json.flag("active", true);
                json.text("name", "Free Clinic (contained)");
            });
        });
    }
    role_extensions(json, dice, person, work);
    json.flag("active", true);
    if dice.one_in(10) {
        json.object("period", |json| json.text("start", "2024-01-01"));
    }
    if !dice.one_in(40) {
        let name = format!("{} {}", person.given, person.family);
        reference(json, "practitioner", &practitioner_target(odd, work.practitioner), &name);
    }
    role_organization(json, odd, work.organization);
    let (role, display) = person.specialty.role;
    json.array("code", |json| concept_item(json, &plan_net_codes("ProviderRoleCS"), (role, display)));
    let second = dice.one_in(6).then(|| dice.pick(&SPECIALTIES));
    json.array("specialty", |json| {
        concept_item(json, NUCC, (person.specialty.code, person.specialty.display));
        if let Some(second) = second {
            // As met: a code without its display.
            concept_item(json, NUCC, (second.code, ""));
        }
    });
    role_places(json, dice, census, work.organization);
    let voice = phone(dice);
    json.array("telecom", |json| {
        telecom(json, "phone", &voice, TelecomExtras { office_hours: voice.len() == 10, ..TelecomExtras::default() });
    });
    if dice.one_in(2) {
        available_time(json, "availableTime", ("availableStartTime", "availableEndTime"), dice);
    }
    if dice.one_in(25) {
        json.array("notAvailable", |json| {
            json.item(|json| {
                json.text("description", "Closed for the holidays");
                json.object("during", |json| {
                    json.text("start", "2026-12-24");
                    json.text("end", "2027-01-02");
                });
            });
        });
    }
    role_endpoints(json, dice, census);
}

/// References as payers spell them: mostly relative, now and then dangling, absolute or with a version.
fn practitioner_target(odd: usize, practitioner: usize) -> String {
    let id = practitioner_id(practitioner);
    match odd {
        0..=2 => format!("Practitioner/practitioner-retired-{practitioner}"),
        3 => format!("https://directory.threerivershealth.example/fhir/Practitioner/{id}"),
        4 => format!("Practitioner/{id}/_history/2"),
        _ => format!("Practitioner/{id}"),
    }
}

fn role_organization(json: &mut Json, odd: usize, organization: usize) {
    match odd {
        5 => json.object("organization", |json| {
            json.object("identifier", |json| {
                json.text("system", "http://hl7.org/fhir/sid/us-npi");
                json.text("value", &npi(NpiRange::Organization, organization));
            });
        }),
        7 => reference(json, "organization", "#clinic", ""),
        8..=20 => {}
        _ => reference(json, "organization", &format!("Organization/{}", organization_id(organization)), ""),
    }
}

fn role_extensions(json: &mut Json, dice: &mut Dice, person: &Person, work: &Work) {
    let networks = match dice.below(40) {
        0 => 0,
        1 | 2 => dice.between(2, 4),
        _ => 1,
    };
    let accepting = dice.pick(&ACCEPTING);
    let all_networks = dice.one_in(3);
    let characteristics = dice.one_in(12).then_some("Adults 18 and over");
    let certified = dice.one_in(10);
    let tells = !dice.one_in(10);
    if networks == 0 && !tells && !certified {
        return;
    }
    json.array("extension", |json| {
        for turn in 0..networks {
            let number = (work.network + turn) % NETWORKS.len();
            extension(json, &plan_net_extension("network-reference"), |json| {
                let name = NETWORKS.get(number).copied().unwrap_or("");
                reference(json, "valueReference", &format!("Organization/{}", network_id(number)), name);
            });
        }
        if tells {
            let network = format!("Organization/{}", network_id(work.network));
            new_patients(json, accepting, (!all_networks).then_some(network.as_str()), characteristics);
        }
        if certified {
            complex_extension(json, &plan_net_extension("qualification"), |json| {
                extension(json, "code", |json| {
                    let code = (person.specialty.code, person.specialty.display);
                    concept(json, "valueCodeableConcept", NUCC, code);
                });
                extension(json, "issuer", |json| {
                    json.object("valueReference", |json| json.text("display", "American Board of Medical Specialties"));
                });
                extension(json, "status", |json| json.text("valueCode", "active"));
                extension(json, "period", |json| {
                    json.object("valuePeriod", |json| json.text("start", "2020-05-01"));
                });
            });
        }
    });
}

fn role_places(json: &mut Json, dice: &mut Dice, census: &Census, organization: usize) {
    if !dice.one_in(30) {
        let both = dice.one_in(8);
        let which = dice.below(2);
        json.array("location", |json| {
            let first = census.location_of(organization, which);
            reference_item(json, &format!("Location/{}", location_id(first)), "");
            if both {
                let second = census.location_of(organization, which + 1);
                reference_item(json, &format!("Location/{}", location_id(second)), "");
            }
        });
    }
    if !dice.one_in(3) {
        json.array("healthcareService", |json| {
            reference_item(json, &format!("HealthcareService/{}", service_id(organization)), "");
        });
    }
}

fn role_endpoints(json: &mut Json, dice: &mut Dice, census: &Census) {
    match dice.below(16) {
        0 => json.array("endpoint", |json| {
            json.item(|json| {
                json.array("extension", |json| {
                    extension(json, "http://hl7.org/fhir/StructureDefinition/data-absent-reason", |json| {
                        json.text("valueCode", "unknown");
                    });
                });
                json.text("display", "Unknown");
            });
        }),
        1 | 2 => {
            let endpoint = endpoint_id(dice.below(census.endpoints));
            json.array("endpoint", |json| reference_item(json, &format!("Endpoint/{endpoint}"), ""));
        }
        _ => {}
    }
}
