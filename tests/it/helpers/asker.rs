//! One connection to a sidecar, and what is heard on it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
};

use serde_json::Value as Json;

use super::sidecar::DEADLINE;

/// One answer.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Told {
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn receipt(&self) -> Receipt {
        let chaperone = &self.json()["context"]["chaperone"];
        Receipt {
            writer: chaperone["receipt"]["writer"].as_str().expect("a receipt").to_owned(),
            seq: chaperone["receipt"]["seq"].as_u64().expect("a receipt"),
            decision_id: chaperone["decision_id"].as_str().expect("a decision id").to_owned(),
        }
    }
}

/// What a caller holds after an answer: the place of its record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Receipt {
    pub(crate) writer: String,
    pub(crate) seq: u64,
    pub(crate) decision_id: String,
}

/// One connection that asks one question after the other.
pub(crate) struct Asker<S> {
    stream: S,
    token: String,
    unread: Vec<u8>,
}

pub(crate) trait Patient: Read + Write {
    fn be_patient(&self);
}

impl Patient for TcpStream {
    fn be_patient(&self) {
        self.set_read_timeout(Some(DEADLINE)).unwrap();
        self.set_nodelay(true).unwrap();
    }
}

impl Patient for UnixStream {
    fn be_patient(&self) {
        self.set_read_timeout(Some(DEADLINE)).unwrap();
    }
}

impl<S: Patient> Asker<S> {
    pub(crate) fn new(stream: S, token: &str) -> Self {
        stream.be_patient();
        Self { stream, token: token.to_owned(), unread: Vec::new() }
    }

    pub(crate) fn get(&mut self, path: &str) -> std::io::Result<Told> {
        self.exchange("GET", path, "", &[])
    }

    pub(crate) fn get_with(&mut self, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Told> {
        self.exchange("GET", path, "", headers)
    }

    pub(crate) fn post(&mut self, path: &str, body: &Json) -> std::io::Result<Told> {
        self.post_with(path, body, &[])
    }

    pub(crate) fn post_with(&mut self, path: &str, body: &Json, headers: &[(&str, &str)]) -> std::io::Result<Told> {
        self.exchange("POST", path, &body.to_string(), headers)
    }

    /// Asks one question of `POST /access/v1/evaluation`. An error when the other end is gone before the whole answer came.
    pub(crate) fn ask(&mut self, question: &Json) -> std::io::Result<Told> {
        self.post("/access/v1/evaluation", question)
    }

    fn exchange(&mut self, method: &str, path: &str, body: &str, headers: &[(&str, &str)]) -> std::io::Result<Told> {
        let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let token = match self.token.as_str() {
            "" => String::new(),
            token => format!("authorization: Bearer {token}\r\n"),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{token}{more}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes())?;
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            self.read_some()?;
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())
            .expect("an answer with a length");
        while self.unread.len() < end + 4 + length {
            self.read_some()?;
        }
        let body = String::from_utf8(self.unread[end + 4..end + 4 + length].to_vec()).unwrap();
        self.unread.drain(..end + 4 + length);
        Ok(Told { status, body })
    }

    fn read_some(&mut self) -> std::io::Result<()> {
        let mut bytes = [0; 8192];
        let read = loop {
            match self.stream.read(&mut bytes) {
                // A child of this process ended: a read with a time limit is not taken up again by itself.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        match read {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.unread.extend_from_slice(&bytes[..read]);
                Ok(())
            }
        }
    }
}
