//! `GET /explain` and `GET /decisions`: what would be decided about a request, and what was.
//!
//! They need the token, though they only tell: which route takes a request, and what strangers asked for, is not for
//! everyone. What was refused is told as it was kept, and beside it what would be decided now. A path that holds a key's
//! text, as of a client that writes its key in the wrong place, is not told.

use super::State;
use super::act::{bad_request, parameters, parse};
use super::guard::Operator;
use super::reply::Reply;
use crate::clock::Timestamp;
use crate::config::Snapshot;
use crate::explain::{Caller, explain};
use crate::gateway::{Decision, RefusedCaller, WantedDecisions};
use crate::key::{Actor, CommandError, Denial, KeyId, KeySelector, ScopeName};
use crate::policy::Asked;
use http::{Method, StatusCode};
use serde_json::{Value, json};

/// Most refusals in a list.
const MOST: usize = 1000;

/// What would be decided about the request that the query describes.
///
/// # Errors
/// The answer to a query that describes none.
pub(super) async fn explained(
    state: &State,
    _: Operator,
    query: Option<&str>,
) -> Result<Reply, Reply> {
    let names = ["method", "target", "host", "scope", "keyId"];
    let [method, target, host, scope, key_id] = parameters(query, names)?;
    let method: Method = parse("method", method)?.unwrap_or(Method::GET);
    let Some(target) = target else {
        return Err(bad_request("`target` is missing: a path, percent-encoded"));
    };
    let snapshot = state.live.snapshot();
    let scope = scope.map(|text| scope_name(&text, &snapshot)).transpose()?;
    let caller = match (scope, parse::<KeyId>("keyId", key_id)?) {
        (Some(_), Some(_)) => return Err(bad_request("expected `scope` or `keyId`, not both")),
        (Some(scope), None) => Caller::Scope(scope),
        (None, Some(id)) => key(state, id).await?,
        (None, None) => Caller::Anyone,
    };
    let asked = Asked {
        method,
        target,
        host,
    };
    Ok(Reply::json(
        StatusCode::OK,
        &explanation(state, &snapshot, asked, caller),
    ))
}

fn scope_name(text: &str, snapshot: &Snapshot) -> Result<ScopeName, Reply> {
    let scope = ScopeName::parse(text).map_err(|e| bad_request(&format!("`scope`: {e}")))?;
    match snapshot.hot.policy.scopes().declares(&scope) {
        true => Ok(scope),
        false => Err(bad_request(&format!(
            "the scope `{scope}` is not declared in the policy in force"
        ))),
    }
}

/// The key of this id, as the store has it.
async fn key(state: &State, id: KeyId) -> Result<Caller, Reply> {
    let selector = KeySelector {
        id: Some(id),
        ..KeySelector::parse(id.as_str(), state.keys.digester())
    };
    match state.keys.get(&Actor::Operator, &selector).await {
        Ok(key) => Ok(Caller::Key(key.record)),
        Err(CommandError::Denied(Denial::NotFound)) => Ok(Caller::Unknown),
        Err(error) => Err(Reply::refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            &crate::net::causes(&error),
        )),
    }
}

fn explanation(state: &State, snapshot: &Snapshot, asked: Asked, caller: Caller) -> Value {
    let rules = snapshot.hot.admit_rules(&state.cold);
    let now = Timestamp::now();
    let mut value = explain(&snapshot.hot, &rules, asked, caller, now).json();
    value["generation"] = json!(snapshot.generation);
    value
}

/// The newest refusals.
///
/// # Errors
/// The answer to a query that cannot be read.
pub(super) async fn newest(
    state: &State,
    _: Operator,
    query: Option<&str>,
) -> Result<Reply, Reply> {
    let [limit] = parameters(query, ["limit"])?;
    let limit: usize = parse("limit", limit)?.unwrap_or(50).min(MOST);
    let wanted = WantedDecisions::Newest(limit);
    let decisions = state.server.decisions(&wanted).await;
    let told: Vec<Value> = decisions
        .iter()
        .map(|decision| told(state, decision))
        .collect();
    Ok(Reply::json(StatusCode::OK, &json!({ "decisions": told })))
}

/// Why the request with this id was refused.
pub(super) async fn one(state: &State, _: Operator, id: &str) -> Reply {
    let wanted = WantedDecisions::Id(id.to_owned());
    let found = state.server.decisions(&wanted).await;
    let Some(decision) = found.first() else {
        let message = "no refusal of this request is remembered; only the most recent ones are, and of floods of bad keys none";
        return Reply::refusal(StatusCode::NOT_FOUND, "not-remembered", message);
    };
    let mut value = told(state, decision);
    value["now"] = now(state, decision);
    Reply::json(StatusCode::OK, &value)
}

fn told(state: &State, decision: &Decision) -> Value {
    let route = decision.route.as_ref();
    json!({
        "id": decision.id,
        "at": decision.at.unix_seconds(),
        "client": decision.client.to_string(),
        "method": decision.method.as_str(),
        "host": decision.host,
        "path": path(state, decision),
        "route": route.map(|route| json!({
            "name": &*route.name,
            "path": &*route.template,
            "file": route.place.file.display().to_string(),
            "line": route.place.line,
        })),
        "keyId": decision.key.map(|(id, _)| id.to_string()),
        "generation": decision.generation,
        "status": decision.status,
        "outcome": decision.outcome,
        "reason": decision.reason,
        "why": decision.why,
    })
}

/// The path, if no part of it is the text of a key.
fn path<'d>(state: &State, decision: &'d Decision) -> Option<&'d str> {
    let path = decision.path.as_deref()?;
    let now = Timestamp::now();
    let is_key = |part: &str| {
        let digest = state.keys.digester().digest(part.as_bytes());
        state.keys.cache().look_up(&digest, now).is_some()
    };
    let mut parts = path.split(['/', ';', ':', '=', ',', '&']);
    (!parts.any(is_key)).then_some(path)
}

/// What would be decided about the same request now; nothing where too little is known of it.
fn now(state: &State, decision: &Decision) -> Value {
    let Some(target) = path(state, decision) else {
        return Value::Null;
    };
    let caller = match (decision.key, decision.caller) {
        (Some((_, digest)), _) => {
            let record = state.keys.cache().look_up(&digest, Timestamp::now());
            record.map_or(Caller::Unknown, Caller::Key)
        }
        (None, RefusedCaller::Anyone) => Caller::Anyone,
        (None, RefusedCaller::Malformed) => Caller::Malformed,
        (None, RefusedCaller::Unknown) => Caller::Unknown,
        (None, RefusedCaller::Other) => return Value::Null,
    };
    let asked = Asked {
        method: decision.method.clone(),
        target: target.to_owned(),
        host: decision.host.clone(),
    };
    explanation(state, &state.live.snapshot(), asked, caller)
}
