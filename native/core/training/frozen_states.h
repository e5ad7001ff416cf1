#pragma once
// What a network's first layers give, where no adapter and nothing that trains stands in them, is a function of the row
// alone: computed once, kept on disk, and read by every later pass. Dropout does not act there: it would make another
// function of each pass. Where the first adapter stands at its layer's last site, what that site reads is kept instead,
// the sub-layer's output h and its residual r, twice as wide: of BERT's layer all products are in front of it.

#include <map>
#include <memory>

#include "core/models/model.h"
#include "core/state/row_store.h"
#include "core/training/forward.h"

namespace ta {

struct FrozenStatesOptions {
  std::string folder;
  /// What beside weights and names of modules decides the layers' values: the model's config.
  std::string model;
  uint64_t max_bytes = 0;
  at::ScalarType dtype = at::kFloat;  ///< on disk
};

class FrozenStates {
 public:
  /// Of a model whose frozen parameters stay as they are. Throws what RowStore throws.
  FrozenStates(AdapterModel& model, FrozenStatesOptions options);

  /// Gives the batch the states behind the layers that none of its rows' adapters stand in, and keeps those that were
  /// not yet kept. Nothing where hidden states are asked for, or where rows of one batch have no such layer and others
  /// had; throws ERR_INVALID_ARGUMENT where the first ones have none.
  void fill(PackedBatch& batch, const ForwardRequest& request);

  int64_t layers() const { return first_.layers; }  ///< whole ones, of the last batch that was filled
  int64_t rows_read() const { return rows_read_; }
  int64_t rows_computed() const { return rows_computed_; }
  uint64_t bytes() const;
  bool full() const;

 private:
  RowStore& store(const FirstLayers& first);
  ContentHash row_hash(const PackedBatch& batch, int64_t row) const;
  void compute(const PackedBatch& batch, const std::vector<int64_t>& missing, at::Tensor& states);

  AdapterModel& model_;
  FrozenStatesOptions options_;
  int64_t trains_from_;  ///< the first layer with something of the base model that trains
  FirstLayers first_;
  int64_t rows_read_ = 0, rows_computed_ = 0;
  std::map<std::string, std::unique_ptr<RowStore>> stores_;  ///< by their part of the name
};

}  // namespace ta
