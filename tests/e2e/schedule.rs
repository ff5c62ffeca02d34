//! Jobs that run themselves, under a clock that goes twenty times as fast; and the same schedule for other schedulers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{Done, Home, Sandbox, skipped};

pub(crate) fn job(home: &Home, name: &str, schedule: &str) {
    home.write(
        &format!("jobs/{name}.toml"),
        &format!(
            "version = 1\nschedule = \"{schedule}\"\ntimezone = \"America/New_York\"\napi = \"highmark/provider-directory\"\nviews = \
             [\"plan-net/location\"]\n[sandbox]\nsize = 10\n[resources.Location]\n"
        ),
    );
}

/// `fhirvest schedule`, with the address that it serves.
pub(crate) struct Scheduler {
    pub(crate) child: Child,
    address: String,
}

impl Scheduler {
    pub(crate) fn start(home: &Home, clock: &str) -> Self {
        Self::of(home.fhirvest(&["schedule", "--listen", "127.0.0.1:0", "--clock", clock]))
    }

    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        assert!(!address.is_empty(), "the scheduler ended early");
        Self { child, address }
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that has to come; how long that takes says nothing.
pub(crate) fn until(what: &str, mut come: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !come() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what} did not come");
        #[allow(clippy::disallowed_methods, reason = "another process is waited for")]
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn runs(home: &Home) -> Vec<(String, String, String)> {
    if !home.path("lake/.fhirvest/ledger.sqlite").exists() {
        return Vec::new();
    }
    let listed = home.run(&["runs", "--json", "--limit", "1000"]);
    let Ok(Value::Array(listed)) = serde_json::from_str::<Value>(&listed.stdout) else { return Vec::new() };
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    listed.iter().map(|one| (text(one, "job"), text(one, "started_at"), text(one, "state"))).collect()
}

/// What Prometheus' own checker says where it is there; else that every number has a name with a kind and a meaning.
pub(crate) fn check_metrics(text: &str) {
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let told =
            |kind: &str| text.contains(&format!("# {kind} {family} ")) || text.contains(&format!("# {kind} {name} "));
        assert!(told("TYPE") && told("HELP"), "{line}\n{text}");
        assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
    }
    let checker = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut checker) = checker else {
        skipped("promtool checks the metrics", "prometheus");
        return;
    };
    checker.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = checker.wait_with_output().unwrap();
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn the_alerts_of_the_manual_are_rules_for_prometheus() {
    let home = Home::new();
    let manual = std::fs::read_to_string(crate::harness::workspace().join("docs/operations.md")).unwrap();
    let rules = manual.split_once("```yaml\ngroups:").and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    let file = home.write("rules.yaml", &format!("groups:{rules}"));
    let Ok(done) = Command::new("promtool").arg("check").arg("rules").arg(file).output() else {
        return skipped("promtool checks the alerts", "prometheus");
    };
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("6 rules found"), "{said}");
}

#[test]
fn three_jobs_across_the_missing_hour_killed_and_started_again() {
    let home = Home::new();
    job(&home, "often", "* * * * *");
    job(&home, "nightly", "15 2 * * *");
    job(&home, "hourly", "2 * * * *");
    // New York goes from 02:00 to 03:00 at 07:00 UTC; 02:15 does not come.
    let scheduler = Scheduler::start(&home, "2026-03-08T06:58:30Z*20");
    assert_eq!(scheduler.get("/healthz"), (200, "ok\n".into()));
    let over = |job: &str| runs(&home).iter().filter(|one| one.0 == job && one.2 == "finished").count();
    until("the nightly run", || over("nightly") == 1 && over("often") >= 2);
    let (status, page) = scheduler.get("/");
    assert!(status == 200 && page.contains("nightly") && page.contains("15 2 * * *"), "{page}");
    // The ledger knows of a run's end a moment before the metrics do.
    let ended = "fhirvest_run_exit_code{job=\"nightly\"} 0";
    until("the metrics of the nightly run", || scheduler.get("/metrics").1.contains(ended));
    let (status, metrics) = scheduler.get("/metrics");
    assert_eq!(status, 200);
    check_metrics(&metrics);
    scheduler.signal("-KILL");
    drop(scheduler);

    // Hours later: what was missed is caught up once, and nothing runs twice.
    let before = runs(&home).len();
    let mut scheduler = Scheduler::start(&home, "2026-03-08T13:00:30Z*20");
    until("more runs", || over("often") >= 4 && over("hourly") >= 1 && runs(&home).len() > before + 2);
    home.write("jobs/often.toml", "version = 1\nschedule = \"* * *\"\n");
    scheduler.signal("-HUP");
    until("the refusal of the broken file", || scheduler.get("/").1.contains("could not be read again"));
    scheduler.signal("-TERM");
    assert_eq!(scheduler.child.wait().unwrap().code(), Some(0));
    let all = runs(&home);
    // The minute of the day in which each run began, the last one first. On a busy machine a run begins late, and a second of
    // it is twenty of the scheduler's.
    let starts = |job: &str| -> Vec<u32> {
        let of_job = all.iter().filter(|one| one.0 == job);
        of_job.map(|one| 60 * one.1[11..13].parse::<u32>().unwrap() + one.1[14..16].parse::<u32>().unwrap()).collect()
    };
    // At 07:00 and not at 07:15, when it is 03:15 there.
    let nightly = starts("nightly");
    assert!(matches!(nightly[..], [minute] if (7 * 60..7 * 60 + 15).contains(&minute)), "{all:?}");
    for (begin, end) in [(6 * 60 + 58, 13 * 60), (13 * 60, 24 * 60)] {
        let within =
            |job: &str| starts(job).into_iter().filter(|minute| (begin..end).contains(minute)).collect::<Vec<_>>();
        // What was missed before the beginning, and once for each minute since.
        let often = within("often");
        let most = often.iter().max().map_or(0, |last| last - begin + 1);
        assert!(u32::try_from(often.len()).unwrap() <= most, "more runs of often than minutes: {all:?}");
        // At two minutes past the hour, and what was missed in between.
        let hourly = within("hourly");
        let due = hourly.iter().max().map_or(0, |last| (last - 2) / 60 - (begin - 2) / 60);
        let most = due + u32::from(begin == 13 * 60);
        assert!(u32::try_from(hourly.len()).unwrap() <= most, "more runs of hourly than hours: {all:?}");
    }
}

/// A job of sixty pages.
fn sixty_pages(home: &Home, sandbox: &Sandbox, more: &str) {
    home.write(
        "jobs/slow.toml",
        &format!(
            "version = 1\nviews = [\"plan-net/practitioner\"]\n{more}\n[source]\nname = \"acme\"\nbase_url = \"{}\"\n\
             [resources.Practitioner]\npage_size = 1\n",
            sandbox.url("highmark/provider-directory")
        ),
    );
}

#[test]
fn a_scheduler_that_is_stopped_in_the_middle_of_a_run_goes_on_with_it_when_it_starts_again() {
    let home = Home::new();
    let sandbox = Sandbox::start(&home, &["--size", "60"]);
    sixty_pages(&home, &sandbox, "schedule = \"0 0 1 1 *\"");
    let start = |from: &str, rate: &str| {
        let clock = format!("{from}*1");
        let mut command = home.fhirvest(&["schedule", "--listen", "127.0.0.1:0", "--clock", &clock]);
        command.env("FHIRVEST__RATE__REQUESTS_PER_SECOND", rate);
        Scheduler::of(command)
    };
    // A page each second: there is always one to come.
    let mut scheduler = start("2030-12-31T23:59:59Z", "1");
    until("a page", || scheduler.get("/metrics").1.contains("fhirvest_page_archived_total{"));
    assert!(scheduler.get("/").1.contains("running since"));
    scheduler.signal("-TERM");
    assert_eq!(scheduler.child.wait().unwrap().code(), Some(0));
    assert_eq!(runs(&home).iter().map(|one| one.2.as_str()).collect::<Vec<_>>(), ["crawling"]);

    let scheduler = start("2031-01-01T00:10:00Z", "0");
    until("the end of the run", || runs(&home).iter().all(|one| one.2 == "finished"));
    assert_eq!(runs(&home).len(), 1, "it was the same run");
    until("its place on the page", || scheduler.get("/").1.contains("exit 0"));
    assert_eq!(home.count("acme.practitioner"), 60);
}

#[test]
fn a_job_runs_once_at_a_time_whoever_starts_it_and_a_dead_process_holds_nothing() {
    let home = Home::new();
    let sandbox = Sandbox::start(&home, &["--size", "60"]);
    sixty_pages(&home, &sandbox, "");
    let run = |rate: &str| {
        let mut command = home.fhirvest(&["run", "slow", "--json", "-q"]);
        command.env("FHIRVEST__RATE__REQUESTS_PER_SECOND", rate);
        command
    };
    // Sixty pages, one a second.
    let mut first = run("1").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the first run", || runs(&home).iter().any(|one| one.2 == "crawling"));
    let second = Done::from(run("0").output().unwrap()).expect(6);
    assert!(second.stderr.contains(&format!("(pid {})", first.id())), "{}", second.stderr);
    first.kill().unwrap();
    first.wait().unwrap();
    let third = Done::from(run("0").output().unwrap()).expect(0).report();
    assert_eq!((&third["resumed"], &third["resources"][0]["counts"]["archived"]), (&true.into(), &60.into()));
    assert_eq!(runs(&home).len(), 1);
}

fn printed(home: &Home, form: &str) -> String {
    home.run(&["schedule", "--print", form]).expect(0).stdout
}

#[test]
fn the_same_schedule_for_cron_and_systemd() {
    let home = Home::new();
    job(&home, "nightly", "15 2 * * *");
    job(&home, "weekdays", "*/30 6-20 1,15 * MON-FRI");
    let cron = printed(&home, "cron");
    assert!(cron.contains("CRON_TZ=America/New_York\n15 2 * * * cd "), "{cron}");
    assert!(cron.lines().any(|line| line.ends_with(" -q run nightly")), "{cron}");
    let named = home.run(&["schedule", "--environment", "local", "--print", "cron"]).expect(0).stdout;
    assert!(named.contains(" -q run --environment local nightly\n"), "{named}");
    // A line does what it says, pasted into a shell.
    let line = cron.lines().find(|line| line.ends_with("run nightly")).unwrap();
    let command = line.splitn(6, ' ').last().unwrap();
    assert!(Command::new("sh").args(["-c", command]).output().unwrap().status.success(), "{command}");
    assert_eq!(runs(&home).len(), 1);

    // The script as pasted, with a folder of its own for the units and a systemctl that does nothing.
    let units = home.path("units");
    std::fs::create_dir(&units).unwrap();
    home.write("bin/systemctl", "#!/bin/sh\necho \"$@\" >> \"$SYSTEMD_DIR/called\"\n");
    let bin = home.path("bin");
    assert!(Command::new("chmod").args(["+x", bin.join("systemctl").to_str().unwrap()]).status().unwrap().success());
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let script = printed(&home, "systemd");
    let pasted =
        Command::new("sh").args(["-c", &script]).env("PATH", path).env("SYSTEMD_DIR", &units).status().unwrap();
    assert!(pasted.success(), "{script}");
    let called = std::fs::read_to_string(units.join("called")).unwrap();
    assert!(called.contains("enable --now fhirvest-nightly.timer fhirvest-weekdays.timer"), "{called}");
    let service = std::fs::read_to_string(units.join("fhirvest-nightly.service")).unwrap();
    let owner = Command::new("stat").args(["-c", "%U", home.path(".").to_str().unwrap()]).output().unwrap().stdout;
    assert!(service.ends_with(&format!("\nUser={}", String::from_utf8(owner).unwrap())), "{service}");
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        skipped("systemd-analyze verifies the units", "systemd");
        return;
    }
    for name in ["nightly", "weekdays"] {
        for kind in ["service", "timer"] {
            let unit = units.join(format!("fhirvest-{name}.{kind}"));
            let done = Command::new("systemd-analyze").arg("verify").arg(&unit).output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            let ours: Vec<&str> = said.lines().filter(|line| line.contains("fhirvest-")).collect();
            assert!(ours.is_empty(), "{unit:?}: {said}");
        }
    }
    let timer = std::fs::read_to_string(units.join("fhirvest-weekdays.timer")).unwrap();
    for line in timer.lines().filter_map(|line| line.strip_prefix("OnCalendar=")) {
        let done = Command::new("systemd-analyze").args(["calendar", line]).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn the_same_schedule_for_kubernetes() {
    let home = Home::new();
    job(&home, "nightly", "15 2 * * *");
    job(&home, "Weekly", "0 3 * * 0");
    home.write("cronjobs.yaml", &printed(&home, "kubernetes"));
    let python = std::env::var_os("FHIRVEST_PYTHON")
        .map_or_else(|| crate::harness::workspace().join("target/venv/bin/python"), Into::into);
    let script = crate::harness::workspace().join("tests/support/cronjobs.py");
    let done = Command::new(python).arg(script).arg(home.path("cronjobs.yaml")).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(String::from_utf8_lossy(&done.stdout), "fhirvest-weekly fhirvest-nightly\n");
    // Days are named, a lake in a store is the same everywhere, one in a folder is that of the volume.
    let local = std::fs::read_to_string(home.path("cronjobs.yaml")).unwrap();
    assert!(local.contains("schedule: \"0 3 * * Sun\"") && local.contains("\"--lake\", \"/data/lake\", "), "{local}");
    let shared = home.run(&["--lake", "s3://bucket/lake", "schedule", "--print", "kubernetes"]).expect(0).stdout;
    assert!(shared.contains("\"--lake\", \"s3://bucket/lake\", \"--log-format\", \"json\", \"run\", "), "{shared}");
}
