//! Which processor a thread is on, and for how long.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The processors this thread may use.
pub(crate) fn processors() -> Vec<usize> {
    let allowed = sched_getaffinity(None).expect("Linux says");
    (0..CpuSet::MAX_CPU).filter(|&number| allowed.is_set(number)).collect()
}

/// Ties the calling thread to one processor, where there is such a one. The scheduler would else
/// put a reader and a writer on the same one when others want the second, and then the two take
/// turns and never meet.
pub(crate) fn pin(processor: Option<usize>) {
    if let Some(processor) = processor {
        let mut one = CpuSet::new();
        one.set(processor);
        sched_setaffinity(None, &one).expect("it was allowed a moment ago");
    }
}

/// How long the calling thread has been running on a processor, in seconds.
pub(crate) fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("time that was spent is not negative").as_secs_f64()
}
