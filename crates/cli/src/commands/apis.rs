//! `fhirvest apis`.

use fhirvest_jobs::run::Exit;

use crate::{
    arguments::{Global, Json},
    failure::Failure,
    output,
};

pub(crate) fn apis(global: &Global, json: &Json) -> Result<Exit, Failure> {
    let catalog = super::loader(global, Vec::new()).catalog()?;
    if json.json {
        output::json(&catalog)?;
        return Ok(Exit::Done);
    }
    let mut lines = Vec::new();
    for (file, publisher) in &catalog {
        let code = publisher.publisher.registration_code.as_deref().unwrap_or("none");
        lines.push(format!("{} (registration code {code})", publisher.publisher.name));
        for (name, api) in &publisher.apis {
            lines.push(format!("  {file}/{name}: {}", api.title));
            lines.push(format!("    holds         {}", api.describes));
            lines.push(format!("    sign-in       {}", api.auth));
            let resources =
                if api.resources.is_empty() { "not published".to_owned() } else { api.resources.join(", ") };
            lines.push(format!("    resources     {resources}"));
            let environments: Vec<String> = api
                .environments
                .iter()
                .map(|(name, place)| format!("{name} ({})", place.base_url.as_deref().unwrap_or("base_url to fill in")))
                .collect();
            lines.push(format!("    environments  {}", environments.join(", ")));
            if !api.to_fill_in.is_empty() {
                lines.push(format!("    to fill in    {}", api.to_fill_in.join("; ")));
            }
        }
        if let Some(catalogue) = &publisher.publisher.catalogue {
            lines.push(format!("  what is to be filled in stands in each API's OpenAPI file: {catalogue}"));
            lines.push(format!("  fill it in in {}/apis/{file}.toml", global.config));
        }
    }
    output::data(&lines.join("\n"))?;
    Ok(Exit::Done)
}
