//! Follows the log: entry by entry into the machine, and on to whoever waits.
//!
//! On any error of the log the follower reads again from behind the last entry it has applied. What
//! it does not understand it never passes over: it stops, and says so.

use super::builder::Built;
use super::gateways::Gateways;
use super::log::{Entry, Tail};
use super::machine::{Applied, Machine};
use super::message::{Digests, Message};
use super::node::{Backend, Shared};
use super::renewal::Takeover;
use super::state::NodePart;
use super::tally::Tally;
use crate::error::{Error, ErrorKind, Result};
use crate::shards::ShardSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

const PAUSE: Duration = Duration::from_millis(30);
const SNAPSHOT_WAIT: Duration = Duration::from_mins(1);
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(500);

/// What a follower is asked to do between two entries.
pub(super) enum Command {
    /// To give its graphs, all at one entry, and to wait until whoever asked lets go.
    Pin { reply: oneshot::Sender<(Vec<NodePart>, Gateways)>, release: oneshot::Receiver<()> },
    /// To go on with another graph.
    Attach { attachment: Attachment, reply: oneshot::Sender<Result<()>> },
}

/// A graph that is to take its place.
pub(super) struct Attachment {
    pub(super) built: Built,
    /// The graphs that it takes the place of.
    pub(super) replaces: Vec<String>,
    /// It is right where those before it were found wrong.
    pub(super) clears_stopped: bool,
}

/// Follows the log for a node.
pub(super) struct Follower<B> {
    shared: Arc<Shared<B>>,
    machine: Machine,
    parts: Vec<NodePart>,
    tally: Tally,
    commands: mpsc::UnboundedReceiver<Command>,
}

impl<B: Backend> Follower<B> {
    /// Opens what the node has. A node that has nothing yet begins with the log.
    pub(super) async fn open(
        shared: Arc<Shared<B>>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Result<Follower<B>> {
        let (gateways, parts) = match shared.directory.load()? {
            Some(found) if found.gateways.epoch == shared.epoch => (found.gateways, found.parts),
            Some(found) => match shared.take_over(found)? {
                Takeover::Complete(gateways, parts) => (gateways, parts),
                Takeover::Behind => begin_anew(&shared).await?,
            },
            None => begin(&shared).await?,
        };
        let graphs = parts.iter().map(|part| part.graph.clone()).collect();
        let machine = Machine::new(graphs, gateways)?;
        shared.view.write().parts.clone_from(&parts);
        shared.applied.send_replace(machine.position());
        Ok(Follower { shared, machine, parts, tally: Tally::default(), commands })
    }

    /// Follows the log for as long as it can.
    pub(super) async fn run(mut self) {
        loop {
            let Err(mut error) = self.follow().await;
            self.shared.count(|figures| &figures.tail_errors);
            if error.kind() == ErrorKind::PositionLost {
                tracing::warn!(node = self.shared.options.name, %error, "beginning anew");
                match self.restore().await {
                    Ok(()) => continue,
                    Err(other) => error = other,
                }
            }
            if error.kind() != ErrorKind::Unavailable {
                return self.shared.fail(error);
            }
            tracing::warn!(node = self.shared.options.name, %error, "reading the log again");
            sleep(PAUSE).await;
        }
    }

    async fn follow(&mut self) -> Result<Infallible> {
        self.shared.extent().await?;
        let mut tail = self.shared.backend.tail(self.machine.position() + 1).await?;
        loop {
            tokio::select! {
                biased;
                Some(command) = self.commands.recv() => self.obey(command).await?,
                entry = tail.next() => self.take(&entry?)?,
            }
        }
    }

    async fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Pin { reply, release } => {
                self.machine.note_position()?;
                let pinned = (self.parts.clone(), self.machine.gateways().clone());
                if reply.send(pinned).is_ok() {
                    let _ = release.await;
                }
            }
            Command::Attach { attachment, reply } => {
                let _ = reply.send(self.attach(attachment).await);
            }
        }
        Ok(())
    }

    /// Brings a graph to the entry where this follower is, and goes on with it.
    async fn attach(&mut self, attachment: Attachment) -> Result<()> {
        let Attachment { built, replaces, clears_stopped } = attachment;
        let built = self.shared.level(built.part, built.gateways, self.machine.position()).await?;
        self.machine.note_position()?;
        let (replaced, kept): (Vec<NodePart>, Vec<NodePart>) =
            self.parts.iter().cloned().partition(|part| replaces.contains(&part.name));
        self.adopt(kept.into_iter().chain([built.part]).collect(), built.gateways, clears_stopped)?;
        for part in replaced {
            // Whoever reads it still has its files, though not their names.
            self.shared.directory.remove_part(&part.name)?;
        }
        Ok(())
    }

    /// Goes on with these graphs, which are all at the position of the table.
    fn adopt(&mut self, parts: Vec<NodePart>, gateways: Gateways, clears: bool) -> Result<()> {
        let graphs = parts.iter().map(|part| part.graph.clone()).collect();
        self.machine = Machine::new(graphs, gateways)?;
        self.shared.directory.save(self.machine.gateways(), &parts)?;
        let mut view = self.shared.view.write();
        view.parts.clone_from(&parts);
        if clears {
            view.stopped = ShardSet::none();
            self.tally = Tally::default();
        }
        drop(view);
        self.parts = parts;
        self.shared.applied.send_replace(self.machine.position());
        Ok(())
    }

    /// Begins anew from snapshots, because the log does not go back to where this node was.
    async fn restore(&mut self) -> Result<()> {
        let hosted = self.shared.placement.read().hosted_by(&self.shared.options.name);
        let built = self.shared.build(&hosted, None).await?;
        self.shared.count(|figures| &figures.rebuilds);
        let replaced = std::mem::take(&mut self.parts);
        self.adopt(vec![built.part], built.gateways, true)?;
        replaced.iter().try_for_each(|part| self.shared.directory.remove_part(&part.name))
    }

    /// Applies an entry, then tells those who wait for it.
    fn take(&mut self, entry: &Entry) -> Result<()> {
        let expected = self.machine.position() + 1;
        if entry.sequence != expected {
            let message = "the log does not go on where this node is";
            let error = Error::new(ErrorKind::PositionLost, message);
            return Err(error.expected(expected, entry.sequence));
        }
        let applied = self.machine.apply(entry)?;
        let shared = &self.shared;
        shared.count(|figures| &figures.entries);
        shared.applied.send_replace(entry.sequence);
        match applied {
            Applied::Batch { gateway, counter, outcomes } if gateway == shared.gateway.id => {
                shared.gateway.applied(counter, entry.sequence, outcomes);
            }
            Applied::Tick { second } if second.is_multiple_of(shared.options.digest_seconds) => {
                self.count_digests(entry.sequence)?;
            }
            Applied::Digests(digests) => self.compare(&digests),
            Applied::Batch { .. } | Applied::Settled | Applied::Tick { .. } | Applied::Barrier => {}
        }
        Ok(())
    }

    /// Takes the digests of this moment and says them; writes down how far the node has come.
    fn count_digests(&mut self, position: u64) -> Result<()> {
        let parts = self.parts.iter();
        let digests: Vec<_> = parts.flat_map(|part| part.graph.shard_digests()).collect();
        self.tally.count(position, &digests);
        self.machine.note_position()?;
        self.shared.directory.save(self.machine.gateways(), &self.parts)?;
        let name = &self.shared.options.name;
        let message = Message::Digests(Digests::new(name, position, &digests)).encode();
        let (backend, id) = (self.shared.backend.clone(), format!("digests-{name}-{position}"));
        tokio::spawn(async move {
            // The next ones come soon.
            let _ = backend.append(&id, message).await;
        });
        Ok(())
    }

    fn compare(&mut self, digests: &Digests<'_>) {
        let placement = self.shared.placement.read();
        let (node, this_node) = (digests.node.as_ref(), &self.shared.options.name);
        let replicas = |shard| placement.hosts_of(shard).len();
        let comparison = self.tally.hear(node, this_node, digests, replicas);
        drop(placement);
        if comparison.differs {
            self.shared.count(|figures| &figures.digest_differences);
        }
        if !comparison.wrong_here.is_empty() {
            let wrong = comparison.wrong_here;
            tracing::error!(
                node = this_node, shards = %wrong, position = digests.position,
                "these shards differ from those of other nodes and answer no more"
            );
            let mut view = self.shared.view.write();
            view.stopped = view.stopped.union(&wrong);
        }
    }
}

/// What a node has that did not come as far as a lost log did. The nodes that did take a snapshot
/// as soon as they are started, and that is waited for.
async fn begin_anew<B: Backend>(shared: &Shared<B>) -> Result<(Gateways, Vec<NodePart>)> {
    tracing::warn!(node = shared.options.name, "the lost log had more; beginning anew");
    let deadline = Instant::now() + SNAPSHOT_WAIT;
    let begun = loop {
        match begin(shared).await {
            Err(error) if error.kind() == ErrorKind::PositionLost && Instant::now() < deadline => {
                sleep(SNAPSHOT_PAUSE).await;
            }
            begun => break begun?,
        }
    };
    shared.directory.remove_all_but(std::slice::from_ref(&begun.1[0].name))?;
    Ok(begun)
}

/// What a node has that was never there: its shards, as far as the log is.
async fn begin<B: Backend>(shared: &Shared<B>) -> Result<(Gateways, Vec<NodePart>)> {
    let hosted = shared.placement.read().hosted_by(&shared.options.name);
    let Built { part, gateways } = shared.build(&hosted, None).await?;
    shared.directory.save(&gateways, std::slice::from_ref(&part))?;
    Ok((gateways, vec![part]))
}
