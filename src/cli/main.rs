//! The `followgraph` command line tool.

fn main() {}
