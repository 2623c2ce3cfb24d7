//! The commands that start no gateway, run as people run them.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

const DIGEST: &str = "3f0a377ba0a4a460ecb616f6507ce0d8cfa3e704025d4fda3ed0c5ca05468728";

#[test]
fn a_right_configuration_is_called_right_though_its_port_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = File::new("right", &json!({ "listeners": [{ "address": address }] }).to_string());
    let (code, stdout, stderr) =
        file.run(&["check"], &[("ADIT_WORKERS", "2"), ("ADIT_WROKERS", "")]);
    assert_eq!(code, 0);
    let summary = "ok: listeners=1 keys=0 fields_by_file=1 fields_by_environment=1\n";
    assert!(stdout.ends_with(summary), "{stdout}");
    assert_eq!(stderr, "warning: ADIT_WROKERS: unknown variable; did you mean `ADIT_WORKERS`?\n");
}

#[test]
fn every_mistake_of_the_file_and_the_environment_is_told_with_exit_code_2() {
    let file = File::new("wrong", r#"{ "limits": { "calls_mux": 1 }, "drain": { "grace": 5 } }"#);
    for command in ["check", "serve", "config"] {
        let view = if command == "config" { &["--print"][..] } else { &[] };
        let arguments = [&[command], view].concat();
        let (code, stdout, stderr) = file.run(&arguments, &[("ADIT_LOG_LEVEL", "loud")]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        let lines: Vec<&str> = stderr.lines().collect();
        assert!(lines[0].ends_with("wrong.json is refused:"), "{stderr}");
        assert!(stderr.contains("\nlimits.calls_mux: unknown field; did you mean `calls_max`?"));
        assert!(stderr.contains("\ndrain.grace: 5 has no unit"), "{stderr}");
        assert!(stderr.contains("\nADIT_LOG_LEVEL: unknown variant `loud`"), "{stderr}");
        assert_eq!(lines.len(), 4, "{stderr}");
    }
}

#[test]
fn what_is_printed_is_a_configuration_and_shows_no_secret() {
    let written = json!({
        "keys": [{ "id": "edge", "sha256": DIGEST }],
        "drain": { "grace": "1m" },
    });
    let file = File::new("printed", &written.to_string());
    let variables =
        [("ADIT_LIMITS_CALLS_MAX", "5"), ("ADIT_API_KEY", "k-of-32-bytes-and-more-0123456789")];
    let (code, stdout, _) = file.run(&["config", "--print"], &variables);
    let mut printed: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code, 0);
    assert_eq!(printed["limits"]["calls_max"], 5);
    assert_eq!(printed["keys"][0]["sha256"], "***");
    assert!(printed["workers"].as_u64().is_some_and(|workers| workers > 0));
    assert!(!stdout.contains("0123456789") && !stdout.contains(DIGEST));

    let (_, _, stderr) = File::new("starred", &stdout).run(&["check"], &[]);
    assert!(stderr.contains("keys[0].sha256: must be the 64 hex digits"), "{stderr}");
    printed["keys"][0]["sha256"] = DIGEST.into();
    let again = File::new("again", &printed.to_string());
    let (_, stdout_again, _) = again.run(&["config", "--print"], &[]);
    assert_eq!(stdout_again, stdout);
}

#[test]
fn each_value_that_is_set_is_told_with_its_source() {
    let written = json!({ "drain": { "grace": "1m" }, "log": { "level": "warn" } });
    let file = File::new("sources", &written.to_string());
    let variables = [("ADIT_LOG_LEVEL", "debug"), ("ADIT_API_KEY", DIGEST)];
    let (code, stdout, _) = file.run(&["config", "--sources"], &variables);
    assert_eq!(code, 0);
    let path = file.0.display();
    assert_eq!(
        stdout,
        format!(
            "drain.grace = \"1m\" ({path})\n\
             log.level = \"debug\" (ADIT_LOG_LEVEL)\n\
             one more key, with the id env (ADIT_API_KEY)\n"
        )
    );
}

#[test]
fn the_schema_is_printed_without_any_configuration() {
    let nowhere = File(PathBuf::from("/nowhere/adit.json"));
    let (code, stdout, _) = nowhere.run(&["config", "--schema"], &[]);
    let schema: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code, 0);
    assert_eq!(schema["properties"]["limits"]["properties"]["calls_max"]["default"], 20_000);
    assert_eq!(nowhere.run(&["check"], &[]).0, 2);
}

/// A file with a configuration.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    /// Runs `adit` with this file and only these of its variables: exit code, stdout, stderr.
    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        command.args(arguments).arg("--config").arg(&self.0).env_clear();
        let Output { status, stdout, stderr } =
            command.envs(variables.iter().copied()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }
}
