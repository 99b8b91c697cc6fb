//! Checks the signature of a request, as AWS does: Signature Version 4 in the `Authorization` header.
//!
//! Written from *AWS General Reference, Signature Version 4*, without a line of the SDK's: what it accepts, AWS would.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// Whether a request without a body was signed with this secret; else the code that S3 answers with.
pub(crate) fn check(head: &str, secret: &str) -> Result<(), &'static str> {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let by = headers.get("authorization").ok_or("AccessDenied")?;
    let by = by.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("InvalidRequest")?;
    let parts: BTreeMap<&str, &str> = by.split(',').filter_map(|part| part.trim().split_once('=')).collect();
    let part = |name: &str| parts.get(name).copied().ok_or("InvalidRequest");
    let scope = part("Credential")?.split_once('/').map(|(_, scope)| scope).ok_or("InvalidRequest")?;
    let [day, region, service, end] = scope.split('/').collect::<Vec<_>>()[..] else {
        return Err("InvalidRequest");
    };
    let signed: Vec<&str> = part("SignedHeaders")?.split(';').collect();
    // What decides about the answer has to be signed.
    let must = |name: &&String| *name == "host" || name.starts_with("x-amz-");
    if !headers.keys().filter(must).all(|name| signed.contains(&name.as_str())) {
        return Err("AccessDenied");
    }
    let value = |name: &str| headers.get(name).map_or("", String::as_str);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut query: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    query.sort();
    let canonical = [
        method.to_owned(),
        path.to_owned(),
        query.join("&"),
        signed.iter().map(|name| format!("{name}:{}\n", value(name))).collect(),
        signed.join(";"),
        value("x-amz-content-sha256").to_owned(),
    ];
    let at = value("x-amz-date");
    if !at.starts_with(day) {
        return Err("InvalidRequest");
    }
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&Sha256::digest(canonical.join("\n"))));
    let key = [day, region, service, end]
        .iter()
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part.as_bytes()));
    if hex(&mac(&key, text.as_bytes())) == part("Signature")? { Ok(()) } else { Err("SignatureDoesNotMatch") }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The example of *Authenticating Requests: Using the Authorization Header* in S3's API reference: GET Object.
#[test]
fn the_example_of_the_reference_is_accepted_and_no_other() {
    let head = "GET /test.txt HTTP/1.1\r\nHost: examplebucket.s3.amazonaws.com\r\nRange: bytes=0-9\r\n\
        x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n\
        x-amz-date: 20130524T000000Z\r\n\
        Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
        SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
        Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41\r\n\r\n";
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    assert_eq!(check(head, secret), Ok(()));
    assert_eq!(check(head, "another"), Err("SignatureDoesNotMatch"));
    assert_eq!(check(&head.replace("/test.txt", "/other.txt"), secret), Err("SignatureDoesNotMatch"));
    assert_eq!(check(&head.replace("0-9", "0-8"), secret), Err("SignatureDoesNotMatch"));
    assert_eq!(check("GET / HTTP/1.1\r\nHost: x\r\n\r\n", secret), Err("AccessDenied"));
}
