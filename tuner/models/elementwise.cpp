// Kernels for one thread: dropout and max pools that do not run in the kernel of a batch norm. Plain C interface;
// tensors are passed by address.
#include "maps.hpp"

extern "C" {

// Random bits: xoshiro256++ (Blackman & Vigna 2021) in eight lanes, which splitmix64 initialises from one seed.
void random_bits(int16_t* to, int64_t size, int64_t seed) {
  typedef uint64_t Lanes __attribute__((vector_size(64)));
  constexpr int64_t EACH = sizeof(Lanes) / sizeof(int16_t);
  uint64_t mixed = static_cast<uint64_t>(seed);
  Lanes s[4];
  for (Lanes& word : s)
    for (int lane = 0; lane < 8; ++lane) {
      uint64_t z = mixed += 0x9e3779b97f4a7c15;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
      z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
      word[lane] = z ^ (z >> 31);
    }
  auto next = [&] {
    const Lanes sum = s[0] + s[3], t = s[1] << 17;
    const Lanes out = ((sum << 23) | (sum >> 41)) + s[0];
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return out;
  };
  int64_t i = 0;
  for (; i + EACH <= size; i += EACH) {
    const Lanes out = next();
    std::memcpy(to + i, &out, sizeof out);
  }
  const Lanes last = next();
  std::memcpy(to + i, &last, sizeof(int16_t) * (size - i));
}

// y = x * scale where the random bits are at least the threshold, otherwise 0. The backward pass is the same function.
// `wide_in` and `wide_out` say whether x and y are float32; otherwise they are bfloat16.
void dropout(const void* from, const int16_t* __restrict bits, void* to, int64_t size, int64_t level, float scale,
             int64_t wide_in, int64_t wide_out) {
  const int16_t threshold = static_cast<int16_t>(level);
  auto run = [&](auto in, auto out) {
    const auto* __restrict x = static_cast<const decltype(in)*>(from);
    auto* __restrict y = static_cast<decltype(out)*>(to);
    for (int64_t i = 0; i < size; ++i) store(y[i], where(bits[i] >= threshold, load(x[i]) * scale));
  };
  if (wide_in && wide_out) run(float{}, float{});
  else if (wide_in) run(float{}, Bfloat16{});
  else if (wide_out) run(Bfloat16{}, float{});
  else run(Bfloat16{}, Bfloat16{});
}

// Max pool: the largest value of each window of `window` rows, and its row within the window. The last window is
// shorter if `window` does not divide the length. x: (n, length, channels), y and places: (n, windows, channels). NaN
// counts as largest.
void pool(const void* from, void* to, uint8_t* places, int64_t n, int64_t length, int64_t channels, int64_t window,
          int64_t windows, int64_t wide) {
  std::vector<float> largest(channels);
  std::vector<int32_t> where_it_is(channels);
  float* __restrict top = largest.data();
  int32_t* __restrict at = where_it_is.data();
  auto run = [&](auto type) {
    const auto* x = static_cast<const decltype(type)*>(from);
    auto* y = static_cast<decltype(type)*>(to);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t w = 0; w < windows; ++w, y += channels, places += channels) {
        const auto* row = x + (i * length + w * window) * channels;
        for (int64_t c = 0; c < channels; ++c) top[c] = load(row[c]), at[c] = 0;
        const int32_t there = static_cast<int32_t>(std::min(window, length - w * window));
        for (int32_t k = 1; k < there; ++k) {
          row += channels;
#pragma GCC ivdep
          for (int64_t c = 0; c < channels; ++c) {
            const float value = load(row[c]);
            const bool higher = value > top[c] || value != value;
            top[c] = higher ? value : top[c];
            at[c] = higher ? k : at[c];
          }
        }
        for (int64_t c = 0; c < channels; ++c) store(y[c], top[c]), places[c] = static_cast<uint8_t>(at[c]);
      }
  };
  if (wide) run(float{});
  else run(Bfloat16{});
}

// Gradient of `pool`, which goes to the places of the largest values; the caller sets dx to 0.
void pool_backward(const void* behind, const uint8_t* places, void* to, int64_t n, int64_t length, int64_t channels,
                   int64_t window, int64_t windows, int64_t wide) {
  auto run = [&](auto type) {
    const auto* g = static_cast<const decltype(type)*>(behind);
    auto* dx = static_cast<decltype(type)*>(to);
    for (int64_t i = 0; i < n; ++i, dx += length * channels)
      for (int64_t w = 0; w < windows; ++w, g += channels, places += channels)
        for (int64_t c = 0; c < channels; ++c) dx[(w * window + places[c]) * channels + c] = g[c];
  };
  if (wide) run(float{});
  else run(Bfloat16{});
}

}  // extern "C"
