//! Sets of frame numbers, as the ranges that they are made of.

use std::ops::RangeInclusive;

/// A set of numbers. Ranges that touch are one, so it takes as much memory as it has holes (16 bytes each), however many numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// First and last of each, in order, with at least one number missing between any two.
    parts: Vec<(u64, u64)>,
}

impl Ranges {
    /// Adds the numbers from `first` to `last`; nothing where there are none.
    pub fn insert(&mut self, seqs: RangeInclusive<u64>) {
        let (mut first, mut last) = seqs.into_inner();
        if first > last {
            return;
        }
        // Every part from `from` up to `to` overlaps or touches the new one.
        let from = self.parts.partition_point(|part| part.1 < first.saturating_sub(1));
        let to = from + self.parts[from..].partition_point(|part| part.0 <= last.saturating_add(1));
        if let (Some(lowest), Some(highest)) = (self.parts[from..to].first(), self.parts[from..to].last()) {
            (first, last) = (first.min(lowest.0), last.max(highest.1));
        }
        self.parts.splice(from..to, [(first, last)]);
    }

    /// Takes the numbers from `first` to `last` out.
    pub fn remove(&mut self, seqs: RangeInclusive<u64>) {
        let (first, last) = seqs.into_inner();
        if first > last {
            return;
        }
        let from = self.parts.partition_point(|part| part.1 < first);
        let to = from + self.parts[from..].partition_point(|part| part.0 <= last);
        let Some((lowest, highest)) = self.parts[from..to].first().zip(self.parts[from..to].last()) else { return };
        let before = (lowest.0 < first).then(|| (lowest.0, first - 1));
        let after = (highest.1 > last).then(|| (last + 1, highest.1));
        self.parts.splice(from..to, before.into_iter().chain(after));
    }

    /// Whether `seq` is in it.
    pub fn contains(&self, seq: u64) -> bool {
        self.around(seq).is_some()
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = RangeInclusive<u64>> {
        self.parts.iter().map(|&(first, last)| first..=last)
    }

    /// How many numbers are in it.
    pub fn count(&self) -> u64 {
        self.parts.iter().fold(0, |count: u64, part| count.saturating_add((part.1 - part.0).saturating_add(1)))
    }

    /// How many ranges it is made of: what its memory goes by.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Whether no number is in it.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The range that `seq` lies in.
    pub(crate) fn around(&self, seq: u64) -> Option<(u64, u64)> {
        let part = self.parts.get(self.parts.partition_point(|part| part.1 < seq))?;
        (part.0 <= seq).then_some(*part)
    }

    /// The first number above `seq` that is in it.
    pub(crate) fn next_above(&self, seq: u64) -> Option<u64> {
        self.parts.get(self.parts.partition_point(|part| part.0 <= seq)).map(|part| part.0)
    }
}

/// The lowest run of numbers within `seqs` that is in none of the sets.
pub(crate) fn first_in_none(seqs: RangeInclusive<u64>, sets: &[&Ranges]) -> Option<RangeInclusive<u64>> {
    let (mut first, last) = seqs.into_inner();
    while first <= last {
        match sets.iter().find_map(|set| set.around(first)) {
            Some((_, end)) => first = end.checked_add(1)?,
            None => {
                let next = sets.iter().filter_map(|set| set.next_above(first)).min();
                return Some(first..=next.map_or(last, |next| last.min(next - 1)));
            }
        }
    }
    None
}

/// Every run of numbers within `seqs` that is in none of the sets, in order.
pub(crate) fn in_none<'a>(
    seqs: RangeInclusive<u64>,
    sets: &'a [&'a Ranges],
) -> impl Iterator<Item = RangeInclusive<u64>> + 'a {
    let last = *seqs.end();
    let mut rest = Some(seqs);
    std::iter::from_fn(move || {
        let found = first_in_none(rest.take()?, sets)?;
        rest = found.end().checked_add(1).filter(|next| *next <= last).map(|next| next..=last);
        Some(found)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Numbers near both ends of what there is: where sums overflow.
    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0..40u64, (u64::MAX - 20)..=u64::MAX]
    }

    fn every_number() -> impl Iterator<Item = u64> {
        (0..45).chain(u64::MAX - 25..=u64::MAX)
    }

    fn apply(steps: &[(bool, u64, u64)]) -> (Ranges, BTreeSet<u64>) {
        let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
        for &(inserts, first, last) in steps {
            // One range in the middle of nowhere would be too many numbers for the model.
            if last.saturating_sub(first) > 100 {
                continue;
            }
            if inserts {
                ranges.insert(first..=last);
                model.extend(first..=last);
            } else {
                ranges.remove(first..=last);
                model.retain(|seq| !(first..=last).contains(seq));
            }
        }
        (ranges, model)
    }

    fn steps() -> impl Strategy<Value = Vec<(bool, u64, u64)>> {
        proptest::collection::vec((prop::bool::weighted(0.7), number(), number()), 0..40)
    }

    proptest! {
        #[test]
        fn it_is_the_set_of_its_numbers(steps in steps()) {
            let (ranges, model) = apply(&steps);
            for seq in every_number() {
                prop_assert_eq!(ranges.contains(seq), model.contains(&seq), "{} in {:?}", seq, ranges);
            }
            prop_assert_eq!(ranges.count(), model.len() as u64);
            prop_assert_eq!(ranges.is_empty(), model.is_empty());
        }

        #[test]
        fn it_has_one_form_without_parts_that_touch(steps in steps()) {
            let (ranges, model) = apply(&steps);
            prop_assert!(ranges.parts.windows(2).all(|pair| pair[0].1 < pair[1].0 - 1), "{:?}", ranges);
            prop_assert!(ranges.parts.iter().all(|part| part.0 <= part.1));
            let mut again = Ranges::default();
            model.iter().rev().for_each(|&seq| again.insert(seq..=seq));
            prop_assert_eq!(again, ranges);
        }

        #[test]
        fn what_is_in_none_of_several_is_found_in_order(
            one in steps(), other in steps(), first in number(), last in number(),
        ) {
            let ((one, in_one), (other, in_other)) = (apply(&one), apply(&other));
            prop_assume!(last.saturating_sub(first) <= 100);
            let sets = [&one, &other];
            let found: Vec<RangeInclusive<u64>> = in_none(first..=last, &sets).collect();
            let numbers: Vec<u64> = found.iter().cloned().flatten().collect();
            let expected: Vec<u64> =
                (first..=last).filter(|seq| !in_one.contains(seq) && !in_other.contains(seq)).collect();
            prop_assert_eq!(numbers, expected);
            prop_assert_eq!(found.first().cloned(), first_in_none(first..=last, &sets));
        }
    }

    #[test]
    fn a_million_frames_with_one_hole_take_two_ranges() {
        let mut ranges = Ranges::default();
        (1..=1_000_000).filter(|seq| *seq != 5000).for_each(|seq| ranges.insert(seq..=seq));
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [1..=4999, 5001..=1_000_000]);
        assert_eq!((ranges.parts(), ranges.count()), (2, 999_999));
        ranges.insert(0..=u64::MAX);
        assert_eq!((ranges.parts(), ranges.count()), (1, u64::MAX));
    }
}
