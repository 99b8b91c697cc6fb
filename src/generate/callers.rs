//! Calls of every other type of caller and of none, a few in each profile.
//!
//! Source: CloudTrail User Guide, *CloudTrail userIdentity element*.

use super::catalog::{CREDENTIALS, Call, KEY, KMS_KEY, ROLE};

const ASSUMED: &str = r#"{"roleArn":"arn:aws:iam::<account>:role/<role>","roleSessionName":"<word>","principalTags":{"team":"platform"}}"#;

/// The calls, in ten thousandths of a profile's records.
pub(super) const CALLS: &[Call] = &[
    Call {
        weight: 2,
        source: "sts",
        names: "AssumeRoleWithSAML",
        identity: r#"{"type":"SAMLUser","principalId":"<b64:27>=:<user>@example.com","userName":"<user>@example.com","identityProvider":"<b64:27>="}"#,
        params: ASSUMED,
        response: CREDENTIALS,
        resources: ROLE,
        ..KEY
    },
    Call {
        weight: 2,
        source: "sts",
        names: "AssumeRoleWithWebIdentity",
        identity: r#"{"type":"WebIdentityUser","principalId":"arn:aws:iam::<account>:oidc-provider/ci.example.com:sts.amazonaws.com:repo:example/<word>","userName":"repo:example/<word>","identityProvider":"arn:aws:iam::<account>:oidc-provider/ci.example.com"}"#,
        params: ASSUMED,
        response: CREDENTIALS,
        resources: ROLE,
        ..KEY
    },
    Call {
        weight: 2,
        source: "sts",
        names: "AssumeRole",
        identity: r#"{"type":"AWSAccount","principalId":"AROA<upper:10>EXAMPLE:<word>","accountId":"999988887777"}"#,
        params: r#"{"roleArn":"arn:aws:iam::<account>:role/<role>","roleSessionName":"<word>","externalId":"<hex:12>"}"#,
        response: CREDENTIALS,
        resources: ROLE,
        ..KEY
    },
    Call {
        weight: 2,
        source: "sso",
        names: "ListApplications",
        identity: r#"{"type":"IdentityCenterUser","accountId":"<account>","onBehalfOf":{"userId":"<guid>","identityStoreArn":"arn:aws:identitystore::<account>:identitystore/d-<hex:10>"},"credentialId":"<guid>"}"#,
        params: r#"{"maxResults":50}"#,
        ..KEY
    },
    Call {
        weight: 2,
        source: "dynamodb",
        names: "DescribeTable",
        identity: r#"{"type":"FederatedUser","principalId":"<account>:<user>","arn":"arn:aws:sts::<account>:federated-user/<user>","accountId":"<account>","accessKeyId":"ASIA<upper:9>EXAMPLE","sessionContext":{"sessionIssuer":{"type":"IAMUser","principalId":"AIDA<upper:10>EXAMPLE","arn":"arn:aws:iam::<account>:user/broker","accountId":"<account>","userName":"broker"},"attributes":{"mfaAuthenticated":"false","creationDate":"<hour>"}}}"#,
        params: r#"{"tableName":"<table>"}"#,
        ..KEY
    },
    Call {
        weight: 2,
        source: "workmail",
        names: "ListUsers",
        identity: r#"{"type":"Directory","userName":"<user>","accountId":"<account>"}"#,
        params: r#"{"organizationId":"m-<hex:32>"}"#,
        ..KEY
    },
    Call {
        weight: 2,
        source: "ec2",
        names: "DescribeTags",
        identity: r#"{"type":"Role","principalId":"AROA<upper:10>EXAMPLE","arn":"arn:aws:iam::<account>:role/<role>","accountId":"<account>","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROA<upper:10>EXAMPLE","arn":"arn:aws:iam::<account>:role/<role>","accountId":"<account>","userName":"<role>"},"attributes":{"mfaAuthenticated":"false","creationDate":"<hour>"}}}"#,
        params: r#"{"filterSet":{},"maxResults":1000}"#,
        ..KEY
    },
    Call {
        weight: 2,
        source: "cognito-idp",
        names: "InitiateAuth",
        identity: r#"{"type":"Unknown","principalId":"Anonymous"}"#,
        params: r#"{"authFlow":"USER_SRP_AUTH","authParameters":"HIDDEN_DUE_TO_SECURITY_REASONS","clientId":"<hex:26>"}"#,
        ..KEY
    },
    Call {
        weight: 4,
        source: "ec2",
        names: "SharedSnapshotVolumeCreated",
        identity: r#"{"accountId":"<account>","invokedBy":"ec2.amazonaws.com"}"#,
        ip: "ec2.amazonaws.com",
        agent: "ec2.amazonaws.com",
        read: false,
        request: "",
        kind: "AwsServiceEvent",
        shared: true,
        details: r#"{"snapshotId":"snap-0<hex:16>"}"#,
        tls: false,
        ..KEY
    },
    Call {
        weight: 4,
        source: "kms",
        names: "RotateKey",
        identity: r#"{"accountId":"<account>","invokedBy":"AWS Internal"}"#,
        ip: "AWS Internal",
        agent: "AWS Internal",
        read: false,
        request: "",
        resources: KMS_KEY,
        kind: "AwsServiceEvent",
        details: r#"{"keyId":"<key>"}"#,
        tls: false,
        ..KEY
    },
];
