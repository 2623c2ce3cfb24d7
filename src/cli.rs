//! The command line: what can be asked for, and the commands that start no gateway.

pub(crate) mod actors;
mod client;
pub(crate) mod connections;
mod query;
pub(crate) mod services;
pub(crate) mod status;
mod table;
mod watching;
mod words;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use adit::auth::key::ApiKey;
use adit::config::{self, ConfigError, Environment, Explained, KEY_VARIABLE, KEY_VARIABLE_ID};
use adit::observe::log;
use clap::{Parser, Subcommand};
use watching::Watching;

/// A gateway for gRPC services that cannot be dialled.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) file: ConfigFile,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway (what happens without a command, too).
    Serve(ConfigFile),
    /// Say what is wrong with the configuration, and start nothing.
    Check(ConfigFile),
    /// Show the configuration, or what can be configured.
    Config {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        view: View,
    },
    /// Work with API keys.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Show a running gateway at a glance.
    Status(Watching),
    /// Show the actors of a running gateway, those that are stuck first.
    Actors(actors::Asked),
    /// Show the tunnels of a running gateway, or one of them with its last frames.
    Connections(connections::Asked),
    /// Show the services of a running gateway, and how their calls go.
    Services(services::Asked),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration, in JSON.
    #[arg(long = "config", value_name = "FILE", default_value = "config.json")]
    pub(crate) path: PathBuf,
}

/// What to show. One at a time, so that what is printed is one thing.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option, and the group allows one")]
pub(crate) struct View {
    /// Everything that holds, defaults included, as a configuration file (secrets are stars).
    #[arg(long)]
    print: bool,
    /// Each field that the file or the environment sets, with its source.
    #[arg(long)]
    sources: bool,
    /// The JSON Schema of the configuration.
    #[arg(long)]
    schema: bool,
    /// Every field in tables, in Markdown.
    #[arg(long)]
    reference: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key: prints it, and the line for the configuration that admits it.
    New {
        /// What the key is called in the configuration and in logs.
        #[arg(long, default_value = "my-key")]
        id: String,
    },
}

/// Reads the configuration, or says everything that is wrong with it.
fn load(path: &Path) -> Result<Explained, String> {
    config::load(path, &Environment::of_process()).map_err(|error| refused(path, &error))
}

/// Says that there is no configuration, and why.
pub(crate) fn refused(path: &Path, error: &ConfigError) -> String {
    format!("the configuration {} is refused:\n{error}", path.display())
}

/// Says what is right about the configuration, in one line.
pub(crate) fn check(path: &Path) -> Result<ExitCode, String> {
    let explained = load(path)?;
    for warning in &explained.config.warnings {
        log::say(&format!("warning: {warning}"));
    }
    let sources = explained.sources();
    let by_variables = sources.iter().filter(|source| source.variable.is_some()).count();
    let keys = explained.config.keys.len();
    print(&format!(
        "{}: ok: listeners={} keys={keys} fields_by_file={} fields_by_environment={by_variables}\n",
        path.display(),
        explained.config.listeners.len(),
        sources.len() - by_variables,
    ))
}

/// Shows the configuration.
pub(crate) fn show(path: &Path, view: &View) -> Result<ExitCode, String> {
    if view.schema {
        print(&format!("{:#}\n", config::schema::whole()))
    } else if view.reference {
        print(&config::reference::page())
    } else if view.sources {
        print(&sources(path, &load(path)?))
    } else {
        print(&format!("{:#}\n", load(path)?.effective()))
    }
}

fn sources(path: &Path, explained: &Explained) -> String {
    let mut lines = String::new();
    for source in explained.sources() {
        let variable = source.variable.as_deref();
        let file = path.display().to_string();
        // Writing to a text does not fail.
        let _ = writeln!(lines, "{source} ({})", variable.unwrap_or(&file));
    }
    if explained.config.keys.grants().any(|grant| grant.id() == KEY_VARIABLE_ID) {
        let _ = writeln!(lines, "one more key, with the id {KEY_VARIABLE_ID} ({KEY_VARIABLE})");
    }
    lines
}

/// Makes a key.
pub(crate) fn new_key(id: &str) -> Result<ExitCode, String> {
    if !config::is_id(id) {
        return Err(format!("--id: {}", config::ID_RULE));
    }
    let key = ApiKey::generate().map_err(|error| error.to_string())?;
    print(&format!(
        "The key, to be given to the service (it is shown only now):\n\n  {}\n\n\
         For \"keys\" in the gateway's configuration:\n\n  \
         {{ \"id\": \"{id}\", \"sha256\": \"{}\", \"register\": [\"*\"] }}\n",
        key.reveal(),
        key.digest(),
    ))
}

fn print(text: &str) -> Result<ExitCode, String> {
    match io::stdout().write_all(text.as_bytes()) {
        // Who reads has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}
