//! The scheduler under a clock that a test sets: minutes pass in no time, over days with 23 and 25 hours.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use fhirvest_lake::{Lake, Sensitivity};
use tokio::sync::{mpsc, watch};

use super::{Ended, Order, Runner, Scheduler};
use crate::{
    clock::Clock,
    config::{ConfigError, Job, Loader},
    ledger::{Ledger, NewRun, RunState},
    run::{Exit, RunReport},
};

/// A folder with jobs and a lake.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new(jobs: &[(&str, &str)]) -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap() };
        for (name, schedule) in jobs {
            home.job(name, schedule);
        }
        home
    }

    fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.dir.path()).unwrap()
    }

    fn job(&self, name: &str, schedule: &str) {
        let text = format!(
            "version = 1\nschedule = \"{schedule}\"\ntimezone = \"America/New_York\"\napi = \
             \"highmark/provider-directory\"\nviews = []\n[resources.Location]\n"
        );
        std::fs::create_dir_all(self.path().join("jobs")).unwrap();
        std::fs::write(self.path().join(format!("jobs/{name}.toml")), text).unwrap();
    }

    fn jobs(&self) -> Result<Vec<Job>, ConfigError> {
        jobs_of(&self.path().join("jobs"), &self.path().join("lake"))
    }

    fn ledger(&self) -> Ledger {
        let lake = Lake::at(&self.path().join("lake"));
        lake.create(Sensitivity::Public).unwrap();
        Ledger::open(&lake.ledger_path()).unwrap()
    }
}

fn jobs_of(jobs: &Utf8Path, lake: &Utf8Path) -> Result<Vec<Job>, ConfigError> {
    let flags = vec![("lake".to_owned(), lake.to_string())];
    Loader { config: "no/such/folder".into(), jobs: jobs.to_owned(), variables: Some(BTreeMap::new()), flags }.jobs(&[])
}

/// A job, its run, and when that began.
type Begun = (String, String, DateTime<Utc>);

/// Begins a run in the ledger as the real one does, or goes on with one, and takes its time.
struct Rehearsal {
    lake: Utf8PathBuf,
    clock: Clock,
    takes: Duration,
    begun: Arc<Mutex<Vec<Begun>>>,
    later: Option<DateTime<Utc>>,
}

impl Rehearsal {
    fn new(home: &Home, clock: Clock, takes: u64) -> Self {
        let lake = home.path().join("lake");
        Self { lake, clock, takes: Duration::from_secs(takes), begun: Arc::default(), later: None }
    }

    fn begin(&self, job: &Job) -> String {
        let lake = Lake::at(&self.lake);
        lake.create(Sensitivity::Public).unwrap();
        let ledger = Ledger::open(&lake.ledger_path()).unwrap();
        if let Some(unfinished) = ledger.unfinished(&job.name).unwrap() {
            return unfinished.run;
        }
        let new = NewRun {
            job: job.name.clone(),
            source: job.source.name.clone(),
            environment: "local".into(),
            fingerprint: "{}".into(),
        };
        ledger.begin(&new, self.clock.now()).unwrap().run
    }

    fn report(&self, job: &Job, run: &str, exit: Exit) -> RunReport {
        let now = self.clock.now();
        serde_json::from_value(serde_json::json!({
            "run": run, "job": job.name, "source": job.source.name, "environment": "local", "base_url": "http://localhost/",
            "lake": self.lake, "resumed": false, "started_at": now, "finished_at": now, "seconds": 0.0,
            "exit_code": exit.code(), "resources": [], "tables": [], "retry_not_before": self.later, "next_step": "",
        }))
        .unwrap()
    }
}

impl Runner for Rehearsal {
    async fn run(&self, job: Arc<Job>, mut cancel: watch::Receiver<bool>) -> Ended {
        let run = self.begin(&job);
        self.begun.lock().unwrap().push((job.name.clone(), run.clone(), self.clock.now()));
        let exit = tokio::select! {
            () = tokio::time::sleep(self.takes) => if self.later.is_some() { Exit::Later } else { Exit::Done },
            Ok(_) = cancel.wait_for(|cancelled| *cancelled) => Exit::Interrupted,
        };
        let report = self.report(&job, &run, exit);
        let mut ledger = Ledger::open(&Lake::at(&self.lake).ledger_path()).unwrap();
        match exit {
            Exit::Done => {
                let text = serde_json::to_string(&report).unwrap();
                ledger.finish(&run, &[], 0, &text, self.clock.now()).unwrap();
            }
            _ => ledger.set_retry(&run, self.later).unwrap(),
        }
        Ended { exit, report: Some(Box::new(report)) }
    }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Runs the jobs of a home for some minutes from a moment on, then stops; what began when, as hours and minutes in UTC.
async fn rehearse(home: &Home, from: &str, minutes: u64, takes: u64) -> Vec<String> {
    let clock = Clock::set(at(from), 1);
    let runner = Rehearsal::new(home, clock, takes);
    let begun = Arc::clone(&runner.begun);
    let scheduler = Scheduler::new(runner, clock, home.jobs().unwrap()).await.unwrap();
    let (orders, received) = mpsc::channel(1);
    let running = tokio::spawn(scheduler.run(received, || Ok(Vec::new())));
    tokio::time::sleep(Duration::from_secs(minutes * 60)).await;
    orders.send(Order::Stop).await.unwrap();
    running.await.unwrap();
    let begun = begun.lock().unwrap();
    begun.iter().map(|(job, _, when)| format!("{} {job}", when.format("%H:%M"))).collect()
}

#[tokio::test(start_paused = true)]
async fn three_jobs_run_at_their_times_across_the_hour_that_is_missing() {
    // New York, 2026-03-08: at 07:00 UTC the clock goes from 02:00 to 03:00.
    let home = Home::new(&[("nightly", "15 2 * * *"), ("often", "*/20 * * * *"), ("hourly", "5 * * * *")]);
    let begun = rehearse(&home, "2026-03-08T06:30:00Z", 71, 5).await;
    assert_eq!(
        begun,
        ["06:40 often", "07:00 nightly", "07:00 often", "07:05 hourly", "07:20 often", "07:40 often"],
        "02:15 does not come that night: right after the gap, and once"
    );
    // And the hour that comes twice: 2026-11-01, at 06:00 UTC from 02:00 back to 01:00.
    let home = Home::new(&[("nightly", "15 1 * * *"), ("hourly", "5 * * * *")]);
    let begun = rehearse(&home, "2026-11-01T04:50:00Z", 150, 5).await;
    assert_eq!(begun, ["05:05 hourly", "05:15 nightly", "06:05 hourly", "07:05 hourly"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_never_overlaps_itself_and_others_are_not_kept_waiting() {
    let home = Home::new(&[("slow", "* * * * *"), ("other", "*/2 * * * *")]);
    let begun = rehearse(&home, "2026-05-01T12:00:30Z", 6, 150).await;
    let of = |job: &str| -> Vec<&str> {
        begun.iter().filter(|one| one.ends_with(job)).map(|one| one.split(' ').next().unwrap()).collect()
    };
    assert_eq!(of("slow"), ["12:01", "12:04"]);
    assert_eq!(of("other"), ["12:02", "12:06"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_caught_up_once() {
    let home = Home::new(&[("nightly", "15 2 * * *"), ("new", "15 2 * * *")]);
    let mut ledger = home.ledger();
    let new =
        NewRun { job: "nightly".into(), source: "s".into(), environment: "local".into(), fingerprint: "{}".into() };
    let run = ledger.begin(&new, at("2026-05-01T06:15:00Z")).unwrap().run;
    ledger.finish(&run, &[], 0, "{}", at("2026-05-01T07:00:00Z")).unwrap();
    drop(ledger);
    // Three nights later. A job that never ran waits for its time.
    let begun = rehearse(&home, "2026-05-04T15:00:00Z", 16 * 60, 5).await;
    assert_eq!(begun, ["15:00 nightly", "06:15 new", "06:15 nightly"]);
}

#[tokio::test(start_paused = true)]
async fn killed_and_started_again_nothing_runs_twice() {
    let home = Home::new(&[("a", "*/5 * * * *"), ("b", "*/7 * * * *"), ("c", "*/5 * * * *")]);
    let (from, mut killed) = (at("2026-05-01T12:00:30Z"), Vec::new());
    let started = tokio::time::Instant::now();
    // Killed 13 times, at odd moments: during runs, between them, and just after one was due.
    for life in 0..13_u64 {
        let clock = Clock::Set { from, since: started, speed: 1 };
        let runner = Rehearsal::new(&home, clock, 40);
        let begun = Arc::clone(&runner.begun);
        let scheduler = Scheduler::new(runner, clock, home.jobs().unwrap()).await.unwrap();
        let (_orders, received) = mpsc::channel(1);
        let running = tokio::spawn(scheduler.run(received, || Ok(Vec::new())));
        tokio::time::sleep(Duration::from_secs(61 + life * 37)).await;
        running.abort();
        let _ = running.await;
        killed.extend(begun.lock().unwrap().clone());
        // A while nobody is there.
        tokio::time::sleep(Duration::from_secs(11)).await;
    }
    let ended = Clock::Set { from, since: started, speed: 1 }.now();
    let runs = home.ledger().runs(None, 1_000).unwrap();
    for job in home.jobs().unwrap() {
        let table = job.timetable().unwrap().unwrap();
        let planned: Vec<_> = std::iter::successors(table.after(from), |at| table.after(*at))
            .take_while(|at| *at < ended - chrono::TimeDelta::seconds(20))
            .collect();
        let of_job: Vec<_> = runs.iter().filter(|run| run.job == job.name).map(|run| run.started_at).collect();
        // No two runs for one time, and no time without one unless the job was then still at it.
        for pair in of_job.windows(2) {
            assert!(table.after(pair[1]).unwrap() <= pair[0], "{}: {pair:?}", job.name);
        }
        assert!(of_job.len() <= planned.len(), "{}: {} runs of {} times", job.name, of_job.len(), planned.len());
        assert!(
            of_job.len() * 10 >= planned.len() * 8,
            "{}: {} runs of {} times",
            job.name,
            of_job.len(),
            planned.len()
        );
    }
    // What was begun again is the same run.
    assert!(killed.len() > runs.len(), "some were killed in mid-run: {} begun, {} runs", killed.len(), runs.len());
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_keeps_the_old_jobs_and_a_good_one_replaces_them() {
    let home = Home::new(&[("a", "*/10 * * * *")]);
    let clock = Clock::set(at("2026-05-01T12:00:30Z"), 1);
    let runner = Rehearsal::new(&home, clock, 1);
    let begun = Arc::clone(&runner.begun);
    let scheduler = Scheduler::new(runner, clock, home.jobs().unwrap()).await.unwrap();
    let board = scheduler.board();
    let (orders, received) = mpsc::channel(1);
    let (jobs, lake) = (home.path().join("jobs"), home.path().join("lake"));
    let running = tokio::spawn(scheduler.run(received, move || jobs_of(&jobs, &lake)));
    let minutes = |minutes: u64| tokio::time::sleep(Duration::from_secs(minutes * 60));

    minutes(1).await;
    home.job("a", "* * * *");
    orders.send(Order::Reload).await.unwrap();
    minutes(10).await;
    assert!(board.borrow().reload_problem.as_deref().unwrap().contains("five fields"), "{:?}", board.borrow());
    assert_eq!(begun.lock().unwrap().len(), 1, "12:10, as before");

    home.job("a", "30 * * * *");
    home.job("b", "20 * * * *");
    orders.send(Order::Reload).await.unwrap();
    minutes(25).await;
    assert_eq!(board.borrow().reload_problem, None);
    orders.send(Order::Stop).await.unwrap();
    running.await.unwrap();
    let begun: Vec<String> =
        begun.lock().unwrap().iter().map(|(job, _, when)| format!("{} {job}", when.format("%H:%M"))).collect();
    assert_eq!(begun, ["12:10 a", "12:20 b", "12:30 a"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_to_come_back_is_asked_then() {
    let home = Home::new(&[("a", "0 2 * * *")]);
    let clock = Clock::set(at("2026-05-01T05:59:30Z"), 1);
    let mut runner = Rehearsal::new(&home, clock, 60);
    runner.later = Some(at("2026-05-01T09:30:00Z"));
    let begun = Arc::clone(&runner.begun);
    let scheduler = Scheduler::new(runner, clock, home.jobs().unwrap()).await.unwrap();
    let (orders, received) = mpsc::channel(1);
    let running = tokio::spawn(scheduler.run(received, || Ok(Vec::new())));
    tokio::time::sleep(Duration::from_secs(5 * 3600)).await;
    orders.send(Order::Stop).await.unwrap();
    running.await.unwrap();
    let begun: Vec<String> = begun.lock().unwrap().iter().map(|(_, _, at)| at.format("%H:%M").to_string()).collect();
    assert_eq!(begun, ["06:00", "09:30"]);
    assert_eq!(home.ledger().runs(None, 9).unwrap().len(), 1, "the second goes on with the first");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_has_run_meanwhile_is_not_run_again() {
    let home = Home::new(&[("a", "0 * * * *")]);
    let text = std::fs::read_to_string(home.path().join("jobs/a.toml")).unwrap();
    std::fs::write(home.path().join("jobs/a.toml"), text.replace("views", "jitter = \"59m\"\nviews")).unwrap();
    let planned = at("2026-05-01T12:00:00Z");
    let delayed = super::delay("a", planned, Duration::from_secs(59 * 60));
    assert!(delayed > Duration::from_secs(60), "the test needs a job whose delay leaves room: {delayed:?}");
    let new = NewRun { job: "a".into(), source: "s".into(), environment: "local".into(), fingerprint: "{}".into() };
    let clock = Clock::set(at("2026-05-01T11:59:30Z"), 1);
    let runner = Rehearsal::new(&home, clock, 5);
    let begun = Arc::clone(&runner.begun);
    let scheduler = Scheduler::new(runner, clock, home.jobs().unwrap()).await.unwrap();
    let mut ledger = home.ledger();
    let run = ledger.begin(&new, at("2026-05-01T12:00:10Z")).unwrap().run;
    ledger.finish(&run, &[], 0, "{}", at("2026-05-01T12:00:20Z")).unwrap();
    let (orders, received) = mpsc::channel(1);
    let running = tokio::spawn(scheduler.run(received, || Ok(Vec::new())));
    tokio::time::sleep(Duration::from_secs(60 * 60)).await;
    orders.send(Order::Stop).await.unwrap();
    running.await.unwrap();
    assert_eq!(*begun.lock().unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_is_running_is_left_to_them() {
    let home = Home::new(&[("a", "*/10 * * * *"), ("b", "*/10 * * * *")]);
    drop(home.ledger());
    let clock = Clock::set(at("2026-05-01T12:09:00Z"), 1);
    let runner = Rehearsal::new(&home, clock, 5);
    let begun = Arc::clone(&runner.begun);
    let scheduler = Scheduler::new(runner, clock, home.jobs().unwrap()).await.unwrap();
    let board = scheduler.board();
    let (orders, received) = mpsc::channel(1);
    let held = Lake::at(&home.path().join("lake")).lock("a").unwrap();
    let running = tokio::spawn(scheduler.run(received, || Ok(Vec::new())));
    tokio::time::sleep(Duration::from_secs(5 * 60)).await;
    assert_eq!(board.borrow().jobs[0].failed, None, "it is no failure");
    drop(held);
    tokio::time::sleep(Duration::from_secs(10 * 60)).await;
    orders.send(Order::Stop).await.unwrap();
    running.await.unwrap();
    let begun: Vec<String> =
        begun.lock().unwrap().iter().map(|(job, _, when)| format!("{} {job}", when.format("%H:%M"))).collect();
    assert_eq!(begun, ["12:10 b", "12:20 a", "12:20 b"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_runs_to_commit() {
    let home = Home::new(&[("a", "* * * * *")]);
    let clock = Clock::set(at("2026-05-01T12:00:30Z"), 1);
    let scheduler = Scheduler::new(Rehearsal::new(&home, clock, 3_600), clock, home.jobs().unwrap()).await.unwrap();
    let board = scheduler.board();
    let (orders, received) = mpsc::channel(1);
    let running = tokio::spawn(scheduler.run(received, || Ok(Vec::new())));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(board.borrow().jobs[0].running_since.is_some());
    assert!(board.borrow().is_well(clock.now()));
    orders.send(Order::Stop).await.unwrap();
    running.await.unwrap();
    assert!(board.borrow().draining && board.borrow().jobs[0].running_since.is_none());
    assert_eq!(board.borrow().jobs[0].last.as_ref().unwrap().exit, Exit::Interrupted);
    assert_eq!(home.ledger().unfinished("a").unwrap().unwrap().state, RunState::Crawling);
}

#[test]
fn the_page_has_every_job_and_nothing_from_elsewhere() {
    let board = super::Board {
        at: at("2026-05-01T12:00:00Z"),
        jobs: vec![super::JobOnBoard { job: "a<b".into(), schedule: "15 2 * * *".into(), ..Default::default() }],
        ..Default::default()
    };
    let page = super::page(&board);
    assert!(page.contains("a&lt;b") && page.contains("15 2 * * *") && page.contains("2026-05-01 12:00:00 UTC"));
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"));
}
