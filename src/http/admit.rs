//! The head of a request, judged as a whole: one method, one host, one target, one framing.
//!
//! hyper has parsed the head already and refused what is not HTTP. What it lets through and a gateway must not is
//! refused here. What hyper decides for us, and why that is safe: a request with both `Content-Length` and
//! `Transfer-Encoding` is read as chunked and its connection closed after the answer (RFC 9112, section 6.1); two
//! different `Content-Length`s are a parse error; a fragment is cut off by the `http` crate before anyone sees it, so it
//! is neither matched nor sent. Over HTTP/2 the `h2` crate has made one head of the pseudo-fields, and refused the fields of
//! HTTP/1.1 that have no meaning there (`Connection`, `Transfer-Encoding`, …; RFC 9113, section 8.2.2) and a body that is
//! not as long as `Content-Length` says.

use super::headers::has_blank_end;
use super::host::canonical_host;
use super::{Exceptions, HostError, TargetError, canonical_path, parse_host};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header};
use std::borrow::Cow;

/// What a head may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AdmitRules {
    /// Most bytes of the target.
    pub target_bytes: usize,
    /// Most bytes of all header names and values, with four for each line.
    pub head_bytes: usize,
    /// Most header lines.
    pub headers: usize,
    /// What happens to names with an underscore.
    pub underscores: UnderscoreRule,
}

/// What happens to header names with an underscore, which collide with `-` behind CGI-like upstreams
/// (Traefik CVE-2026-39858).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UnderscoreRule {
    /// 400.
    #[default]
    Refuse,
    /// The header is removed on the way up.
    Drop,
}

/// What a request asks for, in its one reading. Made by [`admit`] alone.
///
/// ```compile_fail,E0451
/// # use keygate::http::Admitted;
/// # fn f(a: Admitted) -> Admitted {
/// Admitted { method: http::Method::GET, ..a }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Admitted {
    method: Method,
    host: HeaderValue,
    /// How much of `host` is the name; the rest is the port.
    host_len: usize,
    target: PathAndQuery,
    path_len: usize,
    needs: Exceptions,
}

impl Admitted {
    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The host in lower case, without its port; an IPv6 address in brackets, in its shortest form.
    pub fn host(&self) -> &str {
        &self.authority()[..self.host_len]
    }

    /// [`Admitted::host`] with the port that the client wrote, if any.
    pub fn authority(&self) -> &str {
        std::str::from_utf8(self.host.as_bytes()).expect("parse_host accepts ASCII only")
    }

    /// [`Admitted::authority`] as a header's value.
    pub fn host_header(&self) -> &HeaderValue {
        &self.host
    }

    /// The canonical path, which the policy matches and the upstream is sent.
    pub fn path(&self) -> &str {
        &self.target.as_str()[..self.path_len]
    }

    /// The query as it came, without the `?`.
    pub fn query(&self) -> Option<&str> {
        self.target.as_str()[self.path_len..].strip_prefix('?')
    }

    /// The canonical path and the query as it came.
    pub fn path_and_query(&self) -> &PathAndQuery {
        &self.target
    }

    /// Which exceptions the matched route must allow.
    pub fn needs(&self) -> Exceptions {
        self.needs
    }

    /// A copy to keep for long: all that a policy looks at, and no query. A head shares its memory with whatever else came in
    /// the same read, the key too; this has its own.
    pub fn detached(&self) -> Admitted {
        let whole = "a part of what was one already";
        let target = match self.path() {
            "*" => PathAndQuery::from_static("*"),
            path => PathAndQuery::try_from(path).expect(whole),
        };
        Admitted {
            method: self.method.clone(),
            host: HeaderValue::from_bytes(self.host.as_bytes()).expect(whole),
            host_len: self.host_len,
            target,
            path_len: self.path_len,
            needs: self.needs,
        }
    }
}

/// Judges the head of a request.
///
/// # Errors
/// The first fault found; nothing is repaired.
pub fn admit(
    method: &Method,
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
    rules: &AdmitRules,
) -> Result<Admitted, AdmitError> {
    check_method(method)?;
    check_headers(version, headers, rules)?;
    let said = host_said(uri, version, headers)?;
    let raw_host = said.as_ref();
    let name = parse_host(raw_host.as_bytes())?;
    let canonical = canonical_host(name);
    let host_len = canonical.len();
    let host = if canonical == name {
        raw_host.clone()
    } else {
        let mut text = canonical.into_owned().into_bytes();
        text.extend_from_slice(&raw_host.as_bytes()[name.len()..]);
        HeaderValue::from_bytes(&text).map_err(|_| HostError::Malformed)?
    };
    let (target, path_len, needs) = admit_target(method, uri, raw_host, rules)?;
    Ok(Admitted {
        method: method.clone(),
        host,
        host_len,
        target,
        path_len,
        needs,
    })
}

/// Whether a method has upper case letters, `-` and `_` only: others would be a second spelling to some server.
pub fn is_spelled_as_methods_are(method: &Method) -> bool {
    let letters = method.as_str().bytes();
    letters
        .into_iter()
        .all(|b| b.is_ascii_uppercase() || matches!(b, b'-' | b'_'))
}

fn check_method(method: &Method) -> Result<(), AdmitError> {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS => Ok(()),
        Method::TRACE | Method::CONNECT => Err(AdmitError::Method),
        _ if is_spelled_as_methods_are(method) => Ok(()),
        _ => Err(AdmitError::Method),
    }
}

fn check_headers(
    version: Version,
    headers: &HeaderMap,
    rules: &AdmitRules,
) -> Result<(), AdmitError> {
    if headers.len() > rules.headers {
        return Err(AdmitError::TooManyHeaders);
    }
    let mut bytes = 0;
    for (name, value) in headers {
        let text = name.as_str();
        bytes += text.len() + value.len() + 4;
        if rules.underscores == UnderscoreRule::Refuse && text.as_bytes().contains(&b'_') {
            return Err(AdmitError::Underscore);
        }
        // The one character that the http crate takes in names of HTTP/2 and not in those of HTTP/1.1 (RFC 9110, section 5.1).
        if version == Version::HTTP_2 && text.as_bytes().contains(&b'"') {
            return Err(AdmitError::HeaderName);
        }
        // Over HTTP/1.1 hyper has taken those away; h2 leaves them to us.
        if version == Version::HTTP_2 && has_blank_end(value) {
            return Err(AdmitError::BlankEnd);
        }
    }
    if bytes > rules.head_bytes {
        return Err(AdmitError::HeadTooLarge);
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        let value = single_framing(headers, &header::TRANSFER_ENCODING)?;
        if !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(AdmitError::Framing);
        }
    }
    if headers.contains_key(header::CONTENT_LENGTH) {
        let value = single_framing(headers, &header::CONTENT_LENGTH)?;
        if value.is_empty() || !value.as_bytes().iter().all(u8::is_ascii_digit) {
            return Err(AdmitError::Framing);
        }
    }
    if headers.contains_key(header::EXPECT) {
        let mut values = headers.get_all(header::EXPECT).iter();
        let first = values.next().map(HeaderValue::as_bytes).unwrap_or_default();
        if values.next().is_some() || !first.eq_ignore_ascii_case(b"100-continue") {
            return Err(AdmitError::Expectation);
        }
    }
    Ok(())
}

/// The one host that a head names. Over HTTP/2 `:authority` stands in place of `Host` (RFC 9113, section 8.3.1); where both
/// are there, [`admit_target`] finds out whether they agree.
fn host_said<'a>(
    uri: &Uri,
    version: Version,
    headers: &'a HeaderMap,
) -> Result<Cow<'a, HeaderValue>, HostError> {
    match uri.authority() {
        Some(authority) if version == Version::HTTP_2 && !headers.contains_key(header::HOST) => {
            HeaderValue::from_str(authority.as_str())
                .map(Cow::Owned)
                .map_err(|_| HostError::Malformed)
        }
        _ => single(headers, &header::HOST).map(Cow::Borrowed),
    }
}

fn single<'a>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
) -> Result<&'a HeaderValue, HostError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().ok_or(HostError::Missing)?;
    match values.next() {
        None => Ok(first),
        Some(_) => Err(HostError::Repeated),
    }
}

fn single_framing<'a>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
) -> Result<&'a HeaderValue, AdmitError> {
    single(headers, name).map_err(|_| AdmitError::Framing)
}

fn admit_target(
    method: &Method,
    uri: &Uri,
    raw_host: &HeaderValue,
    rules: &AdmitRules,
) -> Result<(PathAndQuery, usize, Exceptions), AdmitError> {
    if let Some(authority) = uri.authority() {
        let same = authority
            .as_str()
            .as_bytes()
            .eq_ignore_ascii_case(raw_host.as_bytes());
        if !same || uri.scheme().is_none() {
            return Err(TargetError::OtherAuthority.into());
        }
    }
    let Some(target) = uri.path_and_query() else {
        return Err(TargetError::NoPath.into());
    };
    if target.as_str().len() > rules.target_bytes {
        return Err(AdmitError::TargetTooLong);
    }
    if let Some(query) = target.query()
        && !query.bytes().all(|b| matches!(b, 0x21..=0x7E))
    {
        return Err(TargetError::QueryCharacter.into());
    }
    if target.path() == "*" {
        return if *method == Method::OPTIONS && target.query().is_none() {
            Ok((target.clone(), 1, Exceptions::NONE))
        } else {
            Err(TargetError::NotOriginForm.into())
        };
    }
    let (path, needs) = canonical_path(target.path())?;
    let path_len = path.len();
    let target = match path {
        // `http://a?x` has the path `/` and no byte of it: it is written out, so that all see the same target. `http://a#x` has
        // no byte at all, and says `/` when it is asked, too, but is sent as nothing.
        Cow::Borrowed(_) if target.as_str() == "/" => PathAndQuery::from_static("/"),
        Cow::Borrowed(_) if target.as_str().starts_with('/') => target.clone(),
        path => {
            let mut text = path.into_owned();
            if let Some(query) = target.query() {
                text.push('?');
                text.push_str(query);
            }
            PathAndQuery::try_from(text).map_err(|_| TargetError::RawCharacter)?
        }
    };
    Ok((target, path_len, needs))
}

/// Why a head is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdmitError {
    #[error("the method is not one that may pass: upper case, not TRACE, not CONNECT")]
    Method,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("the target is longer than the limit")]
    TargetTooLong,
    #[error("the head has more header lines than the limit")]
    TooManyHeaders,
    #[error("the head has more bytes than the limit")]
    HeadTooLarge,
    #[error("a header name has an underscore")]
    Underscore,
    #[error("a header name has a quotation mark, which no name of HTTP/1.1 has")]
    HeaderName,
    #[error("a header value begins or ends with a blank")]
    BlankEnd,
    #[error(
        "the length of the body is not given in one way: one `Content-Length`, or `Transfer-Encoding: chunked`"
    )]
    Framing,
    #[error("the only expectation that can be met is `100-continue`")]
    Expectation,
}

impl AdmitError {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            AdmitError::TargetTooLong => StatusCode::URI_TOO_LONG,
            AdmitError::TooManyHeaders | AdmitError::HeadTooLarge => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            AdmitError::Expectation => StatusCode::EXPECTATION_FAILED,
            AdmitError::Method
            | AdmitError::Host(_)
            | AdmitError::Target(_)
            | AdmitError::Underscore
            | AdmitError::HeaderName
            | AdmitError::BlankEnd
            | AdmitError::Framing => StatusCode::BAD_REQUEST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: AdmitRules = AdmitRules {
        target_bytes: 64,
        head_bytes: 256,
        headers: 8,
        underscores: UnderscoreRule::Refuse,
    };

    fn judge(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<Admitted, AdmitError> {
        judge_as(Version::HTTP_11, method, uri, headers)
    }

    fn judge_as(
        version: Version,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> Result<Admitted, AdmitError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                header::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        admit(
            &Method::from_bytes(method.as_bytes()).unwrap(),
            &uri.parse().unwrap(),
            version,
            &map,
            &RULES,
        )
    }

    #[test]
    fn what_is_admitted_has_one_reading() {
        let a = judge("GET", "/v3/%63?q=%zz&r=;", &[("host", "API.example:80")]).unwrap();
        assert_eq!(a.path(), "/v3/c");
        assert_eq!(a.query(), Some("q=%zz&r=;"));
        assert_eq!(a.path_and_query().as_str(), "/v3/c?q=%zz&r=;");
        assert_eq!(a.host(), "api.example");
        assert_eq!(a.authority(), "api.example:80");
    }

    #[test]
    fn what_is_kept_for_long_is_all_that_a_policy_looks_at_and_no_query() {
        for (method, uri, path) in [
            ("GET", "/v3/%63?q=1", "/v3/c"),
            ("GET", "/a//b;[x]%2F%C3%A9?", "/a//b;[x]%2F%C3%A9"),
            ("PURGE", "http://api.example:80?q", "/"),
            ("OPTIONS", "*", "*"),
        ] {
            let a = judge(method, uri, &[("host", "api.example:80")]).unwrap();
            let kept = a.detached();
            assert_eq!(kept.path(), path, "{uri}");
            assert_eq!(kept.path_and_query().as_str(), path, "{uri}");
            assert_eq!(kept.query(), None, "{uri}");
            assert_eq!(
                (kept.method(), kept.host(), kept.authority(), kept.needs()),
                (a.method(), a.host(), a.authority(), a.needs()),
                "{uri}"
            );
            let own = |a: &Admitted| a.path().as_ptr();
            assert!(path.len() < 2 || own(&kept) != own(&a), "{uri}");
        }
    }

    /// Over HTTP/2 it came through, to servers of HTTP/1.1 that may read anything in such a line.
    #[test]
    fn a_name_that_only_http_2_can_write_is_refused() {
        let mut map = HeaderMap::new();
        map.append(header::HOST, HeaderValue::from_static("a"));
        let name = header::HeaderName::from_lowercase(b"x\"y").expect("a name of HTTP/2");
        map.append(name, HeaderValue::from_static("z"));
        let uri = "http://a/".parse().unwrap();
        let refused = admit(&Method::GET, &uri, Version::HTTP_2, &map, &RULES);
        assert_eq!(refused.unwrap_err(), AdmitError::HeaderName);
    }

    #[test]
    fn each_fault_of_a_head_is_refused_by_its_name() {
        let host = ("host", "a");
        let long = "x".repeat(300);
        let long_target = format!("/{}", "x".repeat(64));
        type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], AdmitError);
        let rows: &[Row<'_>] = &[
            ("get", "/", &[host], AdmitError::Method),
            ("TRACE", "/", &[host], AdmitError::Method),
            ("CONNECT", "a:80", &[host], AdmitError::Method),
            ("GET", "/", &[], HostError::Missing.into()),
            ("GET", "/", &[host, host], HostError::Repeated.into()),
            ("GET", "/", &[("host", "a,b")], HostError::Malformed.into()),
            (
                "GET",
                "http://b/",
                &[host],
                TargetError::OtherAuthority.into(),
            ),
            ("GET", "b:80", &[host], TargetError::OtherAuthority.into()),
            ("GET", "*", &[host], TargetError::NotOriginForm.into()),
            ("GET", "/a/../b", &[host], TargetError::DotSegment.into()),
            ("GET", &long_target, &[host], AdmitError::TargetTooLong),
            ("GET", "/", &[host, ("a_b", "1")], AdmitError::Underscore),
            ("GET", "/", &[host, ("a", &long)], AdmitError::HeadTooLarge),
            ("GET", "/", &[host; 9], AdmitError::TooManyHeaders),
            (
                "POST",
                "/",
                &[host, ("transfer-encoding", "gzip, chunked")],
                AdmitError::Framing,
            ),
            (
                "POST",
                "/",
                &[
                    host,
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked"),
                ],
                AdmitError::Framing,
            ),
            (
                "POST",
                "/",
                &[host, ("content-length", "1"), ("content-length", "1")],
                AdmitError::Framing,
            ),
            (
                "POST",
                "/",
                &[host, ("content-length", "+1")],
                AdmitError::Framing,
            ),
            (
                "POST",
                "/",
                &[host, ("expect", "200-ok")],
                AdmitError::Expectation,
            ),
        ];
        for (method, uri, headers, expected) in rows {
            let got = judge(method, uri, headers).map(|_| ());
            assert_eq!(got, Err(*expected), "{method} {uri} {headers:?}");
        }
    }

    #[test]
    fn forms_that_mean_the_same_are_admitted() {
        for (method, uri, path) in [
            ("OPTIONS", "*", "*"),
            ("GET", "http://a/x", "/x"),
            ("GET", "http://A/x", "/x"),
            ("PURGE", "/x", "/x"),
            ("GET", "http://a", "/"),
            ("GET", "http://a?x", "/"),
        ] {
            let admitted = judge(method, uri, &[("host", "a")]).unwrap();
            assert_eq!(admitted.path(), path, "{method} {uri}");
        }
    }

    #[test]
    fn an_absolute_target_without_a_slash_has_its_path_written_out() {
        for (uri, query, sent) in [
            ("http://a?x", Some("x"), "/?x"),
            ("http://a?", Some(""), "/?"),
            ("http://a?/b", Some("/b"), "/?/b"),
            ("http://a", None, "/"),
            ("http://a/?x", Some("x"), "/?x"),
            ("http://a#b", None, "/"),
            ("http://a#/b?c", None, "/"),
            ("http://a?x#b", Some("x"), "/?x"),
        ] {
            let admitted = judge("GET", uri, &[("host", "a")]).unwrap();
            assert_eq!(admitted.path(), "/", "{uri}");
            assert_eq!(admitted.query(), query, "{uri}");
            assert_eq!(admitted.path_and_query().as_str(), sent, "{uri}");
            // As hyper writes it: what a fragment left empty calls itself `/`, and was written as nothing.
            let written = Uri::from(admitted.path_and_query().clone());
            assert_eq!(written.to_string(), sent, "{uri}");
        }
    }

    #[test]
    fn over_http2_the_authority_is_the_host_and_must_be_the_only_one() {
        let other: AdmitError = TargetError::OtherAuthority.into();
        let malformed: AdmitError = HostError::Malformed.into();
        for (uri, host, expected) in [
            ("https://A.example:8443/x", None, Ok("a.example:8443")),
            ("https://a/x", Some("a"), Ok("a")),
            ("/x", Some("a"), Ok("a")),
            ("https://a/x", Some("b"), Err(other)),
            ("https://a/x", Some("a:443"), Err(other)),
            ("https://u@a/x", None, Err(malformed)),
            ("https://a./x", None, Err(malformed)),
            ("/x", None, Err(HostError::Missing.into())),
        ] {
            let headers: Vec<_> = host.map(|host| ("host", host)).into_iter().collect();
            let got = judge_as(Version::HTTP_2, "GET", uri, &headers);
            let got = got.as_ref().map(Admitted::authority).map_err(|e| *e);
            assert_eq!(got, expected, "{uri} {host:?}");
        }
        // Over HTTP/1.1 an absolute target does not stand in for `Host`.
        let got = judge("GET", "http://a/x", &[]).map(|_| ());
        assert_eq!(got, Err(HostError::Missing.into()));
    }

    #[test]
    fn over_http2_a_value_that_begins_or_ends_with_a_blank_is_refused() {
        for (value, expected) in [
            ("", Ok(())),
            ("a b\tc", Ok(())),
            (" a", Err(AdmitError::BlankEnd)),
            ("\ta", Err(AdmitError::BlankEnd)),
            ("a ", Err(AdmitError::BlankEnd)),
            ("a\t", Err(AdmitError::BlankEnd)),
            (" ", Err(AdmitError::BlankEnd)),
        ] {
            let got = judge_as(Version::HTTP_2, "GET", "https://a/x", &[("x", value)]);
            assert_eq!(got.map(|_| ()), expected, "{value:?}");
        }
    }

    #[test]
    fn an_ipv6_host_is_matched_and_sent_in_one_spelling() {
        for (host, name, authority) in [
            ("[::1]", "[::1]", "[::1]"),
            ("[0::1]", "[::1]", "[::1]"),
            ("[0:0::1]:8080", "[::1]", "[::1]:8080"),
            ("[2001:DB8::1]:80", "[2001:db8::1]", "[2001:db8::1]:80"),
        ] {
            for uri in ["/x".to_owned(), format!("http://{host}/x")] {
                let admitted = judge("GET", &uri, &[("host", host)]).unwrap();
                assert_eq!(admitted.host(), name, "{host} {uri}");
                assert_eq!(admitted.authority(), authority, "{host} {uri}");
            }
        }
    }
}
