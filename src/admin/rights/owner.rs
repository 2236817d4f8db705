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

    /// Who keeps the standing of people; `None`: the store does.
    pub(super) fn standing_owner(&self) -> Result<Option<String>, AdminError> {
        let bundle = self.rooms.live.current().ok_or(crate::authorize::AuthorizeError::NoBundle)?;
        Ok(owner_of_standing(&bundle.mapping))
    }
}

/// Who keeps the standing of people, where it is not the store: most applications keep it with the people themselves.
fn owner_of_standing(mapping: &Mapping) -> Option<String> {
    let owner = owner(mapping, "suspension")?;
    let is_person = |entity: &str| match &mapping.tenancy {
        Some(tenancy) => *tenancy.principal_type == *entity,
        None => entity.rsplit("::").next() == Some("User"),
    };
    let person = mapping.entities.iter().find(|(entity, mapped)| is_person(entity) && mapped.source == Source::App);
    Some(match person {
        Some((entity, mapped))
            if mapped.relations.values().all(|relation| relation.kind.as_deref() != Some("suspension")) =>
        {
            let entity = entity.rsplit("::").next().unwrap_or(entity);
            format!("the application keeps who is active (`{entity}` of the mapping); change it there")
        }
        Some(_) | None => owner,
    })
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
        of(("Clinic::Client", Source::App), ("assignments", "assignment", source))
    }

    fn of((entity, own): (&str, Source), (name, kind, source): (&str, &str, Source)) -> Mapping {
        let relation = Relation {
            source,
            query: Query { sqlite: "".into(), postgres: "".into() },
            key: None,
            columns: Vec::new(),
            window: None,
            kind: Some(kind.into()),
            about: None,
            exceptional: false,
        };
        let mapped = EntityMapping {
            source: own,
            query: None,
            columns: Vec::new(),
            attributes: Default::default(),
            parents: Vec::new(),
            relations: [(Arc::from(name), relation)].into(),
        };
        Mapping { entities: [(Arc::from(entity), mapped)].into(), ..Mapping::default() }
    }

    #[test]
    fn what_decisions_read_from_the_application_is_the_applications() {
        assert_eq!(owner(&mapping(Source::Store), "assignment"), None);
        let owner_of = |source, kind| owner(&mapping(source), kind).unwrap();
        assert!(owner_of(Source::App, "assignment").contains("the application keeps them (`Client.assignments`"));
        assert!(owner_of(Source::Store, "ticket").starts_with("no relation"), "nobody would read it");
    }

    #[test]
    fn who_is_active_is_the_applications_unless_suspensions_are_read_from_here() {
        let owner_of = |own, relation| owner_of_standing(&of(("Clinic::User", own), relation));
        let roles = ("roles", "role", Source::App);
        assert!(owner_of(Source::App, roles).unwrap().contains("keeps who is active (`User` of the mapping)"));
        assert!(owner_of(Source::Store, roles).unwrap().starts_with("no relation"));
        assert_eq!(owner_of(Source::App, ("suspensions", "suspension", Source::Store)), None);
        let theirs = owner_of(Source::App, ("suspensions", "suspension", Source::App)).unwrap();
        assert!(theirs.contains("`User.suspensions`"), "{theirs}");
    }
}
