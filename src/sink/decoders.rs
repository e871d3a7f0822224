//! The decoders of this folder, for [`testing::decoders`](crate::testing::decoders).

use super::{file, redb};
use crate::decoder::Decoder;

pub(crate) fn decoders() -> Vec<Decoder> {
    let mut all = file::decoders::decoders();
    all.extend(redb::decoders::decoders());
    all
}
