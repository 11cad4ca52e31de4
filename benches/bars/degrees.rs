//! What a follow costs by the followers the followed account has: it should not matter.

use crate::machine::Machine;
use crate::report::Report;
use crate::support::measure::{median, real, timed};
use crate::support::{LOAD_MEMORY_BYTES, open};
use followgraph::{FollowGraph, Outcome};
use std::path::Path;

const DEGREES: [usize; 5] = [10, 1_000, 100_000, 1_000_000, 10_000_000];
const DEGREES_QUICK: [usize; 3] = [10, 100, 1_000];
/// Accounts that follow none of the followed ones, until they are asked to.
const STRANGERS: usize = 1000;
const TURNS: usize = 21;
const TURNS_QUICK: usize = 3;

pub(crate) fn measure(is_quick: bool, machine: &Machine, mut report: Report, directory: &Path) {
    let (degrees, turns) =
        if is_quick { (&DEGREES_QUICK[..], TURNS_QUICK) } else { (&DEGREES[..], TURNS) };
    load(directory, degrees);
    let graph = open(directory);
    let strangers: Vec<String> = (0..STRANGERS).map(|number| format!("stranger{number}")).collect();
    // Followers from all over the list. The ones of the smallest account are all there are.
    let present = |degree: usize| -> Vec<String> {
        let count = degree.min(STRANGERS);
        (0..count).map(|place| format!("user{}", place * (degree / count))).collect()
    };
    let present: Vec<Vec<String>> = degrees.iter().map(|&degree| present(degree)).collect();
    let mut new = vec![Vec::new(); degrees.len()];
    let mut again = vec![Vec::new(); degrees.len()];
    machine.alone(|| {
        for _ in 0..turns {
            for (place, degree) in degrees.iter().enumerate() {
                let star = star(*degree);
                new[place].push(nanos_each(&graph, &strangers, &star, [true, false]));
                again[place].push(nanos_each(&graph, &present[place], &star, [false, true]));
            }
        }
    });
    println!("\nfollowing and unfollowing, by the followers of the followed account:");
    for (what, nanos) in [
        ("follow + unfollow, by somebody new", new),
        ("unfollow + follow, by a follower of the image", again),
    ] {
        for (degree, nanos) in degrees.iter().zip(nanos) {
            report.degree(what, *degree, median(&nanos), "ns");
        }
    }
    for &degree in degrees {
        let counts = graph.counts(&star(degree)).expect("the account was loaded");
        assert_eq!(counts.followers as usize, degree, "all is as it was");
    }
}

fn star(degree: usize) -> String {
    format!("followed by {degree}")
}

/// The first users follow each of the stars, as many as it takes.
fn load(directory: &Path, degrees: &[usize]) {
    let graph = open(directory);
    let mut load = graph.bulk_load(LOAD_MEMORY_BYTES).expect("the directory is empty");
    for &degree in degrees {
        for user in 0..degree {
            load.add(&format!("user{user}"), &star(degree), None).expect("the names are good");
        }
    }
    for stranger in 0..STRANGERS {
        load.add(&format!("stranger{stranger}"), "somebody else", None).expect("a good name");
    }
    load.finish(&mut |_, _| {}).expect("there is room for the graph");
}

/// Each of `followers` changes its mind and back; the time of both together.
fn nanos_each(graph: &FollowGraph, followers: &[String], star: &str, follows: [bool; 2]) -> f64 {
    let change = || {
        for follow in follows {
            for follower in followers {
                let outcome = if follow {
                    graph.follow(follower, star)
                } else {
                    graph.unfollow(follower, star)
                };
                assert_eq!(outcome.expect("both accounts exist"), Outcome::Applied);
            }
        }
    };
    timed(change).0 * 1e9 / real(followers.len())
}
