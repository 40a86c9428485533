//! The client's side of a case: plays its steps on a connection and tells what came back. It never panics, since a
//! gateway may do anything.

use super::corpus::{Run, Wire};
use super::http1::Http1;
use super::http2::Http2;
use super::recorder::{Mark, Recorder};
use super::script::Step;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take. Never waited for in a case that passes, but where a gateway's own deadline is the case.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Answer {
        status: u16,
        body: Vec<u8>,
    },
    Reset(u32),
    Closed,
    /// What came is no answer, or did not come.
    Nonsense(String),
}

/// What a client speaks.
pub trait Talk {
    fn stream(&mut self) -> &mut TcpStream;
    /// A step that is this protocol's own.
    fn frame(&mut self, step: &Step, offset: u32);
    /// Reads the next outcome.
    fn outcome(&mut self, to_head: bool) -> Outcome;
    /// Reads up to a `100 Continue`.
    fn wait_for_continue(&mut self) -> Result<(), String>;
    /// Reads so many bytes of a tunnel.
    fn tunnel(&mut self, length: usize) -> Result<Vec<u8>, String>;
    /// Sends a request for this target, after all others.
    fn ask(&mut self, target: &str);
    fn interim(&self) -> &[u16];
    /// All bytes that came.
    fn received(&self) -> &[u8];
}

pub struct Played {
    pub sent: Vec<u8>,
    pub outcomes: Vec<Outcome>,
    pub problem: Option<String>,
    /// Whether our direction of the connection is still open.
    pub can_ask: bool,
    pub talk: Box<dyn Talk>,
}

/// Connects.
pub fn connect(address: SocketAddr, wire: Wire) -> std::io::Result<Box<dyn Talk>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(match wire {
        Wire::Http1 => Box::new(Http1::new(stream)),
        Wire::Http2 => Box::new(Http2::new(stream)),
    })
}

/// Plays the steps, then reads as many outcomes as are expected.
pub fn play(
    address: SocketAddr,
    run: &Run,
    to_head: bool,
    recorder: &Recorder,
    mark: Mark,
) -> std::io::Result<Played> {
    let mut player = Player {
        played: Played {
            sent: Vec::new(),
            outcomes: Vec::new(),
            problem: None,
            can_ask: true,
            talk: connect(address, run.wire)?,
        },
        to_head,
        address,
        recorder,
        mark,
    };
    for step in &run.steps {
        player.step(step, 0);
        if player.played.problem.is_some() {
            break;
        }
    }
    let mut played = player.played;
    while played.outcomes.len() < run.expected.status.len() {
        let outcome = played.talk.outcome(to_head);
        let over = matches!(outcome, Outcome::Closed | Outcome::Nonsense(_));
        played.outcomes.push(outcome);
        if over {
            break;
        }
    }
    Ok(played)
}

struct Player<'a> {
    played: Played,
    to_head: bool,
    address: SocketAddr,
    recorder: &'a Recorder,
    mark: Mark,
}

impl Player<'_> {
    fn write(&mut self, bytes: &[u8]) {
        // A gateway that refuses may have closed before all is sent.
        let _ = self.played.talk.stream().write_all(bytes);
    }

    fn step(&mut self, step: &Step, offset: u32) {
        let played = &mut self.played;
        match step {
            Step::Send(bytes) => {
                played.sent.extend_from_slice(bytes);
                self.write(bytes);
            }
            Step::Trickle(bytes) => {
                played.sent.extend_from_slice(bytes);
                for byte in bytes {
                    self.write(&[*byte]);
                }
            }
            Step::WaitRead => self.wait_until_read(),
            Step::WaitAnswer => {
                let outcome = played.talk.outcome(self.to_head);
                played.outcomes.push(outcome);
            }
            Step::WaitContinue => played.problem = played.talk.wait_for_continue().err(),
            Step::WaitUpstream(count) => {
                if !self
                    .recorder
                    .wait(self.mark, PATIENCE, |seen| seen.len() >= *count)
                {
                    played.problem = Some(format!("the upstream did not see {count} heads"));
                }
            }
            Step::Tunnel(expected) => match played.talk.tunnel(expected.len()) {
                Ok(came) if came == *expected => {}
                Ok(came) => {
                    played.problem =
                        Some(format!("through the tunnel came {}", came.escape_ascii()));
                }
                Err(error) => played.problem = Some(error),
            },
            Step::Release => self.recorder.release(),
            Step::Finish => {
                let _ = played.talk.stream().shutdown(Shutdown::Write);
                played.can_ask = false;
            }
            Step::Leave => {
                let _ = played.talk.stream().shutdown(Shutdown::Both);
                played.can_ask = false;
            }
            Step::Fields { .. } | Step::Data { .. } | Step::Frame { .. } => {
                if offset == 0 {
                    played.sent.extend(format!("{step}\n").into_bytes());
                }
                played.talk.frame(step, offset);
            }
            Step::Repeat(times, steps) => {
                for n in 0..*times {
                    for step in steps {
                        self.step(step, offset + 2 * n);
                    }
                }
            }
        }
    }

    /// Waits until nothing of what we sent is left in the gateway's socket. The kernel tells.
    fn wait_until_read(&mut self) {
        let Ok(own) = self.played.talk.stream().local_addr() else {
            return;
        };
        let (ours, theirs) = (
            format!(":{:04X}", own.port()),
            format!(":{:04X}", self.address.port()),
        );
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
            let unread = table.lines().any(|line| {
                let mut words = line.split_whitespace().skip(1);
                let (Some(local), Some(remote)) = (words.next(), words.next()) else {
                    return false;
                };
                let queues = words.nth(1).unwrap_or_default();
                local.ends_with(&theirs)
                    && remote.ends_with(&ours)
                    && !queues.ends_with(":00000000")
            });
            if !unread {
                return;
            }
            thread::yield_now();
        }
        self.played.problem = Some("the gateway did not read what was sent".to_owned());
    }
}
