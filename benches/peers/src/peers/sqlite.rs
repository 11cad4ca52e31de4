//! SQLite, through `rusqlite`, compiled in.
//!
//! What was tuned: tables without row ids, so that the primary key is the table; the counters
//! beside the id under the name, kept in the transaction of the follow; indexes that hold all a
//! page needs; prepared statements; write-ahead log, `synchronous` FULL to wait for the disk and
//! NORMAL not to; the file mapped and the connection exclusive. Loading is one sorted insert
//! without journal, and the indexes are made afterwards.

use super::{CACHE_BYTES, Entry, Peer, Place};
use crate::follows::Follow;
use crate::numbered::Numbered;
use anyhow::{Context, Result};
use followgraph::Counts;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Transaction, params};
use std::collections::HashMap;
use std::path::Path;

const TABLES: &str = "
    CREATE TABLE accounts (
        name TEXT PRIMARY KEY, id INTEGER NOT NULL,
        followers INTEGER NOT NULL, following INTEGER NOT NULL, mutual INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE follows (
        follower INTEGER NOT NULL, followed INTEGER NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (follower, followed)
    ) WITHOUT ROWID;";
const INDEXES: &str = "
    CREATE INDEX followers_newest ON follows (followed, at DESC, follower);
    CREATE INDEX following_newest ON follows (follower, at DESC, followed);
    ANALYZE;";
const COUNTS: &str = "SELECT followers, following, mutual FROM accounts WHERE name = ?1";
const ID: &str = "SELECT id FROM accounts WHERE name = ?1";
const NEWEST_FOLLOWERS: &str = "
    SELECT names.name, at FROM follows INDEXED BY followers_newest
    CROSS JOIN names ON names.id = follower
    WHERE followed = (SELECT id FROM accounts WHERE name = ?1) ORDER BY at DESC LIMIT ?2";
const NEWEST_FOLLOWING: &str = "
    SELECT names.name, at FROM follows INDEXED BY following_newest
    CROSS JOIN names ON names.id = followed
    WHERE follower = (SELECT id FROM accounts WHERE name = ?1) ORDER BY at DESC LIMIT ?2";
/// The unary plus keeps the planner from seeking each of the targets in each of the lists, which
/// takes four times as long as reading the lists.
const KNOWN: &str = "
    SELECT theirs.followed, count(*) FROM follows AS own
    CROSS JOIN follows AS theirs ON theirs.follower = own.followed
    WHERE own.follower = ?1 AND +theirs.followed IN (SELECT value FROM json_each(?2))
    GROUP BY theirs.followed";
const IS_FOLLOWING: &str = "SELECT 1 FROM follows WHERE follower = ?1 AND followed = ?2";
const FOLLOW: &str = "
    INSERT INTO follows (follower, followed, at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
const REFOLLOW: &str = "UPDATE follows SET at = ?3 WHERE follower = ?1 AND followed = ?2";
const UNFOLLOW: &str = "DELETE FROM follows WHERE follower = ?1 AND followed = ?2";
const COUNT_FROM: &str = "
    UPDATE accounts SET following = following + ?2, mutual = mutual + ?3 WHERE name = ?1";
const COUNT_TO: &str = "
    UPDATE accounts SET followers = followers + ?2, mutual = mutual + ?3 WHERE name = ?1";
/// As many as there are above.
const STATEMENTS: usize = 16;

pub(super) struct Sqlite {
    connection: Connection,
}

fn connect(directory: &Path) -> Result<Connection> {
    let connection = Connection::open(directory.join("graph.sqlite"))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "mmap_size", 4 * CACHE_BYTES as i64)?;
    Ok(connection)
}

/// `PRAGMA cache_size` counts kibibytes downwards from zero.
fn set_cache(connection: &Connection, bytes: usize) -> Result<()> {
    Ok(connection.pragma_update(None, "cache_size", -(bytes as i64 / 1024))?)
}

pub(super) fn load(place: &Place) -> Result<()> {
    let mut graph = Numbered::read(&place.follows)?;
    graph.sort_by_follower();
    let counts = graph.counts();
    let mut by_name: Vec<u32> = (0..graph.names.len() as u32).collect();
    by_name.sort_unstable_by_key(|&id| &graph.names[id as usize]);

    let mut connection = connect(&place.directory)?;
    set_cache(&connection, CACHE_BYTES / 4)?;
    connection.pragma_update(None, "journal_mode", "OFF")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "threads", 2)?;
    connection.execute_batch(TABLES)?;
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare("INSERT INTO accounts VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for id in by_name {
            let Counts { followers, following, mutual } = counts[id as usize];
            insert.execute(params![graph.names[id as usize], id, followers, following, mutual])?;
        }
        let mut insert = transaction.prepare("INSERT INTO names VALUES (?1, ?2)")?;
        for (id, name) in (0u32..).zip(&graph.names) {
            insert.execute(params![id, name])?;
        }
        let mut insert = transaction.prepare("INSERT INTO follows VALUES (?1, ?2, ?3)")?;
        for &Follow { from, to, at } in &graph.follows {
            insert.execute((from, to, at))?;
        }
    }
    transaction.commit()?;
    connection.execute_batch(INDEXES)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(std::fs::File::open(place.directory.join("graph.sqlite"))?.sync_all()?)
}

fn id(transaction: &Transaction<'_>, name: &str) -> Result<u32> {
    let found = transaction.prepare_cached(ID)?.query_row([name], |row| row.get(0)).optional()?;
    found.with_context(|| format!("no account {name}"))
}

fn is_following(transaction: &Transaction<'_>, from: u32, to: u32) -> Result<bool> {
    Ok(transaction.prepare_cached(IS_FOLLOWING)?.exists((from, to))?)
}

impl Sqlite {
    pub(super) fn open(place: &Place) -> Result<Sqlite> {
        let connection = connect(&place.directory)?;
        set_cache(&connection, CACHE_BYTES)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(Sqlite { connection })
    }

    fn page(&mut self, query: &str, name: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()> {
        page.clear();
        let mut statement: CachedStatement<'_> = self.connection.prepare_cached(query)?;
        let mut rows = statement.query(params![name, limit as i64])?;
        while let Some(row) = rows.next()? {
            page.push(Entry { account: row.get(0)?, at: row.get(1)? });
        }
        Ok(())
    }

    /// Changes a follow and, where that changed anything, the counters by `step`.
    fn change(
        &mut self,
        (from_name, to_name): (&str, &str),
        step: i32,
        change: impl FnOnce(&Transaction<'_>, u32, u32) -> rusqlite::Result<usize>,
    ) -> Result<bool> {
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let (from, to) = (id(&transaction, from_name)?, id(&transaction, to_name)?);
        let changed = change(&transaction, from, to)? > 0;
        if changed && step != 0 {
            let mutual = if is_following(&transaction, to, from)? { step } else { 0 };
            transaction.prepare_cached(COUNT_FROM)?.execute((from_name, step, mutual))?;
            transaction.prepare_cached(COUNT_TO)?.execute((to_name, step, mutual))?;
        }
        transaction.commit()?;
        Ok(changed)
    }
}

impl Peer for Sqlite {
    fn counts(&mut self, names: &[String], results: &mut Vec<Counts>) -> Result<()> {
        results.clear();
        let transaction = self.connection.transaction()?;
        let mut statement = transaction.prepare_cached(COUNTS)?;
        for name in names {
            let counts = statement.query_row([name], |row| {
                let (followers, following, mutual) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Counts { followers, following, mutual })
            });
            results.push(counts?);
        }
        drop(statement);
        Ok(transaction.commit()?)
    }

    fn newest_followers(&mut self, name: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()> {
        self.page(NEWEST_FOLLOWERS, name, limit, page)
    }

    fn newest_following(&mut self, name: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()> {
        self.page(NEWEST_FOLLOWING, name, limit, page)
    }

    fn known_followers(
        &mut self,
        viewer: &str,
        targets: &[String],
        results: &mut Vec<u32>,
    ) -> Result<()> {
        results.clear();
        let transaction = self.connection.transaction()?;
        let viewer = id(&transaction, viewer)?;
        let targets: Vec<u32> =
            targets.iter().map(|target| id(&transaction, target)).collect::<Result<_>>()?;
        let known: HashMap<u32, u32> = transaction
            .prepare_cached(KNOWN)?
            .query_map((viewer, serde_json::to_string(&targets)?), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        results.extend(targets.iter().map(|target| known.get(target).copied().unwrap_or(0)));
        Ok(transaction.commit()?)
    }

    fn is_following(&mut self, from: &str, to: &str) -> Result<bool> {
        let transaction = self.connection.transaction()?;
        let (from, to) = (id(&transaction, from)?, id(&transaction, to)?);
        is_following(&transaction, from, to)
    }

    fn follow(&mut self, from: &str, to: &str, at: u32) -> Result<bool> {
        self.change((from, to), 1, |transaction, from, to| {
            transaction.prepare_cached(FOLLOW)?.execute((from, to, at))
        })
    }

    fn refollow(&mut self, from: &str, to: &str, at: u32) -> Result<bool> {
        self.change((from, to), 0, |transaction, from, to| {
            transaction.prepare_cached(REFOLLOW)?.execute((from, to, at))
        })
    }

    fn unfollow(&mut self, from: &str, to: &str) -> Result<bool> {
        self.change((from, to), -1, |transaction, from, to| {
            transaction.prepare_cached(UNFOLLOW)?.execute((from, to))
        })
    }

    fn wait_for_disk(&mut self, wait: bool) -> Result<()> {
        let mode = if wait { "FULL" } else { "NORMAL" };
        Ok(self.connection.pragma_update(None, "synchronous", mode)?)
    }
}
