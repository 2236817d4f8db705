//! A kind of thing that administrators keep, over the admin API: made, listed, shown, taken one step further. The commands
//! of each say what is particular to it.

use http::Method;
use serde_json::Value as Json;

use super::{
    calls::{Call, Listing, PageArgs, PersonArgs, Shown, StateArgs},
    context::Context,
    exit::Exit,
    failure::Failure,
};

/// Where it is, and how a person reads it.
pub(super) struct Thing {
    /// Under `/admin/v1`.
    pub(super) path: &'static str,
    /// What is printed of one.
    pub(super) shown: Shown<'static>,
    /// One in a list.
    pub(super) row: fn(&Json) -> String,
    /// What is said where there is none.
    pub(super) none: &'static str,
}

impl Thing {
    /// Makes one and prints it.
    pub(super) fn make(&self, context: &Context<'_>, body: Json, person: &PersonArgs) -> Result<Exit, Failure> {
        self.post(context, self.path, body, (&StateArgs::default(), person))
    }

    /// Takes one step with one, while it is in the state that is named, and prints it.
    pub(super) fn step(
        &self,
        context: &Context<'_>,
        (id, verb): (&str, &str),
        body: Json,
        (state, person): (&StateArgs, &PersonArgs),
    ) -> Result<Exit, Failure> {
        self.post(context, &format!("{}/{id}/{verb}", self.path), body, (state, person))
    }

    /// Prints one as it stands.
    pub(super) fn show(&self, context: &Context<'_>, id: &str, person: &PersonArgs) -> Result<Exit, Failure> {
        let path = format!("{}/{id}", self.path);
        person.show(context, Call { method: Method::GET, path: &path, body: None }, &self.shown)
    }

    /// Prints a page of them.
    pub(super) fn list(
        &self,
        context: &Context<'_>,
        words: &[(&str, Option<&str>)],
        (page, person): (&PageArgs, &PersonArgs),
    ) -> Result<Exit, Failure> {
        self.list_at(context, self.path, words, (page, person))
    }

    /// The same, of a list that has a place of its own.
    pub(super) fn list_at(
        &self,
        context: &Context<'_>,
        path: &str,
        words: &[(&str, Option<&str>)],
        (page, person): (&PageArgs, &PersonArgs),
    ) -> Result<Exit, Failure> {
        person.list(context, &Listing { path, words, row: self.row, none: self.none }, page)
    }

    fn post(
        &self,
        context: &Context<'_>,
        path: &str,
        body: Json,
        (state, person): (&StateArgs, &PersonArgs),
    ) -> Result<Exit, Failure> {
        person.show_changed(context, Call { method: Method::POST, path, body: Some(body) }, state, &self.shown)
    }
}
