//! A graph that a command makes in order to load it, and that is removed again when the command
//! fails or is interrupted before.

use super::failure::Failure;
use super::output::say;
use followgraph::FollowGraph;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use tokio::signal::unix::{SignalKind, signal};

/// A graph where there was none.
pub(crate) struct NewGraph {
    /// The directories that are made for it, the innermost first.
    made: Vec<PathBuf>,
}

impl NewGraph {
    /// Looks at a directory before a graph is made there. Returns `None` when it is not empty.
    pub(crate) fn before(directory: &Path) -> Option<NewGraph> {
        let is_empty = fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none());
        let ancestors = directory.ancestors().filter(|path| !path.as_os_str().is_empty());
        let made = ancestors.take_while(|path| !path.exists()).map(Path::to_owned).collect();
        is_empty.then_some(NewGraph { made })
    }

    /// Removes the graph and the directories that were made for it.
    pub(crate) fn remove(&self, graph: &FollowGraph) {
        remove(graph, &self.made);
    }

    /// On SIGINT and SIGTERM, removes the graph, prints what is `left`, and ends the process.
    pub(crate) fn remove_on_signal(
        &self,
        graph: &Arc<FollowGraph>,
        left: &'static str,
    ) -> Result<(), Failure> {
        // This thread must not keep the graph from being closed.
        let graph = Arc::downgrade(graph);
        let made = self.made.clone();
        let thread = thread::Builder::new().name("followgraph-signals".to_owned());
        let (ready, is_ready) = channel();
        let started = thread.spawn(move || {
            let Ok(signal_number) = wait_for_signal(&ready) else { return };
            if graph.upgrade().is_some_and(|graph| remove(&graph, &made)) {
                say(format_args!("followgraph: interrupted; {left}"));
            }
            process::exit(128 + signal_number)
        });
        started.map_err(|error| Failure::usage(format!("cannot start a thread: {error}")))?;
        // Where the signals cannot be waited for, they end the process as ever.
        let _ = is_ready.recv();
        Ok(())
    }
}

/// Returns whether the graph is gone.
fn remove(graph: &FollowGraph, made: &[PathBuf]) -> bool {
    // What cannot be removed stays: the failure before is the one to report.
    let is_gone = graph.discard_if_empty().unwrap_or(false);
    if is_gone {
        let _ = made.iter().try_for_each(fs::remove_dir);
    }
    is_gone
}

/// Waits for SIGINT or SIGTERM and returns its number. Sends to `ready` once neither can be missed.
fn wait_for_signal(ready: &Sender<()>) -> io::Result<i32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
        let [mut interrupt, mut terminate] = [signal(kinds[0])?, signal(kinds[1])?];
        let _ = ready.send(());
        let kind = tokio::select! {
            _ = interrupt.recv() => kinds[0],
            _ = terminate.recv() => kinds[1],
        };
        Ok(kind.as_raw_value())
    })
}
