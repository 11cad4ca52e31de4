//! Reads certificates and keys again: when their files change, and when the process gets SIGHUP.

use super::apps::Apps;
use super::config::{Config, ConfigError, Secret};
use super::requests::Site;
use super::tls::Certificate;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// The files that are watched, with the state in which they were before they were first read.
pub(super) struct Files {
    certificate: Watched,
    keys: Watched,
}

struct Watched {
    paths: Vec<PathBuf>,
    /// The state of the files that was last looked at.
    seen: Vec<Option<Stamp>>,
    /// Whether the files changed since they were last read.
    is_changed: bool,
}

/// Something that is read from files and can be read again.
struct Source {
    name: &'static str,
    files: Watched,
    what: What,
}

enum What {
    Certificate(Arc<Certificate>),
    Keys(Arc<Apps>),
}

/// What changes with the content of a file or with the file that a name stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &PathBuf) -> Option<Stamp> {
        let metadata = fs::metadata(path).ok()?;
        Some(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Files {
    /// Looks at the files that the configuration names. To be called before they are read.
    pub(super) fn of(config: &Config) -> Files {
        let https = config.https.iter();
        let certificate =
            https.flat_map(|https| [https.certificate_file.clone(), https.key_file.clone()]);
        let keys = config.apps.iter().flat_map(|app| app.keys.get_ref());
        let keys = keys.filter_map(|key| match key {
            Secret::File(path) => Some(path.clone()),
            Secret::Env(_) => None,
        });
        Files {
            certificate: Watched::new(certificate.collect()),
            keys: Watched::new(keys.collect()),
        }
    }
}

impl Watched {
    fn new(paths: Vec<PathBuf>) -> Watched {
        let seen = paths.iter().map(Stamp::of).collect();
        Watched { paths, seen, is_changed: false }
    }

    /// Whether the files changed, and not any more since the last look: a certificate and its key
    /// are seldom replaced in the same moment.
    fn are_due(&mut self) -> bool {
        let now: Vec<_> = self.paths.iter().map(Stamp::of).collect();
        if now != self.seen {
            self.seen = now;
            self.is_changed = true;
            return false;
        }
        self.is_changed
    }
}

impl Source {
    fn reload(&self) -> Result<(), ConfigError> {
        match &self.what {
            What::Certificate(certificate) => certificate.reload(),
            What::Keys(apps) => apps.reload_keys(),
        }
    }
}

/// Reads what is in watched files again.
pub(super) struct Watch {
    sources: Vec<Source>,
    site: Arc<Site>,
}

impl Watch {
    pub(super) fn new(
        files: Files,
        certificate: Option<Arc<Certificate>>,
        site: &Arc<Site>,
    ) -> Watch {
        let what = What::Keys(site.apps.clone());
        let mut sources = vec![Source { name: "keys", files: files.keys, what }];
        if let Some(certificate) = certificate {
            site.certificate_expires(certificate.expires());
            let what = What::Certificate(certificate);
            sources.push(Source { name: "certificate", files: files.certificate, what });
        }
        Watch { sources, site: site.clone() }
    }

    /// Watches the files and waits for the signal, for as long as it is polled.
    pub(super) async fn run(mut self, mut hangup: Option<Signal>) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_asked = tokio::select! {
                _ = ticks.tick() => false,
                () = received(&mut hangup) => true,
            };
            let look = tokio::task::spawn_blocking(move || {
                self.look(is_asked);
                self
            });
            match look.await {
                Ok(watch) => self = watch,
                Err(error) => {
                    tracing::error!(%error, "certificates and keys are no longer read again");
                    return std::future::pending().await;
                }
            }
        }
    }

    fn look(&mut self, is_asked: bool) {
        for source in &mut self.sources {
            if !source.files.are_due() && !is_asked {
                continue;
            }
            source.files.is_changed = false;
            let (name, result) = (source.name, source.reload());
            self.site.reloaded(name, result.is_ok());
            if let What::Certificate(certificate) = &source.what {
                self.site.certificate_expires(certificate.expires());
            }
            match result {
                Ok(()) => tracing::info!("read again and in use: {name}"),
                Err(error) => {
                    tracing::error!(%error, "not read again, the former stay in use: {name}");
                }
            }
        }
    }
}

/// Waits for a signal; for ever where there is none to wait for.
pub(super) async fn received(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}
