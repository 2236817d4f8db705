//! `server`: the listeners.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Serialize, Serializer};

use super::{
    callers::tokens,
    reader::{Presence, Section},
    secret::Secret,
};

/// `sockaddr_un` holds 108 bytes, the last of them zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

#[derive(Clone, Debug, Serialize)]
pub struct ServerConfig {
    /// Given word for word as `policy_decision_point` in the AuthZEN metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    #[serde(serialize_with = "or_off")]
    pub unix: Option<UnixListener>,
    #[serde(serialize_with = "or_off")]
    pub tcp: Option<TcpListener>,
    #[serde(serialize_with = "or_off")]
    pub admin: Option<AdminListener>,
    #[serde(serialize_with = "or_off")]
    pub health: Option<HealthListener>,
}

#[derive(Clone, Debug, Serialize)]
pub struct UnixListener {
    pub path: PathBuf,
    #[serde(serialize_with = "as_octal")]
    pub mode: u32,
}

#[derive(Clone, Debug, Serialize)]
pub struct TcpListener {
    pub listen: SocketAddr,
    /// The names that `Host` may say, without port.
    pub hosts: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AdminListener {
    pub listen: SocketAddr,
    /// One or, while it is rotated, two.
    pub tokens: Vec<Secret>,
    /// The administrator is named by headers instead of a verified JWT.
    pub asserted: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct HealthListener {
    pub listen: SocketAddr,
}

impl ServerConfig {
    pub(super) fn read(s: &mut Section<'_, '_>) -> Self {
        let public_url = s.text(
            "public_url",
            "The address that callers know, word for word in the AuthZEN metadata; by default that of the listener.",
        );
        if let Some(url) = &public_url
            && (!(url.starts_with("https://") || url.starts_with("http://")) || url.contains(['?', '#']))
        {
            s.problem(
                "public_url",
                format!("`{url}` is not a plain http(s) address"),
                Some("as https://pdp.example.com".to_owned()),
            );
        }
        Self {
            public_url,
            unix: s.optional(
                "unix",
                "The Unix socket; peers are known by SO_PEERCRED. `off` switches it off.",
                Presence::On,
                UnixListener::read,
            ),
            tcp: s.optional(
                "tcp",
                "HTTP over TCP; a caller with a token must exist.",
                Presence::Off,
                TcpListener::read,
            ),
            admin: s.optional(
                "admin",
                "The admin API, with a credential of its own.",
                Presence::Off,
                AdminListener::read,
            ),
            health: s.optional("health", "Probes and metrics; no ids, no secrets.", Presence::On, HealthListener::read),
        }
    }

    /// The address that the metadata names: the configured one, or the one that TCP got, or `http://localhost` behind
    /// the socket.
    pub fn public_url(&self, tcp: Option<SocketAddr>) -> String {
        match (&self.public_url, tcp) {
            (Some(url), _) => url.clone(),
            (None, Some(address)) => format!("http://{address}"),
            (None, None) => "http://localhost".to_owned(),
        }
    }
}

impl UnixListener {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let path = s.path("path", "/run/chaperone/pdp.sock", "Path of the socket.");
        let bytes = path.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            s.problem(
                "path",
                format!("{bytes} bytes are too long for a socket's path"),
                Some(format!("at most {SOCKET_PATH_BYTES_MAX}")),
            );
        }
        let text = s
            .text("mode", "Permissions of the socket, in octal; 0660 by default.")
            .unwrap_or_else(|| "0660".to_owned());
        let mode = u32::from_str_radix(text.trim_start_matches("0o"), 8).ok().filter(|mode| *mode <= 0o777);
        if mode.is_none() {
            s.problem(
                "mode",
                format!("`{text}` is not a file mode"),
                Some("three octal digits, as \"0660\"".to_owned()),
            );
        }
        if mode.is_some_and(|mode| mode & 0o002 != 0) {
            s.warning("mode", "every user of the machine may connect; only listed uids and gids are answered");
        }
        Self { path, mode: mode.unwrap_or(0o660) }
    }
}

impl TcpListener {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let listen = s.address("listen", SocketAddr::from(([127, 0, 0, 1], 8380)), "Address and port.");
        if !listen.ip().is_loopback() {
            s.warning("listen", "tokens and answers cross the network in the clear; put TLS in front");
        }
        Self {
            listen,
            hosts: s.texts("hosts", &["localhost", "127.0.0.1"], "Names that the Host header may say, without port."),
        }
    }
}

impl AdminListener {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let listener = Self {
            listen: s.address("listen", SocketAddr::from(([127, 0, 0, 1], 8381)), "Address and port."),
            tokens: tokens(s),
            asserted: s.flag(
                "asserted",
                false,
                "Trust the headers Chaperone-Principal and Chaperone-Session instead of a verified JWT.",
            ),
        };
        if !(s.has("token") || s.has("token_file") || s.has("token_files")) {
            s.problem(
                "",
                "the admin listener has no credential",
                Some("add `token_file: …` with 32 or more random characters".to_owned()),
            );
        }
        if !listener.listen.ip().is_loopback() {
            s.warning(
                "listen",
                "the administrators' token and what they read cross the network in the clear: listen on 127.0.0.1 and put \
                 what ends TLS beside it, or forward the port (`ssh -L`, `kubectl port-forward`)",
            );
        }
        listener
    }
}

impl HealthListener {
    fn read(s: &mut Section<'_, '_>) -> Self {
        Self {
            listen: s.address(
                "listen",
                SocketAddr::from(([0, 0, 0, 0], 8382)),
                "Address and port; the kubelet probes from outside the pod.",
            ),
        }
    }
}

/// Prints what is switched off as the word that switches it off.
pub(super) fn or_off<T: Serialize, S: Serializer>(part: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match part {
        Some(part) => part.serialize(serializer),
        None => serializer.serialize_str("off"),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn as_octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{mode:04o}"))
}
