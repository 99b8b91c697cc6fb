//! The service that a sink sends to: its endpoints, and what its requests are sent and authorised with.

use bytes::Bytes;
use http::StatusCode;
use reqwest::Request;

use super::auth::{AuthConfig, Authorizer, Key, Trouble};
use super::client::{Answer, Client, Connection, Reading, Target, Unanswered};
use super::endpoints::{Endpoint, Endpoints};
use crate::sink::Build;

/// Where requests go, and how.
pub struct Service {
    /// Where they go.
    pub endpoints: Endpoints,
    client: Client,
    auth: Option<Authorizer>,
}

impl Service {
    /// One at these places. Reads certificates; blocks.
    ///
    /// # Errors
    /// What of the settings cannot be used, and why.
    pub fn build(
        targets: Vec<Target>,
        connection: &Connection,
        auth: Option<&AuthConfig>,
        build: &Build<'_>,
    ) -> Result<Service, String> {
        let client = connection.client(build.name)?;
        let auth = auth.map(|auth| Authorizer::build(auth, &client, &build.clock)).transpose()?;
        Ok(Service { endpoints: Endpoints::new(build.name, targets)?, client, auth })
    }

    /// Takes secrets that were read again.
    pub fn renew(&self, auth: Option<&AuthConfig>) {
        if let (Some(now), Some(auth)) = (&self.auth, auth)
            && let Err(error) = now.renew(auth)
        {
            tracing::error!(%error, "the secrets known before stay");
        }
        self.endpoints.retry_now();
    }

    /// What a request is authorised with; may take as long as fetching a token does.
    ///
    /// # Errors
    /// There is nothing to be had.
    pub async fn key(&self) -> Result<Option<Key>, Trouble> {
        match &self.auth {
            Some(auth) => auth.key().await.map(Some),
            None => Ok(None),
        }
    }

    /// Authorises a request, with what is newer than this key where there is something.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn authorize(&self, request: &mut Request, key: Option<Key>) -> Result<(), Trouble> {
        match &self.auth {
            Some(auth) => auth.at_hand().or(key).map_or(Ok(()), |key| auth.authorize(request, key)),
            None => Ok(()),
        }
    }

    /// A request was refused (401 or 403). Returns whether it is worth while to send it again at once: see
    /// [`Authorizer::refused`].
    pub fn refused(&self) -> bool {
        self.auth.as_ref().is_some_and(Authorizer::refused)
    }

    /// Sends a request that was authorised. `body` is its own, where it may be large.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn send(
        &self,
        request: Request,
        body: Option<&Bytes>,
        reading: impl Into<Reading>,
    ) -> Result<Answer, Unanswered> {
        self.client.send(request, body, reading).await
    }

    /// Authorises a small request and sends it.
    ///
    /// # Errors
    /// It could not be authorised, or there was no answer.
    pub async fn ask(&self, mut request: Request, reading: impl Into<Reading>) -> Result<Answer, Trouble> {
        let key = self.key().await?;
        self.authorize(&mut request, key)?;
        let answer = self.send(request, None, reading).await;
        answer.map_err(|Unanswered { message, .. }| Trouble::Retry { message, after: None })
    }

    /// Asks one endpoint after the other until one answers and lets us in.
    ///
    /// # Errors
    /// None does: what the last of them said.
    pub async fn ask_any(
        &self,
        request: impl Fn(&Endpoint) -> Request,
        most: usize,
    ) -> Result<Answer, Trouble> {
        let (mut endpoint, mut anew) = (self.endpoints.turn(), false);
        loop {
            let answered = self.ask(request(endpoint), most).await;
            let others = match &answered {
                Ok(answer) if is_refusal(answer.status) => {
                    if !anew && self.refused() {
                        anew = true;
                        continue;
                    }
                    let message = refusal(endpoint, answer.status, &answer.shown());
                    self.endpoints.refuses(endpoint, &message)
                }
                Ok(_) => {
                    self.endpoints.serves(endpoint);
                    false
                }
                Err(Trouble::Retry { after: None, .. }) => self.endpoints.is_down(endpoint),
                Err(_) => false,
            };
            if !others {
                return answered;
            }
            endpoint = self.endpoints.turn();
        }
    }
}

/// Whether a status says that the credentials are not good enough.
pub fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// What is told of credentials that were refused.
pub fn refusal(endpoint: &Endpoint, status: StatusCode, said: &str) -> String {
    format!("credentials refused ({}) at {}: {said}", status.as_u16(), endpoint.target())
}
