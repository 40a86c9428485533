//! TLS by rustls: certificates and keys as they stand in files, and the configurations made of them for both sides.
//!
//! [`ServerTls`] is what clients are met with: several [`Identity`]s chosen by the name that a client asks for, the
//! oldest version that is spoken, whose certificates clients must or may show. [`ClientTls`] is how one upstream is met:
//! whom to believe, as whom to appear, which name its certificate must have. There is no switch that turns verification
//! off. [`Stream`] is a connection in clear text or in TLS; whoever reads and writes it need not know which.
//!
//! What this module is not for: reading files and saying where a faulty one is named (`config/`), or when to begin a
//! handshake and how long it may take (`server/`, `upstream/`).
//!
//! Both sides speak TLS 1.2 and 1.3 with the suites of Mozilla's intermediate profile: AEAD ciphers and ephemeral keys
//! only, which is also all that rustls has.
//!
//! One value walked through: the bytes of `cert.pem` become a [`Chain`], with the names and dates that its first
//! certificate bears; those of `key.pem` a [`PrivateKey`]; [`Identity::new`] takes both if they belong together;
//! [`ServerTls::new`] takes all identities and makes the one `rustls::ServerConfig` that every worker shares.

mod client;
mod identity;
mod server;
mod stream;
mod validity;

pub use client::{Alpn, ClientTls, NotAName, server_name};
pub use identity::{Certificate, Chain, Identity, Mismatch, PemError, PrivateKey, Roots};
pub use rustls::pki_types::ServerName;
pub use server::{ClientAuth, Clients, MinVersion, ServerSettings, ServerTls, ServerTlsError};
pub use stream::{HandshakeError, Stream, accept};
pub use validity::{Validity, date};

use rustls::crypto::CryptoProvider;
use std::sync::{Arc, LazyLock};

/// What settings came from, as one value: settings with the same print are the same. Secrets have a part in it, so it
/// is never shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Print(pub [u8; 32]);

impl std::fmt::Debug for Print {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Print(…)")
    }
}

/// The cryptography of both sides.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}
