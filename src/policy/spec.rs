//! What a policy is made of, before it is compiled: scopes, routes and management paths as they were written.
//!
//! These are the shapes that `config/` fills. Every text that can be wrong comes with the [`Place`] it stands at, so that
//! [`super::PolicyError`] can point there.

use super::{Exceptions, HostPattern, Methods, Place, RouteSettings};
use crate::key::{ScopeName, Scopes};
use http::{Method, StatusCode};
use std::sync::Arc;

/// A policy as it was written.
#[derive(Clone, Debug)]
pub struct PolicySpec {
    /// The declared scopes, closed over inclusion.
    pub scopes: Scopes,
    /// `[[routes]]` of all files, in any order.
    pub routes: Vec<RouteSpec>,
    /// `None`: the management API is off.
    pub management: Option<ManagementSpec>,
}

/// One `[[routes]]` table.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// The path patterns as written, with the file's prefixes put before them; never empty.
    pub paths: Vec<(String, Place)>,
    /// The methods it takes.
    pub methods: Methods,
    /// The host it is for; `None`: any.
    pub host: Option<HostPattern>,
    /// Who may use it.
    pub access: AccessSpec,
    /// `name`, where written.
    pub name: Option<Arc<str>>,
    /// The position of its upstream in the snapshot's list.
    pub upstream: usize,
    /// Which second readings of a path its upstream needs.
    pub allow: Exceptions,
    /// What else it sets.
    pub settings: RouteSettings,
    /// Where the table begins.
    pub place: Place,
}

/// `scope` or `access` of a route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccessSpec {
    /// `access = "public"`.
    Public,
    /// `access = "deny"`.
    Deny,
    /// `scope`: a key of any of these scopes, or of one that includes one of them. Each with the place of its name.
    AnyOf(Vec<(ScopeName, Place)>),
}

/// `[management]`.
#[derive(Clone, Debug)]
pub struct ManagementSpec {
    /// The paths, each with its place. None: the API is off.
    pub paths: Vec<(String, Place)>,
    /// The scope that every operation asks for, with its place.
    pub scope: (ScopeName, Place),
}

/// One `[[expect]]` table: a test of the policy.
///
/// Each request to each host is a case; what is expected holds for every one.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// What is tested, in the operator's words.
    pub name: Option<Box<str>>,
    /// Method and target as written: a path, with a query or without. Never empty.
    pub requests: Vec<(Method, String)>,
    /// The hosts, without a port. None: one that no route names.
    pub hosts: Vec<String>,
    /// Who must be let through.
    pub allow: Vec<Who>,
    /// Who must be refused.
    pub deny: Vec<Who>,
    /// The status that those who are refused get.
    pub status: Option<StatusCode>,
    /// The route that takes the request, by its name.
    pub route: Option<Box<str>>,
    /// The upstream that gets what is let through: its position in the snapshot's list, and its name.
    pub upstream: Option<(usize, Box<str>)>,
    /// Where the table begins.
    pub place: Place,
}

/// Someone who makes an expected request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Who {
    /// A key of this scope.
    Scope(ScopeName),
    /// `"anyone"`: no key.
    Anyone,
}
