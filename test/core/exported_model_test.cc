// Networks from archives give what PyTorch gives: hidden states of rows of any lengths, and values and gradients with
// an adapter after or before a module and at a weight. What residuals.h finds is what the models' own code has.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

#include <filesystem>
#include <set>

#include "check.h"
#include "core/adapters/prefix_layer.h"
#include "core/exported/exported_model.h"
#include "core/models/network.h"
#include "core/state/safetensors.h"
#include "core/surgery/adapter_model.h"
#include "core/surgery/state_io.h"
#include "core/training/gradients.h"
#include "exported_archives.h"
#include "tensors.h"

namespace {

using namespace ta;
using exported::ExportedModel;

const std::filesystem::path kFolder = "build/fixtures/exported";

// An encoder and a decoder at once: what their rows give is tested in test/exported/encoder-decoder.test.ts.
const std::set<std::string> kPairs = {"t5"};

std::vector<std::string> exported_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    const auto name = entry.path().stem().string();
    if (entry.path().extension() == ".json" && !kPairs.contains(name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Opened {
  explicit Opened(const std::string& name)
      : name(name),
        backbone(std::make_shared<ExportedModel>((kFolder / (name + ".pt2")).string(), at::kCPU)),
        cases(parse_json(read_text(kFolder / (name + ".json")), name)),
        tensors(read_weights((kFolder / (name + ".safetensors")).string())) {
    ModelConfig config;
    config.model_type = name;
    config.hidden_size = backbone->facts().hidden;
    config.num_hidden_layers = backbone->facts().layers;
    backbone->configure(config, "");
    model = std::make_unique<AdapterModel>(backbone, at::kCPU);
  }
  at::Tensor tensor(const Json* reference) const { return *tensors.find(reference->as_string("reference")); }

  std::string name;
  std::shared_ptr<ExportedModel> backbone;
  Json cases;
  StateDict tensors;
  std::unique_ptr<AdapterModel> model;
};

std::vector<std::vector<int32_t>> rows_of(const Json* json) {
  std::vector<std::vector<int32_t>> rows;
  for (const auto& row : json->as_array("rows")) {
    auto& values = rows.emplace_back();
    for (const auto& value : row.as_array("row")) values.push_back(static_cast<int32_t>(value.as_integer("value")));
  }
  return rows;
}

// Nothing where rows are no ids. `side`: "decoder_", in front of the names of what a decoder reads.
std::optional<BatchInput> batch_of(const Json& inputs, const std::string& side = "") {
  const auto* ids = inputs.find(side + "input_ids");
  if (ids == nullptr || ids->is_string()) return std::nullopt;
  const auto rows = rows_of(ids);
  const auto* given_mask = inputs.find(side + "attention_mask");
  const auto mask = given_mask == nullptr ? rows : rows_of(given_mask);
  const auto* types = inputs.find("token_type_ids");
  BatchInput batch;
  if (types != nullptr) batch.token_types.emplace();
  const auto type_rows = types == nullptr ? rows : rows_of(types);
  for (size_t row = 0; row < rows.size(); ++row) {
    int32_t length = 0;
    for (size_t i = 0; i < rows[row].size(); ++i) {
      if (given_mask != nullptr && mask[row][i] == 0) continue;
      ++length;
      batch.ids.push_back(rows[row][i]);
      if (batch.token_types) batch.token_types->push_back(type_rows[row][i]);
    }
    batch.row_lengths.push_back(length);
  }
  return batch;
}

struct Rows {
  PackedBatch batch;
  std::vector<RowSegment> segments;
};

at::Tensor states_of(Opened& opened, const Rows& rows) {
  const PassPrefixes prefixes(opened.backbone->prefix_place(), rows.segments);
  ForwardContext context{&rows.batch.layout, &rows.segments};
  context.prefixes = &prefixes;
  return opened.backbone->encode(rows.batch, context, {}).last;
}

// The padded tensor's rows without their padding; a value a row is as it is.
at::Tensor packed(const at::Tensor& padded, const RowLayout& layout) {
  if (padded.dim() == 2) return padded;
  std::vector<at::Tensor> parts;
  for (int64_t row = 0; row < layout.rows(); ++row)
    parts.push_back(padded.select(0, row).narrow(0, 0, layout.length(row)));
  return at::cat(parts);
}

void check_close(const std::string& what, const at::Tensor& got, const at::Tensor& expected, double tolerance = 1e-6) {
  const double scale = std::max(1.0, expected.abs().max().item<double>());
  const double error = (got - expected).abs().max().item<double>() / scale;
  if (error > tolerance) std::fprintf(stderr, "  %s is off by %g\n", what.c_str(), error);
  CHECK(error <= tolerance);
}

std::optional<Rows> rows_for(Opened& opened, const Json& one) {
  const auto* inputs = one.find("inputs");
  auto input = inputs == nullptr ? std::nullopt : batch_of(*inputs);
  for (const char* name : {"pixel_values", "input_features"}) {
    const auto* values = inputs == nullptr ? nullptr : inputs->find(name);
    if (values == nullptr) continue;
    // Rows of numbers of several lengths: test/exported/values.test.ts.
    if (const auto* mask = inputs->find("attention_mask"); mask != nullptr && !mask->is_string())
      for (const auto& row : rows_of(mask))
        if (std::count(row.begin(), row.end(), 0) > 0) return std::nullopt;
    const auto all = opened.tensor(values);
    input.emplace().pixels = all.reshape({all.size(0), -1});
  }
  if (!input) return std::nullopt;
  opened.backbone->prepare(*input);
  return Rows{PackedBatch::pack(*input, at::kCPU), {}};
}

void set_weights(Opened& opened, const Json& one, const std::map<std::string, std::string>& names) {
  StateDict values;
  for (const auto& [theirs, ours] : names) {
    auto value = opened.tensor(one.find("weights")->find(theirs));
    for (const auto& named : opened.model->named_parameters())
      if (named.name == ours) values.add(ours, value.view(named.parameter.shape).clone());
  }
  CHECK_EQ(values.size(), names.size());
  set_parameters(*opened.model, values);
}

// Value and gradients of what `names` says, the expected ones by the same keys.
void check_site(Opened& opened, const Json& one, Rows rows, const std::map<std::string, std::string>& names) {
  const auto what = opened.name + ": " + one.find("name")->as_string("name");
  set_weights(opened, one, names);
  Gradients(*opened.model).zero();
  const auto y = states_of(opened, rows);
  const auto* expected = one.find("expected");
  check_close(what, y.detach(), packed(opened.tensor(expected->find("output")), rows.batch.layout));
  (y * packed(opened.tensor(one.find("lossWeights")), rows.batch.layout)).sum().backward();
  for (const auto& [theirs, ours] : names) {
    for (auto* flat : opened.model->trainable())
      for (size_t i = 0; i < flat->parameters().size(); ++i)
        if (flat->parameters()[i].name == ours) {
          const auto wanted = opened.tensor(expected->find("gradients")->find(theirs));
          check_close(what + ", gradient of " + theirs, flat->grad(i).reshape(wanted.sizes()), wanted, 5e-6);
        }
  }
}

void check_surgery(Opened& opened, const Json& one, const Rows& rows, const std::string& position) {
  using Kind = ModuleDescription::Kind;
  const auto path = ta::named(*opened.backbone, one.find("path")->as_string("path"));
  const ModuleDescription module{.kind = Kind::module, .path = path};
  const ModuleDescription adapter{.kind = Kind::adapter, .hidden_size = opened.backbone->facts().hidden, .sizes = {4}};
  const bool parallel = position == "parallel";
  ModuleDescription whole{.kind = parallel ? Kind::parallel : Kind::sequential};
  whole.parts = position == "before" ? std::vector{adapter, module} : std::vector{module, adapter};
  whole.scale = 4;
  const auto operation = opened.model->replace_modules({{path, whole}}, 1);
  opened.model->set_trainable({.adapters = {}, .heads = {}, .inserted = true});
  const auto place = path + (parallel ? ".adapter." : position == "after" ? ".1." : ".0.");
  check_site(opened, one, rows,
             {{"down.weight", place + "down_project.weight"},
              {"down.bias", place + "down_project.bias"},
              {"up.weight", place + "up_project.weight"},
              {"up.bias", place + "up_project.bias"}});
  opened.model->undo_replacement(operation);
}

void check_lora(Opened& opened, const Json& one, Rows rows, const std::string& kind) {
  const bool scales = kind == "ia3", lengths = kind == "dora";
  const auto path = one.find("path")->as_string("path");
  const auto& linears = opened.backbone->facts().linears;
  const auto at = std::find_if(linears.begin(), linears.end(), [&](const auto& linear) { return linear.path == path; });
  CHECK(at != linears.end());
  if (at == linears.end()) return;
  LoraConfig config;
  config.query = at->location == Location::query;
  config.key = at->location == Location::key;
  config.value = at->location == Location::value;
  config.merged = at->location == Location::query_key_value;
  config.attention_output = at->location == Location::attention_output;
  config.intermediate = at->location == Location::intermediate;
  config.output = at->location == Location::feed_forward_output;
  config.rank = scales ? 1 : 2;
  if (at->location) {
    for (int64_t layer = 0; layer < opened.backbone->facts().layers; ++layer)
      if (layer != at->layer) config.leave_out.push_back(layer);
  } else {
    config.linears = {path};
  }
  if (lengths) config.dora = Dora::peft;
  config.alpha = scales ? 1 : 8;
  if (scales) config.scales = Scales::output, config.init_weights = LoraInit::ia3;
  opened.model->add_adapter("a", {config}, 1);
  opened.model->set_trainable({.adapters = {"a"}, .heads = {}});
  rows.segments = {{0, rows.batch.layout.rows(),
                    std::make_shared<Composition>(
                        Composition{.kind = Composition::Kind::adapter, .index = opened.model->adapter_index("a")})}};
  const auto place = ta::named(*opened.backbone, path) + ".loras.a.";
  std::map<std::string, std::string> names{{"lora_A", place + "lora_A"}, {"lora_B", place + "lora_B"}};
  if (scales) names = {{"scale", place + "lora_B"}};
  if (lengths) names["magnitude"] = place + "m.weight";
  check_site(opened, one, rows, names);
  opened.model->set_trainable({});
  opened.model->delete_adapter("a");
}

// The fixture's names are those of the adapters library, and ours.
void check_prefix(Opened& opened, const Json& one, Rows rows) {
  const auto* given = one.find("config");
  PrefixConfig config;
  config.lengths.assign(opened.backbone->facts().layers, given->find("prefix_length")->as_integer("prefix_length"));
  if (const auto* left_out = given->find("leave_out"))
    for (const auto& layer : left_out->as_array("leave_out")) config.lengths[layer.as_integer("layer")] = 0;
  config.flat = given->find("flat") != nullptr;
  config.use_gating = given->find("use_gating") != nullptr;
  config.shared_gating = given->find("shared_gating") == nullptr;
  if (const auto* size = given->find("bottleneck_size")) config.bottleneck_size = size->as_integer("bottleneck_size");
  opened.model->add_adapter("x", {config}, 1);
  opened.model->set_trainable({.adapters = {"x"}, .heads = {}});
  rows.segments = {{0, rows.batch.layout.rows(),
                    std::make_shared<Composition>(
                        Composition{.kind = Composition::Kind::adapter, .index = opened.model->adapter_index("x")})}};
  std::map<std::string, std::string> names;
  for (const auto& [name, reference] : one.find("weights")->as_object("weights")) names[name] = name;
  CHECK_EQ(names.size(), opened.model->adapter_state("x").size());
  check_site(opened, one, rows, names);
  opened.model->set_trainable({});
  opened.model->delete_adapter("x");
}

}  // namespace

TEST(exported_models_give_pytorchs_values_and_gradients) {
  for (const auto& name : exported_names()) {
    Opened opened(name);
    for (const auto& one : opened.cases.find("cases")->as_array("cases")) {
      const auto kind = one.find("kind")->as_string("kind");
      auto rows = rows_for(opened, one);
      if (!rows) continue;
      if (kind == "forward") {
        const auto expected = opened.tensor(one.find("expected")->find("output"));
        // Python's float32 is as far from the exact values as its own noise, and we may be on their other side.
        const auto* noise = one.find("noise");
        const double own = noise == nullptr || noise->is_null() ? 0 : noise->as_number("noise");
        check_close(name + ": " + one.find("name")->as_string("name"), states_of(opened, *rows),
                    packed(expected, rows->batch.layout), 1e-6 + own);
      } else if (kind == "after" || kind == "before" || kind == "parallel") {
        check_surgery(opened, one, *rows, kind);
      } else if (kind == "lora" || kind == "ia3" || kind == "dora") {
        check_lora(opened, one, *rows, kind);
      } else if (kind == "prefix") {
        check_prefix(opened, one, *rows);
      }
    }
  }
}

TEST(exported_outputs_that_heads_cannot_read_are_refused) {
  const auto open = [](const char* name, const char* output) {
    return ExportedModel((kFolder / (std::string(name) + ".pt2")).string(), at::kCPU, {.reading = {.output = output}});
  };
  CHECK(open("bert", "pooler_output").facts().hidden == 16);
  CHECK_THROWS(ErrorCode::invalid_argument, open("bert", "logits"));
}

TEST(exported_encoder_of_an_encoder_and_a_decoder_is_read_by_its_output) {
  const exported::Choices choices{.reading = {.output = "encoder_last_hidden_state"}};
  ExportedModel model((kFolder / "t5.pt2").string(), at::kCPU, choices);
  CHECK(model.facts().layers == 2 && !model.facts().is_causal && !model.facts().has_decoder);
  CHECK_EQ(model.facts().inputs.size(), 2U);
  BatchInput input;
  input.ids = {5, 6, 7, 3, 4, 9, 8}, input.row_lengths = {3, 4};
  model.prepare(input);
  const auto batch = PackedBatch::pack(input, at::kCPU);
  const auto states = model.encode(batch, ForwardContext{&batch.layout}, {}).last;
  // The whole graph's second output, whatever is written.
  const auto ids = at::tensor(std::vector<int64_t>{5, 6, 7, 0, 3, 4, 9, 8}).view({2, 4});
  const auto mask = at::tensor(std::vector<int64_t>{1, 1, 1, 0, 1, 1, 1, 1}).view({2, 4});
  const auto written = at::ones({2, 5}, ids.options());
  const auto whole = check::Exported(check::exported_file("t5.pt2")).run({ids, mask, written, written});
  check_close("the encoder alone", states, packed(whole.at(1), batch.layout));
}

TEST(exported_encoder_and_decoder_run_rows_of_lengths_of_their_own) {
  ExportedModel model((kFolder / "t5.pt2").string(), at::kCPU);
  ModelConfig config;
  config.hidden_size = model.facts().hidden;
  config.num_hidden_layers = model.facts().layers;
  model.configure(config, "transformer");
  CHECK(model.facts().layers == 4 && model.facts().is_causal && model.facts().has_decoder);
  const auto states = [&](BatchInput input) {
    model.prepare(input);
    const auto batch = PackedBatch::pack(input, at::kCPU);
    return model.encode(batch, ForwardContext{&batch.layout}, {}).last;
  };
  BatchInput both, first, second;
  first.ids = {0, 9, 4}, first.row_lengths = {3}, first.source_ids = {5, 6}, first.source_lengths = {2};
  second.ids = {0}, second.row_lengths = {1}, second.source_ids = {7, 8, 9, 3}, second.source_lengths = {4};
  both.ids = {0, 9, 4, 0}, both.row_lengths = {3, 1};
  both.source_ids = {5, 6, 7, 8, 9, 3}, both.source_lengths = {2, 4};
  check_close("rows of both", states(both), at::cat({states(first), states(second)}));
  first.source_ids = {5, 7};
  CHECK(!at::equal(states(first), states(both).narrow(0, 0, 3)));
  first.source_lengths = {3};
  CHECK_THROWS(ErrorCode::invalid_argument, states(first));
  first.source_ids.clear(), first.source_lengths.clear();
  CHECK_THROWS(ErrorCode::invalid_argument, states(first));
}

TEST(exported_encoder_and_decoder_have_prefixes_in_the_layers_of_both) {
  Opened opened("t5");
  int cases = 0;
  for (const auto& one : opened.cases.find("cases")->as_array("cases")) {
    if (one.find("kind")->as_string("kind") != "prefix") continue;
    const auto source = batch_of(*one.find("inputs"));
    auto input = batch_of(*one.find("inputs"), "decoder_");
    input->source_ids = source->ids, input->source_lengths = source->row_lengths;
    opened.backbone->prepare(*input);
    check_prefix(opened, one, {PackedBatch::pack(*input, at::kCPU), {}});
    ++cases;
  }
  CHECK_EQ(cases, 1);
}

// Gemma 2's scores: scaled, divided, through tanh, multiplied, and a mask.
TEST(prefixes_stand_where_all_that_is_done_to_the_scores_is_understood) {
  const auto source = check::exported_file("gemma2.pt2");
  std::string why;
  const auto features = [&](const std::string& from, const std::string& to) {
    auto model = check::archive_entry(source, "models/model.json");
    CHECK(model.find(from) != std::string::npos);
    for (size_t at = model.find(from); at != std::string::npos; at = model.find(from, at + to.size()))
      model.replace(at, from.size(), to);
    const check::TemporaryFolder folder;
    const auto path = folder.file("gemma2.pt2");
    check::write_archive(path, source, {{"models/model.json", model}});
    const ExportedModel opened(path, at::kCPU);
    why = opened.facts().explanation.back();
    return opened.facts().key_features;
  };
  CHECK_EQ(features("aten.tanh.default", "aten.tanh_.default"), 6);
  CHECK(!check::contains(why, "takes no prefix"));
  CHECK_EQ(features("aten.tanh.default", "aten.sigmoid.default"), 0);
  CHECK(check::contains(why, "layer 1 takes no prefix: its attention has aten.sigmoid.default (node "));
  CHECK_EQ(features("aten.div.Tensor", "aten.fmod.Tensor"), 0);
  CHECK_EQ(features("aten.dropout.default", "aten.alpha_dropout.default"), 0);
}

// As of ConvNext or Segformer, whose states have no tokens.
TEST(a_network_without_tokens_or_rows_is_told_what_it_gives_and_what_would_do) {
  const auto source = check::exported_file("vit.pt2");
  auto model = check::archive_entry(source, "models/model.json");
  const auto give = [&](const std::string& name, const std::string& other) {
    const std::string output = "{\"as_tensor\": {\"name\": \"" + name + "\"}}",
                      instead = "{\"as_tensor\": {\"name\": \"" + other + "\"}}";
    for (const std::string before : {"\"outputs\": [", "}}, ", "\"user_output\": {\"arg\": "}) {
      for (const std::string behind : {", {\"as_tensor\": {\"name\": \"tanh\"}}], \"nodes\"", "], \"nodes\"", "}}"}) {
        const auto at = model.find(before + output + behind);
        if (at != std::string::npos) model.replace(at + before.size(), output.size(), instead);
      }
    }
  };
  give("layer_norm_4", "conv2d");
  give("tanh", "conv2d");
  const check::TemporaryFolder folder;
  const auto path = folder.file("maps.pt2");
  check::write_archive(path, source, {{"models/model.json", model}});
  const auto message = CHECK_THROWS(ErrorCode::unsupported, ExportedModel(path, at::kCPU));
  CHECK(check::contains(message, "the graph gives no hidden states"));
  CHECK(check::contains(message, "[batch, 8, 2, 2]"));
  CHECK(check::contains(message, "states.flatten(2).transpose(1, 2)"));
}

TEST(residual_sub_layers_are_those_of_the_models_code) {
  for (const auto& name : exported_names()) {
    Opened opened(name);
    for (const auto& one : opened.cases.find("cases")->as_array("cases")) {
      const auto* wanted = one.find("subLayers");
      if (wanted == nullptr) continue;
      std::vector<std::pair<int64_t, bool>> expected, found;
      for (const auto& sub : wanted->as_array("subLayers"))
        expected.emplace_back(sub.find("layer")->as_integer("layer"),
                              sub.find("location")->as_string("location") == "attention");
      for (const auto& place : opened.backbone->places())
        if (place.location == Location::attention || place.location == Location::output)
          found.emplace_back(place.layer, place.location == Location::attention);
      if (expected != found)
        for (const auto& line : opened.backbone->facts().explanation)
          std::fprintf(stderr, "  %s: %s\n", name.c_str(), line.c_str());
      CHECK(expected == found);
    }
  }
}
