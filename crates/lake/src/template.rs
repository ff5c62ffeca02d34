//! SQL over tables, kept in files of its own, that `views.sql` takes in where its tables are there. The lake knows where
//! the tables are; what they mean is the files' business.
//!
//! ```text
//! -- view: pharmacy                                    or  table: NAME  |  macro: NAME(a, b)  |  macros: NAME
//! -- needs: location(id, name), role_location(location_id)
//! -- optional: telecom(owner_id, value)
//! -- What it is, in one sentence. Example:
//! --   SELECT * FROM acme.pharmacy;
//! SELECT … FROM {source}.location AS l …
//! ```
//! `{files.location}` reads the table's files themselves, `{history.location}` those of all its kept snapshots;
//! `{source_name}` is the source's name as a text.

use crate::views_sql::Snapshot;

/// What a template makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A view for each source that has what it needs, and one across them.
    View,
    /// A table's own view, in place of one that shows its files as they are.
    Table,
    /// A table macro over the views across sources.
    Macro,
    /// Statements that need no tables.
    Macros,
}

/// A table and some of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The table.
    pub table: String,
    /// The columns.
    pub columns: Vec<String>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What it makes.
    pub kind: Kind,
    /// The name of the view, or the name and parameters of the macro.
    pub name: String,
    /// Without these it is left out.
    pub needs: Vec<Need>,
    /// Without these there are no such rows.
    pub optional: Vec<Need>,
    /// The comment, as SQL.
    pub about: String,
    /// The SQL.
    pub body: String,
}

impl Template {
    /// Reads a file; nothing where it does not begin with its kind and name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (first, mut body) = text.split_once('\n')?;
        let (kind, name) = first.strip_prefix("-- ")?.split_once(": ")?;
        let kind = match kind {
            "view" => Kind::View,
            "table" => Kind::Table,
            "macro" => Kind::Macro,
            "macros" => Kind::Macros,
            _ => return None,
        };
        let (mut required, mut optional, mut about) = (Vec::new(), Vec::new(), String::new());
        while let Some((line, rest)) = body.split_once('\n').filter(|(line, _)| line.starts_with("--")) {
            if let Some(list) = line.strip_prefix("-- needs: ") {
                required.extend(needs(list));
            } else if let Some(list) = line.strip_prefix("-- optional: ") {
                optional.extend(needs(list));
            } else {
                about.push_str(line);
                about.push('\n');
            }
            body = rest;
        }
        let body = body.trim_end().trim_end_matches(';').to_owned();
        Some(Self { kind, name: name.trim().to_owned(), needs: required, optional, about, body })
    }

    /// The comment without its examples.
    #[must_use]
    pub fn summary(&self) -> String {
        let lines: Vec<&str> = self.about.lines().map(|line| line.trim_start_matches("--").trim()).collect();
        let text = lines.join(" ");
        text.split(" Example").next().unwrap_or_default().trim().to_owned()
    }

    /// Whether a source has every table and column that it needs.
    #[must_use]
    pub fn fits(&self, tables: &[&Snapshot]) -> bool {
        self.needs.iter().all(|need| need.found(tables).is_some())
    }

    /// The SQL for one source; `read` reads a table's files, those of all its kept snapshots if it is told to.
    pub(crate) fn instantiate(
        &self,
        schema: &str,
        tables: &[&Snapshot],
        read: impl Fn(&Snapshot, bool) -> String,
    ) -> String {
        let mut body = self.body.clone();
        for need in &self.needs {
            if let Some(table) = need.found(tables) {
                for (word, past) in [("files", false), ("history", true)] {
                    let place = format!("{{{word}.{}}}", need.table);
                    if body.contains(&place) {
                        body = body.replace(&place, &read(table, past));
                    }
                }
            }
        }
        for need in self.optional.iter().filter(|need| need.found(tables).is_none()) {
            let columns = need.columns.iter().map(|column| format!("CAST(NULL AS VARCHAR) AS {column}"));
            let nothing = format!("(SELECT {} WHERE false) ", columns.collect::<Vec<_>>().join(", "));
            body = body.replace(&format!("{{source}}.{} ", need.table), &nothing);
        }
        let source = tables.first().map_or("", |table| table.source.as_str()).replace('\'', "''");
        body.replace("{source_name}", &format!("'{source}'")).replace("{source}", schema)
    }
}

impl Need {
    fn found<'a>(&self, tables: &[&'a Snapshot]) -> Option<&'a Snapshot> {
        let has = |table: &Snapshot, name: &String| table.columns.iter().any(|column| column.name == *name);
        let table = tables.iter().find(|table| table.table == self.table)?;
        self.columns.iter().all(|name| has(table, name)).then_some(*table)
    }
}

/// `location(id, name), role_location(location_id)`
fn needs(list: &str) -> Vec<Need> {
    let parts = list.split(')').map(|part| part.trim().trim_start_matches(',').trim()).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (table, columns) = part.split_once('(').unwrap_or((part, ""));
            let columns = columns.split(',').map(|column| column.trim().to_owned()).filter(|column| !column.is_empty());
            Need { table: table.trim().to_owned(), columns: columns.collect() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views_sql::Column;

    const TEXT: &str = "-- view: v
-- needs: a(id, x), b(id)
-- optional: c(z)
-- What it is. Example:
--   FROM v;
SELECT a.id, c.z FROM {source}.a AS a JOIN {files.b} AS b USING (id) LEFT JOIN {source}.c AS c ON true;
";

    fn table(name: &str, columns: &[&str]) -> Snapshot {
        let columns = columns.iter().map(|name| Column { name: (*name).into(), description: None }).collect();
        Snapshot {
            source: "s".into(),
            table: name.into(),
            snapshot: "r".into(),
            run: "r".into(),
            rows: 0,
            view_hash: String::new(),
            current: true,
            description: None,
            columns,
            files: vec![format!("{name}.parquet")],
        }
    }

    #[test]
    fn a_template_is_taken_where_its_tables_and_columns_are() {
        let template = Template::parse(TEXT).unwrap();
        assert_eq!((template.kind, template.summary().as_str()), (Kind::View, "What it is."));
        let (a, b, c) = (table("a", &["id", "x"]), table("b", &["id"]), table("c", &["z"]));
        assert!(template.fits(&[&a, &b]) && !template.fits(&[&a]) && !template.fits(&[&table("a", &["id"]), &b]));
        let body =
            |tables: &[&Snapshot]| template.instantiate("s", tables, |table, _| format!("read({})", table.files[0]));
        let expected = "SELECT a.id, c.z FROM s.a AS a JOIN read(b.parquet) AS b USING (id) LEFT JOIN ";
        assert_eq!(body(&[&a, &b, &c]), format!("{expected}s.c AS c ON true"));
        let nothing = "(SELECT CAST(NULL AS VARCHAR) AS z WHERE false) AS c ON true";
        assert_eq!(body(&[&a, &b]), format!("{expected}{nothing}"));
        assert_eq!(Template::parse("SELECT 1"), None);
    }
}
