//! How a key is named or brought in: on the command line, or on standard input.

use super::error::KeysError;
use crate::key::{ApiKey, KeyId, KeySelector};
use crate::store::KeyStore;
use std::io::Read;
use zeroize::Zeroizing;

/// More than a key, its line's end and some blanks need.
const MOST_BYTES: u64 = 1024;

/// Finds out which key an argument names.
pub(super) fn selector(argument: &str, store: &dyn KeyStore) -> Result<KeySelector, KeysError> {
    let text = if argument == "-" {
        line(std::io::stdin())?
    } else {
        let text = Zeroizing::new(argument.to_owned());
        if text.parse::<KeyId>().is_err() && ApiKey::check(text.as_bytes()).is_ok() {
            say!(
                "keygate: warning: a key on the command line can be seen by others (`ps`, the shell's history): give `-` and the key on standard input, or its id"
            );
        }
        text
    };
    if text.parse::<KeyId>().is_err() && ApiKey::check(text.as_bytes()).is_err() {
        return Err(KeysError::Usage(format!(
            "`{}` is neither an id (20 lowercase letters and digits) nor a key (20 to 128 visible ASCII characters)",
            crate::key::mask(&text)
        )));
    }
    Ok(KeySelector::parse(&text, store.digester()))
}

/// Reads an existing key from standard input.
pub(super) fn brought_key() -> Result<ApiKey, KeysError> {
    let text = line(std::io::stdin())?;
    ApiKey::parse(&text)
        .map_err(|why| KeysError::Usage(format!("the key on standard input cannot be used: {why}")))
}

/// The one line that an input holds, without the blanks around it.
pub(super) fn line(input: impl Read) -> Result<Zeroizing<String>, KeysError> {
    // Large enough at once, so that no copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2048));
    input
        .take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(KeysError::Input)?;
    let usable = (bytes.len() as u64 <= MOST_BYTES)
        .then(|| std::str::from_utf8(&bytes).ok())
        .flatten()
        .map(str::trim_ascii)
        .filter(|text| !text.is_empty() && !text.contains(['\n', '\r']));
    match usable {
        Some(text) => Ok(Zeroizing::new(text.to_owned())),
        None => Err(KeysError::Usage(
            "expected one line on standard input: a key, or the id of one".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_one_line() {
        let long = [b'a'; 2000];
        for (input, expected) in [
            (&b"abc"[..], Some("abc")),
            (b"abc\n", Some("abc")),
            (b" abc \r\n", Some("abc")),
            (b"", None),
            (b"\n", None),
            (b"abc\ndef\n", None),
            (b"\xff", None),
            (&long, None),
        ] {
            let read = line(input).ok();
            assert_eq!(
                read.as_ref().map(|text| text.as_str()),
                expected,
                "{}",
                input.escape_ascii()
            );
        }
    }
}
