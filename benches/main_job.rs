//! The main job against its floor: `cargo bench --bench main_job`.
//!
//! Makes its trees (seeded, kept under `target/bench-main-job`), then runs the release binary and the floor program in
//! turn, each in a process of its own, and prints MB of decompressed input for each CPU second (user + system), the median
//! of five runs, and the ratio of the floor to the job: the median of the ratios of neighbouring runs, since whoever else
//! uses the machine slows both. The output is read back after each run: the number of lines and the sum of the lines'
//! SHA-256 must be the same every time.
//!
//! `TRAILSHIP_BENCH_MB` is the size of a tree (default 1024), `TRAILSHIP_BENCH_RUNS` the number of runs (default 5),
//! `TRAILSHIP_BENCH_ONLY` a part of a case's name, `TRAILSHIP_CORPUS` where recorded CloudTrail data lies.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark stops at what it did not expect, prints what it measures, and reads the wall clock"
)]
#![expect(clippy::cast_possible_truncation, reason = "figures are shown with three digits or so")]

mod floor;
#[path = "main_job/measure.rs"]
mod measure;
#[path = "main_job/recorded.rs"]
mod recorded;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use trailship::generate::{self, Options, Profile};

use measure::{Cost, cpu_of, digest, measure, median, on_one_core, status};

const MB: f64 = 1e6;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == "floor") {
        let (records, bytes) = floor::run(Path::new(&arguments[2]), arguments[3].parse().unwrap());
        println!("{records} {bytes}");
        return;
    }
    let bench = Bench::new();
    println!("main job, MB/s of decompressed input for each CPU second; ratio = floor's CPU / job's CPU");
    println!(
        "{:<34} {:>9} {:>9} {:>7}  {:>9} {:>8}  peak MiB",
        "case", "floor", "job", "ratio", "records", "kept"
    );
    bench.throughput();
    bench.scaling();
    bench.memory();
    bench.latency();
    bench.idle();
    let size = fs::metadata(BINARY).unwrap().len();
    println!("\nbinary: {:.1} MB as built", size as f64 / MB);
}

const BINARY: &str = env!("CARGO_BIN_EXE_trailship");

struct Bench {
    folder: PathBuf,
    bytes: u64,
    runs: usize,
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Thinning {
    /// Successful data events 1 in 50, successful read-only management events 1 in 5: at least 45 % of the records stay.
    Usual,
    None,
    /// 1 in 1,000 of everything that may be thinned, protection of errors, writes and signals excepted: output does not count.
    Hard,
}

impl Bench {
    fn new() -> Bench {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-main-job");
        fs::create_dir_all(&folder).unwrap();
        Bench {
            folder,
            bytes: number("TRAILSHIP_BENCH_MB").unwrap_or(1024) * 1_000_000,
            runs: number("TRAILSHIP_BENCH_RUNS").unwrap_or(5) as usize,
            only: std::env::var("TRAILSHIP_BENCH_ONLY").ok(),
        }
    }

    fn wanted(&self, case: &str) -> bool {
        self.only.as_ref().is_none_or(|only| case.contains(only.as_str()))
    }

    /// The tree's folder; made when it is not there. An accounts file stands beside it.
    fn tree(&self, name: &str, change: impl FnOnce(&mut Options)) -> PathBuf {
        let mut options = Options::new(Profile::Mixed);
        options.bytes = self.bytes;
        options.file_bytes = Some(1_500_000);
        options.kinds = false;
        change(&mut options);
        let made = format!("{options:?}");
        let tree = self.folder.join(name);
        let stamp = self.folder.join(format!("{name}.options"));
        if fs::read_to_string(&stamp).is_ok_and(|text| text == made) {
            return tree;
        }
        eprintln!("generating {name}");
        let _ = fs::remove_dir_all(&tree);
        generate::write_tree(&tree, &options, |_| {}).unwrap();
        fs::write(self.folder.join(format!("{name}.csv")), generate::accounts_csv(&options)).unwrap();
        fs::write(stamp, made).unwrap();
        tree
    }

    fn throughput(&self) {
        let ordinary = |_: &mut Options| {};
        self.compare("mixed, sampled", "mixed", ordinary, Thinning::Usual);
        self.compare("mixed, nothing sampled", "mixed", ordinary, Thinning::None);
        if self.wanted("recorded") {
            match self.recorded() {
                Some(tree) => self.compare_tree("recorded, sampled", &tree, Thinning::Usual),
                None => println!("{:<34} skipped: no corpus (TRAILSHIP_CORPUS)", "recorded"),
            }
        }
        let small = |options: &mut Options| {
            options.file_bytes = None;
            options.records_per_file = Some(20);
            options.bytes /= 8;
        };
        self.compare("files of 20 records, sampled", "twenty", small, Thinning::Usual);
        for fresh in [0, 1, 20] {
            let keys = |options: &mut Options| {
                options.fresh_keys = fresh;
                options.large = 0.0;
                options.rare = false;
                options.bytes /= 4;
            };
            self.compare(
                &format!("{fresh} fresh keys, sampled"),
                &format!("fresh-{fresh}"),
                keys,
                Thinning::Usual,
            );
        }
    }

    fn compare(&self, case: &str, name: &str, change: impl FnOnce(&mut Options), thinning: Thinning) {
        if self.wanted(case) {
            let tree = self.tree(name, change);
            self.compare_tree(case, &tree, thinning);
        }
    }

    fn compare_tree(&self, case: &str, tree: &Path, thinning: Thinning) {
        let (mut floors, mut jobs, mut ratios, mut peak) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let (mut facts, mut expected) = ((0, 0), None);
        // The first pair warms the page cache and is not counted.
        for run in 0..=self.runs {
            let (floor, counted) = self.floor(tree, 1);
            let (job, output) = self.job(tree, thinning, 1, "");
            let digest = digest(&output);
            assert_eq!(*expected.get_or_insert(digest), digest, "{case}: the output differs from run to run");
            fs::remove_dir_all(output).unwrap();
            facts = counted;
            if run > 0 {
                floors.push(floor.cpu);
                jobs.push(job.cpu);
                ratios.push(floor.cpu / job.cpu);
                peak = peak.max(job.peak_kib);
            }
        }
        let (floor, job) = (median(&mut floors), median(&mut jobs));
        let speed = |cpu: f64| facts.1 as f64 / MB / cpu;
        let kept = expected.map_or(0, |(lines, _)| lines);
        println!(
            "{case:<34} {:>9.0} {:>9.0} {:>7.2}  {:>9} {:>7.1}%  {}",
            speed(floor),
            speed(job),
            median(&mut ratios),
            facts.0,
            kept as f64 * 100.0 / facts.0 as f64,
            peak / 1024
        );
    }

    /// Two cores against one, with a worker each, wall time, beside the floor's own scaling. One core: everything the
    /// process does, its sink's and other threads too, is done there. The second figure of the job has one worker, and both
    /// cores for whatever else there is to do.
    fn scaling(&self) {
        if !self.wanted("scaling") || std::thread::available_parallelism().map_or(1, usize::from) < 2 {
            return;
        }
        let tree = self.tree("mixed", |_| {});
        let job = |workers| self.job(&tree, Thinning::Hard, workers, "").0.wall;
        let floor = |threads| self.floor(&tree, threads).0.wall;
        let (mut floors, mut jobs, mut ratios, mut workers) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        // Whoever else uses the machine takes from two cores more than from one: more runs than elsewhere.
        for _ in 0..3 * self.runs {
            let floor = on_one_core(|| floor(1)) / floor(2);
            let two = job(2);
            let scaling = on_one_core(|| job(1)) / two;
            floors.push(floor);
            jobs.push(scaling);
            ratios.push(scaling / floor);
            workers.push(job(1) / two / floor);
        }
        println!(
            "\nscaling, two cores against one: job {:.2} x, floor {:.2} x, job / floor {:.2} \
             (two workers against one on two cores: {:.2})",
            median(&mut jobs),
            median(&mut floors),
            median(&mut ratios),
            median(&mut workers)
        );
    }

    fn memory(&self) {
        if self.wanted("16 workers") {
            let tree = self.tree("mixed", |_| {});
            let (cost, output) = self.job(&tree, Thinning::Usual, 16, "");
            fs::remove_dir_all(output).unwrap();
            println!("peak memory, 16 workers, budget 256 MiB: {} MiB", cost.peak_kib / 1024);
        }
        if self.wanted("one object of 1 GiB") {
            let large = |options: &mut Options| {
                options.bytes = 1 << 30;
                options.file_bytes = Some(1 << 30);
                options.accounts = 1;
                options.regions = 1;
            };
            let tree = self.tree("gibibyte", large);
            let (cost, output) = self.job(&tree, Thinning::Usual, 2, "");
            fs::remove_dir_all(output).unwrap();
            println!("peak memory, one object of 1 GiB, budget 256 MiB: {} MiB", cost.peak_kib / 1024);
        }
    }

    fn latency(&self) {
        if !self.wanted("latency") {
            return;
        }
        let tree = self.tree("hundred", |options| {
            options.bytes = 150_000;
            options.file_bytes = None;
            options.records_per_file = Some(100);
            options.accounts = 1;
            options.regions = 1;
        });
        let file = floor::files(&tree).into_iter().next().unwrap();
        let data = self.folder.join("data");
        let config = self.folder.join("latency.toml");
        fs::write(
            &config,
            format!("data_dir = {data:?}\n[sources.one]\ntype = \"files\"\npath = {file:?}\n"),
        )
        .unwrap();
        let mut times = Vec::new();
        for _ in 0..=self.runs {
            let _ = fs::remove_dir_all(&data);
            let start = Instant::now();
            let mut command = Command::new(BINARY);
            command.args(["run", "--once", "-c"]).arg(&config);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            times.push(start.elapsed().as_secs_f64());
            assert!(line.starts_with('{'));
            child.wait().unwrap();
        }
        times.remove(0);
        println!("start to first byte on stdout: {:.0} ms", median(&mut times) * 1000.0);
    }

    /// Following a tree where nothing happens.
    fn idle(&self) {
        if !self.wanted("idle") {
            return;
        }
        let tree = self.tree("idle", |options| {
            options.records_per_file = Some(1);
            options.file_bytes = None;
            options.bytes = 15_500_000;
        });
        let files = floor::files(&tree).len();
        let (data, output) = (self.folder.join("data"), self.folder.join("output"));
        for old in [&data, &output] {
            let _ = fs::remove_dir_all(old);
        }
        let config = self.config(&tree, &data, &output, Thinning::Usual, 2, "");
        let run =
            Command::new(BINARY).args(["run", "--once", "-c"]).arg(&config).stderr(Stdio::null()).status();
        assert!(run.unwrap().success());
        let mut child =
            Command::new(BINARY).args(["run", "-c"]).arg(&config).stderr(Stdio::null()).spawn().unwrap();
        // Time to look through the tree once; what follows is idleness.
        std::thread::sleep(Duration::from_secs(5));
        let before = cpu_of(&child);
        std::thread::sleep(Duration::from_secs(60));
        let used = cpu_of(&child) - before;
        let resident = status(child.id(), "VmRSS:");
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(child.id() as i32),
            nix::sys::signal::Signal::SIGTERM,
        )
        .unwrap();
        child.wait().unwrap();
        println!(
            "idle, following {files} shipped files for 60 s: {resident} KiB resident, {:.0} ms CPU",
            used * 1000.0
        );
    }

    fn floor(&self, tree: &Path, threads: usize) -> (Cost, (u64, u64)) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("floor").arg(tree).arg(threads.to_string()).stdout(Stdio::piped());
        let (cost, said) = measure(command);
        let mut numbers = said.split_whitespace().map(|number| number.parse().unwrap());
        (cost, (numbers.next().unwrap(), numbers.next().unwrap()))
    }

    /// Runs the job on a tree into a new folder.
    fn job(&self, tree: &Path, thinning: Thinning, workers: usize, more: &str) -> (Cost, PathBuf) {
        let (data, output) = (self.folder.join("data"), self.folder.join("output"));
        for old in [&data, &output] {
            let _ = fs::remove_dir_all(old);
        }
        let config = self.config(tree, &data, &output, thinning, workers, more);
        let mut command = Command::new(BINARY);
        command
            .args(["run", "--once", "--log-level", "error", "-c"])
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        (measure(command).0, output)
    }

    fn config(
        &self,
        tree: &Path,
        data: &Path,
        output: &Path,
        thinning: Thinning,
        workers: usize,
        more: &str,
    ) -> PathBuf {
        let mut text = format!("data_dir = {data:?}\nworkers = {workers}\n{more}\n");
        if thinning == Thinning::Hard {
            text += "[protect]\nexcept = [\"errors\", \"sts\", \"writes\", \"root\", \"signin\", \"access_denied\"]\n";
        }
        let accounts = tree.with_extension("csv");
        write!(
            text,
            r#"
[sources.trail]
type = "files"
path = {tree:?}
[transforms.accounts]
type = "account_tags"
file = {accounts:?}
tags = ["env", "owner"]
[transforms.environment]
type = "environment"
default = "unknown"
[[transforms.environment.rules]]
set = "prod"
match = {{ tags = {{ env = ["prod", "production"] }} }}
[[transforms.environment.rules]]
set = "sandbox"
match = {{ name = [{{ wildcard = "*sandbox*" }}] }}
[transforms.signals]
type = "signals"
"#
        )
        .unwrap();
        text += match thinning {
            Thinning::Usual => {
                r#"[transforms.data]
type = "sample"
match = { eventCategory = ["Data"] }
keep_one_in = 50
[transforms.reads]
type = "sample"
match = { eventCategory = ["Management"], readOnly = [true] }
keep_one_in = 5
"#
            }
            Thinning::None => "",
            Thinning::Hard => "[transforms.all]\ntype = \"sample\"\nkeep_one_in = 1000\n",
        };
        let path = output.join("{date}.ndjson");
        write!(
            text,
            "[transforms.flat]\ntype = \"flatten\"\n[sinks.out]\ntype = \"file\"\npath = {path:?}\n"
        )
        .unwrap();
        let config = self.folder.join("job.toml");
        fs::write(&config, text).unwrap();
        config
    }
}
