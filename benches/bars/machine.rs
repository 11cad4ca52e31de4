//! Keeps others out while something is timed, and sees what they did all the same.

use crate::support::measure::{real, timed};
use std::cell::Cell;
use std::fs::File;
use std::path::Path;

/// Linux counts the time of processors in these, in the files that are read here.
const TICKS_A_SECOND: f64 = 100.0;

pub(crate) struct Machine {
    lock: Option<File>,
    /// Seconds that were timed since `take_others`, and processor seconds that others used then.
    timed_seconds: Cell<f64>,
    others_seconds: Cell<f64>,
}

impl Machine {
    pub(crate) fn new(path: Option<&Path>) -> Machine {
        let open = |path| {
            let mut options = File::options();
            options.create(true).append(true).open(path).expect("the lock file opens")
        };
        let [timed_seconds, others_seconds] = [0.0, 0.0].map(Cell::new);
        let machine = Machine { lock: path.map(open), timed_seconds, others_seconds };
        machine.let_others_in();
        machine
    }

    /// Graphs are made with the lock shared: whoever times something then waits for that too.
    fn let_others_in(&self) {
        if let Some(lock) = &self.lock {
            lock.lock_shared().expect("the lock file can be locked");
        }
    }

    /// Does what is timed.
    pub(crate) fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        if let Some(lock) = &self.lock {
            lock.lock().expect("the lock file can be locked");
        }
        let before = ticks_of_others();
        let (seconds, result) = timed(work);
        let ticks = ticks_of_others().saturating_sub(before);
        self.let_others_in();
        self.timed_seconds.set(self.timed_seconds.get() + seconds);
        self.others_seconds.set(self.others_seconds.get() + real(ticks) / TICKS_A_SECOND);
        result
    }

    /// How many processors others kept busy while something was timed since this was asked last;
    /// `None` if nothing was.
    pub(crate) fn take_others(&self) -> Option<f64> {
        let (timed, others) = (self.timed_seconds.take(), self.others_seconds.take());
        (timed > 0.0).then(|| others / timed)
    }
}

/// What all processors spent, less what this process and its finished children did. What the
/// machine under this machine took away is somebody else's too.
fn ticks_of_others() -> usize {
    let read = |path| std::fs::read_to_string(path).expect("Linux says");
    let sum = |text: &str, places: &[usize]| -> usize {
        let fields: Vec<&str> = text.split_whitespace().collect();
        places.iter().map(|&place| fields[place].parse().unwrap_or(0)).sum()
    };
    // user, nice, system, irq, softirq and steal, but not idle and waiting for disks.
    let all = sum(read("/proc/stat").lines().next().unwrap_or_default(), &[1, 2, 3, 6, 7, 8]);
    let own = read("/proc/self/stat");
    // The name of the process is in parentheses and can hold anything.
    let (_, fields) = own.rsplit_once(')').expect("a name in parentheses");
    all.saturating_sub(sum(fields, &[11, 12, 13, 14]))
}
