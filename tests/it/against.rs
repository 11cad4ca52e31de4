//! `verify --against` and `--against-counts`, run as their users run them: a file of another
//! system that differs in known ways, and the graph repaired to be like it.

use crate::cli::{Place, Run, finish, gzip, program, project_file, run, run_with_input};
use crate::cli::{small_edges, sorted_lines, zstd};
use crate::support::{Random, quick_dir, skipped};
use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

type Follow = (String, String);

/// The lines of standard output that tell a difference: those with tabs.
fn differences(run: &Run) -> BTreeSet<&str> {
    run.out.lines().filter(|line| line.contains('\t')).collect()
}

fn set<'a>(lines: &[&'a str]) -> BTreeSet<&'a str> {
    lines.iter().copied().collect()
}

fn last_json(run: &Run, kind: &str) -> Value {
    let mut lines = run.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.rfind(|line| line["kind"] == kind).unwrap_or_else(|| panic!("{run:#?}"))
}

fn exported(db: &Path) -> String {
    run(db, &["export"]).exits(0).out
}

fn small_place() -> Place {
    let place = Place::new();
    run_with_input(&place.db(), &["import", "-"], small_edges().as_bytes()).exits(0);
    place
}

#[test]
fn verify_shows_fingerprints_that_another_program_computed() {
    let place = small_place();
    let shown = run(&place.db(), &["verify"]).exits(0).prints("all is well");
    assert_eq!(shown.err, "", "no progress where no terminal is");
    // By the definition in docs/verify.md, with another implementation of SipHash.
    let body = run(&place.db(), &["verify", "--json"]).exits(0).json();
    assert_eq!(body["content_fingerprint"], "777b4b34c5fda134");
    assert_eq!(body["account_fingerprint"], "d66df364ce23a9da");
    assert_eq!((&body["account_count"], &body["follow_count"]), (&json!(220), &json!(2580)));
    assert!(shown.out.contains(body["fingerprint"].as_str().unwrap()), "{shown:#?}");
    let other = small_place();
    let other = run(&other.db(), &["verify", "--json"]).exits(0).json();
    assert_eq!(other["content_fingerprint"], body["content_fingerprint"]);
    assert_ne!(other["fingerprint"], body["fingerprint"]);
    let audit = &run(&place.db(), &["stats", "--json"]).exits(0).json()["audit"];
    assert_eq!(audit["following_fingerprint"], body["fingerprint"]);
    assert_eq!(audit["followers_fingerprint"], body["fingerprint"]);
    assert_eq!((&audit["followers_sum"], &audit["directions_agree"]), (&json!(2580), &json!(true)));
    run(&place.db(), &["stats"]).exits(0).prints("both directions agree");
}

#[test]
fn a_file_with_the_same_follows_is_equal_however_it_is_packed() {
    let place = small_place();
    let edges = small_edges();
    let mut lines: Vec<&str> = edges.lines().rev().collect();
    lines.push(lines[0]);
    let shuffled = format!("{}\nmalik-lab malik-lab\n\n", lines.join("\n"));
    let packings = [edges.clone().into_bytes(), gzip(edges.as_bytes()), zstd(shuffled.as_bytes())];
    for (index, packed) in packings.iter().enumerate() {
        let file = place.file(&index.to_string(), packed);
        let args = ["verify", "--times", "--against"];
        run(&place.db(), &[&args[..], &[&file]].concat()).exits(0).prints("are the same");
        run_with_input(&place.db(), &[&args[..], &["-"]].concat(), packed).exits(0);
    }
    let repeats =
        run(&place.db(), &["verify", "--json", "--against", &place.file("2", &packings[2])]);
    let found = last_json(&repeats.exits(0), "compared");
    assert_eq!((&found["duplicate_count"], &found["self_follow_count"]), (&json!(1), &json!(1)));
    assert_eq!((&found["equal"], &found["listed_follow_count"]), (&json!(true), &json!(2580)));
}

/// alice and bob follow each other, carol follows bob; dave knows nobody.
const FRIENDS_ELSEWHERE: &[u8] = b"alice bob 1000\nalice bob 5\nbob alice 2001\ncarol erin 7\n\
    frank frank\ncarol alice\n";

#[test]
fn every_difference_is_told_and_nothing_else() {
    let place = Place::with_friends();
    let before = exported(&place.db());
    let file = place.file("elsewhere", FRIENDS_ELSEWHERE);
    let against = |more: &[&str]| {
        run(&place.db(), &[&["verify", "--against", &file][..], more].concat()).exits(1)
    };
    let found = against(&[]);
    let always = [
        "missing account\terin",
        "missing account\tfrank",
        "missing follow\tcarol\terin\t7",
        "missing follow\tcarol\talice\t0",
        "extra follow\tcarol\tbob\t3000",
    ];
    assert_eq!(differences(&found), set(&always));
    assert!(found.out.contains("differences: 5"), "{found:#?}");
    assert!(found.out.contains("lonely accounts   1"), "{found:#?}");
    assert_eq!(found.err, "");
    let time = "other time\tbob\talice\t2000\tlisted 2001";
    assert_eq!(differences(&against(&["--times"])), set(&[&always[..], &[time]].concat()));
    let lonely = against(&["--lonely-accounts"]);
    assert_eq!(differences(&lonely), set(&[&always[..], &["extra account\tdave"]].concat()));
    let few = against(&["--limit", "2"]);
    assert_eq!((differences(&few).len(), few.out.contains("and 3 more")), (2, true), "{few:#?}");
    let json_lines = against(&["--json", "--times", "--limit", "3"]);
    assert_eq!(json_lines.err, "");
    let lines: Vec<Value> =
        json_lines.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    let expected = ["verified", "missing_account", "missing_account", "other_time", "compared"];
    assert_eq!(kinds, expected);
    assert_eq!(
        lines[3],
        json!({ "kind": "other_time", "from": "bob", "to": "alice", "at": 2000, "listed_at": 2001 })
    );
    assert_eq!((&lines[4]["equal"], &lines[4]["other_time_count"]), (&json!(false), &json!(1)));
    against(&["--repair", "--dry-run", "--max-removals", "100%"]).prints("--yes carries it out");
    assert_eq!(exported(&place.db()), before, "a comparison changed the graph");
}

#[test]
fn a_repair_brings_the_graph_to_the_file() {
    let place = Place::with_friends();
    let file = place.file("elsewhere", FRIENDS_ELSEWHERE);
    let repair = ["verify", "--against", &file, "--repair", "--max-removals", "100%", "--times"];
    let repaired = run(&place.db(), &repair).exits(0).prints("compared again");
    let told = differences(&repaired);
    assert!(told.contains("missing follow\tcarol\terin\t7\trepaired"), "{repaired:#?}");
    assert_eq!(told.len(), 6, "{repaired:#?}");
    let lines = exported(&place.db());
    let expected = ["alice bob 1000", "bob alice 2001", "carol alice 0", "carol erin 7"];
    assert_eq!(sorted_lines(&lines), expected);
    run(&place.db(), &["counts", "dave", "frank"]).exits(0);
    run(&place.db(), &[&repair[..], &["--lonely-accounts"]].concat()).exits(1).prints("kept");
    let removed = [&repair[..], &["--lonely-accounts", "--remove-accounts", "--json"]].concat();
    let removed = run(&place.db(), &removed).exits(0);
    assert_eq!(last_json(&removed, "repaired")["repaired_count"], 1);
    run(&place.db(), &["counts", "dave"]).exits(1);
    run(&place.db(), &["counts", "frank"]).exits(0);
    run_with_input(&place.db(), &["verify", "--against", "-", "--repair"], FRIENDS_ELSEWHERE)
        .exits(2)
        .says("give a file");
}

#[test]
fn a_file_that_cannot_be_understood_changes_nothing() {
    let place = Place::with_friends();
    let before = exported(&place.db());
    let long = format!("a {}", "b".repeat(256));
    let bad = ["only-one", "a b 1 2", "a b 99999999999", "a b\u{7}", &long];
    for line in bad {
        let file = place.file("bad", format!("x y\n{line}\ny z\n").as_bytes());
        let repair = ["verify", "--against", &file, "--repair"];
        let refused = run(&place.db(), &repair).exits(1).says("line 2").says("nothing was changed");
        assert!(!refused.err.contains("--skip-bad"), "{refused:#?}");
        assert_eq!(exported(&place.db()), before, "{line:?}");
        let skipping = run(&place.db(), &["verify", "--against", &file, "--skip-bad", "--json"]);
        let skipping = skipping.exits(1).says("line 2");
        let found = last_json(&skipping, "compared");
        assert_eq!((&found["bad_line_count"], &found["line_count"]), (&json!(1), &json!(3)));
        assert_eq!(found["listed_follow_count"], 2);
    }
    let packed = gzip(small_edges().as_bytes());
    let file = place.file("cut", &packed[..packed.len() - 20]);
    let repair = ["verify", "--against", &file, "--repair"];
    run(&place.db(), &repair).exits(1).says("cannot read");
    assert_eq!(exported(&place.db()), before, "half a file was repaired to");
    let nowhere = ["verify", "--against", &file, "--temp-dir", "/no/such/place"];
    run(&place.db(), &nowhere).exits(2).says("/no/such/place");
    run(&place.db(), &["verify", "--against", "/no/such/file"]).exits(2).says("/no/such/file");
    let without: [&[&str]; 5] = [
        &["verify", "--repair"],
        &["verify", "--times"],
        &["verify", "--lonely-accounts"],
        &["verify", "--against", &file, "--dry-run"],
        &["verify", "--against", &file, "--against-counts", &file],
    ];
    for args in without {
        run(&place.db(), args).exits(2);
    }
}

#[test]
fn a_damaged_graph_is_not_compared() {
    let place = small_place();
    let images = fs::read_dir(place.db()).unwrap().map(|entry| entry.unwrap().path());
    let image = images.filter(|path| path.extension().is_some_and(|name| name == "fgi"));
    let image = image.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&image).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(&image, bytes).unwrap();
    let file = project_file("data/small.edges");
    let args = ["verify", "--against", file.to_str().unwrap(), "--repair"];
    run(&place.db(), &args).exits(3).says("corrupt").says(".fgi");
}

/// A real graph as its files tell it, or the small one where they are not here.
struct Real {
    follows: Vec<Follow>,
    counts: String,
}

fn unpacked(path: &Path) -> String {
    let mut text = String::new();
    MultiGzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

impl Real {
    fn named(name: &str) -> Real {
        let file = |extension| project_file(&format!("../shared/data/{name}.{extension}"));
        let (edges, counts) = if file("edges.gz").exists() {
            (unpacked(&file("edges.gz")), unpacked(&file("counts.tsv.gz")))
        } else {
            skipped(&format!("{name} is not here: a small graph takes its place"));
            let counts = fs::read_to_string(project_file("data/small.counts.tsv")).unwrap();
            (small_edges(), counts)
        };
        let words = |line: &str| {
            let mut words = line.split_whitespace().map(str::to_owned);
            (words.next().unwrap(), words.next().unwrap())
        };
        let lines = edges.lines().filter(|line| !line.starts_with('#'));
        Real { follows: lines.map(words).collect(), counts }
    }
}

fn text_of<'a>(follows: impl IntoIterator<Item = &'a Follow>) -> String {
    let mut text = String::new();
    for (from, to) in follows {
        writeln!(text, "{from} {to}").unwrap();
    }
    text
}

/// The follows as another system has them after it lost some, made some up, took some twice, and
/// took an account for another; and what differs, as it must be told.
fn elsewhere(real: &Real, seed: u64) -> (Vec<Follow>, BTreeSet<String>) {
    let mut random = Random::seeded(seed);
    let mut list = real.follows.clone();
    random.shuffle(&mut list);
    let lost: Vec<Follow> = list.drain(..40).collect();
    let twice: Vec<Follow> = list[..25].to_vec();
    list.extend(twice);
    for number in 0..30 {
        let place = random.below(list.len());
        list.push((format!("new{}", number % 4), list[place].1.clone()));
    }
    for _ in 0..30 {
        let places = [0; 2].map(|_| random.below(list.len()));
        list.push((list[places[0]].0.clone(), list[places[1]].1.clone()));
    }
    let renamed = lost[0].0.clone();
    for (from, to) in &mut list {
        for end in [from, to] {
            if *end == renamed {
                "renamed".clone_into(end);
            }
        }
    }
    random.shuffle(&mut list);
    let ours: BTreeSet<&Follow> = real.follows.iter().collect();
    let theirs: BTreeSet<&Follow> = list.iter().filter(|(from, to)| from != to).collect();
    let accounts = |follows: &[Follow]| -> BTreeSet<String> {
        follows.iter().flat_map(|(from, to)| [from.clone(), to.clone()]).collect()
    };
    let (our_accounts, their_accounts) = (accounts(&real.follows), accounts(&list));
    let mut expected = BTreeSet::new();
    let follow = |kind, (from, to): &Follow| format!("{kind} follow\t{from}\t{to}\t0");
    let account = |kind, name: &String| format!("{kind} account\t{name}");
    expected.extend(theirs.difference(&ours).map(|one| follow("missing", one)));
    expected.extend(ours.difference(&theirs).map(|one| follow("extra", one)));
    expected.extend(their_accounts.difference(&our_accounts).map(|one| account("missing", one)));
    expected.extend(our_accounts.difference(&their_accounts).map(|one| account("extra", one)));
    (list, expected)
}

fn check_real(name: &str, seed: u64) {
    let real = Real::named(name);
    let (place, temporary) = (Place::new(), quick_dir());
    let edges = place.file("edges", gzip(text_of(&real.follows).as_bytes()).as_slice());
    run(&place.db(), &["import", &edges]).exits(0);
    let tight = ["--memory", "1M", "--temp-dir", temporary.path().to_str().unwrap()];
    let against = |file: &str, more: &[&str]| {
        let args = ["verify", "--limit", "100000", "--against", file];
        run(&place.db(), &[&args[..], &tight, more].concat())
    };
    against(&edges, &[]).exits(0).prints("are the same");
    let (list, expected) = elsewhere(&real, seed);
    let file = place.file("elsewhere", text_of(&list).as_bytes());
    let found = against(&file, &[]).exits(1);
    let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    assert_eq!(differences(&found), expected, "{name}");
    against(&file, &["--repair", "--remove-accounts"]).exits(0).prints("compared again");
    let fresh = Place::new();
    run(&fresh.db(), &["import", &file]).exits(0);
    let counts = |db: &Path| run(db, &["export", "--counts"]).exits(0).out;
    assert!(counts(&place.db()) == counts(&fresh.db()), "the counts of {name} after the repair");
    let content = |db: &Path| {
        let body = run(db, &["verify", "--json"]).exits(0).json();
        [body["content_fingerprint"].clone(), body["account_fingerprint"].clone()]
    };
    assert_eq!(content(&place.db()), content(&fresh.db()), "{name} after the repair");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn ego_twitter_differs_as_it_was_made_to() {
    check_real("ego-twitter", 1);
}

#[test]
fn soc_epinions1_differs_as_it_was_made_to() {
    check_real("soc-epinions1", 2);
}

fn check_counts(name: &str) {
    let real = Real::named(name);
    let place = Place::new();
    let edges = place.file("edges", text_of(&real.follows).as_bytes());
    run(&place.db(), &["import", &edges]).exits(0);
    let table = place.file("counts", &gzip(real.counts.as_bytes()));
    let args = ["verify", "--limit", "100000", "--against-counts"];
    let against = |file: &str| run(&place.db(), &[&args[..], &[file]].concat());
    against(&table).exits(0).prints("the counts are those of the table");
    // Counters that drifted, an account that is gone, and one that never was.
    let mut random = Random::seeded(5);
    let (mut lines, mut expected) = (Vec::new(), BTreeSet::new());
    let rows: Vec<&str> = real.counts.lines().filter(|line| !line.starts_with('#')).collect();
    for (number, row) in rows.iter().enumerate() {
        if number == rows.len() / 2 {
            expected.insert(format!("extra account\t{row}"));
            continue;
        }
        if !random.one_in(20) {
            lines.push((*row).to_owned());
            continue;
        }
        let mut words: Vec<String> = row.split('\t').map(str::to_owned).collect();
        let drifted = &mut words[1 + random.below(3)];
        *drifted = (drifted.parse::<u32>().unwrap() + 1).to_string();
        expected.insert(format!("other counts\t{row}\tlisted\t{}", words[1..].join("\t")));
        lines.push(words.join("\t"));
    }
    lines.push("nobody at all\t1\t2\t0".to_owned());
    expected.insert("missing account\tnobody at all\tlisted\t1\t2\t0".to_owned());
    assert!(expected.len() > 3, "hardly anything drifted");
    let found = against(&place.file("drifted", lines.join("\r\n").as_bytes())).exits(1);
    let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    assert_eq!(differences(&found), expected, "{name}");
}

#[test]
fn the_accounts_whose_counts_drifted_are_told() {
    check_counts("soc-epinions1");
    let place = Place::with_friends();
    let table = b"alice\t1\t1\t1\nbob\t2\t1\t1\ncarol\t0\t1\t0\nbob\t9\t9\t9\n";
    let args = ["verify", "--against-counts", "-"];
    run_with_input(&place.db(), &args, table).exits(0).prints("lonely").prints("duplicates");
    let lonely = [&args[..], &["--lonely-accounts", "--json"]].concat();
    let lonely = run_with_input(&place.db(), &lonely, table).exits(1);
    assert_eq!(last_json(&lonely, "extra_account")["account"], "dave");
    assert_eq!(last_json(&lonely, "compared_counts")["extra_account_count"], 1);
    for bad in [&b"alice\t1\t1\n"[..], b"alice 1 1 1\n", b"alice\t1\t1\t-1\n", b"\xff\t1\t1\t1\n"] {
        run_with_input(&place.db(), &args, bad).exits(1).says("line 1").says("--skip-bad");
        let skipping = [&args[..], &["--skip-bad"]].concat();
        run_with_input(&place.db(), &skipping, bad).exits(1).says("line 1").prints("bad lines");
    }
}

fn start(db: &Path, args: &[&str]) -> Child {
    let mut command = program();
    command.arg("--db").arg(db).args(args).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Runs a repair until it has told of the first commits, and kills it some time after that.
fn kill_at_work(db: &Path, args: &[&str], patience: Duration) {
    let mut command = program();
    command.arg("--db").arg(db).args(args).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut told, mut piece) = (Vec::new(), [0; 4096]);
    while !told.windows(10).any(|words| words == b"\trepaired\n") {
        let len = stdout.read(&mut piece).unwrap();
        if len == 0 {
            break;
        }
        told.extend_from_slice(&piece[..len]);
    }
    let rest = std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
    std::thread::sleep(patience);
    child.kill().unwrap();
    child.wait().unwrap();
    rest.join().unwrap().unwrap();
}

#[test]
fn a_repair_that_is_killed_is_finished_by_the_next() {
    const ROUND_COUNT: usize = 8;
    let place = Place::new();
    let follow = |number: u32| {
        let mixed = number.wrapping_mul(2_654_435_761);
        (format!("u{}", number % 3000), format!("u{}", 3000 + mixed % 5000))
    };
    let ours: Vec<Follow> = (0..50_000).map(follow).collect();
    let theirs: Vec<Follow> = (30_000..90_000).map(follow).collect();
    let import = place.file("ours", text_of(&ours).as_bytes());
    let file = place.file("theirs", text_of(&theirs).as_bytes());
    let repair = ["verify", "--against", &file, "--repair", "--remove-accounts"];
    let repair = [&repair[..], &["--max-removals", "100%"]].concat();
    let mut random = Random::seeded(3);
    let (db, fresh) = (place.dir.path().join("graph"), place.dir.path().join("fresh"));
    run(&db, &["import", &import]).exits(0);
    run(&fresh, &["import", &file]).exits(0);
    let expected = exported(&fresh);
    let expected = sorted_lines(&expected);
    let left = || {
        // Verified first: whole commits are there, and counts equal lists.
        let found = run(&db, &["verify", "--against", &file, "--json", "--limit", "0"]);
        let found = last_json(&found, "compared");
        let count = |kind: &str| found[kind].as_u64().unwrap();
        count("missing_follow_count") + count("extra_follow_count")
    };
    let (mut before, mut half_count) = (left(), 0);
    for round in 0..ROUND_COUNT {
        // Short beside a whole repair, also on a fast machine: most are killed before their end.
        let patience = Duration::from_micros(random.below(2000) as u64);
        kill_at_work(&db, &[&repair[..], &["--limit", "1000000"]].concat(), patience);
        let after = left();
        println!("round {round}: {before} differences before, {after} after");
        assert!(after <= before, "a repair undid what one before it had done");
        half_count += usize::from(after != 0 && after < before);
        before = after;
    }
    assert!(half_count > 2, "hardly a repair was killed at work");
    run(&db, &repair).exits(0);
    let lines = exported(&db);
    assert!(sorted_lines(&lines) == expected, "the graph differs after the kills");
    run(&db, &["verify"]).exits(0);
}

/// The most anonymous memory that a process was seen with.
fn peak_anonymous_bytes(mut child: Child) -> (u64, i32) {
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    loop {
        if let Some(ended) = child.try_wait().unwrap() {
            return (peak_kib << 10, ended.code().unwrap());
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let anonymous = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = anonymous.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak_kib = peak_kib.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_memory_of_a_comparison_is_what_was_allowed() {
    const ACCOUNT_COUNT: usize = 50_000;
    /// The program, the text on its way through the threads, and what the allocator holds back.
    const FIXED_BYTES: u64 = 24 << 20;
    const BYTES_AN_ACCOUNT: u64 = 64;
    let place = Place::new();
    let mut random = Random::seeded(9);
    let mut text = String::new();
    for line in 0..2_000_000 {
        let (from, to) = (random.below(ACCOUNT_COUNT), random.below(ACCOUNT_COUNT / 10));
        writeln!(text, "account{from} account{to} {}", 1_600_000_000 + line / 7).unwrap();
    }
    let file = place.file("edges", text.as_bytes());
    drop(text);
    run(&place.db(), &["import", &file]).exits(0);
    let compare = |memory: &str| {
        let args = ["verify", "--against", &file, "--times", "--memory", memory];
        let (peak_bytes, code) = peak_anonymous_bytes(start(&place.db(), &args));
        assert_eq!(code, 0);
        peak_bytes
    };
    let (little_bytes, plenty_bytes) = (compare("4M"), compare("1G"));
    println!("with 4M: {} KiB, with 1G: {} KiB", little_bytes >> 10, plenty_bytes >> 10);
    let bound_bytes = (4 << 20) + FIXED_BYTES + BYTES_AN_ACCOUNT * ACCOUNT_COUNT as u64;
    assert!(little_bytes <= bound_bytes, "{little_bytes} bytes, above {bound_bytes}");
    assert!(plenty_bytes > bound_bytes, "{plenty_bytes} bytes: this list says nothing");
}

#[test]
fn progress_is_a_bar_on_a_terminal() {
    let place = small_place();
    let file = project_file("data/small.edges");
    let shown = |args: &str| {
        let line = format!(
            "'{}' --db '{}' verify {args} >'{}'",
            env!("CARGO_BIN_EXE_followgraph"),
            place.db().display(),
            place.dir.path().join("out").display(),
        );
        // What the program writes to its terminal comes out of `script`.
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        command.stdin(Stdio::null()).env("TERM", "xterm");
        command
    };
    if shown("").output().is_err() {
        return skipped("progress on a terminal: there is no program `script`");
    }
    let counting = finish(&mut shown("")).exits(0);
    assert!(counting.out.contains("counting ["), "{counting:#?}");
    let comparing = finish(&mut shown(&format!("--against '{}'", file.display()))).exits(0);
    assert!(comparing.out.contains("comparing ["), "{comparing:#?}");
    assert_eq!(finish(&mut shown("--json")).exits(0).out, "", "it is for a program");
}
