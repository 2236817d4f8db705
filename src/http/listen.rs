//! Doors: a Unix socket that takes the place of a dead one only, and TCP.

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, UnixListener, UnixStream};

/// Why a listener did not open.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("a live server answers on the socket `{path}`: stop it, or choose another path")]
    Occupied { path: PathBuf },
    #[error("`{path}` exists and is not a socket: remove it, or choose another path")]
    NotASocket { path: PathBuf },
    #[error("cannot open the socket `{path}`")]
    Socket {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot listen on `{address}`")]
    Tcp {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// An open listener, not yet served.
#[derive(Debug)]
pub enum Door {
    Unix(UnixDoor),
    Tcp(TcpListener),
}

impl Door {
    /// Opens the Unix socket `path` with the permissions `mode`. It is bound beside the path and renamed into place, so
    /// that whoever finds it there can connect.
    ///
    /// # Errors
    ///
    /// [`BindError::Occupied`] if a server answers there. Only a socket that nobody answers on is replaced.
    pub async fn unix(path: impl Into<PathBuf>, mode: u32) -> Result<Self, BindError> {
        let path = path.into();
        refuse_living(&path).await?;
        bind_beside(&path, mode).map(Self::Unix).map_err(|source| BindError::Socket { path, source })
    }

    /// Opens `address`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`BindError::Tcp`] with the cause.
    pub async fn tcp(address: SocketAddr) -> Result<Self, BindError> {
        TcpListener::bind(address).await.map(Self::Tcp).map_err(|source| BindError::Tcp { address, source })
    }

    /// The address that TCP really got.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

/// A bound socket file; removed when dropped, unless another took its place.
#[derive(Debug)]
pub struct UnixDoor {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file.
    identity: (u64, u64),
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        let is_ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, "the socket file could not be removed");
        }
    }
}

async fn refuse_living(path: &Path) -> Result<(), BindError> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(BindError::Socket { path: path.to_owned(), source }),
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(BindError::Occupied { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        // A full backlog belongs to a living server that is too busy to answer.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(BindError::Occupied { path: path.to_owned() }),
        Err(source) => Err(BindError::Socket { path: path.to_owned(), source }),
    }
}

#[expect(clippy::disallowed_methods, reason = "a socket file has no content to sync")]
fn bind_beside(path: &Path, mode: u32) -> io::Result<UnixDoor> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&beside)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode))?;
    let metadata = std::fs::symlink_metadata(&beside)?;
    std::fs::rename(&beside, path)?;
    Ok(UnixDoor { listener, path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_living_socket_is_refused_and_a_dead_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pdp.sock");
        let first = Door::unix(&path, 0o660).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(Door::unix(&path, 0o660).await, Err(BindError::Occupied { .. })));

        drop(first);
        assert!(!path.exists(), "the file goes with its listener");
        // As after kill -9: the listener is gone, its file is not.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let second = Door::unix(&path, 0o660).await.unwrap();
        assert!(UnixStream::connect(&path).await.is_ok());
        drop(second);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left beside it");
    }

    #[tokio::test]
    async fn what_is_not_a_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pdp.sock");
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(Door::unix(&path, 0o660).await, Err(BindError::NotASocket { .. })));
        assert!(path.is_dir());
    }

    #[tokio::test]
    async fn port_zero_takes_a_free_port_and_says_which() {
        let door = Door::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let taken = door.tcp_address().unwrap();
        assert_ne!(taken.port(), 0);
        assert!(matches!(Door::tcp(taken).await, Err(BindError::Tcp { .. })));
    }
}
