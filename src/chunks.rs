//! A table that grows without ever moving what is in it.
//!
//! A vector that doubles copies everything once in a while: for the millions of accounts of a large
//! graph that is a pause of many milliseconds, and readers would wait for it.

/// How many items one chunk holds.
pub(crate) const CHUNK_ITEMS: usize = 4096;

/// Items by position, in chunks of [`CHUNK_ITEMS`] that are never moved.
pub(crate) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Chunks<T> {
    pub(crate) const fn new() -> Chunks<T> {
        Chunks { chunks: Vec::new(), len: 0 }
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK_ITEMS)?.get(index % CHUNK_ITEMS)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.chunks.get_mut(index / CHUNK_ITEMS)?.get_mut(index % CHUNK_ITEMS)
    }

    pub(crate) fn push(&mut self, item: T) {
        if self.len == self.chunks.len() * CHUNK_ITEMS {
            self.chunks.push(Vec::with_capacity(CHUNK_ITEMS));
        }
        self.chunks[self.len / CHUNK_ITEMS].push(item);
        self.len += 1;
    }

    /// The chunks in order, each but the last full.
    pub(crate) fn chunks_mut(&mut self) -> impl Iterator<Item = &mut [T]> {
        self.chunks.iter_mut().map(Vec::as_mut_slice)
    }

    /// Memory of the chunks themselves, not of what the items own.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.chunks.len() * CHUNK_ITEMS * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stay_where_they_are_across_chunks() {
        let mut chunks = Chunks::new();
        assert_eq!((chunks.get(0), chunks.heap_bytes()), (None, 0));
        for item in 0..3 * CHUNK_ITEMS {
            chunks.push(item);
        }
        let first: *const usize = chunks.get(0).expect("pushed above");
        chunks.push(3 * CHUNK_ITEMS);
        assert!(std::ptr::eq(first, chunks.get(0).expect("pushed above")));
        *chunks.get_mut(CHUNK_ITEMS).expect("pushed above") += 0;
        assert!(chunks.chunks_mut().flatten().map(|item| *item).eq(0..=3 * CHUNK_ITEMS));
        assert_eq!(chunks.get(3 * CHUNK_ITEMS + 1), None);
        assert_eq!(chunks.heap_bytes(), 4 * CHUNK_ITEMS * size_of::<usize>());
    }
}
