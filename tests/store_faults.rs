//! What is wrong with a key store: at the start it is said, with the file's name and exit code 1; at run time management
//! answers 503 `ERR_STORE_UNAVAILABLE`, requests with keys go on from memory, and when the fault is over management works
//! again, with nothing lost.
//!
//! Faults are real ones: another process holds the lock, the file system is full, the file is overwritten, moved, taken
//! from a backup. What needs root (a small file system) or a tool is done by another way too, or skipped with a line
//! that says so.

mod support;

use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use support::trial::{Outside, forgetful_upstream, pause, to_its_end, until};
use support::{Answer, Folder, Gateway, Output, ROUTES};

/// Takes away root's right to pass over modes of files, so that read-only is read-only.
const AS_ANYONE: [&str; 5] = [
    "setpriv",
    "--bounding-set",
    "-dac_override,-dac_read_search",
    "--inh-caps",
    "-dac_override,-dac_read_search",
];

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The words before a command that make modes count, if that is possible here.
fn as_anyone() -> Option<&'static [&'static str]> {
    if !is_root() {
        return Some(&[]);
    }
    let tried = Command::new(AS_ANYONE[0])
        .args(&AS_ANYONE[1..])
        .arg("true")
        .status();
    tried
        .is_ok_and(|status| status.success())
        .then_some(&AS_ANYONE)
}

fn folder() -> Folder {
    Folder::quiet(forgetful_upstream(), r#"["routes.toml"]"#, ROUTES)
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode is set");
}

/// The store's file and its two companions.
fn beside(store: &Path, end: &str) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(end);
    path.into()
}

/// Another text of a secret, well formed.
fn another_secret(folder: &Folder) {
    fs::write(folder.secret(), "7".repeat(64)).expect("write");
}

/// The error of a command that must fail with exit code 1.
fn refusal(what: &str, output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{what}: {}", output.stderr);
    assert_eq!(output.stdout, "", "{what}");
    output.stderr.clone()
}

#[test]
fn a_store_or_secret_that_is_wrong_ends_the_start_and_the_error_names_the_file() {
    type Break = fn(&Folder);
    let env = "7".repeat(64);
    let rows: [(&str, Break, Option<&str>, &[&str]); 16] = [
        (
            "another header",
            |f| overwrite(&f.store(), 0),
            None,
            &["keygate.db", "damaged or not a SQLite database", "backup"],
        ),
        (
            "garbage after the first page",
            |f| overwrite(&f.store(), 4096),
            None,
            &["keygate.db", "damaged or not a SQLite database", "backup"],
        ),
        (
            "cut off",
            |f| fs::write(f.store(), &fs::read(f.store()).unwrap()[..5000]).unwrap(),
            None,
            &["keygate.db", "damaged or not a SQLite database", "backup"],
        ),
        (
            "emptied",
            |f| fs::write(f.store(), "").unwrap(),
            None,
            &["keygate.db"],
        ),
        (
            "another program's",
            |f| {
                fs::write(f.store(), "").unwrap();
                Outside::open(&f.store()).run("CREATE TABLE notes (text TEXT)");
            },
            None,
            &["keygate.db", "not a key store of keygate"],
        ),
        (
            "of a newer schema",
            |f| Outside::open(&f.store()).run("PRAGMA user_version = 99"),
            None,
            &["keygate.db", "schema 99"],
        ),
        (
            "a folder",
            |f| {
                fs::remove_file(f.store()).unwrap();
                fs::create_dir(f.store()).unwrap();
            },
            None,
            &["keygate.db", "not a file"],
        ),
        (
            "lost, but its secret is there",
            |f| fs::remove_file(f.store()).unwrap(),
            None,
            &["keygate.db", "secret/master", "backup"],
        ),
        (
            "another secret",
            another_secret,
            None,
            &["keygate.db", "secret/master", "not the one"],
        ),
        (
            "another secret in the environment",
            |f| fs::remove_file(f.secret()).unwrap(),
            Some(&env),
            &["keygate.db", "KEYGATE_SECRET", "not the one"],
        ),
        (
            "no secret",
            |f| fs::remove_file(f.secret()).unwrap(),
            None,
            &["keygate.db", "secret/master", "missing"],
        ),
        (
            "two secrets",
            |_| (),
            Some(&env),
            &["KEYGATE_SECRET", "secret/master", "twice"],
        ),
        (
            "half a secret",
            |f| fs::write(f.secret(), "0123456789abcdef").unwrap(),
            None,
            &["secret/master", "64 hexadecimal digits"],
        ),
        (
            "no secret's text in the environment",
            |f| fs::remove_file(f.secret()).unwrap(),
            Some(""),
            &["KEYGATE_SECRET", "64 hexadecimal digits"],
        ),
        (
            "a secret that all may read",
            |f| mode(&f.secret(), 0o644),
            None,
            &["secret/master", "0644", "chmod 600"],
        ),
        (
            "a secret that the group may read",
            |f| mode(&f.secret(), 0o640),
            None,
            &["secret/master", "0640", "chmod 600"],
        ),
    ];
    for (what, wrong, env, said) in rows {
        let folder = folder();
        folder.new_key("first", "fullAccess");
        wrong(&folder);
        let before = contents(&folder);
        for arguments in [
            &["run"][..],
            &["keys", "list"],
            &["keys", "create", "--name", "x", "--scope", "authOnly"],
        ] {
            let mut command = folder.command(&[], arguments);
            command.envs(env.map(|text| ("KEYGATE_SECRET", text)));
            let output = to_its_end(command);
            let lost = what.starts_with("lost") && arguments == ["keys", "list"];
            if lost && output.status.success() {
                // Looking where there is no store finds no keys, and says so.
                assert!(output.stderr.contains("keygate.db"), "{}", output.stderr);
                continue;
            }
            let error = refusal(what, &output);
            for part in said {
                assert!(error.contains(part), "{what}, {arguments:?}: {error}");
            }
            assert!(
                !error.contains(&"7".repeat(64)),
                "{what}: it shows a secret"
            );
        }
        assert_eq!(contents(&folder), before, "{what}: a file was touched");
    }
}

/// Overwrites a file from there on, keeping its length.
fn overwrite(path: &Path, from: usize) {
    let mut bytes = fs::read(path).expect("read");
    assert!(bytes.len() > from);
    for (at, byte) in bytes.iter_mut().enumerate().skip(from) {
        *byte = (at * 31 % 251) as u8;
    }
    fs::write(path, bytes).expect("write");
}

/// What the files of a folder's store and secret hold, companions of the store aside.
fn contents(folder: &Folder) -> Vec<Option<Vec<u8>>> {
    [folder.store(), folder.secret()]
        .map(|path| fs::read(path).ok())
        .into()
}

#[test]
fn a_store_that_another_process_locks_ends_the_start_after_a_while() {
    let folder = folder();
    folder.new_key("first", "fullAccess");
    let mut outside = Outside::open(&folder.store());
    outside.run("BEGIN IMMEDIATE");
    let create: &[&str] = &["keys", "create", "--name", "x", "--scope", "authOnly"];
    thread::scope(|scope| {
        for arguments in [&["run"], create] {
            let folder = &folder;
            scope.spawn(move || {
                let output = to_its_end(folder.command(&[], arguments));
                let error = refusal("locked", &output);
                for said in ["keygate.db", "locked by another process"] {
                    assert!(error.contains(said), "{arguments:?}: {error}");
                }
            });
        }
    });
    let list = folder.keygate(&["keys", "list"]);
    assert!(
        list.stdout.contains("first"),
        "reading goes on: {}",
        list.stderr
    );
    outside.run("ROLLBACK");
    folder.new_key("second", "fullAccess");
    folder.start();
}

#[test]
fn a_store_that_is_read_only_ends_the_start() {
    let Some(wrapper) = as_anyone() else {
        println!("skipped: this is root, and `setpriv` cannot take its rights away");
        return;
    };
    let folder = folder();
    folder.new_key("first", "fullAccess");
    mode(&folder.store(), 0o400);
    mode(folder.store().parent().expect("a folder"), 0o500);
    let create: &[&str] = &["keys", "create", "--name", "x", "--scope", "authOnly"];
    for arguments in [&["run"], create] {
        let output = to_its_end(folder.command(wrapper, arguments));
        let error = refusal("read-only", &output);
        for said in ["keygate.db", "read-only"] {
            assert!(error.contains(said), "{arguments:?}: {error}");
        }
    }
    let list = to_its_end(folder.command(wrapper, &["keys", "list"]));
    assert!(
        list.stdout.contains("first"),
        "reading goes on: {}",
        list.stderr
    );
    mode(folder.store().parent().expect("a folder"), 0o700);
    mode(&folder.store(), 0o600);
    folder.start();
}

/// A gateway, a key with which its keys are managed, and the names of all keys that were acknowledged.
struct House {
    gateway: Gateway,
    root: String,
    names: BTreeSet<String>,
}

impl House {
    fn start(folder: &Folder) -> Self {
        Self::of(folder, folder.command(&[], &["run"]))
    }

    fn of(folder: &Folder, command: Command) -> Self {
        let root = folder.new_key("root", "fullAccess");
        House {
            gateway: Gateway::of(command),
            root,
            names: BTreeSet::from(["root".to_owned()]),
        }
    }

    /// Creates a key; 200, or 503 as the contract has it.
    fn create(&mut self, name: &str) -> Answer {
        let body = json!({"name": name}).to_string();
        let answer = self.gateway.manage(&self.root, "POST /apikeys", &body);
        match answer.status {
            200 => assert!(self.names.insert(name.to_owned())),
            503 => {
                assert_eq!(answer.code(), "ERR_STORE_UNAVAILABLE");
                assert!(answer.header("retry-after").is_some());
            }
            other => panic!("{other}: {}", answer.text()),
        }
        answer
    }

    fn must_create(&mut self, name: &str) -> String {
        let answer = self.create(name);
        assert_eq!(
            answer.status,
            200,
            "{}\n{}",
            answer.text(),
            self.gateway.log()
        );
        answer.json()["data"]["apiKey"]
            .as_str()
            .expect("a key")
            .to_owned()
    }

    /// A create that the store cannot take; the log must say why, with these words.
    fn must_not_create(&mut self, name: &str, said: &[&str]) {
        assert_eq!(self.create(name).status, 503, "{name}");
        self.gateway.wait_for_log(|line| {
            line.contains("keygate.db") && said.iter().all(|part| line.contains(part))
        });
    }

    /// Runs `during` while three connections use keys: a good one passes, an unknown one does not, all the time.
    fn in_use(&mut self, during: impl FnOnce(&mut House, &Traffic)) {
        let traffic = Traffic::default();
        let (address, root) = (self.gateway.address, self.root.clone());
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| traffic.flow(address, &root));
            }
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                traffic.goes_on();
                during(self, &traffic);
                traffic.goes_on();
            }));
            traffic.over.store(true, Ordering::SeqCst);
            if let Err(panic) = done {
                std::panic::resume_unwind(panic);
            }
        });
        println!("{} requests passed meanwhile", traffic.count.into_inner());
    }

    fn listed(&self) -> BTreeSet<String> {
        let keys = self.gateway.all_keys(&self.root);
        let name = |key: &serde_json::Value| key["name"].as_str().expect("a name").to_owned();
        keys.iter().map(name).collect()
    }

    /// Nothing acknowledged is lost, nothing else is there, now and after another start; the file is whole.
    fn whole(mut self, folder: &Folder) {
        assert_eq!(self.listed(), self.names);
        self.gateway.signal("TERM");
        assert_eq!(
            self.gateway.wait().code(),
            Some(0),
            "{}",
            self.gateway.log()
        );
        assert_eq!(Outside::open(&folder.store()).integrity(), "ok");
        self.gateway = folder.start();
        assert_eq!(self.listed(), self.names, "after another start");
        self.must_create("one more");
    }
}

/// Requests with keys, while something is wrong with the store.
#[derive(Default)]
struct Traffic {
    count: AtomicU64,
    over: AtomicBool,
}

impl Traffic {
    fn flow(&self, address: std::net::SocketAddr, key: &str) {
        let mut client = support::Client::connect(address);
        while !self.over.load(Ordering::SeqCst) {
            for (key, right) in [(key, 200), ("0123456789abcdef0123456789", 401)] {
                let answer = client
                    .try_call("GET /v3/x", key, "")
                    .expect("no request fails");
                assert_eq!(answer.status, right);
            }
            self.count.fetch_add(1, Ordering::SeqCst);
            pause();
        }
    }

    /// Waits for requests that began from now on.
    fn goes_on(&self) {
        let before = self.count.load(Ordering::SeqCst);
        until("requests go on", || {
            self.count.load(Ordering::SeqCst) > before + 20
        });
    }
}

#[test]
fn while_another_process_locks_the_store_requests_go_on_and_changes_wait_or_are_refused() {
    let folder = folder();
    let mut house = House::start(&folder);
    let mut outside = Outside::open(&folder.store());
    house.in_use(|house, traffic| {
        house.must_create("before");
        outside.run("BEGIN IMMEDIATE");
        house.must_not_create("locked out", &["locked by another process"]);
        traffic.goes_on();
        assert_eq!(house.listed(), house.names, "reading goes on");
        outside.run("ROLLBACK");
        house.must_create("after");
        // A lock that ends in time is only waited for.
        outside.run("BEGIN IMMEDIATE");
        let mut client = house.gateway.connect();
        let body = json!({"name": "patient"}).to_string();
        let sent = client.try_send("POST /apikeys", &house.root, &body);
        sent.expect("it is sent");
        traffic.goes_on();
        outside.run("ROLLBACK");
        assert_eq!(client.try_read().expect("an answer").status, 200);
        house.names.insert("patient".to_owned());
    });
    drop(outside);
    house.whole(&folder);
}

#[test]
fn of_many_changes_that_a_lock_holds_up_none_waits_for_the_turns_of_all_others() {
    let folder = folder();
    let mut house = House::start(&folder);
    let mut outside = Outside::open(&folder.store());
    house.in_use(|house, _| {
        outside.run("BEGIN IMMEDIATE");
        let begun = std::time::Instant::now();
        thread::scope(|scope| {
            for number in 0..10 {
                let (gateway, root) = (&house.gateway, &house.root);
                scope.spawn(move || {
                    let body = json!({"name": format!("held up {number}")}).to_string();
                    let answer = gateway.manage(root, "POST /apikeys", &body);
                    assert_eq!(answer.status, 503, "{}", answer.text());
                });
            }
        });
        println!("ten changes were refused within {:?}", begun.elapsed());
        let mut log = String::new();
        until("one line for each", || {
            log = house.gateway.log();
            log.matches("was not carried out").count() == 10
        });
        let (tried, behind) = (
            log.matches("locked by another process").count(),
            log.matches("behind others").count(),
        );
        assert!(tried >= 1 && behind > tried, "{tried} {behind}");
        outside.run("ROLLBACK");
        house.must_create("after");
    });
    drop(outside);
    house.whole(&folder);
}

/// A small file system, as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=0700", "keygate-test"])
            .arg(at)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| SmallDisk(at.to_owned()))
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let zeros = vec![0; 2 << 20];
        fs::write(self.0.join("filler"), zeros).expect_err("there is an end");
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("remove");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_changes_and_nothing_else_until_there_is_room() {
    let folder = folder();
    let Some(disk) = SmallDisk::mount(&folder.path().join("data")) else {
        println!(
            "skipped: no small file system can be mounted; a limit on file sizes is tried in its place"
        );
        return;
    };
    let mut house = House::start(&folder);
    house.in_use(|house, traffic| {
        house.must_create("before");
        for time in 0..3 {
            disk.fill();
            let mut last = 0;
            // What room the log still has is used first.
            until("no room", || {
                last += 1;
                house.create(&format!("{time}: {last}")).status == 503
            });
            house.must_not_create("no room", &["disk is full"]);
            traffic.goes_on();
            assert_eq!(house.listed(), house.names, "reading goes on");
            disk.free();
            house.must_create(&format!("room again {time}"));
        }
    });
    house.whole(&folder);

    // At the start, when no log of a former run holds room any more.
    let mut gateway = folder.start();
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    disk.fill();
    let list = folder.keygate(&["keys", "list"]);
    assert!(
        list.stdout.contains("root"),
        "reading goes on: {}",
        list.stderr
    );
    let create: &[&str] = &["keys", "create", "--name", "x", "--scope", "authOnly"];
    for arguments in [&["run"], create] {
        let output = to_its_end(folder.command(&[], arguments));
        let error = refusal("full", &output);
        for said in ["keygate.db", "disk is full"] {
            assert!(error.contains(said), "{arguments:?}: {error}");
        }
    }
    disk.free();
    folder.start();
}

#[test]
fn a_limit_on_file_sizes_refuses_changes_and_nothing_else_until_it_is_lifted() {
    let folder = folder();
    // The limit's signal would end the process; a shell that ignores it hands that on.
    let wrapper = [
        "sh",
        "-c",
        "trap '' XFSZ; ulimit -S -f 300; exec \"$0\" \"$@\"",
    ];
    let mut house = House::of(&folder, folder.command(&wrapper, &["run"]));
    let pid = house.gateway.pid().to_string();
    house.in_use(|house, traffic| {
        let mut last = 0;
        until("the limit", || {
            last += 1;
            house.create(&format!("key {last}")).status == 503
        });
        house.must_not_create("past the limit", &["keygate.db"]);
        traffic.goes_on();
        assert_eq!(house.listed(), house.names, "reading goes on");
        println!("{last} keys fit");
        let lifted = Command::new("prlimit")
            .args(["--pid", &pid, "--fsize=unlimited:unlimited"])
            .status();
        if lifted.is_ok_and(|status| status.success()) {
            house.must_create("after");
        } else {
            println!("`prlimit` cannot lift the limit: a restart does");
        }
    });
    house.whole(&folder);
}

/// A backup as an operator makes it while the gateway runs.
fn back_up(folder: &Folder) -> PathBuf {
    let backup = folder.path().join("backup.db");
    let sql = format!("VACUUM INTO '{}'", backup.display());
    Outside::open(&folder.store()).run(&sql);
    mode(&backup, 0o600);
    backup
}

/// Moves the companions of the store away.
fn remove_companions(store: &Path) {
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(beside(store, end));
    }
}

/// What a key gets.
fn asked(house: &House, key: &str) -> u16 {
    house.gateway.manage(key, "GET /v3/x", "").status
}

#[test]
fn a_store_restored_from_a_backup_under_a_running_gateway_is_loaded_whole() {
    let folder = folder();
    let mut house = House::start(&folder);
    let body = json!({"name": "kept", "scope": "fullAccess"}).to_string();
    let make = |house: &House, body: &str| {
        let made = house.gateway.manage(&house.root, "POST /apikeys", body);
        assert_eq!(made.status, 200, "{}", made.text());
        let made = made.json();
        let text = |field: &str| made["data"][field].as_str().expect("a text").to_owned();
        (text("apiKey"), text("id"))
    };
    let (kept, kept_id) = make(&house, &body);
    house.in_use(|house, traffic| {
        let backup = back_up(&folder);
        let deleted = format!("DELETE /apikeys/{kept_id}");
        assert_eq!(house.gateway.manage(&house.root, &deleted, "").status, 200);
        let (later, _) = make(
            house,
            &json!({"name": "later", "scope": "fullAccess"}).to_string(),
        );
        assert_eq!((asked(house, &kept), asked(house, &later)), (401, 200));

        // Half a restore: the former log is still there. Nothing is read from the mixture, nothing written to it.
        fs::rename(&backup, folder.store()).expect("rename");
        let whole = fs::read(folder.store()).expect("read");
        house.must_not_create("into the mixture", &["another file was put in the place"]);
        traffic.goes_on();
        assert_eq!((asked(house, &kept), asked(house, &later)), (401, 200));
        assert!(
            fs::read(folder.store()).expect("read") == whole,
            "it is untouched"
        );

        // The whole restore: what the backup has is in force.
        remove_companions(&folder.store());
        let took = until("the backup is in force", || asked(house, &kept) == 200);
        println!(
            "a restored store was in force after {} ms",
            took.as_millis()
        );
        assert_eq!(asked(house, &later), 401, "it was made after the backup");
        house.names = BTreeSet::from(["root".to_owned(), "kept".to_owned()]);
        assert_eq!(house.listed(), house.names);
        house.must_create("on the backup");
        house
            .gateway
            .wait_for_log(|line| line.contains("all are loaded again"));
    });
    house.whole(&folder);
}

#[test]
fn a_store_that_is_away_damaged_or_of_another_secret_is_said_to_be_and_its_return_is_noticed() {
    let folder = folder();
    let mut house = House::start(&folder);
    house.must_create("before");
    house.in_use(|house, traffic| {
        let store = folder.store();
        let away = folder.path().join("away.db");
        for (what, said) in [
            ("away", "does not exist"),
            ("damaged", "damaged or not a SQLite database"),
            ("foreign", "not a key store of keygate"),
            ("newer", "schema 99"),
            ("of another secret", "not the one"),
        ] {
            let backup = back_up(&folder);
            fs::rename(&store, &away).expect("rename");
            remove_companions(&store);
            match what {
                "away" => {}
                "damaged" => fs::write(&store, [b'x'; 9000]).expect("write"),
                "foreign" => {
                    fs::write(&store, "").expect("write");
                    Outside::open(&store).run("CREATE TABLE notes (text TEXT)");
                }
                "newer" => {
                    fs::copy(&backup, &store).expect("copy");
                    Outside::open(&store).run("PRAGMA user_version = 99");
                }
                _ => {
                    fs::copy(&backup, &store).expect("copy");
                    Outside::open(&store).run("UPDATE secrets SET check_value = randomblob(32)");
                }
            }
            house.must_not_create(what, &[said]);
            traffic.goes_on();
            let ready = house.gateway.admin("/readyz");
            assert_eq!(ready.status, 200, "{what}: keys in memory serve");
            until("the feed tells", || {
                house.gateway.admin("/status").json()["keys"]["feed_error"].is_string()
            });
            remove_companions(&store);
            fs::rename(&backup, &store).expect("rename");
            until("it is back", || {
                house.create(&format!("after {what}")).status == 200
            });
            until("the feed is well", || {
                house.gateway.admin("/status").json()["keys"]["feed_error"].is_null()
            });
            assert_eq!(house.listed(), house.names, "{what}");
        }
    });
    house.whole(&folder);
}

#[test]
fn a_store_that_a_later_keygate_brought_up_to_date_takes_no_change_of_an_earlier_one() {
    let folder = folder();
    let mut house = House::start(&folder);
    house.must_create("before");
    let mut outside = Outside::open(&folder.store());
    house.in_use(|house, traffic| {
        outside.run("PRAGMA user_version = 99");
        house.must_not_create("too late", &["schema 99"]);
        traffic.goes_on();
        outside.run("PRAGMA user_version = 1");
        house.must_create("after");
    });
    drop(outside);
    house.whole(&folder);
}

#[test]
fn a_store_overwritten_under_a_running_gateway_never_stops_requests_and_a_backup_mends_it() {
    let folder = folder();
    let mut house = House::start(&folder);
    for number in 0..300 {
        house.must_create(&format!("key {number}"));
    }
    let backup = back_up(&folder);
    house.in_use(|house, traffic| {
        overwrite(&folder.store(), 0);
        for number in 0..20 {
            // What SQLite has in memory may still be enough for a change; what is told is never anything else.
            let answer = house.create(&format!("into the damage {number}"));
            println!("into the damage: {}", answer.status);
        }
        traffic.goes_on();
        remove_companions(&folder.store());
        fs::rename(&backup, folder.store()).expect("rename");
        house
            .names
            .retain(|name| !name.starts_with("into the damage"));
        until("it is mended", || house.create("mended").status == 200);
        assert_eq!(house.listed(), house.names);
    });
    house.whole(&folder);
}

#[test]
fn a_store_replaced_by_a_read_only_one_refuses_changes_until_it_can_be_written() {
    let Some(wrapper) = as_anyone() else {
        println!("skipped: this is root, and `setpriv` cannot take its rights away");
        return;
    };
    let folder = folder();
    let mut house = House::of(&folder, folder.command(wrapper, &["run"]));
    house.must_create("before");
    house.in_use(|house, traffic| {
        let backup = back_up(&folder);
        mode(&backup, 0o400);
        remove_companions(&folder.store());
        fs::rename(&backup, folder.store()).expect("rename");
        house.must_not_create("read-only", &["read-only"]);
        traffic.goes_on();
        mode(&folder.store(), 0o600);
        until("it can be written", || house.create("after").status == 200);
    });
    house.whole(&folder);
}
