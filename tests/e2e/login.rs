//! A member signs in through a browser, which is played here, and a job reads that member's data.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::harness::{Done, Home, Sandbox};

const API: &str = "highmark/patient-access";
const TOKENS: &str = "data/fhirvest/tokens/acme@local.json";

/// A job at a sandbox that runs beside it, as fast as `rate`.
fn job(home: &Home, sandbox: &Sandbox, rate: u32) {
    let text = format!(
        r#"
version = 1
name = "members"
[rate]
requests_per_second = {rate}
[source]
name = "acme"
base_url = "{}"
auth = {{ kind = "oauth-code", client_id = "fhirvest-local", client_secret = {{ env = "CLIENT_SECRET" }}, scopes = ["launch/patient", "openid", "offline_access", "patient/*.rs"] }}
[resources.Patient]
[resources.Observation]
page_size = 1
"#,
        sandbox.url(API)
    );
    home.write("jobs/members.toml", &text);
}

fn sandbox(home: &Home, arguments: &[&str]) -> Sandbox {
    let all = [&["--size", "8", "--sign-in", "--client-secret-env", "SANDBOX_KEY"], arguments].concat();
    Sandbox::start(home, &all)
}

fn run(home: &Home) -> Done {
    let mut command = home.fhirvest(&["-vv", "run", "members", "--json"]);
    Done::from(command.env("CLIENT_SECRET", "right").output().unwrap())
}

/// What a browser sees.
struct Page {
    status: u16,
    location: Option<String>,
    text: String,
}

fn browse(url: &str, form: Option<&[(String, String)]>) -> Page {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let request = match form {
            Some(form) => client.post(url).form(form),
            None => client.get(url),
        };
        let answer = request.send().await.unwrap();
        let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
        Page { status: answer.status().as_u16(), location, text: answer.text().await.unwrap() }
    })
}

/// `fhirvest login` with its address printed.
struct Login {
    child: Child,
    url: url::Url,
}

impl Login {
    fn begin(home: &Home, more: &[&str]) -> Self {
        let mut command = home.fhirvest(&[&["login", "members", "--no-browser"], more].concat());
        command.env("CLIENT_SECRET", "right").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().parse().unwrap_or_else(|error| {
            let mut told = String::new();
            child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
            panic!("{error}: {line} {told}")
        });
        Self { child, url }
    }

    fn parameters(&self) -> HashMap<String, String> {
        self.url.query_pairs().into_owned().collect()
    }

    /// The page's own form, sent with a decision; where the browser is sent.
    fn decide(&self, decision: &str) -> String {
        let page = browse(self.url.as_str(), None);
        assert_eq!(page.status, 200, "{}", page.text);
        let member = page.text.split("<option selected>").nth(1).unwrap().split('<').next().unwrap();
        let mut form: Vec<(String, String)> = self.url.query_pairs().into_owned().collect();
        form.extend([("member".into(), member.into()), ("decision".into(), decision.into())]);
        let (endpoint, _) = self.url.as_str().split_once('?').unwrap();
        let page = browse(endpoint, Some(&form));
        assert_eq!(page.status, 302, "{}", page.text);
        page.location.unwrap()
    }

    fn come_back(self, address: &str) -> Done {
        let page = browse(address, None);
        assert_eq!(page.status, 200, "{}", page.text);
        Done::from(self.child.wait_with_output().unwrap())
    }

    fn succeed(home: &Home) -> Done {
        let login = Self::begin(home, &[]);
        let address = login.decide("allow");
        login.come_back(&address).expect(0)
    }
}

fn tokens(home: &Home) -> Value {
    let text = std::fs::read_to_string(home.path(TOKENS)).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()[0].clone()
}

fn archived(report: &Value, resource_type: &str) -> u64 {
    let all = report["resources"].as_array().unwrap();
    all.iter().find(|one| one["resource_type"] == resource_type).unwrap()["counts"]["archived"].as_u64().unwrap()
}

/// Every file below the lake, unpacked where it is packed, in one text.
fn lake_text(home: &Home) -> Vec<u8> {
    let mut all = Vec::new();
    for name in home.files("lake") {
        let bytes = std::fs::read(home.path("lake").join(&name)).unwrap();
        all.extend(if name.ends_with(".zst") { zstd::decode_all(bytes.as_slice()).unwrap() } else { bytes });
    }
    all
}

fn holds(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|window| window == word.as_bytes())
}

#[test]
fn a_member_signs_in_and_a_job_reads_that_members_data_alone() {
    let home = Home::new();
    let sandbox = sandbox(&home, &[]);
    job(&home, &sandbox, 0);
    let before = run(&home).expect(3);
    assert!(before.stderr.contains("nobody has signed in: run `fhirvest login members` first"), "{}", before.stderr);
    assert!(!home.path("lake").exists());

    let login = Login::begin(&home, &[]);
    let asked = login.parameters();
    assert_eq!((asked["code_challenge_method"].as_str(), asked["aud"].as_str()), ("S256", sandbox.url(API)));
    assert!(asked["redirect_uri"].starts_with("http://127.0.0.1:") && asked.contains_key("nonce"));
    let address = login.decide("allow");
    let done = login.come_back(&address).expect(0);
    assert!(done.stderr.contains("next: fhirvest run members"), "{}", done.stderr);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(home.path(TOKENS)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    let done_run = run(&home).expect(0);
    assert_eq!(archived(&done_run.report(), "Patient"), 1);
    let kept = tokens(&home);
    let text = lake_text(&home);
    for name in ["access_token", "refresh_token"] {
        let token = kept[name].as_str().unwrap();
        let told = [&done.stdout, &done.stderr, &done_run.stdout, &done_run.stderr];
        assert!(told.iter().all(|text| !text.contains(token)), "{name}");
        assert!(!holds(&text, token), "{name} is in the lake");
    }
    // The check looks where tokens could be.
    assert!(holds(&text, kept["patient"].as_str().unwrap()));

    let done =
        Done::from(home.fhirvest(&["logout", "members"]).env("CLIENT_SECRET", "right").output().unwrap()).expect(0);
    assert!(done.stderr.contains("the server took the tokens back"), "{}", done.stderr);
    assert!(!home.path(TOKENS).exists());
    assert!(run(&home).expect(3).stderr.contains("nobody has signed in"));
}

#[test]
fn a_refusal_another_sign_ins_answer_and_silence_leave_nothing() {
    let home = Home::new();
    let sandbox = sandbox(&home, &[]);
    job(&home, &sandbox, 0);
    let denied = Login::begin(&home, &[]);
    let address = denied.decide("deny");
    let done = denied.come_back(&address).expect(3);
    assert!(done.stderr.contains("the sign-in was refused (access_denied)"), "{}", done.stderr);

    let foreign = Login::begin(&home, &[]);
    let state = foreign.parameters()["state"].clone();
    let address = foreign.decide("allow").replace(&state, "another");
    let done = foreign.come_back(&address).expect(3);
    assert!(done.stderr.contains("state differs"), "{}", done.stderr);

    let silent = Login::begin(&home, &["--timeout", "1"]);
    let done = Done::from(silent.child.wait_with_output().unwrap()).expect(3);
    assert!(done.stderr.contains("nobody came back"), "{}", done.stderr);
    assert!(!home.path(TOKENS).exists());
}

#[test]
fn a_token_is_renewed_in_mid_crawl() {
    let home = Home::new();
    let sandbox = sandbox(&home, &["--token-lifetime", "4"]);
    job(&home, &sandbox, 4);
    Login::succeed(&home);
    let first = tokens(&home);
    let report = run(&home).expect(0).report();
    assert!(archived(&report, "Observation") > 16, "too few to need a second token");
    let last = tokens(&home);
    assert_ne!(first["refresh_token"], last["refresh_token"]);
    assert_eq!(first["patient"], last["patient"]);
}

#[test]
fn a_sign_in_that_ends_in_mid_crawl_can_be_done_again_and_the_run_goes_on() {
    let home = Home::new();
    let sandbox = sandbox(&home, &["--token-lifetime", "5", "--no-refresh"]);
    job(&home, &sandbox, 3);
    Login::succeed(&home);
    let done = run(&home).expect(3);
    assert!(done.stdout.contains("the sign-in is over: run `fhirvest login members`"), "{}", done.stdout);
    Login::succeed(&home);
    job(&home, &sandbox, 0);
    let again = run(&home).expect(0).report();
    assert_eq!((again["resumed"].as_bool(), again["run"].clone()), (Some(true), done.report()["run"].clone()));
    let ids = home.files("lake/archive");
    assert_eq!(ids.iter().filter(|name| name.ends_with("Observation.ndjson.zst")).count(), 1);
    let text = lake_text(&home);
    assert!(!holds(&text, tokens(&home)["access_token"].as_str().unwrap()));
}

#[test]
fn what_nobody_signs_in_to_is_told() {
    let home = Home::new();
    let done = home.run(&["login", "highmark/provider-directory", "--environment", "production"]).expect(2);
    assert!(done.stderr.contains("not filled in"), "{}", done.stderr);
    let done = home.run(&["login", "highmark/patient-access"]).expect(2);
    assert!(done.stderr.contains("built-in sandbox here"), "{}", done.stderr);
}

#[test]
fn a_registered_address_is_the_one_that_is_listened_at() {
    let home = Home::new();
    let sandbox = sandbox(&home, &[]);
    job(&home, &sandbox, 0);
    // Below the ports that systems give out by themselves, so that nobody else takes it meanwhile.
    let first = 20_000 + u16::try_from(std::process::id() % 5_000).unwrap();
    let free = |port| Some((std::net::TcpListener::bind(("127.0.0.1", port)).ok()?, port));
    let (taken, port) = (first..30_000).find_map(free).unwrap();
    let registered = format!("http://127.0.0.1:{port}/back/from/sign-in");
    let text = std::fs::read_to_string(home.path("jobs/members.toml")).unwrap();
    home.write("jobs/members.toml", &text.replace("scopes =", &format!("redirect_uri = \"{registered}\", scopes =")));
    let mut command = home.fhirvest(&["login", "members", "--no-browser"]);
    let done = Done::from(command.env("CLIENT_SECRET", "right").output().unwrap()).expect(6);
    assert!(done.stderr.contains(&format!("127.0.0.1:{port} cannot be listened on")), "{}", done.stderr);

    drop(taken);
    let login = Login::begin(&home, &[]);
    assert_eq!(login.parameters()["redirect_uri"], registered);
    let address = login.decide("allow");
    assert!(address.starts_with(&registered), "{address}");
    login.come_back(&address).expect(0);
}
