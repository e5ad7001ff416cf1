#include "core/models/registry.h"

#include "core/error.h"
#include "core/models/bert.h"

namespace ta {

std::shared_ptr<Model> make_model(const ModelConfig& config) {
  const auto& type = config.model_type;
  if (type == "bert" || type == "roberta" || type == "xlm-roberta") {
    if (config.num_attention_heads < 1 || config.hidden_size % config.num_attention_heads != 0) {
      fail(ErrorCode::invalid_argument, "create model", "the hidden size must be divisible by the attention heads",
           {.got = text("hidden size ", config.hidden_size, ", ", config.num_attention_heads, " heads")});
    }
    return std::make_shared<BertModel>(config);
  }
  fail(ErrorCode::unsupported, "create model", "no such model family",
       {.expected = "bert, roberta or xlm-roberta", .got = "'" + type + "'"});
}

}  // namespace ta
