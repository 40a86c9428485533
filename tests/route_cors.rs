//! `cors` of a route: it goes before the general table on the route's answers and on preflights that ask about it, and a
//! preflight tells nothing of any other route. And `maintenance`, which browsers must be able to read too.

mod support;

use support::house::House;
use support::{Answer, Upstream, respond};

const ROUTES: &str = r#"
[scopes]
authOnly = []
fullAccess = ["authOnly"]
[defaults]
upstream = "chat"
[[routes]]
path = "/own"
methods = ["GET"]
scope = "fullAccess"
cors = { origins = ["https://app.example.com"], methods = ["GET"], headers = ["apikey"], credentials = true, max_age = "1h" }
[[routes]]
path = "/own"
methods = ["POST"]
scope = "fullAccess"
[[routes]]
path = "/off"
methods = ["GET"]
scope = "fullAccess"
cors = false
[[routes]]
path = "/off"
methods = ["OPTIONS"]
access = "public"
cors = false
[[routes]]
path = "/plain"
scope = "fullAccess"
[[routes]]
path = "/away"
scope = "fullAccess"
maintenance = { message = "Back at \"noon\".", retry_after = "90s" }
rate = "5/h"
cors = { origins = ["https://app.example.com"] }
[[routes]]
path = "/gone"
access = "public"
maintenance = { status = 410 }
"#;

const APP: &str = "Origin: https://app.example.com";

/// A gateway whose upstream allows an origin of its own.
fn house(main: &str) -> House {
    let upstream = Upstream::start(|_, stream| {
        respond(
            stream,
            200,
            &["Access-Control-Allow-Origin: https://upstream.example.com"],
            "[]",
            2,
        )
    });
    House::of(upstream, main, ROUTES)
}

/// The header with this key.
fn apikey(key: &str) -> String {
    format!("apikey: {key}")
}

impl House {
    fn ask(&self, request: &str, headers: &[&str]) -> Answer {
        self.gateway.call(request, headers, "")
    }

    fn preflight(&self, path: &str, origin: &str, method: &str) -> Answer {
        let asks = format!("Access-Control-Request-Method: {method}");
        self.ask(&format!("OPTIONS {path}"), &[origin, &asks])
    }
}

fn origin(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

#[test]
fn a_routes_own_table_goes_before_the_general_one_on_all_its_answers() {
    let house = house("[cors]\norigins = [\"*\"]\n");
    let (full, auth) = (&*apikey(&house.full), &*apikey(&house.auth));
    let app = Some("https://app.example.com");
    for (request, headers, status, expected) in [
        ("GET /own", &[APP, full][..], 200, app),
        ("HEAD /own", &[APP, full], 200, app),
        ("GET /own", &[APP], 401, app),
        ("GET /own", &[APP, auth], 403, app),
        (
            "GET /own",
            &["Origin: https://evil.example", full],
            200,
            None,
        ),
        ("GET /own", &[full], 200, None),
        ("POST /own", &[APP, full], 200, Some("*")),
        ("PUT /own", &[APP, full], 405, Some("*")),
        (
            "GET /off",
            &[APP, full],
            200,
            Some("https://upstream.example.com"),
        ),
        ("GET /off", &[APP], 401, None),
        ("GET /plain", &[APP, full], 200, Some("*")),
        ("GET /nowhere", &[APP, full], 404, Some("*")),
    ] {
        let answer = house.ask(request, headers);
        let row = format!("{request} {headers:?}");
        assert_eq!(answer.status, status, "{row}: {}", answer.text());
        assert_eq!(origin(&answer), expected, "{row}");
    }
}

#[test]
fn a_preflight_is_told_the_table_of_the_route_it_asks_about_and_nothing_of_another() {
    let house = house("[cors]\norigins = [\"*\"]\n");
    for (app, expected) in [
        (APP, Some("https://app.example.com")),
        ("Origin: https://evil.example", None),
    ] {
        let own = house.preflight("/own", app, "GET");
        assert_eq!((own.status, origin(&own)), (204, expected));
        assert_eq!(own.header("access-control-allow-methods"), Some("GET"));
        assert_eq!(own.header("access-control-max-age"), Some("3600"));
    }
    // What has no table of its own cannot be told from what does not exist.
    let mut seen: Vec<Vec<(String, String)>> = Vec::new();
    for (path, method) in [
        ("/own", "POST"),
        ("/own", "PUT"),
        ("/own", "N{O"),
        ("/plain", "GET"),
        ("/plain/x", "GET"),
        ("/nowhere", "GET"),
        ("/gone", "GET"),
        ("/apikeys", "GET"),
    ] {
        let mut answer = house.preflight(path, APP, method);
        assert_eq!(
            (answer.status, origin(&answer)),
            (204, Some("*")),
            "{method} {path}"
        );
        answer
            .headers
            .retain(|(name, _)| name != "x-request-id" && name != "date");
        seen.push(answer.headers);
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(house.upstream.connections(), 0);
    // Switched off: a request like any other, here to a public route that the upstream answers.
    let off = house.preflight("/off", APP, "GET");
    assert_eq!(
        (off.status, origin(&off)),
        (200, Some("https://upstream.example.com"))
    );
}

#[test]
fn a_route_may_have_cors_where_there_is_none_in_general() {
    let house = house("");
    let own = house.preflight("/own", APP, "GET");
    assert_eq!(
        (own.status, origin(&own)),
        (204, Some("https://app.example.com"))
    );
    for (path, method) in [("/own", "POST"), ("/plain", "GET"), ("/nowhere", "GET")] {
        let other = house.preflight(path, APP, method);
        assert_eq!(
            (other.status, origin(&other)),
            (401, None),
            "{method} {path}"
        );
    }
    let plain = house.ask("GET /plain", &[APP, &apikey(&house.full)]);
    assert_eq!(origin(&plain), Some("https://upstream.example.com"));
}

#[test]
fn a_route_in_maintenance_says_so_to_who_might_use_it() {
    let house = house("");
    assert_eq!(house.ask("GET /away", &[]).status, 401);
    assert_eq!(house.ask("GET /away", &[&apikey(&house.auth)]).status, 403);
    let away = house.ask("GET /away", &[APP, &apikey(&house.full)]);
    assert_eq!(
        (away.status, &*away.code()),
        (503, "ERR_UPSTREAM_UNAVAILABLE")
    );
    assert_eq!(away.json()["error"]["message"], "Back at \"noon\".");
    assert_eq!(away.header("retry-after"), Some("90"));
    assert_eq!(away.header("x-ratelimit-remaining"), Some("4"));
    assert_eq!(origin(&away), Some("https://app.example.com"));
    let gone = house.ask("GET /gone", &[]);
    assert_eq!((gone.status, gone.header("retry-after")), (410, None));
    assert_eq!(
        gone.json()["error"]["message"],
        "This API is under maintenance."
    );
    assert_eq!(house.upstream.connections(), 0);
    // Each worker writes its lines in its turn: either may come first.
    for status in ["\"status\":503", "\"status\":410"] {
        let of = |line: &str| line.contains("\"maintenance\"") && line.contains(status);
        house.gateway.wait_for_log(of);
    }
}
