//! `completions` and `man`: made from the same definitions as `--help`.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Outcome;

/// Prints a shell's completions
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship completions bash > /etc/bash_completion.d/trailship
  trailship completions zsh > ~/.zfunc/_trailship
  trailship completions fish > ~/.config/fish/completions/trailship.fish")]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

/// Prints the man page, or writes one for each command
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship man | man -l -
  trailship man --out /usr/local/share/man/man1")]
pub(super) struct Man {
    /// Write the pages of all commands into this directory, which is made where it is missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs `completions`.
pub(super) fn completions(args: &Completions) -> anyhow::Result<Outcome> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::Args::command(), "trailship", &mut text);
    io::stdout().lock().write_all(&text)?;
    Ok(Outcome::Done)
}

/// Runs `man`.
pub(super) fn man(args: &Man) -> anyhow::Result<Outcome> {
    let command = super::Args::command();
    if let Some(folder) = &args.out {
        let written =
            std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
        written.with_context(|| format!("writing man pages into {}", folder.display()))?;
        return Ok(Outcome::Done);
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    io::stdout().lock().write_all(&text)?;
    Ok(Outcome::Done)
}
