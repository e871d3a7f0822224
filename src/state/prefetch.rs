//! Asks the processor to have memory at hand before it is read.

/// Bytes of a cache line; where lines are longer some are asked for twice.
const LINE: usize = 64;

/// Has the processor fetch the cache lines of a value, and goes on without waiting for them.
#[inline(always)]
pub(super) fn prefetch<T: ?Sized>(value: &T) {
    prefetch_at(std::ptr::from_ref(value).cast::<u8>(), size_of_val(value));
}

/// Has the processor fetch the first three cache lines of so many bytes from this address on, and the last. Which they are is known
/// when the program is compiled: there is no loop.
#[inline(always)]
pub(super) fn prefetch_at<T>(address: *const T, bytes: usize) {
    let first = address.cast::<i8>();
    fetch_line(first);
    if bytes > LINE {
        fetch_line(first.wrapping_add(LINE));
    }
    if bytes > 2 * LINE {
        fetch_line(first.wrapping_add(2 * LINE));
    }
    // An entry may begin within a line, and so end in one more.
    fetch_line(first.wrapping_add(bytes.saturating_sub(1)));
}

/// Has the processor fetch the cache line of an address.
#[inline(always)]
pub(super) fn prefetch_line<T>(address: *const T) {
    fetch_line(address.cast());
}

/// Has the processor fetch the cache line of an address. Where the processor is not known, nothing happens.
///
/// This is only a hint: nothing is read, written or assumed, so no address can make it wrong.
#[inline(always)]
#[cfg_attr(
    all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)),
    expect(
        unsafe_code,
        reason = "a load in place of the hint holds up the processor until the line is there: a keyed job with 100,000 \
                  keys takes 1.4 times as long with it (docs/decisions/0008)"
    )
)]
fn fetch_line(address: *const i8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the instruction is in every processor of this architecture, and takes any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address);
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: the instruction is in every processor of this architecture, takes any address, and changes nothing.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    let _ = address;
}
