// Python's arithmetic on sizes, by the names that graphs give it. Integers stay integers, as in Python; what does not
// fit 64 bits, and division by zero, is an error and no wrapped number.

#include <c10/util/safe_numerics.h>

#include <cmath>
#include <functional>
#include <limits>

#include "core/error.h"
#include "core/exported/operators.h"

namespace ta::exported {
namespace {

using c10::IValue;

[[noreturn]] void out_of_range(const char* problem) {
  fail(ErrorCode::out_of_range, "compute a size", problem,
       {.hint = "The graph's arithmetic on sizes does not work for an input of this shape."});
}

bool are_integers(const IValue* a) {
  return !a[0].isDouble() && !a[1].isDouble();
}
int64_t integer(const IValue& a) {
  return a.isBool() ? static_cast<int64_t>(a.toBool()) : a.toInt();
}
double real(const IValue& a) {
  return a.isDouble() ? a.toDouble() : static_cast<double>(integer(a));
}
bool truth(const IValue& a) {
  return a.isDouble() ? a.toDouble() != 0.0 : integer(a) != 0;
}

template <bool (*Overflows)(int64_t, int64_t, int64_t*)>
IValue checked(const IValue* a) {
  int64_t result = 0;
  if (Overflows(integer(a[0]), integer(a[1]), &result)) out_of_range("a number past 64 bits");
  return result;
}

bool add_overflows(int64_t a, int64_t b, int64_t* r) {
  return c10::add_overflows(a, b, r);
}
bool sub_overflows(int64_t a, int64_t b, int64_t* r) {
  if (b == std::numeric_limits<int64_t>::min()) return true;
  return c10::add_overflows(a, -b, r);
}
bool mul_overflows(int64_t a, int64_t b, int64_t* r) {
  return c10::mul_overflows(a, b, r);
}

IValue add(const IValue* a) {
  return are_integers(a) ? checked<add_overflows>(a) : IValue(real(a[0]) + real(a[1]));
}
IValue sub(const IValue* a) {
  return are_integers(a) ? checked<sub_overflows>(a) : IValue(real(a[0]) - real(a[1]));
}
IValue mul(const IValue* a) {
  return are_integers(a) ? checked<mul_overflows>(a) : IValue(real(a[0]) * real(a[1]));
}

// Rounds down, as Python does.
int64_t floor_quotient(int64_t a, int64_t b) {
  if (b == 0) out_of_range("division by zero");
  if (b == -1) {
    if (a == std::numeric_limits<int64_t>::min()) out_of_range("a number past 64 bits");
    return -a;
  }
  return a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}

IValue floor_divide(const IValue* a) {
  if (are_integers(a)) return floor_quotient(integer(a[0]), integer(a[1]));
  if (real(a[1]) == 0.0) out_of_range("division by zero");
  return std::floor(real(a[0]) / real(a[1]));
}

IValue modulo(const IValue* a) {
  if (!are_integers(a)) out_of_range("the remainder of numbers that are no integers");
  const int64_t x = integer(a[0]);
  const int64_t y = integer(a[1]);
  return y == -1 ? int64_t{0} : x - y * floor_quotient(x, y);
}

IValue true_divide(const IValue* a) {
  if (real(a[1]) == 0.0) out_of_range("division by zero");
  return real(a[0]) / real(a[1]);
}

IValue power(const IValue* a) {
  if (!are_integers(a) || integer(a[1]) < 0) return std::pow(real(a[0]), real(a[1]));
  int64_t result = 1;
  const int64_t base = integer(a[0]);
  const int64_t exponent = integer(a[1]);
  if (exponent > 64 && base != 0 && base != 1 && base != -1) out_of_range("a number past 64 bits");
  // Past 64 only the exponent's parity matters.
  for (int64_t i = exponent > 64 ? exponent % 2 + 2 : exponent; i > 0; --i) {
    if (mul_overflows(result, base, &result)) out_of_range("a number past 64 bits");
  }
  return result;
}

IValue negative(const IValue* a) {
  if (a[0].isDouble()) return -a[0].toDouble();
  const IValue pair[] = {int64_t{0}, a[0]};
  return sub(pair);
}

template <class Compare>
IValue compare(const IValue* a) {
  return are_integers(a) ? IValue(Compare()(integer(a[0]), integer(a[1]))) : IValue(Compare()(real(a[0]), real(a[1])));
}

IValue logical_not(const IValue* a) {
  return !truth(a[0]);
}
IValue conjunction(const IValue* a) {
  return truth(a[0]) && truth(a[1]);
}
IValue disjunction(const IValue* a) {
  return truth(a[0]) || truth(a[1]);
}
IValue larger(const IValue* a) {
  return compare<std::greater<>>(a).toBool() ? a[0] : a[1];
}
IValue smaller(const IValue* a) {
  return compare<std::less<>>(a).toBool() ? a[0] : a[1];
}
IValue choose(const IValue* a) {
  return truth(a[0]) ? a[1] : a[2];
}
IValue to_real(const IValue* a) {
  return real(a[0]);
}

IValue to_integer(double value) {
  if (!(std::abs(value) < 9e18)) out_of_range("a number past 64 bits");
  return static_cast<int64_t>(value);
}
IValue truncate(const IValue* a) {
  return a[0].isDouble() ? to_integer(std::trunc(a[0].toDouble())) : a[0];
}
IValue round_up(const IValue* a) {
  return a[0].isDouble() ? to_integer(std::ceil(a[0].toDouble())) : a[0];
}
IValue round_down(const IValue* a) {
  return a[0].isDouble() ? to_integer(std::floor(a[0].toDouble())) : a[0];
}
IValue square_root(const IValue* a) {
  return std::sqrt(real(a[0]));
}

struct SymbolicEntry {
  std::string_view name;
  std::size_t arity;
  SymbolicFunction function;
};

constexpr SymbolicEntry functions[] = {
    {"_operator.add", 2, add},
    {"_operator.sub", 2, sub},
    {"_operator.mul", 2, mul},
    {"_operator.floordiv", 2, floor_divide},
    {"_operator.truediv", 2, true_divide},
    {"_operator.mod", 2, modulo},
    {"_operator.pow", 2, power},
    {"_operator.neg", 1, negative},
    {"_operator.pos", 1, [](const IValue* a) { return a[0]; }},
    {"_operator.eq", 2, compare<std::equal_to<>>},
    {"_operator.ne", 2, compare<std::not_equal_to<>>},
    {"_operator.lt", 2, compare<std::less<>>},
    {"_operator.le", 2, compare<std::less_equal<>>},
    {"_operator.gt", 2, compare<std::greater<>>},
    {"_operator.ge", 2, compare<std::greater_equal<>>},
    {"_operator.and_", 2, conjunction},
    {"_operator.or_", 2, disjunction},
    {"_operator.not_", 1, logical_not},
    {"torch.sym_not", 1, logical_not},
    {"torch.sym_max", 2, larger},
    {"torch.sym_min", 2, smaller},
    {"torch.sym_float", 1, to_real},
    {"torch.sym_int", 1, truncate},
    {"torch.sym_ite", 3, choose},
    {"torch.sym_sqrt", 1, square_root},
    {"torch._sym_sqrt", 1, square_root},
    {"math.trunc", 1, truncate},
    {"math.ceil", 1, round_up},
    {"math.floor", 1, round_down},
};

}  // namespace

SymbolicFunction find_symbolic(std::string_view target, std::size_t& arity) {
  for (const SymbolicEntry& entry : functions) {
    if (entry.name != target) continue;
    arity = entry.arity;
    return entry.function;
  }
  return nullptr;
}

}  // namespace ta::exported
