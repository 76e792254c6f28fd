// Vectors of a register's size, and matrix products and transposes made of them.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace {

#ifdef __AVX512F__
constexpr int kBytes = 64;
#else
constexpr int kBytes = 32;
#endif
constexpr int kRows = 6;  // of a tile: with two vectors a row, its sums fill the registers

template <int count>
using Count = std::integral_constant<int, count>;

template <class T>
struct Simd {
  typedef T Vector __attribute__((vector_size(kBytes), aligned(sizeof(T)), may_alias));
  static constexpr int kWidth = kBytes / sizeof(T);
};

template <class T>
int padded(int columns) {
  constexpr int width = Simd<T>::kWidth;
  return (columns + width - 1) / width * width;
}

// A factor on the left, of any strides; that on the right has unit stride along its columns.
template <class T>
struct Left {
  const T* at;
  int row, column;
};

template <class T>
typename Simd<T>::Vector load(const T* from, int count) {
  typename Simd<T>::Vector loaded{};
  std::memcpy(&loaded, from, count * sizeof(T));
  return loaded;
}

template <class T, int rows, int vectors, bool whole>
void tile(int depth, Left<T> a, const T* b, int ldb, T* c, int ldc, const T* bias, int columns) {
  typedef typename Simd<T>::Vector Vector;
  constexpr int width = Simd<T>::kWidth;
  const auto take = [&](const T* from, int v) {
    return whole || v + 1 < vectors ? *reinterpret_cast<const Vector*>(from + v * width)
                                    : load(from + v * width, columns - v * width);
  };
  Vector sums[rows][vectors];
  for (int v = 0; v < vectors; ++v) {
    const Vector first = bias ? take(bias, v) : Vector{};
    for (int r = 0; r < rows; ++r) sums[r][v] = first;
  }
#pragma GCC unroll 2
  for (int k = 0; k < depth; ++k) {
    Vector right[vectors];
    for (int v = 0; v < vectors; ++v) right[v] = take(b + k * ldb, v);
    for (int r = 0; r < rows; ++r) {
      const T left = a.at[r * a.row + k * a.column];
      for (int v = 0; v < vectors; ++v) sums[r][v] += left * right[v];
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v)
      if (whole || v + 1 < vectors)
        *reinterpret_cast<Vector*>(c + r * ldc + v * width) = sums[r][v];
      else
        std::memcpy(c + r * ldc + v * width, &sums[r][v], (columns - v * width) * sizeof(T));
}

template <class T, int vectors, bool whole>
void strip(int rows, int depth, Left<T> a, const T* b, int ldb, T* c, int ldc, const T* bias,
           int columns) {
  int r = 0;
  auto next = [&](auto count) {
    tile<T, decltype(count)::value, vectors, whole>(
        depth, {a.at + r * a.row, a.row, a.column}, b, ldb, c + r * ldc, ldc, bias, columns);
    r += decltype(count)::value;
  };
  // Of eight rows, two tiles of four are faster than one of six and one of two.
  while (rows - r >= kRows && rows - r != 8) next(Count<kRows>());
  while (rows - r >= 4) next(Count<4>());
  if (rows - r >= 2) next(Count<2>());
  if (rows - r >= 1) next(Count<1>());
}

// c[rows, columns] = a[rows, depth] b[depth, columns] (+ bias[columns])
template <class T>
void product(int rows, int columns, int depth, Left<T> a, const T* b, int ldb, T* c, int ldc,
             const T* bias = nullptr) {
  constexpr int width = Simd<T>::kWidth;
  for (int n = 0; n < columns;) {
    const int left = columns - n;
    const auto next = [&](auto vectors, auto whole) {
      strip<T, vectors, whole>(rows, depth, a, b + n, ldb, c + n, ldc, bias ? bias + n : nullptr,
                               left);
      n += vectors * width;
    };
    if (left >= 2 * width)
      next(Count<2>(), std::true_type());
    else if (left > width)
      next(Count<2>(), std::false_type());
    else if (left == width)
      next(Count<1>(), std::true_type());
    else
      next(Count<1>(), std::false_type());
  }
}

template <class T>
void transpose(int rows, int columns, const T* from, int ldf, T* to, int ldt) {
  typedef T Four __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
  typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Index;
  typedef Index Mask __attribute__((vector_size(4 * sizeof(T))));
  int r = 0;
  for (; r + 4 <= rows; r += 4) {
    int c = 0;
    for (; c + 4 <= columns; c += 4) {
      Four in[4];
      for (int i = 0; i < 4; ++i)
        in[i] = *reinterpret_cast<const Four*>(from + (r + i) * ldf + c);
      const Four a = __builtin_shuffle(in[0], in[1], Mask{0, 4, 1, 5});
      const Four b = __builtin_shuffle(in[2], in[3], Mask{0, 4, 1, 5});
      const Four d = __builtin_shuffle(in[0], in[1], Mask{2, 6, 3, 7});
      const Four e = __builtin_shuffle(in[2], in[3], Mask{2, 6, 3, 7});
      const Four out[4] = {
          __builtin_shuffle(a, b, Mask{0, 1, 4, 5}), __builtin_shuffle(a, b, Mask{2, 3, 6, 7}),
          __builtin_shuffle(d, e, Mask{0, 1, 4, 5}), __builtin_shuffle(d, e, Mask{2, 3, 6, 7})};
      for (int i = 0; i < 4; ++i) *reinterpret_cast<Four*>(to + (c + i) * ldt + r) = out[i];
    }
    for (; c < columns; ++c)
      for (int i = 0; i < 4; ++i) to[c * ldt + r + i] = from[(r + i) * ldf + c];
  }
  for (; r < rows; ++r)
    for (int c = 0; c < columns; ++c) to[c * ldt + r] = from[r * ldf + c];
}

// e^x of a vector, x <= 0, 0 where it is below normal numbers: 2^n e^r with |r| <= ln(2) / 2, and
// Taylor's series of e^r.
template <class T>
typename Simd<T>::Vector exponential(typename Simd<T>::Vector given) {
  typedef typename Simd<T>::Vector Vector;
  typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Index;
  typedef Index Indices __attribute__((vector_size(kBytes)));
  constexpr bool single = sizeof(T) == 4;
  constexpr T least = single ? T(-87) : T(-708);
  constexpr T magic = single ? T(12582912.0) : T(6755399441055744.0);  // 1.5 * 2^mantissa
  constexpr T high = single ? T(0.693359375) : T(6.93147180369123816490e-01);
  constexpr T low = single ? T(-2.12194440e-4) : T(1.90821492927058770002e-10);
  constexpr int terms = single ? 7 : 13;
  const Vector x = given < least ? Vector{} + least : given;
  const Vector shifted = x * T(1.44269504088896340736) + magic;
  const Vector whole = shifted - magic;
  const Vector r = (x - whole * high) - whole * low;
  Vector sum = Vector{} + T(1);
  for (int i = terms; i >= 1; --i) sum = Vector{} + T(1) + sum * r * (T(1) / T(i));
  Indices bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  constexpr int mantissa = single ? 23 : 52;
  constexpr Index bias = single ? 127 : 1023;
  // The rounded number stands in the lowest bits of `shifted`.
  Indices scale = (bits + bias) << mantissa;
  Vector factor;
  std::memcpy(&factor, &scale, sizeof(factor));
  return given < least ? Vector{} : sum * factor;
}

}  // namespace
