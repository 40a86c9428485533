//! The admin listener: what the gateway is, has and does; and, for who shows the token, what it shall do.
//!
//! It runs on the control runtime, so that a scrape costs the workers one message each. `/healthz` says that the process
//! lives; `/readyz` says whether requests should be sent to it, with the reasons; `/metrics` is for Prometheus; `/status`
//! is for people and scripts; `/policy` tells the policy in force to `keygate diff`, `/shadow` what the one that is tried
//! would have decided to `keygate shadow`. By default it listens on loopback only: what it tells is for operators. No key, no
//! key's name and no request is in any of these answers. `/decisions` and `/explain` speak of requests, and ask for the token.
//!
//! `POST /reload`, walked through: the head goes through [`guard`], which gives a proof that an operator asks; `act` asks
//! [`Live`], which reads the files and decides as it does when they change; what became of it is the answer.

mod act;
mod guard;
mod prometheus;
mod reply;
mod shadow;
mod status;
mod token;
mod why;

pub use guard::Refusals;
pub use token::{Token, TokenError};

use crate::config::{Cold, Live};
use crate::keycache::Keys;
use crate::net::{Acceptor, Address, Peer};
use crate::policy::form::PolicyForm;
use crate::server::{Listening, Server};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use reply::Reply;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Most admin connections at once.
const CONNECTIONS: usize = 64;

/// How long an admin connection may take, from its first byte to its last. Each serves one request: a scraper that keeps
/// connections open could keep all places.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// What the admin listener tells of.
pub struct State {
    pub live: Arc<Live>,
    pub keys: Keys,
    pub server: Arc<Server>,
    /// When the process became ready.
    pub started: Instant,
    /// What holds until a restart.
    pub cold: Arc<Cold>,
    /// The file of the token; `None`: nothing can be changed.
    pub token: Option<PathBuf>,
    /// Who asked and was no operator.
    pub refusals: Refusals,
    /// Set when a drain begins, before anything else happens.
    pub draining: AtomicBool,
    /// Log lines that were dropped because the log could not be written fast enough.
    pub dropped_log_lines: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// A running admin listener.
pub struct Admin {
    socket: Listening,
    task: JoinHandle<()>,
}

impl Admin {
    /// Serves on this socket, on the current runtime.
    ///
    /// # Errors
    /// As the system says of the socket.
    pub fn start(socket: Listening, state: Arc<State>) -> io::Result<Self> {
        let acceptor = Acceptor::new(socket.socket()?)?;
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let task = tokio::spawn(async move {
            loop {
                let (accepted, peer) = match acceptor.accept().await {
                    Ok(accepted) => accepted,
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                };
                // Full: closed at once, so that whoever holds the places cannot keep the others waiting unanswered.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    continue;
                };
                let Ok(stream) = accepted.adopt() else {
                    continue;
                };
                let state = Arc::clone(&state);
                // Bounded in number by the semaphore and in time by the deadline; ends with the runtime at the latest.
                tokio::spawn(async move {
                    let _place = place;
                    let service = service_fn(|request| serve(&state, peer, request));
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .keep_alive(false)
                        .serve_connection(TokioIo::new(stream), service);
                    let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
                });
            }
        });
        Ok(Admin { socket, task })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        self.socket.address()
    }

    /// What it listens on.
    pub fn listening(&self) -> &Listening {
        &self.socket
    }

    /// Accepts no more.
    pub fn stop(&self) {
        self.task.abort();
    }
}

/// What only tells.
const TOLD: [&str; 6] = [
    "/healthz", "/readyz", "/metrics", "/status", "/policy", "/shadow",
];
/// What is told to operators only.
const ASKED: [&str; 2] = ["/explain", "/decisions"];
/// What an operator may have done.
const DONE: [&str; 2] = ["/reload", "/rollback"];

async fn serve(
    state: &Arc<State>,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path();
    let reply = if TOLD.contains(&path) && reading {
        tell(state, path).await
    } else if DONE.contains(&path) && request.method() == Method::POST {
        match act(state, peer, &request).await {
            Ok(reply) | Err(reply) => reply,
        }
    } else if is_asked(path) && reading {
        match asked(state, peer, &request).await {
            Ok(reply) | Err(reply) => reply,
        }
    } else if TOLD.contains(&path) || is_asked(path) {
        let body = "this only tells: use GET\n";
        Reply::text(StatusCode::METHOD_NOT_ALLOWED, body).with(header::ALLOW, "GET, HEAD")
    } else if DONE.contains(&path) {
        let body = "this changes something: use POST\n";
        Reply::text(StatusCode::METHOD_NOT_ALLOWED, body).with(header::ALLOW, "POST")
    } else {
        let body = format!(
            "nothing here; try {}, with the token {}, or POST {}\n",
            TOLD.join(", "),
            ASKED.join(", "),
            DONE.join(", ")
        );
        Reply::text(StatusCode::NOT_FOUND, body)
    };
    Ok(reply.into_response())
}

async fn tell(state: &State, path: &str) -> Reply {
    match path {
        "/readyz" => {
            let ready = status::readiness(state);
            let code = if ready.ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            Reply::json(code, &ready)
        }
        "/metrics" => Reply::metrics(prometheus::render(state).await),
        "/status" => Reply::json(StatusCode::OK, &status::status(state)),
        "/shadow" => Reply::json(StatusCode::OK, &shadow::told(state).await),
        "/policy" => {
            let snapshot = state.live.snapshot();
            let upstreams = snapshot.hot.upstreams.iter();
            let upstreams: Vec<&str> = upstreams.map(|upstream| &*upstream.name).collect();
            let form = PolicyForm::of(&snapshot.hot.policy, &upstreams);
            Reply::json(StatusCode::OK, &form)
        }
        _ => Reply::text(StatusCode::OK, "ok\n"),
    }
}

fn is_asked(path: &str) -> bool {
    ASKED.contains(&path) || path.starts_with("/decisions/")
}

async fn asked(
    state: &Arc<State>,
    peer: Peer,
    request: &Request<Incoming>,
) -> Result<Reply, Reply> {
    let operator = operator(state, peer, request).await?;
    let (path, query) = (request.uri().path(), request.uri().query());
    match path.strip_prefix("/decisions/") {
        Some(id) => Ok(why::one(state, operator, id).await),
        None if path == "/decisions" => why::newest(state, operator, query).await,
        None => why::explained(state, operator, query).await,
    }
}

async fn act(state: &Arc<State>, peer: Peer, request: &Request<Incoming>) -> Result<Reply, Reply> {
    let operator = operator(state, peer, request).await?;
    let query = request.uri().query();
    let ask = match request.uri().path() {
        "/rollback" => act::rollback(query)?,
        _ => act::reload(query)?,
    };
    Ok(act::act(state, operator, peer, ask).await)
}

/// The proof that the request is an operator's.
async fn operator(
    state: &Arc<State>,
    peer: Peer,
    request: &Request<Incoming>,
) -> Result<guard::Operator, Reply> {
    let (state, headers) = (Arc::clone(state), request.headers().clone());
    let judged = tokio::task::spawn_blocking(move || {
        guard::admit(&headers, state.token.as_deref(), (peer, &state.refusals))
    });
    judged.await.unwrap_or_else(|_| {
        let why = "the gateway stops";
        Err(Reply::refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            why,
        ))
    })
}

impl State {
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
