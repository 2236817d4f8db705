//! What the expressions of policies look into, for one type of principal and one type of resource.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use serde_json::Value as Json;

use crate::{
    domain::{
        EntityPlan, SlicePlan,
        mapping::{Attribute, EntityMapping, Mapping},
    },
    engine::schema_shape::{SchemaShape, Type},
};

#[derive(Clone, Copy)]
pub(super) struct World<'a> {
    pub(super) types: &'a SchemaShape,
    pub(super) mapping: &'a Mapping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Principal,
    Resource,
}

/// What is read so far.
#[derive(Clone)]
pub(super) struct Reach<'a> {
    world: World<'a>,
    principal: Looked,
    resource: Looked,
}

/// An entity that is looked into.
#[derive(Clone, PartialEq, Eq)]
struct Looked {
    kind: Arc<str>,
    relations: BTreeSet<Arc<str>>,
    follow: BTreeMap<Arc<str>, Looked>,
}

/// An entity that an expression may stand for: a root, and the attributes that lead from it.
#[derive(Clone, Debug)]
struct Place {
    root: Root,
    path: Vec<Arc<str>>,
    kind: Arc<str>,
}

/// The entities that an expression may stand for; `held` are those inside a record literal.
#[derive(Clone, Debug, Default)]
struct Places {
    own: Vec<Place>,
    held: Vec<Place>,
}

impl Places {
    fn add(&mut self, other: Self) {
        self.own.extend(other.own);
        self.held.extend(other.held);
    }
}

impl<'a> Reach<'a> {
    pub(super) fn new(world: World<'a>, principal: &Arc<str>, resource: &Arc<str>) -> Self {
        let looked =
            |kind: &Arc<str>| Looked { kind: kind.clone(), relations: BTreeSet::new(), follow: BTreeMap::new() };
        let mut this = Self { world, principal: looked(principal), resource: looked(resource) };
        // Roles are the index's key, and filters compare with the principal's roles and tenants.
        for root in [Root::Principal, Root::Resource] {
            let place = this.root(root);
            this.read_parents(&place);
        }
        if let Some(tenancy) = world.mapping.tenancy.as_ref().filter(|tenancy| tenancy.principal_type == *principal) {
            this.principal.relations.insert(tenancy.relation.clone());
        }
        this
    }

    pub(super) fn into_plan(self) -> SlicePlan {
        SlicePlan { principal: self.principal.into_plan(), resource: self.resource.into_plan() }
    }

    /// Adds what another one has read, which began with the same types.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.principal.absorb(&other.principal);
        self.resource.absorb(&other.resource);
    }

    pub(super) fn reads_as(&self, other: &Self) -> bool {
        self.principal == other.principal && self.resource == other.resource
    }

    /// Reads an expression in Cedar's JSON form.
    pub(super) fn read(&mut self, expression: &Json) {
        self.walk(expression);
    }

    /// Reads a dotted path such as `resource.tenant.idleLimit`.
    pub(super) fn read_path(&mut self, path: &str) {
        let mut words = path.split('.');
        let mut places = match words.next() {
            Some("principal") => vec![self.root(Root::Principal)],
            Some("resource") => vec![self.root(Root::Resource)],
            Some(_) | None => return,
        };
        for word in words {
            places = places.iter().filter_map(|place| self.attribute(place, word)).collect();
        }
    }

    pub(super) fn read_attribute(&mut self, root: Root, attribute: &str) {
        let place = self.root(root);
        self.attribute(&place, attribute);
    }

    /// Adds the relations of these kinds that are about a person, for every entity looked into.
    pub(super) fn add_kinds(&mut self, kinds: &BTreeSet<Arc<str>>) {
        self.principal.add_kinds(self.world.mapping, kinds);
        self.resource.add_kinds(self.world.mapping, kinds);
    }

    fn walk(&mut self, expression: &Json) -> Places {
        let Some((operator, operand)) = expression.as_object().and_then(|object| object.iter().next()) else {
            return self.unknown(expression);
        };
        if expression.as_object().is_some_and(|object| object.len() != 1) {
            return self.unknown(expression);
        }
        match operator.as_str() {
            "Value" | "Slot" => Places::default(),
            "Var" => match operand.as_str() {
                Some("principal") => self.root_places(Root::Principal),
                Some("resource") => self.root_places(Root::Resource),
                Some("action" | "context") => Places::default(),
                Some(_) | None => self.unknown(expression),
            },
            "." => self.walk_attribute(operand, "attr"),
            "has" => {
                self.walk_has(operand);
                Places::default()
            }
            "in" => {
                self.walk_membership(operand, "right");
                Places::default()
            }
            "is" => {
                if operand.get("in").is_some() {
                    self.walk_membership(operand, "in");
                } else {
                    self.walk_parts(operand);
                }
                Places::default()
            }
            "hasTag" | "getTag" => self.unknown(operand),
            "if-then-else" => {
                let part = |name: &str| operand.get(name).cloned().unwrap_or(Json::Null);
                self.walk(&part("if"));
                let mut places = self.walk(&part("then"));
                places.add(self.walk(&part("else")));
                places
            }
            "Record" => {
                let mut held = Vec::new();
                for value in operand.as_object().into_iter().flat_map(|fields| fields.values()) {
                    let places = self.walk(value);
                    held.extend(places.own);
                    held.extend(places.held);
                }
                Places { own: Vec::new(), held }
            }
            "Set" => {
                // Cedar cannot take a member out of a set again, so what a set holds is never looked into; but
                // `in [a, b]` compares uids alone.
                operand.as_array().into_iter().flatten().for_each(|item| drop(self.walk(item)));
                Places::default()
            }
            "!" | "neg" | "isEmpty" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "&&" | "||" | "+" | "-" | "*"
            | "contains" | "containsAll" | "containsAny" | "like" => {
                self.walk_parts(operand);
                Places::default()
            }
            _ if operand.is_array() => {
                // A call of an extension function: it takes and gives no entities.
                operand.as_array().into_iter().flatten().for_each(|item| drop(self.walk(item)));
                Places::default()
            }
            _ => self.unknown(expression),
        }
    }

    /// The operands of an operator that looks into no entity.
    fn walk_parts(&mut self, operand: &Json) {
        for name in ["arg", "left", "right"] {
            if let Some(part) = operand.get(name) {
                self.walk(part);
            }
        }
    }

    fn walk_attribute(&mut self, operand: &Json, key: &str) -> Places {
        let (Some(left), Some(attribute)) = (operand.get("left"), operand.get(key).and_then(Json::as_str)) else {
            return self.unknown(operand);
        };
        let of = self.walk(left);
        let mut places = Places { own: of.held.clone(), held: of.held };
        places.own.extend(of.own.iter().filter_map(|place| self.attribute(place, attribute)));
        places
    }

    /// `left has attr`, or `left has a.b.c` in either of its written forms.
    fn walk_has(&mut self, operand: &Json) {
        let attributes: Option<Vec<&str>> = match (operand.get("attr"), operand.get("attrs")) {
            (Some(Json::String(one)), None) => Some(vec![one]),
            (Some(Json::Array(many)), None) | (None, Some(Json::Array(many))) => {
                many.iter().map(Json::as_str).collect()
            }
            _ => None,
        };
        let (Some(left), Some(attributes)) = (operand.get("left"), attributes) else {
            self.unknown(operand);
            return;
        };
        let of = self.walk(left);
        let mut places = [of.own, of.held].concat();
        for attribute in attributes {
            places = places.iter().filter_map(|place| self.attribute(place, attribute)).collect();
        }
    }

    /// `left in right`: whether the left entity, or a parent of it, is the right one or among the right ones.
    fn walk_membership(&mut self, operand: &Json, right: &str) {
        let places = operand.get("left").map(|left| self.walk(left)).unwrap_or_default();
        for place in [places.own, places.held].concat() {
            self.read_parents(&place);
        }
        if let Some(right) = operand.get(right) {
            self.walk(right);
        }
    }

    /// Something this walk does not understand: everything about every entity in it, and about both roots.
    fn unknown(&mut self, expression: &Json) -> Places {
        let mut places = self.root_places(Root::Principal);
        places.add(self.root_places(Root::Resource));
        match expression {
            Json::Array(items) => {
                for item in items {
                    places.add(self.walk(item));
                }
            }
            Json::Object(fields) => {
                for value in fields.values().filter(|value| value.is_object()) {
                    places.add(self.walk(value));
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
        for place in places.own.iter().chain(&places.held) {
            self.read_everything(place);
        }
        places
    }

    fn root(&self, root: Root) -> Place {
        let kind = match root {
            Root::Principal => self.principal.kind.clone(),
            Root::Resource => self.resource.kind.clone(),
        };
        Place { root, path: Vec::new(), kind }
    }

    fn root_places(&self, root: Root) -> Places {
        Places { own: vec![self.root(root)], held: Vec::new() }
    }

    /// Reads an attribute; what it leads to, if that is an entity.
    fn attribute(&mut self, place: &Place, name: &str) -> Option<Place> {
        let field = self.world.types.entities.get(&place.kind)?.attributes.get_key_value(name)?;
        let mapping = self.world.mapping.entity(&place.kind)?;
        let attribute = mapping.attributes.get(name);
        let relations = attribute.map(|attribute| self.relations_of(attribute)).unwrap_or_default();
        self.looked(place).relations.extend(relations);
        match (&field.1.kind, attribute) {
            // The same entity under another name is not loaded twice.
            (_, Some(Attribute::Itself)) => Some(place.clone()),
            (Type::Entity(kind), _) => {
                let mut path = place.path.clone();
                path.push(field.0.clone());
                Some(Place { root: place.root, path, kind: kind.clone() })
            }
            (Type::Bool | Type::Long | Type::Text | Type::Set(_) | Type::Record(_) | Type::Other(_), _) => None,
        }
    }

    fn relations_of(&self, attribute: &Attribute) -> Vec<Arc<str>> {
        match attribute {
            Attribute::Column { .. } | Attribute::Within(_) | Attribute::Constant(_) | Attribute::Itself => Vec::new(),
            Attribute::Any(selections) => selections.iter().map(|selection| selection.relation.clone()).collect(),
            Attribute::Set { from, .. } => from.iter().map(|(selection, _)| selection.relation.clone()).collect(),
            Attribute::ActingTenant => {
                self.world.mapping.tenancy.iter().map(|tenancy| tenancy.relation.clone()).collect()
            }
        }
    }

    fn read_parents(&mut self, place: &Place) {
        let Some(mapping) = self.world.mapping.entity(&place.kind) else { return };
        let relations = parent_relations(mapping);
        self.looked(place).relations.extend(relations);
    }

    fn read_everything(&mut self, place: &Place) {
        let Some(mapping) = self.world.mapping.entity(&place.kind) else { return };
        let relations: Vec<_> = mapping.relations.keys().cloned().collect();
        self.looked(place).relations.extend(relations);
    }

    /// The entity at `place`, which must then be loaded.
    fn looked(&mut self, place: &Place) -> &mut Looked {
        let mut at = match place.root {
            Root::Principal => &mut self.principal,
            Root::Resource => &mut self.resource,
        };
        for attribute in &place.path {
            let kind = self.world.types.entities.get(&at.kind).and_then(|entity| entity.attributes.get(attribute));
            let kind = match kind.map(|field| &field.kind) {
                Some(Type::Entity(kind)) => kind.clone(),
                Some(_) | None => place.kind.clone(),
            };
            at = at.follow.entry(attribute.clone()).or_insert_with(|| Looked {
                kind,
                relations: BTreeSet::new(),
                follow: BTreeMap::new(),
            });
        }
        at
    }
}

fn parent_relations(mapping: &EntityMapping) -> Vec<Arc<str>> {
    mapping.parents.iter().filter_map(|parent| Some(parent.from.as_ref()?.relation.clone())).collect()
}

impl Looked {
    fn absorb(&mut self, other: &Self) {
        self.relations.extend(other.relations.iter().cloned());
        for (attribute, looked) in &other.follow {
            match self.follow.entry(attribute.clone()) {
                Entry::Occupied(mut own) => own.get_mut().absorb(looked),
                Entry::Vacant(vacant) => drop(vacant.insert(looked.clone())),
            }
        }
    }

    fn into_plan(self) -> EntityPlan {
        let follow = self.follow.into_iter().map(|(attribute, looked)| (attribute, looked.into_plan())).collect();
        EntityPlan { relations: self.relations.into_iter().collect(), follow }
    }

    fn add_kinds(&mut self, mapping: &Mapping, kinds: &BTreeSet<Arc<str>>) {
        if let Some(mapping) = mapping.entity(&self.kind) {
            let wanted = mapping.relations.iter().filter(|(_, relation)| {
                relation.about.is_some() && relation.kind.as_ref().is_some_and(|kind| kinds.contains(kind))
            });
            self.relations.extend(wanted.map(|(name, _)| name.clone()));
        }
        for looked in self.follow.values_mut() {
            looked.add_kinds(mapping, kinds);
        }
    }
}
