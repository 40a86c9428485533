//! The binary: see [`keygate::cli`].

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    keygate::cli::main()
}
