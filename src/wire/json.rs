//! The body of a request as JSON, and its fields with what is expected of each.
//!
//! Clients serialise in many ways, and what is accepted of them is decided here for all fields: a
//! byte order mark before the JSON, `null` for a field that is missing, an integer as `1.0`. A
//! string without escapes is borrowed from the body. An error names the field and what is expected
//! of it in the words of the endpoint.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const STRING: &str = "a string";
const STRINGS: &str = "an array of strings";
const INTEGER: &str = "an integer";

/// A JSON value, as far as a field of a request may have it.
enum Json<'a> {
    Null,
    /// A number without a fraction; one that does not fit is the nearest that does.
    Integer(i64),
    Text(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Object<'a>),
    /// What no field has: `true`, `false`, a number with a fraction.
    Other,
}

/// A JSON object whose fields are read one by one.
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

/// What is wrong with a field.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The field and what is expected of it.
    pub(super) info: String,
    /// Whether the field is to be the name of an account and is of another type: that has a code of
    /// its own.
    pub(super) is_account: bool,
}

impl Wrong {
    fn field(info: String) -> Wrong {
        Wrong { info, is_account: false }
    }

    fn expected(field: &str, expected: &str) -> Wrong {
        Wrong::field(format!("{field}: {expected} is expected"))
    }

    fn account(field: &str) -> Wrong {
        Wrong { is_account: true, ..Wrong::expected(field, STRING) }
    }

    fn missing(field: &str, expected: &str) -> Wrong {
        Wrong::field(format!("{field} is missing: {expected} is expected"))
    }
}

impl<'a> Object<'a> {
    /// Parses a body. The error says in which way it is not a JSON object.
    pub(super) fn parse(body: &'a [u8]) -> Result<Object<'a>, String> {
        let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        match serde_json::from_slice(text) {
            Ok(Json::Object(object)) => Ok(object),
            Ok(_) => Err("the body is not a JSON object".to_owned()),
            Err(error) if error.is_eof() => {
                Err("the body is not a JSON object: it ends too early".to_owned())
            }
            Err(error) => {
                let number = body.len() - text.len() + byte_number(text, &error);
                Err(format!("the body is not a JSON object: see its byte {number}"))
            }
        }
    }

    /// Takes a field out. `null` counts as missing.
    fn take(&mut self, field: &str) -> Result<Option<Json<'a>>, Wrong> {
        let Some(place) = self.0.iter().position(|(name, _)| name == field) else {
            return Ok(None);
        };
        let (_, value) = self.0.swap_remove(place);
        if self.0.iter().any(|(name, _)| name == field) {
            return Err(Wrong::field(format!("{field} comes twice")));
        }
        Ok(Some(value).filter(|value| !matches!(value, Json::Null)))
    }

    /// Takes the name of an account out.
    pub(super) fn account(&mut self, field: &str) -> Result<Cow<'a, str>, Wrong> {
        self.optional_account(field)?.ok_or_else(|| Wrong::missing(field, STRING))
    }

    fn optional_account(&mut self, field: &str) -> Result<Option<Cow<'a, str>>, Wrong> {
        self.take(field)?.map(|value| value.into_account(|| field.to_owned())).transpose()
    }

    /// Takes the name of an account out of `UserID`, or of `Identifier`, as older clients call it.
    pub(super) fn user(&mut self) -> Result<Cow<'a, str>, Wrong> {
        match (self.optional_account("UserID")?, self.optional_account("Identifier")?) {
            (Some(new), Some(old)) if new != old => {
                Err(Wrong::field("UserID and Identifier name different accounts".to_owned()))
            }
            (Some(account), _) | (None, Some(account)) => Ok(account),
            (None, None) => Err(Wrong::missing("UserID", STRING)),
        }
    }

    /// Takes an array of names of accounts out.
    pub(super) fn accounts(&mut self, field: &str) -> Result<Option<Vec<Cow<'a, str>>>, Wrong> {
        let Some(value) = self.take(field)? else { return Ok(None) };
        let Json::Array(elements) = value else { return Err(Wrong::expected(field, STRINGS)) };
        let account = |(index, element): (usize, Json<'a>)| {
            element.into_account(|| format!("{field}[{index}]"))
        };
        elements.into_iter().enumerate().map(account).collect::<Result<_, _>>().map(Some)
    }

    /// Takes an array of objects out, each of which has an account that `read` takes out of it.
    /// `member` is the name of the field in which it is.
    pub(super) fn objects(
        &mut self,
        field: &str,
        member: &str,
        read: impl Fn(&mut Object<'a>) -> Result<Cow<'a, str>, Wrong>,
    ) -> Result<Option<Vec<Cow<'a, str>>>, Wrong> {
        let Some(value) = self.take(field)? else { return Ok(None) };
        let Json::Array(elements) = value else {
            return Err(Wrong::expected(field, &array_of_objects(member)));
        };
        let account = |(index, element): (usize, Json<'a>)| {
            let place = || format!("{field}[{index}]");
            let Json::Object(mut object) = element else {
                return Err(Wrong::expected(&place(), &format!("an object with {member}")));
            };
            let within =
                |wrong: Wrong| Wrong { info: format!("{}.{}", place(), wrong.info), ..wrong };
            read(&mut object).map_err(within)
        };
        elements.into_iter().enumerate().map(account).collect::<Result<_, _>>().map(Some)
    }

    /// Takes an optional string out.
    pub(super) fn text(&mut self, field: &str) -> Result<Option<Cow<'a, str>>, Wrong> {
        match self.take(field)? {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Wrong::expected(field, STRING)),
        }
    }

    /// Takes an optional integer out.
    pub(super) fn optional_integer(&mut self, field: &str) -> Result<Option<i64>, Wrong> {
        match self.take(field)? {
            None => Ok(None),
            Some(Json::Integer(number)) => Ok(Some(number)),
            Some(_) => Err(Wrong::expected(field, INTEGER)),
        }
    }

    /// Takes an integer out.
    pub(super) fn integer(&mut self, field: &str) -> Result<i64, Wrong> {
        self.optional_integer(field)?.ok_or_else(|| Wrong::missing(field, INTEGER))
    }
}

/// The error of a request that has no array of names in `field`.
pub(super) fn no_accounts(field: &str) -> Wrong {
    Wrong::missing(field, STRINGS)
}

/// The error of a request that has no array of objects with `member` in `field`.
pub(super) fn no_objects(field: &str, member: &str) -> Wrong {
    Wrong::missing(field, &array_of_objects(member))
}

fn array_of_objects(member: &str) -> String {
    format!("an array of objects with {member}")
}

/// The number of the byte at which parsing failed, counted from 1.
fn byte_number(text: &[u8], error: &serde_json::Error) -> usize {
    let lines_before = error.line().saturating_sub(1);
    let before: usize =
        text.split_inclusive(|byte| *byte == b'\n').take(lines_before).map(<[u8]>::len).sum();
    before + error.column()
}

impl<'a> Json<'a> {
    fn into_account(self, place: impl FnOnce() -> String) -> Result<Cow<'a, str>, Wrong> {
        match self {
            Json::Text(name) => Ok(name),
            _ => Err(Wrong::account(&place())),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json<'a>, D::Error> {
        deserializer.deserialize_any(AnyJson)
    }
}

struct AnyJson;

impl<'de> Visitor<'de> for AnyJson {
    type Value = Json<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json<'de>, E> {
        Ok(Json::Integer(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(Json::Integer(number.try_into().unwrap_or(i64::MAX)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json<'de>, E> {
        // The cast takes the nearest integer there is.
        let is_whole = number.trunc().total_cmp(&number).is_eq();
        Ok(if is_whole { Json::Integer(number as i64) } else { Json::Other })
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json<'de>, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element()? {
            array.push(element);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        let mut object = Vec::new();
        while let Some((name, value)) = members.next_entry::<Json<'de>, Json<'de>>()? {
            let Json::Text(name) = name else { return Err(A::Error::custom("a name is no text")) };
            object.push((name, value));
        }
        Ok(Json::Object(Object(object)))
    }
}
