//! From the members of a body to a key to be made, or to what changes of one.
//!
//! Everything that is wrong is said at once: unknown and repeated fields, then each field by its own rule. So
//! `{"name": 5, "color": "red"}` is answered with both
//! `"name": ["The name field must be a string."]` and `"color": ["The color field is not known."]`.

use super::body::{self, Members, Value};
use super::faults::Faults;
use crate::clock::Timestamp;
use crate::key::{ApiKey, KeyChange, KeyName, KeyNameError, NewKey, ScopeName, Scopes, mask};
use std::borrow::Cow;

/// Most unknown fields that are named one by one: an answer stays small whatever a body holds.
const UNKNOWN_NAMED: usize = 16;
/// Most characters of an unknown field's name that are repeated in an answer.
const UNKNOWN_SHOWN: usize = 64;
/// The last second of the year 9999. What lies beyond is milliseconds taken for seconds.
const LATEST: i64 = 253_402_300_799;

/// Reads the body of a create.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn create(
    body: &[u8],
    scopes: &Scopes,
    default_scope: Option<&ScopeName>,
    now: Timestamp,
) -> Result<NewKey, Faults> {
    let (fields, mut faults) = Fields::sort(body::members(body)?);
    let name = match fields.name {
        Field::Absent => {
            faults.add("name", "The name field is required.");
            None
        }
        Field::Repeated => None,
        Field::Once(value) => name(&value, &mut faults),
    };
    let scope = match fields.scope {
        Field::Absent => {
            if default_scope.is_none() {
                faults.add("scope", "The scope field is required.");
            }
            default_scope.cloned()
        }
        Field::Repeated => None,
        Field::Once(value) => scope(&value, scopes, &mut faults),
    };
    let enabled = fields.enabled.read(|value| enabled(value, &mut faults));
    let expires_at = fields
        .expires_at
        .read(|value| expires_at(value, now, &mut faults));
    let key = name.zip(scope).map(|(name, scope)| NewKey {
        name,
        scope,
        enabled: enabled.unwrap_or(true),
        expires_at: expires_at.flatten(),
        brought: None,
        if_absent: false,
    });
    faults.or(key)
}

/// Reads the body of an update; `{}` changes nothing.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn update(body: &[u8], scopes: &Scopes, now: Timestamp) -> Result<KeyChange, Faults> {
    let (fields, mut faults) = Fields::sort(body::members(body)?);
    let change = KeyChange {
        name: fields.name.read(|value| name(value, &mut faults)),
        scope: fields.scope.read(|value| scope(value, scopes, &mut faults)),
        enabled: fields.enabled.read(|value| enabled(value, &mut faults)),
        expires_at: fields
            .expires_at
            .read(|value| expires_at(value, now, &mut faults)),
    };
    faults.or(Some(change))
}

/// What stands under the name of one field.
#[derive(Default)]
enum Field {
    #[default]
    Absent,
    Once(Value),
    Repeated,
}

impl Field {
    fn read<T>(self, reader: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        match self {
            Field::Once(value) => reader(&value),
            Field::Absent | Field::Repeated => None,
        }
    }
}

/// The fields that a client may set.
#[derive(Default)]
struct Fields {
    name: Field,
    scope: Field,
    enabled: Field,
    expires_at: Field,
}

impl Fields {
    /// Puts each member in its place, and notes those that have none or come again.
    fn sort(members: Members) -> (Fields, Faults) {
        let mut fields = Fields::default();
        let mut faults = Faults::default();
        let mut unknown = Vec::new();
        for (member, value) in members {
            let field = match member.as_str() {
                "name" => &mut fields.name,
                "scope" => &mut fields.scope,
                "enabled" => &mut fields.enabled,
                "expiresAt" => &mut fields.expires_at,
                _ => {
                    // One more than is named, so that it shows that there are more.
                    if unknown.len() <= UNKNOWN_NAMED && !unknown.contains(&member) {
                        unknown.push(member);
                    }
                    continue;
                }
            };
            *field = match field {
                Field::Absent => Field::Once(value),
                Field::Once(_) => {
                    faults.add(
                        &member,
                        format!("The {member} field must not be given more than once."),
                    );
                    Field::Repeated
                }
                Field::Repeated => Field::Repeated,
            };
        }
        for member in unknown.iter().take(UNKNOWN_NAMED) {
            // What is as long as a key may be one, pasted where it does not belong.
            let shown = if member.chars().count() < ApiKey::MIN_LEN {
                Cow::Borrowed(member.as_str())
            } else {
                Cow::Owned(mask(member).chars().take(UNKNOWN_SHOWN).collect())
            };
            faults.add(&shown, format!("The {shown} field is not known."));
        }
        if unknown.len() > UNKNOWN_NAMED {
            faults.add("body", "The body has more fields that are not known.");
        }
        (fields, faults)
    }
}

fn name(value: &Value, faults: &mut Faults) -> Option<KeyName> {
    let Value::Text(text) = value else {
        faults.add("name", "The name field must be a string.");
        return None;
    };
    let sentence = match KeyName::parse(text) {
        Ok(name) => return Some(name),
        Err(KeyNameError::Empty) => "The name field must not be empty.",
        Err(KeyNameError::TooLong) => "The name field must have at most 100 characters.",
        Err(KeyNameError::Control) => "The name field must not have control characters.",
    };
    faults.add("name", sentence);
    None
}

fn scope(value: &Value, scopes: &Scopes, faults: &mut Faults) -> Option<ScopeName> {
    let Value::Text(text) = value else {
        faults.add("scope", "The scope field must be a string.");
        return None;
    };
    let scope = declared_scope(text, scopes);
    if scope.is_none() {
        faults.add("scope", undeclared(scopes));
    }
    scope
}

/// The scope of this name, if the policy declares it.
pub(super) fn declared_scope(text: &str, scopes: &Scopes) -> Option<ScopeName> {
    ScopeName::parse(text)
        .ok()
        .filter(|scope| scopes.declares(scope))
}

/// What is said of a scope that the policy does not declare.
pub(super) fn undeclared(scopes: &Scopes) -> String {
    const SHOWN: usize = 10;
    let names: Vec<&str> = scopes.names().map(ScopeName::as_str).collect();
    if names.len() > SHOWN {
        "The scope field must be one of the declared scopes.".to_owned()
    } else {
        format!("The scope field must be one of: {}.", names.join(", "))
    }
}

fn enabled(value: &Value, faults: &mut Faults) -> Option<bool> {
    let Value::Bool(enabled) = value else {
        faults.add("enabled", "The enabled field must be true or false.");
        return None;
    };
    Some(*enabled)
}

fn expires_at(value: &Value, now: Timestamp, faults: &mut Faults) -> Option<Option<Timestamp>> {
    let sentence = match value {
        Value::Null => return Some(None),
        Value::Integer(seconds) => match i64::try_from(*seconds) {
            Ok(seconds) if seconds <= now.unix_seconds() => {
                "The expiresAt field must be in the future."
            }
            Ok(seconds) if seconds <= LATEST => {
                return Some(Some(Timestamp::from_unix_seconds(seconds)));
            }
            Err(_) if *seconds < 0 => "The expiresAt field must be in the future.",
            _ => "The expiresAt field must be in seconds, not after the year 9999.",
        },
        _ => "The expiresAt field must be an integer (Unix seconds) or null.",
    };
    faults.add("expiresAt", sentence);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

    fn scope_named(text: &str) -> ScopeName {
        ScopeName::parse(text).expect(text)
    }

    fn scopes() -> Scopes {
        let (auth, full) = (scope_named("authOnly"), scope_named("fullAccess"));
        Scopes::new(&BTreeMap::from([
            (auth.clone(), vec![]),
            (full, vec![auth]),
        ]))
        .unwrap()
    }

    fn created(body: &str) -> Result<NewKey, serde_json::Value> {
        let default = scope_named("authOnly");
        create(body.as_bytes(), &scopes(), Some(&default), NOW)
            .map_err(|faults| serde_json::to_value(faults).unwrap())
    }

    fn updated(body: &str) -> Result<KeyChange, serde_json::Value> {
        update(body.as_bytes(), &scopes(), NOW)
            .map_err(|faults| serde_json::to_value(faults).unwrap())
    }

    fn created_wrongly(body: &str) -> serde_json::Value {
        created(body)
            .err()
            .unwrap_or_else(|| panic!("read: {body}"))
    }

    #[test]
    fn a_body_with_a_name_is_enough_for_a_key() {
        let key = created(r#"{"name":"Auth Key"}"#).ok().unwrap();
        assert_eq!(key.name.as_str(), "Auth Key");
        assert_eq!(key.scope.as_str(), "authOnly");
        assert!(key.enabled && key.expires_at.is_none() && key.brought.is_none() && !key.if_absent);
    }

    #[test]
    fn every_field_is_taken_as_it_is_written() {
        let key = created(
            r#"{"expiresAt":1700000001,"enabled":false,"scope":"fullAccess","name":" \ud83d\udd11 "}"#,
        )
        .ok()
        .unwrap();
        assert_eq!(key.name.as_str(), " \u{1f511} ");
        assert_eq!(key.scope.as_str(), "fullAccess");
        assert!(!key.enabled);
        assert_eq!(
            key.expires_at,
            Some(Timestamp::from_unix_seconds(1_700_000_001))
        );
    }

    #[test]
    fn without_a_default_the_scope_is_required() {
        let faults = create(br#"{"name":"x"}"#, &scopes(), None, NOW)
            .err()
            .unwrap();
        assert_eq!(
            serde_json::to_value(faults).unwrap(),
            json!({"scope": ["The scope field is required."]})
        );
    }

    #[test]
    fn each_fault_of_a_field_has_its_sentence_in_create_and_update_alike() {
        let long = format!(r#"{{"name":"{}"}}"#, "a".repeat(101));
        let emoji = format!(r#"{{"name":"{}"}}"#, "\u{1f600}".repeat(51));
        let name_string = "The name field must be a string.";
        let name_long = "The name field must have at most 100 characters.";
        let name_control = "The name field must not have control characters.";
        let scope_string = "The scope field must be a string.";
        let scope_known = "The scope field must be one of: authOnly, fullAccess.";
        let enabled_bool = "The enabled field must be true or false.";
        let ends_integer = "The expiresAt field must be an integer (Unix seconds) or null.";
        let ends_future = "The expiresAt field must be in the future.";
        let ends_seconds = "The expiresAt field must be in seconds, not after the year 9999.";
        for (body, field, sentence) in [
            (
                r#"{"name":""}"#,
                "name",
                "The name field must not be empty.",
            ),
            (r#"{"name":null}"#, "name", name_string),
            (r#"{"name":5}"#, "name", name_string),
            (r#"{"name":true}"#, "name", name_string),
            (r#"{"name":["x"]}"#, "name", name_string),
            (r#"{"name":{"x":1}}"#, "name", name_string),
            (&long, "name", name_long),
            (&emoji, "name", name_long),
            (r#"{"name":"a\u0000b"}"#, "name", name_control),
            (r#"{"name":"a\nb"}"#, "name", name_control),
            (r#"{"name":"a\u007fb"}"#, "name", name_control),
            (r#"{"name":"a\u0085b"}"#, "name", name_control),
            (r#"{"scope":null}"#, "scope", scope_string),
            (r#"{"scope":1}"#, "scope", scope_string),
            (r#"{"scope":["authOnly"]}"#, "scope", scope_string),
            (r#"{"scope":""}"#, "scope", scope_known),
            (r#"{"scope":"authonly"}"#, "scope", scope_known),
            (r#"{"scope":"authOnly "}"#, "scope", scope_known),
            (r#"{"scope":"admin"}"#, "scope", scope_known),
            (r#"{"enabled":null}"#, "enabled", enabled_bool),
            (r#"{"enabled":1}"#, "enabled", enabled_bool),
            (r#"{"enabled":"true"}"#, "enabled", enabled_bool),
            (r#"{"expiresAt":"1800000000"}"#, "expiresAt", ends_integer),
            (r#"{"expiresAt":1800000000.0}"#, "expiresAt", ends_integer),
            (r#"{"expiresAt":1.8e9}"#, "expiresAt", ends_integer),
            (r#"{"expiresAt":true}"#, "expiresAt", ends_integer),
            (r#"{"expiresAt":[]}"#, "expiresAt", ends_integer),
            (r#"{"expiresAt":0}"#, "expiresAt", ends_future),
            (r#"{"expiresAt":-5}"#, "expiresAt", ends_future),
            (r#"{"expiresAt":1700000000}"#, "expiresAt", ends_future),
            (r#"{"expiresAt":1800000000000}"#, "expiresAt", ends_seconds),
            (
                r#"{"expiresAt":18446744073709551615}"#,
                "expiresAt",
                ends_seconds,
            ),
            (
                r#"{"expiresAt":18446744073709551616}"#,
                "expiresAt",
                ends_integer,
            ),
            (
                r#"{"color":"red"}"#,
                "color",
                "The color field is not known.",
            ),
            (r#"{"Name":"x"}"#, "Name", "The Name field is not known."),
            (
                r#"{"apiKey":"x"}"#,
                "apiKey",
                "The apiKey field is not known.",
            ),
            (r#"{"id":"x"}"#, "id", "The id field is not known."),
            (
                r#"{"createdAt":1}"#,
                "createdAt",
                "The createdAt field is not known.",
            ),
            (r#"{"":1}"#, "", "The  field is not known."),
            (
                r#"{"scope":"authOnly","scope":"authOnly"}"#,
                "scope",
                "The scope field must not be given more than once.",
            ),
            (
                r#"{"name":"x","n\u0061me":5,"name":"x"}"#,
                "name",
                "The name field must not be given more than once.",
            ),
        ] {
            assert_eq!(updated(body), Err(json!({ field: [sentence] })), "{body}");
            let faults = created_wrongly(body);
            assert_eq!(faults[field], json!([sentence]), "{body}");
        }
    }

    #[test]
    fn the_bounds_of_names_and_ends_are_inside() {
        for body in [
            format!(r#"{{"name":"{}"}}"#, "a".repeat(100)),
            format!(r#"{{"name":"{}"}}"#, "\u{1f600}".repeat(50)),
            r#"{"name":" ","expiresAt":1700000001}"#.to_owned(),
            r#"{"name":"x","expiresAt":253402300799}"#.to_owned(),
            r#"{"name":"x","expiresAt":null}"#.to_owned(),
        ] {
            assert!(created(&body).is_ok(), "{body}");
            assert!(updated(&body).is_ok(), "{body}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        assert_eq!(
            created_wrongly(
                r#"{"x":1,"scope":"no","enabled":0,"scope":"fullAccess","expiresAt":"","y":2,"x":3}"#
            ),
            json!({
                "name": ["The name field is required."],
                "scope": ["The scope field must not be given more than once."],
                "enabled": ["The enabled field must be true or false."],
                "expiresAt": ["The expiresAt field must be an integer (Unix seconds) or null."],
                "x": ["The x field is not known."],
                "y": ["The y field is not known."],
            })
        );
    }

    #[test]
    fn an_empty_update_changes_nothing_and_null_ends_an_end() {
        assert_eq!(updated("{}"), Ok(KeyChange::default()));
        assert_eq!(
            updated(r#"{"expiresAt":null}"#),
            Ok(KeyChange {
                expires_at: Some(None),
                ..KeyChange::default()
            })
        );
    }

    #[test]
    fn an_answer_stays_small_whatever_the_body_holds() {
        let mut body = String::from("{");
        for i in 0..9_000 {
            body.push_str(&format!("\"{i}\":0,"));
        }
        body.push_str(&format!("\"{}\":0}}", "z".repeat(20_000)));
        let faults = update(body.as_bytes(), &scopes(), NOW).unwrap_err();
        assert_eq!(faults.len(), UNKNOWN_NAMED + 1);

        let body = format!("{{\"{}\":0}}", "z".repeat(60_000));
        let faults = update(body.as_bytes(), &scopes(), NOW).unwrap_err();
        assert!(serde_json::to_string(&faults).unwrap().len() < 300);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = create(&body, &scopes(), None, NOW);
            let _ = update(&body, &scopes(), NOW);
        }

        #[test]
        fn a_faulty_body_always_says_why(
            body in r#"\{("(name|scope|enabled|expiresAt|x)":(1|"a"|null|true|"authOnly"|1800000000),?){0,4}\}"#
        ) {
            if let Err(faults) = update(body.as_bytes(), &scopes(), NOW) {
                prop_assert!(!faults.is_empty());
            }
            if let Err(faults) = create(body.as_bytes(), &scopes(), None, NOW) {
                prop_assert!(!faults.is_empty());
            }
        }
    }
}
