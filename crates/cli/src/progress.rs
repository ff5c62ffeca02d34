//! How far a crawl is: on a terminal one bar a resource type, elsewhere a line every so often.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use fhirvest_crawler::event::{Event, EventSink};
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::arguments::{Global, LogFormat};

/// Where nobody watches, a type says so often how far it is.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// The bars of this process: log lines go above them.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// Standard error, with the bars out of the way.
pub(crate) fn writer() -> impl Write {
    AboveBars
}

struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = || io::stderr().lock().write(bytes);
        BARS.get().map_or_else(write, |bars| bars.suspend(write))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Somebody who shows how far a crawl is.
pub(crate) struct Progress {
    bars: Option<MultiProgress>,
    types: Mutex<BTreeMap<String, Line>>,
    clock: Clock,
}

/// The time, for what is told now and then.
type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

struct Line {
    bar: ProgressBar,
    pages: u64,
    resources: u64,
    /// Resources of the first page: the pace is measured from its end on.
    first: u64,
    since: Instant,
    told: Instant,
}

impl Progress {
    /// Bars where a person sees them and no log is in their way; else lines.
    pub(crate) fn new(global: &Global) -> Self {
        let wanted = global.log_format == LogFormat::Text && !global.quiet && global.verbose == 0;
        let bars = (wanted && io::stderr().is_terminal()).then(|| BARS.get_or_init(MultiProgress::new).clone());
        Self { bars, types: Mutex::default(), clock: Box::new(Instant::now) }
    }

    /// Takes the bars of a job away.
    pub(crate) fn end(&self) {
        let lines = std::mem::take(&mut *self.lock());
        for line in lines.values() {
            line.bar.finish_and_clear();
        }
        if let Some(bars) = &self.bars {
            // A terminal that is gone has no bars either.
            let _ = bars.clear();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Line>> {
        self.types.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, name: &str, new: u64) -> Line {
        let bar = match &self.bars {
            Some(bars) => bars.add(ProgressBar::no_length()),
            None => ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
        };
        bar.set_style(style(UNKNOWN));
        bar.set_prefix(name.to_owned());
        let now = (self.clock)();
        Line { bar, pages: 0, resources: 0, first: new, since: now, told: now }
    }

    fn page(&self, name: &str, new: u64, total: Option<u64>) {
        let mut types = self.lock();
        let line = types.entry(name.to_owned()).or_insert_with(|| self.line(name, new));
        let now = (self.clock)();
        line.pages += 1;
        line.resources += new;
        if let Some(total) = total.filter(|total| Some(*total) != line.bar.length()) {
            line.bar.set_style(style(KNOWN));
            line.bar.set_length(total);
        }
        line.bar.set_position(line.resources);
        line.bar.set_message(line.pace(total, now));
        if self.bars.is_none() && now.duration_since(line.told) >= BETWEEN_LINES {
            line.told = now;
            line.tell(name, total, now);
        }
    }
}

impl Line {
    /// Resources a second, and the seconds that the rest takes at that pace where the server tells its size.
    #[allow(clippy::cast_precision_loss, reason = "a rate for a person to read")]
    fn rate(&self, server_total: Option<u64>, now: Instant) -> (f64, Option<f64>) {
        let took = now.duration_since(self.since).as_secs_f64();
        let per_second = (self.resources - self.first) as f64 / took.max(0.001);
        let left = server_total.map(|total| total.saturating_sub(self.resources) as f64 / per_second.max(0.001));
        (per_second, left.filter(|_| self.pages > 1))
    }

    /// Pace, the time left and pages, for a bar: what matters most stands where a narrow terminal shows it.
    fn pace(&self, server_total: Option<u64>, now: Instant) -> String {
        let mut text = String::new();
        if self.pages > 1 {
            let (per_second, left) = self.rate(server_total, now);
            text.push_str(&format!("{per_second:.0}/s, "));
            let left = left.and_then(|left| Duration::try_from_secs_f64(left).ok());
            if let Some(left) = left.filter(|left| !left.is_zero()) {
                text.push_str(&format!("{:#} left, ", HumanDuration(left)));
            }
        }
        format!("{text}{} page(s)", self.pages)
    }

    /// A log line: how much, how fast, and how long it may still take.
    fn tell(&self, name: &str, server_total: Option<u64>, now: Instant) {
        let (per_second, left) = self.rate(server_total, now);
        let (per_second, left) = (format!("{per_second:.0}"), left.map(|left| format!("{left:.0}")));
        let (pages, resources) = (self.pages, self.resources);
        tracing::info!("type" = name, pages, resources, server_total, per_second, seconds_left = left, "crawling");
    }
}

/// Of a type whose size the server tells, and of one whose size it does not.
const KNOWN: &str = "{prefix:24} {bar:12} {human_pos}/{human_len} {wide_msg}";
const UNKNOWN: &str = "{prefix:24} {spinner} {human_pos} {wide_msg}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl EventSink for Progress {
    fn event(&self, event: &Event) {
        match event {
            Event::PageCommitted { resource_type, counts, server_total, .. } => {
                self.page(resource_type, counts.archived, *server_total);
            }
            Event::Waiting { url, delay, reason, .. } => {
                let types = self.lock();
                let path = url.split('?').next().unwrap_or_default();
                let named = types.keys().find(|name| path.split('/').any(|part| part == name.as_str()));
                // The address of a later page need not name its type: then it is one of those under way.
                let waiting = types.iter().filter(|(name, line)| match named {
                    Some(named) => *name == named,
                    None => !line.bar.is_finished(),
                });
                for (_, line) in waiting {
                    line.bar.set_message(format!("waiting {:.0} s: {reason}", delay.as_secs_f64()));
                }
            }
            Event::TypeEnded { resource_type, status, .. } => {
                if let Some(line) = self.lock().get(resource_type) {
                    line.bar.abandon_with_message(format!("{} page(s), {status}", line.pages));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use fhirvest_crawler::store::PageCounts;
    use tracing::{level_filters::LevelFilter, subscriber::with_default};

    use super::*;

    /// Keeps what is said.
    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn where_nobody_watches_a_type_says_every_thirty_seconds_how_far_it_is() {
        let (start, passed) = (Instant::now(), Arc::new(Mutex::new(Duration::ZERO)));
        let time = Arc::clone(&passed);
        let clock = Box::new(move || start + *time.lock().unwrap());
        let progress = Progress { bars: None, types: Mutex::default(), clock };
        let said = Said::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::INFO)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(Mutex::new(said.clone()))
            .finish();
        with_default(subscriber, || {
            // Of one type a page of 100 each 10 seconds, of another one as often of whose size nobody knows.
            for page in 0..8 {
                *passed.lock().unwrap() = Duration::from_secs(10 * page);
                for (name, server_total) in [("Location", Some(1_000)), ("Endpoint", None)] {
                    progress.event(&Event::PageCommitted {
                        resource_type: name.into(),
                        partition: "all".into(),
                        counts: PageCounts { archived: 100, ..PageCounts::default() },
                        server_total,
                    });
                }
            }
        });
        let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = said.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                r#"INFO crawling type="Location" pages=4 resources=400 server_total=1000 per_second="10" seconds_left="60""#,
                r#"INFO crawling type="Endpoint" pages=4 resources=400 per_second="10""#,
                r#"INFO crawling type="Location" pages=7 resources=700 server_total=1000 per_second="10" seconds_left="30""#,
                r#"INFO crawling type="Endpoint" pages=7 resources=700 per_second="10""#,
            ]
        );
    }
}
