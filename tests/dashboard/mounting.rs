//! The dashboard in a server of the host's, and where none is: guarantee B1.

use std::net::SocketAddr;

use actix_web::{App, HttpServer};
use millstream::dashboard::Dashboard;

use crate::client::{get, post};
use crate::jobs::{Counting, open};

/// Serves the dashboard below this path, until the sender is dropped.
fn mount(dashboard: Dashboard, path: &'static str) -> (SocketAddr, tokio::sync::oneshot::Sender<()>) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (tell, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let server = HttpServer::new(move || App::new().service(dashboard.scope(path)));
            let server = server.workers(2).disable_signals().bind(("127.0.0.1", 0)).unwrap();
            tell.send(server.addrs()[0]).unwrap();
            let server = server.run();
            let handle = server.handle();
            actix_rt::spawn(async move {
                let _ = stopped.await;
                handle.stop(false).await;
            });
            server.await.unwrap();
        });
    });
    (address.recv().unwrap(), stop)
}

#[test]
fn dashboard_works_below_any_path_of_a_host() {
    let counting = Counting::start("counting");
    for path in ["/millstream", "/deep/er/millstream"] {
        let (address, _stop) = mount(open().job(&counting.job), path);
        assert_eq!(get(address, &format!("{path}/v1/jobs/counting")).json()["id"], "counting");
        assert_eq!(post(address, &format!("{path}/v1/jobs/counting/checkpoints"), "{}").status, 200);
        assert_eq!(get(address, &format!("{path}/v1/nothing")).code(), "no_such_address");
        let moved = get(address, path);
        assert_eq!((moved.status, moved.header("Location")), (307, Some("./millstream/")));
        let index = get(address, &format!("{path}/"));
        assert_eq!((index.status, index.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
        assert_eq!(get(address, "/v1/jobs").status, 404);
    }
}

#[test]
fn files_of_the_page_are_sent_once_as_long_as_they_are_the_same() {
    let server = Dashboard::new().serve(0).unwrap();
    let first = get(server.address(), "/index.html");
    let tag = first.header("ETag").unwrap();
    assert_eq!(first.header("Cache-Control"), Some("no-cache"));
    assert_eq!(first.body, get(server.address(), "/").body);
    let again = crate::client::send(server.address(), "GET", "/", &[("If-None-Match", tag)], "");
    assert_eq!((again.status, &*again.body, again.header("ETag")), (304, "", Some(tag)));
    let other = crate::client::send(server.address(), "GET", "/", &[("If-None-Match", "\"0\"")], "");
    assert_eq!(other.status, 200);
}

#[test]
fn page_names_no_other_host_and_nothing_above_its_folder() {
    let server = Dashboard::new().serve(0).unwrap();
    let index = get(server.address(), "/").body;
    for link in ["src=\"", "href=\""].iter().flat_map(|name| index.split(name).skip(1)) {
        let link = link.split('"').next().unwrap();
        assert!(!link.starts_with('/') && !link.contains("//") && !link.contains(".."), "{link}");
        if !link.starts_with('#') && !link.starts_with("data:") {
            assert_eq!(get(server.address(), &format!("/{}", link.trim_start_matches("./"))).status, 200, "{link}");
        }
    }
}

#[test]
fn server_ends_when_it_is_stopped_or_dropped_and_the_job_does_not() {
    let counting = Counting::start("counting");
    let stopped = open().job(&counting.job).serve(0).unwrap();
    let address = stopped.address();
    assert!(address.ip().is_loopback());
    stopped.stop();
    assert!(std::net::TcpStream::connect(address).is_err());
    let dropped = open().job(&counting.job).bind(address).unwrap();
    assert_eq!(dropped.address(), address);
    assert!(Dashboard::new().bind(address).is_err(), "it is taken");
    drop(dropped);
    assert!(std::net::TcpStream::connect(address).is_err());
    assert_eq!(counting.job.status().ended_unix_ms, None);
}

/// Set for the process that looks at itself.
#[cfg(target_os = "linux")]
const ALONE: &str = "MILLSTREAM_DASHBOARD_ALONE";

#[cfg(target_os = "linux")]
#[test]
fn nothing_listens_unless_it_is_asked_to() {
    if std::env::var_os(ALONE).is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "mounting::nothing_listens_unless_it_is_asked_to", "--test-threads=1"]).env(ALONE, "1");
        assert!(child.status().unwrap().success());
        return;
    }
    let counting = Counting::start("counting");
    let dashboard = open().job(&counting.job);
    let _scope = dashboard.scope("/millstream");
    assert_eq!(listening(), 0);
    let _server = dashboard.serve(0).unwrap();
    assert_eq!(listening(), 1);
}

/// Sockets of this process on which it listens.
#[cfg(target_os = "linux")]
fn listening() -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap();
    let open: Vec<_> = fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok()).collect();
    let tables =
        ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let fields = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let inodes = fields.filter(|fields| fields[3] == "0A").map(|fields| format!("socket:[{}]", fields[9]));
    inodes.filter(|inode| open.iter().any(|fd| fd.to_str() == Some(inode))).count()
}
