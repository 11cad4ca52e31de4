//! What a run is made on.

use crate::rows::Machine;
use anyhow::{Context, Result};
use std::process::Command;

/// This machine, today unless another date is given.
pub(crate) fn this(date: Option<String>) -> Result<Machine> {
    let memory: String = std::fs::read_to_string("/proc/meminfo")?;
    let kibibytes: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next())
        .context("no MemTotal")?
        .parse()?;
    let processors = std::fs::read_to_string("/proc/cpuinfo")?;
    let processor = processors.lines().find(|line| line.starts_with("model name"));
    let processor = processor.and_then(|line| line.split_once(": "));
    Ok(Machine {
        processor: processor.map_or("unknown", |(_, model)| model).to_owned(),
        core_count: std::thread::available_parallelism()?.get(),
        memory_bytes: kibibytes * 1024,
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        date: match date {
            Some(date) => date,
            None => today()?,
        },
    })
}

/// Processor time so far, in ticks: of all programs, of this process and its children that have
/// ended, and that has passed on one processor.
#[derive(Clone, Copy)]
pub(crate) struct ProcessorTime {
    busy: u64,
    own: u64,
    passed: u64,
}

impl ProcessorTime {
    pub(crate) fn now() -> Result<ProcessorTime> {
        let all = std::fs::read_to_string("/proc/stat")?;
        let first = all.lines().next().context("/proc/stat is empty")?;
        let ticks: Vec<u64> =
            first.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
        // User, nice, system, idle, waiting, two kinds of interrupts, stolen; the rest is in these.
        let ticks = ticks.get(..8).context("/proc/stat is too short")?;
        let sum: u64 = ticks.iter().sum();
        let own = std::fs::read_to_string("/proc/self/stat")?;
        let (_, own) = own.rsplit_once(") ").context("/proc/self/stat is not as expected")?;
        // The 14th to 17th field; the first two end with the name.
        let own: Vec<u64> =
            own.split_whitespace().skip(11).take(4).map(str::parse).collect::<Result<_, _>>()?;
        Ok(ProcessorTime {
            busy: sum - ticks[3] - ticks[4],
            own: own.iter().sum(),
            passed: sum / std::thread::available_parallelism()?.get() as u64,
        })
    }

    /// How many processors other programs than this kept busy since then, on average.
    pub(crate) fn others_since(self) -> Result<f64> {
        let now = ProcessorTime::now()?;
        let own = now.own - self.own;
        let others = (now.busy - self.busy).saturating_sub(own);
        Ok(others as f64 / (now.passed - self.passed).max(1) as f64)
    }
}

fn today() -> Result<String> {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
