//! The security plugin: its jars, its configuration, a certificate.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ARTIFACT: &str = "org.opensearch.plugin:opensearch-security:2.19.1.0:zip";
/// The class that is the plugin.
pub(super) const PLUGIN: &str = "org.opensearch.security.OpenSearchSecurityPlugin";
/// `admin`/`admin`, as the plugin's own users have it.
pub(super) const ADMIN: &str = "Basic YWRtaW46YWRtaW4=";

/// The class path with the plugin's jars.
pub(super) fn installed(home: &Path, class_path: &str) -> Result<String, String> {
    let folder = unpacked(home)?;
    // A class path with one artifact in two versions does not start.
    let artifact = |jar: &Path| -> Option<String> {
        let name = jar.file_stem()?.to_str()?;
        let cut =
            name.match_indices('-').find(|(at, _)| name[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
        Some(cut.map_or(name, |(at, _)| &name[..at]).to_owned())
    };
    let known: HashSet<String> = class_path.split(':').filter_map(|jar| artifact(Path::new(jar))).collect();
    let mut all = class_path.to_owned();
    let mut jars: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    jars.sort();
    for jar in jars.iter().filter(|jar| jar.extension().is_some_and(|ending| ending == "jar")) {
        if artifact(jar).is_some_and(|artifact| !known.contains(&artifact)) {
            all.push(':');
            all.push_str(jar.to_str().unwrap_or_default());
        }
    }
    Ok(all)
}

/// The plugin's files, fetched where they are missing.
fn unpacked(home: &Path) -> Result<PathBuf, String> {
    let folder = home.join("security");
    if folder.join("done").exists() {
        return Ok(folder);
    }
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let to = format!("-DoutputDirectory={}", folder.display());
    super::maven(home, &["dependency:copy", &format!("-Dartifact={ARTIFACT}"), &to])?;
    let jar = super::Version::TwoSecured.java()?.with_file_name("jar");
    let packed = folder.join("opensearch-security-2.19.1.0.zip");
    let output = Command::new(jar).arg("xf").arg(packed).current_dir(&folder).output();
    let output = output.map_err(|error| format!("jar: {error}"))?;
    if !output.status.success() {
        return Err(format!("jar: {}", String::from_utf8_lossy(&output.stderr)));
    }
    fs::write(folder.join("done"), "").map_err(|error| error.to_string())?;
    Ok(folder)
}

/// Puts a node's configuration into its folder.
pub(super) fn configure(home: &Path) -> Result<(), String> {
    let config = home.join("node_1/config");
    let own = config.join("opensearch-security");
    let words = |error: std::io::Error| error.to_string();
    fs::create_dir_all(&own).map_err(words)?;
    let shipped = super::tmp().join("opensearch-2/security/config");
    for entry in fs::read_dir(shipped).map_err(words)?.flatten() {
        fs::copy(entry.path(), own.join(entry.file_name())).map_err(words)?;
    }
    let key = rcgen::KeyPair::generate().map_err(|error| error.to_string())?;
    let mut certificate = rcgen::CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])
        .map_err(|error| error.to_string())?;
    certificate.distinguished_name = rcgen::DistinguishedName::new();
    certificate.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    let certificate = certificate.self_signed(&key).map_err(|error| error.to_string())?;
    fs::write(config.join("node.pem"), certificate.pem()).map_err(words)?;
    fs::write(config.join("node.key"), key.serialize_pem()).map_err(words)?;
    let mut text = String::new();
    for side in ["transport", "http"] {
        let ssl = format!("plugins.security.ssl.{side}");
        text.push_str(&format!(
            "{ssl}.pemcert_filepath: node.pem\n{ssl}.pemkey_filepath: node.key\n{ssl}.pemtrustedcas_filepath: node.pem\n"
        ));
    }
    text.push_str(
        "plugins.security.ssl.transport.enforce_hostname_verification: false\n\
         plugins.security.ssl.http.enabled: true\n\
         plugins.security.allow_default_init_securityindex: true\n\
         plugins.security.restapi.roles_enabled: [\"all_access\"]\n\
         plugins.security.nodes_dn: [\"CN=localhost\"]\n",
    );
    fs::write(config.join("opensearch.yml"), text).map_err(words)
}
