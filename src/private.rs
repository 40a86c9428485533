//! Files that only their owner may read: the master secret, the token of the admin listener, generations that were in
//! force.
//!
//! Whatever is written here is whole or not there at all, and on the disk when the function returns. The token, walked
//! through: [`create`] writes it under another name with mode 0600, syncs it, and links it to its own name, which fails
//! if that exists; [`read`] refuses it once its mode lets others in.

use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// Longer than any secret, so that a longer file is seen to be none.
const MOST_BYTES: usize = 256;

/// Why a private file gives no text.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it has mode {0:04o}: others can get at it; expected at most 0600")]
    Open(u32),
    #[error("it is a folder, a socket, a pipe or a device; expected a file of one line")]
    NotFile,
    #[error("it is not UTF-8 text; expected one line of it")]
    NotText,
}

/// Reads a short file that only its owner may read; `None` where there is none. Of a longer one, the first 256 bytes.
///
/// # Errors
/// When it cannot be read, is no file, others may read it, or it is not UTF-8.
pub fn read(path: &Path) -> Result<Option<Zeroizing<String>>, ReadError> {
    // Whoever opens a pipe waits for who writes to it; it is to be seen that it is one.
    let not_blocking = OFlags::NONBLOCK.bits().cast_signed();
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(not_blocking)
        .open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(e) if is_absent(&e) => return Ok(None),
        // A socket cannot be opened.
        Err(e) if Errno::from_io_error(&e) == Some(Errno::NXIO) => return Err(ReadError::NotFile),
        Err(e) => return Err(e.into()),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(ReadError::NotFile);
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(ReadError::Open(mode));
    }
    let mut buffer = Zeroizing::new([0u8; MOST_BYTES]);
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    match String::from_utf8(buffer[..filled].to_vec()) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(e) => {
            e.into_bytes().zeroize();
            Err(ReadError::NotText)
        }
    }
}

/// Makes a file of mode 0600 that did not exist, and the folders above it.
///
/// # Errors
/// As the system says; [`io::ErrorKind::AlreadyExists`] where there is one.
pub fn create(path: &Path, text: &str) -> io::Result<()> {
    write(path, text.as_bytes(), |beside| {
        let linked = fs::hard_link(beside, path);
        fs::remove_file(beside)?;
        linked
    })
}

/// Puts a file of mode 0600 in the place of what may be there, and makes the folders above it.
///
/// # Errors
/// As the system says; what was there is there still.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, |beside| fs::rename(beside, path))
}

/// Writes beside the path, then puts it in its place.
fn write(path: &Path, bytes: &[u8], place: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = make_parent(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".new-{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let _ = fs::remove_file(&beside); // what a killed process of the same number may have left
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| place(&beside)) {
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    sync_folder(&folder)
}

/// Makes the folders above a file, private ones, and returns the nearest.
///
/// # Errors
/// As the system says.
pub fn make_parent(path: &Path) -> io::Result<PathBuf> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    if !folder.is_dir() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        if let Some(above) = folder.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_folder(above)?;
        }
    }
    Ok(folder)
}

/// Brings a folder's entries to the disk.
///
/// # Errors
/// As the system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Whether the error says that there is nothing at the path.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_exists_is_never_written_over_by_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master");
        fs::write(&file, "precious").unwrap();
        let refused = create(&file, "new").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_replaced_is_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/er/index");
        for text in ["one", "and another"] {
            replace(&file, text.as_bytes()).unwrap();
            assert_eq!(fs::read(&file).unwrap(), text.as_bytes());
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        }
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn only_a_private_text_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        assert!(read(&file).unwrap().is_none());
        create(&file, "text").unwrap();
        assert_eq!(read(&file).unwrap().unwrap().as_str(), "text");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(&file), Err(ReadError::Open(0o640))));
        replace(&file, &[0xff; 4]).unwrap();
        assert!(matches!(read(&file), Err(ReadError::NotText)));
        assert!(matches!(read(folder.path()), Err(ReadError::NotFile)));
        let pipe = folder.path().join("pipe");
        let made = rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        );
        made.unwrap();
        assert!(matches!(read(&pipe), Err(ReadError::NotFile)));
        let socket = folder.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(matches!(read(&socket), Err(ReadError::NotFile)));
    }
}
