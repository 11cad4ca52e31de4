//! What a damaged image still says, put together again.
//!
//! A name counts where its section checks out, or where the index has it under the same id: a slot
//! holds 32 bits of the keyed hash. A follow stands in two lists, and the header has a fingerprint
//! over each direction: a direction that has it is whole, whatever became of the other. Where
//! neither is, a follow counts that both ends tell, or one end whose list nothing speaks against
//! while the list of the other is lost; and where taking the word of all others against one account
//! gives the fingerprint, that account's lists are what is wrong.

use crate::accounts::{INLINE_NAME_BYTES, RecordFields};
use crate::adjacency::{EdgeKey, EdgeList};
use crate::error::Result;
use crate::format::Identity;
use crate::image::{DamagedImage, ImageHeader, ImagePlan, ImageWriter};
use crate::storage::OutputFile;
use crate::types::{AccountId, AffectedAccount, Counts};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet};

const FOLLOWING: usize = 0;
const FOLLOWERS: usize = 1;
const LIST_NAMES: [&str; 2] = ["the following list", "the follower list"];

/// What is known of an id.
enum Known {
    Account {
        name: String,
        foreign: bool,
        being_removed: bool,
    },
    Removed,
    /// An account whose name cannot be told.
    Lost,
}

/// A follow as one of its two lists has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    from: u32,
    to: u32,
    at: u32,
    tie: u32,
}

/// An image put together from what checks out of another.
pub(super) struct Mended {
    header: ImageHeader,
    known: Vec<Known>,
    lists: Vec<[EdgeList; 2]>,
    /// The accounts of which something did not check out.
    pub(super) affected: Vec<AffectedAccount>,
    /// Follows of which only one end is here, in a section that does not check out.
    pub(super) unconfirmed_follow_count: u64,
    /// Whether it is proven to be what the damaged image was.
    pub(super) complete: bool,
}

impl Mended {
    /// Cost: memory for every follow, twice.
    pub(super) fn of(image: &DamagedImage) -> Mended {
        let known = known_ids(image);
        let mut tables = Tables::read(image, &known);
        let doubted = !image.has_sets() || !image.has_records();
        let kept = tables.decide(image);
        let foreign = |id: u32| matches!(known[id as usize], Known::Account { foreign: true, .. });
        let is_one_sided = |claim: &&Claim| foreign(claim.from) || foreign(claim.to);
        let one_sided_count = kept.iter().filter(is_one_sided).count() as u64;
        let unconfirmed_follow_count = if doubted { one_sided_count } else { 0 };
        let lists = tables.lists_of(&kept, &known);
        let mut mended = Mended {
            header: image.header,
            affected: Vec::new(),
            unconfirmed_follow_count,
            complete: false,
            lists,
            known,
        };
        mended.name_affected(&tables);
        mended.complete = unconfirmed_follow_count == 0
            && tables.retimed.is_empty()
            && mended.counts_as(&image.header, &kept);
        mended
    }

    /// Whether the accounts and the follows are those the header has sums and fingerprints of.
    fn counts_as(&self, header: &ImageHeader, kept: &[Claim]) -> bool {
        let is_foreign = |known: &&Known| matches!(known, Known::Account { foreign: true, .. });
        let is_account = |known: &&Known| matches!(known, Known::Account { .. });
        let is_leaving =
            |known: &&Known| matches!(known, Known::Account { being_removed: true, .. });
        let leaving_count = self.known.iter().filter(is_leaving).count();
        let account_count = self.known.iter().filter(is_account).count();
        let foreign_count = self.known.iter().filter(is_foreign).count();
        let entries =
            |side: usize| self.lists.iter().map(move |lists| u64::from(lists[side].len()));
        let totals = &header.totals;
        account_count == totals.account_count as usize
            && foreign_count == totals.foreign_count as usize
            && leaving_count == totals.being_removed_count as usize
            && entries(FOLLOWING).sum::<u64>() == totals.following_entries
            && entries(FOLLOWERS).sum::<u64>() == totals.follower_entries
            && fingerprint(header.identity, kept, &self.known) == totals.following_fingerprint
    }

    fn name_affected(&mut self, tables: &Tables) {
        let mut what: BTreeMap<u32, BTreeSet<&'static str>> = BTreeMap::new();
        let mut affect = |id: u32, lost| {
            what.entry(id).or_default().insert(lost);
        };
        for (id, known) in (0..).zip(&self.known) {
            if matches!(known, Known::Lost) {
                affect(id, "the name");
            }
        }
        for &(id, side) in tables.unreadable.iter().chain(&tables.distrusted) {
            affect(id, LIST_NAMES[side]);
        }
        for &id in &tables.retimed {
            affect(id, "times of follows");
        }
        let affected = what.into_iter().map(|(id, lost)| AffectedAccount {
            id: AccountId(id),
            name: self.name(id).map(str::to_owned),
            what: lost.into_iter().collect::<Vec<_>>().join(", "),
        });
        self.affected = affected.collect();
    }

    fn name(&self, id: u32) -> Option<&str> {
        match &self.known[id as usize] {
            Known::Account { name, .. } => Some(name),
            Known::Removed | Known::Lost => None,
        }
    }

    /// Writes it as an image. An account whose name is lost becomes one that was removed, so that
    /// the ids stay what they are in the log.
    pub(super) fn write(&self, file: Box<dyn OutputFile>) -> Result<ImageHeader> {
        let accounts = |id: &u32| match &self.known[*id as usize] {
            Known::Account { name, foreign, .. } => Some((*id, name, *foreign)),
            Known::Removed | Known::Lost => None,
        };
        let all = || (0..self.header.id_count).filter_map(|id| accounts(&id));
        let foreign: RoaringBitmap =
            all().filter(|(_, _, foreign)| *foreign).map(|(id, _, _)| id).collect();
        let overflow = all().map(|(_, name, _)| name.len()).filter(|&len| len > INLINE_NAME_BYTES);
        let plan = ImagePlan {
            identity: self.header.identity,
            position: self.header.position,
            id_count: self.header.id_count,
            account_count: all().count() as u32,
            overflow_name_bytes: overflow.map(|len| len as u64).sum(),
            foreign: &foreign,
            shards: None,
        };
        let mut writer = ImageWriter::new(file, plan)?;
        for (known, [following, followers]) in self.known.iter().zip(&self.lists) {
            let Known::Account { name, being_removed, .. } = known else {
                writer.push_removed()?;
                continue;
            };
            let counts = Counts {
                followers: followers.len(),
                following: following.len(),
                mutual: common_count(&following.ids, &followers.ids),
            };
            writer.push(name, *being_removed, counts, following, followers)?;
        }
        writer.finish(None)
    }
}

/// How many ids two ascending lists share.
fn common_count(a: &[u32], b: &[u32]) -> u32 {
    let is_shared = |id: &&u32| b.binary_search(id).is_ok();
    a.iter().filter(is_shared).count() as u32
}

fn known_ids(image: &DamagedImage) -> Vec<Known> {
    let mut slots: Vec<(u32, u32)> = image.slots().collect();
    slots.sort_unstable();
    let has_slot = |id: u32| {
        let first = slots.partition_point(|slot| slot.0 < id);
        slots.get(first).is_some_and(|slot| slot.0 == id)
    };
    let is_leaving = |id: &u32| image.record(*id).is_some_and(RecordFields::is_being_removed);
    let leaving_count = (0..image.header.id_count).filter(is_leaving).count();
    // An account that stays by mistake can be removed again; one that goes is lost.
    let removals_are_right =
        image.has_records() || leaving_count == image.header.totals.being_removed_count as usize;
    let mut taken = BTreeSet::new();
    let mut know = |id: u32| {
        let Some(record) = image.record(id) else { return Known::Lost };
        if image.has_records() && record.is_removed() {
            return Known::Removed;
        }
        let name = image.name(record);
        let hash = |name: &str| image.header.identity.name_hash(name) as u32;
        let is_vouched = |name: &str| slots.binary_search(&(id, hash(name))).is_ok();
        let is_read = |name: &str| {
            image.has_records() && (name.len() <= INLINE_NAME_BYTES || image.has_names())
        };
        let name = name.filter(|name| is_read(name) || is_vouched(name));
        match name {
            Some(name) if taken.insert(name.to_owned()) => {
                let no_lists = image.has_records() || record.sets_offset() == 0;
                Known::Account {
                    name: name.to_owned(),
                    foreign: record.is_foreign() && no_lists,
                    being_removed: removals_are_right && record.is_being_removed(),
                }
            }
            None if image.has_index() && !has_slot(id) => Known::Removed,
            _ => Known::Lost,
        }
    };
    (0..image.header.id_count).map(&mut know).collect()
}

/// The sum of the hashes of the follows between accounts that are not foreign.
fn fingerprint(identity: Identity, claims: &[Claim], known: &[Known]) -> u64 {
    let foreign = |id: u32| matches!(known[id as usize], Known::Account { foreign: true, .. });
    let local = claims.iter().filter(|claim| !foreign(claim.from) && !foreign(claim.to));
    let hashes = local.map(|claim| identity.follow_hash(claim.from, claim.to));
    hashes.fold(0, u64::wrapping_add)
}

/// A list: whose, and which.
type ListOf = (u32, usize);

/// The follows as each direction tells them.
struct Tables {
    /// By the following lists and by the follower lists, each in ascending order.
    claims: [Vec<Claim>; 2],
    /// Whether a direction has the fingerprint it was written with.
    proven: [bool; 2],
    foreign: RoaringBitmap,
    /// Lists that cannot be read.
    unreadable: BTreeSet<ListOf>,
    /// Lists that others contradict.
    distrusted: BTreeSet<ListOf>,
    /// Accounts of follows whose two ends tell two times.
    retimed: BTreeSet<u32>,
}

impl Tables {
    fn read(image: &DamagedImage, known: &[Known]) -> Tables {
        let is_foreign =
            |id: &u32| matches!(known[*id as usize], Known::Account { foreign: true, .. });
        let mut tables = Tables {
            claims: [Vec::new(), Vec::new()],
            proven: [false; 2],
            foreign: (0..image.header.id_count).filter(is_foreign).collect(),
            unreadable: BTreeSet::new(),
            distrusted: BTreeSet::new(),
            retimed: BTreeSet::new(),
        };
        for (id, known_id) in (0..image.header.id_count).zip(known) {
            let is_local = matches!(known_id, Known::Account { foreign: false, .. } | Known::Lost);
            if is_local {
                tables.read_account(image, id);
            }
        }
        tables.claims[FOLLOWERS].sort_unstable();
        for side in [FOLLOWING, FOLLOWERS] {
            let found = fingerprint(image.header.identity, &tables.claims[side], known);
            let complete = !tables.unreadable.iter().any(|list| list.1 == side);
            tables.proven[side] = complete && found == image.header.totals.following_fingerprint;
        }
        tables
    }

    fn read_account(&mut self, image: &DamagedImage, id: u32) {
        let record = image.record(id);
        let lists = record.map_or([None, None], |record| image.lists(record));
        let counts = record.map(RecordFields::counts).unwrap_or_default();
        let expected = [counts.following, counts.followers];
        for (side, list) in lists.into_iter().enumerate() {
            // A whole record says how long its lists are; of a damaged one, the number may be what
            // is wrong, unless it says that there are lists and not where.
            let fits = |list: &EdgeList| {
                let is_nowhere = list.is_empty() && expected[side] > 0;
                if image.has_records() { list.len() == expected[side] } else { !is_nowhere }
            };
            let Some(list) = list.filter(fits) else {
                self.unreadable.insert((id, side));
                continue;
            };
            let claims = list.keys().map(|EdgeKey { at, tie, id: other }| match side {
                FOLLOWING => Claim { from: id, to: other, at, tie },
                _ => Claim { from: other, to: id, at, tie },
            });
            self.claims[side].extend(claims);
        }
    }

    /// The follows that count, in ascending order.
    fn decide(&mut self, image: &DamagedImage) -> Vec<Claim> {
        let pairs = paired(&self.claims);
        if self.proven == [false; 2] && !(image.has_sets() && image.has_records()) {
            self.distrust(&pairs);
        }
        let mut verdicts: Vec<bool> = pairs.iter().map(|pair| self.believes(pair)).collect();
        if self.proven == [false; 2] {
            self.blame_one_account(image, &pairs, &mut verdicts);
        }
        self.note_contradictions(&pairs);
        let kept = pairs.iter().zip(verdicts).filter(|(_, counts)| *counts);
        kept.map(|(pair, _)| told(pair)).collect()
    }

    /// Whether a follow counts, by what is known of the lists that tell of it or should.
    fn believes(&self, pair: &[Option<Claim>; 2]) -> bool {
        let is_trusted =
            |list: &ListOf| !self.unreadable.contains(list) && !self.distrusted.contains(list);
        let claim = told(pair);
        match self.proven {
            _ if pair.iter().all(Option::is_some) => true,
            _ if self.is_one_sided(claim) => {
                pair[usize::from(self.foreign.contains(claim.from))].is_some()
            }
            [true, _] => pair[FOLLOWING].is_some(),
            [_, true] => pair[FOLLOWERS].is_some(),
            [false, false] => {
                let (lists, teller) = (lists_of(claim), usize::from(pair[FOLLOWING].is_none()));
                is_trusted(&lists[teller]) && !is_trusted(&lists[1 - teller])
            }
        }
    }

    /// Where lists contradict each other as often, none is believed. But if there is an account
    /// without whose lists, and with what all others tell of it, the follows have the fingerprint
    /// they were written with, then its lists are what is wrong.
    fn blame_one_account(
        &mut self,
        image: &DamagedImage,
        pairs: &[[Option<Claim>; 2]],
        verdicts: &mut [bool],
    ) {
        let identity = image.header.identity;
        let hash = |claim: Claim| identity.follow_hash(claim.from, claim.to);
        let mut sum = 0_u64;
        let mut disputes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (place, pair) in pairs.iter().enumerate() {
            let claim = told(pair);
            if self.is_one_sided(claim) {
                continue;
            }
            if verdicts[place] {
                sum = sum.wrapping_add(hash(claim));
            }
            if pair.iter().any(Option::is_none) {
                for id in [claim.from, claim.to] {
                    disputes.entry(id).or_default().push(place);
                }
            }
        }
        // What others tell of an account, and not what it tells itself.
        let told_by_others = |id: u32, place: usize| {
            let teller = usize::from(pairs[place][FOLLOWING].is_none());
            lists_of(told(&pairs[place]))[teller].0 != id
        };
        let without = |id: u32, places: &[usize]| {
            places.iter().fold(sum, |sum, &place| {
                match (verdicts[place], told_by_others(id, place)) {
                    (false, true) => sum.wrapping_add(hash(told(&pairs[place]))),
                    (true, false) => sum.wrapping_sub(hash(told(&pairs[place]))),
                    _ => sum,
                }
            })
        };
        let expected = image.header.totals.following_fingerprint;
        let mut suspects = self.distrusted.iter().map(|(id, _)| *id).filter_map(|id| {
            let places = disputes.get(&id)?;
            (without(id, places) == expected).then_some((id, places))
        });
        let Some((id, places)) = suspects.next() else { return };
        for &place in places {
            verdicts[place] = told_by_others(id, place);
        }
        self.distrusted = [(id, FOLLOWING), (id, FOLLOWERS)].into();
    }

    /// Notes whose times are told differently, and which lists a proven direction contradicts.
    fn note_contradictions(&mut self, pairs: &[[Option<Claim>; 2]]) {
        let proven = self.proven.iter().position(|&proven| proven);
        for pair in pairs {
            let claim = told(pair);
            match (pair, proven) {
                ([Some(one), Some(other)], _) if one.at != other.at => {
                    self.retimed.extend([claim.from, claim.to]);
                }
                ([Some(_), Some(_)], _) | (_, None) => {}
                (_, Some(proven)) => {
                    let contradicted = lists_of(claim)[1 - proven];
                    if !self.is_one_sided(claim) && !self.unreadable.contains(&contradicted) {
                        self.distrusted.insert(contradicted);
                    }
                }
            }
        }
    }

    /// Whether only one end of a follow has a list.
    fn is_one_sided(&self, claim: Claim) -> bool {
        self.foreign.contains(claim.from) || self.foreign.contains(claim.to)
    }

    /// Finds the lists that others contradict: of two that do not agree about a follow, it is the
    /// one that disagrees more often; where both do as often, neither is believed.
    fn distrust(&mut self, pairs: &[[Option<Claim>; 2]]) {
        let mut disputes = Vec::new();
        let mut counts: BTreeMap<ListOf, u32> = BTreeMap::new();
        for pair in pairs.iter().filter(|pair| pair.iter().any(Option::is_none)) {
            let lists = lists_of(told(pair));
            if self.is_one_sided(told(pair))
                || lists.iter().any(|list| self.unreadable.contains(list))
            {
                continue;
            }
            for list in lists {
                *counts.entry(list).or_default() += 1;
            }
            disputes.push(lists);
        }
        for [one, other] in disputes {
            let (ones, others) = (counts[&one], counts[&other]);
            if ones >= others {
                self.distrusted.insert(one);
            }
            if others >= ones {
                self.distrusted.insert(other);
            }
        }
    }

    /// The lists of the follows that count. An edge keeps the place it had in its own list where
    /// that still tells of it.
    fn lists_of(&self, kept: &[Claim], known: &[Known]) -> Vec<[EdgeList; 2]> {
        let mut lists: Vec<[EdgeList; 2]> = known.iter().map(|_| Default::default()).collect();
        let is_account = |id: u32| matches!(known[id as usize], Known::Account { .. });
        let mut own = paired(&self.claims).into_iter();
        for claim in kept.iter().filter(|claim| is_account(claim.from) && is_account(claim.to)) {
            let is_it = |pair: &[Option<Claim>; 2]| {
                let found = told(pair);
                (found.from, found.to) == (claim.from, claim.to)
            };
            let pair = own.find(is_it).expect("what counts was told");
            let ends = [(claim.from, claim.to), (claim.to, claim.from)];
            for (side, (id, other)) in ends.into_iter().enumerate() {
                if self.foreign.contains(id) {
                    continue;
                }
                let of_its_own = pair[side].filter(|own| own.at == claim.at);
                let tie = of_its_own.map_or(other, |own| own.tie);
                lists[id as usize][side].push(EdgeKey { at: claim.at, tie, id: other });
            }
        }
        lists
    }
}

/// The follow that one end tells of, or both.
fn told(pair: &[Option<Claim>; 2]) -> Claim {
    pair[FOLLOWING].or(pair[FOLLOWERS]).expect("one end tells of it")
}

/// The two lists that a follow stands in.
fn lists_of(claim: Claim) -> [ListOf; 2] {
    [(claim.from, FOLLOWING), (claim.to, FOLLOWERS)]
}

/// The claims of both directions side by side, in ascending order.
fn paired(claims: &[Vec<Claim>; 2]) -> Vec<[Option<Claim>; 2]> {
    let place = |claim: &Claim| (claim.from, claim.to);
    let [mut forward, mut backward] = [FOLLOWING, FOLLOWERS].map(|side| claims[side].as_slice());
    let mut pairs = Vec::with_capacity(forward.len().max(backward.len()));
    loop {
        let (one, other) = (forward.first().copied(), backward.first().copied());
        let next = match (one, other) {
            (None, None) => return pairs,
            (Some(one), Some(other)) if place(&one) == place(&other) => [Some(one), Some(other)],
            (Some(one), Some(other)) if place(&one) > place(&other) => [None, Some(other)],
            (None, Some(other)) => [None, Some(other)],
            (Some(one), _) => [Some(one), None],
        };
        forward = &forward[usize::from(next[FOLLOWING].is_some())..];
        backward = &backward[usize::from(next[FOLLOWERS].is_some())..];
        pairs.push(next);
    }
}
