//! LMDB, through `heed`.
//!
//! What was tuned: the two lists by time are sorted duplicates of fixed size under the account's
//! id, which pack at 8 bytes an entry; loading appends sorted keys (`MDB_APPEND`,
//! `MDB_APPENDDUP`), one transaction a table, straight into the map (`MDB_WRITEMAP`) and with one
//! sync at the end. `MDB_NORDAHEAD`, because reads are random and the file is large. Not waiting
//! for the disk is `MDB_NOSYNC` with `MDB_WRITEMAP`, which spares the system calls as well; waiting
//! is LMDB's default mode, a write and a sync for each commit.
//! The follows by their ends are plain keys: `heed` cannot seek within duplicates.

use super::Place;
use super::ordered::{
    Account, List, OrderedStore, Snapshot, Table, Writer, bulk_load, ends_key, newest_item,
    newest_of, number,
};
use crate::follows::Follow;
use crate::numbered::Numbered;
use anyhow::{Context, Result};
use heed::types::Bytes;
use heed::{
    CommitOrAbort, DatabaseFlags, DatabaseOpener, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn,
    RwTxn, WithTls,
};
use std::path::{Path, PathBuf};

/// Address space, of which only what is used becomes a file.
const MAP_BYTES: usize = 64 << 30;

type Database = heed::Database<'static, Bytes, Bytes>;

pub(super) fn version() -> String {
    let version = heed::lmdb_version();
    format!("{}.{}.{}", version.major, version.minor, version.patch)
}

/// The five tables.
#[derive(Clone, Copy)]
struct Tables([Database; Table::ALL.len()]);

impl Tables {
    fn get(self, table: Table) -> Database {
        self.0[table as usize]
    }

    fn list(self, list: List) -> Database {
        match list {
            List::Followers => self.get(Table::Followers),
            List::Following => self.get(Table::Following),
        }
    }

    fn account(self, reader: &RoTxn<'_>, name: &str) -> Result<Option<Account>> {
        let bytes = self.get(Table::Accounts).get(reader, name.as_bytes())?;
        bytes.map(Account::from_bytes).transpose()
    }

    fn followed_at(self, reader: &RoTxn<'_>, from: u32, to: u32) -> Result<Option<u32>> {
        let bytes = self.get(Table::Follows).get(reader, &ends_key(from, to))?;
        Ok(bytes.map(|bytes| number(bytes, 0)))
    }
}

pub(super) struct Lmdb {
    path: PathBuf,
    /// `None` only while it is opened again.
    open: Option<(Env, Tables)>,
}

const NOT_WAITING: EnvFlags = EnvFlags::NO_SYNC.union(EnvFlags::WRITE_MAP);

#[expect(unsafe_code, reason = "LMDB maps a file, and offers modes that a crash can break")]
fn open(path: &Path, flags: EnvFlags) -> Result<(Env, Tables)> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_dbs(Table::ALL.len() as u32);
    // SAFETY: the directory belongs to this process alone, and no other opens the environment. What
    // a crash would leave behind is never opened.
    let environment = unsafe {
        options.flags(flags | EnvFlags::NO_READ_AHEAD);
        options.open(path)?
    };
    let writer = environment.write_txn()?;
    let created = environment.create_databases_and_commit(writer, |opener, writer| {
        let [accounts, names, follows, followers, following] = Table::ALL;
        heed::Result::Ok(CommitOrAbort::<_, ()>::Commit([
            create(accounts, opener, writer)?,
            create(names, opener, writer)?,
            create(follows, opener, writer)?,
            create(followers, opener, writer)?,
            create(following, opener, writer)?,
        ]))
    })?;
    let tables = Tables(created.unwrap_commit());
    Ok((environment, tables))
}

/// Makes a table where there is none yet.
fn create<'a>(
    table: Table,
    opener: &DatabaseOpener<'a, WithTls>,
    writer: &mut RwTxn<'_>,
) -> heed::Result<heed::Database<'a, Bytes, Bytes>> {
    let mut options = opener.database_options().types::<Bytes, Bytes>();
    if matches!(table, Table::Followers | Table::Following) {
        options.flags(DatabaseFlags::DUP_SORT | DatabaseFlags::DUP_FIXED);
    }
    options.name(table.name());
    options.create(writer)
}

impl Lmdb {
    pub(super) fn open(place: &Place) -> Result<Lmdb> {
        let open = open(&place.directory, NOT_WAITING)?;
        Ok(Lmdb { path: place.directory.clone(), open: Some(open) })
    }

    fn parts(&self) -> Result<(&Env, Tables)> {
        let (environment, tables) = self.open.as_ref().context("the environment is closed")?;
        Ok((environment, *tables))
    }
}

impl OrderedStore for Lmdb {
    fn read(&mut self, ask: &mut dyn FnMut(&dyn Snapshot) -> Result<()>) -> Result<()> {
        let (environment, tables) = self.parts()?;
        let reader = environment.read_txn()?;
        ask(&View { tables, reader: &reader })
    }

    fn write(&mut self, change: &mut dyn FnMut(&mut dyn Writer) -> Result<bool>) -> Result<bool> {
        let (environment, tables) = self.parts()?;
        let mut transaction = Transaction { tables, writer: environment.write_txn()? };
        let changed = change(&mut transaction)?;
        if changed {
            transaction.writer.commit()?;
        }
        Ok(changed)
    }

    fn wait_for_disk(&mut self, wait: bool) -> Result<()> {
        if let Some((environment, _)) = self.open.take() {
            environment.force_sync()?;
            environment.prepare_for_closing().wait();
        }
        let flags = if wait { EnvFlags::empty() } else { NOT_WAITING };
        self.open = Some(open(&self.path, flags)?);
        Ok(())
    }
}

struct View<'a> {
    tables: Tables,
    reader: &'a RoTxn<'a>,
}

impl Snapshot for View<'_> {
    fn account(&self, name: &str) -> Result<Option<Account>> {
        self.tables.account(self.reader, name)
    }

    fn names(&self, ids: &[u32]) -> Result<Vec<String>> {
        let table = self.tables.get(Table::Names);
        let name = |id: &u32| {
            let bytes = table.get(self.reader, &id.to_be_bytes())?.context("no name")?;
            Ok(str::from_utf8(bytes)?.to_owned())
        };
        ids.iter().map(name).collect()
    }

    fn followed_at(&self, from: u32, to: u32) -> Result<Option<u32>> {
        self.tables.followed_at(self.reader, from, to)
    }

    fn newest(&self, list: List, id: u32, limit: usize) -> Result<Vec<(u32, u32)>> {
        let table = self.tables.list(list);
        let Some(entries) = table.get_duplicates(self.reader, &id.to_be_bytes())? else {
            return Ok(Vec::new());
        };
        entries.take(limit).map(|entry| Ok(newest_of(entry?.1))).collect()
    }

    fn each_following(&self, id: u32, visit: &mut dyn FnMut(u32)) -> Result<()> {
        let table = self.tables.get(Table::Following);
        if let Some(entries) = table.get_duplicates(self.reader, &id.to_be_bytes())? {
            for entry in entries {
                visit(newest_of(entry?.1).1);
            }
        }
        Ok(())
    }
}

struct Transaction<'a> {
    tables: Tables,
    writer: RwTxn<'a>,
}

impl Writer for Transaction<'_> {
    fn account(&self, name: &str) -> Result<Option<Account>> {
        self.tables.account(&self.writer, name)
    }

    fn followed_at(&self, from: u32, to: u32) -> Result<Option<u32>> {
        self.tables.followed_at(&self.writer, from, to)
    }

    fn put_account(&mut self, name: &str, account: Account) -> Result<()> {
        let table = self.tables.get(Table::Accounts);
        Ok(table.put(&mut self.writer, name.as_bytes(), &account.to_bytes())?)
    }

    fn put_follow(&mut self, Follow { from, to, at }: Follow) -> Result<()> {
        let writer = &mut self.writer;
        self.tables.get(Table::Follows).put(writer, &ends_key(from, to), &at.to_be_bytes())?;
        let lists = [(List::Followers, to, from), (List::Following, from, to)];
        for (list, id, other) in lists {
            let table = self.tables.list(list);
            table.put(writer, &id.to_be_bytes(), &newest_item(at, other))?;
        }
        Ok(())
    }

    fn remove_follow(&mut self, Follow { from, to, at }: Follow) -> Result<()> {
        let writer = &mut self.writer;
        self.tables.get(Table::Follows).delete(writer, &ends_key(from, to))?;
        let lists = [(List::Followers, to, from), (List::Following, from, to)];
        for (list, id, other) in lists {
            let table = self.tables.list(list);
            table.delete_one_duplicate(writer, &id.to_be_bytes(), &newest_item(at, other))?;
        }
        Ok(())
    }
}

pub(super) fn load(place: &Place) -> Result<()> {
    let graph = Numbered::read(&place.follows)?;
    let (environment, tables) = open(&place.directory, NOT_WAITING)?;
    bulk_load(graph, &mut |table, fill| {
        let database = tables.get(table);
        let mut writer = environment.write_txn()?;
        if matches!(table, Table::Followers | Table::Following) {
            fill(&mut |key, _| {
                let (id, item) = key.split_at(4);
                Ok(database.put_with_flags(&mut writer, PutFlags::APPEND_DUP, id, item)?)
            })?;
        } else {
            fill(&mut |key, value| {
                Ok(database.put_with_flags(&mut writer, PutFlags::APPEND, key, value)?)
            })?;
        }
        Ok(writer.commit()?)
    })?;
    environment.force_sync()?;
    environment.prepare_for_closing().wait();
    Ok(())
}
