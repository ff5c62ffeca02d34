//! STU 2: InsurancePlan (payer plans and formularies), Basic (formulary items), MedicationKnowledge (drugs), Location.

use super::{ACT_CODE, Drug, GUIDE, PHARMACY_TYPES, RXNORM, TIERS, codes, covers, drugs, plan_id, plans, usdf};
use crate::world::synthetic::dice::Dice;
use crate::world::synthetic::directory::{AREAS, area};
use crate::world::synthetic::elements::{
    coding, complex_extension, concept, concept_item, extension, meta, plan_net_codes, reference, reference_item,
};
use crate::world::synthetic::json::Json;
use crate::world::synthetic::shelf::Shelf;
use crate::world::synthetic::vocabulary::PRODUCTS;
use crate::world::table::ResourceTable;

fn profile(name: &str) -> String {
    format!("{GUIDE}/StructureDefinition/usdf-{name}")
}

/// The code system's name drifts between the guide (`…-TEMPORARY-TRIAL-USE`) and what servers were loaded with.
fn trial(name: &str, number: usize) -> String {
    let suffix = if number.is_multiple_of(2) { "-TEMPORARY-TRIAL-USE" } else { "" };
    codes(&format!("{name}{suffix}"))
}

pub(in crate::world::synthetic) fn tables(seed: u64, size: usize) -> Vec<ResourceTable> {
    let mut basic = Shelf::new("Basic");
    let mut insurance_plan = Shelf::new("InsurancePlan");
    let mut location = Shelf::new("Location");
    let mut medication_knowledge = Shelf::new("MedicationKnowledge");
    for (number, (id, name, state, corners)) in AREAS.iter().enumerate() {
        let mut dice = Dice::new(seed, "formulary-area", number);
        location.put(id, |json| area(json, &mut dice, name, state, corners));
    }
    let catalogue: Vec<Drug> = (0..drugs(size)).map(|number| Drug::new(seed, number)).collect();
    for (number, drug) in catalogue.iter().enumerate() {
        let mut dice = Dice::new(seed, "formulary-drug", number);
        medication_knowledge.put(&format!("drug-{}", drug.rxnorm), |json| formulary_drug(json, &mut dice, drug));
    }
    for plan in 0..plans(size) {
        let mut dice = Dice::new(seed, "formulary-plan", plan);
        insurance_plan.put(&format!("formulary-{}", plan_id(plan)), |json| formulary(json, &mut dice, plan));
        insurance_plan.put(&format!("payer-plan-{}", plan_id(plan)), |json| payer_plan(json, &mut dice, plan));
        for (number, drug) in catalogue.iter().enumerate().filter(|(number, _)| covers(seed, plan, *number)) {
            let mut dice = Dice::new(seed, "formulary-item", plan * 100_000 + number);
            let id = format!("item-{}-{}", plan_id(plan), drug.rxnorm);
            basic.put(&id, |json| formulary_item(json, &mut dice, plan, drug));
        }
    }
    vec![basic.close(), insurance_plan.close(), location.close(), medication_knowledge.close()]
}

fn formulary_drug(json: &mut Json, dice: &mut Dice, drug: &Drug) {
    meta(json, dice, &profile("FormularyDrug"));
    json.object("code", |json| {
        json.array("coding", |json| {
            coding(json, RXNORM, (&drug.rxnorm, &drug.name));
            if !dice.one_in(3) {
                coding(json, RXNORM, (&drug.group.0, &drug.group.1));
            }
            if dice.one_in(3) {
                coding(json, super::NDC, (&drug.ndc, ""));
            }
        });
    });
    json.text("status", "active");
    concept(json, "doseForm", "http://snomed.info/sct", drug.form);
}

fn drug_policy(json: &mut Json) {
    concept_item(json, ACT_CODE, ("DRUGPOL", "drug policy"));
}

fn year(json: &mut Json, key: &str) {
    json.object(key, |json| {
        json.text("start", "2026-01-01");
        json.text("end", "2026-12-31");
    });
}

fn formulary(json: &mut Json, dice: &mut Dice, plan: usize) {
    meta(json, dice, &profile("Formulary"));
    json.array("identifier", |json| json.item(|json| json.text("value", &format!("formulary-{}", plan_id(plan)))));
    json.text("status", "active");
    json.array("type", drug_policy);
    json.text("name", &format!("Three Rivers Formulary {}", plan + 1));
    year(json, "period");
}

fn payer_plan(json: &mut Json, dice: &mut Dice, plan: usize) {
    let (code, display, _) = PRODUCTS.get(plan % PRODUCTS.len()).copied().unwrap_or(PRODUCTS[0]);
    meta(json, dice, &profile("PayerInsurancePlan"));
    json.array("identifier", |json| {
        json.item(|json| {
            json.text("system", "http://cms.gov/hios/plan-id");
            json.text("value", &plan_id(plan));
        });
    });
    json.text("status", "active");
    json.array("type", |json| concept_item(json, &plan_net_codes("InsuranceProductTypeCS"), (code, display)));
    json.text("name", &format!("Three Rivers {display} {}", plan + 1));
    year(json, "period");
    json.array("coverageArea", |json| {
        let (area, name, ..) = AREAS.get(plan % AREAS.len()).copied().unwrap_or(AREAS[0]);
        reference_item(json, &format!("Location/{area}"), name);
    });
    contacts(json, plan);
    json.array("coverage", |json| {
        json.item(|json| {
            json.array("extension", |json| {
                extension(json, &usdf("FormularyReference"), |json| {
                    reference(json, "valueReference", &format!("InsurancePlan/formulary-{}", plan_id(plan)), "");
                });
            });
            concept(json, "type", ACT_CODE, ("DRUGPOL", "drug policy"));
            json.array("benefit", |json| {
                json.item(|json| {
                    concept(
                        json,
                        "type",
                        "http://terminology.hl7.org/CodeSystem/insurance-plan-type",
                        ("drug", "Drug"),
                    );
                });
            });
        });
    });
    json.array("plan", |json| {
        json.item(|json| {
            json.array("identifier", |json| json.item(|json| json.text("value", &plan_id(plan))));
            concept(json, "type", "http://terminology.hl7.org/CodeSystem/insurance-plan-type", ("drug", "Drug"));
            json.array("network", |json| json.item(|json| json.text("display", "PREFERRED")));
            json.array("specificCost", |json| {
                for (turn, pharmacy) in PHARMACY_TYPES.iter().enumerate() {
                    specific_cost(json, plan, turn, *pharmacy);
                }
            });
        });
    });
}

fn contacts(json: &mut Json, plan: usize) {
    json.array("contact", |json| {
        for (code, what) in [("SUMMARY", "summary"), ("FORMULARY", "formulary"), ("MARKETING", "marketing")] {
            json.item(|json| {
                concept(json, "purpose", &trial("usdf-PlanContactTypeCS", plan), (code, ""));
                json.array("telecom", |json| {
                    json.item(|json| {
                        json.text("system", "url");
                        json.text("value", &format!("https://www.threerivershealth.example/{}/{what}", plan_id(plan)));
                    });
                });
            });
        }
    });
}

fn specific_cost(json: &mut Json, plan: usize, turn: usize, pharmacy: (&str, &str)) {
    let months = if turn >= 2 { 3 } else { 1 };
    json.item(|json| {
        concept(json, "category", &trial("usdf-PharmacyBenefitTypeCS", plan), pharmacy);
        json.array("benefit", |json| {
            for (number, tier) in TIERS.iter().enumerate() {
                json.item(|json| {
                    concept(json, "type", &trial("usdf-DrugTierCS", plan), *tier);
                    json.array("cost", |json| {
                        let copay = format!("{}.{:02}", months * (5 + number * 15 + plan), (plan * 25) % 100);
                        cost(json, plan, ("copay", "Copay"), "after-deductible", |json| {
                            json.raw("value", &copay);
                            json.text("unit", "$");
                            json.text("system", "urn:iso:std:iso:4217");
                            json.text("code", "USD");
                        });
                        let rate = if number == 5 { "25.0" } else { "0" };
                        cost(json, plan, ("coinsurance", "Coinsurance"), "before-deductible", |json| {
                            json.raw("value", rate);
                            json.text("system", "http://unitsofmeasure.org");
                            json.text("code", "%");
                        });
                    });
                });
            }
        });
    });
}

fn cost(json: &mut Json, plan: usize, kind: (&str, &str), option: &str, value: impl FnOnce(&mut Json)) {
    json.item(|json| {
        concept(json, "type", &trial("usdf-BenefitCostTypeCS", plan), kind);
        json.array("qualifiers", |json| concept_item(json, &trial("usdf-CostShareOptionCS", plan), (option, "")));
        json.object("value", value);
    });
}

fn formulary_item(json: &mut Json, dice: &mut Dice, plan: usize, drug: &Drug) {
    meta(json, dice, &profile("FormularyItem"));
    let tier = drug.tier(dice);
    let types = dice.between(1, PHARMACY_TYPES.len() + 1);
    json.array("extension", |json| {
        extension(json, &usdf("FormularyReference"), |json| {
            reference(json, "valueReference", &format!("InsurancePlan/formulary-{}", plan_id(plan)), "");
        });
        let status = if dice.one_in(25) { "inactive" } else { "active" };
        extension(json, &usdf("AvailabilityStatus"), |json| json.text("valueCode", status));
        if !dice.one_in(4) {
            extension(json, &usdf("AvailabilityPeriod"), |json| year(json, "valuePeriod"));
        }
        for pharmacy in PHARMACY_TYPES.iter().take(types) {
            extension(json, &usdf("PharmacyBenefitType"), |json| {
                concept(json, "valueCodeableConcept", &trial("usdf-PharmacyBenefitTypeCS", plan), *pharmacy);
            });
        }
        extension(json, &usdf("DrugTierID"), |json| {
            concept(json, "valueCodeableConcept", &trial("usdf-DrugTierCS", plan), tier);
        });
        limits(json, dice);
    });
    json.object("code", |json| {
        json.array("coding", |json| {
            coding(json, &codes("usdf-InsuranceItemTypeCS"), ("formulary-item", "Formulary Item"));
        });
    });
    reference(json, "subject", &format!("MedicationKnowledge/drug-{}", drug.rxnorm), "");
}

/// Restrictions; an absent one says nothing, which is not the same as `false`.
fn limits(json: &mut Json, dice: &mut Dice) {
    let restriction = |json: &mut Json, dice: &mut Dice, name: &str| -> bool {
        let (told, holds) = (!dice.one_in(6), dice.one_in(4));
        if told {
            extension(json, &usdf(name), |json| json.flag("valueBoolean", holds));
        }
        told && holds
    };
    if restriction(json, dice, "PriorAuthorization") && dice.one_in(2) {
        extension(json, &usdf("PriorAuthorizationNewStartsOnly"), |json| json.flag("valueBoolean", true));
    }
    if restriction(json, dice, "StepTherapyLimit") && dice.one_in(2) {
        extension(json, &usdf("StepTherapyLimitNewStartsOnly"), |json| json.flag("valueBoolean", false));
    }
    if restriction(json, dice, "QuantityLimit") {
        quantity_limit(json, dice);
    }
    if dice.one_in(15) {
        extension(json, &usdf("AdditionalCoverageInformation"), |json| {
            json.text("valueMarkdown", "Prior authorization is needed for a *newly started* medication only.");
        });
    }
}

fn quantity_limit(json: &mut Json, dice: &mut Dice) {
    let count = dice.between(1, 13) * 10;
    complex_extension(json, &usdf("QuantityLimitDetail"), |json| {
        extension(json, "Description", |json| json.text("valueString", &format!("{count} every 30 days")));
        extension(json, "Rolling", |json| repeat(json, count, 30));
        extension(json, "MaximumDaily", |json| json.object("valueQuantity", |json| json.raw("value", "2")));
        if count > 60 {
            extension(json, "DaysSupply", |json| repeat(json, 1, 180));
        }
    });
}

fn repeat(json: &mut Json, count: usize, days: usize) {
    json.object("valueTiming", |json| {
        json.object("repeat", |json| {
            json.raw("count", &count.to_string());
            json.raw("period", &days.to_string());
            json.text("periodUnit", "d");
        });
    });
}
