//! Files of certificates and keys that the configuration names: they are there, and hold what they should.

use std::io::ErrorKind;
use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::at::At;
use crate::config::problem::Problem;
use crate::config::{Raw, SinkConfig, SourceConfig, Surroundings, ValueError};

/// Reads every such file.
pub(super) fn check(raw: &Raw, around: &Surroundings<'_>, problems: &mut Vec<Problem>) {
    for named in &raw.sources {
        let Some(SourceConfig::Firehose(config)) = named.config.whole() else { continue };
        if let Some(tls) = &config.tls {
            problems.extend(pair(&tls.certificate, &tls.key, around));
        }
    }
    for named in &raw.sinks {
        let Some(connection) = named.config.whole().and_then(SinkConfig::connection) else { continue };
        if let Some(file) = &connection.ca_file {
            let found = certificates(file, around).and_then(|found| authorities(file, found));
            problems.extend(found.err().map(|error| problem(file, error)));
        }
        if let (Some(certificate), Some(key)) = (&connection.cert_file, &connection.key_file) {
            problems.extend(pair(certificate, key, around));
        }
    }
}

fn problem(file: &At<PathBuf>, error: ValueError) -> Problem {
    Problem::error(file.span(), error.message, error.hint)
}

/// What a file holds, as text.
fn read(file: &At<PathBuf>, around: &Surroundings<'_>) -> Result<String, ValueError> {
    match (around.file)(file.value()) {
        Ok(text) => Ok(text),
        // Certificates in their binary form.
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(String::new()),
        Err(error) => {
            let message = format!("file `{}` cannot be read", file.value().display());
            Err(ValueError::new(message, error.to_string()))
        }
    }
}

fn certificates(
    file: &At<PathBuf>,
    around: &Surroundings<'_>,
) -> Result<Vec<CertificateDer<'static>>, ValueError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(read(file, around)?.as_bytes()).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| {
        let message = format!("there is no certificate in `{}`", file.value().display());
        ValueError::new(message, "it should be PEM: -----BEGIN CERTIFICATE-----")
    })
}

fn authorities(file: &At<PathBuf>, found: Vec<CertificateDer<'static>>) -> Result<(), ValueError> {
    let mut store = RootCertStore::empty();
    found.into_iter().try_for_each(|certificate| store.add(certificate)).map_err(|_| {
        let message = format!("a certificate in `{}` cannot be used", file.value().display());
        ValueError::new(message, "it is damaged or cut: copy it anew")
    })
}

fn private(file: &At<PathBuf>, around: &Surroundings<'_>) -> Result<PrivateKeyDer<'static>, ValueError> {
    PrivateKeyDer::from_pem_slice(read(file, around)?.as_bytes()).map_err(|_| {
        let message = format!("there is no private key in `{}`", file.value().display());
        ValueError::new(message, "it should be PEM, not encrypted: -----BEGIN PRIVATE KEY-----")
    })
}

/// What is wrong with a certificate and its key: with each, or that they do not belong together.
fn pair(certificate: &At<PathBuf>, key: &At<PathBuf>, around: &Surroundings<'_>) -> Vec<Problem> {
    match (certificates(certificate, around), private(key, around)) {
        (Ok(chain), Ok(secret)) => {
            let certified = CertifiedKey::from_der(chain, secret, &aws_lc_rs::default_provider());
            let unfit = certified.err().map(|error| {
                let message = "the certificate and the key do not go together";
                let problem = Problem::error(certificate.span(), message, error.to_string());
                problem.and(key.span(), "the key")
            });
            unfit.into_iter().collect()
        }
        (chain, secret) => {
            let wrong = [(certificate, chain.err()), (key, secret.err())];
            wrong.into_iter().filter_map(|(file, error)| Some(problem(file, error?))).collect()
        }
    }
}
