//! The end of a run: what was due and not sent, what was sent and not answered.

use super::server::{Then, hang, say, serve};
use super::{against, arguments_against, feed};
use crate::support::KEYGATE;
use serde_json::Value;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

#[test]
fn what_is_due_and_finds_no_connection_is_unsent_and_fails_the_run() {
    let heard = Arc::new(AtomicU64::new(0));
    let hearing = Arc::clone(&heard);
    let server = serve(move |_, out| {
        hearing.fetch_add(1, Ordering::SeqCst);
        hang(out)
    });
    let arguments = ["-c", "1", "--rate", "100", "--duration", "500ms"];
    let ran = against(
        server,
        "fullAccess=1",
        &[&arguments[..], &["--grace", "100ms"]].concat(),
    );
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert_eq!(heard.load(Ordering::SeqCst), 1);
    assert_eq!(ran.report["unsent"], 49, "{}", ran.said);
    assert_eq!(ran.report["steps"][0]["failures"]["abandoned"], 1);
    for words in [
        "49 requests were due and never sent: the target or the generator could not keep the rate",
        "FAILED: 0 answers, 0 wrong, 1 failed, 49 never sent",
        "(1 abandoned)",
    ] {
        assert!(ran.said.contains(words), "{words}: {}", ran.said);
    }
}

#[test]
fn as_many_requests_as_were_asked_for_leave_none_unsent() {
    let server = serve(|asked, out| say(out, &asked.right()));
    let arguments = ["-c", "2", "--rate", "2000", "--requests", "50"];
    let ran = against(server, "fullAccess=1", &arguments);
    ran.assert_ok(50);
    assert_eq!(ran.report["unsent"], 0);
}

#[test]
fn one_missing_answer_at_the_end_fails_the_run() {
    let server = serve(|asked, out| match asked.number {
        5 => hang(out),
        _ => say(out, &asked.right()),
    });
    let arguments = ["-c", "2", "--duration", "300ms", "--grace", "100ms"];
    let ran = against(server, "fullAccess=1", &arguments);
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert_eq!(ran.report["failures"], 1, "{}", ran.said);
    assert_eq!(ran.report["steps"][0]["failures"]["abandoned"], 1);
    assert!(ran.report["answers"].as_u64() > Some(4), "{}", ran.said);
    assert!(
        ran.said.contains("until the end of the run"),
        "{}",
        ran.said
    );
}

#[test]
fn over_http2_too_what_is_owed_at_the_end_is_counted() {
    // It speaks the protocol's first words and nothing after.
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = server.local_addr().expect("an address");
    let arguments = [
        "-c",
        "1",
        "--http2",
        "--streams",
        "3",
        "--duration",
        "200ms",
    ];
    let ran = against(
        address,
        "fullAccess=1",
        &[&arguments[..], &["--grace", "100ms"]].concat(),
    );
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    let failures = &ran.report["steps"][0]["failures"];
    assert_eq!(failures["abandoned"], 3, "{}", ran.said);
}

#[test]
fn whoever_ends_a_run_early_is_told_of_answers_that_did_not_come() {
    let (hearing, heard) = mpsc::sync_channel(8);
    let server = serve(move |_, out| {
        let _ = hearing.try_send(());
        hang(out);
        Then::End
    });
    let mut child = Command::new(KEYGATE)
        .args(arguments_against(server, "fullAccess=1"))
        .args(["-c", "1", "--duration", "1h", "--grace", "100ms"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("keygate starts");
    feed(&mut child);
    heard.recv().expect("a request");
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
    let output = child.wait_with_output().expect("keygate runs");
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&report["interrupted"], &report["failures"]),
        (&Value::from(true), &Value::from(1))
    );
}
