//! Parses arguments, runs the daemon or a subcommand, and decides the exit status.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use execsnoopd::cli::{self, Cli, Command};
use execsnoopd::daemon::signals::{Held, Signals};
use execsnoopd::sys::log::{self, LogFormat, LogLevel};
use execsnoopd::sys::malloc;
use execsnoopd::{capture, config, daemon, doctor, trace};
use tracing::error;

/// Exit statuses, as in `sysexits.h`.
const EX_UNAVAILABLE: u8 = 69;
const EX_NOPERM: u8 = 77;
const EX_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let held = Held::block();
    let cli = Cli::parse();
    match &cli.command {
        None if !cli.check => run(cli, held),
        command => {
            held.deliver();
            match command {
                Some(Command::Trace(args)) => trace(args),
                Some(Command::Doctor(args)) => doctor(args),
                None => check(&cli),
            }
        }
    }
}

fn run(cli: Cli, held: Held) -> ExitCode {
    malloc::share_heap();
    let signals = match Signals::handle(held) {
        Ok(signals) => signals,
        Err(error) => {
            log::print_error(format_args!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let start = match cli.load_start() {
        Ok(start) => start,
        Err(error) => {
            log::print_error(&error);
            return config_status(&error);
        }
    };
    let config = &start.resolved.config;
    if let Err(error) = log::init(config.log.level, config.log.format) {
        log::print_error(format_args!("{error:#}"));
        return ExitCode::FAILURE;
    }
    match daemon::run(start, signals, move || cli.load_config()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            status(&error)
        }
    }
}

fn check(cli: &Cli) -> ExitCode {
    match cli.check_config() {
        Ok((config, notices)) => {
            println!("execsnoopd: {} valid", cli.describe_config());
            let web = config.web.config_file.display().to_string();
            if !web.is_empty() {
                println!("execsnoopd: {web} is valid");
            }
            for notice in notices {
                log::print_error(&notice);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::print_error(&error);
            config_status(&error)
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
        // The reader has closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            log::print_error(format_args!("cannot write the report: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns the exit status for a configuration error: [`EX_CONFIG`] only if the configuration can
/// never work, because systemd does not restart the daemon after this status.
fn config_status(error: &config::Error) -> ExitCode {
    if error.is_final() {
        ExitCode::from(EX_CONFIG)
    } else {
        ExitCode::FAILURE
    }
}

fn status(error: &daemon::Error) -> ExitCode {
    match error {
        daemon::Error::Capture(capture::Error::NotPermitted(_) | capture::Error::Buffer(_))
        | daemon::Error::NotPermitted(_) => ExitCode::from(EX_NOPERM),
        daemon::Error::Capture(capture::Error::Unsupported(_)) => ExitCode::from(EX_UNAVAILABLE),
        daemon::Error::Other(_) if error.is_invalid_config() => ExitCode::from(EX_CONFIG),
        daemon::Error::Capture(capture::Error::Shortage(_)) | daemon::Error::Other(_) => {
            ExitCode::FAILURE
        }
    }
}
