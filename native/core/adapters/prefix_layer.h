#pragma once
// Prefixes at an attention: each row gets the keys and values of its own setup in front of its own, of any length, or
// none. A stack puts the next one's in front of those before it, as the peer does; the order changes no value.

#include <map>

#include "core/adapters/prefix.h"

namespace ta {

/// The prefixes of all adapters that a pass's rows name, made once for all layers.
class PassPrefixes {
 public:
  /// Throws ERR_UNSUPPORTED: a Fuse, Split or Average of adapters with a prefix.
  PassPrefixes(const AdapterPlace& pool, const std::vector<RowSegment>& segments);

  /// Null where the adapter has none in this layer. `values` stands right behind `keys`.
  const at::Tensor* keys(int64_t adapter, int64_t layer) const;
  /// Whether some prefix takes positions, and how many those of a setup take together.
  bool shifts() const;
  int64_t shift(const Composition* setup) const;
  double dropout(int64_t adapter) const { return made_.at(adapter).group->config().dropout; }

 private:
  struct Made {
    std::shared_ptr<PrefixGroup> group;
    std::vector<at::Tensor> parts;
  };
  std::map<int64_t, Made> made_;
};

/// What stands in an attention: the gates, and the way to the prefixes.
class PrefixLayer : public Module {
 public:
  PrefixLayer() { child("prefix_gates", gates_); }
  const char* type() const override { return "PrefixTuningLayer"; }
  AdapterPlace& gates() const { return *gates_; }

  /// Whether a row of the batch has a prefix here.
  bool acts(const ForwardContext& context) const;

  struct KeysAndValues {
    at::Tensor k, v;  ///< [tokens, hidden]
    RowLayout rows;
  };
  /// x [tokens of x_rows, hidden]: what this pass made keys and values of, which the gates read.
  KeysAndValues prepend(const KeysAndValues& own, const at::Tensor& x, const RowLayout& x_rows,
                        const ForwardContext& context) const;

  int64_t layer = 0;  ///< its number in the model

 private:
  std::shared_ptr<AdapterPlace> gates_ = std::make_shared<AdapterPlace>();
};

}  // namespace ta
