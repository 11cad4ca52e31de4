//! The formats of edge lists, run as users run them: what `import` and `verify --against` read,
//! what they refuse, and what `export` writes.

use crate::cli::{Place, Run, gzip, run, run_with_input, zstd};
use followgraph::{FollowGraph, Mutation, Options, Page};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The follows of a graph, sorted: follower, followed, time.
fn follows(db: &Path) -> Vec<(String, String, u32)> {
    let graph = FollowGraph::open_read_only(db).unwrap();
    let mut follows = Vec::new();
    for (id, name) in graph.accounts(None, 10_000) {
        let list = graph.following_by_id(id, Page::first(10_000)).unwrap();
        follows
            .extend(list.entries.into_iter().map(|to| (name.clone(), to.account, to.followed_at)));
    }
    follows.sort_unstable();
    follows
}

fn expected(follows: &[(&str, &str, u32)]) -> Vec<(String, String, u32)> {
    let mut owned: Vec<_> =
        follows.iter().map(|&(from, to, at)| (from.to_owned(), to.to_owned(), at)).collect();
    owned.sort_unstable();
    owned
}

/// Imports a list with options and expects exactly these follows.
#[track_caller]
fn assert_imports(text: &[u8], args: &[&str], follows_expected: &[(&str, &str, u32)]) -> Run {
    let place = Place::new();
    let report = run_with_input(&place.db(), &[&["import", "-"], args].concat(), text).exits(0);
    assert_eq!(follows(&place.db()), expected(follows_expected), "{report:#?}");
    report
}

/// Imports a list with options, expects that it is refused, and that no graph is made.
#[track_caller]
fn assert_refused(text: &[u8], args: &[&str], words: &[&str]) {
    let place = Place::new();
    let mut report = run_with_input(&place.db(), &[&["import", "-"], args].concat(), text).exits(1);
    for words in words {
        report = report.says(words);
    }
    if place.db().exists() {
        assert_eq!(follows(&place.db()), [], "{report:#?}");
    }
}

const AB: (&str, &str, u32) = ("a", "b", 0);
const BC: (&str, &str, u32) = ("b", "c", 0);

#[test]
fn a_byte_order_mark_is_not_part_of_a_name() {
    assert_imports("\u{feff}alice bob 1\n".as_bytes(), &[], &[("alice", "bob", 1)]);
    assert_imports("\u{feff}alice,bob,1\n".as_bytes(), &[], &[("alice", "bob", 1)]);
    assert_imports("\u{feff}source;target\r\na;b\r\n".as_bytes(), &[], &[AB]);
    assert_imports(&gzip("\u{feff}a b\n".as_bytes()), &[], &[AB]);
    assert_imports(&zstd("\u{feff}# comment\nb c\n".as_bytes()), &[], &[BC]);
    // Two files with marks, put together.
    assert_imports("\u{feff}a b\n\u{feff}b c\n".as_bytes(), &[], &[AB, BC]);
    let place = Place::with_friends();
    let list = "\u{feff}alice bob 1000\nbob alice 2000\ncarol bob 3000\n";
    let file = place.file("list", list.as_bytes());
    run(&place.db(), &["verify", "--times", "--against", &file]).exits(0).prints("are the same");
    let counts = "\u{feff}alice\t1\t1\t1\nbob\t2\t1\t1\ncarol\t0\t1\t0\n";
    let file = place.file("counts", counts.as_bytes());
    run(&place.db(), &["verify", "--against-counts", &file]).exits(0);
    run_with_input(&place.db(), &["counts", "-"], "\u{feff}alice\r\nbob\n".as_bytes()).exits(0);
    run_with_input(&place.db(), &["check", "bob", "-"], "\u{feff}alice\n".as_bytes()).exits(0);
}

#[test]
fn a_byte_order_mark_is_not_part_of_a_key() {
    let place = Place::new();
    let usersig = |name: &str, key: &[u8]| {
        let file = place.file(name, key);
        run(&place.db(), &["usersig", "--app", "1400000000", "--key-file", &file]).exits(0).out
    };
    // A UserSig holds the time at which it was made, in seconds.
    let is_equal =
        (0..5).any(|_| usersig("plain", b"secret\n") == usersig("marked", b"\xef\xbb\xbfsecret\n"));
    assert!(is_equal, "the key with a byte order mark is another key");
}

#[test]
fn utf_16_is_refused_with_the_command_that_converts_it() {
    let text = "a b\nb c\n";
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let marked = |mark: &[u8], text: &[u8]| [mark, text].concat();
    let lists = [
        marked(b"\xff\xfe", &little),
        marked(b"\xfe\xff", &big),
        little,
        big,
        gzip(&marked(b"\xff\xfe", b"a\0 \0b\0\n\0")),
    ];
    for list in &lists {
        for args in [&[][..], &["--skip-bad"], &["--format", "csv"]] {
            assert_refused(list, args, &["UTF-16", "iconv -f UTF-16"]);
        }
    }
    let place = Place::with_friends();
    let file = place.file("counts", &lists[0]);
    run(&place.db(), &["verify", "--against-counts", &file]).exits(1).says("UTF-16");
}

#[test]
fn a_matrix_market_file_has_the_entries_that_its_size_names() {
    let banner = "%%MatrixMarket matrix coordinate pattern general\n";
    let list = |size: &str| format!("{banner}{size}\n1 2\n2 3\n");
    assert_imports(list("3 3 2").as_bytes(), &[], &[("1", "2", 0), ("2", "3", 0)]);
    assert_refused(list("3 3 4").as_bytes(), &[], &["ends before the last 2 of the entries"]);
    assert_refused(list("3 3 1").as_bytes(), &[], &["line 4", "more entries"]);
    let place = Place::new();
    run_with_input(&place.db(), &["import", "-"], b"1 2\n2 3\n1 3\n3 1\n").exits(0);
    let file = place.file("list", list("3 3 4").as_bytes());
    let options = ["verify", "--against", &file, "--repair", "--yes", "--max-removals", "100%"];
    run(&place.db(), &options).exits(1).says("ends before");
    run(&place.db(), &["check", "3", "1"]).exits(0);
}

#[test]
fn a_header_is_looked_for_once_and_never_where_a_line_has_a_time() {
    let follows = &[("alice", "bob", 5), ("1", "2", 5), ("3", "4", 5)];
    assert_imports(b"from,to,time\nalice,bob,5\n1,2,5\n3,4,5\n", &[], follows);
    assert_imports(b"alice bob 5\n1 2 5\n3 4 5\n", &[], follows);
    assert_imports(b"from to\na b\n1 2\n3 4\n", &[], &[("1", "2", 0), ("3", "4", 0), AB]);
    assert_imports(b"user,followers\nbob,alice\n", &[], &[("alice", "bob", 0)]);
    assert_imports(b"user,followed_by\nbob,alice\n", &[], &[("alice", "bob", 0)]);
}

#[test]
fn spaces_in_comments_say_nothing_about_tabs() {
    let list = format!("# hello world\n{}Jane Doe\t5\n", "a\tb\n".repeat(2000));
    assert_imports(list.as_bytes(), &[], &[AB, ("Jane Doe", "5", 0)]);
    let joined = "% asym positive\n1 2 1\n\u{feff}1 3 1\n";
    assert_imports(joined.as_bytes(), &[], &[("1", "2", 0), ("1", "3", 0)]);
}

#[test]
fn comma_semicolon_and_tab_separated_lists_are_recognized() {
    assert_imports(b"a,b\nb,c\n", &[], &[AB, BC]);
    assert_imports(b"a, b\nb, c, 5\n", &["--format", "csv", "--skip-bad"], &[AB]);
    assert_imports(b"a, b\nb, c\n", &[], &[AB, BC]);
    assert_imports(b"a; b\nb; c\n", &[], &[AB, BC]);
    assert_imports(b"a;b;5\r\nb;c;6\r\n", &[], &[("a", "b", 5), ("b", "c", 6)]);
    assert_imports(b"a,b,5\nb,c,\n", &[], &[("a", "b", 5), BC]);
    assert_imports(b"a\tb\nb\tc\n", &[], &[AB, BC]);
    let names = &[("Jane Doe", "Bob", 7), ("Bob", "O. Ne", 8)];
    assert_imports(b"Jane Doe\tBob\t7\nBob\tO. Ne\t8\n", &[], names);
    assert_imports(b"Jane Doe,Bob,7\nBob,O. Ne,8\n", &[], names);
    // Once tabs are recognized, a space is a part of a name.
    let many = format!("{}Jane Doe\t5\n", "a\tb\n".repeat(2000));
    assert_imports(many.as_bytes(), &[], &[AB, ("Jane Doe", "5", 0)]);
    let either = b"a\tb\nJane Doe\t5\n";
    assert_refused(either, &[], &["line 2", "--format space", "--format tsv"]);
    assert_imports(either, &["--format", "tsv"], &[AB, ("Jane Doe", "5", 0)]);
    let place = Place::with_friends();
    let file = place.file("list", b"alice,bob,1000\nbob,alice,2000\ncarol,bob,3000\n");
    run(&place.db(), &["verify", "--times", "--against", &file]).exits(0).prints("are the same");
}

#[test]
fn quoted_fields_hold_separators_spaces_and_quotes() {
    let list = b"\"a\",\"b\"\n\"b\",\"c, d\"\n\"say \"\"hi\"\"\",b\n\" x \",  y  \n";
    let names = &[AB, ("b", "c, d", 0), ("say \"hi\"", "b", 0), (" x ", "y", 0)];
    assert_imports(list, &[], names);
    assert_imports(b"\"a\", \"b, c\" ,\"5\"\n", &[], &[("a", "b, c", 5)]);
    assert_imports(b"\"a\tb\"\t\"c\"\na\tb\n", &["--format", "tsv", "--skip-bad"], &[AB]);
    // What follows an end of line inside of quotes is never taken for an edge.
    let hidden = b"\"evil\nmallory,bob\n\",x\na,b\n";
    assert_imports(hidden, &["--format", "csv", "--skip-bad"], &[AB]);
    assert_refused(hidden, &["--format", "csv"], &["line 1", "`\"evil`", "quote"]);
    for bad in [&b"\"a\"x,b\n"[..], b"\"a\" \"b\",c\n", b"\"a,b\n", b"a,b,5,6\n", b",b\n", b"a\n"] {
        let list = [&b"a,b\n"[..], bad].concat();
        assert_refused(&list, &["--format", "csv"], &["line 2"]);
        assert_imports(&list, &["--format", "csv", "--skip-bad"], &[AB]);
    }
}

#[test]
fn header_lines_are_recognized_and_name_the_columns() {
    for header in ["source target", "from to", "Follower Followed", "user_id follows", "FROM\tTO"] {
        assert_imports(format!("{header}\na b\n").as_bytes(), &[], &[AB]).says("header");
        let comma = header.replace([' ', '\t'], ",");
        assert_imports(format!("{comma}\na,b\n").as_bytes(), &[], &[AB]).says("header");
        let quoted = format!("\"{}\"\na;b\n", comma.replace(',', "\";\""));
        assert_imports(quoted.as_bytes(), &["--format", "csv"], &[AB]).says("header");
    }
    assert_imports(b"source target time\na b 5\n", &[], &[("a", "b", 5)]);
    assert_imports(b"from,to,created_at\na,b,5\n", &[], &[("a", "b", 5)]);
    // The names of the columns say more than their order.
    assert_imports(b"id,time,followed,follower\n1,5,b,a\n", &[], &[("a", "b", 5)]);
    assert_imports(b"user,follower\nb,a\n", &[], &[AB]);
    assert_imports(b"source,target,weight\na,b,1\n", &[], &[AB]);
    // A column nobody knows may change what a line means.
    let unknown = b"follower,followed,status\na,b,removed\n";
    assert_refused(unknown, &["--format", "csv"], &["line 1", "status"]);
    assert_refused(unknown, &[], &["line 1", "--format"]);
    // Only the first line is a header.
    assert_imports(b"a b\nsource target\n", &[], &[AB, ("source", "target", 0)]);
    assert_refused(b"benutzer,folgt\n1,2\n2,3\n", &[], &["line 1", "benutzer,folgt", "header"]);
    // An empty list with a header is an empty list.
    assert_imports(b"source,target\n", &[], &[]);
}

#[test]
fn konect_matrix_market_and_snap_lists_are_recognized() {
    let edges = &[("1", "2", 0), ("2", "3", 0)];
    assert_imports(b"% sym unweighted\n% 2 3 3\n1 2\n2 3\n", &[], edges).says("undirected");
    assert_imports(b"% asym unweighted\n1 2\n2 3\n", &[], edges);
    let timed = &[("1", "2", 1_200_000_000), ("2", "3", 1_300_000_000)];
    let konect = b"% asym positive\n% 2 3 3\n1\t2\t1\t1200000000\n2 3 1 1300000000\n";
    assert_imports(konect, &[], timed);
    assert_imports(konect, &["--format", "konect"], timed);
    assert_imports(b"1 2 1 1200000000\n2 3 1 1300000000\n", &["--format", "konect"], timed);
    // The third column of KONECT is a weight, never a time; below 0 it says the opposite.
    assert_imports(b"% asym positive\n1 2 1\n2 3 2.5\n", &[], edges);
    assert_refused(b"% asym signed\n1 2 1\n2 3 -1\n", &[], &["line 3", "weight"]);
    assert_refused(b"% bip unweighted\n1 1\n", &[], &["line 1", "bipartite"]);
    assert_imports(b"% a remark\n1 2\n2 3\n", &[], edges);
    assert_refused(b"% a remark\n1 2 7\n2 3 8\n", &[], &["line 2", "konect"]);
    let market = b"%%MatrixMarket matrix coordinate pattern general\n% remark\n3 3 2\n1 2\n2 3\n";
    assert_imports(market, &[], edges);
    assert_imports(market, &["--format", "mtx"], edges);
    let real = b"%%MatrixMarket matrix coordinate real general\n3 3 2\n1 2 0.5\n2 3 1\n";
    assert_imports(real, &[], edges);
    let symmetric = b"%%MatrixMarket matrix coordinate pattern symmetric\n3 3 2\n1 2\n2 3\n";
    assert_imports(symmetric, &[], edges).says("undirected");
    let head = "%%MatrixMarket matrix coordinate pattern general\n";
    assert_refused(format!("{head}3 4 1\n1 2\n").as_bytes(), &[], &["line 2", "square"]);
    assert_refused(format!("{head}1 2\n2 3\n").as_bytes(), &[], &["line 2", "size"]);
    assert_refused(format!("{head}3 3 1\n1 2 1\n").as_bytes(), &[], &["line 3"]);
    assert_refused(format!("{head}3 3 1\n1 4\n").as_bytes(), &[], &["line 3"]);
    assert_refused(b"%%MatrixMarket matrix array real general\n2 2\n1\n", &[], &["array"]);
    assert_refused(b"1 2\n2 3\n", &["--format", "mtx"], &["line 1", "%%MatrixMarket"]);
    let snap = b"# Directed graph: soc.txt\n# FromNodeId\tToNodeId\n1\t2\n2\t3\r\n";
    assert_imports(snap, &[], edges);
    // The two lines of which a KONECT list without its banner would be.
    assert_refused(b"a b\n% c d\n", &[], &["line 2", "`% c d`", "--format"]);
}

#[test]
fn what_is_no_edge_list_is_refused_with_its_line_and_the_guess() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n";
    assert_refused(pointer, &[], &["Git LFS", "git lfs pull"]);
    assert_refused(pointer, &["--skip-bad"], &["Git LFS"]);
    assert_refused(b"<!DOCTYPE html>\n<html lang=\"en\">\n", &["--skip-bad"], &["HTML"]);
    assert_refused(b"{\"from\": \"b\"}\n", &["--skip-bad"], &["JSON"]);
    assert_refused(b"[[\"a\", \"b\"]]\n", &[], &["JSON"]);
    let noise = b"\xb1\x7f\x02zz\n\x80\x81\n";
    assert_refused(noise, &["--skip-bad"], &["line 1", "`\\xb1\\x7f\\x02zz`", "--format"]);
    assert_refused(b"\"a\" \"b\"\n", &[], &["line 1", "`\"a\" \"b\"`", "--format"]);
    assert_refused(b"one\ntwo\nthree\n", &[], &["line 1", "`one`", "--format"]);
    // Read as two columns or as three: nothing says which.
    assert_refused(b"x y,z\nu v,w\n", &[], &["`x y,z`", "--format csv", "--format space"]);
    assert_imports(b"x y,z\n", &["--format", "space"], &[("x", "y,z", 0)]);
    assert_imports(b"x y,z\n", &["--format", "csv"], &[("x y", "z", 0)]);
    assert_imports(
        b"\"a\" b,\n%x y\n",
        &["--format", "space"],
        &[("\"a\"", "b,", 0), ("%x", "y", 0)],
    );
}

#[test]
fn packed_files_that_cannot_be_read_are_named_with_the_command_that_unpacks_them() {
    let packed: [(&[u8], &str); 7] = [
        (b"\xfd7zXZ\0\0\x04", "xz -dc"),
        (b"BZh91AY&SY\x01", "bzip2 -dc"),
        (b"PK\x03\x04\x14\0", "unzip -p"),
        (b"PAR1\x15\x04", "Parquet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "spreadsheet"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "7z"),
        (b"SQLite format 3\0\x10", "SQLite"),
    ];
    for (head, words) in packed {
        let list = [head, b"\0\x01\xff\nrest of it\n"].concat();
        for args in [&[][..], &["--skip-bad"], &["--format", "space"]] {
            assert_refused(&list, args, &[words]);
        }
        assert_refused(&gzip(&list), &["--skip-bad"], &[words]);
    }
}

#[test]
fn errors_of_bad_lines_show_the_line_and_what_to_do() {
    let list = |line: &str| format!("a b 1\n{line}\nb c 2\n");
    let hints = [
        ("a c 1714557600000", "milliseconds"),
        ("a c 1714557600000000", "microseconds"),
        ("a c 1714557600000000000", "nanoseconds"),
        ("a c 1714557600.25", "fraction"),
        ("a c 2024-05-01", "2024-05-01T10:00:00Z"),
        ("a c 2024-05-01 10:00:00", "2024-05-01T10:00:00Z"),
        ("a c 2024-05-01T10:00:00", "offset"),
        ("a c 01/05/2024", "2024-05-01T10:00:00Z"),
        ("a c 1969-05-01T10:00:00Z", "1970"),
        ("a c -5", "1970"),
        ("a, c", "--format csv"),
        ("\"a\" \"c\"", "--format"),
        ("a", "second account"),
    ];
    for (line, hint) in hints {
        assert_refused(list(line).as_bytes(), &[], &["line 2", &format!("`{line}`"), hint]);
    }
    assert_refused(b"a b\nx \x1b[2J\x00\xff\n", &[], &["line 2", "`x \\x1b[2J\\x00\\xff`"]);
    assert_refused(b"a b\nx \xe2\x80\xae y z\n", &[], &["line 2", "`x \\u{202e} y z`"]);
    let long = format!("a b\n{} {}\n", "x".repeat(300), "y".repeat(300));
    let place = Place::new();
    let failed = run_with_input(&place.db(), &["import", "-"], long.as_bytes()).exits(1);
    assert!(failed.err.contains("xxx…`") && failed.err.len() < 500, "{failed:#?}");
}

#[test]
fn times_may_be_dates_of_rfc_3339() {
    let noon = 1_714_557_600;
    assert_imports(b"a b 2024-05-01T10:00:00Z\n", &[], &[("a", "b", noon)]);
    assert_imports(b"a b 2024-05-01T12:00:00.999+02:00\n", &[], &[("a", "b", noon)]);
    assert_imports(b"a,b,2024-05-01 10:00:00Z\n", &[], &[("a", "b", noon)]);
    assert_imports(b"a,b,\"2024-05-01t06:00:00-04:00\"\n", &[], &[("a", "b", noon)]);
    assert_imports(b"a b 1970-01-01T00:00:00Z\n", &[], &[AB]);
    assert_refused(b"a b 1\na b 2106-02-07T06:28:15Z\n", &[], &["line 2", "future"]);
    assert_refused(b"a b 1\na b 2106-02-07T06:28:16Z\n", &[], &["line 2", "2106"]);
    assert_refused(b"a b 1\na b 2024-13-01T00:00:00Z\n", &[], &["line 2"]);
}

#[test]
fn skipping_every_line_is_an_error_and_makes_no_graph() {
    for (text, args) in [
        (&b"only\nalone\n"[..], &[][..]),
        (b"only\nalone\n", &["--format", "space"]),
        (b"\xff\xfe\xfd\n", &["--format", "csv"]),
        (b"# comment\n1 2 3 4 5\n", &["--format", "konect"]),
    ] {
        let place = Place::new();
        let args = [&["import", "-", "--skip-bad"], args].concat();
        let failed = run_with_input(&place.db(), &args, text).exits(1);
        failed.says("nothing was imported");
        assert!(!place.db().exists(), "a graph was made of {text:?}");
    }
    let place = Place::with_friends();
    let before = follows(&place.db());
    let args = ["import", "-", "--skip-bad", "--format", "space"];
    run_with_input(&place.db(), &args, b"only\nalone\n").exits(1).says("no line");
    let file = place.file("list", b"alice\nbob\n");
    let verify = ["verify", "--format", "space", "--skip-bad", "--against", &file];
    run(&place.db(), &verify).exits(1).says("no line");
    assert_eq!(follows(&place.db()), before);
    // A list without lines is no list of bad lines.
    assert_imports(b"", &["--skip-bad"], &[]);
    assert_imports(b"# nothing\n\n", &["--skip-bad"], &[]);
}

#[test]
fn gzip_members_may_be_followed_by_zeros_and_by_nothing_else() {
    let (one, two) = (gzip(b"a b\n"), gzip(b"b c\n"));
    let zeros = [0; 700];
    assert_imports(&[&one[..], &zeros].concat(), &[], &[AB]);
    assert_imports(&[&one[..], &two, &zeros].concat(), &[], &[AB, BC]);
    assert_imports(&[&one[..], &zeros, &two].concat(), &[], &[AB, BC]);
    assert_refused(&[&one[..], b"garbage"].concat(), &[], &["after the end of the gzip data"]);
    assert_refused(&[&one[..], &zeros, b"x"].concat(), &["--skip-bad"], &["after the end"]);
    assert_refused(&[&one[..], &two[..two.len() - 3]].concat(), &[], &["cannot read"]);
    assert_refused(&[&one[..], &two[..1]].concat(), &[], &["cannot read"]);
}

#[test]
fn a_line_of_any_length_is_one_bad_line() {
    let long = "x".repeat(700 * 1024);
    for args in [&[][..], &["--format", "space"], &["--format", "csv"], &["--format", "tsv"]] {
        let separator = match args.last() {
            Some(&"csv") => ",",
            Some(&"tsv") => "\t",
            _ => " ",
        };
        let text = format!("a b\n{long} {long}\nb c\n{long}\n{long}").replace(' ', separator);
        assert_refused(text.as_bytes(), args, &["line 2", "longer than", "`xxxx", "--skip-bad"]);
        let skipping = [args, &["--skip-bad"]].concat();
        let report = assert_imports(text.as_bytes(), &skipping, &[AB, BC]);
        report.says("line 4").says("line 5").prints("bad lines     3");
    }
    // Also as the first line, and with quotes that do not end on it.
    let text = format!("{long}\na b\nb c\n");
    assert_imports(text.as_bytes(), &["--skip-bad"], &[AB, BC]);
    let text = format!("a,b\n\"{long}\nmallory,bob\n{long}\",x\nb,c\n");
    assert_imports(text.as_bytes(), &["--format", "csv", "--skip-bad"], &[AB, BC]);
}

#[test]
fn memory_does_not_grow_with_the_length_of_a_line() {
    let place = Place::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_followgraph"));
    command.arg("--db").arg(place.db()).args(["import", "-", "--skip-bad", "--format", "csv"]);
    let mut child = command
        .env_remove("FOLLOWGRAPH_DB")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"a,b\n\"").unwrap();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..200 {
        input.write_all(&piece).unwrap();
    }
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    input.write_all(b"\",x\nb,c\n").unwrap();
    drop(input);
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(follows(&place.db()), expected(&[AB, BC]));
    assert!(peak_kib < 100 << 10, "{peak_kib} KiB for a line of 200 MiB");
}

#[test]
fn a_plain_export_that_cannot_hold_a_name_says_which_and_how_to() {
    for name in ["Jane Doe", "#hash", "%x", "\"quoted\"", "comma,", "semi;", "\u{feff}marked"] {
        let place = Place::new();
        run(&place.db(), &["follow", name, "bob", "--create"]).exits(0);
        let failed = run(&place.db(), &["export"]).exits(1).says("--format csv");
        assert!(failed.err.contains(name.trim_start_matches('\u{feff}').trim_matches('"')));
        let csv =
            run(&place.db(), &["export", "--format", "csv"]).exits(0).prints("from,to,time\n");
        let again = Place::new();
        run_with_input(&again.db(), &["import", "-"], csv.out.as_bytes()).exits(0);
        assert_eq!(follows(&again.db()), follows(&place.db()), "{name}");
    }
    // As the second of a pair, most of them do no harm.
    let place = Place::new();
    let others = ["#hash", "%x", "a,b", "a;b", "x\"y"];
    run(&place.db(), &[&["follow", "bob", "--create"], &others[..]].concat()).exits(0);
    let plain = run(&place.db(), &["export"]).exits(0).out;
    let again = Place::new();
    run_with_input(&again.db(), &["import", "-"], plain.as_bytes()).exits(0);
    assert_eq!(follows(&again.db()), follows(&place.db()));
}

#[test]
fn counts_of_names_of_any_kind_are_read_back() {
    let place = Place::new();
    for name in ["Jane Doe", "#hash", "%x", "\"quoted\"", "a\u{a0}b", "\u{feff}marked", " 1 2 3"] {
        run(&place.db(), &["follow", "--create", name, "bob"]).exits(0);
    }
    let counts = run(&place.db(), &["export", "--counts"]).exits(0).out;
    let file = place.file("counts", counts.as_bytes());
    let against = ["verify", "--lonely-accounts", "--against-counts", &file];
    run(&place.db(), &against).exits(0).prints("8 accounts");
    run(&place.db(), &["export", "--counts", "--format", "csv"]).exits(2);
}

#[test]
fn bad_lines_of_a_table_of_counts_are_shown_whatever_their_length() {
    let place = Place::with_friends();
    let table = |line: &str| format!("alice\t1\t1\t1\n{line}\nbob\t2\t1\t1\ncarol\t0\t1\t0\n");
    let args = ["verify", "--against-counts", "-"];
    let long = "x".repeat(100_000);
    for line in ["dave\t1\t\u{1b}[2J", "dave,1,1,1", &long] {
        let shown = line.replace('\t', "\\t").replace('\u{1b}', "\\x1b");
        let shown = format!("`{}", shown.chars().take(120).collect::<String>());
        let failed = run_with_input(&place.db(), &args, table(line).as_bytes()).exits(1);
        failed.says("line 2").says(&shown).says("--skip-bad");
        let skipping = [&args[..], &["--skip-bad"]].concat();
        let skipped = run_with_input(&place.db(), &skipping, table(line).as_bytes()).exits(0);
        skipped.says(&shown).prints("3 accounts").prints("bad lines");
    }
    let name = "n".repeat(255);
    run(&place.db(), &["add-account", &name]).exits(0);
    run_with_input(&place.db(), &args, table(&format!("{name}\t0\t0\t0")).as_bytes()).exits(0);
}

/// Names as people and programs make them, and anything else that may be a name.
fn any_name() -> impl Strategy<Value = String> {
    let special = prop::sample::select(vec![
        " ", ",", ";", "\"", "\"\"", "#", "%", "'", "`", "\\", "=", "\u{feff}", "\u{a0}", "0", "-",
        "from", "to", "time", "source", "null", "é", "李", "👩",
    ]);
    prop_oneof![
        prop::collection::vec(special, 1..6).prop_map(|parts| parts.concat()),
        "\\PC{1,40}",
        "[a-z0-9_]{1,8}",
    ]
    .prop_filter("a name", |name| {
        (1..=255).contains(&name.len()) && !name.chars().any(char::is_control)
    })
}

fn apply(graph: &FollowGraph, edges: &[(String, String, u32)]) {
    let edges = edges.iter().filter(|(from, to, _)| from != to);
    let mutations: Vec<_> =
        edges.map(|(from, to, at)| Mutation::follow(from, to).at(*at)).collect();
    graph.apply(&mutations).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn an_export_as_csv_is_read_back_whatever_the_names(
        edges in prop::collection::vec((any_name(), any_name(), any::<u32>()), 1..30),
    ) {
        let (first, second) = (Place::new(), Place::new());
        let graph = Options::new().create_missing_accounts(true).open(first.db()).unwrap();
        apply(&graph, &edges);
        drop(graph);
        let exported = run(&first.db(), &["export", "--format", "csv"]).exits(0).out;
        // By another reader of CSV.
        let mut reader = csv::Reader::from_reader(exported.as_bytes());
        let records: Result<Vec<(String, String, u32)>, _> = reader.deserialize().collect();
        let records: BTreeSet<_> = records.unwrap().into_iter().collect();
        let original = follows(&first.db());
        prop_assert_eq!(&records, &original.iter().cloned().collect());
        let file = second.file("list", exported.as_bytes());
        run(&second.db(), &["import", &file]).exits(0);
        prop_assert_eq!(follows(&second.db()), original);
    }

    #[test]
    fn a_plain_export_is_read_back_or_refused(
        edges in prop::collection::vec((any_name(), any_name(), any::<u32>()), 1..4),
    ) {
        let (first, second) = (Place::new(), Place::new());
        let graph = Options::new().create_missing_accounts(true).open(first.db()).unwrap();
        apply(&graph, &edges);
        drop(graph);
        let exported = run(&first.db(), &["export"]);
        if exported.code == 0 {
            let file = second.file("list", exported.out.as_bytes());
            let imported = run(&second.db(), &["import", &file]);
            if imported.code == 0 {
                prop_assert_eq!(follows(&second.db()), follows(&first.db()));
            } else {
                // Names that make it look like another format.
                imported.exits(1).says("--format space");
                run(&second.db(), &["import", "--format", "space", &file]).exits(0);
                prop_assert_eq!(follows(&second.db()), follows(&first.db()));
            }
        } else {
            exported.exits(1).says("--format csv");
        }
    }
}
