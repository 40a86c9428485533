//! A listing for people: one line a route.

use super::Listing;
use crate::cli::say::visible;
use crate::policy::Listed;
use std::fmt::Write;

impl Listing<'_> {
    /// The table, and a line that says how far each scope reaches.
    pub(super) fn text(&self) -> String {
        if self.routes.is_empty() {
            return String::new();
        }
        let mut head = vec!["METHODS", "PATH", "WHO", "UPSTREAM", "WHERE"];
        let hosts = self.routes.iter().any(|listed| listed.route.host.is_some());
        if hosts {
            head.insert(1, "HOST");
        }
        let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
        rows.extend(self.routes.iter().map(|listed| self.row(listed, hosts)));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..rows[0].len()).filter_map(width).collect();
        let mut out = String::new();
        for row in &rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                // Writing to a string does not fail.
                let _ = write!(line, "{cell:<width$}  ");
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        let reach = self.reach();
        let reach = reach.iter().map(|(who, count)| match who {
            None => format!("anyone may use {count}"),
            Some(scope) => format!("{scope} {count}"),
        });
        let reach: Vec<String> = reach.collect();
        let _ = writeln!(out, "\n{}: {}", self.count(), reach.join(", "));
        out
    }

    fn row(&self, listed: &Listed<'_>, hosts: bool) -> Vec<String> {
        let route = listed.route;
        let place = &route.place;
        let mut row = vec![
            methods(listed),
            route.template.to_string(),
            self.who(listed),
            self.leads_to(listed).to_owned(),
            format!("{}:{}", place.file.display(), place.line),
        ];
        for cell in &mut row {
            *cell = visible(cell);
        }
        if hosts {
            let host = route.host.as_ref();
            row.insert(
                1,
                host.map_or_else(|| "(any)".to_owned(), ToString::to_string),
            );
        }
        row
    }
}

/// The methods of a route, apart by spaces; those of a route that names none have a word of their own, if all are left.
pub(super) fn methods(listed: &Listed<'_>) -> String {
    if listed.has_the_usual() {
        return "(usual)".to_owned();
    }
    let names: Vec<&str> = listed.methods.iter().map(|m| m.as_str()).collect();
    names.join(" ")
}
