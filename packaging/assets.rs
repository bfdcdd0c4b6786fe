//! Generates man pages and shell completions from the command line. `make assets` runs it.

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use execsnoopd::cli::Cli;

/// The man page section for system administration commands and daemons (`man(7)`).
const SECTION: &str = "8";

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// The FILES section of the daemon's man page.
const FILES: [(&str, &str); 2] = [
    (
        "/etc/execsnoopd/config.toml",
        "The configuration file. It is optional. --check checks it.",
    ),
    (
        "/sys/kernel/btf/vmlinux",
        "The kernel's type information (BTF), which the daemon needs.",
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args_os()
        .nth(1)
        .ok_or("usage: assets DIRECTORY")?;
    let out = Path::new(&out);
    let (man, completions) = (out.join("man"), out.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;

    let mut command = Cli::command().disable_help_subcommand(true);
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut command, "execsnoopd", &completions)?;
    }

    command.build();
    let parent = command.get_name().to_owned();
    write_page(&man, &command, &parent)?;
    for subcommand in command.get_subcommands() {
        let name = format!("{parent}-{}", subcommand.get_name());
        write_page(&man, subcommand, &name)?;
    }
    Ok(())
}

fn write_page(dir: &Path, command: &Command, name: &str) -> Result<(), Box<dyn Error>> {
    let is_daemon = command.has_subcommands();
    let page = Man::new(command.clone().display_name(name.to_owned()))
        .title(name.to_uppercase())
        .date(" ") // no date, so that builds are reproducible
        .source(concat!("execsnoopd ", env!("CARGO_PKG_VERSION")))
        .section(SECTION)
        .manual("System Administration");
    let mut out = File::create(dir.join(format!("{name}.{SECTION}")))?;
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    page.render_options_section(&mut out)?;
    let mut rest = Roff::new();
    if is_daemon {
        page.render_subcommands_section(&mut out)?;
        rest.control("SH", ["FILES"]);
        for (file, is) in FILES {
            rest.control("TP", []).text([roman(file)]);
            rest.text([roman(is)]);
        }
    } else {
        rest.control("SH", ["SEE ALSO"]);
        rest.text([roman(format!("execsnoopd({SECTION})"))]);
    }
    rest.to_writer(&mut out)?;
    Ok(())
}
