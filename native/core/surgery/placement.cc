#include "core/surgery/placement.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <unordered_set>

#include "core/adapters/lora_kinds.h"
#include "core/adapters/output_adapter.h"
#include "core/adapters/prefix.h"
#include "core/adapters/prompt.h"
#include "core/adapters/reft.h"
#include "core/error.h"
#include "core/models/network.h"
#include "core/surgery/meeting_parts.h"

namespace ta {

namespace {

constexpr int64_t kLargest = 1 << 20;

std::optional<MergedParts> parts_at(const LoraConfig& config, Location location) {
  const auto whole = [](bool wanted) { return wanted ? std::optional(MergedParts()) : std::nullopt; };
  switch (location) {
    case Location::query:
      return whole(config.query);
    case Location::key:
      return whole(config.key);
    case Location::value:
      return whole(config.value);
    case Location::query_key_value: {
      if (config.merged) return MergedParts();
      std::vector<int64_t> chosen;
      if (config.query) chosen.push_back(0);
      if (config.key) chosen.push_back(1);
      if (config.value) chosen.push_back(2);
      return chosen.empty() ? std::nullopt : std::optional(MergedParts(3, std::move(chosen)));
    }
    case Location::attention_output:
      return whole(config.attention_output);
    case Location::intermediate:
      return whole(config.intermediate);
    case Location::feed_forward_output:
      return whole(config.output);
    default:
      return std::nullopt;
  }
}

bool stands_in(const LoraConfig& config, int64_t layer) {
  return std::find(config.leave_out.begin(), config.leave_out.end(), layer) == config.leave_out.end();
}

// The places at which a configuration puts a module; check_linears knows that all paths are there.
struct Target {
  LoraPlace* place;
  MergedParts parts;
};

std::vector<Target> targets_of(const LoraConfig& config, Model& model) {
  std::vector<Target> targets;
  if (!config.linears.empty()) {
    const std::unordered_set<std::string> wanted(config.linears.begin(), config.linears.end());
    for (const auto& linear : as_network(model)->named_linears())
      if (wanted.contains(linear.path)) targets.push_back({linear.place, MergedParts()});
    return targets;
  }
  for (const auto& at : model.places())
    if (const auto parts = parts_at(config, at.location); parts && stands_in(config, at.layer))
      targets.push_back({static_cast<LoraPlace*>(at.place), *parts});
  return targets;
}

class Maker {
 public:
  Maker(const std::string& operation, Model& model, std::vector<PlacedModule>& made)
      : operation_(operation), model_(model), made_(made) {}

  std::shared_ptr<AdapterModule> make(const Place& at, const BottleneckConfig& config) {
    if (at.location == Location::embeddings) return invertible(config);
    const bool wanted = (at.location == Location::attention && config.mh_adapter) ||
                        (at.location == Location::output && config.output_adapter);
    const int64_t size = wanted ? config.bottleneck_sizes[at.layer] : 0;
    if (size == 0) return nullptr;
    check_size(at, "bottleneck", size, "The bottleneck is the hidden size divided by reductionFactor");
    if (config.is_parallel && !static_cast<AdapterSite*>(at.place)->takes_parallel()) {
      fail(ErrorCode::unsupported, operation_,
           text("what the sub-layer of layer ", at.layer, " reads has another width than what it gives"),
           {.expected = "adapters behind it", .got = "a parallel one", .hint = "Use seq_bn, or name another module"});
    }
    if (config.phm) check_phm(at, size, *config.phm);
    return std::make_shared<Bottleneck>(model_.config().hidden_size, size, config, shared_of(config, size));
  }

  std::shared_ptr<AdapterModule> make(const Place& at, const OutputAdapterConfig& config) const {
    if (at.location != Location::last_hidden_state) return nullptr;
    if (config.size < 1 || config.size > kLargest) {
      fail(ErrorCode::out_of_range, operation_, "a size that no adapter can have",
           {.expected = text("1 .. ", kLargest), .got = text(config.size)});
    }
    return std::make_shared<OutputAdapter>(model_.output_size(), config.size, config.activation);
  }

  std::shared_ptr<AdapterModule> make(const Place& at, const PrefixConfig& config) {
    const int64_t length = at.location == Location::prefix ? config.lengths[at.layer] : 0;
    if (length == 0) return nullptr;
    check_size(at, "prefix", length, "prefixLength is the number of keys and values in front of each row's");
    make_prefix(config);
    return config.use_gating ? std::make_shared<PrefixGate>(config, model_.config().hidden_size) : nullptr;
  }

  std::shared_ptr<AdapterModule> make(const Place& at, const ReftConfig& config) const {
    const int64_t rank = at.location == Location::layer_output ? config.ranks[at.layer] : 0;
    if (rank == 0) return nullptr;
    check_size(at, "rank", rank, "r is the number of dimensions that ReFT changes");
    return std::make_shared<ReftModule>(config, model_.config().hidden_size, rank);
  }

  std::shared_ptr<AdapterModule> make(const Place& at, const PromptConfig& config) const {
    if (at.location != Location::prompt) return nullptr;
    if (!model_.takes_prompts()) {
      fail(ErrorCode::unsupported, operation_, "this model takes no prompt",
           {.got = "a model of type " + model_.config().model_type, .hint = "Use prefix_tuning, which is much alike"});
    }
    if (config.length > kLargest) {
      fail(ErrorCode::out_of_range, operation_, "the prompt is too long",
           {.expected = text("at most ", kLargest), .got = text(config.length)});
    }
    const auto* words = model_.word_embeddings();
    if (words == nullptr && !config.start_ids.empty()) {
      fail(ErrorCode::unsupported, operation_, "a model of images has no words for a prompt to start with",
           {.expected = "promptInit 'random_uniform'"});
    }
    if (words == nullptr && config.as_words) no_positions("a prompt like words", "combine 'prefix'");
    return std::make_shared<PromptTuning>(config, model_.config().embedding_size, words);
  }

  std::shared_ptr<AdapterModule> make(const Place& at, const LoraConfig& config) {
    const auto parts = parts_at(config, at.location);
    if (!parts || !config.linears.empty() || !stands_in(config, at.layer)) return nullptr;
    return make_lora(*static_cast<LoraPlace*>(at.place), *parts, config);
  }

  std::shared_ptr<AdapterModule> make_lora(const LoraPlace& place, const MergedParts& parts, const LoraConfig& config) {
    const LoraTarget target{place.weight(), parts, place.whole()};
    if (place.weightless() && config.dora != Dora::none) {
      fail(ErrorCode::unsupported, operation_,
           text("the weight of '", target.whole,
                "' is computed at every call (a parametrization), and DoRA needs its rows"),
           {.expected = "LoRA without useDora", .hint = "Leave useDora off, or name other Linears"});
    }
    if (config.scales == Scales::output) return std::make_shared<Ia3>(config, target);
    if (config.scales == Scales::input) return input_ia3(config, target);
    if (config.mtl) return std::make_shared<MtlLora>(config, target);
    if (config.vera_d) return std::make_shared<Vera>(config, shared_of(config), target);
    return std::make_shared<Lora>(config, target);
  }

 private:
  std::shared_ptr<AdapterModule> input_ia3(const LoraConfig& config, const LoraTarget& target) const {
    if (!target.whole.empty()) {
      fail(ErrorCode::unsupported, operation_,
           text("the class of '", target.whole, "' does more than the product with its weight"),
           {.expected = "(IA)³ on what it gives",
            .got = "(IA)³ on what it reads",
            .hint = "Give compositionMode 'scale', or name other Linears"});
    }
    if (target.parts.whole()) return std::make_shared<InputIa3>(config, target.weight);
    fail(ErrorCode::unsupported, operation_, "query, key and value of this model read one input in one product",
         {.expected = "compositionMode 'scale_input' for the whole of it",
          .hint = "Give attnMatrices ['qkv'], or compositionMode 'scale'"});
  }

  [[noreturn]] void no_positions(const char* what, const char* expected) const {
    fail(ErrorCode::unsupported, operation_, text("a model of images has no positions for ", what),
         {.expected = expected});
  }

  void check_size(const Place& at, const char* what, int64_t size, const char* hint) const {
    if (size <= kLargest) return;
    fail(ErrorCode::out_of_range, operation_, text("the ", what, " of layer ", at.layer, " is too large"),
         {.expected = text("at most ", kLargest), .got = text(size), .hint = hint});
  }

  std::shared_ptr<AdapterModule> invertible(const BottleneckConfig& config) const {
    if (!config.invertible) return nullptr;
    if (model_.word_embeddings() == nullptr) {
      fail(ErrorCode::unsupported, operation_,
           "an invertible adapter is undone before words, which this model has none of",
           {.expected = "a configuration without invAdapter",
            .got = "one with it for a model of type " + model_.config().model_type});
    }
    const int64_t width = model_.config().embedding_size;
    for (int64_t inner : {config.invertible->first_inner, config.invertible->second_inner}) {
      if (inner >= 1 && inner <= kLargest) continue;
      fail(ErrorCode::out_of_range, operation_, "the invertible adapter's networks cannot have this inner width",
           {.expected = text("1 .. ", kLargest),
            .got = text(inner, " for embeddings of ", width),
            .hint = "Choose another invAdapterReductionFactor"});
    }
    return make_invertible(width, config);
  }

  void check_phm(const Place& at, int64_t size, const PhmConfig& phm) const {
    const int64_t hidden = model_.config().hidden_size;
    if (phm.dim < 1 || hidden % phm.dim != 0 || size % phm.dim != 0) {
      // As many parts as divide the hidden size, and a bottleneck of at least one number each.
      const int64_t parts = std::gcd(hidden, std::max<int64_t>(1, phm.dim));
      fail(ErrorCode::invalid_argument, operation_,
           text("PHM layers divide the hidden size and the bottleneck of layer ", at.layer, " into phmDim parts"),
           {.expected = "both divisible by phmDim",
            .got = text("hidden size ", hidden, ", bottleneck ", size, ", phmDim ", phm.dim),
            .hint = text("Choose another phmDim or reductionFactor, such as ", parts, " and ", hidden / parts)});
    }
    if (phm.rank < 1 || phm.rank > kLargest) {
      fail(ErrorCode::out_of_range, operation_, "a rank that no PHM layer can have",
           {.expected = text("1 .. ", kLargest), .got = text(phm.rank)});
    }
  }

  // What the PHM layers of one configuration share, in all its places.
  std::shared_ptr<PhmShared> shared_of(const BottleneckConfig& config, int64_t size) {
    if (!config.phm || !(config.phm->shared_rule || config.phm->shared_weights)) return nullptr;
    auto& shared = phm_shared_[&config];
    if (!shared.module) {
      shared = {std::make_shared<PhmShared>(model_.config().hidden_size, size, config), size};
      made_.push_back({&model_.shared_place(), shared.module, config.init_weights_seed});
    }
    if (config.phm->shared_weights && shared.size != size) {
      fail(ErrorCode::invalid_argument, operation_, "layers that share W need bottlenecks of one size",
           {.expected = text(shared.size, " in every layer"),
            .got = text(size),
            .hint = "Give one reductionFactor for all layers, or leave sharedWPhm off"});
    }
    return shared.module;
  }

  // One pair for all Linears that the configuration names.
  std::shared_ptr<VeraShared> shared_of(const LoraConfig& config) {
    if (shared_) return shared_;
    int64_t in = 0, out = 0;
    for (const auto& at : targets_of(config, model_)) {
      const LoraTarget target{at.place->weight(), at.parts};
      out = std::max(out, target.out());
      in = std::max(in, target.in());
    }
    shared_ = std::make_shared<VeraShared>(config, in, out);
    made_.push_back({&model_.shared_place(), shared_, config.init_weights_seed});
    return shared_;
  }

  // One for all layers, and for all configurations.
  void make_prefix(const PrefixConfig& config) {
    if (prefix_ == &config) return;
    if (prefix_ != nullptr) {
      fail(ErrorCode::invalid_argument, operation_, "two configurations of prefix tuning",
           {.expected = "one for all layers", .hint = "Give one with all layers, or make two adapters and stack them"});
    }
    if (config.shifts_positions && model_.word_embeddings() == nullptr) {
      no_positions("a prefix that takes some", "shiftPositions false");
    }
    prefix_ = &config;
    if (config.bottleneck_size > kLargest) {
      fail(ErrorCode::out_of_range, operation_, "the bottleneck of the prefix is too large",
           {.expected = text("at most ", kLargest), .got = text(config.bottleneck_size)});
    }
    const int64_t hidden = model_.config().hidden_size;
    const auto* network = as_network(model_);
    const int64_t features = network == nullptr ? hidden : network->key_features();
    auto group = std::make_shared<PrefixGroup>(config, features, hidden, model_.prefix_location());
    made_.push_back({&model_.prefix_place(), std::move(group), config.init_weights_seed});
  }

  const std::string& operation_;
  Model& model_;
  std::vector<PlacedModule>& made_;
  std::shared_ptr<VeraShared> shared_;
  struct SharedPhm {
    std::shared_ptr<PhmShared> module;
    int64_t size = 0;
  };
  std::map<const BottleneckConfig*, SharedPhm> phm_shared_;
  const PrefixConfig* prefix_ = nullptr;
};

void check_sizes(const std::string& operation, const std::vector<int64_t>& sizes, int64_t layers) {
  if (static_cast<int64_t>(sizes.size()) == layers) return;
  fail(ErrorCode::invalid_argument, operation, "the configuration's sizes do not fit the model",
       {.expected = text(layers, " sizes, one a layer"), .got = text(sizes.size())});
}

void check_layers(const std::string& operation, const BottleneckConfig& config, int64_t layers) {
  check_sizes(operation, config.bottleneck_sizes, layers);
}

void check_layers(const std::string& operation, const LoraConfig& config, int64_t) {
  if (config.rank >= 1 && config.rank <= kLargest) return;
  fail(ErrorCode::out_of_range, operation, "a rank that no adapter can have",
       {.expected = text("1 .. ", kLargest), .got = text(config.rank), .hint = "r is the rank of what LoRA adds"});
}

// In a union the rest would run without it in silence.
void check_linears(const std::string& operation, const LoraConfig& config, const std::vector<Place>& places,
                   const Model& model) {
  if (!config.linears.empty()) {
    std::unordered_set<std::string> there;
    if (const auto* network = as_network(model))
      for (const auto& linear : network->named_linears()) there.insert(linear.path);
    std::vector<std::string> missing;
    for (const auto& path : config.linears)
      if (!there.contains(path)) missing.push_back(path);
    if (missing.empty()) return;
    fail(ErrorCode::invalid_argument, operation, "the network has no Linear at these paths",
         {.expected = there.empty() ? "an exported network" : "paths of its Linears", .got = name_list(missing)});
  }
  if (std::any_of(places.begin(), places.end(), [&](const Place& at) { return parts_at(config, at.location); })) return;
  fail(ErrorCode::unsupported, operation, "this model has no Linear where the configuration wants one",
       {.expected = "attnMatrices of 'q', 'k', 'v' or 'o', or intermediateLora or outputLora",
        .got = config.merged ? "'qkv', a merged product, where query, key and value are Linears of their own"
                             : "none of these that the model has"});
}

void check_linears(const std::string& operation, const std::vector<AdapterConfig>& configs,
                   const std::vector<Place>& places, const Model& model) {
  for (const auto& config : configs)
    if (const auto* lora = std::get_if<LoraConfig>(&config)) check_linears(operation, *lora, places, model);
}

void check_layers(const std::string& operation, const PrefixConfig& config, int64_t layers) {
  check_sizes(operation, config.lengths, layers);
}

void check_layers(const std::string& operation, const ReftConfig& config, int64_t layers) {
  check_sizes(operation, config.ranks, layers);
}

void check_layers(const std::string&, const PromptConfig&, int64_t) {}

void check_layers(const std::string&, const OutputAdapterConfig&, int64_t) {}

// At Linears that configurations name by their paths.
void add_named(const std::string& operation, const std::vector<AdapterConfig>& configs, Model& model, Maker& maker,
               std::vector<PlacedModule>& made) {
  for (const auto& config : configs) {
    const auto* lora = std::get_if<LoraConfig>(&config);
    if (lora == nullptr || lora->linears.empty()) continue;
    for (const auto& target : targets_of(*lora, model)) {
      const bool taken =
          std::any_of(made.begin(), made.end(), [&](const PlacedModule& one) { return one.place == target.place; });
      if (taken) {
        fail(ErrorCode::invalid_argument, operation, "two parts of the configuration want the same Linear",
             {.expected = "one part at each Linear",
              .hint = "Name other Linears in one of the parts, or make them adapters of their own and stack them"});
      }
      auto module = maker.make_lora(*target.place, target.parts, *lora);
      made.push_back({target.place, std::move(module), lora->init_weights_seed});
    }
  }
}

// All places below a module; what stands in them already is passed by, however much it is.
void collect_places(const Module& module, std::unordered_set<const Module*>& places) {
  if (dynamic_cast<const AdapterPlace*>(&module) != nullptr) {
    places.insert(&module);
    return;
  }
  for (const auto& child : module.children()) collect_places(*child.module, places);
}

}  // namespace

std::vector<PlacedModule> make_modules(const std::string& operation, const std::vector<AdapterConfig>& configs,
                                       Model& model, AdapterPlace& behind) {
  auto places = model.places();
  const int64_t layers = places.empty() ? 0 : places.back().layer + 1;
  // A layer in whose place surgery has put another one takes its places along.
  std::unordered_set<const Module*> there;
  collect_places(model, there);
  std::erase_if(places, [&](const Place& at) { return !there.contains(at.place); });
  places.push_back({layers, Location::last_hidden_state, &behind});
  places.push_back({0, Location::embeddings, &model.invertible_place()});
  places.push_back({layers, Location::prompt, &model.prompt_place()});
  for (const auto& config : configs)
    std::visit([&](const auto& method) { check_layers(operation, method, layers); }, config);
  check_linears(operation, configs, places, model);
  std::vector<PlacedModule> made;
  Maker maker(operation, model, made);
  for (const auto& at : places) {
    // Surgery may have put one Linear into the places of several: it has one module.
    const auto before = std::find_if(made.begin(), made.end(), [&](const auto& one) { return one.place == at.place; });
    if (before != made.end()) continue;
    bool taken = false;
    for (const auto& config : configs) {
      auto module = std::visit([&](const auto& method) { return maker.make(at, method); }, config);
      if (!module) continue;
      if (taken) refuse_meeting(operation, at);
      taken = true;
      made.push_back(
          {at.place, std::move(module), std::visit([](const auto& m) { return m.init_weights_seed; }, config)});
    }
  }
  add_named(operation, configs, model, maker, made);
  if (made.empty()) {
    fail(ErrorCode::invalid_argument, operation, "the configuration names no place in this model",
         {.hint = "Name a place, such as output_adapter or selfattn_lora, and leave out fewer layers"});
  }
  const auto shared = std::count_if(made.begin(), made.end(),
                                    [&](const PlacedModule& one) { return one.place == &model.shared_place(); });
  if (shared > 1) {
    fail(ErrorCode::unsupported, operation, "two parts of the configuration share parameters under one name",
         {.expected = "one part with sharedPhmRule, sharedWPhm or VeRA",
          .got = text(shared),
          .hint = "Turn sharing off in all but one, or make them adapters of their own and stack them"});
  }
  return made;
}

}  // namespace ta
