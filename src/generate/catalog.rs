//! The calls a tree consists of: what one looks like, how its record is put together, how often it comes.
//!
//! A table of [`Call`]s is a profile. The members of a record stand in CloudTrail's order and only the optional
//! ones come and go, so the presence of members is what makes the different orders of keys.

use super::template::Template;
use super::world::Style;

/// One kind of call: the row of a profile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// Records in ten thousand, shared by the names.
    pub(super) weight: u32,
    /// Event source without `.amazonaws.com`.
    pub(super) source: &'static str,
    /// Event names, `|` between them.
    pub(super) names: &'static str,
    pub(super) style: Style,
    /// The service that called, for `Via` and `Service`.
    pub(super) by: &'static str,
    /// `userIdentity` as a whole, when it is none of a session.
    pub(super) identity: &'static str,
    pub(super) ip: &'static str,
    pub(super) agent: &'static str,
    pub(super) read: bool,
    pub(super) params: &'static str,
    pub(super) response: &'static str,
    pub(super) additional: &'static str,
    pub(super) resources: &'static str,
    pub(super) error: &'static str,
    pub(super) message: &'static str,
    pub(super) request: &'static str,
    pub(super) api: &'static str,
    pub(super) kind: &'static str,
    pub(super) details: &'static str,
    pub(super) shared: bool,
    pub(super) vpce: bool,
    pub(super) tls: bool,
    pub(super) data: bool,
    /// Recorded in us-east-1 only.
    pub(super) home: bool,
    /// Host of `tlsDetails`; empty for the service's own.
    pub(super) host: &'static str,
    /// How many records of it come in a row, at most.
    pub(super) run: u32,
}

/// A call of a program with credentials.
pub(super) const KEY: Call = Call {
    weight: 0,
    source: "",
    names: "",
    style: Style::Key,
    by: "",
    identity: "",
    ip: "<ip>",
    agent: "<agent>",
    read: true,
    params: "null",
    response: "null",
    additional: "",
    resources: "",
    error: "",
    message: "",
    request: "<guid>",
    api: "",
    kind: "AwsApiCall",
    details: "",
    shared: false,
    vpce: false,
    tls: true,
    data: false,
    home: false,
    host: "",
    run: 1,
};

/// A call from the console.
pub(super) const CONSOLE: Call = Call { style: Style::Console, tls: false, ..KEY };

/// A call of a service on behalf of a caller.
pub(super) const VIA: Call = Call { style: Style::Via, by: "AWS Internal", tls: false, ..KEY };

/// A call of a service for itself.
pub(super) const SERVICE: Call =
    Call { style: Style::Service, by: "cloudtrail.amazonaws.com", tls: false, ..KEY };

/// What S3 adds to the record of a management call.
pub(super) const S3_ADDED: &str = r#"{"SignatureVersion":"SigV4","CipherSuite":"ECDHE-RSA-AES128-GCM-SHA256","bytesTransferredIn":0,"AuthenticationMethod":"AuthHeader","x-amz-id-2":"<b64:75>=","bytesTransferredOut":<num:200-900>}"#;
/// What S3 adds to the record of an object call: byte counts are written as doubles.
pub(super) const S3_DATA_ADDED: &str = r#"{"SignatureVersion":"SigV4","CipherSuite":"ECDHE-RSA-AES128-GCM-SHA256","bytesTransferredIn":<num:300-9000>.0,"SSEApplied":"Default_SSE_S3","AuthenticationMethod":"AuthHeader","x-amz-id-2":"<b64:75>=","bytesTransferredOut":<num:0-900>.0}"#;
/// The bucket of a management call.
pub(super) const BUCKET: &str =
    r#"[{"accountId":"<account>","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::<bucket>"}]"#;
/// The object and the bucket of a data event.
pub(super) const OBJECT: &str = r#"[{"type":"AWS::S3::Object","ARN":"arn:aws:s3:::<bucket>/<object>"},{"accountId":"<account>","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::<bucket>"}]"#;
/// The key of a KMS call.
pub(super) const KMS_KEY: &str =
    r#"[{"accountId":"<account>","type":"AWS::KMS::Key","ARN":"arn:aws:kms:<region>:<account>:key/<key>"}]"#;
/// The role that was assumed.
pub(super) const ROLE: &str =
    r#"[{"accountId":"<account>","type":"AWS::IAM::Role","ARN":"arn:aws:iam::<account>:role/<role>"}]"#;
/// STS's answer; the token is made up.
pub(super) const CREDENTIALS: &str = r#"{"credentials":{"accessKeyId":"ASIA<upper:9>EXAMPLE","sessionToken":"IQoJb3JpZ2luX2VjE<b64:1120>","expiration":"<expiry>"},"assumedRoleUser":{"assumedRoleId":"AROA<upper:10>EXAMPLE:<word>","arn":"arn:aws:sts::<account>:assumed-role/<role>/<word>"}}"#;
/// The host of a bucket.
pub(super) const BUCKET_HOST: &str = "<bucket>.s3.<region>.amazonaws.com";

/// A call ready to be rendered.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) template: Template,
    pub(super) style: Style,
    /// The event name, for calls worth telling about.
    pub(super) name: &'static str,
    pub(super) home: bool,
    weight: u32,
    run: u32,
    data: bool,
}

impl Shape {
    /// A shape of its own text, dealt by nobody.
    pub(super) fn single(text: &str, name: &'static str) -> Self {
        Self {
            template: Template::compile(text),
            style: Style::Key,
            name,
            weight: 0,
            run: 1,
            data: false,
            home: false,
        }
    }
}

/// The version of the record that a service writes: services do not move together.
fn version(source: &str) -> &'static str {
    match source {
        "s3" | "kms" | "sts" | "ec2" => "1.11",
        "iam" | "ssm" | "secretsmanager" | "cloudtrail" => "1.10",
        "rds" | "lambda" | "dynamodb" => "1.09",
        _ => "1.08",
    }
}

/// The text of a call's record.
pub(super) fn text(call: &Call, name: &str, fresh: bool) -> String {
    let Call { source, by, .. } = *call;
    let (identity, ip, agent) = match call.style {
        _ if !call.identity.is_empty() => (call.identity.to_owned(), call.ip, call.agent),
        Style::Service => (format!(r#"{{"type":"AWSService","invokedBy":"{by}"}}"#), by, by),
        Style::Via => (format!(r#"<identity>,"invokedBy":"{by}"}}"#), by, by),
        Style::Key | Style::Console => ("<identity>}".to_owned(), call.ip, call.agent),
    };
    let agent = if source == "s3" && agent == "<agent>" { "[<agent>]" } else { agent };
    let params = if fresh { freshened(call.params) } else { call.params.to_owned() };
    let mut text = format!(
        r#"{{"eventVersion":"{}","userIdentity":{identity},"eventTime":"<time>","eventSource":"{source}.amazonaws.com","eventName":"{name}","awsRegion":"<region>","sourceIPAddress":"{ip}","userAgent":"{agent}""#,
        version(source)
    );
    let mut string = |key: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!(r#","{key}":"{value}""#));
        }
    };
    string("errorCode", call.error);
    string("errorMessage", call.message);
    text.push_str(&format!(r#","requestParameters":{params},"responseElements":{}"#, call.response));
    let mut member = |key: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!(r#","{key}":{value}"#));
        }
    };
    let quoted = |value: &str| if value.is_empty() { String::new() } else { format!("\"{value}\"") };
    member("additionalEventData", call.additional);
    member("requestID", &quoted(call.request));
    member("eventID", "\"<id>\"");
    member("readOnly", if call.read { "true" } else { "false" });
    member("resources", call.resources);
    member("eventType", &quoted(call.kind));
    member("apiVersion", &quoted(call.api));
    member("managementEvent", if call.data { "false" } else { "true" });
    member("recipientAccountId", "\"<account>\"");
    member("sharedEventID", if call.shared { "\"<guid>\"" } else { "" });
    member("vpcEndpointId", if call.vpce { "\"<endpoint>\"" } else { "" });
    member("serviceEventDetails", call.details);
    member("eventCategory", if call.data { "\"Data\"" } else { "\"Management\"" });
    if call.tls {
        let host = match (call.host, source) {
            ("", "iam" | "route53" | "organizations" | "cloudfront") => format!("{source}.amazonaws.com"),
            ("", _) => format!("{source}.<region>.amazonaws.com"),
            (host, _) => host.to_owned(),
        };
        member(
            "tlsDetails",
            &format!(
                r#"{{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"{host}"}}"#
            ),
        );
    }
    member(
        "sessionCredentialFromConsole",
        if call.style == Style::Console && !call.request.is_empty() { "\"true\"" } else { "" },
    );
    text.push('}');
    text
}

/// Gives request parameters a place for keys never seen before.
fn freshened(params: &str) -> String {
    match params.strip_prefix('{') {
        Some("}") | None => r#"{<fresh>"none":null}"#.to_owned(),
        Some(rest) => format!("{{<fresh>{rest}"),
    }
}

/// Compiles a table: one shape for each name.
pub(super) fn compile(calls: &[Call], fresh: bool) -> Vec<Shape> {
    let mut shapes = Vec::new();
    for call in calls {
        let names = u32::try_from(call.names.split('|').count()).unwrap_or(1);
        for (i, name) in call.names.split('|').enumerate() {
            let odd = u32::from(u32::try_from(i).unwrap_or(0) < call.weight % names);
            shapes.push(Shape {
                template: Template::compile(&text(call, name, fresh)),
                style: call.style,
                name,
                weight: call.weight / names + odd,
                run: call.run,
                data: call.data,
                home: call.home,
            });
        }
    }
    shapes
}

/// The places of `shapes`, each as often as its weight says, runs kept together.
///
/// `data` moves the share of data events; `home` lets in what is recorded in us-east-1 only.
pub(super) fn deck(shapes: &[Shape], data: Option<f64>, home: bool) -> Vec<Vec<usize>> {
    let weigh =
        |data: bool| shapes.iter().filter(|s| s.data == data).map(|s| f64::from(s.weight)).sum::<f64>();
    let (data_weight, other_weight) = (weigh(true), weigh(false));
    let mut runs = Vec::new();
    for (place, shape) in shapes.iter().enumerate() {
        if shape.home && !home {
            continue;
        }
        let scale = match data {
            None => 1.0,
            Some(share) if shape.data => share * (data_weight + other_weight) / data_weight,
            Some(share) => (1.0 - share) * (data_weight + other_weight) / other_weight,
        };
        let mut left = rounded(f64::from(shape.weight) * scale);
        while left > 0 {
            let run = left.min(shape.run.max(1));
            runs.push(vec![place; run as usize]);
            left -= run;
        }
    }
    runs
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "weights are between 0 and 10,000"
)]
fn rounded(weight: f64) -> u32 {
    weight.round().clamp(0.0, 100_000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::super::{callers, management, mixed, rare};
    use super::*;

    #[test]
    fn weights_are_ten_thousandths() {
        for calls in [management::CALLS, mixed::CALLS] {
            assert_eq!(calls.iter().chain(callers::CALLS).map(|call| call.weight).sum::<u32>(), 10_000);
        }
    }

    #[test]
    fn every_slot_is_known() {
        let mut shapes = compile(management::CALLS, true);
        shapes.extend(compile(mixed::CALLS, false));
        shapes.extend(compile(rare::CALLS, false));
        shapes.extend(compile(callers::CALLS, true));
        shapes.extend(super::super::large::shapes());
        shapes.extend(super::super::kinds::shapes().map(|(_, shape)| shape));
        for shape in shapes {
            let literal = String::from_utf8_lossy(shape.template.literal()).into_owned();
            assert!(!literal.contains('<'), "{literal}");
        }
    }

    #[test]
    fn the_share_of_data_events_can_be_moved() {
        let shapes = compile(mixed::CALLS, false);
        for wanted in [0.0, 0.25, 1.0] {
            let runs = deck(&shapes, Some(wanted), true);
            let places: Vec<usize> = runs.into_iter().flatten().collect();
            let data = places.iter().filter(|&&place| shapes[place].data).count();
            let share = data as f64 / places.len() as f64;
            assert!((share - wanted).abs() < 0.01, "{wanted} {share}");
        }
    }
}
