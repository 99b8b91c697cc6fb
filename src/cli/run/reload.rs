//! SIGHUP: secrets and tables are read again and used from now on; the configuration is read again and only looked at.

use std::path::Path;
use std::sync::Arc;

use crate::config::{self, Document, Problems, Resolved, Surroundings};
use crate::pipeline::watched::Watched;

/// What is read again.
pub(super) struct Reload {
    /// The configuration that runs.
    document: Document,
    watched: Arc<Watched>,
}

impl Reload {
    /// Remembers what runs.
    pub(super) fn new(resolved: &Resolved, watched: &Arc<Watched>) -> Reload {
        Reload { document: resolved.document.clone(), watched: watched.clone() }
    }

    /// Reads everything again. Blocks.
    pub(super) fn run(&self) {
        let Document { name, text } = &self.document;
        tracing::info!("SIGHUP: secrets, tables and the configuration are read again");
        // The text that runs, with what its references say now.
        let again = config::read_str(name, text, &Surroundings::system());
        if let Err(problems) = &again {
            say(problems);
            tracing::error!(config = %name, "the secrets cannot be read again: those known before stay");
        }
        self.watched.reload(again.as_ref().ok());
        match config::read_file(Path::new(name), &Surroundings::system()) {
            Ok(now) if now.document.text == *text => {
                tracing::info!(config = %name, "the configuration is as it was");
            }
            Ok(now) => {
                say(&now.warnings);
                tracing::info!(config = %name, "the configuration has changed: it takes effect at restart");
            }
            Err(problems) => {
                // Where the text is the same, its problems have been said.
                if again.is_ok() || *text != problems.document().text {
                    say(&problems);
                }
                tracing::error!(config = %name, "the configuration could not be started with: the one that runs stays");
            }
        }
    }
}

/// Says each problem with its place. Not as problems of the run, which are said once in a while only: whoever mends a
/// configuration asks again and again.
fn say(problems: &Problems) {
    for problem in problems.list() {
        let (line, column) = problems.document().place(problem.span.start);
        let (file, advice) = (&problems.document().name, &problem.label);
        tracing::info!(%file, line, column, %advice, "{}", problem.message);
    }
}
