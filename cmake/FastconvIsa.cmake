# The table of instruction sets. Kernel files (csrc/cpu/**/kernels, csrc/ops/*/cpu) are compiled once for each,
# in a namespace of its own; the rest of the code is built for the baseline processor.
include_guard()

set(FASTCONV_ISAS scalar)
set(FASTCONV_FLAGS_scalar "")
string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" _processor)
if(_processor MATCHES "^(x86_64|amd64)$")
  list(APPEND FASTCONV_ISAS avx2 avx512)
  # Here for processors of before 2013 and for tests: size counts.
  set(FASTCONV_FLAGS_scalar -Os)
  set(FASTCONV_FLAGS_avx2 -mavx2 -mfma)
  set(FASTCONV_FLAGS_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma
                            -mprefer-vector-width=512)
  # Files of csrc/ops/*/cpu/bf16/ are built once, on top of AVX-512; nothing calls them without a run-time check.
  set(FASTCONV_FLAGS_avx512_bf16 ${FASTCONV_FLAGS_avx512} -mavx512bf16 -mamx-tile -mamx-bf16 -mprfchw)
  set(FASTCONV_HAS_X86 ON)
endif()

# No errno and no trapping maths: both would keep the compiler from vectorising plain loops. NaN and infinity
# stay as IEEE has them.
set(FASTCONV_KERNEL_FLAGS -O3 -fno-math-errno -fno-trapping-math)
# Templates over many forms that are a quarter to a half smaller without -O3's copies of loops and as fast (AVX2's
# Winograd for weights' gradients 0.97 to 1); without that cost model GCC 12's -O2 leaves plain loops as they are.
set(FASTCONV_COMPACT_FLAGS -O2 -fvect-cost-model=dynamic)
set(FASTCONV_COMPACT_avx512
    augment/cpu/batch.cpp augment/cpu/filters.cpp augment/cpu/noise.cpp
    elementwise/cpu/elementwise.cpp pool2d/cpu/nhwc_backward.cpp softmax_loss/cpu/cross_entropy.cpp
    softmax_loss/cpu/softmax.cpp)
set(FASTCONV_COMPACT_avx2 ${FASTCONV_COMPACT_avx512} batch_norm/cpu/backward.cpp conv2d/cpu/winograd_wgrad.cpp
    conv2d/cpu/winograd_weights.cpp reduce/cpu/reduce.cpp)
set(FASTCONV_WARNING_FLAGS -Wall -Wextra -Wno-psabi)
# GCC 12's AVX-512 header initialises its "undefined" vectors with themselves and then warns of it.
set(FASTCONV_KERNEL_WARNINGS "$<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized;-Wno-maybe-uninitialized>")
if(FASTCONV_WERROR)
  list(APPEND FASTCONV_WARNING_FLAGS -Werror)
endif()

# fastconv_add_isa_objects(<target> <isa> <macro> <source>...): object files for one ISA, linked into <target>.
function(fastconv_add_isa_objects target isa macro)
  set(compact "")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    foreach(file IN LISTS FASTCONV_COMPACT_${isa})
      set(found ${ARGN})
      list(FILTER found INCLUDE REGEX "/${file}$")
      list(APPEND compact ${found})
    endforeach()
  endif()
  set(others ${ARGN})
  if(compact)
    list(REMOVE_ITEM others ${compact})
    _fastconv_add_objects(${target} ${target}_${isa}_compact ${isa} ${macro} "${FASTCONV_COMPACT_FLAGS}" ${compact})
  endif()
  if(others)
    _fastconv_add_objects(${target} ${target}_${isa} ${isa} ${macro} "" ${others})
  endif()
endfunction()

function(_fastconv_add_objects target objects isa macro flags)
  add_library(${objects} OBJECT ${ARGN})
  target_include_directories(${objects} PRIVATE ${PROJECT_SOURCE_DIR}/csrc ${PROJECT_SOURCE_DIR}/csrc/include)
  target_compile_definitions(${objects} PRIVATE FC_ISA_NS=isa_${isa} FC_ISA_${macro}
                                                $<$<BOOL:${FASTCONV_HAS_X86}>:FASTCONV_HAS_X86>)
  target_compile_options(${objects} PRIVATE ${FASTCONV_KERNEL_FLAGS} ${flags} ${FASTCONV_FLAGS_${isa}}
                                            ${FASTCONV_WARNING_FLAGS} ${FASTCONV_KERNEL_WARNINGS})
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${objects}>)
endfunction()

# fastconv_add_kernels(<target> <source>...): the sources for every ISA.
function(fastconv_add_kernels target)
  foreach(isa IN LISTS FASTCONV_ISAS)
    string(TOUPPER ${isa} macro)
    fastconv_add_isa_objects(${target} ${isa} ${macro} ${ARGN})
  endforeach()
endfunction()
