//! `keygate demo` as a client meets it: the binary, its sockets, its end.
#![cfg(unix)]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// A running demo; killed when the test fails.
struct Demo {
    child: Child,
    out: BufReader<ChildStdout>,
    temporary: tempfile::TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_keygate"))
            .args(["demo", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("TMPDIR", temporary.path())
            .env_remove("KEYGATE_SECRET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Demo {
            child,
            out,
            temporary,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    /// Sends a signal, and waits for the end: what else was printed, and how it ended.
    fn end(mut self, signal: &str) -> (String, ExitStatus) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success(), "{signal}");
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        let left: Vec<_> = std::fs::read_dir(self.temporary.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?} stays behind");
        (rest, status)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own: status and JSON body.
fn call(base: &str, request: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    let address = base.strip_prefix("http://").expect(base);
    let mut stream = TcpStream::connect(address).unwrap();
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let mut head = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream
        .write_all(format!("{head}\r\n{body}").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    let json = body
        .find('{')
        .zip(body.rfind('}'))
        .map(|(a, z)| &body[a..=z]);
    let json = json.and_then(|text| serde_json::from_str(text).ok());
    (status.expect("a status"), json.unwrap_or_default())
}

#[test]
fn the_line_of_json_is_all_that_is_needed_to_work_with_the_chat() {
    let mut demo = Demo::start(&["--json"]);
    let ready: Value = serde_json::from_str(&demo.line()).expect("one line of JSON");
    let text = |name: &str| ready[name].as_str().expect(name).to_owned();
    let (gateway, admin, upstream) = (text("gateway"), text("admin"), text("upstream"));
    let (full, auth) = (text("fullAccess"), text("authOnly"));
    let (full, auth) = (("apikey", full.as_str()), ("apikey", auth.as_str()));
    let none = Value::Null;

    let scott = json!({"uid": "cyclops", "name": "Scott Summers"});
    let (status, made) = call(&gateway, "POST /v3/users", &[auth], &scott);
    assert_eq!((status, &made["data"]["uid"]), (200, &json!("cyclops")));
    let jean = json!({"uid": "phoenix", "name": "Jean Grey"});
    call(&gateway, "POST /v3.0/users", &[full], &jean);
    let message = json!({"receiver": "phoenix", "receiverType": "user", "data": {"text": "Hello"}});
    let by_scott = [full, ("onBehalfOf", "cyclops")];
    for (request, headers, body, status, code) in [
        (
            "POST /v3/users",
            &[auth][..],
            &scott,
            400,
            "ERR_UID_ALREADY_EXISTS",
        ),
        ("GET /v3/users", &[], &none, 401, "AUTH_ERR_EMPTY_APIKEY"),
        ("GET /v3/users", &[auth], &none, 403, "AUTH_ERR_NO_ACCESS"),
        ("GET /v3/users", &[full], &none, 200, ""),
        (
            "GET /v3/users/rogue",
            &[full],
            &none,
            404,
            "ERR_UID_NOT_FOUND",
        ),
        (
            "POST /v3/users/cyclops/auth_tokens",
            &[auth],
            &none,
            200,
            "",
        ),
        ("POST /v3/messages", &by_scott, &message, 200, ""),
        ("GET /v3/conversations", &by_scott, &none, 200, ""),
        ("GET /v3/whatever", &[full], &none, 404, "ERR_API_NOT_FOUND"),
        ("GET /apikeys", &[full], &none, 200, ""),
        ("GET /apikeys", &[auth], &none, 403, "AUTH_ERR_NO_ACCESS"),
    ] {
        let (answered, answer) = call(&gateway, request, headers, body);
        assert_eq!(answered, status, "{request}: {answer}");
        let told = answer["error"]["code"].as_str().unwrap_or_default();
        assert_eq!(told, code, "{request}");
    }
    let (_, keys) = call(&gateway, "GET /v3/apikeys", &[full], &none);
    let mut names: Vec<&str> = (keys["data"].as_array().unwrap().iter())
        .filter_map(|key| key["name"].as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["Auth Key", "Rest API Key"]);
    assert_eq!(call(&upstream, "GET /v3/users/phoenix", &[], &none).0, 200);
    assert_eq!(call(&admin, "GET /readyz", &[], &none).0, 200);

    let (rest, status) = demo.end("-TERM");
    assert_eq!(rest, "", "one line is all that is printed");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_printed_calls_do_what_is_printed_above_them() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("not tried: curl is not there");
        return;
    }
    let mut demo = Demo::start(&[]);
    let mut said = String::new();
    let mut calls = Vec::new();
    loop {
        let line = demo.line();
        assert_ne!(line, "", "the guide ends with how to end it");
        let line = line.trim();
        if let Some(comment) = line.strip_prefix("# ") {
            comment.clone_into(&mut said);
        } else if line.starts_with("curl") {
            calls.push((said.clone(), line.to_owned()));
        } else if line.starts_with("Ctrl-C") {
            break;
        }
    }
    assert!(calls.len() >= 8, "{calls:?}");
    for (said, line) in calls {
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(
            said.contains(status) && !status.is_empty(),
            "{said}\n{line}\n{answer}"
        );
    }
    let (_, status) = demo.end("-INT");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_port_in_use_is_said_with_the_way_around_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let temporary = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_keygate"))
        .args(["demo", "--json", "--listen", &address])
        .env("TMPDIR", temporary.path())
        .env_remove("KEYGATE_SECRET")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--listen 127.0.0.1:0"), "{said}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}
