//! The chat API on a socket: one thread, one connection a task, one request at a time in the state.
//!
//! `ChatApi::start("127.0.0.1:0")` answers with the address that it took once the socket listens, so whoever starts it
//! may call at once. Dropping the value stops it.

use super::error::ChatError;
use super::input::Query;
use super::routes::{self, Call, Reply};
use super::state::{Chat, Limits, Moment};
use crate::clock::Timestamp;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::LocalSet;

/// Most bytes of a body; well above the largest message.
const BODY_BYTES: usize = 256 * 1024;
/// Connections past this many wait until one closes.
const CONNECTIONS: usize = 2048;

/// A running chat API.
pub struct ChatApi {
    address: SocketAddr,
    /// Dropped or sent to: the thread ends.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ChatApi {
    /// Serves an empty chat on `listen`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be listened on, or there is no thread to be had.
    pub fn start(listen: SocketAddr) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(listen))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("demo-chat-api".to_owned())
            .spawn(move || {
                let tasks = LocalSet::new();
                tasks.block_on(&runtime, async {
                    tokio::select! {
                        () = serve(listener) => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(ChatApi {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops at once, whatever is in flight.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for ChatApi {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only ends with an error if it panicked, and then it has said so.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener) {
    let chat = Rc::new(RefCell::new(Chat::new(Limits::default())));
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let chat = Rc::clone(&chat);
                tokio::task::spawn_local(async move {
                    connection(stream, chat).await;
                    drop(permit);
                });
            }
            // Out of descriptors, say: let the others go on and try again.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream, chat: Rc<RefCell<Chat>>) {
    // Without it answers are only slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let chat = Rc::clone(&chat);
        async move { Ok::<_, Infallible>(respond(&chat, request).await) }
    });
    // What a client does wrong on a connection concerns that connection only.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(chat: &RefCell<Chat>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let answer = match read_body(&head.method, body).await {
        Ok(body) => routes::answer(&mut chat.borrow_mut(), &call(&head, body)),
        Err(refused) => Err(refused),
    };
    match answer {
        Ok(Reply { data, meta }) => {
            let mut envelope = json!({"data": data});
            if let Some(meta) = meta {
                envelope["meta"] = meta;
            }
            response(StatusCode::OK, &envelope)
        }
        Err(error) => response(error.kind().0, &json!({"error": error.object()})),
    }
}

fn response(status: StatusCode, envelope: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(envelope.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn call(head: &request::Parts, body: Map<String, Value>) -> Call {
    let text = |name: &str| {
        let value = head.headers.get(name).and_then(|v| v.to_str().ok());
        value.filter(|v| !v.is_empty()).map(str::to_owned)
    };
    Call {
        method: head.method.clone(),
        path: head.uri.path().to_owned(),
        query: Query::parse(head.uri.query().unwrap_or_default()),
        on_behalf_of: text("onbehalfof"),
        auth_token: text("authtoken"),
        body,
        at: this_moment(),
    }
}

fn this_moment() -> Moment {
    let mut random = [0; 16];
    SystemRandom::new()
        .fill(&mut random)
        .expect("the system's random generator works");
    Moment {
        now: Timestamp::now(),
        random: u128::from_ne_bytes(random),
    }
}

/// The object in a body. None, or the empty list that some clients send, counts as an empty object; what comes with a
/// GET is not looked at. A body that is somewhat too large is still read to its end, so that its sender hears of it.
async fn read_body(method: &Method, mut body: Incoming) -> Result<Map<String, Value>, ChatError> {
    let mut kept = Vec::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        // A client that breaks off in the middle reads no answer.
        let frame = frame.map_err(|_| ChatError::NotJson)?;
        let data = frame.into_data().unwrap_or_default();
        seen += data.len();
        if seen <= BODY_BYTES {
            kept.extend_from_slice(&data);
        } else if seen > 16 * BODY_BYTES {
            break;
        }
    }
    if seen > BODY_BYTES {
        return Err(ChatError::TooLarge);
    }
    if kept.is_empty() || matches!(*method, Method::GET | Method::HEAD) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&kept) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(Value::Array(items)) if items.is_empty() => Ok(Map::new()),
        _ => Err(ChatError::NotJson),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};

    fn exchange(address: SocketAddr, request: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        (
            status.expect("a status"),
            serde_json::from_str(body).unwrap_or_default(),
        )
    }

    fn post(address: SocketAddr, path: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        exchange(
            address,
            &format!(
                "POST {path} HTTP/1.1\r\nHost: chat\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
        )
    }

    fn get(address: SocketAddr, path: &str) -> (u16, Value) {
        exchange(
            address,
            &format!("GET {path} HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n"),
        )
    }

    fn start() -> ChatApi {
        ChatApi::start((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
    }

    #[test]
    fn a_user_made_over_a_socket_is_found_on_another_connection() {
        let api = start();
        let body = r#"{"uid": "Cyclops", "name": "Scott", "withAuthToken": true}"#;
        let (status, made) = post(api.address(), "/v3/users", body);
        assert_eq!((status, &made["data"]["uid"]), (200, &json!("cyclops")));
        assert!(made["data"]["authToken"].is_string());
        let (status, found) = get(api.address(), "/v3.0/users/cyclops");
        assert_eq!((status, &found["data"]["name"]), (200, &json!("Scott")));
    }

    #[test]
    fn bodies_that_are_no_object_or_too_large_are_refused_with_an_envelope() {
        let api = start();
        for (body, expected) in [
            ("{".to_owned(), 400),
            ("[1]".to_owned(), 400),
            ("\"text\"".to_owned(), 400),
            (" ".repeat(BODY_BYTES + 1), 413),
        ] {
            let (status, answer) = post(api.address(), "/v3/users", &body);
            assert_eq!(status, expected, "{} bytes", body.len());
            assert_eq!(answer["error"]["code"], "ERR_BAD_REQUEST");
        }
        let (status, answer) = post(api.address(), "/v3/users", "[]");
        assert_eq!(status, 400, "an empty list is an empty object");
        assert_eq!(
            answer["error"]["details"]["uid"][0],
            "The uid field is required."
        );
    }

    #[test]
    fn after_stop_nothing_listens_and_each_start_is_empty() {
        let api = start();
        let address = api.address();
        post(address, "/v3/users", r#"{"uid": "a", "name": "A"}"#);
        api.stop();
        assert!(TcpStream::connect(address).is_err());
        assert_eq!(get(start().address(), "/v3/users/a").0, 404);
    }
}
