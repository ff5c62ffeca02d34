//! How a resource type is harvested: the keys under `[resources.<Type>]`, which a platform's file may preset.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use fhirvest_crawler::strategy::{Export, Offset, OffsetUnit, Paging, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How one resource type is harvested.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceConfig {
    /// `_count`: how many resources to ask for in a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub page_size: Option<u32>,
    /// How the type is enumerated; by default `bare`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<StrategyName>,
    /// Search parameters added to every search of this type.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "parameter" }))]
    pub params: BTreeMap<String, String>,
    /// Matches that the server is known to give at most of one search: a search that brings so many is taken for cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub cap: Option<u64>,
    /// The server's second pages cannot be had: every search must fit on its first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_page_only: Option<bool>,
    /// Pages by a parameter that counts up; with `strategy = "offset"`, or beside another strategy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<OffsetConfig>,
    /// For `strategy = "values"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<ValuesConfig>,
    /// For `strategy = "prefix"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<PrefixConfig>,
    /// For `strategy = "daterange"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daterange: Option<DateRangeConfig>,
    /// For `strategy = "id-chain"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainConfig>,
    /// For `strategy = "include"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<IncludeConfig>,
    /// For `strategy = "bulk"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk: Option<BulkConfig>,
}

/// How one resource type is enumerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyName {
    /// One search, followed link by link.
    #[default]
    Bare,
    /// One search whose pages are asked for by a parameter that counts up.
    Offset,
    /// One search for each value of a list.
    Values,
    /// One search for each beginning of a name, divided where it finds too much.
    Prefix,
    /// Windows of time, halved where they hold too much.
    Daterange,
    /// Searches by references to another type's resources.
    IdChain,
    /// Reads of what the other types' resources refer to.
    IdRead,
    /// A sweep that brings other types along, or being brought along by one.
    Include,
    /// A Bulk Data export.
    Bulk,
}

/// A parameter that counts up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OffsetConfig {
    /// Its name: `_offset`, `_skip`, `_getpagesoffset`, `page`.
    pub param: String,
    /// Its value on the first page: by default 0, or 1 when pages are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// What it counts: `matches` received (the default), `count` (matches asked for), or `pages`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<OffsetBy>,
    /// The largest value that the server takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// What an offset counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OffsetBy {
    /// Matches received.
    Matches,
    /// Matches asked for.
    Count,
    /// Pages.
    Pages,
}

/// One search for each value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValuesConfig {
    /// The search parameter: `address-state`.
    pub param: String,
    /// Its values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<String>,
    /// A list of `config/value-sets.toml` instead, by its name: `us-states`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
}

/// One search for each beginning of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrefixConfig {
    /// The search parameter: `family`, `name`.
    pub param: String,
    /// The characters to begin and go on with; by default a to z and 0 to 9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alphabet: Option<String>,
    /// Matches from which a search is divided; by default 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_bucket: Option<u64>,
    /// The server's second pages cannot be had: a search is divided until it fits on its first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_page_only: Option<bool>,
}

/// Windows of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DateRangeConfig {
    /// The search parameter; by default `_lastUpdated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// Where the windows begin, as a date: what lies before is one window more. By default 2015-01-01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date"))]
    pub start: Option<NaiveDate>,
    /// Matches from which a window is halved; by default 5000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_bucket: Option<u64>,
}

/// Searches by references.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// The search parameter, a reference: `practitioner`.
    pub param: String,
    /// The type whose ids are asked for; it has to be one of the job's.
    pub from: String,
    /// Ids in one search; by default 50. With 1 the server need not know lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub batch: Option<usize>,
    /// Whether ids are written as references, `Practitioner/1`, instead of bare.
    #[serde(default)]
    pub as_reference: bool,
}

/// A sweep that brings other types along, or being brought along by one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IncludeConfig {
    /// On the type that is swept: values of `_include`, `PractitionerRole:practitioner`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// On the type that is swept: values of `_revinclude`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rev_include: Vec<String>,
    /// On a type that is brought along: the type that is swept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// A Bulk Data export.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkConfig {
    /// The operation relative to the base URL; by default `$export`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}

const LETTERS_AND_DIGITS: &str = "abcdefghijklmnopqrstuvwxyz0123456789";

impl ResourceConfig {
    /// These keys, and those of `preset` where these say nothing. A strategy of its own takes nothing of the preset's
    /// but the page size, the parameters and the cap.
    #[must_use]
    pub fn over(self, preset: &Self) -> Self {
        let preset = preset.clone();
        let params = preset.params.into_iter().chain(self.params).collect();
        let page_size = self.page_size.or(preset.page_size);
        let cap = self.cap.or(preset.cap);
        if self.strategy.is_some() {
            return Self { page_size, params, cap, ..self };
        }
        Self {
            page_size,
            params,
            cap,
            strategy: preset.strategy,
            first_page_only: self.first_page_only.or(preset.first_page_only),
            offset: self.offset.or(preset.offset),
            values: self.values.or(preset.values),
            prefix: self.prefix.or(preset.prefix),
            daterange: self.daterange.or(preset.daterange),
            chain: self.chain.or(preset.chain),
            include: self.include.or(preset.include),
            bulk: self.bulk.or(preset.bulk),
        }
    }

    /// How the type is enumerated. `now` ends the windows of a date range. Named lists of values must have been put in.
    ///
    /// # Errors
    /// What is missing, or has no effect, and what to do.
    pub fn strategy(&self, now: DateTime<Utc>) -> Result<(Strategy, Paging), String> {
        let name = self.strategy.unwrap_or_default();
        let needs = |table: &str| format!("the strategy needs a `{table} = {{ … }}` table");
        self.without_effect(name)?;
        let strategy = match name {
            StrategyName::Bare => Strategy::Bare,
            StrategyName::Offset if self.offset.is_none() => return Err(needs("offset")),
            StrategyName::Offset => Strategy::Bare,
            StrategyName::Values => {
                let values = self.values.as_ref().ok_or_else(|| needs("values"))?;
                if values.list.is_empty() {
                    return Err("`values` needs a `list` or a `set`".into());
                }
                let list = values.list.clone();
                Strategy::Values { param: values.param.clone(), list }
            }
            StrategyName::Prefix => {
                let prefix = self.prefix.as_ref().ok_or_else(|| needs("prefix"))?;
                Strategy::Prefix {
                    param: prefix.param.clone(),
                    alphabet: prefix.alphabet.clone().unwrap_or_else(|| LETTERS_AND_DIGITS.into()),
                    max_bucket: prefix.max_bucket.unwrap_or(1_000),
                }
            }
            StrategyName::Daterange => {
                let daterange = self.daterange.clone();
                let (param, start, max_bucket) =
                    daterange.map_or((None, None, None), |one| (one.param, one.start, one.max_bucket));
                let start = start.or_else(|| NaiveDate::from_ymd_opt(2015, 1, 1)).unwrap_or_default();
                let param = param.unwrap_or_else(|| "_lastUpdated".into());
                let start = start.and_time(NaiveTime::MIN).and_utc();
                Strategy::DateRange { param, start, end: now, max_bucket: max_bucket.unwrap_or(5_000) }
            }
            StrategyName::IdChain => {
                let chain = self.chain.as_ref().ok_or_else(|| needs("chain"))?;
                Strategy::IdChain {
                    param: chain.param.clone(),
                    from: chain.from.clone(),
                    batch: chain.batch.unwrap_or(50),
                    as_reference: chain.as_reference,
                }
            }
            StrategyName::IdRead => Strategy::IdRead,
            StrategyName::Include => {
                let include = self.include.clone().ok_or_else(|| needs("include"))?;
                match include.from {
                    Some(from) if include.include.is_empty() && include.rev_include.is_empty() => {
                        Strategy::IncludedBy { from }
                    }
                    Some(_) => {
                        return Err(
                            "`include` has `from` and what to bring along: a type is either swept, or brought \
                                    along by another"
                                .into(),
                        );
                    }
                    None => Strategy::Include { include: include.include, rev_include: include.rev_include },
                }
            }
            StrategyName::Bulk => {
                let operation = self.bulk.clone().and_then(|bulk| bulk.operation);
                Strategy::Bulk(operation.map_or_else(Export::default, |operation| Export { operation }))
            }
        };
        Ok((strategy, self.paging()))
    }

    fn paging(&self) -> Paging {
        let first_page_only = self.first_page_only.or(self.prefix.as_ref().and_then(|prefix| prefix.first_page_only));
        if first_page_only == Some(true) {
            return Paging::FirstPageOnly;
        }
        let Some(offset) = &self.offset else { return Paging::Links };
        let unit = match offset.by.unwrap_or(OffsetBy::Matches) {
            OffsetBy::Matches => OffsetUnit::Matches,
            OffsetBy::Count => OffsetUnit::Count,
            OffsetBy::Pages => OffsetUnit::Pages,
        };
        let first = offset.first.unwrap_or(u64::from(unit == OffsetUnit::Pages));
        Paging::Offset(Offset { param: offset.param.clone(), first, unit, limit: offset.limit })
    }

    /// A table that the strategy does not read is a mistake: somebody meant something by it.
    fn without_effect(&self, name: StrategyName) -> Result<(), String> {
        for (table, is_there, of) in [
            ("values", self.values.is_some(), StrategyName::Values),
            ("prefix", self.prefix.is_some(), StrategyName::Prefix),
            ("daterange", self.daterange.is_some(), StrategyName::Daterange),
            ("chain", self.chain.is_some(), StrategyName::IdChain),
            ("include", self.include.is_some(), StrategyName::Include),
            ("bulk", self.bulk.is_some(), StrategyName::Bulk),
        ] {
            if is_there && name != of {
                let of = serde_json::to_value(of).unwrap_or_default();
                return Err(format!("`{table}` has no effect without `strategy = {of}`"));
            }
        }
        Ok(())
    }
}
