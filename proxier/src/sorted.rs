//! Sorted sets and maps that are written once or rarely and use no spare memory.
//!
//! Takes elements in any order. Gives lookups by binary search, and iteration in order. Does not use tree
//! nodes: a cluster has tens of thousands of sets with one to ten elements, and a tree allocates several
//! times what they need.

use std::cmp::Ordering;
use std::sync::Arc;

/// The side or sides on which a key occurs, with the values there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side<A, B> {
    /// The key occurs on the left side only.
    Left(A),
    /// The key occurs on the right side only.
    Right(B),
    /// The key occurs on both sides.
    Both(A, B),
}

/// Merges two sides, each sorted by key, in one pass. Yields each key once with its value or values.
pub(crate) fn join<K: Ord, A, B>(
    left: impl IntoIterator<Item = (K, A)>,
    right: impl IntoIterator<Item = (K, B)>,
) -> impl Iterator<Item = (K, Side<A, B>)> {
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    std::iter::from_fn(move || {
        let order = match (left.peek(), right.peek()) {
            (Some((one, _)), Some((other, _))) => one.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        match order {
            Ordering::Less => left.next().map(|(key, value)| (key, Side::Left(value))),
            Ordering::Greater => right.next().map(|(key, value)| (key, Side::Right(value))),
            Ordering::Equal => {
                let ((key, one), (_, other)) = left.next().zip(right.next())?;
                Some((key, Side::Both(one, other)))
            }
        }
    })
}

/// A sorted set that never changes. Clones share its memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortedSet<T>(Arc<[T]>);

impl<T: Ord> SortedSet<T> {
    /// True if the set contains the element.
    pub fn contains(&self, element: &T) -> bool {
        self.0.binary_search(element).is_ok()
    }
}

impl<T> SortedSet<T> {
    /// Iterates over the elements in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Returns the smallest element.
    pub fn first(&self) -> Option<&T> {
        self.0.first()
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if the set has no elements.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for SortedSet<T> {
    fn default() -> Self {
        // An empty slice allocates nothing.
        Self(Arc::default())
    }
}

impl<T: Ord> FromIterator<T> for SortedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut elements: Vec<T> = elements.into_iter().collect();
        elements.sort_unstable();
        elements.dedup();
        Self(elements.into())
    }
}

impl<'a, T> IntoIterator for &'a SortedSet<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A sorted map for few keys, or for keys that arrive in order. Inserting in between moves all later entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortedMap<K, V>(Vec<(K, V)>);

impl<K: Ord, V> SortedMap<K, V> {
    /// Returns the value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().and_then(|at| self.0.get(at)).map(|(_, value)| value)
    }

    /// True if the key has a value.
    pub fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(at) => {
                if let Some(slot) = self.0.get_mut(at) {
                    slot.1 = value;
                }
            }
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// Removes a key and its value.
    pub fn remove(&mut self, key: &K) {
        if let Ok(at) = self.find(key) {
            self.0.remove(at);
        }
    }

    fn find(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(found, _)| found.cmp(key))
    }
}

impl<K, V> SortedMap<K, V> {
    /// Iterates over keys and values, in the order of the keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + Clone {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Iterates over the keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// Iterates over the values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// Iterates over the values for modification, in the order of their keys.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if the map has no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Collects pairs in any order. If a key occurs several times, its last value stays.
impl<K: Ord, V> FromIterator<(K, V)> for SortedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<(K, V)> = pairs.into_iter().collect();
        // `sort_by` is stable and `dedup_by` keeps the first of equal keys: after `reverse`, that is the last
        // one.
        pairs.reverse();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs.dedup_by(|(a, _), (b, _)| a == b);
        pairs.shrink_to_fit();
        Self(pairs)
    }
}

#[cfg(any(test, feature = "testing"))]
impl<K: Ord, V> std::ops::Index<&K> for SortedMap<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        #[expect(clippy::expect_used, reason = "only tests index")]
        self.get(key).expect("a value")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_in_order_and_has_each_element_once() {
        let set: SortedSet<_> = [3, 1, 2, 3].into_iter().collect();
        assert_eq!(set.iter().copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert!(set.contains(&2) && !set.contains(&4));
        assert_eq!((set.first(), set.len()), (Some(&1), 3));
    }

    #[test]
    fn two_sides_are_walked_together() {
        let found: Vec<_> = join([(1, 'a'), (2, 'b'), (4, 'd')], [(2, 'x'), (3, 'y')]).collect();
        let expected = [
            (1, Side::Left('a')),
            (2, Side::Both('b', 'x')),
            (3, Side::Right('y')),
            (4, Side::Left('d')),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_map_keeps_the_last_value_of_a_key_in_order() {
        let mut map: SortedMap<_, _> = [(2, 'b'), (1, 'a'), (2, 'c')].into_iter().collect();
        map.insert(0, 'z');
        map.insert(1, 'y');
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&0, &'z'), (&1, &'y'), (&2, &'c')]);
        map.remove(&1);
        map.remove(&7);
        assert_eq!(map.keys().copied().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(map.get(&2), Some(&'c'));
    }
}
