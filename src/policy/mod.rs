//! (to be written)

mod route;

pub use route::{
    Access, Exceptions, HostPattern, HostPatternError, ManagementOp, Methods, Place, Route,
    RouteSettings, Target,
};

/// A compiled policy.
#[derive(Clone, Debug)]
pub struct Policy {}
