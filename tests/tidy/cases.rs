//! What `docs/cases.md` promises: every test that it names is there.

use std::collections::BTreeMap;

use crate::source::{Source, line_of};

/// The tests of a project, by the files that they are in.
pub(crate) struct Tests<'a> {
    rust: BTreeMap<&'a str, &'a Source>,
    python: BTreeMap<&'a str, &'a str>,
}

impl<'a> Tests<'a> {
    pub(crate) fn of(sources: &'a [Source], files: &'a [(String, String)]) -> Self {
        let rust = sources.iter().map(|source| (source.path.as_str(), source));
        let python = files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        Self { rust: rust.collect(), python: python.collect() }
    }

    fn has(&self, path: &str, name: &str) -> bool {
        if let Some(source) = self.rust.get(path) {
            let declared = format!("fn {name}(");
            let places = source.code.match_indices(&declared).map(|(at, _)| at);
            return { places }.any(|at| path.starts_with("tests/") || source.is_test_at(at));
        }
        // pytest takes what is called `test_` and stands at the left edge.
        let declared = format!("\ndef {name}(");
        name.starts_with("test_")
            && self.python.get(path).is_some_and(|text| text.contains(&declared))
    }
}

/// Each name of a test that does not lead to one, and each case of which none is named.
pub(crate) fn cases_without_test(page: &str, text: &str, tests: &Tests<'_>) -> Vec<String> {
    let shown = text.split("\n## Not yet").next().unwrap_or(text);
    let names = text.match_indices('`').step_by(2).filter_map(|(start, _)| {
        let quoted = text[start + 1..].split('`').next()?;
        Some((start, quoted, quoted.split_once("::")?))
    });
    let lost = names.filter(|(_, _, (path, name))| !tests.has(path, name));
    let lost =
        lost.map(|(at, quoted, _)| format!("{page}:{}: no test {quoted}", line_of(text, at)));
    let cases = (1..).zip(shown.lines()).filter(|(_, line)| {
        let case = line.strip_prefix("| ").and_then(|row| row.split(' ').next());
        case.is_some_and(|case| case.chars().any(|c| c.is_ascii_digit()))
    });
    let bare = cases.filter(|(_, line)| !line.contains("::"));
    lost.chain(bare.map(|(line, _)| format!("{page}:{line}: no test is named"))).collect()
}

#[test]
fn cases_without_a_test_are_told() {
    let rust = [
        Source::new("src/a.rs", "fn helper() {}\n#[cfg(test)]\nmod tests {\nfn is_so() {}\n}"),
        Source::new("tests/b.rs", "fn is_there() {}\n// fn is_not_there() {}"),
    ];
    let python = [("tests/c.py".to_owned(), "\ndef test_it():\n    def test_inner():".to_owned())];
    let told = |text: &str| cases_without_test("d.md", text, &Tests::of(&rust, &python)).len();
    for good in ["src/a.rs::is_so", "tests/b.rs::is_there", "tests/c.py::test_it"] {
        assert_eq!(told(&format!("| P1 | `x` | `{good}` |")), 0, "{good}");
    }
    for bad in
        ["src/a.rs::helper", "tests/b.rs::is_not_there", "tests/c.py::test_inner", "e.rs::is_so"]
    {
        assert_eq!(told(&format!("| P1 | `x` | `{bad}` |")), 1, "{bad}");
    }
    assert_eq!(told("| case |\n|---|\n| P1 | nothing is named |"), 1);
    assert_eq!(told("\n## Not yet\n| P1 | why |"), 0);
}
