//! How an input is cut into chunks.

/// How many chunks so many items make.
pub fn chunk_count(items: u64, chunk: u64) -> u64 {
    items.div_ceil(chunk.max(1))
}
