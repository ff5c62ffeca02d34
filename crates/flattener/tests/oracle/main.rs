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
use view::{Column, View};

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

    /// How many rows the evaluator has of these resources, and how many of them it refuses. Of all others the engine has
    /// to give the same rows, in the same order, with the same misfits, while it evaluates many at a time. A cell that the
    /// evaluator has no value for, because it met a misfit, is the engine's to tell: `first()` may have ended before it.
    fn compare<'r>(&mut self, resources: impl IntoIterator<Item = &'r str>) -> Result<(usize, usize), String> {
        let columns = self.view.columns();
        let before = self.flattener.counts()[0].casts.clone();
        let (mut wanted, mut lost, mut refused) = (Vec::new(), vec![(0, 0); columns.len()], 0);
        for resource in resources {
            // Where the evaluator refuses, the engine may stop before it comes to the reason.
            let Ok(rows) = self.view.rows(&Json::read(resource)) else {
                refused += 1;
                continue;
            };
            self.flattener.push(resource).map_err(|error| error.to_string())?;
            wanted.extend(rows.iter().map(|row| (resource, shown(row, &columns, &mut lost))));
        }
        let failures = self.flattener.take_failures();
        let found = self.flattener.flush().unwrap().remove(0).map_or_else(Vec::new, |batch| cells(&batch));
        if let Some(failure) = failures.first() {
            return Err(format!("the engine refuses a resource: {failure:?}"));
        }
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        for (place, (resource, row)) in wanted.iter().enumerate() {
            let found = found.get(place);
            let same = |found: &Vec<Cell>| {
                found.iter().zip(row).all(|(found, cell)| cell.as_ref().is_none_or(|cell| cell == found))
            };
            if !found.is_some_and(same) {
                return Err(format!("{resource}\n{names:?}\nengine    {found:?}\nevaluator {row:?}"));
            }
        }
        if found.len() > wanted.len() {
            return Err(format!(
                "{} rows too many, the first is {:?}",
                found.len() - wanted.len(),
                found[wanted.len()]
            ));
        }
        let counted = self.flattener.counts()[0].casts.iter().zip(before).map(|(now, before)| now - before);
        let counted: Vec<u64> = counted.collect();
        if counted.iter().zip(&lost).all(|(counted, (least, open))| (*least..=least + open).contains(counted)) {
            Ok((wanted.len(), refused))
        } else {
            Err(format!("{names:?}\nmisfits: engine {counted:?}, evaluator {lost:?}"))
        }
    }
}

/// A row of the evaluator as Arrow shows it, but for cells with misfits. By column: what does not fit it, and those cells.
fn shown(row: &[view::Cell], columns: &[Column], lost: &mut [(u64, u64)]) -> Vec<Option<Cell>> {
    let cells = row.iter().zip(columns).zip(lost).map(|((cell, column), (lost, open))| {
        *open += u64::from(cell.is_none());
        let cast: Vec<Option<String>> = cell.as_ref()?.iter().map(|item| column.kind.cast(item)).collect();
        *lost += cast.iter().filter(|one| one.is_none()).count() as u64;
        Some(match column.collection {
            true => Cell::List(cast),
            false => cast.into_iter().next().flatten().map_or(Cell::Null, Cell::One),
        })
    });
    cells.collect()
}

/// Random cases of a test; `FHIRVEST_CASES` says another number.
fn cases(usual: u32) -> u32 {
    std::env::var("FHIRVEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(2000), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_views_over_random_resources_agree(
        view in prop::collection::vec(any::<u8>(), 0..160),
        resources in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..9),
        others in prop::collection::vec(any::<u8>(), 200),
    ) {
        let view = random::view(&mut Dice::new(&view));
        let mut both = Both::new(&view).map_err(TestCaseError::fail)?;
        let resources: Vec<String> = resources.iter().map(|bytes| resource::random(&mut Dice::new(bytes))).collect();
        // Each alone, and all of them in turn.
        for some in resources.chunks(1).chain([&resources[..]]) {
            let some = some.iter().map(String::as_str);
            both.compare(some).map_err(|wrong| TestCaseError::fail(format!("{view}\n{wrong}")))?;
        }
        // Many of one structure, of which the shapes become known.
        let mut dice = Dice::new(&others);
        let varied: Vec<String> = (0..12).map(|_| resource::varied(&resources[0], &mut dice)).collect();
        for some in varied.chunks(6) {
            let some = some.iter().map(String::as_str);
            both.compare(some).map_err(|wrong| TestCaseError::fail(format!("{view}\n{wrong}")))?;
        }
    }
}

/// Of one table the rows, the misfits, and which resources are refused.
type Table = (Vec<Vec<Cell>>, Vec<u64>, Vec<usize>);

/// What a plan makes of resources, table by table.
fn tables(views: &[serde_json::Value], resources: &[String]) -> Vec<Table> {
    let views: Vec<_> = views.iter().map(|view| parse_view(&view.to_string(), "view").unwrap()).collect();
    let mut flattener = Plan::compile(&views).unwrap().flattener();
    resources.iter().for_each(|resource| flattener.push(resource).unwrap());
    let failures = flattener.take_failures();
    let refused = |table| failures.iter().filter(|one| one.table == table).map(|one| one.resource).collect();
    let batches = flattener.flush().unwrap();
    let rows = batches.iter().map(|batch| batch.as_ref().map_or_else(Vec::new, cells)).enumerate();
    rows.map(|(table, rows)| (rows, flattener.counts()[table].casts.clone(), refused(table))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() })]
    /// Views of one type are compiled together, and read a resource once: each gives what it gives alone.
    #[test]
    fn views_do_not_disturb_each_other(
        views in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..160), 2..5),
        resources in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..5),
    ) {
        let views: Vec<_> = views.iter().map(|bytes| random::view(&mut Dice::new(bytes))).collect();
        let resources: Vec<String> =
            resources.iter().map(|bytes| resource::random(&mut Dice::new(bytes))).collect();
        let together = tables(&views, &resources);
        for (view, found) in views.iter().zip(together) {
            let alone = tables(std::slice::from_ref(view), &resources).remove(0);
            prop_assert_eq!(found, alone, "{}\n{:?}", view, resources);
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
        let told = Both::new(&view).and_then(|mut both| both.compare([resource.as_str()]));
        let (rows, not) = told.unwrap_or_else(|wrong| panic!("{view}\n{wrong}"));
        with_rows += usize::from(rows > 0);
        longest = longest.max(rows);
        refused += not;
    }
    assert!(
        with_rows > 300 && refused < 500 && longest > 5,
        "{with_rows} with rows, {refused} refused, {longest} rows"
    );
}
