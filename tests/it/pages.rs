//! Pages stay right whatever happens between them: nothing twice, nothing skipped that was there
//! all along, always newest first; and a cursor is only good for the list that made it.

use crate::support::{HandClock, Random, quick_dir};
use followgraph::{Cursor, Durability, ErrorKind, FollowGraph, List, Mutation, Options, Page};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Followers,
    Following,
    Mutuals,
}

fn open(dir: &Path, clock: &HandClock) -> FollowGraph {
    Options::new()
        .durability(Durability::Never)
        .segment_bytes(64 << 10)
        .create_missing_accounts(true)
        .clock(clock.clock())
        .open(dir)
        .unwrap()
}

fn fetch(graph: &FollowGraph, kind: Kind, page: Page) -> followgraph::Result<List> {
    match kind {
        Kind::Followers => graph.followers("star", page),
        Kind::Following => graph.following("star", page),
        Kind::Mutuals => graph.mutuals("star", page),
    }
}

/// The follow that puts `other` into the list, and those that change nothing about it.
fn into_list(kind: Kind, other: &str) -> (&str, &str) {
    match kind {
        Kind::Followers => (other, "star"),
        Kind::Following | Kind::Mutuals => ("star", other),
    }
}

/// Fills the list of `star`; many follows share their second.
fn fill(graph: &FollowGraph, kind: Kind, random: &mut Random, others: &[String]) {
    for other in others {
        let (from, to) = into_list(kind, other);
        let follow = Mutation::follow(from, to);
        let timed = if random.one_in(3) { follow.at(90 + random.below(9) as u32) } else { follow };
        let mut mutations = vec![timed];
        if kind == Kind::Mutuals {
            mutations.push(Mutation::follow(other, "star"));
        }
        for result in graph.apply(&mutations).unwrap() {
            result.unwrap();
        }
    }
}

/// One paging through one list while the graph changes under it.
struct Paging {
    kind: Kind,
    random: Random,
    clock: HandClock,
    graph: Option<FollowGraph>,
    /// Accounts whose edge was changed since the paging began.
    touched: BTreeSet<String>,
    /// How many edges each account has had in the list since then.
    edge_count: BTreeMap<String, usize>,
}

impl Paging {
    fn disturb(&mut self, dir: &Path, others: &[String]) {
        for _ in 0..self.random.below(4) {
            self.disturb_once(dir, others);
        }
    }

    fn disturb_once(&mut self, dir: &Path, others: &[String]) {
        let choice = self.random.below(12);
        let other = &others[self.random.below(others.len())];
        let (from, to) = into_list(self.kind, other);
        let graph = self.graph.as_ref().unwrap();
        match choice {
            0..4 => {
                graph.unfollow(from, to).unwrap();
                self.touched.insert(other.clone());
            }
            4..8 => {
                let follow = Mutation::follow(from, to);
                let old = follow.at(90 + self.random.below(12) as u32);
                let follow = if choice == 4 { old } else { follow };
                graph.apply(&[Mutation::unfollow(from, to), follow]).unwrap();
                self.touched.insert(other.clone());
                *self.edge_count.entry(other.clone()).or_default() += 1;
            }
            8 => {
                let stranger = format!("stranger{}", self.random.below(1 << 20));
                graph.follow("star", &stranger).unwrap();
                graph.follow(&stranger, "star").unwrap();
                self.touched.insert(stranger.clone());
                *self.edge_count.entry(stranger).or_default() += 1;
            }
            9 => drop(graph.checkpoint().unwrap()),
            10 => {
                self.graph = None;
                self.graph = Some(open(dir, &self.clock));
            }
            _ => self.clock.advance(1),
        }
    }
}

fn check_paging(kind: Kind, seed: u64) {
    let dir = quick_dir();
    let clock = HandClock::at(100);
    let mut random = Random::seeded(seed);
    let graph = open(dir.path(), &clock);
    graph.add_account("star").unwrap();
    let mut others: Vec<String> = (0..60).map(|number| format!("other{number}")).collect();
    random.shuffle(&mut others);
    fill(&graph, kind, &mut random, &others);
    if random.one_in(2) {
        graph.checkpoint().unwrap();
    }
    let edge_count = others.iter().map(|other| (other.clone(), 1)).collect();
    let (graph, touched) = (Some(graph), BTreeSet::new());
    let mut paging = Paging { kind, random, clock, graph, touched, edge_count };

    let mut shown: Vec<(String, u32)> = Vec::new();
    let mut page = Page::first(1 + paging.random.below(7));
    loop {
        let list = fetch(paging.graph.as_ref().unwrap(), kind, page).unwrap();
        let entries = list.entries.into_iter();
        shown.extend(entries.map(|entry| (entry.account, entry.followed_at)));
        let Some(cursor) = list.next else { break };
        let cursor: Cursor = cursor.to_string().parse().unwrap();
        page = Page::after(cursor, 1 + paging.random.below(7));
        paging.disturb(dir.path(), &others);
        assert!(shown.len() < 10_000, "{kind:?}, seed {seed}: the pages do not end");
    }

    let what = format!("{kind:?}, seed {seed}: {shown:?}");
    assert!(shown.is_sorted_by(|one, next| one.1 >= next.1), "not newest first: {what}");
    for other in &others {
        let times = shown.iter().filter(|entry| entry.0 == *other).count();
        assert!(times <= paging.edge_count[other], "{other} is there {times} times: {what}");
        let was_there_all_along = !paging.touched.contains(other);
        assert!(!was_there_all_along || times == 1, "{other} was skipped: {what}");
    }
    for (stranger, _) in shown.iter().filter(|entry| entry.0.starts_with("stranger")) {
        let times = shown.iter().filter(|entry| entry.0 == *stranger).count();
        assert!(times <= paging.edge_count[stranger], "{stranger} is there {times} times: {what}");
    }
}

#[test]
fn followers_are_paged_right_while_they_change() {
    (0..40).for_each(|seed| check_paging(Kind::Followers, seed));
}

#[test]
fn following_is_paged_right_while_it_changes() {
    (100..140).for_each(|seed| check_paging(Kind::Following, seed));
}

#[test]
fn mutuals_are_paged_right_while_they_change() {
    (200..240).for_each(|seed| check_paging(Kind::Mutuals, seed));
}

#[test]
fn a_page_begins_below_its_cursor_even_when_the_cursors_edge_is_gone() {
    let graph = small_graph();
    let first = graph.followers("star", Page::first(2)).unwrap();
    let last = &first.entries[1].account;
    graph.unfollow(last, "star").unwrap();
    let second = graph.followers("star", Page::after(first.next.unwrap(), 10)).unwrap();
    let names: Vec<&str> = second.entries.iter().map(|entry| entry.account.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(second.next, None);
}

#[test]
fn the_text_of_a_cursor_is_the_cursor() {
    let graph = small_graph();
    let next = graph.followers("star", Page::first(1)).unwrap().next.unwrap();
    let text = next.to_string();
    assert_eq!(text.parse::<Cursor>().unwrap(), next);
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    assert!(text.bytes().all(is_safe), "{text:?} does not fit into a URL as it is");
}

#[test]
fn a_cursor_of_another_account_or_list_is_refused() {
    let graph = small_graph();
    let followers = graph.followers("star", Page::first(1)).unwrap().next.unwrap();
    let following = graph.following("star", Page::first(1)).unwrap().next.unwrap();
    let mutuals = graph.mutuals("star", Page::first(1)).unwrap().next.unwrap();
    let kind = |list: followgraph::Result<List>| list.unwrap_err().kind();
    let after = |cursor| Page::after(cursor, 1);
    assert_eq!(kind(graph.followers("a", after(followers))), ErrorKind::InvalidCursor);
    assert_eq!(kind(graph.following("star", after(followers))), ErrorKind::InvalidCursor);
    assert_eq!(kind(graph.mutuals("star", after(followers))), ErrorKind::InvalidCursor);
    assert_eq!(kind(graph.followers("star", after(following))), ErrorKind::InvalidCursor);
    assert_eq!(kind(graph.mutuals("star", after(following))), ErrorKind::InvalidCursor);
    assert_eq!(kind(graph.following("star", after(mutuals))), ErrorKind::InvalidCursor);
    assert_eq!(kind(graph.following("a", after(mutuals))), ErrorKind::InvalidCursor);
}

#[test]
fn text_that_is_no_cursor_is_refused() {
    let graph = small_graph();
    let good = graph.followers("star", Page::first(1)).unwrap().next.unwrap().to_string();
    let refused = |text: &str| {
        let kind = text.parse::<Cursor>().map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::InvalidCursor), "{text:?}");
    };
    for text in ["", " ", "1", "x", "not a cursor", "\u{6f22}\u{6f22}", "0000-0000", "-1", "..."] {
        refused(text);
    }
    refused(&good[1..]);
    refused(&good[..good.len() - 1]);
    refused(&format!("{good}0"));
    refused(&format!(" {good}"));
    refused(&good.repeat(100));
}

#[test]
fn a_page_of_none_is_empty_or_refused() {
    let graph = small_graph();
    match graph.followers("star", Page::first(0)) {
        Ok(list) => assert_eq!(list.entries, []),
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidArgument),
    }
    let all = graph.followers("star", Page::first(usize::MAX)).unwrap();
    assert_eq!((all.entries.len(), all.next), (4, None));
}

/// Four mutual follows of `star`, oldest `a`.
fn small_graph() -> FollowGraph {
    let graph = Options::new().create_missing_accounts(true).in_memory().unwrap();
    for (at, name) in (1..).zip(["a", "b", "c", "d"]) {
        let there = Mutation::follow(name, "star").at(at);
        let back = Mutation::follow("star", name).at(at);
        for result in graph.apply(&[there, back]).unwrap() {
            result.unwrap();
        }
    }
    graph
}
