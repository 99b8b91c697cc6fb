//! A fake DynamoDB with one table, whose key is `shard`. Of expressions it knows what a table of leases uses: conditions
//! on equality and on what is missing, joined by `AND`; `SET` and `REMOVE`; a filter by the beginning of the key.
//!
//! It may be told to break off: at a change of so many it says so, and answers nothing any more.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::fake_json::{Answer, Asked, listen};

type Row = Map<String, Value>;

#[derive(Default)]
struct Shared {
    /// `None`: there is no table.
    rows: Option<BTreeMap<String, Row>>,
    /// How many requests are still answered, and whether the one after them is carried out.
    breaks: Option<(usize, bool)>,
}

/// The server. Ends with its runtime.
pub(crate) struct FakeDynamodb {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    broken: Arc<Notify>,
}

impl FakeDynamodb {
    pub(crate) async fn start() -> FakeDynamodb {
        let (shared, broken) = (Arc::new(Mutex::new(Shared::default())), Arc::new(Notify::new()));
        let (of, tell) = (shared.clone(), broken.clone());
        let address = listen(move |asked| {
            let mut shared = of.lock().unwrap();
            match &mut shared.breaks {
                Some((0, carries_out)) => {
                    if std::mem::take(carries_out) {
                        shared.answer(&asked);
                    }
                    tell.notify_one();
                    return Answer::Hangs;
                }
                Some((left, _)) => *left -= 1,
                None => {}
            }
            shared.answer(&asked)
        });
        FakeDynamodb { address: address.await, shared, broken }
    }

    /// From now on so many requests are answered; the one after them may still be carried out. `None`: all are.
    pub(crate) fn breaks(&self, after: Option<(usize, bool)>) {
        self.shared.lock().unwrap().breaks = after;
    }

    /// Waits until it has broken off.
    pub(crate) async fn broken(&self) {
        self.broken.notified().await;
    }

    /// Puts rows in the place of all there are; `None`: there is no table.
    pub(crate) fn set(&self, rows: Option<&[Value]>) {
        let by_key =
            |row: &Value| (row["shard"]["S"].as_str().unwrap().to_owned(), row.as_object().unwrap().clone());
        self.shared.lock().unwrap().rows = rows.map(|rows| rows.iter().map(by_key).collect());
    }

    pub(crate) fn rows(&self) -> BTreeMap<String, Row> {
        self.shared.lock().unwrap().rows.clone().unwrap_or_default()
    }
}

impl Shared {
    fn answer(&mut self, Asked { operation, body, .. }: &Asked) -> Answer {
        if operation == "CreateTable" {
            self.rows.get_or_insert_default();
            return Answer::Is(json!({ "TableDescription": { "TableStatus": "ACTIVE" } }));
        }
        let Some(rows) = &mut self.rows else {
            return Answer::Refused(400, "ResourceNotFoundException", "there is no such table");
        };
        let key = || {
            let row = if body["Key"].is_null() { &body["Item"] } else { &body["Key"] };
            row["shard"]["S"].as_str().unwrap().to_owned()
        };
        let is_met = |rows: &BTreeMap<String, Row>| {
            let (empty, condition) = (Row::new(), body["ConditionExpression"].as_str().unwrap_or_default());
            let row = rows.get(&key()).unwrap_or(&empty);
            condition.split(" AND ").filter(|part| !part.is_empty()).all(|part| {
                match part.split_once(" = ") {
                    Some((name, value)) => {
                        row.get(&named(body, name)) == Some(&body["ExpressionAttributeValues"][value])
                    }
                    None => {
                        let name =
                            part.strip_prefix("attribute_not_exists(").unwrap().strip_suffix(')').unwrap();
                        !row.contains_key(&named(body, name))
                    }
                }
            })
        };
        let unmet = Answer::Refused(400, "ConditionalCheckFailedException", "the condition is not met");
        match operation.as_str() {
            "DescribeTable" => Answer::Is(json!({ "Table": { "TableStatus": "ACTIVE" } })),
            "GetItem" => Answer::Is(rows.get(&key()).map_or(json!({}), |row| json!({ "Item": row }))),
            "Scan" => {
                let prefix = body["ExpressionAttributeValues"][":prefix"]["S"].as_str().unwrap();
                let found: Vec<&Row> =
                    rows.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, row)| row).collect();
                Answer::Is(json!({ "Items": found }))
            }
            "DeleteItem" => {
                rows.remove(&key());
                Answer::Is(json!({}))
            }
            "PutItem" | "UpdateItem" if !is_met(rows) => unmet,
            "PutItem" => {
                rows.insert(key(), body["Item"].as_object().unwrap().clone());
                Answer::Is(json!({}))
            }
            "UpdateItem" => {
                let row = rows.entry(key()).or_insert_with(|| body["Key"].as_object().unwrap().clone());
                let update = body["UpdateExpression"].as_str().unwrap();
                let (set, remove) = update.split_once("REMOVE ").unwrap_or((update, ""));
                for change in
                    set.trim().trim_start_matches("SET ").split(", ").filter(|change| !change.is_empty())
                {
                    let (name, value) = change.split_once(" = ").unwrap();
                    row.insert(named(body, name), body["ExpressionAttributeValues"][value].clone());
                }
                for name in remove.split(", ").filter(|name| !name.is_empty()) {
                    row.remove(&named(body, name));
                }
                Answer::Is(json!({}))
            }
            other => panic!("{other}"),
        }
    }
}

/// What a name in an expression stands for.
fn named(body: &Value, name: &str) -> String {
    body["ExpressionAttributeNames"][name.trim()]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {body}"))
        .to_owned()
}
