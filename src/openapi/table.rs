//! What the policy will be: for each pattern and method, who may.
//!
//! Paths of the document that are one pattern, `/u/{id}` and `/u/{name}`, are one end here. What the document says twice and
//! differently is closed.

use super::access::Access;
use super::document::Operation;
use super::template::{Segment, Shape, Template};
use std::collections::HashMap;
use std::rc::Rc;

/// A pattern and its methods.
#[derive(Debug)]
pub(super) struct End {
    /// As the policy has it, below the prefix.
    pub text: String,
    pub shape: Shape,
    /// In the order of [`rank`].
    pub methods: Vec<Taken>,
    /// Whether another pattern of the document has all requests of this one.
    pub has_broader: bool,
    /// Whether the document has this path.
    pub written: bool,
}

/// Who may use a method of a pattern.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub method: Box<str>,
    pub access: Access,
    /// Of the operation that says so; `None`: HEAD, which goes with GET, or what was closed here.
    pub operation: Option<Said>,
    /// Why it is closed.
    pub why: Option<String>,
}

/// What an operation says of itself.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// The path that it is of, as it is written.
    pub path: Rc<str>,
    pub id: Option<Box<str>>,
    pub summary: Option<Box<str>>,
}

impl Taken {
    pub(super) fn of(operation: &Operation) -> Self {
        Taken {
            method: operation.method.clone(),
            access: operation.access.clone(),
            operation: Some(operation.said.clone()),
            why: operation.why.clone(),
        }
    }

    /// A method that is closed, though no operation says so.
    pub(super) fn closed(method: &str, why: impl Into<String>) -> Self {
        Taken {
            method: method.into(),
            access: Access::Closed,
            operation: None,
            why: Some(why.into()),
        }
    }
}

impl End {
    pub(super) fn new(text: String, shape: Shape) -> Self {
        End {
            text,
            shape,
            methods: Vec::new(),
            has_broader: false,
            written: false,
        }
    }

    pub(super) fn get(&self, method: &str) -> Option<&Taken> {
        self.methods.iter().find(|taken| &*taken.method == method)
    }

    /// Closes a method, whatever was said of it.
    pub(super) fn close(&mut self, method: &str, why: impl Into<String>) {
        match self.methods.iter_mut().find(|t| &*t.method == method) {
            Some(taken) => {
                taken.access = Access::Closed;
                taken.why.get_or_insert_with(|| why.into());
            }
            None => {
                self.methods.push(Taken::closed(method, why));
                sort(&mut self.methods);
            }
        }
    }
}

/// The order of methods in a file: the usual ones as a policy's pages have them, then others by name.
pub(super) fn rank(method: &str) -> (usize, &str) {
    const USUAL: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let usual = USUAL.iter().position(|usual| *usual == method);
    (usual.unwrap_or(USUAL.len()), method)
}

fn sort(methods: &mut [Taken]) {
    methods.sort_by(|a, b| rank(&a.method).cmp(&rank(&b.method)));
}

/// A GET brings its HEAD, unless that has an operation of its own.
pub(super) fn with_head(methods: &mut Vec<Taken>) {
    let named = |name: &str| methods.iter().find(|taken| &*taken.method == name);
    if named("HEAD").is_none()
        && let Some(get) = named("GET")
    {
        let head = Taken {
            method: "HEAD".into(),
            operation: None,
            ..get.clone()
        };
        methods.push(head);
    }
    sort(methods);
}

/// All patterns of a document.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub ends: Vec<End>,
    by_shape: HashMap<Shape, usize>,
}

impl Ends {
    /// Adds the operations of a path; the answer has what they say otherwise than those of the same pattern before them.
    pub(super) fn add(&mut self, template: &Template, operations: &[Operation]) -> Vec<Clash> {
        let end = self.at(&template.shape, || template.text.clone());
        let end = &mut self.ends[end];
        end.written = true;
        let mut clashes = Vec::new();
        for operation in operations {
            let before = (end.methods.iter_mut()).find(|taken| taken.method == operation.method);
            match before {
                None => end.methods.push(Taken::of(operation)),
                Some(before) => {
                    let same = before.access == operation.access;
                    if !same {
                        before.access = Access::Closed;
                        before.why = Some(
                            "two operations are for this, and ask for different things".into(),
                        );
                    }
                    clashes.push(Clash {
                        method: operation.method.clone(),
                        before: before.operation.as_ref().map(|said| Rc::clone(&said.path)),
                        same,
                    });
                }
            }
        }
        clashes
    }

    /// The end of a shape, made where there is none.
    pub(super) fn at(&mut self, shape: &[Segment], text: impl FnOnce() -> String) -> usize {
        if let Some(end) = self.by_shape.get(shape) {
            return *end;
        }
        self.by_shape.insert(shape.to_vec(), self.ends.len());
        self.ends.push(End::new(text(), shape.to_vec()));
        self.ends.len() - 1
    }

    pub(super) fn find(&self, shape: &[Segment]) -> Option<usize> {
        self.by_shape.get(shape).copied()
    }
}

/// Two operations of one pattern and method.
#[derive(Debug)]
pub(super) struct Clash {
    pub method: Box<str>,
    /// The path of the first one.
    pub before: Option<Rc<str>>,
    /// Whether they ask for the same.
    pub same: bool,
}
