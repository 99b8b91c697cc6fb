//! Signals: the first asks for an orderly stop, the second ends at once. SIGHUP asks for a reload, or says that the terminal
//! is gone, which is a stop.

use std::io::{self, IsTerminal as _};
use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::pipeline::engine::Stop;

/// What asked for the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Signal {
    /// SIGINT: a person at the terminal.
    Interrupt,
    /// SIGTERM: whoever manages services.
    Terminate,
}

/// The signals that came so far.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Signals {
    first: Arc<OnceLock<Signal>>,
    /// Told when a reload is asked for.
    pub(super) reload: Arc<Notify>,
}

impl Signals {
    /// The first signal.
    pub(super) fn first(&self) -> Option<Signal> {
        self.first.get().copied()
    }
}

/// Tells `stop` about signals from now on. Must be called inside a runtime.
///
/// # Errors
/// The system does not let us listen.
pub(in crate::cli) fn watch(stop: Arc<watch::Sender<Stop>>) -> io::Result<Signals> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let terminals = terminals();
    let signals = Signals::default();
    let told = signals.clone();
    tokio::spawn(async move {
        loop {
            let came = tokio::select! {
                Some(()) = interrupt.recv() => Signal::Interrupt,
                Some(()) = terminate.recv() => Signal::Terminate,
                Some(()) = hangup.recv() => {
                    if self::terminals() < terminals {
                        Signal::Terminate
                    } else {
                        told.reload.notify_one();
                        continue;
                    }
                }
                else => return,
            };
            if told.first.set(came).is_ok() {
                tracing::info!("stopping: what is in flight is finished; a second signal ends at once");
                stop.send_replace(Stop::Drain);
            } else {
                stop.send_replace(Stop::Now);
            }
        }
    });
    Ok(signals)
}

/// How many of the three standard streams are terminals; one that was closed no longer is.
fn terminals() -> usize {
    [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()]
        .into_iter()
        .filter(|is_terminal| *is_terminal)
        .count()
}
