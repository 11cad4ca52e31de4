//! The only file system, the only memory mapping, and the only `unsafe` of the crate.
//!
//! Everything above sees a [`Storage`]: a flat directory of named files, of three kinds.
//!
//! * **Images and spill files** are written once through an [`OutputFile`] and mapped afterwards.
//! * **Log segments** are allocated in full when they are made, so that a write into one cannot
//!   meet a full disk, and are written through a [`LogFile`].
//! * **Mappings** are read-only and shared ([`Bytes`]) or private and copy-on-write
//!   ([`PrivateBytes`]): what is changed there never reaches the file.
//!
//! What is not covered: another program that shortens a file while it is mapped makes the process
//! receive `SIGBUS`, as with every memory-mapped store.

mod directory;
mod filling;
mod lock;
mod locked;
mod memory;
mod read_only;
mod scratch;

pub(crate) use filling::{fill, remove_graph};
pub(crate) use locked::DirectoryStorage;
pub(crate) use memory::MemoryStorage;
pub(crate) use read_only::{HeldFile, ReadOnlyDirectory};
pub(crate) use scratch::{Scratch, ScratchDirectory};

use crate::error::{Error, ErrorKind, Result};
use memmap2::{Mmap, MmapMut, MmapOptions};
use rustix::io::{Errno, retry_on_intr};
use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};

/// A flat directory of named files.
pub(crate) trait Storage: Send + Sync {
    /// Names and lengths in bytes of all files, in no order.
    fn list(&self) -> Result<Vec<(String, u64)>>;
    /// The first `len_bytes` bytes of a file (or all there are), read-only.
    fn map(&self, name: &str, len_bytes: u64) -> Result<Bytes> {
        self.map_range(name, 0, len_bytes)
    }
    /// `len_bytes` bytes of a file from an offset on (or all there are), read-only.
    fn map_range(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<Bytes>;
    /// From where on a file was never written, so that it reads as zeros. May say too much.
    fn written_bytes(&self, _name: &str) -> Result<u64> {
        Ok(u64::MAX)
    }
    /// A range of a file as private memory: changes stay in this process.
    fn map_private(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<PrivateBytes>;
    /// Makes an empty file for writing, replacing one of that name.
    fn create(&self, name: &str) -> Result<Box<dyn OutputFile>>;
    /// Makes a file of zeros with all its disk space allocated.
    fn create_log(&self, name: &str, len_bytes: u64) -> Result<Box<dyn LogFile>>;
    /// Opens a log file for writing, allocated again up to `len_bytes` where it is shorter.
    fn open_log(&self, name: &str, len_bytes: u64) -> Result<Box<dyn LogFile>>;
    /// Gives a file another name, replacing one of that name.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_directory(&self) -> Result<()>;
    /// What to call a file in a message.
    fn path(&self, name: &str) -> PathBuf;
    /// Says that the path by which this was opened leads elsewhere now, once that is so.
    fn moved(&self) -> Option<String> {
        None
    }
}

/// A file that is written once and read afterwards.
pub(crate) trait OutputFile: Send {
    /// Writes all of `bytes` at an offset.
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<()>;
    /// Waits until everything written is on disk.
    fn sync(&mut self) -> Result<()>;
}

/// A log segment open for writing.
pub(crate) trait LogFile: Send {
    /// Copies `bytes` to an offset inside the allocated length. Does not wait for the disk.
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]);
    /// Writes the bytes between two offsets again as they are, as far as there are any. A sync that
    /// failed may have left them readable without being on disk; the next sync puts them there.
    fn rewrite(&mut self, start_bytes: u64, end_bytes: u64);
    /// The allocated length.
    fn len_bytes(&self) -> u64;
    /// Gives back the disk space behind `len_bytes`.
    fn truncate(&mut self, len_bytes: u64) -> Result<()>;
    /// A handle that waits for the disk while others go on writing.
    fn syncer(&self) -> Arc<dyn LogSync>;
}

/// Makes a log segment durable.
pub(crate) trait LogSync: Send + Sync {
    /// Waits until everything written before this call is on disk.
    fn sync(&self) -> Result<()>;
}

/// Read-only bytes, cheap to clone, alive as long as any clone.
#[derive(Clone)]
pub(crate) enum Bytes {
    /// A mapped file.
    Mapped(Arc<Mmap>),
    /// Bytes on the heap.
    Owned(Arc<Vec<u8>>),
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

/// Bytes that can be changed without changing the file they came from.
pub(crate) enum PrivateBytes {
    /// A copy-on-write mapping.
    Mapped(MmapMut),
    /// Bytes on the heap.
    Owned(Vec<u8>),
}

impl Deref for PrivateBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            PrivateBytes::Mapped(map) => map,
            PrivateBytes::Owned(bytes) => bytes,
        }
    }
}

impl DerefMut for PrivateBytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            PrivateBytes::Mapped(map) => map,
            PrivateBytes::Owned(bytes) => bytes,
        }
    }
}

/// Asks the processor to fetch the cache line at `offset_bytes`, if there is one.
#[inline]
pub(crate) fn prefetch(bytes: &[u8], offset_bytes: usize) {
    if let Some(byte) = bytes.get(offset_bytes) {
        prefetch_value(byte);
    }
}

/// Asks the processor to fetch the cache line a value begins in.
#[inline]
pub(crate) fn prefetch_value<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[expect(unsafe_code, reason = "the intrinsic takes a raw pointer")]
        // SAFETY: a prefetch reads nothing the program can see, and the pointer comes from a
        // reference.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast::<i8>());
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = value;
}

/// Makes private pages of all of these bytes at once. One by one, at the first write to each, it
/// costs an interrupt each, and another on every processor that runs a thread of this process.
/// Where the kernel cannot (before Linux 5.14), that is how it will be.
pub(crate) fn make_private(bytes: &mut [u8]) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let page_bytes = rustix::param::page_size();
        let skipped_bytes = bytes.as_ptr().align_offset(page_bytes).min(bytes.len());
        let pages = &mut bytes[skipped_bytes..];
        let whole_bytes = pages.len() / page_bytes * page_bytes;
        let pages = pages[..whole_bytes].as_mut_ptr().cast();
        #[expect(unsafe_code, reason = "the call takes a raw pointer")]
        // SAFETY: the range is whole pages within bytes that are borrowed to be written, and
        // populating them leaves every byte as it is.
        let _ = unsafe {
            rustix::mm::madvise(pages, whole_bytes, rustix::mm::Advice::LinuxPopulateWrite)
        };
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = bytes;
}

/// Less than this is not worth a look at the free memory of the whole process.
const GIVEN_BACK_MIN_BYTES: usize = 1 << 20;

/// Gives memory back to the operating system when about so much was freed. The GNU allocator keeps
/// it otherwise: what thousands of small changes took would stay with the process after the
/// checkpoint that writes them out. Cost: a look at the free memory of the process, some
/// milliseconds.
pub(crate) fn give_back_freed_memory(freed_bytes: usize) {
    if freed_bytes < GIVEN_BACK_MIN_BYTES {
        return;
    }
    #[cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
    {
        #[expect(unsafe_code, reason = "the C library has no safe form of this call")]
        // SAFETY: the call takes no pointer, may be made at any time from any thread, and touches
        // nothing that is in use.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// How often the process was forked since [`fork_count`] was first called, counted in the child.
static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Returns a number that differs between a process and those that are forked from it after the
/// first call. Cost: a load from memory, where asking for the process id would be a system call in
/// every commit. A process made by `clone` without the C library is not noticed.
pub(crate) fn fork_count() -> u32 {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        #[cfg(not(miri))]
        #[expect(unsafe_code, reason = "the C library has no safe form of this call")]
        // SAFETY: the function that is registered only adds to an atomic number, which a forked
        // process may do at any time, and it is never unloaded.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
    });
    FORKS.load(Ordering::Relaxed)
}

/// Random bytes from the operating system.
pub(crate) fn random_bytes() -> Result<[u8; 16]> {
    let mut bytes = [0u8; 16];
    let flags = rustix::rand::GetRandomFlags::empty();
    let filled = retry_on_intr(|| rustix::rand::getrandom(&mut bytes[..], flags))
        .map_err(|errno| Error::new(ErrorKind::Io, format!("cannot get random bytes: {errno}")))?;
    assert!(filled == bytes.len(), "the kernel fills requests of up to 256 bytes whole");
    Ok(bytes)
}

/// Maps a log segment to be written to.
fn map_log(file: File, path: PathBuf) -> Result<Box<dyn LogFile>> {
    #[expect(unsafe_code, reason = "mapping a file is how a commit reaches the log")]
    // SAFETY: the directory lock keeps other writers of this crate out, and this mapping is the
    // only one that is written through; a process that was forked from this one shares it and
    // refuses to write. The file is shortened by `truncate` alone, which shortens what `write_at`
    // may touch with it. Readers of the same file map only the bytes below the last whole frame,
    // which are never written again.
    let map =
        unsafe { MmapMut::map_mut(&file) }.map_err(|source| Error::io("map", &path, &source))?;
    let len_bytes = map.len();
    Ok(Box::new(MappedLogFile { map, len_bytes, syncer: Arc::new(FileSync { file, path }) }))
}

/// Gives a file all the disk space of its length, so that mapped writes cannot run out of it.
fn allocate(file: &File, len_bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    let part = |start, len_bytes| fallocate(file, FallocateFlags::empty(), start, len_bytes);
    match allocate_parts(len_bytes, part) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP) => fill_with_zeros(file, len_bytes),
        Err(errno) => Err(errno.into()),
    }
}

/// How much is allocated at a time where a signal interrupted the allocation of all of it.
const ALLOCATION_STEP_BYTES: u64 = 1 << 20;

/// Allocates `len_bytes`: in one call, or after a signal in small ones, each of which has a chance
/// to end before the next signal.
fn allocate_parts(
    len_bytes: u64,
    mut part: impl FnMut(u64, u64) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    match part(0, len_bytes) {
        Err(Errno::INTR) => {}
        outcome => return outcome,
    }
    let mut done_bytes = 0;
    while done_bytes < len_bytes {
        let step_bytes = ALLOCATION_STEP_BYTES.min(len_bytes - done_bytes);
        retry_on_intr(|| part(done_bytes, step_bytes))?;
        done_bytes += step_bytes;
    }
    Ok(())
}

/// The slow way to allocate, for file systems that cannot do it at once. Keeps what is there.
fn fill_with_zeros(file: &File, len_bytes: u64) -> io::Result<()> {
    let zeros = [0u8; 4096];
    let mut offset_bytes = file.metadata()?.len();
    while offset_bytes < len_bytes {
        let chunk_bytes = (len_bytes - offset_bytes).min(zeros.len() as u64);
        file.write_all_at(&zeros[..chunk_bytes as usize], offset_bytes)?;
        offset_bytes += chunk_bytes;
    }
    Ok(())
}

/// Maps `len_bytes` bytes of a file (or all there are) that nobody writes, read-only.
fn map_file(file: &File, path: &Path, offset_bytes: u64, len_bytes: u64) -> Result<Bytes> {
    let metadata = file.metadata().map_err(|source| Error::io("examine", path, &source))?;
    let len_bytes = len_bytes.min(metadata.len().saturating_sub(offset_bytes));
    if len_bytes == 0 {
        return Ok(Bytes::Owned(Arc::new(Vec::new())));
    }
    let mut options = MmapOptions::new();
    options.offset(offset_bytes).len(len_bytes as usize);
    #[expect(unsafe_code, reason = "mapping a file is how an image is read")]
    // SAFETY: images and spill files are never written after they got their name or were written
    // out, and log segments are mapped only below the last whole frame, where nothing changes and
    // nothing is cut off, or after the last one was written to them. That holds for the process
    // that has the directory lock and for those beside it that only read, and spill files elsewhere
    // have no name; other programs are warned off in the module documentation. Every reader of
    // these bytes treats them as untrusted.
    let map = unsafe { options.map(file) }.map_err(|source| Error::io("map", path, &source))?;
    Ok(Bytes::Mapped(Arc::new(map)))
}

/// Maps a range of an open file as private memory.
fn map_file_privately(
    file: &File,
    file_bytes: u64,
    path: &Path,
    offset_bytes: u64,
    len_bytes: u64,
) -> Result<PrivateBytes> {
    if offset_bytes.checked_add(len_bytes).is_none_or(|end| end > file_bytes) {
        return Err(Error::corrupt("the file is shorter than its header says")
            .at_path(path)
            .expected(offset_bytes.saturating_add(len_bytes), file_bytes));
    }
    let mut options = MmapOptions::new();
    options.offset(offset_bytes).len(len_bytes as usize).no_reserve_swap();
    #[expect(unsafe_code, reason = "counters change in place in private pages")]
    // SAFETY: the mapping is private and copy-on-write, so it is the only writer of what it
    // sees; the image below it is never written after it got its name (see `map_file`).
    let map =
        unsafe { options.map_copy(file) }.map_err(|source| Error::io("map", path, &source))?;
    Ok(PrivateBytes::Mapped(map))
}

/// From where on an open file was never written. May say too much.
fn written_bytes(file: &File) -> u64 {
    let mut end_bytes = 0;
    // A file system that does not know its holes says that all of a file is data.
    while let Ok(data) = rustix::fs::seek(file, rustix::fs::SeekFrom::Data(end_bytes)) {
        match rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(data)) {
            Ok(hole) if hole > end_bytes => end_bytes = hole,
            Ok(_) | Err(_) => return u64::MAX,
        }
    }
    end_bytes
}

struct DirectoryFile {
    file: File,
    path: PathBuf,
}

impl OutputFile for DirectoryFile {
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all_at(bytes, offset_bytes)
            .map_err(|source| Error::io("write", &self.path, &source).at_offset(offset_bytes))
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync_all().map_err(|source| Error::io("sync", &self.path, &source))
    }
}

/// No processor has smaller pages of memory.
const PAGE_BYTES_MIN: usize = 4096;

struct MappedLogFile {
    map: MmapMut,
    /// How much of the map the file still backs.
    len_bytes: usize,
    syncer: Arc<FileSync>,
}

impl LogFile for MappedLogFile {
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) {
        let start = offset_bytes as usize;
        self.map[..self.len_bytes][start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// A page of memory is dirty, and goes to the disk whole, once one byte of it was stored.
    fn rewrite(&mut self, start_bytes: u64, end_bytes: u64) {
        let end = usize::try_from(end_bytes).unwrap_or(usize::MAX).min(self.len_bytes);
        let start = usize::try_from(start_bytes).unwrap_or(usize::MAX).min(end);
        for page in self.map[..end].chunks_mut(PAGE_BYTES_MIN).skip(start / PAGE_BYTES_MIN) {
            // Not to be left out for changing nothing.
            page[0] = std::hint::black_box(page[0]);
        }
    }

    fn len_bytes(&self) -> u64 {
        self.len_bytes as u64
    }

    fn truncate(&mut self, len_bytes: u64) -> Result<()> {
        self.len_bytes = self.len_bytes.min(len_bytes as usize);
        let FileSync { file, path } = self.syncer.as_ref();
        file.set_len(self.len_bytes as u64)
            .map_err(|source| Error::io("give back the room of", path, &source))
    }

    fn syncer(&self) -> Arc<dyn LogSync> {
        self.syncer.clone()
    }
}

struct FileSync {
    file: File,
    path: PathBuf,
}

impl LogSync for FileSync {
    /// Linux writes the dirty pages of shared mappings back for `fdatasync` as it does for
    /// `msync`, and a file handle can be shared with the thread that goes on writing.
    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|source| Error::io("sync", &self.path, &source))
    }
}

/// A file that forgets what is written: for a recount that needs no copy.
pub(crate) struct Discard;

impl OutputFile for Discard {
    fn write_at(&mut self, _offset_bytes: u64, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_that_signals_interrupt_goes_on_until_all_is_there() {
        const LEN_BYTES: u64 = 5 * ALLOCATION_STEP_BYTES + 4096;
        let (mut call_count, mut end_bytes) = (0, 0);
        let outcome = allocate_parts(LEN_BYTES, |start, len_bytes| {
            call_count += 1;
            // No call for much ends before a signal, and of the others every second one.
            if len_bytes > ALLOCATION_STEP_BYTES || call_count % 2 == 0 {
                return Err(Errno::INTR);
            }
            assert_eq!(start, end_bytes);
            end_bytes += len_bytes;
            Ok(())
        });
        assert_eq!((outcome, end_bytes), (Ok(()), LEN_BYTES));
        assert_eq!(allocate_parts(1, |_, _| Err(Errno::NOSPC)), Err(Errno::NOSPC));
    }
}
