//! `keygate load` as an operator meets it: the binary, a real gateway or a server that lies behind it, its verdict.

#[path = "load/connections.rs"]
mod connections;
#[path = "load/display.rs"]
mod display;
#[path = "load/ends.rs"]
mod ends;
#[path = "load/http2_server.rs"]
mod http2_server;
#[path = "load/outputs.rs"]
mod outputs;
#[path = "load/server.rs"]
mod server;
#[path = "load/stock.rs"]
mod stock;
mod support;
#[path = "load/wrong_answers.rs"]
mod wrong_answers;

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::certificates::Authority;
use support::{Folder, KEYGATE, ROUTES};

/// A gateway that does not stop counting failed authentications before the test does.
const LIMITS: &str = "[limits]\nfailed_auth = { rate = \"1000000/s\", burst = 1000000000 }\n";

/// `keygate load upstream`, killed when dropped.
struct LoadUpstream {
    child: Child,
    address: SocketAddr,
}

impl LoadUpstream {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(KEYGATE)
            .args(["load", "upstream", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("keygate starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("stdout is piped");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("http://").expect("a URL");
        LoadUpstream {
            address: address.parse().expect("an address"),
            child,
        }
    }
}

impl Drop for LoadUpstream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run said, and how it ended.
struct Ran {
    code: Option<i32>,
    report: Value,
    said: String,
}

/// Runs `keygate load` with its JSON on standard output.
fn load(arguments: &[&str]) -> Ran {
    load_with_input(arguments, "")
}

fn load_with_input(arguments: &[&str], input: &str) -> Ran {
    let mut child = Command::new(KEYGATE)
        .arg("load")
        .args(arguments)
        .args(["--json", "-"])
        .env_remove("KEYGATE_SECRET")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("keygate starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(input.as_bytes()).expect("input");
    drop(stdin);
    Ran::of(child)
}

impl Ran {
    fn of(child: Child) -> Self {
        let output = child.wait_with_output().expect("keygate runs");
        Ran {
            code: output.status.code(),
            report: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            said: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// The answers of each outcome of the first step, as `status code` to a count.
    fn outcomes(&self) -> Vec<(String, u64)> {
        let outcomes = self.report["steps"][0]["outcomes"].as_array();
        let outcomes = outcomes.unwrap_or_else(|| panic!("{}", self.said)).iter();
        let named = outcomes.map(|outcome| {
            let status = outcome["status"].as_u64().expect("a status");
            let name = match outcome["code"].as_str() {
                Some(code) => format!("{status} {code}"),
                None => status.to_string(),
            };
            (name, outcome["answers"].as_u64().expect("a count"))
        });
        named.collect()
    }

    fn assert_ok(&self, answers: u64) {
        assert_eq!(self.code, Some(0), "{}", self.said);
        assert_eq!(self.report["ok"], true, "{}", self.said);
        assert_eq!(self.report["answers"], answers, "{}", self.said);
        assert_eq!(self.report["wrong"], 0);
        let counted: u64 = self.outcomes().iter().map(|(_, count)| count).sum();
        assert_eq!(counted, answers, "{}", self.said);
    }
}

/// A gateway before `keygate load upstream`, with a key of each scope, a disabled and a deleted one.
struct Lab {
    _upstream: LoadUpstream,
    folder: Folder,
    gateway: support::Gateway,
    deleted: String,
}

impl Lab {
    fn start(upstream: &[&str]) -> Self {
        let upstream = LoadUpstream::start(upstream);
        let folder = Folder::new(upstream.address, LIMITS, ROUTES);
        for (name, scope) in [("a", "fullAccess"), ("b", "fullAccess"), ("c", "authOnly")] {
            folder.new_key(name, scope);
        }
        let disabled = folder.new_key("d", "fullAccess");
        let deleted = folder.new_key("e", "fullAccess");
        for (action, key, flag) in [
            ("update", &disabled, "--disable"),
            ("delete", &deleted, "--json"),
        ] {
            let done = folder.keygate(&["keys", action, key, flag]);
            assert!(done.status.success(), "{}", done.stderr);
        }
        let gateway = folder.start();
        Lab {
            _upstream: upstream,
            folder,
            gateway,
            deleted,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.gateway.address)
    }

    fn config(&self) -> String {
        self.folder.config().display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

const NOT_FOUND: &str = "401 AUTH_ERR_APIKEY_NOT_FOUND";
const NO_ACCESS: &str = "403 AUTH_ERR_NO_ACCESS";

#[test]
fn every_kind_of_key_gets_what_the_policy_says_and_none_is_wrong() {
    let lab = Lab::start(&[]);
    let (url, config) = (lab.url(), lab.config());
    let (svg, seed) = (lab.path("latency.svg"), "11");
    let ran = load(&[
        &url,
        "--config",
        &config,
        "--requests",
        "2000",
        "--connections",
        "8",
        "--threads",
        "2",
        "--mix",
        "fullAccess=70,authOnly=15,unknown=5,disabled=5,malformed=4,missing=1",
        "--draw",
        "zipf:1.1",
        "--seed",
        seed,
        "--svg",
        &svg,
        "--route",
        "GET /v3/users/{n} weight=5",
        "--route",
        "POST /users body=1KiB weight=2",
        "--route",
        "PUT /v3/upload body=100KiB",
        "--route",
        "HEAD /v3/users/{n}",
        "--route",
        "GET /open/{n}?q=1",
        "--route",
        "GET /closed",
        "--route",
        "GET /nowhere",
        "--route",
        "PUT /only-get",
        "--route",
        "GET /apikeys",
    ]);
    ran.assert_ok(2000);
    let names: Vec<String> = ran.outcomes().into_iter().map(|(name, _)| name).collect();
    for expected in [
        "200",
        NOT_FOUND,
        "401 AUTH_ERR_EMPTY_APIKEY",
        NO_ACCESS,
        "404 ERR_API_NOT_FOUND",
        "405 ERR_API_NOT_FOUND",
    ] {
        assert!(
            names.iter().any(|name| name == expected),
            "{expected}: {names:?}"
        );
    }
    assert!(
        ran.outcomes().iter().all(|(_, count)| *count > 0),
        "{:?}",
        ran.outcomes()
    );
    let step = &ran.report["steps"][0];
    assert_eq!(ran.report["loop"], "closed");
    assert_eq!(ran.report["threads"].as_array().map(Vec::len), Some(2));
    let latency = |name: &str| step["latency"][name].as_f64().expect(name);
    for (low, high) in [
        ("p50", "p90"),
        ("p90", "p99"),
        ("p99", "p99.9"),
        ("p99.9", "p99.99"),
        ("p99.99", "max"),
    ] {
        assert!(latency(low) <= latency(high), "{low}, {high}");
    }
    let plot = std::fs::read_to_string(svg).expect("a plot");
    assert!(plot.starts_with("<svg ") && plot.ends_with("</svg>\n") && plot.contains("polyline"));
    assert!(
        ran.said.contains("p99.99"),
        "the table is on standard error:\n{}",
        ran.said
    );
}

#[test]
fn keys_come_from_a_file_too_and_the_same_seed_draws_the_same() {
    let lab = Lab::start(&[]);
    let config = lab.config();
    let listed = lab.folder.keygate(&["keys", "list", "--reveal", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let keys = listed.as_array().expect("a list").iter();
    let mut file = format!("# KEY KIND\n{} deleted\n", lab.deleted);
    for key in keys.filter(|key| key["enabled"] == true) {
        let text = key["apiKey"].as_str().expect("a key");
        file.push_str(&format!(
            "{text} {}\n",
            key["scope"].as_str().expect("a scope")
        ));
    }
    lab.folder.write("keys.txt", &file);
    let keys = lab.path("keys.txt");
    let routes = lab.path("routes.list");
    lab.folder.write(
        "routes.list",
        "# two\nGET /v3/x scope=fullAccess\nPOST /users scope=fullAccess,authOnly\n",
    );
    let url = lab.url();
    let run = |seed| {
        load(&[
            &url,
            "--keys",
            &keys,
            "--routes",
            &routes,
            "--requests",
            "1000",
            "--seed",
            seed,
            "--mix",
            "fullAccess=5,authOnly=3,deleted=2",
        ])
    };
    let (one, same, other) = (run("1"), run("1"), run("2"));
    for ran in [&one, &same, &other] {
        ran.assert_ok(1000);
    }
    assert_eq!(one.outcomes(), same.outcomes());
    assert_ne!(one.outcomes(), other.outcomes());

    // The policy knows scopes, the store knows whose they are: the file need not say them.
    let bare: String = file
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{}\n", line.split(' ').next().unwrap_or_default()))
        .collect();
    let ran = load_with_input(
        &[
            &url,
            "--keys",
            "-",
            "--config",
            &config,
            "--requests",
            "500",
            "--mix",
            "authOnly=1,unknown=1",
            "--route",
            "GET /v3/x",
        ],
        &bare,
    );
    ran.assert_ok(500);
    let names: Vec<String> = ran.outcomes().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [NOT_FOUND, NO_ACCESS], "{}", ran.said);
}

#[test]
fn an_open_loop_sends_what_is_due_step_by_step() {
    let lab = Lab::start(&[]);
    let (url, config) = (lab.url(), lab.config());
    let ran = load(&[
        &url,
        "--config",
        &config,
        "--route",
        "GET /v3/{n}",
        "--mix",
        "fullAccess=1",
        "--steps",
        "200,400",
        "--ramp",
        "200ms",
        "--warmup",
        "200ms",
        "--duration",
        "1s",
        "-t",
        "2",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert_eq!(ran.report["loop"], "open");
    let steps = ran.report["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 2);
    let unsent = ran.report["unsent"].as_u64().expect("a count");
    let mut measured = 0;
    for (step, rate) in steps.iter().zip([200, 400]) {
        assert_eq!(step["rate"].as_f64(), Some(f64::from(rate)));
        assert!(step["lag"]["p99"].as_f64().is_some(), "{step}");
        measured += step["answers"].as_u64().expect("a count");
    }
    // 600 are due in the steps, give or take one where a phase ends, and 60 before.
    assert!(
        measured + unsent >= 598 && measured <= 602,
        "{measured}, {unsent}"
    );
    let all = ran.report["answers"].as_u64().expect("a count") + unsent;
    assert!((657..=662).contains(&all), "{all}");
}

#[test]
fn http2_and_tls_are_spoken_and_judged_alike() {
    let upstream = LoadUpstream::start(&[]);
    let authority = Authority::new("tests");
    let folder = support::certificates::folder(
        upstream.address,
        "tls = { cert = \"one.pem\", key = \"one.key\" }",
        LIMITS,
        ROUTES,
    );
    authority.sign(&["localhost"]).write(folder.path(), "one");
    folder.new_key("a", "fullAccess");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).expect("write");
    let gateway = folder.start();
    let config = folder.config().display().to_string();
    let ca = ca.display().to_string();
    let url = format!("https://localhost:{}", gateway.address.port());
    let shared = [
        &url,
        "--config",
        &config,
        "--requests",
        "600",
        "--connections",
        "3",
        "--mix",
        "fullAccess=2,unknown=1",
        "--route",
        "GET /v3/{n}",
        "--route",
        "POST /users body=100KiB",
    ];
    for (more, protocol) in [
        (&["--ca", &ca][..], "HTTP/1.1"),
        (&["--ca", &ca, "--http2", "--streams", "7"], "HTTP/2"),
    ] {
        let ran = load(&[&shared[..], more].concat());
        ran.assert_ok(600);
        assert_eq!(ran.report["protocol"], protocol);
        assert_eq!(ran.report["tls"], true);
    }
    // Whoever is not vouched for is not spoken to.
    let others = folder.path().join("others.pem");
    std::fs::write(&others, &Authority::new("others").pem).expect("write");
    let others = others.display().to_string();
    let ran = load(&[&shared[..], &["--ca", &others]].concat());
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert!(ran.said.contains("certificate"), "{}", ran.said);
}

#[test]
fn http2_in_clear_text_needs_no_more_than_the_word() {
    let lab = Lab::start(&[]);
    let (url, config) = (lab.url(), lab.config());
    let ran = load(&[
        &url,
        "--config",
        &config,
        "--requests",
        "500",
        "--http2",
        "-c",
        "2",
        "--mix",
        "fullAccess=1,missing=1",
        "--route",
        "PUT /v3/{n} body=10",
    ]);
    ran.assert_ok(500);
}

/// The arguments of a run with one key, read from standard input, against a server without a policy.
fn arguments_against(server: SocketAddr, mix: &str) -> Vec<String> {
    let url = format!("http://{server}");
    let arguments = ["load", &url, "--keys", "-", "--mix", mix, "--json", "-"];
    arguments.map(str::to_owned).to_vec()
}

/// Gives a run its key.
fn feed(child: &mut Child) {
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let line = format!("{} fullAccess\n", server::KEY);
    stdin.write_all(line.as_bytes()).expect("input");
}

fn against(server: SocketAddr, mix: &str, more: &[&str]) -> Ran {
    let mut child = Command::new(KEYGATE)
        .args(arguments_against(server, mix))
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("keygate starts");
    feed(&mut child);
    Ran::of(child)
}

#[test]
fn the_upstream_lies_when_it_is_told_to_and_the_gateway_passes_it_on() {
    let lab = Lab::start(&["--wrong-every", "400"]);
    let (url, config) = (lab.url(), lab.config());
    let ran = load(&[
        &url,
        "--config",
        &config,
        "--requests",
        "1000",
        "--mix",
        "valid=1",
        "--route",
        "GET /open/x",
    ]);
    assert_eq!(
        (ran.code, &ran.report["wrong"]),
        (Some(1), &Value::from(2)),
        "{}",
        ran.said
    );
}

#[test]
fn what_cannot_be_run_is_said_with_what_to_do() {
    let lab = Lab::start(&[]);
    let (url, config) = (lab.url(), lab.config());
    let closed = TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("an address");
    let closed = format!("http://{closed}");
    let missing = lab.path("missing.txt");
    for (arguments, code, expected) in [
        (&[&*closed][..], 1, "cannot be reached"),
        (
            &[&url, "--config", &config, "--mix", "deleted=1"],
            2,
            "KEY deleted",
        ),
        (
            &[&url, "--config", &config, "--mix", "reader=1"],
            2,
            "keys create --scope reader",
        ),
        (&[&url, "--keys", &missing], 2, "missing.txt"),
        (&[&url, "--mix", "fullAccess"], 2, "KIND=SHARE"),
        (&[&url, "--route", "GET users"], 2, "begins with `/`"),
        (&[&url, "--rate", "0"], 2, "requests per second"),
        (&[&url, "--duration", "0s"], 2, "above 0"),
        (&[&url, "--duration", "soon"], 2, "500ms"),
        (&["127.0.0.1:80"], 2, "expected a URL"),
        (&[&url, "--http2", "--host", "a b"], 2, "--host"),
        (
            &[&url, "--http2", "--route", "GET /<a>"],
            2,
            "begins with `/`",
        ),
        (&[&url, "--connections", "9999999999"], 2, "ulimit"),
        (
            &["https://a/v3", "--route", "GET /"],
            2,
            "write it into them",
        ),
        (&[], 2, "URL"),
    ] {
        let ran = load(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.said);
        assert!(ran.said.contains(expected), "{arguments:?}: {}", ran.said);
    }
}

#[test]
fn a_signal_ends_a_run_with_what_was_measured() {
    let lab = Lab::start(&[]);
    let url = lab.url();
    let config = lab.config();
    let mut child = Command::new(KEYGATE)
        .args([
            "load",
            &url,
            "--config",
            &config,
            "--duration",
            "1h",
            "--route",
            "GET /open/x",
            "--json",
            "-",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("keygate starts");
    // It runs when requests come to the gateway.
    lab.gateway.eventually(
        || lab.gateway.admin("/metrics").text(),
        |metrics| {
            metrics.lines().any(|line| {
                line.starts_with("keygate_requests_total{")
                    && line.contains("forwarded")
                    && !line.ends_with(" 0")
            })
        },
    );
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
    let mut text = String::new();
    child
        .stdout
        .take()
        .expect("stdout")
        .read_to_string(&mut text)
        .expect("text");
    assert_eq!(child.wait().expect("an end").code(), Some(0), "{text}");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&report["interrupted"], &report["ok"]),
        (&Value::from(true), &Value::from(true))
    );
    assert!(report["steps"][0]["answers"].as_u64() > Some(0), "{report}");
}

#[test]
fn the_help_tells_all_there_is_to_know() {
    let output = Command::new(KEYGATE)
        .args(["load", "--help"])
        .output()
        .expect("keygate runs");
    let said = String::from_utf8(output.stdout).expect("text");
    for word in ["Examples:", "Exit codes:", "--steps", "upstream", "zipf"] {
        assert!(said.contains(word), "{word}");
    }
    assert!(Path::new(KEYGATE).exists());
}
