//! Files -> bundle: read, guard, parse, validate, analyse. A bundle comes out whole, or every problem does.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use cedar_policy::PolicySet;

use super::{
    Bundle,
    actions::Actions,
    bundle::{ActionSets, PolicyMeta},
    check::{Vocabulary, check_context, lint_policies, sorted, validate_policies, warnings_or_errors},
    clauses::{Clauses, make_parser_ready},
    guard::{beside, guard_policies, guard_schema, on_big_stack},
    index::PolicyIndex,
    mapping_file::{self, MappingFile},
    plan,
    policies::parse_policies,
    probes::Probes,
    problem::{Problem, Problems, Severity},
    question::ContextKind,
    question::MergedPlans,
    reasons::Reasons,
    reasons_check,
    schema::{BuiltSchema, Classes, build_schema},
    schema_shape::{SchemaShape, Type},
    source::Sources,
    taxonomy_file::{FieldsFile, parse_fields},
    validated::{mark_validated, was_validated},
    yaml,
};

/// Where a bundle's files are.
#[derive(Clone, Debug)]
pub struct BundlePaths {
    /// `*.cedar` and `reasons.yaml`.
    pub policies: PathBuf,
    /// `*.cedarschema`, `*.fields.yaml` and `*.entities.yaml`.
    pub schemas: PathBuf,
    /// Where marks of bundles that passed validation are kept; `None`: every load validates.
    pub cache: Option<PathBuf>,
}

impl BundlePaths {
    /// The digest of what lies there now.
    ///
    /// # Errors
    ///
    /// What cannot be read.
    pub fn digest(&self) -> Result<Arc<str>, Problems> {
        Sources::read(&self.policies, &self.schemas).map(|sources| sources.digest)
    }
}

impl Bundle {
    /// Loads and validates a bundle; the second value holds its warnings.
    ///
    /// # Errors
    ///
    /// Every problem that was found, in the order of files and lines. Nothing goes live in part.
    pub fn load(paths: &BundlePaths) -> Result<(Self, Problems), Problems> {
        let sources = Sources::read(&paths.policies, &paths.schemas)?;
        // Before any parser of Cedar's: a hostile text would end the process, not fail.
        let mut refused = guard_policies(&sources.policies);
        refused.extend(guard_schema(&sources.schema));
        if !refused.is_empty() {
            return Err(sorted(refused));
        }
        let cache = paths.cache.as_deref();
        let known_good = cache.is_some_and(|cache| was_validated(cache, &sources.digest));
        let loaded = on_big_stack(|| build(&sources, known_good))?;
        if let (Ok(_), Some(cache), false) = (&loaded, cache, known_good)
            && let Err(error) = mark_validated(cache, &sources.digest)
        {
            tracing::warn!(%error, folder = %cache.display(), "the next start will validate the bundle again");
        }
        loaded
    }
}

fn build(sources: &Sources, known_good: bool) -> Result<(Bundle, Problems), Problems> {
    make_parser_ready();
    let fields = sources.fields.as_ref().map(parse_fields).transpose().map_err(sorted)?;
    let of_fields = sources.fields.as_ref().zip(fields.as_ref());
    let (parsed, schema) = beside(
        || {
            let parsed = parse_policies(&sources.policies);
            let bodies = plan::Bodies::of(&parsed.0);
            (parsed, bodies)
        },
        || build_schema(&sources.schema, of_fields, Classes::NamedIn(&sources.policies)),
    )?;
    let schema = schema.map_err(sorted)?;
    let ((set, policies, mut problems), bodies) = parsed;
    let reasons: Reasons = match &sources.reasons {
        Some(file) => yaml::parse(file)?,
        None => Reasons::default(),
    };
    let fields = fields.unwrap_or_else(FieldsFile::empty);
    let mapping = read_mapping(sources, &schema.shape, &fields, &mut problems);
    if let Some(file) = &sources.reasons {
        let known =
            reasons_check::Known { types: &schema.shape, mapping: &mapping.mapping, taxonomy: &fields.taxonomy };
        problems.extend(reasons_check::check(&file.path, &file.text, &reasons, known).0);
    }
    let vocabulary = Vocabulary {
        schema: &schema.schema,
        namespace: &schema.namespace,
        taxonomy: &fields.taxonomy,
        reasons: sources.reasons.as_ref().map(|_| &reasons),
    };
    problems.extend(lint_policies(&policies, &sources.policies, vocabulary));
    if !known_good {
        let validated_by = schema.for_validation().map_err(sorted)?;
        let vocabulary = Vocabulary { schema: &validated_by, ..vocabulary };
        problems.extend(validate_policies(&set, &policies, &sources.policies, vocabulary));
    }
    problems.extend(schema.warnings.iter().cloned());
    let bodies = bodies.map_err(|error| Problems(vec![Problem::error(error.to_string())]));
    // Behind a mapping that cannot be read nobody says anything.
    if let (Ok(bodies), false) = (&bodies, problems.iter().any(|problem| problem.severity == Severity::Error)) {
        // Not whatever is listed: a record or a set is nothing that a caller can say.
        let (said, _) = said_by_callers(&schema.shape, &mapping.caller_context);
        problems.extend(check_context(&policies, &sources.policies, bodies, said.keys()));
    }
    let warnings = warnings_or_errors(problems)?;
    let bodies = bodies?;
    let parts = Parts { sources, schema, set, bodies, policies, fields, reasons, mapping };
    let bundle = assemble(parts).map_err(|cause| Problems(vec![Problem::error(cause)]))?;
    Ok((bundle, Problems(warnings)))
}

fn read_mapping(
    sources: &Sources,
    types: &SchemaShape,
    fields: &FieldsFile,
    problems: &mut Vec<Problem>,
) -> MappingFile {
    let empty = MappingFile { mapping: crate::domain::mapping::Mapping::default(), caller_context: BTreeSet::new() };
    let Some(file) = &sources.mapping else {
        problems.push(
            Problem::error("there is no `*.entities.yaml`")
                .in_file(&sources.schema.path)
                .hint("it says where entities come from"),
        );
        return empty;
    };
    match mapping_file::read(&file.path, &file.text, types, &fields.taxonomy) {
        Ok(mapping) => mapping,
        Err(found) => {
            problems.extend(found.0);
            empty
        }
    }
}

struct Parts<'a> {
    sources: &'a Sources,
    schema: BuiltSchema,
    set: PolicySet,
    bodies: plan::Bodies,
    policies: BTreeMap<Arc<str>, PolicyMeta>,
    fields: FieldsFile,
    reasons: Reasons,
    mapping: MappingFile,
}

fn assemble(parts: Parts<'_>) -> Result<Bundle, String> {
    let actions = Arc::new(Actions::of(&parts.schema.schema).map_err(|error| error.to_string())?);
    let known = plan::Known {
        actions: &actions,
        types: &parts.schema.shape,
        mapping: &parts.mapping.mapping,
        reasons: &parts.reasons,
        taxonomy: &parts.fields.taxonomy,
    };
    let plans = plan::plans(&parts.set, parts.bodies, known);
    let index = PolicyIndex::build(&parts.set, &actions).map_err(|error| error.to_string())?;
    let clauses = Clauses::of(&parts.set, &actions);
    let probes = Probes::of(&parts.set);
    let principal_types: BTreeSet<_> =
        actions.environments.iter().map(|environment| environment.principal.clone()).collect();
    let action_type = format!("{}Action", parts.schema.namespace);
    let action_type = action_type.parse().map_err(|error| format!("`{action_type}` is no type's name: {error}"))?;
    let principal_types = principal_types.into_iter().map(|kind| kind.to_string().into()).collect();
    let shape = &parts.schema.shape;
    let (caller_context, caller_context_of) = said_by_callers(shape, &parts.mapping.caller_context);
    let has_purpose = shape.contexts.iter().any(|context| kind_of(context, "purpose").is_some());
    Ok(Bundle {
        revision: parts.sources.digest.clone(),
        schema: parts.schema.schema,
        namespace: parts.schema.namespace,
        policies: parts.policies,
        taxonomy: parts.fields.taxonomy,
        reasons: parts.reasons,
        mapping: parts.mapping.mapping,
        caller_context,
        caller_context_of,
        has_purpose,
        index,
        clauses,
        probes,
        plans,
        merged_plans: MergedPlans::default(),
        action_sets: ActionSets::default(),
        actions,
        action_type,
        principal_types,
    })
}

type ContextKinds = BTreeMap<Arc<str>, ContextKind>;
type ContextKeys = BTreeMap<Arc<str>, Arc<BTreeSet<Arc<str>>>>;

/// The kinds of the context keys that callers may say, and which of them each action takes.
fn said_by_callers(shape: &SchemaShape, said: &BTreeSet<Arc<str>>) -> (ContextKinds, ContextKeys) {
    let kind = |key: &Arc<str>| shape.contexts.iter().find_map(|context| kind_of(context, key));
    let kinds = said.iter().filter_map(|key| Some((key.clone(), kind(key)?))).collect();
    let keys = |context: &Type| said.iter().filter(|key| kind_of(context, key).is_some()).cloned().collect();
    let keys_of: Vec<_> = shape.contexts.iter().map(|context| (context, Arc::new(keys(context)))).collect();
    let taken = |context: &Arc<Type>| keys_of.iter().find(|(known, _)| Arc::ptr_eq(known, context));
    let contexts = shape.action_contexts.iter();
    let keys =
        contexts.filter_map(|(action, context)| Some((action.clone(), Arc::clone(&taken(context)?.1)))).collect();
    (kinds, keys)
}

/// The kind of a context key, dotted, by the schema.
fn kind_of(context: &Type, key: &str) -> Option<ContextKind> {
    let mut kind = context;
    for part in key.split('.') {
        let Type::Record(fields) = kind else { return None };
        kind = &fields.get(part)?.kind;
    }
    match kind {
        Type::Bool => Some(ContextKind::Bool),
        Type::Long => Some(ContextKind::Long),
        Type::Text => Some(ContextKind::Text),
        Type::Entity(_) | Type::Set(_) | Type::Record(_) | Type::Other(_) => None,
    }
}
