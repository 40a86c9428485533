//! The management paths of a policy: which may be one, which routes they bring along, and what stands in their way.

use super::{Compiler, exception_names};
use crate::key::ScopeName;
use crate::policy::management::{KEY_SEGMENT, Owned};
use crate::policy::methods::ByMethod;
use crate::policy::pattern::{Pattern, Segment};
use crate::policy::problem::PolicyError;
use crate::policy::{
    Access, Exceptions, ManagementOp, ManagementSpec, Methods, Place, Route, RouteIdentity,
    RouteIndex, RouteSettings, Target,
};
use http::Method;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Compiler<'_> {
    pub(super) fn add_management(&mut self, spec: &ManagementSpec) {
        if spec.paths.is_empty() {
            return;
        }
        let scopes: BTreeSet<ScopeName> = self
            .including(&spec.scope.0, &spec.scope.1)
            .into_iter()
            .collect();
        let access = Access::Scopes(scopes.into_iter().collect());
        for (text, place) in &spec.paths {
            let segments = match management_path(text) {
                Ok(segments) => segments,
                Err(why) => {
                    self.errors.push(PolicyError::ManagementPath {
                        path: text.clone(),
                        why,
                        place: place.clone(),
                    });
                    continue;
                }
            };
            for (other, other_text, other_place) in &self.owned {
                let (path, above, place, other) = if segments.starts_with(other) {
                    (text, other_text, place, other_place)
                } else if other.starts_with(&segments) {
                    (other_text, text, other_place, place)
                } else {
                    continue;
                };
                self.errors.push(PolicyError::ManagementOverlap {
                    path: path.clone(),
                    above: above.clone(),
                    place: place.clone(),
                    other: other.clone(),
                });
            }
            let path = literal_path(&segments);
            self.owned.push((segments, text.clone(), place.clone()));
            let on_key = format!("{path}{KEY_SEGMENT}");
            let owned = Owned {
                on_path: self.operations(
                    &path,
                    &[
                        (Method::POST, ManagementOp::Create),
                        (Method::GET, ManagementOp::List),
                    ],
                    (&access, place),
                ),
                on_key: self.operations(
                    &on_key,
                    &[
                        (Method::GET, ManagementOp::Get),
                        (Method::PUT, ManagementOp::Update),
                        (Method::DELETE, ManagementOp::Delete),
                    ],
                    (&access, place),
                ),
                path: path.into_boxed_str(),
            };
            self.management.push(owned);
        }
    }

    fn operations(
        &mut self,
        template: &str,
        operations: &[(Method, ManagementOp)],
        (access, place): (&Access, &Place),
    ) -> ByMethod {
        let routes: Vec<(RouteIndex, Methods)> = operations
            .iter()
            .map(|(method, operation)| {
                let methods = Methods::Named(vec![method.clone()]);
                let route = Route {
                    name: Arc::from(format!("{method} {template}")),
                    template: Arc::from(template),
                    host: None,
                    methods: methods.clone(),
                    access: access.clone(),
                    target: Target::Management(*operation),
                    allow: Exceptions::NONE,
                    settings: RouteSettings::default(),
                    identity: RouteIdentity::of(None, &methods, [template]),
                    place: place.clone(),
                };
                (self.push(route), methods)
            })
            .collect();
        let routes: Vec<_> = routes
            .iter()
            .map(|(route, methods)| (*route, methods))
            .collect();
        // Each operation has a method of its own.
        ByMethod::settle(&routes).0
    }
}

/// Reads a management path: literals only, canonical without exceptions, not `/`, no slash at its end.
fn management_path(text: &str) -> Result<Vec<Segment>, String> {
    let pattern = Pattern::parse(text).map_err(|error| error.to_string())?;
    if pattern
        .segments
        .iter()
        .any(|segment| !matches!(segment, Segment::Literal(_)))
    {
        return Err("it takes no params; expected segments of text, such as `/apikeys`".to_owned());
    }
    if matches!(pattern.segments.last(), Some(Segment::Literal(last)) if last.is_empty()) {
        return Err("it ends in `/`, and owns what is below it anyway".to_owned());
    }
    if !pattern.needs.is_none() {
        return Err(format!(
            "its text needs {}",
            exception_names(pattern.needs, Exceptions::NONE)
        ));
    }
    Ok(pattern.segments)
}

fn literal_path(segments: &[Segment]) -> String {
    let mut path = String::new();
    for segment in segments {
        if let Segment::Literal(text) = segment {
            path.push('/');
            path.push_str(text);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{
        assert_errors, compile_with_management, errors, place, route, scope, scopes,
    };
    use super::super::super::{HostPattern, ManagementSpec, Policy, PolicySpec};

    #[test]
    fn a_management_path_is_plain_text_and_none_is_below_another() {
        for (paths, expected) in [
            (
                &["/"][..],
                "`/` cannot be a management path: it ends in `/`, and owns what is below it anyway",
            ),
            (
                &["/a/"],
                "`/a/` cannot be a management path: it ends in `/`, and owns what is below it anyway",
            ),
            (
                &["/{a}"],
                "`/{a}` cannot be a management path: it takes no params; expected segments of text, such as `/apikeys`",
            ),
            (
                &["a"],
                "`a` cannot be a management path: a path starts with `/`",
            ),
            (
                &["/a%2fb"],
                "`/a%2fb` cannot be a management path: its text needs `encoded-slash`",
            ),
            (
                &["/a", "/a"],
                "the management path `/a` is at or below the management path `/a`",
            ),
            (
                &["/a", "/a/b"],
                "the management path `/a/b` is at or below the management path `/a`",
            ),
            (
                &["/a/b", "/a"],
                "the management path `/a/b` is at or below the management path `/a`",
            ),
        ] {
            let got = errors(compile_with_management(paths, Vec::new()));
            assert_eq!(got.len(), 1, "{paths:?}");
            assert_eq!(got[0].2, expected, "{paths:?}");
        }
        let undeclared = Policy::compile(PolicySpec {
            scopes: scopes(),
            routes: Vec::new(),
            management: Some(ManagementSpec {
                paths: vec![("/a".to_owned(), place(1))],
                scope: (scope("Admn"), place(2)),
            }),
        });
        assert_errors(
            undeclared,
            &[(
                2,
                0,
                "the scope `Admn` is not declared; did you mean `admin`?",
            )],
        );
    }

    #[test]
    fn a_route_at_or_below_a_management_path_is_an_error_for_any_host_and_a_broader_one_is_fine() {
        for (path, fine) in [
            ("/v3/apikeys", false),
            ("/v3/apikeys/", false),
            ("/v3/apikeys/{*rest}", false),
            ("/v3/%61pikeys/x", false),
            ("/v3/{*rest}", true),
            ("/v3/{x}", true),
            ("/v3/{x}/y", true),
            ("/v3/apikeysx", true),
            ("/v3/Apikeys", true),
            ("/v3", true),
        ] {
            let mut spec = route("", path, "full");
            spec.host = Some(HostPattern::parse("a.example").unwrap());
            let got = compile_with_management(&["/v3/apikeys"], vec![spec]);
            assert_eq!(got.is_ok(), fine, "{path}");
        }
    }
}
