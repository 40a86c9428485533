//! A policy as a value that another process can read, exactly: what the admin listener tells of the one in force, and what
//! `keygate diff` makes a [`Policy`] of again.
//!
//! It holds all that decides about access and where it leads: scopes, management paths, and each route with its host, path,
//! methods, access, exceptions, upstream and prefixes. A policy that was told and read compares as equal to itself. Limits,
//! timeouts and headers are not in it, nor the upstreams' addresses or anything secret.

use super::{
    Access, AccessSpec, Exceptions, HostPattern, ManagementSpec, Methods, Place, Policy,
    PolicySpec, Route, RouteSettings, RouteSpec, Target,
};
use crate::key::{ScopeName, Scopes};
use http::Method;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// The form that is written and read here; another one is refused.
const VERSION: u32 = 1;

/// A policy, to be told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyForm {
    version: u32,
    /// Each scope with all others that it includes.
    scopes: BTreeMap<String, Vec<String>>,
    management: Option<ManagementForm>,
    routes: Vec<RouteForm>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct ManagementForm {
    scope: String,
    /// Each with its place.
    paths: Vec<(String, PlaceForm)>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct RouteForm {
    name: String,
    host: Option<String>,
    path: String,
    /// None: the usual seven.
    methods: Option<Vec<String>>,
    access: AccessForm,
    allow: Vec<String>,
    upstream: String,
    strip_prefix: Option<String>,
    add_prefix: Option<String>,
    place: PlaceForm,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AccessForm {
    Public,
    Deny,
    /// Keys of any of these.
    Scopes(Vec<String>),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct PlaceForm {
    file: String,
    line: usize,
    column: usize,
}

/// Why a form is no policy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormError {
    #[error("the policy is told in form {0}, this keygate reads form {VERSION}")]
    Version(u32),
    #[error("`{}` cannot be read", .0.escape_debug())]
    Unreadable(String),
    #[error("it is no policy: {0}")]
    Policy(String),
}

impl PolicyForm {
    /// Tells a policy; the upstreams' names are by position.
    pub fn of(policy: &Policy, upstreams: &[&str]) -> Self {
        let scopes = policy.scopes().names().map(|scope| {
            let included = policy.scopes().included_by(scope);
            let included = included.filter(|other| *other != scope);
            (
                scope.to_string(),
                included.map(ScopeName::to_string).collect(),
            )
        });
        let routes = policy.routes().iter();
        let routes = routes.filter_map(|route| match route.target {
            Target::Management(_) => None,
            Target::Upstream(at) => Some(RouteForm::of(route, upstreams.get(at).unwrap_or(&""))),
        });
        PolicyForm {
            version: VERSION,
            scopes: scopes.collect(),
            management: ManagementForm::of(policy),
            routes: routes.collect(),
        }
    }

    /// The policy that was told, and its upstreams' names by position.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(self) -> Result<(Policy, Vec<String>), FormError> {
        if self.version != VERSION {
            return Err(FormError::Version(self.version));
        }
        let mut declared = BTreeMap::new();
        for (scope, included) in &self.scopes {
            let included = included.iter().map(|name| scope_name(name));
            declared.insert(scope_name(scope)?, included.collect::<Result<_, _>>()?);
        }
        let scopes =
            Scopes::new(&declared).map_err(|error| FormError::Policy(error.to_string()))?;
        let names: BTreeSet<&String> = self.routes.iter().map(|route| &route.upstream).collect();
        let upstreams: Vec<String> = names.into_iter().cloned().collect();
        let routes = self.routes.into_iter().map(|route| {
            let upstream = upstreams.binary_search(&route.upstream);
            route.read(upstream.expect("each route's upstream was put into the list"))
        });
        let spec = PolicySpec {
            scopes,
            routes: routes.collect::<Result<_, _>>()?,
            management: self.management.map(ManagementForm::read).transpose()?,
        };
        match Policy::compile(spec) {
            Ok(policy) => Ok((policy, upstreams)),
            Err(errors) => Err(FormError::Policy(
                errors.first().map(ToString::to_string).unwrap_or_default(),
            )),
        }
    }
}

impl ManagementForm {
    fn of(policy: &Policy) -> Option<Self> {
        let first = policy.management.first()?;
        let (_, route) = first.on_path.taken().next()?;
        let route = &policy.routes[route.index()];
        let Access::Scopes(closed) = &route.access else {
            return None;
        };
        // The one scope of which these are all that include it: inclusion has no circles.
        let scope = closed.iter().find(|scope| {
            let including: BTreeSet<&ScopeName> = policy.scopes().including(scope).collect();
            including.into_iter().eq(closed.iter())
        })?;
        let paths = policy.management.iter().filter_map(|owned| {
            let (_, route) = owned.on_path.taken().next()?;
            let place = &policy.routes[route.index()].place;
            Some((owned.path.to_string(), PlaceForm::of(place)))
        });
        Some(ManagementForm {
            scope: scope.to_string(),
            paths: paths.collect(),
        })
    }

    fn read(self) -> Result<ManagementSpec, FormError> {
        let paths = self.paths.into_iter();
        let paths: Vec<_> = paths.map(|(path, place)| (path, place.read())).collect();
        let Some((_, place)) = paths.first().cloned() else {
            return Err(FormError::Policy("a management API without a path".into()));
        };
        Ok(ManagementSpec {
            scope: (scope_name(&self.scope)?, place),
            paths,
        })
    }
}

impl RouteForm {
    fn of(route: &Route, upstream: &str) -> Self {
        let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        RouteForm {
            name: route.name.to_string(),
            host: route.host.as_ref().map(HostPattern::to_string),
            path: route.template.to_string(),
            methods: match &route.methods {
                Methods::Default => None,
                Methods::Named(methods) => Some(methods.iter().map(Method::to_string).collect()),
            },
            access: match &route.access {
                Access::Public => AccessForm::Public,
                Access::Deny => AccessForm::Deny,
                Access::Scopes(scopes) => {
                    AccessForm::Scopes(scopes.iter().map(ScopeName::to_string).collect())
                }
            },
            allow: route.allow.names().map(str::to_owned).collect(),
            upstream: upstream.to_owned(),
            strip_prefix: text(&route.settings.strip_prefix),
            add_prefix: text(&route.settings.add_prefix),
            place: PlaceForm::of(&route.place),
        }
    }

    fn read(self, upstream: usize) -> Result<RouteSpec, FormError> {
        let place = self.place.read();
        let host = self
            .host
            .map(|host| HostPattern::parse(&host).map_err(|_| FormError::Unreadable(host.clone())));
        let methods = match self.methods {
            None => Methods::Default,
            Some(names) => {
                let methods = names.into_iter().map(|name| {
                    Method::from_bytes(name.as_bytes()).map_err(|_| FormError::Unreadable(name))
                });
                Methods::Named(methods.collect::<Result<_, _>>()?)
            }
        };
        let access = match self.access {
            AccessForm::Public => AccessSpec::Public,
            AccessForm::Deny => AccessSpec::Deny,
            AccessForm::Scopes(names) => {
                let scopes = names.iter();
                let scopes = scopes.map(|name| Ok((scope_name(name)?, place.clone())));
                AccessSpec::AnyOf(scopes.collect::<Result<_, FormError>>()?)
            }
        };
        let mut allow = Exceptions::NONE;
        for name in self.allow {
            let known = Exceptions::NAMES.iter().find(|(known, _)| *known == name);
            let (_, one) = known.ok_or(FormError::Unreadable(name))?;
            allow = allow.with(*one);
        }
        Ok(RouteSpec {
            paths: vec![(self.path, place.clone())],
            methods,
            host: host.transpose()?,
            access,
            name: Some(self.name.into()),
            upstream,
            allow,
            settings: RouteSettings {
                strip_prefix: self.strip_prefix.map(Arc::from),
                add_prefix: self.add_prefix.map(Arc::from),
                ..RouteSettings::default()
            },
            place,
        })
    }
}

impl PlaceForm {
    fn of(place: &Place) -> Self {
        PlaceForm {
            file: place.file.display().to_string(),
            line: place.line,
            column: place.column,
        }
    }

    /// The bytes are not known; what is told apart by them is told apart by line and column.
    fn read(&self) -> Place {
        let start = self.line.wrapping_shl(20).wrapping_add(self.column);
        Place {
            file: Arc::new(PathBuf::from(&self.file)),
            span: start..start,
            line: self.line,
            column: self.column,
        }
    }
}

fn scope_name(text: &str) -> Result<ScopeName, FormError> {
    ScopeName::parse(text).map_err(|_| FormError::Unreadable(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::diff::{Side, compare};
    use super::super::testing::{compile_with_management, routes};
    use super::*;

    #[test]
    fn a_policy_that_was_told_and_read_is_the_same() {
        let mut specs = routes(&[
            ("GET PURGE", "/a/{x} /b", "auth"),
            ("", "/{*rest}", "full other"),
            ("", "/open", "public"),
            ("POST", "/shut", "deny"),
            ("", "/%66iles/{*name}", "full"),
        ]);
        specs[1].host = Some(HostPattern::parse("*.example.com").unwrap());
        specs[2].upstream = 1;
        specs[2].settings.strip_prefix = Some("/open".into());
        specs[3].name = Some("closed for now".into());
        specs[4].allow = Exceptions::ENCODED_SLASH.with(Exceptions::SEMICOLON);
        let policy = compile_with_management(&["/apikeys", "/v3/apikeys"], specs).unwrap();
        let names = ["one", "two"];
        let form = PolicyForm::of(&policy, &names);
        let text = serde_json::to_string(&form).unwrap();
        let told: PolicyForm = serde_json::from_str(&text).unwrap();
        assert_eq!(told, form);
        let (read, upstreams) = told.read().unwrap();
        assert_eq!(upstreams, names);
        let difference = compare(
            Side {
                policy: &policy,
                upstreams: &names,
            },
            Side {
                policy: &read,
                upstreams: &names,
            },
        );
        assert_eq!(difference.unwrap().regions, []);
        assert_eq!(read.routes().len(), policy.routes().len());
        for (one, other) in policy.routes().iter().zip(read.routes()) {
            let of = |r: &Route| (r.name.clone(), r.host.clone(), r.methods.clone());
            assert_eq!(of(one), of(other));
            assert_eq!(one.access, other.access);
            assert_eq!((one.place.line, one.allow), (other.place.line, other.allow));
        }
    }

    #[test]
    fn what_is_no_policy_is_an_error_that_says_so() {
        let policy = compile_with_management(&["/keys"], routes(&[("", "/a", "auth")])).unwrap();
        let good = serde_json::to_value(PolicyForm::of(&policy, &["one"])).unwrap();
        for (pointer, value, expected) in [
            ("/version", serde_json::json!(2), "form 2"),
            ("/routes/0/path", serde_json::json!("a"), "starts with `/`"),
            ("/routes/0/host", serde_json::json!("a b"), "`a b`"),
            ("/routes/0/allow", serde_json::json!(["all"]), "`all`"),
            ("/routes/0/methods", serde_json::json!([" "]), "` `"),
            ("/management/scope", serde_json::json!("-"), "`-`"),
            (
                "/scopes",
                serde_json::json!({ "auth": ["nobody"] }),
                "not declared",
            ),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            let form: PolicyForm = serde_json::from_value(bad).unwrap();
            let error = form.read().err().unwrap().to_string();
            assert!(error.contains(expected), "{pointer}: {error}");
        }
    }
}
