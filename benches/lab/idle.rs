//! What a contender holds at rest, and for each connection that is kept without a request.

use crate::contenders::Site;
use crate::contenders::upstream::ECHO;
use crate::process::{Memory, Process};
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub const CONNECTIONS: usize = 3_000;

/// So much of change, in KiB, is none.
const STILL: u64 = 64;

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AtRest {
    /// Resident, before the first request.
    pub resident_kib: u64,
    /// The growth of what is no file's, by connection. The kernel's buffers are not in it.
    pub connection_kib: f64,
}

/// Measures one that has just been started.
pub fn at_rest(process: &Process, site: &Site) -> Result<AtRest> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let before = settled(process).await?;
        let mut held = Vec::with_capacity(CONNECTIONS);
        let request = format!(
            "GET {ECHO} HTTP/1.1\r\nHost: a\r\napikey: {}\r\n\r\n",
            site.keys.full[0]
        );
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(("127.0.0.1", site.port)).await?;
            stream.write_all(request.as_bytes()).await?;
            answered(&mut stream).await?;
            held.push(stream);
        }
        let after = settled(process).await?;
        for stream in &held {
            let open = stream.try_read(&mut [0]);
            let waits =
                matches!(&open, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
            ensure!(waits, "an idle connection did not stay: {open:?}");
        }
        let grown = after.anonymous.saturating_sub(before.anonymous);
        Ok(AtRest {
            resident_kib: before.resident,
            connection_kib: grown as f64 / CONNECTIONS as f64,
        })
    })
}

/// Reads one answer: a success with its whole body.
async fn answered(stream: &mut TcpStream) -> Result<()> {
    let mut buffer = vec![0; 8192];
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        ensure!(count > 0, "an answer ended early");
        filled += count;
        let text = String::from_utf8_lossy(&buffer[..filled]).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        ensure!(
            head.starts_with("http/1.1 200"),
            "an answer begins {head:?}"
        );
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("a length")?.parse()?;
        if body.len() >= length {
            return Ok(());
        }
    }
}

/// Its memory, once it stays the same for two seconds: connections come to rest, and the allocator gives back.
async fn settled(process: &Process) -> Result<Memory> {
    let (mut last, mut same) = (process.memory_kib()?, 0);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = process.memory_kib()?;
        same = if now.anonymous.abs_diff(last.anonymous) < STILL {
            same + 1
        } else {
            0
        };
        last = now;
        if same == 10 {
            return Ok(last);
        }
    }
    bail!("its memory does not come to rest")
}
