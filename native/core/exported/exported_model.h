#pragma once
// A network that nobody here wrote: the graph of a torch.export archive behind the interface that training, heads,
// inference and surgery know. Rows come one after the other, run through the graph as the rectangle that PyTorch gave
// it, and leave it packed again. Adapters stand at the residual sub-layers that its structure shows (residuals.h), LoRA
// and its kin at every Linear, surgery at every module that takes and gives one value a token (tree.h).
//
// PyTorch keys: the network's own. Sites stand in the module that the sum stands in: `….adapters.<name>` where that
// module holds one post-LN sub-layer (BERT), else `….attention_adapters.adapters.<name>` and `….output_adapters.…`, as
// in the adapters library.

#include "core/exported/archive.h"
#include "core/exported/hooks.h"
#include "core/exported/program.h"

namespace ta::exported {

/// What a graph says of itself, for the configuration of the model.
struct Facts {
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t vocabulary = 0;   ///< rows of the embedding that ids are looked up in; 0: there is none
  int64_t longest_row = 0;  ///< tokens; 0: any number
  int64_t row_tokens = 0;   ///< of a row that is no text; 0: they differ
  bool is_causal = false;   ///< tokens see only those before them
  bool has_pooler = false;
  std::string layers_path;
  std::vector<std::string> inputs;
  std::vector<int64_t> image;  ///< sizes of one row's floating-point input, -1 where any will do; empty: rows are ids
  struct Linear {
    std::string path;
    int64_t layer, in, out;
    bool transposed;
    std::optional<Location> location;
    LoraPlace* place = nullptr;
  };
  std::vector<Linear> linears;
  std::vector<std::string> explanation;
};

class ExportedModel : public Model {
 public:
  ExportedModel(const std::string& path, at::Device device);

  const Archive& archive() const { return archive_; }
  const Facts& facts() const { return facts_; }
  /// What the graph does not say. `prefix`: in front of its parameters' names.
  void configure(ModelConfig config, std::string prefix);

  const char* type() const override { return type_.c_str(); }
  std::string prefix() const override { return prefix_; }
  std::string layers_path() const override { return facts_.layers_path; }
  const ModelConfig& config() const override { return config_; }
  void prepare(BatchInput& input) const override;
  Encoded encode(const PackedBatch& batch, const ForwardContext& context, const EncodeRequest& request) override;
  /// None: what the graph's first part gives is not kept.
  int64_t free_layers(const ForwardContext&) override { return 0; }
  at::Tensor encode_first(const PackedBatch& batch, int64_t layers) override;
  bool is_causal() const override { return facts_.is_causal; }
  bool has_pooler() const override { return facts_.has_pooler; }
  at::Tensor pool(const at::Tensor& first, const ForwardContext& context) override;
  at::Tensor decode(const PackedBatch& batch, const ForwardContext& context, KeyValueCache& cache) override;
  std::vector<Place> places() override;
  Embedding* word_embeddings() override;
  bool takes_prompts() const override { return false; }

 private:
  struct Pooler {
    Range nodes;
    int32_t input = -1, output = -1;
  };

  std::vector<Size> find_output();
  void take_tree();
  void take_weights(at::Device device);
  void add_sites();
  void add_hooks();
  void find_pooler();
  void collect_facts();
  bool see_causality();
  std::vector<int64_t> layers_of_nodes() const;
  std::vector<at::Tensor> inputs_of(const PackedBatch& batch, const PaddedRows& rows) const;
  at::Tensor input_of(const Input& input, const PackedBatch& batch, const PaddedRows& rows) const;
  bool asks_where_rows_end(const ForwardContext& context);
  int64_t tokens_of(const at::Tensor& row_values) const;

  Archive archive_;
  std::unique_ptr<Program> program_;
  std::unique_ptr<Weights> weights_;
  Residuals residuals_;
  std::unique_ptr<Tree> tree_;
  std::vector<SitePlace> sites_;
  std::optional<Pooler> pooler_;
  Facts facts_;
  ModelConfig config_;
  std::string type_, prefix_ = "model";
  std::vector<const Input*> user_inputs_;
  int32_t output_ = -1;  ///< the slot of the last hidden state
  int32_t ids_ = -1;     ///< slot of input_ids
  int64_t least_columns_ = 1;
  mutable std::map<std::vector<int64_t>, int64_t> tokens_;  ///< of a row, by the sizes of its input
};

}  // namespace ta::exported
