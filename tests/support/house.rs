//! A gateway with an upstream, and a key of each scope: where a test asks who may do what.

use super::{Folder, Gateway, Upstream};

/// A running gateway. A test file gives it its own ways to ask.
pub struct House {
    pub upstream: Upstream,
    pub folder: Folder,
    pub gateway: Gateway,
    /// A key of the scope fullAccess.
    pub full: String,
    /// A key of the scope authOnly.
    pub auth: String,
}

impl House {
    /// A gateway before this upstream: `main` and `routes` are what [`Folder::new`] takes.
    pub fn of(upstream: Upstream, main: &str, routes: &str) -> Self {
        let folder = Folder::new(upstream.address, main, routes);
        let full = folder.new_key("full", "fullAccess");
        let auth = folder.new_key("auth", "authOnly");
        let gateway = folder.start();
        House {
            upstream,
            folder,
            gateway,
            full,
            auth,
        }
    }
}
