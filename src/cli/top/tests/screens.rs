//! Screens as they are seen.

use serde_json::json;

use super::recorded::{being_written, event, gone, in_progress, job, several};
use super::{hear, heard, screen, second};
use crate::cli::top::answers::JobId;
use crate::cli::top::draw::{print, print_jobs};
use crate::cli::top::error::TopError;
use crate::cli::top::keys::Command;
use crate::cli::top::looks::{Answer, JobLook};
use crate::cli::top::model::Model;
use crate::cli::top::view::View;

/// The screen's first lines are these.
#[track_caller]
fn begins(screen: &[String], expected: &[&str]) {
    assert_eq!(screen[..expected.len()], *expected, "{screen:#?}");
}

fn failed(model: &mut Model, at: u64) {
    let error =
        TopError::Connection { url: "http://h/v1/overview".to_owned().into(), reason: "refused".to_owned().into() };
    model.hear(Answer { wish: model.wish(), said: Err(error), at: second(at), next: second(at + 4) });
}

#[test]
fn the_overview_of_a_usual_terminal_has_the_job_its_vertices_and_its_events() {
    let screen = screen(&heard(job().look()), 102, 80, 24);
    begins(
        &screen,
        &[
            "millstream top  counting  running  up 3 min 6 s                             live",
            "Records 16.0k/s (160k in all)   Busiest 50% counts",
            "Back-pressure 62% HIGH numbers->split   Watermark lag 3.2 s counts",
            "Checkpoint #7 took 28 ms, 7 s ago, 976.6 KiB   State 10.0 MiB, 3600 keys",
            "Restarts 2 (412 ms down)",
            "[1 Overview] 2 Checkpoints  3 Failures  4 Log  5 Jobs",
            "Records/s     █ highest 16.0k",
            "Watermark lag █ highest 3.2 s",
            "  VERTEX              IN/s  OUT/s LOAD       BUSY BACKPR IDLE      LAG PAR SKEW",
            "> numbers->split     16.0k  15.9k █▒▒▒▒▒▒▒··  12%    62%  25%        –   1",
            "  counts             16.0k  15.9k █████▒▒▒··  50%    25%  25%    3.2 s   2  50%",
            "  out                15.9k      0 █·········   5%     0%  95%    2.1 s   1",
            "",
            "NEWEST EVENTS (UTC)",
            "22:13:16 WARN  checkpoint=8 failed: it took longer than 10 s",
            "22:13:11 INFO  checkpoint=7 completed in 28 ms: 1 MiB written, 7 MiB in all",
            "",
        ],
    );
    assert!(screen[23].starts_with("q leave  Tab view"), "{screen:#?}");
}

#[test]
fn a_wide_terminal_has_more_columns_and_a_narrow_one_fewer() {
    let model = heard(job().look());
    begins(
        &screen(&model, 102, 120, 40)[6..],
        &[
            "  VERTEX                    IN/s  OUT/s LOAD       BUSY BACKPR IDLE      LAG  KEYS  LATE    IN   OUT PAR SKEW     STATE",
            "> numbers->split           16.0k  15.9k █▒▒▒▒▒▒▒··  12%    62%  25%        –  1200     3  160k  160k   1        3.3 MiB",
        ],
    );
    begins(
        &screen(&model, 102, 40, 10),
        &[
            "millstream top  counting  running … live",
            "Records 16.0k/s (160k in all)",
            "Busiest 50% counts",
            "Back-pressure 62% HIGH numbers->split",
            "Watermark lag 3.2 s counts",
            "[1 Overview] 2 Checkpoints  3 Failures …",
            "  VERTEX               IN/s  OUT/s BUSY",
            "> numbers->split      16.0k  15.9k  12%",
            "  counts              16.0k  15.9k  50%",
            "q leave  Tab view  up/down choose  Ente…",
        ],
    );
    assert_eq!(screen(&model, 102, 1, 1), ["…"]);
}

#[test]
fn what_is_under_way_has_a_bar() {
    let mut recorded = job();
    recorded.detail["checkpoint_in_progress"] = in_progress();
    recorded.detail["savepoints_in_progress"] = being_written();
    let mut restoring = event(9, 2, "info", "restoring", "it restores");
    for (field, value) in
        [("region", json!(0)), ("actor", json!("counts[1]")), ("checkpoint", json!(7)), ("bytes", json!(1_048_576))]
    {
        restoring[field] = value;
    }
    restoring["bytes_total"] = json!(4_194_304);
    recorded.log["events"].as_array_mut().unwrap().push(restoring);
    recorded.detail["held_back"] =
        json!([{ "region": 0, "source": "numbers", "split": "a.csv", "subtask": 1, "since_ms": 2_500.0 }]);
    begins(
        &screen(&heard(recorded.look()), 102, 80, 24)[1..],
        &[
            "[###---------] 25% counts[1] restores checkpoint 7: 1.0 MiB of 4.0 MiB",
            "[#######-----] 60% checkpoint 9 (savepoint): 3 of 5 subtasks, for 5 s, 1.2 MiB",
            "[######------] 50% savepoint /var/save\u{fffd}[2J: 2.0 MiB of 4.0 MiB, for 3 s",
            "Event time is held back by numbers[1], split a.csv, for 2.5 s.",
            "Records 16.0k/s (160k in all)   Busiest 50% counts",
        ],
    );
}

#[test]
fn a_job_that_is_down_paused_or_over_says_so() {
    let mut recorded = job();
    recorded.detail["regions"][0]["state"] = json!("parked");
    recorded.detail["regions"][0]["parked"] =
        json!({ "cause": "16 restarts in a minute", "since_unix_ms": 1_699_999_999_000_u64 });
    let lines = screen(&heard(recorded.look()), 102, 120, 24);
    begins(&lines[1..], &["Region 0 is parked, attempt 3, for 3 s. 16 restarts in a minute"]);

    let mut recorded = job();
    recorded.detail["paused_since_unix_ms"] = json!(1_699_999_990_000_u64);
    recorded.detail["regions"][0]["state"] = json!("restarting");
    recorded.detail["regions"][0]["restarting_since_unix_ms"] = json!(1_699_999_999_000_u64);
    let lines = screen(&heard(recorded.look()), 102, 120, 24);
    begins(
        &lines[1..],
        &[
            "The job is paused, for 12 s: its sources read nothing until it is resumed.",
            "Region 0 is restarting, attempt 3, for 3 s. counts[1]: panicked: \"seven\"",
        ],
    );
    assert!(lines.iter().any(|line| line.contains("Restarts 2 (down now)")), "{lines:#?}");
    recorded.detail["state"] = json!("failed");
    recorded.detail["ended_unix_ms"] = json!(1_700_000_000_000_u64);
    begins(
        &screen(&heard(recorded.look()), 102, 120, 24),
        &[
            "millstream top  counting  failed  ran 3 min 4 s                                                                     live",
            "The job has ended (failed) at 2023-11-14 22:13:20 UTC; these are its last figures. counts[1]: panicked: \"seven\"",
            "Records 16.0k/s (160k in all)   Busiest 50% counts   Back-pressure 62% HIGH numbers->split   Watermark lag 3.2 s counts",
        ],
    );
}

#[test]
fn old_figures_say_how_old_they_are_and_go_on_no_more() {
    let mut model = heard(job().look());
    failed(&mut model, 103);
    begins(
        &screen(&model, 105, 80, 24),
        &[
            "millstream top  counting  running  up 3 min 4 s                     OLD, 5 s old",
            "OLD FIGURES, 5 s old: cannot connect to http://h/v1/overview: refused. Next try",
            "in 2 s.",
            "hint: is the service running, and is its dashboard on that port?",
        ],
    );
    assert_eq!(screen(&model, 109, 40, 10)[0], "millstream top  counting  … OLD, 9 s old");
    hear(&mut model, 110, job().look());
    assert!(screen(&model, 110, 80, 24)[0].ends_with("  live"));
    let silent = screen(&model, 120, 80, 24);
    assert_eq!(silent[1], "OLD FIGURES, 10 s old: the server does not answer.");
    model.obey(Command::Pause, 10);
    assert!(screen(&model, 120, 80, 24)[0].ends_with("HELD STILL, 10 s old"));
}

#[test]
fn without_figures_there_are_none() {
    let mut model = Model::new(second(1), None);
    assert!(screen(&model, 1, 80, 24)[0].ends_with("connecting"));
    failed(&mut model, 1);
    begins(
        &screen(&model, 6, 80, 24),
        &[
            "millstream top                                                         NO ANSWER",
            "cannot connect to http://h/v1/overview: refused. Trying again.",
            "hint: is the service running, and is its dashboard on that port?",
            "[1 Overview] 2 Checkpoints  3 Failures  4 Log  5 Jobs",
            "Nothing has been heard yet.",
        ],
    );
    let mut model = Model::new(second(1), Some(JobId::from("x\u{1b}[2J".to_owned())));
    hear(&mut model, 100, gone());
    begins(
        &screen(&model, 101, 80, 24),
        &[
            "millstream top  x\u{fffd}[2J                                                       GONE",
            "The server shows no job 'x\u{fffd}[2J'.",
        ],
    );
}

#[test]
fn a_job_that_is_gone_keeps_its_last_figures() {
    let mut model = heard(job().look());
    hear(&mut model, 101, gone());
    begins(
        &screen(&model, 105, 80, 24),
        &[
            "millstream top  counting  running  up 3 min 4 s                             GONE",
            "The server shows no job 'counting'. These are its last figures.",
            "Records 16.0k/s (160k in all)   Busiest 50% counts",
        ],
    );
}

#[test]
fn rows_that_open_have_more() {
    let mut model = heard(job().look());
    model.view = View::Vertex(1);
    begins(
        &screen(&model, 102, 80, 24)[6..],
        &[
            "counts",
            "operator in region 0; operators: counts",
            "from numbers->split: hash, 16.0k/s, 8 batches under way, FULL",
            "to out: hash, 16.0k/s, 8 batches under way",
            "  SUBTASK       IN/s  OUT/s LOAD       BUSY BACKPR      LAG  KEYS SHARE ATTEMPT",
            "> [0] running  12.0k  12.0k █████▒▒▒··  50%    25%    3.2 s  1200   75%       3",
            "  [1] running  4.00k  4.00k █████▒▒▒··  50%    25%    3.2 s  1200   25%       3",
        ],
    );
    model.view = View::Checkpoint(7);
    begins(
        &screen(&model, 102, 120, 24)[4..],
        &[
            "#7: · start delay 2.0 ms, / alignment 4.0 ms, █ synchronous 6.0 ms, ▒ asynchronous 8.0 ms, = store 8.0 ms",
            "  SUBTASK                                       TOOK PARTS                   DELAY  ALIGNED     SYNC    ASYNC   WRITTEN",
        ],
    );
    assert!(screen(&model, 102, 120, 24)[6].starts_with("> counts[0] "));
}

#[test]
fn checkpoints_failures_and_jobs_are_lists_with_words_about_the_chosen_row() {
    let mut model = heard(job().look());
    model.view = View::Checkpoints;
    model.obey(Command::Down, 10);
    let lines = screen(&model, 102, 80, 24);
    begins(
        &lines[6..],
        &[
            "9 triggered (one each 5.0 s), 7 completed, 1 failed, 0 cut off; 2 restores",
            "newest savepoint: checkpoint 4 at 22:11:50 UTC, 6.2 MiB in /var/monday",
            "  ID      STATUS      REASON        TOOK PARTS                  WRITTEN",
            "  #9      in progress periodic       5 s ·///█████▒▒▒▒▒               –",
            "> #8      failed      periodic         – ·///█████▒▒▒▒▒               –",
            "  #7      completed   periodic     28 ms ·///█████▒▒▒▒▒====== 976.6 KiB",
        ],
    );
    assert!(
        lines[21].starts_with("#8: · start delay 2.0 ms") && lines[22].ends_with("it took longer than 10 s"),
        "{lines:#?}"
    );
    model.view = View::Failures;
    let lines = screen(&model, 102, 80, 24);
    begins(&lines[7..], &["> panicked: \"seven\"         22:12:20 counts[1]              2       #5   206 ms"]);
    assert_eq!(lines[22], "2023-11-14 22:12:20 UTC, counts[1]: panicked: \"seven\" Record: 7");
    let model = heard(several(&["one", "two"]));
    begins(
        &screen(&model, 102, 80, 24)[2..],
        &[
            "  JOB                        STATE               RAN RESTARTS VERTICES SUBTASKS",
            "> one                        running       3 min 6 s        2        3        5",
            "  two                        running       3 min 6 s        2        3        5",
        ],
    );
}

#[test]
fn the_chosen_row_of_many_is_on_the_screen() {
    let mut recorded = job();
    let subtask = recorded.detail["vertices"][1]["subtasks"][0].clone();
    let subtasks = (0..5_000).map(|index| {
        let mut subtask = subtask.clone();
        subtask["subtask"] = json!(index);
        subtask
    });
    recorded.detail["vertices"][1]["subtasks"] = subtasks.collect();
    let mut model = heard(recorded.look());
    model.view = View::Vertex(1);
    for (command, chosen) in
        [(Command::PageDown, 10), (Command::Last, 4_999), (Command::PageUp, 4_989), (Command::First, 0)]
    {
        model.obey(command, 10);
        let lines = screen(&model, 102, 80, 24);
        assert!(lines.iter().any(|line| line.starts_with(&format!("> [{chosen}] "))), "{chosen} in {lines:#?}");
    }
}

#[test]
fn the_print_has_all_of_a_job_without_marks() {
    let JobLook::Known(figures) = job().look().job else { panic!("it is known") };
    let lines = print(&figures, 120);
    begins(
        &lines,
        &[
            "job 'counting': running, started 2023-11-14 22:10:16 UTC",
            "Records 16.0k/s (160k in all)   Busiest 50% counts   Back-pressure 62% HIGH numbers->split   Watermark lag 3.2 s counts",
            "Checkpoint #7 took 28 ms, 5 s ago, 976.6 KiB   State 10.0 MiB, 3600 keys   Restarts 2 (412 ms down)",
            "",
            "  VERTEX                    IN/s  OUT/s LOAD       BUSY BACKPR IDLE      LAG  KEYS  LATE    IN   OUT PAR SKEW     STATE",
            "  numbers->split           16.0k  15.9k █▒▒▒▒▒▒▒··  12%    62%  25%        –  1200     3  160k  160k   1        3.3 MiB",
        ],
    );
    for part in ["  #7      completed   22:13:15", "  panicked: \"seven\"", "  22:13:16 WARN  checkpoint=8 failed"] {
        assert!(lines.iter().any(|line| line.starts_with(part)), "{part} in {lines:#?}");
    }
    let overview = several(&["one"]).overview;
    assert_eq!(print_jobs(&overview.jobs, overview.now_unix_ms, 40)[1], "  one               running           2");
}
