//! What an operator sets, adds and removes in heads: `headers` of an upstream and of a route.
//!
//! A [`HeaderEdits`] is read once, when the configuration is; a request that has none pays nothing for it. A value is a
//! [`Template`]: text that never changes, or parts with variables between them, which are filled in from the [`Facts`] of
//! the request: what keygate itself knows of it, and nothing that the client wrote. `X-Account: ${key.name}` becomes
//! `X-Account: Auth%20Key`; where a variable has no value, since a route without a key knows no key, there is no such
//! header at all, and the client's own of that name is gone too.
//!
//! What may not be edited (framing, `Host`, the key, keygate's own headers) is refused where the configuration is read.

use super::headers::{encode_name, is_folded_alike};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;
use std::net::IpAddr;

/// The edits of both directions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeaderEdits {
    /// Of requests, on their way up.
    pub request: Edits,
    /// Of the upstream's answers, on their way down.
    pub response: Edits,
}

/// The edits of one direction. No name stands in two of the lists.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Edits {
    /// Taken out.
    pub remove: Vec<HeaderName>,
    /// Put in place of whatever has that name.
    pub set: Vec<(HeaderName, Template)>,
    /// Put beside whatever has that name.
    pub add: Vec<(HeaderName, Template)>,
}

/// A header's value, as far as it is known beforehand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Template {
    /// The same for every request.
    Fixed(HeaderValue),
    /// Made for each request of these parts, which make a header's value whatever the variables are.
    Made {
        parts: Box<[Part]>,
        /// Whether one of them is a secret.
        sensitive: bool,
    },
}

/// A part of a value.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// May be a secret: never shown.
    Text(Box<str>),
    Variable(Variable),
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Text(_) => f.write_str("Text(..)"),
            Part::Variable(variable) => write!(f, "{variable:?}"),
        }
    }
}

/// What a value may be made of besides text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Variable {
    KeyId,
    /// Everything but visible ASCII, and `%`, percent-encoded, as in `X-Keygate-Key-Name`.
    KeyName,
    KeyScope,
    RequestId,
    ClientAddress,
}

impl Variable {
    /// How they are written between `${` and `}`.
    pub const NAMES: [(&'static str, Variable); 5] = [
        ("key.id", Variable::KeyId),
        ("key.name", Variable::KeyName),
        ("key.scope", Variable::KeyScope),
        ("request.id", Variable::RequestId),
        ("client.address", Variable::ClientAddress),
    ];

    /// The variable of this name.
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(own, _)| *own == name);
        found.map(|(_, variable)| *variable)
    }
}

/// What keygate knows of a request. All of it is visible ASCII but for the key's name.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The key that was used; `None` on a public route.
    pub key: Option<KeyFacts<'a>>,
    pub request_id: &'a str,
    pub client: Option<IpAddr>,
}

/// What may be told of a key.
#[derive(Clone, Copy, Debug)]
pub struct KeyFacts<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub scope: &'a str,
}

impl Edits {
    /// Whether a field of this (lower-case) name is no business of who sent it: a header that is set or removed, or one
    /// that a server behind a CGI-like interface cannot tell from it.
    pub fn own(&self, name: &str) -> bool {
        let set = self.set.iter().map(|(name, _)| name);
        self.remove
            .iter()
            .chain(set)
            .any(|own| is_folded_alike(name, own.as_str()))
    }

    /// Edits a head.
    pub fn apply(&self, headers: &mut HeaderMap, facts: &Facts<'_>) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, template) in &self.set {
            match template.fill(facts) {
                Some(value) => {
                    headers.insert(name, value);
                }
                None => {
                    headers.remove(name);
                }
            }
        }
        for (name, template) in &self.add {
            if let Some(value) = template.fill(facts) {
                headers.append(name, value);
            }
        }
    }
}

impl Template {
    /// A value without variables.
    ///
    /// # Errors
    /// When no header can have it.
    pub fn fixed(text: &str, sensitive: bool) -> Result<Self, http::header::InvalidHeaderValue> {
        let mut value = HeaderValue::from_str(text)?;
        value.set_sensitive(sensitive);
        Ok(Template::Fixed(value))
    }

    /// A value of these parts.
    ///
    /// # Errors
    /// When no header can have it.
    pub fn of(parts: Vec<Part>, sensitive: bool) -> Result<Self, http::header::InvalidHeaderValue> {
        let mut text = String::new();
        let mut varies = false;
        for part in &parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Variable(_) => varies = true,
            }
        }
        let fixed = Self::fixed(&text, sensitive)?;
        Ok(match varies {
            true => Template::Made {
                parts: parts.into(),
                sensitive,
            },
            false => fixed,
        })
    }

    /// The value for a request; `None` where one of its variables has none.
    pub fn fill(&self, facts: &Facts<'_>) -> Option<HeaderValue> {
        let (parts, sensitive) = match self {
            Template::Fixed(value) => return Some(value.clone()),
            Template::Made { parts, sensitive } => (parts, *sensitive),
        };
        let mut text = Vec::with_capacity(64);
        for part in parts {
            match part {
                Part::Text(part) => text.extend_from_slice(part.as_bytes()),
                Part::Variable(Variable::KeyId) => text.extend_from_slice(facts.key?.id.as_bytes()),
                Part::Variable(Variable::KeyName) => {
                    text.extend_from_slice(encode_name(facts.key?.name).as_bytes());
                }
                Part::Variable(Variable::KeyScope) => {
                    text.extend_from_slice(facts.key?.scope.as_bytes());
                }
                Part::Variable(Variable::RequestId) => {
                    text.extend_from_slice(facts.request_id.as_bytes());
                }
                Part::Variable(Variable::ClientAddress) => {
                    text.extend_from_slice(facts.client?.to_string().as_bytes());
                }
            }
        }
        let mut value = HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
            .expect("its texts were a header's value, and variables are visible ASCII");
        value.set_sensitive(sensitive);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts<'a>(key: Option<KeyFacts<'a>>) -> Facts<'a> {
        Facts {
            key,
            request_id: "0123456789abcdef",
            client: Some([192, 0, 2, 7].into()),
        }
    }

    const KEY: KeyFacts<'_> = KeyFacts {
        id: "abcdefghij0123456789",
        name: "An Ä key\r\n%",
        scope: "fullAccess",
    };

    fn text(text: &str) -> Part {
        Part::Text(text.into())
    }

    fn name(name: &'static str) -> HeaderName {
        HeaderName::from_static(name)
    }

    #[test]
    fn variables_are_filled_in_and_one_without_a_value_leaves_the_header_out() {
        use Part::Variable as V;
        for (parts, with_key, without) in [
            (vec![text("a b")], "a b", Some("a b")),
            (vec![V(Variable::KeyId)], "abcdefghij0123456789", None),
            (
                vec![text("<"), V(Variable::KeyName), text(">")],
                "<An%20%C3%84%20key%0D%0A%25>",
                None,
            ),
            (vec![V(Variable::KeyScope)], "fullAccess", None),
            (
                vec![V(Variable::RequestId)],
                "0123456789abcdef",
                Some("0123456789abcdef"),
            ),
            (
                vec![
                    V(Variable::ClientAddress),
                    text("/"),
                    V(Variable::ClientAddress),
                ],
                "192.0.2.7/192.0.2.7",
                Some("192.0.2.7/192.0.2.7"),
            ),
            (
                vec![V(Variable::RequestId), V(Variable::KeyId)],
                "0123456789abcdefabcdefghij0123456789",
                None,
            ),
        ] {
            let template = Template::of(parts, false).unwrap();
            let filled = |key| {
                let value = template.fill(&facts(key));
                value.map(|v| v.to_str().unwrap().to_owned())
            };
            assert_eq!(filled(Some(KEY)).as_deref(), Some(with_key), "{template:?}");
            assert_eq!(filled(None).as_deref(), without, "{template:?}");
        }
        let nobody = Facts {
            client: None,
            ..facts(None)
        };
        let address = Template::of(vec![V(Variable::ClientAddress)], false).unwrap();
        assert_eq!(address.fill(&nobody), None);
    }

    #[test]
    fn set_replaces_add_stands_beside_and_remove_takes_out() {
        let edits = Edits {
            remove: vec![name("x-gone")],
            set: vec![
                (name("x-set"), Template::fixed("ours", false).unwrap()),
                (
                    name("x-account"),
                    Template::of(vec![Part::Variable(Variable::KeyId)], true).unwrap(),
                ),
            ],
            add: vec![(name("x-more"), Template::fixed("2", false).unwrap())],
        };
        let before = || {
            let mut headers = HeaderMap::new();
            for name in [
                "x-gone",
                "x-gone",
                "x-set",
                "x-set",
                "x-account",
                "x-more",
                "x-other",
            ] {
                headers.append(name, HeaderValue::from_static("theirs"));
            }
            headers
        };
        let shown = |headers: &HeaderMap| -> Vec<String> {
            let mut lines: Vec<String> = headers
                .iter()
                .map(|(n, v)| format!("{n}: {}", v.to_str().unwrap()))
                .collect();
            lines.sort();
            lines
        };
        let mut headers = before();
        edits.apply(&mut headers, &facts(Some(KEY)));
        let mut expected = vec![
            "x-account: abcdefghij0123456789",
            "x-more: 2",
            "x-more: theirs",
            "x-other: theirs",
            "x-set: ours",
        ];
        assert_eq!(shown(&headers), expected);
        assert!(headers["x-account"].is_sensitive());
        // Nobody's identity is not left to be what the client says.
        let mut headers = before();
        edits.apply(&mut headers, &facts(None));
        expected.remove(0);
        assert_eq!(shown(&headers), expected);
        for (name, own) in [
            ("x-gone", true),
            ("x_gone", true),
            ("x.set", true),
            ("x-more", false),
            ("x-gon", false),
        ] {
            assert_eq!(edits.own(name), own, "{name}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        let parts = vec![text("sesame "), Part::Variable(Variable::KeyId)];
        let made = Template::of(parts, true).unwrap();
        let fixed = Template::fixed("sesame", true).unwrap();
        assert!(!format!("{made:?}{fixed:?}").contains("sesame"));
    }

    proptest! {
        /// Whatever a key is called, its name is one visible word of a header's value.
        #[test]
        fn a_name_never_leaves_its_value(name in "\\PC*|[\\x00-\\x7f]*") {
            let key = KeyFacts { name: &name, ..KEY };
            let template = Template::of(vec![Part::Variable(Variable::KeyName)], false).unwrap();
            let value = template.fill(&facts(Some(key))).unwrap();
            prop_assert!(value.as_bytes().iter().all(u8::is_ascii_graphic));
        }
    }
}
