//! What is left of an upload whose answer is whole already.
//!
//! An upstream may answer before it has read the request: then the answer goes down, and the rest of the body goes on going
//! up. The exchange has been counted and logged by then. What it asked for is kept here with its body, for as long as that
//! goes on, so that who has lost its key or its route does not go on sending.

use super::Link;
use super::watch::Revocation;
use crate::http::Admitted;
use crate::key::ScopeName;
use crate::policy::{Policy, Refusal};
use crate::proxy::BodyState;
use std::rc::{Rc, Weak};

/// The rest of an upload.
pub(super) struct Upload {
    /// The request's id.
    id: Box<str>,
    asked: Admitted,
    body: Rc<BodyState>,
    lane: Weak<Link>,
}

impl Upload {
    /// What is left of this body, that came with this request in this lane.
    pub(super) fn new(id: &str, asked: &Admitted, body: Rc<BodyState>, lane: &Rc<Link>) -> Self {
        Upload {
            id: id.into(),
            asked: asked.detached(),
            body,
            lane: Rc::downgrade(lane),
        }
    }

    /// Whether there is still something to come.
    pub(super) fn goes_on(&self) -> bool {
        self.body.goes_on()
    }

    /// Why this policy refuses its request now, if it does and there is something to end.
    pub(super) fn refusal(&self, policy: &Policy, scope: Option<&ScopeName>) -> Option<Refusal> {
        if !self.goes_on() {
            return None;
        }
        policy.judge(policy.route(&self.asked), scope).err()
    }

    /// Ends it on both sides: nothing more goes up, and the client is not listened to any longer. Says so in the log; whether it
    /// went on.
    pub(super) fn end(&self, why: &Revocation) -> bool {
        if !self.goes_on() {
            return false;
        }
        // Its access line was written with the end of its answer.
        let (id, reason) = (&*self.id, why.of_an_answer());
        tracing::info!(
            id,
            reason,
            "an upload that went on after its answer has ended"
        );
        self.body.abandon();
        if let Some(lane) = self.lane.upgrade() {
            lane.revoke_upload();
        }
        true
    }
}
