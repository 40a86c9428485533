//! What becomes of what the files hold: refused, waiting to be confirmed, or in force.

use super::tell::tell_waiting;
use super::{By, End, Follower};
use crate::clock::Timestamp;
use crate::config::history::{AccessChange, Trigger};
use crate::config::live::ask::Answer;
use crate::config::load::{Loaded, Reading};
use crate::config::problem::Problems;
use crate::config::settings::Widening;
use crate::config::waiting::Waiting;
use tokio::task::spawn_blocking;

impl Follower {
    /// Decides what becomes of what the files hold.
    pub(super) async fn judge(&mut self, reading: Reading, by: By) -> Result<Answer, End> {
        let Reading { mark, outcome, .. } = reading;
        let news = self.judged != Some(mark);
        let now = Timestamp::now();
        if news || !matches!(by, By::Files) {
            self.state.status().last_attempt = Some(now);
        }
        let answer = match outcome {
            Err(problems) => self.refuse(&problems, news),
            Ok(loaded) => match &by {
                By::Operator {
                    confirm: Some(confirm),
                } if !confirm.is(&loaded.hash) => Answer::OtherHash { hash: loaded.hash },
                _ if mark == self.in_force.mark => self.returned(&loaded, news, &by).await,
                _ => self.admit(loaded, now, news, by).await?,
            },
        };
        if let Answer::OtherHash { .. } = answer {
            // It was not decided about: as if it had not been read.
            self.seen = None;
        } else {
            self.judged = Some(mark);
        }
        if self.is_held() {
            self.refresh(now).await?;
        }
        let generation = self.state.status().generation;
        self.state
            .judged
            .send_modify(|(count, g)| (*count, *g) = (*count + 1, generation));
        Ok(answer)
    }

    fn refuse(&self, problems: &Problems, news: bool) -> Answer {
        let mut status = self.state.status();
        if news {
            tracing::error!(
                generation = status.generation,
                "the configuration was changed and is refused; the last good one stays in force\n{problems}"
            );
            status.refused += 1;
            status.last_error = Some(problems.to_string());
            status.unconfirmed = None;
        }
        Answer::Refused(problems.to_string())
    }

    /// The files hold what is in force.
    async fn returned(&self, loaded: &Loaded, news: bool, by: &By) -> Answer {
        if matches!(by, By::Operator { .. }) {
            self.unpin().await;
        }
        if news {
            tracing::info!("the configuration's files hold again what is in force");
        } else if !matches!(by, By::Files) {
            tracing::info!("asked to reload: the configuration's files are unchanged");
        }
        {
            let mut status = self.state.status();
            status.last_error = None;
            status.unconfirmed = None;
        }
        self.note_waiting(&loaded.cold);
        Answer::Unchanged
    }

    /// Puts valid files in force, unless something speaks against it.
    async fn admit(
        &mut self,
        loaded: Loaded,
        now: Timestamp,
        news: bool,
        by: By,
    ) -> Result<Answer, End> {
        let (trigger, confirm) = match by {
            By::Files => (Trigger::Files, None),
            By::Signal => (Trigger::Asked, None),
            By::Operator { confirm: None } => (Trigger::Reload, None),
            By::Operator { confirm } => (Trigger::Confirmed, confirm),
        };
        let by_operator = matches!(trigger, Trigger::Reload | Trigger::Confirmed);
        if self.state.status().pinned && !by_operator {
            if news || trigger == Trigger::Asked {
                let mut status = self.state.status();
                status.last_error = None;
                tracing::warn!(
                    generation = status.generation,
                    hash = loaded.hash,
                    "the files hold something else; the pinned generation stays in force until `keygate reload`"
                );
            }
            return Ok(Answer::Unchanged);
        }
        let widening = self.shared.load().hot.widening;
        if widening == Widening::Allow && !by_operator {
            // What it changed is found out when it is in force.
            return self.accept(loaded, now, trigger, None).await;
        }
        let (access, loaded) = self.compare(loaded).await?;
        let waiting = match (widening, confirm) {
            (Widening::Allow, _) | (Widening::Confirm, Some(_)) => None,
            (Widening::Confirm, None) => self.waiting(&loaded, access, now),
        };
        match waiting {
            Some(waiting) => Ok(self.wait(waiting, &loaded, news, by_operator).await),
            None => self.accept(loaded, now, trigger, Some(access)).await,
        }
    }

    /// What has to be confirmed of a configuration.
    pub(super) fn waiting(
        &self,
        loaded: &Loaded,
        access: AccessChange,
        now: Timestamp,
    ) -> Option<Waiting> {
        let in_force = self.shared.load();
        Waiting::of((&self.cold, &in_force.hot), loaded, access, now)
    }

    /// What a configuration would change of what is in force.
    pub(super) async fn compare(&self, loaded: Loaded) -> Result<(AccessChange, Loaded), End> {
        let old = self.shared.load_full();
        let compared =
            spawn_blocking(move || (AccessChange::between(&old.hot, &loaded.hot), loaded));
        compared.await.map_err(|_| End)
    }

    /// Has the files wait to be confirmed.
    async fn wait(&self, mut waiting: Waiting, loaded: &Loaded, news: bool, unpin: bool) -> Answer {
        if unpin {
            self.unpin().await;
        }
        let generation = self.state.status().generation;
        if news {
            tell_waiting(&waiting, generation);
        }
        {
            let mut status = self.state.status();
            status.last_error = None;
            match &status.unconfirmed {
                Some(known) if known.hash == waiting.hash => waiting.since = known.since,
                _ => {}
            }
            status.unconfirmed = Some(waiting.clone());
        }
        self.note_waiting(&loaded.cold);
        Answer::Waiting(waiting)
    }
}
