//! Mistakes that no section can see alone.

use std::collections::BTreeMap;

use super::{AuditShip, Config, reader::Section};

pub(super) fn across_sections(config: &Config, root: &mut Section<'_, '_>) {
    tcp_needs_a_token(config, root);
    names_are_unique(config, root);
    tokens_tell_callers_apart(config, root);
    peers_tell_callers_apart(config, root);
    listeners_do_not_collide(config, root);
    the_trail_has_somewhere_to_go(config, root);
    what_leaves_the_folder_can_be_read(config, root);
}

fn the_trail_has_somewhere_to_go(config: &Config, root: &mut Section<'_, '_>) {
    let audit = &config.audit;
    if audit.ship == AuditShip::Store && audit.ship_url.is_none() && config.sources.store.is_none() {
        let hint = "name a database: `sources.store`, or `audit.ship_url`".to_owned();
        root.problem_at(&["audit", "ship"], "there is no store to ship to", Some(hint));
    }
}

/// Segments go once the store holds them. Where that is not read, neither pages nor exports of the sidecar have them.
fn what_leaves_the_folder_can_be_read(config: &Config, root: &mut Section<'_, '_>) {
    let audit = &config.audit;
    if audit.ship == AuditShip::Off || audit.key_file.is_none() {
        return;
    }
    let why = if audit.encryption_key_file.is_some() {
        "encrypted records are read in their folder alone"
    } else {
        let store = config.sources.store.as_ref().map(|store| &store.url);
        let is_read_as_it_is = audit.ship_url.as_ref().or(store).is_none_or(|url| url.expose().starts_with("sqlite:"));
        if audit.read_url.is_some() || is_read_as_it_is {
            return;
        }
        "without `read_url` the store is not read"
    };
    let hours = audit.keep_local_hours;
    let message =
        format!("{why}, and segments leave it after {hours} h (`keep_local_hours`): no query or export has them then");
    root.warning("audit", message);
}

fn tcp_needs_a_token(config: &Config, root: &mut Section<'_, '_>) {
    let any_token = config.callers.iter().any(|caller| !caller.tokens.is_empty());
    if config.server.tcp.is_some() && !any_token {
        let hint = "give a caller `token_file: …`, or remove `server.tcp`".to_owned();
        root.problem_at(&["server", "tcp"], "listens, but no caller has a token", Some(hint));
    }
}

fn names_are_unique(config: &Config, root: &mut Section<'_, '_>) {
    let mut seen = BTreeMap::new();
    for (index, caller) in config.callers.iter().enumerate() {
        if let Some(first) = seen.insert(caller.name.as_str(), index)
            && !caller.name.is_empty()
        {
            let message = format!("the name `{}` is taken by callers[{first}]", caller.name);
            root.problem_at(&["callers", &index.to_string(), "name"], message, None);
        }
    }
}

/// A shared token would make a record name the wrong caller, or let an application administer.
fn tokens_tell_callers_apart(config: &Config, root: &mut Section<'_, '_>) {
    let tokens: Vec<(usize, &str, &super::Secret)> = config
        .callers
        .iter()
        .enumerate()
        .flat_map(|(index, caller)| caller.tokens.iter().map(move |token| (index, caller.name.as_str(), token)))
        .collect();
    for (place, (index, name, token)) in tokens.iter().enumerate() {
        let twin = tokens
            .iter()
            .take(place)
            .find(|(other, _, earlier)| other != index && earlier.matches(token.expose().as_bytes()));
        if let Some((_, other, _)) = twin {
            let message = format!("the callers `{other}` and `{name}` have the same token");
            root.problem_at(&["callers", &index.to_string()], message, Some("give each its own".to_owned()));
        }
    }
    for token in config.server.admin.iter().flat_map(|admin| &admin.tokens) {
        if let Some((_, name, _)) = tokens.iter().find(|(_, _, other)| other.matches(token.expose().as_bytes())) {
            let message = format!("the admin listener has the same token as the caller `{name}`");
            root.problem_at(&["server", "admin"], message, Some("give it one of its own".to_owned()));
        }
    }
}

fn peers_tell_callers_apart(config: &Config, root: &mut Section<'_, '_>) {
    let mut seen: BTreeMap<(&str, u32), usize> = BTreeMap::new();
    for (index, caller) in config.callers.iter().enumerate() {
        let Some(peers) = &caller.unix else { continue };
        let ids = peers.uids.iter().map(|uid| ("uid", *uid)).chain(peers.gids.iter().map(|gid| ("gid", *gid)));
        for (kind, id) in ids {
            if let Some(first) = seen.insert((kind, id), index).filter(|first| *first != index) {
                let message = format!("{kind} {id} already means callers[{first}]");
                root.problem_at(&["callers", &index.to_string(), "unix"], message, None);
            }
        }
    }
}

fn listeners_do_not_collide(config: &Config, root: &mut Section<'_, '_>) {
    let listeners = [
        ("tcp", config.server.tcp.as_ref().map(|tcp| tcp.listen)),
        ("admin", config.server.admin.as_ref().map(|admin| admin.listen)),
        ("health", config.server.health.as_ref().map(|health| health.listen)),
    ];
    for (place, (name, address)) in listeners.iter().enumerate() {
        let Some(address) = address.filter(|address| address.port() != 0) else { continue };
        let collides = |other: &std::net::SocketAddr| {
            other.port() == address.port()
                && (other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified())
        };
        if let Some((other, _)) = listeners.iter().take(place).find(|(_, other)| other.as_ref().is_some_and(collides)) {
            root.problem_at(
                &["server", name, "listen"],
                format!("{address} collides with `server.{other}`"),
                Some("choose another port".to_owned()),
            );
        }
    }
}
