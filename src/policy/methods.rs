//! The routes of one host and path: which of them takes a method.
//!
//! A route that names a method stands before one that names none, and a route that names GET takes HEAD too unless
//! another of the same host and path names HEAD. All of that is settled here, when the policy is compiled: at request
//! time the answer is one slot of a table. (A HEAD goes where the GET goes even beside a route that names no method:
//! they ask for the same thing.)

use super::{Methods, RouteIndex};
use http::Method;

/// The methods of a route that names none, in the order of the table's slots.
pub(super) const DEFAULT: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];
const GET: usize = 0;
const HEAD: usize = 1;

fn slot(method: &Method) -> Option<usize> {
    Some(match *method {
        Method::GET => GET,
        Method::HEAD => HEAD,
        Method::POST => 2,
        Method::PUT => 3,
        Method::PATCH => 4,
        Method::DELETE => 5,
        Method::OPTIONS => 6,
        _ => return None,
    })
}

/// Which route of one host and path takes which method.
#[derive(Clone, Debug, Default)]
pub(super) struct ByMethod {
    usual: [Option<RouteIndex>; DEFAULT.len()],
    others: Vec<(Method, RouteIndex)>,
    /// All routes of this host and path, as they were given.
    routes: Vec<RouteIndex>,
}

/// What is wrong with the routes of one host and path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum MethodClash {
    /// Both take these methods (empty: both name none).
    Same {
        first: RouteIndex,
        second: RouteIndex,
        methods: Vec<Method>,
    },
    /// Every method of the route that names none is taken by these.
    NothingLeft {
        route: RouteIndex,
        takers: Vec<RouteIndex>,
    },
}

impl ByMethod {
    /// Settles which of these routes takes which method. With clashes, the first of two keeps what both want.
    pub fn settle(routes: &[(RouteIndex, &Methods)]) -> (Self, Vec<MethodClash>) {
        let mut table = ByMethod {
            routes: routes.iter().map(|(route, _)| *route).collect(),
            ..ByMethod::default()
        };
        let mut clashes = Vec::new();
        for (route, methods) in routes {
            if let Methods::Named(methods) = methods {
                table.name(*route, methods, &mut clashes);
            }
        }
        if table.usual[HEAD].is_none() {
            table.usual[HEAD] = table.usual[GET];
        }
        table.fill(routes, &mut clashes);
        (table, clashes)
    }

    fn name(&mut self, route: RouteIndex, methods: &[Method], clashes: &mut Vec<MethodClash>) {
        for method in methods {
            match self.route(method) {
                // A method that is written twice is written once.
                Some(taken) if taken == route => {}
                Some(first) => {
                    let both = clashes.iter_mut().find_map(|clash| match clash {
                        MethodClash::Same {
                            first: f,
                            second,
                            methods,
                        } if (*f, *second) == (first, route) => Some(methods),
                        _ => None,
                    });
                    match both {
                        Some(methods) => methods.push(method.clone()),
                        None => {
                            let methods = vec![method.clone()];
                            clashes.push(MethodClash::Same {
                                first,
                                second: route,
                                methods,
                            });
                        }
                    }
                }
                None => match slot(method) {
                    Some(slot) => self.usual[slot] = Some(route),
                    None => self.others.push((method.clone(), route)),
                },
            }
        }
    }

    /// Gives the route that names no method what is left.
    fn fill(&mut self, routes: &[(RouteIndex, &Methods)], clashes: &mut Vec<MethodClash>) {
        let mut unnamed = routes
            .iter()
            .filter(|(_, m)| matches!(m, Methods::Default))
            .map(|(route, _)| *route);
        let Some(first) = unnamed.next() else { return };
        for second in unnamed {
            clashes.push(MethodClash::Same {
                first,
                second,
                methods: Vec::new(),
            });
        }
        if self.usual.iter().all(Option::is_some) {
            let mut takers: Vec<RouteIndex> = self.usual.iter().flatten().copied().collect();
            takers.sort_unstable();
            takers.dedup();
            clashes.push(MethodClash::NothingLeft {
                route: first,
                takers,
            });
        }
        for slot in &mut self.usual {
            slot.get_or_insert(first);
        }
    }

    /// The route that takes a method.
    pub fn route(&self, method: &Method) -> Option<RouteIndex> {
        match slot(method) {
            Some(slot) => self.usual[slot],
            None => self
                .others
                .iter()
                .find(|(other, _)| other == method)
                .map(|(_, route)| *route),
        }
    }

    /// Every method that some route here takes.
    pub fn taken(&self) -> impl Iterator<Item = (&Method, RouteIndex)> {
        let usual = DEFAULT.iter().zip(&self.usual);
        let usual = usual.filter_map(|(method, route)| Some((method, (*route)?)));
        usual.chain(self.others.iter().map(|(method, route)| (method, *route)))
    }

    /// All routes of this host and path.
    pub fn routes(&self) -> &[RouteIndex] {
        &self.routes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn methods(text: &str) -> Methods {
        match text {
            "" => Methods::Default,
            named => Methods::Named(named.split(' ').map(|m| m.parse().unwrap()).collect()),
        }
    }

    fn settle(routes: &[&str]) -> (ByMethod, Vec<MethodClash>) {
        let routes: Vec<Methods> = routes.iter().map(|text| methods(text)).collect();
        let routes: Vec<_> = routes
            .iter()
            .enumerate()
            .map(|(i, m)| (RouteIndex(i as u32), m))
            .collect();
        ByMethod::settle(&routes)
    }

    #[test]
    fn a_named_method_stands_before_none_and_get_brings_head() {
        // Routes of one host and path, a method, the route that takes it.
        for (routes, method, expected) in [
            (&["GET", ""][..], "GET", Some(0)),
            (&["", "GET"], "GET", Some(1)),
            (&["", "GET"], "HEAD", Some(1)),
            (&["", "GET"], "POST", Some(0)),
            (&["", "HEAD"], "HEAD", Some(1)),
            (&["", "HEAD"], "GET", Some(0)),
            (&["GET"], "HEAD", Some(0)),
            (&["GET", "HEAD"], "HEAD", Some(1)),
            (&["GET"], "POST", None),
            (&["POST"], "HEAD", None),
            (&["HEAD"], "GET", None),
            (&[""], "OPTIONS", Some(0)),
            (&[""], "PROPFIND", None),
            (&["", "PROPFIND"], "PROPFIND", Some(1)),
            (&["PROPFIND"], "propfind", None),
            (&["GET GET"], "GET", Some(0)),
        ] {
            let (table, clashes) = settle(routes);
            let got = table.route(&method.parse().unwrap()).map(|route| route.0);
            assert_eq!(got, expected, "{method} of {routes:?}");
            assert_eq!(clashes, [], "{routes:?}");
        }
    }

    #[test]
    fn two_routes_for_the_same_method_clash() {
        let same = |first, second, methods: &str| MethodClash::Same {
            first: RouteIndex(first),
            second: RouteIndex(second),
            methods: methods
                .split_whitespace()
                .map(|m| m.parse().unwrap())
                .collect(),
        };
        let nothing_left = |route, takers: &[u32]| MethodClash::NothingLeft {
            route: RouteIndex(route),
            takers: takers.iter().copied().map(RouteIndex).collect(),
        };
        for (routes, expected) in [
            (
                &["GET POST", "PUT POST GET"][..],
                vec![same(0, 1, "POST GET")],
            ),
            (&["", ""], vec![same(0, 1, "")]),
            (&["X", "X"], vec![same(0, 1, "X")]),
            (&["HEAD", "GET", "HEAD"], vec![same(0, 2, "HEAD")]),
            (
                &["GET POST PUT", "", "PATCH DELETE OPTIONS"],
                vec![nothing_left(1, &[0, 2])],
            ),
        ] {
            assert_eq!(settle(routes).1, expected, "{routes:?}");
        }
    }
}
