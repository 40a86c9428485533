//! `GET /explain` and `GET /decisions`: what would be decided about a request, and what was.
//!
//! They need the token, though they only tell: which route takes a request, and what strangers asked for, is not for
//! everyone. What was refused is told as it was kept, and beside it what would be decided now. Clients write keys in wrong
//! places, and whatever is as long as a key may be one, of this store or another: it is told as `…`.

use super::State;
use super::act::{bad_request, parameters, parse};
use super::guard::Operator;
use super::reply::Reply;
use crate::clock::Timestamp;
use crate::config::Snapshot;
use crate::explain::{Caller, explain};
use crate::gateway::{Decision, RefusedCaller, WantedDecisions};
use crate::key::{Actor, ApiKey, CommandError, Denial, KeyId, KeySelector, ScopeName};
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
    let told: Vec<Value> = decisions.iter().map(told).collect();
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
    let mut value = told(decision);
    value["now"] = now(state, decision);
    Reply::json(StatusCode::OK, &value)
}

fn told(decision: &Decision) -> Value {
    let route = decision.route.as_ref();
    json!({
        "id": decision.id,
        "at": decision.at.unix_seconds(),
        "client": decision.client.to_string(),
        "method": decision.method.as_ref().map(|method| masked(method.as_str())),
        "host": decision.host.as_deref().map(masked),
        "path": decision.path.as_deref().map(masked),
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

/// Text of a stranger's, with `…` for whatever is as long as a key: each run of characters between those that keep the
/// parts of a path, a host or a list apart.
fn masked(text: &str) -> String {
    let apart = |c: char| matches!(c, '/' | '.' | ':' | '[' | ']');
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(apart) {
        let end = part.chars().next_back().filter(|c| apart(*c));
        let body = &part[..part.len() - end.map_or(0, char::len_utf8)];
        out.push_str(if body.len() < ApiKey::MIN_LEN {
            body
        } else {
            "…"
        });
        out.extend(end);
    }
    out
}

/// The same, of all that an explanation repeats of the request.
fn mask(explained: &mut Value) {
    for (object, fields) in [
        ("request", &["method", "target", "host"][..]),
        ("canonical", &["host", "path"]),
        ("leadsTo", &["target", "host"]),
    ] {
        for field in fields {
            let found = explained.pointer_mut(&format!("/{object}/{field}"));
            if let Some(Value::String(text)) = found {
                *text = masked(text);
            }
        }
    }
}

/// What would be decided about the same request now; nothing where too little is known of it.
fn now(state: &State, decision: &Decision) -> Value {
    let (Some(target), Some(method)) = (&decision.path, &decision.method) else {
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
        method: method.clone(),
        target: target.clone(),
        host: decision.host.clone(),
    };
    let mut explained = explanation(state, &state.live.snapshot(), asked, caller);
    mask(&mut explained);
    explained
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_long_as_a_key_is_not_told_wherever_it_stands() {
        let key = "k".repeat(ApiKey::MIN_LEN);
        for (text, told) in [
            ("/v3/users/7".to_owned(), "/v3/users/7"),
            (format!("/v3/{key}/x"), "/v3/…/x"),
            (format!("/x/{key}.json"), "/x/….json"),
            (format!("/bot{key}/send"), "/…/send"),
            (format!("/x/%7B{key}%7D"), "/x/…"),
            (format!("/x/\\{key}\""), "/x/…"),
            (format!("{key}@a.test:80"), "….test:80"),
            (format!("{key}.a.test"), "….a.test"),
            (key.clone(), "…"),
            (key[1..].to_owned(), &key[1..]),
            (String::new(), ""),
        ] {
            assert_eq!(masked(&text), told, "{text}");
        }
    }
}
