//! The demo's files: a folder of its own with the sample policy, gone when the demo ends.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The policy that operators are given to start from, whole.
const ROUTES: &str = include_str!("../../config/routes.toml");

/// How much the demo's gateway logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Talk {
    /// A line for each request.
    Requests,
    /// What is wrong.
    Warnings,
}

/// A temporary folder with the configuration of a gateway. Dropping it removes it.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes a folder that only its owner may look into, and the configuration in it: clients at `listen`, the admin
    /// listener at a free port of loopback, the chat API at `upstream`.
    ///
    /// # Errors
    /// When the folder or its files cannot be written.
    pub fn make(listen: SocketAddr, upstream: SocketAddr, talk: Talk) -> io::Result<Self> {
        let mut random = [0; 8];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| io::Error::other("the system's random generator does not work"))?;
        let name = format!("keygate-demo-{:016x}", u64::from_ne_bytes(random));
        let path = std::env::temp_dir().join(name);
        // Fails if it is there already: nobody has put a link in its place.
        DirBuilder::new().mode(0o700).create(&path)?;
        let folder = Folder { path };
        fs::write(folder.config(), process(listen, upstream, talk))?;
        fs::write(folder.path.join("routes.toml"), ROUTES)?;
        // Its first line names it: for the editor of whoever tries an edit.
        let schema = crate::config::schema(crate::config::SchemaOf::Routes);
        fs::write(folder.path.join("routes.schema.json"), schema)?;
        Ok(folder)
    }

    /// The main configuration file.
    pub fn config(&self) -> PathBuf {
        self.path.join("keygate.toml")
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            let path = self.path.display();
            tracing::warn!("the demo's folder {path} stays behind: {error}");
        }
    }
}

/// The main file: what differs from the defaults.
fn process(listen: SocketAddr, upstream: SocketAddr, talk: Talk) -> String {
    let (level, access) = match talk {
        Talk::Requests => ("info", "all"),
        Talk::Warnings => ("warn", "off"),
    };
    format!(
        r#"# Made by `keygate demo`, for as long as it runs.
include = ["routes.toml"]

[server]
listen = ["{listen}"]

[admin]
listen = "127.0.0.1:0"

[log]
level  = "{level}"
access = "{access}"

[keys]
store  = "sqlite:data/keygate.db"
secret = "secret/master"

[upstreams.chat]
servers = ["http://{upstream}"]
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Secrets};
    use std::os::unix::fs::PermissionsExt;

    fn local(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn the_configuration_in_it_is_good_and_leads_to_the_chat_api() {
        for talk in [Talk::Requests, Talk::Warnings] {
            let folder = Folder::make(local(0), local(9), talk).unwrap();
            let loaded = config::load(&folder.config(), Secrets::Required).unwrap();
            assert!(loaded.warnings.is_empty());
            assert_eq!(loaded.hot.upstreams[0].servers[0].port, 9);
            assert!(loaded.cold.keys.store.starts_with(folder.path()));
            assert!(!loaded.expectations.is_empty());
        }
    }

    #[test]
    fn a_folder_is_private_and_leaves_nothing_behind() {
        let folder = Folder::make(local(0), local(9), Talk::Warnings).unwrap();
        let path = folder.path().to_owned();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(folder.config().is_file());
        fs::create_dir(path.join("data")).unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
