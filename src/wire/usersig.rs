//! `UserSig`, the ticket every request carries: who asks, of which app, until when, signed with a
//! key of the app.
//!
//! A ticket is a JSON document with an HMAC-SHA256 in it, deflated, in base64 with `*`, `-` and `_`
//! for `+`, `/` and `=` (<https://www.tencentcloud.com/document/product/1047/34385>). Published
//! generators differ in the order of the members and in how well they deflate, so a ticket is read,
//! never compared.
//!
//! What is signed is text in lines. A control character in an identifier, or a user buffer that is
//! not base64, could carry lines of its own, so that one signature would fit two documents. Such a
//! document is neither made nor taken.

use super::codes::{Code, Refusal};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::borrow::Cow;
use std::fmt;
use std::io::{Read, Write};

/// A ticket is a few hundred bytes; one that is longer than this is not looked at.
const TICKET_BYTES_MAX: usize = 2048;
/// What a ticket may inflate to. A genuine document has under 400 bytes.
const DOCUMENT_BYTES_MAX: u64 = 4096;

/// A secret key of an app: its text as the console shows it. Never shown, not even for debugging.
#[derive(Clone)]
pub struct Key(Box<str>);

impl Key {
    /// The key with this text. White space at its ends is not part of it, and neither is a byte
    /// order mark in front of it.
    pub fn new(text: &str) -> Key {
        Key(text.trim_start_matches('\u{feff}').trim().into())
    }

    fn sign(&self, content: &str) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes());
        let mut mac = mac.expect("a key of any length does");
        mac.update(content.as_bytes());
        mac
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(..)")
    }
}

/// The document inside a ticket.
#[derive(Serialize, Deserialize)]
struct Document<'a> {
    #[serde(rename = "TLS.ver", borrow)]
    version: Cow<'a, str>,
    #[serde(rename = "TLS.identifier", borrow)]
    identifier: Cow<'a, str>,
    #[serde(rename = "TLS.sdkappid")]
    sdk_app_id: u64,
    #[serde(rename = "TLS.expire")]
    lifetime_seconds: u64,
    #[serde(rename = "TLS.time")]
    made_at: u64,
    #[serde(rename = "TLS.userbuf", borrow, default, skip_serializing_if = "Option::is_none")]
    userbuf: Option<Cow<'a, str>>,
    #[serde(rename = "TLS.sig", borrow)]
    signature: Cow<'a, str>,
}

/// Reports that no `UserSig` can be made for an identifier, because it has a control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidIdentifier;

impl fmt::Display for InvalidIdentifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an identifier with a control character cannot be signed")
    }
}

impl std::error::Error for InvalidIdentifier {}

impl Document<'_> {
    /// Returns whether no other document has the same text to sign.
    fn is_unambiguous(&self) -> bool {
        let is_base64 = |userbuf: &Cow<'_, str>| STANDARD.decode(&**userbuf).is_ok();
        !self.identifier.chars().any(char::is_control) && self.userbuf.iter().all(is_base64)
    }

    /// What is signed.
    fn content(&self) -> String {
        let mut content = format!(
            "TLS.identifier:{}\nTLS.sdkappid:{}\nTLS.time:{}\nTLS.expire:{}\n",
            self.identifier, self.sdk_app_id, self.made_at, self.lifetime_seconds
        );
        if let Some(userbuf) = &self.userbuf {
            content.push_str("TLS.userbuf:");
            content.push_str(userbuf);
            content.push('\n');
        }
        content
    }
}

/// Makes a `UserSig` for an identifier.
///
/// ```
/// use followgraph::wire::usersig::{Key, generate, verify};
/// let key = Key::new("a secret");
/// let usersig = generate(&key, 1_400_000_000, "administrator", 1_700_000_000, 86_400)?;
/// let expires_at = verify(&usersig, &[key], 1_400_000_000, "administrator", 1_700_000_001);
/// assert_eq!(expires_at, Ok(1_700_086_400));
/// # Ok::<(), followgraph::wire::usersig::InvalidIdentifier>(())
/// ```
///
/// # Errors
///
/// The identifier has a control character.
#[expect(clippy::missing_panics_doc, reason = "strings, numbers and vectors never fail")]
pub fn generate(
    key: &Key,
    sdk_app_id: u64,
    identifier: &str,
    made_at: u64,
    lifetime_seconds: u64,
) -> Result<String, InvalidIdentifier> {
    let mut document = Document {
        version: "2.0".into(),
        identifier: identifier.into(),
        sdk_app_id,
        lifetime_seconds,
        made_at,
        userbuf: None,
        signature: Cow::Borrowed(""),
    };
    if !document.is_unambiguous() {
        return Err(InvalidIdentifier);
    }
    let signature = key.sign(&document.content()).finalize().into_bytes();
    document.signature = STANDARD.encode(signature).into();
    let document = serde_json::to_vec(&document).expect("strings and numbers have a JSON form");
    let mut deflated = ZlibEncoder::new(Vec::new(), Compression::best());
    deflated.write_all(&document).expect("a vector takes every byte");
    let deflated = deflated.finish().expect("a vector takes every byte");
    let to_url = |byte: char| match byte {
        '+' => '*',
        '/' => '-',
        '=' => '_',
        other => other,
    };
    Ok(STANDARD.encode(deflated).chars().map(to_url).collect())
}

/// Whether a ticket was made with one of the keys, for this app and identifier, and has not
/// expired at `now`. Gives back when it will, in Unix seconds.
///
/// Errors: [`Code::SigMalformed`], [`Code::SigOfOtherApp`], [`Code::SigOfOther`],
/// [`Code::SigWrong`], [`Code::SigExpired`], the first that applies.
#[expect(clippy::missing_errors_doc, reason = "they are above, as codes")]
pub fn verify(
    ticket: &str,
    keys: &[Key],
    sdk_app_id: u64,
    identifier: &str,
    now: u64,
) -> Result<u64, Code> {
    let document = inflate(ticket).ok_or(Code::SigMalformed)?;
    let document: Document<'_> =
        serde_json::from_slice(&document).map_err(|_| Code::SigMalformed)?;
    let signature = STANDARD.decode(&*document.signature).map_err(|_| Code::SigMalformed)?;
    if document.version != "2.0" || !document.is_unambiguous() {
        return Err(Code::SigMalformed);
    }
    if document.sdk_app_id != sdk_app_id {
        return Err(Code::SigOfOtherApp);
    }
    if document.identifier != identifier {
        return Err(Code::SigOfOther);
    }
    let content = document.content();
    // In constant time for each key, so that the time says nothing of how much of it was right.
    if !keys.iter().any(|key| key.sign(&content).verify_slice(&signature).is_ok()) {
        return Err(Code::SigWrong);
    }
    let expires_at = document.made_at.saturating_add(document.lifetime_seconds);
    if expires_at <= now { Err(Code::SigExpired) } else { Ok(expires_at) }
}

/// The document of a ticket, in either alphabet, never more of it than a genuine one may have.
fn inflate(ticket: &str) -> Option<Vec<u8>> {
    if ticket.len() > TICKET_BYTES_MAX {
        return None;
    }
    let from_url = |byte: u8| match byte {
        b'*' => b'+',
        b'-' => b'/',
        b'_' => b'=',
        other => other,
    };
    let base64: Vec<u8> = ticket.bytes().map(from_url).collect();
    let deflated = STANDARD.decode(base64).ok()?;
    let mut document = Vec::new();
    let mut inflated = ZlibDecoder::new(deflated.as_slice()).take(DOCUMENT_BYTES_MAX + 1);
    inflated.read_to_end(&mut document).ok()?;
    (document.len() as u64 <= DOCUMENT_BYTES_MAX).then_some(document)
}

/// The sentence that goes with a code of a signature.
pub(super) fn refusal(code: Code) -> Refusal {
    let info = match code {
        Code::SigExpired => "the usersig has expired",
        Code::SigWrong => "the usersig was not made with a key of this app",
        Code::SigOfOther => "the usersig is for another identifier",
        Code::SigOfOtherApp => "the usersig is for another sdkappid",
        _ => "the usersig cannot be decoded",
    };
    Refusal::new(code, info)
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: u64 = 1_400_000_000;
    const NOW: u64 = 1_700_000_000;
    /// The sample key of the published documentation.
    const KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
    /// Made by `tls-sig-api-v2` 1.1 of `PyPI` and 1.0.2 of npm, at `NOW`.
    const PYTHON: &str = concat!(
        "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkElNyM-Myi0uKEkvyi2BKilOyEwsKMlOACgxN",
        "DKAAKpdaUZBZlAqUsTAzgQuWZOaChAzN0RQXZ6aDLKn0cUzVLjcPD00NLS1MCrPM0A*JMLcoNTLMD3HP",
        "1M60jCowLDUOKMiLNDOwVaoFAD4PNPI_",
    );
    const NODE: &str = concat!(
        "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwokpuZl5mcUlRYkl*UVQBcUp2YkFBZkpSlaGJgZQ",
        "AJEpycxNVbIyNEcVTa0oyCxKVbKyMDOBCRVnpitZKVX6OKZql5uHh6aGlhYmhVlm6IdEmFuUGhnmh7hn",
        "amdaRhUYlhoHFORFmhnYKtUCAK0SM5I_",
    );

    fn check(ticket: &str, app: u64, identifier: &str, now: u64) -> Result<u64, Code> {
        verify(ticket, &[Key::new("another"), Key::new(KEY)], app, identifier, now)
    }

    #[test]
    fn tickets_of_the_published_generators_are_genuine() {
        for ticket in [PYTHON, NODE] {
            assert_eq!(check(ticket, APP, "administrator", NOW), Ok(NOW + 86_400));
            let plain: String = ticket
                .chars()
                .map(|byte| match byte {
                    '*' => '+',
                    '-' => '/',
                    '_' => '=',
                    other => other,
                })
                .collect();
            assert_eq!(check(&plain, APP, "administrator", NOW), Ok(NOW + 86_400));
        }
    }

    #[test]
    fn signatures_are_those_of_the_published_generators() {
        for (identifier, expire, userbuf, expected) in [
            ("administrator", 86_400, None, "yLAe+w7WUeUuqbV9h/TX78u21oTGi+i9Zp1u3PpnY60="),
            ("xiaojun", 15_552_000, None, "LvA7d/Iw7gSsnskvVzBDPOCCDbuNCw4GHwTC0bip+B4="),
            ("xiaojun", 86_400, Some("YWJj"), "Oab3vXglY45Pcxz+SSjhdxBWuhTAxVhxYLfvVjGhOJ0="),
        ] {
            let document = Document {
                version: "2.0".into(),
                identifier: identifier.into(),
                sdk_app_id: APP,
                lifetime_seconds: expire,
                made_at: NOW,
                userbuf: userbuf.map(Cow::Borrowed),
                signature: Cow::Borrowed(""),
            };
            let signature = Key::new(KEY).sign(&document.content()).finalize().into_bytes();
            assert_eq!(STANDARD.encode(signature), expected);
        }
    }

    #[test]
    fn each_thing_that_can_be_wrong_has_its_code() {
        let genuine = generate(&Key::new(KEY), APP, "administrator", NOW, 86_400).unwrap();
        assert_eq!(check(&genuine, APP, "administrator", NOW), Ok(NOW + 86_400));
        assert_eq!(check(&genuine, APP, "administrator", NOW + 86_399), Ok(NOW + 86_400));
        let expired = check(&genuine, APP, "administrator", NOW + 86_400);
        assert_eq!(expired, Err(Code::SigExpired));
        assert_eq!(check(&genuine, APP, "alice", NOW), Err(Code::SigOfOther));
        assert_eq!(check(&genuine, APP + 1, "administrator", NOW), Err(Code::SigOfOtherApp));
        let foreign = generate(&Key::new("foreign"), APP, "administrator", NOW, 86_400).unwrap();
        assert_eq!(check(&foreign, APP, "administrator", NOW), Err(Code::SigWrong));
        for malformed in ["", "x", "AAAA", "****", &genuine[1..], &"A".repeat(5000)] {
            let code = check(malformed, APP, "administrator", NOW);
            assert_eq!(code, Err(Code::SigMalformed), "{malformed:?}");
        }
        for cut in 0..genuine.len() {
            assert!(check(&genuine[..cut], APP, "administrator", NOW).is_err());
        }
    }

    #[test]
    fn a_ticket_that_inflates_without_end_is_malformed() {
        let mut bomb = ZlibEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![b' '; 1 << 20]).unwrap();
        let bomb = STANDARD.encode(bomb.finish().unwrap());
        assert!(bomb.len() <= TICKET_BYTES_MAX, "{} bytes are looked at", bomb.len());
        assert_eq!(check(&bomb, APP, "administrator", NOW), Err(Code::SigMalformed));
    }

    /// Packs what a document says, signed or not.
    fn pack(document: &Document<'_>) -> String {
        let mut deflated = ZlibEncoder::new(Vec::new(), Compression::best());
        deflated.write_all(&serde_json::to_vec(document).unwrap()).unwrap();
        STANDARD.encode(deflated.finish().unwrap())
    }

    fn document<'a>(identifier: &'a str, userbuf: Option<&'a str>) -> Document<'a> {
        Document {
            version: "2.0".into(),
            identifier: identifier.into(),
            sdk_app_id: APP,
            lifetime_seconds: 86_400,
            made_at: NOW,
            userbuf: userbuf.map(Cow::Borrowed),
            signature: Cow::Borrowed(""),
        }
    }

    /// A `UserSig` that has the right signature, whatever the document says.
    fn signed(mut document: Document<'_>) -> String {
        let signature = Key::new(KEY).sign(&document.content()).finalize().into_bytes();
        document.signature = STANDARD.encode(signature).into();
        pack(&document)
    }

    #[test]
    fn a_usersig_cannot_be_repacked_into_one_for_another_identifier() {
        let lines = format!(
            "administrator\nTLS.sdkappid:{APP}\nTLS.time:{NOW}\nTLS.expire:86400\nTLS.userbuf:x"
        );
        let mut original = document(&lines, None);
        let signature = Key::new(KEY).sign(&original.content()).finalize().into_bytes();
        original.signature = STANDARD.encode(signature).into();
        let rest = format!("x\nTLS.sdkappid:{APP}\nTLS.time:{NOW}\nTLS.expire:86400");
        let mut forged = document("administrator", Some(&rest));
        assert_eq!(forged.content(), original.content(), "both have the same signature");
        forged.signature.clone_from(&original.signature);
        assert_eq!(check(&pack(&forged), APP, "administrator", NOW), Err(Code::SigMalformed));
        assert_eq!(check(&pack(&original), APP, &lines, NOW), Err(Code::SigMalformed));
    }

    #[test]
    fn identifiers_with_control_characters_and_user_buffers_that_are_not_base64_are_refused() {
        for identifier in ["a\nb", "a\r", "\t", "a\u{7f}", "a\u{85}b", "\0"] {
            let usersig = signed(document(identifier, None));
            let code = check(&usersig, APP, identifier, NOW);
            assert_eq!(code, Err(Code::SigMalformed), "{identifier:?}");
        }
        for (userbuf, is_taken) in [
            ("", true),
            ("YWJj", true),
            ("YQ==", true),
            ("+/+/", true),
            ("YQ", false),
            ("YR==", false),
            ("YWJj\n", false),
            ("a\nb", false),
            ("YQ__", false),
            ("x", false),
        ] {
            let usersig = signed(document("xiaojun", Some(userbuf)));
            let verified = check(&usersig, APP, "xiaojun", NOW);
            assert_eq!(verified.is_ok(), is_taken, "{userbuf:?}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", Key::new(KEY)), "Key(..)");
    }
}
