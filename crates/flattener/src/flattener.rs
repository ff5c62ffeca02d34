//! Resources in, record batches out.

use std::{
    cell::{Cell as Slot, RefCell},
    sync::Arc,
};

use arrow::{
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
    record_batch::RecordBatch,
};
use fhirvest_fhir::quotes::JsonError;

use crate::{
    arena::Arena,
    cells::{Filling, Refused},
    column::Builder,
    evaluate::{Evaluator, Item},
    plan::{Compiled, Inner},
    rows::{Gathered, Spread},
    template::{ByShape, Evaluated, Resource, Templates},
    texts::dictionary_of_texts,
};

/// Resources that are evaluated together, column by column: at most so many, and not more than so many bytes. What they
/// need should fit the cache of one core.
const TOGETHER: usize = 64;
const BYTES_TOGETHER: usize = 128 << 10;

/// Rows of a table that are evaluated together, at about the least.
const ROWS_TOGETHER: usize = 4096;

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
    /// The resource: how many were pushed before it, since the failures were last taken.
    pub resource: usize,
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

/// Flattens resources on one thread, in their order. It evaluates several together, so the counts, the failures and the
/// rows of the last ones are there once they are asked for with [`Flattener::flush`] or [`Flattener::take_failures`].
pub struct Flattener {
    plan: Arc<Inner>,
    arena: Arena,
    computed: RefCell<String>,
    /// Of the tables' batches.
    schemas: Vec<SchemaRef>,
    builders: Vec<Vec<Builder>>,
    counts: Vec<TableCounts>,
    failures: Vec<Failure>,
    buffered: Vec<usize>,
    /// For each resource of the arena, how many were pushed before it since the failures were last taken.
    places: Vec<usize>,
    /// Resources pushed since then.
    pushed: usize,
    spare: Spare<'static>,
    templates: Templates,
}

impl Flattener {
    /// Whether texts have numbers.
    pub(crate) fn new(plan: Arc<Inner>, dictionary: bool) -> Self {
        let columns = |view: &Compiled| view.columns.iter().map(|cell| cell.builder(dictionary)).collect();
        let builders = plan.views.iter().map(columns).collect();
        let schema = |schema: &SchemaRef| if dictionary { with_dictionaries(schema) } else { schema.clone() };
        let schemas = plan.tables.iter().map(|table| schema(&table.schema)).collect();
        let zero = |view: &Compiled| TableCounts { casts: vec![0; view.columns.len()], ..TableCounts::default() };
        Self {
            arena: Arena::default(),
            computed: RefCell::default(),
            schemas,
            builders,
            counts: plan.views.iter().map(zero).collect(),
            failures: Vec::new(),
            buffered: vec![0; plan.views.len()],
            places: Vec::new(),
            pushed: 0,
            spare: Spare::default(),
            templates: Templates::of(&plan),
            plan,
        }
    }

    /// Flattens one resource into every table of the plan. A table that it cannot be flattened into counts it as failed,
    /// and keeps the reason for [`Flattener::take_failures`]; the other tables have their rows.
    ///
    /// # Errors
    /// The text is no JSON object; nothing is counted then.
    pub fn push(&mut self, resource: &str) -> Result<(), PushError> {
        self.arena.read(&self.plan.trie, resource)?;
        if self.arena.keep_last_if_of(&self.plan.resource) {
            self.places.push(self.pushed);
        } else {
            for count in &mut self.counts {
                count.resources += 1;
                count.filtered += 1;
            }
        }
        self.pushed += 1;
        if self.places.len() >= TOGETHER || self.arena.bytes() >= BYTES_TOGETHER {
            self.settle();
        }
        Ok(())
    }

    /// Evaluates what was pushed.
    fn settle(&mut self) {
        let Self { plan, arena, computed, builders, counts, failures, buffered, places, spare, templates, .. } = self;
        templates.grow(arena);
        let mut memory = std::mem::take(spare).recycled();
        let evaluator = Evaluator { arena, computed, passed_over: Slot::default() };
        templates.tell(&evaluator, plan, &mut memory.gathered);
        let resources = arena.resources();
        let (mut told, mut run) = (Vec::with_capacity(resources.len()), Vec::with_capacity(resources.len()));
        for (number, view) in plan.views.iter().enumerate() {
            templates.by_shape(arena, number, &mut told);
            let mut table = Together { view, builders: &mut builders[number], count: &mut counts[number] };
            let mut begin = 0;
            while begin < resources.len() {
                run.clear();
                run.extend(told[begin..].iter().map_while(|rows| *rows));
                let (done, rows) = table.by_shape(&evaluator, &run, &mut memory);
                buffered[number] += rows;
                begin += done;
                // Then one that is refused, or those of no known shape.
                let others = match told[begin..].iter().take_while(|rows| rows.is_none()).count() {
                    0 => usize::from(done < run.len()),
                    others => others,
                };
                let end = begin + others;
                while begin < end {
                    let (done, rows) = table.flatten(&evaluator, &resources[begin..end], &mut memory);
                    buffered[number] += rows;
                    begin += done;
                    for (root, message) in memory.refused.drain(..) {
                        let resource = places.get(arena.place(root) as usize).copied().unwrap_or_default();
                        failures.push(Failure { resource, table: number, message });
                    }
                }
            }
        }
        *spare = memory.recycled();
        self.arena.clear();
        self.places.clear();
    }

    /// The reasons of failures since the last call, in the order of the resources.
    pub fn take_failures(&mut self) -> Vec<Failure> {
        self.settle();
        self.pushed = 0;
        let mut failures = std::mem::take(&mut self.failures);
        failures.sort_by_key(|failure| (failure.resource, failure.table));
        failures
    }

    /// What became of the resources so far, by table.
    #[must_use]
    pub fn counts(&mut self) -> &[TableCounts] {
        self.settle();
        &self.counts
    }

    /// The rows since the last call, one batch for each table that has any.
    ///
    /// # Errors
    /// Arrow refuses: a bug.
    pub fn flush(&mut self) -> Result<Vec<Option<RecordBatch>>, FlattenError> {
        self.settle();
        let mut batches = Vec::with_capacity(self.builders.len());
        let tables = self.plan.tables.iter().zip(&self.schemas).zip(&mut self.builders).zip(&mut self.buffered);
        for (((table, schema), builders), rows) in tables {
            if std::mem::take(rows) == 0 {
                batches.push(None);
                continue;
            }
            let columns = builders.iter_mut().map(Builder::finish).collect::<Result<Vec<_>, _>>();
            let batch = columns.and_then(|columns| RecordBatch::try_new(schema.clone(), columns));
            batches.push(Some(batch.map_err(|source| FlattenError { table: table.name.clone(), source })?));
        }
        Ok(batches)
    }
}

/// A table's columns, those of texts with numbers.
fn with_dictionaries(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Arc::new(Field::clone(field).with_data_type(dictionary_of_texts())),
        _ => field.clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Empty, with the memory of the rows before.
#[derive(Default)]
struct Spare<'p> {
    gathered: Gathered<'p>,
    /// By column, and in it by source and place.
    fillings: Vec<Vec<Filling>>,
    items: Vec<Item<'p>>,
    /// The cells of one column, row by row.
    cells: Vec<Filling>,
    /// For each walk, runs of rows that have one place of it.
    runs: Vec<Vec<(u32, u32)>>,
    /// For each resource, the number of rows up to its last.
    ends: Vec<usize>,
    refused: Vec<Refused>,
    /// Resources that a filter could not judge, as places among `ends`.
    unjudged: Vec<usize>,
    evaluated: Evaluated<'p>,
}

impl Spare<'_> {
    /// For another plan's lifetime: collecting nothing in place keeps the memory.
    fn recycled<'q>(mut self) -> Spare<'q> {
        self.items.clear();
        let items = self.items.into_iter().map_while(|_| None).collect();
        let Self { fillings, cells, runs, ends, refused, unjudged, .. } = self;
        let (gathered, evaluated) = (self.gathered.recycled(), self.evaluated.recycled());
        Spare { gathered, fillings, items, cells, runs, ends, refused, unjudged, evaluated }
    }
}

/// One table, and the resources that are flattened into it together.
struct Together<'t, 'p> {
    view: &'p Compiled,
    builders: &'t mut Vec<Builder>,
    count: &'t mut TableCounts,
}

impl<'p> Together<'_, 'p> {
    /// Flattens the first of the resources, as many as make a good number of rows; returns how many of them, and their
    /// rows. Those that are refused are left in the memory, once each.
    fn flatten(&mut self, evaluator: &Evaluator<'_>, resources: &[u32], memory: &mut Spare<'p>) -> (usize, usize) {
        let Spare { gathered, fillings, items, ends, refused, unjudged, .. } = memory;
        let width = self.view.walks;
        evaluator.computed.borrow_mut().clear();
        items.clear();
        ends.clear();
        refused.clear();
        unjudged.clear();
        gathered.begin(width);
        for root in resources {
            let before = gathered.rows.len();
            if before > ROWS_TOGETHER * width {
                break;
            }
            match evaluator.rows(self.view, *root, gathered) {
                Ok(true) => {}
                Ok(false) => unjudged.push(ends.len()),
                Err(fail) => {
                    gathered.truncate(before);
                    refused.push((*root, fail.message));
                }
            }
            ends.push(gathered.rows.len() / width);
        }
        let done = ends.len();
        gathered.note_names(evaluator);
        let plain = gathered.is_plain(evaluator);
        if plain {
            gathered.follow(evaluator, &self.view.stems);
        }
        fillings.resize(self.view.columns.len().max(fillings.len()), Vec::new());
        fillings.iter_mut().for_each(Vec::clear);
        if plain {
            for group in &self.view.groups {
                evaluator.group(self.view, group, gathered, fillings, refused);
            }
        }
        for ((cell, sources), fillings) in self.view.columns.iter().zip(&self.view.sources).zip(fillings.iter_mut()) {
            if cell.literal.is_some() || plain && sources.iter().all(|(_, source)| source.grouped) {
                continue;
            }
            // Where none of the places has what all sources begin with, there is nothing to look for.
            if plain && sources.iter().all(|(walk, source)| gathered.lacks(*walk, source.needs)) {
                continue;
            }
            for (walk, source) in sources {
                evaluator.cells(cell, (*walk, source), gathered, (fillings, items), refused);
            }
        }
        if !refused.is_empty() {
            // The first reason counts.
            refused.sort_by_key(|(root, _)| *root);
            refused.dedup_by_key(|(root, _)| *root);
            leave_out(&resources[..done], refused, &mut gathered.rows, ends, width);
        }
        let rows = gathered.rows.len() / width;
        self.tally(ends, refused.len(), rows);
        let begin = |place: usize| place.checked_sub(1).map_or(0, |before| ends[before]);
        self.count.unjudged += unjudged.iter().filter(|place| begin(**place) < ends[**place]).count() as u64;
        self.fill(evaluator, memory, rows);
        (done, rows)
    }

    /// Flattens resources of which the shapes tell the rows, up to one that is refused; returns how many of them, and their rows.
    fn by_shape(
        &mut self,
        evaluator: &Evaluator<'_>,
        mut resources: &[Resource<'_>],
        memory: &mut Spare<'p>,
    ) -> (usize, usize) {
        loop {
            let by_shape = ByShape { view: self.view, resources };
            evaluator.computed.borrow_mut().clear();
            match by_shape.evaluate(evaluator, &mut memory.evaluated) {
                _ if resources.is_empty() => return (0, 0),
                Ok(()) => break,
                Err(refused) => resources = &resources[..refused],
            }
        }
        let by_shape = ByShape { view: self.view, resources };
        let rows = by_shape.fill(evaluator, &memory.evaluated, self.builders, &mut self.count.casts);
        let with_rows = resources.iter().filter(|(_, _, rows)| rows.count > 0).count();
        self.count.resources += resources.len() as u64;
        self.count.flattened += with_rows as u64;
        self.count.filtered += (resources.len() - with_rows) as u64;
        self.count.rows += rows as u64;
        (resources.len(), rows)
    }

    /// Adds the rows to the columns.
    fn fill(&mut self, evaluator: &Evaluator<'_>, memory: &mut Spare<'p>, rows: usize) {
        let Spare { gathered, fillings, items, cells, runs, .. } = memory;
        runs.resize(self.view.walks.max(runs.len()), Vec::new());
        let spread: Vec<Spread> =
            runs[..self.view.walks].iter_mut().enumerate().map(|(walk, runs)| gathered.runs(walk, runs)).collect();
        let sources = self.view.columns.iter().zip(&self.view.sources);
        let columns = self.builders.iter_mut().zip(sources).zip(fillings.iter()).zip(&mut self.count.casts);
        for (((builder, (cell, sources)), fillings), casts) in columns {
            if let Some(text) = &cell.literal {
                builder.text(text, rows);
                continue;
            }
            *casts += match &sources[..] {
                _ if fillings.is_empty() => {
                    builder.nothing(rows);
                    0
                }
                [(walk, _)] if spread[*walk] == Spread::Each => {
                    builder.extend(evaluator, fillings.iter().map(|cell| (*cell, 1)), items)
                }
                [(walk, _)] => {
                    let cell = |place: u32| fillings.get(place as usize).copied().unwrap_or_default();
                    let runs = runs[*walk].iter().map(|(place, rows)| (cell(*place), *rows as usize));
                    builder.extend(evaluator, runs, items)
                }
                _ => {
                    let walks = sources.iter().map(|(walk, _)| (*walk, gathered.walks[*walk].len()));
                    one_of(&gathered.rows, walks, self.view.walks, fillings, cells);
                    builder.extend(evaluator, cells.iter().map(|cell| (*cell, 1)), items)
                }
            };
        }
    }

    fn tally(&mut self, ends: &[usize], refused: usize, rows: usize) {
        let mut before = 0;
        let with_rows = ends.iter().filter(|end| std::mem::replace(&mut before, **end) < **end).count();
        self.count.resources += ends.len() as u64;
        self.count.flattened += with_rows as u64;
        self.count.failed += refused as u64;
        self.count.filtered += (ends.len() - with_rows - refused) as u64;
        self.count.rows += rows as u64;
    }
}

/// Leaves out the rows of what was refused.
fn leave_out(resources: &[u32], refused: &[Refused], rows: &mut Vec<u32>, ends: &mut [usize], width: usize) {
    let (mut before, mut kept) = (0, 0);
    for (root, end) in resources.iter().zip(ends) {
        let own = before * width..*end * width;
        before = *end;
        if refused.binary_search_by_key(root, |(root, _)| *root).is_err() {
            let length = own.len();
            rows.copy_within(own, kept);
            kept += length;
        }
        *end = kept / width;
    }
    rows.truncate(kept);
}

/// Gives each row its cell of a column that several branches of a union fill: that of the walk in which it has a place.
/// Walks come with the number of their places.
fn one_of(
    rows: &[u32],
    walks: impl Iterator<Item = (usize, usize)>,
    width: usize,
    fillings: &[Filling],
    cells: &mut Vec<Filling>,
) {
    cells.clear();
    cells.resize(rows.len() / width, Filling::Nothing);
    let mut begin = 0;
    for (walk, places) in walks {
        let of_walk = fillings.get(begin..begin + places).unwrap_or_default();
        begin += places;
        for (row, cell) in rows.chunks_exact(width).zip(cells.iter_mut()) {
            if let Some(filling) = of_walk.get(row[walk] as usize) {
                *cell = *filling;
            }
        }
    }
}
