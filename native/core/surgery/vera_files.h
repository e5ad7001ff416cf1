#pragma once
// VeRA's vectors in files. Its paper trains d [r] and b [out], and so do we; the peer trains whole matrices vera_D [r,
// r] and vera_B [out, out] in their places. A vector is exactly a diagonal matrix, so what we write in AdapterHub's
// dialect the peer loads, to the same answers, though the file is larger. A file of the peer's is taken where its
// matrices are diagonal, as they are before training; one that has trained computes something else, and is refused. The
// plain dialect has the vectors.

#include "core/state/key_names.h"
#include "core/state/state_dict.h"

namespace ta {

/// vera_D and vera_B as `dialect` has them, from either form; everything else as it is.
/// Throws ERR_UNSUPPORTED for a matrix that is not diagonal where vectors are asked for.
StateDict vera_in_dialect(const std::string& operation, const StateDict& tensors, KeyDialect dialect);

}  // namespace ta
