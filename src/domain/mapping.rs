//! How rows become entities: the mapping, resolved against the schema and ready to use.
//!
//! `engine` reads it from the bundle's `*.entities.yaml` and types it; `entities` runs its queries; `projection` applies
//! it. The file format is described in `docs/reference/mapping.md`.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::value::{Cell, Value};

/// Where a query runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The application's own database.
    App,
    /// Chaperone's tables.
    Store,
}

impl Source {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Store => "store",
        }
    }
}

/// The whole mapping of one bundle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mapping {
    /// Entity type (fully qualified) -> where it comes from.
    pub entities: BTreeMap<Arc<str>, EntityMapping>,
    pub tenancy: Option<Tenancy>,
    /// Tells mappings apart: rows that were read by another one may have other columns.
    pub digest: u64,
}

/// How the tenant that a principal acts in is found: from facts, helped by what the session says only where a person
/// belongs to several.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenancy {
    pub principal_type: Arc<str>,
    pub tenant_type: Arc<str>,
    /// The optional attribute of the principal that receives the acting tenant.
    pub attribute: Arc<str>,
    /// Column of the principal's own row that names the home tenant.
    pub home_column: Option<usize>,
    /// Relation whose active rows name further tenants, and the column that does.
    pub relation: Arc<str>,
    pub relation_column: usize,
}

/// One SQL query, in one or two dialects; `$1` is bound to the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub sqlite: Arc<str>,
    pub postgres: Arc<str>,
}

/// A column that the mapping uses, with the kind of cell it must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: Arc<str>,
    pub kind: CellKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CellKind {
    Bool,
    Int,
    Text,
    Instant,
    /// JSON text holding an array of strings, or a database array of text.
    List,
}

/// One entity type.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityMapping {
    pub source: Source,
    /// Returns at most one row for the id in `$1`. `None`: the type has no rows (roles); every uid of it exists.
    pub query: Option<Query>,
    /// Columns used of that row; a [`super::slice::Row`]'s cells stand in this order.
    pub columns: Vec<Column>,
    pub attributes: BTreeMap<Arc<str>, Attribute>,
    pub parents: Vec<Parent>,
    pub relations: BTreeMap<Arc<str>, Relation>,
}

/// Rows about one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Relation {
    pub source: Source,
    pub query: Query,
    /// Column of the entity's own row bound to `$1`; `None` binds the entity's id. A null key means no rows.
    pub key: Option<usize>,
    pub columns: Vec<Column>,
    pub window: Option<Window>,
    /// The kind that evidence and lapsed facts of this relation are called by.
    pub kind: Option<Arc<str>>,
    /// Column naming the person a lapsed row is about; explanations look only at rows about the principal.
    pub about: Option<usize>,
    /// Rows of this relation are exceptional access: an allow that needs one carries its duties.
    pub exceptional: bool,
}

/// When a row is active. Half-open: active at `from`, over at `to`.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    pub from: Option<Bound>,
    /// A null `from` means active since ever (a bar) instead of never (a right).
    pub from_null_is_open: bool,
    pub to: Option<Bound>,
    /// A null `to` means over (a standing that needs a date) instead of open-ended.
    pub to_null_is_over: bool,
    /// `to` itself still counts.
    pub to_inclusive: bool,
    pub revoked: Option<usize>,
    /// A row closed by the `revoked` column counts as revoked only if this holds, otherwise as expired.
    pub revoked_if: Option<Filter>,
    /// Rows for which this does not hold are not active whatever their instants say.
    pub open_if: Option<Filter>,
}

/// An instant column, moved by a fixed span or by calendar years read from another column.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    pub column: usize,
    pub plus: SignedDuration,
    pub plus_years: Option<usize>,
}

/// Where an attribute's value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    Column {
        column: usize,
        scalar: Scalar,
        optional: bool,
    },
    /// True while the window is open on the entity's own row.
    Within(Window),
    Constant(Value),
    /// The entity itself, so that policies can say `resource.client` on a client too.
    Itself,
    /// True if any active row matches one of these.
    Any(Vec<Selection>),
    /// The members that the selected rows contribute.
    Set {
        from: Vec<(Selection, Shape)>,
        plus_self: bool,
    },
    /// The tenant that the principal acts in; absent on every other entity.
    ActingTenant,
}

/// Rows of one relation: those in this state that pass the filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    pub relation: Arc<str>,
    pub rows: Rows,
    pub filter: Option<Filter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    Active,
    /// Active, lapsed and not yet started alike.
    Every,
}

/// What one row contributes to a set.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Member(Part),
    Record(BTreeMap<Arc<str>, Part>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Column(usize, Scalar),
    /// One member for each word of a list column; an empty list, or one with a word that is not
    /// among them, stands for each of `when_empty`.
    Each {
        column: usize,
        scalar: Scalar,
        when_empty: Arc<[Arc<str>]>,
    },
    Constant(Value),
}

/// A scalar of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    Bool,
    Long,
    Text,
    Entity(Arc<str>),
}

/// A parent in Cedar's hierarchy.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent {
    pub kind: Arc<str>,
    pub id: ParentId,
    /// Rows of this relation; `None`: the entity's own row.
    pub from: Option<Selection>,
    pub filter: Option<Filter>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ParentId {
    Column(usize),
    Constant(Arc<str>),
}

/// Alternatives; each is a conjunction of tests on columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(pub Vec<Vec<(usize, Test)>>);

#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    Is(Cell),
    IsNot(Cell),
    OneOf(Vec<Cell>),
    Equals(Operand),
    /// The cell is an instant later than the operand's.
    After(Operand),
    /// The same, and it also holds where the question has no such instant: for bars, which must not be lost by what is
    /// unknown.
    AfterOrUnknown(Operand),
}

/// What a filter may compare with: facts about the two entities of the question, never what the caller says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    PrincipalId,
    /// The tenant the principal acts in.
    Tenant,
    /// The principal's roles there.
    Roles,
    /// The principal's tenants other than the resource's.
    OtherTenants,
    ResourceType,
    ResourceId,
    /// A column of the resource's own row; no match where the type has none of that name.
    Resource(Arc<str>),
}

impl Mapping {
    /// The mapping of an entity type.
    pub fn entity(&self, kind: &str) -> Option<&EntityMapping> {
        self.entities.get(kind)
    }

    /// With the digest of all it says. Call it last.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        let mut hasher = DefaultHasher::new();
        (format!("{:?}", self.entities), format!("{:?}", self.tenancy)).hash(&mut hasher);
        self.digest = hasher.finish();
        self
    }
}

impl EntityMapping {
    /// Position of a column by name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.name == name)
    }
}

/// The state of a row at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState {
    Active { until: Option<Timestamp> },
    NotStarted { from: Option<Timestamp> },
    Expired { at: Option<Timestamp> },
    Revoked { at: Option<Timestamp> },
}
