//! Forwarding: a permitted request becomes a request of keygate's own, and the upstream's answer streams back.
//!
//! [`forward`] takes an [`Order`]: the client's head and body with the proofs of what was decided. [`rewrite`] makes the
//! head that goes up: the canonical target, the headers that survived, then keygate's own. The body is wrapped in a
//! [`RequestBody`], which counts it against the limit and says on whom it waits; it is never buffered. The request goes
//! out on a connection that `upstream` lends, and once more on another only where that cannot do harm: it was never
//! sent, or the connection was an old one that ended before the head of an answer was whole and the request is
//! idempotent and has no body (RFC 9110, section 9.2.2); for that its head is kept flat in [`replay`]. Nothing of such a part of a head
//! reaches the client, but the
//! upstream may have seen the request twice: the order counts each time that it was sent. The answer's body, a
//! [`ResponseBody`], gives the connection back when it ends.
//!
//! A request that asks for WebSocket goes up by [`switch`] instead; once the upstream has agreed, a [`Tunnel`] carries the
//! bytes of both sides, and HTTP is over on both connections.
//!
//! What this module is not for: deciding whether a request may be forwarded. Whoever calls it has the proof.

mod body;
mod error;
mod forward;
mod replay;
mod rewrite;
mod tunnel;
mod upgrade;
mod websocket;

pub use body::{BodyFault, BodyState, RequestBody, ResponseBody};
pub use error::ForwardError;
pub use forward::{Order, forward};
pub use rewrite::{REQUEST_ID, target as upstream_target};
pub use tunnel::Tunnel;
pub use upgrade::{Handshake, Switched, switch};
