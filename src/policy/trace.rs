//! Which routes match a request, and why one of them decides.
//!
//! The walk that finds the route is done to its end, and each route at each end says how it stands to the one that
//! decides: for `GET /v3/users/a` with `/v3/users/{uid}` and `/v3/{*rest}`, the second lost since "`users` is a literal, and
//! here it is `{*rest}`". A tail that a path with a slash at its end is not given to comes last, and says so.

use super::find::{Found, Query};
use super::pattern::{Pattern, Segment};
use super::{Policy, Route, RouteIndex};
use std::sync::Arc;

/// A route that matches host and path, and how it fared.
#[derive(Clone, Debug)]
pub struct Candidate<'p> {
    pub route: &'p Arc<Route>,
    /// Why it does not decide; `None`: it does.
    pub lost: Option<String>,
}

impl Policy {
    /// All routes that match host and path, the most specific first; then those that a slash at the path's end keeps out.
    pub fn candidates(&self, query: Query<'_>) -> Vec<Candidate<'_>> {
        let found = self.find(query);
        let winner = match found {
            Found::Route(index) => Some(index),
            Found::MethodNotAllowed(_) | Found::NotFound => None,
        };
        if self.is_managements(query.path) {
            let route = winner.map(|index| &self.routes[index.index()]);
            return route
                .map(|route| Candidate { route, lost: None })
                .into_iter()
                .collect();
        }
        let mut candidates = Vec::new();
        for end in self.walk(query) {
            let table = self.tree.end(end);
            let taker = table.route(query.method);
            // Who takes the method first.
            let mut routes = table.routes().to_vec();
            routes.sort_by_key(|route| Some(*route) != taker);
            for index in routes {
                let lost = if Some(index) == winner {
                    None
                } else {
                    Some(self.why_lost(index, taker, winner, query))
                };
                candidates.push(Candidate {
                    route: &self.routes[index.index()],
                    lost,
                });
            }
        }
        candidates.extend(self.kept_out(query));
        candidates
    }

    /// The routes whose tails would match, were there none for the path without its last slash.
    fn kept_out<'p>(&'p self, query: Query<'_>) -> Vec<Candidate<'p>> {
        let Some(path) = query.path.strip_suffix('/') else {
            return Vec::new();
        };
        let shorter = self.walk(Query { path, ..query });
        let mut shorter = shorter.flat_map(|end| self.tree.end(end).routes());
        let ends_there = |route: &&RouteIndex| !self.routes[route.index()].template.contains("{*");
        let Some(by) = shorter.find(ends_there) else {
            return Vec::new();
        };
        let by = &self.routes[by.index()];
        let matching: Vec<_> = self.walk(query).collect();
        let kept_out = self.walk(query).with_kept_out();
        kept_out
            .filter(|end| !matching.contains(end))
            .flat_map(|end| self.tree.end(end).routes())
            .map(|index| Candidate {
                route: &self.routes[index.index()],
                lost: Some(format!(
                    "a path that ends in `/` is not given to a tail, since `{}` is there without the slash",
                    by.name
                )),
            })
            .collect()
    }

    fn why_lost(
        &self,
        index: RouteIndex,
        taker: Option<RouteIndex>,
        winner: Option<RouteIndex>,
        query: Query<'_>,
    ) -> String {
        let method = query.method;
        match (taker, winner) {
            (None, _) => format!("it does not take {method}"),
            (Some(taker), _) if taker != index => match self.routes[index.index()].methods {
                super::Methods::Default => {
                    let taker = &self.routes[taker.index()].name;
                    format!("`{taker}`, of the same path, takes {method}")
                }
                super::Methods::Named(_) => format!("it does not take {method}"),
            },
            (Some(_), None) => String::new(),
            (Some(_), Some(winner)) => {
                less_specific(&self.routes[winner.index()], &self.routes[index.index()])
            }
        }
    }
}

/// Where the second is less specific than the first; both match one request.
fn less_specific(winner: &Route, loser: &Route) -> String {
    if winner.host != loser.host {
        let host = |route: &Route| match &route.host {
            Some(host) => format!("`{host}`"),
            None => "any host".to_owned(),
        };
        return format!(
            "its host, {}, is less specific than {}",
            host(loser),
            host(winner)
        );
    }
    let (Ok(first), Ok(second)) = (
        Pattern::parse(&winner.template),
        Pattern::parse(&loser.template),
    ) else {
        return "it is less specific".to_owned();
    };
    let pairs = first.segments.iter().zip(&second.segments);
    for (number, (first, second)) in pairs.enumerate() {
        let rank = |segment: &Segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Param(_) => 1,
            Segment::Tail(_) => 2,
        };
        if rank(first) != rank(second) {
            return format!(
                "its segment {} is {}, less specific than {}",
                number + 1,
                shown(second),
                shown(first)
            );
        }
    }
    "it is less specific".to_owned()
}

fn shown(segment: &Segment) -> String {
    match segment {
        Segment::Literal(text) => format!("the literal `{text}`"),
        Segment::Param(name) => format!("`{{{name}}}`"),
        Segment::Tail(name) => format!("`{{*{name}}}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::HostPattern;
    use super::super::testing::{compile, routes};
    use super::*;

    #[test]
    fn each_route_that_matches_says_why_it_lost() {
        let mut specs = routes(&[
            ("GET", "/v3/users/{uid}", "full"),
            ("", "/v3/users/{id}", "full"),
            ("PUT", "/v3/{x}/a", "full"),
            ("", "/v3/{*rest}", "full"),
            ("", "/{*rest}", "full"),
            ("GET", "/{*rest}", "full"),
        ]);
        specs[5].host = HostPattern::parse("*.example.com").ok();
        let policy = compile(specs).unwrap();
        let told = |method: http::Method, host, path| {
            let query = Query {
                method: &method,
                host: Some(host),
                path,
            };
            let all = policy.candidates(query).into_iter();
            all.map(|c| (c.route.place.line, c.lost.unwrap_or_default()))
                .collect::<Vec<_>>()
        };
        let said = |rows: &[(usize, &str)]| {
            rows.iter()
                .map(|(line, text)| (*line, (*text).to_owned()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            told(http::Method::GET, "a", "/v3/users/a"),
            said(&[
                (1, ""),
                (2, "`GET /v3/users/{uid}`, of the same path, takes GET"),
                (3, "it does not take GET"),
                (
                    4,
                    "its segment 2 is `{*rest}`, less specific than the literal `users`"
                ),
                (
                    5,
                    "its segment 1 is `{*rest}`, less specific than the literal `v3`"
                ),
            ])
        );
        assert_eq!(
            told(http::Method::GET, "x.example.com", "/v3/other"),
            said(&[
                (6, ""),
                (
                    4,
                    "its host, any host, is less specific than `*.example.com`"
                ),
                (
                    5,
                    "its host, any host, is less specific than `*.example.com`"
                ),
            ])
        );
        let kept_out = "a path that ends in `/` is not given to a tail, since `GET /v3/users/{uid}` is there without the slash";
        assert_eq!(
            told(http::Method::POST, "a", "/v3/users/a/"),
            said(&[(4, kept_out), (5, kept_out)])
        );
        assert_eq!(
            told("PURGE".parse().unwrap(), "a", "/v3/users/a"),
            said(&[
                (1, "it does not take PURGE"),
                (2, "it does not take PURGE"),
                (3, "it does not take PURGE"),
                (4, "it does not take PURGE"),
                (5, "it does not take PURGE"),
            ])
        );
    }
}
