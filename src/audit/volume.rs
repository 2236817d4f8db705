//! What kind of volume the folder lives on: one that outlives the pod, or not.

use std::{fs, io, path::Path};

use serde::Serialize;

/// Where a folder lives, by what is lost with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeKind {
    /// A device: what is synced survives.
    Disk,
    /// A network file system: one folder a pod.
    Network,
    /// A Kubernetes `emptyDir`: gone with the pod.
    EmptyDir,
    /// RAM: gone with the machine; a sync means nothing.
    Memory,
    /// A container's own layer: gone with the container.
    Overlay,
}

impl VolumeKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Network => "network",
            Self::EmptyDir => "empty_dir",
            Self::Memory => "memory",
            Self::Overlay => "overlay",
        }
    }

    /// Whether the folder can vanish while the node lives on.
    pub const fn is_ephemeral(self) -> bool {
        match self {
            Self::Disk | Self::Network => false,
            Self::EmptyDir | Self::Memory | Self::Overlay => true,
        }
    }

    /// Looks at the folder's file system and at the root of its mount.
    ///
    /// # Errors
    ///
    /// The folder cannot be resolved or asked.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let dir = dir.canonicalize()?;
        let by_type = match i128::from(rustix::fs::statfs(&dir)?.f_type) & 0xffff_ffff {
            0x0102_1994 | 0x8584_58f6 => Self::Memory,
            0x794c_7630 => Self::Overlay,
            0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x517b => Self::Network,
            _ => Self::Disk,
        };
        if by_type == Self::Memory {
            return Ok(by_type);
        }
        // Where /proc is closed the file system's type has to do.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Ok(if is_empty_dir(&mounts, &dir) { Self::EmptyDir } else { by_type })
    }
}

/// Whether the mount that holds `dir` is rooted in an `emptyDir`. Fields 4 and 5 of a line are root and mount point.
fn is_empty_dir(mounts: &str, dir: &Path) -> bool {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(3);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(_, point)| dir.starts_with(point))
        // The later of two mounts on one point covers the earlier.
        .max_by_key(|(_, point)| point.len())
        .is_some_and(|(root, _)| root.contains("kubernetes.io~empty-dir"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
36 22 8:1 /var/lib/kubelet/pods/1/volumes/kubernetes.io~empty-dir/spool /var/spool rw - ext4 /dev/sda1 rw
37 36 8:2 / /var/spool/kept rw - ext4 /dev/sdb1 rw
";

    #[test]
    fn an_empty_dir_is_told_by_the_root_of_its_mount() {
        assert!(is_empty_dir(MOUNTS, Path::new("/var/spool/audit")));
    }

    #[test]
    fn a_mount_inside_an_empty_dir_is_judged_by_itself() {
        assert!(!is_empty_dir(MOUNTS, Path::new("/var/spool/kept/audit")));
        assert!(!is_empty_dir(MOUNTS, Path::new("/var/spoolx")));
    }

    #[test]
    fn memory_is_told_by_its_file_system() {
        assert_eq!(VolumeKind::of(Path::new("/dev/shm")).unwrap(), VolumeKind::Memory);
    }
}
