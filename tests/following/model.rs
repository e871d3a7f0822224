//! Random steps of writers, rotations and restarts, against what was written.

use std::collections::BTreeMap;

use millstream::prelude::*;
use millstream::source::SplitPosition;

use crate::jobs::draw;
use crate::rig::{EVERY, Followers, Logs, SETTLED_AFTER, follow};

/// A file as the test knows it.
#[derive(Clone, Debug)]
struct Written {
    name: String,
    number: u64,
    lines: u64,
    /// Of the next line.
    begun: Option<String>,
    /// A checkpoint that knows it was taken.
    is_known: bool,
    rest: Rest,
}

/// What may be expected of a file that does not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Grows,
    /// It is settled.
    Settled,
    /// The last checkpoint knows that it is.
    Known,
}

struct Seeded(u64);

impl Seeded {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = draw(self.0);
        self.0 % end
    }
}

struct World {
    random: Seeded,
    logs: Logs,
    /// Files are written anew, and the loss is accepted.
    rewrites: bool,
    /// Rotated names match the pattern.
    matches_rotated: bool,
    followers: Followers<String>,
    files: Vec<Written>,
    /// Lines of those that were written anew, by number.
    ended: BTreeMap<u64, u64>,
    next_file: u64,
    next_name: u64,
    output: Vec<String>,
    /// The positions, and the output up to there.
    checkpoint: (Option<Vec<SplitPosition>>, usize),
}

impl World {
    fn new(seed: u64) -> Self {
        let (logs, matches_rotated, rewrites) = (Logs::new(), seed.is_multiple_of(2), seed.is_multiple_of(3));
        let followers = Followers::open(&lines(&logs, matches_rotated, rewrites), 1);
        World {
            random: Seeded(seed),
            logs,
            rewrites,
            matches_rotated,
            followers,
            files: Vec::new(),
            ended: BTreeMap::new(),
            next_file: 0,
            next_name: 0,
            output: Vec::new(),
            checkpoint: (None, 0),
        }
    }

    fn step(&mut self) {
        match self.random.below(13) {
            0 => self.create(),
            1..=4 => self.append(),
            5 => self.rotate(),
            6 => self.remove(),
            7 | 8 => self.read(),
            9 => self.take_checkpoint(),
            10 => self.restart(),
            11 => self.rewrite(),
            _ => self.wait(),
        }
    }

    fn any_file(&mut self) -> Option<usize> {
        let files = self.files.len() as u64;
        (files > 0).then(|| self.random.below(files) as usize)
    }

    fn create(&mut self) {
        if self.files.len() < 8 {
            let (name, number) = (format!("app-{}.log", self.next_name), self.next_file);
            (self.next_file, self.next_name) = (number + 1, self.next_name + 1);
            self.logs.append(&name, "");
            self.files.push(Written { name, number, lines: 0, begun: None, is_known: false, rest: Rest::Grows });
        }
    }

    fn append(&mut self) {
        let Some(file) = self.any_file() else { return };
        let lines = self.random.below(30);
        let stops_in_line = self.random.below(3) == 0;
        let file = &mut self.files[file];
        let mut text = file.begun.take().map_or(String::new(), |rest| {
            file.lines += 1;
            rest
        });
        for _ in 0..lines {
            text += &format!("{} {}\n", file.number, file.lines);
            file.lines += 1;
        }
        if stops_in_line {
            let line = format!("{} {}\n", file.number, file.lines);
            text += &line[..line.len() / 2];
            file.begun = Some(line[line.len() / 2..].to_owned());
        }
        self.logs.append(&file.name, &text);
        file.rest = Rest::Grows;
    }

    fn rotate(&mut self) {
        let Some(file) = self.any_file() else { return };
        if self.matches_rotated || self.files[file].is_known {
            let name = format!("app-{}.log.old", self.next_name);
            self.next_name += 1;
            self.logs.rename(&self.files[file].name, &name);
            self.files[file].name = name;
        }
    }

    /// Removes a file that the last checkpoint knows to be settled.
    fn remove(&mut self) {
        if let Some(at) = self.files.iter().position(|file| file.rest == Rest::Known) {
            let file = self.files.remove(at);
            self.logs.remove(&file.name);
        }
    }

    /// Writes a file anew that was read to its end, shorter, longer or as long as it was.
    fn rewrite(&mut self) {
        let Some(at) = self.any_file() else { return };
        // What was made of a file is met like a new one.
        let is_met = self.matches_rotated || self.files[at].name.ends_with(".log");
        if !self.rewrites || !is_met || self.files[at].lines == 0 {
            return;
        }
        let lines = match self.random.below(3) {
            0 => self.files[at].lines,
            _ => 1 + self.random.below(60),
        };
        self.checkpoint_all();
        let number = self.next_file;
        self.next_file += 1;
        let file = &mut self.files[at];
        self.ended.insert(file.number, file.lines);
        let text: String = (0..lines).map(|line| format!("{number} {line}\n")).collect();
        std::fs::write(self.logs.path(&file.name), text).unwrap();
        (file.number, file.lines, file.begun) = (number, lines, None);
        (file.is_known, file.rest) = (false, Rest::Grows);
        if self.random.below(2) == 0 {
            self.checkpoint_all();
        }
    }

    fn read(&mut self) {
        for _ in 0..1 + self.random.below(4) {
            let records = 1 + self.random.below(20) as usize;
            let subtask = self.random.below(self.followers.parallelism() as u64) as usize;
            self.output.extend(self.followers.read(subtask, records).unwrap().1);
        }
    }

    fn read_all(&mut self) {
        self.output.extend(self.followers.next().unwrap());
        self.output.extend(self.followers.next().unwrap());
    }

    fn take_checkpoint(&mut self) {
        if self.random.below(2) == 0 {
            return self.checkpoint_all();
        }
        self.store();
    }

    /// A checkpoint in which all is read.
    fn checkpoint_all(&mut self) {
        self.read_all();
        for file in &mut self.files {
            file.is_known |= file.lines > 0;
        }
        self.store();
    }

    fn store(&mut self) {
        self.checkpoint = (Some(self.followers.positions()), self.output.len());
        for file in self.files.iter_mut().filter(|file| file.rest == Rest::Settled) {
            file.rest = Rest::Known;
        }
    }

    fn wait(&mut self) {
        if self.random.below(4) > 0 {
            return self.followers.wait(EVERY);
        }
        self.read_all();
        self.followers.wait(SETTLED_AFTER);
        self.read_all();
        // Also where a line waits that its writer never finished.
        let is_read = |file: &&mut Written| file.lines > 0 && file.rest == Rest::Grows;
        for file in self.files.iter_mut().filter(is_read) {
            file.rest = Rest::Settled;
        }
    }

    fn restart(&mut self) {
        let parallelism = 1 + self.random.below(3) as u32;
        let (positions, output) = self.checkpoint.clone();
        self.output.truncate(output);
        let source = lines(&self.logs, self.matches_rotated, self.rewrites);
        self.followers = Followers::restore(&source, parallelism, positions).unwrap();
        for file in self.files.iter_mut().filter(|file| file.rest == Rest::Settled) {
            file.rest = Rest::Grows;
        }
    }
}

fn lines(logs: &Logs, matches_rotated: bool, accepts_loss: bool) -> FileSource<String> {
    let pattern = logs.pattern(if matches_rotated { "app-*.log*" } else { "app-*.log" });
    FileSource::lines(pattern).follow(if accepts_loss { follow().accept_loss() } else { follow() })
}

#[test]
fn each_line_is_read_once_and_in_order_whatever_becomes_of_its_file() {
    for seed in 0..120 {
        let mut world = World::new(seed);
        let mut written: BTreeMap<u64, u64> = BTreeMap::new();
        for _ in 0..120 {
            world.step();
            written.extend(world.files.iter().map(|file| (file.number, file.lines)));
            written.extend(&world.ended);
        }
        world.read_all();
        let mut read: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for line in &world.output {
            let (file, number) = line.split_once(' ').unwrap();
            read.entry(file.parse().unwrap()).or_default().push(number.parse().unwrap());
        }
        for (file, lines) in written {
            let read = read.remove(&file).unwrap_or_default();
            assert!(read.iter().copied().eq(0..lines), "seed {seed}, file {file} of {lines} lines: {read:?}");
        }
        assert!(read.is_empty(), "seed {seed}: {read:?}");
    }
}
