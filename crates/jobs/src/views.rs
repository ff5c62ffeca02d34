//! The views of a job, compiled: one plan for each resource type, and the tables that the plans fill. Views of one name
//! and different resource types fill one table.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use fhirvest_flattener::{Diagnostics, Plan, View, parse_view, same_shape};

use crate::config::ConfigText;

/// The views of a job do not compile: exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ViewsError {
    /// Mistakes in views, all of them.
    #[error("{} of the views cannot be used", diagnostics.len())]
    Invalid {
        /// By view, in the order of the files.
        diagnostics: Vec<Diagnostics>,
    },
    /// Two views of one name have different columns.
    #[error("the views {first} and {second} fill the same table `{table}` but differ: {difference}")]
    Shape {
        /// The table.
        table: String,
        /// A file.
        first: String,
        /// Another file.
        second: String,
        /// The first difference.
        difference: String,
    },
    /// Two views of one name and one resource type.
    #[error("the views {first} and {second} are both named `{table}` and read the same resource type: rename one")]
    Twice {
        /// The table.
        table: String,
        /// A file.
        first: String,
        /// Another file.
        second: String,
    },
}

/// Where rows of a table come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed {
    /// The index of the plan in [`ViewSet::plans`].
    pub plan: usize,
    /// The index of the table within the plan.
    pub table: usize,
}

/// A table and what fills it.
#[derive(Debug, Clone)]
pub struct TableShape {
    /// Its name.
    pub name: String,
    /// Its columns as Arrow has them.
    pub schema: SchemaRef,
    /// Its columns' SQL types, in the same order.
    pub sql_types: Vec<String>,
    /// What it holds.
    pub description: Option<String>,
    /// The hash of its views.
    pub view_hash: String,
    /// The plans that fill it.
    pub feeds: Vec<Feed>,
}

/// The compiled views of a job.
#[derive(Debug)]
pub struct ViewSet {
    /// One for each resource type.
    pub plans: Vec<Plan>,
    /// By name.
    pub tables: Vec<TableShape>,
}

impl ViewSet {
    /// Compiles the views.
    ///
    /// # Errors
    /// All mistakes of all files, together.
    pub fn compile(files: &[ConfigText]) -> Result<Self, ViewsError> {
        let (mut views, mut diagnostics) = (Vec::new(), Vec::new());
        for file in files {
            match parse_view(&file.text, &file.origin) {
                Ok(view) => views.push((file.origin.as_str(), view)),
                Err(found) => diagnostics.push(found),
            }
        }
        let mut by_type: BTreeMap<&str, Vec<View>> = BTreeMap::new();
        let mut origins: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for (origin, view) in &views {
            if let Some(first) = origins.insert((view.resource(), view.name()), origin) {
                let (first, second) = (first.to_owned(), (*origin).to_owned());
                return Err(ViewsError::Twice { table: view.name().to_owned(), first, second });
            }
            by_type.entry(view.resource()).or_default().push(view.clone());
        }
        let mut plans = Vec::new();
        for views in by_type.values() {
            match Plan::compile(views) {
                Ok(plan) => plans.push(plan),
                Err(found) => diagnostics.push(found),
            }
        }
        if !diagnostics.is_empty() {
            return Err(ViewsError::Invalid { diagnostics });
        }
        let mut tables: BTreeMap<&str, TableShape> = BTreeMap::new();
        for (number, plan) in plans.iter().enumerate() {
            for (place, table) in plan.tables().iter().enumerate() {
                let feed = Feed { plan: number, table: place };
                let Some(known) = tables.get_mut(table.name.as_str()) else {
                    let shape = TableShape {
                        name: table.name.clone(),
                        schema: table.schema.clone(),
                        sql_types: table.sql_types.clone(),
                        description: table.description.clone(),
                        view_hash: table.view_hash.clone(),
                        feeds: vec![feed],
                    };
                    tables.insert(&table.name, shape);
                    continue;
                };
                let other = known.feeds.first().map(|feed| (&plans[feed.plan], feed.table));
                if let Some((other_plan, other)) = other
                    && let Err(difference) = same_shape(&other_plan.tables()[other], table)
                {
                    let origin = |resource: &str| {
                        origins.get(&(resource, table.name.as_str())).map_or_else(String::new, |o| (*o).to_owned())
                    };
                    let (first, second) = (origin(other_plan.resource_type()), origin(plan.resource_type()));
                    return Err(ViewsError::Shape { table: table.name.clone(), first, second, difference });
                }
                known.view_hash = format!("{}+{}", known.view_hash, table.view_hash);
                known.feeds.push(feed);
            }
        }
        let tables = tables.into_values().collect();
        Ok(Self { plans, tables })
    }

    /// The resource types that fill a table.
    #[must_use]
    pub fn resource_types(&self, table: &TableShape) -> Vec<&str> {
        table.feeds.iter().filter_map(|feed| self.plans.get(feed.plan)).map(Plan::resource_type).collect()
    }
}
