#pragma once
// What a row passes through at every place where adapters stand: adapters by their index, put together. Plain data,
// made once for each batch. Blocks that only say which row gets what (BatchSplit, MultiTask, Parallel) are gone by
// then: a composition belongs to a row.

#include <cstdint>
#include <functional>
#include <vector>

namespace ta {

struct Composition {
  enum class Kind {
    none,     ///< the base model's own value
    adapter,  ///< `index`
    stack,    ///< children, one after the other
    fuse,     ///< AdapterFusion `index` over the children
    split,    ///< child i takes the next sizes[i] tokens of the row
    average   ///< Σ weights[i] · child i
  };
  Kind kind = Kind::none;
  int64_t index = -1;
  std::vector<Composition> children = {};
  std::vector<double> weights = {};
  std::vector<int64_t> sizes = {};
  std::vector<int64_t> skip_layers = {};  ///< of a whole row's composition: layers where none of it runs

  /// This node and all below it, parents first.
  void visit(const std::function<void(const Composition&)>& each) const {
    each(*this);
    for (const auto& child : children) child.visit(each);
  }
};

}  // namespace ta
