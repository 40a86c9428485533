//! What a command says beside its result: on standard error, to whoever hears it.
//!
//! Not for results, which go to standard output and are an error where they cannot be written.

/// Writes a line to standard error. Where that cannot be written nobody is left to be told, and the exit code still says how
/// it came out; `eprintln` would panic.
macro_rules! say {
    ($($said:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($said)*);
    }};
}

/// A text of a stranger's as a terminal may have it: nothing in it moves the cursor, or breaks the line.
pub(super) fn visible(text: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(visible).collect()
}
