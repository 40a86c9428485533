//! The words in which fields are described: what a value may be, and what is said of a field.
//!
//! Defaults and examples are written as TOML, as an operator would.

/// What a value may be.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// Text in which this regular expression is found; any text where it is empty.
    Text(&'static str),
    /// One of these words.
    Words(Vec<&'static str>),
    /// A whole number, from the first to the second.
    Whole(u64, u64),
    Bool,
    /// `false`, by which something is switched off.
    False,
    /// A list of so many at least.
    List(Box<Shape>, usize),
    Table(Table),
    /// A table whose names are the operator's, and like the regular expression.
    Names(&'static str, Box<Shape>),
    /// One of these.
    Any(Vec<Shape>),
}

/// A table whose fields are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) fields: Vec<Field>,
    /// Fields of which there is exactly one.
    pub(super) one_of: &'static [&'static str],
    /// Fields of which there is at least one.
    pub(super) any_of: &'static [&'static str],
}

/// A field, with what an editor says of it.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// What it is for, in a sentence or two.
    pub(super) about: &'static str,
    pub(super) default: Option<&'static str>,
    pub(super) examples: Vec<&'static str>,
    pub(super) required: bool,
    /// The field without which this one means nothing.
    pub(super) needs: Option<&'static str>,
    /// The name of its definition, if it stands in several tables.
    pub(super) shared: Option<&'static str>,
}

pub(super) fn field(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field {
        name,
        shape,
        about,
        default: None,
        examples: Vec::new(),
        required: false,
        needs: None,
        shared: None,
    }
}

impl Field {
    pub(super) fn default(mut self, toml: &'static str) -> Self {
        self.default = Some(toml);
        self
    }

    pub(super) fn example(mut self, toml: &'static str) -> Self {
        self.examples.push(toml);
        self
    }

    pub(super) fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(super) fn needs(mut self, other: &'static str) -> Self {
        self.needs = Some(other);
        self
    }

    pub(super) fn shared(mut self, definition: &'static str) -> Self {
        self.shared = Some(definition);
        self
    }
}

impl Table {
    pub(super) fn of(fields: impl IntoIterator<Item = Field>) -> Self {
        Table {
            fields: fields.into_iter().collect(),
            ..Table::default()
        }
    }
}

pub(super) fn table(fields: impl IntoIterator<Item = Field>) -> Shape {
    Shape::Table(Table::of(fields))
}

/// The words that a reader knows.
pub(super) fn words<T>(words: &[(&'static str, T)]) -> Shape {
    Shape::Words(words.iter().map(|(word, _)| *word).collect())
}

pub(super) fn list(of: Shape) -> Shape {
    Shape::List(Box::new(of), 0)
}

/// A value that may stand alone, or a list of so many at least.
pub(super) fn one_or_list(of: Shape, least: usize) -> Shape {
    Shape::Any(vec![of.clone(), Shape::List(Box::new(of), least)])
}

/// What can be switched off.
pub(super) fn or_false(shape: Shape) -> Shape {
    Shape::Any(vec![shape, Shape::False])
}

pub(super) fn text() -> Shape {
    Shape::Text("")
}

/// Text of one character at least.
pub(super) fn some_text() -> Shape {
    Shape::Text(r"^[\s\S]")
}

/// `"30s"`.
pub(super) fn duration() -> Shape {
    Shape::Text(r"^0*[1-9][0-9]*\s*(ms|s|m|h)$")
}

/// `"64KiB"`, or a number of bytes between two bounds.
pub(super) fn size(least: u64, most: u64) -> Shape {
    Shape::Any(vec![
        Shape::Text(r"^[0-9]+\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)$"),
        Shape::Whole(least, most),
    ])
}

/// `"100/s"`.
pub(super) fn rate() -> Shape {
    Shape::Text(r"^\s*\+?0*[1-9][0-9]*\s*/\s*(s|m|h)\s*$")
}

pub(super) fn scope() -> Shape {
    Shape::Text(SCOPE)
}

/// A scope's name.
pub(super) const SCOPE: &str = r"^[A-Za-z][A-Za-z0-9_.:-]{0,63}$";

/// A header's name (RFC 9110, section 5.6.2).
pub(super) const HEADER: &str = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

/// Text that begins with `/`.
pub(super) fn path() -> Shape {
    Shape::Text("^/")
}

/// A method: the usual seven, or another in upper case; never CONNECT or TRACE.
pub(super) fn method() -> Shape {
    Shape::Any(vec![
        Shape::Words(vec![
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
        ]),
        Shape::Text(r"^(?!(CONNECT|TRACE)$)[!#$%&'*+.^_`|~0-9A-Z-]+$"),
    ])
}

/// `404`, `"404"`, `"4xx"`, or a list of such.
pub(super) fn statuses(least: u64, most: u64, pattern: &'static str) -> Shape {
    let one = Shape::Any(vec![Shape::Whole(least, most), Shape::Text(pattern)]);
    one_or_list(one, 1)
}
