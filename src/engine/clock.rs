//! The time that follows get: the clock of the machine, as far as it can be right.
//!
//! Follow times never go back, so one reading of a clock that is ahead would date every later
//! follow. A reading is therefore compared with a *line*: the latest accepted reading plus the time
//! that has passed since then by a clock that nobody sets. A reading more than [`STEP_MAX`] above
//! the line is not accepted: it is reported, and follows get the time of the line until the clock
//! is back.
//!
//! Nothing is known of the time that passed while the graph was closed. The first reading after
//! opening is therefore compared with the newest follow, and may be [`PAUSE_MAX`] later: a graph
//! that was closed for years opens as any other, and a machine that starts where a counter of
//! seconds overflows, as in 2106, is noticed. Where no follow has a time from the clock, because
//! there is none or all come from an import, the times of follows say little: then it is compared
//! with [`RELEASED`] too, and may be [`UNUSED_MAX`] later.

use super::options::{Clock, MonotonicClock, Options};
use super::{FollowGraph, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{RECORD_BYTES_MAX, Record};
use crate::graph::Graph;
use crate::types::{ClockFault, ClockReport};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u32 = 24 * 60 * 60;
/// How many seconds a reading may be above the line.
const STEP_MAX: u32 = 60 * 60;
/// How many seconds the first reading after opening may be later than the newest follow: five
/// years.
const PAUSE_MAX: u32 = 5 * 365 * DAY;
/// The same for a graph that no clock has given a time yet: sixty years.
const UNUSED_MAX: u32 = 60 * 365 * DAY;
/// No clock that is right gives less, 2001. One that began to count in 1970 does, and is not the
/// measure of later readings.
const CREDIBLE_MIN: u32 = 1_000_000_000;
/// The beginning of the year in which this was written, 2026.
const RELEASED: u32 = 1_767_225_600;
/// How many seconds a time given by a caller may be in the future: a day, so that no time zone and
/// no difference between the clocks of two machines makes a time invalid.
const GIVEN_AHEAD_MAX: u32 = DAY;

/// Gives follows their time.
pub(super) struct Timekeeper {
    clock: Clock,
    monotonic: MonotonicClock,
    /// The latest time that was given. No later one is earlier.
    floor: u32,
    line: Line,
}

/// What is known of the time: it was `time` when the monotonic clock said `at`.
#[derive(Clone, Copy)]
struct Line {
    time: u32,
    at: Duration,
    /// How many seconds a reading may be above the line.
    ahead_max: u32,
    /// Whether no reading was accepted since opening: then `time` is that of the newest follow.
    is_from_follows: bool,
}

impl Line {
    fn of_reading(reading: u32, at: Duration) -> Line {
        Line { time: reading, at, ahead_max: STEP_MAX, is_from_follows: false }
    }

    fn time(self, at: Duration) -> u32 {
        let passed = at.saturating_sub(self.at).as_secs();
        self.time.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX))
    }

    /// The latest reading that is accepted.
    fn latest_reading(self, at: Duration) -> u32 {
        self.time(at).saturating_add(self.ahead_max)
    }
}

impl Timekeeper {
    /// Begins for a graph that was just opened.
    pub(super) fn new(options: &Options, graph: &Graph) -> Timekeeper {
        let (clock, monotonic) = (options.clock.clone(), options.monotonic_clock.clone());
        let floor = graph.position().clock;
        let newest = graph.newest_at();
        let (time, ahead_max) = match floor {
            0..CREDIBLE_MIN => (newest.max(RELEASED), UNUSED_MAX),
            _ => (newest.max(floor), PAUSE_MAX),
        };
        let line = Line { time, at: monotonic(), ahead_max, is_from_follows: true };
        Timekeeper { clock, monotonic, floor, line }
    }

    /// Returns the time of a follow that is made now.
    pub(super) fn now(&mut self) -> u32 {
        let (reading, at) = ((self.clock)(), (self.monotonic)());
        if reading <= self.line.latest_reading(at) {
            self.accept(reading, at);
        }
        self.floor = self.time_of(reading, at);
        self.floor
    }

    fn accept(&mut self, reading: u32, at: Duration) {
        if self.line.is_from_follows {
            // A clock that is far behind, because nothing keeps it going while the machine is off,
            // says nothing about the time. It may yet be set by years.
            if reading.saturating_add(DAY) >= self.floor.max(CREDIBLE_MIN) {
                self.line = Line::of_reading(reading.max(self.floor), at);
            }
        } else if reading > self.line.time(at) {
            self.line = Line::of_reading(reading, at);
        }
    }

    fn time_of(&self, reading: u32, at: Duration) -> u32 {
        let is_ahead = reading > self.line.latest_reading(at);
        self.floor.max(if is_ahead { self.line.time(at) } else { reading })
    }

    /// Returns the latest time that a caller may give a follow.
    pub(super) fn latest_given(&self) -> u32 {
        self.report().follow_time.saturating_add(GIVEN_AHEAD_MAX)
    }

    /// Takes the clock for right, whatever it says.
    fn reset(&mut self) -> u32 {
        let (reading, at) = ((self.clock)(), (self.monotonic)());
        self.floor = reading;
        self.line = Line::of_reading(reading, at);
        reading
    }

    /// Compares the clock with what it can be, and changes nothing.
    fn report(&self) -> ClockReport {
        let (reading, at) = ((self.clock)(), (self.monotonic)());
        let follow_time = self.time_of(reading, at);
        let fault = if reading > self.line.latest_reading(at) {
            Some(ClockFault::Ahead { reading, follow_time })
        } else if follow_time > reading.saturating_add(STEP_MAX) {
            Some(ClockFault::Behind { reading, follow_time })
        } else {
            None
        };
        ClockReport { reading, follow_time, floor: self.floor, newest_follow_at: 0, fault }
    }
}

/// Returns an error when a caller gives a follow a time too far in the future.
pub(super) fn check_given(at: u32, latest: u32) -> Result<()> {
    if at <= latest {
        return Ok(());
    }
    let error = Error::new(ErrorKind::InvalidTime, "more than a day ahead of the clock");
    Err(error.expected(format!("at most {latest}"), at))
}

impl FollowGraph {
    /// Compares the clock of the machine with the times that follows get.
    ///
    /// A reading of the clock is not used where it is more than an hour ahead of the latest
    /// accepted reading plus the time since then, or, after opening, more than five years ahead of
    /// the newest follow (sixty years ahead of 2026 where no follow has a time from the clock).
    /// Follows then get the time that the accepted readings lead to, and the true time again as
    /// soon as the clock has it. A clock that is behind is not used either: the latest time is used
    /// again.
    ///
    /// ```
    /// use followgraph::{ClockFault, FollowGraph, Options};
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// let now = Arc::new(AtomicU32::new(1_700_000_000));
    /// let clock = now.clone();
    /// let options = Options::new().clock(Arc::new(move || clock.load(Ordering::Relaxed)));
    /// let graph = options.create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// assert_eq!(graph.clock().fault, None);
    /// now.store(u32::MAX, Ordering::Relaxed);
    /// assert!(matches!(graph.clock().fault, Some(ClockFault::Ahead { .. })));
    /// assert!(graph.clock().follow_time < 1_700_000_060);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn clock(&self) -> ClockReport {
        self.shared.keep_up();
        let commit = self.shared.commit.lock();
        self.shared.clock_report(&commit.time, &self.shared.state.read())
    }

    /// Takes the clock of the machine for right, and returns its time. Later follows get the time
    /// of the clock, even where earlier ones have a later time because the clock was ahead when
    /// they were made. Those keep their times, and their places in the lists.
    ///
    /// Use it for a graph whose [`clock`](FollowGraph::clock) reports a fault while the clock of
    /// the machine is right. [`Options::reset_clock`] does the same on opening.
    ///
    /// # Errors
    ///
    /// As [`apply`](FollowGraph::apply).
    ///
    /// ```
    /// use followgraph::{ClockFault, FollowGraph, Options};
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// let now = Arc::new(AtomicU32::new(3_000_000_000));
    /// let clock = now.clone();
    /// let options = Options::new().clock(Arc::new(move || clock.load(Ordering::Relaxed)));
    /// let graph = options.create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// now.store(1_700_000_000, Ordering::Relaxed);
    /// assert!(matches!(graph.clock().fault, Some(ClockFault::Behind { .. })));
    /// assert_eq!(graph.reset_clock()?, 1_700_000_000);
    /// assert_eq!(graph.clock().follow_time, 1_700_000_000);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn reset_clock(&self) -> Result<u32> {
        self.shared.commit(None, RECORD_BYTES_MAX as u64, |editor| {
            let at = editor.time.reset();
            editor.set_clock(&Record::ClockReset { at });
            at
        })
    }

    /// Resets the clock where it reports a fault.
    pub(super) fn reset_clock_if_wrong(&self) -> Result<()> {
        match self.clock().fault {
            Some(_) => self.reset_clock().map(|_| ()),
            None => Ok(()),
        }
    }
}

impl Shared {
    /// Compares the clock with the times of a graph that the caller has locked: a thread that locks
    /// it a second time waits for a writer that waits for the first.
    pub(super) fn clock_report(&self, time: &Timekeeper, graph: &Graph) -> ClockReport {
        let report = match &self.reader {
            None => time.report(),
            // What another process writes has moved on since this handle was opened.
            Some(_) => Timekeeper::new(&self.options, graph).report(),
        };
        ClockReport { newest_follow_at: graph.newest_at(), ..report }
    }
}

/// Returns the time of the machine in Unix seconds.
pub(super) fn system_clock() -> u32 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since_epoch.as_secs()).unwrap_or(u32::MAX)
}

/// Returns the time since the machine was started, with the time it was suspended.
pub(super) fn boot_clock() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}
