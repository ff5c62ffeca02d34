//! What the tables of a run say about the quality of the data: values that are missing, NPIs that cannot be right,
//! references that lead nowhere, roles that lead to no place, and how old the records are. Published tables are read from
//! their snapshots; those that were held back, or whose snapshot is gone, are made again from the archive, in memory and
//! for these counts only.
//!
//! The rules know tables by their columns, so that a view of one's own is judged like a shipped one: `npi` is an NPI; of a
//! pair `x_ref` and `x_id` the first names the type and the second the id; a table that begins with `id` and is filled by
//! one resource type holds ids of that type.

mod judge;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::record_batch::RecordBatch;
use camino::Utf8PathBuf;
use fhirvest_lake::{Lake, LakeError, encryption::TableKey, read};
use serde::Serialize;

use self::judge::{Held, Judge, Look};
use crate::{
    run::{RunReport, TableReport, TableState, UNJUDGED, archive_into},
    views::ViewSet,
};

/// What was found.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Quality {
    /// Each column's rows without a value.
    pub columns: Vec<ColumnQuality>,
    /// NPIs whose check digit is wrong.
    pub npi: Vec<NpiQuality>,
    /// References to resources that were not crawled.
    pub references: Vec<ReferenceQuality>,
    /// Roles that lead to no place, where the tables tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<RoleQuality>,
    /// How long ago records were last changed, when the run began.
    pub staleness: Vec<Staleness>,
    /// Tables that were looked at as the archive makes them, since analysts do not see them.
    pub from_archive: Vec<String>,
    /// Tables of the run that could not be looked at, with the reason.
    pub not_looked_at: Vec<(String, String)>,
}

/// The values of one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnQuality {
    /// The table.
    pub table: String,
    /// The column; `(where)` stands for the view's filter.
    pub column: String,
    /// The table's rows.
    pub rows: u64,
    /// Rows without a value.
    pub nulls: u64,
    /// Their share: 0 to 1.
    pub null_share: f64,
    /// Values that did not fit the column's type, and are among the nulls; resources that the filter could not judge.
    pub cast_failures: u64,
}

/// The NPIs of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NpiQuality {
    /// The table.
    pub table: String,
    /// Values looked at.
    pub checked: u64,
    /// Those that are no NPI: not ten digits, or a wrong check digit.
    pub invalid: u64,
}

/// The references of one column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReferenceQuality {
    /// The table.
    pub table: String,
    /// The column with the id.
    pub column: String,
    /// References looked at: those to types whose ids the run holds.
    pub checked: u64,
    /// Those to an id that the run does not hold.
    pub dangling: u64,
}

/// Roles that lead to no place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleQuality {
    /// Roles.
    pub roles: u64,
    /// Those without a location, where the run made the table of locations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_location: Option<u64>,
    /// Those without a network, where the run made the table of networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_network: Option<u64>,
}

/// How old the records of a table are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Staleness {
    /// The table.
    pub table: String,
    /// By age.
    pub buckets: Vec<AgeBucket>,
    /// Records that do not say when they were changed.
    pub unknown: u64,
}

/// Records at most so old, and older than the bucket before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgeBucket {
    /// The upper bound in days; the last bucket has none.
    pub up_to_days: Option<i64>,
    /// The records.
    pub count: u64,
}

/// A table that can be looked at.
struct Looked<'a> {
    report: &'a TableReport,
    judge: Judge,
    /// The files of its snapshot; none where it is made from the archive.
    files: Vec<Utf8PathBuf>,
}

/// Looks at the tables of a run. `views` are those of its job today: without them, or where a view has changed since, what
/// was held back cannot be made again.
///
/// # Errors
/// The lake cannot be read.
pub(super) fn look(lake: &Lake, report: &RunReport, views: Option<&ViewSet>) -> Result<Quality, LakeError> {
    let mut quality = Quality::default();
    let mut looked = choose(lake, report, views, &mut quality)?;
    first(lake, report, views, &mut looked, &mut quality)?;
    let held = Arc::new(held(&looked));
    second(lake, report, views, &mut looked, &held)?;
    quality.roles = roles(&looked, &held);
    for one in looked {
        let (npi, staleness, references) = one.judge.end();
        quality.npi.extend(npi);
        quality.staleness.extend(staleness);
        quality.references.extend(references);
    }
    Ok(quality)
}

/// Where each table of the run can be looked at.
fn choose<'a>(
    lake: &Lake,
    report: &'a RunReport,
    views: Option<&ViewSet>,
    quality: &mut Quality,
) -> Result<Vec<Looked<'a>>, LakeError> {
    let archive = lake.archive_dir(&report.source, report.archive_run.as_deref().unwrap_or(&report.run));
    let mut looked = Vec::new();
    for one in &report.tables {
        let mut not = |reason: String| quality.not_looked_at.push((one.table.clone(), reason));
        let judge = |columns| Judge::new(&one.table, &one.resource_types, columns, report.started_at);
        if one.state == TableState::Skipped {
            not(one.reason.clone().unwrap_or_else(|| "it was not made".into()));
            continue;
        }
        let snapshot = one.snapshot.as_deref().unwrap_or(&report.run);
        let files = match one.state {
            TableState::Held => Vec::new(),
            _ => read::files(&lake.snapshot_dir(&one.table, &report.source, snapshot))?,
        };
        if let Some(file) = files.first() {
            match read::columns(file, lake.key()) {
                Ok(columns) => looked.push(Looked { report: one, judge: judge(columns), files }),
                Err(error) => not(format!("its files cannot be read: {error}")),
            }
            continue;
        }
        let shape = views.and_then(|views| views.tables.iter().find(|shape| shape.name == one.table));
        match shape {
            _ if !archive.exists() => not("its rows are not kept any more".into()),
            None => not("its view is not there any more".into()),
            Some(shape) if shape.view_hash != one.view_hash => {
                not(format!("its view has changed since: `fhirvest rerun {}` makes it anew", report.run));
            }
            Some(shape) => {
                let columns = shape.schema.fields().iter().map(|field| field.name().clone()).collect();
                quality.from_archive.push(one.table.clone());
                looked.push(Looked { report: one, judge: judge(columns), files });
            }
        }
    }
    Ok(looked)
}

/// The first look: what rows say by themselves. Nulls of published tables come from the files' statistics.
fn first(
    lake: &Lake,
    report: &RunReport,
    views: Option<&ViewSet>,
    looked: &mut Vec<Looked<'_>>,
    quality: &mut Quality,
) -> Result<(), LakeError> {
    flattened(lake, report, views, looked, Look::First, quality);
    for one in looked.iter_mut() {
        quality.columns.extend(one.unjudged());
        if one.files.is_empty() {
            let columns = one.judge.columns().iter().cloned().zip(one.judge.nulls.iter().copied());
            quality.columns.extend(columns.map(|(column, nulls)| one.column(column, nulls)));
            continue;
        }
        let nulls = read::nulls(&one.files, lake.key())?;
        quality.columns.extend(nulls.into_iter().map(|found| one.column(found.column, found.nulls)));
        let columns: Vec<String> = one.judge.first_columns().into_iter().map(ToOwned::to_owned).collect();
        one.scan(lake.key(), &columns, Judge::first)?;
    }
    Ok(())
}

/// The ids that the tables hold, by type; of several tables of a type all of them.
fn held(looked: &[Looked<'_>]) -> Held {
    let mut held = Held::new();
    for one in looked {
        if let Some(name) = one.judge.type_held() {
            held.entry(name.to_owned()).or_default().extend(&one.judge.ids);
        }
    }
    held
}

/// The second look: where references lead.
fn second(
    lake: &Lake,
    report: &RunReport,
    views: Option<&ViewSet>,
    looked: &mut Vec<Looked<'_>>,
    held: &Arc<Held>,
) -> Result<(), LakeError> {
    // What could not be flattened was told by the first look, and is no longer among them.
    flattened(lake, report, views, looked, |judge| Look::Second(judge, Arc::clone(held)), &mut Quality::default());
    for one in looked.iter_mut().filter(|one| !one.files.is_empty()) {
        one.scan(lake.key(), &one.judge.second_columns(), |judge, batch| judge.second(batch, held))?;
    }
    Ok(())
}

/// Sends the rows of all tables that have no files by their judges. Where the archive cannot be read, none of these tables
/// is looked at.
fn flattened(
    lake: &Lake,
    report: &RunReport,
    views: Option<&ViewSet>,
    looked: &mut Vec<Looked<'_>>,
    look: impl Fn(Judge) -> Look,
    quality: &mut Quality,
) {
    let (archived, mut rest): (Vec<_>, Vec<_>) = looked.drain(..).partition(|one| one.files.is_empty());
    let Some(views) = views.filter(|_| !archived.is_empty()) else {
        looked.extend(archived.into_iter().chain(rest));
        return;
    };
    let (of_run, judges): (Vec<&TableReport>, Vec<Judge>) =
        archived.into_iter().map(|one| (one.report, one.judge)).unzip();
    let names: BTreeSet<&str> = of_run.iter().map(|one| one.table.as_str()).collect();
    let shapes: Vec<_> = views.tables.iter().filter(|shape| names.contains(shape.name.as_str())).collect();
    let mut by_name: BTreeMap<String, Judge> = judges.into_iter().map(|one| (one.name.clone(), one)).collect();
    let mut sinks: Vec<Look> = shapes.iter().filter_map(|shape| by_name.remove(&shape.name)).map(&look).collect();
    let types: Vec<String> = report.resources.iter().map(|one| one.resource_type.clone()).collect();
    let archive = report.archive_run.as_deref().unwrap_or(&report.run);
    if let Err(error) = archive_into(lake, &report.source, archive, views, &shapes, &types, &mut sinks) {
        let reason = format!("the archive cannot be read: {error}");
        quality.not_looked_at.extend(names.iter().map(|name| ((*name).to_owned(), reason.clone())));
        quality.from_archive.clear();
    } else {
        let judged = sinks.into_iter().map(Look::judge);
        rest.extend(judged.filter_map(|judge| {
            let report = of_run.iter().find(|one| one.table == judge.name)?;
            Some(Looked { report, judge, files: Vec::new() })
        }));
    }
    rest.sort_by(|a, b| a.report.table.cmp(&b.report.table));
    looked.extend(rest);
}

/// Roles that lead to no place, by the tables that lead from roles to places.
fn roles(looked: &[Looked<'_>], held: &Held) -> Option<RoleQuality> {
    let named = |name: &str| looked.iter().find(|one| one.report.table == name);
    named("practitioner_role")?;
    let roles = held.get("PractitionerRole")?;
    let without = |name: &str| {
        let links = &named(name).filter(|one| one.judge.links_roles())?.judge.linked;
        Some(roles.iter().filter(|role| !links.contains(role)).count() as u64)
    };
    Some(RoleQuality {
        roles: roles.len() as u64,
        without_location: without("role_location"),
        without_network: without("role_network"),
    })
}

impl Looked<'_> {
    /// The resources that a filter could not judge, if there are some, in the place of a column.
    fn unjudged(&self) -> Option<ColumnQuality> {
        self.report.casts.contains_key(UNJUDGED).then(|| self.column(UNJUDGED.to_owned(), 0))
    }

    fn column(&self, column: String, nulls: u64) -> ColumnQuality {
        let rows = self.report.rows;
        ColumnQuality {
            table: self.report.table.clone(),
            cast_failures: self.report.casts.get(&column).copied().unwrap_or_default(),
            rows,
            nulls,
            null_share: if rows == 0 { 0.0 } else { float(nulls) / float(rows) },
            column,
        }
    }

    /// Hands the columns of its files to its judge.
    fn scan(
        &mut self,
        key: Option<&TableKey>,
        columns: &[String],
        mut each: impl FnMut(&mut Judge, &RecordBatch),
    ) -> Result<(), LakeError> {
        if columns.is_empty() {
            return Ok(());
        }
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        read::scan(&self.files, key, &columns, |batch| each(&mut self.judge, batch))
    }
}

#[allow(clippy::cast_precision_loss, reason = "a share of rows needs no more than 52 bits")]
fn float(number: u64) -> f64 {
    number as f64
}
