//! The source `kinesis` against kinesis-local, which ends closed shards and tells of their children.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::here::{record, wait};
use crate::kinesis::names;
use crate::kinesis_local::{KinesisLocal, kinesis_local};
use crate::scene::{PROMPT, reading};

struct Stream {
    server: &'static KinesisLocal,
    name: &'static str,
}

impl Stream {
    fn ask(&self, what: &str, mut body: Value) -> Value {
        body["StreamName"] = json!(self.name);
        let mut last = (0, Value::Null);
        // What changes the stream is refused until the change before is through.
        let waited = wait(|| {
            last = self.server.ask(what, &body);
            last.0 == 200
        });
        assert_eq!(waited, None, "{what}: {last:?}");
        last.1
    }

    fn active(&self) {
        let summary = || {
            self.ask("DescribeStreamSummary", json!({}))["StreamDescriptionSummary"]["StreamStatus"].clone()
        };
        assert_eq!(wait(|| summary() == "ACTIVE"), None);
    }

    /// The open shards: id and where their hash keys begin and end.
    fn open(&self) -> Vec<(String, u128, u128)> {
        let shards = self.ask("ListShards", json!({}))["Shards"].as_array().cloned().unwrap();
        let open =
            shards.iter().filter(|shard| shard["SequenceNumberRange"]["EndingSequenceNumber"].is_null());
        let key = |shard: &Value, name: &str| shard["HashKeyRange"][name].as_str().unwrap().parse().unwrap();
        let mut open: Vec<(String, u128, u128)> = open
            .map(|shard| {
                let id = shard["ShardId"].as_str().unwrap().to_owned();
                (id, key(shard, "StartingHashKey"), key(shard, "EndingHashKey"))
            })
            .collect();
        open.sort_by_key(|(_, start, _)| *start);
        open
    }

    fn put(&self, ids: &[String]) {
        let records: Vec<_> = ids
            .iter()
            .map(|id| json!({ "Data": STANDARD.encode(record(id, "")), "PartitionKey": id }))
            .collect();
        let put = self.ask("PutRecords", json!({ "Records": records }));
        assert_eq!(put["FailedRecordCount"], 0, "{put}");
    }
}

#[test]
fn shards_that_are_split_and_merged_are_read_to_their_ends_and_then_their_children() {
    let Some(server) = kinesis_local() else { return };
    let stream = Stream { server, name: "resharded" };
    stream.ask("CreateStream", json!({ "ShardCount": 2 }));
    stream.active();
    let source = "type = \"kinesis\"\nstream = \"resharded\"\nfrom = \"trim_horizon\"";
    let here = reading(&server.endpoint(), source, PROMPT);
    let mut expected = names("before", 60);
    stream.put(&expected);
    let mut running = here.start(&["run"]);
    let (id, start, end) = stream.open().remove(0);
    let middle = (start + (end - start) / 2).to_string();
    stream.ask("SplitShard", json!({ "ShardToSplit": id, "NewStartingHashKey": middle }));
    stream.active();
    let ids = names("split", 60);
    stream.put(&ids);
    expected.extend(ids);
    expected.sort();
    running.until("the children of the split are read", |_| here.ids("out") == expected);
    running.stop().ended(0);
    // Two are merged while nobody looks; the next run reads what is left of them, and then the one they became.
    stream.put(&names("later", 60));
    let open = stream.open();
    stream.ask("MergeShards", json!({ "ShardToMerge": open[1].0, "AdjacentShardToMerge": open[2].0 }));
    stream.active();
    stream.put(&names("merged", 60));
    expected.extend([names("later", 60), names("merged", 60)].concat());
    expected.sort();
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out"), expected, "{}", ran.said);
    assert_eq!(ran.told("everything in this shard is settled, and it is closed").len(), 2, "{}", ran.said);
    let shown = String::from_utf8(here.run(&["state", "show", "main/trail"]).out).unwrap();
    assert_eq!((shown.matches("closed").count(), shown.matches("shardId-").count()), (3, 5), "{shown}");
    assert_eq!(here.once().ended(0).books().read, 0);
}
