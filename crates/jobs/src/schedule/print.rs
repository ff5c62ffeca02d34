//! The same schedule for those who have a scheduler already: crontab lines, systemd timers, Kubernetes CronJobs.

use std::fmt::Write;

use camino::Utf8PathBuf;

use crate::config::Job;

/// Whose text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Lines of a crontab.
    Cron,
    /// A shell script that writes systemd units and starts their timers.
    Systemd,
    /// Manifests of CronJobs.
    Kubernetes,
}

/// Where the program is and from where it is called.
#[derive(Debug, Clone)]
pub struct Place {
    /// The program's path.
    pub program: Utf8PathBuf,
    /// The folder to call it in.
    pub folder: Utf8PathBuf,
    /// Its global flags: `--config`, `--jobs`, `--lake`.
    pub flags: Vec<String>,
    /// The environment that was named on the command line.
    pub environment: Option<String>,
}

/// A schedule that the text cannot say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrintError {
    /// No job has one.
    #[error("no job has a `schedule`: add `schedule = \"15 2 * * *\"` to one")]
    Nothing,
    /// Two jobs would get one name.
    #[error("the jobs {first} and {second} have the same name in small letters, which Kubernetes cannot tell apart")]
    SameName {
        /// A job.
        first: String,
        /// Another one.
        second: String,
    },
}

/// Writes the schedules of the jobs that have one.
///
/// # Errors
/// There is nothing to write, or two jobs cannot be told apart.
pub fn print(jobs: &[Job], form: Form, place: &Place) -> Result<String, PrintError> {
    let timed: Vec<(&Job, &str)> =
        jobs.iter().filter_map(|job| Some((job, job.settings.schedule.as_deref()?))).collect();
    if timed.is_empty() {
        return Err(PrintError::Nothing);
    }
    match form {
        Form::Cron => Ok(cron(&timed, place)),
        Form::Systemd => Ok(systemd(&timed, place)),
        Form::Kubernetes => kubernetes(&timed, place),
    }
}

fn cron(jobs: &[(&Job, &str)], place: &Place) -> String {
    let mut text = String::from(
        "# Times are in the CRON_TZ above them, which cronie heeds. Debian's cron does not know it: there use\n\
         # `fhirvest schedule --print systemd`, or a machine whose own time zone it is.\n\
         # Keys that jobs take from the environment are lines of the crontab, above these: HIGHMARK_API_KEY=…\n",
    );
    let mut zone = None;
    for (job, schedule) in jobs {
        if zone != Some(&job.settings.timezone) {
            zone = Some(&job.settings.timezone);
            let _ = writeln!(text, "CRON_TZ={}", job.settings.timezone);
        }
        // A bare % would end the command.
        let words = std::iter::once(place.program.as_str()).chain(words(job, place, &["-q"]));
        let command = words.map(quoted).collect::<Vec<_>>().join(" ").replace('%', "\\%");
        let folder = quoted(place.folder.as_str()).replace('%', "\\%");
        let _ = writeln!(text, "{schedule} cd {folder} && {command}");
    }
    text
}

/// The words that run a job, without the program.
fn words<'a>(job: &'a Job, place: &'a Place, global: &[&'a str]) -> Vec<&'a str> {
    let flags = place.flags.iter().map(String::as_str);
    let environment = place.environment.iter().flat_map(|name| ["--environment", name.as_str()]);
    flags.chain(global.iter().copied()).chain(["run"]).chain(environment).chain([job.name.as_str()]).collect()
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A word as a line of a unit takes it: `%` and `$` have a meaning there.
fn in_unit(word: &str) -> String {
    let escaped = word.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

fn systemd(jobs: &[(&Job, &str)], place: &Place) -> String {
    let mut text = String::from(
        "# Paste this into a shell of root. It writes one service and one timer for each job and starts the timers. The jobs run\n\
         # as the owner of the folder that they are called in.\n\
         # Keys go into the service's environment: systemctl edit fhirvest-JOB.service, [Service], EnvironmentFile=…\n\
         units=${SYSTEMD_DIR:-/etc/systemd/system}\n",
    );
    let _ = writeln!(text, "owner=$(stat -c %U {})", quoted(place.folder.as_str()));
    let mut timers = Vec::new();
    for (job, schedule) in jobs {
        let name = format!("fhirvest-{}", job.name);
        let words = std::iter::once(place.program.as_str()).chain(words(job, place, &[]));
        let words: Vec<String> = words.map(in_unit).collect();
        let folder = place.folder.as_str().replace('%', "%%");
        let _ = write!(
            text,
            "cat > \"$units/{name}.service\" <<'UNIT'\n\
             [Unit]\n\
             Description=fhirvest run {job}\n\
             Wants=network-online.target\n\
             After=network-online.target\n\n\
             [Service]\n\
             Type=oneshot\n\
             WorkingDirectory={folder}\n\
             ExecStart={exec}\n\
             # 75: the server asked to come back later; 130: stopped after a clean commit. The next run goes on.\n\
             SuccessExitStatus=75 130\n\
             TimeoutStartSec=infinity\n\
             # After SIGTERM the page in flight is awaited, and committed.\n\
             TimeoutStopSec=120\n\
             UNIT\n\
             echo \"User=$owner\" >> \"$units/{name}.service\"\n\
             cat > \"$units/{name}.timer\" <<'UNIT'\n\
             [Unit]\n\
             Description=When fhirvest runs {job}\n\n\
             [Timer]\n",
            job = job.name,
            exec = words.join(" "),
        );
        for calendar in calendars(schedule) {
            let _ = writeln!(text, "OnCalendar={calendar} {}", job.settings.timezone);
        }
        let jitter = job.settings.jitter.0.as_millis();
        if jitter > 0 {
            let _ = writeln!(text, "RandomizedDelaySec={jitter}ms");
        }
        text.push_str("# A time that was missed while the machine was off is caught up once.\nPersistent=true\n\n[Install]\nWantedBy=timers.target\nUNIT\n");
        timers.push(format!("{name}.timer"));
    }
    let _ = writeln!(text, "systemctl daemon-reload && systemctl enable --now {}", timers.join(" "));
    text
}

/// A schedule as systemd's calendar events. Cron means "or" where both the day of the month and the day of the week are
/// said; systemd means "and": such a schedule becomes two events.
fn calendars(schedule: &str) -> Vec<String> {
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else { return Vec::new() };
    let (minute, hour) = (numbers(minute, 0, &[]), numbers(hour, 0, &[]));
    let (minute, hour) = (two_digits(&minute), two_digits(&hour));
    let month = numbers(month, 1, &MONTHS);
    let event = |weekday: &str, day: &str| {
        let weekday = if weekday.is_empty() { String::new() } else { format!("{weekday} ") };
        format!("{weekday}*-{month}-{day} {hour}:{minute}:00")
    };
    // As cron has it: a field that begins with * says nothing.
    match (day.starts_with('*'), weekday.starts_with('*')) {
        (false, false) => vec![event("", &numbers(day, 1, &[])), event(&weekdays(weekday), "*")],
        (_, true) => vec![event("", &numbers(day, 1, &[]))],
        (true, false) => vec![event(&weekdays(weekday), &numbers(day, 1, &[]))],
    }
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 8] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A field of numbers: `*/15` becomes `0/15`, `1-5/2` becomes `1..5/2`, names become numbers.
fn numbers(field: &str, first: usize, names: &[&str]) -> String {
    let number = |word: &str| {
        let place = names.iter().position(|name| name.eq_ignore_ascii_case(word));
        place.map_or_else(|| word.to_owned(), |place| (place + first).to_string())
    };
    let part = |part: &str| {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let range = match (range, range.split_once('-')) {
            ("*", _) if step.is_some() => first.to_string(),
            ("*", _) => "*".to_owned(),
            (_, Some((from, to))) => format!("{}..{}", number(from), number(to)),
            (one, None) => number(one),
        };
        step.map_or_else(|| range.clone(), |step| format!("{range}/{step}"))
    };
    field.split(',').map(part).collect::<Vec<_>>().join(",")
}

/// systemd takes `2:15`, and shows `02:15`: single numbers get their zero.
fn two_digits(field: &str) -> String {
    if field.len() == 1 && field != "*" { format!("0{field}") } else { field.to_owned() }
}

/// Days of the week by their names, one by one.
fn weekdays(field: &str) -> String {
    let number = |word: &str| {
        let place = DAYS.iter().position(|name| name.eq_ignore_ascii_case(word));
        place.or_else(|| word.parse::<usize>().ok()).unwrap_or_default().min(7)
    };
    let mut days = Vec::new();
    for part in field.split(',') {
        let (range, step) = part.split_once('/').map_or((part, 1), |(range, step)| (range, step.parse().unwrap_or(1)));
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (number(from), number(to)),
            None if range == "*" => (0, 6),
            None => (number(range), number(range)),
        };
        days.extend((from..=to).step_by(step.max(1)).map(|day| day % 7));
    }
    days.sort_unstable();
    days.dedup();
    days.into_iter().map(|day| DAYS[day]).collect::<Vec<_>>().join(",")
}

/// What a CronJob's name may have at most, so that its pods' names fit.
const LONGEST_NAME: usize = 52;

fn kubernetes(jobs: &[(&Job, &str)], place: &Place) -> Result<String, PrintError> {
    let mut text = String::from(
        "# kubectl apply -f - takes this as it is. It expects the image of the Dockerfile, a volume claim `fhirvest-data`,\n\
         # the job files in a config map (kubectl create configmap fhirvest-jobs --from-file=jobs/), and keys, if any, as\n\
         # variables in the secret `fhirvest-keys`. A configuration folder of one's own belongs at /fhirvest/config. The lakes\n\
         # are /data/lake and, for data about persons, /data/lake-sensitive.\n",
    );
    let mut names: Vec<(String, &str)> = Vec::new();
    for (job, schedule) in jobs {
        let name: String = format!("fhirvest-{}", job.name.to_lowercase()).chars().take(LONGEST_NAME).collect();
        let name = name.trim_end_matches('-').to_owned();
        if let Some((_, first)) = names.iter().find(|(known, _)| *known == name) {
            return Err(PrintError::SameName { first: (*first).to_owned(), second: job.name.clone() });
        }
        let place = Place { flags: in_a_pod(place), ..place.clone() };
        let arguments = words(job, &place, &["--log-format", "json"]).join("\", \"");
        let schedule = for_kubernetes(schedule);
        let _ = write!(
            text,
            "---\n\
apiVersion: batch/v1\n\
kind: CronJob\n\
metadata:\n\
\x20 name: {name}\n\
\x20 labels: {{ app.kubernetes.io/name: fhirvest }}\n\
spec:\n\
\x20 schedule: \"{schedule}\"\n\
\x20 timeZone: \"{zone}\"\n\
\x20 concurrencyPolicy: Forbid\n\
\x20 # A time that was missed is caught up once, if it is not longer ago than this.\n\
\x20 startingDeadlineSeconds: 21600\n\
\x20 jobTemplate:\n\
\x20   spec:\n\
\x20     # A run that was killed is gone on with; one that the server or the configuration refuses is not tried again.\n\
\x20     backoffLimit: 2\n\
\x20     podFailurePolicy:\n\
\x20       rules:\n\
\x20         - action: FailJob\n\
\x20           onExitCodes: {{ operator: In, values: [1, 2, 3, 5, 75] }}\n\
\x20     template:\n\
\x20       spec:\n\
\x20         restartPolicy: Never\n\
\x20         # After SIGTERM the page in flight is awaited, and committed.\n\
\x20         terminationGracePeriodSeconds: 120\n\
\x20         securityContext: {{ runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, fsGroupChangePolicy: OnRootMismatch }}\n\
\x20         containers:\n\
\x20           - name: fhirvest\n\
\x20             image: fhirvest:{version}\n\
\x20             args: [\"{arguments}\"]\n\
\x20             envFrom:\n\
\x20               - secretRef: {{ name: fhirvest-keys, optional: true }}\n\
\x20             securityContext:\n\
\x20               allowPrivilegeEscalation: false\n\
\x20               readOnlyRootFilesystem: true\n\
\x20               capabilities: {{ drop: [ALL] }}\n\
\x20             volumeMounts:\n\
\x20               - {{ name: data, mountPath: /data }}\n\
\x20               - {{ name: jobs, mountPath: /fhirvest/jobs, readOnly: true }}\n\
\x20               - {{ name: tmp, mountPath: /tmp }}\n\
\x20         volumes:\n\
\x20           - name: data\n\
\x20             persistentVolumeClaim: {{ claimName: fhirvest-data }}\n\
\x20           - name: jobs\n\
\x20             configMap: {{ name: fhirvest-jobs }}\n\
\x20           - name: tmp\n\
\x20             emptyDir: {{}}\n",
            zone = job.settings.timezone,
            version = env!("CARGO_PKG_VERSION"),
        );
        names.push((name, &job.name));
    }
    Ok(text)
}

/// The flags of a job in a pod: a lake in an object store is the same from everywhere, a folder is that of the volume.
fn in_a_pod(place: &Place) -> Vec<String> {
    let lake = place.flags.iter().skip_while(|flag| *flag != "--lake").nth(1).filter(|lake| lake.contains("://"));
    let lake = lake.map_or("/data/lake", String::as_str);
    ["--jobs", "/fhirvest/jobs", "--lake", lake].map(ToOwned::to_owned).into()
}

/// A schedule as Kubernetes reads it: it does not know the seventh day, nor a range that ends on Sunday.
fn for_kubernetes(schedule: &str) -> String {
    match schedule.rsplit_once(char::is_whitespace) {
        Some((rest, days)) if !days.starts_with('*') => format!("{} {}", rest.trim_end(), weekdays(days)),
        _ => schedule.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_become_calendar_events() {
        for (schedule, events) in [
            ("15 2 * * *", vec!["*-*-* 02:15:00"]),
            ("*/15 * * * *", vec!["*-*-* *:0/15:00"]),
            ("0 1-5/2 * * MON-FRI", vec!["Mon,Tue,Wed,Thu,Fri *-*-* 1..5/2:00:00"]),
            ("0 3 1 jan,JUL *", vec!["*-1,7-1 03:00:00"]),
            ("0 3 1,15 * 0", vec!["*-*-1,15 03:00:00", "Sun *-*-* 03:00:00"]),
            ("0 3 * * 5-7", vec!["Sun,Fri,Sat *-*-* 03:00:00"]),
        ] {
            assert_eq!(calendars(schedule), events, "{schedule}");
        }
    }

    #[test]
    fn kubernetes_gets_days_by_their_names() {
        for (schedule, same) in [
            ("15 2 * * *", "15 2 * * *"),
            ("0 3 * * 7", "0 3 * * Sun"),
            ("0 3 1 * 5-7", "0 3 1 * Sun,Fri,Sat"),
            ("0 3 * * MON-FRI", "0 3 * * Mon,Tue,Wed,Thu,Fri"),
            ("0 3 * * */2", "0 3 * * */2"),
        ] {
            assert_eq!(for_kubernetes(schedule), same);
        }
    }

    /// What systemd makes of the events, for the times after a moment; nothing where it is not there.
    fn by_systemd(events: &[String], after: &str, how_many: usize) -> Option<Vec<String>> {
        let mut times = Vec::new();
        for event in events {
            let mut command = std::process::Command::new("systemd-analyze");
            command.args(["calendar", "--base-time", after, "--iterations", &how_many.to_string()]);
            let done = command.arg(format!("{event} UTC")).env("TZ", "UTC").env("LC_ALL", "C").output().ok()?;
            let text = String::from_utf8(done.stdout).unwrap();
            assert!(done.status.success(), "{event}: {}", String::from_utf8_lossy(&done.stderr));
            let moments = text.lines().filter_map(|line| {
                let (name, rest) = line.trim().split_once(": ")?;
                let of_time =
                    name.starts_with("Next elapse") || name.starts_with("Iteration") || name.starts_with("Iter. ");
                of_time.then(|| rest.trim().split_once(' ').map(|(_, moment)| moment.to_owned()))?
            });
            times.extend(moments);
        }
        times.sort();
        times.dedup();
        times.truncate(how_many);
        Some(times)
    }

    #[test]
    fn systemd_runs_at_the_times_of_the_schedule() {
        for schedule in [
            "15 2 * * *",
            "*/15 * * * *",
            "0 1-5/2 * * MON-FRI",
            "0 3 1 jan,JUL *",
            "0 3 1,15 * 0",
            "5,35 */6 * * 5-7",
            "0 12 */10 * *",
            "30 4 13 * FRI",
            "0 0 31 * *",
            "10-50/20 22 * 2-4 7",
        ] {
            let table = super::super::Timetable::new(schedule, chrono_tz::UTC).unwrap();
            let from: chrono::DateTime<chrono::Utc> = "2026-03-01T00:30:00Z".parse().unwrap();
            let ours = std::iter::successors(table.after(from), |at| table.after(*at)).take(12);
            let ours: Vec<String> = ours.map(|at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string()).collect();
            let Some(systemd) = by_systemd(&calendars(schedule), "2026-03-01 00:30:00 UTC", 12) else { return };
            assert_eq!(systemd, ours, "{schedule}");
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell_and_for_a_unit() {
        assert_eq!(quoted("/srv/fhirvest"), "/srv/fhirvest");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
        assert_eq!(in_unit("50% $HOME"), "\"50%% $$HOME\"");
    }
}
