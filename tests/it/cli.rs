//! The command line tool, run as its users run it: what it prints, where, and its exit codes.

use crate::support::skipped;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use followgraph::FollowGraph;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What a run of the program left: its exit code, its standard output, its standard error.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// Expects an exit code, and that there are words on standard error unless all is fine.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Run {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(!self.err.contains("panicked"), "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Run {
        assert!(self.err.contains(words), "no {words:?} in {self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn prints(self, words: &str) -> Run {
        assert!(self.out.contains(words), "no {words:?} in {self:#?}");
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_followgraph"));
    command.env_remove("FOLLOWGRAPH_DB").stdin(Stdio::null());
    command
}

pub(crate) fn finish(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().expect("a signal ended the program");
    Run { code, out: text(output.stdout), err: text(output.stderr) }
}

/// Runs a command on a graph.
pub(crate) fn run(db: &Path, args: &[&str]) -> Run {
    finish(program().arg("--db").arg(db).args(args))
}

/// Runs a command on a graph with text on its standard input.
pub(crate) fn run_with_input(db: &Path, args: &[&str], input: &[u8]) -> Run {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    finish(program().arg("--db").arg(db).args(args).stdin(file))
}

/// A directory with a graph that does not exist yet in it, and room beside it.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.dir.path().join("graph")
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The graph of three that most of these tests ask: alice and bob follow each other, carol
    /// follows bob, and dave knows nobody.
    pub(crate) fn with_friends() -> Place {
        let place = Place::new();
        let edges = b"alice bob 1000\nbob alice 2000\ncarol bob 3000\n";
        run_with_input(&place.db(), &["import", "-"], edges).exits(0);
        run(&place.db(), &["add-account", "dave"]).exits(0);
        place
    }
}

pub(crate) fn project_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub(crate) fn small_edges() -> String {
    fs::read_to_string(project_file("data/small.edges")).unwrap()
}

/// Lines without comments, sorted by their bytes.
pub(crate) fn sorted_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.sort_unstable();
    lines
}

fn small_counts() -> String {
    fs::read_to_string(project_file("data/small.counts.tsv")).unwrap()
}

#[track_caller]
fn assert_has_the_small_counts(db: &Path) {
    let counts = run(db, &["export", "--counts"]).exits(0);
    let expected: String =
        small_counts().split_inclusive('\n').filter(|line| !line.starts_with('#')).collect();
    assert_eq!(counts.out, expected, "the counts, sorted by user already");
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// An edge list too long for the least memory a sort takes, with repeats and follows of oneself.
fn many_edges() -> Vec<u8> {
    let mut text = Vec::new();
    let mut random = 1u32;
    for line in 0..120_000u32 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (from, to) = ((random >> 8) % 3_000, (random >> 20) % 700);
        let at = 1_600_000_000 + line / 3;
        writeln!(text, "u{from} u{to} {at}").unwrap();
    }
    text
}

fn has_spill_files(db: &Path) -> bool {
    let mut entries = fs::read_dir(db).unwrap();
    entries.any(|entry| entry.unwrap().file_name().to_string_lossy().contains("spill"))
}

#[test]
fn the_small_graph_has_the_counts_that_another_program_computed() {
    let place = Place::new();
    let edges = project_file("data/small.edges");
    let report = run(&place.db(), &["import", edges.to_str().unwrap()]).exits(0);
    let follow_count = small_edges().lines().count() - 1;
    assert_eq!(reported(&report, "follows"), follow_count as u64);
    assert_eq!(reported(&report, "accounts"), small_counts().lines().count() as u64 - 1);
    assert_has_the_small_counts(&place.db());
    run(&place.db(), &["verify"]).exits(0).prints("all is well");
}

/// The number that the report of an import gives for something.
#[track_caller]
fn reported(report: &Run, what: &str) -> u64 {
    let rows = report.out.lines().skip(1);
    let row = rows.map(str::trim).find_map(|row| row.strip_prefix(what));
    let row = row.unwrap_or_else(|| panic!("no {what} in {report:#?}"));
    row.split_whitespace().next().unwrap().replace(',', "").parse().unwrap()
}

/// Imports a packed graph into an empty directory and compares `export --counts`, sorted, with the
/// counts beside it, byte for byte.
fn check_real_graph(name: &str) {
    let folder = project_file("../shared/data");
    let edges = folder.join(format!("{name}.edges.gz"));
    if !edges.exists() {
        skipped(&format!(
            "{} is not here; the small graph is tested all the same",
            edges.display()
        ));
        return;
    }
    let mut counts = String::new();
    let packed = fs::File::open(folder.join(format!("{name}.counts.tsv.gz"))).unwrap();
    MultiGzDecoder::new(packed).read_to_string(&mut counts).unwrap();
    let place = Place::new();
    run(&place.db(), &["import", edges.to_str().unwrap()]).exits(0);
    let exported = run(&place.db(), &["export", "--counts"]).exits(0);
    let is_equal = sorted_lines(&exported.out) == sorted_lines(&counts);
    assert!(is_equal, "the counts of {name} differ from those computed by another program");
    run(&place.db(), &["verify"]).exits(0);
}

#[test]
fn ego_twitter_has_the_counts_that_another_program_computed() {
    check_real_graph("ego-twitter");
}

#[test]
fn soc_epinions1_has_the_counts_that_another_program_computed() {
    check_real_graph("soc-epinions1");
}

#[test]
fn an_edge_list_is_recognised_by_its_content_however_it_is_packed() {
    let edges = small_edges();
    let (front, back) = edges.split_at(edges.len() / 2);
    let two_members = [gzip(front.as_bytes()), gzip(back.as_bytes())].concat();
    let packings = [
        edges.clone().into_bytes(),
        gzip(edges.as_bytes()),
        two_members,
        zstd(edges.as_bytes()),
        edges.replace('\n', "\r\n").replace(' ', " \t").into_bytes(),
    ];
    for (index, packed) in packings.iter().enumerate() {
        let place = Place::new();
        // The name says nothing, or lies.
        let file = place.file(&format!("{index}.zst"), packed);
        run(&place.db(), &["import", &file]).exits(0);
        assert_has_the_small_counts(&place.db());
        let piped = Place::new();
        run_with_input(&piped.db(), &["import", "-"], packed).exits(0);
        assert_has_the_small_counts(&piped.db());
    }
}

#[test]
fn little_memory_gives_the_same_graph() {
    let place = Place::new();
    let file = place.file("edges", &many_edges());
    let (roomy, tight) = (place.dir.path().join("roomy"), place.dir.path().join("tight"));
    let report = run(&roomy, &["import", &file]).exits(0);
    assert!(reported(&report, "self follows") > 0);
    assert!(reported(&report, "duplicates") > 0);
    let tight_report = run(&tight, &["import", &file, "--memory", "1K"]).exits(0);
    for what in ["accounts", "follows", "self follows", "duplicates"] {
        assert_eq!(reported(&report, what), reported(&tight_report, what), "{what}");
    }
    for args in [&["export"][..], &["export", "--counts"]] {
        let (roomy, tight) = (run(&roomy, args).exits(0), run(&tight, args).exits(0));
        assert!(roomy.out == tight.out, "{args:?} differs");
    }
    assert!(!has_spill_files(&tight), "temporary files were left");
}

#[test]
fn a_line_that_makes_no_sense_stops_an_import_and_leaves_nothing() {
    let long = format!("a {}", "b".repeat(256));
    let bad = ["only-one", "a b c", "a b 1 2", "a b 99999999999", "a b\u{7}", &long];
    for line in bad {
        let place = Place::new();
        let text = format!("# comment\nx y\n{line}\ny z\n");
        let file = place.file("edges", text.as_bytes());
        run(&place.db(), &["import", &file])
            .exits(1)
            .says("line 3")
            .says("--skip-bad")
            .says("nothing was imported");
        assert!(!place.db().exists(), "a graph was left");
        let report = run(&place.db(), &["import", &file, "--skip-bad"]).exits(0);
        assert_eq!(reported(&report, "bad lines"), 1);
        assert_eq!(reported(&report, "follows"), 2);
        assert_eq!(run(&place.db(), &["export"]).exits(0).out, "x y 0\ny z 0\n");
    }
    let place = Place::new();
    run_with_input(&place.db(), &["import", "-"], b"x y\n\xff\xfe y\n").exits(1).says("line 2");
}

#[test]
fn a_bad_line_in_a_graph_that_is_not_empty_keeps_the_lines_before_it() {
    let place = Place::with_friends();
    let text = b"dave alice 5\ndave bob 6\noops\ndave carol 7\n";
    let args = ["import", "-"];
    run_with_input(&place.db(), &args, text).exits(1).says("line 3").says("lines before");
    run(&place.db(), &["check", "dave", "alice", "bob"]).exits(0);
    run(&place.db(), &["check", "dave", "carol"]).exits(1);
    let again = run_with_input(&place.db(), &["import", "-", "--skip-bad"], text).exits(0);
    assert_eq!(reported(&again, "follows"), 1);
    assert_eq!(reported(&again, "duplicates"), 2);
    assert_eq!(reported(&again, "bad lines"), 1);
}

#[test]
fn a_packed_file_without_its_end_imports_nothing() {
    for packed in [gzip(small_edges().as_bytes()), zstd(small_edges().as_bytes())] {
        let place = Place::new();
        let file = place.file("cut", &packed[..packed.len() - 20]);
        run(&place.db(), &["import", &file]).exits(1).says("cannot read").says("nothing was");
        assert!(!place.db().exists(), "a graph was left");
    }
}

#[test]
fn importing_twice_changes_nothing() {
    let place = Place::new();
    let file = project_file("data/small.edges");
    let args = ["import", file.to_str().unwrap()];
    let first = run(&place.db(), &args).exits(0);
    let exported = run(&place.db(), &["export"]).exits(0).out;
    let second = run(&place.db(), &args).exits(0);
    assert_eq!(reported(&second, "accounts"), 0);
    assert_eq!(reported(&second, "follows"), 0);
    assert_eq!(reported(&second, "duplicates"), reported(&first, "follows"));
    assert_has_the_small_counts(&place.db());
    assert_eq!(run(&place.db(), &["export"]).exits(0).out, exported);
}

#[test]
fn the_edges_come_in_through_commits_as_they_do_in_bulk() {
    let place = Place::new();
    run(&place.db(), &["add-account", "the-daily-loaf"]).exits(0);
    let text = format!("{}李娜 李娜 5\n", small_edges());
    let report = run_with_input(&place.db(), &["import", "-"], text.as_bytes()).exits(0);
    assert_eq!(reported(&report, "accounts"), small_counts().lines().count() as u64 - 2);
    assert_eq!(reported(&report, "self follows"), 1);
    assert_has_the_small_counts(&place.db());
    let stats = run(&place.db(), &["stats", "--json"]).exits(0).json();
    assert_eq!(stats["recovery"]["replayed_records"], 0, "an import ends with a checkpoint");
    assert!(stats["image_sequence"].as_u64().unwrap() > 1, "{stats}");
}

/// Every list of a graph as `list` shows it to programs.
fn all_lists(db: &Path) -> BTreeMap<String, Value> {
    let mut lists = BTreeMap::new();
    for account in ["the-daily-loaf", "malik-lab", "李娜", "city.cycling", "zoë_maps"] {
        for list_type in ["followers", "following", "mutual"] {
            let args = ["list", account, "--type", list_type, "--limit", "1000", "--json"];
            let list = run(db, &args).exits(0).json();
            assert_eq!(list["NextCursor"], "");
            assert!(!list["FollowItem"].as_array().unwrap().is_empty(), "{args:?}");
            lists.insert(format!("{account} {list_type}"), list);
        }
    }
    lists
}

#[test]
fn what_was_exported_is_imported_with_its_times_and_its_order() {
    let (first, second, third) = (Place::new(), Place::new(), Place::new());
    run_with_input(&first.db(), &["import", "-"], small_edges().as_bytes()).exits(0);
    let exported = run(&first.db(), &["export"]).exits(0).out;
    assert_eq!(sorted_lines(&exported), sorted_lines(&small_edges()));
    run_with_input(&second.db(), &["import", "-"], exported.as_bytes()).exits(0);
    // The third graph gets the same through commits, oldest and newest all mixed up.
    run(&third.db(), &["add-account", "somebody"]).exits(0);
    run_with_input(&third.db(), &["import", "-"], exported.as_bytes()).exits(0);
    let lists = all_lists(&first.db());
    for other in [&second, &third] {
        let exported_again = run(&other.db(), &["export"]).exits(0).out;
        assert_eq!(sorted_lines(&exported_again), sorted_lines(&exported));
        assert_eq!(all_lists(&other.db()), lists);
    }
}

#[test]
fn pages_make_up_the_whole_list() {
    let place = Place::new();
    run_with_input(&place.db(), &["import", "-"], small_edges().as_bytes()).exits(0);
    let list = ["list", "the-daily-loaf", "--json", "--limit"];
    let whole = run(&place.db(), &[&list[..], &["1000"]].concat()).exits(0).json();
    let whole = whole["FollowItem"].as_array().unwrap().clone();
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let args = [&list[..], &["7", "--cursor", &cursor]].concat();
        let page = run(&place.db(), &args).exits(0).json();
        pages.extend(page["FollowItem"].as_array().unwrap().iter().cloned());
        cursor = page["NextCursor"].as_str().unwrap().to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(pages, whole);
    let times: Vec<_> = whole.iter().map(|item| item["FollowTime"].as_u64().unwrap()).collect();
    assert!(times.is_sorted_by(|newer, older| newer > older), "newest first: {times:?}");
    let shown = run(&place.db(), &["list", "the-daily-loaf", "--limit", "2"]).exits(0);
    assert_eq!(shown.out.lines().count(), 3, "{shown:#?}");
    // The hint is the command that shows the next page.
    let hint = shown.err.trim().strip_prefix("next page: followgraph ").unwrap().to_owned();
    let next = finish(program().args(hint.split(' '))).exits(0);
    assert!(next.out.contains(whole[2]["To_Account"].as_str().unwrap()), "{next:#?}");
}

#[test]
fn counts_are_a_table_or_the_array_of_the_endpoint() {
    let place = Place::with_friends();
    let table = run(&place.db(), &["counts", "bob", "dave"]).exits(0);
    let expected = "ACCOUNT  FOLLOWERS  FOLLOWING  MUTUAL\n\
                    bob              2          1       1\n\
                    dave             0          0       0\n";
    assert_eq!(table.out, expected);
    run(&place.db(), &["counts", "bob", "nobody"]).exits(1).prints("unknown account");
    let args = ["counts", "--json", "-", "bob", "nobody", "\u{7}"];
    let body = run_with_input(&place.db(), &args, b"alice\r\n\ncarol\n").exits(1).json();
    let item = |name: &str, [code, followers, following, mutual]: [u32; 4], info: &str| {
        json!({
            "To_Account": name, "ResultCode": code, "ResultInfo": info,
            "FollowerCount": followers, "FollowingCount": following,
            "MutualFollowingCount": mutual,
        })
    };
    let items = body["FollowInfo"].as_array().unwrap();
    assert_eq!(items.len(), 5);
    assert_eq!(items[0], item("alice", [0, 1, 1, 1], ""));
    assert_eq!(items[1], item("carol", [0, 0, 1, 0], ""));
    assert_eq!(items[2], item("bob", [0, 2, 1, 1], ""));
    assert_eq!(items[3], item("nobody", [30_003, 0, 0, 0], "unknown account"));
    assert_eq!(items[4]["ResultCode"], 30_001);
}

#[test]
fn check_says_who_follows_whom() {
    let place = Place::with_friends();
    run(&place.db(), &["check", "alice", "bob"]).exits(0).prints("alice follows bob");
    run(&place.db(), &["check", "bob", "alice", "carol"]).exits(1).prints("does not follow carol");
    run(&place.db(), &["check", "bob", "alice", "nobody"]).exits(1).prints("unknown account");
    run(&place.db(), &["check", "nobody", "bob"]).exits(1).says("unknown account");
    let others = ["check", "bob", "alice", "carol", "dave", "nobody", "--json"];
    let body = run(&place.db(), &others).exits(1).json();
    let items = body["ResultItem"].as_array().unwrap();
    let types: Vec<_> = items.iter().map(|item| item["FollowType"].as_u64().unwrap()).collect();
    assert_eq!(types, [3, 1, 0, 0]);
    assert_eq!(items[3]["ResultCode"], 30_003);
    let from_carol = run(&place.db(), &["check", "carol", "bob", "--json"]).exits(0).json();
    let item = json!({"To_Account": "bob", "ResultCode": 0, "ResultInfo": "", "FollowType": 2});
    assert_eq!(from_carol, json!({ "ResultItem": [item] }));
}

#[test]
fn follows_are_made_and_unmade_one_by_one() {
    let place = Place::with_friends();
    let db = place.db();
    run(&db, &["follow", "dave", "alice", "bob"]).exits(0).prints("dave now follows alice");
    run(&db, &["follow", "dave", "alice"]).exits(0).prints("already");
    let mixed = run(&db, &["follow", "dave", "nobody", "carol", "dave"]).exits(1);
    let mixed = mixed.says("nobody: unknown account").says("dave: an account cannot follow");
    assert_eq!(mixed.out, "dave now follows carol\n");
    run(&db, &["check", "dave", "alice", "bob", "carol"]).exits(0);
    run(&db, &["unfollow", "dave", "alice"]).exits(0).prints("dave no longer follows alice");
    run(&db, &["unfollow", "dave", "alice"]).exits(0).prints("dave did not follow alice");
    run(&db, &["unfollow", "dave", "nobody"]).exits(1).says("unknown account");
    run(&db, &["follow", "dave", "erin", "--create", "--at", "1702262118"]).exits(0);
    let list = run(&db, &["list", "erin"]).exits(0);
    assert!(list.out.contains("dave     2023-12-11 02:35:18"), "{list:#?}");
    run(&db, &["remove-account", "bob", "nobody"]).exits(1).prints("removed bob").says("nobody");
    run(&db, &["counts", "bob"]).exits(1).prints("unknown account");
    let alice = run(&db, &["counts", "alice"]).exits(0);
    assert!(alice.out.ends_with("alice            0          0       0\n"), "{alice:#?}");
    run(&db, &["add-account", "bob", "alice"]).exits(0).prints("alice is there already");
    run(&db, &["add-account", "", "frank"]).exits(1).prints("added frank").says("invalid name");
    run(&db, &["verify"]).exits(0);
}

#[test]
fn a_graph_is_cared_for() {
    let place = Place::with_friends();
    let db = place.db();
    run(&db, &["checkpoint"]).exits(0).prints("wrote an image");
    run(&db, &["checkpoint"]).exits(0).prints("nothing new");
    let copy = place.dir.path().join("copy");
    run(&db, &["backup", copy.to_str().unwrap()]).exits(0);
    assert_eq!(run(&copy, &["export"]).exits(0).out, run(&db, &["export"]).exits(0).out);
    run(&copy, &["verify"]).exits(0).prints("4 accounts, 3 follows");
    let copy = copy.to_str().unwrap();
    run(&db, &["backup", copy]).exits(0).prints("nothing new");
    run(&db, &["follow", "carol", "alice"]).exits(0);
    run(&db, &["backup", copy, "--hold", "nightly"]).exits(0).prints("added");
    let back = place.dir.path().join("back");
    run(&db, &["restore", copy, "--list"]).exits(0).prints("covers every position from");
    let covered = run(&db, &["restore", copy, "--list", "--json"]).exits(0).json();
    let first = covered["first_sequence"].to_string();
    let args = ["restore", copy, back.to_str().unwrap(), "--to-position", &first];
    run(&db, &args).exits(0).prints("4 accounts, 3 follows");
    run(&db, &args).exits(2).says("choose an empty one");
    run(&back, &["verify"]).exits(0).prints("4 accounts, 3 follows");
    run(&db, &["unfollow", "carol", "alice"]).exits(0);
    let stats = run(&db, &["stats", "--json", "--resident"]).exits(0).json();
    assert_eq!(stats["account_count"], 4);
    assert_eq!(stats["follow_count"], 3);
    assert_eq!(stats["latched"], Value::Null);
    assert_eq!(stats["recovery"]["cut_bytes"], 0);
    assert!(stats["image_bytes"].as_u64().unwrap() >= 4 * 64);
    assert!(stats["resident"]["total_bytes"].as_u64().unwrap() > 4096);
    let shown = run(&db, &["stats"]).exits(0).prints("a follow").prints("an account");
    assert!(!shown.out.contains("resident"), "{shown:#?}");
    let bench = run(&db, &["bench", "--seconds", "0.01"]).exits(0).prints("P99.9");
    let rows: Vec<_> =
        bench.out.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(rows.ends_with(&["1", "20", "100"]), "{bench:#?}");
}

#[test]
fn asking_makes_no_graph() {
    let place = Place::new();
    let commands: [&[&str]; 11] = [
        &["counts", "a"],
        &["check", "a", "b"],
        &["list", "a"],
        &["follow", "a", "b"],
        &["unfollow", "a", "b"],
        &["remove-account", "a"],
        &["stats"],
        &["verify"],
        &["checkpoint"],
        &["export"],
        &["bench"],
    ];
    for args in commands {
        run(&place.db(), args).exits(3).says("cannot open the graph in").says("not a follow graph");
        assert!(!place.db().exists(), "{args:?} made a directory");
    }
    run(&place.db(), &["backup", place.file("x", b"").as_str()]).exits(3);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let place = Place::with_friends();
    let db = place.db();
    let commands: [&[&str]; 13] = [
        &["frobnicate"],
        &["counts"],
        &["check", "alice"],
        &["follow", "alice"],
        &["list"],
        &["list", "alice", "--type", "friends"],
        &["list", "alice", "--limit", "0"],
        &["list", "alice", "--cursor", "nonsense"],
        &["import"],
        &["import", "/no/such/file"],
        &["import", "-", "--memory", "much"],
        &["bench", "--seconds", "-1"],
        &["backup"],
    ];
    for args in commands {
        let wrong = run(&db, args).exits(2);
        assert!(!wrong.err.is_empty() && wrong.out.is_empty(), "{wrong:#?}");
    }
    finish(program().args(["stats"])).exits(2).says("--db").says("FOLLOWGRAPH_DB");
    finish(program().args(["stats"]).env("FOLLOWGRAPH_DB", &db)).exits(0);
    // Nothing that failed to be read may leave a graph behind.
    let fresh = place.dir.path().join("fresh");
    run(&fresh, &["import", "/no/such/file"]).exits(2).says("/no/such/file");
    assert!(!fresh.exists());
}

#[test]
fn every_command_has_help_with_an_example() {
    let commands = [
        "import",
        "counts",
        "check",
        "list",
        "follow",
        "unfollow",
        "add-account",
        "remove-account",
        "stats",
        "verify",
        "checkpoint",
        "backup",
        "restore",
        "export",
        "bench",
        "demo",
    ];
    let overview = finish(program().arg("--help")).exits(0);
    for command in commands {
        let help = finish(program().args([command, "--help"])).exits(0).prints("Example");
        assert!(help.out.contains(&format!("followgraph {}", example_start(command))), "{help:#?}");
        assert!(overview.out.contains(&format!("  {command} ")), "{command} is not in the help");
    }
    finish(program().arg("--version")).exits(0).prints("followgraph ");
}

/// How the example of a command begins after the name of the program.
fn example_start(command: &str) -> String {
    let needs_no_graph = ["demo", "restore"].contains(&command);
    if needs_no_graph { command.to_owned() } else { format!("--db graph {command}") }
}

#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    let place = Place::new();
    run_with_input(&place.db(), &["import", "-"], &many_edges()).exits(0);
    for args in [&["export"][..], &["export", "--counts"], &["list", "u5", "--limit", "100000"]] {
        let mut child = program();
        let child = child.arg("--db").arg(place.db()).args(args);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{args:?}");
    }
    let script = "\"$0\" --db \"$1\" export | head -1; echo done";
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", script, env!("CARGO_BIN_EXE_followgraph")]).arg(place.db());
    let piped = finish(shell).exits(0);
    assert_eq!((piped.out.lines().count(), piped.err.as_str()), (2, ""));
}

#[test]
fn a_second_process_reads_and_is_told_when_it_writes_that_the_graph_is_in_use() {
    let place = Place::with_friends();
    let graph = FollowGraph::open(place.db()).unwrap();
    for args in [&["checkpoint"][..], &["follow", "alice", "dave"], &["import", "-"]] {
        run(&place.db(), args).exits(3).says("open elsewhere").says("graph");
    }
    graph.add_account("newcomer").unwrap();
    let copy = place.dir.path().join("copy");
    for args in [
        &["counts", "newcomer"][..],
        &["check", "alice", "bob"],
        &["list", "newcomer"],
        &["stats", "--resident"],
        &["verify"],
        &["export"],
        &["backup", copy.to_str().unwrap()],
    ] {
        run(&place.db(), args).exits(0);
    }
    graph.follow("newcomer", "alice").unwrap();
    let newest = run(&place.db(), &["list", "alice", "--limit", "1"]).exits(0);
    newest.prints("newcomer");
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let place = Place::new();
    let other = place.dir.path().join("letters");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter.txt"), "dear bob").unwrap();
    for args in [&["counts", "a"][..], &["add-account", "a"], &["verify"]] {
        run(&other, args).exits(3).says("not a follow graph").says("letters");
    }
    assert_eq!(fs::read_to_string(other.join("letter.txt")).unwrap(), "dear bob");
}

/// The largest file of a graph: with as many follows as these, its image.
fn largest_image(db: &Path) -> PathBuf {
    let entries = fs::read_dir(db).unwrap().map(|entry| entry.unwrap().path());
    let is_image = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().contains("image");
    let images = entries.filter(is_image);
    images.max_by_key(|path| fs::metadata(path).unwrap().len()).expect("there is an image")
}

/// Everything the graph answers while its image holds these bytes.
fn run_whole_export(db: &Path, image: &Path, bytes: &[u8]) -> [String; 2] {
    fs::write(image, bytes).unwrap();
    [&["export"][..], &["export", "--counts"]].map(|args| run(db, args).exits(0).out)
}

#[test]
fn a_damaged_image_is_exit_code_3_with_file_and_offset() {
    let place = Place::new();
    run_with_input(&place.db(), &["import", "-"], small_edges().as_bytes()).exits(0);
    let image = largest_image(&place.db());
    let name = image.file_name().unwrap().to_str().unwrap();
    let whole = fs::read(&image).unwrap();
    // Header bytes are looked at by every command.
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    fs::write(&image, &damaged).unwrap();
    let header = run(&place.db(), &["counts", "malik-lab"]).exits(3).says("corrupt").says(name);
    assert!(header.err.contains("at byte") && header.err.contains("expected"), "{header:#?}");
    // What lies deep inside is found by verify, or it is padding and changes no answer.
    let exported = run_whole_export(&place.db(), &image, &whole);
    let mut found_count = 0;
    for sixteenth in 1..16 {
        let mut damaged = whole.clone();
        let offset_bytes = damaged.len() * sixteenth / 16;
        damaged[offset_bytes] ^= 0x10;
        fs::write(&image, &damaged).unwrap();
        let verified = run(&place.db(), &["verify"]);
        if verified.code == 0 {
            assert_eq!(run_whole_export(&place.db(), &image, &damaged), exported);
        } else {
            verified.exits(3).says(name);
            found_count += 1;
        }
    }
    assert!(found_count >= 10, "verify found only {found_count} of 15 damages");
    fs::write(&image, &whole).unwrap();
    run(&place.db(), &["verify"]).exits(0);
    assert_has_the_small_counts(&place.db());
}

#[test]
fn a_torn_end_of_the_log_is_said_by_who_reads_and_cut_by_who_writes() {
    let place = Place::new();
    run(&place.db(), &["follow", "alice", "bob", "carol", "--create"]).exits(0);
    let entries = fs::read_dir(place.db()).unwrap().map(|entry| entry.unwrap().path());
    let log = entries.filter(|path| path.extension().is_some_and(|name| name == "fgl"));
    let log = log.max().expect("there is a log");
    let mut bytes = fs::read(&log).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] ^= 1;
    fs::write(&log, &bytes).unwrap();
    for _ in 0..2 {
        let stats = run(&place.db(), &["stats", "--json"]).exits(0).says("note: passed over");
        let recovery = &stats.json()["recovery"];
        assert!(recovery["cut_bytes"].as_u64().unwrap() > 0, "{recovery}");
        assert_eq!(recovery["cut_frames"], 1);
    }
    assert_eq!(fs::read(&log).unwrap(), bytes, "asking changed the log");
    run(&place.db(), &["checkpoint"]).exits(0).says("note: cut");
    let check = run(&place.db(), &["check", "alice", "bob", "carol"]).exits(0);
    assert_eq!(check.err, "", "what was cut is gone");
}

#[test]
fn a_name_that_an_edge_list_cannot_hold_is_named() {
    let place = Place::with_friends();
    run(&place.db(), &["follow", "alice", "mary ann", "--create"]).exits(0);
    run(&place.db(), &["export"]).exits(1).says("mary ann").says("space");
    let counts = run(&place.db(), &["export", "--counts"]).exits(0);
    assert!(counts.out.contains("mary ann\t1\t0\t0\n"), "{counts:#?}");
    run(&place.db(), &["unfollow", "alice", "mary ann"]).exits(0);
    run(&place.db(), &["export"]).exits(0).says("2 accounts have no follows");
    run(&place.db(), &["follow", "#1", "alice", "--create"]).exits(0);
    run(&place.db(), &["export"]).exits(1).says("#1").says("comment");
}

#[test]
fn the_demo_shows_a_killed_process_losing_nothing() {
    let place = Place::new();
    let demo = run(&place.db(), &["demo"]).exits(0);
    let demo =
        demo.prints("220 accounts and 2,580 follows").prints("SIGKILL").prints("reopened in");
    let demo = demo.prints("counts and lists agree").prints("What to try next");
    let counted = demo.out.lines().find(|line| line.contains("every one of the"));
    let counted = counted.unwrap_or_else(|| panic!("{demo:#?}"));
    assert!(!counted.contains(" 0 follows"), "{demo:#?}");
    run(&place.db(), &["verify"]).exits(0);
    run(&place.db(), &["demo"]).exits(2).says("there already").says("--db");
    // Without a directory of its own it goes to one below the current directory, whatever graph
    // the environment names.
    let elsewhere = place.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let mut command = program();
    command.arg("demo").current_dir(&elsewhere).env("FOLLOWGRAPH_DB", place.db());
    finish(&mut command).exits(0);
    assert!(elsewhere.join("followgraph-demo").is_dir());
}
