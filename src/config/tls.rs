//! The fields of TLS: `tls`, `tls_client_auth` and `tls_min_version` of `[server]`, and `tls` of an upstream.
//!
//! What they name is read here, so that a certificate that cannot be used is a problem of the configuration, at the field
//! that names its file, and never one of a connection.

use super::fields::{Desk, Item, Table};
use super::files::resolve;
use super::problem::Problem;
use super::secret::{SecretReader, Secrets};
use super::settings::{Scheme, UpstreamServer};
use super::value::Unreadable;
use crate::clock::Timestamp;
use crate::policy::Place;
use crate::tls::{
    Chain, ClientAuth, ClientTls, Clients, Identity, MinVersion, Print, PrivateKey, Roots,
    ServerSettings, ServerTls, ServerTlsError, date, server_name,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Words of `server.tls_min_version`.
pub(super) const MIN_VERSIONS: [(&str, MinVersion); 2] =
    [("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];

/// Words of `server.tls_client_auth.mode`.
pub(super) const CLIENT_AUTH: [(&str, ClientAuth); 2] = [
    ("optional", ClientAuth::Optional),
    ("required", ClientAuth::Required),
];

/// A reading of files, and what they held.
struct Files<'r, 'd> {
    secrets: &'r mut SecretReader<'d>,
    print: blake3::Hasher,
}

impl<'r, 'd> Files<'r, 'd> {
    fn new(secrets: &'r mut SecretReader<'d>) -> Self {
        Files {
            secrets,
            print: blake3::Hasher::new(),
        }
    }

    /// Adds a value to what the settings come from, so that no two lists of values give the same print.
    fn note(&mut self, bytes: &[u8]) {
        self.print.update(&(bytes.len() as u64).to_le_bytes());
        self.print.update(bytes);
    }

    fn print(&self) -> Print {
        Print(*self.print.finalize().as_bytes())
    }

    /// The certificates of the file that a field names.
    fn chain(&mut self, field: &Item<'_>, desk: &mut Desk) -> Option<(PathBuf, Chain)> {
        let path = self.path(field, desk)?;
        let read = self.secrets.certificates(&path);
        let pem = noted(field, desk, read)?;
        self.note(&pem);
        let chain = noted(field, desk, Chain::from_pem(&pem).map_err(in_file(&path)))?;
        if let Some(validity) = chain.validity() {
            let now = Timestamp::now();
            let warn = |text: String| Problem::warning(field.place(), text);
            if validity.not_after < now {
                let when = date(validity.not_after);
                desk.report(warn(format!("the certificate has expired on {when}: it is refused until its file holds a new one")));
            } else if validity.not_before > now {
                let when = date(validity.not_before);
                desk.report(warn(format!(
                    "the certificate holds only from {when} on: it is refused until then"
                )));
            }
        }
        Some((path, chain))
    }

    /// The private key of the file that a field names.
    fn key(&mut self, field: &Item<'_>, desk: &mut Desk) -> Option<PrivateKey> {
        let path = self.path(field, desk)?;
        let read = self.secrets.key(&path);
        let pem = noted(field, desk, read)?;
        self.note(&pem);
        noted(
            field,
            desk,
            PrivateKey::from_pem(&pem).map_err(in_file(&path)),
        )
    }

    /// The root certificates of the file that a field names.
    fn roots(&mut self, field: &Item<'_>, desk: &mut Desk) -> Option<(PathBuf, Roots)> {
        let path = self.path(field, desk)?;
        let read = self.secrets.certificates(&path);
        let pem = noted(field, desk, read)?;
        let roots = noted(field, desk, Roots::from_pem(&pem).map_err(in_file(&path)))?;
        self.note(&roots.print());
        Some((path, roots))
    }

    /// A certificate and its key.
    fn identity(&mut self, cert: &Item<'_>, key: &Item<'_>, desk: &mut Desk) -> Option<Identity> {
        let chain = self.chain(cert, desk);
        let private = self.key(key, desk);
        let (file, chain) = chain?;
        match Identity::new(file, chain, private?) {
            Ok(identity) => Some(identity),
            Err(error) => {
                let problem = Problem::error(key.place(), format!("`{}`: {error}", key.name))
                    .related(cert.place(), "the certificate is named here");
                desk.report(problem);
                None
            }
        }
    }

    /// The file that a field names; `None` also where such files are not read.
    fn path(&self, field: &Item<'_>, desk: &mut Desk) -> Option<PathBuf> {
        let folder = self.secrets.folder;
        let path = field.parse(desk, "the path of a file", |text| {
            if text.is_empty() || text.contains('\0') {
                Err(Unreadable("expected the path of a file".to_owned()))
            } else {
                Ok(resolve(folder, text))
            }
        })?;
        match self.secrets.secrets {
            Secrets::Required => Some(path),
            Secrets::Skipped => None,
        }
    }
}

/// The fields of a certificate's file and of its key's.
fn cert_and_key<'a>(table: &mut Table<'a>) -> (Option<Item<'a>>, Option<Item<'a>>) {
    let (cert, key) = (table.field("cert"), table.field("key"));
    if let Some(key) = &key {
        // Someone will write the key itself here.
        key.hide();
    }
    (cert, key)
}

/// The value, or `None` with the error at the field.
fn noted<T, E: std::fmt::Display>(
    field: &Item<'_>,
    desk: &mut Desk,
    read: Result<T, E>,
) -> Option<T> {
    read.inspect_err(|error| field.wrong(desk, format!("`{}`: {error}", field.name)))
        .ok()
}

fn in_file<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> String {
    move |error| format!("the file {path:?}: {error}")
}

/// Reads what `[server]` says of TLS: whether it is spoken, and with what. The second may be missing where the first is
/// true: where something is wrong, and where secrets are not read.
pub(super) fn server(
    table: &mut Table<'_>,
    secrets: &mut SecretReader<'_>,
    desk: &mut Desk,
) -> (bool, Option<Arc<ServerTls>>) {
    const EXPECTED: &str =
        "a table such as { cert = \"cert.pem\", key = \"key.pem\" }, or a list of such tables";
    let mut files = Files::new(secrets);
    let mut identities = Vec::new();
    let mut places = Vec::new();
    let mut whole = true;
    let field = table.field("tls");
    let items = match &field {
        Some(field) => field.table_or_list(desk, EXPECTED),
        None => Some(Vec::new()),
    };
    whole &= items.is_some();
    for item in &items.unwrap_or_default() {
        let identity = certificate(item, &mut files, desk);
        whole &= identity.is_some();
        places.push(item.place());
        identities.extend(identity);
    }
    let (auth_field, version_field) = (
        table.field("tls_client_auth"),
        table.field("tls_min_version"),
    );
    let client_auth = auth_field.as_ref().map(|field| {
        let auth = client_auth(field, &mut files, desk);
        whole &= auth.is_some();
        auth
    });
    let min_version = version_field
        .as_ref()
        .and_then(|field| field.word(desk, &MIN_VERSIONS));
    if field.is_none() {
        for field in [auth_field, version_field].into_iter().flatten() {
            desk.error(
                field.key_place(),
                format!(
                    "`{}` says how TLS is spoken, but `server.tls` does not say that it is",
                    field.name
                ),
            );
        }
        return (false, None);
    }
    if !whole {
        return (true, None);
    }
    files.note(&[
        match min_version.unwrap_or_default() {
            MinVersion::Tls12 => 2,
            MinVersion::Tls13 => 3,
        },
        match client_auth
            .as_ref()
            .and_then(|clients| clients.as_ref().map(|c| c.auth))
        {
            None => 0,
            Some(ClientAuth::Optional) => 1,
            Some(ClientAuth::Required) => 2,
        },
    ]);
    let settings = ServerSettings {
        identities,
        clients: client_auth.flatten(),
        min_version: min_version.unwrap_or_default(),
    };
    let made = ServerTls::new(settings, files.print());
    (true, said(made, &places, field.as_ref(), desk))
}

fn said(
    made: Result<ServerTls, ServerTlsError>,
    places: &[Place],
    field: Option<&Item<'_>>,
    desk: &mut Desk,
) -> Option<Arc<ServerTls>> {
    match made {
        Ok(tls) => return Some(Arc::new(tls)),
        Err(ref error @ ServerTlsError::SameName { first, second, .. }) => {
            desk.report(
                Problem::error(places[second].clone(), error.to_string())
                    .related(places[first].clone(), "the first stands here"),
            );
        }
        Err(error) => {
            if let Some(field) = field {
                field.wrong(desk, format!("`{}`: {error}", field.name));
            }
        }
    }
    None
}

/// One `{ cert, key }`.
fn certificate(item: &Item<'_>, files: &mut Files<'_, '_>, desk: &mut Desk) -> Option<Identity> {
    let Some(mut table) = item.table(desk) else {
        item.hide();
        return None;
    };
    let (cert, key) = cert_and_key(&mut table);
    let identity = match (&cert, &key) {
        (Some(cert), Some(key)) => files.identity(cert, key, desk),
        (cert, _) => {
            let missing = if cert.is_none() { "cert" } else { "key" };
            table.missing(
                desk,
                format!(
                    "`{}` needs `{missing}`: expected the path of a file",
                    table.name
                ),
            );
            None
        }
    };
    table.finish(desk);
    identity
}

/// `{ ca, mode }`.
fn client_auth(field: &Item<'_>, files: &mut Files<'_, '_>, desk: &mut Desk) -> Option<Clients> {
    let mut table = field.table(desk)?;
    let roots = match table.field("ca") {
        Some(ca) => files.roots(&ca, desk),
        None => {
            table.missing(
                desk,
                format!("`{}` needs `ca`: expected the path of a file", table.name),
            );
            None
        }
    };
    let mode = match table.field("mode") {
        Some(mode) => mode.word(desk, &CLIENT_AUTH),
        None => {
            table.missing(
                desk,
                format!(
                    "`{}` needs `mode`: expected \"optional\" or \"required\"",
                    table.name
                ),
            );
            None
        }
    };
    table.finish(desk);
    let (file, roots) = roots?;
    Some(Clients {
        roots,
        file,
        auth: mode?,
    })
}

/// Reads `tls` of an upstream, and makes what its `https` servers are met with.
pub(super) fn client(
    table: &mut Table<'_>,
    servers: &[UpstreamServer],
    secrets: &mut SecretReader<'_>,
    desk: &mut Desk,
) -> Option<Arc<ClientTls>> {
    let mut secure = servers
        .iter()
        .filter(|s| s.scheme == Scheme::Https)
        .peekable();
    let field = table.field("tls");
    if let Some(field) = &field
        && secure.peek().is_none()
        && !servers.is_empty()
    {
        desk.error(
            field.key_place(),
            format!(
                "`{}` is for servers with `https://`, of which there is none",
                field.name
            ),
        );
        field.hide();
        return None;
    }
    secure.peek()?;
    let mut files = Files::new(secrets);
    let (mut roots, mut identity, mut name) = (None, None, None);
    let mut whole = true;
    if let Some(field) = &field {
        let Some(mut tls) = field.table(desk) else {
            field.hide();
            return None;
        };
        if let Some(ca) = tls.field("ca") {
            roots = files.roots(&ca, desk).map(|(_, roots)| roots);
            whole &= roots.is_some();
        }
        match cert_and_key(&mut tls) {
            (Some(cert), Some(key)) => {
                identity = files.identity(&cert, &key, desk);
                whole &= identity.is_some();
            }
            (None, None) => {}
            (cert, _) => {
                let (there, missing) = if cert.is_none() {
                    ("key", "cert")
                } else {
                    ("cert", "key")
                };
                tls.missing(
                    desk,
                    format!("`{}` has `{there}` and needs `{missing}` too", tls.name),
                );
                whole = false;
            }
        }
        if let Some(field) = tls.field("server_name") {
            name = field.parse(desk, "a host name", server_name);
            whole &= name.is_some();
            files.note(field.as_text().unwrap_or_default().as_bytes());
        }
        tls.finish(desk);
    }
    if files.secrets.secrets == Secrets::Skipped || !whole {
        return None;
    }
    let roots = match roots {
        Some(roots) => roots,
        None => match files.secrets.system_roots() {
            Ok(roots) => {
                files.note(&roots.print());
                roots
            }
            Err(why) => {
                let message = format!("the system's root certificates cannot be read: {why}");
                let place = field
                    .as_ref()
                    .map_or_else(|| table.place(), Item::key_place);
                desk.report(
                    Problem::error(place, message)
                        .help("name a file of root certificates as `tls.ca`"),
                );
                return None;
            }
        },
    };
    match ClientTls::new(&roots, identity, name, files.print()) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(error) => {
            desk.error(table.place(), format!("TLS cannot be set up: {error}"));
            None
        }
    }
}
