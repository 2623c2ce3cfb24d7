//! The project's own rules, checked on its sources: who may use whom, how long things may get, and
//! what must not be written at all. A failing test names every place that breaks its rule.

#[path = "tidy/cases.rs"]
mod cases;
#[path = "tidy/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use cases::{Tests, cases_without_test};
use source::{
    Reference, Source, dependencies, is_name_part, is_within, item_end, line_of, root,
    rust_sources, sources_under, tracked_files,
};

/// The layers, and what of the crate each may use. Files beside `lib.rs` join them and may use all.
const LAYERS: [(&str, &[&str]); 9] = [
    ("tunnel", &["tunnel"]),
    ("observe", &["observe"]),
    ("auth", &["auth", "tunnel"]),
    ("tls", &["tls", "auth::certificate"]),
    ("actors", &["actors", "observe", "tunnel"]),
    ("grpc", &["grpc", "actors", "auth", "observe", "tls", "tunnel"]),
    ("admin", &["admin", "auth", "observe"]),
    // Of the binary, not of the library.
    ("cli", &["cli", "config", "observe"]),
    // It knows the settings of each part; no part knows it.
    (
        "config",
        &[
            "config",
            "admin::Settings",
            "auth",
            "tls",
            "tunnel",
            "grpc::affinity::Affinities",
            "grpc::age::ConnectionAge",
            "grpc::keepalive::Keepalive",
            "observe::log::access",
        ],
    ),
];

/// Where a library stays; one that is not listed goes by what its name has before the first `_`.
const HOMES: [(&str, &[&str]); 13] = [
    ("tonic", &["src/grpc/"]),
    ("hyper", &["src/grpc/", "src/admin/", "src/cli/"]),
    ("http_body_util", &["src/cli/"]),
    ("comfy_table", &["src/cli/"]),
    ("terminal_size", &["src/cli/"]),
    ("axum", &["src/admin/"]),
    ("prometheus", &["src/admin/"]),
    ("h2", &["src/grpc/"]),
    ("prost", &["src/grpc/"]),
    ("tokio_rustls", &["src/tls/"]),
    ("webpki", &["src/tls/"]),
    ("actix", &["src/actors/", "src/app.rs", "src/main.rs"]),
    // A wire needs no actor to spawn what serves it.
    ("actix_rt", &["src/actors/", "src/app.rs", "src/main.rs", "src/grpc/"]),
];

/// What the rules of a tunnel may use beside the standard library.
const PURE: [&str; 3] = ["bytes", "rustc_hash", "uuid"];

/// What rules never touch: the clock and the world.
const IMPURE: [&str; 7] = [
    "Instant::now",
    "SystemTime::now",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
];

/// A file longer than this has more than one reason to change.
const FILE_LINES_MAX: usize = 500;
/// A function longer than this fits on no screen.
const FUNCTION_LINES_MAX: usize = 70;

/// Finds the places that break it.
type Rule = fn(&[Source]) -> Vec<String>;

#[test]
fn each_layer_uses_only_the_layers_below_it() {
    none(&layering(&sources_under("src")));
}

#[test]
fn the_rules_of_a_tunnel_are_pure() {
    none(&purity(&sources_under("src")));
}

#[test]
fn each_library_stays_where_it_belongs() {
    none(&homes(&sources_under("src")));
}

#[test]
fn no_files_of_a_layer_import_each_other_in_a_circle() {
    none(&circles(&sources_under("src")));
}

#[test]
fn files_are_short() {
    none(&long_files(&rust_sources()));
}

#[test]
fn functions_fit_on_a_screen() {
    none(&long_functions(&sources_under("src")));
}

#[test]
fn every_file_begins_with_its_reason() {
    none(&without_reason(&rust_sources()));
}

#[test]
fn nothing_unwraps_outside_tests() {
    none(&unwraps(&sources_under("src")));
}

#[test]
fn every_channel_has_a_limit() {
    none(&channels_without_limit(&sources_under("src")));
}

#[test]
fn no_test_sleeps() {
    none(&sleeps(&rust_sources()));
}

#[test]
fn nothing_is_left_unfinished() {
    none(&unfinished(&rust_sources()));
}

#[test]
fn no_file_names_a_place_outside_the_project() {
    none(&places_outside(&tracked_files()));
}

#[test]
fn every_link_leads_to_a_file() {
    none(&dead_links(&tracked_files()));
}

#[test]
fn nothing_waits_by_the_clock_on_the_wall() {
    none(&wall_clock(&sources_under("src")));
}

#[test]
fn every_case_has_its_tests() {
    let (sources, files) = (rust_sources(), tracked_files());
    let page = "docs/cases.md";
    let (_, text) = files.iter().find(|(path, _)| path == page).expect("the page is there");
    none(&cases_without_test(page, text, &Tests::of(&sources, &files)));
}

fn layering(sources: &[Source]) -> Vec<String> {
    let in_folders = sources.iter().filter_map(|source| Some((source, source.layer()?)));
    let breaches = in_folders.flat_map(|(source, layer)| {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
            return vec![source.breach(1, &format!("LAYERS does not say what {layer} may use"))];
        };
        let foreign = source.references().into_iter().filter(|reference| {
            let inside = reference.path.strip_prefix("crate::");
            inside.is_some_and(|used| !allowed.iter().any(|allowed| is_within(used, allowed)))
        });
        foreign
            .map(|used| source.breach(used.line, &format!("{layer} uses {}", used.path)))
            .collect()
    });
    breaches.collect()
}

fn purity(sources: &[Source]) -> Vec<String> {
    let dependencies = dependencies();
    let is_pure = |reference: &Reference| {
        let library = reference.library();
        let foreign = dependencies.contains(library) && !PURE.contains(&library);
        let reaches_out = IMPURE.iter().any(|impure| {
            is_within(&reference.path, impure) || reference.path.ends_with(&format!("::{impure}"))
        });
        if reference.in_test { !foreign || library == "proptest" } else { !foreign && !reaches_out }
    };
    let rules = sources.iter().filter(|source| source.layer() == Some("tunnel"));
    let breaches = rules.flat_map(|source| {
        let impure = source.references().into_iter().filter(|reference| !is_pure(reference));
        impure.map(|used| source.breach(used.line, &format!("rules use {}", used.path)))
    });
    breaches.collect()
}

/// It can be set, so only dates are read from it, and no date concerns an actor or a rule.
fn wall_clock(sources: &[Source]) -> Vec<String> {
    let timed = sources.iter().filter(|s| ["tunnel", "actors"].map(Some).contains(&s.layer()));
    let breaches = timed.flat_map(|source| {
        let read = source.references().into_iter();
        let read = read.filter(|used| used.path.split("::").any(|name| name == "SystemTime"));
        read.map(|used| source.breach(used.line, &format!("{} can be set", used.path)))
    });
    breaches.collect()
}

fn homes(sources: &[Source]) -> Vec<String> {
    let is_at_home = |source: &Source, library: &str| {
        let home_of = |name: &str| HOMES.iter().find(|(listed, _)| *listed == name);
        let family = library.split('_').next().unwrap_or(library);
        let home = home_of(library).or_else(|| home_of(family));
        home.is_none_or(|(_, folders)| folders.iter().any(|folder| source.path.starts_with(folder)))
    };
    let breaches = sources.iter().flat_map(|source| {
        let strays = source.references().into_iter();
        let strays = strays.filter(|reference| !is_at_home(source, reference.library()));
        strays.map(|used| source.breach(used.line, &format!("{} does not belong here", used.path)))
    });
    breaches.collect()
}

/// For each file that can be reached from itself, the shortest way round. Files of a folder
/// count as the module that owns the folder.
fn circles(sources: &[Source]) -> Vec<String> {
    let mut imports = BTreeMap::<String, BTreeMap<String, String>>::new();
    for source in sources {
        let Some(importer) = part_of_layer(&source.module()) else { continue };
        for reference in source.references().into_iter().filter(|reference| !reference.in_test) {
            if let Some(imported) = part_of_layer(&reference.path)
                && imported != importer
            {
                let place = format!("{}:{}", source.path, reference.line);
                imports.entry(importer.clone()).or_default().entry(imported).or_insert(place);
            }
        }
    }
    let ways_round = imports.keys().filter_map(|start| way_round(&imports, start));
    let first_told_there = ways_round.filter(|(way, _)| way.iter().min() == way.first());
    first_told_there
        .map(|(way, places)| format!("{}: circle {}", places.join(", "), way.join(" > ")))
        .collect()
}

/// `actors::registry` of `crate::actors::registry::messages::Carry`.
fn part_of_layer(path: &str) -> Option<String> {
    let mut names = path.strip_prefix("crate::")?.split("::");
    let (layer, name) = (names.next()?, names.next()?);
    let is_module = name.starts_with(|first: char| first.is_ascii_lowercase());
    is_module.then(|| format!("{layer}::{name}"))
}

/// The shortest way from `start` back to it: the modules on it, and where each imports the next.
fn way_round(
    imports: &BTreeMap<String, BTreeMap<String, String>>,
    start: &str,
) -> Option<(Vec<String>, Vec<String>)> {
    let mut seen = BTreeSet::new();
    let mut ways = VecDeque::from([(vec![start.to_owned()], Vec::new())]);
    while let Some((way, places)) = ways.pop_front() {
        for (next, place) in way.last().and_then(|last| imports.get(last)).into_iter().flatten() {
            let way = [way.clone(), vec![next.clone()]].concat();
            let places = [places.clone(), vec![place.clone()]].concat();
            if next == start {
                return Some((way, places));
            }
            if seen.insert(next) {
                ways.push_back((way, places));
            }
        }
    }
    None
}

fn long_files(sources: &[Source]) -> Vec<String> {
    let counted = sources.iter().map(|source| (source, source.text.lines().count()));
    let long = counted.filter(|(_, lines)| *lines > FILE_LINES_MAX);
    long.map(|(source, lines)| source.breach(lines, &format!("{lines} lines"))).collect()
}

fn long_functions(sources: &[Source]) -> Vec<String> {
    let breaches = sources.iter().flat_map(|source| {
        let starts = source.code.match_indices("fn ").filter(|(start, _)| {
            !source.is_test_at(*start) && !source.code[..*start].ends_with(is_name_part)
        });
        starts.filter_map(|(start, _)| {
            let lines = source.code[start..item_end(&source.code, start)].lines().count();
            let message = || source.breach(source.line(start), &format!("fn of {lines} lines"));
            (lines > FUNCTION_LINES_MAX).then(message)
        })
    });
    breaches.collect()
}

fn without_reason(sources: &[Source]) -> Vec<String> {
    let without = sources.iter().filter(|source| !source.text.starts_with("//! "));
    without.map(|source| source.breach(1, "the first line is no `//!` line")).collect()
}

fn unwraps(sources: &[Source]) -> Vec<String> {
    found_in_code(sources, ".unwrap()", |source, at| !source.is_test_at(at))
}

fn channels_without_limit(sources: &[Source]) -> Vec<String> {
    // `app.rs` has the one on which permanent actors are told dead: each says it once.
    found_in_code(sources, "unbounded_channel", |source, at| {
        !source.is_test_at(at) && source.path != "src/app.rs"
    })
}

/// A sleep that is imported is found at its import. Where the clock stands still, time that passes
/// costs none.
fn sleeps(sources: &[Source]) -> Vec<String> {
    let breaches = sources.iter().flat_map(|source| {
        let slept = source.references().into_iter().filter(|reference| {
            let sleeps = ["thread::sleep", "time::sleep"];
            let paused = source.path == "src/actors/testing.rs";
            reference.in_test
                && !paused
                && sleeps.iter().any(|sleep| reference.path.ends_with(sleep))
        });
        slept.map(|used| source.breach(used.line, &format!("a test uses {}", used.path)))
    });
    breaches.collect()
}

fn unfinished(sources: &[Source]) -> Vec<String> {
    // Put together here, so that this file may be read by its own rule.
    let words = [concat!("to", "do!"), concat!("unimplemen", "ted!"), concat!("db", "g!")];
    let in_code = words.iter().flat_map(|word| found_in_code(sources, word, |_, _| true));
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let in_text =
        sources.iter().flat_map(|source| found_in_text(&source.path, &source.text, &marks));
    in_code.chain(in_text).collect()
}

fn places_outside(files: &[(String, String)]) -> Vec<String> {
    let places = [
        concat!("sha", "red/"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/tmp/", "adit"),
    ];
    files.iter().flat_map(|(path, text)| found_in_text(path, text, &places)).collect()
}

fn dead_links(files: &[(String, String)]) -> Vec<String> {
    let pages = files.iter().filter(|(path, _)| {
        Path::new(path).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("md"))
    });
    let breaches = pages.flat_map(|(path, text)| {
        let folder = Path::new(path).parent().unwrap_or(Path::new(""));
        let links = text.match_indices("](").filter_map(|(at, opening)| {
            let rest = &text[at + opening.len()..];
            Some((at, rest[..rest.find(')')?].split('#').next()?))
        });
        let dead = links.filter(move |(_, target)| {
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            !elsewhere && !target.is_empty() && !root().join(folder).join(target).exists()
        });
        dead.map(move |(at, target)| {
            format!("{path}:{}: {target} does not exist", line_of(text, at))
        })
    });
    breaches.collect()
}

/// Each place where a word stands in the code and concerns the rule.
fn found_in_code(
    sources: &[Source],
    word: &str,
    concerns: impl Fn(&Source, usize) -> bool,
) -> Vec<String> {
    let found = sources.iter().flat_map(|source| {
        let places = source.code.match_indices(word).map(|(at, _)| at);
        places.map(move |at| (source, at))
    });
    let concerned = found.filter(|(source, at)| concerns(source, *at));
    concerned.map(|(source, at)| source.breach(source.line(at), word)).collect()
}

fn found_in_text(path: &str, text: &str, words: &[&str]) -> Vec<String> {
    let lines = (1..).zip(text.lines());
    let found = lines.flat_map(|(line, content)| {
        let here = words.iter().filter(move |word| content.contains(**word));
        here.map(move |word| format!("{path}:{line}: {word}"))
    });
    found.collect()
}

fn none(breaches: &[String]) {
    assert!(breaches.is_empty(), "{} found:\n{}", breaches.len(), breaches.join("\n"));
}

/// A rule that finds nothing must have looked: each finds what it is for, and the place.
#[test]
fn every_rule_can_fail() {
    let in_test = |body: &str| format!("#[cfg(test)]\nmod tests {{\n{body}\n}}");
    let long_file = "\n".repeat(FILE_LINES_MAX + 1);
    let long_function = format!("fn f() {{\n{}}}", "g(\"}\");\n".repeat(FUNCTION_LINES_MAX));
    let cases: [(Rule, &str, &str, &str); 22] = [
        (
            layering,
            "src/tunnel/a.rs",
            "\nuse crate::actors::b;",
            "a.rs:2: tunnel uses crate::actors::b",
        ),
        (
            layering,
            "src/actors/a.rs",
            "use super::super::{auth, grpc::{self, B}};",
            "crate::grpc::B",
        ),
        (layering, "src/actors/a.rs", "fn f(a: crate::auth::Key) {}", "crate::auth::Key"),
        (layering, "src/grpc/a/b.rs", &in_test("use crate::config::Config;"), "b.rs:3: grpc uses"),
        (layering, "src/observe/mod.rs", "use crate::tunnel;", "crate::tunnel"),
        (layering, "src/config/a.rs", "use crate::grpc::wire::Shared;", "wire::Shared"),
        (layering, "src/later/a.rs", "", "LAYERS does not say"),
        (purity, "src/tunnel/a.rs", "fn f() { log::info!(\"\") }", "log::info"),
        (purity, "src/tunnel/a.rs", "use std::{fs, fmt};", "std::fs"),
        (
            purity,
            "src/tunnel/a.rs",
            "use std::time::Instant;\nfn f() { Instant::now() }",
            "a.rs:2:",
        ),
        (wall_clock, "src/actors/a.rs", "\nuse std::time::{Duration, SystemTime};", "a.rs:2:"),
        (homes, "src/actors/a.rs", "use tonic_prost as x;", "tonic_prost does not belong"),
        (homes, "src/grpc/a.rs", "#[derive(actix::Message)]\nstruct A;", "actix::Message"),
        (long_files, "src/a.rs", &long_file, "501 lines"),
        (long_functions, "src/a.rs", &long_function, "fn of 72 lines"),
        (without_reason, "src/a.rs", "// Why.", "a.rs:1:"),
        (unwraps, "src/a.rs", &format!("{}\na\n.unwrap()", in_test("x.unwrap()")), "a.rs:6:"),
        (channels_without_limit, "src/a.rs", "mpsc::unbounded_channel();", "unbounded_channel"),
        (sleeps, "src/a.rs", &in_test("use tokio::time::{sleep, timeout};"), "time::sleep"),
        (sleeps, "tests/a.rs", "fn f() { std::thread::sleep(a) }", "thread::sleep"),
        (unfinished, "src/a.rs", concat!("// TO", "DO"), "a.rs:1:"),
        (unfinished, "src/a.rs", concat!("fn f() { to", "do!() }"), "a.rs:1:"),
    ];
    for (rule, path, text, place) in cases {
        let breaches = rule(&[Source::new(path, text)]).join("\n");
        assert!(breaches.contains(place), "{path}: {text}\nfound: {breaches}");
    }
}

#[test]
fn every_rule_lets_pass_what_it_does_not_mean() {
    let cases: [(Rule, &str, &str); 9] = [
        (layering, "src/actors/a.rs", "//! See [`crate::grpc`].\nuse super::b::C;"),
        (layering, "src/config/mod.rs", "#[cfg(test)]\nmod tests {\nuse super::*;\n}"),
        (layering, "src/config/a.rs", "use crate::grpc::keepalive::Keepalive;"),
        (purity, "src/tunnel/a.rs", "#[cfg(test)]\nmod tests {\nuse proptest::prelude::*;\n}"),
        (homes, "src/grpc/a.rs", "fn f<'a>() { actix_rt::spawn(b) }"),
        (long_functions, "src/a.rs", "trait A { fn f(a: [u8; 2]); }\nconst B: char = '{';"),
        (unwraps, "src/a.rs", "/* .unwrap() */ const A: &str = r#\"\".unwrap()\"#;"),
        (unwraps, "src/a/tests.rs", "fn f() { a.unwrap() }"),
        (sleeps, "src/a.rs", "fn f() { tokio::time::sleep(a) }"),
    ];
    for (rule, path, text) in cases {
        assert_eq!(rule(&[Source::new(path, text)]), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn a_circle_is_told_once_with_its_places() {
    let a = Source::new("src/actors/a.rs", "use super::{b::B, c::C};");
    let b = Source::new("src/actors/b/messages.rs", "\nuse crate::actors::c::C;");
    let c = Source::new("src/actors/c.rs", "use super::a;\n#[cfg(test)]\nuse super::b;");
    let told = circles(&[a, b, c]);
    assert_eq!(
        told,
        ["src/actors/a.rs:1, src/actors/c.rs:1: circle actors::a > actors::c > actors::a"]
    );
}

#[test]
fn places_and_links_are_looked_at() {
    let page = |text: &str| [("a.md".to_owned(), text.to_owned())];
    assert_eq!(places_outside(&page(concat!("\n/wo", "rk/x"))).len(), 1);
    let links = "[a](Cargo.toml#x) [b](https://c.d) [e](#f)\n[g](h.md)";
    assert_eq!(dead_links(&page(links)), ["a.md:2: h.md does not exist"]);
}
