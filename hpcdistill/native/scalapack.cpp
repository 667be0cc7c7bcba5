// Binding of the few ScaLAPACK routines this application needs.
//
// A Grid owns a BLACS system handle and a process grid made from an mpi4py communicator. Its methods take
// (n_rows, n_cols, mb, nb) and this rank's Fortran-ordered part, check one against the other, and call ScaLAPACK with
// the GIL released. The first block lies on process (0, 0); ranks are placed on the grid row by row.
#include <mpi.h>
#include <mpi4py/mpi4py.h>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace nb = nanobind;

extern "C" {
int Csys2blacs_handle(MPI_Comm comm);
void Cfree_blacs_system_handle(int handle);
void Cblacs_gridinit(int* context, const char* order, int p_rows, int p_cols);
void Cblacs_gridinfo(int context, int* p_rows, int* p_cols, int* my_row, int* my_col);
void Cblacs_gridexit(int context);
int numroc_(const int* n, const int* nb, const int* my, const int* source, const int* p);
void Cigebs2d(int context, const char* scope, const char* topology, int m, int n, int* a, int lda);
void Cigebr2d(int context, const char* scope, const char* topology, int m, int n, int* a, int lda, int row, int col);
// A Fortran compiler passes the length of each character argument at the end of the list.
#define HPCDISTILL_CHOLESKY_ROUTINES(T, s)                                                                             \
  void s##potrf_(const char* uplo, const int* n, T* a, const int* lda, int* info, std::size_t);                        \
  void p##s##trsm_(const char* side, const char* uplo, const char* trans, const char* diagonal, const int* m,          \
                   const int* n, const T* alpha, const T* a, const int* ia, const int* ja, const int* desc_a, T* b,    \
                   const int* ib, const int* jb, const int* desc_b, std::size_t, std::size_t, std::size_t,             \
                   std::size_t);                                                                                       \
  void p##s##syrk_(const char* uplo, const char* trans, const int* n, const int* k, const T* alpha, const T* a,        \
                   const int* ia, const int* ja, const int* desc_a, const T* beta, T* c, const int* ic, const int* jc, \
                   const int* desc_c, std::size_t, std::size_t);
HPCDISTILL_CHOLESKY_ROUTINES(double, d)
HPCDISTILL_CHOLESKY_ROUTINES(float, s)
#undef HPCDISTILL_CHOLESKY_ROUTINES
void pdgels_(const char* trans, const int* m, const int* n, const int* n_rhs, double* a, const int* ia, const int* ja,
             const int* desc_a, double* b, const int* ib, const int* jb, const int* desc_b, double* work,
             const int* lwork, int* info, std::size_t trans_length);
}

namespace {

using Shape = std::array<long long, 4>;  // n_rows, n_cols, mb, nb
constexpr long long kMaxInt = std::numeric_limits<int>::max();
constexpr int kOne = 1, kZero = 0;

int local_extent(int n, int block, int my, int p) { return my < 0 ? 0 : numroc_(&n, &block, &my, &kZero, &p); }

int numroc(long long n, long long block, long long my, long long p) {
  if (n < 0 || block < 1 || p < 1 || my < 0 || my >= p || n > kMaxInt || block > kMaxInt || p > kMaxInt)
    throw nb::value_error("numroc needs 0 <= n, 1 <= block, 0 <= my < p, all below 2**31");
  return local_extent(static_cast<int>(n), static_cast<int>(block), static_cast<int>(my), static_cast<int>(p));
}

MPI_Comm get_communicator(nb::handle object) {
  MPI_Comm* comm = PyMPIComm_Get(object.ptr());
  if (!comm) throw nb::python_error();  // the TypeError that mpi4py has set
  int between_groups = 0;
  if (*comm != MPI_COMM_NULL) MPI_Comm_test_inter(*comm, &between_groups);
  if (*comm == MPI_COMM_NULL || between_groups)
    throw nb::value_error("ScaLAPACK needs an intracommunicator that is not COMM_NULL");
  return *comm;
}

bool mpi_is_finalized() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  return finalized != 0;
}

class SystemHandle {
 public:
  explicit SystemHandle(MPI_Comm comm) : value(Csys2blacs_handle(comm)) {}
  ~SystemHandle() { Cfree_blacs_system_handle(value); }
  SystemHandle(const SystemHandle&) = delete;
  SystemHandle& operator=(const SystemHandle&) = delete;
  const int value;
};

// A process grid. On a rank outside of it the context is negative, and every ScaLAPACK call is skipped.
class Context {
 public:
  Context(MPI_Comm comm, int p_rows, int p_cols) {
    // Only making a grid needs the handle. It must go at once: BLACS gives the same one to every grid of `comm`.
    const SystemHandle handle(comm);
    value = handle.value;
    Cblacs_gridinit(&value, "Row", p_rows, p_cols);
    if (value < 0) return;
    int rows, cols;
    Cblacs_gridinfo(value, &rows, &cols, &my_row, &my_col);
  }
  ~Context() {
    if (value >= 0 && !mpi_is_finalized()) Cblacs_gridexit(value);
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  int value = -1, my_row = -1, my_col = -1;
};

// This rank's part of a distributed matrix, with the descriptor ScaLAPACK reads.
template <typename T>
struct Matrix {
  T* data;
  std::array<int, 9> desc;
};

// The routines of a Cholesky factorisation in one type.
template <typename T>
struct Routines;
template <>
struct Routines<double> {
  static constexpr auto potrf = dpotrf_;
  static constexpr auto trsm = pdtrsm_;
  static constexpr auto syrk = pdsyrk_;
};
template <>
struct Routines<float> {
  static constexpr auto potrf = spotrf_;
  static constexpr auto trsm = pstrsm_;
  static constexpr auto syrk = pssyrk_;
};

bool is_float32(nb::handle object) {
  nb::ndarray<> array;
  return nb::try_cast(object, array, false) && array.dtype() == nb::dtype<float>();
}

std::string text(long long rows, long long cols) {
  return "(" + std::to_string(rows) + ", " + std::to_string(cols) + ")";
}

// Return the leading dimension of a column-major array, or throw.
long long leading_dimension(const nb::ndarray<>& array, long long rows, long long cols, const std::string& name) {
  const bool tall = rows > 1 && cols > 0, wide = cols > 1 && rows > 0;
  const long long ld = wide ? array.stride(1) : rows;
  if ((tall && array.stride(0) != 1) || ld < rows)
    throw nb::value_error((name + " must be in Fortran order: use numpy.zeros(shape, order='F')").c_str());
  return ld > 1 ? ld : 1;
}

class Grid {
 public:
  Grid(nb::handle communicator, long long p_rows, long long p_cols) {
    MPI_Comm comm = get_communicator(communicator);
    int size = 0;
    MPI_Comm_size(comm, &size);
    if (p_rows < 1 || p_cols < 1 || p_rows > size || p_cols > size || p_rows * p_cols > size)
      throw nb::value_error(
          ("a grid of " + text(p_rows, p_cols) + " processes does not fit a communicator of " + std::to_string(size))
              .c_str());
    p_rows_ = static_cast<int>(p_rows), p_cols_ = static_cast<int>(p_cols);
    nb::gil_scoped_release release;
    context_ = std::make_unique<Context>(comm, p_rows_, p_cols_);
  }

  void close() {
    nb::gil_scoped_release release;
    context_.reset();
  }

  int row() const { return open().my_row; }
  int col() const { return open().my_col; }

  void check(nb::handle local, const Shape& shape) const {
    is_float32(local) ? void(matrix<float>(local, shape, "the matrix"))
                      : void(matrix<double>(local, shape, "the matrix"));
  }

  template <typename T>
  Matrix<T> matrix(nb::handle object, const Shape& shape, const std::string& name) const {
    const Context& context = open();
    for (int i = 0; i < 4; ++i)
      if (shape[i] < (i < 2 ? 0 : 1) || shape[i] > kMaxInt)
        throw nb::value_error((name + ": sizes must be >= 0 and blocks >= 1, all below 2**31").c_str());
    const int m = static_cast<int>(shape[0]), n = static_cast<int>(shape[1]);
    const int mb = static_cast<int>(shape[2]), block = static_cast<int>(shape[3]);
    const int rows = local_extent(m, mb, context.my_row, p_rows_),
              cols = local_extent(n, block, context.my_col, p_cols_);

    nb::ndarray<> array;
    if (!nb::try_cast(object, array, false) || array.device_type() != nb::device::cpu::value ||
        array.dtype() != nb::dtype<T>())
      throw nb::value_error((name + " must be a writable NumPy array of native " +
                             (std::is_same_v<T, float> ? "float32" : "float64 or float32"))
                                .c_str());
    if (array.ndim() != 2 || static_cast<long long>(array.shape(0)) != rows ||
        static_cast<long long>(array.shape(1)) != cols)
      throw nb::value_error((name + ": this rank's part of a " + text(m, n) + " matrix in blocks of " +
                             text(mb, block) + " must have shape " + text(rows, cols))
                                .c_str());
    const long long ld = leading_dimension(array, rows, cols, name);
    static T nothing;  // ranks without elements still pass a valid pointer
    T* data = rows && cols ? static_cast<T*>(array.data()) : &nothing;
    return {data, {1, context.value, m, n, mb, block, 0, 0, static_cast<int>(ld)}};
  }

  int cholesky(nb::handle local, const Shape& shape, long long start, long long stop) const {
    require_square(shape);
    return is_float32(local) ? factorise(matrix<float>(local, shape, "the matrix"), start, stop)
                             : factorise(matrix<double>(local, shape, "the matrix"), start, stop);
  }

  void cholesky_solve(nb::handle factor, const Shape& shape, nb::handle rhs, const Shape& rhs_shape) const {
    require_square(shape);
    require_same_rows(shape, rhs_shape);
    if (is_float32(factor))
      solve(matrix<float>(factor, shape, "the factor"), matrix<float>(rhs, rhs_shape, "the right-hand side"));
    else
      solve(matrix<double>(factor, shape, "the factor"), matrix<double>(rhs, rhs_shape, "the right-hand side"));
  }

  int least_squares(nb::handle local, const Shape& shape, nb::handle rhs, const Shape& rhs_shape) const {
    const auto a = matrix<double>(local, shape, "the matrix"),
               b = matrix<double>(rhs, rhs_shape, "the right-hand side");
    require_elements(a, shape);
    require_elements(b, rhs_shape);
    if (shape[0] < shape[1]) throw nb::value_error("least squares needs at least as many rows as columns");
    require_same_rows(shape, rhs_shape);
    return call([&](int* info) {
      const auto pdgels = [&](double* work, int length) {
        pdgels_("N", &a.desc[2], &a.desc[3], &b.desc[3], a.data, &kOne, &kOne, a.desc.data(), b.data, &kOne, &kOne,
                b.desc.data(), work, &length, info, 1);
      };
      double wanted = 0;
      pdgels(&wanted, -1);
      if (*info != 0) return;
      std::vector<double> work(static_cast<std::size_t>(wanted));
      pdgels(work.data(), static_cast<int>(wanted));
    });
  }

 private:
  const Context& open() const {
    if (!context_) throw nb::value_error("the process grid is closed");
    return *context_;
  }

  static void require_square(const Shape& shape) {
    if (shape[0] != shape[1] || shape[2] != shape[3])
      throw nb::value_error("Cholesky needs a square matrix in square blocks (n_rows = n_cols, mb = nb)");
  }

  static void require_same_rows(const Shape& shape, const Shape& rhs_shape) {
    if (shape[0] != rhs_shape[0] || shape[2] != rhs_shape[2])
      throw nb::value_error("the right-hand side must have the rows and the row block (mb) of the matrix");
  }

  // PDGELS finds elements by 32-bit offsets.
  void require_elements(const Matrix<double>& a, const Shape& shape) const {
    const long long cols = local_extent(a.desc[3], a.desc[5], context_->my_col, p_cols_);
    if (a.desc[8] * cols > kMaxInt)
      throw nb::value_error(("least squares: one rank holds at most 2**31 - 1 elements of a " +
                             text(shape[0], shape[1]) + " matrix: use more ranks")
                                .c_str());
  }

  // Factorise by block columns, as PDPOTRF does. That finds elements by 32-bit offsets, and so ends at 2^31 elements
  // per rank; PBLAS has 64 bits. Of the block columns, those that begin from `start` to before `stop`: those before are
  // factorised already. Returns the first minor that is not positive, or 0.
  template <typename T>
  int factorise(const Matrix<T>& a, long long start, long long stop) const {
    const int n = a.desc[2], block = a.desc[4];
    if (start < 0 || start % block != 0 || start > stop)
      throw nb::value_error("Cholesky goes on at the start of a block column, and ends behind it");
    return call([&](int* info) {
      const T one = 1, minus_one = -1;
      for (long long begin = start; begin < std::min<long long>(stop, n) && *info == 0; begin += block) {
        const int done = static_cast<int>(begin);
        const int width = std::min(block, n - done), next = done + width, left = n - next;
        const int at = done + 1, after = next + 1;
        *info = factorise_diagonal(a, done, width);
        if (*info != 0 || left == 0) continue;
        Routines<T>::trsm("R", "L", "T", "N", &left, &width, &one, a.data, &at, &at, a.desc.data(), a.data, &after, &at,
                          a.desc.data(), 1, 1, 1, 1);
        Routines<T>::syrk("L", "N", &left, &width, &minus_one, a.data, &after, &at, a.desc.data(), &one, a.data, &after,
                          &after, a.desc.data(), 1, 1);
      }
    });
  }

  // Factorise one diagonal tile where it is; every process of the grid learns the minor that is not positive, or 0.
  template <typename T>
  int factorise_diagonal(const Matrix<T>& a, int start, int width) const {
    const int block = a.desc[4], tile = start / block, row = tile % p_rows_, col = tile % p_cols_;
    int info = 0;
    if (context_->my_row == row && context_->my_col == col) {
      const std::size_t i = static_cast<std::size_t>(tile / p_rows_) * block;
      const std::size_t j = static_cast<std::size_t>(tile / p_cols_) * block;
      Routines<T>::potrf("L", &width, a.data + i + j * a.desc[8], &a.desc[8], &info, 1);
      if (info > 0) info += start;
      Cigebs2d(context_->value, "All", " ", 1, 1, &info, 1);
    } else {
      Cigebr2d(context_->value, "All", " ", 1, 1, &info, 1, row, col);
    }
    return info;
  }

  // Overwrite b with A⁻¹ b for A = L Lᵀ.
  template <typename T>
  void solve(const Matrix<T>& a, const Matrix<T>& b) const {
    call([&](int*) {
      const T one = 1;
      for (const char* trans : {"N", "T"})
        Routines<T>::trsm("L", "L", trans, "N", &a.desc[2], &b.desc[3], &one, a.data, &kOne, &kOne, a.desc.data(),
                          b.data, &kOne, &kOne, b.desc.data(), 1, 1, 1, 1);
    });
  }

  // Run a ScaLAPACK routine without the GIL; outside of the grid there is nothing to run.
  template <typename Function>
  int call(Function&& function) const {
    int info = 0;
    if (context_->value >= 0) {
      nb::gil_scoped_release release;
      function(&info);
    }
    if (info < 0) throw std::runtime_error("ScaLAPACK refused argument " + std::to_string(-info));
    return info;
  }

  int p_rows_ = 0, p_cols_ = 0;
  std::unique_ptr<Context> context_;
};

}  // namespace

NB_MODULE(_scalapack, m) {
  if (import_mpi4py() < 0) throw nb::python_error();
  m.doc() = "ScaLAPACK on mpi4py communicators. Importing it initialises MPI, as importing mpi4py.MPI does.";
  m.def("numroc", &numroc, nb::arg("n"), nb::arg("block"), nb::arg("my"), nb::arg("p"),
        "Return how many of n indices in blocks of `block` process `my` of `p` holds. Not collective.");
  nb::class_<Grid>(m, "Grid", "A BLACS process grid. Making, closing and using it is collective over `comm`.")
      .def(nb::init<nb::handle, long long, long long>(), nb::arg("comm"), nb::arg("p_rows"), nb::arg("p_cols"))
      .def_prop_ro("row", &Grid::row, "This rank's row in the grid, -1 outside of it.")
      .def_prop_ro("col", &Grid::col, "This rank's column in the grid, -1 outside of it.")
      .def("close", &Grid::close, "Free the grid. A second call does nothing.")
      .def("check", &Grid::check, nb::arg("local"), nb::arg("shape"),
           "Raise ValueError unless `local` is this rank's part of (n_rows, n_cols, mb, nb). Not collective.")
      .def("cholesky", &Grid::cholesky, nb::arg("local"), nb::arg("shape"), nb::arg("start") = 0,
           nb::arg("stop") = kMaxInt,
           "Overwrite the lower triangle with its Cholesky factor; return the first minor that is not positive, or 0. "
           "Only the block columns that begin from `start` to before `stop`, where all before are factorised.")
      .def("cholesky_solve", &Grid::cholesky_solve, nb::arg("factor"), nb::arg("shape"), nb::arg("rhs"),
           nb::arg("rhs_shape"), "Overwrite `rhs` with the solution; `factor` comes from `cholesky`.")
      .def(
          "least_squares", &Grid::least_squares, nb::arg("local"), nb::arg("shape"), nb::arg("rhs"),
          nb::arg("rhs_shape"),
          "Overwrite the first n_cols rows of `rhs` with the least squares solution, and `local` with its QR factors.");
}
