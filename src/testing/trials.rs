//! What must hold for sets and bytes of any kind. Fuzzers call these with whatever they make up;
//! each panics where something does not hold.

use crate::adjacency::{EdgeKey, trials};

/// An edge of a list as a trial has it: the account on the other side, the time, the place among
/// the edges of that time.
pub type Edge = (u32, u32, u32);

/// Both lists of an account are read from their bytes as they were written.
///
/// ```
/// followgraph::testing::trials::lists_come_back(&[(1, 7, 0), (2, 7, 1)], &[(9, 0, 0)]);
/// ```
pub fn lists_come_back(following: &[Edge], followers: &[Edge]) {
    let keys = |edges: &[Edge]| -> Vec<EdgeKey> {
        edges.iter().map(|&(id, at, tie)| EdgeKey { at, tie, id }).collect()
    };
    trials::lists_come_back(&keys(following), &keys(followers));
}

/// Bytes in the place of both lists of an account are refused or read within bounds, and
/// consistent where validation finds nothing.
///
/// ```
/// followgraph::testing::trials::bytes_of_lists_are_safe(&[3, 1, 4, 1, 5, 9, 2, 6]);
/// ```
pub fn bytes_of_lists_are_safe(bytes: &[u8]) {
    trials::bytes_of_lists_are_safe(bytes);
}

/// Sets of either form answer as the bitmaps of the `roaring` crate do.
///
/// ```
/// followgraph::testing::trials::sets_agree(&[1, 2, 70_000], &[2, 3]);
/// ```
pub fn sets_agree(a: &[u32], b: &[u32]) {
    trials::sets_agree(a, b);
}

/// Bytes in the place of a portable bitmap, with the table of ends behind it, are refused or read
/// within bounds, and as the `roaring` crate reads them where validation finds nothing.
///
/// ```
/// followgraph::testing::trials::bytes_of_roaring_are_safe(&[0x3a, 0x30, 0, 0, 0, 0, 0, 0], &[]);
/// ```
pub fn bytes_of_roaring_are_safe(portable: &[u8], ends: &[u8]) {
    trials::bytes_of_roaring_are_safe(portable, ends);
}
