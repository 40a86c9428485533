//! What an upstream may do wrong, and what its client gets: a clear error or a cut answer, never another's bytes; and the
//! next request works.

mod support;

use std::sync::mpsc::sync_channel;
use support::port::Port;
use support::scripted::{Got, Peer, Scripted, outcome};
use support::{Folder, Gateway, ROUTES, fleet};

fn gateway(upstream: &Scripted, main: &str) -> (Folder, Gateway) {
    let folder = Folder::new(upstream.address, main, ROUTES);
    let gateway = folder.start();
    (folder, gateway)
}

fn request(method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn an_upstream_that_leaves_between_requests_costs_no_request() {
    // The connection that served a request is gone when the next one comes, and nothing said that it would be.
    let (closed, is_closed) = sync_channel(1);
    let upstream = Scripted::start(move |mut peer| {
        let Some(head) = peer.head() else { return };
        let body = peer.body(&head).unwrap_or_default();
        peer.answer(&format!(
            "{} {}",
            Peer::target(&head),
            String::from_utf8_lossy(&body)
        ));
        peer.close();
        let _ = closed.send(());
    });
    let (_folder, gateway) = gateway(&upstream, "");
    let mut client = gateway.connect();
    let rounds = 120;
    for round in 0..rounds {
        let method = ["GET", "POST", "PUT", "DELETE"][round % 4];
        let body = if method == "GET" { "" } else { "body" };
        client.send(request(method, &format!("/open/{round}"), body));
        let answer = client.answer(false);
        assert_eq!(answer.status, 200, "{method} {round}: {}", answer.text());
        assert_eq!(answer.text(), format!("/open/{round} {body}"));
        is_closed.recv().expect("the upstream closes");
    }
    assert_eq!(upstream.heads().len(), rounds);
}

#[test]
fn an_upstream_that_says_that_it_closes_is_believed() {
    let upstream = Scripted::start(|mut peer| {
        while let Some(head) = peer.head() {
            peer.body(&head);
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let (_folder, gateway) = gateway(&upstream, "");
    let mut client = gateway.connect();
    for round in 1..=20 {
        client.send(request("POST", "/open/x", "b"));
        let answer = client.answer(false);
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        assert_eq!(
            answer.header("connection"),
            None,
            "the client's connection stays"
        );
        assert_eq!(
            upstream.connections(),
            round,
            "a connection for each request"
        );
    }
}

#[test]
fn what_an_idle_connection_sends_unasked_is_nobodys_answer() {
    let (sent, is_sent) = sync_channel(1);
    let upstream = Scripted::start(move |mut peer| {
        while let Some(head) = peer.head() {
            peer.body(&head);
            let target = Peer::target(&head).to_owned();
            peer.answer(&target);
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
            let _ = sent.send(());
        }
    });
    let (_folder, gateway) = gateway(&upstream, "");
    let mut client = gateway.connect();
    for round in 0..40 {
        let method = ["GET", "POST"][round % 2];
        let path = format!("/open/{round}");
        client.send(request(method, &path, ""));
        let answer = client.answer(false);
        assert_eq!((answer.status, answer.text()), (200, path));
        is_sent.recv().expect("sent");
    }
}

#[test]
fn a_post_is_never_sent_twice_and_a_get_is_where_that_does_no_harm() {
    // The first request of a connection is answered; the second is read whole, then the connection ends without a byte.
    let upstream = Scripted::start(|mut peer| {
        for answered in [true, false] {
            let Some(head) = peer.head() else { return };
            peer.body(&head);
            if answered {
                peer.answer(Peer::target(&head));
            }
        }
    });
    let (_folder, gateway) = gateway(&upstream, "");
    let mut client = gateway.connect();
    for round in 0..10 {
        let (warm, post, get) = (
            format!("/open/warm{round}"),
            format!("/open/post{round}"),
            format!("/open/get{round}"),
        );
        client.send(request("POST", &warm, ""));
        assert_eq!(client.answer(false).text(), warm);
        client.send(request("POST", &post, "once"));
        let answer = client.answer(false);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "ERR_UPSTREAM_UNAVAILABLE")
        );
        assert_eq!(
            upstream.count(&post),
            1,
            "a POST that was sent is not sent again"
        );
        client.send(request("POST", &warm, ""));
        assert_eq!(client.answer(false).text(), warm);
        client.send(format!("GET {get} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.answer(false);
        assert_eq!((answer.status, answer.text()), (200, get.clone()));
        assert_eq!(
            upstream.count(&get),
            2,
            "a GET on a left connection goes on a fresh one"
        );
        // That fresh connection is used up by one more request.
        client.send(request("POST", &post, ""));
        assert_eq!(client.answer(false).status, 502);
    }
}

#[test]
fn an_upstream_never_sees_more_requests_than_attempts_were_logged() {
    // As above; but the second answer of each connection breaks off within its head.
    let upstream = Scripted::start(|mut peer| {
        for answered in [true, false] {
            let Some(head) = peer.head() else { return };
            peer.body(&head);
            if answered {
                peer.answer(Peer::target(&head));
            } else {
                peer.send("HTTP/1.1 200 OK\r\nContent-");
            }
        }
    });
    let (_folder, gateway) = gateway(&upstream, "");
    let mut client = gateway.connect();
    // Each left connection is used up by a POST, so that the next row begins on a fresh one.
    for (line, status, attempts) in [
        ("GET /open/fresh", 200, 1),
        ("GET /open/again", 200, 2),
        ("POST /open/once", 502, 1),
        ("PUT /open/fresh", 200, 1),
        ("DELETE /open/again", 200, 2),
    ] {
        client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.answer(false);
        assert_eq!(answer.status, status, "{line}");
        let id = answer.header("x-request-id").expect("an id").to_owned();
        let logged = gateway.wait_for_log(|l| l.contains("keygate::access") && l.contains(&id));
        assert!(
            logged.contains(&format!("\"attempts\":{attempts},")),
            "{line}: {logged}"
        );
    }
    assert_eq!(upstream.heads().len(), 7);
    let metrics = gateway.admin("/metrics").text();
    assert!(metrics.contains("\nkeygate_upstream_retries_total 2\n"));
}

#[test]
fn an_upstream_that_is_down_is_502_and_one_that_is_back_serves() {
    let port = Port::keep();
    let folder = Folder::new(port.address, "", ROUTES);
    let gateway = folder.start();
    let mut client = gateway.connect();
    for _ in 0..3 {
        let answer = client.call("POST /open/x", &[], "body");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "ERR_UPSTREAM_UNAVAILABLE")
        );
    }
    let _upstream = Scripted::on(port.listen(), |mut peer| {
        while let Some(head) = peer.head() {
            peer.body(&head);
            peer.answer("back");
        }
    });
    // A body that nobody took may have cost the client its connection.
    let answer = gateway.call("POST /open/x", &[], "body");
    assert_eq!((answer.status, answer.text().as_str()), (200, "back"));
}

/// What a client is to get for a fault.
enum Due {
    Error(u16, &'static str),
    Cut(u16),
    Whole(u16, &'static str),
}

const BAD: Due = Due::Error(502, "ERR_UPSTREAM_UNAVAILABLE");

/// Bytes that the upstream sends after a request whose target ends in the name, then it closes.
fn faults() -> Vec<(&'static str, String, Due)> {
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(1 << 20));
    let many: String = (0..2000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let rows: Vec<(&str, &str, Due)> = vec![
        ("nothing", "", BAD),
        ("garbage", "hello\r\n\r\n", BAD),
        ("newline", "\n\n\n", BAD),
        ("version", "HTTP/9.9 200 OK\r\n\r\n", BAD),
        ("status", "HTTP/1.1 2x0 OK\r\n\r\n", BAD),
        ("low_status", "HTTP/1.1 099 OK\r\n\r\n", BAD),
        ("half_line", "HTTP/1.1 20", BAD),
        ("half_head", "HTTP/1.1 200 OK\r\ncontent-le", BAD),
        ("no_colon", "HTTP/1.1 200 OK\r\nhello\r\n\r\n", BAD),
        (
            "nul",
            "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
            BAD,
        ),
        (
            "lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
            BAD,
        ),
        (
            "length_word",
            "HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello",
            BAD,
        ),
        (
            "length_sign",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
            BAD,
        ),
        (
            "gzip_coding",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            BAD,
        ),
        (
            "only_gzip",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello",
            BAD,
        ),
        (
            "switch",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello",
            BAD,
        ),
        (
            "interim_only",
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
            BAD,
        ),
        (
            "half_body",
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
            Due::Cut(200),
        ),
        (
            "half_chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
            Due::Cut(200),
        ),
        (
            "no_last_chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            Due::Cut(200),
        ),
        (
            "bad_chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
            Due::Cut(200),
        ),
        (
            "huge_chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n11111111111111111\r\nhello",
            Due::Cut(200),
        ),
        (
            "both_framings",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Due::Whole(200, "hello"),
        ),
        (
            "same_length_twice",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
            BAD,
        ),
        (
            "length_list",
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello",
            BAD,
        ),
        (
            "interim_first",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            Due::Whole(200, "hello"),
        ),
        (
            "too_much",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
            Due::Whole(200, "hello"),
        ),
        (
            "body_of_204",
            "HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nevil",
            Due::Whole(204, ""),
        ),
        (
            "old_version",
            "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            Due::Whole(200, "hello"),
        ),
        (
            "no_length",
            "HTTP/1.1 200 OK\r\n\r\nhello",
            Due::Whole(200, "hello"),
        ),
        (
            "trailers",
            "HTTP/1.1 200 OK\r\ntrailer: x-t\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
            Due::Whole(200, "hello"),
        ),
        (
            "own_id",
            "HTTP/1.1 599 Odd\r\nx-request-id: evil\r\ncontent-length: 5\r\n\r\nhello",
            Due::Whole(599, "hello"),
        ),
    ];
    let mut rows: Vec<(&str, String, Due)> = rows
        .into_iter()
        .map(|(name, bytes, due)| (name, bytes.to_owned(), due))
        .collect();
    rows.push(("endless_line", endless, BAD));
    rows.push(("many_lines", format!("HTTP/1.1 200 OK\r\n{many}\r\n"), BAD));
    rows
}

#[test]
fn each_fault_gets_its_answer_and_the_next_request_its_own() {
    let upstream = Scripted::start(|mut peer| {
        while let Some(head) = peer.head() {
            peer.body(&head);
            let target = Peer::target(&head).to_owned();
            match target.strip_prefix("/open/fault/") {
                None => peer.answer(&target),
                Some("reset") => return peer.reset(),
                Some("slow") => {
                    peer.wait_for_end();
                    return;
                }
                Some(name) => {
                    let all = faults();
                    let (_, bytes, _) = all.iter().find(|(n, ..)| *n == name).expect("a fault");
                    peer.send(bytes);
                    return;
                }
            };
        }
    });
    // Only the one that is meant to be late is not waited for.
    let routes = format!(
        "{ROUTES}\n[[routes]]\npath = \"/open/fault/slow\"\naccess = \"public\"\ntimeouts = {{ response = \"300ms\" }}\n"
    );
    let folder = Folder::new(upstream.address, "", &routes);
    let gateway = folder.start();
    let mut rows = faults();
    rows.push(("reset", String::new(), BAD));
    rows.push((
        "slow",
        String::new(),
        Due::Error(504, "ERR_UPSTREAM_TIMEOUT"),
    ));
    let mut client = gateway.connect();
    let mut number = 0;
    for (name, _, due) in &rows {
        for method in ["POST", "GET"] {
            for warm in [false, true] {
                let row = format!("{method} {name}, warm: {warm}");
                let mut own = |client: &mut support::Client| {
                    number += 1;
                    let path = format!("/open/{number}");
                    // A GET: the upstream may be about to close the connection that it comes on.
                    let answer = client.call(&format!("GET {path}"), &[], "");
                    assert_eq!((answer.status, answer.text()), (200, path), "{row}");
                };
                if warm {
                    own(&mut client);
                }
                let body = if method == "POST" { "body" } else { "" };
                client.send(request(method, &format!("/open/fault/{name}"), body));
                let got = outcome(&mut client, false);
                match (due, &got) {
                    (Due::Error(status, code), Got::Whole(answer)) => {
                        assert_eq!(
                            (answer.status, answer.code().as_str()),
                            (*status, *code),
                            "{row}"
                        );
                    }
                    (Due::Whole(status, text), Got::Whole(answer)) => {
                        assert_eq!(
                            (answer.status, answer.text().as_str()),
                            (*status, *text),
                            "{row}"
                        );
                        let ids = |(n, _): &&(String, String)| n == "x-request-id";
                        assert_eq!(answer.headers.iter().filter(ids).count(), 1, "{row}");
                        assert_ne!(answer.header("x-request-id"), Some("evil"), "{row}");
                        assert_eq!(answer.header("trailer"), None, "{row}");
                    }
                    (Due::Cut(status), Got::Cut(at)) => {
                        assert_eq!(status, at, "{row}");
                        client = gateway.connect();
                    }
                    // The fault was there before the head had left.
                    (Due::Cut(_), Got::Nothing) => client = gateway.connect(),
                    _ => panic!("{row}: {got:?}"),
                }
                own(&mut client);
            }
        }
        assert!(
            (2..=4 + 2).contains(&upstream.count(&format!("/open/fault/{name}"))),
            "{name}"
        );
    }
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

#[test]
fn a_cut_answer_is_not_whole_in_http_1_0_either() {
    let upstream = Scripted::start(|mut peer| {
        if let Some(head) = peer.head() {
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n");
            if head.contains("/whole ") {
                peer.send("0\r\n\r\n");
            }
        }
    });
    let (_folder, gateway) = gateway(&upstream, "");
    for path in ["/open/whole", "/open/cut"] {
        let mut client = gateway.connect();
        client.send(format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n"));
        let mut body = Vec::new();
        let ended = std::io::Read::read_to_end(&mut client.stream, &mut body);
        assert_eq!(ended.is_ok(), path == "/open/whole", "{path}: {ended:?}");
    }
}

#[test]
fn an_early_answer_ends_an_upload() {
    // The upstream refuses by the head alone; the client hears it while it still sends.
    let upstream = Scripted::start(|mut peer| {
        while let Some(head) = peer.head() {
            if Peer::target(&head) == "/open/big" {
                let text =
                    "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig";
                peer.send(text);
                peer.wait_for_end();
                return;
            }
            peer.body(&head);
            peer.answer("next");
        }
    });
    let (_folder, gateway) = gateway(&upstream, "");
    for _ in 0..5 {
        let mut client = gateway.connect();
        client.send("POST /open/big HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nsome");
        let answer = client.answer(false);
        assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
        drop(client);
        let answer = gateway.call("POST /open/x", &[], "body");
        assert_eq!((answer.status, answer.text().as_str()), (200, "next"));
    }
}

#[test]
fn an_early_answer_whose_upload_goes_on_to_its_end_costs_nobody_an_answer() {
    let upstream = Scripted::start(|mut peer| {
        while let Some(head) = peer.head() {
            let target = Peer::target(&head).to_owned();
            if target.ends_with("/early") {
                peer.answer(&target);
            }
            if peer.body(&head).is_none() {
                return;
            }
            if !target.ends_with("/early") {
                peer.answer(&target);
            }
        }
    });
    let (_folder, gateway) = gateway(&upstream, "");
    let mut client = gateway.connect();
    for round in 0..10 {
        let path = format!("/open/{round}/early");
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234"
        ));
        assert_eq!(client.answer(false).text(), path);
        client.send("56789");
        for method in ["GET", "POST"] {
            let path = format!("/open/{round}/{method}");
            client.send(request(method, &path, "body"));
            let answer = client.answer(false);
            assert_eq!((answer.status, answer.text()), (200, path));
        }
    }
}

#[test]
fn one_of_several_servers_that_is_down_costs_no_request() {
    let upstream = Scripted::start(|mut peer| {
        while let Some(head) = peer.head() {
            peer.body(&head);
            peer.answer("up");
        }
    });
    let down = fleet::nobody();
    let chat = format!(
        "servers = [\"http://{down}\", \"http://{}\"]",
        upstream.address
    );
    let folder = Folder::with_main(&fleet::main(1, "", &chat), ROUTES);
    let gateway = folder.start();
    let mut clients: Vec<_> = (0..4).map(|_| gateway.connect()).collect();
    for _ in 0..10 {
        for client in &mut clients {
            let answer = client.call("POST /open/x", &[], "body");
            assert_eq!((answer.status, answer.text().as_str()), (200, "up"));
        }
    }
    assert!(upstream.connections() <= 4);
}
