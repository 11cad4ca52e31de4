//! Compares encodings of id sets on a graph.
//!
//! `cargo run --release --features testing --example encodings -- FILE`, where the file is an edge
//! list (`.edges.gz`: two ids a line) or pairs of little-endian `u32` (`.u32`).

use flate2::read::MultiGzDecoder;
use followgraph::testing::encodings::compare;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("give the file of a graph")?;
    let file = File::open(&path)?;
    let mut edges = if Path::new(&path).extension().is_some_and(|end| end == "gz") {
        read_lines(BufReader::new(MultiGzDecoder::new(file)))?
    } else {
        read_pairs(BufReader::with_capacity(1 << 20, file))?
    };
    edges.sort_unstable();
    edges.dedup();
    println!("{}", compare(&edges));
    Ok(())
}

fn read_lines(reader: impl BufRead) -> Result<Vec<(u32, u32)>, Box<dyn Error>> {
    let mut edges = Vec::new();
    for line in reader.lines() {
        let line = line?;
        if line.starts_with('#') {
            continue;
        }
        let mut ids = line.split_whitespace().map(str::parse);
        let (Some(from), Some(to)) = (ids.next(), ids.next()) else {
            return Err(format!("not an edge: {line:?}").into());
        };
        edges.push((from?, to?));
    }
    Ok(edges)
}

fn read_pairs(mut reader: impl Read) -> Result<Vec<(u32, u32)>, Box<dyn Error>> {
    let mut edges = Vec::new();
    let mut bytes = vec![0; 1 << 20];
    loop {
        let mut len = 0;
        while len < bytes.len() {
            let read = reader.read(&mut bytes[len..])?;
            if read == 0 {
                break;
            }
            len += read;
        }
        if len == 0 {
            return Ok(edges);
        }
        let word = |pair: &[u8], at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| pair[at + i]));
        edges.extend(bytes[..len].chunks_exact(8).map(|pair| (word(pair, 0), word(pair, 4))));
    }
}
