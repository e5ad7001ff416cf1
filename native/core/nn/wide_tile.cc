#include "core/nn/wide_tile.h"

#if TA_HAS_WIDE_TILE

namespace ta::wide {

namespace {

#define FOR_8_ROWS(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7)

// Row i, behind the byte that it is read at.
#define ROW_0 "(%[rows])"
#define ROW_1 "(%[rows],%[ld])"
#define ROW_2 "(%[rows],%[ld],2)"
#define ROW_3 "(%[rows],%[ld3])"
#define ROW_4 "(%[rows],%[ld],4)"
#define ROW_5 "(%[rows],%[ld5])"
#define ROW_6 "(%[rows],%[ld3],2)"
#define ROW_7 "(%[rows],%[ld7])"

// Registers: sums of row i in 3 i, 3 i + 1 and 3 i + 2; a step's line of the panel in 24 to 26; one number of the rows
// each in 27 to 30.
#define SUM_00 "0"
#define SUM_01 "1"
#define SUM_02 "2"
#define SUM_10 "3"
#define SUM_11 "4"
#define SUM_12 "5"
#define SUM_20 "6"
#define SUM_21 "7"
#define SUM_22 "8"
#define SUM_30 "9"
#define SUM_31 "10"
#define SUM_32 "11"
#define SUM_40 "12"
#define SUM_41 "13"
#define SUM_42 "14"
#define SUM_50 "15"
#define SUM_51 "16"
#define SUM_52 "17"
#define SUM_60 "18"
#define SUM_61 "19"
#define SUM_62 "20"
#define SUM_70 "21"
#define SUM_71 "22"
#define SUM_72 "23"
#define ONE_0 "27"
#define ONE_1 "28"
#define ONE_2 "29"
#define ONE_3 "30"
#define ONE_4 "27"
#define ONE_5 "28"
#define ONE_6 "29"
#define ONE_7 "30"

#define OP(name, a, b) name " " a ", " b "\n"
#define REG(n) "%%zmm" n
#define ADD_PRODUCT(i, v) "vfmadd231ps " REG(ONE_##i) ", %%zmm2" #v ", "
#define SUMS_2(i) ADD_PRODUCT(i, 4) REG(SUM_##i##0) "\n" ADD_PRODUCT(i, 5) REG(SUM_##i##1) "\n"
#define SUMS_3(i) SUMS_2(i) ADD_PRODUCT(i, 6) REG(SUM_##i##2) "\n"
#define ROW(at, i) OP("vbroadcastss", at ROW_##i, REG(ONE_##i))
#define STEP_ROWS(at, V) \
  ROW(at, 0)             \
  V(0) ROW(at, 1) V(1) ROW(at, 2) V(2) ROW(at, 3) V(3) ROW(at, 4) V(4) ROW(at, 5) V(5) ROW(at, 6) V(6) ROW(at, 7) V(7)
#define PANEL(at, v) OP("vmovups", at "(%[panel])", REG(v))
#define STEP_2(at, p0, p1) PANEL(p0, "24") PANEL(p1, "25") STEP_ROWS(at, SUMS_2)
#define STEP_3(at, p0, p1, p2) PANEL(p0, "24") PANEL(p1, "25") PANEL(p2, "26") STEP_ROWS(at, SUMS_3)

#define FOUR_STEPS_2 \
  STEP_2("0", "0", "64") STEP_2("4", "128", "192") STEP_2("8", "256", "320") STEP_2("12", "384", "448")
#define FOUR_STEPS_3            \
  STEP_3("0", "0", "64", "128") \
  STEP_3("4", "192", "256", "320") STEP_3("8", "384", "448", "512") STEP_3("12", "576", "640", "704")

#define FETCH_ONE                                                           \
  "prefetcht1 (%[next])\n add %[bytes], %[next]\n dec %[in_row]\n jnz 2f\n" \
  "add %[jump], %[next]\n mov %[of_row], %[in_row]\n 2:\n"

#define CLEAR(v) OP("vpxord", REG(v), REG(v) ", " REG(v))
#define CLEAR_2(i) CLEAR(SUM_##i##0) CLEAR(SUM_##i##1)
#define CLEAR_3(i) CLEAR_2(i) CLEAR(SUM_##i##2)
#define NEXT_Y "add %[ld_y], %[y]\n"
#define TAKE(v, at) OP("vmovups", at "(%[y])", REG(v))
#define TAKE_2(i) TAKE(SUM_##i##0, "0") TAKE(SUM_##i##1, "64")
#define TAKE_3(i) TAKE_2(i) TAKE(SUM_##i##2, "128")
#define TAKE_ROW_2(i) TAKE_2(i) NEXT_Y
#define TAKE_ROW_3(i) TAKE_3(i) NEXT_Y
#define GIVE(v, at) OP("vmovups", REG(v), at "(%[y])")
#define GIVE_2(i) GIVE(SUM_##i##0, "0") GIVE(SUM_##i##1, "64")
#define GIVE_3(i) GIVE_2(i) GIVE(SUM_##i##2, "128")
#define GIVE_ROW_2(i) GIVE_2(i) NEXT_Y
#define GIVE_ROW_3(i) GIVE_3(i) NEXT_Y

#define BEGIN_SUMS(vectors) \
  "test %[adds], %[adds]\n jz 3f\n" FOR_8_ROWS(TAKE_ROW_##vectors) "sub %[all_y], %[y]\n jmp 4f\n" \
  "3:\n" FOR_8_ROWS(CLEAR_##vectors) "4:\n"
#define ALL_STEPS(vectors, panel_bytes)                                  \
  ".p2align 6\n 1:\n" FETCH_ONE FOUR_STEPS_##vectors "add $" panel_bytes \
                                                     ", %[panel]\n add $16, %[rows]\n dec %[steps]\n jnz 1b\n"

#define TILE(vectors, panel_bytes)                                                                                \
  asm volatile(BEGIN_SUMS(vectors) ALL_STEPS(vectors, panel_bytes) FOR_8_ROWS(GIVE_ROW_##vectors)                 \
               : [rows] "+r"(rows), [panel] "+r"(panel), [y] "+r"(y), [steps] "+r"(steps), [next] "+r"(next),     \
                 [in_row] "+r"(in_row)                                                                            \
               : [ld] "r"(ld), [ld3] "r"(3 * ld), [ld5] "r"(5 * ld), [ld7] "r"(7 * ld), [ld_y] "r"(ld_y),         \
                 [adds] "r"(adds), [bytes] "r"(bytes), [all_y] "m"(all_y), [jump] "m"(jump), [of_row] "m"(of_row) \
               : "memory", "cc", ALL_VECTORS)
#define ALL_VECTORS                                                                                                   \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
      "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25",     \
      "xmm26", "xmm27", "xmm28", "xmm29", "xmm30"

}  // namespace

TA_WIDE void multiply(int64_t vectors, const Tile& tile, Fetch& fetch) {
  const bool fetches = fetch.left > 0;
  const float *rows = tile.rows, *panel = tile.panel, *next = fetches ? fetch.next : tile.panel;
  float* y = tile.y;
  const int64_t ld = tile.ld_rows * 4, ld_y = tile.ld_y * 4, all_y = kTileRows * ld_y, adds = tile.adds;
  const int64_t bytes = fetches ? fetch.bytes : 0, jump = fetch.jump, of_row = fetch.of_row;
  int64_t steps = tile.length / 4, in_row = fetches ? fetch.in_row : steps + 1;
  if (vectors == 3) {
    TILE(3, "768");
  } else {
    TILE(2, "512");
  }
  if (fetches) fetch.next = next, fetch.in_row = in_row, fetch.left -= tile.length / 4;
}

float* scratch() {
  return kept<Fetch, float>(kScratch);
}

}  // namespace ta::wide

#endif
