//! A document's texts as the policy's file may hold them: in a comment, or as a TOML string.
//!
//! Whoever wrote the document is not asked to be kind. A summary with a line break would end its comment, and what came
//! after would be policy; a character that turns the direction of writing would show another policy than is in force.
//! So a comment is one line of visible characters, and a string has everything else escaped.

use std::fmt::Write;

/// How long a line of a list may be.
const LINE: usize = 100;

/// The text on one line, of visible characters and blanks alone, with `…` where it is longer than this many.
pub(super) fn plain(text: &str, longest: usize) -> String {
    let mut out = String::new();
    let mut count = 0;
    let mut blank = false;
    // Nothing beyond what could be shown is looked at.
    for c in text.chars().take(longest.saturating_mul(8)) {
        if c.is_whitespace() {
            blank = true;
            continue;
        }
        let width = 1 + usize::from(blank && count > 0);
        if count + width > longest {
            out.push('…');
            return out;
        }
        if blank && count > 0 {
            out.push(' ');
        }
        blank = false;
        count += width;
        out.push(if is_visible(c) { c } else { '\u{fffd}' });
    }
    out
}

/// The text as a TOML basic string, in its quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c == ' ' || is_visible(c) => out.push(c),
            c => {
                write!(out, "\\U{:08X}", u32::from(c)).expect("a String takes what is written");
            }
        }
    }
    out.push('"');
    out
}

/// A TOML list of what is quoted already, on one line where it fits.
pub(super) fn list(items: &[String]) -> String {
    let width: usize = items.iter().map(|item| item.len() + 2).sum();
    if width <= LINE {
        return format!("[{}]", items.join(", "));
    }
    let mut out = String::from("[\n");
    for item in items {
        out.push_str(&format!("    {item},\n"));
    }
    out.push(']');
    out
}

/// Whether a reader sees the character, and sees it where it stands.
fn is_visible(c: char) -> bool {
    !(c.is_control()
        || c.is_whitespace()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{115f}'..='\u{1160}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_comment_is_one_line_of_what_is_seen() {
        for (text, longest, expected) in [
            ("  List \n all\tusers ", 40, "List all users"),
            (
                "a\r\n[[routes]]\npath = \"/\"",
                40,
                "a [[routes]] path = \"/\"",
            ),
            ("a\u{0}b\u{202e}c", 40, "a\u{fffd}b\u{fffd}c"),
            ("a\u{2028}b\u{85}c", 40, "a b c"),
            ("0123456789abc", 10, "0123456789…"),
            ("0123456789", 10, "0123456789"),
            ("012345678 9", 10, "012345678…"),
            ("", 10, ""),
        ] {
            assert_eq!(plain(text, longest), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_ends_its_comment_or_its_string(text in any::<String>()) {
            let file = format!("# {}\nx = {}\n", plain(&text, 80), quoted(&text));
            let table = toml::de::DeTable::parse(&file)
                .map_err(|e| TestCaseError::fail(e.to_string()))?;
            let table = table.get_ref();
            prop_assert_eq!(table.len(), 1);
            let found = table.get("x").and_then(|value| value.get_ref().as_str());
            prop_assert_eq!(found, Some(&*text));
        }
    }
}
