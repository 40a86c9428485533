//! The texts that stand in a source: what a program can say is made of these.
//!
//! A text is a string literal. Comments have none that is said, nor do modules of tests; what stands in `expect("…")` and its
//! like is said of the program itself. A literal that is formatted says only what is around its placeholders.

/// A string literal of a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    pub line: usize,
    /// As it is said, with its placeholders.
    pub text: String,
}

/// What stands before a literal that is never part of a message.
const OF_THE_PROGRAM: [&str; 7] = [
    "expect(",
    "unreachable!(",
    "panic!(",
    "reason =",
    "must_use =",
    "after_help =",
    "debug_assert!(",
];

/// All texts of a source that may be messages: of two words or more, a placeholder counting as one.
pub fn texts(source: &str) -> Vec<Text> {
    let source = without_tests(source);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        let rest = &source[at..];
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if c == '"' {
            literal(rest)
        } else if rest.starts_with("r#\"") {
            // For texts of tests and patterns, never for what is said.
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if c == '\'' {
            character(rest)
        } else {
            c.len_utf8()
        };
        if c == '"' {
            let before = source[..at].trim_end();
            let text = said(&rest[1..length - 1]);
            if is_message(&text) && !OF_THE_PROGRAM.iter().any(|of| before.ends_with(of)) {
                let line = source[..at].matches('\n').count() + 1;
                found.push(Text { line, text });
            }
        }
        at += length;
    }
    found
}

/// The source with its modules of tests blanked; they stand at its left edge, and so do their ends.
fn without_tests(source: &str) -> String {
    const BEGIN: &str = "\n#[cfg(test)]\nmod tests {\n";
    let Some((before, tests)) = source.split_once(BEGIN) else {
        return source.to_owned();
    };
    let end = tests.find("\n}\n").map_or(tests.len(), |end| end + 3);
    let lines = BEGIN.matches('\n').count() + tests[..end].matches('\n').count();
    format!("{before}{}{}", "\n".repeat(lines), &tests[end..])
}

/// How long a literal is, with its marks.
fn literal(rest: &str) -> usize {
    let mut escaped = true;
    for (at, c) in rest.char_indices() {
        match c {
            // The first mark is passed over as an escaped one would be.
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// How long a character literal is; 1 for the mark of a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((_, escaped))) => {
            let from = 2 + escaped.len_utf8();
            rest[from..].find('\'').map_or(1, |end| from + end + 1)
        }
        (Some((_, c)), Some((end, '\''))) if c != '\'' => end + 1,
        _ => 1,
    }
}

/// A literal without its escapes.
fn said(literal: &str) -> String {
    let mut said = String::new();
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('\n')) => while chars.next_if(|c| c.is_whitespace()).is_some() {},
            ('\\', Some('n' | 'r')) => {
                chars.next();
                said.push('\n');
            }
            ('\\', Some(_)) => said.extend(chars.next()),
            _ => said.push(c),
        }
    }
    said
}

fn is_message(text: &str) -> bool {
    let letters = pieces(text)
        .iter()
        .any(|piece| piece.contains(char::is_alphabetic));
    letters && text.trim().contains(' ')
}

/// What is around the placeholders of a text: `{{` is a brace, `{…}` is filled.
pub fn pieces(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = pieces.last_mut().expect("there is one from the start");
        match c {
            '{' | '}' if chars.next_if_eq(&c).is_some() => last.push(c),
            '{' => {
                chars.by_ref().find(|c| *c == '}');
                pieces.push(String::new());
            }
            _ => last.push(c),
        }
    }
    pieces
}

/// Whether a line says a text, with anything in place of its placeholders.
pub fn says(line: &str, text: &str) -> bool {
    let mut pieces = pieces(text);
    let last = pieces.pop().expect("there is one from the start");
    let Some((first, middle)) = pieces.split_first() else {
        return words(line, &last).next().is_some();
    };
    // The first place of each is the best: it leaves the most to those that follow.
    let begin = |from: usize| {
        let mut at = from + first.len();
        for piece in middle {
            at += line[at..].find(piece.as_str())? + piece.len();
        }
        line[at..].find(&last)
    };
    starts(line, first).any(|at| begin(at).is_some())
}

/// Where a piece stands in a line and begins no word in its middle.
fn starts<'l>(line: &'l str, piece: &'l str) -> impl Iterator<Item = usize> + 'l {
    line.match_indices(piece)
        .map(|(at, _)| at)
        .filter(move |at| {
            let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            !(inside(line[..*at].chars().next_back()) && inside(piece.chars().next()))
        })
}

/// Where a piece stands in a line as whole words.
fn words<'l>(line: &'l str, piece: &'l str) -> impl Iterator<Item = usize> + 'l {
    starts(line, piece).filter(move |at| {
        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let after = line[at + piece.len()..].chars().next();
        !(inside(piece.chars().next_back()) && inside(after))
    })
}
