//! The files that an `include` names.

use super::{Reader, note};
use crate::config::fields::{Item, nearest};
use crate::config::files::{is_pattern, relative, resolve};
use crate::config::problem::Problem;
use crate::config::source::{ReadError, Source};
use crate::policy::Place;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::rc::Rc;

impl Reader<'_> {
    /// Reads the files that an `include` names, sorted, each once.
    pub(super) fn included(&mut self, field: Option<Item<'_>>, main: &Path) -> Vec<Rc<Source>> {
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
                        ReadError::Missing => like_named(&path, main),
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
    pub(super) fn relative(&self, path: &Path) -> PathBuf {
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
}

/// What is there in place of a file that is not: one of nearly its name, if there is one besides the main file.
fn like_named(path: &Path, main: &Path) -> Option<String> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or_else(|| Path::new("."))).ok()?;
    let files = entries.filter_map(|entry| entry.ok().filter(|entry| entry.path().is_file()));
    let files = files.filter(|entry| Some(&*entry.file_name()) != main.file_name());
    let names = files.filter_map(|entry| entry.file_name().into_string().ok());
    let names: Vec<String> = names.take(1000).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let near = nearest(path.file_name()?.to_str()?, &names)?;
    Some(format!("`{near}` is there; is that the one?"))
}
