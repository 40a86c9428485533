//! The admin listener: what the gateway is, has and does. It only tells; nothing can be changed through it.
//!
//! It runs on the control runtime, so that a scrape costs the workers one message each. `/healthz` says that the process
//! lives; `/readyz` says whether requests should be sent to it, with the reasons; `/metrics` is for Prometheus; `/status`
//! is for people and scripts; `/policy` tells the policy in force to `keygate diff`. By default it listens on loopback
//! only: what it tells is for operators. No key, no key's name and no request is in any of its answers.

mod prometheus;
mod status;

use crate::config::Live;
use crate::keycache::Keys;
use crate::net::{Acceptor, Address};
use crate::policy::form::PolicyForm;
use crate::server::{Listening, Server};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
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
                let accepted = match acceptor.accept().await {
                    Ok((accepted, _)) => accepted,
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
                    let service = service_fn(|request| answer(&state, request));
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

async fn answer(
    state: &State,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    const JSON: &str = "application/json";
    const TEXT: &str = "text/plain; charset=utf-8";
    const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
    let known = ["/healthz", "/readyz", "/metrics", "/status", "/policy"];
    let path = request.uri().path();
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, kind, body) = match path {
        _ if known.contains(&path) && !reading => {
            let body = "this listener only tells: use GET\n".to_owned();
            (StatusCode::METHOD_NOT_ALLOWED, TEXT, body)
        }
        "/healthz" => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => {
            let ready = status::readiness(state);
            let code = if ready.ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            (code, JSON, status::json(&ready))
        }
        "/metrics" => (StatusCode::OK, METRICS, prometheus::render(state).await),
        "/status" => (StatusCode::OK, JSON, status::json(&status::status(state))),
        "/policy" => {
            let snapshot = state.live.snapshot();
            let upstreams = snapshot.hot.upstreams.iter();
            let upstreams: Vec<&str> = upstreams.map(|upstream| &*upstream.name).collect();
            let form = PolicyForm::of(&snapshot.hot.policy, &upstreams);
            (StatusCode::OK, JSON, status::json(&form))
        }
        _ => {
            let body = format!("nothing here; try {}\n", known.join(", "));
            (StatusCode::NOT_FOUND, TEXT, body)
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    headers.insert(
        header::CACHE_CONTROL,
        http::HeaderValue::from_static("no-store"),
    );
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, http::HeaderValue::from_static("GET, HEAD"));
    }
    Ok(response)
}

impl State {
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
