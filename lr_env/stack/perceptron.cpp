// Trainings of small multilayer perceptrons from one decision to the next, one lane of a stack after
// another, so that all that a lane needs stays in the first two levels of the cache. Samples are
// rows; buffers of a lane have rows of whole vectors, padded with zeros.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "products.h"

namespace {

enum Activation : int32_t { kRelu = 0, kTanh = 1 };

template <class T>
void activate(int32_t kind, T* values, int count) {
  typedef typename Simd<T>::Vector Vector;
  for (int i = 0; i < count; i += Simd<T>::kWidth) {
    Vector& x = *reinterpret_cast<Vector*>(values + i);
    if (kind == kRelu) {
      x = x < 0 ? Vector{} : x;  // NaN stays
    } else {
      const Vector size = x < 0 ? -x : x;
      const Vector e = exponential<T>(-2 * size);
      const Vector t = (1 - e) / (1 + e);
      x = x < 0 ? -t : t;
    }
  }
}

template <class T>
void activate_backward(int32_t kind, const T* values, T* gradient, int count) {
  typedef typename Simd<T>::Vector Vector;
  for (int i = 0; i < count; i += Simd<T>::kWidth) {
    const Vector y = *reinterpret_cast<const Vector*>(values + i);
    Vector& g = *reinterpret_cast<Vector*>(gradient + i);
    g = kind == kRelu ? (y <= 0 ? Vector{} : g) : g * (1 - y * y);
  }
}

// Sum over rows of the cross-entropy of `logits[classes, rows]`, times `weight`; the logits become
// its gradient if asked for. `wrong` becomes 1 where a target is no class.
template <class T>
T cross_entropy(int rows, int classes, T* logits, int ld, const int64_t* targets,
                const int64_t* places, T weight, bool gradient, int32_t& wrong) {
  typedef typename Simd<T>::Vector Vector;
  constexpr int width = Simd<T>::kWidth;
  T loss = 0;
  for (int first = 0; first < rows; first += width) {
    const auto column = [&](int c) -> Vector& {
      return *reinterpret_cast<Vector*>(logits + c * ld + first);
    };
    const int count = std::min(width, rows - first);
    int64_t chosen[width];
    for (int r = 0; r < count; ++r) {
      chosen[r] = targets[places ? places[first + r] : first + r];
      if (chosen[r] < 0 || chosen[r] >= classes) {
        wrong = 1;
        return 0;
      }
    }
    Vector most = column(0);
    for (int c = 1; c < classes; ++c) most = column(c) > most ? column(c) : most;
    for (int r = 0; r < count; ++r) loss += most[r] - logits[chosen[r] * ld + first + r];
    Vector sum{};
    for (int c = 0; c < classes; ++c) {
      const Vector power = exponential<T>(column(c) - most);
      sum += power;
      if (gradient) column(c) = power;
    }
    double whole = 1;  // its logarithm is the sum of theirs; each sum is from 1 to `classes`
    for (int r = 0; r < count; ++r) whole *= sum[r];
    loss += T(std::log(whole));
    if (!gradient) continue;
    const Vector factor = weight / sum;
    for (int c = 0; c < classes; ++c) column(c) *= factor;
    for (int r = 0; r < count; ++r) logits[chosen[r] * ld + first + r] -= weight;
  }
  return loss * weight;
}

// One lane's network at a time, of at most `batch` samples.
template <class T>
class Network {
 public:
  Network(int depth, const int32_t* widths, const int32_t* activations, int batch)
      : depth_(depth), widths_(widths), activations_(activations), values_(depth + 1),
        transposed_(depth), gradients_(depth + 1),
        across_(widths[depth] * padded<T>(batch)) {
    for (int l = 0; l <= depth; ++l) {
      values_[l].assign(batch * padded<T>(widths[l]), T(0));
      gradients_[l].assign(batch * padded<T>(widths[l]), T(0));
    }
    for (int l = 0; l < depth; ++l)
      transposed_[l].assign((widths[l] + 1) * padded<T>(widths[l + 1]), T(0));
  }

  // Take the parameters of a lane: weights are needed with outputs as columns.
  void take(const T* flat) {
    for (int l = 0; l < depth_; ++l) {
      const int in = widths_[l], out = widths_[l + 1], ld = padded<T>(out);
      transpose(out, in, flat, in, transposed_[l].data(), ld);
      std::memcpy(transposed_[l].data() + in * ld, flat + in * out, out * sizeof(T));
      flat += (in + 1) * out;
    }
  }

  void gather(const T* inputs, const int64_t* places, int rows) {
    const int in = widths_[0], ld = padded<T>(in);
    for (int r = 0; r < rows; ++r)
      std::memcpy(&values_[0][r * ld], inputs + places[r] * in, in * sizeof(T));
  }

  // Compute the logits of `rows` samples.
  void forward(const T* inputs, int ld, int rows) {
    for (int l = 0; l < depth_; ++l) {
      const int in = widths_[l], out = widths_[l + 1], ldo = padded<T>(out);
      product<T>(rows, ldo, in, {inputs, ld, 1}, transposed_[l].data(), ldo, values_[l + 1].data(),
                 ldo, transposed_[l].data() + in * ldo);
      if (l + 1 < depth_) activate<T>(activations_[l], values_[l + 1].data(), rows * ldo);
      inputs = values_[l + 1].data();
      ld = ldo;
    }
  }

  // Loss of the logits of `rows` samples; with `gradient`, they become its gradient.
  T loss(int rows, const int64_t* targets, const int64_t* places, T weight, bool gradient,
         int32_t& wrong) {
    const int classes = widths_[depth_], lda = ld(depth_), ldb = padded<T>(rows);
    T *own = values_[depth_].data(), *across = across_.data();
    transpose(rows, classes, own, lda, across, ldb);
    const T sum =
        cross_entropy<T>(rows, classes, across, ldb, targets, places, weight, gradient, wrong);
    if (gradient) transpose(classes, rows, across, ldb, own, lda);
    return sum;
  }

  const T* first() const { return values_[0].data(); }
  int ld(int l) const { return padded<T>(widths_[l]); }

  // Gradients of all parameters, from those of the logits.
  void backward(const T* flat, T* gradient, int rows) {
    const T* weights = flat;
    std::vector<const T*> at(depth_);
    for (int l = 0; l < depth_; ++l) {
      at[l] = weights;
      weights += (widths_[l] + 1) * widths_[l + 1];
    }
    const T one = 1;
    const T* own = values_[depth_].data();
    for (int l = depth_ - 1; l >= 0; --l) {
      const int in = widths_[l], out = widths_[l + 1], ldo = ld(l + 1), ldi = ld(l);
      T* to = gradient + (at[l] - flat);
      product<T>(out, in, rows, {own, 1, ldo}, values_[l].data(), ldi, to, in);
      product<T>(1, out, rows, {&one, 0, 0}, own, ldo, to + in * out, out);
      if (l == 0) break;
      T* below = gradients_[l].data();
      product<T>(rows, in, out, {own, ldo, 1}, at[l], in, below, ldi);
      activate_backward<T>(activations_[l - 1], values_[l].data(), below, rows * ldi);
      own = below;
    }
  }

 private:
  int depth_;
  const int32_t *widths_, *activations_;
  std::vector<std::vector<T>> values_, transposed_, gradients_;
  std::vector<T> across_;
};

constexpr int kMost = 16;  // linear layers
constexpr int32_t kEvaluated = 48;  // samples at a time

struct Shape {
  int32_t depth, batch, threads;
  int32_t widths[kMost + 1];
  int32_t activations[kMost];
};

// What arithmetic on a layer is given: where a tensor's part for a lane, a turn and a layer lies.
enum Along : int32_t { kLane = 0, kLayers = 1, kEntries = 2 };

template <class T>
struct Given {
  T* at;
  int64_t lane, turn;
  int32_t along;
};

template <class T>
using OfLayer = void (*)(int64_t size, T* const* given, T* result);

// An interval of n lanes with L layers; T turns, each with a mini-batch of B samples a lane.
template <class T>
struct Interval {
  int64_t lanes, layers, statistics, samples, num_given, stride, held_out_stride,
      held_out_targets_stride;
  const int64_t *offsets, *counts;  // of the layers' entries [L + 1]; updates [n]
  const Given<T>* given;
  OfLayer<T> update, update_looked, read;
  const T* flat;
  T* gradient;
  const T* inputs;
  const int64_t *targets, *places;  // places [T, n, B]
  T* losses;                        // [T, n]
  const T* held_out;
  const int64_t* held_out_targets;
  T *validation, *raw;  // [n], [n, L, statistics]
};

constexpr int kMostGiven = 32;

template <class T>
void each_layer(const Interval<T>& own, OfLayer<T> function, int64_t lane, int64_t turn,
                T* results) {
  for (int64_t l = 0; l < own.layers; ++l) {
    T* at[kMostGiven];
    for (int64_t g = 0; g < own.num_given; ++g) {
      const Given<T>& given = own.given[g];
      const int64_t within = given.along == kEntries ? own.offsets[l]
                             : given.along == kLayers ? l
                                                      : 0;
      at[g] = given.at + lane * given.lane + turn * given.turn + within;
    }
    function(own.offsets[l + 1] - own.offsets[l], at, results + l * own.statistics);
  }
}

// Returns 1 if a target is no class, and 0 otherwise.
template <class T>
int32_t train(const Shape& net, const Interval<T>& own) {
  int32_t wrong = 0;
#pragma omp parallel num_threads(net.threads) reduction(| : wrong)
  {
    Network<T> network(net.depth, net.widths, net.activations, std::max(net.batch, kEvaluated));
    const int in = net.widths[0];
#pragma omp for
    for (int64_t lane = 0; lane < own.lanes; ++lane) {
      const T* weights = own.flat + lane * own.stride;
      T* raw = own.raw + lane * own.layers * own.statistics;
      for (int64_t turn = 0; turn < own.counts[lane]; ++turn) {
        const int64_t row = turn * own.lanes + lane;
        const int64_t* places = own.places + row * net.batch;
        const bool looked = turn + 1 == own.counts[lane];
        each_layer<T>(own, looked ? own.update_looked : own.update, lane, turn, raw);
        network.take(weights);
        network.gather(own.inputs, places, net.batch);
        network.forward(network.first(), network.ld(0), net.batch);
        own.losses[row] =
            network.loss(net.batch, own.targets, places, T(1) / net.batch, true, wrong);
        network.backward(weights, own.gradient + lane * own.stride, net.batch);
      }
      if (own.counts[lane] == 0) network.take(weights);
      T sum = 0;
      for (int64_t first = 0; first < own.samples; first += kEvaluated) {
        const int rows = static_cast<int>(std::min<int64_t>(kEvaluated, own.samples - first));
        network.forward(own.held_out + lane * own.held_out_stride + first * in, in, rows);
        sum += network.loss(
            rows, own.held_out_targets + lane * own.held_out_targets_stride + first, nullptr,
            T(1) / own.samples, false, wrong);
      }
      own.validation[lane] = sum;
      each_layer<T>(own, own.read, lane, 0, raw);
    }
  }
  return wrong;
}

}  // namespace

extern "C" int32_t train_single(const Shape* net, const Interval<float>* interval) {
  return train<float>(*net, *interval);
}

extern "C" int32_t train_double(const Shape* net, const Interval<double>* interval) {
  return train<double>(*net, *interval);
}
