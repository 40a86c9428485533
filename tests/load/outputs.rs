//! Where reports may go: nowhere where something else stands, and that is told before the load begins.

use super::server::{say, serve};
use super::{Lab, Ran, load};
use std::fs;
use std::net::TcpListener;

/// Where nobody listens: whoever gets as far as connecting says something else.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

fn assert_refused(ran: &Ran, words: &str) {
    assert_eq!(ran.code, Some(2), "{}", ran.said);
    assert!(ran.said.contains(words), "{words}: {}", ran.said);
    assert!(!ran.said.contains("cannot be reached"), "{}", ran.said);
}

#[test]
fn a_report_does_not_overwrite_what_the_run_reads_or_the_gateway_has() {
    let lab = Lab::start(&[]);
    let (url, config) = (nowhere(), lab.config());
    // Empty, it might be taken for a file that nobody needs.
    lab.folder.write("keys.txt", "");
    lab.folder.write("routes.list", "");
    let (keys, routes) = (lab.path("keys.txt"), lab.path("routes.list"));
    std::os::unix::fs::symlink(lab.folder.config(), lab.path("link")).expect("a link");
    fs::hard_link(lab.path("routes.toml"), lab.path("hard")).expect("a link");
    for name in [
        "keygate.toml",
        "routes.toml",
        "link",
        "hard",
        "keys.txt",
        "routes.list",
        "data/keygate.db",
        "data/keygate.db-wal",
        "data/keygate.db-journal",
        "data/../secret/master",
    ] {
        let path = lab.path(name);
        let before = fs::read(&path).ok();
        let arguments = [
            &*url, "--config", &config, "--keys", &keys, "--routes", &routes, "--svg", &path,
        ];
        assert_refused(&load(&arguments), "would be written over");
        // The gateway runs: what is its store's may change, but does not become a report.
        if !name.contains("-wal") {
            assert_eq!(fs::read(&path).ok(), before, "{name}");
        }
    }
}

#[test]
fn a_file_that_is_no_report_stays_and_one_that_is_gets_replaced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (notes, svg) = (path("notes"), path("latency.svg"));
    fs::write(&notes, "mine\n").expect("write");
    assert_refused(&load(&[&nowhere(), "--svg", &notes]), "no report");
    assert_eq!(fs::read_to_string(&notes).expect("read"), "mine\n");

    let server = serve(|asked, out| say(out, &asked.right()));
    let url = format!("http://{server}");
    let old = format!("<svg >{}</svg>", " ".repeat(100_000));
    fs::write(&svg, old).expect("write");
    let run = [
        &*url,
        "--requests",
        "10",
        "--mix",
        "missing=1",
        "--no-codes",
        "--svg",
        &svg,
    ];
    assert_eq!(load(&run).code, Some(0));
    let plot = fs::read_to_string(&svg).expect("a plot");
    assert!(plot.starts_with("<svg xmlns") && plot.ends_with("</svg>\n"));
    assert!(plot.len() < 100_000);

    // A run that comes to nothing leaves the old one, and makes no new one.
    let none = path("none.svg");
    for file in [&svg, &none] {
        let ran = load(&[&nowhere(), "--svg", file]);
        assert_eq!(ran.code, Some(1), "{}", ran.said);
        assert!(ran.said.contains("cannot be reached"), "{}", ran.said);
    }
    assert_eq!(fs::read_to_string(&svg).expect("a plot"), plot);
    assert!(!folder.path().join("none.svg").exists());
}

#[test]
fn what_cannot_be_written_is_told_before_the_load_begins() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (missing, here, same) = (path("missing/x.svg"), path(""), path("same"));
    for (svg, words) in [
        (&*missing, "cannot be written"),
        (&here, "cannot be written"),
        ("-", "expected a file"),
    ] {
        assert_refused(&load(&[&nowhere(), "--svg", svg]), words);
    }
    let output = std::process::Command::new(crate::support::KEYGATE)
        .args(["load", &nowhere(), "--svg", &same, "--json", &same])
        .output()
        .expect("keygate runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("expected two files"), "{said}");
    assert!(!folder.path().join("same").exists());
}
