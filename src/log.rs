//! Where log lines go: one queue with a bound, one thread that writes.
//!
//! Whoever logs appends whole lines to memory and goes on: nobody ever waits for a disk or a terminal. The thread takes all
//! that waits at once, so that many lines cost one write. When it cannot keep up, lines are dropped, whole, and counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much may wait to be written: some tens of thousands of lines.
const WAITING_BYTES: usize = 8 << 20;

/// What the queue keeps of its memory when it was emptied.
const KEPT_BYTES: usize = 1 << 20;

/// How long the end of a log waits for what is still to be written: whoever reads it may have stopped.
const END_WITHIN: Duration = Duration::from_secs(1);

/// The way to the log. Cheap to clone.
#[derive(Clone)]
pub struct LogQueue(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    filled: Condvar,
    finished: Condvar,
    /// Lines are JSON.
    json: AtomicBool,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// The thread waits to be told of more.
    asleep: bool,
    ended: bool,
    /// The thread has written everything, and is gone.
    finished: bool,
}

/// The running log. Dropped, it writes what still waits.
pub struct LogWriter(LogQueue);

impl LogQueue {
    /// Starts the thread that writes there.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<(Self, LogWriter)> {
        let queue = LogQueue(Arc::new(Inner {
            state: Mutex::default(),
            filled: Condvar::new(),
            finished: Condvar::new(),
            json: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        }));
        let emptied = queue.clone();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                emptied.write_all_to(out);
                emptied.state().finished = true;
                emptied.0.finished.notify_one();
            })?;
        Ok((queue.clone(), LogWriter(queue)))
    }

    /// Appends whole lines, or counts them as dropped.
    pub fn push(&self, lines: &[u8]) {
        let mut state = self.state();
        if state.ended || state.waiting.len() + lines.len() > WAITING_BYTES {
            drop(state);
            return self.count_dropped(lines);
        }
        state.waiting.extend_from_slice(lines);
        if state.asleep {
            state.asleep = false;
            drop(state);
            self.0.filled.notify_one();
        }
    }

    /// How many lines were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Whether lines are to be JSON.
    pub fn is_json(&self) -> bool {
        self.0.json.load(Ordering::Relaxed)
    }

    /// From now on lines are to be JSON, or not.
    pub fn set_json(&self, json: bool) {
        self.0.json.store(json, Ordering::Relaxed);
    }

    /// Works until the log has ended and is written.
    fn write_all_to(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        loop {
            let mut state = self.state();
            while state.waiting.is_empty() {
                if state.ended {
                    return;
                }
                state.asleep = true;
                state = self
                    .0
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut state.waiting, &mut lines);
            drop(state);
            if out.write_all(&lines).and_then(|()| out.flush()).is_err() {
                self.count_dropped(&lines);
            }
            lines.clear();
            lines.shrink_to(KEPT_BYTES);
        }
    }

    fn count_dropped(&self, lines: &[u8]) {
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        self.0.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under it can panic half-way.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For a subscriber that writes each event at once.
impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let LogQueue(inner) = &self.0;
        let mut state = self.0.state();
        state.ended = true;
        inner.filled.notify_one();
        // What is not written by then is lost, and the process ends.
        let _ = inner
            .finished
            .wait_timeout_while(state, END_WITHIN, |state| !state.finished);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{SyncSender, sync_channel};

    /// Passes on what it is given, when there is someone to take it.
    struct Pipe(SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let sent = self.0.send(bytes.to_owned());
            sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_out_whole_and_in_order_and_the_end_waits_for_the_last() {
        let (pipe, read) = sync_channel(1000);
        let (queue, writer) = LogQueue::start(Pipe(pipe)).unwrap();
        let mut expected = Vec::new();
        for number in 0..1000 {
            let line = format!("line {number}\n");
            queue.push(line.as_bytes());
            expected.extend(line.into_bytes());
        }
        drop(writer);
        let written: Vec<u8> = read.try_iter().flatten().collect();
        assert_eq!(written, expected);
        queue.push(b"late\n");
        assert_eq!(queue.dropped(), 1);
    }

    #[test]
    fn a_reader_that_stands_still_stops_nobody_and_what_is_lost_is_counted() {
        let (pipe, read) = sync_channel(0);
        let (queue, writer) = LogQueue::start(Pipe(pipe)).unwrap();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let pushed = 3 * WAITING_BYTES / line.len();
        for _ in 0..pushed {
            queue.push(&line);
        }
        let dropped = usize::try_from(queue.dropped()).unwrap();
        // What the thread had taken before it stood still waits outside.
        assert!(dropped >= pushed / 3, "{dropped} of {pushed}");
        let reader =
            std::thread::spawn(move || read.iter().map(|lines| lines.len()).sum::<usize>());
        drop(writer);
        drop(queue);
        assert_eq!(reader.join().unwrap(), (pushed - dropped) * line.len());
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let (pipe, read) = sync_channel(1);
        drop(read);
        let (queue, writer) = LogQueue::start(Pipe(pipe)).unwrap();
        queue.push(b"one\ntwo\n");
        drop(writer);
        assert_eq!(queue.dropped(), 2);
    }
}
