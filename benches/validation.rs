//! What the check of a key costs, alone: no socket, no policy, one thread.
//!
//! `cargo bench --bench validation` (a name behind `--` picks benchmarks: `identify::hit`). The cache is filled from a
//! real store, through the door that the gateway uses. The keys of a benchmark are asked for in an order that has
//! nothing to do with the order in which they were loaded, each once before one comes again: with a million of them,
//! every hit finds its key in memory that is in no cache of the processor. The texts themselves lie in one row in the
//! order of asking, so that the benchmark adds no misses of its own.
//!
//! What a hit among a million costs more than one among few is waiting for memory, three times in a row, since each
//! place is known only when the one before has come: the map's control bytes, its slot, the entry.
//!
//! It also prints, from a process of its own, how long a million keys take to load and how much memory each one takes; and
//! how much more two threads check than one.

mod support {
    pub mod store;
}

use aws_lc_rs::hmac;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use keygate::clock::Timestamp;
use keygate::key::Digester;
use keygate::keycache::{KeyCache, Unidentified, Verifier};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Instant;
use support::store::{keys_of, store_of};
use zeroize::Zeroizing;

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MILLION: usize = 1_000_000;
const COUNTS: [usize; 3] = [1, 10_000, MILLION];

/// Prime to each of the counts: steps of this length visit every key once, far apart.
const STRIDE: usize = 611_953;

/// A key's text: this many hexadecimal digits.
const DIGITS: usize = 40;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, folder] = arguments.as_slice()
        && command == "load"
    {
        return load(Path::new(folder));
    }
    // Where all is asked for, what is printed of the million comes first, and not among the figures.
    if arguments
        .iter()
        .skip(1)
        .all(|argument| argument == "--bench")
    {
        full(MILLION);
        side_by_side();
    }
    divan::main();
}

/// Prints what a second thread on the same cache brings: each has a worker's memory of its own, and the cache in
/// common with the other.
fn side_by_side() {
    const CHECKS: usize = 2_000_000;
    let full = full(COUNTS[1]);
    let checks = |offset: usize| {
        let now = Timestamp::now();
        let verifier = Verifier::new(Arc::clone(&full.cache));
        let texts = full.texts.iter().cycle().skip(offset);
        for text in texts.take(CHECKS) {
            assert!(verifier.identify(black_box(text), || now).is_ok());
        }
    };
    let identified = ratio(&|i| checks(i * COUNTS[1] / 2));
    // What two threads of this machine are to one that have nothing in common.
    let digester = Digester::new(Zeroizing::new([7; 32]));
    let digested = ratio(&|_| {
        let digester = digester.clone();
        let texts: Vec<_> = (0..64).map(unknown).collect();
        for text in texts.iter().cycle().take(CHECKS) {
            black_box(digester.digest(black_box(text)));
        }
    });
    println!("two threads over one, 10,000 keys: {identified}");
    println!("two threads over one, digests alone: {digested}");
}

/// How much more two threads do than one, over several turns.
fn ratio(work: &(impl Fn(usize) + Sync)) -> String {
    const TURNS: usize = 7;
    let a_second = |threads: usize| {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for i in 0..threads {
                scope.spawn(move || work(i));
            }
        });
        threads as f64 / begun.elapsed().as_secs_f64()
    };
    let mut ratios: Vec<f64> = (0..TURNS).map(|_| a_second(2) / a_second(1)).collect();
    ratios.sort_by(f64::total_cmp);
    format!(
        "{:.2} (median of {TURNS} turns, {:.2} to {:.2})",
        ratios[TURNS / 2],
        ratios[0],
        ratios[TURNS - 1]
    )
}

mod digest {
    use super::*;

    /// What the gateway does.
    #[divan::bench(sample_count = 1000, sample_size = 1000)]
    fn keyed_blake3(bencher: Bencher) {
        let digester = Digester::new(Zeroizing::new([7; 32]));
        each(bencher, &texts(), |text| digester.digest(text));
    }

    /// What it would do otherwise; its key is prepared, as a good program would have it.
    #[divan::bench(sample_count = 1000, sample_size = 1000)]
    fn hmac_sha_256(bencher: Bencher) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        each(bencher, &texts(), |text| hmac::sign(&key, text));
    }

    fn texts() -> Vec<[u8; DIGITS]> {
        (0..1000).map(unknown).collect()
    }
}

mod identify {
    use super::*;

    #[divan::bench(args = COUNTS, sample_count = 1000, sample_size = 1000)]
    fn hit(bencher: Bencher, keys: usize) {
        let full = full(keys);
        ask(bencher, &full.cache, &full.texts, |found| found.is_none());
    }

    /// Well formed, and nobody's.
    #[divan::bench(args = COUNTS, sample_count = 1000, sample_size = 1000)]
    fn unknown(bencher: Bencher, keys: usize) {
        let texts: Vec<_> = (0..keys).map(super::unknown).collect();
        ask(bencher, &full(keys).cache, &texts, |found| {
            found == Some(Unidentified::Unknown)
        });
    }

    /// What cannot be a key, seen at its last character: it is not digested.
    #[divan::bench(sample_count = 1000, sample_size = 1000)]
    fn malformed(bencher: Bencher) {
        let mut text = super::unknown(1);
        text[DIGITS - 1] = b' ';
        ask(bencher, &full(1).cache, &[text], |found| {
            found == Some(Unidentified::Malformed)
        });
    }

    fn ask(
        bencher: Bencher,
        cache: &Arc<KeyCache>,
        texts: &[[u8; DIGITS]],
        expected: impl Fn(Option<Unidentified>) -> bool,
    ) {
        let now = Timestamp::now();
        let verifier = Verifier::new(Arc::clone(cache));
        each(bencher, texts, |text| {
            // The principal ends in here, as it does with its request.
            assert!(expected(verifier.identify(text, || now).err()));
        });
    }
}

/// Measures what is done with one text, over all of them in their order, again and again.
fn each<T>(bencher: Bencher, texts: &[[u8; DIGITS]], work: impl Fn(&[u8]) -> T) {
    let mut next = texts.iter().cycle();
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| work(black_box(next.next().expect("a cycle has no end"))));
}

/// A text that has a key's form and is no key: none that was drawn ends with so many zeros.
fn unknown(number: usize) -> [u8; DIGITS] {
    let mut text = [b'0'; DIGITS];
    for (digit, shift) in text.iter_mut().zip(0..16) {
        *digit = b"0123456789abcdef"[number >> (4 * shift) & 15];
    }
    text
}

/// A cache and the texts of its keys, in an order that is not that of their loading.
struct Full {
    cache: Arc<KeyCache>,
    texts: Vec<[u8; DIGITS]>,
}

fn full(keys: usize) -> &'static Full {
    static ALL: [LazyLock<Full>; COUNTS.len()] = [
        LazyLock::new(|| fill(COUNTS[0])),
        LazyLock::new(|| fill(COUNTS[1])),
        LazyLock::new(|| fill(COUNTS[2])),
    ];
    let at = COUNTS.iter().position(|count| *count == keys);
    &ALL[at.expect("one of the counts")]
}

fn fill(count: usize) -> Full {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (texts, keys) = runtime().block_on(async {
        let (texts, keys) = store_of(folder.path(), count).await;
        keys.close().await;
        (texts, keys)
    });
    if count == MILLION {
        let program = std::env::current_exe().expect("this program has a path");
        let status = Command::new(program)
            .arg("load")
            .arg(folder.path())
            .status();
        assert!(status.expect("this program runs again").success());
    }
    let text = |i: usize| -> [u8; DIGITS] {
        let text = texts[i * STRIDE % count].as_bytes();
        text.try_into().expect("a key has as many digits")
    };
    Full {
        cache: Arc::clone(keys.cache()),
        texts: (0..count).map(text).collect(),
    }
}

/// Loads the store in this folder and prints what that took.
fn load(folder: &Path) {
    runtime().block_on(async {
        let (before, begun) = (resident_bytes(), Instant::now());
        let keys = keys_of(folder).await;
        let took = begun.elapsed();
        let count = keys.cache().len();
        println!(
            "{count} keys: loaded in {took:.2?}, {} bytes of resident memory each",
            (resident_bytes() - before) / count
        );
        keys.close().await;
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells of processes");
    let kib: usize = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .expect("a number of KiB");
    kib * 1024
}
