//! Where the configuration is.

use std::path::{Path, PathBuf};

use crate::config::{self, Resolved, Surroundings};

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
    /// All its [`Problems`](config::Problems), or that there is [none](NoConfiguration).
    pub(super) fn read(&self) -> anyhow::Result<Resolved> {
        let path = self.find().ok_or(NoConfiguration)?;
        Ok(config::read_file(&path, &Surroundings::system())?)
    }

    /// The configuration that was named.
    pub(super) fn named(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Finds the configuration that [`read`](ConfigArgs::read) would read; `None`: there is none.
    pub(super) fn find(&self) -> Option<PathBuf> {
        let found = || PLACES.iter().map(Path::new).find(|path| path.exists()).map(Path::to_path_buf);
        self.config.clone().or_else(found)
    }
}

/// The options of commands that only need to know where state and rejects are.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DataDirArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where state and rejects are, without looking into a configuration
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    data_dir: Option<PathBuf>,
}

impl DataDirArgs {
    /// Finds the data directory.
    ///
    /// # Errors
    /// As [`ConfigArgs::read`], or that nothing has run with the directory.
    pub(super) fn read(&self) -> anyhow::Result<PathBuf> {
        let data_dir = match &self.data_dir {
            Some(data_dir) => data_dir.clone(),
            None => self.config.read()?.data_dir,
        };
        if !data_dir.exists() {
            anyhow::bail!("there is no {}: nothing has run with it", data_dir.display());
        }
        Ok(data_dir)
    }
}

/// There is no configuration where one is looked for.
#[derive(Debug, thiserror::Error)]
#[error("there is no configuration: neither {} nor {} exists: name one with `-c FILE`; `trailship demo` needs none", PLACES[0], PLACES[1])]
pub(super) struct NoConfiguration;
