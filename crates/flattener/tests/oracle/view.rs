//! Random views, and their rows by the rules of SQL on FHIR v2.

use serde_json::{Value, json};

use crate::{
    dice::Dice,
    evaluate::{Focus, Refused, evaluate},
    expression::{Expression, Type, boolean, integer, path, text},
};

/// A cell of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    Text(String),
    List(Vec<String>),
}

#[derive(Debug)]
pub(crate) struct View {
    filters: Vec<Expression>,
    selects: Vec<Select>,
}

#[derive(Debug)]
struct Select {
    /// A path, and whether nothing gives one row of nulls.
    iteration: Option<(Expression, bool)>,
    /// Names, and whether several values are wanted.
    columns: Vec<(String, Expression, bool)>,
    selects: Vec<Select>,
    unions: Vec<Select>,
}

impl View {
    pub(crate) fn random(dice: &mut Dice<'_>) -> Self {
        let filters = if dice.roll(4) == 3 { vec![boolean(dice, Type::Patient, 2)] } else { Vec::new() };
        let mut names = 0;
        let selects = (0..=dice.roll(2)).map(|_| Select::random(dice, Type::Patient, 2, &mut names)).collect();
        Self { filters, selects }
    }

    pub(crate) fn to_json(&self) -> Value {
        let filters: Vec<Value> = self.filters.iter().map(|filter| json!({"path": filter.text()})).collect();
        let selects: Vec<Value> = self.selects.iter().map(Select::to_json).collect();
        json!({"resourceType": "ViewDefinition", "name": "t", "resource": "Patient", "status": "draft", "where": filters, "select": selects})
    }

    pub(crate) fn rows(&self, resource: &Value) -> Result<Vec<Vec<Cell>>, Refused> {
        let focus = Focus { this: Some(resource), resource, row_index: 0 };
        for filter in &self.filters {
            match evaluate(filter, focus)?.as_slice() {
                [Value::Bool(true)] => {}
                [] | [Value::Bool(false)] => return Ok(Vec::new()),
                _ => return Err(Refused),
            }
        }
        self.selects.iter().try_fold(vec![Vec::new()], |rows, select| Ok(cross(&rows, &select.rows(focus)?)))
    }
}

fn cross(left: &[Vec<Cell>], right: &[Vec<Cell>]) -> Vec<Vec<Cell>> {
    left.iter().flat_map(|left| right.iter().map(|right| [&left[..], right].concat())).collect()
}

impl Select {
    fn random(dice: &mut Dice<'_>, from: Type, depth: usize, names: &mut usize) -> Self {
        let (mut iteration, mut inner) = (None, from);
        if dice.roll(3) > 0 && !from.fields().is_empty() {
            let (over, kind) = path(dice, from, 1);
            (iteration, inner) = (Some((over, dice.roll(3) == 0)), kind);
        }
        let mut column = |dice: &mut Dice<'_>| {
            *names += 1;
            let (name, collection) = (format!("c{names}"), dice.roll(4) == 3);
            let expression = match dice.roll(6) {
                0 => integer(dice, inner, 2),
                1 => boolean(dice, inner, 2),
                _ => text(dice, inner, 2),
            };
            (name, expression, collection)
        };
        let columns: Vec<_> = (0..=dice.roll(2)).map(|_| column(dice)).collect();
        let (mut selects, mut unions) = (Vec::new(), Vec::new());
        if depth > 0 && !inner.fields().is_empty() {
            if dice.roll(4) == 3 {
                selects.push(Self::random(dice, inner, depth - 1, names));
            }
            if dice.roll(5) == 4 {
                // Branches of the same columns: each fills them by paths of its own.
                *names += 1;
                let name = format!("c{names}");
                for _ in 0..=dice.roll(2) {
                    let (over, kind) = path(dice, inner, 1);
                    let columns = vec![(name.clone(), text(dice, kind, 1), true)];
                    unions.push(Self {
                        iteration: Some((over, dice.roll(3) == 0)),
                        columns,
                        selects: Vec::new(),
                        unions: Vec::new(),
                    });
                }
            }
        }
        Self { iteration, columns, selects, unions }
    }

    fn to_json(&self) -> Value {
        let column = |(name, expression, collection): &(String, Expression, bool)| {
            json!({"name": name, "path": expression.text(), "collection": collection,
                "tag": [{"name": "ansi/type", "value": "VARCHAR"}]})
        };
        let mut select = json!({"column": self.columns.iter().map(column).collect::<Vec<_>>()});
        if let Some((over, or_null)) = &self.iteration {
            select[if *or_null { "forEachOrNull" } else { "forEach" }] = over.text().into();
        }
        for (key, list) in [("select", &self.selects), ("unionAll", &self.unions)] {
            if !list.is_empty() {
                select[key] = list.iter().map(Self::to_json).collect();
            }
        }
        select
    }

    fn rows(&self, focus: Focus<'_>) -> Result<Vec<Vec<Cell>>, Refused> {
        let Some((over, or_null)) = &self.iteration else { return self.at(focus) };
        let values = evaluate(over, focus)?;
        let mut rows = Vec::new();
        for (row_index, value) in values.iter().enumerate() {
            rows.extend(self.at(Focus { this: Some(value), row_index, ..focus })?);
        }
        if values.is_empty() && *or_null {
            rows = self.at(Focus { this: None, row_index: 0, ..focus })?;
        }
        Ok(rows)
    }

    fn at(&self, focus: Focus<'_>) -> Result<Vec<Vec<Cell>>, Refused> {
        let mut row = Vec::new();
        for (_, expression, collection) in &self.columns {
            let values = evaluate(expression, focus)?;
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            row.push(match (values.as_slice(), collection) {
                (values, true) => Cell::List(values.iter().map(text).collect()),
                ([], false) => Cell::Null,
                ([value], false) => Cell::Text(text(value)),
                _ => return Err(Refused),
            });
        }
        let mut rows = vec![row];
        for nested in &self.selects {
            rows = cross(&rows, &nested.rows(focus)?);
        }
        if !self.unions.is_empty() {
            let branches = self.unions.iter().map(|branch| branch.rows(focus)).collect::<Result<Vec<_>, _>>()?;
            rows = cross(&rows, &branches.concat());
        }
        Ok(rows)
    }
}
