//! Reloads that an operator has a say in: widening that waits to be confirmed, generations that are gone back to and pinned,
//! what a restart makes of both, and who may ask for any of it.

mod support;

use serde_json::Value;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use support::operated::main_text;
use support::{Answer, Client, Folder, Gateway, KEYGATE, Output, ROUTES, Upstream};

/// A route that lets authOnly keys do more.
const WIDER: &str = "[[routes]]\npath = \"/reports\"\nscope = \"authOnly\"\n";

const CONFIRM: &str = "[reload]\nwidening = \"confirm\"\n";

/// A configuration whose operators have a token.
fn folder(more: &str, routes: &str) -> Folder {
    Folder::with_main(&main_text(([127, 0, 0, 1], 9).into(), more), routes)
}

fn token(folder: &Folder) -> String {
    let text = fs::read_to_string(folder.path().join("secret/admin-token")).expect("a token");
    text.trim().to_owned()
}

fn policy(gateway: &Gateway) -> Value {
    gateway.admin("/status").json()["policy"].clone()
}

/// Waits until `/status` is as wanted.
fn until(gateway: &Gateway, wanted: impl Fn(&Value) -> bool) -> Value {
    gateway.eventually(|| policy(gateway), wanted)
}

/// A command that asks this gateway.
fn ask(folder: &Folder, gateway: &Gateway, arguments: &[&str]) -> Output {
    let admin = format!("http://{}", gateway.admin);
    let mut all = arguments.to_vec();
    all.extend(["--admin", &admin]);
    folder.keygate(&all)
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

/// Whether the policy in force has a route of this path.
fn knows(gateway: &Gateway, path: &str) -> bool {
    let form = gateway.admin("/policy").json();
    let routes = form["routes"].as_array().expect("a list").clone();
    routes.iter().any(|route| route["path"] == path)
}

fn post(gateway: &Gateway, target: &str, headers: &[&str]) -> Answer {
    let mut client = Client::connect(gateway.admin);
    let headers = headers.iter().map(|line| format!("{line}\r\n"));
    let head: String = headers.collect();
    client.send(format!("POST {target} HTTP/1.1\r\n{head}\r\n"));
    client.answer(false)
}

#[test]
fn only_who_shows_the_token_and_is_no_web_page_changes_anything() {
    let folder = folder(CONFIRM, ROUTES);
    let gateway = folder.start();
    // What a request that got through would do.
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    let waiting = until(&gateway, |policy| !policy["unconfirmed"].is_null());
    let hash = waiting["unconfirmed"]["hash"]
        .as_str()
        .expect("a hash")
        .to_owned();
    let reload = &*format!("/reload?confirm={hash}");
    let path = folder.path().join("secret/admin-token");
    let mode = fs::metadata(&path).expect("a token").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let token = token(&folder);
    assert_eq!(token.len(), 64);
    let bearer = format!("Authorization: Bearer {token}");
    let wrong = format!("Authorization: Bearer {}", "0".repeat(64));
    let short = format!("Authorization: Bearer {}", &token[..63]);
    let host = format!("Host: {}", gateway.admin);
    let rows: [(&str, &str, &[&str], u16); 19] = [
        (
            "all is right, unconfirmed",
            "/reload",
            &[&host, &bearer],
            409,
        ),
        ("by name", "/reload", &["Host: localhost:1", &bearer], 409),
        ("no token", reload, &[&host], 401),
        ("another token", reload, &[&host, &wrong], 401),
        ("a part of it", reload, &[&host, &short], 401),
        ("twice", reload, &[&host, &bearer, &bearer], 401),
        (
            "as a password",
            reload,
            &[&host, "Authorization: Basic abc"],
            401,
        ),
        ("a web page", reload, &[&host, &bearer, "Origin: null"], 403),
        (
            "its own page",
            reload,
            &[&host, &bearer, &format!("Origin: http://{}", gateway.admin)],
            403,
        ),
        (
            "a rebound name",
            reload,
            &["Host: evil.example", &bearer],
            403,
        ),
        ("no host", reload, &[&bearer], 403),
        ("two hosts", reload, &[&host, &host, &bearer], 403),
        (
            "in the query",
            &format!("{reload}&token={token}"),
            &[&host],
            401,
        ),
        (
            "an unknown parameter",
            "/reload?confrim=01234567",
            &[&host, &bearer],
            400,
        ),
        (
            "a parameter twice",
            &format!("{reload}&confirm={hash}"),
            &[&host, &bearer],
            400,
        ),
        ("no hash", "/reload?confirm=0123", &[&host, &bearer], 400),
        ("rollback too", "/rollback", &[&host], 401),
        ("to nowhere", "/rollback?to=99", &[&host, &bearer], 404),
        ("what only tells", "/status", &[&host, &bearer], 405),
    ];
    for (what, target, headers, status) in rows {
        let answer = post(&gateway, target, headers);
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert!(!answer.text().contains(&token), "{what}");
    }
    assert_eq!(gateway.admin("/reload").status, 405);
    assert_eq!(policy(&gateway)["generation"], 1);
    assert!(!gateway.log().contains(&token));
    let confirmed = post(&gateway, reload, &[&host, &bearer]);
    assert_eq!(confirmed.status, 200, "{}", confirmed.text());
    assert!(knows(&gateway, "/reports"));

    // The file is the truth: another token is in force with it, and one that others can read is none.
    let other = "another-token-of-thirty-two-characters";
    fs::write(&path, other).expect("write");
    let other = format!("Authorization: Bearer {other}");
    assert_eq!(post(&gateway, "/reload", &[&host, &bearer]).status, 401);
    assert_eq!(post(&gateway, "/reload", &[&host, &other]).status, 200);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
    assert_eq!(post(&gateway, "/reload", &[&host, &other]).status, 503);
    let refused = gateway.wait_for_log(|line| line.contains("mode 0644"));
    assert!(refused.contains("admin-token"), "{refused}");
}

#[test]
fn without_a_token_nothing_can_be_changed_and_a_bad_one_ends_the_start() {
    let without = Folder::new(([127, 0, 0, 1], 9).into(), "", ROUTES);
    let gateway = without.start();
    let host = format!("Host: {}", gateway.admin);
    let bearer = format!("Authorization: Bearer {}", "0".repeat(64));
    let answer = post(&gateway, "/reload", &[&host, &bearer]);
    assert_eq!(answer.status, 403, "{}", answer.text());
    let asked = ask(&without, &gateway, &["reload"]);
    assert_eq!(code(&asked), 2, "{}", asked.stderr);
    assert!(asked.stderr.contains("token = "), "{}", asked.stderr);

    for (what, text, mode, said) in [
        ("short", "abc", 0o600, "at least 32 characters"),
        ("open", &*"a".repeat(40), 0o640, "mode 0640"),
    ] {
        let bad = folder("", ROUTES);
        let path = bad.path().join("secret/admin-token");
        fs::create_dir(path.parent().expect("a folder")).expect("mkdir");
        fs::write(&path, text).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        let run = bad.keygate(&["run"]);
        assert_eq!(code(&run), 1, "{what}: {}", run.stderr);
        assert!(run.stderr.contains(said), "{what}: {}", run.stderr);
        assert!(!run.stderr.contains("aaaa"), "{what}: {}", run.stderr);
    }
}

#[test]
fn reload_says_what_became_of_the_files() {
    let folder = folder("", ROUTES);
    let gateway = folder.start();
    let unchanged = ask(&folder, &gateway, &["reload"]);
    assert_eq!(code(&unchanged), 0, "{}", unchanged.stderr);
    assert!(
        unchanged.stdout.contains("generation 1"),
        "{}",
        unchanged.stdout
    );

    // The watcher may be as fast: then it is unchanged. Both say which generation is in force.
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    let accepted = ask(&folder, &gateway, &["reload"]);
    assert_eq!(code(&accepted), 0, "{}", accepted.stderr);
    assert!(
        accepted.stdout.contains("generation 2"),
        "{}",
        accepted.stdout
    );
    assert!(knows(&gateway, "/reports"));

    folder.write("routes.toml", "no policy");
    let refused = ask(&folder, &gateway, &["reload"]);
    assert_eq!(code(&refused), 2);
    assert!(
        refused.stderr.contains("routes.toml:1:"),
        "{}",
        refused.stderr
    );
    let refused = ask(&folder, &gateway, &["reload", "--json"]);
    assert_eq!(code(&refused), 2);
    let json: Value = serde_json::from_str(&refused.stdout).expect("JSON");
    assert_eq!(json["outcome"], "refused", "{json}");
    assert_eq!(json["policy"]["generation"], 2, "{json}");
    assert!(knows(&gateway, "/reports"));
    drop(gateway);

    let nobody = folder.keygate(&["reload", "--admin", "http://127.0.0.1:9"]);
    assert_eq!(code(&nobody), 1);
    assert!(
        nobody.stderr.contains("cannot be asked"),
        "{}",
        nobody.stderr
    );
}

#[test]
fn what_widens_waits_until_it_is_confirmed_by_its_hash() {
    let folder = folder(CONFIRM, ROUTES);
    let gateway = folder.start();
    assert_eq!(policy(&gateway)["widening"], "confirm");

    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    let waiting = until(&gateway, |policy| !policy["unconfirmed"].is_null());
    let hash = waiting["unconfirmed"]["hash"]
        .as_str()
        .expect("a hash")
        .to_owned();
    assert_eq!(waiting["unconfirmed"]["widened"], 1, "{waiting}");
    assert_eq!(
        (
            waiting["generation"].as_u64(),
            waiting["reloads_refused"].as_u64()
        ),
        (Some(1), Some(0))
    );
    assert!(!knows(&gateway, "/reports"));
    let ready = gateway.admin("/readyz");
    assert_eq!(
        (ready.status, &ready.json()["policy"]["ok"]),
        (200, &Value::Bool(false))
    );
    gateway.wait_for_log(|line| line.contains("and waits") && line.contains(&hash));
    assert!(
        gateway
            .admin("/metrics")
            .text()
            .contains("keygate_policy_unconfirmed 1")
    );

    // Asked without its hash, it tells what would change.
    let asked = ask(&folder, &gateway, &["reload"]);
    assert_eq!(code(&asked), 11, "{}", asked.stderr);
    for said in [&*hash, "widened", "/reports", "authOnly", "--confirm"] {
        assert!(asked.stderr.contains(said), "{said}: {}", asked.stderr);
    }
    let history = ask(&folder, &gateway, &["history"]);
    assert!(
        history
            .stdout
            .contains("wait to be confirmed: it lets someone do more (access 1 widened)"),
        "{}",
        history.stdout
    );

    // A hash that begins alike can be made: it is said whole.
    let short = ask(&folder, &gateway, &["reload", "--confirm", &hash[..12]]);
    assert_eq!(code(&short), 2, "{}", short.stderr);

    // What was reviewed is what is put in force: files that changed meanwhile have another hash.
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}# more\n"));
    let other = ask(&folder, &gateway, &["reload", "--confirm", &hash]);
    assert_eq!(code(&other), 11, "{}", other.stderr);
    assert!(!knows(&gateway, "/reports"));
    let waiting = until(&gateway, |policy| {
        policy["unconfirmed"]["hash"] != hash.as_str() && !policy["unconfirmed"].is_null()
    });
    let hash = waiting["unconfirmed"]["hash"]
        .as_str()
        .expect("a hash")
        .to_owned();
    let confirmed = ask(&folder, &gateway, &["reload", "--confirm", &hash]);
    assert_eq!(code(&confirmed), 0, "{}", confirmed.stderr);
    assert!(knows(&gateway, "/reports"));
    let now = until(&gateway, |policy| !policy["history"][1]["access"].is_null());
    assert_eq!(now["unconfirmed"], Value::Null);
    assert_eq!(now["history"][1]["trigger"], "confirmed", "{now}");
    assert_eq!(now["history"][1]["access"], "widened", "{now}");
    assert!(
        gateway
            .admin("/metrics")
            .text()
            .contains("keygate_policy_unconfirmed 0")
    );

    // What narrows does not wait, nor what changes no access.
    folder.write("routes.toml", ROUTES);
    until(&gateway, |policy| policy["generation"] == 3);
    assert!(!knows(&gateway, "/reports"));
    folder.write("routes.toml", &format!("{ROUTES}# nothing\n"));
    until(&gateway, |policy| policy["generation"] == 4);

    // What waits is forgotten with its files, and a bad file is refused as ever.
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    until(&gateway, |policy| !policy["unconfirmed"].is_null());
    folder.write("routes.toml", &format!("{ROUTES}# nothing\n"));
    until(&gateway, |policy| policy["unconfirmed"].is_null());
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    until(&gateway, |policy| !policy["unconfirmed"].is_null());
    folder.write("routes.toml", "no policy");
    let refused = until(&gateway, |policy| policy["reloads_refused"] == 1);
    assert_eq!(refused["unconfirmed"], Value::Null, "{refused}");
    assert_eq!(refused["generation"], 4, "{refused}");
}

#[test]
fn the_setting_in_force_decides_about_a_change_of_itself() {
    let folder = folder(CONFIRM, ROUTES);
    let gateway = folder.start();
    let upstream = ([127, 0, 0, 1], 9).into();
    // Lifted together with widening, and lifted alone: both wait.
    for routes in [format!("{ROUTES}{WIDER}"), format!("{ROUTES}# same\n")] {
        folder.write("keygate.toml", &main_text(upstream, ""));
        folder.write("routes.toml", &routes);
        let waiting = until(&gateway, |policy| {
            policy["unconfirmed"]["settings"] == serde_json::json!(["reload.widening"])
                && (policy["unconfirmed"]["widened"] == 1) == routes.contains("/reports")
        });
        assert_eq!(waiting["generation"], 1, "{waiting}");
        assert_eq!(waiting["widening"], "confirm", "{waiting}");
    }
    let asked = ask(&folder, &gateway, &["reload"]);
    assert_eq!(code(&asked), 11, "{}", asked.stderr);
    assert!(
        asked.stderr.contains("`reload.widening`"),
        "{}",
        asked.stderr
    );
    let hash = policy(&gateway)["unconfirmed"]["hash"]
        .as_str()
        .expect("a hash")
        .to_owned();
    let confirmed = ask(&folder, &gateway, &["reload", "--confirm", &hash]);
    assert_eq!(code(&confirmed), 0, "{}", confirmed.stderr);
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    until(&gateway, |policy| policy["generation"] == 3);
    assert!(knows(&gateway, "/reports"));
    // And set again, it holds from then on.
    folder.write("keygate.toml", &main_text(upstream, CONFIRM));
    until(&gateway, |policy| policy["widening"] == "confirm");
    let wider = format!("{ROUTES}{WIDER}{}", WIDER.replace("reports", "more"));
    folder.write("routes.toml", &wider);
    until(&gateway, |policy| !policy["unconfirmed"].is_null());
}

#[test]
fn a_rollback_stays_whatever_the_files_hold_and_over_restarts_until_reload() {
    let folder = folder("", ROUTES);
    let gateway = folder.start();
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    until(&gateway, |policy| policy["generation"] == 2);

    let back = ask(&folder, &gateway, &["rollback"]);
    assert_eq!(code(&back), 0, "{}", back.stderr);
    assert!(
        back.stdout
            .contains("generation 3 is in force; access is 1 narrowed"),
        "{}",
        back.stdout
    );
    assert!(!knows(&gateway, "/reports"));
    let now = policy(&gateway);
    assert_eq!(
        (&now["pinned"], &now["history"][2]["trigger"]),
        (&Value::Bool(true), &"rollback".into())
    );
    assert_eq!(now["history"][2]["hash"], now["history"][0]["hash"]);
    assert!(
        gateway
            .admin("/metrics")
            .text()
            .contains("keygate_policy_pinned 1")
    );

    // Edits are read, and not put in force; SIGHUP, which renewed certificates bring, does not change that.
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}# edited\n"));
    let held = |line: &&str| line.contains("the pinned generation stays in force");
    gateway.wait_for_log(|line| held(&line));
    gateway.signal("HUP");
    gateway.eventually(
        || gateway.log().lines().filter(held).count(),
        |lines| *lines == 2,
    );
    assert!(!knows(&gateway, "/reports"));
    folder.write("routes.toml", "no policy");
    until(&gateway, |policy| policy["reloads_refused"] == 1);
    assert!(!knows(&gateway, "/reports"));

    // Over a restart, with files that are no good.
    drop(gateway);
    let gateway = folder.start();
    gateway.wait_for_log(|line| line.contains("is pinned") && line.contains("keygate reload"));
    let now = policy(&gateway);
    assert_eq!(
        (&now["pinned"], now["generation"].as_u64()),
        (&Value::Bool(true), Some(3)),
        "{now}"
    );
    assert!(
        now["last_error"]
            .as_str()
            .is_some_and(|e| e.contains("routes.toml")),
        "{now}"
    );
    let history = ask(&folder, &gateway, &["history"]);
    assert!(
        history.stdout.contains("in force, pinned"),
        "{}",
        history.stdout
    );
    assert_eq!(
        history.stdout.matches("rollback").count(),
        1,
        "{}",
        history.stdout
    );

    // A reload that fails lifts nothing; one that does not puts the files in force again.
    assert_eq!(code(&ask(&folder, &gateway, &["reload"])), 2);
    assert_eq!(policy(&gateway)["pinned"], true);
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    until(&gateway, |policy| policy["last_error"].is_null());
    assert!(!knows(&gateway, "/reports"));
    let reloaded = ask(&folder, &gateway, &["reload"]);
    assert_eq!(code(&reloaded), 0, "{}", reloaded.stderr);
    assert!(knows(&gateway, "/reports"));
    let now = policy(&gateway);
    assert_eq!(
        (&now["pinned"], now["generation"].as_u64()),
        (&Value::Bool(false), Some(4)),
        "{now}"
    );
    folder.write("routes.toml", ROUTES);
    until(&gateway, |policy| policy["generation"] == 5);
    drop(gateway);
    let gateway = folder.start();
    let now = policy(&gateway);
    assert_eq!(
        (&now["pinned"], now["generation"].as_u64()),
        (&Value::Bool(false), Some(5)),
        "{now}"
    );
}

#[test]
fn a_rollback_names_its_generation_and_is_judged_like_an_edit() {
    let folder = folder("", &format!("{ROUTES}{WIDER}"));
    let gateway = folder.start();
    let first = policy(&gateway)["hash"]
        .as_str()
        .expect("a hash")
        .to_owned();
    let narrow = main_text(([127, 0, 0, 1], 9).into(), CONFIRM);
    folder.write("keygate.toml", &narrow);
    until(&gateway, |policy| policy["generation"] == 2);
    folder.write("routes.toml", ROUTES);
    until(&gateway, |policy| policy["generation"] == 3);

    // The first one has another setting, too; the one in force decides.
    for to in ["1", &first[..10]] {
        let asked = ask(&folder, &gateway, &["rollback", to]);
        assert_eq!(code(&asked), 11, "{to}: {}", asked.stderr);
        assert!(asked.stderr.contains("--confirm"), "{}", asked.stderr);
        assert_eq!(policy(&gateway)["generation"], 3);
    }
    let wrong = ask(
        &folder,
        &gateway,
        &["rollback", "1", "--confirm", &"0".repeat(64)],
    );
    assert_eq!(code(&wrong), 11, "{}", wrong.stderr);
    let back = ask(&folder, &gateway, &["rollback", "1", "--confirm", &first]);
    assert_eq!(code(&back), 0, "{}", back.stderr);
    assert!(knows(&gateway, "/reports"));
    for (to, said) in [
        ("77", "no generation 77"),
        ("ffffffffff", "no generation ffffffffff"),
    ] {
        let nothing = ask(&folder, &gateway, &["rollback", to]);
        assert_eq!(code(&nothing), 1, "{}", nothing.stderr);
        assert!(nothing.stderr.contains(said), "{}", nothing.stderr);
    }
    let malformed = ask(&folder, &gateway, &["rollback", "newest"]);
    assert_eq!(code(&malformed), 2, "{}", malformed.stderr);
}

/// Runs `keygate run` to its end, which must be an error.
fn start_fails(folder: &Folder, more: &[&str], with: i32) -> Output {
    let mut arguments = vec!["run"];
    arguments.extend(more);
    let output = folder.keygate(&arguments);
    assert_eq!(code(&output), with, "{}", output.stderr);
    output
}

fn start_with(folder: &Folder, more: &[&str]) -> Gateway {
    let mut command = Command::new(KEYGATE);
    command
        .args(["run", "--config"])
        .arg(folder.config())
        .args(more)
        .env_remove("KEYGATE_SECRET");
    Gateway::of(command)
}

#[test]
fn a_start_with_wider_files_runs_what_was_accepted_last_and_waits() {
    let folder = folder(CONFIRM, ROUTES);
    drop(folder.start());
    // Narrower files are in force at once.
    let narrower = ROUTES.replace("access = \"public\"", "access = \"deny\"");
    folder.write("routes.toml", &narrower);
    let gateway = folder.start();
    assert_eq!(policy(&gateway)["generation"], 2);
    drop(gateway);

    folder.write("routes.toml", &format!("{narrower}{WIDER}"));
    let gateway = folder.start();
    gateway.wait_for_log(|line| line.contains("and waits"));
    let now = policy(&gateway);
    assert_eq!(now["generation"], 2, "{now}");
    assert!(!knows(&gateway, "/reports"));
    let hash = now["unconfirmed"]["hash"]
        .as_str()
        .expect("a hash")
        .to_owned();
    // It still waits when it was looked at again, and when the setting was lifted in the files.
    assert_eq!(code(&ask(&folder, &gateway, &["reload"])), 11);
    drop(gateway);
    folder.write("keygate.toml", &main_text(([127, 0, 0, 1], 9).into(), ""));
    let gateway = folder.start();
    let now = policy(&gateway);
    assert_eq!(
        (&now["widening"], now["generation"].as_u64()),
        (&"confirm".into(), Some(2)),
        "{now}"
    );
    assert_ne!(now["unconfirmed"]["hash"], hash.as_str());
    let hash = now["unconfirmed"]["hash"]
        .as_str()
        .expect("a hash")
        .to_owned();
    drop(gateway);

    let other = start_fails(&folder, &["--confirm", &"0".repeat(64)], 2);
    assert!(other.stderr.contains(&hash), "{}", other.stderr);
    let gateway = start_with(&folder, &["--confirm", &hash]);
    assert!(knows(&gateway, "/reports"));
    let now = until(&gateway, |policy| {
        policy["history"]
            .as_array()
            .is_some_and(|all| !all[all.len() - 1]["access"].is_null())
    });
    let last = now["history"]
        .as_array()
        .and_then(|all| all.last())
        .expect("one")
        .clone();
    assert_eq!(
        (&last["trigger"], &last["access"]),
        (&"confirmed".into(), &"widened".into()),
        "{now}"
    );
    drop(gateway);
    assert_eq!(policy(&folder.start())["generation"], 3);
}

#[test]
fn what_was_kept_and_cannot_be_read_is_not_taken_for_nothing() {
    let kept = |folder: &Folder, name: &str| -> PathBuf {
        folder.path().join("data/generations").join(name)
    };
    let folder = folder(CONFIRM, ROUTES);
    let gateway = folder.start();
    let hash = policy(&gateway)["hash"]
        .as_str()
        .expect("a hash")
        .to_owned();
    drop(gateway);
    let texts = kept(&folder, &format!("{hash}.json"));
    let mode = fs::metadata(&texts).expect("kept").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));

    // The texts: with `confirm` in force, it cannot be known whether the files are wider.
    let good = fs::read(&texts).expect("kept");
    for (what, bad) in [
        ("half of it", Some(good[..good.len() / 2].to_vec())),
        ("another form", Some(br#"{"version": 2}"#.to_vec())),
        ("nothing", None),
    ] {
        match bad {
            Some(bad) => fs::write(&texts, bad).expect("write"),
            None => fs::remove_file(&texts).expect("remove"),
        }
        let failed = start_fails(&folder, &[], 1);
        assert!(
            failed.stderr.contains("--confirm"),
            "{what}: {}",
            failed.stderr
        );
        fs::write(&texts, &good).expect("write");
    }
    // The index: nothing is known.
    let index = kept(&folder, "index.json");
    let good = fs::read(&index).expect("kept");
    fs::write(&index, &good[..good.len() / 2]).expect("write");
    let failed = start_fails(&folder, &[], 1);
    for said in ["index.json", "--confirm"] {
        assert!(failed.stderr.contains(said), "{said}: {}", failed.stderr);
    }
    // What it says to do helps.
    let confirm = failed.stderr.split("--confirm ").nth(1).expect("a hash");
    let confirm: String = confirm
        .chars()
        .take_while(char::is_ascii_hexdigit)
        .collect();
    let gateway = start_with(&folder, &["--confirm", &confirm]);
    assert!(knows(&gateway, "/reports"));
}

#[test]
fn what_cannot_be_kept_is_in_force_and_said() {
    let folder = folder("[reload]\nfolder = \"kept\"\n", ROUTES);
    fs::write(folder.path().join("kept"), "a file").expect("write");
    let gateway = folder.start();
    let said = |policy: &Value| {
        policy["kept_error"]
            .as_str()
            .is_some_and(|e| e.contains("kept"))
    };
    assert!(said(&policy(&gateway)));
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    let now = until(&gateway, |policy| policy["generation"] == 2);
    assert!(said(&now), "{now}");
    gateway.wait_for_log(|line| line.contains("is not kept"));
    let back = ask(&folder, &gateway, &["rollback"]);
    assert_eq!(code(&back), 1, "{}", back.stderr);
    fs::remove_file(folder.path().join("kept")).expect("remove");
    folder.write("routes.toml", ROUTES);
    let now = until(&gateway, |policy| policy["generation"] == 3);
    assert_eq!(now["kept_error"], Value::Null);
}

#[test]
fn the_last_twenty_are_kept_and_can_be_gone_back_to() {
    let folder = folder("", ROUTES);
    let gateway = folder.start();
    for number in 2..=23 {
        folder.write("routes.toml", &format!("# {number}\n{ROUTES}"));
        let done = ask(&folder, &gateway, &["reload"]);
        assert_eq!(code(&done), 0, "{}", done.stderr);
    }
    let files = fs::read_dir(folder.path().join("data/generations")).expect("a folder");
    assert_eq!(files.count(), 22, "twenty, the index and the lock");
    assert_eq!(code(&ask(&folder, &gateway, &["rollback", "3"])), 1);
    let back = ask(&folder, &gateway, &["rollback", "5"]);
    assert_eq!(code(&back), 0, "{}", back.stderr);
    let now = policy(&gateway);
    let all = now["history"].as_array().expect("a list");
    let fifth = all
        .iter()
        .find(|past| past["generation"] == 5)
        .expect("kept");
    assert_eq!(now["hash"], fifth["hash"]);
}

#[test]
fn a_pinned_generation_takes_its_secrets_as_they_are_now() {
    let upstream = Upstream::echo();
    let more = "headers.set = { X-Own = \"${file:own}\" }\n";
    let folder = Folder::with_main(&main_text(upstream.address, more), ROUTES);
    folder.write("own", "first");
    let gateway = folder.start();
    let own = || {
        assert_eq!(gateway.call("GET /open/a", &[], "").status, 200);
        upstream.last().header("x-own").map(str::to_owned)
    };
    assert_eq!(own().as_deref(), Some("first"));
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    until(&gateway, |policy| policy["generation"] == 2);
    assert_eq!(code(&ask(&folder, &gateway, &["rollback"])), 0);
    // The files do not name the secret any more; what is in force does.
    folder.write("keygate.toml", &main_text(upstream.address, ""));
    gateway.wait_for_log(|line| line.contains("the pinned generation stays in force"));
    folder.write("own", "second");
    gateway.eventually(&own, |seen| seen.as_deref() == Some("second"));
    assert_eq!(policy(&gateway)["pinned"], true);
    assert!(!knows(&gateway, "/reports"));
}

#[test]
fn an_admin_listener_on_a_unix_socket_is_found_by_the_configuration() {
    let main = main_text(([127, 0, 0, 1], 9).into(), "");
    let folder = Folder::with_main(
        &main.replace("\"127.0.0.1:0\"\ntoken", "\"unix:admin.sock\"\ntoken"),
        ROUTES,
    );
    let _gateway = folder.start();
    let reloaded = folder.keygate(&["reload"]);
    assert_eq!(code(&reloaded), 0, "{}", reloaded.stderr);
    let history = folder.keygate(&["history"]);
    assert!(history.stdout.contains("in force"), "{}", history.stdout);
    folder.write("routes.toml", "no policy");
    let history = folder.keygate(&["history", "--json"]);
    let policy: Value = serde_json::from_str(&history.stdout).expect("JSON");
    assert_eq!(policy["generation"], 1, "{policy}");
}

/// What is kept on disk.
fn index(folder: &Folder) -> Value {
    let path = folder.path().join("data/generations/index.json");
    serde_json::from_slice(&fs::read(path).expect("kept")).expect("JSON")
}

#[test]
fn what_leads_elsewhere_or_says_whom_to_trust_waits_too() {
    let folder = folder(CONFIRM, ROUTES);
    let gateway = folder.start();
    let main = fs::read_to_string(folder.config()).expect("a file");
    let rows: [(&str, String, String, &str); 5] = [
        (
            "another path",
            main.clone(),
            ROUTES.replace(
                "path = \"/only-get\"",
                "path = \"/only-get\"\nadd_prefix = \"/v9\"",
            ),
            "leads requests elsewhere",
        ),
        (
            "another token",
            main.replace("secret/admin-token", "mine"),
            ROUTES.to_owned(),
            "`admin.token`",
        ),
        (
            "believed peers",
            main.replace(
                "workers = 1",
                "workers = 1\ntrusted_proxies = [\"127.0.0.0/8\"]",
            ),
            ROUTES.to_owned(),
            "`server.trusted_proxies`",
        ),
        (
            "another folder",
            main.replace("[reload]", "[reload]\nfolder = \"other\""),
            ROUTES.to_owned(),
            "`reload.folder`",
        ),
        (
            "another store",
            main.replace("data/keygate.db", "data/mine.db"),
            ROUTES.to_owned(),
            "`keys.store`",
        ),
    ];
    for (what, main, routes, why) in rows {
        folder.write("keygate.toml", &main);
        folder.write("routes.toml", &routes);
        let waiting = until(&gateway, |policy| {
            policy["unconfirmed"]["why"]
                .as_str()
                .is_some_and(|said| said.contains(why))
        });
        assert_eq!(waiting["generation"], 1, "{what}: {waiting}");
    }
    // More threads are nobody's access: in force with the rest, but for the restart that it needs.
    folder.write("routes.toml", ROUTES);
    folder.write("keygate.toml", &main.replace("workers = 1", "workers = 2"));
    let now = until(&gateway, |policy| policy["generation"] == 2);
    assert_eq!(
        now["waiting_for_restart"],
        serde_json::json!(["server.workers"]),
        "{now}"
    );
    // A restart judges the same way, by what was accepted last.
    drop(gateway);
    folder.write("keygate.toml", &main.replace("secret/admin-token", "mine"));
    let gateway = folder.start();
    let now = policy(&gateway);
    assert_eq!(
        (now["generation"].as_u64(), &now["unconfirmed"]["settings"]),
        (
            Some(2),
            &serde_json::json!(["server.workers", "admin.token"][1..])
        ),
        "{now}"
    );
}

#[test]
fn where_generations_are_kept_can_be_said_where_no_edit_of_the_files_reaches() {
    let folder = folder(CONFIRM, ROUTES);
    let place = folder.path().join("elsewhere");
    let place = place.to_str().expect("text");
    drop(start_with(&folder, &["--generations", place]));
    let main = fs::read_to_string(folder.config()).expect("a file");
    folder.write(
        "keygate.toml",
        &main.replace("[reload]", "[reload]\nfolder = \"mine\""),
    );
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    let gateway = start_with(&folder, &["--generations", place]);
    let now = policy(&gateway);
    assert_eq!(now["generation"], 1, "{now}");
    assert!(!knows(&gateway, "/reports"));
    assert!(!folder.path().join("mine").exists());
}

#[test]
fn a_confirmation_of_other_files_does_nothing_even_where_nothing_changed() {
    let folder = folder("", ROUTES);
    let gateway = folder.start();
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    until(&gateway, |policy| policy["generation"] == 2);
    assert_eq!(code(&ask(&folder, &gateway, &["rollback"])), 0);
    folder.write("routes.toml", ROUTES);
    let other = ask(&folder, &gateway, &["reload", "--confirm", &"0".repeat(64)]);
    assert_eq!(code(&other), 11, "{}", other.stderr);
    assert_eq!(policy(&gateway)["pinned"], true);
}

#[test]
fn a_rollback_goes_further_back_each_time() {
    let folder = folder("", ROUTES);
    let gateway = folder.start();
    for number in 2..=4 {
        folder.write("routes.toml", &format!("{ROUTES}# {number}\n"));
        until(&gateway, |policy| policy["generation"] == number);
    }
    let hashes: Vec<Value> = policy(&gateway)["history"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|past| past["hash"].clone())
        .collect();
    for expected in [&hashes[2], &hashes[1], &hashes[0]] {
        assert_eq!(code(&ask(&folder, &gateway, &["rollback"])), 0);
        assert_eq!(policy(&gateway)["hash"], *expected);
    }
    let end = ask(&folder, &gateway, &["rollback"]);
    assert_eq!(code(&end), 1, "{}", end.stderr);
}

#[test]
fn a_rollback_does_not_wait_for_files_that_keep_changing() {
    let folder = folder("", ROUTES);
    let gateway = folder.start();
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    until(&gateway, |policy| policy["generation"] == 2);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                number += 1;
                folder.write("routes.toml", &format!("{ROUTES}{WIDER}# {number}\n"));
            }
        });
        let back = ask(&folder, &gateway, &["rollback", "1"]);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(code(&back), 0, "{}", back.stderr);
    });
    assert!(!knows(&gateway, "/reports"));
    assert_eq!(policy(&gateway)["pinned"], true);
}

#[test]
fn a_generation_is_read_again_as_it_was_however_its_files_were_named() {
    let folder = folder("", ROUTES);
    let main = fs::read_to_string(folder.config()).expect("a file");
    folder.write(
        "keygate.toml",
        &main.replace(
            "[\"routes.toml\"]",
            "[\"routes.toml\", \"./routes.d/*.toml\", \"again.toml\"]",
        ),
    );
    fs::create_dir(folder.path().join("routes.d")).expect("mkdir");
    folder.write(
        "routes.d/deny.toml",
        "[[routes]]\npath = \"/v3/users/me\"\naccess = \"deny\"\n",
    );
    // Two names of one file, of which one matches the pattern.
    std::os::unix::fs::symlink("routes.d/deny.toml", folder.path().join("again.toml"))
        .expect("a link");
    let config = folder
        .path()
        .join(".")
        .join("sub")
        .join("..")
        .join("keygate.toml");
    fs::create_dir(folder.path().join("sub")).expect("mkdir");
    let gateway = Gateway::run(&config);
    let first = policy(&gateway)["hash"].clone();
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    until(&gateway, |policy| policy["generation"] == 2);
    assert_eq!(code(&ask(&folder, &gateway, &["rollback"])), 0);
    assert!(knows(&gateway, "/v3/users/me"));
    assert_eq!(policy(&gateway)["hash"], first);
    // Nothing was read anew that would have made another generation of it, and a restart reads the same.
    folder.write("routes.d/more.toml", &WIDER.replace("reports", "more"));
    gateway.wait_for_log(|line| line.contains("the pinned generation stays in force"));
    assert_eq!(policy(&gateway)["generation"], 3);
    drop(gateway);
    let gateway = folder.start();
    let now = policy(&gateway);
    assert_eq!(
        (&now["hash"], now["generation"].as_u64()),
        (&first, Some(3)),
        "{now}"
    );
    assert!(knows(&gateway, "/v3/users/me"));

    // What was altered on the disk is not what was in force.
    drop(gateway);
    let hash = first.as_str().expect("a hash");
    let kept = folder
        .path()
        .join("data/generations")
        .join(format!("{hash}.json"));
    let text = fs::read_to_string(&kept).expect("kept");
    let altered = text.replace("access = \\\"deny\\\"", "access = \\\"public\\\"");
    assert_ne!(altered, text);
    fs::write(&kept, altered).expect("write");
    let failed = start_fails(&folder, &[], 1);
    assert!(
        failed.stderr.contains("is not what was in force"),
        "{}",
        failed.stderr
    );
}

#[test]
fn a_start_that_fails_changes_nothing_of_what_was_accepted() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let folder = folder(CONFIRM, ROUTES);
    drop(folder.start());
    let before = index(&folder);
    let main = fs::read_to_string(folder.config()).expect("a file");
    let port = taken.local_addr().expect("an address");
    folder.write(
        "keygate.toml",
        &main.replace(
            "listen = [\"127.0.0.1:0\"]",
            &format!("listen = [\"{port}\"]"),
        ),
    );
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    // The hash, by a confirmation of another.
    let other = start_fails(&folder, &["--confirm", &"0".repeat(64)], 2);
    let hash = other.stderr.split("hash ").nth(1).expect("a hash")[..64].to_owned();
    let failed = start_fails(&folder, &["--confirm", &hash], 1);
    assert!(failed.stderr.contains("in use"), "{}", failed.stderr);
    assert_eq!(index(&folder), before);
}

#[test]
fn after_a_take_over_only_the_new_process_says_what_was_accepted() {
    let upstream = Upstream::echo();
    let main = main_text(upstream.address, CONFIRM);
    let main = main.replace(
        "workers = 1",
        "workers = 1\nhandover = \"run/handover.sock\"",
    );
    let folder = Folder::with_main(&main, &format!("{ROUTES}{WIDER}"));
    let old = folder.start();
    folder.write("routes.toml", ROUTES);
    until(&old, |policy| policy["generation"] == 2);
    // A request that is not whole yet keeps the old process from its end.
    let mut open = old.connect();
    open.send("POST /open/a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");
    old.eventually(|| upstream.connections(), |open| *open == 1);
    let new = start_with(&folder, &["--take-over"]);
    old.wait_for_log(|line| line.contains("\"draining\""));
    let first = policy(&new)["history"][0]["hash"]
        .as_str()
        .expect("a hash")
        .to_owned();
    let back = ask(&folder, &new, &["rollback", "1", "--confirm", &first]);
    assert_eq!(code(&back), 0, "{}", back.stderr);
    let pinned = index(&folder);
    assert_eq!(pinned["pinned"], true, "{pinned}");
    // Narrower than what the old one has, wider than nothing: it would be in force there at once.
    folder.write(
        "routes.toml",
        &ROUTES.replace("access = \"public\"", "access = \"deny\""),
    );
    new.wait_for_log(|line| line.contains("the pinned generation stays in force"));
    assert_eq!(index(&folder), pinned);
    assert_eq!(
        old.log()
            .matches("the changed configuration is in force")
            .count(),
        1,
        "{}",
        old.log()
    );
    open.send("67890");
    assert_eq!(open.answer(false).status, 200);
}

#[test]
fn an_order_that_hangs_is_not_accepted_any_more_once_a_successor_has_the_place() {
    let upstream = Upstream::echo();
    let main = main_text(upstream.address, "");
    let main = main.replace(
        "workers = 1",
        "workers = 1\nhandover = \"run/handover.sock\"",
    );
    let folder = Folder::with_main(&main, ROUTES);
    let mut old = folder.start();
    let first = policy(&old)["hash"].as_str().expect("a hash").to_owned();
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    until(&old, |policy| policy["generation"] == 2);
    // What was kept first stands on a disk that does not answer.
    let kept = folder.path().join(format!("data/generations/{first}.json"));
    let text = fs::read(&kept).expect("kept");
    fs::remove_file(&kept).expect("ours");
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        &kept,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    );
    made.expect("a pipe");
    let mut order = Client::connect(old.admin);
    order.send(format!(
        "POST /rollback?to=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        token(&folder)
    ));
    // It can be opened without waiting as soon as there is who reads.
    let not_waiting = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = fs::OpenOptions::new();
    options.write(true).custom_flags(not_waiting);
    let mut pipe = None;
    old.eventually(
        || {
            pipe = pipe.take().or_else(|| options.open(&kept).ok());
            pipe.is_some()
        },
        |open| *open,
    );
    let new = start_with(&folder, &["--take-over"]);
    assert_eq!(policy(&new)["generation"], 2);
    let before = index(&folder);
    let mut pipe = pipe.expect("it is open");
    std::io::Write::write_all(&mut pipe, &text).expect("it fits into a pipe");
    drop(pipe);
    assert!(old.wait().success());
    assert_eq!(index(&folder), before);
    let history = policy(&new)["history"].clone();
    assert_eq!(history.as_array().expect("a list").len(), 2, "{history}");
}

#[test]
fn check_tells_what_a_start_would_make_of_the_files() {
    let folder = folder(CONFIRM, ROUTES);
    let check = || {
        let check = folder.keygate(&["check"]);
        (code(&check), format!("{}{}", check.stdout, check.stderr))
    };
    let (status, said) = check();
    assert!(status == 0 && !said.contains("confirmed"), "{said}");
    assert!(
        !folder.path().join("data").exists(),
        "nothing is made by looking"
    );
    let gateway = folder.start();
    let hash = policy(&gateway)["hash"]
        .as_str()
        .expect("a hash")
        .to_owned();
    // What a killed process left half written goes with the next generation.
    let kept = folder.path().join("data/generations");
    let left = [
        format!("{hash}.json.new-1"),
        "index.json.new-1".to_owned(),
        format!("{}.json", "0".repeat(64)),
    ];
    for name in &left {
        fs::write(kept.join(name), "half").expect("write");
    }
    fs::write(kept.join("mine.json"), "mine").expect("write");
    folder.write("routes.toml", &format!("{ROUTES}# same\n"));
    until(&gateway, |policy| policy["generation"] == 2);
    assert!(left.iter().all(|name| !kept.join(name).exists()));
    assert!(kept.join("mine.json").exists());

    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    let (status, said) = check();
    assert!(
        status == 0 && said.contains("note: it lets someone do more: so these files wait"),
        "{said}"
    );
    folder.write("routes.toml", ROUTES);
    until(&gateway, |policy| policy["unconfirmed"].is_null());
    assert_eq!(code(&ask(&folder, &gateway, &["rollback", "2"])), 0);
    let (status, said) = check();
    assert!(status == 0 && said.contains("is pinned"), "{said}");
    fs::set_permissions(
        folder.path().join("secret/admin-token"),
        fs::Permissions::from_mode(0o644),
    )
    .expect("chmod");
    let (status, said) = check();
    assert!(status == 2 && said.contains("mode 0644"), "{said}");
    fs::write(kept.join("index.json"), "half").expect("write");
    let (status, said) = check();
    assert!(status == 2 && said.contains("index.json"), "{said}");
}

#[test]
fn a_scope_that_includes_more_waits_since_keys_are_managed_by_it() {
    let scopes = "[scopes]\nauthOnly = []\npartner = []\nfullAccess = [\"authOnly\"]\n";
    let rest = ROUTES
        .split_once("[defaults]")
        .expect("the scopes stand first")
        .1;
    let routes = format!(
        "{scopes}[defaults]{rest}[[routes]]\npath = \"/p\"\nscope = [\"partner\", \"fullAccess\"]\n"
    );
    let folder = folder(CONFIRM, &routes);
    let gateway = folder.start();
    folder.write(
        "routes.toml",
        &routes.replace("[\"authOnly\"]", "[\"authOnly\", \"partner\"]"),
    );
    let waiting = until(&gateway, |policy| !policy["unconfirmed"].is_null());
    assert_eq!(
        waiting["unconfirmed"]["settings"],
        serde_json::json!(["scopes"]),
        "{waiting}"
    );
    assert_eq!(waiting["unconfirmed"]["access"], "unchanged", "{waiting}");
    // A scope that is new lets nobody do more by itself.
    folder.write(
        "routes.toml",
        &routes.replace("partner = []", "partner = []\nguest = []"),
    );
    until(&gateway, |policy| policy["generation"] == 2);
}

#[test]
fn two_gateways_of_one_store_do_not_take_each_others_generations_for_their_own() {
    let one = folder(CONFIRM, ROUTES);
    let gateway = one.start();
    one.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    until(&gateway, |policy| !policy["unconfirmed"].is_null());
    // Another main file in another folder, with the same store.
    let main = main_text(([127, 0, 0, 1], 9).into(), "");
    let at = one.path().display();
    let main = main
        .replace("sqlite:data/", &format!("sqlite:{at}/data/"))
        .replace("secret = \"secret/", &format!("secret = \"{at}/secret/"));
    let two = Folder::with_main(&main, &format!("{ROUTES}{WIDER}"));
    let refused = start_fails(&two, &[], 1);
    for said in ["another configuration", "[reload] folder", "--confirm"] {
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    two.write(
        "keygate.toml",
        &format!("{main}[reload]\nfolder = \"own\"\n"),
    );
    let other = two.start();
    two.write("routes.toml", ROUTES);
    until(&other, |policy| policy["generation"] == 2);
    drop(gateway);
    let gateway = one.start();
    assert_eq!(policy(&gateway)["generation"], 1);
    assert!(!knows(&gateway, "/reports"));
    assert!(!policy(&gateway)["unconfirmed"].is_null());
}

#[test]
fn a_secret_that_went_with_its_route_does_not_keep_good_files_from_starting() {
    let more = format!("headers.set = {{ X-Own = \"${{file:own}}\" }}\n{CONFIRM}");
    let folder = folder(&more, &format!("{ROUTES}{WIDER}"));
    folder.write("own", "secret");
    drop(folder.start());
    folder.write(
        "keygate.toml",
        &main_text(([127, 0, 0, 1], 9).into(), CONFIRM),
    );
    fs::remove_file(folder.path().join("own")).expect("remove");
    folder.write("routes.toml", ROUTES);
    let gateway = folder.start();
    assert_eq!(policy(&gateway)["generation"], 2);
    drop(gateway);
    // What would have to be confirmed is compared with what cannot be read: no start.
    folder.write(
        "keygate.toml",
        &main_text(([127, 0, 0, 1], 9).into(), &more),
    );
    folder.write("own", "secret");
    drop(folder.start());
    fs::remove_file(folder.path().join("own")).expect("remove");
    folder.write(
        "keygate.toml",
        &main_text(([127, 0, 0, 1], 9).into(), CONFIRM),
    );
    folder.write("routes.toml", &format!("{ROUTES}{WIDER}"));
    let failed = start_fails(&folder, &[], 1);
    assert!(failed.stderr.contains("own"), "{}", failed.stderr);
}

#[test]
fn a_folder_of_generations_that_others_can_write_to_is_not_used() {
    let folder = folder(CONFIRM, ROUTES);
    let kept = folder.path().join("data/generations");
    fs::create_dir_all(&kept).expect("mkdir");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o777)).expect("chmod");
    let failed = start_fails(&folder, &[], 1);
    assert!(failed.stderr.contains("mode 0777"), "{}", failed.stderr);
}
