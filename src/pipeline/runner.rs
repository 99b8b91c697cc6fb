//! Runs one sink: concurrency outside, retry within, and the answer to every share.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};

use super::books::{Books, SinkBooks};
use super::budget::{AccountId, Budget};
use super::meter::Meter;
use super::outcomes::{Lot, Outcomes, partition_hash};
use crate::ack::Verdict;
use crate::clock::Clock;
use crate::encode::packer::Sent;
use crate::failpoint;
use crate::sink::refusals::Refusals;
use crate::sink::{Payload, Sink, SinkError};

/// First pause before a payload is tried again; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two tries of a payload.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a runner needs besides its sink.
pub struct Line {
    /// The sink's name.
    pub name: Arc<str>,
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// The sink's number in the pipeline, for the books.
    pub number: usize,
    /// The pipeline's account.
    pub account: AccountId,
    /// The budget.
    pub budget: Budget,
    /// Where answers are remembered.
    pub outcomes: Arc<Outcomes>,
    /// What is counted for each payload.
    pub meter: Arc<Meter>,
    /// The clock.
    pub clock: Clock,
    /// Set when the reader of a sink has left: the program stops in order.
    pub closed: watch::Sender<bool>,
}

/// Writes what comes until the channel closes. Dropping the future fails every share that was not answered.
pub async fn run<S: Sink>(sink: Arc<S>, line: Line, mut sent: UnboundedReceiver<Sent>) {
    // A payload that waits for its next try keeps no other from being sent.
    let pausing = Pausing::default();
    let mut writing = FuturesUnordered::new();
    let mut waiting: VecDeque<Payload> = VecDeque::new();
    let mut finishing = None;
    let mut open = true;
    loop {
        while writing.len() - pausing.now() < sink.concurrency()
            && let Some(payload) = waiting.pop_front()
        {
            writing.push(write(&*sink, &line, payload, &pausing));
        }
        if writing.is_empty() {
            if let Some(answer) = finishing.take() {
                let finished = finish(&*sink, &line).await;
                let _ = tokio::sync::oneshot::Sender::send(answer, finished);
                continue;
            }
            if !open {
                return;
            }
        }
        tokio::select! {
            biased;
            Some(()) = writing.next(), if !writing.is_empty() => {}
            () = pausing.begun.notified(), if !waiting.is_empty() => {}
            () = sink.freed(), if !waiting.is_empty() => {}
            next = sent.recv(), if open && finishing.is_none() => match next {
                Some(Sent::Payload(payload)) => waiting.push_back(payload),
                Some(Sent::Hurry) => sink.hurry(),
                Some(Sent::Finish(answer)) => finishing = Some(answer),
                None => open = false,
            },
        }
    }
}

async fn write<S: Sink>(sink: &S, line: &Line, mut payload: Payload, pausing: &Pausing) {
    let mut pause = FIRST_PAUSE;
    let mut tries = 0;
    // A sink that has not answered after this long is in trouble like one that is retrying.
    let slow = sink.patience();
    let mut retrying = Retrying { line, since: None };
    loop {
        // A sink may take the body while it writes.
        let (sent_bytes, left) = (payload.body.len(), payload.records_left());
        let answered = {
            let mut writing = std::pin::pin!(sink.write(&mut payload));
            match tokio::time::timeout(slow, writing.as_mut()).await {
                Ok(answered) => answered,
                Err(_) => {
                    retrying.waits(slow);
                    writing.await
                }
            }
        };
        let error = match answered {
            Ok(()) => {
                retrying.over();
                line.meter.took(payload.raw_bytes, sent_bytes);
                return answer(line, payload, &Refusals::default());
            }
            Err(error) => error,
        };
        match error {
            SinkError::Retry { message, after } => {
                retrying.note(&message, State::Retrying);
                line.meter.tries_again();
                if payload.records_left() < left {
                    pause = FIRST_PAUSE;
                }
                tries += 1;
                let pause_now = after.unwrap_or_else(|| jittered(pause, line, tries));
                pausing.wait(tokio::time::sleep(pause_now)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            SinkError::Paused { message, after } => {
                retrying.note(&message, State::Paused);
                let _paused = line.meter.pauses();
                pausing.wait(sink.paused(after)).await;
            }
            SinkError::Reject { message } => {
                let refused = Refusals::all(payload.records, &message);
                return answer(line, payload, &refused);
            }
            SinkError::Partial { refused } => return answer(line, payload, &refused),
            SinkError::Lost { message } => {
                tracing::error!(sink = &*line.name, error = %message, "records were lost on the way and are lent again");
                return fail(line, payload);
            }
            SinkError::Closed => {
                line.closed.send_replace(true);
                return fail(line, payload);
            }
        }
    }
}

/// Payloads that wait for their next try.
#[derive(Default)]
struct Pausing {
    payloads: AtomicUsize,
    begun: Notify,
}

impl Pausing {
    fn now(&self) -> usize {
        self.payloads.load(Ordering::Relaxed)
    }

    async fn wait(&self, over: impl Future<Output = ()>) {
        struct Waits<'a>(&'a AtomicUsize);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.payloads.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.payloads);
        self.begun.notify_one();
        over.await;
    }
}

/// Between half of the pause and all of it, so that what failed together does not come again together. By hash instead of
/// by chance: a simulation can be repeated.
fn jittered(pause: Duration, line: &Line, tries: u64) -> Duration {
    let seed = format!("{} {} {} {tries}", line.pipeline, line.name, line.clock.now().0);
    let part = xxhash_rust::xxh3::xxh3_64(seed.as_bytes()) >> 32;
    pause / 2 + (pause / 2).mul_f64(part as f64 / f64::from(u32::MAX))
}

/// Why a payload is not taken.
#[derive(Clone, Copy)]
enum State {
    /// For now.
    Retrying,
    /// Until somebody mends it.
    Paused,
}

/// Says once that a sink is retrying, paused, or does not answer, keeps its pipeline from borrowing meanwhile, and says when it is over.
struct Retrying<'a> {
    line: &'a Line,
    since: Option<String>,
}

impl Retrying<'_> {
    fn begins(&self) {
        if self.since.is_none() {
            self.line.budget.retrying(self.line.account, true);
            self.line.meter.begins();
        }
    }

    /// There is no answer yet.
    fn waits(&mut self, slow: Duration) {
        self.begins();
        if self.since.is_none() {
            tracing::warn!(
                sink = &*self.line.name,
                pipeline = &*self.line.pipeline,
                "no answer for {} s: waiting, nothing is acknowledged meanwhile",
                slow.as_secs()
            );
            let state = format!("retrying: no answer for {} s", slow.as_secs());
            self.line.meter.trouble.is(self.line.clock.now(), &*state);
            self.since = Some(state);
        }
    }

    fn note(&mut self, message: &str, is: State) {
        self.begins();
        let state = match is {
            State::Retrying => format!("retrying: {message}"),
            State::Paused => format!("paused: {message}"),
        };
        if self.since.as_deref() != Some(&*state) {
            let (sink, pipeline) = (&*self.line.name, &*self.line.pipeline);
            match is {
                State::Retrying => {
                    tracing::warn!(sink, pipeline, "{message}: retrying, nothing is acknowledged meanwhile");
                }
                State::Paused => tracing::warn!(
                    sink,
                    pipeline,
                    "{state}: a try now and then sees whether it was mended, nothing is acknowledged meanwhile"
                ),
            }
            self.line.meter.trouble.is(self.line.clock.now(), &*state);
            self.since = Some(state);
        }
    }

    fn over(&mut self) {
        if self.since.take().is_some() {
            self.line.budget.retrying(self.line.account, false);
            self.line.meter.ends();
            tracing::info!(
                sink = &*self.line.name,
                pipeline = &*self.line.pipeline,
                "the sink takes records again"
            );
        }
    }
}

impl Drop for Retrying<'_> {
    fn drop(&mut self) {
        if self.since.is_some() {
            self.line.budget.retrying(self.line.account, false);
            self.line.meter.ends();
        }
    }
}

fn enter(line: &Line, share: &crate::sink::Share, page: impl FnOnce(&mut SinkBooks)) {
    let mut books = Books::default();
    page(books.sink(line.number));
    share.ack.enter(&books);
}

/// Every share is told. Refused records fail their delivery, which is lent again; what was refused is then found in the
/// outcomes and goes to rejects with its original bytes.
fn answer(line: &Line, mut payload: Payload, refused: &Refusals) {
    payload.release();
    if !refused.is_empty() {
        tracing::warn!(
            sink = &*line.name,
            records = refused.len(),
            of = payload.records,
            reason = refused.first(),
            "the sink refuses records for good"
        );
    }
    let partition = partition_hash(&payload.partition);
    for share in payload.shares {
        let lot = Lot { window: share.window, sink: line.number, partition };
        let mine = || refused.within(share.first..share.first + share.records);
        let failed = mine().count() as u64;
        let mine = mine().map(|(position, reason)| (share.ordinal + (position - share.first), reason));
        line.outcomes.note(share.ack.key(), lot, share.ordinal..share.ordinal + share.records, mine);
        enter(line, &share, |page| {
            page.delivered += u64::from(share.records) - failed;
            page.failed += failed;
        });
        share.ack.settle(if failed == 0 { Verdict::Delivered } else { Verdict::Failed });
        failpoint::here!("runner.answered");
    }
}

fn fail(line: &Line, payload: Payload) {
    for share in payload.shares {
        enter(line, &share, |page| page.failed += u64::from(share.records));
        share.ack.settle(Verdict::Failed);
    }
}

async fn finish<S: Sink>(sink: &S, line: &Line) -> Result<(), String> {
    let mut pause = FIRST_PAUSE;
    loop {
        match sink.finish().await {
            Ok(()) | Err(SinkError::Closed) => return Ok(()),
            Err(SinkError::Retry { message, .. } | SinkError::Paused { message, .. }) => {
                tracing::warn!(sink = &*line.name, "finishing: {message}: retrying");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::ack::{Ack, DeliveryId};
    use crate::clock::Timestamp;
    use crate::pipeline::budget::{Kind, Reserve};
    use crate::pipeline::meter::Metered;
    use crate::pipeline::outcomes::{Answer, DeliveryKey};
    use crate::sink::Share;
    use crate::testing::contract::Told;

    /// Gives these answers, one after the other, then takes everything.
    struct Answers(Mutex<VecDeque<SinkError>>);

    impl Sink for Answers {
        async fn write(&self, _payload: &mut Payload) -> Result<(), SinkError> {
            self.0.lock().unwrap().pop_front().map_or(Ok(()), Err)
        }
    }

    /// What is known of a record: taken, refused and why, or nothing.
    type Known = Option<Result<(), String>>;

    /// Takes a payload and never says how it went.
    struct Silent;

    impl Sink for Silent {
        async fn write(&self, _payload: &mut Payload) -> Result<(), SinkError> {
            std::future::pending().await
        }
    }

    fn line(meter: &Arc<Meter>) -> Line {
        Line {
            name: "out".into(),
            pipeline: "main".into(),
            number: 0,
            account: AccountId(0),
            budget: Budget::new(1000, &[Reserve([0, 0, 0, 100])]).unwrap(),
            outcomes: Arc::default(),
            meter: meter.clone(),
            clock: Clock::manual(Timestamp(7)),
            closed: watch::Sender::new(false),
        }
    }

    fn retry() -> SinkError {
        SinkError::Retry { message: "busy".into(), after: None }
    }

    /// Sends one payload of two deliveries (3 and 2 records) and tells how they ended, and what is remembered of the
    /// first delivery's records.
    async fn sent(answers: Vec<SinkError>) -> (Vec<(u64, Verdict)>, Vec<Known>) {
        sent_metered(answers, &Arc::default()).await
    }

    async fn sent_metered(answers: Vec<SinkError>, meter: &Arc<Meter>) -> (Vec<(u64, Verdict)>, Vec<Known>) {
        let line = line(meter);
        let outcomes = line.outcomes.clone();
        let told = Arc::new(Told::default());
        let key = |number: u128| DeliveryKey(number + 1);
        let share = |number: u64, first, records| {
            let ack = Ack::new(DeliveryId(number), key(number.into()), told.clone());
            ack.enter(&Books { read: u64::from(records), offered: u64::from(records), ..Books::default() });
            Share { ack, first, records, window: 0, ordinal: 0 }
        };
        let payload = Payload {
            partition: "p".into(),
            body: b"{}\n{}\n{}\n{}\n{}\n".to_vec(),
            lengths: vec![3; 5],
            records: 5,
            raw_bytes: 15,
            shares: vec![share(0, 0, 3), share(1, 3, 2)],
            permit: None,
            spare: None,
            progress: Default::default(),
        };
        let (to, from) = tokio::sync::mpsc::unbounded_channel();
        to.send(Sent::Payload(payload)).unwrap();
        drop(to);
        run(Arc::new(Answers(Mutex::new(answers.into()))), line, from).await;
        let ends = told.take().into_iter().map(|settled| (settled.id.0, settled.verdict)).collect();
        let known = outcomes.recall(key(0), 0);
        let lot = Lot { window: 0, sink: 0, partition: partition_hash("p") };
        let said = |ordinal| match known.answer(lot, ordinal)? {
            Answer::Delivered => Some(Ok(())),
            Answer::Refused(reason) => Some(Err(reason.to_owned())),
        };
        let said = (0..3).map(said).collect();
        (ends, said)
    }

    #[tokio::test(start_paused = true)]
    async fn a_payload_is_tried_again_until_it_is_taken() {
        let meter = Arc::default();
        let (ends, said) = sent_metered(vec![retry(), retry(), retry()], &meter).await;
        assert_eq!(ends, [(0, Verdict::Delivered), (1, Verdict::Delivered)]);
        assert_eq!(said, vec![Some(Ok(())); 3]);
        let counted =
            Metered { payloads: 1, raw_bytes: 15, sent_bytes: 15, retries: 3, retrying: 0, paused: 0 };
        assert_eq!((meter.read(), meter.trouble.told()), (counted, None));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_is_told_that_a_sink_is_retrying_and_since_when() {
        let meter = Arc::default();
        let for_ever = vec![
            retry(),
            SinkError::Retry { message: "still busy".into(), after: Some(Duration::from_secs(3600)) },
        ];
        let sending = sent_metered(for_ever, &meter);
        let _ = tokio::time::timeout(Duration::from_secs(60), sending).await.unwrap_err();
        // It was given up; until then it was trouble.
        assert_eq!((meter.read().retries, meter.read().retrying, meter.trouble.told()), (2, 0, None));
        meter.begins();
        meter.trouble.is(Timestamp(7), "busy");
        meter.begins();
        meter.ends();
        assert_eq!(meter.trouble.told(), Some((Timestamp(7), "busy".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_does_not_answer_is_trouble_and_borrows_nothing_more() {
        let line = line(&Arc::default());
        let payload = Payload {
            partition: "p".into(),
            body: b"{}\n".to_vec(),
            lengths: Vec::new(),
            records: 1,
            raw_bytes: 3,
            shares: Vec::new(),
            permit: None,
            spare: None,
            progress: Default::default(),
        };
        let pausing = Pausing::default();
        let mut writing = std::pin::pin!(write(&Silent, &line, payload, &pausing));
        let slow = Silent.patience();
        let soon = slow - Duration::from_secs(1);
        assert!(tokio::time::timeout(soon, writing.as_mut()).await.is_err());
        let borrows = || line.budget.try_take(AccountId(0), Kind::Payload, 101).is_some();
        assert!(borrows());
        assert!(tokio::time::timeout(slow, writing).await.is_err());
        assert!(!borrows());
        assert_eq!(
            line.meter.trouble.told(),
            Some((Timestamp(7), "retrying: no answer for 10 s".to_owned()))
        );
        assert_eq!((line.meter.read().retries, line.meter.read().retrying), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn single_refused_records_fail_their_delivery_only_and_are_remembered() {
        let mut refused = Refusals::default();
        refused.refuse(1, "too old");
        let (ends, said) = sent(vec![SinkError::Partial { refused }]).await;
        assert_eq!(ends, [(0, Verdict::Failed), (1, Verdict::Delivered)]);
        assert_eq!(said, [Some(Ok(())), Some(Err("too old".to_owned())), Some(Ok(()))]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_payload_fails_and_a_lost_one_is_forgotten() {
        let (ends, said) = sent(vec![SinkError::Reject { message: "no".into() }]).await;
        assert_eq!(ends, [(0, Verdict::Failed), (1, Verdict::Failed)]);
        assert_eq!(said, vec![Some(Err("no".to_owned())); 3]);
        let (ends, said) = sent(vec![SinkError::Lost { message: "gone".into() }]).await;
        assert_eq!(ends, [(0, Verdict::Failed), (1, Verdict::Failed)]);
        assert_eq!(said, [None, None, None]);
    }
}
