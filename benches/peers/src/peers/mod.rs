//! The peers: one trait, one file each.

mod fjall;
mod followgraph;
mod lmdb;
mod obvious;
mod ordered;
mod redb;
mod redis;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sqlite;

use crate::follows::Follows;
use crate::resident::Resident;
use ::followgraph::Counts;
#[cfg(not(feature = "rocksdb"))]
use anyhow::bail;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Memory a store may use for its cache: enough for every graph here, so that what is compared is
/// the store and not the disk.
const CACHE_BYTES: usize = 4 << 30;

const WITHOUT_ROCKSDB: &str = "this program was built without the feature `rocksdb`";

/// A store of follows that has been loaded and opened. Accounts exist before they are named here.
pub(crate) trait Peer {
    /// Followers, following and mutual of each account.
    fn counts(&mut self, names: &[String], results: &mut Vec<Counts>) -> Result<()>;
    /// The newest followers of an account, with their times.
    fn newest_followers(&mut self, name: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()>;
    /// Whom the account followed last, with the times.
    fn newest_following(&mut self, name: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()>;
    /// For each target, how many of those whom the viewer follows follow it.
    fn known_followers(
        &mut self,
        viewer: &str,
        targets: &[String],
        results: &mut Vec<u32>,
    ) -> Result<()>;
    fn is_following(&mut self, from: &str, to: &str) -> Result<bool>;
    /// Whether it is new. Both lists and all counts are right when this returns.
    fn follow(&mut self, from: &str, to: &str, at: u32) -> Result<bool>;
    /// Gives a follow a new time; false when there is none.
    fn refollow(&mut self, from: &str, to: &str, at: u32) -> Result<bool>;
    /// Whether it was there.
    fn unfollow(&mut self, from: &str, to: &str) -> Result<bool>;
    /// Whether changes from now on return after they are on disk. At first they do not.
    fn wait_for_disk(&mut self, wait: bool) -> Result<()>;
    /// Memory that the store takes, `before` being what this process had without it.
    fn resident(&mut self, before: Resident) -> Result<Resident> {
        let own = Resident::own()?;
        Ok(Resident {
            anonymous_bytes: own.anonymous_bytes.saturating_sub(before.anonymous_bytes),
            file_bytes: own.file_bytes.saturating_sub(before.file_bytes),
        })
    }
}

/// One entry of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) account: String,
    pub(crate) at: u32,
}

/// Where a peer keeps its files, and the edge list it loads.
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) follows: Follows,
}

/// A peer by name.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    clap::ValueEnum,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PeerName {
    Followgraph,
    Obvious,
    Lmdb,
    Redb,
    Fjall,
    Rocksdb,
    Sqlite,
    Redis,
}

impl PeerName {
    /// What it is called on the command line.
    pub(crate) fn argument(self) -> String {
        use clap::ValueEnum as _;
        let value = self.to_possible_value();
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What it is called in a report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            PeerName::Followgraph => "followgraph",
            PeerName::Obvious => "obvious program",
            PeerName::Lmdb => "LMDB",
            PeerName::Redb => "redb",
            PeerName::Fjall => "fjall",
            PeerName::Rocksdb => "RocksDB",
            PeerName::Sqlite => "SQLite",
            PeerName::Redis => "Redis",
        }
    }

    /// Loads the edge list by the peer's bulk path into an empty directory, and closes the store so
    /// that another process finds everything there.
    pub(crate) fn load(self, place: &Place) -> Result<()> {
        match self {
            PeerName::Followgraph => followgraph::load(place),
            PeerName::Obvious => obvious::load(place),
            PeerName::Lmdb => lmdb::load(place),
            PeerName::Redb => redb::load(place),
            PeerName::Fjall => fjall::load(place),
            #[cfg(feature = "rocksdb")]
            PeerName::Rocksdb => rocksdb::load(place),
            #[cfg(not(feature = "rocksdb"))]
            PeerName::Rocksdb => bail!(WITHOUT_ROCKSDB),
            PeerName::Sqlite => sqlite::load(place),
            PeerName::Redis => redis::load(place),
        }
    }

    /// Opens a loaded store; changes do not wait for the disk yet.
    pub(crate) fn open(self, place: &Place) -> Result<Box<dyn Peer>> {
        Ok(match self {
            PeerName::Followgraph => Box::new(followgraph::Engine::open(place)?),
            PeerName::Obvious => Box::new(obvious::Obvious::open(place)?),
            PeerName::Lmdb => Box::new(ordered::Ordered(lmdb::Lmdb::open(place)?)),
            PeerName::Redb => Box::new(ordered::Ordered(redb::Redb::open(place)?)),
            PeerName::Fjall => Box::new(ordered::Ordered(fjall::Fjall::open(place)?)),
            #[cfg(feature = "rocksdb")]
            PeerName::Rocksdb => Box::new(ordered::Ordered(rocksdb::Rocks::open(place)?)),
            #[cfg(not(feature = "rocksdb"))]
            PeerName::Rocksdb => bail!(WITHOUT_ROCKSDB),
            PeerName::Sqlite => Box::new(sqlite::Sqlite::open(place)?),
            PeerName::Redis => Box::new(redis::Redis::open(place)?),
        })
    }

    /// Whether the peer keeps anything on disk.
    pub(crate) fn is_durable(self) -> bool {
        self != PeerName::Obvious
    }

    /// Why the peer cannot run here, if it cannot.
    pub(crate) fn missing(self) -> Option<String> {
        match self {
            PeerName::Redis => redis::missing(),
            PeerName::Rocksdb if !cfg!(feature = "rocksdb") => Some(WITHOUT_ROCKSDB.to_owned()),
            _ => None,
        }
    }

    /// The version that is measured.
    pub(crate) fn version(self) -> Result<String> {
        Ok(match self {
            PeerName::Followgraph => locked("followgraph")?.to_owned(),
            PeerName::Obvious => format!("roaring {}", locked("roaring")?),
            PeerName::Lmdb => format!("{}, heed {}", lmdb::version(), locked("heed")?),
            PeerName::Redb => locked("redb")?.to_owned(),
            PeerName::Fjall => locked("fjall")?.to_owned(),
            PeerName::Rocksdb => {
                let (_, native) =
                    locked("librocksdb-sys")?.split_once('+').context("no version of RocksDB")?;
                format!("{native}, crate {}", locked("rocksdb")?)
            }
            PeerName::Sqlite => {
                format!("{}, rusqlite {}", rusqlite::version(), locked("rusqlite")?)
            }
            PeerName::Redis => format!("{}, crate {}", redis::version()?, locked("redis")?),
        })
    }
}

/// The version of a package in the lock file that this program was built with.
fn locked(package: &str) -> Result<&'static str> {
    let lock = include_str!("../../Cargo.lock");
    let entry = format!("name = \"{package}\"\nversion = \"");
    let found = lock.split_once(&entry).and_then(|(_, rest)| rest.split('"').next());
    found.with_context(|| format!("{package} is not in the lock file"))
}
