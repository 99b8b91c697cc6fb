//! Paths that must not meet: two sources on one tree, a sink or the data directory inside a watched one.

use super::super::at::At;
use super::super::problem::Problem;
use super::super::{Globals, Raw, SinkConfig, SourceConfig, Surroundings};
use globset::{GlobBuilder, GlobMatcher};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What a source watches.
struct Watched<'r> {
    source: &'r str,
    stated: &'r At<String>,
    /// The directory or file; of a glob the part before the first wildcard.
    base: PathBuf,
    glob: Option<GlobMatcher>,
}

impl Watched<'_> {
    /// Returns whether a file at `path` would be read.
    fn reads(&self, path: &Path) -> bool {
        match &self.glob {
            Some(glob) => glob.is_match(path),
            None => path.starts_with(&self.base),
        }
    }
}

pub(super) fn is_glob(path: &str) -> bool {
    path.contains(['*', '?', '[', '{'])
}

pub(super) fn glob(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).build().map(|glob| glob.compile_matcher())
}

/// Parts a path at the first directory that holds one of the characters.
fn fixed_part<'p>(path: &'p str, wild: &[char]) -> &'p str {
    match path.find(wild) {
        Some(at) => path[..at].rfind('/').map_or("", |slash| if slash == 0 { "/" } else { &path[..slash] }),
        None => path,
    }
}

fn or_here(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}

/// Checks what is read and written against each other.
pub(super) fn check(
    raw: &Raw,
    data_dir: Option<&Path>,
    globals: &Globals,
    around: &Surroundings<'_>,
    problems: &mut Vec<Problem>,
) {
    let mut watched: Vec<Watched<'_>> = Vec::new();
    let mut stdin: Option<&At<String>> = None;
    for named in &raw.sources {
        let Some(SourceConfig::Files(config)) = named.config.whole() else { continue };
        for stated in config.path.iter().filter(|path| !path.is_empty()) {
            if stated.value() == "-" {
                if let Some(first) = stdin {
                    let problem = Problem::error(
                        stated.span(),
                        "standard input can be read only once",
                        "remove this one",
                    );
                    problems.push(problem.and(first.span(), "read here already"));
                }
                stdin = stdin.or(Some(stated));
                continue;
            }
            let fixed = fixed_part(stated, &['*', '?', '[', '{']);
            let base = (around.canonical)(or_here(fixed).as_ref());
            let rest = stated.strip_prefix(fixed).unwrap_or_default().trim_start_matches('/');
            let glob =
                is_glob(stated).then(|| glob(&format!("{}/{rest}", base.display()))).and_then(Result::ok);
            let new = Watched { source: named.name.value(), stated, base, glob };
            if let Some(other) = watched.iter().find(|other| overlap(other, &new)) {
                let message = match other.source == new.source {
                    true => format!("source `{}` reads `{}` twice", new.source, stated.value()),
                    false => format!("sources `{}` and `{}` read the same files", other.source, new.source),
                };
                let label = "every record would be read twice: remove one";
                problems.push(
                    Problem::error(stated.span(), message, label).and(other.stated.span(), "the same files"),
                );
            }
            watched.push(new);
        }
    }
    let mut written: Vec<(PathBuf, Range<usize>, &str)> = Vec::new();
    for named in &raw.sinks {
        let Some(SinkConfig::File(config)) = named.config.whole() else { continue };
        let stated = &config.path;
        if let Err(error) = config.resolve() {
            problems.push(Problem::error(stated.span(), error.message, error.hint));
        }
        let target = (around.canonical)(filled_in(&stated.value().to_string()).as_ref());
        if let Some(watch) = watched.iter().find(|watch| watch.reads(&target)) {
            let message =
                format!("sink `{}` writes where source `{}` reads", named.name.value(), watch.source);
            let label = "write elsewhere: what is written here would be read again";
            problems
                .push(Problem::error(stated.span(), message, label).and(watch.stated.span(), "read here"));
        }
        if let Some((_, other, other_name)) = written.iter().find(|(path, _, _)| *path == target) {
            let message = format!("sinks `{other_name}` and `{}` write the same file", named.name.value());
            problems.push(
                Problem::error(stated.span(), message, "write elsewhere").and(other.clone(), "written here"),
            );
        }
        written.push((target, stated.span(), named.name.value()));
    }
    let Some(data_dir) = data_dir else { return };
    let real = (around.canonical)(data_dir);
    let inside =
        |watch: &&Watched<'_>| watch.reads(&real.join("rejects").join("x")) || watch.reads(&real.join("x"));
    if let Some(watch) = watched.iter().find(inside) {
        let message = format!("`data_dir` stands where source `{}` reads", watch.source);
        problems.push(match &globals.data_dir {
            Some(stated) => {
                Problem::error(stated.span(), message, "move it: its rejects would be read again")
                    .and(watch.stated.span(), "read here")
            }
            None => Problem::error(
                watch.stated.span(),
                message,
                format!("add data_dir = \"…\"; it is {}", data_dir.display()),
            ),
        });
    }
}

/// Returns whether two sources would read the same files, as far as that can be seen without looking.
fn overlap(a: &Watched<'_>, b: &Watched<'_>) -> bool {
    match (&a.glob, &b.glob) {
        (Some(one), Some(other)) => one.glob() == other.glob(),
        (None, Some(_)) => b.base.starts_with(&a.base),
        (Some(_), None) => a.base.starts_with(&b.base) || a.reads(&b.base),
        (None, None) => a.base.starts_with(&b.base) || b.base.starts_with(&a.base),
    }
}

/// Returns the path with every `{name}` replaced by a plain letter.
fn filled_in(template: &str) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        filled.push('x');
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    filled + rest
}
