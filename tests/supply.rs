//! What is built in is not older than the mends that keygate relies on.
//!
//! `Cargo.lock` is what is built, so that is read. A row names the first version that has the mend, and where that is told.

/// Name, lowest version, why.
const FLOORS: [(&str, [u64; 3], &str); 9] = [
    (
        "h2",
        [0, 4, 16],
        "excessive small DATA frames are limited (its changelog); CONTINUATION floods (RUSTSEC-2024-0332), resets (RUSTSEC-2024-0003)",
    ),
    (
        "hyper",
        [1, 12, 0],
        "conflicts of framing are read as tests/framing.rs shows",
    ),
    (
        "rustls",
        [0, 23, 18],
        "RUSTSEC-2024-0399, RUSTSEC-2024-0336",
    ),
    (
        "rustls-webpki",
        [0, 103, 17],
        "excluded subtrees of wildcard names (its sources name CVE-2025-61727)",
    ),
    ("tokio", [1, 44, 2], "RUSTSEC-2025-0023"),
    ("sqlx", [0, 8, 1], "RUSTSEC-2024-0363"),
    (
        "tracing-subscriber",
        [0, 3, 20],
        "escape sequences in log lines (RUSTSEC-2025-0055)",
    ),
    ("slab", [0, 4, 11], "RUSTSEC-2025-0047"),
    ("http", [1, 0, 0], "the types that hyper 1 and h2 0.4 share"),
];

/// Every version of a crate in the lock file.
fn locked(name: &str) -> Vec<[u64; 3]> {
    let lock = include_str!("../Cargo.lock");
    let package = format!("[[package]]\nname = \"{name}\"\nversion = \"");
    lock.split(&package)
        .skip(1)
        .map(|rest| {
            let version = rest.split('"').next().expect("a version ends");
            let mut numbers = version
                .split(['.', '-', '+'])
                .map(|n| n.parse().expect("a number"));
            std::array::from_fn(|_| numbers.next().expect("three numbers"))
        })
        .collect()
}

#[test]
fn nothing_is_older_than_the_mends_that_are_relied_on() {
    for (name, lowest, why) in FLOORS {
        let found = locked(name);
        assert!(
            !found.is_empty(),
            "{name} is not built in any more: strike its row"
        );
        for version in found {
            assert!(
                version >= lowest,
                "{name} {version:?} is older than {lowest:?}: {why}"
            );
        }
    }
}
