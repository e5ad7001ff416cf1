#include "core/models/registry.h"

#include "core/error.h"
#include "core/models/bert.h"
#include "core/models/distilbert.h"
#include "core/models/gpt2.h"
#include "core/models/vit.h"

namespace ta {

namespace {

using Make = std::shared_ptr<Model> (*)(const ModelConfig&);

template <class M>
std::shared_ptr<Model> make_family(const ModelConfig& config) {
  return std::make_shared<M>(config);
}

const std::vector<std::pair<std::string, Make>>& families() {
  static const std::vector<std::pair<std::string, Make>> table = {{"bert", make_family<BertModel>},
                                                                  {"roberta", make_family<BertModel>},
                                                                  {"xlm-roberta", make_family<BertModel>},
                                                                  {"electra", make_family<BertModel>},
                                                                  {"distilbert", make_family<DistilBertModel>},
                                                                  {"gpt2", make_family<Gpt2Model>},
                                                                  {"vit", make_family<VitModel>}};
  return table;
}

}  // namespace

std::shared_ptr<Model> make_model(const ModelConfig& config) {
  std::vector<std::string> names;
  for (const auto& [type, make] : families()) {
    names.push_back(type);
    if (config.model_type != type) continue;
    if (config.num_attention_heads < 1 || config.hidden_size % config.num_attention_heads != 0) {
      fail(ErrorCode::invalid_argument, "create model", "the hidden size must be divisible by the attention heads",
           {.got = text("hidden size ", config.hidden_size, ", ", config.num_attention_heads, " heads")});
    }
    return make(config);
  }
  fail(ErrorCode::unsupported, "create model", "no such model family",
       {.expected = "one of " + name_list(names), .got = "'" + config.model_type + "'"});
}

}  // namespace ta
