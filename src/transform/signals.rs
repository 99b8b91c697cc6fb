//! Writes the names of the signal families a record belongs to into `trailship.signals`.
//!
//! ```toml
//! [transforms.signals]
//! type = "signals"
//! except = ["dry_run"]
//! ```

use crate::config::{At, Problem};
use crate::pattern::compile::PatternSet;
use crate::pattern::family::Fine;
use crate::pattern::predicate;
use crate::pattern::view::View;
use crate::record::Record;
use crate::record::overlay::{Fragment, FragmentLeaf, Parent};
use crate::transform::{Building, Context, Decision, Transform, Why};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::rc::Rc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Marks records with the signal families they belong to.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransformSignals")]
pub struct Config {
    /// Names of the families to write, no others. Default: all.
    #[serde(default)]
    pub only: Option<Vec<At<String>>>,
    /// Names of families not to write. Default: none.
    #[serde(default)]
    pub except: Vec<At<String>>,
}

/// Writes tags. The broad ones were found before, by protection; the finer ones are looked at here.
pub struct Signals {
    names: Vec<Box<str>>,
    /// Bit `n`: family `n` is written.
    written: u64,
    /// Families that have finer tags.
    finer: u64,
    /// Those families: only of the ones a record belongs to are the finer tags looked at.
    fine: Vec<Finer>,
    /// All finer tags, each once.
    fine_names: Vec<Box<str>>,
}

/// The finer tags of one family.
struct Finer {
    family: u32,
    tags: Vec<FineTag>,
    /// The patterns of those tags that have one.
    set: PatternSet,
}

impl Finer {
    /// Goes through the finer tags, each with whether its pattern (if it has one) matches.
    fn each<'s>(
        &'s self,
        record: &Record<'_>,
        context: &mut Context<'_>,
        mut take: impl FnMut(&'s FineTag, bool),
    ) {
        let matched = self.set.matches(&View::of(record, context.field), context.matching);
        let matches = |at: usize| matched.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1);
        for tag in &self.tags {
            take(tag, tag.pattern.is_none_or(matches));
        }
    }
}

struct FineTag {
    /// Its place among the names: families may give one tag for several reasons.
    name: usize,
    /// Its place in the set.
    pattern: Option<usize>,
    fine: Fine,
}

impl FineTag {
    /// Why it is set or not, in words.
    fn explained(&self, record: &Record<'_>, matches: bool) -> (String, bool) {
        let pattern =
            self.pattern.map(|_| if matches { "its pattern matches" } else { "its pattern does not match" });
        let Some(question) = self.fine.question.as_ref().filter(|_| matches) else {
            return (pattern.unwrap_or_default().to_owned(), matches);
        };
        let decided = question.decide(record.original());
        let answer = match decided {
            predicate::Decision::Yes => "yes",
            predicate::Decision::No => "no",
            predicate::Decision::Unknown => "that it cannot tell",
        };
        let says = format!("`{}` says {answer} of {}", question.predicate().name(), question.at().join(", "));
        let said = pattern.map_or_else(|| says.clone(), |pattern| format!("{pattern}, and {says}"));
        (said, decided == predicate::Decision::Yes)
    }
}

impl Signals {
    /// Builds it over the shipped families.
    ///
    /// # Errors
    /// Names that no family has.
    pub fn build(config: &Config, building: &mut Building<'_>) -> Result<Signals, Vec<Problem>> {
        let families = building.families;
        let mut problems = Vec::new();
        let mut bits = |names: &[At<String>]| {
            let mut bits = 0;
            for name in names {
                match families.iter().position(|family| family.name == *name.value()) {
                    Some(number) => bits |= 1 << number,
                    None => {
                        let known: Vec<&str> = families.iter().map(|family| family.name.as_str()).collect();
                        let message = format!("there is no signal family `{}`", name.value());
                        problems.push(Problem::error(
                            name.span(),
                            message,
                            format!("one of: {}", known.join(", ")),
                        ));
                    }
                }
            }
            bits
        };
        let only = config.only.as_deref().map_or(u64::MAX, &mut bits);
        let except = bits(&config.except);
        let (mut fine, mut finer, mut fine_names) = (Vec::new(), 0, Vec::<Box<str>>::new());
        for (number, family) in (0u32..).zip(families).filter(|(_, family)| !family.fine.is_empty()) {
            finer |= 1 << number;
            let (mut tags, mut patterns) = (Vec::new(), Vec::new());
            for tag in &family.fine {
                let pattern = tag.pattern.as_ref().map(|pattern| {
                    patterns.push(pattern);
                    patterns.len() - 1
                });
                let known = fine_names.iter().position(|name| **name == *tag.tag);
                let name = known.unwrap_or_else(|| {
                    fine_names.push(tag.tag.as_str().into());
                    fine_names.len() - 1
                });
                tags.push(FineTag { name, pattern, fine: tag.clone() });
            }
            let set = PatternSet::compile(&patterns, building.slots);
            fine.push(Finer { family: number, tags, set });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let names = families.iter().map(|family| family.name.as_str().into()).collect();
        Ok(Signals { names, written: only & !except, finer, fine, fine_names })
    }

    /// The finer tags of a record of these families: bit `n` is name `n`.
    fn finer(&self, record: &Record<'_>, context: &mut Context<'_>, families: u64) -> u128 {
        let mut tags = 0;
        for finer in self.fine.iter().filter(|finer| families >> finer.family & 1 == 1) {
            finer.each(record, context, |tag, matches| {
                let bit = 1_u128 << tag.name;
                if matches
                    && tags & bit == 0
                    && tag.fine.decide(record.original()) == predicate::Decision::Yes
                {
                    tags |= bit;
                }
            });
        }
        tags
    }

    fn fragment(&self, families: u64, finer: u128) -> Fragment {
        let broad = (0..).zip(&self.names).filter(|(number, _)| families >> number & 1 == 1);
        let fine = (0..).zip(&self.fine_names).filter(|(number, _)| finer >> number & 1 == 1);
        let leaf = |(index, tag): (u32, &str)| FragmentLeaf {
            keys: vec!["signals".into()],
            index: Some(index),
            value: format!("\"{tag}\"").into_bytes().into(),
        };
        let tags = broad.chain(fine).map(|(_, tag)| &**tag);
        Fragment::shared((0..).zip(tags).map(leaf).collect())
    }
}

impl Transform for Signals {
    fn apply(&self, record: &mut Record<'_>, context: &mut Context<'_>) -> Decision {
        let families = record.families & self.written;
        if families == 0 {
            return Decision::Keep;
        }
        let finer = if families & self.finer == 0 { 0 } else { self.finer(record, context, families) };
        let key = match finer {
            0 => families,
            _ => xxh3_64_with_seed(&finer.to_le_bytes(), families),
        };
        let fragment = context.local.fragment(0, key, || Some(self.fragment(families, finer)));
        record.overlay.added.extend(fragment.map(|fragment: Rc<Fragment>| (Parent::Root, fragment)));
        Decision::Keep
    }
    fn explain(&self, record: &Record<'_>, context: &mut Context<'_>) -> Why {
        let mut why = Why::default();
        let mut tags = Vec::new();
        for (number, name) in
            (0u32..).zip(&self.names).filter(|(number, _)| record.families >> number & 1 == 1)
        {
            if self.written >> number & 1 == 0 {
                why = why.and(format!("{name}: its pattern matches, but `only` or `except` leave it out"));
                continue;
            }
            why = why.and(format!("{name}: its pattern matches"));
            tags.push(json!({ "tag": &**name, "set": true }));
            for finer in self.fine.iter().filter(|finer| finer.family == number) {
                finer.each(record, context, |tag, matches| {
                    let (said, set) = tag.explained(record, matches);
                    why.said.push(format!("{}: {said}", tag.fine.tag));
                    tags.push(json!({ "tag": tag.fine.tag, "set": set, "why": said }));
                });
            }
        }
        if why.said.is_empty() {
            why = why.and(format!("none of {} families matches", self.names.len()));
        }
        why.fact("tags", tags)
    }
}
