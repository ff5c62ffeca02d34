//! A member signs in at an OpenID provider that no one here wrote (npm `oidc-provider`), through a browser that is
//! played here, and jobs use and renew the tokens.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use url::Url;

use crate::harness::{Server, root};

const MEMBER: &str = "member-7";
const OBSERVATIONS: u64 = 12;

/// The provider, a job at its FHIR server, and a folder for all that is written.
struct Scene {
    server: Server,
    issuer: String,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Scene {
    fn new() -> Self {
        let script = root().join("target/oidc/provider.mjs");
        let modules = script.with_file_name("node_modules");
        assert!(modules.is_dir(), "{} is missing: make conformance prepares it", modules.display());
        let version = Command::new("node").arg("--version").output();
        assert!(version.is_ok_and(|version| version.status.success()), "node is missing: install Node.js 20 or newer");
        let server = Server::start(Command::new("node").arg(script).stderr(Stdio::null()));
        let told: Value = serde_json::from_str(&server.greeting).unwrap();
        let issuer = told["issuer"].as_str().unwrap().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let job = format!(
            "version = 1\nname = \"members\"\nviews = [\"patient-access/*\"]\n\
             [source]\nname = \"acme\"\nbase_url = \"{issuer}/fhir\"\n\
             auth = {{ kind = \"oauth-code\", issuer = \"{issuer}\", client_id = \"fhirvest\", scopes = [\"openid\", \"offline_access\", \"patient/*.read\"] }}\n\
             [rate]\nrequests_per_second = 0\n[patients]\n[resources.Patient]\n[resources.Observation]\npage_size = 1\n"
        );
        fs::create_dir(folder.path().join("jobs")).unwrap();
        fs::write(folder.path().join("jobs/members.toml"), job).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { server, issuer, folder, runtime }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fhirvest(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fhirvest"));
        command.current_dir(self.folder.path()).env("XDG_DATA_HOME", self.path("data")).stdin(Stdio::null());
        command.arg("--config").arg(root().join("config")).args(arguments);
        command
    }

    fn tokens(&self) -> Option<Value> {
        let text = fs::read_to_string(self.path("data/fhirvest/tokens/acme@local.json")).ok()?;
        serde_json::from_str::<Value>(&text).unwrap().get(0).cloned()
    }

    fn post(&self, path: &str) -> Value {
        self.runtime.block_on(async {
            let answer = reqwest::Client::new().post(format!("{}{path}", self.issuer)).send().await.unwrap();
            serde_json::from_str(&answer.text().await.unwrap()).unwrap()
        })
    }

    /// What the provider's token endpoint did.
    fn grants(&self) -> Vec<String> {
        serde_json::from_value(self.post("/test/grants")).unwrap()
    }

    fn login(&self) -> Login<'_> {
        let mut command = self.fhirvest(&["-vv", "login", "members", "--no-browser"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().parse().unwrap_or_else(|error| {
            let mut told = String::new();
            child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
            panic!("{error}: {line} {told}")
        });
        Login { scene: self, child, url }
    }

    fn signed_in(&self) -> Output {
        let login = self.login();
        let address = login.browse(&login.url, true);
        login.come_back(&address, 0)
    }
}

/// `fhirvest login` that waits for its browser.
struct Login<'a> {
    scene: &'a Scene,
    child: Child,
    url: Url,
}

impl Login<'_> {
    /// The authorization request with another value of a parameter.
    fn altered(&self, name: &str, value: &str) -> Url {
        assert!(self.url.query_pairs().any(|(known, _)| known == name), "{name} in {}", self.url);
        let pairs = self.url.query_pairs();
        let pairs: Vec<_> =
            pairs.map(|(known, old)| (known.clone(), if known == name { value.into() } else { old })).collect();
        let mut url = self.url.clone();
        url.query_pairs_mut().clear().extend_pairs(pairs);
        url
    }

    /// Goes through the provider's pages as a person does; the address that the browser is sent back to.
    fn browse(&self, url: &Url, allows: bool) -> Url {
        self.scene.runtime.block_on(async {
            let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
            let mut cookies: BTreeMap<String, String> = BTreeMap::new();
            let (mut at, mut form) = (url.clone(), None);
            for _ in 0..12 {
                let request = match form.take() {
                    Some(form) => client.post(at.clone()).form(&form),
                    None => client.get(at.clone()),
                };
                let jar: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let answer = request.header("cookie", jar.join("; ")).send().await.unwrap();
                for set in answer.headers().get_all("set-cookie") {
                    let (name, rest) = set.to_str().unwrap().split_once('=').unwrap();
                    cookies.insert(name.to_owned(), rest.split(';').next().unwrap().to_owned());
                }
                cookies.retain(|_, value| !value.is_empty());
                if let Some(to) = answer.headers().get("location") {
                    at = at.join(to.to_str().unwrap()).unwrap();
                    if at.path() == "/callback" {
                        return at;
                    }
                    continue;
                }
                let status = answer.status();
                let page = answer.text().await.unwrap();
                assert_eq!(status.as_u16(), 200, "{page}");
                let prompt = between(&page, "name=\"prompt\" value=\"", "\"").to_owned();
                if prompt == "consent" && !allows {
                    at = at.join(&format!("{}/abort", at.path())).unwrap();
                    continue;
                }
                at = at.join(between(&page, "action=\"", "\"")).unwrap();
                form = Some([("prompt", prompt), ("login", MEMBER.to_owned()), ("password", "any".to_owned())]);
            }
            panic!("the provider leads in a circle")
        })
    }

    fn come_back(self, address: &Url, code: i32) -> Output {
        self.scene.runtime.block_on(async {
            assert_eq!(reqwest::get(address.clone()).await.unwrap().status().as_u16(), 200);
        });
        let output = self.child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        output
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(after).unwrap().0
}

fn told(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).join("\n")
}

/// Every file below a folder but the tokens' own, unpacked where it is packed.
fn everything(folder: &Path, all: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            everything(&path, all);
        } else if !path.ends_with("data/fhirvest/tokens/acme@local.json") {
            let bytes = fs::read(&path).unwrap();
            let packed = path.extension().is_some_and(|end| end == "zst");
            all.push((path, if packed { zstd::decode_all(bytes.as_slice()).unwrap() } else { bytes }));
        }
    }
}

fn holds(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|window| window == word.as_bytes())
}

fn finished(command: &mut Command, code: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{}", told(&output));
    output
}

fn archived(output: &Output, resource_type: &str) -> u64 {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = report["resources"].as_array().unwrap();
    all.iter().find(|one| one["resource_type"] == resource_type).unwrap()["counts"]["archived"].as_u64().unwrap()
}

#[test]
#[ignore = "needs node: make conformance"]
fn a_member_signs_in_at_a_foreign_provider_and_the_token_ends_in_mid_crawl() {
    let scene = Scene::new();
    let login = scene.signed_in();
    let first = scene.tokens().unwrap();
    assert_eq!(first["patient"], MEMBER);
    // After five requests the provider's clock stands behind the token's end.
    scene.post("/test/clock?seconds=901&after=5");
    let run = finished(&mut scene.fhirvest(&["-vv", "run", "members", "--json"]), 0);
    assert_eq!((archived(&run, "Patient"), archived(&run, "Observation")), (1, OBSERVATIONS));
    assert_eq!(scene.grants(), ["authorization_code", "refresh_token"]);
    let last = scene.tokens().unwrap();
    let id = serde_json::from_slice::<Value>(&run.stdout).unwrap()["run"].as_str().unwrap().to_owned();
    let report = finished(&mut scene.fhirvest(&["--lake", "lake-sensitive", "report", &id, "-o", "report.html"]), 0);
    let support = finished(&mut scene.fhirvest(&["--lake", "lake-sensitive", "support", &id]), 0);

    let mut files = Vec::new();
    everything(scene.folder.path(), &mut files);
    let talk = [&login, &run, &report, &support].map(told).join("\n");
    files.push(("what was printed".into(), talk.into_bytes()));
    for tokens in [&first, &last] {
        for name in ["access_token", "refresh_token"] {
            let token = tokens[name].as_str().unwrap();
            for (path, bytes) in &files {
                assert!(!holds(bytes, token), "{name} is in {}", path.display());
            }
        }
    }
    assert_ne!(first["access_token"], last["access_token"]);
    assert_ne!(first["refresh_token"], last["refresh_token"]);
    // The search looks where tokens could be: the archive, the ledger, the report.
    assert!(files.iter().any(|(path, bytes)| path.ends_with("Observation.ndjson.zst") && holds(bytes, "pulse")));
    for name in ["sqlite", "html"] {
        assert!(files.iter().any(|(path, _)| path.extension().is_some_and(|end| end == name)), "{name}");
    }

    finished(&mut scene.fhirvest(&["logout", "members"]), 0);
    assert!(scene.tokens().is_none());
    let refresh = last["refresh_token"].as_str().unwrap();
    scene.runtime.block_on(async {
        let form = [("grant_type", "refresh_token"), ("client_id", "fhirvest"), ("refresh_token", refresh)];
        let answer = reqwest::Client::new().post(format!("{}/token", scene.issuer)).form(&form).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 400, "the provider did not take the token back");
    });
    drop(scene.server);
}

#[test]
#[ignore = "needs node: make conformance"]
fn what_does_not_belong_to_the_sign_in_leaves_nothing() {
    let scene = Scene::new();
    let fails = |login: Login<'_>, address: &Url, words: &str| {
        let output = login.come_back(address, 3);
        assert!(told(&output).contains(words), "{words}: {}", told(&output));
        assert!(scene.tokens().is_none(), "{words}");
    };

    let login = scene.login();
    let address = login.browse(&login.url, false);
    fails(login, &address, "the sign-in was refused (access_denied)");

    let login = scene.login();
    let address = login.browse(&login.altered("state", "another"), true);
    fails(login, &address, "state differs");

    // A challenge of somebody else's verifier: the provider refuses ours.
    let login = scene.login();
    let address = login.browse(&login.altered("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"), true);
    fails(login, &address, "refuses with invalid_grant");

    let login = scene.login();
    let address = login.browse(&login.altered("nonce", "another"), true);
    fails(login, &address, "the ID token cannot be trusted (nonce differs)");

    let login = scene.login();
    let mut address = login.browse(&login.url, true);
    let pairs: Vec<(String, String)> = address.query_pairs().into_owned().collect();
    let pairs = pairs
        .into_iter()
        .map(|(name, value)| if name == "iss" { (name, "https://other.example".into()) } else { (name, value) });
    let pairs: Vec<(String, String)> = pairs.collect();
    assert!(pairs.iter().any(|(name, _)| name == "iss"), "{pairs:?}");
    address.query_pairs_mut().clear().extend_pairs(pairs);
    fails(login, &address, "issuer differs");

    let login = scene.login();
    let address = login.browse(&login.url, true);
    scene.post("/test/clock?seconds=61");
    fails(login, &address, "refuses with invalid_grant");

    assert_eq!(
        scene.grants(),
        ["authorization_code: invalid_grant", "authorization_code", "authorization_code: invalid_grant"]
    );
}

/// The provider ends a sign-in whose refresh token comes twice, so two runs have to take turns.
#[test]
#[ignore = "needs node: make conformance"]
fn two_runs_that_renew_at_once_do_not_end_the_sign_in() {
    let scene = Scene::new();
    scene.signed_in();
    scene.post("/test/clock?seconds=901");
    let path = scene.path("jobs/members.toml");
    let text = fs::read_to_string(&path).unwrap();
    let names = ["one", "two", "three", "four"];
    for name in names {
        fs::write(path.with_file_name(format!("{name}.toml")), text.replace("\"members\"", &format!("\"{name}\"")))
            .unwrap();
    }
    let start = |name: &&str| {
        let mut command = scene.fhirvest(&["--lake", &format!("lake-{name}"), "run", name, "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let running: Vec<Child> = names.iter().map(start).collect();
    for child in running {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        assert_eq!(archived(&output, "Observation"), OBSERVATIONS);
    }
    let grants = scene.grants();
    assert!(grants.iter().all(|grant| !grant.contains(':')), "{grants:?}");
}
