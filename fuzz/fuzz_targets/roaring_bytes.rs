//! Any bytes as a portable roaring bitmap: refused, or read as the `roaring` crate reads them.
//! Bitmaps that are real, with some bytes changed, get past the first checks.
#![no_main]

use arbitrary::Arbitrary;
use followgraph::testing::trials::bytes_of_roaring_are_safe;
use followgraph_fuzz::{Edit, Shape};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    shape: Shape,
    has_runs: bool,
    edits: Vec<Edit>,
    portable: &'a [u8],
    ends: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    bytes_of_roaring_are_safe(input.portable, input.ends);
    let ids = input.shape.edges().into_iter().map(|edge| edge.0);
    let mut bitmap: roaring::RoaringBitmap = ids.collect();
    if input.has_runs {
        bitmap.optimize();
    }
    let mut bytes = Vec::new();
    bitmap.serialize_into(&mut bytes).expect("a vector takes every byte");
    bytes_of_roaring_are_safe(&bytes, &[]);
    let ends = (bitmap.len() as u32).to_le_bytes();
    for edit in input.edits.iter().take(4) {
        edit.apply(&mut bytes, usize::MAX);
        bytes_of_roaring_are_safe(&bytes, &[]);
        bytes_of_roaring_are_safe(&bytes, &ends);
    }
});
