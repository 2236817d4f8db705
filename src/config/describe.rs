//! The description that reading leaves behind, as a JSON Schema for editors.

use serde_json::{Map, Value as Json, json};

/// One key of a section.
#[derive(Clone, Debug)]
pub(super) struct KeyDoc {
    pub(super) key: &'static str,
    pub(super) doc: &'static str,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Section { keys: Vec<KeyDoc>, can_be_off: bool },
    Sections(Vec<KeyDoc>),
    Text { default: Option<String> },
    Number { default: u64, least: u64, most: u64 },
    Flag { default: bool },
    Choice { default: &'static str, words: Vec<&'static str> },
    Texts { default: Vec<&'static str>, words: Vec<&'static str> },
    Ids,
    Pairs,
    Secret { key_file: &'static str },
}

impl KeyDoc {
    /// The names that the key may be written by.
    pub(super) fn spellings(&self) -> impl Iterator<Item = &'static str> + use<> {
        let file = if let Kind::Secret { key_file } = &self.kind { Some(*key_file) } else { None };
        std::iter::once(self.key).chain(file)
    }
}

/// The JSON Schema (2020-12) of a whole file.
pub(super) fn schema(keys: &[KeyDoc]) -> Json {
    let mut root = Map::new();
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!("Chaperone configuration"));
    root.extend(object(keys));
    Json::Object(root)
}

fn object(keys: &[KeyDoc]) -> Map<String, Json> {
    let mut properties = Map::new();
    for key in keys {
        properties.insert(key.key.to_owned(), property(key));
        if let Kind::Secret { key_file } = key.kind {
            let doc = format!("A file that holds it: {}", key.doc);
            properties.insert(key_file.to_owned(), json!({"type": "string", "description": doc}));
        }
    }
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("additionalProperties".to_owned(), json!(false));
    object.insert("properties".to_owned(), Json::Object(properties));
    object
}

fn property(key: &KeyDoc) -> Json {
    // A number or a truth value may also come from the environment.
    let variable = json!({"type": "string", "pattern": "\\$\\{"});
    let mut shape = match &key.kind {
        Kind::Section { keys, can_be_off: false } => Json::Object(object(keys)),
        Kind::Section { keys, can_be_off: true } => json!({"anyOf": [object(keys), {"enum": ["off", false]}]}),
        Kind::Sections(keys) => json!({"type": "array", "items": object(keys)}),
        Kind::Text { default: Some(default) } => json!({"type": "string", "default": default}),
        Kind::Text { default: None } | Kind::Secret { .. } => json!({"type": "string"}),
        Kind::Number { default, least, most } => {
            json!({"anyOf": [{"type": "integer", "minimum": least, "maximum": most}, variable], "default": default})
        }
        Kind::Flag { default } => json!({"anyOf": [{"type": "boolean"}, variable], "default": default}),
        Kind::Choice { default, words } => json!({"enum": words, "default": default}),
        Kind::Texts { default, words } if words.is_empty() => {
            json!({"type": "array", "items": {"type": "string"}, "default": default})
        }
        Kind::Texts { default, words } => json!({"type": "array", "items": {"enum": words}, "default": default}),
        Kind::Ids => json!({"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": u32::MAX}}),
        Kind::Pairs => json!({"type": "object", "additionalProperties": {"type": "string"}}),
    };
    if let Json::Object(shape) = &mut shape {
        shape.insert("description".to_owned(), json!(key.doc));
    }
    shape
}
