//! What the program says while it works: lines of text on a terminal, JSON elsewhere.
//!
//! Normal operation is silent. A problem (a warning or an error) is said the first time; the same problem again is only
//! counted, and the count is said when it comes up ten minutes later or more, and at the end. Text from outside is
//! escaped before it is shown ([`escaped`]).

pub mod http;
pub mod metrics;
mod told;
pub mod trouble;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use crate::clock::Clock;
use told::Told;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: `14:03:07Z warn  the sink is retrying sink=search`.
    #[default]
    Text,
    /// For machines: one object a line, with `time`, `level`, `message` and the event's fields.
    Json,
}

/// Takes one log line, without a line break.
pub type Out = Arc<dyn Fn(&str) + Send + Sync>;

/// The log: cheap to clone, one for the program.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    format: Format,
    clock: Clock,
    out: Out,
    told: Mutex<Told>,
}

/// One event, taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
struct Line {
    level: &'static str,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Log {
    /// Makes a log that hands its lines to `out`.
    pub fn new(format: Format, clock: Clock, out: Out) -> Log {
        Log { inner: Arc::new(Inner { format, clock, out, told: Mutex::default() }) }
    }

    /// Makes this the process's log: this program's events from `level` on, those of libraries from warnings on.
    ///
    /// A second log in one process is not installed; the first goes on.
    pub fn install(&self, level: LevelFilter) {
        let wanted = tracing_subscriber::filter::Targets::new()
            .with_default(level.min(LevelFilter::WARN))
            .with_target("trailship", level);
        let subscriber = tracing_subscriber::registry().with(self.clone().with_filter(wanted));
        let _ = tracing::subscriber::set_global_default(subscriber);
    }

    /// Says how often each problem came up again since it was said last. Call it at the end.
    pub fn finish(&self) {
        let rest = self.inner.told.lock().unwrap_or_else(PoisonError::into_inner).rest();
        for (line, times) in rest {
            self.write(&line, times);
        }
    }

    /// Writes a line; `times` is how often it came up since it was said last, this time included.
    fn write(&self, line: &Line, times: u64) {
        let Inner { format, clock, out, .. } = &*self.inner;
        let time = clock.now().to_string();
        let text = match format {
            Format::Text => text(line, time.get(11..).unwrap_or(&time), times),
            Format::Json => json(line, time, times),
        };
        out(&text);
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        let mut line = Line { level: name(level), ..Line::default() };
        event.record(&mut line);
        // What is lost is told each time, with where it was.
        if level > Level::WARN || line.message.starts_with("LOST") {
            return self.write(&line, 1);
        }
        let now = self.inner.clock.now();
        let said = self.inner.told.lock().unwrap_or_else(PoisonError::into_inner).met(
            event.metadata().callsite(),
            &line,
            now,
        );
        if let Some(times) = said {
            self.write(&line, times);
        }
    }
}

const fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

impl Line {
    fn field(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.field(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, value.into());
    }
}

fn text(line: &Line, time: &str, times: u64) -> String {
    let mut text = format!("{time} {:<5} {}", line.level, escaped(&line.message));
    for (name, value) in &line.fields {
        let _ = match value {
            Value::String(value) if value.is_empty() || value.contains([' ', '"', '=']) => {
                write!(text, " {name}=\"{}\"", escaped(value).replace('"', "\\\""))
            }
            Value::String(value) => write!(text, " {name}={}", escaped(value)),
            value => write!(text, " {name}={value}"),
        };
    }
    if times > 1 {
        let _ = write!(text, " times={times}");
    }
    text
}

fn json(line: &Line, time: String, times: u64) -> String {
    let mut object = Map::new();
    object.insert("time".to_owned(), time.into());
    object.insert("level".to_owned(), line.level.into());
    object.insert("message".to_owned(), line.message.as_str().into());
    for (name, value) in &line.fields {
        object.insert((*name).to_owned(), value.clone());
    }
    if times > 1 {
        object.insert("times".to_owned(), times.into());
    }
    escaped_json(&Value::Object(object).to_string()).into_owned()
}

/// Whether a character can change what a terminal shows of the others: controls, and what is invisible or turns the
/// direction of writing.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Writes text from outside so that it can do nothing to a terminal or a log line: `\n`, `\u{1b}`.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The same for JSON text on one line, which stays JSON with the same meaning: `\u202e`.
pub fn escaped_json(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use std::time::Duration;

    fn logged(format: Format, events: impl FnOnce(&Clock)) -> Vec<String> {
        let clock = Clock::manual(Timestamp::from_seconds(1_768_435_200));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        let out: Out = Arc::new(move |line: &str| kept.lock().unwrap().push(line.to_owned()));
        let log = Log::new(format, clock.clone(), out);
        let subscriber = tracing_subscriber::registry().with(log.clone());
        tracing::subscriber::with_default(subscriber, || events(&clock));
        log.finish();
        lines.lock().unwrap().clone()
    }

    #[test]
    fn a_problem_is_said_once_and_then_counted() {
        let lines = logged(Format::Text, |clock| {
            for number in 0..7 {
                for sink in ["a", "b"] {
                    tracing::warn!(sink, number, "retrying");
                }
                if number == 4 {
                    clock.advance(Duration::from_secs(600));
                }
                tracing::info!("said always");
            }
        });
        let of =
            |wanted: &str| lines.iter().filter(|line| line.contains(wanted)).cloned().collect::<Vec<_>>();
        assert_eq!(
            of("sink=a"),
            [
                "00:00:00Z warn  retrying sink=a number=0",
                "00:10:00Z warn  retrying sink=a number=5 times=5",
                "00:10:00Z warn  retrying sink=a number=6",
            ]
        );
        assert_eq!(of("sink=b").len(), 3);
        assert_eq!(of("always").len(), 7);
    }

    #[test]
    fn what_is_lost_is_said_each_time_and_other_places_and_causes_are_told_apart() {
        let lines = logged(Format::Text, |_| {
            for shard in ["a", "b"] {
                for number in 0..20 {
                    tracing::warn!(shard, number, "LOST: records were trimmed");
                    tracing::warn!(shard, number, "trying again");
                    tracing::warn!(source = "s", error = shard, number, "no answer");
                }
            }
        });
        let count = |wanted: &str| lines.iter().filter(|line| line.contains(wanted)).count();
        assert_eq!(count("LOST"), 40);
        // Once, and at the end with how often.
        assert_eq!((count("trying again"), count("no answer")), (4, 4));
    }

    #[test]
    fn values_cannot_forge_lines_nor_reach_the_terminal() {
        let evil = "x\n00:00:00Z info  all is well \u{1b}[2J\u{9b}31m\u{202e}";
        let lines = logged(Format::Text, |_| {
            tracing::error!(agent = evil, "from {evil}");
        });
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].contains(is_unsafe), "{lines:?}");
        assert!(lines[0].contains("\\u{1b}[2J"), "{lines:?}");
        let lines = logged(Format::Json, |_| {
            tracing::error!(agent = evil, count = 3u64, ok = false, "from {evil}");
        });
        assert!(!lines[0].contains(is_unsafe), "{lines:?}");
        let value: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(value["agent"], evil);
        assert_eq!(value["message"], format!("from {evil}"));
        assert_eq!((&value["count"], &value["ok"]), (&3.into(), &false.into()));
        assert_eq!(value["time"], "2026-01-15T00:00:00Z");
    }
}
