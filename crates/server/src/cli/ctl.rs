//! `pelago ctl`: what operators do with a world.

mod backup;
mod document;
mod hash;
mod meter;
mod origin;
mod record;
mod remote;
mod restore;
mod shown;

use anyhow::Result;
use clap::{Args, Subcommand};
use pelago_store::archive::Kind;
use std::process::ExitCode;

#[derive(Args)]
pub(super) struct CtlArguments {
    #[command(subcommand)]
    command: CtlCommand,
}

#[derive(Subcommand)]
enum CtlCommand {
    /// Copy a world into files, to go on with: everything, the places of players, too
    #[command(after_help = backup::EXAMPLES)]
    Backup(backup::BackupArguments),
    /// Put a backup into an empty store
    #[command(after_help = restore::EXAMPLES)]
    Restore(restore::RestoreArguments),
    /// Copy a world into files, to move it: without the places of players
    #[command(after_help = backup::EXAMPLES)]
    Export(backup::BackupArguments),
    /// Put an export (or a backup, without the places of players) into an empty store
    #[command(after_help = restore::EXAMPLES)]
    Import(restore::RestoreArguments),
    /// Print the hash of a world: two stores hold the same world if it is the same
    #[command(after_help = hash::EXAMPLES)]
    Hash(hash::HashArguments),
    /// Print a document
    #[command(after_help = document::EXAMPLES)]
    Get(document::GetArguments),
    /// Change what stands inside of a document
    #[command(after_help = document::EXAMPLES)]
    Edit(document::EditArguments),
    /// Let nodes write down what their machines were told in the last minute
    #[command(after_help = record::EXAMPLES)]
    Record(record::RecordArguments),
}

pub(super) async fn run(arguments: CtlArguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Handle::current();
    // Reading and writing wait for disks.
    let done = tokio::task::spawn_blocking(move || match arguments.command {
        CtlCommand::Backup(arguments) => backup::run(&arguments, Kind::Backup, &runtime),
        CtlCommand::Export(arguments) => backup::run(&arguments, Kind::Export, &runtime),
        CtlCommand::Restore(arguments) => restore::run(&arguments, Kind::Backup),
        CtlCommand::Import(arguments) => restore::run(&arguments, Kind::Export),
        CtlCommand::Hash(arguments) => hash::run(&arguments, &runtime),
        CtlCommand::Get(arguments) => document::get(&arguments, &runtime),
        CtlCommand::Edit(arguments) => document::edit(&arguments, &runtime),
        CtlCommand::Record(arguments) => record::run(&arguments, &runtime),
    });
    done.await??;
    Ok(ExitCode::SUCCESS)
}
