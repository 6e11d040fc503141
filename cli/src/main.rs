//! `magpie`: one subcommand for each thing that a person does.

mod args;
mod calibrate;
mod demo;
mod doctor;
mod exit;
mod export;
mod feed;
mod line;
mod meeting;
mod missing;
mod node;
mod output;
mod peers;
mod publish;
mod sensors;
mod sub;
mod verify;
mod view;
mod when;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Args, Command};
use crate::exit::Exit;

fn main() -> ExitCode {
    let args = Args::parse();
    let usual = match args.command {
        Command::Node(_) => "info",
        // Five nodes that start would bury the view.
        Command::Demo(_) => "error",
        _ => "warn",
    };
    if let Err(error) = service::log::init(args.log, usual) {
        return report(&error.into()).into();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&anyhow::Error::new(error).context("cannot start the runtime")).into(),
    };
    let ended = runtime.block_on(run(args.command));
    // A thread that a hung bus holds must not hold the program.
    runtime.shutdown_background();
    ended.unwrap_or_else(|error| report(&error)).into()
}

async fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Node(args) => node::run(args).await,
        Command::Sub(args) => sub::run(args).await,
        Command::Pub(args) => publish::run(args).await,
        Command::Sensors(args) => sensors::run(args).await,
        Command::Peers(args) => peers::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Export(args) => export::run(args).await,
        Command::Verify(args) => verify::run(args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "magpie", &mut std::io::stdout());
            Ok(Exit::Done)
        }
    }
}

/// Tells a person what went wrong, the cause behind it last. A closed pipe is no error: the reader has had enough.
fn report(error: &anyhow::Error) -> Exit {
    if output::is_closed_pipe(error) {
        return Exit::Done;
    }
    output::complain(&format!("magpie: {error:#}"));
    if error.is::<service::Problems>() { Exit::Usage } else { Exit::Failed }
}
