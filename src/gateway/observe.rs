//! One request as it is remembered: counted and logged when the last byte of its answer is gone.
//!
//! An [`Observation`] begins before anything is judged and ends when it is dropped: with the answer's body, or with the
//! request's future when the client left before there was an answer. So nothing that happens to a request goes
//! uncounted, and nothing has to remember to count.

use super::access_line::Line;
use super::decisions::{Copied, Refusals, Unread};
use super::gcra::Standing;
use super::generation::{Generation, Remnant};
use super::metrics::{Labels, NO_ROUTE, Outcome, method_label};
use super::open::Seat;
use super::upgrade::Wish;
use super::upload::Upload;
use super::{Exchange, Link};
use crate::config::AccessLog;
use crate::http::Admitted;
use crate::http::RequestId;
use crate::http::forwarded::Client;
use crate::key::{KeyDigest, KeyId, ScopeName};
use crate::keycache::Principal;
use crate::net::Peer;
use crate::policy::{Policy, Refusal, Target};
use crate::proxy::REQUEST_ID;
use http::{Method, Request, Uri, Version};
use hyper::body::{Body, Incoming};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tower::Service;

/// What is known of a request so far.
pub struct Observation {
    link: Rc<Link>,
    held: RefCell<Held>,
    id: RequestId,
    client: Peer,
    method: &'static str,
    started: Instant,
    route: Cell<u32>,
    /// No route, but the path is the management API's.
    unserved_management: Cell<bool>,
    /// How the bucket of the key stands, on a route with a rate.
    standing: Cell<Option<Standing>>,
    /// Given back with the end of the exchange.
    seats: RefCell<Vec<Seat>>,
    key: Cell<Option<(KeyId, KeyDigest)>>,
    /// What it asks for: what lasts is judged again by it, and what is refused can be asked about.
    asked: RefCell<Option<Admitted>>,
    /// What it asks for that was refused before that.
    unread: RefCell<Option<Box<Unread>>>,
    /// What it asks for, copied, once it has been refused on the way.
    copied: RefCell<Option<Box<Copied>>>,
    /// It went through the whole line, to be dispatched.
    cleared: Cell<bool>,
    /// It goes to an upstream.
    goes_up: Cell<bool>,
    /// The register of exchanges that last has it.
    watched: Cell<bool>,
    outcome: Cell<Outcome>,
    reason: Cell<Option<&'static str>>,
    status: Cell<u16>,
    sent: Cell<Option<Instant>>,
    upstream: Cell<Option<Duration>>,
    /// How often it was sent to the upstream.
    attempts: Cell<u8>,
    answered: Cell<Option<Duration>>,
    bytes: Cell<u64>,
}

/// What a request holds of its generation.
enum Held {
    /// While it is judged and sent.
    Whole(Rc<Generation>),
    /// Once the head of its answer goes out.
    Remnant(Rc<Remnant>),
}

impl Observation {
    pub(super) fn begin(
        link: Rc<Link>,
        generation: Rc<Generation>,
        id: RequestId,
        client: Peer,
        method: &Method,
    ) -> Self {
        link.context.request_begins();
        Observation {
            link,
            held: RefCell::new(Held::Whole(generation)),
            id,
            client,
            method: method_label(method),
            started: Instant::now(),
            route: Cell::new(NO_ROUTE),
            unserved_management: Cell::new(false),
            key: Cell::new(None),
            asked: RefCell::new(None),
            unread: RefCell::new(None),
            copied: RefCell::new(None),
            cleared: Cell::new(false),
            goes_up: Cell::new(false),
            standing: Cell::new(None),
            seats: RefCell::new(Vec::new()),
            watched: Cell::new(false),
            // Until there is an answer, the end can only be that the client has gone.
            outcome: Cell::new(Outcome::ClientGone),
            reason: Cell::new(None),
            status: Cell::new(0),
            sent: Cell::new(None),
            upstream: Cell::new(None),
            attempts: Cell::new(0),
            answered: Cell::new(None),
            bytes: Cell::new(0),
        }
    }

    /// The lane that the request came in.
    pub(super) fn link(&self) -> &Rc<Link> {
        &self.link
    }

    pub(super) fn id(&self) -> &RequestId {
        &self.id
    }

    pub(super) fn client(&self) -> Peer {
        self.client
    }

    /// Whether the request was for the management API, or for a path of its that it does not serve.
    pub(super) fn is_management(&self) -> bool {
        match &self.remnant().route {
            Some(route) => matches!(route.target, Target::Management(_)),
            None => self.unserved_management.get(),
        }
    }

    pub(super) fn routed(&self, route: u32) {
        self.route.set(route);
    }

    /// No route was found, and the path is the management API's.
    pub(super) fn fell_to_management(&self) {
        self.unserved_management.set(true);
    }

    pub(super) fn identified(&self, principal: &Principal) {
        self.key
            .set(Some((principal.record().id, principal.digest())));
    }

    /// Whose key it was, and what that is found by.
    pub(super) fn key(&self) -> Option<(KeyId, KeyDigest)> {
        self.key.get()
    }

    /// The request goes to an upstream, and may last.
    pub(super) fn goes_up(&self) {
        self.goes_up.set(true);
    }

    /// What the request asks for has no one reading, or was not looked at.
    pub(super) fn unread(&self, unread: Unread) {
        self.unread.replace(Some(Box::new(unread)));
    }

    /// The request went through the whole line, to be dispatched.
    pub(super) fn cleared(&self) {
        self.cleared.set(true);
    }

    /// The line has been begun. If it has stopped already, the head's memory is let go: hyper reads on before anyone asks
    /// for the answer, and would have to take new memory for that.
    pub(super) fn begun(&self) {
        if !self.cleared.get() {
            let refusals = &self.link.context.refusals;
            let copied = self.asked(|method, host, path| refusals.copy(method, host, path));
            self.copied.replace(Some(copied));
            self.asked.take();
            self.unread.take();
        }
    }

    /// What the request asks for, copied.
    pub(super) fn copied(&self, refusals: &Refusals) -> Box<Copied> {
        let copied = self.copied.take();
        copied.unwrap_or_else(|| self.asked(|method, host, path| refusals.copy(method, host, path)))
    }

    /// Method, host and path of the request, as far as they are known.
    fn asked<T>(&self, use_it: impl FnOnce(&Method, &str, &str) -> T) -> T {
        match (&*self.asked.borrow(), &*self.unread.borrow()) {
            (Some(admitted), _) => use_it(admitted.method(), admitted.authority(), admitted.path()),
            (None, Some(unread)) => use_it(unread.method(), unread.host(), unread.path()),
            (None, None) => use_it(&Method::GET, "", ""),
        }
    }

    /// What the request asks for.
    pub(super) fn asks(&self, admitted: Admitted) {
        self.asked.replace(Some(admitted));
    }

    /// Whether the exchange is one with an upstream and was not in the register of those that last; it is from now on.
    pub(super) fn begin_watch(&self) -> bool {
        if self.watched.get() || !self.goes_up.get() {
            return false;
        }
        let mut asked = self.asked.borrow_mut();
        *asked = asked.as_ref().map(Admitted::detached);
        self.watched.set(asked.is_some());
        asked.is_some()
    }

    /// What is left of the request's body, where it goes on after the answer.
    pub(super) fn rest_of_upload(&self) -> Option<Upload> {
        let body = self.link.body().filter(|body| body.goes_on())?;
        let asked = self.asked.borrow();
        Some(Upload::new(
            self.id.as_str(),
            asked.as_ref()?,
            body,
            &self.link,
        ))
    }

    /// Why this policy refuses the request, if it does, to who has a key of this scope, or none.
    pub(super) fn refusal(&self, policy: &Policy, scope: Option<&ScopeName>) -> Option<Refusal> {
        let asked = self.asked.borrow();
        let routed = policy.route(asked.as_ref()?);
        policy.judge(routed, scope).err()
    }

    pub(super) fn is_older_than(&self, age: Duration) -> bool {
        self.started.elapsed() > age
    }

    /// Notes how the bucket of the key stands: every answer from here on says it.
    pub(super) fn stands(&self, standing: Standing) {
        self.standing.set(Some(standing));
    }

    pub(super) fn standing(&self) -> Option<Standing> {
        self.standing.get()
    }

    /// The exchange keeps this seat until it ends.
    pub(super) fn sits(&self, seat: Seat) {
        self.seats.borrow_mut().push(seat);
    }

    pub(super) fn refused(&self, outcome: Outcome, reason: &'static str) {
        self.outcome.set(outcome);
        self.reason.set(Some(reason));
    }

    /// The answer broke off after its head.
    pub(super) fn cut(&self, outcome: Outcome, reason: &'static str) {
        self.refused(outcome, reason);
        self.link.cut_answer();
    }

    pub(super) fn served(&self, outcome: Outcome) {
        self.outcome.set(outcome);
    }

    /// The request goes to the upstream now.
    pub(super) fn sending(&self) {
        self.sent.set(Some(Instant::now()));
    }

    /// Where it is counted how often the request is sent.
    pub(super) fn attempts(&self) -> &Cell<u8> {
        &self.attempts
    }

    /// The upstream has answered, or will not.
    pub(super) fn sent(&self) {
        self.upstream.set(self.sent.get().map(|at| at.elapsed()));
    }

    /// The head of the answer goes to the client now. Nothing is judged after it: the generation is let go.
    pub(super) fn answered(&self, status: u16) {
        let remnant = self.remnant();
        self.held.replace(Held::Remnant(remnant));
        if let Some(unused) = self.copied.take() {
            self.link.context.refusals.give_back(unused);
        }
        self.status.set(status);
        self.answered.set(Some(self.started.elapsed()));
    }

    pub(super) fn passed(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    pub(super) fn remnant(&self) -> Rc<Remnant> {
        match &*self.held.borrow() {
            Held::Whole(generation) => Rc::clone(generation.remnant(self.route.get())),
            Held::Remnant(remnant) => Rc::clone(remnant),
        }
    }

    fn log(&self, remnant: &Remnant) {
        let outcome = self.outcome.get();
        if outcome == Outcome::TooManyFailures {
            // A flood is counted, not written down line by line.
            return self.link.context.warn_of_flood(self.client);
        }
        let wanted = match remnant.access {
            AccessLog::All => true,
            AccessLog::Refused => !outcome.is_served(),
            AccessLog::Off => false,
        };
        if !wanted {
            return;
        }
        let key = self.key.get().map(|(id, _)| id);
        self.link.context.access.write(&Line {
            id: self.id.as_str(),
            client: self.client,
            method: self.method,
            route: remnant.route.as_deref(),
            route_fields: &remnant.log_fields,
            key: key.as_ref(),
            status: self.status.get(),
            outcome,
            reason: self.reason.get(),
            took: self.started.elapsed(),
            upstream: self.upstream.get(),
            attempts: self.sent.get().map(|_| self.attempts.get()),
            bytes: self.bytes.get(),
            generation: remnant.generation,
        });
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let remnant = self.remnant();
        let mut metrics = self.link.context.metrics.borrow_mut();
        let (status, outcome) = (self.status.get(), self.outcome.get());
        if self.link.context.is_current(remnant.generation) {
            metrics.request(self.route.get(), self.method, status, outcome);
        } else {
            metrics.late_request(Labels {
                route: match &remnant.route {
                    Some(route) => Arc::clone(&route.name),
                    None => Arc::from("-"),
                },
                method: self.method,
                class: u8::try_from(status / 100).unwrap_or(0),
                outcome,
            });
        }
        if let Some(total) = self.answered.get() {
            let upstream = self.upstream.get();
            metrics.took(total.saturating_sub(upstream.unwrap_or_default()), upstream);
        }
        metrics.retried(self.attempts.get().saturating_sub(1));
        drop(metrics);
        self.link.context.request_ends();
        self.log(&remnant);
        self.link.context.watch_upload(self);
        self.link.end_request(remnant.idle);
    }
}

/// A request as it arrived, with the connection that it came on.
pub struct Arrival {
    /// The connection.
    pub link: Rc<Link>,
    /// The request.
    pub request: Request<Incoming>,
}

/// The outermost layer: begins the observation.
#[derive(Clone)]
pub(super) struct Observe<S>(pub(super) S);

impl<S> Service<Arrival> for Observe<S>
where
    S: Service<Exchange<Head>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, Arrival { link, request }: Arrival) -> S::Future {
        let (mut head, body) = request.into_parts();
        let wish = Wish::of(&mut head)
            .filter(|_| body.is_end_stream())
            .map(Box::new);
        if wish.is_some() {
            head.method = Method::GET;
        }
        let context = &link.context;
        let generation = context.generation();
        let client = if link.trusted {
            let trusted = |address| context.trusts(Peer::Ip(address));
            Rc::new(Client::behind(
                link.peer,
                link.proto(),
                &head.headers,
                context.cold.forwarded,
                trusted,
            ))
        } else {
            Rc::clone(&link.client)
        };
        let given = head.headers.get(&REQUEST_ID).filter(|_| link.trusted);
        let id = given
            .and_then(RequestId::from_trusted)
            .unwrap_or_else(|| context.ids.borrow_mut().next_id());
        let observation = Rc::new(Observation::begin(
            Rc::clone(&link),
            Rc::clone(&generation),
            id,
            client.address,
            &head.method,
        ));
        link.begin_request(head.version, (!body.is_end_stream()).then(Rc::default));
        self.0.call(Exchange {
            request: Box::new(super::Request {
                headers: head.headers,
                body,
                link,
                client,
                generation,
                observation,
                wish,
            }),
            proof: Head {
                method: head.method,
                uri: head.uri,
                version: head.version,
            },
        })
    }
}

/// What a request says of itself, before it is judged.
pub struct Head {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
}
