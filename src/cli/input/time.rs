//! Reads the time of a follow: Unix seconds, or a date as in RFC 3339.

use super::lines::Reason;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const NOT_A_TIME: Reason = Reason::new("the time is not a number of Unix seconds");
const DATE: Reason = NOT_A_TIME.hint("write dates as in RFC 3339: 2024-05-01T10:00:00Z");
const NO_OFFSET: Reason = NOT_A_TIME.hint(
    "a date needs its offset from UTC, and no space where columns are separated by spaces: \
     2024-05-01T10:00:00Z or 2024-05-01T12:00:00+02:00",
);
const MILLISECONDS: Reason =
    Reason::new("the time looks like milliseconds").hint("divide by 1,000: times are Unix seconds");
const MICROSECONDS: Reason = Reason::new("the time looks like microseconds")
    .hint("divide by 1,000,000: times are Unix seconds");
const NANOSECONDS: Reason = Reason::new("the time looks like nanoseconds")
    .hint("divide by 1,000,000,000: times are Unix seconds");
const FRACTION: Reason = NOT_A_TIME.hint("leave out the fraction of the second");
const BEFORE: Reason = Reason::new("the time is before 1970").hint("times begin at 0, in 1970");
const AFTER: Reason =
    Reason::new("the time is after February 2106").hint("times end at 4294967295 Unix seconds");

/// Reads a time that is there.
#[inline]
pub(super) fn parse(word: &str) -> Result<u32, Reason> {
    word.parse().or_else(|_| parse_date(word))
}

/// Whether a word begins like a date, in whatever order.
pub(super) fn looks_like_date(word: &str) -> bool {
    let is_digit = |at: usize| word.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let separator = word.find(|next: char| !next.is_ascii_digit());
    let separates = |at: usize| matches!(word.as_bytes().get(at), Some(b'-' | b'/' | b'.'));
    separator.is_some_and(|at| matches!(at, 1 | 2 | 4) && separates(at) && is_digit(at + 1))
        && word.matches(['-', '/', '.']).count() >= 2
}

#[cold]
fn parse_date(word: &str) -> Result<u32, Reason> {
    if let Ok(date) = OffsetDateTime::parse(word, &Rfc3339) {
        let seconds = date.unix_timestamp();
        return u32::try_from(seconds).map_err(|_| if seconds < 0 { BEFORE } else { AFTER });
    }
    Err(reason(word))
}

/// Returns what is wrong with a time that cannot be read.
fn reason(word: &str) -> Reason {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(word) {
        return match word.len() {
            ..=12 => AFTER,
            13 => MILLISECONDS,
            16 => MICROSECONDS,
            19 => NANOSECONDS,
            _ => NOT_A_TIME,
        };
    }
    if word.strip_prefix('-').is_some_and(is_number) {
        return BEFORE;
    }
    if word.split_once('.').is_some_and(|(whole, rest)| is_number(whole) && is_number(rest)) {
        return FRACTION;
    }
    if looks_like_date(word) {
        return if word.contains(':') { NO_OFFSET } else { DATE };
    }
    NOT_A_TIME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_cannot_be_read_says_what_it_looks_like() {
        assert_eq!(parse("1714557600"), Ok(1_714_557_600));
        assert_eq!(parse("2024-05-01T10:00:00Z"), Ok(1_714_557_600));
        assert_eq!(parse("2024-05-01T12:00:00.5+02:00"), Ok(1_714_557_600));
        let expected = [
            ("4294967296", AFTER),
            ("2200-01-01T00:00:00Z", AFTER),
            ("1714557600123", MILLISECONDS),
            ("1714557600123456", MICROSECONDS),
            ("1714557600123456789", NANOSECONDS),
            ("1714557600.5", FRACTION),
            ("-1", BEFORE),
            ("1969-12-31T23:59:59Z", BEFORE),
            ("2024-05-01", DATE),
            ("1.5.2024", DATE),
            ("05/01/2024", DATE),
            ("2024-05-01T10:00:00", NO_OFFSET),
            ("2024-05-01 10:00:00+02", NO_OFFSET),
            ("yesterday", NOT_A_TIME),
            ("", NOT_A_TIME),
        ];
        for (word, reason) in expected {
            assert_eq!(parse(word), Err(reason), "{word}");
        }
    }
}
