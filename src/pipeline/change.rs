//! What a reload changes in the pipeline.

use std::sync::{Arc, Mutex};

use crate::names::own_label::OwnLabels;
use crate::pipeline::view::View;
use crate::pipeline::watch::Watch;

#[derive(Debug)]
pub struct Change {
    /// The views that replace the current ones, without counts.
    pub views: Vec<View>,
    /// The watches that replace the current ones, without counts.
    pub watches: Vec<Watch>,
    /// The labels that the configuration defines.
    pub labels: OwnLabels,
}

/// The change that the reader takes up next. If it has not taken one when the next arrives, it takes
/// only the latter.
pub type Changes = Arc<Mutex<Option<Change>>>;
