//! Records far above the usual size: long lists in answers and long strings in requests.

use super::catalog::{Call, KEY, Shape, text};

const FINDING: &str = r#"{"name":"CVE-2025-<num:1000-49999>","description":"A flaw was found in the way the library handles lengths of names; a crafted name may read past the end of a buffer.","uri":"https://security.example.org/CVE-2025-<num:1000-49999>","severity":"MEDIUM","attributes":[{"key":"package_name","value":"<word>"},{"key":"package_version","value":"1.<num:0-40>.<num:0-9>-1"},{"key":"CVSS2_SCORE","value":"4.3"}]}"#;
const INSTANCE: &str = r#"{"instanceId":"i-0<hex:16>","imageId":"ami-0<h0:16>","instanceState":{"code":0,"name":"pending"},"privateDnsName":"ip-10-0-<num:0-255>-<num:1-254>.ec2.internal","keyName":"<word>","amiLaunchIndex":<num:0-99>,"productCodes":{},"instanceType":"m6i.large","placement":{"availabilityZone":"<region>a","tenancy":"default"},"monitoring":{"state":"disabled"},"subnetId":"subnet-0<h1:16>","vpcId":"vpc-0<h0:16>","stateReason":{"code":"pending","message":"pending"},"architecture":"x86_64","rootDeviceType":"ebs","rootDeviceName":"/dev/xvda","virtualizationType":"hvm","hypervisor":"xen","ebsOptimized":false}"#;
const STATEMENT: &str = r#"{\"Sid\":\"<word><num:1-999>\",\"Effect\":\"Allow\",\"Action\":[\"s3:GetObject\",\"s3:PutObject\"],\"Resource\":\"arn:aws:s3:::<bucket>/<num:1-99999>/*\"}"#;

/// The shapes, of some 31 to 200 kB each.
pub(super) fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for items in [90, 140, 480] {
        let response = format!(
            r#"{{"registryId":"<account>","repositoryName":"<word>","imageScanFindings":{{"findings":[{}],"findingSeverityCounts":{{"MEDIUM":{items}}}}}}}"#,
            repeated(FINDING, items)
        );
        let head = Call { source: "ecr", params: r#"{"repositoryName":"<word>","maxResults":1000}"#, ..KEY };
        shapes.push(answered(&head, "DescribeImageScanFindings", &response));
    }
    for items in [60, 100] {
        let response = format!(
            r#"{{"requestId":"<guid>","reservationId":"r-0<hex:16>","ownerId":"<account>","instancesSet":{{"items":[{}]}}}}"#,
            repeated(INSTANCE, items)
        );
        let head = Call { source: "ec2", read: false, params: r#"{"instanceType":"m6i.large"}"#, ..KEY };
        shapes.push(answered(&head, "RunInstances", &response));
    }
    let document = format!(
        r#"{{"policyName":"<word>","policyDocument":"{{\"Version\":\"2012-10-17\",\"Statement\":[{}]}}"}}"#,
        repeated(STATEMENT, 240)
    );
    let head = Call { source: "s3control", read: false, params: "\u{1}", ..KEY };
    shapes.push(Shape::single(
        &text(&head, "PutAccessGrantsInstanceResourcePolicy", false).replace('\u{1}', &document),
        "",
    ));
    shapes
}

fn answered(call: &Call, name: &'static str, response: &str) -> Shape {
    let call = Call { response: "\u{1}", ..*call };
    Shape::single(&text(&call, name, false).replace('\u{1}', response), "")
}

fn repeated(item: &str, times: usize) -> String {
    vec![item; times].join(",")
}
