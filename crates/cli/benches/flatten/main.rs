//! What flattening costs, measured on the whole program, beside what the same machine can do at best: the bare JSON
//! parser, the Parquet writer alone, and the SQL that an analyst writes for DuckDB instead of a view.
//!
//! CPU seconds (user and system, all threads) are the figures to compare: they bear a busy machine better than the clock.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod data;
mod limits;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use data::Data;
use serde::Deserialize;

/// Runs of each command, in turn; the median counts.
const RUNS: usize = 3;

#[derive(Debug, Clone, Copy, Deserialize)]
struct Cost {
    cpu: f64,
    wall: f64,
    peak: f64,
}

struct Bench {
    python: PathBuf,
    root: PathBuf,
    output: PathBuf,
}

impl Bench {
    fn measure(&self, command: &[&str]) -> Cost {
        let measure = self.root.join("tests/support/measure.py");
        let done = Command::new(&self.python).arg(measure).args(command).output().unwrap();
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    /// Our program over some inputs with some views.
    fn ours(&self, views: &[PathBuf], inputs: &[&Path], threads: usize) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut command = vec![env!("CARGO_BIN_EXE_fhirvest").to_owned(), "flatten".into(), "--quiet".into()];
        command.extend(["--threads".into(), threads.to_string()]);
        command.extend(views.iter().flat_map(|view| ["--view".into(), text(view)]));
        command.extend(inputs.iter().flat_map(|input| ["--input".into(), text(input)]));
        command.extend(["--output".into(), text(&self.output.join("ours"))]);
        command
    }

    fn by_hand(&self, data: &Data) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let script = text(&self.root.join("tests/support/by_hand.py"));
        vec![
            text(&self.python),
            script,
            text(&data.roles),
            text(&data.practitioners),
            text(&self.output.join("by_hand")),
        ]
    }

    /// Commands in turn, several times; the median of each.
    fn in_turn<const N: usize>(&self, commands: [&[String]; N]) -> [Cost; N] {
        let mut costs = [const { Vec::new() }; N];
        for _ in 0..RUNS {
            for (costs, command) in costs.iter_mut().zip(commands) {
                costs.push(self.measure(&command.iter().map(String::as_str).collect::<Vec<_>>()));
            }
        }
        costs.map(|costs: Vec<Cost>| Cost {
            cpu: median(costs.iter().map(|cost| cost.cpu)),
            wall: median(costs.iter().map(|cost| cost.wall)),
            peak: median(costs.iter().map(|cost| cost.peak)),
        })
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn show(what: &str, bytes: u64, cost: Cost) {
    #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
    let megabytes = bytes as f64 / 1e6;
    println!(
        "{what:<58} {:>7.2} CPU s {:>7.0} MB/s a core {:>7.2} s {:>7.0} MB/s {:>6.0} MiB",
        cost.cpu,
        megabytes / cost.cpu,
        cost.wall,
        megabytes / cost.wall,
        cost.peak / 1024.0 / 1024.0
    );
}

fn views(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| wanted(&fs::read_to_string(path).unwrap()))
        .collect();
    paths.sort();
    paths
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let python = std::env::var_os("FHIRVEST_PYTHON").map_or_else(|| root.join("target/venv/bin/python"), PathBuf::from);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-flatten");
    let bench = Bench { python, root, output: folder.join("out") };
    let data = Data::make(&folder).unwrap();
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let (role_bytes, all_bytes) = (size(&data.roles), size(&data.roles) + size(&data.practitioners));

    println!("two views over {} MB of PractitionerRole and Practitioner, to Parquet", all_bytes / 1_000_000);
    let own_views = bench.root.join("crates/cli/benches/flatten/views");
    let own_views = views(&own_views, |_| true);
    let inputs = [data.roles.as_path(), data.practitioners.as_path()];
    let (one, two) = (bench.ours(&own_views, &inputs, 1), bench.ours(&own_views, &inputs, 2));
    let by_hand = bench.by_hand(&data);
    let [one, two, by_hand] = bench.in_turn([&one, &two, &by_hand]);
    show("fhirvest flatten, one thread", all_bytes, one);
    show("fhirvest flatten, two threads", all_bytes, two);
    show("DuckDB, SQL by hand", all_bytes, by_hand);
    println!("ratio of CPU seconds to DuckDB by hand: {:.2}", two.cpu / by_hand.cpu);

    let compressed = Data::compressed(&data.roles).unwrap();
    let shipped = views(&bench.root.join("config/views/plan-net"), |text| {
        serde_json::from_str::<serde_json::Value>(text).unwrap()["resource"] == "PractitionerRole"
    });
    println!(
        "\n{} shipped views of PractitionerRole over {} MB of NDJSON in zstd, to Parquet",
        shipped.len(),
        role_bytes / 1_000_000
    );
    let (one, two) = (bench.ours(&shipped, &[&compressed], 1), bench.ours(&shipped, &[&compressed], 2));
    let [one, two] = bench.in_turn([&one, &two]);
    show("fhirvest flatten, one thread", role_bytes, one);
    show("fhirvest flatten, two threads", role_bytes, two);
    println!("two threads are {:.2} times as fast as one", one.wall / two.wall);

    println!("\nwhat this machine does at best, on one core");
    limits::show(&data, &bench.output.join("ours/role.parquet"));
}
