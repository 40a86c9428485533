//! Connections to upstreams: each worker has its own, keeps them alive, and never hands out one that is over.
//!
//! An [`Upstream`] is one `[upstreams.NAME]` of a generation, as one worker sees it; its servers' [`ServerPool`]s outlive
//! generations, so that a reload loses no connection. [`Upstream::lease`] gives a [`Lease`]: an idle connection, the
//! youngest first, or a new one. The borrower sends one request on it and gives it back when the answer's body has
//! ended; a lease that is dropped closes its connection.
//!
//! An upstream may close an idle connection at any moment. hyper's connection task notices and the pool drops it; a
//! request for which that came too late is sent again by `proxy`, which knows whether it may be. Before a request that
//! may not be sent twice goes out on a used connection, [`Lease::is_quiet`] looks at the socket itself.

mod connect;
mod http1;
mod http2;
mod io;
mod lease;
mod server_pool;
mod upstreams;

pub use connect::ConnectError;
pub use http2::{Receiving, is_grpc};
pub use io::UpstreamIo;
pub use lease::{AnswerBody, Lease, SendError, Unsuccessful};
pub use server_pool::{Choice, PoolKey, PoolStats, ServerPool};
pub use upstreams::{Upstream, Upstreams};
