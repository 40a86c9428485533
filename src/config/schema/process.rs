//! The fields of the main file alone: from `include` to `[lints]`, in the order of the sample.

use super::policy::{header_edits, retries};
use super::shape::{
    Field, HEADER, Shape, duration, field, list, method, one_or_list, or_false, path, rate, scope,
    size, some_text, statuses, table, text, words,
};
use crate::config::{lints, listeners, process, tls};
use crate::policy::lint::Lint;

/// An address and a port, or the name of a socket.
const LISTEN: &str = r"^(unix:[^@]|systemd:[!-~]|(\[[^\]]+\]|[0-9.]+):[0-9]+$)";

pub(super) fn fields() -> Vec<Field> {
    vec![
        field(
            "include",
            one_or_list(some_text(), 0),
            "Files of routes, against the folder of this file: a name must exist, a pattern may match nothing.",
        )
        .example(r#"["routes.toml", "routes.d/*.toml"]"#),
        field("server", table(server()), "Where clients connect. Cold (a change waits for a restart), but for certificates and `hosts`."),
        field("admin", table(admin()), "The admin listener: health, metrics, status, and what operators may have done. Cold."),
        field("reload", table(reload()), "What an edit of the files may do at once."),
        field("shadow", table(shadow()), "A policy that is tried beside the one in force: what it would decide otherwise is counted, and told by `keygate shadow`."),
        field("log", table(log()), "What is written to the log."),
        field("keys", table(keys()), "Where keys are, and how requests carry them. Cold, but for `reveal`."),
        field("management", table(management()), "The API by which keys are managed over HTTP."),
        field("timeouts", table(timeouts()), "How long things may take, in durations of ms, s, m or h."),
        field("limits", table(limits()), "How much there may be at one time, and how large."),
        field(
            "upstreams",
            Shape::Names(r"^[A-Za-z0-9_.-]{1,64}$", Box::new(table(upstream()))),
            "Where permitted requests go: one table for each upstream, by the name that routes have for it.",
        ),
        field("cors", table(cors(true)), "What browsers are told. Without this table a preflight is a request like any other."),
        field("lints", table(lint_levels()), "How loud each finding of `keygate check` is: \"allow\" is not said, \"warn\" counts for `--deny warnings`."),
    ]
}

fn server() -> Vec<Field> {
    let listener = Shape::Any(vec![
        Shape::Text(LISTEN),
        table([
            field("address", Shape::Text(LISTEN), "An address and a port, \"unix:PATH\" or \"systemd:NAME\".")
                .required()
                .example(r#""unix:run/http.sock""#),
            field("tls", Shape::Bool, "Whether TLS is spoken here. By default where there are certificates, and not on a Unix socket."),
            field(
                "proxy_protocol",
                Shape::Any(vec![words(&listeners::PROXY_PROTOCOLS), Shape::Bool]),
                "Whether each connection begins with a PROXY header, and of which version; true is either.",
            )
            .default("false"),
            mode(),
        ]),
    ]);
    let certificate = table([
        field(
            "cert",
            some_text(),
            "The file of the certificate, its issuers after it (PEM).",
        )
        .required()
        .example(r#""tls/example.pem""#),
        field(
            "key",
            some_text(),
            "The file of its private key (PEM), which nobody but the owner and the group may read.",
        )
        .required()
        .example(r#""tls/example.key""#),
    ]);
    vec![
        field(
            "listen",
            Shape::Any(vec![listener.clone(), Shape::List(Box::new(listener), 1)]),
            "Where to listen: addresses with ports (0 takes a free one), \"unix:PATH\", \"systemd:NAME\", or tables.",
        )
        .default(r#"["127.0.0.1:8080"]"#)
        .example(r#"["0.0.0.0:443", { address = "unix:run/http.sock", mode = "0660" }]"#),
        field(
            "workers",
            Shape::Any(vec![Shape::Words(vec!["auto"]), Shape::Whole(1, 1024)]),
            "How many threads serve requests; \"auto\" is one a core.",
        )
        .default(r#""auto""#),
        field("dumpable", Shape::Bool, "Whether debuggers may attach and cores be dumped. They hold keys.").default("false"),
        field(
            "trusted_proxies",
            list(Shape::Text(r"^(unix|[0-9A-Fa-f.:]+(/\+?[0-9]+)?)$")),
            "Peers whose X-Forwarded-* and X-Request-Id are believed: addresses, networks, or \"unix\" for those on Unix sockets.",
        )
        .default("[]")
        .example(r#"["10.0.0.0/8", "unix"]"#),
        field("forwarded", words(&listeners::FORWARDED), "The header by which trusted proxies say for whom they speak; the other is ignored.")
            .default(r#""x-forwarded-for""#),
        field("underscores", words(&listeners::UNDERSCORES), "What becomes of header names with `_`, which upstreams can read as `-`: 400, or they are left out.")
            .default(r#""refuse""#),
        field("handover", text(), "The Unix socket at which a successor asks for the listening sockets; empty for none.")
            .default(r#""""#)
            .example(r#""run/handover.sock""#),
        field("hosts", text(), "A file of lines such as `10.0.0.7 chat.internal`: addresses of upstreams' names that nobody else is asked for. Hot.")
            .example(r#""hosts""#),
        field(
            "tls",
            Shape::Any(vec![certificate.clone(), Shape::List(Box::new(certificate), 1)]),
            "Certificates by which TLS is spoken; a client is shown the one for the name that it asks for, or the first.",
        )
        .example(r#"{ cert = "tls/example.pem", key = "tls/example.key" }"#),
        field(
            "tls_client_auth",
            table([
                field("ca", some_text(), "The file of the certificates that clients' ones are to be issued by (PEM).")
                    .required()
                    .example(r#""tls/clients-ca.pem""#),
                field("mode", words(&tls::CLIENT_AUTH), "Whether a client must show a certificate, or only a good one if any.").required(),
            ]),
            "Which certificates clients show.",
        )
        .needs("tls")
        .example(r#"{ ca = "tls/clients-ca.pem", mode = "required" }"#),
        field("tls_min_version", words(&tls::MIN_VERSIONS), "The lowest version of TLS that is spoken.")
            .needs("tls")
            .default(r#""1.2""#),
    ]
}

/// `mode` of a Unix socket.
fn mode() -> Field {
    field(
        "mode",
        Shape::Text("^0?[0-7]{1,3}$"),
        "Who may connect to a Unix socket: the permissions of its file, in octal.",
    )
    .default(r#""0600""#)
}

fn admin() -> Vec<Field> {
    let listener = table([
        field(
            "address",
            Shape::Text(LISTEN),
            "An address and a port, \"unix:PATH\" or \"systemd:NAME\".",
        )
        .required()
        .example(r#""unix:run/admin.sock""#),
        mode(),
    ]);
    vec![
        field(
            "listen",
            Shape::Any(vec![
                Shape::Text(r"^(unix:[^@]|systemd:[!-~]|(\[[^\]]+\]|[0-9.]+):[0-9]+$|$)"),
                listener,
            ]),
            "Where it listens; empty for nowhere. What only tells asks for no key, so keep it on loopback.",
        )
        .default(r#""127.0.0.1:9901""#),
        field("token", some_text(), "The file of the token that changes ask for (`keygate reload`, `keygate rollback`); made at the first start. Without it nothing can be changed.")
            .example(r#""secret/admin-token""#),
    ]
}

fn reload() -> Vec<Field> {
    vec![
        field("widening", words(&process::WIDENING), "Whether files that let someone do more, lead elsewhere or change what is cold are in force at once, or wait for `keygate reload --confirm`.")
            .default(r#""allow""#),
        field("folder", some_text(), "Where the last twenty accepted configurations are kept; by default `generations`, beside the store. Cold.")
            .example(r#""data/generations""#),
    ]
}

fn shadow() -> Vec<Field> {
    vec![
        field("include", one_or_list(some_text(), 0), "Its files, as those of `include`: scopes, defaults and routes of their own. The upstreams and the management API are those of this file.")
            .required()
            .example(r#"["next/*.toml"]"#),
    ]
}

fn log() -> Vec<Field> {
    vec![
        field(
            "format",
            words(&process::LOG_FORMATS),
            "How lines are written; \"auto\" is text on a terminal and JSON elsewhere.",
        )
        .default(r#""auto""#),
        field(
            "access",
            words(&process::LOG_ACCESS),
            "Which requests have a line.",
        )
        .default(r#""all""#),
        field(
            "level",
            words(&process::LOG_LEVELS),
            "The least grave of the other lines that are written.",
        )
        .default(r#""info""#),
    ]
}

fn keys() -> Vec<Field> {
    vec![
        field("header", Shape::Text("^[A-Za-z0-9-]+$"), "The request header that carries the key; letter case does not count.").default(r#""apikey""#),
        field("store", Shape::Text("^sqlite:."), "The key store, made at the first start.").default(r#""sqlite:data/keygate.db""#),
        field("secret", some_text(), "The file of the master secret, made with a new store; or the secret is in the environment, as KEYGATE_SECRET.")
            .default(r#""secret/master""#),
        field("reveal", words(&process::REVEAL), "Whether GET shows keys always, or a key is shown once, when it is made. Hot.").default(r#""always""#),
    ]
}

fn management() -> Vec<Field> {
    vec![
        field(
            "paths",
            list(path()),
            "Where it is served; each path owns itself and all below it. Without a path it is off.",
        )
        .default(r#"["/apikeys", "/v3/apikeys", "/v3.0/apikeys"]"#),
        field("scope", scope(), "The scope that a key needs to use it.").default(r#""fullAccess""#),
    ]
}

fn timeouts() -> Vec<Field> {
    vec![
        field("head", duration(), "For a whole request head.").default(r#""10s""#),
        body_timeout().default(r#""30s""#),
        connect_timeout().default(r#""3s""#),
        response_timeout().default(r#""60s""#),
        idle_timeout().default(r#""75s""#),
        stream_timeout().default(r#""5m""#),
        field("drain", duration(), "For what is in flight when keygate is told to stop.").default(r#""30s""#),
        field("drain_delay", Shape::Text(r"^(0s|0*[1-9][0-9]*\s*(ms|s|m|h))$"), "How long all is served as before when keygate is told to stop, while /readyz says 503.")
            .default(r#""0s""#),
    ]
}

pub(super) fn body_timeout() -> Field {
    field(
        "body",
        duration(),
        "Of a body, either way, without progress.",
    )
}

pub(super) fn connect_timeout() -> Field {
    field("connect", duration(), "For a connection to an upstream.")
}

pub(super) fn response_timeout() -> Field {
    field(
        "response",
        duration(),
        "Until the head of the upstream's answer.",
    )
}

pub(super) fn stream_timeout() -> Field {
    field(
        "stream",
        duration(),
        "Of an open stream without a byte; streams have no total limit.",
    )
}

fn idle_timeout() -> Field {
    field(
        "idle",
        duration(),
        "Of a kept connection without a request.",
    )
}

fn limits() -> Vec<Field> {
    let at_most = |burst| {
        table([
            field("rate", rate(), "So many per s, m or h, in the long run.").default(r#""100/s""#),
            field("burst", Shape::Whole(1, 1_000_000_000), "So many at once.").default(burst),
        ])
    };
    vec![
        field("connections", Shape::Whole(1, 10_000_000), "Connections of clients at one time; past it they are closed at once.").default("10000"),
        field("requests", Shape::Whole(1, 10_000_000), "Requests that are open at one time; past it 503.").default("20000"),
        field("streams", Shape::Whole(1, 10_000), "Streams at once on an HTTP/2 connection of a client.").default("128"),
        field("head_bytes", size(1 << 10, 1 << 20), "Bytes of a request head; past it 431.").default(r#""32KiB""#),
        field("headers", Shape::Whole(1, 1000), "Fields in a request head; past it 431.").default("96"),
        field("target_bytes", size(64, 65_000), "Bytes of a request target; past it 414.").default(r#""8KiB""#),
        field("body_bytes", size(0, 1 << 50), "Bytes of a request body; past it 413.").default(r#""128MiB""#),
        field("connections_per_network", Shape::Whole(1, 10_000_000), "Connections of one IPv4 address or IPv6 /64 at one time, but those of trusted proxies. Off by default.")
            .example("200"),
        field("frames", at_most("300"), "Frames of an HTTP/2 connection that bring nobody further; past it the connection is told to go.")
            .default(r#"{ rate = "100/s", burst = 300 }"#),
        field("failed_auth", at_most("1000"), "Failed authentications of one IPv4 address or IPv6 /64; past it such requests get 429.")
            .default(r#"{ rate = "100/s", burst = 1000 }"#),
        field("streams_per_key", or_false(Shape::Whole(1, 1_000_000)), "Requests of one key that may be open at once, over all routes to upstreams; past it 429.")
            .default("false")
            .example("100"),
    ]
}

fn upstream() -> Vec<Field> {
    const SERVER: &str = r"^((https?|h2c)://[^/?#@]+$|(h2c\+)?unix:/)";
    let server = Shape::Any(vec![
        Shape::Text(SERVER),
        table([
            field(
                "url",
                Shape::Text(SERVER),
                "Scheme, host and port, or the path of a Unix socket.",
            )
            .required()
            .example(r#""http://127.0.0.1:9000""#),
            field(
                "weight",
                Shape::Whole(1, 1000),
                "How much it takes against the others.",
            )
            .default("1"),
        ]),
    ]);
    vec![
        field("servers", Shape::Any(vec![Shape::Text(SERVER), Shape::List(Box::new(server), 1)]), "Servers that share the load: http://, https://, h2c://, unix:/path or h2c+unix:/path, without a path on the server.")
            .required()
            .example(r#"["http://127.0.0.1:9000"]"#)
            .example(r#"["http://chat-1:9000", { url = "http://chat-2:9000", weight = 3 }]"#),
        field(
            "host",
            Shape::Any(vec![Shape::Words(vec!["upstream", "client"]), Shape::Text(r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]+)?$")]),
            "The Host header that it gets: its own authority, the client's, or a name.",
        )
        .default(r#""upstream""#),
        header_edits(),
        field("http2", Shape::Bool, "Whether HTTP/2 is spoken over TLS: always, or never; by default where a server agrees to it.").example("true"),
        field("forwarded", Shape::Bool, "Whether it gets Forwarded (RFC 7239) besides X-Forwarded-*.").default("false"),
        field(
            "tls",
            table([
                field("ca", some_text(), "The file of the root certificates that are believed (PEM), in place of the system's.").example(r#""tls/internal-ca.pem""#),
                field("cert", some_text(), "The file of the certificate that is shown to servers that ask (PEM).")
                    .needs("key")
                    .example(r#""tls/keygate.pem""#),
                field("key", some_text(), "The file of its private key (PEM).")
                    .needs("cert")
                    .example(r#""tls/keygate.key""#),
                field("server_name", some_text(), "The name that is asked for and verified, in place of the server's own.").example(r#""chat.internal""#),
            ]),
            "How servers with https:// are met. Their certificates are always verified.",
        )
        .example(r#"{ ca = "tls/internal-ca.pem" }"#),
        field(
            "timeouts",
            table([
                connect_timeout().example(r#""1s""#),
                response_timeout().example(r#""10s""#),
                body_timeout().example(r#""30s""#),
                stream_timeout().example(r#""1h""#),
                idle_timeout().example(r#""30s""#),
            ]),
            "Its own timeouts, in place of the general ones.",
        )
        .example(r#"{ response = "10s" }"#),
        field(
            "balance",
            Shape::Any(vec![
                Shape::Words(vec!["least-loaded", "round-robin", "hash:key"]),
                Shape::Text(r"^hash:header \s*[!#$%&'*+.^_`|~0-9A-Za-z-]+\s*$"),
            ]),
            "Which server a request goes to: of two drawn by weight the one with less to do, each in turn, or the same for the same key or \"hash:header NAME\".",
        )
        .default(r#""least-loaded""#)
        .example(r#""hash:header X-Room""#),
        field("resolve", duration(), "How often the names of servers are asked for again.").default(r#""30s""#),
        field("health", table(health()), "Servers are asked for their health, and left out while they are not well.")
            .example(r#"{ path = "/healthz", interval = "5s" }"#),
        field("eject", table(eject()), "Servers are left out for a while after failures in a row.").example(r#"{ failures = 5, for = "10s" }"#),
        field("slow_start", duration(), "How long a server that is back takes to get its whole share. Off by default.").example(r#""30s""#),
        field("connections", Shape::Whole(1, 1_000_000), "Requests at one time at each server, all workers together; others wait. No limit by default.").example("100"),
        field(
            "queue",
            table([
                field("size", Shape::Whole(0, 1_000_000), "How many may wait; past it 503.").default("100"),
                field("timeout", duration(), "How long each may wait; past it 503.").default(r#""1s""#),
            ]),
            "Those that wait where `connections` is reached.",
        )
        .needs("connections")
        .default(r#"{ size = 100, timeout = "1s" }"#),
        retries(),
    ]
}

fn health() -> Vec<Field> {
    vec![
        field("path", path(), "What is asked for.")
            .required()
            .example(r#""/healthz""#),
        field("interval", duration(), "How often.").default(r#""5s""#),
        field("timeout", duration(), "How long an answer may take.").default(r#""2s""#),
        field(
            "healthy",
            Shape::Whole(1, 1000),
            "So many good answers in a row bring a server back.",
        )
        .default("2"),
        field(
            "unhealthy",
            Shape::Whole(1, 1000),
            "So many bad ones in a row take it out.",
        )
        .default("3"),
        field(
            "status",
            statuses(100, 599, r"^([1-5]xx|\+?0*[1-5][0-9]{2})$"),
            "Statuses that are good answers.",
        )
        .default(r#""2xx""#)
        .example(r#"[200, "3xx"]"#),
    ]
}

fn eject() -> Vec<Field> {
    vec![
        field("failures", Shape::Whole(1, 100_000), "So many in a row.").default("5"),
        field(
            "for",
            duration(),
            "How long a server is left out; twice as long each time, up to 5m.",
        )
        .default(r#""10s""#),
        field(
            "status",
            statuses(400, 599, r"^([45]xx|\+?0*[45][0-9]{2})$"),
            "Statuses that are failures, besides broken connections.",
        )
        .default("[502, 503, 504]"),
    ]
}

/// `[cors]`, or `cors` of a route, which does not speak for the management API.
pub(super) fn cors(general: bool) -> Vec<Field> {
    let header = || Shape::Text(HEADER);
    let mut fields = vec![
        field("origins", one_or_list(Shape::Text(r"^(\*$|[a-z][a-z0-9+.-]*://[^/?#]+$)"), 1), "Origins that are let in, or \"*\" alone for all.")
            .required()
            .example(r#"["https://app.example.com"]"#),
        field("methods", list(method()), "Methods that are let in.")
            .default(r#"["OPTIONS", "HEAD", "GET", "POST", "PUT", "PATCH", "DELETE"]"#),
        field("headers", list(header()), "Request headers that are let in.")
            .default(r#"["apiKey", "appId", "authToken", "onBehalfOf", "Content-Type", "Accept", "Authorization", "resource", "sdk"]"#),
        field("expose", list(header()), "Headers of answers that scripts may read.").default("[]"),
        field("credentials", Shape::Bool, "Whether cookies and the like may come with requests; true needs exact origins.").default("false"),
        field("max_age", duration(), "How long a browser may remember an answer to a preflight.").default(r#""10m""#),
    ];
    if general {
        let about = "Whether the management API answers browsers too.";
        fields.push(field("management", Shape::Bool, about).default("false"));
    }
    fields
}

fn lint_levels() -> Vec<Field> {
    let level = |(name, lint): (&'static str, Lint)| {
        let default = lints::LEVELS
            .iter()
            .find(|(_, level)| *level == lint.default_level());
        let (default, _) = default.expect("each level has a word");
        let level = field(name, words(&lints::LEVELS), finding(lint));
        match *default {
            "note" => level.default(r#""note""#),
            "warn" => level.default(r#""warn""#),
            _ => level.default(r#""allow""#),
        }
    };
    Lint::NAMES.into_iter().map(level).collect()
}

/// What a lint finds.
fn finding(lint: Lint) -> &'static str {
    match lint {
        Lint::PublicRoute => "Anyone may use a route, without a key.",
        Lint::PointlessRoute => "A broader route decides the same.",
        Lint::FallsThrough => "Methods of a path fall to a broader route that lets in more.",
        Lint::NotAllCompared => "Routes overlap in so many ways that not all were looked through.",
        Lint::UnusedScope => "No route asks for a scope, and no expectation speaks of it.",
        Lint::KeysWithoutScope => "Keys in the store have a scope that is not declared.",
        Lint::MethodSlip => "A method is nearly one that everyone knows, as \"POTS\".",
        Lint::LooksLikePattern => {
            "A path looks like a pattern of another kind, as \"/users/:id\" or \"/files/*.png\"."
        }
        Lint::NearlySamePath => {
            "Two paths differ by letter case or a trailing slash, and are decided differently."
        }
        Lint::IdleExpectation => {
            "An expectation holds whatever the routes say of keys, or says what another one says."
        }
    }
}
