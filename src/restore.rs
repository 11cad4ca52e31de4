//! The graph as it was at one sequence number, from a directory that is only read.
//!
//! The newest image that is not behind that number, every byte of it checked, and the log from
//! there on, up to the frame and no further. What is damaged on the way is an error: nothing is
//! left out to make the rest fit.

use crate::backup::segment_header;
use crate::error::{Error, ErrorKind, Result};
use crate::format::log_file_name;
use crate::graph::Graph;
use crate::image::Image;
use crate::log::{Found, SEGMENT_HEADER_BYTES, examine};
use crate::recovery::{LogPlace, SegmentView, replay};
use crate::storage::Storage;
use crate::store::{Listing, list_whole, segments_behind};
use crate::workers::processor_count;

/// What a directory can be restored to.
pub(crate) struct Source {
    listing: Listing,
    graph_id: [u8; 16],
    /// Whether it is a backup as it was left: nobody writes to any of its files.
    pub(crate) is_sealed: bool,
}

impl Source {
    /// Looks at a backup, or a graph.
    pub(crate) fn examine(storage: &dyn Storage) -> Result<Source> {
        let listing = list_whole(storage)?;
        let (Some(&newest), Some(&last)) = (listing.images.last(), listing.segments.last()) else {
            let message = "neither a backup nor a graph: there is no image, or no log behind it";
            return Err(Error::new(ErrorKind::NotAGraph, message).at_path(&storage.path("")));
        };
        let graph_id = Image::open(storage, newest)?.header.identity.graph_id;
        let is_sealed = segment_header(storage, &listing, last, graph_id)?.is_sealed();
        Ok(Source { listing, graph_id, is_sealed })
    }

    /// The oldest sequence number there is.
    pub(crate) fn first_sequence(&self) -> u64 {
        self.listing.images[0]
    }

    /// The newest one. Cost: nothing for a backup, a look at the last segment of a graph.
    pub(crate) fn last_sequence(&self, storage: &dyn Storage) -> Result<u64> {
        let first_sequence = *self.listing.segments.last().expect("there is a segment");
        let header = segment_header(storage, &self.listing, first_sequence, self.graph_id)?;
        if header.is_sealed() {
            return Ok(header.sealed_sequence());
        }
        let view = SegmentView::open(storage, first_sequence, u64::MAX, self.graph_id)?;
        let (mut sequence, mut offset_bytes) = (first_sequence - 1, SEGMENT_HEADER_BYTES);
        while let Found::Whole(frame) = examine(&view.bytes, offset_bytes) {
            (sequence, offset_bytes) = (frame.sequence, offset_bytes + frame.frame_bytes);
        }
        Ok(sequence)
    }

    /// The graph as of `sequence`, or as of the end.
    pub(crate) fn graph(&self, storage: &dyn Storage, sequence: Option<u64>) -> Result<Graph> {
        if let Some(sequence) = sequence {
            self.refuse_outside(storage, sequence)?;
        }
        let within = |image: &u64| sequence.is_none_or(|sequence| *image <= sequence);
        let mut images = self.listing.images.iter().copied().filter(within);
        let image = Image::open(storage, images.next_back().expect("the first one is"))?;
        image.verify(&mut |_| Ok(()))?;
        let image_sequence = image.header.position.sequence;
        let mut graph = Graph::open(storage, image)?;
        if sequence == Some(image_sequence) {
            return Ok(graph);
        }
        let views = self.views(storage, image_sequence, sequence)?;
        let start = LogPlace::first(storage, &graph, &views)?;
        let (end, recovery) = replay(storage, &mut graph, &views, start, processor_count)?;
        let reached = graph.position().sequence;
        if sequence.is_some_and(|sequence| reached != sequence) || recovery.cut_frames > 0 {
            let path = storage.path(&log_file_name(views[end.segment].header.first_sequence));
            let error = Error::corrupt("the log breaks off here");
            return Err(error.at_path(&path).at_offset(end.offset_bytes));
        }
        Ok(graph)
    }

    fn refuse_outside(&self, storage: &dyn Storage, sequence: u64) -> Result<()> {
        let range = self.first_sequence()..=self.last_sequence(storage)?;
        if range.contains(&sequence) {
            return Ok(());
        }
        let error = Error::new(ErrorKind::InvalidArgument, "a position that this does not cover");
        let expected = format!("{} to {}", range.start(), range.end());
        Err(error.at_path(&storage.path("")).expected(expected, sequence))
    }

    /// The segments from an image on, the last one up to the end of that frame.
    fn views(
        &self,
        storage: &dyn Storage,
        image_sequence: u64,
        sequence: Option<u64>,
    ) -> Result<Vec<SegmentView>> {
        let segments = &self.listing.segments;
        let segments = &segments[segments_behind(segments, image_sequence)..];
        let wanted = |first: &&u64| sequence.is_none_or(|sequence| **first <= sequence);
        let wanted = segments.iter().take_while(wanted);
        let mut views = wanted
            .map(|&first| {
                segment_header(storage, &self.listing, first, self.graph_id)?;
                SegmentView::open(storage, first, u64::MAX, self.graph_id)
            })
            .collect::<Result<Vec<_>>>()?;
        if let Some(sequence) = sequence
            && let Some(last) = views.pop()
        {
            views.push(self.cut_behind(storage, &last, sequence)?);
        }
        Ok(views)
    }

    /// A segment as it was when this frame was its last.
    fn cut_behind(
        &self,
        storage: &dyn Storage,
        view: &SegmentView,
        sequence: u64,
    ) -> Result<SegmentView> {
        let first_sequence = view.header.first_sequence;
        let mut offset_bytes = SEGMENT_HEADER_BYTES;
        for expected in first_sequence..=sequence {
            match examine(&view.bytes, offset_bytes) {
                Found::Whole(frame) if frame.sequence == expected => {
                    offset_bytes += frame.frame_bytes;
                }
                _ => {
                    let path = storage.path(&log_file_name(first_sequence));
                    let error = Error::corrupt("a frame is damaged or missing");
                    let error = error.expected(format!("frame {expected}"), "something else");
                    return Err(error.at_path(&path).at_offset(offset_bytes));
                }
            }
        }
        let mut cut = SegmentView::open(storage, first_sequence, offset_bytes, self.graph_id)?;
        // It no longer vouches for the frames that are left out.
        cut.header.durable_sequence = cut.header.durable_sequence.min(first_sequence - 1);
        Ok(cut)
    }
}
