//! What is asked for: a method, a target, and how often.

use crate::key::ScopeName;
use http::Method;
use http::uri::PathAndQuery;
use std::str::FromStr;

/// The largest body of a request.
const MOST_BODY_BYTES: u64 = 1 << 30;

/// Requests of one kind, as `--route` has them.
#[derive(Clone, PartialEq, Debug)]
pub struct LoadRoute {
    pub method: Method,
    /// The target up to its parameter, in whose place a number is sent; all of it where there is none.
    pub before: String,
    /// The parameter as it was written, `{uid}`; empty where there is none.
    pub parameter: String,
    /// The target after the parameter, where there is one.
    pub after: Option<String>,
    /// How often, in proportion to the other routes' weights.
    pub weight: f64,
    /// Who may, where no policy says so.
    pub access: RouteAccess,
    /// Bytes of the request's body.
    pub body_bytes: usize,
    /// The number is below this.
    pub numbers: u32,
}

/// Who may, by the words of a route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteAccess {
    /// Every key that is in force.
    AnyKey,
    /// Whoever asks.
    Public,
    /// Keys of these scopes.
    Scopes(Vec<ScopeName>),
}

/// Why a route cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteError {
    #[error("expected a method and a target, such as `GET /v3/users/{{uid}} weight=3`")]
    Incomplete,
    #[error("`{0}` is no method")]
    Method(String),
    #[error(
        "the target begins with `/`, is made of visible ASCII characters that may stand in one, and has at most one parameter such as {{uid}}"
    )]
    Target,
    #[error("`{0}`: expected public, weight=NUMBER, scope=NAME[,NAME…], body=SIZE or n=COUNT")]
    Word(String),
}

impl LoadRoute {
    /// A `GET` of this target, by every key.
    ///
    /// # Errors
    /// When it is no target.
    pub fn get(target: &str) -> Result<Self, RouteError> {
        format!("GET {target}").parse()
    }

    /// The target with this number in place of its parameter.
    pub fn target(&self, number: u32) -> String {
        match &self.after {
            None => self.before.clone(),
            Some(after) => format!("{}{number}{after}", self.before),
        }
    }
}

/// As it was written.
impl std::fmt::Display for LoadRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.before)?;
        match &self.after {
            Some(after) => write!(f, "{}{after}", self.parameter),
            None => Ok(()),
        }
    }
}

impl FromStr for LoadRoute {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let mut words = text.split_ascii_whitespace();
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(RouteError::Incomplete);
        };
        let method: Method = (method.parse()).map_err(|_| RouteError::Method(method.to_owned()))?;
        if !target.starts_with('/') || !target.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(RouteError::Target);
        }
        let (before, parameter, after) = match at_parameter(target) {
            Some((before, parameter, after)) => (before, parameter, Some(after)),
            None => (target, "", None),
        };
        if after.is_some_and(|after| at_parameter(after).is_some()) {
            return Err(RouteError::Target);
        }
        let mut route = LoadRoute {
            method,
            before: before.to_owned(),
            parameter: parameter.to_owned(),
            after: after.map(str::to_owned),
            weight: 1.0,
            access: RouteAccess::AnyKey,
            body_bytes: 0,
            numbers: 1_000_000,
        };
        let target = route.target(0);
        // What is no target would not be sent as it was written, or not at all over HTTP/2.
        if (target.parse::<PathAndQuery>()).map_or(true, |read| read.as_str() != target) {
            return Err(RouteError::Target);
        }
        for word in words {
            route
                .word(word)
                .ok_or_else(|| RouteError::Word(word.to_owned()))?;
        }
        Ok(route)
    }
}

/// What is before the first parameter, written as a policy's paths have them, the parameter, and what is after it.
fn at_parameter(target: &str) -> Option<(&str, &str, &str)> {
    target.match_indices('{').find_map(|(start, _)| {
        let end = start + 1 + target[start + 1..].find('}')?;
        let name = &target[start + 1..end];
        let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        is_name.then(|| (&target[..start], &target[start..=end], &target[end + 1..]))
    })
}

impl LoadRoute {
    fn word(&mut self, word: &str) -> Option<()> {
        if word == "public" {
            self.access = RouteAccess::Public;
            return Some(());
        }
        let (name, value) = word.split_once('=')?;
        match name {
            "weight" => {
                let weight = value.parse::<f64>().ok();
                self.weight = weight.filter(|weight| *weight > 0.0 && weight.is_finite())?;
            }
            "scope" => {
                let names = value.split(',').map(|name| ScopeName::parse(name).ok());
                self.access = RouteAccess::Scopes(names.collect::<Option<Vec<_>>>()?);
            }
            "body" => self.body_bytes = size(value)?,
            "n" => self.numbers = value.parse().ok().filter(|count| *count > 0)?,
            _ => return None,
        }
        Some(())
    }
}

/// Reads `512`, `10KiB`, `1MiB`.
pub fn size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "KB" => 1_000,
        "MB" => 1_000_000,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(factor)?;
    usize::try_from(bytes)
        .ok()
        .filter(|_| bytes <= MOST_BODY_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_with_all_its_words() {
        let route: LoadRoute = "POST /v3/users/{n}/x?y=1 weight=2.5 scope=a,b body=1KiB n=10"
            .parse()
            .unwrap();
        assert_eq!(route.to_string(), "POST /v3/users/{n}/x?y=1");
        assert_eq!(route.target(7), "/v3/users/7/x?y=1");
        assert_eq!(
            (route.weight, route.body_bytes, route.numbers),
            (2.5, 1024, 10)
        );
        let scopes = ["a", "b"].map(|name| ScopeName::parse(name).unwrap());
        assert_eq!(route.access, RouteAccess::Scopes(scopes.to_vec()));
        let public: LoadRoute = "GET / public".parse().unwrap();
        assert_eq!((public.access, public.after), (RouteAccess::Public, None));
    }

    #[test]
    fn what_is_no_route_is_refused() {
        for text in [
            "",
            "GET",
            "G(T /",
            "GET users",
            "GET /ä",
            "GET /{n}/{n}",
            "GET /{group}/{uid}",
            "GET /a#b",
            "GET /<a>",
            "GET / weight=0",
            "GET / weight=x",
            "GET / scope=",
            "GET / scope=9",
            "GET / body=1GB",
            "GET / body=9999MiB",
            "GET / n=0",
            "GET / fast",
        ] {
            assert!(text.parse::<LoadRoute>().is_err(), "{text}");
        }
    }
}
