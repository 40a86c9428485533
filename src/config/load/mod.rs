//! From files to meaning: one reading of a whole configuration.
//!
//! The main file is read, then what it includes, then every table of every file, then what they mean together: scopes
//! are closed, the policy is compiled, its expectations are run. Each step goes on with what the one before could
//! read, so one reading finds all that is wrong. Only a reading without an error gives a [`Loaded`].

mod included;
mod loaded;
mod meaning;

pub use loaded::{Loaded, Purpose, Spot};
pub(super) use loaded::{Mark, Reading};
use meaning::ShadowFiles;

use super::fields::{Desk, File, Item, Table};
use super::files::{Disk, FileSet, folder_of, resolve};
use super::hosts::Hosts;
use super::problem::{Problem, Problems};
use super::secret::Secrets;
use super::settings::{Cold, Hot};
use super::shadow;
use super::source::{self, ReadError, Source};
use super::syntax::{self, Parsed};
use super::texts::{Placed, Texts};
use crate::policy::lint::Levels;
use crate::policy::{Expectation, Place};
use std::collections::BTreeMap;
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
