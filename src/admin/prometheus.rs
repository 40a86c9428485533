//! `/metrics`: the text format of Prometheus, version 0.0.4.

use super::State;
use crate::gateway::{BUCKETS_US, Histogram};
use crate::upstream::{GroupReport, ServerReport};
use std::fmt::{Display, Write};

/// Writes families one after the other; a `String` takes every write.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if i == 0 { '{' } else { ',' });
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        let _ = writeln!(
            self.0,
            "{} {value}",
            if labels.is_empty() { "" } else { "}" }
        );
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut sum = 0;
        for (i, count) in histogram.counts.iter().enumerate() {
            sum += count;
            let bound = BUCKETS_US
                .get(i)
                .map_or("+Inf".to_owned(), |us| (*us as f64 / 1e6).to_string());
            self.sample(&bucket, &[("le", &bound)], sum);
        }
        self.sample(&format!("{name}_sum"), &[], histogram.sum_ns as f64 / 1e9);
        self.sample(&format!("{name}_count"), &[], sum);
    }
}

/// How the servers of upstreams are.
fn servers(page: &mut Page, fleet: &[GroupReport]) {
    type Value = fn(&ServerReport) -> f64;
    let families: [(&str, &str, &str, Value); 4] = [
        (
            "keygate_upstream_server_up",
            "gauge",
            "1 when the server takes requests, 0 when it is out.",
            |s| f64::from(u8::from(s.share > 0)),
        ),
        (
            "keygate_upstream_server_share",
            "gauge",
            "The part of its weight that the server takes: less than 1 while it is out or comes back slowly.",
            |s| f64::from(s.share) / 1000.0,
        ),
        (
            "keygate_upstream_server_ejections_total",
            "counter",
            "Times that the server was left out for failed requests.",
            |s| s.ejections as f64,
        ),
        (
            "keygate_upstream_server_requests_in_flight",
            "gauge",
            "Requests that hold a place at the server, where `connections` limits them.",
            |s| f64::from(s.in_use),
        ),
    ];
    for (name, kind, help, value) in families {
        page.family(name, kind, help);
        for group in fleet {
            for server in &group.servers {
                let labels = [
                    ("upstream", &*group.upstream),
                    ("server", &*server.server),
                    ("address", &*server.address),
                ];
                page.sample(name, &labels, value(server));
            }
        }
    }
    let name = "keygate_upstream_refused_total";
    page.family(
        name,
        "counter",
        "Requests answered 503 because no server of the upstream could take them, by reason.",
    );
    for group in fleet {
        for (reason, count) in &group.refused {
            let labels = [("upstream", &*group.upstream), ("reason", *reason)];
            page.sample(name, &labels, count);
        }
    }
    let name = "keygate_upstream_queue";
    page.family(name, "gauge", "Requests that wait for a place at a server.");
    for group in fleet {
        page.sample(name, &[("upstream", &group.upstream)], group.waiting);
    }
}

pub(super) async fn render(state: &State) -> String {
    let report = state.server.report().await;
    let (reload, feed) = (state.live.status(), state.keys.feed());
    let (accepted, shed, errors) = state.server.accepted();
    let mut page = Page(String::with_capacity(16 * 1024));

    page.family("keygate_build_info", "gauge", "The version that runs.");
    let version = env!("CARGO_PKG_VERSION");
    page.sample("keygate_build_info", &[("version", version)], 1);

    let name = "keygate_requests_total";
    page.family(
        name,
        "counter",
        "Requests, counted when their answer has ended.",
    );
    for (labels, count) in &report.requests {
        let class = match labels.class {
            0 => "none".to_owned(),
            class => format!("{class}xx"),
        };
        page.sample(
            name,
            &[
                ("route", &labels.route),
                ("method", labels.method),
                ("status", &class),
                ("outcome", labels.outcome.as_str()),
            ],
            count,
        );
    }
    let name = "keygate_shadow_decisions_total";
    page.family(
        name,
        "counter",
        "Requests that the shadow policy was tried on, by the route that lets them through, or would; begins anew with another policy.",
    );
    for ((comparison, route), count) in &report.shadow {
        let labels = [("decision", comparison.as_str()), ("route", &**route)];
        page.sample(name, &labels, count);
    }
    page.histogram(
        "keygate_gateway_seconds",
        "Time from a request's head to its answer's head, less the upstream's share.",
        &report.gateway,
    );
    page.histogram(
        "keygate_upstream_seconds",
        "Time from sending a request up to its answer's head.",
        &report.upstream,
    );
    page.one(
        "keygate_upstream_retries_total",
        "counter",
        "Times that a request was sent again: an old connection had ended, or `retries` said so.",
        report.retries,
    );

    page.one(
        "keygate_rate_buckets",
        "gauge",
        "Buckets of rates remembered: one for a key and a route, until it is full again.",
        state.server.rate_buckets(),
    );

    let snapshot = state.live.snapshot();
    let certificates = snapshot.hot.certificates();
    let name = "keygate_certificate_expiry_timestamp_seconds";
    page.family(
        name,
        "gauge",
        "Until when a certificate that is shown holds; its first name, if it has one.",
    );
    for certificate in certificates {
        let file = certificate.file.display().to_string();
        let first = certificate.names.first().map_or("", String::as_str);
        if let Some(validity) = certificate.validity {
            let labels = [("file", &*file), ("name", first)];
            page.sample(name, &labels, validity.not_after.unix_seconds());
        }
    }

    page.one(
        "keygate_connections",
        "gauge",
        "Client connections open.",
        report.connections,
    );
    page.one(
        "keygate_connections_resting",
        "gauge",
        "Of the client connections open, those that are idle and hold no buffers.",
        report.resting,
    );
    page.one(
        "keygate_connections_accepted_total",
        "counter",
        "Client connections accepted.",
        accepted,
    );
    page.one(
        "keygate_connections_shed_total",
        "counter",
        "Client connections closed at once, over the limit.",
        shed,
    );
    page.one(
        "keygate_accept_errors_total",
        "counter",
        "Failed attempts to accept a connection.",
        errors,
    );
    let name = "keygate_connections_ended_total";
    page.family(
        name,
        "counter",
        "Client connections ended for a reason other than HTTP's own.",
    );
    for (reason, count) in &report.closed {
        page.sample(name, &[("reason", reason)], count);
    }

    type Pool = (
        &'static str,
        &'static str,
        &'static str,
        fn(&crate::upstream::PoolStats) -> u64,
    );
    let pools: [Pool; 5] = [
        (
            "keygate_upstream_connections",
            "gauge",
            "Upstream connections open.",
            |p| p.open,
        ),
        (
            "keygate_upstream_connections_idle",
            "gauge",
            "Upstream connections idle in the pool.",
            |p| p.idle,
        ),
        (
            "keygate_upstream_connections_opened_total",
            "counter",
            "Upstream connections made.",
            |p| p.opened,
        ),
        (
            "keygate_upstream_connections_failed_total",
            "counter",
            "Upstream connections that could not be made.",
            |p| p.failed,
        ),
        (
            "keygate_upstream_connections_reused_total",
            "counter",
            "Requests sent on a used upstream connection.",
            |p| p.reused,
        ),
    ];
    for (name, kind, help, value) in pools {
        page.family(name, kind, help);
        for (server, stats) in &report.pools {
            page.sample(name, &[("server", server)], value(stats));
        }
    }

    servers(&mut page, &state.server.fleet().report());

    page.one(
        "keygate_keys",
        "gauge",
        "Keys in memory.",
        state.keys.cache().len(),
    );
    page.one(
        "keygate_key_revision",
        "gauge",
        "Revision of the key store that is in force.",
        feed.revision.0,
    );
    page.one(
        "keygate_key_feed_age_seconds",
        "gauge",
        "Time since the key store was last looked at with success.",
        feed.age.as_secs_f64(),
    );
    page.one(
        "keygate_policy_generation",
        "gauge",
        "Generation of the configuration that is in force.",
        reload.generation,
    );
    page.one(
        "keygate_policy_loaded_timestamp_seconds",
        "gauge",
        "When the generation came into force.",
        reload.loaded_at.unix_seconds(),
    );
    page.one(
        "keygate_policy_current",
        "gauge",
        "1 when the files as they are now are in force; 0 when they were refused, wait to be confirmed, or another generation is pinned.",
        u8::from(reload.last_error.is_none() && reload.unconfirmed.is_none() && !reload.pinned),
    );
    page.one(
        "keygate_policy_unconfirmed",
        "gauge",
        "1 while the files wait to be confirmed.",
        u8::from(reload.unconfirmed.is_some()),
    );
    page.one(
        "keygate_policy_pinned",
        "gauge",
        "1 while a generation that was gone back to stays in force whatever the files hold.",
        u8::from(reload.pinned),
    );
    let name = "keygate_policy_reloads_total";
    page.family(name, "counter", "Reloads, by result.");
    page.sample(name, &[("result", "accepted")], reload.accepted);
    page.sample(name, &[("result", "refused")], reload.refused);
    page.one(
        "keygate_log_lines_dropped_total",
        "counter",
        "Log lines dropped because the log was not written fast enough.",
        (state.dropped_log_lines)(),
    );
    page.one(
        "keygate_draining",
        "gauge",
        "1 while the gateway drains.",
        u8::from(state.is_draining()),
    );
    page.0
}
