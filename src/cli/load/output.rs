//! Where what was found goes: a table, JSON, a plot.
//!
//! Files are opened before the load begins, so that one that cannot be written is told then, and nothing is measured in
//! vain. An old report is replaced when there is a new one; anything else that stands at the path stays.

use super::Failed;
use super::args::LoadArgs;
use crate::load::{Report, plot, table};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a report begins with, by which one of an earlier run is known.
const JSON_BEGINS: &[u8] = b"{\n  \"version\":";
const SVG_BEGINS: &[u8] = b"<svg ";

/// Where a run's report goes.
pub(super) struct Outputs {
    json: Option<Json>,
    svg: Option<Opened>,
}

enum Json {
    /// Standard output; the table goes to standard error then.
    Out,
    File(Opened),
}

/// A file that will be written. One that was made for it goes away again where nothing was written.
struct Opened {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl Outputs {
    /// Opens what the arguments name. `read` are the files that the run reads: none of them may be written.
    ///
    /// # Errors
    /// When a file cannot be written, or is one that must not be.
    pub(super) fn open(args: &LoadArgs, read: &[PathBuf]) -> Result<Self, Failed> {
        let json = match &args.json {
            None => None,
            Some(path) if path.as_os_str() == "-" => Some(Json::Out),
            Some(path) => Some(Json::File(Opened::new("--json", path, read, JSON_BEGINS)?)),
        };
        let svg = match &args.svg {
            None => None,
            Some(path) if path.as_os_str() == "-" => {
                return Err(Failed::Usage(
                    "--svg: expected a file; standard output has the table or the JSON".to_owned(),
                ));
            }
            Some(path) => {
                if let (Some(Json::File(json)), true) = (&json, is_regular(path))
                    && is_same(&json.path, path)
                {
                    return Err(Failed::Usage(
                        "--json and --svg: expected two files".to_owned(),
                    ));
                }
                Some(Opened::new("--svg", path, read, SVG_BEGINS)?)
            }
        };
        Ok(Outputs { json, svg })
    }

    /// Writes what was found.
    ///
    /// # Errors
    /// When it cannot be written. All that can be, is.
    pub(super) fn tell(self, report: &Report) -> Result<(), Failed> {
        let text = table(report);
        let told = match &self.json {
            Some(Json::Out) => {
                say!("{}", text.trim_end());
                Ok(())
            }
            Some(Json::File(_)) | None => write_out(text.as_bytes()),
        };
        let json = match self.json {
            None => Ok(()),
            Some(json) => as_json(report).and_then(|text| match json {
                Json::Out => write_out(&text),
                Json::File(file) => file.write(&text),
            }),
        };
        let svg = match self.svg {
            None => Ok(()),
            Some(file) => file.write(plot(report).as_bytes()),
        };
        told.and(json).and(svg)
    }
}

fn as_json(report: &Report) -> Result<Vec<u8>, Failed> {
    let mut json = serde_json::to_vec_pretty(report)
        .map_err(|error| Failed::Run(format!("the report is no JSON: {error}")))?;
    json.push(b'\n');
    Ok(json)
}

impl Opened {
    fn new(
        argument: &str,
        path: &Path,
        read: &[PathBuf],
        report_begins: &[u8],
    ) -> Result<Self, Failed> {
        let shown = path.display();
        let refused = |why: String| Failed::Usage(format!("{argument} {shown}: {why}"));
        if let Some(same) = read.iter().find(|other| is_same(other, path)) {
            let same = same.display();
            return Err(refused(format!(
                "this run needs {same}, which would be written over"
            )));
        }
        let unwritable = |error: io::Error| refused(format!("it cannot be written: {error}"));
        let made = OpenOptions::new().write(true).create_new(true).open(path);
        let (file, is_new) = match made {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if is_regular(path) && !begins_with(path, report_begins).map_err(unwritable)? {
                    return Err(refused(
                        "it is there and is no report of an earlier run: move it away first"
                            .to_owned(),
                    ));
                }
                let opened = OpenOptions::new().write(true).open(path);
                (opened.map_err(unwritable)?, false)
            }
            Err(error) => return Err(unwritable(error)),
        };
        Ok(Opened {
            path: path.to_owned(),
            file,
            is_new,
        })
    }

    fn write(mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.is_new = false;
        let is_regular = self.file.metadata().is_ok_and(|file| file.is_file());
        let emptied = match is_regular {
            true => self.file.set_len(0),
            // A pipe or a terminal has no length.
            false => Ok(()),
        };
        emptied
            .and_then(|()| self.file.write_all(bytes))
            .map_err(|error| {
                Failed::Run(format!(
                    "{} cannot be written: {error}",
                    self.path.display()
                ))
            })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if self.is_new {
            // Where it cannot be removed, an empty file says as much.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The files of an SQLite store: its own, and those that SQLite puts beside it.
pub(super) fn store_files(store: &Path) -> impl Iterator<Item = PathBuf> {
    ["", "-wal", "-shm", "-journal"]
        .into_iter()
        .map(move |suffix| {
            let mut name = OsString::from(store);
            name.push(suffix);
            PathBuf::from(name)
        })
}

fn is_regular(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file())
}

/// Whether a file is empty or begins so.
fn begins_with(path: &Path, beginning: &[u8]) -> io::Result<bool> {
    let mut read = Vec::new();
    let file = File::open(path)?;
    file.take(beginning.len() as u64).read_to_end(&mut read)?;
    Ok(read.is_empty() || read == beginning)
}

/// Whether two paths are one file, by whatever links, whether it is there or not.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |file: Metadata| (file.dev(), file.ino());
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => place(one) == place(other),
        (Err(_), Err(_)) => real(one).is_some_and(|path| Some(path) == real(other)),
        _ => false,
    }
}

/// The path of a file that is not there, with the links to its folder followed.
fn real(path: &Path) -> Option<PathBuf> {
    let folder = match path.parent()? {
        folder if folder.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    };
    Some(fs::canonicalize(folder).ok()?.join(path.file_name()?))
}

fn write_out(bytes: &[u8]) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // Whoever reads has read enough (`| head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written
            .map_err(|error| Failed::Run(format!("standard output cannot be written: {error}"))),
    }
}
