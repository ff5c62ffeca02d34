//! Bulk Data exports: asked for once for all types that share an operation, waited for, and read file by file. The
//! address of the export's state, the list of its files and the lines committed of each are kept, so that a crawl that
//! was stopped at any of these goes on there.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, future::join_all};
use reqwest::header::CONTENT_LOCATION;
use url::Url;

use super::{
    Crawl, advice,
    partition::Stop,
    sweep::{Notes, Task},
};
use crate::{
    bulk::{self, Batch, Lines, Manifest},
    ending::EndedBy,
    judgement::{RefusalKind, wait_asked_for},
    paging,
    retry::FetchError,
    store::{After, PageCommit, PageCounts, Parent, Partition, PartitionKey, Progress, Store},
    strategy::{Bucket, Strategy},
    transport::{Incoming, Request, RequestKind, Transport, TransportError},
};

/// Between two looks at an export whose server names no time.
const BETWEEN_LOOKS: Duration = Duration::from_secs(10);

/// An export that takes longer is given up.
const LONGEST_EXPORT: Duration = Duration::from_secs(24 * 60 * 60);

/// Of a manifest, and of the beginning of a file of errors.
const LONGEST_DOCUMENT: usize = 16 << 20;

/// Why an export, or a file of it, is not to be had.
struct Failure {
    ended_by: EndedBy,
    detail: String,
    unavailable: bool,
}

enum Broken {
    Stop(Stop),
    Failed(Failure),
    /// The export is gone.
    Gone(String),
}

impl<T: Transport, S: Store> Crawl<T, S> {
    /// Brings every open export of these types to the list of its files; says whether there was one.
    pub(super) async fn exports(
        &self,
        level: &[usize],
        tasks: &[Task<'_>],
        all: &mut BTreeMap<usize, Notes>,
    ) -> Result<bool, S::Error> {
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for place in level {
            if let Strategy::Bulk(export) = &tasks[*place].plan.strategy {
                groups.entry(&export.operation).or_default().push(*place);
            }
        }
        let exports = groups.into_iter().map(|(operation, places)| async move {
            let of_group: Vec<&Task<'_>> = places.iter().map(|place| &tasks[*place]).collect();
            (places, self.export(operation, &of_group).await)
        });
        let mut any = false;
        for (places, result) in join_all(exports).await {
            let Some(stop) = result? else { continue };
            any = true;
            let notes = all.entry(places[0]).or_default();
            notes.stop(&tasks[places[0]].plan.resource_type, stop);
            let (detail, unavailable) = (notes.detail.clone(), notes.unavailable);
            for place in &places[1..] {
                let notes = Notes { detail: detail.clone(), unavailable, ..Notes::default() };
                all.entry(*place).or_default().add(notes);
            }
        }
        Ok(any)
    }

    /// Brings the export of a group of types to its list of files; nothing where none is open.
    async fn export(&self, operation: &str, group: &[&Task<'_>]) -> Result<Option<Stop>, S::Error> {
        let lead = &group[0].plan.resource_type;
        for task in group {
            // Set once; a second round of the same crawl sets the same.
            let _ = task.lead.set(lead.clone());
        }
        if self.store.summary(lead).await?.partitions == 0 {
            let bucket = Bucket::Export { status: None, generation: 0 };
            self.store.add_partitions(None, vec![Partition::new(lead, bucket)]).await?;
        }
        let open = self.store.open(lead, usize::MAX).await?;
        let found = open.into_iter().find_map(|one| match one.bucket {
            Bucket::Export { status, generation } => Some((one.key, status, generation)),
            _ => None,
        });
        let Some((key, status, generation)) = found else { return Ok(None) };
        let status = match status {
            Some(status) => Url::parse(&status).ok(),
            None => None,
        };
        let status = match status {
            Some(status) => status,
            None => match self.kick_off(operation, group).await {
                Ok(status) => {
                    // Kept before anything else: the server works on it from now on.
                    let bucket = Bucket::Export { status: Some(status.to_string()), generation };
                    self.store.add_partitions(Some(Parent::Feed(key.clone(), bucket)), Vec::new()).await?;
                    status
                }
                Err(broken) => return self.broken(&key, generation, group, broken).await.map(Some),
            },
        };
        match self.finished(&status).await {
            Ok((manifest, from)) => {
                let files = self.files(&manifest, &from, generation, group);
                self.store.add_partitions(Some(Parent::Split(key)), files).await?;
                Ok(Some(Stop::Ended))
            }
            Err(broken) => self.broken(&key, generation, group, broken).await.map(Some),
        }
    }

    async fn kick_off(&self, operation: &str, group: &[&Task<'_>]) -> Result<Url, Broken> {
        let types: Vec<&str> = group.iter().map(|task| task.plan.resource_type.as_str()).collect();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("_outputFormat", "application/fhir+ndjson")
            .append_pair("_type", &types.join(","))
            .finish();
        let separator = if operation.contains('?') { '&' } else { '?' };
        let failed = |ended_by, detail: String| Broken::Failed(Failure { ended_by, detail, unavailable: false });
        let url = self.source.absolute(&format!("{operation}{separator}{query}"));
        let url = url.map_err(|error| failed(EndedBy::Refused, format!("{operation} is no address: {error}")))?;
        let request = Request { kind: RequestKind::Export, ..Request::new(url) };
        let incoming = self.fetcher.open(&request).await.map_err(|error| told(operation, error))?;
        let status = incoming.headers.get(CONTENT_LOCATION).and_then(|value| value.to_str().ok());
        let Some(status) = status else {
            let detail = format!(
                "{operation}: the answer has no Content-Location: the server makes no exports in the background"
            );
            return Err(failed(EndedBy::Unsupported, detail));
        };
        paging::resolve(&self.source, status, &incoming.url).ok_or_else(|| {
            let detail = format!("{operation}: the export is at another origin: allow it with trusted_origins");
            failed(EndedBy::ForeignLink, detail)
        })
    }

    /// Waits until the export is there, and reads its manifest.
    async fn finished(&self, status: &Url) -> Result<(Manifest, Url), Broken> {
        let failed = |ended_by, detail: String| Broken::Failed(Failure { ended_by, detail, unavailable: false });
        let mut waited = Duration::ZERO;
        loop {
            let incoming = self.fetcher.open(&Request::new(status.clone())).await.map_err(|error| match error {
                FetchError::Refused(refusal) if is_gone(refusal.kind) => Broken::Gone(refusal.message),
                other => told("the export", other),
            })?;
            if incoming.status != 202 {
                let from = incoming.url.clone();
                let body = self.document(incoming).await.map_err(|error| told("the manifest", error))?;
                let detail = "the export's answer is no manifest".to_owned();
                return bulk::manifest(&body)
                    .map(|manifest| (manifest, from))
                    .ok_or_else(|| failed(EndedBy::NotFhir, detail));
            }
            let delay = wait_asked_for(&incoming.headers, self.fetcher.now()).unwrap_or(BETWEEN_LOOKS);
            let progress = incoming.headers.get("x-progress").and_then(|value| value.to_str().ok()).unwrap_or_default();
            tracing::info!(progress, wait_s = delay.as_secs(), "the export is on its way");
            if delay > self.limits.max_wait {
                let later = self.fetcher.later(delay, "the export is on its way".into());
                return Err(told("the export", later));
            }
            waited += delay.max(Duration::from_millis(100));
            if waited > LONGEST_EXPORT {
                return Err(failed(EndedBy::Error, "the export did not end within a day".into()));
            }
            self.fetcher.wait(delay).await.map_err(|error| told("the export", error))?;
        }
    }

    async fn document(&self, mut incoming: Incoming) -> Result<Vec<u8>, FetchError> {
        let mut body = Vec::new();
        loop {
            match tokio::time::timeout(self.limits.request_timeout, incoming.body.next()).await {
                Ok(None) => return Ok(body),
                Ok(Some(Ok(chunk))) if body.len() + chunk.len() <= LONGEST_DOCUMENT => body.extend_from_slice(&chunk),
                Ok(Some(Ok(_))) => return Err(cut(&TransportError::TooLarge { limit: LONGEST_DOCUMENT })),
                Ok(Some(Err(error))) => return Err(cut(&error)),
                Err(_) => return Err(cut(&TransportError::Timeout { limit: self.limits.request_timeout })),
            }
        }
    }

    /// The partitions that a manifest makes: its files, and for each type what the export says that it holds.
    fn files(&self, manifest: &Manifest, from: &Url, generation: u32, group: &[&Task<'_>]) -> Vec<Partition> {
        if manifest.deleted > 0 {
            tracing::info!(files = manifest.deleted, "the export names deletions, which a whole export does not need");
        }
        let mut partitions = Vec::new();
        for task in group {
            let name = &task.plan.resource_type;
            let outputs = || manifest.outputs.iter().enumerate().filter(|(_, output)| output.resource_type == *name);
            let counted = outputs().map(|(_, output)| output.count).sum::<Option<u64>>();
            let total = counted.filter(|_| outputs().next().is_some());
            let progress = Progress { server_total: total, ended_by: Some(EndedBy::Split), ..Progress::default() };
            partitions.push(Partition { progress, ..Partition::new(name, Bucket::Root) });
            for (number, output) in outputs() {
                let url = paging::resolve(&self.source, &output.url, from);
                let progress =
                    Progress { ended_by: url.is_none().then_some(EndedBy::ForeignLink), ..Progress::default() };
                let bucket = Bucket::File {
                    url: url.map_or_else(String::new, |url| url.to_string()),
                    number,
                    anonymous: manifest.anonymous,
                    count: output.count,
                    generation,
                };
                partitions.push(Partition { progress, ..Partition::new(name, bucket) });
            }
            // What went wrong may concern any type: the export's own files of errors stand for that.
            for (number, error) in manifest.errors.iter().enumerate().filter(|(_, error)| error.count != Some(0)) {
                let url = paging::resolve(&self.source, &error.url, from);
                tracing::warn!(file = number, reachable = url.is_some(), "the export names errors");
                let progress = Progress { ended_by: Some(EndedBy::Error), ..Progress::default() };
                let bucket = Bucket::File {
                    url: String::new(),
                    number: manifest.outputs.len() + number,
                    anonymous: manifest.anonymous,
                    count: error.count,
                    generation,
                };
                partitions.push(Partition { progress, ..Partition::new(name, bucket) });
            }
        }
        partitions
    }

    /// Ends an export that failed, for all of its types, or begins it anew where it is gone.
    async fn broken(
        &self,
        key: &PartitionKey,
        generation: u32,
        group: &[&Task<'_>],
        broken: Broken,
    ) -> Result<Stop, S::Error> {
        let failure = match broken {
            Broken::Stop(stop) => return Ok(stop),
            Broken::Gone(_) if generation < self.limits.max_restarts => {
                let again = Bucket::Export { status: None, generation: generation + 1 };
                let again = Partition::new(&group[0].plan.resource_type, again);
                self.store.add_partitions(Some(Parent::Split(key.clone())), vec![again]).await?;
                return Ok(Stop::Ended);
            }
            Broken::Gone(message) => {
                let detail = format!("the export was lost {} times ({message})", generation + 1);
                Failure { ended_by: EndedBy::DeadCursor, detail, unavailable: false }
            }
            Broken::Failed(failure) => failure,
        };
        let others = group[1..].iter().map(|task| {
            let progress = Progress { ended_by: Some(failure.ended_by), ..Progress::default() };
            let bucket = Bucket::Export { status: None, generation };
            Partition { progress, ..Partition::new(&task.plan.resource_type, bucket) }
        });
        self.store.add_partitions(None, others.collect()).await?;
        self.store.close(key, Some(failure.ended_by), Some(failure.detail.clone())).await?;
        Ok(Stop::Failed { detail: failure.detail, unavailable: failure.unavailable })
    }

    /// Reads a file from the line after those committed, a batch of lines at a time.
    pub(super) async fn file(&self, task: &Task<'_>, partition: &Partition) -> Result<Stop, S::Error> {
        let Bucket::File { url, anonymous, count, generation, number } = &partition.bucket else {
            return Ok(Stop::Ended);
        };
        let (key, name) = (&partition.key, &partition.resource_type);
        let Ok(url) = Url::parse(url) else {
            return self
                .give_up(key, EndedBy::ForeignLink, format!("{name}: a file of the export has no address"))
                .await;
        };
        let request = Request { kind: RequestKind::Ndjson, anonymous: *anonymous, ..Request::new(url) };
        let mut done: u64 = partition.progress.cursor.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut breaks = 0;
        loop {
            let before = done;
            let error = match self.fetcher.open(&request).await {
                Ok(incoming) => match self.lines(task, key, incoming, &mut done, *count).await? {
                    None => return Ok(Stop::Ended),
                    Some(error) => error,
                },
                Err(error) => error,
            };
            breaks = if done > before { 0 } else { breaks + 1 };
            match error {
                FetchError::Refused(refusal) if is_gone(refusal.kind) => {
                    if *generation >= self.limits.max_restarts {
                        let detail = format!("{name}: the export was lost {} times", generation + 1);
                        return self.give_up(key, EndedBy::DeadCursor, detail).await;
                    }
                    let again = Bucket::Export { status: None, generation: generation + 1 };
                    // The export belongs to the first of its types; any of them may find it gone.
                    let again = Partition::new(&self.lead(task), again);
                    self.store.add_partitions(Some(Parent::Split(key.clone())), vec![again]).await?;
                    return Ok(Stop::Ended);
                }
                FetchError::Cancelled => return Ok(Stop::Cancelled),
                FetchError::Later { not_before, reason } => return Ok(Stop::Later(not_before, reason)),
                FetchError::Refused(refusal) => {
                    let (ended_by, advice) = advice::refused(refusal.kind);
                    let detail = format!("{name}: file {number} of the export: {}: {advice}", refusal.message);
                    return self.give_up(key, ended_by, detail).await;
                }
                // Broken off in the middle: from the line after those committed.
                FetchError::Unavailable { answered: true, attempts: 0, .. } if breaks <= self.limits.max_retries => {}
                FetchError::Unavailable { reason, .. } => {
                    let detail = format!("{name}: file {number} of the export cannot be read ({reason})");
                    self.store.close(key, Some(EndedBy::Error), Some(detail.clone())).await?;
                    return Ok(Stop::Failed { detail, unavailable: true });
                }
            }
        }
    }

    /// Commits the lines of a file; an error where it breaks off.
    async fn lines(
        &self,
        task: &Task<'_>,
        key: &PartitionKey,
        mut incoming: Incoming,
        done: &mut u64,
        count: Option<u64>,
    ) -> Result<Option<FetchError>, S::Error> {
        let before = *done;
        let mut lines = Lines::after(before);
        let mut batch = Batch::default();
        let mut passed = 0;
        let mut resources = 0;
        loop {
            let chunk = match tokio::time::timeout(self.limits.request_timeout, incoming.body.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(error))) => return Ok(Some(cut(&error))),
                Err(_) => return Ok(Some(cut(&TransportError::Timeout { limit: self.limits.request_timeout }))),
                Ok(None) => break,
            };
            let waiting = lines.push(&chunk, &mut batch);
            if waiting > self.limits.max_page_bytes {
                return Ok(Some(cut(&TransportError::TooLarge { limit: self.limits.max_page_bytes })));
            }
            if batch.is_full() {
                passed += batch.lines;
                resources += batch.entries.len() as u64;
                *done = passed;
                self.keep(task, key, std::mem::take(&mut batch), After::Next(passed.to_string())).await?;
            }
        }
        lines.finish(&mut batch);
        passed += batch.lines;
        resources += batch.entries.len() as u64;
        // Lines that were passed over are as many as were committed before: empty ones make the count no larger.
        let short = count.is_some_and(|count| resources + before < count);
        let ended_by = if short { EndedBy::ShortPageWithoutNext } else { EndedBy::LastPage };
        self.keep(task, key, batch, After::End(ended_by)).await?;
        *done = passed;
        Ok(None)
    }

    async fn keep(&self, task: &Task<'_>, key: &PartitionKey, batch: Batch, after: After) -> Result<(), S::Error> {
        let Batch { body, entries, lines } = batch;
        let commit =
            PageCommit { partition: key.clone(), body: body.freeze(), entries, total: None, after, url_hash: lines };
        let counts: PageCounts = self.store.commit(commit).await?;
        self.committed(task.plan, key, counts, None);
        Ok(())
    }

    /// The first type of the export that a type is part of.
    fn lead(&self, task: &Task<'_>) -> String {
        task.lead.get().cloned().unwrap_or_else(|| task.plan.resource_type.clone())
    }
}

fn is_gone(kind: RefusalKind) -> bool {
    matches!(kind, RefusalKind::Gone | RefusalKind::NotFound)
}

/// A body that broke off: marked by no attempts, since the request itself was answered.
fn cut(error: &TransportError) -> FetchError {
    FetchError::Unavailable { attempts: 0, reason: error.to_string(), answered: true }
}

fn told(what: &str, error: FetchError) -> Broken {
    match error {
        FetchError::Cancelled => Broken::Stop(Stop::Cancelled),
        FetchError::Later { not_before, reason } => Broken::Stop(Stop::Later(not_before, reason)),
        FetchError::Refused(refusal) => {
            let (ended_by, advice) = advice::refused(refusal.kind);
            let detail = format!("{what}: {}: {advice}", refusal.message);
            Broken::Failed(Failure { ended_by, detail, unavailable: false })
        }
        FetchError::Unavailable { reason, .. } => {
            let detail = format!("{what} is not to be had ({reason}): run again later, or use another strategy");
            Broken::Failed(Failure { ended_by: EndedBy::Error, detail, unavailable: true })
        }
    }
}
