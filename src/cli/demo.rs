//! `keygate demo`: a gateway, an API behind it and two keys, with nothing to prepare and nothing left behind.
//!
//! The chat API starts first, since the gateway's configuration names its address; then the gateway, from a temporary
//! folder; then the two keys are made through the same door as by the management API; then it is said how to call.
//! At SIGTERM or Ctrl-C all of it goes in the reverse order.

use super::chain;
use super::run::{self, Place, RunError};
use crate::config::{Start, StartError};
use crate::demo::{ChatApi, Folder, Talk};
use crate::key::{Actor, ApiKey, Command, KeyName, NewKey, Origin, Reveal, ScopeName, ShownKey};
use crate::keycache::Keys;
use crate::net::Address;
use serde::Serialize;
use std::error::Error;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

/// Run everything on embedded defaults: a chat API in memory, the gateway in front of it, two fresh keys.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Everything is in a temporary folder and gone at the end (SIGTERM or Ctrl-C, exit code 0).

Examples:
  keygate demo
  keygate demo --listen 127.0.0.1:0 --json")]
pub struct DemoArgs {
    /// Where the gateway listens; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Print one line of JSON when ready, and nothing else.
    #[arg(long)]
    json: bool,
}

/// Where everything is, as `--json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ready {
    gateway: String,
    admin: String,
    upstream: String,
    /// The key of scope fullAccess. These two are the demo's to show.
    full_access: String,
    /// The key of scope authOnly.
    auth_only: String,
}

/// Runs the demo until it is told to stop.
pub fn run(args: DemoArgs) -> ExitCode {
    match demo(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref() {
                Some(RunError::Start(StartError::Config(problems))) => say!("{problems}"),
                _ => say!("keygate: the demo did not start: {}", chain(&*error)),
            }
            if is_address_in_use(&*error) {
                say!(
                    "keygate: something listens on {} already; `keygate demo --listen 127.0.0.1:0` takes a free port",
                    args.listen
                );
            }
            ExitCode::FAILURE
        }
    }
}

fn demo(args: &DemoArgs) -> Result<(), Box<dyn Error>> {
    let talk = if args.json {
        Talk::Warnings
    } else {
        Talk::Requests
    };
    let upstream = ChatApi::start((Ipv4Addr::LOCALHOST, 0).into())?;
    let folder = Folder::make(args.listen, upstream.address(), talk)?;
    let config = folder.config();
    let start = Start::decide(&config, None, None).map_err(RunError::from)?;
    let running = run::start(&config, start, Place::Own)?;
    let keys = running.keys();
    let ready = Ready {
        gateway: running.gateway().first().map(place).unwrap_or_default(),
        admin: running.admin().map(place).unwrap_or_default(),
        upstream: url(upstream.address()),
        full_access: new_key(keys, "Rest API Key", "fullAccess")?
            .expose()
            .to_owned(),
        auth_only: new_key(keys, "Auth Key", "authOnly")?.expose().to_owned(),
    };
    let text = if args.json {
        serde_json::to_string(&ready)? + "\n"
    } else {
        guide(&ready, &folder)
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    drop(out);
    running.wait_for_signal_and_drain();
    drop(folder);
    upstream.stop();
    Ok(())
}

/// Makes a key as an operator does, and has it in force.
fn new_key(keys: &Keys, name: &str, scope: &str) -> Result<ApiKey, Box<dyn Error>> {
    let create = Command::Create(NewKey {
        name: KeyName::parse(name)?,
        scope: ScopeName::parse(scope)?,
        enabled: true,
        expires_at: None,
        brought: None,
        if_absent: false,
    });
    let origin = Origin {
        actor: Actor::Operator,
        client: None,
        request_id: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let made = runtime.block_on(keys.execute(create, origin, Reveal::Always));
    match made?.shown {
        ShownKey::Whole(key) => Ok(key),
        ShownKey::Masked(_) => Err("a new key came back masked".into()),
    }
}

/// Where a listener is reached from this machine.
fn place(address: &Address) -> String {
    match address {
        Address::Tcp(address) => url(*address),
        Address::Unix(_) => address.to_string(),
    }
}

/// The URL at which a listener is reached from this machine.
fn url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    format!("http://{address}")
}

/// What is where, and calls to paste.
fn guide(ready: &Ready, folder: &Folder) -> String {
    let Ready {
        gateway,
        admin,
        upstream,
        full_access,
        auth_only,
    } = ready;
    let path = folder.path().display();
    let post = "-X POST -H 'Content-Type: application/json'";
    format!(
        r#"
keygate demo: everything is in memory or in {path}, and gone when this ends.

  gateway   {gateway}
  upstream  {upstream}   a chat API that asks for no key
  admin     {admin}   /healthz /readyz /metrics /status

  Rest API Key   fullAccess   {full_access}
  Auth Key       authOnly     {auth_only}

Calls to paste, in this order:

  # An authOnly key makes users: 200.
  curl -si {post} {gateway}/v3/users -H 'apikey: {auth_only}' -d '{{"uid": "cyclops", "name": "Scott Summers"}}'
  curl -si {post} {gateway}/v3/users -H 'apikey: {auth_only}' -d '{{"uid": "phoenix", "name": "Jean Grey"}}'

  # It does not list them: 403. No key at all: 401.
  curl -si {gateway}/v3/users -H 'apikey: {auth_only}'
  curl -si {gateway}/v3/users

  # A fullAccess key does, and sends a message on behalf of one of them: 200.
  curl -si {gateway}/v3/users -H 'apikey: {full_access}'
  curl -si {post} {gateway}/v3/messages -H 'apikey: {full_access}' -H 'onBehalfOf: cyclops' -d '{{"receiver": "phoenix", "receiverType": "user", "category": "message", "type": "text", "data": {{"text": "Hello"}}}}'

  # What no route opens is refused, whoever asks: 404.
  curl -si {gateway}/v3/whatever -H 'apikey: {full_access}'

  # Keys are managed with a key: 200.
  curl -si {gateway}/apikeys -H 'apikey: {full_access}'
  curl -si {post} {gateway}/apikeys -H 'apikey: {full_access}' -d '{{"name": "My own key", "scope": "authOnly"}}'

Ctrl-C ends it.

"#
    )
}

fn is_address_in_use(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| {
        error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_called_on_loopback() {
        for (address, expected) in [
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://[::1]:80"),
            ("10.0.0.1:80", "http://10.0.0.1:80"),
        ] {
            assert_eq!(url(address.parse().unwrap()), expected);
        }
    }

    #[test]
    fn the_line_of_json_has_the_promised_names_in_order() {
        let text = |s: &str| s.to_owned();
        let ready = Ready {
            gateway: text("g"),
            admin: text("a"),
            upstream: text("u"),
            full_access: text("f"),
            auth_only: text("o"),
        };
        assert_eq!(
            serde_json::to_string(&ready).unwrap(),
            r#"{"gateway":"g","admin":"a","upstream":"u","fullAccess":"f","authOnly":"o"}"#
        );
    }

    #[test]
    fn a_port_in_use_is_recognized_through_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot listen")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::from(io::ErrorKind::AddrInUse));
        assert!(is_address_in_use(&error));
        let other = Outer(io::Error::from(io::ErrorKind::NotFound));
        assert!(!is_address_in_use(&other));
    }
}
