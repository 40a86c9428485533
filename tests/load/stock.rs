//! Keys out of a real key store, very many of them.

use super::{Lab, NOT_FOUND, load};
use keygate::key::{Actor, Command, KeyName, NewKey, Origin, Reveal, ScopeName};
use keygate::store::{OpenMode, OpenOptions, open};
use std::path::Path;

const MANY: usize = 20_000;

/// Makes keys in the store of this folder, whose texts it shows, or does not.
fn fill(folder: &Path, count: usize, reveal: Reveal) {
    let options = OpenOptions {
        path: folder.join("data/keygate.db"),
        secret_file: folder.join("secret/master"),
        secret_env: None,
        mode: OpenMode::ReadWrite,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = open(options).await.expect("the store opens");
        for number in 0..count {
            let scope = ["fullAccess", "authOnly"][number % 2];
            let new = Command::Create(NewKey {
                name: KeyName::parse(&format!("customer {number}")).expect("a name"),
                scope: ScopeName::parse(scope).expect("a scope"),
                enabled: true,
                expires_at: None,
                brought: None,
                if_absent: false,
            });
            let origin = Origin {
                actor: Actor::Operator,
                client: None,
                request_id: None,
            };
            let made = store.execute(new, origin, reveal).await;
            assert!(made.is_ok(), "{number}");
        }
        store.close().await;
    });
}

#[test]
fn very_many_keys_come_from_the_store_and_their_memory_is_told() {
    let lab = Lab::start(&[]);
    fill(lab.folder.path(), MANY, Reveal::Always);
    lab.folder.new_key("the last", "authOnly");
    let (url, config) = (lab.url(), lab.config());
    // The gateway follows its store; what it has not read yet would be unknown to it.
    let keys = lab.gateway.eventually(
        || lab.gateway.admin("/metrics").text(),
        |metrics| metrics.lines().any(|line| line == "keygate_keys 20005"),
    );
    assert!(!keys.is_empty());
    let ran = load(&[
        &url,
        "--config",
        &config,
        "--requests",
        "2000",
        "--draw",
        "zipf:0.9",
        "--mix",
        "fullAccess=1,authOnly=1,unknown=1",
        "--route",
        "GET /v3/{n}",
    ]);
    ran.assert_ok(2000);
    let names: Vec<String> = ran.outcomes().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["200", NOT_FOUND, super::NO_ACCESS]);
    // Those of the lab that are enabled, those that were made here, and those that are made up.
    let keys = &ran.report["keys"];
    assert_eq!(keys["count"], 3 + MANY + 1 + 10_000, "{keys}");
    assert_eq!(keys["hidden"], 0);
    let bytes = keys["bytes"].as_u64().expect("a count");
    // 40 digits each, where they lie, and what draws them.
    assert!((1_200_000..3_000_000).contains(&bytes), "{bytes}");
    assert!(
        ran.said.contains("30004 keys to draw from, in "),
        "{}",
        ran.said
    );
}

#[test]
fn keys_that_the_store_does_not_show_are_told_of_and_not_sent() {
    let lab = Lab::start(&[]);
    fill(lab.folder.path(), 2, Reveal::Once);
    let (url, config) = (lab.url(), lab.config());
    let arguments = [&*url, "--config", &config, "--requests", "20"];
    let ran = load(&[&arguments[..], &["--route", "GET /open/x"]].concat());
    ran.assert_ok(20);
    assert_eq!(ran.report["keys"]["hidden"], 2);
    let words = "2 keys of the store were not sent, since it does not show their texts";
    assert!(ran.said.contains(words), "{}", ran.said);

    // Without any to send, a run would be one of requests without keys, and all of it right.
    let listed = lab.folder.keygate(&["keys", "list", "--reveal", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
    for key in listed.as_array().expect("a list") {
        if let Some(text) = key["apiKey"].as_str().filter(|text| !text.contains('*')) {
            lab.folder.keygate(&["keys", "delete", text]);
        }
    }
    let ran = load(&arguments);
    assert_eq!(ran.code, Some(2), "{}", ran.said);
    assert!(ran.said.contains("shows the text of none"), "{}", ran.said);
}
