//! Any text as a cursor: it is refused, or comes back as it was and is safe to ask with.
#![no_main]

use followgraph::{Cursor, ErrorKind, FollowGraph, Page};
use followgraph_fuzz::{NAMES, options};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static GRAPH: LazyLock<FollowGraph> = LazyLock::new(|| {
    let graph = options().in_memory().expect("memory does not fail");
    for (place, from) in NAMES.iter().enumerate() {
        for to in &NAMES[place + 1..] {
            graph.follow(from, to).expect("names are good");
            graph.follow(to, from).expect("names are good");
        }
    }
    graph
});

fuzz_target!(|input: (&str, bool)| {
    let (text, repairs_checksum) = input;
    let text = if repairs_checksum { with_checksum(text) } else { text.to_owned() };
    let cursor = match text.parse::<Cursor>() {
        Ok(cursor) => cursor,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidCursor);
            return;
        }
    };
    assert_eq!(cursor.to_string(), text.to_ascii_lowercase());
    for name in NAMES {
        let lists = [
            GRAPH.followers(name, Page::after(cursor, 3)),
            GRAPH.following(name, Page::after(cursor, 3)),
            GRAPH.mutuals(name, Page::after(cursor, usize::MAX)),
        ];
        for list in lists {
            match list {
                Ok(list) => assert!(list.entries.len() < NAMES.len()),
                Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidCursor),
            }
        }
    }
});

/// The text's bytes as the fields of a cursor, and the checksum that belongs to them.
fn with_checksum(text: &str) -> String {
    let mut fields = [0u8; 17];
    fields.iter_mut().zip(text.bytes()).for_each(|(field, byte)| *field = byte);
    // A list's kind is a small number, which hardly any text begins with.
    fields[0] %= 4;
    let crc = crc32fast::hash(&fields).to_le_bytes();
    fields.iter().chain(&crc).map(|byte| format!("{byte:02x}")).collect()
}
