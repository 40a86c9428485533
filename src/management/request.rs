//! From a call of the gateway to what is asked for: everything that can be wrong with a request is found here, before
//! anything is done.

use super::command;
use super::error::ManagementError;
use super::faults::Faults;
use super::query;
use super::{Call, ContentType, Settings};
use crate::key::{Digester, KeyChange, KeySelector, ListQuery, NewKey};
use crate::policy::ManagementOp;

/// One of the five operations, read whole.
pub enum Request {
    Create(NewKey),
    List(ListQuery),
    Get(KeySelector),
    Update(KeySelector, KeyChange),
    Delete(KeySelector),
}

impl Request {
    /// Reads a call.
    ///
    /// # Errors
    /// [`ManagementError::Invalid`] with all that is wrong with the body or the query; [`ManagementError::KeyNotFound`]
    /// when the path names something that no key can be.
    pub fn read(
        call: &Call<'_>,
        settings: &Settings,
        digester: &Digester,
    ) -> Result<Self, ManagementError> {
        let scopes = &settings.authority.scopes;
        Ok(match call.op {
            ManagementOp::Create => {
                json_or_unsaid(call.content_type)?;
                let default = settings.default_scope.as_ref();
                let key = command::create(&call.body, scopes, default, call.now);
                Request::Create(key.map_err(ManagementError::Invalid)?)
            }
            ManagementOp::List => {
                let list = query::list(call.query, scopes);
                Request::List(list.map_err(ManagementError::Invalid)?)
            }
            ManagementOp::Get => Request::Get(selector(call, digester)?),
            ManagementOp::Update => {
                json_or_unsaid(call.content_type)?;
                let change = command::update(&call.body, scopes, call.now);
                let change = change.map_err(ManagementError::Invalid)?;
                Request::Update(selector(call, digester)?, change)
            }
            ManagementOp::Delete => Request::Delete(selector(call, digester)?),
        })
    }
}

/// The key that the path names, by its text or its id.
fn selector(call: &Call<'_>, digester: &Digester) -> Result<KeySelector, ManagementError> {
    let segment = call.selector.unwrap_or_default();
    match query::percent_decoded(segment) {
        Some(text) => Ok(KeySelector::parse(&text, digester)),
        None => Err(ManagementError::KeyNotFound {
            shown: crate::key::mask(segment),
        }),
    }
}

/// A body is JSON if nothing is said of it, or `application/json`, with any parameters (RFC 9110, section 8.3.1).
fn json_or_unsaid(content_type: ContentType<'_>) -> Result<(), ManagementError> {
    let json = match content_type {
        ContentType::Absent => true,
        ContentType::One(value) => value
            .split(|byte| *byte == b';')
            .next()
            .is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"application/json")),
        ContentType::Several => false,
    };
    if json {
        Ok(())
    } else {
        Err(ManagementError::Invalid(Faults::one(
            "Content-Type",
            "The Content-Type header must be application/json.",
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::key::{Authority, Reveal, ScopeName, Scopes};
    use bytes::Bytes;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use zeroize::Zeroizing;

    fn settings() -> Settings {
        let full = ScopeName::parse("fullAccess").unwrap();
        let scopes = Scopes::new(&BTreeMap::from([(full.clone(), vec![])])).unwrap();
        Settings {
            authority: Arc::new(Authority {
                scopes,
                management: full,
            }),
            default_scope: None,
            reveal: Reveal::Always,
        }
    }

    fn digester() -> Digester {
        Digester::new(Zeroizing::new([7; 32]))
    }

    fn call(op: ManagementOp) -> Call<'static> {
        Call {
            op,
            selector: Some("abcdefghij0123456789"),
            query: None,
            content_type: ContentType::Absent,
            body: Bytes::new(),
            actor: "zzzzzzzzzz0123456789".parse().unwrap(),
            client: None,
            request_id: "r",
            now: Timestamp::from_unix_seconds(1_700_000_000),
        }
    }

    fn read(call: &Call<'_>) -> Result<Request, ManagementError> {
        Request::read(call, &settings(), &digester())
    }

    fn faulty_field(call: &Call<'_>) -> String {
        let Err(ManagementError::Invalid(faults)) = read(call) else {
            panic!("a faulty request expected");
        };
        let field = faults.iter().next().map(|(field, _)| field.to_owned());
        field.expect("some field")
    }

    #[test]
    fn a_body_may_be_called_json_or_nothing_at_all() {
        for (kind, fine) in [
            (ContentType::Absent, true),
            (ContentType::One(b"application/json"), true),
            (ContentType::One(b"Application/JSON"), true),
            (ContentType::One(b"application/json; charset=utf-8"), true),
            (ContentType::One(b"application/json;charset=\xff"), true),
            (ContentType::One(b" application/json ;"), true),
            (ContentType::One(b""), false),
            (ContentType::One(b"application/jsonp"), false),
            (ContentType::One(b"application/problem+json"), false),
            (ContentType::One(b"application/json, text/plain"), false),
            (ContentType::One(b"text/plain; application/json"), false),
            (
                ContentType::One(b"application/x-www-form-urlencoded"),
                false,
            ),
            (ContentType::Several, false),
        ] {
            for op in [ManagementOp::Create, ManagementOp::Update] {
                let call = Call {
                    content_type: kind,
                    body: Bytes::from_static(br#"{"name":"x","scope":"fullAccess"}"#),
                    ..call(op)
                };
                if fine {
                    assert!(read(&call).is_ok(), "{op:?} {kind:?}");
                } else {
                    assert_eq!(faulty_field(&call), "Content-Type", "{op:?} {kind:?}");
                }
            }
        }
    }

    #[test]
    fn what_get_list_and_delete_carry_is_not_read() {
        for op in [ManagementOp::Get, ManagementOp::List, ManagementOp::Delete] {
            for body in [&b"[]"[..], b"{\"name\":", b"\xff"] {
                let call = Call {
                    content_type: ContentType::Several,
                    body: Bytes::from_static(body),
                    ..call(op)
                };
                assert!(read(&call).is_ok(), "{op:?} {}", body.escape_ascii());
            }
        }
    }

    #[test]
    fn only_a_list_reads_the_query() {
        for op in [ManagementOp::Get, ManagementOp::Delete] {
            let call = Call {
                query: Some("page=0&page=0"),
                ..call(op)
            };
            assert!(read(&call).is_ok(), "{op:?}");
        }
        let call = Call {
            query: Some("page=0"),
            ..call(ManagementOp::List)
        };
        assert_eq!(faulty_field(&call), "page");
    }

    #[test]
    fn the_key_of_the_path_is_decoded_once_and_blanks_stay_plus() {
        let digest = |text: &str| digester().digest(text.as_bytes());
        for (segment, text) in [
            ("abcdefghij0123456789", "abcdefghij0123456789"),
            (
                "a%23b%3fc+%22%2B%40@aaaaaaaaaaaa",
                "a#b?c+\"+@@aaaaaaaaaaaa",
            ),
            ("%F0%9F%94%91", "\u{1f511}"),
            ("%2523", "%23"),
        ] {
            let call = Call {
                selector: Some(segment),
                ..call(ManagementOp::Get)
            };
            let Ok(Request::Get(selector)) = read(&call) else {
                panic!("{segment}");
            };
            assert!(selector.digest == digest(text), "{segment}");
        }
        let call = Call {
            selector: Some("%ff%ff%ff%ff%ff%ff%ff"),
            ..call(ManagementOp::Delete)
        };
        let Err(ManagementError::KeyNotFound { shown }) = read(&call) else {
            panic!("bytes that are no text name no key");
        };
        assert_eq!(shown, "%ff%f***********ff%ff");
    }

    #[test]
    fn a_faulty_body_is_told_before_an_unknown_key() {
        let call = Call {
            selector: Some("%ff"),
            body: Bytes::from_static(b"{\"x\":1}"),
            ..call(ManagementOp::Update)
        };
        assert_eq!(faulty_field(&call), "x");
    }
}
