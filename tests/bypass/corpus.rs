//! The corpus: the files of this folder, one a class, as cases.
//!
//! A file is TOML: a table `[defaults]` with fields for all its cases, then `[[case]]` tables.
//!
//! ```toml
//! [[case]]
//! name      = "an encoded slash is no slash"  # a sentence, once in the corpus
//! source    = "CVE-2021-29492"                # what teaches it: an advisory, a section of an RFC, a named technique
//! rule      = "target-encoded-slash"          # what it tests: a row of RULES.md
//! # What is sent: one request, over each of the protocols …
//! protocols = ["http1", "http2"]
//! method    = "GET"
//! target    = "/open/a%2Fb"
//! host      = "gateway.test"
//! headers   = ["apikey: {full}"]
//! body      = "…"                             # with its Content-Length over HTTP/1.1
//! # … or bytes, `raw = '…'`, see notation.rs, or `steps = '…'`, see script.rs.
//! status    = [400]          # of each answer; or "400 or 431", "refused" (any 4xx, a reset, an end), "reset", "closed"
//! upstream  = "nothing"      # or "GET /open/x"; or several; "POST /open/x cut" never comes to its end; "… whole or cut" may
//! sees      = ["a: b"]       # fields of the first of them, exactly once
//! lacks     = ["a"]          # fields that none of them has
//! says      = '…'            # the body of the first of them
//! named     = "a.test"       # its Host
//! then      = "closed"       # what becomes of the client's connection: "closed", "open"; without it either
//! continue  = true           # `100 Continue` may come
//! to_head   = true           # the answers have no bodies
//! tunnelled = '…'            # what came through an upgraded connection; without it nothing may
//! gateway   = "drop"         # at a gateway with `underscores = "drop"`
//! http2     = { status = ["reset"] }   # what differs over HTTP/2
//! ```

use super::notation::{Names, bytes};
use super::script::{self, Step};
use toml::de::{DeTable, DeValue};

/// The classes, a file each.
pub const CLASSES: [&str; 8] = [
    "target", "host", "headers", "framing", "body", "upgrade", "http2", "timing",
];

/// The text of a class's file.
pub fn text(class: &str) -> String {
    let path = format!("{}/tests/bypass/{class}.toml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    Http1,
    Http2,
}

/// Which gateway a case is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    Plain,
    /// Names with an underscore are dropped.
    Drop,
}

#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub source: String,
    pub rule: String,
    pub setting: Setting,
    pub to_head: bool,
    /// Once for each protocol.
    pub runs: Vec<Run>,
}

#[derive(Clone, Debug)]
pub struct Run {
    pub wire: Wire,
    pub steps: Vec<Step>,
    pub expected: Expected,
}

#[derive(Clone, Debug)]
pub struct Expected {
    pub status: Vec<Vec<String>>,
    pub upstream: Vec<Request>,
    pub sees: Vec<(String, String)>,
    pub lacks: Vec<String>,
    pub says: Option<Vec<u8>>,
    pub named: Option<String>,
    pub then: Then,
    pub may_continue: bool,
    pub tunnelled: Vec<u8>,
}

/// What the upstream is to see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub line: String,
    pub arrives: Arrives,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrives {
    Whole,
    /// If at all, then not to its end.
    Cut,
    /// As it happens: its end is certain before the fault is.
    Either,
}

impl Request {
    /// Whether it must come, to its end.
    pub fn must_come(&self) -> bool {
        self.arrives == Arrives::Whole
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    Open,
    Closed,
    Either,
}

/// A table and what stands in for the fields that it does not have.
struct Fields<'a>(&'a [&'a DeTable<'a>]);

impl<'a> Fields<'a> {
    fn find(&self, name: &str) -> Option<&'a DeValue<'a>> {
        self.0
            .iter()
            .find_map(|table| table.get(name))
            .map(|value| value.get_ref())
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.find(name) {
            None => Ok(None),
            Some(DeValue::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("`{name}` is a text")),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        match self.find(name) {
            None => Ok(false),
            Some(DeValue::Boolean(yes)) => Ok(*yes),
            Some(_) => Err(format!("`{name}` is true or false")),
        }
    }

    /// A list of texts and numbers; one text stands for a list of it.
    fn list(&self, name: &str) -> Result<Option<Vec<String>>, String> {
        let one = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(number) => Ok(number.as_str().to_owned()),
            _ => Err(format!("`{name}` has texts and numbers")),
        };
        match self.find(name) {
            None => Ok(None),
            Some(DeValue::Array(items)) => {
                let items = items.iter().map(|item| one(item.get_ref()));
                items.collect::<Result<_, _>>().map(Some)
            }
            Some(value) => Ok(Some(vec![one(value)?])),
        }
    }
}

const FIELDS: &[&str] = &[
    "name",
    "source",
    "rule",
    "protocols",
    "method",
    "target",
    "host",
    "headers",
    "body",
    "raw",
    "steps",
    "status",
    "upstream",
    "sees",
    "lacks",
    "says",
    "named",
    "then",
    "continue",
    "to_head",
    "tunnelled",
    "gateway",
    "http2",
];

/// The cases of a file.
///
/// # Errors
/// The first case that cannot be read, and why.
pub fn read(text: &str, names: &Names) -> Result<Vec<Case>, String> {
    let file = DeTable::parse(text)
        .map_err(|e| e.to_string())?
        .into_inner();
    let empty = DeTable::new();
    let defaults = match file.get("defaults").map(|v| v.get_ref()) {
        Some(DeValue::Table(table)) => table,
        _ => &empty,
    };
    let Some(DeValue::Array(tables)) = file.get("case").map(|v| v.get_ref()) else {
        return Err("no [[case]]".to_owned());
    };
    let mut cases = Vec::new();
    for table in tables {
        let DeValue::Table(table) = table.get_ref() else {
            return Err("a case is a table".to_owned());
        };
        let fields = Fields(&[table, defaults]);
        let name = fields.text("name")?.ok_or("a case without a name")?;
        let unknown = table
            .keys()
            .find(|key| !FIELDS.contains(&key.get_ref().as_ref()));
        if let Some(unknown) = unknown {
            return Err(format!("{name}: no such field: {}", unknown.get_ref()));
        }
        cases.push(case(name, table, defaults, names).map_err(|e| format!("{name}: {e}"))?);
    }
    Ok(cases)
}

fn case<'a>(
    name: &str,
    table: &'a DeTable<'a>,
    defaults: &'a DeTable<'a>,
    names: &Names,
) -> Result<Case, String> {
    let plain = [table, defaults];
    let fields = Fields(&plain);
    let need =
        |name: &str| Ok::<_, String>(fields.text(name)?.ok_or(format!("no {name}"))?.to_owned());
    let protocols = match (fields.find("raw"), fields.text("steps")?) {
        (Some(_), _) => vec!["http1".to_owned()],
        _ => fields
            .list("protocols")?
            .unwrap_or(vec!["http1".to_owned()]),
    };
    let mut runs = Vec::new();
    for protocol in protocols {
        let (wire, own) = match protocol.as_str() {
            "http1" => (Wire::Http1, None),
            "http2" => (Wire::Http2, fields.find("http2")),
            other => return Err(format!("no such protocol: {other}")),
        };
        let layers = match own {
            Some(DeValue::Table(own)) => vec![own, table, defaults],
            _ => vec![table, defaults],
        };
        let fields = Fields(&layers);
        runs.push(Run {
            wire,
            steps: steps(&fields, wire, names)?,
            expected: expected(&fields, names)?,
        });
    }
    Ok(Case {
        name: name.to_owned(),
        source: need("source")?,
        rule: need("rule")?,
        setting: match fields.text("gateway")? {
            None => Setting::Plain,
            Some("drop") => Setting::Drop,
            Some(other) => return Err(format!("no such gateway: {other}")),
        },
        to_head: fields.flag("to_head")?,
        runs,
    })
}

fn steps(fields: &Fields<'_>, wire: Wire, names: &Names) -> Result<Vec<Step>, String> {
    if let Some(raw) = fields.text("raw")? {
        return Ok(vec![Step::Send(bytes(raw, names)?)]);
    }
    if let Some(text) = fields.text("steps")? {
        return script::parse(text, names);
    }
    let method = fields.text("method")?.unwrap_or("GET");
    let target = fields.text("target")?.unwrap_or("/open/x");
    let host = fields.text("host")?.unwrap_or("gateway.test");
    let headers = fields.list("headers")?.unwrap_or_default();
    let body = fields.text("body")?.map(|b| bytes(b, names)).transpose()?;
    match wire {
        Wire::Http1 => {
            let mut head = bytes(method, names)?;
            head.push(b' ');
            head.extend(bytes(target, names)?);
            head.extend(b" HTTP/1.1\r\nHost: ");
            head.extend(bytes(host, names)?);
            head.extend(b"\r\n");
            for header in headers {
                head.extend(bytes(&header, names)?);
                head.extend(b"\r\n");
            }
            if let Some(body) = &body {
                head.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
            }
            head.extend(b"\r\n");
            head.extend(body.unwrap_or_default());
            Ok(vec![Step::Send(head)])
        }
        Wire::Http2 => {
            let mut all = script::pseudo(method, target, host, names)?;
            for header in headers {
                let (name, value) = header
                    .split_once(": ")
                    .unwrap_or((header.trim_end_matches(':'), ""));
                // In HTTP/2 names have no upper case (RFC 9113, section 8.2.1).
                all.push((
                    bytes(name, names)?.to_ascii_lowercase(),
                    bytes(value, names)?,
                ));
            }
            let mut steps = vec![Step::Fields {
                kind: script::FieldsKind::Headers,
                stream: 1,
                end: body.is_none(),
                more: false,
                fields: all,
            }];
            if let Some(data) = body {
                steps.push(Step::Data {
                    stream: 1,
                    end: true,
                    data,
                });
            }
            Ok(steps)
        }
    }
}

fn expected(fields: &Fields<'_>, names: &Names) -> Result<Expected, String> {
    let texts = |name| Ok::<_, String>(fields.list(name)?.unwrap_or_default());
    let status = fields.list("status")?.ok_or("no status")?;
    let status = status
        .iter()
        .map(|one| one.split(" or ").map(str::to_owned).collect());
    let upstream = fields.list("upstream")?.ok_or("no upstream")?;
    let upstream = if upstream == ["nothing"] {
        Vec::new()
    } else {
        let one = |text: &String| {
            let (line, arrives) = match (
                text.strip_suffix(" whole or cut"),
                text.strip_suffix(" cut"),
            ) {
                (Some(line), _) => (line, Arrives::Either),
                (None, Some(line)) => (line, Arrives::Cut),
                (None, None) => (text.as_str(), Arrives::Whole),
            };
            let line = String::from_utf8_lossy(&bytes(line, names)?).into_owned();
            Ok::<_, String>(Request { line, arrives })
        };
        upstream.iter().map(one).collect::<Result<_, _>>()?
    };
    let pair = |text: String| {
        let (name, value) = text.split_once(": ").ok_or(format!("no field: {text}"))?;
        Ok::<_, String>((name.to_ascii_lowercase(), value.to_owned()))
    };
    Ok(Expected {
        status: status.collect(),
        upstream,
        sees: texts("sees")?
            .into_iter()
            .map(pair)
            .collect::<Result<_, _>>()?,
        lacks: texts("lacks")?
            .iter()
            .map(|n| n.to_ascii_lowercase())
            .collect(),
        says: fields.text("says")?.map(|t| bytes(t, names)).transpose()?,
        named: fields.text("named")?.map(str::to_owned),
        then: match fields.text("then")? {
            None | Some("either") => Then::Either,
            Some("open") => Then::Open,
            Some("closed") => Then::Closed,
            Some(other) => return Err(format!("no such end: {other}")),
        },
        may_continue: fields.flag("continue")?,
        tunnelled: bytes(fields.text("tunnelled")?.unwrap_or_default(), names)?,
    })
}
