//! The layer of the log that hands the events of an attempt to the attempt: they are kept with its job, whatever the
//! process's own log shows.

use std::fmt::{Debug, Write};

use gristmill_core::attempt_log::{LogLevel, LogSource};
use gristmill_jobs::attempt_log::Voice;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// What the worker itself says of an attempt is not said by the attempt; its job shows it.
const OWN: &str = "gristmill_worker";

/// The layer, for a program with a subscriber of its own: events of the levels `info`, `warn` and `error` within an attempt.
pub fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    AttemptEvents.with_filter(LevelFilter::INFO)
}

/// Hands events over.
#[derive(Debug)]
struct AttemptEvents;

impl<S> Layer<S> for AttemptEvents
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    /// The span of an attempt has its voice: whatever happens in it is the attempt's, on whichever thread.
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target().starts_with(OWN)
            && let (Some(voice), Some(span)) = (Voice::current(), context.span(id))
        {
            span.extensions_mut().replace(voice);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.target().starts_with(OWN) {
            return;
        }
        let found = context.event_scope(event).and_then(|mut spans| spans.find_map(|span| voice_of(&span)));
        let Some(voice) = found.or_else(Voice::current) else { return };
        let mut text = Text::default();
        event.record(&mut text);
        voice.say(LogSource::Handler, Some(level(*metadata.level())), &text.whole());
    }
}

fn voice_of<S: for<'s> LookupSpan<'s>>(span: &tracing_subscriber::registry::SpanRef<'_, S>) -> Option<Voice> {
    span.extensions().get::<Voice>().cloned()
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

/// An event as a text: its message, and its fields behind it.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn whole(self) -> String {
        if self.message.is_empty() { self.fields.trim_start().to_owned() } else { self.message + &self.fields }
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // A text takes everything.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::attempt_log::LogBounds;
    use gristmill_core::id::{JobId, WorkerId};
    use gristmill_core::job::Fence;
    use gristmill_jobs::attempt_log::Recorder;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn events_within_the_span_of_an_attempt_are_said_by_it_on_every_thread() {
        let recorder = Recorder::new(LogBounds { lines: 10, bytes: 1_000 });
        let fence = Fence { job: JobId(Uuid::nil()), attempt: 1, worker: WorkerId(Uuid::nil()) };
        let subscriber = Registry::default().with(layer());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("before");
            let voice = recorder.voice(fence);
            let span = voice.within(|| tracing::info_span!(target: "gristmill_worker::layers", "job"));
            std::thread::scope(|scope| {
                let dispatch = tracing::dispatcher::get_default(Clone::clone);
                let span = &span;
                scope.spawn(move || {
                    tracing::dispatcher::with_default(&dispatch, || {
                        let _within = span.enter();
                        let inner = tracing::info_span!("inner");
                        inner.in_scope(|| tracing::warn!(rows = 3, name = "a b", "slow"));
                    });
                });
            });
            span.in_scope(|| {
                tracing::debug!("too small");
                tracing::error!(target: "gristmill_worker::attempt", "said by the worker");
            });
            voice.within(|| tracing::info!(count = 2));
        });
        let said = recorder.take().written();
        let lines = said[0].lines.iter().map(|line| (line.level.expect("a level"), line.text.as_str()));
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [(LogLevel::Warn, "slow rows=3 name=\"a b\""), (LogLevel::Info, "count=2")]
        );
    }
}
