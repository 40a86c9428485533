//! What can be written after `keygate keys`.
//!
//! Nothing here derives `Debug`: a key may stand among the arguments.

use super::time::{self, Since, Span};
use crate::clock::Timestamp;
use crate::key::{KeyName, ScopeName};
use clap::{ArgGroup, Args, Subcommand};
use std::path::PathBuf;

/// Create, list, show, change and delete API keys, and read who changed what.
///
/// Works on the key store itself, also while a gateway runs on it, which follows within a second.
#[derive(Args)]
#[command(after_help = "\
Examples:
  keygate keys create --name 'Rest API Key' --scope fullAccess
  keygate keys list --scope authOnly
  keygate keys update 4k1xq0v9m2c7b5n8s3d6 --disable
  keygate keys delete - < file-with-a-key
  keygate keys audit --since 2h

Exit status: 0 done; 1 not found, refused, or the store failed; 2 wrong arguments or configuration.")]
pub struct KeysArgs {
    /// The configuration: of it, `[keys]` and the declared scopes are used.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "KEYGATE_CONFIG",
        default_value = "keygate.toml"
    )]
    pub(super) config: PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) action: KeysAction,
}

#[derive(Subcommand)]
pub(super) enum KeysAction {
    Create(CreateArgs),
    List(ListArgs),
    Get(GetArgs),
    Update(UpdateArgs),
    Delete(DeleteArgs),
    Audit(AuditArgs),
}

/// Make a key and print it, alone, on standard output.
///
/// Makes the key store, with its master secret, where there is none.
#[derive(Args)]
#[command(after_help = "\
Examples:
  KEY=$(keygate keys create --name 'Rest API Key' --scope fullAccess)
  keygate keys create --name ci --scope authOnly --expires-in 30d
  keygate keys create --name legacy --scope authOnly --key-stdin < old-key
  keygate keys create --name app --scope authOnly --if-absent    # in an entry script")]
pub(super) struct CreateArgs {
    /// The key's name: 1 to 100 characters.
    #[arg(long, value_parser = name)]
    pub(super) name: KeyName,
    /// One of the scopes that the configuration declares; `authOnly`, where declared, if not given.
    #[arg(long, value_parser = scope)]
    pub(super) scope: Option<ScopeName>,
    /// When the key ends: Unix seconds, a date, or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = time::point, conflicts_with = "expires_in")]
    pub(super) expires_at: Option<Timestamp>,
    /// How long the key lasts: 12h, 30d, 2w.
    #[arg(long, value_name = "SPAN", value_parser = time::span)]
    pub(super) expires_in: Option<Span>,
    /// Make it, but let it open nothing until it is enabled.
    #[arg(long)]
    pub(super) disabled: bool,
    /// If there is a key of this name, change nothing and print that one.
    #[arg(long)]
    pub(super) if_absent: bool,
    /// Bring in an existing key, read from standard input: 20 to 128 visible ASCII characters.
    #[arg(long)]
    pub(super) key_stdin: bool,
}

/// List keys, newest first, masked.
#[derive(Args)]
pub(super) struct ListArgs {
    /// Only keys of this scope, declared or not.
    #[arg(long, value_parser = scope)]
    pub(super) scope: Option<ScopeName>,
    /// Only keys with this in their name, letter case ignored.
    #[arg(long, value_name = "TEXT")]
    pub(super) search: Option<String>,
    /// Print the keys themselves, where the store can still show them.
    #[arg(long)]
    pub(super) reveal: bool,
}

/// Show one key, masked.
#[derive(Args)]
pub(super) struct GetArgs {
    #[command(flatten)]
    pub(super) key: KeyArg,
    /// Print the key itself, where the store can still show it.
    #[arg(long)]
    pub(super) reveal: bool,
}

/// Change a key. What is not named stays as it is.
#[derive(Args)]
#[command(
    override_usage = "keygate keys update [OPTIONS] <ID|KEY|-> <CHANGES>...",
    group = ArgGroup::new("change").required(true).multiple(true),
    after_help = "\
Examples:
  keygate keys update 4k1xq0v9m2c7b5n8s3d6 --disable
  keygate keys update 4k1xq0v9m2c7b5n8s3d6 --scope fullAccess --no-expiry"
)]
pub(super) struct UpdateArgs {
    #[command(flatten)]
    pub(super) key: KeyArg,
    /// A new name.
    #[arg(long, value_parser = name, group = "change")]
    pub(super) name: Option<KeyName>,
    /// Another of the declared scopes.
    #[arg(long, value_parser = scope, group = "change")]
    pub(super) scope: Option<ScopeName>,
    /// Let the key open what its scope allows.
    #[arg(long, group = "change")]
    pub(super) enable: bool,
    /// Let the key open nothing.
    #[arg(long, group = "change", conflicts_with = "enable")]
    pub(super) disable: bool,
    /// When the key ends: Unix seconds, a date, or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = time::point, group = "change")]
    pub(super) expires_at: Option<Timestamp>,
    /// How long the key lasts from now: 12h, 30d, 2w.
    #[arg(long, value_name = "SPAN", value_parser = time::span, group = "change", conflicts_with = "expires_at")]
    pub(super) expires_in: Option<Span>,
    /// Let the key last.
    #[arg(long, group = "change", conflicts_with_all = ["expires_at", "expires_in"])]
    pub(super) no_expiry: bool,
}

/// Delete a key, and print what was deleted, masked.
#[derive(Args)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    pub(super) key: KeyArg,
}

/// Print who changed what, newest first.
#[derive(Args)]
#[command(after_help = "\
Examples:
  keygate keys audit --since 2h
  keygate keys audit --key 4k1xq0v9m2c7b5n8s3d6 --json")]
pub(super) struct AuditArgs {
    /// Only changes of this key: its id, the key itself while it exists, or `-` to read either from standard input.
    #[arg(long, value_name = "ID")]
    pub(super) key: Option<String>,
    /// Only changes since then: how long ago (2h), Unix seconds, a date, or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = time::since)]
    pub(super) since: Option<Since>,
    /// At most so many changes, the newest.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) limit: u64,
}

/// Names one key.
#[derive(Args)]
pub(super) struct KeyArg {
    /// The key's id; or the key itself; or `-` to read either from standard input, where `ps` does not show it.
    #[arg(value_name = "ID|KEY|-", allow_hyphen_values = true)]
    pub(super) key: String,
}

fn name(text: &str) -> Result<KeyName, String> {
    KeyName::parse(text).map_err(|e| e.to_string())
}

fn scope(text: &str) -> Result<ScopeName, String> {
    ScopeName::parse(text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser, error::ErrorKind};

    #[derive(Parser)]
    struct Keys {
        #[command(flatten)]
        keys: KeysArgs,
    }

    fn parse(line: &str) -> Result<KeysArgs, ErrorKind> {
        Keys::try_parse_from(line.split(' '))
            .map(|parsed| parsed.keys)
            .map_err(|error| error.kind())
    }

    #[test]
    fn the_arguments_hold_together() {
        Keys::command().debug_assert();
    }

    #[test]
    fn lines_that_say_what_to_do_are_taken() {
        for line in [
            "keys create --name x --scope fullAccess",
            "keys create --name x --expires-in 30d --disabled --if-absent --key-stdin --json",
            "keys create --name x --expires-at 2099-01-01T00:00:00Z",
            "keys --config a.toml --json list",
            "keys list --scope a.b:c --search REST --reveal --config a.toml",
            "keys get -",
            "keys get -starts-with-a-hyphen-and-is-a-key",
            "keys update abc --name y --scope s --enable --no-expiry",
            "keys update abc --disable --expires-in 1w",
            "keys delete - --json",
            "keys audit",
            "keys audit --key - --since 2h --limit 5",
            "keys audit --since 2026-01-01",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn lines_that_do_not_are_refused() {
        for (line, expected) in [
            ("keys", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("keys create", ErrorKind::MissingRequiredArgument),
            ("keys create --name ", ErrorKind::ValueValidation),
            (
                "keys create --name x --scope 1a",
                ErrorKind::ValueValidation,
            ),
            (
                "keys create --name x --expires-in 30",
                ErrorKind::ValueValidation,
            ),
            (
                "keys create --name x --expires-at tomorrow",
                ErrorKind::ValueValidation,
            ),
            (
                "keys create --name x --expires-in 30d --expires-at 5",
                ErrorKind::ArgumentConflict,
            ),
            ("keys get", ErrorKind::MissingRequiredArgument),
            ("keys update abc", ErrorKind::MissingRequiredArgument),
            (
                "keys update abc --enable --disable",
                ErrorKind::ArgumentConflict,
            ),
            (
                "keys update abc --no-expiry --expires-in 1d",
                ErrorKind::ArgumentConflict,
            ),
            ("keys delete a b", ErrorKind::UnknownArgument),
            ("keys audit --limit 0", ErrorKind::ValueValidation),
            ("keys audit --since soon", ErrorKind::ValueValidation),
        ] {
            assert_eq!(parse(line).err(), Some(expected), "{line}");
        }
    }
}
