//! How far a long command is: a bar on a terminal, a plain line now and then elsewhere.

use super::output::{grouped, say};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// One phase of a command under way.
pub(crate) struct Progress {
    /// What is being done, for example `reading`.
    action: &'static str,
    /// The bar, if there is a terminal to show it on.
    bar: Option<ProgressBar>,
    /// Whether lines are written in the place of a bar.
    lines: bool,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    /// Starts a phase of `total` steps, or of nobody knows how many.
    pub(crate) fn start(action: &'static str, total: Option<u64>) -> Progress {
        Progress::new(action, total, io::stderr().is_terminal(), true)
    }

    /// Starts a phase that is shown as a bar or, where there is no terminal or the output is for a
    /// program, not at all.
    pub(crate) fn bar_only(action: &'static str, total: Option<u64>, for_people: bool) -> Progress {
        Progress::new(action, total, for_people && io::stderr().is_terminal(), false)
    }

    fn new(action: &'static str, total: Option<u64>, has_bar: bool, lines: bool) -> Progress {
        let bar = has_bar.then(|| bar(action, total));
        let started = Instant::now();
        Progress { action, bar, lines, started, last_line: started }
    }

    /// Runs something that writes lines, which the bar must not be in the way of.
    pub(crate) fn aside<R>(&self, write: impl FnOnce() -> R) -> R {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Shows that `done` steps are done, which came to `count` things of a kind.
    pub(crate) fn show(&mut self, done: u64, total: Option<u64>, count: u64, kind: &str) {
        let rate = rate(count, self.started.elapsed());
        if let Some(bar) = &self.bar {
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.set_position(done);
            bar.set_message(format!("{} {kind}, {}/s", grouped(count), grouped(rate)));
        } else if self.lines && self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            let share = total.filter(|total| *total > 0).map(|total| percent(done, total));
            let share = share.map_or(String::new(), |percent| format!(" {percent} %,"));
            let (action, count, rate) = (self.action, grouped(count), grouped(rate));
            say(format_args!("{action}:{share} {count} {kind}, {rate}/s"));
        }
    }
}

impl Drop for Progress {
    /// The bar goes away at the end of its phase; what remains is the report of the command.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(action: &'static str, total: Option<u64>) -> ProgressBar {
    let target = ProgressDrawTarget::stderr();
    let template = match total {
        Some(_) => "{prefix:>8} [{bar:30}] {percent:>3} %  {msg}, {eta} left",
        None => "{prefix:>8} {spinner} {msg}, {elapsed}",
    };
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
    let bar = ProgressBar::with_draw_target(total, target);
    bar.set_style(style.progress_chars("=> "));
    bar.set_prefix(action);
    bar
}

/// Things a second.
pub(crate) fn rate(count: u64, elapsed: Duration) -> u64 {
    let elapsed_us = elapsed.as_micros().max(1);
    u64::try_from(u128::from(count) * 1_000_000 / elapsed_us).unwrap_or(u64::MAX)
}

fn percent(done: u64, total: u64) -> u64 {
    u64::try_from(u128::from(done) * 100 / u128::from(total)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_by_the_second_and_never_divides_by_nothing() {
        assert_eq!(rate(10, Duration::from_millis(500)), 20);
        assert_eq!(rate(10, Duration::ZERO), 10_000_000);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
    }
}
