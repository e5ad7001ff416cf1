#pragma once
// A network that nobody here wrote: the graph of a torch.export archive behind the interface that training, heads,
// inference and surgery know. Rows come one after the other, run through the graph as the rectangle that PyTorch gave
// it, and leave it packed again. Adapters stand at the residual sub-layers that its structure shows (residuals.h) or
// that somebody names (named_sub_layers.h), LoRA and its kin at every Linear, surgery at every module that takes and
// gives one value a token (tree.h).
//
// Of a network with an encoder and a decoder the batch's tokens are the decoder's: heads, labels and losses read what
// comes out. What its encoder reads goes beside them, as rows of other lengths (PackedBatch::source_ids); adapters of a
// row stand in both, the encoder's layers being the first ones. Attention across has no site, as in the adapters
// library by default.
//
// PyTorch keys: the network's own, with nothing in front, as the exported module's state_dict() has them; `model.`
// stands in front where it calls a module as this library calls what stands beside it (`heads`, `adapters`). Sites
// stand in the module that the sum stands in: `….adapters.<name>` where that module holds one post-LN sub-layer (BERT)
// or is a numbered one of its layer's (T5), else `….attention_adapters.adapters.<name>` and `….output_adapters.…`, as
// in the adapters library.

#include <map>
#include <mutex>
#include <set>

#include "core/exported/archive.h"
#include "core/exported/hooks.h"
#include "core/exported/module_shapes.h"
#include "core/exported/named_sub_layers.h"
#include "core/exported/own_head.h"
#include "core/exported/prefix_hooks.h"
#include "core/exported/program.h"

namespace ta::exported {

/// What a graph says of itself, for the configuration of the model.
struct Facts {
  int64_t hidden = 0;        ///< features of the layers' stream, which adapters have
  int64_t output_width = 0;  ///< those of what comes out, which heads read
  int64_t layers = 0;
  int64_t vocabulary = 0;   ///< rows of the embedding that ids are looked up in; 0: there is none
  int64_t longest_row = 0;  ///< tokens; 0: any number
  int64_t row_tokens = 0;   ///< of a row that is no text; 0: they differ
  /// Otherwise: how many tokens come of a row of so many numbers, both as PyTorch writes them: "FloorDiv(s76,
  /// Integer(2))" of "s76".
  std::string tokens_text, length_text;
  bool has_decoder = false;
  bool is_causal = false;  ///< tokens see only those before them
  bool has_pooler = false;
  /// Of the head that the network brings along: 0: it has none.
  int64_t own_labels = 0;
  bool own_head_reads_rows = false;
  bool own_head_gives_spans = false;  ///< where a question's answer begins and ends
  int64_t key_features = 0;           ///< of a prefix in one layer; 0: prefixes have no place
  int64_t key_heads = 0;              ///< which these features are of
  std::string layers_path;
  std::vector<std::string> inputs, outputs;
  std::vector<int64_t> image;  ///< sizes of one row's floating-point input, -1 where any will do; empty: rows are ids
  struct Linear {
    std::string path;
    int64_t layer, in, out;
    bool transposed;
    std::optional<Location> location;
    LoraPlace* place = nullptr;
    bool merged = false;  ///< makes query, key and value of its layer, in an order of its own
  };
  std::vector<Linear> linears;
  std::map<std::string, std::string> unclear_linears;  ///< path → why nothing can stand there
  std::vector<std::string> explanation, sites;
  std::vector<std::string> no_prefix;  ///< why prefixes have no place, a sentence for each layer
  std::string prefix;                  ///< in front of all names; most often empty
  std::vector<std::string> top_level;  ///< names of the model's own children
};

/// What heads for rows read of each row: the token that Model::row_tokens names, or another one, or the mean of all.
enum class Pooling { automatic, first, last, mean };

struct Reading {
  std::string output;  ///< a name; empty: the first output with a value for each token, or for each row
  Pooling pooling = Pooling::automatic;
};

/// How a graph is read, where it leaves that open.
struct Choices {
  Reading reading;
  Placement placement;
};

class ExportedModel : public Model, public NamedNetwork {
 public:
  ExportedModel(const std::string& path, at::Device device, const Choices& choices = {});

  const Archive& archive() const { return archive_; }
  const Facts& facts() const { return facts_; }
  /// What the graph does not say. `file_prefix`: in front of names in files of classes with a head.
  void configure(ModelConfig config, std::string file_prefix);

  const char* type() const override { return type_.c_str(); }
  std::string prefix() const override { return prefix_; }
  std::string file_prefix() const override { return file_prefix_; }
  std::string layers_path() const override { return facts_.layers_path; }
  const ModelConfig& config() const override { return config_; }
  int64_t output_size() const override { return facts_.output_width; }
  void prepare(BatchInput& input) const override;
  Encoded encode(const PackedBatch& batch, const ForwardContext& context, const EncodeRequest& request) override;
  /// None: what the graph's first part gives is not kept.
  FirstLayers free_layers(const ForwardContext&) override { return {}; }
  at::Tensor encode_first(const PackedBatch& batch, const FirstLayers& first) override;
  bool is_causal() const override { return facts_.is_causal; }
  bool has_pooler() const override { return facts_.has_pooler; }
  at::Tensor pool(const at::Tensor& first, const ForwardContext& context) override;
  /// The network's own head; only where facts().own_labels is not 0.
  at::Tensor own_logits(const at::Tensor& states, const ForwardContext& context, bool are_words) override;
  at::Tensor decode(const PackedBatch& batch, const ForwardContext& context, KeyValueCache& cache) override;
  std::vector<Place> places() override;
  Embedding* word_embeddings() override;
  std::vector<NamedLinear> named_linears() const override;
  const std::set<std::string>& own_containers() const override { return own_containers_; }
  std::map<std::string, std::string> tied_weights() const override;
  std::map<std::string, std::string> other_names() const override;
  const ModuleShapes* shapes_at(const std::string& path) const override;
  std::string why_unclear(const std::string& path) const override;
  /// Whether surgery has put something else in the place of the module at a path below the model.
  bool is_replaced(const std::string& path) const;
  bool takes_prompts() const override { return false; }
  int64_t key_features() const override { return facts_.key_features; }
  at::Tensor turned_keys(const at::Tensor& keys, bool back) override;
  std::string prefix_location() const override;

 private:
  struct Pooler {
    Range nodes;
    int32_t input = -1, output = -1;
  };

  Streams find_streams(const Reading& reading);
  const Input* ids_input() const;
  std::vector<Size> find_output(const std::string& name);
  int32_t find_spans() const;
  void take_own_head(int32_t logits);
  void read_output_names();
  void note_row_tokens(const Input& values);
  void find_sub_layers(const Streams& streams, const Placement& placement);
  void take_tree();
  void move_common_places();
  void choose_prefix();
  void take_weights(at::Device device, const std::map<std::string, std::string>& tied);
  void add_sites();
  void add_prefixes();
  void add_hooks();
  void find_pooler();
  void collect_facts();
  bool attends() const;
  int32_t read_by_words() const;  ///< the slot that the last product of the own head reads; -1: none
  bool undoes_before_words() const;
  void see_causality();
  void see_padding();
  Encoded encode_together(const PackedBatch& batch, const ForwardContext& context, const EncodeRequest& request);
  Encoded probe(BatchInput input);
  BatchInput probe_rows(const std::vector<int32_t>& lengths, const std::vector<int32_t>& source) const;
  BatchInput probe_values(const std::vector<int32_t>& lengths) const;
  bool texts_answer_as_alone(bool masked);
  bool values_answer_as_alone();
  bool answer_as_alone(const BatchInput& rows, const std::vector<BatchInput>& alone);
  const char* own_mask() const;  ///< of the tokens that come out
  std::vector<int64_t> layers_of_nodes() const;
  /// What the graph asks for; `source`: of the encoder's rows.
  std::vector<at::Tensor> inputs_of(const PackedBatch& batch, const PaddedRows& rows, const PaddedRows* source) const;
  at::Tensor input_of(const Input& input, const PackedBatch& batch, const PaddedRows& rows,
                      const PaddedRows* source) const;
  bool is_unread(const Input& input) const;
  at::Tensor unread(const Input& input, int64_t rows) const;
  bool asks_for(const char* input) const;
  void prepare_values(BatchInput& input) const;
  void prepare_source(BatchInput& input) const;
  bool meets_shared(const ForwardContext& context) const;
  bool asks_where_rows_end(const ForwardContext& context);
  void check_padding(const PaddedRows& rows, int64_t least, const char* mask) const;
  int64_t open_size() const;  ///< which of facts().image differs from row to row; -1: none
  int64_t tokens_of(const at::Tensor& row_values) const;
  at::Tensor pooled(const at::Tensor& states, const PackedBatch& batch) const;

  Archive archive_;
  std::unique_ptr<Program> program_;
  std::unique_ptr<Weights> weights_;
  Residuals residuals_;
  std::unique_ptr<Tree> tree_;
  std::vector<SitePlace> sites_;
  std::vector<PrefixPlace> prefixes_;
  std::vector<SharedLinear> shared_;
  std::optional<Pooler> pooler_;
  std::optional<OwnHead> own_head_;
  Facts facts_;
  std::map<std::string, ModuleShapes> shapes_;
  std::set<std::string> own_containers_;
  SameModules same_;
  std::map<std::string, std::string> other_names_;  ///< of parameters in modules with several names → the first
  ModelConfig config_;
  std::string type_, prefix_, file_prefix_;
  std::vector<const Input*> user_inputs_;
  int32_t output_ = -1;      ///< the slot of the last hidden state
  size_t output_index_ = 0;  ///< among the graph's outputs that are tensors
  size_t rows_index_ = 0;    ///< of the output that heads for rows read
  bool reads_row_output_ = false;
  bool pads_behind_ = false;    ///< tokens see nothing of those behind them
  bool rows_mix_ = true;        ///< rows of several lengths answer together as each alone
  bool encoder_alone_ = false;  ///< of a network with a decoder, whose inputs are not read
  Pooling pooling_ = Pooling::automatic;
  int32_t ids_ = -1;         ///< slot of input_ids, or of decoder_input_ids
  int32_t source_ids_ = -1;  ///< slot of input_ids, where those are the encoder's
  /// Of ids and of the encoder's.
  struct Columns {
    int64_t least = 1, most = 0;  ///< 0: any number
  };
  Columns columns_, source_columns_;
  int32_t open_symbol_ = -1;  ///< of the size in which rows of numbers differ
  int64_t main_layers_ = 0;   ///< of the stream that comes out
  mutable std::mutex tokens_mutex_;
  mutable std::map<std::vector<int64_t>, int64_t> tokens_;  ///< of a row, by the sizes of its input
};

}  // namespace ta::exported
