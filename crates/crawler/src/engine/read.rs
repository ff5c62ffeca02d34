//! Reads of single resources, a few in one commit.

use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use fhirvest_fhir::bundle::{Entry, PageKind};
use url::Url;

use super::{Crawl, advice, first::gone, partition::Stop, sweep::Task};
use crate::{
    ending::EndedBy,
    judgement::RefusalKind,
    paging,
    retry::{FetchError, Fetched},
    store::{After, PageCommit, PartitionKey, Store},
    transport::Transport,
};

/// Whether an answer is the resource that was asked for. One of no use is it, too: it goes to the quarantine.
fn is_the_one(fetched: &Fetched, resource_type: &str, id: &str) -> bool {
    let is = |entry: &Entry| {
        let same = |is: Option<&str>, asked: &str| is.is_none_or(|is| is == asked);
        entry.fault.is_some() || (&*entry.resource_type == resource_type && same(entry.id.as_deref(), id))
    };
    fetched.page.kind == PageKind::Resource && fetched.page.entries.iter().all(is)
}

impl<T: Transport, S: Store> Crawl<T, S> {
    /// Reads by the way of whoever may.
    async fn read_one(&self, url: &Url) -> Result<Fetched, FetchError> {
        let mut refused = None;
        for (number, fetcher) in self.readers() {
            match fetcher.page(url).await {
                Err(FetchError::Refused(refusal))
                    if matches!(refusal.kind, RefusalKind::Unauthorized | RefusalKind::Forbidden) =>
                {
                    refused.get_or_insert(refusal);
                }
                other => {
                    self.reader.store(number, Ordering::Relaxed);
                    return other;
                }
            }
        }
        Err(FetchError::Refused(refused.unwrap_or_else(gone)))
    }

    /// Reads these resources of the task's type and commits them together. What the server does not have is not an
    /// error: references may lead nowhere.
    pub(super) async fn read(&self, task: &Task<'_>, key: &PartitionKey, ids: &[String]) -> Result<Stop, S::Error> {
        let name = &task.plan.resource_type;
        let mut body = BytesMut::new();
        let mut entries: Vec<Entry> = Vec::new();
        let mut url_hash = 0;
        for id in ids {
            let Ok(url) = self.source.absolute(&format!("{name}/{id}")) else { continue };
            url_hash ^= paging::url_hash(&url);
            match self.read_one(&url).await {
                Ok(fetched) if is_the_one(&fetched, name, id) => {
                    let shift = body.len();
                    body.extend_from_slice(&fetched.body);
                    entries.extend(fetched.page.entries.into_iter().map(|mut entry| {
                        entry.range = entry.range.start + shift..entry.range.end + shift;
                        entry
                    }));
                }
                // A Bundle, or another resource than was asked for: the server does not do reads.
                Ok(_) => {
                    return self.give_up(key, EndedBy::NotFhir, format!("{name}/…: the answer is no {name}")).await;
                }
                Err(FetchError::Refused(refusal)) => match refusal.kind {
                    RefusalKind::NotFound | RefusalKind::Gone | RefusalKind::Search => {}
                    kind => {
                        let (ended_by, advice) = advice::refused(kind);
                        return self.give_up(key, ended_by, format!("{name}/…: {}: {advice}", refusal.message)).await;
                    }
                },
                Err(FetchError::Unavailable { attempts, reason, .. }) => {
                    let detail = format!("{name}/…: no answer after {attempts} attempts ({reason})");
                    self.store.close(key, Some(EndedBy::Error), Some(detail.clone())).await?;
                    return Ok(Stop::Failed { detail, unavailable: true });
                }
                Err(FetchError::Later { not_before, reason }) => return Ok(Stop::Later(not_before, reason)),
                Err(FetchError::Cancelled) => return Ok(Stop::Cancelled),
            }
        }
        let commit = PageCommit {
            partition: key.clone(),
            body: Bytes::from(body),
            entries,
            total: None,
            after: After::End(EndedBy::LastPage),
            url_hash,
        };
        let counts = self.store.commit(commit).await?;
        self.committed(task.plan, key, counts, None);
        Ok(Stop::Ended)
    }
}
