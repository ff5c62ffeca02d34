//! What is counted of one table while its rows go by: first everything that a row says by itself, then, once the ids of
//! all tables are known, where its references lead.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, StringArray},
    datatypes::TimestampMicrosecondType,
    record_batch::RecordBatch,
};
use chrono::{DateTime, Utc};

use super::{AgeBucket, NpiQuality, ReferenceQuality, Staleness};
use crate::{flatten::TableSink, run::StoreError};

/// Upper bounds of ages, in days; the last bucket has none.
const AGES: [i64; 5] = [30, 90, 180, 365, 730];

/// Ids as hashes: eight bytes each, so that millions fit; two that fall together may hide one dangling reference.
pub(super) type Ids = HashSet<u64>;

/// The ids that the run holds, by resource type.
pub(super) type Held = BTreeMap<String, Ids>;

/// Tables that lead from a role to a place, each with the column that names the place.
const ROLE_LINKS: [(&str, &str); 2] = [("role_location", "location_id"), ("role_network", "network_id")];

/// Counts over one table.
pub(super) struct Judge {
    pub(super) name: String,
    types: Vec<String>,
    columns: Vec<String>,
    /// When the run began.
    now: DateTime<Utc>,
    /// By column; counted only where rows come from the archive, since Parquet files say it themselves.
    pub(super) nulls: Vec<u64>,
    npi: Option<NpiQuality>,
    staleness: Option<Staleness>,
    /// The ids that it holds, where it is the table of one type.
    pub(super) ids: Ids,
    /// Roles that lead somewhere, where it is a table of such links.
    pub(super) linked: Ids,
    references: Vec<ReferenceQuality>,
}

impl Judge {
    pub(super) fn new(name: &str, types: &[String], columns: Vec<String>, now: DateTime<Utc>) -> Self {
        let has = |column: &str| columns.iter().any(|one| one == column);
        let npi = has("npi").then(|| NpiQuality { table: name.to_owned(), checked: 0, invalid: 0 });
        let staleness = (has("id") && has("last_updated")).then(|| {
            let bounds = AGES.iter().map(|days| Some(*days)).chain([None]);
            let buckets = bounds.map(|up_to_days| AgeBucket { up_to_days, count: 0 }).collect();
            Staleness { table: name.to_owned(), buckets, unknown: 0 }
        });
        let stems = columns.iter().filter_map(|column| column.strip_suffix("_ref"));
        let reference = |column: String| ReferenceQuality { table: name.to_owned(), column, checked: 0, dangling: 0 };
        let ids = stems.map(|stem| format!("{stem}_id")).filter(|column| has(column));
        let references = ids.map(reference).collect();
        Self {
            name: name.to_owned(),
            types: types.to_vec(),
            nulls: vec![0; columns.len()],
            columns,
            now,
            npi,
            staleness,
            ids: Ids::new(),
            linked: Ids::new(),
            references,
        }
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The type whose ids the table holds, if it is the table of one.
    pub(super) fn type_held(&self) -> Option<&str> {
        match (self.types.as_slice(), self.columns.first().map(String::as_str)) {
            ([one], Some("id")) => Some(one),
            _ => None,
        }
    }

    fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|one| one == column)
    }

    /// The column that names the place, where it is a table that leads from roles to places.
    fn role_target(&self) -> Option<&'static str> {
        let (_, target) = ROLE_LINKS.iter().find(|(table, _)| *table == self.name)?;
        (self.has("role_id") && self.has(target)).then_some(*target)
    }

    /// Whether roles that lead nowhere can be told by this table.
    pub(super) fn links_roles(&self) -> bool {
        self.role_target().is_some()
    }

    /// The columns that [`Judge::first`] looks at.
    pub(super) fn first_columns(&self) -> Vec<&str> {
        let mut columns = Vec::new();
        columns.extend(self.type_held().map(|_| "id"));
        columns.extend(self.npi.as_ref().map(|_| "npi"));
        columns.extend(self.staleness.as_ref().map(|_| "last_updated"));
        columns.extend(self.role_target().iter().flat_map(|target| ["role_id", target]));
        columns
    }

    /// The columns that [`Judge::second`] looks at.
    pub(super) fn second_columns(&self) -> Vec<String> {
        self.references.iter().flat_map(|one| [one.column.clone(), ref_of(&one.column)]).collect()
    }

    /// Looks at rows for what they say by themselves.
    pub(super) fn first(&mut self, batch: &RecordBatch) {
        if self.type_held().is_some() {
            self.ids.extend(texts(batch, "id").flatten().map(hash));
        }
        if let Some(found) = &mut self.npi {
            for npi in texts(batch, "npi").flatten() {
                found.checked += 1;
                found.invalid += u64::from(!fhirvest_fhir::npi::is_valid(npi));
            }
        }
        if let Some(found) = &mut self.staleness {
            age(batch, self.now, found);
        }
        if let Some(target) = self.role_target() {
            let pairs = texts(batch, "role_id").zip(texts(batch, target));
            self.linked.extend(pairs.filter_map(|(role, target)| Some(hash(target.and(role)?))));
        }
    }

    /// Looks where the references of rows lead.
    pub(super) fn second(&mut self, batch: &RecordBatch, held: &Held) {
        for found in &mut self.references {
            for (id, reference) in texts(batch, &found.column).zip(texts(batch, &ref_of(&found.column))) {
                let Some((id, reference)) = id.zip(reference) else { continue };
                let Some(ids) = type_of(reference).and_then(|name| held.get(name)) else { continue };
                found.checked += 1;
                found.dangling += u64::from(!ids.contains(&hash(id)));
            }
        }
    }

    /// What was found, besides the nulls: of tables without rows nothing is told.
    pub(super) fn end(self) -> (Option<NpiQuality>, Option<Staleness>, Vec<ReferenceQuality>) {
        let aged = |one: &Staleness| one.unknown + one.buckets.iter().map(|bucket| bucket.count).sum::<u64>() > 0;
        let checked = self.references.into_iter().filter(|one| one.checked > 0);
        (self.npi, self.staleness.filter(aged), checked.collect())
    }
}

/// Counts the rows of an archive that is flattened to be looked at.
pub(super) enum Look {
    First(Judge),
    Second(Judge, Arc<Held>),
}

impl Look {
    pub(super) fn judge(self) -> Judge {
        match self {
            Self::First(judge) | Self::Second(judge, _) => judge,
        }
    }
}

impl TableSink for Look {
    type Error = StoreError;

    fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        match self {
            Self::First(judge) => {
                for (nulls, column) in judge.nulls.iter_mut().zip(batch.columns()) {
                    *nulls += column.null_count() as u64;
                }
                judge.first(batch);
            }
            Self::Second(judge, held) => judge.second(batch, held),
        }
        Ok(())
    }
}

fn age(batch: &RecordBatch, now: DateTime<Utc>, found: &mut Staleness) {
    let Some(column) = batch.column_by_name("last_updated") else { return };
    let Some(stamps) = column.as_primitive_opt::<TimestampMicrosecondType>() else { return };
    for stamp in stamps {
        let Some(at) = stamp.and_then(DateTime::from_timestamp_micros) else {
            found.unknown += 1;
            continue;
        };
        let days = (now - at).num_days();
        if let Some(bucket) = found.buckets.iter_mut().find(|one| one.up_to_days.is_none_or(|bound| days <= bound)) {
            bucket.count += 1;
        }
    }
}

/// The column with the reference whose id is in `column`.
fn ref_of(column: &str) -> String {
    format!("{}_ref", column.strip_suffix("_id").unwrap_or(column))
}

fn texts<'a>(batch: &'a RecordBatch, column: &str) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
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
