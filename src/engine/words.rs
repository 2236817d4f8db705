//! Names and groups of a bundle: which group a name means, which group governs, which action is asked.

use std::sync::Arc;

use cedar_policy::EntityUid;

use super::{bundle::Bundle, judge::Ask, taxonomy::TypeFields};
use crate::domain::{Reason, Value, projection::Projected};

impl Bundle {
    /// A type name without the bundle's namespace.
    pub(super) fn short_name<'a>(&self, kind: &'a str) -> &'a str {
        kind.strip_prefix(&*self.namespace).unwrap_or(kind)
    }

    /// The action that `ask` stands for; `None` where the schema has none.
    pub(super) fn action_of(&self, ask: &Ask) -> Option<EntityUid> {
        match &ask.group {
            Some(group) if !ask.plain => self.action_uid(&format!("{}:{group}", ask.verb)),
            Some(_) | None => self.action_uid(&ask.verb),
        }
    }

    fn type_fields(&self, resource: &EntityUid) -> Option<&TypeFields> {
        self.taxonomy.types.get(self.short_name(&resource.type_name().to_string()))
    }

    /// The record as a whole: its own groups.
    pub(super) fn own_groups(&self, resource: &EntityUid) -> Vec<Arc<str>> {
        self.type_fields(resource)
            .map(|fields| fields.groups.iter().map(|(group, _)| group.clone()).collect())
            .unwrap_or_default()
    }

    /// `verb` on `group`, asked by the group that governs the record where its label changes it.
    pub(super) fn governed(
        &self,
        verb: &Arc<str>,
        group: &Arc<str>,
        resource: &EntityUid,
        projected: &Projected,
    ) -> Ask {
        let governing = self.type_fields(resource).and_then(|fields| {
            let attribute = fields.governed_by.as_ref()?;
            if !fields.groups.iter().any(|(own, _)| own == group) {
                return None;
            }
            match projected.entities.get(resource)?.attributes.get(attribute)? {
                Value::Text(governing) => Some(governing.clone()),
                Value::Bool(_) | Value::Long(_) | Value::Entity(_) | Value::Set(_) | Value::Record(_) => None,
            }
        });
        Ask {
            verb: verb.clone(),
            group: Some(governing.unwrap_or_else(|| group.clone())),
            asked: Some(group.clone()),
            plain: false,
        }
    }

    /// The question named by `@requires`: a verb for the same group, or `verb:group`.
    pub(super) fn required_ask(
        &self,
        required: &Arc<str>,
        ask: &Ask,
        resource: &EntityUid,
        projected: &Projected,
    ) -> Ask {
        match required.split_once(':') {
            Some((verb, group)) => self.governed(&verb.into(), &group.into(), resource, projected),
            None => Ask { verb: required.clone(), plain: false, ..ask.clone() },
        }
    }

    /// The group a plain action touches on the type of `resource`.
    pub(super) fn plain_group(&self, action: &str, resource: &EntityUid) -> Arc<str> {
        let short = self.short_name(&resource.type_name().to_string()).to_owned();
        self.taxonomy
            .actions
            .get(action)
            .and_then(|plain| plain.on.get(short.as_str()).cloned())
            .unwrap_or_else(|| "".into())
    }

    /// What one asked name means for `verb` on `resource`: the name as it stands in the answer, and its group, or why it
    /// has none. `*` means several.
    pub(super) fn groups_named(
        &self,
        name: &str,
        verb: &Arc<str>,
        resource: &EntityUid,
        projected: &Projected,
    ) -> Vec<(String, Result<Arc<str>, Reason>)> {
        let own = self.own_groups(resource);
        let header = self.header_groups(verb, resource, projected);
        if name == "*" {
            return own.into_iter().chain(header).map(|group| (group.to_string(), Ok(group))).collect();
        }
        let found = own
            .iter()
            .find(|group| &***group == name)
            .or_else(|| header.iter().find(|group| &***group == name))
            .cloned();
        let found =
            found.or_else(|| self.any_group(name, verb)).or_else(|| self.group_of_column(name, resource, &header));
        let answer = match found {
            Some(group) => Ok(group),
            // A header group asked with a verb that belongs on the client itself: known, and nobody's here.
            None if self.is_header_group(name, resource, projected) => Err(self.reasons.default.clone()),
            None => Err(Reason::UNKNOWN_RESOURCE),
        };
        vec![(name.to_owned(), answer)]
    }

    /// The header groups that `resource` answers for: its type declares them and it belongs to a client.
    fn header_groups(&self, verb: &str, resource: &EntityUid, projected: &Projected) -> Vec<Arc<str>> {
        match &self.taxonomy.header {
            Some(header)
                if header.verbs.iter().any(|known| &**known == verb) && self.has_header(resource, projected) =>
            {
                header.groups.clone()
            }
            Some(_) | None => Vec::new(),
        }
    }

    fn has_header(&self, resource: &EntityUid, projected: &Projected) -> bool {
        self.type_fields(resource).and_then(|fields| fields.header.as_ref()).is_some_and(|attribute| {
            projected.entities.get(resource).is_some_and(|entity| entity.attributes.contains_key(attribute))
        })
    }

    fn is_header_group(&self, name: &str, resource: &EntityUid, projected: &Projected) -> bool {
        self.has_header(resource, projected)
            && self.taxonomy.header.as_ref().is_some_and(|header| header.groups.iter().any(|group| &**group == name))
    }

    fn any_group(&self, name: &str, verb: &Arc<str>) -> Option<Arc<str>> {
        self.taxonomy.verbs.get(verb).filter(|verb| verb.any_group)?;
        let (group, facts) = self.taxonomy.groups.get_key_value(name)?;
        (!facts.governing).then(|| group.clone())
    }

    fn group_of_column(&self, name: &str, resource: &EntityUid, header: &[Arc<str>]) -> Option<Arc<str>> {
        let holds = |fields: &TypeFields, allowed: Option<&[Arc<str>]>| {
            fields
                .groups
                .iter()
                .find(|(group, columns)| {
                    allowed.is_none_or(|allowed| allowed.contains(group))
                        && columns.iter().any(|column| &**column == name)
                })
                .map(|(group, _)| group.clone())
        };
        let own = self.type_fields(resource).and_then(|fields| holds(fields, None));
        own.or_else(|| {
            let kind = &self.taxonomy.header.as_ref()?.kind;
            holds(self.taxonomy.types.get(kind)?, Some(header))
        })
    }
}
