//! All results of the run.

use std::time::Duration;

use anyhow::Result;
use experiments::machine::Machine;
use experiments::quartiles::Quartiles;
use serde::Serialize;

use crate::counting::BigStorm;
use crate::idle::Idle;
use crate::kernel_time::KernelRound;
use crate::pipeline::Pipeline;
use crate::slowdown::Slowdown;
use crate::tool::Tool;

/// The results of a tool.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) tool: Tool,
    pub(crate) version: String,
    pub(crate) slowdown: Slowdown,
    pub(crate) big_storms: Vec<BigStorm>,
    pub(crate) idle: Option<Idle>,
    /// The error after which this tool was not measured again. Earlier results remain valid.
    pub(crate) error: Option<String>,
}

impl Row {
    /// Runs a step with the tool, unless an earlier step failed.
    pub(crate) fn attempt(&mut self, what: impl FnOnce(&mut Self) -> Result<()>) {
        if self.error.is_none()
            && let Err(error) = what(self)
        {
            eprintln!("{}: {error:#}", self.tool.name());
            self.error = Some(format!("{error:#}"));
        }
    }
}

#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
    /// Pairs with no tool in either half: the variation of the machine itself.
    pub(crate) control: Slowdown,
    /// The same for storms on all CPUs, as ratios.
    pub(crate) big_control: Vec<f64>,
    pub(crate) kernel_time: Result<Vec<KernelRound>, String>,
    pub(crate) pipeline: Pipeline,
    pub(crate) took: Duration,
}

impl Results {
    pub(crate) fn new(machine: Machine) -> Self {
        let rows = Tool::ALL.map(|tool| Row {
            tool,
            version: tool.version(),
            slowdown: Slowdown::default(),
            big_storms: Vec::new(),
            idle: None,
            error: None,
        });
        Self {
            machine,
            rows: rows.into(),
            control: Slowdown::default(),
            big_control: Vec::new(),
            kernel_time: Ok(Vec::new()),
            pipeline: Pipeline::default(),
            took: Duration::ZERO,
        }
    }

    pub(crate) fn ours(&self) -> &Row {
        &self.rows[0] // the first of Tool::ALL
    }

    /// The data of the chart.
    pub(crate) fn figures(&self) -> Figures<'_> {
        let tools = self.rows.iter().map(|row| {
            let (counted, made) = row.counted();
            ToolFigures {
                name: row.tool.name(),
                is_ours: row.tool.is_ours(),
                slowdown: row.slowdown.execs.ratio(),
                counted,
                made,
            }
        });
        Figures {
            machine: self.machine.caption(),
            date: &self.machine.date,
            tools: tools.collect(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Figures<'a> {
    machine: String,
    date: &'a str,
    tools: Vec<ToolFigures>,
}

/// The data of one bar in each panel.
#[derive(Debug, Serialize)]
struct ToolFigures {
    name: &'static str,
    is_ours: bool,
    /// The time of an exec in a storm on one CPU, as a factor. None if it was not measured.
    slowdown: Option<Quartiles>,
    /// Execs in the storms on all CPUs.
    counted: u64,
    made: u64,
}
