//! What authorises requests: tokens that are fetched and refused, signatures.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::fake_http::{Reply, Seen, Server};
use crate::formats::{ids, records, sorted};
use crate::here::{Here, Ran};

/// Ships into a server that gives out tokens, too; the second only is let in. Whatever else is refused comes from `refuse`.
fn shipped(
    refuse: impl Fn(&Seen, usize) -> Option<Reply> + Send + Sync + 'static,
) -> (Server, Ran, Vec<String>) {
    let given = AtomicUsize::new(0);
    let server = Server::start(move |_, seen| match seen.uri.as_str() {
        "/token" => {
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            refuse(seen, number).unwrap_or_else(|| {
                let answer =
                    format!(r#"{{"access_token":"t{number}","token_type":"Bearer","expires_in":3600}}"#);
                Reply::Answer(200, Vec::new(), answer)
            })
        }
        _ if seen.header("authorization") == Some("Bearer t2") => Reply::Take,
        _ => Reply::status(401),
    });
    let sink = format!(
        "[sinks.lake]\ntype = \"http\"\nurl = \"{}\"\nbatch = {{ events = 5 }}\nauth = {{ type = \"oauth2\", token_url = \"{}\", client_id = \"trailship\", client_secret = {{ env = \"CLIENT_SECRET\" }}, scope = \"ingest\" }}\n",
        server.url("/in"),
        server.url("/token")
    );
    let here = Here::with(&sink).knowing([("CLIENT_SECRET", "pa55-w0rd")]);
    let expected = records(&here, 40);
    let ran = here.once();
    (server, ran, expected)
}

fn events(server: &Server) -> Vec<String> {
    ids(&server
        .seen()
        .into_iter()
        .filter(|seen| seen.taken && seen.uri == "/in")
        .map(|seen| seen.body)
        .collect::<Vec<_>>())
}

#[test]
fn a_token_that_is_refused_is_fetched_anew_without_a_pause() {
    let (server, ran, expected) = shipped(|_, _| None);
    ran.ended(0);
    assert_eq!(events(&server), sorted(expected));
    let seen = server.seen();
    let asked: Vec<&str> =
        seen.iter().filter(|seen| seen.uri == "/token").map(|seen| seen.body.as_str()).collect();
    let form = "grant_type=client_credentials&scope=ingest&client_id=trailship&client_secret=pa55-w0rd";
    assert_eq!(asked, [form, form]);
    assert!(!ran.said.contains("pa55-w0rd") && !ran.said.contains("nothing is acknowledged"), "{}", ran.said);
}

#[test]
fn an_outage_of_the_token_server_is_waited_for() {
    let (server, ran, expected) = shipped(|_, number| match number {
        1 => Some(Reply::status(503)),
        _ => None,
    });
    ran.ended(0);
    assert_eq!(events(&server), sorted(expected));
    assert!(ran.said.contains("asking 127.0.0.1 for a token as `trailship`: status 503"), "{}", ran.said);
}

#[test]
fn a_token_server_that_fails_is_asked_ever_less_often_however_many_wait_for_it() {
    let (server, ran, expected) = shipped(|_, number| {
        let given = r#"{"access_token":"t2","expires_in":3600}"#;
        Some(if number <= 5 { Reply::status(500) } else { Reply::Answer(200, Vec::new(), given.into()) })
    });
    ran.ended(0);
    assert_eq!(events(&server), sorted(expected));
    let asked: Vec<_> = server.seen().into_iter().filter(|seen| seen.uri == "/token").collect();
    assert_eq!(asked.len(), 6);
    // 0.1, 0.2, 0.4, 0.8 and 1.6 s after each other; each payload alone would have begun with 0.1 s.
    assert!(asked[5].at - asked[0].at > Duration::from_secs(2));
}

#[test]
fn a_token_is_asked_for_with_what_else_its_server_wants_to_know() {
    let server = Server::start(|_, seen| match seen.uri.as_str() {
        "/token" => Reply::Answer(200, Vec::new(), r#"{"access_token":"t1","expires_in":60}"#.into()),
        _ => Reply::Take,
    });
    let (url, token_url) = (server.url("/in"), server.url("/token"));
    let here = Here::with(&format!(
        "[sinks.lake]\ntype = \"http\"\nurl = \"{url}\"\n[sinks.lake.auth]\ntype = \"oauth2\"\ntoken_url = \"{token_url}\"\nclient_id = \"trailship\"\nclient_secret = {{ env = \"CLIENT_SECRET\" }}\naudience = \"https://siem.example.com\"\nparameters = {{ organization = \"org 1\" }}\n"
    ));
    let here = here.knowing([("CLIENT_SECRET", "pa55-w0rd")]);
    let expected = records(&here, 5);
    here.once().ended(0);
    assert_eq!(events(&server), sorted(expected));
    let form = "grant_type=client_credentials&audience=https%3A%2F%2Fsiem.example.com&organization=org+1&client_id=trailship&client_secret=pa55-w0rd";
    assert_eq!(server.seen()[0].body, form);
}

#[test]
fn requests_are_signed_with_the_credentials_of_the_environment() {
    let server = Server::start(|_, _| Reply::Take);
    let sink = format!(
        "[sinks.lake]\ntype = \"http\"\nurl = \"{}\"\nauth = {{ type = \"aws\", service = \"aoss\", aws = {{ region = \"eu-west-1\" }} }}\n",
        server.url("/in?b=2&a=1")
    );
    let here = Here::with(&sink).knowing([
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        ("AWS_SESSION_TOKEN", "session"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]);
    let expected = records(&here, 40);
    let ran = here.once();
    ran.ended(0);
    assert_eq!(ids(&server.taken()), sorted(expected));
    for seen in server.seen() {
        let mut head = format!("{} {} HTTP/1.1\r\n", seen.method, seen.uri);
        for (name, value) in &seen.headers {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
        }
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        assert_eq!(crate::sigv4::check(&head, secret), Ok(()), "{head}");
        assert!(seen.header("authorization").unwrap().contains("/eu-west-1/aoss/aws4_request"));
        let hash = <sha2::Sha256 as sha2::Digest>::digest(seen.body.as_bytes());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(seen.header("x-amz-content-sha256"), Some(hash.as_str()));
        assert_eq!(seen.header("x-amz-security-token"), Some("session"));
    }
    assert!(!ran.said.contains("wJalr"));
}
