//! Batch after batch of counts, asked of each of the programs.

use super::draw::Dealer;
use super::floor::Floor;
use super::naive::Naive;
use followgraph::{Counts, FollowGraph, Result};
use std::hint::black_box;

pub(crate) fn engine<'a>(
    graph: &'a FollowGraph,
    dealer: Dealer<'a, &'a str>,
    size: usize,
) -> impl FnMut() + use<'a> {
    ask(|names, results| graph.batch_counts_into(names, results), dealer, size)
}

pub(crate) fn floor<'a>(
    floor: &'a Floor,
    dealer: Dealer<'a, &'a str>,
    size: usize,
) -> impl FnMut() + use<'a> {
    ask(|names, results| floor.batch_counts_into(names, results), dealer, size)
}

pub(crate) fn naive<'a>(
    naive: &'a Naive,
    dealer: Dealer<'a, &'a str>,
    size: usize,
) -> impl FnMut() + use<'a> {
    ask(|names, results| naive.batch_counts_into(names, results), dealer, size)
}

/// Deals a batch, asks, and makes sure that the answer is not left out because nobody reads it.
fn ask<'a, T>(
    answer: impl Fn(&[&'a str], &mut Vec<T>),
    mut dealer: Dealer<'a, &'a str>,
    size: usize,
) -> impl FnMut() {
    let mut results = Vec::with_capacity(size);
    move || {
        answer(dealer.batch(size), &mut results);
        black_box(results.len());
    }
}

/// Names whose answers are compared before anything is timed.
const CHECKED_NAMES: usize = 100_000;

/// The engine and another program give the same answers, or there is nothing to compare.
pub(crate) fn check_agreement(
    graph: &FollowGraph,
    names: &[&str],
    mut other: impl FnMut(&[&str], &mut Vec<Option<Counts>>),
) {
    let mut found = Vec::new();
    for batch in names.chunks(100).take(CHECKED_NAMES / 100).chain([&["", "nobody?"][..]]) {
        let counts: Vec<Option<Counts>> =
            graph.batch_counts(batch).into_iter().map(Result::ok).collect();
        other(batch, &mut found);
        assert_eq!(counts, found, "the two disagree about {batch:?}");
    }
}
