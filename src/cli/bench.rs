//! `bench`: how long a batch of counts takes on the reader's own graph.

use super::failure::{Failure, Verdict};
use super::output::{Align, Table, grouped, nanoseconds};
use clap::Args;
use followgraph::{AccountId, FollowGraph};
use std::io::Write;
use std::time::{Duration, Instant};

/// Accounts that are asked for, drawn at random: more than the processor's caches hold.
const SAMPLE_LEN: usize = 200_000;

/// Calls that are timed for one size of batch, at most.
const MAX_CALLS: usize = 1_000_000;

/// The seed of every run, so that two runs on one graph ask the same.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Measure how long counting takes: batches of 1, 20 and 100 accounts drawn at random
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph --db graph bench")]
pub(crate) struct Bench {
    /// Time to spend on each size of batch
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = parse_seconds)]
    seconds: f64,
}

impl Bench {
    pub(crate) fn run(&self, graph: &FollowGraph, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let mut random = Random(SEED);
        let names = sample(graph, &mut random);
        if names.is_empty() {
            return Err(Failure::input("the graph has no accounts; import an edge list first"));
        }
        let stats = graph.stats();
        let (accounts, follows) = (grouped(stats.account_count), grouped(stats.follow_count));
        writeln!(out, "{accounts} accounts, {follows} follows, one thread, followers, following")?;
        writeln!(out, "and mutual counts by name of accounts drawn at random")?;
        let right = |heading| (heading, Align::Right);
        let headings = ["BATCH", "P50", "P90", "P99", "P99.9", "P50 EACH", "CALLS"].map(right);
        let mut table = Table::with_headings(&headings);
        for batch_len in [1, 20, 100] {
            let mut times_ns = self.measure(graph, &names, batch_len, &mut random);
            times_ns.sort_unstable();
            let p50_each = percentile(&times_ns, 500) / batch_len as u64;
            let mut row = vec![batch_len.to_string()];
            row.extend([500, 900, 990, 999].map(|mille| nanoseconds(percentile(&times_ns, mille))));
            row.extend([nanoseconds(p50_each), grouped(times_ns.len() as u64)]);
            table.push(row);
        }
        table.write("", out)?;
        Ok(Verdict::Fine)
    }

    /// Times one call after the other until the time is over.
    fn measure(
        &self,
        graph: &FollowGraph,
        names: &[String],
        batch_len: usize,
        random: &mut Random,
    ) -> Vec<u64> {
        let budget = Duration::from_secs_f64(self.seconds);
        let mut batch = Vec::with_capacity(batch_len);
        let mut results = Vec::with_capacity(batch_len);
        let mut times_ns = Vec::with_capacity(MAX_CALLS);
        let started = Instant::now();
        // At least one call, however short the time.
        while times_ns.is_empty() || (times_ns.len() < MAX_CALLS && started.elapsed() < budget) {
            batch.clear();
            batch.extend((0..batch_len).map(|_| names[random.below(names.len())].as_str()));
            let call = Instant::now();
            graph.batch_counts_into(&batch, &mut results);
            times_ns.push(u64::try_from(call.elapsed().as_nanos()).unwrap_or(u64::MAX));
            std::hint::black_box(&results);
        }
        times_ns
    }
}

/// Names of accounts from all over the graph. Removed ones are drawn in vain now and then.
fn sample(graph: &FollowGraph, random: &mut Random) -> Vec<String> {
    let Some(last) = last_id(graph) else { return Vec::new() };
    let id_count = last.0 as usize + 1;
    let draw = |_| graph.account_name(AccountId(random.below(id_count) as u32)).ok();
    let mut names: Vec<_> = (0..SAMPLE_LEN).filter_map(draw).collect();
    // Of the last account it is known that it exists, should all the others have been removed.
    names.extend(graph.account_name(last).ok());
    names
}

/// The largest id in use, found by halving: the graph tells whether there is one above another.
fn last_id(graph: &FollowGraph) -> Option<AccountId> {
    let above = |after| graph.accounts(after, 1).first().map(|(id, _)| *id);
    let mut last = above(None)?;
    let mut end = u32::MAX;
    while last.0 < end {
        let middle = last.0 + (end - last.0) / 2;
        match above(Some(AccountId(middle))) {
            Some(id) => last = id,
            None => end = middle,
        }
    }
    Some(last)
}

/// The time that `mille` thousandths of the sorted times do not exceed.
fn percentile(sorted_ns: &[u64], mille: usize) -> u64 {
    let rank = (sorted_ns.len() * mille).div_ceil(1000).max(1);
    sorted_ns.get(rank - 1).copied().unwrap_or(0)
}

/// A generator whose numbers are good enough to draw names.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The high half of a product spreads the number evenly over the bound.
        ((u128::from(self.0) * bound as u128) >> 64) as usize
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=60.0).contains(seconds));
    seconds.ok_or_else(|| "give a number of seconds up to 60".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<_> = (1..=1000).collect();
        assert_eq!(
            [500, 900, 990, 999].map(|mille| percentile(&times, mille)),
            [500, 900, 990, 999]
        );
        assert_eq!(percentile(&[7], 999), 7);
        assert_eq!(percentile(&[], 500), 0);
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut random = Random(SEED);
        let mut seen = [false; 10];
        (0..1000).for_each(|_| seen[random.below(10)] = true);
        assert_eq!(seen, [true; 10]);
    }
}
