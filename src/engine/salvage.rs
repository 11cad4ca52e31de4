//! Salvage: a new graph from what still checks out of a damaged one.
//!
//! The damaged directory is only read. A whole image and the unbroken log behind it are taken as
//! they are; without a whole one, the newest is put together from its pieces ([`mend`]). What the
//! log adds is applied as far as its numbers are unbroken ([`frames`]).

mod frames;
mod mend;

use super::options::SEGMENT_BYTES_MIN;
use super::{FollowGraph, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    FileKind, Identity, RecordReader, check_sequence, file_kind, image_file_name, log_file_name,
};
use crate::graph::Graph;
use crate::image::{DamagedImage, Image};
use crate::log::{Frame, SegmentHeader};
use crate::storage::{DirectoryStorage, Storage, fill, random_bytes};
use crate::store::{check_empty, create_segment, publish, publish_empty};
use crate::types::{AffectedAccount, DamagedRange, SalvageReport};
use frames::DamagedLog;
use mend::Mended;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Makes a new graph in `destination` from what checks out of the damaged one in `source`, of
/// which no byte is changed and which need not open.
///
/// What is taken: the newest image of which everything checks out, if the log behind it reaches
/// as far as the newest image; else the newest image with a whole header, of which each list is
/// held against the lists of those on the other side, and each name against the index. Then the
/// commits of the log behind it, up to the first that is damaged or missing. The new graph is
/// verified before this returns. Positions of consumers are not part of it.
///
/// Nothing is in the new graph that was not in the damaged one, with one exception that the
/// report counts: a follow of which one end is a foreign account is in one list only, so where the
/// checksum over the lists does not hold, nothing can confirm it.
///
/// Cost: reads every byte of `source`. Where an image has to be put together, memory for all its
/// follows, about 64 bytes each.
///
/// # Errors
///
/// `NotAGraph` when `source` has no image and no log, `InUse` when a process has it open,
/// `Corrupt` when there is no image with a whole header and no log from its beginning on,
/// `InvalidArgument` when `destination` holds files, `Io`, `DiskFull`. A destination that was
/// empty or missing is so again.
///
/// ```
/// use followgraph::FollowGraph;
/// let directory = tempfile::tempdir()?;
/// let (damaged, saved) = (directory.path().join("damaged"), directory.path().join("saved"));
/// let graph = FollowGraph::open(&damaged)?;
/// graph.add_account("alice")?;
/// drop(graph);
/// let report = followgraph::salvage(&damaged, &saved)?;
/// assert!(report.complete);
/// assert!(FollowGraph::open(&saved)?.account_id("alice").is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn salvage(source: impl AsRef<Path>, destination: impl AsRef<Path>) -> Result<SalvageReport> {
    let mut source = DirectoryStorage::open_unlocked(source.as_ref())?;
    source.lock_shared()?;
    let found = Remains::read(&source)?;
    fill(destination.as_ref(), |destination| found.save_verified(&source, destination))
}

/// What there is of a damaged graph.
struct Remains {
    /// The images with whole headers, the newest first.
    images: Vec<DamagedImage>,
    log: DamagedLog,
    graph_id: [u8; 16],
    /// The last sequence number that the name of an image speaks of.
    last_image_sequence: u64,
    damage: Vec<DamagedRange>,
}

/// What the log is applied to.
struct Base {
    graph: Graph,
    /// Whether it is in the destination already, under its own sequence number.
    written: bool,
    complete: bool,
    affected: Vec<AffectedAccount>,
    unconfirmed_follow_count: u64,
}

impl Remains {
    fn read(source: &dyn Storage) -> Result<Remains> {
        let (mut image_sequences, mut segments) = (Vec::new(), Vec::new());
        let mut damage = Vec::new();
        for (name, len_bytes) in source.list()? {
            let kind = file_kind(&name);
            if let FileKind::Image(number) | FileKind::Log(number) = kind
                && let Err(error) =
                    check_sequence(number - u64::from(kind == FileKind::Log(number)))
            {
                let (file, what) = (source.path(&name), error.to_string());
                damage.push(DamagedRange { file, offset_bytes: 0, len_bytes, what });
                continue;
            }
            match kind {
                FileKind::Image(sequence) => image_sequences.push(sequence),
                FileKind::Log(first_sequence) => segments.push(first_sequence),
                FileKind::Consumer
                | FileKind::Temporary
                | FileKind::Unfinished
                | FileKind::Lock
                | FileKind::Foreign => {}
            }
        }
        if image_sequences.is_empty() && segments.is_empty() {
            let message = "there is no image and no log to salvage anything from";
            return Err(Error::new(ErrorKind::NotAGraph, message).at_path(&source.path("")));
        }
        image_sequences.sort_unstable();
        segments.sort_unstable();
        let mut images = Vec::new();
        let mut last_image_sequence = 0;
        for &sequence in image_sequences.iter().rev() {
            match DamagedImage::open(source, sequence) {
                Ok(image) => images.push(image),
                Err(error) => {
                    // Its name is all it still says.
                    last_image_sequence = last_image_sequence.max(sequence);
                    damage.push(DamagedRange {
                        file: source.path(&image_file_name(sequence)),
                        offset_bytes: error.offset_bytes().unwrap_or(0),
                        len_bytes: crate::image::IMAGE_HEADER_BYTES,
                        what: error.to_string(),
                    });
                }
            }
        }
        let graph_id = majority(source, &images, &segments)?;
        images.retain(|image| {
            let is_ours = image.header.identity.graph_id == graph_id;
            if !is_ours {
                damage.push(image.foreign_range());
            }
            is_ours
        });
        damage.extend(images.iter().flat_map(DamagedImage::damage));
        let mut log = DamagedLog::read(source, &segments, graph_id);
        damage.append(&mut log.damage);
        let newest = images.first().map_or(0, |image| image.header.position.sequence);
        let last_image_sequence = last_image_sequence.max(newest);
        Ok(Remains { images, log, graph_id, last_image_sequence, damage })
    }

    /// Saves everything into an empty directory, and verifies what is there then.
    fn save_verified(
        self,
        source: &dyn Storage,
        destination: &Arc<DirectoryStorage>,
    ) -> Result<SalvageReport> {
        check_empty(destination.as_ref(), "what is salvaged")?;
        let mut report = self.save(source, destination.as_ref())?;
        let mut options = Options::new().create(false).checkpoint_log_bytes(None);
        // A removal that was under way goes on when the graph is opened to be used.
        options.finishes_removals = false;
        let verified = FollowGraph::start(destination.clone(), options)?.verify()?;
        report.account_count = verified.account_count;
        report.follow_count = verified.follow_count;
        Ok(report)
    }

    fn save(mut self, source: &dyn Storage, destination: &dyn Storage) -> Result<SalvageReport> {
        let mut base = self.base(source, destination)?;
        let begun_at = base.graph.position().sequence;
        let graph = &mut base.graph;
        let mut skipped_record_count = 0;
        let reach = self.log.walk(begun_at, &mut |frame| {
            skipped_record_count += take_frame(graph, frame);
        });
        let last_sequence = self.log.last_sequence(reach.sequence).max(self.last_image_sequence);
        let missing = self.log.missing_behind(source, begun_at);
        let broke_off = reach.stopped_by.is_some() || missing.is_some();
        self.damage.extend(reach.stopped_by.into_iter().chain(missing));
        let sequence = base.graph.position().sequence;
        let complete =
            base.complete && skipped_record_count == 0 && !broke_off && sequence == last_sequence;
        let report = SalvageReport {
            image_sequence: begun_at,
            sequence,
            last_sequence,
            account_count: 0,
            follow_count: 0,
            damaged: self.damage,
            accounts: base.affected,
            unconfirmed_follow_count: base.unconfirmed_follow_count,
            skipped_record_count,
            complete,
        };
        write(destination, base.graph, begun_at, base.written)?;
        Ok(report)
    }

    /// The best state to begin with.
    fn base(&self, source: &dyn Storage, destination: &dyn Storage) -> Result<Base> {
        let whole = |graph, complete| Base {
            graph,
            written: false,
            complete,
            affected: Vec::new(),
            unconfirmed_follow_count: 0,
        };
        let sequence_of = |image: &DamagedImage| image.header.position.sequence;
        let Some(newest) = self.images.first() else {
            let graph = self.empty_graph(destination)?;
            return Ok(Base { written: true, ..whole(graph, true) });
        };
        let reaches = |image: &&DamagedImage| {
            let wanted = sequence_of(newest);
            image.is_whole()
                && (sequence_of(image) == wanted
                    || self.log.walk(sequence_of(image), &mut |_| {}).sequence >= wanted)
        };
        if let Some(image) = self.images.iter().find(reaches) {
            let image = Image::open(source, sequence_of(image))?;
            return Ok(whole(Graph::open(source, image)?, true));
        }
        let mended = Mended::of(newest);
        let sequence = sequence_of(newest);
        publish(destination, sequence, |file| mended.write(file))?;
        let graph = Graph::open(destination, Image::open(destination, sequence)?)?;
        Ok(Base {
            graph,
            written: true,
            complete: mended.complete,
            affected: mended.affected,
            unconfirmed_follow_count: mended.unconfirmed_follow_count,
        })
    }

    /// The graph before its first commit, where no image is left and the log begins with that.
    fn empty_graph(&self, destination: &dyn Storage) -> Result<Graph> {
        if self.log.walk(0, &mut |_| {}).sequence == 0 {
            let message = "no image has a whole header, and the log does not begin with the graph";
            return Err(Error::corrupt(message));
        }
        let identity = Identity { graph_id: self.graph_id, key: random_bytes()? };
        publish_empty(destination, identity, None)?;
        Graph::open(destination, Image::open(destination, 0)?)
    }
}

/// The graph that most files belong to: one from elsewhere may be among them, even as the newest.
fn majority(
    source: &dyn Storage,
    images: &[DamagedImage],
    first_sequences: &[u64],
) -> Result<[u8; 16]> {
    let of_images = images.iter().map(|image| image.header.identity.graph_id);
    let of_segments = first_sequences.iter().filter_map(|&first_sequence| {
        let bytes = source.map(&log_file_name(first_sequence), u64::MAX).ok()?;
        SegmentHeader::decode(&bytes).ok().map(|header| header.graph_id)
    });
    let ids: Vec<[u8; 16]> = of_images.chain(of_segments).collect();
    let mut counts: BTreeMap<[u8; 16], usize> = BTreeMap::new();
    for id in &ids {
        *counts.entry(*id).or_default() += 1;
    }
    // Of as many, the one that comes first: the newest image.
    let most = counts.values().copied().max().unwrap_or(0);
    ids.into_iter().find(|id| counts[id] == most).map_or_else(random_bytes, Ok)
}

/// Applies the records of a frame that fit, and says how many do not: they build on what is lost.
fn take_frame(graph: &mut Graph, frame: &Frame<'_>) -> u64 {
    let mut skipped_count = 0;
    if let Ok(mut records) = RecordReader::new(frame.payload) {
        loop {
            match records.next_record() {
                Ok(Some(record)) => match graph.check(&record) {
                    Ok(fit) => graph.apply(&record, fit),
                    Err(_) => skipped_count += 1,
                },
                Ok(None) => break,
                Err(_) => {
                    skipped_count += 1;
                    break;
                }
            }
        }
    } else {
        skipped_count += 1;
    }
    graph.commit(frame.sequence, frame.source_position);
    skipped_count
}

/// Writes the graph as the only image of the destination, with an empty log behind it.
fn write(destination: &dyn Storage, graph: Graph, begun_at: u64, written: bool) -> Result<()> {
    let sequence = graph.position().sequence;
    let identity = graph.image().header.identity;
    create_segment(destination, identity, sequence + 1, SEGMENT_BYTES_MIN)?;
    if written && sequence == begun_at {
        return Ok(());
    }
    publish(destination, sequence, |file| graph.write_image(file, graph.totals(), false))?;
    drop(graph);
    if written {
        destination.remove(&image_file_name(begun_at))?;
        destination.sync_directory()?;
    }
    Ok(())
}
