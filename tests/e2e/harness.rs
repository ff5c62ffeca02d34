//! A folder of its own for each test, the binary, a sandbox, and DuckDB through its Python wheel.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Says that a part of a test needs a program that is not here. Written past the test runner, which would keep it to itself.
pub(crate) fn skipped(what: &str, package: &str) {
    let line = format!("skipped, for want of a program: {what} (Debian: apt-get install {package})");
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A temporary folder with copies of the project's configuration and jobs.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file below the folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `fhirvest` in this folder, with the project's own configuration and the jobs of this folder.
    pub(crate) fn fhirvest(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fhirvest"));
        command.current_dir(self.dir.path()).env_remove("RUST_LOG").env("NO_COLOR", "1");
        // Tokens of a sign-in are kept here, not at home.
        command.env("XDG_DATA_HOME", self.path("data"));
        command.arg("--config").arg(workspace().join("config")).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        Done::from(self.fhirvest(arguments).output().unwrap())
    }

    /// Rows of a query over this folder's lake.
    pub(crate) fn duckdb(&self, sql: &str) -> Vec<Value> {
        self.duckdb_in("lake", sql)
    }

    /// Rows of a query over a lake in this folder.
    pub(crate) fn duckdb_in(&self, lake: &str, sql: &str) -> Vec<Value> {
        self.duckdb_after("", lake, sql)
    }

    /// As [`Home::duckdb_in`], in a session that has done something before it opened the lake.
    pub(crate) fn duckdb_after(&self, before: &str, lake: &str, sql: &str) -> Vec<Value> {
        let python = std::env::var_os("FHIRVEST_PYTHON")
            .map_or_else(|| workspace().join("target/venv/bin/python"), PathBuf::from);
        assert!(python.exists(), "{} is missing: `make test` makes it (or `make venv`)", python.display());
        let output = Command::new(python)
            .arg(workspace().join("tests/support/query.py"))
            .args(["--before", before, "--views"])
            .arg(self.path(lake).join("views.sql"))
            .arg(sql)
            // Any directory will do for views.sql.
            .current_dir("/")
            .output()
            .unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn count(&self, table: &str) -> u64 {
        self.duckdb(&format!("SELECT count(*) AS n FROM {table}"))[0]["n"].as_u64().unwrap()
    }

    /// Every file below a folder, by its path there.
    pub(crate) fn files(&self, below: &str) -> Vec<String> {
        fn walk(root: &Path, at: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    walk(root, &entry.path(), found);
                } else {
                    found.push(entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned());
                }
            }
        }
        let (root, mut found) = (self.path(below), Vec::new());
        walk(&root, &root, &mut found);
        found.sort();
        found
    }
}

/// What a finished process left.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Done {
    /// The run's report.
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

/// `fhirvest sandbox` on a free port, ended with the test.
pub(crate) struct Sandbox {
    child: Child,
    apis: Vec<(String, String)>,
}

impl Sandbox {
    pub(crate) fn start(home: &Home, arguments: &[&str]) -> Self {
        Self::start_at(home, "127.0.0.1:0", arguments)
    }

    pub(crate) fn start_at(home: &Home, listen: &str, arguments: &[&str]) -> Self {
        let mut all = vec!["sandbox", "--listen", listen];
        all.extend(arguments);
        let mut command = home.fhirvest(&all);
        let mut child =
            command.env("SANDBOX_KEY", "right").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut sandbox = Self { child, apis: Vec::new() };
        // The list is printed at once, when the server listens: ten mounts of the synthetic payer, one of own data.
        for line in lines.lines().map(Result::unwrap) {
            let (name, url) = line.trim().split_once('\t').unwrap();
            sandbox.apis.push((name.to_owned(), url.to_owned()));
            if name == "fhir" || sandbox.apis.len() == 10 {
                return sandbox;
            }
        }
        panic!("the sandbox ended early");
    }

    pub(crate) fn url(&self, name: &str) -> &str {
        let found = self.apis.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("no API {name} among {:?}", self.apis)).1
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
