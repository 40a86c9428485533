//! `headers` of upstreams and routes: what is set, added and removed in both directions, and that nothing a client sends
//! gets around it.

mod support;

use support::{Answer, Folder, Gateway, Seen, Upstream, respond};

struct House {
    upstream: Upstream,
    gateway: Gateway,
    key: String,
    id: String,
    _folder: Folder,
}

const MAIN: &str = r#"
headers.request = { set = { apikey = "of-the-upstream", X-Layer = "upstream", X-Token = "Bearer ${file:token}" }, add = { X-Tag = "upstream" }, remove = ["Cookie", "X.Debug"] }
headers.response = { set = { X-Layer = "upstream", Cache-Control = "no-store" }, add = { Link = "</a>" }, remove = ["Server", "Via"] }
[upstreams.plain]
servers = ["http://UPSTREAM"]
"#;

const ROUTES: &str = r#"
[scopes]
authOnly = []
fullAccess = ["authOnly"]
[defaults]
upstream = "chat"
headers.response.set = { X-Default = "1", X-Layer = "default" }
[[routes]]
path = "/upstreams"
scope = "fullAccess"
[[routes]]
path = "/over"
scope = "fullAccess"
headers.set = { X-Layer = "route" }
headers.request = { add = { X-Tag = "route" }, remove = ["X-Token"] }
headers.response = { set = { X-Layer = "route" }, remove = ["X-Default", "Link"] }
[[routes]]
path = ["/who", "/away"]
scope = "fullAccess"
upstream = "plain"
headers.request.set = { X-Account = "${key.name}", X-Who = "${key.id}/${key.scope} from ${client.address}", X-Real-IP = "${client.address}" }
headers.request.add = { X-Trace = "${request.id}" }
headers.response = { set = { X-Account = "${key.name}" }, add = { X-Trace = "${request.id};${client.address}" } }
[[routes]]
path = "/open"
access = "public"
upstream = "plain"
headers.request = { set = { X-Account = "${key.name}", X_Member = "${key.id}", X-Plain = "yes" }, add = { X-Trace = "${key.id}" } }
headers.response.set = { X-Account = "${key.name}", X-Plain = "yes" }
"#;

impl House {
    fn build() -> House {
        let upstream = Upstream::start(|_, stream| {
            let headers = [
                "Server: theirs",
                "Via: 1.1 theirs",
                "X-Layer: theirs",
                "X-Account: theirs",
                "Link: </theirs>",
                "Set-Cookie: a=1",
                "Set-Cookie: b=2",
            ];
            respond(stream, 200, &headers, "[]", 2)
        });
        let main = MAIN.replace("UPSTREAM", &upstream.address.to_string());
        let folder = Folder::new(upstream.address, &main, ROUTES);
        folder.write("token", "sesame\n");
        let key = folder.new_key("Ä key: 100%", "fullAccess");
        let gateway = folder.start();
        let key = format!("apikey: {key}");
        let listed = gateway.call("GET /apikeys", &[&key], "").json();
        let id = listed["data"][0]["id"].as_str().expect("an id").to_owned();
        House {
            upstream,
            gateway,
            key,
            id,
            _folder: folder,
        }
    }

    fn ask(&self, request: &str, headers: &[&str]) -> (Answer, Seen) {
        let answer = self.gateway.call(request, headers, "");
        assert_eq!(answer.status, 200, "{request}: {}", answer.text());
        (answer, self.upstream.last())
    }
}

fn sent<'s>(seen: &'s Seen, name: &str) -> Vec<&'s str> {
    of(&seen.headers, name)
}

fn got<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    of(&answer.headers, name)
}

fn of<'h>(headers: &'h [(String, String)], name: &str) -> Vec<&'h str> {
    let named = headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn an_upstreams_edits_are_made_and_then_the_routes_over_them() {
    let house = House::build();
    let theirs = [
        &*house.key,
        "Cookie: c=1",
        "X-Debug: 1",
        "x.debug: 1",
        "X-Layer: client",
        "X-Tag: client",
        "X-Token: client",
        "X.Token: client",
    ];
    let none: [&str; 0] = [];
    let (answer, seen) = house.ask("GET /upstreams", &theirs);
    for (name, expected) in [
        ("apikey", &["of-the-upstream"][..]),
        ("x-layer", &["upstream"]),
        ("x-token", &["Bearer sesame"]),
        ("x-tag", &["client", "upstream"]),
        ("cookie", &none),
        ("x.debug", &none),
        ("x-debug", &none),
        ("x.token", &none),
    ] {
        assert_eq!(sent(&seen, name), expected, "{name}");
    }
    for (name, expected) in [
        ("x-layer", &["default"][..]),
        ("x-default", &["1"]),
        ("cache-control", &["no-store"]),
        ("link", &["</theirs>", "</a>"]),
        ("server", &none),
        ("via", &none),
        ("set-cookie", &["a=1", "b=2"]),
    ] {
        assert_eq!(got(&answer, name), expected, "{name}");
    }
    let (answer, seen) = house.ask("GET /over", &theirs);
    assert_eq!(sent(&seen, "x-layer"), ["route"]);
    assert_eq!(sent(&seen, "x-tag"), ["client", "upstream", "route"]);
    assert_eq!(sent(&seen, "x-token"), none);
    assert_eq!(got(&answer, "x-layer"), ["route"]);
    assert_eq!(got(&answer, "x-default"), none);
    assert_eq!(got(&answer, "link"), none);
    assert_eq!(got(&answer, "cache-control"), ["no-store"]);
    assert!(!house.gateway.log().contains("sesame"));
}

#[test]
fn variables_are_what_the_gateway_knows_and_never_what_the_client_wrote() {
    let house = House::build();
    let forged = [
        &*house.key,
        "X-Account: forged",
        "x.account: forged",
        "X-Who: forged",
        "X-Real-IP: 6.6.6.6",
        "X-Request-Id: forged-forged",
        "X-Forwarded-For: 6.6.6.6",
        "Connection: x-account, x-who, x-trace",
    ];
    let (answer, seen) = house.ask("GET /who", &forged);
    let id = answer.header("x-request-id").expect("an id").to_owned();
    let name = "%C3%84%20key:%20100%25";
    assert_eq!(sent(&seen, "x-account"), [name]);
    assert_eq!(sent(&seen, "x.account"), [""; 0]);
    assert_eq!(
        sent(&seen, "x-who"),
        [format!("{}/fullAccess from 127.0.0.1", house.id)]
    );
    assert_eq!(sent(&seen, "x-real-ip"), ["127.0.0.1"]);
    assert_eq!(sent(&seen, "x-trace"), [&*id]);
    assert_eq!(got(&answer, "x-account"), [name]);
    assert_eq!(got(&answer, "x-trace"), [format!("{id};127.0.0.1")]);
    let raw = String::from_utf8_lossy(&house.upstream.raw()).into_owned();
    assert!(!raw.contains("forged") && !raw.contains("6.6.6.6"), "{raw}");
}

#[test]
fn without_a_key_its_variables_leave_the_header_out_and_nobody_can_forge_it() {
    let house = House::build();
    for headers in [
        &[][..],
        &[
            "X-Account: forged",
            "x.account: forged",
            "X-Member: forged",
            "x.member: forged",
        ],
        &[&*house.key, "X-Account: forged"],
    ] {
        let (answer, seen) = house.ask("GET /open", headers);
        for name in [
            "x-account",
            "x.account",
            "x_member",
            "x-member",
            "x.member",
            "x-trace",
        ] {
            assert_eq!(sent(&seen, name), [""; 0], "{name}: {headers:?}");
        }
        assert_eq!(sent(&seen, "x-plain"), ["yes"]);
        assert_eq!(
            got(&answer, "x-account"),
            [""; 0],
            "not the upstream's either"
        );
        assert_eq!(got(&answer, "x-plain"), ["yes"]);
    }
}

#[test]
fn what_the_gateway_answers_itself_is_not_edited() {
    let house = House::build();
    for (request, headers, status) in [
        ("GET /who", &[][..], 401),
        ("PURGE /who", &[&*house.key], 405),
        ("GET /nowhere", &[&*house.key], 404),
        ("GET /apikeys", &[&*house.key], 200),
    ] {
        let answer = house.gateway.call(request, headers, "");
        assert_eq!(answer.status, status, "{request}");
        for name in ["x-account", "x-trace", "x-default", "x-layer"] {
            assert_eq!(got(&answer, name), [""; 0], "{request}: {name}");
        }
    }
}
