//! Contract checkers: what every component of a kind must do, as tests to call. Each answers with the first breach, so
//! that tests of the checkers themselves can show that a broken component does not pass.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ack::{Ack, DeliveryId, Settle, Settled, Verdict};
use crate::pipeline::books::Books;
use crate::pipeline::budget::{AccountId, Budget, Kind, Reserve};
use crate::pipeline::outcomes::DeliveryKey;
use crate::sink::{Payload, Share, Sink, SinkError};

use super::chain::Chain;

mod source;

pub use source::source;

/// A small generator of numbers; the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Default for Chance {
    fn default() -> Chance {
        Chance::new(1)
    }
}

impl Chance {
    /// From a seed.
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below.max(1)
    }
}

/// How the loans of a checked component ended.
#[derive(Default)]
pub struct Told(Mutex<Vec<Settled>>);

impl Settle for Told {
    fn settle(&self, settled: Settled) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(settled);
    }
}

impl Told {
    /// Everything told so far; forgets it.
    pub fn take(&self) -> Vec<Settled> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Checks a transform through the chain it stands in: the same answer for the same record (a redelivery, another
/// thread's first record), protected records never thinned, output always one JSON object.
///
/// # Errors
/// The first breach.
pub fn transform(config: &str, events: &[&str]) -> Result<(), String> {
    let (mut first, mut second) = (Chain::new(config), Chain::new(config));
    for (number, event) in events.iter().enumerate() {
        let (once, again) = (first.run(event), first.run(event));
        let same = |one: &super::chain::Became, other: &super::chain::Became| {
            one.ended == other.ended && one.written == other.written
        };
        if !same(&once, &again) {
            return Err(format!(
                "event {number}: another answer when it comes again: {once:?}, then {again:?}"
            ));
        }
        let elsewhere = second.run(events[events.len() - 1 - number]);
        let here = first.run(events[events.len() - 1 - number]);
        if !same(&here, &elsewhere) {
            return Err(format!(
                "event {number}: the answer depends on what came before: {here:?}, {elsewhere:?}"
            ));
        }
        if let Some((name, crate::transform::Decision::Sample | crate::transform::Decision::RollUp)) =
            &once.ended
            && once.protection.any()
        {
            return Err(format!("event {number}: `{name}` thinned a protected record"));
        }
        if let Err(error) = serde_json::from_str::<serde_json::Value>(&once.written) {
            return Err(format!("event {number}: what is written is not JSON: {error}: {}", once.written));
        }
    }
    Ok(())
}

/// Checks a sink: every record that was answered `Ok` is there exactly once, in whole lines; nothing is there that was
/// never sent; a payload whose write was cut short fails its shares and does no harm; memory is given back.
///
/// `read` gives the lines the sink has made final after [`Sink::finish`].
///
/// # Errors
/// The first breach.
pub async fn sink<S: Sink>(
    sink: &S,
    partitions: &[&str],
    seed: u64,
    read: impl Fn() -> Result<Vec<String>, String>,
) -> Result<(), String> {
    let mut chance = Chance::new(seed);
    let total = 8 << 20;
    let budget =
        Budget::new(total, &[Reserve([0, 0, 0, total])]).map_err(|missing| format!("{missing} missing"))?;
    let told = Arc::new(Told::default());
    let (mut sent, mut answered) = (HashMap::new(), BTreeMap::new());
    for number in 0..60_u64 {
        let records = u32::try_from(1 + chance.below(40)).unwrap_or(1);
        let mut body = Vec::new();
        for record in 0..records {
            let line = format!(
                "{{\"id\":\"{number}-{record}\",\"pad\":\"{}\"}}",
                "x".repeat(usize::try_from(chance.below(200)).unwrap_or(0))
            );
            sent.insert(line.clone(), number);
            body.extend_from_slice(line.as_bytes());
            body.push(b'\n');
        }
        let ack = Ack::new(DeliveryId(number), DeliveryKey(0), told.clone());
        let permit =
            budget.try_take(AccountId(0), Kind::Payload, body.len()).ok_or("memory was not given back")?;
        let partition = partitions[usize::try_from(chance.below(partitions.len() as u64)).unwrap_or(0)];
        let mut payload = Payload {
            partition: partition.into(),
            raw_bytes: body.len() as u64,
            body,
            lengths: Vec::new(),
            records,
            shares: vec![Share { ack, first: 0, records, window: 0, ordinal: 0 }],
            permit: Some(permit),
            spare: None,
            progress: Default::default(),
        };
        let verdict = match tokio::time::timeout(Duration::from_secs(60), sink.write(&mut payload)).await {
            Err(_) => return Err(format!("payload {number}: no answer within 60 s")),
            Ok(Ok(())) => Verdict::Delivered,
            Ok(Err(SinkError::Retry { .. })) if payload.body.is_empty() => {
                return Err(format!("payload {number}: to be tried again, but its body is gone"));
            }
            Ok(Err(_)) => Verdict::Failed,
        };
        let share = payload.shares.pop().ok_or("the sink took the shares")?;
        drop(payload);
        let mut books = Books { read: u64::from(records), offered: u64::from(records), ..Books::default() };
        books.sink(0).delivered = u64::from(records);
        share.ack.enter(&books);
        share.ack.settle(verdict);
        answered.insert(number, verdict);
    }
    if budget.in_flight() != 0 {
        return Err(format!("{} bytes of memory were not given back", budget.in_flight()));
    }
    let settled = told.take();
    if settled.len() != answered.len() {
        return Err(format!("{} payloads sent, {} settled", answered.len(), settled.len()));
    }
    sink.finish().await.map_err(|error| format!("finishing: {error}"))?;
    let mut seen: HashMap<&str, u32> = HashMap::new();
    let lines = read()?;
    for line in &lines {
        if !sent.contains_key(line) {
            return Err(format!("a line is there that was never sent: {line}"));
        }
        *seen.entry(line).or_default() += 1;
    }
    for (line, number) in &sent {
        let (verdict, times) = (answered[number], seen.get(line.as_str()).copied().unwrap_or(0));
        if times > 1 || (times == 0 && verdict == Verdict::Delivered) {
            return Err(format!("a record answered {verdict:?} is there {times} times: {line}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::SinkError;

    /// A sink in memory, with a fault.
    struct Broken {
        lines: Mutex<Vec<String>>,
        fault: &'static str,
    }

    impl Sink for Broken {
        async fn write(&self, payload: &mut Payload) -> Result<(), SinkError> {
            let mut lines = self.lines.lock().unwrap();
            let text = String::from_utf8(payload.body.clone()).unwrap();
            match self.fault {
                "loses" if lines.len() > 100 => return Ok(()),
                "repeats" if lines.len() > 100 => lines.extend(text.lines().map(str::to_owned)),
                "invents" if lines.len() > 100 => lines.push("{}".into()),
                "keeps memory" => std::mem::forget(payload.permit.take()),
                "drops shares" => payload.shares.clear(),
                "forgets the body" => {
                    payload.release();
                    return Err(SinkError::Retry { message: "later".into(), after: None });
                }
                _ => {}
            }
            lines.extend(text.lines().map(str::to_owned));
            Ok(())
        }
    }

    async fn checked(fault: &'static str) -> Result<(), String> {
        let broken = Broken { lines: Mutex::default(), fault };
        sink(&broken, &["a", "b"], 7, || Ok(broken.lines.lock().unwrap().clone())).await
    }

    #[tokio::test]
    async fn a_sink_that_keeps_the_contract_passes_and_every_broken_one_fails() {
        assert_eq!(checked("").await, Ok(()));
        for fault in ["loses", "repeats", "invents", "keeps memory", "drops shares", "forgets the body"] {
            assert!(checked(fault).await.is_err(), "{fault}");
        }
    }

    /// What a configuration's text resolves to.
    fn resolved(text: &str) -> crate::config::Resolved {
        let around = crate::config::Surroundings::system();
        crate::config::read_str("test.toml", text, &around)
            .unwrap_or_else(|problems| panic!("{}", problems.render(false)))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_file_sink_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let (data, out) = (folder.path().join("data"), folder.path().join("out"));
        std::fs::create_dir(&data).unwrap();
        let text = format!(
            "[sources.none]\ntype = \"files\"\npath = \"/nonexistent/trail\"\n[sinks.out]\ntype = \"file\"\npath = {:?}\n",
            out.join("{account}.ndjson")
        );
        let build = crate::sink::Build {
            name: "out",
            data_dir: &data,
            clock: crate::clock::Clock::System,
            open_files: &Arc::default(),
            figures: &Arc::default(),
            shape: &Arc::new(crate::encode::Shape::Nested(crate::encode::Nested::default())),
        };
        let file = crate::sink::AnySink::build(&resolved(&text).sinks[0].config, &build).unwrap();
        let read = || {
            let mut lines = Vec::new();
            for entry in std::fs::read_dir(&out).map_err(|error| error.to_string())? {
                let path = entry.map_err(|error| error.to_string())?.path();
                let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
                if !text.ends_with('\n')
                    || path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
                {
                    return Err(format!("{} is not a whole, final file", path.display()));
                }
                lines.extend(text.lines().map(str::to_owned));
            }
            Ok(lines)
        };
        sink(&file, &["111122223333.ndjson", "444455556666.ndjson"], 11, read).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_files_source_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        for number in 0..24 {
            std::fs::write(tree.join(format!("{number}.json")), format!("{{\"Records\":[{number}]}}"))
                .unwrap();
        }
        let config = resolved(&format!("[sources.trail]\ntype = \"files\"\npath = {tree:?}\n"));
        let clock = crate::clock::Clock::System;
        let store = Arc::new(crate::state::Store::in_memory(&clock).unwrap());
        let open = || {
            let (store, clock) = (store.clone(), clock.clone());
            let build = crate::source::Build {
                pipeline: "main",
                name: "trail",
                store,
                clock,
                once: true,
                stdin: crate::source::piped::Pipe::empty(),
                room: crate::pipeline::room::Room::apart(64 << 20),
            };
            crate::source::AnySource::build(&config.sources[0].config, &build).unwrap()
        };
        source(open, 24, 5).await.unwrap();
    }
}
