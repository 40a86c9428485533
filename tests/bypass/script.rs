//! What a client does in a case that is more than one request: a line for each step.
//!
//! ```text
//! send | POST /open/x HTTP/1.1\r\n        bytes; a line that begins with `|` goes on with them
//!      | Host: a\r\n\r\n
//! trickle | abc                           bytes, each in a write of its own
//! wait read                               until the gateway has taken all that was sent from its socket
//! wait answer                             until one more answer is there, whole
//! wait continue                           until `100 Continue` is there
//! wait upstream 1                         until the upstream has seen so many heads of this case
//! tunnel | abc                            these bytes come back, after a 101
//! release                                 the upstream answers what it holds
//! finish                                  our direction ends
//! leave                                   the connection ends
//! headers 1 end                           HTTP/2: a frame of this stream, with END_STREAM; `more`: without END_HEADERS
//!   @GET /open/x                          its pseudo-fields
//!   name = value                          a field, in the order in which they are written
//! continuation 1                          likewise; `more`: without END_HEADERS
//! data 1 end | hello
//! frame 3 0 1 | \0\0\0\x08                any frame: kind, flags, stream, payload
//! repeat 100                              all up to `done`, the stream 2 higher each time
//! done
//! ```

use super::notation::{Names, bytes, show};
use std::fmt;

#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<u8>),
    Trickle(Vec<u8>),
    WaitRead,
    WaitAnswer,
    WaitContinue,
    WaitUpstream(usize),
    Tunnel(Vec<u8>),
    Release,
    Finish,
    Leave,
    Fields {
        kind: FieldsKind,
        stream: u32,
        end: bool,
        more: bool,
        fields: Vec<Field>,
    },
    Data {
        stream: u32,
        end: bool,
        data: Vec<u8>,
    },
    Frame {
        kind: u8,
        flags: u8,
        stream: u32,
        payload: Vec<u8>,
    },
    Repeat(u32, Vec<Step>),
}

/// A name and a value, as they stand in the frame.
pub type Field = (Vec<u8>, Vec<u8>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldsKind {
    Headers,
    Continuation,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |yes: bool, text: &'static str| if yes { text } else { "" };
        match self {
            Step::Fields {
                kind,
                stream,
                end,
                more,
                fields,
            } => {
                write!(
                    f,
                    "{kind:?} {stream}{}{}",
                    flag(*end, " end"),
                    flag(*more, " more")
                )?;
                fields
                    .iter()
                    .try_for_each(|(n, v)| write!(f, "; {} = {}", n.escape_ascii(), show(v)))
            }
            Step::Data { stream, end, data } => {
                write!(f, "data {stream}{} {}", flag(*end, " end"), show(data))
            }
            Step::Frame {
                kind,
                flags,
                stream,
                payload,
            } => {
                write!(f, "frame {kind} {flags} {stream} {}", show(payload))
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// The steps of a script.
///
/// # Errors
/// The first line that cannot be read, and why.
pub fn parse(text: &str, names: &Names) -> Result<Vec<Step>, String> {
    let mut lines = text.lines().filter(|l| !l.trim().is_empty()).peekable();
    let steps = block(&mut lines, names, false)?;
    match lines.next() {
        None => Ok(steps),
        Some(line) => Err(format!("nothing to do with {line:?}")),
    }
}

type Lines<'a, I> = std::iter::Peekable<I>;

fn block<'a, I: Iterator<Item = &'a str>>(
    lines: &mut Lines<'a, I>,
    names: &Names,
    inner: bool,
) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    while let Some(line) = lines.next() {
        if inner && line == "done" {
            return Ok(steps);
        }
        let (words, first) = match line.split_once('|') {
            Some((words, text)) => (words, Some(text.strip_prefix(' ').unwrap_or(text))),
            None => (line, None),
        };
        let mut text = first.unwrap_or_default().to_owned();
        while let Some(more) = lines.next_if(|l| l.trim_start().starts_with('|')) {
            let more = &more.trim_start()[1..];
            text.push_str(more.strip_prefix(' ').unwrap_or(more));
        }
        let words: Vec<&str> = words.split_whitespace().collect();
        let data = || bytes(&text, names).map_err(|e| format!("{line:?}: {e}"));
        let number = |at: usize| -> Result<u32, String> {
            let word = words.get(at).copied().unwrap_or_default();
            let number = match word.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => word.parse(),
            };
            number.map_err(|_| format!("{line:?}: no number {word:?}"))
        };
        let flag = |flag: &str| words.contains(&flag);
        steps.push(match words[..] {
            ["send"] => Step::Send(data()?),
            ["trickle"] => Step::Trickle(data()?),
            ["wait", "read"] => Step::WaitRead,
            ["wait", "answer"] => Step::WaitAnswer,
            ["wait", "continue"] => Step::WaitContinue,
            ["wait", "upstream", _] => Step::WaitUpstream(number(2)? as usize),
            ["tunnel"] => Step::Tunnel(data()?),
            ["release"] => Step::Release,
            ["finish"] => Step::Finish,
            ["leave"] => Step::Leave,
            [kind @ ("headers" | "continuation"), _, ..] => Step::Fields {
                kind: match kind {
                    "headers" => FieldsKind::Headers,
                    _ => FieldsKind::Continuation,
                },
                stream: number(1)?,
                end: flag("end"),
                more: flag("more"),
                fields: fields(lines, names)?,
            },
            ["data", _, ..] => Step::Data {
                stream: number(1)?,
                end: flag("end"),
                data: data()?,
            },
            ["frame", _, _, _] => Step::Frame {
                kind: number(1)? as u8,
                flags: number(2)? as u8,
                stream: number(3)?,
                payload: data()?,
            },
            ["repeat", _] => Step::Repeat(number(1)?, block(lines, names, true)?),
            _ => return Err(format!("no such step: {line:?}")),
        });
    }
    if inner {
        return Err("a repeat without its done".to_owned());
    }
    Ok(steps)
}

/// The indented lines that follow.
fn fields<'a, I: Iterator<Item = &'a str>>(
    lines: &mut Lines<'a, I>,
    names: &Names,
) -> Result<Vec<Field>, String> {
    let mut all = Vec::new();
    while let Some(line) =
        lines.next_if(|l| l.starts_with("  ") && !l.trim_start().starts_with('|'))
    {
        let line = &line[2..];
        if let Some(short) = line.strip_prefix('@') {
            let (method, path) = short.split_once(' ').ok_or("a method and a path")?;
            all.extend(pseudo(method, path, "gateway.test", names)?);
            continue;
        }
        let (name, value) = match line.split_once(" =") {
            Some((name, value)) => (name, value.strip_prefix(' ').unwrap_or(value)),
            None => return Err(format!("a field is `name = value`: {line:?}")),
        };
        all.push((bytes(name, names)?, bytes(value, names)?));
    }
    Ok(all)
}

/// The pseudo-fields of a request.
pub fn pseudo(method: &str, path: &str, host: &str, names: &Names) -> Result<Vec<Field>, String> {
    Ok(vec![
        (b":method".to_vec(), bytes(method, names)?),
        (b":scheme".to_vec(), b"http".to_vec()),
        (b":authority".to_vec(), bytes(host, names)?),
        (b":path".to_vec(), bytes(path, names)?),
    ])
}
