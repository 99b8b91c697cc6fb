//! Which cases a person means, and through which chain they go.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use walkdir::WalkDir;

use crate::cli::Wrong;
use crate::cli::place::ConfigArgs;
use crate::config::{self, Resolved};
use crate::pattern::family::{self, Family};
use crate::pipeline::chain::default_configuration;
use crate::testing::cases::{self, Case};

/// A file of cases by this name is found in a directory; so is one that ends with `.cases.toml`.
const CASES: &str = "cases.toml";
const ENDING: &str = ".cases.toml";

/// The cases of one file.
#[derive(Clone, Debug)]
pub(super) struct Suite {
    /// The file, or the shipped family.
    pub(super) name: String,
    /// The family whose cases they are.
    pub(super) family: Option<String>,
    /// What they go through.
    pub(super) chain: Chain,
    pub(super) cases: Vec<Case>,
}

/// What cases go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    /// The shipped families alone.
    Shipped,
    /// The shipped families and one that is read from a folder, which stands for a shipped one of its name.
    Family(PathBuf),
    /// A configuration.
    Configuration(PathBuf),
}

impl Suite {
    /// What its cases go through, in words.
    pub(super) fn through(&self) -> String {
        match &self.chain {
            Chain::Shipped => "through the default chain".to_owned(),
            Chain::Family(path) => format!("through the default chain with {}", path.display()),
            Chain::Configuration(path) => format!("through {}", path.display()),
        }
    }

    pub(super) fn resolved(&self) -> anyhow::Result<Resolved> {
        match &self.chain {
            Chain::Configuration(path) => Ok(config::read_file(path, &config::Surroundings::system())?),
            Chain::Shipped | Chain::Family(_) => Ok(default_configuration()?),
        }
    }

    pub(super) fn families(&self) -> anyhow::Result<Vec<Family>> {
        let mut families = family::shipped()?;
        if let (Chain::Family(path), Some(name)) = (&self.chain, &self.family) {
            let text = read(path)?;
            let read = family::parse_family(name, &text)?;
            match families.iter_mut().find(|family| family.name == *name) {
                Some(shipped) => *shipped = read,
                None => families.push(read),
            }
        }
        Ok(families)
    }
}

/// The suites of some places; without any, what ships and the configuration there is.
///
/// # Errors
/// A place holds no cases, or a file cannot be read.
pub(super) fn find(paths: &[PathBuf], config: &ConfigArgs) -> anyhow::Result<Vec<Suite>> {
    let mut suites = Vec::new();
    if paths.is_empty() {
        for shipped in family::SHIPPED {
            suites.push(Suite {
                name: format!("signals/{}", shipped.folder),
                family: Some(shipped.folder.to_owned()),
                chain: Chain::Shipped,
                cases: cases::parse(shipped.folder, shipped.cases)?.case,
            });
        }
        if let Some(configuration) = config.find()
            && let Some(path) = cases_of(&configuration)
        {
            suites.push(suite(&path, Some(&configuration), config)?);
        }
        return Ok(suites);
    }
    for path in paths {
        if path.is_dir() {
            let before = suites.len();
            for entry in WalkDir::new(path).sort_by_file_name() {
                let entry = entry?;
                if entry.file_type().is_file() && is_cases(entry.path()) {
                    suites.push(suite(entry.path(), config.named(), config)?);
                }
            }
            if suites.len() == before {
                let place = path.display();
                let what = format!("{place} holds no cases: neither a {CASES} nor a *{ENDING} is below it");
                return Err(Wrong(what).into());
            }
        } else if is_configuration(path)? {
            let Some(cases) = cases_of(path) else {
                let (place, beside) = (path.display(), beside(path));
                let what = format!("{place} has no cases: write them into {} beside it", beside.display());
                return Err(Wrong(what).into());
            };
            suites.push(suite(&cases, Some(path), config)?);
        } else {
            suites.push(suite(path, config.named(), config)?);
        }
    }
    Ok(suites)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn is_cases(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name == CASES || name.ends_with(ENDING)
}

/// Whether a file is a configuration, not cases: told by what it holds.
fn is_configuration(path: &Path) -> anyhow::Result<bool> {
    let text = read(path)?;
    // A file that is no TOML is told by its name; reading it says what is wrong.
    Ok(match toml::from_str::<toml::Table>(&text) {
        Ok(table) => !table.contains_key("case"),
        Err(_) => !is_cases(path),
    })
}

/// `trailship.cases.toml` for `trailship.toml`.
fn beside(configuration: &Path) -> PathBuf {
    let stem = configuration.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    configuration.with_file_name(stem + ENDING)
}

/// The file of a configuration's cases.
fn cases_of(configuration: &Path) -> Option<PathBuf> {
    [beside(configuration), configuration.with_file_name(CASES)].into_iter().find(|path| path.is_file())
}

/// Reads a file of cases. What it goes through is the first of these that there is: the configuration that was `named`, the
/// one it names itself, the one that is named like it, the family beside it, `trailship.toml` beside it, what `run` would
/// use, what ships.
fn suite(path: &Path, named: Option<&Path>, config: &ConfigArgs) -> anyhow::Result<Suite> {
    let name = path.display().to_string();
    let file = cases::parse(&name, &read(path)?)?;
    if file.case.is_empty() {
        bail!("{name} holds no case");
    }
    let home =
        |stem: &str| Some(path.with_file_name(stem.to_owned() + ".toml")).filter(|path| path.is_file());
    let like = path.file_name().and_then(|name| name.to_str()?.strip_suffix(ENDING)).and_then(home);
    let stated = file.configuration.map(|stated| path.with_file_name("").join(stated));
    if let Some(configuration) = named.map(Path::to_path_buf).or(stated).or(like) {
        let chain = Chain::Configuration(configuration);
        return Ok(Suite { name, family: None, chain, cases: file.case });
    }
    if let Some(family) = home("family") {
        let whole = std::path::absolute(&family)?;
        let folder = whole.parent().and_then(Path::file_name);
        let folder = folder.map(|name| name.to_string_lossy().into_owned());
        return Ok(Suite { name, family: folder, chain: Chain::Family(family), cases: file.case });
    }
    let chain = home("trailship").or_else(|| config.find()).map_or(Chain::Shipped, Chain::Configuration);
    Ok(Suite { name, family: None, chain, cases: file.case })
}
