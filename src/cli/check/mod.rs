//! `keygate check`: would `keygate run` start with these files, and if not, everything that stands in its way.
//!
//! It reads what `run` reads and changes nothing: the configuration, whole, with its expectations; the secrets that it
//! names, unless told not to; the key store, read-only, if there is one. Problems go to standard error, each with its
//! place; the last line says how it came out. Exit code 0, or 2 where there is an error.
//!
//! Beyond that it reviews the policy: [`crate::policy::lint`] says what is probably not meant. `format` has the forms that
//! machines read.

mod format;

use format::Report;

use crate::admin::{Token, TokenError};
use crate::config::{
    self, Loaded, Problem, Problems, Purpose, Secrets, Severity, Shadow, ShadowOrigin, Start,
};
use crate::key::ScopeName;
use crate::policy::lint::{Level, Lint};
use crate::store::{self, OpenMode, OpenOptions, Peek, StoreError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Validate everything that `run` would read, run the policy's tests, and say all that is wrong or probably not meant
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Problems go to standard error, each as file:line:column, with its line and what was expected; the other formats go to
standard output. `[lints]` in the main file sets how loud each lint is: \"allow\", \"note\" or \"warn\".
Exit code 0 if `run` would start with these files, 2 if not; warnings count only with --deny.

Examples:
  keygate check --config gateway/keygate.toml
  keygate check --config gateway/keygate.toml --no-secrets    # where the secrets are not, as in CI
  keygate check --deny warnings --format github               # as annotations of a pull request
  keygate check --format json | jq '.problems[] | .lint'")]
pub struct CheckArgs {
    /// The main configuration file
    #[arg(
        long,
        value_name = "FILE",
        env = "KEYGATE_CONFIG",
        default_value = "keygate.toml"
    )]
    config: PathBuf,
    /// Check without the secrets: unset variables and missing secret files are no errors, the master secret is not read
    #[arg(long)]
    no_secrets: bool,
    /// Where accepted configurations are kept, as `run` is told [default: `[reload] folder`]
    #[arg(long, value_name = "DIR", env = "KEYGATE_GENERATIONS")]
    generations: Option<PathBuf>,
    /// What else makes the check fail
    #[arg(long, value_name = "WHAT")]
    deny: Option<Deny>,
    /// How problems are written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What makes a check fail that would not stop `run`.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Deny {
    /// Warnings
    Warnings,
    /// Notes too
    Notes,
}

/// How problems are written.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Format {
    /// For people: the line, a caret, help; with colours on a terminal
    #[default]
    Text,
    /// One line each, `file:line:column: severity: sentence [lint]`, as editors and CI's problem matchers read it
    Short,
    /// One JSON document
    Json,
    /// Workflow commands of GitHub Actions, which shows them beside the lines
    Github,
}

/// What was found out about the key store.
enum Store {
    /// There is none; `run` makes it.
    None,
    /// It can be used, and has so many keys.
    Keys(u64),
    /// It can be used, but not told how many keys it has.
    Unfinished,
    /// It cannot be used: see the problems.
    Unusable,
}

/// Runs the command.
pub fn run(args: CheckArgs) -> ExitCode {
    let secrets = if args.no_secrets {
        Secrets::Skipped
    } else {
        Secrets::Required
    };
    let generations = args.generations.as_deref();
    let (problems, verdict) = check(&args.config, generations, secrets, args.deny);
    let report = Report {
        problems: &problems,
        verdict: &verdict,
    };
    report.write(args.format);
    match verdict {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(2),
    }
}

/// All problems, and the last line: `Err` if one of them makes the check fail.
fn check(
    config: &Path,
    generations: Option<&Path>,
    secrets: Secrets,
    deny: Option<Deny>,
) -> (Problems, Result<String, String>) {
    let (problems, good) = match config::load_for(Purpose::Review, config, secrets) {
        Err(problems) => (problems, None),
        Ok(mut loaded) => {
            let mut problems = std::mem::take(&mut loaded.warnings);
            let store = look_into_store(&loaded, secrets, &mut problems);
            if secrets == Secrets::Required {
                look_at_start(config, generations, &loaded, &mut problems);
            }
            (Problems(problems), Some((loaded, store)))
        }
    };
    let (errors, warnings) = problems.count();
    let notes = problems.0.len() - errors - warnings;
    let denied = match deny {
        None => 0,
        Some(Deny::Warnings) => warnings,
        Some(Deny::Notes) => warnings + notes,
    };
    let verdict = match good {
        Some((loaded, store)) if errors + denied == 0 => Ok(summary(&loaded, &store, warnings)),
        _ => Err(counts(config, &problems)),
    };
    (problems, verdict)
}

/// Writes why a configuration cannot be used, for the commands that only read one; the exit code of that.
pub(super) fn refuse(config: &Path, problems: &Problems, format: Format) -> ExitCode {
    let verdict = Err(counts(config, problems));
    let report = Report {
        problems,
        verdict: &verdict,
    };
    report.write(format);
    ExitCode::from(2)
}

/// One line for a configuration that is not fine.
fn counts(config: &Path, problems: &Problems) -> String {
    let (errors, warnings) = problems.count();
    format!(
        "{}: {}, {}",
        config.display(),
        counted(errors, "error"),
        counted(warnings, "warning")
    )
}

/// One line for a configuration that is fine.
fn summary(loaded: &Loaded, store: &Store, warnings: usize) -> String {
    let mut parts = vec![
        counted(loaded.routes, "route"),
        counted(loaded.hot.upstreams.len(), "upstream"),
        format!("{} held", counted(loaded.expectations.len(), "expectation")),
        match store {
            Store::Keys(keys) => counted(usize::try_from(*keys).unwrap_or(usize::MAX), "key"),
            Store::None => "no key store yet".to_owned(),
            Store::Unfinished | Store::Unusable => "keys not counted".to_owned(),
        },
    ];
    if let Some(shadow) = &loaded.hot.shadow {
        parts.push(tried(shadow));
    }
    if warnings > 0 {
        parts.push(counted(warnings, "warning"));
    }
    format!("ok: {}", parts.join(", "))
}

/// What is tried beside it.
fn tried(shadow: &Shadow) -> String {
    match shadow.origin {
        ShadowOrigin::Routes => format!("{} in shadow", counted(shadow.routes, "route")),
        ShadowOrigin::Files => format!(
            "a policy of {} in shadow ({} held)",
            counted(shadow.routes, "route"),
            counted(shadow.expectations, "expectation")
        ),
    }
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// Adds what `run` would say of the token and of what was accepted before.
fn look_at_start(
    config: &Path,
    generations: Option<&Path>,
    loaded: &Loaded,
    problems: &mut Vec<Problem>,
) {
    match loaded.cold.admin.token.as_deref().map(Token::read) {
        None | Some(Ok(_) | Err(TokenError::Missing(_))) => {}
        Some(Err(error)) => {
            let spot = &loaded.admin_spot;
            problems.push(spot.problem(Severity::Error, super::chain(&error)));
        }
    }
    let mut add = |severity, message: String| {
        problems.push(loaded.reload_spot.problem(severity, message));
    };
    match Start::decide(config, generations, None) {
        Ok(start) => {
            if let Some(generation) = start.pinned() {
                add(
                    Severity::Note,
                    format!(
                        "generation {generation} is pinned: `run` starts with it, not with these files"
                    ),
                );
            }
            if let Some(waiting) = start.waiting() {
                let (why, hash) = (waiting.reasons(), &waiting.hash);
                add(
                    Severity::Note,
                    format!(
                        "{why}: so these files wait to be confirmed, by `keygate reload --confirm {hash}`"
                    ),
                );
            }
        }
        Err(error) => add(Severity::Error, super::chain(&error)),
    }
}

/// Opens the store as far as that changes nothing, and adds what is wrong with it.
fn look_into_store(loaded: &Loaded, secrets: Secrets, problems: &mut Vec<Problem>) -> Store {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let message = format!("the key store cannot be looked into: {error}");
            problems.push(loaded.store_spot.problem(Severity::Error, message));
            return Store::Unusable;
        }
    };
    match runtime.block_on(open(loaded, secrets)) {
        Ok(peek) => {
            note_lost_scopes(loaded, &peek, problems);
            Store::Keys(peek.keys())
        }
        Err(StoreError::Missing { .. }) => Store::None,
        Err(error @ (StoreError::Unfinished { .. } | StoreError::Older { .. })) => {
            let message = error.to_string();
            problems.push(loaded.store_spot.problem(Severity::Warning, message));
            Store::Unfinished
        }
        Err(error) => {
            let spot = if is_about_secret(&error) {
                &loaded.secret_spot
            } else {
                &loaded.store_spot
            };
            problems.push(spot.problem(Severity::Error, error.to_string()));
            Store::Unusable
        }
    }
}

/// Keys of a scope that is not declared are refused everywhere: they were good before someone edited `[scopes]`.
fn note_lost_scopes(loaded: &Loaded, peek: &Peek, problems: &mut Vec<Problem>) {
    let severity = match loaded.lints.of(Lint::KeysWithoutScope) {
        Level::Allow => return,
        Level::Note => Severity::Note,
        Level::Warn => Severity::Warning,
    };
    let declared = loaded.hot.policy.scopes();
    for (scope, keys) in &peek.scopes {
        if ScopeName::parse(scope).is_ok_and(|name| declared.declares(&name)) {
            continue;
        }
        let keys = counted(usize::try_from(*keys).unwrap_or(usize::MAX), "key");
        let message = format!(
            "the scope `{scope}` of {keys} in the store is not declared: they are refused wherever a key is needed"
        );
        let mut problem = loaded.store_spot.problem(severity, message);
        problem.lint = Some(Lint::KeysWithoutScope);
        problems.push(problem.help(format!(
            "declare `{scope}`, or give the keys another one: `keygate keys list --scope {scope}`"
        )));
    }
}

async fn open(loaded: &Loaded, secrets: Secrets) -> Result<Peek, StoreError> {
    let keys = &loaded.cold.keys;
    if secrets == Secrets::Required {
        let store = store::open(OpenOptions {
            path: keys.store.clone(),
            secret_file: keys.secret.clone(),
            secret_env: store::secret_from_env(),
            mode: OpenMode::ReadOnly,
        })
        .await?;
        store.close().await;
    }
    store::peek(&keys.store).await
}

fn is_about_secret(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::SecretDoubled { .. }
            | StoreError::SecretMissing { .. }
            | StoreError::SecretWrong { .. }
            | StoreError::SecretWithoutStore { .. }
            | StoreError::SecretOpen { .. }
            | StoreError::SecretMalformed { .. }
            | StoreError::SecretFile { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Actor, Command, KeyName, NewKey, Origin, Reveal, ScopeName};
    use std::fs;

    const GOOD: &str = "[upstreams.a]\nservers = [\"http://a\"]\nheaders.set = { k = \"${env:KEYGATE_TEST_IS_NEVER_SET}\" }\n[scopes]\nfullAccess = []\n[defaults]\nupstream = \"a\"\n[[routes]]\npath = \"/a\"\nscope = \"fullAccess\"\n[[expect]]\nrequest = \"GET /a\"\nallow = [\"fullAccess\"]\n";

    fn folder(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("keygate.toml");
        fs::write(&main, text).unwrap();
        (folder, main)
    }

    fn make_store(folder: &Path) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let store = store::open(OpenOptions {
                path: folder.join("data/keygate.db"),
                secret_file: folder.join("secret/master"),
                secret_env: None,
                mode: OpenMode::CreateOrMigrate,
            })
            .await
            .unwrap();
            let key = NewKey {
                name: KeyName::parse("a").unwrap(),
                scope: ScopeName::parse("fullAccess").unwrap(),
                enabled: true,
                expires_at: None,
                brought: None,
                if_absent: false,
            };
            let origin = Origin {
                actor: Actor::Operator,
                client: None,
                request_id: None,
            };
            let made = store.execute(Command::Create(key), origin, Reveal::Always);
            assert!(made.await.is_ok());
            store.close().await;
        });
    }

    #[test]
    fn a_good_configuration_is_summed_up_and_no_file_is_made() {
        let (folder, main) = folder(&GOOD.replace("${env:KEYGATE_TEST_IS_NEVER_SET}", "x"));
        let (problems, verdict) = check(&main, None, Secrets::Required, None);
        assert_eq!(problems.0, []);
        assert_eq!(
            verdict,
            Ok("ok: 1 route, 1 upstream, 1 expectation held, no key store yet".into())
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        make_store(folder.path());
        let (_, verdict) = check(&main, None, Secrets::Required, None);
        assert_eq!(
            verdict,
            Ok("ok: 1 route, 1 upstream, 1 expectation held, 1 key".into())
        );
        assert_eq!(fs::read_dir(folder.path().join("data")).unwrap().count(), 1);
    }

    #[test]
    fn without_secrets_neither_the_environment_nor_the_master_secret_is_asked_for() {
        let (folder, main) = folder(GOOD);
        let (problems, verdict) = check(&main, None, Secrets::Required, None);
        assert_eq!(problems.count(), (1, 0));
        assert_eq!(
            verdict,
            Err(format!("{}: 1 error, 0 warnings", main.display()))
        );
        make_store(folder.path());
        fs::remove_file(folder.path().join("secret/master")).unwrap();
        let (problems, verdict) = check(&main, None, Secrets::Skipped, None);
        assert_eq!(problems.0, []);
        assert_eq!(
            verdict,
            Ok("ok: 1 route, 1 upstream, 1 expectation held, 1 key".into())
        );
    }

    #[test]
    fn what_is_wrong_with_the_store_is_said_where_the_store_is_named() {
        let text = GOOD.replace("${env:KEYGATE_TEST_IS_NEVER_SET}", "x");
        let text = format!(
            "{text}[keys]\nsecret = \"secret/master\"\nstore = \"sqlite:data/keygate.db\"\n"
        );
        let (folder, main) = folder(&text);
        let said = || {
            let (problems, _) = check(&main, None, Secrets::Required, None);
            assert_eq!(problems.count(), (1, 0), "{problems}");
            (problems.0[0].place.line, problems.0[0].message.clone())
        };
        make_store(folder.path());
        let secret = folder.path().join("secret/master");
        let kept = fs::read(&secret).unwrap();
        fs::remove_file(&secret).unwrap();
        let (line, message) = said();
        assert_eq!(line, 15);
        assert!(message.contains("is missing"), "{message}");
        fs::write(&secret, kept).unwrap();
        let (line, message) = said();
        assert_eq!(line, 15);
        assert!(message.contains("chmod 600"), "{message}");
        fs::remove_file(&secret).unwrap();
        fs::write(
            folder.path().join("data/keygate.db"),
            "no database, but long enough to be one".repeat(40),
        )
        .unwrap();
        let (line, message) = said();
        assert_eq!(line, 16);
        assert!(message.contains("damaged"), "{message}");
    }
}
