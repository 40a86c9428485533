//! `POST /reload` and `POST /rollback`: what an operator may have a running gateway do.

use super::State;
use super::guard::Operator;
use super::reply::Reply;
use super::status::{self, Policy, Unconfirmed};
use crate::config::{Answer, Ask};
use crate::net::Peer;
use http::StatusCode;
use serde::Serialize;

/// What became of it.
#[derive(Serialize)]
struct Done {
    /// "unchanged", "accepted", "waiting", "other-hash", "unsettled", "refused", "not-kept".
    outcome: &'static str,
    message: String,
    /// What waits to be confirmed, if that is why nothing was done.
    waiting: Option<Unconfirmed>,
    /// As `/status` has it, afterwards.
    policy: Policy,
}

/// What the query of a request asks for.
///
/// # Errors
/// The answer to a query that cannot be read.
pub(super) fn reload(query: Option<&str>) -> Result<Ask, Reply> {
    let [confirm] = parameters(query, ["confirm"])?;
    Ok(Ask::Reload {
        confirm: parse("confirm", confirm)?,
    })
}

/// The same, of a rollback.
pub(super) fn rollback(query: Option<&str>) -> Result<Ask, Reply> {
    let [to, confirm] = parameters(query, ["to", "confirm"])?;
    Ok(Ask::Rollback {
        to: parse("to", to)?,
        confirm: parse("confirm", confirm)?,
    })
}

/// Does it.
pub(super) async fn act(state: &State, _: Operator, peer: Peer, ask: Ask) -> Reply {
    tracing::info!(%peer, ask = ?ask, "asked through the admin listener");
    let Ok(answer) = state.live.ask(ask).await else {
        let message = "the gateway stops";
        return Reply::refusal(StatusCode::SERVICE_UNAVAILABLE, "stopping", message);
    };
    let policy = status::status(state).policy;
    let generation = policy.generation();
    let mut waiting = None;
    let (status, outcome, message) = match answer {
        Answer::Unchanged => (
            StatusCode::OK,
            "unchanged",
            format!("generation {generation} is in force, and is what the files hold"),
        ),
        Answer::Accepted => (
            StatusCode::OK,
            "accepted",
            format!("generation {generation} is in force"),
        ),
        Answer::Waiting(found) => {
            let message = format!(
                "{}: so it waits to be confirmed; its hash is {}",
                found.reasons(),
                found.hash
            );
            waiting = Some(found.into());
            (StatusCode::CONFLICT, "waiting", message)
        }
        Answer::OtherHash { hash } => (
            StatusCode::CONFLICT,
            "other-hash",
            format!("what would be in force has another hash: {hash}"),
        ),
        Answer::Unsettled => (
            StatusCode::SERVICE_UNAVAILABLE,
            "unsettled",
            "the files keep changing; what is in force is as it was".to_owned(),
        ),
        Answer::Refused(problems) => (StatusCode::UNPROCESSABLE_ENTITY, "refused", problems),
        Answer::NotKept(why) => (StatusCode::NOT_FOUND, "not-kept", why),
    };
    let done = Done {
        outcome,
        message,
        waiting,
        policy,
    };
    Reply::json(status, &done)
}

/// The parameters of these names, each once at most; others are a mistake.
pub(super) fn parameters<const N: usize>(
    query: Option<&str>,
    names: [&str; N],
) -> Result<[Option<String>; N], Reply> {
    let mut found = [const { None }; N];
    let query = query.unwrap_or_default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let place = names.iter().position(|known| *known == name);
        let Some(place) = place.filter(|place| found[*place].is_none()) else {
            let message = format!("expected each of these once at most: {}", names.join(", "));
            return Err(bad_request(&message));
        };
        found[place] = Some(value.into_owned());
    }
    Ok(found)
}

/// What a parameter means.
pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    name: &str,
    value: Option<String>,
) -> Result<Option<T>, Reply> {
    let parsed = value.map(|value| {
        value
            .parse()
            .map_err(|e| bad_request(&format!("`{name}`: {e}")))
    });
    parsed.transpose()
}

pub(super) fn bad_request(message: &str) -> Reply {
    Reply::refusal(StatusCode::BAD_REQUEST, "bad-request", message)
}
