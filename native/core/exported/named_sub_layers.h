#pragma once
// Sub-layers that somebody names, in the place of those that the graph shows: patterns of module paths, `*` any text of
// one name, `**` any number of names. Of each kind every match is one layer's, in the order in which they run.
//
//   the module ends in a sum r + h, and its LayerNorm, or   adapters stand at that sum
//   is that LayerNorm
//   what it gives is added to others, and to nothing else   at that sum, where h is what it gives
//   neither                                                 right behind the module: r is 0
// Where attention and feed-forward block of a layer are added in one sum, the feed-forward block's stream is what
// attention leaves (residuals.h).

#include <optional>
#include <string>

#include "core/exported/residuals.h"
#include "core/exported/tree.h"

namespace ta::exported {

/// Nothing: what the graph shows; an empty text: nowhere.
struct Placement {
  std::optional<std::string> attention, feed_forward;
};

/// `prefix`: in front of the network's own names. ERR_INVALID_ARGUMENT, naming what it could be: a pattern without a
/// match, with a match inside of another, with a module that does not map tokens to tokens or of another width, with as
/// many matches as there are no layers; two names for one sum.
void place_named(const Graph& graph, const Weights& weights, const Tree& tree, const Placement& placement,
                 const std::string& prefix, Residuals& residuals);

}  // namespace ta::exported
