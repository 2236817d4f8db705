//! Tests of `index`.

use std::{collections::HashSet, sync::Arc};

use cedar_policy::{Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request, Schema};
use proptest::prelude::*;

use super::*;

const SCHEMA: &str = r#"
    entity Team;
    entity Role;
    entity User in [Role, Team] { level: Long };
    entity Folder in [Folder];
    entity Note in [Folder] { owner: User, tags: Set<String> };
    action all;
    action reads in [all];
    action view, peek in [reads] appliesTo { principal: User, resource: [Note, Folder] };
    action edit in [all] appliesTo { principal: [User, Team], resource: Note };
    action drop appliesTo { principal: User, resource: Note };
"#;

fn uid(text: &str) -> EntityUid {
    text.parse().unwrap()
}

fn actions() -> Arc<Actions> {
    Arc::new(Actions::of(&Schema::from_cedarschema_str(SCHEMA).unwrap().0).unwrap())
}

fn index(policies: &str) -> PolicyIndex {
    PolicyIndex::build(&policies.parse().unwrap(), &actions()).unwrap()
}

fn request(principal: &str, action: &str, resource: &str) -> Request {
    Request::new(uid(principal), uid(action), uid(resource), Context::empty(), None).unwrap()
}

/// The plain answer of Cedar over the whole set: decision, reasons, errors.
#[expect(clippy::disallowed_methods, reason = "what the index is compared with")]
fn plain(
    policies: &PolicySet,
    request: &Request,
    entities: &Entities,
) -> (bool, Vec<PolicyId>, Vec<(PolicyId, String)>) {
    let response = Authorizer::new().is_authorized(request, policies, entities);
    let mut reasons: Vec<_> = response.diagnostics().reason().cloned().collect();
    reasons.sort();
    let mut errors: Vec<_> = response
        .diagnostics()
        .errors()
        .map(|error| match error {
            cedar_policy::AuthorizationError::PolicyEvaluationError(error) => {
                (error.policy_id().clone(), error.inner().to_string())
            }
        })
        .collect();
    errors.sort();
    (response.decision() == Decision::Allow, reasons, errors)
}

fn indexed(
    index: &PolicyIndex,
    request: &Request,
    entities: &Entities,
) -> (bool, Vec<PolicyId>, Vec<(PolicyId, String)>) {
    let merged = index.evaluate(request, entities);
    let allowed = merged.is_allowed();
    let reasons = if merged.forbids.is_empty() { merged.permits } else { merged.forbids };
    (allowed, reasons, merged.errors)
}

fn one_of(choices: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    proptest::sample::select(choices)
}

fn policy() -> impl Strategy<Value = String> {
    (
        one_of(&["permit", "permit", "forbid"]),
        one_of(&[
            "principal",
            "principal is User",
            "principal is Team",
            r#"principal == User::"u0""#,
            r#"principal == User::"gone""#,
            r#"principal in Role::"r0""#,
            r#"principal in Role::"r1""#,
            r#"principal in Team::"t0""#,
            r#"principal in User::"u1""#,
            r#"principal is User in Role::"r1""#,
            r#"principal is Team in Role::"r1""#,
        ]),
        one_of(&[
            "action",
            r#"action == Action::"view""#,
            r#"action == Action::"edit""#,
            r#"action in Action::"reads""#,
            r#"action in [Action::"all", Action::"drop"]"#,
            r#"action in [Action::"peek", Action::"reads"]"#,
        ]),
        one_of(&[
            "resource",
            "resource is Note",
            "resource is Folder",
            r#"resource == Note::"n0""#,
            r#"resource in Folder::"top""#,
            r#"resource in Folder::"f0""#,
            r#"resource is Note in Folder::"f0""#,
            r#"resource in Note::"gone""#,
        ]),
        one_of(&[
            "",
            "when { principal.level > 1 }",
            "when { resource.owner == principal }",
            r#"when { resource.owner.level == 0 }"#,
            r#"when { resource.tags.contains("a") }"#,
            r#"unless { resource.absent == 3 }"#,
            "when { 9223372036854775807 + 1 == 0 }",
            r#"when { action in Action::"reads" }"#,
            r#"unless { principal in Role::"r0" }"#,
        ]),
    )
        .prop_map(|(effect, principal, action, resource, body)| {
            format!("{effect}({principal}, {action}, {resource}) {body};\n")
        })
}

/// Some of the entities, each with some of its parents; those left out are the missing ones.
fn entities() -> impl Strategy<Value = Vec<Entity>> {
    let entity =
        |name: &'static str, attributes: &'static [(&'static str, &'static str)], parents: &'static [&'static str]| {
            (any::<u8>(), proptest::sample::subsequence(parents, 0..=parents.len())).prop_map(move |(dice, parents)| {
                let attributes =
                    attributes.iter().map(|(key, value)| ((*key).to_owned(), value.parse().unwrap())).collect();
                let parents: HashSet<_> = parents.into_iter().map(uid).collect();
                (dice > 30).then(|| Entity::new(uid(name), attributes, parents).unwrap())
            })
        };
    (
        entity(r#"User::"u0""#, &[("level", "2")], &[r#"Role::"r0""#, r#"Role::"r1""#, r#"Team::"t0""#]),
        entity(r#"User::"u1""#, &[("level", "0")], &[r#"Role::"r1""#]),
        entity(r#"Team::"t0""#, &[], &[r#"Role::"r0""#]),
        entity(r#"Folder::"f0""#, &[], &[r#"Folder::"top""#]),
        entity(r#"Note::"n0""#, &[("owner", r#"User::"u0""#), ("tags", r#"["a"]"#)], &[r#"Folder::"f0""#]),
        entity(r#"Note::"n1""#, &[("owner", r#"User::"u1""#), ("tags", r#"["b"]"#)], &[r#"Folder::"top""#]),
    )
        .prop_map(|(a, b, c, d, e, f)| [a, b, c, d, e, f].into_iter().flatten().collect())
}

const REQUESTS: &[(&str, &str, &str)] = &[
    (r#"User::"u0""#, r#"Action::"view""#, r#"Note::"n0""#),
    (r#"User::"u0""#, r#"Action::"peek""#, r#"Folder::"f0""#),
    (r#"User::"u1""#, r#"Action::"edit""#, r#"Note::"n1""#),
    (r#"Team::"t0""#, r#"Action::"edit""#, r#"Note::"n0""#),
    (r#"User::"gone""#, r#"Action::"drop""#, r#"Note::"gone""#),
    // Environments that the schema does not know.
    (r#"Team::"t0""#, r#"Action::"view""#, r#"Note::"n0""#),
    (r#"User::"u0""#, r#"Action::"unheard""#, r#"Team::"t0""#),
];

/// What an attribute may be in another world; none: it is not there.
fn another() -> impl Strategy<Value = (&'static str, Option<&'static str>)> {
    proptest::sample::select(
        &[
            ("level", Some("0")),
            ("level", Some("2")),
            ("level", None),
            ("owner", Some(r#"User::"u0""#)),
            ("owner", Some(r#"User::"u1""#)),
            ("tags", Some(r#"["a"]"#)),
            ("tags", Some(r#"["b"]"#)),
            ("absent", Some("3")),
        ][..],
    )
}

/// The entity with other attributes; the names of those that differ are added.
fn changed(entity: &Entity, others: &[(&'static str, Option<&'static str>)], names: &mut Names) -> Entity {
    let (uid, mut attributes, parents) = entity.clone().into_inner();
    for (name, value) in others {
        match value {
            Some(value) => drop(attributes.insert((*name).to_owned(), value.parse().unwrap())),
            None => drop(attributes.remove(*name)),
        }
        names.insert((*name).into());
    }
    Entity::new(uid, attributes, parents).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn another_world_is_told_as_if_nothing_had_been_told_before(
        policies in proptest::collection::vec(policy(), 0..12),
        entities in entities(),
        others in proptest::collection::vec((0..6_usize, another()), 0..4),
    ) {
        let policies: PolicySet = policies.concat().parse().unwrap();
        let index = PolicyIndex::build(&policies, &actions()).unwrap();
        let mut names = Names::new();
        let elsewhere: Vec<Entity> = entities.iter().enumerate().map(|(at, entity)| {
            let others: Vec<_> = others.iter().filter(|(of, _)| *of == at).map(|(_, other)| *other).collect();
            changed(entity, &others, &mut names)
        }).collect();
        for (principal, action, resource) in REQUESTS {
            let request = request(principal, action, resource);
            let world = |entities: &[Entity]| {
                let action = index.actions().entity(&uid(action));
                Entities::from_entities(entities.iter().cloned().chain(action), None).unwrap()
            };
            let (here, there) = (world(&entities), world(&elsewhere));
            let before = index.evaluate(&request, &here);
            if before.errors.is_empty() {
                prop_assert_eq!(index.evaluate_after(&request, &there, &before, &names), index.evaluate(&request, &there));
            }
        }
    }

    #[test]
    fn the_index_answers_as_the_whole_set_does(
        // Up to 60, so that some uids are named often enough to be set out by action.
        policies in proptest::collection::vec(policy(), 0..60),
        entities in entities(),
        with_action in any::<bool>(),
    ) {
        let policies: PolicySet = policies.concat().parse().unwrap();
        let index = PolicyIndex::build(&policies, &actions()).unwrap();
        for (principal, action, resource) in REQUESTS {
            let request = request(principal, action, resource);
            let mut present = entities.clone();
            if with_action {
                present.extend(index.actions().entity(&uid(action)));
            }
            let present = Entities::from_entities(present, None).unwrap();
            prop_assert_eq!(indexed(&index, &request, &present), plain(&policies, &request, &present));
        }
    }

    #[test]
    fn an_erroring_forbid_is_always_reported(policies in proptest::collection::vec(policy(), 0..20)) {
        let broken = r#"forbid(principal, action in Action::"all", resource) when { resource.absent == 3 };"#;
        let text = format!("{}{broken}", policies.concat());
        let policies: PolicySet = text.parse().unwrap();
        let broken = policies
            .policies()
            .find(|policy| policy.to_string().trim() == broken)
            .map(|policy| policy.id().clone())
            .unwrap();
        let index = PolicyIndex::build(&policies, &actions()).unwrap();
        let action = r#"Action::"view""#;
        let present = Entities::from_entities(index.actions().entity(&uid(action)), None).unwrap();
        let merged = index.evaluate(&request(r#"User::"u0""#, action, r#"Note::"n0""#), &present);
        prop_assert!(merged.errors.iter().any(|(id, _)| *id == broken));
    }
}

#[test]
fn satisfied_permits_are_told_also_where_a_forbid_holds() {
    let index = index("permit(principal, action, resource); forbid(principal, action, resource is Note);");
    let merged = index.evaluate(&request(r#"User::"a""#, r#"Action::"view""#, r#"Note::"n""#), &Entities::empty());
    assert_eq!((merged.permits.len(), merged.forbids.len()), (1, 1));
    assert!(!merged.is_allowed());
}

#[test]
fn equal_lists_of_policies_share_one_set() {
    let policies = r#"permit(principal, action in Action::"reads", resource); permit(principal, action == Action::"drop", resource);"#;
    let index = index(policies);
    assert_eq!(index.set_count(), 0, "a set is made when a request needs it");
    for action in ["view", "peek", "view"] {
        let action = format!("Action::{action:?}");
        index.evaluate(&request(r#"User::"a""#, &action, r#"Note::"n""#), &Entities::empty());
    }
    assert_eq!(index.set_count(), 1);
}

#[test]
fn only_policies_that_read_what_differs_are_asked_again() {
    let index = index(
        r#"
        permit(principal, action, resource) when { principal.level > 1 };
        permit(principal, action, resource) when { resource.tags.contains("a") };
        "#,
    );
    let world = |level: &str, tag: &str| {
        let entity = |name, (key, value): (&str, String)| {
            Entity::new(uid(name), [(key.to_owned(), value.parse().unwrap())].into(), HashSet::new()).unwrap()
        };
        let (ann, note) = (r#"User::"a""#, r#"Note::"n""#);
        Entities::from_entities(
            [entity(ann, ("level", level.into())), entity(note, ("tags", format!("[{tag:?}]")))],
            None,
        )
        .unwrap()
    };
    let request = request(r#"User::"a""#, r#"Action::"view""#, r#"Note::"n""#);
    let before = index.evaluate(&request, &world("2", "a"));
    assert_eq!(before.permits.len(), 2);
    // A world that differs in more than is said shows who was asked: the level fell, and nobody looked.
    let after = index.evaluate_after(&request, &world("0", "b"), &before, &Names::from(["tags".into()]));
    assert_eq!(after.permits.len(), 1);
    let after =
        index.evaluate_after(&request, &world("0", "b"), &before, &Names::from(["level".into(), "tags".into()]));
    assert_eq!(after.permits.len(), 0);
    assert_eq!(index.evaluate_after(&request, &world("0", "b"), &before, &Names::new()), before);
}

#[test]
fn a_body_sees_the_groups_of_the_action_that_was_added_to_the_entities() {
    let index = index(r#"permit(principal, action, resource) when { action in Action::"all" };"#);
    let request = request(r#"User::"a""#, r#"Action::"peek""#, r#"Note::"n""#);
    let action = index.actions().entity(&uid(r#"Action::"peek""#)).unwrap();
    let present = Entities::from_entities([action], None).unwrap();
    assert!(index.evaluate(&request, &present).is_allowed());
    assert!(!index.evaluate(&request, &Entities::empty()).is_allowed());
}
