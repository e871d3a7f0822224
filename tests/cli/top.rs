//! `millstream top --once`: at jobs, and at servers that are no dashboards.

use std::process::Output;

use crate::servers::{Server, closed_port};
use crate::tool::{Called, command};

fn top(arguments: &[&str]) -> Called {
    let output: Output = command(["top"].iter().chain(arguments)).env_remove("COLUMNS").output().unwrap();
    Called::from(output)
}

/// It ends with trouble, says what is wrong and what may help, and sends nothing that a terminal obeys.
#[track_caller]
fn refused(called: &Called, what: &str) {
    assert_eq!((called.code, &*called.out), (2, ""), "{called:?}");
    assert!(called.err.starts_with("error: ") && called.err.contains("\nhint: "), "{called:?}");
    assert!(called.err.contains(what), "{what} in {called:?}");
    let obeyed = |character: char| character.is_control() && character != '\n';
    assert!(!called.err.contains(obeyed) && called.err.lines().count() == 2, "{called:?}");
}

#[test]
fn addresses_that_are_none_are_wrong_usage() {
    refused(&top(&["ftp://localhost/", "--once"]), "must begin with http://");
    refused(&top(&["https://localhost/", "--once"]), "tunnel");
    refused(&top(&["http://me:secret@localhost/", "--once"]), "password");
    refused(&top(&["http://\x1b[2J/", "--once"]), "is no address of a dashboard");
    refused(&top(&["localhost:1", "--once", "--json"]), "--json means nothing to `top`");
    refused(&top(&["localhost:1", "--copy"]), "--copy means nothing to `top`");
    refused(&top(&["localhost:1"]), "no terminal");
    for interval in ["0", "nan", "4000"] {
        let called = top(&["localhost:1", "--interval", interval]);
        assert!(called.code == 2 && called.err.contains("interval"), "{called:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_told() {
    refused(&top(&[&format!("localhost:{}", closed_port()), "--once"]), "cannot connect to http://localhost:");
}

#[test]
fn a_server_that_never_answers_is_left() {
    let server = Server::silent();
    refused(&top(&[&server.address(), "--once"]), "has not answered within 5 s");
}

#[test]
fn servers_that_are_no_dashboards_are_told_apart() {
    let all: [(&[u8], &str); 9] = [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no answer of a dashboard"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n<h1>", "status 404, and not as a dashboard does"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "status 502"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<h1>\x1b[2J\x9b", "no JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "missing field"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"api\":1", "was cut before its answer was whole"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n{\"api\":2,\"now_unix_ms\":1,\"jobs\":[{}]}",
            "version 2 of the interface",
        ),
        (b"HTTP/1.1 308 Moved\r\nLocation: https://h/\xc2\x9b2J\r\nContent-Length: 0\r\n\r\n", "leads elsewhere"),
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "status 401"),
    ];
    for (answer, what) in all {
        refused(&top(&[&Server::answering(answer.to_vec()).address(), "--once"]), what);
    }
}

#[test]
fn refusals_of_a_dashboard_are_told_in_its_words() {
    let body = r#"{"error":{"code":"unknown_host","message":"not\u001b[2J called so"}}"#;
    let answer = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let called = top(&[&Server::answering(answer.into_bytes()).address(), "--once"]);
    refused(&called, "refuses with status 403: not\u{fffd}[2J called so (unknown_host)");
    assert!(called.err.contains("address in numbers"), "{called:?}");
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let called = top(&[&Server::endless().address(), "--once"]);
    // The tool gives up after 5 s, in which a busy machine may not come so far.
    let is_slow = called.err.contains("has not answered within");
    refused(&called, if is_slow { "has not answered within 5 s" } else { "sends more than 16 MiB" });
}

#[cfg(feature = "dashboard")]
mod shown {
    use std::time::Duration;

    use millstream::dashboard::Dashboard;
    use millstream::prelude::*;

    use super::{refused, top};

    /// A job that counts numbers by their last digit until it is dropped.
    struct Counting(JobHandle);

    impl Counting {
        fn start(name: &str) -> Self {
            let env = StreamEnvironment::new(name)
                .parallelism(2)
                .checkpointing(Checkpointing::every(Duration::from_millis(50)));
            env.source("numbers", SequenceSource::unbounded().rate_per_second(2_000))
                .key_by(|n| n % 10)
                .fold("counts", 0u64, |count, _| *count += 1)
                .for_each("out", |_| {});
            Self(env.start().unwrap())
        }

        fn has_completed_a_checkpoint(&self) {
            while self.0.status().checkpoints == 0 {
                std::thread::yield_now();
            }
        }
    }

    impl Drop for Counting {
        fn drop(&mut self) {
            drop(self.0.cancel());
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_job_is_printed_with_its_rates_while_it_runs_and_after_its_end() {
        let counting = Counting::start("counting");
        counting.has_completed_a_checkpoint();
        let server = Dashboard::new().job(&counting.0).serve(0).unwrap();
        let address = format!("http://{}/#/jobs/counting/overview", server.address());
        let printed = top(&[&address, "--once"]).fine().out;
        assert!(printed.starts_with("job 'counting': running, started "), "{printed}");
        let line = |start: &str| {
            printed
                .lines()
                .find(|line| line.trim().starts_with(start))
                .unwrap_or_else(|| panic!("{start} in {printed}"))
        };
        assert!(!line("Records ").starts_with("Records –/s") && line("Records ").contains("Busiest"), "{printed}");
        for vertex in ["numbers", "counts"] {
            let rate = line(vertex).split_whitespace().nth(1).unwrap();
            assert!(rate.starts_with(|digit: char| digit.is_ascii_digit()), "{vertex} has a rate in {printed}");
        }
        assert!(printed.contains(" completed ") && printed.contains("EVENT, NEWEST FIRST"), "{printed}");

        drop(counting);
        let printed = top(&[&address, "--once", "--job", "counting"]).fine().out;
        assert!(printed.contains("The job has ended (cancelled) at "), "{printed}");
    }

    #[cfg(unix)]
    #[test]
    fn a_job_is_shown_in_a_terminal_through_its_end() {
        use crate::terminal::Terminal;

        let counting = Counting::start("counting");
        counting.has_completed_a_checkpoint();
        let server = Dashboard::new().job(&counting.0).serve(0).unwrap();
        let mut terminal = Terminal::top(&[&server.address().to_string(), "--interval", "0.2"], 100, 30);
        for text in ["counting  running  up ", "live", "Restarts 0 (never down)", "> numbers ", "NEWEST EVENTS"] {
            terminal.wait_for(text);
        }
        terminal.press("\x1b[B\r");
        terminal.wait_for("SUBTASK");
        terminal.press("2\r");
        terminal.wait_for("ALIGNED");
        terminal.press("4p");
        terminal.wait_for("HELD STILL, ");
        terminal.press("p");
        terminal.wait_for("live");
        drop(counting);
        terminal.wait_for("The job has ended (cancelled) at ");
        server.stop();
        terminal.wait_for("OLD FIGURES, ");
        terminal.wait_for("cannot connect to ");
        terminal.press("q");
        assert!(terminal.end().success());
    }

    #[test]
    fn several_jobs_are_listed_and_one_is_named() {
        let (one, two) = (Counting::start("one"), Counting::start("two/ü? #"));
        let server = Dashboard::new().job(&one.0).job(&two.0).serve(0).unwrap();
        let address = server.address().to_string();
        let printed = top(&[&address, "--once"]).fine().out;
        assert!(printed.contains("\n  one ") && printed.contains("\n  two/ü? # "), "{printed}");
        let printed = top(&[&address, "--once", "--job", "two/ü? #"]).fine().out;
        assert!(printed.starts_with("job 'two/ü? #': "), "{printed}");
        let called = top(&[&address, "--once", "--job", "three"]);
        refused(&called, "shows no job 'three'; it shows one, two/ü? #");
    }
}
