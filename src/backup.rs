//! A copy of a graph in another directory, and what is appended to it later.
//!
//! A backup is an image and, behind it, a log, so it is a graph. Its segments are *sealed*: each is
//! written at once, holds what its header says, and is never appended to. A graph that writes here
//! makes a segment of its own, which is how a backup that went its own way is known.
//!
//! **A copy is whole or is known not to be.** Until the last file of a new one is on disk there is
//! a file beside it that says so. An increment is one file, and renaming it is its commit.

use crate::error::{Error, ErrorKind, Result};
use crate::format::{FileKind, RecordReader, UNFINISHED_FILE_NAME, file_kind, log_file_name};
use crate::graph::{Composition, Graph};
use crate::image::{Image, ImageHeader, Totals};
use crate::log::{Frame, LogEnd, SEGMENT_HEADER_BYTES, SegmentHeader, encode_frame};
use crate::recovery::check_segment;
use crate::storage::{OutputFile, Storage};
use crate::store::{Listing, list, write_named};
use crate::walk::Walk;

/// So much of an increment is collected before it is written.
const PIECE_BYTES: usize = 1 << 20;

/// The length that an empty segment says it has which is not sealed.
const UNSEALED_SEGMENT_BYTES: u64 = 4096;

/// What a directory holds that a backup is to go to.
pub(crate) enum Destination {
    /// Nothing, or what was left of a copy that was not finished.
    Free,
    /// A backup.
    Backup(Backup),
}

/// A backup as it was found.
pub(crate) struct Backup {
    graph_id: [u8; 16],
    image_sequence: u64,
    last: SegmentHeader,
}

impl Destination {
    /// Looks at a directory. What is neither free nor a backup as it was left is an error.
    pub(crate) fn examine(storage: &dyn Storage) -> Result<Destination> {
        let listing = list(storage)?;
        let (images, segments) = (&listing.images, &listing.segments);
        let others = [&listing.foreign, &listing.consumers];
        let has_others = others.iter().any(|names| !names.is_empty());
        if listing.is_unfinished && !has_others {
            return Ok(Destination::Free);
        }
        if images.is_empty() && segments.is_empty() && listing.temporary.is_empty() && !has_others {
            return Ok(Destination::Free);
        }
        let ([image_sequence], Some(&first_sequence), false) =
            (&images[..], segments.last(), has_others)
        else {
            return Err(not_a_backup(storage));
        };
        let graph_id = Image::open(storage, *image_sequence)?.header.identity.graph_id;
        let last = segment_header(storage, &listing, first_sequence, graph_id)?;
        if !last.is_sealed() {
            return Err(not_a_backup(storage));
        }
        Ok(Destination::Backup(Backup { graph_id, image_sequence: *image_sequence, last }))
    }
}

fn not_a_backup(storage: &dyn Storage) -> Error {
    let message = "this directory holds other files, or a graph, or a backup that was opened and \
                   written to since; choose an empty one";
    Error::new(ErrorKind::InvalidArgument, message).at_path(&storage.path(""))
}

/// The header of a segment, which is as long as it says where it is sealed.
pub(crate) fn segment_header(
    storage: &dyn Storage,
    listing: &Listing,
    first_sequence: u64,
    graph_id: [u8; 16],
) -> Result<SegmentHeader> {
    let path = storage.path(&log_file_name(first_sequence));
    let bytes = storage.map(&log_file_name(first_sequence), SEGMENT_HEADER_BYTES)?;
    let header =
        check_segment(&bytes, first_sequence, graph_id).map_err(|error| error.at_path(&path))?;
    let found_bytes = listing.segment_bytes.get(&first_sequence).copied().unwrap_or_default();
    if header.is_sealed() && found_bytes != header.segment_bytes {
        return Err(Error::corrupt("the log segment is not as long as its header says")
            .at_path(&path)
            .at_offset(40)
            .expected(header.segment_bytes, found_bytes));
    }
    Ok(header)
}

/// Writes a graph as the first image of a free directory, with an empty log behind it, and reads it
/// back. What an unfinished copy left is replaced. Increments are taken where it `goes_on`.
pub(crate) fn write_copy(
    storage: &dyn Storage,
    graph: &Graph,
    expected: &Totals,
    goes_on: bool,
) -> Result<ImageHeader> {
    let (sequence, graph_id) = (graph.position().sequence, graph.image().header.identity.graph_id);
    write_new(storage, sequence, graph_id, goes_on, &|file| {
        graph.write_image(file, expected, false)
    })
}

/// The same for a graph that is made of parts of others. It is a graph of its own and takes no
/// increments.
pub(crate) fn write_composed(
    storage: &dyn Storage,
    composition: &Composition<'_>,
) -> Result<ImageHeader> {
    let (sequence, graph_id) = (composition.sequence(), composition.graph_id);
    write_new(storage, sequence, graph_id, false, &|file| composition.write_image(file))
}

fn write_new(
    storage: &dyn Storage,
    sequence: u64,
    graph_id: [u8; 16],
    goes_on: bool,
    write: &dyn Fn(Box<dyn OutputFile>) -> Result<ImageHeader>,
) -> Result<ImageHeader> {
    storage.create(UNFINISHED_FILE_NAME)?.sync()?;
    storage.sync_directory()?;
    for (name, _) in storage.list()? {
        let kind = file_kind(&name);
        if matches!(kind, FileKind::Image(_) | FileKind::Log(_) | FileKind::Temporary) {
            storage.remove(&name)?;
        }
    }
    let header = SegmentHeader {
        graph_id,
        first_sequence: sequence + 1,
        segment_bytes: if goes_on { SEGMENT_HEADER_BYTES } else { UNSEALED_SEGMENT_BYTES },
        durable_sequence: sequence,
        previous_frame_count: 0,
    };
    write_segment(storage, sequence + 1, |file| file.write_at(0, &header.encode()))?;
    let header = write_named(storage, sequence, write)?;
    storage.sync_directory()?;
    Image::open(storage, sequence)?.verify(&mut |_| Ok(()))?;
    storage.remove(UNFINISHED_FILE_NAME)?;
    storage.sync_directory()?;
    Ok(header)
}

/// Writes a segment under a temporary name and, once it is on disk, gives it its own, which a sync
/// of the directory makes durable.
fn write_segment(
    storage: &dyn Storage,
    first_sequence: u64,
    write: impl FnOnce(&mut dyn OutputFile) -> Result<()>,
) -> Result<()> {
    let name = log_file_name(first_sequence);
    let temporary = format!("{name}.tmp");
    let written = storage.create(&temporary).and_then(|mut file| {
        write(file.as_mut())?;
        file.sync()?;
        storage.rename(&temporary, &name)
    });
    written.inspect_err(|_| {
        // The error to report is the first one; the next backup removes a leftover too.
        let _ = storage.remove(&temporary);
    })
}

impl Backup {
    /// The last frame it holds.
    pub(crate) fn sequence(&self) -> u64 {
        self.last.sealed_sequence()
    }

    fn is_empty(&self) -> bool {
        self.sequence() < self.last.first_sequence
    }

    /// Appends what the log of its graph has since, up to `end`, as one segment, and says how many
    /// bytes that took. The log begins behind `log_start`. Nobody removes segments meanwhile.
    pub(crate) fn append(
        &self,
        destination: &dyn Storage,
        source: &dyn Storage,
        graph_id: [u8; 16],
        log_start: u64,
        end: LogEnd,
    ) -> Result<u64> {
        self.refuse_others(destination, graph_id, end)?;
        if log_start > self.sequence() {
            return Err(needs_whole("the log does not go back to the end of this backup")
                .at_path(&destination.path(""))
                .expected(format!("{log_start} or more"), self.sequence()));
        }
        self.compare(destination, source, log_start, end)?;
        // Names that a killed process left unsynced must not get lost before those to come.
        destination.sync_directory()?;
        if end.sequence == self.sequence() {
            return Ok(0);
        }
        let mut segment_bytes = 0;
        write_segment(destination, self.sequence() + 1, |file| {
            segment_bytes = self.write_frames(file, source, end)?;
            let header = self.next_header(end.sequence, segment_bytes)?;
            file.write_at(0, &header.encode())
        })?;
        destination.sync_directory()?;
        Ok(segment_bytes)
    }

    fn next_header(&self, sequence: u64, segment_bytes: u64) -> Result<SegmentHeader> {
        let too_many = |_| needs_whole("the last increment has too many commits to build on");
        Ok(SegmentHeader {
            graph_id: self.graph_id,
            first_sequence: self.sequence() + 1,
            segment_bytes,
            durable_sequence: sequence,
            previous_frame_count: if self.is_empty() {
                // It takes the name and the place of the empty one.
                self.last.previous_frame_count
            } else {
                let frame_count = self.sequence() + 1 - self.last.first_sequence;
                u32::try_from(frame_count).map_err(too_many)?
            },
        })
    }

    /// Copies the frames this lacks, and says where they end.
    fn write_frames(
        &self,
        file: &mut dyn OutputFile,
        source: &dyn Storage,
        end: LogEnd,
    ) -> Result<u64> {
        let mut walk = Walk::new(self.graph_id, self.sequence());
        let (mut piece, mut offset_bytes) = (Vec::new(), SEGMENT_HEADER_BYTES);
        while walk.position() < end.sequence {
            walk.next(source, end, |frame| {
                refuse_bulk_load(frame)?;
                let Frame { sequence, durable_sequence, source_position, payload, .. } = *frame;
                encode_frame(sequence, durable_sequence, source_position, &mut piece, |out| {
                    out.extend_from_slice(payload);
                });
                Ok(())
            })?;
            if piece.len() >= PIECE_BYTES || walk.position() == end.sequence {
                file.write_at(offset_bytes, &piece)?;
                offset_bytes += piece.len() as u64;
                piece.clear();
            }
        }
        Ok(offset_bytes)
    }

    fn refuse_others(
        &self,
        destination: &dyn Storage,
        graph_id: [u8; 16],
        end: LogEnd,
    ) -> Result<()> {
        let refused = |message| {
            let error = Error::new(ErrorKind::InvalidArgument, message);
            Err(error.at_path(&destination.path("")))
        };
        if graph_id != self.graph_id {
            return refused("this is a backup of another graph; choose an empty directory");
        }
        if end.sequence < self.sequence() {
            return refused(
                "this backup goes further than the graph, which was put back to an earlier state; \
                 choose an empty directory",
            );
        }
        Ok(())
    }

    /// Compares the frames that both have: a graph that was put back to an earlier state and went
    /// on from there has other frames under the same numbers.
    fn compare(
        &self,
        destination: &dyn Storage,
        source: &dyn Storage,
        log_start: u64,
        end: LogEnd,
    ) -> Result<()> {
        let start = log_start.max(self.image_sequence);
        let own_end = LogEnd {
            sequence: self.sequence(),
            first_sequence: self.last.first_sequence,
            end_bytes: self.last.segment_bytes,
        };
        let (mut own, mut others) =
            (Walk::new(self.graph_id, start), Walk::new(self.graph_id, start));
        while own.position() < self.sequence() {
            let is_same = own.next(destination, own_end, |frame| {
                others.next(source, end, |other| Ok(frame == other))
            })?;
            if !is_same {
                let message = "this backup and the graph have gone different ways; choose an empty \
                               directory";
                return Err(Error::new(ErrorKind::InvalidArgument, message)
                    .at_path(&destination.path(""))
                    .expected(format!("the same commit {}", own.position()), "another one"));
            }
        }
        Ok(())
    }
}

fn needs_whole(message: &str) -> Error {
    let message = format!("{message}; take a whole backup into an empty directory");
    Error::new(ErrorKind::PositionLost, message)
}

/// The follows of a bulk load are in its image and in no frame; its frame has no record.
fn refuse_bulk_load(frame: &Frame<'_>) -> Result<()> {
    let is_plain = !frame.is_closing() && frame.source_position.is_none();
    if is_plain && RecordReader::new(frame.payload)?.next_record()?.is_none() {
        return Err(needs_whole("a bulk load came since, which is not in the log"));
    }
    Ok(())
}

/// Removes what a killed increment left.
pub(crate) fn remove_leftovers(storage: &dyn Storage) -> Result<()> {
    for name in list(storage)?.temporary {
        storage.remove(&name)?;
    }
    Ok(())
}
