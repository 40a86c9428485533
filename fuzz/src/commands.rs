//! The management API: what a body, a query and a path are read as, beside a second reading of them.
//!
//! An input is an operation's letter (`c`, `l`, `g`, `u`, `d`), then on the same line the content type, then the key's
//! segment, then the query, then the body.

use crate::text::{decoded, first_line};
use bytes::Bytes;
use keygate::clock::Timestamp;
use keygate::key::{Authority, Digester, KeyChange, ListQuery, NewKey, Reveal, ScopeName, Scopes};
use keygate::management::fuzzing::Request;
use keygate::management::{Call, ContentType, Faults, ManagementError, Settings};
use keygate::policy::ManagementOp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);
const SCOPES: [&str; 2] = ["authOnly", "fullAccess"];

/// Tries one input.
pub fn check(data: &[u8]) {
    let (first, rest) = first_line(data);
    let (segment, rest) = first_line(rest);
    let (query, body) = first_line(rest);
    // A canonical path and an admitted query are visible ASCII.
    let plain = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_graphic);
    if !plain(segment) || !plain(query) {
        return;
    }
    let (letter, content_type) = first.split_first().unwrap_or((&b'c', b""));
    let op = match letter {
        b'l' => ManagementOp::List,
        b'g' => ManagementOp::Get,
        b'u' => ManagementOp::Update,
        b'd' => ManagementOp::Delete,
        _ => ManagementOp::Create,
    };
    let text = |bytes| std::str::from_utf8(bytes).expect("ASCII");
    let call = Call {
        op,
        selector: Some(text(segment)),
        query: Some(text(query)).filter(|query| !query.is_empty()),
        content_type: match content_type {
            b"" => ContentType::Absent,
            kind => ContentType::One(kind),
        },
        body: Bytes::copy_from_slice(body),
        actor: "zzzzzzzzzz0123456789".parse().expect("an id"),
        client: None,
        request_id: "r",
        now: NOW,
    };
    let (settings, digester) = (settings(), Digester::new(Zeroizing::new([7; 32])));
    let read = Request::read(&call, &settings, &digester);
    match read {
        Ok(Request::Create(key)) => check_create(&call, &key, &settings, &digester),
        Ok(Request::Update(selector, change)) => {
            assert!(selector.digest == digester.digest(&decoded(segment)));
            check_update(&call, &change, &settings, &digester);
        }
        Ok(Request::List(list)) => check_list(&call, &list, &settings, &digester),
        Ok(Request::Get(selector) | Request::Delete(selector)) => {
            let named = decoded(segment);
            assert!(selector.digest == digester.digest(&named));
            let named = std::str::from_utf8(&named).expect("a selector is text");
            assert_eq!(selector.shown, keygate::key::mask(named));
        }
        Err(ManagementError::Invalid(faults)) => {
            check_faults(&faults);
            assert!(
                !is_good(op, content_type, body),
                "a good body was refused: {}",
                body.escape_ascii()
            );
        }
        Err(ManagementError::KeyNotFound { shown }) => {
            assert!(std::str::from_utf8(&decoded(segment)).is_err() || text(segment).contains('%'));
            assert_eq!(shown, keygate::key::mask(text(segment)));
        }
        Err(other) => panic!("nothing was done that could end so: {other}"),
    }
}

fn settings() -> Settings {
    let [auth, full] = SCOPES.map(|name| ScopeName::parse(name).expect("a name"));
    let declared = BTreeMap::from([(auth.clone(), vec![]), (full.clone(), vec![auth.clone()])]);
    Settings {
        authority: Arc::new(Authority {
            scopes: Scopes::new(&declared).expect("no circle"),
            management: full,
        }),
        default_scope: Some(auth),
        reveal: Reveal::Always,
    }
}

/// What a refusal may say: some fields, no controls, never as much as was sent.
fn check_faults(faults: &Faults) {
    assert!(!faults.is_empty());
    assert_eq!(faults.iter().count(), faults.len());
    for (_, sentences) in faults.iter() {
        assert!(!sentences.is_empty());
    }
    let written = serde_json::to_string(faults).expect("texts become JSON");
    assert!(written.len() < 16 * 1024, "{} bytes", written.len());
    let again: Value = serde_json::from_str(&written).expect("what is written is JSON");
    assert_eq!(again.as_object().map(serde_json::Map::len), Some(faults.len()));
}

/// Whether a second reading finds nothing wrong with the body of a create or an update.
fn is_good(op: ManagementOp, content_type: &[u8], body: &[u8]) -> bool {
    if !content_type.is_empty() && content_type != b"application/json" {
        return false;
    }
    let needs_name = match op {
        ManagementOp::Create => true,
        ManagementOp::Update => false,
        ManagementOp::List | ManagementOp::Get | ManagementOp::Delete => return false,
    };
    // Members that come twice are lost in this reading: then their names stand there more often than they are found.
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return false;
    };
    let text = String::from_utf8_lossy(body);
    if text.contains('\\') || text.matches(':').count() != members.len() {
        return false;
    }
    let good = |(name, value): (&String, &Value)| match (name.as_str(), value) {
        ("name", Value::String(name)) => {
            let units = name.encode_utf16().count();
            (1..=100).contains(&units) && !name.chars().any(char::is_control)
        }
        ("scope", Value::String(scope)) => SCOPES.contains(&scope.as_str()),
        ("enabled", Value::Bool(_)) | ("expiresAt", Value::Null) => true,
        ("expiresAt", Value::Number(end)) => end
            .as_i64()
            .is_some_and(|end| (1_700_000_001..=253_402_300_799).contains(&end)),
        _ => false,
    };
    members.iter().all(good) && (!needs_name || members.contains_key("name"))
}

/// The members of a body that was read, by another reader.
fn members(call: &Call<'_>) -> serde_json::Map<String, Value> {
    match serde_json::from_slice(&call.body) {
        Ok(Value::Object(members)) => members,
        other => panic!("what was read is an object: {other:?}"),
    }
}

fn check_create(call: &Call<'_>, key: &NewKey, settings: &Settings, digester: &Digester) {
    let members = members(call);
    assert_eq!(members["name"], Value::from(key.name.as_str()));
    let scope = members.get("scope").cloned();
    assert_eq!(scope.unwrap_or(Value::from("authOnly")), Value::from(key.scope.as_str()));
    let enabled = members.get("enabled").cloned();
    assert_eq!(enabled.unwrap_or(Value::Bool(true)), Value::Bool(key.enabled));
    let ends = key.expires_at.map(Timestamp::unix_seconds);
    let said = members.get("expiresAt").cloned().unwrap_or_default();
    assert_eq!(said, Value::from(ends));
    assert!(key.brought.is_none() && !key.if_absent, "nobody brings a key over HTTP");
    assert!(ends.is_none_or(|end| end > NOW.unix_seconds()));

    let printed = serde_json::json!({
        "name": key.name.as_str(), "scope": key.scope.as_str(),
        "enabled": key.enabled, "expiresAt": ends,
    });
    let again = Call {
        body: printed.to_string().into(),
        ..call.clone()
    };
    let Ok(Request::Create(again)) = Request::read(&again, settings, digester) else {
        panic!("what was read is read again: {printed}");
    };
    assert_eq!((&again.name, &again.scope), (&key.name, &key.scope));
    assert_eq!((again.enabled, again.expires_at), (key.enabled, key.expires_at));
}

fn check_update(call: &Call<'_>, change: &KeyChange, settings: &Settings, digester: &Digester) {
    let members = members(call);
    let mut printed = serde_json::Map::new();
    if let Some(name) = &change.name {
        printed.insert("name".into(), name.as_str().into());
    }
    if let Some(scope) = &change.scope {
        printed.insert("scope".into(), scope.as_str().into());
    }
    if let Some(enabled) = change.enabled {
        printed.insert("enabled".into(), enabled.into());
    }
    if let Some(end) = change.expires_at {
        printed.insert("expiresAt".into(), end.map(Timestamp::unix_seconds).into());
    }
    assert_eq!(printed, members, "an update changes what it names and nothing else");
    let again = Call {
        body: Value::Object(printed).to_string().into(),
        ..call.clone()
    };
    match Request::read(&again, settings, digester) {
        Ok(Request::Update(_, again)) => assert_eq!(&again, change),
        _ => panic!("what was read is read again"),
    }
}

fn check_list(call: &Call<'_>, list: &ListQuery, settings: &Settings, digester: &Digester) {
    assert!((1..=1000).contains(&list.per_page) && (1..1 << 53).contains(&list.page));
    let escaped = |text: &str| -> String { text.bytes().map(|b| format!("%{b:02x}")).collect() };
    let mut printed = format!("page={}&perPage={}", list.page, list.per_page);
    if let Some(scope) = &list.scope {
        assert!(settings.authority.scopes.declares(scope));
        printed += &format!("&scope={}", escaped(scope.as_str()));
    }
    if let Some(search) = &list.search {
        assert!(!search.is_empty() && !search.chars().any(char::is_control));
        printed += &format!("&searchKey={}", escaped(search));
    }
    let again = Call {
        query: Some(&printed),
        ..call.clone()
    };
    match Request::read(&again, settings, digester) {
        Ok(Request::List(again)) => assert_eq!(&again, list),
        _ => panic!("what was read is read again: {printed}"),
    }
}
