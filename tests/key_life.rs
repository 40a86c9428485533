//! The life of keys under load: what was answered is in force for every request that starts later.
//!
//! Managers change keys while clients use them, all on connections of their own. Every request and every change notes
//! when it began and when its answer was there, as numbers of one counter, so that "later" needs no clock. What a request
//! may be answered follows from that alone: [`faults`] says so, and a test shows that it would notice.

mod support;

use keygate::clock::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;
use support::trial::{Dice, Order, forgetful_upstream, until};
use support::{Client, Folder, Gateway, ROUTES};

/// A change of a key: from then on, requests with it get this status.
struct Change {
    sent: u64,
    answered: u64,
    status: u16,
}

/// A request with a key.
struct Request {
    begun: u64,
    ended: u64,
    status: u16,
}

/// A key, and all that happened with it.
struct Key {
    text: String,
    id: String,
    changes: Mutex<Vec<Change>>,
    requests: Mutex<Vec<Request>>,
}

/// The requests that got an answer which no order of what happened at the same time explains.
///
/// The changes of one key follow each other. A request may find what the last change answered before it began has made,
/// or what any change has made that was under way together with it; nothing else.
fn faults(changes: &[Change], requests: &[Request]) -> Vec<String> {
    let mut found = Vec::new();
    for request in requests {
        let before = changes
            .iter()
            .rfind(|change| change.answered < request.begun)
            .map_or(401, |change| change.status);
        let allowed: BTreeSet<u16> = changes
            .iter()
            .filter(|change| change.sent < request.ended && change.answered > request.begun)
            .map(|change| change.status)
            .chain([before])
            .collect();
        if !allowed.contains(&request.status) {
            found.push(format!(
                "from {} to {}: {}, where {allowed:?} was right",
                request.begun, request.ended, request.status
            ));
        }
    }
    found
}

#[test]
fn a_request_that_is_let_through_after_a_delete_was_answered_is_noticed() {
    let change = |sent, answered, status| Change {
        sent,
        answered,
        status,
    };
    let changes = [change(1, 2, 200), change(10, 20, 403), change(30, 40, 401)];
    for (begun, ended, status, right) in [
        (3, 4, 200, true),
        (3, 4, 401, false),
        (3, 11, 403, true),
        (19, 25, 200, true),
        (21, 25, 200, false),
        (21, 25, 403, true),
        (21, 31, 401, true),
        (39, 50, 403, true),
        (41, 50, 403, false),
        (41, 50, 200, false),
        (41, 50, 401, true),
        (15, 50, 200, true),
    ] {
        let request = Request {
            begun,
            ended,
            status,
        };
        let found = faults(&changes, &[request]);
        assert_eq!(found.is_empty(), right, "{begun} {ended} {status}");
    }
}

fn start() -> (Folder, Gateway, String) {
    let folder = Folder::quiet(forgetful_upstream(), r#"["routes.toml"]"#, ROUTES);
    let root = folder.new_key("root", "fullAccess");
    let gateway = folder.start();
    (folder, gateway, root)
}

/// What a management request answered; it must be 200.
fn manage(client: &mut Client, key: &str, line: &str, body: &Value) -> Value {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let answer = client.try_call(line, key, &body).expect("an answer");
    assert_eq!(answer.status, 200, "{line} {body}: {}", answer.text());
    answer.json()["data"].clone()
}

fn text(data: &Value, field: &str) -> String {
    data[field].as_str().expect("a text").to_owned()
}

/// What a key that needs fullAccess gets.
fn ask(client: &mut Client, key: &str) -> u16 {
    let answer = client.try_call("GET /v3/x", key, "");
    answer.expect("no request fails").status
}

/// One manager's keys: the one that lives now, and the one before.
type Slot = Mutex<Vec<Arc<Key>>>;

fn use_keys(gateway: &Gateway, order: &Order, slot: &Slot, over: &AtomicBool, dice: &mut Dice) {
    let mut client = gateway.connect();
    while !over.load(Ordering::SeqCst) {
        let keys = slot.lock().unwrap().clone();
        if keys.is_empty() {
            support::trial::pause();
            continue;
        }
        let key = &keys[dice.below(keys.len())];
        let begun = order.now();
        let status = ask(&mut client, &key.text);
        let ended = order.now();
        key.requests.lock().unwrap().push(Request {
            begun,
            ended,
            status,
        });
    }
}

/// Leads one key through its life, each change seen by requests that began after its answer.
fn lead_a_key(gateway: &Gateway, order: &Order, slot: &Slot, root: &str) -> Arc<Key> {
    let (mut client, mut other) = (gateway.connect(), gateway.connect());
    let sent = order.now();
    let made = json!({"name": "a life", "scope": "fullAccess"});
    let made = manage(&mut client, root, "POST /apikeys", &made);
    let answered = order.now();
    let key = Arc::new(Key {
        text: text(&made, "apiKey"),
        id: text(&made, "id"),
        changes: Mutex::new(vec![Change {
            sent,
            answered,
            status: 200,
        }]),
        requests: Mutex::default(),
    });
    {
        let mut keys = slot.lock().unwrap();
        keys.truncate(1);
        keys.insert(0, Arc::clone(&key));
    }
    let path = format!("/apikeys/{}", key.id);
    let put = format!("PUT {path}");
    let far = Timestamp::now().unix_seconds() + 1_000_000;
    for (line, body, status) in [
        (put.as_str(), json!({"scope": "authOnly"}), 403),
        (&put, json!({"scope": "fullAccess", "name": "other"}), 200),
        (&put, json!({"enabled": false}), 401),
        (&put, json!({"enabled": true, "expiresAt": far}), 200),
        (&put, json!({"enabled": false, "expiresAt": null}), 401),
        (&put, json!({"enabled": true, "scope": "authOnly"}), 403),
        (&put, json!({"scope": "fullAccess"}), 200),
        (&format!("DELETE {path}"), Value::Null, 401),
    ] {
        let sent = order.now();
        manage(&mut client, root, line, &body);
        let answered = order.now();
        key.changes.lock().unwrap().push(Change {
            sent,
            answered,
            status,
        });
        // At once, and on a connection that another worker may have.
        let begun = order.now();
        let status = ask(&mut other, &key.text);
        let ended = order.now();
        key.requests.lock().unwrap().push(Request {
            begun,
            ended,
            status,
        });
        until("requests that began after the answer", || {
            let requests = key.requests.lock().unwrap();
            requests.iter().filter(|r| r.begun > answered).count() >= 4
        });
    }
    key
}

#[test]
fn what_was_answered_is_in_force_for_every_request_that_starts_later() {
    const LIVES: usize = 25;
    let (_folder, gateway, root) = start();
    let mut dice = Dice::roll("key life");
    let order = Order::default();
    let over = AtomicBool::new(false);
    let slots: [Slot; 3] = Default::default();
    let mut keys: Vec<Arc<Key>> = Vec::new();
    thread::scope(|scope| {
        for slot in &slots {
            for _ in 0..3 {
                let (gateway, order, over) = (&gateway, &order, &over);
                let mut dice = dice.another();
                scope.spawn(move || use_keys(gateway, order, slot, over, &mut dice));
            }
        }
        let managers: Vec<_> = slots
            .iter()
            .map(|slot| {
                let (gateway, order, root) = (&gateway, &order, &root);
                let life = move |_| lead_a_key(gateway, order, slot, root);
                scope.spawn(move || (0..LIVES).map(life).collect::<Vec<_>>())
            })
            .collect();
        for manager in managers {
            keys.extend(manager.join().unwrap_or_default());
        }
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(keys.len(), 3 * LIVES, "every manager came to its end");
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    let (mut seen_changes, mut after_delete) = (0, 0);
    for key in &keys {
        let (changes, requests) = (key.changes.lock().unwrap(), key.requests.lock().unwrap());
        let found = faults(&changes, &requests);
        assert!(found.is_empty(), "{found:#?}");
        seen_changes += changes.len();
        let deleted = changes.last().expect("it was deleted").answered;
        after_delete += requests.iter().filter(|r| r.begun > deleted).count();
        for request in requests.iter() {
            *counts.entry(request.status).or_default() += 1;
        }
    }
    println!(
        "{} keys, {seen_changes} changes, requests by status {counts:?}, {after_delete} began after a DELETE was answered: none let through",
        keys.len()
    );
}

/// A create that a key asked for which was deleted meanwhile.
struct Created {
    begun: u64,
    ended: u64,
    status: u16,
    code: String,
    id: Option<String>,
}

/// Creates keys until that is refused.
fn create_until_refused(
    gateway: &Gateway,
    order: &Order,
    key: &str,
    name: &str,
    answers: &AtomicUsize,
) -> Vec<Created> {
    let mut client = gateway.connect();
    let mut all = Vec::new();
    for number in 0.. {
        let body = json!({"name": format!("{name}-{number}")}).to_string();
        let begun = order.now();
        let answer = client.try_call("POST /apikeys", key, &body);
        let ended = order.now();
        let answer = answer.expect("no request fails");
        answers.fetch_add(1, Ordering::SeqCst);
        let made = (answer.status == 200).then(|| text(&answer.json()["data"], "id"));
        let refused = made.is_none();
        all.push(Created {
            begun,
            ended,
            status: answer.status,
            code: answer.code(),
            id: made,
        });
        if refused {
            break;
        }
    }
    all
}

/// How a key's right to create keys ends.
struct End {
    method: &'static str,
    body: Value,
    /// What its creates get from then on.
    refusal: (u16, &'static str),
    /// What the trail calls it.
    action: &'static str,
}

/// Lets three connections create keys until their key's right ends; their creates, and when the end was answered.
fn creates_until(
    end: &End,
    gateway: &Gateway,
    order: &Order,
    (root, key, id): (&str, &str, &str),
    (round, wanted): (usize, usize),
) -> (Vec<Created>, u64) {
    let answers = AtomicUsize::new(0);
    let mut client = gateway.connect();
    thread::scope(|scope| {
        let answers = &answers;
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let name = format!("{round}-{thread}");
                scope.spawn(move || create_until_refused(gateway, order, key, &name, answers))
            })
            .collect();
        until("some creates", || answers.load(Ordering::SeqCst) >= wanted);
        let line = format!("{} /apikeys/{id}", end.method);
        manage(&mut client, root, &line, &end.body);
        let answered = order.now();
        let creates = threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic"));
        (creates.collect(), answered)
    })
}

#[test]
fn a_key_that_loses_its_right_while_it_creates_keys_leaves_none_behind_that_came_after() {
    const ROUNDS: usize = 120;
    let (folder, gateway, root) = start();
    let mut dice = Dice::roll("a key that creates keys");
    let order = Order::default();
    let gone = (401, "AUTH_ERR_APIKEY_NOT_FOUND");
    let end = |method, body, refusal, action| End {
        method,
        body,
        refusal,
        action,
    };
    let ends = [
        end("DELETE", Value::Null, gone, "delete"),
        end("PUT", json!({"enabled": false}), gone, "update"),
        end("DELETE", Value::Null, gone, "delete"),
        end(
            "PUT",
            json!({"scope": "authOnly"}),
            (403, "AUTH_ERR_NO_ACCESS"),
            "update",
        ),
    ];
    let mut made: BTreeSet<String> = BTreeSet::new();
    let mut creators: Vec<(String, &End)> = Vec::new();
    let (mut refused, mut late) = (0, 0);
    for round in 0..ROUNDS {
        let end = &ends[round % ends.len()];
        let body = json!({"name": "creator", "scope": "fullAccess"});
        let creator = manage(&mut gateway.connect(), &root, "POST /apikeys", &body);
        let (key, id) = (text(&creator, "apiKey"), text(&creator, "id"));
        let moment = (round, dice.below(7));
        let (creates, answered) = creates_until(end, &gateway, &order, (&root, &key, &id), moment);
        for create in creates {
            if create.status == 200 {
                assert!(create.begun < answered, "round {round}: made after the end");
                late += usize::from(create.ended > answered);
                made.insert(create.id.expect("what was made has an id"));
            } else {
                let told = (create.status, create.code.as_str());
                assert_eq!(told, end.refusal, "round {round}");
                refused += 1;
            }
        }
        creators.push((id, end));
    }

    // What is there is what was answered, and all of it was committed before its creator's end.
    let there: BTreeSet<String> = gateway
        .all_keys(&root)
        .iter()
        .filter(|key| key["name"] != "root" && key["name"] != "creator")
        .map(|key| text(key, "id"))
        .collect();
    assert_eq!(there, made, "what is there is not what was answered");
    let trail = folder.keygate(&["keys", "audit", "--json", "--limit", "1000000"]);
    let trail: Vec<Value> = serde_json::from_str(&trail.stdout).expect("a list");
    for (creator, end) in &creators {
        let revisions = |action: &str, field: &str| {
            trail
                .iter()
                .filter(|row| row["action"] == action && row[field] == creator.as_str())
                .map(|row| row["revision"].as_u64().expect("a number"))
                .collect::<Vec<_>>()
        };
        let ended = revisions(end.action, "keyId");
        assert_eq!(ended.len(), 1, "it ended once");
        let last = revisions("create", "actor").into_iter().max().unwrap_or(0);
        assert!(
            last < ended[0],
            "{last} was made by a key that ended at {}",
            ended[0]
        );
    }
    println!(
        "{ROUNDS} rounds: {} keys made, {refused} creates refused; {late} answers of creates that were committed before their \
         key's end were read after its answer, on another connection",
        made.len()
    );
}

#[test]
fn a_key_ends_at_the_second_that_was_answered_and_lives_again_when_that_is_taken_back() {
    let (_folder, gateway, root) = start();
    let mut client = gateway.connect();
    let body = json!({"name": "short", "scope": "fullAccess"});
    let made = manage(&mut client, &root, "POST /apikeys", &body);
    let (key, id) = (text(&made, "apiKey"), text(&made, "id"));
    let put = format!("PUT /apikeys/{id}");
    let end = Timestamp::now().unix_seconds() + 2;
    manage(&mut client, &root, &put, &json!({"expiresAt": end}));
    let counts: Vec<(usize, usize)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (gateway, key) = (&gateway, &key);
                scope.spawn(move || {
                    let mut client = gateway.connect();
                    let (mut alive, mut ended) = (0, 0);
                    while ended < 100 {
                        let before = Timestamp::now().unix_seconds();
                        let status = ask(&mut client, key);
                        let after = Timestamp::now().unix_seconds();
                        if before >= end {
                            assert_eq!(status, 401, "it began after the end");
                            ended += 1;
                        } else if after < end {
                            assert_eq!(status, 200, "it was over before the end");
                            alive += 1;
                        }
                    }
                    (alive, ended)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("as it should be"))
            .collect()
    });
    manage(&mut client, &root, &put, &json!({"expiresAt": null}));
    for connection in 0..4 {
        assert_eq!(ask(&mut gateway.connect(), &key), 200, "{connection}");
    }
    println!("requests before and after the end, by connection: {counts:?}");
}

#[test]
fn a_change_by_another_process_is_in_force_within_a_second() {
    const ROUNDS: usize = 6;
    let (folder, gateway, _root) = start();
    let mut clients: Vec<Client> = (0..4).map(|_| gateway.connect()).collect();
    let mut times: BTreeMap<&str, Vec<u128>> = BTreeMap::new();
    for round in 0..ROUNDS {
        let key = folder.new_key(&format!("from outside {round}"), "fullAccess");
        let mut answered = Instant::now();
        for (what, arguments, status) in [
            ("create", &[][..], 200),
            ("scope", &["update", &key, "--scope", "authOnly"], 403),
            ("disable", &["update", &key, "--disable"], 401),
            (
                "enable",
                &["update", &key, "--enable", "--scope", "fullAccess"],
                200,
            ),
            ("delete", &["delete", &key], 401),
        ] {
            if !arguments.is_empty() {
                let done = folder.keygate(&[&["keys"], arguments].concat());
                answered = Instant::now();
                assert!(done.status.success(), "{what}: {}", done.stderr);
            }
            for client in &mut clients {
                until(what, || ask(client, &key) == status);
            }
            let took = answered.elapsed().as_millis();
            times.entry(what).or_default().push(took);
        }
    }
    let worst = times.values().flatten().max().copied().unwrap_or_default();
    println!(
        "ms from the command's end until it was in force on 4 connections: {times:?}; worst {worst}"
    );
}
