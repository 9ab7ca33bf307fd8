// One-thread kernels for float32 in channels-last memory: a sequence batch is `rows` = n * length rows of `channels`.
// Plain C interface, called with addresses; the compiler vectorises for the processor it runs on.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace {

typedef float Vec __attribute__((vector_size(32), aligned(4)));
constexpr int64_t WIDTH = 8;
constexpr int64_t BLOCK = 96;  // positions whose inputs and gradients stay in the first-level cache

// A block of `samples` times `positions` rows of x, `step` apart in a sample and `jump` between samples.
struct Block {
  int64_t samples, positions, step, jump;
};

// w[j][o] += sum over the rows of x[j] * g[o] for J values of j and V vectors of o, all in registers.
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
        asm("" : "+x"(b[v]));  // load once: the compiler would load anew for each j
#endif
      }
      for (int j = 0; j < J; ++j)
        for (int v = 0; v < V; ++v) sum[j][v] += row[j] * b[v];
    }
  }
  for (int j = 0; j < J; ++j)
    for (int v = 0; v < V; ++v) *reinterpret_cast<Vec*>(w + j * columns + v * WIDTH) += sum[j][v];
}

// All taps for V vectors of outputs; g is packed to V vectors a row.
template <int V>
void strip(const float* x, const Block& block, const float* g, float* w, int64_t columns, int64_t inputs,
           int64_t taps, int64_t dilation) {
  for (int64_t k = 0; k < taps; ++k, x += dilation * inputs) {
    int64_t j = 0;
    for (; j + 4 <= inputs; j += 4, w += 4 * columns) tile<4, V>(x + j, block, g, w, columns);
    for (; j < inputs; ++j, w += columns) tile<1, V>(x + j, block, g, w, columns);
  }
}

// value where the condition holds, else 0, without a branch.
inline float where(bool condition, float value) {
  int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits &= -static_cast<int32_t>(condition);
  std::memcpy(&value, &bits, sizeof bits);
  return value;
}

// Bases of a sequence with its padding, three at a time: value q is 25 c[q] + 5 c[q + 1] + c[q + 2], 4 where no base is.
constexpr int64_t NONE = 4, SYMBOLS = 5, TRIPLES = 125;

struct Triples {
  int64_t groups, padded;  // triples of taps of a kernel, values of a sequence
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

// y[p] = bias + one row of each group's table, for one sequence.
template <int V>
void look_up(const uint8_t* triple, int64_t groups, int64_t positions, const float* table, const float* bias, float* y,
             int64_t outputs, int64_t there) {
  for (int64_t p = 0; p < positions; ++p, ++triple, y += outputs) {
    Vec sum[V];
    for (int v = 0; v < V; ++v) sum[v] = *reinterpret_cast<const Vec*>(bias + v * WIDTH);
    const float* rows = table;
    for (int64_t k = 0; k < groups; ++k, rows += TRIPLES * V * WIDTH) {
      const float* row = rows + triple[3 * k] * (V * WIDTH);
      for (int v = 0; v < V; ++v) sum[v] += *reinterpret_cast<const Vec*>(row + v * WIDTH);
    }
    if (there == V * WIDTH)
      for (int v = 0; v < V; ++v) *reinterpret_cast<Vec*>(y + v * WIDTH) = sum[v];
    else
      std::memcpy(y, sum, sizeof(float) * there);
  }
}

// The other way: each table's row += g[p].
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

// Call f(number of vectors, first output, outputs there) for strips of at most four vectors.
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

// Call f(tap, base, triple) for the taps that each triple of a group has a base at.
template <class F>
void for_taps(int64_t group, int64_t taps, F f) {
  for (int64_t t = 0; t < TRIPLES; ++t) {
    const int64_t bases[3] = {t / (SYMBOLS * SYMBOLS), t / SYMBOLS % SYMBOLS, t % SYMBOLS};
    for (int64_t j = 0; j < 3; ++j)
      if (bases[j] != NONE && 3 * group + j < taps) f(3 * group + j, bases[j], t);
  }
}

// e^x to about one unit in the last place (Cephes' polynomial), vectorised where a loop over it is.
inline float exponential(float x) {
  x = x > 89.0f ? 89.0f : x;  // infinite from 88.8 on, 0 below -104; NaN passes both tests
  x = x < -105.0f ? -105.0f : x;
  const float shifted = x * 1.44269504088896341f + 12582912.0f;  // the integer next to x / ln 2, in the lowest bits
  const float whole = shifted - 12582912.0f;
  const float r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
  float y = 1.9875691500e-4f;
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.0f;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  const int32_t power = bits - 0x4b400000, half = power >> 1;  // in two steps, for 2^128 and below 2^-126
  const int32_t low = (half + 127) << 23, high = (power - half + 127) << 23;
  float a, b;
  std::memcpy(&a, &low, sizeof a);
  std::memcpy(&b, &high, sizeof b);
  return y * a * b;
}

// What follows a batch norm.
constexpr int NOTHING = 0, RELU = 1, EXPONENTIAL = 2;

template <class F>
void with_steps(int64_t before, int64_t after, int64_t drop, F f) {
  auto three = [&](auto b, auto a) {
    if (drop) f(b, a, std::true_type{});
    else f(b, a, std::false_type{});
  };
  auto two = [&](auto b) {
    if (after == RELU) three(b, std::integral_constant<int, RELU>{});
    else if (after == EXPONENTIAL) three(b, std::integral_constant<int, EXPONENTIAL>{});
    else three(b, std::integral_constant<int, NOTHING>{});
  };
  if (before) two(std::true_type{});
  else two(std::false_type{});
}

// Gradient at a batch norm's output h, from that behind what follows it.
template <int AFTER>
inline float back(float h, float gradient, float factor) {
  if constexpr (AFTER == RELU) return where(h > 0, gradient);
  if constexpr (AFTER == EXPONENTIAL) return gradient * (factor * exponential(factor * h));
  return gradient;
}

}  // namespace

extern "C" {

// Gradient of a convolution's weights. x: (n, length, inputs), g: (n, positions, outputs),
// w: (taps, inputs, columns), zeroed, columns = outputs rounded up to 8.
void weight_gradient(const float* x, const float* g, float* w, int64_t n, int64_t length, int64_t inputs,
                     int64_t positions, int64_t outputs, int64_t taps, int64_t stride, int64_t dilation,
                     int64_t left) {
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
}

// Bases of one-hot rows of 4 values, 4 for a row of zeros. Returns 0 if another row is among them.
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

// Convolution of one-hot sequences. codes: (n, length), w: (outputs, 4, taps), bias: (outputs) or null,
// y: (n, positions, outputs). Three taps at once are a row of a table: a third of the additions, and no multiplication.
void first_forward(const uint8_t* codes, const float* w, const float* bias, float* y, int64_t n, int64_t length,
                   int64_t positions, int64_t outputs, int64_t taps, int64_t left) {
  const Triples triples(codes, n, length, positions, taps, left);
  for_strips(outputs, [&](auto vectors, int64_t o, int64_t there) {
    constexpr int V = decltype(vectors)::value;
    constexpr int64_t wide = V * WIDTH;
    std::vector<float> table(triples.groups * TRIPLES * wide, 0.0f), start(wide, 0.0f);
    for (int64_t k = 0; k < triples.groups; ++k)
      for_taps(k, taps, [&](int64_t tap, int64_t base, int64_t t) {
        float* row = table.data() + (k * TRIPLES + t) * wide;
        for (int64_t c = 0; c < there; ++c) row[c] += w[((o + c) * 4 + base) * taps + tap];
      });
    if (bias) std::copy(bias + o, bias + o + there, start.data());
    for (int64_t i = 0; i < n; ++i)
      look_up<V>(triples.values.data() + i * triples.padded, triples.groups, positions, table.data(), start.data(),
                 y + i * positions * outputs + o, outputs, there);
  });
}

// Gradient of its weights. g: (n, positions, outputs), w: (outputs, 4, taps), zeroed.
void first_gradient(const uint8_t* codes, const float* g, float* w, int64_t n, int64_t length, int64_t positions,
                    int64_t outputs, int64_t taps, int64_t left) {
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
}

// y = x * scale where the random bits reach the threshold, else 0. Also its own backward pass.
void dropout(const float* __restrict x, const int16_t* __restrict bits, float* __restrict y, int64_t size,
             int64_t level, float scale) {
  const int16_t threshold = static_cast<int16_t>(level);
  for (int64_t i = 0; i < size; ++i) y[i] = bits[i] >= threshold ? x[i] * scale : 0.0f;
}

// Batch norm's statistics of each channel of x, or of relu(x) if `before`: sums of 64 rows in float, of those in
// double. Moves the running mean and variance and writes what a pass over the rows needs: slope and offset of the
// norm, mean, and one over the standard deviation.
void norm_statistics(const float* x, int64_t rows, int64_t channels, int64_t before, const float* weight,
                     const float* bias, float* running_mean, float* running_variance, float momentum, float epsilon,
                     float* slope, float* offset, float* mean, float* inverse) {
  const float low = before ? 0.0f : -__builtin_inff();
  std::vector<float> shift(channels), s(channels), q(channels);
  std::vector<double> sum(channels, 0.0), squares(channels, 0.0);
  for (int64_t c = 0; c < channels; ++c) shift[c] = std::max(x[c], low);
  for (int64_t first = 0; first < rows; first += 64) {
    std::fill(s.begin(), s.end(), 0.0f);
    std::fill(q.begin(), q.end(), 0.0f);
    float *__restrict sp = s.data(), *__restrict qp = q.data();
    const float* sh = shift.data();
    for (int64_t r = first; r < std::min(rows, first + 64); ++r) {
      const float* xr = x + r * channels;
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) {
        const float d = (xr[c] > low ? xr[c] : low) - sh[c];
        sp[c] += d;
        qp[c] += d * d;
      }
    }
    for (int64_t c = 0; c < channels; ++c) sum[c] += s[c], squares[c] += q[c];
  }
  for (int64_t c = 0; c < channels; ++c) {
    const double m = sum[c] / rows, v = std::max(squares[c] / rows - m * m, 0.0);
    const double all = shift[c] + m, one = 1 / std::sqrt(v + epsilon), steep = weight[c] * one;
    running_mean[c] += momentum * (static_cast<float>(all) - running_mean[c]);
    running_variance[c] += momentum * (static_cast<float>(v * rows / std::max<int64_t>(rows - 1, 1)) - running_variance[c]);
    mean[c] = static_cast<float>(all);
    inverse[c] = static_cast<float>(one);
    slope[c] = static_cast<float>(steep);
    offset[c] = static_cast<float>(bias[c] - all * steep);
  }
}

// y = drop(after(slope * relu(x) + offset)); each of the three steps only where asked for. The exponential is that of
// `factor` times its input.
void norm_forward(const float* x, const int16_t* bits, float* y, int64_t rows, int64_t channels, const float* slope,
                  const float* offset, int64_t before, int64_t after, int64_t drop, float factor, int64_t level,
                  float scale) {
  const int16_t threshold = static_cast<int16_t>(level);
  with_steps(before, after, drop, [&](auto b, auto a, auto d) {
    constexpr int AFTER = decltype(a)::value;
    for (int64_t r = 0; r < rows; ++r) {
      const float* __restrict xr = x + r * channels;
      const int16_t* __restrict br = bits + (d ? r * channels : 0);
      float* __restrict yr = y + r * channels;
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) {
        float h = b && xr[c] < 0 ? 0.0f : xr[c];
        h = slope[c] * h + offset[c];
        if constexpr (AFTER == RELU) h = h < 0 ? 0.0f : h;
        if constexpr (AFTER == EXPONENTIAL) h = exponential(factor * h);
        if (d) h = br[c] >= threshold ? h * scale : 0.0f;
        yr[c] = h;
      }
    }
  });
}

// Gradient of norm_forward with training statistics. weight, bias: (channels), of the norm.
void norm_backward(const float* x, const float* g, const int16_t* bits, float* dx, int64_t rows, int64_t channels,
                   const float* slope, const float* offset, const float* mean, const float* inverse, float* weight,
                   float* bias, int64_t before, int64_t after, int64_t drop, float factor, int64_t level,
                   float scale) {
  const int16_t threshold = static_cast<int16_t>(level);
  with_steps(before, after, drop, [&](auto b, auto a, auto d) {
    constexpr int AFTER = decltype(a)::value;
    std::vector<float> s(channels), q(channels), p1(channels), p2(channels);
    std::vector<double> sums(channels, 0.0), products(channels, 0.0);
    const float *__restrict sl = slope, *__restrict of = offset, *__restrict mu = mean, *__restrict in = inverse;
    const float keep = scale, f = factor;
    const int16_t least = threshold;
    for (int64_t first = 0; first < rows; first += 64) {
      std::fill(s.begin(), s.end(), 0.0f);
      std::fill(q.begin(), q.end(), 0.0f);
      float *__restrict sp = s.data(), *__restrict qp = q.data();
      for (int64_t r = first; r < std::min(rows, first + 64); ++r) {
        const float *__restrict xr = x + r * channels, *__restrict gr = g + r * channels;
        const int16_t* __restrict br = bits + (d ? r * channels : 0);
#pragma GCC ivdep
        for (int64_t c = 0; c < channels; ++c) {
          const float h = b ? std::max(xr[c], 0.0f) : xr[c];
          float k = gr[c];
          if constexpr (d) k = where(br[c] >= least, k * keep);
          k = back<AFTER>(sl[c] * h + of[c], k, f);
          sp[c] += k;
          qp[c] += k * ((h - mu[c]) * in[c]);
        }
      }
      for (int64_t c = 0; c < channels; ++c) sums[c] += s[c], products[c] += q[c];
    }
    for (int64_t c = 0; c < channels; ++c) {
      bias[c] = static_cast<float>(sums[c]);
      weight[c] = static_cast<float>(products[c]);
      p1[c] = static_cast<float>(sums[c] / rows);
      p2[c] = static_cast<float>(products[c] / rows);
    }
    const float *__restrict m1 = p1.data(), *__restrict m2 = p2.data();
    for (int64_t r = 0; r < rows; ++r) {
      const float *__restrict xr = x + r * channels, *__restrict gr = g + r * channels;
      const int16_t* __restrict br = bits + (d ? r * channels : 0);
      float* __restrict out = dx + r * channels;
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) {
        const float h = b ? std::max(xr[c], 0.0f) : xr[c];
        float k = gr[c];
        if constexpr (d) k = where(br[c] >= least, k * keep);
        k = back<AFTER>(sl[c] * h + of[c], k, f);
        k = sl[c] * (k - m1[c] - m2[c] * ((h - mu[c]) * in[c]));
        if constexpr (b) k = where(xr[c] > 0, k);
        out[c] = k;
      }
    }
  });
}

// y = relu(a + b).
void add_relu(const float* __restrict a, const float* __restrict b, float* __restrict y, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const float h = a[i] + b[i];
    y[i] = h < 0 ? 0.0f : h;
  }
}

// Its gradient for a and for b.
void add_relu_backward(const float* __restrict y, const float* __restrict g, float* __restrict d, int64_t size) {
  for (int64_t i = 0; i < size; ++i) d[i] = where(y[i] > 0, g[i]);
}

}  // extern "C"
