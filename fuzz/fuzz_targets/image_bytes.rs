//! An image with any bytes changed; where asked, its checksums are made right again, so that the
//! change is all that is wrong.
#![no_main]

use arbitrary::Arbitrary;
use followgraph_fuzz::{Edit, Files, interrogate, lay_out, tiny_graph};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TINY: LazyLock<Files> = LazyLock::new(tiny_graph);

const HEADER_BYTES: usize = 4096;
const SECTION_TABLE_OFFSET: usize = 128;
const SECTION_ENTRY_BYTES: usize = 24;

#[derive(Arbitrary, Debug)]
struct Input {
    edits: Vec<Edit>,
    near_header: bool,
    repairs_checksums: bool,
}

fuzz_target!(|input: Input| {
    let mut files = TINY.clone();
    let last_image = files.iter_mut().rfind(|(name, _)| name.ends_with(".fgi"));
    let (_, image) = last_image.expect("a graph with a checkpoint has an image");
    let reach = if input.near_header { 256 } else { usize::MAX };
    for edit in input.edits.iter().take(8) {
        edit.apply(image, reach);
    }
    if input.repairs_checksums {
        repair_checksums(image);
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    lay_out(directory.path(), &files);
    interrogate(directory.path());
});

/// Makes the checksums of the sections and of the header right, where they can be told.
fn repair_checksums(image: &mut [u8]) {
    if image.len() < HEADER_BYTES {
        return;
    }
    for number in 0..4 {
        let entry = SECTION_TABLE_OFFSET + number * SECTION_ENTRY_BYTES;
        let field = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().expect("8 bytes"));
        let (start, length) = (field(entry) as usize, field(entry + 8) as usize);
        if let Some(section) = image.get(start..start.saturating_add(length)) {
            let crc = crc32fast::hash(section);
            image[entry + 16..entry + 20].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let crc = crc32fast::hash(&image[..HEADER_BYTES - 4]);
    image[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}
