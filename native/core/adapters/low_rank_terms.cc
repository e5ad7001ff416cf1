#include "core/adapters/low_rank_terms.h"

#include <algorithm>
#include <memory>

#include "core/nn/parallel.h"

namespace ta {

namespace {

// Of a term's tokens so many at a time: what is read of them comes from the second cache the second time.
constexpr int64_t kTokensAtOnce = 128;
// A turned factor, or a part of it, has so many numbers, in lines of a multiple of kColumns.
constexpr int64_t kTurnedNumbers = 32768, kColumns = 48;
static_assert(LowRankTerms::kMostRank * kColumns <= kTurnedNumbers);
constexpr int64_t kWorthAThread = 1'000'000;

float* turned_numbers() {
  static thread_local const auto memory = std::make_unique<float[]>(kTurnedNumbers);
  return memory.get();
}

// use(first, columns, ld) for parts of `columns` columns, each of which fits where turned numbers go.
template <class Use>
void for_turned(int64_t columns, int64_t rank, const Use& use) {
  const int64_t most = kTurnedNumbers / rank / kColumns * kColumns;
  for (int64_t first = 0; first < columns; first += most) {
    const int64_t count = std::min(most, columns - first);
    use(first, count, (count + kColumns - 1) / kColumns * kColumns);
  }
}

// Tokens of terms first .. last - 1, which are for the same ones: what is added to a token is added in one order.
struct TermPiece {
  size_t first, last;
  int64_t offset, count;  // in the terms' tokens
};

std::vector<TermPiece> pieces_of(const std::vector<LowRankTerm>& terms) {
  std::vector<TermPiece> pieces;
  for (size_t first = 0, last = 0; first < terms.size(); first = last) {
    const auto same = [&](const LowRankTerm& t) {
      return t.begin == terms[first].begin && t.count == terms[first].count;
    };
    while (last < terms.size() && same(terms[last])) ++last;
    for (int64_t offset = 0; offset < terms[first].count; offset += kTokensAtOnce)
      pieces.push_back({first, last, offset, std::min(kTokensAtOnce, terms[first].count - offset)});
  }
  return pieces;
}

int64_t grain_of(int64_t work, int64_t parts) {
  return std::max<int64_t>(1, kWorthAThread * parts / std::max<int64_t>(1, work));
}

// Multiply-adds of a product with one of the sides in, out.
int64_t work_of(const std::vector<LowRankTerm>& terms, int64_t side) {
  int64_t work = 0;
  for (const auto& term : terms) work += term.count * term.rank * side;
  return work;
}

template <class Use>
void for_pieces(const LowRankTerms& terms, int64_t sides, const Use& use) {
  const auto pieces = pieces_of(terms.each);
  const auto count = static_cast<int64_t>(pieces.size());
  parallel_for(0, count, grain_of(work_of(terms.each, sides), count), [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      for (size_t t = pieces[i].first; t < pieces[i].last; ++t) use(terms.each[t], pieces[i]);
    }
  });
}

template <class Pointer>
auto line(const Pointer& matrix, int64_t row, int64_t column = 0) {
  return Pointer{matrix.data + row * matrix.ld + column, matrix.ld};
}

void piece_down(const LowRankTerm& t, const TermPiece& piece, int64_t in, thin::Matrix x) {
  float* z = t.z + piece.offset * t.rank;
  for (int64_t i = 0; t.bias_a != nullptr && i < piece.count; ++i) std::copy_n(t.bias_a, t.rank, z + i * t.rank);
  thin::dot_rows({piece.count, t.rank, in}, line(x, t.begin + piece.offset), t.a, t.scale, {z, t.rank},
                 t.bias_a != nullptr);
}

void piece_up(const LowRankTerm& t, const TermPiece& piece, int64_t out, thin::Output y) {
  const int64_t token = t.begin + piece.offset;
  const float *z = t.z + piece.offset * t.rank, one = 1;
  float* turned = turned_numbers();
  for_turned(out, t.rank, [&](int64_t column, int64_t columns, int64_t ld) {
    const auto to = line(y, token, column);
    thin::turn(columns, t.rank, line(t.b, column), {turned, ld}, false);
    thin::combine_rows({piece.count, columns, t.rank}, {z, t.rank, 1}, {turned, ld}, to, true);
    if (t.bias_b == nullptr) return;
    thin::combine_rows({piece.count, columns, 1}, {&one, 0, 0}, {t.bias_b + column, 0}, to, true);
  });
}

// The gradients of A's columns, or of B's rows, first .. last - 1, from all tokens.
void add_to_a(const std::vector<LowRankTerm>& terms, thin::Matrix x, int64_t first, int64_t last) {
  for (const auto& t : terms) {
    if (t.d_a.data == nullptr) continue;
    thin::combine_rows({t.rank, last - first, t.count}, {t.d_z, 1, t.rank}, line(x, t.begin, first),
                       line(t.d_a, 0, first), true);
  }
}
void add_to_b(const std::vector<LowRankTerm>& terms, thin::Matrix g, int64_t first, int64_t last) {
  float* turned = turned_numbers();
  for (const auto& t : terms) {
    if (t.d_b.data == nullptr) continue;
    for_turned(last - first, t.rank, [&](int64_t column, int64_t columns, int64_t ld) {
      column += first;
      thin::combine_rows({t.rank, columns, t.count}, {t.z, 1, t.rank}, line(g, t.begin, column), {turned, ld}, false);
      thin::turn(t.rank, columns, {turned, ld}, line(t.d_b, column), true);
    });
  }
}

}  // namespace

void LowRankTerms::add(thin::Matrix x, thin::Output y) const {
  for_pieces(*this, in + out, [&](const LowRankTerm& t, const TermPiece& piece) {
    piece_down(t, piece, in, x);
    piece_up(t, piece, out, y);
  });
}

void LowRankTerms::down(thin::Matrix x) const {
  for_pieces(*this, in, [&](const LowRankTerm& t, const TermPiece& piece) { piece_down(t, piece, in, x); });
}

void LowRankTerms::up(thin::Output y) const {
  for_pieces(*this, out, [&](const LowRankTerm& t, const TermPiece& piece) { piece_up(t, piece, out, y); });
}

void LowRankTerms::add_gradients(thin::Matrix x, thin::Matrix g, thin::Output d_x) const {
  for_pieces(*this, in + out, [&](const LowRankTerm& t, const TermPiece& piece) {
    if (t.d_z == nullptr) return;
    const int64_t token = t.begin + piece.offset;
    float *d_z = t.d_z + piece.offset * t.rank, *turned = turned_numbers();
    for_turned(out, t.rank, [&](int64_t column, int64_t columns, int64_t ld) {
      thin::turn(columns, t.rank, line(t.b, column), {turned, ld}, false);
      thin::dot_rows({piece.count, t.rank, columns}, line(g, token, column), {turned, ld}, t.scale, {d_z, t.rank},
                     column > 0);
    });
    if (d_x.data == nullptr) return;
    thin::combine_rows({piece.count, in, t.rank}, {d_z, t.rank, 1}, t.a, line(d_x, token), true);
  });
  // An adapter may have several terms: a thread has columns of all of them.
  const int64_t of_a = (in + kColumns - 1) / kColumns, of_b = (out + kColumns - 1) / kColumns;
  parallel_for(0, of_a + of_b, grain_of(work_of(each, in + out), of_a + of_b), [&](int64_t from, int64_t to) {
    if (from < of_a) add_to_a(each, x, from * kColumns, std::min(in, to * kColumns));
    if (to > of_a)
      add_to_b(each, g, std::max<int64_t>(0, from - of_a) * kColumns, std::min(out, (to - of_a) * kColumns));
  });
}

}  // namespace ta
