//! From a query to the list that is asked for; and percent-decoding, which a query and a path share.
//!
//! `scope=authOnly&searchKey=rest%20api&page=2`: names and values are decoded as forms are (`+` is a blank). Names that
//! the list does not know are left alone, whatever they hold; a known one that comes twice, or cannot be decoded, is a
//! fault.

use super::command::{declared_scope, undeclared};
use super::faults::Faults;
use crate::key::{ListQuery, Scopes};
use std::borrow::Cow;

/// Keys on a page, where the query does not say.
const PER_PAGE: u64 = 100;
/// Most keys on a page.
const MAX_PER_PAGE: u64 = 1_000;
/// The last page that can be asked for: the greatest integer that every JSON reader holds exactly. With full pages, the
/// number of the first key on it still fits into 63 bits.
const MAX_PAGE: u64 = (1 << 53) - 1;

/// Reads the query of a list.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn list(query: Option<&str>, scopes: &Scopes) -> Result<ListQuery, Faults> {
    let mut faults = Faults::default();
    let (mut scope, mut search, mut page, mut per_page) = (None, None, None, None);
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(name) = form_decoded(name) else {
            continue;
        };
        let slot = match &*name {
            "scope" => &mut scope,
            "searchKey" => &mut search,
            "page" => &mut page,
            "perPage" => &mut per_page,
            _ => continue,
        };
        if slot.is_some() {
            faults.add(
                &name,
                format!("The {name} parameter must not be given more than once."),
            );
        } else if let Some(value) = form_decoded(value) {
            *slot = Some(value.into_owned());
        } else {
            faults.add(
                &name,
                format!("The {name} parameter must be percent-encoded UTF-8."),
            );
            *slot = Some(String::new());
        }
    }
    // A parameter that has a fault already gets no second sentence.
    let clean = |name: &str, value: Option<String>| {
        value.filter(|_| !faults.iter().any(|(field, _)| field == name))
    };
    let (scope, search) = (clean("scope", scope), clean("searchKey", search));
    let (page, per_page) = (clean("page", page), clean("perPage", per_page));

    let scope = scope.and_then(|text| {
        let scope = declared_scope(&text, scopes);
        if scope.is_none() {
            faults.add(
                "scope",
                undeclared(scopes).replace(" field ", " parameter "),
            );
        }
        scope
    });
    let search = search.filter(|text| {
        let sound = !text.chars().any(char::is_control);
        if !sound {
            faults.add(
                "searchKey",
                "The searchKey parameter must not have control characters.",
            );
        }
        sound && !text.is_empty()
    });
    let page = number("page", page, 1, MAX_PAGE, &mut faults);
    let per_page = number("perPage", per_page, PER_PAGE, MAX_PER_PAGE, &mut faults);
    faults.or(Some(ListQuery {
        scope,
        search,
        page,
        per_page,
    }))
}

/// A number from 1 to `max`, written with digits alone.
fn number(name: &str, text: Option<String>, default: u64, max: u64, faults: &mut Faults) -> u64 {
    let Some(text) = text else {
        return default;
    };
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(value) if plain && value <= max => value,
        _ => {
            faults.add(
                name,
                format!("The {name} parameter must be an integer from 1 to {max}."),
            );
            default
        }
    }
}

/// Decodes a name or a value of a query: `+` is a blank, then percent-decoding.
fn form_decoded(text: &str) -> Option<Cow<'_, str>> {
    if text.contains('+') {
        percent_decoded(&text.replace('+', " ")).map(|text| Cow::Owned(text.into_owned()))
    } else {
        percent_decoded(text)
    }
}

/// Decodes percent-encoded UTF-8 once; `None` where an escape is incomplete or the bytes are not UTF-8.
pub(super) fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            (hex(rest.next()?)? << 4) | hex(rest.next()?)?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::ScopeName;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn scopes() -> Scopes {
        let name = |text| ScopeName::parse(text).unwrap();
        Scopes::new(&BTreeMap::from([
            (name("authOnly"), vec![]),
            (name("fullAccess"), vec![name("authOnly")]),
        ]))
        .unwrap()
    }

    fn read(query: &str) -> Result<ListQuery, serde_json::Value> {
        list(Some(query), &scopes()).map_err(|faults| serde_json::to_value(faults).unwrap())
    }

    fn wanted(scope: Option<&str>, search: Option<&str>, page: u64, per_page: u64) -> ListQuery {
        ListQuery {
            scope: scope.map(|s| ScopeName::parse(s).unwrap()),
            search: search.map(str::to_owned),
            page,
            per_page,
        }
    }

    #[test]
    fn without_a_query_it_is_the_first_hundred() {
        assert_eq!(list(None, &scopes()), Ok(wanted(None, None, 1, 100)));
    }

    #[test]
    fn known_names_are_read_and_all_others_left_alone() {
        for (query, expected) in [
            ("", wanted(None, None, 1, 100)),
            ("&&", wanted(None, None, 1, 100)),
            ("scope=authOnly", wanted(Some("authOnly"), None, 1, 100)),
            ("scope=%61uthOnly", wanted(Some("authOnly"), None, 1, 100)),
            ("searchKey=rest+api", wanted(None, Some("rest api"), 1, 100)),
            (
                "searchKey=a%2Bb%26c%3D",
                wanted(None, Some("a+b&c="), 1, 100),
            ),
            ("searchKey=a=b", wanted(None, Some("a=b"), 1, 100)),
            ("searchKey=%25_", wanted(None, Some("%_"), 1, 100)),
            (
                "searchKey=%F0%9F%94%91",
                wanted(None, Some("\u{1f511}"), 1, 100),
            ),
            ("search%4bey=x", wanted(None, Some("x"), 1, 100)),
            ("searchKey=", wanted(None, None, 1, 100)),
            ("searchKey", wanted(None, None, 1, 100)),
            ("page=2&perPage=1000", wanted(None, None, 2, 1000)),
            ("page=9007199254740991", wanted(None, None, MAX_PAGE, 100)),
            ("Page=0&per_page=x&SCOPE=y", wanted(None, None, 1, 100)),
            ("x=1&x=2&%zz=1&y=%zz", wanted(None, None, 1, 100)),
        ] {
            assert_eq!(read(query), Ok(expected), "{query}");
        }
    }

    #[test]
    fn each_fault_of_a_query_has_its_sentence() {
        let scope = "The scope parameter must be one of: authOnly, fullAccess.";
        let page = "The page parameter must be an integer from 1 to 9007199254740991.";
        let per_page = "The perPage parameter must be an integer from 1 to 1000.";
        let twice = |name| format!("The {name} parameter must not be given more than once.");
        let encoded = |name| format!("The {name} parameter must be percent-encoded UTF-8.");
        for (query, field, sentence) in [
            ("scope=", "scope", scope.to_owned()),
            ("scope", "scope", scope.to_owned()),
            ("scope=admin", "scope", scope.to_owned()),
            ("scope=authonly", "scope", scope.to_owned()),
            ("page=", "page", page.to_owned()),
            ("page", "page", page.to_owned()),
            ("page=0", "page", page.to_owned()),
            ("page=-1", "page", page.to_owned()),
            ("page=%2B1", "page", page.to_owned()),
            ("page=+1", "page", page.to_owned()),
            ("page=01", "page", page.to_owned()),
            ("page=1.0", "page", page.to_owned()),
            ("page=1e3", "page", page.to_owned()),
            ("page=9007199254740992", "page", page.to_owned()),
            ("page=99999999999999999999999", "page", page.to_owned()),
            ("page=%D9%A1", "page", page.to_owned()),
            ("perPage=0", "perPage", per_page.to_owned()),
            ("perPage=1001", "perPage", per_page.to_owned()),
            ("perPage=all", "perPage", per_page.to_owned()),
            ("page=1&page=1", "page", twice("page")),
            ("page=0&p%61ge=x&page", "page", twice("page")),
            ("perPage=1&perPage=1", "perPage", twice("perPage")),
            ("scope=authOnly&scope=x", "scope", twice("scope")),
            ("searchKey=a&searchKey=a", "searchKey", twice("searchKey")),
            ("searchKey=%", "searchKey", encoded("searchKey")),
            ("searchKey=%4", "searchKey", encoded("searchKey")),
            ("searchKey=%4g", "searchKey", encoded("searchKey")),
            ("searchKey=%+1", "searchKey", encoded("searchKey")),
            ("searchKey=%C0%AF", "searchKey", encoded("searchKey")),
            ("searchKey=%ED%A0%80", "searchKey", encoded("searchKey")),
            (
                "searchKey=%00",
                "searchKey",
                "The searchKey parameter must not have control characters.".to_owned(),
            ),
        ] {
            assert_eq!(read(query), Err(json!({ field: [sentence] })), "{query}");
        }
    }

    #[test]
    fn all_faults_of_a_query_are_told_at_once() {
        let faults = read("page=0&perPage=0&scope=x&searchKey=%").unwrap_err();
        assert_eq!(faults.as_object().unwrap().len(), 4);
    }

    proptest! {
        #[test]
        fn no_query_makes_it_panic(query in "[\\x20-\\x7e]{0,80}") {
            let _ = list(Some(&query), &scopes());
        }

        #[test]
        fn any_text_survives_encoding_and_decoding(text in "\\PC{0,20}") {
            let encoded: String = text.bytes().map(|b| format!("%{b:02x}")).collect();
            prop_assert!(percent_decoded(&encoded).is_some_and(|decoded| decoded == text));
        }
    }
}
