#pragma once
// A batch without padding: all rows' tokens one after the other. A hidden state is [tokens, hidden]; only attention
// needs to know where rows begin. A row that is an image has the tokens that the model makes of it.

#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>
#include <vector>

namespace ta {

/// Where rows begin in a packed tensor: starts[i] .. starts[i + 1] are row i's tokens.
class RowLayout {
 public:
  /// Neighbouring rows of one length, which attention takes as one [count, length] block without a copy.
  struct Group {
    int64_t start;   ///< first token
    int64_t count;   ///< rows
    int64_t length;  ///< tokens in each
  };

  RowLayout() = default;
  explicit RowLayout(const std::vector<int64_t>& lengths);
  /// One token a row: the layout of what a head reads when it wants each row's first token.
  static RowLayout single(int64_t rows);

  int64_t rows() const { return static_cast<int64_t>(starts_.size()) - 1; }
  int64_t tokens() const { return starts_.back(); }
  int64_t length(int64_t row) const { return starts_[row + 1] - starts_[row]; }
  /// Tokens of the longest row.
  int64_t longest() const;
  std::vector<int64_t> lengths() const;
  /// Rows first .. last-1 alone.
  RowLayout rows(int64_t first, int64_t last) const;
  /// All rows several times, one copy after the other.
  RowLayout repeated(int64_t copies) const;
  /// The tokens of these rows, one row after the other.
  std::vector<int64_t> tokens_of(const std::vector<int64_t>& rows) const;
  /// Where share `i` (from 1) of `count` ends that begins at row `first`: at the row boundary nearest to an equal share
  /// of tokens, one row at least.
  int64_t share_end(int64_t i, int64_t count, int64_t first) const;
  const std::vector<int64_t>& starts() const { return starts_; }
  /// `starts` as int32 on a device; made once for all layers that ask. Only for the thread that owns the batch.
  const at::Tensor& starts_on(at::Device device) const;
  const std::vector<Group>& groups() const { return groups_; }

 private:
  std::vector<int64_t> starts_{0};
  std::vector<Group> groups_;
  mutable at::Tensor device_starts_;
};

/// Numbers as they came from the caller, before any tensor is made.
struct BatchInput {
  std::vector<int32_t> ids;  ///< empty where rows are images
  /// [rows, values of an image] float32, and [rows, channels, height, width] once a model has prepared them; undefined
  /// where rows are tokens. Zeros stand behind the values of shorter rows.
  at::Tensor pixels;
  /// Rows of numbers that are not all of one length: how many values each has, and, once a model has prepared them, how
  /// long each is in the direction in which they differ.
  std::vector<int32_t> value_lengths;
  /// Of the images: their height and width, where they are not the model's.
  std::optional<std::pair<int64_t, int64_t>> image_size;
  std::vector<int32_t> row_lengths;
  /// What an encoder reads, where `ids` are its decoder's: rows of lengths of their own; both empty elsewhere.
  std::vector<int32_t> source_ids, source_lengths;
  std::optional<std::vector<int32_t>> token_types;
  std::optional<std::vector<int32_t>> positions;
  std::optional<std::vector<int32_t>> choices;
  std::optional<std::vector<int32_t>> word_ids;
  std::optional<std::vector<int32_t>> int_labels;
  std::optional<std::vector<float>> float_labels;
};

/// What a batch's labels stand for, each of them a fixed number.
enum class LabelsOf { rows, tokens, questions };

/// What heads and losses ask of rows beside their tokens.
struct RowFacts {
  RowLayout layout;
  std::optional<RowLayout> questions;  ///< multiple choice: neighbouring rows are the choices of one question
  /// [tokens]: which of its row's words a token is a part of, counted from 0 without a gap; -1: of none.
  std::optional<std::vector<int64_t>> word_ids;

  /// Of some rows in rising order; of questions all rows or none.
  RowFacts some(const std::vector<int64_t>& rows) const;
  /// Of all rows several times, one copy after the other.
  RowFacts repeated(int64_t copies) const;
};

struct PackedBatch {
  RowLayout layout;
  at::Tensor ids;                         ///< [tokens] int64; undefined where rows are images
  at::Tensor pixels;                      ///< [rows, channels, height, width]; undefined where rows are tokens
  std::vector<int64_t> value_lengths;     ///< as in BatchInput; empty: all of one length
  at::Tensor source_ids;                  ///< [source tokens] int64: what the encoder reads; undefined: there is none
  RowLayout source_layout;                ///< of these
  at::Tensor words;                       ///< [tokens, size], in the place of the embeddings of ids; else undefined
  std::optional<at::Tensor> token_types;  ///< [tokens] int64; absent: all zero
  std::optional<at::Tensor> positions;    ///< [tokens] int64; absent: the model's own rule
  at::Tensor first_tokens;                ///< [rows] int64: where each row begins
  at::Tensor last_tokens;                 ///< [rows] int64: its last token
  std::optional<RowLayout> questions;     ///< as in RowFacts
  std::optional<std::vector<int64_t>> word_ids;
  std::optional<at::Tensor> labels;  ///< int64 or float32, as given
  at::Tensor states;                 ///< what Model::encode_first gives up to `first_layer`; else undefined
  int64_t first_layer = 0;           ///< from which on the network is to run

  /// Checks lengths against each other and puts the tensors on `device`.
  /// Throws ERR_INVALID_ARGUMENT: no rows, a row without tokens, lengths that do not add up.
  static PackedBatch pack(const BatchInput& input, at::Device device);
  /// Rows first .. last-1, as views; of questions all rows or none.
  PackedBatch rows(int64_t first, int64_t last, LabelsOf labels_of) const;
  /// All rows several times, one copy after the other.
  PackedBatch repeated(int64_t copies) const;
  /// These rows as a network reads them: without labels, questions and word ids.
  PackedBatch in_order(const std::vector<int64_t>& rows) const;
  RowFacts facts() const { return {layout, questions, word_ids}; }
};

}  // namespace ta
