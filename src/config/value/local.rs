//! Where the gateway's own things are: what it listens on and who may connect there, the networks that it trusts, its store.

use super::{Unreadable, unreadable};
use crate::config::settings::Network;
use std::net::{IpAddr, SocketAddr};

/// `10.0.0.0/8`, `fd00::/8`, or one address.
pub(in crate::config) fn network(text: &str) -> Result<Network, Unreadable> {
    const EXPECTED: &str = "expected a network such as \"10.0.0.0/8\" or an address";
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return unreadable(EXPECTED);
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix_len = match length.map(str::parse::<u8>) {
        None => bits,
        Some(Ok(length)) if length <= bits => length,
        Some(_) => return unreadable(format!("expected a prefix length from 0 to {bits}")),
    };
    // Read strictly: `10.0.0.1/8` may be meant as one address or as all of 10.
    let host_bits = match address {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => u128::from(ip),
    };
    let beyond = host_bits
        .checked_shl(u32::from(prefix_len))
        .unwrap_or_default();
    if beyond != 0 {
        return unreadable(format!(
            "the address has bits beyond the first {prefix_len}; expected the network's first address"
        ));
    }
    Ok(Network {
        address,
        prefix_len,
    })
}

/// Where to listen, as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::config) enum Written {
    Tcp(SocketAddr),
    /// A path, relative or not.
    Unix(String),
    /// The name of sockets that systemd passes.
    Systemd(String),
}

/// `127.0.0.1:8080`, `[::1]:0`, `unix:run/keygate.sock`.
pub(in crate::config) fn listen(text: &str) -> Result<Written, Unreadable> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => unreadable("expected a path after \"unix:\""),
            _ if path.starts_with('@') => unreadable(
                "a socket without a file has no permissions: expected a path after \"unix:\"",
            ),
            _ if path.ends_with('/') || path.contains('\0') => {
                unreadable("expected the path of a file after \"unix:\"")
            }
            path => Ok(Written::Unix(path.to_owned())),
        };
    }
    if let Some(name) = text.strip_prefix("systemd:") {
        // What systemd lets be a name.
        let is_name = (1..=255).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        return if is_name {
            Ok(Written::Systemd(name.to_owned()))
        } else {
            unreadable(
                "expected the name of a socket after \"systemd:\", as `FileDescriptorName=` has it",
            )
        };
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(Written::Tcp(address)),
        Err(_) => unreadable(
            "expected an address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\", or \"unix:PATH\", or \"systemd:NAME\"",
        ),
    }
}

/// `0660`: who may connect to a Unix socket.
pub(in crate::config) fn mode(text: &str) -> Result<u32, Unreadable> {
    const EXPECTED: &str =
        "expected the permissions of a file in octal, such as \"0660\": 6 and 7 let in, 0 does not";
    let octal = text.len() <= 4 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => unreadable(EXPECTED),
    }
}

/// `sqlite:PATH`: the path.
pub(in crate::config) fn store(text: &str) -> Result<&str, Unreadable> {
    if text.starts_with("postgres:") || text.starts_with("postgresql:") {
        return unreadable("PostgreSQL is not supported yet; expected \"sqlite:PATH\"");
    }
    match text.strip_prefix("sqlite:") {
        Some("" | "//") => unreadable("expected the path of a file after \"sqlite:\""),
        Some(path) if path.contains(['?', '#']) => {
            unreadable("the path of a store has no `?` and no `#`: it takes no options")
        }
        Some(":memory:" | "//:memory:") => {
            unreadable("a store is a file: expected the path of one after \"sqlite:\"")
        }
        Some(path) => Ok(path.strip_prefix("//").unwrap_or(path)),
        None => unreadable("expected \"sqlite:PATH\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (text, good) in [
            ("10.0.0.0/8", true),
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("10.1.2.3", true),
            ("fd00::/8", true),
            ("::1", true),
            ("::1/128", true),
            ("10.0.0.1/8", false),
            ("10.0.0.0/33", false),
            ("fd00::1/8", false),
            ("10.0.0/8", false),
            ("10.0.0.0/", false),
            ("localhost", false),
        ] {
            assert_eq!(network(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn modes() {
        for (text, bits) in [
            ("0660", Some(0o660)),
            ("600", Some(0o600)),
            ("0777", Some(0o777)),
            ("1777", None),
            ("0688", None),
            ("+660", None),
            ("", None),
            ("00660", None),
        ] {
            assert_eq!(mode(text).ok(), bits, "{text}");
        }
    }

    #[test]
    fn a_message_never_repeats_a_password() {
        assert!(
            !store("postgres://u:sesame@h/d")
                .unwrap_err()
                .0
                .contains("sesame")
        );
    }

    #[test]
    fn stores_and_listeners() {
        for (text, path) in [
            ("sqlite:data/k.db", Some("data/k.db")),
            ("sqlite:/var/k.db", Some("/var/k.db")),
            ("sqlite:///var/k.db", Some("/var/k.db")),
            ("sqlite:", None),
            ("sqlite::memory:", None),
            ("sqlite:a?mode=ro", None),
            ("postgres://x", None),
            ("data/k.db", None),
        ] {
            assert_eq!(store(text).ok(), path, "{text}");
        }
        for (text, good) in [
            ("127.0.0.1:8080", true),
            ("[::1]:0", true),
            ("localhost:8080", false),
            ("8080", false),
            ("unix:/x", true),
            ("unix:run/keygate.sock", true),
            ("unix:", false),
            ("systemd:http", true),
            ("systemd:", false),
            ("systemd:a:b", false),
            ("unix:@abstract", false),
            ("unix:run/", false),
        ] {
            assert_eq!(listen(text).is_ok(), good, "{text}");
        }
    }
}
