//! The constants of a view, of any of the twenty types that SQL on FHIR allows.

use fhirvest_fhir::temporal::{Kind, Moment, Precision, micros};
use serde_json::Value;

use super::{Constant, reader::Reader};
use crate::{
    diagnostics::{Code, nearest, value_at},
    expression::Literal,
    number::Decimal,
};

/// Variables that are always there.
pub(crate) const VARIABLES: [&str; 5] = ["rowIndex", "resource", "rootResource", "context", "ucum"];

const VALUES: [&str; 20] = [
    "valueBase64Binary",
    "valueBoolean",
    "valueCanonical",
    "valueCode",
    "valueDate",
    "valueDateTime",
    "valueDecimal",
    "valueId",
    "valueInstant",
    "valueInteger",
    "valueInteger64",
    "valueMarkdown",
    "valueOid",
    "valuePositiveInt",
    "valueString",
    "valueTime",
    "valueUnsignedInt",
    "valueUri",
    "valueUrl",
    "valueUuid",
];

impl Reader<'_> {
    pub(super) fn constants(&mut self, list: Option<&Value>) -> Vec<Constant> {
        let mut constants: Vec<Constant> = Vec::new();
        let Some(list) = list else { return constants };
        let Some(list) = list.as_array() else {
            self.error(Code::NotAList, "/constant", "`constant` has to be a list", "put it in brackets: [ … ]");
            return constants;
        };
        for (place, value) in list.iter().enumerate() {
            let pointer = format!("/constant/{place}");
            let Some(name) = self.required(value, "name", &pointer) else { continue };
            self.name(&name, &format!("{pointer}/name"), "a constant");
            if VARIABLES.contains(&name.as_str()) {
                let message = format!("`%{name}` is always there");
                self.error(Code::BadName, &format!("{pointer}/name"), message, "give the constant another name");
            }
            if constants.iter().any(|known| known.name == name) {
                let message = format!("the constant `{name}` is there twice");
                self.error(Code::Twice, &pointer, message, "keep one, or give it another name");
            }
            let (fhir_type, literal) = self.constant(value, &name, &pointer).unzip();
            constants.push(Constant { name, fhir_type: fhir_type.unwrap_or_default(), literal, pointer });
        }
        constants
    }

    /// The type and the value of a constant.
    fn constant(&mut self, value: &Value, name: &str, pointer: &str) -> Option<(String, Literal)> {
        let map = value.as_object()?;
        let mut keys = map.keys().filter(|key| key.starts_with("value"));
        let (Some(key), more) = (keys.next(), keys.next()) else {
            let message = format!("the constant `{name}` has no value");
            self.error(Code::MissingKey, pointer, message, "add valueString, valueInteger, valueBoolean, …");
            return None;
        };
        let at = format!("{pointer}/{key}");
        if more.is_some() {
            let message = format!("the constant `{name}` has several values");
            self.error(Code::BadConstant, pointer, message, "keep one");
            return None;
        }
        if !VALUES.contains(&key.as_str()) {
            let message = format!("a constant has no `{key}`");
            self.error(Code::BadConstant, &at, message, nearest(key, &VALUES));
            return None;
        }
        // A number's digits as they are written: 1.50 is not 1.5.
        let written = value_at(self.text, &at).unwrap_or_default();
        match literal(key, &map[key.as_str()], written) {
            Ok(literal) => Some((fhir_type(key), literal)),
            Err(wanted) => {
                let message = format!("{} is no {}", shown(written), fhir_type(key));
                self.error(Code::BadConstant, &at, message, format!("write {wanted}"));
                None
            }
        }
    }
}

/// `valuePositiveInt` is a `positiveInt`.
fn fhir_type(key: &str) -> String {
    let mut letters = key.trim_start_matches("value").chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// A value as it is written, if it is short.
fn shown(written: &str) -> String {
    if written.len() <= 40 { format!("`{written}`") } else { "this".to_owned() }
}

/// A constant's value; else what has to be written.
fn literal(key: &str, value: &Value, written: &str) -> Result<Literal, &'static str> {
    let whole = |least: i64, most: i64, wanted| match value {
        Value::Number(number) => {
            let fits = number.as_i64().is_some_and(|number| (least..=most).contains(&number));
            fits.then(|| Literal::Number(written.to_owned())).ok_or(wanted)
        }
        _ => Err(wanted),
    };
    let moment = |kinds: &[Kind], wanted| {
        let text = value.as_str().ok_or(wanted)?;
        let fits = Moment::parse(text).is_some_and(|moment| kinds.contains(&moment.kind));
        if fits { Ok(Literal::Temporal(text.to_owned())) } else { Err(wanted) }
    };
    let most = i64::from(i32::MAX);
    match key {
        "valueBoolean" => value.as_bool().map(Literal::Boolean).ok_or("true or false, without quotes"),
        "valueInteger" => whole(-most - 1, most, "a whole number of 32 bits, without quotes"),
        "valuePositiveInt" => whole(1, most, "a whole number from 1, without quotes"),
        "valueUnsignedInt" => whole(0, most, "a whole number from 0, without quotes"),
        "valueInteger64" | "valueDecimal" => {
            let digits = value.as_str().unwrap_or(written);
            let number = Decimal::parse(digits).filter(|number| key == "valueDecimal" || number.to_i64().is_some());
            let wanted =
                if key == "valueDecimal" { "a number with up to 38 digits" } else { "a whole number of 64 bits" };
            number.map(|_| Literal::Number(digits.to_owned())).ok_or(wanted)
        }
        "valueDate" => moment(&[Kind::Date], "a date: \"2020-08-05\", \"2020-08\" or \"2020\""),
        "valueDateTime" => moment(&[Kind::Date, Kind::DateTime], "a dateTime: \"2020-08-05T19:21:12Z\""),
        "valueTime" => moment(&[Kind::Time], "a time: \"19:21:12\""),
        "valueInstant" => {
            let wanted = "an instant: \"2020-08-05T19:21:12Z\"";
            let literal = moment(&[Kind::DateTime], wanted)?;
            let Literal::Temporal(text) = &literal else { return Err(wanted) };
            let fine = Moment::parse(text).is_some_and(|moment| moment.precision == Precision::Second);
            if fine && micros(text).is_some() { Ok(literal) } else { Err(wanted) }
        }
        _ => value.as_str().map(|text| Literal::String(text.to_owned())).ok_or("a text in quotes"),
    }
}
