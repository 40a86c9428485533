//! The fuzzers' door: one connection, without a listener and without a worker's thread.
//!
//! Who comes in here stands in for the worker, and sweeps the context's deadlines as fast as it likes: no time has to pass
//! for one to fire.

use super::accept::Accepted;
use super::connection::{self, Drain};
use crate::config::Listener;
use crate::gateway::{Context, stack};
use crate::net::{Peer, StdSocket};
use std::rc::Rc;
use std::sync::Arc;

/// How a worker tells its connections to end.
#[derive(Clone, Default)]
pub struct End(Drain);

impl End {
    /// With the next answer.
    pub fn leave(&self, context: &Context) {
        context.leave();
        self.0.leave();
        context.sweeper().wake_all();
    }

    /// As soon as they can.
    pub fn drain(&self, context: &Context) {
        context.leave();
        self.0.begin();
        context.sweeper().wake_all();
    }
}

/// Serves a connection of this peer until it ends, as a worker does that was handed it by this listener.
pub async fn serve(
    context: Rc<Context>,
    socket: StdSocket,
    peer: Peer,
    listener: Arc<Listener>,
    end: End,
) {
    let accepted = Accepted {
        socket,
        peer,
        listener,
    };
    connection::serve(context, accepted, end.0, stack()).await;
}
