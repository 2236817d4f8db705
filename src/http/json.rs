//! Strict JSON: what two parsers could read differently is refused, and every refusal names the place.
//!
//! `serde_json` keeps the last of two equal keys where a proxy may have read the first, and puts no limit on what it
//! builds. This reader refuses duplicate keys, keys that Cedar would read as instructions (`__entity`, `__extn`), and
//! whatever is deeper, longer or more than its limits.

use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json};

/// How much one document may hold.
#[derive(Clone, Copy, Debug)]
pub struct JsonLimits {
    /// Arrays and objects inside each other, the top-level object included.
    pub depth_max: usize,
    /// Values of any kind.
    pub nodes_max: usize,
    /// Bytes of one string or key.
    pub string_bytes_max: usize,
}

/// Why a document was not read.
#[derive(Debug, thiserror::Error)]
#[error("{fault}")]
pub struct ReadError {
    /// The JSON pointer of the value at fault, `""` for the document itself.
    pub path: String,
    pub fault: Fault,
}

/// What was wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the body is empty")]
    Empty,
    #[error("the top level must be an object")]
    NotAnObject,
    #[error("not well-formed JSON: {0}")]
    Syntax(serde_json::Error),
    #[error("the key is given twice")]
    DuplicateKey,
    #[error("keys that begin with `__` are refused")]
    ReservedKey,
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    #[error("more than {0} values")]
    TooManyNodes(usize),
    #[error("a string longer than {0} bytes")]
    LongString(usize),
}

/// Reads one object, its keys in the order given.
///
/// # Errors
///
/// [`ReadError`] for anything but one well-formed object within `limits`.
pub fn read_object(bytes: &[u8], limits: &JsonLimits) -> Result<Map<String, Json>, ReadError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ReadError { path: String::new(), fault: Fault::Empty });
    }
    let mut walk = Walk { limits, depth: 0, nodes: 0, fault: None, way_back: Vec::new() };
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let read = Node { walk: &mut walk }.deserialize(&mut source).and_then(|value| source.end().map(|()| value));
    match read {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err(ReadError { path: String::new(), fault: Fault::NotAnObject }),
        Err(error) => Err(ReadError { path: walk.path(), fault: walk.fault.unwrap_or(Fault::Syntax(error)) }),
    }
}

/// Appends one step to a JSON pointer.
pub fn push_step(path: &mut String, key: &str) {
    path.push('/');
    for character in key.chars() {
        match character {
            '~' => path.push_str("~0"),
            '/' => path.push_str("~1"),
            other => path.push(other),
        }
    }
}

struct Walk<'l> {
    limits: &'l JsonLimits,
    depth: usize,
    nodes: usize,
    fault: Option<Fault>,
    /// Filled only while an error travels up, innermost step first: reading what is right costs nothing for it.
    way_back: Vec<Step>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Walk<'_> {
    fn refuse<E: serde::de::Error>(&mut self, fault: Fault) -> E {
        self.fault = Some(fault);
        E::custom("refused")
    }

    fn count<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes_max {
            return Err(self.refuse(Fault::TooManyNodes(self.limits.nodes_max)));
        }
        Ok(())
    }

    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > self.limits.depth_max {
            return Err(self.refuse(Fault::TooDeep(self.limits.depth_max)));
        }
        Ok(())
    }

    fn measure<E: serde::de::Error>(&mut self, text: &str) -> Result<(), E> {
        if text.len() > self.limits.string_bytes_max {
            return Err(self.refuse(Fault::LongString(self.limits.string_bytes_max)));
        }
        Ok(())
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in self.way_back.iter().rev() {
            match step {
                Step::Key(key) => push_step(&mut path, key),
                Step::Index(index) => write!(path, "/{index}").unwrap_or_default(),
            }
        }
        path
    }
}

struct Node<'w, 'l> {
    walk: &'w mut Walk<'l>,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        self.walk.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json, E> {
        Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Json, E> {
        self.walk.measure(text)?;
        Ok(Json::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let walk = self.walk;
        walk.enter()?;
        let mut array = Vec::new();
        loop {
            match items.next_element_seed(Node { walk: &mut *walk }) {
                Ok(Some(value)) => array.push(value),
                Ok(None) => break,
                Err(error) => {
                    walk.way_back.push(Step::Index(array.len()));
                    return Err(error);
                }
            }
        }
        walk.depth -= 1;
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let walk = self.walk;
        walk.enter()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = admit(walk, &object, &key).and_then(|()| entries.next_value_seed(Node { walk: &mut *walk }));
            match value {
                Ok(value) => drop(object.insert(key, value)),
                Err(error) => {
                    walk.way_back.push(Step::Key(key));
                    return Err(error);
                }
            }
        }
        walk.depth -= 1;
        Ok(Json::Object(object))
    }
}

fn admit<E: serde::de::Error>(walk: &mut Walk<'_>, object: &Map<String, Json>, key: &str) -> Result<(), E> {
    walk.measure(key)?;
    if key.starts_with("__") {
        return Err(walk.refuse(Fault::ReservedKey));
    }
    if object.contains_key(key) {
        return Err(walk.refuse(Fault::DuplicateKey));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: JsonLimits = JsonLimits { depth_max: 4, nodes_max: 20, string_bytes_max: 16 };

    fn refusal(text: &str) -> (String, String) {
        let error = read_object(text.as_bytes(), &LIMITS).unwrap_err();
        (error.path.clone(), error.to_string())
    }

    #[test]
    fn an_object_is_read_with_its_order_and_types() {
        let text = r#"{"b":[1,-2,2.5,true,null],"a":{"é":"ü"}}"#;
        let object = read_object(text.as_bytes(), &LIMITS).unwrap();
        assert_eq!(serde_json::to_string(&object).unwrap(), text);
    }

    #[test]
    fn a_key_given_twice_is_refused_wherever_it_stands() {
        let (path, says) = refusal(r#"{"a":[{"x":1},{"y/z":{"k":1,"k":2}}]}"#);
        assert_eq!((path.as_str(), says.as_str()), ("/a/1/y~1z/k", "the key is given twice"));
        assert_eq!(refusal(r#"{"a":1,"\u0061":2}"#).0, "/a", "an escaped key is the same key");
    }

    #[test]
    fn keys_that_cedar_reads_as_instructions_are_refused() {
        assert_eq!(refusal(r#"{"context":{"__entity":{"type":"User","id":"sid"}}}"#).0, "/context/__entity");
        assert!(read_object(br#"{"_x":1,"a__b":2}"#, &LIMITS).is_ok());
    }

    #[test]
    fn each_limit_holds_at_the_limit_and_refuses_one_beyond() {
        assert!(read_object(br#"{"a":[[[]]]}"#, &LIMITS).is_ok());
        assert_eq!(refusal(r#"{"a":[[[[]]]]}"#), ("/a/0/0/0".into(), "nested deeper than 4 levels".into()));

        let many = |count: usize| format!(r#"{{"a":[{}]}}"#, vec!["1"; count].join(","));
        assert!(read_object(many(18).as_bytes(), &LIMITS).is_ok());
        assert_eq!(refusal(&many(19)), ("/a/18".into(), "more than 20 values".into()));

        let long = |count: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(count));
        assert!(read_object(long(16).as_bytes(), &LIMITS).is_ok());
        assert_eq!(refusal(&long(17)), ("/a".into(), "a string longer than 16 bytes".into()));
        assert!(refusal(&format!(r#"{{"{}":1}}"#, "k".repeat(17))).1.contains("longer"));
    }

    #[test]
    fn only_one_whole_object_is_a_document() {
        assert_eq!(refusal("").1, "the body is empty");
        assert_eq!(refusal(" \n").1, "the body is empty");
        assert_eq!(refusal("[{}]").1, "the top level must be an object");
        assert_eq!(refusal("null").1, "the top level must be an object");
        assert!(refusal(r#"{"a":1"#).1.starts_with("not well-formed JSON"));
        assert!(refusal(r#"{"a":1} {"#).1.starts_with("not well-formed JSON"));
        assert!(refusal(r#"{"a":"\ud800"}"#).1.starts_with("not well-formed JSON"), "half a surrogate pair");
        assert!(refusal(r#"{"a":1e999}"#).1.starts_with("not well-formed JSON"), "beyond a double");
        assert!(read_object(b"{\"a\":\"\xff\"}", &LIMITS).is_err(), "not UTF-8");
    }
}
