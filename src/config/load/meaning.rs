//! What all tables of all files mean together.

use super::{PROCESS_TABLES, Parts, Reader, note};
use crate::config::compile::{self, About, Which};
use crate::config::fields::{Desk, Table};
use crate::config::headers::HeaderReader;
use crate::config::problem::Problem;
use crate::config::routes::{self, Context, Rules, Shared};
use crate::config::secret::SecretReader;
use crate::config::settings::{Cold, Hot};
use crate::config::shadow::{self, Shadow, ShadowOrigin};
use crate::config::upstreams::{self, Upstreams};
use crate::config::{lints, listeners, process};
use crate::key::{Authority, ScopeName, Scopes};
use crate::policy::Place;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Reader<'_> {
    /// What all files mean together.
    pub(super) fn meaning<'t>(
        &mut self,
        mut root: Table<'t>,
        mut included: Vec<Table<'t>>,
        mut shadow: Option<ShadowFiles<'t>>,
    ) -> Option<Parts> {
        let mut secrets = SecretReader {
            disk: self.disk,
            folder: &self.folder,
            secrets: self.secrets,
            files: &mut self.files,
            read: BTreeMap::new(),
            system_roots: None,
        };
        let listeners = listeners::listeners(&mut root, &self.folder, &mut secrets, &mut self.desk);
        let log = process::log(&mut root, &mut self.desk);
        let keys = process::keys(&mut root, &self.folder, &mut self.desk);
        let store = &keys.settings.store;
        let reload = process::reload(&mut root, store, &self.folder, &mut self.desk);
        let management = process::management(&mut root, &mut self.desk);
        let timeouts = process::timeouts(&mut root, &mut self.desk);
        let limits = process::limits(&mut root, &mut self.desk);
        let cors = process::cors(&mut root, &mut self.desk);
        let lints = lints::lints(&mut root, &mut self.desk);
        let mut headers = HeaderReader {
            secrets: &mut secrets,
            key: &keys.settings.header,
        };
        let upstreams = upstreams::upstreams(&mut root, timeouts, &mut headers, &mut self.desk);
        let shadowed = shadow.iter().flat_map(|shadow| &shadow.tables);
        for table in included.iter().chain(shadowed) {
            if table.entries().is_empty() && table.file.broken.is_empty() {
                self.desk.error(
                    table.place(),
                    "the file has no content; an included file is never empty (it may be half written)",
                );
            }
        }
        let all = std::iter::once(&mut root).chain(&mut included);
        let all_read = self.all_read;
        let Written {
            rules,
            shared,
            scopes,
        } = written(
            all.collect(),
            (all_read, false),
            &upstreams,
            &mut headers,
            &mut self.desk,
        );
        // A pattern may match nothing: then there is nothing to try.
        let files = shadow.as_mut().filter(|shadow| !shadow.tables.is_empty());
        let in_shadow = files.map(|shadow| {
            let written = written(
                shadow.tables.iter_mut().collect(),
                (shadow.all_read, true),
                &upstreams,
                &mut headers,
                &mut self.desk,
            );
            (written, shadow.place.clone(), shadow.all_read)
        });
        for (path, print) in secrets.read {
            note(&mut self.mark, &path, print.as_ref().map(|p| &p[..]));
        }
        let hosts = self.hosts(listeners.hosts);
        let start = root.place();
        root.finish(&mut self.desk);
        let shadowed = shadow.into_iter().flat_map(|shadow| shadow.tables);
        for mut table in included.into_iter().chain(shadowed) {
            for name in PROCESS_TABLES {
                let message =
                    format!("`{name}` stands in the main file only, not in one that is included");
                table.misplaced(&mut self.desk, name, &message);
            }
            table.finish(&mut self.desk);
        }
        if rules.written == 0 && self.all_read {
            self.desk.report(
                Problem::error(
                    start,
                    "there is no route; a configuration opens at least one",
                )
                .help("write a `[[routes]]` table, here or in a file that `include` names"),
            );
        }
        let (routes, expectations) = (rules.written, rules.expectations.clone());
        let authority = Arc::new(Authority {
            scopes: scopes.clone(),
            management: management.scope.0.clone(),
        });
        let default_scope = ScopeName::parse("authOnly")
            .ok()
            .filter(|scope| scopes.declares(scope));
        let about = |shared: &Shared, which| About {
            purpose: self.purpose,
            lints: &lints,
            scopes: shared.declared(),
            scopes_unsound: shared.scopes_unsound,
            which,
        };
        let in_force = about(&shared, Which::InForce);
        let tried = (!rules.tried.written.is_empty()).then(|| rules.clone());
        let desk = &mut self.desk;
        let policy = compile::judge(rules, scopes.clone(), management.clone(), &in_force, desk);
        let tried = match (in_shadow, tried) {
            (None, None) => None,
            (Some((_, include, _)), Some(rules)) => {
                shadow::both(include, rules.tried.written[0].clone(), desk);
                None
            }
            (None, Some(rules)) => {
                let counts = (rules.tried.written.len(), 0);
                compile::judge_tried(rules, scopes, management, policy.as_ref(), &in_force, desk)
                    .map(|policy| (policy, ShadowOrigin::Routes, counts))
            }
            (Some((written, include, all_read)), None) => {
                let Written {
                    rules,
                    shared,
                    scopes,
                } = written;
                let counts = (rules.written, rules.expectations.len());
                if rules.written == 0 && all_read {
                    let message = "there is no route in these files; a policy that is tried opens at least one";
                    desk.error(include, message);
                }
                let about = about(&shared, Which::InShadow);
                compile::judge(rules, scopes, management, &about, desk)
                    .map(|policy| (policy, ShadowOrigin::Files, counts))
            }
        };
        let policy = policy?;
        let shadow =
            tried.map(|(tried, origin, counts)| Shadow::new(tried, &policy, origin, counts));
        Some(Parts {
            cold: Cold {
                listen: listeners.listen,
                workers: listeners.workers,
                dumpable: listeners.dumpable,
                trusted_proxies: listeners.trusted_proxies,
                forwarded: listeners.forwarded,
                underscores: listeners.underscores,
                handover: listeners.handover,
                admin: listeners.admin,
                keys: keys.settings,
                kept: reload.kept,
            },
            hot: Hot {
                log,
                reveal: keys.reveal,
                widening: reload.widening,
                timeouts,
                limits,
                tls: listeners.tls,
                cors,
                upstreams: upstreams.settings,
                hosts: Arc::new(hosts),
                policy,
                shadow,
                authority,
                default_scope,
            },
            routes,
            expectations,
            lints,
            store: keys.store_place,
            secret: keys.secret_place,
            admin: listeners.admin_place,
            reload: reload.place,
        })
    }
}

/// What `[shadow] include` names.
pub(super) struct ShadowFiles<'t> {
    pub(super) place: Place,
    pub(super) tables: Vec<Table<'t>>,
    /// Whether every file that was named gave its text.
    pub(super) all_read: bool,
}

/// What some files say of who may call what.
struct Written {
    rules: Rules,
    shared: Shared,
    scopes: Scopes,
}

/// Reads it, of files that were all read or not, in force or in shadow.
fn written(
    mut files: Vec<&mut Table<'_>>,
    (all_read, in_shadow): (bool, bool),
    upstreams: &Upstreams,
    headers: &mut HeaderReader<'_, '_>,
    desk: &mut Desk,
) -> Written {
    let mut shared = Shared::default();
    for table in &mut files {
        routes::shared(table, &mut shared, headers, desk);
    }
    if !all_read {
        // What could not be read may declare what seems to be missing.
        shared.nothing_is_missing();
    }
    let scopes = shared.close_scopes(desk);
    shared.check_default(upstreams, desk);
    let context = Context {
        shared: &shared,
        scopes: &scopes,
        upstreams,
        in_shadow,
    };
    let mut rules = Rules::default();
    for table in &mut files {
        routes::file_routes(table, &context, headers, &mut rules, desk);
    }
    Written {
        rules,
        shared,
        scopes,
    }
}
