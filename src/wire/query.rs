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
            let decoded = percent_decode_str(value.unwrap_or("")).decode_utf8();
            decoded.map_err(|_| Refusal::new(Code::BadQuery, format!("{name} is not UTF-8")))
        };
        let required = |name: &str, value: Option<&'a str>| match decode(name, value) {
            Ok(value) if value.is_empty() => {
                Err(Refusal::new(Code::BadQuery, format!("{name} is missing")))
            }
            decoded => decoded,
        };
        let missing = || Refusal::new(Code::MissingApp, "sdkappid is missing or no number");
        let app = decode("sdkappid", app).map_err(|_| missing())?;
        let sdk_app_id = app.parse().map_err(|_| missing())?;
        if !["", "json"].contains(&&*decode("contenttype", content_type)?) {
            return Err(Refusal::new(Code::BadQuery, "contenttype is not json"));
        }
        let identifier = required("identifier", identifier)?;
        let usersig = required("usersig", usersig)?;
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
