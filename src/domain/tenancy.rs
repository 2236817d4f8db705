//! Which tenant a principal acts in: a fact, helped by the session only where a person belongs to several.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    mapping::{Mapping, RowState},
    slice::FactEntity,
    value::Cell,
    window::row_state,
};

/// The tenants a principal belongs to at `now`, home tenant first, and the one it acts in.
///
/// `None` in second place: it belongs to none, or to several and the session names none of them.
pub fn acting_tenant(
    mapping: &Mapping,
    principal: &FactEntity,
    now: Timestamp,
    said: Option<&str>,
) -> (Vec<Arc<str>>, Option<Arc<str>>) {
    let Some(tenancy) = &mapping.tenancy else { return (Vec::new(), None) };
    let Some(entity) = mapping.entity(&tenancy.principal_type) else { return (Vec::new(), None) };
    let mut tenants: Vec<Arc<str>> = Vec::new();
    if let Some(Cell::Text(home)) = tenancy.home_column.and_then(|column| principal.row.cells.get(column)) {
        tenants.push(home.clone());
    }
    if let (Some(relation), Some(rows)) =
        (entity.relations.get(&tenancy.relation), principal.relations.get(&tenancy.relation))
    {
        for row in rows.iter() {
            if !matches!(row_state(relation, row, now), RowState::Active { .. }) {
                continue;
            }
            if let Some(Cell::Text(tenant)) = row.cells.get(tenancy.relation_column)
                && !tenants.contains(tenant)
            {
                tenants.push(tenant.clone());
            }
        }
    }
    let acting = match (said, tenants.as_slice()) {
        (Some(said), all) => all.iter().find(|tenant| &***tenant == said).cloned(),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    };
    (tenants, acting)
}
