//! Every decoder of stored bytes, given bytes that nobody has stored: it returns, and takes memory in proportion to
//! what it is given. `tests/fuzz` gives the same decoders to a fuzzer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use millstream::testing::{Decoder, decoders};

/// Counts what the thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends frees after its locals are gone.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

#[expect(unsafe_code, reason = "an allocator can only be counted by one; both calls pass on what they are given")]
// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is the one asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is the one asked for.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Times the input's length that a decoder may hold, and bytes beyond it: serde reserves up to 1 MiB ahead of a length
/// that has not proved true, once for each level of nesting.
const TIMES_MAX: isize = 64;
const BEYOND_MAX: isize = 3 << 20;

fn decode(decoder: &Decoder, bytes: &[u8]) -> bool {
    let before = HELD.get();
    MOST.set(before);
    let accepted = decoder.decode(bytes).is_ok();
    let most = MOST.get() - before;
    let limit = TIMES_MAX * bytes.len() as isize + BEYOND_MAX;
    assert!(most <= limit, "{}: {most} bytes held for {} bytes of input: {bytes:02x?}", decoder.name(), bytes.len());
    accepted
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

#[test]
fn examples_are_accepted_and_every_cut_of_one_returns() {
    for decoder in decoders() {
        assert!(!decoder.examples().is_empty());
        for example in decoder.examples() {
            decoder.decode(example).unwrap_or_else(|reason| panic!("{}: {reason}", decoder.name()));
            for len in 0..example.len() {
                decode(&decoder, &example[..len]);
            }
        }
    }
}

#[test]
fn arbitrary_bytes_are_refused_or_taken_and_take_little_memory() {
    let seed = std::env::var("MILLSTREAM_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
    let rounds = std::env::var("MILLSTREAM_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20_000);
    println!("seed {seed}, {rounds} rounds");
    let mut random = Random(seed);
    for decoder in decoders() {
        let mut accepted = 0;
        for _ in 0..rounds {
            accepted += usize::from(decode(&decoder, &arbitrary(&mut random, decoder.examples())));
        }
        println!("{}: {accepted} of {rounds} accepted", decoder.name());
    }
}

/// An example with some bytes changed, or no example at all.
fn arbitrary(random: &mut Random, examples: &[Vec<u8>]) -> Vec<u8> {
    if random.below(4) == 0 {
        return (0..random.below(300)).map(|_| random.next() as u8).collect();
    }
    let mut bytes = examples[random.below(examples.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(5) {
            _ if bytes.is_empty() => bytes.push(random.next() as u8),
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes.insert(at, random.next() as u8),
            3 => bytes.truncate(at + 1),
            // Lengths of MessagePack that claim four billion.
            _ => {
                bytes[at] = [0xdb, 0xc6, 0xdd, 0xdf][random.below(4)];
                bytes.truncate(at + 1);
                bytes.extend([0xff; 4]);
            }
        }
    }
    bytes
}

#[test]
fn every_decoder_has_a_fuzz_target() {
    for decoder in decoders() {
        let target = format!("tests/fuzz/fuzz_targets/{}.rs", decoder.name().replace(' ', "_"));
        let source = std::fs::read_to_string(&target).unwrap_or_else(|error| panic!("{target}: {error}"));
        assert!(source.contains(&format!("\"{}\"", decoder.name())), "{target}");
    }
}
