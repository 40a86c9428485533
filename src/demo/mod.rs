//! A small chat API in memory: what stands behind the gateway in `keygate demo`.
//!
//! It has the shape of the CometChat REST API v3, so that a client of that API finds what it expects: users, their auth
//! tokens, block lists and friends, groups with members and bans, messages with threads and reactions, and the
//! conversations that follow from them, under `/v3` and `/v3.0`, in the same envelope and with the same codes. What was
//! created is found, listed, changed and deleted, until the process ends.
//!
//! It asks for no key: that is the gateway's job, and the point of the demo. Nor does it hold users to rules among
//! themselves (anyone may write to any group); it is there to be called, not to be deployed. Of the contract's groups it
//! leaves out roles, permissions, metrics, imports, moderation and notifications: those are 404 `ERR_API_NOT_FOUND`.
//!
//! A request, walked through: `POST /v3/messages` with `onBehalfOf: cyclops` arrives at `server`, which collects the
//! body under a limit and makes a `routes::Call` of it. `routes` reads the path, `input` turns the body into a
//! typed change or a list of what is wrong with it, `state` carries it out or says why not, `shapes` makes JSON of
//! what came out. Only `server` knows sockets, only `state` remembers, and nothing but `server` reads a clock or draws
//! random numbers: they come as `state::Moment`.
//!
//! [`Folder`] holds what else a demo needs: a configuration for a gateway in front of this API, with the sample policy.
//!
//! It stays small: bodies of at most 256 KiB, texts of bounded length, a fixed number of stored things. At that number
//! the oldest messages make room for the next, and anything else is refused as by a full plan of the real service.

mod error;
mod folder;
mod input;
mod routes;
mod server;
mod shapes;
mod state;

pub use folder::{Folder, Talk};
pub use server::ChatApi;
