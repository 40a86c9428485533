//! The PROXY protocol: a proxy that forwards a connection says first for whom
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).
//!
//! The header stands before everything else, TLS too. It is taken from the socket to the byte: what is looked at is only
//! peeked at, and of it only the header is read. Anything that is not one whole header of an accepted version, in the
//! form that the specification gives, is an error; there is no guessing, since what comes first on such a connection
//! decides who the client is.

use super::Socket;
use ppp::{v1, v2};
use std::io;
use std::net::IpAddr;

/// Which versions of the header a listener takes. One of them must come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyProtocol {
    Any,
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// For whom a proxy forwards a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relayed {
    /// For this address.
    For(IpAddr),
    /// For itself: it asks whether we live.
    Itself,
    /// For somebody whose address it does not know.
    Someone,
}

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum ProxyHeaderError {
    #[error("the connection does not begin with a PROXY header")]
    Absent,
    #[error("the PROXY header is longer than {MOST} bytes")]
    TooLong,
    #[error("the PROXY header is not in the form of the specification")]
    Malformed,
    #[error("the connection ended in the midst of the PROXY header")]
    Broken,
    #[error("the connection failed before the end of the PROXY header")]
    Io(#[from] io::Error),
}

/// Longest header: addresses and what proxies add to them (a client certificate's name, a unique id, a note of a cloud).
const MOST: usize = 4096;
/// Longest header of version 1, its end of line included.
const MOST_V1: usize = 107;
/// The part of a version 2 header that says how long the rest is.
const FIXED_V2: usize = 16;

/// Takes the header from the socket, and nothing after it.
///
/// # Errors
/// When what comes is not a header of these versions.
pub async fn read_proxy_header(
    socket: &Socket,
    versions: ProxyProtocol,
) -> Result<Relayed, ProxyHeaderError> {
    let mut header = Vec::new();
    loop {
        let judged = socket
            .when_readable(|socket| {
                let before = header.len();
                if socket.peek(&mut header, MOST)? == 0 {
                    return Ok(Err(ProxyHeaderError::Broken));
                }
                let judged = judge(&header, versions);
                if let Ok(Some((length, _))) = judged {
                    header.truncate(length);
                }
                // Without an end in it, all of it belongs to the header.
                socket.skip(header.len() - before)?;
                Ok(judged)
            })
            .await??;
        match judged {
            Some((_, relayed)) => return Ok(relayed),
            None if header.len() >= MOST => return Err(ProxyHeaderError::TooLong),
            None => {}
        }
    }
}

/// The header that these bytes begin with, and its length; `None`: not all of it is here.
fn judge(
    bytes: &[u8],
    versions: ProxyProtocol,
) -> Result<Option<(usize, Relayed)>, ProxyHeaderError> {
    let begins = |prefix: &[u8]| {
        let both = prefix.len().min(bytes.len());
        prefix[..both] == bytes[..both]
    };
    let (takes_v1, takes_v2) = match versions {
        ProxyProtocol::Any => (true, true),
        ProxyProtocol::V1 => (true, false),
        ProxyProtocol::V2 => (false, true),
    };
    if takes_v2 && begins(v2::PROTOCOL_PREFIX) {
        judge_v2(bytes)
    } else if takes_v1 && begins(b"PROXY ") {
        judge_v1(bytes)
    } else {
        Err(ProxyHeaderError::Absent)
    }
}

fn judge_v1(bytes: &[u8]) -> Result<Option<(usize, Relayed)>, ProxyHeaderError> {
    let looked_at = &bytes[..bytes.len().min(MOST_V1)];
    let Some(end) = looked_at.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() >= MOST_V1 {
            Err(ProxyHeaderError::TooLong)
        } else {
            Ok(None)
        };
    };
    let line = &bytes[..=end];
    let text = line
        .strip_suffix(b"\r\n")
        .ok_or(ProxyHeaderError::Malformed)?;
    // The parser takes a port with a sign, which the specification does not have.
    if text.iter().any(|b| !matches!(b, b' '..=b'~') || *b == b'+') {
        return Err(ProxyHeaderError::Malformed);
    }
    let header = v1::Header::try_from(line).map_err(|_| ProxyHeaderError::Malformed)?;
    let relayed = match header.addresses {
        v1::Addresses::Unknown => Relayed::Someone,
        v1::Addresses::Tcp4(both) => Relayed::For(both.source_address.into()),
        v1::Addresses::Tcp6(both) => Relayed::For(both.source_address.into()),
    };
    Ok(Some((line.len(), relayed)))
}

fn judge_v2(bytes: &[u8]) -> Result<Option<(usize, Relayed)>, ProxyHeaderError> {
    let Some(fixed) = bytes.get(..FIXED_V2) else {
        return Ok(None);
    };
    let length = FIXED_V2 + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > MOST {
        return Err(ProxyHeaderError::TooLong);
    }
    let Some(whole) = bytes.get(..length) else {
        return Ok(None);
    };
    let header = v2::Header::try_from(whole).map_err(|_| ProxyHeaderError::Malformed)?;
    let relayed = match (header.command, header.protocol, header.addresses) {
        (v2::Command::Local, _, _) => Relayed::Itself,
        (v2::Command::Proxy, v2::Protocol::Datagram, _) => return Err(ProxyHeaderError::Malformed),
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv4(both)) => {
            Relayed::For(both.source_address.into())
        }
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv6(both)) => {
            Relayed::For(both.source_address.into())
        }
        // Of a process on the proxy's machine, and of a transport that is not told, nothing is known that we could use.
        (v2::Command::Proxy, _, _) => Relayed::Someone,
    };
    Ok(Some((length, relayed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A header of version 2.
    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = v2::PROTOCOL_PREFIX.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0xC0, 0x01, 0x01, 0xBB];

    fn whole(bytes: &[u8], versions: ProxyProtocol) -> Option<Relayed> {
        let (length, relayed) = judge(bytes, versions).ok()??;
        assert_eq!(length, bytes.len());
        Some(relayed)
    }

    #[test]
    fn headers_say_for_whom() {
        let v4 = Relayed::For([192, 0, 2, 7].into());
        let v6: IpAddr = "2001:db8::7".parse().unwrap();
        let mut six = v6_bytes(v6).to_vec();
        six.extend([0; 20]);
        let mut with_more = V4.to_vec();
        with_more.extend([0x05, 0, 2, b'i', b'd']);
        for (header, expected) in [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 49153 443\r\n".to_vec(),
                Some(v4),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 49153 443\r\n".to_vec(),
                Some(Relayed::For(v6)),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Some(Relayed::Someone)),
            (
                b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
                Some(Relayed::Someone),
            ),
            (v2(0x21, 0x11, &V4), Some(v4)),
            (v2(0x21, 0x11, &with_more), Some(v4)),
            (v2(0x21, 0x21, &six), Some(Relayed::For(v6))),
            (v2(0x20, 0x00, &[]), Some(Relayed::Itself)),
            (v2(0x20, 0x11, &V4), Some(Relayed::Itself)),
            (v2(0x21, 0x00, &[]), Some(Relayed::Someone)),
            (v2(0x21, 0x31, &[0; 216]), Some(Relayed::Someone)),
            // Not in the form of the specification.
            (v2(0x21, 0x12, &V4), None),
            (v2(0x11, 0x11, &V4), None),
            (v2(0x22, 0x11, &V4), None),
            (v2(0x21, 0x41, &V4), None),
            (v2(0x21, 0x11, &V4[..11]), None),
            (v2(0x21, 0x21, &V4), None),
            (v2(0x21, 0x11, &[0; 4081]), None),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 49153 443\n".to_vec(), None),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 +1 443\r\n".to_vec(), None),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 01 443\r\n".to_vec(), None),
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 99999 443\r\n".to_vec(),
                None,
            ),
            (b"PROXY TCP4 192.0.2.7  10.0.0.1 1 443\r\n".to_vec(), None),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 1 443 \r\n".to_vec(), None),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n".to_vec(), None),
            (b"PROXY TCP4 2001:db8::7 ::1 1 443\r\n".to_vec(), None),
            (b"PROXY TCP6 192.0.2.7 10.0.0.1 1 443\r\n".to_vec(), None),
            (b"PROXY TCP4 192.0.2.007 10.0.0.1 1 443\r\n".to_vec(), None),
            (b"PROXY UDP4 192.0.2.7 10.0.0.1 1 443\r\n".to_vec(), None),
            (b"PROXY\tTCP4 192.0.2.7 10.0.0.1 1 443\r\n".to_vec(), None),
            (b"proxy TCP4 192.0.2.7 10.0.0.1 1 443\r\n".to_vec(), None),
            (b"PROXY \r\n".to_vec(), None),
            (b"GET / HTTP/1.1\r\n".to_vec(), None),
            (b"\r\n\r\nGET / HTTP/1.1\r\n".to_vec(), None),
        ] {
            let found = whole(&header, ProxyProtocol::Any);
            let shown = String::from_utf8_lossy(&header);
            assert_eq!(found, expected, "{shown:?}");
        }
        let unending = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat();
        assert!(matches!(
            judge(&unending, ProxyProtocol::Any),
            Err(ProxyHeaderError::TooLong)
        ));
    }

    fn v6_bytes(address: IpAddr) -> [u8; 16] {
        match address {
            IpAddr::V6(v6) => v6.octets(),
            IpAddr::V4(_) => unreachable!("it is one of IPv6"),
        }
    }

    #[test]
    fn a_version_that_was_not_asked_for_is_no_header() {
        let (one, two) = (b"PROXY UNKNOWN\r\n".to_vec(), v2(0x20, 0, &[]));
        for (versions, takes_one, takes_two) in [
            (ProxyProtocol::Any, true, true),
            (ProxyProtocol::V1, true, false),
            (ProxyProtocol::V2, false, true),
        ] {
            assert_eq!(whole(&one, versions).is_some(), takes_one, "{versions:?}");
            assert_eq!(whole(&two, versions).is_some(), takes_two, "{versions:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_judged_does_not_depend_on_what_follows_or_on_how_it_comes(
            address: IpAddr, version_two: bool, after in prop::collection::vec(any::<u8>(), 0..64)
        ) {
            let header = match (address, version_two) {
                (IpAddr::V4(ip), false) => format!("PROXY TCP4 {ip} 127.0.0.1 1 2\r\n").into_bytes(),
                (IpAddr::V6(ip), false) => format!("PROXY TCP6 {ip} ::1 1 2\r\n").into_bytes(),
                (IpAddr::V4(ip), true) => v2(0x21, 0x11, &[&ip.octets()[..], &[0; 8]].concat()),
                (IpAddr::V6(ip), true) => v2(0x21, 0x21, &[&ip.octets()[..], &[0; 20]].concat()),
            };
            for cut in 0..header.len() {
                prop_assert!(matches!(judge(&header[..cut], ProxyProtocol::Any), Ok(None)), "{cut}");
            }
            let all = [header.as_slice(), &after].concat();
            let judged = judge(&all, ProxyProtocol::Any).unwrap();
            prop_assert_eq!(judged, Some((header.len(), Relayed::For(address))));
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..300), version_two: bool) {
            let prefix: &[u8] = if version_two { v2::PROTOCOL_PREFIX } else { b"PROXY TCP4 " };
            let judged = judge(&[prefix, &bytes].concat(), ProxyProtocol::Any);
            if let Ok(Some((length, _))) = judged {
                prop_assert!(length <= prefix.len() + bytes.len());
            }
        }
    }

    #[tokio::test]
    async fn nothing_after_the_header_is_taken() {
        for header in [
            b"PROXY TCP4 192.0.2.7 10.0.0.1 49153 443\r\n".to_vec(),
            v2(0x21, 0x11, &V4),
        ] {
            for cut in [1, 5, 13, header.len() - 1, header.len()] {
                let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
                let mut ours = Socket::Unix(ours);
                let all = [header.as_slice(), b"after"].concat();
                let (first, rest) = all.split_at(cut);
                theirs.write_all(first).await.unwrap();
                let rest = rest.to_vec();
                let (relayed, ()) =
                    tokio::join!(read_proxy_header(&ours, ProxyProtocol::Any), async {
                        tokio::task::yield_now().await;
                        theirs.write_all(&rest).await.unwrap();
                    });
                assert_eq!(relayed.unwrap(), Relayed::For([192, 0, 2, 7].into()));
                drop(theirs);
                let mut after = Vec::new();
                ours.read_to_end(&mut after).await.unwrap();
                assert_eq!(after, b"after", "cut at {cut}");
            }
        }
    }
}
