//! Which key group a key belongs to.

/// The group of a key with this [`stable_hash`](super::stable_hash), below `max_parallelism`: the high half of the hash, scaled. The low
/// half is left for tables to choose buckets by.
#[inline]
pub(crate) fn group_of_hash(hash: u64, max_parallelism: u32) -> u32 {
    (((hash >> 32) * u64::from(max_parallelism)) >> 32) as u32
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
}
