//! The views and macros of `views.sql` over what the shipped jobs bring.

use serde_json::{Value, json};

use crate::harness::{Home, workspace};

fn first(home: &Home, sql: &str) -> Value {
    home.duckdb(sql).into_iter().next().unwrap()
}

#[test]
fn every_derived_view_answers_its_question() {
    let home = Home::new();
    let jobs = workspace().join("jobs");
    let jobs = jobs.to_str().unwrap();
    home.run(&["--jobs", jobs, "run", "provider-directory", "pharmacy-directory", "formulary", "-q"]).expect(0);

    let values = first(
        &home,
        "SELECT phone10('+1 (412) 555-0100 x7') AS a, phone10('0412 555') AS b, ndc11('0069-2587-10') AS c, ndc11('00069-258-10') AS d,
           ndc11('00069-2587-1') AS e, ndc11('0069258710') AS f, zip5('15222-1234') AS g, zip5('1522') AS h,
           npi_valid('1234567893') AS i, npi_valid('1234567890') AS j, npi_valid('x') AS k, luhn_valid('79927398713') AS l",
    );
    let expected = json!({"a": "4125550100", "b": null, "c": "00069258710", "d": "00069025810", "e": "00069258701", "f": null,
        "g": "15222", "h": null, "i": true, "j": false, "k": false, "l": true});
    assert_eq!(values, expected);

    // Each signal against a query of its own.
    let d = "highmark_provider_directory";
    for (signal, query) in [
        (
            "practitioner-without-role",
            format!("{d}.practitioner p ANTI JOIN {d}.practitioner_role r ON r.practitioner_id = p.id"),
        ),
        ("role-without-location", format!("{d}.practitioner_role r ANTI JOIN {d}.role_location l ON l.role_id = r.id")),
        ("role-without-network", format!("{d}.practitioner_role r ANTI JOIN {d}.role_network n ON n.role_id = r.id")),
        ("invalid-npi", format!("{d}.practitioner WHERE npi IS NOT NULL AND NOT npi_valid(npi)")),
    ] {
        let found = home.count(&format!("{d}.ghost_signals WHERE signal = '{signal}'"));
        assert_eq!((found, found > 0), (home.count(&query), true), "{signal}");
    }
    assert!(home.count(&format!("{d}.ghost_signals WHERE signal = 'dangling-reference'")) > 0);

    let p = "highmark_esi_provider_directory";
    let pharmacies = first(
        &home,
        &format!(
            "SELECT count(*) = (SELECT count(*) FROM {p}.affiliation_code WHERE code = 'pharmacy') AS each_once,
            bool_and(name IS NOT NULL AND npi IS NOT NULL AND ncpdp_id IS NOT NULL AND phone10 IS NOT NULL) AS told,
            bool_or(is_mail_order) AS mail, bool_or(is_compounding) AS compounding, bool_or(is_specialty) AS specialty,
            bool_or(len(networks) > 0) AS networked FROM {p}.pharmacy"
        ),
    );
    let all = json!({"each_once": true, "told": true, "mail": true, "compounding": true, "specialty": true, "networked": true});
    assert_eq!(pharmacies, all);

    let npi =
        first(&home, "SELECT min(npi) AS npi FROM \"all\".participation WHERE kind = 'practitioner'")["npi"].clone();
    let npi = npi.as_str().unwrap();
    let by_hand = format!(
        "(SELECT DISTINCT n.network_id FROM {d}.practitioner p JOIN {d}.practitioner_role r ON r.practitioner_id = p.id
          JOIN {d}.role_network n ON n.role_id = r.id WHERE p.npi = '{npi}' AND r.active IS NOT FALSE)"
    );
    assert_eq!(home.count(&format!("(SELECT DISTINCT network_id FROM in_network('{npi}'))")), home.count(&by_hand));
    let adequate = first(
        &home,
        &format!("SELECT min(practitioners) >= 1 AS some, count(*) > 0 AS rows FROM {d}.network_adequacy"),
    );
    assert_eq!(adequate, json!({"some": true, "rows": true}));
    assert_eq!(home.count("\"all\".formulary_changes"), 0, "there is only one night");
    assert_eq!(home.count("coverage WHERE last_complete_run IS NULL AND status <> 'unsupported'"), 0);
}

#[test]
fn changes_of_a_formulary_are_told_drug_by_drug() {
    let home = Home::new();
    let drug = |id: &str, tier: &str| {
        json!({"resourceType": "MedicationKnowledge", "id": id,
            "code": {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": id}]},
            "extension": [
                {"url": "http://hl7.org/fhir/us/davinci-drug-formulary/StructureDefinition/usdf-PlanID-extension", "valueString": "plan"},
                {"url": "http://hl7.org/fhir/us/davinci-drug-formulary/StructureDefinition/usdf-DrugTierID-extension",
                 "valueCodeableConcept": {"coding": [{"code": tier}]}}]})
        .to_string()
    };
    let port = crate::history::free_port();
    let night = |drugs: &[(&str, &str)]| {
        let text: Vec<String> = drugs.iter().map(|(id, tier)| drug(id, tier)).collect();
        home.write("world/MedicationKnowledge.ndjson", &(text.join("\n") + "\n"));
        let data = home.path("world");
        let listen = format!("127.0.0.1:{port}");
        let sandbox = crate::harness::Sandbox::start_at(&home, &listen, &["--data", data.to_str().unwrap()]);
        let url = sandbox.url("fhir");
        let job = format!(
            "version = 1\nviews = [\"formulary/formulary_drug.stu1\"]\nmax_shrink = 1.0\n[source]\nname = \"acme\"\nbase_url = \"{url}\"\n[resources.MedicationKnowledge]\n"
        );
        home.write("jobs/drugs.toml", &job);
        home.run(&["run", "drugs", "-q"]).expect(0);
    };
    night(&[("1", "generic"), ("2", "generic"), ("3", "brand")]);
    night(&[("1", "brand"), ("3", "brand"), ("4", "generic")]);
    let rows = home.duckdb("SELECT rxnorm, what, was, \"now\" FROM acme.formulary_changes ORDER BY rxnorm");
    let expected = [
        json!({"rxnorm": "1", "what": "tier_code", "was": "generic", "now": "brand"}),
        json!({"rxnorm": "2", "what": "removed", "was": "2", "now": null}),
        json!({"rxnorm": "4", "what": "added", "was": null, "now": "4"}),
    ];
    assert_eq!(rows, expected);
}
