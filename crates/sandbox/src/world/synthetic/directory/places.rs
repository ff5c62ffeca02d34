//! Location and HealthcareService.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::organizations::practice;
use super::{AREAS, Census, endpoint_id, location_id, network_id, organization_id, service_id};
use crate::world::synthetic::dice::Dice;
use crate::world::synthetic::elements::{
    Address, NUCC, TelecomExtras, available_time, complex_extension, concept, concept_item, degrees, extension, meta,
    new_patients, phone, plan_net_codes, plan_net_extension, reference, reference_item, telecom,
};
use crate::world::synthetic::json::Json;
use crate::world::synthetic::shelf::Shelf;
use crate::world::synthetic::vocabulary::{ACCEPTING, ACCESSIBILITY, PAYERS, SPECIALTIES};

pub(super) fn locations(shelf: &mut Shelf, census: &Census) {
    for (number, (id, name, state, corners)) in AREAS.iter().enumerate() {
        let mut dice = Dice::new(census.seed, "area", number);
        shelf.put(id, |json| area(json, &mut dice, name, state, corners));
    }
    for number in 0..census.locations() {
        let mut dice = Dice::new(census.seed, "location", number);
        shelf.put(&location_id(number), |json| location(json, &mut dice, census, number));
    }
}

/// A region that networks and plans cover, with its boundary as GeoJSON.
pub(in crate::world::synthetic) fn area(
    json: &mut Json,
    dice: &mut Dice,
    name: &str,
    state: &str,
    corners: &[&str; 4],
) {
    meta(json, dice, &plan_net_extension("plannet-Location"));
    let [west, south, east, north] = corners;
    let boundary = format!(
        r#"{{"type":"Feature","properties":{{"NAME":"{name}"}},"geometry":{{"type":"Polygon","coordinates":[[[{west},{south}],[{east},{south}],[{east},{north}],[{west},{north}],[{west},{south}]]]}}}}"#
    );
    json.array("extension", |json| {
        extension(json, "http://hl7.org/fhir/StructureDefinition/location-boundary-geojson", |json| {
            json.object("valueAttachment", |json| {
                json.text("contentType", "application/geo+json");
                json.text("data", &STANDARD.encode(boundary));
            });
        });
    });
    json.text("status", "active");
    json.text("name", name);
    json.object("address", |json| {
        json.text("state", state);
        json.text("country", "USA");
    });
}

fn location(json: &mut Json, dice: &mut Dice, census: &Census, number: usize) {
    let organization = number % census.organizations;
    let address = Address::new(dice);
    let (kind, _, category) = practice(organization);
    let name = format!("{} {kind}, site {}", address.city.name, 1 + number / census.organizations);
    meta(json, dice, &plan_net_extension("plannet-Location"));
    let aids = dice.below(3);
    let (accepting, tells) = (dice.pick(&ACCEPTING), dice.one_in(3));
    if aids > 0 || tells {
        json.array("extension", |json| {
            for _ in 0..aids {
                extension(json, &plan_net_extension("accessibility"), |json| {
                    let code = dice.pick(&ACCESSIBILITY);
                    concept(json, "valueCodeableConcept", &plan_net_codes("AccessibilityCS"), code);
                });
            }
            if tells {
                let network = format!("Organization/{}", network_id(number));
                new_patients(json, accepting, Some(&network), None);
            }
        });
    }
    json.array("identifier", |json| {
        json.item(|json| {
            json.text("system", "https://threerivershealth.example/site");
            json.text("value", &format!("SITE-{number:06}"));
        });
    });
    json.text("status", "active");
    json.text("name", &name);
    json.array("type", |json| {
        let code = if category == "hosp" { ("HOSP", "Hospital") } else { ("OF", "Outpatient facility") };
        concept_item(json, "http://terminology.hl7.org/CodeSystem/v3-RoleCode", code);
    });
    let voice = phone(dice);
    let via = format!("Organization/{}", organization_id(organization));
    let via = dice.one_in(8).then_some(via.as_str());
    json.array("telecom", |json| telecom(json, "phone", &voice, TelecomExtras { via, ..TelecomExtras::default() }));
    json.object("address", |json| address.body(json, false));
    position(json, dice, &address);
    reference(json, "managingOrganization", &format!("Organization/{}", organization_id(organization)), "");
    if number >= census.organizations && dice.one_in(10) {
        reference(json, "partOf", &format!("Location/{}", location_id(organization)), "");
    }
    available_time(json, "hoursOfOperation", ("openingTime", "closingTime"), dice);
    if dice.one_in(9) {
        let endpoint = endpoint_id(organization % census.endpoints);
        json.array("endpoint", |json| reference_item(json, &format!("Endpoint/{endpoint}"), ""));
    }
}

/// Coordinates; now and then an empty string where a number belongs.
pub(in crate::world::synthetic) fn position(json: &mut Json, dice: &mut Dice, address: &Address) {
    match dice.below(60) {
        0 => json.object("position", |json| {
            json.text("longitude", "");
            json.text("latitude", "");
        }),
        1..=5 => {}
        _ => json.object("position", |json| {
            json.raw("longitude", &degrees(address.longitude));
            json.raw("latitude", &degrees(address.latitude));
        }),
    }
}

pub(super) fn services(shelf: &mut Shelf, census: &Census) {
    for number in 0..census.services {
        let mut dice = Dice::new(census.seed, "service", number);
        shelf.put(&service_id(number), |json| service(json, &mut dice, census, number));
    }
}

/// The guide's name of a service category.
fn category_name(category: &str) -> &'static str {
    match category {
        "hosp" => "Hospital",
        "prov" => "Medical Provider",
        "outpat" => "Clinic or Outpatient Facility",
        "group" => "Medical Group",
        "urg" => "Urgent Care",
        "behav" => "Behavioral Health",
        "lab" => "Laboratory",
        "dent" => "Dental",
        "home" => "Home Health",
        _ => "Other",
    }
}

fn service(json: &mut Json, dice: &mut Dice, census: &Census, number: usize) {
    let organization = number % census.organizations;
    let (kind, _, category) = practice(organization);
    let remote = dice.one_in(5);
    meta(json, dice, &plan_net_extension("plannet-HealthcareService"));
    json.array("extension", |json| {
        delivery(json, dice, remote);
        if dice.one_in(2) {
            let network = format!("Organization/{}", network_id(number));
            let accepting = dice.pick(&ACCEPTING);
            new_patients(json, accepting, dice.one_in(2).then_some(network.as_str()), None);
        }
    });
    json.flag("active", true);
    reference(json, "providedBy", &format!("Organization/{}", organization_id(organization)), "");
    json.array("category", |json| {
        concept_item(json, &plan_net_codes("HealthcareServiceCategoryCS"), (category, category_name(category)));
    });
    let specialty = dice.pick(&SPECIALTIES);
    json.array("specialty", |json| concept_item(json, NUCC, (specialty.code, specialty.display)));
    if !remote {
        json.array("location", |json| {
            for which in 0..dice.between(1, 3) {
                let location = location_id(census.location_of(organization, which));
                reference_item(json, &format!("Location/{location}"), "");
            }
        });
    }
    json.text("name", &format!("{kind}: {}", specialty.display));
    if dice.one_in(4) {
        json.text("comment", "Referral needed for \"second opinion\" visits\nCall ahead");
    }
    let voice = phone(dice);
    json.array("telecom", |json| telecom(json, "phone", &voice, TelecomExtras::default()));
    if remote || dice.one_in(5) {
        json.array("coverageArea", |json| {
            let (area, name, ..) = dice.pick(&AREAS);
            reference_item(json, &format!("Location/{area}"), name);
        });
    }
    json.flag("appointmentRequired", !dice.one_in(3));
    available_time(json, "availableTime", ("availableStartTime", "availableEndTime"), dice);
    if dice.one_in(8) {
        let endpoint = endpoint_id(organization % census.endpoints);
        json.array("endpoint", |json| reference_item(json, &format!("Endpoint/{endpoint}"), PAYERS[0]));
    }
}

/// The extension `delivery-method`, with modalities when the service is virtual.
pub(in crate::world::synthetic) fn delivery(json: &mut Json, dice: &mut Dice, remote: bool) {
    let how = if remote { ("virtual", "Virtual") } else { ("physical", "Physical") };
    complex_extension(json, &plan_net_extension("delivery-method"), |json| {
        extension(json, "type", |json| concept(json, "valueCodeableConcept", &plan_net_codes("DeliveryMethodCS"), how));
        let modalities = if remote { dice.between(1, 4) } else { 0 };
        for modality in [("video", "Video"), ("phone", "Telephone"), ("app", "App")].into_iter().take(modalities) {
            extension(json, "virtualModalities", |json| {
                concept(json, "valueCodeableConcept", &plan_net_codes("VirtualModalitiesCS"), modality);
            });
        }
    });
}
