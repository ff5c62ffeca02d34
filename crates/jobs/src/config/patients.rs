//! Whose data a job asks for, where its API is about persons: the members, and what each resource type is asked by.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fhirvest_crawler::strategy::{Paging, Strategy};
use fhirvest_fhir::patient;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConfigError, Job, resource::ResourceConfig};

/// Whose data a job asks for. Each type is then asked for by one search a member (`patient=`), and types that are nobody's
/// own, such as Practitioner, by reads of what the members' data refer to; a type with a strategy of its own keeps it.
/// Such a job is always sensitive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatientsConfig {
    /// Ids of the members (`Patient.id`). Neither this nor `roster`: whom the sign-in names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// A file with one id a line instead; lines that begin with `#` are comments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roster: Option<String>,
    /// Whether to ask by `Patient/[id]/$everything` instead of by searches.
    #[serde(default)]
    pub everything: bool,
    /// Search parameters by type, where a server wants another than `patient`: `{ Coverage = "beneficiary" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

impl PatientsConfig {
    /// The parameter that finds what belongs to a member; none for types that are nobody's own.
    fn param(&self, resource_type: &str) -> Option<String> {
        let known = || patient::search_parameter(resource_type).map(str::to_owned);
        self.params.get(resource_type).cloned().or_else(known)
    }

    fn strategy(&self, resource_type: &str, members: &[String]) -> Strategy {
        let members = || members.to_vec();
        match self.param(resource_type) {
            None => Strategy::IdRead,
            Some(_) if self.everything && resource_type == "Patient" => Strategy::Everything { members: members() },
            Some(_) if self.everything => Strategy::IncludedBy { from: "Patient".into() },
            Some(param) => Strategy::Patient { param, members: members() },
        }
    }

    /// The members that the configuration names; none where the sign-in has to.
    fn named(&self) -> Result<Vec<String>, String> {
        let roster = match &self.roster {
            None => String::new(),
            Some(_) if !self.ids.is_empty() => {
                return Err("[patients] has both `ids` and `roster`: keep one".into());
            }
            Some(path) => {
                std::fs::read_to_string(path).map_err(|error| format!("the roster {path} cannot be read: {error}"))?
            }
        };
        let lines = roster.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let mut members: Vec<String> = Vec::new();
        for (number, id) in self.ids.iter().enumerate().map(|(number, id)| (number + 1, id.trim())).chain(lines) {
            let id = id.strip_prefix("Patient/").unwrap_or(id);
            if !is_id(id) {
                // The text itself may name a person, so only its place is told.
                let place = if self.roster.is_some() { "line" } else { "id number" };
                return Err(format!("[patients]: {place} {number} is no FHIR id (letters, digits, hyphens and dots)"));
            }
            if !members.iter().any(|known| known == id) {
                members.push(id.to_owned());
            }
        }
        if self.roster.is_some() && members.is_empty() {
            return Err("[patients]: the roster names nobody".into());
        }
        Ok(members)
    }
}

/// Whether a text is an id as FHIR has them.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

impl Job {
    /// How a type of the job is enumerated, for these members where the job is about members. `now` ends the windows of
    /// a date range.
    ///
    /// # Errors
    /// What is missing, or has no effect, and what to do.
    pub fn strategy(
        &self,
        resource_type: &str,
        members: &[String],
        now: DateTime<Utc>,
    ) -> Result<(Strategy, Paging), String> {
        let default = ResourceConfig::default();
        let own = self.settings.resources.get(resource_type).unwrap_or(&default);
        let (strategy, paging) = own.strategy(now)?;
        match &self.settings.patients {
            Some(patients) if own.strategy.is_none() => Ok((patients.strategy(resource_type, members), paging)),
            _ => Ok((strategy, paging)),
        }
    }

    /// The members that the configuration names; none where the sign-in has to name one, or the job is about nobody.
    ///
    /// # Errors
    /// The roster cannot be read, or names somebody in a way that FHIR does not know.
    pub fn members(&self) -> Result<Vec<String>, ConfigError> {
        let named = self.settings.patients.as_ref().map(PatientsConfig::named).transpose();
        let wrong = |message| ConfigError::Job { job: self.name.clone(), message };
        Ok(named.map_err(wrong)?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn patients(text: &str) -> PatientsConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn members_come_from_the_list_or_from_the_roster() {
        let folder = tempfile::tempdir().unwrap();
        let roster = folder.path().join("roster.txt");
        std::fs::write(&roster, "# two of them\n\n a-1 \nPatient/b.2\na-1\n").unwrap();
        let roster = format!("roster = {:?}", roster.to_str().unwrap());
        assert_eq!(patients(&roster).named().unwrap(), ["a-1", "b.2"]);
        assert_eq!(patients(r#"ids = ["c", "d"]"#).named().unwrap(), ["c", "d"]);
        assert_eq!(patients("").named().unwrap(), Vec::<String>::new());
        assert!(patients(&format!("ids = [\"c\"]\n{roster}")).named().unwrap_err().contains("keep one"));
        let told = patients(r#"ids = ["c", "Jane Doe"]"#).named().unwrap_err();
        assert!(told.contains("id number 2") && !told.contains("Jane"), "{told}");
        assert!(patients(r#"roster = "/nowhere/roster""#).named().unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn a_type_is_asked_for_by_what_finds_it() {
        let members = ["p".to_owned()];
        let searches = patients(r#"params = { Coverage = "beneficiary" }"#);
        let by = |param: &str| Strategy::Patient { param: param.into(), members: members.to_vec() };
        for (name, strategy) in [
            ("Patient", by("_id")),
            ("Condition", by("patient")),
            ("Coverage", by("beneficiary")),
            ("Practitioner", Strategy::IdRead),
        ] {
            assert_eq!(searches.strategy(name, &members), strategy, "{name}");
        }
        let operation = patients("everything = true");
        for (name, strategy) in [
            ("Patient", Strategy::Everything { members: members.to_vec() }),
            ("Condition", Strategy::IncludedBy { from: "Patient".into() }),
            ("Practitioner", Strategy::IdRead),
        ] {
            assert_eq!(operation.strategy(name, &members), strategy, "{name}");
        }
    }
}
