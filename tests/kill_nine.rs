//! kill -9 at random moments, while four writers and a second process change keys without pause: what was acknowledged
//! survives, and what was deleted stays away.
//!
//! Each writer keeps a [`Journal`]: what it was told to be done, and what it asked for without hearing the answer. A round
//! starts the gateway on the store that the last one left, lists all keys, holds the list against the journals
//! ([`faults`], a pure function), tries keys at the data plane, lets the writers begin and kills the gateway up to 50 ms
//! later. A change without an answer may have been made or not, but not in part; from then on it counts as found.
//!
//! Two negative controls show that the check would notice. In one, writers take a change for acknowledged when it is
//! sent: that is what a gateway that answers before its commit comes to. In the other, the store is put back to where it
//! was before the last acknowledged changes: that is what a commit that is not on the disk comes to. The product has no
//! switch for either, since a switch that loses changes has no place in it.
//!
//! `KEYGATE_KILL_ROUNDS` asks for more rounds than 200, `KEYGATE_SEED` for the same again.

mod support;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::trial::{Dice, Outside, forgetful_upstream, pause, until};
use support::{Client, Folder, Gateway, ROUTES};

/// A key that exists, as an answer or a list shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct State {
    name: String,
    scope: String,
    enabled: bool,
}

/// What is known of a key.
struct Entry {
    secret: String,
    /// As the last answer said; `None` when it was deleted.
    acknowledged: Option<State>,
    /// What was asked for and not answered.
    asked: Option<Option<State>>,
}

/// What one writer knows.
#[derive(Default)]
struct Journal {
    /// By id.
    keys: BTreeMap<String, Entry>,
    /// Creations without an answer, by name; names are never used twice.
    creating: BTreeMap<String, State>,
    acknowledged: u64,
}

/// Every key that is there, by id: its state and its text.
type Found = BTreeMap<String, (State, String)>;

/// What must not be.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fault {
    /// An acknowledged change is not there.
    Lost(String),
    /// A key whose deletion was acknowledged is there.
    Back(String),
    /// Nobody asked for this key.
    Unknown(String),
}

/// Holds what is there against what was acknowledged and asked for.
fn faults(journals: &[&Journal], found: &Found) -> BTreeSet<Fault> {
    let mut faults = BTreeSet::new();
    let mut strangers: BTreeMap<&String, &(State, String)> = found.iter().collect();
    for (id, entry) in journals.iter().flat_map(|journal| &journal.keys) {
        let there = strangers.remove(id);
        let state = there.map(|(state, _)| state);
        let known = state == entry.acknowledged.as_ref();
        let asked = entry.asked.as_ref().is_some_and(|a| a.as_ref() == state);
        let told = || format!("{id}: {:?} became {state:?}", entry.acknowledged);
        match (&entry.acknowledged, there) {
            (_, Some((_, secret))) if *secret != entry.secret => {
                faults.insert(Fault::Lost(format!("{id}: its text is another")));
            }
            _ if known || asked => {}
            (None, _) => {
                faults.insert(Fault::Back(told()));
            }
            (Some(_), _) => {
                faults.insert(Fault::Lost(told()));
            }
        }
    }
    let mut creating: BTreeMap<_, _> = journals.iter().flat_map(|j| &j.creating).collect();
    for (id, (state, _)) in strangers {
        if creating.remove(&state.name) != Some(state) {
            faults.insert(Fault::Unknown(format!("{id}: {state:?}")));
        }
    }
    faults
}

impl Journal {
    /// What was found is the truth from now on. Gives how many changes without an answer were made, and how many not.
    fn settle(&mut self, found: &Found) -> (u64, u64) {
        let (mut made, mut not_made) = (0, 0);
        let mut count = |was_made| {
            if was_made {
                made += 1;
            } else {
                not_made += 1;
            }
        };
        for (id, entry) in &mut self.keys {
            if let Some(asked) = entry.asked.take() {
                let state = found.get(id).map(|(state, _)| state.clone());
                count(state == asked);
                entry.acknowledged = state;
            }
        }
        for (name, _) in std::mem::take(&mut self.creating) {
            let there = found.iter().find(|(_, (state, _))| state.name == name);
            count(there.is_some());
            if let Some((id, (state, secret))) = there {
                let entry = Entry {
                    secret: secret.clone(),
                    acknowledged: Some(state.clone()),
                    asked: None,
                };
                self.keys.insert(id.clone(), entry);
            }
        }
        (made, not_made)
    }

    fn created(&mut self, name: &str, key: &Value) {
        let state = self.creating.remove(name).expect("it was asked for");
        let id = text(key, "id");
        let entry = Entry {
            secret: text(key, "apiKey"),
            acknowledged: Some(state),
            asked: None,
        };
        assert!(self.keys.insert(id, entry).is_none(), "an id comes once");
        self.acknowledged += 1;
    }

    fn asked(&mut self, id: &str, state: Option<State>) {
        self.keys.get_mut(id).expect("it is known").asked = Some(state);
    }

    fn answered(&mut self, id: &str) {
        let entry = self.keys.get_mut(id).expect("it is known");
        if let Some(asked) = entry.asked.take() {
            entry.acknowledged = asked;
            self.acknowledged += 1;
        }
    }
}

#[test]
fn the_check_tells_what_is_lost_from_what_was_not_answered() {
    let state = |name: &str| State {
        name: name.to_owned(),
        scope: "authOnly".to_owned(),
        enabled: true,
    };
    let there = |name: &str| Found::from([("id".to_owned(), (state(name), "secret".to_owned()))]);
    let journal = |acknowledged: Option<State>, asked: Option<Option<State>>| {
        let secret = "secret".to_owned();
        let entry = Entry {
            secret,
            acknowledged,
            asked,
        };
        Journal {
            keys: BTreeMap::from([("id".to_owned(), entry)]),
            ..Journal::default()
        }
    };
    let lost = |found: &BTreeSet<Fault>| matches!(found.first(), Some(Fault::Lost(_)));
    let back = |found: &BTreeSet<Fault>| matches!(found.first(), Some(Fault::Back(_)));
    let (a, b) = (Some(state("a")), Some(state("b")));
    for (row, journal, found, right) in [
        (1, journal(a.clone(), None), there("a"), "ok"),
        (2, journal(a.clone(), None), there("b"), "lost"),
        (3, journal(a.clone(), None), Found::new(), "lost"),
        (4, journal(None, None), there("a"), "back"),
        (5, journal(None, None), Found::new(), "ok"),
        (6, journal(a.clone(), Some(b.clone())), there("b"), "ok"),
        (7, journal(a.clone(), Some(b.clone())), there("a"), "ok"),
        (8, journal(a.clone(), Some(b)), there("c"), "lost"),
        (9, journal(a.clone(), Some(None)), Found::new(), "ok"),
        (10, journal(a, Some(None)), there("a"), "ok"),
        (11, Journal::default(), there("a"), "unknown"),
    ] {
        let found = faults(&[&journal], &found);
        let seen = match found.len() {
            0 => "ok",
            _ if lost(&found) => "lost",
            _ if back(&found) => "back",
            _ => "unknown",
        };
        assert_eq!(seen, right, "row {row}: {found:?}");
    }
}

fn text(key: &Value, field: &str) -> String {
    key[field].as_str().expect("a text").to_owned()
}

/// What to do next.
enum Step {
    Create(State),
    Update(String, State),
    Delete(String),
}

/// Draws what a writer does next; it keeps about ten keys, and lets those be of which it does not know what became.
fn draw(journal: &Journal, dice: &mut Dice, writer: usize, number: &mut u64) -> Step {
    let alive: Vec<&String> = journal
        .keys
        .iter()
        .filter(|(_, entry)| entry.acknowledged.is_some() && entry.asked.is_none())
        .map(|(id, _)| id)
        .collect();
    *number += 1;
    let state = State {
        name: format!("writer {writer}, change {number}"),
        scope: ["authOnly", "fullAccess"][dice.below(2)].to_owned(),
        enabled: dice.below(4) > 0,
    };
    let chance = match alive.len() {
        0..3 => 0,
        16.. => 9,
        _ => dice.below(10),
    };
    match chance {
        0..3 => Step::Create(state),
        3..7 => Step::Update(alive[dice.below(alive.len())].clone(), state),
        _ => Step::Delete(alive[dice.below(alive.len())].clone()),
    }
}

/// When a writer takes a change for done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Acknowledged {
    /// When it is answered.
    ByItsAnswer,
    /// When it is sent: the negative control.
    BeforeItsCommit,
}

/// What the writers of a round share.
struct Storm {
    begin: Barrier,
    when: Acknowledged,
    answers: AtomicU64,
}

/// A writer over HTTP, and what it knows.
struct Writer {
    writer: usize,
    number: u64,
    dice: Dice,
    journal: Journal,
}

impl Writer {
    /// Writes without pause until the connection breaks.
    fn write(&mut self, address: SocketAddr, root: &str, storm: &Storm) {
        let client = Client::try_connect(address);
        storm.begin.wait();
        if let Ok(mut client) = client {
            while self.step(&mut client, root, storm.when).is_ok() {
                storm.answers.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn step(&mut self, client: &mut Client, root: &str, when: Acknowledged) -> std::io::Result<()> {
        let step = draw(&self.journal, &mut self.dice, self.writer, &mut self.number);
        let journal = &mut self.journal;
        let (line, body, id) = match &step {
            Step::Create(state) => {
                journal.creating.insert(state.name.clone(), state.clone());
                ("POST /apikeys".to_owned(), shape(state), None)
            }
            Step::Update(id, state) => {
                journal.asked(id, Some(state.clone()));
                (format!("PUT /apikeys/{id}"), shape(state), Some(id))
            }
            Step::Delete(id) => {
                journal.asked(id, None);
                (format!("DELETE /apikeys/{id}"), String::new(), Some(id))
            }
        };
        client.try_send(&line, root, &body)?;
        if let (Acknowledged::BeforeItsCommit, Some(id)) = (when, id) {
            journal.answered(id);
        }
        let answer = client.try_read()?;
        assert_eq!(answer.status, 200, "{line} {body}: {}", answer.text());
        match &step {
            Step::Create(state) => journal.created(&state.name, &answer.json()["data"]),
            Step::Update(id, _) | Step::Delete(id) => journal.answered(id),
        }
        Ok(())
    }
}

fn shape(state: &State) -> String {
    json!({"name": state.name, "scope": state.scope, "enabled": state.enabled}).to_string()
}

/// The second process: `keygate keys`, one command after the other.
struct SecondProcess {
    writer: Mutex<Writer>,
    /// It is to wait between two commands.
    hold: AtomicBool,
    /// The command that runs now is to be killed.
    kill: AtomicBool,
    over: AtomicBool,
}

impl SecondProcess {
    fn write(&self, folder: &Folder) {
        while !self.over.load(Ordering::SeqCst) {
            if self.hold.load(Ordering::SeqCst) {
                pause();
                continue;
            }
            let mut writer = self.writer.lock().unwrap();
            let Writer {
                writer,
                number,
                dice,
                journal,
            } = &mut *writer;
            let step = draw(journal, dice, *writer, number);
            let (arguments, id) = match &step {
                Step::Create(state) => {
                    journal.creating.insert(state.name.clone(), state.clone());
                    let mut words = vec!["create", "--name", &state.name, "--scope", &state.scope];
                    words.extend((!state.enabled).then_some("--disabled"));
                    (words, None)
                }
                Step::Update(id, state) => {
                    journal.asked(id, Some(state.clone()));
                    let enabled = if state.enabled {
                        "--enable"
                    } else {
                        "--disable"
                    };
                    let (name, scope) = (&state.name, &state.scope);
                    let words = vec!["update", id, "--name", name, "--scope", scope, enabled];
                    (words, Some(id))
                }
                Step::Delete(id) => {
                    journal.asked(id, None);
                    (vec!["delete", id], Some(id))
                }
            };
            let Some(printed) = self.command(folder, &arguments) else {
                continue;
            };
            match (&step, id) {
                (Step::Create(state), _) => journal.created(&state.name, &printed),
                (_, Some(id)) => journal.answered(id),
                (_, None) => unreachable!("every other step names a key"),
            }
        }
    }

    /// What the command printed; `None` when it was killed.
    fn command(&self, folder: &Folder, arguments: &[&str]) -> Option<Value> {
        let mut child = folder
            .command(&[], &["keys", "--json"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("keygate starts");
        let mut killed = false;
        while child.try_wait().expect("wait").is_none() {
            if self.kill.swap(false, Ordering::SeqCst) {
                child.kill().expect("it can be killed");
                killed = true;
            }
            pause();
        }
        let output = child.wait_with_output().expect("output");
        if killed && !output.status.success() {
            return None;
        }
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {told}");
        Some(serde_json::from_slice(&output.stdout).expect("JSON"))
    }
}

/// One store through many rounds.
struct Trial {
    folder: Arc<Folder>,
    root: String,
    writers: Vec<Writer>,
    dice: Dice,
    made: u64,
    not_made: u64,
    probes: usize,
}

impl Trial {
    fn new(what: &str) -> Self {
        let folder = Folder::quiet(forgetful_upstream(), r#"["routes.toml"]"#, ROUTES);
        let folder = Arc::new(folder);
        let root = folder.new_key("root", "fullAccess");
        let mut dice = Dice::roll(what);
        let writers = (0..4)
            .map(|writer| Writer {
                writer,
                number: 0,
                dice: dice.another(),
                journal: Journal::default(),
            })
            .collect();
        Trial {
            folder,
            root,
            writers,
            dice,
            made: 0,
            not_made: 0,
            probes: 0,
        }
    }

    /// Every key but the first, as the gateway lists them.
    fn found(&self, gateway: &Gateway) -> Found {
        let keys = gateway.all_keys(&self.root);
        let mut found = Found::new();
        for key in keys.iter().filter(|key| key["name"] != "root") {
            let state = State {
                name: text(key, "name"),
                scope: text(key, "scope"),
                enabled: key["enabled"].as_bool().expect("a boolean"),
            };
            let twice = found.insert(text(key, "id"), (state, text(key, "apiKey")));
            assert!(twice.is_none(), "an id is listed once");
        }
        found
    }

    /// Holds what a freshly started gateway has against the journals, and goes on from there.
    fn check(&mut self, gateway: &Gateway, second: Option<&SecondProcess>) -> BTreeSet<Fault> {
        let mut second = second.map(|second| second.writer.lock().unwrap());
        let found = self.found(gateway);
        let mut journals: Vec<&mut Journal> =
            self.writers.iter_mut().map(|w| &mut w.journal).collect();
        journals.extend(second.as_mut().map(|second| &mut second.journal));
        let seen: Vec<&Journal> = journals.iter().map(|journal| &**journal).collect();
        let faults = faults(&seen, &found);
        if !faults.is_empty() {
            return faults;
        }
        for journal in &mut journals {
            let (made, not_made) = journal.settle(&found);
            self.made += made;
            self.not_made += not_made;
        }
        // The keys in memory are those of the store, the deleted ones included. What the second process changed since the
        // start comes a moment later; what was there at the start is in force at once.
        let mut client = gateway.connect();
        let count = journals.len();
        for probe in 0..30 {
            let entries = &journals[probe % count].keys;
            let Some(pick) = entries.len().checked_sub(1) else {
                continue;
            };
            let entry = entries.values().nth(self.dice.below(pick + 1));
            let Entry {
                secret,
                acknowledged,
                ..
            } = entry.expect("it is below the length");
            let right = match acknowledged {
                Some(state) if state.enabled && state.scope == "fullAccess" => 200,
                Some(state) if state.enabled => 403,
                _ => 401,
            };
            let mut ask = || {
                let answer = client.try_call("GET /v3/x", secret, "");
                answer.expect("no request fails").status
            };
            if probe % count < 4 {
                assert_eq!(ask(), right, "{acknowledged:?}");
            } else {
                until("a change by the second process", || ask() == right);
            }
            self.probes += 1;
        }
        faults
    }

    /// Lets the writers begin, and kills the gateway up to 50 ms later; in half of the rounds, up to 50 ms after the
    /// first change was answered.
    fn storm(&mut self, gateway: Gateway, second: Option<&SecondProcess>, when: Acknowledged) {
        let storm = Storm {
            begin: Barrier::new(self.writers.len() + 1),
            when,
            answers: AtomicU64::new(0),
        };
        let delay = Duration::from_micros(self.dice.next() % 50_001);
        let after_an_answer = self.dice.below(2) == 0;
        let kill_second = self.dice.below(3) == 0;
        thread::scope(|scope| {
            for writer in &mut self.writers {
                let (root, storm, address) = (&self.root, &storm, gateway.address);
                scope.spawn(move || writer.write(address, root, storm));
            }
            storm.begin.wait();
            if after_an_answer {
                until("an answer", || storm.answers.load(Ordering::SeqCst) > 0);
            }
            moment(delay);
            if let Some(second) = second {
                second.kill.store(kill_second, Ordering::SeqCst);
            }
            gateway.kill();
        });
    }

    fn acknowledged(&self) -> u64 {
        self.writers.iter().map(|w| w.journal.acknowledged).sum()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the moments of beginnings and kills are drawn at random; nothing waits for them to be right"
)]
fn moment(delay: Duration) {
    thread::sleep(delay);
}

/// The store's own bookkeeping: the file is whole, and every change has its revision and its row in the trail.
fn bookkeeping(folder: &Folder) -> i64 {
    let mut store = Outside::open(&folder.store());
    assert_eq!(store.integrity(), "ok");
    store.run("BEGIN");
    let revision = store.number("SELECT revision FROM meta");
    assert_eq!(store.number("SELECT count(*) FROM audit"), revision);
    assert_eq!(store.number("SELECT max(revision) FROM audit"), revision);
    store.run("COMMIT");
    revision
}

#[test]
fn no_acknowledged_change_is_lost_and_no_deleted_key_comes_back_when_the_gateway_is_killed() {
    let rounds: usize = match std::env::var("KEYGATE_KILL_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("KEYGATE_KILL_ROUNDS is a number"),
        Err(_) => 200,
    };
    let begun = Instant::now();
    let mut trial = Trial::new("kill -9");
    let second = SecondProcess {
        writer: Mutex::new(Writer {
            writer: 4,
            number: 0,
            dice: trial.dice.another(),
            journal: Journal::default(),
        }),
        hold: AtomicBool::new(false),
        kill: AtomicBool::new(false),
        over: AtomicBool::new(false),
    };
    let folder = Arc::clone(&trial.folder);
    let mut starts = Duration::ZERO;
    thread::scope(|scope| {
        let writing = scope.spawn(|| second.write(&folder));
        // Whatever happens here, the second process must come to its end.
        let all = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..=rounds {
                assert!(!writing.is_finished(), "the second process goes on");
                // One start in four meets a second process that writes.
                let alone = trial.dice.below(4) > 0;
                second.hold.store(alone, Ordering::SeqCst);
                let starting = Instant::now();
                let gateway = trial.folder.start();
                starts += starting.elapsed();
                second.hold.store(true, Ordering::SeqCst);
                let faults = trial.check(&gateway, Some(&second));
                assert!(faults.is_empty(), "round {round}: {faults:#?}");
                if round % 10 == 0 || round == rounds {
                    let resting = second.writer.lock().unwrap();
                    let changes = 1 // the first key
                        + trial.acknowledged()
                        + resting.journal.acknowledged
                        + trial.made;
                    let revision = bookkeeping(&trial.folder);
                    assert_eq!(u64::try_from(revision), Ok(changes), "round {round}");
                }
                second.hold.store(false, Ordering::SeqCst);
                if round < rounds {
                    // The writers begin somewhere in a command of the second process.
                    moment(Duration::from_micros(trial.dice.next() % 60_000));
                    trial.storm(gateway, Some(&second), Acknowledged::ByItsAnswer);
                }
            }
        }));
        second.over.store(true, Ordering::SeqCst);
        second.hold.store(false, Ordering::SeqCst);
        if let Err(panic) = all {
            std::panic::resume_unwind(panic);
        }
    });
    let second = second.writer.into_inner().expect("it did not panic");
    let over_http = trial.acknowledged();
    assert!(over_http > rounds as u64, "the writers were at work");
    println!(
        "{rounds} rounds in {:?} (a start took {:?}): {over_http} changes acknowledged over HTTP, {} by a second process; \
         of those without an answer {} were made and {} not; {} keys tried at the data plane; integrity_check ok",
        begun.elapsed(),
        starts / (rounds as u32 + 1),
        second.journal.acknowledged,
        trial.made,
        trial.not_made,
        trial.probes
    );
}

#[test]
fn a_gateway_that_is_killed_while_it_makes_its_store_starts_again() {
    let mut dice = Dice::roll("kill -9 at the first start");
    let (mut nothing, mut half, mut ready) = (0, 0, 0);
    for _ in 0..30 {
        let folder = Folder::quiet(forgetful_upstream(), r#"["routes.toml"]"#, ROUTES);
        for _ in 0..3 {
            let mut first = folder
                .command(&[], &["run"])
                .stderr(Stdio::null())
                .spawn()
                .expect("keygate starts");
            moment(Duration::from_micros(dice.next() % 150_001));
            first.kill().expect("it still ran");
            first.wait().expect("wait");
            match (folder.store().exists(), folder.secret().exists()) {
                (false, false) => nothing += 1,
                (true, false) => half += 1,
                (true, true) => ready += 1,
                (false, true) => panic!("a secret without its store"),
            }
        }
        let gateway = folder.start();
        let key = folder.new_key("first", "fullAccess");
        until("the first key", || {
            gateway.manage(&key, "GET /v3/x", "").status == 200
        });
        bookkeeping(&folder);
    }
    println!(
        "90 kills: {nothing} before there was a store, {half} before its secret, {ready} after that"
    );
}

#[test]
fn the_check_notices_a_change_that_is_acknowledged_before_its_commit() {
    let mut trial = Trial::new("acknowledged too early");
    let mut rounds = 0;
    let faults = loop {
        let gateway = trial.folder.start();
        let faults = trial.check(&gateway, None);
        if !faults.is_empty() {
            break faults;
        }
        assert!(
            rounds < 100,
            "no round in 100 lost a change that was taken for done"
        );
        rounds += 1;
        trial.storm(gateway, None, Acknowledged::BeforeItsCommit);
    };
    println!("noticed after {rounds} rounds: {faults:?}");
}

#[test]
fn the_check_notices_a_commit_that_is_not_on_the_disk() {
    let mut trial = Trial::new("a lost commit");
    let files =
        ["keygate.db", "keygate.db-wal"].map(|name| trial.folder.path().join("data").join(name));
    let shm = trial.folder.path().join("data/keygate.db-shm");
    // Some keys, so that there is something to delete.
    for _ in 0..5 {
        let gateway = trial.folder.start();
        assert_eq!(trial.check(&gateway, None), BTreeSet::new());
        trial.storm(gateway, None, Acknowledged::ByItsAnswer);
    }
    let (mut lost, mut back) = (false, false);
    for round in 0.. {
        assert!(round < 100, "no round in 100 had both kinds of change");
        // As the disk would be, had the changes of the next round been answered and not written.
        let before: Vec<_> = files.iter().map(|file| std::fs::read(file).ok()).collect();
        let gateway = trial.folder.start();
        assert_eq!(trial.check(&gateway, None), BTreeSet::new());
        let settled = trial.acknowledged();
        trial.storm(gateway, None, Acknowledged::ByItsAnswer);
        if trial.acknowledged() == settled {
            continue;
        }
        let after: Vec<_> = files.iter().map(|file| std::fs::read(file).ok()).collect();
        let put = |contents: &[Option<Vec<u8>>]| {
            let _ = std::fs::remove_file(&shm); // SQLite makes it again from the log
            for (file, content) in files.iter().zip(contents) {
                match content {
                    Some(content) => std::fs::write(file, content).expect("write"),
                    None => drop(std::fs::remove_file(file)),
                }
            }
        };
        put(&before);
        let gateway = trial.folder.start();
        let faults = trial.check(&gateway, None);
        gateway.kill();
        lost |= faults.iter().any(|fault| matches!(fault, Fault::Lost(_)));
        back |= faults.iter().any(|fault| matches!(fault, Fault::Back(_)));
        assert!(
            !faults.is_empty(),
            "acknowledged changes are gone, and nothing was noticed"
        );
        if lost && back {
            println!("both kinds noticed by round {round}");
            return;
        }
        put(&after);
    }
}
