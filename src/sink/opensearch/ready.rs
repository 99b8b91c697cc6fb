//! Before the first event: the index template and the policy are there as we mean them.

use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use reqwest::Request;
use serde_json::Value;
use tokio::sync::Mutex;

use super::mapping::Mapping;
use super::template::Plan;
use crate::clock::Clock;
use crate::sink::deliver::{Answer, Endpoint, Service, Trouble};

/// Bytes of an answer that are read: the templates of one name, the bulk of which is ours.
const ANSWER: usize = 1 << 20;

/// Sees to it once.
pub(super) struct Ready {
    done: AtomicBool,
    /// One asks at a time.
    turn: Mutex<()>,
    name: String,
    template: Value,
    policy: Option<(String, Value)>,
    clock: Clock,
}

impl Ready {
    pub(super) fn new(plan: &Plan, mapping: &Mapping, clock: Clock) -> Ready {
        Ready {
            done: AtomicBool::new(false),
            turn: Mutex::new(()),
            name: plan.name.clone(),
            template: plan.template(mapping),
            policy: plan.policy(),
            clock,
        }
    }

    /// Returns when the template and the policy are there.
    ///
    /// # Errors
    /// Why they are not: for now, or until somebody does something.
    pub(super) async fn ready(&self, service: &Service) -> Result<(), Trouble> {
        if self.done.load(Ordering::Acquire) {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        if self.done.load(Ordering::Acquire) {
            return Ok(());
        }
        // The policy first: an index takes the one that is there when it is made.
        if let Some((path, policy)) = &self.policy {
            let known = ask(service, Method::GET, path, None).await?;
            if known.status == StatusCode::NOT_FOUND {
                let made = ask(service, Method::PUT, path, Some(policy)).await?;
                self.expect(&made, "policy", path)?;
                tracing::info!(policy = %self.name, "a policy of indexes was made");
            } else {
                self.expect(&known, "policy", path)?;
            }
        }
        let path = format!("/_index_template/{}", self.name);
        let known = ask(service, Method::GET, &path, None).await?;
        if known.status != StatusCode::NOT_FOUND {
            self.expect(&known, "index template", &path)?;
        }
        let known: Value = serde_json::from_slice(&known.body).unwrap_or_default();
        let known = &known["index_templates"][0]["index_template"];
        let meta = &known["_meta"];
        if known.is_object() && meta["managed_by"] != "trailship" {
            let message = format!(
                "the index template `{}` was not made by trailship: set `template` to another name, or manage_template = false",
                self.name
            );
            return Err(Trouble::Pause { message });
        }
        if meta["fingerprint"] != self.template["_meta"]["fingerprint"] {
            let made = ask(service, Method::PUT, &path, Some(&self.template)).await?;
            self.expect(&made, "index template", &path)?;
            tracing::info!(template = %self.name, "an index template was installed");
        }
        self.done.store(true, Ordering::Release);
        Ok(())
    }

    /// The answer is a success.
    fn expect(&self, answer: &Answer, what: &str, path: &str) -> Result<(), Trouble> {
        let shown = answer.shown();
        match answer.status.as_u16() {
            200..300 => Ok(()),
            408 | 425 | 429 | 500..600 => {
                let message = format!("asking for the {what} `{}`: {shown}", self.name);
                Err(Trouble::Retry { message, after: answer.retry_after(self.clock.now()) })
            }
            401 => Err(Trouble::Pause { message: format!("the credentials are refused: {shown}") }),
            _ => {
                let message = format!(
                    "the {what} `{}` cannot be installed ({path}): {shown}; allow it, or install it by hand and set manage_template = false",
                    self.name
                );
                Err(Trouble::Pause { message })
            }
        }
    }
}

async fn ask(service: &Service, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Trouble> {
    let request = |endpoint: &Endpoint| {
        let mut request = Request::new(method.clone(), endpoint.url(path));
        if let Some(body) = body {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.to_string().into());
        }
        request
    };
    service.ask_any(request, ANSWER).await
}
