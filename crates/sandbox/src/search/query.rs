//! A search as the client asked for it: from the query string to filters, order, page and includes.

use super::filter::Filter;
use super::include::Include;
use super::parameters;
use crate::platforms::Paging;

/// The parameter of a link that tells pages of the same offset apart.
pub(crate) const MARKER: &str = "_marker";
/// The parameter of a link that names the life of its search.
pub(crate) const GENERATION: &str = "_generation";

/// Whether the server counts, and how the client wants to hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Total {
    /// Nothing was said.
    Unsaid,
    Accurate,
    None,
}

/// The order of the matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As they were put in.
    Stored,
    Id {
        descending: bool,
    },
    Updated {
        descending: bool,
    },
}

/// A search of one resource type.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) filters: Vec<Filter>,
    pub(crate) order: Order,
    pub(crate) total: Total,
    /// `_summary=count`: no entries, only the number.
    pub(crate) count_only: bool,
    pub(crate) count: Option<usize>,
    pub(crate) offset: usize,
    /// What a link of this server added to tell its pages apart.
    pub(crate) marker: Option<String>,
    /// A page number, from 1, where the server counts pages.
    pub(crate) page: Option<usize>,
    /// An opaque token of where the client stands.
    pub(crate) continuation: Option<String>,
    /// Which life of the search a link of this server belongs to.
    pub(crate) generation: u64,
    pub(crate) includes: Vec<Include>,
    /// The parameters that shape the result (not the page): what the self link shows and the cursor carries.
    pub(crate) applied: Vec<(String, String)>,
    /// Parameters this server does not know.
    pub(crate) unknown: Vec<String>,
}

/// A search that cannot be understood; becomes a 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadQuery(pub(crate) String);

impl Query {
    /// Reads decoded parameters of a search of `resource`. `base` is the absolute URL of the mount, for references.
    pub(crate) fn parse(
        resource: &str,
        base: &str,
        paging: Paging,
        parameters: &[(String, String)],
    ) -> Result<Self, BadQuery> {
        // A parameter without a value says nothing and is passed over (FHIR R4, search, 3.1.1.1).
        let parameters = parameters.iter().filter(|(_, value)| !value.is_empty());
        let mut query = Self {
            filters: Vec::new(),
            order: Order::Stored,
            total: Total::Unsaid,
            count_only: false,
            count: None,
            offset: 0,
            marker: None,
            page: None,
            continuation: None,
            generation: 0,
            includes: Vec::new(),
            applied: Vec::new(),
            unknown: Vec::new(),
        };
        for (name, value) in parameters {
            if query.read_place(paging, name, value)? {
                continue;
            }
            if query.read(resource, base, name, value)? {
                query.applied.push((name.clone(), value.clone()));
            }
        }
        Ok(query)
    }

    /// Takes one parameter in that says where in the search the client stands; whether it was one.
    fn read_place(&mut self, paging: Paging, name: &str, value: &str) -> Result<bool, BadQuery> {
        match (name, paging) {
            ("_getpagesoffset" | "_offset", _) | ("_skip", Paging::Skip) | ("search-offset", _) => {
                self.offset = number(name, value)?;
            }
            ("page", Paging::Page) => self.page = Some(number(name, value)?),
            ("ct", Paging::Continuation) => self.continuation = Some(value.to_owned()),
            (MARKER, _) => self.marker = Some(value.to_owned()),
            (GENERATION, _) => self.generation = value.parse().unwrap_or(0),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes one parameter in; whether it shapes the result.
    fn read(&mut self, resource: &str, base: &str, name: &str, value: &str) -> Result<bool, BadQuery> {
        match name {
            "_count" => {
                self.count = Some(number(name, value)?);
                return Ok(false);
            }
            "_format" | "_pretty" | "_bundletype" | "_redirected" => return Ok(false),
            "_total" => {
                self.total = match value {
                    "none" => Total::None,
                    "accurate" | "estimate" => Total::Accurate,
                    _ => return Err(BadQuery(format!("_total must be none, estimate or accurate, not {value}"))),
                };
            }
            "_summary" => match value {
                "count" => self.count_only = true,
                "false" => return Ok(false),
                _ => return Err(BadQuery(format!("_summary={value} is not supported here, only count"))),
            },
            "_sort" => self.order = order(value)?,
            "_include" | "_revinclude" => self.includes.push(Include::parse(name, value)?),
            _ => match Filter::parse(resource, base, name, value)? {
                Some(filter) => self.filters.push(filter),
                None => {
                    self.unknown.push(name.to_owned());
                    return Ok(false);
                }
            },
        }
        Ok(true)
    }

    /// What two searches with the same matches in the same order have in common.
    pub(crate) fn matches_key(&self) -> String {
        let shaping = self.applied.iter().filter(|(name, _)| {
            name == "_sort" || !matches!(name.as_str(), "_total" | "_summary" | "_include" | "_revinclude")
        });
        // Filters that a server ignores are gone from `filters`, so their number tells bent searches apart.
        format!("{}#{}{:?}", encode(shaping), self.filters.len(), self.order)
    }

    /// The applied parameters as a query string.
    pub(crate) fn encoded(&self) -> String {
        encode(self.applied.iter())
    }
}

fn encode<'a>(parameters: impl Iterator<Item = &'a (String, String)>) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters.map(|(name, value)| (name, value)))
        .finish()
}

/// Decodes a query string or a form body.
pub(crate) fn decode(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn number(name: &str, value: &str) -> Result<usize, BadQuery> {
    value.parse().map_err(|_| BadQuery(format!("{name} must be a whole number, not {value}")))
}

fn order(value: &str) -> Result<Order, BadQuery> {
    match value {
        "_id" => Ok(Order::Id { descending: false }),
        "-_id" => Ok(Order::Id { descending: true }),
        "_lastUpdated" => Ok(Order::Updated { descending: false }),
        "-_lastUpdated" => Ok(Order::Updated { descending: true }),
        _ => Err(BadQuery(format!("_sort={value} is not supported here: _id, -_id, _lastUpdated, -_lastUpdated"))),
    }
}

/// The names of all parameters that a type understands beyond `_id` and `_lastUpdated`.
pub(crate) fn known_names(resource: &str) -> impl Iterator<Item = &'static str> {
    parameters::of(resource).map(|parameter| parameter.name)
}
