//! Times, and what becomes of them.

use std::time::Instant;

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

/// The same for questions, each asked `rounds` times in a turn: the seconds each takes.
pub(crate) fn race<const COUNT: usize>(
    turns: usize,
    rounds: usize,
    questions: [&mut dyn FnMut(); COUNT],
) -> [Vec<f64>; COUNT] {
    race_evenly(turns, [rounds; COUNT], questions)
}

/// The same with another number of rounds for each, so that the turns of a fast program are as long
/// as those of a slow one: otherwise the fast one would never see its own lines in the caches.
pub(crate) fn race_evenly<const COUNT: usize>(
    turns: usize,
    rounds: [usize; COUNT],
    questions: [&mut dyn FnMut(); COUNT],
) -> [Vec<f64>; COUNT] {
    let mut rounds = rounds.into_iter();
    let mut programs = questions.map(|ask| {
        let rounds = rounds.next().expect("one number for each");
        move || seconds_each(rounds, &mut *ask)
    });
    take_turns(turns, programs.each_mut().map(|program| program as &mut dyn FnMut() -> f64))
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
