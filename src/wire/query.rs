//! The query of a request: who asks, of which app.

use super::codes::{Code, Refusal};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// What every request says in its query. `random` is not looked at: clients repeat it.
#[derive(Debug)]
pub(super) struct Query<'a> {
    pub(super) sdk_app_id: u64,
    pub(super) identifier: Cow<'a, str>,
    pub(super) usersig: Cow<'a, str>,
}

impl<'a> Query<'a> {
    /// Reads `a=b&c=d`. A `+` stays one: signatures in plain base64 have it, and no client sends it
    /// for a space. Of a name that comes twice the first counts.
    pub(super) fn parse(query: &'a str) -> Result<Query<'a>, Refusal> {
        let (mut app, mut identifier, mut usersig, mut content_type) = (None, None, None, None);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let field = match name {
                "sdkappid" => &mut app,
                "identifier" => &mut identifier,
                "usersig" => &mut usersig,
                "contenttype" => &mut content_type,
                _ => continue,
            };
            field.get_or_insert(value);
        }
        let decode = |name: &str, value: Option<&'a str>| {
            let bad = |why: &str| Refusal::new(Code::BadQuery, format!("{name} {why}"));
            let value = value.filter(|value| !value.is_empty()).ok_or_else(|| bad("is missing"))?;
            percent_decode_str(value).decode_utf8().map_err(|_| bad("is not UTF-8"))
        };
        let missing = || Refusal::new(Code::MissingApp, "sdkappid is missing or no number");
        let sdk_app_id = app.and_then(|app| app.parse().ok()).ok_or_else(missing)?;
        if content_type.is_some_and(|content_type| content_type != "json") {
            return Err(Refusal::new(Code::BadQuery, "contenttype is not json"));
        }
        let identifier = decode("identifier", identifier)?;
        let usersig = decode("usersig", usersig)?;
        Ok(Query { sdk_app_id, identifier, usersig })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_plus_stays() {
        let query = "sdkappid=7&identifier=a%20b&usersig=x%2A+y_&random=1&contenttype=json";
        let query = Query::parse(query).unwrap();
        assert_eq!((query.sdk_app_id, &*query.identifier, &*query.usersig), (7, "a b", "x*+y_"));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (query, code, info) in [
            ("", Code::MissingApp, "sdkappid"),
            ("sdkappid=", Code::MissingApp, "sdkappid"),
            ("sdkappid=-1&identifier=a&usersig=b", Code::MissingApp, "sdkappid"),
            ("sdkappid=1&usersig=b", Code::BadQuery, "identifier is missing"),
            ("sdkappid=1&identifier=a&usersig=", Code::BadQuery, "usersig is missing"),
            ("sdkappid=1&identifier=%ff&usersig=b", Code::BadQuery, "identifier is not UTF-8"),
            ("sdkappid=1&identifier=a&usersig=b&contenttype=xml", Code::BadQuery, "contenttype"),
        ] {
            let refusal = Query::parse(query).unwrap_err();
            assert_eq!(refusal.code, code, "{query}");
            assert!(refusal.info.contains(info), "{}", refusal.info);
        }
    }
}
