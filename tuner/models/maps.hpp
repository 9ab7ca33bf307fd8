// Shared by the kernels that process activation maps. A batch of sequences in channels-last memory is `rows` = n *
// length rows of `channels` values, float32 or bfloat16; all sums and arithmetic are in float32 or double.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <numeric>
#include <type_traits>
#include <vector>

namespace {

// A bfloat16: the upper 16 bits of a float.
struct Bfloat16 {
  uint16_t bits;
};

inline float load(float value) { return value; }

inline float load(Bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

inline void store(float& to, float value) { to = value; }

// Round to nearest, ties to even. A NaN stays a NaN, because the NaNs that hardware makes have only zeros in the lower
// half.
inline void store(Bfloat16& to, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  to.bits = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Types of input and output: both float32 (0), float32 and bfloat16 (1), both bfloat16 (2).
constexpr int64_t SINGLE = 0, NARROWING = 1;

template <class F>
void with_types(int64_t types, F f) {
  if (types == SINGLE) f(float{}, float{});
  else if (types == NARROWING) f(float{}, Bfloat16{});
  else f(Bfloat16{}, Bfloat16{});
}

// `value` if the condition holds, otherwise 0; computed without a branch.
inline float where(bool condition, float value) {
  int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits &= -static_cast<int32_t>(condition);
  std::memcpy(&value, &bits, sizeof bits);
  return value;
}

// e^x to about one unit in the last place (Cephes' polynomial); compilers can vectorise a loop over it.
inline float exponential(float x) {
  x = x > 89.0f ? 89.0f : x;  // the result is infinite from 88.8 on and 0 below -104; a NaN passes unchanged
  x = x < -105.0f ? -105.0f : x;
  const float shifted = x * 1.44269504088896341f + 12582912.0f;  // its lowest bits are x / ln 2, rounded
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
  const int32_t power = bits - 0x4b400000, half = power >> 1;  // two factors, for 2^128 and below 2^-126
  const int32_t low = (half + 127) << 23, high = (power - half + 127) << 23;
  float a, b;
  std::memcpy(&a, &low, sizeof a);
  std::memcpy(&b, &high, sizeof b);
  return y * a * b;
}

// A separate loop, because compilers do not vectorise it together with narrower types.
[[maybe_unused]] __attribute__((noinline)) void exponentials(float* values, int64_t size) {
#pragma GCC ivdep
  for (int64_t j = 0; j < size; ++j) values[j] = exponential(values[j]);
}

// Number of rows that are processed together, so that a loop over their values is long and fills whole vectors for any
// number of channels.
struct Tile {
  int64_t channels, rows, size;

  explicit Tile(int64_t channels) : channels(channels) {
    constexpr int64_t VECTORS = 32, LONG = 384, LONGEST = 1024;
    const int64_t even = VECTORS / std::gcd(VECTORS, channels);
    rows = even * channels > LONGEST ? std::max<int64_t>(1, LONG / channels)
                                     : even * std::max<int64_t>(1, LONG / (even * channels));
    size = rows * channels;
  }

  Tile(int64_t channels, int64_t rows) : channels(channels), rows(rows), size(rows * channels) {}

  // Repeat one value per channel for each row of the tile.
  std::vector<float> repeat(const float* values) const {
    std::vector<float> all(size);
    for (int64_t j = 0; j < size; ++j) all[j] = values[j % channels];
    return all;
  }

  // Call f(index of the first value, number of values) for one tile after the other.
  template <class F>
  void over(int64_t of_rows, F f) const {
    for (int64_t r = 0; r < of_rows; r += rows) f(r * channels, std::min(rows, of_rows - r) * channels);
  }
};

// Two sums for each channel: up to 64 tiles are added in float, and the results in double.
struct Sums {
  const Tile& tile;
  std::vector<float> first, second;
  std::vector<double> firsts, seconds;
  int64_t tiles = 0;

  explicit Sums(const Tile& tile)
      : tile(tile), first(tile.size, 0.0f), second(tile.size, 0.0f), firsts(tile.channels, 0.0),
        seconds(tile.channels, 0.0) {}

  void next() {
    if (++tiles % 64 == 0) flush();
  }

  void flush() {
    for (int64_t j = 0; j < tile.size; ++j) {
      firsts[j % tile.channels] += first[j];
      seconds[j % tile.channels] += second[j];
    }
    std::fill(first.begin(), first.end(), 0.0f);
    std::fill(second.begin(), second.end(), 0.0f);
  }
};

}  // namespace
