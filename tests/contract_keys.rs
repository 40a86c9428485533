//! The five operations of the contract (`/apikeys`), through real sockets: what they answer, what they refuse, and that
//! what they answered is in force.

mod support;

use serde_json::{Value, json};
use support::{Answer, Client, Folder, Gateway, ROUTES, Upstream};

/// Scopes of three floors, so that there is something above `fullAccess`.
const SCOPES: &str = r#"
[scopes]
authOnly = []
fullAccess = ["authOnly"]
root = ["fullAccess"]
[defaults]
upstream = "chat"
[[routes]]
path = "/v3/{*rest}"
scope = "authOnly"
"#;

const BASES: [&str; 3] = ["/apikeys", "/v3/apikeys", "/v3.0/apikeys"];

/// A gateway with a key that manages.
struct House {
    upstream: Upstream,
    folder: Folder,
    gateway: Gateway,
    manager: String,
}

impl House {
    fn build(main: &str, routes: &str) -> House {
        let upstream = Upstream::echo();
        let folder = Folder::new(upstream.address, main, routes);
        let manager = folder.new_key("manager", "fullAccess");
        let gateway = folder.start();
        House {
            upstream,
            folder,
            gateway,
            manager,
        }
    }

    /// A request with this key.
    fn ask_as(&self, key: &str, request: &str, body: &str) -> Answer {
        let key = format!("apikey: {key}");
        self.gateway.call(request, &[&key], body)
    }

    /// A request with the managing key.
    fn ask(&self, request: &str, body: &str) -> Answer {
        self.ask_as(&self.manager, request, body)
    }

    /// A key made through the API: what `data` of the answer is.
    fn create(&self, body: Value) -> Value {
        let answer = self.ask("POST /apikeys", &body.to_string());
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        answer.json()["data"].clone()
    }

    /// Status and code of a request to the upstream with this key.
    fn opens(&self, key: &str) -> (u16, String) {
        let answer = self.ask_as(key, "GET /v3/any", "");
        (answer.status, answer.code())
    }

    fn names(&self) -> Vec<String> {
        names(&self.ask("GET /apikeys?perPage=1000", ""))
    }
}

fn names(list: &Answer) -> Vec<String> {
    let list = list.json();
    let keys = list["data"].as_array().expect("a list of keys");
    let name = |key: &Value| key["name"].as_str().expect("a name").to_owned();
    keys.iter().map(name).collect()
}

fn text(key: &Value, field: &str) -> String {
    key[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} of {key}"))
        .to_owned()
}

/// The contract's masking, written once more: five characters, stars, five characters; nothing of a short one.
fn masked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    match chars.len() {
        length @ 0..20 => "*".repeat(length),
        length => {
            let (head, tail) = (&chars[..5], &chars[length - 5..]);
            format!(
                "{}{}{}",
                head.iter().collect::<String>(),
                "*".repeat(length - 10),
                tail.iter().collect::<String>()
            )
        }
    }
}

fn assert_error(answer: &Answer, status: u16, code: &str, row: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{row}: {}",
        answer.text()
    );
}

fn now() -> i64 {
    keygate::clock::Timestamp::now().unix_seconds()
}

#[test]
fn the_five_operations_answer_200_with_the_fields_of_the_contract_below_every_base_path() {
    let house = House::build("", SCOPES);
    for base in BASES {
        let before = now();
        let made = house.ask(
            &format!("POST {base}"),
            r#"{"name":"Auth Key \ud83d\udd11"}"#,
        );
        let key = made.json()["data"].clone();
        let mut fields: Vec<&str> = key
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                "apiKey",
                "createdAt",
                "enabled",
                "expiresAt",
                "id",
                "name",
                "scope"
            ],
            "{base}"
        );
        let (secret, id) = (text(&key, "apiKey"), text(&key, "id"));
        assert!(
            secret.len() == 40
                && secret
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
            "{base}: 40 lowercase hexadecimal characters"
        );
        assert!(
            id.len() == 20
                && id
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
            "{base}: {id}"
        );
        assert_eq!(text(&key, "name"), "Auth Key \u{1f511}", "{base}");
        assert_eq!(text(&key, "scope"), "authOnly", "{base}: the default");
        let created = key["createdAt"].as_i64().expect("an integer");
        assert!((before..=now()).contains(&created), "{base}: {created}");
        assert_eq!(key["enabled"], true, "{base}");
        assert_eq!(key["expiresAt"], Value::Null, "{base}");
        assert_eq!(house.opens(&secret).0, 200, "{base}: in force at once");

        let encoded: String = secret.bytes().map(|b| format!("%{b:02x}")).collect();
        let mut answers = vec![made];
        for named in [&id, &secret, &encoded] {
            let got = house.ask(&format!("GET {base}/{named}"), "");
            assert_eq!(got.json()["data"], key, "{base} {named}");
            answers.push(got);
        }
        let listed = house.ask(&format!("GET {base}?searchKey=Auth%20Key"), "");
        assert_eq!(listed.json()["data"], json!([key]), "{base}");
        answers.push(listed);
        let put = house.ask(
            &format!("PUT {base}/{id}"),
            r#"{"name":"renamed","scope":"fullAccess"}"#,
        );
        let mut expected = key.clone();
        expected["name"] = "renamed".into();
        expected["scope"] = "fullAccess".into();
        assert_eq!(put.json()["data"], expected, "{base}");
        answers.push(put);
        assert_eq!(
            house.ask_as(&secret, "GET /apikeys", "").status,
            200,
            "{base}: the new scope is in force"
        );
        let deleted = house.ask(&format!("DELETE {base}/{secret}"), "");
        let said = deleted.json();
        assert_eq!(said["data"]["success"], true, "{base}");
        let message = text(&said["data"], "message");
        assert!(message.contains(&masked(&secret)), "{base}: {message}");
        assert!(!deleted.text().contains(&secret), "{base}: {message}");
        answers.push(deleted);
        assert_eq!(
            house.opens(&secret),
            (401, "AUTH_ERR_APIKEY_NOT_FOUND".to_owned()),
            "{base}: gone at once"
        );
        for answer in answers {
            assert_eq!(answer.status, 200, "{base}: {}", answer.text());
            let header = |name| answer.header(name);
            assert_eq!(header("content-type"), Some("application/json"), "{base}");
            assert_eq!(header("cache-control"), Some("no-store"), "{base}");
            assert!(header("x-request-id").is_some(), "{base}");
        }
    }
    for request in ["/apikeys".to_owned(), format!("/apikeys/{}", house.manager)] {
        let get = house.ask(&format!("GET {request}"), "");
        let head = house.ask(&format!("HEAD {request}"), "");
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), get.header("content-length"));
        assert_eq!(head.header("cache-control"), Some("no-store"));
    }
    assert!(
        house
            .upstream
            .seen()
            .iter()
            .all(|seen| seen.target() == "/v3/any"),
        "management never reaches an upstream"
    );
}

#[test]
fn a_list_is_newest_first_filtered_and_cut_into_pages() {
    let house = House::build("", SCOPES);
    for (name, scope) in [
        ("Rest API Key", "fullAccess"),
        ("auth_1", "authOnly"),
        ("100%", "authOnly"),
        ("Żółw", "authOnly"),
    ] {
        house.create(json!({"name": name, "scope": scope}));
    }
    let all = ["Żółw", "100%", "auth_1", "Rest API Key", "manager"];
    // query, names, total, per_page, current_page, total_pages
    type Row<'a> = (&'a str, &'a [&'a str], u64, u64, u64, u64);
    let rows: &[Row<'_>] = &[
        ("", &all, 5, 100, 1, 1),
        ("?page=1&perPage=2", &all[..2], 5, 2, 1, 3),
        ("?page=2&perPage=2", &all[2..4], 5, 2, 2, 3),
        ("?page=3&perPage=2", &all[4..], 5, 2, 3, 3),
        ("?page=4&perPage=2", &[], 5, 2, 4, 3),
        ("?perPage=1000", &all, 5, 1000, 1, 1),
        ("?scope=authOnly", &all[..3], 3, 100, 1, 1),
        ("?scope=fullAccess", &all[3..], 2, 100, 1, 1),
        ("?scope=root", &[], 0, 100, 1, 1),
        ("?scope=fullAccess&perPage=1", &all[3..4], 2, 1, 1, 2),
        ("?searchKey=API", &all[3..4], 1, 100, 1, 1),
        ("?searchKey=api+KEY", &all[3..4], 1, 100, 1, 1),
        ("?searchKey=%C5%BB%C3%93%C5%81", &all[..1], 1, 100, 1, 1),
        ("?searchKey=%25", &all[1..2], 1, 100, 1, 1),
        ("?searchKey=_", &all[2..3], 1, 100, 1, 1),
        ("?searchKey=nothing", &[], 0, 100, 1, 1),
        ("?searchKey=", &all, 5, 100, 1, 1),
        ("?unknown=1&unknown=2&Page=0", &all, 5, 100, 1, 1),
        (
            "?searchKey=a&scope=authOnly&page=1",
            &all[2..3],
            1,
            100,
            1,
            1,
        ),
    ];
    for (query, expected, total, per_page, page, pages) in rows {
        let list = house.ask(&format!("GET /apikeys{query}"), "");
        assert_eq!(list.status, 200, "{query}: {}", list.text());
        assert_eq!(names(&list), *expected, "{query}");
        assert_eq!(
            list.json()["meta"],
            json!({"pagination": {"total": total, "count": expected.len(), "per_page": per_page,
                "current_page": page, "total_pages": pages}}),
            "{query}"
        );
    }
    for (query, field) in [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=x", "page"),
        ("page=", "page"),
        ("page=1.5", "page"),
        ("page=99999999999999999999", "page"),
        ("perPage=0", "perPage"),
        ("perPage=1001", "perPage"),
        ("scope=nobody", "scope"),
        ("scope=", "scope"),
        ("searchKey=%00", "searchKey"),
        ("searchKey=%ff", "searchKey"),
        ("page=1&page=1", "page"),
        ("perPage=1&perPage=2", "perPage"),
        ("scope=authOnly&scope=authOnly", "scope"),
        ("searchKey=a&searchKey=a", "searchKey"),
    ] {
        let answer = house.ask(&format!("GET /apikeys?{query}"), "");
        assert_error(&answer, 400, "ERR_BAD_REQUEST", query);
        let details = answer.json()["error"]["details"].clone();
        let fields: Vec<&String> = details.as_object().expect(query).keys().collect();
        assert_eq!(fields, [field], "{query}");
        assert!(details[field][0].is_string(), "{query}: {details}");
    }
}

#[test]
fn a_faulty_body_is_400_and_tells_each_field_and_nothing_is_made() {
    let house = House::build("", SCOPES);
    let target = house.create(json!({"name": "target"}));
    let put = format!("PUT /apikeys/{}", text(&target, "id"));
    let emoji = "\u{1f511}";
    let past = json!({"name": "x", "expiresAt": now() - 10}).to_string();
    let long = json!({"name": "x".repeat(101)}).to_string();
    let long_emoji = json!({"name": emoji.repeat(50) + "x"}).to_string();
    let deep = format!("{{\"name\":{}{}}}", "[".repeat(9000), "]".repeat(9000));
    // body, faulty fields of POST, faulty fields of PUT
    type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);
    let rows: &[Row<'_>] = &[
        ("", &["body"], &["body"]),
        ("  ", &["body"], &["body"]),
        ("[]", &["body"], &["body"]),
        ("null", &["body"], &["body"]),
        ("\"name\"", &["body"], &["body"]),
        ("{\"name\":\"x\"", &["body"], &["body"]),
        ("{\"name\":\"x\"} {}", &["body"], &["body"]),
        ("{\"name\":\"x\",}", &["body"], &["body"]),
        ("{'name':'x'}", &["body"], &["body"]),
        ("name=x", &["body"], &["body"]),
        ("{}", &["name"], &[]),
        (r#"{"name":""}"#, &["name"], &["name"]),
        (r#"{"name":null}"#, &["name"], &["name"]),
        (r#"{"name":5}"#, &["name"], &["name"]),
        (r#"{"name":["x"]}"#, &["name"], &["name"]),
        (r#"{"name":"a\u0000b"}"#, &["name"], &["name"]),
        (r#"{"name":"a\nb"}"#, &["name"], &["name"]),
        (r#"{"name":"a\u0085b"}"#, &["name"], &["name"]),
        (&long, &["name"], &["name"]),
        (&long_emoji, &["name"], &["name"]),
        (&deep, &["name"], &["name"]),
        (r#"{"name":"x","name":"x"}"#, &["name"], &["name"]),
        (r#"{"name":"x","n\u0061me":"x"}"#, &["name"], &["name"]),
        (r#"{"Name":"x"}"#, &["Name", "name"], &["Name"]),
        (r#"{"name":"x","scope":"nobody"}"#, &["scope"], &["scope"]),
        (r#"{"name":"x","scope":"AuthOnly"}"#, &["scope"], &["scope"]),
        (r#"{"name":"x","scope":null}"#, &["scope"], &["scope"]),
        (r#"{"name":"x","scope":1}"#, &["scope"], &["scope"]),
        (r#"{"name":"x","enabled":null}"#, &["enabled"], &["enabled"]),
        (r#"{"name":"x","enabled":1}"#, &["enabled"], &["enabled"]),
        (&past, &["expiresAt"], &["expiresAt"]),
        (
            r#"{"name":"x","expiresAt":0}"#,
            &["expiresAt"],
            &["expiresAt"],
        ),
        (
            r#"{"name":"x","expiresAt":-1}"#,
            &["expiresAt"],
            &["expiresAt"],
        ),
        (
            r#"{"name":"x","expiresAt":"4102444799"}"#,
            &["expiresAt"],
            &["expiresAt"],
        ),
        (
            r#"{"name":"x","expiresAt":4102444799.5}"#,
            &["expiresAt"],
            &["expiresAt"],
        ),
        (
            r#"{"name":"x","expiresAt":99999999999999999999999}"#,
            &["expiresAt"],
            &["expiresAt"],
        ),
        (
            r#"{"name":"x","apiKey":"0123456789abcdef0123456789abcdef01234567"}"#,
            &["apiKey"],
            &["apiKey"],
        ),
        (
            r#"{"name":"x","createdAt":1,"id":"a"}"#,
            &["createdAt", "id"],
            &["createdAt", "id"],
        ),
        (
            r#"{"name":5,"scope":5,"color":"red"}"#,
            &["color", "name", "scope"],
            &["color", "name", "scope"],
        ),
    ];
    for (body, create, update) in rows {
        for (request, expected) in [("POST /apikeys", create), (put.as_str(), update)] {
            let row = format!("{request} {}", body.chars().take(80).collect::<String>());
            let answer = house.ask(request, body);
            if expected.is_empty() {
                assert_eq!(answer.status, 200, "{row}: {}", answer.text());
                continue;
            }
            assert_error(&answer, 400, "ERR_BAD_REQUEST", &row);
            let error = answer.json()["error"].clone();
            assert_eq!(error["source"], "keygate", "{row}");
            let mut fields: Vec<&String> =
                error["details"].as_object().expect(&row).keys().collect();
            fields.sort_unstable();
            assert_eq!(fields, *expected, "{row}: {error}");
            for sentences in error["details"].as_object().expect(&row).values() {
                let sentences = sentences.as_array().expect("a list of sentences");
                assert!(
                    sentences
                        .iter()
                        .all(|s| s.as_str().is_some_and(|s| s.ends_with('.'))),
                    "{row}: {error}"
                );
            }
        }
    }
    let required = house.ask("POST /apikeys", "{}").json();
    assert_eq!(
        required["error"]["details"],
        json!({"name": ["The name field is required."]})
    );
    let raw = house.gateway.call(
        "POST /apikeys",
        &[
            &format!("apikey: {}", house.manager),
            "Content-Type: application/json",
        ],
        "{\"name\":\"\u{0}\"}",
    );
    assert_error(&raw, 400, "ERR_BAD_REQUEST", "a bare control character");
    assert_eq!(house.names(), ["target", "manager"], "nothing was made");
    let same = house.ask(&format!("GET /apikeys/{}", text(&target, "id")), "");
    assert_eq!(same.json()["data"], target, "nothing was changed");

    for name in [emoji.repeat(50), "x".repeat(100), "%_\"\\ é".to_owned()] {
        let made = house.create(json!({"name": name}));
        assert_eq!(text(&made, "name"), name);
    }
}

#[test]
fn a_body_may_be_called_json_or_nothing_and_get_and_delete_ignore_theirs() {
    let house = House::build("", SCOPES);
    let key = format!("apikey: {}", house.manager);
    let target = house.create(json!({"name": "target"}));
    let put = format!("PUT /apikeys/{}", text(&target, "id"));
    let rows: &[(&[&str], bool)] = &[
        (&[], true),
        (&["Content-Type: application/json"], true),
        (&["content-type: Application/JSON; charset=utf-8"], true),
        (&["Content-Type: text/plain"], false),
        (&["Content-Type:"], false),
        (&["Content-Type: application/x-www-form-urlencoded"], false),
        (&["Content-Type: multipart/form-data; boundary=x"], false),
        (&["Content-Type: application/json, text/plain"], false),
        (
            &[
                "Content-Type: application/json",
                "Content-Type: application/json",
            ],
            false,
        ),
    ];
    for (kinds, fine) in rows {
        for (request, body) in [
            ("POST /apikeys", r#"{"name":"typed"}"#),
            (put.as_str(), "{}"),
        ] {
            let mut headers = vec![key.as_str()];
            headers.extend_from_slice(kinds);
            let answer = house.gateway.call(request, &headers, body);
            if *fine {
                assert_eq!(answer.status, 200, "{request} {kinds:?}: {}", answer.text());
            } else {
                assert_error(
                    &answer,
                    400,
                    "ERR_BAD_REQUEST",
                    &format!("{request} {kinds:?}"),
                );
                assert!(
                    answer.json()["error"]["details"]["Content-Type"][0].is_string(),
                    "{request} {kinds:?}: {}",
                    answer.text()
                );
            }
        }
    }
    let id = text(&target, "id");
    let whole = "x".repeat(64 * 1024);
    let over = "x".repeat(64 * 1024 + 1);
    for request in ["GET /apikeys".to_owned(), format!("GET /apikeys/{id}")] {
        for body in ["[]", "{\"name\":", "\u{1}", &whole] {
            let headers = [key.as_str(), "Content-Type: text/plain"];
            let answer = house.gateway.call(&request, &headers, body);
            let length = body.len();
            assert_eq!(answer.status, 200, "{request} {length}: {}", answer.text());
        }
        let answer = house.ask(&request, &over);
        assert_error(&answer, 413, "ERR_BAD_REQUEST", &request);
    }
    for (number, body) in [r#"{"permanent":true}"#, "[]", &whole].iter().enumerate() {
        let made = house.create(json!({"name": "to be deleted"}));
        let request = format!("DELETE /apikeys/{}", text(&made, "id"));
        let answer = house.ask(&request, body);
        assert_eq!(answer.status, 200, "{number}: {}", answer.text());
    }
    // Names are short, blanks are long: 64 KiB of JSON are read, one byte more is not.
    let padded = |length: usize| {
        let json = r#"{"name":"padded"}"#;
        format!("{json}{}", " ".repeat(length - json.len()))
    };
    let answer = house.ask("POST /apikeys", &padded(64 * 1024));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = house.ask("POST /apikeys", &padded(64 * 1024 + 1));
    assert_error(&answer, 413, "ERR_BAD_REQUEST", "64 KiB and a byte");
}

#[test]
fn an_update_changes_what_it_names_and_is_in_force_when_answered() {
    let house = House::build("", SCOPES);
    let made =
        house.create(json!({"name": "one", "enabled": false, "expiresAt": 4_102_444_799_i64}));
    let (secret, id) = (text(&made, "apiKey"), text(&made, "id"));
    let unknown = (401, "AUTH_ERR_APIKEY_NOT_FOUND".to_owned());
    assert_eq!(made["expiresAt"], 4_102_444_799_i64);
    assert_eq!(house.opens(&secret), unknown, "made switched off");
    let mut expected = made.clone();
    // body, field that changes, its value, whether the key opens then
    for (body, field, value, opens) in [
        (r#"{}"#, "enabled", json!(false), false),
        (r#"{"enabled":true}"#, "enabled", json!(true), true),
        (r#"{"name":"two"}"#, "name", json!("two"), true),
        (r#"{"expiresAt":null}"#, "expiresAt", Value::Null, true),
        (
            r#"{"scope":"fullAccess"}"#,
            "scope",
            json!("fullAccess"),
            true,
        ),
        (r#"{}"#, "name", json!("two"), true),
        (r#"{"enabled":false}"#, "enabled", json!(false), false),
    ] {
        expected[field] = value;
        let put = house.ask(&format!("PUT /apikeys/{id}"), body);
        assert_eq!(put.status, 200, "{body}: {}", put.text());
        assert_eq!(put.json()["data"], expected, "{body}");
        assert_eq!(house.opens(&secret).0 == 200, opens, "{body}");
        let got = house.ask(&format!("GET /apikeys/{id}"), "");
        assert_eq!(got.json()["data"], expected, "{body}: as it was answered");
    }
    // A key that ends in a second opens until then, and nothing has to happen for it to end.
    let end = now() + 3;
    let body = json!({"enabled": true, "expiresAt": end}).to_string();
    let put = house.ask(&format!("PUT /apikeys/{id}"), &body);
    assert_eq!(put.status, 200, "{}", put.text());
    house
        .gateway
        .eventually(|| house.opens(&secret), |answer| *answer == unknown);
    assert!(now() >= end, "not before its time");
}

#[test]
fn a_key_in_the_path_that_does_not_exist_is_404_and_named_masked() {
    let house = House::build("", SCOPES);
    let gone = house.create(json!({"name": "gone"}));
    let id = text(&gone, "id");
    assert_eq!(house.ask(&format!("DELETE /apikeys/{id}"), "").status, 200);
    let long = "z".repeat(200);
    for named in [
        &id,
        &text(&gone, "apiKey"),
        "0123456789abcdef0123456789abcdef01234567",
        "0123456789abcdefghi",
        "0123456789abcdefghij",
        "x",
        &long,
    ] {
        for (request, body) in [("GET", ""), ("PUT", r#"{"name":"x"}"#), ("DELETE", "")] {
            let row = format!("{request} /apikeys/{named}");
            let answer = house.ask(&row, body);
            assert_error(&answer, 404, "ERR_APIKEY_NOT_FOUND", &row);
            let message = text(&answer.json()["error"], "message");
            assert!(message.contains(&masked(named)), "{row}: {message}");
            assert!(!answer.text().contains(named) || named.len() == 1, "{row}");
        }
    }
    let emoji = house.ask("GET /apikeys/%F0%9F%94%91", "");
    assert_error(&emoji, 404, "ERR_APIKEY_NOT_FOUND", "an emoji is no key");
}

#[test]
fn a_key_acts_downwards_only() {
    let house = House::build("", SCOPES);
    let root = house.folder.new_key("root", "root");
    house
        .gateway
        .eventually(|| house.opens(&root).0, |status| *status == 200);
    let list = house
        .ask_as(&root, "GET /apikeys?searchKey=root", "")
        .json();
    let id = text(&list["data"][0], "id");
    let low = text(&house.create(json!({"name": "low"})), "id");
    for (request, body) in [
        ("POST /apikeys".to_owned(), r#"{"name":"x","scope":"root"}"#),
        (format!("GET /apikeys/{id}"), ""),
        (format!("GET /apikeys/{root}"), ""),
        (format!("PUT /apikeys/{id}"), "{}"),
        (format!("PUT /apikeys/{id}"), r#"{"scope":"authOnly"}"#),
        (format!("PUT /apikeys/{low}"), r#"{"scope":"root"}"#),
        (format!("DELETE /apikeys/{id}"), ""),
        (format!("DELETE /apikeys/{root}"), ""),
    ] {
        let answer = house.ask(&request, body);
        assert_error(
            &answer,
            403,
            "AUTH_ERR_NO_ACCESS",
            &format!("{request} {body}"),
        );
        assert!(!answer.text().contains(&root), "{request}");
    }
    assert_eq!(
        house.names(),
        ["low", "manager"],
        "what is above is left out"
    );
    let list = house.ask("GET /apikeys", "");
    assert_eq!(
        list.json()["meta"]["pagination"]["total"],
        2,
        "and not counted"
    );
    let all = names(&house.ask_as(&root, "GET /apikeys", ""));
    assert_eq!(all, ["low", "root", "manager"]);
    // The other way everything may be done, to an equal too.
    let equal = text(
        &house.create(json!({"name": "equal", "scope": "fullAccess"})),
        "id",
    );
    for (request, body) in [
        (format!("PUT /apikeys/{equal}"), r#"{"scope":"authOnly"}"#),
        (format!("DELETE /apikeys/{equal}"), ""),
        (format!("DELETE /apikeys/{low}"), ""),
    ] {
        let answer = house.ask(&request, body);
        assert_eq!(answer.status, 200, "{request}: {}", answer.text());
    }
}

#[test]
fn a_key_cannot_change_or_delete_itself_however_it_is_named() {
    let house = House::build("", SCOPES);
    let manager = &house.manager;
    let found = house.ask(&format!("GET /apikeys/{manager}"), "");
    assert_eq!(found.status, 200, "looking is no change");
    let id = text(&found.json()["data"], "id");
    let encoded: String = manager.bytes().map(|b| format!("%{b:02X}")).collect();
    let half = format!("%{:02x}{}", manager.as_bytes()[0], &manager[1..]);
    for named in [manager, &id, &encoded, &half] {
        for base in BASES {
            for (method, body) in [
                ("PUT", "{}"),
                ("PUT", r#"{"scope":"authOnly"}"#),
                ("PUT", r#"{"name":"manager"}"#),
                ("DELETE", ""),
            ] {
                let row = format!("{method} {base}/{named} {body}");
                let answer = house.ask(&format!("{method} {base}/{named}"), body);
                assert_error(&answer, 403, "ERR_APIKEY_NO_SELF_ACTION", &row);
                let message = text(&answer.json()["error"], "message");
                let shown = if named == &id { &id } else { manager };
                assert!(message.contains(&masked(shown)), "{row}: {message}");
                assert!(!answer.text().contains(manager.as_str()), "{row}");
            }
        }
    }
    assert_eq!(house.names(), ["manager"], "it is still there");
}

#[test]
fn managing_needs_the_scope_of_management() {
    let house = House::build("", SCOPES);
    let low = text(&house.create(json!({"name": "low"})), "apiKey");
    for request in [
        "GET /apikeys",
        "POST /apikeys",
        "GET /v3/apikeys/x",
        "PUT /apikeys/x",
        "DELETE /v3.0/apikeys/x",
    ] {
        // The body is faulty and the key of the path is not there: neither is told to a key without the scope.
        let answer = house.ask_as(&low, request, "[");
        assert_error(&answer, 403, "AUTH_ERR_NO_ACCESS", request);
    }
}

#[test]
fn a_command_reads_its_own_key_again_before_it_commits() {
    // The head is judged, the body is still on its way; meanwhile the key that asks is changed.
    for (change, code) in [
        ("delete", (401, "AUTH_ERR_APIKEY_NOT_FOUND")),
        (r#"{"enabled":false}"#, (401, "AUTH_ERR_APIKEY_NOT_FOUND")),
        ("expire", (401, "AUTH_ERR_APIKEY_NOT_FOUND")),
        (r#"{"scope":"authOnly"}"#, (403, "AUTH_ERR_NO_ACCESS")),
    ] {
        let house = House::build("", SCOPES);
        let target = text(&house.create(json!({"name": "target"})), "id");
        let acting = house.create(json!({"name": "acting", "scope": "fullAccess"}));
        let (secret, id) = (text(&acting, "apiKey"), text(&acting, "id"));
        let requests = [
            ("POST /apikeys".to_owned(), r#"{"name":"made"}"#),
            (format!("PUT /apikeys/{target}"), r#"{"name":"changed"}"#),
            (format!("DELETE /apikeys/{target}"), "[]"),
            ("GET /apikeys".to_owned(), "[]"),
            (format!("GET /apikeys/{target}"), "[]"),
        ];
        let mut waiting: Vec<(Client, &str, String)> = requests
            .iter()
            .map(|(request, body)| {
                let mut client = house.gateway.connect();
                client.send(format!(
                    "{request} HTTP/1.1\r\nHost: a\r\napikey: {secret}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
                    body.len()
                ));
                let head = client.try_head().expect("an interim answer");
                assert_eq!(head.0, 100, "{request}: sent once the key has passed");
                (client, *body, request.clone())
            })
            .collect();
        let request = format!("/apikeys/{id}");
        let answer = match change {
            "delete" => house.ask(&format!("DELETE {request}"), ""),
            "expire" => {
                let end = json!({"expiresAt": now() + 3}).to_string();
                let answer = house.ask(&format!("PUT {request}"), &end);
                let gone = |answer: &(u16, String)| answer.0 == 401;
                house.gateway.eventually(|| house.opens(&secret), gone);
                answer
            }
            change => house.ask(&format!("PUT {request}"), change),
        };
        assert_eq!(answer.status, 200, "{change}: {}", answer.text());
        for (client, body, request) in &mut waiting {
            client.send(*body);
            let answer = client.answer(false);
            let row = format!("{change}: {request}");
            assert_error(&answer, code.0, code.1, &row);
            let challenge = answer.header("www-authenticate").is_some();
            assert_eq!(challenge, code.0 == 401, "{row}");
        }
        let mut left = house.names();
        left.retain(|name| name != "acting");
        assert_eq!(left, ["target", "manager"], "{change}: nothing is written");
    }
}

#[test]
fn with_reveal_once_only_the_answer_to_create_holds_the_key() {
    let upstream = Upstream::echo();
    let folder = Folder::with_main(
        &format!(
            r#"
include = ["routes.toml"]
[server]
listen = ["127.0.0.1:0"]
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
[keys]
reveal = "once"
[upstreams.chat]
servers = ["http://{}"]
"#,
            upstream.address
        ),
        ROUTES,
    );
    let manager = folder.new_key("manager", "fullAccess");
    let house = House {
        gateway: folder.start(),
        upstream,
        folder,
        manager,
    };
    let made = house.create(json!({"name": "once"}));
    let (secret, id) = (text(&made, "apiKey"), text(&made, "id"));
    assert_eq!(secret.len(), 40);
    let mut shown = made.clone();
    shown["apiKey"] = masked(&secret).into();
    for request in [
        format!("GET /apikeys/{id}"),
        format!("GET /apikeys/{secret}"),
        format!("PUT /apikeys/{id}"),
    ] {
        let answer = house.ask(&request, "{}");
        assert_eq!(answer.json()["data"], shown, "{request}");
    }
    let list = house.ask("GET /apikeys?searchKey=once", "");
    assert_eq!(list.json()["data"], json!([shown]));
    let gone = house.ask(&format!("DELETE /apikeys/{id}"), "");
    assert!(gone.text().contains(&masked(&secret)), "{}", gone.text());
    assert!(!gone.text().contains(&secret));
}

#[test]
fn a_scope_that_is_no_longer_declared_leaves_a_key_that_may_do_nothing() {
    const READER: &str = "[scopes]\nreader = []\nfullAccess = [\"reader\"]\nextra = []\n[defaults]\nupstream = \"chat\"\n[[routes]]\npath = \"/v3/{*rest}\"\nscope = [\"reader\", \"extra\"]\n";
    let house = House::build("", READER);
    let required = house.ask("POST /apikeys", r#"{"name":"x"}"#);
    assert_error(
        &required,
        400,
        "ERR_BAD_REQUEST",
        "no `authOnly`, no default",
    );
    assert_eq!(
        required.json()["error"]["details"],
        json!({"scope": ["The scope field is required."]})
    );
    let key = house.folder.new_key("extra", "extra");
    house
        .gateway
        .eventually(|| house.opens(&key).0, |status| *status == 200);
    house.folder.write(
        "routes.toml",
        &READER
            .replace("extra = []\n", "")
            .replace(", \"extra\"", ""),
    );
    let answer = house
        .gateway
        .eventually(|| house.opens(&key), |answer| answer.0 != 200);
    assert_eq!(answer, (403, "AUTH_ERR_NO_ACCESS".to_owned()));
    let none = house.ask_as(&key, "GET /v3x", "");
    assert_error(&none, 404, "ERR_API_NOT_FOUND", "valid, so not 401");
}

#[test]
fn management_paths_and_scope_are_what_the_configuration_says() {
    let house = House::build(
        "[management]\npaths = [\"/admin/keys\"]\nscope = \"root\"\n",
        SCOPES,
    );
    let answer = house.ask("GET /admin/keys", "");
    assert_error(
        &answer,
        403,
        "AUTH_ERR_NO_ACCESS",
        "fullAccess is below root",
    );
    let root = house.folder.new_key("root", "root");
    let list = house.gateway.eventually(
        || house.ask_as(&root, "GET /admin/keys", ""),
        |answer| answer.status == 200,
    );
    assert_eq!(names(&list), ["root", "manager"]);
    let other = house.ask_as(&root, "GET /apikeys", "");
    assert_error(&other, 404, "ERR_API_NOT_FOUND", "not a management path");

    let house = House::build("[management]\npaths = []\n", SCOPES);
    for base in ["/apikeys", "/v3.0/apikeys"] {
        let answer = house.ask(&format!("GET {base}"), "");
        assert_error(&answer, 404, "ERR_API_NOT_FOUND", base);
    }
    // Switched off, its paths are paths like any other.
    assert_eq!(
        house.ask("GET /v3/apikeys", "").json()["target"],
        "/v3/apikeys"
    );
}
