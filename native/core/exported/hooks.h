#pragma once
// Where a run of the graph leaves it: at sites, at Linears that adapters stand at, at modules that surgery replaced,
// and, while training, at dropout, whose random numbers are the training's own.

#include "core/adapters/invertible.h"
#include "core/adapters/reft.h"
#include "core/exported/pass.h"
#include "core/exported/sub_layer.h"
#include "core/exported/tree.h"

namespace ta::exported {

/// A site of the model, and the sub-layers that end in it: several where a module is called again.
struct SitePlace {
  int64_t layer = 0;
  Location location = Location::output;
  std::shared_ptr<AdapterSite> site = std::make_shared<AdapterSite>();
  std::shared_ptr<ReftPlace> reft;  ///< behind a layer's last site
  std::vector<SubLayer> sub_layers;
};

/// Whether a value is the encoder's, of a network that has a decoder, too.
bool of_source(const Program& program, const Tree& tree, int32_t slot);

/// The tree and the sites must outlive the program.
void add_site_hooks(Program& program, const Tree& tree, const std::vector<SitePlace>& sites);
/// A Linear that reads what all rows share, in a layer.
struct SharedLinear {
  const LinearPlace* linear = nullptr;
  int64_t layer = -1;
};
/// `layer_of`: the layer that a node stands in; -1: none. Gives the Linears for which a pass has one setup.
std::vector<SharedLinear> add_linear_hooks(Program& program, const Tree& tree, const std::vector<int64_t>& layer_of);
void add_slot_hooks(Program& program, const Tree& tree, const std::vector<int64_t>& layer_of,
                    const std::vector<SitePlace>& sites);
void add_dropout_hooks(Program& program);
/// In front of all others that may stand at the same modules. `kept`: nodes that others stand at, whoever they are.
void add_block_hooks(Program& program, const Tree& tree, const std::vector<int64_t>& layer_of,
                     const std::vector<Range>& kept);
/// `place` changes a value of the stream right where it is made.
void add_begin_hook(Program& program, const Tree& tree, int32_t slot, InvertiblePlace& place);

}  // namespace ta::exported
