//! `keygate init`: from nothing to a gateway that can be run in front of one's own service.
//!
//! It writes the two commented files, makes the key store and a first key, prints that once, and the next command. It
//! overwrites nothing, and leaves nothing half made: all is made in a folder of its own beside its destination, read
//! back as `run` would read it, and only then moved into place.

use crate::config::{self, SchemaOf, Secrets};
use crate::key::{
    Actor, ApiKey, Command, CommandError, KeyName, NewKey, Origin, Reveal, ScopeName, ShownKey,
};
use crate::store::{self, OpenMode, OpenOptions, StoreError};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The complete, commented sample; what is the demonstration's own in it is replaced.
const SAMPLE: &str = include_str!("../../../config/keygate.toml");
const ROUTES: &str = include_str!("routes.toml");

/// What is replaced in the sample; a test holds that each is there once.
const SAMPLE_UPSTREAM: &str = "[upstreams.chat]";
const SAMPLE_SERVER: &str = "\"http://127.0.0.1:9000\"";

/// What is made, in the order in which it is moved into place: the main file last, so that it names what is there.
const PIECES: [&str; 6] = [
    "secret",
    "data",
    ROUTES_SCHEMA,
    MAIN_SCHEMA,
    "routes.toml",
    "keygate.toml",
];

/// What editors check and complete the two files by; their first lines name them.
const ROUTES_SCHEMA: &str = "routes.schema.json";
const MAIN_SCHEMA: &str = "keygate.schema.json";

/// Write a commented configuration, make the key store and a first key
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Makes keygate.toml, routes.toml, data/ and secret/ in DIR, and the schemas by which editors complete and check the two
files: all or nothing, and overwrites nothing.
The first key, of scope fullAccess, is printed on standard output.

Example:
  keygate init gateway --upstream http://127.0.0.1:9000")]
pub struct InitArgs {
    /// The folder to write to; made where there is none
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Your service, as http://127.0.0.1:9000
    #[arg(long, value_name = "URL")]
    upstream: String,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("--upstream: {0}")]
    Upstream(String),
    #[error("{0:?} exists already; nothing was overwritten")]
    Exists(PathBuf),
    #[error("{path:?} cannot be {action}: {source}")]
    File {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the files that were written cannot be read back\n{0}")]
    Config(#[source] config::Problems),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the first key could not be made: {0}")]
    Key(#[source] CommandError),
    #[error("the runtime cannot be started: {0}")]
    Runtime(#[source] io::Error),
}

impl InitError {
    fn file(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> InitError {
        let path = path.to_owned();
        move |source| InitError::File {
            path,
            action,
            source,
        }
    }

    /// 2 for what was asked wrongly, 1 for what failed.
    fn exit_code(&self) -> u8 {
        match self {
            InitError::Upstream(_) | InitError::Exists(_) => 2,
            InitError::File { .. }
            | InitError::Config(_)
            | InitError::Store(_)
            | InitError::Key(_)
            | InitError::Runtime(_) => 1,
        }
    }
}

/// Runs the command.
pub fn run(args: InitArgs) -> ExitCode {
    match init(&args.folder, &args.upstream) {
        Ok(key) => match announce(&args.folder, &key) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say!(
                    "keygate: standard output cannot be written ({error}): the first key was made but not shown"
                );
                ExitCode::from(1)
            }
        },
        Err(error) => {
            say!("keygate: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn announce(folder: &Path, key: &ApiKey) -> io::Result<()> {
    let main = folder.join("keygate.toml");
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "Made {}, with routes.toml, a key store and a first key beside it.\n",
        main.display()
    )?;
    writeln!(
        out,
        "The key, of scope fullAccess (it is shown this once):\n"
    )?;
    writeln!(out, "    {}\n", key.expose())?;
    writeln!(out, "Next:\n")?;
    writeln!(out, "    keygate run --config {}\n", shell_word(&main))?;
    writeln!(
        out,
        "Then, with the key as $KEY: curl -H \"apikey: $KEY\" http://127.0.0.1:8080/"
    )?;
    out.flush()
}

/// The path as a shell takes it for one word.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Makes everything, or nothing.
fn init(folder: &Path, upstream: &str) -> Result<ApiKey, InitError> {
    // As it is copied from a browser.
    let upstream = upstream.strip_suffix('/').unwrap_or(upstream);
    config::check_server(upstream).map_err(InitError::Upstream)?;
    refuse_existing(folder)?;
    let workshop = Workshop::beside(folder)?;
    let made = workshop.path();
    write(&made.join("keygate.toml"), &main_text(upstream))?;
    write(&made.join("routes.toml"), ROUTES)?;
    write(&made.join(MAIN_SCHEMA), &config::schema(SchemaOf::Main))?;
    write(&made.join(ROUTES_SCHEMA), &config::schema(SchemaOf::Routes))?;
    let loaded =
        config::load(&made.join("keygate.toml"), Secrets::Required).map_err(InitError::Config)?;
    let key = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(InitError::Runtime)?
        .block_on(first_key(&loaded.cold.keys))?;
    workshop.move_into(folder)?;
    Ok(key)
}

fn main_text(upstream: &str) -> String {
    SAMPLE
        .replace(SAMPLE_UPSTREAM, "[upstreams.app]")
        // The text was read as a server, so it has neither quotes nor backslashes.
        .replace(SAMPLE_SERVER, &format!("\"{upstream}\""))
}

/// Nothing that would be made may be there, and where a folder should be there is no file.
fn refuse_existing(folder: &Path) -> Result<(), InitError> {
    for piece in PIECES {
        let path = folder.join(piece);
        match fs::symlink_metadata(&path) {
            Ok(_) => return Err(InitError::Exists(path)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(InitError::file(&path, "looked for")(e)),
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), InitError> {
    fs::File::create_new(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(InitError::file(path, "written"))
}

/// Makes the store and a first key in it. The store is closed, and so in one file, when this returns.
async fn first_key(keys: &config::KeySettings) -> Result<ApiKey, InitError> {
    let store = store::open(OpenOptions {
        path: keys.store.clone(),
        secret_file: keys.secret.clone(),
        secret_env: store::secret_from_env(),
        mode: OpenMode::CreateOrMigrate,
    })
    .await?;
    let command = Command::Create(NewKey {
        name: KeyName::parse("First key").expect("a short text of letters is a name"),
        scope: ScopeName::parse("fullAccess").expect("a text of letters is a scope's name"),
        enabled: true,
        expires_at: None,
        brought: None,
        if_absent: false,
    });
    let origin = Origin {
        actor: Actor::Operator,
        client: None,
        request_id: None,
    };
    let made = store.execute(command, origin, Reveal::Always).await;
    store.close().await;
    match made.map_err(InitError::Key)?.key.shown {
        ShownKey::Whole(key) => Ok(key),
        ShownKey::Masked(_) => unreachable!("the answer to create holds the key"),
    }
}

/// A folder in which things are made before they are moved into place; removed, with all that is still in it, when dropped.
struct Workshop {
    path: PathBuf,
    /// The folders that were made for it, outermost first.
    parents: Vec<PathBuf>,
    done: bool,
}

impl Workshop {
    /// In the destination, so that moving is renaming; the destination is made where there is none.
    fn beside(folder: &Path) -> Result<Self, InitError> {
        let mut parents: Vec<PathBuf> = folder
            .ancestors()
            .take_while(|f| !f.as_os_str().is_empty() && !f.exists())
            .map(Path::to_owned)
            .collect();
        parents.reverse();
        let mut workshop = Workshop {
            path: folder.join(format!(".keygate-init-{}", std::process::id())),
            parents: Vec::new(),
            done: false,
        };
        for parent in parents {
            fs::create_dir(&parent).map_err(InitError::file(&parent, "made"))?;
            workshop.parents.push(parent);
        }
        let path = workshop.path.clone();
        fs::create_dir(&path).map_err(InitError::file(&path, "made"))?;
        Ok(workshop)
    }

    fn path(&self) -> &Path {
        &self.path
    }

    /// Moves all pieces into place, or none.
    fn move_into(mut self, folder: &Path) -> Result<(), InitError> {
        let mut moved = Vec::new();
        for piece in PIECES {
            let (from, to) = (self.path.join(piece), folder.join(piece));
            // With the secret in the environment there is no file for it.
            if !from.exists() {
                continue;
            }
            if let Err(error) = rename_new(&from, &to) {
                for (from, to) in moved {
                    // What cannot be moved back stays, and is named by the next attempt.
                    let _: io::Result<()> = fs::rename(to, from);
                }
                return Err(if error.kind() == io::ErrorKind::AlreadyExists {
                    InitError::Exists(to)
                } else {
                    InitError::file(&to, "made")(error)
                });
            }
            moved.push((from, to));
        }
        self.done = true;
        fs::File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(InitError::file(folder, "synced"))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // Best effort: the error that led here is the one to be told.
        let _ = fs::remove_dir_all(&self.path);
        if !self.done {
            for parent in self.parents.iter().rev() {
                let _ = fs::remove_dir(parent);
            }
        }
    }
}

/// Renames, but never over something.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // This file system cannot promise it: look first.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match fs::symlink_metadata(to) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(from, to),
        },
        other => other.map_err(io::Error::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is in a folder, by name, folders too.
    fn all(folder: &Path) -> Vec<String> {
        let mut names = Vec::new();
        let mut open = vec![folder.to_owned()];
        while let Some(folder_now) = open.pop() {
            for entry in fs::read_dir(folder_now).unwrap() {
                let path = entry.unwrap().path();
                names.push(path.strip_prefix(folder).unwrap().display().to_string());
                if path.is_dir() {
                    open.push(path);
                }
            }
        }
        names.sort();
        names
    }

    #[test]
    fn what_is_replaced_stands_in_the_sample_once() {
        for text in [SAMPLE_UPSTREAM, SAMPLE_SERVER] {
            assert_eq!(SAMPLE.matches(text).count(), 1, "{text}");
        }
    }

    #[test]
    fn a_folder_is_made_with_all_that_run_needs_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("deep/er");
        let key = init(&folder, "http://127.0.0.1:9/").unwrap();
        assert_eq!(key.expose().len(), 40);
        assert_eq!(
            all(&folder),
            [
                "data",
                "data/keygate.db",
                "keygate.schema.json",
                "keygate.toml",
                "routes.schema.json",
                "routes.toml",
                "secret",
                "secret/master"
            ]
        );
        let loaded = config::load(&folder.join("keygate.toml"), Secrets::Required)
            .map_err(|p| p.to_string())
            .unwrap();
        assert_eq!(loaded.warnings, []);
        assert_eq!(loaded.hot.upstreams[0].servers[0].port, 9);
        assert!(loaded.cold.keys.store.starts_with(&folder));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let peek = runtime
            .block_on(store::peek(&loaded.cold.keys.store))
            .unwrap();
        assert_eq!(peek.keys(), 1);
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_half_made_is_left() {
        for piece in PIECES {
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join(piece), "mine").unwrap();
            fs::write(root.path().join("other"), "mine").unwrap();
            let error = init(root.path(), "http://a").map(drop).unwrap_err();
            assert!(error.to_string().contains(piece), "{error}");
            assert_eq!(error.exit_code(), 2);
            let mut expected = [piece.to_owned(), "other".to_owned()];
            expected.sort();
            assert_eq!(all(root.path()), expected);
            assert_eq!(fs::read_to_string(root.path().join(piece)).unwrap(), "mine");
        }
        let root = tempfile::tempdir().unwrap();
        let error = init(&root.path().join("a/b"), "ftp://a")
            .map(drop)
            .unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(all(root.path()), [""; 0]);
        fs::write(root.path().join("file"), "mine").unwrap();
        let error = init(&root.path().join("file"), "http://a")
            .map(drop)
            .unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
        assert_eq!(all(root.path()), ["file"]);
    }

    #[test]
    fn a_piece_that_appears_meanwhile_sends_all_others_back() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("new");
        let workshop = Workshop::beside(&folder).unwrap();
        for piece in PIECES {
            fs::write(workshop.path().join(piece), "made").unwrap();
        }
        fs::write(folder.join("keygate.toml"), "mine").unwrap();
        let error = workshop.move_into(&folder).unwrap_err();
        assert!(matches!(error, InitError::Exists(_)), "{error}");
        assert_eq!(all(&folder), ["keygate.toml"]);
        assert_eq!(
            fs::read_to_string(folder.join("keygate.toml")).unwrap(),
            "mine"
        );
    }

    #[test]
    fn a_path_is_one_word_for_the_shell() {
        for (path, word) in [
            ("a/b.toml", "a/b.toml"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(shell_word(Path::new(path)), word);
        }
    }
}
