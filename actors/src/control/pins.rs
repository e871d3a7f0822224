//! Checkpoints that must not expire while a savepoint is made of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::contract::Manifest;
use crate::control::lock::lock;
use crate::protocol::CheckpointId;

/// How often each checkpoint is pinned.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<BTreeMap<CheckpointId, usize>>);

impl Pins {
    /// How many checkpoints the store is to keep, when one more completes and `retained` are there, so that it keeps
    /// `wanted` and all that are pinned. Unknown ones are all kept.
    pub(crate) fn retain(&self, wanted: usize, retained: Option<&[Arc<Manifest>]>) -> usize {
        let Some(oldest) = lock(&self.0).keys().next().copied() else { return wanted };
        let newer = |retained: &[Arc<Manifest>]| retained.iter().filter(|known| known.checkpoint >= oldest).count() + 1;
        wanted.max(retained.map_or(usize::MAX, newer))
    }
}

/// Keeps a checkpoint for as long as it lives.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    checkpoint: CheckpointId,
}

impl Pin {
    pub(crate) fn new(pins: &Arc<Pins>, checkpoint: CheckpointId) -> Self {
        *lock(&pins.0).entry(checkpoint).or_default() += 1;
        Self { pins: pins.clone(), checkpoint }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = lock(&self.pins.0);
        if let Some(count) = pins.get_mut(&self.checkpoint) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.checkpoint);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(checkpoint: u64) -> Arc<Manifest> {
        Arc::new(Manifest::empty(checkpoint))
    }

    #[test]
    fn pinned_checkpoint_and_all_after_it_are_kept_until_the_last_pin_goes() {
        let pins = Arc::new(Pins::default());
        let retained: Vec<_> = [4, 5, 7].map(manifest).into();
        assert_eq!(pins.retain(1, Some(&retained)), 1);
        let first = Pin::new(&pins, CheckpointId(5));
        let second = Pin::new(&pins, CheckpointId(5));
        assert_eq!(pins.retain(1, Some(&retained)), 3);
        assert_eq!(pins.retain(8, Some(&retained)), 8);
        drop(first);
        assert_eq!(pins.retain(1, None), usize::MAX);
        drop(second);
        assert_eq!(pins.retain(1, None), 1);
    }
}
