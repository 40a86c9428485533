//! The way back: an earlier generation in force again, which then stays, and is followed by itself.

use super::{End, Follower, Of};
use crate::clock::Timestamp;
use crate::config::hash::{Wanted, WholeHash};
use crate::config::history::{Past, Trigger};
use crate::config::kept::UnreadableError;
use crate::config::live::ask::Answer;
use crate::config::load;
use crate::config::secret::Secrets;
use crate::config::settings::Widening;
use crate::net::causes;
use tokio::task::spawn_blocking;

impl Follower {
    /// Goes back to an earlier generation, which then stays.
    pub(super) async fn roll_back(
        &mut self,
        to: Option<Wanted>,
        confirm: Option<WholeHash>,
    ) -> Result<Answer, End> {
        let Some(kept) = self.kept.clone() else {
            return Ok(Answer::NotKept("no generations are kept".to_owned()));
        };
        let past = match self.past(to) {
            Ok(past) => past,
            Err(why) => return Ok(Answer::NotKept(why)),
        };
        let main_file = self.main_file.clone();
        if let Some(confirm) = &confirm
            && !confirm.is(&past.hash)
        {
            return Ok(Answer::OtherHash { hash: past.hash });
        }
        let loaded = spawn_blocking(move || {
            kept.load(&main_file, &past).map_err(|error| match error {
                UnreadableError::Config(problems) => Answer::Refused(problems.to_string()),
                error => Answer::NotKept(causes(&error)),
            })
        });
        let loaded = match loaded.await.map_err(|_| End)? {
            Ok(loaded) => loaded,
            Err(answer) => return Ok(answer),
        };
        let now = Timestamp::now();
        let (access, loaded) = self.compare(loaded).await?;
        let widening = self.shared.load().hot.widening;
        if widening == Widening::Confirm
            && confirm.is_none()
            && let Some(waiting) = self.waiting(&loaded, access, now)
        {
            return Ok(Answer::Waiting(waiting));
        }
        let files = self.files.clone();
        self.files = files.with_secrets_of(&loaded.files);
        // The files are judged again, against this one, and what is wrong with them is said again.
        self.seen = None;
        self.judged = None;
        self.accept(loaded, now, Trigger::Rollback, Some(access))
            .await
    }

    /// The generation that is meant.
    fn past(&self, to: Option<Wanted>) -> Result<Past, String> {
        let status = self.state.status();
        let mut known: Vec<&Past> = status.history.iter().collect();
        known.reverse();
        let found = match &to {
            None => known[original(&known)..]
                .iter()
                .find(|past| past.hash != status.hash),
            Some(Wanted::Number(number)) => known.iter().find(|past| past.generation == *number),
            Some(Wanted::Hash(hash)) => known.iter().find(|past| hash.is_of(&past.hash)),
        };
        match (found, to) {
            (Some(past), _) => Ok((*past).clone()),
            (None, Some(wanted)) => Err(format!(
                "there is no generation {wanted}; `keygate history` shows those that there are"
            )),
            (None, None) => Err("there is no other generation to go back to".to_owned()),
        }
    }

    /// Reads what is in force anew where the files are not to be: its secrets and certificates may have changed.
    pub(super) async fn refresh(&mut self, now: Timestamp) -> Result<(), End> {
        let (main_file, texts) = (self.main_file.clone(), self.in_force.texts.clone());
        let loaded = spawn_blocking(move || {
            let loaded = load::load_kept(&main_file, &texts, Secrets::Required);
            loaded.map(|loaded| (loaded.texts == texts, loaded))
        });
        let loaded = loaded.await.map_err(|_| End)?;
        if let Ok((_, loaded)) = &loaded {
            let files = self.files.clone();
            self.files = files.with_secrets_of(&loaded.files);
        }
        match loaded {
            Ok((_, loaded)) if loaded.mark == self.in_force.mark => {}
            Ok((false, _)) => {
                tracing::error!(
                    "what is in force cannot be read again as it was: its secrets are not followed"
                );
            }
            Ok((true, loaded)) => {
                let pinned = self.state.status().pinned;
                let how = (Trigger::Files, pinned, Of::Held);
                self.replace(loaded, now, how, None).await?;
            }
            Err(problems) => tracing::error!(
                "what the generation in force takes its secrets from has changed and cannot be used\n{problems}"
            ),
        }
        Ok(())
    }
}

/// Where among generations, the newest first, the one in force was edited: it itself, or what it went back to.
fn original(newest_first: &[&Past]) -> usize {
    let mut at = 0;
    while let Some(past) = newest_first
        .get(at)
        .filter(|p| p.trigger == Trigger::Rollback)
    {
        let older = newest_first[at + 1..].iter();
        match older.clone().position(|older| older.hash == past.hash) {
            Some(distance) => at += 1 + distance,
            None => break,
        }
    }
    at
}
