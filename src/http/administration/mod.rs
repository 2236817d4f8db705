//! `/admin/v1/…` for administrators: who it is, which thing, and what to do with it. One file a thing.
//!
//! A call comes as an [`Errand`]: the person behind it, the method, the path behind `/admin/v1`, the query, the body. The
//! files here read it and call `admin/`; another thing to administer is one more file and one more line in [`route`].

mod assignments;
mod consents;
mod grants;
mod person;
mod query;
mod restrictions;
mod reviews;
mod tickets;
mod users;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Map, Value as Json};

use self::query::Query;
use super::{
    Limits, changes,
    error::{ApiError, Code},
    json,
    members::{Members, misfit},
    paths,
    serve::Answer,
};
use crate::admin::{Actor, Admin, Once, Version, page::Page};

pub(super) use self::{
    assignments::{CODES_MAX, REASON_CHARS_MAX},
    person::actor,
    users::STANDINGS,
};

/// The things that are administered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thing {
    Assignments,
    Consents,
    Grants,
    Restrictions,
    Reviews,
    Tickets,
    Users,
}

/// A path that means something: the thing, which one of them, and what to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) thing: Thing,
    pub(super) id: Option<String>,
    pub(super) verb: Option<&'static str>,
    /// For the log.
    pub(super) route: &'static str,
    /// The methods that it takes, as `Allow` names them.
    pub(super) methods: &'static str,
}

use Thing::{Assignments, Consents, Grants, Restrictions, Reviews, Tickets, Users};

/// Every path and its methods: what is not here does not exist.
pub(super) const ROUTES: [(Thing, &str, &str); 30] = [
    (Assignments, "/admin/v1/assignments", "GET, POST"),
    (Assignments, "/admin/v1/assignments/{id}", "GET"),
    (Assignments, "/admin/v1/assignments/{id}/window", "POST"),
    (Assignments, "/admin/v1/assignments/{id}/end", "POST"),
    (Consents, "/admin/v1/consents", "GET, POST"),
    (Consents, "/admin/v1/consents/{id}", "GET"),
    (Consents, "/admin/v1/consents/{id}/revoke", "POST"),
    (Grants, "/admin/v1/grants", "GET"),
    (Grants, "/admin/v1/grants/{id}", "GET"),
    (Grants, "/admin/v1/grants/{id}/approve", "POST"),
    (Grants, "/admin/v1/grants/{id}/reject", "POST"),
    (Grants, "/admin/v1/grants/{id}/revoke", "POST"),
    (Restrictions, "/admin/v1/restrictions", "GET, POST"),
    (Restrictions, "/admin/v1/restrictions/{id}", "GET"),
    (Restrictions, "/admin/v1/restrictions/{id}/agree", "POST"),
    (Restrictions, "/admin/v1/restrictions/{id}/decline", "POST"),
    (Restrictions, "/admin/v1/restrictions/{id}/terminate", "POST"),
    (Reviews, "/admin/v1/reviews", "GET"),
    (Reviews, "/admin/v1/reviews/{id}", "GET"),
    (Reviews, "/admin/v1/reviews/{id}/take", "POST"),
    (Reviews, "/admin/v1/reviews/{id}/ask", "POST"),
    (Reviews, "/admin/v1/reviews/{id}/answered", "POST"),
    (Reviews, "/admin/v1/reviews/{id}/decide", "POST"),
    (Tickets, "/admin/v1/tickets", "GET, POST"),
    (Tickets, "/admin/v1/tickets/{id}", "GET"),
    (Tickets, "/admin/v1/tickets/{id}/scope", "POST"),
    (Tickets, "/admin/v1/tickets/{id}/release", "POST"),
    (Tickets, "/admin/v1/tickets/{id}/resolve", "POST"),
    (Tickets, "/admin/v1/tickets/{id}/reopen", "POST"),
    (Users, "/admin/v1/users/{id}/standing", "GET, POST"),
];

/// One call of an administrator.
pub(super) struct Errand {
    pub(super) actor: Actor,
    pub(super) method: Method,
    pub(super) path: Path,
    pub(super) uri: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What a path stands for.
pub(super) fn route(path: &str) -> Option<Path> {
    ROUTES.into_iter().find_map(|(thing, route, methods)| {
        let id = Some(paths::fits(route, path)?).filter(|id| !id.is_empty()).map(str::to_owned);
        let verb = route.split_once("{id}/").map(|(_, verb)| verb);
        Some(Path { thing, id, verb, route, methods })
    })
}

/// Does what the call says.
pub(super) async fn answer(admin: Arc<Admin>, errand: Errand, limits: Arc<Limits>) -> Result<Answer, ApiError> {
    match errand.path.thing {
        Assignments => assignments::answer(&admin, &errand, &limits).await,
        Consents => consents::answer(&admin, &errand, &limits).await,
        Restrictions => restrictions::answer(&admin, &errand, &limits).await,
        Tickets => tickets::answer(&admin, &errand, &limits).await,
        Grants => grants::answer(&admin, &errand, &limits).await,
        Reviews => reviews::answer(&admin, &errand, &limits).await,
        Users => users::answer(&admin, &errand, &limits).await,
    }
}

/// The tenant that a person says to be in.
pub(super) fn tenant(actor: &Actor) -> Result<&str, ApiError> {
    let tenant = actor.session.get("tenant").and_then(Json::as_str);
    let missing = "say which organization: `tenant=…` in `Chaperone-Session`";
    tenant.ok_or_else(|| ApiError::new(Code::Malformed, missing))
}

impl Errand {
    /// The tenant that the person works in: lists are of one tenant.
    fn tenant(&self) -> Result<&str, ApiError> {
        tenant(&self.actor)
    }

    /// Whether it changes something.
    fn is_change(&self) -> bool {
        self.method == Method::POST
    }

    fn query(&self) -> Result<Query, ApiError> {
        Query::read(self.query.as_deref().unwrap_or_default())
    }

    /// A page of what one client has.
    fn page_of_client(&self) -> Result<Page, ApiError> {
        let mut query = self.query()?;
        let mut page = query.page()?;
        page.client = query.take("client");
        query.end()?;
        Ok(page)
    }

    fn body(&self, limits: &Limits) -> Result<Map<String, Json>, ApiError> {
        Ok(json::read_object(&self.body, &limits.json)?)
    }

    fn once(&self) -> Result<Once, ApiError> {
        let person = self.actor.principal.as_ref().map(|person| person.id.as_str()).unwrap_or_default();
        changes::once_at_least(&self.headers, &format!("person {person}"), &self.uri, &self.body)
    }

    fn expected(&self) -> Result<Option<Version>, ApiError> {
        changes::expected(&self.headers)
    }
}

/// A verb that the thing does not know.
fn no_such_verb() -> ApiError {
    ApiError::new(Code::NotFound, "no such path")
}

/// What a word must be.
fn one_of(words: impl IntoIterator<Item = &'static str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    format!("must be one of {}", words.join(", "))
}

/// Groups or purposes of one row.
pub(super) const GROUPS_MAX: usize = 64;

/// A word of a fixed list.
fn word_of(name: &str, word: &str, list: &[&'static str]) -> Result<Arc<str>, ApiError> {
    let known = list.iter().find(|known| **known == word);
    known.map(|known| Arc::from(*known)).ok_or_else(|| misfit(name, &one_of(list.iter().copied())))
}

/// A list of words that may be missing.
fn words(members: &mut Members, name: &str, words_max: usize) -> Result<Vec<Arc<str>>, ApiError> {
    Ok(members.words(name, words_max)?.unwrap_or_default().into_iter().map(Arc::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_thing_an_id_and_a_verb() {
        let path = route("/admin/v1/grants/BG1/approve").unwrap();
        assert_eq!((path.thing, path.id.as_deref(), path.verb), (Thing::Grants, Some("BG1"), Some("approve")));
        assert_eq!((path.route, path.methods), ("/admin/v1/grants/{id}/approve", "POST"));
        let methods = |path: &str| route(path).unwrap().methods;
        assert_eq!((methods("/admin/v1/grants"), methods("/admin/v1/assignments")), ("GET", "GET, POST"));
        assert_eq!((methods("/admin/v1/assignments/A1"), methods("/admin/v1/assignments/A1/end")), ("GET", "POST"));
        for nothing in [
            "/admin/v1/grants/",
            "/admin/v1/grants/a/b/c",
            "/admin/v1/grants/a/b",
            "/admin/v1/x",
            "/admin/v1/grants//end",
        ] {
            assert_eq!(route(nothing), None, "{nothing}");
        }
    }
}
