//! Runs one sink: concurrency outside, retry within, and the answer to every share.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use super::books::{Books, SinkBooks};
use super::budget::{AccountId, Budget};
use super::outcomes::{Answer, Outcome, Outcomes, partition_hash};
use crate::ack::Verdict;
use crate::encode::packer::Sent;
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
    /// Set when the reader of a sink has left: the program stops in order.
    pub closed: watch::Sender<bool>,
}

/// Writes what comes until the channel closes. Dropping the future fails every share that was not answered.
pub async fn run<S: Sink>(sink: Arc<S>, line: Line, mut sent: UnboundedReceiver<Sent>) {
    let mut writing = FuturesUnordered::new();
    let mut waiting: VecDeque<Payload> = VecDeque::new();
    let mut finishing = None;
    let mut open = true;
    loop {
        while writing.len() < sink.concurrency()
            && let Some(payload) = waiting.pop_front()
        {
            writing.push(write(&*sink, &line, payload));
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
            Some(()) = writing.next(), if !writing.is_empty() => {}
            next = sent.recv(), if open && finishing.is_none() => match next {
                Some(Sent::Payload(payload)) => waiting.push_back(payload),
                Some(Sent::Finish(answer)) => finishing = Some(answer),
                None => open = false,
            },
        }
    }
}

async fn write<S: Sink>(sink: &S, line: &Line, mut payload: Payload) {
    let mut pause = FIRST_PAUSE;
    let mut retrying = Retrying { line, since: None };
    loop {
        let error = match sink.write(&mut payload).await {
            Ok(()) => {
                retrying.over();
                return answer(line, payload, |page, records| page.delivered += records, &Answer::Delivered);
            }
            Err(error) => error,
        };
        match error {
            SinkError::Retry { message, after } => {
                retrying.note(&message);
                tokio::time::sleep(after.unwrap_or(pause).min(LONGEST_PAUSE.max(after.unwrap_or_default())))
                    .await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            SinkError::Reject { message } => {
                tracing::warn!(sink = &*line.name, error = %message, records = payload.records, "the sink refuses records for good");
                let refused = Answer::Refused(message.into());
                return answer(line, payload, |page, records| page.failed += records, &refused);
            }
            SinkError::Partial { refused } => return answer_partly(line, payload, &refused),
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

/// Says once that a sink is retrying, keeps its pipeline from borrowing meanwhile, and says when it is over.
struct Retrying<'a> {
    line: &'a Line,
    since: Option<String>,
}

impl Retrying<'_> {
    fn note(&mut self, message: &str) {
        if self.since.is_none() {
            self.line.budget.retrying(self.line.account, true);
        }
        if self.since.as_deref() != Some(message) {
            tracing::warn!(
                sink = &*self.line.name,
                pipeline = &*self.line.pipeline,
                "{message}: retrying, nothing is acknowledged meanwhile"
            );
            self.since = Some(message.to_owned());
        }
    }

    fn over(&mut self) {
        if self.since.take().is_some() {
            self.line.budget.retrying(self.line.account, false);
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
        }
    }
}

fn enter(line: &Line, share: &crate::sink::Share, page: impl FnOnce(&mut SinkBooks)) {
    let mut books = Books::default();
    page(books.sink(line.number));
    share.ack.enter(&books);
}

/// Every share gets the same answer. Refused records fail their delivery, which is lent again; what was refused is
/// then found in the outcomes and goes to rejects with its original bytes.
fn answer(line: &Line, mut payload: Payload, count: impl Fn(&mut SinkBooks, u64), said: &Answer) {
    payload.release();
    let partition = partition_hash(&payload.partition);
    for share in payload.shares {
        note(line, &share, partition, share.ordinal, share.records, said.clone());
        enter(line, &share, |page| count(page, u64::from(share.records)));
        share.ack.settle(if *said == Answer::Delivered { Verdict::Delivered } else { Verdict::Failed });
    }
}

fn answer_partly(line: &Line, mut payload: Payload, refused: &[(u32, String)]) {
    payload.release();
    tracing::warn!(
        sink = &*line.name,
        records = refused.len(),
        reason = refused.first().map(|(_, reason)| reason.as_str()),
        "the sink refuses some records for good"
    );
    let partition = partition_hash(&payload.partition);
    for share in payload.shares {
        let mine = share.first..share.first + share.records;
        let (mut next, mut failed) = (share.first, 0);
        for (position, reason) in refused.iter().filter(|(position, _)| mine.contains(position)) {
            let ordinal = |position: u32| share.ordinal + (position - share.first);
            if *position > next {
                note(line, &share, partition, ordinal(next), position - next, Answer::Delivered);
            }
            note(line, &share, partition, ordinal(*position), 1, Answer::Refused(reason.as_str().into()));
            next = position + 1;
            failed += 1;
        }
        if mine.end > next {
            note(
                line,
                &share,
                partition,
                share.ordinal + (next - share.first),
                mine.end - next,
                Answer::Delivered,
            );
        }
        enter(line, &share, |page| {
            page.delivered += u64::from(share.records - failed);
            page.failed += u64::from(failed);
        });
        share.ack.settle(if failed == 0 { Verdict::Delivered } else { Verdict::Failed });
    }
}

fn fail(line: &Line, payload: Payload) {
    for share in payload.shares {
        enter(line, &share, |page| page.failed += u64::from(share.records));
        share.ack.settle(Verdict::Failed);
    }
}

fn note(line: &Line, share: &crate::sink::Share, partition: u64, ordinal: u32, records: u32, answer: Answer) {
    let sink = u16::try_from(line.number).unwrap_or(u16::MAX);
    line.outcomes
        .note(share.ack.key(), Outcome { sink, window: share.window, partition, ordinal, records, answer });
}

async fn finish<S: Sink>(sink: &S, line: &Line) -> Result<(), String> {
    let mut pause = FIRST_PAUSE;
    loop {
        match sink.finish().await {
            Ok(()) | Err(SinkError::Closed) => return Ok(()),
            Err(SinkError::Retry { message, .. }) => {
                tracing::warn!(sink = &*line.name, "finishing: {message}: retrying");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}
