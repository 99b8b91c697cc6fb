//! Events a security team must never lose: a few among very many, so that rules have something to find.
//!
//! Names and members follow the CloudTrail and the S3 user guides and the rules people publish for them.

use super::catalog::{BUCKET, BUCKET_HOST, CREDENTIALS, Call, KEY, KMS_KEY, ROLE, S3_ADDED};

const ROOT: &str = r#"{"type":"Root","principalId":"<account>","arn":"arn:aws:iam::<account>:root","accountId":"<account>","accessKeyId":""}"#;
const USER: &str = r#"{"type":"IAMUser","principalId":"AIDA<upper:10>EXAMPLE","arn":"arn:aws:iam::<account>:user/<user>","accountId":"<account>","userName":"<user>"}"#;
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0";
const LOGIN: Call = Call {
    source: "signin",
    names: "ConsoleLogin",
    identity: USER,
    agent: BROWSER,
    read: false,
    request: "",
    kind: "AwsConsoleSignIn",
    host: "<region>.signin.aws.amazon.com",
    ..KEY
};
const WRITE: Call = Call { read: false, ..KEY };
const S3_WRITE: Call = Call {
    source: "s3",
    read: false,
    additional: S3_ADDED,
    request: "<upper:16>",
    resources: BUCKET,
    host: BUCKET_HOST,
    ..KEY
};

/// The events, each as likely as any other.
pub(super) const CALLS: &[Call] = &[
    Call {
        message: "Failed authentication",
        response: r#"{"ConsoleLogin":"Failure"}"#,
        additional: r#"{"LoginTo":"https://console.aws.amazon.com/console/home?isauthcode=true","MobileVersion":"No","MFAUsed":"No"}"#,
        ..LOGIN
    },
    Call {
        identity: r#"{"type":"IAMUser","accountId":"<account>","accessKeyId":"","userName":"HIDDEN_DUE_TO_SECURITY_REASONS"}"#,
        message: "No username found in supplied account",
        response: r#"{"ConsoleLogin":"Failure"}"#,
        additional: r#"{"LoginTo":"https://console.aws.amazon.com/console/home?isauthcode=true","MobileVersion":"No","MFAUsed":"No"}"#,
        ..LOGIN
    },
    Call {
        response: r#"{"ConsoleLogin":"Success"}"#,
        additional: r#"{"LoginTo":"https://console.aws.amazon.com/console/home?isauthcode=true","MobileVersion":"No","MFAUsed":"No"}"#,
        ..LOGIN
    },
    Call {
        identity: ROOT,
        response: r#"{"ConsoleLogin":"Success"}"#,
        additional: r#"{"LoginTo":"https://console.aws.amazon.com/console/home?isauthcode=true","MobileVersion":"No","MFAUsed":"No"}"#,
        home: true,
        ..LOGIN
    },
    Call {
        source: "sts",
        names: "AssumeRole",
        params: r#"{"roleArn":"arn:aws:iam::<account>:role/<role>","roleSessionName":"<word>","durationSeconds":3600}"#,
        response: CREDENTIALS,
        resources: ROLE,
        ..KEY
    },
    Call {
        source: "sts",
        names: "AssumeRole",
        error: "AccessDenied",
        message: "User: arn:aws:iam::<account>:user/<user> is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::<account>:role/<role>",
        ..KEY
    },
    Call {
        source: "ec2",
        names: "DescribeInstances|StopInstances|CreateKeyPair",
        error: "Client.UnauthorizedOperation",
        message: "You are not authorized to perform this operation. Encoded authorization failure message: <b64:240>",
        params: r#"{"instancesSet":{"items":[{"instanceId":"<instance>"}]},"filterSet":{}}"#,
        ..WRITE
    },
    Call {
        source: "iam",
        names: "CreateAccessKey",
        params: r#"{"userName":"<user>"}"#,
        response: r#"{"accessKey":{"userName":"<user>","accessKeyId":"AKIA<upper:9>EXAMPLE","status":"Active","createDate":"<expiry>"}}"#,
        home: true,
        ..WRITE
    },
    Call {
        source: "iam",
        names: "CreateAccessKey",
        identity: ROOT,
        agent: BROWSER,
        response: r#"{"accessKey":{"accessKeyId":"AKIA<upper:9>EXAMPLE","status":"Active","createDate":"<expiry>"}}"#,
        home: true,
        ..WRITE
    },
    Call {
        source: "iam",
        names: "CreateUser|CreateLoginProfile|DeactivateMFADevice",
        params: r#"{"userName":"<user>"}"#,
        home: true,
        ..WRITE
    },
    Call {
        source: "iam",
        names: "AttachUserPolicy",
        params: r#"{"userName":"<user>","policyArn":"arn:aws:iam::aws:policy/AdministratorAccess"}"#,
        home: true,
        ..WRITE
    },
    Call {
        source: "iam",
        names: "AttachUserPolicy",
        params: r#"{"userName":"<user>","policyArn":"arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV3"}"#,
        home: true,
        ..WRITE
    },
    Call {
        source: "iam",
        names: "PutUserPolicy",
        params: r#"{"userName":"<user>","policyName":"everything","policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}]}"}"#,
        home: true,
        ..WRITE
    },
    Call {
        names: "PutBucketPolicy",
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","bucketPolicy":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::<bucket>/*"}]},"policy":""}"#,
        ..S3_WRITE
    },
    Call {
        names: "PutBucketPolicy",
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","bucketPolicy":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"*\"},\"Action\":\"s3:*\",\"Resource\":\"arn:aws:s3:::<bucket>/*\"}]}","policy":""}"#,
        ..S3_WRITE
    },
    Call {
        names: "PutBucketPublicAccessBlock",
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","publicAccessBlock":"","PublicAccessBlockConfiguration":{"xmlns":"http://s3.amazonaws.com/doc/2006-03-01/","BlockPublicAcls":false,"IgnorePublicAcls":false,"BlockPublicPolicy":false,"RestrictPublicBuckets":false}}"#,
        ..S3_WRITE
    },
    Call {
        names: "PutBucketAcl",
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","acl":"","x-amz-acl":["public-read"]}"#,
        ..S3_WRITE
    },
    Call {
        source: "ec2",
        names: "AuthorizeSecurityGroupIngress",
        params: r#"{"groupId":"sg-0<h0:16>","ipPermissions":{"items":[{"ipProtocol":"tcp","fromPort":22,"toPort":22,"groups":{},"ipRanges":{"items":[{"cidrIp":"0.0.0.0/0"}]},"ipv6Ranges":{},"prefixListIds":{}}]}}"#,
        response: r#"{"requestId":"<guid>","_return":true,"securityGroupRuleSet":{"items":[{"groupOwnerId":"<account>","groupId":"sg-0<h0:16>","securityGroupRuleId":"sgr-0<hex:16>","isEgress":false,"ipProtocol":"tcp","fromPort":22,"toPort":22,"cidrIpv4":"0.0.0.0/0"}]}}"#,
        ..WRITE
    },
    Call {
        source: "ec2",
        names: "AuthorizeSecurityGroupIngress",
        params: r#"{"groupId":"sg-0<h0:16>","ipPermissions":{"items":[{"ipProtocol":"-1","groups":{},"ipRanges":{},"ipv6Ranges":{"items":[{"cidrIpv6":"::/0"}]},"prefixListIds":{}}]}}"#,
        response: r#"{"requestId":"<guid>","_return":true}"#,
        ..WRITE
    },
    Call {
        source: "ec2",
        names: "ModifySnapshotAttribute",
        params: r#"{"snapshotId":"snap-0<hex:16>","createVolumePermission":{"add":{"items":[{"group":"all"}]}},"attributeType":"CREATE_VOLUME_PERMISSION"}"#,
        response: r#"{"requestId":"<guid>","_return":true}"#,
        ..WRITE
    },
    Call {
        source: "secretsmanager",
        names: "GetSecretValue",
        params: r#"{"secretId":"arn:aws:secretsmanager:<region>:<account>:secret:<secret>"}"#,
        ..KEY
    },
    Call { source: "ec2", names: "GetPasswordData", params: r#"{"instanceId":"<instance>"}"#, ..KEY },
    Call {
        source: "ec2",
        names: "RunInstances",
        params: r#"{"instancesSet":{"items":[{"imageId":"ami-0<hex:16>","minCount":1,"maxCount":8,"keyName":"<word>"}]},"instanceType":"p4d.24xlarge","userData":"\u003csensitiveDataRemoved\u003e","blockDeviceMapping":{},"monitoring":{"enabled":false},"disableApiTermination":false}"#,
        response: r#"{"requestId":"<guid>","reservationId":"r-0<hex:16>","ownerId":"<account>","instancesSet":{"items":[{"instanceId":"i-0<hex:16>","imageId":"ami-0<hex:16>","instanceState":{"code":0,"name":"pending"},"instanceType":"p4d.24xlarge"}]}}"#,
        ..WRITE
    },
    Call {
        source: "cloudtrail",
        names: "StopLogging|DeleteTrail",
        params: r#"{"name":"arn:aws:cloudtrail:<region>:<account>:trail/organization"}"#,
        ..WRITE
    },
    Call { source: "guardduty", names: "DeleteDetector", params: r#"{"detectorId":"<hex:32>"}"#, ..WRITE },
    Call {
        source: "cloudtrail",
        names: "PutEventSelectors",
        params: r#"{"trailName":"organization","eventSelectors":[{"readWriteType":"WriteOnly","includeManagementEvents":false,"dataResources":[],"excludeManagementEventSources":[]}]}"#,
        ..WRITE
    },
    Call {
        source: "config",
        names: "StopConfigurationRecorder|DeleteDeliveryChannel",
        params: r#"{"configurationRecorderName":"default"}"#,
        ..WRITE
    },
    Call { source: "securityhub", names: "DisableSecurityHub", ..WRITE },
    Call {
        source: "ec2",
        names: "DeleteFlowLogs",
        params: r#"{"DeleteFlowLogsRequest":{"FlowLogId":{"tag":1,"content":"fl-0<hex:16>"}}}"#,
        response: r#"{"DeleteFlowLogsResponse":{"unsuccessful":"","requestId":"<guid>"}}"#,
        ..WRITE
    },
    Call {
        source: "ec2",
        names: "ModifyImageAttribute",
        params: r#"{"imageId":"ami-0<hex:16>","launchPermission":{"add":{"items":[{"group":"all"}]}},"attributeType":"launchPermission"}"#,
        response: r#"{"requestId":"<guid>","_return":true}"#,
        ..WRITE
    },
    Call {
        source: "iam",
        names: "UpdateAssumeRolePolicy",
        params: r#"{"roleName":"<role>","policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::999988887777:root\"},\"Action\":\"sts:AssumeRole\"}]}"}"#,
        home: true,
        ..WRITE
    },
    Call {
        source: "lambda",
        names: "AddPermission20150331v2",
        params: r#"{"functionName":"<function>","statementId":"open","principal":"*","action":"lambda:InvokeFunction"}"#,
        ..WRITE
    },
    Call {
        names: "PutBucketLifecycle",
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","lifecycle":"","LifecycleConfiguration":{"xmlns":"http://s3.amazonaws.com/doc/2006-03-01/","Rule":{"ID":"clean","Status":"Enabled","Filter":{"Prefix":""},"Expiration":{"Days":1}}}}"#,
        ..S3_WRITE
    },
    Call { source: "organizations", names: "LeaveOrganization", home: true, ..WRITE },
    Call {
        source: "kms",
        names: "ScheduleKeyDeletion|DisableKey",
        params: r#"{"keyId":"<key>","pendingWindowInDays":7}"#,
        resources: KMS_KEY,
        ..WRITE
    },
    Call { source: "iam", names: "GetAccountSummary", identity: ROOT, agent: BROWSER, home: true, ..KEY },
];
