//! Accounts with many follows: the sets leave their small encodings, deltas are promoted, pages
//! cross blocks. A few hubs, thousands of fans, every order of times, against the model.

use crate::support::{HandClock, Random, assert_equal, assert_verified, quick_dir, walk};
use followgraph::testing::Model;
use followgraph::{Durability, FollowGraph, Mutation, Options, Outcome};
use std::path::Path;

const HUBS: [&str; 3] = ["hub0", "hub1", "hub2"];

/// How the times of follows are given.
#[derive(Clone, Copy)]
enum Times {
    /// By the clock, which moves now and then.
    Clock,
    /// All the same.
    Standing,
    /// At random, over the whole range of times, its ends and zero included.
    Wild,
}

fn time(times: Times, random: &mut Random, clock: &HandClock) -> u32 {
    match times {
        Times::Standing => 1000,
        Times::Clock => {
            clock.advance(u32::from(random.one_in(3)));
            clock.now()
        }
        Times::Wild => {
            let ends = [0, 1, 999, u32::MAX - 1, u32::MAX];
            let anywhere = random.below(u32::MAX as usize) as u32;
            if random.one_in(2) { ends[random.below(ends.len())] } else { anywhere }
        }
    }
}

struct Crowd {
    graph: FollowGraph,
    model: Model,
    random: Random,
    clock: HandClock,
    fans: Vec<String>,
}

impl Crowd {
    fn open(dir: &Path, clock: &HandClock) -> FollowGraph {
        Options::new()
            .durability(Durability::Never)
            .segment_bytes(64 << 10)
            .create_missing_accounts(true)
            .clock(clock.clock())
            .reset_clock(true)
            .open(dir)
            .unwrap()
    }

    /// Follows or unfollows between a hub and a fan, many in a batch, in both worlds.
    fn stir(&mut self, change_count: usize, unfollow_chances: usize, times: Times) {
        let mut changes = Vec::new();
        for _ in 0..change_count {
            let hub = HUBS[self.random.below(HUBS.len())].to_owned();
            let fan = self.fans[self.random.below(self.fans.len())].clone();
            let ends = if self.random.one_in(3) { (hub, fan) } else { (fan, hub) };
            let at = time(times, &mut self.random, &self.clock);
            changes.push((self.random.below(100) < unfollow_chances, ends, at));
        }
        for changes in changes.chunks(97) {
            let mutation = |(is_unfollow, (from, to), at): &'_ (bool, (String, String), u32)| {
                if *is_unfollow {
                    self.model.unfollow(from, to)
                } else {
                    self.model.follow(from, to, *at)
                }
            };
            let expected: Vec<_> = changes.iter().map(mutation).collect();
            let mutations: Vec<Mutation<'_>> = changes
                .iter()
                .map(|(is_unfollow, (from, to), at)| {
                    let follow = Mutation::follow(from, to).at(*at);
                    if *is_unfollow { Mutation::unfollow(from, to) } else { follow }
                })
                .collect();
            let results = self.graph.apply(&mutations).unwrap();
            for (result, expected) in results.into_iter().zip(expected) {
                let done = result.map(|outcome| outcome == Outcome::Applied);
                assert_eq!(done.ok(), expected.ok());
            }
        }
    }

    /// The hubs are compared whole, by pages of several sizes, and so are some of their fans.
    fn check(&mut self) {
        for hub in HUBS {
            for limit in [1000, 7] {
                let followers = walk(limit, |page| self.graph.followers(hub, page));
                assert!(followers.unwrap() == self.model.followers(hub).unwrap(), "{hub}");
                let following = walk(limit, |page| self.graph.following(hub, page));
                assert!(following.unwrap() == self.model.following(hub).unwrap(), "{hub}");
                let mutuals = walk(limit, |page| self.graph.mutuals(hub, page));
                assert!(mutuals.unwrap() == self.model.mutuals(hub).unwrap(), "{hub}");
            }
        }
        let mut names = HUBS.to_vec();
        for _ in 0..10 {
            names.push(&self.fans[self.random.below(self.fans.len())]);
        }
        assert_equal(&self.graph, &self.model, &names);
    }
}

/// A crowd of `fan_count` through its life: growing, churning, shrinking, with a checkpoint or a
/// reopening after every stage.
fn check_crowd(seed: u64, fan_count: usize, times: Times) {
    let dir = quick_dir();
    // A time may be given up to a day ahead of the clock, and these are any.
    let clock = HandClock::at(if matches!(times, Times::Wild) { u32::MAX } else { 1000 });
    let graph = Crowd::open(dir.path(), &clock);
    let mut model = Model::default();
    model.creates_missing_accounts = true;
    let mut random = Random::seeded(seed);
    let mut fans: Vec<String> = (0..fan_count).map(|number| format!("fan{number}")).collect();
    random.shuffle(&mut fans);
    for hub in HUBS {
        graph.add_account(hub).unwrap();
        model.add_account(hub).unwrap();
    }
    for fan in &fans {
        graph.add_account(fan).unwrap();
        model.add_account(fan).unwrap();
    }
    let mut crowd = Crowd { graph, model, random, clock, fans };
    for (stage, unfollow_chances) in [0, 5, 30, 50, 70, 90].into_iter().enumerate() {
        crowd.stir(fan_count * 2, unfollow_chances, times);
        crowd.check();
        if stage % 2 == 0 {
            crowd.graph.checkpoint().unwrap();
        } else {
            let Crowd { graph, model, random, clock, fans } = crowd;
            drop(graph);
            let graph = Crowd::open(dir.path(), &clock);
            crowd = Crowd { graph, model, random, clock, fans };
        }
        crowd.check();
        assert_verified(&crowd.graph, &crowd.model);
    }
    crowd.graph.remove_account("hub1").unwrap();
    crowd.model.remove_account("hub1").unwrap();
    crowd.graph.checkpoint().unwrap();
    let Crowd { graph, model, fans, .. } = crowd;
    let mut names = vec!["hub0", "hub1", "hub2"];
    names.extend(fans.iter().take(20).map(String::as_str));
    assert_equal(&graph, &model, &names);
    assert_verified(&graph, &model);
}

#[test]
fn a_hundred_fans_whose_times_are_the_clocks() {
    (0..6).for_each(|seed| check_crowd(seed, 100, Times::Clock));
}

#[test]
fn a_thousand_fans_whose_times_are_the_clocks() {
    check_crowd(20, 1000, Times::Clock);
}

#[test]
fn a_thousand_fans_of_one_moment() {
    check_crowd(21, 1000, Times::Standing);
}

#[test]
fn a_thousand_fans_of_all_times() {
    check_crowd(22, 1000, Times::Wild);
}

#[test]
fn a_hundred_fans_of_all_times() {
    (30..36).for_each(|seed| check_crowd(seed, 100, Times::Wild));
}

#[test]
fn a_hub_as_large_as_a_dense_set_answers_like_the_model() {
    let dir = quick_dir();
    let clock = HandClock::at(1000);
    let graph = Crowd::open(dir.path(), &clock);
    let names: Vec<String> = (0..70_000).map(|number| format!("fan{number}")).collect();
    let mut load = graph.bulk_load(8 << 20).unwrap();
    for (number, name) in names.iter().enumerate() {
        load.add(name, "hub", Some(500 + number as u32 / 1000)).unwrap();
        if number % 3 == 0 {
            load.add("hub", name, None).unwrap();
        }
    }
    load.finish(&mut |_, _| {}).unwrap();
    for number in (0..70_000).step_by(1000) {
        graph.unfollow(&names[number], "hub").unwrap();
        graph.follow("hub", &names[number + 1]).unwrap();
        clock.advance(1);
    }
    let expected_followers: Vec<String> = (0..70)
        .rev()
        .flat_map(|thousand| (1..1000).rev().map(move |rest| thousand * 1000 + rest))
        .map(|number| format!("fan{number}"))
        .collect();
    for _ in 0..2 {
        let followers = walk(997, |page| graph.followers("hub", page)).unwrap();
        let followers: Vec<String> = followers.into_iter().map(|entry| entry.0).collect();
        assert!(followers == expected_followers, "the newest first, among equals the later first");
        let counts = graph.counts("hub").unwrap();
        assert_eq!(counts.followers, 70_000 - 70);
        let following = (0..70_000).filter(|number| number % 3 == 0 || number % 1000 == 1);
        assert_eq!(counts.following as usize, following.clone().count());
        let mutual = following.filter(|number| number % 1000 != 0).count();
        assert_eq!(counts.mutual as usize, mutual);
        let mutuals = walk(1000, |page| graph.mutuals("hub", page)).unwrap();
        assert_eq!(mutuals.len(), mutual);
        let newest = graph.following("hub", followgraph::Page::first(1)).unwrap();
        assert_eq!(newest.entries[0].account, "fan69001");
        graph.verify().unwrap();
        graph.checkpoint().unwrap();
    }
}

/// A log that is long enough to be replayed by several threads, over accounts of an image and
/// accounts that are newer, some of which go in the middle.
#[test]
fn a_long_log_is_replayed_as_it_was_written() {
    let dir = quick_dir();
    let clock = HandClock::at(1000);
    let mut model = Model::default();
    model.creates_missing_accounts = true;
    let mut random = Random::seeded(11);
    let mut names: Vec<String> = (0..10_000).map(|number| format!("account{number}")).collect();
    let graph = Crowd::open(dir.path(), &clock);
    for name in &names {
        graph.add_account(name).unwrap();
        model.add_account(name).unwrap();
    }
    let mut change = |graph: &FollowGraph, model: &mut Model, names: &[String], count: usize| {
        for _ in 0..count {
            // Half of them are among a few, who so have many follows, again and again.
            let below = if random.one_in(2) { names.len() } else { 100 };
            let (from, to) = (&names[random.below(below)], &names[random.below(names.len())]);
            let (done, expected) = if random.one_in(5) {
                (graph.unfollow(to, from), model.unfollow(to, from))
            } else {
                let at = clock.now();
                (graph.follow(from, to), model.follow(from, to, at))
            };
            assert_eq!(done.ok().map(|done| done == Outcome::Applied), expected.ok());
            clock.advance(u32::from(random.one_in(50)));
        }
    };
    change(&graph, &mut model, &names, 5_000);
    graph.checkpoint().unwrap();
    change(&graph, &mut model, &names, 12_000);
    for gone in [17, 5_000, 9_999] {
        graph.remove_account(&names[gone]).unwrap();
        model.remove_account(&names[gone]).unwrap();
    }
    names.extend((0..5_000).map(|number| format!("newer{number}")));
    change(&graph, &mut model, &names, 24_000);
    drop(graph);

    let graph = Crowd::open(dir.path(), &clock);
    let replayed = graph.stats().recovery.replayed_records;
    assert!(replayed > 30_000, "{replayed} records are replayed");
    assert_verified(&graph, &model);
    let some: Vec<&str> = names.iter().step_by(400).map(String::as_str).collect();
    assert_equal(&graph, &model, &some);
    for name in &names {
        let counts = graph.counts(name).ok();
        let counts = counts.map(|counts| {
            (counts.followers as usize, counts.following as usize, counts.mutual as usize)
        });
        assert_eq!(counts, model.counts(name).ok(), "{name}");
    }
}
