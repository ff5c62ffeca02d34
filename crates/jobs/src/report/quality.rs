//! What the tables of a run say about the quality of the data, read from the published snapshot: values that are missing,
//! NPIs that cannot be right, references that lead nowhere, roles that lead to no place, and how old the records are.
//!
//! The rules know tables by their columns, so that a view of one's own is judged like a shipped one: `npi` is an NPI; of a
//! pair `x_ref` and `x_id` the first names the type and the second the id; a table that begins with `id` and is filled by
//! one resource type holds ids of that type.

use std::collections::{BTreeMap, HashSet};

use arrow::{
    array::{Array, AsArray, StringArray},
    datatypes::TimestampMicrosecondType,
    record_batch::RecordBatch,
};
use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use fhirvest_lake::{Lake, LakeError, read};
use serde::Serialize;

use crate::run::{RunReport, TableState};

/// Upper bounds of ages, in days; the last bucket has none.
const AGES: [i64; 5] = [30, 90, 180, 365, 730];

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
    /// Tables of the run that could not be looked at, with the reason.
    pub not_looked_at: Vec<(String, String)>,
}

/// The values of one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnQuality {
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
    /// The table's rows.
    pub rows: u64,
    /// Rows without a value.
    pub nulls: u64,
    /// Their share: 0 to 1.
    pub null_share: f64,
    /// Values that did not fit the column's type, and are among the nulls.
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

struct Table {
    name: String,
    types: Vec<String>,
    files: Vec<Utf8PathBuf>,
    columns: Vec<String>,
}

/// Ids as hashes: eight bytes each, so that millions fit; two that fall together may hide one dangling reference.
type Ids = HashSet<u64>;

/// Looks at the tables that the run published.
///
/// # Errors
/// The lake cannot be read.
pub(super) fn look(lake: &Lake, report: &RunReport) -> Result<Quality, LakeError> {
    let mut quality = Quality::default();
    let tables = tables(lake, report, &mut quality)?;
    for table in &tables {
        columns(table, report, &mut quality)?;
        npis(table, &mut quality)?;
        staleness(table, report.started_at, &mut quality)?;
    }
    references(&tables, &mut quality)?;
    quality.roles = roles(&tables)?;
    Ok(quality)
}

fn tables(lake: &Lake, report: &RunReport, quality: &mut Quality) -> Result<Vec<Table>, LakeError> {
    let mut tables = Vec::new();
    for one in &report.tables {
        let name = one.table.clone();
        if one.state != TableState::Published {
            let reason = one.reason.clone().unwrap_or_else(|| "it was not published".into());
            quality.not_looked_at.push((name, reason));
            continue;
        }
        let files = read::files(&lake.snapshot_dir(&name, &report.source, &report.run))?;
        match files.first().map(|file| read::columns(file)) {
            Some(Ok(columns)) => tables.push(Table { name, types: one.resource_types.clone(), files, columns }),
            Some(Err(_)) => quality.not_looked_at.push((name, "its files cannot be read without a key".into())),
            None => quality.not_looked_at.push((name, "its snapshot is no longer kept".into())),
        }
    }
    Ok(tables)
}

fn columns(table: &Table, report: &RunReport, quality: &mut Quality) -> Result<(), LakeError> {
    let Some(of_run) = report.tables.iter().find(|one| one.table == table.name) else { return Ok(()) };
    for found in read::nulls(&table.files)? {
        quality.columns.push(ColumnQuality {
            table: table.name.clone(),
            cast_failures: of_run.casts.get(&found.column).copied().unwrap_or_default(),
            rows: of_run.rows,
            nulls: found.nulls,
            null_share: if of_run.rows == 0 { 0.0 } else { float(found.nulls) / float(of_run.rows) },
            column: found.column,
        });
    }
    Ok(())
}

fn npis(table: &Table, quality: &mut Quality) -> Result<(), LakeError> {
    if !table.has("npi") {
        return Ok(());
    }
    let mut found = NpiQuality { table: table.name.clone(), checked: 0, invalid: 0 };
    read::scan(&table.files, &["npi"], |batch| {
        for npi in texts(batch, "npi").flatten() {
            found.checked += 1;
            found.invalid += u64::from(!fhirvest_fhir::npi::is_valid(npi));
        }
    })?;
    quality.npi.push(found);
    Ok(())
}

fn staleness(table: &Table, now: DateTime<Utc>, quality: &mut Quality) -> Result<(), LakeError> {
    if !table.has("last_updated") || !table.has("id") {
        return Ok(());
    }
    let bounds = AGES.iter().map(|days| Some(*days)).chain([None]);
    let mut buckets: Vec<AgeBucket> = bounds.map(|up_to_days| AgeBucket { up_to_days, count: 0 }).collect();
    let mut unknown = 0;
    read::scan(&table.files, &["last_updated"], |batch| {
        let Some(column) = batch.column_by_name("last_updated") else { return };
        let Some(stamps) = column.as_primitive_opt::<TimestampMicrosecondType>() else { return };
        for stamp in stamps {
            let Some(at) = stamp.and_then(DateTime::from_timestamp_micros) else {
                unknown += 1;
                continue;
            };
            let days = (now - at).num_days();
            if let Some(bucket) = buckets.iter_mut().find(|one| one.up_to_days.is_none_or(|bound| days <= bound)) {
                bucket.count += 1;
            }
        }
    })?;
    let known: u64 = buckets.iter().map(|one| one.count).sum();
    if known + unknown > 0 {
        quality.staleness.push(Staleness { table: table.name.clone(), buckets, unknown });
    }
    Ok(())
}

fn references(tables: &[Table], quality: &mut Quality) -> Result<(), LakeError> {
    let mut held: BTreeMap<&str, Ids> = BTreeMap::new();
    for table in tables {
        if let ([of_type], Some("id")) = (table.types.as_slice(), table.columns.first().map(String::as_str)) {
            let ids = held.entry(of_type).or_default();
            read::scan(&table.files, &["id"], |batch| ids.extend(texts(batch, "id").flatten().map(hash)))?;
        }
    }
    for table in tables {
        let pairs = table.columns.iter().filter_map(|name| name.strip_suffix("_ref"));
        for stem in pairs.filter(|stem| table.has(&format!("{stem}_id"))) {
            let (by_id, by_ref) = (format!("{stem}_id"), format!("{stem}_ref"));
            let mut found =
                ReferenceQuality { table: table.name.clone(), column: by_id.clone(), checked: 0, dangling: 0 };
            read::scan(&table.files, &[&by_id, &by_ref], |batch| {
                for (id, reference) in texts(batch, &by_id).zip(texts(batch, &by_ref)) {
                    let Some((id, reference)) = id.zip(reference) else { continue };
                    let Some(ids) = type_of(reference).and_then(|name| held.get(name)) else { continue };
                    found.checked += 1;
                    found.dangling += u64::from(!ids.contains(&hash(id)));
                }
            })?;
            if found.checked > 0 {
                quality.references.push(found);
            }
        }
    }
    Ok(())
}

fn roles(tables: &[Table]) -> Result<Option<RoleQuality>, LakeError> {
    let named = |name: &str| tables.iter().find(|table| table.name == name);
    let Some(roles) = named("practitioner_role").filter(|table| table.has("id")) else { return Ok(None) };
    let mut all = Ids::new();
    read::scan(&roles.files, &["id"], |batch| all.extend(texts(batch, "id").flatten().map(hash)))?;
    let without = |name: &str, column: &str| -> Result<Option<u64>, LakeError> {
        let Some(table) = named(name).filter(|table| table.has("role_id") && table.has(column)) else {
            return Ok(None);
        };
        let mut left = all.clone();
        read::scan(&table.files, &["role_id", column], |batch| {
            for (role, target) in texts(batch, "role_id").zip(texts(batch, column)) {
                if let (Some(role), Some(_)) = (role, target) {
                    left.remove(&hash(role));
                }
            }
        })?;
        Ok(Some(left.len() as u64))
    };
    Ok(Some(RoleQuality {
        roles: all.len() as u64,
        without_location: without("role_location", "location_id")?,
        without_network: without("role_network", "network_id")?,
    }))
}

impl Table {
    fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name == column)
    }
}

fn texts<'a>(batch: &'a RecordBatch, column: &str) -> impl Iterator<Item = Option<&'a str>> {
    let column = batch.column_by_name(column).and_then(|column| column.as_any().downcast_ref::<StringArray>());
    column.into_iter().flatten()
}

/// The type that a reference leads to: the last part of its path that is one.
fn type_of(reference: &str) -> Option<&str> {
    reference.rsplit('/').find(|part| fhirvest_fhir::elements::is_resource(part))
}

fn hash(text: &str) -> u64 {
    let mut first = [0_u8; 8];
    first.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

#[allow(clippy::cast_precision_loss, reason = "a share of rows needs no more than 52 bits")]
fn float(number: u64) -> f64 {
    number as f64
}
