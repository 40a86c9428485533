//! HTTP/2 to a server: one connection, many streams, and what a stream may make us hold.
//!
//! The crate `h2` is used as it is, not by way of hyper: a request costs no task unless its body has to wait, whether the
//! server has processed it can be told, and a stream that was reset is never mistaken for one that ended.
//!
//! A connection is ready when the server's first SETTINGS have come: from then on its limit on streams is known, and no
//! request is sent that it would have to refuse. Once it said GOAWAY, or failed, it is *retired*: it takes no new stream,
//! those that it has go on. One on which nothing is heard while streams are open is asked with a PING, and is over when
//! that is not answered. One on which a stream was given up after nothing was heard for a while is *doubted*: it is asked
//! at once, and takes no new stream until it has answered.
//!
//! Where things are: `connection` is what the streams share and the task that drives it. A request has a place on one
//! (`stream`), its head is written anew (`head`), its body goes in by a `pipe`, and the answer's body comes out as
//! [`Receiving`]; `failure` reads what h2's errors say of the request.

mod connection;
mod failure;
mod head;
mod pipe;
mod receiving;
mod stream;

pub(super) use connection::Connection;
pub(super) use failure::{is_refused, wants_http1};
pub use receiving::Receiving;
pub(super) use stream::{Place, Unanswered};
