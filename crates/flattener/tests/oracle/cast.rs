//! Values in columns of SQL types, as the text that Arrow shows of them.

use arrow::{
    array::{
        Array, BinaryArray, Date32Array, Time64MicrosecondArray, TimestampMicrosecondArray,
        timezone::Tz,
        types::{Date32Type, Time64MicrosecondType},
    },
    compute::kernels::cast_utils::{Parser, string_to_datetime},
    util::display::array_value_to_string,
};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{evaluate::Item, json::Json, moment::Moment, number::Number};

/// The type of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Whether an object is its JSON there.
    Text(bool),
    Boolean,
    Integer,
    BigInteger,
    Decimal(u32, u32),
    Date,
    Time,
    /// Whether with a time zone.
    Timestamp(bool),
    Binary,
}

impl Kind {
    /// By the tag `ansi/type`, else by the FHIR type.
    pub(crate) fn of(fhir: Option<&str>, ansi: Option<&str>) -> Self {
        let complex = fhir.is_none_or(|name| name.starts_with(|c: char| c.is_ascii_uppercase()));
        match ansi {
            Some("BOOLEAN") => Self::Boolean,
            Some("INTEGER") => Self::Integer,
            Some("BIGINT") => Self::BigInteger,
            Some("DATE") => Self::Date,
            Some("TIME") => Self::Time,
            Some("TIMESTAMP") => Self::Timestamp(false),
            Some("TIMESTAMP WITH TIME ZONE") => Self::Timestamp(true),
            Some("VARCHAR") => Self::Text(complex),
            Some(decimal) => {
                let inside = decimal.strip_prefix("DECIMAL(").and_then(|rest| rest.strip_suffix(')'));
                let (precision, scale) = inside.and_then(|inside| inside.split_once(',')).expect(decimal);
                Self::Decimal(precision.trim().parse().unwrap(), scale.trim().parse().unwrap())
            }
            None => match fhir {
                Some("boolean") => Self::Boolean,
                Some("integer" | "positiveInt" | "unsignedInt") => Self::Integer,
                Some("integer64") => Self::BigInteger,
                Some("instant") => Self::Timestamp(true),
                Some("base64Binary") => Self::Binary,
                _ => Self::Text(complex),
            },
        }
    }

    /// The value in a column of this type; nothing where it does not fit.
    pub(crate) fn cast(&self, item: &Item) -> Option<String> {
        let text = if let Json::Text(text) = &item.json { Some(text.as_str()) } else { None };
        let shown = |array: &dyn Array| array_value_to_string(array, 0).unwrap();
        match self {
            Self::Text(json) => match &item.json {
                Json::Object(object) if *json => Some(object.text.clone()),
                _ => item.as_text(),
            },
            Self::Boolean => {
                if let Json::Boolean(value) = item.json {
                    Some(value.to_string())
                } else {
                    None
                }
            }
            Self::Integer | Self::BigInteger => {
                let number = item.as_number().map(Number::plain).filter(|number| number.scale == 0)?;
                let most = if *self == Self::Integer { i128::from(i32::MAX) } else { i128::from(i64::MAX) };
                (-most - 1..=most).contains(&number.digits).then(|| number.text())
            }
            Self::Decimal(precision, scale) => {
                let number = item.as_number()?.rounded(*scale);
                let digits = number.digits * (number.scale..*scale).fold(1, |unit, _| unit * 10);
                let fits = digits.unsigned_abs().to_string().len() <= *precision as usize;
                fits.then(|| Number { digits, scale: *scale }.text())
            }
            Self::Date => {
                let (date, clock) = text?.split_at_checked(10)?;
                let days = Date32Type::parse(date)?;
                let whole = clock.is_empty() || clock.starts_with('T') && local(text?).is_some();
                whole.then(|| shown(&Date32Array::from(vec![days])))
            }
            Self::Time => Time64MicrosecondType::parse(text?)
                .filter(|_| text.is_some_and(|text| text.as_bytes().get(2) == Some(&b':')))
                .map(|micros| shown(&Time64MicrosecondArray::from(vec![micros]))),
            Self::Timestamp(true) => {
                let (_, clock) = text?.split_once('T')?;
                clock.find(['Z', '+', '-'])?;
                let micros = string_to_datetime(&"+00:00".parse::<Tz>().unwrap(), text?).ok()?.timestamp_micros();
                Some(shown(&TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC")))
            }
            Self::Timestamp(false) => {
                let micros = local(text?)?;
                Some(shown(&TimestampMicrosecondArray::from(vec![micros])))
            }
            Self::Binary => {
                let clean: String = text?.split_whitespace().collect();
                Some(shown(&BinaryArray::from_vec(vec![&STANDARD.decode(clean).ok()?])))
            }
        }
    }
}

/// A date or dateTime as written, whatever its zone.
fn local(text: &str) -> Option<i64> {
    let (date, clock) = text.split_once('T').unwrap_or((text, "00:00:00"));
    Date32Type::parse(date).filter(|_| date.len() == 10)?;
    let (clock, zone) = clock.split_at(clock.find(['Z', '+', '-']).unwrap_or(clock.len()));
    Some(()).filter(|()| zone.is_empty() || Moment::read(text).is_some())?;
    let utc: Tz = "+00:00".parse().unwrap();
    string_to_datetime(&utc, &format!("{date}T{clock}Z")).ok().map(|time| time.timestamp_micros())
}
