//! Connections to upstreams: each worker has its own, keeps them alive, and never hands out one that is over.
//!
//! An [`Upstream`] is one `[upstreams.NAME]` of a generation, as one worker sees it; its servers' [`ServerPool`]s outlive
//! generations, so that a reload loses no connection. [`Upstream::lease`] gives a [`Lease`]: an idle connection, the
//! youngest first, or a new one. The borrower sends one request on it and gives it back when the answer's body has
//! ended; a lease that is dropped closes its connection.
//!
//! Which server that is: a [`Fleet`] has, for the whole process, each address of each server as an [`Endpoint`], with how
//! it stands, kept by tasks on the control runtime that resolve names and ask servers how they are. A worker's upstream
//! chooses among those that take requests, by weight and load, in turn, or by a hash; where there is a limit the request
//! holds a place at the endpoint, or waits for one. What becomes of it is told to the endpoint by whoever sent it.
//!
//! An upstream may close an idle connection at any moment. hyper's connection task notices and the pool drops it; a
//! request for which that came too late is sent again by `proxy`, which knows whether it may be. Before a request that
//! may not be sent twice goes out on a used connection, [`Lease::is_quiet`] looks at the socket itself.

mod budget;
mod check;
mod choose;
mod connect;
mod endpoint;
mod fleet;
mod gate;
mod http1;
mod http2;
mod io;
mod lease;
mod resolve;
mod server_pool;
mod standing;
#[cfg(test)]
mod testing;
mod upstreams;

pub use connect::ConnectError;
pub use endpoint::{Endpoint, ServerReport};
pub use fleet::{Fleet, GroupReport};
pub use gate::Refused;
pub use http2::Receiving;
pub use io::UpstreamIo;
pub use lease::{AnswerBody, Lease, SendError, Unsuccessful};
pub use server_pool::{Choice, How, PoolKey, PoolStats, ServerPool};
pub use standing::State;
pub use upstreams::{LeaseError, Ticket, Upstream, Upstreams, Wish};
