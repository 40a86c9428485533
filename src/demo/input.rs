//! From what a client sent to typed values, with every fault of a body collected before any is told.
//!
//! `{"name": 7}` for a user: [`Fields::required`] notes that `uid` is missing and that `name` is not a text, and
//! [`Fields::done`] turns both into one [`ChatError::Invalid`]. Fields that nobody asks for are ignored, as the real API
//! does; `null` counts as absent.

use super::error::{ChatError, Details};
use serde_json::{Map, Value};

/// A body that is being read.
pub(super) struct Fields<'a> {
    body: &'a Map<String, Value>,
    faults: Details,
}

impl<'a> Fields<'a> {
    pub fn of(body: &'a Map<String, Value>) -> Self {
        Fields {
            body,
            faults: Details::new(),
        }
    }

    fn fault(&mut self, name: &str, sentence: String) {
        self.faults
            .entry(name.to_owned())
            .or_default()
            .push(sentence);
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.body.get(name).filter(|value| !value.is_null())
    }

    /// A text of at most `most` characters.
    pub fn text(&mut self, name: &str, most: usize) -> Option<String> {
        let Some(text) = self.value(name)?.as_str() else {
            self.fault(name, format!("The {name} field must be a string."));
            return None;
        };
        if text.chars().count() > most {
            self.fault(
                name,
                format!("The {name} field has at most {most} characters."),
            );
            return None;
        }
        Some(text.to_owned())
    }

    /// A text that must be there and not be empty; what it gives after a fault does not matter.
    pub fn required(&mut self, name: &str, most: usize) -> String {
        match self.text(name, most) {
            Some(text) if !text.is_empty() => text,
            _ => {
                self.missing(name);
                String::new()
            }
        }
    }

    /// Notes that a field has to be there, unless something else is wrong with it already.
    pub fn missing(&mut self, name: &str) {
        if !self.faults.contains_key(name) {
            self.fault(name, format!("The {name} field is required."));
        }
    }

    /// A uid or guid: letters, digits, `-` and `_`; upper case becomes lower case.
    pub fn identifier(&mut self, name: &str) -> String {
        let text = self.required(name, 100);
        if !text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        {
            self.fault(
                name,
                format!("The {name} field takes letters, digits, - and _."),
            );
        }
        text.to_ascii_lowercase()
    }

    /// One of these texts.
    pub fn choice(&mut self, name: &str, choices: &[&str]) -> Option<String> {
        let text = self.text(name, 100)?;
        if !choices.contains(&text.as_str()) {
            self.fault(
                name,
                format!("The {name} field is one of: {}.", choices.join(", ")),
            );
        }
        Some(text)
    }

    /// A flag; absent is `false`.
    pub fn flag(&mut self, name: &str) -> bool {
        match self.value(name) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.fault(name, format!("The {name} field must be true or false."));
                false
            }
        }
    }

    /// An object that takes at most `most` bytes as JSON.
    pub fn object(&mut self, name: &str, most: usize) -> Option<Map<String, Value>> {
        let value = self.value(name)?;
        let Some(object) = value.as_object() else {
            self.fault(name, format!("The {name} field must be an object."));
            return None;
        };
        if value.to_string().len() > most {
            self.fault(name, format!("The {name} field has at most {most} bytes."));
            return None;
        }
        Some(object.clone())
    }

    /// A list of at most `most` texts of at most 100 characters.
    pub fn texts(&mut self, name: &str, most: usize) -> Option<Vec<String>> {
        let texts: Option<Vec<String>> = self.value(name)?.as_array().and_then(|items| {
            let text = |item: &Value| item.as_str().map(str::to_owned);
            items.iter().map(text).collect()
        });
        match texts {
            None => {
                self.fault(name, format!("The {name} field must be a list of strings."));
                None
            }
            Some(texts) if texts.len() > most || texts.iter().any(|t| t.chars().count() > 100) => {
                self.fault(
                    name,
                    format!("The {name} field has at most {most} items of 100 characters."),
                );
                None
            }
            texts => texts,
        }
    }

    /// A whole number, written as one or as a text.
    pub fn number(&mut self, name: &str) -> Option<u64> {
        let value = self.value(name)?;
        let number = value
            .as_u64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        if number.is_none() {
            self.fault(name, format!("The {name} field must be a number."));
        }
        number
    }

    /// A fault that the caller found.
    pub fn refuse(&mut self, name: &str, sentence: &str) {
        self.fault(name, sentence.to_owned());
    }

    /// # Errors
    /// When any field asked for was wrong.
    pub fn done(self) -> Result<(), ChatError> {
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(ChatError::Invalid(self.faults))
        }
    }
}

/// A query string: the last of repeated names counts, as the real API has it.
#[derive(Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=1&b=2`, percent-encoded, `+` for a blank.
    pub fn parse(text: &str) -> Self {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (
                decode(&name.replace('+', " ")),
                decode(&value.replace('+', " ")),
            )
        };
        Query(
            text.split('&')
                .filter(|part| !part.is_empty())
                .map(pair)
                .collect(),
        )
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        let named = self.0.iter().rev().find(|(n, _)| n == name);
        named
            .map(|(_, value)| value.as_str())
            .filter(|v| !v.is_empty())
    }

    pub fn flag(&self, name: &str) -> bool {
        matches!(self.text(name), Some("true" | "1"))
    }

    /// A whole number from 1 to `most`.
    ///
    /// # Errors
    /// When it is none.
    pub fn count(&self, name: &str, default: usize, most: usize) -> Result<usize, ChatError> {
        match self.text(name).map(str::parse) {
            None => Ok(default),
            Some(Ok(count)) if (1..=most).contains(&count) => Ok(count),
            Some(_) => Err(ChatError::field(
                name,
                &format!("The {name} field is a number from 1 to {most}."),
            )),
        }
    }
}

/// Decodes percent-escapes; what is no escape or no UTF-8 stays visible as it can.
pub(super) fn decode(text: &str) -> String {
    let hex = |b: u8| char::from(b).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            bytes.extend(u8::try_from(high * 16 + low));
            rest = after;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_fault_of_a_body_is_told_at_once() {
        let body = json!({"name": 7, "tags": ["a", 1], "withAuthToken": "yes", "metadata": [], "uid": "no blanks"});
        let body = body.as_object().unwrap();
        let mut fields = Fields::of(body);
        fields.identifier("uid");
        fields.required("name", 100);
        fields.texts("tags", 25);
        fields.flag("withAuthToken");
        fields.object("metadata", 100);
        fields.required("type", 100);
        let Err(ChatError::Invalid(details)) = fields.done() else {
            panic!("the body has faults");
        };
        let faulty: Vec<&str> = details.keys().map(String::as_str).collect();
        assert_eq!(
            faulty,
            ["metadata", "name", "tags", "type", "uid", "withAuthToken"]
        );
        assert!(details.values().all(|sentences| sentences.len() == 1));
    }

    #[test]
    fn null_is_absent_and_an_empty_text_is_not_enough_where_one_is_required() {
        let body = json!({"avatar": null, "name": ""});
        let mut fields = Fields::of(body.as_object().unwrap());
        assert_eq!(fields.text("avatar", 10), None);
        fields.required("name", 10);
        assert_eq!(
            fields.done(),
            Err(ChatError::field("name", "The name field is required."))
        );
    }

    #[test]
    fn escapes_are_decoded_once_and_broken_ones_stay() {
        for (text, decoded) in [
            ("a%20b", "a b"),
            ("%F0%9F%98%8A", "\u{1f60a}"),
            ("100%", "100%"),
            ("%zz", "%zz"),
            ("%2541", "%41"),
        ] {
            assert_eq!(decode(text), decoded, "{text}");
        }
    }

    #[test]
    fn a_count_outside_its_bounds_is_a_fault() {
        let query = Query::parse("perPage=1001&page=2&x");
        assert!(query.count("perPage", 100, 1000).is_err());
        assert_eq!(query.count("page", 1, 1000), Ok(2));
        assert_eq!(query.count("limit", 30, 1000), Ok(30));
    }
}
