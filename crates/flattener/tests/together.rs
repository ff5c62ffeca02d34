//! Resources are evaluated several at a time, column by column: they give what each gives alone.

#![allow(clippy::unwrap_used, missing_docs)]

use arrow::{
    compute::{cast, concat_batches},
    datatypes::SchemaRef,
    record_batch::RecordBatch,
};
use fhirvest_flattener::{Flattener, Plan, TableCounts, View, parse_view};
use proptest::prelude::*;

/// Views with every way to make rows, and one that refuses resources with two addresses.
const VIEWS: [&str; 3] = [
    r#"{"resource": "Patient", "name": "crossed", "where": [{"path": "active"}], "select": [
        {"column": [{"name": "id", "path": "getResourceKey()"}, {"name": "born", "path": "birthDate", "tag": [{"name": "ansi/type", "value": "DATE"}]}]},
        {"forEach": "name", "column": [{"name": "n", "path": "%rowIndex"}, {"name": "family", "path": "family"}],
         "select": [{"forEachOrNull": "given", "column": [{"name": "given", "path": "$this"}]}]},
        {"forEachOrNull": "telecom", "column": [{"name": "value", "path": "value"}, {"name": "of", "path": "%resource.id"}]}]}"#,
    r#"{"resource": "Patient", "name": "united", "select": [
        {"column": [{"name": "id", "path": "id"}, {"name": "all", "path": "name.given", "collection": true}]},
        {"unionAll": [
            {"forEach": "telecom", "column": [{"name": "what", "path": "system"}, {"name": "it", "path": "value"}]},
            {"column": [{"name": "what", "path": "'name'"}, {"name": "it", "path": "name.first().family & '!'"}]},
            {"forEach": "name.given.first()", "column": [{"name": "what", "path": "$this"}, {"name": "it", "path": "%rowIndex.toString()"}]}]}]}"#,
    r#"{"resource": "Patient", "name": "refused", "select": [
        {"column": [{"name": "id", "path": "id"}, {"name": "city", "path": "address.city"}, {"name": "key", "path": "managingOrganization.getReferenceKey()"}]},
        {"repeat": ["contact", "extension"], "column": [{"name": "url", "path": "url"}]}]}"#,
];

/// Whole ones, some without this or that, some with values of another JSON type, one of another type.
const RESOURCES: [&str; 10] = [
    r#"{"resourceType":"Patient","id":"1","active":true,"birthDate":"1970-01-02","name":[{"family":"A","given":["B","C\n"]},{"family":"D"}],"telecom":[{"system":"phone","value":"1"},{"system":"fax","value":"2"}]}"#,
    r#"{"resourceType":"Patient","id":"2","active":false,"name":[{"given":["E"]}],"address":[{"city":"x"}]}"#,
    r#"{"resourceType":"Patient","id":"3","active":true}"#,
    r#"{"resourceType":"Patient","id":"4","active":true,"birthDate":"soon","name":[{"family":7,"given":["F"]}],"address":[{"city":"x"},{"city":"y"}],"contact":[{"name":{"family":"z"}}]}"#,
    r#"{"resourceType":"Patient","id":"5","active":"yes","name":"text","telecom":[{"value":"3"}],"contact":[{"extension":[{"url":"u"},{"url":"v"}]}]}"#,
    r#"{"resourceType":"Patient","id":"6","active":true,"name":["text",{"family":"G"}],"managingOrganization":{"reference":"Organization/o"},"contact":["x",{"extension":[{"url":"w"}]}]}"#,
    r#"{"resourceType":"Practitioner","id":"7","active":true,"name":[{"family":"H"}]}"#,
    r#"{"resourceType":"Patient","id":"8","active":true,"name":{"family":"I","given":"J"},"telecom":{"system":"email","value":"4"}}"#,
    r#"{"id":"9","resourceType":"Patient","active":true,"name":[{"given":[]}],"address":{"city":{"of":"dreams"}}}"#,
    r#"{"resourceType":"Patient","id":"10","name":[{"family":"K"}],"telecom":[null,{"value":5}]}"#,
];

type Outcome = (Vec<Option<RecordBatch>>, Vec<TableCounts>, Vec<(usize, usize, String)>);

fn flatten(mut flattener: Flattener, resources: &[&str], first: usize) -> Outcome {
    resources.iter().for_each(|resource| flattener.push(resource).unwrap());
    let failures = flattener.take_failures().into_iter();
    let failures = failures.map(|failure| (first + failure.resource, failure.table, failure.message)).collect();
    (flattener.flush().unwrap(), flattener.counts().to_vec(), failures)
}

/// The same rows without dictionaries.
fn spelled_out(batch: &RecordBatch, schema: &SchemaRef) -> RecordBatch {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()).unwrap()).collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

fn same_as_alone(views: &[View], resources: &[&str]) {
    let plan = Plan::compile(views).unwrap();
    let (batches, counts, failures) = flatten(plan.flattener(), resources, 0);
    let (numbered, ..) = flatten(plan.flattener_of_dictionaries(), resources, 0);
    let alone: Vec<Outcome> =
        resources.iter().enumerate().map(|(place, resource)| flatten(plan.flattener(), &[resource], place)).collect();
    assert_eq!(failures, alone.iter().flat_map(|(_, _, failures)| failures.clone()).collect::<Vec<_>>());
    for (number, table) in plan.tables().iter().enumerate() {
        let rows: Vec<&RecordBatch> = alone.iter().filter_map(|(batches, ..)| batches[number].as_ref()).collect();
        let expected = concat_batches(&table.schema, rows).unwrap();
        let found = batches[number].clone().unwrap_or_else(|| RecordBatch::new_empty(table.schema.clone()));
        assert_eq!(found, expected, "{}", table.name);
        let numbered = numbered[number].as_ref().map(|batch| spelled_out(batch, &table.schema));
        assert_eq!(numbered, batches[number], "{}", table.name);
        let sum = |of: fn(&TableCounts) -> u64| alone.iter().map(|(_, counts, _)| of(&counts[number])).sum::<u64>();
        let (all, name) = (&counts[number], &table.name);
        assert_eq!(all.resources, sum(|counts| counts.resources), "{name}");
        assert_eq!(all.flattened, sum(|counts| counts.flattened), "{name}");
        assert_eq!(all.filtered, sum(|counts| counts.filtered), "{name}");
        assert_eq!(all.failed, sum(|counts| counts.failed), "{name}");
        assert_eq!(all.unjudged, sum(|counts| counts.unjudged), "{name}");
        assert_eq!(all.rows, sum(|counts| counts.rows), "{name}");
        assert_eq!(all.resources, all.flattened + all.filtered + all.failed, "{name}");
        let casts = |counts: &TableCounts| counts.casts.iter().sum::<u64>();
        assert_eq!(casts(all), alone.iter().map(|(_, counts, _)| casts(&counts[number])).sum::<u64>(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn resources_in_any_order_give_what_they_give_alone(places in prop::collection::vec(0..RESOURCES.len(), 1..200)) {
        let views: Vec<View> = VIEWS.iter().map(|text| parse_view(text, "test").unwrap()).collect();
        let resources: Vec<&str> = places.iter().map(|place| RESOURCES[*place]).collect();
        same_as_alone(&views, &resources);
    }
}

/// Views of which the rows follow from a resource's shape: every kind of column, conditions that look at texts, a union, and
/// iterations within each other and beside each other.
const BY_SHAPE: [&str; 4] = [
    r#"{"resource": "Patient", "name": "columns", "select": [
        {"column": [{"name": "id", "path": "getResourceKey()"}, {"name": "active", "path": "active"},
            {"name": "born", "path": "birthDate", "tag": [{"name": "ansi/type", "value": "DATE"}]},
            {"name": "mrn", "path": "identifier.where(system = 'mrn').value"},
            {"name": "first_npi", "path": "identifier.where(system = 'npi').first().value"},
            {"name": "race", "path": "extension('race').value.ofType(string)"},
            {"name": "all", "path": "name.given", "collection": true},
            {"name": "joined", "path": "name.given.join('+')"},
            {"name": "key", "path": "managingOrganization.getReferenceKey(Organization)"},
            {"name": "kind", "path": "'patient'"}, {"name": "whole", "path": "maritalStatus"}]}]}"#,
    r#"{"resource": "Patient", "name": "refused", "select": [
        {"column": [{"name": "id", "path": "id"}, {"name": "value", "path": "identifier.value.lower()"}]}]}"#,
    r#"{"resource": "Patient", "name": "nested", "select": [
        {"column": [{"name": "id", "path": "id"}]},
        {"forEach": "name", "column": [{"name": "n", "path": "%rowIndex"}, {"name": "use", "path": "use"},
            {"name": "place", "path": "%rowIndex + 1"}, {"name": "of", "path": "family & '/' & %resource.id"}],
         "select": [{"forEachOrNull": "given", "column": [{"name": "given", "path": "$this"}, {"name": "g", "path": "%rowIndex"}]}]},
        {"forEachOrNull": "telecom.where(system = 'phone')", "column": [{"name": "phone", "path": "value"}, {"name": "rank", "path": "rank"}]}]}"#,
    r#"{"resource": "Patient", "name": "united", "select": [
        {"column": [{"name": "id", "path": "id"}]},
        {"unionAll": [
            {"forEach": "telecom", "column": [{"name": "what", "path": "system"}, {"name": "it", "path": "value"}]},
            {"forEach": "identifier", "column": [{"name": "what", "path": "system"}, {"name": "it", "path": "value"}]},
            {"forEach": "managingOrganization", "column": [{"name": "what", "path": "reference"}, {"name": "it", "path": "getReferenceKey(Organization)"}]}]}]}"#,
];

/// Resources of a few structures with texts, each `@`, to be put in.
const STRUCTURES: [&str; 5] = [
    r#"{"resourceType":"Patient","id":"@","active":true,"birthDate":"@","name":[{"use":"@","family":"@","given":["@","@"]},{"family":"@"}],"telecom":[{"system":"@","value":"@","rank":1},{"system":"@","value":"@"}],"identifier":[{"system":"@","value":"@"}]}"#,
    r#"{"resourceType":"Patient","id":"@","identifier":[{"system":"@","value":"@"},{"system":"@","value":"@"}],"extension":[{"url":"@","valueString":"@"}],"managingOrganization":{"reference":"Organization/@"}}"#,
    r#"{"resourceType":"Patient","id":"@","telecom":[{"system":"@","value":"@"}],"maritalStatus":{"text":"@"},"managingOrganization":{"reference":"@"},"name":[{"given":["@"]},{"use":"@"}]}"#,
    r#"{"resourceType":"Patient","id":"@","extension":[{"url":"@","valueString":"@"},{"url":"@","valueCode":"@"}],"identifier":[{"system":"@","value":"@"},{"value":"@"}]}"#,
    r#"{"resourceType":"Patient","id":"@","name":[{"family":"@"}],"telecom":"@"}"#,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn resources_of_few_shapes_give_what_they_give_alone(
        first in prop::collection::vec((prop::sample::select(&STRUCTURES[..]), prop::collection::vec(0_usize..9, 14)), 1..4),
        // Few texts are others than in the first ones, so that most shapes are known before long.
        others in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(0_usize..200, 14)), 30..200),
    ) {
        let texts = ["mrn", "npi", "race", "phone", "x", "1970-01-02", "Organization/o", "", r#"a\"b"#];
        let views: Vec<View> = BY_SHAPE.iter().map(|text| parse_view(text, "test").unwrap()).collect();
        let resources = others.iter().map(|(which, others)| {
            let (structure, own) = which.get(&first);
            let mut places = own.iter().zip(others).map(|(own, other)| texts.get(*other).unwrap_or(&texts[*own]));
            let (begin, pieces) = structure.split_once('@').unwrap();
            let pieces = pieces.split('@').map(|piece| format!("{}{piece}", places.next().unwrap()));
            format!("{begin}{}", pieces.collect::<String>())
        });
        let resources: Vec<String> = resources.collect();
        same_as_alone(&views, &resources.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// The comparison is worth something: among these resources is every ending.
#[test]
fn the_resources_end_in_every_way() {
    let views: Vec<View> = VIEWS.iter().map(|text| parse_view(text, "test").unwrap()).collect();
    let (_, counts, failures) = flatten(Plan::compile(&views).unwrap().flattener(), &RESOURCES, 0);
    let has = |of: fn(&TableCounts) -> u64| counts.iter().any(|counts| of(counts) > 0);
    assert!(has(|counts| counts.flattened) && has(|counts| counts.filtered) && has(|counts| counts.failed));
    assert!(has(|counts| counts.unjudged) && has(|counts| counts.casts.iter().sum()) && !failures.is_empty());
}

/// Fields of one element are found in one go where several columns need them: each column has what it has in a view of its own.
#[test]
fn columns_of_one_element_give_what_each_gives_by_itself() {
    let of_names = ["use", "family", "given", "text", "period.start", "period.end"];
    let of_patients = ["contact.name.family", "contact.name.use", "contact.name.given", "gender"];
    let column = |path: &&str| format!(r#"{{"name": "{}", "path": "{path}"}}"#, path.replace('.', "_"));
    let view = |names: &[&str], patients: &[&str]| {
        let [names, patients] = [names, patients].map(|paths| paths.iter().map(column).collect::<Vec<_>>().join(", "));
        let text = format!(
            r#"{{"resource": "Patient", "name": "v", "select": [{{"column": [{patients}]}}, {{"forEachOrNull": "name", "column": [{names}]}}]}}"#
        );
        Plan::compile(&[parse_view(&text, "test").unwrap()]).unwrap()
    };
    let together = view(&of_names, &of_patients);
    let alone: Vec<Plan> = of_patients
        .iter()
        .map(|path| view(&[], &[path]))
        .chain(of_names.iter().map(|path| view(&[path], &[])))
        .collect();
    let mut refused = 0;
    for resource in [
        r#"{"name":[{"use":"usual","family":"F","given":["A"]},{"text":"t","period":{"start":"2020","end":"2021"}}],"gender":"male"}"#,
        r#"{"name":[{"given":["A"]},{"given":["A","B"],"family":"F"}]}"#,
        r#"{"contact":[{"name":{"family":"F"}},{"name":{"use":"usual","given":["A"]}}],"name":[{}]}"#,
        r#"{"contact":[{"name":{"family":"F"}},{"name":{"family":"G"}}],"name":[{"family":"x"}]}"#,
        r#"{"contact":[{"name":{"family":"F","given":["A","B"]}}]}"#,
        r#"{"contact":{"name":{"family":7,"use":true,"given":[]}},"name":[null,{"family":{"x":1}}]}"#,
        r#"{"name":"text","contact":[{"name":"text"}]}"#,
        "{}",
    ] {
        let resource = resource.replacen('{', r#"{"resourceType":"Patient","#, 1).replace(",}", "}");
        let (found, counts, failures) = flatten(together.flattener(), &[&resource], 0);
        let expected: Vec<Outcome> = alone.iter().map(|plan| flatten(plan.flattener(), &[&resource], 0)).collect();
        let reasons: Vec<_> = expected.iter().flat_map(|(_, _, failures)| failures.clone()).collect();
        if let [failure] = &failures[..] {
            assert!(reasons.contains(failure), "{resource}: {failure:?} {reasons:?}");
            refused += 1;
            continue;
        }
        assert_eq!(reasons, [], "{resource}");
        let batch = found[0].as_ref().unwrap();
        for (number, (alone, single, _)) in expected.iter().enumerate() {
            let (column, alone) = (batch.column(number), alone[0].as_ref().unwrap());
            assert_eq!(column, alone.column(0), "{resource} {}", batch.schema().field(number).name());
            assert_eq!(counts[0].casts[number], single[0].casts[0], "{resource}");
        }
    }
    assert_eq!(refused, 3);
}
