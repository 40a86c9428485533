//! Restart without loss: a running gateway gives its listening sockets to the one that takes its place.
//!
//! The sockets go over a Unix socket of their own (`SCM_RIGHTS`, unix(7)), so both processes have the same queues of
//! waiting connections: none is refused, and none that waits is reset. The conversation is short:
//!
//! ```text
//! new → old   connects; both look at who is there: the same user, or root
//! old → new   one line for each socket, `{"use":"gateway","of":"127.0.0.1:8080"}`, with the socket itself; `{"end":true}`
//! new         opens what is missing, begins to accept
//! new → old   {"kept":["gateway 127.0.0.1:8080",…]}
//! old         stops accepting; what was not kept it accepts empty and closes; has what an operator ordered last come to
//!             its end, for some seconds, and accepts no configuration any more
//! old → new   {"taken":true}
//! ```
//!
//! Until the new one has said what it kept, the old one goes on as before, and when the new one ends before, nothing has
//! happened. There is no deadline until then: whoever hangs can be ended by whoever started it, and the old one serves
//! meanwhile. Without `taken` within ten seconds, the old one is gone or stands still; the new one has all there is.

use crate::admin::Admin;
use crate::config::Live;
use crate::net::{Acceptor, ListeningSocket, StdSocket};
use crate::server::{Handed, Listening, Server, Use};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long the running gateway has to give its sockets, and then to let go of them.
const GIVING: Duration = Duration::from_secs(10);

/// How long an order of an operator may still take once a successor has the sockets. Less than [`GIVING`].
const ORDERED: Duration = Duration::from_secs(3);

/// Longest line of the conversation.
const LINE: u64 = 1 << 20;

/// Why the sockets of a running gateway could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    #[error("the process that listens at the handover socket is another user's ({0})")]
    Stranger(u32),
    #[error("the running gateway's answer was not understood")]
    Unreadable,
    #[error("the conversation with the running gateway failed")]
    Io(#[from] io::Error),
}

/// What the running gateway says.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Word {
    Socket {
        r#use: Use,
        of: String,
        /// Whether its file is the gateway's to remove.
        file: bool,
    },
    End {
        end: bool,
    },
}

#[derive(Serialize, Deserialize)]
struct Kept {
    kept: Vec<String>,
}

/// A running gateway that has given its sockets, and goes on until it is told that they are in use.
pub struct Predecessor {
    stream: UnixStream,
    pid: u32,
}

/// Takes the sockets of the gateway that listens for a successor at this path; `None` when there is none. Blocks.
///
/// # Errors
/// When there is one and it cannot be understood, or is another user's.
pub fn take(path: &Path) -> Result<Option<(Predecessor, Vec<Handed>)>, TakeOverError> {
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let pid = check_user(&stream)?;
    stream.set_read_timeout(Some(GIVING))?;
    let mut text = Vec::new();
    let mut sockets = VecDeque::new();
    let mut handed = Vec::new();
    loop {
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            match serde_json::from_slice(&line).map_err(|_| TakeOverError::Unreadable)? {
                Word::Socket { r#use, of, file } => {
                    let socket = sockets.pop_front().ok_or(TakeOverError::Unreadable)?;
                    handed.push(Handed {
                        r#use,
                        of,
                        file,
                        socket: ListeningSocket::received(socket)?,
                    });
                }
                Word::End { .. } => return Ok(Some((Predecessor { stream, pid }, handed))),
            }
        }
        receive(&stream, &mut text, &mut sockets)?;
        if text.len() as u64 > LINE {
            return Err(TakeOverError::Unreadable);
        }
    }
}

/// Reads what is there; a socket comes with the first byte of its line.
fn receive(
    stream: &UnixStream,
    text: &mut Vec<u8>,
    sockets: &mut VecDeque<OwnedFd>,
) -> Result<(), TakeOverError> {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .map_err(io::Error::from)?;
    if received.bytes == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    text.extend_from_slice(&bytes[..received.bytes]);
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    Ok(())
}

impl Predecessor {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Tells it that we serve, by these sockets of its; when this returns, it accepts no more. Blocks.
    pub fn tell_ready(mut self, kept: Vec<String>) {
        let mut line = serde_json::to_vec(&Kept { kept }).expect("strings serialize");
        line.push(b'\n');
        let told = self.stream.write_all(&line).and_then(|()| {
            let mut answer = String::new();
            BufReader::new(&self.stream).read_line(&mut answer)
        });
        match told {
            Ok(read) if read > 0 => {}
            Ok(_) | Err(_) => {
                tracing::warn!(
                    pid = self.pid,
                    "the gateway before this one did not say that it let go"
                );
            }
        }
    }
}

/// The process at the other end, if it is the same user's or root's.
fn check_user(stream: impl AsFd) -> Result<u32, TakeOverError> {
    let there = socket_peercred(stream).map_err(io::Error::from)?;
    let ours = rustix::process::geteuid();
    if there.uid == ours || there.uid.is_root() {
        Ok(u32::try_from(there.pid.as_raw_nonzero().get()).unwrap_or(0))
    } else {
        Err(TakeOverError::Stranger(there.uid.as_raw()))
    }
}

/// Waits for a successor.
pub struct Handover {
    task: JoinHandle<()>,
    taken: oneshot::Receiver<u32>,
}

impl Handover {
    /// Listens for a successor by this socket, which goes to it with those of the server and of the admin listener. Once it
    /// serves, only it says which configuration is accepted.
    ///
    /// # Errors
    /// As the system says of the socket.
    pub fn start(
        own: Listening,
        server: Arc<Server>,
        admin: Option<Arc<Admin>>,
        live: Arc<Live>,
    ) -> io::Result<Self> {
        let acceptor = Acceptor::new(own.socket()?)?;
        let (tell, taken) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                let stream = match acceptor.accept().await {
                    Ok((StdSocket::Unix(stream), _)) => stream,
                    Ok((StdSocket::Tcp(_), _)) => continue,
                    Err(error) => {
                        tracing::warn!(%error, "no successor can be accepted");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        continue;
                    }
                };
                let pid = match check_user(&stream) {
                    Ok(pid) => pid,
                    Err(error) => {
                        tracing::warn!(%error, "a process asked for the listening sockets and gets none");
                        continue;
                    }
                };
                tracing::info!(pid, "a new process asks for the listening sockets");
                match offer(stream, &own, &server, admin.as_deref(), &live).await {
                    Ok(()) => {
                        let _ = tell.send(pid);
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(pid, %error, "the new process ended before it served; this one goes on");
                    }
                }
            }
        });
        Ok(Handover { task, taken })
    }

    /// Waits until a successor serves in our place; its process. This server accepts no more then.
    pub async fn taken(&mut self) -> u32 {
        match (&mut self.taken).await {
            Ok(pid) => pid,
            // The task ends without a word only with the runtime.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits for nobody any more.
    pub fn stop(&self) {
        self.task.abort();
    }
}

/// Gives all sockets, and waits until they are in use.
async fn offer(
    stream: UnixStream,
    own: &Listening,
    server: &Server,
    admin: Option<&Admin>,
    live: &Live,
) -> io::Result<()> {
    let mut stream = tokio::net::UnixStream::from_std(stream)?;
    for handed in server.to_hand()? {
        give(&stream, handed).await?;
    }
    if let Some(admin) = admin {
        give(&stream, admin.listening().to_hand()?).await?;
    }
    give(&stream, own.to_hand()?).await?;
    let mut end = serde_json::to_vec(&Word::End { end: true }).expect("a flag serializes");
    end.push(b'\n');
    stream.write_all(&end).await?;

    let mut line = Vec::new();
    let mut reader = tokio::io::BufReader::new(&mut stream);
    let read = tokio::io::AsyncReadExt::take(&mut reader, LINE)
        .read_until(b'\n', &mut line)
        .await?;
    if read == 0 || !line.ends_with(b"\n") {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let Kept { kept } = serde_json::from_slice(&line)?;
    if let Some(admin) = admin {
        admin.stop();
        admin.listening().let_go(&kept);
    }
    own.let_go(&kept);
    server.hand_over(&kept).await;
    // What is accepted now is found by the successor when it looks what was accepted last; what takes longer is not
    // accepted any more.
    let _ = tokio::time::timeout(ORDERED, live.stop()).await;
    let _ = stream.write_all(b"{\"taken\":true}\n").await;
    Ok(())
}

/// Sends one socket with its line.
async fn give(stream: &tokio::net::UnixStream, handed: Handed) -> io::Result<()> {
    let Handed {
        r#use,
        of,
        file,
        socket,
    } = handed;
    let mut line =
        serde_json::to_vec(&Word::Socket { r#use, of, file }).expect("strings serialize");
    line.push(b'\n');
    let descriptors = [socket.as_fd()];
    let sent = stream
        .async_io(tokio::io::Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            sendmsg(stream, &[IoSlice::new(&line)], &mut control, flags).map_err(io::Error::from)
        })
        .await?;
    // A line is some hundred bytes; the kernel takes so little whole or not at all.
    if sent == line.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}
