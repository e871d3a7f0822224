//! Whether an answer is as `docs/openapi.json` has it: the part of JSON Schema that is used there, and more strictly: what is not described must
//! not come.

use serde_json::Value;

use crate::client::Response;

const OPENAPI: &str = include_str!("../../docs/openapi.json");

pub(crate) struct Api(Value);

impl Api {
    pub(crate) fn read() -> Self {
        Self(serde_json::from_str(OPENAPI).unwrap())
    }

    /// All operations: method and address.
    pub(crate) fn operations(&self) -> Vec<(String, String)> {
        let of_path = |(path, methods): (&String, &Value)| {
            let methods = methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()));
            methods.collect::<Vec<_>>()
        };
        self.0["paths"].as_object().unwrap().iter().flat_map(of_path).collect()
    }

    /// Panics unless the answer to this operation is one that is described.
    pub(crate) fn check(&self, method: &str, path: &str, response: &Response) {
        let operation = &self.0["paths"][path][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {path} is not described");
        let described = self.resolved(&operation["responses"][response.status.to_string()]);
        assert!(described.is_object(), "{method} {path}: {} is not described: {response:?}", response.status);
        let kind = response.header("Content-Type").unwrap_or_default();
        let contents = described["content"].as_object().unwrap();
        let (_, content) =
            contents.iter().find(|(of, _)| kind.starts_with(of.as_str())).unwrap_or_else(|| panic!("{path}: {kind}"));
        if kind.starts_with("application/json") {
            let mistakes = self.mistakes(&content["schema"], &response.json(), path);
            assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
        }
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(path) => self.0.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("{path} is nowhere")),
            None => value,
        }
    }

    fn mistakes(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let schema = self.resolved(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            let all: Vec<_> = choices.iter().map(|choice| self.mistakes(choice, value, at)).collect();
            let fitting = all.iter().filter(|mistakes| mistakes.is_empty()).count();
            return if fitting == 1 { Vec::new() } else { all.concat() };
        }
        let mut mistakes = Vec::new();
        let mut expect = |is_right: bool, what: &Value| {
            if !is_right {
                mistakes.push(format!("{at}: {value} is not {what}"));
            }
        };
        expect(has_type(&schema["type"], value), &schema["type"]);
        expect(schema["enum"].is_null() || schema["enum"].as_array().unwrap().contains(value), &schema["enum"]);
        expect(schema["const"].is_null() || schema["const"] == *value, &schema["const"]);
        if let Some(number) = value.as_f64() {
            expect(schema["minimum"].as_f64().is_none_or(|least| number >= least), &schema["minimum"]);
            expect(schema["maximum"].as_f64().is_none_or(|most| number <= most), &schema["maximum"]);
        }
        if let (Some(items), true) = (value.as_array(), schema["items"].is_object()) {
            mistakes.extend(items.iter().flat_map(|item| self.mistakes(&schema["items"], item, &format!("{at}[]"))));
        }
        if let (Some(fields), Some(known)) = (value.as_object(), schema["properties"].as_object()) {
            for required in schema["required"].as_array().into_iter().flatten() {
                if !fields.contains_key(required.as_str().unwrap()) {
                    mistakes.push(format!("{at}: {required} is missing"));
                }
            }
            for (name, field) in fields {
                match known.get(name) {
                    Some(schema) => mistakes.extend(self.mistakes(schema, field, &format!("{at}.{name}"))),
                    None if schema["additionalProperties"] == true => {}
                    None => mistakes.push(format!("{at}.{name} is not described")),
                }
            }
        }
        mistakes
    }
}

fn has_type(types: &Value, value: &Value) -> bool {
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("type {other}"),
    };
    match types {
        Value::String(kind) => is(kind),
        Value::Array(kinds) => kinds.iter().any(|kind| is(kind.as_str().unwrap())),
        _ => true,
    }
}

#[test]
fn what_is_not_described_is_found() {
    let api = Api::read();
    let schema = serde_json::json!({"$ref": "#/components/schemas/Paused"});
    let mistakes = |value| api.mistakes(&schema, &value, "it").len();
    assert_eq!(mistakes(serde_json::json!({"paused": true})), 0);
    assert_eq!(mistakes(serde_json::json!({})), 1);
    assert_eq!(mistakes(serde_json::json!({"paused": 1})), 1);
    assert_eq!(mistakes(serde_json::json!({"paused": true, "more": 1})), 1);
}
