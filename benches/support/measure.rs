//! Times, and what becomes of them.

use std::time::{Duration, Instant};

/// A count as a number to divide by.
#[expect(clippy::cast_precision_loss, reason = "nothing that is counted here reaches 2^52")]
pub(crate) fn real(count: usize) -> f64 {
    count as f64
}

/// How long `work` takes, and what it gives.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed().as_secs_f64(), result)
}

/// How long `ask` takes each time when it is done `rounds` times, in seconds.
pub(crate) fn seconds_each(rounds: usize, mut ask: impl FnMut()) -> f64 {
    timed(|| (0..rounds).for_each(|_| ask())).0 / real(rounds)
}

/// Lets programs take turns, so that what disturbs one disturbs all: for each of them what it gave
/// in each turn.
pub(crate) fn take_turns<const COUNT: usize>(
    turns: usize,
    mut programs: [&mut dyn FnMut() -> f64; COUNT],
) -> [Vec<f64>; COUNT] {
    let mut given = [(); COUNT].map(|()| Vec::with_capacity(turns));
    for _ in 0..turns {
        for (program, given) in programs.iter_mut().zip(&mut given) {
            given.push(program());
        }
    }
    given
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The middle one of the ratios of each turn.
pub(crate) fn median_ratio(values: &[f64], to: &[f64]) -> f64 {
    let ratios: Vec<f64> = values.iter().zip(to).map(|(value, to)| value / to).collect();
    median(&ratios)
}

/// The middle and the 99th percentile of the seconds `ask` takes, each call timed by itself.
pub(crate) fn percentiles(calls: usize, mut ask: impl FnMut()) -> [f64; 2] {
    let mut times: Vec<Duration> = Vec::with_capacity(calls);
    for _ in 0..calls {
        let start = Instant::now();
        ask();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    [calls / 2, calls * 99 / 100].map(|place| times[place].as_secs_f64())
}
