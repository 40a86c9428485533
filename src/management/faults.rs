//! What is wrong with a request, field by field: the `details` of the contract.

use serde::ser::{Serialize, SerializeMap, Serializer};

/// Faults of one request: each field that has some, in the order in which they were found, with its sentences.
///
/// Serializes as the contract's `details`: `{"name": ["The name field is required."]}`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults(Vec<(String, Vec<String>)>);

impl Faults {
    /// A single fault.
    pub fn one(field: &str, sentence: impl Into<String>) -> Self {
        let mut faults = Faults::default();
        faults.add(field, sentence);
        faults
    }

    /// Notes one more; what was said of a field is not said again.
    pub fn add(&mut self, field: &str, sentence: impl Into<String>) {
        let sentence = sentence.into();
        match self.0.iter_mut().find(|(known, _)| known == field) {
            Some((_, sentences)) if sentences.contains(&sentence) => {}
            Some((_, sentences)) => sentences.push(sentence),
            None => self.0.push((field.to_owned(), vec![sentence])),
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many fields have faults.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each field that has faults, with its sentences.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0
            .iter()
            .map(|(field, sentences)| (field.as_str(), sentences.as_slice()))
    }

    /// The value, if nothing was wrong with it.
    pub(super) fn or<T>(self, value: Option<T>) -> Result<T, Faults> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl Serialize for Faults {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (field, sentences) in &self.0 {
            map.serialize_entry(field, sentences)?;
        }
        map.end()
    }
}
