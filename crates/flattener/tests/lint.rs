//! What `check_view` tells of broken views: one file a mistake or a few, one snapshot each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use fhirvest_flattener::{Code, Diagnostic, Severity, check_view, parse_view, sarif};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The broken views by name, in order.
fn broken() -> Vec<(String, String)> {
    let entries = fs::read_dir(folder("tests/broken")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    files.sort();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn all_mistakes() -> Vec<Diagnostic> {
    broken().iter().flat_map(|(name, text)| check_view(text, &format!("{name}.json")).list).collect()
}

#[test]
fn every_broken_view_is_told_with_place_and_cure() {
    let views = broken();
    assert!(views.len() >= 30);
    for (name, text) in views {
        let told = check_view(&text, &format!("{name}.json"));
        assert!(!told.list.is_empty(), "{name}: nothing is told");
        for one in &told.list {
            assert!(one.region.is_some() && !one.cure.is_empty() && !one.message.is_empty(), "{name}: {one:?}");
            let lines = text.lines().count();
            assert!(one.region.unwrap().end_line <= lines.max(1), "{name}: {one:?}");
        }
        // What check tells as an error keeps the view from being used, and nothing else does.
        let used = parse_view(&text, "t").and_then(|view| fhirvest_flattener::Plan::compile(&[view]));
        assert_eq!(used.is_err(), told.has_errors(), "{name}: {told}");
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(name, told.to_string());
        });
    }
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let docs = folder("../../docs/views");
    let index = fs::read_to_string(docs.join("README.md")).unwrap();
    let pages = fs::read_dir(&docs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages: BTreeSet<String> = pages.filter(|name| name != "README.md").collect();
    let codes: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{}.md", code.name())).collect();
    assert_eq!(pages, codes);
    for code in Code::ALL {
        let page = fs::read_to_string(docs.join(format!("{}.md", code.name()))).unwrap();
        assert!(page.starts_with(&format!("# {}\n", code.name())) && page.contains(code.summary()), "{}", code.name());
        assert!(page.contains("Wrong:") && page.contains("Right:"), "{}", code.name());
        assert!(index.contains(&format!("({}.md)", code.name())), "{} is not in the index", code.name());
    }
}

#[test]
fn the_broken_views_show_every_code() {
    let shown: BTreeSet<Code> = all_mistakes().iter().map(|one| one.code).collect();
    // What only a program can do wrong, and what the parser cannot let through.
    let elsewhere = [Code::MixedResources, Code::BadNumber];
    let missing: Vec<&str> = Code::ALL
        .iter()
        .filter(|code| !shown.contains(code) && !elsewhere.contains(code))
        .map(|code| code.name())
        .collect();
    assert!(missing.is_empty(), "no broken view shows {missing:?}");
}

#[test]
fn shipped_views_have_no_errors() {
    let mut count = 0;
    for group in fs::read_dir(folder("../../config/views")).unwrap() {
        for entry in fs::read_dir(group.unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            let told = check_view(&fs::read_to_string(&path).unwrap(), path.to_str().unwrap());
            assert!(!told.has_errors(), "{told}");
            count += 1;
        }
    }
    assert!(count > 50, "{count} views");
}

#[test]
fn sarif_has_the_shape_that_its_schema_requires() {
    let mistakes = all_mistakes();
    let log = sarif(&mistakes, "0.1.0");
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert!(run["tool"]["driver"]["name"].is_string());
    assert_eq!(rules.len(), Code::ALL.len());
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), mistakes.len());
    for (result, one) in results.iter().zip(&mistakes) {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(result["ruleId"], rules[index]["id"]);
        assert_eq!(result["level"], if one.severity == Severity::Error { "error" } else { "warning" });
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let location = &result["locations"][0]["physicalLocation"];
        let uri = location["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.bytes().all(|byte| byte.is_ascii_graphic()) && uri.ends_with(".json"), "{uri}");
        let number = |key: &str| location["region"][key].as_u64().unwrap();
        assert!(number("startLine") >= 1 && number("startColumn") >= 1);
        assert!((number("endLine"), number("endColumn")) > (number("startLine"), number("startColumn")), "{result}");
    }
}

proptest::proptest! {
    /// Whatever stands in the file, something is told or nothing is wrong, and places are within the text.
    #[test]
    fn no_text_ends_the_lint(view in 0_usize..32, at in 0_usize..1500, length in 0_usize..12, with in "[\\[\\]{}\",:a-zé0-9.()'%\\\\ ]{0,8}") {
        let (_, text) = broken().swap_remove(view);
        let start = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let end = (start..=text.len()).find(|end| *end >= start + length && text.is_char_boundary(*end)).unwrap_or(text.len());
        let text = format!("{}{with}{}", &text[..start], &text[end..]);
        let lines = text.lines().count().max(1);
        for one in check_view(&text, "t.json").list {
            let region = one.region.unwrap();
            assert!(region.line >= 1 && region.end_line <= lines + 1 && region.column >= 1, "{text}: {one:?}");
        }
    }
}
