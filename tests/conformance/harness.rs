//! Where the data is, how to drive the binary, DuckDB and a foreign server.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A folder of the reference data.
pub(crate) fn data(folder: &str) -> PathBuf {
    let shared = std::env::var_os("FHIRVEST_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let path = shared.join("data").join(folder);
    assert!(path.is_dir(), "{} is missing: set FHIRVEST_SHARED", path.display());
    path.canonicalize().unwrap()
}

/// The binary, with the shipped configuration.
pub(crate) fn fhirvest() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fhirvest"));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs a command that must end well and gives what it wrote to stdout.
pub(crate) fn stdout_of(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = String::from_utf8(stdout).unwrap();
    assert!(status.success(), "{command:?}\n{status}\n{stdout}\n{}", String::from_utf8_lossy(&stderr));
    stdout
}

fn python(variable: &str, venv: &str) -> PathBuf {
    let path =
        std::env::var_os(variable).map_or_else(|| root().join("target").join(venv).join("bin/python"), PathBuf::from);
    assert!(path.is_file(), "{} is missing: make conformance prepares it", path.display());
    path
}

/// The rows of a query in DuckDB, one object a row, after `views` was executed.
pub(crate) fn query(views: Option<&Path>, sql: &str) -> Vec<Value> {
    query_by(&newest_duckdb(), views, sql)
}

/// The Python of the tests, with the DuckDB that they are written for.
pub(crate) fn newest_duckdb() -> PathBuf {
    python("FHIRVEST_PYTHON", "venv")
}

/// A Python with the oldest DuckDB that `views.sql` promises to run in.
pub(crate) fn oldest_duckdb() -> PathBuf {
    python("FHIRVEST_OLDEST_DUCKDB_PYTHON", "venv-duckdb-1.1")
}

/// As [`query`], in the DuckDB of this Python.
pub(crate) fn query_by(python: &Path, views: Option<&Path>, sql: &str) -> Vec<Value> {
    let mut command = Command::new(python);
    command.arg(root().join("tests/support/query.py"));
    if let Some(views) = views {
        command.arg("--views").arg(views);
    }
    serde_json::from_str(&stdout_of(command.arg(sql))).unwrap()
}

/// One column of a query, as text.
pub(crate) fn column(views: Option<&Path>, sql: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let first = |row: &Value| row.as_object().unwrap().values().next().map(text).unwrap();
    query(views, sql).iter().map(first).collect()
}

/// The ids of `<folder>/<resource_type>.ndjson`, sorted.
pub(crate) fn ids(folder: &Path, resource_type: &str) -> Vec<String> {
    let path = folder.join(format!("{resource_type}.ndjson"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    let mut ids: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(id).collect();
    ids.sort();
    ids
}

/// A server that lives as long as this value.
pub(crate) struct Server {
    process: Child,
    /// The first line that it printed.
    pub greeting: String,
}

impl Server {
    /// Starts it and waits until it says where it is.
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut greeting = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut greeting).unwrap();
        if greeting.trim().is_empty() {
            panic!("{command:?} ended before it served: {:?}", process.wait());
        }
        Self { process, greeting }
    }

    /// The sandbox over a folder of NDJSON, and the base URL of its one API.
    pub(crate) fn sandbox(folder: &Path) -> (Self, String) {
        let mut command = fhirvest();
        let server = Self::start(command.args(["sandbox", "--listen", "127.0.0.1:0", "--data"]).arg(folder));
        let (_, url) = server.greeting.trim().split_once('\t').expect("NAME<TAB>URL");
        let url = url.to_owned();
        (server, url)
    }

    /// sekmet-fhir loaded with a folder of NDJSON: base URL, bearer token, and how many of each type it took.
    pub(crate) fn sekmet(folder: &Path) -> (Self, String, String, BTreeMap<String, usize>) {
        let mut command = Command::new(python("FHIRVEST_CONFORMANCE_PYTHON", "venv-conformance"));
        let server = Self::start(command.arg(root().join("tests/support/sekmet.py")).arg(folder));
        let greeting: Value = serde_json::from_str(&server.greeting).unwrap();
        let text = |name: &str| greeting[name].as_str().unwrap().to_owned();
        let loaded = serde_json::from_value(greeting["loaded"].clone()).unwrap();
        let (url, token) = (text("base_url"), text("token"));
        (server, url, token, loaded)
    }
}

impl Drop for Server {
    /// Closing its stdin ends `sekmet.py` and lets it clean up; the sandbox has nothing to clean up.
    fn drop(&mut self) {
        if let Some(mut stdin) = self.process.stdin.take() {
            let _ = stdin.flush();
            drop(stdin);
        }
        for _ in 0..100 {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            #[allow(clippy::disallowed_methods, reason = "waits for another process to clean up after itself")]
            std::thread::sleep(std::time::Duration::from_millis(50));
            if self.greeting.contains('\t') {
                break;
            }
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
