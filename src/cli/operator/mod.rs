//! `keygate reload`, `rollback`, `history` and `shadow`: what an operator asks of a gateway that runs.
//!
//! Where its admin listener is, and which file holds the token, is read from the `[admin]` of its configuration, or said
//! by arguments; nothing else of the configuration is read, since it may be what is broken. Files that nobody has confirmed
//! yet could have the token sent anywhere: to an address that is not this machine's it goes only where an argument says so.

mod client;
pub mod history;
pub mod reload;
pub mod rollback;
pub mod shadow;

pub use client::{AdminAddress, Answer, ClientError, NoAddress};

use super::chain;
use super::check::{Format, refuse};
use crate::admin::Token;
use crate::config::{self, ListenAddress};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Which gateway is asked.
#[derive(clap::Args, Debug)]
pub struct AdminArgs {
    /// The main configuration file of the gateway: its `[admin]` says where it is asked
    #[arg(
        long,
        value_name = "FILE",
        env = "KEYGATE_CONFIG",
        default_value = "keygate.toml"
    )]
    config: PathBuf,
    /// Its admin listener, http://HOST:PORT or unix:PATH [default: `[admin] listen`]
    #[arg(long, value_name = "URL", env = "KEYGATE_ADMIN")]
    admin: Option<AdminAddress>,
    /// The file of the token [default: `[admin] token`]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Prints what a program reads, or what a person does.
pub(super) fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&format!("standard output cannot be written: {error}"), 1),
    }
}

pub(super) fn fail(message: &str, code: u8) -> ExitCode {
    say!("keygate: {message}");
    ExitCode::from(code)
}

impl AdminArgs {
    /// The main configuration file.
    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    /// Has something told that needs the token.
    pub(super) fn get(&self, target: &str) -> Result<(Answer, Value), ExitCode> {
        let (address, token) = self.find(true)?;
        let told = |error: ClientError| fail(&format!("{address}: {}", chain(&error)), 1);
        let answer = address.get(target, token.as_ref()).map_err(told)?;
        let value = answer.json().map_err(told)?;
        Ok((answer, value))
    }

    /// The listener and the token, where they are needed and can be found.
    ///
    /// # Errors
    /// The exit code, when what is wrong was said.
    fn find(&self, needs_token: bool) -> Result<(AdminAddress, Option<Token>), ExitCode> {
        let whole = self.admin.is_some() && (self.token_file.is_some() || !needs_token);
        let admin = match whole {
            true => None,
            false => Some(
                config::load_admin(&self.config)
                    .map_err(|problems| refuse(&self.config, &problems, Format::Text))?,
            ),
        };
        let address = match (&self.admin, admin.as_ref().and_then(|a| a.listen.as_ref())) {
            (Some(address), _) => address.clone(),
            (None, Some(ListenAddress::Tcp(address))) if address.port() != 0 => {
                let address = reachable(*address);
                if needs_token && !address.ip().is_loopback() {
                    let message = format!(
                        "`[admin] listen` is {address}, not this machine alone; the token is sent there with --admin http://{address}"
                    );
                    return Err(fail(&message, 2));
                }
                AdminAddress::Tcp(address.to_string())
            }
            (None, Some(ListenAddress::Unix { path, .. })) => AdminAddress::Unix(path.clone()),
            (None, Some(other)) => {
                let message = format!("`[admin] listen` is {other}; name the address with --admin");
                return Err(fail(&message, 2));
            }
            (None, None) => {
                let message = "the configuration has no admin listener; set `[admin] listen`";
                return Err(fail(message, 2));
            }
        };
        if !needs_token {
            return Ok((address, None));
        }
        let named = admin.and_then(|admin| admin.token);
        let Some(path) = self.token_file.clone().or(named) else {
            let message = "the configuration names no token: with `token = \"secret/admin-token\"` in [admin], `keygate run` makes one";
            return Err(fail(message, 2));
        };
        match Token::read(&path) {
            Ok(token) => Ok((address, Some(token))),
            Err(error) => Err(fail(&chain(&error), 1)),
        }
    }

    /// Has something done, and gives what became of it.
    fn post(&self, target: &str) -> Result<(AdminAddress, Answer, Value), ExitCode> {
        let (address, token) = self.find(true)?;
        let token = token.expect("it was asked for");
        let told = |error: ClientError| fail(&format!("{address}: {}", chain(&error)), 1);
        let answer = address.post(target, &token).map_err(told)?;
        let value = answer.json().map_err(told)?;
        Ok((address.clone(), answer, value))
    }
}

/// Where a listener on all addresses is reached from here.
fn reachable(address: std::net::SocketAddr) -> std::net::SocketAddr {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A target with a query of what is there.
fn target(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    }
}

/// Says what became of a change, and gives its exit code: 0 in force, 1 not done, 2 not valid, 11 not confirmed.
fn done(answer: &Answer, value: &Value, json: bool) -> ExitCode {
    let code = match (answer.status, value["outcome"].as_str()) {
        (200, _) => 0,
        (_, Some("refused")) => 2,
        (_, Some("waiting" | "other-hash")) => 11,
        _ => 1,
    };
    if json {
        let printed = print(&format!("{value:#}\n"));
        return match code {
            0 => printed,
            code => ExitCode::from(code),
        };
    }
    let message = value["message"].as_str().unwrap_or_default();
    match code {
        0 => print(&format!("{message}{}\n", changed(value))),
        code => fail(message, code),
    }
}

/// What the generation in force changed, where that is known already.
fn changed(value: &Value) -> String {
    let last = value["policy"]["history"]
        .as_array()
        .and_then(|all| all.last());
    match last {
        Some(last) if value["outcome"] == "accepted" && last["access"].is_string() => {
            format!("; access is {}", history::access(last))
        }
        _ => String::new(),
    }
}
