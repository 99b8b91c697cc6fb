//! The commented example: every setting with its description and its default, and a chain that runs.

use crate::config::{Globals, Kind, PipelineConfig, SinkConfig, SourceConfig, TransformConfig};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// The components that the example shows: section, name, type. Every type stands here once.
pub(super) const SHOWN: [(&str, &str, &str); 20] = [
    ("sources", "trail", "files"),
    ("sources", "bucket", "s3"),
    ("sources", "news", "sqs"),
    ("sources", "stream", "kinesis"),
    ("sources", "endpoint", "firehose"),
    ("sources", "group", "cloudwatch_logs"),
    ("sources", "history", "event_history"),
    ("transforms", "once", "dedupe"),
    ("transforms", "accounts", "account_tags"),
    ("transforms", "environment", "environment"),
    ("transforms", "signals", "signals"),
    ("transforms", "quiet", "filter"),
    ("transforms", "thin", "sample"),
    ("transforms", "private", "redact"),
    ("transforms", "flat", "flatten"),
    ("sinks", "screen", "stdout"),
    ("sinks", "archive", "file"),
    ("sinks", "lake", "http"),
    ("sinks", "splunk", "splunk_hec"),
    ("sinks", "search", "opensearch"),
];

/// Components that stand there as comments: the example runs as it is.
const ASIDE: [&str; 9] =
    ["bucket", "news", "stream", "endpoint", "group", "history", "lake", "splunk", "search"];

/// Settings that the example states, as TOML.
const STATED: [(&str, &str); 18] = [
    ("sources.trail.path", r#""./trail""#),
    ("sources.bucket.bucket", r#""acme-org-trail""#),
    ("sources.news.queue_url", r#""https://sqs.eu-west-1.amazonaws.com/123456789012/trail""#),
    ("sources.stream.stream", r#""trail""#),
    ("sources.endpoint.listen", r#""127.0.0.1:8443""#),
    ("sources.group.log_group", r#""CloudTrail/logs""#),
    ("transforms.accounts.file", r#""accounts.csv""#),
    ("transforms.accounts.tags", r#"["owner", "cost_center"]"#),
    ("transforms.environment.default", r#""unknown""#),
    ("transforms.quiet.drop", r#"{ eventSource = ["kms.amazonaws.com"], eventName = ["Decrypt"] }"#),
    ("transforms.thin.match", r#"{ eventCategory = ["Data"], readOnly = [true] }"#),
    ("transforms.thin.keep_one_in", "50"),
    ("sinks.archive.path", r#""out/{account}/{date}.ndjson.gz""#),
    ("sinks.archive.shape", r#""flat""#),
    ("sinks.lake.url", r#""https://ingest.example.com/v1/events""#),
    ("sinks.splunk.url", r#""https://hec.example.com:8088""#),
    ("sinks.splunk.token", r#"{ env = "HEC_TOKEN" }"#),
    ("sinks.search.url", r#"["https://search-1.example.com:9200", "https://search-2.example.com:9200"]"#),
];

/// What the example writes, commented out, for settings without a default.
const POSSIBLE: [(&str, &str); 133] = [
    ("sources.news.buckets", r#"["acme-org-trail"]"#),
    ("sources.news.aws.region", r#""eu-west-1""#),
    ("sources.news.aws.profile", r#""audit""#),
    ("sources.news.aws.role_arn", r#""arn:aws:iam::123456789012:role/trailship""#),
    ("sources.news.aws.external_id", r#""acme""#),
    ("sources.news.aws.endpoint", r#""https://vpce-0123.sqs.eu-west-1.vpce.amazonaws.com""#),
    ("sources.bucket.prefix", r#""landing/zone""#),
    ("sources.bucket.since", r#""1h""#),
    ("sources.bucket.until", r#""2026-01-31""#),
    ("sources.bucket.max_list_per_hour", "10000"),
    ("sources.bucket.owner", r#""123456789012""#),
    ("sources.bucket.accounts.include", r#"["123456789012"]"#),
    ("sources.bucket.accounts.exclude", r#"["210987654321"]"#),
    ("sources.bucket.regions.include", r#"["eu-west-1", "us-east-1"]"#),
    ("sources.bucket.regions.exclude", r#"["ap-south-1"]"#),
    ("sources.bucket.kinds.include", r#"["CloudTrail"]"#),
    ("sources.bucket.kinds.exclude", r#"["CloudTrail-Insight"]"#),
    ("sources.bucket.aws.region", r#""eu-west-1""#),
    ("sources.bucket.aws.profile", r#""audit""#),
    ("sources.bucket.aws.role_arn", r#""arn:aws:iam::123456789012:role/trailship""#),
    ("sources.bucket.aws.external_id", r#""acme""#),
    ("sources.bucket.aws.endpoint", r#""https://bucket.vpce-0123.s3.eu-west-1.vpce.amazonaws.com""#),
    ("sources.stream.leases.table", r#""trailship-leases""#),
    ("sources.stream.aws.region", r#""eu-west-1""#),
    ("sources.stream.aws.profile", r#""audit""#),
    ("sources.stream.aws.role_arn", r#""arn:aws:iam::123456789012:role/trailship""#),
    ("sources.stream.aws.external_id", r#""acme""#),
    ("sources.stream.aws.endpoint", r#""https://vpce-0123.kinesis.eu-west-1.vpce.amazonaws.com""#),
    ("sources.endpoint.access_key", r#"{ env = "FIREHOSE_ACCESS_KEY" }"#),
    ("sources.endpoint.source_arns", r#"["arn:aws:firehose:eu-west-1:123456789012:deliverystream/trail"]"#),
    ("sources.endpoint.tls.certificate", r#""/etc/trailship/tls.crt""#),
    ("sources.endpoint.tls.key", r#""/etc/trailship/tls.key""#),
    ("sources.history.regions", r#"["us-east-1", "eu-west-1"]"#),
    ("sources.history.since", r#""90 d""#),
    ("sources.history.until", r#""2026-01-31""#),
    ("sources.history.lookup.AccessKeyId", r#""AKIAIOSFODNN7EXAMPLE""#),
    ("sources.history.lookup.EventId", r#""8d9a2d2c-1b1e-4b0e-9b57-0a3d6a1a3a0b""#),
    ("sources.history.lookup.EventName", r#""ConsoleLogin""#),
    ("sources.history.lookup.EventSource", r#""iam.amazonaws.com""#),
    ("sources.history.lookup.ReadOnly", r#""false""#),
    ("sources.history.lookup.ResourceName", r#""acme-org-trail""#),
    ("sources.history.lookup.ResourceType", r#""AWS::S3::Bucket""#),
    ("sources.history.lookup.Username", r#""alice""#),
    ("sources.history.aws.region", r#""eu-west-1""#),
    ("sources.history.aws.profile", r#""audit""#),
    ("sources.history.aws.role_arn", r#""arn:aws:iam::123456789012:role/trailship""#),
    ("sources.history.aws.external_id", r#""acme""#),
    ("sources.history.aws.endpoint", r#""https://vpce-0123.cloudtrail.eu-west-1.vpce.amazonaws.com""#),
    ("sources.group.streams", r#"["123456789012_CloudTrail_eu-west-1"]"#),
    ("sources.group.stream_prefix", r#""123456789012_CloudTrail_""#),
    ("sources.group.since", r#""1h""#),
    ("sources.group.until", r#""2026-01-31""#),
    ("sources.group.requests_per_second", "4"),
    ("sources.group.aws.region", r#""eu-west-1""#),
    ("sources.group.aws.profile", r#""audit""#),
    ("sources.group.aws.role_arn", r#""arn:aws:iam::123456789012:role/trailship""#),
    ("sources.group.aws.external_id", r#""acme""#),
    ("sources.group.aws.endpoint", r#""https://vpce-0123.logs.eu-west-1.vpce.amazonaws.com""#),
    ("data_dir", r#""/var/lib/trailship""#),
    ("workers", "4"),
    ("telemetry.listen", r#""127.0.0.1:9464""#),
    ("protect.also", r#"[{ eventSource = ["s3.amazonaws.com"], eventName = ["GetObject"] }]"#),
    ("protect.except", r#"["insights", { errorCode = ["NoSuchKey"] }]"#),
    ("transforms.signals.only", r#"["root_use", "login_failure"]"#),
    ("transforms.signals.except", r#"["dry_run"]"#),
    ("transforms.quiet.keep", r#"{ eventCategory = ["Management"] }"#),
    ("transforms.thin.by", r#""eventID""#),
    ("transforms.private.remove", r#"["requestParameters.userData"]"#),
    ("transforms.private.over", r#""900 kB""#),
    ("transforms.private.hash", r#"["sourceIPAddress"]"#),
    ("transforms.private.key", r#"{ env = "TRAILSHIP_HASH_KEY" }"#),
    ("sinks.screen.shape", r#""nested""#),
    ("sinks.screen.match", r#"{ eventCategory = ["Management"] }"#),
    ("sinks.archive.compression", r#""gzip""#),
    ("sinks.archive.rotate_size", r#""512 MiB""#),
    ("sinks.archive.rotate_age", r#""1 h""#),
    ("sinks.archive.oldest", r#""400 d""#),
    ("sinks.archive.match", r#"{ recipientAccountId = ["111122223333"] }"#),
    ("transforms.thin.salt", r#""thin""#),
    ("sinks.lake.method", r#""POST""#),
    ("sinks.lake.format", r#""json_array""#),
    ("sinks.lake.template", r#"'{"time":{{time_ms}},"event":{{record}}}'"#),
    ("sinks.lake.envelope", r#"'{"Records":[{{events}}]}'"#),
    ("sinks.lake.content_type", r#""application/json""#),
    ("sinks.lake.headers", r#"{ X-Tenant = "security" }"#),
    ("sinks.lake.auth", r#"{ type = "bearer", token = { env = "INGEST_TOKEN" } }"#),
    ("sinks.lake.batch.bytes", r#""1 MiB""#),
    ("sinks.lake.batch.events", "1000"),
    ("sinks.lake.batch.age", r#""1s""#),
    ("sinks.lake.batch.compression", r#""gzip""#),
    ("sinks.lake.connection.concurrency", "8"),
    ("sinks.lake.connection.proxy", r#""http://proxy.example.com:3128""#),
    ("sinks.lake.connection.ca_file", r#""/etc/trailship/ca.crt""#),
    ("sinks.lake.connection.cert_file", r#""/etc/trailship/client.crt""#),
    ("sinks.lake.connection.key_file", r#""/etc/trailship/client.key""#),
    ("sinks.lake.answers.retry", "[423]"),
    ("sinks.lake.shape", r#""nested""#),
    ("sinks.lake.match", r#"{ eventCategory = ["Management"] }"#),
    ("sinks.splunk.index", r#""security""#),
    ("sinks.splunk.source", r#""trailship""#),
    ("sinks.splunk.host", r#""acme-org-trail""#),
    ("sinks.splunk.batch.bytes", r#""1 MB""#),
    ("sinks.splunk.batch.events", "10000"),
    ("sinks.splunk.batch.age", r#""1s""#),
    ("sinks.splunk.batch.compression", r#""gzip""#),
    ("sinks.splunk.connection.concurrency", "8"),
    ("sinks.splunk.connection.proxy", r#""http://proxy.example.com:3128""#),
    ("sinks.splunk.connection.ca_file", r#""/etc/trailship/ca.crt""#),
    ("sinks.splunk.connection.cert_file", r#""/etc/trailship/client.crt""#),
    ("sinks.splunk.connection.key_file", r#""/etc/trailship/client.key""#),
    ("sinks.splunk.shape", r#""nested""#),
    ("sinks.splunk.match", r#"{ eventCategory = ["Management"] }"#),
    ("sinks.search.index", r#""cloudtrail-{year}.{month}.{day}""#),
    ("sinks.search.data_stream", r#""logs-cloudtrail-default""#),
    ("sinks.search.oldest", r#""400 d""#),
    ("sinks.search.ids", "true"),
    ("sinks.search.manage_template", "true"),
    ("sinks.search.template", r#""trailship-search""#),
    ("sinks.search.fields", r#"{ "trailship.account.tags.team" = "keyword" }"#),
    ("sinks.search.index_settings", r#"{ number_of_shards = "3" }"#),
    ("sinks.search.lifecycle", r#"{ delete_after = "90 d" }"#),
    (
        "sinks.search.auth",
        r#"{ type = "basic", user = "trailship", password = { env = "SEARCH_PASSWORD" } }"#,
    ),
    ("sinks.search.batch.bytes", r#""5 MiB""#),
    ("sinks.search.batch.events", "5000"),
    ("sinks.search.batch.age", r#""1s""#),
    ("sinks.search.batch.compression", r#""gzip""#),
    ("sinks.search.connection.concurrency", "8"),
    ("sinks.search.connection.proxy", r#""http://proxy.example.com:3128""#),
    ("sinks.search.connection.ca_file", r#""/etc/trailship/ca.crt""#),
    ("sinks.search.connection.cert_file", r#""/etc/trailship/client.crt""#),
    ("sinks.search.connection.key_file", r#""/etc/trailship/client.key""#),
    ("sinks.search.shape", r#""flat""#),
    ("sinks.search.match", r#"{ eventCategory = ["Management"] }"#),
];

/// What stands below a component: tables that the settings above cannot hold.
const BELOW: [(&str, &str); 1] = [(
    "transforms.environment",
    r#"# The first rule that matches decides. `match` sees the account: id, name, ou_path, tags.
[[transforms.environment.rules]]
set = "prod"
match = { tags = { env = ["prod", "production"] } }

[[transforms.environment.rules]]
set = "sandbox"
match = { name = [{ wildcard = "*sandbox*" }] }
"#,
)];

const HEAD: &str = "\
# Every setting of Trailship. Made from the program's own descriptions: a test fails when it is stale.
#
# A line `#key = value` is a setting at its default, or an example of one that is empty by default; `# words` describe
# what follows. As it stands, this file reads the tree that `trailship generate` writes to ./trail, and ships it to standard
# output and to files below ./out.
#
# Sizes and durations carry their unit: \"64 MiB\", \"10 MB\", \"30s\", \"10 min\", \"7 d\". Relative paths start in the directory
# the program was started in. Any single value may stand elsewhere: { env = \"NAME\", default = … } or { file = \"path\" };
# secrets must. A `match` is an EventBridge event pattern, as a table or as JSON in a string; null is { null = true }.
";

/// Returns the commented example of the configuration: every setting, with its description and its default.
pub fn example() -> String {
    let mut generator = SchemaGenerator::default();
    let globals = Globals::json_schema(&mut generator).to_value();
    let pipeline = PipelineConfig::json_schema(&mut generator).to_value();
    let components: Vec<_> = SHOWN
        .iter()
        .map(|(section, name, kind)| {
            let schema = match *section {
                "sources" => SourceConfig::schema(kind, &mut generator),
                "sinks" => SinkConfig::schema(kind, &mut generator),
                _ => TransformConfig::schema(kind, &mut generator),
            };
            (format!("{section}.{name}"), *kind, schema.to_value())
        })
        .collect();
    let mut page = Page { text: HEAD.to_owned(), definitions: generator.take_definitions(true) };
    page.table("", &globals);
    for (path, kind, schema) in components {
        let start = page.text.len();
        page.text.push('\n');
        page.words(schema.get("description"));
        page.text.push_str(&format!("[{path}]\ntype = \"{kind}\"\n"));
        page.table(&path, &schema);
        if let Some((_, below)) = BELOW.iter().find(|(above, _)| *above == path) {
            page.text.push_str(&format!("\n{below}"));
        }
        if ASIDE.iter().any(|name| path.ends_with(&format!(".{name}"))) {
            let part = page.text.split_off(start);
            for line in part.lines() {
                let mark = if line.is_empty() || line.starts_with('#') { "" } else { "#" };
                page.text.push_str(&format!("{mark}{line}\n"));
            }
        }
    }
    page.text.push('\n');
    page.words(pipeline.get("description"));
    page.words(Some(&json!("May be left out when there is one source: then everything goes in file order.")));
    page.text.push_str("[pipelines.main]\n");
    let shapes = ["flatten"];
    for (key, setting) in pipeline.get("properties").and_then(Value::as_object).into_iter().flatten() {
        page.words(setting.get("description"));
        let names: Vec<_> = SHOWN
            .iter()
            .filter(|(section, name, kind)| section == key && !shapes.contains(kind) && !ASIDE.contains(name))
            .collect();
        let names: Vec<_> = names.iter().map(|(_, name, _)| format!("\"{name}\"")).collect();
        page.text.push_str(&format!("{key} = [{}]\n", names.join(", ")));
    }
    page.text
}

struct Page {
    text: String,
    definitions: Map<String, Value>,
}

impl Page {
    /// Writes a description as comment lines of at most 120 characters.
    fn words(&mut self, description: Option<&Value>) {
        for paragraph in description.and_then(Value::as_str).unwrap_or_default().split("\n\n") {
            let mut line = String::from("#");
            for word in paragraph.split_whitespace() {
                if line.chars().count() + word.chars().count() >= 119 {
                    self.text.push_str(&line);
                    self.text.push('\n');
                    line = String::from("#");
                }
                line.push(' ');
                line.push_str(word);
            }
            if line.len() > 1 {
                self.text.push_str(&line);
                self.text.push('\n');
            }
        }
    }

    /// Writes the settings of a table: single values first, then the tables below it.
    fn table(&mut self, path: &str, schema: &Value) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        let (mut single, mut tables) = (Vec::new(), Vec::new());
        for (key, setting) in properties {
            let below = self.definition(setting).filter(|definition| definition.get("properties").is_some());
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            // A table of which only some settings go together is shown on one line.
            let on_one_line = POSSIBLE.iter().any(|(at, _)| *at == path);
            match below.filter(|_| !on_one_line) {
                Some(below) => tables.push((path, setting, below.clone())),
                None => single.push((path, key, setting)),
            }
        }
        for (path, key, setting) in single {
            let text = |list: &[(&str, &str)]| {
                list.iter().find(|(at, _)| *at == path).map(|(_, text)| (*text).to_owned())
            };
            let stated = text(&STATED);
            let default = setting.get("default").filter(|default| !default.is_null()).map(toml_of);
            let Some(value) = stated.clone().or_else(|| text(&POSSIBLE)).or(default) else { continue };
            // A single value at the top level has a line of its own above it; so has every described one elsewhere.
            self.text.push('\n');
            self.words(setting.get("description"));
            self.variants(setting);
            self.parts(setting);
            let mark = if stated.is_some() { "" } else { "#" };
            self.text.push_str(&format!("{mark}{key} = {value}\n"));
        }
        for (path, setting, below) in tables {
            self.text.push('\n');
            self.words(setting.get("description").or_else(|| below.get("description")));
            self.text.push_str(&format!("[{path}]\n"));
            self.table(&path, &below);
        }
    }

    /// Returns the definition that a setting refers to.
    fn definition(&self, setting: &Value) -> Option<&Value> {
        let refers = |setting: &Value| setting.get("$ref").and_then(Value::as_str).map(str::to_owned);
        let any = || setting.get("anyOf")?.as_array()?.iter().find_map(refers);
        let name = refers(setting).or_else(any)?;
        self.definitions.get(name.rsplit('/').next()?)
    }

    /// Writes what stands in a table that is shown on one line, each setting with its words.
    fn parts(&mut self, setting: &Value) {
        let properties =
            self.definition(setting).and_then(|table| table.get("properties")?.as_object().cloned());
        for (key, part) in properties.into_iter().flatten() {
            let words =
                part.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
            self.words(Some(&json!(format!("  `{key}`: {words}"))));
        }
    }

    /// Writes the values that an enumerated setting takes, each with its words.
    fn variants(&mut self, setting: &Value) {
        let variants =
            self.definition(setting).and_then(|definition| definition.get("oneOf")?.as_array().cloned());
        for variant in variants.unwrap_or_default() {
            let text = |key: &str| variant.get(key).and_then(Value::as_str).unwrap_or_default();
            if !text("const").is_empty() {
                self.text.push_str(&format!("#   \"{}\": {}\n", text("const"), text("description")));
            }
        }
    }
}

/// Writes a value as TOML, on one line.
fn toml_of(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries: Vec<_> =
                entries.iter().map(|(key, value)| format!("{key} = {}", toml_of(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        scalar => scalar.to_string(),
    }
}
