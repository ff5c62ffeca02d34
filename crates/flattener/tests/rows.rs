//! Views over resources: the rows, by the rules of SQL on FHIR v2.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use arrow::{array::Array, util::display::array_value_to_string};
use fhirvest_flattener::{Flattener, Plan, TableCounts, parse_view};

const PATIENT: &str = r#"{"resourceType":"Practitioner","id":"1","active":true,
  "meta":{"lastUpdated":"2020-08-05T19:21:12.7461239Z"},
  "name":[{"use":"official","family":"Curie","given":["Marie","Salomea"]},{"use":"maiden","family":"Skłodowska"}],
  "telecom":[{"system":"phone","value":"1","rank":1},{"system":"email","value":"2"}],
  "identifier":[{"system":"a","value":12},{"system":"b","value":"x"}],
  "extension":[{"url":"u","valueBoolean":false},{"url":"v","valueQuantity":{"value":1.50}}],
  "managingOrganization":{"reference":"https://a.example/fhir/Organization/o1/_history/2"},
  "birthDate":"1867-11","qualification":[{"code":{"text":"Nobel"}}]}"#;

fn flattener(select: &str, more: &str) -> Flattener {
    let text = format!(r#"{{"resource":"Practitioner","name":"t","select":[{select}]{more}}}"#);
    Plan::compile(&[parse_view(&text, "t.json").unwrap()]).unwrap().flattener()
}

/// The rows as text, `-` for null, and what was counted.
fn rows(select: &str, more: &str) -> (Vec<String>, TableCounts) {
    let mut flattener = flattener(select, more);
    flattener.push(PATIENT).unwrap();
    let counts = flattener.counts()[0].clone();
    let Some(batch) = flattener.flush().unwrap().remove(0) else { return (Vec::new(), counts) };
    let cell = |column: &dyn Array, row: usize| {
        if column.is_null(row) { "-".to_owned() } else { array_value_to_string(column, row).unwrap() }
    };
    let row = |row| batch.columns().iter().map(|column| cell(column, row)).collect::<Vec<_>>().join(" ");
    ((0..batch.num_rows()).map(row).collect(), counts)
}

fn column(name: &str, path: &str) -> String {
    format!(r#"{{"name":"{name}","path":"{path}"}}"#)
}

#[test]
fn paths_give_what_the_specification_says() {
    for (path, value) in [
        ("getResourceKey()", "1"),
        ("name.first().family", "Curie"),
        ("name[1].family", "Skłodowska"),
        ("name.where(use = 'maiden').family", "Skłodowska"),
        ("Practitioner.name.last().family", "Skłodowska"),
        ("name.given.join(' ')", "Marie Salomea"),
        ("name.given.join()", "MarieSalomea"),
        ("name.where(use = 'none').given.join(',')", "-"),
        ("managingOrganization.getReferenceKey(Organization)", "o1"),
        ("managingOrganization.getReferenceKey(Location)", "-"),
        ("extension('u').value.ofType(boolean)", "false"),
        ("extension('v').value.ofType(Quantity).value", "1.50"),
        ("extension('w').exists()", "false"),
        ("identifier.where(system = 'a').value", "12"),
        ("telecom.where(rank = 1.0).value", "1"),
        ("name.exists(use = 'maiden') and active", "true"),
        ("active.not() or name.empty()", "false"),
        ("nothing = 'x'", "-"),
        ("nothing = 'x' or active", "true"),
        ("nothing = 'x' and active", "-"),
        ("name.family = 'Curie'", "false"),
        ("name.count() + 1", "3"),
        ("telecom.first().rank > 0", "true"),
        ("'it\\\\'s'", "it's"),
        ("{}", "-"),
        ("%who", "me"),
        ("name[%one].family", "Skłodowska"),
    ] {
        let constants = r#","constant":[{"name":"who","valueString":"me"},{"name":"one","valueInteger":1}]"#;
        let (rows, counts) = rows(&format!(r#"{{"column":[{}]}}"#, column("c", path)), constants);
        assert_eq!(rows, [value], "{path}");
        assert_eq!(counts.casts, [0], "{path}");
    }
}

#[test]
fn iterations_cross_union_and_keep_their_place() {
    let name =
        format!(r#"{{"forEach":"name","column":[{},{}]}}"#, column("family", "family"), column("i", "%rowIndex"));
    let telecom = format!(r#"{{"forEach":"telecom","column":[{}]}}"#, column("value", "value"));
    let photo = format!(r#"{{"forEach":"photo","column":[{}]}}"#, column("p", "title"));
    let or_null = photo.replace("forEach", "forEachOrNull");
    for (select, expected) in [
        (name.clone(), vec!["Curie 0", "Skłodowska 1"]),
        (format!("{name},{telecom}"), vec!["Curie 0 1", "Curie 0 2", "Skłodowska 1 1", "Skłodowska 1 2"]),
        (format!("{telecom},{photo}"), vec![]),
        (format!("{telecom},{or_null}"), vec!["1 -", "2 -"]),
        (
            format!(
                r#"{{"column":[{}],"unionAll":[{telecom},{{"column":[{}]}}]}}"#,
                column("id", "id"),
                column("value", "birthDate")
            ),
            vec!["1 1", "1 2", "1 1867-11"],
        ),
        (
            format!(
                r#"{{"unionAll":[{{"forEach":"telecom","column":[{}]}},{{"column":[{}]}}]}}"#,
                column("rank", "rank"),
                column("rank", "{}")
            ),
            vec!["1", "-", "-"],
        ),
        (
            format!(
                r#"{{"forEach":"name","select":[{{"forEach":"given","column":[{}]}}],"column":[{}]}}"#,
                column("g", "$this"),
                column("f", "family")
            ),
            vec!["Curie Marie", "Curie Salomea"],
        ),
    ] {
        assert_eq!(rows(&select, "").0, expected, "{select}");
    }
}

#[test]
fn columns_are_typed_and_what_does_not_fit_is_counted() {
    for (path, more, value, misfits) in [
        ("meta.lastUpdated", r#""type":"instant""#, "2020-08-05T19:21:12.746123Z", 0),
        ("birthDate", r#""type":"date","tag":[{"name":"ansi/type","value":"DATE"}]"#, "-", 1),
        // A dateTime without a zone tells its day, and one with a broken zone is none.
        ("'2020-08-05T10:00:00'", r#""tag":[{"name":"ansi/type","value":"DATE"}]"#, "2020-08-05", 0),
        ("'2020-08-05T10:00:00Zu'", r#""tag":[{"name":"ansi/type","value":"DATE"}]"#, "-", 1),
        ("'2020-08-05T10:00:00Zu'", r#""tag":[{"name":"ansi/type","value":"TIMESTAMP"}]"#, "-", 1),
        ("birthDate", r#""type":"date""#, "1867-11", 0),
        ("active", r#""type":"boolean""#, "true", 0),
        ("id", r#""type":"integer""#, "-", 1),
        ("telecom.first().rank", r#""type":"positiveInt""#, "1", 0),
        (
            "extension('v').value.ofType(Quantity).value",
            r#""tag":[{"name":"ansi/type","value":"DECIMAL(9,3)"}]"#,
            "1.500",
            0,
        ),
        (
            "extension('v').value.ofType(Quantity).value",
            r#""tag":[{"name":"ansi/type","value":"DECIMAL(1,1)"}]"#,
            "-",
            1,
        ),
        ("qualification.code", r#""type":"string""#, "-", 1),
        ("'aGVs bG8='", r#""type":"base64Binary""#, "68656c6c6f", 0),
        ("'aGVsbG8'", r#""type":"base64Binary""#, "-", 1),
        ("telecom.first().rank", "", "1", 0),
        ("active", "", "true", 0),
        ("meta.lastUpdated", "", "2020-08-05T19:21:12.746123Z", 0),
        ("name.count() / 3", r#""tag":[{"name":"ansi/type","value":"DECIMAL(9,4)"}]"#, "0.6667", 0),
        ("qualification.first()", "", r#"{"code":{"text":"Nobel"}}"#, 0),
        ("extension('v').value", "", r#"{"value":1.50}"#, 0),
        ("qualification.code", r#""type":"CodeableConcept""#, r#"{"text":"Nobel"}"#, 0),
        ("name.family", r#""collection":true"#, "[Curie, Skłodowska]", 0),
        ("photo", r#""collection":true"#, "[]", 0),
    ] {
        let comma = if more.is_empty() { "" } else { "," };
        let (rows, counts) = rows(&format!(r#"{{"column":[{{"name":"c","path":"{path}"{comma}{more}}}]}}"#), "");
        assert_eq!((rows, counts.casts), (vec![value.to_owned()], vec![misfits]), "{path} {more}");
    }
}

#[test]
fn objects_are_json_beside_their_own_fields() {
    let columns = [column("n", "name[1]"), column("f", "name[1].family"), column("all", "qualification.first()")];
    let (rows, counts) = rows(
        &format!(
            r#"{{"column":[{}]}},{{"column":[{}]}}"#,
            columns.join(","),
            column("c", "qualification.first().code.text")
        ),
        "",
    );
    let name = r#"{"use":"maiden","family":"Skłodowska"}"#;
    assert_eq!(rows, [format!(r#"{name} Skłodowska {{"code":{{"text":"Nobel"}}}} Nobel"#)]);
    assert_eq!(counts.casts, [0, 0, 0, 0]);
}

#[test]
fn every_resource_is_in_one_counter() {
    let id = format!(r#"{{"column":[{}]}}"#, column("id", "id"));
    for (select, more, resource, counter) in [
        (id.clone(), "", PATIENT, "flattened"),
        (id.clone(), r#","where":[{"path":"active"}]"#, PATIENT, "flattened"),
        (id.clone(), r#","where":[{"path":"nothing.exists()"}]"#, PATIENT, "filtered"),
        (id.clone(), r#","where":[{"path":"nothing"}]"#, PATIENT, "filtered"),
        (id.clone(), r#","where":[{"path":"managingOrganization"}]"#, PATIENT, "failed"),
        (id, "", r#"{"id":"1","resourceType":"Location"}"#, "filtered"),
        (format!(r#"{{"column":[{}]}}"#, column("f", "name.family")), "", PATIENT, "failed"),
    ] {
        let mut flattener = flattener(&select, more);
        flattener.push(resource).unwrap();
        let counts = &flattener.counts()[0];
        let told = [(counts.flattened, "flattened"), (counts.filtered, "filtered"), (counts.failed, "failed")];
        let told: Vec<&str> = told.into_iter().filter(|(count, _)| *count == 1).map(|(_, name)| name).collect();
        assert_eq!((counts.resources, told), (1, vec![counter]), "{select} {more}");
        assert_eq!(flattener.take_failures().len(), usize::from(counter == "failed"));
        // A failure never holds any of the resource's data, and the next resource is not touched by it.
        flattener.push("{\"resourceType\":\"Practitioner\"}").unwrap();
        assert!(flattener.push("[1]").is_err());
    }
}

#[test]
fn mistakes_are_told_all_at_once_with_their_place() {
    let text = r#"{"resource":"Practitioner","name":"9t","select":[{"column":[{"name":"a","path":"name.where(use = 'x'"},{"name":"b b","path":"id"}],"forEech":"name"}]}"#;
    let told = parse_view(text, "t.json").unwrap_err().to_string();
    for part in
        ["/name", "/select/0/column/0/path", "`)` is missing", "/select/0/column/1/name", "did you mean `forEach`?"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    for (path, part) in [
        ("name.upperr()", "no function `upperr()`"),
        ("name.frist()", "did you mean `first`?"),
        ("%nobody", "no constant `%nobody`"),
        ("name.ofType(a, b)", "2 arguments"),
        ("name[id]", "an index is a whole number"),
    ] {
        let text =
            format!(r#"{{"resource":"Practitioner","name":"t","select":[{{"column":[{}]}}]}}"#, column("c", path));
        let told = Plan::compile(&[parse_view(&text, "t.json").unwrap()]).unwrap_err().to_string();
        assert!(told.contains(part) && told.contains("/select/0/column/0/path"), "{part}: {told}");
    }
}

/// Elements of other JSON types than R4's.
const ODD: &str = r#"{"resourceType":"Practitioner","id":"1","active":"yes","birthDate":{"x":1},
  "telecom":[{"rank":"first","value":true}],"name":[{"family":{"x":1},"given":["A",{"x":1}]},{"family":"B"}]}"#;

#[test]
fn a_value_that_an_expression_cannot_deal_with_costs_its_cell_and_is_counted() {
    for path in [
        "telecom.rank.first() + 1",
        "-telecom.first().rank",
        "telecom.rank.first() > 2",
        "telecom.rank.first().abs()",
        "telecom.rank.sum() + 1",
        "name.first().family.upper()",
        "name.given.join(',')",
    ] {
        let mut flattener = flattener(&format!(r#"{{"column":[{},{}]}}"#, column("id", "id"), column("x", path)), "");
        flattener.push(ODD).unwrap();
        let counts = flattener.counts()[0].clone();
        assert_eq!((counts.rows, counts.failed, &counts.casts[..]), (1, 0, &[0, 1][..]), "{path}");
        let batch = flattener.flush().unwrap().remove(0).unwrap();
        assert!(!batch.column(0).is_null(0) && batch.column(1).is_null(0), "{path}");
    }
    // A list without its values has its row all the same.
    let list = r#"{"column":[{"name":"x","path":"telecom.select(rank + 1)","collection":true,"type":"integer"}]}"#;
    let mut flattener = flattener(list, "");
    flattener.push(ODD).unwrap();
    assert_eq!((flattener.counts()[0].rows, flattener.counts()[0].casts[0]), (1, 1));
    // Several values where one belongs are a mistake of the view, which is told.
    let (rows, counts) = rows(&format!(r#"{{"column":[{}]}}"#, column("x", "name.given + 'x'")), "");
    assert_eq!((rows.len(), counts.failed), (0, 1));
}

/// Rows of a resource as text, the misfits of its columns, and whether a filter could not judge it; nothing failed.
fn odd(resource: &str, select: &str, more: &str) -> (Vec<String>, Vec<u64>, u64) {
    let mut flattener = flattener(select, more);
    flattener.push(resource).unwrap();
    let counts = flattener.counts()[0].clone();
    assert_eq!((counts.failed, flattener.take_failures()), (0, vec![]), "{select} {more}");
    let cell = |column: &dyn Array, row: usize| {
        if column.is_null(row) { "-".to_owned() } else { array_value_to_string(column, row).unwrap() }
    };
    let rows = flattener.flush().unwrap().remove(0).map_or_else(Vec::new, |batch| {
        let row = |row| batch.columns().iter().map(|column| cell(column, row)).collect::<Vec<_>>().join(" ");
        (0..batch.num_rows()).map(row).collect()
    });
    (rows, counts.casts, counts.unjudged)
}

#[test]
fn a_plain_value_where_an_element_with_parts_belongs_costs_no_row() {
    const NAMED: &str = r#"{"resourceType":"Practitioner","id":"1","name":["Bob",{"family":"B","given":["C","D"]}],"extension":["x"],
      "meta":"none","qualification":{"code":"MD"},"birthDate":"1990","_birthDate":"x"}"#;
    let id = column("id", "id");
    for (select, rows, casts) in [
        (format!(r#"{{"column":[{id},{}]}}"#, column("f", "name.first().family")), vec!["1 -"], vec![0, 1]),
        (format!(r#"{{"column":[{id},{}]}}"#, column("f", "name[1].family")), vec!["1 B"], vec![0, 0]),
        (
            format!(r#"{{"column":[{id},{}]}}"#, column("n", "name[1]")),
            vec![r#"1 {"family":"B","given":["C","D"]}"#],
            vec![0, 0],
        ),
        (format!(r#"{{"column":[{id},{}]}}"#, column("n", "name[0]")), vec!["1 -"], vec![0, 1]),
        (format!(r#"{{"column":[{id},{}]}}"#, column("u", "meta.lastUpdated")), vec!["1 -"], vec![0, 1]),
        (
            format!(r#"{{"column":[{id},{}]}}"#, column("e", "extension('u').value.ofType(string)")),
            vec!["1 -"],
            vec![0, 1],
        ),
        (
            format!(r#"{{"column":[{id},{}]}}"#, column("e", "birthDate.extension('u').value.ofType(string)")),
            vec!["1 -"],
            vec![0, 1],
        ),
        (format!(r#"{{"column":[{id},{}]}}"#, column("e", "name.exists()")), vec!["1 true"], vec![0, 0]),
        // Each name has its row.
        (
            format!(
                r#"{{"column":[{id}]}},{{"forEach":"name","column":[{},{}]}}"#,
                column("f", "family"),
                column("i", "%rowIndex")
            ),
            vec!["1 - 0", "1 B 1"],
            vec![0, 1, 0],
        ),
        // The names that can be read are read; the other one stands for a row.
        (
            format!(r#"{{"column":[{id}]}},{{"forEach":"name.given","column":[{}]}}"#, column("g", "$this")),
            vec!["1 C", "1 D", "1 -"],
            vec![0, 1],
        ),
        (
            format!(
                r#"{{"column":[{id}]}},{{"forEachOrNull":"qualification.code.coding","column":[{}]}}"#,
                column("c", "code")
            ),
            vec!["1 -"],
            vec![0, 1],
        ),
        (
            format!(
                r#"{{"forEach":"qualification.code.coding","column":[{},{}]}}"#,
                column("id", "%resource.id"),
                column("c", "code")
            ),
            vec!["1 -"],
            vec![0, 1],
        ),
        // What lies within it as well, and it crosses with the others.
        (
            format!(
                r#"{{"forEach":"meta","column":[{}],"select":[{{"forEach":"tag","column":[{}]}}]}},{{"forEach":"name[1].given","column":[{}]}}"#,
                column("u", "lastUpdated"),
                column("t", "code"),
                column("g", "$this")
            ),
            vec!["- - C", "- - D"],
            vec![2, 2, 0],
        ),
        (
            format!(
                r#"{{"unionAll":[{{"forEach":"meta.tag","column":[{}]}},{{"forEach":"name[1]","column":[{}]}}]}}"#,
                column("c", "code"),
                column("c", "family")
            ),
            vec!["-", "B"],
            vec![1],
        ),
        (
            format!(r#"{{"column":[{id}]}},{{"repeat":["name"],"column":[{}]}}"#, column("f", "family")),
            vec!["1 B", "1 -"],
            vec![0, 1],
        ),
    ] {
        assert_eq!(odd(NAMED, &select, ""), (rows.iter().map(ToString::to_string).collect(), casts, 0), "{select}");
    }
}

#[test]
fn an_iteration_over_primitives_reaches_what_stands_beside_them() {
    const GIVEN: &str = r#"{"resourceType":"Practitioner","id":"1","name":[{"given":["A",null,"B"],"_given":[{"id":"a"},null,{"extension":[{"url":"u","valueString":"b"}]}]}]}"#;
    let columns =
        [column("g", "$this"), column("i", "id"), column("e", "extension('u').value.ofType(string)")].join(",");
    for walk in ["name.given", "name.select(given)", "name.given.where($this != 'x')"] {
        let select = format!(r#"{{"forEach":"{walk}","column":[{columns}]}}"#);
        assert_eq!(odd(GIVEN, &select, ""), (vec!["A a -".to_owned(), "B - b".to_owned()], vec![0, 0, 0], 0), "{walk}");
    }
}

#[test]
fn what_a_filter_or_an_iteration_cannot_judge_stays() {
    let id = format!(r#"{{"column":[{}]}}"#, column("id", "id"));
    for (path, rows, unjudged) in [
        ("active", 1, 1),
        ("telecom.where(rank > 1).exists()", 1, 1),
        ("telecom.rank.first() > 1", 1, 1),
        ("name.first().family = 'B'", 0, 0),
    ] {
        let (found, _, told) = odd(ODD, &id, &format!(r#","where":[{{"path":"{path}"}}]"#));
        assert_eq!((found.len(), told), (rows, unjudged), "{path}");
    }
    // Another filter that can tell has its say.
    let (found, _, unjudged) = odd(ODD, &id, r#","where":[{"path":"active"},{"path":"id = '2'"}]"#);
    assert_eq!((found.len(), unjudged), (0, 0));

    const RANKS: &str = r#"{"resourceType":"Practitioner","id":"1","telecom":[{"rank":1,"value":"a"},{"rank":"x","value":"b"},{"rank":3,"value":"c"}]}"#;
    for (path, rows, casts) in [
        // The second may be one or not: its row stands, empty, after those that are known.
        ("telecom.where(rank > 0)", vec!["1 a 0", "1 c 1", "1 - 2"], vec![0, 1, 0]),
        ("telecom.where(rank > 1)", vec!["1 c 0", "1 - 1"], vec![0, 1, 0]),
        ("telecom.where(rank > 1 and value = 'a')", vec!["1 - 0"], vec![0, 1, 0]),
        ("telecom.where(rank > 1).where(value = 'c')", vec!["1 c 0", "1 - 1"], vec![0, 1, 0]),
    ] {
        let columns = [column("v", "value"), column("i", "%rowIndex")].join(",");
        for walk in [r#""forEach":"PATH""#, r#""forEachOrNull":"PATH""#] {
            let select = format!(r#"{id},{{{},"column":[{columns}]}}"#, walk.replace("PATH", path));
            assert_eq!(
                odd(RANKS, &select, ""),
                (rows.iter().map(ToString::to_string).collect(), casts.clone(), 0),
                "{select}"
            );
        }
    }
}

proptest::proptest! {
    /// Whatever stands in a list, each element that passes has its row, and each that nobody can judge has one, counted.
    #[test]
    fn no_element_of_another_type_loses_a_row(places in proptest::collection::vec(0_usize..9, 0..12)) {
        // An element, whether it passes `rank > 1`, and whether that cannot be told.
        const ELEMENTS: [(&str, bool, bool); 9] = [
            (r#"{"rank":1,"value":"a"}"#, false, false),
            (r#"{"rank":2,"value":"b"}"#, true, false),
            (r#"{"value":"no rank"}"#, false, false),
            (r#"{"rank":3}"#, true, false),
            (r#"{"rank":"x","value":"c"}"#, false, true),
            (r#"{"rank":{"of":1}}"#, false, true),
            (r#""text""#, false, true),
            ("7", false, true),
            ("null", false, false),
        ];
        let chosen: Vec<_> = places.iter().map(|place| ELEMENTS[*place]).collect();
        let list: Vec<&str> = chosen.iter().map(|(text, ..)| *text).collect();
        let resource = format!(r#"{{"resourceType":"Practitioner","id":"1","telecom":[{}]}}"#, list.join(","));
        let count = |of: fn(&(&str, bool, bool)) -> bool| chosen.iter().filter(|one| of(one)).count();
        let (passing, unclear) = (count(|(_, passes, _)| *passes), count(|(.., unclear)| *unclear));
        let id = format!(r#"{{"column":[{}]}}"#, column("id", "id"));
        let columns = column("v", "value");

        let (rows, casts, _) = odd(&resource, &format!(r#"{id},{{"forEach":"telecom.where(rank > 1)","column":[{columns}]}}"#), "");
        proptest::prop_assert_eq!((rows.len(), casts), (passing + unclear, vec![0, unclear as u64]), "{}", resource);

        // Without a condition each element that there is has its row; those that are none have no value.
        let (rows, casts, _) = odd(&resource, &format!(r#"{id},{{"forEach":"telecom","column":[{columns}]}}"#), "");
        let plain = count(|(text, ..)| !text.starts_with('{') && *text != "null");
        let there = count(|(text, ..)| *text != "null");
        proptest::prop_assert_eq!((rows.len(), casts), (there, vec![0, plain as u64]), "{}", resource);
    }
}
