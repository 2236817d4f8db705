//! A caller that writes and reads the bytes of HTTP/1.1 itself.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

/// The longest that any answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// One answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a header, bytes as Latin-1.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A connection that stays open between questions.
pub(crate) struct Line<S> {
    stream: S,
    unread: Vec<u8>,
}

impl Line<TcpStream> {
    pub(crate) async fn tcp(address: SocketAddr) -> Result<Self> {
        Ok(Self { stream: TcpStream::connect(address).await?, unread: Vec::new() })
    }
}

impl Line<UnixStream> {
    pub(crate) async fn unix(path: &Path) -> Result<Self> {
        Ok(Self { stream: UnixStream::connect(path).await?, unread: Vec::new() })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.stream.write_all(bytes.as_ref()).await?)
    }

    /// Sends one whole request: `head` without its length and its end.
    pub(crate) async fn ask(&mut self, head: impl AsRef<[u8]>, body: &str) -> Result<Answer> {
        let mut bytes = head.as_ref().to_vec();
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
        self.send(bytes).await?;
        self.answer().await
    }

    /// Reads the next answer.
    pub(crate) async fn answer(&mut self) -> Result<Answer> {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            self.read_some().await.context("no whole head")?;
        };
        let head: String = self.unread[..end].iter().map(|&byte| char::from(byte)).collect();
        let status = head.split(' ').nth(1).context("a status")?.parse()?;
        let mut answer = Answer { status, head, body: String::new() };
        let length: usize = answer.header("content-length").unwrap_or("0").parse()?;
        while self.unread.len() < end + 4 + length {
            self.read_some().await.context("no whole body")?;
        }
        answer.body = String::from_utf8(self.unread[end + 4..end + 4 + length].to_vec())?;
        self.unread.drain(..end + 4 + length);
        Ok(answer)
    }

    /// The header block of HTTP/2's next HEADERS frame on `stream`.
    pub(crate) async fn http2_head(&mut self, stream: u8) -> Result<Vec<u8>> {
        loop {
            while self.unread.len() < 9 {
                self.read_some().await.context("no whole frame head")?;
            }
            let length = usize::from(self.unread[1]) * 256 + usize::from(self.unread[2]);
            while self.unread.len() < 9 + length {
                self.read_some().await.context("no whole frame")?;
            }
            let frame: Vec<u8> = self.unread.drain(..9 + length).collect();
            if frame[3] == 1 && frame[8] == stream {
                return Ok(frame[9..].to_vec());
            }
        }
    }

    async fn read_some(&mut self) -> Result<()> {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.unread)).await??;
        anyhow::ensure!(read > 0, "the connection was closed after {:?}", String::from_utf8_lossy(&self.unread));
        Ok(())
    }

    /// Waits until the other end closes, however it does.
    pub(crate) async fn closed(&mut self) -> Result<()> {
        loop {
            match tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.unread)).await? {
                Ok(0) | Err(_) => return Ok(()),
                Ok(_) => {}
            }
        }
    }
}
