//! In the place of a node of a cluster, in programs that are built without clusters.

use super::config::{AppConfig, ClusterMember, ConfigError};
use crate::wire::Graph;
use crate::{Counts, List, Outcome, Page, Relation, Result};
use std::sync::Arc;
use std::time::Duration;

/// There is none.
pub(super) enum Member {}

impl Member {
    #[expect(clippy::unused_async, reason = "where there are clusters it waits for the log")]
    pub(super) async fn start(
        _: &ClusterMember,
        _: &AppConfig,
        _: Duration,
    ) -> std::result::Result<Arc<Member>, ConfigError> {
        let message = "this program was built without the feature `cluster`, so it cannot serve \
                       an app of a cluster; build it with that feature";
        Err(ConfigError::new(message))
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        match *self {}
    }

    pub(super) fn gauges(&self) -> [(&'static str, u64); 0] {
        match *self {}
    }

    pub(super) fn counters(&self) -> [(&'static str, u64); 0] {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "where there are clusters it waits for the node")]
    pub(super) async fn stop(self: Arc<Self>) {
        match *self {}
    }
}

impl Graph for Member {
    fn check_account(&self, _: &str) -> Result<()> {
        match *self {}
    }

    fn follow(&self, _: &str, _: &[&str]) -> Result<Vec<Result<Outcome>>> {
        match *self {}
    }

    fn unfollow(&self, _: &str, _: &[&str]) -> Result<Vec<Result<Outcome>>> {
        match *self {}
    }

    fn add_accounts(&self, _: &[&str]) -> Result<Vec<Result<Outcome>>> {
        match *self {}
    }

    fn remove_accounts(&self, _: &[&str]) -> Result<Vec<Result<Outcome>>> {
        match *self {}
    }

    fn batch_counts(&self, _: &[&str]) -> Vec<Result<Counts>> {
        match *self {}
    }

    fn batch_relations(&self, _: &str, _: &[&str]) -> Result<Vec<Result<Relation>>> {
        match *self {}
    }

    fn followers(&self, _: &str, _: Page) -> Result<List> {
        match *self {}
    }

    fn following(&self, _: &str, _: Page) -> Result<List> {
        match *self {}
    }

    fn mutuals(&self, _: &str, _: Page) -> Result<List> {
        match *self {}
    }

    fn reads_wait(&self) -> bool {
        match *self {}
    }
}
