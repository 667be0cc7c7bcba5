// The kernel engine without Python, for sanitizers: every instruction set of this CPU, ragged tiles, odd sizes, several
// threads, early ends. Results must not depend on threads or on how a block is cut, must agree between instruction
// sets, and the gradient must be the slope of the kernel.
#include "../../hpcdistill/native/engine/engine.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

using namespace hpcdistill;

namespace {

int failures = 0;

void expect(bool condition, const std::string& what) {
  if (condition) return;
  std::printf("FAILED: %s\n", what.c_str());
  ++failures;
}

bool never() { return false; }

struct Network {
  const char* name;
  std::vector<Layer> layers;
  int height, width, channels;
  bool tangent;
};

std::vector<Network> networks() {
  using L = Layer;
  const std::vector<L> conv_net = {L::conv, L::relu, L::conv, L::relu,    L::pool,
                                   L::conv, L::relu, L::pool, L::flatten, L::dense};
  const std::vector<L> gap = {L::conv, L::relu, L::pool, L::conv, L::relu, L::gap, L::dense, L::relu, L::dense};
  const std::vector<L> odd = {L::pool, L::conv, L::conv, L::relu, L::conv, L::pool, L::relu, L::flatten, L::dense};
  return {{"flatten 8x8x3", conv_net, 8, 8, 3, true},
          {"flatten 5x7x1", conv_net, 5, 7, 1, true},
          {"flatten 5x7x2 covariance", conv_net, 5, 7, 2, false},
          {"gap 5x4x3", gap, 5, 4, 3, true},
          {"gap 3x2x1 covariance", gap, 3, 2, 1, false},
          {"pool first 9x7x4", odd, 9, 7, 4, true},
          {"one pixel", {L::conv, L::relu, L::flatten, L::dense}, 1, 1, 1, true},
          {"no relu", {L::conv, L::flatten, L::dense}, 3, 3, 2, true}};
}

template <class T>
struct Set {
  std::vector<T> pixels, norms;
  std::size_t count;
  Set(const Engine<T>& engine, const Network& net, std::size_t n, unsigned seed) : count(n) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal;
    pixels.resize(n * net.height * net.width * net.channels);
    for (T& x : pixels) x = T(normal(generator));
    prepare(engine);
  }
  void prepare(const Engine<T>& engine) {
    norms.resize(count * engine.n_norms());
    engine.norms(pixels.data(), count, norms.data(), 2, never);
  }
  Images<T> images(std::size_t from = 0) const {
    return {pixels.data() + from * pixels.size() / count, norms.data() + from * norms.size() / count, count - from};
  }
};

template <class T>
double distance(const std::vector<T>& a, const std::vector<T>& b) {
  double most = 0, scale = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(double(a[i]) - double(b[i])));
    scale = std::max(scale, std::abs(double(b[i])));
  }
  return scale > 0 ? most / scale : most;
}

template <class T>
struct Results {
  std::vector<T> block, self, gradient;
};

// Memory for what is kept of some first images and one group of `lanes` second ones each, aligned.
template <class T>
std::vector<unsigned char> room(const Engine<T>& engine, std::size_t n_kept, std::size_t n_second, void*& start) {
  const std::size_t groups = (n_second + engine.lanes() - 1) / engine.lanes();
  std::vector<unsigned char> memory(n_kept * groups * engine.kept_bytes() + 64);
  start = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  return memory;
}

// The gradient of Σ cotangent · K with respect to a, by so many second images at a time, of which the first rows'
// planes are kept.
template <class T>
std::vector<T> gradient_of(const Engine<T>& engine, const Set<T>& a, const Set<T>& b, std::size_t at_once,
                           std::size_t n_kept, int threads) {
  std::vector<double> sums(a.count * engine.gradient_length());
  for (std::size_t from = 0; from < b.count; from += at_once) {
    const std::size_t n = std::min(at_once, b.count - from);
    Images<T> part = b.images(from);
    part.count = n;
    void* kept;
    const auto memory = room(engine, n_kept, n, kept);
    std::vector<T> block(a.count * n), cotangent(a.count * n);
    for (std::size_t i = 0; i < a.count; ++i)
      for (std::size_t j = 0; j < n; ++j) cotangent[i * n + j] = T(std::sin(double(i * b.count + from + j)));
    expect(engine.block_kept(a.images(), part, block.data(), kept, n_kept, threads, never), "block ended early");
    expect(engine.add_gradient(a.images(), part, cotangent.data(), kept, n_kept, sums.data(), threads, never),
           "gradient ended early");
  }
  std::vector<T> gradient(a.pixels.size());
  expect(engine.finish_gradient(a.images(), sums.data(), gradient.data(), threads, never), "gradient ended early");
  return gradient;
}

template <class T>
Results<T> compute(const Engine<T>& engine, const Set<T>& a, const Set<T>& b, int threads) {
  Results<T> r{std::vector<T>(a.count * b.count), std::vector<T>(b.count * b.count), std::vector<T>(a.pixels.size())};
  expect(engine.block(a.images(), b.images(), false, r.block.data(), threads, never), "block ended early");
  expect(engine.block(b.images(), b.images(), true, r.self.data(), threads, never), "self-block ended early");
  r.gradient = gradient_of(engine, a, b, b.count, 0, threads);
  return r;
}

// Change of Σ sin(k) K_k when the first images move along a direction, against the gradient.
template <class T>
double slope_error(const Engine<T>& engine, const Set<T>& a, const Set<T>& b, const std::vector<T>& gradient) {
  const double step = 1e-5;
  double sums[2], along = 0;
  for (int side = 0; side < 2; ++side) {
    Set<T> moved = a;
    for (std::size_t k = 0; k < moved.pixels.size(); ++k)
      moved.pixels[k] += (side ? step : -step) * std::cos(double(k));
    moved.prepare(engine);
    std::vector<T> block(a.count * b.count);
    engine.block(moved.images(), b.images(), false, block.data(), 1, never);
    sums[side] = 0;
    for (std::size_t i = 0; i < block.size(); ++i) sums[side] += std::sin(double(i)) * double(block[i]);
  }
  for (std::size_t k = 0; k < gradient.size(); ++k) along += double(gradient[k]) * std::cos(double(k));
  return std::abs((sums[1] - sums[0]) / (2 * step) - along) / std::abs(along);
}

template <class T>
void check(const Network& net, const std::string& type) {
  const bool is_double = sizeof(T) == 8;
  const Plans plans = make_plans(net.layers, net.height, net.width, net.channels, net.tangent, 2.0, 0.01);
  Results<T> first;
  for (const std::string& target : supported_targets()) {
    const std::string name = std::string(net.name) + " " + type + " " + target;
    const Engine<T> engine(plans, target);
    const Set<T> a(engine, net, 5, 1), b(engine, net, 37, 2);
    const Results<T> one = compute(engine, a, b, 1), three = compute(engine, a, b, 3);
    expect(one.block == three.block && one.self == three.self && one.gradient == three.gradient,
           name + ": threads matter");
    std::vector<T> block(one.block.size());
    void* kept;
    const auto memory = room(engine, a.count, b.count, kept);
    engine.block_kept(a.images(), b.images(), block.data(), kept, a.count, 2, never);
    expect(block == one.block, name + ": what is kept matters to the kernel");
    for (std::size_t n_kept : {std::size_t(3), a.count})
      for (std::size_t groups : {1, 2, 9})
        expect(gradient_of(engine, a, b, groups * engine.lanes(), n_kept, 2) == one.gradient,
               name + ": what is kept, or how it is cut, matters to the gradient");
    if (first.block.empty()) first = one;
    expect(distance(one.block, first.block) < (is_double ? 1e-14 : 2e-6), name + ": kernel differs");
    expect(distance(one.gradient, first.gradient) < (is_double ? 1e-11 : 1e-5), name + ": gradient differs");
    if (is_double) expect(slope_error(engine, a, b, one.gradient) < 1e-6, name + ": gradient is not the slope");

    std::vector<T> tail((b.count - 3) * a.count);
    engine.block(b.images(3), a.images(), false, tail.data(), 2, never);
    std::vector<T> slice(tail.size());
    for (std::size_t i = 0; i + 3 < b.count; ++i)
      for (std::size_t j = 0; j < a.count; ++j) slice[i * a.count + j] = one.block[j * b.count + i + 3];
    expect(distance(tail, slice) < (is_double ? 1e-14 : 2e-6), name + ": not symmetric");
    std::vector<T> cut(b.count * b.count);
    const bool done = engine.block(b.images(), b.images(), true, cut.data(), 2, [] { return true; });
    expect(!done || cut == one.self, name + ": an early end was not reported");
  }
}

}  // namespace

// usage: engine_test [PIXELS]: only networks for images of at most so many pixels
int main(int argc, char** argv) {
  const int most = argc > 1 ? std::atoi(argv[1]) : 1000;
  for (const Network& net : networks()) {
    if (net.height * net.width > most) continue;
    check<float>(net, "float32");
    check<double>(net, "float64");
  }
  std::printf("instruction sets:");
  for (const std::string& target : supported_targets()) std::printf(" %s", target.c_str());
  std::printf("\n%s\n", failures ? "FAILED" : "all checks passed");
  return failures ? 1 : 0;
}
