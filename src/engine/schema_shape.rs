//! What the schema says of entity types, common types put in place: enough to type a mapping and to follow a path.

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::SchemaFragment;
use serde_json::{Map, Value as Json};

/// How deep common types and sets may nest; Cedar refuses cycles, but only later than this is read.
const NESTING_MAX: usize = 32;

/// The entity types of a schema by their full names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaShape {
    pub entities: BTreeMap<Arc<str>, EntityType>,
    /// Every context that some action takes.
    pub contexts: Vec<Arc<Type>>,
    /// The context of each action that takes one, by the action's name without type and namespace.
    pub action_contexts: BTreeMap<Arc<str>, Arc<Type>>,
    /// `""`, or `"Ns::"` where all of it stands in one namespace.
    pub namespace: Arc<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntityType {
    pub attributes: BTreeMap<Arc<str>, Field>,
    /// Full names of the types it may be a member of.
    pub parents: Vec<Arc<str>>,
    pub has_tags: bool,
}

/// An attribute of an entity or a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub kind: Type,
    pub is_required: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Long,
    Text,
    Entity(Arc<str>),
    Set(Box<Type>),
    Record(BTreeMap<Arc<str>, Field>),
    /// `ipaddr` and the like, or a type this reader does not know.
    Other(Arc<str>),
}

impl SchemaShape {
    /// Reads a schema in Cedar's syntax.
    ///
    /// # Errors
    ///
    /// Cedar's own words if the text is no schema.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let (fragment, _warnings) = SchemaFragment::from_cedarschema_str(text).map_err(|source| source.to_string())?;
        Self::from_fragment(fragment)
    }

    /// Reads a parsed fragment.
    ///
    /// # Errors
    ///
    /// Cedar's own words if the fragment cannot be written as JSON.
    pub fn from_fragment(fragment: SchemaFragment) -> Result<Self, String> {
        let json = fragment.to_json_value().map_err(|source| source.to_string())?;
        Ok(Self::from_json(&json))
    }

    /// Reads a parsed fragment together with actions in `namespace` that stand in another one and take a context of the
    /// type `context`.
    ///
    /// # Errors
    ///
    /// Cedar's own words if the fragment cannot be written as JSON.
    pub fn with_actions<'n>(
        fragment: SchemaFragment,
        namespace: &str,
        context: &str,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<Self, String> {
        let json = fragment.to_json_value().map_err(|source| source.to_string())?;
        let mut types = Self::from_json(&json);
        let empty = Map::new();
        let reader = Reader { namespaces: json.as_object().unwrap_or(&empty) };
        let context = reader.named(namespace, context, NESTING_MAX);
        for name in names {
            types.add_action(name, context.clone());
        }
        Ok(types)
    }

    fn add_action(&mut self, name: &str, context: Type) {
        let known = self.contexts.iter().find(|known| ***known == context).cloned();
        let context = known.unwrap_or_else(|| {
            let context = Arc::new(context);
            self.contexts.push(Arc::clone(&context));
            context
        });
        self.action_contexts.insert(name.into(), context);
    }

    /// Reads a schema in Cedar's JSON form.
    pub fn from_json(json: &Json) -> Self {
        let empty = Map::new();
        let namespaces = json.as_object().unwrap_or(&empty);
        let reader = Reader { namespaces };
        let mut types = Self::default();
        for (namespace, content) in namespaces {
            for (name, entity) in content.get("entityTypes").and_then(Json::as_object).unwrap_or(&empty) {
                types.entities.insert(full(namespace, name).into(), reader.entity(namespace, entity));
            }
            for (name, action) in content.get("actions").and_then(Json::as_object).unwrap_or(&empty) {
                if let Some(context) = action.pointer("/appliesTo/context") {
                    types.add_action(name, reader.kind(namespace, context, NESTING_MAX));
                }
            }
        }
        if let [only] = namespaces.keys().filter(|name| !name.is_empty()).collect::<Vec<_>>()[..]
            && types.entities.keys().all(|name| name.contains("::"))
        {
            types.namespace = format!("{only}::").into();
        }
        types
    }

    /// The full name of a type that a file names with or without its namespace.
    pub fn full_name(&self, name: &str) -> Option<Arc<str>> {
        if let Some((full, _)) = self.entities.get_key_value(name) {
            return Some(full.clone());
        }
        self.entities.get_key_value(&*format!("{}{name}", self.namespace)).map(|(full, _)| full.clone())
    }
}

impl Type {
    /// The type in the words of a schema.
    pub fn describe(&self) -> String {
        match self {
            Self::Bool => "Bool".to_owned(),
            Self::Long => "Long".to_owned(),
            Self::Text => "String".to_owned(),
            Self::Entity(name) | Self::Other(name) => name.to_string(),
            Self::Set(element) => format!("Set<{}>", element.describe()),
            Self::Record(fields) => {
                let fields: Vec<_> =
                    fields.iter().map(|(name, field)| format!("{name}: {}", field.kind.describe())).collect();
                format!("{{ {} }}", fields.join(", "))
            }
        }
    }
}

impl Type {
    /// Whether a record of this type has something at the dotted path.
    pub fn has_path(&self, path: &str) -> bool {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let Self::Record(fields) = self else { return false };
        fields.get(first).is_some_and(|field| rest.is_none_or(|rest| field.kind.has_path(rest)))
    }

    /// Adds every dotted path of a record of this type.
    pub(super) fn paths(&self, before: &str, found: &mut Vec<String>) {
        let Self::Record(fields) = self else { return };
        for (name, field) in fields {
            let path = if before.is_empty() { name.to_string() } else { format!("{before}.{name}") };
            field.kind.paths(&path, found);
            found.push(path);
        }
    }
}

struct Reader<'a> {
    namespaces: &'a Map<String, Json>,
}

impl Reader<'_> {
    fn entity(&self, namespace: &str, json: &Json) -> EntityType {
        let shape = json.get("shape").map(|shape| self.kind(namespace, shape, NESTING_MAX));
        let attributes = match shape {
            Some(Type::Record(fields)) => fields,
            Some(_) | None => BTreeMap::new(),
        };
        let parents = json.get("memberOfTypes").and_then(Json::as_array).into_iter().flatten();
        let parents = parents.filter_map(Json::as_str).map(|name| self.entity_name(namespace, name)).collect();
        EntityType { attributes, parents, has_tags: json.get("tags").is_some() }
    }

    fn kind(&self, namespace: &str, json: &Json, depth: usize) -> Type {
        let word = |key: &str| json.get(key).and_then(Json::as_str).unwrap_or_default();
        let Some(depth) = depth.checked_sub(1) else { return Type::Other("nested too deep".into()) };
        match word("type") {
            "Bool" | "Boolean" => Type::Bool,
            "Long" => Type::Long,
            "String" => Type::Text,
            "Entity" => Type::Entity(self.entity_name(namespace, word("name"))),
            "Set" => {
                let element = json.get("element").unwrap_or(&Json::Null);
                Type::Set(Box::new(self.kind(namespace, element, depth)))
            }
            "Record" => {
                let fields = json.get("attributes").and_then(Json::as_object).into_iter().flatten();
                let field = |(name, field): (&String, &Json)| {
                    let is_required = field.get("required").and_then(Json::as_bool).unwrap_or(true);
                    (name.as_str().into(), Field { kind: self.kind(namespace, field, depth), is_required })
                };
                Type::Record(fields.map(field).collect())
            }
            "Extension" => Type::Other(word("name").into()),
            "EntityOrCommon" => self.named(namespace, word("name"), depth),
            common => self.named(namespace, common, depth),
        }
    }

    /// A name stands for a common type before an entity type, in its own namespace before the empty one.
    fn named(&self, namespace: &str, name: &str, depth: usize) -> Type {
        for (home, base) in homes(namespace, name) {
            if let Some(common) = self.member(home, "commonTypes", base) {
                return self.kind(home, common, depth);
            }
            if self.member(home, "entityTypes", base).is_some() {
                return Type::Entity(full(home, base).into());
            }
        }
        match name.strip_prefix("__cedar::").unwrap_or(name) {
            "Bool" | "Boolean" => Type::Bool,
            "Long" => Type::Long,
            "String" => Type::Text,
            other => Type::Other(other.into()),
        }
    }

    fn entity_name(&self, namespace: &str, name: &str) -> Arc<str> {
        homes(namespace, name)
            .into_iter()
            .find(|(home, base)| self.member(home, "entityTypes", base).is_some())
            .map_or_else(|| name.into(), |(home, base)| full(home, base).into())
    }

    fn member(&self, namespace: &str, section: &str, name: &str) -> Option<&Json> {
        self.namespaces.get(namespace)?.get(section)?.get(name)
    }
}

/// Where a name may be declared: (namespace, base name).
fn homes<'a>(namespace: &'a str, name: &'a str) -> Vec<(&'a str, &'a str)> {
    match name.rsplit_once("::") {
        Some((home, base)) => vec![(home, base)],
        None => vec![(namespace, name), ("", name)],
    }
}

fn full(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}::{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        namespace Ward {
            type Scoped = { user: User, group?: String };
            entity Role;
            entity User in [Role] {
                name: String, nick?: __cedar::String, age: Long, well: Bool, home: ipaddr, open: Set<Scoped>, self: Ward::User,
            };
            entity Box tags String;
            action see appliesTo { principal: User, resource: Box, context: { session: { mfa?: Bool } } };
        }
    "#;

    #[test]
    fn common_types_are_put_in_place_and_names_are_full() {
        let types = SchemaShape::from_text(TEXT).unwrap();
        let user = &types.entities["Ward::User"];
        assert_eq!(user.parents, [Arc::from("Ward::Role")]);
        assert_eq!(user.attributes["nick"], Field { kind: Type::Text, is_required: false });
        assert_eq!(user.attributes["well"].kind, Type::Bool);
        assert_eq!(user.attributes["age"].kind, Type::Long);
        assert_eq!(user.attributes["home"].kind, Type::Other("ipaddr".into()));
        assert_eq!(user.attributes["self"].kind, Type::Entity("Ward::User".into()));
        assert_eq!(user.attributes["open"].kind.describe(), "Set<{ group: String, user: Ward::User }>");
        assert!(types.entities["Ward::Box"].has_tags);
        assert_eq!(types.contexts.len(), 1);
    }

    #[test]
    fn a_type_may_be_named_without_its_namespace() {
        let types = SchemaShape::from_text(TEXT).unwrap();
        assert_eq!(&*types.namespace, "Ward::");
        assert_eq!(types.full_name("User").as_deref(), Some("Ward::User"));
        assert_eq!(types.full_name("Ward::User").as_deref(), Some("Ward::User"));
        assert_eq!(types.full_name("Usr"), None);
    }
}
