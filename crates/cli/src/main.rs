//! The program `fhirvest`: arguments, wiring, telemetry and exit codes. Everything else is in the libraries.

mod arguments;
mod commands;
mod failure;
mod loopback;
mod output;
mod progress;
mod telemetry;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;
use failure::Failure;
use fhirvest_jobs::run::Exit;

fn main() -> ExitCode {
    // clap itself ends with 2 on bad usage, as the contract has it, and with 0 on --help and --version.
    let arguments = Arguments::parse();
    telemetry::start(&arguments.global);
    let exit = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(dispatch(&arguments)),
        Err(error) => Err(Failure::io("the async runtime cannot be started", &error)),
    };
    match exit {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            output::failure(None, &failure);
            ExitCode::from(failure.exit.code())
        }
    }
}

async fn dispatch(arguments: &Arguments) -> Result<Exit, Failure> {
    let global = &arguments.global;
    match &arguments.command {
        Command::Run(run) => commands::run::run(global, run).await,
        Command::Schedule(schedule) => commands::schedule::schedule(global, schedule).await,
        Command::Rerun(rerun) => commands::again::rerun(global, rerun).await,
        Command::Publish(publish) => commands::again::publish(global, publish).await,
        Command::Prune(prune) => commands::retention::prune(global, prune).await,
        Command::Verify(json) => commands::retention::verify(global, json).await,
        Command::Harvest(harvest) => commands::run::harvest(global, harvest).await,
        Command::Check(check) => commands::check::check(global, check).await,
        Command::Flatten(flatten) => commands::flatten::flatten(flatten),
        Command::Views(views) => commands::views::views(global, views),
        Command::Conformance(conformance) => commands::conformance::conformance(conformance),
        Command::Runs(runs) => commands::runs::runs(global, runs).await,
        Command::Report(report) => commands::report::report(global, report).await,
        Command::Support(support) => commands::report::support(global, support).await,
        Command::Login(login) => commands::login::login(global, login).await,
        Command::Logout(logout) => commands::login::logout(global, logout).await,
        Command::Apis(apis) => commands::apis::apis(global, apis),
        Command::Config(config) => commands::config::config(global, config),
        Command::Sandbox(sandbox) => commands::sandbox::sandbox(global, sandbox).await,
    }
}
