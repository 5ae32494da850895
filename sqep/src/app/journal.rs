//! How a line of the log looks where systemd's journal keeps it: the priority in front, without a time of its own and
//! without colour. Must not know what is logged.

use std::{fmt, os::unix::fs::MetadataExt};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    registry::LookupSpan,
};

/// Whether standard error goes to the journal: by its device and number, since the variable is inherited and standard
/// error may have been sent elsewhere.
pub(super) fn listens() -> bool {
    let ours = std::fs::metadata("/proc/self/fd/2").map(|file| format!("{}:{}", file.dev(), file.ino()));
    ours.is_ok_and(|ours| std::env::var("JOURNAL_STREAM").is_ok_and(|journal| journal == ours))
}

/// Lines for the journal.
pub(super) struct Lines(Format<Full, ()>);

impl Default for Lines {
    fn default() -> Lines {
        Lines(Format::default().without_time().with_level(false).with_target(false).with_ansi(false))
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}
