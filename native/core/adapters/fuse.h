#pragma once
// A Fuse block at a site: which values its children give, and what becomes of the result. As in the peer, the
// configuration of the last child that stands here says what all of them read (x), what the query is and what residual
// is added; a stack among the children gives its last adapter's up-projection, a null child gives 0.

#include "core/adapters/compose.h"
#include "core/adapters/fusion.h"

namespace ta {

std::optional<Partial> fuse(const SiteInput& site, const Composition& setup, const at::Tensor& h,
                            const RowLayout& rows);

}  // namespace ta
