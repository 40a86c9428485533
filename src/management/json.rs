//! The answers as the contract writes them.
//!
//! An answer may hold whole keys, so its buffer is made large enough at once (growing would leave copies behind) and is
//! wiped when the last handle on it goes.

use crate::key::{Page, ShownKey, StoredKey};
use bytes::Bytes;
use serde::Serialize;
use std::borrow::Cow;
use zeroize::Zeroizing;

/// Bytes of one key in JSON without its texts: names of fields, numbers, id.
const KEY_FRAME: usize = 256;

/// One key as the contract writes it. Whoever makes one with [`KeyJson::of`] lets the key's text out of its type.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyJson<'a> {
    pub(crate) api_key: Cow<'a, str>,
    name: &'a str,
    scope: &'a str,
    created_at: i64,
    id: &'a str,
    enabled: bool,
    expires_at: Option<i64>,
}

impl<'a> KeyJson<'a> {
    /// With the key itself, where the store can still show it.
    pub(crate) fn of(key: &'a StoredKey) -> Self {
        let text = match &key.shown {
            ShownKey::Whole(key) => key.expose(),
            ShownKey::Masked(text) => text,
        };
        KeyJson::with(key, Cow::Borrowed(text))
    }

    /// With the masked form in any case.
    pub(crate) fn masked(key: &'a StoredKey) -> Self {
        KeyJson::with(key, Cow::Owned(key.shown.masked()))
    }

    fn with(key: &'a StoredKey, api_key: Cow<'a, str>) -> Self {
        KeyJson {
            api_key,
            name: key.record.name.as_str(),
            scope: key.record.scope.as_str(),
            created_at: key.record.created_at.unix_seconds(),
            id: key.record.id.as_str(),
            enabled: key.record.enabled,
            expires_at: key.record.expires_at.map(|end| end.unix_seconds()),
        }
    }

    /// At most so many bytes: of these texts JSON escapes some characters with a second one.
    fn capacity(&self) -> usize {
        KEY_FRAME + 2 * (self.api_key.len() + self.name.len() + self.scope.len())
    }
}

#[derive(Serialize)]
struct Data<T> {
    data: T,
}

#[derive(Serialize)]
struct ListJson<'a> {
    data: Vec<KeyJson<'a>>,
    meta: Meta,
}

#[derive(Serialize)]
struct Meta {
    pagination: Pagination,
}

#[derive(Serialize)]
struct Pagination {
    total: u64,
    count: usize,
    per_page: u64,
    current_page: u64,
    total_pages: u64,
}

#[derive(Serialize)]
struct Deleted {
    success: bool,
    message: String,
}

/// `{"data": KEY}`.
pub(super) fn one(key: &StoredKey) -> Bytes {
    let data = KeyJson::of(key);
    let capacity = data.capacity();
    written(&Data { data }, capacity)
}

/// `{"data": [KEY…], "meta": {"pagination": …}}`.
pub(super) fn list(page: &Page, number: u64, per_page: u64) -> Bytes {
    let data: Vec<KeyJson<'_>> = page.keys.iter().map(KeyJson::of).collect();
    let capacity = KEY_FRAME + data.iter().map(KeyJson::capacity).sum::<usize>();
    let pagination = Pagination {
        total: page.total,
        count: data.len(),
        per_page,
        current_page: number,
        // As the real server's: a list of nothing has one page, and that is empty.
        total_pages: page.total.div_ceil(per_page).max(1),
    };
    let meta = Meta { pagination };
    written(&ListJson { data, meta }, capacity)
}

/// `{"data": {"success": true, "message": …}}`.
pub(super) fn deleted(key: &StoredKey) -> Bytes {
    let message = format!("The API key {} has been deleted.", key.shown.masked());
    let data = Deleted {
        success: true,
        message,
    };
    written(&Data { data }, 2 * KEY_FRAME)
}

fn written(answer: &impl Serialize, capacity: usize) -> Bytes {
    let mut buffer = Zeroizing::new(Vec::with_capacity(capacity));
    serde_json::to_writer(&mut *buffer, answer)
        .expect("texts, numbers and booleans always become JSON, and memory takes every write");
    debug_assert!(buffer.len() <= capacity, "the buffer grew and left a copy");
    Bytes::from_owner(buffer)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::key::{ApiKey, KeyName, KeyRecord, Revision, ScopeName};
    use serde_json::json;

    const TEXT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn stored(name: &str, text: &str, expires_at: Option<i64>) -> StoredKey {
        StoredKey {
            record: KeyRecord {
                id: "abcdefghij0123456789".parse().unwrap(),
                enabled: expires_at.is_none(),
                name: KeyName::parse(name).unwrap(),
                scope: ScopeName::parse("authOnly").unwrap(),
                created_at: Timestamp::from_unix_seconds(1_700_000_000),
                expires_at: expires_at.map(Timestamp::from_unix_seconds),
                revision: Revision(7),
            },
            shown: ShownKey::Whole(ApiKey::parse(text).unwrap()),
        }
    }

    #[test]
    fn a_key_has_exactly_the_fields_of_the_contract() {
        let text = String::from_utf8(one(&stored("Auth \"Key\"", TEXT, None)).to_vec()).unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"data":{{"apiKey":"{TEXT}","name":"Auth \"Key\"","scope":"authOnly","createdAt":1700000000,"id":"abcdefghij0123456789","enabled":true,"expiresAt":null}}}}"#
            )
        );
    }

    #[test]
    fn a_list_tells_where_it_stands() {
        for (total, keys, page, per_page, total_pages) in [
            (0, 0, 1, 100, 1),
            (1, 1, 1, 100, 1),
            (100, 2, 1, 100, 1),
            (101, 1, 2, 100, 2),
            (5, 0, 9, 2, 3),
            (u64::MAX, 0, 1, 1000, u64::MAX / 1000 + 1),
        ] {
            let keys: Vec<_> = (0..keys).map(|_| stored("x", TEXT, Some(5))).collect();
            let count = keys.len();
            let body = list(&Page { keys, total }, page, per_page);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                body["meta"],
                json!({"pagination": {"total": total, "count": count, "per_page": per_page,
                    "current_page": page, "total_pages": total_pages}})
            );
            assert_eq!(body["data"].as_array().unwrap().len(), count);
            if count > 0 {
                assert_eq!(body["data"][0]["expiresAt"], 5);
                assert_eq!(body["data"][0]["enabled"], false);
            }
        }
    }

    #[test]
    fn a_deletion_names_the_key_masked() {
        let body = deleted(&stored("x", TEXT, None));
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["data"]["success"], true);
        assert_eq!(
            body["data"]["message"],
            "The API key 01234******************************34567 has been deleted."
        );
    }

    #[test]
    fn the_buffer_holds_the_longest_key_without_growing() {
        let key = stored(&"\"".repeat(100), &"\\".repeat(128), Some(i64::MIN));
        assert!(one(&key).len() > 400);
        let name = "\u{1f600}".repeat(50);
        let keys = vec![stored(&name, &"\"".repeat(128), Some(i64::MIN)); 3];
        list(&Page { keys, total: 3 }, 1, 1);
        deleted(&key);
    }
}
