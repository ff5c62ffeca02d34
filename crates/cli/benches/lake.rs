//! What a large lake costs after the crawl: two nights of a directory, the second one of another world, so that nearly every
//! role has changed. Prints the seconds of flattening, of comparing (`_changes`, `_seen`) and of publishing, and the most
//! memory of the whole run; fails where comparing and publishing take more than twice as long as flattening, or a run more
//! than 400 MiB. The binary runs as a process of its own beside the sandbox's. `FHIRVEST_BENCH_SIZE` is the number of
//! practitioners in the sandbox (roles are about 2.3 each; 434000 make a million).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a benchmark measures real time and prints")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

const MOST_MEMORY_MIB: u64 = 400;

/// Between two looks at the memory of a run. What Linux tells is the most so far, so only the last moments can be missed.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fhirvest"));
    command.current_dir(folder).arg("--config").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config"));
    command
}

/// A sandbox that ends with this value, and the address of its directory.
struct Sandbox(Child, String);

impl Sandbox {
    fn start(folder: &Path, size: usize, seed: usize) -> Self {
        let mut command = program(folder);
        command.args(["sandbox", "--listen", "127.0.0.1:0", "--size", &size.to_string(), "--seed", &seed.to_string()]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().split_once('\t').unwrap().1.to_owned();
        Self(child, url)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// What a night cost: seconds of flattening, comparing and publishing, and MiB.
struct Night {
    stages: [f64; 3],
    peak: u64,
}

fn night(folder: &Path, url: &str) -> Night {
    let job = format!(
        "version = 1\nenvironment = \"bench\"\nviews = [\"plan-net/*\"]\nmax_shrink = 1.0\n[source]\nname = \"acme\"\nbase_url = \"{url}\"\n\
         [rate]\nrequests_per_second = 0\n[resources.PractitionerRole]\npage_size = 1000\n"
    );
    fs::create_dir_all(folder.join("jobs")).unwrap();
    fs::write(folder.join("jobs/large.toml"), job).unwrap();
    let mut child = program(folder)
        .args(["--log-format", "json", "run", "large", "--json"])
        .env("RUST_LOG", "fhirvest_jobs::run::finish=debug")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(child.stderr.take().unwrap());
    let told = thread::spawn(move || told.lines().map(Result::unwrap).collect::<Vec<_>>());
    let mut peak = 0;
    let status = loop {
        peak = memory(child.id()).unwrap_or(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        thread::sleep(BETWEEN_LOOKS);
    };
    let told = told.join().unwrap();
    assert!(status.success(), "{told:?}");
    let line = told.iter().find(|line| line.contains("seconds of each stage")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    Night { stages: ["flatten", "compare", "publish"].map(|stage| line[stage].as_f64().unwrap()), peak }
}

/// The most memory that a process has had, in MiB, as Linux tells it.
fn memory(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

fn main() {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let size = std::env::var("FHIRVEST_BENCH_SIZE").ok().and_then(|text| text.parse().ok()).unwrap_or(41_700);
    let folder = tempfile::tempdir().unwrap();
    for seed in 1..=2 {
        let sandbox = Sandbox::start(folder.path(), size, seed);
        let Night { stages: [flatten, compare, publish], peak } = night(folder.path(), &sandbox.1);
        let ratio = (compare + publish) / flatten;
        println!(
            "night {seed} of {size} practitioners' roles: flatten {flatten:.2} s, compare {compare:.2} s, publish \
             {publish:.2} s ({ratio:.2} of flatten), peak memory {peak} MiB"
        );
        assert!(ratio <= 2.0, "comparing and publishing take more than twice as long as flattening");
        assert!(peak < MOST_MEMORY_MIB, "the run took {peak} MiB");
    }
}
