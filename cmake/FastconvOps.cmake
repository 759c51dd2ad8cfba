# fastconv_add_op(<op>): registers csrc/ops/<op>. fastconv_add_core(): builds the extension from all of them.
include_guard()

set_property(GLOBAL PROPERTY FASTCONV_OPS "")

function(fastconv_add_op op)
  set_property(GLOBAL APPEND PROPERTY FASTCONV_OPS ${op})
endfunction()

function(fastconv_add_core)
  get_property(ops GLOBAL PROPERTY FASTCONV_OPS)
  set(root ${PROJECT_SOURCE_DIR}/csrc)

  # FC_FOR_EACH_OP(X) for module.cpp.
  set(entries "")
  foreach(op IN LISTS ops)
    string(APPEND entries " X(${op})")
  endforeach()
  file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/generated/fastconv_ops.inc
       CONTENT "#define FC_FOR_EACH_OP(X)@entries@\n" @ONLY)

  # Sources: an op's own files for the baseline, its cpu/ files once per ISA, its bind.cpp for Python.
  file(GLOB sources CONFIGURE_DEPENDS ${root}/core/*.cpp ${root}/cpu/*.cpp ${root}/program/*.cpp
       ${root}/program/passes/*.cpp)
  list(REMOVE_ITEM sources ${root}/program/bind.cpp)
  file(GLOB kernels CONFIGURE_DEPENDS ${root}/cpu/gemm/*.cpp ${root}/cpu/layout/*.cpp)
  file(GLOB bindings CONFIGURE_DEPENDS ${root}/bindings/*.cpp ${root}/program/bind.cpp)
  foreach(op IN LISTS ops)
    file(GLOB op_sources CONFIGURE_DEPENDS ${root}/ops/${op}/*.cpp)
    file(GLOB op_kernels CONFIGURE_DEPENDS ${root}/ops/${op}/cpu/*.cpp)
    list(REMOVE_ITEM op_sources ${root}/ops/${op}/bind.cpp)
    list(APPEND sources ${op_sources})
    list(APPEND kernels ${op_kernels})
    list(APPEND bindings ${root}/ops/${op}/bind.cpp)
  endforeach()

  add_library(fastconv_native STATIC ${sources})
  target_include_directories(fastconv_native PUBLIC ${root} ${root}/include)
  target_compile_definitions(fastconv_native PUBLIC $<$<BOOL:${FASTCONV_HAS_X86}>:FASTCONV_HAS_X86>)
  target_compile_options(fastconv_native PRIVATE -O2 ${FASTCONV_WARNING_FLAGS})
  # What runs once for a plan, the oracles, and ops whose calls are rarely short: size counts. The others' calls
  # would take up to 1 us longer.
  set(hot "ops/(activation|batch_norm|conv2d|elementwise|linear|pool2d)/|/bindings/|/core/|/cpu/|/program/(program|bind)\\.cpp$")
  set(cold ${sources} ${bindings})
  list(FILTER cold EXCLUDE REGEX "${hot}")
  set(oracles ${sources})
  list(FILTER oracles INCLUDE REGEX "/(reference|program|pooled_program)\\.cpp$")
  list(FILTER oracles EXCLUDE REGEX "/csrc/program/")
  set_source_files_properties(${cold} ${oracles} PROPERTIES COMPILE_OPTIONS -Os SKIP_PRECOMPILE_HEADERS ON)
  target_link_libraries(fastconv_native PUBLIC Threads::Threads)
  fastconv_add_kernels(fastconv_native ${kernels})
  if(FASTCONV_HAS_X86)
    file(GLOB bf16_kernels CONFIGURE_DEPENDS ${root}/ops/*/cpu/bf16/*.cpp)
    fastconv_add_isa_objects(fastconv_native avx512_bf16 AVX512 ${bf16_kernels})
  endif()

  pybind11_add_module(_core MODULE NO_EXTRAS ${bindings})
  target_include_directories(_core PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/generated)
  target_compile_definitions(_core PRIVATE FASTCONV_VERSION="${PROJECT_VERSION}"
                             FASTCONV_COMPILER="${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
  target_compile_options(_core PRIVATE -O2 ${FASTCONV_WARNING_FLAGS})
  # Most of a binding's compile time is pybind11's headers.
  target_precompile_headers(_core PRIVATE <pybind11/numpy.h> <pybind11/pybind11.h>)
  target_link_libraries(_core PRIVATE fastconv_native)
  # The library's symbols stay inside the module.
  target_link_options(_core PRIVATE -Wl,--exclude-libs,ALL)
  if(DEFINED SKBUILD)  # a developer's build keeps its symbols for profilers
    pybind11_strip(_core)
  endif()
  install(TARGETS _core LIBRARY DESTINATION fastconv)
endfunction()
