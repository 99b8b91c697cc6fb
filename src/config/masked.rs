//! The text of a configuration as it may be shown: without the secrets that somebody wrote into it.
//!
//! A problem is drawn with its line, on a screen, in the log of a build, in a ticket. What stands where a secret belongs is
//! masked there, whichever problem the line is shown for: known by the setting's type where the file could be read so far,
//! and by its name where it could not. So are names, passwords and queries in URLs.

use std::ops::Range;

/// What is said of a secret that is no reference.
pub(super) const SECRET_AS_TEXT: &str = "a secret cannot be written in the configuration";

/// What stands for a secret, whatever its length.
const MASK: &str = "••••";

/// A text, and the parts of it that are masked.
pub(super) struct Masked {
    /// As it may be shown.
    pub(super) text: String,
    /// Of the text as it was; in order, apart, each within a line.
    parts: Vec<Range<usize>>,
}

impl Masked {
    /// Masks what looks like a secret, and the values that begin at these offsets (or at the `=` there).
    pub(super) fn new(text: &str, known: impl Iterator<Item = usize>) -> Masked {
        let mut finder = Finder { text, parts: Vec::new() };
        for at in known {
            finder.value(at);
        }
        finder.names();
        finder.urls();
        let mut parts: Vec<Range<usize>> = Vec::new();
        finder.parts.sort_by_key(|part| (part.start, part.end));
        for part in finder.parts {
            match parts.last_mut() {
                Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
                _ => parts.push(part),
            }
        }
        let (mut shown, mut at) = (String::with_capacity(text.len()), 0);
        for part in &parts {
            shown.push_str(text.get(at..part.start).unwrap_or_default());
            shown.push_str(MASK);
            at = part.end;
        }
        shown.push_str(text.get(at..).unwrap_or_default());
        Masked { text: shown, parts }
    }

    /// Where a part of the text is now.
    pub(super) fn place(&self, span: &Range<usize>) -> Range<usize> {
        self.moved(span.start, false)..self.moved(span.end, true)
    }

    /// Where an offset is now; one inside a mask moves to its end (`up`) or its beginning.
    fn moved(&self, offset: usize, up: bool) -> usize {
        let (mut before, mut masks) = (0, 0);
        for part in &self.parts {
            if offset <= part.start {
                break;
            }
            if offset < part.end {
                return part.start - before + masks + if up { MASK.len() } else { 0 };
            }
            (before, masks) = (before + part.len(), masks + MASK.len());
        }
        offset - before + masks
    }
}

/// Whether what a setting of this name holds is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let endings = [
        "token",
        "password",
        "passwd",
        "passphrase",
        "secret",
        "apikey",
        "authorization",
        "cookie",
        "credentials",
        "_key",
    ];
    ["key", "auth", "pass"].contains(&&*name) || endings.iter().any(|ending| name.ends_with(ending))
}

struct Finder<'t> {
    text: &'t str,
    parts: Vec<Range<usize>>,
}

impl Finder<'_> {
    fn rest(&self, at: usize) -> &str {
        self.text.get(at..).unwrap_or_default()
    }

    /// Masks a part of the text, each line apart: lines keep their numbers.
    fn mask(&mut self, part: Range<usize>) {
        let mut at = part.start;
        for line in self.text.get(part).unwrap_or_default().split_inclusive('\n') {
            let end = at + line.trim_end_matches(['\n', '\r']).len();
            if at < end {
                self.parts.push(at..end);
            }
            at += line.len();
        }
    }

    /// Masks the value that begins here, after a `=` and spaces. Returns where it ends.
    fn value(&mut self, at: usize) -> usize {
        let rest = self.rest(at);
        let at = at + rest.len() - rest.trim_start_matches([' ', '\t', '=', ':']).len();
        match self.rest(at).chars().next() {
            None => at,
            Some('"' | '\'') => {
                let (inside, end) = self.string(at);
                self.mask(inside);
                end
            }
            Some('[') => self.within(at, false),
            Some('{') => self.within(at, true),
            Some(_) => {
                let rest = self.rest(at);
                let end = rest.find([',', '}', ']', '#', '\n']).unwrap_or(rest.len());
                let end = at + rest.get(..end).unwrap_or_default().trim_end().len();
                self.mask(at..end);
                end
            }
        }
    }

    /// The inside of the string that begins here, and where it ends; one that is not closed ends with its line.
    fn string(&self, at: usize) -> (Range<usize>, usize) {
        let rest = self.rest(at);
        let quote = rest.get(..1).unwrap_or_default();
        let long = quote.repeat(3);
        let (mark, one_line) = if rest.starts_with(&long) { (&*long, false) } else { (quote, true) };
        let inside = rest.get(mark.len()..).unwrap_or_default();
        let line = inside.find('\n').unwrap_or(inside.len());
        let (mut end, mut escaped) = (None, false);
        for (place, letter) in inside.char_indices() {
            if one_line && letter == '\n' {
                break;
            }
            if !escaped && inside.get(place..).is_some_and(|inside| inside.starts_with(mark)) {
                end = Some(place);
                break;
            }
            escaped = letter == '\\' && !escaped && quote == "\"";
        }
        let begin = at + mark.len();
        match end {
            Some(end) => (begin..begin + end, begin + end + mark.len()),
            None => (begin..begin + line, begin + line),
        }
    }

    /// Masks the values of a list or a table that begins here, but for the names in a reference. Returns where it ends.
    fn within(&mut self, at: usize, table: bool) -> usize {
        let (mut at, mut key, mut depth) = (at + 1, "", 1u32);
        loop {
            let rest = self.text.get(at..).unwrap_or_default();
            match rest.chars().next() {
                None => return at,
                Some('\n') if table || rest.starts_with("\n[") => return at,
                Some(']' | '}') if depth == 1 => return at + 1,
                Some(']' | '}') => (depth, at) = (depth - 1, at + 1),
                Some('[' | '{') => (depth, at) = (depth + 1, at + 1),
                Some('"' | '\'') => at = self.value(at),
                Some('=') => {
                    at += rest.len() - rest.trim_start_matches([' ', '\t', '=']).len();
                    let next = self.rest(at).chars().next();
                    at = match next {
                        Some('"' | '\'') if ["env", "file"].contains(&key) => self.string(at).1,
                        Some('[' | '{' | '"' | '\'') => at,
                        _ => self.value(at),
                    };
                }
                Some(letter) if is_of_name(letter) => {
                    let end = rest.find(|letter: char| !is_of_name(letter)).unwrap_or(rest.len());
                    key = rest.get(..end).unwrap_or_default();
                    at += end;
                }
                Some(letter) => at += letter.len_utf8(),
            }
        }
    }

    /// Masks the values of settings with names like those of secrets.
    fn names(&mut self) {
        let (mut at, mut key) = (0, "");
        while let Some(letter) = self.text.get(at..).and_then(|rest| rest.chars().next()) {
            let rest = self.text.get(at..).unwrap_or_default();
            match letter {
                '\n' => (key, at) = ("", at + 1),
                '#' => at += rest.find('\n').unwrap_or(rest.len()),
                '"' | '\'' => {
                    let (inside, end) = self.string(at);
                    (key, at) = (self.text.get(inside).unwrap_or_default(), end);
                }
                '=' | ':' if is_secret(key) => {
                    let path = |text: &str| {
                        let text = text.trim_start_matches(['=', ' ', '\t']);
                        let text = text.split([' ', ',', '}', '\n']).next().unwrap_or_default();
                        let text = text.trim_matches(['"', '\'', '\r']);
                        text.contains('/') || [".key", ".pem"].iter().any(|ending| text.ends_with(ending))
                    };
                    let plain = key.eq_ignore_ascii_case("key") || key.to_ascii_lowercase().ends_with("_key");
                    let table = rest.trim_start_matches(['=', ' ', '\t']).starts_with('{');
                    // The `key` of a certificate is the path of a file, and `auth` a table of settings.
                    at = if (plain && path(rest)) || (table && key == "auth") {
                        at + 1
                    } else {
                        self.value(at)
                    };
                    key = "";
                }
                letter if is_of_name(letter) => {
                    let end = rest.find(|letter: char| !is_of_name(letter)).unwrap_or(rest.len());
                    (key, at) = (rest.get(..end).unwrap_or_default(), at + end);
                }
                ' ' | '\t' => at += 1,
                letter => (key, at) = ("", at + letter.len_utf8()),
            }
        }
    }

    /// Masks users and passwords in URLs, and what follows a `?`.
    fn urls(&mut self) {
        let mut found = Vec::new();
        for (at, mark) in ["https://", "http://"].iter().flat_map(|mark| self.text.match_indices(mark)) {
            let begin = at + mark.len();
            let rest = self.rest(begin);
            let ends = |letter: char| letter.is_whitespace() || "\"'".contains(letter);
            let url = rest.get(..rest.find(ends).unwrap_or(rest.len())).unwrap_or_default();
            let host = url.find(['/', '?', '#']).unwrap_or(url.len());
            if let Some(user) = url.get(..host).and_then(|host| host.rfind('@')) {
                found.push(begin..begin + user);
            }
            if let Some(query) = url.find('?').filter(|query| query + 1 < url.len()) {
                found.push(
                    begin + query + 1..begin + url.find('#').filter(|end| *end > query).unwrap_or(url.len()),
                );
            }
        }
        found.into_iter().for_each(|part| self.mask(part));
    }
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Masked::new(text, std::iter::empty()).text
    }

    #[test]
    fn what_stands_where_a_secret_belongs_is_masked() {
        for (text, expected) in [
            ("token = \"a\\\"b\" # c", "token = \"••••\" # c"),
            ("'client_secret'='s'", "'client_secret'='••••'"),
            ("token = \"not closed\nx = 1", "token = \"••••\nx = 1"),
            ("token = bare, x = 1", "token = ••••, x = 1"),
            ("token: bare", "token: ••••"),
            ("{ a = 1, token: bare }", "{ a = 1, token: •••• }"),
            ("token = \u{201c}bare\u{201d}", "token = ••••"),
            ("password = '''\na\nb'''", "password = '''\n••••\n••••'''"),
            (
                "access_key = [\"a\", { env = \"B\" }, 'c']",
                "access_key = [\"••••\", { env = \"B\" }, '••••']",
            ),
            (
                "{ type = \"basic\", password = \"p\", user = \"u\" }",
                "{ type = \"basic\", password = \"••••\", user = \"u\" }",
            ),
            ("token = { env = \"NAME\", default = \"d\" }", "token = { env = \"NAME\", default = \"••••\" }"),
            ("auth = \"Bearer abc\"", "auth = \"••••\""),
            ("auth = { type = \"bearer\", token = 1 }", "auth = { type = \"bearer\", token = •••• }"),
            (
                "headers = { X-Api-Key = \"k\", X-Y = \"z\" }",
                "headers = { X-Api-Key = \"••••\", X-Y = \"z\" }",
            ),
            ("url = \"https://u:p@h/x?k=s#f\"", "url = \"https://••••@h/x?••••#f\""),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        for text in [
            "tls = { certificate = \"a.crt\", key = \"/etc/a.key\" }",
            "key_file = \"a.key\"",
            "token_url = \"https://login.example.com/token\"",
            "template = '{\"token\":{{record}},\"key\":{{id}}}'",
            "# token = \"x\"",
            "token = { env = \"TOKEN\" }",
            "token = { file = '/run/secrets/token' }",
            "[sinks.token]",
        ] {
            assert_eq!(shown(text), text);
        }
        // However deep it is.
        let deep = format!("token = {}", "[{a=".repeat(100_000));
        assert_eq!(shown(&deep), deep);
    }

    #[test]
    fn places_move_with_the_text() {
        let text = "a = 1\ntoken = \"secret\"\nb = 2\n";
        let masked = Masked::new(text, std::iter::empty());
        for word in ["a = 1", "token", "\"secret\"", "b = 2"] {
            let at = text.find(word).unwrap();
            let now = masked.text.get(masked.place(&(at..at + word.len()))).unwrap();
            assert_eq!(now, word.replace("secret", MASK));
        }
        // Inside: the whole of it.
        let at = text.find("cre").unwrap();
        assert_eq!(masked.text.get(masked.place(&(at..at + 3))).unwrap(), MASK);
    }
}
