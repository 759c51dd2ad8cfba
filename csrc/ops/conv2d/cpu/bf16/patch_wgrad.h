// wgrad of few input channels on vdpbf16ps (patch_wgrad.cpp), as bf16_wgrad_*.
#pragma once

#include "ops/conv2d/cpu/bf16/frame.h"

namespace fastconv::FC_ISA_NS {

bool takes_patches(const Bf16Wgrad& g);
// Whether a line of patches is in proportion.
bool patch_wgrad_fits(const Bf16Wgrad& g);
Bf16Sizes patch_wgrad_sizes(const Bf16Wgrad& g);
void patch_wgrad_run(const Bf16Wgrad& g, char* partial, char* scratch, void* dweight, bool dweight_f32,
                     int team);

}  // namespace fastconv::FC_ISA_NS
