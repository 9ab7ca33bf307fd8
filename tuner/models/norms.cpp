// Kernels for one thread: batch norm together with the operations before and after it. Plain C interface; tensors are
// passed by address.
#include "maps.hpp"

namespace {

// Operation after the batch norm.
constexpr int NOTHING = 0, RELU = 1, EXPONENTIAL = 2, ADD_RELU = 3;

template <class F>
void with_steps(int64_t after, int64_t drop, F f) {
  auto with = [&](auto a) {
    if (drop) f(a, std::true_type{});
    else f(a, std::false_type{});
  };
  if (after == RELU) with(std::integral_constant<int, RELU>{});
  else if (after == EXPONENTIAL) with(std::integral_constant<int, EXPONENTIAL>{});
  else if (after == ADD_RELU) f(std::integral_constant<int, ADD_RELU>{}, std::false_type{});
  else with(std::integral_constant<int, NOTHING>{});
}

// Lower bound of the norm's input: 0 if a ReLU comes before the norm, otherwise minus infinity.
inline float lowest(int64_t before) { return before ? 0.0f : -__builtin_inff(); }

// Gradient at the batch norm's output, computed from the gradient at the final output and from that output `out`. It is
// 0 where a ReLU or dropout let nothing through; the derivative of an exponential is `factor` times its own output.
template <int AFTER, bool DROP>
inline float back(float gradient, float out, int16_t bits, int16_t threshold, float scale, float factor) {
  if constexpr (AFTER == RELU) return where(out > 0, DROP ? gradient * scale : gradient);
  if constexpr (AFTER == ADD_RELU) return where(out > 0, gradient);
  if constexpr (AFTER == EXPONENTIAL) return gradient * (factor * out);
  if constexpr (DROP) return where(bits >= threshold, gradient * scale);
  return gradient;
}

}  // namespace

extern "C" {

// Batch norm statistics of each channel of x, or of relu(x) if `before`. Updates the running mean and variance, and
// writes what a pass over the rows needs: slope and offset of the norm, mean, and 1 / standard deviation.
void norm_statistics(const void* from, int64_t rows, int64_t channels, int64_t types, int64_t before,
                     const float* weight, const float* bias, float* running_mean, float* running_variance,
                     float momentum, float epsilon, float* slope, float* offset, float* mean, float* inverse) {
  const Tile tile(channels);
  Sums sums(tile);
  std::vector<float> shift(channels);
  with_types(types, [&](auto in, auto) {
    const auto* x = static_cast<const decltype(in)*>(from);
    const float low = lowest(before);
    for (int64_t c = 0; c < channels; ++c) shift[c] = std::max(load(x[c]), low);
    const std::vector<float> all = tile.repeat(shift.data());
    tile.over(rows, [&](int64_t start, int64_t size) {
      const auto* __restrict xs = x + start;
      const float* __restrict sh = all.data();
      float *__restrict s = sums.first.data(), *__restrict q = sums.second.data();
#pragma GCC ivdep
      for (int64_t j = 0; j < size; ++j) {
        const float h = load(xs[j]), d = (h > low ? h : low) - sh[j];
        s[j] += d;
        q[j] += d * d;
      }
      sums.next();
    });
  });
  sums.flush();
  for (int64_t c = 0; c < channels; ++c) {
    const double m = sums.firsts[c] / rows, v = std::max(sums.seconds[c] / rows - m * m, 0.0);
    const double all = shift[c] + m, one = 1 / std::sqrt(v + epsilon), steep = weight[c] * one;
    running_mean[c] += momentum * (static_cast<float>(all) - running_mean[c]);
    running_variance[c] += momentum * (static_cast<float>(v * rows / std::max<int64_t>(rows - 1, 1)) - running_variance[c]);
    mean[c] = static_cast<float>(all);
    inverse[c] = static_cast<float>(one);
    slope[c] = static_cast<float>(steep);
    offset[c] = static_cast<float>(bias[c] - all * steep);
  }
}

// y = drop(after(slope * relu(x) + offset)), where relu, after and drop are optional. EXPONENTIAL is exp(factor *
// input); ADD_RELU adds `other`, which has the type of y, before its ReLU.
void norm_forward(const void* from, const int16_t* bits, const void* other, void* to, int64_t rows, int64_t channels,
                  const float* slope, const float* offset, int64_t types, int64_t before, int64_t after, int64_t drop,
                  float factor, int64_t level, float scale) {
  const int16_t threshold = static_cast<int16_t>(level);
  const float low = lowest(before);
  const Tile tile(channels);
  const std::vector<float> slopes = tile.repeat(slope), offsets = tile.repeat(offset);
  std::vector<float> held(tile.size);
  with_types(types, [&](auto in, auto out) {
    const auto* x = static_cast<const decltype(in)*>(from);
    const auto* a = static_cast<const decltype(out)*>(other);
    auto* y = static_cast<decltype(out)*>(to);
    with_steps(after, drop, [&](auto f, auto d) {
      constexpr int AFTER = decltype(f)::value;
      tile.over(rows, [&](int64_t start, int64_t size) {
        const auto* __restrict xs = x + start;
        const auto* __restrict as = a + (AFTER == ADD_RELU ? start : 0);
        const int16_t* __restrict bs = bits + (d ? start : 0);
        const float *__restrict sl = slopes.data(), *__restrict of = offsets.data();
        auto* __restrict ys = y + start;
        float* __restrict hs = held.data();
        if constexpr (AFTER == EXPONENTIAL) {
#pragma GCC ivdep
          for (int64_t j = 0; j < size; ++j) {
            float h = load(xs[j]);
            h = h < low ? low : h;
            hs[j] = factor * (sl[j] * h + of[j]);
          }
          exponentials(hs, size);
#pragma GCC ivdep
          for (int64_t j = 0; j < size; ++j) {
            if constexpr (d) store(ys[j], where(bs[j] >= threshold, hs[j] * scale));
            else store(ys[j], hs[j]);
          }
        } else {
#pragma GCC ivdep
          for (int64_t j = 0; j < size; ++j) {
            float h = load(xs[j]);
            h = h < low ? low : h;
            h = sl[j] * h + of[j];
            if constexpr (AFTER == ADD_RELU) h += load(as[j]);
            if constexpr (AFTER == RELU || AFTER == ADD_RELU) h = h < 0 ? 0.0f : h;
            if constexpr (d) h = where(bs[j] >= threshold, h * scale);
            store(ys[j], h);
          }
        }
      });
    });
  });
}

// Gradient of norm_forward with the statistics of the batch, computed from its output y and the gradient g at y; bits
// are read only if nothing but dropout follows the norm. weight, bias: (channels), gradients of the norm's parameters;
// of_other: gradient of ADD_RELU's summand.
void norm_backward(const void* from, const void* behind, const void* out, const int16_t* bits, void* to, void* of_other,
                   int64_t rows, int64_t channels, const float* slope, const float* mean, const float* inverse,
                   float* weight, float* bias, int64_t types, int64_t before, int64_t after, int64_t drop, float factor,
                   int64_t level, float scale) {
  const int16_t threshold = static_cast<int16_t>(level);
  const float low = lowest(before);
  const Tile tile(channels);
  const std::vector<float> slopes = tile.repeat(slope), means = tile.repeat(mean);
  with_types(types, [&](auto in, auto wide) {
    const auto* x = static_cast<const decltype(in)*>(from);
    const auto* g = static_cast<const decltype(wide)*>(behind);
    const auto* y = static_cast<const decltype(wide)*>(out);
    auto* dx = static_cast<decltype(in)*>(to);
    auto* da = static_cast<decltype(wide)*>(of_other);
    with_steps(after, drop, [&](auto f, auto d) {
      constexpr int AFTER = decltype(f)::value;
      constexpr bool BITS = d && AFTER == NOTHING;
      Sums sums(tile);
      tile.over(rows, [&](int64_t start, int64_t size) {
        const auto* __restrict xs = x + start;
        const auto* __restrict gs = g + start;
        const auto* __restrict ys = y + start;
        const int16_t* __restrict bs = bits + (BITS ? start : 0);
        const float* __restrict mu = means.data();
        float *__restrict s = sums.first.data(), *__restrict q = sums.second.data();
#pragma GCC ivdep
        for (int64_t j = 0; j < size; ++j) {
          float h = load(xs[j]);
          h = h < low ? low : h;
          const float k = back<AFTER, d>(load(gs[j]), load(ys[j]), BITS ? bs[j] : int16_t{0}, threshold, scale, factor);
          s[j] += k;
          q[j] += k * (h - mu[j]);
        }
        sums.next();
      });
      sums.flush();
      std::vector<float> p1(channels), p2(channels);
      for (int64_t c = 0; c < channels; ++c) {
        const double product = sums.seconds[c] * inverse[c];
        bias[c] = static_cast<float>(sums.firsts[c]);
        weight[c] = static_cast<float>(product);
        p1[c] = static_cast<float>(sums.firsts[c] / rows);
        p2[c] = static_cast<float>(product / rows * inverse[c]);
      }
      const std::vector<float> all1 = tile.repeat(p1.data()), all2 = tile.repeat(p2.data());
      tile.over(rows, [&](int64_t start, int64_t size) {
        const auto* __restrict xs = x + start;
        const auto* __restrict gs = g + start;
        const auto* __restrict ys = y + start;
        const int16_t* __restrict bs = bits + (BITS ? start : 0);
        const float *__restrict mu = means.data(), *__restrict sl = slopes.data();
        const float *__restrict m1 = all1.data(), *__restrict m2 = all2.data();
        auto* __restrict dxs = dx + start;
        auto* __restrict das = da + (AFTER == ADD_RELU ? start : 0);
#pragma GCC ivdep
        for (int64_t j = 0; j < size; ++j) {
          const float there = load(xs[j]);
          float h = there;
          h = h < low ? low : h;
          float k = back<AFTER, d>(load(gs[j]), load(ys[j]), BITS ? bs[j] : int16_t{0}, threshold, scale, factor);
          if constexpr (AFTER == ADD_RELU) store(das[j], k);
          k = sl[j] * (k - m1[j] - m2[j] * (h - mu[j]));
          k = where(there > low, k);
          store(dxs[j], k);
        }
      });
    });
  });
}

// norm_forward followed by a max pool: the largest value of each window of `window` rows, and its row within the
// window. The last window is shorter if `window` does not divide the length. x: (n, length, channels), y and places:
// (n, windows, channels).
void norm_pool_forward(const void* from, const int16_t* bits, const void* other, void* to, uint8_t* places, int64_t n,
                       int64_t length, int64_t channels, int64_t window, int64_t windows, const float* slope,
                       const float* offset, int64_t types, int64_t before, int64_t after, int64_t drop, float factor,
                       int64_t level, float scale) {
  const int16_t threshold = static_cast<int16_t>(level);
  const float low = lowest(before);
  const int64_t together = std::min(window, std::max<int64_t>(1, 512 / channels));  // rows
  std::vector<float> held(together * channels), slopes(together * channels), offsets(together * channels), best(channels);
  std::vector<int32_t> row_of_best(channels);
  for (int64_t j = 0; j < together * channels; ++j) slopes[j] = slope[j % channels], offsets[j] = offset[j % channels];
  float *__restrict hs = held.data(), *__restrict top = best.data();
  int32_t* __restrict at = row_of_best.data();
  const float *__restrict sl = slopes.data(), *__restrict of = offsets.data();
  with_types(types, [&](auto in, auto out) {
    const auto* x = static_cast<const decltype(in)*>(from);
    const auto* a = static_cast<const decltype(out)*>(other);
    auto* y = static_cast<decltype(out)*>(to);
    with_steps(after, drop, [&](auto f, auto d) {
      constexpr int AFTER = decltype(f)::value;
      for (int64_t i = 0; i < n; ++i)
        for (int64_t w = 0; w < windows; ++w, y += channels, places += channels) {
          const int64_t there = std::min(window, length - w * window);
          for (int64_t first = 0; first < there; first += together) {
            const int64_t rows = std::min(together, there - first), size = rows * channels;
            const int64_t start = (i * length + w * window + first) * channels;
            const auto* __restrict xs = x + start;
            const auto* __restrict as = a + (AFTER == ADD_RELU ? start : 0);
            const int16_t* __restrict bs = bits + (d ? start : 0);
#pragma GCC ivdep
            for (int64_t j = 0; j < size; ++j) {
              float h = load(xs[j]);
              h = h < low ? low : h;
              h = sl[j] * h + of[j];
              if constexpr (AFTER == ADD_RELU) h += load(as[j]);
              if constexpr (AFTER == RELU || AFTER == ADD_RELU) h = h < 0 ? 0.0f : h;
              if constexpr (AFTER == EXPONENTIAL) h *= factor;
              else if constexpr (d) h = where(bs[j] >= threshold, h * scale);
              hs[j] = h;
            }
            if constexpr (AFTER == EXPONENTIAL) {
              exponentials(hs, size);
              if constexpr (d)
#pragma GCC ivdep
                for (int64_t j = 0; j < size; ++j) hs[j] = where(bs[j] >= threshold, hs[j] * scale);
            }
            for (int64_t r = 0; r < rows; ++r) {
              const float* __restrict next = hs + r * channels;
              const int32_t place = static_cast<int32_t>(first + r);
              if (place == 0)
                for (int64_t c = 0; c < channels; ++c) top[c] = next[c], at[c] = 0;
              else
#pragma GCC ivdep
                for (int64_t c = 0; c < channels; ++c) {
                  const bool higher = next[c] > top[c] || next[c] != next[c];
                  top[c] = higher ? next[c] : top[c];
                  at[c] = higher ? place : at[c];
                }
            }
          }
          for (int64_t c = 0; c < channels; ++c) store(y[c], top[c]), places[c] = static_cast<uint8_t>(at[c]);
        }
    });
  });
}

// Gradient of norm_pool_forward: it enters at the largest value of each window only. All of dx is written; the caller
// sets of_other to 0.
void norm_pool_backward(const void* from, const void* behind, const void* out, const uint8_t* places,
                        const int16_t* bits, void* to, void* of_other, int64_t n, int64_t length, int64_t channels,
                        int64_t window, int64_t windows, const float* slope, const float* mean, const float* inverse,
                        float* weight, float* bias, int64_t types, int64_t before, int64_t after, int64_t drop,
                        float factor, int64_t level, float scale) {
  const int16_t threshold = static_cast<int16_t>(level);
  const float low = lowest(before);
  const int64_t rows = n * length;
  with_types(types, [&](auto in, auto wide) {
    const auto* x = static_cast<const decltype(in)*>(from);
    const auto* g = static_cast<const decltype(wide)*>(behind);
    const auto* y = static_cast<const decltype(wide)*>(out);
    auto* dx = static_cast<decltype(in)*>(to);
    auto* da = static_cast<decltype(wide)*>(of_other);
    with_steps(after, drop, [&](auto f, auto d) {
      constexpr int AFTER = decltype(f)::value;
      constexpr bool BITS = d && AFTER == NOTHING;
      // For each channel of one window: the norm's rectified input at the largest value, and the gradient at its
      // output.
      std::vector<float> inputs(channels), gradients(channels);
      float *__restrict hw = inputs.data(), *__restrict kw = gradients.data();
      auto winners = [&](int64_t start, int64_t p) {
        const auto* __restrict gs = g + p;
        const auto* __restrict ys = y + p;
        const uint8_t* __restrict at = places + p;
        for (int64_t c = 0; c < channels; ++c) {
          const int64_t q = start + at[c] * channels + c;
          const float h = load(x[q]);
          hw[c] = h < low ? low : h;
          if constexpr (BITS) kw[c] = back<AFTER, d>(load(gs[c]), 0.0f, bits[q], threshold, scale, factor);
        }
        if constexpr (!BITS)
#pragma GCC ivdep
          for (int64_t c = 0; c < channels; ++c)
            kw[c] = back<AFTER, d>(load(gs[c]), load(ys[c]), 0, threshold, scale, factor);
      };
      const Tile one(channels, 1);
      Sums sums(one);
      for (int64_t i = 0, p = 0; i < n; ++i)
        for (int64_t w = 0; w < windows; ++w, p += channels) {
          winners((i * length + w * window) * channels, p);
          float *__restrict s = sums.first.data(), *__restrict q = sums.second.data();
#pragma GCC ivdep
          for (int64_t c = 0; c < channels; ++c) {
            s[c] += kw[c];
            q[c] += kw[c] * (hw[c] - mean[c]);
          }
          sums.next();
        }
      sums.flush();
      std::vector<float> p1(channels), p2(channels);
      for (int64_t c = 0; c < channels; ++c) {
        const double product = sums.seconds[c] * inverse[c];
        bias[c] = static_cast<float>(sums.firsts[c]);
        weight[c] = static_cast<float>(product);
        p1[c] = static_cast<float>(slope[c] * (sums.firsts[c] / rows));
        p2[c] = static_cast<float>(slope[c] * (product / rows * inverse[c]));
      }
      const Tile tile(channels, std::min<int64_t>(window, std::max<int64_t>(1, 512 / channels)));
      const std::vector<float> means = tile.repeat(mean), all1 = tile.repeat(p1.data()), all2 = tile.repeat(p2.data());
      auto everywhere = [&](int64_t first, int64_t stop) {  // rows; as if no gradient entered at them
        for (int64_t r = first; r < stop; r += tile.rows) {
          const int64_t size = std::min(tile.rows, stop - r) * channels;
          const auto* __restrict xs = x + r * channels;
          const float *__restrict mu = means.data(), *__restrict m1 = all1.data(), *__restrict m2 = all2.data();
          auto* __restrict dxs = dx + r * channels;
#pragma GCC ivdep
          for (int64_t j = 0; j < size; ++j) {
            const float there = load(xs[j]);
            float h = there;
            h = h < low ? low : h;
            float k = -m1[j] - m2[j] * (h - mu[j]);
            k = where(there > low, k);
            store(dxs[j], k);
          }
        }
      };
      for (int64_t i = 0, p = 0; i < n; ++i) {
        for (int64_t w = 0; w < windows; ++w, p += channels) {
          const int64_t first = i * length + w * window, start = first * channels;
          everywhere(first, std::min(first + window, (i + 1) * length));
          winners(start, p);
          for (int64_t c = 0; c < channels; ++c) {
            const int64_t q = start + places[p + c] * channels + c;
            if constexpr (AFTER == ADD_RELU) store(da[q], kw[c]);
            const float k = slope[c] * kw[c] - p1[c] - p2[c] * (hw[c] - mean[c]);
            store(dx[q], hw[c] > low ? k : 0.0f);
          }
        }
        everywhere(i * length + std::min(windows * window, length), (i + 1) * length);
      }
    });
  });
}

}  // extern "C"
