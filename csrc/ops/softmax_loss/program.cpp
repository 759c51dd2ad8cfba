// Nodes: softmax(x), softmax_backward(y, dy) with dim and log;
// cross_entropy(x, target, weight) -> loss, saved, divisor;
// cross_entropy_backward(x, target, weight, saved, divisor, dloss) -> dx, both with dim, ignore_index,
// reduction, label_smoothing; nll_loss(x, target, weight) -> loss, divisor;
// nll_loss_backward(x, target, weight, divisor, dloss) -> dx, without label_smoothing; pointwise_loss(x,
// target, weight, pos_weight) with kind, delta, reduction; pointwise_loss_backward(x, target, weight,
// pos_weight, dloss), also with wrt_target.
#include "core/checks.h"
#include "ops/softmax_loss/nll_loss.h"
#include "ops/softmax_loss/pointwise_loss.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

void require_like(const Call& c, size_t i, const char* what, const Type& type) {
    if (!c.given(i)) return;
    require_dtype(c.name, what, c.in[i].dtype, type.dtype);
    require_shape(c.name, what, c.in[i].shape, type.shape);
}

ClassAxis axis_of(const Call& c) {
    return class_axis(c.name, c.in[0].shape, c.attributes.get<int64_t>("dim"));
}

std::vector<Type> softmax_infer(const Call& c) {
    const size_t operands = c.name == std::string("softmax") ? 1 : 2;
    c.operands(operands, operands);
    require_float(c.name, "input", c.in[0].dtype);
    require_like(c, 1, "grad_output", c.in[0]);
    axis_of(c);
    return {c.in[0]};
}
std::unique_ptr<Step> softmax(const Call& c) {
    return make_step([axis = axis_of(c), log = c.attributes.flag("log"), x = c.in[0]](const Frame& f) {
        softmax_forward(axis, log, view_of(x, f.in[0]), view_of(x, f.out[0]));
    });
}
std::unique_ptr<Step> softmax_grad(const Call& c) {
    return make_step([axis = axis_of(c), log = c.attributes.flag("log"), x = c.in[0]](const Frame& f) {
        softmax_backward(axis, log, view_of(x, f.in[0]), view_of(x, f.in[1]), view_of(x, f.out[0]));
    });
}

struct CrossEntropy {
    CrossEntropyParams p;
    Type x, saved, loss;
    TensorView weight;

    explicit CrossEntropy(const Call& c) : x(c.in[0]) {
        require_float(c.name, "input", x.dtype);
        p.axis = axis_of(c);
        if (p.axis.classes == 0) throw ShapeError(message(c.name, ": input has no classes"));
        Shape rows;
        const int64_t dim = c.attributes.get<int64_t>("dim");
        for (int i = 0; i < x.shape.ndim; ++i)
            if (i != dim) rows.dims[static_cast<size_t>(rows.ndim++)] = x.shape[i];
        require_like(c, 1, "target", {DType::i64, rows});
        require_like(c, 2, "weight", {x.dtype, {p.axis.classes}});
        if (c.given(2)) weight = view_of(c.in[2], nullptr);
        p.ignore_index = c.attributes.get<int64_t>("ignore_index");
        p.reduction = reduction_from_name(c.name, c.attributes.get<std::string>("reduction"));
        p.smoothing = c.attributes.has("label_smoothing") ? c.attributes.number("label_smoothing") : 0;
        if (!(p.smoothing >= 0 && p.smoothing <= 1))
            throw ShapeError(message(c.name, ": label_smoothing must be in [0, 1], got ", p.smoothing));
        saved = {x.dtype == DType::bf16 ? DType::f32 : x.dtype, {2, p.axis.rows()}};
        loss = {x.dtype, p.reduction == Reduction::none ? rows : Shape{}};
    }
    const TensorView* weights(const Frame& f, TensorView& view) const {
        if (!weight.shape.ndim) return nullptr;
        view = weight;
        view.data = f.in[2];
        return &view;
    }
};

std::vector<Type> cross_entropy_infer(const Call& c) {
    c.operands(2, 3);
    const CrossEntropy e(c);
    return {e.loss, e.saved, {DType::f64, Shape{}}};
}
std::unique_ptr<Step> cross_entropy(const Call& c) {
    return make_step([e = CrossEntropy(c)](const Frame& f) {
        TensorView weight;
        const auto* labels = static_cast<const int64_t*>(f.in[1]);
        check_labels("cross_entropy", e.p, labels);
        *static_cast<double*>(f.out[2]) =
            cross_entropy_forward(e.p, view_of(e.x, f.in[0]), labels, e.weights(f, weight),
                                  view_of(e.saved, f.out[1]), view_of(e.loss, f.out[0]));
    });
}
std::vector<Type> cross_entropy_backward_infer(const Call& c) {
    c.operands(2, 6);
    const CrossEntropy e(c);
    require_like(c, 3, "saved", e.saved);
    require_like(c, 4, "divisor", {DType::f64, Shape{}});
    require_like(c, 5, "grad_output", e.loss);
    return {e.x};
}
std::unique_ptr<Step> cross_entropy_grad(const Call& c) {
    return make_step([e = CrossEntropy(c)](const Frame& f) {
        TensorView weight;
        cross_entropy_backward(e.p, view_of(e.x, f.in[0]), static_cast<const int64_t*>(f.in[1]),
                               e.weights(f, weight), view_of(e.saved, f.in[3]),
                               *static_cast<const double*>(f.in[4]), view_of(e.loss, f.in[5]),
                               view_of(e.x, f.out[0]));
    });
}

std::vector<Type> nll_infer(const Call& c) {
    c.operands(2, 3);
    return {CrossEntropy(c).loss, {DType::f64, Shape{}}};
}
std::unique_ptr<Step> nll(const Call& c) {
    return make_step([e = CrossEntropy(c)](const Frame& f) {
        TensorView weight;
        const auto* labels = static_cast<const int64_t*>(f.in[1]);
        check_labels("nll_loss", e.p, labels);
        *static_cast<double*>(f.out[1]) = nll_loss_forward(e.p, view_of(e.x, f.in[0]), labels,
                                                           e.weights(f, weight), view_of(e.loss, f.out[0]));
    });
}
std::vector<Type> nll_backward_infer(const Call& c) {
    c.operands(2, 5);
    const CrossEntropy e(c);
    require_like(c, 3, "divisor", {DType::f64, Shape{}});
    require_like(c, 4, "grad_output", e.loss);
    return {e.x};
}
std::unique_ptr<Step> nll_grad(const Call& c) {
    return make_step([e = CrossEntropy(c)](const Frame& f) {
        TensorView weight;
        nll_loss_backward(e.p, static_cast<const int64_t*>(f.in[1]), e.weights(f, weight),
                          *static_cast<const double*>(f.in[3]), view_of(e.loss, f.in[4]),
                          view_of(e.x, f.out[0]));
    });
}

struct PointwiseLoss {
    PointLossParams p;
    Type x, loss;
    bool weighted = false, pos_weighted = false;

    explicit PointwiseLoss(const Call& c) : x(c.in[0]) {
        const std::string& kind = c.attributes.get<std::string>("kind");
        p.kind = point_loss_from_name(kind);
        p.reduction = reduction_from_name(kind.c_str(), c.attributes.get<std::string>("reduction"));
        p.delta = c.attributes.number("delta");
        if (!(p.delta > 0)) throw ShapeError(message(kind, ": delta must be greater than 0, got ", p.delta));
        require_float(kind.c_str(), "input", x.dtype);
        require_like(c, 1, "target", x);
        require_like(c, 2, "weight", x);
        require_like(c, 3, "pos_weight", x);
        weighted = c.given(2), pos_weighted = c.given(3);
        loss = {x.dtype, p.reduction == Reduction::none ? x.shape : Shape{}};
    }
};
std::vector<Type> pointwise_infer(const Call& c) {
    c.operands(2, 4);
    return {PointwiseLoss(c).loss};
}
std::unique_ptr<Step> pointwise(const Call& c) {
    return make_step([e = PointwiseLoss(c)](const Frame& f) {
        const TensorView w = view_of(e.x, f.in[2]), pw = view_of(e.x, f.in[3]);
        pointwise_loss_forward(e.p, view_of(e.x, f.in[0]), view_of(e.x, f.in[1]), e.weighted ? &w : nullptr,
                               e.pos_weighted ? &pw : nullptr, view_of(e.loss, f.out[0]));
    });
}
std::vector<Type> pointwise_backward_infer(const Call& c) {
    c.operands(2, 5);
    const PointwiseLoss e(c);
    require_like(c, 4, "grad_output", e.loss);
    return {e.x};
}
std::unique_ptr<Step> pointwise_grad(const Call& c) {
    return make_step([e = PointwiseLoss(c), target = c.attributes.flag("wrt_target")](const Frame& f) {
        const TensorView w = view_of(e.x, f.in[2]), pw = view_of(e.x, f.in[3]);
        pointwise_loss_backward(e.p, target, view_of(e.x, f.in[0]), view_of(e.x, f.in[1]),
                                e.weighted ? &w : nullptr, e.pos_weighted ? &pw : nullptr,
                                view_of(e.loss, f.in[4]), view_of(e.x, f.out[0]));
    });
}

}  // namespace

void add_softmax_loss_kinds(KindList& list) {
    list.push_back({"softmax", softmax_infer, softmax, 0, 0});
    list.push_back({"softmax_backward", softmax_infer, softmax_grad, 0, 0});
    list.push_back({"cross_entropy", cross_entropy_infer, cross_entropy, 0, 0});
    list.push_back({"cross_entropy_backward", cross_entropy_backward_infer, cross_entropy_grad, 0, 0});
    list.push_back({"nll_loss", nll_infer, nll, 0, 0});
    list.push_back({"nll_loss_backward", nll_backward_infer, nll_grad, 0, 0});
    list.push_back({"pointwise_loss", pointwise_infer, pointwise, 0, 0});
    list.push_back({"pointwise_loss_backward", pointwise_backward_infer, pointwise_grad, 0, 0});
}

}  // namespace fastconv::program
