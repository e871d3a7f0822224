//! A file system in memory that can be stopped after any step, with or without a power cut.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::xxh3_64;

use super::disk::{Disk, DiskFile, Stat};
use crate::file_identity::FileIdentity;

/// How the machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// The process is killed: what it wrote is there.
    Kill,
    /// Only what was synced is there.
    PowerCut,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

#[derive(Default)]
struct State {
    /// Content and durable content of each file.
    files: Vec<(Vec<u8>, Vec<u8>)>,
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
    steps: usize,
    /// From this step on every step fails.
    stop_at: Option<usize>,
    /// This step fails, once.
    fail_at: Option<usize>,
}

/// Clones are one disk.
#[derive(Clone, Default)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    pub(super) fn steps(&self) -> usize {
        self.0.lock().unwrap().steps
    }

    pub(super) fn stop_at(&self, step: usize) {
        self.0.lock().unwrap().stop_at = Some(step);
    }

    pub(super) fn fail_at(&self, step: usize) {
        self.0.lock().unwrap().fail_at = Some(step);
    }

    /// The machine goes down and comes up again, never to be stopped.
    pub(super) fn crash(&self, crash: Crash) {
        let mut state = self.0.lock().unwrap();
        (state.stop_at, state.fail_at) = (None, None);
        if crash == Crash::PowerCut {
            let durable = state.durable_names.clone();
            let reachable =
                |path: &Path| path.ancestors().skip(1).all(|dir| dir == Path::new("/") || durable.contains_key(dir));
            state.names = durable.iter().filter(|(path, _)| reachable(path)).map(|(p, n)| (p.clone(), *n)).collect();
            state.durable_names = state.names.clone();
            state.files.iter_mut().for_each(|(content, durable)| content.clone_from(durable));
        }
    }

    /// Paths and contents of the files below `dir`.
    pub(super) fn files_below(&self, dir: &str) -> Vec<(PathBuf, String)> {
        let state = self.0.lock().unwrap();
        let file = |(path, node): (&PathBuf, &Node)| match node {
            Node::File(id) if path.starts_with(dir) => {
                Some((path.clone(), String::from_utf8(state.files[*id].0.clone()).unwrap_or_default()))
            }
            _ => None,
        };
        state.names.iter().filter_map(file).collect()
    }

    /// What a consumer does, whatever happens to the sink.
    pub(super) fn move_away(&self, from: &Path, to: &Path) {
        let mut state = self.0.lock().unwrap();
        let node = state.names.remove(from).expect("the file is there");
        state.names.insert(to.to_owned(), node);
    }

    pub(super) fn put(&self, path: &str, content: &str) {
        let mut state = self.0.lock().unwrap();
        state.files.push((content.into(), content.into()));
        let node = Node::File(state.files.len() - 1);
        state.names.insert(path.into(), node);
        state.durable_names.insert(path.into(), node);
    }

    pub(super) fn delete(&self, path: &Path) {
        let mut state = self.0.lock().unwrap();
        state.names.remove(path).expect("the file is there");
        state.durable_names.remove(path);
    }

    fn step<V>(&self, effect: impl FnOnce(&mut State) -> io::Result<V>) -> io::Result<V> {
        let mut state = self.0.lock().unwrap();
        let step = state.steps;
        if state.stop_at.is_some_and(|stop| step >= stop) {
            return Err(io::Error::other("the machine is down"));
        }
        state.steps += 1;
        if state.fail_at == Some(step) {
            return Err(ErrorKind::StorageFull.into());
        }
        effect(&mut state)
    }
}

fn file(state: &State, path: &Path) -> io::Result<usize> {
    match state.names.get(path) {
        Some(Node::File(id)) => Ok(*id),
        _ => Err(ErrorKind::NotFound.into()),
    }
}

fn vacant(state: &State, path: &Path) -> io::Result<()> {
    if state.names.contains_key(path) { Err(ErrorKind::AlreadyExists.into()) } else { Ok(()) }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.step(|state| {
            for dir in path.ancestors().filter(|dir| *dir != Path::new("/")) {
                state.names.entry(dir.to_owned()).or_insert(Node::Dir);
            }
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.step(|state| {
            let entries = state.names.keys().filter(|path| path.parent() == Some(dir));
            Ok(entries.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
        })
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.step(|state| {
            vacant(state, path)?;
            state.files.push(Default::default());
            let id = state.files.len() - 1;
            state.names.insert(path.to_owned(), Node::File(id));
            Ok(Box::new(SimFile { disk: self.clone(), id }) as Box<dyn DiskFile>)
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|state| {
            let id = file(state, from)?;
            vacant(state, to)?;
            state.names.insert(to.to_owned(), Node::File(id));
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|state| {
            let id = file(state, from)?;
            state.names.remove(from);
            state.names.insert(to.to_owned(), Node::File(id));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|state| {
            file(state, path)?;
            state.names.remove(path);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step(|state| {
            let within = |path: &PathBuf| path.parent() == Some(dir);
            state.durable_names.retain(|path, _| !within(path));
            let entries: Vec<_> =
                state.names.iter().filter(|(path, _)| within(path)).map(|(p, n)| (p.clone(), *n)).collect();
            state.durable_names.extend(entries);
            Ok(())
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.step(|state| file(state, path).map(|id| state.files[id].0.clone()))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        self.step(|state| {
            Ok(state.names.get(path).map(|node| match node {
                Node::Dir => Stat { len: 0, names: 1 },
                Node::File(id) => Stat {
                    len: state.files[*id].0.len() as u64,
                    names: state.names.values().filter(|other| *other == node).count() as u64,
                },
            }))
        })
    }

    /// No step: it has no effect, and nothing is lost between it and its neighbours.
    fn identity(&self, dir: &Path) -> io::Result<FileIdentity> {
        match self.0.lock().unwrap().names.get(dir) {
            Some(Node::Dir) => Ok(FileIdentity::default()),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    fn checksum(&self, path: &Path) -> io::Result<u64> {
        self.step(|state| file(state, path).map(|id| xxh3_64(&state.files[id].0)))
    }
}

struct SimFile {
    disk: SimDisk,
    id: usize,
}

impl Write for SimFile {
    /// Takes half of what it is given, so that a step can fall between two writes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().div_ceil(2);
        self.disk.step(|state| {
            state.files[self.id].0.extend_from_slice(&bytes[..len]);
            Ok(len)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn sync(&mut self) -> io::Result<()> {
        self.disk.step(|state| {
            let (content, durable) = &mut state.files[self.id];
            durable.clone_from(content);
            Ok(())
        })
    }
}
