//! A gateway without threads, sockets that listen, or a clock: what there is of it in one worker, and an upstream.

use super::log::{self, Line};
use super::upstream::{self, Record};
use super::{AUTH, End, FULL, Pieces, Play, Who};
use arc_swap::ArcSwap;
use keygate::clock::Timestamp;
use keygate::config::{Cold, Listener, Snapshot, load_texts};
use keygate::deadline::{Sweeper, TICK};
use keygate::gateway::{Context, Shared};
use keygate::key::{Actor, ApiKey, Command, KeyName, NewKey, Origin, Reveal, ScopeName};
use keygate::keycache::Keys;
use keygate::log::{LogQueue, LogWriter};
use keygate::net::{Peer, StdSocket};
use keygate::server::fuzzing;
use keygate::store::{OpenMode, OpenOptions};
use keygate::upstream::Fleet;
use std::cell::RefCell;
use std::os::unix::net;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Handle, LocalOptions, Runtime};

/// The whole policy: a route of each kind.
const CONFIG: &str = r#"
[server]
listen = ["127.0.0.1:1", { address = "127.0.0.1:2", proxy_protocol = true }]
trusted_proxies = ["10.0.0.0/8"]
workers = 1
[admin]
listen = ""
[management]
paths = []
[timeouts]
head = "1s"
body = "1s"
connect = "1s"
response = "1s"
idle = "3s"
stream = "2s"
[limits]
target_bytes = "1KiB"
body_bytes = "16KiB"
failed_auth = { rate = "1000000/s", burst = 1000000000 }
[cors]
origins = ["https://app.example"]
[upstreams.chat]
servers = ["unix:SOCKET"]
[upstreams.told]
servers = ["unix:SOCKET"]
host = "client"
forwarded = true
headers.request = { set = { X-Account = "${key.name}" }, remove = ["X-Inner"] }
retries = { attempts = 3, on = ["connect", "reset", "503"] }
[scopes]
authOnly = []
fullAccess = ["authOnly"]
[defaults]
upstream = "chat"
[[routes]]
name = "open"
path = ["/", "/open/{*rest}"]
access = "public"
[[routes]]
name = "user"
path = "/v3/users/{uid}"
scope = "fullAccess"
[[routes]]
name = "auth"
path = "/v3/auth"
methods = ["POST"]
scope = "authOnly"
[[routes]]
name = "shut"
path = "/open/shut/{*rest}"
access = "deny"
[[routes]]
name = "loose"
path = "/loose/{*rest}"
scope = "authOnly"
upstream = "told"
allow = ["encoded-slash", "encoded-percent", "semicolon", "double-slash"]
[[routes]]
name = "strip"
path = ["/strip", "/strip/{*rest}"]
access = "public"
upstream = "told"
strip_prefix = "/strip"
[[routes]]
name = "small"
path = "/small"
access = "public"
body_bytes = 8
[[routes]]
name = "hosted"
host = "h.test"
path = "/{*rest}"
access = "public"
upstream = "told"
[[routes]]
name = "options"
path = "/open/any"
methods = ["OPTIONS", "PURGE"]
access = "public"
cors = false
"#;

/// How many times a tenth of a second anything may take until all has come to its end.
const PATIENCE: usize = 200;

pub(super) struct House {
    pub cold: Arc<Cold>,
    pub snapshots: Arc<ArcSwap<Snapshot>>,
    keys: Keys,
    log: LogQueue,
    listener: net::UnixListener,
    _writer: LogWriter,
    /// The keeper's, which has nothing to do.
    _runtime: Runtime,
    _folder: tempfile::TempDir,
}

/// What came of an input.
pub(super) struct Seen {
    /// What the client got.
    pub answers: Vec<u8>,
    pub upstream: Record,
    pub lines: Vec<Line>,
    /// All that was logged.
    pub logged: String,
}

impl Seen {
    /// Tells it to whoever looks at one input.
    pub fn show(&self) {
        for line in &self.lines {
            eprintln!("{line:?}");
        }
        for request in &self.upstream.requests {
            eprintln!("up: {} {} {:?}", request.method, request.target, request.whole);
            for (name, value) in &request.fields {
                eprintln!("    {name}: {}", value.escape_ascii());
            }
            eprintln!("    {}", request.body.escape_ascii());
        }
        eprintln!("down: {}", self.answers.escape_ascii());
        eprintln!("log: {}", self.logged);
    }
}

impl House {
    /// The one house of this thread.
    pub fn with<T>(play: impl FnOnce(&House) -> T) -> T {
        thread_local! {
            static HOUSE: House = House::build();
        }
        HOUSE.with(play)
    }

    fn build() -> Self {
        log::start();
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("upstream.sock");
        let text = CONFIG.replace("SOCKET", socket.to_str().expect("a path that is text"));
        let loaded = load_texts(&text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
        let listener = net::UnixListener::bind(&socket).expect("a socket");
        listener.set_nonblocking(true).expect("nonblocking");
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let keys = runtime.block_on(async {
            let options = OpenOptions {
                path: folder.path().join("keys.db"),
                secret_file: folder.path().join("secret"),
                secret_env: None,
                mode: OpenMode::CreateOrMigrate,
            };
            let store = keygate::store::open(options).await.expect("a store");
            let keys = Keys::start(store).await.expect("keys");
            for (text, scope) in [(FULL, "fullAccess"), (AUTH, "authOnly")] {
                let new = NewKey {
                    name: KeyName::parse("Ein Schlüssel").expect("a name"),
                    scope: ScopeName::parse(scope).expect("a scope"),
                    enabled: true,
                    expires_at: None,
                    brought: Some(ApiKey::parse(text).expect("a key")),
                    if_absent: false,
                };
                let origin = Origin {
                    actor: Actor::Operator,
                    client: None,
                    request_id: None,
                };
                let made = keys.execute(Command::Create(new), origin, Reveal::Once).await;
                made.expect("a key is made");
            }
            keys
        });
        let (log, writer) = LogQueue::start(std::io::sink()).expect("a thread");
        House {
            cold: Arc::new(loaded.cold),
            snapshots: Arc::new(ArcSwap::from_pointee(Snapshot {
                generation: 1,
                hash: loaded.hash,
                loaded_at: Timestamp::now(),
                shadow_since: Timestamp::now(),
                hot: loaded.hot,
            })),
            keys,
            log,
            listener,
            _writer: writer,
            _runtime: runtime,
            _folder: folder,
        }
    }

    /// Plays an input to its end.
    pub fn run(&self, play: &Play<'_>, sent: &[u8]) -> Seen {
        drop(log::take());
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build_local(LocalOptions::default())
            .expect("a runtime");
        let (answers, upstream) = runtime.block_on(self.play(play, sent));
        drop(runtime);
        let (lines, logged) = log::take();
        Seen {
            answers,
            upstream,
            lines,
            logged,
        }
    }

    async fn play(&self, play: &Play<'_>, sent: &[u8]) -> (Vec<u8>, Record) {
        let record = Rc::new(RefCell::new(Record::default()));
        let listener = self.listener.try_clone().expect("a descriptor");
        let listener = UnixListener::from_std(listener).expect("a listener");
        tokio::task::spawn_local(upstream::serve(
            listener,
            play.manner,
            play.upstream.into(),
            Rc::clone(&record),
        ));

        let mut time = Time::new();
        let shared = Shared::new(time.now, Fleet::start(Handle::current()), self.log.clone());
        let context = Rc::new(Context::new(
            Arc::clone(&self.cold),
            self.keys.clone(),
            Arc::clone(&self.snapshots),
            Arc::new(shared),
            time.sweeper.clone(),
        ));
        let (client, server) = net::UnixStream::pair().expect("two sockets");
        for end in [&client, &server] {
            end.set_nonblocking(true).expect("nonblocking");
        }
        let client = UnixStream::from_std(client).expect("a socket");
        let (mut reader, mut writer) = client.into_split();
        let answers = Rc::new(RefCell::new(Vec::new()));
        let got = Rc::clone(&answers);
        let reading = tokio::task::spawn_local(async move {
            let mut piece = Vec::new();
            while let Ok(1..) = reader.read_buf(&mut piece).await {
                got.borrow_mut().append(&mut piece);
            }
        });
        let (peer, listener) = self.peer(play.who);
        let end = fuzzing::End::default();
        let serving = tokio::task::spawn_local(fuzzing::serve(
            Rc::clone(&context),
            StdSocket::Unix(server),
            peer,
            listener,
            end.clone(),
        ));

        for piece in pieces(sent, play.pieces) {
            // A server that has gone is no fault.
            if writer.write_all(piece).await.is_err() {
                break;
            }
            settle().await;
        }
        let mut writer = Some(writer);
        match play.end {
            End::Wait => {}
            End::HalfClose => {
                let _ = writer.as_mut().expect("it is there").shutdown().await;
            }
            End::Close => {
                drop(writer.take());
                reading.abort();
            }
            End::Drain => end.drain(&context),
            End::Leave => end.leave(&context),
        }
        settle().await;
        time.pass_until("the connection ends", || serving.is_finished())
            .await;
        serving.await.expect("serving a connection does not panic");
        drop(writer);
        reading.abort();
        time.pass_until("nobody holds the worker's context any more", || {
            Rc::strong_count(&context) == 1
        })
        .await;
        context.tidy();
        drop(context);
        time.pass_until("connections to upstreams are closed", || {
            record.borrow().open == 0
        })
        .await;
        (answers.take(), record.take())
    }

    fn peer(&self, who: Who) -> (Peer, Arc<Listener>) {
        let (peer, listener) = match who {
            Who::Unix => (Peer::Unix, 0),
            Who::Address => (Peer::Ip([203, 0, 113, 9].into()), 0),
            Who::Trusted => (Peer::Ip([10, 0, 0, 5].into()), 0),
            Who::Proxied => (Peer::Ip([10, 0, 0, 5].into()), 1),
        };
        (peer, Arc::new(self.cold.listen[listener].clone()))
    }
}

fn pieces(bytes: &[u8], how: Pieces) -> Vec<&[u8]> {
    match how {
        Pieces::Whole => vec![bytes],
        Pieces::Lines => bytes.split_inclusive(|b| *b == b'\n').collect(),
        Pieces::By(size) => {
            // Some hundred are enough to find what pieces can do.
            let (first, rest) = bytes.split_at(bytes.len().min(300 * size));
            first.chunks(size).chain([rest]).collect()
        }
    }
}

/// Lets everybody do what they can. Time that stands still moves on only when there is nothing else to do.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// The worker's own time.
struct Time {
    sweeper: Sweeper,
    now: Instant,
}

impl Time {
    fn new() -> Self {
        let now = Instant::now();
        Time {
            sweeper: Sweeper::new(now),
            now,
        }
    }

    /// Lets time pass until this is so.
    async fn pass_until(&mut self, what: &str, so: impl Fn() -> bool) {
        for _ in 0..PATIENCE {
            if so() {
                return;
            }
            self.now += 2 * TICK;
            self.sweeper.sweep(self.now);
            settle().await;
        }
        assert!(so(), "it never comes: {what}");
    }
}
