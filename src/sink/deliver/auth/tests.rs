use std::collections::VecDeque;
use std::time::Duration;

use http::header::HeaderMap;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use reqwest::Method;

use super::*;
use crate::clock::Timestamp;

/// Settings of a type, and nothing else.
pub(super) fn config(kind: Kind) -> AuthConfig {
    AuthConfig::of(kind)
}

fn text(text: &str) -> Option<At<String>> {
    Some(At::from(text.to_owned()))
}

fn secret(text: &str) -> Option<At<Secret>> {
    Some(At::from(Secret::new(text)))
}

fn bearer(token: &str) -> AuthConfig {
    AuthConfig { token: secret(token), ..config(Kind::Bearer) }
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_seconds(1_000))
}

fn client() -> Client {
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    Client::plain(http.build().unwrap())
}

fn request() -> Request {
    Request::new(Method::POST, Url::parse("https://siem.example.com/in").unwrap())
}

/// A request's header after it was authorised.
async fn header(authorizer: &Authorizer, name: &str) -> Result<String, Trouble> {
    let mut request = request();
    authorizer.authorize(&mut request, authorizer.key().await?)?;
    // Twice: a request that is tried again is authorised anew.
    authorizer.authorize(&mut request, authorizer.at_hand().unwrap())?;
    let values: Vec<_> = request.headers().get_all(name).iter().collect();
    assert_eq!(values.len(), 1);
    assert!(values[0].is_sensitive());
    Ok(values[0].to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_fixed_header_is_sent_as_it_is_written() {
    let basic = AuthConfig { user: text("Aladdin"), password: secret("open sesame"), ..config(Kind::Basic) };
    let elastic = AuthConfig {
        header: text("authorization"),
        key: secret("aWQ6a2V5"),
        prefix: text("ApiKey"),
        ..config(Kind::ApiKey)
    };
    let datadog = AuthConfig { header: text("DD-API-KEY"), key: secret("abc"), ..config(Kind::ApiKey) };
    for (settings, name, expected) in [
        (bearer("t0ken"), "authorization", "Bearer t0ken"),
        // The example of RFC 7617.
        (basic, "authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        (elastic, "authorization", "ApiKey aWQ6a2V5"),
        (datadog, "dd-api-key", "abc"),
    ] {
        let authorizer = Authorizer::build(&settings, &client(), &clock()).unwrap();
        assert_eq!(header(&authorizer, name).await.unwrap(), expected);
        assert!(!authorizer.refused());
    }
}

#[tokio::test]
async fn a_secret_that_was_read_again_serves_from_now_on() {
    let authorizer = Authorizer::build(&bearer("old"), &client(), &clock()).unwrap();
    authorizer.renew(&bearer("new")).unwrap();
    assert_eq!(header(&authorizer, "authorization").await.unwrap(), "Bearer new");
    assert_eq!(authorizer.renew(&bearer("a\nb")), Err("no header can carry the secret".to_owned()));
    assert_eq!(header(&authorizer, "authorization").await.unwrap(), "Bearer new");
}

/// What is wrong with settings whose sink sends to `url`.
fn problems(settings: &AuthConfig, url: &str) -> Vec<String> {
    let problems = settings.problems([&Url::parse(url).unwrap()]);
    problems.into_iter().map(|problem| format!("{}: {}", problem.message, problem.label)).collect()
}

#[test]
fn settings_are_complete_and_of_one_type() {
    const SAFE: &str = "https://siem.example.com";
    assert_eq!(problems(&bearer("t"), SAFE), [""; 0]);
    assert_eq!(
        problems(&config(Kind::Oauth2), SAFE),
        [
            "an `auth` of type `oauth2` needs `token_url`: add token_url = …",
            "an `auth` of type `oauth2` needs `client_id`: add client_id = …",
            "an `auth` of type `oauth2` needs `client_secret`: add client_secret = …",
        ]
    );
    let both = AuthConfig { user: text("u:v"), password: secret(" p"), ..bearer("") };
    assert_eq!(
        problems(&both, SAFE),
        [
            "`user` is no setting of an `auth` of type `bearer`: it belongs to `basic`: remove one",
            "`password` is no setting of an `auth` of type `bearer`: it belongs to `basic`: remove one",
            "`token` is no secret to send: set the variable or fill the file; its text is the secret",
            "`password` is no secret to send: no header can carry white space at an end",
            "`user` has a colon: basic authorisation ends the name at the first one",
        ]
    );
    let key = AuthConfig { header: text("X Key"), key: secret("a\nb"), ..config(Kind::ApiKey) };
    assert_eq!(
        problems(&key, SAFE),
        [
            "`key` is no secret to send: no header can carry line breaks",
            "`X Key` cannot be the name of a header: write one as \"X-Api-Key\"",
        ]
    );
    assert_eq!(problems(&config(Kind::Aws), SAFE), [""; 0]);
}

#[test]
fn a_secret_travels_over_tls_or_stays_on_the_machine() {
    let crosses =
        "what authorises requests would cross the network as it is: write https://… as the sink's URL";
    for url in ["http://siem.example.com", "http://10.0.0.1:8088", "http://localhost.example.com"] {
        assert_eq!(problems(&bearer("t"), url), [crosses], "{url}");
        assert_eq!(problems(&config(Kind::Aws), url), [""; 0], "a signature tells no secret");
    }
    for url in ["https://a.b", "http://localhost:1", "http://127.8.8.8:1", "http://[::1]:1"] {
        assert_eq!(problems(&bearer("t"), url), [""; 0], "{url}");
    }
    let mut tokens = oauth("http://login.example.com/token", CredentialsIn::Body);
    let asked = ["the client's secret would cross the network as it is: write https://…"];
    assert_eq!(problems(&tokens, "https://siem.example.com"), asked);
    tokens.token_url = text("login");
    let [problem] = &problems(&tokens, "https://siem.example.com")[..] else { panic!() };
    assert!(problem.starts_with("`token_url` is not a URL: "), "{problem}");
}

/// What the client's secret is: with what has to be encoded.
const SECRET: &str = "s&cr=t+ 1";

fn oauth(url: &str, credentials_in: CredentialsIn) -> AuthConfig {
    AuthConfig {
        token_url: text(url),
        client_id: text("ship/1"),
        client_secret: secret(SECRET),
        scope: text("https://monitor.example.com/.default"),
        credentials_in: Some(At::from(credentials_in)),
        ..config(Kind::Oauth2)
    }
}

/// A server that gives out tokens: it answers as it was told, then `t1`, `t2`, …; what it was asked is kept.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    answers: VecDeque<(u16, String)>,
    asked: Vec<(HeaderMap, String)>,
    given: u32,
    silent: bool,
}

impl Server {
    async fn start() -> (Server, String) {
        let server = Server::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token?tenant=7", listener.local_addr().unwrap());
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = serving.clone();
                let answer = hyper::service::service_fn(move |request| server.clone().answer(request));
                let serving =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(serving);
            }
        });
        (server, url)
    }

    async fn answer(
        self,
        request: http::Request<Incoming>,
    ) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
        assert_eq!(
            (request.method(), request.uri().to_string().as_str()),
            (&Method::POST, "/token?tenant=7")
        );
        let (head, body) = request.into_parts();
        let body = String::from_utf8(body.collect().await?.to_bytes().to_vec()).unwrap();
        let (status, text) = {
            let mut told = self.0.lock().unwrap();
            told.asked.push((head.headers, body));
            told.answers.pop_front().unwrap_or_else(|| {
                told.given += 1;
                let token = format!("t{}", told.given);
                let more = r#""token_type":"bearer","expires_in":600,"scope":"x""#;
                (200, format!(r#"{{"access_token":"{token}",{more}}}"#))
            })
        };
        if self.0.lock().unwrap().silent {
            std::future::pending::<()>().await;
        }
        let answer = http::Response::builder().status(status).header("location", "http://elsewhere.example/");
        Ok(answer.body(Full::from(text)).unwrap())
    }

    fn say(&self, status: u16, text: &str) {
        self.0.lock().unwrap().answers.push_back((status, text.to_owned()));
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }
}

async fn asking(credentials_in: CredentialsIn) -> (Server, Authorizer, Clock) {
    let (server, url) = Server::start().await;
    let clock = clock();
    let authorizer = Authorizer::build(&oauth(&url, credentials_in), &client(), &clock).unwrap();
    (server, authorizer, clock)
}

#[tokio::test]
async fn a_token_is_asked_for_with_the_clients_credentials_in_body_or_header() {
    let asked = "grant_type=client_credentials&scope=https%3A%2F%2Fmonitor.example.com%2F.default";
    let own = "&client_id=ship%2F1&client_secret=s%26cr%3Dt%2B+1";
    for place in [CredentialsIn::Body, CredentialsIn::Header] {
        let (server, authorizer, _) = asking(place).await;
        assert_eq!(header(&authorizer, "authorization").await.unwrap(), "Bearer t1");
        let told = server.0.lock().unwrap();
        let [(headers, body)] = &told.asked[..] else { panic!("asked {} times", told.asked.len()) };
        assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
        assert_eq!(headers["accept"], "application/json");
        let by = headers.get("authorization").map(|value| {
            let coded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
            String::from_utf8(STANDARD.decode(coded).unwrap()).unwrap()
        });
        match place {
            CredentialsIn::Body => assert_eq!((body, by), (&format!("{asked}{own}"), None)),
            CredentialsIn::Header => {
                assert_eq!((body.as_str(), by.as_deref()), (asked, Some("ship%2F1:s%26cr%3Dt%2B+1")));
            }
        }
    }
}

#[tokio::test]
async fn a_token_is_kept_and_one_that_is_refused_is_asked_for_anew() {
    let (server, authorizer, clock) = asking(CredentialsIn::Body).await;
    let get = async || header(&authorizer, "authorization").await.unwrap();
    let all = tokio::join!(get(), get(), get(), get());
    assert_eq!((all.0.as_str(), all.3.as_str(), server.asked()), ("Bearer t1", "Bearer t1", 1));
    clock.advance(Duration::from_secs(539));
    assert_eq!(get().await, "Bearer t1");
    clock.advance(Duration::from_secs(1));
    assert_eq!(get().await, "Bearer t2");
    assert!(authorizer.refused());
    assert_eq!(get().await, "Bearer t3");
    clock.advance(Duration::from_secs(60));
    assert!(!authorizer.refused());
    assert_eq!((get().await.as_str(), server.asked()), ("Bearer t3", 3));
    // The same settings again change nothing, others do.
    let same = authorizer.current.lock().unwrap().0.clone();
    authorizer.renew(&same).unwrap();
    assert_eq!((get().await.as_str(), server.asked()), ("Bearer t3", 3));
    authorizer.renew(&AuthConfig { client_id: text("ship/2"), ..same }).unwrap();
    assert_eq!((get().await.as_str(), server.asked()), ("Bearer t4", 4));
}

#[tokio::test]
async fn a_refusal_of_the_server_pauses_and_an_outage_is_tried_again() {
    let (server, authorizer, clock) = asking(CredentialsIn::Body).await;
    let long = format!(r#"{{"error":"{}"}}"#, "x".repeat(100_000));
    let cases: [(u16, &str, bool, &str); 13] = [
        (400, r#"{"error":"invalid_scope"}"#, true, "status 400: invalid_scope: look at"),
        (
            401,
            r#"{"error":"invalid_client","error_description":"the secret 's&cr=t+ 1'\u001b[2J is wrong"}"#,
            true,
            "status 401: invalid_client: the secret \\'***\\'\\u{1b}[2J is wrong: look at `client_id`, `client_secret`, `scope` and `audience`",
        ),
        (403, "<html>", true, "status 403: look at"),
        (404, "", true, "status 404: look at"),
        (302, "", true, "status 302: no redirect is followed"),
        (400, r#"{"error":"temporarily_unavailable"}"#, false, "status 400: temporarily_unavailable"),
        (429, "{}", false, "status 429"),
        (500, "", false, "status 500"),
        (503, r#"{"error":7}"#, false, "status 503"),
        (200, "<html>sign in</html>", false, "the answer is no JSON"),
        (200, r#"{"token":"x"}"#, true, "the answer holds no `access_token`"),
        (200, r#"{"access_token":"x","token_type":"mac"}"#, true, "the token is of type `mac`"),
        (500, &long, false, "status 500"),
    ];
    for (status, body, pauses, words) in cases {
        server.say(status, body);
        let trouble = header(&authorizer, "authorization").await.unwrap_err();
        let message = trouble.to_string();
        let head = "asking 127.0.0.1 for a token as `ship/1`: ";
        assert!(message.starts_with(&format!("{head}{words}")), "{message}");
        assert!(
            !message.contains(SECRET) && !message.contains("tenant") && message.len() < 1_000,
            "{message}"
        );
        assert_eq!(matches!(trouble, Trouble::Pause { .. }), pauses, "{message}");
        clock.advance(Duration::from_secs(30));
    }
    // Numbers as text, or none.
    server.say(200, r#"{"access_token":"a","expires_in":"3599"}"#);
    assert_eq!(header(&authorizer, "authorization").await.unwrap(), "Bearer a");
}

#[tokio::test]
async fn a_server_that_is_not_there_or_does_not_answer_is_tried_again() {
    let (server, url) = Server::start().await;
    server.0.lock().unwrap().silent = true;
    let impatient = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(200));
    let impatient = Client::plain(impatient.build().unwrap());
    for url in ["http://127.0.0.1:1/token?tenant=7", &url] {
        let settings = oauth(url, CredentialsIn::Body);
        let authorizer = Authorizer::build(&settings, &impatient, &clock()).unwrap();
        let trouble = authorizer.key().await.err().unwrap();
        assert!(matches!(&trouble, Trouble::Retry { .. }), "{trouble:?}");
        assert!(!trouble.to_string().contains("tenant"), "{trouble}");
    }
}
