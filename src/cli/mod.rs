//! (to be written)

pub mod keys;
