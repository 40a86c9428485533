//! (to be written)

mod route;

pub use crate::http::Exceptions;
pub use route::{
    Access, HostPattern, HostPatternError, ManagementOp, Methods, Place, Route, RouteSettings,
    Target,
};

/// A compiled policy.
#[derive(Clone, Debug)]
pub struct Policy {}
