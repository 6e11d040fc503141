//! A map of bounded size that forgets what was not touched for longest.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    by_touch: BTreeMap<u64, K>,
    touches: u64,
    max: usize,
}

impl<K: Hash + Eq + Copy, V> Recent<K, V> {
    pub(crate) fn new(max: usize) -> Self {
        Self { entries: HashMap::new(), by_touch: BTreeMap::new(), touches: 0, max: max.max(1) }
    }

    /// The entry of `key`, made anew where there is none. Touches it.
    pub(crate) fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        self.touches += 1;
        let touch = self.touches;
        if let Some((before, _)) = self.entries.get(&key) {
            self.by_touch.remove(before);
        } else if self.entries.len() >= self.max
            && let Some((_, oldest)) = self.by_touch.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.by_touch.insert(touch, key);
        let entry = self.entries.entry(key).or_insert_with(|| (touch, new()));
        entry.0 = touch;
        &mut entry.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_not_touched_for_longest_is_forgotten() {
        let mut recent = Recent::new(2);
        *recent.entry('a', || 0) += 1;
        *recent.entry('b', || 0) += 1;
        *recent.entry('a', || 0) += 1;
        *recent.entry('c', || 0) += 1;
        assert_eq!((recent.entries.len(), recent.by_touch.len()), (2, 2));
        assert_eq!((*recent.entry('a', || 9), *recent.entry('c', || 9), *recent.entry('b', || 9)), (2, 1, 9));
    }
}
