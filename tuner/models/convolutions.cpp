// Convolution kernels for one thread and float32 in channels-last memory: a batch of sequences is `rows` = n * length
// rows of `channels` values. Plain C interface; tensors are passed by address. The compiler vectorises for the
// processor it runs on.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace {

typedef float Vec __attribute__((vector_size(32), aligned(4)));
typedef int32_t Places __attribute__((vector_size(32), aligned(4)));
constexpr int64_t WIDTH = 8;
constexpr int64_t BLOCK = 96;  // positions whose inputs and gradients stay in the first-level cache

// A block of x: `positions` rows in each of `samples` sequences. Rows are `step` values apart, sequences `jump` values.
struct Block {
  int64_t samples, positions, step, jump;
};

// w[j][o] += the sum of x[j] * g[o] over the rows of the block, for J values of j and V vectors of o, all in registers.
template <int J, int V>
void tile(const float* x, const Block& block, const float* g, float* w, int64_t columns) {
  Vec sum[J][V] = {};
  for (int64_t s = 0; s < block.samples; ++s) {
    const float* row = x + s * block.jump;
    for (int64_t t = 0; t < block.positions; ++t, row += block.step, g += V * WIDTH) {
      Vec b[V];
      for (int v = 0; v < V; ++v) {
        b[v] = *reinterpret_cast<const Vec*>(g + v * WIDTH);
#if defined(__AVX2__)
        asm("" : "+x"(b[v]));  // load once; otherwise the compiler loads again for each j
#endif
      }
      for (int j = 0; j < J; ++j)
        for (int v = 0; v < V; ++v) sum[j][v] += row[j] * b[v];
    }
  }
  for (int j = 0; j < J; ++j)
    for (int v = 0; v < V; ++v) *reinterpret_cast<Vec*>(w + j * columns + v * WIDTH) += sum[j][v];
}

// Weight gradient of all taps for V vectors of outputs; each row of g has been packed into V vectors.
template <int V>
void strip(const float* x, const Block& block, const float* g, float* w, int64_t columns, int64_t inputs,
           int64_t taps, int64_t dilation) {
  for (int64_t k = 0; k < taps; ++k, x += dilation * inputs) {
    int64_t j = 0;
    for (; j + 4 <= inputs; j += 4, w += 4 * columns) tile<4, V>(x + j, block, g, w, columns);
    for (; j < inputs; ++j, w += columns) tile<1, V>(x + j, block, g, w, columns);
  }
}

// Bases of the padded sequences, three at a time: value q is 25 c[q] + 5 c[q + 1] + c[q + 2], where c is the code of a
// base, or 4 for an unknown base (N) and for padding.
constexpr int64_t NONE = 4, SYMBOLS = 5, TRIPLES = 125;

struct Triples {
  int64_t groups, padded;  // number of triples of taps in a filter, number of values per sequence
  std::vector<uint8_t> values;

  Triples(const uint8_t* codes, int64_t n, int64_t length, int64_t positions, int64_t taps, int64_t left)
      : groups((taps + 2) / 3), padded(positions + 3 * (groups - 1)), values(n * padded) {
    std::vector<uint8_t> c(std::max(padded + 2, left + length), NONE);
    for (int64_t i = 0; i < n; ++i) {
      std::copy(codes + i * length, codes + (i + 1) * length, c.data() + left);
      uint8_t* v = values.data() + i * padded;
      for (int64_t q = 0; q < padded; ++q) v[q] = static_cast<uint8_t>(25 * c[q] + 5 * c[q + 1] + c[q + 2]);
    }
  }
};

// sum = bias + the row of each group's table that belongs to the triple of bases at this position.
template <int V>
inline void add_rows(const uint8_t* triple, int64_t groups, const float* table, const float* bias, Vec* sum) {
  for (int v = 0; v < V; ++v) sum[v] = *reinterpret_cast<const Vec*>(bias + v * WIDTH);
  for (int64_t k = 0; k < groups; ++k, table += TRIPLES * V * WIDTH) {
    const float* row = table + triple[3 * k] * (V * WIDTH);
    for (int v = 0; v < V; ++v) sum[v] += *reinterpret_cast<const Vec*>(row + v * WIDTH);
  }
}

// y[p] = the sum of `add_rows` at each position p of one sequence.
template <int V>
void look_up(const uint8_t* triple, int64_t groups, int64_t positions, const float* table, const float* bias, float* y,
             int64_t outputs, int64_t there) {
  for (int64_t p = 0; p < positions; ++p, ++triple, y += outputs) {
    Vec sum[V];
    add_rows<V>(triple, groups, table, bias, sum);
    if (there == V * WIDTH)
      for (int v = 0; v < V; ++v) *reinterpret_cast<Vec*>(y + v * WIDTH) = sum[v];
    else
      std::memcpy(y, sum, sizeof(float) * there);
  }
}

// The backward pass of `look_up`: adds g[p] to the row of each table that was read at position p.
template <int V>
void gather(const uint8_t* triple, int64_t groups, int64_t positions, float* table, const float* g, int64_t outputs,
            int64_t there) {
  for (int64_t p = 0; p < positions; ++p, ++triple, g += outputs) {
    Vec value[V] = {};
    if (there == V * WIDTH)
      for (int v = 0; v < V; ++v) value[v] = *reinterpret_cast<const Vec*>(g + v * WIDTH);
    else
      std::memcpy(value, g, sizeof(float) * there);
    float* rows = table;
    for (int64_t k = 0; k < groups; ++k, rows += TRIPLES * V * WIDTH) {
      float* row = rows + triple[3 * k] * (V * WIDTH);
      for (int v = 0; v < V; ++v) *reinterpret_cast<Vec*>(row + v * WIDTH) += value[v];
    }
  }
}

// Call f(number of vectors, first output, number of outputs) for each strip of at most four vectors of outputs.
template <class F>
void for_strips(int64_t outputs, F f) {
  for (int64_t o = 0; o < outputs;) {
    const int64_t vectors = std::min<int64_t>(4, (outputs - o + WIDTH - 1) / WIDTH);
    const int64_t there = std::min(vectors * WIDTH, outputs - o);
    if (vectors == 4) f(std::integral_constant<int, 4>{}, o, there);
    else if (vectors == 3) f(std::integral_constant<int, 3>{}, o, there);
    else if (vectors == 2) f(std::integral_constant<int, 2>{}, o, there);
    else f(std::integral_constant<int, 1>{}, o, there);
    o += there;
  }
}

// Call f(tap, base, triple) for each triple of bases and each tap of the group at which the triple has a known base.
template <class F>
void for_taps(int64_t group, int64_t taps, F f) {
  for (int64_t t = 0; t < TRIPLES; ++t) {
    const int64_t bases[3] = {t / (SYMBOLS * SYMBOLS), t / SYMBOLS % SYMBOLS, t % SYMBOLS};
    for (int64_t j = 0; j < 3; ++j)
      if (bases[j] != NONE && 3 * group + j < taps) f(3 * group + j, bases[j], t);
  }
}

// The table of one strip of outputs: for each group of taps and triple of bases, the sum of the weights of these bases.
template <int V>
std::vector<float> strip_table(const float* w, int64_t groups, int64_t o, int64_t there, int64_t taps) {
  std::vector<float> table(groups * TRIPLES * V * WIDTH, 0.0f);
  for (int64_t k = 0; k < groups; ++k)
    for_taps(k, taps, [&](int64_t tap, int64_t base, int64_t t) {
      float* row = table.data() + (k * TRIPLES + t) * V * WIDTH;
      for (int64_t c = 0; c < there; ++c) row[c] += w[((o + c) * 4 + base) * taps + tap];
    });
  return table;
}

// Highest value of each output in one sequence, the first position that has it, and the lowest value so far.
template <int V>
void highest(const uint8_t* triple, int64_t groups, int32_t positions, const float* table, const float* bias, Vec* top,
             Places* places, Vec* low) {
  for (int32_t p = 0; p < positions; ++p, ++triple) {
    Vec sum[V];
    add_rows<V>(triple, groups, table, bias, sum);
    for (int v = 0; v < V; ++v) {
      const Places no_better = sum[v] <= top[v], here = Places{} + p;  // a NaN counts as highest, so it stays visible
      places[v] = no_better ? places[v] : here;
      top[v] = no_better ? top[v] : sum[v];
      low[v] = sum[v] >= low[v] ? low[v] : sum[v];
    }
  }
}

thread_local int64_t no_memory = 0;  // an exception that leaves a C function would end the process

}  // namespace

extern "C" {

// Whether a function of this file has run out of memory in this thread since the last call of this function.
int64_t memory_ran_out() {
  const int64_t found = no_memory;
  no_memory = 0;
  return found;
}

// Gradient of a convolution's weights. x: (n, length, inputs), g: (n, positions, outputs),
// w: (taps, inputs, columns), set to 0 by the caller; columns = outputs rounded up to a multiple of 8.
void weight_gradient(const float* x, const float* g, float* w, int64_t n, int64_t length, int64_t inputs,
                     int64_t positions, int64_t outputs, int64_t taps, int64_t stride, int64_t dilation,
                     int64_t left) try {
  const int64_t columns = (outputs + WIDTH - 1) / WIDTH * WIDTH;
  const int64_t padded = std::max(left + length, (positions - 1) * stride + (taps - 1) * dilation + 1);
  const int64_t group = std::max<int64_t>(1, BLOCK / positions);
  std::vector<float> xs(group * padded * inputs, 0.0f), gs(std::max(BLOCK, group * positions) * 3 * WIDTH + 16);
  float* const strip_start = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(gs.data()) + 63) / 64 * 64);
  for (int64_t i = 0; i < n; i += group) {
    const int64_t samples = std::min(group, n - i);
    for (int64_t s = 0; s < samples; ++s)
      std::memcpy(xs.data() + (s * padded + left) * inputs, x + (i + s) * length * inputs,
                  sizeof(float) * length * inputs);
    for (int64_t first = 0; first < positions; first += BLOCK) {
      const Block block{samples, std::min(BLOCK, positions - first), stride * inputs, padded * inputs};
      const float* xp = xs.data() + first * stride * inputs;
      for (int64_t o = 0; o < columns;) {
        const int64_t rest = (columns - o) / WIDTH;
        const int64_t vectors = rest == 1 ? 1 : rest % 2 ? 3 : 2;
        const int64_t wide = vectors * WIDTH, there = std::min(wide, outputs - o);
        float* packed = strip_start;
        for (int64_t s = 0; s < samples; ++s)
          for (int64_t t = 0; t < block.positions; ++t, packed += wide) {
            const float* row = g + ((i + s) * positions + first + t) * outputs + o;
            std::copy(row, row + there, packed);
            std::fill(packed + there, packed + wide, 0.0f);
          }
        if (vectors == 3) strip<3>(xp, block, strip_start, w + o, columns, inputs, taps, dilation);
        else if (vectors == 2) strip<2>(xp, block, strip_start, w + o, columns, inputs, taps, dilation);
        else strip<1>(xp, block, strip_start, w + o, columns, inputs, taps, dilation);
        o += wide;
      }
    }
  }
} catch (const std::bad_alloc&) {
  no_memory = 1;
}

// Codes of one-hot rows of 4 values; a row of zeros gets code 4. Returns 0 if a row is neither, otherwise 1.
int64_t encode(const float* x, uint8_t* codes, int64_t rows) {
  for (int64_t r = 0; r < rows; ++r, x += 4) {
    int64_t ones = 0, zeros = 0, code = NONE;
    for (int64_t b = 0; b < 4; ++b) {
      ones += x[b] == 1.0f;
      zeros += x[b] == 0.0f;
      code = x[b] == 1.0f ? b : code;
    }
    if (ones + zeros != 4 || ones > 1) return 0;
    codes[r] = static_cast<uint8_t>(code);
  }
  return 1;
}

// Convolution of one-hot sequences. codes: (n, length), w: (outputs, 4, taps), bias: (outputs) or null, y: (n,
// positions, outputs). Three taps at a time are looked up in a table: a third of the additions, no multiplication.
void first_forward(const uint8_t* codes, const float* w, const float* bias, float* y, int64_t n, int64_t length,
                   int64_t positions, int64_t outputs, int64_t taps, int64_t left) try {
  const Triples triples(codes, n, length, positions, taps, left);
  for_strips(outputs, [&](auto vectors, int64_t o, int64_t there) {
    constexpr int V = decltype(vectors)::value;
    constexpr int64_t wide = V * WIDTH;
    const std::vector<float> table = strip_table<V>(w, triples.groups, o, there, taps);
    std::vector<float> start(wide, 0.0f);
    if (bias) std::copy(bias + o, bias + o + there, start.data());
    for (int64_t i = 0; i < n; ++i)
      look_up<V>(triples.values.data() + i * triples.padded, triples.groups, positions, table.data(), start.data(),
                 y + i * positions * outputs + o, outputs, there);
  });
} catch (const std::bad_alloc&) {
  no_memory = 1;
}

// The same convolution, of which only the highest value of each sequence at positions first to stop - 1 is kept, and
// its distance from `first`. best, places: (n, outputs); lowest: (outputs), the lowest value of all sequences, which
// the caller sets to infinity. The output of the convolution is never stored.
void first_highest(const uint8_t* codes, const float* w, const float* bias, float* best, int32_t* places, float* lowest,
                   int64_t n, int64_t length, int64_t first, int64_t stop, int64_t outputs, int64_t taps,
                   int64_t left) try {
  const Triples triples(codes, n, length, stop, taps, left);
  for_strips(outputs, [&](auto vectors, int64_t o, int64_t there) {
    constexpr int V = decltype(vectors)::value;
    const std::vector<float> table = strip_table<V>(w, triples.groups, o, there, taps);
    float start[V * WIDTH] = {};
    std::copy(bias + o, bias + o + there, start);
    Vec low[V];
    for (int v = 0; v < V; ++v) low[v] = Vec{} + INFINITY;
    for (int64_t i = 0; i < n; ++i) {
      Vec top[V];
      Places found[V] = {};
      for (int v = 0; v < V; ++v) top[v] = Vec{} - INFINITY;
      highest<V>(triples.values.data() + i * triples.padded + first, triples.groups,
                 static_cast<int32_t>(stop - first), table.data(), start, top, found, low);
      std::memcpy(best + i * outputs + o, top, sizeof(float) * there);
      std::memcpy(places + i * outputs + o, found, sizeof(int32_t) * there);
    }
    const float* lows = reinterpret_cast<const float*>(low);
    for (int64_t c = 0; c < there; ++c) lowest[o + c] = std::min(lowest[o + c], lows[c]);
  });
} catch (const std::bad_alloc&) {
  no_memory = 1;
}

// Gradient of the weights of first_forward. g: (n, positions, outputs), w: (outputs, 4, taps), set to 0 by the caller.
void first_gradient(const uint8_t* codes, const float* g, float* w, int64_t n, int64_t length, int64_t positions,
                    int64_t outputs, int64_t taps, int64_t left) try {
  const Triples triples(codes, n, length, positions, taps, left);
  for_strips(outputs, [&](auto vectors, int64_t o, int64_t there) {
    constexpr int V = decltype(vectors)::value;
    constexpr int64_t wide = V * WIDTH;
    std::vector<float> table(triples.groups * TRIPLES * wide, 0.0f);
    for (int64_t i = 0; i < n; ++i)
      gather<V>(triples.values.data() + i * triples.padded, triples.groups, positions, table.data(),
                g + i * positions * outputs + o, outputs, there);
    for (int64_t k = 0; k < triples.groups; ++k)
      for_taps(k, taps, [&](int64_t tap, int64_t base, int64_t t) {
        const float* row = table.data() + (k * TRIPLES + t) * wide;
        for (int64_t c = 0; c < there; ++c) w[((o + c) * 4 + base) * taps + tap] += row[c];
      });
  });
} catch (const std::bad_alloc&) {
  no_memory = 1;
}

}  // extern "C"
