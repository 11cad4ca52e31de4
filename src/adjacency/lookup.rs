//! A few ids, to be asked for many times over.

use super::Neighbors;

/// Bits of the filter for each id: about one of 64 strangers gets past it.
const FILTER_BITS_PER_ID: usize = 64;
const FILTER_BITS_MIN: usize = 1 << 12;
/// 128 KiB, so that the filter of a long list still fits a second-level cache.
const FILTER_BITS_MAX: usize = 1 << 20;

/// The ids of one list behind a filter of single bits, which answers nearly every question about
/// an id that is not there with one read from a first-level cache.
pub(crate) struct IdLookup {
    ids: Vec<u32>,
    filter: Vec<u64>,
    /// How far a hash is shifted so that a place in the filter is left.
    shift: u32,
}

impl IdLookup {
    /// Cost: one pass over the list.
    pub(crate) fn new(list: &Neighbors<'_>) -> IdLookup {
        let mut ids = Vec::with_capacity(list.len() as usize);
        list.for_each(|id| ids.push(id));
        let wanted = ids.len() * FILTER_BITS_PER_ID;
        let filter_bits = wanted.clamp(FILTER_BITS_MIN, FILTER_BITS_MAX).next_power_of_two();
        let shift = u32::BITS - filter_bits.trailing_zeros();
        let mut lookup = IdLookup { ids: Vec::new(), filter: vec![0; filter_bits / 64], shift };
        for &id in &ids {
            let place = lookup.place(id);
            lookup.filter[place / 64] |= 1 << (place % 64);
        }
        lookup.ids = ids;
        lookup
    }

    /// Multiplying spreads ids that lie side by side (D. E. Knuth, *The Art of Computer
    /// Programming*, 6.4).
    #[inline]
    fn place(&self, id: u32) -> usize {
        (id.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }

    /// Whether the list has the id.
    #[inline]
    pub(crate) fn contains(&self, id: u32) -> bool {
        let place = self.place(id);
        self.filter[place / 64] >> (place % 64) & 1 == 1 && self.ids.binary_search(&id).is_ok()
    }
}
