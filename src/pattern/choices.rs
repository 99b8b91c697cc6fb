//! Makes up patterns and events that have something to say to each other: few names, few values, odd shapes.

/// A stream of choices: random bytes, or those a property test shrinks. Used up, it makes the first choice always.
pub struct Choices<I> {
    bytes: I,
    /// Whether a key that repeats may hold arrays of objects.
    twins: bool,
    flavour: Flavour,
}

/// Which addresses a pattern and the events for it have: of one family and then no numbers, or all sorts.
#[derive(Clone, Copy, PartialEq)]
enum Flavour {
    None,
    V4,
    V6,
    All,
}

impl<I: Iterator<Item = u8>> Choices<I> {
    pub fn new(bytes: I, twins: bool) -> Choices<I> {
        Choices { bytes, twins, flavour: Flavour::None }
    }

    fn below(&mut self, end: usize) -> usize {
        self.bytes.next().map_or(0, usize::from) * end / 256
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// True once in `n` times; never when the choices are used up.
    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }
}

const STRINGS: &[&str] = &[
    "x", "y", "xy", "xyx", "", "X", "Xy", "a*b", r"a\b", "5", "true", "null", "x\"", "\"x", "é", "É",
    "straße", "STRASSE", "😀", "xxyyxxy", "yxyxyx",
];
const V4: &[&str] = &[
    "10.0.0.1",
    "010.0.0.01",
    "10.1.2.3",
    "192.168.0.1",
    "10.0.0.999",
    "10.0.0.0",
    "::ffff:a00:1",
    "0.0.0.0",
];
const V6: &[&str] =
    &["::1", "0:0:0:0:0:0:0:1", "2001:db8::1", "2001:db8::beef", "::", "2001:DB8:0::1", "1::2::3", "00001::"];
const DOTTED: &[&str] = &["::ffff:10.0.0.1"];
const NUMBERS: &[&str] = &[
    "5",
    "0",
    "5.0",
    "-5",
    "10",
    "0.5",
    "50e-1",
    "1e2",
    "100",
    "-0.0",
    "443",
    "1.5",
    "-1.5e3",
    "123456789012",
    "9007199254740993",
    "0.1234567890123456789",
    "1e400",
    "167772161",
    "0.3",
];
const WILDCARDS: &[&str] = &[
    "*", "x*", "*x", "x*x", "*x*", "x*y*x", r"a\\*b", r"a\\\\b", "x", "*y*y*", "x**", r"a\\b", "*xy*y",
    "x*xy*", "", "*yx",
];
const V4_RANGES: &[&str] = &[
    "10.0.0.0/8",
    "10.0.0.1/31",
    "0.0.0.0/0",
    "192.168.0.0/16",
    "010.0.0.0/8",
    "10.0.0.0/33",
    "10.0.0.0",
    "10.0.0.0/9",
    "255.0.0.0/8",
    "::ffff:a00:0/8",
    "10.0.0.0/24",
    "10.0.0.1/32",
    "10.0.0.0/08",
];
const V6_RANGES: &[&str] = &[
    "2001:db8::/32",
    "::/0",
    "::1/127",
    "::1/64",
    "2001:db8::be00/120",
    "x/8",
    "::/129",
    "::1/128",
    "2001:db8::1/31",
];
const FIELDS: &[&[&str]] = &[
    &["a"],
    &["b"],
    &["r", "t"],
    &["r", "u"],
    &["r", "s", "x"],
    &["r", "s", "y"],
    &["c", "d"],
    &["a.b"],
    &["r", "v"],
    &["a", "b"],
];

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<I: Iterator<Item = u8>> Choices<I> {
    fn string(&mut self) -> String {
        let pools = match self.flavour {
            Flavour::None => [STRINGS; 3],
            Flavour::V4 => [STRINGS, V4, V4],
            Flavour::V6 => [STRINGS, V6, V6],
            Flavour::All => [V4, V6, DOTTED],
        };
        let pool = pools[self.below(3)];
        let end = if self.once_in(3) { pool.len() } else { pool.len().min(7) };
        quoted(pool[self.below(end)])
    }

    fn range(&mut self) -> &'static str {
        let either = self.once_in(2);
        let pool = match self.flavour {
            Flavour::V6 => V6_RANGES,
            Flavour::All if either => V6_RANGES,
            _ => V4_RANGES,
        };
        // The last few are mistakes, or the deviations.
        let end = if self.once_in(8) { pool.len() } else { 5 };
        pool[self.below(end)]
    }

    fn number(&mut self) -> &'static str {
        let end = if self.once_in(4) { NUMBERS.len() } else { 10 };
        NUMBERS[self.below(end)]
    }

    fn scalar(&mut self) -> String {
        match self.below(8) {
            0..=4 => self.string(),
            5 if matches!(self.flavour, Flavour::None | Flavour::All) => self.number().to_owned(),
            5 | 6 => self.pick(&["true", "false"]).to_owned(),
            _ => "null".to_owned(),
        }
    }

    /// A list of one or more, or (seldom) of none.
    fn list(&mut self, mut one: impl FnMut(&mut Self) -> String) -> String {
        let len = if self.once_in(40) { 0 } else { 1 + self.below(3) };
        let all: Vec<String> = (0..len).map(|_| one(self)).collect();
        format!("[{}]", all.join(","))
    }

    fn operator(&mut self) -> String {
        match self.below(17) {
            0 => format!(r#"{{"prefix":{}}}"#, self.string()),
            1 => format!(r#"{{"suffix":{}}}"#, self.string()),
            2 => format!(r#"{{"equals-ignore-case":{}}}"#, self.string()),
            3 | 4 => format!(r#"{{"wildcard":"{}"}}"#, self.pick(WILDCARDS)),
            5 | 6 if self.flavour == Flavour::None => self.numeric(),
            5 | 6 => format!(r#"{{"cidr":"{}"}}"#, self.range()),
            7 | 8 => format!(r#"{{"exists":{}}}"#, self.pick(&["true", "false", "false"])),
            9 => self.numeric(),
            10 => format!(
                r#"{{"{}":{{"equals-ignore-case":{}}}}}"#,
                self.pick(&["prefix", "suffix"]),
                self.string()
            ),
            11 => format!(r#"{{"exactly":{}}}"#, self.string()),
            12 => {
                let nested = self.list(Self::string);
                format!(
                    r#"{{"anything-but":{{"{}":{nested}}}}}"#,
                    self.pick(&["prefix", "suffix", "equals-ignore-case"])
                )
            }
            13 => {
                let nested = self.list(|choices| format!(r#""{}""#, choices.pick(WILDCARDS)));
                format!(r#"{{"anything-but":{{"wildcard":{nested}}}}}"#)
            }
            14 => format!(r#"{{"anything-but":{}}}"#, self.list(Self::string)),
            15 => format!(r#"{{"anything-but":{}}}"#, self.list(|choices| choices.number().to_owned())),
            _ if self.once_in(3) => self.mistake(),
            _ => format!(r#"{{"anything-but":{}}}"#, self.scalar()),
        }
    }

    fn numeric(&mut self) -> String {
        let (low, high) = (self.number(), self.number());
        match self.below(4) {
            0 => format!(r#"{{"numeric":["{}",{low}]}}"#, self.pick(&["=", ">", ">=", "<", "<="])),
            1 => format!(r#"{{"numeric":["{}",{low}]}}"#, self.pick(&["<", ">", "=="])),
            _ => format!(
                r#"{{"numeric":["{}",{low},"{}",{high}]}}"#,
                self.pick(&[">", ">="]),
                self.pick(&["<", "<="])
            ),
        }
    }

    fn mistake(&mut self) -> String {
        self.pick(&[
            r#"{"prefix":5}"#,
            r#"{"suffix":["x"]}"#,
            r#"{"prefx":"x"}"#,
            r#"{}"#,
            r#"["x"]"#,
            r#"{"exists":"true"}"#,
            r#"{"anything-but":{}}"#,
            r#"{"anything-but":["x",5]}"#,
            r#"{"anything-but":{"prefix":""}}"#,
            r#"{"numeric":[">"]}"#,
            r#"{"numeric":["<",5,">",1]}"#,
            r#"{"prefix":"x","suffix":"y"}"#,
            r#"{"cidr":5}"#,
            r#"{"numeric":["=",5,"<",6]}"#,
            r#"{"anything-but":{"cidr":"10.0.0.0/8"}}"#,
            r#"{"anything-but":{"numeric":["=",5]}}"#,
            r#"{"anything-but":{"prefix":5}}"#,
            r#"{"prefix":{"wildcard":"x"}}"#,
            r#"{"anything-but":{"prefix":"x","suffix":"y"}}"#,
            r#"{"wildcard":5}"#,
            r#"{"anything-but":{"prefix":{"equals-ignore-case":"x"}}}"#,
            r#"{"numeric":[]}"#,
            r#"{"anything-but":[["x"]]}"#,
        ])
        .to_owned()
    }

    fn values(&mut self) -> String {
        self.list(|choices| if choices.once_in(2) { choices.operator() } else { choices.scalar() })
    }

    fn members(&mut self, most: usize, depth: usize) -> String {
        let mut members = Vec::new();
        for _ in 0..=self.below(most) {
            if self.once_in(6) && depth < 3 {
                let len = if self.once_in(30) { 1 } else { 2 + self.below(2) };
                let alternatives: Vec<String> = (0..len).map(|_| self.members(2, depth + 1)).collect();
                members.push(format!(r#""$or":[{}]"#, alternatives.join(",")));
                continue;
            }
            let field = FIELDS[self.below(FIELDS.len())];
            let values = self.values();
            match field {
                [one] => members.push(format!("{}:{values}", quoted(one))),
                keys if self.once_in(2) => members.push(format!("{}:{values}", quoted(&keys.join(".")))),
                [first, rest @ ..] => {
                    let inner =
                        rest.iter().rev().fold(values, |below, key| format!("{{{}:{below}}}", quoted(key)));
                    members.push(format!("{}:{inner}", quoted(first)));
                }
                [] => {}
            }
        }
        if self.once_in(60) { "{}".to_owned() } else { format!("{{{}}}", members.join(",")) }
    }

    /// The text of a pattern; one in ten or so has a mistake.
    pub fn pattern(&mut self) -> String {
        use Flavour::{All, None, V4, V6};
        self.flavour = [None, None, None, None, V4, V4, V6, V6, All][self.below(9)];
        self.members(4, 0)
    }

    /// A scalar, a list of scalars (seldom of lists), or an empty container.
    fn value(&mut self) -> String {
        match self.below(12) {
            0..=7 => self.scalar(),
            8 | 9 => self.list(Self::scalar),
            10 => self.list(
                |choices| if choices.once_in(3) { choices.list(Self::scalar) } else { choices.scalar() },
            ),
            _ => self.pick(&["{}", "[]", "[null]"]).to_owned(),
        }
    }

    fn object(&mut self, keys: &[&str], mut one: impl FnMut(&mut Self, &str) -> String) -> String {
        let mut members = Vec::new();
        for key in keys {
            let times = [1, 1, 1, 1, 0, 0, 0, 1, 1, 2][self.below(10)];
            // Elements under a repeated key: two arrays of one path.
            let most = if matches!(*key, "r" | "s") && !self.twins { 1 } else { 2 };
            for _ in 0..times.min(most) {
                members.push(format!("{}:{}", quoted(key), one(self, key)));
            }
        }
        format!("{{{}}}", members.join(","))
    }

    /// An element or several, seldom an array of arrays.
    fn elements(&mut self, one: &mut dyn FnMut(&mut Self) -> String) -> String {
        match self.below(8) {
            0..=2 => one(self),
            3..=6 => {
                let all: Vec<String> = (0..=self.below(3)).map(|_| one(self)).collect();
                format!("[{}]", all.join(","))
            }
            _ => {
                let all: Vec<String> =
                    (0..=self.below(2)).map(|_| format!("[{},{}]", one(self), one(self))).collect();
                format!("[{}]", all.join(","))
            }
        }
    }

    /// The text of an event.
    pub fn event(&mut self) -> String {
        self.object(&["a", "b", "a.b", "r", "c", ""], |choices, key| match key {
            "r" => choices.elements(&mut |choices| {
                choices.object(&["t", "u", "v", "s"], |choices, key| match key {
                    "s" => choices
                        .elements(&mut |choices| choices.object(&["x", "y"], |choices, _| choices.value())),
                    _ => choices.value(),
                })
            }),
            "c" => choices.object(&["d", ""], |choices, _| choices.value()),
            "a" if choices.once_in(4) => choices.object(&["b"], |choices, _| choices.value()),
            _ => choices.value(),
        })
    }
}
