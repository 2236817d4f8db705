//! `reasons.yaml` held against the mapping and the field groups: whatever it names must exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use super::{
    mapping_file::nearest,
    problem::{Problem, Problems},
    reasons::{FactRemedy, Reasons},
    schema_shape::{SchemaShape, Type},
    taxonomy::Taxonomy,
};
use crate::domain::{grant::GrantRules, mapping::Mapping};

/// What `reasons` may name.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub types: &'a SchemaShape,
    pub mapping: &'a Mapping,
    pub taxonomy: &'a Taxonomy,
}

/// Every name in `reasons` that stands for nothing. `text` is the file's, to find the lines.
pub fn check(file: &Path, text: &str, reasons: &Reasons, known: Known<'_>) -> Problems {
    let mut check = Check { file, text, known, problems: Problems::default() };
    check.refinements(reasons);
    check.deadlines(reasons);
    for (what, remedy) in
        [("request_assignment", &reasons.remedies.request_assignment), ("break_glass", &reasons.remedies.break_glass)]
    {
        if let Some(remedy) = remedy {
            check.remedy(what, remedy);
        }
    }
    for remedy in [&reasons.remedies.step_up, &reasons.remedies.state_reason].into_iter().flatten() {
        for key in remedy.context.keys() {
            check.context_key(key);
        }
    }
    if let Some(exceptional) = &reasons.exceptional {
        check.kind(&exceptional.kind);
        exceptional.groups.keys().for_each(|group| check.group(group));
    }
    if let Some(grants) = &reasons.grants {
        check.grants(grants);
    }
    check.problems
}

struct Check<'a> {
    file: &'a Path,
    text: &'a str,
    known: Known<'a>,
    problems: Problems,
}

impl Check<'_> {
    fn refinements(&mut self, reasons: &Reasons) {
        for refinement in reasons.refine.values() {
            if let Some(active) = &refinement.active {
                self.kind(&active.kind);
            }
            refinement.lapsed.keys().for_each(|kind| self.kind(kind));
        }
    }

    fn deadlines(&mut self, reasons: &Reasons) {
        for deadline in &reasons.deadlines {
            self.context_key(&deadline.counts);
            for limit in &deadline.limits {
                self.limit(limit);
            }
        }
    }

    /// A number of the principal or the resource, for at least one type of them.
    fn limit(&mut self, path: &str) {
        let (root, attributes) = path.split_once('.').unwrap_or((path, ""));
        let fits = matches!(root, "principal" | "resource")
            && self.known.types.entities.keys().any(|kind| self.leads_to_number(kind, attributes));
        if !fits {
            let hint = "a limit is `resource.` or `principal.` and attributes that lead to a Long".to_owned();
            self.unknown(path, format!("`{path}` leads to no number of any entity type"), Some(hint));
        }
    }

    fn leads_to_number(&self, kind: &str, attributes: &str) -> bool {
        let (first, rest) = attributes.split_once('.').map_or((attributes, None), |(first, rest)| (first, Some(rest)));
        let field = self.known.types.entities.get(kind).and_then(|entity| entity.attributes.get(first));
        match (field.map(|field| &field.kind), rest) {
            (Some(Type::Long), None) => true,
            (Some(Type::Entity(kind)), Some(rest)) => self.leads_to_number(kind, rest),
            (Some(_) | None, _) => false,
        }
    }

    fn context_key(&mut self, key: &str) {
        let contexts = &self.known.types.contexts;
        if !contexts.is_empty() && !contexts.iter().any(|context| context.has_path(key)) {
            self.unknown(key, format!("no action of the schema takes `{key}` in its context"), None);
        }
    }

    fn kind(&mut self, kind: &Arc<str>) {
        let relations = self.known.mapping.entities.values().flat_map(|entity| entity.relations.values());
        let kinds: BTreeMap<Arc<str>, bool> = relations.fold(BTreeMap::new(), |mut kinds, relation| {
            if let Some(kind) = &relation.kind {
                *kinds.entry(kind.clone()).or_default() |= relation.about.is_some();
            }
            kinds
        });
        match kinds.get(kind) {
            None => self.unknown(
                kind,
                format!("no relation of the mapping is of kind `{kind}`"),
                nearest(kind, kinds.keys()),
            ),
            Some(false) => {
                let hint = "add `about: COLUMN` to a relation of the kind".to_owned();
                self.unknown(kind, format!("no relation of kind `{kind}` says whom its rows are about"), Some(hint));
            }
            Some(true) => {}
        }
    }

    fn group(&mut self, group: &Arc<str>) {
        let groups = &self.known.taxonomy.groups;
        if !groups.contains_key(group) {
            self.unknown(group, format!("there is no field group `{group}`"), nearest(group, groups.keys()));
        }
    }

    fn grants(&mut self, grants: &GrantRules) {
        let actions = &self.known.taxonomy.actions;
        if !actions.contains_key(&grants.action) {
            let hint = nearest(&grants.action, actions.keys());
            self.unknown(&grants.action, format!("`grants` asks for `{}`, which is no action", grants.action), hint);
        }
        let own = grants.reasons.values().flat_map(|reason| &reason.opens);
        for group in grants.always.iter().chain(&grants.default).chain(&grants.by_request).chain(own) {
            self.group(group);
        }
    }

    fn remedy(&mut self, what: &str, remedy: &FactRemedy) {
        let Known { types, mapping, taxonomy } = self.known;
        if !taxonomy.actions.contains_key(&remedy.asks) {
            let hint = nearest(&remedy.asks, taxonomy.actions.keys());
            self.unknown(&remedy.asks, format!("`{what}` asks for `{}`, which is no action", remedy.asks), hint);
        }
        for verb in &remedy.verbs {
            if !taxonomy.verbs.contains_key(verb) && !taxonomy.actions.contains_key(verb) {
                let known: BTreeSet<_> = taxonomy.verbs.keys().chain(taxonomy.actions.keys()).collect();
                self.unknown(verb, format!("`{verb}` is no verb"), nearest(verb, known));
            }
        }
        let opens = remedy.opens.iter().flat_map(|opens| opens.default.iter().chain(&opens.by_request));
        for group in opens.chain(remedy.reasons.values().flatten()) {
            self.group(group);
        }
        let suppose = &remedy.suppose;
        let Some(entity) = types.full_name(&suppose.entity).and_then(|kind| mapping.entity(&kind)) else {
            let hint = nearest(&suppose.entity, mapping.entities.keys());
            self.unknown(
                &suppose.entity,
                format!("`{what}` supposes a row about `{}`, which is not mapped", suppose.entity),
                hint,
            );
            return;
        };
        let Some(relation) = entity.relations.get(&suppose.relation) else {
            let hint = nearest(&suppose.relation, entity.relations.keys());
            let message = format!("`{}` has no relation `{}`", suppose.entity, suppose.relation);
            self.unknown(&suppose.relation, message, hint);
            return;
        };
        // The row's own id is evidence, not a column of the mapping.
        for column in suppose.row.keys().filter(|column| &***column != "id") {
            if !relation.columns.iter().any(|known| known.name == *column) && !relation.query.sqlite.contains(&**column)
            {
                let hint = nearest(column, relation.columns.iter().map(|column| &column.name));
                self.unknown(column, format!("the relation `{}` has no column `{column}`", suppose.relation), hint);
            }
        }
    }

    fn unknown(&mut self, word: &str, message: String, hint: Option<String>) {
        let mut problem = Problem::error(message).in_file(self.file);
        // Names are told by their own text: the first line that says it is where to look.
        if let Some((position, line)) = self.text.lines().enumerate().find(|(_, line)| says(line, word)) {
            problem.line = Some(position + 1);
            problem.source_line = Some(line.to_owned());
        }
        problem.hint = hint;
        self.problems.0.push(problem);
    }
}

/// Whether an uncommented line contains the whole word.
fn says(line: &str, word: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default();
    line.match_indices(word).any(|(start, _)| {
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        let mut after = line.get(start + word.len()..).unwrap_or_default().chars();
        let follows = match after.next() {
            // A colon ends a key unless it goes on.
            Some(':') => after.next().is_some_and(|c| c != ' '),
            next => next.is_some_and(inside),
        };
        !before.is_some_and(inside) && !follows
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::domain::{Mode, Tier};
    use crate::engine::{
        mapping_file,
        taxonomy::{Group, PlainAction, Verb},
    };

    const GROUPS: &str = "id.pseudo id.demo contact rel.guardian clin.alert clin.summary clin.plan sched.core \
        sched.reason clin.assess clin.note clin.sens clin.sud clin.psynote doc.meta doc.body ref.letter";

    fn problems(from: &str, to: &str) -> Vec<(Option<usize>, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let schema = fs::read_to_string(root.join("schemas/clinic.cedarschema")).unwrap();
        let schema =
            format!("{schema} action look appliesTo {{ principal: User, resource: Note, context: RequestContext }};");
        let types = SchemaShape::from_text(&schema).unwrap();
        let mut taxonomy = Taxonomy::default();
        for group in GROUPS.split_whitespace() {
            taxonomy
                .groups
                .insert(group.into(), Group { label: 'N', masked_as: None, governs: false, governing: false });
        }
        for action in ["remedy:break_glass", "remedy:request_assignment", "grant:emergency"] {
            let plain = PlainAction { on: BTreeMap::new(), crud: 'E', durability: Tier::Process, internal: true };
            taxonomy.actions.insert(action.into(), plain);
        }
        let read =
            Verb { mode: Mode::Filter, crud: 'R', masks: true, durability: Tier::Process, on: None, any_group: false };
        taxonomy.verbs.insert("read".into(), read);
        let file = root.join("schemas/clinic.entities.yaml");
        let mapping =
            mapping_file::read(&file, &fs::read_to_string(&file).unwrap(), &types, &taxonomy).unwrap().mapping;
        let text = fs::read_to_string(root.join("policies/reasons.yaml")).unwrap();
        assert!(text.contains(from), "the test replaces `{from}`");
        let text = text.replace(from, to);
        let reasons: Reasons = serde_saphyr::from_str(&text).unwrap();
        let found = check(
            Path::new("reasons.yaml"),
            &text,
            &reasons,
            Known { types: &types, mapping: &mapping, taxonomy: &taxonomy },
        );
        found.0.into_iter().map(|problem| (problem.source_line.and(problem.line), problem.message)).collect()
    }

    #[test]
    fn the_shipped_reasons_name_nothing_that_is_not_there() {
        assert_eq!(problems("version", "version"), []);
    }

    #[test]
    fn every_name_that_stands_for_nothing_is_told() {
        let one = |from: &str, to: &str| {
            let found = problems(from, to);
            let [(Some(_), message)] = &found[..] else { panic!("{found:?}") };
            message.clone()
        };
        assert_eq!(one("      grant: {", "      grand: {"), "no relation of the mapping is of kind `grand`");
        assert_eq!(
            one(
                "ticket: { revoked: ticket_closed, expired: ticket_closed, not_started: ticket_closed }\n  ticket_required",
                "supervision: {}\n  ticket_required"
            ),
            "no relation of kind `supervision` says whom its rows are about"
        );
        assert_eq!(
            one("resource.tenant.idleMax", "resource.tenant.idleMost"),
            "`resource.tenant.idleMost` leads to no number of any entity type"
        );
        assert_eq!(one("session.mfa:", "session.mfaa:"), "no action of the schema takes `session.mfaa` in its context");
        assert_eq!(one("relation: grants", "relation: grant"), "`Client` has no relation `grant`");
        assert_eq!(
            one("reason_code: $reason", "reason_cod3: $reason"),
            "the relation `grants` has no column `reason_cod3`"
        );
        assert_eq!(one("clin.sud: [part2_notice]", "clin.sut: [part2_notice]"), "there is no field group `clin.sut`");
        assert_eq!(
            one("asks: remedy:break_glass", "asks: remedy:break_gloss"),
            "`break_glass` asks for `remedy:break_gloss`, which is no action"
        );
        assert_eq!(
            one("  action: grant:emergency", "  action: grant:emergencies"),
            "`grants` asks for `grant:emergencies`, which is no action"
        );
        assert_eq!(one("opens: [clin.psynote]", "opens: [clin.psynotes]"), "there is no field group `clin.psynotes`");
        assert_eq!(one("verbs: [read]", "verbs: [reed]"), "`reed` is no verb");
    }
}
