//! An image of which not everything checks out, read piece by piece. What a piece says is what
//! lies there; whether to believe it is for the caller, who is told which checksums hold.

use super::{ImageHeader, SECTION_NAMES};
use crate::accounts::{RECORD_BYTES, RecordFields, index};
use crate::adjacency::{EdgeList, ListView, SetsView};
use crate::blocks::BLOCK_BYTES;
use crate::error::Result;
use crate::format::{check_name, image_file_name};
use crate::storage::{Bytes, Storage};
use crate::types::DamagedRange;
use std::path::PathBuf;

const RECORDS: usize = 0;
const INDEX: usize = 1;
const NAMES: usize = 2;
const SETS: usize = 3;

/// An image with a whole header.
pub(crate) struct DamagedImage {
    file: Bytes,
    path: PathBuf,
    /// The checked header.
    pub(crate) header: ImageHeader,
    intact: [bool; SECTION_NAMES.len()],
    /// Whether the file is as long as the header says.
    right_length: bool,
    /// Where the blocks begin whose checksums do not hold.
    damaged_blocks: Vec<u64>,
}

impl DamagedImage {
    /// Reads the image that covers `sequence`, whatever its sections hold and however much of the
    /// file is there. Cost: the size of the file. Errors: the header does not check out, and
    /// without it nothing else is found.
    pub(crate) fn open(storage: &dyn Storage, sequence: u64) -> Result<DamagedImage> {
        let name = image_file_name(sequence);
        let path = storage.path(&name);
        let file = storage.map(&name, u64::MAX)?;
        let header = ImageHeader::decode(&file)
            // Of itself the header has to make sense; what of the file is there comes below.
            .and_then(|header| header.check(header.file_bytes()).map(|()| header))
            .and_then(|header| header.check_sequence(sequence).map(|()| header))
            .map_err(|error| error.at_path(&path))?;
        let right_length = header.file_bytes() == file.len() as u64;
        let damaged_blocks =
            if right_length { header.blocks_of(&file, &path).damaged() } else { Vec::new() };
        let intact = [false; SECTION_NAMES.len()];
        let mut image = DamagedImage { file, path, header, intact, right_length, damaged_blocks };
        for number in 0..SECTION_NAMES.len() {
            let section = image.header.sections()[number];
            let bytes = image.section(number);
            let is_there = bytes.len() as u64 == section.len_bytes;
            image.intact[number] = is_there && crc32fast::hash(bytes) == section.crc;
        }
        Ok(image)
    }

    /// Whether everything in it can be believed.
    pub(crate) fn is_whole(&self) -> bool {
        self.right_length
            && self.damaged_blocks.is_empty()
            && self.intact.iter().all(|&intact| intact)
    }

    /// Whether the records are as they were written.
    pub(crate) fn has_records(&self) -> bool {
        self.intact[RECORDS]
    }

    /// Whether the index is as it was written.
    pub(crate) fn has_index(&self) -> bool {
        self.intact[INDEX]
    }

    /// Whether the long names are as they were written.
    pub(crate) fn has_names(&self) -> bool {
        self.intact[NAMES]
    }

    /// Whether the lists are as they were written.
    pub(crate) fn has_sets(&self) -> bool {
        self.intact[SETS]
    }

    /// The sections that do not check out, the blocks that do not, where there are checksums by
    /// blocks, and what is missing or too much at the end.
    pub(crate) fn damage(&self) -> Vec<DamagedRange> {
        let sections = self.header.sections();
        let damaged = (0..sections.len()).filter(|&number| !self.intact[number]);
        let ranges = damaged.map(|number| DamagedRange {
            file: self.path.clone(),
            offset_bytes: sections[number].offset_bytes,
            len_bytes: sections[number].len_bytes,
            what: format!("the checksum of the {} section does not hold", SECTION_NAMES[number]),
        });
        let (file_bytes, expected) = (self.file.len() as u64, self.header.file_bytes());
        let end = (!self.right_length).then(|| DamagedRange {
            file: self.path.clone(),
            offset_bytes: file_bytes.min(expected),
            len_bytes: file_bytes.abs_diff(expected),
            what: "the file is shorter or longer than its header says".to_owned(),
        });
        let blocks = self.damaged_blocks.iter().map(|&offset_bytes| DamagedRange {
            file: self.path.clone(),
            offset_bytes,
            len_bytes: BLOCK_BYTES as u64,
            what: "the checksum of this block does not hold".to_owned(),
        });
        ranges.chain(blocks).chain(end).collect()
    }

    /// All of it, where it belongs to another graph.
    pub(crate) fn foreign_range(&self) -> DamagedRange {
        DamagedRange {
            file: self.path.clone(),
            offset_bytes: 0,
            len_bytes: self.file.len() as u64,
            what: "the image is of another graph".to_owned(),
        }
    }

    /// As much of a section as there is.
    fn section(&self, number: usize) -> &[u8] {
        let (start, end) = self.header.sections()[number].range();
        self.file.get(start..end.min(self.file.len())).unwrap_or_default()
    }

    /// The record of an account, if the file goes that far.
    pub(crate) fn record(&self, id: u32) -> Option<&[u8]> {
        let start = id as usize * RECORD_BYTES;
        self.section(RECORDS).get(start..start + RECORD_BYTES)
    }

    /// The name a record gives, if it is one that an account may have.
    pub(crate) fn name<'a>(&'a self, record: &'a [u8]) -> Option<&'a str> {
        let name = record.name_in(self.section(NAMES))?;
        std::str::from_utf8(name).ok().filter(|name| check_name(name).is_ok())
    }

    /// Every id the index holds, with 32 bits of the hash of its name.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        index::slots(self.section(INDEX))
    }

    /// The following list and the follower list that a record points to, each as far as it can be
    /// read and breaks no rule.
    pub(crate) fn lists(&self, record: &[u8]) -> [Option<EdgeList>; 2] {
        let offset_bytes = record.sets_offset();
        if offset_bytes == 0 {
            return [Some(EdgeList::default()), Some(EdgeList::default())];
        }
        let sets = usize::try_from(offset_bytes).ok().and_then(|at| self.section(SETS).get(at..));
        let Some(sets) = sets else { return [None, None] };
        let following = SetsView::parse_following(sets).ok();
        let followers = SetsView::parse_followers(sets).ok();
        // A following list fills the bytes that are its own; a follower list ends where it ends.
        [
            following.and_then(|list| self.edges(list, true)),
            followers.and_then(|list| self.edges(list, false)),
        ]
    }

    fn edges(&self, list: ListView<'_>, fills_its_bytes: bool) -> Option<EdgeList> {
        if list.len() > self.header.id_count {
            return None;
        }
        let rest = list.validate().ok()?;
        if fills_its_bytes && !rest.is_empty() {
            return None;
        }
        let edges = list.edges().ok()?;
        let in_time = edges.at.iter().all(|&at| at <= self.header.newest_at);
        let known = edges.ids.last().is_none_or(|&last| last < self.header.id_count);
        (in_time && known).then_some(edges)
    }
}
