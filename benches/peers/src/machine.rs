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

fn today() -> Result<String> {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
