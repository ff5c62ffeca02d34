//! STU 1: List (`DRUGPOL`, one per plan) and MedicationKnowledge (one per drug and plan).

use super::{ACT_CODE, Drug, GUIDE, PHARMACY_TYPES, RXNORM, TIERS, codes, covers, drugs, plan_id, plans, usdf};
use crate::world::synthetic::dice::Dice;
use crate::world::synthetic::elements::{coding, complex_extension, concept, extension, meta, reference};
use crate::world::synthetic::json::Json;
use crate::world::synthetic::shelf::Shelf;
use crate::world::table::ResourceTable;

pub(in crate::world::synthetic) fn tables(seed: u64, size: usize) -> Vec<ResourceTable> {
    let mut list = Shelf::new("List");
    let mut medication_knowledge = Shelf::new("MedicationKnowledge");
    let catalogue: Vec<Drug> = (0..drugs(size)).map(|number| Drug::new(seed, number)).collect();
    for plan in 0..plans(size) {
        let covered: Vec<usize> = (0..catalogue.len()).filter(|drug| covers(seed, plan, *drug)).collect();
        let mut dice = Dice::new(seed, "coverage-plan", plan);
        let ids: Vec<String> =
            covered.iter().filter_map(|drug| catalogue.get(*drug)).map(|drug| drug_id(plan, drug)).collect();
        list.put(&format!("plan-{}", plan_id(plan)), |json| coverage_plan(json, &mut dice, plan, &ids));
        for (place, number) in covered.iter().enumerate() {
            let Some(drug) = catalogue.get(*number) else { continue };
            let mut dice = Dice::new(seed, "formulary-drug-1", plan * 100_000 + number);
            // The drug after this one that is covered as well stands in for it.
            let alternative = ids.get((place + 1) % ids.len()).map(String::as_str).unwrap_or("");
            medication_knowledge
                .put(&drug_id(plan, drug), |json| formulary_drug(json, &mut dice, plan, drug, alternative));
        }
    }
    vec![list.close(), medication_knowledge.close()]
}

fn drug_id(plan: usize, drug: &Drug) -> String {
    format!("{}-{}", plan_id(plan), drug.rxnorm)
}

fn coverage_plan(json: &mut Json, dice: &mut Dice, plan: usize, drugs: &[String]) {
    meta(json, dice, &format!("{GUIDE}/StructureDefinition/usdf-CoveragePlan"));
    let site = format!("https://www.threerivershealth.example/{}", plan_id(plan));
    json.array("extension", |json| {
        TIERS.iter().enumerate().for_each(|(number, tier)| tier_definition(json, plan, number, *tier));
        for network in ["Three Rivers Preferred PPO", "Lake Erie Community Network"].iter().take(1 + plan % 2) {
            extension(json, &usdf("Network"), |json| json.text("valueString", network));
        }
        extension(json, &usdf("SummaryURL"), |json| json.text("valueUrl", &format!("{site}/summary")));
        extension(json, &usdf("FormularyURL"), |json| json.text("valueUrl", &format!("{site}/formulary")));
        extension(json, &usdf("EmailPlanContact"), |json| {
            json.text("valueUrl", "mailto:plans@threerivershealth.example");
        });
        extension(json, &usdf("MarketingURL"), |json| json.text("valueUrl", &site));
        extension(json, &usdf("PlanIDType"), |json| json.text("valueString", "HIOS-PLAN-ID"));
    });
    json.array("identifier", |json| json.item(|json| json.text("value", &plan_id(plan))));
    json.text("status", "current");
    json.text("mode", "snapshot");
    json.text("title", &format!("Three Rivers coverage plan {}", plan + 1));
    concept(json, "code", ACT_CODE, ("DRUGPOL", "drug policy"));
    json.text("date", "2026-01-01T00:00:00+00:00");
    json.array("entry", |json| {
        for drug in drugs {
            json.item(|json| reference(json, "item", &format!("MedicationKnowledge/{drug}"), ""));
        }
    });
}

fn tier_definition(json: &mut Json, plan: usize, number: usize, tier: (&str, &str)) {
    complex_extension(json, &usdf("DrugTierDefinition"), |json| {
        extension(json, "drugTierID", |json| concept(json, "valueCodeableConcept", &codes("usdf-DrugTierCS"), tier));
        extension(json, "mailOrder", |json| json.flag("valueBoolean", number < 4));
        for (turn, pharmacy) in PHARMACY_TYPES.iter().enumerate().take(2 + number % 3) {
            complex_extension(json, "costSharing", |json| {
                extension(json, "pharmacyType", |json| {
                    concept(json, "valueCodeableConcept", &codes("usdf-PharmacyTypeCS"), *pharmacy);
                });
                extension(json, "copayAmount", |json| {
                    json.object("valueMoney", |json| {
                        json.raw("value", &format!("{}.{:02}", (turn + 1) * (5 + number * 15), (plan * 25) % 100));
                        json.text("currency", "USD");
                    });
                });
                extension(json, "copayOption", |json| {
                    let code = ("after-deductible", "After Deductible");
                    concept(json, "valueCodeableConcept", &codes("usdf-CopayOptionCS"), code);
                });
                let rate = if number == 5 { "0.25" } else { "0.0" };
                extension(json, "coinsuranceRate", |json| json.raw("valueDecimal", rate));
                extension(json, "coinsuranceOption", |json| {
                    let code = ("no-charge", "No Charge");
                    concept(json, "valueCodeableConcept", &codes("usdf-CoinsuranceOptionCS"), code);
                });
            });
        }
    });
}

fn formulary_drug(json: &mut Json, dice: &mut Dice, plan: usize, drug: &Drug, alternative: &str) {
    meta(json, dice, &format!("{GUIDE}/StructureDefinition/usdf-FormularyDrug"));
    let (code, display) = drug.tier(dice);
    json.array("extension", |json| {
        extension(json, &usdf("PlanID"), |json| json.text("valueString", &plan_id(plan)));
        extension(json, &usdf("DrugTierID"), |json| {
            // As met: a tier without its display.
            let display = if dice.one_in(8) { "" } else { display };
            concept(json, "valueCodeableConcept", &codes("usdf-DrugTierCS"), (code, display));
        });
        for name in ["PriorAuthorization", "StepTherapyLimit", "QuantityLimit", "MailOrder"] {
            let (told, holds) = (!dice.one_in(7), dice.one_in(3));
            if told {
                extension(json, &usdf(name), |json| json.flag("valueBoolean", holds));
            }
        }
        if dice.one_in(4) {
            extension(json, &usdf("DrugAlternatives"), |json| {
                reference(json, "valueReference", &format!("MedicationKnowledge/{alternative}"), "");
            });
        }
    });
    json.object("code", |json| {
        json.array("coding", |json| {
            coding(json, RXNORM, (&drug.rxnorm, &drug.name));
            if dice.one_in(3) {
                coding(json, super::NDC, (&drug.ndc, ""));
            }
        });
    });
    json.text("status", "active");
}
