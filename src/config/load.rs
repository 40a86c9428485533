//! From files to meaning: one reading of a whole configuration.
//!
//! The main file is read, then what it includes, then every table of every file, then what they mean together: scopes
//! are closed, the policy is compiled, its expectations are run. Each step goes on with what the one before could
//! read, so one reading finds all that is wrong. Only a reading without an error gives a [`Loaded`].

use super::compile::{self, About, Which};
use super::fields::{Desk, File, Item, Table, nearest};
use super::files::{Disk, FileSet, folder_of, is_pattern, relative, resolve};
use super::headers::HeaderReader;
use super::hosts::Hosts;
use super::problem::{Problem, Problems, Severity};
use super::routes::{self, Context, Rules, Shared};
use super::secret::{SecretReader, Secrets};
use super::settings::{Cold, Hot};
use super::shadow::{self, Shadow, ShadowOrigin};
use super::source::{self, Excerpt, ReadError, Source};
use super::syntax::{self, Parsed};
use super::texts::{Placed, Texts};
use super::upstreams::{self, Upstreams};
use super::{lints, listeners, process};
use crate::key::{Authority, ScopeName, Scopes};
use crate::policy::lint::Levels;
use crate::policy::{Expectation, Place};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Tables that stand in the main file only.
pub(super) const PROCESS_TABLES: [&str; 13] = [
    "include",
    "server",
    "admin",
    "reload",
    "shadow",
    "log",
    "keys",
    "management",
    "timeouts",
    "limits",
    "upstreams",
    "cors",
    "lints",
];

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What holds until a restart.
    pub cold: Cold,
    /// What is in force at once.
    pub hot: Hot,
    /// Of all configuration files and what they hold, in hexadecimal. Secrets have no part in it.
    pub hash: String,
    /// What it was read from.
    pub files: FileSet,
    /// What that held.
    pub texts: Texts,
    /// What looks wrong but can be used.
    pub warnings: Vec<Problem>,
    /// Tables `[[routes]]`.
    pub routes: usize,
    /// Tables `[[expect]]`.
    pub expectations: Vec<Expectation>,
    /// How loud each lint is.
    pub lints: Levels,
    /// Where the key store is named, for problems with it that show only when it is opened.
    pub store_spot: Spot,
    /// Where the master secret's file is named, likewise.
    pub secret_spot: Spot,
    /// Where the admin listener is set up, for what is wrong with its token.
    pub admin_spot: Spot,
    /// Where it is said which changes have to be confirmed.
    pub reload_spot: Spot,
    pub(super) mark: Mark,
}

/// What a configuration is read for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To be used: what is wrong is wanted.
    Use,
    /// To be reviewed: what is probably not meant is wanted too.
    Review,
    /// To be tested: expectations are read, and not held against it.
    Test,
}

/// A place in a configuration that was read, with its line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spot {
    place: Place,
    excerpt: Option<Excerpt>,
}

impl Spot {
    /// A problem at this place.
    pub fn problem(&self, severity: Severity, message: impl Into<String>) -> Problem {
        Problem {
            severity,
            excerpt: self.excerpt.clone(),
            ..Problem::error(self.place.clone(), message)
        }
    }
}

/// What was read, secrets included, as one value: two readings with the same mark would come out the same. Never shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark(blake3::Hash);

/// One reading, whatever came of it.
pub(super) struct Reading {
    pub(super) files: FileSet,
    pub(super) mark: Mark,
    pub(super) outcome: Result<Loaded, Problems>,
}

/// Reads a configuration from its main file.
///
/// # Errors
/// All that is wrong with it, warnings included.
pub fn load(main_file: &Path, secrets: Secrets) -> Result<Loaded, Problems> {
    read(main_file, secrets).outcome
}

/// The same, for another purpose than to be used.
///
/// # Errors
/// As [`load`].
pub fn load_for(purpose: Purpose, main_file: &Path, secrets: Secrets) -> Result<Loaded, Problems> {
    read_from(&Disk::Real, main_file, secrets, purpose).outcome
}

/// Reads some tables of the main file alone: faults of other tables, and of what is included, do not stand in the way.
/// What reads is given the folder that the file is in.
///
/// # Errors
/// When the main file cannot be read, is not TOML from its start to its end (a table that is cut off may be the one that
/// is wanted), or what was read is faulty.
pub(super) fn read_alone<T>(
    main_file: &Path,
    read: impl FnOnce(&mut Table<'_>, &Path, &mut Desk) -> T,
) -> Result<T, Problems> {
    let mut reader = Reader::new(&Disk::Real, main_file, Secrets::Skipped);
    let read = reader.alone(main_file, read);
    match read {
        Some(read) if !reader.desk.has_errors() => Ok(read),
        _ => Err(Problems(reader.desk.into_problems())),
    }
}

/// Reads a generation that was in force again, secrets and hosts as they are now.
///
/// # Errors
/// As [`load`].
pub(super) fn load_kept(
    main_file: &Path,
    texts: &Texts,
    secrets: Secrets,
) -> Result<Loaded, Problems> {
    let disk = Disk::Kept(Placed::at(main_file, texts.clone()));
    read_from(&disk, main_file, secrets, Purpose::Use).outcome
}

/// Reads a configuration from texts: the main file's and those of files that it may include, by name.
///
/// Secrets from the environment are not read; `${file:…}` finds none.
///
/// # Errors
/// As [`load`].
pub fn load_texts(main: &str, included: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let name = Path::new("keygate.toml");
    let mut files = BTreeMap::from([(name.to_owned(), main.as_bytes().to_vec())]);
    for (path, text) in included {
        files.insert(PathBuf::from(path), text.as_bytes().to_vec());
    }
    read_from(&Disk::Memory(files), name, Secrets::Skipped, Purpose::Use).outcome
}

/// Reads from the disk, and says also what was read.
pub(super) fn read(main_file: &Path, secrets: Secrets) -> Reading {
    read_from(&Disk::Real, main_file, secrets, Purpose::Use)
}

fn read_from(disk: &Disk, main_file: &Path, secrets: Secrets, purpose: Purpose) -> Reading {
    let mut reader = Reader::new(disk, main_file, secrets);
    reader.purpose = purpose;
    let loaded = reader.main(main_file);
    let Reader {
        files,
        desk,
        mark,
        hash,
        texts,
        ..
    } = reader;
    let mark = Mark(mark.finalize());
    let failed = desk.has_errors();
    let spot = |place: &Place| Spot {
        place: place.clone(),
        excerpt: desk.excerpt(place),
    };
    let spots = loaded
        .as_ref()
        .map(|p| [&p.store, &p.secret, &p.admin, &p.reload].map(spot));
    let problems = desk.into_problems();
    let outcome = match loaded.zip(spots) {
        Some((parts, [store_spot, secret_spot, admin_spot, reload_spot])) if !failed => {
            Ok(Loaded {
                cold: parts.cold,
                hot: parts.hot,
                hash: hash.finalize().to_hex().to_string(),
                files: files.clone(),
                texts,
                warnings: problems,
                routes: parts.routes,
                expectations: parts.expectations,
                lints: parts.lints,
                store_spot,
                secret_spot,
                admin_spot,
                reload_spot,
                mark,
            })
        }
        _ => Err(Problems(problems)),
    };
    Reading {
        files,
        mark,
        outcome,
    }
}

struct Parts {
    cold: Cold,
    hot: Hot,
    routes: usize,
    expectations: Vec<Expectation>,
    lints: Levels,
    store: Place,
    secret: Place,
    admin: Place,
    reload: Place,
}

struct Reader<'d> {
    disk: &'d Disk,
    folder: PathBuf,
    secrets: Secrets,
    purpose: Purpose,
    files: FileSet,
    desk: Desk,
    texts: Texts,
    mark: blake3::Hasher,
    hash: blake3::Hasher,
    /// Whether every file that was named gave its text.
    all_read: bool,
}

impl<'d> Reader<'d> {
    fn new(disk: &'d Disk, main_file: &Path, secrets: Secrets) -> Self {
        let folder = folder_of(main_file);
        Reader {
            disk,
            folder,
            secrets,
            purpose: Purpose::Use,
            files: FileSet::new(main_file),
            desk: Desk::default(),
            texts: Texts::of(main_file),
            mark: blake3::Hasher::new(),
            hash: blake3::Hasher::new(),
            all_read: true,
        }
    }
}

impl Reader<'_> {
    /// The main file as text; where there is none, that is a problem.
    fn main_text(&mut self, path: &Path) -> Option<Rc<Source>> {
        match self.text(path) {
            Ok(source) => Some(source),
            Err(error) => {
                let help = match error {
                    ReadError::Missing => Some("`keygate init DIR --upstream URL` makes one"),
                    ReadError::Folder => Some("name the file in it, such as DIR/keygate.toml"),
                    _ => None,
                };
                let mut problem = Problem::error(unread(path, &error), error.to_string());
                problem.help = help.map(str::to_owned);
                self.desk.report(problem);
                None
            }
        }
    }

    fn alone<T>(
        &mut self,
        path: &Path,
        read: impl FnOnce(&mut Table<'_>, &Path, &mut Desk) -> T,
    ) -> Option<T> {
        let source = self.main_text(path)?;
        let parsed = syntax::parse(&source, &mut self.desk.problems);
        let tree = parsed.tree();
        let mut root = Table::root(file(&source, &parsed), tree.get_ref());
        Some(read(&mut root, &self.folder, &mut self.desk))
    }

    fn main(&mut self, path: &Path) -> Option<Parts> {
        let source = self.main_text(path)?;
        let parsed = syntax::parse(&source, &mut self.desk.problems);
        let tree = parsed.tree();
        if tree.get_ref().is_empty() && parsed.broken().is_empty() {
            self.desk.report(
                Problem::error(
                    source.place(0..0),
                    "the file is empty; expected a configuration with at least one route",
                )
                .help("`keygate init DIR --upstream URL` writes one to begin with"),
            );
            return None;
        }
        let mut root = Table::root(file(&source, &parsed), tree.get_ref());
        self.all_read &= root.file.broken.iter().all(|b| !b.table.is_empty());
        let include = root.field("include");
        let sources = self.included(include, path);
        let include = shadow::include(&mut root, &mut self.desk);
        let shadow_place = include.as_ref().map(Item::key_place);
        let before = std::mem::replace(&mut self.all_read, true);
        let in_shadow = self.included(include, path);
        let all_read = std::mem::replace(&mut self.all_read, before);
        let count = sources.len();
        let sources: Vec<Rc<Source>> = sources.into_iter().chain(in_shadow).collect();
        let problems = &mut self.desk.problems;
        let parsed: Vec<_> = sources
            .iter()
            .map(|source| syntax::parse(source, problems))
            .collect();
        let trees: Vec<_> = parsed.iter().map(Parsed::tree).collect();
        let mut roots: Vec<Table<'_>> = sources
            .iter()
            .zip(&parsed)
            .zip(&trees)
            .map(|((source, parsed), tree)| Table::root(file(source, parsed), tree.get_ref()))
            .collect();
        let tables = roots.split_off(count);
        let shadow = shadow_place.map(|place| ShadowFiles {
            place,
            tables,
            all_read,
        });
        self.meaning(root, roots, shadow)
    }

    /// What all files mean together.
    fn meaning<'t>(
        &mut self,
        mut root: Table<'t>,
        mut included: Vec<Table<'t>>,
        mut shadow: Option<ShadowFiles<'t>>,
    ) -> Option<Parts> {
        let mut secrets = SecretReader {
            disk: self.disk,
            folder: &self.folder,
            secrets: self.secrets,
            files: &mut self.files,
            read: BTreeMap::new(),
            system_roots: None,
        };
        let listeners = listeners::listeners(&mut root, &self.folder, &mut secrets, &mut self.desk);
        let log = process::log(&mut root, &mut self.desk);
        let keys = process::keys(&mut root, &self.folder, &mut self.desk);
        let store = &keys.settings.store;
        let reload = process::reload(&mut root, store, &self.folder, &mut self.desk);
        let management = process::management(&mut root, &mut self.desk);
        let timeouts = process::timeouts(&mut root, &mut self.desk);
        let limits = process::limits(&mut root, &mut self.desk);
        let cors = process::cors(&mut root, &mut self.desk);
        let lints = lints::lints(&mut root, &mut self.desk);
        let mut headers = HeaderReader {
            secrets: &mut secrets,
            key: &keys.settings.header,
        };
        let upstreams = upstreams::upstreams(&mut root, timeouts, &mut headers, &mut self.desk);
        let shadowed = shadow.iter().flat_map(|shadow| &shadow.tables);
        for table in included.iter().chain(shadowed) {
            if table.entries().is_empty() && table.file.broken.is_empty() {
                self.desk.error(
                    table.place(),
                    "the file has no content; an included file is never empty (it may be half written)",
                );
            }
        }
        let all = std::iter::once(&mut root).chain(&mut included);
        let all_read = self.all_read;
        let Written {
            rules,
            shared,
            scopes,
        } = written(
            all.collect(),
            (all_read, false),
            &upstreams,
            &mut headers,
            &mut self.desk,
        );
        // A pattern may match nothing: then there is nothing to try.
        let files = shadow.as_mut().filter(|shadow| !shadow.tables.is_empty());
        let in_shadow = files.map(|shadow| {
            let written = written(
                shadow.tables.iter_mut().collect(),
                (shadow.all_read, true),
                &upstreams,
                &mut headers,
                &mut self.desk,
            );
            (written, shadow.place.clone(), shadow.all_read)
        });
        for (path, print) in secrets.read {
            note(&mut self.mark, &path, print.as_ref().map(|p| &p[..]));
        }
        let hosts = self.hosts(listeners.hosts);
        let start = root.place();
        root.finish(&mut self.desk);
        let shadowed = shadow.into_iter().flat_map(|shadow| shadow.tables);
        for mut table in included.into_iter().chain(shadowed) {
            for name in PROCESS_TABLES {
                let message =
                    format!("`{name}` stands in the main file only, not in one that is included");
                table.misplaced(&mut self.desk, name, &message);
            }
            table.finish(&mut self.desk);
        }
        if rules.written == 0 && self.all_read {
            self.desk.report(
                Problem::error(
                    start,
                    "there is no route; a configuration opens at least one",
                )
                .help("write a `[[routes]]` table, here or in a file that `include` names"),
            );
        }
        let (routes, expectations) = (rules.written, rules.expectations.clone());
        let authority = Arc::new(Authority {
            scopes: scopes.clone(),
            management: management.scope.0.clone(),
        });
        let default_scope = ScopeName::parse("authOnly")
            .ok()
            .filter(|scope| scopes.declares(scope));
        let about = |shared: &Shared, which| About {
            purpose: self.purpose,
            lints: &lints,
            scopes: shared.declared(),
            scopes_unsound: shared.scopes_unsound,
            which,
        };
        let in_force = about(&shared, Which::InForce);
        let tried = (!rules.tried.written.is_empty()).then(|| rules.clone());
        let desk = &mut self.desk;
        let policy = compile::judge(rules, scopes.clone(), management.clone(), &in_force, desk);
        let tried = match (in_shadow, tried) {
            (None, None) => None,
            (Some((_, include, _)), Some(rules)) => {
                shadow::both(include, rules.tried.written[0].clone(), desk);
                None
            }
            (None, Some(rules)) => {
                let counts = (rules.tried.written.len(), 0);
                compile::judge_tried(rules, scopes, management, policy.as_ref(), &in_force, desk)
                    .map(|policy| (policy, ShadowOrigin::Routes, counts))
            }
            (Some((written, include, all_read)), None) => {
                let Written {
                    rules,
                    shared,
                    scopes,
                } = written;
                let counts = (rules.written, rules.expectations.len());
                if rules.written == 0 && all_read {
                    let message = "there is no route in these files; a policy that is tried opens at least one";
                    desk.error(include, message);
                }
                let about = about(&shared, Which::InShadow);
                compile::judge(rules, scopes, management, &about, desk)
                    .map(|policy| (policy, ShadowOrigin::Files, counts))
            }
        };
        let policy = policy?;
        let shadow =
            tried.map(|(tried, origin, counts)| Shadow::new(tried, &policy, origin, counts));
        Some(Parts {
            cold: Cold {
                listen: listeners.listen,
                workers: listeners.workers,
                dumpable: listeners.dumpable,
                trusted_proxies: listeners.trusted_proxies,
                forwarded: listeners.forwarded,
                underscores: listeners.underscores,
                handover: listeners.handover,
                admin: listeners.admin,
                keys: keys.settings,
                kept: reload.kept,
            },
            hot: Hot {
                log,
                reveal: keys.reveal,
                widening: reload.widening,
                timeouts,
                limits,
                tls: listeners.tls,
                cors,
                upstreams: upstreams.settings,
                hosts: Arc::new(hosts),
                policy,
                shadow,
                authority,
                default_scope,
            },
            routes,
            expectations,
            lints,
            store: keys.store_place,
            secret: keys.secret_place,
            admin: listeners.admin_place,
            reload: reload.place,
        })
    }

    /// Reads the file that `[server] hosts` names.
    fn hosts(&mut self, field: Option<Item<'_>>) -> Hosts {
        let named = field.and_then(|field| {
            let name = field.text(&mut self.desk, "the name of a file")?;
            Some((resolve(&self.folder, name), field))
        });
        let Some((path, field)) = named else {
            return Hosts::default();
        };
        // As a secret is: read as it is now, whichever generation is in force.
        self.files.add_secret(path.clone());
        let bytes = self.disk.read_hosts(&path);
        note(&mut self.mark, &path, bytes.as_deref().ok());
        let name = &field.name;
        let hosts = match bytes.and_then(source::decode) {
            Ok(text) => Hosts::parse(&text).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        hosts.unwrap_or_else(|error| {
            let message = format!("`{name}`: {}: {error}", path.display());
            field.wrong(&mut self.desk, message);
            Hosts::default()
        })
    }

    /// Reads the files that an `include` names, sorted, each once.
    fn included(&mut self, field: Option<Item<'_>>, main: &Path) -> Vec<Rc<Source>> {
        const EXPECTED: &str = "a list of files such as [\"routes.toml\", \"routes.d/*.toml\"]";
        let Some(field) = field else {
            return Vec::new();
        };
        let Some(items) = field.one_or_list(&mut self.desk, EXPECTED) else {
            self.all_read = false;
            return Vec::new();
        };
        let mut named: BTreeMap<PathBuf, Place> = BTreeMap::new();
        let main_identity = self.disk.identity(main);
        for item in items {
            let Some(text) = item.text(&mut self.desk, "the name of a file, or a pattern") else {
                self.all_read = false;
                continue;
            };
            if is_pattern(text) {
                for path in self.matches(text, &item) {
                    if self.disk.identity(&path) != main_identity {
                        named.entry(path).or_insert_with(|| item.place());
                    }
                }
                continue;
            }
            let path = resolve(&self.folder, text);
            if text.is_empty() || text.contains('\0') {
                item.wrong(&mut self.desk, "expected the name of a file, or a pattern");
                self.all_read = false;
            } else if self.disk.identity(&path) == main_identity {
                item.wrong(&mut self.desk, "the main file does not include itself");
            } else {
                self.files.add_name(path.clone());
                // The name is what an operator wrote: its place is better than a pattern's.
                named.insert(path, item.place());
            }
        }
        let mut seen = BTreeMap::new();
        let mut sources = Vec::new();
        for (path, place) in named {
            let name = self.relative(&path);
            match seen.entry(self.disk.identity(&path)) {
                Entry::Occupied(read) => {
                    self.texts.aliases.insert(name, PathBuf::clone(read.get()));
                    continue;
                }
                Entry::Vacant(new) => new.insert(name),
            };
            match self.text(&path) {
                Ok(source) => sources.push(source),
                Err(error) => {
                    self.all_read = false;
                    let message = format!("{}: {error}", path.display());
                    let mut problem = Problem::error(place, message);
                    problem.help = match error {
                        ReadError::Missing => like_named(&path),
                        ReadError::Folder => Some(format!(
                            "`{}/*.toml` includes all of its files",
                            self.relative(&path).display()
                        )),
                        _ => None,
                    };
                    self.desk.report(problem);
                }
            }
        }
        sources
    }

    /// The name of a file against the main file's folder.
    fn relative(&self, path: &Path) -> PathBuf {
        relative(path, &self.folder)
    }

    fn matches(&mut self, text: &str, item: &Item<'_>) -> Vec<PathBuf> {
        let folder = glob::Pattern::escape(&self.folder.to_string_lossy());
        let pattern = resolve(Path::new(&folder), text)
            .to_string_lossy()
            .into_owned();
        match self.disk.expand(&pattern) {
            Ok(found) => {
                self.files.add_pattern(pattern);
                let mut paths = Vec::new();
                for path in found {
                    match path {
                        Ok(path) => paths.push(path),
                        Err(error) => {
                            self.all_read = false;
                            note(&mut self.mark, Path::new(text), None);
                            item.wrong(
                                &mut self.desk,
                                format!("the pattern cannot be followed: {error}"),
                            );
                        }
                    }
                }
                paths
            }
            Err(error) => {
                self.all_read = false;
                item.wrong(
                    &mut self.desk,
                    format!("`{text}` is not a pattern: {}", error.msg),
                );
                Vec::new()
            }
        }
    }

    /// A file's text, kept for excerpts too. One that is in force and in shadow is read once.
    fn text(&mut self, path: &Path) -> Result<Rc<Source>, ReadError> {
        let mut read = self.desk.sources.iter();
        if let Some(source) = read.find(|source| source.file.as_path() == path) {
            return Ok(Rc::clone(source));
        }
        let bytes = self.disk.read(path);
        note(&mut self.mark, path, bytes.as_deref().ok());
        let bytes = bytes?;
        let name = self.relative(path);
        note(&mut self.hash, &name, Some(&bytes));
        let text = source::decode(bytes)?;
        self.texts.files.insert(name, text.clone());
        let source = Rc::new(Source::new(Arc::new(path.to_owned()), text));
        self.desk.sources.push(Rc::clone(&source));
        Ok(source)
    }
}

/// What is there in place of a file that is not: one of nearly its name, if there is one.
fn like_named(path: &Path) -> Option<String> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or_else(|| Path::new("."))).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: Vec<String> = names.take(1000).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let near = nearest(path.file_name()?.to_str()?, &names)?;
    Some(format!("`{near}` is there; is that the one?"))
}

/// What `[shadow] include` names.
struct ShadowFiles<'t> {
    place: Place,
    tables: Vec<Table<'t>>,
    /// Whether every file that was named gave its text.
    all_read: bool,
}

/// What some files say of who may call what.
struct Written {
    rules: Rules,
    shared: Shared,
    scopes: Scopes,
}

/// Reads it, of files that were all read or not, in force or in shadow.
fn written(
    mut files: Vec<&mut Table<'_>>,
    (all_read, in_shadow): (bool, bool),
    upstreams: &Upstreams,
    headers: &mut HeaderReader<'_, '_>,
    desk: &mut Desk,
) -> Written {
    let mut shared = Shared::default();
    for table in &mut files {
        routes::shared(table, &mut shared, headers, desk);
    }
    if !all_read {
        // What could not be read may declare what seems to be missing.
        shared.nothing_is_missing();
    }
    let scopes = shared.close_scopes(desk);
    shared.check_default(upstreams, desk);
    let context = Context {
        shared: &shared,
        scopes: &scopes,
        upstreams,
        in_shadow,
    };
    let mut rules = Rules::default();
    for table in &mut files {
        routes::file_routes(table, &context, headers, &mut rules, desk);
    }
    Written {
        rules,
        shared,
        scopes,
    }
}

/// A file to be walked.
fn file<'a>(source: &'a Source, parsed: &'a Parsed<'_>) -> File<'a> {
    File {
        source,
        broken: parsed.broken(),
    }
}

/// Adds a file to a hash, so that no two lists of files give the same bytes.
fn note(hasher: &mut blake3::Hasher, path: &Path, bytes: Option<&[u8]>) {
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(path.as_os_str().as_encoded_bytes());
    match bytes {
        Some(bytes) => part(bytes),
        None => part(b"\0unread"),
    }
}

/// The place of what is wrong with a file of which no text is known.
fn unread(path: &Path, error: &ReadError) -> Place {
    let (line, column) = error.position();
    Place {
        file: Arc::new(path.to_owned()),
        span: 0..0,
        line,
        column,
    }
}
