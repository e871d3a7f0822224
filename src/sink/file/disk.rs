//! The file system as the file sink uses it: a seam, so that tests can stop it after any step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3Default;

use crate::file_identity::FileIdentity;

/// What the sink asks of a file system. Every effect is one call.
pub(super) trait Disk: Send + Sync {
    /// Creates a directory and its parents; fine if it exists.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names of the entries that are UTF-8.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Creates a file that must not exist.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// A second name for a file; the name must not exist.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames, replacing.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// All bytes; meant for small files.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Length and number of names; `None` if there is no such file.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;
    /// xxh3 of the content.
    fn checksum(&self, path: &Path) -> io::Result<u64>;
    /// Which directory it is.
    fn identity(&self, dir: &Path) -> io::Result<FileIdentity>;
}

/// A file being written.
pub(super) trait DiskFile: Write + Send {
    /// Makes the content durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) len: u64,
    /// Number of names; 1 where the system does not tell.
    pub(super) names: u64,
}

/// The machine's.
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).open(path)?))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Stat { len: metadata.len(), names: names_of(&metadata) })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn identity(&self, dir: &Path) -> io::Result<FileIdentity> {
        FileIdentity::of(dir)
    }

    fn checksum(&self, path: &Path) -> io::Result<u64> {
        let mut file = File::open(path)?;
        let mut hash = Xxh3Default::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hash.digest()),
                Ok(len) => hash.update(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(unix)]
fn names_of(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
fn names_of(_: &fs::Metadata) -> u64 {
    1
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
