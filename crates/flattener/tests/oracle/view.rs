//! A view and its rows, by the rules of SQL on FHIR v2.

use serde_json::Value;

use crate::{
    cast::Kind,
    evaluate::{Collection, Focus, Item, Stop, evaluate},
    grammar::{self, Node},
    json::Json,
};

/// A ViewDefinition that is known to be right.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) resource: String,
    constants: Vec<(String, Item)>,
    filters: Vec<Node>,
    selects: Vec<Select>,
}

#[derive(Debug)]
struct Select {
    walk: Option<Walk>,
    columns: Vec<Column>,
    selects: Vec<Select>,
    unions: Vec<Select>,
}

#[derive(Debug)]
enum Walk {
    /// Over a path; whether nothing gives one row of nulls.
    Each(Node, bool),
    Repeat(Vec<Node>),
}

#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) collection: bool,
    path: Node,
}

/// What a column holds in a row: its values; nothing where an expression could not deal with one (decision 027).
pub(crate) type Cell = Option<Collection>;

fn list<'v>(of: &'v Value, key: &str) -> Vec<&'v Value> {
    of[key].as_array().map(|list| list.iter().collect()).unwrap_or_default()
}

fn path(of: &Value) -> Node {
    grammar::read(of.as_str().unwrap())
}

impl View {
    pub(crate) fn read(view: &Value) -> Self {
        let constants = list(view, "constant").into_iter().map(|constant| {
            let (field, value) =
                constant.as_object().unwrap().iter().find(|(key, _)| key.starts_with("value")).unwrap();
            let item = Item::new(Json::read(&value.to_string()), &field["value".len()..]);
            (constant["name"].as_str().unwrap().to_owned(), item)
        });
        Self {
            resource: view["resource"].as_str().unwrap().to_owned(),
            constants: constants.collect(),
            filters: list(view, "where").into_iter().map(|filter| path(&filter["path"])).collect(),
            selects: list(view, "select").into_iter().map(Select::read).collect(),
        }
    }

    pub(crate) fn columns(&self) -> Vec<Column> {
        self.selects.iter().flat_map(Select::all_columns).collect()
    }

    /// The rows of a resource; none where it is of another type, or a filter leaves it out.
    pub(crate) fn rows(&self, resource: &Json) -> Result<Vec<Vec<Cell>>, Stop> {
        if resource.field("resourceType") != Some(&Json::Text(self.resource.clone())) {
            return Ok(Vec::new());
        }
        let root = Item::new(resource.clone(), "");
        let focus = Focus {
            this: Some(&root),
            context: Some(&root),
            resource: &root,
            row_index: 0,
            index: 0,
            constants: &self.constants,
        };
        for filter in &self.filters {
            match evaluate(filter, focus)?.as_slice() {
                [Item { json: Json::Boolean(true), .. }] => {}
                [] | [Item { json: Json::Boolean(false), .. }] => return Ok(Vec::new()),
                _ => return Err(Stop::Refused),
            }
        }
        self.selects.iter().try_fold(vec![Vec::new()], |rows, select| Ok(cross(&rows, &select.rows(focus)?)))
    }
}

fn cross(left: &[Vec<Cell>], right: &[Vec<Cell>]) -> Vec<Vec<Cell>> {
    left.iter().flat_map(|left| right.iter().map(|right| [&left[..], right].concat())).collect()
}

impl Column {
    fn read(column: &Value) -> Self {
        let tags = list(column, "tag");
        let ansi = tags.iter().find(|tag| tag["name"] == "ansi/type").and_then(|tag| tag["value"].as_str());
        Self {
            name: column["name"].as_str().unwrap().to_owned(),
            kind: Kind::of(column["type"].as_str(), ansi),
            collection: column["collection"] == true,
            path: path(&column["path"]),
        }
    }
}

impl Select {
    fn read(select: &Value) -> Self {
        let walk = if select["forEach"].is_string() {
            Some(Walk::Each(path(&select["forEach"]), false))
        } else if select["forEachOrNull"].is_string() {
            Some(Walk::Each(path(&select["forEachOrNull"]), true))
        } else if select["repeat"].is_array() {
            Some(Walk::Repeat(list(select, "repeat").into_iter().map(path).collect()))
        } else {
            None
        };
        let selects = |key| list(select, key).into_iter().map(Self::read).collect();
        Self {
            walk,
            columns: list(select, "column").into_iter().map(Column::read).collect(),
            selects: selects("select"),
            unions: selects("unionAll"),
        }
    }

    fn all_columns(&self) -> Vec<Column> {
        let inner = self.selects.iter().chain(self.unions.first()).flat_map(Self::all_columns);
        self.columns.iter().cloned().chain(inner).collect()
    }

    fn rows(&self, focus: Focus<'_>) -> Result<Vec<Vec<Cell>>, Stop> {
        let (mut values, mut or_null) = (Vec::new(), false);
        match &self.walk {
            None => return self.at(focus),
            Some(Walk::Each(path, null)) => (values, or_null) = (evaluate(path, focus)?, *null),
            Some(Walk::Repeat(paths)) => closure(paths, focus, &mut values)?,
        }
        let mut rows = Vec::new();
        for (row_index, value) in values.iter().enumerate() {
            rows.extend(self.at(Focus { this: Some(value), context: Some(value), row_index, ..focus })?);
        }
        if values.is_empty() && or_null {
            rows = self.at(Focus { this: None, context: None, row_index: 0, ..focus })?;
        }
        Ok(rows)
    }

    fn at(&self, focus: Focus<'_>) -> Result<Vec<Vec<Cell>>, Stop> {
        let mut row = Vec::new();
        for column in &self.columns {
            row.push(match evaluate(&column.path, focus) {
                Ok(values) if values.len() > 1 && !column.collection => return Err(Stop::Refused),
                Ok(values) => Some(values),
                Err(Stop::Misfit) => None,
                Err(refused) => return Err(refused),
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

/// What the paths lead to, each value before those that it leads to.
fn closure(paths: &[Node], focus: Focus<'_>, reached: &mut Collection) -> Result<(), Stop> {
    for path in paths {
        for value in evaluate(path, focus)? {
            reached.push(value.clone());
            closure(paths, Focus { this: Some(&value), context: Some(&value), ..focus }, reached)?;
        }
    }
    Ok(())
}
