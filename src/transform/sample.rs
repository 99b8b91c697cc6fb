//! Keeps one record in `keep_one_in`, chosen by a hash of one field; protected records are always kept.
//!
//! The choice depends on the record only, so a redelivered record gets the same answer: kept is what has
//! `XXH3-64(salt, 0x00, key) mod keep_one_in = 0`. The salt is the transform's name where none is set; the key is the
//! record's id (16 bytes, big-endian), or the JSON text of the field `by` (a string without its quotes). A kept record
//! says what it stands for: `trailship.sample.rate` (rates of several rules multiply) and `.rules`.
//!
//! ```toml
//! [transforms.thin]
//! type = "sample"
//! match = { eventCategory = ["Data"], readOnly = [true] }
//! keep_one_in = 50
//! ```

use crate::config::{At, Match, Problem};
use crate::pattern::compile::PatternSet;
use crate::pattern::view::View;
use crate::record::overlay::{Fragment, FragmentLeaf, Parent};
use crate::record::{Record, SlotId};
use crate::transform::{Building, Context, Decision, Transform, Why, why};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::rc::Rc;
use xxhash_rust::xxh3::xxh3_64;

/// Keeps one record in N; protected records are always kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransformSample")]
pub struct Config {
    /// Which records are thinned, as an event pattern. Default: all that are not protected.
    #[serde(default)]
    pub r#match: Option<Match>,
    /// Keep one record in this many; `1` keeps all. A count of records, from 1. Required.
    pub keep_one_in: At<NonZeroU32>,
    /// The field whose text is hashed, as a dotted path: records that agree in it share their fate. Records without it
    /// are kept. Default: the record's id.
    #[serde(default)]
    pub by: Option<At<String>>,
    /// Text mixed into the hash, so that two `sample` steps choose independently. Default: the name of the transform.
    #[serde(default)]
    pub salt: String,
}

/// Thins records.
pub struct Sample {
    name: Box<str>,
    only: Option<PatternSet>,
    keep_one_in: u64,
    by: Option<SlotId>,
    /// The salt and its end.
    seed: Box<[u8]>,
    shown: Shown,
}

/// The settings as a person wrote them, to explain by.
#[derive(Default)]
struct Shown {
    only: Option<Box<str>>,
    by: Option<Box<str>>,
    salt: Box<str>,
}

/// What there is to say about one record.
enum Judged {
    /// No rule may touch it.
    Protected,
    /// The rule keeps everything, or does not mean it.
    NotMeant,
    /// It does not have the field that decides.
    NoKey,
    /// Chosen to be kept, by this hash.
    Kept(u64),
    /// Left out, by this hash.
    Thinned(u64),
}

impl Sample {
    /// Builds it; `name` is its name in the configuration.
    ///
    /// # Errors
    /// What is wrong with its pattern.
    pub fn build(name: &str, config: &Config, building: &mut Building<'_>) -> Result<Sample, Vec<Problem>> {
        let only = match &config.r#match {
            Some(pattern) => Some(super::compile([pattern], building.slots)?),
            None => None,
        };
        let by = config.by.as_ref().map(|path| building.slots.want(path.value()));
        let salt = if config.salt.is_empty() { name } else { &config.salt };
        let seed = [salt.as_bytes(), &[0]].concat().into();
        let shown = Shown {
            only: config.r#match.as_ref().map(|pattern| pattern.value().to_string().into()),
            by: config.by.as_ref().map(|path| path.value().as_str().into()),
            salt: salt.into(),
        };
        let keep_one_in = u64::from(config.keep_one_in.value().get());
        Ok(Sample { name: name.into(), only, keep_one_in, by, seed, shown })
    }

    /// Decides. [`apply`](Transform::apply) does it, [`explain`](Transform::explain) says it.
    #[inline]
    fn judge(&self, record: &Record<'_>, context: &mut Context<'_>) -> Judged {
        if record.protection.any() {
            return Judged::Protected;
        }
        if self.keep_one_in == 1 {
            return Judged::NotMeant;
        }
        if let Some(only) = &self.only
            && !only.any(&View::of(record, context.field), context.matching)
        {
            return Judged::NotMeant;
        }
        let hash = match self.by {
            None => self.hash(&record.identity.id.0.to_be_bytes()),
            Some(slot) => match record.text(slot) {
                Some(text) => self.hash(crate::record::unquoted(text)),
                None => return Judged::NoKey,
            },
        };
        if hash.is_multiple_of(self.keep_one_in) { Judged::Kept(hash) } else { Judged::Thinned(hash) }
    }

    /// XXH3-64 of the salt, its end, and the key.
    fn hash(&self, key: &[u8]) -> u64 {
        let mut text = [0; 64];
        match text.get_mut(..self.seed.len() + key.len()) {
            Some(text) => {
                let (seed, rest) = text.split_at_mut(self.seed.len());
                seed.copy_from_slice(&self.seed);
                rest.copy_from_slice(key);
                xxh3_64(text)
            }
            None => xxh3_64(&[&self.seed, key].concat()),
        }
    }

    /// The hash and what follows from it, in words.
    fn choice(&self, hash: u64) -> Why {
        let (rate, left) = (self.keep_one_in, hash % self.keep_one_in);
        let key = self.shown.by.as_deref().unwrap_or("record id");
        let salt = &self.shown.salt;
        let remainder = if left == 0 { "0".to_owned() } else { format!("{left}, not 0") };
        let hashed = format!("XXH3-64({salt:?}, 0x00, {key}) = {hash:016x}, mod {rate} = {remainder}");
        Why::because(self.meant())
            .and(format!("one in {rate} is kept: {hashed}"))
            .fact("keep_one_in", rate)
            .fact("by", key)
            .fact("salt", &**salt)
            .fact("hash", format!("{hash:016x}"))
            .fact("remainder", left)
    }

    fn meant(&self) -> String {
        match &self.shown.only {
            Some(only) => format!("its `match` holds: {only}"),
            None => "it means every record that is not protected".to_owned(),
        }
    }

    /// Says on the record what it stands for, together with rules before this one.
    fn mark(&self, record: &mut Record<'_>, context: &mut Context<'_>) {
        let added = &mut record.overlay.added;
        let before =
            added.iter().position(|(parent, fragment)| *parent == Parent::Root && is_sample(fragment));
        let fragment = match before {
            Some(at) => {
                let (_, before) = added.remove(at);
                Some(Rc::new(Fragment::once(self.leaves(Some(&before)))))
            }
            None => context.local.fragment(0, 0, || Some(Fragment::shared(self.leaves(None)))),
        };
        added.extend(fragment.map(|fragment| (Parent::Root, fragment)));
    }

    fn leaves(&self, before: Option<&Fragment>) -> Vec<FragmentLeaf> {
        let leaf = |key: &str, index, value: String| FragmentLeaf {
            keys: vec!["sample".into(), key.into()],
            index,
            value: value.into_bytes().into(),
        };
        let mut rate = self.keep_one_in;
        let mut rules: Vec<String> = Vec::new();
        for known in before.into_iter().flat_map(|before| &before.leaves) {
            let text = String::from_utf8_lossy(&known.value);
            match known.index {
                None => rate = rate.saturating_mul(text.parse().unwrap_or(1)),
                Some(_) => rules.push(text.into_owned()),
            }
        }
        rules.push(serde_json::Value::from(&*self.name).to_string());
        let mut leaves = vec![leaf("rate", None, rate.to_string())];
        leaves.extend((0..).zip(rules).map(|(index, rule)| leaf("rules", Some(index), rule)));
        leaves
    }
}

fn is_sample(fragment: &Fragment) -> bool {
    fragment.leaves.first().is_some_and(|leaf| leaf.keys.first().is_some_and(|key| &**key == "sample"))
}

impl Transform for Sample {
    fn apply(&self, record: &mut Record<'_>, context: &mut Context<'_>) -> Decision {
        match self.judge(record, context) {
            Judged::Protected | Judged::NotMeant | Judged::NoKey => Decision::Keep,
            Judged::Thinned(_) => Decision::Sample,
            Judged::Kept(_) => {
                self.mark(record, context);
                Decision::Keep
            }
        }
    }

    fn explain(&self, record: &Record<'_>, context: &mut Context<'_>) -> Why {
        match self.judge(record, context) {
            Judged::Protected => why::protected(record.protection.names()),
            Judged::NotMeant => match &self.shown.only {
                Some(only) if self.keep_one_in > 1 => {
                    Why::because(format!("its `match` does not hold: {only}")).fact("rule", "not_matched")
                }
                _ => Why::because("`keep_one_in = 1` keeps all").fact("rule", "keeps_all"),
            },
            Judged::NoKey => {
                let by = self.shown.by.as_deref().unwrap_or_default();
                Why::because(format!("it has no `{by}`, which decides")).fact("rule", "no_key")
            }
            Judged::Kept(hash) => self.choice(hash).fact("rule", "kept"),
            Judged::Thinned(hash) => self.choice(hash).fact("rule", "thinned"),
        }
    }
}
