//! Addresses of upstreams' names from a file: the format of `/etc/hosts`, an address and then its names in each line.
//!
//! A name that stands in the file is asked of nobody else. It is what an operator writes where no DNS tells of a server
//! (Docker calls it `extra_hosts`), and what a test writes to move one.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Names with their addresses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hosts(BTreeMap<Box<str>, Vec<IpAddr>>);

/// A line that is not an address with names.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {what}; expected an address and names, such as \"10.0.0.7 chat.internal\"")]
pub(super) struct HostsError {
    line: usize,
    what: &'static str,
}

impl Hosts {
    /// Reads a file of lines; what follows a `#` is a comment.
    pub(super) fn parse(text: &str) -> Result<Self, HostsError> {
        let mut hosts = Hosts::default();
        for (number, line) in (1..).zip(text.lines()) {
            let wrong = |what| HostsError { line: number, what };
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(address) = words.next() else {
                continue;
            };
            let address = address
                .parse()
                .map_err(|_| wrong("it does not begin with an address"))?;
            let mut names = words.peekable();
            if names.peek().is_none() {
                return Err(wrong("there is no name in it"));
            }
            for name in names {
                if !super::value::is_host_name(name) {
                    return Err(wrong("there is something in it that is no host's name"));
                }
                let known = hosts.0.entry(name.to_ascii_lowercase().into()).or_default();
                if !known.contains(&address) {
                    known.push(address);
                }
            }
        }
        Ok(hosts)
    }

    /// The addresses of a name in lower case, in the order of the file; `None` where it does not stand there.
    pub fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_addresses_of_its_lines() {
        let text = "# ours\n10.0.0.1 Chat.internal chat\n\n::1\tchat # and this\n10.0.0.1 chat\n";
        let hosts = Hosts::parse(text).unwrap();
        let of = |name: &str| {
            let found = hosts.addresses(name)?;
            Some(found.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        for (name, expected) in [
            ("chat", Some(&["10.0.0.1", "::1"][..])),
            ("chat.internal", Some(&["10.0.0.1"])),
            ("ours", None),
        ] {
            let expected = expected.map(|all| all.iter().map(|a| (*a).to_owned()).collect());
            assert_eq!(of(name), expected, "{name}");
        }
    }

    #[test]
    fn a_line_that_is_something_else_is_named() {
        for (text, expected) in [
            (
                "\nchat 10.0.0.1",
                "line 2: it does not begin with an address",
            ),
            ("10.0.0.1", "line 1: there is no name in it"),
            ("10.0.0.1 # chat", "line 1: there is no name in it"),
            (
                "10.0.0.0/8 chat",
                "line 1: it does not begin with an address",
            ),
            (
                "::1 http://chat",
                "line 1: there is something in it that is no host's name",
            ),
        ] {
            let error = Hosts::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }
}
