#pragma once
// A backbone with its adapters and heads: what PyTorch's *AdapterModel classes are. Adapters live at the backbone's
// sites, heads beside it; names are the peer's (`bert.encoder…adapters.<name>…`, `heads.<name>.…`).

#include <map>
#include <memory>
#include <set>
#include <string>

#include "core/adapters/flat_parameters.h"
#include "core/adapters/fusion.h"
#include "core/adapters/output_adapter.h"
#include "core/models/head.h"
#include "core/surgery/held.h"
#include "core/surgery/placement.h"
#include "core/surgery/replace.h"

namespace ta {

class MtlLora;

struct Trainable {
  std::vector<std::string> adapters;
  std::vector<std::string> heads;
  std::vector<std::string> base = {};  ///< full names of backbone parameters
  std::vector<std::string> frozen =
      {};  ///< parameters of these adapters, fusions and heads that stand still all the same
  std::vector<std::string> fusions = {};  ///< by name
  bool inserted = false;                  ///< what surgery made
};

/// Whose a parameter is.
enum class Part { base, adapter, fusion, head, inserted };

class AdapterModel {
 public:
  /// `trunk`: the type of the backbone's matrices, at::kFloat or at::kBFloat16.
  AdapterModel(std::shared_ptr<Model> backbone, at::Device device, at::ScalarType trunk = at::kFloat);

  Model& backbone() { return *backbone_; }
  Module& root() { return root_; }
  /// Adapters on the last hidden state.
  const OutputPlace& output_place() const { return *output_place_; }
  at::Device device() const { return device_; }
  at::ScalarType trunk() const { return trunk_; }

  /// Several configs name different places of one adapter. Throws ERR_INVALID_ARGUMENT: a name that is taken or has a
  /// dot, and what make_modules throws.
  /// `replace`: takes the place of one of this name, which stays as it was where the new one cannot be made.
  /// `source`: what its weights will be loaded from.
  void add_adapter(const std::string& name, const std::vector<AdapterConfig>& configs, uint64_t seed,
                   bool replace = false, const std::optional<WeightsSource>& source = std::nullopt);
  void delete_adapter(const std::string& name);
  /// The index that places know it by. Throws ERR_INVALID_ARGUMENT with the names there are.
  int64_t adapter_index(const std::string& name) const;

  /// Turns an adapter's prefix into a flat one of the same values, which need no reparametrisation any more. Throws
  /// ERR_INVALID_ARGUMENT where it has none.
  void eject_prefix_tuning(const std::string& name);

  /// Puts an adapter's change of weights into the base model's, for every row. Throws ERR_INVALID_ARGUMENT: another one
  /// is merged, the base model trains; ERR_UNSUPPORTED: it changes more than weights, or has a gate.
  void merge_adapter(const std::string& name);
  /// Takes it out again, bit for bit.
  void reset_adapter();
  /// Throws ERR_INVALID_ARGUMENT where an adapter that is merged would no longer be what the base model holds.
  void check_writable(const std::string& operation, const NamedParameter& parameter) const;

  /// MTL-LoRA adapters of one configuration get one A and one set of up-projections in each place, which start as the
  /// reference's and train while one of them does. Throws ERR_INVALID_ARGUMENT: another method, other shapes or places,
  /// an adapter that shares already.
  void share_parameters(const std::string& group, const std::vector<std::string>& adapters,
                        const std::string& reference);
  /// Each has its own again, with the values they have.
  void unshare_parameters(const std::string& group);

  /// AdapterFusion at every site where one of the adapters stands. Throws ERR_INVALID_ARGUMENT: a name that is taken or
  /// has a dot, adapters that stand at no site.
  void add_fusion(const std::string& name, const std::vector<std::string>& adapters, const FusionConfig& config,
                  uint64_t seed, bool replace = false);
  void delete_fusion(const std::string& name);
  int64_t fusion_index(const std::string& name) const;
  /// Of every layer; none where there is no such fusion.
  std::vector<std::shared_ptr<Fusion>> fusion_modules(const std::string& name) const;
  /// All fusions that train.
  std::vector<std::shared_ptr<Fusion>> training_fusions() const;

  void add_head(const std::string& name, const HeadConfig& config, uint64_t seed, bool replace = false,
                const std::optional<WeightsSource>& source = std::nullopt);
  void delete_head(const std::string& name);
  Head& head(const std::string& name);

  /// Surgery (replace.h), named as in PyTorch; what is new starts and waits for set_trainable. Gives the operation's
  /// number. Throws what Surgery's calls throw.
  int64_t replace_modules(const std::vector<Replacement>& replacements, uint64_t seed,
                          const std::optional<WeightsSource>& source = std::nullopt);
  void undo_replacement(int64_t operation);
  Part part_of(const NamedParameter& named) const;

  /// What trains from now on; everything else is frozen. Base parameters that train move off the file's mapping.
  void set_trainable(const Trainable& what);
  /// The buffers that train, in the order adapters, fusions, heads, inserted, base.
  std::vector<FlatParameters*> trainable();

  /// Every parameter once, in PyTorch's order.
  std::vector<NamedParameter> named_parameters();
  /// An adapter's or a head's parameters with their names, shared ones under each name (PyTorch's state dict).
  std::vector<NamedParameter> adapter_state(const std::string& name);
  std::vector<NamedParameter> fusion_state(const std::string& name);
  std::vector<NamedParameter> head_state(const std::string& name);

 private:
  /// Modules of one name at their places, with their parameters in one buffer.
  struct Entry {
    int64_t index;
    std::unique_ptr<FlatParameters> flat;
  };
  struct HeadEntry {
    std::shared_ptr<Head> head;
    std::unique_ptr<FlatParameters> flat;
  };
  struct NamedPlace {
    AdapterPlace* place;
    std::string path;
  };
  using Entries = std::map<std::string, Entry>;
  /// How what is new comes to be.
  struct Start {
    uint64_t seed;
    bool replace;
    std::optional<WeightsSource> source;
  };
  void find_places();
  void put(Entries& entries, const std::string& operation, const std::string& name,
           const std::vector<PlacedModule>& modules, const Start& start);
  void place(Entries& entries, const std::string& name, int64_t index, const std::vector<PlacedModule>& modules,
             const Start& start);
  void remove(Entries& entries, const std::string& name, int64_t index);
  std::vector<NamedParameter> state_of(int64_t index, const std::string& name) const;
  void set_base_trainable(const std::vector<std::string>& names);
  void check_trunk_trains(const std::vector<NamedParameter>& chosen) const;
  void lay_out_inserted(const std::optional<WeightsSource>& source = std::nullopt);
  void rename_all();
  void check_not_merged(const std::string& operation, const std::string& name) const;
  void check_not_shared(const std::string& operation, const std::string& name) const;
  std::vector<MtlLora*> mtl_modules(const std::string& operation, const std::string& name) const;
  void lay_out(const std::string& name, const std::set<const at::Tensor*>& elsewhere);

  /// Adapters that share parameters, which lie in a buffer of their own.
  struct Sharing {
    std::vector<std::string> adapters;
    std::unique_ptr<FlatParameters> flat;
  };

  std::shared_ptr<Model> backbone_;
  Container root_;
  std::shared_ptr<Container> heads_container_;
  std::shared_ptr<OutputPlace> output_place_;
  at::Device device_;
  at::ScalarType trunk_;
  std::vector<NamedPlace> places_;  ///< in the order of the tree
  Entries adapters_, fusions_;      ///< no two of them have one index
  std::map<std::string, Sharing> sharings_;
  std::map<std::string, HeadEntry> heads_;
  std::unique_ptr<FlatParameters> base_;
  std::vector<std::string> base_names_;
  int64_t next_index_ = 0;
  Surgery surgery_{root_};
  std::unique_ptr<FlatParameters> inserted_;  ///< of all that surgery made and that stands in the tree
  std::string merged_;                        ///< the adapter that the base model's weights hold; empty: none
};

}  // namespace ta
