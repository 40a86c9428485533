//! The six invariants, held against one case after another.

use super::client::{Outcome, connect, play};
use super::corpus::{Case, Run, Wire};
use super::door::{DECOY, Door, Line, SLACK_KIB};
use super::notation::{Names, show};
use super::recorder::{Mark, Recorder, Seen, Since};
use super::verdict::{answers, finds, next, told, upstream};
use std::collections::HashMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// In how many rounds the memory must have come to rest.
const ROUNDS: usize = 6;

/// How often a round plays everything.
const TIMES: usize = 10;

/// A run that takes longer sits out a deadline, which is done once and not in every round.
const QUICK: Duration = Duration::from_secs(1);

/// What does not hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Invariant {
    /// (i) Requests seen upstream are attempts that were logged.
    Logged,
    /// (ii) No connection is opened for what is refused.
    Unopened,
    /// (iii) No key in what leaves.
    Secret,
    /// (iv) What reaches the upstream is canonical, and what the case says.
    Canonical,
    /// (v) The next request gets its own answer.
    Next,
    /// (vi) The process lives, and its descriptors and its memory come back.
    Lives,
    /// The case's own answers.
    Answer,
}

/// A case that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    pub invariant: Invariant,
    pub case: String,
    text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}\n{}", self.invariant, self.case, self.text)
    }
}

/// Runs cases one after another, and gives all that did not hold.
pub struct Judge<'a> {
    door: &'a mut dyn Door,
    recorder: &'a Recorder,
    names: &'a Names,
    count: usize,
    /// Lines of the log by request.
    lines: HashMap<String, Line>,
    /// How often each request was seen upstream.
    seen: HashMap<String, u64>,
    failures: Vec<Failure>,
    /// How many runs got a request to the upstream that must not have.
    pub through: Vec<String>,
}

impl<'a> Judge<'a> {
    pub fn new(door: &'a mut dyn Door, recorder: &'a Recorder, names: &'a Names) -> Self {
        Judge {
            door,
            recorder,
            names,
            count: 0,
            lines: HashMap::new(),
            seen: HashMap::new(),
            failures: Vec::new(),
            through: Vec::new(),
        }
    }

    /// Runs all cases of a class and judges what is left of it.
    pub fn run(mut self, cases: &[Case]) -> (Vec<Failure>, Vec<String>) {
        let mark = self.recorder.mark();
        self.fresh("/open/last-warm");
        let (since, _) = self.logged(mark);
        self.seen
            .extend(since.seen.iter().map(|seen| (id(seen).to_owned(), 1)));
        let before = self.door.descriptors();
        let mut quick = Vec::new();
        for case in cases {
            for run in &case.runs {
                self.count += 1;
                let begun = Instant::now();
                self.case(case, run);
                if begun.elapsed() < QUICK {
                    quick.push((case, run));
                }
            }
        }
        let all = format!("after {} runs", self.count);
        let pages = self.door.pages().join("\n");
        for (name, key) in self.names {
            if pages.contains(key.as_str()) {
                self.fail(
                    Invariant::Secret,
                    &all,
                    format!("the key {name} stands in a page of the admin listener"),
                );
            }
        }
        // What was sent up and never seen there was at least not served.
        let lost: Vec<Line> = self.lines.values().cloned().collect();
        for line in lost {
            if line.attempts > 0
                && line.status < 400
                && line.status != 0
                && !self.seen.contains_key(&line.id)
            {
                self.fail(
                    Invariant::Logged,
                    &all,
                    format!("served, and not seen upstream: {line:?}"),
                );
            }
        }
        if let Some(now) = self.descriptors_above(before) {
            let text = format!("descriptors: {before:?} at first, {now} now");
            self.fail(Invariant::Lives, &all, text);
        }
        if let Some(taken) = self.memory_grows(&quick, before) {
            let text = format!("each round leaves more memory taken, in KiB: {taken:?}");
            self.fail(Invariant::Lives, &all, text);
        }
        (self.failures, self.through)
    }

    /// Waits until no more descriptors are open than before; how many there are if that does not come.
    fn descriptors_above(&self, before: Option<usize>) -> Option<usize> {
        let before = before?;
        let deadline = Instant::now() + self.door.late();
        loop {
            let now = self.door.descriptors()?;
            if now <= before {
                return None;
            }
            if Instant::now() > deadline {
                return Some(now);
            }
            thread::yield_now();
        }
    }

    /// Plays everything again, in rounds, until one leaves the memory as it was: what is lost in each round is lost in all,
    /// what an allocator keeps for later is not. What was taken after each, if none does.
    fn memory_grows(&self, runs: &[(&Case, &Run)], descriptors: Option<usize>) -> Option<Vec<u64>> {
        let mut taken = vec![self.door.memory()?];
        for _ in 0..ROUNDS {
            for (case, run) in std::iter::repeat_n(runs, TIMES).flatten() {
                let mark = self.recorder.mark();
                let address = self.door.address(run.wire);
                // Whatever comes of it: it was judged before.
                let _ = play(address, run, case.to_head, self.recorder, mark);
                let _ = self.fresh("/open/last-again");
            }
            self.descriptors_above(descriptors);
            let (before, now) = (taken[taken.len() - 1], self.door.memory()?);
            taken.push(now);
            if now < before + SLACK_KIB {
                return None;
            }
        }
        Some(taken)
    }

    fn fail(&mut self, invariant: Invariant, case: &str, text: String) {
        self.failures.push(Failure {
            invariant,
            case: case.to_owned(),
            text,
        });
    }

    /// A request on a connection of its own, after which the upstream's connection ends. What is wrong with its answer.
    fn fresh(&self, target: &str) -> Option<String> {
        let mut talk = match connect(self.door.address(Wire::Http1), Wire::Http1) {
            Ok(talk) => talk,
            Err(error) => return Some(format!("no connection: {error}")),
        };
        talk.ask(target);
        match talk.outcome(false) {
            Outcome::Answer { status: 200, body } if body == format!("GET {target}").as_bytes() => {
                None
            }
            other => Some(told(&other)),
        }
    }

    fn case(&mut self, case: &Case, run: &Run) {
        let name = format!("{} ({:?})", case.name, run.wire);
        let mark = self.recorder.mark();
        let played = play(
            self.door.address(run.wire),
            run,
            case.to_head,
            self.recorder,
            mark,
        );
        let mut played = match played {
            Ok(played) => played,
            Err(error) => {
                return self.fail(Invariant::Lives, &name, format!("no connection: {error}"));
            }
        };
        let mut wrong: Vec<(Invariant, String)> = Vec::new();
        if let Some(problem) = &played.problem {
            wrong.push((Invariant::Answer, problem.clone()));
        }
        answers(&run.expected, &played, &mut wrong);
        if run.expected.upstream.is_empty() {
            let since = self.recorder.since(mark);
            if since.connections > 0 || !since.raw.is_empty() {
                self.through.push(name.clone());
                let text = format!(
                    "{} connections upstream, and on them {}",
                    since.connections,
                    show(&since.raw)
                );
                wrong.push((Invariant::Unopened, text));
            }
        }
        let n = self.count;
        let same = format!("/open/same-{n}");
        if played.can_ask
            && !matches!(
                played.outcomes.last(),
                Some(Outcome::Answer { status: 101, .. })
            )
        {
            played.talk.ask(&same);
            next(
                &run.expected,
                &same,
                &played.talk.outcome(false),
                &mut wrong,
            );
        }
        let interim: Vec<u16> = played.talk.interim().to_vec();
        if !run.expected.may_continue && interim.contains(&100) {
            wrong.push((
                Invariant::Answer,
                "100 Continue, which nobody is to be told".to_owned(),
            ));
        }
        let received = played.talk.received().to_vec();
        drop(played.talk);
        let last = format!("/open/last-{n}");
        if let Some(text) = self.fresh(&last) {
            let lives = if text.starts_with("no connection") {
                Invariant::Lives
            } else {
                Invariant::Next
            };
            wrong.push((lives, format!("a request on another connection: {text}")));
        }
        let (since, log) = self.settled(run, mark, &[&same, &last]);
        for seen in &since.seen {
            *self.seen.entry(id(seen).to_owned()).or_default() += 1;
        }
        for seen in &since.seen {
            let (times, logged) = (self.seen[id(seen)], self.lines.get(id(seen)));
            let attempts = logged.map_or(0, |line| line.attempts);
            if times != attempts {
                wrong.push((
                    Invariant::Logged,
                    format!(
                        "{:?}: seen {times} times, {attempts} attempts logged",
                        seen.line
                    ),
                ));
            }
        }
        let own: Vec<Seen> = since
            .seen
            .iter()
            .filter(|s| !s.line.ends_with(&same) && !s.line.ends_with(&last))
            .cloned()
            .collect();
        upstream(&run.expected, &own, &since, &mut wrong);
        for (name, key) in self.names {
            let places = [
                ("the upstream", &since.raw[..]),
                ("the log", log.as_bytes()),
                ("the client", &received),
            ];
            for (place, bytes) in places {
                // The upstream of the corpus tells its clients what it was sent.
                let may = *name == DECOY && place != "the log";
                if !may && finds(bytes, key.as_bytes()) {
                    wrong.push((
                        Invariant::Secret,
                        format!("{place} was shown the key {name}"),
                    ));
                }
            }
        }
        if log.contains("panicked") {
            wrong.push((Invariant::Lives, "a panic in the log".to_owned()));
        }
        if wrong.is_empty() {
            return;
        }
        let seen: Vec<String> = since
            .seen
            .iter()
            .map(|s| format!("{}{}", s.line, if s.whole { "" } else { " cut" }))
            .collect();
        let outcomes: Vec<String> = played.outcomes.iter().map(told).collect();
        let context = format!(
            "  sent      {}\n  expected  {:?}, upstream {:?}, then {:?}\n  answered  {outcomes:?}\n  upstream  {seen:?}",
            sent(run, &played.sent),
            run.expected.status,
            run.expected.upstream,
            run.expected.then,
        );
        for (invariant, text) in wrong {
            self.fail(invariant, &name, format!("  {text}\n{context}"));
        }
    }

    /// Waits until the upstream and the log have had what is to come.
    fn settled(&mut self, run: &Run, mark: Mark, own: &[&str]) -> (Since, String) {
        let wanted = run
            .expected
            .upstream
            .iter()
            .filter(|r| r.must_come())
            .count();
        let arrived = |seen: &[Seen]| {
            let whole = seen
                .iter()
                .filter(|s| s.whole && !own.iter().any(|o| s.line.ends_with(o)));
            whole.count() >= wanted
        };
        self.recorder.wait(mark, self.door.late(), arrived);
        self.logged(mark)
    }

    /// Waits until as much was logged as the upstream has seen.
    fn logged(&mut self, mark: Mark) -> (Since, String) {
        let deadline = Instant::now() + self.door.late();
        let mut log = String::new();
        loop {
            let (lines, text) = self.door.new_log();
            self.lines
                .extend(lines.into_iter().map(|line| (line.id.clone(), line)));
            log.push_str(&text);
            let since = self.recorder.since(mark);
            let all = since
                .seen
                .iter()
                .all(|seen| self.lines.contains_key(id(seen)));
            if all || Instant::now() > deadline {
                return (since, log);
            }
            thread::yield_now();
        }
    }
}

/// The id that the gateway gave a request.
fn id(seen: &Seen) -> &str {
    let mut all = seen
        .headers
        .iter()
        .filter(|(name, _)| name == "x-request-id");
    all.next().map_or("", |(_, value)| value)
}

fn sent(run: &Run, bytes: &[u8]) -> String {
    match run.wire {
        Wire::Http1 => show(bytes),
        Wire::Http2 => String::from_utf8_lossy(bytes)
            .trim_end()
            .replace('\n', "\n            "),
    }
}
