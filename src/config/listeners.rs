//! `[server]` and `[admin]`: where keygate listens, and what it believes of whom it hears.

use super::fields::{Desk, Item, Table};
use super::problem::Problem;
use super::process::{absolute, secret_path, table};
use super::secret::SecretReader;
use super::settings::*;
use super::value::{self, Written};
use crate::http::forwarded::SpokenBy;
use crate::policy::Place;
use crate::tls::ServerTls;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

/// `[server]` and `[admin]` together, since their addresses must differ.
pub(super) struct Listeners<'a> {
    pub(super) listen: Vec<Listener>,
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) workers: NonZeroUsize,
    pub(super) dumpable: bool,
    pub(super) trusted_proxies: TrustedProxies,
    pub(super) forwarded: SpokenBy,
    pub(super) underscores: Underscores,
    pub(super) handover: Option<ListenAddress>,
    pub(super) admin: AdminSettings,
    /// Its token's, or its own.
    pub(super) admin_place: Place,
    /// Where the file of hosts is named. It is hot, and so is its name.
    pub(super) hosts: Option<Item<'a>>,
}

/// `[admin]` for commands that need nothing else.
pub(super) fn admin(root: &mut Table<'_>, folder: &Path, desk: &mut Desk) -> AdminSettings {
    admin_table(root, folder, &mut Taken::default(), desk).0
}

/// Who may connect to a Unix socket where no `mode` is written: whoever runs keygate.
const MODE: u32 = 0o600;

/// Words of `server.forwarded`.
pub(super) const FORWARDED: [(&str, SpokenBy); 2] = [
    ("x-forwarded-for", SpokenBy::XForwardedFor),
    ("forwarded", SpokenBy::Forwarded),
];

/// Words of `server.underscores`.
pub(super) const UNDERSCORES: [(&str, Underscores); 2] =
    [("refuse", Underscores::Refuse), ("drop", Underscores::Drop)];

/// Words of `proxy_protocol`, besides true and false.
pub(super) const PROXY_PROTOCOLS: [(&str, ProxyProtocol); 2] =
    [("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];

/// Longest path of a socket: what `sun_path` holds (unix(7)).
const LONGEST_PATH: usize = 107;

pub(super) fn listeners<'a>(
    root: &mut Table<'a>,
    folder: &Path,
    secrets: &mut SecretReader<'_>,
    desk: &mut Desk,
) -> Listeners<'a> {
    let mut taken = Taken::default();
    let mut listen = Vec::new();
    let mut workers = None;
    let mut dumpable = None;
    let mut trusted_proxies = TrustedProxies::default();
    let mut forwarded = None;
    let mut underscores = None;
    let mut hosts = None;
    let mut handover = None;
    let mut listened = None;
    let (mut speaks_tls, mut tls) = (false, None);
    if let Some(mut table) = table(root, "server", desk) {
        const ADDRESSES: &str = "a list of addresses such as [\"127.0.0.1:8080\"]";
        (speaks_tls, tls) = super::tls::server(&mut table, secrets, desk);
        if let Some(field) = table.field("listen") {
            let alone = field.as_text().is_some() || field.is_table();
            let items = if alone {
                vec![field.clone()]
            } else {
                field.list(desk, ADDRESSES).unwrap_or_default()
            };
            if items.is_empty() && !desk_has(desk, &field) {
                field.wrong(
                    desk,
                    "`server.listen` is empty; expected at least one address",
                );
            }
            for item in items {
                let Some(written) = entry(&item, folder, desk) else {
                    continue;
                };
                taken.claim(&written.address, item.place(), desk);
                listen.push(listener(written, speaks_tls, desk));
            }
            listened = Some(field);
        }
        workers = table.field("workers").and_then(|f| workers_of(&f, desk));
        dumpable = table.field("dumpable").and_then(|f| f.boolean(desk));
        if let Some(field) = table.field("trusted_proxies") {
            const NETWORKS: &str = "a list of networks such as [\"10.0.0.0/8\"]";
            for item in field.list(desk, NETWORKS).unwrap_or_default() {
                if item.as_text() == Some("unix") {
                    trusted_proxies.unix = true;
                } else {
                    let network = item.parse(desk, "a network", value::network);
                    trusted_proxies.networks.extend(network);
                }
            }
        }
        if let Some(field) = &listened {
            judge_relays(field, &listen, &trusted_proxies, desk);
        }
        let header = table.field("forwarded");
        forwarded = header.and_then(|f| f.word(desk, &FORWARDED));
        let answer = table.field("underscores");
        underscores = answer.and_then(|f| f.word(desk, &UNDERSCORES));
        if let Some(field) = table.field("handover") {
            handover = handover_of(&field, folder, desk);
            if let Some(address) = &handover {
                taken.claim(address, field.place(), desk);
            }
        }
        hosts = table.field("hosts");
        table.finish(desk);
    }
    if listen.is_empty() {
        taken.0.push((local(8080), None));
        listen.push(Listener {
            address: local(8080),
            tls: speaks_tls,
            proxy_protocol: None,
        });
    }
    let (admin, admin_place) = admin_table(root, folder, &mut taken, desk);
    Listeners {
        listen,
        tls,
        workers: workers.unwrap_or_else(a_worker_per_core),
        dumpable: dumpable.unwrap_or(false),
        trusted_proxies,
        forwarded: forwarded.unwrap_or_default(),
        underscores: underscores.unwrap_or_default(),
        handover,
        admin,
        admin_place,
        hosts,
    }
}

fn admin_table(
    root: &mut Table<'_>,
    folder: &Path,
    taken: &mut Taken,
    desk: &mut Desk,
) -> (AdminSettings, Place) {
    let mut place = root.place();
    let mut admin = AdminSettings {
        listen: Some(local(9901)),
        token: None,
    };
    let Some(mut table) = table(root, "admin", desk) else {
        return (admin, place);
    };
    place = table.place();
    if let Some(field) = table.field("listen") {
        if field.as_text() == Some("") {
            admin.listen = None;
        } else if let Some(written) = entry(&field, folder, desk) {
            taken.claim(&written.address, field.place(), desk);
            for (item, name) in [
                (&written.tls, "tls"),
                (&written.proxy_protocol, "proxy_protocol"),
            ] {
                if let Some(item) = item {
                    item.wrong(desk, format!("the admin listener has no `{name}`"));
                }
            }
            admin.listen = Some(written.address);
        }
    }
    if let Some(field) = table.field("token") {
        place = field.place();
        admin.token = secret_path(&field, folder, desk);
    }
    table.finish(desk);
    (admin, place)
}

/// The path of the socket that a successor asks at; empty for none.
fn handover_of(field: &Item<'_>, folder: &Path, desk: &mut Desk) -> Option<ListenAddress> {
    const PATH: &str = "the path of a socket, or \"\" for none";
    let text = field.text(desk, PATH)?;
    if text.is_empty() {
        return None;
    }
    let path = text.strip_prefix("unix:").unwrap_or(text).to_owned();
    address(field, Written::Unix(path), None, folder, desk)
}

/// What is written of one listener.
struct Entry<'a> {
    address: ListenAddress,
    /// `tls`, if it is there.
    tls: Option<Item<'a>>,
    /// `proxy_protocol`, if it is there.
    proxy_protocol: Option<Item<'a>>,
}

/// An address alone, or a table with one.
fn entry<'a>(item: &Item<'a>, folder: &Path, desk: &mut Desk) -> Option<Entry<'a>> {
    const ADDRESS: &str = "an address and a port, or \"unix:PATH\", or \"systemd:NAME\"";
    if !item.is_table() {
        let written = item.parse(desk, ADDRESS, value::listen)?;
        return Some(Entry {
            address: address(item, written, None, folder, desk)?,
            tls: None,
            proxy_protocol: None,
        });
    }
    let mut table = item.table(desk)?;
    let written = match table.field("address") {
        Some(field) => field
            .parse(desk, ADDRESS, value::listen)
            .map(|written| (field, written)),
        None => {
            table.missing(
                desk,
                format!("`{}` needs `address`: expected {ADDRESS}", item.name),
            );
            None
        }
    };
    let tls = table.field("tls");
    let proxy_protocol = table.field("proxy_protocol");
    let mode = table.field("mode");
    table.finish(desk);
    let (field, written) = written?;
    Some(Entry {
        address: address(&field, written, mode, folder, desk)?,
        tls,
        proxy_protocol,
    })
}

/// What was written as an address, with what belongs to it.
fn address(
    item: &Item<'_>,
    written: Written,
    mode: Option<Item<'_>>,
    folder: &Path,
    desk: &mut Desk,
) -> Option<ListenAddress> {
    match written {
        Written::Tcp(address) => {
            if let Some(mode) = mode {
                mode.wrong(
                    desk,
                    format!("`{}` is for Unix sockets; an address has none", mode.name),
                );
            }
            Some(ListenAddress::Tcp(address))
        }
        Written::Systemd(name) => {
            if let Some(mode) = mode {
                mode.wrong(
                    desk,
                    format!(
                        "`{}` is systemd's to set: `SocketMode=` of the socket unit",
                        mode.name
                    ),
                );
            }
            Some(ListenAddress::Systemd(name.into()))
        }
        Written::Unix(path) => {
            let path = absolute(folder, &path);
            if path.as_os_str().len() > LONGEST_PATH {
                item.wrong(
                    desk,
                    format!(
                        "`{}`: the whole path of a socket has at most {LONGEST_PATH} bytes, this one {}: {}",
                        item.name,
                        path.as_os_str().len(),
                        path.display()
                    ),
                );
                return None;
            }
            let mode =
                mode.and_then(|mode| mode.parse(desk, "a mode such as \"0660\"", value::mode));
            Some(ListenAddress::Unix {
                path,
                mode: mode.unwrap_or(MODE),
            })
        }
    }
}

fn listener(entry: Entry<'_>, has_certificates: bool, desk: &mut Desk) -> Listener {
    let by_default = has_certificates && !matches!(entry.address, ListenAddress::Unix { .. });
    let asked = entry.tls.and_then(|field| {
        let asked = field.boolean(desk)?;
        if asked && !has_certificates {
            field.wrong(
                desk,
                format!("`{}` needs certificates: set `server.tls`", field.name),
            );
        }
        Some(asked)
    });
    Listener {
        tls: asked.unwrap_or(by_default),
        address: entry.address,
        proxy_protocol: entry.proxy_protocol.and_then(|f| proxy_protocol(&f, desk)),
    }
}

fn proxy_protocol(field: &Item<'_>, desk: &mut Desk) -> Option<ProxyProtocol> {
    if field.as_text().is_none() {
        let any = field.boolean(desk)?;
        return any.then_some(ProxyProtocol::Any);
    }
    field.word(desk, &PROXY_PROTOCOLS)
}

/// Whoever sends a PROXY header chooses who it is taken for: says so where nobody in particular may, and where nobody can.
fn judge_relays(field: &Item<'_>, listen: &[Listener], trusted: &TrustedProxies, desk: &mut Desk) {
    for listener in listen.iter().filter(|l| l.proxy_protocol.is_some()) {
        match &listener.address {
            ListenAddress::Tcp(address) if trusted.is_empty() => desk.report(
                Problem::warning(
                    field.place(),
                    format!(
                        "whoever connects to {address} chooses the address that it is known by"
                    ),
                )
                .help("name those who send the PROXY header in `server.trusted_proxies`"),
            ),
            ListenAddress::Unix { path, .. } if !trusted.is_empty() && !trusted.unix => {
                field.wrong(
                    desk,
                    format!(
                        "nobody may send the PROXY header to unix:{}; add \"unix\" to `server.trusted_proxies`",
                        path.display()
                    ),
                );
            }
            ListenAddress::Tcp(_) | ListenAddress::Unix { .. } | ListenAddress::Systemd(_) => {}
        }
    }
}

/// Whether the field's own place already has a problem (so that one fault gives one problem).
fn desk_has(desk: &Desk, field: &Item<'_>) -> bool {
    let place = field.place();
    desk.problems.iter().any(|p| p.place == place)
}

/// Addresses that are listened on already, and where they stand.
#[derive(Default)]
struct Taken(Vec<(ListenAddress, Option<Place>)>);

impl Taken {
    fn claim(&mut self, address: &ListenAddress, place: Place, desk: &mut Desk) {
        match self.0.iter().find(|(other, _)| other.is_place_of(address)) {
            Some((_, first)) => {
                let mut problem =
                    Problem::error(place, format!("the address {address} is listened on twice"));
                if let Some(first) = first {
                    problem = problem.related(first.clone(), "the first stands here");
                }
                desk.report(problem);
            }
            None => self.0.push((address.clone(), Some(place))),
        }
    }
}

fn local(port: u16) -> ListenAddress {
    ListenAddress::Tcp(([127, 0, 0, 1], port).into())
}

fn a_worker_per_core() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn workers_of(field: &Item<'_>, desk: &mut Desk) -> Option<NonZeroUsize> {
    const EXPECTED: &str = "\"auto\" or a whole number from 1 to 1024";
    match (field.as_text(), field.as_integer()) {
        (Some("auto"), _) => Some(a_worker_per_core()),
        (Some(_), _) => {
            field.wrong(desk, format!("`server.workers`: expected {EXPECTED}"));
            None
        }
        (None, Some(_)) => field
            .integer(desk, 1, 1024)
            .and_then(|n| usize::try_from(n).ok())
            .and_then(NonZeroUsize::new),
        (None, None) => {
            field.mistyped(desk, EXPECTED);
            None
        }
    }
}
