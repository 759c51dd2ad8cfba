#include "program/passes/passes.h"

namespace fastconv::program {
namespace {

struct Pass {
    const char* name;
    void (*run)(Graph&);
};
constexpr Pass kPasses[] = {
    {"remove_dead_code", remove_dead_code},
    {"simplify_layout", simplify_layout},
    {"skip_expansion", skip_expansion},
    {"join_padding", join_padding},
    {"fold_scale_and_shift", fold_scale_and_shift},
    {"fuse_batch_norm_relu", fuse_batch_norm_relu},
    {"fuse_conv_epilogue", fuse_conv_epilogue},
    {"fuse_conv_statistics", fuse_conv_statistics},
    {"fuse_gradient_sum", fuse_gradient_sum},
    {"mask_before_pooling", mask_before_pooling},
    {"fuse_activation_gradient", fuse_activation_gradient},
    {"fuse_batch_norm_load", fuse_batch_norm_load},
    {"fuse_gradient_statistics", fuse_gradient_statistics},
    {"pool_in_lanes", pool_in_lanes},
    {"fuse_inverted_residual", fuse_inverted_residual},
    {"join_in_place", join_in_place},
};

}  // namespace

const std::vector<std::string>& pass_names() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> result;
        for (const Pass& pass : kPasses) result.push_back(pass.name);
        return result;
    }();
    return names;
}

void run_pass(Graph& graph, const std::string& name) {
    remove_dead_code(graph);  // results that nobody reads would be in the way
    if (name == "store_bfloat16") return store_bfloat16(graph);
    if (name == "recompute") return recompute(graph);
    for (const Pass& pass : kPasses)
        if (name == pass.name) {
            pass.run(graph);
            return remove_dead_code(graph);
        }
    throw ShapeError("program: there is no pass '" + name + "'");
}

}  // namespace fastconv::program
