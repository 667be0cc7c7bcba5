// Python's view of the engine: hpcdistill.native._engine. Array shapes and types are checked by the caller
// (hpcdistill/kernels/native.py) and once more here, by nanobind's types and by size.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <stdexcept>

#include "engine.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace hpcdistill {
namespace {

template <class T>
using In = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<std::uint8_t, nb::c_contig, nb::device::cpu>;

std::vector<Layer> parse_layers(const std::vector<std::string>& words) {
  static const std::pair<const char*, Layer> names[] = {{"conv", Layer::conv}, {"relu", Layer::relu},
                                                        {"pool", Layer::pool}, {"flatten", Layer::flatten},
                                                        {"gap", Layer::gap},   {"dense", Layer::dense}};
  std::vector<Layer> layers;
  for (const std::string& word : words) {
    const std::size_t before = layers.size();
    for (const auto& [name, layer] : names)
      if (word == name) layers.push_back(layer);
    if (layers.size() == before) throw nb::value_error(("unknown layer " + word).c_str());
  }
  return layers;
}

void require(bool condition, const char* what) {
  if (!condition) throw nb::value_error(what);
}

// Ctrl-C and other signals reach Python while threads work.
bool interrupted() {
  nb::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

template <class Call>
void run_released(const Call& call) {
  bool done;
  {
    nb::gil_scoped_release release;
    done = call();
  }
  if (!done) throw nb::python_error();
}

template <class T>
class PyEngine {
 public:
  PyEngine(const std::vector<std::string>& layers, int height, int width, int channels, bool tangent, double w_variance,
           double b_variance, const std::string& target)
      : n_pixels_(std::size_t(height) * width * channels),
        engine_(make_plans(parse_layers(layers), height, width, channels, tangent, w_variance, b_variance), target) {}

  std::size_t n_norms() const { return engine_.n_norms(); }
  std::size_t bytes_per_thread() const { return engine_.bytes_per_thread(); }
  std::size_t lanes() const { return engine_.lanes(); }
  std::size_t kept_bytes() const { return engine_.kept_bytes(); }
  std::size_t gradient_length() const { return engine_.gradient_length(); }

  void norms(const In<T>& pixels, const Out<T>& out, int threads) const {
    const std::size_t n = pixels.size() / n_pixels_;
    require(pixels.size() == n * n_pixels_ && out.size() == n * n_norms(), "norms: sizes do not fit");
    run_released([&] { return engine_.norms(pixels.data(), n, out.data(), threads, interrupted); });
  }

  void block(const In<T>& pixels1, const In<T>& norms1, const In<T>& pixels2, const In<T>& norms2, bool same,
             const Out<T>& out, int threads) const {
    const Images<T> first = images(pixels1, norms1), second = images(pixels2, norms2);
    require(out.size() == first.count * second.count, "block: size of the result does not fit");
    require(!same || first.count == second.count, "block: not the same images");
    run_released([&] { return engine_.block(first, second, same, out.data(), threads, interrupted); });
  }

  void block_kept(const In<T>& pixels1, const In<T>& norms1, const In<T>& pixels2, const In<T>& norms2,
                  const Out<T>& out, const Bytes& kept, std::size_t n_kept, int threads) const {
    const Images<T> first = images(pixels1, norms1), second = images(pixels2, norms2);
    require(out.size() == first.count * second.count, "block_kept: size of the result does not fit");
    require_kept(kept, n_kept, first, second);
    run_released(
        [&] { return engine_.block_kept(first, second, out.data(), kept.data(), n_kept, threads, interrupted); });
  }

  void add_gradient(const In<T>& pixels1, const In<T>& norms1, const In<T>& pixels2, const In<T>& norms2,
                    const In<T>& cotangent, const Bytes& kept, std::size_t n_kept, const Out<double>& sums,
                    int threads) const {
    const Images<T> first = images(pixels1, norms1), second = images(pixels2, norms2);
    require(cotangent.size() == first.count * second.count, "add_gradient: size of the cotangent does not fit");
    require(sums.size() == first.count * gradient_length(), "add_gradient: size of the sums does not fit");
    require_kept(kept, n_kept, first, second);
    run_released([&] {
      return engine_.add_gradient(first, second, cotangent.data(), kept.data(), n_kept, sums.data(), threads,
                                  interrupted);
    });
  }

  void finish_gradient(const In<T>& pixels, const In<T>& norms, const In<double>& sums, const Out<T>& out,
                       int threads) const {
    const Images<T> first = images(pixels, norms);
    require(sums.size() == first.count * gradient_length(), "finish_gradient: size of the sums does not fit");
    require(out.size() == first.count * n_pixels_, "finish_gradient: size of the result does not fit");
    run_released([&] { return engine_.finish_gradient(first, sums.data(), out.data(), threads, interrupted); });
  }

 private:
  void require_kept(const Bytes& kept, std::size_t n_kept, const Images<T>& first, const Images<T>& second) const {
    const std::size_t groups = (second.count + lanes() - 1) / lanes();
    require(n_kept <= first.count && kept.size() >= n_kept * groups * kept_bytes() &&
                (n_kept == 0 || reinterpret_cast<std::uintptr_t>(kept.data()) % 64 == 0),
            "memory to keep planes in is too small, or not aligned to 64 bytes");
  }

  Images<T> images(const In<T>& pixels, const In<T>& norms) const {
    const std::size_t n = pixels.size() / n_pixels_;
    require(pixels.size() == n * n_pixels_ && norms.size() == n * n_norms(), "images and norms do not fit");
    return {pixels.data(), norms.data(), n};
  }

  std::size_t n_pixels_;
  Engine<T> engine_;
};

template <class T>
void bind(nb::module_& m, const char* name) {
  nb::class_<PyEngine<T>>(m, name)
      .def(nb::init<const std::vector<std::string>&, int, int, int, bool, double, double, const std::string&>(),
           "layers"_a, "height"_a, "width"_a, "channels"_a, "tangent"_a, "w_variance"_a, "b_variance"_a, "target"_a)
      .def_prop_ro("n_norms", &PyEngine<T>::n_norms)
      .def_prop_ro("bytes_per_thread", &PyEngine<T>::bytes_per_thread)
      .def_prop_ro("lanes", &PyEngine<T>::lanes)
      .def_prop_ro("kept_bytes", &PyEngine<T>::kept_bytes)
      .def_prop_ro("gradient_length", &PyEngine<T>::gradient_length)
      .def("norms", &PyEngine<T>::norms, "pixels"_a, "out"_a, "threads"_a)
      .def("block", &PyEngine<T>::block, "pixels1"_a, "norms1"_a, "pixels2"_a, "norms2"_a, "same"_a, "out"_a,
           "threads"_a)
      .def("block_kept", &PyEngine<T>::block_kept, "pixels1"_a, "norms1"_a, "pixels2"_a, "norms2"_a, "out"_a, "kept"_a,
           "n_kept"_a, "threads"_a)
      .def("add_gradient", &PyEngine<T>::add_gradient, "pixels1"_a, "norms1"_a, "pixels2"_a, "norms2"_a, "cotangent"_a,
           "kept"_a, "n_kept"_a, "sums"_a, "threads"_a)
      .def("finish_gradient", &PyEngine<T>::finish_gradient, "pixels"_a, "norms"_a, "sums"_a, "out"_a, "threads"_a);
}

nb::dict describe(const Plan& plan) {
  static const char* const emits[] = {"pool", "sum", "result", "nothing"};
  nb::list units, levels;
  for (const Unit& unit : plan.units) {
    nb::dict d;
    d["box"] = unit.box, d["relu"] = unit.relu;
    d["tangent_in"] = unit.tangent_in, d["tangent_out"] = unit.tangent_out;
    d["scale"] = unit.scale, d["bias"] = unit.bias, d["map"] = unit.map;
    units.append(d);
  }
  for (const Level& level : plan.levels) {
    nb::dict d;
    d["height"] = level.height, d["width"] = level.width;
    d["radius_y"] = level.radius_y, d["radius_x"] = level.radius_x;
    d["first_unit"] = level.first_unit, d["n_units"] = level.n_units;
    d["tangent_in"] = level.tangent_in, d["emit"] = emits[int(level.emit)];
    levels.append(d);
  }
  nb::dict d;
  d["units"] = units, d["levels"] = levels, d["norms"] = plan.norms, d["tangent"] = plan.tangent;
  return d;
}

nb::tuple describe_plans(const std::vector<std::string>& layers, int height, int width, int channels, bool tangent,
                         double w_variance, double b_variance) {
  const Plans plans = make_plans(parse_layers(layers), height, width, channels, tangent, w_variance, b_variance);
  return nb::make_tuple(describe(plans.pair), describe(plans.variance));
}

}  // namespace
}  // namespace hpcdistill

NB_MODULE(_engine, m) {
  hpcdistill::bind<float>(m, "Engine32");
  hpcdistill::bind<double>(m, "Engine64");
  m.def("supported_targets", &hpcdistill::supported_targets);
  m.def("plans", &hpcdistill::describe_plans, "layers"_a, "height"_a, "width"_a, "channels"_a, "tangent"_a,
        "w_variance"_a, "b_variance"_a);
}
