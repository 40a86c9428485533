//! What the gateway logs, on this thread.

use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::sync::Once;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// An access line.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub id: String,
    pub method: String,
    pub route: String,
    pub key: String,
    pub client: String,
    pub status: u64,
    pub outcome: String,
    /// `None`: it was not for an upstream.
    pub attempts: Option<u64>,
}

#[derive(Default)]
struct Kept {
    lines: Vec<Line>,
    /// Everything, as text.
    all: String,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// Access lines, and everything that was logged, since it was asked before.
pub(super) fn take() -> (Vec<Line>, String) {
    let kept = KEPT.take();
    (kept.lines, kept.all)
}

/// From now on, whatever is logged on any thread is kept for it.
pub(super) fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(Keeper).expect("there is no other");
    });
}

struct Keeper;

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Dependencies are capped at INFO, as the gateway's own log does it.
        metadata.is_event()
            && (metadata.target().starts_with("keygate") || *metadata.level() <= Level::INFO)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        KEPT.with_borrow_mut(|kept| {
            let is_line = event.metadata().target() == "keygate::access";
            let mut fields = Fields {
                line: Line::default(),
                all: &mut kept.all,
            };
            event.record(&mut fields);
            let line = fields.line;
            kept.all.push('\n');
            if is_line && !line.id.is_empty() {
                kept.lines.push(line);
            }
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Fields<'a> {
    line: Line,
    all: &'a mut String,
}

impl Fields<'_> {
    fn text(&mut self, field: &Field, value: String) {
        let _ = write!(self.all, "{}={value} ", field.name());
        match field.name() {
            "id" => self.line.id = value,
            "method" => self.line.method = value,
            "route" => self.line.route = value,
            "key" => self.line.key = value,
            "client" => self.line.client = value,
            "outcome" => self.line.outcome = value,
            _ => {}
        }
    }
}

impl Visit for Fields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        let _ = write!(self.all, "{}={value} ", field.name());
        match field.name() {
            "status" => self.line.status = value,
            "attempts" => self.line.attempts = Some(value),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, format!("{value:?}"));
    }
}
