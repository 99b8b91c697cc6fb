//! TLS: the versions that are spoken, and certificates that change.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::client::Client;
use crate::here::Here;
use crate::scene::{PROMPT, batch, started, waiting};

/// A new certificate in its files.
fn certify(here: &Here) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    here.put("tls.crt", made.cert.pem());
    here.put("tls.key", made.signing_key.serialize_pem());
    made.cert.der().clone()
}

fn trusting(
    certificate: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

#[test]
fn tls_is_spoken_from_1_2_on_and_a_new_certificate_is_used_without_a_restart() {
    let here = waiting("tls = { certificate = \"tls.crt\", key = \"tls.key\" }\ntimeout = \"3s\"", PROMPT);
    let first = certify(&here);
    let (mut running, plain) = started(&here);
    let with = |certificate, version| Client { tls: Some(trusting(certificate, version)), ..plain.clone() };
    let (one, ids) = batch("one", 0, 2);
    let (two, more) = batch("two", 1, 2);
    assert_eq!(with(&first, &TLS12).send(&one).unwrap().status, 200, "{}", running.said());
    assert_eq!(with(&first, &TLS13).send(&two).unwrap().status, 200);
    // TLS 1.1: a hello that offers nothing newer is answered with a fatal alert.
    let hello =
        [&b"\x16\x03\x02\x00\x2d\x01\x00\x00\x29\x03\x02"[..], &[7; 32], b"\x00\x00\x02\x00\x2f\x01\x00"]
            .concat();
    let mut old = TcpStream::connect(plain.address).unwrap();
    old.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    old.write_all(&hello).unwrap();
    let mut alert = Vec::new();
    let _ = old.read_to_end(&mut alert);
    assert!(matches!(alert[..], [0x15, .., 2, 40 | 70]), "{alert:?}");
    // Who does not speak TLS, and who says nothing, is left.
    assert!(plain.send(&one).is_none_or(|answer| answer.status != 200));
    let mut silent = TcpStream::connect(plain.address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap_or(0), 0);

    here.put("tls.crt", "nonsense");
    running.until("it says that the new certificate is broken", |said| {
        said.contains("there is no certificate in tls.crt")
    });
    assert_eq!(with(&first, &TLS13).send(&one).unwrap().status, 200);
    let second = certify(&here);
    running.until("it has the new certificate", |said| said.contains("there is a new certificate"));
    assert_eq!(with(&second, &TLS13).send(&one).unwrap().status, 200);
    assert!(with(&first, &TLS13).send(&one).is_none());
    running.stop().ended(0);
    let mut expected = [ids, more].concat();
    expected.sort();
    assert_eq!(here.ids("out"), expected);
}

#[test]
fn what_cannot_be_started_with_is_told() {
    let here = waiting("tls = { certificate = \"tls.crt\", key = \"tls.key\" }", PROMPT);
    let ran = here.run(&["run"]);
    assert!(ran.code == Some(64) && ran.said.contains("file `tls.crt` cannot be read"), "{}", ran.said);
    let here = waiting("", PROMPT);
    let ran = here.once();
    assert!(ran.code == Some(1) && ran.said.contains("without an end"), "{}", ran.said);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("type = \"firehose\"\nlisten = \"{}\"", taken.local_addr().unwrap());
    let ran = Here::with("").reading(&listen, PROMPT).run(&["run"]);
    assert!(ran.code == Some(1) && ran.said.contains("it cannot listen on"), "{}", ran.said);
}
