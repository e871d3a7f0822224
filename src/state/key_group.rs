//! Which key group a key belongs to.

/// The group of a key with this [`stable_hash`](super::stable_hash), below `max_parallelism`: the high half of the hash,
/// scaled. The low half is left for tables to choose buckets by.
#[inline]
pub(crate) fn group_of_hash(hash: u64, max_parallelism: u32) -> u32 {
    (((hash >> 32) * u64::from(max_parallelism)) >> 32) as u32
}

/// The first and the last hash of a key group.
pub(crate) fn hashes_of(group: u32, max_parallelism: u32) -> (u64, u64) {
    let first = |group: u64| (group << 32).div_ceil(u64::from(max_parallelism));
    let (first, next) = (first(u64::from(group)), first(u64::from(group) + 1));
    (first << 32, ((next - 1) << 32) | 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_the_range_and_keep_the_order_of_hashes() {
        for max in [1, 2, 7, 128, 32_768] {
            assert_eq!(group_of_hash(0, max), 0);
            assert_eq!(group_of_hash(u64::MAX, max), max - 1);
        }
        assert_eq!(group_of_hash(1 << 63, 128), 64);
        assert_eq!(group_of_hash((1 << 63) - 1, 128), 63);
    }

    #[test]
    fn the_low_half_does_not_matter() {
        assert_eq!(group_of_hash(0x1234_5678_0000_0000, 128), group_of_hash(0x1234_5678_ffff_ffff, 128));
    }

    #[test]
    fn the_hashes_of_a_group_are_all_of_its_own() {
        for max in [1, 2, 3, 7, 128, 32_768] {
            for group in (0..max).step_by(1 + max as usize / 50) {
                let (first, last) = hashes_of(group, max);
                assert_eq!((group_of_hash(first, max), group_of_hash(last, max)), (group, group));
                assert!(first == 0 || group_of_hash(first - 1, max) == group - 1);
                assert!(last == u64::MAX || group_of_hash(last + 1, max) == group + 1);
            }
        }
    }
}
