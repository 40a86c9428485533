//! CPU per checked and proxied request, keygate beside nginx doing the same job, in turns, on this machine, now.
//!
//! `cargo bench --bench versus_nginx` (needs nginx and wrk; `KEYGATE_BENCH_ROUNDS` and `KEYGATE_BENCH_SECONDS` make it
//! longer). Both check one of 10,000 keys against a table in memory, refuse what is not in it with 401, take the key
//! out, put the key's id, forwarding headers and a request id in, and forward over kept-alive connections to the same
//! upstream, without an access log. The proxies run on one core, upstream and load on the others. What is compared is
//! the processor time of the proxy's process by request, as the kernel accounts it: it holds on a noisy machine where
//! throughput does not. The figures to quote are the ratios.

mod support;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const KEYS: usize = 10_000;
const CONNECTIONS: usize = 64;

fn main() {
    for tool in ["nginx", "wrk", "taskset"] {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .output();
        if !found.is_ok_and(|out| out.status.success()) {
            println!("skipped: {tool} is not installed (Debian: nginx-light, wrk, util-linux)");
            return;
        }
    }
    let setting = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let rounds = setting("KEYGATE_BENCH_ROUNDS", 5);
    let seconds = setting("KEYGATE_BENCH_SECONDS", 4);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (keys, handle) = runtime.block_on(support::store_of(folder, KEYS));
    runtime.block_on(handle.close());
    drop(runtime);

    let (upstream_port, nginx_port, keygate_port, admin_port) =
        (free_port(), free_port(), free_port(), free_port());
    let _upstream = upstream(folder, upstream_port);
    let nginx = nginx(folder, nginx_port, upstream_port, &keys);
    let keygate = keygate(folder, keygate_port, admin_port, upstream_port);
    let contenders = [
        ("nginx", nginx.0.id(), nginx_port),
        ("keygate", keygate.0.id(), keygate_port),
    ];
    for (name, _, port) in contenders {
        assert_eq!(status(port, &keys[7]), 200, "{name} lets a good key pass");
        assert_eq!(
            status(port, &"0".repeat(40)),
            401,
            "{name} refuses a bad key"
        );
    }
    for (kind, script) in [
        ("good keys", lua(folder, "good", &keys)),
        ("bad keys", lua(folder, "bad", &vec!["0".repeat(40); 1])),
    ] {
        println!("{kind}: CPU µs per request of the proxy (requests a second)");
        let mut ratios = Vec::new();
        let mut all = [Vec::new(), Vec::new()];
        for round in 0..=rounds {
            let mut costs = [0.0; 2];
            let mut line = format!("  round {round}: ");
            for (i, (name, pid, port)) in contenders.into_iter().enumerate() {
                let before = cpu(pid);
                let (requests, bad) = wrk(port, &script, seconds);
                let used = cpu(pid) - before;
                let expected = if kind == "good keys" { 0 } else { requests };
                assert_eq!(bad, expected, "{name}: every answer is as it should be");
                costs[i] = used.as_secs_f64() * 1e6 / requests as f64;
                let _ = write!(line, "{name} {:.2} ({})  ", costs[i], requests / seconds);
            }
            let ratio = costs[1] / costs[0];
            println!(
                "{line}ratio {ratio:.3}{}",
                if round == 0 {
                    "  (warm-up, not counted)"
                } else {
                    ""
                }
            );
            if round > 0 {
                ratios.push(ratio);
                all[0].push(costs[0]);
                all[1].push(costs[1]);
            }
        }
        println!(
            "  median: nginx {:.2} µs, keygate {:.2} µs, keygate / nginx {:.3}",
            median(&mut all[0]),
            median(&mut all[1]),
            median(&mut ratios)
        );
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A process that ends with the benchmark.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pinned(core: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["-c", core, program])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn others() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores == 1 {
        "0".to_owned()
    } else {
        format!("1-{}", cores - 1)
    }
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("an address").port()
}

fn nginx_command(core: &str, folder: &Path, name: &str, config: &str) -> Running {
    let path = folder.join(format!("{name}.conf"));
    std::fs::write(&path, config).expect("write");
    let child = pinned(core, "nginx")
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(&path)
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx starts");
    Running(child)
}

fn nginx_frame(folder: &Path, name: &str, http: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; worker_processes 1; error_log /dev/null crit; pid {folder}/{name}.pid;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;\n\
         fastcgi_temp_path {folder}/{name}-f; uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;\n\
         keepalive_requests 1000000000; {http} }}\n"
    )
}

fn upstream(folder: &Path, port: u16) -> Running {
    let http = format!(
        "server {{ listen 127.0.0.1:{port} backlog=4096; default_type application/json; \
         location / {{ return 200 '{{\"data\":{{\"uid\":\"cyclops1\",\"name\":\"Cyclops\"}}}}'; }} }}"
    );
    let running = nginx_command(
        &others(),
        folder,
        "upstream",
        &nginx_frame(folder, "upstream", &http),
    );
    wait(port);
    running
}

fn nginx(folder: &Path, port: u16, upstream: u16, keys: &[String]) -> Running {
    let mut map = String::new();
    for (i, key) in keys.iter().enumerate() {
        let _ = writeln!(map, "{key} {i:020};");
    }
    std::fs::write(folder.join("map.conf"), map).expect("write");
    let http = format!(
        "map_hash_max_size 65536; map_hash_bucket_size 128;\n\
         map $http_apikey $key_id {{ default ''; include {map}; }}\n\
         upstream chat {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{port} backlog=4096; default_type application/json;\n\
         location / {{ if ($key_id = '') {{ return 401 '{{\"error\":{{\"code\":\"AUTH_ERR_APIKEY_NOT_FOUND\"}}}}'; }}\n\
         proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header apikey '';\n\
         proxy_set_header Host $proxy_host; proxy_set_header X-Keygate-Key-Id $key_id;\n\
         proxy_set_header X-Keygate-Key-Name customer; proxy_set_header X-Keygate-Scope fullAccess;\n\
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Forwarded-Host $http_host; proxy_set_header Via '1.1 nginx';\n\
         proxy_set_header X-Request-Id $request_id; add_header X-Request-Id $request_id;\n\
         proxy_pass http://chat; }} }}",
        map = folder.join("map.conf").display(),
    );
    let running = nginx_command("0", folder, "nginx", &nginx_frame(folder, "nginx", &http));
    wait(port);
    running
}

fn keygate(folder: &Path, port: u16, admin: u16, upstream: u16) -> Running {
    let routes: String = (0..99).fold(String::new(), |mut text, i| {
        let _ = writeln!(
            text,
            "[[routes]]\npath = \"/v3/things{i}/{{id}}\"\nscope = \"fullAccess\""
        );
        text
    });
    let main = format!(
        "include = [\"routes.toml\"]\n[server]\nlisten = [\"127.0.0.1:{port}\"]\nworkers = 1\ndumpable = true\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n[log]\naccess = \"off\"\n\
         [limits]\nfailed_auth = {{ rate = \"1000000/s\", burst = 1000000000 }}\n\
         [upstreams.chat]\nservers = [\"http://127.0.0.1:{upstream}\"]\n"
    );
    let policy = format!(
        "[scopes]\nauthOnly = []\nfullAccess = [\"authOnly\"]\n[defaults]\nupstream = \"chat\"\n{routes}\
         [[routes]]\npath = \"/v3/users/{{uid}}\"\nscope = \"fullAccess\"\n"
    );
    std::fs::write(folder.join("keygate.toml"), main).expect("write");
    std::fs::write(folder.join("routes.toml"), policy).expect("write");
    let log = std::fs::File::create(folder.join("keygate.log")).expect("a log");
    let child = pinned("0", env!("CARGO_BIN_EXE_keygate"))
        .arg("run")
        .arg("--config")
        .arg(folder.join("keygate.toml"))
        .stderr(log)
        .spawn()
        .expect("keygate starts");
    let running = Running(child);
    wait(port);
    running
}

fn wait(port: u16) {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "nothing listens on {port}"
        );
        std::thread::yield_now();
    }
}

fn status(port: u16, key: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let request = format!(
        "GET /v3/users/cyclops1 HTTP/1.1\r\nHost: a\r\napikey: {key}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("send");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text.split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status")
}

/// The processor time of a process so far, all of its threads.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let after_name = stat.rsplit(')').next().expect("a name");
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|n| n.parse::<u64>().expect("ticks"))
        .sum();
    // USER_HZ is 100 on every Linux that this runs on.
    Duration::from_millis(ticks * 10)
}

fn lua(folder: &Path, name: &str, keys: &[String]) -> std::path::PathBuf {
    let mut text = String::from("local keys = {\n");
    for key in keys {
        let _ = writeln!(text, "\"{key}\",");
    }
    text.push_str(
        "}\nlocal n = 0\nlocal requests = {}\n\
         init = function() for i, key in ipairs(keys) do requests[i] = wrk.format('GET', '/v3/users/cyclops1', { apikey = key }) end end\n\
         request = function() n = n % #requests + 1; return requests[n] end\n\
         done = function(summary) io.write(string.format('RESULT %d %d %d\\n', summary.requests, summary.errors.status, \
         summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout)) end\n",
    );
    let path = folder.join(format!("{name}.lua"));
    std::fs::write(&path, text).expect("write");
    path
}

/// Requests, and how many of them were not answered with a success.
fn wrk(port: u16, script: &Path, seconds: u64) -> (u64, u64) {
    let output = Command::new("taskset")
        .args([
            "-c",
            &others(),
            "wrk",
            "-t1",
            &format!("-c{CONNECTIONS}"),
            &format!("-d{seconds}s"),
            "-s",
        ])
        .arg(script)
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .expect("wrk runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("RESULT "))
        .unwrap_or_else(|| panic!("{text}"));
    let numbers: Vec<u64> = line
        .split(' ')
        .map(|n| n.parse().expect("a number"))
        .collect();
    assert_eq!(numbers[2], 0, "connection errors: {text}");
    (numbers[0], numbers[1])
}
