//! What stands between client and upstream: keygate, or something that only pretends, for the tests of the runner.

use super::corpus::{Setting, Wire};
use crate::support::{Folder, Gateway};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How much more memory a round may leave taken. With some hundred runs in a class, what loses a KiB a run is found.
pub const SLACK_KIB: u64 = 512;

/// What is under test, as the runner sees it.
pub trait Door {
    fn address(&self, wire: Wire) -> SocketAddr;
    /// The log that came since the last call: of each request, and as text.
    fn new_log(&mut self) -> (Vec<Line>, String);
    /// What else tells of it: metrics, status.
    fn pages(&self) -> Vec<String>;
    /// How long its log may lag behind.
    fn late(&self) -> Duration;
    /// How many descriptors it has open, where that can be known.
    fn descriptors(&self) -> Option<usize>;
    /// How much anonymous memory it has taken, in KiB, where that can be known.
    fn memory(&self) -> Option<u64>;
}

/// A line of the access log.
#[derive(Clone, Debug)]
pub struct Line {
    pub id: String,
    pub attempts: u64,
    pub status: u64,
}

/// The key that may reach the upstream inside of a body, a query or a cookie, which are the client's own and go on as they
/// came; no log and no page may show it.
pub const DECOY: &str = "decoy";

pub struct Keygate {
    gateway: Gateway,
    read: usize,
    _folder: Folder,
}

impl Keygate {
    /// A gateway before the upstream of this URL, and the names of its keys.
    pub fn start(upstream: &str, setting: Setting) -> (Self, Vec<(&'static str, String)>) {
        let underscores = match setting {
            Setting::Plain => "refuse",
            Setting::Drop => "drop",
        };
        let folder = Folder::with_main(
            &format!(
                r#"
include = ["routes.toml"]
[server]
listen = ["127.0.0.1:0"]
workers = 1
dumpable = true
underscores = "{underscores}"
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
level = "trace"
[keys]
store = "sqlite:data/keygate.db"
secret = "secret/master"
[limits]
failed_auth = {{ rate = "1000000/s", burst = 1000000000 }}
body_bytes = "200KB"
[timeouts]
head = "2s"
body = "2s"
[upstreams.chat]
servers = ["{upstream}"]
host = "client"
"#
            ),
            include_str!("policy.toml"),
        );
        let keys = [
            ("full", "fullAccess"),
            ("auth", "authOnly"),
            ("second", "fullAccess"),
            (DECOY, "fullAccess"),
            ("deleted", "fullAccess"),
            ("disabled", "fullAccess"),
        ];
        let mut names: Vec<(&'static str, String)> = keys
            .into_iter()
            .map(|(name, scope)| (name, folder.new_key(name, scope)))
            .collect();
        let text = |wanted: &str| {
            let mut all = names.iter().filter(|(name, _)| *name == wanted);
            all.next().expect("it was made").1.clone()
        };
        for change in [
            vec!["keys", "delete", &text("deleted")],
            vec!["keys", "update", &text("disabled"), "--disable"],
        ] {
            let done = folder.keygate(&change);
            assert!(done.status.success(), "{}", done.stderr);
        }
        names.push((
            "unknown",
            "0123456789abcdef0123456789abcdef01234567".to_owned(),
        ));
        let gateway = folder.start();
        let door = Keygate {
            gateway,
            read: 0,
            _folder: folder,
        };
        (door, names)
    }
}

impl Door for Keygate {
    fn address(&self, _: Wire) -> SocketAddr {
        self.gateway.address
    }

    fn new_log(&mut self) -> (Vec<Line>, String) {
        let log = self.gateway.log();
        let new = log[self.read..].to_owned();
        self.read = log.len();
        let lines = new.lines().filter(|l| l.contains("keygate::access"));
        let lines = lines.filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(Line {
                id: line["id"].as_str()?.to_owned(),
                attempts: line["attempts"].as_u64()?,
                status: line["status"].as_u64()?,
            })
        });
        (lines.collect(), new)
    }

    fn pages(&self) -> Vec<String> {
        let pages = ["/metrics", "/status", "/healthz", "/readyz"];
        pages.map(|page| self.gateway.admin(page).text()).to_vec()
    }

    fn late(&self) -> Duration {
        Duration::from_secs(20)
    }

    fn descriptors(&self) -> Option<usize> {
        self.gateway.descriptors()
    }

    fn memory(&self) -> Option<u64> {
        Some(self.gateway.anonymous_kib())
    }
}

/// No gateway at all: it carries bytes. What a runner must complain of in each of its invariants.
pub struct Relay {
    address: SocketAddr,
    descriptors: AtomicUsize,
    memory: AtomicU64,
}

impl Relay {
    pub fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(upstream) else {
                    return;
                };
                carry(&client, &server);
                carry(&server, &client);
            }
        });
        Relay {
            address,
            descriptors: AtomicUsize::new(10),
            memory: AtomicU64::new(10_000),
        }
    }
}

fn carry(from: &TcpStream, to: &TcpStream) {
    let mut from = from.try_clone().expect("a socket");
    let mut to = to.try_clone().expect("a socket");
    thread::spawn(move || {
        let mut piece = [0; 16 * 1024];
        while let Ok(n @ 1..) = from.read(&mut piece) {
            if to.write_all(&piece[..n]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

impl Door for Relay {
    fn address(&self, _: Wire) -> SocketAddr {
        self.address
    }

    fn new_log(&mut self) -> (Vec<Line>, String) {
        (Vec::new(), String::new())
    }

    fn pages(&self) -> Vec<String> {
        Vec::new()
    }

    /// There is none to wait for.
    fn late(&self) -> Duration {
        Duration::from_millis(50)
    }

    /// One more each time: it loses them.
    fn descriptors(&self) -> Option<usize> {
        Some(self.descriptors.fetch_add(1, Ordering::Relaxed))
    }

    /// Twice what a round may leave, each time.
    fn memory(&self) -> Option<u64> {
        Some(self.memory.fetch_add(2 * SLACK_KIB, Ordering::Relaxed))
    }
}
