//! One partition, page after page, to its end, to its parts, or to where it has to stop.

use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::Ordering,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use fhirvest_fhir::bundle::{self, Page, PageKind};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Either, ready, select},
};
use tokio::sync::oneshot;
use url::Url;

use super::{
    Crawl, ResourcePlan, advice,
    divide::{stopped, whole},
    first::{gone, smaller},
    sweep::{EMPTY_PAGES_AGAIN, Task},
    walk::{Drive, Halt},
};
use crate::{
    ending::EndedBy,
    event::Event,
    judgement::{Refusal, RefusalKind},
    paging::{self, Counted, Step, Trail},
    recurrence::Recurrence,
    retry::{FetchError, Fetched},
    store::{After, PageCommit, PageCounts, Parent, Partition, PartitionKey, Pending, Store},
    strategy::{Bucket, Paging},
    suspicion::{self, Ascent, End},
    transport::Transport,
};

/// Pages in a row with entries but nothing new after which a server is taken to serve everything again.
const PAGES_WITHOUT_NEWS: u32 = 3;

/// Pages of one partition that may be on their way to the disk while the next is fetched: what a kill may cost, and
/// enough for the writer to put several into one commit.
const PAGES_AHEAD: usize = 3;

/// Pages that were handed to the store, and what has become of those that it has committed.
struct Taken<E> {
    pages: VecDeque<(Pending<E>, Look, Option<u64>)>,
    /// What comes twice in this walk. What an earlier walk or another partition has brought may come once more.
    recurrence: Recurrence,
    without_news: u32,
    empty: u32,
    own: u64,
    /// A page brought only what this walk had brought before.
    repeated: bool,
    ascent: Ascent,
}

impl<E> Default for Taken<E> {
    fn default() -> Self {
        Self {
            pages: VecDeque::new(),
            recurrence: Recurrence::default(),
            without_news: 0,
            empty: 0,
            own: 0,
            repeated: false,
            ascent: Ascent::default(),
        }
    }
}

/// What a page looks like before it is committed.
#[derive(Clone, Copy)]
enum Look {
    Empty,
    /// All ids that it holds have come before in the same walk.
    Repeated,
    New,
}

/// A page that has been asked for.
struct Coming<'a> {
    url: Url,
    page: BoxFuture<'a, Result<Fetched, FetchError>>,
    /// Its body, before it is scanned.
    body: oneshot::Receiver<(Bytes, Url)>,
}

/// How a partition stopped.
pub(super) enum Stop {
    Ended,
    Failed { detail: String, unavailable: bool },
    Later(DateTime<Utc>, String),
    Cancelled,
}

enum Follow {
    Ended(EndedBy),
    /// It ended in good order, but pages repeated each other in no order.
    Unstable,
    Stopped(FetchError),
}

impl<T: Transport, S: Store> Crawl<T, S> {
    /// Drives one partition.
    pub(super) async fn partition(&self, task: &Task<'_>, partition: Partition) -> Result<Stop, S::Error> {
        let Partition { key, bucket, progress, resource_type } = partition;
        if let Bucket::Read { ids } = &bucket {
            return self.read(task, &key, ids).await;
        }
        if let Bucket::File { .. } = &bucket {
            return self.file(task, &Partition { key, bucket, progress, resource_type }).await;
        }
        if task.is_one_search(&bucket) {
            self.store.add_partitions(Some(Parent::Split(key.clone())), vec![whole(task.plan)]).await?;
            let partition = key.shown(self.source.sensitive);
            self.events.event(&Event::PartitionEnded { partition, ended_by: EndedBy::Split });
            return Ok(Stop::Ended);
        }
        let mut restarts = progress.restarts;
        let mut drive = Drive::new(task, &key, &bucket, Trail::new(&progress.trail));
        let mut cursor = progress.cursor;
        loop {
            let from_first = cursor.is_none();
            let fetched = match &cursor {
                None => self.first_page(task, &bucket).await,
                Some(cursor) => match self.source.absolute(cursor) {
                    Ok(url) => self.fetcher(&bucket).page(&url).await,
                    // A cursor that this program wrote: only a changed file can break it.
                    Err(_) => Err(FetchError::Refused(gone())),
                },
            };
            let error = match self.follow(&mut drive, fetched, from_first).await? {
                Follow::Ended(ended_by) => {
                    self.events.event(&Event::PartitionEnded { partition: key.shown(self.source.sensitive), ended_by });
                    return Ok(Stop::Ended);
                }
                Follow::Stopped(FetchError::Cancelled) => return Ok(Stop::Cancelled),
                Follow::Stopped(FetchError::Later { not_before, reason }) => {
                    return Ok(Stop::Later(not_before, reason));
                }
                Follow::Unstable if restarts < self.limits.max_restarts && task.sort() => {
                    restarts += 1;
                    self.store.close(&key, None, Some(advice::unstable(task.plan))).await?;
                    (drive.trail, cursor) = (Trail::default(), None);
                    continue;
                }
                Follow::Unstable => {
                    return self.give_up(&key, EndedBy::UnstableOrder, advice::unstable(task.plan)).await;
                }
                Follow::Stopped(error) => error,
            };
            if self.is_split_after(&drive, &error).await? {
                return Ok(Stop::Ended);
            }
            if !drive.trail.is_empty() && restarts < self.limits.max_restarts && goes_on_anew(task, &error) {
                // Once more from the beginning: what is held is not archived again.
                restarts += 1;
                self.store.close(&key, None, Some(said(&error))).await?;
                (drive.trail, cursor) = (Trail::default(), None);
                continue;
            }
            // A smaller share has fewer pages, which may outlive the server's cursors: not one in which nothing was found,
            // or it would be divided down to seconds.
            if drive.found
                && !drive.walk.strayed
                && !drive.trail.is_empty()
                && is_lost(&error)
                && self.divide(&drive).await?
            {
                return Ok(Stop::Ended);
            }
            let (ended_by, detail) = last_word(&drive, &error, restarts);
            let unavailable = matches!(error, FetchError::Unavailable { .. });
            let stop = self.give_up(&key, ended_by, detail).await?;
            return Ok(match stop {
                Stop::Failed { detail, .. } => Stop::Failed { detail, unavailable },
                other => other,
            });
        }
    }

    pub(super) async fn give_up(
        &self,
        key: &PartitionKey,
        ended_by: EndedBy,
        detail: String,
    ) -> Result<Stop, S::Error> {
        self.store.close(key, Some(ended_by), Some(detail.clone())).await?;
        self.events.event(&Event::PartitionEnded { partition: key.shown(self.source.sensitive), ended_by });
        Ok(Stop::Failed { detail, unavailable: false })
    }

    /// Commits page after page; the next ones are fetched while a few are being committed.
    async fn follow(
        &self,
        drive: &mut Drive<'_>,
        fetched: Result<Fetched, FetchError>,
        from_first: bool,
    ) -> Result<Follow, S::Error> {
        let mut taken = Taken::default();
        let followed = self.follow_into(&mut taken, drive, fetched, from_first).await;
        drive.walk.news = taken.own;
        followed
    }

    async fn follow_into(
        &self,
        taken: &mut Taken<S::Error>,
        drive: &mut Drive<'_>,
        mut fetched: Result<Fetched, FetchError>,
        from_first: bool,
    ) -> Result<Follow, S::Error> {
        drive.set_out(from_first);
        let mut ahead = None;
        loop {
            let mut page = match fetched {
                Ok(page) => page,
                Err(error) => {
                    self.drain(drive, taken, 0).await?;
                    return Ok(Follow::Stopped(error));
                }
            };
            if page.page.kind != PageKind::Bundle {
                self.drain(drive, taken, 0).await?;
                return Ok(Follow::Stopped(FetchError::Refused(no_bundle())));
            }
            if is_sudden_nothing(drive, &page) {
                match self.once_more(drive, &page.url).await {
                    Ok(again) => page = again.unwrap_or(page),
                    Err(error) => {
                        self.drain(drive, taken, 0).await?;
                        return Ok(Follow::Stopped(error));
                    }
                }
            }
            if drive.task.blind_totals.load(Ordering::Relaxed) && *drive.bucket != Bucket::All {
                page.page.total = None;
            }
            let url_hash = paging::url_hash(&page.url);
            drive.trail.add(url_hash);
            drive.look_at(&mut page);
            let strangers = drive.walk.seen == 0 && drive.walk.strangers;
            if strangers && page.page.link("next").is_none() && !drive.is_everything() {
                self.drain(drive, taken, 0).await?;
                return Ok(Follow::Stopped(FetchError::Refused(of_others())));
            }
            let ids = suspicion::ids(&page.page, &drive.plan().resource_type);
            taken.ascent.add(&ids);
            let repeated = taken.recurrence.add(&ids);
            taken.repeated |= repeated;
            let after = match self.after(drive, taken, &page).await {
                Ok(after) => after,
                Err(Halt::Store(error)) => return Err(error),
                Err(Halt::Stopped(error)) => {
                    self.drain(drive, taken, 0).await?;
                    return Ok(Follow::Stopped(error));
                }
            };
            drive.walk.first = false;
            // Entries without a resource, and resources that are of no use, bring no more than no entries do.
            let is_empty = page.page.entries.iter().all(|entry| entry.fault.is_some());
            let look = match (is_empty, repeated) {
                (true, _) => Look::Empty,
                (false, true) => Look::Repeated,
                (false, false) => Look::New,
            };
            // What an operation counts is no count of this type.
            let total = page.page.total.filter(|_| !drive.is_everything());
            let (next, ended_by) = match &after {
                Step::Next(url) => (Some(url.clone()), None),
                Step::End(ended_by) => (None, Some(*ended_by)),
            };
            let kept = match after {
                Step::Next(url) => After::Next(self.source.relative(&url)),
                Step::End(EndedBy::Split) => After::Split(drive.parts(false)),
                Step::End(ended_by) => After::End(ended_by),
            };
            let commit = PageCommit {
                partition: drive.key.clone(),
                body: page.body,
                entries: page.page.entries,
                total,
                after: kept,
                url_hash,
            };
            let Some(url) = next else {
                taken.pages.push_back((self.store.take(commit).await?, look, total));
                self.drain(drive, taken, 0).await?;
                let ended_by = ended_by.unwrap_or(EndedBy::LastPage);
                if ended_by == EndedBy::Split {
                    drive.task.divided(taken.own, drive.walk.hollow);
                }
                let unstable = ended_by == EndedBy::LastPage && Self::is_unstable(drive, taken, total);
                return Ok(if unstable { Follow::Unstable } else { Follow::Ended(ended_by) });
            };
            let keep = async {
                taken.pages.push_back((self.store.take(commit).await?, look, total));
                self.drain(drive, taken, PAGES_AHEAD).await
            };
            // Another page may have been begun than the one that follows: it is dropped then.
            let coming = ahead.take().filter(|coming: &Coming<'_>| coming.url == url);
            let coming = coming.unwrap_or_else(|| self.ask(drive.bucket, url));
            let (kept, arrived) = tokio::join!(keep, self.arrive(drive, coming));
            (fetched, ahead) = arrived;
            kept?;
            let only_empty = taken.empty >= drive.task.empty_pages.load(Ordering::Relaxed);
            if only_empty {
                drive.task.empty_pages.store(EMPTY_PAGES_AGAIN, Ordering::Relaxed);
            }
            if taken.without_news >= PAGES_WITHOUT_NEWS || only_empty {
                self.drain(drive, taken, 0).await?;
                self.store.close(drive.key, Some(EndedBy::NoNewIds), None).await?;
                return Ok(Follow::Ended(EndedBy::NoNewIds));
            }
        }
    }

    /// Asks for a page again that held nothing: what it holds now, if it is something.
    async fn once_more(&self, drive: &Drive<'_>, url: &Url) -> Result<Option<Fetched>, FetchError> {
        match self.fetcher(drive.bucket).page(url).await {
            Ok(again) if again.page.kind == PageKind::Bundle && !is_end_of_nothing(&again.page) => Ok(Some(again)),
            // A cursor may be good for one time only.
            Ok(_)
            | Err(FetchError::Unavailable { .. })
            | Err(FetchError::Refused(Refusal { kind: RefusalKind::Gone | RefusalKind::NotFound, .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for a page.
    fn ask<'a>(&'a self, bucket: &'a Bucket, url: Url) -> Coming<'a> {
        let (announce, body) = oneshot::channel();
        let asked = url.clone();
        let page = async move { self.fetcher(bucket).page_announced(&asked, announce).await }.boxed();
        Coming { url, page, body }
    }

    /// Waits for a page. The one after it is asked for as soon as the body is there, where that tells the link: while a
    /// page is being scanned, the next is on its way.
    async fn arrive<'a>(
        &'a self,
        drive: &Drive<'a>,
        mut coming: Coming<'a>,
    ) -> (Result<Fetched, FetchError>, Option<Coming<'a>>) {
        let told = tokio::select! {
            biased;
            fetched = &mut coming.page => return (fetched, None),
            told = coming.body => told.ok(),
        };
        let early = told.filter(|_| drive.plan().paging == Paging::Links).and_then(|(body, url)| {
            let link = bundle::early_next(&body)?;
            paging::early(&self.source, &link, &url, &drive.trail, self.limits.max_pages)
        });
        let Some(url) = early else { return (coming.page.await, None) };
        let mut next = self.ask(drive.bucket, url);
        match select(coming.page, next.page).await {
            Either::Left((fetched, page)) => (fetched, Some(Coming { page, ..next })),
            Either::Right((page, fetched)) => {
                next.page = ready(page).boxed();
                (fetched.await, Some(next))
            }
        }
    }

    /// Waits until no more than so many pages are being committed, and takes note of what became of the others.
    async fn drain(&self, drive: &Drive<'_>, taken: &mut Taken<S::Error>, ahead: usize) -> Result<(), S::Error> {
        while taken.pages.len() > ahead {
            let Some((pending, look, total)) = taken.pages.pop_front() else { return Ok(()) };
            let counts = pending.await?;
            self.committed(drive.plan(), drive.key, counts, total);
            taken.own += counts.new_matches;
            (taken.without_news, taken.empty) = match (look, counts.archived) {
                (Look::Empty, _) => (taken.without_news, taken.empty + 1),
                (Look::Repeated, 0) => (taken.without_news + 1, 0),
                (_, _) => (0, 0),
            };
        }
        Ok(())
    }

    /// Whether a walk that is over has come by the same ids twice, in no order, and no count says that it has come by all
    /// of them: a server that turns its rows around between pages leaves out as many as it repeats (habit 6).
    fn is_unstable(drive: &Drive<'_>, taken: &Taken<S::Error>, total: Option<u64>) -> bool {
        let told = total.is_some_and(|total| total > 0 && taken.own == total);
        // A page of what had come before may have come in the place of another, from somebody's cache, in whatever order.
        let doubtful = taken.repeated || (taken.recurrence.any() && !taken.ascent.holds());
        doubtful && !told && !drive.is_everything()
    }

    /// What follows a page: the next one, the end, or, as the ending `split`, smaller partitions.
    async fn after(
        &self,
        drive: &Drive<'_>,
        taken: &mut Taken<S::Error>,
        page: &Fetched,
    ) -> Result<Step, Halt<S::Error>> {
        let (walk, whole) = (&drive.walk, *drive.bucket == Bucket::All);
        if walk.first && !whole && self.is_too_much(drive, page).await? {
            return Ok(Step::End(EndedBy::Split));
        }
        let mut step = self.step(drive, page);
        if walk.strayed && walk.from_first && walk.told == Some(walk.seen) {
            return Ok(Step::End(EndedBy::LastPage));
        }
        let total = page.page.total;
        let full = is_full(drive);
        if walk.first && full && step == Step::End(EndedBy::LastPage) && total.is_some_and(|total| total > walk.seen) {
            step = Step::End(EndedBy::ShortPageWithoutNext);
        }
        if step == Step::End(EndedBy::LastPage) {
            // Where a parameter counts up, the end is an empty page, and no link is missing.
            let by_links = drive.plan().paging == Paging::Links;
            let end = End {
                seen: walk.seen,
                total,
                asked: drive.task.page_size(),
                last_full: by_links && walk.matches > 0 && (full || walk.matches >= walk.most),
                only_page: walk.first,
                resumed: !walk.from_first,
                whole,
                errored: walk.errored,
                cap: drive.plan().cap,
            };
            let doubt = suspicion::doubt(&end);
            // More was counted than came, and then came nothing.
            let broke_off = walk.from_first && walk.matches == 0 && walk.told > Some(walk.seen);
            let of_ceiling = doubt.is_some_and(|doubt| doubt.is_of_ceiling());
            if (broke_off || of_ceiling) && walk.seen > 0 && self.is_divisible(drive).await? {
                // Smaller shares cost little, and leave no doubt.
                return Ok(Step::End(EndedBy::Split));
            }
            if let Some(doubt) = doubt {
                // Whether the end can be believed depends on what is held.
                self.drain(drive, taken, 0).await?;
                step = self.look_into(drive, &doubt, page).await?.map_or(step, Step::End);
            }
        }
        if step == Step::End(EndedBy::LastPage) && walk.stripped && total != Some(walk.seen) {
            // What stood there is missing, whatever both ends show.
            step = Step::End(EndedBy::Error);
        }
        if step == Step::End(EndedBy::LastPage) && walk.seen == 0 && drive.found {
            // An earlier walk found something, before the server lost its place.
            step = Step::End(EndedBy::NoNewIds);
        }
        let incomplete =
            matches!(step, Step::End(EndedBy::Cap | EndedBy::ShortPageWithoutNext | EndedBy::RepeatedLink));
        // A share in which nothing was found is not worth it.
        if incomplete && walk.seen > 0 && self.is_divisible(drive).await? {
            step = Step::End(EndedBy::Split);
        }
        Ok(step)
    }

    /// Whether a share, of which this is the first page, holds more than the plan wants in one.
    async fn is_too_much(&self, drive: &Drive<'_>, page: &Fetched) -> Result<bool, Halt<S::Error>> {
        let Some(max_bucket) = drive.plan().strategy.max_bucket() else { return Ok(false) };
        let more = page.page.link("next").is_some() || is_full(drive);
        let count = match page.page.total {
            // What is counted, where nothing is found, may be something else: the link tells, if there is one.
            _ if drive.walk.matches == 0 => None,
            None if more && !drive.task.blind_totals.load(Ordering::Relaxed) => {
                let count = self.count(drive.task, &drive.task.search(drive.bucket)).await;
                count.map_err(|stop| Halt::Stopped(stopped(stop)))?
            }
            total => total,
        };
        Ok(count.is_some_and(|count| count >= max_bucket) && self.is_divisible(drive).await?)
    }

    /// What follows a page by the plan's way of paging.
    fn step(&self, drive: &Drive<'_>, page: &Fetched) -> Step {
        let (plan, most) = (drive.plan(), self.limits.max_pages);
        let (matches, total) = (drive.walk.matches, page.page.total);
        let linked = page.page.link("next").is_some();
        match &plan.paging {
            Paging::Links => paging::next(&self.source, &page.page, &page.url, &drive.trail, most),
            Paging::Offset(offset) => {
                let counted = Counted {
                    matches: matches - repeated_on(&page.page, &plan.resource_type),
                    entries: page.page.entry_slots as u64,
                    asked: drive.task.page_size().map(u64::from),
                    total,
                    linked,
                };
                paging::next_offset(offset, &counted, &page.url, &drive.trail, most)
            }
            Paging::FirstPageOnly => {
                let more = linked || is_full(drive) || total.is_some_and(|total| total > matches);
                Step::End(if more { EndedBy::ShortPageWithoutNext } else { EndedBy::LastPage })
            }
        }
    }

    pub(super) fn committed(
        &self,
        plan: &ResourcePlan,
        key: &PartitionKey,
        counts: PageCounts,
        server_total: Option<u64>,
    ) {
        self.events.event(&Event::PageCommitted {
            resource_type: plan.resource_type.clone(),
            partition: key.shown(self.source.sensitive),
            counts,
            server_total,
        });
    }
}

/// Whether a page ends a search with nothing, and no count that can be believed says so: servers answer that under load,
/// too. Of open lists, whose values may well find nothing, and of first pages that have been doubted already, it is
/// believed.
fn is_sudden_nothing(drive: &Drive<'_>, page: &Fetched) -> bool {
    let task = drive.task;
    let doubted = match drive.bucket {
        Bucket::All => !drive.walk.first,
        Bucket::Window { .. } => task.found.load(Ordering::Relaxed),
        Bucket::Ids { ids } => ids.len() > 1,
        _ => false,
    };
    let told = page.page.total == Some(0) && task.counts_ahead.load(Ordering::Relaxed);
    doubted && !told && is_end_of_nothing(&page.page)
}

/// Whether a page holds nothing, and leads nowhere.
fn is_end_of_nothing(page: &Page) -> bool {
    page.entries.is_empty() && page.outcomes.is_empty() && page.link("next").is_none()
}

/// Whether the page that was looked at last holds as much as was asked for.
fn is_full(drive: &Drive<'_>) -> bool {
    drive.task.page_size().is_some_and(|size| drive.walk.matches >= u64::from(size))
}

/// Whether a partition that had begun should begin anew after this: where the server lost its place, or cannot manage
/// pages of this size.
fn goes_on_anew(task: &Task<'_>, error: &FetchError) -> bool {
    match error {
        FetchError::Refused(Refusal { kind: RefusalKind::TooLarge, .. })
        | FetchError::Unavailable { answered: true, .. } => match smaller(task.page_size()).next() {
            Some(size) => {
                task.learn_page_size(size);
                true
            }
            None => false,
        },
        FetchError::Refused(_) => is_lost(error),
        _ => false,
    }
}

/// Whether the server no longer knows what it has given a link to.
fn is_lost(error: &FetchError) -> bool {
    let lost = |kind: RefusalKind| matches!(kind, RefusalKind::Gone | RefusalKind::NotFound | RefusalKind::Search);
    matches!(error, FetchError::Refused(Refusal { kind, .. }) if lost(*kind))
}

/// A search is answered by a Bundle: one resource, whatever it is, is not what was asked for.
fn no_bundle() -> Refusal {
    Refusal { kind: RefusalKind::NotFhir, message: "the answer to a search is a resource, and no Bundle".into() }
}

/// Matches of a page whose ids have come on it before, as other versions.
fn repeated_on(page: &Page, resource_type: &str) -> u64 {
    let ids = suspicion::ids(page, resource_type);
    (ids.len() - ids.iter().collect::<HashSet<_>>().len()) as u64
}

/// What a server has found that was not asked for is no sign that it has nothing of what was.
fn of_others() -> Refusal {
    Refusal { kind: RefusalKind::NotFhir, message: "the search finds resources of other types only".into() }
}

fn said(error: &FetchError) -> String {
    match error {
        FetchError::Refused(refusal) => refusal.message.clone(),
        FetchError::Unavailable { reason, .. } | FetchError::Later { reason, .. } => reason.clone(),
        FetchError::Cancelled => "stopped".into(),
    }
}

/// How a partition ends that cannot go on, and what to say of it.
fn last_word(drive: &Drive<'_>, error: &FetchError, restarts: u32) -> (EndedBy, String) {
    let name = &drive.plan().resource_type;
    match error {
        FetchError::Refused(refusal) => {
            if is_lost(error) && !drive.trail.is_empty() {
                let detail = format!(
                    "{name}: the server lost its place {} times ({}): larger pages or a higher rate may end the crawl sooner",
                    restarts + 1,
                    refusal.message
                );
                return (EndedBy::DeadCursor, detail);
            }
            let (ended_by, advice) = advice::refused(refusal.kind);
            (ended_by, format!("{name}: {}: {advice}", refusal.message))
        }
        FetchError::Unavailable { attempts, reason, .. } => (
            EndedBy::Error,
            format!(
                "{name}: no answer after {attempts} attempts ({reason}): check the base URL and the network, or run again later"
            ),
        ),
        FetchError::Later { .. } | FetchError::Cancelled => (EndedBy::Interrupted, format!("{name}: stopped")),
    }
}
