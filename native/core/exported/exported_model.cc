#include "core/exported/exported_model.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "core/error.h"
#include "core/exported/export_note.h"
#include "core/exported/same_modules.h"
#include "core/exported/tied_weights.h"
#include "core/models/encoder.h"
#include "core/state/key_names.h"

namespace ta::exported {

namespace {

const char* kOtherPrefix = "model";

// Whether a module is one of a list inside its layer, as T5 numbers its sub-layers: `encoder.block.0.layer.1`.
bool is_numbered(const std::string& module, const std::string& layer) {
  const auto last = module.substr(module.rfind('.') + 1);
  return module.starts_with(layer + ".") &&
         std::all_of(last.begin(), last.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

}  // namespace

ExportedModel::ExportedModel(const std::string& path, at::Device device, const Choices& choices)
    : archive_(Archive::open(path)), pooling_(choices.reading.pooling) {
  config_.pad_token_id = noted_number(archive_, "pad_token_id", -1);  // until configure() says the rest
  same_ = same_modules(archive_);
  auto parsed = Graph::parse(archive_.model(), path, same_);
  other_names_ = merge_same_modules(parsed, same_, archive_.weights());
  const auto tied = tied_names(parsed, archive_.weights());
  name_tied_weights(parsed, tied);
  program_ = std::make_unique<Program>(std::move(parsed), archive_, device);
  const auto& graph = program_->graph();
  weights_ = std::make_unique<Weights>(graph);
  for (const auto& input : graph.inputs)
    if (input.kind == Input::Kind::user) user_inputs_.push_back(&input);
  const auto streams = find_streams(choices.reading);
  const auto own = noted_texts(archive_, "linear_subclasses");
  tree_ = std::make_unique<Tree>(graph, *weights_, streams, tied, std::set<std::string>(own.begin(), own.end()));
  choose_prefix();
  find_sub_layers(streams, choices.placement);
  type_ = graph.modules.empty() || graph.modules[0].type.empty() ? "ExportedModel" : graph.modules[0].type;
  take_weights(device, tied);
  add_sites();
  add_prefixes();
  take_tree();
  move_common_places();
  shapes_ = module_shapes(graph, streams.tokens);
  add_hooks();
  find_pooler();
  collect_facts();
}

void ExportedModel::find_sub_layers(const Streams& streams, const Placement& placement) {
  const auto& graph = program_->graph();
  residuals_ = find_residuals(graph, output_, streams.source);
  auto tokens = streams.tokens;
  // A row of numbers of which one value comes out is one token.
  if (tokens.size() == 1) tokens.push_back({1});
  // A stream of other tokens than those that come out has no rows of ours.
  if (!residuals_.shape.empty() && !std::equal(tokens.begin(), tokens.end(), residuals_.shape.begin())) {
    const auto& shape = residuals_.shape;
    const bool turned = tokens.size() == 2 && shape.size() > 1 && shape[0] == tokens[1] && shape[1] == tokens[0];
    residuals_.left_out.push_back(turned ? "all sub-layers: their stream has tokens before rows; with batch_first=True "
                                           "PyTorch's own layers have the same weights and rows before tokens"
                                  : graph.slots[output_].shape.size() == 2
                                      ? "all sub-layers: their stream has other tokens than the rows, and one value a "
                                        "row comes out: have the network give the states of all places, too (return "
                                        "logits, states), and export it again"
                                      : "all sub-layers: their stream has other tokens than the model's output");
    residuals_.sub_layers.clear();
    residuals_.layers.clear();
    residuals_.begin = -1;
  }
  place_named(graph, *weights_, *tree_, placement, prefix_, residuals_);
  facts_.hidden = residuals_.sub_layers.empty() ? facts_.output_width : residuals_.shape.back().number;
  std::set<int64_t> main;
  for (const auto& sub : residuals_.sub_layers)
    if (!streams.of_source(graph, graph.slots[sub.out])) main.insert(sub.layer);
  main_layers_ = static_cast<int64_t>(main.size());
}

void ExportedModel::configure(ModelConfig config, std::string file_prefix) {
  config_ = std::move(config);
  file_prefix_ = std::move(file_prefix);
}

// What stands beside the base model has names of its own, which no module of the network may have.
void ExportedModel::choose_prefix() {
  for (const char* ours : {"heads", "adapters"})
    if (tree_->find(ours) != nullptr) prefix_ = kOtherPrefix;
  facts_.prefix = prefix_;
  for (const auto& module : program_->graph().modules)
    if (holds_by_name(module.path.substr(module.path.rfind('.') + 1)))
      own_containers_.insert(prefix_.empty() ? module.path : prefix_ + "." + module.path);
  for (const auto& one : tree_->root().children()) facts_.top_level.push_back(one.name);
}

// The root's children and parameters are this model's own.
void ExportedModel::take_tree() {
  auto& root = tree_->root();
  for (const auto& own : root.own_parameters()) parameter(own, *own.value);
  for (const auto& one : root.children()) {
    if (one.slot != nullptr) {
      child(one.name, *one.slot, std::static_pointer_cast<Layer>(one.module));
    } else {
      child(one.name, one.module);
    }
  }
}

void ExportedModel::take_weights(at::Device device, const std::map<std::string, std::string>& tied) {
  for (const auto& [name, value] : tree_->values()) {
    const auto* tensor = archive_.weights().find(name);
    if (tensor == nullptr) {
      fail(ErrorCode::state_dict, "load the exported model", text("the archive has no weight '", name, "'"),
           {.hint = "Export the model again"});
    }
    *value = device.is_cpu() ? *tensor : tensor->to(device);
    program_->bind(name, value);
  }
  // Once in memory, on every device.
  const auto values = tree_->values();
  for (const auto& [name, first] : tied)
    if (values.contains(name) && values.contains(first)) *values.at(name) = *values.at(first);
}

void ExportedModel::add_sites() {
  const auto& graph = program_->graph();
  const auto at = [&](int64_t layer, Location location) {
    return std::find_if(sites_.begin(), sites_.end(),
                        [&](const SitePlace& place) { return place.layer == layer && place.location == location; });
  };
  for (const auto& sub : residuals_.sub_layers) {
    auto found = at(sub.layer, sub.location);
    if (found == sites_.end()) {
      found = sites_.emplace(sites_.end());
      found->layer = sub.layer, found->location = sub.location;
    }
    if (sub.r < 0 && graph.slots[sub.input].shape != graph.slots[sub.h].shape) found->site->refuse_parallel();
    found->sub_layers.push_back(sub);
  }
  for (auto& place : sites_) {
    const auto& sub = place.sub_layers.front();
    const auto& module = graph.modules[sub.module].path;
    const auto count = std::count_if(sites_.begin(), sites_.end(), [&](const SitePlace& other) {
      return other.sub_layers.front().module == sub.module;
    });
    const bool attention = place.location == Location::attention;
    if (count == 1 && (sub.norm >= 0 || is_numbered(module, graph.modules[residuals_.layers[place.layer]].path))) {
      tree_->add_child(module, "adapters", place.site);
      tree_->add_child(module, "adapter_fusion_layer", place.site->fusions());
    } else {
      tree_->add_child(module, attention ? "attention_adapters" : "output_adapters", bottleneck_layer(place.site));
    }
  }
  // Where the layer ends: most often behind its feed-forward block.
  for (const auto& place : sites_) {
    if (place.location == Location::attention) continue;
    auto last = at(place.layer, Location::attention);
    const auto end = [](const SitePlace& one) { return one.sub_layers.front().nodes.last; };
    if (last == sites_.end() || end(*last) <= end(place)) last = at(place.layer, Location::output);
    last->reft = std::make_shared<ReftPlace>();
    tree_->add_child(graph.modules[residuals_.layers[place.layer]].path, "reft_layer", reft_layer(last->reft));
  }
}

// In front of the keys of every layer's attention, where all of them are of one form.
void ExportedModel::add_prefixes() {
  const auto& graph = program_->graph();
  for (const auto& sub : residuals_.sub_layers) {
    int32_t stopped = -1;
    const auto form = key_form(graph, sub, stopped);
    if (!form && sub.core && sub.core->softmax >= 0 && graph.nodes[sub.core->node].autocast) {
      facts_.no_prefix.push_back(
          text("layer ", sub.layer, " takes no prefix: its attention is written out under torch.autocast"));
    } else if (!form && stopped >= 0) {
      facts_.no_prefix.push_back(
          text("layer ", sub.layer, " takes no prefix: its attention has ", graph.describe(stopped),
               ", whose keys and values are of no form that takes one (of one width, head by head)"));
    } else if (!form && sub.location == Location::attention) {
      facts_.no_prefix.push_back(
          text("layer ", sub.layer,
               " takes no prefix: no product of scores and values stands by itself in what mixes tokens"));
    }
    if (!form || form->module < 0) continue;
    auto found = std::find_if(prefixes_.begin(), prefixes_.end(),
                              [&](const PrefixPlace& place) { return place.layer->layer == sub.layer; });
    if (found == prefixes_.end()) {
      found = prefixes_.emplace(prefixes_.end());
      found->layer->layer = sub.layer, found->heads = form->heads, found->size = form->size;
      found->module = form->module;
    }
    found->attentions.insert(found->attentions.end(), form->attentions.begin(), form->attentions.end());
  }
  for (size_t layer = 0; layer < residuals_.layers.size() && !prefixes_.empty(); ++layer) {
    const bool attends =
        std::any_of(residuals_.sub_layers.begin(), residuals_.sub_layers.end(),
                    [&](const SubLayer& sub) { return sub.layer == static_cast<int64_t>(layer) && sub.core; });
    const auto known = text("layer ", layer, " takes no prefix: ");
    const bool is_told = std::any_of(facts_.no_prefix.begin(), facts_.no_prefix.end(),
                                     [&](const std::string& line) { return line.starts_with(known); });
    if (!attends && !is_told) facts_.no_prefix.push_back(known + "it has no attention");
  }
  if (prefixes_.empty() && facts_.no_prefix.empty() && !residuals_.sub_layers.empty())
    facts_.no_prefix.push_back(
        "no layer takes a prefix: none has attention whose value is plainly added to the stream");
  const auto features = [](const PrefixPlace& place) { return place.heads * place.size; };
  const bool alike = std::all_of(prefixes_.begin(), prefixes_.end(), [&](const PrefixPlace& place) {
    return features(place) == features(prefixes_.front());
  });
  if (!alike || prefixes_.size() != residuals_.layers.size()) prefixes_.clear();
  for (const auto& place : prefixes_) {
    facts_.key_features = features(place), facts_.key_heads = place.heads;
    tree_->add_child(graph.modules[place.module].path, "prefix_tuning", place.layer);
  }
}

// Where the adapter library has what stands once for all layers: in the base model of a class with a head; of that,
// what inverts in the encoder before a decoder, and in CLIP's tower.
void ExportedModel::move_common_places() {
  std::string base = own_head_ ? own_head_->base : "";
  // Of T5 with its head encoder and decoder stand in the class itself.
  if (base == "decoder" && tree_->find("encoder") != nullptr) base.clear();
  const auto below = [&](const std::string& name) { return base.empty() ? name : base + "." + name; };
  const auto has = [&](const std::string& name) { return tree_->find(below(name)) != nullptr; };
  const auto move_last = [&](const std::string& owner) {
    if (owner.empty() || tree_->find(owner) == nullptr) return;
    const auto own = children().back();
    tree_->add_child(owner, own.name, own.module);
    remove_child(own.name);
  };
  const bool has_decoder = has("encoder") && has("decoder");
  invertible_place();
  move_last(has_decoder ? below("encoder") : has("text_model") ? below("text_model") : base);
  prefix_place();
  move_last(base);
  shared_place();
  move_last(base);
}

// For each node the number of the layer that it stands in; -1: in none.
std::vector<int64_t> ExportedModel::layers_of_nodes() const {
  const auto& graph = program_->graph();
  std::vector<int64_t> of_module(graph.modules.size(), -1), result;
  for (int32_t i = 0; i < static_cast<int32_t>(graph.modules.size()); ++i) {
    for (size_t layer = 0; layer < residuals_.layers.size(); ++layer)
      if (graph.inside(i, residuals_.layers[layer])) of_module[i] = static_cast<int64_t>(layer);
    // A placement may name modules that stand outside of what gives the layer its name, and those of a layer may stand
    // in several lists.
    for (const auto& sub : residuals_.sub_layers) {
      const bool is_own = !sub.named.empty() || numbered_module(graph, sub.module) == sub.module;
      if (of_module[i] < 0 && sub.module >= 0 && is_own && graph.inside(i, sub.module)) of_module[i] = sub.layer;
    }
  }
  for (const auto& node : graph.nodes) result.push_back(node.module < 0 ? -1 : of_module[node.module]);
  return result;
}

// One plan serves every set of active adapters: a hook asks the pass who stands at its place, and where nobody does,
// the nodes run as they are. A plan for each set would save nothing: a pass of a BERT of 12 layers and hidden size 64,
// one row of 8 tokens, takes 5.07 million instructions with all hooks and no adapter, 5.10 with two adapters of which
// none is active, and 5.17 without a place for any (callgrind), since a hook also folds the sum with its LayerNorm.
// With one of size 4 active in every layer it takes 5.58 million, and as many where each pass has the other one than
// the pass before: switching stays an index, and nothing is made anew.
void ExportedModel::add_hooks() {
  const auto layers = layers_of_nodes();
  std::vector<Range> kept;
  for (const auto& place : sites_)
    for (const auto& sub : place.sub_layers) kept.push_back(sub.nodes);
  // Where the stream begins, and where an own head does and ends, whose two sides run apart.
  for (const int32_t slot : {residuals_.begin, own_head_ ? own_head_->states : -1, read_by_words()})
    if (const int32_t node = slot < 0 ? -1 : program_->graph().slots[slot].producer; node >= 0)
      kept.push_back({node, node});
  add_block_hooks(*program_, *tree_, layers, kept);
  add_dropout_hooks(*program_);
  add_prefix_hooks(*program_, *tree_, prefixes_);
  shared_ = add_linear_hooks(*program_, *tree_, layers);
  if (residuals_.begin >= 0) add_begin_hook(*program_, *tree_, residuals_.begin, invertible_place());
  add_site_hooks(*program_, *tree_, sites_);
  add_slot_hooks(*program_, *tree_, layers, sites_);
  add_gate_hooks(*program_, *tree_, prefixes_);
}

std::vector<Place> ExportedModel::places() {
  std::vector<Place> places;
  for (auto& place : sites_) {
    places.push_back({place.layer, place.location, place.site.get()});
    if (place.reft) places.push_back({place.layer, Location::layer_output, place.reft.get()});
  }
  for (const auto& place : prefixes_) places.push_back({place.layer->layer, Location::prefix, &place.layer->gates()});
  for (const auto& linear : facts_.linears)
    if (linear.location) places.push_back({linear.layer, *linear.location, linear.place});
  std::stable_sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return a.layer < b.layer; });
  return places;
}

const ModuleShapes* ExportedModel::shapes_at(const std::string& path) const {
  const auto found = shapes_.find(path);
  return found == shapes_.end() ? nullptr : &found->second;
}

std::vector<NamedLinear> ExportedModel::named_linears() const {
  std::vector<NamedLinear> linears;
  for (const auto& linear : facts_.linears) linears.push_back({linear.path, linear.place});
  return linears;
}

std::map<std::string, std::string> ExportedModel::tied_weights() const {
  auto tied = tied_names(program_->graph(), archive_.weights());
  for (const auto& [name, first] : other_names_) {
    const auto found = tied.find(first);
    tied[name] = found == tied.end() ? first : found->second;
  }
  return tied;
}

std::map<std::string, std::string> ExportedModel::other_names() const {
  std::map<std::string, std::string> names;
  visit_parameters("", [&](const std::string& name, const Parameter&) {
    for (const auto& [other, first] : same_)
      if (name.starts_with(first + ".")) names.emplace(other + name.substr(first.size()), name);
  });
  return names;
}

std::string ExportedModel::prefix_location() const {
  const auto& type = config_.model_type;
  if (type == "clip_text_model" || type == "clip_vision_model") return type + "_self_prefix";
  return type == "distilbert" ? "self" : "self_prefix";
}

std::string ExportedModel::why_unclear(const std::string& path) const {
  const auto& unclear = tree_->unclear_modules();
  const auto found = unclear.find(path);
  return found == unclear.end() ? "" : found->second;
}

bool ExportedModel::is_replaced(const std::string& path) const {
  const auto& slots = tree_->slots();
  return std::any_of(slots.begin(), slots.end(),
                     [&](const SlotPlace& place) { return place.path == path && place.slot->layer != place.own; });
}

Embedding* ExportedModel::word_embeddings() {
  return ids_ < 0 ? nullptr : tree_->embedding_of(ids_);
}

at::Tensor ExportedModel::encode_first(const PackedBatch&, const FirstLayers&) {
  fail(ErrorCode::unsupported, "keep frozen states", "an exported model's layers do not run by themselves",
       {.hint = "Train without cacheFrozenStates"});
}

at::Tensor ExportedModel::decode(const PackedBatch&, const ForwardContext&, KeyValueCache&) {
  fail(ErrorCode::unsupported, "generate", "an exported graph keeps no keys and values",
       {.got = "a model of type " + type_, .hint = "Generate with a model of fromPretrained"});
}

}  // namespace ta::exported
