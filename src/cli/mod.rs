//! (to be written)

pub mod check;
pub mod init;
pub mod keys;
