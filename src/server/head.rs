//! Checks the head of a request: its method, and the host that it is for.

use super::connections::HEAD_BYTES_MAX;
use super::requests::{Reply, TEXT, reply};
use hyper::header::{ALLOW, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode, Version};

/// Why a head is refused.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    /// What is wrong, for the client.
    pub(super) text: &'static str,
}

impl Fault {
    fn bad_request(text: &'static str) -> Fault {
        Fault { status: StatusCode::BAD_REQUEST, text }
    }

    /// Returns the answer to the request.
    pub(super) fn reply(&self) -> Reply {
        let mut reply = reply(self.status, TEXT, format!("{}\n", self.text));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        }
        reply
    }
}

/// Returns the host that a request is for. Over HTTP/1, `CONNECT` does not come this far.
///
/// # Errors
///
/// The method is `CONNECT`, the head is too long, or the request does not name exactly one host
/// (`None` is for HTTP/1.0 and for an empty `Host`): a proxy could take it for a request to another
/// host.
pub(super) fn check<B>(request: &Request<B>) -> Result<Option<Authority>, Fault> {
    if request.method() == Method::CONNECT {
        let text = "CONNECT is not offered: this server is no proxy";
        return Err(Fault { status: StatusCode::METHOD_NOT_ALLOWED, text });
    }
    // The library compares the limit with a head that is incomplete, and so accepts a longer one
    // that arrives in one piece.
    if head_bytes(request) > HEAD_BYTES_MAX {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Fault { status, text: "the head of the request has more than 16 KiB" });
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(Fault::bad_request("the request has more than one Host"));
    }
    let target = request.uri().authority();
    let Some(host) = host else {
        let is_missing = match request.version() {
            Version::HTTP_09 | Version::HTTP_10 => false,
            Version::HTTP_11 => true,
            _ => target.is_none(),
        };
        if is_missing {
            return Err(Fault::bad_request("the request has no Host"));
        }
        return Ok(target.cloned());
    };
    if host.is_empty() && target.is_none() {
        return Ok(None);
    }
    let host = Authority::try_from(host.as_bytes())
        .ok()
        .filter(|host| !host.as_str().contains('@'))
        .ok_or(Fault::bad_request("the Host is no name or address"))?;
    if target.is_some_and(|target| *target != host) {
        return Err(Fault::bad_request("the Host is not that of the request target"));
    }
    Ok(Some(host))
}

/// Returns the length of a head as HTTP/1.1 has it, separators left out.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let fields = request.headers().iter();
    target + fields.map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_of(version: Version, method: &str, uri: &str, hosts: &[&str]) -> Result<String, u16> {
        let mut request = Request::builder().version(version).method(method).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        match check(&request.body(()).unwrap()) {
            Ok(host) => Ok(host.map(|host| host.to_string()).unwrap_or_default()),
            Err(fault) => Err(fault.status.as_u16()),
        }
    }

    #[test]
    fn a_request_is_for_exactly_one_host() {
        let (one_0, one_1, two) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        let (http, none): (_, &[&str]) = ("http://a:1/x", &[]);
        for (version, uri, hosts, expected) in [
            (one_1, "/x", &["a:1"][..], Ok("a:1")),
            (one_1, "/x", &[""], Ok("")),
            (one_1, "/x", &["[::1]:80"], Ok("[::1]:80")),
            (one_1, http, &["A:1"], Ok("A:1")),
            (one_1, "/x", none, Err(400)),
            (one_1, "/x", &["a", "a"], Err(400)),
            (one_1, "/x", &["a, b"], Err(400)),
            (one_1, "/x", &["user@a"], Err(400)),
            (one_1, http, &["b"], Err(400)),
            (one_1, http, none, Err(400)),
            (one_0, "/x", none, Ok("")),
            (one_0, "/x", &["a", "b"], Err(400)),
            (two, http, none, Ok("a:1")),
            (two, http, &["b"], Err(400)),
            (two, "/x", none, Err(400)),
        ] {
            let checked = check_of(version, "POST", uri, hosts);
            assert_eq!(checked, expected.map(str::to_owned), "{version:?} {uri} {hosts:?}");
        }
        let long = format!("/{}", "a".repeat(HEAD_BYTES_MAX));
        assert_eq!(check_of(one_1, "POST", &long, &["a"]), Err(431));
        assert_eq!(check_of(one_1, "CONNECT", "a:1", &["a:1"]), Err(405));
    }
}
