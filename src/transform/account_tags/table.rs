//! The accounts file: CSV or JSON, columns by name.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use foldhash::HashMap;
use serde_json::{Map, Value};

use crate::record::identity::Account;

/// The largest accounts file that is read, bytes: an organization has at most some ten thousand accounts.
const LARGEST: u64 = 64 << 20;

/// What is known of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountInfo {
    /// Its name.
    pub name: Option<String>,
    /// Its organizational units from the root down: `Root/Workloads/Prod`.
    pub ou_path: Option<String>,
    /// Its tags, in the order of the file.
    pub tags: Vec<(String, String)>,
}

/// Where in its file an account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// The line of a CSV, from 1.
    Line(u64),
    /// The element of a JSON list, from 1.
    Entry(u64),
}

impl std::fmt::Display for Row {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Row::Line(number) => write!(formatter, "line {number}"),
            Row::Entry(number) => write!(formatter, "entry {number}"),
        }
    }
}

/// Accounts by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    accounts: HashMap<Account, AccountInfo>,
    rows: HashMap<Account, Row>,
}

impl Table {
    /// Reads a file; CSV or JSON is told by the first character.
    ///
    /// # Errors
    /// What is wrong, with the file and the line.
    pub fn read(path: &Path) -> Result<Table, String> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text));
        let wrong = |what: String| format!("reading {}: {what}", path.display());
        match read {
            Ok(length) if length as u64 > LARGEST => return Err(wrong("it is over 64 MiB".into())),
            Ok(_) => {}
            Err(error) => return Err(wrong(error.to_string())),
        }
        Table::parse(&text).map_err(wrong)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub fn parse(text: &str) -> Result<Table, String> {
        let text = text.trim_start_matches('\u{feff}');
        if text.trim_start().starts_with(['[', '{']) {
            Table::parse_json(text)
        } else {
            Table::parse_csv(text)
        }
    }

    /// What is known of an account.
    pub fn get(&self, account: Account) -> Option<&AccountInfo> {
        self.accounts.get(&account)
    }

    /// Where in the file an account stands.
    pub fn row(&self, account: Account) -> Option<Row> {
        self.rows.get(&account).copied()
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    fn parse_csv(text: &str) -> Result<Table, String> {
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| error.to_string())?.clone();
        let columns: Vec<Column> = header.iter().map(Column::of).collect();
        if !columns.contains(&Column::Id) {
            let names = header.iter().collect::<Vec<_>>().join(", ");
            return Err(format!(
                "no column `account_id` in the header ({names}): the first line names the columns"
            ));
        }
        let mut table = Table::default();
        for row in reader.records() {
            let row = row.map_err(|error| error.to_string())?;
            let line = row.position().map_or(0, csv::Position::line);
            let mut entry = Entry::default();
            for (column, value) in columns.iter().zip(&row) {
                if !value.is_empty() {
                    entry.set(column, value.to_owned());
                }
            }
            table.add(entry, Row::Line(line)).map_err(|error| format!("line {line}: {error}"))?;
        }
        Ok(table)
    }

    fn parse_json(text: &str) -> Result<Table, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let list = match value {
            Value::Array(list) => list,
            Value::Object(mut object) => {
                match object.remove("Accounts").or_else(|| object.remove("accounts")) {
                    Some(Value::Array(list)) => list,
                    Some(_) => return Err("`Accounts` is not a list".into()),
                    None => by_id(object)?,
                }
            }
            _ => return Err("neither a list of accounts nor an object".into()),
        };
        let mut table = Table::default();
        for (number, account) in (1..).zip(list) {
            let Value::Object(fields) = account else {
                return Err(format!("account {number} is not an object"));
            };
            let mut entry = Entry::default();
            for (name, value) in fields {
                match (Column::of(&name), value) {
                    (_, Value::Null) => {}
                    (_, Value::Object(tags)) if name.eq_ignore_ascii_case("tags") => {
                        for (tag, value) in tags {
                            entry.set(&Column::Tag(tag), plain(&value));
                        }
                    }
                    (_, Value::Array(tags)) if name.eq_ignore_ascii_case("tags") => {
                        for tag in &tags {
                            if let (Some(key), Some(value)) = (tag["Key"].as_str(), tag.get("Value")) {
                                entry.set(&Column::Tag(key.to_owned()), plain(value));
                            }
                        }
                    }
                    (Column::OuPath, Value::Array(paths)) => {
                        if let Some(path) = paths.first() {
                            entry.set(&Column::OuPath, plain(path));
                        }
                    }
                    (column, value) => entry.set(&column, plain(&value)),
                }
            }
            table.add(entry, Row::Entry(number)).map_err(|error| format!("account {number}: {error}"))?;
        }
        Ok(table)
    }

    fn add(&mut self, entry: Entry, row: Row) -> Result<(), String> {
        let Some(id) = entry.id else { return Err("no account id".into()) };
        // Spreadsheets drop leading zeros.
        let padded =
            if id.bytes().all(|byte| byte.is_ascii_digit()) { format!("{id:0>12}") } else { id.clone() };
        let account = Account::parse(padded.as_bytes())
            .ok_or_else(|| format!("`{id}` is not an account id: 12 digits"))?;
        if self.accounts.insert(account, entry.info).is_some() {
            return Err(format!("account {account} stands twice"));
        }
        self.rows.insert(account, row);
        Ok(())
    }
}

/// `{"111122223333": {"name": …}, …}`.
fn by_id(object: Map<String, Value>) -> Result<Vec<Value>, String> {
    let entry = |(id, value): (String, Value)| match value {
        Value::Object(mut fields) => {
            fields.insert("account_id".into(), id.into());
            Ok(Value::Object(fields))
        }
        _ => Err(format!("no list `Accounts`, and `{id}` is not an object with the fields of an account")),
    };
    object.into_iter().map(entry).collect()
}

/// A value as the text of a tag.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[derive(Default)]
struct Entry {
    id: Option<String>,
    info: AccountInfo,
}

impl Entry {
    fn set(&mut self, column: &Column, value: String) {
        match column {
            Column::Id => self.id = Some(value),
            Column::Name => self.info.name = Some(value),
            Column::OuPath => self.info.ou_path = Some(value),
            Column::Tag(tag) => self.info.tags.push((tag.clone(), value)),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Column {
    Id,
    Name,
    OuPath,
    Tag(String),
}

impl Column {
    /// Header names people and AWS use, without case and separators.
    fn of(name: &str) -> Column {
        let folded: String =
            name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        match folded.as_str() {
            "accountid" | "id" | "account" => Column::Id,
            "name" | "accountname" => Column::Name,
            "oupath" | "ou" | "paths" => Column::OuPath,
            _ => Column::Tag(name.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(id: &str) -> Account {
        Account::parse(id.as_bytes()).unwrap()
    }

    #[test]
    fn csv_columns_are_found_by_name_and_the_rest_are_tags() {
        let text = "\u{feff}name, Account ID ,env,ou_path\npay, 111122223333,prod,Root/Prod\nold,33,,\n";
        let table = Table::parse(text).unwrap();
        let pay = table.get(account("111122223333")).unwrap();
        assert_eq!((pay.name.as_deref(), pay.ou_path.as_deref()), (Some("pay"), Some("Root/Prod")));
        assert_eq!(pay.tags, [("env".to_owned(), "prod".to_owned())]);
        let old = table.get(account("000000000033")).unwrap();
        assert_eq!((old.ou_path.as_deref(), old.tags.len(), table.len()), (None, 0, 2));
    }

    #[test]
    fn json_comes_as_a_list_as_aws_prints_it_and_by_id() {
        for text in [
            r#"[{"account_id":"111122223333","name":"pay","tags":{"env":"prod"}}]"#,
            r#"{"Accounts":[{"Id":"111122223333","Name":"pay","Tags":[{"Key":"env","Value":"prod"}]}]}"#,
            r#"{"111122223333":{"name":"pay","env":"prod"}}"#,
        ] {
            let table = Table::parse(text).unwrap();
            let pay = table.get(account("111122223333")).unwrap();
            assert_eq!(pay.name.as_deref(), Some("pay"));
            assert!(pay.tags.contains(&("env".to_owned(), "prod".to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, said) in [
            ("name,env\npay,prod\n", "no column `account_id`"),
            ("account_id,name\n111122223333,a\nx,b\n", "line 3: `x` is not an account id"),
            ("account_id\n111122223333\n111122223333\n", "line 3: account 111122223333 stands twice"),
            ("account_id,name\n111122223333\n", "line"),
            ("[{\"name\":\"x\"}]", "account 1: no account id"),
            ("{\"a\":1}", "no list `Accounts`"),
            ("[1]", "account 1 is not an object"),
            ("[", "EOF"),
        ] {
            let error = Table::parse(text).unwrap_err();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }
}
