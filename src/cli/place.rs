//! Where the configuration is.

use std::path::{Path, PathBuf};

use crate::config::{self, Document, Problem, Problems, Resolved, Surroundings};

/// Where a configuration is looked for when none is named, in this order.
const PLACES: [&str; 2] = ["./trailship.toml", "/etc/trailship/trailship.toml"];

/// The option every command with a configuration has.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// The configuration; without it ./trailship.toml, else /etc/trailship/trailship.toml
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Finds and reads the configuration.
    ///
    /// # Errors
    /// All its problems, or that there is none.
    pub(super) fn read(&self) -> Result<Resolved, Problems> {
        let found = match &self.config {
            Some(path) => Some(path.as_path()),
            None => PLACES.iter().map(Path::new).find(|path| path.exists()),
        };
        match found {
            Some(path) => config::read_file(path, &Surroundings::system()),
            None => {
                let message =
                    format!("there is no configuration: neither {} nor {} exists", PLACES[0], PLACES[1]);
                let problem = Problem::error(0..0, message, "")
                    .note("name one with `-c FILE`; `trailship demo` needs none");
                Err(Problems::new(
                    Document { name: PLACES[0].to_owned(), text: String::new() },
                    vec![problem],
                ))
            }
        }
    }
}
