//! Bytes as people can read and write them.
//!
//! A line's end in the text is layout and stands for nothing; what stands for bytes is written out: `\r`, `\n`, `\t`,
//! `\0`, `\\`, `\{`, `\}`, `\xNN`. In braces: a name (`{full}` is a key), a repetition (`{ab*3}` is `ababab`), a chunk
//! (`{chunk hello}` is `5\r\nhello\r\n`), and `{body-length}`, the number of bytes after the next empty line.

/// What the names in braces stand for.
pub type Names = [(&'static str, String)];

/// The bytes that a text stands for.
///
/// # Errors
/// What cannot be read, in words.
pub fn bytes(text: &str, names: &Names) -> Result<Vec<u8>, String> {
    let mut lengths = Vec::new();
    let mut out = read(text, names, &mut lengths)?;
    // From behind, so that the places before stay where they are.
    for at in lengths.into_iter().rev() {
        let empty = out[at..].windows(4).position(|w| w == b"\r\n\r\n");
        let from = at + empty.ok_or("no empty line after {body-length}")? + 4;
        let length = (out.len() - from).to_string();
        out.splice(at..at, length.into_bytes());
    }
    Ok(out)
}

fn read(text: &str, names: &Names, lengths: &mut Vec<usize>) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '\n' => rest = after,
            '\\' => rest = escape(after, &mut out)?,
            '{' => {
                let end = closing(after).ok_or_else(|| format!("no end of {{{after:.40}"))?;
                let inner = &after[..end];
                rest = &after[end + 1..];
                if inner == "body-length" {
                    lengths.push(out.len());
                } else {
                    out.extend(braced(inner, names)?);
                }
            }
            '}' => return Err(format!("a brace closes nothing: {rest:.40}")),
            _ => {
                out.extend_from_slice(c.to_string().as_bytes());
                rest = after;
            }
        }
    }
    Ok(out)
}

fn escape<'a>(text: &'a str, out: &mut Vec<u8>) -> Result<&'a str, String> {
    let wrong = || format!("no such escape: \\{text:.10}");
    let c = text.chars().next().ok_or_else(wrong)?;
    out.push(match c {
        'r' => b'\r',
        'n' => b'\n',
        't' => b'\t',
        '0' => 0,
        '\\' | '{' | '}' => u8::try_from(c).map_err(|_| wrong())?,
        'x' => {
            let digits = text.get(1..3).ok_or_else(wrong)?;
            out.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
            return Ok(&text[3..]);
        }
        _ => return Err(wrong()),
    });
    Ok(&text[1..])
}

/// Where the brace closes that was opened before this text.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn braced(inner: &str, names: &Names) -> Result<Vec<u8>, String> {
    if let Some((_, value)) = names.iter().find(|(name, _)| *name == inner) {
        return Ok(value.clone().into_bytes());
    }
    if let Some(data) = inner.strip_prefix("chunk ") {
        let data = bytes(data, names)?;
        let size = format!("{:x}\r\n", data.len());
        return Ok([size.as_bytes(), &data, b"\r\n"].concat());
    }
    if let Some((what, times)) = inner.rsplit_once('*') {
        let times = times.parse().map_err(|_| format!("no number: {times}"))?;
        return Ok(bytes(what, names)?.repeat(times));
    }
    Err(format!("no such name: {{{inner}}}"))
}

/// Bytes for a reader, cut where they are many.
pub fn show(bytes: &[u8]) -> String {
    const MOST: usize = 900;
    let text = bytes[..bytes.len().min(MOST)].escape_ascii().to_string();
    match bytes.len() {
        0..=MOST => text,
        all => format!("{text}… ({all} bytes)"),
    }
}

#[test]
fn texts_stand_for_bytes() {
    let names = [("full", "K".to_owned())];
    for (text, expected) in [
        (r"a\r\n\x00\0\t\\", Ok(&b"a\r\n\0\0\t\\"[..])),
        ("a\nb", Ok(b"ab")),
        ("{full}{ab*3}", Ok(b"Kababab")),
        ("{{full}*2}", Ok(b"KK")),
        (r"{chunk hi\n}", Ok(b"3\r\nhi\n\r\n")),
        (r"\{\}", Ok(b"{}")),
        (r"L: {body-length}\r\n\r\nhello", Ok(b"L: 5\r\n\r\nhello")),
        (r"{\r\n*2}", Ok(b"\r\n\r\n")),
        ("{nobody}", Err(())),
        ("{full", Err(())),
        ("full}", Err(())),
        (r"\q", Err(())),
        (r"\x0", Err(())),
    ] {
        let got = bytes(text, &names);
        assert_eq!(got.as_deref().map_err(|_| ()), expected, "{text}");
    }
}
