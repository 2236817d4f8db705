//! Every name of a fields file is looked up; what stands for nothing is a problem with its line.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_saphyr::{Location, Spanned};

use super::{
    ActionWritten, AllBut, ClassWritten, FieldsFile, GroupOf, TypeWritten, VerbWritten, Word, Written, line_of,
};
use crate::{
    domain::Tier,
    engine::{
        nearest::suggest,
        problem::Problem,
        source::TextFile,
        taxonomy::{Group, Header, PlainAction, Taxonomy, TypeFields, Verb},
        yaml::usize_of,
    },
};

/// Sensitivity, rising.
const LABELS: [char; 5] = ['U', 'L', 'N', 'R', 'V'];
const CRUD: [char; 5] = ['C', 'R', 'U', 'D', 'E'];
/// Letters of a cell that stand alone.
const WHOLE_CELLS: [&str; 5] = [".", "S", "SW", "SC", "P"];
/// Letters that a condition may follow, and the conditions.
const CELLS: [char; 4] = ['W', 'R', 'M', 'C'];
const CONDITIONS: [char; 8] = ['a', 'r', 'o', 't', 'f', 'c', 'p', 'x'];
/// The verb that Chaperone asks by itself where a verb with `masks` has no permit.
pub(in crate::engine) const MASK: &str = "mask";

pub(super) fn resolve(file: &TextFile, written: &Written) -> Result<FieldsFile, Vec<Problem>> {
    let mut resolver = Resolver {
        file,
        written,
        groups: written.groups.names(),
        types: written.types.names(),
        verbs: written.verbs.names(),
        problems: Vec::new(),
    };
    if written.version.value != 1 {
        let message = format!("version {} is not known", written.version.value);
        resolver.complain(written.version.referenced, message, "write `version: 1`");
    }
    let taxonomy = Taxonomy {
        verbs: resolver.verbs(),
        actions: resolver.actions(),
        groups: resolver.groups(),
        types: resolver.types(),
        header: resolver.header(),
        classes: resolver.classes(),
    };
    let memberships = resolver.memberships();
    resolver.one_name_one_action(&taxonomy);
    let mut or_default = |word: &Option<Word>, default: &str| match word {
        Some(word) => {
            resolver.plain_name(word);
            Arc::from(word.value.as_str())
        }
        None => Arc::from(default),
    };
    let (principal, context) = (or_default(&written.principal, "User"), or_default(&written.context, "RequestContext"));
    let type_lines = written.types.0.iter().map(|(name, _)| (Arc::from(name.value.as_str()), line_of(name))).collect();
    if resolver.problems.is_empty() {
        Ok(FieldsFile { taxonomy, principal, context, memberships, type_lines })
    } else {
        Err(resolver.problems)
    }
}

struct Resolver<'f> {
    file: &'f TextFile,
    written: &'f Written,
    groups: BTreeSet<&'f str>,
    types: BTreeSet<&'f str>,
    verbs: BTreeSet<&'f str>,
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    fn complain(&mut self, place: Location, message: impl Into<String>, hint: impl Into<String>) {
        let column = Some(usize_of(place.column())).filter(|column| *column > 0);
        self.problems.push(self.file.error_on(usize_of(place.line()).max(1), column, message).hint(hint));
    }

    /// Names become action ids and type names in generated schema text.
    fn plain_name(&mut self, word: &Word) {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_.:-".contains(letter);
        if word.value.is_empty() || !word.value.chars().all(is_plain) {
            let message = format!("`{}` is not a name", word.value.escape_default());
            self.complain(word.referenced, message, "letters, digits and `_.:-`");
        }
    }

    fn group(&mut self, name: &str, place: Location) -> Arc<str> {
        if !self.groups.contains(name) {
            let hint = suggest(name, self.groups.iter().copied());
            self.complain(place, format!("unknown group `{name}`"), hint);
        }
        Arc::from(name)
    }

    fn groups_named(&mut self, words: &[Word]) -> Vec<Arc<str>> {
        words.iter().map(|word| self.group(&word.value, word.referenced)).collect()
    }

    fn kind(&mut self, word: &Word) -> Arc<str> {
        if !self.types.contains(word.value.as_str()) {
            let hint = suggest(&word.value, self.types.iter().copied());
            self.complain(word.referenced, format!("unknown type `{}`", word.value), hint);
        }
        Arc::from(word.value.as_str())
    }

    fn kinds(&mut self, words: &[Word]) -> Vec<Arc<str>> {
        words.iter().map(|word| self.kind(word)).collect()
    }

    fn verb(&mut self, word: &Word) -> Arc<str> {
        if !self.verbs.contains(word.value.as_str()) {
            let hint = suggest(&word.value, self.verbs.iter().copied());
            self.complain(word.referenced, format!("unknown verb `{}`", word.value), hint);
        }
        Arc::from(word.value.as_str())
    }

    fn letter(&mut self, letter: &Spanned<char>, known: &[char], what: &str) -> char {
        if !known.contains(&letter.value) {
            let known: String = known.iter().map(|letter| format!("`{letter}` ")).collect();
            self.complain(letter.referenced, format!("unknown {what} `{}`", letter.value), format!("known: {known}"));
        }
        letter.value
    }

    fn tier(&mut self, durability: Option<&Spanned<Tier>>) -> Tier {
        match durability {
            None => Tier::Process,
            Some(tier) => {
                if tier.value == Tier::Remote {
                    self.complain(tier.referenced, "`remote` is not a tier of one action", "`process` or `disk`");
                }
                tier.value
            }
        }
    }

    fn verbs(&mut self) -> BTreeMap<Arc<str>, Verb> {
        let written = self.written;
        let resolve = |(name, verb): &(Word, VerbWritten)| {
            self.plain_name(name);
            if verb.any_group && verb.on.is_none() {
                let hint = "say `on: [Type]`: any group of everything would make actions that nobody asks";
                self.complain(name.referenced, "`any_group` needs the types it is asked on", hint);
            }
            let crud = self.letter(&verb.crud, &CRUD, "crud letter");
            let (durability, on) = (self.tier(verb.durability.as_ref()), verb.on.as_ref().map(|on| self.kinds(on)));
            let VerbWritten { mode, masks, any_group, .. } = *verb;
            (Arc::from(name.value.as_str()), Verb { mode, crud, masks, durability, on, any_group })
        };
        written.verbs.0.iter().map(resolve).collect()
    }

    fn actions(&mut self) -> BTreeMap<Arc<str>, PlainAction> {
        let written = self.written;
        let resolve = |(name, action): &(Word, ActionWritten)| {
            self.plain_name(name);
            let on = self.groups_touched(name, action);
            let (crud, internal) = (self.letter(&action.crud, &CRUD, "crud letter"), action.internal);
            let durability = self.tier(action.durability.as_ref());
            (Arc::from(name.value.as_str()), PlainAction { on, crud, durability, internal })
        };
        written.actions.0.iter().map(resolve).collect()
    }

    fn groups_touched(&mut self, name: &Word, action: &ActionWritten) -> BTreeMap<Arc<str>, Arc<str>> {
        let place = action.group.referenced;
        if action.on.is_empty() {
            self.complain(name.referenced, format!("`{}` is asked on no type", name.value), "say `on: [Type]`");
        }
        if let GroupOf::ByType(by_type) = &action.group.value {
            for kind in by_type.keys().filter(|kind| !action.on.iter().any(|on| on.value == **kind)) {
                self.complain(place, format!("a group for `{kind}`, which is not among `on`"), "add the type to `on`");
            }
        }
        let mut touched = BTreeMap::new();
        for kind in &action.on {
            let group = match &action.group.value {
                GroupOf::Every(group) => Some(group),
                GroupOf::ByType(by_type) => by_type.get(&kind.value),
            };
            match group {
                Some(group) => {
                    touched.insert(self.kind(kind), self.group(group, place));
                }
                None => {
                    self.complain(place, format!("no group for `{}`", kind.value), "name one for each type of `on`")
                }
            }
        }
        touched
    }

    fn memberships(&mut self) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
        let written = self.written;
        let with_parents = written.actions.0.iter().filter(|(_, action)| !action.parents.is_empty());
        with_parents
            .map(|(name, action)| {
                let parents = action.parents.iter().map(|verb| self.verb(verb)).collect();
                (Arc::from(name.value.as_str()), parents)
            })
            .collect()
    }

    fn groups(&mut self) -> BTreeMap<Arc<str>, Group> {
        let written = self.written;
        let groups = written.groups.0.iter().map(|(name, group)| {
            self.plain_name(name);
            let label = self.letter(&group.label, &LABELS, "label");
            let masked_as = group.masked_as.as_deref().map(Arc::from);
            (
                Arc::from(name.value.as_str()),
                Group { label, masked_as, governs: group.governs || group.governing, governing: group.governing },
            )
        });
        groups.collect()
    }

    fn types(&mut self) -> BTreeMap<Arc<str>, TypeFields> {
        let written = self.written;
        let types = written.types.0.iter().map(|(name, kind)| {
            self.plain_name(name);
            (Arc::from(name.value.as_str()), self.type_fields(name, kind))
        });
        types.collect()
    }

    fn type_fields(&mut self, name: &Word, written: &TypeWritten) -> TypeFields {
        let mut group_of: BTreeMap<&str, &str> = BTreeMap::new();
        let mut groups = Vec::new();
        for (group, columns) in &written.groups.0 {
            for column in columns {
                if let Some(first) = group_of.insert(&column.value, &group.value) {
                    let message = format!("the column `{}` of `{}` stands in two groups", column.value, name.value);
                    self.complain(column.referenced, message, format!("it is in `{first}` already; keep it in one"));
                }
            }
            let columns = columns.iter().map(|column| Arc::from(column.value.as_str())).collect();
            groups.push((self.group(&group.value, group.referenced), columns));
        }
        let attribute = |word: &Option<Word>| word.as_ref().map(|word| Arc::from(word.value.as_str()));
        if let (Some(word), None) = (&written.header, &self.written.header) {
            self.complain(word.referenced, "there is no `header` in this file", "say which groups the header has");
        }
        TypeFields { groups, governed_by: attribute(&written.governed_by), header: attribute(&written.header) }
    }

    fn header(&mut self) -> Option<Header> {
        let written = self.written.header.as_ref()?;
        let kind = self.kind(&written.kind);
        let groups = self.groups_named(&written.groups);
        let verbs = written.verbs.iter().map(|verb| self.verb(verb)).collect();
        Some(Header { kind, groups, verbs })
    }

    fn classes(&mut self) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
        let written = self.written;
        let mut classes = BTreeMap::new();
        for (name, class) in &written.classes.0 {
            self.plain_name(name);
            let named = match class {
                ClassWritten::Members(named) | ClassWritten::AllBut(AllBut { all_but: named }) => named,
            };
            let named: Vec<Arc<str>> = named.iter().map(|group| self.group(group, name.referenced)).collect();
            let members = match class {
                ClassWritten::Members(_) => named,
                ClassWritten::AllBut(_) => {
                    let rest = self.groups.iter().filter(|group| !named.iter().any(|out| **out == ***group));
                    rest.map(|group| Arc::from(*group)).collect()
                }
            };
            if members.is_empty() {
                self.complain(
                    name.referenced,
                    format!("the class `{}` has no group", name.value),
                    "name one, or drop it",
                );
            }
            classes.insert(Arc::from(name.value.as_str()), members);
        }
        for (class, members) in self.matrix() {
            if let Some((name, _)) = written.classes.0.iter().find(|(name, _)| *name.value == *class) {
                self.complain(
                    name.referenced,
                    format!("the matrix makes a class `{class}` too"),
                    "give this one another name",
                );
            }
            classes.insert(class, members);
        }
        classes
    }

    /// The cell `Ra` in the column `therapist` puts the row's group into the class `therapist.Ra`.
    fn matrix(&mut self) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
        let mut classes: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        let written = self.written;
        let Some((first, _)) = written.matrix.0.first() else { return classes };
        let Some((_, columns)) = written.matrix.0.iter().find(|(name, _)| name.value == "columns") else {
            self.complain(
                first.referenced,
                "the matrix has no row `columns`",
                "write `columns: [role, …]` above its rows",
            );
            return classes;
        };
        let mut seen = BTreeSet::new();
        for column in columns {
            self.plain_name(column);
            if !seen.insert(column.value.as_str()) {
                self.complain(column.referenced, format!("a second column `{}`", column.value), "keep one of them");
            }
        }
        for (name, cells) in written.matrix.0.iter().filter(|(name, _)| name.value != "columns") {
            let group = self.group(&name.value, name.referenced);
            if cells.len() != columns.len() {
                let message =
                    format!("the row `{}` has {} cells for {} columns", name.value, cells.len(), columns.len());
                self.complain(name.referenced, message, "write `.` where nothing is allowed");
            }
            for (column, cell) in columns.iter().zip(cells) {
                if !is_cell(&cell.value) {
                    let message = format!("unknown cell `{}` of `{}` for `{}`", cell.value, name.value, column.value);
                    let hint = "W R M C, alone or with one condition of a r o t f c p x; S SW SC P; or `.`";
                    self.complain(cell.referenced, message, hint);
                } else if cell.value != "." {
                    let class = Arc::from(format!("{}.{}", column.value, cell.value));
                    classes.entry(class).or_default().push(Arc::clone(&group));
                }
            }
        }
        classes
    }

    /// Verbs, plain actions, and what stands behind the colon of a verb share the action ids.
    fn one_name_one_action(&mut self, taxonomy: &Taxonomy) {
        let written = self.written;
        let masks = taxonomy.verbs.values().any(|verb| verb.masks);
        let is_verb = |name: &str| taxonomy.verbs.contains_key(name) || (masks && name == MASK);
        for (name, _) in &written.verbs.0 {
            if masks && name.value == MASK {
                self.complain(name.referenced, "`mask` is made from the verb with `masks: true`", "drop this verb");
            }
        }
        for (name, _) in &written.actions.0 {
            let behind_colon = name.value.split_once(':').filter(|(verb, _)| is_verb(verb)).map(|(_, rest)| rest);
            let is_taken = |rest: &str| taxonomy.groups.contains_key(rest) || taxonomy.classes.contains_key(rest);
            if is_verb(&name.value) || behind_colon.is_some_and(is_taken) {
                self.complain(name.referenced, format!("two actions are called `{}`", name.value), "rename this one");
            }
        }
        for (name, _) in &written.classes.0 {
            if taxonomy.groups.contains_key(name.value.as_str()) {
                self.complain(name.referenced, format!("a group is called `{}` too", name.value), "rename the class");
            }
        }
        let made = written.matrix.0.iter().filter(|(name, _)| name.value == "columns").flat_map(|(_, columns)| columns);
        for column in made {
            let prefix = format!("{}.", column.value);
            let taken = taxonomy
                .classes
                .keys()
                .find(|class| class.starts_with(&prefix) && taxonomy.groups.contains_key(*class));
            if let Some(class) = taken {
                self.complain(
                    column.referenced,
                    format!("the matrix makes a class `{class}`, as a group is called"),
                    "rename the column",
                );
            }
        }
    }
}

fn is_cell(cell: &str) -> bool {
    if WHOLE_CELLS.contains(&cell) {
        return true;
    }
    let mut letters = cell.chars();
    let (letter, condition, more) = (letters.next(), letters.next(), letters.next());
    letter.is_some_and(|letter| CELLS.contains(&letter))
        && condition.is_none_or(|condition| CONDITIONS.contains(&condition))
        && more.is_none()
}
