//! The binary in a pseudo-terminal: what `millstream top` draws, which keys it obeys, and how it leaves the terminal; and how far the work of
//! other commands is.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::tool::command;

/// Gives the screen back that was there before the program.
const LEAVE_SCREEN: &str = "\x1b[?1049l";

/// The program in a terminal.
pub(crate) struct Terminal {
    /// Whoever sits before it.
    seat: File,
    /// Kept open, so that its modes can be looked at after the end.
    line: File,
    modes_before: String,
    program: Child,
    pieces: Receiver<Vec<u8>>,
    grid: Grid,
    /// All that was written to it.
    written: String,
}

impl Terminal {
    /// A terminal of this size, in which `millstream top` runs with these arguments.
    pub(crate) fn top(arguments: &[&str], columns: u16, rows: u16) -> Self {
        let arguments: Vec<&str> = ["top"].iter().chain(arguments).copied().collect();
        Self::running(&arguments, columns, rows)
    }

    /// The same, with any command.
    fn running(arguments: &[&str], columns: u16, rows: u16) -> Self {
        let seat: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&seat).unwrap();
        unlockpt(&seat).unwrap();
        let name = ptsname(&seat, Vec::new()).unwrap();
        let line = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        tcsetwinsize(&line, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let modes_before = modes(&line);
        let mut command = command(arguments);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let end = || line.try_clone().unwrap();
        let program = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let seat = File::from(seat);
        let pieces = pieces(seat.try_clone().unwrap());
        let grid = Grid::new(usize::from(columns), usize::from(rows));
        Self { seat, line, modes_before, program, pieces, grid, written: String::new() }
    }

    /// Waits until this stands on the screen.
    pub(crate) fn wait_for(&mut self, text: &str) {
        self.wait_until(|terminal| terminal.grid.has(text));
    }

    fn wait_until(&mut self, is_there: impl Fn(&Self) -> bool) {
        while !is_there(self) {
            let piece = self.pieces.recv().unwrap_or_else(|_| panic!("{:#?}", self.grid.rows()));
            let piece = String::from_utf8_lossy(&piece).into_owned();
            self.written.push_str(&piece);
            self.grid.write(&piece);
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.seat.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn terminate(&self) {
        let program = Pid::from_child(&self.program);
        kill_process(program, Signal::TERM).unwrap();
    }

    /// Waits for the end, after which the terminal must be as it was.
    pub(crate) fn end(mut self) -> ExitStatus {
        self.wait_until(|terminal| terminal.written.contains(LEAVE_SCREEN));
        let status = self.program.wait().unwrap();
        assert_eq!(modes(&self.line), self.modes_before);
        status
    }
}

/// What stands where, of what is written to a terminal: text, and where that goes. A character of several bytes may come in two pieces, and is
/// lost; the tests look for others.
struct Grid {
    cells: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// An order that has not come to its end yet.
    order: Option<String>,
}

impl Grid {
    fn new(columns: usize, rows: usize) -> Self {
        Self { cells: vec![vec![' '; columns]; rows], row: 0, column: 0, order: None }
    }

    fn rows(&self) -> Vec<String> {
        self.cells.iter().map(|row| row.iter().collect()).collect()
    }

    fn has(&self, text: &str) -> bool {
        self.rows().iter().any(|row| row.contains(text))
    }

    fn write(&mut self, piece: &str) {
        for character in piece.chars() {
            match &mut self.order {
                Some(order) if order.is_empty() || !character.is_ascii_alphabetic() => order.push(character),
                Some(order) => {
                    let order = std::mem::take(order);
                    self.order = None;
                    self.obey(&order, character);
                }
                None if character == '\x1b' => self.order = Some(String::new()),
                None if character == '\r' => self.column = 0,
                None if character == '\n' => self.row += 1,
                None => self.put(character),
            }
        }
    }

    /// An order is `[`, what it is about, and a letter.
    fn obey(&mut self, about: &str, letter: char) {
        let place = |at: Option<&str>| at.and_then(|at| at.parse::<usize>().ok()).unwrap_or(1) - 1;
        match letter {
            'H' => {
                let mut places = about.trim_start_matches('[').split(';');
                (self.row, self.column) = (place(places.next()), place(places.next()));
            }
            'J' => self.cells.iter_mut().for_each(|row| row.fill(' ')),
            'K' => {
                let row = self.cells.get_mut(self.row).and_then(|row| row.get_mut(self.column..));
                row.into_iter().flatten().for_each(|cell| *cell = ' ');
            }
            _ => {}
        }
    }

    fn put(&mut self, character: char) {
        if let Some(cell) = self.cells.get_mut(self.row).and_then(|row| row.get_mut(self.column)) {
            *cell = character;
        }
        self.column += 1;
    }
}

/// How the line treats what is typed.
fn modes(line: &File) -> String {
    format!("{:?}", tcgetattr(line).unwrap())
}

/// What is drawn, piece by piece, until nobody draws any more.
fn pieces(mut seat: File) -> Receiver<Vec<u8>> {
    let (send, pieces) = channel();
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 14];
        while let Ok(count @ 1..) = seat.read(&mut buffer) {
            if send.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    pieces
}

#[test]
fn a_server_that_is_stuck_holds_up_no_key() {
    let server = crate::servers::Server::silent();
    let mut terminal = Terminal::top(&[&server.address()], 80, 24);
    terminal.wait_for("connecting");
    terminal.press("?");
    terminal.wait_for("back-pressured");
    terminal.press("q");
    assert!(terminal.end().success());
}

#[test]
fn a_server_that_is_not_there_is_told_on_the_screen() {
    let address = format!("localhost:{}", crate::servers::closed_port());
    let mut terminal = Terminal::top(&[&address], 80, 24);
    terminal.wait_for("NO ANSWER");
    terminal.wait_for("cannot connect to http://localhost:");
    terminal.wait_for("hint: is the service running");
    terminal.press("\x03");
    assert!(terminal.end().success());
}

#[test]
fn a_signal_ends_it_as_it_ends_others_and_the_terminal_is_given_back() {
    let server = crate::servers::Server::silent();
    let mut terminal = Terminal::top(&[&server.address()], 40, 10);
    terminal.wait_for("connecting");
    terminal.terminate();
    assert_eq!(terminal.end().signal(), Some(15));
}

#[test]
fn verification_shows_how_far_it_is_and_takes_that_away() {
    let (_dir, job) = crate::counts_job::drained();
    let mut terminal = Terminal::running(&["verify", job.store.to_str().unwrap()], 300, 10);
    terminal.wait_until(|terminal| terminal.written.contains("belong to no retained checkpoint\r\n"));
    assert!(terminal.program.wait().unwrap().success());
    let written = &terminal.written;
    let percents: Vec<u64> = written
        .split("\r\x1b[Kverified ")
        .skip(1)
        .map(|line| line.split_once('(').unwrap().1.split_once(" %)").unwrap().0.parse().unwrap())
        .collect();
    assert!(percents.is_sorted() && percents.len() > 2 && percents.last() == Some(&100), "{percents:?} in {written:?}");
    let rows = terminal.grid.rows();
    assert!(rows[0].contains(": whole; verified ") && rows[1..].iter().all(|row| row.trim().is_empty()), "{rows:#?}");
    assert_eq!(modes(&terminal.line), terminal.modes_before);
}
