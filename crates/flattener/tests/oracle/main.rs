//! A second opinion: random views over random resources give the rows that a slow evaluator gives, which shares nothing
//! with the engine. Expressions are made as trees; the engine gets their text, the evaluator walks the trees over owned
//! JSON, gathering whole collections at each step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod dice;
mod evaluate;
mod expression;
mod resource;
mod view;

use arrow::{
    array::{Array, AsArray},
    record_batch::RecordBatch,
};
use dice::Dice;
use fhirvest_flattener::{Plan, parse_view};
use proptest::prelude::*;
use view::{Cell, View};

/// A batch as rows of cells.
fn cells(batch: &RecordBatch) -> Vec<Vec<Cell>> {
    let text = |array: &dyn Array, row: usize| {
        let texts = array.as_string::<i32>();
        texts.is_valid(row).then(|| texts.value(row).to_owned())
    };
    let cell = |column: &dyn Array, row: usize| match column.as_list_opt::<i32>() {
        Some(lists) => {
            let list = lists.value(row);
            Cell::List((0..list.len()).map(|place| text(&list, place).unwrap_or_default()).collect())
        }
        None => text(column, row).map_or(Cell::Null, Cell::Text),
    };
    (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| cell(column, row)).collect()).collect()
}

/// Compares the two; gives whether the evaluator had rows.
fn compare(view: &View, resources: &[serde_json::Value]) -> Result<bool, TestCaseError> {
    let text = view.to_json().to_string();
    let parsed = parse_view(&text, "view").map_err(|error| TestCaseError::fail(format!("{text}\n{error}")))?;
    let plan = Plan::compile(&[parsed]).map_err(|error| TestCaseError::fail(format!("{text}\n{error}")))?;
    let mut flattener = plan.flattener();
    let mut any = false;
    for resource in resources {
        flattener.push(&resource.to_string()).unwrap();
        let failures = flattener.take_failures();
        let found = flattener.flush().unwrap().remove(0).map_or_else(Vec::new, |batch| cells(&batch));
        // Where the evaluator refuses, the engine may have stopped before it came to the reason.
        if let Ok(wanted) = view.rows(resource) {
            any |= !wanted.is_empty();
            prop_assert!(failures.is_empty(), "{text}\n{resource}\n{failures:?}");
            prop_assert_eq!(found, wanted, "{}\n{}", text, resource);
        }
    }
    Ok(any)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_views_over_random_resources_agree(
        view in prop::collection::vec(any::<u8>(), 0..120),
        resources in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..4),
    ) {
        let view = View::random(&mut Dice::new(&view));
        let resources: Vec<_> = resources.iter().map(|bytes| resource::random(&mut Dice::new(bytes))).collect();
        compare(&view, &resources)?;
    }
}

/// The comparison is worth something: most views give rows, and some of them several.
#[test]
fn most_random_views_give_rows() {
    let mut state = 1_u64;
    let mut bytes = |count: usize| -> Vec<u8> {
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        (0..count).map(next).collect()
    };
    let (mut with_rows, mut refused, mut longest) = (0, 0, 0);
    for _ in 0..1000 {
        let (view, resource) =
            (View::random(&mut Dice::new(&bytes(100))), resource::random(&mut Dice::new(&bytes(100))));
        match view.rows(&resource) {
            Ok(rows) => {
                with_rows += usize::from(!rows.is_empty());
                longest = longest.max(rows.len());
            }
            Err(_) => refused += 1,
        }
        compare(&view, &[resource]).unwrap();
    }
    assert!(
        with_rows > 300 && refused < 500 && longest > 5,
        "{with_rows} with rows, {refused} refused, {longest} rows"
    );
}
