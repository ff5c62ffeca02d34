//! What the OpenAPI file of an API tells (versions 2.0 and 3.x, JSON or YAML), put into the catalogue's own file, whose
//! comments and order stay.

use std::collections::{BTreeMap, BTreeSet};

use fhirvest_fhir::elements::is_resource;
use serde_json::Value;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, value};

/// What an OpenAPI file tells that the catalogue has a place for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Told {
    base_url: Option<String>,
    resources: BTreeSet<String>,
    search_parameters: BTreeMap<String, BTreeSet<String>>,
    header: Option<String>,
    authorize_url: Option<String>,
    token_url: Option<String>,
    issuer: Option<String>,
    scopes: BTreeSet<String>,
    /// What it tells more than once, so that a person has to choose.
    pub(super) undecided: Vec<String>,
}

/// Reads a file.
///
/// # Errors
/// It is no OpenAPI file; the words for the user.
pub(super) fn read(text: &str) -> Result<Told, String> {
    let file: Value = match serde_json::from_str(text) {
        Ok(file) => file,
        // JSON is YAML too, but YAML's complaints about it are the harder to read.
        Err(error) if text.trim_start().starts_with('{') => return Err(format!("is no JSON: {error}")),
        Err(_) => serde_saphyr::from_str(text).map_err(|error| format!("is neither JSON nor YAML: {error}"))?,
    };
    let version = ["openapi", "swagger"].iter().find_map(|name| file.get(name)?.as_str());
    if !version.is_some_and(|version| version == "2.0" || version.starts_with("3.")) {
        return Err("is no OpenAPI file of version 2.0 or 3.x".to_owned());
    }
    let mut told = Told::default();
    let empty = serde_json::Map::new();
    let paths = file.get("paths").and_then(Value::as_object).unwrap_or(&empty);
    let mut prefixes = BTreeSet::new();
    for (path, item) in paths {
        let Some((prefix, resource_type, rest)) = split(path) else { continue };
        told.resources.insert(resource_type.to_owned());
        prefixes.insert(prefix.to_owned());
        if rest.is_empty() {
            let names = told.search_parameters.entry(resource_type.to_owned()).or_default();
            names.extend(query_parameters(&file, item));
        }
    }
    told.search_parameters.retain(|_, names| !names.is_empty());
    let prefix = if prefixes.len() == 1 { prefixes.pop_first() } else { None }.unwrap_or_default();
    let servers: BTreeSet<String> =
        servers(&file).iter().map(|url| format!("{}{prefix}", url.trim_end_matches('/'))).collect();
    // Which of them is production is for a person to say.
    told.base_url = only("base_url", servers, &mut told.undecided);
    security(&file, &mut told);
    Ok(told)
}

/// A path's beginning, the resource type in it, and what follows.
fn split(path: &str) -> Option<(&str, &str, &str)> {
    let mut at = 0;
    for part in path.split('/') {
        if is_resource(part) {
            let end = at + part.len();
            return Some((path[..at].trim_end_matches('/'), part, path[end..].trim_matches('/')));
        }
        at += part.len() + 1;
    }
    None
}

/// The one value that there is; several are for a person to choose from.
fn only(key: &str, mut values: BTreeSet<String>, undecided: &mut Vec<String>) -> Option<String> {
    if values.len() > 1 {
        undecided.push(format!("{key} is one of {}", values.into_iter().collect::<Vec<_>>().join(", ")));
        return None;
    }
    values.pop_first()
}

/// The absolute addresses of the API.
fn servers(file: &Value) -> Vec<String> {
    let text = |holder: &Value, name: &str| holder.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    if let Some(servers) = file.get("servers").and_then(Value::as_array) {
        let url = |server: &Value| {
            let mut url = text(server, "url")?;
            for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
                // A variable without a default stays a placeholder, which is a blank.
                if let Some(default) = text(variable, "default") {
                    url = url.replace(&format!("{{{name}}}"), &default);
                }
            }
            url.contains("://").then_some(url)
        };
        return servers.iter().filter_map(url).collect();
    }
    let Some(host) = text(file, "host") else { return Vec::new() };
    let schemes = file.get("schemes").and_then(Value::as_array);
    let is_plain = schemes.is_some_and(|schemes| !schemes.iter().any(|scheme| scheme == "https"));
    let scheme = if is_plain { "http" } else { "https" };
    vec![format!("{scheme}://{host}{}", text(file, "basePath").unwrap_or_default())]
}

fn query_parameters(file: &Value, item: &Value) -> Vec<String> {
    let of = |holder: Option<&Value>| holder.and_then(|holder| holder.get("parameters")?.as_array()).cloned();
    let all = of(Some(item)).into_iter().chain(of(item.get("get"))).flatten();
    let name = |parameter: Value| {
        let reference = parameter.get("$ref").and_then(|text| text.as_str()?.strip_prefix('#'));
        let parameter = reference.and_then(|pointer| file.pointer(pointer)).unwrap_or(&parameter);
        let in_query = parameter.get("in").and_then(Value::as_str) == Some("query");
        parameter.get("name").filter(|_| in_query)?.as_str().map(ToOwned::to_owned)
    };
    all.filter_map(name).collect()
}

fn security(file: &Value, told: &mut Told) {
    let schemes = file.pointer("/components/securitySchemes").or_else(|| file.get("securityDefinitions"));
    let text = |holder: &Value, name: &str| holder.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    let mut headers = BTreeSet::new();
    for scheme in schemes.and_then(Value::as_object).into_iter().flat_map(serde_json::Map::values) {
        match text(scheme, "type").as_deref() {
            Some("apiKey") if text(scheme, "in").as_deref() == Some("header") => {
                // That header is a token's, which OpenAPI 2.0 has no other words for.
                let name = text(scheme, "name").filter(|name| !name.eq_ignore_ascii_case("authorization"));
                headers.extend(name);
            }
            Some("oauth2") => {
                let flow = scheme.pointer("/flows/authorizationCode").unwrap_or(scheme);
                told.authorize_url = text(flow, "authorizationUrl").or(told.authorize_url.take());
                told.token_url = text(flow, "tokenUrl").or(told.token_url.take());
                let scopes = flow.get("scopes").and_then(Value::as_object);
                told.scopes.extend(scopes.into_iter().flat_map(|scopes| scopes.keys().cloned()));
            }
            Some("openIdConnect") => {
                let url = text(scheme, "openIdConnectUrl");
                let issuer =
                    url.and_then(|url| Some(url.strip_suffix("/.well-known/openid-configuration")?.to_owned()));
                told.issuer = issuer.or(told.issuer.take());
            }
            _ => {}
        }
    }
    told.header = only("auth.header", headers, &mut told.undecided);
}

/// Puts what was told into the text of a publisher's file; the new text and the keys that were set.
///
/// # Errors
/// The file is not TOML, or has no such API or environment.
pub(super) fn put(
    text: &str,
    api: &str,
    environment: &str,
    key_variable: &str,
    told: &Told,
) -> Result<(String, Vec<String>), String> {
    let mut file: DocumentMut = text.parse().map_err(|error| format!("cannot be read: {error}"))?;
    let entry = file.get_mut("apis").and_then(|apis| apis.get_mut(api)).and_then(Item::as_table_mut);
    let Some(entry) = entry else { return Err(format!("has no [apis.{api}]")) };
    let mut set = Vec::new();
    if !told.resources.is_empty() {
        entry.insert("resources", list(&told.resources));
        set.push("resources".to_owned());
    }
    if !told.search_parameters.is_empty() {
        let mut names = InlineTable::new();
        for (resource_type, parameters) in &told.search_parameters {
            names.insert(resource_type, parameters.iter().map(String::as_str).collect::<Array>().into());
        }
        entry.insert("search_parameters", value(names));
        set.push("search_parameters".to_owned());
    }
    let place = entry.get_mut("environments").and_then(|all| all.get_mut(environment)).and_then(Item::as_table_mut);
    let Some(place) = place else { return Err(format!("has no [apis.{api}.environments.{environment}]")) };
    if let Some(url) = &told.base_url {
        place.insert("base_url", value(url));
        set.push("base_url".to_owned());
    }
    set.extend(put_auth(place, key_variable, told).into_iter().map(|key| format!("auth.{key}")));
    Ok((file.to_string(), set))
}

fn put_auth(place: &mut Table, key_variable: &str, told: &Told) -> Vec<&'static str> {
    let known = place.get("auth").and_then(|auth| auth.get("kind")?.as_str()).map(ToOwned::to_owned);
    let signed_in = told.issuer.is_some() || (told.authorize_url.is_some() && told.token_url.is_some());
    let kind = match (known.as_deref(), signed_in, &told.header) {
        (Some(kind), ..) => kind.to_owned(),
        (None, true, _) => "oauth-code".to_owned(),
        (None, false, Some(_)) => "api-key".to_owned(),
        (None, false, None) => return Vec::new(),
    };
    let is_new = known.is_none();
    if is_new {
        let mut auth = InlineTable::new();
        auth.insert("kind", kind.as_str().into());
        if kind == "api-key" {
            let mut key = InlineTable::new();
            key.insert("env", key_variable.into());
            auth.insert("key", key.into());
        } else {
            let wanted = told.scopes.iter().filter(|scope| scope.starts_with("patient/")).map(String::as_str);
            auth.insert("scopes", wanted.collect::<Array>().into());
        }
        place.insert("auth", value(auth));
    }
    let Some(auth) = place.get_mut("auth").and_then(Item::as_table_like_mut) else { return Vec::new() };
    let mut set = if is_new { vec!["kind"] } else { Vec::new() };
    let values = match kind.as_str() {
        "api-key" => vec![("header", &told.header)],
        "oauth-code" => {
            vec![("authorize_url", &told.authorize_url), ("token_url", &told.token_url), ("issuer", &told.issuer)]
        }
        _ => Vec::new(),
    };
    for (name, told) in values {
        if let Some(text) = told {
            auth.insert(name, value(text));
            set.push(name);
        }
    }
    if let Some(auth) = place.get_mut("auth").and_then(Item::as_inline_table_mut) {
        auth.fmt();
    }
    set
}

fn list(names: &BTreeSet<String>) -> Item {
    value(names.iter().map(String::as_str).collect::<Array>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FILE: &str = "# kept\n[apis.dir]\ntitle = \"Directory\" # kept too\n[apis.dir.environments.qa]\nauth = { kind = \"api-key\", key = { env = \"K\" } }\n[apis.dir.environments.production]\n";

    #[test]
    fn version_2_as_json_fills_in_a_key_api() {
        let told = read(
            r##"{"swagger":"2.0","host":"api.acme.example","basePath":"/pd","schemes":["https"],
            "parameters":{"count":{"name":"_count","in":"query","type":"integer"}},
            "securityDefinitions":{"k":{"type":"apiKey","in":"header","name":"x-acme-key"}},
            "paths":{"/r4/Location":{"get":{"parameters":[{"$ref":"#/parameters/count"},{"name":"address-state","in":"query"},{"name":"Accept","in":"header"}]}},
            "/r4/Location/{id}":{"get":{}},"/r4/Practitioner/{id}":{"get":{}},"/r4/metadata":{"get":{}}}}"##,
        )
        .unwrap();
        let (text, set) = put(FILE, "dir", "qa", "ACME_API_KEY", &told).unwrap();
        insta::assert_snapshot!(text, @r#"
        # kept
        [apis.dir]
        title = "Directory" # kept too
        resources = ["Location", "Practitioner"]
        search_parameters = { Location = ["_count", "address-state"] }
        [apis.dir.environments.qa]
        auth = { kind = "api-key", key = { env = "K" }, header = "x-acme-key" }
        base_url = "https://api.acme.example/pd/r4"
        [apis.dir.environments.production]
        "#);
        assert_eq!(set, ["resources", "search_parameters", "base_url", "auth.header"]);
    }

    #[test]
    fn version_3_as_yaml_fills_in_a_sign_in() {
        let told = read(
            "openapi: 3.0.3\nservers:\n  - url: https://{host}/fhir\n    variables:\n      host: {default: api.acme.example}\ncomponents:\n  securitySchemes:\n    member:\n      type: oauth2\n      flows:\n        authorizationCode:\n          authorizationUrl: https://login.acme.example/authorize\n          tokenUrl: https://login.acme.example/token\n          scopes: {\"patient/*.read\": all, openid: who}\npaths:\n  /Patient: {get: {}}\n",
        )
        .unwrap();
        let (text, set) = put(FILE, "dir", "production", "ACME_API_KEY", &told).unwrap();
        assert!(text.contains("base_url = \"https://api.acme.example/fhir\""), "{text}");
        assert!(text.contains("scopes = [\"patient/*.read\"]"), "{text}");
        assert_eq!(set, ["resources", "base_url", "auth.kind", "auth.authorize_url", "auth.token_url"]);
    }

    #[test]
    fn what_is_told_twice_is_not_chosen_from() {
        let told = read(
            r#"{"openapi":"3.1.0","servers":[{"url":"https://qa.acme.example/r4"},{"url":"https://acme.example/r4"},{"url":"/r4"}],
            "components":{"securitySchemes":{"id":{"type":"apiKey","in":"header","name":"x-id"},"key":{"type":"apiKey","in":"header","name":"x-key"},
            "token":{"type":"apiKey","in":"header","name":"Authorization"},"one":{"type":"apiKey","in":"query","name":"k"}}}}"#,
        )
        .unwrap();
        assert_eq!(
            told.undecided,
            [
                "base_url is one of https://acme.example/r4, https://qa.acme.example/r4",
                "auth.header is one of x-id, x-key"
            ]
        );
        let (text, set) = put(FILE, "dir", "qa", "K", &told).unwrap();
        assert_eq!((text.as_str(), set.len()), (FILE, 0));
    }

    #[test]
    fn an_openid_provider_is_enough_for_a_sign_in() {
        let told = read("openapi: 3.0.0\ncomponents:\n  securitySchemes:\n    o: {type: openIdConnect, openIdConnectUrl: 'https://id.acme.example/a/.well-known/openid-configuration'}\n").unwrap();
        let (text, set) = put(FILE, "dir", "production", "K", &told).unwrap();
        assert_eq!(set, ["auth.kind", "auth.issuer"]);
        assert!(text.contains("issuer = \"https://id.acme.example/a\""), "{text}");
    }

    #[test]
    fn what_is_no_openapi_file_is_told() {
        for (text, told) in
            [("{\"a\":", "is no JSON"), ("a: [", "neither JSON nor YAML"), ("openapi: 4.0.0\n", "version 2.0 or 3.x")]
        {
            assert!(read(text).unwrap_err().contains(told), "{text}");
        }
        assert!(put(FILE, "other", "qa", "K", &Told::default()).unwrap_err().contains("[apis.other]"));
    }
}
