//! A second opinion: views give the rows that a slow evaluator gives, which shares nothing with the engine: it has its own
//! grammar, its own JSON, its own numbers and dates, and gathers whole collections at each step. Random views over random
//! resources, the shipped views over all of the reference data, and the official tests go through both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod cast;
mod dice;
mod evaluate;
mod expression;
mod functions;
mod grammar;
mod json;
mod moment;
mod number;
mod random;
mod real;
mod resource;
mod view;

use arrow::{
    array::{Array, AsArray},
    record_batch::RecordBatch,
    util::display::array_value_to_string,
};
use dice::Dice;
use fhirvest_flattener::{Flattener, Plan, parse_view};
use json::Json;
use proptest::prelude::*;
use view::View;

/// A cell as Arrow shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    Null,
    One(String),
    List(Vec<Option<String>>),
}

/// A batch as rows of cells.
fn cells(batch: &RecordBatch) -> Vec<Vec<Cell>> {
    let one = |array: &dyn Array, row: usize| array.is_valid(row).then(|| array_value_to_string(array, row).unwrap());
    let cell = |column: &dyn Array, row: usize| match column.as_list_opt::<i32>() {
        Some(lists) => {
            let list = lists.value(row);
            Cell::List((0..list.len()).map(|place| one(&list, place)).collect())
        }
        None => one(column, row).map_or(Cell::Null, Cell::One),
    };
    (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| cell(column, row)).collect()).collect()
}

/// A view for both sides.
struct Both {
    view: View,
    flattener: Flattener,
}

impl Both {
    fn new(view: &serde_json::Value) -> Result<Self, String> {
        let parsed = parse_view(&view.to_string(), "view").map_err(|error| error.to_string())?;
        let plan = Plan::compile(&[parsed]).map_err(|error| error.to_string())?;
        Ok(Self { view: View::read(view), flattener: plan.flattener() })
    }

    /// The rows that the evaluator has, which must be the engine's; nothing where it refuses the resource.
    fn compare(&mut self, resource: &str) -> Result<Option<usize>, String> {
        let misfits = |flattener: &mut Flattener| flattener.counts()[0].casts.clone();
        let before = misfits(&mut self.flattener);
        self.flattener.push(resource).map_err(|error| error.to_string())?;
        let failures = self.flattener.take_failures();
        let found = self.flattener.flush().unwrap().remove(0).map_or_else(Vec::new, |batch| cells(&batch));
        // Where the evaluator refuses, the engine may have stopped before it came to the reason.
        let Ok(rows) = self.view.rows(&Json::read(resource)) else { return Ok(None) };
        if let Some(failure) = failures.first() {
            return Err(format!("the engine refuses {resource}: {failure:?}"));
        }
        let columns = self.view.columns();
        let mut lost = vec![0; columns.len()];
        let mut wanted = Vec::new();
        for row in rows {
            let cells = row.iter().zip(&columns).enumerate().map(|(place, (cell, column))| {
                let values = cell.clone().unwrap_or_default();
                let cast: Vec<Option<String>> = values.iter().map(|item| column.kind.cast(item)).collect();
                lost[place] += cast.iter().filter(|one| one.is_none()).count() as u64 + u64::from(cell.is_none());
                if column.collection {
                    Cell::List(cast)
                } else {
                    cast.into_iter().next().flatten().map_or(Cell::Null, Cell::One)
                }
            });
            wanted.push(cells.collect::<Vec<_>>());
        }
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        if found != wanted {
            return Err(format!("{resource}\n{names:?}\nengine    {found:?}\nevaluator {wanted:?}"));
        }
        let counted: Vec<u64> =
            misfits(&mut self.flattener).iter().zip(before).map(|(now, before)| now - before).collect();
        if counted != lost {
            return Err(format!("{resource}\n{names:?}\nmisfits: engine {counted:?}, evaluator {lost:?}"));
        }
        Ok(Some(wanted.len()))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_views_over_random_resources_agree(
        view in prop::collection::vec(any::<u8>(), 0..160),
        resources in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..4),
    ) {
        let view = random::view(&mut Dice::new(&view));
        let mut both = Both::new(&view).map_err(TestCaseError::fail)?;
        for bytes in resources {
            let resource = resource::random(&mut Dice::new(&bytes));
            both.compare(&resource).map_err(|wrong| TestCaseError::fail(format!("{view}\n{wrong}")))?;
        }
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
        let view = random::view(&mut Dice::new(&bytes(150)));
        let resource = resource::random(&mut Dice::new(&bytes(150)));
        match Both::new(&view).and_then(|mut both| both.compare(&resource)) {
            Ok(Some(rows)) => {
                with_rows += usize::from(rows > 0);
                longest = longest.max(rows);
            }
            Ok(None) => refused += 1,
            Err(wrong) => panic!("{view}\n{wrong}"),
        }
    }
    assert!(
        with_rows > 300 && refused < 500 && longest > 5,
        "{with_rows} with rows, {refused} refused, {longest} rows"
    );
}
