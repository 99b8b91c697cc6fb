//! The kinds of files beside `CloudTrail`: Insights, network activity, aggregated events.
//!
//! Source: CloudTrail User Guide, record contents for Insights, network activity and aggregated events.

use super::Kind;
use super::catalog::Shape;

const INSIGHT: &str = r#"{"eventVersion":"1.08","eventTime":"<time>","awsRegion":"<region>","eventID":"<id>","eventType":"AwsCloudTrailInsight","recipientAccountId":"<account>","sharedEventID":"<guid>","insightDetails":{"state":"Start","eventSource":"ssm.amazonaws.com","eventName":"DescribeParameters","insightType":"ApiCallRateInsight","insightContext":{"statistics":{"baseline":{"average":9.82222E-5},"insight":{"average":0.<num:1-9>},"insightDuration":<num:1-20>,"baselineDuration":11336},"attributions":[{"attribute":"userIdentityArn","insight":[{"value":"arn:aws:sts::<account>:assumed-role/<role>/<word>","average":0.<num:1-9>}],"baseline":[{"value":"arn:aws:sts::<account>:assumed-role/<role>/<word>","average":0.0000882145}]},{"attribute":"errorCode","insight":[{"value":"null","average":0.6}],"baseline":[{"value":"null","average":0.0000882145}]}]}},"eventCategory":"Insight"}"#;
const NETWORK: &str = r#"{"eventVersion":"1.09","userIdentity":{"type":"AWSAccount","principalId":"AROA<upper:10>EXAMPLE:<word>","accountId":"<account>"},"eventTime":"<time>","eventSource":"s3.amazonaws.com","eventName":"GetObject","awsRegion":"<region>","sourceIPAddress":"10.0.<num:0-255>.<num:1-254>","errorCode":"VpceAccessDenied","errorMessage":"The request was denied due to a VPC endpoint policy","requestID":"<upper:16>","eventID":"<id>","resources":[{"accountId":"<account>","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::<bucket>"}],"eventType":"AwsVpceEvents","recipientAccountId":"<account>","sharedEventID":"<guid>","vpcEndpointId":"<endpoint>","vpcEndpointAccountId":"<account>","eventCategory":"NetworkActivity"}"#;
const AGGREGATED: &str = r#"{"eventVersion":"1.0","accountId":"<account>","eventId":"<id>","eventCategory":"Aggregated","eventType":"AwsAggregatedEvent","awsRegion":"<region>","eventSource":"s3.amazonaws.com","timeWindow":{"windowStart":"<hour>","windowEnd":"<time>","windowSize":"PT5M"},"summary":{"primaryDimension":{"dimension":"eventName","statistics":[{"name":"PutObject","value":<num:10-5000>}],"aggregationType":"Count"},"details":[{"dimension":"resourceARN","statistics":[{"name":"arn:aws:s3:::<bucket>","value":<num:10-900>}],"aggregationType":"Count"}]}}"#;

/// The shapes by kind.
pub(super) fn shapes() -> [(Kind, Shape); 3] {
    [
        (Kind::Insight, Shape::single(INSIGHT, "")),
        (Kind::NetworkActivity, Shape::single(NETWORK, "")),
        (Kind::Aggregated, Shape::single(AGGREGATED, "")),
    ]
}
