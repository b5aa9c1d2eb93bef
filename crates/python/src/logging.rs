//! Hands the core's [`tracing`] events to Python's `logging`, under the loggers `proxystore.*`.
//!
//! An event that no logger wants costs one load of an atomic: the level is kept here and compared
//! before anything is formatted. Python has no hook for a changed level, so the level is looked up
//! again at the door out of the interpreter, at most every [`REFRESH`].

use std::{
    fmt::{self, Write as _},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use proxystore::CONNECTORS;
use pyo3::{prelude::*, sync::PyOnceLock};
use rustix::time::{ClockId, clock_gettime};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};

/// How long a change of a logger's level may go unnoticed.
const REFRESH: Duration = Duration::from_millis(100);

/// The numbers that `logging` gives its levels; it has none below `DEBUG`, whence 5 for traces.
const LEVELS: [(u32, Level); 5] = [
    (40, Level::ERROR),
    (30, Level::WARN),
    (20, Level::INFO),
    (10, Level::DEBUG),
    (5, Level::TRACE),
];

/// The most verbose level that any of our loggers wants, as an index one past [`LEVELS`].
static WANTED: AtomicUsize = AtomicUsize::new(2);

/// When the level was last looked up, in milliseconds of the coarse monotonic clock.
static LOOKED_UP: AtomicU64 = AtomicU64::new(0);

/// Sends events to Python from now on. Does nothing if this process has a subscriber already.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    if tracing::subscriber::set_global_default(PythonLogging).is_ok() {
        look_up(py)?;
    }
    Ok(())
}

/// Looks the wanted level up again if that is due.
pub(crate) fn refresh(py: Python<'_>) -> PyResult<()> {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    let now = now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000;
    let last = LOOKED_UP.load(Ordering::Relaxed);
    if u128::from(now.wrapping_sub(last)) < REFRESH.as_millis() {
        return Ok(());
    }
    LOOKED_UP.store(now, Ordering::Relaxed);
    look_up(py)
}

fn look_up(py: Python<'_>) -> PyResult<()> {
    let mut wanted = 0;
    for logger in loggers(py)? {
        let level: u32 = logger.call_method0(py, "getEffectiveLevel")?.extract(py)?;
        wanted = wanted.max(
            LEVELS
                .iter()
                .take_while(|(number, _)| *number >= level)
                .count(),
        );
    }
    if WANTED.swap(wanted, Ordering::Relaxed) != wanted {
        tracing::callsite::rebuild_interest_cache();
    }
    Ok(())
}

/// The loggers that events go to: the package's and one for each connector.
fn loggers(py: Python<'_>) -> PyResult<&'static [Py<PyAny>]> {
    static LOGGERS: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();
    let all = LOGGERS.get_or_try_init(py, || {
        let names = CONNECTORS
            .iter()
            .map(|one| format!("proxystore.connectors.{}", one.kind()));
        std::iter::once("proxystore".to_owned())
            .chain(names)
            .map(|name| logger(py, &name).map(Bound::unbind))
            .collect::<PyResult<Vec<_>>>()
    })?;
    Ok(all)
}

fn logger<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("logging")?.call_method1("getLogger", (name,))
}

struct PythonLogging;

impl PythonLogging {
    fn level() -> LevelFilter {
        match WANTED.load(Ordering::Relaxed) {
            0 => LevelFilter::OFF,
            count => LevelFilter::from_level(LEVELS[count.min(LEVELS.len()) - 1].1),
        }
    }
}

impl Subscriber for PythonLogging {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Self::level()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(Self::level())
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let Text { message, fields } = text;
        let number = LEVELS
            .iter()
            .find(|(_, level)| level == event.metadata().level())
            .map_or(10, |(number, _)| *number);
        let name = event.metadata().target().replace("::", ".");
        // An interpreter that is shutting down no longer logs, and a handler that raises must not
        // change what an operation answers: `logging` reports such an error by itself.
        let _ = Python::try_attach(|py| {
            let outcome = logger(py, &name)
                .and_then(|logger| logger.call_method1("log", (number, "%s%s", message, fields)));
            if let Err(error) = outcome {
                error.write_unraisable(py, None);
            }
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event as one line: its message, then ` name=value` for each field.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}
