//! Event times of numbered records, somewhat out of order.

use millstream::Timestamp;

/// Records are out of order by less than this.
pub(crate) const BOUND_MS: u64 = 200;

/// Grows with the record's number, but for less than the bound.
pub(crate) fn time_of(id: u64) -> Timestamp {
    let jitter = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    id as i64 * 10 - (jitter % 100) as i64
}
