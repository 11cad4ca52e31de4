//! The five commands of `v4/follow/`.

use super::codes::{Code, Refusal};
use super::graph::Graph;
use super::requests::{FollowGet, FollowTargets, Name};
use super::service::follow_done;
use crate::{Counts, Cursor, Error, ErrorKind, Outcome, Page, Relation};
use serde::Serialize;

/// The most accounts of one request.
const TARGETS_MAX: usize = 20;
const CHECKED_MAX: usize = 100;

const PAGE_DEFAULT: i64 = 100;
const PAGE_MAX: i64 = 1000;

/// One entry of `ResultItem`.
#[derive(Serialize)]
struct ResultItem<'a> {
    #[serde(rename = "To_Account")]
    to: &'a str,
    #[serde(rename = "ResultCode")]
    code: u32,
    #[serde(rename = "ResultInfo")]
    info: String,
    #[serde(rename = "FollowType", skip_serializing_if = "Option::is_none")]
    follow_type: Option<u8>,
}

#[derive(Serialize)]
struct Results<'a> {
    #[serde(rename = "ResultItem")]
    items: Vec<ResultItem<'a>>,
}

/// The code of what went wrong with one account; `None` where the server is what failed.
fn code_of(error: &Error) -> Option<Code> {
    match error.kind() {
        // Of an account that is being removed only its end is missing.
        ErrorKind::UnknownAccount | ErrorKind::BeingRemoved => Some(Code::UnknownAccount),
        ErrorKind::InvalidName => Some(Code::IllegalAccount),
        ErrorKind::SelfFollow | ErrorKind::InvalidCursor => Some(Code::BadParameter),
        ErrorKind::FollowingLimit => Some(Code::FollowingLimit),
        ErrorKind::FollowersLimit => Some(Code::FollowersLimit),
        ErrorKind::FollowerMutualLimit => Some(Code::FollowerMutualLimit),
        ErrorKind::FollowedMutualLimit => Some(Code::FollowedMutualLimit),
        _ => None,
    }
}

/// Whether something took too long, so that nobody knows yet what became of it or what is right.
pub(super) fn is_late(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Behind | ErrorKind::OutcomeUnknown)
}

/// What is wrong with an account, or that the server failed: of that, no more is said.
fn refusal(error: &Error) -> Refusal {
    match code_of(error) {
        Some(code) => Refusal::new(code, error.to_string()),
        None if is_late(error) => Refusal::server_failed(Code::ServerTimeout, error),
        None => Refusal::server_failed(Code::ServerFailed, error),
    }
}

fn result_item<'a, T>(to: &'a str, result: &crate::Result<T>) -> ResultItem<'a> {
    let (code, info) = match result {
        Ok(_) => (Code::Ok, String::new()),
        Err(error) => {
            let refusal = refusal(error);
            (refusal.code, refusal.info)
        }
    };
    ResultItem { to, code: code.number(), info, follow_type: None }
}

fn check_len(field: &str, len: usize, max: usize) -> Result<(), Refusal> {
    Refusal::check_len(Code::BadParameter, field, len, max)
}

fn names<'a>(names: &'a [Name<'_>]) -> Vec<&'a str> {
    names.iter().map(AsRef::as_ref).collect()
}

/// Whoever asks has to be an account.
fn check_from(graph: &dyn Graph, from: &Name<'_>) -> Result<(), Refusal> {
    graph.check_account(from.as_ref()).map_err(|error| {
        let refusal = refusal(&error);
        Refusal { info: format!("From_Account: {}", refusal.info), ..refusal }
    })
}

/// The answer to changes, an item for each.
fn changed<'a>(
    targets: &'a [Name<'a>],
    results: crate::Result<Vec<crate::Result<Outcome>>>,
) -> Result<Vec<u8>, Refusal> {
    let results = results.map_err(|error| refusal(&error))?;
    let items = targets.iter().zip(&results).map(|(to, result)| result_item(to, result)).collect();
    Ok(follow_done(Results { items }))
}

/// `follow_add`. Following whom one follows already is done already.
pub(super) fn add(graph: &dyn Graph, request: &FollowTargets<'_>) -> Result<Vec<u8>, Refusal> {
    check_len("FollowItem", request.to.len(), TARGETS_MAX)?;
    check_from(graph, &request.from)?;
    let results = graph.follow(request.from.as_ref(), &names(&request.to));
    changed(&request.to, results)
}

/// `follow_delete`. Unfollowing whom one does not follow is done already.
pub(super) fn delete(graph: &dyn Graph, request: &FollowTargets<'_>) -> Result<Vec<u8>, Refusal> {
    check_len("To_Account", request.to.len(), TARGETS_MAX)?;
    check_from(graph, &request.from)?;
    let results = graph.unfollow(request.from.as_ref(), &names(&request.to));
    changed(&request.to, results)
}

/// Bit 0: the other follows the account. Bit 1: the account follows the other.
fn follow_type(relation: Relation) -> u8 {
    u8::from(relation.followed_by) | u8::from(relation.following) << 1
}

/// `follow_check`.
pub(super) fn check(graph: &dyn Graph, request: &FollowTargets<'_>) -> Result<Vec<u8>, Refusal> {
    check_len("To_Account", request.to.len(), CHECKED_MAX)?;
    check_from(graph, &request.from)?;
    let relations = graph.batch_relations(request.from.as_ref(), &names(&request.to));
    let relations = relations.map_err(|error| refusal(&error))?;
    let items = request.to.iter().zip(&relations).map(|(to, relation)| ResultItem {
        follow_type: Some(relation.as_ref().map_or(0, |relation| follow_type(*relation))),
        ..result_item(to, relation)
    });
    Ok(follow_done(Results { items: items.collect() }))
}

#[derive(Serialize)]
struct FollowInfo<'a> {
    #[serde(flatten)]
    result: ResultItem<'a>,
    #[serde(rename = "FollowerCount")]
    followers: u32,
    #[serde(rename = "FollowingCount")]
    following: u32,
    #[serde(rename = "MutualFollowingCount")]
    mutual: u32,
}

#[derive(Serialize)]
struct FollowInfos<'a> {
    #[serde(rename = "FollowInfo")]
    items: Vec<FollowInfo<'a>>,
}

/// `follow_get_info`: the three counts of each account.
pub(super) fn get_info(graph: &dyn Graph, request: &FollowTargets<'_>) -> Result<Vec<u8>, Refusal> {
    check_len("To_Account", request.to.len(), TARGETS_MAX)?;
    check_from(graph, &request.from)?;
    let counted = graph.batch_counts(&names(&request.to));
    let items = request.to.iter().zip(&counted).map(|(to, counts)| {
        let result = result_item(to, counts);
        let Counts { followers, following, mutual } = counts.as_ref().copied().unwrap_or_default();
        FollowInfo { result, followers, following, mutual }
    });
    Ok(follow_done(FollowInfos { items: items.collect() }))
}

#[derive(Serialize)]
struct FollowEntry<'a> {
    #[serde(rename = "To_Account")]
    to: &'a str,
    #[serde(rename = "FollowTime")]
    followed_at: u32,
    /// Profiles are not kept here.
    #[serde(rename = "ProfileItem")]
    profile: [(); 0],
    profile_sequence: u32,
}

#[derive(Serialize)]
struct FollowPage<'a> {
    #[serde(rename = "FollowItem")]
    items: Vec<FollowEntry<'a>>,
    #[serde(rename = "NextCursor")]
    next: String,
}

/// `follow_get`: a page of a list, newest first.
pub(super) fn get(graph: &dyn Graph, request: &FollowGet<'_>) -> Result<Vec<u8>, Refusal> {
    let wrong = |info: &str| Refusal::new(Code::BadParameter, info);
    check_from(graph, &request.from)?;
    let limit = match request.want_num.unwrap_or(PAGE_DEFAULT) {
        0 => PAGE_DEFAULT,
        wanted if wanted < 0 => return Err(wrong("WantNum is negative")),
        wanted => wanted.min(PAGE_MAX),
    };
    let limit = usize::try_from(limit).expect("between 1 and the most a page has");
    let page = match request.start_cursor.as_deref().unwrap_or("") {
        "" => Page::first(limit),
        cursor => {
            let cursor: Cursor = cursor.parse().map_err(|error| refusal(&error))?;
            Page::after(cursor, limit)
        }
    };
    let from = request.from.as_ref();
    let list = match request.follow_type {
        1 => graph.followers(from, page),
        2 => graph.following(from, page),
        3 => graph.mutuals(from, page),
        _ => return Err(wrong("FollowType is 1 (followers), 2 (following) or 3 (mutual)")),
    };
    let list = list.map_err(|error| refusal(&error))?;
    let items = list.entries.iter().map(|entry| FollowEntry {
        to: &entry.account,
        followed_at: entry.followed_at,
        profile: [],
        profile_sequence: 0,
    });
    let items = items.collect();
    let next = list.next.map(|next| next.to_string()).unwrap_or_default();
    Ok(follow_done(FollowPage { items, next }))
}
