//! `views.sql`: what an analyst opens. Pure text, made from what is current.

use std::{collections::BTreeMap, fmt::Write as _};

use camino::Utf8PathBuf;

use crate::history::{RESOURCES, RUNS};

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub description: Option<String>,
}

/// The current snapshot of one table of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentTable {
    /// The source.
    pub source: String,
    /// The table.
    pub table: String,
    /// What it holds.
    pub description: Option<String>,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its files, below the lake's folder.
    pub files: Vec<String>,
}

/// Everything that `views.sql` shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    /// The lake's folder, absolute, so that the file works from any directory.
    pub root: Utf8PathBuf,
    /// The tables.
    pub tables: Vec<CurrentTable>,
    /// The files of the history of runs, below the lake's folder.
    pub runs: Vec<String>,
    /// The files of the history of resource types, below the lake's folder.
    pub resources: Vec<String>,
}

/// Columns that are no columns of the files: DuckDB reads them off the paths.
const HIVE: &str = "hive_partitioning = true, hive_types = {'source': VARCHAR, 'snapshot': VARCHAR}";

/// The table that holds the drugs of a formulary's items, by which [`DRUGS`] is filled up.
const MEDICATIONS: &str = "medication_knowledge";

/// The table whose second-generation rows name their drug by reference only.
const DRUGS: &str = "formulary_drug";

/// Renders the catalogue as DuckDB SQL. Every file is named, so that a reader sees one set of snapshots, whole; running
/// it again replaces the views.
#[must_use]
pub fn render(catalog: &Catalog) -> String {
    let mut sql = String::from(
        "-- The lake of fhirvest, for DuckDB: duckdb -init views.sql\n\
         -- A schema for each source, one view a table on its current snapshot; the schema \"all\" has every table across\n\
         -- sources (its name is a keyword: quote it). Example:\n\
         --   SELECT source, count(*) FROM \"all\".organization GROUP BY source;\n\
         --   SELECT * FROM \"all\"._resources WHERE status NOT IN ('complete', 'empty');\n\n\
         CREATE SCHEMA IF NOT EXISTS \"all\";\n",
    );
    let mut by_name: BTreeMap<&str, Vec<&CurrentTable>> = BTreeMap::new();
    let mut schemas: Vec<String> = Vec::new();
    for table in &catalog.tables {
        let schema = schema(&table.source);
        if !schemas.contains(&schema) {
            line(&mut sql, format_args!("\nCREATE SCHEMA IF NOT EXISTS {};", name(&schema)));
            schemas.push(schema.clone());
        }
        view(&mut sql, catalog, table, &schema);
        by_name.entry(&table.table).or_default().push(table);
    }
    line(&mut sql, format_args!(""));
    for (table, of) in by_name {
        let parts: Vec<String> =
            of.iter().map(|one| format!("SELECT * FROM {}.{}", name(&schema(&one.source)), name(&one.table))).collect();
        let all = parts.join(" UNION ALL BY NAME ");
        line(&mut sql, format_args!("CREATE OR REPLACE VIEW \"all\".{} AS {all};", name(table)));
    }
    for (table, files) in [(RUNS, &catalog.runs), (RESOURCES, &catalog.resources)] {
        if !files.is_empty() {
            let files = read(catalog, files);
            line(
                &mut sql,
                format_args!(
                    "CREATE OR REPLACE VIEW \"all\".{} AS SELECT * EXCLUDE (snapshot) FROM {files};",
                    name(table)
                ),
            );
        }
    }
    sql
}

/// The schema of a source: its name with everything but letters and digits as `_`.
#[must_use]
pub fn schema(source: &str) -> String {
    source.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

fn view(sql: &mut String, catalog: &Catalog, table: &CurrentTable, schema: &str) {
    let full = format!("{}.{}", name(schema), name(&table.table));
    let own = read(catalog, &table.files);
    let medications = catalog
        .tables
        .iter()
        .find(|other| other.source == table.source && other.table == MEDICATIONS && table.table == DRUGS);
    let shared = |column: &&str| {
        let has = |table: &CurrentTable| table.columns.iter().any(|known| known.name == *column);
        has(table) && medications.is_some_and(has)
    };
    let filled: Vec<String> = ["rxnorm", "ndc", "name"]
        .into_iter()
        .filter(shared)
        .map(|column| format!("coalesce(drug.{column}, medication.{column}) AS {column}"))
        .collect();
    match medications {
        Some(medications) if !filled.is_empty() => line(
            sql,
            format_args!(
                "-- An item of the guide's second generation names its drug by reference: the drug's codes come from there.\n\
                 CREATE OR REPLACE VIEW {full} AS SELECT drug.* REPLACE ({}) FROM {own} AS drug LEFT JOIN {} AS medication \
                 ON medication.id = drug.medication_id;",
                filled.join(", "),
                read(catalog, &medications.files)
            ),
        ),
        _ => line(sql, format_args!("CREATE OR REPLACE VIEW {full} AS SELECT * FROM {own};")),
    }
    if let Some(description) = &table.description {
        line(sql, format_args!("COMMENT ON VIEW {full} IS {};", literal(description)));
    }
    for column in &table.columns {
        if let Some(description) = &column.description {
            line(sql, format_args!("COMMENT ON COLUMN {full}.{} IS {};", name(&column.name), literal(description)));
        }
    }
}

fn read(catalog: &Catalog, files: &[String]) -> String {
    let files: Vec<String> = files.iter().map(|file| literal(catalog.root.join(file).as_str())).collect();
    format!("read_parquet([{}], {HIVE})", files.join(", "))
}

fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn line(sql: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(sql, "{arguments}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted() {
        let catalog = Catalog {
            root: "/it's/lake".into(),
            tables: vec![CurrentTable {
                source: "Acme-1".into(),
                table: "location".into(),
                description: Some("one row a Location; it's all".into()),
                columns: vec![Column { name: "id".into(), description: None }],
                files: vec!["tables/location/part-00000.parquet".into()],
            }],
            runs: Vec::new(),
            resources: Vec::new(),
        };
        let sql = render(&catalog);
        assert!(sql.contains("CREATE SCHEMA IF NOT EXISTS \"acme_1\";"), "{sql}");
        assert!(sql.contains("['/it''s/lake/tables/location/part-00000.parquet']"), "{sql}");
        assert!(sql.contains("COMMENT ON VIEW \"acme_1\".\"location\" IS 'one row a Location; it''s all';"), "{sql}");
        assert!(sql.contains("CREATE OR REPLACE VIEW \"all\".\"location\""), "{sql}");
    }
}
