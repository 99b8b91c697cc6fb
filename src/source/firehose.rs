//! Takes what Amazon Data Firehose delivers to an HTTP endpoint.
//!
//! ```toml
//! [sources.stream]
//! type = "firehose"
//! listen = "0.0.0.0:8443"
//! access_key = { env = "FIREHOSE_ACCESS_KEY" }
//! tls = { certificate = "/etc/trailship/tls.crt", key = "/etc/trailship/tls.key" }
//! ```
//!
//! A request is answered 200 only after every sink has answered about everything in it (`firehose/request.rs`); what it is
//! answered otherwise stands in `firehose/answer.rs`. Its body is read where it stands (`firehose/body.rs`) and lent in
//! parts; how it ended is remembered for an hour, so that the same request sent again is not shipped again
//! (`firehose/desk.rs`). Nothing is kept in the state: what was not answered 200 is sent again by Firehose.

mod answer;
mod body;
mod desk;
#[doc(hidden)]
pub mod fuzz;
mod request;
mod server;
mod tls;

use std::net::TcpListener;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use self::answer::Outcome;
use self::desk::Lent;
use self::request::{Endpoint, Rules};
use self::tls::Certificate;
use super::figures::Figures;
use super::files::Limits;
use super::{Body, Build, BuildError, Delivery, Origin, Source, SourceError, new_id};
use crate::ack::{DeliveryId, Settled};
use crate::config::{At, ByteSize, Listen, OneOrMany, Secret, SourceConfig};

/// Takes what Amazon Data Firehose delivers to an HTTP endpoint.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SourceFirehose")]
pub struct Config {
    /// Where it listens: an address of this machine and a port. Firehose itself speaks to port 443 only, of a name that is
    /// public. Any path. Required.
    pub listen: At<Listen>,
    /// The access key that the stream sends. One or a list, so that it can be changed: first here, then in the stream; read
    /// again at SIGHUP. It has to be there unless `listen` is a loopback address.
    #[serde(default)]
    pub access_key: Option<OneOrMany<At<Secret>>>,
    /// ARNs of the streams that may deliver. Default: all that know the access key.
    #[serde(default)]
    pub source_arns: Option<At<Vec<At<String>>>>,
    /// The certificate that is shown, for TLS 1.2 and 1.3. Read again when the files change.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Whether a proxy in front speaks TLS, so that it need not be spoken here. Then `connections_per_peer` counts those of
    /// the proxy.
    #[serde(default)]
    pub behind_proxy: bool,
    /// How long a request waits for the answers of the sinks; then it is answered 503, and Firehose sends it again. Firehose
    /// waits for 3 minutes. Time.
    #[serde(default = "answer_within")]
    pub answer_within: At<crate::config::Duration>,
    /// How long it is remembered how a request ended, so that it is not shipped again when it comes again. Time.
    #[serde(default = "remember")]
    pub remember: At<crate::config::Duration>,
    /// Bytes of a request's body, as sent and decompressed; a larger one is answered 400. Firehose sends 64 MiB at most.
    /// Memory for it comes out of half of `memory`; of a compressed one both its forms are held.
    #[serde(default = "max_body")]
    pub max_body: At<ByteSize>,
    /// How long a connection may be silent: before a request's headers are complete, and within its body. Time.
    #[serde(default = "patience")]
    pub timeout: At<crate::config::Duration>,
    /// Connections at a time; further ones wait. A count.
    #[serde(default = "connections")]
    pub connections: NonZeroU32,
    /// Connections of one peer at a time; further ones are closed. A count.
    #[serde(default = "per_peer")]
    pub connections_per_peer: NonZeroU32,
    /// How much one record may be or hold before it goes to rejects.
    #[serde(default)]
    pub limits: Limits,
}

/// Where it listens, and for whom.
impl std::fmt::Display for Config {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        write!(formatter, "listens at {scheme}://{}", self.listen.value())?;
        if self.behind_proxy {
            formatter.write_str(", behind a proxy")?;
        }
        formatter.write_str(match (&self.access_key, &self.source_arns) {
            (None, None) => ", for everybody there",
            (None, _) => ", for everybody there who names a stream of `source_arns`",
            (Some(_), None) => ", for who knows the access key",
            (Some(_), _) => ", for streams of `source_arns` that know the access key",
        })
    }
}

impl Config {
    /// SHA-256 of each access key.
    fn keys(&self) -> Vec<[u8; 32]> {
        let keys = self.access_key.iter().flat_map(|keys| keys.iter());
        keys.map(|key| Sha256::digest(key.reveal().as_bytes()).into()).collect()
    }
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FirehoseTls")]
pub struct Tls {
    /// The certificate and those that lead to its authority, as PEM. A path.
    pub certificate: At<PathBuf>,
    /// Its private key, as PEM. A path.
    pub key: At<PathBuf>,
}

fn answer_within() -> At<crate::config::Duration> {
    crate::config::Duration::seconds(170).into()
}

fn remember() -> At<crate::config::Duration> {
    crate::config::Duration::minutes(60).into()
}

fn max_body() -> At<ByteSize> {
    ByteSize::mib(64).into()
}

fn patience() -> At<crate::config::Duration> {
    crate::config::Duration::seconds(30).into()
}

const fn connections() -> NonZeroU32 {
    const CONNECTIONS: NonZeroU32 = NonZeroU32::new(512).unwrap();
    CONNECTIONS
}

const fn per_peer() -> NonZeroU32 {
    const PER_PEER: NonZeroU32 = NonZeroU32::new(128).unwrap();
    PER_PEER
}

/// The source.
pub struct Firehose {
    endpoint: Arc<Endpoint>,
    limits: server::Limits,
    tls: Option<(Arc<Certificate>, TlsAcceptor)>,
    serving: Mutex<Serving>,
    closing: watch::Sender<bool>,
}

/// What listens.
#[derive(Default)]
struct Serving {
    listener: Option<TcpListener>,
    server: Option<JoinHandle<()>>,
    follower: Option<JoinHandle<()>>,
}

impl Firehose {
    /// Begins to listen; connections are taken when the first deliveries are asked for.
    ///
    /// # Errors
    /// The address cannot be used, or the certificate; or it should end (`--once`), and an endpoint does not.
    pub fn build(config: &Config, build: &Build<'_>) -> Result<Firehose, BuildError> {
        let name = build.name;
        if build.once {
            let message = format!(
                "source `{name}`: Firehose delivers without an end, so there is nothing that --once or --dry-run could read to its end: run it without"
            );
            return Err(BuildError(message));
        }
        let tls = match &config.tls {
            None => None,
            Some(Tls { certificate, key }) => {
                let opened = Certificate::open(certificate.value().clone(), key.value().clone());
                let server =
                    opened.and_then(|open| open.server().map(|server| (open, TlsAcceptor::from(server))));
                Some(server.map_err(|error| BuildError(format!("source `{name}`: {error}")))?)
            }
        };
        let address = config.listen.get();
        let cannot = |error: std::io::Error| {
            BuildError(format!("source `{name}`: it cannot listen on {address}: {error}"))
        };
        let listener = TcpListener::bind(address).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let bound = listener.local_addr().map_err(cannot)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        tracing::info!(source = name, address = %bound, "waiting for Firehose at {scheme}://{bound}");
        let rules = Rules {
            sources: config
                .source_arns
                .iter()
                .flat_map(|arns| arns.iter())
                .map(|arn| arn.value().clone())
                .collect(),
            most: config.max_body.as_usize(),
            answer_within: config.answer_within.get(),
            patience: config.timeout.get(),
        };
        let remember = config.remember.get();
        let (room, clock) = (build.room.clone(), build.clock.clone());
        let count = |number: NonZeroU32| usize::try_from(number.get()).unwrap_or(usize::MAX);
        Ok(Firehose {
            endpoint: Arc::new(Endpoint::new(name.to_owned(), rules, config.keys(), remember, room, clock)),
            limits: server::Limits {
                connections: count(config.connections),
                per_peer: count(config.connections_per_peer),
                patience: config.timeout.get(),
            },
            tls,
            serving: Mutex::new(Serving { listener: Some(listener), ..Serving::default() }),
            closing: watch::Sender::new(false),
        })
    }

    /// Begins to take connections.
    fn serve(&self) -> Result<(), SourceError> {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(listener) = serving.listener.take() else { return Ok(()) };
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|error| SourceError::Stop(format!("listening for Firehose: {error}")))?;
        let tls = self.tls.as_ref().map(|(_, acceptor)| acceptor.clone());
        let (endpoint, limits, closing) = (self.endpoint.clone(), self.limits, self.closing.subscribe());
        serving.server = Some(tokio::spawn(server::serve(listener, tls, endpoint, limits, closing)));
        if let Some((certificate, _)) = &self.tls {
            let follow = certificate.clone().follow(self.endpoint.name().to_owned());
            serving.follower = Some(tokio::spawn(follow));
        }
        Ok(())
    }
}

impl Source for Firehose {
    async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
        self.serve()?;
        let lent = self.endpoint.desk.next(most, new_id).await;
        let delivery = |(id, lent): (DeliveryId, Lent)| Delivery {
            id,
            identity: lent.identity,
            origin: Origin { address: lent.address, ..Origin::default() },
            body: Body::Bytes(lent.body),
            failures: lent.failures,
            growing: false,
            again: None,
            from: None,
        };
        Ok(Some(lent.into_iter().map(delivery).collect()))
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        self.endpoint.desk.settle(settled);
        Ok(())
    }

    fn stopping(&self) {
        self.endpoint.stops();
    }

    fn renew(&self, config: &SourceConfig) {
        if let SourceConfig::Firehose(config) = config {
            self.endpoint.renew(config.keys());
        }
    }

    async fn close(&self) {
        self.endpoint.stops();
        self.endpoint.desk.close();
        self.closing.send_replace(true);
        let (server, follower) = {
            let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
            (serving.server.take(), serving.follower.take())
        };
        if let Some(follower) = follower {
            follower.abort();
        }
        // The last answers are brought out: who does not get one sends again what was shipped.
        if let Some(server) = server {
            let _ = server.await;
        }
    }

    fn figures(&self) -> Figures {
        Figures { endpoint: Some(self.endpoint.requests()), ..Figures::default() }
    }
}

impl Drop for Firehose {
    fn drop(&mut self) {
        let serving = self.serving.get_mut().unwrap_or_else(PoisonError::into_inner);
        for task in [serving.server.take(), serving.follower.take()].into_iter().flatten() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
