//! Asking servers how they are, on the control runtime: a request of the gateway's own, over a connection of its own.

use super::connect::{ConnectError, connect};
use super::endpoint::Endpoint;
use super::fleet::Group;
use crate::config::{HealthCheck, HostRule, Http2, Scheme, StatusRange, UpstreamSettings};
use crate::http::edits::Facts;
use crate::tls::{Alpn, Stream};
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
    let socket = connect(server, endpoint.address).await?;
    let stream = match server.scheme {
        Scheme::Http | Scheme::H2c => Stream::from(socket),
        Scheme::Https => {
            let alpn = match settings.http2 {
                Http2::Never => Alpn::Http1,
                Http2::Always => Alpn::H2,
                Http2::Offered => Alpn::Both,
            };
            // Nothing of it may go out in clear text.
            let tls = settings.tls.as_ref().ok_or(ConnectError::NoTls)?;
            tls.connect(&server.host, socket, alpn).await?
        }
    };
    let (http2, scheme) = match server.scheme {
        Scheme::Http => (false, uri::Scheme::HTTP),
        Scheme::H2c => (true, uri::Scheme::HTTP),
        Scheme::Https => (stream.alpn() == Some(b"h2"), uri::Scheme::HTTPS),
    };
    let stream = TokioIo::new(stream);
    if http2 {
        let host = request.headers_mut().remove(header::HOST);
        let authority = host.as_ref().unwrap_or(&server.authority);
        *request.uri_mut() = Uri::builder()
            .scheme(scheme)
            .authority(authority.as_bytes())
            .path_and_query(check.path.clone())
            .build()?;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        Ok(drive(sender.send_request(request), connection).await?)
    } else {
        let (mut sender, connection) = http1::handshake(stream).await?;
        Ok(drive(sender.send_request(request), connection).await?)
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
