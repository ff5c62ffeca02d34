//! What a view makes of a shape of resources: how many rows, and which node each cell is of. It is found out by one resource of
//! the shape, and holds for all others, since a shape has everything that decides it ([`crate::automaton`]). Only what is in the
//! nodes is looked at again, and expressions that are more than a way to a node are evaluated.

use crate::{
    arena::{NONE, SEVERAL, Value},
    cells::Filling,
    column::{Builder, Scalar},
    evaluate::{Evaluator, Focus, Item},
    operation::Operation,
    plan::{Cell, Compiled, Fast, Source},
    rows::{Gathered, Place},
};

/// What is known of a view and a shape.
#[derive(Debug, Default)]
pub(crate) enum Template {
    /// Nothing yet.
    #[default]
    Untold,
    /// Each resource has to be looked at by itself.
    Without,
    With(Rows),
}

/// The rows of one resource; nodes are counted from that of the resource.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) count: usize,
    columns: Vec<Column>,
    /// A bit for each column that has something; the last one for all beyond.
    filled: u128,
}

/// The cells of one column, as runs of rows.
#[derive(Debug)]
enum Column {
    /// What a node holds, or the key of the reference that it is, or `%rowIndex`; [`NONE`] where there is nothing.
    Told(Vec<(u32, u32)>),
    /// What an expression gives at a place: its node, and `%rowIndex` there.
    Evaluated(Vec<((u32, u32), u32)>),
}

impl Template {
    /// What a view makes of the shape of a resource, of which the node is given. None of the arena's values is odd.
    pub(crate) fn of<'p>(
        evaluator: &Evaluator<'_>,
        view: &'p Compiled,
        root: u32,
        gathered: &mut Gathered<'p>,
    ) -> Self {
        Rows::of(evaluator, view, root, gathered).map_or(Self::Without, Self::With)
    }

    pub(crate) fn rows(&self) -> Option<&Rows> {
        if let Self::With(rows) = self { Some(rows) } else { None }
    }
}

impl Rows {
    fn of<'p>(evaluator: &Evaluator<'_>, view: &'p Compiled, root: u32, gathered: &mut Gathered<'p>) -> Option<Self> {
        gathered.begin(view.walks);
        evaluator.rows(view, root, gathered).ok()?;
        let columns = view.columns.iter().zip(&view.sources);
        let columns = columns.map(|(cell, sources)| Column::of(evaluator, (cell, sources), (root, gathered)));
        let columns: Vec<Column> = columns.collect::<Option<_>>()?;
        let filled = columns.iter().enumerate().filter(|(_, column)| column.is_filled());
        let filled = filled.fold(0, |bits, (place, _)| bits | bit(place));
        Some(Self { count: gathered.rows.len() / view.walks, columns, filled })
    }
}

/// The bit of a column.
fn bit(column: usize) -> u128 {
    1 << column.min(127)
}

impl Column {
    /// What a column is for the rows of one resource. Nothing where that is not to be told, or the resource is refused.
    fn of(
        evaluator: &Evaluator<'_>,
        (cell, sources): (&Cell, &[(usize, Source)]),
        (root, gathered): (u32, &Gathered<'_>),
    ) -> Option<Self> {
        let from_root = |node: u32| if node == NONE { NONE } else { node - root };
        let rows = || gathered.rows.chunks_exact(gathered.width());
        let place = |row: &[u32], walk: usize| gathered.walks[walk].get(row[walk] as usize);
        let nothing = || Self::Told(runs(rows().map(|_| Some(NONE))).unwrap_or_default());
        if cell.literal.is_some() {
            return Some(nothing());
        }
        if let [(walk, source)] = sources
            && !source.by_shape(cell)
        {
            let places = || rows().map(|row| place(row, *walk).filter(|place| place.is_plain()));
            if source.is_row_index(cell) {
                return Some(Self::Told(runs(places().map(|place| Some(place?.row_index)))?));
            }
            if places().all(|place| place.is_some_and(|place| source.is_nothing(evaluator, place))) {
                return Some(nothing());
            }
            let places = places().map(|place| place.map(|place| (from_root(place.node), place.row_index)));
            return Some(Self::Evaluated(runs(places)?));
        }
        // Of a union's branches a row has a place in one.
        let nodes = rows().map(|row| {
            let mut found = NONE;
            for (walk, source) in sources {
                if let Some(place) = place(row, *walk) {
                    found = from_root(source.by_shape(cell).then(|| source.node(evaluator, place))??);
                }
            }
            Some(found)
        });
        Some(Self::Told(runs(nodes)?))
    }

    fn is_filled(&self) -> bool {
        match self {
            Self::Told(runs) => runs.iter().any(|(node, _)| *node != NONE),
            Self::Evaluated(_) => true,
        }
    }

    #[inline(always)]
    fn told(&self) -> &[(u32, u32)] {
        if let Self::Told(runs) = self { runs } else { &[] }
    }
}

/// What comes several times in turn, once, with how often; nothing where something of it is not there.
fn runs<T: PartialEq>(rows: impl Iterator<Item = Option<T>>) -> Option<Vec<(T, u32)>> {
    let mut runs: Vec<(T, u32)> = Vec::new();
    for row in rows {
        let row = row?;
        match runs.last_mut() {
            Some((last, count)) if *last == row => *count += 1,
            _ => runs.push((row, 1)),
        }
    }
    Some(runs)
}

impl Source {
    /// The node that decides what a column has of it at a place, or [`NONE`]. Nothing where it is not the only one.
    fn node(&self, evaluator: &Evaluator<'_>, place: &Place) -> Option<u32> {
        if !place.is_plain() {
            return None;
        }
        let node = match (&self.fast, &self.operation) {
            (Fast::Chain(chain), _) => chain.only(evaluator, place.root, place.node),
            (Fast::Keys(chain, reference, _), _) => match chain.only(evaluator, place.root, place.node) {
                of if of < SEVERAL => evaluator.arena.only(of, *reference),
                of => of,
            },
            (Fast::None, Operation::This) => place.node,
            (Fast::None, _) => return None,
        };
        (node != SEVERAL).then_some(node)
    }

    /// Whether it gives nothing at a place because its beginning leads nowhere.
    fn is_nothing(&self, evaluator: &Evaluator<'_>, place: &Place) -> bool {
        self.begins.as_ref().is_some_and(|chain| chain.only(evaluator, place.root, place.node) == NONE)
    }

    fn is_row_index(&self, cell: &Cell) -> bool {
        matches!(self.operation, Operation::RowIndex) && !cell.collection
    }
}

/// Some resources of which the shapes tell the rows of a view.
#[derive(Clone, Copy)]
pub(crate) struct ByShape<'r, 'p> {
    pub(crate) view: &'p Compiled,
    /// The node of each resource, and its rows.
    pub(crate) resources: &'r [(u32, &'r Rows)],
}

/// What expressions give, column by column; the memory is used again.
#[derive(Debug, Default)]
pub(crate) struct Evaluated<'p> {
    pub(crate) columns: Vec<Vec<(Filling, usize)>>,
    pub(crate) items: Vec<Item<'p>>,
}

impl Evaluated<'_> {
    /// The memory alone, for another plan's lifetime: collecting nothing in place keeps it.
    pub(crate) fn recycled<'q>(mut self) -> Evaluated<'q> {
        self.items.clear();
        Evaluated { columns: self.columns, items: self.items.into_iter().map_while(|_| None).collect() }
    }
}

impl<'r, 'p> ByShape<'r, 'p> {
    /// Evaluates the columns that are more than a way to a node; whether no resource is refused for it.
    pub(crate) fn evaluate(self, evaluator: &Evaluator<'_>, evaluated: &mut Evaluated<'p>) -> bool {
        let Evaluated { columns, items } = evaluated;
        items.clear();
        columns.resize(self.view.columns.len().max(columns.len()), Vec::new());
        for (number, cells) in columns.iter_mut().enumerate().take(self.view.columns.len()) {
            cells.clear();
            let (cell, sources) = (&self.view.columns[number], &self.view.sources[number]);
            let [(_, source)] = &sources[..] else { continue };
            if source.by_shape(cell) || source.is_row_index(cell) || cell.literal.is_some() {
                continue;
            }
            for (root, rows) in self.resources {
                match &rows.columns[number] {
                    Column::Told(_) => cells.push((Filling::Nothing, rows.count)),
                    Column::Evaluated(runs) => {
                        for ((node, row_index), count) in runs {
                            let item = (*node != NONE).then(|| Item::Node(*node + root));
                            let focus = Focus::new(item, *row_index, *root);
                            let Ok(filling) = evaluator.fill(cell, source, focus, items) else { return false };
                            cells.push((filling, *count as usize));
                        }
                    }
                }
            }
        }
        true
    }

    /// Adds the rows to the columns, with what was evaluated, and to the number of misfits of each; returns how many there are.
    pub(crate) fn fill(
        self,
        evaluator: &Evaluator<'_>,
        evaluated: &Evaluated<'p>,
        builders: &mut [Builder],
        casts: &mut [u64],
    ) -> usize {
        let (filled, all) =
            self.resources.iter().fold((0, 0), |(filled, all), (_, rows)| (filled | rows.filled, all + rows.count));
        let sources = self.view.columns.iter().zip(&self.view.sources);
        for (number, ((builder, casts), (cell, sources))) in builders.iter_mut().zip(casts).zip(sources).enumerate() {
            if let Some(text) = &cell.literal {
                builder.text(text, all);
                continue;
            }
            if filled & bit(number) == 0 {
                builder.nothing(all);
                continue;
            }
            let items = &evaluated.items[..];
            *casts += match &sources[..] {
                [(_, source)] if source.is_row_index(cell) => {
                    builder.extend(evaluator, self.cells(number, |_, index| Filling::RowIndex(index)), items)
                }
                [(_, source)] if !source.by_shape(cell) => {
                    builder.extend(evaluator, evaluated.columns[number].iter().copied(), items)
                }
                [(_, Source { fast: Fast::Keys(_, _, of_type), .. })] => {
                    let key = |root, node| evaluator.key_of(root + node, of_type.as_deref());
                    builder.extend(evaluator, self.cells(number, key), items)
                }
                _ if cell.scalar == Scalar::Text => {
                    let text = |root, node| match evaluator.arena.value(root + node) {
                        Value::Text(piece) | Value::Number(piece) => Filling::Text(*piece),
                        _ => Filling::Node(root + node),
                    };
                    builder.extend(evaluator, self.cells(number, text), items)
                }
                _ => builder.extend(evaluator, self.cells(number, |root, node| Filling::Node(root + node)), items),
            };
        }
        all
    }

    /// The cells of a column of which the shapes tell the nodes.
    #[inline(always)]
    fn cells(
        self,
        column: usize,
        cell: impl Fn(u32, u32) -> Filling + Copy + 'r,
    ) -> impl Iterator<Item = (Filling, usize)> + 'r {
        self.resources.iter().flat_map(move |(root, rows)| {
            let runs = rows.columns[column].told();
            runs.iter().map(move |(node, count)| {
                let filling = if *node == NONE { Filling::Nothing } else { cell(*root, *node) };
                (filling, *count as usize)
            })
        })
    }
}
