//! What the requests of one lane share, and what a connection waits for between them.
//!
//! Not for what a whole worker shares: that is the [`Context`]. An HTTP/1.1 connection is a lane for one request after
//! another; a stream of HTTP/2 is one for its own.

use super::Context;
use super::observe::Observation;
use super::tunnel::Tunnel;
use super::watch::Revocation;
use crate::deadline::{Deadline, Wait};
use crate::http::forwarded::{Client, Proto};
use crate::net::Peer;
use crate::proxy::BodyState;
use crate::tls::ServerTls;
use http::Version;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// How long an HTTP/1.1 connection is idle before it rests: before it gives back what serves requests.
const REST_AFTER: Duration = Duration::from_secs(1);

/// A connection that rests, counted as long as this is there.
pub struct Resting<'l>(&'l Cell<u64>);

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What the requests of one lane share: those of an HTTP/1.1 connection, one after the other; over HTTP/2 each stream is a
/// lane of its own, and the connection has one for itself.
pub struct Link {
    pub(super) context: Rc<Context>,
    pub(super) peer: Peer,
    /// How the peer came.
    proto: Proto,
    /// The peer as the client, made once.
    pub(super) client: Rc<Client>,
    /// Whether the peer may speak for others.
    pub(super) trusted: bool,
    /// By what the request in hand waits, and what is between requests.
    pub(super) deadline: Deadline,
    /// By what the body of the request in hand waits: it may be on its way at the same time as the answer.
    pub(super) upload: Deadline,
    /// The body of the request in hand.
    body: RefCell<Option<Rc<BodyState>>>,
    /// What the request in hand is written in.
    version: Cell<Version>,
    /// How long a next request may still be waited for once the connection rests.
    rest: Cell<Duration>,
    /// An answer was cut whose end is the connection's: it must not end as if it were whole.
    cut: Cell<bool>,
    /// The exchange in hand, while it is one with an upstream.
    exchange: RefCell<Weak<Observation>>,
    /// Why the exchange in hand may not go on.
    revoked: RefCell<Option<Revocation>>,
    /// What begins when the answer's head was sent.
    tunnel: RefCell<Option<Tunnel>>,
}

impl Link {
    /// A connection of this peer, who comes in this way, and its first lane.
    pub fn new(context: Rc<Context>, peer: Peer, proto: Proto) -> Rc<Self> {
        let trusted = context.trusts(peer);
        let client = Rc::new(Client::peer(peer, proto));
        Link::lane(context, peer, proto, client, trusted)
    }

    /// A connection that a peer forwards for somebody it does not name: whatever it says, it is not the peer that says it.
    pub fn of_someone(context: Rc<Context>, behind: Peer, proto: Proto) -> Rc<Self> {
        let client = Rc::new(Client::peer(behind, proto));
        Link::lane(context, behind, proto, client, false)
    }

    /// Another lane of the same connection.
    pub fn new_lane(&self) -> Rc<Self> {
        Link::lane(
            Rc::clone(&self.context),
            self.peer,
            self.proto,
            Rc::clone(&self.client),
            self.trusted,
        )
    }

    fn lane(
        context: Rc<Context>,
        peer: Peer,
        proto: Proto,
        client: Rc<Client>,
        trusted: bool,
    ) -> Rc<Self> {
        let link = Rc::new(Link {
            deadline: context.sweeper.deadline(),
            upload: context.sweeper.deadline(),
            client,
            context,
            peer,
            proto,
            trusted,
            body: RefCell::new(None),
            version: Cell::new(Version::HTTP_11),
            rest: Cell::new(Duration::ZERO),
            cut: Cell::new(false),
            exchange: RefCell::default(),
            revoked: RefCell::new(None),
            tunnel: RefCell::new(None),
        });
        link.context.watch.lane(&link);
        link
    }

    /// How the peer came.
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// What clients are met with that come in TLS.
    pub fn tls(&self) -> Option<Arc<ServerTls>> {
        self.context.generation().snapshot.hot.tls.clone()
    }

    /// By what the lane waits, but for the body of its request.
    pub fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    /// The task to wake when someone was waited for too long.
    pub fn wake_by(&self, waker: &Waker) {
        self.deadline.wake_by(waker);
        self.upload.wake_by(waker);
    }

    /// On whom was waited too long, if the request in hand could not act on it. An idle lane is not overdue.
    pub fn overdue(&self) -> Option<Wait> {
        self.upload
            .fired()
            .or_else(|| self.deadline.fired())
            .filter(|wait| *wait != Wait::Idle)
    }

    /// Counts a stream of the connection that was ended, by reason.
    pub fn stream_cut(&self, reason: &'static str) {
        self.context.connection_closed(reason);
    }

    /// The version of HTTP that the request in hand came over.
    pub(super) fn version(&self) -> Version {
        self.version.get()
    }

    /// Whether the answer in hand must say that the connection ends with it. Over HTTP/2 the connection says so itself.
    pub(super) fn ends_with_answer(&self) -> bool {
        self.context.leaving.get() && !self.is_http2()
    }

    /// Whether the request in hand came over HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.version.get() == Version::HTTP_2
    }

    /// The limits in force at this instant.
    pub fn limits(&self) -> crate::config::Limits {
        self.context.limits()
    }

    /// Notes the version and the body of the request that begins; `None` for no body.
    pub(super) fn begin_request(&self, version: Version, body: Option<Rc<BodyState>>) {
        self.version.set(version);
        self.deadline.disarm();
        if let Some(before) = self.body.replace(body) {
            before.abandon();
            self.upload.renew();
        }
    }

    /// Notes that the request in hand has its answer, or gets none: the next may take this long to begin.
    pub(super) fn end_request(&self, idle: Duration) {
        self.exchange.take();
        if self.revoked.take().is_some() {
            self.deadline.renew();
        }
        if !self.body_goes_on() {
            self.upload.disarm();
        }
        self.wait_for_next(idle);
    }

    /// From now on a next request may take this long to begin.
    pub fn wait_for_next(&self, idle: Duration) {
        let awake = if self.is_http2() {
            idle
        } else {
            idle.min(REST_AFTER)
        };
        self.rest.set(idle - awake);
        self.deadline.arm(Wait::Idle, awake);
    }

    /// Goes on waiting for a next request where the wait is not over, but only has come to where the connection may rest.
    pub fn may_rest(&self) -> bool {
        let rest = self.rest.take();
        if rest.is_zero() {
            return false;
        }
        self.deadline.arm(Wait::Idle, rest);
        true
    }

    /// The connection rests, until what is returned is dropped.
    pub fn rest(&self) -> Resting<'_> {
        let count = &self.context.resting;
        count.set(count.get() + 1);
        Resting(count)
    }

    /// Notes the exchange that may come to last.
    pub(super) fn begin_exchange(&self, exchange: &Rc<Observation>) {
        self.exchange.replace(Rc::downgrade(exchange));
    }

    /// The exchange in hand, if it is one with an upstream.
    pub(super) fn exchange(&self) -> Option<Rc<Observation>> {
        self.exchange.borrow().upgrade()
    }

    /// The exchange in hand may not go on. Said once: by then it is ending, under a deadline that is not to be lost. Whether
    /// it was said now.
    pub(super) fn revoke(&self, why: Revocation) -> bool {
        let mut revoked = self.revoked.borrow_mut();
        if revoked.is_some() {
            return false;
        }
        *revoked = Some(why);
        self.deadline.revoke();
        true
    }

    /// What is left of an answered request's body may not go on: the lane is to end.
    pub(super) fn revoke_upload(&self) {
        self.upload.revoke();
    }

    /// From now on the exchange ends when it is permitted no longer.
    pub(super) fn watch(&self, exchange: &Rc<Observation>) {
        self.context.watch(exchange);
    }

    /// Why the exchange in hand may not go on.
    pub(super) fn revocation(&self) -> Option<Revocation> {
        self.revoked.borrow().clone()
    }

    pub(super) fn dig(&self, tunnel: Tunnel) {
        self.tunnel.replace(Some(tunnel));
    }

    /// What is to be joined with the client's end, now that HTTP is over on it.
    pub fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.take()
    }

    /// Notes that the answer in hand broke off.
    pub(super) fn cut_answer(&self) {
        // In HTTP/1.1 a missing chunk or byte tells; in HTTP/1.0 the end of the connection is the end of the answer.
        self.cut.set(self.version.get() == Version::HTTP_10);
    }

    /// Whether the connection must end by a reset.
    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// The body of the request in hand, if it has one.
    pub(super) fn body(&self) -> Option<Rc<BodyState>> {
        self.body.borrow().clone()
    }

    /// How far the body of the request in hand is.
    pub(super) fn body_state(&self) -> Rc<BodyState> {
        self.body()
            .unwrap_or_else(|| Rc::clone(&self.context.no_body))
    }

    /// The deadlines in force at this instant: an edit holds for connections that are open already.
    pub fn timeouts(&self) -> crate::config::Timeouts {
        self.context.timeouts()
    }

    /// Whether the body of an answered request is still on its way.
    pub fn body_goes_on(&self) -> bool {
        self.body
            .borrow()
            .as_ref()
            .is_some_and(|body| body.goes_on())
    }

    /// Waits for the end of a body that outlives its answer, and gives up what keeps us waiting for too long: why.
    pub async fn end_of_body(&self) -> Option<Wait> {
        poll_fn(|cx| {
            self.wake_by(cx.waker());
            // Whoever says so abandons the body, too.
            if self.upload.fired() == Some(Wait::Revoked) {
                return Poll::Ready(Some(Wait::Revoked));
            }
            if !self.body_goes_on() {
                return Poll::Ready(None);
            }
            let Some(wait) = self.upload.fired() else {
                return Poll::Pending;
            };
            if let Some(body) = self.body() {
                body.abandon();
            }
            Poll::Ready(Some(wait))
        })
        .await
    }

    /// Whether a request's body was not read to its end: the client may still be sending it.
    pub fn has_unread_body(&self) -> bool {
        self.body
            .borrow()
            .as_ref()
            .is_some_and(|body| !body.finished())
    }
}
