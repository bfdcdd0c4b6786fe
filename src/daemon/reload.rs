//! Applies a changed configuration without interrupting the counting.
//!
//! A reload is all or nothing. Most keys can only change by a restart, for example because loading
//! programs and binding addresses needs privileges that the daemon has dropped. If such a key has
//! changed, the whole running configuration stays in effect. Views and watches that are in both
//! configurations keep their counts.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::config::{self, Config, Resolved};
use crate::daemon::notify;
use crate::daemon::observed::Observed;
use crate::pipeline::change::{Change, Changes};
use crate::pipeline::view::Metric;
use crate::pipeline::watch::Watch;
use crate::sys::{log, thread};

/// How long reading the configuration, with its look-ups, may take before the reload is reported as
/// failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The keys that a reload can change.
const LIVE: [&str; 4] = ["label", "log.level", "view", "watch"];

/// Applies changed configurations.
#[derive(Debug)]
pub struct Reloader {
    running: Config,
    observed: Observed,
    changes: Changes,
    successful: prometheus::Gauge,
    status: String,
    note: watch::Sender<String>,
    patience: Duration,
}

impl Reloader {
    /// Starts from `running`, the configuration at the start. A reload puts new views into
    /// `changes`, sets `successful` to 1 or 0, and reports its outcome to systemd, appended to
    /// `status`.
    pub fn new(
        running: Config,
        changes: Changes,
        successful: prometheus::Gauge,
        status: String,
    ) -> Self {
        Self {
            observed: Observed::by(&running),
            running,
            changes,
            successful,
            status,
            note: watch::Sender::default(),
            patience: PATIENCE,
        }
    }

    /// Returns the status that is sent to systemd, without a note about a failed reload.
    pub(super) fn status(&self) -> &str {
        &self.status
    }

    /// Returns what to append to each status for systemd: why the last reload failed, or nothing.
    pub fn note(&self) -> watch::Receiver<String> {
        self.note.subscribe()
    }

    /// Applies the configuration that `load` reads, or reports why it is refused. If reading takes
    /// long, reports that and keeps waiting, because the thread of another reload could hang as
    /// well.
    pub async fn reload(
        &mut self,
        load: impl FnOnce() -> Result<Resolved, config::Error> + Send + 'static,
    ) {
        notify::reloading();
        let mut reading = pin!(thread::run("configuration", load));
        let loaded = if let Ok(loaded) = timeout(self.patience, &mut reading).await {
            loaded
        } else {
            let patience = self.patience;
            self.report(Err(anyhow!("still reading it after {patience:?}")));
            reading.await
        };
        let applied = loaded
            .context("reading it failed")
            .and_then(|loaded| self.apply(loaded?));
        self.report(applied);
    }

    fn report(&self, applied: anyhow::Result<()>) {
        self.successful.set(f64::from(u8::from(applied.is_ok())));
        let note = match applied {
            Ok(()) => {
                info!("configuration reloaded");
                String::new()
            }
            Err(refused) => {
                let refused = format!("{refused:#}");
                error!("configuration not reloaded, the running one stays in effect: {refused}");
                // systemd expects a status of one line.
                let refused = refused.replace('\n', " ");
                format!("; configuration not reloaded: {refused}")
            }
        };
        notify::ready(&format!("{}{note}", self.status));
        self.note.send_replace(note);
    }

    fn apply(&mut self, loaded: Resolved) -> anyhow::Result<()> {
        let Resolved {
            config,
            views,
            mut watches,
            labels,
        } = loaded;
        let refusals = self.refusals(&config)?;
        if !refusals.is_empty() {
            bail!("{}", refusals.join("; "));
        }
        if config.has_exits() && !self.observed.exits {
            warn!(
                "watches count no exits until a restart: the kernel side was started without a watch"
            );
            watches = watches.into_iter().map(Watch::without_exits).collect();
        }
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner) = Some(Change {
            views,
            watches,
            labels,
        });
        log::set_level(config.log.level);
        self.running = config;
        Ok(())
    }

    /// Returns which changes in `config` need a restart, and why.
    fn refusals(&self, config: &Config) -> anyhow::Result<Vec<String>> {
        let table = |config| toml::Table::try_from(config).context("a key cannot be compared");
        let mut changed = Vec::new();
        differing(&table(&self.running)?, &table(config)?, "", &mut changed);
        let mut refusals: Vec<_> = changed
            .into_iter()
            .filter(|key| !LIVE.contains(&key.as_str()))
            .map(|key| format!("{key} can only change by a restart"))
            .collect();
        let used: BTreeSet<_> = config.labels().collect();
        for (table, label) in used {
            if !self.observed.has(&label) {
                refusals.push(format!(
                    "{table}: the label `{}` needs a restart: the kernel side was started without it",
                    label.name()
                ));
            }
        }
        for metric in Metric::ALL {
            if config.has_metric(|used| used == metric) && !self.observed.counts(metric) {
                refusals.push(format!(
                    "view: the metric `{}` needs a restart: the kernel side was started without it",
                    metric.name()
                ));
            }
        }
        Ok(refusals)
    }
}

/// Appends the paths of the keys in which two tables differ to `keys`.
fn differing(old: &toml::Table, new: &toml::Table, path: &str, keys: &mut Vec<String>) {
    let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let path = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        match (old.get(name), new.get(name)) {
            (Some(toml::Value::Table(old)), Some(toml::Value::Table(new))) => {
                differing(old, new, &path, keys);
            }
            (old, new) if old == new => {}
            _ => keys.push(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::names::own_label::OwnLabel;
    use crate::pipeline::view::{Label, View};

    fn config(text: &str) -> Config {
        Config::parse(text, Path::new("config.toml")).unwrap()
    }

    fn resolved(text: &str) -> Resolved {
        config(text).resolve().unwrap()
    }

    fn reloader(running: &str) -> (Reloader, Changes) {
        let changes = Changes::default();
        let successful = prometheus::Gauge::new("successful", "help").unwrap();
        let status = "Counting".to_owned();
        let reloader = Reloader::new(config(running), Arc::clone(&changes), successful, status);
        (reloader, changes)
    }

    fn taken(changes: &Changes) -> Option<Vec<View>> {
        changes.lock().unwrap().take().map(|change| change.views)
    }

    #[tokio::test]
    async fn a_reload_applies_the_log_level_and_the_views() {
        let (mut reloader, changes) = reloader("");
        let text = "log.level = \"debug\"\n[[view]]\nlabels = [\"user\"]\nmax_series = 7\n";
        let new = config(text);
        let loaded = resolved(text);
        reloader.reload(move || Ok(loaded)).await;
        assert_eq!(reloader.successful.get(), 1.0);
        assert_eq!(*reloader.note().borrow(), "");
        assert_eq!(reloader.running, new);
        let views = taken(&changes).unwrap();
        let views = views.iter().map(View::counts);
        let views: Vec<_> = views.map(|view| (view.labels, view.max_series)).collect();
        assert_eq!(views, [(vec![Label::User], 7)]);
    }

    #[tokio::test]
    async fn one_change_that_needs_a_restart_makes_the_whole_reload_fail() {
        let (mut reloader, changes) = reloader("");
        let text = "log.level = \"debug\"\ncapture.exits = false\nweb.listen = [\":1\"]\n\
                    [[view]]\nlabels = [\"unit\", \"parent_comm\"]\n";
        // A metric that the kernel side was not started for is refused, too.
        let metrics = "[[view]]\nlabels = [\"comm\"]\nmetrics = [\"execs\", \"exits\"]\n";
        reloader.reload(move || Ok(resolved(metrics))).await;
        assert!(taken(&changes).is_none());
        assert_eq!(
            *reloader.note().borrow(),
            "; configuration not reloaded: view: the metric `exits` needs a restart: \
             the kernel side was started without it"
        );
        let fact = "[[view]]\nlabels = [\"comm\"]\nwhere = { not_origin = [\"\"] }\n";
        reloader.reload(move || Ok(resolved(fact))).await;
        let note = reloader.note().borrow().clone();
        assert!(
            note.contains("the label `origin` needs a restart"),
            "{note}"
        );
        let loaded = resolved(text);
        reloader.reload(move || Ok(loaded)).await;
        assert_eq!(reloader.successful.get(), 0.0);
        assert_eq!(reloader.running, Config::default());
        assert!(taken(&changes).is_none());
        assert_eq!(
            *reloader.note().borrow(),
            "; configuration not reloaded: capture.exits can only change by a restart; \
             web.listen can only change by a restart; \
             view: the label `parent_comm` needs a restart: the kernel side was started without it; \
             view: the label `unit` needs a restart: the kernel side was started without it"
        );

        // The next reload is compared with the running configuration, not with the refused one.
        reloader.reload(|| Ok(resolved(""))).await;
        assert_eq!(reloader.successful.get(), 1.0);
        assert_eq!(*reloader.note().borrow(), "");
    }

    #[tokio::test]
    async fn a_reload_that_takes_long_is_reported_and_then_applied() {
        let (mut reloader, changes) = reloader("");
        reloader.patience = Duration::from_millis(10);
        let mut note = reloader.note();
        let (finish, held) = std::sync::mpsc::channel::<()>();
        let loaded = resolved("[[view]]\nlabels = [\"user\"]\n");
        let load = move || {
            held.recv().unwrap();
            Ok(loaded)
        };
        let report = async {
            note.changed().await.unwrap();
            let late = note.borrow().clone();
            assert!(late.contains("still reading it after 10ms"), "{late}");
            finish.send(()).unwrap();
        };
        tokio::join!(reloader.reload(load), report);
        assert_eq!(reloader.successful.get(), 1.0);
        assert_eq!(*reloader.note().borrow(), "");
        assert_eq!(taken(&changes).unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_reload_can_use_any_label_of_the_start_again() {
        let by_unit = "[[view]]\nlabels = [\"unit\"]\n";
        let (mut reloader, changes) = reloader(by_unit);
        for text in [
            "",
            by_unit,
            "[[view]]\nlabels = [\"container\", \"comm\"]\n",
        ] {
            let loaded = resolved(text);
            reloader.reload(move || Ok(loaded)).await;
            assert_eq!(reloader.successful.get(), 1.0);
            assert!(taken(&changes).is_some());
        }
    }

    #[tokio::test]
    async fn a_label_that_is_defined_anew_is_applied_with_its_views() {
        let text = |pattern: &str| {
            format!(
                "[[label]]\nname = \"job\"\ncgroup = \"{pattern}\"\n\
                 [[view]]\nlabels = [\"job\"]\n"
            )
        };
        let (mut reloader, changes) = reloader(&text("/job_([0-9]+)"));
        let loaded = resolved(&text("/job-([0-9]+)"));
        reloader.reload(move || Ok(loaded)).await;
        assert_eq!(reloader.successful.get(), 1.0);
        let job = Label::Own(OwnLabel::new("job", "/job-([0-9]+)"));
        assert_eq!(taken(&changes).unwrap()[0].labels(), [job]);

        // The kernel side reads cgroups only if a label at the start needs them.
        let (mut reloader, _) = self::reloader("");
        let loaded = resolved(&text("/job_([0-9]+)"));
        reloader.reload(move || Ok(loaded)).await;
        assert_eq!(
            *reloader.note().borrow(),
            "; configuration not reloaded: \
             view: the label `job` needs a restart: the kernel side was started without it"
        );
    }

    #[tokio::test]
    async fn watches_count_exits_if_the_kernel_side_was_started_for_them() {
        let watch = "[[watch]]\nname = \"w\"\ncomm = [\"sh\"]\n";
        let no_exits = "capture.exits = false\n";
        for (start, expected) in [
            ("", [false; 2]),
            (
                "[[view]]\nlabels = [\"comm\"]\nmetrics = [\"cpu_seconds\", \"exits\"]\n",
                [true; 2],
            ),
            ("[[watch]]\nname = \"v\"\nuid = [0]\n", [true; 2]),
        ] {
            let (mut reloader, changes) = reloader(start);
            let more = watch.replace("\"w\"", "\"x\"");
            let loaded = resolved(&format!("{watch}{more}"));
            reloader.reload(move || Ok(loaded)).await;
            assert_eq!(reloader.successful.get(), 1.0);
            let watches = changes.lock().unwrap().take().unwrap().watches;
            let have = watches.iter().map(Watch::has_exits).collect::<Vec<_>>();
            assert_eq!(have, expected, "{start}");
        }
        let watches = resolved(&format!("{no_exits}{watch}")).watches;
        assert!(!watches[0].has_exits());
    }

    #[tokio::test]
    async fn an_invalid_file_is_refused_and_its_line_is_named() {
        let (mut reloader, changes) = reloader("");
        let load = || {
            let config = Config::parse("[log]\nlevle = \"debug\"\n", Path::new("config.toml"));
            Ok(config?.resolve()?)
        };
        reloader.reload(load).await;
        assert_eq!(reloader.successful.get(), 0.0);
        assert!(taken(&changes).is_none());
        let note = reloader.note().borrow().clone();
        assert!(
            note.contains("config.toml:2: unknown key `log.levle`"),
            "{note}"
        );
    }
}
