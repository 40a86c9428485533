//! A proxy of bytes that does what networks and dying servers do, at the byte where a test wants it.
//!
//! It stands between the gateway and an upstream, or between a client and the gateway, and passes bytes both ways until
//! it is armed with a [`Fault`]. A fault strikes the bytes that come after it was armed, on open connections and on new
//! ones. A connection that it struck stays struck when the proxy is disarmed, as a broken connection stays broken: who
//! is served after that was given another one.

use super::port::Port;
use super::wire::runtime;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf, split,
};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What happens to the bytes that come back through the proxy, from its target to whoever connected to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Each piece comes this much later.
    Delay(Duration),
    /// After so many more bytes the connection ends, as if by close.
    Cut(usize),
    /// After so many more bytes the connection ends by a reset (on a Unix socket, which has none: by close).
    Reset(usize),
    /// After so many more bytes no other comes, and the connection stays open.
    Silence(usize),
    /// A peer that accepts, and no more: nothing arrives at the target, and nothing comes back.
    BlackHole,
    /// After so many more bytes this direction ends, and the other goes on.
    HalfClose(usize),
    /// Other bytes come in place of those of the target, and then the end.
    Garbage,
    /// The bytes come one by one, with this pause before each.
    Drip(Duration),
}

/// Where a proxy leads to, and where it stands.
#[derive(Clone, Debug)]
pub enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A running proxy. Stops when dropped.
pub struct FaultProxy {
    place: Place,
    target: Place,
    state: Arc<State>,
    door: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
    port: Option<Port>,
    _folder: Option<tempfile::TempDir>,
}

#[derive(Default)]
struct State {
    armed: Mutex<Armed>,
    made: AtomicUsize,
    struck: AtomicUsize,
}

#[derive(Clone, Copy, Default)]
enum Armed {
    #[default]
    No,
    /// For the connection that meets it first.
    Once(Fault),
    Always(Fault),
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.refuse();
    }
}

impl FaultProxy {
    /// A proxy in front of this target, on a socket of the same kind.
    pub fn before(target: Place) -> Self {
        let (place, port, folder) = match target {
            Place::Tcp(_) => {
                let port = Port::keep();
                (Place::Tcp(port.address), Some(port), None)
            }
            Place::Unix(_) => {
                let folder = tempfile::tempdir().expect("a folder");
                let place = Place::Unix(folder.path().join("proxy.sock"));
                (place, None, Some(folder))
            }
        };
        let proxy = FaultProxy {
            place,
            target,
            state: Arc::default(),
            door: Mutex::new(None),
            port,
            _folder: folder,
        };
        proxy.accept();
        proxy
    }

    /// Where to connect to it.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.state.made.load(Ordering::SeqCst)
    }

    /// How many connections a fault has struck.
    pub fn struck(&self) -> usize {
        self.state.struck.load(Ordering::SeqCst)
    }

    /// From now on this happens, to every connection.
    pub fn arm(&self, fault: Fault) {
        *self.state.armed.lock().unwrap() = Armed::Always(fault);
    }

    /// This happens once: to the connection on which bytes come first.
    pub fn arm_once(&self, fault: Fault) {
        *self.state.armed.lock().unwrap() = Armed::Once(fault);
    }

    /// From now on bytes pass, on the connections that were not struck.
    pub fn disarm(&self) {
        *self.state.armed.lock().unwrap() = Armed::No;
    }

    /// Ends every connection by a reset, and refuses new ones until it is told to [`accept`](Self::accept) them.
    pub fn refuse(&self) {
        // The listener and the connections live in the task; when it has ended, so have they.
        let door = self.door.lock().unwrap().take();
        if let Some((leave, task)) = door {
            drop(leave);
            runtime().block_on(task).expect("the door's task");
        }
        if let Place::Unix(path) = &self.place {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Accepts connections again, at the same place.
    pub fn accept(&self) {
        let _runtime = runtime().enter();
        let door = match (&self.place, &self.port) {
            (Place::Unix(path), _) => Door::Unix(UnixListener::bind(path).expect("a socket")),
            (Place::Tcp(_), port) => {
                let listener = port.as_ref().expect("a port").listen();
                listener.set_nonblocking(true).expect("nonblocking");
                Door::Tcp(TcpListener::from_std(listener).expect("a listener"))
            }
        };
        let (target, state) = (self.target.clone(), Arc::clone(&self.state));
        let (leave, mut leaves) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let near = tokio::select! {
                    near = door.accept() => near.expect("a connection"),
                    _ = &mut leaves => break,
                };
                while connections.try_join_next().is_some() {}
                state.made.fetch_add(1, Ordering::SeqCst);
                let (target, state) = (target.clone(), Arc::clone(&state));
                connections.spawn(async move {
                    if let Ok(far) = End::connect(&target).await {
                        let connection = Connection {
                            state,
                            struck: Mutex::new(None),
                        };
                        connection.pass(near, far).await;
                    }
                });
            }
            drop(door);
            connections.shutdown().await;
        });
        *self.door.lock().unwrap() = Some((leave, task));
    }
}

enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Door {
    async fn accept(&self) -> io::Result<End> {
        match self {
            Door::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let end = End::Tcp(stream);
                // Whatever ends the task ends the connection by a reset.
                end.linger(Some(Duration::ZERO));
                Ok(end)
            }
            Door::Unix(listener) => Ok(End::Unix(listener.accept().await?.0)),
        }
    }
}

/// One end of what passes through the proxy.
enum End {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl End {
    async fn connect(target: &Place) -> io::Result<Self> {
        Ok(match target {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                End::Tcp(stream)
            }
            Place::Unix(path) => End::Unix(UnixStream::connect(path).await?),
        })
    }

    fn linger(&self, time: Option<Duration>) {
        if let End::Tcp(stream) = self {
            socket2::SockRef::from(stream)
                .set_linger(time)
                .expect("linger");
        }
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            End::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            End::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            End::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            End::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            End::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            End::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            End::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            End::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// How the direction back has ended.
enum Ending {
    /// It has; the other goes on to its own end.
    Half,
    /// Nothing more comes, and nobody says so.
    Silent,
    /// Both directions end, by close.
    Close,
    /// Both directions end, by a reset.
    Reset,
}

/// One connection through the proxy.
struct Connection {
    state: Arc<State>,
    /// The fault that it met.
    struck: Mutex<Option<Fault>>,
}

impl Connection {
    async fn pass(&self, near: End, far: End) {
        let (mut near_in, mut near_out) = split(near);
        let (mut far_in, mut far_out) = split(far);
        let ending = {
            let mut up = pin!(self.up(&mut near_in, &mut far_out));
            let mut down = pin!(self.down(&mut far_in, &mut near_out));
            tokio::select! {
                ending = &mut down => {
                    if matches!(ending, Ending::Half | Ending::Silent) {
                        up.await;
                    }
                    ending
                }
                () = &mut up => {
                    let struck = *self.struck.lock().unwrap();
                    match struck {
                        // Whoever connected has left, and no more will come.
                        Some(Fault::BlackHole | Fault::Silence(_)) => Ending::Close,
                        _ => down.await,
                    }
                }
            }
        };
        let near = near_in.unsplit(near_out);
        match ending {
            Ending::Reset => {}
            Ending::Half | Ending::Silent | Ending::Close => near.linger(None),
        }
    }

    /// The fault that holds here: the first one that was met.
    fn fault(&self) -> Option<Fault> {
        let mut struck = self.struck.lock().unwrap();
        if struck.is_none() {
            let mut armed = self.state.armed.lock().unwrap();
            let fault = match *armed {
                Armed::No => return None,
                Armed::Once(fault) => {
                    *armed = Armed::No;
                    fault
                }
                Armed::Always(fault) => fault,
            };
            self.state.struck.fetch_add(1, Ordering::SeqCst);
            *struck = Some(fault);
        }
        *struck
    }

    /// To the target, until whoever connected ends that direction.
    async fn up(&self, from: &mut ReadHalf<End>, to: &mut WriteHalf<End>) {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match from.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n) => {
                    if self.fault() != Some(Fault::BlackHole)
                        && to.write_all(&buffer[..n]).await.is_err()
                    {
                        // It goes nowhere, and whoever sends it hears so from the other direction.
                        while from.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
                        break;
                    }
                }
            }
        }
        let _ = to.shutdown().await;
    }

    /// From the target.
    async fn down(&self, from: &mut ReadHalf<End>, to: &mut WriteHalf<End>) -> Ending {
        let mut buffer = vec![0; 16 * 1024];
        // Since the fault.
        let mut passed = 0;
        loop {
            let n = from.read(&mut buffer).await.unwrap_or(0);
            let fault = self.fault();
            if n == 0 {
                return match fault {
                    Some(Fault::BlackHole | Fault::Silence(_)) => Ending::Silent,
                    _ => {
                        let _ = to.shutdown().await;
                        Ending::Half
                    }
                };
            }
            let (most, then) = match fault {
                None => (n, None),
                Some(Fault::Delay(by)) => {
                    tokio::time::sleep(by).await;
                    (n, None)
                }
                Some(Fault::Drip(pause)) => {
                    for byte in &buffer[..n] {
                        tokio::time::sleep(pause).await;
                        if to.write_all(&[*byte]).await.is_err() {
                            return Ending::Close;
                        }
                    }
                    (0, None)
                }
                Some(Fault::BlackHole) => (0, None),
                Some(Fault::Garbage) => {
                    let _ = to.write_all(b"\x01\xff no protocol \r\n\r\n\0\0\0").await;
                    (0, Some(Ending::Close))
                }
                Some(Fault::Cut(after)) => (after - passed, Some(Ending::Close)),
                Some(Fault::Reset(after)) => (after - passed, Some(Ending::Reset)),
                Some(Fault::HalfClose(after)) => (after - passed, Some(Ending::Half)),
                Some(Fault::Silence(after)) => (after - passed, Some(Ending::Silent)),
            };
            let now = most.min(n);
            if to.write_all(&buffer[..now]).await.is_err() {
                return Ending::Close;
            }
            if fault.is_some() {
                passed += now;
            }
            if let Some(ending) = then
                && (now == most)
            {
                match ending {
                    Ending::Silent | Ending::Reset => {}
                    Ending::Half | Ending::Close => {
                        let _ = to.shutdown().await;
                    }
                }
                return ending;
            }
        }
    }
}
