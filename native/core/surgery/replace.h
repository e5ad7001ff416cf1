#pragma once
// Surgery over named modules: layers in the place of layers, several places in one operation, and back again. A base
// module that moves keeps its tensors, bit for bit; what is new belongs to the operation that made it.

#include <unordered_set>

#include "core/surgery/build_module.h"

namespace ta {

class Surgery {
 public:
  explicit Surgery(const Module& root) : root_(root) {}

  /// All or nothing. Gives the operation's number and the layers that it made, whose parameters have no memory yet.
  /// Throws ERR_INVALID_ARGUMENT and ERR_OUT_OF_RANGE: no such place, sizes that do not fit the place, a module inside
  /// itself.
  struct Done {
    int64_t operation;
    std::vector<std::shared_ptr<InsertedLayer>> made;
  };
  Done replace(const std::vector<Replacement>& replacements);
  /// Puts back what stood there before. Throws ERR_INVALID_ARGUMENT where later operations stand on this one.
  void undo(int64_t operation);

  /// Every tensor that surgery made and that still stands in an operation.
  bool made(const at::Tensor* value) const { return values_.contains(value); }
  bool empty() const { return values_.empty(); }

 private:
  struct Swap {
    std::shared_ptr<Module> owner;
    std::string name, path;
    std::shared_ptr<Layer> before, after;
  };
  struct Operation {
    int64_t number;
    std::vector<Swap> swaps;
    std::vector<std::shared_ptr<InsertedLayer>> used;
  };
  Swap prepare(const std::string& operation, const Replacement& replacement, BuiltModules& built) const;
  void check_undo(const Operation& operation) const;
  void list_values();

  const Module& root_;
  std::vector<Operation> operations_;
  std::map<int64_t, std::weak_ptr<Layer>> known_;
  std::unordered_set<const at::Tensor*> values_;
  int64_t next_ = 0;
};

}  // namespace ta
