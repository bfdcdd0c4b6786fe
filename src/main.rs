//! Parses the arguments, runs the command and returns its exit status.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use execsnoopd::cli::{self, Cli, Command};
use execsnoopd::config::web_file;
use execsnoopd::sys::log::{self, LogFormat, LogLevel};
use execsnoopd::{capture, daemon, doctor, trace};
use tracing::error;

/// Exit statuses of `sysexits.h`.
const EX_UNAVAILABLE: u8 = 69;
const EX_NOPERM: u8 = 77;
const EX_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Some(Command::Trace(args)) => return trace(args),
        Some(Command::Doctor(args)) => return doctor(args),
        None => {}
    }
    let resolved = match cli.load_config() {
        Ok(resolved) => resolved,
        Err(error) => {
            log::print_error(&error);
            return ExitCode::from(EX_CONFIG);
        }
    };
    let config = &resolved.config;
    if cli.check {
        println!("execsnoopd: {} valid", cli.describe_config());
        let web = config.web.config_file.display().to_string();
        if !web.is_empty() {
            println!("execsnoopd: {web} is valid");
        }
        return ExitCode::SUCCESS;
    }
    if let Err(error) = log::init(config.log.level, config.log.format) {
        log::print_error(format_args!("{error:#}"));
        return ExitCode::FAILURE;
    }
    match daemon::run(resolved, move || cli.load_config()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            status(&error)
        }
    }
}

fn trace(args: &cli::Trace) -> ExitCode {
    let traced = log::init(LogLevel::Warn, LogFormat::Auto)
        .map_err(daemon::Error::Other)
        .and_then(|()| trace::run(args));
    match traced {
        Ok(lost) if lost && args.strict => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            log::print_error(&error);
            status(&error)
        }
    }
}

fn doctor(args: &cli::Doctor) -> ExitCode {
    match doctor::run(args.json) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(error)) => status(&error.into()),
        // The reader of the report has closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            log::print_error(format_args!("cannot write the report: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn status(error: &daemon::Error) -> ExitCode {
    match error {
        daemon::Error::Capture(capture::Error::NotPermitted(_) | capture::Error::Buffer(_)) => {
            ExitCode::from(EX_NOPERM)
        }
        daemon::Error::Capture(capture::Error::Unsupported(_)) => ExitCode::from(EX_UNAVAILABLE),
        daemon::Error::Other(error) if error.is::<web_file::Error>() => ExitCode::from(EX_CONFIG),
        daemon::Error::Capture(capture::Error::Shortage(_)) | daemon::Error::Other(_) => {
            ExitCode::FAILURE
        }
    }
}
