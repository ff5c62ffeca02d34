//! A column's type, by FHIR type and SQL tag, and its typed Arrow builder.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
        Float64Builder, Int32Builder, Int64Builder, ListArray, PrimitiveBuilder, Time64MicrosecondBuilder,
        TimestampMicrosecondBuilder,
    },
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, Field, TimeUnit},
    error::ArrowError,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use fhirvest_fhir::temporal;

use crate::{
    arena::Value,
    cells::Filling,
    evaluate::{Evaluator, Item},
    number::Decimal,
    texts::Texts,
};

/// The type of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Text,
    Boolean,
    Int32,
    Int64,
    Float64,
    Date,
    Timestamp {
        zoned: bool,
    },
    Time,
    Decimal {
        precision: u8,
        scale: i8,
    },
    /// Bytes, which are base64 in JSON.
    Binary,
}

impl Scalar {
    /// The type by the tag `ansi/type`, else by the FHIR type (SQL on FHIR v2, default types), else text.
    pub(crate) fn of(fhir_type: Option<&str>, ansi_type: Option<&str>) -> Result<Self, String> {
        let Some(ansi) = ansi_type else {
            return Ok(match fhir_type {
                Some("boolean") => Self::Boolean,
                Some("integer" | "positiveInt" | "unsignedInt") => Self::Int32,
                Some("integer64") => Self::Int64,
                Some("instant") => Self::Timestamp { zoned: true },
                Some("base64Binary") => Self::Binary,
                _ => Self::Text,
            });
        };
        let name = ansi.to_uppercase();
        let (name, arguments) = match name.split_once('(') {
            Some((name, rest)) => (name.trim().to_owned(), rest.trim_end_matches(')').to_owned()),
            None => (name.trim().to_owned(), String::new()),
        };
        Ok(match name.as_str() {
            "DATE" => Self::Date,
            "TIMESTAMP WITH TIME ZONE" => Self::Timestamp { zoned: true },
            "TIMESTAMP" => Self::Timestamp { zoned: false },
            "TIME" => Self::Time,
            "BOOLEAN" => Self::Boolean,
            "BINARY" | "VARBINARY" | "BINARY VARYING" | "BLOB" => Self::Binary,
            "INTEGER" | "INT" | "SMALLINT" => Self::Int32,
            "BIGINT" => Self::Int64,
            "DOUBLE PRECISION" | "DOUBLE" | "FLOAT" | "REAL" => Self::Float64,
            "VARCHAR" | "CHARACTER VARYING" | "CHAR" | "CHARACTER" | "TEXT" => Self::Text,
            "DECIMAL" | "NUMERIC" => {
                let (precision, scale) = arguments.split_once(',').unwrap_or((&arguments, "0"));
                let precision: u8 =
                    precision.trim().parse().map_err(|_| format!("{ansi} needs a precision: DECIMAL(18,6)"))?;
                let scale: i8 = scale.trim().parse().map_err(|_| format!("{ansi} needs a scale: DECIMAL(18,6)"))?;
                let fits = (1..=38).contains(&precision) && scale >= 0 && scale.unsigned_abs() <= precision;
                if !fits {
                    return Err(format!("{ansi}: the precision is 1 to 38, the scale 0 to the precision"));
                }
                Self::Decimal { precision, scale }
            }
            _ => return Err(format!("{ansi} is no SQL type that is known here")),
        })
    }

    pub(crate) fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Timestamp { zoned } => DataType::Timestamp(TimeUnit::Microsecond, zoned.then(|| "UTC".into())),
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
            Self::Binary => DataType::Binary,
        }
    }

    pub(crate) fn sql(self) -> String {
        match self {
            Self::Text => "VARCHAR".into(),
            Self::Boolean => "BOOLEAN".into(),
            Self::Int32 => "INTEGER".into(),
            Self::Int64 => "BIGINT".into(),
            Self::Float64 => "DOUBLE".into(),
            Self::Date => "DATE".into(),
            Self::Timestamp { zoned: true } => "TIMESTAMP WITH TIME ZONE".into(),
            Self::Timestamp { zoned: false } => "TIMESTAMP".into(),
            Self::Time => "TIME".into(),
            Self::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
            Self::Binary => "BLOB".into(),
        }
    }
}

/// A column being built.
pub(crate) struct Builder {
    values: Values,
    list: Option<Lists>,
    /// Whether an object may stand in it, as its JSON: only where the view does not say that it is a primitive.
    json: bool,
}

#[derive(Default)]
struct Lists {
    lengths: Vec<usize>,
}

enum Values {
    Text(Texts),
    Boolean(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder, bool),
    Time(Time64MicrosecondBuilder),
    Decimal(Decimal128Builder, u8, i8),
    Binary(BinaryBuilder),
}

impl Builder {
    /// A builder of values, or of lists of them; whether texts have numbers, which those of lists never have.
    pub(crate) fn new(scalar: Scalar, collection: bool, json: bool, dictionary: bool) -> Self {
        let values = match scalar {
            Scalar::Text => Values::Text(Texts::new(dictionary && !collection)),
            Scalar::Boolean => Values::Boolean(BooleanBuilder::new()),
            Scalar::Int32 => Values::Int32(Int32Builder::new()),
            Scalar::Int64 => Values::Int64(Int64Builder::new()),
            Scalar::Float64 => Values::Float64(Float64Builder::new()),
            Scalar::Date => Values::Date(Date32Builder::new()),
            Scalar::Timestamp { zoned } => {
                let builder = TimestampMicrosecondBuilder::new().with_data_type(scalar.arrow());
                Values::Timestamp(builder, zoned)
            }
            Scalar::Binary => Values::Binary(BinaryBuilder::new()),
            Scalar::Time => Values::Time(Time64MicrosecondBuilder::new()),
            Scalar::Decimal { precision, scale } => {
                Values::Decimal(Decimal128Builder::new().with_data_type(scalar.arrow()), precision, scale)
            }
        };
        Self { values, list: collection.then(Lists::default), json }
    }

    /// Adds rows, each cell as often as it is told; returns the number of rows whose values did not fit and became null.
    /// Places are among `items`.
    pub(crate) fn extend(
        &mut self,
        evaluator: &Evaluator<'_>,
        cells: impl Iterator<Item = (Filling, usize)>,
        items: &[Item<'_>],
    ) -> u64 {
        let json = self.json;
        let mut misfits = 0;
        let within = |start: u32, end: u32| items.get(start as usize..end as usize).unwrap_or_default();
        if let Some(lists) = &mut self.list {
            for (cell, rows) in cells {
                let one = alone(cell);
                let values = if let Filling::Items(start, end) = cell { within(start, end) } else { one.as_slice() };
                for _ in 0..rows {
                    misfits += u64::from(matches!(cell, Filling::Misfit));
                    lists.lengths.push(values.len());
                    let fits = |item: &Item<'_>| self.values.push(evaluator, Some(*item), json, 1);
                    misfits += values.iter().map(fits).map(|fits| u64::from(!fits)).sum::<u64>();
                }
            }
            return misfits;
        }
        let first = |cell| {
            if let Filling::Items(start, end) = cell { within(start, end).first().copied() } else { alone(cell) }
        };
        if let Values::Text(builder) = &mut self.values {
            return extend_texts(builder, evaluator, cells, first, json);
        }
        // Rows without a value that are not added yet.
        let mut nulls = 0;
        cells.for_each(|(cell, rows)| {
            if let Filling::Nothing = cell {
                nulls += rows;
                return;
            }
            if nulls > 0 {
                self.values.nulls(std::mem::take(&mut nulls));
            }
            let fits = match (cell, &mut self.values) {
                (Filling::RowIndex(place), Values::Int32(builder)) if rows == 1 && i32::try_from(place).is_ok() => {
                    builder.append_value(place.cast_signed());
                    true
                }
                (Filling::Misfit, values) => {
                    values.nulls(rows);
                    false
                }
                (Filling::Number(piece), values) => match Decimal::parse(evaluator.arena.text(piece)) {
                    Some(number) => values.push(evaluator, Some(Item::Number(number)), json, rows),
                    None => {
                        values.nulls(rows);
                        false
                    }
                },
                (cell, values) => values.push(evaluator, first(cell), json, rows),
            };
            misfits += if fits { 0 } else { rows as u64 };
        });
        self.values.nulls(nulls);
        misfits
    }

    /// Adds rows that have one text, where the column is one of texts.
    pub(crate) fn text(&mut self, text: &str, rows: usize) {
        if let (Values::Text(builder), None) = (&mut self.values, &self.list) {
            builder.append(text, rows);
        }
    }

    /// Adds rows without a value.
    pub(crate) fn nothing(&mut self, rows: usize) {
        match &mut self.list {
            Some(lists) => lists.lengths.resize(lists.lengths.len() + rows, 0),
            None => self.values.nulls(rows),
        }
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let values = self.values.finish()?;
        let Some(lists) = &mut self.list else { return Ok(values) };
        let offsets = OffsetBuffer::from_lengths(std::mem::take(&mut lists.lengths));
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        Ok(Arc::new(ListArray::try_new(field, offsets, values, None::<NullBuffer>)?))
    }
}

impl Values {
    /// Adds a value some times; `false` where it did not fit and became null.
    fn push(&mut self, evaluator: &Evaluator<'_>, item: Option<Item<'_>>, json: bool, times: usize) -> bool {
        let Some(item) = item else {
            self.nulls(times);
            return true;
        };
        let fits = match self {
            Self::Text(builder) => text(evaluator, item, json, |text| builder.append(text, times)).is_some(),
            Self::Boolean(builder) => evaluator.boolean(item).map(|value| builder.append_n(times, value)).is_some(),
            Self::Int32(builder) => {
                let number = evaluator.number(item).and_then(|number| i32::try_from(number.to_i64()?).ok());
                number.map(|number| builder.append_value_n(number, times)).is_some()
            }
            Self::Int64(builder) => {
                let number = evaluator.number(item).and_then(|number| number.to_i64());
                number.map(|number| builder.append_value_n(number, times)).is_some()
            }
            Self::Float64(builder) => {
                let number = evaluator.number(item).and_then(|number| number.to_string().parse().ok());
                number.map(|number| builder.append_value_n(number, times)).is_some()
            }
            Self::Date(builder) => {
                let days = evaluator.with_text(item, temporal::days).flatten();
                days.map(|days| builder.append_value_n(days, times)).is_some()
            }
            Self::Timestamp(builder, zoned) => {
                let micros = evaluator
                    .with_text(item, |text| if *zoned { temporal::micros(text) } else { temporal::local_micros(text) });
                micros.flatten().map(|micros| builder.append_value_n(micros, times)).is_some()
            }
            Self::Time(builder) => {
                let micros = evaluator.with_text(item, temporal::time_micros).flatten();
                micros.map(|micros| builder.append_value_n(micros, times)).is_some()
            }
            Self::Binary(builder) => {
                let bytes = evaluator.with_text(item, bytes).flatten();
                bytes.map(|bytes| builder.append_value_n(bytes, times)).is_some()
            }
            Self::Decimal(builder, precision, scale) => {
                let (precision, scale) = (u32::from(*precision), u32::from(scale.unsigned_abs()));
                let digits = evaluator.number(item).and_then(|number| number.at_scale(scale, precision));
                digits.map(|digits| builder.append_value_n(digits, times)).is_some()
            }
        };
        if !fits {
            self.nulls(times);
        }
        fits
    }

    fn nulls(&mut self, count: usize) {
        match self {
            Self::Text(builder) => builder.append_nulls(count),
            Self::Boolean(builder) => builder.append_nulls(count),
            Self::Int32(builder) => builder.append_nulls(count),
            Self::Int64(builder) => builder.append_nulls(count),
            Self::Float64(builder) => builder.append_nulls(count),
            Self::Date(builder) => builder.append_nulls(count),
            Self::Timestamp(builder, _) => builder.append_nulls(count),
            Self::Time(builder) => builder.append_nulls(count),
            Self::Decimal(builder, _, _) => builder.append_nulls(count),
            Self::Binary(builder) => builder.append_nulls(count),
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Text(builder) => builder.finish()?,
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => finish(builder),
            Self::Int64(builder) => finish(builder),
            Self::Float64(builder) => finish(builder),
            Self::Date(builder) => finish(builder),
            Self::Timestamp(builder, _) => finish(builder),
            Self::Time(builder) => finish(builder),
            Self::Decimal(builder, _, _) => finish(builder),
            Self::Binary(builder) => Arc::new(builder.finish()),
        })
    }
}

/// The array of a builder, which is empty then, with room for about as much.
fn finish<T: ArrowPrimitiveType>(builder: &mut PrimitiveBuilder<T>) -> ArrayRef {
    let array = builder.finish();
    let empty = PrimitiveBuilder::with_capacity(array.len() + array.len() / 8);
    *builder = empty.with_data_type(array.data_type().clone());
    Arc::new(array)
}

/// As [`Builder::extend`], of texts: what most columns are. `first` gives the value of a cell.
fn extend_texts<'p>(
    builder: &mut Texts,
    evaluator: &Evaluator<'_>,
    cells: impl Iterator<Item = (Filling, usize)>,
    first: impl Fn(Filling) -> Option<Item<'p>>,
    json: bool,
) -> u64 {
    let all = evaluator.arena.all_text();
    let (mut nulls, mut misfits) = (0, 0);
    cells.for_each(|(cell, rows)| {
        if let Filling::Nothing = cell {
            nulls += rows;
            return;
        }
        if nulls > 0 {
            builder.append_nulls(std::mem::take(&mut nulls));
        }
        let fits = match (cell, first(cell)) {
            (Filling::Text(piece), _) => {
                builder.append_part(all, piece.place(), rows);
                return;
            }
            (Filling::Misfit, _) => false,
            (_, None) => {
                nulls = rows;
                return;
            }
            (_, Some(item)) => text(evaluator, item, json, |text| builder.append(text, rows)).is_some(),
        };
        if !fits {
            (nulls, misfits) = (rows, misfits + rows as u64);
        }
    });
    builder.append_nulls(nulls);
    misfits
}

/// The value of a cell that has none among the items.
#[inline]
fn alone<'p>(row: Filling) -> Option<Item<'p>> {
    match row {
        Filling::Node(node) => Some(Item::Node(node)),
        Filling::Text(piece) | Filling::Number(piece) => Some(Item::Part(piece)),
        Filling::Boolean(value) => Some(Item::Boolean(value)),
        Filling::RowIndex(place) => Some(Item::Number(Decimal::whole(i64::from(place)))),
        Filling::Nothing | Filling::Items(..) | Filling::Misfit => None,
    }
}

/// The bytes of a base64Binary; white space within it is allowed (R4, datatypes).
fn bytes(text: &str) -> Option<Vec<u8>> {
    let clean: String = text.split_whitespace().collect();
    STANDARD.decode(clean).ok()
}

/// A value as text. A JSON number where a string belongs keeps its digits: real servers send NPIs as numbers, and
/// nothing of them is lost (docs/decisions/004-numbers-in-text-columns.md).
fn text(evaluator: &Evaluator<'_>, item: Item<'_>, json: bool, append: impl FnOnce(&str)) -> Option<()> {
    let flag = |value| if value { "true" } else { "false" };
    match item {
        Item::Number(number) => append(&number.to_string()),
        Item::Boolean(value) => append(flag(value)),
        Item::Node(number) => match evaluator.arena.node(number).value {
            // Text is no JSON of an element with parts.
            _ if json && evaluator.arena.is_odd(number) => return None,
            Value::Text(piece) | Value::Number(piece) => append(evaluator.arena.text(piece)),
            Value::Boolean(value) => append(flag(value)),
            Value::Json(piece) if json => append(evaluator.arena.text(piece)),
            Value::Json(_) | Value::Object => return None,
        },
        _ => return evaluator.with_text(item, append),
    }
    Some(())
}
