//! What `keygate keys` prints: aligned tables for people, JSON for programs.

use crate::clock::Timestamp;
use crate::key::StoredKey;
use crate::management::KeyJson;
use crate::store::AuditEntry;
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

/// Whether a key's text may be printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Masked,
    Whole,
}

/// A key as JSON, on one line.
pub(super) fn key_json(key: &StoredKey, show: Show) -> Zeroizing<String> {
    json(&shaped(key, show))
}

/// Keys as a JSON array.
pub(super) fn keys_json(keys: &[StoredKey], show: Show) -> Zeroizing<String> {
    json(&keys.iter().map(|key| shaped(key, show)).collect::<Vec<_>>())
}

/// The trail as a JSON array.
pub(super) fn audit_json(entries: &[AuditEntry]) -> Zeroizing<String> {
    json(&entries)
}

/// Keys as a table.
pub(super) fn keys_table(keys: &[StoredKey], show: Show, now: Timestamp) -> Zeroizing<String> {
    let rows = keys.iter().map(|key| {
        let record = &key.record;
        let state = match (record.enabled, record.is_in_force(now)) {
            (false, _) => "disabled",
            (true, false) => "expired",
            (true, true) => "enabled",
        };
        [
            record.id.to_string(),
            shaped(key, show).api_key.into_owned(),
            record.name.to_string(),
            record.scope.to_string(),
            state.to_owned(),
            record.created_at.utc(),
            record.expires_at.map_or("never".to_owned(), Timestamp::utc),
        ]
    });
    table(
        ["ID", "KEY", "NAME", "SCOPE", "STATE", "CREATED", "EXPIRES"],
        rows.collect(),
    )
}

/// The trail as a table.
pub(super) fn audit_table(entries: &[AuditEntry]) -> Zeroizing<String> {
    let rows = entries.iter().map(|entry| {
        [
            Timestamp::from_unix_seconds(entry.time).utc(),
            entry.revision.to_string(),
            entry.action.as_str().to_owned(),
            entry.key_id.clone(),
            entry.actor.clone(),
            entry.client.clone().unwrap_or_else(|| "-".to_owned()),
            changes(&entry.changes),
        ]
    });
    table(
        [
            "TIME", "REVISION", "ACTION", "KEY", "ACTOR", "CLIENT", "CHANGES",
        ],
        rows.collect(),
    )
}

/// `name: "a" -> "b", enabled: true -> false`; only one side where there is but one.
fn changes(changes: &Value) -> String {
    let Some(fields) = changes.as_object() else {
        return changes.to_string();
    };
    let sides = |change: &Value| {
        let side = |name| change.get(name).filter(|value| !value.is_null());
        match (side("old"), side("new")) {
            (None, None) => "none".to_owned(),
            (None, Some(new)) => new.to_string(),
            (Some(old), None) => format!("{old} -> none"),
            (Some(old), Some(new)) => format!("{old} -> {new}"),
        }
    };
    let fields = fields
        .iter()
        .map(|(field, change)| format!("{field}: {}", sides(change)));
    fields.collect::<Vec<_>>().join(", ")
}

fn shaped(key: &StoredKey, show: Show) -> KeyJson<'_> {
    match show {
        Show::Masked => KeyJson::masked(key),
        Show::Whole => KeyJson::of(key),
    }
}

fn json(value: &impl Serialize) -> Zeroizing<String> {
    let mut text = serde_json::to_string(value)
        .expect("texts, numbers and booleans with names always become JSON");
    text.push('\n');
    Zeroizing::new(text)
}

/// Columns as wide as their widest cell, two blanks between them; nothing at the end of a line.
fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> Zeroizing<String> {
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows);
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = Zeroizing::new(String::new());
    for line in &lines {
        let start = text.len();
        for (width, cell) in widths.iter().zip(line) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        let end = start + text[start..].trim_end().len();
        text.truncate(end);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let rows = vec![
            ["1".to_owned(), "\u{e9}l\u{e8}ve".to_owned(), "x".to_owned()],
            ["22222".to_owned(), String::new(), String::new()],
        ];
        assert_eq!(
            *table(["A", "NAME", "B"], rows),
            "A      NAME   B\n1      \u{e9}l\u{e8}ve  x\n22222\n"
        );
    }

    #[test]
    fn a_change_shows_what_was_and_what_is() {
        for (change, expected) in [
            (
                json!({"enabled": {"old": true, "new": false}, "name": {"old": "a", "new": "b"}}),
                r#"enabled: true -> false, name: "a" -> "b""#,
            ),
            (json!({"name": {"old": null, "new": "b"}}), r#"name: "b""#),
            (
                json!({"expiresAt": {"old": 5, "new": null}}),
                "expiresAt: 5 -> none",
            ),
            (json!({}), ""),
        ] {
            assert_eq!(changes(&change), expected, "{change}");
        }
    }
}
