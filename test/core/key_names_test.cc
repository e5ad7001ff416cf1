#include "core/state/key_names.h"

#include <algorithm>

#include "check.h"

using ta::ErrorCode;
using ta::KeyDialect;
using ta::KeyOwner;

namespace {

std::vector<std::string> converted(const std::vector<std::string>& keys, KeyDialect to) {
  std::vector<std::string> names;
  for (const auto& rename : ta::convert_keys(keys, to)) names.push_back(rename.to);
  return names;
}

std::string owner_of(const std::string& key) {
  const auto owner = ta::key_owner(key);
  if (!owner) return "none";
  static constexpr const char* kinds[] = {"adapter", "fusion", "head"};
  return std::string(kinds[static_cast<int>(owner->kind)]) + " " + owner->name;
}

std::string adapter_renamed(const std::string& key, const std::string& from, const std::string& to) {
  return ta::rename_owner(key, {KeyOwner::Kind::adapter, from}, to);
}

}  // namespace

TEST(modules_of_a_network_may_be_called_as_what_holds_adapters) {
  const std::set<std::string> own = {"loras", "model.adapters"};
  const auto name = [&](const char* key) {
    const auto owner = ta::key_owner(key, own);
    return owner ? owner->name : "none";
  };
  CHECK_EQ(name("loras.0.q.weight"), std::string("none"));
  CHECK_EQ(name("loras.0.q.loras.x.lora_A"), std::string("x"));
  CHECK_EQ(name("model.adapters.0.output_adapters.adapters.x.adapter_up.bias"), std::string("x"));
  // Beside the network.
  CHECK_EQ(name("adapters.x.adapter_up.bias"), std::string("x"));
  CHECK_EQ(ta::rename_owner("loras.0.q.loras.0.lora_A", {KeyOwner::Kind::adapter, "0"}, "y", own),
           std::string("loras.0.q.loras.y.lora_A"));
}

TEST(an_owner_is_one_of_the_names_behind_what_may_hold_adapters) {
  const std::string key = "model.adapters.0.output_adapters.adapters.x.adapter_up.bias";
  CHECK_EQ(ta::possible_owners(key), (std::set<std::string>{"0", "x"}));
  CHECK_EQ(ta::possible_owners("heads.a.1.weight"), std::set<std::string>{"a"});
  CHECK(ta::possible_owners("bert.encoder.layer.0.output.dense.weight").empty());
  CHECK_EQ(ta::rename_possible_owner(key, "x", "y"),
           std::string("model.adapters.0.output_adapters.adapters.y.adapter_up.bias"));
  // The adapter is the inner one; a part of an adapter is none, though it stands behind one of that name.
  CHECK_EQ(ta::rename_possible_owner("adapters.x.loras.x.lora_A", "x", "y"), std::string("adapters.x.loras.y.lora_A"));
  CHECK_EQ(ta::rename_possible_owner("adapters.adapters.adapter_up", "adapters", "y"),
           std::string("adapters.y.adapter_up"));
  CHECK_EQ(ta::rename_possible_owner("heads.a.1.weight", "a", "b"), std::string("heads.b.1.weight"));
  CHECK_EQ(ta::rename_possible_owner(key, "z", "y"), key);
}

TEST(dialects_convert_both_ways) {
  const std::string module = "bert.encoder.layer.0.output.adapters.sst2.";
  const std::vector<std::string> hub = {
      module + "adapter_down.0.weight",    module + "adapter_down.0.bias", module + "adapter_up.weight",
      module + "adapter_up.bias",          module + "gate.weight",         module + "scaling",
      module + "adapter_norm_after.weight"};
  const std::vector<std::string> plain = {
      module + "down_project.weight",      module + "down_project.bias", module + "up_project.weight",
      module + "up_project.bias",          module + "gate.weight",       module + "scaling",
      module + "adapter_norm_after.weight"};
  CHECK_EQ(converted(hub, KeyDialect::plain), plain);
  CHECK_EQ(converted(plain, KeyDialect::adapterhub), hub);
  CHECK_EQ(converted(hub, KeyDialect::adapterhub), hub);
  CHECK_EQ(converted(plain, KeyDialect::plain), plain);
  CHECK(ta::detect_key_dialect(hub) == KeyDialect::adapterhub);
  CHECK(ta::detect_key_dialect(plain) == KeyDialect::plain);
  CHECK(ta::detect_key_dialect({"heads.x.1.weight"}) == KeyDialect::adapterhub);
}

TEST(dialects_keep_the_source_of_each_key) {
  const auto renames = ta::convert_keys({"adapter_up.weight", "other"}, KeyDialect::plain);
  CHECK_EQ(renames.size(), 2u);
  CHECK_EQ(renames[0].from, "adapter_up.weight");
  CHECK_EQ(renames[0].to, "up_project.weight");
  CHECK_EQ(renames[1].from, "other");
  CHECK_EQ(renames[1].to, "other");
}

TEST(norm_before_is_held_twice_by_adapterhub) {
  // One adapter with the norm, one without, in one file: the index of the projection differs.
  const std::vector<std::string> hub = {
      "l.0.adapters.n.adapter_norm_before.weight", "l.0.adapters.n.adapter_down.0.weight",
      "l.0.adapters.n.adapter_norm_before.bias",   "l.0.adapters.n.adapter_down.0.bias",
      "l.0.adapters.n.adapter_down.1.weight",      "l.0.adapters.n.adapter_down.1.bias",
      "l.1.adapters.m.adapter_down.0.weight",      "l.1.adapters.m.adapter_down.0.bias"};
  const std::vector<std::string> plain = {
      "l.0.adapters.n.adapter_norm_before.weight", "l.0.adapters.n.adapter_norm_before.bias",
      "l.0.adapters.n.down_project.weight",        "l.0.adapters.n.down_project.bias",
      "l.1.adapters.m.down_project.weight",        "l.1.adapters.m.down_project.bias"};
  CHECK_EQ(converted(hub, KeyDialect::plain), plain);
  CHECK_EQ(converted(plain, KeyDialect::adapterhub), hub);
  const auto renames = ta::convert_keys(plain, KeyDialect::adapterhub);
  CHECK_EQ(renames[0].from, renames[1].from);
  // A file that dropped the first copy still has its norm.
  CHECK_EQ(converted({"adapter_down.0.weight", "adapter_down.1.weight"}, KeyDialect::plain),
           std::vector<std::string>{"adapter_norm_before.weight", "down_project.weight"});
}

TEST(dialects_know_an_adapter_saved_on_its_own) {
  CHECK_EQ(converted({"down_project.weight", "up_project.bias"}, KeyDialect::adapterhub),
           std::vector<std::string>{"adapter_down.0.weight", "adapter_up.bias"});
}

TEST(dialects_compare_whole_components) {
  const std::vector<std::string> alike = {"x.my_adapter_up.weight", "x.up_projection.weight", "my_down_project.weight"};
  CHECK_EQ(converted(alike, KeyDialect::plain), alike);
  CHECK_EQ(converted(alike, KeyDialect::adapterhub), alike);
  // An adapter may have the name of a part.
  CHECK_EQ(converted({"adapters.adapter_up.adapter_up.weight"}, KeyDialect::plain),
           std::vector<std::string>{"adapters.adapter_up.up_project.weight"});
  // Compacter's parts have other leaves under the same modules.
  CHECK_EQ(converted({"adapters.a.adapter_down.0.W_left", "adapters.a.adapter_up.b"}, KeyDialect::plain),
           std::vector<std::string>{"adapters.a.down_project.W_left", "adapters.a.up_project.b"});
}

TEST(dialects_do_not_mix) {
  CHECK_THROWS(ErrorCode::state_dict,
               ta::convert_keys({"a.adapter_up.weight", "a.up_project.weight"}, KeyDialect::plain));
  CHECK_THROWS(ErrorCode::state_dict,
               ta::convert_keys({"a.adapter_up.weight", "a.up_project.weight"}, KeyDialect::adapterhub));
}

TEST(dialect_names) {
  CHECK(ta::parse_key_dialect("adapterhub") == KeyDialect::adapterhub);
  CHECK(ta::parse_key_dialect("plain") == KeyDialect::plain);
  CHECK_THROWS(ErrorCode::invalid_argument, ta::parse_key_dialect("Plain"));
}

TEST(owners_are_found_in_every_place) {
  CHECK_EQ(owner_of("bert.encoder.layer.0.attention.output.adapters.sst2.adapter_up.bias"), "adapter sst2");
  CHECK_EQ(owner_of("distilbert.transformer.layer.1.attention_adapters.adapters.a.adapter_up.bias"), "adapter a");
  CHECK_EQ(owner_of("vit.encoder.layer.0.output.output_adapters.adapters.adapters.gate.bias"), "adapter adapters");
  CHECK_EQ(owner_of("bert.encoder.layer.0.attention.self.query.loras.l.lora_A"), "adapter l");
  CHECK_EQ(owner_of("bert.prefix_tuning.prefix_tunings.p.self_prefix.wte.weight"), "adapter p");
  CHECK_EQ(owner_of("bert.x.prefix_gates.p.weight"), "adapter p");
  CHECK_EQ(owner_of("bert.prompt_tuning.prompt_tunings.p.prompt_embedding.weight"), "adapter p");
  CHECK_EQ(owner_of("bert.encoder.layer.0.reft_layer.refts.r.units.0.projection.weight"), "adapter r");
  CHECK_EQ(owner_of("bert.invertible_adapters.i.F.0.weight"), "adapter i");
  CHECK_EQ(owner_of("bert.shared_parameters.s.phm_rule"), "adapter s");
  CHECK_EQ(owner_of("bert.encoder.layer.0.output.adapter_fusion_layer.a,b.query.weight"), "fusion a,b");
  CHECK_EQ(owner_of("heads.sst2.1.weight"), "head sst2");
  CHECK_EQ(owner_of("bert.heads.sst2.1.weight"), "none");
  CHECK_EQ(owner_of("bert.encoder.layer.0.output.dense.weight"), "none");
  CHECK_EQ(owner_of(""), "none");
  CHECK_EQ(owner_of("adapters"), "none");
}

TEST(renaming_touches_the_exact_name_only) {
  CHECK_EQ(adapter_renamed("l.0.adapters.a.adapter_up.weight", "a", "b"), "l.0.adapters.b.adapter_up.weight");
  CHECK_EQ(adapter_renamed("l.0.adapters.ab.adapter_up.weight", "a", "b"), "l.0.adapters.ab.adapter_up.weight");
  CHECK_EQ(adapter_renamed("l.0.adapters.a.adapter_up.weight", "ab", "x"), "l.0.adapters.a.adapter_up.weight");
  // Only the name, though the text occurs elsewhere.
  CHECK_EQ(adapter_renamed("l.0.output.adapters.output.x", "output", "y"), "l.0.output.adapters.y.x");
  CHECK_EQ(adapter_renamed("x_adapters.adapters.adapters.gate", "adapters", "y"), "x_adapters.adapters.y.gate");
  CHECK_EQ(adapter_renamed("p.prompt_tunings.a.prompt_embedding.weight", "a", "b"),
           "p.prompt_tunings.b.prompt_embedding.weight");
  // A head or fusion of the same name is not the adapter.
  CHECK_EQ(adapter_renamed("heads.a.1.weight", "a", "b"), "heads.a.1.weight");
  CHECK_EQ(adapter_renamed("l.adapter_fusion_layer.a.query.bias", "a", "b"), "l.adapter_fusion_layer.a.query.bias");
  CHECK_EQ(ta::rename_owner("heads.a.1.weight", {KeyOwner::Kind::head, "a"}, "b"), "heads.b.1.weight");
  CHECK_EQ(ta::rename_owner("heads.a2.1.weight", {KeyOwner::Kind::head, "a"}, "b"), "heads.a2.1.weight");
  CHECK_EQ(ta::rename_owner("l.adapter_fusion_layer.a,bc.query.bias", {KeyOwner::Kind::fusion, "a,b"}, "c,d"),
           "l.adapter_fusion_layer.a,bc.query.bias");
  CHECK_EQ(ta::rename_owner("l.adapter_fusion_layer.a,b.query.bias", {KeyOwner::Kind::fusion, "a,b"}, "c,d"),
           "l.adapter_fusion_layer.c,d.query.bias");
}

TEST(base_prefix_comes_and_goes) {
  CHECK_EQ(ta::add_base_prefix("encoder.x", "bert"), "bert.encoder.x");
  CHECK_EQ(ta::add_base_prefix("bert.encoder.x", "bert"), "bert.encoder.x");
  CHECK_EQ(ta::add_base_prefix("bertie.x", "bert"), "bert.bertie.x");
  CHECK_EQ(ta::add_base_prefix("heads.a.1.weight", "bert"), "heads.a.1.weight");
  CHECK_EQ(ta::add_base_prefix("x", ""), "x");
  CHECK_EQ(ta::strip_base_prefix("bert.encoder.x", "bert"), "encoder.x");
  CHECK_EQ(ta::strip_base_prefix("encoder.x", "bert"), "encoder.x");
  CHECK_EQ(ta::strip_base_prefix("bertie.x", "bert"), "bertie.x");
  CHECK_EQ(ta::strip_base_prefix("bert", "bert"), "bert");
  CHECK(!ta::has_base_prefix("x", ""));
}

TEST(old_names_are_understood) {
  CHECK_EQ(ta::modern_key("l.0.attention.output.attention_text_task_adapters.sst-2.adapter_up.bias"),
           "l.0.attention.output.adapters.sst-2.adapter_up.bias");
  CHECK_EQ(ta::modern_key("l.0.attention.output.attention_text_lang_adapters.en.x"),
           "l.0.attention.output.adapters.en.x");
  CHECK_EQ(ta::modern_key("l.0.output.layer_text_task_adapters.t.x"), "l.0.output.adapters.t.x");
  CHECK_EQ(ta::modern_key("l.0.output.layer_text_lang_adapters.t.x"), "l.0.output.adapters.t.x");
  CHECK_EQ(ta::modern_key("bert.invertible_lang_adapters.en.F.0.weight"), "bert.invertible_adapters.en.F.0.weight");
  CHECK_EQ(ta::modern_key("bert.embeddings.LayerNorm.gamma"), "bert.embeddings.LayerNorm.weight");
  CHECK_EQ(ta::modern_key("bert.embeddings.LayerNorm.beta"), "bert.embeddings.LayerNorm.bias");
  CHECK_EQ(ta::modern_key("convnext.layer.gamma"), "convnext.layer.gamma");
  CHECK_EQ(ta::modern_key("gamma"), "gamma");
  CHECK_EQ(ta::modern_key("x.my_layer_text_task_adapters.y"), "x.my_layer_text_task_adapters.y");
}
