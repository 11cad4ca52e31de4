//! How long things take, bounded in time, and what is made of it.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Latencies of one kind of operation.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) count: usize,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) mean_ns: u64,
}

/// The single times of one kind of operation.
#[derive(Default)]
pub(crate) struct Times {
    nanoseconds: Vec<u64>,
    sum: u64,
}

impl Times {
    pub(crate) fn time<T>(&mut self, operation: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let result = operation()?;
        self.add(start.elapsed());
        Ok(result)
    }

    fn add(&mut self, elapsed: Duration) {
        let elapsed = elapsed.as_nanos() as u64;
        self.nanoseconds.push(elapsed);
        self.sum += elapsed;
    }

    pub(crate) fn count(&self) -> usize {
        self.nanoseconds.len()
    }

    pub(crate) fn sum_seconds(&self) -> f64 {
        self.sum as f64 / 1e9
    }

    pub(crate) fn latency(mut self) -> Option<Latency> {
        let count = self.nanoseconds.len();
        if count == 0 {
            return None;
        }
        self.nanoseconds.sort_unstable();
        let percentile = |percent: usize| self.nanoseconds[(count - 1) * percent / 100];
        let (p50_ns, p99_ns) = (percentile(50), percentile(99));
        Some(Latency { count, p50_ns, p99_ns, mean_ns: self.sum / count as u64 })
    }
}

/// How long each measurement may take.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) warm_up: Duration,
    pub(crate) measurement: Duration,
    /// Operations that wait for the disk are bounded by number as well.
    pub(crate) durable_count_max: usize,
}

impl Bounds {
    pub(crate) fn new(quick: bool) -> Bounds {
        let milliseconds = Duration::from_millis;
        if quick {
            Bounds {
                warm_up: milliseconds(5),
                measurement: milliseconds(30),
                durable_count_max: 10,
            }
        } else {
            Bounds {
                warm_up: milliseconds(1000),
                measurement: milliseconds(2000),
                durable_count_max: 1000,
            }
        }
    }
}

/// Runs the operation over all `questions` again and again: first until the warm-up is over or
/// each was asked once, then timed, going on where the warm-up stopped.
pub(crate) fn measure<Q>(
    bounds: Bounds,
    questions: &[Q],
    mut operation: impl FnMut(&Q) -> Result<()>,
) -> Result<Option<Latency>> {
    let start = Instant::now();
    let mut warmed_count = 0;
    for question in questions {
        operation(question)?;
        warmed_count += 1;
        if start.elapsed() > bounds.warm_up {
            break;
        }
    }
    let mut times = Times::default();
    let start = Instant::now();
    for question in questions.iter().cycle().skip(warmed_count) {
        times.time(|| operation(question))?;
        if start.elapsed() > bounds.measurement {
            break;
        }
    }
    Ok(times.latency())
}
