//! Files -> bundle: read, guard, parse, validate, analyse. A bundle comes out whole, or every problem does.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use cedar_policy::{Entity, EntityUid, PolicySet};

use super::{
    Bundle,
    actions::{Actions, environments},
    bundle::{Applicable, PolicyMeta},
    check::{Vocabulary, lint_policies, sorted, validate_policies, warnings_or_errors},
    clauses::Clauses,
    guard::{guard_policies, guard_schema, on_big_stack},
    index::PolicyIndex,
    mapping_file::{self, MappingFile},
    plan,
    policies::parse_policies,
    probes::Probes,
    problem::{Problem, Problems},
    question::ContextKind,
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
    let fields = sources.fields.as_ref().map(parse_fields).transpose().map_err(sorted)?;
    let schema = build_schema(
        &sources.schema,
        sources.fields.as_ref().zip(fields.as_ref()),
        Classes::NamedIn(&sources.policies),
    )
    .map_err(sorted)?;
    let (set, policies, mut problems) = parse_policies(&sources.policies);
    let reasons: Reasons = match &sources.reasons {
        Some(file) => yaml::parse(file)?,
        None => Reasons::default(),
    };
    let fields = fields.unwrap_or_else(FieldsFile::empty);
    let types = SchemaShape::from_text(&schema.text).map_err(|cause| Problems(vec![Problem::error(cause)]))?;
    let mapping = read_mapping(sources, &types, &fields, &mut problems);
    if let Some(file) = &sources.reasons {
        let known = reasons_check::Known { types: &types, mapping: &mapping.mapping, taxonomy: &fields.taxonomy };
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
        problems.extend(validate_policies(&set, &policies, &sources.policies, vocabulary));
    }
    problems.extend(schema.warnings.iter().cloned());
    let warnings = warnings_or_errors(problems)?;
    let parts = Parts { sources, schema, set, policies, fields, reasons, mapping, types };
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
    policies: BTreeMap<Arc<str>, PolicyMeta>,
    fields: FieldsFile,
    reasons: Reasons,
    mapping: MappingFile,
    types: SchemaShape,
}

fn assemble(parts: Parts<'_>) -> Result<Bundle, String> {
    let schema = &parts.schema.schema;
    let known = plan::Known {
        schema,
        types: &parts.types,
        mapping: &parts.mapping.mapping,
        reasons: &parts.reasons,
        taxonomy: &parts.fields.taxonomy,
    };
    let plans = plan::plans(&parts.set, known).map_err(|error| error.to_string())?;
    let index = PolicyIndex::build(&parts.set, schema).map_err(|error| error.to_string())?;
    let clauses = Clauses::build(&parts.set, schema).map_err(|error| error.to_string())?;
    let probes = Probes::build(&parts.set).map_err(|error| error.to_string())?;
    let closed = Actions::of(schema).map_err(|error| error.to_string())?;
    let mut actions: HashMap<EntityUid, Entity> = HashMap::new();
    for action in schema.actions() {
        if let Some(entity) = closed.entity(action) {
            actions.insert(action.clone(), entity.clone());
        }
    }
    let mut applicable = Applicable::new();
    let mut principal_types = BTreeSet::new();
    for (action, principal, resource) in environments(schema) {
        let (principal, resource): (Arc<str>, Arc<str>) = (principal.to_string().into(), resource.to_string().into());
        principal_types.insert(principal.clone());
        applicable.entry(action).or_default().insert((principal, resource));
    }
    let caller_context = parts
        .mapping
        .caller_context
        .iter()
        .filter_map(|key| Some((key.clone(), parts.types.contexts.iter().find_map(|context| kind_of(context, key))?)))
        .collect();
    let context_keys = |context: &Type| -> BTreeSet<Arc<str>> {
        let known = parts.mapping.caller_context.iter();
        known.filter(|key| kind_of(context, key).is_some()).cloned().collect()
    };
    let contexts_of = parts.types.action_contexts.iter();
    let caller_context_of = contexts_of.map(|(action, context)| (action.clone(), context_keys(context))).collect();
    let has_purpose = parts.types.contexts.iter().any(|context| kind_of(context, "purpose").is_some());
    Ok(Bundle {
        revision: parts.sources.digest.clone(),
        schema: parts.schema.schema,
        schema_text: parts.schema.text.into(),
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
        actions,
        applicable,
        principal_types,
    })
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
