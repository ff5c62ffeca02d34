//! A lake in an object store, on an S3 server of other hands: the same story as on a disk, with a server that fails, a
//! process that is killed in the worst moment, and two machines at once.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    encrypted::{KEY, OTHER as OTHER_KEY},
    harness::{Done, Home, Sandbox, workspace},
    schedule::{Scheduler, until},
};

/// The S3 server, ended with the test.
struct S3 {
    child: Child,
    answers: BufReader<ChildStdout>,
    endpoint: String,
    bucket: String,
}

impl S3 {
    fn start() -> Self {
        let python = std::env::var_os("FHIRVEST_PYTHON")
            .map_or_else(|| workspace().join("target/venv/bin/python"), PathBuf::from);
        let mut child = Command::new(python)
            .arg(workspace().join("tests/support/s3.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let hello: Value = serde_json::from_str(&line).expect("`make venv` installs moto");
        let text = |name: &str| hello[name].as_str().unwrap().to_owned();
        Self { child, answers, endpoint: text("endpoint"), bucket: text("bucket") }
    }

    fn ask(&mut self, command: &Value) -> Value {
        writeln!(self.child.stdin.as_mut().unwrap(), "{command}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn fault(&mut self, request: &str, what: &str, times: u32) {
        self.ask(&json!({"fault": request, "do": what, "times": times}));
    }

    fn lake(&self) -> String {
        format!("s3://{}/the/lake", self.bucket)
    }

    fn keys(&mut self) -> Vec<String> {
        let keys = self.ask(&json!({"keys": true}));
        keys.as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect()
    }

    /// A copy of the bucket in `home`, whose views read the copy: DuckDB's extension for S3 cannot be had everywhere.
    fn download(&mut self, home: &Home) {
        let copy = home.path("copy");
        let _ = std::fs::remove_dir_all(&copy);
        self.ask(&json!({"sync": copy}));
        let views = copy.join("the/lake/views.sql");
        let sql = std::fs::read_to_string(&views).unwrap();
        assert!(sql.contains(&format!("'{}/tables/", self.lake())), "the views name the store: {sql}");
        std::fs::write(&views, sql.replace(&self.lake(), copy.join("the/lake").to_str().unwrap())).unwrap();
    }

    /// `fhirvest` on a machine of its own, with the job `name` for the server at `url`.
    fn fhirvest(&self, home: &Home, name: &str, url: &str) -> Command {
        let job = format!(
            "version = 1\nenvironment = \"test\"\nviews = [\"plan-net/organization\", \"plan-net/location\"]\n\
             [source]\nname = \"{name}\"\nbase_url = \"{url}\"\n[rate]\nrequests_per_second = 0\n\
             [resources.Organization]\npage_size = 50\n[resources.Location]\npage_size = 50\n"
        );
        home.write(&format!("jobs/{name}.toml"), &job);
        let mut command = home.fhirvest(&["-v", "--lake", &self.lake(), "run", name, "--json"]);
        self.sign_in(&mut command);
        command
    }

    fn sign_in(&self, command: &mut Command) {
        command
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "hidden-key")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT", &self.endpoint)
            .env("AWS_ALLOW_HTTP", "true");
    }

    fn run(&self, home: &Home, name: &str, url: &str) -> Done {
        let done = Done::from(self.fhirvest(home, name, url).output().unwrap());
        assert!(!done.stderr.contains("hidden-key"), "{}", done.stderr);
        done
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server, and what a local lake has of it.
fn sandbox(home: &Home) -> (Sandbox, String) {
    let sandbox = Sandbox::start(home, &["--size", "60"]);
    let url = sandbox.url("highmark/provider-directory").to_owned();
    (sandbox, url)
}

const ROWS: &str = "SELECT (SELECT count(*) FROM acme.organization) AS organizations, \
                    (SELECT count(*) FROM acme.location) AS locations, (SELECT count(*) FROM \"all\"._runs) AS runs";

/// What `ROWS` gives after one whole run.
fn expected(url: &str) -> Value {
    let local = Home::new();
    let types = "Organization,Location";
    local.run(&["harvest", url, "-r", types, "-o", "lake", "--rate", "0", "--source", "acme"]).expect(0);
    local.duckdb(ROWS).remove(0)
}

#[test]
fn a_lake_in_a_store_is_as_one_on_a_disk_and_another_machine_goes_on_with_it() {
    let (home, mut s3) = (Home::new(), S3::start());
    let (_sandbox, url) = sandbox(&home);
    s3.run(&home, "acme", &url).expect(0);
    s3.download(&home);
    let mut expected = expected(&url);
    assert_eq!(home.duckdb_in("copy/the/lake", ROWS)[0], expected);
    let keys = s3.keys();
    assert!(keys.iter().any(|key| key.contains("archive/source=acme/run=")), "{keys:?}");
    assert!(
        !keys.iter().any(|key| key.contains("/runs/") || key.contains("locks") || key.contains("mirror")),
        "{keys:?}"
    );

    // Another machine: nothing of the first is there but what is in the store.
    let other = Home::new();
    s3.run(&other, "acme", &url).expect(0);
    let mut runs = other.fhirvest(&["--lake", &s3.lake(), "runs", "--json"]);
    s3.sign_in(&mut runs);
    assert_eq!(Done::from(runs.output().unwrap()).expect(0).report().as_array().unwrap().len(), 2);
    s3.download(&home);
    expected["runs"] = json!(2);
    assert_eq!(home.duckdb_in("copy/the/lake", ROWS)[0], expected);
}

#[test]
fn a_machine_without_a_crawl_flattens_verifies_and_prunes() {
    let (home, mut s3) = (Home::new(), S3::start());
    let (_sandbox, url) = sandbox(&home);
    s3.run(&home, "acme", &url).expect(0);
    s3.run(&home, "acme", &url).expect(0);
    let other = Home::new();
    s3.fhirvest(&other, "acme", "http://127.0.0.1:9/nothing-answers");
    let ask = |arguments: &[&str]| {
        let mut command = other.fhirvest(&[&["--lake", &s3.lake()], arguments].concat());
        s3.sign_in(&mut command);
        Done::from(command.output().unwrap())
    };
    let again = ask(&["rerun", "acme", "--all", "--json"]).expect(0).report();
    assert!(again["archive_run"].is_string(), "{again}");
    ask(&["verify"]).expect(0);
    let job = std::fs::read_to_string(other.path("jobs/acme.toml")).unwrap();
    other.write("jobs/acme.toml", &job.replace("views =", "keep_snapshots = 1\nviews ="));
    let pruned = ask(&["prune", "--json"]).expect(0).report();
    assert!(!pruned[0]["removed"].as_array().unwrap().is_empty(), "{pruned}");
    s3.download(&home);
    let rows =
        home.duckdb_in("copy/the/lake", "SELECT count(*) AS n, count(DISTINCT snapshot) AS s FROM acme.organization");
    assert_eq!(rows[0]["s"], 1);
    let mut expected = expected(&url);
    expected["runs"] = json!(3);
    assert_eq!(home.duckdb_in("copy/the/lake", ROWS)[0], expected);
}

#[test]
fn a_machine_that_has_nothing_tells_what_became_of_a_run() {
    let (home, s3) = (Home::new(), S3::start());
    let (_sandbox, url) = sandbox(&home);
    s3.run(&home, "acme", &url).expect(0);
    let mut sample = s3.fhirvest(&home, "acme", &url);
    let job = std::fs::read_to_string(home.path("jobs/acme.toml")).unwrap();
    home.write(
        "jobs/acme.toml",
        &job.replace("[resources.Location]\npage_size = 50", "[resources.Location]\npage_size = 20"),
    );
    let partial = Done::from(sample.args(["--max-pages", "1"]).output().unwrap()).expect(5).report();
    let run = partial["run"].as_str().unwrap();
    // The job is there, and what it needs of the lake comes from the store.
    let other = Home::new();
    other.write("jobs/acme.toml", &std::fs::read_to_string(home.path("jobs/acme.toml")).unwrap());
    let ask = |home: &Home, arguments: &[&str]| {
        let mut command = home.fhirvest(&[&["--lake", &s3.lake()], arguments].concat());
        s3.sign_in(&mut command);
        Done::from(command.output().unwrap()).expect(0).stdout
    };
    let told = |home: &Home| -> Value { serde_json::from_str(&ask(home, &["report", run, "--json"])).unwrap() };
    let (there, here) = (told(&home), told(&other));
    assert_eq!(there, here);
    assert_eq!(here["quality"]["not_looked_at"], json!([]), "{here}");
    assert_eq!(here["quality"]["from_archive"], json!(["location"]), "{here}");
    assert!(here["quality"]["columns"].as_array().unwrap().len() > 10, "{here}");
    assert!(ask(&other, &["report", run, "-o", "-"]).contains("held back"));
    assert!(ask(&other, &["support", run]).contains("Location: partial, ended by page-limit"));
    assert_eq!(serde_json::from_str::<Value>(&ask(&other, &["runs", run, "--json"])).unwrap(), partial);
}

#[test]
fn a_scheduler_knows_what_another_machine_has_run_and_catches_up_once() {
    let (home, s3) = (Home::new(), S3::start());
    let (_sandbox, url) = sandbox(&home);
    let machine = || {
        let home = Home::new();
        s3.fhirvest(&home, "acme", &url);
        let job = std::fs::read_to_string(home.path("jobs/acme.toml")).unwrap();
        home.write("jobs/acme.toml", &job.replace("views =", "schedule = \"15 2 * * *\"\nviews ="));
        home
    };
    let start = |home: &Home, clock: &str| {
        let mut command =
            home.fhirvest(&["--lake", &s3.lake(), "schedule", "--listen", "127.0.0.1:0", "--clock", clock]);
        s3.sign_in(&mut command);
        Scheduler::of(command)
    };
    let runs = |home: &Home| -> Vec<Value> {
        let mut command = home.fhirvest(&["--lake", &s3.lake(), "runs", "--json"]);
        s3.sign_in(&mut command);
        serde_json::from_str(&Done::from(command.output().unwrap()).expect(0).stdout).unwrap()
    };
    s3.run(&home, "acme", &url).expect(0);
    // Years later, on a machine that has nothing: one of all the nights is caught up.
    let second = machine();
    let mut scheduler = start(&second, "2036-05-01T12:00:00Z*2");
    until("the run that was missed", || scheduler.get("/").1.contains("20360501T12"));
    scheduler.signal("-TERM");
    assert_eq!(scheduler.child.wait().unwrap().code(), Some(0));
    assert_eq!(runs(&second).len(), 2);
    // And a third one has nothing to do before its time.
    let third = machine();
    let scheduler = start(&third, "2036-05-02T00:00:00Z*1");
    let page = scheduler.get("/").1;
    assert!(page.contains("20360501T12") && !page.contains("its time was missed"), "{page}");
    drop(scheduler);
    assert_eq!(runs(&third).len(), 2);
}

#[test]
fn a_store_that_fails_now_and_then_costs_nothing() {
    let (home, mut s3) = (Home::new(), S3::start());
    let (_sandbox, url) = sandbox(&home);
    s3.fault("PUT .*part-00000.parquet", "503", 3);
    s3.fault("PUT .*ndjson.zst", "reset", 1);
    s3.fault("PUT .*manifest.json", "503", 1);
    s3.fault("GET .*", "slow", 2);
    // Taken by the store, but nobody hears of it.
    s3.fault("PUT .*manifest.json", "lose", 1);
    s3.run(&home, "acme", &url).expect(0);
    s3.download(&home);
    assert_eq!(home.duckdb_in("copy/the/lake", ROWS)[0], expected(&url));
}

#[test]
fn killed_between_upload_and_manifest_a_run_is_published_by_the_next() {
    let (home, mut s3) = (Home::new(), S3::start());
    let (_sandbox, url) = sandbox(&home);
    s3.run(&home, "acme", &url).expect(0);
    s3.fault("PUT .*manifest.json", "hold", 1);
    let mut killed = s3.fhirvest(&home, "acme", &url).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(s3.ask(&json!({"reached": 1})), true);
    killed.kill().unwrap();
    killed.wait().unwrap();
    // Everything is uploaded, and nothing of it can be seen.
    s3.download(&home);
    let mut expected = expected(&url);
    assert_eq!(home.duckdb_in("copy/the/lake", ROWS)[0], expected);
    // What the store was asked for before the kill never comes: a held request is served only once it is let go.
    let next = s3.run(&home, "acme", &url).expect(0);
    assert!(next.report()["resumed"].as_bool().unwrap(), "nothing is crawled again: {}", next.stderr);
    s3.download(&home);
    expected["runs"] = json!(2);
    assert_eq!(home.duckdb_in("copy/the/lake", ROWS)[0], expected);
}

#[test]
fn of_two_machines_that_publish_at_once_neither_loses_anything() {
    let (home, other, mut s3) = (Home::new(), Home::new(), S3::start());
    let (_sandbox, url) = sandbox(&home);
    s3.fault("PUT .*manifest.json", "hold", 1);
    let slow = s3.fhirvest(&home, "acme", &url).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(s3.ask(&json!({"reached": 1})), true);
    // Another job, while the first one's manifest is on its way.
    s3.run(&other, "beta", &url).expect(0);
    s3.ask(&json!({"release": true}));
    let slow = Done::from(slow.wait_with_output().unwrap()).expect(0);
    assert!(slow.stderr.contains("somebody else published at the same time"), "{}", slow.stderr);
    s3.download(&home);
    let mut expected = expected(&url);
    expected["runs"] = json!(2);
    assert_eq!(home.duckdb_in("copy/the/lake", ROWS)[0], expected);
    let beta = home.duckdb_in("copy/the/lake", "SELECT count(*) AS n FROM beta.organization");
    assert_eq!(beta[0]["n"], expected["organizations"]);
}

#[test]
fn an_encrypted_lake_in_a_store_keeps_its_key_on_every_machine() {
    let (home, other, s3) = (Home::new(), Home::new(), S3::start());
    let (_sandbox, url) = sandbox(&home);
    let run = |home: &Home, key: Option<&str>| {
        let mut command = s3.fhirvest(home, "acme", &url);
        command.env("FHIRVEST__SENSITIVE", "true");
        if let Some(key) = key {
            command.env("FHIRVEST__ENCRYPTION__KEY__ENV", "LAKE_KEY").env("LAKE_KEY", key);
        }
        Done::from(command.output().unwrap())
    };
    run(&home, Some(KEY)).expect(0);
    for machine in [&home, &other] {
        for (key, says) in
            [(None, "are encrypted: `key` below"), (Some(OTHER_KEY), "is not the one that the tables of")]
        {
            let refused = run(machine, key).expect(2).stderr;
            assert!(refused.contains(says) && refused.contains("/the/lake-sensitive"), "{refused}");
        }
    }
    // Another machine with the key reads what was known, and finds nothing new.
    let report = run(&other, Some(KEY)).expect(0).report();
    let told = report["changes"].as_array().unwrap();
    assert!(!told.is_empty() && told.iter().all(|one| one["added"] == 0 && one["removed"] == 0), "{told:?}");
}

#[test]
fn a_place_that_is_no_store_is_told() {
    let (home, s3) = (Home::new(), S3::start());
    let (_sandbox, url) = sandbox(&home);
    s3.run(&home, "acme", &url).expect(0);
    for (lake, says) in [("ftp://host/lake", "no place for a lake"), ("file:///tmp/x", "no place for a lake")] {
        let refused = home.run(&["--lake", lake, "run", "acme"]).expect(2).stderr;
        assert!(refused.contains(says), "{refused}");
    }
    let missing = s3.lake().replace(&s3.bucket, "no-such-bucket-here");
    let mut command = home.fhirvest(&["--lake", &missing, "run", "acme"]);
    s3.sign_in(&mut command);
    let refused = Done::from(command.output().unwrap()).expect(6).stderr;
    assert!(refused.contains("no-such-bucket-here") && !refused.contains("hidden-key"), "{refused}");
}
