//! What a run costs, and what it wrote.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::unistd::Pid;
use sha2::{Digest as _, Sha256};

use super::floor;

/// What one run of the job cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) cpu: f64,
    pub(super) wall: f64,
    pub(super) peak_kib: u64,
}

/// Runs a command to its end; its CPU time, its wall time, its peak memory, and what it said.
pub(super) fn measure(mut command: Command) -> (Cost, String) {
    let before = children_cpu();
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut said).unwrap();
        said
    });
    let process = child.id();
    let (ended, running) = std::sync::mpsc::channel::<()>();
    let peak = std::thread::spawn(move || {
        let mut peak_kib = 0;
        loop {
            peak_kib = peak_kib.max(status(process, "VmHWM:"));
            if running.recv_timeout(Duration::from_millis(25)) != Err(RecvTimeoutError::Timeout) {
                return peak_kib;
            }
        }
    });
    let status = child.wait().unwrap();
    let wall = start.elapsed().as_secs_f64();
    drop(ended);
    assert!(status.success(), "{command:?}: {status}");
    let peak_kib = peak.join().unwrap();
    (Cost { cpu: children_cpu() - before, wall, peak_kib }, reader.join().unwrap())
}

fn children_cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}

/// Does what starts processes while this thread, and so they, may use one core only: the last that it may use.
pub(super) fn on_one_core<T>(work: impl FnOnce() -> T) -> T {
    let this = Pid::from_raw(0);
    let all = sched_getaffinity(this).unwrap();
    let last = (0..CpuSet::count()).rfind(|core| all.is_set(*core).unwrap()).unwrap();
    let mut one = CpuSet::new();
    one.set(last).unwrap();
    sched_setaffinity(this, &one).unwrap();
    let done = work();
    sched_setaffinity(this, &all).unwrap();
    done
}

/// A line of a process's status, KiB; 0 when it is gone.
pub(super) fn status(process: u32, line: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let found = text.lines().find_map(|text| text.strip_prefix(line));
    found.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// CPU seconds of a running process, all threads, from the scheduler's own count.
pub(super) fn cpu_of(child: &Child) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let nanos = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0)
    };
    tasks.flatten().map(nanos).sum::<f64>() / 1e9
}

/// Lines, and the sum of their SHA-256: the same whatever their order.
pub(super) fn digest(output: &Path) -> (u64, [u64; 4]) {
    let (mut lines, mut sum) = (0, [0_u64; 4]);
    for file in floor::files(output) {
        let mut reader = BufReader::with_capacity(1 << 20, fs::File::open(file).unwrap());
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).unwrap() > 0 {
            for (part, bytes) in sum.iter_mut().zip(Sha256::digest(&line).chunks_exact(8)) {
                *part = part.wrapping_add(u64::from_le_bytes(bytes.try_into().unwrap()));
            }
            lines += 1;
            line.clear();
        }
    }
    let _ = std::io::stdout().flush();
    (lines, sum)
}

pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
