//! Signal families: which events a security team must not lose, as data.
//!
//! A family is a folder of `transforms/signals/`: `family.toml` says what it matches, `cases.toml` proves it. The broad
//! pattern goes by name and overmatches on purpose: it protects the record and sets the tag `NAME`. Finer tags
//! (`NAME.TAG`) come from a narrower pattern, a named predicate, or both. The format is described in
//! `transforms/README.md`.

use serde::Deserialize;
use serde_json::Value;

use super::Pattern;
use super::predicate::{Decision, Predicate, Question};

/// Holds one family: what it is called, what it matches, its finer tags.
#[derive(Debug, Clone)]
pub struct Family {
    /// The tag, and the name exceptions use; lower case with underscores.
    pub name: String,
    /// One sentence: what a match means.
    pub description: String,
    /// First version that ships it.
    pub since: String,
    /// Where the names and paths come from.
    pub source: String,
    /// The broad event pattern. A match protects the record and sets the tag.
    pub pattern: Pattern,
    /// The finer tags, in file order. Each is looked at only where the broad pattern matched.
    pub fine: Vec<Fine>,
}

/// Holds one finer tag of a family.
#[derive(Debug, Clone)]
pub struct Fine {
    /// The whole tag: family name, `.`, short name.
    pub tag: String,
    /// A narrower event pattern, with the condition of success where the file asks for it. Both this and the
    /// predicate must hold where both are given.
    pub pattern: Option<Pattern>,
    /// The question code answers; only `Decision::Yes` sets the tag.
    pub question: Option<Question>,
}

impl Fine {
    /// Asks the predicate about a record's JSON text; without one the answer is `Yes`.
    ///
    /// The pattern is the caller's to check first: it is the cheaper half.
    #[must_use]
    pub fn decide(&self, record_json: &[u8]) -> Decision {
        self.question.as_ref().map_or(Decision::Yes, |question| question.decide(record_json))
    }
}

/// Says what is wrong with a family or its cases.
#[derive(Debug, thiserror::Error)]
pub enum FamilyError {
    /// The text is not TOML of the right shape; the message carries line and column.
    #[error("reading signal family `{family}`: {message}")]
    Read {
        /// Folder name.
        family: String,
        /// What the reader said.
        message: String,
    },
    /// The text reads, but says something a family cannot.
    #[error("signal family `{family}`: {message}")]
    Rule {
        /// Folder name.
        family: String,
        /// What is wrong and what to write instead.
        message: String,
    },
}

/// One `family.toml`, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FamilyFile {
    name: String,
    description: String,
    since: String,
    source: String,
    #[serde(rename = "match")]
    pattern: PatternText,
    #[serde(default)]
    fine: Vec<FineFile>,
}

/// One `[[fine]]`, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FineFile {
    tag: String,
    #[serde(rename = "match")]
    pattern: Option<PatternText>,
    #[serde(default)]
    succeeded: bool,
    predicate: Option<String>,
    #[serde(default)]
    at: Vec<String>,
}

/// An event pattern as a TOML table or as JSON text.
#[derive(Deserialize)]
#[serde(untagged)]
enum PatternText {
    Json(String),
    Table(toml::Table),
}

impl PatternText {
    /// Turns the text into a value, not judged yet.
    fn value(self) -> Result<Value, String> {
        match self {
            PatternText::Json(text) => {
                serde_json::from_str(&text).map_err(|error| format!("`match` is not json: {error}"))
            }
            PatternText::Table(table) => serde_json::to_value(table).map_err(|error| error.to_string()),
        }
    }
}

/// Judges a pattern; the message names every mistake.
fn judge(value: &Value) -> Result<Pattern, String> {
    Pattern::parse(value).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        format!("`match`: {}", errors.join("; "))
    })
}

/// Adds the condition of a call that worked: no `errorCode`, or the empty one other tools write.
fn and_succeeded(pattern: Option<Value>) -> Result<Value, String> {
    let mut pattern = pattern.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let members = pattern.as_object_mut().ok_or("`match` is not an object")?;
    if members.contains_key("errorCode") {
        return Err("`succeeded` and an `errorCode` in `match` are one too many".to_owned());
    }
    members.insert("errorCode".to_owned(), serde_json::json!([{ "exists": false }, null, ""]));
    Ok(pattern)
}

/// Reads one `family.toml`. `folder` is the folder's name, which must be the family's.
///
/// # Errors
///
/// What is wrong with the text; the caller stops.
pub fn parse_family(folder: &str, text: &str) -> Result<Family, FamilyError> {
    let rule = |message: String| FamilyError::Rule { family: folder.to_owned(), message };
    let file: FamilyFile = toml::from_str(text)
        .map_err(|error| FamilyError::Read { family: folder.to_owned(), message: error.to_string() })?;
    if file.name != folder {
        return Err(rule(format!("`name` is `{}`; it must be the folder's name", file.name)));
    }
    if !is_tag(&file.name) {
        return Err(rule("`name` takes lower-case letters, digits and underscores".to_owned()));
    }
    let mut fine = Vec::with_capacity(file.fine.len());
    for entry in file.fine {
        let at_fine = |message: String| rule(format!("fine tag `{}`: {message}", entry.tag));
        if !is_tag(&entry.tag) {
            return Err(at_fine("takes lower-case letters, digits and underscores".to_owned()));
        }
        let predicate = match &entry.predicate {
            None => None,
            Some(name) => Some(Predicate::by_name(name).ok_or_else(|| {
                let known = Predicate::names().collect::<Vec<_>>().join(", ");
                at_fine(format!("unknown predicate `{name}`; known: {known}"))
            })?),
        };
        if predicate.is_some() == entry.at.is_empty() {
            return Err(at_fine("`predicate` and `at` go together".to_owned()));
        }
        if predicate.is_none() && entry.pattern.is_none() {
            return Err(at_fine("needs `match`, `predicate` or both".to_owned()));
        }
        let tag = format!("{}.{}", file.name, entry.tag);
        let mut pattern = entry.pattern.map(PatternText::value).transpose().map_err(at_fine)?;
        if entry.succeeded {
            pattern = Some(and_succeeded(pattern).map_err(at_fine)?);
        }
        let pattern = pattern.as_ref().map(judge).transpose().map_err(at_fine)?;
        let question = predicate.map(|predicate| Question::new(predicate, entry.at));
        fine.push(Fine { tag, pattern, question });
    }
    let pattern = file.pattern.value().and_then(|value| judge(&value)).map_err(rule)?;
    Ok(Family {
        name: file.name,
        description: file.description,
        since: file.since,
        source: file.source,
        pattern,
        fine,
    })
}

/// Says whether a text can be a tag.
fn is_tag(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Embeds the folders of `transforms/signals/`, each with its two files.
macro_rules! families {
    ($($folder:literal),+ $(,)?) => {
        &[$(ShippedText {
            folder: $folder,
            family: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/transforms/signals/", $folder, "/family.toml")),
            cases: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/transforms/signals/", $folder, "/cases.toml")),
        }),+]
    };
}

/// Holds the texts of one shipped family.
#[derive(Debug, Clone, Copy)]
pub struct ShippedText {
    /// Folder under `transforms/signals/`, and name of the family.
    pub folder: &'static str,
    /// Its `family.toml`.
    pub family: &'static str,
    /// Its `cases.toml`.
    pub cases: &'static str,
}

/// The families that ship, in alphabetical order; a test compares with the folder.
pub const SHIPPED: &[ShippedText] = families![
    "access_denied",
    "credentials_created",
    "database_exposure",
    "detection_tampering",
    "dry_run",
    "ec2_sensitive",
    "image_exposure",
    "key_quarantined",
    "log_pipeline_tampering",
    "login_failure",
    "login_without_mfa",
    "network_exposure",
    "organization_change",
    "policy_exposure",
    "privilege_change",
    "role_assumption_failure",
    "root_key",
    "root_use",
    "s3_exposure",
    "s3_exposure_acl",
    "s3_exposure_block",
    "s3_exposure_settings",
    "secrets_read",
    "snapshot_exposure",
    "trail_tampering",
];

/// Reads the families that ship.
///
/// # Errors
///
/// A family that does not read; tests make sure that none is shipped.
pub fn shipped() -> Result<Vec<Family>, FamilyError> {
    SHIPPED.iter().map(|text| parse_family(text.folder, text.family)).collect()
}

#[cfg(test)]
mod tests;
