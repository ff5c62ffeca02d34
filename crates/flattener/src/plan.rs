//! Views of one resource type, compiled together: one trie of needed elements, and for each view its filters, its tree of
//! selects and its columns.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::{
    chain::Chain,
    column::{Builder, Scalar},
    diagnostics::{Code, Diagnostic, Diagnostics, Severity},
    flattener::Flattener,
    operation::{Class, Compiler, Operation, Shape},
    trie::Trie,
    view::{Column, Select, View},
};

/// One table that a plan fills.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name: the view's.
    pub name: String,
    /// Its columns; a field's metadata has its `fhir_type` where one is known, and `description` where the view has one.
    pub schema: SchemaRef,
    /// The columns' SQL types, in the same order.
    pub sql_types: Vec<String>,
    /// What it holds.
    pub description: Option<String>,
    /// The hash of the view.
    pub view_hash: String,
}

/// The compiled views of one resource type.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) resource: String,
    pub(crate) trie: Trie,
    pub(crate) tables: Vec<Table>,
    pub(crate) views: Vec<Compiled>,
}

#[derive(Debug)]
pub(crate) struct Compiled {
    /// Conditions, and whether each is known to give booleans where a resource is as R4 has it.
    pub(crate) filters: Vec<(Operation, bool)>,
    pub(crate) selects: Vec<Rows>,
    pub(crate) columns: Vec<Cell>,
    /// For each column what fills it: a walk and an expression over its places. Branches of a union fill the same columns.
    pub(crate) sources: Vec<Vec<(usize, Source)>>,
    /// How many walks there are: the resource itself is the first.
    pub(crate) walks: usize,
    /// What several columns begin with.
    pub(crate) stems: Vec<Stem>,
    /// Columns that are fields of one element.
    pub(crate) groups: Vec<Group>,
    /// Whether its rows are the same for resources of one shape ([`template`](crate::template)), but for what is in them.
    pub(crate) by_shape: bool,
    /// The iterations, where each stands within the one before and nothing else makes rows.
    pub(crate) nest: Option<Vec<Level>>,
}

/// Whether all iterations go over what chains lead to; hands on these.
fn by_chains<'s>(selects: &'s [Rows], visit: &mut impl FnMut(&'s Chain)) -> bool {
    selects.iter().all(|select| {
        let chain = match &select.iteration {
            None => true,
            Some(Walk::Each(Source { fast: Fast::Chain(chain), .. }, _)) => {
                visit(chain);
                true
            }
            Some(_) => false,
        };
        chain && by_chains(&select.selects, visit) && by_chains(&select.unions, visit)
    })
}

/// One iteration of several within each other.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) walk: usize,
    pub(crate) chain: Chain,
    /// Whether nothing gives one row of nulls.
    pub(crate) or_null: bool,
}

/// Finds the iterations of selects that stand within each other only; whether these are all that makes rows: no union, no
/// `repeat`, no two iterations side by side, and paths that are fields of fields.
fn is_nest(selects: &[Rows], levels: &mut Vec<Level>) -> bool {
    let mut within: &[Rows] = &[];
    let before = levels.len();
    for select in selects {
        match &select.iteration {
            _ if !select.unions.is_empty() => return false,
            None if select.is_leaf() => {}
            Some(Walk::Each(Source { fast: Fast::Chain(chain), .. }, or_null)) if levels.len() == before => {
                levels.push(Level { walk: select.walk, chain: chain.clone(), or_null: *or_null });
                within = &select.selects;
            }
            _ => return false,
        }
    }
    within.is_empty() || is_nest(within, levels)
}

/// The beginning of several columns' paths, which is gone once for all of them.
#[derive(Debug)]
pub(crate) struct Stem {
    pub(crate) walk: usize,
    pub(crate) chain: Chain,
    /// As [`Source::needs`].
    pub(crate) needs: Option<(Start, u32)>,
}

/// Columns that are fields of one element, which is gone through once for all of them.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) walk: usize,
    /// The element: what a stem leads to, or the focus.
    pub(crate) stem: Option<usize>,
    pub(crate) columns: Vec<usize>,
    /// For each name that one of them has its place among them, else a greater number.
    pub(crate) places: Vec<usize>,
}

impl Group {
    /// The place of a field among the columns.
    #[inline(always)]
    pub(crate) fn place(&self, name: u32) -> Option<usize> {
        self.places.get(name as usize).copied().filter(|place| *place < self.columns.len())
    }
}

/// What a column holds.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) scalar: Scalar,
    pub(crate) collection: bool,
    pub(crate) json: bool,
    /// Whether its type is the view's or R4's, and not text for want of one.
    pub(crate) typed: bool,
    /// The text that every row has.
    pub(crate) literal: Option<String>,
}

impl Cell {
    /// Whether it can stand in another's place in a branch of unionAll. A column of which no type is known (`{}`, an element
    /// of another version) takes the other's.
    fn fits(&self, other: &Self) -> bool {
        let same_type = self.scalar == other.scalar || !self.typed;
        self.name == other.name && self.collection == other.collection && same_type
    }

    fn shown(&self) -> String {
        format!("{} {}{}", self.name, self.scalar.sql(), if self.collection { "[]" } else { "" })
    }

    pub(crate) fn builder(&self, dictionary: bool) -> Builder {
        Builder::new(self.scalar, self.collection, self.json, dictionary)
    }
}

/// How a select iterates.
#[derive(Debug)]
pub(crate) enum Walk {
    /// Over the values of a path; whether nothing gives one row of nulls.
    Each(Source, bool),
    /// Over the values of the paths, and of the paths from each of these, before its neighbour (`repeat`); whether all of
    /// them are objects by R4.
    Repeat(Vec<Operation>, bool),
}

/// An expression, and the form of it that is evaluated fastest.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) operation: Operation,
    pub(crate) fast: Fast,
    /// A name that its focus has where it gives anything, or the resource, where that is so.
    pub(crate) needs: Option<(Start, u32)>,
    /// The number of the view's stem that it begins with, and the name of the field that follows.
    pub(crate) stem: Option<(usize, u32)>,
    /// Whether it belongs to a group.
    pub(crate) grouped: bool,
    /// A beginning without which it gives nothing.
    pub(crate) begins: Option<Box<Chain>>,
}

/// Where an expression begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Focus,
    Resource,
}

/// A fast form, which gives what the operation gives as long as objects stand where R4 has some.
#[derive(Debug)]
pub(crate) enum Fast {
    /// Fields of fields.
    Chain(Chain),
    /// The keys of the references that a chain leads to: the name `reference`, and the type if one is wanted.
    Keys(Chain, u32, Option<String>),
    /// There is none.
    None,
}

impl Source {
    fn new(operation: Operation) -> Self {
        let keys = match &operation {
            Operation::ReferenceKey { of, reference, of_type } => {
                Chain::of(of).map(|chain| Fast::Keys(chain, *reference, of_type.clone()))
            }
            _ => None,
        };
        let chain = || Chain::of(&operation).filter(|chain| !chain.is_this()).map(Fast::Chain);
        let fast = keys.or_else(chain).unwrap_or(Fast::None);
        let (needs, begins) = (needs(&operation), begins(&operation).map(Box::new));
        Self { operation, fast, needs, stem: None, grouped: false, begins }
    }

    /// Whether what a column has of it is one node that its shape tells, or what is made of that.
    pub(crate) fn by_shape(&self, cell: &Cell) -> bool {
        let chain = matches!(self.fast, Fast::Chain(_) | Fast::Keys(..));
        (chain || matches!(self.operation, Operation::This)) && !cell.collection
    }

    /// What stands before its last field, and the name of that.
    fn stem(&self) -> Option<(Chain, u32)> {
        match &self.fast {
            Fast::Chain(chain) => chain.stem(),
            Fast::Keys(chain, reference, _) => (!chain.is_this()).then(|| (chain.clone(), *reference)),
            Fast::None => None,
        }
    }
}

/// Finds what several columns of a walk begin with, and tells them.
fn stems(sources: &mut [Vec<(usize, Source)>]) -> Vec<Stem> {
    let mut stems: Vec<(Stem, usize)> = Vec::new();
    for (walk, source) in sources.iter().flatten() {
        let Some((chain, _)) = source.stem() else { continue };
        match stems.iter_mut().find(|(stem, _)| stem.walk == *walk && stem.chain == chain) {
            Some((_, uses)) => *uses += 1,
            None => stems.push((Stem { walk: *walk, chain, needs: source.needs }, 1)),
        }
    }
    stems.retain(|(_, uses)| *uses > 1);
    for (walk, source) in sources.iter_mut().flatten() {
        source.stem = source.stem().and_then(|(chain, name)| {
            let shared = stems.iter().position(|(stem, _)| stem.walk == *walk && stem.chain == chain)?;
            Some((shared, name))
        });
    }
    stems.into_iter().map(|(stem, _)| stem).collect()
}

/// Finds columns that are fields of one element, and tells them. Not of a resource, which has its first fields by name.
fn groups(cells: &[Cell], sources: &mut [Vec<(usize, Source)>]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (column, (cell, sources)) in cells.iter().zip(sources.iter()).enumerate() {
        let ([(walk, source)], false, None) = (&sources[..], cell.collection, &cell.literal) else { continue };
        let (walk, Fast::Chain(chain)) = (*walk, &source.fast) else { continue };
        let (stem, name) = match (source.stem, chain.field()) {
            (Some((stem, name)), _) => (Some(stem), name as usize),
            (None, Some(name)) if walk > 0 => (None, name as usize),
            _ => continue,
        };
        let known = groups.iter().position(|group| (group.walk, group.stem) == (walk, stem));
        let number = known.unwrap_or_else(|| {
            groups.push(Group { walk, stem, columns: Vec::new(), places: Vec::new() });
            groups.len() - 1
        });
        let Group { columns, places, .. } = &mut groups[number];
        places.resize(places.len().max(name + 1), usize::MAX);
        // Of two columns of one field the second one goes by itself.
        if places[name] == usize::MAX {
            places[name] = columns.len();
            columns.push(column);
        }
    }
    groups.retain(|group| group.columns.len() > 1);
    for column in groups.iter().flat_map(|group| &group.columns) {
        sources[*column].iter_mut().for_each(|(_, source)| source.grouped = true);
    }
    groups
}

/// What an expression gives nothing without, as far as that is easily told: another one, and the name of a field of that.
fn follows(operation: &Operation) -> Option<(&Operation, Option<u32>)> {
    Some(match operation {
        Operation::Child(of, name) => (of, Some(*name)),
        Operation::Extension { of, extension, .. } => (of, Some(*extension)),
        Operation::ReferenceKey { of, reference, .. } => (of, Some(*reference)),
        Operation::Where(of, _) | Operation::Select(of, _) | Operation::Join(of, _) | Operation::OfType(of, _) => {
            (of, None)
        }
        Operation::First(of) | Operation::Last(of) | Operation::Index(of, _) => (of, None),
        _ => return None,
    })
}

/// The longest chain without which an expression gives nothing.
fn begins(operation: &Operation) -> Option<Chain> {
    Chain::of(operation).or_else(|| begins(follows(operation)?.0))
}

/// The name without which an expression gives nothing.
fn needs(operation: &Operation) -> Option<(Start, u32)> {
    let (of, name) = follows(operation)?;
    match (of, name) {
        (Operation::This, name) => Some((Start::Focus, name?)),
        (Operation::Root, name) => Some((Start::Resource, name?)),
        (of, _) => needs(of),
    }
}

/// A compiled select.
#[derive(Debug)]
pub(crate) struct Rows {
    /// What is iterated over, and whether nothing gives one row of nulls.
    pub(crate) iteration: Option<Walk>,
    /// The number of its walk: where its columns are evaluated. One that iterates, or is a union's branch, has its own;
    /// the others share that of the select around them.
    pub(crate) walk: usize,
    /// Whether the walk is its own.
    pub(crate) own: bool,
    pub(crate) selects: Vec<Rows>,
    pub(crate) unions: Vec<Rows>,
}

impl Rows {
    /// Whether it has nothing within.
    pub(crate) fn is_leaf(&self) -> bool {
        self.selects.is_empty() && self.unions.is_empty()
    }
}

impl Plan {
    /// Compiles views that read the same resource type.
    ///
    /// # Errors
    /// Every mistake of every view, with its place. The views are of several resource types: a mistake of the caller,
    /// told in the same way.
    pub fn compile(views: &[View]) -> Result<Self, Diagnostics> {
        let mut trie = Trie::new();
        let resource = views.first().map(|view| view.resource.clone()).unwrap_or_default();
        let (mut tables, mut compiled) = (Vec::new(), Vec::new());
        let mut wrong = Diagnostics::default();
        for view in views {
            let (table, parts, mut list) = compile(view, &mut trie);
            if view.resource != resource {
                let message = format!("reads {}, but is compiled with views of {resource}", view.resource);
                let cure = "compile the views of one resource type at a time";
                list.push(Diagnostic::error(Code::MixedResources, "/resource", message, cure));
            }
            list.retain(|one| one.severity == Severity::Error);
            wrong.list.extend(Diagnostics::of(&view.origin, &view.source, list).list);
            tables.push(table);
            compiled.push(parts);
        }
        if !wrong.list.is_empty() {
            return Err(wrong);
        }
        trie.end();
        Ok(Self { inner: Arc::new(Inner { resource, trie, tables, views: compiled }) })
    }

    /// The resource type that the views read.
    #[must_use]
    pub fn resource_type(&self) -> &str {
        &self.inner.resource
    }

    /// The tables, one for each view, in the same order.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.inner.tables
    }

    /// A flattener of its own for one thread.
    #[must_use]
    pub fn flattener(&self) -> Flattener {
        Flattener::new(Arc::clone(&self.inner), false)
    }

    /// The same for who looks up recurring texts, as Parquet's writers do: in its batches columns of type `Utf8` are
    /// `Dictionary(Int32, Utf8)`. A text may be there several times.
    #[must_use]
    pub fn flattener_of_dictionaries(&self) -> Flattener {
        Flattener::new(Arc::clone(&self.inner), true)
    }
}

/// Whether two tables can share one name: the same columns with the same types in the same order. The difference, if not.
///
/// # Errors
/// The first difference, in words.
pub fn same_shape(a: &Table, b: &Table) -> Result<(), String> {
    let (left, right) = (a.schema.fields(), b.schema.fields());
    for (a, b) in left.iter().zip(right.iter()) {
        if a.name() != b.name() {
            return Err(format!("the column `{}` stands where the other has `{}`", a.name(), b.name()));
        }
        if a.data_type() != b.data_type() {
            return Err(format!(
                "the column `{}` is {} in one and {} in the other",
                a.name(),
                a.data_type(),
                b.data_type()
            ));
        }
    }
    if left.len() == right.len() {
        Ok(())
    } else {
        Err(format!("one has {} columns, the other {}", left.len(), right.len()))
    }
}

/// What is wrong with a view, or worth a look, besides what reading it has shown.
pub(crate) fn mistakes(view: &View) -> Vec<Diagnostic> {
    compile(view, &mut Trie::new()).2
}

fn compile(view: &View, trie: &mut Trie) -> (Table, Compiled, Vec<Diagnostic>) {
    let mut compiler = Compiler { trie, resource: &view.resource, constants: &view.constants, list: Vec::new() };
    let root = Shape::root(&view.resource);
    let filters: Vec<_> = view.filters.iter().map(|path| compiler.filter(path, &root)).collect();
    let mut columns = Columns { walks: 1, ..Columns::default() };
    let mut select = |select| rows(&mut compiler, &mut columns, select, &root, (0, false));
    let selects: Vec<Rows> = view.selects.iter().map(&mut select).collect();
    if columns.cells.is_empty() && compiler.list.iter().all(|one| one.severity == Severity::Warning) {
        let cure = "add a column: {\"name\": \"id\", \"path\": \"getResourceKey()\"}";
        compiler.list.push(Diagnostic::error(Code::NoColumns, "/select", "the view has no columns", cure));
    }
    let sql_types = columns.cells.iter().map(|cell| {
        let sql = cell.scalar.sql();
        if cell.collection { format!("{sql}[]") } else { sql }
    });
    let table = Table {
        name: view.name.clone(),
        sql_types: sql_types.collect(),
        schema: Arc::new(Schema::new(columns.fields)),
        description: view.description.clone(),
        view_hash: view.hash.clone(),
    };
    let Columns { mut cells, mut sources, walks, .. } = columns;
    for (cell, sources) in cells.iter_mut().zip(&sources) {
        if let ([(_, Source { operation: Operation::Text(text), .. })], Scalar::Text, false) =
            (&sources[..], cell.scalar, cell.collection)
        {
            cell.literal = Some(text.clone());
        }
    }
    let stems = stems(&mut sources);
    let groups = groups(&cells, &mut sources);
    let mut levels = Vec::new();
    let nest = is_nest(&selects, &mut levels).then_some(levels);
    let mut chains = Vec::new();
    let by_shape = filters.is_empty() && by_chains(&selects, &mut |chain| chains.push(chain));
    if by_shape {
        // Every fast form is a chain, or begins with one.
        chains.extend(sources.iter().flatten().filter_map(|(_, source)| source.begins.as_deref()));
        chains.iter().for_each(|chain| chain.compared(|name| compiler.trie.compare(name)));
    }
    let compiled = Compiled { filters, selects, columns: cells, sources, walks, stems, groups, by_shape, nest };
    (table, compiled, compiler.list)
}

/// The columns of a view, in the order of their first appearance.
#[derive(Default)]
struct Columns {
    cells: Vec<Cell>,
    fields: Vec<Field>,
    places: HashMap<String, usize>,
    sources: Vec<Vec<(usize, Source)>>,
    /// The walks so far.
    walks: usize,
}

impl Columns {
    fn add(&mut self, column: &Column, shape: &Shape, source: (usize, Source), compiler: &mut Compiler<'_>) {
        let fhir_type = compiler.column_type(column, shape);
        let scalar = Scalar::of(fhir_type.as_deref(), column.ansi_type.as_deref()).unwrap_or_else(|message| {
            let cure = "DATE, TIME, TIMESTAMP WITH TIME ZONE, BOOLEAN, INTEGER, BIGINT, DOUBLE PRECISION, DECIMAL(18,6), VARCHAR, BINARY";
            compiler.list.push(Diagnostic::error(Code::BadType, format!("{}/tag", column.pointer), message, cure));
            Scalar::Text
        });
        if self.places.contains_key(&column.name) {
            let message = format!("the column `{}` is there twice", column.name);
            let cure = "give it another name";
            compiler.list.push(Diagnostic::error(Code::Twice, format!("{}/name", column.pointer), message, cure));
        } else if let Some(other) = self.places.keys().find(|other| other.eq_ignore_ascii_case(&column.name)) {
            let message = format!("the columns `{other}` and `{}` differ in capitals only", column.name);
            let at = format!("{}/name", column.pointer);
            let mistake = Diagnostic::error(Code::SameButForCase, at, message, "give it another name");
            compiler.list.push(mistake.warning());
        }
        let place = self.cells.len();
        let json = compiler.may_be_json(fhir_type.as_deref(), shape);
        let typed = fhir_type.is_some() || column.ansi_type.is_some();
        let (name, collection) = (column.name.clone(), column.collection);
        self.cells.push(Cell { name, scalar, collection, json, typed, literal: None });
        let data_type = match column.collection {
            true => arrow::datatypes::DataType::new_list(scalar.arrow(), true),
            false => scalar.arrow(),
        };
        let described = column.description.iter().map(|text| ("description".to_owned(), text.clone()));
        let typed = fhir_type.into_iter().map(|name| ("fhir_type".to_owned(), name));
        let metadata: HashMap<String, String> = described.chain(typed).collect();
        self.fields.push(Field::new(&column.name, data_type, true).with_metadata(metadata));
        self.places.insert(column.name.clone(), place);
        self.sources.push(vec![source]);
    }
}

/// Compiles a select within another, of which it has the walk; a branch of a union has its own, since it fills the same
/// columns as its neighbours.
fn rows(
    compiler: &mut Compiler<'_>,
    columns: &mut Columns,
    select: &Select,
    this: &Shape,
    (around, branch): (usize, bool),
) -> Rows {
    let mut inner = this.clone();
    let iteration = select.iteration.as_ref().map(|iteration| {
        if iteration.repeated {
            let (at, operations) = compiler.repeat(&iteration.paths, this);
            inner = at;
            let objects = inner.classes().is_some_and(|classes| classes == [Class::Complex]);
            return Walk::Repeat(operations, objects);
        }
        let mut compiled = iteration.paths.iter().map(|path| compiler.path(path, this));
        let (operation, at) = compiled.next().unwrap_or((Operation::Nothing, Shape::default()));
        inner = at.one();
        Walk::Each(Source::new(operation), iteration.or_null)
    });
    let own = branch || iteration.is_some();
    let walk = if own { columns.walks } else { around };
    columns.walks += usize::from(own);
    for column in &select.columns {
        let (operation, shape) = compiler.path(&column.path, &inner);
        columns.add(column, &shape, (walk, Source::new(operation)), compiler);
    }
    let nested = |select| rows(compiler, columns, select, &inner, (walk, false));
    let selects: Vec<Rows> = select.selects.iter().map(nested).collect();
    let mut unions: Vec<Rows> = Vec::new();
    let begin = columns.cells.len();
    let mut first: Vec<Cell> = Vec::new();
    for (number, branch) in select.unions.iter().enumerate() {
        if number == 0 {
            unions.push(rows(compiler, columns, branch, &inner, (walk, true)));
            first = columns.cells[begin..].to_vec();
            continue;
        }
        // A branch is compiled as if it stood alone; its columns are then those of the first.
        let mut alone = Columns { walks: columns.walks, ..Columns::default() };
        let compiled = rows(compiler, &mut alone, branch, &inner, (walk, true));
        columns.walks = alone.walks;
        if let Some(difference) = difference(&first, &alone.cells) {
            let message = format!("the branches of unionAll differ: {difference}");
            let cure = "give all branches the columns of the first, in its order, with its types";
            compiler.list.push(Diagnostic::error(Code::UnionDiffers, &branch.pointer, message, cure));
        }
        for (sources, more) in columns.sources[begin..].iter_mut().zip(alone.sources) {
            sources.extend(more);
        }
        unions.push(compiled);
    }
    Rows { iteration, walk, own, selects, unions }
}

/// What keeps a branch of unionAll from having the columns of the first, if anything does: the first difference.
fn difference(first: &[Cell], branch: &[Cell]) -> Option<String> {
    let place = branch.iter().zip(first).position(|(own, other)| !own.fits(other));
    let place = place.or_else(|| (first.len() != branch.len()).then(|| first.len().min(branch.len())))?;
    let shown = |cells: &[Cell]| cells.get(place).map_or_else(|| "no more".to_owned(), Cell::shown);
    Some(format!("column {} of the first is `{}`, of this one `{}`", place + 1, shown(first), shown(branch)))
}
