//! Texts with a form of their own. The schemas name the forms (`"format": "cron"`), so that an editor's hint, the check
//! of a file and the reading of it go by the same rules.

use super::{SANDBOX_SCHEME, Size, Span, nearest};
use crate::schedule::Timetable;

/// What is wrong with a text, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self { message, help: None }
    }
}

/// Checks a text against a form by its name in the schemas; forms that only editors know are not checked.
pub(super) fn check(format: &str, text: &str) -> Result<(), Wrong> {
    match format {
        "time-span" => text.parse::<Span>().map(drop).map_err(Wrong::from),
        "byte-size" => text.parse::<Size>().map(drop).map_err(Wrong::from),
        "cron" => Timetable::new(text, chrono_tz::Tz::UTC).map(drop).map_err(|error| Wrong::from(error.to_string())),
        "time-zone" => time_zone(text),
        "date" => text
            .parse::<chrono::NaiveDate>()
            .map(drop)
            .map_err(|_| Wrong::from(format!("{text:?} is not a date: write it as in \"2015-01-01\""))),
        "uri" => address(text),
        "base-url" if text.starts_with(SANDBOX_SCHEME) => Ok(()),
        "base-url" => address(text),
        "name" => name(text),
        "resource-type" => resource_type(text),
        "parameter" => parameter(text),
        _ => Ok(()),
    }
}

/// A name that becomes a part of a path: letters, digits and hyphens.
pub(super) fn name(text: &str) -> Result<(), Wrong> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok(());
    }
    Err(format!("{text:?} may hold letters, digits and hyphens only").into())
}

/// A resource type of FHIR R4.
pub(super) fn resource_type(text: &str) -> Result<(), Wrong> {
    if fhirvest_fhir::elements::is_resource(text) {
        return Ok(());
    }
    let help = nearest(text, fhirvest_fhir::elements::resources());
    Err(Wrong { message: format!("FHIR R4 has no resource type `{text}`"), help: Some(help) })
}

/// A time zone of the IANA database.
pub(super) fn time_zone(text: &str) -> Result<(), Wrong> {
    if text.parse::<chrono_tz::Tz>().is_ok() {
        return Ok(());
    }
    let message = format!("{text:?} is no time zone of the IANA database");
    let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    // Hundreds of names are no help: only a near one is told.
    let near = nearest(text, names);
    Err(Wrong { message, help: near.starts_with("did you mean").then_some(near) })
}

/// The address of a server. Credentials in it would end up in logs, so they are refused; so is the address itself told
/// without them.
pub(super) fn address(text: &str) -> Result<(), Wrong> {
    match url::Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err(Wrong { message: "the address holds a user name or password".into(), help: Some("use `auth`".into()) })
        }
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => Ok(()),
        Ok(_) => Err(format!("{text:?} is not an http or https address").into()),
        Err(error) => Err(format!("{text:?} is not an address: {error}").into()),
    }
}

/// The name of a search parameter: what FHIR allows, modifiers and chains included.
fn parameter(text: &str) -> Result<(), Wrong> {
    if text == "_count" {
        let message = "`_count` is said by page_size, which may change in mid-crawl".to_owned();
        return Err(Wrong { message, help: Some("use page_size".into()) });
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    if !text.is_empty() && text.bytes().all(fits) {
        return Ok(());
    }
    Err(format!("{text:?} is no search parameter: its value stands after the `=`").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_texts_pass_and_bad_ones_say_why() {
        for (format, good) in [
            ("time-span", "15m"),
            ("byte-size", "64MiB"),
            ("cron", "15 2 * * MON-FRI"),
            ("time-zone", "America/New_York"),
            ("date", "2015-01-01"),
            ("uri", "https://fhir.acme.example/r4"),
            ("base-url", "sandbox:/highmark/provider-directory"),
            ("name", "provider-directory"),
            ("resource-type", "PractitionerRole"),
            ("parameter", "practitioner:Practitioner.name"),
            ("known to editors only", "anything"),
        ] {
            assert_eq!(check(format, good), Ok(()), "{format} {good}");
        }
        for (format, bad, part) in [
            ("time-span", "60", "\"60s\""),
            ("byte-size", "much", "\"64MiB\""),
            ("cron", "0 15 2 * * *", "five fields"),
            ("cron", "61 2 * * *", "61 2 * * *"),
            ("time-zone", "Americas/New_York", "no time zone"),
            ("date", "01.02.2015", "2015-01-01"),
            ("uri", "ftp://acme.example/", "http or https"),
            ("base-url", "https://me:hush@acme.example/", "user name or password"),
            ("name", "provider directory", "hyphens"),
            ("resource-type", "Lokation", "no resource type"),
            ("parameter", "_count", "page_size"),
            ("parameter", "active=true", "search parameter"),
        ] {
            let wrong = check(format, bad).unwrap_err();
            assert!(wrong.message.contains(part), "{format} {bad}: {wrong:?}");
            assert!(!wrong.message.contains("hush"));
        }
        assert_eq!(
            time_zone("America/New_Yrok").unwrap_err().help.as_deref(),
            Some("did you mean `America/New_York`?")
        );
    }
}
