//! Keys as data: their text, their digest, the names they are known by.
//!
//! Each line of an input is read as everything that a line could be; all lines `a: b c` together are scopes.

use keygate::key::{
    ApiKey, Digester, KeyId, KeyName, KeySelector, ScopeName, Scopes, mask,
};
use std::collections::BTreeMap;
use std::str::FromStr;
use zeroize::Zeroizing;

/// Tries one input.
pub fn check(data: &[u8]) {
    let digester = Digester::new(Zeroizing::new([7; 32]));
    let lines: Vec<&[u8]> = data.split(|b| *b == b'\n').take(16).collect();
    for line in &lines {
        check_bytes(line);
        if let Ok(text) = std::str::from_utf8(line) {
            check_text(text, &digester);
        }
    }
    for pair in lines.windows(2) {
        let same = digester.digest(pair[0]) == digester.digest(pair[1]);
        assert_eq!(same, pair[0] == pair[1], "one digest, one text");
    }
    scopes(&lines);
}

fn check_bytes(bytes: &[u8]) {
    let expected = (20..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    assert_eq!(ApiKey::check(bytes).is_ok(), expected);
}

fn check_text(text: &str, digester: &Digester) {
    let masked = mask(text);
    let count = text.chars().count();
    assert_eq!(masked.chars().count(), count);
    let hidden = count.saturating_sub(10);
    let stars = masked.chars().filter(|c| *c == '*').count();
    assert!(stars >= if count < 20 { count } else { hidden });

    match ApiKey::parse(text) {
        Ok(key) => {
            assert_eq!(key.expose(), text);
            assert_eq!(key.masked(), masked);
            assert!(text.len() == text.chars().count());
        }
        Err(_) => assert!(ApiKey::check(text.as_bytes()).is_err()),
    }

    let selector = KeySelector::parse(text, digester);
    assert!(selector.digest == digester.digest(text.as_bytes()));
    assert_eq!(selector.shown, masked, "what is shown is no key");
    match KeyId::from_str(text) {
        Ok(id) => {
            assert_eq!(id.as_str(), text);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(selector.id, Some(id));
            assert_eq!(text.len(), 20);
        }
        Err(_) => assert_eq!(selector.id, None),
    }

    if let Ok(name) = KeyName::parse(text) {
        assert_eq!(name.as_str(), text);
        assert!(!text.is_empty() && text.encode_utf16().count() <= 100);
        assert!(!text.contains(['\0', '\r', '\n', '\u{7f}', '\u{85}']));
    }
    if let Ok(scope) = ScopeName::parse(text) {
        assert_eq!(scope.to_string(), text);
        assert_eq!(ScopeName::parse(&scope.to_string()), Ok(scope));
        assert!(text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic()));
    }
}

/// Inclusion is an order: of itself, across others, and never both ways.
fn scopes(lines: &[&[u8]]) {
    let mut declared = BTreeMap::new();
    for line in lines {
        let Some((name, rest)) = std::str::from_utf8(line).ok().and_then(|l| l.split_once(':')) else {
            continue;
        };
        let Ok(name) = ScopeName::parse(name) else { continue };
        let includes: Vec<ScopeName> = rest
            .split(' ')
            .filter_map(|word| ScopeName::parse(word).ok())
            .collect();
        declared.insert(name, includes);
    }
    let Ok(scopes) = Scopes::new(&declared) else {
        return;
    };
    let names: Vec<&ScopeName> = scopes.names().collect();
    assert!(names.iter().copied().eq(declared.keys()));
    for a in &names {
        assert!(scopes.includes(a, a));
        for direct in &declared[*a] {
            assert!(scopes.includes(a, direct));
            for far in scopes.included_by(direct) {
                assert!(scopes.includes(a, far), "{a} includes {direct}, which includes {far}");
            }
        }
        for b in &names {
            let both = scopes.includes(a, b) && scopes.includes(b, a);
            assert_eq!(both, a == b, "{a} and {b}");
            let listed = scopes.including(b).any(|holder| holder == *a);
            assert_eq!(listed, scopes.includes(a, b));
            // Nothing is included but by a way of declarations.
            if scopes.includes(a, b) && a != b {
                assert!(declared[*a].iter().any(|step| scopes.includes(step, b)));
            }
        }
    }
}
