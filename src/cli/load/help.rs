//! What `--help` says after the arguments.

/// Of `keygate load`.
pub(super) const LOAD: &str = "\
Each answer is compared with what its key should get at its route: the status, `error.code` of a
refusal, and for a permitted request a digest that the upstream makes of it (`keygate load
upstream` is such an upstream). What is right is decided by the policy of --config, else by the
words of each route. Marks of requests are in `x-load-mark`.

A mix names kinds of keys and their shares: scopes, valid (any scope), unknown, deleted, disabled,
expired, malformed, missing (no key). Unknown and malformed keys are made where none are given;
all others come from --keys (one a line, KEY or KEY KIND) or from the key store of --config, as
far as it can show them.

A route is METHOD TARGET and words: weight=3, scope=authOnly,fullAccess (who may, without
--config), public, body=1KiB (bytes of the request's body), n=1000 (a parameter of the target,
such as {uid}, becomes a number below this; 1000000 if not given).

Without a rate each connection sends as fast as answers come (closed loop). With --rate or --steps
requests are due at their times whatever became of the others, and latency counts from when a
request was due (open loop).

Nothing is sent after the end (what was due just before it, up to 100 ms later). Requests that
were due and never sent fail the run, as do answers that are owed at the end and have not come
within --grace.

Exit codes: 0 all answers were right, 1 some were wrong or missing, or requests were never sent, 2
bad arguments or configuration. Ctrl-C ends a run early; what was measured until then is reported.

Examples:
  keygate load upstream --listen 127.0.0.1:9000
  keygate load http://127.0.0.1:8080 --config gateway/keygate.toml --route 'GET /v3/users/{uid}'
  keygate load http://127.0.0.1:8080 --keys keys.txt --mix fullAccess=90,unknown=5,malformed=5 \\
      --route 'GET /v3/users/{uid} weight=9 scope=fullAccess' \\
      --route 'POST /v3/users body=1KiB scope=fullAccess,authOnly'
  keygate load https://api.example.com --http2 --keys keys.txt --steps 1000,2000,4000 \\
      --warmup 5s --svg latency.svg";

/// Of `keygate load upstream`.
pub(super) const UPSTREAM: &str = "\
The digest is the 64-bit FNV-1a hash of `METHOD TARGET MARK LENGTH`, as 16 hexadecimal digits,
where MARK is the value of x-load-mark and LENGTH that of the request's body. It is in
x-load-digest, and the body is the digest over and over; how long the body is stands in
x-load-length, so that one that was cut off on its way is found out. It serves until it is killed.

Example:
  keygate load upstream --listen 127.0.0.1:9000 --body 1KiB";
