//! The endpoint's certificate: read from files, and again when they change. A new one that cannot be used is said, and the
//! old one goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// A certificate and its key, from two files.
#[derive(Debug)]
pub(super) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
    seen: Mutex<Seen>,
}

/// What the files held at the last looks.
#[derive(Default)]
struct Seen {
    used: Vec<u8>,
    /// What was wrong with them, and whether that was told.
    broken: Option<(String, bool)>,
}

/// The private key is among what was seen.
impl std::fmt::Debug for Seen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Seen")
    }
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be read, or used; in words.
    pub(super) fn open(certificate: PathBuf, key: PathBuf) -> Result<Arc<Certificate>, String> {
        let (certified, used) = read(&certificate, &key)?;
        let seen = Mutex::new(Seen { used, broken: None });
        Ok(Arc::new(Certificate { certificate, key, current: RwLock::new(Arc::new(certified)), seen }))
    }

    /// How connections are spoken to: TLS 1.2 and 1.3, HTTP/1.1.
    ///
    /// # Errors
    /// What the library says; it does not happen for these versions.
    pub(super) fn server(self: &Arc<Certificate>) -> Result<Arc<ServerConfig>, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| error.to_string())?;
        let mut server = server.with_no_client_auth().with_cert_resolver(self.clone());
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(server))
    }

    /// Looks at the files, and takes what is new in them. Returns what there is to say.
    fn look(&self) -> Option<Result<(), String>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match read(&self.certificate, &self.key) {
            Ok((_, bytes)) if bytes == seen.used => {
                seen.broken = None;
                None
            }
            Ok((certified, bytes)) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
                *seen = Seen { used: bytes, broken: None };
                Some(Ok(()))
            }
            // The two files are rarely written at the same moment: what is wrong at one look only is not told.
            Err(error) => match &mut seen.broken {
                Some((before, told)) if *before == error => {
                    (!std::mem::replace(told, true)).then_some(Err(error))
                }
                before => {
                    *before = Some((error, false));
                    None
                }
            },
        }
    }

    /// Looks at the files every few seconds, for ever.
    pub(super) async fn follow(self: Arc<Certificate>, name: String) {
        loop {
            tokio::time::sleep(LOOK).await;
            let certificate = self.clone();
            match tokio::task::spawn_blocking(move || certificate.look()).await {
                Ok(Some(Ok(()))) => {
                    tracing::info!(source = name, "there is a new certificate: it is used from now on")
                }
                Ok(Some(Err(error))) => {
                    tracing::error!(source = name, "{error}: the certificate before it is used on");
                }
                _ => {}
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Reads both files: the certified key, and all bytes of them.
fn read(certificate: &Path, key: &Path) -> Result<(CertifiedKey, Vec<u8>), String> {
    let bytes = |path: &Path, what: &str| {
        fs::read(path).map_err(|error| format!("the {what} {} cannot be read: {error}", path.display()))
    };
    let (chain, private) = (bytes(certificate, "certificate")?, bytes(key, "key")?);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
    let certificates =
        certificates.ok().filter(|certificates| !certificates.is_empty()).ok_or_else(|| {
            format!(
                "there is no certificate in {}: it should be PEM, first the endpoint's own",
                certificate.display()
            )
        })?;
    let secret = PrivateKeyDer::from_pem_slice(&private).map_err(|_| {
        format!("there is no private key in {}: it should be PEM, not encrypted", key.display())
    })?;
    let certified = CertifiedKey::from_der(certificates, secret, &aws_lc_rs::default_provider());
    let certified = certified.map_err(|error| {
        format!(
            "the certificate {} and the key {} cannot be used: {error}",
            certificate.display(),
            key.display()
        )
    })?;
    Ok((certified, [chain, private].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_new_certificate_is_taken_and_a_broken_one_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let open = || Certificate::open(certificate.clone(), key.clone()).map(|_| ()).unwrap_err();
        assert!(open().contains("tls.crt cannot be read"), "{}", open());
        let ((first, first_key), (second, second_key)) = (pair(), pair());
        fs::write(&certificate, &first).unwrap();
        assert!(open().contains("tls.key cannot be read"), "{}", open());
        fs::write(&key, "").unwrap();
        assert!(open().contains("no private key in"), "{}", open());
        fs::write(&key, &second_key).unwrap();
        assert!(open().contains("cannot be used"), "{}", open());
        fs::write(&key, &first_key).unwrap();
        let open = Certificate::open(certificate.clone(), key.clone()).unwrap();
        assert!(open.server().is_ok());
        let now = || open.current.read().unwrap().cert[0].clone();
        let before = now();
        assert_eq!(open.look(), None);
        fs::write(&certificate, &second).unwrap();
        // The key comes a moment later: nothing is wrong.
        assert_eq!((open.look(), now() == before), (None, true));
        fs::write(&key, &second_key).unwrap();
        assert_eq!((open.look(), now() == before), (Some(Ok(())), false));
        fs::write(&certificate, "nonsense").unwrap();
        assert_eq!(open.look(), None);
        assert!(matches!(open.look(), Some(Err(error)) if error.contains("no certificate in")));
        assert_eq!((open.look(), now() == before), (None, false));
        fs::write(&certificate, &second).unwrap();
        assert_eq!(open.look(), None);
    }
}
