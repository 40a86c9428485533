//! What a case of the page needs besides texts: folders, sockets, links, modes, certificates, variables, keys in a store.
//!
//! Each line after the fence `given` is one of:
//!
//! ```text
//! folder NAME                     an empty folder
//! socket NAME                     something that is neither a file nor a folder
//! link NAME TARGET                a symbolic link
//! bytes NAME HEX…                 a file of these bytes
//! size NAME BYTES                 a file of so many zeros
//! mode NAME OCTAL                 the permissions of what is there
//! pair NAME HOST [FROM UNTIL]     NAME.pem and NAME.key, for this host, good between these years
//! env NAME [TEXT]                 a variable, or an empty one
//! env-bytes NAME HEX…             a variable that is no text
//! keygate ARGUMENT…               a command that is run before
//! ```

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// The environment of a case.
#[derive(Default)]
pub struct Environment(Vec<(String, OsString)>);

impl Environment {
    /// The program in this folder, with these variables and none that the machine may have for it.
    pub fn keygate(&self, folder: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
        command.current_dir(folder);
        for name in [
            "KEYGATE_CONFIG",
            "KEYGATE_SECRET",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
        ] {
            command.env_remove(name);
        }
        command.envs(self.0.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Does what one line says.
    pub fn give(&mut self, line: &str, folder: &Path) {
        let words: Vec<&str> = line.split(' ').collect();
        let at = |name: &str| folder.join(name);
        match words.as_slice() {
            ["folder", name] => fs::create_dir(at(name)).expect("a folder"),
            // The file of the socket stays when nobody listens any more.
            ["socket", name] => drop(UnixListener::bind(at(name)).expect("a socket")),
            ["link", name, target] => symlink(target, at(name)).expect("a link"),
            ["bytes", name, hex @ ..] => fs::write(at(name), bytes(hex)).expect("write"),
            ["size", name, size] => {
                let file = fs::File::create(at(name)).expect("a file");
                file.set_len(size.parse().expect("a size")).expect("a hole");
            }
            ["mode", name, octal] => {
                let mode = u32::from_str_radix(octal, 8).expect("octal digits");
                fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).expect("a mode");
            }
            ["pair", name, host, years @ ..] => pair(folder, name, host, years),
            ["env", name] => self.0.push(((*name).to_owned(), OsString::new())),
            ["env", name, text] => self.0.push(((*name).to_owned(), text.into())),
            ["env-bytes", name, hex @ ..] => {
                let value = OsString::from_vec(bytes(hex));
                self.0.push(((*name).to_owned(), value));
            }
            ["keygate", arguments @ ..] => {
                let ran = self.keygate(folder).args(arguments).output();
                let ran = ran.expect("keygate");
                let said = String::from_utf8_lossy(&ran.stderr);
                assert!(ran.status.success(), "`{line}`: {said}");
            }
            _ => panic!("`{line}` is nothing that can be given"),
        }
    }
}

fn bytes(hex: &[&str]) -> Vec<u8> {
    let byte = |hex: &&str| u8::from_str_radix(hex, 16).expect("hexadecimal digits");
    hex.iter().map(byte).collect()
}

/// A certificate that vouches for itself, and its key.
fn pair(folder: &Path, name: &str, host: &str, years: &[&str]) {
    let mut parameters = CertificateParams::new([host.to_owned()]).expect("a name");
    if let [from, until] = years {
        let year = |text: &str| text.parse().expect("a year");
        parameters.not_before = date_time_ymd(year(from), 1, 1);
        parameters.not_after = date_time_ymd(year(until), 1, 1);
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("write");
    let file = folder.join(format!("{name}.key"));
    fs::write(&file, key.serialize_pem()).expect("write");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("a mode");
}
