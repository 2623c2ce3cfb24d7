//! The project's files as the rules see them: code apart from comments, uses spelled out.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

/// Files and folders that hold nothing but tests, and what tests need.
const TEST_NAMES: [&str; 4] = ["tests", "tests.rs", "testing", "testing.rs"];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn rust_sources() -> Vec<Source> {
    ["src", "tests", "examples", "benches"].into_iter().flat_map(sources_under).collect()
}

/// Every Rust file under a folder, in order of its name.
pub(crate) fn sources_under(folder: &str) -> Vec<Source> {
    let Ok(entries) = fs::read_dir(root().join(folder)) else { return Vec::new() };
    let mut entries: Vec<_> = entries.map(|entry| entry.expect("the folder is readable")).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    let sources = entries.into_iter().flat_map(|entry| {
        let path = format!("{folder}/{}", entry.file_name().display());
        if entry.path().is_dir() {
            sources_under(&path)
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            vec![Source::new(&path, &read(&path))]
        } else {
            Vec::new()
        }
    });
    sources.collect()
}

/// Path and text of every file that git has or would take.
pub(crate) fn tracked_files() -> Vec<(String, String)> {
    let mut git = Command::new("git");
    // Who owns the checkout does not matter for reading its list.
    git.args(["-c", "safe.directory=*", "ls-files"]);
    git.args(["--cached", "--others", "--exclude-standard", "-z"]);
    let said = git.current_dir(root()).output().expect("git is installed");
    assert!(said.status.success(), "git: {}", String::from_utf8_lossy(&said.stderr));
    let paths = String::from_utf8_lossy(&said.stdout);
    let files = paths.split_terminator('\0').filter_map(|path| {
        // One that is deleted but still listed has no text.
        let text = fs::read(root().join(path)).ok()?;
        Some((path.to_owned(), String::from_utf8_lossy(&text).into_owned()))
    });
    files.collect()
}

/// The names under which the code knows the crates in `Cargo.toml`.
pub(crate) fn dependencies() -> BTreeSet<String> {
    let manifest = read("Cargo.toml");
    let sections = manifest.split("\n[").filter(|section| {
        section.split_once("]\n").is_some_and(|(title, _)| title.ends_with("dependencies"))
    });
    let names = sections.flat_map(str::lines).filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.replace('-', "_")).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// One Rust file.
pub(crate) struct Source {
    /// From the root of the project, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and strings blanked; everything is still where it was.
    pub(crate) code: String,
    /// Where in `code` there is something for tests only.
    tests: Vec<Range<usize>>,
    /// The whole file is for tests only.
    for_tests: bool,
}

/// A path that a file uses, spelled from the crate's root.
pub(crate) struct Reference {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) in_test: bool,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blanked(text);
        let starts = code.match_indices("#[cfg(test)]").map(|(start, _)| start);
        let tests = starts.map(|start| start..item_end(&code, start)).collect();
        let for_tests = path.split('/').any(|name| TEST_NAMES.contains(&name));
        Self { path: path.to_owned(), text: text.to_owned(), code, tests, for_tests }
    }

    pub(crate) fn breach(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    /// The folder in `src` that the file is in.
    pub(crate) fn layer(&self) -> Option<&str> {
        Some(self.path.strip_prefix("src/")?.split_once('/')?.0)
    }

    /// `crate::actors::registry::messages` for `src/actors/registry/messages.rs`.
    pub(crate) fn module(&self) -> String {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let names = inside.split('/').filter(|name| !["mod", "lib", "main"].contains(name));
        ["crate"].into_iter().chain(names).collect::<Vec<_>>().join("::")
    }

    pub(crate) fn line(&self, at: usize) -> usize {
        line_of(&self.code, at)
    }

    pub(crate) fn is_test_at(&self, at: usize) -> bool {
        self.for_tests || self.tests.iter().any(|range| range.contains(&at))
    }

    /// Every path in the file: each leaf of a `use`, and those written out in the code.
    pub(crate) fn references(&self) -> Vec<Reference> {
        let mut references = Vec::new();
        let mut at = 0;
        while at < self.code.len() {
            let path = path_at(&self.code[at..]);
            let (start, mut leaves) = (at, Vec::new());
            at += path.len().max(1);
            if path == "use" && self.code[at..].starts_with(' ') {
                at += self.code[at..].find(';').unwrap_or(0);
                add_leaves("", &self.code[start + path.len()..at], &mut leaves);
            } else if path.contains("::") {
                leaves.push(path.to_owned());
            }
            if leaves.is_empty() {
                continue;
            }
            let (line, in_test) = (self.line(start), self.is_test_at(start));
            let resolved = leaves.iter().map(|leaf| self.resolved(leaf, in_test));
            references.extend(resolved.map(|path| Reference { path, line, in_test }));
        }
        references
    }

    /// What is for tests in a file with other things is taken for a module of its own.
    fn resolved(&self, path: &str, in_test: bool) -> String {
        let mut module = self.module();
        if in_test && !self.for_tests {
            module.push_str("::tests");
        }
        let mut rest = path;
        while let Some(from_parent) = rest.strip_prefix("super::") {
            module.truncate(module.rfind("::").unwrap_or(module.len()));
            rest = from_parent;
        }
        if let Some(from_root) = path.strip_prefix("adit::") {
            format!("crate::{from_root}")
        } else if let Some(from_here) = path.strip_prefix("self::") {
            format!("{module}::{from_here}")
        } else if rest == path {
            path.to_owned()
        } else {
            format!("{module}::{rest}")
        }
    }
}

impl Reference {
    pub(crate) fn library(&self) -> &str {
        self.path.split("::").next().unwrap_or_default()
    }
}

/// Adds each path of a `use` tree to `leaves`.
fn add_leaves(prefix: &str, tree: &str, leaves: &mut Vec<String>) {
    let tree = tree.trim();
    if let Some((stem, branches)) = tree.split_once('{') {
        let prefix = format!("{prefix}{}", stem.trim());
        let branches = branches.strip_suffix('}').unwrap_or(branches);
        let (mut depth, mut start) = (0, 0);
        for (at, sign) in branches.char_indices().chain([(branches.len(), ',')]) {
            match sign {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    add_leaves(&prefix, &branches[start..at], leaves);
                    start = at + 1;
                }
                _ => {}
            }
        }
    } else if !tree.is_empty() {
        let path = format!("{prefix}{}", tree.split(" as ").next().unwrap_or(tree));
        leaves.push(path.trim_end_matches("::self").to_owned());
    }
}

/// The name, or names joined with `::`, that the code begins with.
fn path_at(code: &str) -> &str {
    let name = |from: usize| code[from..].find(|c| !is_name_part(c)).unwrap_or(code.len() - from);
    let mut end = name(0);
    while end > 0 && code[end..].starts_with("::") && name(end + 2) > 0 {
        end += 2 + name(end + 2);
    }
    &code[..end]
}

pub(crate) fn is_name_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a path is another or goes on from it.
pub(crate) fn is_within(path: &str, stem: &str) -> bool {
    path.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Where the item that begins at `start` ends: after its braces, or at its semicolon.
pub(crate) fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0;
    for (at, sign) in code[start..].char_indices() {
        match sign {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        let ends = if depth == 0 { matches!(sign, ';' | '}') } else { depth < 0 };
        if ends {
            return start + at + 1;
        }
    }
    code.len()
}

/// The text with spaces in place of comments, strings and characters.
fn blanked(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    while code.len() < text.len() {
        let rest = &text[code.len()..];
        let hidden = hidden_length(rest, code.ends_with(is_name_part));
        if hidden == 0 {
            code.extend(rest.chars().next());
        } else {
            let blank = rest[..hidden].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' });
            code.extend(blank);
        }
    }
    code
}

/// How long the comment, string or character is that the text begins with; 0 if it is none.
fn hidden_length(text: &str, in_name: bool) -> usize {
    let until = |from: usize, end: &str| {
        text[from..].find(end).map_or(text.len(), |found| from + found + end.len())
    };
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return until(2, "*/");
    }
    if text.starts_with('"') {
        let mut quotes = text.match_indices('"').map(|(at, _)| at).skip(1);
        let escapes = |at: usize| text[..at].bytes().rev().take_while(|b| *b == b'\\').count();
        let end = quotes.find(|at| escapes(*at) % 2 == 0);
        return end.map_or(text.len(), |at| at + 1);
    }
    let raw = text.strip_prefix(['b', 'c']).unwrap_or(text);
    if let Some(raw) = raw.strip_prefix('r').filter(|_| !in_name) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            return until(text.len() - raw.len() + hashes + 1, &format!("\"{}", &raw[..hashes]));
        }
    }
    match text.strip_prefix('\'').map(str::chars) {
        Some(mut letters) => match (letters.next(), letters.next()) {
            (Some('\\'), _) => until(3, "'"),
            (Some(letter), Some('\'')) => 2 + letter.len_utf8(),
            // A lifetime.
            _ => 0,
        },
        None => 0,
    }
}

pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}
