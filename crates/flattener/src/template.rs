//! What a view makes of a shape of resources: how many rows, and which value each cell is. It is found out by one resource of the
//! shape, and holds for all others, since a shape has everything that decides it ([`crate::automaton`]). Only the values are
//! looked at again, and expressions that are more than a way to a node are evaluated.

use crate::{
    arena::{Arena, NONE, Piece, SEVERAL, Value},
    cells::Filling,
    column::{Builder, Scalar},
    evaluate::{Evaluator, Focus, Item},
    operation::Operation,
    plan::{Cell, Compiled, Fast, Inner, Source},
    rows::{Gathered, Place, number},
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

/// The rows of one resource. Nodes are counted from that of the resource.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) count: usize,
    /// The cells of one column after the other, as runs of rows that have the same.
    runs: Box<[(Told, u32)]>,
    /// Where each column begins among them, and where the last one ends.
    begins: Box<[u32]>,
    /// Where expressions are evaluated: a node, and `%rowIndex`.
    places: Box<[(u32, u32)]>,
    /// A bit for each column that has something; the last one for all beyond.
    filled: u128,
    /// Whether the values of a resource are enough, without its nodes.
    pub(crate) by_values: bool,
}

/// What a cell is, with values by their numbers among those of the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    /// A text, or a number as written.
    Text(u32),
    /// A number, in a column that is not of texts.
    Number(u32),
    Boolean(bool),
    /// The key in a reference: the place of the source that says of which type, and the value.
    Key(u16, u32),
    RowIndex(u32),
    Node(u32),
    /// What an expression gives at a place.
    Evaluated(u32),
}

/// A resource of which the shape tells the rows of a view: its node, if there is need for it, and the first of its values.
pub(crate) type Resource<'t> = (u32, u32, &'t Rows);

/// The templates of a plan's views.
#[derive(Debug)]
pub(crate) struct Templates {
    /// By view, and in it by shape.
    views: Vec<Vec<Template>>,
    /// By shape, whether all views need only the values of its resources.
    by_values: Vec<bool>,
}

impl Templates {
    /// None is told yet.
    pub(crate) fn of(plan: &Inner) -> Self {
        Self { views: plan.views.iter().map(|_| Vec::new()).collect(), by_values: Vec::new() }
    }

    fn by_values(&self, shape: u32) -> bool {
        self.by_values.get(shape as usize).copied().unwrap_or_default()
    }

    /// Has the arena have the nodes that are needed.
    pub(crate) fn grow(&self, arena: &mut Arena) {
        let by_values = |(shape, _): &&(u32, u32)| self.by_values(*shape);
        let few = !are_most(arena.shapes().iter().filter(by_values).count(), arena.shapes().len());
        for place in 0..arena.shapes().len() {
            if few || !self.by_values(arena.shapes()[place].0) {
                arena.grow(place);
            }
        }
    }

    /// Finds out what is not known of the shapes of the resources.
    pub(crate) fn tell<'p>(&mut self, evaluator: &Evaluator<'_>, plan: &'p Inner, gathered: &mut Gathered<'p>) {
        let arena = evaluator.arena;
        if arena.has_odd() {
            return;
        }
        for (root, (shape, first)) in arena.resources().iter().zip(arena.shapes()) {
            if *shape == NONE || *root == NONE {
                continue;
            }
            let shape = *shape as usize;
            let mut by_values = true;
            for (view, templates) in plan.views.iter().zip(&mut self.views) {
                templates.resize_with(templates.len().max(shape + 1), Template::default);
                if let Template::Untold = templates[shape] {
                    templates[shape] = match view.by_shape {
                        true => Rows::of(evaluator, view, (*root, *first), gathered)
                            .map_or(Template::Without, Template::With),
                        false => Template::Without,
                    };
                }
                by_values &= templates[shape].rows().is_some_and(|rows| rows.by_values);
            }
            self.by_values.resize(self.by_values.len().max(shape + 1), false);
            self.by_values[shape] = by_values;
        }
    }

    /// What shapes tell of each resource in a view: of none of them where there are too few of which they tell something.
    pub(crate) fn by_shape<'t>(&'t self, arena: &Arena, view: usize, told: &mut Vec<Option<Resource<'t>>>) {
        let templates = &self.views[view];
        told.clear();
        told.extend(arena.resources().iter().zip(arena.shapes()).map(|(root, (shape, first))| {
            let rows = templates.get(*shape as usize).and_then(Template::rows)?;
            Some((*root, *first, rows))
        }));
        if !are_most(told.iter().flatten().count(), told.len()) {
            told.fill(None);
        }
    }
}

/// Whether so many are enough to go by their shapes: where these and others take turns, both are worked on one by one.
fn are_most(some: usize, all: usize) -> bool {
    some * 4 >= all * 3
}

impl Template {
    pub(crate) fn rows(&self) -> Option<&Rows> {
        if let Self::With(rows) = self { Some(rows) } else { None }
    }
}

impl Rows {
    /// What a view makes of the shape of a resource, of which the node and the first value are given. None of the arena's values
    /// is odd.
    fn of<'p>(
        evaluator: &Evaluator<'_>,
        view: &'p Compiled,
        resource: (u32, u32),
        gathered: &mut Gathered<'p>,
    ) -> Option<Self> {
        gathered.begin(view.walks);
        evaluator.rows(view, resource.0, gathered).ok()?;
        let (mut runs, mut begins, mut places, mut filled): (Vec<(Told, u32)>, _, _, _) =
            (Vec::new(), vec![0], Vec::new(), 0);
        for (column, (cell, sources)) in view.columns.iter().zip(&view.sources).enumerate() {
            let begin = runs.len();
            for told in column_of(evaluator, (cell, sources), resource, gathered, &mut places)? {
                match runs[begin..].last_mut() {
                    Some((last, count)) if *last == told => *count += 1,
                    _ => runs.push((told, 1)),
                }
                filled |= if told == Told::Nothing { 0 } else { bit(column) };
            }
            begins.push(number(runs.len()));
        }
        let by_values = runs.iter().all(|(told, _)| !matches!(told, Told::Node(_) | Told::Evaluated(_)));
        let (count, runs) = (gathered.rows.len() / view.walks, runs.into());
        Some(Self { count, runs, begins: begins.into(), places: places.into(), filled, by_values })
    }

    /// The runs of a column.
    #[inline(always)]
    fn column(&self, column: usize) -> &[(Told, u32)] {
        let place = |column: usize| self.begins.get(column).map_or(0, |begin| *begin as usize);
        self.runs.get(place(column)..place(column + 1)).unwrap_or_default()
    }
}

/// The bit of a column.
fn bit(column: usize) -> u128 {
    1 << column.min(127)
}

/// What a column has in the rows of one resource; where expressions are evaluated goes behind the other places. Nothing where that
/// is not to be told, or the resource is refused.
fn column_of(
    evaluator: &Evaluator<'_>,
    (cell, sources): (&Cell, &[(usize, Source)]),
    (root, first): (u32, u32),
    gathered: &Gathered<'_>,
    places: &mut Vec<(u32, u32)>,
) -> Option<Vec<Told>> {
    let rows = || gathered.rows.chunks_exact(gathered.width());
    let place = |row: &[u32], walk: usize| gathered.walks[walk].get(row[walk] as usize);
    if cell.literal.is_some() {
        return Some(vec![Told::Nothing; rows().len()]);
    }
    if let [(walk, source)] = sources
        && !source.by_shape(cell)
    {
        let before = places.len();
        let mut evaluated = |place: &Place| {
            let node = if place.node == NONE { NONE } else { place.node - root };
            if places[before..].last() != Some(&(node, place.row_index)) {
                places.push((node, place.row_index));
            }
            Told::Evaluated(number(places.len() - 1))
        };
        let told = rows().map(|row| {
            let place = place(row, *walk).filter(|place| place.is_plain())?;
            Some(if source.is_row_index(cell) {
                Told::RowIndex(place.row_index)
            } else if source.is_nothing(evaluator, place) {
                Told::Nothing
            } else {
                evaluated(place)
            })
        });
        return told.collect();
    }
    // Of a union's branches a row has a place in one.
    let told = rows().map(|row| {
        let mut told = Told::Nothing;
        for (number, (walk, source)) in (0..=u16::MAX).zip(sources) {
            if let Some(place) = place(row, *walk) {
                told = source.by_shape(cell).then(|| source.told(evaluator, (number, cell), place, first))??;
            }
        }
        Some(told)
    });
    told.collect()
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

    /// What a column has of it, one of its sources, at a place of a resource, of which the first value is given. Nothing where it is
    /// not to be told.
    fn told(&self, evaluator: &Evaluator<'_>, (source, cell): (u16, &Cell), place: &Place, first: u32) -> Option<Told> {
        let node = self.node(evaluator, place)?;
        if node == NONE {
            return Some(Told::Nothing);
        }
        let number = |piece: &Piece| {
            let values = evaluator.arena.values().get(first as usize..)?;
            Some(number(values.iter().position(|value| value == piece)?))
        };
        let is_key = matches!(self.fast, Fast::Keys(..));
        Some(match evaluator.arena.value(node) {
            Value::Text(piece) if is_key => Told::Key(source, number(piece)?),
            _ if is_key => Told::Nothing,
            Value::Text(piece) => Told::Text(number(piece)?),
            Value::Number(piece) if cell.scalar == Scalar::Text => Told::Text(number(piece)?),
            Value::Number(piece) => Told::Number(number(piece)?),
            Value::Boolean(value) => Told::Boolean(*value),
            Value::Json(_) | Value::Object => Told::Node(node - place.root),
        })
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
    pub(crate) resources: &'r [Resource<'r>],
}

/// What expressions give, column by column; the memory is used again.
#[derive(Debug, Default)]
pub(crate) struct Evaluated<'p> {
    columns: Vec<Vec<(Filling, usize)>>,
    items: Vec<Item<'p>>,
}

impl Evaluated<'_> {
    /// The memory alone, for another plan's lifetime: collecting nothing in place keeps it.
    pub(crate) fn recycled<'q>(mut self) -> Evaluated<'q> {
        self.items.clear();
        Evaluated { columns: self.columns, items: self.items.into_iter().map_while(|_| None).collect() }
    }
}

impl<'r, 'p> ByShape<'r, 'p> {
    /// Evaluates the columns that are more than a way to a node.
    ///
    /// # Errors
    /// The place of a resource that is refused for it.
    pub(crate) fn evaluate(self, evaluator: &Evaluator<'_>, evaluated: &mut Evaluated<'p>) -> Result<(), usize> {
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
            for (place, (root, _, rows)) in self.resources.iter().enumerate() {
                for (told, count) in rows.column(number) {
                    let filling = match told {
                        Told::Evaluated(at) => {
                            let (node, row_index) = rows.places[*at as usize];
                            let item = (node != NONE).then(|| Item::Node(node + root));
                            let focus = Focus::new(item, row_index, *root);
                            evaluator.fill(cell, source, focus, items).map_err(|_| place)?
                        }
                        _ => Filling::Nothing,
                    };
                    cells.push((filling, *count as usize));
                }
            }
        }
        Ok(())
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
            self.resources.iter().fold((0, 0), |(filled, all), (_, _, rows)| (filled | rows.filled, all + rows.count));
        let sources = self.view.columns.iter().zip(&self.view.sources);
        for (number, ((builder, casts), (of, sources))) in builders.iter_mut().zip(casts).zip(sources).enumerate() {
            if let Some(text) = &of.literal {
                builder.text(text, all);
                continue;
            }
            if filled & bit(number) == 0 {
                builder.nothing(all);
                continue;
            }
            let items = &evaluated.items[..];
            let cell = |root: u32, values: &[Piece], told: Told| match told {
                Told::Text(value) => Filling::Text(values[value as usize]),
                Told::Key(source, value) => match &sources[usize::from(source)].1.fast {
                    Fast::Keys(_, _, of_type) => {
                        let key = evaluator.key_in(values[value as usize], of_type.as_deref());
                        key.map_or(Filling::Nothing, Filling::Text)
                    }
                    _ => Filling::Nothing,
                },
                Told::Number(value) => Filling::Number(values[value as usize]),
                Told::Boolean(value) => Filling::Boolean(value),
                Told::RowIndex(place) => Filling::RowIndex(place),
                Told::Node(node) => Filling::Node(root + node),
                Told::Nothing | Told::Evaluated(_) => Filling::Nothing,
            };
            let evaluated = &evaluated.columns[number];
            let arena = evaluator.arena;
            // A closure for each kind of column that is quick, so that it is compiled into the loop over the cells.
            let row_index = |_: u32, _: &[Piece], told: Told| match told {
                Told::RowIndex(place) => Filling::RowIndex(place),
                _ => Filling::Nothing,
            };
            let text = |root: u32, values: &[Piece], told: Told| match told {
                Told::Text(value) => Filling::Text(values[value as usize]),
                Told::Node(node) => Filling::Node(root + node),
                Told::Boolean(value) => Filling::Boolean(value),
                _ => Filling::Nothing,
            };
            let has_keys = sources.iter().any(|(_, source)| matches!(source.fast, Fast::Keys(..)));
            *casts += match &sources[..] {
                _ if !evaluated.is_empty() => builder.extend(evaluator, evaluated.iter().copied(), items),
                [(_, source)] if source.is_row_index(of) => {
                    builder.extend(evaluator, self.cells(arena, number, row_index), items)
                }
                _ if of.scalar == Scalar::Text && !has_keys => {
                    builder.extend(evaluator, self.cells(arena, number, text), items)
                }
                _ => builder.extend(evaluator, self.cells(arena, number, cell), items),
            };
        }
        all
    }

    /// The cells of a column of which the shapes tell what they are.
    #[inline(always)]
    fn cells<'c>(
        self,
        arena: &'c Arena,
        column: usize,
        cell: impl Fn(u32, &[Piece], Told) -> Filling + Copy + 'c,
    ) -> impl Iterator<Item = (Filling, usize)> + 'c
    where
        'r: 'c,
    {
        self.resources.iter().flat_map(move |(root, first, rows)| {
            let values = arena.values().get(*first as usize..).unwrap_or_default();
            rows.column(column).iter().map(move |(told, count)| (cell(*root, values, *told), *count as usize))
        })
    }
}
