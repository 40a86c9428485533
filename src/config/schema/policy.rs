//! The fields that may stand in every file: `prefix`, `[scopes]`, `[defaults]`, `[[routes]]`, `[[expect]]`.

use super::process::{body_timeout, connect_timeout, cors, response_timeout, stream_timeout};
use super::shape::{
    Field, HEADER, SCOPE, Shape, Table, duration, field, list, method, one_or_list, or_false, path,
    rate, scope, size, table, text, words,
};
use crate::config::routes::ACCESS;
use crate::http::Exceptions;

pub(super) fn fields() -> Vec<Field> {
    vec![
        field("prefix", one_or_list(Shape::Text(r"^(/[\s\S]*[^/])?$"), 1), "Put before each path of this file; a list makes each route once for each prefix.")
            .example(r#"["/v3", "/v3.0"]"#),
        field(
            "scopes",
            Shape::Names(SCOPE, Box::new(list(scope()))),
            "The scopes that keys may have, each with those that it includes. They hold for all files.",
        )
        .example(r#"{ reader = [], fullAccess = ["reader"] }"#),
        field("defaults", table(defaults()), "For routes that do not say it themselves, in all files. There is no default for who may call."),
        field("routes", list(Shape::Table(route())), "Who may call what. The most specific route decides, whatever the order; what no route opens is refused.")
            .example(r#"[{ path = "/{*rest}", scope = "fullAccess" }]"#),
        field("expect", list(Shape::Table(expect())), "Tests of the policy, run by `keygate check` and before each reload.")
            .example(r#"[{ request = "GET /users", deny = ["anyone"] }]"#),
    ]
}

/// The exact spelling of a host, without a port.
const HOST: &str = r"^([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])$";

/// A plain path of whole segments.
const SEGMENTS: &str = "^/.*[^/]$";

fn route() -> Table {
    let mut fields = vec![
        field("path", one_or_list(path(), 1), "A path, or several: `{name}` is one whole segment, `{*rest}` at the end is all that follows.")
            .required()
            .example(r#""/users/{uid}""#)
            .example(r#"["/", "/{*rest}"]"#),
        field("methods", Shape::List(Box::new(method()), 1), "Methods that it takes. None written: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS; GET brings HEAD with it.")
            .example(r#"["GET", "POST"]"#),
        field("host", Shape::Text(r"^(\*\.)?([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])$"), "The host that it is for, or \"*.\" and a name for all below it. By default every host.")
            .example(r#""api.example.com""#),
        field("scope", one_or_list(scope(), 1), "Keys of this scope may use it, and of those that include it; of a list, any.").example(r#""fullAccess""#),
        field("access", words(&ACCESS), "In place of `scope`: \"public\" opens it to anyone, without a key; \"deny\" closes it for everyone."),
        field("name", Shape::Text("^[!-~]([ -~]{0,98}[!-~])?$"), "What logs and metrics call it. By default its methods and path.").example(r#""reports""#),
        field("allow", list(words(&Exceptions::NAMES)), "What its paths may hold that is refused elsewhere, for upstreams that need it.")
            .example(r#"["encoded-slash"]"#),
        field("strip_prefix", Shape::Text(SEGMENTS), "Segments that are taken off the path that goes up.").example(r#""/api""#),
        field("add_prefix", Shape::Text(SEGMENTS), "Segments that are put before the path that goes up.").example(r#""/v1""#),
        field("shadow", Shape::Bool, "true: the route is not in force, but tried over those that are: what it would decide otherwise is counted, and told by `keygate shadow`.")
            .default("false"),
        field("cors", or_false(table(cors(false))), "What browsers are told of it, in place of `[cors]`; false leaves it to the upstream.")
            .example(r#"{ origins = ["https://app.example.com"], methods = ["GET"] }"#),
    ];
    fields.extend(defaults());
    Table {
        fields,
        one_of: &["scope", "access"],
        any_of: &[],
    }
}

/// What a route says, and `[defaults]` for those that do not.
fn defaults() -> Vec<Field> {
    vec![
        field("upstream", text(), "The upstream that it leads to: NAME of a table `[upstreams.NAME]`.")
            .example(r#""chat""#)
            .shared("upstream"),
        field(
            "body_bytes",
            size(0, 1 << 50),
            "Bytes of a request body, in place of the general limit; past it 413.",
        )
        .example(r#""1MiB""#)
        .shared("body-bytes"),
        field(
            "timeouts",
            table([
                connect_timeout().example(r#""1s""#),
                response_timeout().example(r#""10s""#),
                body_timeout().example(r#""30s""#),
                stream_timeout().example(r#""1h""#),
            ]),
            "Timeouts in place of the upstream's.",
        )
        .example(r#"{ response = "5m" }"#)
        .shared("timeouts"),
        retries(),
        field(
            "rate",
            Shape::Any(vec![
                rate(),
                table([
                    field("rate", rate(), "So many per s, m or h, in the long run.").required().example(r#""100/s""#),
                    field("burst", Shape::Whole(1, 1_000_000_000), "So many at once; by default as many as the rate names.").example("200"),
                ]),
                Shape::False,
            ]),
            "Requests that a key may make on a route; past it 429. `false` switches a default off.",
        )
        .example(r#""100/s""#)
        .example(r#"{ rate = "100/s", burst = 200 }"#)
        .shared("rate"),
        field("streams", or_false(Shape::Whole(1, 1_000_000)), "Requests of a key that may be open at once on a route; past it 429. `false` switches a default off.")
            .example("20")
            .shared("streams"),
        header_edits(),
        field(
            "maintenance",
            or_false(table([
                field("status", Shape::Whole(400, 599), "The status of the answer.").default("503"),
                field("message", Shape::Text(r"^[^\u0000-\u001f\u007f-\u009f]{1,500}$"), "A sentence for clients.").default(r#""This API is under maintenance.""#),
                field("retry_after", duration(), "When to try again; by default not said.").example(r#""30m""#),
            ])),
            "A route out of service: this is the answer, after the key and the scope were checked. `false` takes it out of a default.",
        )
        .example(r#"{ message = "Back at noon.", retry_after = "30m" }"#)
        .shared("maintenance"),
    ]
}

/// `retries` of an upstream, of a route and of `[defaults]`.
pub(super) fn retries() -> Field {
    let reason = Shape::Any(vec![
        Shape::Words(vec!["connect", "reset"]),
        Shape::Text("^(429|5[0-9]{2})$"),
    ]);
    field(
        "retries",
        table([
            field("attempts", Shape::Whole(1, 10), "How often a request is sent, in all.").default("2"),
            field("on", one_or_list(reason, 0), "After what: no connection, a broken one, or a status, as \"503\".").default(r#"["connect", "reset"]"#),
            field("budget", Shape::Text(r"^\+?0*(100|[0-9]{1,2})\s*%$"), "How many more there may be, as a share of all requests.").default(r#""20%""#),
        ]),
        "When a request without a body, of whose answer nothing was passed on, is sent again, to another server if there is one.",
    )
    .example(r#"{ attempts = 3, on = ["connect", "503"] }"#)
    .shared("retries")
}

/// `headers` of an upstream, of a route and of `[defaults]`.
pub(super) fn header_edits() -> Field {
    let values = || Shape::Names(HEADER, Box::new(Shape::Text(".")));
    let set = || {
        field("set", values(), "Headers in place of what is there. `${env:NAME}`, `${file:PATH}` and variables such as `${key.id}` are replaced.")
            .example(r#"{ X-Account = "${key.name}" }"#)
            .shared("header-set")
    };
    let direction = || {
        table([
            set(),
            field("add", values(), "Headers beside what is there.")
                .example(r#"{ X-Tag = "gateway" }"#)
                .shared("header-add"),
            field(
                "remove",
                list(Shape::Text(HEADER)),
                "Headers that are taken out.",
            )
            .example(r#"["Cookie"]"#)
            .shared("header-remove"),
        ])
    };
    field(
        "headers",
        table([
            set(),
            field("request", direction(), "What is edited in requests to the upstream.").example(r#"{ remove = ["Cookie"] }"#),
            field("response", direction(), "What is edited in its answers.").example(r#"{ remove = ["Server"] }"#),
        ]),
        "Headers that are set, added and removed; `headers.set` is short for `headers.request.set`.",
    )
    .example(r#"{ set = { Authorization = "Bearer ${file:secret/token}" } }"#)
    .shared("headers")
}

fn expect() -> Table {
    let who = || one_or_list(scope(), 0);
    let fields = vec![
        field("name", text(), "What is tested, in words.").example(r#""only fullAccess reads""#),
        field(
            "request",
            one_or_list(Shape::Text(r"^[!#$%&'*+.^_`|~0-9A-Z-]+ \s*/"), 1),
            "A method and a path, or several.",
        )
        .required()
        .example(r#""GET /v3/users""#),
        field(
            "host",
            one_or_list(Shape::Text(HOST), 1),
            "The host of the request, or several. By default one that no route names, or none.",
        )
        .example(r#""api.example.com""#),
        field(
            "allow",
            who(),
            "Scopes of keys that are let through, or \"anyone\" for no key.",
        )
        .example(r#"["fullAccess"]"#),
        field(
            "deny",
            who(),
            "Scopes of keys that are refused, or \"anyone\" for no key.",
        )
        .example(r#"["authOnly"]"#),
        field(
            "status",
            Shape::Whole(400, 599),
            "The status that those in `deny` get.",
        )
        .needs("deny")
        .example("403"),
        field(
            "route",
            text(),
            "The name of the route that decides, as in logs and metrics.",
        )
        .example(r#""/{*rest}""#),
        field("upstream", text(), "The upstream that it leads to.").example(r#""chat""#),
    ];
    Table {
        fields,
        one_of: &[],
        any_of: &["allow", "deny"],
    }
}
