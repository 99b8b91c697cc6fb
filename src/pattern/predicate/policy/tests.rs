//! Tables: principals, conditions, forms.

use super::*;
use Decision::{No, Unknown, Yes};

/// Puts one statement's parts into a policy and asks in both forms: as object and as text.
#[track_caller]
fn ask(question: fn(&Value) -> Decision, policy: &str) -> Decision {
    let object: Value = serde_json::from_str(policy).unwrap();
    let as_object = question(&object);
    assert_eq!(as_object, question(&Value::String(policy.to_owned())), "the form must not matter: {policy}");
    as_object
}

#[track_caller]
fn everyone_if(condition: &str) -> Decision {
    ask(
        public,
        &format!(
            r#"{{"Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*","Condition":{condition}}}]}}"#
        ),
    )
}

#[test]
fn principals_decide_who_everyone_is() {
    for (principal, expected) in [
        (r#""Principal":"*""#, Yes),
        (r#""Principal":{"AWS":"*"}"#, Yes),
        (r#""Principal":{"AWS":["arn:aws:iam::111122223333:root","*"]}"#, Yes),
        (r#""principal":{"aws":"*"}"#, Yes),
        (r#""NotPrincipal":{"AWS":"arn:aws:iam::111122223333:root"}"#, Yes),
        (r#""Principal":{"AWS":"arn:aws:iam::111122223333:root"}"#, No),
        (r#""Principal":{"AWS":"111122223333"}"#, No),
        (r#""Principal":{"Service":"cloudtrail.amazonaws.com"}"#, No),
        (r#""Principal":{"AWS":[]}"#, No),
        (r#""Principal":{}"#, No),
        (r#""Principal":{"Federated":"*"}"#, Unknown),
        (r#""Principal":{"AWS":"arn:aws:iam::*:root"}"#, Unknown),
        (r#""Principal":[ "*" ]"#, Unknown),
        (r#""Action":"*""#, No),
    ] {
        let policy = format!(r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow",{principal}}}}}"#);
        assert_eq!(ask(public, &policy), expected, "{principal}");
    }
}

#[test]
fn one_open_statement_among_others_is_enough() {
    let closed = r#"{"Effect":"Allow","Principal":{"AWS":"111122223333"}}"#;
    let open = r#"{"Effect":"Allow","Principal":"*"}"#;
    let deny = r#"{"Effect":"Deny","Principal":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#;
    let only_ours = r#"{"Effect":"Deny","Principal":"*","Condition":{"StringNotEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}}}"#;
    let odd = r#"{"Effect":"Perhaps","Principal":"*"}"#;
    for (statements, expected) in [
        (vec![closed, open], Yes),
        (vec![closed, closed], No),
        (vec![deny], No),
        (vec![open, deny], Yes),
        (vec![open, only_ours], Unknown),
        (vec![odd, closed], Unknown),
        (vec![odd, open], Yes),
        (vec![], No),
    ] {
        assert_eq!(
            ask(public, &format!(r#"{{"Statement":[{}]}}"#, statements.join(","))),
            expected,
            "{statements:?}"
        );
    }
}

#[test]
fn conditions_that_hold_the_caller_restrict() {
    for condition in [
        r#"{"ArnEquals":{"aws:SourceArn":"arn:aws:sns:us-east-1:111122223333:trail"}}"#,
        r#"{"ArnLike":{"AWS:SourceArn":"arn:aws:cloudtrail:*:111122223333:trail/*"}}"#,
        r#"{"StringEquals":{"aws:SourceAccount":["111122223333","444455556666"]}}"#,
        r#"{"StringEquals":{"AWS:SourceOwner":"111122223333"}}"#,
        r#"{"StringEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}}"#,
        r#"{"StringEquals":{"aws:PrincipalOrgID":"${aws:ResourceOrgID}"}}"#,
        r#"{"ForAnyValue:StringEquals":{"aws:SourceVpce":"vpce-0123"}}"#,
        r#"{"StringEquals":{"kms:CallerAccount":"111122223333","kms:ViaService":"ec2.us-east-1.amazonaws.com"}}"#,
        r#"{"IpAddress":{"aws:SourceIp":["192.0.2.0/24","198.51.100.7","2001:db8::/32"]}}"#,
        r#"{"Bool":{"aws:PrincipalIsAWSService":"true"}}"#,
        r#"{"Bool":{"aws:PrincipalIsAWSService":true}}"#,
        r#"{"Bool":{"aws:SecureTransport":"true"},"StringEquals":{"aws:SourceVpc":"vpc-0123"}}"#,
        r#"{"StringEquals":{"aws:SourceAccount":[]}}"#,
    ] {
        assert_eq!(everyone_if(condition), No, "{condition}");
    }
}

#[test]
fn conditions_anyone_can_meet_do_not_restrict() {
    for condition in [
        "{}",
        r#"{"Bool":{"aws:SecureTransport":"true"}}"#,
        r#"{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}"#,
        r#"{"IpAddress":{"aws:SourceIp":["0.0.0.0/1","128.0.0.0/1"]}}"#,
        r#"{"IpAddress":{"aws:SourceIp":["192.0.2.0/24","::/0"]}}"#,
        r#"{"IpAddress":{"aws:SourceIp":"16.0.0.0/4"}}"#,
        r#"{"NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"}}"#,
        r#"{"StringNotEquals":{"aws:PrincipalAccount":"111122223333"}}"#,
        r#"{"StringNotEqualsIfExists":{"aws:SourceVpce":"vpce-0123"}}"#,
        r#"{"ArnLike":{"aws:SourceArn":"arn:aws:sns:*:*:*"}}"#,
        r#"{"ArnLike":{"aws:SourceArn":"arn:aws:s3:::*"}}"#,
        r#"{"StringLike":{"aws:PrincipalArn":"*"}}"#,
        r#"{"StringLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/deploy"}}"#,
        r#"{"StringLike":{"aws:Referer":"https://example.com/*"}}"#,
        r#"{"StringEquals":{"s3:x-amz-acl":"public-read","aws:RequestTag/team":"a"}}"#,
    ] {
        assert_eq!(everyone_if(condition), Yes, "{condition}");
    }
}

#[test]
fn conditions_we_cannot_weigh_leave_a_doubt() {
    for condition in [
        r#"{"StringEquals":{"example:Made":"up"}}"#,
        r#"{"StringEqualsIfExists":{"aws:SourceVpce":"vpce-0123"}}"#,
        r#"{"ForAllValues:StringEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}}"#,
        r#"{"Null":{"aws:SourceVpce":"false"}}"#,
        r#"{"StringLike":{"aws:PrincipalOrgID":"o-*"}}"#,
        r#"{"StringEquals":{"aws:PrincipalAccount":"${aws:PrincipalTag/owner}"}}"#,
        r#"{"IpAddress":{"aws:SourceIp":"office"}}"#,
        r#"{"StringEquals":{"kms:ViaService":"ec2.us-east-1.amazonaws.com"}}"#,
        r#"{"StringFuzzy":{"aws:SourceAccount":"111122223333"}}"#,
    ] {
        assert_eq!(everyone_if(condition), Unknown, "{condition}");
    }
}

#[test]
fn texts_that_are_no_policy_are_unknown_and_removed_ones_are_not_public() {
    for (text, expected) in [
        ("", No),
        ("  ", No),
        ("{}", No),
        ("{", Unknown),
        ("hello", Unknown),
        ("[]", Unknown),
        ("\"{}\"", Unknown),
        (r#"{"Statement":7}"#, Unknown),
        (r#"{"Statement":[7]}"#, Unknown),
        (r#"{"Id":"x"}"#, Unknown),
    ] {
        assert_eq!(public(&Value::String(text.to_owned())), expected, "{text}");
    }
    let deep = format!(r#"{{"Statement":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    assert_eq!(public(&Value::String(deep)), Unknown);
}

#[test]
fn policies_that_allow_everything_are_found() {
    for (statement, expected) in [
        (r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#, Yes),
        (r#"{"Effect":"Allow","Action":["s3:Get*","*:*"],"Resource":["*"]}"#, Yes),
        (r#"{"Effect":"Allow","NotAction":"organizations:*","Resource":"*"}"#, Yes),
        (
            r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}"#,
            Unknown,
        ),
        (r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#, No),
        (r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::a"}"#, No),
        (r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#, No),
    ] {
        assert_eq!(ask(admin, &format!(r#"{{"Statement":{statement}}}"#)), expected, "{statement}");
    }
}
