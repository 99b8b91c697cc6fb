//! The made-up organisation: its accounts, the people and roles in them, and the names of what they own.
//!
//! Account ids are those AWS uses in its documentation, then ids counted up from one of them; addresses are
//! those reserved for documentation (RFC 5737, RFC 3849). Nobody in here is anybody.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::template::{hex_text, random_guid, upper};

/// A kind of name a record may use; all slots of one pool in a record give the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Pool {
    Bucket,
    Role,
    User,
    Key,
    Secret,
    Parameter,
    Function,
    Table,
    Instance,
    Object,
    Endpoint,
    Word,
}

impl Pool {
    const ALL: [(&'static str, Self); 12] = [
        ("bucket", Self::Bucket),
        ("role", Self::Role),
        ("user", Self::User),
        ("key", Self::Key),
        ("secret", Self::Secret),
        ("parameter", Self::Parameter),
        ("function", Self::Function),
        ("table", Self::Table),
        ("instance", Self::Instance),
        ("object", Self::Object),
        ("endpoint", Self::Endpoint),
        ("word", Self::Word),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|&(_, pool)| pool)
    }
}

/// Who may stand in `userIdentity`: decides what else a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// A program with a key or a role session; the record has `tlsDetails`.
    Key,
    /// A person in the console; `sessionCredentialFromConsole`.
    Console,
    /// A service on behalf of a caller; `invokedBy`, no `tlsDetails`.
    Via,
    /// A service for itself; `AWSService`.
    Service,
}

/// One caller with credentials, its address and its user agent.
#[derive(Debug)]
pub(super) struct Session {
    /// `userIdentity` up to the creation date, or all of it; without the closing brace.
    pub(super) head: String,
    /// Seconds the session is older than the hour, and the text after the creation date.
    pub(super) tail: Option<(i64, String)>,
    pub(super) ip: String,
    pub(super) agent: String,
}

/// One account of the organisation.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) ou: &'static str,
    pub(super) env: &'static str,
    pub(super) owner: &'static str,
    pub(super) cost_center: String,
    names: [Vec<String>; 12],
    key: Vec<Session>,
    console: Vec<Session>,
    via: Vec<Session>,
}

impl Account {
    /// The name a record uses: the same for the same `picks`.
    pub(super) fn pick(&self, pool: Pool, picks: u64) -> &str {
        let at = pool as u32;
        let names = &self.names[at as usize];
        // Five bits for each of the twelve pools.
        let draw = usize::try_from(picks.rotate_right(at * 5) & 31).unwrap_or(0);
        names.get(draw % names.len().max(1)).map_or("", String::as_str)
    }

    /// The callers of one style.
    pub(super) fn sessions(&self, style: Style) -> &[Session] {
        match style {
            Style::Console => &self.console,
            Style::Via => &self.via,
            Style::Key | Style::Service => &self.key,
        }
    }
}

const IDS: [&str; 7] = [
    "111122223333",
    "123456789012",
    "444455556666",
    "777788889999",
    "555555555555",
    "999999999999",
    "210987654321",
];
const PEOPLE: [&str; 8] = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
/// Name, organisational unit, environment, owner.
const PLACES: [(&str, &str, &str, &str); 10] = [
    ("management", "Root", "prod", "platform"),
    ("payments-prod", "Root/Workloads/Prod", "prod", "payments"),
    ("data-sandbox-1", "Root/Sandbox", "sandbox", "data"),
    ("payments-dev", "Root/Workloads/Dev", "dev", "payments"),
    ("log-archive", "Root/Security", "prod", "security"),
    ("web-prod", "Root/Workloads/Prod", "prod", "web"),
    ("data-prod", "Root/Workloads/Prod", "prod", "data"),
    ("web-dev", "Root/Workloads/Dev", "dev", "web"),
    ("audit", "Root/Security", "prod", "security"),
    ("web-sandbox-1", "Root/Sandbox", "sandbox", "web"),
];

/// The regions records come from, the busiest first.
pub(super) const REGIONS: [&str; 16] = [
    "us-east-1",
    "eu-west-1",
    "eu-central-1",
    "us-west-2",
    "ap-southeast-1",
    "us-east-2",
    "ap-northeast-1",
    "eu-north-1",
    "eu-west-2",
    "ap-south-1",
    "ca-central-1",
    "sa-east-1",
    "ap-southeast-2",
    "eu-west-3",
    "us-west-1",
    "ap-northeast-2",
];

/// Makes the accounts of a seed, each with so many programs that hold credentials.
pub(super) fn accounts(seed: u64, count: usize, programs: usize) -> Vec<Account> {
    (0..count).map(|n| account(seed, n, programs)).collect()
}

fn account(seed: u64, n: usize, programs: usize) -> Account {
    let place = u64::try_from(n).unwrap_or(u64::MAX);
    // Each account has numbers of its own, so that it is the same however many accounts there are.
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ place.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    let rng = &mut rng;
    let id =
        IDS.get(n).map_or_else(|| format!("{:012}", 300_000_000_000 + place * 7_919), ToString::to_string);
    let (name, ou, env, owner) = PLACES[n % PLACES.len()];
    let name = if n < PLACES.len() { name.to_owned() } else { format!("{name}-{}", n / PLACES.len() + 1) };
    let many = |count: usize, make: &mut dyn FnMut(usize) -> String| (0..count).map(make).collect::<Vec<_>>();
    let names = [
        many(24, &mut |i| match i % 3 {
            0 => format!("{name}-artifacts-{}", hex_text(rng, 8)),
            1 => format!("aws-cloudtrail-logs-{id}-{}", hex_text(rng, 8)),
            _ => format!("{name}-data-{i:02}"),
        }),
        many(16, &mut |i| {
            ["deploy", "ci-runner", "web-task", "batch-worker"][i % 4].to_owned()
                + &format!("-{}", upper(rng, 6).to_lowercase())
        }),
        many(8, &mut |i| PEOPLE[i].to_owned()),
        many(8, &mut |_| guid_text(rng)),
        many(20, &mut |i| format!("{name}/db-password-{i}-{}", &upper(rng, 6))),
        many(24, &mut |i| format!("/{name}/service-{}/setting-{i}", i % 5)),
        many(12, &mut |i| format!("{name}-handler-{i}")),
        many(8, &mut |i| format!("{name}-table-{i}")),
        many(20, &mut |_| format!("i-0{}", hex_text(rng, 16))),
        many(32, &mut |i| object_name(rng, &id, i)),
        many(4, &mut |_| format!("vpce-0{}", hex_text(rng, 16))),
        many(16, &mut |i| {
            ["alpha", "bravo", "cedar", "delta", "ember", "fjord", "grove", "haven"][i % 8].to_owned()
                + &i.to_string()
        }),
    ];
    let key = (0..programs).map(|i| key_session(rng, &id, i)).collect();
    let console = (0..10).map(|i| console_session(rng, &id, i)).collect();
    let via = (0..16).map(|i| via_session(rng, &id, i)).collect();
    let cost_center = format!("CC-{}", 1_000 + (n * 137) % 9_000);
    Account { id, name, ou, env, owner, cost_center, names, key, console, via }
}

/// The key of an object: a data lake's part or a delivered log file.
fn object_name(rng: &mut Xoshiro256PlusPlus, id: &str, i: usize) -> String {
    let (day, tail) = (i % 28 + 1, upper(rng, 16));
    if i.is_multiple_of(4) {
        return format!(
            "lake/events/year=2026/month=01/day={day:02}/hour={i:02}/part-{i:05}-{tail}.snappy.parquet"
        );
    }
    format!(
        "AWSLogs/{id}/CloudTrail/us-east-1/2026/01/{day:02}/{id}_CloudTrail_us-east-1_202601{day:02}T1205Z_{tail}.json.gz"
    )
}

fn guid_text(rng: &mut Xoshiro256PlusPlus) -> String {
    let mut out = Vec::new();
    super::template::guid(random_guid(rng), &mut out);
    String::from_utf8(out).unwrap_or_default()
}

fn address(rng: &mut Xoshiro256PlusPlus) -> String {
    let host = rng.next_u64() % 254 + 1;
    match rng.next_u64() % 16 {
        0 => format!("2001:db8::{host:x}"),
        1..=5 => format!("198.51.100.{host}"),
        6..=10 => format!("203.0.113.{host}"),
        _ => format!("192.0.2.{host}"),
    }
}

fn terraform(rng: &mut Xoshiro256PlusPlus, i: usize) -> String {
    let provider = ["4.67.0", "3.76.1", "5.31.0"][i % 3];
    let sdk = ["1.44.261 (go1.19.8", "1.44.157 (go1.19.3", "1.49.4 (go1.20.10"][i % 3];
    let run = if i.is_multiple_of(2) { format!(" deploy-run_{}", guid_text(rng)) } else { String::new() };
    format!(
        "APN/1.0 HashiCorp/1.0 Terraform/1.1.2 (+https://www.terraform.io) terraform-provider-aws/{provider} \
         (+https://registry.terraform.io/providers/hashicorp/aws) aws-sdk-go/{sdk}; linux; amd64){run} \
         HashiCorp-terraform-exec/0.17.3"
    )
}

fn user(rng: &mut Xoshiro256PlusPlus, id: &str, name: &str, prefix: &str) -> String {
    format!(
        r#"{{"type":"IAMUser","principalId":"AIDA{}EXAMPLE","arn":"arn:aws:iam::{id}:user/{name}","accountId":"{id}","accessKeyId":"{prefix}{}EXAMPLE","userName":"{name}""#,
        upper(rng, 10),
        upper(rng, 9)
    )
}

fn role(rng: &mut Xoshiro256PlusPlus, id: &str, role: &str, session: &str) -> String {
    let principal = upper(rng, 10);
    format!(
        r#"{{"type":"AssumedRole","principalId":"AROA{principal}EXAMPLE:{session}","arn":"arn:aws:sts::{id}:assumed-role/{role}/{session}","accountId":"{id}","accessKeyId":"ASIA{}EXAMPLE","sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"AROA{principal}EXAMPLE","arn":"arn:aws:iam::{id}:role/{role}","accountId":"{id}","userName":"{role}"}},"webIdFederationData":{{}},"attributes":{{"creationDate":""#,
        upper(rng, 9)
    )
}

fn key_session(rng: &mut Xoshiro256PlusPlus, id: &str, i: usize) -> Session {
    let ip = address(rng);
    let offset = i64::try_from(rng.next_u64() % 3_000).unwrap_or(0);
    match i % 8 {
        // A pipeline with a role session: shorter user agents, a longer identity.
        3 => Session {
            head: role(rng, id, "ci-deploy", "pipeline"),
            tail: Some((offset, r#"","mfaAuthenticated":"false"}}"#.to_owned())),
            ip,
            agent:
                "Boto3/1.34.51 md/Botocore#1.34.51 ua/2.0 os/linux#6.1.0 md/arch#x86_64 lang/python#3.11.8"
                    .to_owned(),
        },
        7 => Session {
            head: user(rng, id, PEOPLE[i % 8], "AKIA"),
            tail: None,
            ip,
            agent: "aws-cli/2.15.24 Python/3.11.8 Linux/6.1.0 exe/x86_64.debian.12 prompt/off".to_owned(),
        },
        _ => Session { head: user(rng, id, "terraform", "AKIA"), tail: None, ip, agent: terraform(rng, i) },
    }
}

fn console_session(rng: &mut Xoshiro256PlusPlus, id: &str, i: usize) -> Session {
    let offset = i64::try_from(rng.next_u64() % 3_000).unwrap_or(0);
    let name = PEOPLE[i % 8];
    let head = user(rng, id, name, "ASIA")
        + r#","sessionContext":{"sessionIssuer":{},"webIdFederationData":{},"attributes":{"creationDate":""#;
    let tail = r#"","mfaAuthenticated":"true"}}"#.to_owned();
    let agent = match i % 3 {
        0 => "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
        _ => "AWS Internal",
    };
    Session { head, tail: Some((offset, tail)), ip: address(rng), agent: agent.to_owned() }
}

fn via_session(rng: &mut Xoshiro256PlusPlus, id: &str, i: usize) -> Session {
    let offset = i64::try_from(rng.next_u64() % 3_000).unwrap_or(0);
    let (head, tail) = if i % 4 == 1 {
        let name = format!("i-0{}", hex_text(rng, 16));
        (
            role(rng, id, "web-task", &name),
            r#"","mfaAuthenticated":"false"},"ec2RoleDelivery":"2.0"}"#.to_owned(),
        )
    } else {
        let head = user(rng, id, "terraform", "ASIA")
            + r#","sessionContext":{"sessionIssuer":{},"webIdFederationData":{},"attributes":{"creationDate":""#;
        (head, r#"","mfaAuthenticated":"false"}}"#.to_owned())
    };
    Session { head, tail: Some((offset, tail)), ip: address(rng), agent: terraform(rng, i) }
}
