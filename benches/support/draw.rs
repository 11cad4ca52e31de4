//! What is asked about: names drawn from a graph, dealt out in batches.

use super::edges::Edges;
use super::measure::real;
use fastrand::Rng;
use std::cmp::Reverse;

/// How unevenly a skewed draw prefers the accounts with many followers: the exponent of Zipf.
const SKEW: f64 = 0.8;

/// Names one behind the other in memory, as they would come in a request.
#[derive(Default)]
pub(crate) struct Drawn {
    text: String,
    ends: Vec<usize>,
}

impl Drawn {
    pub(crate) fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    fn of<'a>(count: usize, mut draw: impl FnMut() -> &'a str) -> Drawn {
        let mut drawn = Drawn::default();
        (0..count).for_each(|_| drawn.push(draw()));
        drawn
    }

    /// All accounts with the same chance.
    pub(crate) fn evenly(edges: &Edges, count: usize) -> Drawn {
        let mut random = Rng::with_seed(1);
        Drawn::of(count, || &edges.names[random.usize(..edges.names.len())])
    }

    /// The more followers an account has, the more often it is asked about, as in a feed.
    pub(crate) fn skewed(edges: &Edges, count: usize) -> Drawn {
        let mut follower_counts = vec![0u32; edges.names.len()];
        edges.follows.iter().for_each(|&(_, to)| follower_counts[to as usize] += 1);
        let mut by_rank: Vec<usize> = (0..edges.names.len()).collect();
        by_rank.sort_by_key(|&position| Reverse(follower_counts[position]));
        let mut random = Rng::with_seed(2);
        Drawn::of(count, || {
            // The ranks of Zipf's law, by inverting its sum as if ranks were continuous.
            let share = random.f64().powf(1.0 / (1.0 - SKEW));
            &edges.names[by_rank[place_at(share, by_rank.len())]]
        })
    }

    /// Names that no account has, of about the usual length.
    pub(crate) fn unknown(edges: &Edges, count: usize) -> Drawn {
        let mut drawn = Drawn::default();
        let mut random = Rng::with_seed(3);
        for _ in 0..count {
            let name = &edges.names[random.usize(..edges.names.len())];
            drawn.push(&format!("{name}?"));
        }
        drawn
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end]).collect()
    }
}

/// The place that a share of a list, from 0 up to 1, comes to.
#[expect(clippy::cast_sign_loss, reason = "a share is not negative")]
fn place_at(share: f64, len: usize) -> usize {
    ((real(len) * share) as usize).min(len - 1)
}

/// Deals items out in batches, over and over.
pub(crate) struct Dealer<'a, T> {
    items: &'a [T],
    next: usize,
}

impl<'a, T> Dealer<'a, T> {
    pub(crate) fn new(items: &'a [T]) -> Dealer<'a, T> {
        Dealer { items, next: 0 }
    }

    /// Dealers that begin at different places: one that follows another does not find what the
    /// other asked about still warm.
    pub(crate) fn apart<const COUNT: usize>(items: &'a [T]) -> [Dealer<'a, T>; COUNT] {
        std::array::from_fn(|place| Dealer { items, next: items.len() / COUNT * place })
    }

    pub(crate) fn batch(&mut self, size: usize) -> &'a [T] {
        if self.next + size > self.items.len() {
            self.next = 0;
        }
        let batch = &self.items[self.next..self.next + size];
        self.next += size;
        batch
    }
}
