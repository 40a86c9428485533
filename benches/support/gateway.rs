//! A gateway to measure: its files, its port, its process.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

/// A process that ends with the benchmark.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Asked, not killed: what is built to write down what it did, does so as it exits.
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

pub fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("an address").port()
}

/// Writes `keygate.toml` and `routes.toml` into this folder: one worker, no access log, a hundred routes and these more.
pub fn configure(folder: &Path, port: u16, admin: u16, upstream: u16, more: &str) {
    let routes: String = (0..99).fold(String::new(), |mut text, i| {
        let _ = writeln!(
            text,
            "[[routes]]\npath = \"/v3/things{i}/{{id}}\"\nscope = \"fullAccess\""
        );
        text
    });
    let main = format!(
        "include = [\"routes.toml\"]\n[server]\nlisten = [\"127.0.0.1:{port}\"]\nworkers = 1\ndumpable = true\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n[log]\naccess = \"off\"\n\
         [limits]\nfailed_auth = {{ rate = \"1000000/s\", burst = 1000000000 }}\n\
         [upstreams.chat]\nservers = [\"http://127.0.0.1:{upstream}\"]\n"
    );
    let policy = format!(
        "[scopes]\nauthOnly = []\nfullAccess = [\"authOnly\"]\n[defaults]\nupstream = \"chat\"\n{routes}\
         [[routes]]\npath = \"/v3/users/{{uid}}\"\nscope = \"fullAccess\"\n{more}"
    );
    std::fs::write(folder.join("keygate.toml"), main).expect("write");
    std::fs::write(folder.join("routes.toml"), policy).expect("write");
}

/// Until somebody listens there. Looked up, not tried: the system may join a socket that connects to a free port of its
/// own range with itself.
pub fn wait(port: u16) {
    let begun = Instant::now();
    let listens = format!(":{port:04X} 00000000:0000 0A ");
    let listening = || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux tells of sockets");
        sockets.lines().any(|line| line.contains(&listens))
    };
    while !listening() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "nothing listens on {port}"
        );
        std::thread::yield_now();
    }
}
