//! redb.
//!
//! What was tuned: keys and values of fixed width, so that pages hold no lengths; a cache for the
//! whole graph; loading through a cursor at the end of each table, one transaction a table, of
//! which only the last is durable, and `compact` then. Not waiting for the disk is
//! `Durability::None` with a durable commit every thousand, without which redb could not use a
//! freed page again.

use super::ordered::{
    ACCOUNT_BYTES, Account, EndsKey, Fill, List, NewestKey, OrderedStore, Snapshot, Table, Writer,
    bulk_load, ends_key, newest_key, newest_of, number,
};
use super::{CACHE_BYTES, Place};
use crate::follows::Follow;
use crate::numbered::Numbered;
use anyhow::{Context, Result};
use redb::{
    CursorMut, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable,
    TableDefinition, WriteTransaction,
};
use std::ops::Bound;
use std::path::{Path, PathBuf};

const ACCOUNTS: TableDefinition<'_, &str, [u8; ACCOUNT_BYTES]> = TableDefinition::new("accounts");
const NAMES: TableDefinition<'_, u32, &str> = TableDefinition::new("names");
const FOLLOWS: TableDefinition<'_, EndsKey, u32> = TableDefinition::new("follows");
const FOLLOWERS: TableDefinition<'_, NewestKey, ()> = TableDefinition::new("followers");
const FOLLOWING: TableDefinition<'_, NewestKey, ()> = TableDefinition::new("following");

/// Every so many commits that do not wait, one does.
const DURABLE_EVERY: u64 = 1000;

fn list_definition(list: List) -> TableDefinition<'static, NewestKey, ()> {
    match list {
        List::Followers => FOLLOWERS,
        List::Following => FOLLOWING,
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("graph.redb")
}

fn create(directory: &Path) -> Result<Database> {
    Ok(Database::builder().set_cache_size(CACHE_BYTES).create(file(directory))?)
}

pub(super) struct Redb {
    database: Database,
    wait: bool,
    commit_count: u64,
}

impl Redb {
    pub(super) fn open(place: &Place) -> Result<Redb> {
        Ok(Redb { database: create(&place.directory)?, wait: false, commit_count: 0 })
    }
}

impl OrderedStore for Redb {
    fn read(&mut self, ask: &mut dyn FnMut(&dyn Snapshot) -> Result<()>) -> Result<()> {
        ask(&View(self.database.begin_read()?))
    }

    fn write(&mut self, change: &mut dyn FnMut(&mut dyn Writer) -> Result<bool>) -> Result<bool> {
        self.commit_count += 1;
        let mut transaction = self.database.begin_write()?;
        if !self.wait && !self.commit_count.is_multiple_of(DURABLE_EVERY) {
            transaction.set_durability(Durability::None)?;
        }
        let changed = change(&mut Transaction::open(&transaction)?)?;
        if changed {
            transaction.commit()?;
        } else {
            transaction.abort()?;
        }
        Ok(changed)
    }

    fn wait_for_disk(&mut self, wait: bool) -> Result<()> {
        self.wait = wait;
        Ok(())
    }
}

/// Tables are opened as they are asked for: most questions need two of them.
struct View(redb::ReadTransaction);

impl View {
    fn list(&self, list: List) -> Result<ReadOnlyTable<NewestKey, ()>> {
        Ok(self.0.open_table(list_definition(list))?)
    }
}

fn bounds(id: u32) -> std::ops::RangeInclusive<NewestKey> {
    newest_key(id, u32::MAX, 0)..=newest_key(id, 0, u32::MAX)
}

impl Snapshot for View {
    fn account(&self, name: &str) -> Result<Option<Account>> {
        let found = self.0.open_table(ACCOUNTS)?.get(name)?;
        found.map(|bytes| Account::from_bytes(&bytes.value())).transpose()
    }

    fn accounts(&self, names: &[String]) -> Result<Vec<Option<Account>>> {
        let table = self.0.open_table(ACCOUNTS)?;
        let account = |name: &String| {
            let found = table.get(name.as_str())?;
            found.map(|bytes| Account::from_bytes(&bytes.value())).transpose()
        };
        names.iter().map(account).collect()
    }

    fn names(&self, ids: &[u32]) -> Result<Vec<String>> {
        let table = self.0.open_table(NAMES)?;
        let name = |id: &u32| Ok(table.get(id)?.context("no name")?.value().to_owned());
        ids.iter().map(name).collect()
    }

    fn followed_at(&self, from: u32, to: u32) -> Result<Option<u32>> {
        let found = self.0.open_table(FOLLOWS)?.get(ends_key(from, to))?;
        Ok(found.map(|at| at.value()))
    }

    fn newest(&self, list: List, id: u32, limit: usize) -> Result<Vec<(u32, u32)>> {
        let table = self.list(list)?;
        let entry = |entry: std::result::Result<(redb::AccessGuard<'_, NewestKey>, _), _>| {
            let (key, ()) = entry.map(|(key, _): (_, redb::AccessGuard<'_, ()>)| (key, ()))?;
            Ok(newest_of(&key.value()[4..]))
        };
        table.range(bounds(id))?.take(limit).map(entry).collect()
    }

    fn each_following(&self, id: u32, visit: &mut dyn FnMut(u32)) -> Result<()> {
        for entry in self.list(List::Following)?.range(bounds(id))? {
            visit(newest_of(&entry?.0.value()[4..]).1);
        }
        Ok(())
    }
}

struct Transaction<'a> {
    accounts: redb::Table<'a, &'static str, [u8; ACCOUNT_BYTES]>,
    follows: redb::Table<'a, EndsKey, u32>,
    followers: redb::Table<'a, NewestKey, ()>,
    following: redb::Table<'a, NewestKey, ()>,
}

impl<'a> Transaction<'a> {
    fn open(transaction: &'a WriteTransaction) -> Result<Transaction<'a>> {
        Ok(Transaction {
            accounts: transaction.open_table(ACCOUNTS)?,
            follows: transaction.open_table(FOLLOWS)?,
            followers: transaction.open_table(FOLLOWERS)?,
            following: transaction.open_table(FOLLOWING)?,
        })
    }
}

impl Writer for Transaction<'_> {
    fn account(&self, name: &str) -> Result<Option<Account>> {
        let found = self.accounts.get(name)?;
        found.map(|bytes| Account::from_bytes(&bytes.value())).transpose()
    }

    fn followed_at(&self, from: u32, to: u32) -> Result<Option<u32>> {
        Ok(self.follows.get(ends_key(from, to))?.map(|at| at.value()))
    }

    fn put_account(&mut self, name: &str, account: Account) -> Result<()> {
        self.accounts.insert(name, account.to_bytes())?;
        Ok(())
    }

    fn put_follow(&mut self, Follow { from, to, at }: Follow) -> Result<()> {
        self.follows.insert(ends_key(from, to), at)?;
        self.followers.insert(newest_key(to, at, from), ())?;
        self.following.insert(newest_key(from, at, to), ())?;
        Ok(())
    }

    fn remove_follow(&mut self, Follow { from, to, at }: Follow) -> Result<()> {
        self.follows.remove(ends_key(from, to))?;
        self.followers.remove(newest_key(to, at, from))?;
        self.following.remove(newest_key(from, at, to))?;
        Ok(())
    }
}

pub(super) fn load(place: &Place) -> Result<()> {
    let graph = Numbered::read(&place.follows)?;
    let mut database = create(&place.directory)?;
    bulk_load(graph, &mut |table, fill| {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::None)?;
        match table {
            Table::Accounts => append(&transaction, ACCOUNTS, fill, |cursor, key, value| {
                let value = <[u8; ACCOUNT_BYTES]>::try_from(value)?;
                Ok(cursor.insert_before(str::from_utf8(key)?, value)?)
            }),
            Table::Names => append(&transaction, NAMES, fill, |cursor, key, value| {
                Ok(cursor.insert_before(number(key, 0), str::from_utf8(value)?)?)
            }),
            Table::Follows => append(&transaction, FOLLOWS, fill, |cursor, key, value| {
                Ok(cursor.insert_before(EndsKey::try_from(key)?, number(value, 0))?)
            }),
            Table::Followers => append(&transaction, FOLLOWERS, fill, append_newest),
            Table::Following => append(&transaction, FOLLOWING, fill, append_newest),
        }?;
        Ok(transaction.commit()?)
    })?;
    database.begin_write()?.commit()?;
    database.compact()?;
    Ok(())
}

/// Appends everything that `fill` gives through one cursor at the end of the table.
fn append<K: redb::Key + 'static, V: redb::Value + 'static>(
    transaction: &WriteTransaction,
    definition: TableDefinition<'_, K, V>,
    fill: Fill<'_>,
    insert: impl Fn(&mut CursorMut<'_, K, V>, &[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    let mut table = transaction.open_table(definition)?;
    let mut cursor = table.upper_bound_mut(Bound::<K::SelfType<'_>>::Unbounded)?;
    fill(&mut |key, value| insert(&mut cursor, key, value))?;
    Ok(cursor.close()?)
}

fn append_newest(
    cursor: &mut CursorMut<'_, NewestKey, ()>,
    key: &[u8],
    _value: &[u8],
) -> Result<()> {
    Ok(cursor.insert_before(NewestKey::try_from(key)?, ())?)
}
