// What a graph can be made of: each op describes its nodes in csrc/ops/<op>/program.cpp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "program/graph.h"

namespace fastconv::program {

// The memory of one run of a step. Absent operands and results are null.
struct Frame {
    void* const* in;
    void* const* out;
    void* workspace;
    int team;  // workers that the workspace has room for
};

// A node made ready: every choice is made and every size is known.
class Step {
  public:
    virtual ~Step() = default;
    // 64-byte aligned memory that a run needs with so many workers.
    virtual size_t workspace_bytes(int team) const {
        (void)team;
        return 0;
    }
    // Sizes are right; values such as labels may not be, and raise what the op's entry raises, before
    // anything is written. False stops the program here.
    virtual bool run(const Frame& frame) const = 0;
    // For reports: the algorithm that was chosen, floating-point operations.
    virtual std::string algorithm() const { return ""; }
    virtual double operations() const { return 0; }
};

// A node with the types around it, for its kind to look at.
struct Call {
    const char* name;
    const Attributes& attributes;
    std::vector<Type> in;   // of absent operands: no dimensions and no meaning
    std::vector<bool> has;  // whether the operand is there
    std::vector<Type> out;  // empty in `infer`
    std::vector<bool> wanted;
    std::vector<const void*> constant;  // the contents of constant operands, else null
    WeightCache* cache = nullptr;       // for what is made of them

    bool given(size_t i) const { return i < has.size() && has[i]; }
    bool wants(size_t i) const { return i < wanted.size() && wanted[i]; }
    // ShapeError unless between `least` and `most` operands are listed, the first `least` of them present.
    void operands(size_t least, size_t most) const;
};

struct NodeKind {
    const char* name;
    // The results' types. ShapeError or DTypeError where operands and attributes do not fit.
    std::vector<Type> (*infer)(const Call& call);
    // Null for a view, which only gives its first operand's memory another shape. A node with the attribute
    // `in_place` is not prepared either: its operands lie in its result, or its results in its operand.
    std::unique_ptr<Step> (*prepare)(const Call& call);
    // Operands, as bits, that a run writes.
    unsigned writes = 0;
    // Operands, as bits, whose memory the first result may take where nobody reads them later.
    unsigned in_place = 0;
    // Results, as bits, that a run can do without.
    unsigned optional = 0;
    // Whether a run matters even where nobody reads its results.
    bool effect = false;

    // Operands, and results, as bits, that may have a pitch.
    unsigned pitched_in = 0, pitched_out = 0;

    bool view() const { return prepare == nullptr; }
};

// ShapeError for an unknown name.
const NodeKind& node_kind(const std::string& name);

// Whether operand, or result, i of a node may be a slice of rows that lie apart: its kind must say so, and
// what it does along the last dimension must be what a pitch means: channels that come last, joining and
// cutting there.
bool pitch_allowed(const Graph& graph, const Node& node, bool result, size_t i);

// Helpers for steps and inference.
Call describe(const Graph& graph, const Node& node);
inline TensorView view_of(const Type& type, const void* data) {
    return {data ? const_cast<void*>(data) : nullptr, type.dtype, type.shape, type.pitch};
}
// A step from a function of the frame.
template <class Run>
std::unique_ptr<Step> make_step(Run run, double operations = 0) {
    class Made final : public Step {
      public:
        Made(Run run, double operations) : run_(std::move(run)), operations_(operations) {}
        bool run(const Frame& frame) const override {
            run_(frame);
            return true;
        }
        double operations() const override { return operations_; }

      private:
        Run run_;
        double operations_;
    };
    return std::make_unique<Made>(std::move(run), operations);
}

}  // namespace fastconv::program
