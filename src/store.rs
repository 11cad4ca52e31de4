//! The directory: recover, append, checkpoint, retire.
//!
//! There is no manifest. File names say what files cover, and renaming a finished file, then
//! syncing the directory, is the commit of every change to the set of files. The newest image and
//! the segments behind it are the graph. The image before it and its segments are kept until the
//! next checkpoint is durable, so that one lost image is no lost graph. Older segments are kept
//! only for the consumers of the log, up to a bound, and nothing here reads them.

mod tail;

pub(crate) use tail::{Seen, Tail, Watched, newest};

use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    FORMAT_VERSION, FileKind, Identity, check_sequence, file_kind, image_file_name, log_file_name,
    version_of,
};
use crate::graph::Graph;
use crate::image::{Image, ImageHeader, ImagePlan, ImageWriter, Position};
use crate::locks::AtomicU64;
use crate::log::{LogEnd, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentWriter};
use crate::recovery::{Doubtful, LogPlace, SegmentView, doubtful, replay};
use crate::shards::{ShardSet, Shards};
use crate::storage::{LogSync, OutputFile, Storage, random_bytes};
use crate::sync::GroupSync;
use crate::types::Recovery;
use crate::workers::processor_count;
use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A segment and how much of it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentExtent {
    first_sequence: u64,
    previous_frame_count: u32,
    used_bytes: u64,
    allocated_bytes: u64,
}

/// The log and the images of one graph, open for writing; or as far as a reader has come that
/// watches another process write them.
pub(crate) struct Store {
    storage: Arc<dyn Storage>,
    identity: Identity,
    segment_bytes: u64,
    /// All but the last are sealed; the last one's `used_bytes` is with the writer. Of those from
    /// before the current image when the graph was opened only begin and disk space are known.
    segments: Vec<SegmentExtent>,
    /// `None` where another process writes.
    active: Option<SegmentWriter>,
    /// Whether the active segment is of an older version. Nothing is appended to it: its version
    /// would not tell an older release that there may be records which that one does not know.
    active_is_older: bool,
    /// The sequence numbers of the images, ascending. The last one is current.
    images: Vec<u64>,
    /// Shared with those who walk the log: every frame behind this sequence number is there.
    log_start: Arc<AtomicU64>,
    /// Whether a segment was removed and the directory not synced since.
    has_unsynced_removal: bool,
}

/// How much the first segment of a graph is given, and every one of a graph with few changes. Those
/// after a full one are twice as large each, up to the size that was asked for: a small graph takes
/// little room, and a busy one does not rotate often.
const FIRST_SEGMENT_BYTES: u64 = 256 * 1024;

/// What the log is kept for beyond the images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    /// The frames behind this sequence number are asked for.
    pub(crate) sequence: u64,
    /// So much disk space may be taken by segments that are kept for nothing else.
    pub(crate) bytes_max: u64,
}

/// The files of a directory that are ours, sorted by what they cover.
#[derive(Default)]
pub(crate) struct Listing {
    /// The sequence numbers of the images, ascending.
    pub(crate) images: Vec<u64>,
    /// The first sequence numbers of the segments, ascending.
    pub(crate) segments: Vec<u64>,
    /// The length of each segment.
    pub(crate) segment_bytes: BTreeMap<u64, u64>,
    /// The position files of consumers.
    pub(crate) consumers: Vec<String>,
    /// Unfinished files that nothing refers to.
    pub(crate) temporary: Vec<String>,
    /// Files that are not ours.
    pub(crate) foreign: Vec<String>,
    /// Whether all of this is a copy that is not finished.
    pub(crate) is_unfinished: bool,
}

/// Lists the files of a directory.
pub(crate) fn list(storage: &dyn Storage) -> Result<Listing> {
    let mut listing = Listing::default();
    for (name, len_bytes) in storage.list()? {
        match file_kind(&name) {
            FileKind::Image(sequence) => {
                check_sequence(sequence).map_err(|error| error.at_path(&storage.path(&name)))?;
                listing.images.push(sequence);
            }
            FileKind::Log(first_sequence) => {
                check_sequence(first_sequence - 1)
                    .map_err(|error| error.at_path(&storage.path(&name)))?;
                listing.segments.push(first_sequence);
                listing.segment_bytes.insert(first_sequence, len_bytes);
            }
            FileKind::Consumer => listing.consumers.push(name),
            FileKind::Temporary => listing.temporary.push(name),
            FileKind::Lock => {}
            FileKind::Unfinished => listing.is_unfinished = true,
            FileKind::Foreign => listing.foreign.push(name),
        }
    }
    listing.images.sort_unstable();
    listing.segments.sort_unstable();
    Ok(listing)
}

/// Reads every byte of the newest image, if there is one, and compares its checksums.
pub(crate) fn verify_newest_image(storage: &dyn Storage) -> Result<()> {
    match list(storage)?.images.last() {
        Some(&sequence) => Image::open(storage, sequence)?.verify(&mut |_| Ok(())),
        None => Ok(()),
    }
}

/// Lists the files of a directory; refuses a copy that is not whole, whatever of it is there.
pub(crate) fn list_whole(storage: &dyn Storage) -> Result<Listing> {
    let listing = list(storage)?;
    if !listing.is_unfinished {
        return Ok(listing);
    }
    let message = "a backup or restore into this directory was not finished; run it again, or \
                   remove the directory";
    let error = Error::new(ErrorKind::Unfinished, message);
    Err(error.at_path(&storage.path("")))
}

/// What a graph is made with where there is none.
#[derive(Clone, Copy)]
pub(crate) struct NewGraph<'a> {
    /// How large segments become, also those that are begun in a graph that is there.
    pub(crate) segment_bytes: u64,
    /// Makes it a sharded one, which hosts these.
    pub(crate) hosted: Option<&'a ShardSet>,
}

/// What opening gives.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) graph: Graph,
    pub(crate) recovery: Recovery,
    /// Whether the log ends with an orderly close, or as a backup does: then all of it is on disk.
    pub(crate) closed: bool,
}

impl Store {
    /// Opens the graph in a directory, making it where there is none: the newest image, and the
    /// log behind it as far as the recovery table lets it.
    pub(crate) fn open(storage: Arc<dyn Storage>, new: NewGraph<'_>) -> Result<Opened> {
        let mut listing = list_whole(storage.as_ref())?;
        if listing.images.is_empty() {
            create_graph(storage.as_ref(), &listing, new)?;
            listing = list(storage.as_ref())?;
        }
        let image_sequence = *listing.images.last().expect("a graph has an image");
        let image = Image::open(storage.as_ref(), image_sequence)?;
        let identity = image.header.identity;
        let mut graph = Graph::open(storage.as_ref(), image)?;

        let kept = segments_behind(&listing.segments, image_sequence);
        let views = listing.segments[kept..]
            .iter()
            .map(|&first| {
                let len_bytes = listing.segment_bytes[&first];
                SegmentView::open_whole(storage.as_ref(), first, len_bytes, identity.graph_id)
            })
            .collect::<Result<Vec<_>>>()?;
        let start = LogPlace::first(storage.as_ref(), &graph, &views)?;
        let (end, recovery) = replay(storage.as_ref(), &mut graph, &views, start, processor_count)?;

        let active_is_older = version_of(&views[end.segment].bytes) < FORMAT_VERSION;
        let headers: Vec<SegmentHeader> = views.iter().map(|view| view.header).collect();
        let doubtful = doubtful(&views, end, image_sequence);
        drop(views);
        if !end.closed {
            // A process that was killed may have given an image its name and not synced that.
            storage.sync_directory()?;
        }
        for name in &listing.temporary {
            storage.remove(name)?;
        }
        let active = Some(cut(storage.as_ref(), &headers, end)?);
        for Doubtful { first_sequence, start_bytes, end_bytes } in doubtful {
            let mut segment = storage.open_log(&log_file_name(first_sequence), 0)?;
            segment.rewrite(start_bytes, end_bytes);
            if graph.position().sequence == image_sequence {
                // The sync that follows is for what was replayed, and nothing was.
                segment.syncer().sync()?;
            }
        }
        let older = listing.segments[..kept].iter().map(|&first_sequence| SegmentExtent {
            first_sequence,
            previous_frame_count: 0,
            used_bytes: listing.segment_bytes[&first_sequence],
            allocated_bytes: listing.segment_bytes[&first_sequence],
        });
        let current = headers[..=end.segment].iter().map(|header| SegmentExtent {
            first_sequence: header.first_sequence,
            previous_frame_count: header.previous_frame_count,
            used_bytes: header.segment_bytes,
            allocated_bytes: header.segment_bytes,
        });
        let segments: Vec<SegmentExtent> = older.chain(current).collect();
        let log_start = Arc::new(AtomicU64::new(segments[0].first_sequence - 1));
        let store = Store {
            storage,
            identity,
            segment_bytes: new.segment_bytes,
            segments,
            active,
            active_is_older,
            images: listing.images,
            log_start,
            has_unsynced_removal: false,
        };
        let is_sealed = headers[end.segment].is_sealed();
        Ok(Opened { store, graph, recovery, closed: end.closed || is_sealed })
    }

    /// The files that a reader rests on, as far as it has come. They are written elsewhere.
    pub(crate) fn watched(
        storage: Arc<dyn Storage>,
        identity: Identity,
        image_sequence: u64,
        segments: Vec<SegmentExtent>,
    ) -> Store {
        let log_start = Arc::new(AtomicU64::new(segments[0].first_sequence - 1));
        let images = vec![image_sequence];
        Store {
            storage,
            identity,
            segment_bytes: 0,
            segments,
            active: None,
            active_is_older: false,
            images,
            log_start,
            has_unsynced_removal: false,
        }
    }

    /// Another process has written more: these are the segments behind the image now.
    pub(crate) fn watch(&mut self, segments: &[SegmentExtent]) {
        self.segments.clear();
        self.segments.extend_from_slice(segments);
    }

    /// The graph's id and key.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Where the log begins, to follow without a lock: every frame behind this sequence number is
    /// there. It is moved on before a segment goes.
    pub(crate) fn log_start(&self) -> Arc<AtomicU64> {
        self.log_start.clone()
    }

    /// Where the log ends, its last frame being `sequence`.
    pub(crate) fn log_end(&self, sequence: u64) -> LogEnd {
        let active = self.active_extent();
        let (first_sequence, end_bytes) = (active.first_sequence, active.used_bytes);
        LogEnd { sequence, first_sequence, end_bytes }
    }

    fn active_extent(&self) -> SegmentExtent {
        let known = *self.segments.last().expect("there is an active segment");
        let used_bytes = self.active.as_ref().map_or(known.used_bytes, SegmentWriter::used_bytes);
        SegmentExtent { used_bytes, ..known }
    }

    /// The segment that is written to.
    fn writer(&mut self) -> Result<&mut SegmentWriter> {
        self.active.as_mut().ok_or_else(Error::read_only)
    }

    /// The sequence number the current image covers.
    pub(crate) fn image_sequence(&self) -> u64 {
        *self.images.last().expect("a graph has an image")
    }

    /// Makes sure that a frame of up to `frame_bytes` fits, in a new segment if it must be.
    /// A full disk is an error here, before anything changed.
    pub(crate) fn reserve(
        &mut self,
        frame_bytes: u64,
        next_sequence: u64,
        sync: &GroupSync,
    ) -> Result<()> {
        let SegmentExtent { used_bytes, allocated_bytes, .. } = self.active_extent();
        if self.active_is_older {
            // A new one, whatever room it has.
        } else if self.writer()?.has_room(frame_bytes) {
            return Ok(());
        } else if used_bytes + frame_bytes <= allocated_bytes {
            // An orderly close gave the room back; the first commit takes it again.
            let storage = self.storage.clone();
            let active = self.writer()?;
            active.extend(storage.as_ref(), allocated_bytes)?;
            sync.rotated(active.syncer());
            return Ok(());
        }
        // The log grows, so that the next segment may be larger.
        let next_bytes = self.next_segment_bytes(allocated_bytes.saturating_mul(2));
        let segment_bytes = next_bytes.max(SEGMENT_HEADER_BYTES + frame_bytes);
        self.rotate(segment_bytes.next_multiple_of(4096), next_sequence, sync)
    }

    /// Ends the active segment, so that frames from `next_sequence` on go to another file.
    pub(crate) fn seal(&mut self, next_sequence: u64, sync: &GroupSync) -> Result<()> {
        if self.writer()?.first_sequence() == next_sequence {
            return Ok(());
        }
        // As much as came since the last image may come before the next one.
        let used_bytes = used_bytes(&self.extents());
        let segment_bytes = self.next_segment_bytes(used_bytes.saturating_add(1));
        self.rotate(segment_bytes, next_sequence, sync)
    }

    /// Returns how much a new segment is given where so much is wanted: a power of two, unless the
    /// largest size that was asked for is none.
    fn next_segment_bytes(&self, wanted_bytes: u64) -> u64 {
        let wanted_bytes = wanted_bytes.checked_next_power_of_two().unwrap_or(u64::MAX);
        wanted_bytes.max(FIRST_SEGMENT_BYTES).min(self.segment_bytes)
    }

    fn rotate(&mut self, bytes: u64, next_sequence: u64, sync: &GroupSync) -> Result<()> {
        let active = self.active_extent();
        let frame_count = next_sequence - active.first_sequence;
        let header = SegmentHeader {
            graph_id: self.identity.graph_id,
            first_sequence: next_sequence,
            segment_bytes: bytes,
            durable_sequence: sync.durable(),
            previous_frame_count: match frame_count {
                // The active segment is still empty: the new one takes its name and its place.
                0 => active.previous_frame_count,
                _ => u32::try_from(frame_count).map_err(|_| too_many_frames(frame_count))?,
            },
        };
        let next = SegmentWriter::create(self.storage.as_ref(), &header)?;
        // The segment has its name now, on disk or not. A frame of that number in the segment
        // before it would be in both, so none may follow.
        self.storage.sync_directory().map_err(|error| sync.latch(&error))?;
        sync.rotated(next.syncer());
        if frame_count == 0 {
            self.segments.pop();
        } else {
            let sealed = self.segments.last_mut().expect("there is an active segment");
            sealed.used_bytes = active.used_bytes;
        }
        self.segments.push(SegmentExtent {
            first_sequence: next_sequence,
            previous_frame_count: header.previous_frame_count,
            used_bytes: SEGMENT_HEADER_BYTES,
            allocated_bytes: bytes,
        });
        self.active = Some(next);
        self.active_is_older = false;
        Ok(())
    }

    /// Gives back the room of the log that is not in use. Nothing is appended after this.
    pub(crate) fn truncate(&mut self) -> Result<()> {
        self.writer()?.truncate()
    }

    /// Appends an encoded frame for which room was reserved.
    pub(crate) fn append(&mut self, frame: &[u8]) {
        self.writer().expect("room is reserved before a commit begins").append(frame);
    }

    /// The segments behind the current image, as far as they are in use.
    pub(crate) fn extents(&self) -> Vec<SegmentExtent> {
        self.extents_behind(self.image_sequence())
    }

    /// The segments that hold what an image lacks, as far as they are in use.
    pub(crate) fn extents_behind(&self, image_sequence: u64) -> Vec<SegmentExtent> {
        let firsts: Vec<u64> = self.segments.iter().map(|extent| extent.first_sequence).collect();
        let mut extents = self.segments[segments_behind(&firsts, image_sequence)..].to_vec();
        *extents.last_mut().expect("there is an active segment") = self.active_extent();
        extents
    }

    /// Disk space of all segments, as the directory has it. 0 when it cannot be read.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        let is_log = |name: &str| matches!(file_kind(name), FileKind::Log(_));
        let files = self.storage.list().unwrap_or_default();
        files.iter().filter(|(name, _)| is_log(name)).map(|(_, len_bytes)| len_bytes).sum()
    }

    /// Handles that make the segments behind the image durable, the active one last.
    pub(crate) fn syncers(&self) -> Result<Vec<Arc<dyn LogSync>>> {
        let extents = self.extents();
        let sealed = extents[..extents.len() - 1].iter().map(|extent| {
            let name = log_file_name(extent.first_sequence);
            Ok(self.storage.open_log(&name, extent.allocated_bytes)?.syncer())
        });
        sealed.chain(self.active.iter().map(|active| Ok(active.syncer()))).collect()
    }

    /// Makes a published image the current one, and removes what neither it nor the image before
    /// it needs, nor the hold. `keep_previous` is false where the image before holds nothing.
    pub(crate) fn adopt(
        &mut self,
        image_sequence: u64,
        keep_previous: bool,
        hold: Option<Hold>,
    ) -> Result<()> {
        let previous = self.image_sequence();
        let oldest = if keep_previous { previous } else { image_sequence };
        self.images.push(image_sequence);
        let retired: Vec<u64> =
            self.images.iter().copied().filter(|&image| image < oldest).collect();
        self.images.retain(|&image| image >= oldest);
        for image in retired {
            self.storage.remove(&image_file_name(image))?;
        }
        if self.remove_unneeded(hold)? { Ok(()) } else { self.storage.sync_directory() }
    }

    /// Removes the segments that were held and are no longer.
    pub(crate) fn release(&mut self, hold: Option<Hold>) -> Result<()> {
        self.remove_unneeded(hold).map(|_| ())
    }

    /// Removes the segments that neither an image nor the hold needs, the oldest first, and says
    /// whether there were any. Beyond the bound of the hold the oldest go all the same. Each
    /// removal is on disk before the next: were two on their way, a crash could keep the older
    /// segment and lose the one behind it, and who reads the changes would meet the gap.
    fn remove_unneeded(&mut self, hold: Option<Hold>) -> Result<bool> {
        let firsts: Vec<u64> = self.segments.iter().map(|extent| extent.first_sequence).collect();
        let behind_images = segments_behind(&firsts, self.images[0]);
        let mut count = behind_images;
        if let Some(hold) = hold {
            count = count.min(segments_behind(&firsts, hold.sequence));
            let held = &self.segments[count..behind_images];
            let mut held_bytes: u64 = held.iter().map(|extent| extent.allocated_bytes).sum();
            while held_bytes > hold.bytes_max {
                held_bytes -= self.segments[count].allocated_bytes;
                count += 1;
            }
        }
        if count > 0 {
            self.log_start.fetch_max(firsts[count] - 1, Ordering::AcqRel);
        }
        for first_sequence in &firsts[..count] {
            self.sync_removal()?;
            self.storage.remove(&log_file_name(*first_sequence))?;
            self.segments.remove(0);
            self.has_unsynced_removal = true;
        }
        self.sync_removal()?;
        Ok(count > 0)
    }

    fn sync_removal(&mut self) -> Result<()> {
        if self.has_unsynced_removal {
            self.storage.sync_directory()?;
            self.has_unsynced_removal = false;
        }
        Ok(())
    }
}

#[cold]
fn too_many_frames(frame_count: u64) -> Error {
    let message = "the last log segment, of a backup, has too many commits to go on behind it; \
                   restore the backup and open that";
    Error::new(ErrorKind::InvalidArgument, message).expected(u32::MAX, frame_count)
}

/// How many of the segments hold nothing behind an image: those whose successor begins at or
/// before the first frame the image lacks.
pub(crate) fn segments_behind(first_sequences: &[u64], image_sequence: u64) -> usize {
    let begins_in_time = |&first: &u64| first <= image_sequence + 1;
    first_sequences.iter().take_while(|first| begins_in_time(first)).count().saturating_sub(1)
}

/// Applies what recovery decided: later segments go, newest first, then the torn bytes.
fn cut(storage: &dyn Storage, headers: &[SegmentHeader], end: LogPlace) -> Result<SegmentWriter> {
    // One at a time: were two removals on their way to the disk, a crash could keep the later
    // segment and lose the one before it, which would look as if somebody had taken that away.
    for header in headers[end.segment + 1..].iter().rev() {
        storage.remove(&log_file_name(header.first_sequence))?;
        storage.sync_directory()?;
    }
    let mut active =
        SegmentWriter::resume(storage, headers[end.segment].first_sequence, end.offset_bytes)?;
    if end.cut_end_bytes > end.offset_bytes {
        active.clear_until(end.cut_end_bytes);
        active.syncer().sync()?;
    }
    Ok(active)
}

/// Makes an empty graph: its first segment, then, as the commit, its empty image. What an
/// interrupted creation left is replaced.
fn create_graph(storage: &dyn Storage, listing: &Listing, new: NewGraph<'_>) -> Result<()> {
    let directory = storage.path("");
    let unfinished =
        listing.segments.is_empty() || (listing.segments == [1] && is_unused(storage, 1));
    if !unfinished {
        let message = "there are log segments but no image; put the image back";
        return Err(Error::corrupt(message).at_path(&directory));
    }
    let identity = Identity { graph_id: random_bytes()?, key: random_bytes()? };
    create_segment(storage, identity, 1, new.segment_bytes.min(FIRST_SEGMENT_BYTES))?;
    publish_empty(storage, identity, new.hosted)
}

/// Writes the image of a graph before its first commit.
pub(crate) fn publish_empty(
    storage: &dyn Storage,
    identity: Identity,
    hosted: Option<&ShardSet>,
) -> Result<()> {
    let shards = hosted.map(|hosted| Shards::empty(hosted.clone()));
    let foreign = RoaringBitmap::new();
    let plan = ImagePlan {
        identity,
        position: Position { sequence: 0, source_position: None, clock: 0 },
        id_count: 0,
        account_count: 0,
        overflow_name_bytes: 0,
        foreign: &foreign,
        shards: shards.as_ref(),
    };
    publish(storage, 0, |file| ImageWriter::new(file, plan)?.finish(None)).map(|_| ())
}

/// Whether a segment is whole and holds no frame, as an interrupted creation leaves it.
fn is_unused(storage: &dyn Storage, first_sequence: u64) -> bool {
    storage.map(&log_file_name(first_sequence), u64::MAX).is_ok_and(|bytes| {
        let frames = bytes.get(SEGMENT_HEADER_BYTES as usize..).unwrap_or_default();
        SegmentHeader::decode(&bytes).is_ok() && frames.iter().all(|&byte| byte == 0)
    })
}

/// Makes an empty segment, durable with its name.
pub(crate) fn create_segment(
    storage: &dyn Storage,
    identity: Identity,
    first_sequence: u64,
    segment_bytes: u64,
) -> Result<()> {
    let header = SegmentHeader {
        graph_id: identity.graph_id,
        first_sequence,
        segment_bytes,
        durable_sequence: first_sequence - 1,
        previous_frame_count: 0,
    };
    SegmentWriter::create(storage, &header)?;
    storage.sync_directory()
}

/// Writes an image and makes it durable with its name.
pub(crate) fn publish(
    storage: &dyn Storage,
    sequence: u64,
    write: impl FnOnce(Box<dyn OutputFile>) -> Result<ImageHeader>,
) -> Result<ImageHeader> {
    let header = write_named(storage, sequence, write)?;
    storage.sync_directory()?;
    Ok(header)
}

/// Writes an image under a temporary name and, once it is on disk, gives it its own, which a sync
/// of the directory makes durable. Where this fails the temporary file goes and nothing changed.
pub(crate) fn write_named(
    storage: &dyn Storage,
    sequence: u64,
    write: impl FnOnce(Box<dyn OutputFile>) -> Result<ImageHeader>,
) -> Result<ImageHeader> {
    let name = image_file_name(sequence);
    let temporary = format!("{name}.tmp");
    let published = storage.create(&temporary).and_then(write).and_then(|header| {
        storage.rename(&temporary, &name)?;
        Ok(header)
    });
    published.map_err(|error| {
        // The first error is the one to report; a leftover is removed on the next open too.
        let _ = storage.remove(&temporary);
        let path = storage.path(&name);
        error.at_path(&path)
    })
}

/// Refuses a directory that holds files.
pub(crate) fn check_empty(storage: &dyn Storage, what: &str) -> Result<()> {
    let listing = list(storage)?;
    let others = [&listing.foreign, &listing.temporary, &listing.consumers];
    let occupied = others.iter().any(|names| !names.is_empty())
        || listing.is_unfinished
        || !listing.images.is_empty()
        || !listing.segments.is_empty();
    if !occupied {
        return Ok(());
    }
    let message = format!("{what} goes to a directory of its own; choose an empty one");
    let error = Error::new(ErrorKind::InvalidArgument, message);
    Err(error.at_path(&storage.path("")))
}

/// A graph that follows the log privately, apart from the live one: recovery while others write.
pub(crate) struct Follower {
    /// The graph as far as it has come.
    pub(crate) graph: Graph,
    place: Option<LogPlace>,
}

impl Follower {
    /// Opens an image.
    pub(crate) fn open(storage: &dyn Storage, image_sequence: u64) -> Result<Follower> {
        let graph = Graph::open(storage, Image::open(storage, image_sequence)?)?;
        Ok(Follower { graph, place: None })
    }

    /// Replays what the extents hold beyond what was replayed before. Their first segment must be
    /// the same in every call.
    pub(crate) fn catch_up(
        &mut self,
        storage: &dyn Storage,
        extents: &[SegmentExtent],
    ) -> Result<()> {
        let graph_id = self.graph.image().header.identity.graph_id;
        let views = extents
            .iter()
            .map(|extent| {
                SegmentView::open(storage, extent.first_sequence, extent.used_bytes, graph_id)
            })
            .collect::<Result<Vec<_>>>()?;
        let start = match self.place {
            Some(place) => place,
            None => LogPlace::first(storage, &self.graph, &views)?,
        };
        // One thread: the others serve meanwhile.
        let (end, recovery) = replay(storage, &mut self.graph, &views, start, || 1)?;
        if recovery.cut_frames > 0 {
            let path = storage.path(&log_file_name(extents[end.segment].first_sequence));
            let error = Error::corrupt("a committed frame cannot be read back");
            return Err(error.at_path(&path).at_offset(end.offset_bytes));
        }
        self.place = Some(end);
        Ok(())
    }
}

/// Bytes in use behind the headers of the segments.
pub(crate) fn used_bytes(extents: &[SegmentExtent]) -> u64 {
    extents.iter().map(|extent| extent.used_bytes - SEGMENT_HEADER_BYTES).sum()
}
