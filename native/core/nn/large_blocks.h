#pragma once
// Memory of large tensors. The C library gives it back to the system at each free and gets it again page by page at the
// next step, or keeps it in arenas with holes that nothing fits; either costs a tenth of a training step or a third of
// its memory. Here freed blocks are kept for the next tensor of about the same size, and blocks are
// together hardly more than the most that was ever needed at once: a tensor lies in one that is at most a quarter
// larger.

namespace ta {

/// From now on libtorch's CPU tensors of 128 KiB and more live in such blocks; once for a process. Does nothing on
/// Windows.
void use_large_blocks();
/// Gives every block that is not in use back to the system: after training, after a model is gone.
void release_large_blocks();

}  // namespace ta
