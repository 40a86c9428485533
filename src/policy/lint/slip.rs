//! `method-slip`: a method that is one letter away from one that everyone knows, as `POTS` is.
//!
//! A route for it is right, and will never see the requests that it was written for.

use super::super::Methods;
use super::{Finding, Lint, Subject};

/// The methods that routes are written for, usual ones first: RFC 9110 and 5789, then those of WebDAV (RFC 4918, 3253, 5323) and
/// of caches. One that stands here is no slip.
const KNOWN: [&str; 20] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "BCOPY",
    "MOVE",
    "BMOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "QUERY",
    "PURGE",
];

pub(super) fn check(subject: Subject<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for route in &subject.spec.routes {
        let Methods::Named(methods) = &route.methods else {
            continue;
        };
        for method in methods {
            let meant = meant(method.as_str());
            let named = |name: &str| methods.iter().any(|method| method.as_str() == name);
            if let Some(meant) = meant.filter(|meant| !named(meant)) {
                let message = format!("the method {method} looks like a slip for {meant}");
                findings.push(
                    Finding::new(Lint::MethodSlip, &route.place, message).help(format!(
                        "write \"{meant}\"; requests with {meant} do not come here"
                    )),
                );
            }
        }
    }
    findings
}

/// The method that was probably meant; `None` for one that is known, or like none.
fn meant(method: &str) -> Option<&'static str> {
    if KNOWN.contains(&method) {
        return None;
    }
    let near = |known: &&&str| strsim::damerau_levenshtein(known, method) == 1;
    KNOWN.iter().find(near).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_letter_makes_a_slip_and_another_word_does_not() {
        for (method, expected) in [
            ("POTS", Some("POST")),
            ("GTE", Some("GET")),
            ("DELET", Some("DELETE")),
            ("OPTION", Some("OPTIONS")),
            ("PATH", Some("PATCH")),
            ("PUTT", Some("PUT")),
            ("POST", None),
            ("LINK", None),
            ("SUBSCRIBE", None),
            ("LIST", None),
        ] {
            assert_eq!(meant(method), expected, "{method}");
        }
    }
}
