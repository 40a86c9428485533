//! Why a certain request was refused, asked of the gateway that refused it, and what it would decide about any other.

mod support;

use serde_json::Value;
use std::fs;
use support::operated::main_text;
use support::{Answer, Client, Folder, Gateway, Output, ROUTES, Upstream};

fn folder(upstream: &Upstream) -> Folder {
    let main = main_text(upstream.address, "").replace("workers = 1", "workers = 2");
    Folder::with_main(&main, ROUTES)
}

/// Asks with the token.
fn ask(folder: &Folder, gateway: &Gateway, target: &str) -> Answer {
    let token = fs::read_to_string(folder.path().join("secret/admin-token")).expect("a token");
    let mut client = Client::connect(gateway.admin);
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        gateway.admin,
        token.trim()
    ));
    client.answer(false)
}

fn keygate(folder: &Folder, gateway: &Gateway, arguments: &[&str]) -> Output {
    let admin = format!("http://{}", gateway.admin);
    let mut all = arguments.to_vec();
    all.extend(["--admin", &admin]);
    folder.keygate(&all)
}

fn id(answer: &Answer) -> String {
    answer.header("x-request-id").expect("an id").to_owned()
}

#[test]
fn a_refusal_tells_what_was_asked_what_decided_and_why() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream);
    let weak = folder.new_key("weak", "authOnly");
    let gateway = folder.start();
    let key = format!("apikey: {weak}");
    let unknown = "apikey: nobody-has-this-key-0123456789abcdef".to_owned();
    // What is asked; the status; a word of the cause; the route; whether the key is known.
    type Row<'a> = (&'a str, &'a [&'a str], u16, &'a str, Option<&'a str>, bool);
    let rows: [Row<'_>; 8] = [
        (
            "GET /v3/a?secret=1",
            &[],
            401,
            "no key",
            Some("/v3/{*rest}"),
            false,
        ),
        (
            "GET /v3/a?secret=1",
            &[&unknown],
            401,
            "no such key",
            Some("/v3/{*rest}"),
            false,
        ),
        (
            "GET /v3/a",
            &["apikey: short"],
            401,
            "cannot be a key",
            Some("/v3/{*rest}"),
            false,
        ),
        (
            "GET /v3/a",
            &[&key],
            403,
            "scope",
            Some("/v3/{*rest}"),
            true,
        ),
        (
            "GET /closed",
            &[&key],
            403,
            "closed for everyone",
            Some("/closed"),
            true,
        ),
        ("DELETE /users", &[&key], 405, "method", None, true),
        (
            "GET /nowhere?secret=1",
            &[&key],
            404,
            "no route",
            None,
            true,
        ),
        ("GET /v3/../a", &[&key], 400, "`..` segment", None, false),
    ];
    for (line, headers, status, why, route, known) in rows {
        let refused = gateway.call(line, headers, "");
        assert_eq!(refused.status, status, "{line}");
        let answer = ask(&folder, &gateway, &format!("/decisions/{}", id(&refused)));
        assert_eq!(answer.status, 200, "{line}: {}", answer.text());
        let told = answer.json();
        assert_eq!(told["status"], status, "{told}");
        assert_eq!(told["generation"], 1, "{told}");
        assert_eq!(told["host"], "gateway.test", "{told}");
        let (method, target) = line.split_once(' ').expect("two words");
        let path = target.split('?').next().expect("a path");
        assert_eq!(
            (&told["method"], &told["path"]),
            (&method.into(), &path.into()),
            "{told}"
        );
        assert!(
            told["why"].as_str().is_some_and(|t| t.contains(why)),
            "{line}: {told}"
        );
        let path = told["route"]["path"].as_str();
        assert_eq!(path, route, "{told}");
        assert_eq!(told["keyId"].is_string(), known, "{told}");
        for secret in ["secret=1", &weak, "nobody-has-this-key"] {
            assert!(!answer.text().contains(secret), "{secret}: {told}");
        }
        // What would be decided now is the same; where the head itself is refused, who asked is not known.
        let now = &told["now"]["refused"]["status"];
        assert!(*now == status || (now.is_null() && status == 400), "{told}");
        let cli = keygate(&folder, &gateway, &["explain", "--request", &id(&refused)]);
        assert!(cli.status.success(), "{}", cli.stderr);
        for said in [why, &status.to_string(), "generation 1"] {
            assert!(cli.stdout.contains(said), "{said}: {}", cli.stdout);
        }
    }
    let list = ask(&folder, &gateway, "/decisions?limit=3").json();
    let list = list["decisions"].as_array().expect("a list").clone();
    assert_eq!(list.len(), 3, "{list:?}");

    // What was let through is not remembered, nor what never was.
    let through = gateway.call("POST /users", &[&key], "");
    for id in [id(&through), "0123456789abcdef".to_owned()] {
        let answer = ask(&folder, &gateway, &format!("/decisions/{id}"));
        assert_eq!(answer.status, 404, "{}", answer.text());
        let cli = keygate(&folder, &gateway, &["explain", "--request", &id]);
        assert_eq!(cli.status.code(), Some(1), "{}", cli.stdout);
        assert!(cli.stderr.contains("remembered"), "{}", cli.stderr);
    }
}

#[test]
fn what_was_refused_may_be_permitted_now() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream);
    let weak = folder.new_key("weak", "authOnly");
    let gateway = folder.start();
    let key = format!("apikey: {weak}");
    let refused = id(&gateway.call("GET /only-get", &[&key], ""));
    let opened = ROUTES.replace(
        "methods = [\"GET\"]\nscope = \"fullAccess\"",
        "methods = [\"GET\"]\nscope = \"authOnly\"",
    );
    assert_ne!(opened, ROUTES);
    folder.write("routes.toml", &opened);
    // Asked for by its number: a test that knocked until it was let in would push out what it asks about.
    gateway.eventually(
        || gateway.admin("/status").json()["policy"]["generation"].clone(),
        |generation| *generation == 2,
    );
    assert_eq!(gateway.call("GET /only-get", &[&key], "").status, 200);
    let told = ask(&folder, &gateway, &format!("/decisions/{refused}")).json();
    assert_eq!(
        (told["status"].as_u64(), told["generation"].as_u64()),
        (Some(403), Some(1)),
        "{told}"
    );
    assert_eq!(
        (
            &told["now"]["permitted"],
            told["now"]["generation"].as_u64()
        ),
        (&true.into(), Some(2)),
        "{told}"
    );
    let cli = keygate(&folder, &gateway, &["explain", "--request", &refused]);
    assert!(cli.stdout.contains("let through by"), "{}", cli.stdout);
}

#[test]
fn no_key_is_told_wherever_a_client_writes_it() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream);
    let weak = folder.new_key("weak", "authOnly");
    let gateway = folder.start();
    let key = format!("apikey: {weak}");
    let mut ids = Vec::new();
    for line in [
        format!("GET /apikeys/{weak}"),
        format!("GET /apikeys/{weak}/more"),
        format!("GET /v3/apikeys/{weak}"),
        format!("GET /v9/apikeys/{weak}"),
        format!("GET /nowhere/{weak}?key={weak}"),
        format!("GET /nowhere/key={weak}"),
        format!("GET /v3//{weak}"),
        format!("GET /nowhere/{weak}.json"),
        format!("GET /nowhere/bot{weak}/send"),
        format!("GET /nowhere/%7B{weak}%7D"),
        format!("{weak} /nowhere"),
    ] {
        let refused = gateway.call(&line, &[&key], "");
        assert!(refused.status >= 400, "{line}: {}", refused.status);
        ids.push(id(&refused));
    }
    for host in [format!("{weak}.a.test"), format!("{weak}@a.test")] {
        let mut client = gateway.connect();
        client.send(format!("GET /nowhere HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        ids.push(id(&client.answer(false)));
    }
    for id in &ids {
        let answer = ask(&folder, &gateway, &format!("/decisions/{id}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(!answer.text().contains(&weak), "{}", answer.text());
        assert!(!answer.text().contains(&weak[1..]), "{}", answer.text());
    }
    let path = |at: usize| {
        ask(&folder, &gateway, &format!("/decisions/{}", ids[at])).json()["path"].clone()
    };
    assert_eq!(
        (path(0), path(3), path(7)),
        (
            Value::Null,
            "/v9/apikeys/…".into(),
            "/nowhere/….json".into()
        )
    );
    let all = ask(&folder, &gateway, "/decisions");
    assert_eq!(
        all.json()["decisions"].as_array().map(Vec::len),
        Some(ids.len())
    );
    assert!(!all.text().contains(&weak));
}

#[test]
fn only_the_most_recent_refusals_are_remembered_and_only_operators_are_told() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream);
    let weak = folder.new_key("weak", "authOnly");
    let gateway = folder.start();
    // One connection is served by one worker, which remembers 512 of each kind: this one stays, whatever strangers do.
    let mut client = gateway.connect();
    let kept = id(&client.call("GET /only-get", &[&format!("apikey: {weak}")], ""));
    for _ in 0..520 {
        assert_eq!(client.call("GET /..", &[], "").status, 400);
    }
    let long = id(&client.call(&format!("{} /v3/a", "A".repeat(4000)), &[], ""));
    let mut ids = Vec::new();
    for _ in 0..600 {
        ids.push(id(&client.call("GET /v3/a", &[], "")));
    }
    let told = |id: &String| ask(&folder, &gateway, &format!("/decisions/{id}")).status;
    assert_eq!((told(&ids[0]), told(&ids[87])), (404, 404));
    assert_eq!(
        (told(&ids[88]), told(&ids[599]), told(&kept)),
        (200, 200, 200)
    );
    let method = ask(&folder, &gateway, &format!("/decisions/{long}")).json()["method"].clone();
    assert_eq!(method, Value::Null);
    let list = ask(&folder, &gateway, "/decisions?limit=600").json();
    let stranger = |told: &&Value| told["status"] == 401;
    let strangers = list["decisions"].as_array().expect("a list").iter();
    assert_eq!(strangers.filter(stranger).count(), 512);
    assert_eq!(list["decisions"][0]["id"], ids[599].as_str());

    for target in [
        "/decisions",
        &format!("/decisions/{}", ids[599]),
        "/explain?target=/v3/a",
    ] {
        let mut client = Client::connect(gateway.admin);
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n",
            gateway.admin
        ));
        assert_eq!(client.answer(false).status, 401, "{target}");
    }
    for (target, status) in [
        ("/decisions?limit=x", 400),
        ("/decisions?page=2", 400),
        ("/explain", 400),
        ("/explain?target=/v3/a&scope=none", 400),
        (
            "/explain?target=/v3/a&scope=authOnly&keyId=aaaaaaaaaaaaaaaaaaaa",
            400,
        ),
        ("/explain?target=/v3/a&keyId=x", 400),
    ] {
        assert_eq!(ask(&folder, &gateway, target).status, status, "{target}");
    }
}

#[test]
fn the_listener_explains_as_the_command_does() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream);
    let made = folder.keygate(&[
        "keys", "create", "--name", "weak", "--scope", "authOnly", "--json",
    ]);
    let made: Value = serde_json::from_str(&made.stdout).expect("JSON");
    let text = |name: &str| made[name].as_str().expect(name).to_owned();
    let (weak, key_id) = (text("apiKey"), text("id"));
    let gateway = folder.start();
    for (query, arguments) in [
        ("target=/v3/a", vec!["GET", "/v3/a"]),
        (
            "target=/v3/a&scope=authOnly",
            vec!["GET", "/v3/a", "--scope", "authOnly"],
        ),
        (
            "target=/v3/a%3Fx=1&scope=fullAccess&method=DELETE&host=a.example",
            vec![
                "DELETE",
                "/v3/a?x=1",
                "--scope",
                "fullAccess",
                "--host",
                "a.example",
            ],
        ),
        ("target=/v3/%252e%252e/a", vec!["GET", "/v3/%2e%2e/a"]),
        (
            "target=/users&method=POST&keyId=ID",
            vec!["POST", "/users", "--key-id", "ID"],
        ),
        (
            "target=/users&method=POST&keyId=aaaaaaaaaaaaaaaaaaaa",
            vec!["POST", "/users", "--key-id", "aaaaaaaaaaaaaaaaaaaa"],
        ),
    ] {
        let query = query.replace("ID", &key_id);
        let arguments: Vec<String> = arguments.iter().map(|a| a.replace("ID", &key_id)).collect();
        let mut all = vec!["explain", "--json"];
        all.extend(arguments.iter().map(String::as_str));
        let cli = folder.keygate(&all);
        assert!(cli.status.success(), "{query}: {}", cli.stderr);
        let command: Value = serde_json::from_str(&cli.stdout).expect("JSON");
        let answer = ask(&folder, &gateway, &format!("/explain?{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        assert!(!answer.text().contains(&weak));
        let mut listener = answer.json();
        assert_eq!(listener["generation"].take(), 1);
        listener
            .as_object_mut()
            .expect("an object")
            .remove("generation");
        assert_eq!(listener, command, "{query}");
    }
}
