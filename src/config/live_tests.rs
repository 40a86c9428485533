//! Every way in which files change, with real files: what is in force follows, or the last good one stays.
//!
//! A test waits for what it wants to see, told of each judgement by a channel; the deadline is only there to fail.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Handle;

/// Far longer than a reload takes, so that a busy machine does not fail a test.
const DEADLINE: Duration = Duration::from_secs(30);

struct Set {
    folder: TempDir,
    live: Arc<Live>,
}

fn main_text(include: &str) -> String {
    format!(
        "include = {include}\n[upstreams.chat]\nservers = [\"http://127.0.0.1:9000\"]\n[scopes]\nauthOnly = []\nfullAccess = [\"authOnly\"]\n[defaults]\nupstream = \"chat\"\n[[routes]]\npath = \"/base\"\nscope = \"fullAccess\"\n"
    )
}

fn routes_text(path: &str) -> String {
    format!("[[routes]]\npath = \"{path}\"\nscope = \"fullAccess\"\n")
}

/// Writes beside and renames, as an operator should.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

impl Set {
    fn start(folder: TempDir) -> Set {
        let main = folder.path().join("keygate.toml");
        let loaded = load(&main, Secrets::Required)
            .map_err(|p| p.to_string())
            .unwrap();
        let live = Live::start(&main, Start::of(loaded), &Handle::current());
        Set { folder, live }
    }

    /// A main file with this `include`, and these files.
    fn with(include: &str, files: &[(&str, &str)]) -> Set {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::write(folder.path().join("keygate.toml"), main_text(include)).unwrap();
        Set::start(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn has(&self, template: &str) -> bool {
        let snapshot = self.live.snapshot();
        let routes = snapshot.hot.policy.routes();
        routes.iter().any(|r| &*r.template == template)
    }

    async fn until(&self, what: &str, seen: impl Fn(&Set) -> bool) {
        let mut judged = self.live.judged();
        let waiting = async {
            while !seen(self) {
                judged.changed().await.expect("the task lives");
            }
        };
        if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
            panic!("not within {DEADLINE:?}: {what}; {:?}", self.live.status());
        }
    }

    async fn until_route(&self, template: &str) {
        self.until(template, |set| set.has(template)).await;
    }

    async fn until_refused(&self, count: u64) {
        self.until("a refusal", |set| set.live.status().refused == count)
            .await;
    }
}

#[tokio::test]
async fn a_file_renamed_into_place_is_in_force() {
    let set = Set::with("[\"r.toml\"]", &[("r.toml", &routes_text("/a"))]);
    assert!(set.has("/a"));
    let first = set.live.snapshot();
    assert_eq!(first.generation, 1);
    replace(&set.path("r.toml"), &routes_text("/b"));
    set.until_route("/b").await;
    assert!(!set.has("/a"));
    let second = set.live.snapshot();
    assert_eq!(second.generation, 2);
    assert_ne!(first.hash, second.hash);
    let status = set.live.status();
    assert_eq!((status.accepted, status.refused), (1, 0));
    assert_eq!(status.hash, second.hash);
    assert!(status.last_attempt.is_some());
}

#[tokio::test]
async fn a_file_written_in_place_is_in_force() {
    let set = Set::with("[\"r.toml\"]", &[("r.toml", &routes_text("/a"))]);
    fs::write(set.path("r.toml"), routes_text("/b")).unwrap();
    set.until_route("/b").await;
    fs::write(set.path("keygate.toml"), main_text("[]")).unwrap();
    set.until("the include is gone", |s| !s.has("/b")).await;
}

#[tokio::test]
async fn a_change_through_a_link_is_in_force() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("deep/r.toml");
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::write(&target, routes_text("/a")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    symlink(&target, folder.path().join("r.toml")).unwrap();
    fs::write(
        folder.path().join("keygate.toml"),
        main_text("[\"r.toml\"]"),
    )
    .unwrap();
    let set = Set::start(folder);
    fs::write(&target, routes_text("/b")).unwrap();
    set.until_route("/b").await;
    replace(&target, &routes_text("/c"));
    set.until_route("/c").await;
}

#[tokio::test]
async fn a_swapped_link_to_a_folder_is_in_force() {
    // As a mounted ConfigMap does it: file -> ..data/file, ..data -> ..1, then ..data is renamed over.
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (version, route) in [("..1", "/a"), ("..2", "/b")] {
        fs::create_dir(path(version)).unwrap();
        fs::write(
            path(version).join("keygate.toml"),
            main_text("[\"*.toml\"]"),
        )
        .unwrap();
        fs::write(path(version).join("r.toml"), routes_text(route)).unwrap();
    }
    symlink("..1", path("..data")).unwrap();
    symlink("..data/keygate.toml", path("keygate.toml")).unwrap();
    symlink("..data/r.toml", path("r.toml")).unwrap();
    let (swap, data, old) = (path("..swap"), path("..data"), path("..1"));
    symlink("..2", &swap).unwrap();
    let set = Set::start(folder);
    assert!(set.has("/a"));
    fs::rename(swap, data).unwrap();
    fs::remove_dir_all(old).unwrap();
    set.until_route("/b").await;
    assert_eq!(set.live.status().refused, 0);
}

#[tokio::test]
async fn a_new_file_and_a_new_folder_that_match_a_pattern_are_in_force() {
    let set = Set::with("[\"routes.d/*/*.toml\", \"*.d/x.toml\"]", &[]);
    fs::create_dir_all(set.path("routes.d/team")).unwrap();
    fs::write(set.path("routes.d/team/a.toml"), routes_text("/a")).unwrap();
    set.until_route("/a").await;
    replace(&set.path("routes.d/team/b.toml"), &routes_text("/b"));
    set.until_route("/b").await;
    // Hidden files are nobody's configuration.
    fs::write(set.path("routes.d/team/.#b.toml"), "nonsense").unwrap();
    fs::create_dir(set.path("y.d")).unwrap();
    replace(&set.path("y.d/x.toml"), &routes_text("/x"));
    set.until_route("/x").await;
    fs::remove_file(set.path("routes.d/team/a.toml")).unwrap();
    set.until("the deleted file is gone", |s| !s.has("/a"))
        .await;
    assert!(set.has("/b"));
    assert_eq!(set.live.status().refused, 0);
}

#[tokio::test]
async fn a_deleted_file_leaves_the_last_good_configuration_in_force() {
    let set = Set::with("[\"r.toml\"]", &[("r.toml", &routes_text("/a"))]);
    fs::remove_file(set.path("r.toml")).unwrap();
    set.until_refused(1).await;
    assert!(set.has("/a"));
    let error = set.live.status().last_error.unwrap();
    assert!(error.contains("r.toml: there is no such file"), "{error}");
    fs::write(set.path("r.toml"), routes_text("/b")).unwrap();
    set.until_route("/b").await;
    fs::remove_file(set.path("keygate.toml")).unwrap();
    set.until_refused(2).await;
    assert!(set.has("/b"));
    fs::write(set.path("keygate.toml"), main_text("[]")).unwrap();
    set.until("the main file is back", |s| !s.has("/b")).await;
    assert_eq!(set.live.status().last_error, None);
}

#[tokio::test]
async fn a_bad_change_is_refused_and_a_good_one_after_it_is_taken() {
    let set = Set::with("[\"r.toml\"]", &[("r.toml", &routes_text("/a"))]);
    fs::write(
        set.path("r.toml"),
        "[[routes]]\npath = \"/b\"\nscope = \"fullAcces\"\n",
    )
    .unwrap();
    set.until_refused(1).await;
    let status = set.live.status();
    assert_eq!((status.generation, status.accepted), (1, 0));
    let error = status.last_error.unwrap();
    assert!(error.contains("r.toml:3:9: error: "), "{error}");
    // Half a file.
    fs::write(set.path("r.toml"), &routes_text("/b")[..20]).unwrap();
    set.until_refused(2).await;
    assert!(set.has("/a"));
    fs::write(set.path("r.toml"), routes_text("/b")).unwrap();
    set.until_route("/b").await;
    let status = set.live.status();
    assert_eq!(
        (status.generation, status.accepted, status.refused),
        (2, 1, 2)
    );
    assert_eq!(status.last_error, None);
}

#[tokio::test]
async fn a_change_taken_back_makes_no_generation() {
    let set = Set::with("[\"r.toml\"]", &[("r.toml", &routes_text("/a"))]);
    fs::write(set.path("r.toml"), "nonsense").unwrap();
    set.until_refused(1).await;
    replace(&set.path("r.toml"), &routes_text("/a"));
    set.until("the error is gone", |s| {
        s.live.status().last_error.is_none()
    })
    .await;
    let status = set.live.status();
    assert_eq!(
        (status.generation, status.accepted, status.refused),
        (1, 0, 1)
    );
}

#[tokio::test]
async fn an_unchanged_file_makes_no_generation_even_when_asked() {
    let set = Set::with("[\"r.toml\"]", &[("r.toml", &routes_text("/a"))]);
    let before = *set.live.judged().borrow();
    replace(&set.path("r.toml"), &routes_text("/a"));
    set.live.reload();
    set.until("an attempt", |s| {
        s.live.status().last_attempt.is_some() && s.live.judged().borrow().0 > before.0
    })
    .await;
    let status = set.live.status();
    assert_eq!(
        (status.generation, status.accepted, status.refused),
        (1, 0, 0)
    );
}

#[tokio::test]
async fn cold_changes_wait_and_hot_ones_beside_them_do_not() {
    let set = Set::with("[]", &[]);
    let cold =
        "[server]\nlisten = \"127.0.0.1:1\"\n[keys]\nheader = \"x-key\"\nreveal = \"once\"\n";
    let text = format!("{}{cold}{}", main_text("[]"), routes_text("/b"));
    replace(&set.path("keygate.toml"), &text);
    set.until_route("/b").await;
    assert_eq!(set.live.status().waiting, ["server.listen", "keys.header"]);
    assert_eq!(set.live.snapshot().hot.reveal, crate::key::Reveal::Once);
    replace(&set.path("keygate.toml"), &main_text("[]"));
    set.until("nothing waits", |s| s.live.status().waiting.is_empty())
        .await;
}

#[tokio::test]
async fn a_changed_secret_file_is_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let text = main_text("[]").replace(
        "[scopes]",
        "headers.set = { apikey = \"${file:secret/token}\" }\n[scopes]",
    );
    fs::create_dir(folder.path().join("secret")).unwrap();
    fs::write(folder.path().join("secret/token"), "one\n").unwrap();
    fs::write(folder.path().join("keygate.toml"), text).unwrap();
    let set = Set::start(folder);
    let value = |set: &Set| {
        let edits = &set.live.snapshot().hot.upstreams[0].headers.request;
        match &edits.set[0].1 {
            crate::http::edits::Template::Fixed(value) => value.clone(),
            made => panic!("{made:?}"),
        }
    };
    assert_eq!(value(&set), "one");
    replace(&set.path("secret/token"), "two\n");
    set.until("the new secret", |s| value(s) == "two").await;
    fs::remove_dir_all(set.path("secret")).unwrap();
    set.until_refused(1).await;
    assert_eq!(value(&set), "two");
}

#[tokio::test]
async fn what_was_written_between_load_and_start_is_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("keygate.toml");
    fs::write(&main, main_text("[]")).unwrap();
    let loaded = load(&main, Secrets::Required)
        .map_err(|p| p.to_string())
        .unwrap();
    fs::write(&main, format!("{}{}", main_text("[]"), routes_text("/b"))).unwrap();
    let live = Live::start(&main, Start::of(loaded), &Handle::current());
    let set = Set { folder, live };
    set.until_route("/b").await;
}

#[tokio::test]
async fn a_replaced_generation_is_dropped_when_its_last_user_lets_go_and_not_before() {
    let set = Set::with("[\"r.toml\"]", &[("r.toml", &routes_text("/a"))]);
    let held = set.live.snapshot();
    let (old, route) = (
        Arc::downgrade(&held),
        Arc::downgrade(&held.hot.policy.routes()[0]),
    );
    replace(&set.path("r.toml"), &routes_text("/b"));
    set.until_route("/b").await;
    let begin = Instant::now();
    // The user and the task; for a moment also what compares the two generations.
    while Arc::strong_count(&held) != 2 {
        assert!(begin.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    }
    drop(held);
    while old.upgrade().is_some() {
        assert!(begin.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    }
    assert!(route.upgrade().is_none());
}

#[tokio::test]
async fn after_stop_nothing_follows_the_files() {
    let set = Set::with("[\"r.toml\"]", &[("r.toml", &routes_text("/a"))]);
    let mut judged = set.live.judged();
    set.live.stop().await;
    replace(&set.path("r.toml"), &routes_text("/b"));
    let snapshot = set.live.snapshot();
    // The task is gone, and with it whoever could tell of a judgement; the channel's owner is `Live`.
    drop(set);
    assert!(judged.changed().await.is_err());
    assert_eq!(snapshot.generation, 1);
}
