use reqwest::{Method, Url};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::config::At;
use crate::sink::deliver::auth::tests::config;
use crate::sink::deliver::auth::{Authorizer, Kind};
use crate::sink::deliver::client::Client;

#[path = "../../../../../tests/support/sigv4.rs"]
mod verifier;

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2015-08-30T12:36:00Z
const THEN: i64 = 1_440_938_160;

fn credentials(token: Option<&str>) -> Credentials {
    Credentials::new(KEY, SECRET, token.map(str::to_owned), None, "test")
}

/// Signs a request as the test suite words it, and returns the signature with the names of what it covers.
fn signature(method: &str, target: &str, headers: &[(&str, &str)], body: &str, hash: bool) -> String {
    signature_of(&format!("{method} {target}"), headers, body, hash, None)
}

fn signature_of(line: &str, headers: &[(&str, &str)], body: &str, hash: bool, token: Option<&str>) -> String {
    let (method, target) = line.split_once(' ').unwrap();
    let url = Url::parse(&format!("https://example.amazonaws.com{target}")).unwrap();
    let mut request = Request::new(method.parse().unwrap(), url);
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    if !body.is_empty() {
        *request.body_mut() = Some(body.to_owned().into());
    }
    let then = Timestamp::from_seconds(THEN);
    signed(&mut request, credentials(token), "service", "us-east-1", then, hash).unwrap();
    let by = request.headers()[AUTHORIZATION].to_str().unwrap();
    let by =
        by.strip_prefix("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, ");
    by.unwrap().replace("SignedHeaders=", "").replace(", Signature=", " ")
}

/// From the AWS Signature Version 4 test suite (aws-c-auth, `tests/aws-signing-test-suite/v4`), without those whose paths are
/// not encoded when they are sent: no URL is like that.
#[test]
fn signatures_are_those_of_the_published_test_suite() {
    let plain = [
        ("GET /", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST /", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("GET /example/..", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("GET /./example", "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"),
        ("GET //example//", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
        (
            "GET /-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
        ("GET /?Param1=value1", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
        (
            "GET /?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        ),
        (
            "GET /?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET /?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=\
             -._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
        ),
        ("GET /?ሴ=bar", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
        ("POST /?Param1=value1", "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
    ];
    for (line, expected) in plain {
        let (method, target) = line.split_once(' ').unwrap();
        assert_eq!(
            signature(method, target, &[], "", false),
            format!("host;x-amz-date {expected}"),
            "{line}"
        );
    }
    let repeated = ["value4", "value1", "value3", "value2"].map(|value| ("My-Header1", value));
    assert_eq!(
        signature("GET", "/", &repeated, "", false),
        "host;my-header1;x-amz-date 08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"
    );
    let blanks = [("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")];
    assert_eq!(
        signature("GET", "/", &blanks, "", false),
        "host;my-header1;my-header2;x-amz-date acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"
    );
    let form = [("Content-Type", "application/x-www-form-urlencoded"), ("Content-Length", "13")];
    assert_eq!(
        signature("POST", "/", &form, "Param1=value1", true),
        "content-length;content-type;host;x-amz-content-sha256;x-amz-date d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"
    );
    let token = Some("6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267");
    assert_eq!(
        signature_of("GET /", &[], "", false, token),
        "host;x-amz-date;x-amz-security-token 07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"
    );
}

/// `double-encode-path` of the same suite: what is encoded in the URL is encoded once more in what is signed.
#[test]
fn paths_are_encoded_twice_but_for_s3() {
    let url = "https://tj9n5r0m12.execute-api.us-east-1.amazonaws.com/test/@connections/JBDvjfGEIAMCERw%3D";
    let mut request = Request::new(Method::POST, Url::parse(url).unwrap());
    let then = Timestamp::from_seconds(THEN);
    let key = Credentials::new("ANOTREAL", "notrealrnrELgWzOk3IfjzDKtFBhDby", None, None, "test");
    signed(&mut request, key.clone(), "service", "us-east-1", then, false).unwrap();
    let by = request.headers()[AUTHORIZATION].to_str().unwrap().to_owned();
    assert!(by.ends_with("57d157672191bac40bae387e48bbe14b15303c001fdbb01f4abf295dccb09705"), "{by}");
    // What was there before is replaced.
    signed(&mut request, key.clone(), "service", "us-east-1", then, false).unwrap();
    assert_eq!(request.headers().get_all(AUTHORIZATION).iter().collect::<Vec<_>>(), [by.as_str()]);
    signed(&mut request, key, "s3", "us-east-1", then, true).unwrap();
    assert!(!request.headers()[AUTHORIZATION].to_str().unwrap().contains("57d15767"));
}

#[test]
fn the_body_is_hashed_into_a_header_but_where_that_is_refused() {
    let mut request =
        Request::new(Method::POST, Url::parse("https://abc.eu-west-1.aoss.amazonaws.com/_bulk").unwrap());
    *request.body_mut() = Some("Param1=value1".into());
    let then = Timestamp::from_seconds(THEN);
    signed(&mut request, credentials(None), "aoss", "eu-west-1", then, true).unwrap();
    assert_eq!(
        request.headers()["x-amz-content-sha256"],
        "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"
    );
    signed(&mut request, credentials(None), "vpc-lattice-svcs", "eu-west-1", then, true).unwrap();
    assert_eq!(request.headers()["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
}

#[test]
fn a_host_tells_its_service_and_region() {
    for (host, expected) in [
        ("search-logs-abc.eu-west-1.es.amazonaws.com", Some(("es", "eu-west-1"))),
        ("vpc-logs-abc.cn-north-1.es.amazonaws.com.cn", Some(("es", "cn-north-1"))),
        ("logs-abc.aos.eu-west-1.on.aws", Some(("es", "eu-west-1"))),
        ("abc.us-east-1.aoss.amazonaws.com", Some(("aoss", "us-east-1"))),
        ("a1.execute-api.us-west-2.amazonaws.com", Some(("execute-api", "us-west-2"))),
        ("svc-1.7d67968.vpc-lattice-svcs.us-west-2.on.aws", Some(("vpc-lattice-svcs", "us-west-2"))),
        ("search.example.com", None),
        ("es.amazonaws.com", None),
        ("127.0.0.1", None),
    ] {
        assert_eq!(of_host(host), expected, "{host}");
    }
}

/// Takes one request and returns its head as it came over the wire.
async fn head(listener: tokio::net::TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"body") {
        stream.read_buf(&mut read).await.unwrap();
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let text = String::from_utf8(read).unwrap();
    text.split_once("\r\n\r\n").unwrap().0.to_owned()
}

#[tokio::test]
async fn what_is_signed_is_what_is_sent() {
    for (service, target) in [
        ("es", "/_bulk?b=2&a=x%20y&a=1&flag"),
        ("s3", "/a%20b/c*d//e@f/../g;h='i'?x=%2F%C3%A9&y=a"),
        ("es", ""),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{target}", listener.local_addr().unwrap());
        let taken = tokio::spawn(head(listener));
        let mut request = Request::new(Method::POST, Url::parse(&url).unwrap());
        request.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
        *request.body_mut() = Some("body".into());
        let now = Timestamp::from_seconds(THEN);
        signed(&mut request, credentials(Some("session")), service, "eu-west-1", now, true).unwrap();
        let client = reqwest::Client::builder().user_agent("trailship").no_proxy().build().unwrap();
        client.execute(request).await.unwrap();
        let head = taken.await.unwrap();
        // The verifier takes the query as it came.
        assert_eq!(verifier::check(&head, SECRET), Ok(()), "{head}");
        assert_eq!(verifier::check(&head, "another"), Err("SignatureDoesNotMatch"));
        assert!(head.contains("x-amz-security-token: session"), "{head}");
    }
}

/// A signer that has found credentials, and in the environment this region.
async fn signer(more: impl FnOnce(&mut AuthConfig), region: Option<&str>) -> (Signer, Clock) {
    let mut config = config(Kind::Aws);
    more(&mut config);
    let (signer, clock) = (Signer::new(&config), Clock::manual(Timestamp::from_seconds(THEN)));
    let found = Found { credentials: credentials(None), region: region.map(str::to_owned) };
    let found = async || Ok(Fetched { value: found, lasts: LASTING });
    assert!(signer.kept.get(&clock, found).await.is_ok());
    (signer, clock)
}

/// What a signer says it signs for.
async fn scope(signer: &(Signer, Clock), url: &str) -> Result<String, Trouble> {
    let mut request = Request::new(Method::POST, Url::parse(url).unwrap());
    signer.0.sign(&mut request, signer.0.get(&signer.1).await?, &signer.1)?;
    let by = request.headers()[AUTHORIZATION].to_str().unwrap();
    let (_, scope) = by.split_once("/20150830/").unwrap();
    Ok(scope.split_once("/aws4_request").unwrap().0.to_owned())
}

#[tokio::test]
async fn service_and_region_are_those_stated_else_the_hosts_else_the_environments() {
    const NAMED: &str = "https://abc.eu-west-1.aoss.amazonaws.com/_bulk";
    const OWN: &str = "https://search.example.com/_bulk";
    let bare = signer(|_| {}, Some("ap-south-1")).await;
    assert_eq!(scope(&bare, NAMED).await, Ok("eu-west-1/aoss".to_owned()));
    let trouble = scope(&bare, OWN).await.unwrap_err();
    assert_eq!(
        trouble.to_string(),
        "signing requests to search.example.com: its name tells no service: add `service` to `auth`"
    );
    let service = |config: &mut AuthConfig| config.service = Some(At::from("es".to_owned()));
    assert_eq!(scope(&signer(service, Some("ap-south-1")).await, OWN).await, Ok("ap-south-1/es".to_owned()));
    let trouble = scope(&signer(service, None).await, OWN).await.unwrap_err();
    assert_eq!(
        trouble,
        Trouble::Pause {
            message: "signing requests to search.example.com: no region is known: add `aws.region` to `auth`"
                .to_owned()
        }
    );
    let region = |config: &mut AuthConfig| {
        let region = Some(At::from("us-east-2".to_owned()));
        config.aws = Some(At::from(Aws { region, ..Aws::default() }));
    };
    assert_eq!(scope(&signer(region, None).await, NAMED).await, Ok("us-east-2/aoss".to_owned()));
}

#[tokio::test]
async fn without_credentials_the_sink_waits_and_says_whose_are_missing() {
    let mut settings = config(Kind::Aws);
    let profile = Some(At::from("no-such-profile".to_owned()));
    settings.aws = Some(At::from(Aws { profile, ..Aws::default() }));
    let clock = Clock::manual(Timestamp::from_seconds(THEN));
    let client = Client::plain(reqwest::Client::new());
    let authorizer = Authorizer::build(&settings, &client, &clock).unwrap();
    let trouble = authorizer.key().await.err().unwrap();
    let Trouble::Pause { message } = &trouble else { panic!("{trouble:?}") };
    assert!(
        message.starts_with("signing requests: profile `no-such-profile`: no credentials: "),
        "{message}"
    );
}
