//! Any bytes as an edge list, plain or packed, in every format: every line is an edge, blank, a
//! note or bad, by its number. A list separated by white space says what its lines say one by one,
//! and one separated by commas can be written again.
#![no_main]
#![allow(dead_code, reason = "the parser is part of the command line tool, which uses all of it")]
#![allow(unused_imports, reason = "likewise")]

#[path = "../../src/cli/failure.rs"]
mod failure;
#[path = "../../src/cli/input/mod.rs"]
mod input;

use input::{Format, Input, Line, csv_field};
use libfuzzer_sys::fuzz_target;
use std::io::Write;

/// What a list was read as.
#[derive(Default)]
struct List {
    edges: Vec<(u64, String, String, Option<u32>)>,
    notes: Vec<u64>,
    bad: Vec<u64>,
    line_count: u64,
}

fuzz_target!(|bytes: &[u8]| {
    for format in [Format::Auto, Format::Csv, Format::Tsv, Format::Konect, Format::Mtx] {
        let Some(list) = read(bytes, format) else { continue };
        check(&list);
        if format == Format::Csv {
            check_written_again(&list);
        }
    }
    let Some(list) = read(bytes, Format::Space) else { return };
    check(&list);
    if !is_packed(bytes) {
        check_line_by_line(bytes, &list);
    }
});

fn read(bytes: &[u8], format: Format) -> Option<List> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("there is room");
    let mut input = Input::open(file.path(), format).ok()?;
    let mut list = List::default();
    while let Some(lines) = input.next_lines() {
        let lines = lines.ok()?;
        list.line_count += u64::from(lines.line_count);
        let owned = |edge: input::NumberedEdge<'_>| {
            (edge.line, edge.from.to_owned(), edge.to.to_owned(), edge.at)
        };
        list.edges.extend(lines.edges().map(owned));
        list.notes.extend(lines.notes.iter().map(|note| note.line));
        list.bad.extend(lines.bad.iter().map(|bad| bad.line));
    }
    Some(list)
}

fn check(list: &List) {
    for (_, from, to, _) in &list.edges {
        for name in [from, to] {
            assert!((1..=255).contains(&name.len()) && !name.chars().any(char::is_control));
        }
    }
    let mut numbers: Vec<_> = list.edges.iter().map(|edge| edge.0).collect();
    assert!(numbers.is_sorted() && list.bad.is_sorted() && list.notes.is_sorted());
    numbers.extend(list.bad.iter().chain(&list.notes));
    numbers.sort_unstable();
    assert!(numbers.is_sorted_by(|left, right| left < right), "a line is two things");
    assert!(numbers.iter().all(|line| (1..=list.line_count).contains(line)));
}

fn check_written_again(list: &List) {
    let mut text = "from,to,time\n".to_owned();
    for (_, from, to, at) in &list.edges {
        let at = at.map_or(String::new(), |at| at.to_string());
        text.push_str(&format!("{},{},{at}\n", csv_field(from), csv_field(to)));
    }
    let again = read(text.as_bytes(), Format::Auto).expect("it has a header");
    assert!(again.bad.is_empty());
    let without_lines = |list: &List| -> Vec<_> {
        list.edges.iter().map(|(_, from, to, at)| (from.clone(), to.clone(), *at)).collect()
    };
    assert_eq!(without_lines(&again), without_lines(list));
}

fn check_line_by_line(bytes: &[u8], list: &List) {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let expected_count =
        if bytes.is_empty() { 0 } else { text.split(|byte| *byte == b'\n').count() };
    assert_eq!(list.line_count, expected_count as u64);
    let (mut expected_edges, mut expected_bad) = (Vec::new(), Vec::new());
    for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
        if list.notes.contains(&number) {
            continue;
        }
        match Line::parse(line) {
            Line::Blank | Line::Note(_) => {}
            Line::Edge { from, to, at } => {
                expected_edges.push((number, from.into_owned(), to.into_owned(), at));
            }
            Line::Bad(_) => expected_bad.push(number),
        }
    }
    // A first line with names of columns is an edge for itself, and bad in a list.
    let is_header = list.bad.len() > expected_bad.len();
    if is_header {
        let header = list.bad[0];
        expected_edges.retain(|edge| edge.0 != header);
        expected_bad.insert(0, header);
    }
    assert_eq!((&list.edges, &list.bad), (&expected_edges, &expected_bad));
}

fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b]) || bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}
