// Single calls. What a call decides from shapes alone (the algorithm, and how much memory it wants) took up
// to half of the time of a small one, so the last few answers are kept.
#include <array>
#include <optional>
#include <vector>

#include "core/memory.h"
#include "core/precision.h"
#include "cpu/threads.h"
#include "ops/conv2d/conv2d.h"
#include "ops/conv2d/cost.h"

namespace fastconv {
namespace {

// Everything that the answers depend on.
struct Question {
    std::array<int64_t, 28> numbers{};
    CostScale scale;

    Question() = default;
    Question(const Conv2dProblem& p, ConvDirection direction, int team) : scale(cost_scale()) {
        const WindowAxis &v = p.vertical, &u = p.horizontal;
        numbers = {p.n,
                   p.c,
                   p.h,
                   p.w,
                   p.k,
                   p.r,
                   p.s,
                   p.p,
                   p.q,
                   p.groups,
                   p.x_pitch,
                   p.y_pitch,
                   v.input,
                   v.kernel,
                   v.stride,
                   v.pad_begin,
                   v.pad_end,
                   v.dilation,
                   u.input,
                   u.kernel,
                   u.stride,
                   u.pad_begin,
                   u.pad_end,
                   u.dilation,
                   static_cast<int64_t>(p.dtype),
                   static_cast<int64_t>(p.layout) * 16 + static_cast<int64_t>(direction),
                   static_cast<int64_t>(precision()),
                   team};
    }
    bool operator==(const Question& o) const {
        return numbers == o.numbers && scale.direct == o.scale.direct &&
               scale.direct_wgrad == o.scale.direct_wgrad && scale.winograd == o.scale.winograd &&
               scale.winograd6 == o.scale.winograd6 && scale.winograd_wgrad == o.scale.winograd_wgrad;
    }
    size_t hash() const {
        uint64_t h = 0;
        for (int64_t number : numbers) h = (h ^ static_cast<uint64_t>(number)) * 0x9e3779b97f4a7c15;
        return static_cast<size_t>(h >> 32);
    }
};

struct Answer {
    ConvPlan plan;
    size_t packed, workspace;

    Answer(const Conv2dProblem& p, ConvDirection direction, const std::string& algorithm, int team)
        : plan(p, direction, algorithm),
          packed(plan.packs_itself(team) ? 0 : plan.packed_bytes()),
          workspace(plan.workspace_bytes(team)) {}
};

// Calls body(answer).
template <class Body>
void with_answer(const Conv2dProblem& p, ConvDirection direction, const std::string& algorithm, int team,
                 const Body& body) {
    if (p.n == 0 || !algorithm.empty()) return body(Answer(p, direction, algorithm, team));
    // A slot for each of a network's convolutions and their gradients, or nearly: one is lost where two meet.
    constexpr size_t kSlots = 64;
    struct Slot {
        Question question;
        std::optional<Answer> answer;
    };
    thread_local std::vector<Slot> slots(kSlots);
    const Question question(p, direction, team);
    Slot& slot = slots[question.hash() % kSlots];
    if (!slot.answer || !(slot.question == question)) {
        slot.answer.reset();
        slot.answer.emplace(p, direction, algorithm, team);
        slot.question = question;
    }
    body(*slot.answer);
}

void run_once(const Conv2dProblem& p, ConvDirection direction, const std::string& algorithm, ConvArgs args) {
    args.team = num_threads();
    with_answer(p, direction, algorithm, args.team, [&](const Answer& answer) {
        if (p.n == 0) return;
        const Workspace packed(answer.packed), workspace(answer.workspace);
        if (answer.packed) {
            answer.plan.pack(args.weight, packed.as<void>());
            args.packed = packed.as<void>();
        }
        answer.plan.run(args, workspace.as<void>());
    });
}

}  // namespace

void conv2d_fprop(const Conv2dProblem& problem, const void* x, const void* weight,
                  const ConvEpilogue& epilogue, void* y, const std::string& algorithm) {
    ConvArgs args;
    args.in = x, args.weight = weight, args.epilogue = epilogue, args.out = y;
    run_once(problem, ConvDirection::fprop, algorithm, args);
}

void conv2d_dgrad(const Conv2dProblem& problem, const void* weight, const void* dy,
                  const ConvEpilogue& epilogue, void* dx, const std::string& algorithm) {
    ConvArgs args;
    args.in = dy, args.weight = weight, args.epilogue = epilogue, args.out = dx;
    run_once(problem, ConvDirection::dgrad, algorithm, args);
}

void conv2d_wgrad(const Conv2dProblem& problem, const void* x, const void* dy, void* dweight,
                  const std::string& algorithm) {
    WgradArgs args;
    args.x = x, args.dy = dy, args.dweight = dweight, args.team = num_threads();
    with_answer(problem, ConvDirection::wgrad, algorithm, args.team, [&](const Answer& answer) {
        const Workspace workspace(problem.n ? answer.workspace : 0);
        answer.plan.run(args, workspace.as<void>());
    });
}

}  // namespace fastconv
