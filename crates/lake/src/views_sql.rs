//! `views.sql`: what an analyst opens. Pure text, made from the snapshots that the ledger knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use camino::Utf8PathBuf;

use crate::{
    changes::{CHANGES, SEEN},
    encryption::KEY_NAME,
    history::{RESOURCES, RUNS},
    template::{Kind, Template},
};

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub description: Option<String>,
}

/// One snapshot of one table of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The source.
    pub source: String,
    /// The table.
    pub table: String,
    /// Its name in the path.
    pub snapshot: String,
    /// The run whose archive it was made from.
    pub run: String,
    /// Its rows.
    pub rows: u64,
    /// The hash of the view that made it.
    pub view_hash: String,
    /// Whether analysts see it now.
    pub current: bool,
    /// What the table holds.
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
    /// Whether the files are encrypted.
    pub encrypted: bool,
    /// Every snapshot that is kept.
    pub snapshots: Vec<Snapshot>,
    /// Views and macros over the tables.
    pub templates: Vec<Template>,
}

/// Columns that are no columns of the files: DuckDB reads them off the paths.
const HIVE: &str = "hive_partitioning = true, hive_types = {'source': VARCHAR, 'snapshot': VARCHAR}";

/// The column that holds the server's own stamp of a row, which is no content.
const STAMP: &str = "last_updated";

/// What an analyst has to know of a lake in an object store.
const IN_A_STORE: &str = "\
-- The files are in an object store, so DuckDB needs an extension and your credentials first. S3 and Google Cloud Storage:
--   INSTALL httpfs; INSTALL aws; CREATE SECRET (TYPE s3, PROVIDER credential_chain);
-- Azure: INSTALL azure; CREATE SECRET (TYPE azure, PROVIDER credential_chain, ACCOUNT_NAME '...');
";

/// What an analyst has to know of an encrypted lake.
const ENCRYPTED: &str = "\
-- The files are encrypted: DuckDB 1.5 or later, and their key before this is read. With the key in a variable:
--   duckdb -cmd \"PRAGMA add_parquet_key('fhirvest', getenv('FHIRVEST_LAKE_KEY'))\" -cmd '.read views.sql'
-- DuckDB decrypts whole columns only, which is why each file is read behind a window that no filter passes.
";

const HEAD: &str = "\
-- The lake of fhirvest, for DuckDB 1.1 and later: duckdb -init views.sql
-- A schema for each source, one view a table on its current snapshot; the schema \"all\" has every table across
-- sources (its name is a keyword: quote it). Examples:
--   SELECT source, count(*) FROM \"all\".organization GROUP BY source;
--   SELECT * FROM \"all\"._resources WHERE status NOT IN ('complete', 'empty');
--   SELECT * FROM \"all\"._changes WHERE change = 'removed';

CREATE SCHEMA IF NOT EXISTS \"all\";
";

const HISTORY: &str = r#"
-- as_of(table, moment): a table as it was crawled at a moment: a run's id, a date or a time (UTC). The table is named
-- alone, for all sources, or with a source's schema. Examples:
--   FROM as_of('practitioner', '20261123T020000Z-provider-directory');
--   FROM as_of('acme.practitioner', DATE '2026-11-24');
CREATE OR REPLACE MACRO _moment(moment) AS
  CASE WHEN regexp_matches(CAST(moment AS VARCHAR), '^\d{4}-')
  THEN strftime(CAST(CAST(moment AS VARCHAR) AS TIMESTAMP), '%Y%m%dT%H%M%SZ~') ELSE CAST(moment AS VARCHAR) END;
CREATE OR REPLACE MACRO as_of(name, moment) AS TABLE
  SELECT kept.* EXCLUDE (_key) FROM (FROM query(_history(name))) AS kept JOIN (
    SELECT s.source, arg_max(s.snapshot, s.run || ' ' || s.snapshot) AS snapshot FROM "all"._snapshots AS s
    WHERE s.table_name = regexp_replace(name, '^.*\.', '') AND s.run <= _moment(moment) GROUP BY s.source
  ) AS chosen ON chosen.source = kept.source AND chosen.snapshot = kept.snapshot;

-- changes(table, from, to): what differs between two moments, one row a key (the table's first column) with its rows
-- before and after. A server's stamp (last_updated) is no content, so a difference in it alone is none. Examples:
--   SELECT change, count(*) FROM changes('practitioner', DATE '2026-11-01', DATE '2026-12-01') GROUP BY change;
--   SELECT unnest(after, recursive := true) FROM changes('role_network', '20261123', '20261124') WHERE change = 'added';
CREATE OR REPLACE MACRO _keyed(name, moment) AS TABLE
  SELECT one.source, one._key AS key, list(one ORDER BY one) AS records FROM (
    SELECT kept.* EXCLUDE (snapshot)
    FROM (FROM query(replace(_history(name), '* /* stamped */', '* EXCLUDE (last_updated)'))) AS kept JOIN (
      SELECT s.source, arg_max(s.snapshot, s.run || ' ' || s.snapshot) AS snapshot FROM "all"._snapshots AS s
      WHERE s.table_name = regexp_replace(name, '^.*\.', '') AND s.run <= _moment(moment) GROUP BY s.source
    ) AS chosen ON chosen.source = kept.source AND chosen.snapshot = kept.snapshot
  ) AS one GROUP BY one.source, one._key;
CREATE OR REPLACE MACRO changes(name, since, until) AS TABLE
  SELECT coalesce(b.source, a.source) AS source, coalesce(b.key, a.key) AS key,
    CASE WHEN a.key IS NULL THEN 'added' WHEN b.key IS NULL THEN 'removed' ELSE 'changed' END AS change,
    a.records AS before, b.records AS after
  FROM _keyed(name, since) AS a FULL JOIN _keyed(name, until) AS b ON b.source = a.source AND b.key = a.key
  WHERE a.records IS DISTINCT FROM b.records;
"#;

const SEEN_MACROS: &str = r#"
-- When a resource was first and last seen, whatever retention has removed since. Example:
--   SELECT first_seen('Practitioner', 'p-1'), last_seen('Practitioner', 'p-1');
CREATE OR REPLACE MACRO first_seen(of_type, of_id) AS (
  SELECT min(s.first_seen) FROM "all"._seen AS s WHERE s.resource_type = of_type AND s.id = of_id);
CREATE OR REPLACE MACRO last_seen(of_type, of_id) AS (
  SELECT max(s.last_seen) FROM "all"._seen AS s WHERE s.resource_type = of_type AND s.id = of_id);
"#;

const COVERAGE: &str = r#"
-- Which types were complete, and when: the last crawl of each, and the last one that was whole. Example:
--   SELECT * FROM coverage WHERE status NOT IN ('complete', 'empty');
CREATE OR REPLACE VIEW coverage AS
  SELECT r.source, r.resource_type,
    arg_max(r.status, r.run) AS status, arg_max(r.ended_by, r.run) AS ended_by,
    arg_max(r.unique_ids, r.run) AS unique_ids, arg_max(r.server_total, r.run) AS server_total,
    arg_max(r.coverage, r.run) AS coverage, max(r.run) AS last_run, max(u.started_at) AS last_started_at,
    max(r.run) FILTER (WHERE r.status IN ('complete', 'empty')) AS last_complete_run,
    max(u.started_at) FILTER (WHERE r.status IN ('complete', 'empty')) AS last_complete_at
  FROM "all"._resources AS r LEFT JOIN "all"._runs AS u ON u.source = r.source AND u.run = r.run
  GROUP BY r.source, r.resource_type;
"#;

/// Renders the catalogue as DuckDB SQL. Every file is named, so that a reader sees one set of snapshots, whole; running
/// it again replaces the views.
#[must_use]
pub fn render(catalog: &Catalog) -> String {
    let in_a_store = if catalog.root.as_str().contains("://") { IN_A_STORE } else { "" };
    let encrypted = if catalog.encrypted { ENCRYPTED } else { "" };
    let mut sql = format!("{in_a_store}{encrypted}{HEAD}");
    let macros = catalog.templates.iter().filter(|one| one.kind == Kind::Macros);
    macros.for_each(|one| line(&mut sql, format_args!("\n{}{};", one.about, one.body)));
    let current: Vec<&Snapshot> = catalog.snapshots.iter().filter(|one| one.current && is_table(&one.table)).collect();
    let mut sources: BTreeMap<&str, Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in &current {
        sources.entry(&snapshot.source).or_default().push(snapshot);
    }
    snapshots(&mut sql, catalog);
    // Name of a view in "all", and the sources that have it.
    let mut everywhere: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (source, tables) in &sources {
        line(&mut sql, format_args!("\nCREATE SCHEMA IF NOT EXISTS {};", name(&schema(source))));
        for table in tables {
            everywhere.entry(&table.table).or_default().push(source);
            self::table(&mut sql, catalog, table, tables);
        }
        for template in catalog.templates.iter().filter(|one| one.kind == Kind::View && one.fits(tables)) {
            everywhere.entry(&template.name).or_default().push(source);
            derived(&mut sql, catalog, template, source, tables);
        }
    }
    line(&mut sql, format_args!(""));
    for (view, of) in &everywhere {
        let parts: Vec<String> = of
            .iter()
            .map(|source| format!("SELECT {} FROM {}", columns_of(view, source, &current), qualified(source, view)))
            .collect();
        let all = parts.join(" UNION ALL BY NAME ");
        line(&mut sql, format_args!("CREATE OR REPLACE VIEW \"all\".{} AS {all};", name(view)));
    }
    of_runs(&mut sql, catalog, everywhere.contains_key("coverage"));
    history(&mut sql, catalog);
    for template in catalog.templates.iter().filter(|one| one.kind == Kind::Macro) {
        if template.needs.iter().all(|need| everywhere.contains_key(need.table.as_str())) {
            let body = template.body.replace("{source}", "\"all\"");
            let (about, name) = (&template.about, &template.name);
            line(&mut sql, format_args!("\n{about}CREATE OR REPLACE MACRO {name} AS TABLE\n{body};"));
        }
    }
    sql
}

/// What `"all".<view>` takes of a source: a table's rows tell their source themselves, those of other views are told.
fn columns_of(view: &str, source: &str, current: &[&Snapshot]) -> String {
    if current.iter().any(|one| one.table == view) {
        "*".to_owned()
    } else {
        format!("{} AS source, *", literal(source))
    }
}

/// The schema of a source: its name with everything but letters and digits as `_`.
#[must_use]
pub fn schema(source: &str) -> String {
    source.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// Whether it is a table of a view, and none of those that tell of the lake itself.
#[must_use]
pub fn is_table(table: &str) -> bool {
    ![RUNS, RESOURCES, CHANGES, SEEN].contains(&table)
}

/// The view on the current snapshot of a table.
fn table(sql: &mut String, catalog: &Catalog, table: &Snapshot, of_source: &[&Snapshot]) {
    let full = qualified(&table.source, &table.table);
    let template = catalog.templates.iter().find(|one| one.kind == Kind::Table && one.name == table.table);
    if let Some(template) = template.filter(|one| one.fits(of_source)) {
        let body =
            template.instantiate(&name(&schema(&table.source)), of_source, |one, past| files(catalog, one, past));
        line(sql, format_args!("{}CREATE OR REPLACE VIEW {full} AS\n{body};", template.about));
    } else {
        line(sql, format_args!("CREATE OR REPLACE VIEW {full} AS SELECT * FROM {};", read(catalog, &table.files)));
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

/// A view over the tables of a source.
fn derived(sql: &mut String, catalog: &Catalog, template: &Template, source: &str, tables: &[&Snapshot]) {
    let full = qualified(source, &template.name);
    let body = template.instantiate(&name(&schema(source)), tables, |one, past| files(catalog, one, past));
    line(sql, format_args!("{}CREATE OR REPLACE VIEW {full} AS\n{body};", template.about));
    line(sql, format_args!("COMMENT ON VIEW {full} IS {};", literal(&template.summary())));
}

/// What was crawled, and what changed.
fn of_runs(sql: &mut String, catalog: &Catalog, coverage_is_a_table: bool) {
    let files = |table: &str, only_current: bool| -> Vec<String> {
        let of = catalog.snapshots.iter().filter(|one| one.table == table && (one.current || !only_current));
        of.flat_map(|one| one.files.clone()).collect()
    };
    for (table, excluded) in [(RUNS, " EXCLUDE (snapshot)"), (RESOURCES, " EXCLUDE (snapshot)"), (CHANGES, "")] {
        let files = files(table, false);
        if !files.is_empty() {
            let all = format!("SELECT *{excluded} FROM {}", read_all(catalog, &files));
            line(sql, format_args!("CREATE OR REPLACE VIEW \"all\".{table} AS {all};"));
        }
    }
    let seen = files(SEEN, true);
    if !seen.is_empty() {
        let time = |column: &str| format!("strptime(left({column}, 16), '%Y%m%dT%H%M%SZ') AT TIME ZONE 'UTC'");
        let (first, last) = (time("first_run"), time("last_run"));
        line(
            sql,
            format_args!(
                "CREATE OR REPLACE VIEW \"all\".{SEEN} AS SELECT source, resource_type, id, {first} AS first_seen,\n  \
                 {last} AS last_seen, first_run, last_run, content_hash, content_hash IS NULL AS absent\n  FROM {};",
                read(catalog, &seen)
            ),
        );
        sql.push_str(SEEN_MACROS);
    }
    let sources: BTreeSet<&str> = catalog.snapshots.iter().map(|one| one.source.as_str()).collect();
    for source in sources {
        for table in [RUNS, RESOURCES, CHANGES, SEEN] {
            if catalog.snapshots.iter().any(|one| one.source == source && one.table == table) {
                let (full, own) = (qualified(source, table), literal(source));
                line(sql, format_args!("CREATE SCHEMA IF NOT EXISTS {};", name(&schema(source))));
                let rows = format!("SELECT * FROM \"all\".{table} WHERE source = {own}");
                line(sql, format_args!("CREATE OR REPLACE VIEW {full} AS {rows};"));
            }
        }
    }
    if !files(RUNS, false).is_empty() && !files(RESOURCES, false).is_empty() {
        sql.push_str(COVERAGE);
        if !coverage_is_a_table {
            line(sql, format_args!("CREATE OR REPLACE VIEW \"all\".coverage AS FROM main.coverage;"));
        }
    }
}

/// The list of every kept snapshot.
fn snapshots(sql: &mut String, catalog: &Catalog) {
    let kept: Vec<&Snapshot> = catalog.snapshots.iter().filter(|one| is_table(&one.table)).collect();
    if kept.is_empty() {
        return;
    }
    let rows: Vec<String> = kept
        .iter()
        .map(|one| {
            let texts = [&one.source, &one.table, &one.snapshot, &one.run, &one.view_hash].map(|text| literal(text));
            format!("  ({}, {}, {})", texts.join(", "), one.rows, one.current)
        })
        .collect();
    line(
        sql,
        format_args!(
            "\n-- Every snapshot that is kept, with the run whose archive it was made from.\n\
             CREATE OR REPLACE VIEW \"all\"._snapshots AS SELECT * FROM (VALUES\n{}\n) AS \
             kept(source, table_name, snapshot, run, view_hash, row_count, is_current);",
            rows.join(",\n")
        ),
    );
}

/// The macros that look into kept snapshots.
fn history(sql: &mut String, catalog: &Catalog) {
    let kept: Vec<&Snapshot> = catalog.snapshots.iter().filter(|one| is_table(&one.table)).collect();
    if kept.is_empty() {
        return;
    }
    let mut by_table: BTreeMap<&str, BTreeMap<&str, Vec<&Snapshot>>> = BTreeMap::new();
    for one in &kept {
        by_table.entry(&one.table).or_default().entry(&one.source).or_default().push(one);
    }
    sql.push_str(
        "\n-- The SQL that reads every kept snapshot of a table; no file is opened before it is asked for.\n\
         CREATE OR REPLACE MACRO _history(name) AS CASE\n",
    );
    for (table, sources) in &by_table {
        let texts = sources.iter().filter_map(|(source, of)| Some((*source, read_history(catalog, of)?)));
        let texts: BTreeMap<&str, String> = texts.collect();
        for (source, text) in &texts {
            let own = literal(&format!("{}.{table}", schema(source)));
            line(sql, format_args!("  WHEN name = {own} THEN {}", literal(text)));
        }
        let names = format!("{}, {}", literal(table), literal(&format!("all.{table}")));
        let all = texts.into_values().collect::<Vec<_>>().join(" UNION ALL BY NAME ");
        line(sql, format_args!("  WHEN name IN ({names}) THEN {}", literal(&all)));
    }
    line(sql, format_args!("  ELSE error('there is no table ' || name || ' in this lake') END;"));
    sql.push_str(HISTORY);
}

fn read_history(catalog: &Catalog, snapshots: &[&Snapshot]) -> Option<String> {
    let key = &snapshots.iter().find(|one| one.current).or(snapshots.last())?.columns.first()?.name;
    let files: Vec<String> = snapshots.iter().flat_map(|one| one.files.clone()).collect();
    let stamped = snapshots.iter().any(|one| one.columns.iter().any(|column| column.name == STAMP));
    let columns = if stamped { "* /* stamped */" } else { "*" };
    Some(format!("SELECT {} AS _key, {columns} FROM {}", name(key), read_all(catalog, &files)))
}

/// Reads the files of a snapshot, or of all kept snapshots of its table.
fn files(catalog: &Catalog, table: &Snapshot, past: bool) -> String {
    if !past {
        return read(catalog, &table.files);
    }
    let kept = catalog.snapshots.iter().filter(|one| one.source == table.source && one.table == table.table);
    read_all(catalog, &kept.flat_map(|one| one.files.clone()).collect::<Vec<_>>())
}

/// Reads files of one shape.
fn read(catalog: &Catalog, files: &[String]) -> String {
    if catalog.encrypted {
        return decrypted(catalog, files);
    }
    format!("read_parquet([{}], {HIVE})", list(catalog, files))
}

/// Reads files whose columns may have changed over time.
fn read_all(catalog: &Catalog, files: &[String]) -> String {
    if catalog.encrypted {
        return decrypted(catalog, files);
    }
    format!("read_parquet([{}], union_by_name = true, {HIVE})", list(catalog, files))
}

/// Reads encrypted files of any shapes. DuckDB fails on filters that reach their columns, and so on joins and on
/// `ORDER BY … LIMIT`: none passes a window over all rows. DuckDB 1.5 fails on `union_by_name` too: each is read by itself.
fn decrypted(catalog: &Catalog, files: &[String]) -> String {
    let key = literal(KEY_NAME);
    let read = |file: &String| {
        let path = literal(catalog.root.join(file).as_str());
        format!("SELECT * FROM read_parquet([{path}], {HIVE}, encryption_config = {{footer_key: {key}}})")
    };
    let all = files.iter().map(read).collect::<Vec<_>>().join(" UNION ALL BY NAME ");
    format!("(SELECT * FROM ({all}) QUALIFY row_number() OVER () > 0)")
}

fn list(catalog: &Catalog, files: &[String]) -> String {
    let files: Vec<String> = files.iter().map(|file| literal(catalog.root.join(file).as_str())).collect();
    files.join(", ")
}

fn qualified(source: &str, view: &str) -> String {
    format!("{}.{}", name(&schema(source)), name(view))
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
        let snapshot = Snapshot {
            source: "Acme-1".into(),
            table: "location".into(),
            snapshot: "r1".into(),
            run: "r1".into(),
            rows: 3,
            view_hash: "h".into(),
            current: true,
            description: Some("one row a Location; it's all".into()),
            columns: vec![Column { name: "id".into(), description: None }],
            files: vec!["tables/location/part-00000.parquet".into()],
        };
        let sql = render(&Catalog { root: "/it's/lake".into(), snapshots: vec![snapshot], ..Catalog::default() });
        for text in [
            "CREATE SCHEMA IF NOT EXISTS \"acme_1\";",
            "['/it''s/lake/tables/location/part-00000.parquet']",
            "COMMENT ON VIEW \"acme_1\".\"location\" IS 'one row a Location; it''s all';",
            "CREATE OR REPLACE VIEW \"all\".\"location\"",
            "WHEN name = 'acme_1.location' THEN 'SELECT \"id\" AS _key, * FROM read_parquet([''/it''''s/",
            "  ('Acme-1', 'location', 'r1', 'r1', 'h', 3, true)",
        ] {
            assert!(sql.contains(text), "{text}: {sql}");
        }
    }
}
