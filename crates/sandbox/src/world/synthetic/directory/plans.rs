//! InsurancePlan and Endpoint.

use super::{AREAS, Census, endpoint_id, network_id, organization_id, payer_id};
use crate::world::synthetic::dice::Dice;
use crate::world::synthetic::elements::{
    complex_extension, concept, concept_item, extension, meta, phone, plan_net_codes, plan_net_extension, reference,
    reference_item,
};
use crate::world::synthetic::json::Json;
use crate::world::synthetic::shelf::Shelf;
use crate::world::synthetic::vocabulary::{NETWORKS, PAYERS, PRODUCTS};

pub(super) fn insurance_plans(shelf: &mut Shelf, census: &Census) {
    for number in 0..census.plans {
        let mut dice = Dice::new(census.seed, "plan", number);
        let id = format!("plan-{number:04}");
        shelf.put(&id, |json| insurance_plan(json, &mut dice, census, number));
    }
}

fn insurance_plan(json: &mut Json, dice: &mut Dice, census: &Census, number: usize) {
    let (code, display, tier) = PRODUCTS.get(number % PRODUCTS.len()).copied().unwrap_or(PRODUCTS[0]);
    let payer = PAYERS.get(number % PAYERS.len()).copied().unwrap_or("");
    let owner = format!("Organization/{}", payer_id(number));
    meta(json, dice, &plan_net_extension("plannet-InsurancePlan"));
    json.array("identifier", |json| {
        json.item(|json| {
            // Medicare contract ids are met with and without hyphens.
            let contract = 1_000 + number;
            if code.starts_with("medi") {
                json.text("system", "https://www.cms.gov/medicare/ma-plan-id");
                let hyphens = format!("H{contract}-{:03}-000", number % 40);
                let value = if dice.one_in(3) { hyphens.replace('-', "") } else { hyphens };
                json.text("value", &value);
            } else {
                json.text("system", "http://cms.gov/hios/plan-id");
                json.text("value", &format!("{}PA{:07}", 33_700 + number % 90, 70_000 + number));
            }
        });
    });
    json.text("status", "active");
    json.array("type", |json| concept_item(json, &plan_net_codes("InsuranceProductTypeCS"), (code, display)));
    json.text("name", &format!("{payer} {display} {}", 2_024 + number % 3));
    if dice.one_in(3) {
        json.array("alias", |json| json.text_item(&format!("{display} {number}")));
    }
    json.object("period", |json| {
        json.text("start", "2026-01-01");
        json.text("end", "2026-12-31");
    });
    reference(json, "ownedBy", &owner, payer);
    reference(json, "administeredBy", &owner, payer);
    json.array("coverageArea", |json| {
        let (area, name, ..) = AREAS.get(number % AREAS.len()).copied().unwrap_or(AREAS[0]);
        reference_item(json, &format!("Location/{area}"), name);
    });
    if dice.one_in(4) {
        let endpoint = endpoint_id(number % census.endpoints);
        json.array("endpoint", |json| reference_item(json, &format!("Endpoint/{endpoint}"), ""));
    }
    let networks = |json: &mut Json, count: usize| {
        json.array("network", |json| {
            for turn in 0..count {
                let number = (number + turn) % NETWORKS.len();
                let name = NETWORKS.get(number).copied().unwrap_or("");
                reference_item(json, &format!("Organization/{}", network_id(number)), name);
            }
        });
    };
    // The guide's invariant: a network on the plan itself or on plan.plan.
    let inside = dice.one_in(3);
    if !inside {
        networks(json, 1 + number % 2);
    }
    json.array("plan", |json| {
        json.item(|json| {
            concept(json, "type", &plan_net_codes("InsurancePlanTypeCS"), tier);
            if inside {
                networks(json, 2);
            }
        });
    });
}

pub(super) fn endpoints(shelf: &mut Shelf, census: &Census) {
    for number in 0..census.endpoints {
        let mut dice = Dice::new(census.seed, "endpoint", number);
        shelf.put(&endpoint_id(number), |json| endpoint(json, &mut dice, number));
    }
}

fn endpoint(json: &mut Json, dice: &mut Dice, number: usize) {
    meta(json, dice, &plan_net_extension("plannet-Endpoint"));
    let direct = dice.one_in(2);
    json.array("extension", |json| {
        complex_extension(json, &plan_net_extension("endpoint-usecase"), |json| {
            extension(json, "type", |json| {
                let system = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
                let code = if direct { ("TREAT", "treatment") } else { ("HOPERAT", "healthcare operations") };
                concept(json, "valueCodeableConcept", system, code);
            });
            if direct {
                extension(json, "standard", |json| json.text("valueUri", "http://wiki.directproject.org"));
            }
        });
    });
    json.text("status", "active");
    json.object("connectionType", |json| {
        let (system, code) = match direct {
            true => ("http://terminology.hl7.org/CodeSystem/endpoint-connection-type", "direct-project"),
            false => {
                ("http://hl7.org/fhir/us/davinci-pdex-plan-net/CodeSystem/EndpointConnectionTypeCS", "rest-non-fhir")
            }
        };
        json.text("system", system);
        json.text("code", code);
    });
    json.text("name", &format!("Exchange address {number}"));
    reference(json, "managingOrganization", &format!("Organization/{}", organization_id(number)), "");
    let voice = phone(dice);
    json.array("contact", |json| {
        json.item(|json| {
            json.text("system", "phone");
            json.text("value", &voice);
        });
    });
    json.array("payloadType", |json| {
        concept_item(json, &plan_net_codes("EndpointPayloadTypeCS"), ("NA", "Not Applicable"));
    });
    let address = match direct {
        true => format!("mailto:records{number}@direct.practice{number}.example"),
        false => format!("https://api.practice{number}.example/exchange"),
    };
    json.text("address", &address);
}
