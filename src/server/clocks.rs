//! Logs when the clock of the machine and the times of follows part, and when they meet again.

use super::apps::clock_faults;
use super::requests::Site;
use std::collections::BTreeMap;
use std::mem::discriminant;
use std::sync::Weak;
use std::time::Duration;

/// How often the clocks are compared.
const INTERVAL: Duration = Duration::from_secs(5);

/// Compares the clocks until the site is gone: the first time right away.
pub(super) async fn watch(site: Weak<Site>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut known = BTreeMap::new();
    loop {
        ticks.tick().await;
        let Some(site) = site.upgrade() else { return };
        // A graph may be waiting for the disk.
        let found = tokio::task::spawn_blocking(move || clock_faults(&site.apps.graphs)).await;
        let Ok(found) = found else { return };
        for (app, fault) in &found {
            if known.get(app).map(discriminant) != Some(discriminant(fault)) {
                tracing::error!(app, %fault, "clock");
            }
        }
        for app in known.keys().filter(|app| !found.contains_key(app)) {
            tracing::info!(app, "the clock is right again");
        }
        known = found;
    }
}
