//! `callers`: who may ask, how they prove it, and what they may say.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{
    reader::{Presence, Section},
    secret::Secret,
    server::or_off,
};
use crate::domain::{CallerName, request::Caller};

/// Below this a token could be guessed.
pub(super) const TOKEN_CHARS_MIN: usize = 32;

/// The old token and the new one.
const TOKENS_MAX: usize = 2;

#[derive(Clone, Debug, Serialize)]
pub struct CallerConfig {
    pub name: String,
    #[serde(serialize_with = "or_off")]
    pub unix: Option<UnixPeers>,
    /// Any of these proves the caller on TCP; two while one is rotated.
    pub tokens: Vec<Secret>,
    pub capabilities: Vec<Capability>,
    pub subject: SubjectMode,
    /// Type names in this caller's words -> entity types of the schema.
    pub types: BTreeMap<String, String>,
    /// `Type.attribute` pairs that this caller may assert for one request.
    pub may_assert: Vec<String>,
}

/// Peers of the Unix socket, by SO_PEERCRED.
#[derive(Clone, Debug, Default, Serialize)]
pub struct UnixPeers {
    pub uids: Vec<u32>,
    pub gids: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    Decide,
    Explain,
    Search,
    Grant,
}

/// Who says who the subject of a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectMode {
    /// The caller does.
    Asserted,
    /// A verified token does. Refused when the configuration is read, until it can be kept.
    Jwt,
}

impl CallerConfig {
    pub(super) fn read(s: &mut Section<'_, '_>) -> Self {
        let name = s.text("name", "The caller's name in records and logs.").unwrap_or_default();
        if name.is_empty() && !s.has("name") {
            s.problem("", "the caller has no name", Some("add `name: …`; records are kept under it".to_owned()));
        }
        let caller = Self {
            name,
            unix: s.optional("unix", "Peers of the Unix socket.", Presence::Off, UnixPeers::read),
            tokens: tokens(s),
            capabilities: s.choices(
                "capabilities",
                &["decide"],
                &[
                    ("decide", Capability::Decide),
                    ("explain", Capability::Explain),
                    ("search", Capability::Search),
                    ("grant", Capability::Grant),
                ],
                "What the caller may ask for.",
            ),
            subject: s.choice(
                "subject",
                SubjectMode::Asserted,
                &[("asserted", SubjectMode::Asserted), ("jwt", SubjectMode::Jwt)],
                "Who says who the subject is.",
            ),
            types: s.pairs("types", "Type names in the caller's words, as `user: User`."),
            may_assert: s.texts(
                "may_assert",
                &[],
                "Attributes that the caller may assert for one request, as `User.role`.",
            ),
        };
        caller.check(s);
        caller
    }

    fn check(&self, s: &mut Section<'_, '_>) {
        if self.subject == SubjectMode::Jwt {
            s.problem(
                "subject",
                "`jwt` is not available yet",
                Some("`asserted` is: the caller names the subject".to_owned()),
            );
        }
        let has_token_key = s.has("token") || s.has("token_file") || s.has("token_files");
        if self.unix.is_none() && !has_token_key {
            let hint = "add `unix: {uids: […]}` for the socket, or `token_file: …` for TCP".to_owned();
            s.problem("", format!("the caller `{}` has no way to prove itself", self.name), Some(hint));
        }
        for pair in &self.may_assert {
            let is_pair =
                pair.rsplit_once('.').is_some_and(|(kind, attribute)| !kind.is_empty() && !attribute.is_empty());
            if !is_pair {
                s.problem(
                    "may_assert",
                    format!("`{pair}` does not name an attribute"),
                    Some("a type, a dot and an attribute, as `User.role`".to_owned()),
                );
            }
        }
    }

    pub fn may(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// The caller as requests carry it.
    pub fn to_caller(&self) -> Caller {
        Caller {
            name: Some(CallerName(Arc::from(self.name.as_str()))),
            types: self.types.clone(),
            may_assert: self.may_assert.iter().cloned().collect(),
        }
    }
}

impl UnixPeers {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let peers = Self { uids: s.ids("uids", "Numeric user ids."), gids: s.ids("gids", "Numeric group ids.") };
        if peers.uids.is_empty() && peers.gids.is_empty() {
            s.problem(
                "",
                "no uid and no gid is listed",
                Some("list at least one, as `uids: [10001]`; 0 only if root itself asks".to_owned()),
            );
        }
        peers
    }
}

/// The tokens of a caller or of the admin listener, each long enough.
pub(super) fn tokens(s: &mut Section<'_, '_>) -> Vec<Secret> {
    let one = s.secret("token", "token_file", "The bearer token, at least 32 characters.");
    let mut tokens: Vec<Secret> = one.into_iter().collect();
    tokens.extend(s.secrets_in_files("token_files", "Files of two tokens that are both valid while one is rotated."));
    let key = if s.has("token") {
        "token"
    } else if s.has("token_file") {
        "token_file"
    } else {
        "token_files"
    };
    if tokens.iter().any(|token| token.expose().chars().count() < TOKEN_CHARS_MIN) {
        s.problem(
            key,
            format!("the token is shorter than {TOKEN_CHARS_MIN} characters"),
            Some("`openssl rand -base64 32` makes a good one".to_owned()),
        );
    }
    if tokens.iter().any(|token| !token.expose().bytes().all(|byte| byte.is_ascii_graphic())) {
        s.problem(
            key,
            "the token holds characters that a header cannot carry",
            Some("use printable ASCII without spaces".to_owned()),
        );
    }
    if tokens.len() > TOKENS_MAX {
        s.problem(
            key,
            format!("{} tokens are given", tokens.len()),
            Some("one, or two while it is rotated".to_owned()),
        );
    }
    tokens
}
