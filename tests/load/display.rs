//! What an operator sees while a run goes on.

use super::server::{say, serve};
use crate::support::{KEYGATE, tools};
use std::process::{Command, Stdio};

/// What a run says on standard error and on standard output.
fn said(more: &[&str]) -> (String, String) {
    let server = serve(|asked, out| say(out, &asked.right()));
    let url = format!("http://{server}");
    let output = Command::new(KEYGATE)
        .args(["load", &url, "--mix", "missing=1", "--no-codes", "-c", "1"])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("keygate runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let (err, out) = (text(output.stderr), text(output.stdout));
    assert!(output.status.success(), "{err}{out}");
    (err, out)
}

#[test]
fn without_a_terminal_progress_is_told_in_lines() {
    let steps = [
        "--steps",
        "50,100",
        "--duration",
        "700ms",
        "--warmup",
        "500ms",
    ];
    let (err, out) = said(&steps);
    let begins: Vec<&str> = err
        .lines()
        .map(|line| line.split(':').next().unwrap_or_default())
        .collect();
    // When a phase begins after another; and perhaps at the end, on a slow machine.
    assert_eq!(begins[..2], ["50/s", "100/s"], "{err}");
    assert!(begins.len() <= 3, "{err}");
    assert!(
        err.contains(" answers, ") && err.contains(" wrong, 0 failed"),
        "{err}"
    );
    assert!(!err.contains(['\r', '\u{1b}']), "{err:?}");
    assert!(out.contains("p99.99") && out.contains("ok: "), "{out}");
}

#[test]
fn a_quiet_run_shows_nothing_but_the_table() {
    let (err, out) = said(&["--duration", "300ms", "--quiet"]);
    assert_eq!(err, "");
    assert!(out.contains("p99.99") && out.contains("ok: "), "{out}");
}

#[test]
fn on_a_terminal_a_line_is_written_over_and_over() {
    if !tools::is_here("script", Command::new("script").arg("--version")) {
        return;
    }
    let server = serve(|asked, out| say(out, &asked.right()));
    let run = |more: &str| {
        let command = format!(
            "{KEYGATE} load http://{server} --mix missing=1 --no-codes -c 1 --duration 700ms {more}"
        );
        let output = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .output()
            .expect("script runs");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{shown}");
        shown
    };
    let shown = run("");
    assert!(
        shown.contains("closed") && shown.contains("0 failed"),
        "{shown:?}"
    );
    // To the beginning of the line, and cleared at the end.
    assert!(shown.contains("\r\u{1b}[2K"), "{shown:?}");
    assert!(!run("--quiet").contains("\u{1b}[2K"));
}
