//! The official tests of SQL on FHIR: one file of resources, views and the rows that they have to give. No input or
//! output here: the caller reads the file and writes the report.

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Int32Type, Int64Type},
    util::display::array_value_to_string,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use crate::{Plan, diagnostics::value_at, number::Decimal, parse_view};

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// The file's title.
    pub title: String,
    /// Its tests, in order.
    pub tests: Vec<TestReport>,
}

/// What became of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestReport {
    /// Its title.
    pub name: String,
    /// Why it failed; absent where it passed.
    pub failure: Option<String>,
}

impl FileReport {
    /// The file's part of the report that the registry of implementations takes:
    /// `{"tests": [{"name": …, "result": {"passed": …}}]}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let tests = self.tests.iter().map(|test| {
            let mut result = Map::from_iter([("passed".to_owned(), Value::Bool(test.failure.is_none()))]);
            result.extend(test.failure.iter().map(|reason| ("reason".to_owned(), Value::from(reason.as_str()))));
            serde_json::json!({ "name": test.name, "result": result })
        });
        serde_json::json!({ "tests": tests.collect::<Vec<_>>() })
    }
}

/// Runs the tests of one file.
///
/// # Errors
/// The text is no JSON. A file that lacks what a test needs fails that test.
pub fn run_file(text: &str) -> Result<FileReport, serde_json::Error> {
    let file: Value = serde_json::from_str(text)?;
    let list = |key: &str| file.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // As they are written: 1.50 is not 1.5 where the precision counts.
    let written = |pointer: String| value_at(text, &pointer).unwrap_or("null").to_owned();
    let resources: Vec<String> =
        (0..list("resources").len()).map(|place| written(format!("/resources/{place}"))).collect();
    let title = |value: &Value| value.get("title").and_then(Value::as_str).unwrap_or_default().to_owned();
    let tests = list("tests")
        .iter()
        .enumerate()
        .map(|(place, test)| {
            let view = test.get("view").map(|_| written(format!("/tests/{place}/view")));
            TestReport { name: title(test), failure: run_test(test, view.as_deref(), &resources).err() }
        })
        .collect();
    Ok(FileReport { title: title(&file), tests })
}

fn run_test(test: &Value, view: Option<&str>, resources: &[String]) -> Result<(), String> {
    let result = flatten(view.ok_or("the test has no view")?, resources);
    if test.get("expectError").and_then(Value::as_bool) == Some(true) {
        return result.err().map(|_| ()).ok_or_else(|| "an error was expected".into());
    }
    let (columns, rows) = result?;
    if let Some(expected) = test.get("expectColumns") {
        let found = Value::from(columns);
        if found != *expected {
            return Err(format!("the columns are {found}, expected {expected}"));
        }
    }
    let count = test.get("expectCount").and_then(Value::as_u64);
    if let Some(count) = count.filter(|count| *count != rows.len() as u64) {
        return Err(format!("{} rows, expected {count}", rows.len()));
    }
    match test.get("expect").and_then(Value::as_array) {
        Some(expected) => same_rows(rows, expected),
        None if test.get("expectCount").is_some() || test.get("expectColumns").is_some() => Ok(()),
        None => Err("the test expects nothing".into()),
    }
}

/// The same rows in any order.
fn same_rows(mut rows: Vec<Value>, expected: &[Value]) -> Result<(), String> {
    for wanted in expected {
        let wanted = plain(wanted.clone());
        let Some(place) = rows.iter().position(|row| *row == wanted) else {
            return Err(format!("the row {wanted} is missing among {}", Value::from(rows)));
        };
        rows.swap_remove(place);
    }
    if rows.is_empty() { Ok(()) } else { Err(format!("these rows are too many: {}", Value::from(rows))) }
}

/// 5.0 and 5 are one number, but not one JSON value: the second stands for both.
fn plain(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(plain).collect(),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(name, value)| (name, plain(value))).collect()),
        Value::Number(number) => {
            let whole = Decimal::parse(&number.to_string()).and_then(Decimal::to_i64);
            whole.map_or(Value::Number(number), Value::from)
        }
        other => other,
    }
}

fn flatten(view: &str, resources: &[String]) -> Result<(Vec<String>, Vec<Value>), String> {
    let view = parse_view(view, "view").map_err(|wrong| wrong.to_string())?;
    let plan = Plan::compile(std::slice::from_ref(&view)).map_err(|wrong| wrong.to_string())?;
    let mut flattener = plan.flattener();
    for resource in resources {
        flattener.push(resource).map_err(|error| error.to_string())?;
        if let Some(failure) = flattener.take_failures().pop() {
            return Err(failure.message);
        }
    }
    let fields = plan.tables().first().map(|table| table.schema.fields().clone()).unwrap_or_default();
    let columns = fields.iter().map(|field| field.name().clone()).collect();
    let mut rows = Vec::new();
    for batch in flattener.flush().map_err(|error| error.to_string())?.into_iter().flatten() {
        for row in 0..batch.num_rows() {
            rows.push(row_of(&batch, row)?);
        }
    }
    Ok((columns, rows))
}

fn row_of(batch: &RecordBatch, row: usize) -> Result<Value, String> {
    let schema = batch.schema();
    let cells = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        // Columns of decimals are text here, as SQL on FHIR has them by default; the tests write them as numbers.
        let decimal = field.metadata().get("fhir_type").is_some_and(|name| name == "decimal");
        let value = value_of(column.as_ref(), row, decimal)?;
        Ok::<_, String>((field.name().clone(), value))
    });
    Ok(Value::Object(cells.collect::<Result<_, _>>()?))
}

fn value_of(column: &dyn Array, row: usize, decimal: bool) -> Result<Value, String> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match column.data_type() {
        DataType::Boolean => Value::from(column.as_boolean().value(row)),
        DataType::Int32 => Value::from(column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => Value::from(column.as_primitive::<Int64Type>().value(row)),
        DataType::Binary => Value::from(STANDARD.encode(column.as_binary::<i32>().value(row))),
        DataType::List(_) => {
            let list = column.as_list::<i32>().value(row);
            let values = (0..list.len()).map(|place| value_of(list.as_ref(), place, decimal));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        _ => {
            let text = array_value_to_string(column, row).map_err(|error| error.to_string())?;
            let number = Decimal::parse(&text).filter(|_| decimal);
            match number.map(|number| number.to_i64().map_or_else(|| number.to_string(), |whole| whole.to_string())) {
                Some(digits) => serde_json::from_str(&digits).map_err(|error| error.to_string())?,
                None => Value::from(text),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_rows_pass_and_wrong_ones_are_told() {
        let file = r#"{"title": "t", "resources": [{"resourceType": "Patient", "id": "1"}], "tests": [
            {"title": "right", "view": {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id"}]}]}, "expect": [{"id": "1"}]},
            {"title": "wrong", "view": {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id"}]}]}, "expect": [{"id": "2"}]},
            {"title": "more", "view": {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id"}]}]}, "expect": []},
            {"title": "error", "view": {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id"}]}]}, "expectError": true},
            {"title": "nothing", "view": {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id"}]}]}}]}"#;
        let report = run_file(file).unwrap();
        let passed: Vec<bool> = report.tests.iter().map(|test| test.failure.is_none()).collect();
        assert_eq!(passed, [true, false, false, false, false]);
        assert_eq!(report.to_json()["tests"][0]["result"]["passed"], true);
    }

    #[test]
    fn digits_are_those_that_the_file_has() {
        let view = |path: &str| {
            format!(
                r#"{{"resource": "Observation", "select": [{{"column": [{{"name": "v", "path": "{path}", "type": "decimal"}}]}}], "constant": [{{"name": "c", "valueDecimal": 2.50}}]}}"#
            )
        };
        let test = |path: &str, expected: &str| {
            format!(r#"{{"title": "{path}", "view": {}, "expect": [{{"v": {expected}}}]}}"#, view(path))
        };
        let value = "value.ofType(Quantity).value";
        let tests = [
            test(value, "1.5"),
            test(&format!("{value}.lowBoundary()"), "1.495"),
            test("%c.highBoundary()", "2.505"),
            test(&format!("{value} * 2"), "3.0"),
            test(&format!("{value} * 4"), "6"),
        ];
        let resource = r#"{"resourceType": "Observation", "valueQuantity": {"value": 1.50}}"#;
        let file = format!(r#"{{"title": "t", "resources": [{resource}], "tests": [{}]}}"#, tests.join(","));
        for test in run_file(&file).unwrap().tests {
            assert_eq!(test.failure, None, "{}", test.name);
        }
    }
}
