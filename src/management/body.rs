//! From the bytes of a body to the members of one JSON object.
//!
//! Only what the five operations need: strings, integers, booleans and `null` keep their value; a number with a fraction
//! or an exponent, an array and an object are told apart and no more, since no field takes one. Members come out in their
//! order, repeated ones too, so that the next step can say everything that is wrong at once. Arrays and objects inside
//! are skipped without recursion: depth costs nothing.

use super::faults::Faults;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The field under which faults of the whole body stand.
const BODY: &str = "body";

/// A JSON value, as far as anybody here looks at it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    /// A number with a fraction or an exponent, or beyond 64 bits.
    OtherNumber,
    Text(String),
    Array,
    Object,
}

/// The members of the object that a body is, in their order.
pub(super) type Members = Vec<(String, Value)>;

/// Reads a body.
///
/// # Errors
/// When it is empty, not UTF-8, not JSON (RFC 8259), followed by something else, or not an object.
pub(super) fn members(body: &[u8]) -> Result<Members, Faults> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Faults::one(
            BODY,
            "The body is empty; it must be a JSON object.",
        ));
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return Err(Faults::one(BODY, "The body must be UTF-8."));
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Top::deserialize(&mut json).and_then(|top| json.end().map(|()| top));
    match read {
        Ok(Top::Object(members)) => Ok(members),
        Ok(Top::Other) => Err(Faults::one(BODY, "The body must be a JSON object.")),
        Err(error) => Err(Faults::one(
            BODY,
            format!(
                "The body is not valid JSON (line {}, column {}).",
                error.line(),
                error.column()
            ),
        )),
    }
}

/// The outermost value.
enum Top {
    Object(Members),
    Other,
}

impl<'de> Deserialize<'de> for Top {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Top::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Top, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Top::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Top, E> {
        Ok(Top::Other)
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<Top, E> {
        Ok(Top::Other)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<Top, E> {
        Ok(Top::Other)
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<Top, E> {
        Ok(Top::Other)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Top, E> {
        Ok(Top::Other)
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<Top, E> {
        Ok(Top::Other)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }
    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sentence(body: &[u8]) -> String {
        let faults = members(body).expect_err("this body is not an object");
        let all: Vec<_> = faults.iter().collect();
        let [(BODY, [sentence])] = all[..] else {
            panic!("one fault of the body expected: {all:?}");
        };
        sentence.clone()
    }

    #[test]
    fn members_come_out_in_order_with_repeated_ones_and_escapes_decoded() {
        let read = members(
            br#" {"b":1,"a":"x\u00e9\ud83d\ude00","\u0062":[[{"c":0}]],"n":null,"t":true,"o":{"a":1,"a":2}} "#,
        );
        let expected = [
            ("b", Value::Integer(1)),
            ("a", Value::Text("x\u{e9}\u{1f600}".to_owned())),
            ("b", Value::Array),
            ("n", Value::Null),
            ("t", Value::Bool(true)),
            ("o", Value::Object),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        assert_eq!(read, Ok(expected.to_vec()));
    }

    #[test]
    fn numbers_are_integers_only_when_written_as_such_and_within_64_bits() {
        for (number, expected) in [
            ("0", Value::Integer(0)),
            ("-1", Value::Integer(-1)),
            ("18446744073709551615", Value::Integer(u64::MAX.into())),
            ("18446744073709551616", Value::OtherNumber),
            ("1.0", Value::OtherNumber),
            ("1e3", Value::OtherNumber),
            ("-0", Value::OtherNumber),
        ] {
            let read = members(format!("{{\"n\":{number}}}").as_bytes());
            assert_eq!(read, Ok(vec![("n".to_owned(), expected)]), "{number}");
        }
    }

    #[test]
    fn what_is_not_one_json_object_is_a_fault_of_the_body() {
        for (body, expected) in [
            (&b""[..], "The body is empty; it must be a JSON object."),
            (b" \r\n", "The body is empty; it must be a JSON object."),
            (b"[]", "The body must be a JSON object."),
            (b"[{\"name\":\"x\"}]", "The body must be a JSON object."),
            (b"null", "The body must be a JSON object."),
            (b"true", "The body must be a JSON object."),
            (b"1", "The body must be a JSON object."),
            (b"-1", "The body must be a JSON object."),
            (b"1.5", "The body must be a JSON object."),
            (b"\"name\"", "The body must be a JSON object."),
            (b"\xff", "The body must be UTF-8."),
            (b"{\"name\":\"\xc0\xaf\"}", "The body must be UTF-8."),
            (b"{\"x\":[\"\xed\xa0\x80\"]}", "The body must be UTF-8."),
            (b"{", "The body is not valid JSON (line 1, column 1)."),
            (b"{}x", "The body is not valid JSON (line 1, column 3)."),
            (b"{}{}", "The body is not valid JSON (line 1, column 3)."),
            (b"{\n}\n]", "The body is not valid JSON (line 3, column 1)."),
            (b"[] []", "The body is not valid JSON (line 1, column 4)."),
        ] {
            assert_eq!(sentence(body), expected, "{:?}", body.escape_ascii());
        }
    }

    #[test]
    fn json_that_only_other_parsers_read_is_refused() {
        for body in [
            &b"{\"a\":1,}"[..],
            b"{a:1}",
            b"{'a':1}",
            b"{\"a\":01}",
            b"{\"a\":+1}",
            b"{\"a\":.5}",
            b"{\"a\":1.}",
            b"{\"a\":NaN}",
            b"{\"a\":0x10}",
            b"{\"a\":1e999}",
            b"{\"a\":\"\t\"}",
            b"{\"a\":\"\\x41\"}",
            b"{\"a\":\"\\ud800\"}",
            b"{\"a\":\"\\udc00\\ud800\"}",
            b"{\"a\" 1}",
            b"{\"a\":1 \"b\":2}",
            b"{\"a\":[1,]}",
            b"{\"a\":{\"b\"}}",
            b"{\"a\":1} // b",
            b"\xef\xbb\xbf{\"a\":1}",
            b"{\"a\":1}\0",
            b"{1:1}",
            b"{\"a\":tru}",
        ] {
            assert!(
                sentence(body).starts_with("The body is not valid JSON"),
                "{:?}",
                body.escape_ascii()
            );
        }
    }

    #[test]
    fn depth_is_skipped_and_not_climbed() {
        let depth = 30_000;
        let body = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(
            members(body.as_bytes()),
            Ok(vec![("a".to_owned(), Value::Array)])
        );
        assert_eq!(
            sentence("[".repeat(60_000).as_bytes()),
            "The body is not valid JSON (line 1, column 60000)."
        );
        let body = "{\"a\":".repeat(12_000);
        assert!(sentence(body.as_bytes()).starts_with("The body is not valid JSON"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = members(&body);
        }

        #[test]
        fn whatever_serde_json_takes_for_an_object_is_one_here(text in r#"[\[\]{}":, \\ua0-9e.+-]{0,40}"#) {
            let ours = members(text.as_bytes());
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(serde_json::Value::Object(map)) => {
                    let ours = ours.expect("an object");
                    prop_assert!(map.keys().all(|key| ours.iter().any(|(name, _)| name == key)));
                }
                Ok(_) => prop_assert!(ours.is_err()),
                // What is skipped inside an array is not looked at as closely as what is kept.
                Err(_) => {}
            }
        }
    }
}
