//! A disk in memory that keeps what was written and what was synced apart, and whose machine can
//! lose power at any call.
//!
//! What it assumes of a real disk and its file system is what `docs/certificate.md` lists:
//!
//! * A sync of a file makes its content and its length durable; a sync of the directory makes the
//!   names in it durable. Nothing else does.
//! * What was not synced is lost, kept, kept as it was between two writes, or garbage: sector by
//!   sector. Garbage is confined to bytes that were being changed, because a log cannot append
//!   behind synced bytes of the same sector on a disk that destroys those (powersafe overwrite).
//! * Each creation, renaming and removal that was not synced happened or did not, in no order.

use super::content::{Chance, Content};
use crate::engine::{FollowGraph, Options, RestoreTo};
use crate::error::{Error, Result};
use crate::locks::Mutex;
use crate::storage::{Bytes, LogFile, LogSync, OutputFile, PrivateBytes, Storage};
use crate::types::{BackupReport, RestoreReport};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A kind of call that a storage gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Names and lengths of all files.
    List,
    /// Bytes of a file, to be read.
    Read,
    /// An empty file to be written.
    Create,
    /// Bytes into such a file.
    Write,
    /// Wait for such a file.
    Sync,
    /// A log segment, allocated.
    CreateLog,
    /// A log segment that is there, allocated again where it is shorter.
    OpenLog,
    /// Bytes into a mapped log segment.
    LogWrite,
    /// Wait for a log segment.
    LogSync,
    /// The room behind the end of a log segment is given back.
    Truncate,
    /// Another name for a file.
    Rename,
    /// A file goes.
    Remove,
    /// Wait for the names of the directory.
    SyncDirectory,
}

impl Call {
    /// Whether it changes anything; power lost at a call that does not is power lost at the next.
    pub fn changes(self) -> bool {
        !matches!(self, Call::List | Call::Read)
    }

    /// Whether it can fail so. A write into mapped memory cannot fail at all.
    pub fn may_fail_with(self, failure: Failure) -> bool {
        match failure {
            Failure::NoSpace => !matches!(
                self,
                Call::List | Call::Read | Call::Remove | Call::Truncate | Call::LogWrite
            ),
            Failure::Io => self != Call::LogWrite,
            Failure::IoForgotten => matches!(self, Call::Sync | Call::LogSync),
            Failure::Short => {
                matches!(self, Call::Read | Call::Write | Call::CreateLog | Call::OpenLog)
            }
        }
    }
}

/// What a failing call says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// `ENOSPC`, of calls that take space.
    NoSpace,
    /// `EIO`. What a failed sync was to write can still be written by a later one.
    Io,
    /// `EIO` from a sync that leaves its pages readable, and no later one writes them: as Linux
    /// does.
    IoForgotten,
    /// Half of it: a read gives half of the bytes and says nothing; of a write, or of the room for
    /// a log segment, half is there when it fails with `ENOSPC`.
    Short,
}

/// What goes wrong on a [`Disk`]. Calls are counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Power is lost at this one of the calls that change something: before it, or, `partly`, when
    /// half of the bytes are written, or all is done but the return.
    PowerLoss {
        /// Which call.
        at: u64,
        /// Whether some of it happens.
        partly: bool,
    },
    /// This one of all calls fails, and with `lasting` every later one.
    Error {
        /// Which call.
        at: u64,
        /// With what.
        failure: Failure,
        /// Whether it stays so.
        lasting: bool,
    },
    /// As `Error`, of the calls of one kind, and counted among them.
    ErrorOf {
        /// Of which kind.
        call: Call,
        /// Which call.
        at: u64,
        /// With what.
        failure: Failure,
        /// Whether it stays so.
        lasting: bool,
    },
}

/// What is left of unsynced changes when the power comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// Nothing: exactly what was synced.
    Nothing,
    /// All of it, as after a killed process.
    Everything,
    /// What the seed says, each page and each name for itself.
    Seeded(u64),
}

/// A disk in memory whose machine can lose power, and whose calls can fail.
///
/// Clones are the same disk. A graph that is open on a disk without power gets errors; its handle
/// can be dropped.
///
/// ```
/// use followgraph::Options;
/// use followgraph::testing::{Disk, Fault, Remains};
/// let disk = Disk::new(4096);
/// let graph = disk.open(Options::new().segment_bytes(64 << 10))?;
/// graph.add_account("alice")?;
/// disk.set_fault(Fault::PowerLoss { at: 0, partly: false });
/// assert!(graph.add_account("bob").is_err());
/// let disk = disk.after_power_loss(Remains::Nothing);
/// let graph = disk.open(Options::new())?;
/// assert!(graph.account_id("alice").is_ok() && graph.account_id("bob").is_err());
/// # Ok::<(), followgraph::Error>(())
/// ```
#[derive(Clone)]
pub struct Disk {
    machine: Arc<Mutex<Machine>>,
    /// In front of the name of each file.
    directory: String,
}

/// A change of names that is not synced.
#[derive(Clone, Debug)]
enum NameChange {
    Insert(String, u64),
    Rename(String, String, u64),
    Remove(String, u64),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Insert(name, file) => {
                names.insert(name.clone(), *file);
            }
            NameChange::Rename(from, to, file) => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
            NameChange::Remove(name, file) => {
                if names.get(name) == Some(file) {
                    names.remove(name);
                }
            }
        }
    }

    fn is_in(&self, directory: &str) -> bool {
        let (NameChange::Insert(name, _)
        | NameChange::Rename(_, name, _)
        | NameChange::Remove(name, _)) = self;
        is_in(directory, name)
    }
}

fn is_in(directory: &str, name: &str) -> bool {
    name.strip_prefix(directory).is_some_and(|name| !name.contains('/'))
}

#[derive(Clone)]
struct Machine {
    sector_bytes: usize,
    /// What a process sees.
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced: Vec<NameChange>,
    files: BTreeMap<u64, Content>,
    file_count: u64,
    calls: BTreeMap<Call, u64>,
    call_count: u64,
    change_count: u64,
    fault: Fault,
    /// The calls that the fault was of.
    failed: Vec<Call>,
    has_power: bool,
}

/// How much of a call happens.
enum Admitted {
    Whole,
    /// The power goes while it happens.
    Partly,
    /// Half of it.
    Short,
    Refused(io::Error),
}

impl Machine {
    /// With power, without files, and nothing asked of it yet.
    fn fresh(sector_bytes: usize) -> Machine {
        Machine {
            sector_bytes,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced: Vec::new(),
            files: BTreeMap::new(),
            file_count: 0,
            calls: BTreeMap::new(),
            call_count: 0,
            change_count: 0,
            fault: Fault::None,
            failed: Vec::new(),
            has_power: true,
        }
    }

    fn admit(&mut self, call: Call) -> Admitted {
        let power_is_out = || Admitted::Refused(io::Error::other("the power is out"));
        if !self.has_power {
            return power_is_out();
        }
        let (number, change_number) = (self.call_count, self.change_count);
        self.call_count += 1;
        self.change_count += u64::from(call.changes());
        let of_kind = self.calls.entry(call).or_default();
        let number_of_kind = *of_kind;
        *of_kind += 1;
        let is_hit = |number, at, lasting| number == at || lasting && number > at;
        let failure = match self.fault {
            Fault::PowerLoss { at, partly } if call.changes() && at == change_number => {
                self.failed.push(call);
                self.has_power = partly;
                return if partly { Admitted::Partly } else { power_is_out() };
            }
            Fault::Error { at, failure, lasting } if is_hit(number, at, lasting) => failure,
            Fault::ErrorOf { call: kind, at, failure, lasting }
                if call == kind && is_hit(number_of_kind, at, lasting) =>
            {
                failure
            }
            _ => return Admitted::Whole,
        };
        if !call.may_fail_with(failure) {
            return Admitted::Whole;
        }
        self.failed.push(call);
        match failure {
            Failure::Short => Admitted::Short,
            Failure::NoSpace => Admitted::Refused(io::ErrorKind::StorageFull.into()),
            Failure::Io | Failure::IoForgotten => {
                Admitted::Refused(io::Error::from_raw_os_error(5))
            }
        }
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }

    fn insert(&mut self, name: String, len_bytes: usize) -> u64 {
        let file = self.file_count;
        self.file_count += 1;
        self.files.insert(file, Content::new(len_bytes));
        self.change_name(NameChange::Insert(name, file));
        file
    }

    fn find(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_file(&mut self, file: u64) {
        let sector_bytes = self.sector_bytes;
        self.content(file).sync(sector_bytes);
    }

    fn content(&mut self, file: u64) -> &mut Content {
        self.files.get_mut(&file).expect("a file stays as long as its machine")
    }

    /// The names that are left, of those changes that are not synced.
    fn names_left(&self, remains: Remains, chance: &mut Chance) -> BTreeMap<String, u64> {
        let mut names = self.durable_names.clone();
        // Often a prefix, as a journal keeps it; else each for itself.
        let is_prefix = chance.below(2) == 0;
        let kept_count = chance.below(self.unsynced.len() as u64 + 1);
        for (change, number) in self.unsynced.iter().zip(0..) {
            let is_kept = match remains {
                Remains::Nothing => false,
                Remains::Everything => true,
                Remains::Seeded(_) if is_prefix => number < kept_count,
                Remains::Seeded(_) => chance.below(2) == 0,
            };
            if is_kept {
                change.apply(&mut names);
            }
        }
        names
    }
}

impl Disk {
    /// An empty disk that writes sectors of this many bytes as one: 4,096, a page of memory, or
    /// 512.
    ///
    /// # Panics
    ///
    /// For a size of zero.
    pub fn new(sector_bytes: usize) -> Disk {
        assert!(sector_bytes > 0, "a sector has bytes");
        Disk::of(Machine::fresh(sector_bytes))
    }

    fn of(machine: Machine) -> Disk {
        Disk { machine: Arc::new(Mutex::new(machine)), directory: String::new() }
    }

    /// Opens the graph on this disk, or makes one there.
    ///
    /// # Errors
    ///
    /// As [`Options::open`]; there is no lock that a second handle would meet.
    pub fn open(&self, options: Options) -> Result<FollowGraph> {
        options.open_on(Arc::new(self.clone()))
    }

    /// Writes a backup of a graph to this disk.
    ///
    /// # Errors
    ///
    /// As [`FollowGraph::backup`].
    pub fn take_backup(&self, graph: &FollowGraph) -> Result<BackupReport> {
        graph.backup_to(self)
    }

    /// Makes a graph on another disk, or in another directory, of the backup on this one.
    ///
    /// # Errors
    ///
    /// As [`FollowGraph::restore`].
    pub fn restore(&self, destination: &Disk, to: RestoreTo) -> Result<RestoreReport> {
        FollowGraph::restore_on(self, destination, to)
    }

    /// Another directory of the same disk and machine.
    #[must_use]
    pub fn directory(&self, name: &str) -> Disk {
        Disk { machine: self.machine.clone(), directory: format!("{name}/") }
    }

    /// What goes wrong from now on; the calls are counted anew.
    pub fn set_fault(&self, fault: Fault) {
        let mut machine = self.machine.lock();
        machine.fault = fault;
        machine.failed.clear();
        (machine.call_count, machine.change_count) = (0, 0);
        machine.calls.clear();
    }

    /// What was set to go wrong.
    pub fn fault(&self) -> Fault {
        self.machine.lock().fault
    }

    /// The calls that the fault was of, in order, since it was set.
    pub fn failed_calls(&self) -> Vec<Call> {
        self.machine.lock().failed.clone()
    }

    /// Whether the power was not lost.
    pub fn has_power(&self) -> bool {
        self.machine.lock().has_power
    }

    /// How many calls of each kind there were since the fault was set.
    pub fn calls(&self) -> BTreeMap<Call, u64> {
        self.machine.lock().calls.clone()
    }

    /// A disk of its own with the same content, synced and not, and no fault.
    #[must_use]
    pub fn copy(&self) -> Disk {
        let mut machine = self.machine.lock().clone();
        machine.has_power = true;
        let copy = Disk::of(machine);
        copy.set_fault(Fault::None);
        copy
    }

    /// The disk that a machine finds when the power is back. This one stays as it is.
    #[must_use]
    pub fn after_power_loss(&self, remains: Remains) -> Disk {
        let machine = self.machine.lock();
        let seed = if let Remains::Seeded(seed) = remains { seed } else { 0 };
        let mut chance = Chance::new(seed);
        let names = machine.names_left(remains, &mut chance);
        let mut files = BTreeMap::new();
        for file in names.values() {
            let content = &machine.files[file];
            let left = content.left(machine.sector_bytes, remains, &mut chance);
            files.insert(*file, left);
        }
        Disk::of(Machine {
            durable_names: names.clone(),
            names,
            files,
            file_count: machine.file_count,
            ..Machine::fresh(machine.sector_bytes)
        })
    }

    /// The names of the files, as a process sees them.
    pub fn file_names(&self) -> Vec<String> {
        let machine = self.machine.lock();
        let names = machine.names.keys().filter(|name| is_in(&self.directory, name));
        names.map(|name| name[self.directory.len()..].to_owned()).collect()
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.directory)
    }

    /// One call: what it does, whole or half, under the fault that was set.
    fn perform<R>(
        &self,
        call: Call,
        name: &str,
        act: impl FnOnce(&mut Machine, bool) -> io::Result<R>,
    ) -> Result<R> {
        let mut machine = self.machine.lock();
        let outcome = match machine.admit(call) {
            Admitted::Whole => act(&mut machine, false),
            Admitted::Partly => {
                // Nobody learns how that went.
                let _ = act(&mut machine, true);
                machine.has_power = false;
                Err(io::Error::other("the power went out"))
            }
            Admitted::Short => match act(&mut machine, true) {
                Ok(read) if call == Call::Read => Ok(read),
                Ok(_) => Err(io::ErrorKind::StorageFull.into()),
                Err(source) => Err(source),
            },
            Admitted::Refused(source) => Err(source),
        };
        outcome.map_err(|source| Error::io(&format!("{call:?}"), &self.path(name), &source))
    }

    fn bytes(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<Vec<u8>> {
        self.perform(Call::Read, name, |machine, partly| {
            let file = machine.find(&self.full_name(name))?;
            let bytes = machine.content(file).bytes();
            let there_bytes = (bytes.len() as u64).saturating_sub(offset_bytes).min(len_bytes);
            let len_bytes = if partly { there_bytes / 2 } else { len_bytes };
            let within = |place: u64| bytes.len().min(usize::try_from(place).unwrap_or(usize::MAX));
            Ok(bytes[within(offset_bytes)..within(offset_bytes.saturating_add(len_bytes))].to_vec())
        })
    }
}

impl Storage for Disk {
    fn list(&self) -> Result<Vec<(String, u64)>> {
        self.perform(Call::List, "", |machine, _| {
            let names = machine.names.iter().filter(|(name, _)| is_in(&self.directory, name));
            let len_bytes = |file| machine.files[file].bytes().len() as u64;
            let files = names
                .map(|(name, file)| (name[self.directory.len()..].to_owned(), len_bytes(file)));
            Ok(files.collect())
        })
    }

    fn map_range(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<Bytes> {
        Ok(Bytes::Owned(Arc::new(self.bytes(name, offset_bytes, len_bytes)?)))
    }

    fn map_private(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<PrivateBytes> {
        let bytes = self.bytes(name, offset_bytes, len_bytes)?;
        if bytes.len() as u64 != len_bytes {
            let message = "the file is shorter than its header says";
            return Err(Error::corrupt(message).at_path(&self.path(name)));
        }
        Ok(PrivateBytes::Owned(bytes))
    }

    fn create(&self, name: &str) -> Result<Box<dyn OutputFile>> {
        let full_name = self.full_name(name);
        let file =
            self.perform(Call::Create, name, |machine, _| Ok(machine.insert(full_name, 0)))?;
        Ok(Box::new(DiskFile { disk: self.clone(), name: name.to_owned(), file }))
    }

    fn create_log(&self, name: &str, len_bytes: u64) -> Result<Box<dyn LogFile>> {
        let file = self.perform(Call::CreateLog, name, |machine, partly| {
            let len_bytes = if partly { len_bytes / 2 } else { len_bytes };
            Ok(machine.insert(self.full_name(name), len_bytes as usize))
        })?;
        Ok(Box::new(DiskFile { disk: self.clone(), name: name.to_owned(), file }))
    }

    fn open_log(&self, name: &str, len_bytes: u64) -> Result<Box<dyn LogFile>> {
        let file = self.perform(Call::OpenLog, name, |machine, partly| {
            let (file, sector_bytes) = (machine.find(&self.full_name(name))?, machine.sector_bytes);
            let content = machine.content(file);
            let old_bytes = content.bytes().len();
            let more_bytes = (len_bytes as usize).saturating_sub(old_bytes);
            let more_bytes = if partly { more_bytes / 2 } else { more_bytes };
            content.resize(old_bytes + more_bytes, sector_bytes);
            Ok(file)
        })?;
        Ok(Box::new(DiskFile { disk: self.clone(), name: name.to_owned(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.perform(Call::Rename, from, |machine, _| {
            let (from, to) = (self.full_name(from), self.full_name(to));
            let file = machine.find(&from)?;
            machine.change_name(NameChange::Rename(from, to, file));
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.perform(Call::Remove, name, |machine, _| {
            let name = self.full_name(name);
            let file = machine.find(&name)?;
            machine.change_name(NameChange::Remove(name, file));
            Ok(())
        })
    }

    fn sync_directory(&self) -> Result<()> {
        self.perform(Call::SyncDirectory, "", |machine, _| {
            let Machine { unsynced, durable_names, .. } = machine;
            unsynced.retain(|change| {
                let is_here = change.is_in(&self.directory);
                if is_here {
                    change.apply(durable_names);
                }
                !is_here
            });
            Ok(())
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("disk:{}", self.full_name(name)))
    }
}

/// A file of a disk, open for writing.
#[derive(Clone)]
struct DiskFile {
    disk: Disk,
    name: String,
    file: u64,
}

impl DiskFile {
    fn write(&self, call: Call, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        self.disk.perform(call, &self.name, |machine, partly| {
            let written = if partly { &bytes[..bytes.len() / 2] } else { bytes };
            let sector_bytes = machine.sector_bytes;
            machine.content(self.file).write(offset_bytes as usize, written, sector_bytes);
            Ok(())
        })
    }

    fn wait(&self, call: Call) -> Result<()> {
        let synced = self.disk.perform(call, &self.name, |machine, _| {
            machine.sync_file(self.file);
            Ok(())
        });
        let mut machine = self.disk.machine.lock();
        let forgets = matches!(
            machine.fault,
            Fault::Error { failure: Failure::IoForgotten, .. }
                | Fault::ErrorOf { failure: Failure::IoForgotten, .. }
        );
        if forgets && synced.is_err() {
            machine.content(self.file).forget();
        }
        synced
    }
}

impl OutputFile for DiskFile {
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        self.write(Call::Write, offset_bytes, bytes)
    }

    fn sync(&mut self) -> Result<()> {
        self.wait(Call::Sync)
    }
}

impl LogFile for DiskFile {
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) {
        // A write into mapped memory tells nobody that the machine has no power.
        let _ = self.write(Call::LogWrite, offset_bytes, bytes);
    }

    fn rewrite(&mut self, start_bytes: u64, end_bytes: u64) {
        let bytes = self.disk.machine.lock().content(self.file).bytes().to_vec();
        let end = usize::try_from(end_bytes).unwrap_or(usize::MAX).min(bytes.len());
        let start = usize::try_from(start_bytes).unwrap_or(usize::MAX).min(end);
        let _ = self.write(Call::LogWrite, start as u64, &bytes[start..end]);
    }

    fn len_bytes(&self) -> u64 {
        self.disk.machine.lock().content(self.file).bytes().len() as u64
    }

    fn truncate(&mut self, len_bytes: u64) -> Result<()> {
        self.disk.perform(Call::Truncate, &self.name, |machine, _| {
            let sector_bytes = machine.sector_bytes;
            let content = machine.content(self.file);
            let len_bytes = content.bytes().len().min(len_bytes as usize);
            content.resize(len_bytes, sector_bytes);
            Ok(())
        })
    }

    fn syncer(&self) -> Arc<dyn LogSync> {
        Arc::new(self.clone())
    }
}

impl LogSync for DiskFile {
    fn sync(&self) -> Result<()> {
        self.wait(Call::LogSync)
    }
}
