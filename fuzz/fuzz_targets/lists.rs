//! Lists of any ids, times and ties come back from their bytes; sets answer as bitmaps do.
#![no_main]

use followgraph::testing::trials::{Edge, lists_come_back, sets_agree};
use followgraph_fuzz::Shape;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Shape, Shape)| {
    let (following, followers) = input;
    lists_come_back(&following.edges(), &followers.edges());
    let ids = |shape: &Shape| shape.edges().iter().map(|edge: &Edge| edge.0).collect::<Vec<_>>();
    sets_agree(&ids(&following), &ids(&followers));
});
