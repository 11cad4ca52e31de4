//! What needs a look behind the handle: a disk that fails or takes its time, counters that are
//! wrong, and what lies between two slices of a removal.

use super::*;
use crate::accounts::{RecordFields, set_counts};
use crate::format::{FileKind, file_kind};
use crate::storage::{Bytes, LogFile, LogSync, MemoryStorage, OutputFile, PrivateBytes, Storage};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

#[cfg(feature = "testing")]
pub(crate) mod removal;
mod sequences;
mod waiting;

/// Memory that fails on command: log syncs, or writes of images. Or whose syncs wait, or take long.
#[derive(Clone, Default)]
pub(crate) struct FailingStorage {
    memory: MemoryStorage,
    syncs_fail: Arc<AtomicBool>,
    /// A sync ends once it had this for itself.
    pub(crate) syncs_wait: Arc<Mutex<()>>,
    images_fail: Arc<AtomicBool>,
    /// How long every sync takes, of the log, of other files and of the directory.
    sync_milliseconds: Arc<AtomicU64>,
}

impl FailingStorage {
    fn wait_for_sync(&self) {
        let milliseconds = self.sync_milliseconds.load(Ordering::Relaxed);
        if milliseconds > 0 {
            std::thread::sleep(Duration::from_millis(milliseconds));
        }
    }

    fn failure(what: &str) -> Error {
        Error::io(what, &PathBuf::from("disk"), &std::io::Error::other("the disk is gone"))
    }

    fn file_kinds(&self) -> Vec<FileKind> {
        self.list().expect("memory").iter().map(|(name, _)| file_kind(name)).collect()
    }
}

impl Storage for FailingStorage {
    fn list(&self) -> Result<Vec<(String, u64)>> {
        self.memory.list()
    }
    fn map_range(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<Bytes> {
        self.memory.map_range(name, offset_bytes, len_bytes)
    }
    fn map_private(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<PrivateBytes> {
        self.memory.map_private(name, offset_bytes, len_bytes)
    }
    fn create(&self, name: &str) -> Result<Box<dyn OutputFile>> {
        let file = self.memory.create(name)?;
        Ok(Box::new(FailingOutput { file, storage: self.clone() }))
    }
    fn create_log(&self, name: &str, len_bytes: u64) -> Result<Box<dyn LogFile>> {
        let file = self.memory.create_log(name, len_bytes)?;
        Ok(Box::new(FailingLog { file, storage: self.clone() }))
    }
    fn open_log(&self, name: &str, len_bytes: u64) -> Result<Box<dyn LogFile>> {
        let file = self.memory.open_log(name, len_bytes)?;
        Ok(Box::new(FailingLog { file, storage: self.clone() }))
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.memory.rename(from, to)
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.memory.remove(name)
    }
    fn sync_directory(&self) -> Result<()> {
        self.wait_for_sync();
        self.memory.sync_directory()
    }
    fn path(&self, name: &str) -> PathBuf {
        self.memory.path(name)
    }
}

struct FailingOutput {
    file: Box<dyn OutputFile>,
    storage: FailingStorage,
}

impl OutputFile for FailingOutput {
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        if self.storage.images_fail.load(Ordering::Relaxed) {
            return Err(FailingStorage::failure("write"));
        }
        self.file.write_at(offset_bytes, bytes)
    }
    fn sync(&mut self) -> Result<()> {
        self.storage.wait_for_sync();
        self.file.sync()
    }
}

struct FailingLog {
    file: Box<dyn LogFile>,
    storage: FailingStorage,
}

impl LogFile for FailingLog {
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) {
        self.file.write_at(offset_bytes, bytes);
    }
    fn rewrite(&mut self, start_bytes: u64, end_bytes: u64) {
        self.file.rewrite(start_bytes, end_bytes);
    }
    fn len_bytes(&self) -> u64 {
        self.file.len_bytes()
    }
    fn truncate(&mut self, len_bytes: u64) -> Result<()> {
        self.file.truncate(len_bytes)
    }
    fn syncer(&self) -> Arc<dyn LogSync> {
        Arc::new(FailingSync { sync: self.file.syncer(), storage: self.storage.clone() })
    }
}

struct FailingSync {
    sync: Arc<dyn LogSync>,
    storage: FailingStorage,
}

impl LogSync for FailingSync {
    fn sync(&self) -> Result<()> {
        let _alone = self.storage.syncs_wait.lock();
        self.storage.wait_for_sync();
        if self.storage.syncs_fail.load(Ordering::Relaxed) {
            return Err(FailingStorage::failure("sync"));
        }
        self.sync.sync()
    }
}

pub(crate) fn open(storage: &FailingStorage) -> FollowGraph {
    let options = Options::new().segment_bytes(64 * 1024);
    FollowGraph::start(Arc::new(storage.clone()), options).expect("the disk works")
}

/// Alice follows bob.
pub(crate) fn pair(graph: &FollowGraph) {
    for name in ["alice", "bob"] {
        graph.add_account(name).expect("the disk works");
    }
    graph.follow("alice", "bob").expect("the disk works");
}

#[test]
fn the_first_failed_sync_latches_writes_until_the_graph_is_opened_again() {
    let storage = FailingStorage::default();
    let graph = open(&storage);
    pair(&graph);
    storage.syncs_fail.store(true, Ordering::Relaxed);
    let failed = graph.follow("bob", "alice").unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Latched);
    assert!(failed.to_string().contains("the disk is gone"), "{failed}");

    storage.syncs_fail.store(false, Ordering::Relaxed);
    assert_eq!(graph.unfollow("alice", "bob").unwrap_err().kind(), ErrorKind::Latched);
    assert_eq!(graph.checkpoint().unwrap_err().kind(), ErrorKind::Latched);
    assert_eq!(graph.counts("bob").expect("reads go on").followers, 1);
    assert!(graph.stats().latched.is_some());

    drop(graph);
    let graph = open(&storage);
    assert_eq!(graph.counts("bob").expect("it was acknowledged").followers, 1);
    graph.unfollow("alice", "bob").expect("writes go on after opening again");
    graph.verify().expect("all is well");
}

#[test]
fn an_image_that_cannot_be_written_changes_nothing() {
    let storage = FailingStorage::default();
    let graph = open(&storage);
    pair(&graph);
    let before = graph.stats().image_sequence;
    storage.images_fail.store(true, Ordering::Relaxed);
    assert_eq!(graph.checkpoint().unwrap_err().kind(), ErrorKind::Io);
    assert!(graph.stats().checkpoint_failure.is_some());
    assert_eq!(graph.stats().image_sequence, before);
    assert!(!storage.file_kinds().contains(&FileKind::Temporary));
    graph.follow("bob", "alice").expect("writes go on");

    storage.images_fail.store(false, Ordering::Relaxed);
    assert!(graph.checkpoint().expect("the disk works again").written);
    assert_eq!(graph.stats().checkpoint_failure, None);
    assert_eq!(graph.counts("alice").expect("exists").mutual, 1);
}

#[test]
fn a_wrong_live_counter_is_found_by_verify_and_refused_by_a_checkpoint() {
    let storage = FailingStorage::default();
    let graph = open(&storage);
    pair(&graph);
    {
        let mut state = graph.shared.state.write();
        let record = state.accounts_mut().record_mut(1);
        let mut counts = record.counts();
        counts.followers += 1;
        set_counts(record, counts);
    }
    let found = graph.verify().unwrap_err();
    assert_eq!(found.kind(), ErrorKind::AuditFailed);
    let before = graph.stats().image_sequence;
    let refused = graph.checkpoint().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AuditFailed);
    assert!(refused.to_string().contains("followers: 2"), "{refused}");
    assert_eq!(graph.stats().image_sequence, before);
    let is_image = |kind: &&FileKind| matches!(kind, FileKind::Image(_));
    assert_eq!(storage.file_kinds().iter().filter(is_image).count(), 1, "the refused one is gone");
}

#[test]
fn a_panic_inside_a_commit_latches() {
    let graph = open(&FailingStorage::default());
    pair(&graph);
    let panicking =
        std::panic::AssertUnwindSafe(|| graph.shared.commit::<()>(None, 0, |_| panic!("a bug")));
    assert!(std::panic::catch_unwind(panicking).is_err());
    assert_eq!(graph.follow("bob", "alice").unwrap_err().kind(), ErrorKind::Latched);
    assert_eq!(graph.counts("bob").expect("reads go on").followers, 1);
}

#[test]
fn what_a_failed_sync_left_in_the_log_is_handed_out_to_nobody() {
    let storage = FailingStorage::default();
    let graph = open(&storage);
    let mut consumer = graph.consumer("sender").expect("the disk works");
    pair(&graph);
    storage.syncs_fail.store(true, Ordering::Relaxed);
    assert!(graph.follow("bob", "alice").is_err());
    let now = Duration::ZERO;
    for sequence in 1..=3 {
        let commit = consumer.next(now).expect("it was acknowledged").expect("it is there");
        assert_eq!(commit.sequence, sequence);
    }
    assert_eq!(consumer.next(now).expect("it may come yet"), None);
    assert_eq!(graph.consumer("new").map(|_| ()).unwrap_err().kind(), ErrorKind::Latched);
    assert_eq!(graph.consumers(), [("sender".to_owned(), 0)]);
}

#[test]
fn a_position_that_cannot_be_written_stays_what_it_was() {
    let storage = FailingStorage::default();
    let graph = open(&storage);
    let mut consumer = graph.consumer("sender").expect("the disk works");
    pair(&graph);
    storage.images_fail.store(true, Ordering::Relaxed);
    assert_eq!(consumer.acknowledge(2).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(consumer.position(), 0);
    assert_eq!(graph.consumer("new").map(|_| ()).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(graph.consumers(), [("sender".to_owned(), 0)]);
    assert!(!storage.file_kinds().contains(&FileKind::Temporary));
    graph.follow("bob", "alice").expect("writers are not concerned");

    storage.images_fail.store(false, Ordering::Relaxed);
    consumer.acknowledge(2).expect("the disk works again");
    let commit = consumer.next(Duration::ZERO).expect("it is there").expect("a commit");
    assert_eq!(commit.sequence, 3, "what was acknowledged is not handed out");
    drop(graph);
    assert_eq!(open(&storage).consumers(), [("sender".to_owned(), 2)]);
}

#[cfg(feature = "wire")]
#[test]
fn a_latched_graph_refuses_writes_of_the_follow_api_without_saying_why_and_reads_go_on() {
    use crate::wire::usersig::{Key, generate};
    use crate::wire::{App, Code, FollowService};
    let storage = FailingStorage::default();
    let graph = FollowGraph::start(Arc::new(storage.clone()), Options::new()).unwrap();
    graph.add_account("a").unwrap();
    graph.add_account("b").unwrap();
    graph.follow("a", "b").unwrap();
    let key = Key::new("secret");
    let ticket = generate(&key, 7, "administrator", 1000, 60).unwrap();
    let service = FollowService::new([App::new(7, vec![key], Arc::new(graph))]).clock(|| 1000);
    let query = format!("sdkappid=7&identifier=administrator&usersig={ticket}");
    let ask = |path: &str, body: &str| service.respond(path, &query, body.as_bytes());
    storage.syncs_fail.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let unfollow = r#"{"From_Account":"a","To_Account":["b"]}"#;
        let refused = ask("/v4/follow/follow_delete", unfollow);
        assert_eq!(refused.code, Code::ServerFailed);
        assert!(!String::from_utf8_lossy(&refused.body).contains("disk"));
        assert!(refused.failure.is_some_and(|failure| failure.contains("the disk is gone")));
        let refused = ask("/v4/im_open_login_svc/account_import", r#"{"UserID":"c"}"#);
        assert_eq!(refused.code, Code::AccountServerFailed);
    }
    let read = ask("/v4/follow/follow_get", r#"{"From_Account":"b","FollowType":1}"#);
    assert_eq!(read.code, Code::Ok);
}
