//! Which application is asking, and what it may ask. One refusal for all causes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, header};
use subtle::{Choice, ConstantTimeEq as _};

use super::{
    error::{ApiError, Code},
    serve::Peer,
};
use crate::domain::request::Caller;

/// What a caller's configuration lets it do; each apart from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    Decide,
    Explain,
    Search,
    Grant,
    Admin,
}

impl Capability {
    pub const ALL: [Self; 5] = [Self::Decide, Self::Explain, Self::Search, Self::Grant, Self::Admin];

    /// The word in the configuration and in refusals.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decide => "decide",
            Self::Explain => "explain",
            Self::Search => "search",
            Self::Grant => "grant",
            Self::Admin => "admin",
        }
    }
}

/// A secret that is compared in constant time and never shown.
#[derive(Clone)]
pub struct Token(Vec<u8>);

impl Token {
    /// `None` for an empty one, which would be no secret.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (!bytes.is_empty()).then_some(Self(bytes))
    }

    pub(super) fn matches(&self, presented: &[u8]) -> Choice {
        self.0.ct_eq(presented)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// One application as its configuration describes it.
#[derive(Clone, Debug, Default)]
pub struct CallerEntry {
    pub name: String,
    pub uids: Vec<u32>,
    pub gids: Vec<u32>,
    /// Two may be valid while they are rotated.
    pub tokens: Vec<Token>,
    pub capabilities: BTreeSet<Capability>,
    /// What of it travels with each request.
    pub caller: Arc<Caller>,
}

/// Why a set of callers cannot be told apart.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CallersError {
    #[error("callers `{first}` and `{second}` share user id {uid}")]
    SharedUid { first: String, second: String, uid: u32 },
    #[error("callers `{first}` and `{second}` share group id {gid}")]
    SharedGid { first: String, second: String, gid: u32 },
    #[error("callers `{first}` and `{second}` share a token")]
    SharedToken { first: String, second: String },
}

/// All applications that may ask.
#[derive(Debug, Default)]
pub struct Callers {
    entries: Vec<CallerEntry>,
    by_uid: BTreeMap<u32, usize>,
    by_gid: BTreeMap<u32, usize>,
    refused_total: AtomicU64,
}

impl Callers {
    /// Callers that each credential tells apart.
    ///
    /// # Errors
    ///
    /// [`CallersError`] names two callers with one credential between them.
    pub fn new(entries: Vec<CallerEntry>) -> Result<Self, CallersError> {
        let name = |index: usize| entries.get(index).map(|entry| entry.name.clone()).unwrap_or_default();
        let (mut by_uid, mut by_gid) = (BTreeMap::new(), BTreeMap::new());
        for (index, entry) in entries.iter().enumerate() {
            for &uid in &entry.uids {
                if let Some(first) = by_uid.insert(uid, index).filter(|&first| first != index) {
                    return Err(CallersError::SharedUid { first: name(first), second: entry.name.clone(), uid });
                }
            }
            for &gid in &entry.gids {
                if let Some(first) = by_gid.insert(gid, index).filter(|&first| first != index) {
                    return Err(CallersError::SharedGid { first: name(first), second: entry.name.clone(), gid });
                }
            }
            for other in entries.iter().take(index) {
                if entry.tokens.iter().any(|token| is_any(&other.tokens, &token.0)) {
                    return Err(CallersError::SharedToken { first: other.name.clone(), second: entry.name.clone() });
                }
            }
        }
        Ok(Self { entries, by_uid, by_gid, refused_total: AtomicU64::new(0) })
    }

    /// Whether at least one caller can present a token: without one, a TCP listener must not open.
    pub fn has_tokens(&self) -> bool {
        self.entries.iter().any(|entry| !entry.tokens.is_empty())
    }

    /// Whether `token` is a caller's: then it must not open the admin listener.
    pub fn share(&self, token: &Token) -> bool {
        self.entries.iter().any(|entry| is_any(&entry.tokens, &token.0))
    }

    /// How often nobody was recognised.
    pub fn refused_total(&self) -> u64 {
        self.refused_total.load(Ordering::Relaxed)
    }

    /// How many callers there are; indices of [`Callers::identify`] are below it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The caller behind a request and its place among all. On the socket the peer's ids decide and a token is not
    /// looked at; on TCP only the token does.
    pub(super) fn identify(&self, peer: &Peer, headers: &HeaderMap) -> Result<(usize, &CallerEntry), ApiError> {
        let index = match peer {
            Peer::Unix { uid, gid } => self.by_uid.get(uid).or_else(|| self.by_gid.get(gid)).copied(),
            Peer::Tcp(_) => bearer(headers).and_then(|token| self.by_token(token)),
        };
        index.and_then(|index| self.entries.get(index).map(|entry| (index, entry))).ok_or_else(|| {
            self.refused_total.fetch_add(1, Ordering::Relaxed);
            unauthenticated()
        })
    }

    // Every token of every caller is compared, so that the time taken tells nothing about which one matched.
    fn by_token(&self, presented: &[u8]) -> Option<usize> {
        let mut found = None;
        for (index, entry) in self.entries.iter().enumerate() {
            for token in &entry.tokens {
                if token.matches(presented).into() {
                    found = Some(index);
                }
            }
        }
        found
    }
}

impl CallerEntry {
    pub(super) fn require(&self, capability: Capability) -> Result<(), ApiError> {
        if self.capabilities.contains(&capability) {
            return Ok(());
        }
        let detail = format!("this caller's configuration does not list the capability `{}`", capability.as_str());
        Err(ApiError::new(Code::Forbidden, detail))
    }
}

/// The one refusal of an unknown caller.
pub(super) fn unauthenticated() -> ApiError {
    ApiError::new(Code::Unauthenticated, "no valid credential was presented")
}

/// The token of `Authorization: Bearer …`, if there is exactly one such header.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (first, None) = (values.next()?.as_bytes(), values.next()) else { return None };
    let (scheme, token) = first.split_at_checked(7)?;
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

pub(super) fn is_any(tokens: &[Token], presented: &[u8]) -> bool {
    tokens.iter().fold(Choice::from(0), |found, token| found | token.matches(presented)).into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn entry(name: &str, uids: &[u32], gids: &[u32], tokens: &[&str]) -> CallerEntry {
        CallerEntry {
            name: name.to_owned(),
            uids: uids.to_vec(),
            gids: gids.to_vec(),
            tokens: tokens.iter().filter_map(|token| Token::new(*token)).collect(),
            capabilities: [Capability::Decide].into(),
            caller: Arc::default(),
        }
    }

    fn callers() -> Callers {
        Callers::new(vec![entry("ehr", &[1000], &[500], &["old", "new"]), entry("portal", &[1001], &[], &["other"])])
            .unwrap()
    }

    fn tcp() -> Peer {
        Peer::Tcp("127.0.0.1:9".parse().unwrap())
    }

    fn authorization(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_peer_of_the_socket_is_known_by_its_user_then_by_its_group() {
        let callers = callers();
        let who = |uid, gid| {
            let found = callers.identify(&Peer::Unix { uid, gid }, &HeaderMap::new());
            found.map(|(_, entry)| entry.name.as_str()).ok()
        };
        assert_eq!(who(1000, 1), Some("ehr"));
        assert_eq!(who(1001, 500), Some("portal"), "the user goes before the group");
        assert_eq!(who(7, 500), Some("ehr"));
        assert_eq!(who(0, 0), None, "root is nobody unless listed");
    }

    #[test]
    fn tcp_needs_exactly_one_right_token() {
        let callers = callers();
        let who = |values: &[&'static str]| {
            callers.identify(&tcp(), &authorization(values)).map(|(index, _)| index).map_err(|error| error.code)
        };
        assert_eq!(who(&["Bearer old"]), Ok(0));
        assert_eq!(who(&["bearer new"]), Ok(0));
        assert_eq!(who(&["Bearer other"]), Ok(1));
        for wrong in [&[][..], &["Bearer "], &["Bearer"], &["Bearer ol"], &["Bearer old "], &["Basic old"], &["old"]] {
            assert_eq!(who(wrong), Err(Code::Unauthenticated), "{wrong:?}");
        }
        assert_eq!(who(&["Bearer old", "Bearer other"]), Err(Code::Unauthenticated), "two are not one");
        assert_eq!(callers.refused_total(), 8);
    }

    #[test]
    fn a_token_does_not_help_on_the_socket() {
        let callers = callers();
        assert!(callers.identify(&Peer::Unix { uid: 7, gid: 7 }, &authorization(&["Bearer old"])).is_err());
    }

    #[test]
    fn an_empty_token_is_no_token() {
        assert!(Token::new("").is_none());
        assert!(!Callers::new(vec![entry("a", &[1], &[], &[""])]).unwrap().has_tokens());
    }

    #[test]
    fn two_callers_with_one_credential_are_refused() {
        let both = |first, second| Callers::new(vec![first, second]).unwrap_err().to_string();
        let plain = entry("a", &[1], &[2], &["t"]);
        assert!(both(plain.clone(), entry("b", &[1], &[], &[])).contains("share user id 1"));
        assert!(both(plain.clone(), entry("b", &[], &[2], &[])).contains("share group id 2"));
        assert!(both(plain, entry("b", &[], &[], &["t"])).contains("share a token"));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", callers()).contains("old"));
    }

    #[test]
    fn a_missing_capability_is_named() {
        let error = entry("a", &[], &[], &[]).require(Capability::Search).unwrap_err();
        assert_eq!(error.code, Code::Forbidden);
        assert!(error.detail.contains("`search`"));
    }
}
