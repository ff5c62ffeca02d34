//! Members and what belongs to them: found by `patient`, whole by `$everything`, and nobody else's business.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fhirvest_sandbox::{Options, World};
use serde_json::Value;
use support::{Running, link, run};

const WHOLE: &str = "/highmark/patient-access";

fn world() -> Arc<World> {
    Arc::new(World::synthetic(1, 60))
}

/// The resources of every type of a mount.
fn all(world: &World, mount: &str) -> BTreeMap<String, Vec<Value>> {
    let found = world.mounts().iter().find(|known| known.path == mount).unwrap();
    let read = |kind: &str| world.resources(mount, kind).map(|text| serde_json::from_str(text).unwrap()).collect();
    found.types().map(|(kind, _)| (kind.to_owned(), read(kind))).collect()
}

/// Every reference of a resource.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        Value::Object(object) => {
            found.extend(object.get("reference").and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| references(value, found));
        }
        _ => {}
    }
}

#[test]
fn every_api_about_persons_has_members_and_what_their_guide_names() {
    let world = world();
    let types = |mount: &str| all(&world, mount).into_keys().collect::<Vec<_>>();
    let about_persons: Vec<&str> =
        world.mounts().iter().filter(|mount| mount.members().len() > 1).map(|mount| mount.path.as_str()).collect();
    assert_eq!(about_persons.len(), 6);
    assert!(about_persons.iter().all(|mount| !types(mount).is_empty()));
    assert_eq!(types("/highmark/esi-patient-access"), ["AllergyIntolerance", "Condition", "Observation", "Procedure"]);
    let prime = "/bcbs-wyoming/prime-explanation-of-benefits";
    assert_eq!(types(prime), ["Coverage", "ExplanationOfBenefit", "Organization", "Patient", "Practitioner"]);
    assert!(
        all(&world, prime)["ExplanationOfBenefit"].iter().all(|one| one["type"]["coding"][0]["code"] == "pharmacy")
    );
    for sample in [
        WHOLE,
        "/highmark/sandbox-patient-access",
        "/bcbs-wyoming/patient-access",
        "/bcbs-wyoming/sandbox-patient-access",
    ] {
        assert_eq!(types(sample).len(), 20, "{sample}");
    }
}

#[test]
fn what_is_referred_to_is_there() {
    let world = world();
    for mount in [WHOLE, "/bcbs-wyoming/prime-explanation-of-benefits", "/highmark/esi-patient-access"] {
        let resources = all(&world, mount);
        let mut wanted = BTreeSet::new();
        resources.values().flatten().for_each(|resource| references(resource, &mut wanted));
        for reference in &wanted {
            let unversioned = reference.split("/_history/").next().unwrap();
            let Some((kind, id)) = unversioned.split_once('/') else { continue };
            let Some(known) = resources.get(kind) else { continue };
            assert!(known.iter().any(|one| one["id"] == id), "{mount} {reference}");
        }
    }
}

#[test]
fn pharmacy_claims_have_what_a_pharmacy_claim_has() {
    let claims = &all(&world(), "/bcbs-wyoming/prime-explanation-of-benefits")["ExplanationOfBenefit"];
    let (mut categories, mut shapes) = (BTreeSet::new(), BTreeSet::new());
    for claim in claims {
        for info in claim["supportingInfo"].as_array().unwrap() {
            categories.insert(info["category"]["coding"][0]["code"].as_str().unwrap());
        }
        for item in claim["item"].as_array().unwrap() {
            for decided in item["adjudication"].as_array().unwrap() {
                categories.insert(decided["category"]["coding"][0]["code"].as_str().unwrap());
            }
            let ndc = item["productOrService"]["coding"][0]["code"].as_str().unwrap();
            shapes.insert(if ndc.contains('-') {
                "hyphens"
            } else if ndc == "compound" {
                "compound"
            } else {
                "digits"
            });
        }
    }
    for code in [
        "dayssupply",
        "refillnum",
        "refillsauthorized",
        "dawcode",
        "brandgenericindicator",
        "rxorigincode",
        "compoundcode",
        "clmrecvddate",
        "rejectreason",
        "drugcost",
        "copay",
    ] {
        assert!(categories.contains(code), "{code}");
    }
    assert_eq!(shapes, BTreeSet::from(["compound", "digits", "hyphens"]));
}

#[tokio::test]
async fn patient_finds_what_belongs_to_a_member_and_everything_finds_it_all() {
    let sandbox = run(world(), Options::default()).await;
    let mount = sandbox.world.mounts().iter().find(|mount| mount.path == WHOLE).unwrap();
    let member = mount.members()[1].clone();
    let mut by_type: BTreeMap<String, usize> = BTreeMap::new();
    for (kind, count) in mount.types() {
        let parameter = if kind == "Patient" { "_id" } else { "patient" };
        if matches!(kind, "Practitioner" | "Organization" | "Location") {
            continue;
        }
        let found = sandbox.crawl(&format!("{WHOLE}/{kind}?{parameter}={member}")).await.len();
        assert!(found < count && (found > 0 || kind == "Device"), "{kind}: {found} of {count}");
        if found > 0 {
            by_type.insert(kind.to_owned(), found);
        }
    }
    let mut everything: BTreeMap<String, usize> = BTreeMap::new();
    let mut next = Some(format!("{WHOLE}/Patient/{member}/$everything?_count=7"));
    while let Some(target) = next {
        let page = sandbox.json(&target).await;
        for entry in page["entry"].as_array().unwrap() {
            *everything.entry(entry["resource"]["resourceType"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        next = link(&page, "next");
    }
    for kind in ["Practitioner", "Organization", "Location"] {
        assert!(everything.remove(kind).unwrap() > 0, "{kind}");
    }
    assert_eq!(everything, by_type);
}

async fn status(sandbox: &Running, target: &str) -> u16 {
    sandbox.get(&format!("{WHOLE}/{target}")).await.status().as_u16()
}

#[tokio::test]
async fn a_member_sees_nobody_else() {
    let world = world();
    let members = world.mounts().iter().find(|mount| mount.path == WHOLE).unwrap().members().to_vec();
    let (own, other) = (&members[0], &members[1]);
    let sandbox = run(world, Options { member: Some(own.clone()), ..Options::default() }).await;
    for (target, expected) in [
        (format!("Condition?patient={own}"), 200),
        (format!("Condition?patient=Patient/{own}"), 200),
        (format!("Condition?patient={other}"), 403),
        (format!("Condition?patient={own},{other}"), 403),
        (format!("Coverage?beneficiary:Patient={other}"), 403),
        (format!("Patient?_id={other}"), 403),
        (format!("Patient/{own}"), 200),
        (format!("Patient/{other}"), 403),
        (format!("Coverage/{other}-coverage"), 403),
        (format!("Coverage/{own}-coverage"), 200),
        ("Practitioner/practitioner-1".to_owned(), 200),
        (format!("Patient/{other}/$everything"), 403),
        (format!("Patient/{own}/$everything"), 200),
        ("$export".to_owned(), 403),
    ] {
        assert_eq!(status(&sandbox, &target).await, expected, "{target}");
    }
    // A search that names nobody finds the caller's own, and nobody else's comes along with what is nobody's.
    let conditions = sandbox.crawl(&format!("{WHOLE}/Condition?_count=2")).await;
    assert!(!conditions.is_empty() && conditions.keys().all(|id| id.starts_with(own.as_str())), "{conditions:?}");
    let along =
        sandbox.json(&format!("{WHOLE}/Organization?_revinclude=ExplanationOfBenefit:provider&_count=50")).await;
    let claims: Vec<&str> = along["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["resource"])
        .filter(|resource| resource["resourceType"] == "ExplanationOfBenefit")
        .map(|resource| resource["id"].as_str().unwrap())
        .collect();
    assert!(!claims.is_empty() && claims.iter().all(|id| id.starts_with(own.as_str())));
}
