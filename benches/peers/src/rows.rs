//! The JSON lines in which results are kept, one a line, told apart by `kind`.

use crate::job::Answered;
use crate::peers::PeerName;
use crate::social::Social;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Row {
    Machine(Machine),
    Peer(Box<PeerRow>),
    Social(SocialRow),
    Absent(Absent),
    Bar(Bar),
    Growth(Growth),
    Degree(Degree),
}

/// Where and when a run was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) core_count: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    pub(crate) date: String,
}

/// A peer on a graph.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PeerRow {
    pub(crate) peer: PeerName,
    pub(crate) version: String,
    pub(crate) graph: String,
    pub(crate) account_count: usize,
    pub(crate) follow_count: usize,
    pub(crate) load_seconds: f64,
    /// `None` when the peer keeps nothing on disk.
    pub(crate) disk_bytes: Option<u64>,
    pub(crate) answered: Answered,
    /// How many processors other programs kept busy meanwhile, on average.
    pub(crate) others_processors: f64,
}

/// A peer under the social mix.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SocialRow {
    pub(crate) peer: PeerName,
    pub(crate) version: String,
    pub(crate) social: Social,
    /// How many processors other programs kept busy meanwhile, on average.
    pub(crate) others_processors: f64,
}

/// A peer that did not get through.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Absent {
    pub(crate) peer: PeerName,
    pub(crate) graph: String,
    /// It could not be run here; otherwise it was run and failed.
    pub(crate) is_skipped: bool,
    pub(crate) reason: String,
}

/// A bar of the project and whether it is met. The lines are written by its own bench.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bar {
    pub(crate) what: String,
    pub(crate) graph: String,
    #[serde(rename = "bar")]
    pub(crate) wanted: String,
    pub(crate) unit: String,
    pub(crate) measured: f64,
    pub(crate) met: bool,
    #[serde(default)]
    pub(crate) note: String,
    /// How many processors other programs kept busy meanwhile, where that was looked at.
    pub(crate) others_processors: Option<f64>,
}

/// How a figure grows with the graph.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Growth {
    pub(crate) what: String,
    pub(crate) graph: String,
    pub(crate) follows: u64,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

/// How a figure grows with the followers of the account.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Degree {
    pub(crate) what: String,
    pub(crate) followers: u64,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

pub(crate) fn append(path: &Path, row: &Row) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut line = serde_json::to_string(row)?;
    line.push('\n');
    Ok(file.write_all(line.as_bytes())?)
}

/// All rows of a file; none where there is no such file.
pub(crate) fn read(path: &Path) -> Result<Vec<Row>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut rows = Vec::new();
    for (line, number) in BufReader::new(File::open(path)?).lines().zip(1..) {
        let line = line?;
        let row = serde_json::from_str(&line);
        rows.push(row.with_context(|| format!("{}:{number}", path.display()))?);
    }
    Ok(rows)
}
