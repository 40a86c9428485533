//! Where log lines go, and how they look.
//!
//! Lines are handed to a thread that writes them to standard error: no worker ever waits for a disk or a terminal. When
//! that thread cannot keep up, lines are dropped and counted. Dependencies are capped at INFO: their DEBUG and TRACE
//! lines hold what a request's headers held.
//!
//! What is heard and how it looks can each be changed while it runs: the filter and the form are reloaded apart, for a
//! layer that has its filter inside is known to the registry by a number that a new one would not have.

use crate::config::{LogFormat, LogLevel, LogSettings};
use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// How many lines may wait to be written.
const WAITING_LINES: usize = 64 * 1024;

type Form = Box<dyn Layer<Registry> + Send + Sync>;

/// The running log. Dropped, it writes what still waits.
pub(super) struct Log {
    writer: NonBlocking,
    heard: reload::Handle<Targets, Registry>,
    form: reload::Handle<Form, Registry>,
    in_force: std::sync::Mutex<LogSettings>,
    _guard: WorkerGuard,
}

impl Log {
    /// Starts logging. In a process that logs already (a second gateway in one test), lines go where they went.
    pub(super) fn start(settings: LogSettings) -> Self {
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(WAITING_LINES)
            .thread_name("log")
            .finish(std::io::stderr());
        let (filter, heard) = reload::Layer::new(heard(settings.level));
        let (layer, form) = reload::Layer::new(form(settings.format, writer.clone()));
        let _ = tracing_subscriber::registry()
            .with(layer.with_filter(filter))
            .try_init();
        Log {
            writer,
            heard,
            form,
            in_force: std::sync::Mutex::new(settings),
            _guard: guard,
        }
    }

    /// Takes over changed settings.
    pub(super) fn follow(&self, settings: LogSettings) {
        let mut in_force = self
            .in_force
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if *in_force != settings {
            *in_force = settings;
            let _ = self.heard.reload(heard(settings.level));
            let _ = self.form.reload(form(settings.format, self.writer.clone()));
        }
    }

    /// Counts lines that were dropped.
    pub(super) fn dropped(&self) -> ErrorCounter {
        self.writer.error_counter()
    }
}

/// Which lines are written.
fn heard(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(level.min(LevelFilter::INFO))
        .with_target("keygate", level)
        // Access lines have a switch of their own, `log.access`.
        .with_target("keygate::access", LevelFilter::INFO)
}

/// How a line looks.
fn form(format: LogFormat, writer: NonBlocking) -> Form {
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    if json {
        layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    } else {
        layer.with_ansi(std::io::stderr().is_terminal()).boxed()
    }
}
