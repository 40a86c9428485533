//! (to be written)

mod route;
mod spec;

pub use crate::http::Exceptions;
pub use route::{
    Access, HostPattern, HostPatternError, ManagementOp, Methods, Place, Route, RouteSettings,
    Target,
};
pub use spec::{AccessSpec, Expectation, ManagementSpec, PolicySpec, RouteSpec, Who};

/// A compiled policy.
#[derive(Clone, Debug)]
pub struct Policy {}
