//! Asking servers how they are, on the control runtime: a request of the gateway's own, over a connection of its own.

use super::connect::connect;
use super::endpoint::Endpoint;
use super::fleet::Group;
use crate::config::{HealthCheck, HostRule, Scheme, StatusRange, UpstreamSettings};
use crate::http::edits::Facts;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header, uri};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::error::Error;
use std::pin::pin;
use std::sync::{Arc, Weak};
use tokio::time::MissedTickBehavior;

/// Keeps the endpoint told of how it is, until its group is gone.
pub(super) async fn follow(group: Weak<Group>, endpoint: Arc<Endpoint>, check: HealthCheck) {
    let mut ticks = tokio::time::interval(check.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(settings) = group.upgrade().map(|group| group.settings.load_full()) else {
            return;
        };
        let asked = ask(&settings, &endpoint, &check);
        let outcome = match tokio::time::timeout(check.timeout, asked).await {
            Ok(Ok(status)) if StatusRange::any(&check.status, status) => Ok(()),
            Ok(Ok(status)) => Err(format!("it answered {}", status.as_u16())),
            Ok(Err(error)) => Err(crate::net::causes(&*error)),
            Err(_) => Err(format!("no answer within {:?}", check.timeout)),
        };
        endpoint.checked(outcome);
    }
}

async fn ask(
    settings: &UpstreamSettings,
    endpoint: &Endpoint,
    check: &HealthCheck,
) -> Result<StatusCode, Box<dyn Error + Send + Sync>> {
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = check.path.clone().into();
    let headers = request.headers_mut();
    let host = match &settings.host {
        HostRule::Upstream | HostRule::Client => &endpoint.server.authority,
        HostRule::Name(name) => name,
    };
    headers.insert(header::HOST, host.clone());
    headers.insert(header::USER_AGENT, HeaderValue::from_static("keygate"));
    // What is of a key or of a client is left out: there is none.
    let facts = Facts {
        key: None,
        request_id: "health-check",
        client: None,
    };
    settings.headers.request.apply(headers, &facts);
    let server = &endpoint.server;
    let socket = TokioIo::new(connect(server, endpoint.address).await?);
    match server.scheme {
        Scheme::Http => {
            let (mut sender, connection) = http1::handshake(socket).await?;
            Ok(drive(sender.send_request(request), connection).await?)
        }
        Scheme::H2c => {
            let host = request.headers_mut().remove(header::HOST);
            let authority = host.as_ref().unwrap_or(&server.authority);
            *request.uri_mut() = Uri::builder()
                .scheme(uri::Scheme::HTTP)
                .authority(authority.as_bytes())
                .path_and_query(check.path.clone())
                .build()?;
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), socket).await?;
            Ok(drive(sender.send_request(request), connection).await?)
        }
        // Nothing of it may go out in clear text.
        Scheme::Https => Err("servers that speak TLS cannot be checked yet".into()),
    }
}

/// Drives the connection for as long as the head of the answer takes; it is closed after that.
async fn drive<B, C: Future>(
    answer: impl Future<Output = hyper::Result<Response<B>>>,
    connection: C,
) -> hyper::Result<StatusCode> {
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer?,
        _ = &mut connection => answer.await?,
    };
    Ok(answer.status())
}
