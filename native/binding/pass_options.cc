#include "binding/pass_options.h"

#include <ATen/ops/tensor.h>

#include "core/error.h"

namespace ta::binding {

namespace {

NamedSetup to_setup(const Napi::Value& value, int depth = 0) {
  using Kind = Composition::Kind;
  if (!present(value)) return {};
  if (value.IsString()) return {.kind = Kind::adapter, .name = value.As<Napi::String>().Utf8Value()};
  if (!value.IsObject() || depth > 16) wrong_type("a setup", "a name, null or a block that is not too deep");
  auto object = value.As<Napi::Object>();
  NamedSetup setup;
  const auto type = object.Get("type").ToString().Utf8Value();
  if (type == "stack") {
    setup.kind = Kind::stack;
  } else if (type == "fuse") {
    setup.kind = Kind::fuse;
    setup.name = object.Get("fusion").ToString().Utf8Value();
  } else if (type == "split") {
    setup.kind = Kind::split;
    setup.sizes = to_shape(object.Get("sizes"));
  } else if (type == "average") {
    setup.kind = Kind::average;
    auto weights = object.Get("weights").As<Napi::Array>();
    for (uint32_t i = 0; i < weights.Length(); ++i)
      setup.weights.push_back(weights.Get(i).As<Napi::Number>().DoubleValue());
  } else {
    wrong_type("a setup's type", "stack, fuse, split or average");
  }
  auto children = object.Get("children").As<Napi::Array>();
  for (uint32_t i = 0; i < children.Length(); ++i) setup.children.push_back(to_setup(children.Get(i), depth + 1));
  const auto count = setup.children.size();
  if (count == 0 || (setup.kind == Kind::split && setup.sizes.size() != count) ||
      (setup.kind == Kind::average && setup.weights.size() != count)) {
    wrong_type("a setup's children", "at least one, each with its size or weight");
  }
  return setup;
}

Composition resolve(const NamedSetup& setup, const AdapterModel& model) {
  Composition result{.kind = setup.kind, .weights = setup.weights, .sizes = setup.sizes};
  if (setup.kind == Composition::Kind::adapter) result.index = model.adapter_index(setup.name);
  if (setup.kind == Composition::Kind::fuse) result.index = model.fusion_index(setup.name);
  for (const auto& child : setup.children) result.children.push_back(resolve(child, model));
  return result;
}

// The options' losses for the request's heads.
void reckon_losses(const PassOptions& options, const AdapterModel& model, ForwardRequest& request) {
  if (options.losses.empty()) return;
  auto weights = std::make_shared<ClassWeights>();
  for (const auto& [head, loss] : options.losses)
    if (loss.class_weights) (*weights)[head] = at::tensor(*loss.class_weights, at::kFloat).to(model.device());
  request.class_weights = std::move(weights);
  const auto smoothing = [&](const std::string& head) {
    const auto found = options.losses.find(head);
    return found == options.losses.end() ? 0.0 : found->second.label_smoothing;
  };
  request.label_smoothing = smoothing(request.head);
  for (const auto& head : request.heads) request.head_smoothing.push_back(smoothing(head));
}

std::vector<RowSegment> to_segments(const PassOptions& options, const AdapterModel& model, int64_t rows) {
  std::vector<std::shared_ptr<const Composition>> setups;
  for (const auto& setup : options.setups) {
    auto resolved = std::make_shared<Composition>(resolve(setup, model));
    resolved->skip_layers = options.skip_layers;
    setups.push_back(std::move(resolved));
  }
  if (!options.row_setups) {
    if (setups.empty()) return {};
    return {{0, rows, setups[0]}};
  }
  if (static_cast<int64_t>(options.row_setups->size()) != rows) {
    fail(ErrorCode::invalid_argument, "forward", "adapters do not fit the batch",
         {.expected = text(rows, " entries, one a row"), .got = text(options.row_setups->size())});
  }
  std::vector<RowSegment> segments;
  int32_t previous = -2;
  for (int64_t row = 0; row < rows; ++row) {
    const int32_t setup = (*options.row_setups)[row];
    if (setup >= static_cast<int32_t>(setups.size())) wrong_type("rowSetups", "indices into setups, or -1");
    if (setup == previous) {
      segments.back().last = row + 1;
    } else {
      segments.push_back({row, row + 1, setup < 0 ? nullptr : setups[setup]});
    }
    previous = setup;
  }
  return segments;
}

void to_labels(const Napi::Value& value, std::optional<std::vector<int32_t>>& ints,
               std::optional<std::vector<float>>& floats) {
  if (value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_float32_array) {
    floats = to_floats(value);
  } else {
    ints = to_ints(value, "labels");
  }
}

}  // namespace

BatchInput to_batch(const Napi::Object& object) {
  BatchInput batch;
  batch.ids = to_ints(object.Get("inputIds"), "inputIds");
  if (auto v = object.Get("pixelValues"); present(v))
    batch.pixels = to_float_rows(v, "pixelValues", batch.value_lengths);
  if (auto v = object.Get("imageSize"); present(v)) {
    const auto size = to_shape(v);
    if (size.size() != 2) wrong_type("imageSize", "height and width");
    batch.image_size.emplace(size[0], size[1]);
  }
  batch.row_lengths = to_ints(object.Get("rowLengths"), "rowLengths");
  if (auto v = object.Get("sourceIds"); present(v)) batch.source_ids = to_ints(v, "sourceIds");
  if (auto v = object.Get("sourceLengths"); present(v)) batch.source_lengths = to_ints(v, "sourceLengths");
  if (auto v = object.Get("tokenTypeIds"); present(v)) batch.token_types = to_ints(v, "tokenTypeIds");
  if (auto v = object.Get("positionIds"); present(v)) batch.positions = to_ints(v, "positionIds");
  if (auto v = object.Get("choices"); present(v)) batch.choices = to_ints(v, "choices");
  if (auto v = object.Get("wordIds"); present(v)) batch.word_ids = to_ints(v, "wordIds");
  if (auto v = object.Get("labels"); present(v)) to_labels(v, batch.int_labels, batch.float_labels);
  return batch;
}

PassOptions to_pass_options(const Napi::Object& object) {
  PassOptions options;
  if (auto v = object.Get("copies"); present(v)) options.copies = v.As<Napi::Number>().Int64Value();
  if (options.copies < 1) wrong_type("copies", "1 or more");
  auto setups = object.Get("setups").As<Napi::Array>();
  for (uint32_t i = 0; i < setups.Length(); ++i) options.setups.push_back(to_setup(setups.Get(i)));
  if (auto v = object.Get("rowSetups"); present(v)) options.row_setups = to_ints(v, "rowSetups");
  if (auto v = object.Get("head"); present(v)) options.head = v.As<Napi::String>().Utf8Value();
  if (auto v = object.Get("rowHeads"); present(v)) {
    options.heads = to_strings(object.Get("heads"));
    options.row_heads = to_ints(v, "rowHeads");
  }
  if (auto v = object.Get("headLabels"); present(v)) {
    auto lists = v.As<Napi::Array>();
    for (uint32_t i = 0; i < lists.Length(); ++i) {
      auto& labels = options.head_labels.emplace_back();
      if (auto list = lists.Get(i); present(list)) to_labels(list, labels.ints, labels.floats);
    }
  }
  if (auto v = object.Get("losses"); present(v)) {
    auto list = v.As<Napi::Array>();
    for (uint32_t i = 0; i < list.Length(); ++i) {
      const auto own = list.Get(i).As<Napi::Object>();
      auto& loss = options.losses[own.Get("head").ToString().Utf8Value()];
      loss.label_smoothing = own.Get("labelSmoothing").As<Napi::Number>().DoubleValue();
      if (auto weights = own.Get("classWeights"); present(weights)) loss.class_weights = to_floats(weights);
    }
  }
  if (auto v = object.Get("skipLayers"); present(v)) options.skip_layers = to_shape(v);
  options.hidden_states = object.Get("outputHiddenStates").ToBoolean();
  options.fusion_attentions = object.Get("outputFusionAttentions").ToBoolean();
  if (object.Get("bestLabels").ToBoolean()) options.answers = Answers::best;
  options.frozen_states = object.Get("frozenStates").ToBoolean();
  options.last_hidden_state = object.Get("outputLastHiddenState").ToBoolean();
  return options;
}

ForwardRequest to_request(const PassOptions& options, const AdapterModel& model, int64_t batch_rows) {
  const int64_t rows = batch_rows * options.copies;
  ForwardRequest request;
  request.copies = options.copies;
  request.head = options.head;
  request.hidden_states = options.hidden_states;
  request.fusion_scores = options.fusion_attentions;
  request.answers = options.answers;
  request.last_hidden_state = options.last_hidden_state;
  if (options.row_heads) {
    const auto count = static_cast<int64_t>(options.heads.size());
    if (static_cast<int64_t>(options.row_heads->size()) != rows) wrong_type("rowHeads", "an entry for each row");
    request.row_heads.resize(count);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t head = (*options.row_heads)[row];
      if (head < 0 || head >= count) wrong_type("rowHeads", "indices into heads");
      request.row_heads[head].push_back(row);
    }
    request.heads = options.heads;
    for (const auto& [ints, floats] : options.head_labels) {
      auto& labels = request.head_labels.emplace_back();
      if (ints) labels = at::tensor(*ints, at::kInt).to(model.device(), at::kLong);
      if (floats) labels = at::tensor(*floats, at::kFloat).to(model.device());
    }
  }
  reckon_losses(options, model, request);
  request.segments = to_segments(options, model, rows);
  return request;
}

}  // namespace ta::binding
