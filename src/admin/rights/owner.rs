//! Who keeps a kind of rows: the mapping says where decisions read it from.

use crate::{
    admin::{Admin, error::AdminError},
    domain::mapping::{Mapping, Source},
};

impl Admin {
    /// Refuses unless decisions read rows of `kind` from the store.
    pub(super) fn are_kept_here(&self, kind: &str, what: &'static str) -> Result<(), AdminError> {
        let bundle = self.rooms.live.current().ok_or(crate::authorize::AuthorizeError::NoBundle)?;
        match owner(&bundle.mapping, kind) {
            None => Ok(()),
            Some(owner) => Err(AdminError::Elsewhere { what, owner }),
        }
    }
}

/// Who keeps rows of `kind`, where it is not the store.
fn owner(mapping: &Mapping, kind: &str) -> Option<String> {
    let mut is_read = false;
    for (entity, mapped) in &mapping.entities {
        for (name, relation) in mapped.relations.iter().filter(|(_, relation)| relation.kind.as_deref() == Some(kind)) {
            if relation.source == Source::App {
                let entity = entity.rsplit("::").next().unwrap_or(entity);
                return Some(format!(
                    "the application keeps them (`{entity}.{name}` of the mapping); change them there"
                ));
            }
            is_read = true;
        }
    }
    (!is_read).then(|| format!("no relation of the mapping reads rows of the kind `{kind}`"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::mapping::{EntityMapping, Query, Relation};

    fn mapping(source: Source) -> Mapping {
        let relation = Relation {
            source,
            query: Query { sqlite: "".into(), postgres: "".into() },
            key: None,
            columns: Vec::new(),
            window: None,
            kind: Some("assignment".into()),
            about: None,
            exceptional: false,
        };
        let client = EntityMapping {
            source: Source::App,
            query: None,
            columns: Vec::new(),
            attributes: Default::default(),
            parents: Vec::new(),
            relations: [(Arc::from("assignments"), relation)].into(),
        };
        Mapping { entities: [(Arc::from("Clinic::Client"), client)].into(), ..Mapping::default() }
    }

    #[test]
    fn what_decisions_read_from_the_application_is_the_applications() {
        assert_eq!(owner(&mapping(Source::Store), "assignment"), None);
        let owner_of = |source, kind| owner(&mapping(source), kind).unwrap();
        assert!(owner_of(Source::App, "assignment").contains("the application keeps them (`Client.assignments`"));
        assert!(owner_of(Source::Store, "ticket").starts_with("no relation"), "nobody would read it");
    }
}
