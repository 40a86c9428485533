//! Envoy: the filters `api_key_auth` and `rbac`, and a matcher tree of routes by prefix, each with a pattern of its own.

use super::Site;
use crate::case::Wire;
use crate::keys::{AUTH_ONLY_ID, Keys};
use crate::process::{ITS_CORE, Process, pinned};
use crate::target;
use anyhow::Result;
use serde_json::{Map, Value, json};

/// Where `setup.sh` puts it, or the one that is installed.
pub fn program() -> String {
    let brought = target().join("lab/venv/bin/envoy");
    if brought.exists() {
        return brought.display().to_string();
    }
    "envoy".to_owned()
}

pub fn start(site: &Site) -> Result<Process> {
    let path = site.folder.join("envoy.json");
    std::fs::write(&path, serde_json::to_vec(&config(site))?)?;
    let mut command = pinned(ITS_CORE, program());
    command.args([
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "error",
        "-c",
    ]);
    command.arg(&path);
    Process::start(command, &site.folder.join("envoy.log"))
}

/// A message of this type, with these fields.
fn typed(kind: &str, mut fields: Value) -> Value {
    fields["@type"] = format!("type.googleapis.com/envoy.{kind}").into();
    fields
}

fn config(site: &Site) -> Value {
    let mut chain = json!({ "filters": [{
        "name": "http",
        "typed_config": connections(site),
    }] });
    if site.wire == Wire::Tls {
        let certificate = json!({
            "certificate_chain": { "filename": site.certificate.cert },
            "private_key": { "filename": site.certificate.key },
        });
        chain["transport_socket"] = json!({
            "name": "tls",
            "typed_config": typed("extensions.transport_sockets.tls.v3.DownstreamTlsContext", json!({
                "common_tls_context": { "tls_certificates": [certificate], "alpn_protocols": ["http/1.1"] },
            })),
        });
    }
    // Its limits are below a thousand requests at once.
    let many = 100_000;
    json!({ "static_resources": {
        "listeners": [{
            "name": "front",
            "address": address(site.port),
            "tcp_backlog_size": 4096,
            "filter_chains": [chain],
        }],
        "clusters": [{
            "name": "chat",
            "type": "STATIC",
            "circuit_breakers": { "thresholds": [
                { "max_connections": many, "max_pending_requests": many, "max_requests": many },
            ] },
            "load_assignment": { "cluster_name": "chat", "endpoints": [
                { "lb_endpoints": [{ "endpoint": { "address": address(site.upstream) } }] },
            ] },
        }],
    } })
}

fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

fn connections(site: &Site) -> Value {
    let filter = |name: &str, config: Value| json!({ "name": name, "typed_config": config });
    typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "front",
            "codec_type": "AUTO",
            "use_remote_address": true,
            "skip_xff_append": true,
            "via": "1.1 envoy",
            "server_header_transformation": "PASS_THROUGH",
            "always_set_request_id_in_response": true,
            "http_filters": [
                filter("envoy.filters.http.api_key_auth", keys(site.keys)),
                filter(RBAC, rbac()),
                filter("envoy.filters.http.router", typed(
                    "extensions.filters.http.router.v3.Router",
                    json!({ "suppress_envoy_headers": true }),
                )),
            ],
            "route_config": { "virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "request_headers_to_add": [
                    overwriting("X-Keygate-Key-Name", "customer"),
                    // Also for the key of lesser scope, where it may: whose key it is is not known where this is written.
                    overwriting("X-Keygate-Scope", "fullAccess"),
                    overwriting("X-Forwarded-For", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"),
                    overwriting("X-Forwarded-Host", "%REQ(:AUTHORITY)%"),
                ],
                "matcher": routes(site),
            }] },
        }),
    )
}

fn overwriting(name: &str, value: &str) -> Value {
    json!({ "header": { "key": name, "value": value }, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD" })
}

fn keys(keys: &Keys) -> Value {
    let credential = |key: &str, id: &str| json!({ "key": key, "client": id });
    let mut credentials: Vec<Value> = (keys.full.iter().enumerate())
        .map(|(number, key)| credential(key, &Keys::id(number)))
        .collect();
    credentials.push(credential(&keys.auth_only, AUTH_ONLY_ID));
    typed(
        "extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
        json!({
            "credentials": credentials,
            "key_sources": [{ "header": "apikey" }],
            "forwarding": { "header": "X-Keygate-Key-Id", "hide_credentials": true },
        }),
    )
}

const RBAC: &str = "envoy.filters.http.rbac";

/// Denies the keys of lesser scope, but where a route has it switched off.
fn rbac() -> Value {
    let lesser = json!({ "header": { "name": "x-keygate-key-id", "string_match": { "exact": AUTH_ONLY_ID } } });
    let policy = json!({ "permissions": [{ "any": true }], "principals": [lesser] });
    typed(
        "extensions.filters.http.rbac.v3.RBAC",
        json!({ "rules": { "action": "DENY", "policies": { "lesser": policy } } }),
    )
}

fn routes(site: &Site) -> Value {
    let mut by_prefix = Map::new();
    for (prefix, scope) in site.routes.each() {
        let mut route = json!({
            "match": { "safe_regex": { "regex": format!("{prefix}[^/]+") } },
            "route": {
                "cluster": "chat",
                "timeout": "0s",
                "host_rewrite_literal": format!("127.0.0.1:{}", site.upstream),
            },
        });
        if scope == "authOnly" {
            let off = typed("extensions.filters.http.rbac.v3.RBACPerRoute", json!({}));
            route["typed_per_filter_config"] = json!({ RBAC: off });
        }
        let action =
            json!({ "name": "route", "typed_config": typed("config.route.v3.Route", route) });
        by_prefix.insert(prefix, json!({ "action": action }));
    }
    let path = typed(
        "type.matcher.v3.HttpRequestHeaderMatchInput",
        json!({ "header_name": ":path" }),
    );
    json!({ "matcher_tree": {
        "input": { "name": "path", "typed_config": path },
        "prefix_match_map": { "map": by_prefix },
    } })
}
