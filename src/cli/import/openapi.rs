//! `keygate import openapi`: a description of an API to routes, scopes and expectations.

use super::{ImportError, input, output};
use crate::config::{self, MANAGEMENT_PATHS, MOST_BYTES};
use crate::key::ScopeName;
use crate::openapi::{self, Fault, Imported, Options, Where};
use std::path::PathBuf;
use std::process::ExitCode;

/// How many notes, or faults, are told; all that is left out stands in the policy, too.
const TOLD: usize = 40;

/// Make a first policy from an OpenAPI document: routes, scopes from its security requirements, and tests of both
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Reads OpenAPI 3.0, 3.1 and 3.2 and Swagger 2.0, in JSON or YAML, and prints a commented file of
routes for `include`. Nothing is opened wider than the document says. What a policy cannot say
(`/img-{id}`), or what the document says in two ways, is left out, and told on standard error and
in the file; so is how much is public.

  security: []  or an alternative {}     access = \"public\"
  [{a: [read]}, {a: [write]}]            scope = [\"read\", \"write\"], any of them
  [{a: [read, write]}]                   a scope of its own, which includes both
  [{key: []}]                            a scope called as the scheme
  nothing said, not at the top either    the scope of --scope

Exit codes: 0 done, 1 failed at run time, 2 bad usage or a document that cannot be read in one way.

Examples:
  keygate import openapi api.yaml --output gateway/api.toml
  curl -s https://api.example.com/openapi.json | keygate import openapi - --upstream app
  keygate import openapi api.yaml --scope authOnly --prefix /v1")]
pub struct OpenapiArgs {
    /// The document; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write to this file, which must not exist, in place of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The upstream that all routes lead to
    #[arg(long, value_name = "NAME", default_value = "app", value_parser = upstream_name)]
    upstream: String,
    /// The scope for operations whose document says nothing of security
    #[arg(long, value_name = "NAME", default_value = "fullAccess", value_parser = scope_name)]
    scope: ScopeName,
    /// What stands before each path, in place of what the document's servers say; `/` for nothing, may be given again
    #[arg(long, value_name = "PATH", value_parser = openapi::prefix)]
    prefix: Vec<String>,
}

fn upstream_name(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("an upstream's name has 1 to 64 letters, digits or `_ - .`".to_owned())
    }
}

fn scope_name(text: &str) -> Result<ScopeName, String> {
    match text {
        "anyone" => {
            Err("in `[[expect]]`, `anyone` is who has no key; expected another name".to_owned())
        }
        text => ScopeName::parse(text).map_err(|error| error.to_string()),
    }
}

/// Runs the command.
pub(super) fn run(args: OpenapiArgs) -> ExitCode {
    match import(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("keygate: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn import(args: &OpenapiArgs) -> Result<(), ImportError> {
    let input = input::read(&args.file)?;
    let called = args.file.file_name().map(|name| name.to_string_lossy());
    let mut prefixes = args.prefix.clone();
    prefixes.sort();
    prefixes.dedup();
    let options = Options {
        name: match args.file.to_str() {
            Some("-") => &input.name,
            _ => called.as_deref().unwrap_or(&input.name),
        },
        upstream: &args.upstream,
        scope: &args.scope,
        prefixes: &prefixes,
        management: &MANAGEMENT_PATHS,
    };
    let imported = openapi::import(&input.text, input.form, &options)
        .map_err(|faults| ImportError::Faults(told(&input.name, &faults)))?;
    if imported.text.len() as u64 > MOST_BYTES {
        return Err(ImportError::TooMuch { name: input.name });
    }
    read_back(&imported.text, &args.upstream)?;
    match &args.output {
        Some(path) => output::save(&imported.text, path)?,
        None => output::print(&imported.text)?,
    }
    tell(&input.name, &imported, args);
    Ok(())
}

/// Has the loader judge the policy, its expectations included.
fn read_back(text: &str, upstream: &str) -> Result<(), ImportError> {
    let main = format!(
        "include = [\"routes.toml\"]\n[upstreams.\"{upstream}\"]\nservers = [\"http://127.0.0.1:9000\"]\n"
    );
    match config::load_texts(&main, &[("routes.toml", text)]) {
        Ok(_) => Ok(()),
        Err(problems) => Err(ImportError::DoesNotLoad(problems.to_string())),
    }
}

/// All faults, each with its place.
fn told(name: &str, faults: &[Fault]) -> String {
    let mut lines: Vec<String> = (faults.iter().take(TOLD))
        .map(|fault| at(name, Some(&fault.place), &fault.what))
        .collect();
    if faults.len() > TOLD {
        lines.push(format!("and {} more", faults.len() - TOLD));
    }
    lines.join("\nkeygate: ")
}

/// A sentence with its place in the document.
fn at(name: &str, place: Option<&Where>, what: &str) -> String {
    let Some(place) = place else {
        return format!("{name}: {what}");
    };
    let spot = match place.spot.line {
        0 => String::new(),
        line => format!(":{line}:{}", place.spot.column),
    };
    let pointer = place.shown_pointer();
    match &*pointer {
        "" => format!("{name}{spot}: {what}"),
        pointer => format!("{name}{spot}: {what} (#{pointer})"),
    }
}

/// Says on standard error what is to be known beside the policy.
fn tell(name: &str, imported: &Imported, args: &OpenapiArgs) {
    for note in imported.notes.iter().take(TOLD) {
        say!(
            "keygate: note: {}",
            at(name, note.place.as_ref(), &note.what)
        );
    }
    if imported.notes.len() > TOLD {
        let more = imported.notes.len() - TOLD;
        say!("keygate: note: and {more} more; all that is left out or closed stands in the policy");
    }
    let operations = match imported.operations {
        1 => "1 operation has a route".to_owned(),
        number => format!("{number} operations have routes"),
    };
    say!("keygate: {name}: {operations}");
    let (public, first) = &imported.public;
    if *public > 0 {
        let more = match public - first.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let need = match public {
            1 => "1 of them needs".to_owned(),
            number => format!("{number} of them need"),
        };
        say!(
            "keygate: {need} no key, as the document says: {}{more}",
            first.join(", ")
        );
    }
    if imported.unsaid > 0 {
        say!(
            "keygate: the document does not say who may use {} of them: they are for keys of scope {}",
            imported.unsaid,
            args.scope
        );
    }
    if let Some(path) = &args.output {
        say!(
            "keygate: made {}; in `include` of keygate.toml it stands in place of routes.toml, then: keygate check",
            path.display()
        );
    }
}
