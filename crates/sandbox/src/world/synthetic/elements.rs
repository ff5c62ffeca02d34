//! FHIR elements that many resources share, written as the guides want them and, now and then, as payers do.

use chrono::DateTime;
use fhirvest_fhir::npi::check_digit;

use super::dice::Dice;
use super::json::Json;
use super::vocabulary::{CITIES, City, DAYS, STREETS};

pub(super) const PLAN_NET: &str = "http://hl7.org/fhir/us/davinci-pdex-plan-net";
pub(super) const NUCC: &str = "http://nucc.org/provider-taxonomy";
pub(super) const NPI: &str = "http://hl7.org/fhir/sid/us-npi";
pub(super) const ID_TYPE: &str = "http://terminology.hl7.org/CodeSystem/v2-0203";

/// 2023-01-01T00:00:00Z, before which nothing was updated.
const EPOCH: i64 = 1_672_531_200;
/// About three years and ten months.
const DAYS_OF_UPDATES: usize = 1_400;
/// The instant of the bulk load that a good part of a payer's rows carries.
const BULK_LOAD: i64 = EPOCH + 410 * 86_400 + 2 * 3_600;

/// The URL of a code system of the Plan-Net guide.
pub(super) fn plan_net_codes(name: &str) -> String {
    format!("{PLAN_NET}/CodeSystem/{name}")
}

/// The URL of an extension of the Plan-Net guide.
pub(super) fn plan_net_extension(name: &str) -> String {
    format!("{PLAN_NET}/StructureDefinition/{name}")
}

/// A National Provider Identifier: nine digits and their Luhn check digit over `80840` + NPI.
///
/// Numbers of one range never meet those of another, and within a range each index has its own.
pub(super) fn npi(range: NpiRange, index: usize) -> String {
    const WIDTH: u64 = 1 << 24;
    // An odd factor makes this a bijection of the range, so that neighbours do not have neighbouring numbers.
    let spread = (index as u64).wrapping_mul(10_368_889).wrapping_add(5_113_033) % WIDTH;
    let body = 100_000_000 + range as u64 * WIDTH + spread;
    let digits = body.to_string();
    format!("{digits}{}", check_digit(&digits).unwrap_or('0'))
}

/// Who a range of NPIs belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum NpiRange {
    Practitioner = 0,
    Organization = 1,
    Pharmacy = 2,
}

/// `meta` with `lastUpdated` in one of the spellings of real servers, and mostly a profile.
pub(super) fn meta(json: &mut Json, dice: &mut Dice, profile: &str) {
    let day = i64::try_from(dice.below(DAYS_OF_UPDATES)).unwrap_or(0);
    let second = i64::try_from(dice.below(86_400)).unwrap_or(0);
    let at = if dice.one_in(10) { BULK_LOAD } else { EPOCH + day * 86_400 + second };
    let stamp =
        DateTime::from_timestamp(at, 0).map(|at| at.format("%Y-%m-%dT%H:%M:%S").to_string()).unwrap_or_default();
    let updated = match dice.below(10) {
        0 => format!("{stamp}Z"),
        1 => format!("{stamp}.{:07}+00:00", dice.below(10_000_000)),
        _ => format!("{stamp}.{:03}+00:00", dice.below(1_000)),
    };
    let profiled = !dice.one_in(6);
    json.object("meta", |json| {
        json.text("versionId", if at == BULK_LOAD { "1" } else { "2" });
        json.text("lastUpdated", &updated);
        if profiled {
            json.array("profile", |json| json.text_item(profile));
        }
    });
}

/// A coding inside an array.
pub(super) fn coding(json: &mut Json, system: &str, (code, display): (&str, &str)) {
    json.item(|json| {
        json.text("system", system);
        json.text("code", code);
        if !display.is_empty() {
            json.text("display", display);
        }
    });
}

/// The inside of a CodeableConcept with one coding.
pub(super) fn concept_body(json: &mut Json, system: &str, code: (&str, &str)) {
    json.array("coding", |json| coding(json, system, code));
    if !code.1.is_empty() {
        json.text("text", code.1);
    }
}

/// `"key":{coding…}`
pub(super) fn concept(json: &mut Json, key: &str, system: &str, code: (&str, &str)) {
    json.object(key, |json| concept_body(json, system, code));
}

/// A CodeableConcept inside an array.
pub(super) fn concept_item(json: &mut Json, system: &str, code: (&str, &str)) {
    json.item(|json| concept_body(json, system, code));
}

/// `"key":{"reference":…,"display":…}`; no display when it is empty.
pub(super) fn reference(json: &mut Json, key: &str, target: &str, display: &str) {
    json.object(key, |json| reference_body(json, target, display));
}

/// A reference inside an array.
pub(super) fn reference_item(json: &mut Json, target: &str, display: &str) {
    json.item(|json| reference_body(json, target, display));
}

fn reference_body(json: &mut Json, target: &str, display: &str) {
    json.text("reference", target);
    if !display.is_empty() {
        json.text("display", display);
    }
}

/// An extension with parts, inside an `extension` array.
pub(super) fn complex_extension(json: &mut Json, url: &str, parts: impl FnOnce(&mut Json)) {
    json.item(|json| {
        json.array("extension", parts);
        json.text("url", url);
    });
}

/// An extension with one value; `value` writes `"value…":…`.
pub(super) fn extension(json: &mut Json, url: &str, value: impl FnOnce(&mut Json)) {
    json.item(|json| {
        json.text("url", url);
        value(json);
    });
}

/// The extension `newpatients`, inside an `extension` array.
pub(super) fn new_patients(json: &mut Json, accepting: (&str, &str), network: Option<&str>, who: Option<&str>) {
    complex_extension(json, &plan_net_extension("newpatients"), |json| {
        extension(json, "acceptingPatients", |json| {
            concept(json, "valueCodeableConcept", &plan_net_codes("AcceptingPatientsCS"), accepting);
        });
        if let Some(network) = network {
            extension(json, "fromNetwork", |json| reference(json, "valueReference", network, ""));
        }
        if let Some(who) = who {
            extension(json, "characteristics", |json| json.text("valueString", who));
        }
    });
}

/// A place to live or to work at.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) line: String,
    pub(super) city: City,
    pub(super) postal_code: String,
    pub(super) latitude: i32,
    pub(super) longitude: i32,
}

impl Address {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let city = dice.pick(&CITIES);
        let street = dice.pick(&STREETS);
        let number = dice.between(1, 4_800);
        let line = match dice.below(5) {
            0 => format!("{number} {street} Ste {}", dice.between(100, 900)),
            1 => format!("{} {} #{}", number, street.to_uppercase(), dice.between(1, 40)),
            _ => format!("{number} {street}"),
        };
        let zip = city.zip + u32::try_from(dice.below(3)).unwrap_or(0);
        let plus_four = dice.between(1_000, 9_999);
        let postal_code = match dice.below(5) {
            0 => format!("{zip:05}{plus_four}"),
            1 | 2 => format!("{zip:05}-{plus_four}"),
            _ => format!("{zip:05}"),
        };
        let near = |dice: &mut Dice, middle: i32| middle + i32::try_from(dice.below(120_000)).unwrap_or(0) - 60_000;
        let latitude = near(dice, city.latitude);
        let longitude = near(dice, city.longitude);
        Self { line, city, postal_code, latitude, longitude }
    }

    /// The inside of an `Address`.
    pub(super) fn body(&self, json: &mut Json, geolocation: bool) {
        if geolocation {
            json.array("extension", |json| {
                complex_extension(json, "http://hl7.org/fhir/StructureDefinition/geolocation", |json| {
                    extension(json, "latitude", |json| json.raw("valueDecimal", &degrees(self.latitude)));
                    extension(json, "longitude", |json| json.raw("valueDecimal", &degrees(self.longitude)));
                });
            });
        }
        json.text("use", "work");
        json.text("type", "both");
        let City { name, state, .. } = self.city;
        json.text("text", &format!("{}, {name}, {state} {}", self.line, self.postal_code));
        json.array("line", |json| json.text_item(&self.line));
        json.text("city", name);
        json.text("state", state);
        json.text("postalCode", &self.postal_code);
        json.text("country", "USA");
    }
}

/// Millionths of a degree as a decimal that keeps its digits.
pub(super) fn degrees(millionths: i32) -> String {
    let sign = if millionths < 0 { "-" } else { "" };
    let whole = millionths.unsigned_abs();
    format!("{sign}{}.{:06}", whole / 1_000_000, whole % 1_000_000)
}

/// A phone number in one of the spellings people use.
pub(super) fn phone(dice: &mut Dice) -> String {
    let area = dice.pick(&["412", "724", "814", "717", "304", "302", "716"]);
    let (middle, last) = (dice.between(200, 999), dice.between(0, 10_000));
    match dice.below(6) {
        0 => format!("({area}) {middle}-{last:04} x{}", dice.between(10, 9_999)),
        1 => format!("1-{area}-{middle}-{last:04}"),
        2 => format!("{area}{middle}{last:04}"),
        3 => format!("+1 {area} {middle} {last:04}"),
        _ => format!("({area}) {middle}-{last:04}"),
    }
}

/// What a telecom says besides its number.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TelecomExtras<'a> {
    pub(super) office_hours: bool,
    pub(super) via: Option<&'a str>,
    pub(super) rank: Option<&'a str>,
}

/// A `ContactPoint` inside an array.
pub(super) fn telecom(json: &mut Json, system: &str, value: &str, extras: TelecomExtras<'_>) {
    json.item(|json| {
        if extras.office_hours || extras.via.is_some() {
            json.array("extension", |json| {
                if extras.office_hours {
                    available_time_extension(json);
                }
                if let Some(via) = extras.via {
                    extension(json, &plan_net_extension("via-intermediary"), |json| {
                        reference(json, "valueReference", via, "");
                    });
                }
            });
        }
        json.text("system", system);
        json.text("value", value);
        json.text("use", "work");
        if let Some(rank) = extras.rank {
            json.raw("rank", rank);
        }
    });
}

fn available_time_extension(json: &mut Json) {
    complex_extension(json, &plan_net_extension("contactpoint-availabletime"), |json| {
        for day in &DAYS[..5] {
            extension(json, "daysOfWeek", |json| json.text("valueCode", day));
        }
        extension(json, "availableStartTime", |json| json.text("valueTime", "08:00:00"));
        extension(json, "availableEndTime", |json| json.text("valueTime", "17:00:00"));
    });
}

/// `identifier` entry with the NPI in one of the four markings that payers use.
pub(super) fn npi_identifier(json: &mut Json, marking: usize, npi: &str) {
    json.item(|json| match marking {
        1 => {
            json.text("system", "http://terminology.hl7.org/NamingSystem/npi");
            json.text("value", npi);
        }
        2 => {
            json.object("type", |json| json.array("coding", |json| json.item(|json| json.text("code", "NPI"))));
            json.text("value", npi);
        }
        3 => {
            json.text("value", npi);
            json.object("assigner", |json| json.text("display", "CMS"));
        }
        _ => {
            json.text("use", "official");
            concept(json, "type", ID_TYPE, ("NPI", "National provider identifier"));
            json.text("system", NPI);
            json.text("value", npi);
            json.object("assigner", |json| json.text("display", "CMS"));
        }
    });
}

/// Office hours as elements of `availableTime`; one in eight places never closes.
pub(super) fn available_time(json: &mut Json, key: &str, names: (&str, &str), dice: &mut Dice) {
    let always = dice.one_in(8);
    let (open, close) = dice.pick(&[("08:00:00", "17:00:00"), ("09:00:00", "18:30:00"), ("07:30:00", "16:00:00")]);
    let saturday = dice.one_in(3);
    json.array(key, |json| {
        let days = if always { &DAYS[..] } else { &DAYS[..5] };
        json.item(|json| {
            json.array("daysOfWeek", |json| days.iter().for_each(|day| json.text_item(day)));
            if always {
                json.flag("allDay", true);
            } else {
                json.text(names.0, open);
                json.text(names.1, close);
            }
        });
        if saturday && !always {
            json.item(|json| {
                json.array("daysOfWeek", |json| json.text_item("sat"));
                json.text(names.0, "09:00:00");
                json.text(names.1, "12:00:00");
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use fhirvest_fhir::npi::is_valid;

    use super::*;

    #[test]
    fn npis_pass_the_luhn_test_and_are_unique() {
        let mut all: Vec<String> = (0..3_000).map(|index| npi(NpiRange::Practitioner, index)).collect();
        all.extend((0..3_000).map(|index| npi(NpiRange::Organization, index)));
        all.extend((0..3_000).map(|index| npi(NpiRange::Pharmacy, index)));
        assert!(all.iter().all(|npi| is_valid(npi)));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 9_000);
    }

    #[test]
    fn degrees_keep_sign_and_digits() {
        assert_eq!(degrees(-79_995_900), "-79.995900");
        assert_eq!(degrees(40_000_050), "40.000050");
    }
}
