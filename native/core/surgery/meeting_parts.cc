#include "core/surgery/meeting_parts.h"

#include "core/error.h"

namespace ta {

namespace {

const char* words_of(Location location) {
  switch (location) {
    case Location::attention:
      return "behind the attention";
    case Location::output:
      return "behind the feed-forward network";
    case Location::last_hidden_state:
      return "the last hidden state";
    case Location::embeddings:
      return "behind the embeddings, where invertible adapters stand";
    case Location::query:
      return "the query's Linear";
    case Location::key:
      return "the key's Linear";
    case Location::value:
      return "the value's Linear";
    case Location::query_key_value:
      return "the Linear of query, key and value, which are one in this model";
    case Location::attention_output:
      return "the Linear of the attention's output";
    case Location::intermediate:
      return "the feed-forward network's first Linear";
    case Location::feed_forward_output:
      return "the feed-forward network's last Linear";
    case Location::prefix:
      return "the keys and values of the attention, where prefixes stand";
    case Location::layer_output:
      return "the layer's output";
    case Location::prompt:
      return "the input, where prompts stand";
  }
  return "";
}

}  // namespace

void refuse_meeting(const std::string& operation, const Place& at) {
  const bool in_layer = at.location != Location::last_hidden_state && at.location != Location::embeddings &&
                        at.location != Location::prompt;
  const auto layer = in_layer ? text(", layer ", at.layer) : std::string();
  fail(ErrorCode::invalid_argument, operation, "two parts of the configuration want the same place",
       {.expected = "one part at each place",
        .got = text("two at one: ", words_of(at.location), layer),
        .hint = "Give one of the parts another place or other layers, or make them adapters of their own and stack "
                "them"});
}

}  // namespace ta
