//! The binary: see [`keygate::cli`].

#![forbid(unsafe_code)]

/// Requests live in many small, short-lived allocations; `cargo bench --bench lab` shows what this one saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    keygate::cli::main()
}
