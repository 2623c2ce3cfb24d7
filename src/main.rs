//! The gateway's command line: serve, or make a key.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use adit::app::{Ended, Gateway};
use adit::auth::key::ApiKey;
use adit::observe;
use adit::reload::Source;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Who stops a process often tells its group too (`timeout` does, and terminals under a wrapper), so
/// that one request comes twice. Nobody presses a key twice as quickly.
const ONE_REQUEST: Duration = Duration::from_millis(100);

/// A gateway for gRPC services that cannot be dialled.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (what happens without a command, too).
    Serve(Serve),
    /// Work with API keys.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// The configuration, in JSON.
    #[arg(long, value_name = "FILE", default_value = "config.json")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a key: prints it, and the line for the configuration that admits it.
    New {
        /// What the key is called in the configuration and in logs.
        #[arg(long, default_value = "my-key")]
        id: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        None => serve(&arguments.serve.config),
        Some(Command::Serve(serve_arguments)) => serve(&serve_arguments.config),
        Some(Command::Key { command: KeyCommand::New { id } }) => new_key(&id),
    };
    let code = done.unwrap_or_else(|problem| {
        observe::log::say(&problem);
        ExitCode::from(2)
    });
    observe::log::finish();
    code
}

fn serve(path: &Path) -> Result<ExitCode, String> {
    let refused = |error| format!("the configuration {} is refused:\n{error}", path.display());
    let mut source = Source::new(path);
    let mut config = source.read().map_err(refused)?;
    observe::log::start(config.log_level).map_err(|error| format!("no log: {error}"))?;
    if config.needs_key_for_run() {
        source = source.with_run_key(ApiKey::generate().map_err(|error| error.to_string())?);
        config = source.read().map_err(refused)?;
    }
    let system = actix_rt::System::new();
    let ended = system.block_on(async move {
        // Before anybody can know that it is up, and stop it.
        let no_signals = |error| format!("no signal handlers: {error}");
        let stop = stop_signals().map_err(no_signals)?;
        let reloads = source.clone().watch().map_err(no_signals)?;
        let gateway = Gateway::start(config).await.map_err(|error| error.to_string())?;
        announce(&gateway, source.run_key());
        Ok::<_, String>(gateway.run(stop, reloads).await)
    })?;
    Ok(match ended {
        Ended::Drained | Ended::GraceOver => ExitCode::SUCCESS,
        Ended::Forced | Ended::Broken => ExitCode::FAILURE,
    })
}

fn announce(gateway: &Gateway, run_key: Option<&ApiKey>) {
    for address in gateway.addresses() {
        log::info!("listening: address={address}");
    }
    if let Some(key) = run_key {
        observe::log::say(&format!(
            "No key is configured, so this one was made for this run:\n\n  {key}\n\n\
             Use it like this:\n\n  \
             ADIT_API_KEY={key} python3 examples/python/service.py\n\n\
             For a key that stays: {program} key new",
            key = key.reveal(),
            program = std::env::args().next().unwrap_or_else(|| "adit".to_owned())
        ));
    }
}

/// SIGTERM and SIGINT: the first drains, the second ends at once. The same signal twice within
/// [`ONE_REQUEST`] is one.
fn stop_signals() -> std::io::Result<mpsc::Receiver<()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = mpsc::channel(2);
    actix_rt::spawn(async move {
        let mut last: Option<(SignalKind, Instant)> = None;
        loop {
            let kind = tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            };
            let now = Instant::now();
            let echo = last.is_some_and(|(before, at)| before == kind && now - at < ONE_REQUEST);
            if !echo {
                last = Some((kind, now));
                if stop.send(()).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(stopped)
}

fn new_key(id: &str) -> Result<ExitCode, String> {
    let key = ApiKey::generate().map_err(|error| error.to_string())?;
    let text = format!(
        "The key, to be given to the service (it is shown only now):\n\n  {}\n\n\
         For \"keys\" in the gateway's configuration:\n\n  \
         {{ \"id\": \"{id}\", \"sha256\": \"{}\", \"register\": [\"*\"] }}\n",
        key.reveal(),
        key.digest(),
    );
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}
