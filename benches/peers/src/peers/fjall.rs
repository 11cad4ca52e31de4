//! fjall.
//!
//! What was tuned: the single-writer transactional database, which the project recommends wherever
//! a change depends on what is there; a block cache for the whole graph; filters of 10 bits for
//! the tables that are asked for single keys, with `expect_point_read_hits` for those whose keys
//! are nearly always there, and none for the two that are only scanned; indexes and filters pinned;
//! loading by ingestion of sorted keys, which is in its last level at once. Waiting for the disk is
//! `PersistMode::SyncAll` for each commit.

use super::ordered::{
    Account, List, OrderedStore, Snapshot, Table, Writer, bulk_load, ends_key, newest_key,
    newest_of, number,
};
use super::{CACHE_BYTES, Place};
use crate::follows::Follow;
use crate::numbered::Numbered;
use anyhow::{Context, Result};
use fjall::config::{
    BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry, HashRatioPolicy,
    PinningPolicy,
};
use fjall::{
    KeyspaceCreateOptions, PersistMode, Readable, SingleWriterTxDatabase, SingleWriterTxKeyspace,
    SingleWriterWriteTx,
};
use std::path::Path;

const FILTER_BITS: f32 = 10.0;
/// Hash slots for each key of a data block, where single keys are asked for.
const HASH_RATIO: f32 = 0.75;

pub(super) struct Fjall {
    database: SingleWriterTxDatabase,
    tables: Vec<SingleWriterTxKeyspace>,
    wait: bool,
}

fn options(table: Table) -> KeyspaceCreateOptions {
    let options = KeyspaceCreateOptions::default()
        .index_block_pinning_policy(PinningPolicy::all(true))
        .filter_block_pinning_policy(PinningPolicy::all(true));
    let filter = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(FILTER_BITS));
    match table {
        Table::Accounts | Table::Names => options
            .data_block_hash_ratio_policy(HashRatioPolicy::all(HASH_RATIO))
            .data_block_compression_policy(CompressionPolicy::disabled())
            .filter_policy(FilterPolicy::all(filter))
            .expect_point_read_hits(true),
        Table::Follows => options
            .data_block_hash_ratio_policy(HashRatioPolicy::all(HASH_RATIO))
            .filter_policy(FilterPolicy::all(filter)),
        Table::Followers | Table::Following => options.filter_policy(FilterPolicy::disabled()),
    }
}

impl Fjall {
    pub(super) fn open(place: &Place) -> Result<Fjall> {
        open(&place.directory)
    }

    fn table(&self, table: Table) -> &SingleWriterTxKeyspace {
        &self.tables[table as usize]
    }
}

fn open(directory: &Path) -> Result<Fjall> {
    let database =
        SingleWriterTxDatabase::builder(directory).cache_size(CACHE_BYTES as u64).open()?;
    let open = |table: &Table| Ok(database.keyspace(table.name(), || options(*table))?);
    let tables: Result<Vec<_>> = Table::ALL.iter().map(open).collect();
    Ok(Fjall { tables: tables?, database, wait: false })
}

impl OrderedStore for Fjall {
    fn read(&mut self, ask: &mut dyn FnMut(&dyn Snapshot) -> Result<()>) -> Result<()> {
        ask(&View { store: self, reader: self.database.read_tx() })
    }

    fn write(&mut self, change: &mut dyn FnMut(&mut dyn Writer) -> Result<bool>) -> Result<bool> {
        let mode = self.wait.then_some(PersistMode::SyncAll);
        let writer = self.database.write_tx().durability(mode);
        let mut transaction = Transaction { store: self, writer };
        let changed = change(&mut transaction)?;
        if changed {
            transaction.writer.commit()?;
        } else {
            transaction.writer.rollback();
        }
        Ok(changed)
    }

    fn wait_for_disk(&mut self, wait: bool) -> Result<()> {
        self.wait = wait;
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

fn account(store: &Fjall, reader: &impl Readable, name: &str) -> Result<Option<Account>> {
    let bytes = reader.get(store.table(Table::Accounts), name)?;
    bytes.map(|bytes| Account::from_bytes(&bytes)).transpose()
}

fn followed_at(store: &Fjall, reader: &impl Readable, from: u32, to: u32) -> Result<Option<u32>> {
    let bytes = reader.get(store.table(Table::Follows), ends_key(from, to))?;
    Ok(bytes.map(|bytes| number(&bytes, 0)))
}

struct View<'a> {
    store: &'a Fjall,
    reader: fjall::Snapshot,
}

impl Snapshot for View<'_> {
    fn account(&self, name: &str) -> Result<Option<Account>> {
        account(self.store, &self.reader, name)
    }

    fn names(&self, ids: &[u32]) -> Result<Vec<String>> {
        let table = self.store.table(Table::Names);
        let name = |id: &u32| {
            let bytes = self.reader.get(table, id.to_be_bytes())?.context("no name")?;
            Ok(str::from_utf8(&bytes)?.to_owned())
        };
        ids.iter().map(name).collect()
    }

    fn followed_at(&self, from: u32, to: u32) -> Result<Option<u32>> {
        followed_at(self.store, &self.reader, from, to)
    }

    fn newest(&self, list: List, id: u32, limit: usize) -> Result<Vec<(u32, u32)>> {
        let table = match list {
            List::Followers => self.store.table(Table::Followers),
            List::Following => self.store.table(Table::Following),
        };
        let entries = self.reader.prefix(table, id.to_be_bytes());
        entries.take(limit).map(|entry| Ok(newest_of(&entry.key()?[4..]))).collect()
    }

    fn each_following(&self, id: u32, visit: &mut dyn FnMut(u32)) -> Result<()> {
        for entry in self.reader.prefix(self.store.table(Table::Follows), id.to_be_bytes()) {
            visit(number(&entry.key()?, 4));
        }
        Ok(())
    }
}

struct Transaction<'a> {
    store: &'a Fjall,
    writer: SingleWriterWriteTx<'a>,
}

impl Writer for Transaction<'_> {
    fn account(&self, name: &str) -> Result<Option<Account>> {
        account(self.store, &self.writer, name)
    }

    fn followed_at(&self, from: u32, to: u32) -> Result<Option<u32>> {
        followed_at(self.store, &self.writer, from, to)
    }

    fn put_account(&mut self, name: &str, account: Account) -> Result<()> {
        self.writer.insert(self.store.table(Table::Accounts), name, account.to_bytes());
        Ok(())
    }

    fn put_follow(&mut self, Follow { from, to, at }: Follow) -> Result<()> {
        let (store, writer) = (self.store, &mut self.writer);
        writer.insert(store.table(Table::Follows), ends_key(from, to), at.to_be_bytes());
        writer.insert(store.table(Table::Followers), newest_key(to, at, from), []);
        writer.insert(store.table(Table::Following), newest_key(from, at, to), []);
        Ok(())
    }

    fn remove_follow(&mut self, Follow { from, to, at }: Follow) -> Result<()> {
        let (store, writer) = (self.store, &mut self.writer);
        writer.remove(store.table(Table::Follows), ends_key(from, to));
        writer.remove(store.table(Table::Followers), newest_key(to, at, from));
        writer.remove(store.table(Table::Following), newest_key(from, at, to));
        Ok(())
    }
}

pub(super) fn load(place: &Place) -> Result<()> {
    let graph = Numbered::read(&place.follows)?;
    let store = open(&place.directory)?;
    bulk_load(graph, &mut |table, fill| {
        let mut ingestion = store.table(table).inner().start_ingestion()?;
        fill(&mut |key, value| Ok(ingestion.write(key, value)?))?;
        Ok(ingestion.finish()?)
    })?;
    Ok(store.database.persist(PersistMode::SyncAll)?)
}
