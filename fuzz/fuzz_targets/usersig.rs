//! Any text as a ticket: refused with a code; only a ticket that was made with the key, for the
//! app and the identifier, is taken.
#![no_main]

use arbitrary::Arbitrary;
use followgraph::wire::usersig::{Key, generate, verify};
use libfuzzer_sys::fuzz_target;

const APP: u64 = 1_400_000_000;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    ticket: &'a str,
    identifier: &'a str,
    made_at: u64,
    lifetime_seconds: u64,
    now: u64,
    place: u16,
    character: char,
}

fuzz_target!(|input: Input<'_>| {
    let (keys, other) = ([Key::new("the right one")], [Key::new("another one")]);
    assert!(
        verify(input.ticket, &keys, APP, input.identifier, input.now).is_err(),
        "no key was used"
    );
    let Input { identifier, made_at, lifetime_seconds, now, .. } = input;
    let Ok(ticket) = generate(&keys[0], APP, identifier, made_at, lifetime_seconds) else {
        assert!(identifier.chars().any(char::is_control), "{identifier:?} can be signed");
        return;
    };
    assert!(!identifier.chars().any(char::is_control), "{identifier:?} cannot be signed");
    let expires_at = made_at.saturating_add(lifetime_seconds);
    let taken = verify(&ticket, &keys, APP, identifier, now);
    assert_eq!(taken.ok(), (expires_at > now).then_some(expires_at));
    assert!(verify(&ticket, &other, APP, identifier, now).is_err(), "another key");
    assert!(verify(&ticket, &keys, APP + 1, identifier, now).is_err(), "another app");
    let longer = format!("{identifier}x");
    assert!(verify(&ticket, &keys, APP, &longer, now).is_err(), "another identifier");
    let mut changed: Vec<char> = ticket.chars().collect();
    let place = usize::from(input.place) % changed.len();
    changed[place] = input.character;
    let changed: String = changed.into_iter().collect();
    // What is packed and padded can be written in more than one way; what it says cannot.
    if let Ok(found) = verify(&changed, &keys, APP, identifier, now) {
        assert_eq!(found, expires_at);
    }
});
