//! The terminal, or what stands in its place: one line at a time on standard error, beside a progress bar if there is one.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::ProgressBar;

use crate::telemetry::Out;

/// Standard error, and what is known about it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Console {
    terminal: bool,
    colour: bool,
    bar: Arc<Mutex<Option<ProgressBar>>>,
}

impl Console {
    /// Looks at the process's standard error.
    pub(super) fn system() -> Console {
        let terminal = io::stderr().is_terminal();
        Console { terminal, colour: terminal && colours_are_welcome(), bar: Arc::default() }
    }

    /// Whether a person looks at it.
    pub(super) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether it shows colours.
    pub(super) const fn has_colour(&self) -> bool {
        self.colour
    }

    /// Writes a line; above the progress bar, where there is one. A terminal that is gone is nobody to tell.
    pub(super) fn line(&self, line: &str) {
        let mut text = String::with_capacity(line.len() + 1);
        text.push_str(line);
        text.push('\n');
        self.block(&text);
    }

    /// Writes lines that end with a line break.
    pub(super) fn block(&self, text: &str) {
        let write = || {
            let _ = io::stderr().lock().write_all(text.as_bytes());
        };
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Where log lines go.
    pub(super) fn out(&self) -> Out {
        let console = self.clone();
        Arc::new(move |line| console.line(line))
    }

    /// Says which progress bar lines must not disturb.
    pub(super) fn set_bar(&self, bar: Option<ProgressBar>) {
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = bar;
    }
}

/// Source: no-color.org.
pub(super) fn colours_are_welcome() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
