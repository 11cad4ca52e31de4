//! What nodes ask each other: reads of accounts that the one who asks does not host.

use super::log::{Inbox, Reply};
use super::node::{Backend, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::list::{Cursor, Entry, List, ListKind, Page};
use crate::shards::{ShardDigest, VirtualShard};
use crate::types::{AccountId, Counts, Relation};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const CODEC: bincode::config::Configuration = bincode::config::standard();

/// A question, and how far the one who answers has to have come.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) at_least: u64,
    pub(super) question: Question,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    Counts { names: Vec<String> },
    Relations { name: String, others: Vec<String> },
    List { name: String, kind: u8, cursor: Option<String>, limit: u32 },
    Status,
}

/// An error as nodes tell it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    kind: ErrorKind,
    details: String,
}

pub(super) type Answer<T> = std::result::Result<T, Told>;

/// A page of a list as nodes tell it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ListAnswer {
    entries: Vec<(String, u32, u32)>,
    next: Option<String>,
}

/// How a node does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StatusAnswer {
    pub(super) applied: u64,
    pub(super) failure: Option<String>,
    /// The shards that it answers for, and their digests.
    pub(super) digests: Vec<(u16, u64, u64)>,
    pub(super) stopped: String,
    pub(super) account_count: u64,
    pub(super) part_count: u32,
}

impl From<Error> for Told {
    fn from(error: Error) -> Told {
        Told { kind: error.kind(), details: error.details() }
    }
}

impl From<Told> for Error {
    fn from(told: Told) -> Error {
        if told.details.is_empty() {
            return Error::bare(told.kind);
        }
        Error::new(told.kind, told.details)
    }
}

/// A result as nodes tell it.
pub(super) fn tell<T>(result: Result<T>) -> Answer<T> {
    result.map_err(Told::from)
}

pub(super) fn encode(value: &impl Serialize) -> Bytes {
    bincode::serde::encode_to_vec(value, CODEC).expect("no type that bincode refuses").into()
}

/// Errors: `Incompatible`, for what a node of another version may say.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let decoded = bincode::serde::decode_from_slice(bytes, CODEC);
    decoded.map(|(value, _)| value).map_err(|source| {
        Error::new(ErrorKind::Incompatible, format!("what a node said does not decode: {source}"))
    })
}

/// Answers what other nodes ask.
pub(super) async fn answer<B: Backend>(shared: Arc<Shared<B>>, mut inbox: B::Inbox) {
    while let Some((request, reply)) = inbox.next().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let answer = shared.answer(&request).await;
            reply.send(answer).await;
        });
    }
}

impl<B: Backend> Shared<B> {
    pub(super) async fn answer(&self, request: &[u8]) -> Bytes {
        let request: Request = match decode(request) {
            Ok(request) => request,
            Err(error) => return encode(&tell::<()>(Err(error))),
        };
        if let Err(error) = self.wait_for(request.at_least).await {
            return encode(&tell::<()>(Err(error)));
        }
        match request.question {
            Question::Counts { names } => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let counts: Vec<Answer<Counts>> =
                    self.counts(&names).into_iter().map(tell).collect();
                encode(&tell(Ok(counts)))
            }
            Question::Relations { name, others } => {
                let others: Vec<&str> = others.iter().map(String::as_str).collect();
                let relations = self.relations(&name, &others);
                let relations: Result<Vec<Answer<Relation>>> =
                    relations.map(|relations| relations.into_iter().map(tell).collect());
                encode(&tell(relations))
            }
            Question::List { name, kind, cursor, limit } => {
                encode(&tell(self.list_answer(&name, kind, cursor.as_deref(), limit)))
            }
            Question::Status => encode(&tell(Ok(self.status()))),
        }
    }

    fn list_answer(
        &self,
        name: &str,
        kind: u8,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<ListAnswer> {
        let kind = kind_of(kind)?;
        let limit = limit as usize;
        let page = match cursor {
            Some(cursor) => Page::after(cursor.parse()?, limit),
            None => Page::first(limit),
        };
        let list = self.list(name, kind, page)?;
        let entry = |entry: Entry| (entry.account, entry.account_id.0, entry.followed_at);
        let entries = list.entries.into_iter().map(entry).collect();
        Ok(ListAnswer { entries, next: list.next.map(|next| next.to_string()) })
    }

    /// How this node does.
    pub(super) fn status(&self) -> StatusAnswer {
        let answers_for = self.answers_for();
        let view = self.view.read();
        let digests = view.parts.iter().flat_map(|part| part.graph.shard_digests());
        let digests = digests.filter(|(shard, _)| answers_for.contains(*shard));
        let told = |(shard, digest): (VirtualShard, ShardDigest)| {
            (shard.number(), digest.following, digest.followers)
        };
        StatusAnswer {
            applied: *self.applied.borrow(),
            failure: self.failure.lock().as_ref().map(ToString::to_string),
            digests: digests.map(told).collect(),
            stopped: view.stopped.to_string(),
            account_count: view.parts.first().map_or(0, |part| part.graph.audit().account_count),
            part_count: view.parts.len() as u32,
        }
    }
}

impl ListAnswer {
    /// The page that a node told.
    pub(super) fn into_list(self) -> Result<List> {
        let entry =
            |(account, id, followed_at)| Entry { account, account_id: AccountId(id), followed_at };
        let next = self.next.map(|next| next.parse::<Cursor>()).transpose()?;
        Ok(List { entries: self.entries.into_iter().map(entry).collect(), next })
    }
}

fn kind_of(number: u8) -> Result<ListKind> {
    [ListKind::Followers, ListKind::Following, ListKind::Mutual]
        .into_iter()
        .find(|kind| *kind as u8 == number)
        .ok_or_else(|| Error::new(ErrorKind::Incompatible, "an unknown kind of list"))
}
