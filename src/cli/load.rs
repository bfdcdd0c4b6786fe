//! Reads the configuration that the command line names, and applies the flags.

use std::path::{Path, PathBuf};

use super::Cli;
use crate::config::{Config, DEFAULT_PATH, Error, Fault, File, Resolved, Start, permission_notice};
use crate::http::live_config;
use crate::sys::user;

impl Cli {
    /// Returns the beginning of a sentence about the configuration that
    /// [`check_config`](Self::check_config) reads: the subject and the verb.
    pub fn describe_config(&self) -> String {
        let default = Path::new(DEFAULT_PATH);
        match &self.config {
            Some(path) => format!("{} is", path.display()),
            None if default.try_exists().unwrap_or(true) => format!("{DEFAULT_PATH} is"),
            None => format!("there is no {DEFAULT_PATH}, so the defaults apply; they are"),
        }
    }

    /// Reads the file, applies the flags, and looks up the users that the views name.
    pub fn load_config(&self) -> Result<Resolved, Error> {
        let (config, file) = self.read_config()?;
        config
            .resolve()
            .map_err(|fault| self.locate(file.as_ref(), fault))
    }

    /// Reads everything that a start needs: the configuration with its users and hosts looked up,
    /// and the paths of the web configuration and its certificates, which are validated.
    pub fn load_start(&self) -> Result<Start, Error> {
        let (config, file) = self.read_config()?;
        let locate = |fault| self.locate(file.as_ref(), fault);
        let listen = config.resolve_listen().map_err(locate)?;
        let resolved = config.resolve().map_err(locate)?;
        let mut files = live_config::validate(&resolved.config.web.config_file)?.files;
        files.push(self.file().to_owned());
        Ok(Start {
            resolved,
            listen,
            files,
        })
    }

    /// Checks everything that a start needs. Returns the configuration and notices about what is
    /// valid but may cause trouble: a host that cannot be looked up now, certificates that are left
    /// out and, if root runs the check, files that the daemon may not be able to read.
    pub fn check_config(&self) -> Result<(Config, Vec<String>), Error> {
        let (config, file) = self.read_config()?;
        let locate = |fault| self.locate(file.as_ref(), fault);
        let mut notices = Vec::new();
        match config.resolve_listen().map_err(locate) {
            Err(error) if error.is_final() => return Err(error),
            Err(unknown) => notices.push(format!("{unknown}; a start would fail now")),
            Ok(_) => {}
        }
        let config = config.resolve().map_err(locate)?.config;
        let validated = live_config::validate(&config.web.config_file)?;
        notices.extend(validated.skipped);
        if user::is_root() {
            let files = validated.files.iter().map(PathBuf::as_path);
            notices.extend(
                [self.file()]
                    .into_iter()
                    .chain(files)
                    .filter_map(permission_notice),
            );
        }
        Ok((config, notices))
    }

    fn file(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH))
    }

    fn read_config(&self) -> Result<(Config, Option<File>), Error> {
        let file = File::read(self.config.as_deref())?;
        let config = file.as_ref().map(Config::parse_file);
        let mut config = config.transpose()?.unwrap_or_default();
        if !self.listen.is_empty() {
            config.web.listen.clone_from(&self.listen);
        }
        if let Some(path) = &self.web_config {
            config.web.config_file.clone_from(path);
        }
        if let Some(path) = &self.telemetry_path {
            config.web.telemetry_path.clone_from(path);
        }
        if let Some(level) = self.log_level {
            config.log.level = level;
        }
        if let Some(format) = self.log_format {
            config.log.format = format;
        }
        config.validate()?;
        Ok((config, file))
    }

    /// Returns the error for an invalid value, with file and line unless the value is that of a
    /// flag.
    fn locate(&self, file: Option<&File>, fault: Fault) -> Error {
        let is_flag = !self.listen.is_empty() && fault.is_in("web.listen");
        match file {
            Some(file) if !is_flag => file.locate(&fault),
            _ => Error::Flag(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::sys::log::{LogFormat, LogLevel};

    #[test]
    fn flags_take_precedence_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "[web]\nlisten = [\":1\"]\ntelemetry_path = \"/a\"\n").unwrap();
        let file = file.to_str().unwrap();
        let cli = Cli::parse_from([
            "execsnoopd",
            "--config",
            file,
            "--web.listen-address=127.0.0.1:2",
            "--web.listen-address=127.0.0.1:3",
            "--log.level=debug",
            "--log.format=json",
        ]);
        let config = cli.load_config().unwrap().config;
        assert_eq!(config.web.listen, ["127.0.0.1:2", "127.0.0.1:3"]);
        assert_eq!(config.web.telemetry_path, "/a");
        assert_eq!(config.log.level, LogLevel::Debug);
        assert_eq!(config.log.format, LogFormat::Json);
    }

    #[test]
    fn a_flag_is_validated_like_a_key() {
        let cli = Cli::parse_from(["execsnoopd", "--web.telemetry-path=metrics"]);
        let message = cli.load_config().unwrap_err().to_string();
        assert!(message.starts_with("web.telemetry_path: "), "{message}");
    }

    #[test]
    fn a_host_that_does_not_resolve_is_reported_where_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "[web]\nlisten = [\"no-such-host.invalid:1\"]\n").unwrap();
        let file = file.to_str().unwrap();
        let cli = Cli::parse_from(["execsnoopd", "--config", file]);
        let error = cli.load_start().unwrap_err();
        assert!(!error.is_final());
        let message = error.to_string();
        let expected = format!("{file}:2: web.listen: cannot resolve \"no-such-host.invalid:1\": ");
        assert!(message.starts_with(&expected), "{message}");

        let flag = "--web.listen-address=other-host.invalid:1";
        let cli = Cli::parse_from(["execsnoopd", "--config", file, flag]);
        let error = cli.load_start().unwrap_err();
        assert!(!error.is_final());
        let message = error.to_string();
        let expected = "web.listen: cannot resolve \"other-host.invalid:1\": ";
        assert!(message.starts_with(expected), "{message}");
    }
}
