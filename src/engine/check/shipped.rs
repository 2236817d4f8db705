//! The shipped schema and field groups under policies of many shapes.

use std::path::Path;

use super::*;
use crate::engine::{
    Bundle,
    guard::{guard_policies, guard_schema},
    load::BundlePaths,
    policies::parse_policies,
    schema::{Classes, build_schema},
    source::Sources,
    taxonomy_file::parse_fields,
    yaml,
};

/// A permit for each class, and as many forbids as the gates have, in a folder with the shipped schema.
fn hundred_policies() -> String {
    let classes = ["therapist.Ra", "provider.Wr", "staff.R", "clinical", "phi"];
    let permits = classes.iter().cycle().take(80).enumerate().map(|(index, class)| {
        format!(
            "@id(\"p{index}\") @text(\"t\") @otherwise(\"role no_assignment\")
            permit(principal in Role::\"r{index}\", action in Action::\"read:{class}\", resource)
            when {{ principal has tenant }} when {{ principal.standsFor.contains(principal) }};\n"
        )
    });
    let forbids = (0..20).map(|index| {
        format!(
            "@id(\"f{index}\") @text(\"t\") @reason(\"mfa_required\") forbid(principal, action, resource)
            unless {{ context has session && context.session has mfa && context.session.mfa }};\n"
        )
    });
    permits.chain(forbids).collect()
}

#[test]
fn the_shipped_schema_takes_a_hundred_policies_without_a_finding() {
    let policies = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(policies.path().join("a.cedar")).unwrap();
    std::io::Write::write_all(&mut file, hundred_policies().as_bytes()).unwrap();
    let sources = Sources::read(policies.path(), Path::new("schemas")).unwrap();
    assert_eq!(guard_policies(&sources.policies), []);
    assert_eq!(guard_schema(&sources.schema), []);
    let file_of_fields = sources.fields.as_ref().unwrap();
    let fields = parse_fields(file_of_fields).unwrap();
    let parts = Some((file_of_fields, &fields));
    let built = build_schema(&sources.schema, parts, Classes::NamedIn(&sources.policies)).unwrap();
    assert_eq!(built.warnings, []);
    let (set, metas, problems) = parse_policies(&sources.policies);
    assert_eq!(problems, []);
    assert_eq!((set.num_of_policies(), metas.len()), (100, 100));
    let known = Vocabulary { schema: &built.schema, namespace: "", taxonomy: &fields.taxonomy, reasons: None };
    assert_eq!(lint_policies(&metas, &sources.policies, known), []);
    assert_eq!(validate_policies(&set, &metas, &sources.policies, known), []);
    let fewer = built.for_validation().unwrap();
    assert!(fewer.actions().count() * 2 < built.schema.actions().count(), "alike actions are validated once");
    let by_fewer = Vocabulary { schema: &fewer, ..known };
    assert_eq!(validate_policies(&set, &metas, &sources.policies, by_fewer), []);

    let mut typo = sources.policies.clone();
    typo[0].text = Arc::from(typo[0].text.replace("read:clinical", "read:clinicall"));
    let (set, metas, _) = parse_policies(&typo);
    let found = validate_policies(&set, &metas, &typo, known);
    assert_eq!(validate_policies(&set, &metas, &typo, by_fewer), found);
    assert!(found.iter().any(|problem| problem.hint.as_deref() == Some("did you mean `read:clinical`?")), "{found:?}");
}

/// Validation by the actions that policies can tell apart finds what validation by all of them finds.
#[test]
fn alike_actions_stand_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let faulty = r#"
        @id("impossible") permit(principal, action == Action::"read:clin.note", resource is Client);
        @id("possible") permit(principal, action == Action::"read:clin.note", resource is Note);
        @id("group-impossible") permit(principal, action in Action::"deliver", resource is Note);
        @id("body") permit(principal, action, resource) when { action in Action::"read" && resource is Channel };
        @id("type") permit(principal, action in Action::"read", resource is Note) when { resource.client == 3 };
        @id("some-types") permit(principal, action in Action::"write", resource) when { resource.client.barred == 3 };
        @id("level") permit(principal, action in Action::"read", resource is Note)
            when { resource.client.tenant.active && resource.client.tenant.parent.active };
        @id("named-in-a-body") forbid(principal, action, resource) when { action == Action::"read:id.gov" && resource.gone };
    "#;
    let mut file = std::fs::File::create(folder.path().join("a.cedar")).unwrap();
    std::io::Write::write_all(&mut file, faulty.as_bytes()).unwrap();
    let sources = Sources::read(folder.path(), Path::new("schemas")).unwrap();
    let file_of_fields = sources.fields.as_ref().unwrap();
    let fields = parse_fields(file_of_fields).unwrap();
    let parts = Some((file_of_fields, &fields));
    let built = build_schema(&sources.schema, parts, Classes::NamedIn(&sources.policies)).unwrap();
    let (set, metas, _) = parse_policies(&sources.policies);
    let find = |schema: &Schema| {
        let known = Vocabulary { schema, namespace: "", taxonomy: &fields.taxonomy, reasons: None };
        sorted(validate_policies(&set, &metas, &sources.policies, known))
    };
    let found = find(&built.schema);
    assert!(found.0.len() > 5, "{found}");
    assert_eq!(find(&built.for_validation().unwrap()), found);
}

/// What is listed is not yet said: nobody can say a record, or a set.
#[test]
fn a_context_key_that_is_listed_in_vain_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::io::Write::write_all(&mut std::fs::File::create(folder.path().join(name)).unwrap(), text.as_bytes())
            .unwrap();
    };
    let shipped = |name: &str| std::fs::read_to_string(Path::new("schemas").join(name)).unwrap();
    let more = "type RequestContext = { place?: { home?: Bool, ward?: Bool }, tags?: Set<String>,";
    write("clinic.cedarschema", &shipped("clinic.cedarschema").replace("type RequestContext = {", more));
    write("clinic.fields.yaml", &shipped("clinic.fields.yaml"));
    let listed = "caller: [tags, place, place.home, ";
    write("clinic.entities.yaml", &shipped("clinic.entities.yaml").replace("caller: [", listed));
    write(
        "a.cedar",
        r#"@id("home") @text("t") @reason("mfa_required") forbid(principal, action, resource) when { context has place.home && !context.place.home };
        @id("ward") @text("t") @reason("mfa_required") forbid(principal, action, resource) when { context has place.ward && !context.place.ward };
        @id("tags") @text("t") @reason("mfa_required") forbid(principal, action, resource) when { context has tags && context.tags.contains("t") };
        @id("ip") @text("t") @reason("mfa_required") forbid(principal, action, resource) when { context has ip && context.ip == context.purpose };"#,
    );
    let paths = BundlePaths { policies: folder.path().into(), schemas: folder.path().into(), cache: None };
    let (_, warnings) = Bundle::load(&paths).unwrap();
    let told: Vec<&str> = warnings.0.iter().map(|warning| warning.message.as_str()).collect();
    let of = |id: &str, key: &str| format!("the policy `{id}` reads `context.{key}`, which nobody may say");
    assert_eq!(told, [of("ward", "place.ward"), of("tags", "tags")]);
}

#[test]
fn the_whole_shipped_schema_is_one_that_cedar_reads() {
    let sources_of = |name: &str| {
        let path = Path::new(name).to_path_buf();
        let text = Arc::from(std::fs::read_to_string(&path).unwrap());
        TextFile { path, name: name.to_owned(), text }
    };
    let file_of_fields = sources_of("schemas/clinic.fields.yaml");
    let fields = parse_fields(&file_of_fields).unwrap();
    let base = sources_of("schemas/clinic.cedarschema");
    let built = build_schema(&base, Some((&file_of_fields, &fields)), Classes::Every).unwrap();
    let again = Schema::from_cedarschema_str(&built.text).unwrap().0;
    assert_eq!(again.actions().count(), built.schema.actions().count());
    let applies = |action: &str| {
        let action = action.parse().unwrap();
        let mut kinds: Vec<_> =
            built.schema.resources_for_action(&action).into_iter().flatten().map(ToString::to_string).collect();
        kinds.sort();
        kinds.dedup();
        kinds.join(" ")
    };
    assert_eq!(applies("Action::\"read:clin.note\""), "Note");
    assert_eq!(applies("Action::\"read:clin.psynote\""), "Note");
    assert_eq!(applies("Action::\"read:id.demo\""), "Appointment Client Document Invoice Lead Note Recording");
    assert_eq!(applies("Action::\"mask:id.demo\""), "Appointment Client Document Invoice Lead Note Recording");
    assert_eq!(applies("Action::\"write:id.demo\""), "Client Lead");
    assert_eq!(applies("Action::\"deliver:doc.body\""), "Channel");
    assert_eq!(applies("Action::\"create:clin.note\""), "Client");
    assert_eq!(applies("Action::\"delete\""), "Document Note");
    yaml::parse::<Reasons>(&sources_of("policies/reasons.yaml")).unwrap();
}
