//! Generates the reference of the configuration from its structs: the JSON schema and the commented example.

mod example;

pub use example::example;

use super::{Globals, Kind, PipelineConfig, SinkConfig, SourceConfig, TransformConfig};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Returns the JSON schema of the configuration, for editors and other checkers.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut root = Globals::json_schema(&mut generator).to_value();
    let pipeline = PipelineConfig::json_schema(&mut generator).to_value();
    let sections = [
        ("sources", "Where records are read.", components::<SourceConfig>(&mut generator)),
        ("transforms", "What is done with records, by name.", components::<TransformConfig>(&mut generator)),
        (
            "sinks",
            "Where records are written. Default: standard output.",
            components::<SinkConfig>(&mut generator),
        ),
        ("pipelines", "What is connected with what. May be left out when there is one source.", pipeline),
    ];
    for (name, description, schema) in sections {
        root["properties"][name] = json!({
            "description": description,
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9_-]{1,64}$" },
            "additionalProperties": schema,
        });
    }
    let mut definitions = generator.take_definitions(true);
    let plain = definitions.clone();
    take_apart(&mut root, &plain);
    definitions.values_mut().for_each(|definition| take_apart(definition, &plain));
    definitions.insert("Reference".to_owned(), json!({
        "description": "A value that stands elsewhere: in an environment variable or in a file.",
        "oneOf": [
            {
                "type": "object",
                "properties": { "env": { "type": "string" }, "default": { "type": ["string", "integer", "number", "boolean"] } },
                "required": ["env"],
                "additionalProperties": false,
            },
            {
                "type": "object",
                "properties": { "file": { "type": "string" } },
                "required": ["file"],
                "additionalProperties": false,
            },
        ],
    }));
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Trailship configuration");
    root["$defs"] = Value::Object(definitions);
    root
}

/// Describes the components of a section: one of several, told apart by `type`.
fn components<K: Kind>(generator: &mut SchemaGenerator) -> Value {
    let all: Vec<Value> = K::TYPES.iter().map(|kind| component::<K>(kind, generator)).collect();
    json!({ "type": "object", "required": ["type"], "oneOf": all })
}

fn component<K: Kind>(kind: &str, generator: &mut SchemaGenerator) -> Value {
    let mut schema = K::schema(kind, generator).to_value();
    let mut properties = Map::new();
    properties.insert("type".to_owned(), json!({ "const": kind }));
    if let Some(Value::Object(own)) = schema.get_mut("properties").map(Value::take) {
        properties.extend(own);
    }
    schema["properties"] = Value::Object(properties);
    let mut required = vec![json!("type")];
    if let Some(Value::Array(own)) = schema.get_mut("required").map(Value::take) {
        required.extend(own);
    }
    schema["required"] = Value::Array(required);
    schema
}

/// Lets a reference stand wherever a scalar does, and null nowhere: TOML has none.
fn take_apart(schema: &mut Value, definitions: &Map<String, Value>) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut() {
            if let Some(items) = property.get_mut("items") {
                or_reference(items, definitions);
            }
            or_reference(property, definitions);
        }
    }
    match schema {
        Value::Object(members) => members.values_mut().for_each(|member| take_apart(member, definitions)),
        Value::Array(items) => items.iter_mut().for_each(|item| take_apart(item, definitions)),
        _ => {}
    }
}

fn or_reference(schema: &mut Value, definitions: &Map<String, Value>) {
    let is_null = |value: &Value| value.as_str() == Some("null");
    let Some(object) = schema.as_object_mut() else { return };
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| !is_null(kind));
        if let [kind] = &kinds[..] {
            let kind = kind.clone();
            object.insert("type".to_owned(), kind);
        }
    }
    let mut alternatives = match object.remove("anyOf") {
        Some(Value::Array(alternatives)) => alternatives,
        _ => {
            let mut inner = Map::new();
            for (key, value) in std::mem::take(object) {
                let outside = key == "description" || key == "default";
                if outside {
                    object.insert(key, value)
                } else {
                    inner.insert(key, value)
                };
            }
            vec![Value::Object(inner)]
        }
    };
    alternatives.retain(|alternative| !alternative.get("type").is_some_and(is_null));
    let reference = json!({ "$ref": "#/$defs/Reference" });
    if alternatives.iter().any(|alternative| is_scalar(alternative, definitions))
        && !alternatives.contains(&reference)
    {
        alternatives.push(reference);
    }
    if let [Value::Object(one)] = &mut alternatives[..] {
        object.extend(std::mem::take(one));
    } else {
        object.insert("anyOf".to_owned(), Value::Array(alternatives));
    }
}

/// Returns whether a schema takes one single value.
fn is_scalar(schema: &Value, definitions: &Map<String, Value>) -> bool {
    let scalar = |kind: &Value| {
        ["string", "integer", "number", "boolean"].contains(&kind.as_str().unwrap_or_default())
    };
    match (schema.get("type"), schema.get("$ref").and_then(Value::as_str)) {
        (Some(Value::Array(kinds)), _) => kinds.iter().any(scalar),
        (Some(kind), _) => scalar(kind),
        (None, Some(name)) => {
            // An enumeration is a list of constants; a table has properties.
            let definition = name.rsplit('/').next().and_then(|name| definitions.get(name));
            definition.is_some_and(|definition| definition.get("properties").is_none())
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests;
