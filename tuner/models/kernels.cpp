// One-thread kernels for float32 in channels-last memory: a sequence batch is `rows` = n * length rows of `channels`.
// Plain C interface, called with addresses; the compiler vectorises for the processor it runs on.
#include <algorithm>
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

template <class F>
void with_flags(int before, int after, int drop, F f) {
  auto three = [&](auto b, auto a) {
    if (drop) f(b, a, std::true_type{});
    else f(b, a, std::false_type{});
  };
  auto two = [&](auto b) {
    if (after) three(b, std::true_type{});
    else three(b, std::false_type{});
  };
  if (before) two(std::true_type{});
  else two(std::false_type{});
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

// y = x * scale where the random bits reach the threshold, else 0. Also its own backward pass.
void dropout(const float* __restrict x, const int16_t* __restrict bits, float* __restrict y, int64_t size,
             int64_t level, float scale) {
  const int16_t threshold = static_cast<int16_t>(level);
  for (int64_t i = 0; i < size; ++i) y[i] = bits[i] >= threshold ? x[i] * scale : 0.0f;
}

// Mean and biased variance of each channel, of relu(x) if `before`. Sums of 64 rows in float, of those in double.
void moments(const float* x, int64_t rows, int64_t channels, int64_t before, double* mean, double* variance) {
  const float low = before ? 0.0f : -__builtin_inff();
  std::vector<float> shift(channels), s(channels), q(channels);
  for (int64_t c = 0; c < channels; ++c) shift[c] = std::max(x[c], low), mean[c] = variance[c] = 0;
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
    for (int64_t c = 0; c < channels; ++c) mean[c] += s[c], variance[c] += q[c];
  }
#pragma GCC ivdep
  for (int64_t c = 0; c < channels; ++c) {
    const double m = mean[c] / rows;
    variance[c] = std::max(variance[c] / rows - m * m, 0.0);
    mean[c] = shift[c] + m;
  }
}

// y = drop(relu(slope * relu(x) + offset)); each of the three steps only where asked for.
void norm_forward(const float* x, const int16_t* bits, float* y, int64_t rows, int64_t channels, const float* slope,
                  const float* offset, int64_t before, int64_t after, int64_t drop, int64_t level,
                  float scale) {
  const int16_t threshold = static_cast<int16_t>(level);
  with_flags(before, after, drop, [&](auto b, auto a, auto d) {
    for (int64_t r = 0; r < rows; ++r) {
      const float* __restrict xr = x + r * channels;
      const int16_t* __restrict br = bits + (d ? r * channels : 0);
      float* __restrict yr = y + r * channels;
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) {
        float h = b && xr[c] < 0 ? 0.0f : xr[c];
        h = slope[c] * h + offset[c];
        if (a) h = h < 0 ? 0.0f : h;
        if (d) h = br[c] >= threshold ? h * scale : 0.0f;
        yr[c] = h;
      }
    }
  });
}

// Gradient of norm_forward with training statistics. sums: (2, channels), of the gradient at the norm's output
// (that of its bias) and of it times the normalised input (that of its weight).
void norm_backward(const float* x, const float* g, const int16_t* bits, float* dx, int64_t rows, int64_t channels,
                   const float* slope, const float* offset, const float* mean, const float* inverse, double* sums,
                   int64_t before, int64_t after, int64_t drop, int64_t level,
                  float scale) {
  const int16_t threshold = static_cast<int16_t>(level);
  with_flags(before, after, drop, [&](auto b, auto a, auto d) {
    std::vector<float> s(channels), q(channels), p1(channels), p2(channels);
    const float *__restrict sl = slope, *__restrict of = offset, *__restrict mu = mean, *__restrict in = inverse;
    const float keep = scale;
    const int16_t least = threshold;
    std::fill(sums, sums + 2 * channels, 0.0);
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
          if constexpr (a) k = where(sl[c] * h + of[c] > 0, k);
          sp[c] += k;
          qp[c] += k * ((h - mu[c]) * in[c]);
        }
      }
      for (int64_t c = 0; c < channels; ++c) sums[c] += s[c], sums[channels + c] += q[c];
    }
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; ++c) {
      p1[c] = static_cast<float>(sums[c] / rows);
      p2[c] = static_cast<float>(sums[channels + c] / rows);
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
        if constexpr (a) k = where(sl[c] * h + of[c] > 0, k);
        k = sl[c] * (k - m1[c] - m2[c] * ((h - mu[c]) * in[c]));
        if constexpr (b) k = where(xr[c] > 0, k);
        out[c] = k;
      }
    }
  });
}

}  // extern "C"
