//! Reloads through the shipped watcher, with real files, at a gateway that serves: no request fails because of one, and
//! what was accepted is in force.
//!
//! Each good edit adds the route `/gen/N` under a number of its own, so that a request tells which generation answered
//! it. A bad edit names an undeclared scope, or is half a file, or a second `/gen/N`: it is refused, and the last good
//! generation goes on answering. A test waits for `/status` to say what became of its edit, and for nothing else.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::scripted::Scripted;
use support::trial::{forgetful_upstream, until};
use support::{Answer, Client, Folder, Gateway, PATIENCE, ROUTES};

fn generation_file(number: usize) -> String {
    format!("[[routes]]\npath = \"/gen/{number}\"\nscope = \"authOnly\"\n")
}

/// Whether the route of this number is in force: without it the path is unknown.
fn has(gateway: &Gateway, key: &str, number: usize) -> bool {
    match gateway
        .manage(key, &format!("GET /gen/{number}"), "")
        .status
    {
        200 => true,
        404 => false,
        other => panic!("/gen/{number}: {other}"),
    }
}

/// What `/status` says of reloads.
struct Reloads {
    generation: u64,
    accepted: u64,
    refused: u64,
    error: Option<String>,
}

/// The admin listener. Each of its connections serves one request.
struct Admin(SocketAddr);

impl Admin {
    fn connect(gateway: &Gateway) -> Self {
        Admin(gateway.admin)
    }

    fn get(&self, path: &str) -> Answer {
        Client::connect(self.0).call(&format!("GET {path}"), &[], "")
    }

    fn reloads(&self) -> Reloads {
        let status = self.get("/status");
        let policy = status.json()["policy"].clone();
        let number = |name: &str| policy[name].as_u64().expect("a number");
        Reloads {
            generation: number("generation"),
            accepted: number("reloads_accepted"),
            refused: number("reloads_refused"),
            error: policy["last_error"].as_str().map(str::to_owned),
        }
    }

    fn until(&self, what: &str, wanted: impl Fn(&Reloads) -> bool) -> Reloads {
        let begun = Instant::now();
        loop {
            let now = self.reloads();
            if wanted(&now) {
                return now;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {:?}", now.error);
            support::trial::pause();
        }
    }

    /// The value of a metric, by the beginning of its line.
    fn metric(&self, name: &str) -> String {
        let page = self.get("/metrics").text();
        let line = page.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.unwrap_or_else(|| panic!("no {name}")).to_owned()
    }
}

/// What a client counts: each answer by what was asked, each error.
type Counts = BTreeMap<(&'static str, String), u64>;

/// How a client of the load asks.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    line: &'static str,
    with_key: bool,
    right: u16,
    length: usize,
    /// A new connection for each request.
    fresh: bool,
}

const LOADS: [Load; 6] = [
    Load {
        name: "with a key",
        line: "GET /v3/users",
        with_key: true,
        right: 200,
        length: 2,
        fresh: false,
    },
    Load {
        name: "with a key, on a new connection",
        line: "GET /v3/users",
        with_key: true,
        right: 200,
        length: 2,
        fresh: true,
    },
    Load {
        name: "without a key",
        line: "GET /v3/users",
        with_key: false,
        right: 401,
        length: 0,
        fresh: false,
    },
    Load {
        name: "public",
        line: "GET /open/x",
        with_key: false,
        right: 200,
        length: 2,
        fresh: false,
    },
    Load {
        name: "an answer that takes 300 ms",
        line: "GET /v3/slow",
        with_key: true,
        right: 200,
        length: 50,
        fresh: false,
    },
    Load {
        name: "management",
        line: "GET /apikeys?perPage=1",
        with_key: true,
        right: 200,
        length: 0,
        fresh: false,
    },
];

/// Asks until it is over; notes every answer and every error.
fn load(load: Load, address: SocketAddr, key: &str, over: &AtomicBool, counts: &Mutex<Counts>) {
    let key = if load.with_key { key } else { "" };
    let mut client: io::Result<Client> = Client::try_connect(address);
    while !over.load(Ordering::SeqCst) {
        if load.fresh {
            client = Client::try_connect(address);
        }
        let answer = client
            .as_mut()
            .map_err(|error| io::Error::from(error.kind()))
            .and_then(|client| client.try_call(load.line, key, ""));
        let what = match &answer {
            Ok(answer) if load.length > 0 && answer.body.len() != load.length => {
                format!("{}, and {} bytes", answer.status, answer.body.len())
            }
            Ok(answer) => answer.status.to_string(),
            Err(error) => format!("error: {error}"),
        };
        if answer.is_err() {
            client = Client::try_connect(address);
        }
        *counts.lock().unwrap().entry((load.name, what)).or_default() += 1;
        // The machine has other things to do, such as reloading.
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// How a file is changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Edit {
    Renamed,
    InPlace,
    NewFile,
}

/// One bad edit after one good one, each of them by all the ways of editing in turn.
struct Editor<'a> {
    folder: &'a Folder,
    /// What the last bad edit left behind: a file, and what it held before.
    bad: Option<(PathBuf, Option<String>)>,
}

impl Editor<'_> {
    fn put(&mut self, edit: Edit, number: usize, text: &str) -> PathBuf {
        let path = match edit {
            Edit::Renamed | Edit::InPlace => self.folder.path().join("gen.toml"),
            Edit::NewFile => self.folder.path().join(format!("more.d/{number}.toml")),
        };
        match edit {
            Edit::Renamed | Edit::NewFile => rename_into(&path, text),
            Edit::InPlace => fs::write(&path, text).expect("write"),
        }
        path
    }

    /// An edit that makes sense, after the bad one was taken back.
    fn good(&mut self, edit: Edit, number: usize) {
        match self.bad.take() {
            None => {}
            Some((path, None)) => fs::remove_file(path).expect("remove"),
            Some((path, Some(text))) => rename_into(&path, &text),
        }
        self.put(edit, number, &generation_file(number));
    }

    /// An edit that makes none. Gives the file's name and a part of what must be said of it.
    fn bad(&mut self, edit: Edit, number: usize) -> (String, &'static str) {
        let good = generation_file(1_000_000 + number);
        let (text, said) = match number % 4 {
            0 => (good.replace("authOnly", "authOny"), "authOny"),
            1 => (good[..good.len() / 2].to_owned(), "error"),
            2 => (good.replace("scope", "skope"), "skope"),
            _ => (String::new(), "empty"),
        };
        let before = match edit {
            Edit::NewFile => None,
            Edit::Renamed | Edit::InPlace => {
                let path = self.folder.path().join("gen.toml");
                Some(fs::read_to_string(path).expect("read"))
            }
        };
        let path = self.put(edit, number, &text);
        let name = path.file_name().expect("a name").to_string_lossy();
        let name = name.into_owned();
        self.bad = Some((path, before));
        (name, said)
    }
}

/// Writes beside and renames, as the README says.
fn rename_into(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).expect("write");
    fs::rename(beside, path).expect("rename");
}

#[test]
fn no_request_fails_because_of_two_hundred_reloads_good_and_bad() {
    const PAIRS: usize = 100;
    let include = r#"["routes.toml", "gen.toml", "more.d/*.toml"]"#;
    let folder = Folder::quiet(forgetful_upstream(), include, ROUTES);
    folder.write("gen.toml", &generation_file(0));
    fs::create_dir(folder.path().join("more.d")).expect("a folder");
    let key = folder.new_key("load", "fullAccess");
    let gateway = folder.start();
    let admin = Admin::connect(&gateway);
    let (over, counts) = (AtomicBool::new(false), Mutex::new(Counts::new()));
    let mut editor = Editor {
        folder: &folder,
        bad: None,
    };
    let begun = Instant::now();
    let (mut times, mut refused_times) = (Vec::new(), Vec::new());
    let mut taken_back = 0;
    let mut numbers = Vec::new();
    let reloading = thread::scope(|scope| {
        for one in LOADS {
            let (address, key, over, counts) = (gateway.address, &key, &over, &counts);
            scope.spawn(move || load(one, address, key, over, counts));
        }
        let edits = [Edit::Renamed, Edit::InPlace, Edit::NewFile];
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut in_gen_file = 0;
            for pair in 1..=PAIRS {
                let edit = edits[pair % edits.len()];
                let before = admin.reloads();
                let edited = Instant::now();
                editor.good(edit, pair);
                let now = admin.until("a good edit", |now| {
                    now.accepted > before.accepted && has(&gateway, &key, pair)
                });
                times.push(edited.elapsed());
                // It became one generation and is in force; before it stands another where the machine kept us from
                // running between taking the bad edit back and making the good one.
                let steps = now.accepted - before.accepted;
                assert!((1..=2).contains(&steps), "{edit:?}: {steps} generations");
                assert_eq!(now.generation, before.generation + steps, "{edit:?}");
                taken_back += steps - 1;
                assert_eq!(now.error, None, "{edit:?}");
                assert!(has(&gateway, &key, pair), "{edit:?} {pair}");
                if edit != Edit::NewFile {
                    assert!(!has(&gateway, &key, in_gen_file), "{edit:?} {in_gen_file}");
                    in_gen_file = pair;
                }
                numbers.push(pair);

                // Bad edits come in the same ways, but not always in that of the good one before.
                let edit = edits[(pair + pair / 3) % edits.len()];
                let edited = Instant::now();
                let (file, said) = editor.bad(edit, pair);
                let wanted = |now: &Reloads| {
                    let error = now.error.as_deref().unwrap_or_default();
                    error.contains(&file) && error.contains(said)
                };
                let after = admin.until(&format!("{file}: {said}"), wanted);
                refused_times.push(edited.elapsed());
                assert!(after.refused > now.refused, "{edit:?}");
                let kept = (after.accepted, after.generation);
                assert_eq!(kept, (now.accepted, now.generation), "{edit:?}");
                assert!(has(&gateway, &key, pair), "the last good one stays: {pair}");
                assert_eq!(admin.metric("keygate_policy_current"), "0");
                let refused = admin.metric("keygate_policy_reloads_total{result=\"refused\"}");
                assert_eq!(refused, after.refused.to_string());
            }
        }));
        over.store(true, Ordering::SeqCst);
        done
    });
    if let Err(panic) = reloading {
        std::panic::resume_unwind(panic);
    }
    let took = begun.elapsed();
    let end = admin.reloads();
    let counts = counts.into_inner().unwrap();
    for ((name, what), count) in &counts {
        println!("{name}: {what}: {count}");
    }
    for one in LOADS {
        let right = counts.get(&(one.name, one.right.to_string()));
        assert!(right.is_some_and(|count| *count > 100), "{}", one.name);
    }
    assert_eq!(counts.len(), LOADS.len(), "every answer is the right one");
    assert_eq!(end.accepted, PAIRS as u64 + taken_back);
    assert!(end.refused >= PAIRS as u64);
    let refusals = || gateway.log().matches("and is refused").count() as u64;
    until("each refusal in the log", || refusals() == end.refused);
    gateway.wait_for_log(|line| line.contains("gen.toml") && line.contains("skope"));
    times.sort();
    refused_times.sort();
    println!(
        "{} accepted and {} refused in {took:?}, {} requests; ms from an edit until in force: median {}, worst {}; until refused: median {}, worst {}",
        end.accepted,
        end.refused,
        counts.values().sum::<u64>(),
        times[times.len() / 2].as_millis(),
        times[times.len() - 1].as_millis(),
        refused_times[refused_times.len() / 2].as_millis(),
        refused_times[refused_times.len() - 1].as_millis(),
    );
}

/// A gateway with this `include`, and files beside it.
fn start(include: &str, files: &[(&str, String)]) -> (Folder, Gateway, String) {
    let folder = Folder::quiet(forgetful_upstream(), include, ROUTES);
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("write");
    }
    let key = folder.new_key("edits", "fullAccess");
    let gateway = folder.start();
    (folder, gateway, key)
}

/// Waits until the route of this number is in force, or gone; prints how long it took.
fn follows(what: &str, gateway: &Gateway, key: &str, number: usize, there: bool) {
    let took = until(what, || has(gateway, key, number) == there);
    println!("{what}: {} ms", took.as_millis());
}

#[test]
fn a_swapped_link_is_followed() {
    // As a mounted ConfigMap does it: gen.toml -> ..data/gen.toml, ..data -> ..1, then ..data is renamed over.
    let files = [
        ("..1/gen.toml", generation_file(1)),
        ("..2/gen.toml", generation_file(2)),
    ];
    let folder = Folder::quiet(
        forgetful_upstream(),
        r#"["routes.toml", "gen.toml"]"#,
        ROUTES,
    );
    let path = |name: &str| folder.path().join(name);
    for (name, text) in files {
        fs::create_dir(path(name).parent().expect("a folder")).expect("a folder");
        fs::write(path(name), text).expect("write");
    }
    symlink("..1", path("..data")).expect("a link");
    symlink("..data/gen.toml", path("gen.toml")).expect("a link");
    let key = folder.new_key("edits", "fullAccess");
    let gateway = folder.start();
    assert!(has(&gateway, &key, 1));
    symlink("..2", path("..swap")).expect("a link");
    fs::rename(path("..swap"), path("..data")).expect("rename");
    fs::remove_dir_all(path("..1")).expect("remove");
    follows("a swapped link", &gateway, &key, 2, true);
    assert!(!has(&gateway, &key, 1));
    assert_eq!(Admin::connect(&gateway).reloads().refused, 0);
}

#[test]
fn a_write_through_a_link_is_followed() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let target = elsewhere.path().join("deep/gen.toml");
    fs::create_dir(elsewhere.path().join("deep")).expect("a folder");
    fs::write(&target, generation_file(1)).expect("write");
    let folder = Folder::quiet(
        forgetful_upstream(),
        r#"["routes.toml", "gen.toml"]"#,
        ROUTES,
    );
    symlink(&target, folder.path().join("gen.toml")).expect("a link");
    let key = folder.new_key("edits", "fullAccess");
    let gateway = folder.start();
    fs::write(&target, generation_file(2)).expect("write");
    follows("a write through a link", &gateway, &key, 2, true);
    rename_into(&target, &generation_file(3));
    follows("a rename behind a link", &gateway, &key, 3, true);
    assert!(!has(&gateway, &key, 2));
}

#[test]
fn new_files_and_folders_that_match_a_pattern_are_followed_and_so_is_their_end() {
    let include = r#"["routes.toml", "routes.d/*/*.toml"]"#;
    let (folder, gateway, key) = start(include, &[]);
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("routes.d/a")).expect("folders");
    fs::write(path("routes.d/a/1.toml"), generation_file(1)).expect("write");
    follows("a new folder", &gateway, &key, 1, true);
    fs::write(path("routes.d/a/2.toml"), generation_file(2)).expect("write");
    follows("a new file", &gateway, &key, 2, true);
    fs::create_dir(path("b")).expect("a folder");
    fs::write(path("b/3.toml"), generation_file(3)).expect("write");
    fs::rename(path("b"), path("routes.d/b")).expect("rename");
    follows("a folder moved in", &gateway, &key, 3, true);
    fs::remove_file(path("routes.d/a/1.toml")).expect("remove");
    follows("a deleted file", &gateway, &key, 1, false);
    fs::remove_dir_all(path("routes.d/b")).expect("remove");
    follows("a deleted folder", &gateway, &key, 3, false);
    assert!(has(&gateway, &key, 2));
    assert_eq!(Admin::connect(&gateway).reloads().refused, 0);
}

#[test]
fn a_deleted_file_that_is_named_is_refused_and_comes_back() {
    let include = r#"["routes.toml", "gen.toml"]"#;
    let (folder, gateway, key) = start(include, &[("gen.toml", generation_file(1))]);
    let admin = Admin::connect(&gateway);
    for (name, there) in [("gen.toml", 1), ("keygate.toml", 1)] {
        let path = folder.path().join(name);
        let text = fs::read_to_string(&path).expect("read");
        fs::remove_file(&path).expect("remove");
        let refused = admin.until(name, |now| now.error.is_some());
        let error = refused.error.expect("an error");
        assert!(error.contains(name), "{error}");
        assert!(has(&gateway, &key, there), "the last good one stays");
        let ready = admin.get("/readyz");
        assert_eq!(ready.status, 200, "a refused edit takes no gateway out");
        assert_eq!(ready.json()["policy"]["ok"], Value::Bool(false));
        fs::write(&path, text).expect("write");
        admin.until(name, |now| now.error.is_none());
    }
    fs::write(folder.path().join("gen.toml"), generation_file(2)).expect("write");
    follows("a file that was away", &gateway, &key, 2, true);
}

#[test]
fn sighup_reads_the_files_at_once_and_unchanged_ones_make_no_generation() {
    let include = r#"["routes.toml", "gen.toml"]"#;
    let (folder, gateway, key) = start(include, &[("gen.toml", generation_file(1))]);
    gateway.signal("HUP");
    gateway.wait_for_log(|line| line.contains("the configuration's files are unchanged"));
    let status = gateway.status();
    assert_eq!(status["policy"]["generation"], 1);
    assert!(
        status["policy"]["last_attempt"].is_i64(),
        "it was looked at"
    );
    fs::write(folder.path().join("gen.toml"), generation_file(2)).expect("write");
    gateway.signal("HUP");
    follows("SIGHUP", &gateway, &key, 2, true);
    assert_eq!(gateway.status()["policy"]["generation"], 2);
}

#[test]
fn a_long_stream_keeps_its_route_and_not_its_generation() {
    // Answers its head and a chunk, then waits for the client to leave.
    let upstream = Scripted::start(|mut peer| {
        let Some(_) = peer.head() else { return };
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        peer.wait_for_end();
    });
    let folder = Folder::new(upstream.address, "", ROUTES);
    let gateway = folder.start();
    let mut streams = Vec::new();
    let mut ids = Vec::new();
    for generation in 1..=4 {
        if generation > 1 {
            let text = format!("{ROUTES}\n{}", generation_file(generation));
            rename_into(&folder.path().join("routes.toml"), &text);
            until("a reload", || {
                gateway.status()["policy"]["generation"] == generation
            });
        }
        let mut client = gateway.connect();
        client.send("GET /open/stream HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer(true);
        assert_eq!(answer.status, 200);
        ids.push(answer.header("x-request-id").expect("an id").to_owned());
        streams.push(client);
    }
    until(
        "earlier generations are dropped under their streams",
        || gateway.status()["policy"]["generations_held"] == 1,
    );
    upstream.wait_for(streams.len());
    drop(streams);
    for (generation, id) in (1..).zip(&ids) {
        let line = gateway.wait_for_log(|l| l.contains("keygate::access") && l.contains(id));
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["generation"], generation);
        assert_eq!(line["template"], "/open/{*rest}");
        assert_eq!(line["outcome"], "client_gone");
    }
    let line = r#"keygate_requests_total{route="/open/{*rest}",method="GET",status="2xx",outcome="client_gone"}"#;
    assert_eq!(Admin::connect(&gateway).metric(line), "4");
}
