//! Generates the reference of the configuration from its structs: the JSON schema and the commented example.

use super::{Globals, Kind, PipelineConfig, SinkConfig, SourceConfig, TransformConfig};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Returns the JSON schema of the configuration, for editors and other checkers.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut root = Globals::json_schema(&mut generator).to_value();
    take_apart(&mut root);
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
    definitions.values_mut().for_each(take_apart);
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
    take_apart(&mut schema);
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

/// Lets a reference stand wherever a scalar does.
fn take_apart(schema: &mut Value) {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for property in properties.values_mut() {
        take_apart(property);
        if let Some(items) = property.get_mut("items") {
            take_apart(items);
            or_reference(items);
        }
        or_reference(property);
    }
}

fn or_reference(schema: &mut Value) {
    let scalar = |kind: &Value| {
        ["string", "integer", "number", "boolean"].contains(&kind.as_str().unwrap_or_default())
    };
    let is_scalar = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(scalar),
        Some(kind) => scalar(kind),
        None => false,
    };
    let Some(object) = schema.as_object_mut().filter(|_| is_scalar) else { return };
    let mut outer = Map::new();
    for key in ["description", "default"] {
        if let Some(value) = object.remove(key) {
            outer.insert(key.to_owned(), value);
        }
    }
    let inner = Value::Object(std::mem::take(object));
    outer.insert("anyOf".to_owned(), json!([inner, { "$ref": "#/$defs/Reference" }]));
    *object = outer;
}
