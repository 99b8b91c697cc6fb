//! Signals: the first asks for an orderly stop, the second ends at once.

use std::io;
use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

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
pub(in crate::cli) struct Signals(Arc<OnceLock<Signal>>);

impl Signals {
    /// The first signal.
    pub(super) fn first(&self) -> Option<Signal> {
        self.0.get().copied()
    }
}

/// Tells `stop` about signals from now on. Must be called inside a runtime.
///
/// # Errors
/// The system does not let us listen.
pub(in crate::cli) fn watch(stop: Arc<watch::Sender<Stop>>) -> io::Result<Signals> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let signals = Signals::default();
    let told = signals.clone();
    tokio::spawn(async move {
        loop {
            let came = tokio::select! {
                Some(()) = interrupt.recv() => Signal::Interrupt,
                Some(()) = terminate.recv() => Signal::Terminate,
                else => return,
            };
            if told.0.set(came).is_ok() {
                tracing::info!("stopping: what is in flight is finished; a second signal ends at once");
                stop.send_replace(Stop::Drain);
            } else {
                stop.send_replace(Stop::Now);
            }
        }
    });
    Ok(signals)
}
