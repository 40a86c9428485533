//! Properties: whatever a file holds, reading it ends with an answer, and the answer can be shown.

use super::schema::tests::refusals;
use super::{Problems, load_texts};
use proptest::prelude::*;

const MAIN: &str = include_str!("../../config/keygate.toml");
const ROUTES: &str = include_str!("../../config/routes.toml");

/// A reading that found something says where, in terms of the text.
fn plausible(problems: &Problems, main: &str, routes: &str) {
    assert!(problems.count().0 > 0);
    for problem in &problems.0 {
        let related = problem.related.iter().map(|(place, _)| place);
        for place in related.chain([&problem.place]) {
            let is_main = place.file.ends_with("keygate.toml");
            let text = if is_main { main } else { routes };
            let before = text.get(..place.span.start).expect("it begins in the text");
            assert!(text.get(place.span.clone()).is_some(), "it ends there");
            assert_eq!(before.matches('\n').count() + 1, place.line, "{problem}");
            let line = before.rsplit('\n').next().unwrap_or_default();
            let columns = line.chars().filter(|c| *c != '\u{feff}').count();
            assert_eq!(columns + 1, place.column, "{problem}");
        }
        assert!(!problem.message.is_empty());
    }
    let _ = problems.to_string();
}

fn read(main: &str, routes: &str) {
    match load_texts(main, &[("routes.toml", routes)]) {
        Ok(_) => assert_eq!(refusals(main, &[routes]), [""; 0]),
        Err(problems) => plausible(&problems, main, routes),
    }
}

fn cut(text: &str, at: prop::sample::Index, with: &str, over: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = at.index(chars.len());
    let rest = chars.iter().skip(at + over);
    chars
        .iter()
        .take(at)
        .copied()
        .chain(with.chars())
        .chain(rest.copied())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_text_is_read_to_its_end(text in "\\PC{0,200}", other in "([\\[\\]={}\"'#,.\n a-z0-9]){0,200}") {
        read(&text, &other);
        read(&other, &text);
    }

    #[test]
    fn a_sample_with_something_else_in_it_is_read_to_its_end(
        at in any::<prop::sample::Index>(),
        with in "([\\[\\]={}\"'#,.\n\r\u{feff}é a-z0-9]){0,6}",
        over in 0usize..40,
    ) {
        read(&cut(MAIN, at, &with, over), ROUTES);
        read(MAIN, &cut(ROUTES, at, &with, over));
    }

    #[test]
    fn half_a_file_never_shows_the_secret_in_it(
        at in any::<prop::sample::Index>(),
        with in "([\\[\\]={}\"'#,\n]){0,4}",
        over in 0usize..12,
    ) {
        let text = "[upstreams.a]\nservers = [\"http://a\"]\nheaders.set = { apikey = \"Sesame\", b = 1 }\n[upstreams.b.headers.set]\nx-token = \"Sesame\"\n[server]\nlisten = 1\n";
        let text = cut(text, at, &with, over);
        if let Err(problems) = load_texts(&text, &[]) {
            let shown = problems.to_string();
            prop_assert!(!shown.contains("Sesame"), "{}\n{}", text, shown);
        }
    }
}
