//! Certificates are hot: what is written in their place is shown to the next client, and no client notices otherwise.

mod support;

use rustls::HandshakeKind;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use support::certificates::{Authority, Caller, Pair, config, folder, put};
use support::trial::until;
use support::{Folder, Gateway, ROUTES, Upstream};

const ONE: &str = "tls = { cert = \"a.pem\", key = \"a.key\" }";

fn shows(gateway: &Gateway, authority: &Authority, pair: &Pair) -> bool {
    Caller::of(authority, "a.example")
        .connect(gateway.address)
        .expect("a handshake")
        .was_shown(pair)
}

fn policy(gateway: &Gateway, field: &str) -> serde_json::Value {
    gateway.status()["policy"][field].clone()
}

fn start(authority: &Authority, upstream: &Upstream) -> (Folder, Gateway, Pair) {
    let folder = folder(upstream.address, ONE, "", ROUTES);
    let first = authority.sign(&["a.example"]);
    first.write(folder.path(), "a");
    let gateway = folder.start();
    (folder, gateway, first)
}

/// Clients that ask all the time, on kept connections and on new ones, while something is done.
fn under_load(gateway: &Gateway, authority: &Authority, act: impl FnOnce()) -> u64 {
    let done = AtomicBool::new(false);
    let answers = AtomicU64::new(0);
    thread::scope(|scope| {
        for fresh in [false, false, true, true] {
            let (done, answers) = (&done, &answers);
            scope.spawn(move || {
                let caller = Caller::of(authority, "a.example");
                let connect = || caller.connect(gateway.address).expect("a handshake");
                let mut client = connect();
                while !done.load(Ordering::Relaxed) {
                    if fresh {
                        client = connect();
                    }
                    let answer = client.get("/open/x", &[]).expect("an answer");
                    assert_eq!(answer.status, 200);
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Whatever happens: the clients must end.
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _end = End(&done);
        let asked = || answers.load(Ordering::Relaxed);
        until("the load has begun", || asked() > 20);
        act();
        let before = asked();
        until("the load goes on", || asked() > before + 20);
    });
    answers.into_inner()
}

#[test]
fn a_certificate_that_is_renamed_into_place_is_shown_and_nobody_is_disturbed() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let (folder, gateway, _) = start(&authority, &upstream);
    under_load(&gateway, &authority, || {
        for _ in 0..4 {
            let next = authority.sign(&["a.example"]);
            // Between the two renames key and certificate do not belong together: if that is seen, it is refused.
            next.write(folder.path(), "a");
            until("it is shown", || shows(&gateway, &authority, &next));
        }
    });
}

#[test]
fn a_link_that_is_swapped_as_kubernetes_does_is_followed_and_nobody_is_disturbed() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let server = "tls = { cert = \"tls/a.pem\", key = \"tls/a.key\" }";
    let folder = folder(upstream.address, server, "", ROUTES);
    let mount = folder.path().join("tls");
    let place = |number: u32| {
        let pair = authority.sign(&["a.example"]);
        let version = mount.join(format!("..{number}"));
        fs::create_dir_all(&version).unwrap();
        pair.write(&version, "a");
        let beside = mount.join("..data.new");
        symlink(format!("..{number}"), &beside).unwrap();
        fs::rename(beside, mount.join("..data")).unwrap();
        if number > 1 {
            fs::remove_dir_all(mount.join(format!("..{}", number - 1))).unwrap();
        }
        pair
    };
    let first = place(1);
    for name in ["a.pem", "a.key"] {
        symlink(format!("..data/{name}"), mount.join(name)).unwrap();
    }
    let gateway = folder.start();
    assert!(shows(&gateway, &authority, &first));
    under_load(&gateway, &authority, || {
        for number in 2..5 {
            let next = place(number);
            until("it is shown", || shows(&gateway, &authority, &next));
        }
    });
    assert_eq!(policy(&gateway, "reloads_refused"), 0);
}

#[test]
fn what_cannot_be_used_is_refused_whole_and_the_old_one_stays() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let (folder, gateway, first) = start(&authority, &upstream);
    let other = authority.sign(&["a.example"]);
    for (at, (what, spoil, said)) in [
        (
            "the key of another certificate",
            &(|| put(folder.path(), "a.key", &other.key, 0o600)) as &dyn Fn(),
            "keygate.toml:6:31: error: `server.tls.key`: the private key does not belong to the certificate",
        ),
        (
            "a key that everybody can read",
            &|| put(folder.path(), "a.key", &first.key, 0o644),
            "has mode 0644: others can get at the private key; expected at most 0640",
        ),
        (
            "half a certificate",
            &|| put(folder.path(), "a.pem", &first.cert[..200], 0o644),
            "it is not whole PEM",
        ),
        (
            "no certificate",
            &|| fs::remove_file(folder.path().join("a.pem")).unwrap(),
            "there is no such file",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        spoil();
        until(what, || policy(&gateway, "reloads_refused") == at as u64 + 1);
        let error = policy(&gateway, "last_error");
        assert!(error.as_str().unwrap().contains(said), "{what}: {error}");
        assert!(!error.to_string().contains("PRIVATE"), "{error}");
        assert!(shows(&gateway, &authority, &first), "{what}");
    }
    assert_eq!(policy(&gateway, "generation"), 1);
    other.write(folder.path(), "a");
    until("a good one is shown", || {
        shows(&gateway, &authority, &other)
    });
}

#[test]
fn permissions_that_are_set_right_are_noticed() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let (folder, gateway, first) = start(&authority, &upstream);
    let key = folder.path().join("a.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o604)).unwrap();
    until("it is refused", || policy(&gateway, "reloads_refused") == 1);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    until("it is in force", || {
        policy(&gateway, "last_error").is_null()
    });
    assert!(shows(&gateway, &authority, &first));
}

#[test]
fn sessions_outlive_reloads_that_changed_nothing_of_tls_and_no_others() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let (folder, gateway, _) = start(&authority, &upstream);
    let caller = Caller::of(&authority, "a.example");
    let next = |kind| {
        let mut client = caller.connect(gateway.address).expect("a handshake");
        assert_eq!(client.get("/open/x", &[]).unwrap().status, 200);
        assert_eq!(client.kind(), kind);
    };
    next(HandshakeKind::Full);
    folder.write(
        "routes.toml",
        &format!("{ROUTES}[[routes]]\npath = \"/more\"\naccess = \"deny\"\n"),
    );
    until("the route is in force", || {
        policy(&gateway, "generation") == 2
    });
    next(HandshakeKind::Resumed);
    let other = authority.sign(&["a.example"]);
    other.write(folder.path(), "a");
    until("the other is shown", || shows(&gateway, &authority, &other));
    next(HandshakeKind::Full);
    next(HandshakeKind::Resumed);
}

#[test]
fn listeners_do_not_fall_back_to_clear_text() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let (folder, gateway, first) = start(&authority, &upstream);
    folder.write("keygate.toml", &config(upstream.address, "", ""));
    until("it is in force", || policy(&gateway, "generation") == 2);
    let waiting = policy(&gateway, "waiting_for_restart");
    assert_eq!(waiting, serde_json::json!(["server.listen"]));
    assert!(shows(&gateway, &authority, &first));
    assert_eq!(gateway.call("GET /open/x", &[], "").status, 400);
}
