//! What the tests of this floor share.

use super::endpoint::Endpoint;
use super::gate::Gate;
use crate::config::{Balancing, Scheme, UpstreamServer};
use std::sync::Arc;

/// An endpoint of an upstream of these settings.
pub(super) fn endpoint_with(balancing: &Balancing, gate: &Arc<Gate>) -> Arc<Endpoint> {
    let server = UpstreamServer {
        scheme: Scheme::Http,
        host: "127.0.0.1".into(),
        port: 1,
        socket: None,
        authority: http::HeaderValue::from_static("127.0.0.1:1"),
        weight: 1,
    };
    Arc::new(Endpoint::new(
        0,
        Arc::from("chat"),
        server,
        Some(([127, 0, 0, 1], 1).into()),
        (Arc::clone(gate), Arc::default()),
        balancing,
    ))
}
