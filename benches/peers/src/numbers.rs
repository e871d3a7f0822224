//! The numbers that the workloads run on, and what is done to them.

/// The mixing function of splitmix64 (Steele, Lea and Flood 2014).
#[inline]
pub(crate) fn splitmix64(i: u64) -> u64 {
    let mut z = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The key of the `i`th record.
#[inline]
pub(crate) fn key(i: u64, keys: u64) -> u64 {
    splitmix64(i) % keys
}

/// Count and sum of a key.
pub(crate) type Totals = (u64, u64);

/// One more record of the key. Its value is the same for all records of a key, so that running sums do not depend on the
/// order between sources.
#[inline]
pub(crate) fn update(totals: &mut Totals, key: u64) {
    *totals = (totals.0 + 1, totals.1.wrapping_add(key ^ 0x55));
}

/// What totals add to the checksum. Not linear, so that a key that is counted in two places shows.
#[inline]
pub(crate) fn weigh(totals: Totals) -> u64 {
    totals.0.wrapping_mul(totals.1)
}

/// The steps of the chain, one for each operator.
pub(crate) mod chain {
    pub(crate) use super::splitmix64 as mix;

    #[inline]
    pub(crate) fn scale(x: u64) -> u64 {
        x.wrapping_mul(31).wrapping_add(7)
    }

    #[inline]
    pub(crate) fn is_kept(x: &u64) -> bool {
        !x.is_multiple_of(3)
    }

    #[inline]
    pub(crate) fn fold(x: u64) -> u64 {
        x ^ (x >> 7)
    }
}

/// The share of `0..records` that falls to one of `parts`.
pub(crate) fn share(records: u64, index: u64, parts: u64) -> std::ops::Range<u64> {
    let bound = |i: u64| (u128::from(records) * u128::from(i) / u128::from(parts)) as u64;
    bound(index)..bound(index + 1)
}
