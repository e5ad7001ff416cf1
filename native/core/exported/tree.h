#pragma once
// The module tree of an exported network under PyTorch's names: every module that the archive names, every parameter
// and persistent buffer of its state dict. A module that is exactly a Linear, Conv1D, LayerNorm or Embedding is one of
// the library's own, so that LoRA, sites and surgery find what they know; any other is a name, or, where it takes and
// gives one value a token, a layer that runs its part of the graph.

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/adapters/lora_place.h"
#include "core/exported/module_shapes.h"
#include "core/exported/products.h"
#include "core/exported/streams.h"
#include "core/nn/embedding.h"
#include "core/nn/layer_norm.h"
#include "core/nn/module.h"

namespace ta::exported {

/// A module that takes and gives one value a token, or one a row: what stands there, and its part of the graph.
struct SlotPlace {
  std::string path;
  Slot* slot = nullptr;
  std::shared_ptr<Layer> own;  ///< what the model was made with
  Range nodes;
  int32_t input = -1, output = -1;  ///< slots of the graph
  bool source = false;              ///< its tokens are the encoder's, of a network that has a decoder, too
  bool of_rows = false;             ///< it takes and gives one value a row, which was pooled from the tokens
};

/// A Linear of the library at a product of the graph; a module that is called several times has several. `path`: of its
/// module; of a weight that has none, such as in_proj_weight of nn.MultiheadAttention, its own name without `_weight`.
struct LinearPlace {
  std::string path;
  std::shared_ptr<LinearLayer> layer;
  LoraPlace* place = nullptr;
  std::vector<Product> products;
  /// A subclass of nn.Linear that does more than the product: each of `products` is a call of its module, from what it
  /// takes to what it gives, and what stands here acts on that, as PEFT's layers do.
  bool whole = false;
};

/// A name for its children and parameters; its own values run in the graph.
class GraphModule : public Layer {
 public:
  GraphModule(std::string type, const SlotPlace* place, LayerSize size)
      : type_(std::move(type)), place_(place), size_(size) {}
  const char* type() const override { return type_.c_str(); }
  /// Its part of the graph, in a pass that is at it (pass.h).
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;
  LayerSize size() const override { return size_; }
  bool reads_whole_rows() const override { return true; }

  void add(const std::string& name, std::shared_ptr<Module> module) { child(name, std::move(module)); }
  void add(const std::string& name, Slot& slot, std::shared_ptr<Layer> layer) { child(name, slot, std::move(layer)); }
  void add(Parameter description) { parameter(std::move(description), values_.emplace_back()); }
  void add(Parameter description, at::Tensor& value) { parameter(std::move(description), value); }

 private:
  std::string type_;
  const SlotPlace* place_;
  LayerSize size_;
  std::deque<at::Tensor> values_;  // a parameter keeps its address
};

class Tree {
 public:
  /// `tied`: names in the state dict that are another name's tensor. `own_forwards`: paths of Linears whose class has a
  /// forward of its own, or whose weight the network computes.
  Tree(const Graph& graph, const Weights& weights, Streams streams, std::map<std::string, std::string> tied,
       std::set<std::string> own_forwards);

  /// The children and parameters of the model itself.
  GraphModule& root() { return *root_; }
  /// Null where there is none of that path.
  Module* find(const std::string& path) const;
  const std::deque<SlotPlace>& slots() const { return slots_; }
  const Streams& streams() const { return streams_; }
  const std::vector<LinearPlace>& linears() const { return linears_; }
  /// Linears at which nothing can stand, with the reason: it cannot be told which of the weight's uses are meant.
  const std::map<std::string, std::string>& unclear_linears() const { return unclear_linears_; }
  /// The same of modules, for surgery.
  const std::map<std::string, std::string>& unclear_modules() const { return unclear_modules_; }
  /// Where every parameter and buffer of the state dict lies, by name.
  std::map<std::string, at::Tensor*> values() const;
  /// A child `name` of the module at a path.
  void add_child(const std::string& path, const std::string& name, std::shared_ptr<Module> module);
  /// The layer of a LayerNorm's node; null where it is none of the library's.
  LayerNorm* norm_at(int32_t node) const;
  Embedding* embedding_of(int32_t ids) const;
  /// All nodes of the product that a node is of; of another node itself.
  Range product_at(int32_t node) const;
  /// Whether a slot has one value for each token, row by row.
  bool is_token(int32_t slot) const;
  bool is_row(int32_t slot) const;

 private:
  void add_module(const std::string& path, const ModuleInfo* module);
  void add_value(const Input& input);
  std::shared_ptr<Layer> own_layer(const ModuleInfo& module);
  std::shared_ptr<Layer> linear(const ModuleInfo& module);
  std::optional<std::vector<Product>> products_of(const Input& weight, const std::string& bias) const;
  bool bare_linear(const Input& weight);
  bool whole_linear(const Input& weight);
  void weightless_linear(const std::string& path);
  void stand_at(GraphModule& module, LinearPlace linear);
  bool no_single_value(const ModuleInfo& module, LayerSize size);
  bool whole_calls(const ModuleInfo& module, LayerSize size, LinearPlace& result);
  std::optional<Product> whole_call(const ModuleInfo& module, const ModuleCall& call, LayerSize size) const;
  LayerSize size_of(const Input& weight) const;
  bool is_product_alone(const ModuleInfo& module, const std::vector<Product>& products) const;
  bool is_clear(const ModuleInfo& module, const Input& weight);
  bool is_read_by_parent(const ModuleInfo& module, const std::vector<int32_t>& users) const;
  std::shared_ptr<Layer> norm(const ModuleInfo& module);
  std::shared_ptr<Layer> embedding(const ModuleInfo& module);
  SlotPlace* slot_place(const ModuleInfo& module);
  GraphModule& parent_of(const std::string& path);
  const Input* value_of(const ModuleInfo& module, const char* name) const;

  const Graph& graph_;
  const Weights& weights_;
  Streams streams_;
  std::map<std::string, std::string> tied_;
  std::set<std::string> own_forwards_;
  std::set<int32_t> parents_;  ///< of modules
  std::shared_ptr<GraphModule> root_;
  std::map<std::string, std::shared_ptr<Module>> by_path_;
  std::map<std::string, const Input*> inputs_;  ///< by name in the state dict
  std::deque<SlotPlace> slots_;
  std::deque<Slot> occupants_;
  std::vector<LinearPlace> linears_;
  std::map<std::string, std::string> unclear_linears_, unclear_modules_;
  std::map<int32_t, LayerNorm*> norms_;
  std::map<int32_t, Embedding*> embeddings_;
};

}  // namespace ta::exported
