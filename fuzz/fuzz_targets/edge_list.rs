//! Any bytes as an edge list, plain or packed: every line is an edge, blank, or told as bad by its
//! number, and a whole list says what its lines say one by one.
#![no_main]
#![allow(dead_code, reason = "the parser is part of the command line tool, which uses all of it")]

#[path = "../../src/cli/failure.rs"]
mod failure;
#[path = "../../src/cli/input.rs"]
mod input;

use input::{Input, Line};
use libfuzzer_sys::fuzz_target;
use std::io::Write;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("there is room");
    let Ok(mut list) = Input::open(file.path()) else { return };
    let (mut edges, mut bad, mut line_count) = (Vec::new(), Vec::new(), 0);
    while let Some(lines) = list.next_lines() {
        let Ok(lines) = lines else { return };
        line_count += u64::from(lines.line_count);
        let owned = |edge: input::NumberedEdge<'_>| {
            (edge.line, edge.from.to_owned(), edge.to.to_owned(), edge.at)
        };
        edges.extend(lines.edges().map(owned));
        bad.extend(lines.bad.iter().map(|bad| bad.0));
    }
    if is_packed(bytes) {
        return;
    }
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let expected_count =
        if bytes.is_empty() { 0 } else { text.split(|byte| *byte == b'\n').count() };
    assert_eq!(line_count, expected_count as u64);
    let (mut expected_edges, mut expected_bad) = (Vec::new(), Vec::new());
    for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
        match Line::parse(line) {
            Line::Blank => {}
            Line::Edge { from, to, at } => {
                assert!(!from.is_empty() && !to.is_empty() && from.len().max(to.len()) <= 255);
                expected_edges.push((number, from.to_owned(), to.to_owned(), at));
            }
            Line::Bad(_) => expected_bad.push(number),
        }
    }
    assert_eq!((edges, bad), (expected_edges, expected_bad));
});

fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b]) || bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}
