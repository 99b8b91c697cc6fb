//! The parts of a configuration's pipelines that need nothing outside it: transforms, patterns, shapes, reserves.

use std::path::Path;
use std::sync::Arc;

use super::budget::{Budget, Reserve};
use super::engine::StartError;
use super::job;
use super::protector::{self, Protector};
use crate::config::{Except, Problem, Problems, Resolved, Shape as ConfiguredShape};
use crate::decode::Limits;
use crate::encode::packer::{Packer, Packing};
use crate::encode::{Nested, Shape};
use crate::pattern::Pattern;
use crate::pattern::compile::PatternSet;
use crate::pattern::family::Family;
use crate::record::Slots;
use crate::record::identity::IdentitySlots;
use crate::record::protect::Protection;
use crate::sink::AnySink;
use crate::transform;

/// A pipeline before anything outside the configuration was opened.
pub(crate) struct Part {
    pub(crate) identity: IdentitySlots,
    pub(crate) token: crate::record::SlotId,
    pub(crate) protector: Protector,
    pub(crate) steps: Vec<(Arc<str>, transform::AnyTransform)>,
    pub(crate) routes: PatternSet,
    pub(crate) sinks: Vec<SinkPart>,
    pub(crate) limits: Limits,
}

impl Part {
    /// Bytes that its transforms may hold beside what is in flight.
    fn remembered(&self) -> usize {
        self.steps.iter().map(|(_, transform)| transform.memory()).sum()
    }
}

pub(crate) struct SinkPart {
    pub(crate) route: Option<u32>,
    pub(crate) shape: usize,
    pub(crate) packing: Packing,
}

pub(crate) struct Parts {
    pub(crate) pipelines: Vec<Part>,
    pub(crate) shapes: Vec<Arc<Shape>>,
}

impl Parts {
    pub(crate) fn build(
        resolved: &Resolved,
        families: &[Family],
        slots: &mut Slots,
    ) -> Result<Parts, StartError> {
        let mut problems = Vec::new();
        let patterns: Vec<&Pattern> = families.iter().map(|family| &family.pattern).collect();
        let settings = protection(resolved, families, &mut problems);
        let mut shapes: Vec<Arc<Shape>> = Vec::new();
        let mut pipelines = Vec::new();
        // As for sources, sinks and the data directory: relative paths start where the program was started.
        let base = Path::new("");
        for configured in &resolved.pipelines {
            let mut steps = Vec::new();
            let mut building = transform::Building { slots, families, base, accounts: None, redacts: false };
            for &position in &configured.transforms {
                let component = &resolved.transforms[position];
                match transform::AnyTransform::build(component.name.value(), &component.config, &mut building)
                {
                    Ok(Some(transform)) => steps.push((component.name.value().as_str().into(), transform)),
                    Ok(None) => {}
                    Err(found) => problems.extend(found),
                }
            }
            if !building.redacts {
                let rule = transform::redact::Redact::default_rule(&mut building);
                steps.push(("redact".into(), transform::AnyTransform::Redact(rule)));
            }
            let mut routed = Vec::new();
            let mut sinks = Vec::new();
            for configured in &configured.sinks {
                let component = &resolved.sinks[configured.sink];
                let route = match component.config.matching().map(|pattern| (pattern, pattern.compile())) {
                    None => None,
                    Some((_, Ok(pattern))) => {
                        routed.push(pattern);
                        u32::try_from(routed.len() - 1).ok()
                    }
                    Some((pattern, Err(errors))) => {
                        problems.extend(transform::problems(pattern, &errors));
                        None
                    }
                };
                let shape = match &configured.shape {
                    ConfiguredShape::Nested => {
                        Shape::Nested(Nested { name: resolved.globals.field.value().as_str().into() })
                    }
                    ConfiguredShape::Flatten { config, .. } => {
                        match config.build(resolved.globals.field.value()) {
                            Ok(flat) => Shape::Flat(flat),
                            Err(error) => {
                                problems.push(Problem::error(
                                    component.name.span(),
                                    error.message,
                                    error.hint,
                                ));
                                continue;
                            }
                        }
                    }
                };
                let shape = component.config.shape_of(shape);
                let shape = shapes.iter().position(|known| **known == shape).unwrap_or_else(|| {
                    shapes.push(Arc::new(shape));
                    shapes.len() - 1
                });
                sinks.push(SinkPart { route, shape, packing: AnySink::packing(&component.config) });
            }
            let limits = configured.sources.iter().map(|&source| resolved.sources[source].config.limits());
            let limits = limits.reduce(widest).unwrap_or_default();
            pipelines.push(Part {
                identity: IdentitySlots::want(slots),
                token: slots.want("responseElements.credentials.sessionToken"),
                protector: Protector::build(&patterns, &settings, slots),
                steps,
                routes: PatternSet::compile(&routed.iter().collect::<Vec<_>>(), slots),
                sinks,
                limits,
            });
        }
        if problems.is_empty() {
            Ok(Parts { pipelines, shapes })
        } else {
            Err(StartError::Config(Problems::new(resolved.document.clone(), problems)))
        }
    }
}

/// Limits that admit what either admits.
pub(crate) fn widest(one: Limits, other: Limits) -> Limits {
    Limits {
        window: one.window.max(other.window),
        object: one.object.max(other.object),
        ratio: one.ratio.max(other.ratio),
        depth: one.depth.max(other.depth),
        records: one.records.max(other.records),
        record: one.record.max(other.record),
        envelopes: one.envelopes.max(other.envelopes),
    }
}

fn protection(resolved: &Resolved, families: &[Family], problems: &mut Vec<Problem>) -> protector::Settings {
    let mut settings = protector::Settings::default();
    let protect = &resolved.globals.protect;
    for pattern in protect.also.iter().flat_map(|patterns| patterns.iter()) {
        match pattern.compile() {
            Ok(pattern) => settings.also.push(pattern),
            Err(errors) => problems.extend(transform::problems(pattern, &errors)),
        }
    }
    for except in &protect.except {
        match except {
            Except::Name(name) => {
                let family = families.iter().position(|family| family.name == *name.value());
                if let Some(reason) = Protection::by_name(name.value()) {
                    settings.except_reasons = settings.except_reasons.with(reason);
                } else if let Some(number) = family {
                    settings.except_families |= 1 << number;
                } else {
                    let mut names: Vec<&str> = Protection::exceptions().collect();
                    names.extend(families.iter().map(|family| family.name.as_str()));
                    let hint = format!("one of: {}", names.join(", "));
                    problems.push(Problem::error(
                        name.span(),
                        format!("nothing protects by the name `{}`", name.value()),
                        hint,
                    ));
                    continue;
                }
                tracing::warn!(except = name.value().as_str(), "not protected: rules may thin it");
            }
            Except::Pattern(pattern) => match pattern.compile() {
                Ok(compiled) => {
                    tracing::warn!(
                        except = pattern.text().unwrap_or("a pattern"),
                        "not protected: rules may thin it"
                    );
                    settings.except.push(compiled);
                }
                Err(errors) => problems.extend(transform::problems(pattern, &errors)),
            },
        }
    }
    settings
}

/// What a pipeline with these sinks must be able to hold, whatever comes.
pub(crate) fn reserve_of<'a>(limits: &Limits, sinks: impl Iterator<Item = &'a Packing>) -> Reserve {
    let [body, window, growth] = job::reserve(limits);
    let payload = sinks.map(|packing| Packer::reserve(packing).max(job::largest_payload(limits)));
    Reserve([body, window, growth, payload.fold(0, usize::saturating_add)])
}

/// The budget, with each pipeline's reserve.
pub(crate) fn budget_of(resolved: &Resolved, parts: &Parts) -> Result<Budget, StartError> {
    let reserves: Vec<Reserve> = parts
        .pipelines
        .iter()
        .map(|part| reserve_of(&part.limits, part.sinks.iter().map(|sink| &sink.packing)))
        .collect();
    // What transforms remember is not in flight, and is not lent.
    let remembered: Vec<usize> = parts.pipelines.iter().map(Part::remembered).collect();
    let total = resolved.globals.memory.value().as_usize();
    Budget::new(total.saturating_sub(remembered.iter().sum()), &reserves).map_err(|_| {
        let named: Vec<(&str, u64)> = resolved
            .pipelines
            .iter()
            .zip(reserves.iter().zip(&remembered))
            .map(|(pipeline, (reserve, remembered))| {
                (pipeline.name.value().as_str(), (reserve.total() + remembered) as u64)
            })
            .collect();
        let problem = resolved.check_memory(&named);
        StartError::Config(Problems::new(resolved.document.clone(), problem.into_iter().collect()))
    })
}
