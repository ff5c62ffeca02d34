//! Resources in, record batches out.

use std::{
    cell::{Cell as Slot, RefCell},
    sync::Arc,
};

use arrow::{error::ArrowError, record_batch::RecordBatch};
use fhirvest_fhir::quotes::JsonError;

use crate::{
    arena::{Arena, NONE, Value},
    column::Builder,
    evaluate::{Evaluator, Fail, Focus, Item},
    operation::Operation,
    plan::{Cell, Compiled, Fast, Inner, Rows, Source, Walk},
    trie::Trie,
};

/// Rows that one resource may give in one table. A cross product of hostile lists must not take the memory.
const MOST_ROWS: usize = 1_000_000;

/// Steps of `repeat` within each other: the JSON parser stops at 128 levels, so only a path that stands still gets there.
const DEEPEST_REPEAT: usize = 128;

/// The resource as a whole cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON object that can be read: {source}")]
pub struct PushError {
    #[from]
    source: JsonError,
}

/// Arrow refuses a batch: a bug.
#[derive(Debug, thiserror::Error)]
#[error("the rows of table `{table}` do not make a batch")]
pub struct FlattenError {
    table: String,
    source: ArrowError,
}

/// Why a resource gives no rows in one table. Never holds any of its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The table's number in the plan.
    pub table: usize,
    /// Why.
    pub message: String,
}

/// What became of the resources pushed, for one table: `resources = flattened + filtered + failed`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableCounts {
    /// Resources pushed.
    pub resources: u64,
    /// Those that gave rows.
    pub flattened: u64,
    /// Those of another type, left out by `where`, or with nothing to iterate over.
    pub filtered: u64,
    /// Those that could not be flattened.
    pub failed: u64,
    /// Those that stayed although a value of another JSON type kept `where` from telling whether they should.
    pub unjudged: u64,
    /// Rows.
    pub rows: u64,
    /// Values that did not fit their column and became null, by column.
    pub casts: Vec<u64>,
}

/// Flattens resources, one after the other, on one thread.
pub struct Flattener {
    plan: Arc<Inner>,
    arena: Arena,
    computed: RefCell<String>,
    builders: Vec<Vec<Builder>>,
    counts: Vec<TableCounts>,
    failures: Vec<Failure>,
    buffered: Vec<usize>,
    /// Empty, with the memory of the rows before.
    spare: Gathered<'static>,
}

impl Flattener {
    pub(crate) fn new(plan: Arc<Inner>) -> Self {
        let builders = plan.views.iter().map(|view| view.columns.iter().map(|cell| cell.builder()).collect()).collect();
        let zero = |view: &Compiled| TableCounts { casts: vec![0; view.columns.len()], ..TableCounts::default() };
        Self {
            arena: Arena::default(),
            computed: RefCell::default(),
            builders,
            counts: plan.views.iter().map(zero).collect(),
            failures: Vec::new(),
            buffered: vec![0; plan.views.len()],
            spare: Gathered::default(),
            plan,
        }
    }

    /// Flattens one resource into every table of the plan. A table that it cannot be flattened into counts it as failed,
    /// and keeps the reason for [`Flattener::take_failures`]; the other tables have their rows.
    ///
    /// # Errors
    /// The text is no JSON object; nothing is counted then.
    pub fn push(&mut self, resource: &str) -> Result<(), PushError> {
        let Self { plan, arena, computed, builders, counts, failures, buffered, spare } = self;
        arena.read(&plan.trie, resource)?;
        let mut gathered = std::mem::take(spare).recycled();
        let evaluator = Evaluator { arena, resource, computed, passed_over: Slot::default() };
        let of_type = evaluator.is_of_type(&plan.resource);
        for (number, view) in plan.views.iter().enumerate() {
            let count = &mut counts[number];
            count.resources += 1;
            if !of_type {
                count.filtered += 1;
                continue;
            }
            computed.borrow_mut().clear();
            gathered.clear();
            match evaluator.rows(view, &mut gathered) {
                Ok(_) if gathered.cells.is_empty() => count.filtered += 1,
                Ok(judged) => {
                    count.flattened += 1;
                    count.unjudged += u64::from(!judged);
                    let width = view.columns.len().max(1);
                    // Column by column: a builder's kind is looked up once for all rows of a resource.
                    for (place, builder) in builders[number].iter_mut().enumerate() {
                        let cells = gathered.cells[place..].iter().step_by(width).copied();
                        count.casts[place] += builder.extend(&evaluator, cells, &gathered.items);
                    }
                    let added = gathered.cells.len() / width;
                    count.rows += added as u64;
                    buffered[number] += added;
                }
                Err(Fail { message, .. }) => {
                    count.failed += 1;
                    failures.push(Failure { table: number, message });
                }
            }
        }
        *spare = gathered.recycled();
        Ok(())
    }

    /// The reasons of failures since the last call.
    pub fn take_failures(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.failures)
    }

    /// Rows not yet flushed, in the table that has the most.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.buffered.iter().copied().max().unwrap_or(0)
    }

    /// What became of the resources so far, by table.
    #[must_use]
    pub fn counts(&self) -> &[TableCounts] {
        &self.counts
    }

    /// The rows since the last call, one batch for each table that has any.
    ///
    /// # Errors
    /// Arrow refuses: a bug.
    pub fn flush(&mut self) -> Result<Vec<Option<RecordBatch>>, FlattenError> {
        let mut batches = Vec::with_capacity(self.builders.len());
        for ((table, builders), rows) in self.plan.tables.iter().zip(&mut self.builders).zip(&mut self.buffered) {
            if std::mem::take(rows) == 0 {
                batches.push(None);
                continue;
            }
            let columns = builders.iter_mut().map(Builder::finish).collect::<Result<Vec<_>, _>>();
            let batch = columns.and_then(|columns| RecordBatch::try_new(table.schema.clone(), columns));
            batches.push(Some(batch.map_err(|source| FlattenError { table: table.name.clone(), source })?));
        }
        Ok(batches)
    }
}

/// The rows of one resource: cells in the order of the columns, row after row.
#[derive(Debug, Default)]
struct Gathered<'p> {
    cells: Vec<Filling>,
    items: Vec<Item<'p>>,
    /// The row that is being filled.
    row: Vec<Filling>,
}

/// What a cell holds. Most hold an element or nothing, and a row may be there many times: so this is small.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Filling {
    #[default]
    Nothing,
    /// One element.
    Node(u32),
    /// A place in a list: `%rowIndex`.
    Place(u32),
    /// The values between two places among the items.
    Items(u32, u32),
    /// A value of another type than the expression can deal with.
    Misfit,
}

impl<'p> Gathered<'p> {
    fn clear(&mut self) {
        self.cells.clear();
        self.items.clear();
        self.row.clear();
    }

    /// The memory alone, for the items of another plan's lifetime: collecting nothing in place keeps it.
    fn recycled<'q>(mut self) -> Gathered<'q> {
        self.clear();
        Gathered { cells: self.cells, items: self.items.into_iter().map_while(|_| None).collect(), row: self.row }
    }
}

impl Evaluator<'_> {
    fn is_of_type(&self, wanted: &str) -> bool {
        let first = self.arena.first(0, Trie::RESOURCE_TYPE);
        let value = (first != NONE).then(|| self.arena.node(first).value);
        matches!(value, Some(Value::Text(piece)) if self.arena.text(self.resource, piece) == wanted)
    }

    /// Gathers the rows of a view; none where a filter leaves the resource out. Whether all filters could tell: where one
    /// meets a value of another JSON type the resource stays.
    fn rows<'p>(&self, view: &'p Compiled, gathered: &mut Gathered<'p>) -> Result<bool, Fail> {
        let focus = Focus::new(Some(Item::Node(0)), 0);
        let mut judged = true;
        for (filter, known) in &view.filters {
            match self.single(filter, focus, "where") {
                Err(fail) if fail.misfit => judged = false,
                Err(fail) => return Err(fail),
                Ok(None) => return Ok(judged),
                Ok(Some(item)) => match self.boolean(item) {
                    Some(true) => {}
                    Some(false) => return Ok(judged),
                    None if *known => judged = false,
                    None => return Err(Fail::new("where gives a value that is neither true nor false")),
                },
            }
        }
        gathered.row.resize(view.columns.len(), Filling::Nothing);
        self.product(view, &Parts { selects: &view.selects, unions: &[], focus, rest: None }, gathered)?;
        Ok(judged)
    }

    /// The rows of all parts crossed with each other: one part after the other fills its cells of the row, and the last
    /// one keeps it.
    fn product<'p>(&self, view: &'p Compiled, parts: &Parts<'_, 'p>, gathered: &mut Gathered<'p>) -> Result<(), Fail> {
        if let Some((select, selects)) = parts.selects.split_first() {
            return self.select(view, select, parts.focus, &Parts { selects, ..*parts }, gathered);
        }
        if !parts.unions.is_empty() {
            for branch in parts.unions {
                self.select(view, branch, parts.focus, &Parts { unions: &[], ..*parts }, gathered)?;
            }
            return Ok(());
        }
        if let Some(rest) = parts.rest {
            return self.product(view, rest, gathered);
        }
        if gathered.cells.len() / gathered.row.len().max(1) >= MOST_ROWS {
            return Err(Fail::new(format!("more than {MOST_ROWS} rows from one resource")));
        }
        gathered.cells.extend_from_slice(&gathered.row);
        Ok(())
    }

    fn select<'p>(
        &self,
        view: &'p Compiled,
        select: &'p Rows,
        focus: Focus<'p>,
        rest: &Parts<'_, 'p>,
        gathered: &mut Gathered<'p>,
    ) -> Result<(), Fail> {
        let Some(walk) = &select.iteration else { return self.focus(view, select, focus, rest, gathered) };
        let (begin, mut row_index) = (gathered.cells.len(), 0);
        let walked = self.walk(walk, focus, &mut |item| {
            let inner = Focus::new(Some(item), row_index);
            row_index += 1;
            self.focus(view, select, inner, rest, gathered)
        });
        match walked {
            Err(fail) if fail.misfit => {
                gathered.cells.truncate(begin);
                return self.select_again(view, select, focus, rest, gathered);
            }
            walked => walked?,
        }
        if row_index == 0 && matches!(walk, Walk::Each(_, true)) {
            self.focus(view, select, Focus::new(None, 0), rest, gathered)?;
        }
        Ok(())
    }

    /// The rows of a select whose path met values of another JSON type than R4's. None is lost: each of these stands for a
    /// row, in which what depends on it is null and counted (decision 080).
    fn select_again<'p>(
        &self,
        view: &'p Compiled,
        select: &'p Rows,
        focus: Focus<'p>,
        rest: &Parts<'_, 'p>,
        gathered: &mut Gathered<'p>,
    ) -> Result<(), Fail> {
        let Some(walk) = &select.iteration else { return Ok(()) };
        let mut found = Vec::new();
        let outside = self.passed_over.replace(Some(0));
        let walked = self.walk(walk, focus, &mut |item| {
            found.push(item);
            Ok(())
        });
        let walked = walked.or_else(|fail| self.pass_over(fail));
        let passed_over = self.passed_over.replace(outside).unwrap_or(0);
        walked?;
        let known = found.into_iter().map(|item| Focus::new(Some(item), 0));
        let all = known.chain((0..passed_over).map(|_| Focus::lost(0)));
        for (row_index, inner) in (0..).zip(all) {
            self.focus(view, select, inner.numbered(row_index), rest, gathered)?;
        }
        Ok(())
    }

    /// Hands on what a select iterates over.
    fn walk<'p>(
        &self,
        walk: &'p Walk,
        focus: Focus<'p>,
        visit: &mut dyn FnMut(Item<'p>) -> Result<(), Fail>,
    ) -> Result<(), Fail> {
        match walk {
            Walk::Each(path, _) => self.items(path, focus, &mut |item| visit(item).map(|()| true)),
            Walk::Repeat(paths, objects) => self.repeat(paths, *objects, focus, 0, visit),
        }
    }

    /// Hands on each value of a source.
    fn items<'p>(
        &self,
        source: &'p Source,
        focus: Focus<'p>,
        visit: &mut impl FnMut(Item<'p>) -> Result<bool, Fail>,
    ) -> Result<(), Fail> {
        let mut result = Ok(());
        match self.fast(source, focus) {
            Fast::None => return self.each(&source.operation, focus, visit).map(|_| ()),
            Fast::Chain(chain) => chain.each(self, focus.item, &mut |node| {
                if result.is_ok() {
                    result = visit(Item::Node(node)).map(|_| ());
                }
            }),
            Fast::Keys(chain, reference, of_type) => chain.each(self, focus.item, &mut |node| {
                let mut next = self.arena.first(node, *reference);
                while next != NONE && self.arena.node(next).name == *reference {
                    let key = self.reference_key(Item::Node(next), of_type.as_deref());
                    if let (Some(key), true) = (key, result.is_ok()) {
                        result = visit(key).map(|_| ());
                    }
                    next = self.arena.node(next).next;
                }
            }),
        }
        result
    }

    /// The fast form of an expression, where it gives what the expression gives.
    #[inline]
    fn fast<'p>(&self, source: &'p Source, focus: Focus<'p>) -> &'p Fast {
        if self.arena.has_odd() || focus.is_lost() { &Fast::None } else { &source.fast }
    }

    /// The values of the paths, each followed by what the paths lead to from there (SQL on FHIR v2, `repeat`).
    fn repeat<'p>(
        &self,
        paths: &'p [Operation],
        objects: bool,
        focus: Focus<'p>,
        depth: usize,
        visit: &mut dyn FnMut(Item<'p>) -> Result<(), Fail>,
    ) -> Result<(), Fail> {
        if depth > DEEPEST_REPEAT {
            return Err(Fail::new(format!("repeat goes deeper than {DEEPEST_REPEAT} steps")));
        }
        for path in paths {
            let walked = self.each(path, focus, &mut |item| {
                if objects && !self.is_object(item) {
                    self.pass_over(Fail::misfit("repeat reaches a plain value where R4 has an element with parts"))?;
                    return Ok(true);
                }
                visit(item)?;
                self.repeat(paths, objects, focus.at(item), depth + 1, visit)?;
                Ok(true)
            });
            walked.map(|_| ()).or_else(|fail| self.pass_over(fail))?;
        }
        Ok(())
    }

    /// What a column's expression gives for a cell.
    fn fill<'p>(
        &self,
        cell: &Cell,
        source: &'p Source,
        focus: Focus<'p>,
        items: &mut Vec<Item<'p>>,
    ) -> Result<Filling, Fail> {
        let several = || {
            let name = &cell.name;
            Fail::new(format!("the column `{name}` has several values: take .first(), or say collection: true"))
        };
        if let (Fast::Chain(chain), false) = (self.fast(source, focus), cell.collection) {
            let (mut found, mut more) = (NONE, false);
            chain.each(self, focus.item, &mut |node| {
                more |= found != NONE;
                found = node;
            });
            return match (found, more) {
                (_, true) => Err(several()),
                (NONE, _) => Ok(Filling::Nothing),
                _ => Ok(Filling::Node(found)),
            };
        }
        let start = items.len();
        match &source.operation {
            Operation::RowIndex if !cell.collection => return Ok(Filling::Place(focus.row_index())),
            Operation::Text(text) => {
                items.push(Item::Literal(text));
                return Ok(Filling::Items(place(start), place(start + 1)));
            }
            _ => {}
        }
        let read = self.items(source, focus, &mut |item| {
            items.push(item);
            Ok(true)
        });
        match read {
            Err(fail) if fail.misfit => {
                items.truncate(start);
                return Ok(Filling::Misfit);
            }
            read => read?,
        }
        match items.len() - start {
            // An empty list is told from no list by nobody, but a list column's rows count their values.
            0 => Ok(Filling::Nothing),
            more if more > 1 && !cell.collection => Err(several()),
            // Rows are limited, and so are their values: places fit.
            _ => Ok(Filling::Items(place(start), place(items.len()))),
        }
    }

    fn focus<'p>(
        &self,
        view: &'p Compiled,
        select: &'p Rows,
        focus: Focus<'p>,
        rest: &Parts<'_, 'p>,
        gathered: &mut Gathered<'p>,
    ) -> Result<(), Fail> {
        for (place, source) in &select.columns {
            gathered.row[*place] = self.fill(&view.columns[*place], source, focus, &mut gathered.items)?;
        }
        if select.selects.is_empty() && select.unions.is_empty() {
            return self.product(view, rest, gathered);
        }
        let inner = Parts { selects: &select.selects, unions: &select.unions, focus, rest: Some(rest) };
        self.product(view, &inner, gathered)
    }
}

/// A place among the items. Beyond 4 thousand million there is no memory for them either.
fn place(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What still has to fill its cells of a row: selects, then one of the union's branches, then the rest.
#[derive(Clone, Copy)]
struct Parts<'r, 'p> {
    selects: &'p [Rows],
    unions: &'p [Rows],
    focus: Focus<'p>,
    rest: Option<&'r Parts<'r, 'p>>,
}
