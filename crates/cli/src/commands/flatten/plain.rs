//! Columns as formats of text can hold them: bytes as base64, as FHIR has them, and where a cell is one text, lists as JSON.

use std::{fmt::Write, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, ListArray, StringArray, cast::AsArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
    record_batch::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use base64::{Engine, engine::general_purpose::STANDARD};

/// How columns are written.
#[derive(Debug, Clone)]
pub(super) struct Plain {
    /// Of what is written.
    pub(super) schema: SchemaRef,
    /// Whether a list is one text.
    lists: bool,
}

impl Plain {
    pub(super) fn new(schema: &SchemaRef, lists: bool) -> Self {
        let fields = schema.fields().iter().map(|field| {
            let data_type = match field.data_type() {
                DataType::Binary => DataType::Utf8,
                DataType::List(_) if lists => DataType::Utf8,
                DataType::List(inner) if *inner.data_type() == DataType::Binary => {
                    DataType::List(Arc::new(inner.as_ref().clone().with_data_type(DataType::Utf8)))
                }
                other => other.clone(),
            };
            Field::clone(field).with_data_type(data_type)
        });
        Self { schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())), lists }
    }

    /// The rows as they are written.
    pub(super) fn batch(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = batch.columns().iter().map(|column| self.column(column)).collect::<Result<_, _>>()?;
        RecordBatch::try_new(self.schema.clone(), columns)
    }

    fn column(&self, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match column.data_type() {
            DataType::Binary => Ok(Arc::new(base64(column))),
            DataType::List(inner) => {
                let list = column.as_list::<i32>();
                let binary = *inner.data_type() == DataType::Binary;
                let values = if binary { Arc::new(base64(list.values())) } else { list.values().clone() };
                if self.lists {
                    return Ok(Arc::new(json(list, &values)?));
                }
                let field = Arc::new(inner.as_ref().clone().with_data_type(values.data_type().clone()));
                let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
                Ok(Arc::new(ListArray::try_new(field, offsets, values, nulls)?))
            }
            _ => Ok(column.clone()),
        }
    }
}

fn base64(column: &ArrayRef) -> StringArray {
    column.as_binary::<i32>().iter().map(|bytes| bytes.map(|bytes| STANDARD.encode(bytes))).collect()
}

/// Each list as JSON: texts, dates and times in quotes, numbers and booleans without.
fn json(list: &ListArray, values: &ArrayRef) -> Result<StringArray, ArrowError> {
    let bare = values.data_type().is_numeric() || *values.data_type() == DataType::Boolean;
    let shown = ArrayFormatter::try_new(values.as_ref(), &FormatOptions::default().with_display_error(false))?;
    let one = |place: usize| match (values.is_null(place), bare) {
        (true, _) => "null".to_owned(),
        (false, true) => shown.value(place).to_string(),
        (false, false) => serde_json::Value::String(shown.value(place).to_string()).to_string(),
    };
    let rows = (0..list.len()).map(|row| {
        let offsets = list.value_offsets();
        let places = usize::try_from(offsets[row]).unwrap_or(0)..usize::try_from(offsets[row + 1]).unwrap_or(0);
        let mut text = String::from("[");
        for (number, place) in places.enumerate() {
            let comma = if number == 0 { "" } else { "," };
            // Writing to a string does not fail.
            let _ = write!(text, "{comma}{}", one(place));
        }
        text.push(']');
        (!list.is_null(row)).then_some(text)
    });
    Ok(rows.collect())
}
