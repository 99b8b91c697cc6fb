//! `replay --source`: ships a range of time of a source again, through the pipelines it feeds.
//!
//! The range has cursors of its own, so that the source's are left where they are, and an interrupted replay goes on
//! where it was. They are forgotten at its end: the same range can be shipped once more.

use std::time::Duration;

use crate::cli::run::execute;
use crate::cli::{Outcome, Surroundings, Wrong};
use crate::config::{Component, Resolved, Since, SourceConfig, TransformConfig};
use crate::pipeline::engine::Options;
use crate::source::s3;
use crate::state::{Op, StateError, Store};
use crate::transform::filter;

/// The options of a range.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Range {
    /// Ship a range of time of this source again (an `s3` source), instead of rejects
    #[arg(long, value_name = "NAME", requires = "from", conflicts_with_all = ["ids", "all"])]
    source: Option<String>,
    /// From when on, by the time in the objects' names
    #[arg(long, value_name = "WHEN", requires = "source", value_parser = crate::cli::text::since)]
    from: Option<Since>,
    /// Until when; without it: now
    #[arg(long, value_name = "WHEN", requires = "source", value_parser = crate::cli::text::since)]
    to: Option<Since>,
    /// Only records that match this EventBridge event pattern, as JSON
    #[arg(long, value_name = "PATTERN", requires = "source")]
    r#match: Option<String>,
}

/// How often the state is asked for again, and the pause between.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// The transform that a `--match` is.
const ONLY: &str = "replay";

impl Range {
    /// The source that was named.
    pub(super) fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Ships the range again.
    pub(super) fn run(
        &self,
        name: &str,
        mut resolved: Resolved,
        around: &Surroundings,
    ) -> anyhow::Result<Outcome> {
        let known = |component: &Component<SourceConfig>| component.name.value() == name;
        let at = resolved.sources.iter().position(known);
        let at = at.ok_or_else(|| Wrong(format!("the configuration has no source `{name}`")))?;
        let now = around.clock.now();
        // Where times are written out, the range has the same name when an interrupted replay goes on.
        let fixed = |since: Since| Since::At(since.time(now));
        let SourceConfig::S3(config) = &mut resolved.sources[at].config else {
            return Err(Wrong(format!(
                "`{name}` is no `s3` source: only those can be asked for a range of time"
            ))
            .into());
        };
        config.since = fixed(self.from.unwrap_or(Since::Beginning)).into();
        config.until = Some(self.to.map_or(Since::At(now), fixed).into());
        let range = s3::range(config).unwrap_or_default();
        resolved.pipelines.retain(|pipeline| pipeline.sources.contains(&at));
        if let Some(pattern) = &self.r#match {
            let config = only(pattern)?;
            resolved.transforms.push(Component { name: ONLY.to_owned().into(), config });
            let filter = resolved.transforms.len() - 1;
            resolved.pipelines.iter_mut().for_each(|pipeline| pipeline.transforms.insert(0, filter));
        }
        resolved.pipelines.iter_mut().for_each(|pipeline| pipeline.sources = vec![at]);
        let options = Options { once: true, ..Options::new(around.clock.clone()) };
        let (report, signal) = execute(&resolved, &options, "shipping again", around)?;
        for error in &report.errors {
            tracing::error!("{error}");
        }
        if signal.is_none() && report.drained && report.errors.is_empty() {
            forget(&resolved, name, &range, around)?;
        }
        let delivered: u64 = report.pipelines.iter().map(|(_, totals)| totals.books.offered).sum();
        around.console.line(&format!("{} records shipped again", crate::cli::text::count(delivered)));
        Ok(crate::cli::run::outcome(&report, signal))
    }
}

/// A filter that keeps what matches, whatever it is.
fn only(pattern: &str) -> anyhow::Result<TransformConfig> {
    let table = toml::Table::from_iter([
        ("keep".to_owned(), toml::Value::String(pattern.to_owned())),
        ("drop_protected".to_owned(), toml::Value::Boolean(true)),
    ]);
    let config: filter::Config = toml::from_str(&table.to_string())
        .map_err(|error| Wrong(format!("`--match` is no event pattern: {}", error.message())))?;
    Ok(TransformConfig::Filter(config))
}

/// The state, which the tasks of the run that has just ended may still hold for a moment.
fn ours(resolved: &Resolved, around: &Surroundings) -> Result<Store, StateError> {
    let mut tries = 0;
    loop {
        match Store::open(&resolved.data_dir, &around.clock) {
            Err(StateError::InUse { .. }) if tries < TRIES => tries += 1,
            opened => return opened,
        }
        std::thread::sleep(PAUSE);
    }
}

/// Forgets the range's cursors.
fn forget(resolved: &Resolved, name: &str, range: &str, around: &Surroundings) -> anyhow::Result<()> {
    let store = ours(resolved, around)?;
    for space in store.spaces()? {
        let ours = resolved.pipelines.iter().any(|pipeline| {
            let of = format!("{}{}/{name}/{range}", s3::SPACES, pipeline.name.value());
            space == of || space.strip_prefix(&of).is_some_and(|rest| rest.starts_with('/'))
        });
        if !ours {
            continue;
        }
        let mut ops = Vec::new();
        let space: std::sync::Arc<str> = space.into();
        store.each(&space, |key, _| ops.push(Op::Delete { space: space.clone(), key: key.to_vec() }))?;
        store.commit(&ops)?;
    }
    Ok(())
}
