// Surgery over named modules: names, values against the same adapter at a site, the way back, rows in threads, and what
// is refused.
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

#include <set>

#include "check.h"
#include "core/surgery/module_path.h"
#include "core/training/evaluate.h"
#include "core/training/gradients.h"
#include "tiny.h"

namespace {

using namespace ta;
using namespace tiny_models;
using Kind = ModuleDescription::Kind;

int64_t next_id = 0;

Trainable choose(std::vector<std::string> adapters, std::vector<std::string> base, bool inserted) {
  Trainable what;
  what.adapters = std::move(adapters), what.base = std::move(base), what.inserted = inserted;
  return what;
}

ModuleDescription there(const std::string& path) {
  return {.kind = Kind::module, .path = path};
}
ModuleDescription adapter(int64_t hidden = 16, int64_t size = 4) {
  return {.kind = Kind::adapter, .id = next_id++, .hidden_size = hidden, .sizes = {size}};
}
ModuleDescription dynamic(int64_t hidden = 16) {
  return {.kind = Kind::dynamic, .id = next_id++, .hidden_size = hidden, .sizes = {6}, .identity_start = false};
}
ModuleDescription sequence(std::vector<ModuleDescription> parts) {
  return {.kind = Kind::sequential, .id = next_id++, .parts = std::move(parts)};
}
Replacement behind(const std::string& path, const ModuleDescription& what) {
  return {path, sequence({there(path), what})};
}

std::vector<std::string> names_of(AdapterModel& model) {
  std::vector<std::string> names;
  for (const auto& named : model.named_parameters()) names.push_back(named.name);
  return names;
}

std::vector<std::string> inserted_names(AdapterModel& model) {
  std::vector<std::string> names;
  for (const auto& named : model.named_parameters())
    if (model.part_of(named) == Part::inserted) names.push_back(named.name);
  return names;
}

at::Tensor value_of(AdapterModel& model, const std::string& name) {
  for (const auto& named : model.named_parameters())
    if (named.name == name) return *named.parameter.value;
  check::report(name.c_str(), 0, "no such parameter");
  return {};
}

// Values that no start would give, by the order of the parameters.
void fill_inserted(AdapterModel& model) {
  const c10::NoGradGuard guard;
  Random random(11);
  for (const auto& named : model.named_parameters())
    if (model.part_of(named) == Part::inserted) random.normal_(*named.parameter.value, 0, 0.3);
}

ForwardResult answer(AdapterModel& model, bool all_tokens = false, bool with_adapters = false) {
  auto batches = batch_for(model, HeadType::classification);
  if (!with_adapters) batches[0].request.segments.clear();
  batches[0].request.last_hidden_state = all_tokens;
  return evaluate(model, batches[0].batch, batches[0].request);
}

double largest_gap(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

const std::vector<std::string> kPlaces = {
    "bert.encoder.layer.0.attention.self.query",
    "bert.encoder.layer.1.attention.self.value",
    "bert.encoder.layer.1.attention.self",
    "bert.encoder.layer.0.attention",
    "bert.encoder.layer.1.attention",
    "bert.encoder.layer.1.attention.output.dense",
    "bert.encoder.layer.0.attention.output.LayerNorm",
    "bert.encoder.layer.1.output.LayerNorm",
    "bert.encoder.layer.1",
    "bert.encoder.layer.0",
    "bert.encoder.layer.1.output.dense",
    "bert.embeddings.LayerNorm",
    "bert.pooler.dense",
    "bert.pooler",
};
const std::vector<std::string> kWide = {"bert.encoder.layer.1.intermediate.dense", "bert.encoder.layer.0.intermediate",
                                        "bert.encoder.layer.1.intermediate.intermediate_act_fn"};

std::unique_ptr<AdapterModel> with_pooler() {
  auto model = tiny_model(HeadType::classification, 0);
  HeadConfig head;
  head.num_labels = 3;
  head.layers = 2;
  head.use_pooler = true;
  model->add_head("a", head, 3, true);
  // Large enough that every module matters.
  const c10::NoGradGuard guard;
  model->backbone().visit_parameters("", [](const std::string&, const Parameter& parameter) {
    if (parameter.shape.size() > 1) parameter.value->mul_(10);
  });
  return model;
}

std::map<std::string, at::Tensor> gradients_of(AdapterModel& model, int shards = 1, bool with_adapters = false) {
  auto batches = batch_for(model, HeadType::classification);
  if (!with_adapters) batches[0].request.segments.clear();
  Gradients gradients(model);
  gradients.zero();
  gradients.add(batches[0].batch, batches[0].request, nullptr, 1, shards);
  std::map<std::string, at::Tensor> result;
  for (auto* flat : model.trainable())
    for (size_t i = 0; i < flat->parameters().size(); ++i)
      result.emplace(flat->parameters()[i].name, flat->grad(i).clone());
  return result;
}

}  // namespace

TEST(an_adapter_behind_any_module_is_named_as_pytorchs_sequential_and_undone_bit_for_bit) {
  auto places = kPlaces;
  places.push_back("heads.a.1");
  places.insert(places.end(), kWide.begin(), kWide.end());
  for (const auto& place : places) {
    auto model = with_pooler();
    const auto before = names_of(*model);
    const auto logits = answer(*model, true).logits;
    std::map<std::string, const void*> memory;
    for (const auto& named : model->named_parameters()) memory[named.name] = named.parameter.value->const_data_ptr();

    const bool wide = std::find(kWide.begin(), kWide.end(), place) != kWide.end();
    const auto operation = model->replace_modules({behind(place, adapter(wide ? 32 : 16))}, 5);
    std::vector<std::string> expected;
    for (const auto& name : before)
      expected.push_back(name.starts_with(place + ".") ? place + ".0" + name.substr(place.size()) : name);
    std::vector<std::string> base;
    for (const auto& name : names_of(*model))
      if (!name.starts_with(place + ".1.")) base.push_back(name);
    CHECK_EQ(base, expected);
    CHECK_EQ(inserted_names(*model),
             std::vector<std::string>{place + ".1.down_project.weight", place + ".1.down_project.bias",
                                      place + ".1.up_project.weight", place + ".1.up_project.bias"});
    CHECK(largest_gap(answer(*model, true).logits, logits) < 1e-5);  // it starts as the identity
    for (const auto& flat : model->trainable()) CHECK(flat == nullptr);
    fill_inserted(*model);
    const auto changed = answer(*model, true).logits;
    if (largest_gap(changed, logits) < 1e-4) check::report(place.c_str(), 0, "the adapter has no effect");
    // First tokens alone, and all of them.
    if (largest_gap(answer(*model).logits, changed) > 1e-5) check::report(place.c_str(), 0, "other first tokens");

    model->undo_replacement(operation);
    CHECK_EQ(names_of(*model), before);
    for (const auto& named : model->named_parameters())
      CHECK(memory.at(named.name) == named.parameter.value->const_data_ptr());
    CHECK(answer(*model, true).logits.equal(logits));
  }
}

TEST(behind_a_dense_it_gives_what_the_adapter_at_the_site_gives) {
  const auto form = [](bool attention) {
    BottleneckConfig config;
    config.mh_adapter = attention;
    config.output_adapter = !attention;
    config.bottleneck_sizes = {4, 4};
    return config;
  };
  for (const bool attention : {false, true}) {
    const std::string part = attention ? "attention.output" : "output";
    auto at_site = tiny_model(HeadType::classification, 0);
    at_site->add_adapter("a", {form(attention)}, 2, true);
    auto inserted = tiny_model(HeadType::classification, 0);
    std::vector<Replacement> all;
    for (const auto* layer : {"0", "1"})
      all.push_back(behind("bert.encoder.layer." + std::string(layer) + "." + part + ".dense", adapter()));
    inserted->replace_modules(all, 5);
    fill_inserted(*inserted);
    const std::vector<std::pair<std::string, std::string>> spelled = {
        {"dense.1.down_project", "adapters.a.adapter_down.0"}, {"dense.1.up_project", "adapters.a.adapter_up"}};
    const auto site_name = [&](std::string name) {
      for (const auto& [ours, site] : spelled)
        if (const auto found = name.find(ours); found != std::string::npos) name.replace(found, ours.size(), site);
      return name;
    };
    for (const auto& name : inserted_names(*inserted))
      value_of(*at_site, site_name(name)).copy_(value_of(*inserted, name));
    CHECK(largest_gap(answer(*inserted).logits, answer(*at_site, false, true).logits) < 2e-6);

    at_site->set_trainable(choose({"a"}, {}, false));
    inserted->set_trainable(choose({}, {}, true));
    const auto expected = gradients_of(*at_site, 1, true);
    for (const int shards : {1, 2}) {
      const auto got = gradients_of(*inserted, shards);
      CHECK_EQ(got.size(), expected.size());
      for (const auto& [name, gradient] : got) {
        const auto& wanted = expected.at(site_name(name));
        CHECK(largest_gap(gradient, wanted) <= 1e-4 * wanted.abs().max().item<double>() + 1e-7);
      }
    }
  }
}

TEST(one_description_in_several_places_is_one_tensor_with_summed_gradients) {
  auto model = tiny_model(HeadType::classification, 0), apart = tiny_model(HeadType::classification, 0);
  const auto shared = adapter();
  std::vector<Replacement> together, separate;
  for (const auto* layer : {"0", "1"}) {
    const auto path = "bert.encoder.layer." + std::string(layer) + ".output.dense";
    together.push_back(behind(path, shared));
    separate.push_back(behind(path, adapter()));
  }
  // One operation for the first place and another for the second.
  const auto first = model->replace_modules({together[0]}, 5);
  fill_inserted(*model);
  model->replace_modules({together[1]}, 6);
  apart->replace_modules(separate, 5);
  CHECK_EQ(inserted_names(*model).size(), 4u);
  const std::string one = "bert.encoder.layer.0.output.dense.1.", two = "bert.encoder.layer.1.output.dense.1.";
  for (const auto& name : inserted_names(*model)) {
    value_of(*apart, name).copy_(value_of(*model, name));
    value_of(*apart, two + name.substr(one.size())).copy_(value_of(*model, name));
  }
  CHECK(answer(*model).logits.equal(answer(*apart).logits));
  std::vector<std::string> all;
  model->root().visit_parameters("", [&](const std::string& name, const Parameter&) { all.push_back(name); });
  CHECK(std::find(all.begin(), all.end(), two + "up_project.bias") != all.end());

  model->set_trainable(choose({}, {}, true));
  apart->set_trainable(choose({}, {}, true));
  CHECK_EQ(model->trainable().size(), 1u);
  for (const int shards : {1, 2}) {
    const auto summed = gradients_of(*model, shards), parts = gradients_of(*apart);
    for (const auto& [name, gradient] : summed) {
      const auto wanted = parts.at(name) + parts.at(two + name.substr(one.size()));
      CHECK(largest_gap(gradient, wanted) <= 1e-5 * wanted.abs().max().item<double>() + 1e-8);
    }
  }
  // The second place keeps the module when the first one is undone.
  const auto kept = value_of(*model, one + "up_project.weight").detach().clone();
  model->undo_replacement(first);
  CHECK_EQ(inserted_names(*model).size(), 4u);
  CHECK(value_of(*model, two + "up_project.weight").equal(kept));
}

TEST(a_size_for_each_row_needs_every_token_of_the_last_layer) {
  for (const auto& place : kPlaces) {
    if (place.ends_with("LayerNorm") || place.starts_with("bert.pooler")) continue;
    auto model = tiny_model(HeadType::classification, 0);
    model->replace_modules({behind(place, dynamic())}, 5);
    fill_inserted(*model);
    if (!answer(*model).logits.equal(answer(*model, true).logits)) {
      check::report(place.c_str(), 0, "other logits where only first tokens are asked for");
    }
    model->set_trainable(choose({}, {}, true));
    const auto one = gradients_of(*model, 1), two = gradients_of(*model, 2);
    for (const auto& [name, gradient] : one) CHECK(largest_gap(gradient, two.at(name)) < 1e-6);
    CHECK(one.at(place + ".1.size_controller.weight").abs().max().item<double>() > 0);
  }
}

TEST(the_base_model_names_follow_and_training_goes_on_through_surgery) {
  auto model = tiny_model(HeadType::classification, 0);
  const std::string query = "bert.encoder.layer.0.attention.self.query";
  model->set_trainable(choose({"a"}, {query + ".weight", query + ".bias"}, false));
  const auto first = model->replace_modules({behind("bert.encoder.layer.0", adapter())}, 5);
  model->replace_modules({behind("bert.encoder.layer.0.0.attention.self.query", adapter())}, 6);
  const std::string now = "bert.encoder.layer.0.0.attention.self.query.0";
  std::set<std::string> names;
  for (auto* flat : model->trainable())
    for (const auto& named : flat->parameters()) names.insert(named.name);
  CHECK(names.contains(now + ".weight"));
  CHECK(names.contains("bert.encoder.layer.0.0.output.adapters.a.adapter_up.weight"));
  CHECK(!names.contains(query + ".weight"));
  CHECK_EQ(model->adapter_state("a").front().name.substr(0, 24), "bert.encoder.layer.0.0.a");
  // The same choice under the new names changes nothing.
  model->set_trainable(choose({"a"}, {now + ".weight", now + ".bias"}, true));
  CHECK_EQ(model->trainable().size(), 3u);
  CHECK(gradients_of(*model, 1, true).at(now + ".weight").abs().max().item<double>() > 0);
  const auto message = CHECK_THROWS(ErrorCode::invalid_argument, model->undo_replacement(first));
  CHECK(check::contains(message, "bert.encoder.layer.0.0.attention.self.query"));
}

TEST(replacements_stand_in_one_another_and_come_off_in_turn) {
  auto model = tiny_model(HeadType::classification, 0);
  const auto before = names_of(*model);
  const std::string path = "bert.encoder.layer.1.output.dense";
  ModuleDescription hierarchy{.kind = Kind::hierarchical, .id = next_id++, .hidden_size = 16, .sizes = {8, 2}};
  const auto one = model->replace_modules({behind(path, hierarchy)}, 5);
  CHECK_EQ(inserted_names(*model).front(), path + ".1.adapters.0.down_project.weight");
  const auto two = model->replace_modules({behind(path + ".1", adapter())}, 6);
  const auto three = model->replace_modules({behind(path, adapter())}, 7);
  ModuleDescription fused{
      .kind = Kind::fused, .id = next_id++, .parts = {adapter(), adapter()}, .names = {"x", "y"}, .hidden_size = 16};
  const auto four = model->replace_modules({behind("bert.encoder.layer.0", fused)}, 7);
  const auto names = inserted_names(*model);
  const std::set<std::string> all(names.begin(), names.end());
  CHECK(all.contains(path + ".0.1.0.adapters.1.up_project.bias"));
  CHECK(all.contains(path + ".0.1.1.up_project.bias"));
  CHECK(all.contains("bert.encoder.layer.0.1.adapters.y.up_project.bias"));
  CHECK(all.contains("bert.encoder.layer.0.1.fusion.attention.out_proj.bias"));
  CHECK_THROWS(ErrorCode::invalid_argument, model->undo_replacement(one));
  model->undo_replacement(two);  // the last one stands around it, not on it
  CHECK_THROWS(ErrorCode::invalid_argument, model->undo_replacement(one));
  model->undo_replacement(three);
  CHECK_THROWS(ErrorCode::invalid_argument, model->undo_replacement(two));
  model->undo_replacement(one);
  model->undo_replacement(four);
  CHECK_EQ(names_of(*model), before);
}

TEST(what_surgery_refuses_leaves_the_model_as_it_was) {
  auto model = tiny_model(HeadType::classification, 0);
  const auto before = names_of(*model);
  const auto logits = answer(*model).logits;
  const std::string path = "bert.encoder.layer.1.output.dense";
  auto refuses = [&](const std::vector<Replacement>& what, const std::string& word,
                     ErrorCode code = ErrorCode::invalid_argument) {
    const auto message = CHECK_THROWS(code, model->replace_modules(what, 1));
    if (!check::contains(message, word)) check::report(word.c_str(), 0, message);
  };
  refuses({behind("bert.encoder.layer.7", adapter())}, "no module");
  refuses({behind("bert.encoder.layer.1.output", adapter())}, path);
  refuses({behind("bert.embeddings.word_embeddings", adapter())}, "tokens to tokens");
  refuses({behind("bert.encoder.layer.1.output.adapters.a", adapter())}, "tokens to tokens");
  refuses({behind(path, adapter(32))}, "16 features");
  refuses({{path, adapter(16)}}, "32 → 16");  // the dense takes 32
  refuses({{path, there("bert.encoder.layer.1.attention.output.dense")}}, "another size");
  refuses({{"bert.encoder.layer.1.attention.self.query", sequence({there("bert.encoder.layer.1"), adapter()})}},
          "inside itself");
  refuses({behind(path, adapter(16, 0))}, "size", ErrorCode::out_of_range);
  refuses({behind(path, adapter(16, int64_t{1} << 40))}, "size", ErrorCode::out_of_range);
  // The first is fine, the second is not: neither is done.
  refuses({behind("bert.encoder.layer.0", adapter()), behind(path, adapter(8))}, "16 features");
  auto deep = adapter();
  for (int i = 0; i < 40; ++i) deep = sequence({deep});
  refuses({behind(path, deep)}, "levels", ErrorCode::out_of_range);
  refuses({behind(path, adapter()), behind(path, adapter())}, "named twice");
  // The layer goes, and with it the place of what is new.
  refuses({{"bert.encoder.layer.1", there("bert.encoder.layer.0")}, behind(path, adapter())}, "would be lost");
  CHECK_EQ(names_of(*model), before);
  CHECK(answer(*model).logits.equal(logits));

  // Adapters at a site whose LayerNorm is gone.
  const auto operation = model->replace_modules({behind("bert.encoder.layer.1.output.LayerNorm", adapter())}, 1);
  CHECK(check::contains(CHECK_THROWS(ErrorCode::unsupported, answer(*model, false, true)), "LayerNorm"));
  model->undo_replacement(operation);
  CHECK(answer(*model).logits.equal(logits));
}
