//! Many reloads under load, over HTTP/1.1 and HTTP/2, with WebSockets and event streams open over both: no request fails,
//! what each new policy permits is not disturbed, and what it forbids ends within a second.
//!
//! `KEYGATE_RELOADS` says how many, 300 where it is not set; a thousand take some minutes.

mod support;

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::lasting::{Counting, End, KINDS, Lasting, Opener};
use support::trial::until;
use support::wire::{Authority, Caller, Wire};
use support::{Client, Folder, Gateway, ROUTES};

/// What generation `n` has besides the rest. `/only/n` is for it alone; the one before is refused in one way or another.
/// `/turns` is always open to who has fullAccess, by a route that is another one each time.
fn policy(n: usize) -> String {
    let route = |path: &str, more: &str| format!("[[routes]]\npath = \"{path}\"\n{more}\n");
    let only = |n: usize, more: &str| route(&format!("/only/{n}/{{*rest}}"), more);
    let full = "scope = \"fullAccess\"";
    let mut text = route(&format!("/gen/{n}"), "access = \"public\"") + &only(n, full);
    if let Some(before) = n.checked_sub(1) {
        text += &match n % 4 {
            0 => String::new(),
            1 => only(before, "access = \"deny\""),
            2 => only(before, "methods = [\"POST\"]\nscope = \"fullAccess\""),
            _ => only(before, "scope = \"nobody\""),
        };
    }
    let turns = "/turns/{*rest}";
    text += &match n % 4 {
        0 => route(turns, full),
        1 => route(turns, "scope = \"authOnly\""),
        2 => route(turns, "access = \"public\""),
        _ => {
            let elsewhere = "scope = \"authOnly\"\nupstream = \"elsewhere\"";
            route(turns, full) + &route("/turns/{name}/events", elsewhere)
        }
    };
    text
}

/// How often each answer came, by who asked.
type Counts = BTreeMap<(String, String), u64>;

/// What a client of the load asks for, with a key or without, and the status that is right.
const ASKED: [(&str, bool, u16); 5] = [
    ("/v3/users", true, 200),
    ("/v3/users", false, 401),
    ("/open/x", false, 200),
    ("/turns/x", true, 200),
    ("/nowhere", true, 404),
];

struct Load<'a> {
    gateway: &'a Gateway,
    key: &'a str,
    over: &'a AtomicBool,
    counts: &'a Mutex<Counts>,
}

impl Load<'_> {
    fn note(&self, name: &str, what: String) {
        let key = (name.to_owned(), what);
        *self.counts.lock().unwrap().entry(key).or_default() += 1;
        // The machine has other things to do, such as reloading.
        thread::park_timeout(Duration::from_millis(1));
    }

    /// Each asks in turn until it is over.
    fn asked(&self) -> impl Iterator<Item = (&'static str, &str, u16)> {
        let all = ASKED.iter().cycle();
        let all = all.take_while(|_| !self.over.load(Ordering::SeqCst));
        all.map(|(path, keyed, right)| (*path, if *keyed { self.key } else { "" }, *right))
    }

    fn http1(&self, fresh: bool) {
        let name = if fresh { "HTTP/1.1, new" } else { "HTTP/1.1" };
        let mut kept: Option<Client> = None;
        for (path, key, right) in self.asked() {
            let client = match kept.take().filter(|_| !fresh) {
                Some(client) => Ok(client),
                None => Client::try_connect(self.gateway.address),
            };
            let answered: io::Result<_> = client.and_then(|mut client| {
                let answer = client.try_call(&format!("GET {path}"), key, "")?;
                kept = Some(client);
                Ok(answer.status)
            });
            self.note(
                name,
                judged(path, right, answered.map_err(|e| e.to_string())),
            );
        }
    }

    fn http2(&self, authority: &Authority) {
        let mut client = Caller::connect(self.gateway.address, Wire::Http2, authority);
        for (path, key, right) in self.asked() {
            let headers = [("apikey", key)];
            let headers = if key.is_empty() {
                &[][..]
            } else {
                &headers[..]
            };
            let outcome = client.call("GET", path, headers, b"");
            let answered = match outcome.broken {
                None => Ok(outcome.status),
                Some(why) => Err(why),
            };
            self.note("HTTP/2", judged(path, right, answered));
        }
    }
}

fn judged(path: &str, right: u16, answered: Result<u16, String>) -> String {
    match answered {
        Ok(status) if status == right => "right".to_owned(),
        Ok(status) => format!("{path}: {status} in place of {right}"),
        Err(error) => format!("{path}: {error}"),
    }
}

/// By how much this machine was late, at most, when a thread asked to be woken: what is measured in seconds cannot be more
/// exact.
fn worst_lateness(over: &AtomicBool) -> Duration {
    const NAP: Duration = Duration::from_millis(10);
    let mut worst = Duration::ZERO;
    while !over.load(Ordering::SeqCst) {
        let begun = Instant::now();
        thread::park_timeout(NAP);
        worst = worst.max(begun.elapsed().saturating_sub(NAP));
    }
    worst
}

/// Waits for the end of those that a reload forbids, and notes how long after it that was.
fn ended(forbidden: &mut Vec<(usize, Instant, Lasting)>, times: &mut Vec<Duration>) {
    for (n, since, lasting) in forbidden.drain(..) {
        let what = format!("{:?} of generation {n}", lasting.kind);
        until(&what, || lasting.progress().end.is_some());
        let (end, at) = lasting.progress().end.expect("it ended");
        assert_eq!(end, End::Cut, "{what}");
        times.push(at - since);
    }
}

#[test]
fn reloads_under_load_fail_no_request_and_cut_only_what_they_forbid() {
    let reloads = std::env::var("KEYGATE_RELOADS").map_or(300, |text| {
        text.parse().expect("KEYGATE_RELOADS is a number")
    });
    let upstream = Counting::start();
    let routes = ROUTES.replace("[defaults]", "nobody = []\n[defaults]");
    let include = r#"["routes.toml", "gen.toml"]"#;
    let folder = Folder::quiet(upstream.address, include, &routes);
    let main = std::fs::read_to_string(folder.config()).expect("read");
    let elsewhere = "[upstreams.elsewhere]\nservers = [\"http://127.0.0.1:9\"]\n";
    folder.write("keygate.toml", &(main + elsewhere));
    folder.write("gen.toml", &policy(0));
    let key = folder.new_key("load", "fullAccess");
    let gateway = folder.start();
    let opener = Opener::connect(gateway.address);
    let authority = Authority::new();
    let mut kept = Vec::new();
    for (path, key) in [
        ("/v3/events", &*key),
        ("/turns/a/events", &*key),
        ("/open/events", ""),
    ] {
        for kind in KINDS {
            kept.push((path, opener.open(kind, path, key).expect("it is open")));
        }
    }

    let (over, counts) = (AtomicBool::new(false), Mutex::new(Counts::new()));
    let load = Load {
        gateway: &gateway,
        key: &key,
        over: &over,
        counts: &counts,
    };
    let begun = Instant::now();
    let (mut forbidden, mut times) = (Vec::new(), Vec::new());
    let (done, lateness) = thread::scope(|scope| {
        let lateness = scope.spawn(|| worst_lateness(&over));
        scope.spawn(|| load.http1(false));
        scope.spawn(|| load.http1(true));
        scope.spawn(|| load.http2(&authority));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut probe = gateway.connect();
            for n in 1..=reloads {
                let path = format!("/only/{}/events", n - 1);
                let open = KINDS.map(|kind| opener.open(kind, &path, &key).expect("it is open"));
                folder.write("gen.toml", &policy(n));
                let mut asked = Instant::now();
                until("a generation", || {
                    let now = Instant::now();
                    let line = format!("GET /gen/{n}");
                    let there = probe.call(&line, &[], "").status == 200;
                    if !there {
                        asked = now;
                    }
                    there
                });
                // Looked at when the next reload is under way.
                ended(&mut forbidden, &mut times);
                forbidden.extend(open.map(|lasting| (n, asked, lasting)));
                for (path, lasting) in &kept {
                    assert_eq!(
                        lasting.progress().end,
                        None,
                        "{path} {:?}: {n}",
                        lasting.kind
                    );
                }
            }
            ended(&mut forbidden, &mut times);
        }));
        over.store(true, Ordering::SeqCst);
        (done, lateness.join().expect("it only naps"))
    });
    if let Err(panic) = done {
        std::panic::resume_unwind(panic);
    }
    let took = begun.elapsed();

    let counts = counts.into_inner().unwrap();
    let wrong: Vec<_> = counts
        .iter()
        .filter(|((_, what), _)| what != "right")
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(counts.len(), 3, "each has asked: {counts:?}");
    assert!(counts.values().all(|count| *count > 100), "{counts:?}");

    upstream.end();
    let mut numbers = 0;
    for (path, lasting) in &kept {
        let what = format!("{path} {:?}", lasting.kind);
        until(&what, || lasting.progress().end.is_some());
        let progress = lasting.progress();
        assert_eq!(progress.end.map(|(end, _)| end), Some(End::Whole), "{what}");
        if lasting.kind.is_socket() {
            assert!(
                progress.pongs > 0 && progress.pings - progress.pongs <= 1,
                "{what}"
            );
        }
        numbers += progress.numbers;
    }

    times.sort();
    let worst = times[times.len() - 1];
    println!(
        "{reloads} reloads in {took:?}, {} requests, {numbers} numbers in {} streams that stayed; {} streams that were forbidden ended, ms after the generation was in force: median {}, 99 % {}, worst {}; the machine was late by {lateness:?} at most",
        counts.values().sum::<u64>(),
        kept.len(),
        times.len(),
        times[times.len() / 2].as_millis(),
        times[times.len() * 99 / 100].as_millis(),
        worst.as_millis(),
    );
    assert_eq!(times.len(), reloads * KINDS.len());
    assert!(
        worst < Duration::from_secs(1) + lateness,
        "{worst:?}, on a machine that is late by {lateness:?}"
    );
    // One long halt of the machine must not excuse all of them.
    let most = times[times.len() * 9 / 10];
    assert!(most < Duration::from_secs(1), "one of ten took {most:?}");

    // The log says how many each reload has ended: these and no others.
    let told = |log: &str| {
        let lines = log
            .lines()
            .filter(|line| line.contains("permits no longer"));
        let lines =
            lines.map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        lines
            .map(|line| line["ended"].as_u64().expect("a number"))
            .sum::<u64>()
    };
    until("the log's lines", || {
        told(&gateway.log()) >= times.len() as u64
    });
    assert_eq!(told(&gateway.log()), times.len() as u64);
    let policy = gateway.status()["policy"].clone();
    assert_eq!(policy["reloads_accepted"], reloads, "{policy}");
    assert_eq!(policy["reloads_refused"], 0, "{policy}");
    until("old generations are dropped", || {
        gateway.status()["policy"]["generations_held"] == 1
    });
}
