//! The command line: one file per command.

mod bots;
mod ctl;
mod dev;

use crate::log_throttle::LogThrottle;
use crate::output;
use clap::{Parser, Subcommand};
use pelago_game::Game;
use pelago_runtime::service::ServiceKind;
use rustix::fs::Mode;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How long what still waits for a disk or a database may hold up the end of the program.
const STRAGGLERS_TIME: Duration = Duration::from_secs(1);

/// A persistent, seamless, single-channel world.
#[derive(Parser)]
#[command(name = "pelago", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole world in one process, for development: open to this machine only
    Dev(dev::DevArguments),
    /// Keep and move worlds: backup, restore, export, import, hash
    Ctl(ctl::CtlArguments),
    /// Let bots play, or verify a journal of theirs
    Bots(bots::BotsArguments),
}

/// Runs the server with a game: parses the command line, does what it says.
pub fn run(game: impl Game) -> ExitCode {
    Server::new(game).run()
}

/// A server with more than a game.
pub struct Server {
    game: Arc<dyn Game>,
    services: Vec<ServiceKind>,
}

impl Server {
    /// The server of a game.
    pub fn new(game: impl Game) -> Self {
        Self { game: Arc::new(game), services: Vec::new() }
    }

    /// Adds a service of the studio's own to every node: see `docs/services.md`.
    #[must_use]
    pub fn service(mut self, kind: ServiceKind) -> Self {
        self.services.push(kind);
        self
    }

    /// Parses the command line and does what it says.
    pub fn run(self) -> ExitCode {
        let arguments = Arguments::parse();
        // Worlds have secrets: nothing that this program writes is for anybody but its owner.
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
        let filter =
            EnvFilter::try_from_env("PELAGO_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(output::stderr())
            // A line that cannot be written is lost, and nothing is said of it where nothing can be said.
            .log_internal_errors(false)
            .with_ansi(std::io::stderr().is_terminal());
        tracing_subscriber::registry().with(filter).with(LogThrottle::new()).with(lines).init();
        std::panic::set_hook(Box::new(output::panicked));
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the runtime could not be started");
                return ExitCode::FAILURE;
            }
        };
        let result = runtime.block_on(async {
            match arguments.command {
                Command::Dev(arguments) => dev::run(arguments, self.game, self.services).await,
                Command::Ctl(arguments) => ctl::run(arguments).await,
                Command::Bots(arguments) => bots::run(arguments).await,
            }
        });
        let code = result.unwrap_or_else(|error| {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        });
        runtime.shutdown_timeout(STRAGGLERS_TIME);
        output::flush();
        code
    }
}
