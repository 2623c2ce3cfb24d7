//! The gateway's run: reads the configuration, starts, waits for a signal, drains, exits.

mod cli;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use adit::app::{Ended, Gateway};
use adit::auth::key::ApiKey;
use adit::observe;
use adit::reload::Source;
use clap::Parser;
use cli::{Arguments, Command, KeyCommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Who stops a process often tells its group too (`timeout` does, and terminals under a wrapper), so
/// that one request comes twice. Nobody presses a key twice as quickly.
const ONE_REQUEST: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        None => serve(&arguments.file.path),
        Some(Command::Serve(file)) => serve(&file.path),
        Some(Command::Check(file)) => cli::check(&file.path),
        Some(Command::Config { file, view }) => cli::show(&file.path, &view),
        Some(Command::Key { command: KeyCommand::New { id } }) => cli::new_key(&id),
        Some(Command::Status(watching)) => cli::status::run(&watching),
        Some(Command::Actors(asked)) => cli::actors::run(&asked),
        Some(Command::Connections(asked)) => cli::connections::run(&asked),
        Some(Command::Services(asked)) => cli::services::run(&asked),
    };
    let code = done.unwrap_or_else(|problem| {
        observe::log::say(&problem);
        ExitCode::from(2)
    });
    observe::log::finish();
    code
}

fn serve(path: &Path) -> Result<ExitCode, String> {
    let refused = |error| cli::refused(path, &error);
    let mut source = Source::new(path);
    let mut config = source.read().map_err(refused)?;
    observe::log::start(config.log_level).map_err(|error| format!("no log: {error}"))?;
    for warning in &config.warnings {
        log::warn!("configuration: {warning}");
    }
    let run_key = config
        .needs_key_for_run()
        .then(|| source.make_run_key(&mut config))
        .transpose()
        .map_err(|error| error.to_string())?;
    // Meanwhile: the first that is timed need not wait for it.
    std::thread::spawn(observe::ticks::start);
    let system = actix_rt::System::new();
    let ended = system.block_on(async move {
        // Before anybody can know that it is up, and stop it.
        let no_signals = |error| format!("no signal handlers: {error}");
        let stop = stop_signals().map_err(no_signals)?;
        let reloads = source.watch().map_err(no_signals)?;
        let gateway = Gateway::start(config).await.map_err(|error| error.to_string())?;
        announce(&gateway, run_key.as_ref());
        Ok::<_, String>(gateway.run(stop, reloads).await)
    });
    // Its end would wait for files that are being read on other threads, and a disk may be stuck.
    std::mem::forget(system);
    Ok(match ended? {
        Ended::Drained | Ended::GraceOver => ExitCode::SUCCESS,
        Ended::Forced | Ended::Broken => ExitCode::FAILURE,
    })
}

fn announce(gateway: &Gateway, run_key: Option<&ApiKey>) {
    for address in gateway.addresses() {
        log::info!("listening: address={address}");
    }
    if let Some(address) = gateway.metrics_address() {
        log::info!("metrics: address=http://{address}/");
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
