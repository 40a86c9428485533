//! What is measured: a base case, and cases that differ from it in one factor.

/// The routes of a case, `/v3/things0/{id}` and so on, and last `/v3/users/{uid}`. All ask for the scope fullAccess, but for
/// the first of several, which a key of scope authOnly may use too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Routes(pub usize);

impl Routes {
    /// What a route's path begins with, up to its last segment.
    pub fn prefix(self, number: usize) -> String {
        if number + 1 == self.0 {
            "/v3/users/".to_owned()
        } else {
            format!("/v3/things{number}/")
        }
    }

    pub fn scope(self, number: usize) -> &'static str {
        if number == 0 && self.0 > 1 {
            "authOnly"
        } else {
            "fullAccess"
        }
    }

    /// Prefix and scope of each.
    pub fn each(self) -> impl Iterator<Item = (String, &'static str)> {
        (0..self.0).map(move |number| (self.prefix(number), self.scope(number)))
    }
}

/// What clients speak. To the upstream it is always HTTP/1.1 in clear text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    Http1,
    /// In clear text, with prior knowledge.
    Http2,
    /// HTTP/1.1 in it.
    Tls,
}

impl Wire {
    pub fn scheme(self) -> &'static str {
        match self {
            Wire::Http1 | Wire::Http2 => "http",
            Wire::Tls => "https",
        }
    }
}

/// What goes through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// GET, and an answer of some fifty bytes.
    Small,
    /// The same with keys that nobody knows; every answer is 401.
    Refused,
    /// GET, and an answer of [`ANSWER_BYTES`].
    Answer,
    /// POST of [`UPLOAD_BYTES`], and a small answer.
    Upload,
}

pub const ANSWER_BYTES: usize = 100 * 1024;
pub const UPLOAD_BYTES: usize = 1024 * 1024;

impl Traffic {
    pub fn method(self) -> &'static str {
        match self {
            Traffic::Small | Traffic::Refused | Traffic::Answer => "GET",
            Traffic::Upload => "POST",
        }
    }

    /// Bytes of a request's body.
    pub fn body(self) -> usize {
        match self {
            Traffic::Small | Traffic::Refused | Traffic::Answer => 0,
            Traffic::Upload => UPLOAD_BYTES,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// By which it is asked for, and called in the results.
    pub name: &'static str,
    /// The factor, for a heading.
    pub title: &'static str,
    /// Of scope fullAccess. One of scope authOnly comes on top.
    pub keys: usize,
    pub routes: Routes,
    pub connections: usize,
    /// Requests at once on each connection.
    pub streams: usize,
    pub wire: Wire,
    pub traffic: Traffic,
}

pub const BASE: Case = Case {
    name: "base",
    title: "10,000 keys, 100 routes, 64 connections, small answers, HTTP/1.1",
    keys: 10_000,
    routes: Routes(100),
    connections: 64,
    streams: 1,
    wire: Wire::Http1,
    traffic: Traffic::Small,
};

pub const CASES: [Case; 12] = [
    BASE,
    Case {
        name: "refused",
        title: "unknown keys, all answered 401",
        traffic: Traffic::Refused,
        ..BASE
    },
    Case {
        name: "keys-1",
        title: "1 key",
        keys: 1,
        ..BASE
    },
    Case {
        name: "keys-1m",
        title: "1,000,000 keys",
        keys: 1_000_000,
        ..BASE
    },
    Case {
        name: "routes-1",
        title: "1 route",
        routes: Routes(1),
        ..BASE
    },
    Case {
        name: "routes-600",
        title: "600 routes",
        routes: Routes(600),
        ..BASE
    },
    Case {
        name: "connections-1",
        title: "1 connection",
        connections: 1,
        ..BASE
    },
    Case {
        name: "connections-1024",
        title: "1,024 connections",
        connections: 1024,
        ..BASE
    },
    Case {
        name: "answers-100k",
        title: "answers of 100 KiB",
        traffic: Traffic::Answer,
        ..BASE
    },
    Case {
        name: "uploads-1m",
        title: "uploads of 1 MiB",
        traffic: Traffic::Upload,
        ..BASE
    },
    // As many requests at once as in the base case. One connection is one client, so it has one key.
    Case {
        name: "http2",
        title: "HTTP/2, 8 connections with 8 requests at once on each",
        wire: Wire::Http2,
        connections: 8,
        streams: 8,
        ..BASE
    },
    Case {
        name: "tls",
        title: "TLS 1.3",
        wire: Wire::Tls,
        ..BASE
    },
];
