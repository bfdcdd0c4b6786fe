//! Writes rows as a table that fits the terminal, or as JSON.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use anstyle::{AnsiColor, Style};
use rustix::termios::tcgetwinsize;
use unicode_width::UnicodeWidthChar;

use super::row::Row;
use crate::cli::{Column, Timestamps, Trace};

const HEADER: Style = Style::new().bold();
const FAILED: Style = AnsiColor::Red.on_default();
const EXIT: Style = Style::new().dimmed();

/// The width of the path column in characters. A longer path shifts the arguments.
const PATH_WIDTH: usize = 24;

/// The widths of a column of ancestors and of a tree in characters. Longer text shifts the rest.
const ANCESTORS_WIDTH: usize = 40;
const TREE_WIDTH: usize = 32;

/// Marks text that was truncated.
const TRUNCATED: &str = "…";

/// Standard output and its format.
#[derive(Debug)]
pub(super) struct Output {
    stdout: BufWriter<Stdout>,
    is_json: bool,
    columns: Columns,
    /// If standard output is a terminal, its width is read for each batch, because it may change.
    is_terminal: bool,
    width: Option<usize>,
    is_coloured: bool,
}

#[allow(clippy::struct_excessive_bools)] // independent columns
#[derive(Debug)]
struct Columns {
    time: usize,
    show: Vec<Column>,
    ancestors: bool,
    tree: bool,
    path: bool,
    args: bool,
}

impl Output {
    pub(super) fn new(args: &Trace) -> Self {
        let is_terminal = io::stdout().is_terminal() && !args.json;
        // https://no-color.org
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            stdout: BufWriter::new(io::stdout()),
            is_json: args.json,
            columns: Columns {
                time: match args.timestamps {
                    Timestamps::Rfc3339 => 24,
                    Timestamps::Relative => 12,
                    Timestamps::None => 0,
                },
                show: args.show.clone(),
                ancestors: args.ancestors,
                tree: args.tree,
                path: args.path,
                args: args.args,
            },
            is_terminal,
            width: None,
            is_coloured: is_terminal && !no_colour,
        }
    }

    /// Writes the header of a table.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.is_json {
            return Ok(());
        }
        let header = self.columns.header();
        self.line(&header, HEADER)?;
        self.flush()
    }

    pub(super) fn row(&mut self, row: &Row) -> io::Result<()> {
        if self.is_json {
            serde_json::to_writer(&mut self.stdout, row)?;
            return self.stdout.write_all(b"\n");
        }
        let style = match row.event {
            "failure" => FAILED,
            "exit" => EXIT,
            _ => Style::new(),
        };
        let line = self.columns.row(row);
        self.line(&line, style)
    }

    /// Flushes standard output, and reads the width of the terminal for the rows that follow.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.is_terminal {
            let size = tcgetwinsize(io::stdout()).ok();
            self.width = size.map(|size| usize::from(size.ws_col)).filter(|w| *w > 0);
        }
        self.stdout.flush()
    }

    fn line(&mut self, line: &str, style: Style) -> io::Result<()> {
        let line = match self.width {
            Some(width) => fitted(line, width),
            None => line.to_owned(),
        };
        if self.is_coloured {
            writeln!(self.stdout, "{style}{line}{style:#}")
        } else {
            writeln!(self.stdout, "{line}")
        }
    }
}

impl Columns {
    fn comm_width(&self) -> usize {
        if self.tree { TREE_WIDTH } else { 15 }
    }

    /// Returns the name, indented in a tree. An exit closes its branch.
    fn comm(&self, row: &Row) -> String {
        let name = quoted_name(dashed(Some(&row.comm)));
        if !self.tree {
            return name;
        }
        let end = if row.is_exit { "\u{2514} " } else { "" };
        format!("{:indent$}{end}{name}", "", indent = 2 * row.depth)
    }

    fn header(&self) -> String {
        let mut line = String::new();
        if self.time > 0 {
            let _ = write!(line, "{:<width$} ", "TIME", width = self.time);
        }
        let _ = write!(
            line,
            "    PID    PPID       UID RETVAL IS_EXIT {:<width$}",
            "COMM",
            width = self.comm_width()
        );
        for column in &self.show {
            let (heading, width) = heading(*column);
            let _ = write!(line, " {heading:<width$}");
        }
        if self.ancestors {
            let _ = write!(line, " {:<ANCESTORS_WIDTH$}", "ANCESTORS");
        }
        if self.path {
            let _ = write!(line, " {:<PATH_WIDTH$}", "PATH");
        }
        if self.args {
            line.push_str(" ARGS");
        }
        line.truncate(line.trim_end().len());
        line
    }

    fn row(&self, row: &Row) -> String {
        let mut line = String::new();
        if let Some(time) = &row.time {
            let _ = write!(line, "{time:<width$} ", width = self.time);
        }
        // Writing to a String does not fail.
        let _ = write!(
            line,
            "{:>7} {:>7} {:>9} {:>6} {:<7} {:<width$}",
            row.pid,
            row.ppid,
            row.uid,
            row.retval,
            row.is_exit,
            self.comm(row),
            width = self.comm_width()
        );
        for column in &self.show {
            let (_, width) = heading(*column);
            let value = value(*column, row);
            let _ = write!(line, " {value:<width$}");
        }
        if self.ancestors {
            let ancestors = row.ancestors.as_deref().unwrap_or_default();
            let names: Vec<_> = ancestors.iter().map(|name| ancestor(name)).collect();
            let names = names.join(">");
            let _ = write!(line, " {:<ANCESTORS_WIDTH$}", dashed(Some(&names)));
        }
        let cut = |is_cut| if is_cut { TRUNCATED } else { "" };
        if self.path {
            let path = quoted_name(dashed(row.path.as_deref())) + cut(row.path_cut);
            let _ = write!(line, " {path:<PATH_WIDTH$}");
        }
        if self.args {
            let args = row.args.as_deref().unwrap_or_default();
            let args: Vec<_> = args.iter().map(|arg| quoted(arg)).collect();
            let _ = write!(
                line,
                " {}{}",
                dashed(Some(&args.join(" "))),
                cut(row.args_cut)
            );
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Returns the heading of a column, and its width in characters.
fn heading(column: Column) -> (&'static str, usize) {
    match column {
        Column::ParentComm => ("PARENT_COMM", 15),
        Column::Exe => ("EXE", 15),
        Column::Unit => ("UNIT", 24),
        Column::Container => ("CONTAINER", 12),
        Column::Entry => ("ENTRY", 8),
        Column::Origin => ("ORIGIN", 13),
        Column::Elevated => ("ELEVATED", 8),
        Column::Tty => ("TTY", 5),
        Column::Loginuid => ("LOGINUID", 9),
    }
}

fn value(column: Column, row: &Row) -> String {
    let name = |name: Option<&str>| quoted_name(dashed(name));
    let flag = |flag: Option<bool>| flag.map_or_else(|| "-".to_owned(), |flag| flag.to_string());
    match column {
        Column::ParentComm => name(Some(&row.parent_comm)),
        Column::Exe => name(row.exe.as_deref()),
        Column::Unit => name(row.unit.as_deref()),
        Column::Container => name(row.container.as_deref()),
        Column::Entry => name(row.entry),
        Column::Origin => name(row.origin),
        Column::Elevated => flag(row.elevated),
        Column::Tty => flag(row.tty),
        Column::Loginuid => {
            let uid = row.loginuid.and_then(|login| login.0);
            uid.map_or_else(|| "-".to_owned(), |uid| uid.to_string())
        }
    }
}

/// Returns a dash for empty text, so that every row has the same number of columns.
fn dashed(text: Option<&str>) -> &str {
    text.filter(|text| !text.is_empty()).unwrap_or("-")
}

/// Quotes a name like an argument, but leaves an empty one empty.
fn quoted_name(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        quoted(name)
    }
}

/// Quotes a name that could look like several ancestors.
fn ancestor(name: &str) -> String {
    if name.contains('>') && !name.contains([' ', '"', '\'']) {
        format!("\"{name}\"")
    } else {
        quoted(name)
    }
}

/// Quotes an argument that is empty or contains a blank or a quote, so that arguments can be told
/// apart. The text has been escaped by `printable()`, so backslashes are escaped already.
fn quoted(arg: &str) -> String {
    if arg.is_empty() || arg.contains([' ', '"', '\'']) {
        format!("\"{}\"", arg.replace('"', "\\\""))
    } else {
        arg.to_owned()
    }
}

/// Truncates a line to this many columns.
fn fitted(line: &str, width: usize) -> String {
    let columns = |text: &str| text.chars().map(|c| c.width().unwrap_or(0)).sum::<usize>();
    if columns(line) <= width {
        return line.to_owned();
    }
    let mut fitted = String::new();
    let mut left = width.saturating_sub(1);
    for c in line.chars() {
        let wide = c.width().unwrap_or(0);
        if wide > left {
            break;
        }
        left -= wide;
        fitted.push(c);
    }
    fitted + TRUNCATED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_truncated_to_the_terminal_and_marked() {
        assert_eq!(fitted("abcdef", 6), "abcdef");
        assert_eq!(fitted("abcdef", 5), "abcd…");
        assert_eq!(fitted("日本語", 6), "日本語");
        assert_eq!(fitted("日本語", 5), "日本…");
        assert_eq!(fitted("日本語", 4), "日…");
    }

    #[test]
    fn arguments_with_blanks_are_quoted() {
        assert_eq!(quoted("-c"), "-c");
        assert_eq!(quoted("echo a"), "\"echo a\"");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("a \\x1b"), "\"a \\x1b\"");
        assert_eq!(quoted("say \"a\""), "\"say \\\"a\\\"\"");
    }
}
