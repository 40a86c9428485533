//! An explanation for people.

use super::{Caller, Explanation, Leads};
use crate::key::ScopeName;
use crate::policy::Access;
use std::fmt::{self, Display, Formatter};

impl Display for Explanation<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        line(f, "request", format_args!("{}", self.asked))?;
        let Some(head) = &self.head else {
            line(
                f,
                "target",
                format_args!("refused before routes are looked at"),
            )?;
            return self.outcome(f);
        };
        let path = head.admitted.path_and_query().as_str();
        if path == self.asked.target {
            line(f, "target", format_args!("{path}"))?;
        } else {
            line(f, "target", format_args!("{path}   (in its one reading)"))?;
        }
        let needed: Vec<&str> = head.admitted.needs().names().collect();
        if !needed.is_empty() {
            let needed = needed.join(", ");
            line(f, "", format_args!("it needs a route that allows {needed}"))?;
        }
        match head.route {
            Some(route) => line(
                f,
                "route",
                format_args!("`{}` at {}", route.name, route.place),
            )?,
            None if head.path_is_known => line(
                f,
                "route",
                format_args!("none takes {}", head.admitted.method()),
            )?,
            None => line(f, "route", format_args!("none matches host and path"))?,
        }
        if head.route.is_none() && head.is_managements {
            let why =
                "the path is the management API's, or below one of its: no other route takes it";
            line(f, "", format_args!("{why}"))?;
        }
        for lost in &head.candidates {
            if let Some(why) = &lost.lost {
                let (name, place) = (&lost.route.name, &lost.route.place);
                line(f, "", format_args!("not `{name}` at {place}: {why}"))?;
            }
        }
        if let Some(route) = head.route {
            match &route.access {
                Access::Public => line(f, "needs", format_args!("nothing: anyone may use it"))?,
                Access::Deny => line(f, "needs", format_args!("it is closed for everyone"))?,
                Access::Scopes(scopes) => {
                    let names: Vec<&str> = scopes.iter().map(ScopeName::as_str).collect();
                    let names = names.join(" or ");
                    line(f, "needs", format_args!("a key of scope {names}"))?;
                }
            }
        }
        line(f, "caller", format_args!("{}", self.caller))?;
        self.outcome(f)?;
        match &head.leads {
            None => Ok(()),
            Some(Leads::Management) => line(f, "leads to", format_args!("the management API")),
            Some(Leads::Upstream {
                name,
                servers,
                target,
                host,
            }) => {
                let (method, servers) = (head.admitted.method(), servers.join(", "));
                line(f, "leads to", format_args!("{name} ({servers})"))?;
                let host = host.as_deref().unwrap_or("its own");
                line(f, "", format_args!("as {method} {target}, Host: {host}"))
            }
        }
    }
}

impl Explanation<'_> {
    fn outcome(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.refused {
            None => line(f, "outcome", format_args!("let through")),
            Some(refused) => line(
                f,
                "outcome",
                format_args!("{} {}: {}", refused.status, refused.code, refused.why),
            ),
        }
    }
}

impl Display for Caller {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Caller::Anyone => f.write_str("no key"),
            Caller::Scope(scope) => write!(f, "a key of scope {scope}"),
            Caller::Key(key) => {
                let (id, name, scope) = (&key.id, &key.name, &key.scope);
                write!(f, "the key {id} ({name}), scope {scope}")
            }
            Caller::Unknown => f.write_str("a key that does not exist"),
            Caller::Malformed => f.write_str("what cannot be a key"),
        }
    }
}

fn line(f: &mut Formatter<'_>, what: &str, said: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "{what:<9} {said}")
}
