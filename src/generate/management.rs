//! The profile `management`: an account where infrastructure is built and looked at, management events only.

use super::catalog::{
    BUCKET, BUCKET_HOST, CONSOLE, CREDENTIALS, Call, KEY, KMS_KEY, ROLE, S3_ADDED, SERVICE, VIA,
};

const SECRET: &str =
    r#"[{"accountId":"<account>","ARN":"arn:aws:secretsmanager:<region>:<account>:secret:<secret>"}]"#;
const PARAMETER: &str =
    r#"[{"accountId":"<account>","ARN":"arn:aws:ssm:<region>:<account>:parameter<parameter>"}]"#;
const S3_CALL: Call = Call {
    source: "s3",
    additional: S3_ADDED,
    request: "<upper:16>",
    resources: BUCKET,
    host: BUCKET_HOST,
    run: 3,
    ..KEY
};

/// The calls of the profile, in ten thousandths of its records.
pub(super) const CALLS: &[Call] = &[
    // Programs with credentials: the commonest order of members.
    Call { weight: 560, source: "iam", names: "GetUser", home: true, run: 3, ..KEY },
    Call {
        weight: 567,
        source: "iam",
        names: "GetRole|ListRolePolicies|ListAttachedRolePolicies|ListInstanceProfilesForRole|ListRoleTags|GetRolePolicy",
        params: r#"{"roleName":"<role>"}"#,
        home: true,
        run: 4,
        ..KEY
    },
    Call {
        weight: 200,
        source: "iam",
        names: "GetPolicy|GetPolicyVersion|ListPolicyVersions|ListEntitiesForPolicy|ListPolicyTags|ListGroupsForUser|ListAttachedUserPolicies|ListUserPolicies|ListMFADevices|ListSigningCertificates|ListSSHPublicKeys|ListAccessKeys|GetAccountPasswordPolicy|ListAccountAliases|GetInstanceProfile|ListPolicies|ListRoles|ListUsers|ListGroups",
        params: r#"{"policyArn":"arn:aws:iam::<account>:policy/<word>-policy"}"#,
        home: true,
        run: 3,
        ..KEY
    },
    Call {
        weight: 405,
        source: "ec2",
        names: "DescribeRouteTables",
        params: r#"{"routeTableIdSet":{},"filterSet":{"items":[{"name":"association.route-table-association-id","valueSet":{"items":[{"value":"rtbassoc-0<hex:16>"}]}}]}}"#,
        run: 6,
        ..KEY
    },
    Call {
        weight: 5,
        source: "ec2",
        names: "DescribeTags",
        params: r#"{"filterSet":{"items":[{"name":"tag:Standort","valueSet":{"items":[{"value":"Zürich Büro 東京"}]}}]}}"#,
        ..KEY
    },
    Call {
        weight: 15,
        source: "monitoring",
        names: "GetMetricData|DescribeAlarms|ListMetrics",
        params: r#"{"startTime":1.76843<num:1000000-9999999>E9,"maxDatapoints":100,"nextToken":"<b64:42>\u003d"}"#,
        ..KEY
    },
    Call {
        weight: 384,
        source: "ec2",
        names: "DescribeVpcs|DescribeVpcClassicLink|DescribeVpcClassicLinkDnsSupport|DescribeDhcpOptions",
        params: r#"{"vpcSet":{"items":[{"vpcId":"vpc-0<h0:16>"}]},"filterSet":{}}"#,
        run: 4,
        ..KEY
    },
    Call {
        weight: 220,
        source: "ec2",
        names: "DescribeVpcAttribute",
        params: r#"{"vpcId":"vpc-0<h0:16>","attribute":"enableDnsSupport"}"#,
        run: 4,
        ..KEY
    },
    Call {
        weight: 760,
        source: "ec2",
        names: "DescribeSubnets|DescribeNatGateways|DescribeSecurityGroups|DescribeInternetGateways|DescribeNetworkAcls|DescribeAddresses|DescribeNetworkInterfaces|DescribeInstances|DescribeVolumes|DescribeImages|DescribeSnapshots|DescribeAvailabilityZones|DescribeKeyPairs|DescribeTags|DescribeLaunchTemplates|DescribeInstanceTypes|DescribeFlowLogs|DescribePrefixLists|DescribeVpcPeeringConnections|DescribePlacementGroups|DescribeReservedInstances|DescribeSpotInstanceRequests|DescribeEgressOnlyInternetGateways|DescribeManagedPrefixLists|DescribeIamInstanceProfileAssociations|DescribeVolumesModifications|DescribeLaunchTemplateVersions|DescribeInstanceTypeOfferings",
        params: r#"{"filterSet":{"items":[{"name":"vpc-id","valueSet":{"items":[{"value":"vpc-0<h0:16>"}]}}]},"maxResults":<num:5-1000>}"#,
        run: 3,
        ..KEY
    },
    Call {
        weight: 270,
        source: "ec2",
        names: "DescribeInstanceAttribute|DescribeInstanceStatus|DescribeInstanceCreditSpecifications|GetConsoleOutput",
        params: r#"{"instancesSet":{"items":[{"instanceId":"<instance>"}]},"filterSet":{},"includeAllInstances":false}"#,
        run: 3,
        ..KEY
    },
    Call {
        weight: 450,
        source: "ssm",
        names: "DescribeParameters",
        params: r#"{"parameterFilters":[{"key":"Name","option":"Equals","values":["<parameter>"]}]}"#,
        run: 4,
        ..KEY
    },
    Call {
        weight: 250,
        source: "secretsmanager",
        names: "GetSecretValue|DescribeSecret|GetResourcePolicy|ListSecretVersionIds",
        params: r#"{"secretId":"arn:aws:secretsmanager:<region>:<account>:secret:<secret>"}"#,
        run: 4,
        ..KEY
    },
    Call { weight: 60, source: "sts", names: "GetCallerIdentity", run: 1, ..KEY },
    Call {
        weight: 220,
        source: "rds",
        names: "DescribeDBInstances|DescribeDBSnapshots|DescribeDBClusters|DescribeDBSubnetGroups|ListTagsForResource|DescribeDBParameters|DescribeDBEngineVersions|DescribeDBParameterGroups|DescribeOptionGroups|DescribeEvents|DescribePendingMaintenanceActions|DescribeDBClusterSnapshots|DescribeDBLogFiles|DescribeCertificates|DescribeGlobalClusters|DescribeReservedDBInstances|DescribeDBSnapshotAttributes",
        params: r#"{"dBInstanceIdentifier":"<word>-database"}"#,
        run: 3,
        ..KEY
    },
    Call {
        weight: 135,
        source: "cloudtrail",
        names: "DescribeTrails|GetTrailStatus|GetEventSelectors|ListTags|GetInsightSelectors",
        params: r#"{"trailName":"arn:aws:cloudtrail:<region>:<account>:trail/organization"}"#,
        ..KEY
    },
    Call {
        weight: 130,
        source: "lambda",
        names: "GetFunction20150331v2|GetPolicy20150331v2|ListVersionsByFunction20150331|GetFunctionCodeSigningConfig|ListFunctions20150331|GetFunctionConfiguration20150331v2|ListEventSourceMappings20150331|ListLayers20181031|ListAliases20150331|GetAccountSettings20160819",
        params: r#"{"functionName":"<function>"}"#,
        ..KEY
    },
    Call {
        weight: 80,
        source: "logs",
        names: "DescribeLogGroups|ListTagsLogGroup|DescribeMetricFilters|DescribeLogStreams|DescribeSubscriptionFilters|DescribeResourcePolicies|DescribeDestinations|DescribeExportTasks|DescribeQueries",
        params: r#"{"logGroupNamePrefix":"/aws/lambda/<function>"}"#,
        ..KEY
    },
    Call {
        weight: 190,
        source: "ec2",
        names: "CreateVpc",
        read: false,
        params: r#"{"cidrBlock":"10.<num:0-200>.0.0/16","instanceTenancy":"default","amazonProvidedIpv6CidrBlock":false,"tagSpecificationSet":{"items":[{"resourceType":"vpc","tags":[{"key":"Name","value":"<word>-vpc"}]}]}}"#,
        response: r#"{"requestId":"<guid>","vpc":{"vpcId":"vpc-0<h0:16>","ownerId":"<account>","state":"pending","cidrBlock":"10.0.0.0/16","cidrBlockAssociationSet":{"items":[{"cidrBlock":"10.0.0.0/16","associationId":"vpc-cidr-assoc-0<hex:16>","cidrBlockState":{"state":"associated"}}]},"ipv6CidrBlockAssociationSet":{},"dhcpOptionsId":"dopt-0<hex:8>","instanceTenancy":"default","tagSet":{"items":[{"key":"Name","value":"<word>-vpc"}]},"isDefault":false}}"#,
        ..KEY
    },
    Call {
        weight: 220,
        source: "ec2",
        names: "CreateTags|DeleteTags|ModifyVpcAttribute|AssociateRouteTable|DetachInternetGateway|DeleteSecurityGroup|RevokeSecurityGroupEgress|TerminateInstances|CreateSubnet|DeleteSubnet|CreateRouteTable|DeleteRouteTable|CreateInternetGateway|DeleteInternetGateway|ReleaseAddress|AllocateAddress|DeleteNatGateway|DeleteVpc|CreateSecurityGroup|StartInstances|StopInstances|CreateVolume|DeleteVolume|AttachVolume|DetachVolume",
        read: false,
        params: r#"{"resourcesSet":{"items":[{"resourceId":"<instance>"}]},"tagSet":{"items":[{"key":"Name","value":"<word>-host"},{"key":"owner","value":"platform"}]}}"#,
        response: r#"{"requestId":"<guid>","_return":true}"#,
        ..KEY
    },
    Call {
        weight: 80,
        source: "iam",
        names: "CreateRole|UpdateAssumeRolePolicy|PutRolePolicy|CreatePolicy",
        read: false,
        params: r#"{"roleName":"<role>","assumeRolePolicyDocument":"{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [\n    {\n      \"Effect\": \"Allow\",\n      \"Principal\": {\"Service\": \"ec2.amazonaws.com\"},\n      \"Action\": \"sts:AssumeRole\"\n    }\n  ]\n}"}"#,
        response: r#"{"role":{"path":"/","roleName":"<role>","roleId":"AROA<upper:10>EXAMPLE","arn":"arn:aws:iam::<account>:role/<role>"}}"#,
        home: true,
        ..KEY
    },
    Call {
        weight: 180,
        source: "iam",
        names: "DeleteRole|DeleteRolePolicy|DetachRolePolicy|RemoveRoleFromInstanceProfile",
        read: false,
        params: r#"{"roleName":"<role>"}"#,
        home: true,
        ..KEY
    },
    // People in the console.
    Call {
        weight: 190,
        source: "health",
        names: "DescribeEventAggregates",
        params: r#"{"filter":{"startTimes":[{"from":"Jan 8, 2026, 12:27:49 PM"}],"eventStatusCodes":["open","upcoming"]},"aggregateField":"eventTypeCategory"}"#,
        ..CONSOLE
    },
    Call {
        weight: 300,
        source: "rds",
        names: "DescribeOrderableDBInstanceOptions",
        params: r#"{"vpc":true,"marker":"<b64:72>","engineVersion":"10.6.<num:8-14>","engine":"mariadb"}"#,
        run: 8,
        ..CONSOLE
    },
    Call {
        weight: 380,
        source: "ec2",
        names: "DescribeInstanceStatus|DescribeRegions|DescribeAccountAttributes|DescribeVpcEndpoints|DescribeHosts|DescribeCustomerGateways|DescribeVpnConnections|DescribeTransitGateways|DescribeSecurityGroupRules|DescribeVpnGateways|DescribeInstanceConnectEndpoints|DescribeNetworkInsightsPaths|DescribeCapacityReservations|DescribeTrafficMirrorSessions|DescribeCarrierGateways|DescribeIpams|GetEbsEncryptionByDefault|DescribeFastSnapshotRestores",
        params: r#"{"instancesSet":{},"filterSet":{},"maxResults":1000,"includeAllInstances":false}"#,
        run: 2,
        ..CONSOLE
    },
    Call { weight: 100, source: "notifications", names: "ListNotificationHubs", ..CONSOLE },
    Call {
        weight: 110,
        source: "notifications",
        names: "ListNotificationEvents|ListManagedNotificationEvents",
        params: r#"{"maxResults":20,"locale":"en_US","includeChildEvents":false}"#,
        ..CONSOLE
    },
    // Failed calls of programs.
    Call {
        weight: 300,
        source: "ssm",
        names: "DeleteParameter|ListTagsForResource|GetParameter",
        read: false,
        error: "ThrottlingException",
        message: "Rate exceeded",
        run: 6,
        ..KEY
    },
    Call {
        weight: 200,
        source: "ec2",
        names: "DescribeRouteTables|DescribeVpcs|DescribeSubnets",
        error: "Client.InvalidRouteTableID.NotFound",
        message: "The routeTable ID 'rtb-0<h0:16>' does not exist",
        params: r#"{"routeTableIdSet":{"items":[{"routeTableId":"rtb-0<h0:16>"}]},"filterSet":{}}"#,
        run: 2,
        ..KEY
    },
    Call {
        weight: 150,
        source: "iam",
        names: "GetRole|GetInstanceProfile|GetLoginProfile",
        error: "NoSuchEntityException",
        message: "The role with name <role> cannot be found.",
        params: r#"{"roleName":"<role>"}"#,
        home: true,
        ..KEY
    },
    // Calls with resources.
    Call {
        weight: 230,
        source: "ssm",
        names: "PutParameter",
        read: false,
        params: r#"{"name":"<parameter>","value":"HIDDEN_DUE_TO_SECURITY_REASONS","type":"SecureString","overwrite":false,"allowedPattern":"","tags":[{"key":"owner","value":"platform"}],"tier":"Standard"}"#,
        response: r#"{"version":<num:1-9>,"tier":"Standard"}"#,
        resources: PARAMETER,
        run: 4,
        ..KEY
    },
    Call {
        weight: 200,
        source: "ssm",
        names: "GetParameter",
        params: r#"{"name":"<parameter>","withDecryption":true}"#,
        resources: PARAMETER,
        run: 4,
        ..KEY
    },
    Call {
        weight: 70,
        source: "sts",
        names: "AssumeRole",
        params: r#"{"roleArn":"arn:aws:iam::<account>:role/<role>","roleSessionName":"<word>"}"#,
        response: CREDENTIALS,
        resources: ROLE,
        ..KEY
    },
    Call {
        weight: 50,
        source: "kms",
        names: "DescribeKey|GetKeyRotationStatus|ListResourceTags|GetKeyPolicy",
        params: r#"{"keyId":"<key>"}"#,
        resources: KMS_KEY,
        ..KEY
    },
    Call {
        weight: 45,
        source: "kms",
        names: "PutKeyPolicy",
        read: false,
        params: r#"{"keyId":"<key>","policyName":"default","policy":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::<account>:root\"},\"Action\":\"kms:*\",\"Resource\":\"*\"}]}"}"#,
        resources: KMS_KEY,
        ..KEY
    },
    Call {
        weight: 460,
        names: "GetBucketAcl|GetBucketPublicAccessBlock|GetBucketPolicyStatus|GetBucketLogging|GetBucketTagging|GetBucketLocation|GetBucketVersioning|GetBucketRequestPayment|GetAccelerateConfiguration|HeadBucket|GetBucketObjectLockConfiguration",
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","acl":""}"#,
        ..S3_CALL
    },
    // Services on behalf of a caller.
    Call {
        weight: 400,
        source: "kms",
        names: "Encrypt|Decrypt",
        params: r#"{"encryptionContext":{"PARAMETER_ARN":"arn:aws:ssm:<region>:<account>:parameter<parameter>"},"keyId":"alias/aws/ssm","encryptionAlgorithm":"SYMMETRIC_DEFAULT"}"#,
        resources: KMS_KEY,
        run: 4,
        ..VIA
    },
    Call {
        weight: 250,
        source: "kms",
        names: "Decrypt|GenerateDataKey",
        by: "secretsmanager.amazonaws.com",
        params: r#"{"encryptionContext":{"SecretARN":"arn:aws:secretsmanager:<region>:<account>:secret:<secret>","SecretVersionId":"<guid>"},"encryptionAlgorithm":"SYMMETRIC_DEFAULT"}"#,
        resources: KMS_KEY,
        vpce: true,
        run: 4,
        ..VIA
    },
    Call {
        weight: 220,
        names: "GetBucketPolicy|GetBucketLifecycle|GetBucketEncryption|GetBucketCors|GetBucketReplication|GetBucketWebsite",
        error: "NoSuchBucketPolicy",
        message: "The bucket policy does not exist",
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","policy":""}"#,
        ..S3_CALL
    },
    Call {
        weight: 200,
        source: "secretsmanager",
        names: "StartSecretVersionDelete|EndSecretVersionDelete",
        read: false,
        identity: r#"{"accountId":"<account>","invokedBy":"secretsmanager.amazonaws.com"}"#,
        ip: "secretsmanager.amazonaws.com",
        agent: "secretsmanager.amazonaws.com",
        additional: r#"{"SecretId":"arn:aws:secretsmanager:<region>:<account>:secret:<secret>","SecretVersionId":"<guid>"}"#,
        kind: "AwsServiceEvent",
        tls: false,
        run: 3,
        ..KEY
    },
    Call {
        weight: 150,
        names: "GetBucketAcl|ListAccessPoints|GetBucketOwnershipControls",
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","acl":""}"#,
        vpce: true,
        ..S3_CALL
    },
    Call {
        weight: 100,
        source: "autoscaling",
        names: "DescribeAutoScalingGroups|DescribeScalingActivities|DescribePolicies",
        params: r#"{"maxRecords":100}"#,
        ..VIA
    },
    Call {
        weight: 40,
        source: "config",
        names: "PutEvaluations",
        by: "config.amazonaws.com",
        read: false,
        response: r#"{"failedEvaluations":[]}"#,
        ..VIA
    },
    Call {
        weight: 100,
        source: "s3",
        names: "ListBuckets",
        params: r#"{"Host":"s3.<region>.amazonaws.com"}"#,
        additional: S3_ADDED,
        request: "<upper:16>",
        vpce: true,
        ..KEY
    },
    // Below the ten commonest orders.
    Call {
        weight: 90,
        names: "GetBucketPublicAccessBlock",
        error: "NoSuchPublicAccessBlockConfiguration",
        message: "The public access block configuration was not found",
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","publicAccessBlock":""}"#,
        vpce: true,
        ..S3_CALL
    },
    Call {
        weight: 50,
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
        weight: 30,
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
        weight: 20,
        source: "ec2",
        names: "DescribeRegions",
        params: r#"{"regionSet":{},"allRegions":true}"#,
        tls: true,
        ..CONSOLE
    },
    Call { weight: 20, source: "route53", names: "ListHostedZones", api: "2013-04-01", home: true, ..KEY },
    Call { weight: 20, source: "securityhub", names: "DescribeHub", error: "InvalidAccessException", ..VIA },
    Call {
        weight: 20,
        source: "s3",
        names: "GetBucketAcl",
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","acl":""}"#,
        additional: S3_ADDED,
        request: "<upper:16>",
        resources: BUCKET,
        shared: true,
        ..SERVICE
    },
    Call {
        weight: 20,
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
        weight: 20,
        source: "s3",
        names: "CreateBucket",
        read: false,
        params: r#"{"bucketName":"<bucket>","Host":"<bucket>.s3.<region>.amazonaws.com","x-amz-acl":"private"}"#,
        additional: S3_ADDED,
        request: "<upper:16>",
        host: BUCKET_HOST,
        ..KEY
    },
    Call {
        weight: 15,
        source: "s3",
        names: "GetAccountPublicAccessBlock",
        error: "NoSuchPublicAccessBlockConfiguration",
        message: "The public access block configuration was not found",
        params: r#"{"Host":"<account>.s3-control.<region>.amazonaws.com"}"#,
        additional: S3_ADDED,
        request: "<upper:16>",
        vpce: true,
        ..KEY
    },
    Call {
        weight: 15,
        source: "elasticloadbalancing",
        names: "DescribeLoadBalancers",
        params: r#"{"pageSize":200}"#,
        api: "2012-06-01",
        ..CONSOLE
    },
    Call {
        weight: 30,
        source: "secretsmanager",
        names: "CreateSecret|PutSecretValue|RotateSecret",
        read: false,
        params: r#"{"secretId":"arn:aws:secretsmanager:<region>:<account>:secret:<secret>","clientRequestToken":"<guid>"}"#,
        response: r#"{"arn":"arn:aws:secretsmanager:<region>:<account>:secret:<secret>","versionId":"<guid>"}"#,
        resources: SECRET,
        vpce: true,
        ..KEY
    },
];
