#include "core/training/frozen_states.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <charconv>

#include "core/adapters/prefix_layer.h"
#include "core/error.h"
#include "core/nn/threads.h"
#include "core/training/shards.h"

namespace ta {

namespace {

// The layer that a parameter of the backbone stands in; -1: none, which may be in front of them all.
int64_t layer_of(const Model& backbone, const std::string& name) {
  const auto path = backbone.prefix() + "." + backbone.layers_path() + ".";
  if (!name.starts_with(path)) return -1;
  int64_t layer = -1;
  std::from_chars(name.data() + path.size(), name.data() + name.size(), layer);
  return layer;
}

bool is_network(const AdapterModel& model, const NamedParameter& named) {
  const auto part = model.part_of(named);
  return part == Part::base || part == Part::inserted;
}

// The first layer with something of the network that trains; of what stands in no layer only the pooler is behind them.
int64_t first_training_layer(AdapterModel& model) {
  const auto& backbone = model.backbone();
  int64_t first = backbone.config().num_hidden_layers;
  for (const auto* flat : model.trainable()) {
    for (const auto& named : flat->parameters()) {
      if (flat->frozen().contains(named.name) || !is_network(model, named)) continue;
      if (named.name.starts_with(backbone.prefix() + ".pooler.")) continue;
      first = std::min(first, std::max<int64_t>(0, layer_of(backbone, named.name)));
    }
  }
  return first;
}

ContentHash network_hash(AdapterModel& model, const std::string& config, int64_t layers) {
  ContentHash hash;
  hash.add(config);
  if (model.trunk() != at::kFloat) hash.add("trunk bfloat16");
  for (const auto& named : model.named_parameters()) {
    const auto& value = *named.parameter.value;
    if (!is_network(model, named) || layer_of(model.backbone(), named.name) >= layers || value.requires_grad())
      continue;
    hash.add(named.name);
    const auto host = value.detach().to(at::kCPU).contiguous();
    hash.add(host.const_data_ptr(), static_cast<size_t>(host.nbytes()));
  }
  return hash;
}

// Values of a token.
int64_t width_of(AdapterModel& model, const FirstLayers& first) {
  return model.backbone().config().hidden_size * (first.and_begun ? 2 : 1);
}

}  // namespace

FrozenStates::FrozenStates(AdapterModel& model, FrozenStatesOptions options)
    : model_(model), options_(std::move(options)), trains_from_(first_training_layer(model)) {}

RowStore& FrozenStates::store(const FirstLayers& first) {
  const auto part = std::to_string(first.layers) + (first.and_begun ? "-begun" : "");
  if (const auto found = stores_.find(part); found != stores_.end()) return *found->second;
  const auto hash = network_hash(model_, options_.model, first.layers + (first.and_begun ? 1 : 0)).hex();
  const auto name = hash + "-" + part + (options_.dtype == at::kBFloat16 ? "-bf16" : "-fp32");
  auto store = std::make_unique<RowStore>(
      RowStoreOptions{options_.folder, name, width_of(model_, first), options_.dtype, options_.max_bytes});
  return *stores_.emplace(part, std::move(store)).first->second;
}

ContentHash FrozenStates::row_hash(const PackedBatch& batch, int64_t row) const {
  const int64_t first = batch.layout.starts()[row], tokens = batch.layout.length(row);
  ContentHash hash;
  const auto add = [&](const at::Tensor& values) {
    const auto sizes = values.sizes();
    hash.add(sizes.data(), sizes.size() * sizeof(int64_t));
    const auto host = values.to(at::kCPU).contiguous();
    hash.add(host.const_data_ptr(), static_cast<size_t>(host.nbytes()));
  };
  if (batch.pixels.defined()) add(batch.pixels[row]);
  if (batch.ids.defined()) add(batch.ids.narrow(0, first, tokens));
  if (batch.token_types) add(batch.token_types->narrow(0, first, tokens));
  if (batch.positions) add(batch.positions->narrow(0, first, tokens));
  return hash;
}

void FrozenStates::fill(PackedBatch& batch, const ForwardRequest& request) {
  if (request.hidden_states) return;
  c10::NoGradGuard guard;
  auto& backbone = model_.backbone();
  const PassPrefixes prefixes(backbone.prefix_place(), request.segments);
  const ForwardContext context{&batch.layout, &request.segments, nullptr, nullptr, &prefixes};
  auto first = backbone.free_layers(context);
  if (first.layers >= trains_from_) first = {trains_from_, false};
  if (first.layers == 0 && stores_.empty()) {
    fail(ErrorCode::invalid_argument, "train", "frozenLayerCache has nothing to keep",
         {.expected = "first layers without an adapter of these rows and without parameters that train",
          .got = trains_from_ == 0 ? "a base model that trains from the first layer on"
                                   : "an adapter in the first layer or in front of it",
          .hint = "Leave layers out, as in addAdapter(name, 'seq_bn[leave_out=[0, 1, 2]]') or --config, or do without "
                  "the cache"});
  }
  if (first.layers == 0) return;
  first_ = first;
  auto& kept = store(first);
  auto states = at::empty({batch.layout.tokens(), width_of(model_, first)}, at::kFloat);
  const auto rows_states = [&](int64_t row) {
    return states.narrow(0, batch.layout.starts()[row], batch.layout.length(row));
  };
  std::vector<int64_t> missing;
  std::vector<ContentHash> hashes;
  for (int64_t row = 0; row < batch.layout.rows(); ++row) {
    hashes.push_back(row_hash(batch, row));
    if (!kept.read(hashes.back(), rows_states(row))) missing.push_back(row);
  }
  rows_read_ += batch.layout.rows() - static_cast<int64_t>(missing.size());
  rows_computed_ += static_cast<int64_t>(missing.size());
  if (!missing.empty()) compute(batch, missing, states);
  for (int64_t row : missing) {
    kept.write(hashes[row], rows_states(row));
    // As it will be read.
    if (options_.dtype != at::kFloat) rows_states(row).copy_(rows_states(row).to(options_.dtype));
  }
  batch.states = states.to(model_.device());
  batch.first_layer = first.layers;
}

void FrozenStates::compute(const PackedBatch& batch, const std::vector<int64_t>& missing, at::Tensor& states) {
  // Neighbours together, each run in as many parts as threads share it.
  struct Part {
    PackedBatch batch;
    int64_t first_token;
  };
  std::vector<Part> parts;
  auto inputs = batch;
  inputs.labels.reset(), inputs.questions.reset(), inputs.word_ids.reset();
  const auto& starts = batch.layout.starts();
  for (size_t i = 0; i < missing.size();) {
    size_t end = i + 1;
    while (end < missing.size() && missing[end] == missing[end - 1] + 1) ++end;
    auto run = inputs.rows(missing[i], missing[end - 1] + 1, LabelsOf::rows);
    const int count = shard_count(model_, run);
    for (int64_t share = 1, first = 0; first < run.layout.rows(); ++share) {
      const int64_t last = run.layout.share_end(share, count, first);
      parts.push_back({run.rows(first, last, LabelsOf::rows), starts[missing[i]] + run.layout.starts()[first]});
      first = last;
    }
    i = end;
  }
  const auto one = [&](size_t i) {
    c10::NoGradGuard guard;
    const auto& part = parts[i];
    const auto x = model_.backbone().encode_first(part.batch, first_);
    states.narrow(0, part.first_token, x.size(0)).copy_(x);
  };
  if (parts.size() > 1 && model_.device().is_cpu()) return run_shards(parts.size(), one);
  const ThreadScope threads(batch.layout.tokens(), model_.backbone().config().hidden_size);
  for (size_t i = 0; i < parts.size(); ++i) one(i);
}

uint64_t FrozenStates::bytes() const {
  uint64_t most = 0;
  for (const auto& [layers, store] : stores_) most = std::max(most, store->bytes());
  return most;
}

bool FrozenStates::full() const {
  return std::any_of(stores_.begin(), stores_.end(), [](const auto& store) { return store.second->full(); });
}

}  // namespace ta
