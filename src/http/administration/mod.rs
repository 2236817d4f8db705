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
    serve::Answer,
};
use crate::admin::{Actor, Admin, Once, Version, grants::Page};

pub(super) use person::actor;

/// The things that are administered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thing {
    Assignments,
    Consents,
    Grants,
    Restrictions,
    Reviews,
    Tickets,
}

/// A path that means something: the thing, which one of them, and what to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) thing: Thing,
    pub(super) id: Option<String>,
    pub(super) verb: Option<String>,
}

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

/// What a path stands for, and its route for the log.
pub(super) fn route(path: &str) -> Option<(Path, &'static str)> {
    let mut parts = path.strip_prefix("/admin/v1/")?.split('/');
    let (thing, id, verb, more) = (parts.next()?, parts.next(), parts.next(), parts.next());
    if more.is_some() || [id, verb].into_iter().flatten().any(str::is_empty) {
        return None;
    }
    let (thing, routes) = match thing {
        "assignments" => (
            Thing::Assignments,
            ["/admin/v1/assignments", "/admin/v1/assignments/{id}", "/admin/v1/assignments/{id}/{verb}"],
        ),
        "consents" => {
            (Thing::Consents, ["/admin/v1/consents", "/admin/v1/consents/{id}", "/admin/v1/consents/{id}/{verb}"])
        }
        "grants" => (Thing::Grants, ["/admin/v1/grants", "/admin/v1/grants/{id}", "/admin/v1/grants/{id}/{verb}"]),
        "restrictions" => (
            Thing::Restrictions,
            ["/admin/v1/restrictions", "/admin/v1/restrictions/{id}", "/admin/v1/restrictions/{id}/{verb}"],
        ),
        "tickets" => (Thing::Tickets, ["/admin/v1/tickets", "/admin/v1/tickets/{id}", "/admin/v1/tickets/{id}/{verb}"]),
        "reviews" => (Thing::Reviews, ["/admin/v1/reviews", "/admin/v1/reviews/{id}", "/admin/v1/reviews/{id}/{verb}"]),
        _ => return None,
    };
    let [all, one, done] = routes;
    let route = match (id, verb) {
        (None, _) => all,
        (Some(_), None) => one,
        (Some(_), Some(_)) => done,
    };
    Some((Path { thing, id: id.map(str::to_owned), verb: verb.map(str::to_owned) }, route))
}

impl Path {
    /// The methods that it takes, as `Allow` names them.
    pub(super) const fn methods(&self) -> &'static str {
        match (self.thing, &self.id, &self.verb) {
            (_, _, Some(_)) => "POST",
            (Thing::Grants | Thing::Reviews, _, None) | (_, Some(_), None) => "GET",
            (_, None, None) => "GET, POST",
        }
    }
}

/// Does what the call says.
pub(super) async fn answer(admin: Arc<Admin>, errand: Errand, limits: Arc<Limits>) -> Result<Answer, ApiError> {
    match errand.path.thing {
        Thing::Assignments => assignments::answer(&admin, &errand, &limits).await,
        Thing::Consents => consents::answer(&admin, &errand, &limits).await,
        Thing::Restrictions => restrictions::answer(&admin, &errand, &limits).await,
        Thing::Tickets => tickets::answer(&admin, &errand, &limits).await,
        Thing::Grants => grants::answer(&admin, &errand, &limits).await,
        Thing::Reviews => reviews::answer(&admin, &errand, &limits).await,
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
const GROUPS_MAX: usize = 64;

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
        let (path, name) = route("/admin/v1/grants/BG1/approve").unwrap();
        assert_eq!(
            (path.thing, path.id.as_deref(), path.verb.as_deref()),
            (Thing::Grants, Some("BG1"), Some("approve"))
        );
        assert_eq!((name, path.methods()), ("/admin/v1/grants/{id}/{verb}", "POST"));
        let methods = |path: &str| route(path).unwrap().0.methods();
        assert_eq!((methods("/admin/v1/grants"), methods("/admin/v1/assignments")), ("GET", "GET, POST"));
        assert_eq!((methods("/admin/v1/assignments/A1"), methods("/admin/v1/assignments/A1/end")), ("GET", "POST"));
        assert_eq!(route("/admin/v1/reviews").unwrap().1, "/admin/v1/reviews");
        for nothing in
            ["/admin/v1/grants/", "/admin/v1/grants/a/b/c", "/admin/v1/x", "/grants", "/admin/v1/grants//end"]
        {
            assert_eq!(route(nothing), None, "{nothing}");
        }
    }
}
