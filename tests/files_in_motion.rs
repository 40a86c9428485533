//! How the files of a policy change under a gateway that serves: mounted folders that are swapped, editors and tools that
//! save each in its way, files that come in pieces, folders that go and come back, files that may not be read, files of ten
//! megabytes, storms of writes. What is whole is in force in the end, what is not is refused and said, and nobody who asks
//! meanwhile is told anything else.

mod support;

use serde_json::Value;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::trial::{forgetful_upstream, until};
use support::{Client, Folder, Gateway, ROUTES};

/// A public route of this number: who asks for it learns whether it is in force.
fn numbered(number: usize) -> String {
    format!("[[routes]]\npath = \"/gen/{number}\"\naccess = \"public\"\n")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("write");
}

fn rename_into(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    write(&beside, text);
    fs::rename(beside, path).expect("rename");
}

struct Scene {
    folder: Folder,
    gateway: Gateway,
}

impl Scene {
    /// With `routes.toml` and what this `include` names besides; files as given.
    fn start(include: &str, files: &[(&str, &str)]) -> Self {
        let folder = prepare(include, files);
        let gateway = folder.start();
        Scene { folder, gateway }
    }

    fn policy(&self) -> Value {
        self.gateway.status()["policy"].clone()
    }

    fn generation(&self) -> u64 {
        self.policy()["generation"].as_u64().expect("a number")
    }

    fn has(&self, number: usize) -> bool {
        let answer = self.gateway.call(&format!("GET /gen/{number}"), &[], "");
        match answer.status {
            200 => true,
            401 => false,
            other => panic!("/gen/{number}: {other}"),
        }
    }

    /// Waits until the route of this number is in force, or gone, and nothing is refused.
    fn follows(&self, what: &str, number: usize, there: bool) {
        until(what, || {
            self.has(number) == there && self.policy()["last_error"].is_null()
        });
    }

    /// Waits until the files are refused for a reason with all of these parts; gives it. The route of this number stays.
    fn refuses(&self, what: &str, parts: &[&str], stays: usize) -> String {
        let mut error = String::new();
        until(what, || {
            error = self.policy()["last_error"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            parts.iter().all(|part| error.contains(part))
        });
        assert!(self.has(stays), "{what}: the last good one stays");
        let ready = self.gateway.admin("/readyz");
        assert_eq!(ready.status, 200, "{what}: it goes on");
        assert_eq!(ready.json()["policy"]["ok"], false, "{what}");
        error
    }

    /// Does this while a client asks on and on, whose every answer must be right; how many there were.
    fn under_load(&self, act: impl FnOnce()) -> u64 {
        let (over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
        let done = thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut client = Client::try_connect(self.gateway.address).expect("connect");
                while !over.load(Ordering::SeqCst) {
                    for (path, right) in [("/open/x", 200), ("/v3/users", 401)] {
                        let answer = client.try_call(&format!("GET {path}"), "", "");
                        assert_eq!(answer.expect("an answer").status, right, "{path}");
                        asked.fetch_add(1, Ordering::SeqCst);
                    }
                    thread::park_timeout(Duration::from_millis(1));
                }
            });
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
            over.store(true, Ordering::SeqCst);
            load.join().expect("each answer is right");
            done
        });
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
        asked.into_inner()
    }
}

fn prepare(include: &str, files: &[(&str, &str)]) -> Folder {
    let folder = Folder::quiet(forgetful_upstream(), include, ROUTES);
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        write(&path, text);
    }
    folder
}

#[test]
fn a_mounted_folder_is_followed_from_swap_to_swap() {
    // As a ConfigMap is mounted: each file is a link to `..data/FILE`, `..data` one to a dated folder. A new version is
    // written to a new folder, `..data` is swapped by renaming, links are made and removed, the old folder is deleted.
    let folder = prepare(r#"["routes.toml", "more-*.toml"]"#, &[]);
    let path = |name: &str| folder.path().join(name);
    let main = fs::read_to_string(path("keygate.toml")).expect("read");
    let swap = |date: &str, before: &str, files: &[(&str, String)]| {
        let dated = path(date);
        fs::create_dir(&dated).expect("a folder");
        for (name, text) in files {
            write(&dated.join(name), text);
        }
        symlink(date, path("..data_tmp")).expect("a link");
        fs::rename(path("..data_tmp"), path("..data")).expect("rename");
        for entry in fs::read_dir(folder.path()).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            let kept = files.iter().any(|(file, _)| name == *file);
            if entry.path().extension().is_some_and(|end| end == "toml") && !kept {
                fs::remove_file(entry.path()).expect("remove");
            }
        }
        for (name, _) in files {
            if !path(name).is_symlink() {
                let _ = fs::remove_file(path(name));
                symlink(format!("..data/{name}"), path(name)).expect("a link");
            }
        }
        if !before.is_empty() {
            fs::remove_dir_all(path(before)).expect("remove");
        }
    };
    let files = |number: usize, more: &[(&'static str, String)]| {
        let routes = ROUTES.to_owned() + &numbered(number);
        let mut files = vec![("keygate.toml", main.clone()), ("routes.toml", routes)];
        files.extend_from_slice(more);
        files
    };
    swap("..2026_11_01", "", &files(1, &[]));
    let gateway = folder.start();
    let scene = Scene {
        folder: Folder::with_main("", ""),
        gateway,
    };
    assert!(scene.has(1));
    swap("..2026_11_02", "..2026_11_01", &files(2, &[]));
    scene.follows("a new version", 2, true);
    assert!(!scene.has(1), "whole");
    let more = [("more-1.toml", numbered(103))];
    swap("..2026_11_03", "..2026_11_02", &files(3, &more));
    scene.follows("a version with one file more", 103, true);
    assert!(scene.has(3) && !scene.has(2));
    let bad = [("more-1.toml", numbered(104).replace("public", "pubic"))];
    swap("..2026_11_04", "..2026_11_03", &files(4, &bad));
    scene.refuses("a bad version", &["more-1.toml", "pubic"], 103);
    assert!(scene.has(3) && !scene.has(4), "whole");
    let generation = scene.generation();
    swap("..2026_11_05", "..2026_11_04", &files(3, &more));
    scene.follows("the version of before", 103, true);
    assert_eq!(scene.generation(), generation, "it was in force all along");
    swap("..2026_11_06", "..2026_11_05", &files(6, &[]));
    scene.follows("a version with one file less", 6, true);
    assert!(!scene.has(103));
    let other = main.replace("[limits]\n", "[limits]\ntarget_bytes = \"64B\"\n");
    let mut last = files(7, &[]);
    last[0].1 = other;
    swap("..2026_11_07", "..2026_11_06", &last);
    scene.follows("a version with another main file", 7, true);
    let long = format!("GET /open/{}", "x".repeat(100));
    assert_eq!(scene.gateway.call(&long, &[], "").status, 414);
}

/// A way of saving a file.
type Saving = fn(&Path, &str);

/// As editors and tools do it, with the files that they leave about meanwhile.
const SAVINGS: &[(&str, Saving)] = &[
    ("in place", |path, text| write(path, text)),
    ("renamed over (sed, perl)", |path, text| {
        let beside = path.with_file_name("sedkQ3xZ1");
        write(&beside, text);
        fs::rename(beside, path).expect("rename");
    }),
    ("moved away and written anew (vim)", |path, text| {
        let old = path.with_file_name("gen.toml~");
        let probe = path.with_file_name("4913");
        write(&path.with_file_name(".gen.toml.swp"), "b0VIM 9.1");
        write(&probe, "");
        fs::remove_file(probe).expect("remove");
        fs::rename(path, &old).expect("rename");
        write(path, text);
        fs::remove_file(old).expect("remove");
    }),
    ("copied, then in place (vim, nano)", |path, text| {
        fs::copy(path, path.with_file_name("gen.toml~")).expect("copy");
        write(path, text);
    }),
    ("under a lock (emacs)", |path, text| {
        // A link to nowhere, whose name matches where the file's does; it stays as long as the file is edited.
        let lock = path.with_file_name(".#gen.toml");
        let _ = fs::remove_file(&lock);
        symlink("me@machine.4711:1764", lock).expect("a link");
        write(&path.with_file_name("#gen.toml#"), "[[rou");
        fs::rename(path, path.with_file_name("gen.toml~")).expect("rename");
        write(path, text);
        fs::remove_file(path.with_file_name("#gen.toml#")).expect("remove");
    }),
    (
        "renamed over, the old one kept for a moment (IDEs)",
        |path, text| {
            let new = path.with_file_name("gen.toml___jb_tmp___");
            let old = path.with_file_name("gen.toml___jb_old___");
            write(&new, text);
            fs::rename(path, &old).expect("rename");
            fs::rename(new, path).expect("rename");
            fs::remove_file(old).expect("remove");
        },
    ),
    ("deleted and made (git, tar)", |path, text| {
        fs::remove_file(path).expect("remove");
        write(path, text);
    }),
    ("linked in", |path, text| {
        let new = path.with_file_name("new");
        write(&new, text);
        fs::remove_file(path).expect("remove");
        fs::hard_link(&new, path).expect("a link");
        fs::remove_file(new).expect("remove");
    }),
    (
        "with the size and the time of before (rsync)",
        |path, text| {
            let time = fs::metadata(path).expect("metadata").modified();
            rename_into(path, text);
            let file = fs::File::options().write(true).open(path).expect("open");
            file.set_modified(time.expect("a time")).expect("set");
        },
    ),
];

#[test]
fn each_way_of_saving_a_file_is_followed() {
    for (include, name) in [
        (r#"["routes.toml", "gen.toml"]"#, "gen.toml"),
        (r#"["routes.toml", "routes.d/*.toml"]"#, "routes.d/gen.toml"),
    ] {
        let scene = Scene::start(include, &[(name, &numbered(100))]);
        let path = scene.folder.path().join(name);
        for (number, (how, save)) in (101..).zip(SAVINGS) {
            let what = format!("{name}, {how}");
            let before = scene.generation();
            save(&path, &numbered(number));
            scene.follows(&what, number, true);
            assert!(!scene.has(number - 1), "{what}: whole");
            // Another one only where the machine kept us from running in the midst of it.
            let steps = scene.generation() - before;
            assert!((1..=2).contains(&steps), "{what}: {steps} generations");
        }
        // Touched, and not changed: nothing.
        let generation = scene.generation();
        let text = fs::read_to_string(&path).expect("read");
        rename_into(&path, &text);
        scene.gateway.signal("HUP");
        scene
            .gateway
            .wait_for_log(|line| line.contains("files are unchanged"));
        assert_eq!(scene.generation(), generation, "{name}: touched");
    }
}

#[test]
fn a_file_that_comes_in_pieces_is_in_force_once_it_is_whole() {
    const PIECES: usize = 60;
    let scene = Scene::start(
        r#"["routes.toml", "gen.toml"]"#,
        &[("gen.toml", &numbered(0))],
    );
    let before = scene.generation();
    let mut slowest = Duration::ZERO;
    // A part of it would be a policy, too: a narrower one here, and a wider one where what is missing is a refusal.
    let answers = scene.under_load(|| {
        let path = scene.folder.path().join("gen.toml");
        let mut file = fs::File::create(path).expect("create");
        let mut last = Instant::now();
        for number in 1..=PIECES {
            file.write_all(numbered(number).as_bytes()).expect("write");
            slowest = slowest.max(last.elapsed());
            last = Instant::now();
            thread::park_timeout(Duration::from_millis(25));
        }
        scene.follows("the whole", PIECES, true);
    });
    assert!(scene.has(1) && scene.has(PIECES / 2) && !scene.has(0));
    let steps = scene.generation() - before;
    println!(
        "{answers} answers meanwhile, {steps} generations, {slowest:?} between two pieces at most"
    );
    // Files must be the same for 150 ms before they are read.
    if slowest < Duration::from_millis(120) {
        assert_eq!(steps, 1, "no part of it was in force");
    } else {
        println!("NOT COMPARED: the machine kept the writer from running for {slowest:?}");
    }
}

#[test]
fn folders_that_go_are_missed_and_come_back() {
    let include = r#"["routes.toml", "deep/er/named.toml", "routes.d/*.toml", "hosts.d/*/*.toml"]"#;
    let files = [
        ("deep/er/named.toml", numbered(1)),
        ("routes.d/2.toml", numbered(2)),
        ("hosts.d/a/3.toml", numbered(3)),
        ("hosts.d/b/4.toml", numbered(4)),
    ];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let scene = Scene::start(include, &files);
    let path = |name: &str| scene.folder.path().join(name);
    let put_back = |folder: &str, how: usize| match how % 2 {
        // Piece by piece, or by renaming.
        0 => {
            for (name, text) in files.iter().filter(|(name, _)| name.starts_with(folder)) {
                fs::create_dir_all(path(name).parent().expect("a folder")).expect("folders");
                write(&path(name), text);
            }
        }
        _ => fs::rename(path("away"), path(folder)).expect("rename"),
    };
    for how in 0..4 {
        let take = |folder: &str| match how % 2 {
            0 => fs::remove_dir_all(path(folder)).expect("remove"),
            _ => fs::rename(path(folder), path("away")).expect("rename"),
        };
        // A pattern may match nothing: what it matched is gone.
        for (folder, number) in [("routes.d", 2), ("hosts.d/a", 3), ("hosts.d", 4)] {
            let what = format!("{folder}, {how}");
            take(folder);
            scene.follows(&what, number, false);
            assert!(scene.has(1), "{what}");
            put_back(folder, how);
            scene.follows(&what, number, true);
        }
        // A name must exist.
        let what = format!("deep, {how}");
        let generation = scene.generation();
        take("deep");
        scene.refuses(&what, &["named.toml", "no such file"], 1);
        put_back("deep", how);
        scene.follows(&what, 1, true);
        assert_eq!(scene.generation(), generation, "{what}");
    }
    write(&path("deep/er/named.toml"), &numbered(5));
    scene.follows("a file in a folder that was away", 5, true);
    write(&path("hosts.d/b/4.toml"), &numbered(6));
    scene.follows("another", 6, true);
}

/// A user that may do nothing, for a gateway of a test that root runs: root can read every file.
const NOBODY: u32 = 65534;

fn give_away(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            give_away(&entry.expect("an entry").path());
        }
    }
}

#[test]
fn files_that_may_not_be_read_are_refused_and_come_back() {
    let include = r#"["routes.toml", "gen.toml", "routes.d/*.toml"]"#;
    let files = [
        ("gen.toml", &*numbered(1)),
        ("routes.d/2.toml", &numbered(2)),
    ];
    let folder = prepare(include, &files);
    folder.new_key("k", "fullAccess");
    let mut command = folder.command(&[], &["run"]);
    let is_root = fs::metadata("/proc/self").map(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    });
    if is_root.expect("/proc") {
        println!("root runs this test: its gateway is run as the user {NOBODY}");
        give_away(folder.path());
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    let scene = Scene {
        gateway: Gateway::of(command),
        folder,
    };
    assert!(scene.has(1) && scene.has(2));
    let mut number = 10;
    for (name, mode) in [
        ("gen.toml", 0o000),
        ("routes.d/2.toml", 0o000),
        ("routes.toml", 0o200),
        ("keygate.toml", 0o000),
        // Neither listed nor gone through; listed and not gone through; gone through and not listed.
        ("routes.d", 0o000),
        ("routes.d", 0o400),
        ("routes.d", 0o100),
    ] {
        let what = format!("{name} {mode:03o}");
        let path = scene.folder.path().join(name);
        let generation = scene.generation();
        let allowed = fs::metadata(&path).expect("metadata").permissions();
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("chmod");
        let error = scene.refuses(&what, &[name, "ermission denied"], 1);
        println!("{what}: {error}");
        assert!(scene.has(2), "{what}: whole");
        scene
            .gateway
            .wait_for_log(|line| line.contains("is refused") && line.contains(name));
        fs::set_permissions(&path, allowed).expect("chmod");
        until(&what, || scene.policy()["last_error"].is_null());
        assert_eq!(
            scene.generation(),
            generation,
            "{what}: it was in force all along"
        );
        number += 1;
        write(
            &scene.folder.path().join("gen.toml"),
            &(numbered(1) + &numbered(number)),
        );
        scene.follows(&what, number, true);
    }
}

#[test]
fn files_of_ten_megabytes_are_read_or_refused_while_requests_are_served() {
    const MEGABYTES: usize = 10_000_000;
    let scene = Scene::start(
        r#"["routes.toml", "gen.toml"]"#,
        &[("gen.toml", &numbered(1))],
    );
    let path = scene.folder.path().join("gen.toml");
    let comment = format!("# {}\n", "why this route is here ".repeat(200));
    let mut text = String::new();
    let mut routes = 0;
    while text.len() < MEGABYTES {
        routes += 1;
        text +=
            &format!("{comment}[[routes]]\npath = \"/many/{routes}\"\nscope = \"fullAccess\"\n");
    }
    let lines = text.lines().count();
    let good = text.clone() + &numbered(2);
    let misspelt = text.clone() + &numbered(3).replace("access", "acess");
    let cut = &text[..text.len() - 3];
    let one_line = "x".repeat(MEGABYTES);
    let huge = text.repeat(2);
    let answers = scene.under_load(|| {
        let begun = Instant::now();
        rename_into(&path, &good);
        scene.follows("ten megabytes", 2, true);
        println!(
            "{routes} routes in {} bytes: {:?}",
            good.len(),
            begun.elapsed()
        );
        let place = format!("gen.toml:{}:", lines + 3);
        let end = format!("gen.toml:{lines}:");
        for (what, text, parts) in [
            ("a mistake at the end", &*misspelt, &["acess", &*place][..]),
            ("the end is missing", cut, &[&*end]),
            ("one line of nonsense", &one_line, &["gen.toml:1:"]),
            ("more than may be", &huge, &["gen.toml", "16 MiB"]),
        ] {
            let begun = Instant::now();
            rename_into(&path, text);
            let error = scene.refuses(what, parts, 2);
            println!("{what}: {:?}", begun.elapsed());
            assert!(
                error.len() < 4096,
                "{what}: {} bytes of report",
                error.len()
            );
        }
        rename_into(&path, &numbered(4));
        scene.follows("a small one", 4, true);
    });
    println!("{answers} answers meanwhile");
    until("old generations are dropped", || {
        scene.policy()["generations_held"] == 1
    });
}

#[test]
fn a_storm_of_writes_ends_with_what_was_written_last() {
    const STORM: Duration = Duration::from_secs(4);
    let include = r#"["routes.toml", "gen.toml", "routes.d/*.toml"]"#;
    let scene = Scene::start(
        include,
        &[
            ("gen.toml", &numbered(0)),
            ("routes.d/a.toml", &numbered(1)),
        ],
    );
    let before = scene.policy();
    let path = |name: &str| scene.folder.path().join(name);
    let writes = AtomicU64::new(0);
    let begun = Instant::now();
    let (mut most_held, mut looks) = (0, 0u64);
    let answers = scene.under_load(|| {
        thread::scope(|scope| {
            let (writes, path) = (&writes, &path);
            let storm = move |write: &dyn Fn(usize)| {
                for number in 0.. {
                    if begun.elapsed() > STORM {
                        return;
                    }
                    write(number);
                    writes.fetch_add(1, Ordering::SeqCst);
                    thread::park_timeout(Duration::from_millis(2));
                }
            };
            // In place, by renaming, good and bad ones, files that come and go.
            scope.spawn(move || {
                storm(&|n| match n % 3 {
                    0 => write(&path("gen.toml"), &numbered(1000 + n)),
                    1 => rename_into(&path("gen.toml"), &numbered(1000 + n)),
                    _ => write(&path("gen.toml"), "[[routes"),
                });
            });
            scope.spawn(move || {
                storm(&|n| {
                    let passing = path(&format!("routes.d/{}.toml", n % 7));
                    if fs::remove_file(&passing).is_err() {
                        write(&passing, &numbered(100_000 + n));
                    }
                });
            });
            // Whoever asks how it is, is told.
            while begun.elapsed() < STORM {
                let held = scene.policy()["generations_held"].as_u64();
                most_held = most_held.max(held.expect("a number"));
                looks += 1;
                thread::park_timeout(Duration::from_millis(20));
            }
        });
        for n in 0..7 {
            let _ = fs::remove_file(path(&format!("routes.d/{n}.toml")));
        }
        write(&path("gen.toml"), &numbered(2));
        scene.follows("the last one", 2, true);
    });
    let took = begun.elapsed();
    assert!(scene.has(1) && !scene.has(0), "and no other");
    let after = scene.policy();
    let count = |name: &str| {
        let of = |policy: &Value| policy[name].as_u64().expect("a number");
        of(&after) - of(&before)
    };
    let (accepted, refused) = (count("reloads_accepted"), count("reloads_refused"));
    let writes = writes.into_inner();
    println!(
        "{writes} writes, {answers} answers, {looks} looks in {took:?}: {accepted} accepted, {refused} refused, at most {most_held} generations held"
    );
    assert!(writes > 400, "{writes}: no storm");
    // Each reading is settled by two looks that are 150 ms apart.
    let most = took.as_millis() as u64 / 150 + 1;
    assert!(
        accepted + refused <= most,
        "{accepted} and {refused} of {most}"
    );
    assert!(most_held <= 4, "{most_held} generations held");
    until("old generations are dropped", || {
        scene.policy()["generations_held"] == 1
    });
}
