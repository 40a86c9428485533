//! Which log lines are heard, and how they look.
//!
//! All go to standard error by [`LogQueue`]. Dependencies are capped at INFO: their DEBUG and TRACE lines hold what a
//! request's headers held.
//!
//! What is heard and how it looks can each be changed while it runs: the filter and the form are reloaded apart, for a
//! layer that has its filter inside is known to the registry by a number that a new one would not have.

use crate::config::{LogFormat, LogLevel, LogSettings};
use crate::log::{LogQueue, LogWriter};
use std::io::{self, IsTerminal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

type Form = Box<dyn Layer<Registry> + Send + Sync>;

/// The running log. Dropped, it writes what still waits.
pub(super) struct Log {
    queue: LogQueue,
    heard: reload::Handle<Targets, Registry>,
    form: reload::Handle<Form, Registry>,
    in_force: std::sync::Mutex<LogSettings>,
    _writer: LogWriter,
}

impl Log {
    /// Starts logging. In a process that logs already (a second gateway in one test), events go where they went.
    ///
    /// # Errors
    /// When there can be no thread that writes.
    pub(super) fn start(settings: LogSettings) -> io::Result<Self> {
        let (queue, writer) = LogQueue::start(io::stderr())?;
        let (filter, heard) = reload::Layer::new(heard(settings.level));
        let (layer, form) = reload::Layer::new(form(settings.format, &queue));
        let _ = tracing_subscriber::registry()
            .with(layer.with_filter(filter))
            .try_init();
        Ok(Log {
            queue,
            heard,
            form,
            in_force: std::sync::Mutex::new(settings),
            _writer: writer,
        })
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
            let _ = self.form.reload(form(settings.format, &self.queue));
        }
    }

    /// Where lines go, and where those are counted that were dropped.
    pub(super) fn queue(&self) -> &LogQueue {
        &self.queue
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

/// How a line looks, from now on.
fn form(format: LogFormat, queue: &LogQueue) -> Form {
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    queue.set_json(json);
    let writer = queue.clone();
    let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
    if json {
        layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    } else {
        layer.with_ansi(io::stderr().is_terminal()).boxed()
    }
}
