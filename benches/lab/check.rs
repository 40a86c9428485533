//! That a contender does its job, asked with curl before and after each measurement.

use crate::case::{Traffic, Wire};
use crate::contenders::upstream::ECHO;
use crate::contenders::{Contender, Site};
use crate::keys::{Keys, UNKNOWN};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::process::Command;

/// What was answered.
struct Answer {
    status: u16,
    /// The head, with the names in lower case.
    head: BTreeMap<String, String>,
    body: String,
}

/// When it is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    Before,
    /// Then its connections to the upstream have served more than one request.
    After,
}

/// # Errors
/// When an answer, or what came to the upstream, is not as [the job](crate::contenders) says.
pub fn check(contender: Contender, site: &Site, when: When) -> Result<()> {
    match contender {
        Contender::Relay | Contender::Upstream => return passed(site, &site.keys.full[0]),
        // Its own rule holds here, too: a key goes to no upstream.
        Contender::Public => return passed(site, ""),
        _ => {}
    }
    let keys = &site.keys.full;
    let mut numbers = vec![0, keys.len() / 2, keys.len() - 1];
    numbers.dedup();
    // Of those to the upstream. A contender may have closed the one that a single client needs while others had their turn.
    let mut kept = site.traffic == Traffic::Upload;
    for number in numbers {
        let answer = ask(site, ECHO, &[("apikey", &keys[number])])?;
        ensure!(
            answer.status == 200,
            "a good key gets {}: {}",
            answer.status,
            answer.body
        );
        if site.traffic != Traffic::Upload {
            kept |= forwarded(site, &answer, &Keys::id(number))?;
        }
    }
    ensure!(
        kept || when == When::Before || site.traffic == Traffic::Refused,
        "connections to the upstream are not kept"
    );
    let last = site.routes.prefix(site.routes.0 - 1) + "x";
    let first = site.routes.prefix(0) + "x";
    let (good, lesser) = (keys[0].as_str(), site.keys.auth_only.as_str());
    let mut rules = vec![
        ("an unknown key", last.as_str(), Some(UNKNOWN), 401),
        ("no key", &last, None, 401),
        (
            "a good key where no route is",
            "/v3/nothing/x",
            Some(good),
            404,
        ),
        (
            "a good key at two segments",
            "/v3/users/x/y",
            Some(good),
            404,
        ),
        ("a key of scope authOnly", &last, Some(lesser), 403),
    ];
    if site.routes.0 > 1 {
        rules.push((
            "a key of scope authOnly where it may",
            &first,
            Some(lesser),
            200,
        ));
    }
    for (who, path, key, status) in rules {
        let fields: Vec<_> = key.map(|key| ("apikey", key)).into_iter().collect();
        let answer = ask(site, path, &fields)?;
        ensure!(
            answer.status == status,
            "{who}, {path}: {} and not {status}",
            answer.status
        );
    }
    Ok(())
}

/// The bare ones: everything comes to the upstream as it was sent.
/// That whoever comes is let through, and the upstream sees this for a key.
fn passed(site: &Site, key: &str) -> Result<()> {
    let answer = ask(site, ECHO, &[("apikey", &site.keys.full[0])])?;
    ensure!(answer.status == 200, "it answers {}", answer.status);
    let key = format!("apikey: {key}\n");
    ensure!(
        site.traffic == Traffic::Upload || answer.body.contains(&key),
        "not `{}` came through: {}",
        key.trim_end(),
        answer.body
    );
    Ok(())
}

/// That the head which came to the upstream is as it should be; whether it came on a connection that was used before.
fn forwarded(site: &Site, answer: &Answer, id: &str) -> Result<bool> {
    let echoed: BTreeMap<&str, &str> = answer
        .body
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    let of = |name: &str| echoed.get(name).copied().unwrap_or("");
    let host = format!("127.0.0.1:{}", site.upstream);
    let asked = format!("127.0.0.1:{}", site.port);
    let rules = [
        ("apikey", ""),
        ("host", &host),
        ("x-keygate-key-id", id),
        ("x-keygate-scope", "fullAccess"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", site.wire.scheme()),
        ("x-forwarded-host", &asked),
    ];
    for (name, value) in rules {
        ensure!(
            of(name) == value,
            "`{name}` came up as {:?} and not {value:?}",
            of(name)
        );
    }
    for name in ["x-keygate-key-name", "via", "x-request-id"] {
        let value = of(name);
        ensure!(
            !value.is_empty() && value != "forged",
            "`{name}` came up as {value:?}"
        );
    }
    let told = answer.head.get("x-request-id").map(String::as_str);
    ensure!(
        told == Some(of("x-request-id")),
        "the answer's X-Request-Id is {told:?}"
    );
    let requests: u64 = of("requests").parse().context("a count of requests")?;
    Ok(requests > 1)
}

fn ask(site: &Site, path: &str, fields: &[(&str, &str)]) -> Result<Answer> {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--include",
        "--max-time",
        "20",
        "--noproxy",
        "*",
    ]);
    curl.arg(match site.wire {
        Wire::Http1 | Wire::Tls => "--http1.1",
        Wire::Http2 => "--http2-prior-knowledge",
    });
    curl.arg("--cacert").arg(&site.certificate.cert);
    // What a client must not be able to say.
    for forged in [
        "X-Keygate-Key-Id",
        "X-Keygate-Key-Name",
        "X-Keygate-Scope",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Request-Id",
    ] {
        curl.args(["--header", &format!("{forged}: forged")]);
    }
    for (name, value) in fields {
        curl.args(["--header", &format!("{name}: {value}")]);
    }
    let scheme = site.wire.scheme();
    let out = curl
        .arg(format!("{scheme}://127.0.0.1:{}{path}", site.port))
        .output()
        .context("curl runs")?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{path}: no answer: {said}");
    let text = String::from_utf8_lossy(&out.stdout);
    let (head, body) = text.split_once("\r\n\r\n").context("a head and a body")?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    Ok(Answer {
        status: status.context("a status")?.parse()?,
        head: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: body.to_owned(),
    })
}
