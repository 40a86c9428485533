//! `keygate explain` and a live gateway say the same of every request.

mod support;

use keygate::clock::Timestamp;
use keygate::config::{self, Loaded, Secrets};
use keygate::explain::{Caller, Explanation, explain};
use keygate::key::ScopeName;
use keygate::policy::Asked;
use support::house::House;
use support::{Folder, ROUTES, Upstream};

/// A seeded draw; the same policies and requests in every run.
struct Draw(fastrand::Rng);

impl Draw {
    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.0.usize(..all.len())]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.0.u32(..100) < percent
    }

    fn path(&mut self, segments: &[&str]) -> String {
        let depth = self.0.usize(1..=3);
        let mut path: String = (0..depth)
            .map(|_| format!("/{}", self.of(segments)))
            .collect();
        if self.chance(15) {
            path.push('/');
        }
        path
    }

    /// A policy that loads: routes that collide are drawn again.
    fn policy(&mut self) -> String {
        let mut policy = "[scopes]\nauthOnly = []\nfullAccess = [\"authOnly\"]\n[defaults]\nupstream = \"chat\"\n".to_owned();
        let routes = self.0.usize(3..=12);
        let mut written = 0;
        for _ in 0..routes * 4 {
            let mut route = "[[routes]]\n".to_owned();
            let mut path = self
                .path(&["a", "b", "{x}", "c%20d"])
                .replacen("{x}", "{y}", 1);
            if self.chance(25) {
                path = format!("{}/{{*rest}}", path.trim_end_matches('/'));
            }
            route.push_str(&format!("path = \"{path}\"\n"));
            if self.chance(60) {
                let method = self.of(&["\"GET\"", "\"POST\"", "\"GET\", \"PURGE\"", "\"HEAD\""]);
                route.push_str(&format!("methods = [{method}]\n"));
            }
            if self.chance(30) {
                let host = self.of(&["a.example", "*.example", "b.a.example"]);
                route.push_str(&format!("host = \"{host}\"\n"));
            }
            if self.chance(20) {
                route.push_str("allow = [\"encoded-slash\", \"semicolon\"]\n");
            }
            if self.chance(20) {
                route.push_str("strip_prefix = \"/a\"\nadd_prefix = \"/up\"\n");
            }
            if self.chance(10) {
                route.push_str("maintenance = { status = 503, message = \"soon\" }\n");
            }
            route.push_str(self.of(&[
                "scope = \"authOnly\"\n",
                "scope = \"fullAccess\"\n",
                "scope = \"fullAccess\"\n",
                "access = \"public\"\n",
                "access = \"deny\"\n",
            ]));
            let longer = format!("{policy}{route}");
            let main =
                "include = [\"r.toml\"]\n[upstreams.chat]\nservers = [\"http://127.0.0.1:1\"]\n";
            if config::load_texts(main, &[("r.toml", &longer)]).is_ok() {
                policy = longer;
                written += 1;
            }
            if written == routes {
                break;
            }
        }
        policy
    }

    fn request(&mut self) -> Asked {
        let segments = [
            "a", "a", "a", "b", "b", "a", "b", "z", "c%20d", "c%2520d", "%61", "x%2Fy", "p;q",
            "..", "é",
        ];
        let mut target = self.path(&segments);
        if self.chance(8) {
            target = self
                .of(&["/apikeys", "/apikeys/", "//a", "/v3/apikeys/none"])
                .to_owned();
        }
        if self.chance(20) {
            target.push_str("?q=%zz&a=/..");
        }
        let hosts = [
            "a.example",
            "b.a.example",
            "A.Example:80",
            "other",
            "other",
            "other:1",
            "x.example",
            "bad,host",
        ];
        Asked {
            method: self
                .of(&[
                    "GET", "GET", "POST", "POST", "HEAD", "PURGE", "OPTIONS", "TRACE",
                ])
                .parse()
                .expect("a method"),
            target,
            host: Some(self.of(&hosts).to_owned()),
        }
    }
}

fn explained<'l>(loaded: &'l Loaded, asked: &Asked, caller: &Caller) -> Explanation<'l> {
    let rules = loaded.hot.admit_rules(&loaded.cold);
    explain(
        &loaded.hot,
        &rules,
        asked.clone(),
        caller.clone(),
        Timestamp::now(),
    )
}

#[test]
fn explain_and_a_live_gateway_agree_on_random_policies_and_requests() {
    let mut draw = Draw(fastrand::Rng::with_seed(6));
    let (mut through, mut refused) = (0, std::collections::BTreeMap::new());
    for _ in 0..8 {
        let policy = draw.policy();
        let house = House::of(Upstream::echo(), "", &policy);
        let loaded = config::load(&house.folder.config(), Secrets::Skipped).expect("a policy");
        for _ in 0..200 {
            let asked = draw.request();
            let scope = draw.of(&[
                "",
                "authOnly",
                "authOnly",
                "fullAccess",
                "fullAccess",
                "fullAccess",
                "unknown",
            ]);
            let (caller, key) = match scope {
                "" => (Caller::Anyone, String::new()),
                "unknown" => (Caller::Unknown, format!("apikey: {}\r\n", "n".repeat(40))),
                "authOnly" => (of_scope(scope), format!("apikey: {}\r\n", house.auth)),
                _ => (of_scope(scope), format!("apikey: {}\r\n", house.full)),
            };
            let told = explained(&loaded, &asked, &caller);
            let host = asked.host.as_deref().expect("a host");
            let head = format!(
                "{} {} HTTP/1.1\r\nHost: {host}\r\n{key}Connection: close\r\nContent-Length: 0\r\n\r\n",
                asked.method, asked.target
            );
            let before = house.upstream.seen().len();
            let mut client = house.gateway.connect();
            client.send(&head);
            let answer = client.answer(asked.method == "HEAD");
            let seen = house.upstream.seen();
            let what = format!("{head}{policy}\n{told}");
            match &told.refused {
                None if told.json()["leadsTo"]["kind"] == "management" => {
                    // Its own refusals (no such key, a body that lacks) are not those of the policy.
                    assert!(
                        ![401, 405].contains(&answer.status),
                        "{}: {what}",
                        answer.status
                    );
                    through += 1;
                }
                None => {
                    assert_eq!(answer.status, 200, "{what}");
                    assert_eq!(seen.len(), before + 1, "{what}");
                    let target = told.json()["leadsTo"]["target"].clone();
                    assert_eq!(
                        seen[before].target(),
                        target.as_str().expect("a target"),
                        "{what}"
                    );
                    through += 1;
                }
                Some(why) => {
                    assert_eq!(answer.status, why.status, "{what}");
                    if asked.method != "HEAD" {
                        assert_eq!(answer.code(), why.code, "{what}");
                    }
                    assert_eq!(seen.len(), before, "{what}");
                    *refused.entry(why.status).or_insert(0) += 1;
                }
            }
        }
    }
    // Enough of each, so that agreement means something.
    assert!(through > 80, "{through}");
    for status in [400, 401, 403, 404, 405, 503] {
        let count = refused.get(&status).copied().unwrap_or(0);
        assert!(count >= 3, "{status}: {refused:?}");
    }
}

fn of_scope(name: &str) -> Caller {
    Caller::Scope(ScopeName::parse(name).expect("a scope"))
}

fn folder() -> Folder {
    Folder::new(([127, 0, 0, 1], 9).into(), "", ROUTES)
}

#[test]
fn a_decision_is_told_step_by_step() {
    let folder = folder();
    let told = folder.keygate(&["explain", "POST", "/users", "--scope", "authOnly"]);
    assert_eq!(
        told.stdout
            .replace(&folder.path().display().to_string(), "DIR"),
        "request   POST /users\n\
         target    /users\n\
         route     `POST /users` at DIR/routes.toml:13:1\n\
         needs     a key of scope authOnly or fullAccess\n\
         caller    a key of scope authOnly\n\
         outcome   let through\n\
         leads to  chat (127.0.0.1:9)\n\
         \x20         as POST /users, Host: its own\n"
    );
    let told = folder.keygate(&["explain", "POST", "/%75sers?a", "--host", "Example:80"]);
    let said = told.stdout;
    assert!(
        said.contains("target    /users?a   (in its one reading)\n"),
        "{said}"
    );
    assert!(said.contains("caller    no key\n"), "{said}");
    assert!(
        said.contains("outcome   401 AUTH_ERR_EMPTY_APIKEY: no key was sent\n"),
        "{said}"
    );
    let told = folder.keygate(&["explain", "PUT", "/only-get", "--scope", "fullAccess"]);
    let said = told.stdout;
    assert!(said.contains("route     none takes PUT\n"), "{said}");
    assert!(
        said.contains("routes.toml:17:1: it does not take PUT\n"),
        "{said}"
    );
    assert!(said.contains("outcome   405 ERR_API_NOT_FOUND"), "{said}");
    let told = folder.keygate(&["explain", "GET", "/v3/a/../b", "--scope", "fullAccess"]);
    assert!(
        told.stdout.contains("refused before routes"),
        "{}",
        told.stdout
    );
    assert!(
        told.stdout
            .contains("outcome   400 ERR_BAD_REQUEST: a path has no"),
        "{}",
        told.stdout
    );
}

#[test]
fn a_key_of_the_store_is_who_it_is() {
    let folder = folder();
    let key = folder.new_key("Mobile", "authOnly");
    let listed = folder.keygate(&["keys", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let id = listed["keys"][0]["id"]
        .as_str()
        .or(listed[0]["id"].as_str());
    let id = id.unwrap_or_else(|| panic!("{listed}"));
    let told = |arguments: &[&str]| {
        let all = [&["explain", "GET", "/v3/x", "--json"], arguments].concat();
        let ran = folder.keygate(&all);
        assert!(ran.status.success(), "{}", ran.stderr);
        serde_json::from_str::<serde_json::Value>(&ran.stdout).expect("JSON")
    };
    let by_id = told(&["--key-id", id]);
    assert_eq!(by_id["caller"]["name"], "Mobile");
    assert_eq!(by_id["refused"]["code"], "AUTH_ERR_NO_ACCESS");
    assert!(!by_id.to_string().contains(&key));
    assert!(
        folder
            .keygate(&["keys", "update", id, "--disable"])
            .status
            .success()
    );
    assert_eq!(
        told(&["--key-id", id])["refused"]["code"],
        "AUTH_ERR_APIKEY_NOT_FOUND"
    );
    let unknown = told(&["--key-id", "00000000000000000000"]);
    assert_eq!(unknown["caller"]["kind"], "unknown");
    for wrong in [
        &["explain", "GET", "/x", "--scope", "nobody"][..],
        &["explain", "GET", "/x", "--key-id", "x"],
        &["explain", "GET", "/x", "--scope", "authOnly", "--key-stdin"],
        &["explain", "G T", "/x"],
    ] {
        assert_eq!(folder.keygate(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn an_id_is_no_key_and_a_closed_route_leads_nowhere() {
    let folder = folder();
    folder.new_key("Mobile", "authOnly");
    let listed = folder.keygate(&["keys", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let id = listed["keys"][0]["id"]
        .as_str()
        .or(listed[0]["id"].as_str());
    let id = id.unwrap_or_else(|| panic!("{listed}")).to_owned();
    for (sent, kind) in [(id.as_str(), "unknown"), ("short", "malformed")] {
        let mut child = std::process::Command::new(support::KEYGATE)
            .args([
                "explain",
                "POST",
                "/users",
                "--key-stdin",
                "--json",
                "--config",
            ])
            .arg(folder.config())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("keygate");
        let mut stdin = child.stdin.take().expect("piped");
        std::io::Write::write_all(&mut stdin, sent.as_bytes()).expect("send");
        drop(stdin);
        let told = child.wait_with_output().expect("an end");
        let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("JSON");
        assert_eq!(told["caller"]["kind"], kind, "{told}");
        assert_eq!(
            told["refused"]["code"], "AUTH_ERR_APIKEY_NOT_FOUND",
            "{told}"
        );
    }
    // A gateway without an upstream may have closed routes.
    let main = "include = [\"routes.toml\"]\n";
    let routes = "[scopes]\nfullAccess = []\n[[routes]]\npath = \"/{*rest}\"\naccess = \"deny\"\n";
    let closed = Folder::with_main(main, routes);
    let told = closed.keygate(&["explain", "GET", "/x", "--scope", "fullAccess"]);
    assert!(
        told.stdout.contains("outcome   403 AUTH_ERR_NO_ACCESS"),
        "{told:?}"
    );
    assert!(!told.stdout.contains("leads to"), "{told:?}");
}
