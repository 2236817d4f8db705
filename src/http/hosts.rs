//! Which names a TCP listener answers to: the guard against browsers and rebound names.

use http::header;

use super::{
    error::{ApiError, Code},
    serve::Peer,
};

/// Names by which a TCP listener may be addressed. Any other `Host`, and any `Origin`, is a browser led astray.
#[derive(Clone, Debug)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// The loopback names, and `more`: names or addresses without a port.
    pub fn loopback_and(more: impl IntoIterator<Item = String>) -> Self {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
        names.extend(more.into_iter().map(|name| name.to_ascii_lowercase()));
        Self(names)
    }

    pub(super) fn admit(&self, peer: &Peer, parts: &http::request::Parts) -> Result<(), ApiError> {
        if matches!(peer, Peer::Unix { .. }) {
            return Ok(());
        }
        if parts.headers.contains_key(header::ORIGIN) {
            return Err(ApiError::new(
                Code::Forbidden,
                "requests of browsers (`Origin`) are refused: ask from a server",
            ));
        }
        let mut given = parts.headers.get_all(header::HOST).iter();
        let (host, second) = (given.next().and_then(|host| host.to_str().ok()), given.next());
        let host = parts.uri.authority().map(http::uri::Authority::as_str).or(host);
        match host {
            Some(host) if second.is_none() && self.knows(host) => Ok(()),
            _ => Err(ApiError::new(
                Code::Forbidden,
                "the `Host` is not one of this listener's names: ask it as `localhost`, or through what says that name; the \
                 callers' listener has more in `server.tcp.hosts`",
            )),
        }
    }

    fn knows(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        self.0.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> Peer {
        Peer::Tcp(([127, 0, 0, 1], 9).into())
    }

    #[test]
    fn on_tcp_only_known_hosts_and_no_origins_pass() {
        let hosts = Hosts::loopback_and(["pdp.internal".to_owned()]);
        let admit = |peer: &Peer, headers: &[(&str, &str)]| {
            let mut request = http::Request::post("/x");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            hosts.admit(peer, &request.body(()).unwrap().into_parts().0).is_ok()
        };
        for known in ["127.0.0.1:8380", "localhost", "LOCALHOST:1", "[::1]:8380", "PDP.internal:80"] {
            assert!(admit(&tcp(), &[("host", known)]), "{known}");
        }
        for foreign in ["evil.example", "127.0.0.1.evil.example:8380", "10.0.0.1", "", "localhost:80:80"] {
            assert!(!admit(&tcp(), &[("host", foreign)]), "{foreign}");
        }
        assert!(!admit(&tcp(), &[]), "no host at all");
        assert!(!admit(&tcp(), &[("host", "localhost"), ("origin", "http://localhost")]));
        assert!(admit(&Peer::Unix { uid: 1, gid: 1 }, &[("host", "anything"), ("origin", "x")]));
    }
}
