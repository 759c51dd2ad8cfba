// Nodes, each one parameter's step in place: sgd_step(param, grad, lr, momentum_buffer, step, copy),
// adam_step(param, grad, lr, exp_avg, exp_avg_sq, step, copy),
// rmsprop_step(param, grad, lr, square_avg, momentum_buffer, grad_avg, copy). lr is float64: the learning
// rate, and behind it what schedules cycle (momentum; Adam: beta1 and beta2); step an int64 that counts
// from 1. Attributes: the rules' other numbers. clip_grad_norm(grads ...) -> factor, norm: what gradients are
// multiplied by so that their joint 2-norm is at most the attribute max_norm; the factor is of their type.
#include <algorithm>
#include <cmath>

#include "core/bfloat16.h"
#include "core/checks.h"
#include "cpu/threads.h"
#include "ops/optimizer/optimizer.h"
#include "program/registry.h"

namespace fastconv::program {
namespace {

const Type kNumber{DType::f64, Shape{}}, kCount{DType::i64, Shape{}};
const Type kRateAndMomentum{DType::f64, Shape{2}}, kRateAndBetas{DType::f64, Shape{3}};

void require(const Call& c, size_t i, const char* what, const Type& type) {
    if (!c.given(i)) return;
    require_dtype(c.name, what, c.in[i].dtype, type.dtype);
    require_shape(c.name, what, c.in[i].shape, type.shape);
}

// The types of a step: the parameter, its gradient and its copy.
struct Update {
    DType dtype, grad;
    int64_t count;

    explicit Update(const Call& c)
        : dtype(c.in[0].dtype), grad(c.in[1].dtype), count(element_count(c.name, c.in[0].shape)) {}

    static void check(const Call& c, size_t copy, const Type& rates) {
        c.operands(3, copy + 1);
        const Type& param = c.in[0];
        if (param.dtype != DType::f32 && param.dtype != DType::f64)
            throw DTypeError(message(c.name, ": param must be float32 or float64, got ", name(param.dtype)));
        const bool narrow = c.in[1].dtype == DType::bf16 && param.dtype == DType::f32;
        require(c, 1, "grad", {narrow ? DType::bf16 : param.dtype, param.shape});
        require(c, 2, "lr", rates);
        require(c, copy, "copy", {DType::bf16, param.shape});
    }
    // fn(T{}, G{})
    template <class Fn>
    void visit(const Fn& fn) const {
        if (dtype == DType::f64)
            fn(double{}, double{});
        else if (grad == DType::f32)
            fn(float{}, float{});
        else
            fn(float{}, bfloat16{});
    }
    // The learning rate and what follows it.
    static const double* rates(const Frame& f) { return static_cast<const double*>(f.in[2]); }
};

template <class T>
T* at(const Frame& f, size_t operands, size_t i) {
    return i < operands ? static_cast<T*>(f.in[i]) : nullptr;
}

std::vector<Type> sgd_infer(const Call& c) {
    Update::check(c, 5, kRateAndMomentum);
    require(c, 3, "momentum_buffer", c.in[0]);
    require(c, 4, "step", kCount);
    if (c.given(3) && !c.given(4)) throw DTypeError("sgd_step: a momentum_buffer needs the step");
    return {};
}
std::unique_ptr<Step> sgd(const Call& c) {
    SgdParams p;
    p.dampening = c.attributes.number("dampening");
    p.weight_decay = c.attributes.number("weight_decay");
    p.nesterov = c.attributes.flag("nesterov");
    return make_step([p, u = Update(c), n = c.in.size()](const Frame& f) {
        SgdParams now = p;
        now.lr = u.rates(f)[0];
        if (at<void>(f, n, 3)) now.momentum = u.rates(f)[1];
        const auto* step = at<const int64_t>(f, n, 4);
        now.first_step = step && *step == 1;
        u.visit([&](auto t, auto g) {
            using T = decltype(t);
            using G = decltype(g);
            sgd_step<T, G>(now,
                           {static_cast<T*>(f.in[0]), static_cast<const G*>(f.in[1]), at<T>(f, n, 3),
                            at<bfloat16>(f, n, 5)},
                           u.count);
        });
    });
}

std::vector<Type> adam_infer(const Call& c) {
    Update::check(c, 6, kRateAndBetas);
    c.operands(6, 7);
    require(c, 3, "exp_avg", c.in[0]);
    require(c, 4, "exp_avg_sq", c.in[0]);
    require(c, 5, "step", kCount);
    return {};
}
std::unique_ptr<Step> adam(const Call& c) {
    AdamParams p;
    p.eps = c.attributes.number("eps"), p.weight_decay = c.attributes.number("weight_decay");
    p.decoupled = c.attributes.flag("decoupled");
    return make_step([p, u = Update(c), n = c.in.size()](const Frame& f) {
        AdamParams now = p;
        now.lr = u.rates(f)[0], now.beta1 = u.rates(f)[1], now.beta2 = u.rates(f)[2];
        now.step = *static_cast<const int64_t*>(f.in[5]);
        u.visit([&](auto t, auto g) {
            using T = decltype(t);
            using G = decltype(g);
            adam_step<T, G>(now,
                            {static_cast<T*>(f.in[0]), static_cast<const G*>(f.in[1]),
                             static_cast<T*>(f.in[3]), static_cast<T*>(f.in[4]), at<bfloat16>(f, n, 6)},
                            u.count);
        });
    });
}

std::vector<Type> rmsprop_infer(const Call& c) {
    Update::check(c, 6, kRateAndMomentum);
    c.operands(4, 7);
    require(c, 3, "square_avg", c.in[0]);
    require(c, 4, "momentum_buffer", c.in[0]);
    require(c, 5, "grad_avg", c.in[0]);
    return {};
}
std::unique_ptr<Step> rmsprop(const Call& c) {
    RmspropParams p;
    p.alpha = c.attributes.number("alpha"), p.eps = c.attributes.number("eps");
    p.weight_decay = c.attributes.number("weight_decay");
    return make_step([p, u = Update(c), n = c.in.size()](const Frame& f) {
        RmspropParams now = p;
        now.lr = u.rates(f)[0];
        if (at<void>(f, n, 4)) now.momentum = u.rates(f)[1];
        u.visit([&](auto t, auto g) {
            using T = decltype(t);
            using G = decltype(g);
            rmsprop_step<T, G>(
                now,
                {static_cast<T*>(f.in[0]), static_cast<const G*>(f.in[1]), static_cast<T*>(f.in[3]),
                 at<T>(f, n, 4), at<T>(f, n, 5), at<bfloat16>(f, n, 6)},
                u.count);
        });
    });
}

std::vector<Type> clip_infer(const Call& c) {
    c.operands(1, c.in.size());
    for (const Type& t : c.in) {
        require_float(c.name, "grads", t.dtype);
        require_dtype(c.name, "grads", t.dtype, c.in[0].dtype);
    }
    if (!(c.attributes.number("max_norm") >= 0))
        throw ShapeError("clip_grad_norm: max_norm must be at least 0");
    return {{c.in[0].dtype, Shape{}}, kNumber};
}

// Sums of squares over chunks whose bounds depend on the sizes alone, added up in order.
class ClipNorm final : public Step {
  public:
    explicit ClipNorm(const Call& c) : dtype_(c.in[0].dtype), max_norm_(c.attributes.number("max_norm")) {
        for (size_t i = 0; i < c.in.size(); ++i) {
            const int64_t count = element_count(c.name, c.in[i].shape);
            for (int64_t at = 0; at < count; at += kChunk)
                chunks_.push_back({static_cast<int>(i), at, std::min(count, at + kChunk)});
        }
    }
    size_t workspace_bytes(int) const override { return chunks_.size() * sizeof(double); }
    bool run(const Frame& f) const override {
        struct Context {
            const ClipNorm* self;
            const Frame* frame;
        } context{this, &f};
        parallel_run(
            static_cast<int64_t>(chunks_.size()), 1,
            [](void* data, int64_t begin, int64_t end, int) {
                const Context& c = *static_cast<const Context*>(data);
                for (int64_t i = begin; i < end; ++i)
                    static_cast<double*>(c.frame->workspace)[i] = c.self->square(*c.frame, i);
            },
            &context, num_threads());
        double total = 0;
        for (size_t i = 0; i < chunks_.size(); ++i) total += static_cast<const double*>(f.workspace)[i];
        const double norm = std::sqrt(total), wanted = max_norm_ / (norm + 1e-6);
        const double factor = wanted >= 1 ? 1 : wanted;
        *static_cast<double*>(f.out[1]) = norm;
        if (dtype_ == DType::f64) *static_cast<double*>(f.out[0]) = factor;
        if (dtype_ == DType::f32) *static_cast<float*>(f.out[0]) = static_cast<float>(factor);
        if (dtype_ == DType::bf16)
            *static_cast<bfloat16*>(f.out[0]) = to_bfloat16(static_cast<float>(factor));
        return true;
    }

  private:
    static constexpr int64_t kChunk = 1 << 15;
    struct Chunk {
        int grad;
        int64_t begin, end;
    };
    template <class T>
    static double square(const void* data, const Chunk& c) {
        const T* x = static_cast<const T*>(data);
        double sums[8] = {};
        int64_t i = c.begin;
        for (; i + 8 <= c.end; i += 8)
            for (int l = 0; l < 8; ++l) {
                const double v = static_cast<double>(widen(x[i + l]));
                sums[l] += v * v;
            }
        for (; i < c.end; ++i) sums[0] += static_cast<double>(widen(x[i])) * static_cast<double>(widen(x[i]));
        return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    }
    double square(const Frame& f, int64_t i) const {
        const Chunk& c = chunks_[static_cast<size_t>(i)];
        if (dtype_ == DType::f64) return square<double>(f.in[c.grad], c);
        if (dtype_ == DType::bf16) return square<bfloat16>(f.in[c.grad], c);
        return square<float>(f.in[c.grad], c);
    }

    DType dtype_;
    double max_norm_;
    std::vector<Chunk> chunks_;
};
std::unique_ptr<Step> clip(const Call& c) { return std::make_unique<ClipNorm>(c); }

}  // namespace

void add_optimizer_kinds(KindList& list) {
    list.push_back({"sgd_step", sgd_infer, sgd, 1u | 1u << 3 | 1u << 5, 0});
    list.push_back({"adam_step", adam_infer, adam, 1u | 1u << 3 | 1u << 4 | 1u << 6, 0});
    list.push_back({"clip_grad_norm", clip_infer, clip, 0, 0});
    list.push_back({"rmsprop_step", rmsprop_infer, rmsprop, 1u | 0x78u, 0});
}

}  // namespace fastconv::program
