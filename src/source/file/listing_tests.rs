//! Files, directories, globs and links, and what cannot be looked at.

use millstream_actors::protocol::Fault;
use tempfile::TempDir;

use super::*;

fn dir_with(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    dir
}

/// What `pattern` in `dir` names, as paths in it.
fn names(dir: &TempDir, pattern: &str) -> Result<Vec<String>, SourceError> {
    let root = format!("{}/", dir.path().to_str().unwrap());
    let listed = list(&format!("{root}{pattern}"))?;
    Ok(listed.into_iter().map(|file| file.path.strip_prefix(&root).unwrap().to_owned()).collect())
}

/// The path at which listing `pattern` in `dir` fails, as a path in it.
fn refused(dir: &TempDir, pattern: &str) -> String {
    let error = names(dir, pattern).unwrap_err();
    let Some(FileSourceError::Io { path, .. }) = error.reason().downcast_ref() else { panic!("{error}") };
    assert!(error.location().contains(path.to_str().unwrap()) && !error.is_retryable(), "{error}");
    path.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn file_directory_and_glob_are_listed_sorted_without_hidden_files() {
    let dir = dir_with(&["b.csv", "a.csv", "c.txt", ".hidden.csv", "d.csv/e.csv", "f/g/h.csv", ".i/j.csv"]);
    assert_eq!(names(&dir, "c.txt").unwrap(), ["c.txt"]);
    assert_eq!(names(&dir, "").unwrap(), ["a.csv", "b.csv", "c.txt"]);
    assert_eq!(names(&dir, "*.csv").unwrap(), ["a.csv", "b.csv"]);
    assert_eq!(names(&dir, "?.[ct][sx][vt]").unwrap(), ["a.csv", "b.csv", "c.txt"]);
    assert_eq!(names(&dir, "*/*.csv").unwrap(), ["d.csv/e.csv"]);
    assert_eq!(names(&dir, "**/*.csv").unwrap(), ["a.csv", "b.csv", "d.csv/e.csv", "f/g/h.csv"]);
    assert_eq!(names(&dir, "f/**").unwrap(), ["f/g/h.csv"]);
    assert_eq!(names(&dir, "**/**/h.csv").unwrap(), ["f/g/h.csv"]);
    for bad in ["*.gz", "none", "***", "c.txt/*"] {
        let error = names(&dir, bad).unwrap_err();
        assert!(error.fault() == Fault::User && error.to_string().contains(bad), "{error}");
    }
}

#[cfg(unix)]
mod links {
    use std::os::unix::fs::symlink;

    use super::*;

    fn link(dir: &TempDir, to: &str, from: &str) {
        symlink(to, dir.path().join(from)).unwrap();
    }

    // Cause: `**` went through links, so a link to its own directory gave each file until the system refused the path.
    // Repair: it does not, as in bash and ripgrep; links that are named or matched are followed.
    #[test]
    fn loop_of_links_gives_each_file_once() {
        let dir = dir_with(&["a.txt", "sub/b.txt"]);
        link(&dir, ".", "loop");
        link(&dir, "..", "sub/up");
        assert_eq!(names(&dir, "**/*.txt").unwrap(), ["a.txt", "sub/b.txt"]);
        assert_eq!(names(&dir, "*/*.txt").unwrap(), ["loop/a.txt", "sub/b.txt"]);
        assert_eq!(names(&dir, "loop/loop/*.txt").unwrap(), ["loop/loop/a.txt"]);
        assert_eq!(names(&dir, "sub/up").unwrap(), ["sub/up/a.txt"]);
    }

    #[test]
    fn file_behind_several_links_is_listed_once_and_under_two_hard_links_twice() {
        let dir = dir_with(&["b.txt", "sub/b.txt"]);
        link(&dir, "b.txt", "a.txt");
        link(&dir, "sub", "other");
        assert_eq!(names(&dir, "*.txt").unwrap(), ["a.txt"]);
        assert_eq!(names(&dir, "*/*.txt").unwrap(), ["other/b.txt"]);
        fs::hard_link(dir.path().join("b.txt"), dir.path().join("c.txt")).unwrap();
        assert_eq!(names(&dir, "[bc].txt").unwrap(), ["b.txt", "c.txt"]);
    }

    // Cause: what `is_file` could not examine counted as no file. Repair: it is an error that names the path.
    #[test]
    fn match_that_cannot_be_looked_at_is_named_and_not_left_out() {
        let dir = dir_with(&["a.txt", "sub/b.txt"]);
        link(&dir, "nowhere", "broken.txt");
        assert_eq!(refused(&dir, "*.txt"), "broken.txt");
        assert_eq!(refused(&dir, "broken.txt"), "broken.txt");
        assert_eq!(refused(&dir, ""), "broken.txt");
        link(&dir, "itself", "itself");
        assert_eq!(refused(&dir, "*/b.txt"), "itself/b.txt");
        assert_eq!(refused(&dir, "*/*"), "itself");
        assert_eq!(names(&dir, "sub/*").unwrap(), ["sub/b.txt"]);
        let error = list("/dev/null").unwrap_err();
        assert!(error.to_string().contains("neither a file nor a directory"), "{error}");
    }

    // The superuser may look into closed directories, so a thread that is nobody looks.
    #[cfg(target_os = "linux")]
    #[test]
    fn closed_directory_under_a_pattern_is_named_and_not_left_out() {
        use std::os::unix::fs::PermissionsExt;

        use rustix::thread::{Uid, set_thread_res_uid};

        let dir = dir_with(&["open/a.txt", "closed/b.txt", "listed/c.txt"]);
        let chmod = |name: &str, mode| fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode));
        chmod("", 0o755).unwrap();
        chmod("closed", 0).unwrap();
        // Its names can be read, what they stand for cannot.
        chmod("listed", 0o744).unwrap();
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let nobody = Uid::from_raw(65_534);
                // Without the right to change it the thread is no superuser's.
                let _ = set_thread_res_uid(nobody, nobody, nobody);
                assert_eq!(names(&dir, "open/*.txt").unwrap(), ["open/a.txt"]);
                assert_eq!(refused(&dir, "[co]*/*.txt"), "closed");
                assert_eq!(refused(&dir, "closed/b.txt"), "closed/b.txt");
                assert_eq!(refused(&dir, "closed/**/b.txt"), "closed/b.txt");
                assert!(["closed", "listed/c.txt"].contains(&refused(&dir, "**/*.txt").as_str()));
                assert_eq!(refused(&dir, "listed/*.txt"), "listed/c.txt");
            });
            looking.join().unwrap();
        });
        for name in ["closed", "listed"] {
            chmod(name, 0o755).unwrap();
        }
    }
}
