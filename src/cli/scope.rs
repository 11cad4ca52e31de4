//! What `verify --repair` may touch: the accounts of `--only-accounts` and the limit of
//! `--max-removals`.

use super::failure::Failure;
use super::input::open_text;
use followgraph::RemovalLimit;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Reads a list of account names, one a line. Empty lines and lines that begin with `#` are left
/// out, as in an edge list.
pub(crate) fn read_names(path: &Path) -> Result<Vec<String>, Failure> {
    let (file, source) = open_text(path)?;
    let mut names = Vec::new();
    for (line, number) in BufReader::new(source).lines().zip(1..) {
        let line = line.map_err(|error| {
            Failure::input(format!("cannot read {file}, line {number}: {error}"))
        })?;
        let line = if number == 1 { line.trim_start_matches('\u{feff}') } else { &line };
        let name = line.trim_matches([' ', '\t', '\r']);
        if name.is_empty() || name.starts_with('#') {
            continue;
        }
        if name.len() > 255 || name.chars().any(char::is_control) {
            return Err(Failure::input(format!(
                "{file}, line {number}: a name is longer than 255 bytes or holds a control \
                 character; give one account name a line"
            )));
        }
        names.push(name.to_owned());
    }
    if names.is_empty() {
        return Err(Failure::input(format!("{file} names no account; give one name a line")));
    }
    Ok(names)
}

/// Parses the value of `--max-removals`: `N`, or `N%` up to `100%`.
pub(crate) fn parse_removal_limit(text: &str) -> Result<RemovalLimit, String> {
    let limit = match text.strip_suffix('%') {
        Some(percent) => {
            let percent = percent.trim_end().parse().ok().filter(|percent| *percent <= 100);
            percent.map(RemovalLimit::Percent)
        }
        None => text.parse().ok().map(RemovalLimit::Count),
    };
    limit.ok_or_else(|| "give a number of removals such as 500, or a percentage such as 5%".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_limit_is_a_number_or_a_percentage() {
        assert_eq!(parse_removal_limit("0"), Ok(RemovalLimit::Count(0)));
        assert_eq!(parse_removal_limit("500"), Ok(RemovalLimit::Count(500)));
        assert_eq!(parse_removal_limit("10%"), Ok(RemovalLimit::Percent(10)));
        assert_eq!(parse_removal_limit("100 %"), Ok(RemovalLimit::Percent(100)));
        for bad in ["", "%", "-1", "101%", "1.5%", "ten", "1%%"] {
            assert!(parse_removal_limit(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_stand_one_a_line() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("names");
        let write = |bytes: &[u8]| std::fs::write(&path, bytes).expect("it can be written");
        write(b"\xef\xbb\xbfalice\r\n\n# comment\n  Jane Doe \nzo\xc3\xab");
        let names = read_names(&path).expect("all of them are names");
        assert_eq!(names, ["alice", "Jane Doe", "zo\u{eb}"]);
        for bad in [&b""[..], b"# nothing\n", b"a\tb\n", b"a\n\xff\n"] {
            write(bad);
            assert!(read_names(&path).is_err(), "{bad:?}");
        }
    }
}
