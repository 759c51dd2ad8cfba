#include <functional>
#include <vector>

#include "bindings/bindings.h"
#include "ops/optimizer/optimizer.h"

namespace fastconv::bindings {
namespace {

// The arrays of one step: the parameter, its gradient and the optimiser's state, all of one shape and type,
// none sharing memory with another. Beside a float32 parameter the gradient may be bfloat16, and a bfloat16
// array, the copy, may receive the new parameter.
class StepArrays {
  public:
    StepArrays(const char* op, py::handle param, py::handle grad, py::handle copy)
        : op_(op), param_(op, "param", param), grad_(op, "grad", grad) {
        if (dtype() != DType::f32 && dtype() != DType::f64)
            throw DTypeError(message(
                op, ": param must be float32 or float64 (its copy may be bfloat16), got ", name(dtype())));
        count_ = element_count(op, param_.shape());
        const bool narrow = grad_.dtype() == DType::bf16 && dtype() == DType::f32;
        check("grad", grad_.view(), narrow ? DType::bf16 : dtype());
        claim("param", param_.view());
        claim("grad", grad_.view());
        if (copy.is_none()) return;
        if (dtype() != DType::f32)
            throw DTypeError(message(op, ": copy needs a float32 param, got ", name(dtype())));
        copy_.emplace(op, "copy", copy);
        check("copy", copy_->view(), DType::bf16);
        claim("copy", copy_->view());
    }

    // A state array, updated in place.
    ArrayInOut state(const char* what, py::handle object) {
        ArrayInOut a(op_, what, object);
        check(what, a.view(), dtype());
        claim(what, a.view());
        return a;
    }
    std::optional<ArrayInOut> optional_state(const char* what, py::handle object) {
        if (object.is_none()) return std::nullopt;
        return state(what, object);
    }

    DType dtype() const { return param_.dtype(); }
    int64_t count() const { return count_; }
    template <class T>
    T* param() const {
        return param_.view().as<T>();
    }
    template <class G>
    const G* grad() const {
        return grad_.view().as<G>();
    }
    bfloat16* copy() const { return copy_ ? copy_->view().as<bfloat16>() : nullptr; }

    // fn(T{}, G{}) for the types of the parameter and of the gradient.
    template <class Fn>
    void visit(const Fn& fn) const {
        if (dtype() == DType::f64)
            fn(double{}, double{});
        else if (grad_.dtype() == DType::f32)
            fn(float{}, float{});
        else
            fn(float{}, bfloat16{});
    }

  private:
    void check(const char* what, const TensorView& view, DType expected) const {
        require_dtype(op_, what, view.dtype, expected);
        require_shape(op_, what, view.shape, param_.shape());
    }
    void claim(const char* what, const TensorView& view) {
        const auto* begin = view.as<const char>();
        const auto* end = begin + count_ * size_of(view.dtype);
        for (const auto& [first, last] : seen_)
            if (count_ && std::less<>()(begin, last) && std::less<>()(first, end))
                throw ShapeError(message(op_, ": ", what, " must not share memory with the other arrays"));
        seen_.emplace_back(begin, end);
    }

    const char* op_;
    ArrayInOut param_;
    ArrayIn grad_;
    int64_t count_ = 0;
    std::optional<ArrayInOut> copy_;
    std::vector<std::pair<const char*, const char*>> seen_;
};

template <class T>
T* data_of(const std::optional<ArrayInOut>& a) {
    return a ? a->view().as<T>() : nullptr;
}

// A number of at least 0, and below `limit` where one is given.
double to_rate(const char* op, const char* what, py::handle value, double limit = 0) {
    const double v = to_double(op, what, value);
    if (v < 0) throw ShapeError(message(op, ": ", what, " must be at least 0, got ", v));
    if (limit > 0 && v >= limit)
        throw ShapeError(message(op, ": ", what, " must be below ", limit, ", got ", v));
    return v;
}

void require_buffer(const char* op, double momentum, const std::optional<ArrayInOut>& buffer) {
    if (momentum != 0 && !buffer)
        throw DTypeError(message(op, ": momentum ", momentum, " needs a momentum_buffer array, got None"));
}

void sgd(py::object param, py::object grad, py::object momentum_buffer, py::object lr, py::object momentum,
         py::object dampening, py::object weight_decay, bool nesterov, bool first_step, py::object copy) {
    const char* op = "sgd_step";
    StepArrays arrays(op, param, grad, copy);
    const auto buffer = arrays.optional_state("momentum_buffer", momentum_buffer);
    SgdParams p;
    p.lr = to_rate(op, "lr", lr);
    p.momentum = to_rate(op, "momentum", momentum);
    p.dampening = to_double(op, "dampening", dampening);
    p.weight_decay = to_rate(op, "weight_decay", weight_decay);
    p.nesterov = nesterov;
    p.first_step = first_step;
    require_buffer(op, p.momentum, buffer);
    if (nesterov && (p.momentum == 0 || p.dampening != 0))
        throw ShapeError("sgd_step: nesterov needs a momentum greater than 0 and a dampening of 0");
    const bool uses_buffer = p.momentum != 0;
    py::gil_scoped_release nogil;
    arrays.visit([&](auto t, auto g) {
        using T = decltype(t);
        using G = decltype(g);
        const SgdState<T, G> s{arrays.param<T>(), arrays.grad<G>(),
                               uses_buffer ? data_of<T>(buffer) : nullptr, arrays.copy()};
        sgd_step(p, s, arrays.count());
    });
}

void adam(py::object param, py::object grad, py::object exp_avg, py::object exp_avg_sq, py::object lr,
          py::object beta1, py::object beta2, py::object eps, py::object weight_decay, bool decoupled,
          py::object step, py::object copy) {
    const char* op = "adam_step";
    StepArrays arrays(op, param, grad, copy);
    const ArrayInOut m = arrays.state("exp_avg", exp_avg), v = arrays.state("exp_avg_sq", exp_avg_sq);
    AdamParams p;
    p.lr = to_rate(op, "lr", lr);
    p.beta1 = to_rate(op, "beta1", beta1, 1);
    p.beta2 = to_rate(op, "beta2", beta2, 1);
    p.eps = to_rate(op, "eps", eps);
    p.weight_decay = to_rate(op, "weight_decay", weight_decay);
    p.decoupled = decoupled;
    p.step = to_int(op, "step", step);
    if (p.step < 1) throw ShapeError(message(op, ": step counts from 1, got ", p.step));
    py::gil_scoped_release nogil;
    arrays.visit([&](auto t, auto g) {
        using T = decltype(t);
        using G = decltype(g);
        const AdamState<T, G> s{arrays.param<T>(), arrays.grad<G>(), m.view().as<T>(), v.view().as<T>(),
                                arrays.copy()};
        adam_step(p, s, arrays.count());
    });
}

void rmsprop(py::object param, py::object grad, py::object square_avg, py::object momentum_buffer,
             py::object grad_avg, py::object lr, py::object alpha, py::object eps, py::object weight_decay,
             py::object momentum, py::object copy) {
    const char* op = "rmsprop_step";
    StepArrays arrays(op, param, grad, copy);
    const ArrayInOut v = arrays.state("square_avg", square_avg);
    const auto buffer = arrays.optional_state("momentum_buffer", momentum_buffer);
    const auto average = arrays.optional_state("grad_avg", grad_avg);
    RmspropParams p;
    p.lr = to_rate(op, "lr", lr);
    p.alpha = to_rate(op, "alpha", alpha);
    p.eps = to_rate(op, "eps", eps);
    p.weight_decay = to_rate(op, "weight_decay", weight_decay);
    p.momentum = to_rate(op, "momentum", momentum);
    require_buffer(op, p.momentum, buffer);
    const bool uses_buffer = p.momentum != 0;
    py::gil_scoped_release nogil;
    arrays.visit([&](auto t, auto g) {
        using T = decltype(t);
        using G = decltype(g);
        const RmspropState<T, G> s{arrays.param<T>(),   arrays.grad<G>(),
                                   v.view().as<T>(),    uses_buffer ? data_of<T>(buffer) : nullptr,
                                   data_of<T>(average), arrays.copy()};
        rmsprop_step(p, s, arrays.count());
    });
}

}  // namespace

void bind_optimizer(py::module_& m) {
    m.def("sgd_step", &sgd, py::arg("param"), py::arg("grad"), py::arg("momentum_buffer"), py::arg("lr"),
          py::arg("momentum"), py::arg("dampening"), py::arg("weight_decay"), py::arg("nesterov"),
          py::arg("first_step"), py::arg("copy") = py::none());
    m.def("adam_step", &adam, py::arg("param"), py::arg("grad"), py::arg("exp_avg"), py::arg("exp_avg_sq"),
          py::arg("lr"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"), py::arg("weight_decay"),
          py::arg("decoupled"), py::arg("step"), py::arg("copy") = py::none());
    m.def("rmsprop_step", &rmsprop, py::arg("param"), py::arg("grad"), py::arg("square_avg"),
          py::arg("momentum_buffer"), py::arg("grad_avg"), py::arg("lr"), py::arg("alpha"), py::arg("eps"),
          py::arg("weight_decay"), py::arg("momentum"), py::arg("copy") = py::none());
}

}  // namespace fastconv::bindings
