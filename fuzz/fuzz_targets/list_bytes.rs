//! Any bytes as the two lists of an account: those of real lists with some changed, or none at all.
#![no_main]

use arbitrary::Arbitrary;
use followgraph::testing::trials::bytes_of_lists_are_safe;
use followgraph_fuzz::Edit;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    bytes: &'a [u8],
    edits: Vec<Edit>,
}

fuzz_target!(|input: Input<'_>| {
    bytes_of_lists_are_safe(input.bytes);
    let mut bytes = input.bytes.to_vec();
    for edit in input.edits.iter().take(4) {
        edit.apply(&mut bytes, usize::MAX);
        bytes_of_lists_are_safe(&bytes);
    }
});
