//! How a server is reached: certificates, HTTP/2, proxies.

use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::fake_http::{Reply, Server};
use crate::formats::{ids, records, sorted};
use crate::here::Here;

/// Writes `name.crt` and `name.key`; the certificate is its own authority.
fn certify(here: &Here, name: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    here.put(&format!("{name}.crt"), made.cert.pem());
    here.put(&format!("{name}.key"), made.signing_key.serialize_pem());
    made
}

fn acceptor(
    server: &rcgen::CertifiedKey<rcgen::KeyPair>,
    client: Option<&rcgen::CertifiedKey<rcgen::KeyPair>>,
    protocols: &[&[u8]],
) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let mut roots = RootCertStore::empty();
            roots.add(client.cert.der().clone()).unwrap();
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::try_from(server.signing_key.serialize_der()).unwrap();
    let mut config = builder.with_single_cert(vec![server.cert.der().clone()], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

fn sending(server: &Server, connection: &str) -> String {
    let port = server.address.port();
    format!(
        "stop_deadline = \"1s\"\ndata_dir = \"state\"\n[sources.trail]\ntype = \"files\"\npath = \"trail\"\n[sinks.lake]\ntype = \"http\"\nurl = \"https://localhost:{port}/in\"\nconnection = {{ {connection} }}\n"
    )
}

#[test]
fn certificates_are_verified_and_shown_and_http_2_is_spoken_where_it_is_offered() {
    let here = Here::with("");
    let (own, other, client) = (certify(&here, "own"), certify(&here, "other"), certify(&here, "client"));
    drop(other);
    let expected = records(&here, 5);
    let run = |server: &Server, connection: &str| {
        here.put("trailship.toml", sending(server, connection));
        here.once().ended(0);
        assert_eq!(ids(&server.taken()), sorted(expected.clone()));
        server.seen()[0].version
    };
    // The authority of its own; HTTP/2.
    let server = Server::start_with(Some(acceptor(&own, None, &[b"h2", b"http/1.1"])), |_, _| Reply::Take);
    assert_eq!(run(&server, "ca_file = \"own.crt\""), hyper::Version::HTTP_2);
    std::fs::remove_dir_all(here.at("state")).unwrap();
    // A certificate of the client; HTTP/1.1.
    let server = Server::start_with(Some(acceptor(&own, Some(&client), &[])), |_, _| Reply::Take);
    let mutual = "ca_file = \"own.crt\", cert_file = \"client.crt\", key_file = \"client.key\"";
    assert_eq!(run(&server, mutual), hyper::Version::HTTP_11);
    std::fs::remove_dir_all(here.at("state")).unwrap();
    // Somebody else's: nothing is sent, and it is said why.
    let server = Server::start_with(Some(acceptor(&own, None, &[])), |_, _| Reply::Take);
    for connection in ["ca_file = \"other.crt\"", "timeout = \"5s\""] {
        here.put("trailship.toml", sending(&server, connection));
        let mut running = here.start(&["run"]);
        running.until("it says that it does not trust it", |said| said.contains("certificate"));
        running.stop();
        assert!(server.seen().is_empty());
    }
    // And sent all the same where that is what is written.
    std::fs::remove_dir_all(here.at("state")).unwrap();
    run(&server, "danger_accept_any_certificate = true");
}

#[test]
fn a_file_of_certificates_that_is_none_ends_the_start() {
    let server = Server::start(|_, _| Reply::Take);
    let here = Here::with("");
    here.put("none.crt", "no certificate");
    certify(&here, "own");
    for (connection, words) in [
        ("ca_file = \"none.crt\"", "there is no certificate in `none.crt`"),
        ("ca_file = \"missing.crt\"", "file `missing.crt` cannot be read"),
        ("cert_file = \"own.crt\", key_file = \"none.crt\"", "there is no private key in `none.crt`"),
    ] {
        here.put("trailship.toml", sending(&server, connection));
        let ran = here.once();
        assert!(ran.code == Some(64) && ran.said.contains(words), "{}", ran.said);
    }
}

#[test]
fn a_proxy_is_asked_where_one_is_named() {
    let proxy = Server::start(|_, _| Reply::Take);
    let sink = "[sinks.lake]\ntype = \"http\"\nurl = \"http://ingest.invalid/in\"\n";
    let of_config = format!("{sink}connection = {{ proxy = \"{}\" }}\n", proxy.url(""));
    let here = Here::with(&of_config);
    let expected = records(&here, 5);
    here.once().ended(0);
    assert_eq!(proxy.seen()[0].uri, "http://ingest.invalid/in");
    let here = Here::with(sink).knowing([("HTTP_PROXY", &*proxy.url(""))]);
    records(&here, 5);
    here.once().ended(0);
    assert_eq!(ids(&proxy.taken()), sorted([&expected[..], &expected[..]].concat()));
}

#[test]
fn a_proxy_that_is_not_there_is_named_without_its_password() {
    let sink = "[sinks.lake]\ntype = \"http\"\nurl = \"http://ingest.invalid/in\"\n";
    let named = "http://ingest.invalid through the proxy http://127.0.0.1:1: ";
    let of_config = format!("{sink}connection = {{ proxy = \"http://127.0.0.1:1\" }}\n");
    let of_environment = Here::with(sink).knowing([("HTTP_PROXY", "http://trailship:pa55-w0rd@127.0.0.1:1")]);
    for here in [Here::with(&of_config), of_environment] {
        records(&here, 5);
        let mut running = here.start(&["run"]);
        running.until("it says whom it asked", |said| said.contains(named));
        assert!(!running.stop().said.contains("pa55-w0rd"));
    }
}
