//! Every name of the high-signal tables fires its family, whatever else the record holds.

use super::{matches, shipped};

/// Event source (without `.amazonaws.com`), event names, family.
const NAMES: &[(&str, &str, &str)] = &[
    (
        "iam",
        "CreateAccessKey CreateLoginProfile UpdateLoginProfile UpdateAccessKey CreateServiceSpecificCredential \
         UploadSSHPublicKey UploadSigningCertificate DeactivateMFADevice DeleteVirtualMFADevice CreateUser CreateRole \
         CreateSAMLProvider CreateOpenIDConnectProvider",
        "credentials_created",
    ),
    (
        "iam",
        "AttachUserPolicy AttachRolePolicy AttachGroupPolicy PutUserPolicy PutRolePolicy PutGroupPolicy \
         CreatePolicyVersion SetDefaultPolicyVersion UpdateAssumeRolePolicy AddUserToGroup \
         DeleteRolePermissionsBoundary DeleteUserPermissionsBoundary",
        "privilege_change",
    ),
    (
        "cloudtrail",
        "StopLogging DeleteTrail UpdateTrail PutEventSelectors PutInsightSelectors PutEventConfiguration \
         DeregisterOrganizationDelegatedAdmin RegisterOrganizationDelegatedAdmin DeleteEventDataStore \
         StopEventDataStoreIngestion DeleteResourcePolicy",
        "trail_tampering",
    ),
    (
        "s3",
        "DeleteBucket PutBucketLifecycle PutBucketNotification PutBucketPolicy PutBucketReplication PutBucketVersioning",
        "log_pipeline_tampering",
    ),
    ("kms", "DisableKey ScheduleKeyDeletion PutKeyPolicy", "log_pipeline_tampering"),
    (
        "logs",
        "DeleteLogGroup DeleteLogStream DeleteSubscriptionFilter PutRetentionPolicy",
        "log_pipeline_tampering",
    ),
    ("sqs", "PurgeQueue DeleteQueue", "log_pipeline_tampering"),
    ("sns", "DeleteTopic Unsubscribe", "log_pipeline_tampering"),
    ("kinesis", "DeleteStream", "log_pipeline_tampering"),
    ("guardduty", "DeleteDetector UpdateDetector StopMonitoringMembers", "detection_tampering"),
    (
        "config",
        "StopConfigurationRecorder DeleteConfigurationRecorder DeleteDeliveryChannel",
        "detection_tampering",
    ),
    ("securityhub", "DisableSecurityHub", "detection_tampering"),
    ("macie2", "DisableMacie", "detection_tampering"),
    ("access-analyzer", "DeleteAnalyzer", "detection_tampering"),
    ("ec2", "DeleteFlowLogs", "detection_tampering"),
    ("waf", "DeleteWebACL", "detection_tampering"),
    ("waf-regional", "DeleteWebACL", "detection_tampering"),
    ("wafv2", "DeleteWebACL", "detection_tampering"),
    (
        "organizations",
        "LeaveOrganization RemoveAccountFromOrganization DeletePolicy DetachPolicy DisablePolicyType CreateAccount \
         InviteAccountToOrganization DeregisterDelegatedAdministrator",
        "organization_change",
    ),
    ("account", "EnableRegion", "organization_change"),
    ("secretsmanager", "GetSecretValue BatchGetSecretValue", "secrets_read"),
    (
        "ec2",
        "GetPasswordData ModifyInstanceAttribute CreateKeyPair ImportKeyPair RunInstances",
        "ec2_sensitive",
    ),
    (
        "ec2",
        "AuthorizeSecurityGroupIngress ModifySecurityGroupRules CreateNetworkAclEntry RevokeSecurityGroupIngress \
         RevokeSecurityGroupEgress",
        "network_exposure",
    ),
    ("ec2", "ModifySnapshotAttribute", "snapshot_exposure"),
    ("ec2", "ModifyImageAttribute", "image_exposure"),
    ("rds", "ModifyDBSnapshotAttribute", "database_exposure"),
    ("s3", "PutBucketPolicy", "s3_exposure"),
    ("s3", "PutBucketAcl", "s3_exposure_acl"),
    (
        "s3",
        "PutBucketPublicAccessBlock PutAccountPublicAccessBlock DeleteBucketPublicAccessBlock \
         DeleteAccountPublicAccessBlock",
        "s3_exposure_block",
    ),
    (
        "s3",
        "DeleteBucketPolicy DeleteBucketEncryption PutBucketVersioning PutBucketLogging PutBucketOwnershipControls \
         PutBucketWebsite PutBucketCors",
        "s3_exposure_settings",
    ),
    ("s3express", "PutBucketPolicy", "s3_exposure"),
    ("sns", "SetTopicAttributes", "policy_exposure"),
    ("sqs", "SetQueueAttributes", "policy_exposure"),
    ("kms", "PutKeyPolicy CreateKey", "policy_exposure"),
    ("ecr", "SetRepositoryPolicy", "policy_exposure"),
    ("secretsmanager", "PutResourcePolicy", "policy_exposure"),
    ("lambda", "AddPermission20150331v2", "policy_exposure"),
];

#[test]
fn every_name_fires_its_family_however_odd_the_rest() {
    let families = shipped().unwrap();
    for (source, names, family) in NAMES {
        let pattern = &families.iter().find(|known| known.name == *family).unwrap().pattern;
        for name in names.split_whitespace() {
            for rest in [
                "",
                r#","requestParameters":null,"responseElements":null"#,
                r#","requestParameters":{"omitted":true}"#,
                r#","requestParameters":"cut","errorCode":"Whatever""#,
            ] {
                let record =
                    format!(r#"{{"eventSource":"{source}.amazonaws.com","eventName":"{name}"{rest}}}"#);
                assert!(matches(pattern, &record), "{family} does not fire on {record}");
            }
        }
    }
}
