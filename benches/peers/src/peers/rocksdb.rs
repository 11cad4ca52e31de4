//! RocksDB, through the `rocksdb` crate.
//!
//! What was tuned: a column family a table; a block cache for the whole graph, shared by all;
//! blocks with a hash index and full filters of 10 bits where single keys are asked for, and
//! filters on the account's prefix where an account's keys are scanned; LZ4 for the follows, none
//! for the accounts; `MultiGet` for batches; loading by ingestion of sorted SST files, compacted
//! into the last level. Waiting for the disk is a synced write-ahead log.

use super::ordered::{
    Account, List, OrderedStore, Snapshot, Table, Writer, bulk_load, ends_key, newest_key,
    newest_of, number,
};
use super::{CACHE_BYTES, Place};
use crate::follows::Follow;
use crate::numbered::Numbered;
use anyhow::{Context, Result};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DataBlockIndexType, IngestExternalFileOptions, Options, ReadOptions, SliceTransform,
    SstFileWriter, WriteBatch, WriteOptions,
};
use std::path::Path;

const FILTER_BITS: f64 = 10.0;
/// Memory for changes of each column family until they are written to a file.
const WRITE_BUFFER_BYTES: usize = 64 << 20;
const ID_BYTES: usize = 4;

pub(super) struct Rocks {
    database: DB,
    write_options: WriteOptions,
}

fn options(table: Table, cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_format_version(6);
    let mut options = Options::default();
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_compression_type(match table {
        Table::Accounts | Table::Names => DBCompressionType::None,
        _ => DBCompressionType::Lz4,
    });
    blocks.set_bloom_filter(FILTER_BITS, false);
    match table {
        Table::Accounts | Table::Names | Table::Follows => {
            blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        }
        Table::Followers | Table::Following => blocks.set_whole_key_filtering(false),
    }
    if !matches!(table, Table::Accounts | Table::Names) {
        options.set_prefix_extractor(SliceTransform::create_fixed_prefix(ID_BYTES));
    }
    options.set_block_based_table_factory(&blocks);
    options
}

fn open(directory: &Path, cache: &Cache) -> Result<DB> {
    let mut database = Options::default();
    database.create_if_missing(true);
    database.create_missing_column_families(true);
    database.increase_parallelism(2);
    let families =
        Table::ALL.map(|table| ColumnFamilyDescriptor::new(table.name(), options(table, cache)));
    Ok(DB::open_cf_descriptors(&database, directory, families)?)
}

fn family(database: &DB, table: Table) -> &ColumnFamily {
    database.cf_handle(table.name()).expect("every column family is named at opening")
}

impl Rocks {
    pub(super) fn open(place: &Place) -> Result<Rocks> {
        let database = open(&place.directory, &Cache::new_hyper_clock_cache(CACHE_BYTES, 0))?;
        Ok(Rocks { database, write_options: WriteOptions::default() })
    }

    /// Visits the keys of an account until told to stop.
    fn scan(&self, table: Table, id: u32, visit: &mut dyn FnMut(&[u8]) -> bool) -> Result<()> {
        let mut read = ReadOptions::default();
        read.set_prefix_same_as_start(true);
        let mut iterator = self.database.raw_iterator_cf_opt(family(&self.database, table), read);
        let prefix = id.to_be_bytes();
        iterator.seek(prefix);
        while let Some(key) = iterator.key().filter(|key| key.starts_with(&prefix)) {
            if !visit(key) {
                return Ok(());
            }
            iterator.next();
        }
        Ok(iterator.status()?)
    }
}

impl OrderedStore for Rocks {
    fn read(&mut self, ask: &mut dyn FnMut(&dyn Snapshot) -> Result<()>) -> Result<()> {
        ask(self)
    }

    fn write(&mut self, change: &mut dyn FnMut(&mut dyn Writer) -> Result<bool>) -> Result<bool> {
        let mut transaction = Transaction { store: self, batch: WriteBatch::default() };
        let changed = change(&mut transaction)?;
        let batch = transaction.batch;
        if changed {
            self.database.write_opt(batch, &self.write_options)?;
        }
        Ok(changed)
    }

    fn wait_for_disk(&mut self, wait: bool) -> Result<()> {
        self.write_options.set_sync(wait);
        Ok(self.database.flush_wal(true)?)
    }
}

impl Snapshot for Rocks {
    fn account(&self, name: &str) -> Result<Option<Account>> {
        let bytes = self.database.get_pinned_cf(family(&self.database, Table::Accounts), name)?;
        bytes.map(|bytes| Account::from_bytes(&bytes)).transpose()
    }

    fn accounts(&self, names: &[String]) -> Result<Vec<Option<Account>>> {
        let table = family(&self.database, Table::Accounts);
        let found = self.database.batched_multi_get_cf(table, names, false);
        let account = |bytes: std::result::Result<Option<rocksdb::DBPinnableSlice<'_>>, _>| {
            bytes?.map(|bytes| Account::from_bytes(&bytes)).transpose()
        };
        found.into_iter().map(account).collect()
    }

    fn names(&self, ids: &[u32]) -> Result<Vec<String>> {
        let table = family(&self.database, Table::Names);
        let keys: Vec<[u8; ID_BYTES]> = ids.iter().map(|id| id.to_be_bytes()).collect();
        let found = self.database.batched_multi_get_cf(table, &keys, false);
        let name = |bytes: std::result::Result<Option<rocksdb::DBPinnableSlice<'_>>, _>| {
            Ok(str::from_utf8(&bytes?.context("no name")?)?.to_owned())
        };
        found.into_iter().map(name).collect()
    }

    fn followed_at(&self, from: u32, to: u32) -> Result<Option<u32>> {
        let table = family(&self.database, Table::Follows);
        let bytes = self.database.get_pinned_cf(table, ends_key(from, to))?;
        Ok(bytes.map(|bytes| number(&bytes, 0)))
    }

    fn newest(&self, list: List, id: u32, limit: usize) -> Result<Vec<(u32, u32)>> {
        let table = match list {
            List::Followers => Table::Followers,
            List::Following => Table::Following,
        };
        let mut entries = Vec::new();
        self.scan(table, id, &mut |key| {
            entries.push(newest_of(&key[ID_BYTES..]));
            entries.len() < limit
        })?;
        Ok(entries)
    }

    fn each_following(&self, id: u32, visit: &mut dyn FnMut(u32)) -> Result<()> {
        self.scan(Table::Follows, id, &mut |key| {
            visit(number(key, ID_BYTES));
            true
        })
    }
}

/// One writer at a time, so a batch over what is read is a transaction.
struct Transaction<'a> {
    store: &'a Rocks,
    batch: WriteBatch,
}

impl Writer for Transaction<'_> {
    fn account(&self, name: &str) -> Result<Option<Account>> {
        Snapshot::account(self.store, name)
    }

    fn followed_at(&self, from: u32, to: u32) -> Result<Option<u32>> {
        Snapshot::followed_at(self.store, from, to)
    }

    fn put_account(&mut self, name: &str, account: Account) -> Result<()> {
        let table = family(&self.store.database, Table::Accounts);
        self.batch.put_cf(table, name, account.to_bytes());
        Ok(())
    }

    fn put_follow(&mut self, Follow { from, to, at }: Follow) -> Result<()> {
        let database = &self.store.database;
        let table = |table| family(database, table);
        self.batch.put_cf(table(Table::Follows), ends_key(from, to), at.to_be_bytes());
        self.batch.put_cf(table(Table::Followers), newest_key(to, at, from), []);
        self.batch.put_cf(table(Table::Following), newest_key(from, at, to), []);
        Ok(())
    }

    fn remove_follow(&mut self, Follow { from, to, at }: Follow) -> Result<()> {
        let database = &self.store.database;
        let table = |table| family(database, table);
        self.batch.delete_cf(table(Table::Follows), ends_key(from, to));
        self.batch.delete_cf(table(Table::Followers), newest_key(to, at, from));
        self.batch.delete_cf(table(Table::Following), newest_key(from, at, to));
        Ok(())
    }
}

pub(super) fn load(place: &Place) -> Result<()> {
    let graph = Numbered::read(&place.follows)?;
    let cache = Cache::new_hyper_clock_cache(CACHE_BYTES, 0);
    let database = open(&place.directory, &cache)?;
    bulk_load(graph, &mut |table, fill| {
        let options = options(table, &cache);
        let path = place.directory.join(format!("{}.sst", table.name()));
        let mut writer = SstFileWriter::create(&options);
        writer.open(&path)?;
        fill(&mut |key, value| Ok(writer.put(key, value)?))?;
        writer.finish()?;
        let mut ingestion = IngestExternalFileOptions::default();
        ingestion.set_move_files(true);
        let table = family(&database, table);
        database.ingest_external_file_cf_opts(table, &ingestion, vec![path])?;
        database.compact_range_cf(table, None::<&[u8]>, None::<&[u8]>);
        Ok(())
    })?;
    Ok(database.flush_wal(true)?)
}
