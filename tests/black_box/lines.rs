//! Line formats: settled window by window, so that a stop costs nothing and a kill little, and nothing grows with them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::here::{Here, Ran, gz, record, wait};
use crate::promises::{counts, unfinished};

/// One sink, whose parts are written to often.
const OUT: &str = "[sinks.archive]\ntype = \"file\"\npath = \"out/{account}.ndjson\"\n";

/// Lines of about 1 kB; the ids in them, each once.
fn lines(count: u32) -> (String, BTreeMap<String, u64>) {
    let pad = "x".repeat(850);
    let line = |id: u32| record(&format!("{id:07}"), &format!(r#","x":"{id}{pad}""#)) + "\n";
    ((0..count).map(line).collect(), counts((0..count).map(|id| format!("{id:07}")).collect()))
}

fn stored(text: &str, packing: &str) -> Vec<u8> {
    match packing {
        "gzip" => gz(text),
        "members" => [gz(&text[..text.len() / 2]), gz(&text[text.len() / 2..])].concat(),
        "zstd" => zstd::encode_all(text.as_bytes(), 1).unwrap(),
        _ => text.as_bytes().to_vec(),
    }
}

fn shipped_again(ran: &Ran) -> u64 {
    ran.told("shipped again after a crash").iter().map(|line| line["records"].as_u64().unwrap()).sum()
}

/// Starts on the tree and waits until some of it is written.
fn in_the_middle(here: &Here, least: u64) -> crate::here::Running {
    let mut running = here.start(&["run", "--once"]);
    let waited = wait(|| running.has_ended() || unfinished(here) >= least);
    assert!(waited.is_none() && !running.has_ended(), "not caught in the middle: {}", running.said());
    running
}

#[test]
fn a_stop_in_the_middle_of_a_file_of_lines_ships_the_rest_later_and_nothing_twice() {
    let (text, put) = lines(120_000);
    for packing in ["plain", "gzip", "members", "zstd"] {
        let here = Here::with(OUT);
        here.put("trail/all.ndjson", stored(&text, packing));
        let first = in_the_middle(&here, 1_000_000).stop();
        first.ended(0);
        let read = first.books().read;
        assert!((1..120_000).contains(&read), "{packing}: {read}");
        assert_eq!(first.books().delivered, read);
        let mut stops = 1;
        // A second one, and then to the end.
        if read < 60_000 {
            in_the_middle(&here, 1_000_000).stop().ended(0);
            stops += 1;
        }
        let rest = here.once();
        rest.ended(0);
        assert_eq!(shipped_again(&rest), 0, "{}", rest.said);
        assert!(rest.books().read < 120_000 - read + 1, "{packing}");
        assert!(counts(here.ids("out")) == put, "{packing}: lost, or twice, after {stops} stops");
        assert_eq!(here.once().ended(0).books().read, 0);
    }
}

#[test]
fn after_a_kill_in_the_middle_of_a_file_of_lines_what_was_settled_does_not_come_again() {
    let (text, put) = lines(200_000);
    for packing in ["plain", "zstd"] {
        let here = Here::with(OUT);
        here.put("trail/all.ndjson", stored(&text, packing));
        // More than what is synced at once, so that something is settled.
        let running = in_the_middle(&here, 100_000_000);
        std::thread::sleep(Duration::from_millis(100));
        running.signal(Signal::SIGKILL);
        assert_eq!(running.end().code, None);
        let ran = here.once();
        ran.ended(0);
        let (read, told) = (ran.books().read, shipped_again(&ran));
        assert!(read < 200_000 && told <= read, "{packing}: {read} read, {told} told");
        let got = counts(here.ids("out"));
        assert!(got.keys().eq(put.keys()), "{packing}");
        let copies: u64 = got.values().map(|count| count - 1).sum();
        assert!(copies <= told, "{packing}: {copies} copies, {told} told: {}", ran.said);
        eprintln!("{packing}: {copies} copies of {told} told, {read} read");
    }
}

#[test]
fn a_file_of_lines_that_changes_after_a_stop_is_a_new_one() {
    let (text, _) = lines(60_000);
    let here = Here::with(OUT);
    here.put("trail/all.ndjson", &text);
    let first = in_the_middle(&here, 1_000_000).stop();
    assert!(first.ended(0).books().read < 60_000);
    let mut file = File::options().append(true).open(here.at("trail/all.ndjson")).unwrap();
    file.write_all((record("new", "") + "\n").as_bytes()).unwrap();
    drop(file);
    here.age("trail/all.ndjson");
    let ran = here.once();
    assert_eq!(ran.ended(0).books().read, 60_001);
    assert_eq!(ran.told("changed after it was shipped").len(), 1);
}

const STDIN: &str = "type = \"files\"\npath = \"-\"";
/// MiB; the least that this configuration can do with is a little less.
const BUDGET: u64 = 64;

/// Feeds 300 MB of lines; `pack` packs each piece of them. Returns the most memory it took, and the run.
fn three_hundred_megabytes(sinks: &str, pack: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (u64, Ran, u64) {
    let here = Here::with("").reading(STDIN, sinks);
    let text = std::fs::read_to_string(here.at("trailship.toml")).unwrap();
    std::fs::write(here.at("trailship.toml"), format!("memory = \"{BUDGET} MiB\"\n{text}")).unwrap();
    let (mut running, mut input) = here.start_fed(&["run", "--once"]);
    let feeding = std::thread::spawn(move || {
        let (piece, ids) = lines(10_000);
        let (bytes, pieces) = (pack(&piece), 300_000_000 / piece.len() + 1);
        (0..pieces).for_each(|_| input.write_all(&bytes).unwrap());
        (ids.len() * pieces) as u64
    });
    let mut most = 0;
    while !running.has_ended() {
        most = running.most_memory().unwrap_or(most).max(most);
        std::thread::sleep(Duration::from_millis(20));
    }
    (most, running.end(), feeding.join().unwrap())
}

#[test]
fn three_hundred_megabytes_of_standard_input_pass_through_a_small_budget() {
    // Nothing is kept of what a filter takes, and of what is written.
    let filtered = "[transforms.none]\ntype = \"filter\"\ndrop_protected = true\ndrop = { awsRegion = [\"us-east-1\"] }\n";
    type Pack = fn(&str) -> Vec<u8>;
    let cases: [(&str, Pack); 3] = [
        (OUT, |text| text.as_bytes().to_vec()),
        ("[sinks.archive]\ntype = \"file\"\npath = \"out/{account}.ndjson.zst\"\n", |text| gz(text)),
        (&format!("{filtered}{OUT}"), |text| zstd::encode_all(text.as_bytes(), 1).unwrap()),
    ];
    for (number, (sinks, pack)) in cases.into_iter().enumerate() {
        let (most, ran, records) = three_hundred_megabytes(sinks, pack);
        let books = ran.ended(0).books();
        assert_eq!((books.read, books.delivered + books.filtered), (records, records));
        assert!(most < (BUDGET + 64) << 20, "case {number}: {} MiB", most >> 20);
        eprintln!("case {number}: {} MiB at most with a budget of {BUDGET}", most >> 20);
    }
}

#[test]
fn a_stop_drains_what_was_read_of_standard_input() {
    let here = Here::with("").reading(STDIN, OUT);
    let (running, mut input) = here.start_fed(&["run"]);
    let (text, put) = lines(3_000);
    input.write_all(text.as_bytes()).unwrap();
    // It is taken out of the pipe.
    std::thread::sleep(Duration::from_secs(2));
    let ran = running.stop();
    assert_eq!(ran.ended(0).books().delivered, 3_000);
    assert!(counts(here.ids("out")) == put);
}

#[test]
fn standard_input_is_lent_whole_to_every_pipeline_that_names_it() {
    let two = "[sinks.one]\ntype = \"file\"\npath = \"one/{account}.ndjson\"\n[sinks.two]\ntype = \"file\"\npath = \"two/{account}.ndjson.gz\"\n[pipelines.one]\nsinks = [\"one\"]\n[pipelines.two]\nsinks = [\"two\"]\n";
    let here = Here::with("").reading(STDIN, two);
    let (text, put) = lines(20_000);
    let ran = here.once_fed(text.as_bytes());
    ran.ended(0);
    assert!(ran.said.contains("share the fate of standard input"), "{}", ran.said);
    assert!(counts(here.ids("one")) == put && counts(here.ids("two")) == put);
    let done = ran.told("done");
    assert_eq!(done.iter().map(|line| line["read"].as_u64().unwrap()).collect::<Vec<_>>(), [20_000, 20_000]);

    // A stop in the middle: both have the same.
    let here = Here::with("").reading(STDIN, two);
    let (running, mut input) = here.start_fed(&["run"]);
    input.write_all(&text.as_bytes()[..3_000_000]).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let _ = running.stop();
    assert!(here.ids("one").len() > 2_000);
    assert_eq!(here.ids("one"), here.ids("two"));
}
