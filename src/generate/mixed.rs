//! The profile `mixed`: an account whose buckets are busy; more than half of its records are data events.

use super::catalog::{
    BUCKET, BUCKET_HOST, CONSOLE, CREDENTIALS, Call, KEY, KMS_KEY, OBJECT, ROLE, S3_ADDED, S3_DATA_ADDED,
    SERVICE, VIA,
};

/// An object call of a service.
const OBJECT_CALL: Call = Call {
    source: "s3",
    additional: S3_DATA_ADDED,
    request: "<upper:16>",
    resources: OBJECT,
    shared: true,
    data: true,
    run: 10,
    ..SERVICE
};
const DELIVERY: &str = "delivery.logs.amazonaws.com";
const GET: &str = r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","key":"<object>","x-amz-request-payer":"requester","response-content-type":"application/octet-stream"}"#;
const GET_IF: &str = r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","key":"<object>","response-content-type":"application/octet-stream","If-Match":"\"<hex:32>\""}"#;
const PUT: &str = r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","key":"<object>","x-amz-acl":"bucket-owner-full-control","x-amz-storage-class":"STANDARD","x-amz-checksum-algorithm":"CRC32","x-amz-server-side-encryption":"AES256"}"#;

/// The calls of the profile, in ten thousandths of its records.
pub(super) const CALLS: &[Call] = &[
    // Data events that went well: the commonest order of members.
    Call {
        weight: 1_050,
        names: "GetObject|HeadObject",
        by: "athena.amazonaws.com",
        params: GET,
        ..OBJECT_CALL
    },
    Call { weight: 1_150, names: "GetObject", by: "macie.amazonaws.com", params: GET_IF, ..OBJECT_CALL },
    Call {
        weight: 1_450,
        names: "PutObject",
        read: false,
        params: PUT,
        response: r#"{"x-amz-server-side-encryption":"AES256","x-amz-expiration":"expiry-date=Fri, 15 Jan 2027 00:00:00 GMT"}"#,
        ..OBJECT_CALL
    },
    Call {
        weight: 250,
        names: "DeleteObject",
        by: "s3.amazonaws.com",
        read: false,
        params: GET,
        ..OBJECT_CALL
    },
    // Data events that were refused.
    Call {
        weight: 800,
        names: "PutObject",
        by: DELIVERY,
        read: false,
        error: "AccessDenied",
        message: "Access Denied",
        params: PUT,
        ..OBJECT_CALL
    },
    Call {
        weight: 600,
        names: "PutObject",
        by: "config.amazonaws.com",
        read: false,
        error: "PreconditionFailed",
        message: "At least one of the pre-conditions you specified did not hold: \\\"If-None-Match\\\"",
        params: PUT,
        ..OBJECT_CALL
    },
    // Management calls of services.
    Call {
        weight: 650,
        source: "s3",
        names: "GetBucketAcl|GetBucketPolicy|GetBucketLocation",
        error: "AccessDenied",
        message: "Access Denied",
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","acl":""}"#,
        additional: S3_ADDED,
        request: "<upper:16>",
        resources: BUCKET,
        shared: true,
        run: 6,
        ..SERVICE
    },
    Call {
        weight: 1_175,
        source: "logs",
        names: "CreateLogStream|CreateLogGroup",
        by: DELIVERY,
        read: false,
        error: "ResourceAlreadyExistsException",
        message: "The specified log stream already exists",
        params: r#"{"logGroupName":"/aws/lambda/<function>","logStreamName":"<account>_CloudTrail_<region>_<num:1-9>"}"#,
        run: 6,
        ..SERVICE
    },
    Call {
        weight: 1_000,
        source: "kms",
        names: "GenerateDataKey|Decrypt",
        params: r#"{"keySpec":"AES_256","encryptionContext":{"aws:cloudtrail:arn":"arn:aws:cloudtrail:<region>:<account>:trail/organization","aws:s3:arn":"arn:aws:s3:::<bucket>/AWSLogs/<account>/CloudTrail/<region>"},"keyId":"arn:aws:kms:<region>:<account>:key/<key>"}"#,
        resources: KMS_KEY,
        shared: true,
        run: 6,
        ..SERVICE
    },
    Call {
        weight: 270,
        source: "sts",
        names: "AssumeRole",
        by: "lambda.amazonaws.com",
        params: r#"{"roleArn":"arn:aws:iam::<account>:role/<role>","roleSessionName":"<word>"}"#,
        response: CREDENTIALS,
        resources: ROLE,
        shared: true,
        ..SERVICE
    },
    Call {
        weight: 500,
        source: "logs",
        names: "CreateLogStream|PutRetentionPolicy|CreateExportTask",
        by: DELIVERY,
        read: false,
        params: r#"{"logGroupName":"/aws/lambda/<function>","logStreamName":"<account>_CloudTrail_<region>_<num:1-9>"}"#,
        run: 6,
        ..SERVICE
    },
    Call {
        weight: 180,
        source: "ec2",
        names: "DescribeInstances|DescribeNetworkInterfaces|DescribeVpcs|DescribeSubnets",
        by: "config.amazonaws.com",
        params: r#"{"filterSet":{},"maxResults":1000}"#,
        ..SERVICE
    },
    // Programs and people.
    Call {
        weight: 57,
        source: "ec2",
        names: "DescribeInstances|DescribeSnapshots|DescribeSpotPriceHistory",
        params: r#"{"filterSet":{},"maxResults":100,"nextToken":"<b64:62>\u003d\u003d"}"#,
        ..KEY
    },
    Call {
        weight: 20,
        source: "logs",
        names: "FilterLogEvents|GetLogEvents|StartQuery",
        params: r#"{"logGroupName":"/aws/lambda/<function>","startTime":1.76843<num:1000000-9999999>E12,"limit":100}"#,
        ..KEY
    },
    Call {
        weight: 2,
        source: "ec2",
        names: "DescribeTags",
        params: r#"{"filterSet":{"items":[{"name":"tag:Standort","valueSet":{"items":[{"value":"Zürich Büro 東京"}]}}]}}"#,
        ..KEY
    },
    Call {
        weight: 135,
        source: "ec2",
        names: "DescribeInstances|DescribeSecurityGroups|DescribeVpcs|DescribeSubnets|DescribeSnapshots|DescribeVolumes|DescribeImages|DescribeAddresses|DescribeKeyPairs|DescribeRouteTables|DescribeTags|DescribeNatGateways|DescribeInternetGateways|DescribeNetworkAcls|DescribeAvailabilityZones|DescribeFlowLogs|DescribeLaunchTemplates|DescribeInstanceTypes|DescribeVpcAttribute|DescribeInstanceAttribute|DescribeReservedInstances|DescribePlacementGroups|DescribeVpcPeeringConnections|DescribeEgressOnlyInternetGateways",
        params: r#"{"filterSet":{"items":[{"name":"vpc-id","valueSet":{"items":[{"value":"vpc-0<h0:16>"}]}}]},"maxResults":<num:5-1000>}"#,
        ..KEY
    },
    Call {
        weight: 90,
        source: "iam",
        names: "ListUsers|ListRoles|ListPolicies|GetAccountSummary|ListAccessKeys|GetUser|ListGroups|ListMFADevices|ListAttachedUserPolicies|ListUserPolicies|ListSSHPublicKeys|ListVirtualMFADevices|GetAccountPasswordPolicy|GetCredentialReport|GenerateCredentialReport|ListInstanceProfiles|ListServerCertificates|ListSAMLProviders|ListOpenIDConnectProviders",
        params: r#"{"maxItems":100}"#,
        home: true,
        ..KEY
    },
    Call { weight: 6, source: "sts", names: "GetCallerIdentity", ..KEY },
    Call {
        weight: 130,
        source: "kms",
        names: "DescribeKey|GetKeyPolicy|ListGrants|GetKeyRotationStatus|ListKeyPolicies|ListResourceTags|GetPublicKey",
        params: r#"{"keyId":"<key>"}"#,
        resources: KMS_KEY,
        ..KEY
    },
    Call {
        weight: 80,
        source: "ssm",
        names: "GetParameter|GetParameters|GetParameterHistory",
        params: r#"{"name":"<parameter>","withDecryption":true}"#,
        resources: r#"[{"accountId":"<account>","ARN":"arn:aws:ssm:<region>:<account>:parameter<parameter>"}]"#,
        ..KEY
    },
    Call {
        weight: 160,
        source: "s3",
        names: "GetBucketVersioning|GetBucketTagging|GetBucketEncryption|GetBucketLogging|ListAccessPoints",
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","versioning":""}"#,
        additional: S3_ADDED,
        request: "<upper:16>",
        resources: BUCKET,
        host: BUCKET_HOST,
        ..KEY
    },
    Call {
        weight: 70,
        source: "ec2",
        names: "DescribeInstanceStatus|DescribeRegions|DescribeAccountAttributes|DescribeVpcEndpoints",
        params: r#"{"instancesSet":{},"filterSet":{},"maxResults":1000,"includeAllInstances":false}"#,
        ..CONSOLE
    },
    Call {
        weight: 60,
        source: "kms",
        names: "Decrypt",
        by: "secretsmanager.amazonaws.com",
        params: r#"{"encryptionContext":{"SecretARN":"arn:aws:secretsmanager:<region>:<account>:secret:<secret>","SecretVersionId":"<guid>"},"encryptionAlgorithm":"SYMMETRIC_DEFAULT"}"#,
        resources: KMS_KEY,
        ..VIA
    },
    // Below the ten commonest orders.
    Call {
        weight: 8,
        source: "s3",
        names: "GetObject",
        params: GET_IF,
        additional: S3_DATA_ADDED,
        request: "<upper:16>",
        resources: OBJECT,
        data: true,
        host: BUCKET_HOST,
        ..KEY
    },
    Call {
        weight: 8,
        source: "s3",
        names: "GetObject",
        params: GET,
        additional: S3_DATA_ADDED,
        request: "<upper:16>",
        resources: OBJECT,
        data: true,
        vpce: true,
        host: BUCKET_HOST,
        ..KEY
    },
    Call {
        weight: 8,
        source: "s3",
        names: "ListObjects",
        params: r#"{"list-type":"2","bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","prefix":"","encoding-type":"url"}"#,
        additional: S3_DATA_ADDED,
        request: "<upper:16>",
        resources: r#"[{"type":"AWS::S3::Object","ARNPrefix":"arn:aws:s3:::<bucket>/"},{"accountId":"<account>","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::<bucket>"}]"#,
        error: "NoSuchBucket",
        message: "The specified bucket does not exist",
        data: true,
        host: BUCKET_HOST,
        ..KEY
    },
    Call {
        weight: 6,
        source: "lambda",
        names: "Invoke",
        params: r#"{"functionName":"arn:aws:lambda:<region>:<account>:function:<function>","invocationType":"RequestResponse"}"#,
        additional: r#"{"functionVersion":"$LATEST"}"#,
        resources: r#"[{"accountId":"<account>","type":"AWS::Lambda::Function","ARN":"arn:aws:lambda:<region>:<account>:function:<function>"}]"#,
        data: true,
        tls: false,
        ..KEY
    },
    Call {
        weight: 6,
        source: "dynamodb",
        names: "GetItem|PutItem",
        params: r#"{"tableName":"<table>","key":{"pk":"<word>"}}"#,
        resources: r#"[{"accountId":"<account>","type":"AWS::DynamoDB::Table","ARN":"arn:aws:dynamodb:<region>:<account>:table/<table>"}]"#,
        api: "2012-08-10",
        data: true,
        ..KEY
    },
    Call {
        weight: 6,
        source: "iam",
        names: "GetRole|GetPolicy",
        error: "NoSuchEntityException",
        message: "The role with name <role> cannot be found.",
        params: r#"{"roleName":"<role>"}"#,
        home: true,
        ..KEY
    },
    Call { weight: 6, source: "securityhub", names: "DescribeHub", error: "InvalidAccessException", ..KEY },
    Call { weight: 6, source: "route53", names: "ListHostedZones", api: "2013-04-01", home: true, ..KEY },
    Call {
        weight: 6,
        source: "elasticloadbalancing",
        names: "DescribeLoadBalancers",
        params: r#"{"pageSize":200}"#,
        api: "2012-06-01",
        ..CONSOLE
    },
    Call {
        weight: 6,
        source: "ec2",
        names: "DescribeRegions",
        params: r#"{"regionSet":{},"allRegions":true}"#,
        tls: true,
        ..CONSOLE
    },
    Call {
        weight: 5,
        source: "signin",
        names: "ConsoleLogin",
        identity: r#"{"type":"IAMUser","principalId":"AIDA<upper:10>EXAMPLE","arn":"arn:aws:iam::<account>:user/<user>","accountId":"<account>","userName":"<user>"}"#,
        read: false,
        response: r#"{"ConsoleLogin":"Success"}"#,
        additional: r#"{"LoginTo":"https://<region>.console.aws.amazon.com/console/home?region=<region>&isauthcode=true","MobileVersion":"No","MFAIdentifier":"arn:aws:iam::<account>:mfa/<user>","MFAUsed":"Yes"}"#,
        request: "",
        kind: "AwsConsoleSignIn",
        host: "<region>.signin.aws.amazon.com",
        ..KEY
    },
    Call {
        weight: 4,
        source: "sts",
        names: "AssumeRole",
        by: "rolesanywhere.amazonaws.com",
        params: r#"{"roleArn":"arn:aws:iam::<account>:role/<role>","roleSessionName":"<word>"}"#,
        response: CREDENTIALS,
        resources: ROLE,
        shared: true,
        vpce: true,
        ..SERVICE
    },
    Call {
        weight: 4,
        source: "s3",
        names: "CreateBucket",
        read: false,
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com"}"#,
        additional: S3_ADDED,
        request: "<upper:16>",
        host: BUCKET_HOST,
        ..KEY
    },
    Call {
        weight: 4,
        source: "s3",
        names: "ListBuckets",
        params: r#"{"Host":"s3.<region>.amazonaws.com"}"#,
        additional: S3_ADDED,
        request: "<upper:16>",
        vpce: true,
        ..KEY
    },
    Call {
        weight: 4,
        source: "s3",
        names: "GetBucketPolicyStatus",
        error: "NoSuchBucketPolicy",
        message: "The bucket policy does not exist",
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","policyStatus":""}"#,
        additional: S3_ADDED,
        request: "<upper:16>",
        resources: BUCKET,
        host: BUCKET_HOST,
        ..KEY
    },
    Call {
        weight: 4,
        source: "secretsmanager",
        names: "RotationSucceeded",
        identity: r#"{"accountId":"<account>","invokedBy":"secretsmanager.amazonaws.com"}"#,
        ip: "secretsmanager.amazonaws.com",
        agent: "secretsmanager.amazonaws.com",
        read: false,
        params: r#"{"secretId":"<secret>"}"#,
        additional: r#"{"SecretId":"arn:aws:secretsmanager:<region>:<account>:secret:<secret>"}"#,
        kind: "AwsServiceEvent",
        tls: false,
        ..KEY
    },
];
