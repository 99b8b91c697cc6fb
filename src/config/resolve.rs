//! Wires what was read: names become places in lists, pipelines left out are filled in, every sink gets its shape.

use super::at::At;
use super::problem::{Document, Problem, Problems};
use super::suggest::{all_of, closest};
use super::{
    Globals, Named, PipelineConfig, Raw, Read, SinkConfig, SourceConfig, Surroundings, TransformConfig, check,
};
use crate::{sink, transform};
use std::fmt;
use std::path::{Component as PathPart, Path, PathBuf};

/// A configuration without errors: everything in order, every name found.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The file it was read from, for problems found later.
    pub document: Document,
    /// What holds for the whole program.
    pub globals: Globals,
    /// Where state and rejects are kept.
    pub data_dir: PathBuf,
    /// The sources, in the order of the file.
    pub sources: Vec<Component<SourceConfig>>,
    /// The transforms, shapes among them, in the order of the file.
    pub transforms: Vec<Component<TransformConfig>>,
    /// The sinks, in the order of the file; one named `stdout` where the file has none.
    pub sinks: Vec<Component<SinkConfig>>,
    /// The pipelines, in the order of the file; one named `main` where the file has none.
    pub pipelines: Vec<Pipeline>,
    /// What can be used and is hardly what was meant.
    pub warnings: Problems,
}

/// A component with its name.
#[derive(Clone, Debug)]
pub struct Component<C> {
    /// The name, and the place of its header in the file.
    pub name: At<String>,
    /// The settings.
    pub config: C,
}

/// One chain, by positions in the lists of [`Resolved`].
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The name, and the place of its header in the file.
    pub name: At<String>,
    /// Positions of the sources in [`Resolved::sources`].
    pub sources: Vec<usize>,
    /// Positions of the transforms in [`Resolved::transforms`], in order, without shapes.
    pub transforms: Vec<usize>,
    /// The sinks, each with how it writes.
    pub sinks: Vec<PipelineSink>,
}

/// A sink of a pipeline.
#[derive(Clone, Debug)]
pub struct PipelineSink {
    /// Position of the sink in [`Resolved::sinks`].
    pub sink: usize,
    /// How records are written.
    pub shape: Shape,
}

/// How records are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As AWS wrote them, with what transforms added and took away.
    Nested,
    /// With one level of keys.
    Flatten {
        /// The name of the shape.
        name: String,
        /// Its settings.
        config: transform::flatten::Config,
    },
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nested => f.write_str("nested"),
            Self::Flatten { name, .. } => f.write_str(name),
        }
    }
}

/// The name of the pipeline that a file without pipelines has.
const ONLY_PIPELINE: &str = "main";

impl fmt::Display for Resolved {
    /// Writes the resolved order, one pipeline after the other, as `check` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pipeline in &self.pipelines {
            writeln!(f, "pipeline {}", pipeline.name.value())?;
            for source in pipeline.sources.iter().filter_map(|source| self.sources.get(*source)) {
                writeln!(f, "  source     {} ({})", source.name.value(), source.config.kind())?;
            }
            for transform in
                pipeline.transforms.iter().filter_map(|transform| self.transforms.get(*transform))
            {
                writeln!(f, "  transform  {} ({})", transform.name.value(), transform.config.kind())?;
            }
            for end in &pipeline.sinks {
                let Some(sink) = self.sinks.get(end.sink) else { continue };
                let only =
                    if sink.config.matching().is_some() { ", only what its `match` selects" } else { "" };
                writeln!(
                    f,
                    "  sink       {} ({}), {}{only}",
                    sink.name.value(),
                    sink.config.kind(),
                    end.shape
                )?;
            }
        }
        writeln!(f, "memory {}, data_dir {}", self.globals.memory.value(), self.data_dir.display())
    }
}

/// Wires and checks what was read; `problems` are those found so far.
pub(super) fn resolve(
    document: Document,
    raw: Raw,
    around: &Surroundings<'_>,
    problems: Vec<Problem>,
) -> Result<Resolved, Problems> {
    let mut wiring = Wiring { raw: &raw, problems };
    let plans = wiring.pipelines();
    wiring.unused(&plans);
    let mut problems = wiring.problems;
    let globals = raw.globals.whole().cloned().unwrap_or_default();
    let data_dir = match &globals.data_dir {
        Some(stated) => Some(stated.value().clone()),
        None => (around.data_dir)(),
    };
    problems.extend(check::all(&raw, &plans, &globals, data_dir.as_deref(), around));
    let Some(data_dir) = data_dir else {
        let label =
            "neither /var/lib/trailship can be used nor is there a home directory: write data_dir = \"…\"";
        problems.push(Problem::error(0..0, "there is no directory for state and rejects", label));
        return Err(Problems::new(document, problems));
    };
    let problems = Problems::new(document.clone(), problems);
    if problems.errors() > 0 {
        return Err(problems);
    }
    let resolved = build(document, raw, globals, data_dir, &plans, problems.clone());
    resolved.ok_or(problems)
}

/// A pipeline by names that were found: positions in the lists of [`Raw`].
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: At<String>,
    pub(super) sources: Vec<usize>,
    /// Without the shape.
    pub(super) transforms: Vec<usize>,
    pub(super) shape: Option<usize>,
    pub(super) sinks: Vec<usize>,
}

struct Wiring<'r> {
    raw: &'r Raw,
    problems: Vec<Problem>,
}

impl Wiring<'_> {
    fn error(&mut self, at: &At<String>, message: impl Into<String>, label: impl Into<String>) {
        self.problems.push(Problem::error(at.span(), message, label));
    }

    fn pipelines(&mut self) -> Vec<Plan> {
        // Where something else is wrong, a source may well be meant by it.
        if self.raw.sources.is_empty() && self.problems.is_empty() {
            let problem = Problem::error(0..0, "there is no source", "");
            let smallest =
                "the smallest configuration: [sources.trail] with type = \"files\" and path = \"…\"";
            self.problems.push(problem.note(smallest));
        }
        if let Some(span) = &self.raw.pipelines_stated {
            if self.raw.pipelines.is_empty() && self.problems.is_empty() {
                let label =
                    "write [pipelines.NAME] with sources, transforms and sinks, or leave the section out";
                self.problems.push(Problem::error(span.clone(), "`pipelines` is empty", label));
            }
            return self.raw.pipelines.iter().filter_map(|named| self.stated(named)).collect();
        }
        if let [_, second, ..] = &self.raw.sources[..] {
            let names: Vec<_> = self.raw.sources.iter().map(|named| named.name.value().as_str()).collect();
            let message =
                format!("which sinks do {} feed? there are several sources and no pipeline", all_of(&names));
            let label = "add [pipelines.NAME] with sources, transforms and sinks for each";
            self.error(&second.name.clone(), message, label);
            return Vec::new();
        }
        vec![self.implied()]
    }

    /// Returns the pipeline of a file without pipelines: everything in file order, except shapes that a sink names.
    fn implied(&mut self) -> Plan {
        let raw = self.raw;
        let named_by_sink =
            |name: &str| raw.sinks.iter().filter_map(shape_of).any(|shape| shape.value() == name);
        let (shapes, transforms): (Vec<_>, Vec<_>) =
            (0..raw.transforms.len()).partition(|index| is_shape(raw, *index));
        let free: Vec<usize> =
            shapes.into_iter().filter(|index| !named_by_sink(name_of(&raw.transforms, *index))).collect();
        if let [first, second, ..] = free[..]
            && let (Some(first), Some(second)) = (raw.transforms.get(first), raw.transforms.get(second))
        {
            let (first, second) = (&first.name, &second.name);
            let message = format!("two shapes in one pipeline: `{}` and `{}`", first.value(), second.value());
            let label = "remove one, or name it on a sink: shape = \"…\"";
            self.problems
                .push(Problem::error(second.span(), message, label).and(first.span(), "the first shape"));
        }
        Plan {
            name: ONLY_PIPELINE.to_owned().into(),
            sources: (0..raw.sources.len()).collect(),
            transforms,
            shape: free.first().copied(),
            sinks: (0..raw.sinks.len()).collect(),
        }
    }

    fn stated(&mut self, named: &Named<PipelineConfig>) -> Option<Plan> {
        let raw = self.raw;
        let config = named.config.whole()?;
        let sources = self.members(config.sources.as_ref(), &raw.sources, "source", named);
        let sinks = self.members(config.sinks.as_ref(), &raw.sinks, "sink", named);
        let chain = self.find(&config.transforms, &raw.transforms, "transform", named);
        let shape = self.shape_of_chain(&config.transforms, &chain);
        let transforms = chain.into_iter().filter(|index| !is_shape(raw, *index)).collect();
        Some(Plan { name: named.name.clone(), sources, transforms, shape, sinks })
    }

    /// Returns the shape of a chain; reports a second one, and one that does not stand last.
    fn shape_of_chain(&mut self, names: &[At<String>], chain: &[usize]) -> Option<usize> {
        let raw = self.raw;
        let place = |index: usize| names.iter().find(|name| name.value() == name_of(&raw.transforms, index));
        let shapes: Vec<usize> = chain.iter().copied().filter(|index| is_shape(raw, *index)).collect();
        if let [first, second, ..] = shapes[..] {
            if let (Some(first), Some(second)) = (place(first), place(second)) {
                let message =
                    format!("two shapes in one pipeline: `{}` and `{}`", first.value(), second.value());
                let label = "remove one, or name it on a sink: shape = \"…\"";
                self.problems
                    .push(Problem::error(second.span(), message, label).and(first.span(), "the first shape"));
            }
        } else if let (Some(shape), Some(last)) = (shapes.first(), chain.last())
            && shape != last
            && let (Some(shape), Some(last)) = (place(*shape), place(*last))
        {
            let message = format!("the shape `{}` does not stand last", shape.value());
            let label = format!("move it behind `{}`: a shape changes only what is written", last.value());
            self.error(shape, message, label);
        }
        shapes.first().copied()
    }

    /// Returns the sources or sinks of a pipeline; where it names none, the only one there is.
    fn members<C>(
        &mut self,
        stated: Option<&At<Vec<At<String>>>>,
        all: &[Named<C>],
        place: &str,
        pipeline: &Named<PipelineConfig>,
    ) -> Vec<usize> {
        let name = pipeline.name.value();
        match stated {
            Some(names) if names.is_empty() => {
                let message = format!("pipeline `{name}` has an empty list of {place}s");
                let label = format!("name a {place}, or leave `{place}s` out");
                self.problems.push(Problem::error(names.span(), message, label));
                Vec::new()
            }
            Some(names) => self.find(names, all, place, pipeline),
            None if all.len() <= 1 => (0..all.len()).collect(),
            None => {
                let names: Vec<&str> = all.iter().map(|named| named.name.value().as_str()).collect();
                let message = format!("pipeline `{name}` does not say which {place}s are its own");
                let label = format!("add {place}s = […]; there are {}", all_of(&names));
                self.error(&pipeline.name, message, label);
                Vec::new()
            }
        }
    }

    /// Finds components by name; reports those that are not there, and those named twice.
    fn find<C>(
        &mut self,
        names: &[At<String>],
        all: &[Named<C>],
        place: &str,
        pipeline: &Named<PipelineConfig>,
    ) -> Vec<usize> {
        let pipeline_name = pipeline.name.value();
        let mut found = Vec::new();
        for name in names {
            match all.iter().position(|named| named.name.value() == name.value()) {
                Some(index) if found.contains(&index) => {
                    let message = format!("`{}` stands twice in pipeline `{pipeline_name}`", name.value());
                    self.error(name, message, "remove one of them");
                }
                Some(index) => found.push(index),
                None => {
                    let label = self.who_is(name.value(), all, place);
                    self.error(
                        name,
                        format!(
                            "pipeline `{pipeline_name}` names an unknown {place} `{}`",
                            name.value().escape_debug()
                        ),
                        label,
                    );
                }
            }
        }
        found
    }

    /// Says what an unknown name may have been meant to be.
    fn who_is<C>(&self, name: &str, all: &[Named<C>], place: &str) -> String {
        let raw = self.raw;
        let elsewhere = [
            ("source", raw.sources.iter().any(|named| named.name.value() == name)),
            ("transform", raw.transforms.iter().any(|named| named.name.value() == name)),
            ("sink", raw.sinks.iter().any(|named| named.name.value() == name)),
        ];
        if let Some((other, _)) = elsewhere.iter().find(|(_, there)| *there) {
            return format!("`{name}` is a {other}: name it in `{other}s`");
        }
        let names: Vec<&str> = all.iter().map(|named| named.name.value().as_str()).collect();
        match closest(name, names.iter().copied()) {
            Some(close) => format!("did you mean `{close}`?"),
            None if names.is_empty() => format!("there are no {place}s: add [{place}s.{name}]"),
            None => format!("there is {}", all_of(&names)),
        }
    }

    /// Warns of what no pipeline uses.
    fn unused(&mut self, plans: &[Plan]) {
        if self.raw.pipelines_stated.is_none() || !self.problems.is_empty() {
            return;
        }
        let raw = self.raw;
        let uses = |pick: fn(&Plan) -> &Vec<usize>, index: usize| {
            plans.iter().any(|plan| pick(plan).contains(&index))
        };
        let mut unused = Vec::new();
        for (index, named) in raw.sources.iter().enumerate() {
            if !uses(|plan| &plan.sources, index) {
                unused.push(("source", &named.name));
            }
        }
        for (index, named) in raw.transforms.iter().enumerate() {
            let by_sink =
                raw.sinks.iter().filter_map(shape_of).any(|shape| shape.value() == named.name.value());
            if !by_sink
                && !uses(|plan| &plan.transforms, index)
                && !plans.iter().any(|plan| plan.shape == Some(index))
            {
                unused.push(("transform", &named.name));
            }
        }
        for (index, named) in raw.sinks.iter().enumerate() {
            if !uses(|plan| &plan.sinks, index) {
                unused.push(("sink", &named.name));
            }
        }
        for (place, name) in unused {
            let message = format!("{place} `{}` is in no pipeline", name.value());
            self.problems.push(Problem::warning(
                name.span(),
                message,
                format!("name it in `{place}s` of a pipeline, or remove it"),
            ));
        }
    }
}

fn name_of<C>(all: &[Named<C>], index: usize) -> &str {
    all.get(index).map_or("", |named| named.name.value())
}

fn is_shape(raw: &Raw, index: usize) -> bool {
    raw.transforms.get(index).and_then(|named| named.config.whole()).is_some_and(TransformConfig::is_shape)
}

/// Returns the shape that a sink names.
pub(super) fn shape_of(sink: &Named<SinkConfig>) -> Option<&At<String>> {
    sink.config.whole().and_then(SinkConfig::shape)
}

fn build(
    document: Document,
    raw: Raw,
    globals: Globals,
    data_dir: PathBuf,
    plans: &[Plan],
    warnings: Problems,
) -> Option<Resolved> {
    fn whole<C>(all: Vec<Named<C>>) -> Option<Vec<Component<C>>> {
        all.into_iter()
            .map(|named| match named.config {
                Read::Whole(config) => Some(Component { name: named.name, config }),
                Read::Partial(_) | Read::Nothing => None,
            })
            .collect()
    }
    let sources = whole(raw.sources)?;
    let transforms = whole(raw.transforms)?;
    let mut sinks = whole(raw.sinks)?;
    let without_sink = sinks.is_empty();
    if without_sink {
        let config = SinkConfig::Stdout(sink::stdout::Config::default());
        sinks.push(Component { name: "stdout".to_owned().into(), config });
    }
    let flatten = |index: usize| {
        let transform = transforms.get(index)?;
        match &transform.config {
            TransformConfig::Flatten(config) => {
                Some(Shape::Flatten { name: transform.name.value().clone(), config: config.clone() })
            }
            _ => None,
        }
    };
    let shape = |sink: &Component<SinkConfig>, plan: &Plan| match sink
        .config
        .shape()
        .map(|shape| shape.value().as_str())
    {
        None => plan.shape.and_then(flatten).unwrap_or(Shape::Nested),
        Some("nested") => Shape::Nested,
        Some(name) => transforms
            .iter()
            .position(|transform| transform.name.value() == name)
            .and_then(flatten)
            .unwrap_or_else(|| Shape::Flatten {
                name: "flat".to_owned(),
                config: transform::flatten::Config::default(),
            }),
    };
    let pipelines = plans
        .iter()
        .map(|plan| {
            let ends: &[usize] = if without_sink { &[0] } else { &plan.sinks };
            Pipeline {
                name: plan.name.clone(),
                sources: plan.sources.clone(),
                transforms: plan.transforms.clone(),
                sinks: ends
                    .iter()
                    .filter_map(|sink| {
                        Some(PipelineSink { sink: *sink, shape: shape(sinks.get(*sink)?, plan) })
                    })
                    .collect(),
            }
        })
        .collect();
    Some(Resolved { document, globals, data_dir, sources, transforms, sinks, pipelines, warnings })
}

/// Returns a path as the file system sees it: the part that exists without links, the rest without `.` and `..`.
pub(super) fn canonical(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = path.ancestors().find_map(|above| Some((above, std::fs::canonicalize(above).ok()?)));
    let (mut whole, rest) = match &existing {
        Some((above, real)) => (real.clone(), path.strip_prefix(above).unwrap_or(&path)),
        None => (PathBuf::new(), path.as_path()),
    };
    for part in rest.components() {
        match part {
            PathPart::CurDir => {}
            PathPart::ParentDir => _ = whole.pop(),
            part => whole.push(part),
        }
    }
    whole
}
