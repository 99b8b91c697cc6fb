//! What a monitoring system and a service manager want of a run: answers over HTTP, and word of how it is.
//!
//! systemd is told by its own protocol where it asks for it (`NOTIFY_SOCKET`): ready once the pipelines run, reloading
//! during a SIGHUP, stopping, a line of status, and that the engine lives (`WATCHDOG_USEC`).

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::reload::Reload;
use crate::cli::text::count;
use crate::config::Resolved;
use crate::pipeline::watched::{Phase, Watched};
use crate::telemetry::http;

/// How often the status is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Characters of a status, at most.
const STATUS: usize = 400;

/// What attends a run. Ends when it is dropped.
pub(super) struct Service {
    _tasks: JoinSet<()>,
}

impl Service {
    /// Starts it; `hangup` tells of each SIGHUP that asks for a reload.
    ///
    /// # Errors
    /// `telemetry.listen` cannot be listened on.
    pub(super) async fn start(
        resolved: &Resolved,
        watched: &Arc<Watched>,
        hangup: Arc<Notify>,
    ) -> anyhow::Result<Service> {
        let mut tasks = JoinSet::new();
        if let Some(listen) = &resolved.globals.telemetry.listen {
            let address = listen.value();
            let (listener, bound) = http::listen(address.get())
                .await
                .with_context(|| format!("listening on `telemetry.listen` {address}"))?;
            tracing::info!(address = %bound, "telemetry is served: /metrics, /healthz, /readyz");
            tasks.spawn(http::serve(listener, watched.clone()));
        }
        tasks.spawn(attend(watched.clone(), Arc::new(Reload::new(resolved, watched)), hangup));
        Ok(Service { _tasks: tasks })
    }
}

/// Reloads when asked to, and tells the service manager.
async fn attend(watched: Arc<Watched>, reload: Arc<Reload>, hangup: Arc<Notify>) {
    let mut phase = watched.pulse().follow();
    reached(&mut phase, Phase::Running).await;
    tell(&[NotifyState::Ready]).await;
    let is_managed = std::env::var_os("NOTIFY_SOCKET").is_some();
    let watchdog = sd_notify::watchdog_enabled();
    let every = watchdog.map_or(LOOK, |watchdog| LOOK.min(watchdog / 2)).max(Duration::from_millis(10));
    let mut look = tokio::time::interval(every);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut reloads = JoinSet::new();
    let (mut said, mut is_stopping) = (String::new(), false);
    loop {
        tokio::select! {
            _ = look.tick(), if is_managed => {}
            () = hangup.notified(), if reloads.is_empty() => {
                let now = NotifyState::monotonic_usec_now().ok();
                tell(&std::iter::once(NotifyState::Reloading).chain(now).collect::<Vec<_>>()).await;
                let reload = reload.clone();
                reloads.spawn_blocking(move || reload.run());
            }
            Some(_) = reloads.join_next() => tell(&[NotifyState::Ready]).await,
            () = reached(&mut phase, Phase::Stopping), if !is_stopping => {
                is_stopping = true;
                tell(&[NotifyState::Stopping]).await;
            }
        }
        if !is_managed {
            continue;
        }
        let status = status(&watched);
        let is_alive = watchdog.is_some() && watched.pulse().is_alive();
        let alive = is_alive.then_some(NotifyState::Watchdog);
        let news = (status != said).then_some(NotifyState::Status(&status));
        tell(&alive.into_iter().chain(news).collect::<Vec<_>>()).await;
        said = status;
    }
}

async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // The engine's end of it lives as long as the engine can be looked at.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}

/// Tells the service manager, if there is one. It may keep us waiting, so not on the reactor.
async fn tell(words: &[NotifyState<'_>]) {
    if words.is_empty() {
        return;
    }
    let words = words.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let told = tokio::task::spawn_blocking(move || sd_notify::notify(&[NotifyState::Custom(&words)])).await;
    if let Ok(Err(error)) = told {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// One line: what is wrong, or what was done. Without control characters, so it cannot say anything else to systemd.
fn status(watched: &Watched) -> String {
    let reasons = watched.reasons();
    if !reasons.is_empty() {
        return reasons.join("; ").chars().take(STATUS).collect();
    }
    let all = watched.snapshot().pipelines;
    let read = all.iter().map(|pipeline| pipeline.totals.books.read).sum();
    let on_loan: usize = all.iter().map(|pipeline| pipeline.on_loan).sum();
    format!("{} records read, {on_loan} deliveries waiting", count(read))
}
