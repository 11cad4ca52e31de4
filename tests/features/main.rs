//! What each build has: checked from outside, in every combination of features that this test is
//! built with. CI runs it with `cli` alone and with all features.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use toml::Table;

fn followgraph(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_followgraph"));
    program.args(arguments).env_remove("FOLLOWGRAPH_DB").output().expect("the program starts")
}

fn help_of(arguments: &[&str]) -> String {
    let output = followgraph(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

fn manifest() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    fs::read_to_string(path).expect("readable").parse().expect("a manifest is TOML")
}

/// Returns the features that a feature turns on, itself included.
fn features_of<'a>(features: &'a Table, name: &'a str, found: &mut BTreeSet<&'a str>) {
    if found.insert(name) {
        let needed = features.get(name).and_then(|needed| needed.as_array());
        for needed in needed.into_iter().flatten().filter_map(|needed| needed.as_str()) {
            features_of(features, needed, found);
        }
    }
}

#[test]
fn the_cli_does_not_pull_in_the_cluster() {
    let manifest = manifest();
    let features = manifest["features"].as_table().expect("a table");
    let mut found = BTreeSet::new();
    features_of(features, "cli", &mut found);
    assert!(found.contains("server"), "serve is part of the tool: {found:?}");
    assert!(!found.contains("cluster"), "{found:?}");
    assert!(!found.contains("dep:async-nats"), "{found:?}");
}

#[test]
fn benches_are_built_with_the_settings_of_the_dist_profile() {
    let manifest = manifest();
    let mut dist = manifest["profile"]["dist"].as_table().expect("a table").clone();
    assert_eq!(dist.remove("inherits").as_ref().and_then(|value| value.as_str()), Some("release"));
    assert_eq!(manifest["profile"]["bench"].as_table(), Some(&dist));
}

#[test]
fn a_release_build_does_without_link_time_optimisation() {
    let manifest = manifest();
    let release = manifest["profile"].get("release").and_then(|release| release.as_table());
    for setting in ["lto", "codegen-units"] {
        assert_eq!(release.and_then(|release| release.get(setting)), None, "{setting}");
    }
}

#[cfg(not(feature = "cluster"))]
mod without_cluster {
    use super::*;

    #[track_caller]
    fn check_refused(arguments: &[&str]) {
        let output = followgraph(arguments);
        let message = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("without the feature `cluster`"), "{message}");
        assert!(message.contains("--features cli,cluster"), "{message}");
    }

    #[test]
    fn the_cluster_subcommand_says_which_feature_it_needs() {
        check_refused(&["cluster"]);
        check_refused(&["cluster", "--config", "cluster.toml", "create", "n1", "--replicas", "1"]);
    }

    /// Also where no file that it names exists: other files would not help.
    #[test]
    fn serving_on_a_cluster_says_which_feature_it_needs() {
        check_refused(&["serve", "--config", "no.toml", "--cluster", "no.toml", "--node", "n1"]);
    }

    #[test]
    fn help_does_not_offer_the_cluster() {
        for help in [help_of(&["--help"]), help_of(&["serve", "--help"])] {
            assert!(!help.contains("cluster"), "{help}");
        }
    }
}

#[cfg(feature = "cluster")]
mod with_cluster {
    use super::*;

    #[test]
    fn help_offers_the_cluster() {
        assert!(help_of(&["--help"]).contains("\n  cluster "));
        assert!(help_of(&["serve", "--help"]).contains("--cluster <FILE>"));
        assert!(help_of(&["cluster", "--help"]).contains("add-node"));
    }
}
