//! What reviews of what operators are told and may do have found, each by a test of its own: what lets more clients in waits,
//! what strangers write moves no cursor, files of a pinned generation are followed, files that never settle are said to be
//! such, nobody is answered before the gateway serves, and whoever is no operator fills no log.

mod support;

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;
use support::certificates::{Authority, Caller, Pair, put};
use support::fleet::Member;
use support::operated::main_text;
use support::{Client, Folder, Gateway, KEYGATE, Output, PATIENCE, ROUTES, Upstream, local};

/// A route that lets authOnly keys do more.
const WIDER: &str = "[[routes]]\npath = \"/reports\"\nscope = \"authOnly\"\n";

const CONFIRM: &str = "[reload]\nwidening = \"confirm\"\n";

fn token(folder: &Folder) -> String {
    let text = fs::read_to_string(folder.path().join("secret/admin-token")).expect("a token");
    text.trim().to_owned()
}

fn policy(gateway: &Gateway) -> Value {
    gateway.admin("/status").json()["policy"].clone()
}

/// A command that asks this gateway.
fn ask(folder: &Folder, gateway: &Gateway, arguments: &[&str]) -> Output {
    let admin = format!("http://{}", gateway.admin);
    let mut all = arguments.to_vec();
    all.extend(["--admin", &admin]);
    folder.keygate(&all)
}

#[test]
fn what_lets_clients_in_without_a_certificate_or_with_another_waits() {
    let upstream = Upstream::echo();
    let (authority, clients) = (Authority::new("tests"), Authority::new("clients"));
    let strangers = Authority::new("strangers");
    let asked = "tls_client_auth = { ca = \"ca.pem\", mode = \"required\" }";
    let server = "tls = { cert = \"a.pem\", key = \"a.key\" }";
    let main = main_text(upstream.address, CONFIRM)
        .replace("workers = 1", &format!("workers = 1\n{server}\n{asked}"));
    let folder = Folder::with_main(&main, ROUTES);
    authority.sign(&["a.example"]).write(folder.path(), "a");
    put(folder.path(), "ca.pem", &clients.pem, 0o644);
    put(folder.path(), "others.pem", &strangers.pem, 0o644);
    let gateway = folder.start();
    let stranger = strangers.sign(&["stranger"]);
    let comes = |identity: Option<&Pair>| {
        let caller = Caller::with(&authority, "a.example", rustls::DEFAULT_VERSIONS, identity);
        let mut client = caller.connect(gateway.address)?;
        client.get("/open/x", &[]).map(|answer| answer.status)
    };
    let mut last = String::new();
    for (what, edited) in [
        ("they need not", asked.replace("required", "optional")),
        ("nobody asks for one", String::new()),
        (
            "others vouch for them",
            asked.replace("ca.pem", "others.pem"),
        ),
    ] {
        folder.write("keygate.toml", &main.replace(asked, &edited));
        let waiting = gateway.eventually(
            || policy(&gateway),
            |policy| {
                let hash = policy["unconfirmed"]["hash"].as_str();
                hash.is_some_and(|hash| hash != last)
            },
        );
        let why = &waiting["unconfirmed"]["why"];
        assert_eq!(
            why, "it changes `server.tls_client_auth`",
            "{what}: {waiting}"
        );
        assert_eq!(waiting["generation"], 1, "{what}: {waiting}");
        for identity in [None, Some(&stranger)] {
            assert!(comes(identity).is_err(), "{what}");
        }
        last = waiting["unconfirmed"]["hash"]
            .as_str()
            .expect("a hash")
            .to_owned();
    }
    let confirmed = ask(&folder, &gateway, &["reload", "--confirm", &last]);
    assert_eq!(confirmed.status.code(), Some(0), "{}", confirmed.stderr);
    assert_eq!(comes(Some(&stranger)).expect("an answer"), 200);

    // What the same file holds is followed, as certificates are.
    put(folder.path(), "others.pem", &clients.pem, 0o644);
    let client = clients.sign(&["client"]);
    gateway.eventually(|| comes(Some(&client)).ok(), |status| *status == Some(200));
    assert!(comes(Some(&stranger)).is_err());
}

#[test]
fn what_a_stranger_writes_into_a_request_moves_no_cursor_of_who_asks_why() {
    let upstream = Upstream::echo();
    let folder = Folder::with_main(&main_text(upstream.address, ""), ROUTES);
    let gateway = folder.start();
    // Of the control characters a target may have those of C1, in UTF-8: one begins sequences of a terminal, one is a new line.
    for line in ["GET /nowhere/\u{9b}31mx", "GET /nowhere/\u{85}x"] {
        let refused = gateway.call(line, &[], "");
        assert!(refused.status >= 400, "{line:?}: {}", refused.status);
        let id = refused.header("x-request-id").expect("an id");
        let mut client = Client::connect(gateway.admin);
        let (admin, token) = (gateway.admin, token(&folder));
        client.send(format!(
            "GET /decisions/{id} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        let told = client.answer(false).json();
        let path = told["path"].as_str().expect("a path that is kept");
        assert!(path.contains(char::is_control), "{path:?}");
        let cli = ask(&folder, &gateway, &["explain", "--request", id]);
        assert!(cli.status.success(), "{}", cli.stderr);
        assert!(cli.stdout.contains("/nowhere/�"), "{:?}", cli.stdout);
        let moves = |c: char| c.is_control() && c != '\n';
        assert!(!cli.stdout.contains(moves), "{:?}", cli.stdout);
    }
}

#[test]
fn the_file_of_hosts_is_followed_while_a_generation_is_pinned() {
    let one = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = one.local_addr().expect("an address").port();
    let two = TcpListener::bind(("127.0.0.2", port)).expect("a free port");
    let (_one, _two) = (Member::on(one, "a"), Member::on(two, "b"));
    let main = main_text(([127, 0, 0, 1], port).into(), "resolve = \"250ms\"\n");
    let main = main.replace(
        &format!("http://127.0.0.1:{port}"),
        &format!("http://chat.invalid:{port}"),
    );
    let hosted = main.replace("workers = 1", "workers = 1\nhosts = \"hosts\"");
    let folder = Folder::with_main(&hosted, ROUTES);
    folder.write("hosts", "127.0.0.1 chat.invalid\n");
    let gateway = folder.start();
    let answers = || gateway.call("GET /open/x", &[], "").text();
    assert_eq!(answers(), "a");
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    gateway.eventually(|| policy(&gateway), |policy| policy["generation"] == 2);
    let back = ask(&folder, &gateway, &["rollback"]);
    assert_eq!(back.status.code(), Some(0), "{}", back.stderr);
    // The files do not name it any more; what is in force does.
    folder.write("keygate.toml", &main);
    gateway.wait_for_log(|line| line.contains("the pinned generation stays in force"));
    folder.write("hosts", "127.0.0.2 chat.invalid\n");
    gateway.eventually(answers, |by| by == "b");
    let now = policy(&gateway);
    assert_eq!(now["pinned"], true, "{now}");
    // A file that cannot be used takes nothing away, and is said.
    folder.write("hosts", "no address\n");
    gateway.wait_for_log(|line| {
        line.contains("what the generation in force takes its secrets from has changed")
            && line.contains("line 1: it does not begin with an address")
    });
    assert_eq!(answers(), "b");
}

#[test]
fn files_that_never_settle_are_said_to_be_such_and_nothing_is_in_force_of_them() {
    let folder = Folder::with_main(&main_text(([127, 0, 0, 1], 9).into(), ""), ROUTES);
    let gateway = folder.start();
    let over = AtomicBool::new(false);
    let deadline = Instant::now() + PATIENCE;
    std::thread::scope(|scope| {
        // Several, so that one writes whenever the files are looked at.
        for writer in 0..3 {
            let (folder, over) = (&folder, &over);
            scope.spawn(move || {
                let path = folder.path().join("routes.toml");
                let beside = folder.path().join(format!("beside-{writer}"));
                let mut number = 0;
                while !over.load(Ordering::Relaxed) {
                    number += 1;
                    fs::write(&beside, format!("{ROUTES}# {writer} {number}\n")).expect("write");
                    fs::rename(&beside, &path).expect("rename");
                }
            });
        }
        // A machine that stops all writers for a while lets the files settle.
        let said = loop {
            let asked = ask(&folder, &gateway, &["reload"]);
            if asked.status.code() != Some(0) || Instant::now() > deadline {
                break asked;
            }
        };
        over.store(true, Ordering::Relaxed);
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        let message = "the files keep changing; what is in force is as it was";
        assert!(said.stderr.contains(message), "{}", said.stderr);
    });
    // They settle, and what was written last is in force.
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    let reloaded = ask(&folder, &gateway, &["reload"]);
    assert_eq!(reloaded.status.code(), Some(0), "{}", reloaded.stderr);
    let form = gateway.admin("/policy").json();
    assert!(form["routes"].to_string().contains("/reports"), "{form}");
}

/// As many may wait for the gateway to serve.
const ASKS: usize = 16;

#[test]
fn who_asks_before_the_gateway_serves_is_answered_once_it_does_and_nothing_is_kept_before() {
    let main = main_text(([127, 0, 0, 1], 9).into(), "")
        .replace("\"127.0.0.1:0\"\ntoken", "\"unix:admin.sock\"\ntoken")
        .replace("workers = 1", "workers = 1\nhandover = \"handover.sock\"");
    let folder = Folder::with_main(&main, ROUTES);
    drop(folder.start());
    let index = || fs::read_to_string(folder.path().join("data/generations/index.json"));
    let before = index().expect("kept");
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));

    // The gateway before it, which gives no sockets, and does not say that it let go until everybody has asked.
    let place = folder.path().join("handover.sock");
    let _ = fs::remove_file(&place); // which the first one left
    let former = UnixListener::bind(&place).expect("a socket");
    std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            let mut command = Command::new(KEYGATE);
            let run = ["run", "--take-over", "--config"];
            command.args(run).arg(folder.config());
            Gateway::of(command)
        });
        let (mut successor, _) = former.accept().expect("a successor");
        drop(former);
        fs::remove_file(&place).expect("the former socket");
        successor.write_all(b"{\"end\":true}\n").expect("a word");
        let mut kept = String::new();
        let mut reader = BufReader::new(successor.try_clone().expect("a handle"));
        reader.read_line(&mut kept).expect("what it kept");
        assert_eq!(kept, "{\"kept\":[]}\n");

        let request = format!(
            "POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            token(&folder)
        );
        let (answered, answers) = mpsc::sync_channel(ASKS + 1);
        for _ in 0..=ASKS {
            let path = folder.path().join("admin.sock");
            let mut stream = UnixStream::connect(path).expect("connect");
            stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
            stream.write_all(request.as_bytes()).expect("send");
            let answered = answered.clone();
            scope.spawn(move || {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).expect("an answer");
                answered
                    .send(local::answer(&bytes))
                    .expect("someone listens");
            });
        }
        // All others wait: who is one too many is told so at once.
        let first = answers.recv_timeout(PATIENCE).expect("an answer");
        assert_eq!(first.status, 503, "{}", first.text());
        assert_eq!(index().expect("kept"), before);

        successor.write_all(b"{\"taken\":true}\n").expect("a word");
        for _ in 0..ASKS {
            let answer = answers.recv_timeout(PATIENCE).expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json()["outcome"], "unchanged", "{}", answer.text());
        }
        assert_ne!(index().expect("kept"), before);
        drop(started.join().expect("a gateway"));
    });
}

#[test]
fn who_is_no_operator_fills_no_log_however_often_it_asks() {
    let folder = Folder::with_main(&main_text(([127, 0, 0, 1], 9).into(), ""), ROUTES);
    let gateway = folder.start();
    let begun = Instant::now();
    let ask = |line: &str, header: &str| {
        let mut client = Client::connect(gateway.admin);
        let admin = gateway.admin;
        client.send(format!("{line} HTTP/1.1\r\nHost: {admin}\r\n{header}\r\n"));
        client.answer(false).status
    };
    let wrong = format!("Authorization: Bearer {}\r\n", "0".repeat(64));
    let kinds = [
        ("", 401, "`Authorization: Bearer TOKEN` is missing"),
        (&*wrong, 401, "this is not the token"),
        ("Origin: http://a.example\r\n", 403, "comes from a web page"),
    ];
    for _ in 0..20 {
        for line in ["POST /reload", "POST /rollback", "GET /decisions"] {
            for (header, status, _) in kinds {
                assert_eq!(ask(line, header), status, "{line} {header}");
            }
        }
    }
    let right = format!("Authorization: Bearer {}\r\n", token(&folder));
    assert_eq!(ask("POST /reload", &right), 200);
    gateway.wait_for_log(|line| line.contains("asked through the admin listener"));
    // Each once a minute, and the log has told all that came before.
    let most = 1 + begun.elapsed().as_secs() / 60;
    let log = gateway.log();
    for (_, _, why) in kinds {
        let told = log.lines().filter(|line| line.contains(why));
        let told: Vec<&str> = told.collect();
        assert!((1..=most).contains(&(told.len() as u64)), "{why}: {told:?}");
        assert!(told[0].contains("\"peer\":\"127.0.0.1"), "{}", told[0]);
    }
}
