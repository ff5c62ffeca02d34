//! What a person sees of a crawl on a terminal.

use std::{path::Path, process::Command};

use crate::harness::{Home, Sandbox, skipped, workspace};

/// What `fhirvest run` draws on a terminal of 80 columns that `script` makes; nothing where that is not there.
fn on_a_terminal(home: &Home) -> Option<String> {
    if !Path::new("/usr/bin/script").exists() {
        skipped("bars are drawn on a terminal", "bsdutils");
        return None;
    }
    let config = workspace().join("config");
    let run = format!("stty cols 80; {} --config {} run acme", env!("CARGO_BIN_EXE_fhirvest"), config.display());
    let mut command = Command::new("script");
    command.args(["-qec", &run, "/dev/null"]).current_dir(home.path(".")).env("TERM", "xterm").env_remove("RUST_LOG");
    let done = command.output().unwrap();
    let drawn = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{drawn}");
    Some(drawn)
}

#[test]
fn a_terminal_shows_a_bar_a_type_with_pace_and_time_left_and_why_it_waits() {
    let home = Home::new();
    let sandbox = Sandbox::start(&home, &["--size", "60", "--fault", "429-seconds"]);
    home.write(
        "jobs/acme.toml",
        &format!(
            "version = 1\nviews = [\"plan-net/location\"]\n[source]\nname = \"acme\"\nbase_url = \"{}\"\n[rate]\n\
             requests_per_second = 5.0\n[resources.Location]\npage_size = 5\n[resources.Practitioner]\npage_size = 10\n",
            sandbox.url("highmark/provider-directory")
        ),
    );
    let Some(drawn) = on_a_terminal(&home) else { return };
    for part in ["Location", "Practitioner", "█", "/60 ", "/s, ", "s left, ", "waiting 1 s: ", "6 page(s), complete"]
    {
        assert!(drawn.contains(part), "{part} in {drawn}");
    }
    // Nothing is left of the bars under what the run came to.
    let after = drawn.rsplit_once("server says").unwrap().1;
    assert!(!after.contains('█') && after.contains("exit code 0"), "{after}");
}
