//! How text looks on a terminal: a few colours, or none.

use std::io::{self, IsTerminal as _};

use super::console::colours_are_welcome;

/// Whether standard output takes colours.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Style {
    colour: bool,
}

impl Style {
    /// Looks at the process's standard output.
    pub(super) fn of_stdout() -> Style {
        Style { colour: io::stdout().is_terminal() && colours_are_welcome() }
    }

    /// What stands above other lines.
    pub(super) fn heading(self, text: &str) -> String {
        self.dressed("1", text)
    }

    /// What goes on.
    pub(super) fn good(self, text: &str) -> String {
        self.dressed("32", text)
    }

    /// What is left out on purpose.
    pub(super) fn less(self, text: &str) -> String {
        self.dressed("33", text)
    }

    /// What is wrong.
    pub(super) fn bad(self, text: &str) -> String {
        self.dressed("31", text)
    }

    fn dressed(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_surround_the_text_or_are_not_there() {
        assert_eq!(Style { colour: true }.bad("no"), "\u{1b}[31mno\u{1b}[0m");
        assert_eq!(Style::default().heading("Sinks"), "Sinks");
    }
}
